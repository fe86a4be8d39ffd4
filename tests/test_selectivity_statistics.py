"""The statistics of selectivity against scipy, against plain loops and against what is known under the null."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from lis_toolkit.selectivity.statistics import (
    bootstrap_weights,
    describe,
    false_discovery,
    interval,
    part_selectivity,
    sign_flip_p,
    unit_selectivity,
)


def test_weights_are_draws_with_replacement_of_each_class():
    classes = ["a"] * 4 + ["b"] * 7
    weights = bootstrap_weights(classes, 500, seed=3)
    assert {name: w.shape for name, w in weights.items()} == {"a": (500, 4), "b": (500, 7)}
    assert (weights["a"].sum(1) == 4).all() and (weights["b"].sum(1) == 7).all()
    assert weights["b"].mean(0) == pytest.approx(np.ones(7), abs=0.15)
    equal = bootstrap_weights(["a", "b"] * 6, 50, seed=3)
    assert (equal["a"] != equal["b"]).any()  # each class has draws of its own
    # A class's draws do not depend on the other classes, nor on their order.
    again = bootstrap_weights(["b"] * 7, 500, seed=3)
    assert (again["b"] == weights["b"]).all()
    assert (bootstrap_weights(classes, 500, seed=4)["b"] != weights["b"]).any()


def test_the_interval_is_that_of_scipys_bootstrap():
    rng = np.random.default_rng(0)
    d = rng.exponential(size=40) - 0.7
    weights = bootstrap_weights(["a"] * 40, 20_000, seed=0)["a"]
    low, high = interval((weights @ d / 40)[None], 0.9)
    other = scipy.stats.bootstrap(
        (d,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=rng
    ).confidence_interval
    assert low[0] == pytest.approx(other.low, abs=0.01) and high[0] == pytest.approx(other.high, abs=0.01)
    assert low[0] < d.mean() < high[0]


def test_an_interval_leaves_empty_resamples_out():
    values = np.array([[3.0, np.nan, 1.0, 2.0, np.nan, 5.0], [np.nan] * 6, [1.0, *[np.nan] * 5]])
    low, high = interval(values, 0.5)
    assert low[0] == pytest.approx(np.quantile([3, 1, 2, 5], 0.25))
    assert high[0] == pytest.approx(np.quantile([3, 1, 2, 5], 0.75))
    assert np.isnan(low[1]) and np.isnan(high[1]) and low[2] == high[2] == 1


def test_descriptions_are_plain_loops():
    rng = np.random.default_rng(1)
    changes = rng.normal(0.2, 1, (30, 9)).round(1)
    changes[rng.random(changes.shape) < 0.3] = np.nan
    changes[0] = np.nan
    changes[1] = [2.0, *[np.nan] * 8]
    found = describe(changes)
    for row, values in enumerate(changes):
        kept = [v for v in values if v == v]
        assert found["samples"][row] == len(kept)
        if len(kept) < 2:
            assert np.isnan(found["effect"][row])
            continue
        mean = sum(kept) / len(kept)
        spread = (sum((v - mean) ** 2 for v in kept) / (len(kept) - 1)) ** 0.5
        same = sum((v > 0) == (mean > 0) and v != 0 for v in kept) / len(kept)
        assert found["mean_change"][row] == pytest.approx(mean)
        assert found["effect"][row] == pytest.approx(mean / spread)
        assert found["same_sign"][row] == pytest.approx(same)


def test_equal_changes_and_none_at_all():
    found = describe(np.array([[0.1] * 7, [0.0] * 7, [-3.0] * 7]))
    assert found["effect"].tolist() == [np.inf, 0, -np.inf]
    assert found["same_sign"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_few_changes_have_exact_p_values(n):
    rng = np.random.default_rng(n)
    changes = rng.normal(0.5, 1, (6, n)).round(1)
    expected = []
    for d in changes:
        sums = [
            abs(sum(s * v for s, v in zip(signs, d, strict=True)))
            for signs in itertools.product((1, -1), repeat=n)
        ]
        expected.append(sum(s >= abs(d.sum()) - 1e-9 for s in sums) / len(sums))
    assert sign_flip_p(changes) == pytest.approx(expected)
    # Zeros and undefined changes flip nothing.
    wider = np.concatenate([changes, np.zeros((6, 20)), np.full((6, 3), np.nan)], axis=1)
    assert sign_flip_p(wider) == pytest.approx(expected)


def test_many_changes_agree_with_scipys_random_flips():
    rng = np.random.default_rng(5)
    changes = rng.exponential(size=(4, 30)) * rng.choice([-1, 1], (4, 30), p=[0.35, 0.65])
    for d, p in zip(changes, sign_flip_p(changes), strict=True):
        other = scipy.stats.permutation_test(
            (d,), np.mean, permutation_type="samples", n_resamples=20_000, rng=rng, alternative="two-sided"
        )
        assert p == pytest.approx(other.pvalue, rel=0.15, abs=0.006)


def test_p_of_nothing():
    p = sign_flip_p(np.array([[0.0, 0.0, np.nan], [np.nan] * 3, [1.0, np.nan, np.nan]]))
    assert p[0] == 1 and np.isnan(p[1]) and p[2] == 1


@pytest.mark.parametrize("n", [4, 8, 14, 40])
@pytest.mark.parametrize("kind", ["normal", "heavy", "signs", "mostly zero"])
def test_p_values_hold_their_level_without_an_effect(n, kind):
    rng = np.random.default_rng([n, len(kind)])
    d = rng.standard_t(2, (20_000, n)) if kind == "heavy" else rng.normal(size=(20_000, n))
    d = np.sign(d) if kind == "signs" else d * (rng.random(d.shape) < 0.2) if kind == "mostly zero" else d
    p = sign_flip_p(d)
    for alpha in (0.05, 0.01):
        # Exact up to 12 changes; beyond, the normal tail may be short of what few equal steps can reach.
        assert (p <= alpha).mean() <= alpha * (1.1 if n <= 12 else 1.6) + 3 * (alpha / 20_000) ** 0.5


def test_false_discovery_is_scipys():
    p = np.random.default_rng(0).random(200) ** 3
    for method in ("bh", "by"):
        assert false_discovery(p, method) == pytest.approx(
            scipy.stats.false_discovery_control(p, method=method)
        )
    holed = np.insert(p, [0, 50, 200], np.nan)
    q = false_discovery(holed)
    assert np.isnan(q[[0, 51, 202]]).all()
    assert q[~np.isnan(holed)] == pytest.approx(scipy.stats.false_discovery_control(p))
    assert np.isnan(false_discovery(np.full(3, np.nan))).all() and len(false_discovery(np.empty(0))) == 0


def test_part_selectivity_by_hand():
    effects = np.array(
        [[2.0, -3.0, np.nan, 0.0, np.inf], [-1.0, 1.0, 4.0, 0.0, 2.0], [0.5, np.nan, np.nan, 0.0, -np.inf]]
    )
    found = part_selectivity(effects)
    assert found[:, 0] == pytest.approx([1 / 3, -1 / 3, -0.6])
    assert found[:2, 1] == pytest.approx([0.5, -0.5]) and np.isnan(found[2, 1])
    assert np.isnan(found[:, 2]).all()  # nothing to compare with
    assert np.isnan(found[:, 3]).all()  # nothing changes
    assert found[:, 4].tolist() == [0, -1, 0]
    assert np.isnan(part_selectivity(effects[:1])).all()


def test_unit_selectivity_by_hand():
    effects = np.array([[0.0, 1.0, 2.0, 3.0, -10.0], [0.0, 0.0, 0.0, 0.0, 5.0], [1.0] * 5, [np.nan] * 5])
    found = unit_selectivity(effects)
    # median 1, absolute deviations 1 0 1 2 11: their median is 1
    assert found[0] == pytest.approx([(v - 1) / 1.4826 for v in effects[0]])
    # more than half the same: the mean absolute deviation, 1
    assert found[1] == pytest.approx([0, 0, 0, 0, 5 / 1.2533])
    assert (found[2] == 0).all() and np.isnan(found[3]).all()
    normal = unit_selectivity(np.random.default_rng(0).normal(3, 2, 5000))
    assert normal.std() == pytest.approx(1, abs=0.05)
    assert unit_selectivity(np.array([0.0, 1.0, 2.0, np.nan, np.inf]))[-1] == np.inf
