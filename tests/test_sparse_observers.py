"""Sparse observers find the planted components, beat random ones there, and say how few suffice."""

import numpy as np
import pandas as pd
import pytest

from lis_toolkit.errors import LisError
from lis_toolkit.observers import ALL_LAYERS, Attributes, as_state, sparse_figure, train_sparse_observer
from observer_worlds import linear_world


@pytest.fixture(scope="module")
def world():
    return linear_world(500, width=30)


@pytest.fixture(scope="module")
def sparse(world):
    return train_sparse_observer(world[0], world[1], "kind", "signal", draws=4, resamples=200)


def test_the_planted_components_come_first(sparse):
    for way in ("l1 path", "greedy"):
        order = sparse.order[sparse.order["way"] == way].sort_values("place")
        assert set(order["component"].head(3)) == {5, 6, 7}, way
        assert 0 not in order["component"].tolist()  # the dead one is not among them
        assert order["component"].is_unique and len(order) == 29


def test_two_of_three_indicators_suffice(sparse):
    fewest = sparse.fewest.set_index("way")
    assert fewest.loc["l1 path", "components"] == 2 and fewest.loc["greedy", "components"] == 2
    assert fewest.loc["l1 path", "kept"] > 0.93
    assert "random" not in fewest.index or fewest.loc["random", "components"] > 4
    curve = sparse.curve.set_index(["way", "components"])
    assert curve.loc[("l1 path", 2), "score"] > curve.loc[("random", 2), "score"] + 0.2
    assert curve.loc[("greedy", 1), "score"] > sparse.baseline
    assert "kept by 2 by l1 path" in str(sparse)


def test_all_components_are_the_full_observer(world):
    found = train_sparse_observer(
        world[0], world[1], "kind", "signal", sizes=(1, 29, 30, 999), draws=1, penalty=0.01, resamples=50
    )
    assert found.settings["sizes"] == [1, 29]
    curve = found.curve.set_index(["way", "components"])
    assert curve.loc[("l1 path", 29), "score"] == curve.loc[("greedy", 29), "score"] == found.full
    from lis_toolkit.observers import train_observers

    scores = train_observers(
        world[0], world[1], names="kind", layers=["signal"], penalty=0.01, controls=0
    ).scores
    assert found.full == pytest.approx(scores["score"].iloc[0])


def test_a_number_of_three_components(world):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 20)).astype(np.float32)
    y = 3 * x[:, 2] - 2 * x[:, 9] + x[:, 14] + 0.1 * rng.normal(size=400)
    found = train_sparse_observer({"layer": x}, pd.DataFrame({"y": y}), "y", "layer", draws=2, resamples=100)
    for way in ("l1 path", "greedy"):
        order = found.order[found.order["way"] == way]["component"].tolist()
        assert order[:3] == [2, 9, 14], way
    assert found.fewest.set_index("way").loc["l1 path", "components"] == 3 and found.measure == "r2"
    # Greedy is plain forward selection of least squares.
    from lis_toolkit.observers import attribute_split
    from lis_toolkit.observers.splits import split_rows
    from lis_toolkit.observers.train import seeds

    [(train, _)] = attribute_split(Attributes(pd.DataFrame({"y": y})), "y")
    inner, _ = split_rows(y[train], False, held_out=0.25, seed=seeds(0, "y", 1))[0]
    rows = train[inner]
    chosen = []
    for _ in range(5):

        def rest(j, chosen=chosen):
            a = np.column_stack([np.ones(len(rows)), x[np.ix_(rows, [*chosen, j])]])
            return np.linalg.lstsq(a, y[rows], rcond=None)[1][0]

        chosen.append(min((j for j in range(20) if j not in chosen), key=rest))
    assert found.order[found.order["way"] == "greedy"]["component"].tolist()[:5] == chosen


def test_redundant_components_leave_nothing_special():
    """Every component says the same with noise of its own: random ones do as well as chosen ones."""
    rng = np.random.default_rng(1)
    which = rng.integers(0, 2, 400)
    x = (which[:, None] * 2.0 + rng.normal(size=(400, 16))).astype(np.float32)
    table = pd.DataFrame({"k": np.array(["a", "b"], dtype=object)[which]})
    curve = train_sparse_observer({"x": x}, table, "k", "x", draws=5, resamples=100).curve
    at = curve[curve["components"] == 8].set_index("way")["score"]
    assert abs(at["l1 path"] - at["random"]) < 0.06


def test_of_all_layers_the_layer_is_known(world):
    found = train_sparse_observer(
        world[0], world[1], "number", ALL_LAYERS, sizes=(1, 2), draws=1, resamples=50
    )
    first = found.order[found.order["way"] == "l1 path"].iloc[0]
    assert (first["layer"], first["component"]) == ("signal", 3)


def test_the_figure_has_three_ways(sparse):
    axes = sparse_figure(sparse).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["l1 path", "greedy", "random"]
    assert axes.get_xlabel() == "components of signal"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keep": 0}, "keep is 0"),
        ({"sizes": (99,)}, "none of the sizes"),
        ({"draws": 0}, "draws is 0"),
        ({"penalty": -1}, "penalty is -1"),
        ({"layer": "sgnal"}, "Did you mean 'signal'"),
        ({"name": "knd"}, "Did you mean 'kind'"),
    ],
)
def test_wrong_settings_are_refused(world, change, message):
    with pytest.raises(LisError, match=message):
        train_sparse_observer(world[0], world[1], **{"name": "kind", "layer": "signal", **change})


def test_a_dead_layer_is_refused():
    state = as_state({"dead": np.ones((60, 3), np.float32)})
    with pytest.raises(LisError, match="no component of 'dead' varies"):
        train_sparse_observer(state, pd.DataFrame({"a": ["x", "y"] * 30}), "a", "dead")


def test_an_attribute_that_hardly_varies_is_refused():
    x = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(LisError, match="the same for all of the"):
        train_sparse_observer({"l": x}, pd.DataFrame({"once": [3.0] * 59 + [4.0]}), "once", "l")


def test_components_are_ordered_without_the_rows_that_judge_their_number():
    """Labels of the inner check part dealt anew: neither path may see them."""
    from lis_toolkit.observers import attribute_split
    from lis_toolkit.observers.sparse import _Task

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    y = x[:, 4] + x[:, 8] + rng.normal(size=300)
    table = Attributes(pd.DataFrame({"y": y}))
    [pair] = attribute_split(table, "y")
    task = _Task(as_state({"layer": x}), "layer", table, "y", pair, (0.1,), None, 0)
    alive = np.arange(12)
    before = task.path(alive), task.greedy(alive, 12)
    judged = task.inner[1]
    task.y = task.y.copy()
    task.y[judged] = 50 * task.x[judged, 0]
    task.x[judged, 1] *= 7
    for order, again in zip(before, (task.path(alive), task.greedy(alive, 12)), strict=True):
        assert order.tolist() == again.tolist()


def test_the_fewest_are_chosen_by_the_inner_check_and_not_by_the_held_out_score():
    rng = np.random.default_rng(1)
    which = rng.integers(0, 2, 90)
    x = (which[:, None] * np.linspace(1.2, 0.1, 12) + rng.normal(size=(90, 12))).astype(np.float32)
    table = pd.DataFrame({"k": np.array(["a", "b"], dtype=object)[which]})
    otherwise = 0
    for seed in range(4):
        found = train_sparse_observer(
            {"x": x}, table, "k", "x", sizes=range(1, 13), draws=1, penalty=0.1, resamples=20, seed=seed
        )
        curve = found.curve[found.curve["way"] == "l1 path"].set_index("components")
        expected = curve.index[curve["inner"] >= 0.95 * curve.loc[12, "inner"]][0]
        assert found.fewest.set_index("way").loc["l1 path", "components"] == expected
        otherwise += expected != curve.index[curve["score"] >= 0.95 * found.full][0]
    assert otherwise  # the two do differ here
