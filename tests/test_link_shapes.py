"""Shapes of r and w: what does not depend on the pairing, nulls that have less shape, and orders of merging."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.link import fit_link
from lis_toolkit.pairs import Pairs
from lis_toolkit.topology import compare_link_shapes, link_shape_figure
from lis_toolkit.topology.link_shape import (
    COMPARED,
    LINKED,
    _between_means,
    _between_nearest,
    _clouds,
    gaussian_like,
    merge_heights,
)

SETTINGS = {"points": 60, "repeats": 3, "permutations": 199}


def made(w_of=None, classes=6, each=40, seed=0):
    """Pairs of `classes` lumps in r, whose w is a function of r."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    # Class means at uneven places on a line, so that merging has one order.
    places = np.stack([np.cumsum([0, 1, 3, 6, 10, 15])[:classes] * 3.0, np.zeros(classes)], 1)
    r = np.concatenate(
        [places[labels] + rng.normal(size=(len(labels), 2)), rng.normal(size=(len(labels), 3))], 1
    )
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    w = r @ turn if w_of is None else w_of(r, labels, rng)
    tensors = [torch.from_numpy(x).float() for x in (w, r, w)]
    counts = {k: (each, each) for k in range(classes)}
    names = tuple(f"class {k}" for k in range(classes))
    return Pairs(*tensors, torch.from_numpy(labels), names, counts, 1.0, 0, "g", "c")


def row(shapes, one, other, dim=1):
    table = shapes.distances
    return table[(table.one == one) & (table.other == other) & (table.dim == dim)].iloc[0]


@pytest.fixture(scope="module")
def turned():
    pairs = made()
    return pairs, compare_link_shapes(pairs, fit_link(pairs), **SETTINGS)


def test_a_rotation_keeps_all_shapes(turned):
    _, shapes = turned
    assert len(shapes.distances) == 2 * len(COMPARED)
    for dim in (0, 1):
        assert row(shapes, "r", "w", dim).mean_distance < 1e-3
        assert row(shapes, "r", "other r", dim).mean_distance > 0.01
    # Lumps on a line have no loops, and components that no Gaussian has.
    assert (
        row(shapes, "r", "Gaussian like w", 0).mean_distance
        > 2 * row(shapes, "r", "other r", 0).mean_distance
    )
    order = shapes.order[(shapes.order.one == "r") & (shapes.order.other == "w")]
    assert np.allclose(order.merging, 1) and np.allclose(order.pairs, 1) and (order.pairs_p < 0.05).all()
    assert "classes merge alike in r and w" in str(shapes)


def test_shuffled_pairs_keep_diagrams_and_lose_the_order(turned):
    pairs, shapes = turned
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    # w of another class for every row: the cloud of w is the same set of points.
    moved = torch.cat([torch.arange(40) + 40 * int(k) for k in order])
    shuffled = replace(pairs, w=pairs.w[moved])
    found = compare_link_shapes(shuffled, fit_link(pairs), points=240, repeats=1, permutations=199)
    whole = compare_link_shapes(pairs, fit_link(pairs), points=240, repeats=1, permutations=199)
    for dim in (0, 1):
        assert row(found, "r", "w", dim).mean_distance == pytest.approx(
            row(whole, "r", "w", dim).mean_distance, abs=1e-6
        )
    means = found.order[(found.order.of == "means") & (found.order.other == "w")].iloc[0]
    assert means.pairs < 0.7 and np.isnan(row(found, "r", "other r").mean_distance)


def test_a_cloud_without_shape_is_far():
    pairs = made(lambda r, labels, rng: rng.normal(size=(len(r), 5)))
    shapes = compare_link_shapes(pairs, fit_link(pairs), **SETTINGS)
    assert row(shapes, "r", "w", 0).mean_distance > 3 * row(shapes, "r", "other r", 0).mean_distance
    assert (
        row(shapes, "w", "Gaussian like w", 0).mean_distance
        < 3 * row(shapes, "w", "other w", 0).mean_distance
    )
    order = shapes.order[(shapes.order.one == "r") & (shapes.order.other == "w")]
    assert (order.pairs < 0.7).all()


def test_gaussians_and_merging():
    x = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([3, 1, 0.1, 0]) + 5
    drawn = gaussian_like(x, np.random.default_rng(1), 40_000)
    assert np.allclose(np.cov(drawn.T), np.cov(x.T), atol=0.15) and np.allclose(
        drawn.mean(0), x.mean(0), atol=0.1
    )
    assert (drawn[:, 3] == 5).all()
    distances = np.array([[0, 2, 9, 7], [2, 0, 4, 8], [9, 4, 0, 1], [7, 8, 1, 0.0]])
    assert merge_heights(distances).tolist() == [[0, 2, 4, 4], [2, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0]]


def test_few_classes_wrong_pairs_seeds_and_files(turned, tmp_path):
    pairs, shapes = turned
    link = fit_link(pairs)
    three = pairs.subset(torch.nonzero(pairs.labels < 3)[:, 0])
    few = compare_link_shapes(three, link, **SETTINGS)
    assert len(few.order) == 0 and not few.heights
    again = compare_link_shapes(pairs, link, **SETTINGS)
    assert again.distances.equals(shapes.distances) and again.order.equals(shapes.order)
    assert not compare_link_shapes(pairs, link, **SETTINGS, seed=1).distances.equals(shapes.distances)
    with pytest.raises(LisError, match="columns"):
        compare_link_shapes(replace(pairs, r=pairs.r[:, :3]), link)
    with pytest.raises(LisError, match="w of the pairs.*NaN"):
        compare_link_shapes(replace(pairs, w=pairs.w * np.nan), link)
    shapes.save(tmp_path / "shapes")
    told = json.loads((tmp_path / "shapes" / "manifest.json").read_text())
    assert told["classes"] == list(pairs.classes) and told["provenance"]["generator_hash"] == "g"
    for one in (shapes, few):
        figure = link_shape_figure(one)
        figure.savefig(tmp_path / "shapes.png")
        assert len(figure.axes) == (4 if one is shapes else 2)


def test_what_r_is_compared_with():
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], 60)
    w = np.array([[0.0, 0], [30, 0], [0, 30]])[labels] + rng.normal(size=(180, 2))
    rows = np.arange(0, 180, 2)
    clouds = _clouds({"r": -w, "w": w, LINKED: 2 * w}, rows, labels, np.random.default_rng(0))
    assert np.array_equal(clouds["r"], -w[rows]) and np.array_equal(clouds[LINKED], 2 * w[rows])
    shuffled, mixed = clouds["columns of w shuffled"], clouds["class Gaussians like w"]
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(w[rows], axis=0))
    assert len({tuple(point) for point in shuffled} & {tuple(point) for point in w[rows]}) < 10
    for k in range(3):
        own = mixed[labels[rows] == k]
        assert np.allclose(own.mean(0), w[labels == k].mean(0), atol=0.8) and 0.5 < own.std(0).max() < 1.7


def test_distances_of_classes():
    x = np.array([[0.0, 0], [1, 0], [4, 0], [9, 0]])
    places = [np.array([0, 1]), np.array([2, 3])]
    assert _between_nearest(x, places).tolist() == [[0, 3], [3, 0]]
    assert _between_means(x, places).tolist() == [[0, 6], [6, 0]]
