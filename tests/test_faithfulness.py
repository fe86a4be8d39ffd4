"""Deletion, insertion, overlap and controls, against loops, other libraries, and classifiers whose truth is known."""

import numpy as np
import pytest
import torch
from torch import nn

from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.parts import Legend
from lis_toolkit.saliency import (
    CONTROLS,
    PictureLabels,
    accounting_figure,
    baseline_images,
    control_maps,
    curve_area,
    explain_images,
    explanation_maps,
    faithfulness_figure,
    map_overlap,
    measure_faithfulness,
    part_masks,
    perturbation_curves,
    pixel_ranks,
    weights_accounted,
)
from lis_toolkit.saliency.perturbation import pixel_counts
from tiny_saliency import small_classifier, small_images
from tiny_segmenter import tiny_segmenter


class LeftNet(nn.Module):
    """Its class 0 speaks for light in the left half, and for nothing else."""

    def __init__(self, side=8):
        super().__init__()
        self.body = nn.Conv2d(1, 2, 1, bias=False)
        self.register_buffer("mask", torch.zeros(side, side).index_fill_(1, torch.arange(side // 2), 1.0))
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.body.weight.fill_(1.0)
            self.head.weight.copy_(torch.tensor([[6.0, 6.0], [0.0, 0.0]]))

    def features(self, x):
        return (self.body(x) * self.mask).mean((2, 3))


def left_classifier():
    return Classifier(LeftNet().eval(), ("left", "none"), channels=1, size=(8, 8), mean=[0.0], std=[1.0])


def test_curves_against_a_loop_over_pixels():
    classifier, x = small_classifier(), small_images(3)
    maps = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    ranks, targets, base = pixel_ranks(maps, range(3)), torch.tensor([0, 2, 1]), baseline_images(x, "mean")
    for kind in ("deletion", "insertion"):
        curves = perturbation_curves(
            classifier, x, targets, ranks, kind, baseline=base, steps=6, batch_size=2
        )
        for n in range(3):
            order = sorted(range(144), key=lambda p: -float(maps[n].flatten()[p]))
            for column, count in enumerate(pixel_counts(144, 6)):
                picture = (x if kind == "deletion" else base)[n].flatten().clone()
                for pixel in order[:count]:
                    picture[pixel] = (base if kind == "deletion" else x)[n].flatten()[pixel]
                p = classifier.logits(picture.reshape(1, 1, 12, 12)).detach().softmax(1)[0, targets[n]]
                assert float(curves[n, column]) == pytest.approx(float(p), abs=1e-6)


def test_areas_and_counts():
    assert pixel_counts(10, 4) == [0, 2, 5, 8, 10] and pixel_counts(3, 99) == [0, 1, 2, 3]
    curve = torch.tensor([[1.0, 0.5, 0.5], [0.2, 0.2, 0.2]])
    assert curve_area(curve, [0, 1, 4]).tolist() == pytest.approx([0.25 * 0.75 + 0.75 * 0.5, 0.2])


def test_equal_pixels_come_in_an_order_of_the_image_not_of_the_batch():
    maps = torch.zeros(4, 6, 6)
    maps[:, 2:4, 2:4] = 1.0
    ranks = pixel_ranks(maps, [5, 6, 7, 8], seed=3)
    for rank in ranks:
        assert sorted(rank.flatten().tolist()) == list(range(36))
        assert sorted(rank[2:4, 2:4].flatten().tolist()) == [0, 1, 2, 3]
    assert torch.equal(ranks[2:], pixel_ranks(maps[2:], [7, 8], seed=3))
    assert not torch.equal(ranks[0], ranks[1]) and not torch.equal(ranks, pixel_ranks(maps, [5, 6, 7, 8], 4))
    # Pixels without saliency come in no order of the picture: over many images their mean rank is even.
    many = pixel_ranks(torch.zeros(400, 4, 4), range(400)).double().mean(0)
    assert float((many - 7.5).abs().max()) < 5 * (16**2 / 12 / 400) ** 0.5


def test_the_true_map_wins_and_its_opposite_loses():
    x = 0.5 + 0.5 * torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    left = torch.zeros(24, 8, 8)
    left[:, :, :4] = 1
    found = measure_faithfulness(
        left_classifier(), x, {"true": left, "opposite": 1 - left, "empty": torch.zeros(24, 8, 8)}, target="left",
        baseline="black", steps=16, controls=["random", "noise"], batch_size=10,
    )  # fmt: skip
    assert found.methods == ("true", "opposite", "empty", "random", "noise") and len(found) == 24
    table = found.table(resamples=300).set_index(["method", "measure"])
    for measure, sign in (("deletion", -1), ("insertion", 1), ("net", 1)):
        value = {m: sign * table.loc[(m, measure), "mean"] for m in found.methods}
        assert value["true"] > value["noise"] > value["opposite"]
        assert value["true"] > value["random"] > value["opposite"]
    assert table.loc[("empty", "net"), "empty"] == 24 and table.loc[("true", "net"), "empty"] == 0
    assert table.loc[("random", "net"), "control"] and not table.loc[("true", "net"), "control"]
    against = found.differences("noise", resamples=300).set_index(["method", "measure"])
    assert against.loc[("true", "deletion"), "winner"] == "true"
    assert against.loc[("opposite", "insertion"), "winner"] == "noise"
    assert against.loc[("empty", "net"), "winner"] == ""  # an empty map is a random order, as noise is
    assert against.loc[("true", "net"), "better"] == 1.0
    exact = found.values("net")[0] - found.values("net")[4]
    assert against.loc[("true", "net"), "difference"] == pytest.approx(exact.mean())
    # Black pixels of the right half change nothing: the opposite map's first half of the curve is flat.
    flat = found.curves["deletion"][1, :, :9]
    assert float((flat - flat[:, :1]).abs().max()) < 1e-6


def test_the_same_whatever_the_batch_and_with_maps_from_a_function():
    classifier, x = small_classifier(), small_images(7)
    asked = []

    def make(part, targets, indices):
        asked.append(indices.tolist())
        assert len(part) == len(targets) == len(indices)
        return {"own": part[:, 0, ::3, ::3]}

    labels = (x[:, 0] > 0.5).to(torch.uint8)
    several = [
        measure_faithfulness(classifier, x, maps, parts=labels, steps=5, batch_size=size, seed=2)
        for maps, size in ((make, 3), (make, 7), ({"own": x[:, 0, ::3, ::3]}, 2))
    ]
    assert asked[:3] == [[0, 1, 2], [3, 4, 5], [6]]
    for other in several[1:]:
        for measure in several[0].measures:
            a, b = several[0].values(measure), other.values(measure)
            assert np.allclose(a, b, atol=1e-5, equal_nan=True)
    assert torch.equal(several[0].targets, classifier.logits(x).argmax(1))
    assert several[0].settings["classifier"] == classifier.hash


def test_overlap_against_loops():
    maps = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1)) - 0.2
    maps[1] = 0
    maps[2] = (torch.arange(36).reshape(6, 6) % 2).float()  # half of all pixels are the highest
    labels = torch.randint(0, 3, (3, 6, 6), generator=torch.Generator().manual_seed(2))
    found = map_overlap(maps, labels, 3)
    for n in (0, 2):
        total = sum(max(float(v), 0) for v in maps[n].flatten())
        for k in range(3):
            share = sum(
                max(float(maps[n, i, j]), 0) for i in range(6) for j in range(6) if labels[n, i, j] == k
            )
            tops = [(i, j) for i in range(6) for j in range(6) if maps[n, i, j] == maps[n].max()]
            assert float(found["share"][n, k]) == pytest.approx(share / total)
            hits = sum(int(labels[n, i, j]) == k for i, j in tops) / len(tops)
            assert float(found["hit"][n, k]) == pytest.approx(hits)
            assert float(found["area"][n, k]) == pytest.approx(float((labels[n] == k).float().mean()))
    assert found["share"][1].isnan().all() and found["hit"][1].isnan().all()


def test_parts_by_labels_masks_and_segmenters():
    x = small_images(2, 16)
    named = PictureLabels(torch.ones(2, 16, 16, dtype=torch.uint8), Legend(("background", "sleeve", "torso")))
    assert part_masks(named, x).legend.parts == ("sleeve", "torso")
    assert part_masks(torch.zeros(2, 16, 16, dtype=torch.bool), x).legend.parts == ("object",)
    assert part_masks(torch.full((2, 16, 16), 3), x).legend.parts == ("part 1", "part 2", "part 3")
    segmenter = tiny_segmenter([x])
    assert part_masks(segmenter, x).legend.parts == ("left", "right")
    for wrong, why in (
        (torch.zeros(2, 16, 16), "floating|float32"),
        (torch.zeros(2, 8, 8, dtype=torch.int64), "one a pixel"),
        (PictureLabels(torch.full((2, 16, 16), 7), named.legend), "the legend has 0 to 2"),
        (tiny_segmenter([x], layers=("L0",)), "render_parts"),
    ):
        with pytest.raises(LisError, match=why):
            part_masks(wrong, x)


def test_by_part_and_means_over_images_that_have_it():
    classifier, x = small_classifier(), small_images(6)
    labels = torch.zeros(6, 12, 12, dtype=torch.uint8)
    labels[:4, :, 6:] = 1
    maps = torch.zeros(6, 12, 12)
    maps[:, :, 8:] = 1
    found = measure_faithfulness(classifier, x, {"right": maps}, parts=labels, controls=[], steps=2)
    assert found.values("inside")[0].tolist() == [1, 1, 1, 1, 0, 0]
    assert found.values("pointing")[0].tolist() == [1, 1, 1, 1, 0, 0]
    part = found.by_part().set_index("part").loc["part 1"]
    assert (part["share"], part["area"], part["lift"], part["n"]) == (1.0, 0.5, 2.0, 4)
    rows = found.table(resamples=50).set_index("measure")
    assert rows.loc["pointing", "chance"] == pytest.approx(1 / 3) and np.isnan(rows.loc["deletion", "chance"])


@pytest.mark.parametrize("kind", ["blur", "black", "mean"])
def test_baselines_against_scipy_and_numpy(kind):
    from scipy.ndimage import gaussian_filter

    x = torch.rand(2, 3, 12, 18, generator=torch.Generator().manual_seed(0))
    found = baseline_images(x, kind).numpy()
    if kind == "blur":
        expected = [[gaussian_filter(c, 2.0, mode="nearest", truncate=3.0) for c in im] for im in x.numpy()]
    else:
        expected = 0 * x.numpy() + (x.numpy().mean((2, 3), keepdims=True) if kind == "mean" else 0)
    assert np.allclose(found, expected, atol=1e-5)


def test_controls():
    from scipy.ndimage import sobel

    x = torch.rand(5, 1, 10, 14, generator=torch.Generator().manual_seed(0))
    light = x[:, 0].numpy().astype(float)
    edges = np.stack(
        [np.hypot(sobel(im, 0, mode="nearest"), sobel(im, 1, mode="nearest")) / 8 for im in light]
    )
    assert np.allclose(control_maps(x, "edges").numpy(), edges, atol=1e-6)
    assert np.allclose(control_maps(x, "brightness").numpy(), light, atol=1e-6)
    centre = control_maps(x, "centre")
    assert torch.allclose(centre, centre.flip(1)) and torch.allclose(centre, centre.flip(2))
    assert bool((centre[0, 4:6, 6:8] >= centre[0].max() - 1e-6).all())
    for kind in ("noise", "random"):
        whole = control_maps(x, kind, seed=4)
        assert torch.equal(whole[3:], control_maps(x[3:], kind, [3, 4], seed=4))
        assert not torch.equal(whole, control_maps(x, kind, seed=5)) and not torch.equal(whole[0], whole[1])
    assert set(CONTROLS) == {"noise", "random", "centre", "brightness", "edges"}


def test_cluster_maps_and_what_they_account_for():
    classifier, x = small_classifier(), small_images(4)
    found = measure_faithfulness(
        classifier, Photographs(x, torch.zeros(4).long(), ("a",)), steps=3, controls=[]
    )
    names = [m.split(" ")[0] for m in found.methods]
    assert names == ["INV,", "INV", "INV", "INV", "Grad-CAM"]
    explanations = explain_images(classifier, x, method="pca")
    table = weights_accounted(explanations, resamples=100)
    for i, row in table.iterrows():
        parts = [e.layers[i] for e in explanations if not e.layers[i].empty]
        shown = [sum(c.weight for c in part.clusters) for part in parts]
        dropped = [sum(c.weight for c in part.dropped) for part in parts]
        pruned = [1 - float(part.weights[part.kept].sum()) for part in parts]
        assert row[["shown", "dropped", "pruned"]].tolist() == pytest.approx(
            [np.mean(shown), np.mean(dropped), np.mean(pruned)], abs=1e-5
        )
        assert row["shown"] + row["dropped"] + row["pruned"] == pytest.approx(1)
        assert row["n"] + row["empty"] == 4 and row["kept_maps"] <= row["maps"] == (6, 8, 10)[i]
    with pytest.raises(LisError, match="other layers"):
        weights_accounted([*explanations, *explain_images(classifier, x, layers=["body.1"], method="pca")])
    one = explanation_maps(classifier, ["body.3"], grad_cam_layers=["body.1", "body.5"])
    made = one(x, torch.zeros(4).long(), torch.arange(4))
    assert list(made) == ["INV, all layers", "INV conv 2", "Grad-CAM conv 1", "Grad-CAM conv 3"]
    tops = [made[name].flatten(1).argmax(1).tolist() for name in ("INV conv 2", "INV, all layers")]
    assert tops[0] == tops[1] and made["Grad-CAM conv 3"].shape == (4, 3, 3)
    assert accounting_figure(table).axes[0].get_xlim() == (0, 1)


def test_the_figure_has_a_panel_per_measure_and_a_row_per_method():
    x = small_images(4)
    found = measure_faithfulness(
        small_classifier(), x, {"own": x[:, 0]}, parts=x[:, 0] > 0.5, steps=3, controls=["noise"]
    )
    figure = faithfulness_figure(found, resamples=50)
    assert [p.get_title().split("\n")[0] for p in figure.axes[:3]] == [
        "deletion", "insertion", "insertion less deletion"
    ]  # fmt: skip
    assert len(figure.axes) == 5
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["own", "noise"]


def test_a_single_image_has_no_interval_and_the_classifier_is_left_as_it_was():
    classifier, x = small_classifier(), small_images(1)
    classifier.train()
    found = measure_faithfulness(classifier, x, {"own": x[:, 0]}, steps=2, controls=[])
    assert classifier.training and classifier.network.body.training
    row = found.table().iloc[0]
    assert row["n"] == 1 and np.isnan(row["low"])


def test_what_is_refused():
    classifier, x = small_classifier(), small_images(3)
    good = {"own": x[:, 0]}
    nan = x[:, 0].clone()
    nan[1, 0, 0] = float("nan")
    calls = iter([{"a": x[:2, 0]}, {"b": x[:1, 0]}])
    for arguments, why in (
        ({"maps": {"own": x[:2, 0]}}, "one map an image"),
        ({"maps": {"own": nan}}, "NaN or infinite values in 1 of 3"),
        ({"maps": {"own": (x[:, 0] > 0.5)}}, "bool"),
        ({"maps": [x]}, "a dict of names and maps"),
        ({"maps": {"noise": x[:, 0]}}, "the name of a control"),
        ({"maps": lambda *_: next(calls), "batch_size": 2}, "those before were a"),
        ({"maps": good, "controls": ["nose"]}, "Did you mean 'noise'"),
        ({"maps": good, "kinds": ["deletions"]}, "Did you mean 'deletion'"),
        ({"maps": good, "kinds": []}, "at least one"),
        ({"maps": good, "baseline": "blurr"}, "Did you mean 'blur'"),
        ({"maps": good, "sigma": 0}, "above 0"),
        ({"maps": good, "steps": 0}, "steps"),
        ({"maps": good, "target": "rings"}, "Did you mean 'ring'"),
        ({"maps": good, "target": ["ring"]}, "3 images"),
    ):
        with pytest.raises(LisError, match=why):
            measure_faithfulness(classifier, x, **arguments)
    found = measure_faithfulness(classifier, x, good, kinds=["deletion"], steps=2)
    assert found.measures == ("deletion",)
    with pytest.raises(LisError, match="Did you mean 'own'"):
        found.differences("won")
    with pytest.raises(LisError, match="without parts"):
        found.values("inside")
    with pytest.raises(LisError, match="without parts"):
        found.by_part()
    encoder = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), head=False,
                         channels=1, size=(12, 12), mean=[0.0], std=[1.0])  # fmt: skip
    with pytest.raises(LisError, match="encoder without a head"):
        measure_faithfulness(encoder, x, good)


def test_the_sheet_of_photographs_has_a_column_each_and_a_row_a_layer():
    from lis_toolkit.saliency import saliency_sheet

    classifier, x = small_classifier(), small_images(3)
    explanations = explain_images(classifier, x, method="pca")
    figure = saliency_sheet(explanations)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == "photograph" and texts[4] == "all layers" and texts[1].startswith("conv 1\n")
    assert texts[5:] == [e.name for e in explanations]
    with pytest.raises(LisError, match="other layers"):
        saliency_sheet([*explanations, *explain_images(classifier, x[:1], layers=["body.1"], method="pca")])
    with pytest.raises(LisError, match="empty"):
        saliency_sheet([])


def test_labels_beyond_the_legend_are_refused():
    labels = torch.tensor([[[0, 3], [1, 1]]])
    with pytest.raises(LisError, match="labels go from 0 to 3; 0 to 2 was expected"):
        map_overlap(torch.rand(1, 2, 2), labels, 3)


def test_no_maps_at_all_are_refused():
    classifier, x = small_classifier(), small_images(2)
    for made in (None, {"a": 3}, [1]):
        with pytest.raises(LisError, match="must return a dict of names and tensors"):
            measure_faithfulness(classifier, x, lambda *given, made=made: made)
    with pytest.raises(LisError, match="no maps and no controls"):
        measure_faithfulness(classifier, x, {}, controls=())
