"""Explanations on disk and as figures, and ways of clustering compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.saliency import (
    compare_clusterings,
    explain_images,
    explanation_figure,
    load_explanations,
    save_explanations,
)
from lis_toolkit.saliency.comparison import group_overlap, map_agreement
from lis_toolkit.saliency.overlays import heat_colours, heat_on, tile_of, tile_size
from tiny_saliency import small_classifier, small_images


@pytest.fixture(scope="module")
def explanations():
    return explain_images(small_classifier(widths=(16, 24, 40)), small_images(3), method="pca")


def test_what_is_saved_is_what_is_loaded(explanations, tmp_path):
    units = explain_images(small_classifier(widths=(16, 24, 40)), small_images(2), unit=5, method="pca")
    silent = replace(units[0], notes=("nothing here",))
    for i, given in enumerate((explanations, [silent, units[1]])):
        save_explanations(given, tmp_path / str(i))
        again = load_explanations(tmp_path / str(i))
        assert len(again) == len(given)
        for one, other in zip(given, again, strict=True):
            for name in ("target", "unit", "classes", "score", "seen", "index", "notes", "settings", "title"):
                assert getattr(one, name) == getattr(other, name), name
            assert torch.equal(one.image, other.image) and torch.equal(one.logits, other.logits)
            for a, b in zip(one.layers, other.layers, strict=True):
                assert (
                    a.layer == b.layer and torch.equal(a.weights, b.weights) and torch.equal(a.kept, b.kept)
                )
                assert (a.k, a.mass, a.accounted) == (b.k, b.mass, b.accounted)
                assert a.silhouette == b.silhouette or (np.isnan(a.silhouette) and np.isnan(b.silhouette))
                assert torch.equal(a.merged(), b.merged()) and torch.equal(a.labels, b.labels)
                for c, d in zip((*a.clusters, *a.dropped), (*b.clusters, *b.dropped), strict=True):
                    assert c.members == d.members and c.weight == d.weight and torch.equal(c.map, d.map)


def test_folders(explanations, tmp_path):
    save_explanations(explanations, tmp_path / "a")
    save_explanations(explanations[:1], tmp_path / "a")  # in the place of the others
    assert len(load_explanations(tmp_path / "a")) == 1
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(LisError, match="holds something else"):
        save_explanations(explanations, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["thesis.txt"]
    with pytest.raises(LisError, match="at least one Explanation"):
        save_explanations([], tmp_path / "c")
    with pytest.raises(LisError, match="explanation 1 has other image shape"):
        save_explanations(
            [explanations[0], replace(explanations[1], image=torch.zeros(1, 9, 9))], tmp_path / "c"
        )
    with pytest.raises(LisError, match="explanation 2 has other settings"):
        save_explanations([*explanations[:2], replace(explanations[2], settings={})], tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "name", ["layers.parquet", "clusters.parquet", "tensors.safetensors", "manifest.json"]
)
def test_damage_is_seen(explanations, tmp_path, name):
    save_explanations(explanations[:1], tmp_path / "a")
    file = tmp_path / "a" / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(CheckpointError):
        load_explanations(tmp_path / "a")
    file.unlink()
    with pytest.raises(CheckpointError, match="no .*manifest|is missing"):
        load_explanations(tmp_path / "a")
    file.write_bytes(whole)
    load_explanations(tmp_path / "a")
    told = json.loads((tmp_path / "a" / "manifest.json").read_text())
    told["images"][0]["target"] = 2
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="damaged"):
        load_explanations(tmp_path / "a")


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def inside(figure):
    """Whether all texts lie on the figure."""
    figure.canvas.draw()
    box = figure.bbox
    for axes in figure.axes:
        for text in axes.texts:
            own = text.get_window_extent()
            assert own.x0 >= box.x0 and own.x1 <= box.x1 and own.y0 >= box.y0 and own.y1 <= box.y1, (
                text.get_text()
            )
    return True


def test_the_figure_says_what_the_explanation_has(explanations):
    explanation = explanations[0]
    figure = explanation_figure(explanation)
    said = texts(figure)
    assert inside(figure) and figure.get_size_inches()[0] * 100 < 1000
    assert any(explanation.title in text for text in said)
    for part in explanation.layers:
        assert part.layer.title in said
        assert any(f"{len(part.kept)} of {len(part.weights)} maps kept" in text for text in said)
        assert f"all shown {part.accounted:.0%}" in said
        for cluster in part.clusters:
            assert any(text.startswith(f"{cluster.weight:.0%} · {len(cluster.members)} map") for text in said)
    with pytest.raises(LisError, match="got list"):
        explanation_figure(explanations)


def test_figures_of_odd_pictures_and_silent_layers(explanations):
    network = small_classifier().network
    with torch.no_grad():
        network.head.weight[1] = -network.head.weight[1].abs()
    classifier = small_classifier()
    classifier.network.load_state_dict(network.state_dict())
    explanation = explain_images(
        classifier, small_images(1), "ring", layers=["body.5", "penultimate"], method="pca"
    )[0]
    figure = explanation_figure(explanation)
    assert "nothing speaks for ring here" in texts(figure) and inside(figure)
    assert any("Left out" in text for text in texts(figure))
    wide = replace(explanations[0], image=torch.rand(3, 60, 300), seen=(0, 20, 60, 260))
    assert inside(explanation_figure(wide))


def test_heat():
    assert tile_size((32, 32)) == (96, 96) and tile_size((48, 20)) == (96, 40)
    assert tile_size((224, 112)) == (96, 48) and tile_size((100, 1)) == (96, 1)
    image = torch.rand(1, 8, 8)
    assert torch.equal(tile_of(image, (16, 16))[2], image[0].repeat_interleave(2, 0).repeat_interleave(2, 1))
    dark = heat_on(image, torch.zeros(8, 8), (8, 8))
    assert torch.allclose(dark, 0.55 * image.expand(3, -1, -1))
    spot = torch.zeros(8, 8)
    spot[2, 3] = 0.4
    lit = heat_on(image, spot, (8, 8))
    assert torch.allclose(lit[:, 0], dark[:, 0]) and not torch.allclose(lit[:, 2, 3], dark[:, 2, 3])
    brightness = heat_colours(torch.linspace(0, 1, 20)).mul(torch.tensor([0.3, 0.6, 0.1])[:, None]).sum(0)
    assert bool((brightness.diff() > 0).all())  # in grey, too


def test_measures_of_agreement():
    one, same, other = np.array([0, 0, 1, 1, 2]), np.array([2, 2, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    assert group_overlap(one, same, np.ones(5)) == 1
    # Best Jaccard indices: {0, 1} has 2/3 with {0, 1, 2}, {2, 3} has 1/3 and {4} 1/2 with {3, 4}.
    assert group_overlap(one, other, np.array([1, 1, 1, 1, 2.0])) == pytest.approx(0.5)
    a, b = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 5.0]])
    assert map_agreement(a, b) == pytest.approx(0.5 / 1.5) and map_agreement(b, b * 3) == 1
    assert map_agreement(a, a * 0) == 0 and map_agreement(a * 0, a * 0) == 1


def test_ways_of_clustering_compared():
    classifier, x = small_classifier(widths=(16, 24)), small_images(2)
    table = compare_clusterings(classifier, x, layers=["body.3"], starts=1)
    assert sorted(set(table["way"])) == ["PCA, Ward", "shuffled", "t-SNE, start 0"]
    tsne, pca = (explain_images(classifier, x, layers=["body.3"], method=m) for m in ("tsne", "pca"))
    for i in range(2):
        one, other = tsne[i].layers[0], pca[i].layers[0]
        row = table[(table["image"] == i) & (table["way"] == "PCA, Ward")].iloc[0]
        assert row["rand"] == pytest.approx(adjusted_rand_score(one.labels, other.labels))
        assert row["merged"] == pytest.approx(map_agreement(one.merged(), other.merged()))
        assert (row["k"], row["k_reference"]) == (other.k, one.k)
    chance = table[table["way"] == "shuffled"]
    assert chance["rand"].abs().max() < 0.5 and (chance["rand"] != 0).any() and chance["merged"].isna().all()
    assert table.equals(compare_clusterings(classifier, x, layers=["body.3"], starts=1, batch_size=1))
