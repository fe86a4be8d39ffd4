"""Statistics of many rows of changes at once: intervals, tests, corrections, selectivities. NaN is "not defined"."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

EXACT = 12  # up to so many changes that are not zero, all flips of sign are counted
ROWS = 512  # of flipped sums at a time, to bound memory


def bootstrap_weights(
    classes: Sequence[str] | np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """How often every sample of a class is drawn in each resample: counts [B, n] per class, float32.

    Each class is drawn by a generator of its own (of `seed` and the class's name), so that a class's resamples do not
    depend on which other classes there are, and those of all classes side by side are a stratified bootstrap.
    """
    names, counts = np.unique(np.asarray(classes, dtype=str), return_counts=True)
    weights = {}
    for name, n in zip(names, counts, strict=True):
        rng = np.random.default_rng([seed, zlib.crc32(str(name).encode())])
        weights[str(name)] = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)
    return weights


def interval(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the last axis, [rows, B] -> two [rows]; empty resamples (NaN) are left out."""
    ascending = np.sort(resampled, axis=-1)  # NaN last
    counts = (~np.isnan(ascending)).sum(-1)
    bounds = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        place = np.maximum(counts - 1, 0) * share
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(counts - 1, 0))
        low, high = (np.take_along_axis(ascending, p[..., None], -1)[..., 0] for p in (below, above))
        bounds.append(low + (high - low) * (place - below))
    return bounds[0], bounds[1]


def describe(changes: np.ndarray) -> dict[str, np.ndarray]:
    """Count, mean, standardised effect and share of the mean's sign over the last axis, [rows, S] -> [rows] each.

    The effect is mean / standard deviation (n - 1); 0 when nothing changes at all, infinite when all changes are equal.
    """
    defined = ~np.isnan(changes)
    n = defined.sum(-1)
    filled = np.where(defined, changes, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(-1) / np.where(n, n, np.nan)
        centred = np.where(defined, changes - mean[..., None], 0.0)
        # Equal changes have no spread, whatever rounding leaves of it.
        extent = np.nanmax(np.where(defined, np.abs(filled), 0.0), -1, initial=0.0)
        spread = np.sqrt((centred**2).sum(-1) / np.where(n > 1, n - 1, np.nan))
        spread = np.where(spread <= 1e-12 * extent, 0.0, spread)
        effect = np.where((spread == 0) & (mean == 0), 0.0, mean / spread)
        same = ((np.sign(filled) == np.sign(mean)[..., None]) & (filled != 0)).sum(-1) / np.where(
            n, n, np.nan
        )
    return {"samples": n, "mean_change": mean, "effect": effect, "same_sign": same}


def sign_flip_p(changes: np.ndarray) -> np.ndarray:
    """Two-sided p-value of the mean of each row against flips of sign, [rows, S] -> [rows].

    Were the unit of no effect, its first and last picture could be exchanged, and with them the sign of every change:
    the null distribution of |sum d| is that of |sum +-d|, whatever the distribution of d. With up to 12 changes that
    are not zero all flips are counted (the least p is 2^(1 - n)). With more, the sum is taken as normal with its own
    variance, sum d^2: p = 2 Phi(-|sum d| / sqrt(sum d^2)). For any d at all the true p is at most 3.18 times that
    (Bentkus and Dzindzalieta 2015, Bernoulli 21, theorem 1.1), and it has no smallest step as random flips would.
    """
    from scipy.stats import norm

    changes = np.atleast_2d(changes)
    filled = np.nan_to_num(changes, nan=0.0)
    total, square = np.abs(filled.sum(-1)), np.sqrt((filled**2).sum(-1))
    moved = (filled != 0).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(square > 0, 2 * norm.sf(total / square), 1.0)
    few = np.flatnonzero((moved <= EXACT) & (moved > 0))
    if len(few):
        width = min(EXACT, filled.shape[1])
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=width - 1)))  # [2^(width - 1), width - 1]
        for start in range(0, len(few), ROWS):
            rows = few[start : start + ROWS]
            largest = np.argsort(-np.abs(filled[rows]), axis=-1)[:, :width]  # the others are zero
            d = np.take_along_axis(filled[rows], largest, -1)
            sums = np.abs(d[:, :1] + d[:, 1:] @ signs.T)  # the first sign can stay: both tails are counted
            p[rows] = (sums >= total[rows, None] - 1e-9 * square[rows, None]).mean(-1)
    return np.where((~np.isnan(changes)).any(-1), p, np.nan)


def false_discovery(p: np.ndarray, method: Literal["bh", "by"] = "bh") -> np.ndarray:
    """Adjust p-values for the false discovery rate over all that are not NaN, [n] -> [n].

    "bh" (Benjamini and Hochberg 1995) holds for independent tests and for those that depend positively; "by"
    (Benjamini and Yekutieli 2001) for any dependence, at the price of a factor 1 + 1/2 + ... + 1/n.
    """
    q = np.full(len(p), np.nan)
    places = np.flatnonzero(~np.isnan(p))
    n = len(places)
    if n == 0:
        return q
    order = places[np.argsort(p[places], kind="stable")]
    factor = float((1 / np.arange(1, n + 1)).sum()) if method == "by" else 1.0
    adjusted = p[order] * (n * factor) / np.arange(1, n + 1)
    q[order] = np.minimum(np.minimum.accumulate(adjusted[::-1])[::-1], 1.0)
    return q


def part_selectivity(effects: np.ndarray) -> np.ndarray:
    """How much more a unit changes each part than the part it changes most among the others, [P, ...] -> [P, ...].

    (|e| - |m|) / (|e| + |m|), e the standardised effect on the part and m the largest one on another part: 1 when no
    other part changes, 1/3 when it changes twice as much as the next, 0 when both change alike, negative when another
    part changes more. NaN where e is, without another part to compare with, and where nothing changes.
    """
    size = np.abs(effects)
    if len(size) < 2:
        return np.full(size.shape, np.nan)
    filled = np.where(np.isnan(size), -1.0, size)
    two = np.sort(filled, axis=0)[-2:]  # [2, ...], second largest and largest
    first = filled.argmax(0)
    others = np.where(np.arange(len(size)).reshape(-1, *[1] * (size.ndim - 1)) == first, two[0], two[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        index = (size - others) / (size + others)
        index = np.where(np.isinf(size) & np.isinf(others), 0.0, index)
        index = np.where(np.isinf(size) & ~np.isinf(others), 1.0, index)
        index = np.where(~np.isinf(size) & np.isinf(others), -1.0, index)
    return np.where(np.isnan(effects) | (others < 0), np.nan, index)


def unit_selectivity(effects: np.ndarray) -> np.ndarray:
    """How far each unit's effect lies from the other units', in robust standard deviations, [..., U] -> [..., U].

    (e - median) / (1.4826 MAD) over the units, and with the mean absolute deviation (times 1.2533) where more than half
    of the units have the median itself (Iglewicz and Hoaglin 1993): about a standard normal when no unit stands out.
    Keeps the sign of the change. NaN where e is, 0 where all units are alike.
    """
    import warnings

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without any unit stay NaN
        deviation = effects - np.nanmedian(effects, axis=-1, keepdims=True)
        size = np.where(np.isfinite(deviation), np.abs(deviation), np.nan)
        scale = 1.4826 * np.nanmedian(
            np.where(np.isnan(effects), np.nan, np.abs(deviation)), -1, keepdims=True
        )
        scale = np.where(scale > 0, scale, 1.2533 * np.nanmean(size, axis=-1, keepdims=True))
        z = deviation / scale
    return np.where(deviation == 0, 0.0, z)
