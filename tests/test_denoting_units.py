"""Units that denote: the threshold search against a plain loop, planted units, chance, and the test of depth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import LisError
from lis_toolkit.link_stats import wilson, wilson_bounds
from lis_toolkit.observers import (
    Attributes,
    DenotingUnits,
    as_state,
    denoting_figure,
    depth_dependence,
    find_denoting_units,
)
from lis_toolkit.observers.splits import check_groups, split_rows
from lis_toolkit.observers.thresholds import (
    area_under_curve,
    best_thresholds,
    count_beyond,
    rank_units_by_value,
)


def plain_best(values, holds, criterion):
    """Every threshold between two values, both sides, by counting."""
    best = 0.0
    known = np.unique(values)
    for middle in (known[1:] + known[:-1]) / 2:
        for beyond in (values > middle, values < middle):
            hits, called = (beyond & holds).sum(), beyond.sum()
            if criterion == "f1":
                score = 2 * hits / (called + holds.sum())
            else:
                score = hits / holds.sum() - (called - hits) / (~holds).sum()
            best = max(best, score)
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.sampled_from(["f1", "youden"]), st.integers(2, 12))
def test_the_search_is_exact(seed, n, criterion, levels):
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, levels, n).astype(float), rng.normal(size=n)], 1)
    holds = rng.permutation(np.arange(n) < rng.integers(1, n))
    found = best_thresholds(rank_units_by_value(x), holds, criterion)
    for unit in range(2):
        if np.ptp(x[:, unit]) == 0:
            continue
        assert found.score[unit] == pytest.approx(plain_best(x[:, unit], holds, criterion), abs=1e-12)
        beyond = (
            x[:, unit] > found.threshold[unit] if found.high[unit] else x[:, unit] < found.threshold[unit]
        )
        hits, alarms, misses = (counts[unit] for counts in count_beyond(x, holds, found))
        assert (hits, alarms, misses) == (
            (beyond & holds).sum(),
            (beyond & ~holds).sum(),
            (~beyond & holds).sum(),
        )


def test_a_constant_unit_calls_nothing():
    x = np.ones((10, 1))
    holds = np.arange(10) < 4
    found = best_thresholds(rank_units_by_value(x), holds)
    assert found.score[0] == 0 and count_beyond(x, holds, found)[0][0] == 0


def test_areas_and_tests_are_scipys():
    from scipy.stats import mannwhitneyu, rankdata
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    holds = rng.permutation(np.arange(120) < 40)
    x = np.round(rng.normal(size=(120, 5)) + holds[:, None] * np.array([0, 0.3, 1, -2, 5]), 1)  # with ties
    area, error, p = area_under_curve(rankdata(x, axis=0), holds)
    for unit in range(5):
        assert area[unit] == pytest.approx(roc_auc_score(holds, x[:, unit]))
        plain = mannwhitneyu(x[holds, unit], x[~holds, unit], use_continuity=False, method="asymptotic")
        assert p[unit] == pytest.approx(plain.pvalue, rel=1e-9)
    # DeLong's error against a bootstrap of both sides.
    inside, outside = np.flatnonzero(holds), np.flatnonzero(~holds)
    draws = [
        area_under_curve(
            rankdata(x[np.concatenate([rng.choice(inside, 40), rng.choice(outside, 80)])], axis=0),
            np.arange(120) < 40,
        )[0]
        for _ in range(400)
    ]
    assert np.allclose(error[:4], np.std(draws, axis=0)[:4], rtol=0.15)


def test_wilsons_bounds_are_scipys():
    from scipy.stats import binomtest

    low, high = wilson_bounds(np.array([0, 3, 9, 10.0]), np.full(4, 10), 1.959964)
    for k, hits in enumerate((0, 3, 9, 10)):
        expected = binomtest(hits, 10).proportion_ci(0.95, method="wilson")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-7)
        assert wilson(hits, 10) == (low[k], high[k])
    assert np.isnan(wilson_bounds(np.zeros(1), np.zeros(1), 1.96)).all() and np.isnan(wilson(0, 0)).all()


def planted(n=600, seed=0):
    """Depth 0: units for a half of the images; depth 1: for a quarter; depth 2: for a tenth; and noise beside them."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(np.array(list("abcdefghij"), dtype=object), n)
    level = rng.normal(size=n)
    quarter = np.isin(kind, ["a", "b", "c"])
    blocks = {
        "one": np.stack([(level > 0) + 0.1 * rng.normal(size=n), *rng.normal(size=(3, n))], 1),
        "two": np.stack([-1.0 * quarter + 0.1 * rng.normal(size=n), *rng.normal(size=(3, n))], 1),
        "three": np.stack([(kind == "d") + 0.1 * rng.normal(size=n), *rng.normal(size=(3, n))], 1),
    }
    table = pd.DataFrame({"kind": kind, "level": level, "few": np.where(quarter, "yes", "no")})
    return as_state({name: block.astype(np.float32) for name, block in blocks.items()}), Attributes(table)


@pytest.fixture(scope="module")
def found():
    state, attributes = planted()
    return find_denoting_units(state, attributes, shuffles=5)


def test_planted_units_denote_and_noise_does_not(found):
    told = found.table[found.table["denotes"]]
    pairs = {(row.layer, row.unit, row.attribute, row.direction) for row in told.itertuples()}
    assert ("one", 0, "level", "high") in pairs and ("three", 0, "kind", "high") in pairs
    assert ("two", 0, "few", "low") in pairs
    assert set(told["unit"]) == {0}
    best = found.best(1).set_index(["attribute", "value"])
    assert best.loc[("kind", "d"), "layer"] == "three" and best.loc[("kind", "d"), "precision"] > 0.95
    assert best.loc[("kind", "d"), "auc"] > 0.99 and best.loc[("kind", "d"), "q"] < 1e-6
    row = best.loc[("kind", "d")]
    assert row["f1_low"] <= row["f1"] <= row["f1_high"] and row["precision_low"] < row["precision"]
    preferred = found.preferred().set_index(["layer", "unit"])
    assert preferred.loc[("three", 0), "value"] == "d" and len(preferred) == 12


def test_held_out_figures_are_of_held_out_images(found):
    state, attributes = planted()
    [(train, test)] = split_rows(attributes.values("kind"), True, held_out=0.3, seed=[0, 10])
    row = (
        found.table[(found.table["layer"] == "three") & (found.table["unit"] == 0)]
        .query("value == 'd'")
        .iloc[0]
    )
    x, holds = state.rows_of("three", test)[:, 0], attributes.values("kind")[test] == "d"
    beyond = x > row["threshold"]
    assert row["direction"] == "high" and row["called"] == beyond.sum()
    assert row["precision"] == pytest.approx(holds[beyond].mean()) and row["recall"] == pytest.approx(
        beyond[holds].mean()
    )
    assert row["training_score"] == pytest.approx(
        plain_best(state.rows_of("three", train)[:, 0], attributes.values("kind")[train] == "d", "f1")
    )


def test_the_best_of_many_units_is_good_by_chance_and_does_not_denote():
    rng = np.random.default_rng(3)
    state = as_state({"noise": rng.normal(size=(80, 400)).astype(np.float32)})
    table = pd.DataFrame({"coin": np.array(["h", "t"], dtype=object)[rng.permutation(80) % 2]})
    found = find_denoting_units(state, table, least=0.6, shuffles=10)
    assert found.table["f1"].max() > 0.7  # looks like something
    assert found.table["chance"].min() > 0.6 and not found.table["denotes"].any()
    assert (found.table["q"] > 0.05).all()


def test_label_proportion_falls_with_depth_where_it_was_planted_so():
    rng = np.random.default_rng(0)
    kind = rng.choice(np.array(list("abcdefghij"), dtype=object), 500)
    level = rng.normal(size=500)
    blocks = {}
    for k in range(6):
        deep = [(kind == "abcdef"[j]) * 1.0 for j in range(6)]
        early = [(level > 0) * 1.0] * 6
        blocks[f"layer {k}"] = np.stack(early[k:] + deep[:k], 1) + 0.2 * rng.normal(size=(500, 6))
    state = as_state(blocks)
    table = Attributes(pd.DataFrame({"kind": kind, "level": level}))
    found = find_denoting_units(state, table, quantiles=(0.5,), shuffles=1)
    told = depth_dependence(found, permutations=1000)
    row = told.table.set_index("reading").loc["label_share"]
    assert row["spearman"] < -0.5 and row["high"] < 0 and row["p"] < 0.02 and told.layers == 6
    assert "falls with depth" in str(told)
    from scipy.stats import spearmanr

    units = found.preferred()
    assert row["spearman"] == pytest.approx(spearmanr(units["depth"], units["label_share"]).statistic)
    # The same units with their layers dealt anew: no dependence.
    shuffled = found.table.copy()
    names = list(blocks)
    places = dict(zip(names, np.array([0.4, 1.0, 0.0, 0.6, 0.2, 0.8]), strict=True))
    shuffled["depth"] = shuffled["layer"].map(places)
    calm = depth_dependence(DenotingUnits(shuffled, found.properties, found.settings), permutations=500)
    assert calm.table.set_index("reading").loc["label_share", "p"] > 0.05
    with pytest.raises(LisError, match="at least 3 are needed"):
        depth_dependence(DenotingUnits(shuffled[shuffled["layer"] == "layer 1"], found.properties, {}))


def test_a_repeated_layer_is_left_out_of_the_test_of_depth():
    state, attributes = planted(200)
    blocks = dict(state.blocks)
    twin = find_denoting_units({**blocks, "again": blocks["three"].copy()}, attributes, shuffles=1)
    assert twin.settings["repeated"] == ["again"]
    assert depth_dependence(twin, permutations=50).layers == 3


def test_the_figure_and_the_layers(found):
    table = found.by_layer()
    assert table["layer"].tolist() == ["one", "two", "three"] and (table["denoting"] == 0.25).all()
    figure = denoting_figure(found)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["one", "two", "three"]
    assert "3 of 12 units denote" in str(found)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"by": "auc"}, "by is 'auc'"),
        ({"least": 1.5}, "least is 1.5"),
        ({"shuffles": 0}, "shuffles is 0"),
        ({"quantiles": (0, 1)}, "quantiles are"),
        ({"names": "knd"}, "no attribute 'knd'"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    state, attributes = planted(100)
    with pytest.raises(LisError, match=message):
        find_denoting_units(state, attributes, **change)
    with pytest.raises(LisError, match="no property has 5 images"):
        find_denoting_units(state, pd.DataFrame({"a": ["x"] * 97 + ["y"] * 3}))


def test_chance_does_not_depend_on_what_else_is_asked_for():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {name: np.array(["x", "y"], object)[rng.integers(0, 2, 80)] for name in ("one", "two")}
    )
    state = {"l": rng.normal(size=(80, 4))}
    groups = np.arange(80)  # one split for all: without groups it follows the first attribute
    both = find_denoting_units(state, table, groups=groups, shuffles=2).table
    alone = find_denoting_units(state, table, names="two", groups=groups, shuffles=2).table
    both = both[both["attribute"] == "two"].drop(columns="q").reset_index(drop=True)
    pd.testing.assert_frame_equal(both, alone.drop(columns="q"))


def test_youdens_threshold_is_another_one():
    state, attributes = planted(200)
    found = find_denoting_units(state, attributes, names="few", by="youden", shuffles=1)
    [(train, _)] = split_rows(attributes.values("few"), True, held_out=0.3, seed=[0, 10])
    for row in found.table.query("value == 'yes'").itertuples():
        x, holds = state.rows_of(row.layer, train)[:, row.unit], attributes.values("few")[train] == "yes"
        assert row.training_score == pytest.approx(plain_best(x, holds, "youden")), row
        assert row.training_score == row.training_youden


def test_chance_is_what_thresholds_learned_from_shuffled_labels_give():
    """A unit that knows the property: with its own threshold shuffled labels give F1 = s, with theirs 2 s / (1 + s)."""
    few = np.arange(400) % 10 < 3
    state = as_state({"unit": (few + 0.01 * np.random.default_rng(0).normal(size=400))[:, None]})
    table = pd.DataFrame({"few": np.where(few, "yes", "no")})
    found = find_denoting_units(state, table, shuffles=5).table.query("value == 'yes'").iloc[0]
    assert found["f1"] == 1 and found["denotes"]
    assert found["chance"] == pytest.approx(2 * 0.3 / 1.3, abs=0.03)


def test_what_chance_gives_too_does_not_denote():
    """Of a property that nearly all have, calling all is a good F1."""
    rng = np.random.default_rng(0)
    common = rng.random(900) < 0.85
    state = as_state({"unit": (common + 1.6 * rng.normal(size=900))[:, None]})
    found = find_denoting_units(state, pd.DataFrame({"common": np.where(common, "yes", "no")}), shuffles=10)
    row = found.table.query("value == 'yes'").iloc[0]
    assert row["f1"] > 0.85 and row["q"] < 1e-3 and row["f1"] <= row["chance"] and not row["denotes"]


def test_a_little_more_than_chance_does_not_denote():
    rng = np.random.default_rng(4)
    common = rng.random(900) < 0.85
    state = as_state({"unit": (common + 0.75 * rng.normal(size=900))[:, None]})
    found = find_denoting_units(state, pd.DataFrame({"common": np.where(common, "yes", "no")}), shuffles=10)
    row = found.table.query("value == 'yes'").iloc[0]
    assert row["f1"] > row["chance"] > row["f1_low"] and row["q"] < 1e-3 and not row["denotes"]
    assert (found.table["f1_low"] > found.table["chance"])[found.table["denotes"]].all()


def test_many_looks_are_paid_for():
    """Units of a layer each that know nothing: some have p below the level, and more F1 than one shuffling gave."""
    rng = np.random.default_rng(2)
    holds = rng.random(300) < 0.5
    state = as_state({f"layer {i}": rng.normal(size=(300, 1)) for i in range(150)})
    table = pd.DataFrame({"coin": np.where(holds, "yes", "no")})
    found = find_denoting_units(state, table, least=0.3, shuffles=1).table
    looks = found[(found["p"] <= 0.05) & (found["f1"] > found["chance"]) & (found["f1"] >= 0.3)]
    assert len(looks) > 0 and not found["denotes"].any()


def test_quantiles_are_those_of_the_training_part():
    rng = np.random.default_rng(0)
    groups = np.arange(300) // 5
    level = rng.normal(size=300)
    x = (level + rng.normal(size=300))[:, None]
    moved = level.copy()
    [(train, test)] = split_rows(
        np.zeros(300), False, held_out=0.3, groups=check_groups(groups, 300), seed=[0, 10]
    )
    moved[test[::2]] += 40
    before, after = (
        find_denoting_units({"x": x}, pd.DataFrame({"level": values}), groups=groups, shuffles=1)
        for values in (level, moved)
    )
    borders = [[value.split(" (")[0] for value in found.properties["value"]] for found in (before, after)]
    assert borders[0] == borders[1] and len(borders[0]) == 3  # "above 0.12"
    assert before.properties["training"].tolist() == after.properties["training"].tolist()
    assert before.properties["held_out"].sum() < after.properties["held_out"].sum()  # the figures do see them
