"""Intervals of counterfactuals' measures: rows of one start are no independent samples, so starts are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..link_stats import wilson
from ..selectivity.statistics import bootstrap_weights, interval

__all__ = [
    "Estimate",
    "jackknife",
    "mean_over_starts",
    "resampled_means",
    "share_over_starts",
    "widened_interval",
]


@dataclass(frozen=True)
class Estimate:
    """A value, the bounds of its interval, and from how many rows it comes."""

    value: float
    low: float
    high: float
    n: int


def mean_over_starts(
    values: np.ndarray,
    starts: np.ndarray,
    over: np.ndarray | None = None,
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of a measure with a bootstrap interval (`widened_interval`), all rows of a start drawn together.

    Parameters
    ----------
    values : [N], NaN where the measure is not defined: such rows are left out.
    starts : [N], which start every row belongs to.
    over : [N], divide by the sum of these instead of the number of rows: renders over successes, say.
    within : the least and the largest value that a mean can have, and so its bounds.
    confidence, resamples, seed : of the bootstrap.

    Returns
    -------
    Estimate; its bounds are NaN with fewer than two starts.

    Examples
    --------
    >>> mean_over_starts(np.array([1.0, 3.0]), np.array([0, 1])).value
    2.0
    """
    values = np.asarray(values, float)
    defined = ~np.isnan(values)
    weights = np.ones(len(values)) if over is None else np.asarray(over, float)
    values, weights, starts = values[defined], weights[defined], np.asarray(starts)[defined]
    if not len(values) or weights.sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, len(values))
    value = float(values.sum() / weights.sum())
    names, group = np.unique(starts, return_inverse=True)
    if len(names) < 2:
        return Estimate(value, math.nan, math.nan, len(values))
    top, bottom = (np.bincount(group, each) for each in (values, weights))  # [S], of every start
    drawn = bootstrap_weights(["all"] * len(names), resamples, seed)["all"].astype(float)  # [B, S]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn @ top) / (drawn @ bottom)  # [B]
    means[~np.isfinite(means)] = np.nan  # a resample without any success
    low, high = np.clip(widened_interval(means, value, len(names), confidence), *within)
    return Estimate(value, float(low), float(high), len(values))


def resampled_means(
    values: np.ndarray, starts: np.ndarray, resamples: int, seed: list[int]
) -> tuple[np.ndarray, int]:
    """Means of values [n] over starts drawn with replacement, [B], and how many starts there are.

    A start's rows are drawn together.

    Examples
    --------
    >>> resampled_means(np.array([1.0, 2.0]), np.array([0, 1]), 1000, [0])
    """
    _, own = np.unique(starts, return_inverse=True)
    sums, rows = np.bincount(own, values), np.bincount(own)
    n = len(sums)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)  # [B, n]
    return (weights @ sums) / (weights @ rows), n


def widened_interval(
    draws: np.ndarray, centre: float | np.ndarray, starts: int | np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of resampled means [..., B] about their `centre`, as much wider as few starts ask for: two [...].

    Percentile intervals of means of few starts are too narrow (Hesterberg 2015, The American Statistician 69, section
    3.2): of 5 normal values, 95 % ones hold the mean in 85 % of all cases. The spread of resampled means of n starts is
    too small by sqrt((n - 1) / n), and their tails are not Student's; the interval is stretched by both, which makes it
    95 %. NaN for fewer than 2 starts: one tells nothing of the spread.

    Examples
    --------
    >>> draws, n = resampled_means(values, starts, 4000, [0])
    >>> widened_interval(draws, values.mean(), n, 0.95)
    """
    n = np.asarray(starts, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        stretch = np.where(n > 1, np.sqrt(n / (n - 1)) * _student(n, confidence), np.nan)
    low, high = interval(draws, confidence)
    return centre + stretch * (low - centre), centre + stretch * (high - centre)


def _student(starts: float | np.ndarray, confidence: float) -> np.ndarray:
    """By how much Student's quantile of the mean of so many starts exceeds the normal one."""
    from scipy.stats import norm, t

    tail = (1 - confidence) / 2
    return np.asarray(t.ppf(tail, np.asarray(starts) - 1) / norm.ppf(tail))


def share_over_starts(hits: np.ndarray, starts: np.ndarray) -> Estimate:
    """Share of hits with Wilson's 95 % interval at the number of rows that they are worth.

    A bootstrap of a share of 1 has no width, Wilson's interval has. Rows of one start tell less than as many of
    different ones: the share's variance between starts says how many independent rows they are worth, the fewer as the
    starts are few (Korn and Graubard 1998, Survey Methodology 24), and where all rows are hits, or none is, the starts
    are counted.

    Examples
    --------
    >>> share_over_starts(np.ones(8, bool), np.arange(8)).low > 0.6
    True
    """
    hits, starts = np.asarray(hits, float), np.asarray(starts)
    n = len(hits)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    share = float(hits.mean())
    names, group = np.unique(starts, return_inverse=True)
    worth = float(len(names))
    if 0 < share < 1 and 1 < len(names) < n:
        residual = np.bincount(group, hits - share)  # [S]
        variance = float((residual**2).sum()) / n**2 * len(names) / (len(names) - 1)
        worth = min(share * (1 - share) / variance, n) if variance > 0 else float(n)
        worth /= float(_student(len(names), 0.95)) ** 2
    low, high = wilson(share * worth, worth)
    return Estimate(share, low, high, n)


def jackknife(
    statistic: Callable[[np.ndarray], float],
    starts: np.ndarray,
    *,
    most: float = math.inf,
    groups: int = 20,
    seed: int = 0,
) -> Estimate:
    """Give a statistic of a whole set with a 95 % interval by leaving out groups of starts, one after the other.

    For distances and coverages of sets a bootstrap is wrong: a resample holds rows twice, and such a set is farther
    from another than the set itself. Leaving rows out changes the size by a groups-th only (Efron and Tibshirani 1993,
    chapter 11).

    Parameters
    ----------
    statistic : from indices of rows to a number; NaN where it can't be told.
    starts : [N], which start every row belongs to.
    most : the largest value that the statistic can have; 0 is the least.
    groups : at most so many; fewer than two starts have no interval.

    Examples
    --------
    >>> jackknife(lambda rows: float(values[rows].var()), starts)
    """
    starts = np.asarray(starts)
    value = statistic(np.arange(len(starts)))
    names, group = np.unique(starts, return_inverse=True)
    count = min(groups, len(names))
    if count < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, len(starts))
    part = np.random.default_rng(seed).permutation(np.arange(len(names)) % count)[group]  # [N]
    without = np.array([statistic(np.flatnonzero(part != i)) for i in range(count)])
    half = 1.959964 * float(_student(count, 0.95))  # Student's quantile: so many groups tell the spread
    half *= math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    return Estimate(value, max(value - half, 0.0), min(value + half, most), len(starts))
