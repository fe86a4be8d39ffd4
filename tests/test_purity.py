"""Purity against plain loops, its null and its intervals on graphs that are known, and the trend over layers."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lis_toolkit import LisError
from lis_toolkit.topology import (
    MapperGraph,
    mapper_graph,
    purity,
    purity_by_layer,
    purity_figure,
    purity_trend,
)
from lis_toolkit.topology.purity import KINDS, point_purity


def graph_of(members, labels, classes=("a", "b", "c"), images=None):
    """A graph with these nodes, without a cloud."""
    rows = len(labels)
    return MapperGraph(
        tuple(np.array(part, np.int64) for part in members), np.arange(len(members)), np.empty((0, 2), np.int64),
        np.empty(0, np.int64), np.arange(rows, dtype=float), np.zeros((len(members), 2)), np.arange(rows),
        np.arange(rows) if images is None else np.array(images), np.zeros((rows, 2), np.int64), np.array(labels),
        classes, {"eps": 1.0},
    )  # fmt: skip


def random_graph(seed=0, rows=60, nodes=9):
    rng = np.random.default_rng(seed)
    members = [np.sort(rng.choice(rows, rng.integers(2, 15), replace=False)) for _ in range(nodes)]
    return graph_of(members, rng.integers(0, 3, rows))


def slow(graph, kind):
    """Mean over the points in nodes of the mean over their nodes of the nodes' purity."""
    values = []
    for row in range(len(graph.lens)):
        own = []
        for members in graph.members:
            if row in members:
                found = [graph.labels[m] for m in members]
                shares = [found.count(k) / len(found) for k in set(found)]
                entropy = -sum(s * np.log(s) for s in shares) / np.log(len(graph.classes))
                own.append(
                    {"classes": 1 / len(shares), "majority": max(shares), "entropy": 1 - entropy}[kind]
                )
        if own:
            values.append(np.mean(own))
    return np.mean(values)


@pytest.mark.parametrize("kind", KINDS)
def test_purity_is_the_mean_of_the_definition(kind):
    for seed in range(3):
        graph = random_graph(seed)
        assert (graph.times == 0).sum() > 0 and graph.times.max() > 1
        found = purity(graph, kind, permutations=5)
        assert found.value == pytest.approx(slow(graph, kind))
        assert found.low <= found.value <= found.high and found.noise == pytest.approx(
            (graph.times == 0).mean()
        )


def test_values_that_are_known():
    graph = graph_of([[0, 1], [1, 2, 3]], [0, 0, 1, 1, 2])
    # Node purities 1 and 1/2: point 0 has 1, point 1 has 3/4, points 2 and 3 have 1/2; point 4 is in no node.
    np.testing.assert_array_equal(point_purity(graph), [1, 0.75, 0.5, 0.5, np.nan])
    found = purity(graph)
    assert found.value == pytest.approx(2.75 / 4) and found.points == 4 and found.noise == pytest.approx(0.2)
    assert purity(graph, "majority").value == pytest.approx((1 + (1 + 2 / 3) / 2 + 2 / 3 * 2) / 4)
    pure = graph_of([[0, 1], [2, 3]], [0, 0, 1, 1], ("a", "b"))
    assert purity(pure).value == 1 and purity(pure, "entropy").value == 1


def test_the_null_is_the_mean_over_all_orders_of_the_labels():
    graph = graph_of([[0, 1, 2], [2, 3], [4, 5]], [0, 0, 1, 1, 2, 2])
    for kind in KINDS:
        exact = np.array(
            [slow(graph_of(graph.members, order), kind) for order in itertools.permutations(graph.labels)]
        )
        found = purity(graph, kind, permutations=4000)
        assert found.null == pytest.approx(exact.mean(), abs=0.01)
        assert found.p_value == pytest.approx((exact >= found.value - 1e-9).mean(), abs=0.03)
        assert found.excess == pytest.approx((found.value - found.null) / (1 - found.null))


def test_labels_by_chance_are_no_purer_than_shuffled_ones():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    p_values = [purity(mapper_graph(points, rng.integers(0, 4, 400), intervals=10), permutations=39).p_value
                for _ in range(10)]  # fmt: skip
    assert 0.25 < np.mean(p_values) < 0.75, "about uniform"
    classes = (points[:, 0] > 0).astype(int)
    found = purity(mapper_graph(points, classes, intervals=10, eps=0.5), "majority", permutations=99)
    assert found.p_value == 0.01 and found.excess > 0.1


def test_points_of_an_image_stay_together():
    labels = np.repeat([0, 1], 20)
    together = graph_of(
        [np.arange(i, i + 4) for i in range(0, 40, 4)], labels, images=np.repeat(np.arange(10), 4)
    )
    found = purity(together, permutations=50)
    assert found.value == pytest.approx(found.null) == 1, (
        "each node has one image: any shuffle of images leaves it pure"
    )
    apart = purity(graph_of(together.members, labels), permutations=50)
    assert apart.null < 0.7 and apart.p_value == pytest.approx(1 / 51)
    mixed = random_graph()
    wide, narrow = (purity(graph_of(mixed.members, np.arange(60) // 20, images=images))
                    for images in (np.arange(60) // 10, np.arange(60)))  # fmt: skip
    assert wide.high - wide.low > narrow.high - narrow.low
    with pytest.raises(LisError, match="points of one image have several classes"):
        purity(graph_of([[0, 1]], [0, 1], images=[0, 0]))


def test_a_graph_without_nodes_or_with_one_class_has_nothing_to_tell():
    empty = purity(graph_of([], [0, 1]))
    assert np.isnan(empty.value) and empty.nodes == 0 and empty.noise == 1
    one = purity(graph_of([[0, 1], [1, 2]], [0, 0, 0], ("a",)))
    assert one.value == pytest.approx(one.null) == 1 and np.isnan(one.excess)
    with pytest.raises(LisError, match="no labels"):
        purity(mapper_graph(np.random.default_rng(0).normal(size=(30, 3))))
    with pytest.raises(LisError, match="'size'; one of classes, majority, entropy"):
        purity(random_graph(), "size")
    for wrong in ({"permutations": 0}, {"resamples": 1}):
        with pytest.raises(LisError, match="whole number"):
            purity(random_graph(), **wrong)


def layers(spreads, rows=240, seed=0):
    """Clouds in which three classes lie ever farther apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    middles = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return {
        f"layer {i}": 5 + s * middles[labels] + rng.normal(0, 1, (rows, 3)) for i, s in enumerate(spreads)
    }, labels


def test_classes_that_part_give_a_purity_that_rises():
    clouds, labels = layers([0, 1, 2, 4, 8])
    table = purity_by_layer(clouds, labels, ["x", "y", "z"], permutations=20, intervals=10)
    assert table["layer"].tolist() == list(clouds) and table["depth"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    for name, cloud in clouds.items():
        graph = mapper_graph(cloud, labels, intervals=10)
        row = table[table["layer"] == name].iloc[0]
        assert row["purity"] == pytest.approx(slow(graph, "classes"))
        assert row["majority_purity"] == pytest.approx(slow(graph, "majority"))
        assert (row["nodes"], row["noise"], row["eps"]) == (len(graph), graph.noise, graph.settings["eps"])
    trend = purity_trend(table, "majority_excess")
    assert trend.slope > 0.5 and trend.spearman > 0.85 and trend.p_value < 0.1
    again = purity_by_layer(
        {n: mapper_graph(c, labels, intervals=10) for n, c in clouds.items()}, permutations=20
    )
    pd.testing.assert_frame_equal(table, again)


def test_the_trend_is_spearmans_with_an_exact_one_sided_p():
    from scipy.stats import spearmanr

    table = pd.DataFrame({"depth": [0, 0.2, 0.5, 0.7, 1.0], "purity": [0.2, 0.1, 0.5, 0.4, 0.9]})
    trend = purity_trend(table, permutations=20_000)
    assert trend.spearman == pytest.approx(spearmanr(table["depth"], table["purity"]).statistic)
    exact = [spearmanr(table["depth"], order).statistic >= trend.spearman - 1e-9
             for order in itertools.permutations(table["purity"])]  # fmt: skip
    assert trend.p_value == pytest.approx(np.mean(exact), abs=0.01)
    assert trend.slope == pytest.approx(np.polyfit(table["depth"], table["purity"], 1)[0])
    falling = purity_trend(table.assign(purity=table["purity"][::-1].to_numpy()))
    assert falling.slope < 0 and falling.p_value > 0.9
    for flat in (table.assign(purity=0.5), table.iloc[:2], table.assign(purity=np.nan)):
        assert np.isnan(purity_trend(flat).p_value)
    with pytest.raises(LisError, match="no column 'pureness'"):
        purity_trend(table, "pureness")


def test_what_fails_names_the_layer():
    clouds, labels = layers([0, 1])
    with pytest.raises(LisError, match="layer dead: .*at every point"):
        purity_by_layer({**clouds, "dead": np.zeros((240, 4))}, labels, permutations=2)
    for nothing in ({}, None, [1]):
        with pytest.raises(LisError, match="there are no clouds"):
            purity_by_layer(nothing, labels)


def test_the_figure_shows_every_table_with_chance_and_noise():
    clouds, labels = layers([0, 3, 8])
    table = purity_by_layer(clouds, labels, permutations=5, intervals=10)
    figure = purity_figure({"one": table, "two": table.assign(purity=table["purity"] / 2)})
    upper, lower = figure.axes
    assert [line.get_label() for line in upper.lines if not line.get_label().startswith("_")] == [
        "one", "two", "classes shuffled"]  # fmt: skip
    np.testing.assert_allclose(upper.lines[0].get_ydata(), table["purity"])
    np.testing.assert_allclose(lower.lines[0].get_ydata(), table["noise"])
    assert [text.get_text() for text in lower.get_xticklabels()] == list(clouds) and upper.get_ylabel()
    assert len(purity_figure(table, "majority_purity").axes) == 2
    with pytest.raises(LisError, match="no pureness"):
        purity_figure(table, "pureness")
