"""Distances of diagrams and layers: persim and a plain loop, draws that share no image, Mantel's test."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from persim import sliced_wasserstein as persims
from scipy.stats import spearmanr

from lis_toolkit.activations import sample_points
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.topology import (
    LayerDistances,
    agreement_figure,
    compare_trainings,
    diagram_distances,
    diagram_figure,
    distance_figure,
    layer_distances,
    linear_cka,
    persistence_diagrams,
    representational_similarity,
    sliced_wasserstein,
    training_distances,
)
from lis_toolkit.topology.agreement import mantel
from lis_toolkit.topology.layer_distances import MEASURES, _Draws
from tiny import tiny_classifier, tiny_generator


def bars(n, seed):
    rng = np.random.default_rng(seed)
    born = rng.random(n)
    return np.stack([born, born + rng.exponential(0.3, n)], 1)


def plain_distance(a, b, directions):
    """The definition, direction by direction, with scipy's 1-Wasserstein distance of two samples of equal size."""
    from scipy.stats import wasserstein_distance

    total = 0.0
    for i in range(directions):
        angle = np.pi * (0.5 + i / directions)
        line = np.array([np.cos(angle), np.sin(angle)])
        one = [p @ line for p in a] + [np.array([p.mean()] * 2) @ line for p in b]
        two = [p @ line for p in b] + [np.array([p.mean()] * 2) @ line for p in a]
        total += len(one) * wasserstein_distance(one, two) if one else 0.0
    return total / directions


@pytest.mark.parametrize("sizes", [(7, 12), (1, 5), (0, 6), (9, 0), (0, 0)])
def test_equals_persim_and_the_definition(sizes):
    a, b = (bars(n, seed) for seed, n in enumerate(sizes))
    found = sliced_wasserstein(a, b, directions=10)
    assert found == pytest.approx(plain_distance(a, b, 10), rel=1e-9, abs=1e-12)
    assert found == pytest.approx(persims(a, b, M=10), rel=1e-5, abs=1e-12)  # which rounds to float32
    assert sliced_wasserstein(b, a, directions=10) == pytest.approx(found)
    assert sliced_wasserstein(a, a) == 0
    assert sum(sizes) == 0 or found > 0


def test_diagrams_of_other_units_and_endless_bars():
    rng = np.random.default_rng(0)
    one, other = (persistence_diagrams(rng.normal(size=(30, 3)) * s) for s in (1, 4))
    with pytest.raises(LisError, match="rescaled"):
        sliced_wasserstein(one, other.rescaled(True))
    with pytest.raises(LisError, match="finite"):
        sliced_wasserstein(np.array([[0.0, np.inf]]), one)
    capped = sliced_wasserstein(one, other, 0, essential="cap")
    assert capped == pytest.approx(sliced_wasserstein(one.bars(0, "cap"), other.bars(0, "cap")))
    assert capped > sliced_wasserstein(one, other, 0)
    matrix = diagram_distances([one, other])
    assert matrix[0, 1] == matrix[1, 0] == sliced_wasserstein(one, other) and matrix[0, 0] == 0
    assert diagram_distances([one], [other, one]).tolist() == [[matrix[0, 1], 0]]


@pytest.fixture(scope="module")
def clouds():
    generator = tiny_generator()
    x = generator.render(generator.map(generator.sample_z(120, 5), torch.arange(120) % 3))
    return [sample_points(tiny_classifier(generator, seed), x) for seed in (0, 1)]


def test_every_draw_is_what_it_says(clouds):
    found = layer_distances(clouds[0], repeats=3, points=40, seed=2)
    names = list(clouds[0])
    assert found.layers_a == tuple(names) and found.settings["disjoint"] and found.within
    order = np.random.default_rng([2, 11]).permutation(120)
    for t in range(3):
        rows = np.sort(order[40 * t : 40 * (t + 1)])
        made = [persistence_diagrams(clouds[0][name].points[rows], normalise=True) for name in names]
        for i, j in itertools.product(range(len(names)), repeat=2):
            assert found.values[t, i, j] == pytest.approx(sliced_wasserstein(made[i], made[j]))
            raw = sliced_wasserstein(made[i].rescaled(False), made[j].rescaled(False))
            assert found.raw[t, i, j] == pytest.approx(raw)
        assert found.sizes_a[t].tolist() == [len(d.H1) for d in made]
    assert np.allclose(found.mean, found.values.mean(0)) and np.allclose(
        found.sd, found.values.std(0, ddof=1)
    )
    assert (found.floor_a > 0).all() and found.floor_a.shape == (len(names),)
    table = found.table()
    assert len(table) == 3 * len(names) ** 2 and (table["bars_a"] >= 0).all()
    assert "3 draws of 40 points;" in str(found)


def test_similarities_of_the_same_rows(clouds):
    a, b = clouds
    for measure in ("cka", "rsa"):
        found = layer_distances(a, b, measure, repeats=2, points=50)
        rows = np.sort(np.random.default_rng([0, 11]).permutation(120)[:50])
        x, y = a["penultimate"].points[rows], b[list(b)[0]].points[rows]
        truth = linear_cka(x, y) if measure == "cka" else representational_similarity(x, y, 0).correlation
        assert found.values[0, list(a).index("penultimate"), 0] == pytest.approx(1 - truth)
        assert found.sizes_a is None and not found.within
    fewer = {name: cloud.subset(torch.arange(60)) for name, cloud in b.items()}
    with pytest.raises(LisError, match="other images"):
        layer_distances(a, fewer, "cka", points=50)
    assert layer_distances(a, fewer, repeats=1, points=50).values.shape[0] == 1


def test_draws_overlap_only_where_they_must():
    apart = _Draws(30, True, 100, 0)
    rows = [set(apart.rows(t, 100).tolist()) for t in range(3)]
    assert all(len(r) == 30 for r in rows) and not (rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2])
    assert apart.disjoint(3) and not apart.disjoint(4)
    assert len(apart.rows(3, 100)) == 30 and set(apart.rows(3, 100)) != set(apart.rows(4, 100))
    assert _Draws(500, True, 100, 0).rows(1, 100).tolist() == list(range(100))


def test_two_trainings_at_once_are_three_calls(clouds):
    settings = {"repeats": 2, "points": 40}
    within, other, between = training_distances(*clouds, **settings)
    for found, truth in ((within, layer_distances(clouds[0], **settings)),
                         (other, layer_distances(clouds[1], **settings)),
                         (between, layer_distances(*clouds, **settings))):  # fmt: skip
        for name in ("values", "raw", "sizes_a", "sizes_b", "floor_a", "floor_b"):
            assert np.allclose(getattr(found, name), getattr(truth, name)), name
        for name in ("layers_a", "layers_b", "titles_a", "titles_b", "within", "measure"):
            assert getattr(found, name) == getattr(truth, name), name


def layers_of(matrix, draws=4, noise=0.0, within=True, seed=0):
    """A result whose mean distances are a matrix."""
    rng = np.random.default_rng(seed)
    names = tuple(f"layer {i}" for i in range(len(matrix)))
    values = np.stack(
        [matrix + (e + e.T if within else e) for e in noise * rng.normal(size=(draws, *matrix.shape))]
    )
    return LayerDistances("cka", names, names, names, names, within, values)


@pytest.mark.parametrize("seed, like", [(0, 1.0), (1, 0.0), (2, 0.0), (3, 0.0)])
def test_mantel_by_all_permutations(seed, like):
    rng = np.random.default_rng(seed)
    a = rng.random((5, 5))
    a = a + a.T
    b = like * a + 0.8 * rng.random((5, 5))
    b = b + b.T
    above = np.triu_indices(5, 1)
    every = [
        spearmanr(a[above], b[np.ix_(p, p)][above])[0] for p in map(list, itertools.permutations(range(5)))
    ]
    found, p_value = mantel(a, b, 4000, np.random.default_rng(1))
    assert found == pytest.approx(every[0])
    assert p_value == pytest.approx(np.mean(np.array(every) >= every[0] - 1e-12), abs=0.02)


def test_agreement_and_what_depth_explains():
    rng = np.random.default_rng(3)
    place = np.arange(9)
    depth = np.abs(place[:, None] - place).astype(float)
    shared = rng.random((9, 9)) * 4
    shared = np.triu(shared, 1) + np.triu(shared, 1).T
    extra = [np.triu(m, 1) + np.triu(m, 1).T for m in rng.random((2, 9, 9)) * 0.5]
    only_depth = compare_trainings(layers_of(depth + extra[0]), layers_of(depth + extra[1]), permutations=999)
    assert only_depth.correlation > 0.9 and only_depth.p_value < 0.01
    assert only_depth.beyond_depth < 0.5 and only_depth.beyond_depth_p > 0.01 and only_depth.nearest is None
    more = compare_trainings(
        layers_of(depth + shared, noise=0.1), layers_of(depth + shared, noise=0.1, seed=1)
    )
    assert more.beyond_depth > 0.8 and more.beyond_depth_p < 0.01
    assert more.low < more.correlation <= more.high <= 1 and "beyond depth" in str(more)


def test_nearest_layers():
    depth = np.abs(np.subtract.outer(np.arange(6), np.arange(6))).astype(float)
    found = compare_trainings(
        layers_of(depth), layers_of(depth), layers_of(depth, within=False), permutations=999
    )
    assert found.nearest == tuple(range(6)) and found.hits == 6 and found.hits_p < 0.01 and found.offset == 0
    assert found.chance_offset == pytest.approx(depth.mean())
    turned = compare_trainings(
        layers_of(depth), layers_of(depth), layers_of(depth[::-1], within=False), permutations=999
    )
    assert turned.hits == 0 and turned.hits_p == 1
    # Rows are the first model's layers: each of them looks for its nearest, and all find the last.
    last = np.broadcast_to(np.arange(6.0)[::-1], (6, 6)) + 0.01 * np.arange(6.0)[:, None]
    found = compare_trainings(
        layers_of(depth), layers_of(depth), layers_of(last, within=False), permutations=99
    )
    assert found.nearest == (5,) * 6 and found.hits == 1 and found.offset == pytest.approx(2.5)
    for wrong in (layers_of(depth[:3, :3]), layers_of(depth, draws=2)):
        with pytest.raises(LisError):
            compare_trainings(layers_of(depth), wrong, permutations=999)
    with pytest.raises(LisError, match="do not vary"):
        compare_trainings(layers_of(depth), layers_of(depth * np.nan), permutations=999)


def test_wrong_clouds_and_a_dead_layer(clouds):
    for wrong, said in (([], "list"), ({}, "dict"), ({"a": np.zeros((2, 2))}, "'a'.*2 points")):
        with pytest.raises(LisError, match=said):
            layer_distances(wrong)
    with pytest.raises(LisError, match="Did you mean 'rsa'"):
        layer_distances(clouds[0], measure="rca")
    rng = np.random.default_rng(0)
    some = {"alive": rng.normal(size=(60, 3)), "dead": np.zeros((60, 4))}
    found = layer_distances(some, repeats=2, points=30)
    assert found.sizes_a[:, 1].tolist() == [0, 0] and found.values[0, 0, 1] > 0 and found.floor_a[1] == 0
    assert np.isnan(layer_distances(some, None, "cka", points=30).values[0, 0, 1])
    assert np.isnan(layer_distances(some, None, "rsa", points=30).values[0, 0, 1])
    assert np.isnan(layer_distances(some, repeats=1, points=30).floor_a).all()


def test_save_and_load(clouds, tmp_path):
    for measure in MEASURES:
        found = layer_distances(
            clouds[0], None, measure, repeats=2, points=30, notes={"classifier_hash": "abc"}
        )
        found.save(tmp_path / "d.safetensors")
        again = LayerDistances.load(tmp_path / "d.safetensors")
        assert np.array_equal(again.values, found.values) and str(again) == str(found)
        assert again.titles_a == found.titles_a and again.provenance["classifier_hash"] == "abc"
    persistence_diagrams(np.eye(5)).save(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no layer distances"):
        LayerDistances.load(tmp_path / "other.safetensors")


def texts_inside(figure: Figure):
    """Whether all axis labels and titles lie on the canvas."""
    figure.savefig("/dev/null", format="png")
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            if text.get_text():
                assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text


def test_figures(clouds):
    within, other, between = training_distances(*clouds, repeats=2, points=40)
    rsa = layer_distances(clouds[0], None, "rsa", repeats=2, points=40)
    texts_inside(distance_figure(within, rsa))
    figure = distance_figure(within, other, between, names=["a", "b", "both"])
    texts_inside(figure)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert np.allclose(drawn[0], within.mean) and np.allclose(drawn[2], between.mean)
    agreement = (
        compare_trainings(within, other, between, permutations=99) if len(within.layers_a) > 3 else None
    )
    texts_inside(agreement_figure(within, other, agreement))
    made = {name: persistence_diagrams(cloud, normalise=True) for name, cloud in clouds[0].items()}
    figure = diagram_figure(made, {name: "a title that is long, longer than a panel" for name in made})
    texts_inside(figure)
    dots = [np.asarray(c.get_offsets()) for c in figure.axes[0].collections]
    first = next(iter(made.values()))
    assert [len(d) for d in dots] == [len(first.H0), 1, len(first.H1), 0] and np.allclose(dots[2], first.H1)
    for call in (lambda: diagram_figure({}), lambda: distance_figure(), lambda: distance_figure(within, names=[]),
                 lambda: diagram_figure({"a": persistence_diagrams(np.eye(4)), **made})):  # fmt: skip
        with pytest.raises(LisError):
            call()
