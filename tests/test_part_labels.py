"""Labels of clusters by the parts they cover: against loops over shifts, made truths, and maps that know nothing."""

import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit import load_classifier, load_fashion, load_generator, load_segmenter, render_parts
from lis_toolkit.activations import Layer
from lis_toolkit.errors import LisError
from lis_toolkit.labels import explain_globally
from lis_toolkit.parts import Legend
from lis_toolkit.saliency import (
    Cluster,
    Explanation,
    LayerExplanation,
    PictureLabels,
    explain_images,
    label_by_parts,
    part_coverage,
    part_label_figure,
    part_label_shares,
)
from lis_toolkit.saliency.part_labels import NONE, WHOLE, shifted_shares

LEGEND = Legend(("background", "sleeve", "torso"))
SIDE = 16


def body():
    """A torso in the middle and a sleeve on each side, on a background."""
    labels = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    labels[3:13, 5:11] = 2
    labels[3:10, 2:5] = 1
    labels[3:10, 11:14] = 1
    return labels


def made(maps, index=0, weights=None, name="body.3"):
    """An explanation of one layer whose clusters have the given maps."""
    layer = Layer(name, f"conv of {name} · {SIDE}×{SIDE}×9", "conv", (9, SIDE, SIDE), 0.5)
    weights = weights or [1 / max(1, len(maps))] * len(maps)
    clusters = tuple(Cluster((i,), w, m) for i, (m, w) in enumerate(zip(maps, weights, strict=True)))
    part = LayerExplanation(
        layer, torch.zeros(9), torch.arange(len(maps)), clusters, (), float("nan"), len(maps), 1.0
    )
    return Explanation(torch.zeros(1, SIDE, SIDE), 1, ("Bag", "Coat"), None, torch.zeros(2), 0.0, (part,),
                       (0, 0, SIDE, SIDE), index)  # fmt: skip


def blobs(count, seed=0, width=2.0):
    """Smooth maps that lie anywhere, over the edges, too."""
    rng = np.random.default_rng(seed)
    place = rng.random((count, 2)) * SIDE
    steps = np.arange(SIDE)
    away = [(steps[None] - place[:, i, None] + SIDE / 2) % SIDE - SIDE / 2 for i in (0, 1)]
    distance = away[0][:, :, None] ** 2 + away[1][:, None] ** 2
    return torch.from_numpy(np.exp(-distance / (2 * width**2))).float()


def test_shifts_against_a_loop():
    values = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    found = shifted_shares(values, masks)
    for p in range(2):
        for down in range(4):
            for right in range(6):
                moved = torch.roll(values, (down, right), (0, 1))
                share = float(moved[masks[p]].sum() / moved.sum())
                assert float(found[p, down, right]) == pytest.approx(share, abs=1e-6)
    assert found.mean((1, 2)).tolist() == pytest.approx(masks.float().mean((1, 2)).tolist())


def test_coverage_against_a_plain_re_derivation():
    values, labels = blobs(1, seed=3)[0], body()
    found = part_coverage([made([values])], PictureLabels(labels[None], LEGEND), alpha=0.1).set_index("part")
    masks = {"background": labels == 0, "sleeve": labels == 1, "torso": labels == 2, WHOLE: labels > 0}
    assert list(found.index) == list(masks)
    shares = {
        (name, down, right): float(torch.roll(values, (down, right), (0, 1))[mask].sum() / values.sum())
        for name, mask in masks.items()
        for down in range(SIDE)
        for right in range(SIDE)
    }
    shifts = [(down, right) for down in range(SIDE) for right in range(SIDE)]
    scores = {}
    for name in masks:
        row = np.array([shares[(name, *shift)] for shift in shifts])
        scores[name] = (row - row.mean()) / row.std()
    best = np.array([max(scores[name][i] for name in masks) for i in range(len(shifts))])
    p_of = np.array([(best >= b - 1e-6).mean() for b in best])
    for name, mask in masks.items():
        row = found.loc[name]
        high = values >= 0.5 * values.max()
        assert row["share"] == pytest.approx(shares[(name, 0, 0)], abs=1e-6)
        assert row["area"] == pytest.approx(float(mask.float().mean()))
        assert row["lift"] == pytest.approx(row["share"] / row["area"])
        assert row["iou"] == pytest.approx(float((mask & high).sum() / (mask | high).sum()))
        assert row["score"] == pytest.approx(scores[name][0], abs=1e-4)
        assert row["p"] == pytest.approx((best >= scores[name][0] - 1e-6).mean(), abs=1 / 256 + 1e-9)
        own = np.array([scores[name][i] >= best[i] - 1e-9 for i in range(len(shifts))])
        assert row["chance"] == pytest.approx((own & (p_of <= 0.1)).mean(), abs=2 / 256)


def test_maps_of_parts_are_named_and_even_ones_are_not():
    labels = body()
    maps = [(labels == 1).float(), (labels == 2).float(), (labels > 0).float(), (labels == 0).float(),
            torch.ones(SIDE, SIDE)]  # fmt: skip
    found = label_by_parts([made(maps)], PictureLabels(labels[None], LEGEND))
    assert found["label"].tolist() == ["sleeve", "torso", WHOLE, "background", NONE]
    assert found["share"].tolist()[:4] == pytest.approx([1, 1, 1, 1])
    assert found["iou"].tolist()[:4] == pytest.approx([1, 1, 1, 1])
    assert found["cluster"].tolist() == [0, 1, 2, 3, 4] and set(found["target"]) == {"Coat"}
    assert found["p"].iloc[4] == 1.0
    parts_only = label_by_parts([made(maps)], PictureLabels(labels[None], LEGEND), whole=False)
    assert WHOLE not in set(parts_only["part"]) and parts_only["label"].tolist()[:2] == ["sleeve", "torso"]


def test_maps_that_lie_anywhere_get_a_label_as_often_as_said():
    count = 400
    explanations = [made([m], index=i) for i, m in enumerate(blobs(count))]
    masks = PictureLabels(body()[None].expand(count, -1, -1).clone(), LEGEND)
    for alpha in (0.05, 0.2):
        labels = label_by_parts(explanations, masks, alpha=alpha)
        share = (labels["label"] != NONE).mean()
        assert share <= alpha + 4 * (alpha * (1 - alpha) / count) ** 0.5
        assert share >= alpha / 4  # the level is used, not only kept
        counted = part_label_shares(labels, ["layer"], resamples=400).set_index("label")
        assert not counted["beyond"].any()
        assert counted["expected"].sum() <= count + 1e-6
        assert counted.loc[NONE, "expected"] == pytest.approx(count * (1 - alpha), rel=0.1)


def test_labels_beyond_chance_are_found_in_the_count():
    labels = body()
    sleeve = (labels == 1).float()
    explanations = [made([m, sleeve], index=i, weights=[0.25, 0.5]) for i, m in enumerate(blobs(20))]
    masks = PictureLabels(labels[None].expand(20, -1, -1).clone(), LEGEND)
    found = label_by_parts(explanations, masks)
    counted = part_label_shares(found, resamples=400)
    first = counted.iloc[0]
    named = found[found["label"] == "sleeve"]
    assert first["label"] == "sleeve" and first["beyond"] and first["images"] == first["of"] == 20
    assert first["clusters"] == len(named) >= 20
    assert first["weight"] == pytest.approx(named["weight"].sum() / 20)
    assert first["expected"] == pytest.approx(found["chance.sleeve"].sum())
    assert first["excess"] == pytest.approx((len(named) - found["chance.sleeve"].sum()) / 20)
    assert first["lift"] == pytest.approx((named["lift"] * named["weight"]).sum() / named["weight"].sum())
    assert counted["label"].iloc[-1] == NONE
    figure = part_label_figure(counted)
    assert figure.axes[0].get_title() == "Coat"
    assert "sleeve" in [t.get_text() for t in figure.axes[0].get_yticklabels()]
    with pytest.raises(LisError, match="not counted by layer"):
        part_label_figure(part_label_shares(found, ["target"]))


def test_tables_can_be_written_and_gathered(tmp_path):
    found = label_by_parts([made([(body() == 1).float()])], PictureLabels(body()[None], LEGEND))
    found.to_parquet(tmp_path / "labels.parquet")
    again = pd.read_parquet(tmp_path / "labels.parquet")
    assert part_label_shares(again, resamples=10).equals(part_label_shares(found, resamples=10))
    gathered = explain_globally(found)
    assert gathered.table["label"].tolist() == ["sleeve"] and gathered.classes == ("Coat",)


def test_photographs_and_rendered_pictures():
    classifier, photographs = load_classifier("fashion"), load_fashion("sample")
    x = photographs.images[photographs.labels == 7][:6]  # sneakers
    explanations = explain_images(classifier, x, layers=["body.1", "body.7"], method="pca")
    labels = label_by_parts(explanations, load_segmenter("fashion-pictures"))
    counted = part_label_shares(labels, ["layer"], resamples=200)
    assert counted[counted["label"] == "sole"]["beyond"].any()  # sneakers are seen by their soles
    generator, segmenter = load_generator("fashion"), load_segmenter("fashion")
    w = generator.map(generator.sample_z(3, 0), torch.full((3,), 4), psi=0.7)
    rendered, masks = render_parts(generator, segmenter, w)
    explained = explain_images(classifier, rendered, layers=["body.1"], method="pca")
    table = label_by_parts(explained, PictureLabels(masks, segmenter.legend))
    assert set(table["part"]) <= {*segmenter.legend.names, WHOLE} and table["image"].nunique() == 3
    with pytest.raises(LisError, match="render_parts"):
        label_by_parts(explained, segmenter)


def test_what_is_refused_and_what_is_empty():
    one, masks = made([torch.rand(SIDE, SIDE)]), PictureLabels(body()[None], LEGEND)
    for explanations, options, why in (
        ([], {}, "at least one"),
        ([1], {}, "a list of explanations has a int"),
        ([one, one], {}, "explained twice"),
        ([one], {"alpha": 0}, "between 0 and 1"),
        ([one], {"threshold": 2}, "threshold"),
        ([one], {"batch_size": 0}, "batch_size"),
    ):
        with pytest.raises(LisError, match=why):
            label_by_parts(explanations, masks, **options)
    with pytest.raises(LisError, match="one a pixel"):
        label_by_parts([one], torch.zeros(2, SIDE, SIDE, dtype=torch.int64))
    silent = label_by_parts([made([torch.zeros(SIDE, SIDE)])], masks)
    assert len(silent) == 0
    with pytest.raises(LisError, match="table of labels is empty"):
        part_label_shares(silent)
    with pytest.raises(LisError, match="lack"):
        part_label_shares(pd.DataFrame({"label": ["a"]}))
    found = label_by_parts([one], masks)
    with pytest.raises(LisError, match="Did you mean 'layer'"):
        part_label_shares(found, ["layers"])
    with pytest.raises(LisError, match="at least one column"):
        part_label_shares(found, [])
    plain = label_by_parts([one], torch.zeros(1, SIDE, SIDE, dtype=torch.int64))
    assert len(plain) == 0  # a picture that is one part throughout can't tell where a map lies


def test_pictures_without_parts_or_clusters_are_said_to_be_empty():
    no_parts = label_by_parts([made(blobs(2))], torch.zeros(1, SIDE, SIDE, dtype=torch.uint8))
    assert len(no_parts) == 0
    for empty in (no_parts, label_by_parts([made([])], PictureLabels(body()[None], LEGEND))):
        with pytest.raises(LisError, match="table of labels is empty: no cluster was shown"):
            part_label_shares(empty)
