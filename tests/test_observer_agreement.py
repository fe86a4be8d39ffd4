"""Agreement of observers with rankings: against scipy, on planted units, and what is drawn where they disagree."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.observers import (
    Attributes,
    agreement_figure,
    agreement_sheet,
    as_state,
    compare_with_ranking,
    score_units,
)
from lis_toolkit.units import UnitWalk


def world(n=300, seed=0):
    """Unit 1 rises with the sleeve within classes, unit 2 falls, unit 3 tells the class only, whose sleeves differ."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    within = rng.normal(size=n)
    x = rng.normal(size=(n, 6))
    x[:, 1] += 2 * within
    x[:, 2] -= 1 * within
    x[:, 3] = 3 * labels + 0.3 * rng.normal(size=n)
    table = Attributes(pd.DataFrame({"sleeve.area": 4.0 * labels + within}))
    return as_state({"penultimate": x.astype(np.float32)}), table, labels


def test_units_are_scored_within_classes():
    state, table, labels = world()
    told = score_units(state, table, "sleeve.area", within=labels)
    assert told["auc"].idxmax() == 1 and told["auc"].idxmin() == 2 and told["auc"][1] > 0.9
    assert told["auc_low"][3] < 0.5 < told["auc_high"][3]
    assert told["weight"].idxmax() == 1 and told.attrs["r2"] > 0.7
    over = score_units(state, table, "sleeve.area")
    assert over["auc"].idxmax() == 3  # the class decides, where it may
    y, x = table.values("sleeve.area"), state.rows_of("penultimate")[:, 1]
    from sklearn.metrics import roc_auc_score

    centred = [v - pd.Series(v).groupby(labels).transform("mean").to_numpy() for v in (y, x)]
    assert told["auc"][1] == pytest.approx(roc_auc_score(centred[0] > np.median(centred[0]), centred[1]))


def ranking(effects, units=None):
    effects = np.asarray(effects, float)
    return pd.DataFrame({
        "rank": np.arange(1, len(effects) + 1), "unit": np.arange(len(effects)) if units is None else units,
        "part": "sleeve", "measure": "area", "effect": effects, "mean_change": effects / 10,
        "unit_selectivity": effects,
    })  # fmt: skip


def told_of(values):
    return pd.DataFrame(
        {"unit": np.arange(len(values)), "auc": 0.5 + np.asarray(values) / 10, "weight": values}
    )


def test_the_correlation_is_scipys_and_its_interval_holds_it():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    a = rng.normal(size=80)
    b = a + rng.normal(size=80)
    found = compare_with_ranking(told_of(a), ranking(b))
    assert found.spearman == pytest.approx(spearmanr(a, b).statistic) and found.units == 80
    assert found.low < found.spearman < found.high and 0.15 < found.high - found.low < 0.5 and found.p < 0.01
    assert found.same_sign == pytest.approx((np.sign(a) == np.sign(b)).mean())
    again = [spearmanr(a[i], b[i]).statistic for i in rng.integers(0, 80, (400, 80))]
    assert found.low == pytest.approx(np.quantile(again, 0.025), abs=0.05)
    by = compare_with_ranking(told_of(a), ranking(b), view="weight", by="mean_change")
    assert by.spearman == pytest.approx(found.spearman)


def test_unrelated_units_do_not_agree():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(20):
        found = compare_with_ranking(
            told_of(rng.normal(size=60)), ranking(rng.normal(size=60)), resamples=300
        )
        inside += found.low < 0 < found.high
    assert inside >= 16


def test_the_unit_that_differs_comes_first():
    values = np.arange(20.0) - 10
    effects = values.copy()
    effects[4] = 50  # the observer says less, the pictures say more
    found = compare_with_ranking(told_of(values), ranking(effects))
    assert found.disagreeing(1) == [4]
    assert found.table["disagreement"][0] == pytest.approx(4 / 19 - 1)
    assert "sleeve area: Spearman +0." in str(found)


def test_infinite_effects_and_missing_units_are_handled():
    effects = np.arange(10.0)
    effects[9] = np.inf
    effects[3] = np.nan
    found = compare_with_ranking(told_of(np.arange(12.0)), ranking(effects))
    assert found.units == 9 and found.spearman == pytest.approx(1) and 3 not in found.table["unit"].tolist()
    assert len(agreement_figure(found).axes[0].collections[0].get_offsets()) == 8  # infinity has no place


def walk(unit, steps=3):
    zeros = torch.zeros(1, steps, 10)
    return UnitWalk(
        unit, torch.linspace(0, 1, steps), (0.0, 1.0), torch.rand(1, steps, 1, 16, 16), torch.zeros(1, steps, 4), zeros,
        zeros, torch.zeros(1, steps, 3), torch.zeros(1, 1, 16, 16), zeros[:, 0], torch.zeros(1, 3),
    )  # fmt: skip


def test_the_sheet_shows_the_photographs_that_a_unit_likes_most():
    found = compare_with_ranking(told_of(np.arange(10.0)), ranking(np.arange(10.0)[::-1]))
    images = torch.zeros(5, 1, 16, 16)
    images[3] = 1.0
    r = torch.zeros(5, 10)
    r[3, 0] = 2.5
    figure = agreement_sheet(found, images, r, [walk(0), walk(9)], count=2)
    canvas = figure.axes[0].images[0].get_array()
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert "unit 0" in texts and "unit 9" in texts and texts.count("2.5") == 1
    assert (canvas[60:70, 220:230] == 1).all()  # the white photograph is the first of unit 0
    assert "sleeve area on photographs:" in texts
    with_company = dataclasses.replace(walk(0), companions=True)
    both = agreement_sheet(found, images, r, [walk(0), with_company], count=2)
    texts = [t.get_text() for t in both.axes[0].texts]
    assert texts.count("unit 0") == 2 and texts.count("set with its companions") == 1
    assert (
        texts.count("sleeve area on photographs:") == 1 and texts.count("2.5") == 1
    )  # those of the unit alone


def test_what_does_not_fit_is_refused():
    state, table, labels = world()
    kind = Attributes(pd.DataFrame({"kind": np.where(labels, "a", "b")}))
    for call, message in (
        (lambda: score_units(state, kind, "kind"), "is a category; a number was expected"),
        (lambda: score_units(state, table, "sleeve.area", within=[1]), r"within has shape \[1\]"),
        (
            lambda: score_units(state, table, "sleeve.area", within=np.arange(300)),
            "does not vary over the 300 images",
        ),
        (lambda: compare_with_ranking(told_of([1, 2]), ranking([1, 2])), "2 units with values in common"),
        (
            lambda: compare_with_ranking(told_of([1.0] * 5), ranking([1] * 5), view="acu"),
            "Did you mean 'auc'",
        ),
        (
            lambda: compare_with_ranking(pd.DataFrame({"unit": [1]}), ranking([1] * 5)),
            "told has no column 'auc'",
        ),
        (
            lambda: compare_with_ranking(told_of([1.0] * 5), pd.concat([ranking([1] * 5)] * 2)),
            "several parts, measures or classes",
        ),
    ):
        with pytest.raises(LisError, match=message):
            call()
    found = compare_with_ranking(told_of(np.arange(10.0)), ranking(np.arange(10.0)))
    with pytest.raises(LisError, match="no walks"):
        agreement_sheet(found, torch.zeros(5, 1, 16, 16), torch.zeros(5, 10), [])
    with pytest.raises(LisError, match=r"shape \[4, 10\] for 5 photographs"):
        agreement_sheet(found, torch.zeros(5, 1, 16, 16), torch.zeros(4, 10), [walk(1)])
    with pytest.raises(LisError, match="unit 11 is not among"):
        agreement_sheet(found, torch.zeros(5, 1, 16, 16), torch.zeros(5, 12), [walk(11)])


def test_equal_values_have_no_correlation():
    found = compare_with_ranking(told_of([1.0] * 6), ranking(np.arange(6.0)))
    assert np.isnan(found.spearman) and np.isnan(found.p)


def test_a_perfect_unit_has_an_interval():
    number = np.random.default_rng(0).normal(size=60)
    told = score_units({"l": np.stack([number, -number], 1)}, pd.DataFrame({"n": number}), "n")
    assert told["auc"].tolist() == [1, 0]
    assert 0.8 < told["auc_low"][0] < 0.95 and told["auc_high"][0] == 1
    assert told["auc_low"][1] == 0 and 0.05 < told["auc_high"][1] < 0.2
