"""The best threshold of every unit for a property: exact, by sorting; and what it is worth on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..link_stats import wilson_bounds

__all__ = [
    "Ranked",
    "Thresholds",
    "area_bounds",
    "area_under_curve",
    "best_thresholds",
    "count_beyond",
    "rank_units_by_value",
]

Criterion = Literal["f1", "youden"]
UNITS = 2**22  # values of sorted units at a time, to bound memory


@dataclass(frozen=True)
class Thresholds:
    """The best threshold of every unit for one property.

    Attributes
    ----------
    threshold : [U], half way between two values that occur.
    high : bool [U], whether images above it are meant (else those below).
    score : [U], of the criterion on the images that it was searched on.
    """

    threshold: np.ndarray
    high: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Ranked:
    """Units sorted once, to be searched for many properties.

    Attributes
    ----------
    order : [n, U], rows by rising value; values : [n, U], sorted.
    """

    order: np.ndarray
    values: np.ndarray


def rank_units_by_value(x: np.ndarray) -> Ranked:
    """Sort every column of x [n, U]."""
    order = np.argsort(x, axis=0, kind="stable")
    return Ranked(order, np.take_along_axis(x, order, axis=0))


def best_thresholds(ranked: Ranked, holds: np.ndarray, criterion: Criterion = "f1") -> Thresholds:
    """Find for every unit the threshold and the side that tell a property best; every cut between two values counts.

    "f1" is 2 TP / (2 TP + FP + FN); "youden" is the share of the property's images that are beyond the threshold less
    the share of the others' (Youden 1950). Of equal cuts the lowest is taken, and "high" before "low". A unit that is
    the same for all images calls none.

    Parameters
    ----------
    holds : bool [n], the property; some must have it and some not.

    Examples
    --------
    >>> best_thresholds(rank_units_by_value(x), labels == 3).score.max()
    """
    n, units = ranked.values.shape
    positive = int(holds.sum())
    step = max(1, UNITS // max(n, 1))
    found = [np.empty(units), np.empty(units, bool), np.empty(units)]
    for start in range(0, units, step):
        part = slice(start, start + step)
        values = ranked.values[:, part]
        below = np.cumsum(
            holds[ranked.order[:-1, part]], axis=0, dtype=np.float64
        )  # [n - 1, u], hits under each cut
        size = np.arange(1, n, dtype=np.float64)[:, None]
        tied = values[1:] <= values[:-1]
        scores = []
        for hits, called in ((positive - below, n - size), (below, size)):
            if criterion == "f1":
                score = 2 * hits / (called + positive)
            else:
                score = hits / positive - (called - hits) / (n - positive)
            score[tied] = -np.inf
            scores.append(score)
        if n < 2:
            scores = [np.full((1, values.shape[1]), -np.inf)] * 2
        best = [score.argmax(0) for score in scores]
        top = [np.take_along_axis(score, b[None], 0)[0] for score, b in zip(scores, best, strict=True)]
        high = top[0] >= top[1]
        place = np.where(high, *best)
        columns = np.arange(values.shape[1])
        above = values[np.minimum(place + 1, n - 1), columns]
        under = values[place, columns]
        flat = ~np.isfinite(np.where(high, *top))
        middle = under + (above - under) / 2
        middle = np.where(middle < above, middle, under)  # rounding of neighbouring floats
        found[0][part] = np.where(flat, np.inf, middle)
        found[1][part] = high | flat
        found[2][part] = np.where(flat, 0.0, np.where(high, *top))
    return Thresholds(*found)


def count_beyond(
    x: np.ndarray, holds: np.ndarray, found: Thresholds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count held-out images x [m, U] beyond each unit's threshold: hits, false alarms, misses, [U] each."""
    beyond = (x > found.threshold) == found.high
    hits = (beyond & holds[:, None]).sum(0)
    return hits, beyond.sum(0) - hits, int(holds.sum()) - hits


def area_under_curve(ranks: np.ndarray, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area under the curve of every unit for a property, its standard error, and p of a two-sided rank test.

    The area is the probability that the unit is more active on an image with the property than on one without, ties
    counting half. Standard error after DeLong, DeLong and Clarke-Pearson 1988; p after Mann and Whitney, with ties.

    Parameters
    ----------
    ranks : [m, U], of the units' values among all held-out images, means for ties.
    holds : bool [m].

    Returns
    -------
    area, error, p : [U]; NaN where no image has the property, or all have.
    """
    from scipy.stats import norm, rankdata

    m, n = int(holds.sum()), int((~holds).sum())
    if min(m, n) == 0:
        nothing = np.full(ranks.shape[1], np.nan)
        return nothing, nothing, nothing
    inside, outside = ranks[holds], ranks[~holds]
    area = (inside.sum(0) - m * (m + 1) / 2) / (m * n)
    wins = (inside - rankdata(inside, axis=0)) / n  # [m, U], share of the others below each
    losses = 1 - (outside - rankdata(outside, axis=0)) / m
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (wins.var(0, ddof=1) / m if m > 1 else np.nan) + (
            losses.var(0, ddof=1) / n if n > 1 else np.nan
        )
        null = ranks.var(0) / (
            m * n * max(m + n - 1, 1)
        )  # of the area, were labels dealt at random: ties count
        p = np.where(null > 0, 2 * norm.sf(np.abs(area - 0.5) / np.sqrt(null)), 1.0)
    return area, np.sqrt(variance), p


def area_bounds(
    area: np.ndarray, error: np.ndarray, holds: np.ndarray, z: float
) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's interval of areas [U]; where it has no width (areas of 0 and 1), Wilson's of the rarer answer's rows."""
    fewer = min(int(holds.sum()), int((~holds).sum()))
    low, high = wilson_bounds(area * fewer, np.full(len(area), fewer), z)
    return (
        np.where(error == 0, low, np.clip(area - z * error, 0, 1)),
        np.where(error == 0, high, np.clip(area + z * error, 0, 1)),
    )
