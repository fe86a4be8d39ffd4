"""Mapper graphs against a slow mapper of plain loops, kmapper's own cover and nerve, and shapes that are known."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from lis_toolkit import LisError
from lis_toolkit.topology import find_knee, mapper_graph, neighbour_distances
from lis_toolkit.topology.cover import interval_bounds, lens_values
from lis_toolkit.topology.mapper_layout import node_radii, place_nodes


def slow_mapper(points, lens, intervals, overlap, eps, min_samples):
    """Nodes as (interval, set of rows) and edges as ((node, node), shared), by the definition."""
    low, high = lens.min(), lens.max()
    step = (high - low) / intervals
    width = step / (1 - overlap)
    nodes = []
    for i in range(intervals):
        middle = low + (i + 0.5) * step
        rows = [j for j in range(len(points)) if middle - width / 2 <= lens[j] <= middle + width / 2]
        if len(rows) < min_samples:
            continue
        found = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points[rows])
        for label in sorted(set(found) - {-1}):
            nodes.append((i, {rows[k] for k in range(len(rows)) if found[k] == label}))
    edges = {
        (a, b): len(nodes[a][1] & nodes[b][1]) for a in range(len(nodes)) for b in range(a + 1, len(nodes))
    }
    return nodes, {pair: count for pair, count in edges.items() if count}


def as_sets(graph):
    nodes = [(int(i), set(rows.tolist())) for i, rows in zip(graph.intervals, graph.members, strict=True)]
    return nodes, {(int(a), int(b)): int(n) for (a, b), n in zip(graph.edges, graph.shared, strict=True)}


def circle(n=300, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) + noise * rng.standard_normal((n, 2))


@pytest.mark.parametrize("overlap", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("columns", [2, 20])
def test_it_is_the_slow_mapper(overlap, columns):
    rng = np.random.default_rng(columns)
    points = np.concatenate([rng.normal(c, 0.7, (80, columns)) for c in (0, 1, 2.5)])
    graph = mapper_graph(points, intervals=12, overlap=overlap, min_samples=4)
    lens = np.array([np.sqrt((row**2).sum()) for row in points])
    np.testing.assert_allclose(graph.lens, lens)
    expected = slow_mapper(points, lens, 12, overlap, graph.settings["eps"], 4)
    assert len(expected[0]) > 5 and expected[1]
    assert as_sets(graph) == expected
    inside = set().union(*(rows for _, rows in expected[0]))
    assert graph.noise == pytest.approx(1 - len(inside) / len(points)) and 0 < graph.noise < 1


def test_kmapper_with_its_own_cover_and_nerve_agrees():
    import kmapper

    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(size=(200, 3)), rng.normal(12, 1, (200, 3))])  # nothing between them
    graph = mapper_graph(points, eps=0.8)
    made = kmapper.KeplerMapper(verbose=0).map(
        graph.lens[:, None], points, clusterer=DBSCAN(eps=0.8, min_samples=5),
        cover=kmapper.Cover(n_cubes=40, perc_overlap=0.3),
    )  # fmt: skip
    names = list(made["nodes"])
    assert [sorted(rows) for rows in made["nodes"].values()] == [rows.tolist() for rows in graph.members]
    pairs = {
        tuple(sorted((names.index(a), names.index(b)))) for a, ends in made["links"].items() for b in ends
    }
    assert pairs == {tuple(edge) for edge in graph.edges.tolist()} and len(pairs) > 3
    # kmapper counts intervals that are not empty; ours counts all.
    assert graph.intervals.max() > max(int(name[4:].split("_")[0]) for name in names)


def test_a_circle_seen_from_the_side_is_a_cycle():
    import networkx

    graph = mapper_graph(circle(), lens=lambda points: points[:, 1], intervals=8, overlap=0.3, eps=0.3)
    made = networkx.Graph(graph.edges.tolist())
    assert len(made) == len(graph) == 14 and networkx.is_connected(
        made
    )  # one at each pole, two at each height
    assert all(degree == 2 for _, degree in made.degree()), "every node has two neighbours: one ring"
    assert graph.noise == 0 and graph.components.max() == 0


def test_two_clusters_are_two_parts_and_a_lone_point_is_noise():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.1, (60, 2)), rng.normal((5, 0), 0.1, (60, 2)), [[20, 20]]])
    labels = np.repeat([0, 1, 1], [60, 60, 1])
    graph = mapper_graph(
        points, labels, ["left", "right"], lens=points[:, 1].clip(-1, 1), intervals=5, eps=0.5
    )
    assert graph.components.max() + 1 == 2 and graph.times[-1] == 0
    assert graph.noise == pytest.approx((graph.times == 0).mean())
    sides = {(graph.counts[node] > 0).tolist().index(True) for node in range(len(graph))}
    assert sides == {0, 1} and ((graph.counts > 0).sum(axis=1) == 1).all()
    assert "left 100 %" in graph.title_of(0) or "right 100 %" in graph.title_of(0)


def test_a_point_cloud_takes_labels_by_image_and_keeps_positions():
    points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    images = torch.arange(60) // 3
    cloud = SimpleNamespace(points=points, images=images, positions=torch.stack([images, images], 1), how="random",
                            layer=SimpleNamespace(name="body.1", title="conv 1", depth=0.0))  # fmt: skip
    labels = torch.arange(20) % 2
    graph = mapper_graph(cloud, labels, intervals=4, eps=3.0)
    np.testing.assert_array_equal(graph.labels, (images % 2).numpy())
    np.testing.assert_array_equal(graph.positions[:, 0], images.numpy())
    assert graph.classes == ("class 0", "class 1") and str(graph).startswith("conv 1: ")
    assert graph.settings["layer"] == "body.1" and graph.settings["how"] == "random"
    with pytest.raises(LisError, match="19 labels, and the cloud of conv 1 has points of image 19"):
        mapper_graph(cloud, labels[:19])


def test_a_limit_draws_points_by_the_seed_and_says_so():
    points = np.random.default_rng(0).normal(size=(500, 3))
    graph, again = (mapper_graph(points, np.zeros(500, int), limit=200, seed=4, eps=1.0) for _ in range(2))
    other = mapper_graph(points, limit=200, seed=5, eps=1.0)
    np.testing.assert_array_equal(graph.used, again.used)
    assert len(graph.used) == 200 == graph.settings["used"] and not np.array_equal(graph.used, other.used)
    assert set(np.concatenate(graph.members)) <= set(graph.used) and "200 points" in str(graph)
    whole = mapper_graph(points[graph.used], eps=1.0)
    assert [graph.used[rows].tolist() for rows in whole.members] == [rows.tolist() for rows in graph.members]


def test_the_knee_is_the_point_farthest_from_the_chord():
    rng = np.random.default_rng(0)
    for _ in range(20):
        curve = np.sort(rng.gamma(0.5, size=50))
        ends = np.array([[0, 0], [1, 1.0]])
        scaled = np.stack([np.linspace(0, 1, 50), (curve - curve[0]) / (curve[-1] - curve[0])], axis=1)
        away = [
            abs(np.linalg.det(np.stack([ends[1] - ends[0], p - ends[0]]))) if p[1] < p[0] else 0
            for p in scaled
        ]
        knee = find_knee(curve)
        assert knee.found and knee.index == int(np.argmax(away)) and knee.value == curve[knee.index]
        assert knee.bend == pytest.approx(max(away))


def test_the_knee_of_two_lines_is_where_they_meet():
    """Kneedle's own notion, known for this curve: 80 points that rise slowly, then 20 that rise fast."""
    curve = np.concatenate([np.linspace(0, 1, 81), 1 + np.arange(1, 21) * 0.5])
    assert find_knee(curve).index == 80 and find_knee(curve).value == 1.0
    assert find_knee(7 * curve + 3).index == 80, "whatever the unit"


@pytest.mark.parametrize(
    "curve, value",
    [
        (np.full(9, 2.0), 2.0),
        (np.linspace(1, 3, 50), 3),
        (np.sqrt(np.arange(50)), 7),
        ([4.0], 4),
        ([0.0] * 5, 0),
    ],
)
def test_a_curve_without_a_bend_gives_its_largest_value(curve, value):
    knee = find_knee(np.array(curve))
    assert not knee.found and knee.value == value


def test_many_equal_points_still_have_a_knee_above_zero():
    curve = np.concatenate([np.zeros(90), np.linspace(1, 4, 10)])
    assert find_knee(curve).value == 1.0 and find_knee(curve).found
    rng = np.random.default_rng(0)
    points = np.concatenate([np.ones((90, 6)), rng.normal(2, 1, (60, 6))])
    graph = mapper_graph(points)
    assert graph.settings["eps"] > 0 and max(graph.sizes) >= 90


def test_rounding_between_copies_is_no_scale():
    """Differences of squares leave about 1e-8 between copies, which would pass for a knee."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    copies = np.repeat(x, 6, axis=0)
    assert (neighbour_distances(copies, 5) == 0).all() and (neighbour_distances(copies, 7) > 0).all()
    with pytest.raises(LisError, match="equal ones"):
        mapper_graph(copies)
    np.testing.assert_allclose(neighbour_distances(x + 1e6), neighbour_distances(x), rtol=1e-6)


def test_neighbour_distances_are_those_of_all_pairs():
    points = np.random.default_rng(0).normal(size=(70, 5))
    pairs = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    for k in (1, 2, 5):
        np.testing.assert_allclose(
            neighbour_distances(points, k), np.sort(np.sort(pairs, axis=1)[:, k - 1]), atol=1e-7
        )
    eps = neighbour_distances(points, 5)[35]
    cores = DBSCAN(eps=eps + 1e-9, min_samples=5).fit(points).core_sample_indices_
    assert len(cores) == 36, "at this eps so many points are the cores of clusters"


def test_intervals_cover_the_range_and_share_what_was_asked():
    values = np.random.default_rng(0).gamma(2, size=100)
    bounds = interval_bounds(values, 40, 0.3)
    width = bounds[:, 1] - bounds[:, 0]
    np.testing.assert_allclose((bounds[:-1, 1] - bounds[1:, 0]) / width[1:], 0.3)
    assert bounds[0, 0] <= values.min() and bounds[-1, 1] >= values.max()


def test_the_layout_is_deterministic_and_nothing_is_stacked():
    points = np.concatenate([circle() + 4, np.random.default_rng(0).normal(0, 2, (300, 2))])
    graph = mapper_graph(points, intervals=15)
    assert graph.components.max() > 1
    places, radii = place_nodes(graph, seed=1), node_radii(graph)
    np.testing.assert_array_equal(places, place_nodes(graph, seed=1))
    assert np.isfinite(places).all() and radii.min() > 0
    for a in range(len(graph)):
        for b in range(a):
            if graph.components[a] != graph.components[b]:
                assert np.linalg.norm(places[a] - places[b]) > radii[a] + radii[b]


@pytest.mark.parametrize(
    "points, settings, told",
    [
        (np.ones((9, 2)), {}, "is 1.414 at every point"),
        (np.zeros((9, 2)), {}, "dead, or constant"),
        (np.array([[1.0, np.nan]] * 9), {}, "9 points that are not finite, the first in row 0"),
        (np.eye(3), {}, "has 3 points; at least 5 were expected"),
        (np.eye(9)[0], {}, r"shape \[9\]; points \[M, C\]"),
        (np.zeros((9, 0)), {}, r"points \[M, C\] were expected"),
        ("cloud", {}, "points"),
        (np.ones((9, 2)) * 1j, {}, "points"),
        (None, {}, "points"),
        (..., {"lens": "height"}, "the lens is 'height'"),
        (..., {"lens": np.arange(3)}, r"shape \[3\]; \[30\]"),
        (..., {"lens": lambda p: p}, r"shape \[30, 4\]"),
        (..., {"lens": np.full(30, np.inf)}, "is inf at point 0"),
        (..., {"intervals": 0}, "intervals is 0"),
        (..., {"overlap": 1}, "overlap is 1"),
        (..., {"overlap": 0.0}, "above 0 and below 1"),
        (..., {"eps": "auto"}, "eps is 'auto'"),
        (..., {"eps": -1}, "eps is -1"),
        (..., {"min_samples": 0}, "min_samples is 0"),
        (..., {"limit": 1}, "limit is 1"),
        (..., {"labels": [0.5] * 30}, "whole numbers"),
        (..., {"labels": [0] * 29}, "29 labels for 30 points"),
        (..., {"labels": [-1] * 30}, "go from -1 to -1"),
        (..., {"labels": [2] * 30, "classes": ["a", "b"]}, "0 to 1 were expected"),
    ],
)  # fmt: skip
def test_bad_input_is_said(points, settings, told):
    points = np.random.default_rng(0).normal(size=(30, 4)) if points is ... else points
    with pytest.raises(LisError, match=told):
        mapper_graph(points, **settings)


def test_what_would_not_fit_into_memory_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr("lis_toolkit.topology.mapper.MOST_BYTES", 100 * 100 * 8)
    points = np.random.default_rng(0).normal(size=(400, 3))
    with pytest.raises(LisError, match="points in one interval of its lens; clustering them may need"):
        mapper_graph(points, intervals=2, eps=0.1)
    assert len(mapper_graph(points, intervals=2, eps=0.4, limit=120).used) == 120


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kmapper", None)
    with pytest.raises(LisError, match=r'kmapper .*pip install "lis-toolkit\[topology\]"'):
        mapper_graph(np.random.default_rng(0).normal(size=(30, 4)))


def test_a_lens_of_one_number_a_point_may_be_anything():
    points = np.random.default_rng(0).normal(size=(30, 4))
    for lens in (points[:, 0], torch.tensor(points[:, 0]), points[:, 0].tolist(), lambda p: p[:, 0]):
        np.testing.assert_allclose(lens_values(points, lens), points[:, 0])


def test_a_point_on_the_bound_of_two_intervals_is_in_both():
    from lis_toolkit.topology.cover import IntervalCover

    data = np.array([[0, 0.5], [1, 1.0], [2, 1.5]])  # row, lens
    first, second = IntervalCover(np.array([[0.0, 1.0], [1.0, 2.0]]), 0.3).transform(data)
    assert first[:, 0].tolist() == [0, 1] and second[:, 0].tolist() == [1, 2]


def test_a_node_names_its_largest_classes():
    points = np.random.default_rng(0).normal(0, 0.01, (40, 2)) + 1
    graph = mapper_graph(
        points, np.repeat([2, 0, 1], [24, 12, 4]), ("bag", "boot", "coat"), intervals=1, eps=1.0
    )
    assert graph.mix_of(0) == "coat 60 %, bag 30 %, boot 10 %" and graph.mix_of(0, 1) == "coat 60 %, 2 more"
