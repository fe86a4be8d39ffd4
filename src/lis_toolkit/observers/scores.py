"""Held-out scores of observers with intervals: against the majority class, and against shuffled labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..counterfactuals.intervals import widened_interval
from ..link_stats import wilson

__all__ = ["Scored", "balanced_accuracy", "r_squared", "score_answers", "score_numbers"]

BYTES = 2**26  # of bootstrap counts at a time


@dataclass(frozen=True)
class Scored:
    """A held-out score and what it has to be compared with.

    Attributes
    ----------
    score, low, high : accuracy or R2, with its interval.
    balanced : mean over categories of the share that is answered rightly; NaN for numbers.
    baseline : score of always answering the training part's most frequent category, or its mean.
    control : mean score of observers of shuffled labels; control_low, control_high : the least and the largest.
    selectivity : score less control; selectivity_low, selectivity_high : its interval.
    """

    score: float
    low: float
    high: float
    balanced: float
    baseline: float
    control: float
    control_low: float
    control_high: float
    selectivity: float
    selectivity_low: float
    selectivity_high: float


def balanced_accuracy(answers: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the categories that occur of the share of their images answered rightly, [n] and [n].

    Examples
    --------
    >>> balanced_accuracy(np.array([0, 0, 1]), np.array([0, 0, 0]))
    0.6666666666666666
    """
    return float(np.mean([(answers[truth == k] == k).mean() for k in np.unique(truth)]))


def r_squared(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance of the truth that is explained; NaN where the truth does not vary.

    Examples
    --------
    >>> r_squared(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    1.0
    """
    scatter = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((predicted - truth) ** 2).sum()) / scatter if scatter > 0 else float("nan")


def score_answers(
    answers: np.ndarray,
    truth: np.ndarray,
    baseline: np.ndarray,
    control_answers: np.ndarray,
    control_truth: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int | list[int] = 0,
) -> Scored:
    """Score answers [n] to categories: accuracy, balanced accuracy, selectivity.

    Selectivity is accuracy less the accuracy of the same kind of observer on labels that tell nothing (Hewitt and
    Liang 2019, arXiv 1909.03368, section 2). The interval is a bootstrap over held-out images (over groups where there
    are some), in which each resample draws as many shuffles as there are, too: so it holds their chance. For labels
    that tell nothing it holds 0 in about 95 % of trials (a test counts them).

    Parameters
    ----------
    baseline : [n], the answer of who knows the training part's categories only.
    control_answers, control_truth : [S, n], of observers trained on shuffled labels.
    """
    hits, control = (answers == truth).astype(float), (control_answers == control_truth).astype(float)
    draws, differences = [], []
    for weights, which in _resamples(len(hits), groups, len(control), resamples, seed):
        total = weights.sum(1)
        accuracy = weights @ hits / total
        draws.append(accuracy)
        if len(control):
            own = np.take_along_axis(weights @ control.T / total[:, None], which, 1)
            differences.append(accuracy - own.mean(1))
    value = float(hits.mean())
    low, high = _interval(draws, value, groups, len(hits), confidence, (0.0, 1.0))
    if low == high:  # all right, or all wrong: a bootstrap has no width then
        low, high = wilson(float(hits.sum()), len(hits))
    return _scored(
        value, low, high, balanced_accuracy(answers, truth), float((baseline == truth).mean()),
        control.mean(1), differences, groups, len(hits), confidence,
    )  # fmt: skip


def score_numbers(
    predicted: np.ndarray,
    truth: np.ndarray,
    baseline: np.ndarray,
    control_predicted: np.ndarray,
    control_truth: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int | list[int] = 0,
) -> Scored:
    """Score predicted numbers [n]: R2, and selectivity as `score_answers` has it, R2 less that of shuffled numbers."""
    every = np.concatenate([predicted[None], control_predicted]), np.concatenate([truth[None], control_truth])
    centre = every[1].mean(1, keepdims=True)  # takes digits' worth of a large mean away
    errors, values = (every[0] - every[1]) ** 2, every[1] - centre  # [1 + S, n]
    draws, differences = [], []
    for weights, which in _resamples(len(truth), groups, len(control_truth), resamples, seed):
        total = weights.sum(1, keepdims=True)
        scatter = weights @ (values**2).T - (weights @ values.T) ** 2 / total  # [b, 1 + S]
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = 1 - (weights @ errors.T) / np.where(scatter > 0, scatter, np.nan)
        draws.append(r2[:, 0])
        if len(control_truth):
            differences.append(r2[:, 0] - np.take_along_axis(r2, 1 + which, 1).mean(1))
    value = r_squared(predicted, truth)
    low, high = _interval(draws, value, groups, len(truth), confidence, (-np.inf, 1.0))
    control = np.array([r_squared(p, t) for p, t in zip(control_predicted, control_truth, strict=True)])
    return _scored(
        value, low, high, float("nan"), r_squared(baseline, truth), control, differences, groups, len(truth),
        confidence,
    )  # fmt: skip


def _scored(
    value: float, low: float, high: float, balanced: float, baseline: float, control: np.ndarray,
    differences: list[np.ndarray], groups: np.ndarray | None, n: int, confidence: float,
) -> Scored:  # fmt: skip
    nan = float("nan")
    if not len(control):
        return Scored(value, low, high, balanced, baseline, nan, nan, nan, nan, nan, nan)
    gap = value - float(control.mean())
    bounds = _interval(differences, gap, groups, n, confidence, (-np.inf, np.inf))
    return Scored(
        value, low, high, balanced, baseline, float(control.mean()), float(control.min()), float(control.max()), gap,
        *bounds,
    )  # fmt: skip


def _interval(
    draws: list[np.ndarray], value: float, groups: np.ndarray | None, n: int, confidence: float,
    within: tuple[float, float],
) -> tuple[float, float]:  # fmt: skip
    """Percentile interval, stretched as few images ask for (`widened_interval`)."""
    count = n if groups is None else len(np.unique(groups))
    low, high = widened_interval(np.concatenate(draws), value, count, confidence)
    return tuple(np.clip([float(low), float(high)], *within).tolist())


def _resamples(
    n: int, groups: np.ndarray | None, shuffles: int, resamples: int, seed: int | list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield how often each row is drawn, [b, n], and which of the S shuffles each resample takes, [b, S]."""
    rng = np.random.default_rng(seed)
    names, index = (None, None) if groups is None else np.unique(groups, return_inverse=True)
    count = n if names is None else len(names)
    step = max(1, BYTES // (8 * n))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(float)
        which = rng.integers(0, max(shuffles, 1), (size, shuffles))
        yield (drawn if index is None else drawn[:, index]), which
