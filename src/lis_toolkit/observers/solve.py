"""Linear observers of standardised rows: logistic regression and ridge, by scikit-learn in memory or streamed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..threads import threads_for
from .design import Design
from .streaming import stream_logistic, stream_ridge

__all__ = ["PENALTIES", "Fit", "choose_logistic", "choose_ridge", "fit_logistic", "fit_ridge", "log_loss"]

PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)  # strong to weak, per image (see `train_observers`)
STEPS = 300  # of L-BFGS


@dataclass(frozen=True)
class Fit:
    """Weights [C, V] and bias [V] of standardised columns, and whether the solver arrived."""

    weights: np.ndarray
    bias: np.ndarray
    converged: bool = True


def fit_logistic(
    design: Design, y: np.ndarray, count: int, penalty: float, start: Fit | None = None, steps: int = STEPS
) -> Fit:
    """Fit a multinomial logistic regression: mean log loss + penalty / 2 |W|^2; V = count columns.

    Of two categories it is the usual logistic regression, whose weight vector is split in halves of opposite signs.
    Values without a row are never answered (their bias is -inf).
    """
    present = np.unique(y)
    weights, bias = np.zeros((design.width, count)), np.full(count, -np.inf)
    if len(present) == 1:
        bias[present] = 0.0
        return Fit(weights, bias)
    index = np.searchsorted(present, y)
    if design.streaming:
        first = None if start is None else (start.weights[:, present], start.bias[present])
        w, b, converged = stream_logistic(design, index, len(present), penalty, first, steps)
    else:
        w, b, converged = _logistic(design.matrix(), index, penalty, start, present, steps)
    weights[:, present], bias[present] = w, b
    return Fit(weights, bias, converged)


def _logistic(
    x: np.ndarray, index: np.ndarray, penalty: float, start: Fit | None, present: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (penalty * len(x)), max_iter=steps, warm_start=start is not None)
    two = len(present) == 2
    if start is not None and np.isfinite(start.bias[present]).all():
        w, b = start.weights[:, present], start.bias[present]
        model.classes_ = np.arange(len(present))
        model.coef_ = (w[:, 1:] - w[:, :1]).T.copy() if two else w.T.copy()
        model.intercept_ = (b[1:] - b[:1]).copy() if two else b.copy()
    with warnings.catch_warnings(), threads_for(x.size):
        # What did not converge is said in a column of the table, once for each observer.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        model.fit(x, index)
    converged = bool(np.max(model.n_iter_) < steps)
    w, b = model.coef_.T, model.intercept_
    return (
        (np.concatenate([-w, w], 1) / 2, np.concatenate([-b, b]) / 2, converged) if two else (w, b, converged)
    )


def fit_ridge(design: Design, y: np.ndarray, penalties: Sequence[float]) -> list[Fit]:
    """Fit numbers y [n, T] by ridge with every penalty: mean squared error + penalty |w|^2; V = T columns."""
    if design.streaming:
        return [Fit(weights, bias) for weights, bias in stream_ridge(design, y, penalties)]
    from sklearn.linear_model import Ridge

    fits, x = [], design.matrix()
    for penalty in penalties:
        with threads_for(x.size):
            model = Ridge(alpha=penalty * len(design)).fit(x, y)
        fits.append(
            Fit(np.asarray(model.coef_).reshape(y.shape[1], -1).T, np.asarray(model.intercept_).reshape(-1))
        )
    return fits


def log_loss(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean log loss of logits [n, V] for answers y [n]; rows whose answer was never seen are left out."""
    top = logits.max(1, keepdims=True)
    normal = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    losses = normal - logits[np.arange(len(y)), y]
    losses = losses[np.isfinite(losses)]
    return float(losses.mean()) if len(losses) else float("inf")


def choose_logistic(
    training: Design, y: np.ndarray, count: int, inner: tuple[np.ndarray, np.ndarray], penalties: Sequence[float],
    steps: int = STEPS,
) -> tuple[float, Fit | None]:  # fmt: skip
    """Return the penalty of least log loss on the inner held-out rows, and its fit to begin with.

    Penalties are tried from strong to weak, each from the fit before; the first rise of the loss ends it.
    """
    if len(penalties) == 1:
        return penalties[0], None
    fitted, judged = training.take(inner[0]), training.take(inner[1])
    best, least, kept, fit = penalties[0], float("inf"), None, None
    for penalty in sorted(penalties, reverse=True):
        fit = fit_logistic(fitted, y[inner[0]], count, penalty, fit, steps)
        loss = log_loss(judged.apply(fit.weights, fit.bias), y[inner[1]])
        if loss >= least:
            break
        best, least, kept = penalty, loss, fit
    return best, kept


def choose_ridge(
    training: Design, y: np.ndarray, inner: tuple[np.ndarray, np.ndarray], penalties: Sequence[float]
) -> tuple[np.ndarray, Fit]:
    """Choose for every column of y [n, T] the penalty of least squared error on the inner held-out rows, and fit.

    Returns
    -------
    penalties [T], and the fit of all training rows.
    """
    strong = sorted(penalties, reverse=True)
    best = np.zeros(y.shape[1], dtype=int)
    if len(strong) > 1:
        fitted, judged = training.take(inner[0]), training.take(inner[1])
        truth = y[inner[1]]
        fits = fit_ridge(fitted, y[inner[0]], strong)
        best = np.array([((judged.apply(f.weights, f.bias) - truth) ** 2).mean(0) for f in fits]).argmin(0)
    used = np.unique(best)
    final = dict(zip(used, fit_ridge(training, y, [strong[i] for i in used]), strict=True))
    weights = np.stack([final[i].weights[:, t] for t, i in enumerate(best)], axis=1)
    bias = np.array([final[i].bias[t] for t, i in enumerate(best)])
    return np.array(strong)[best], Fit(weights, bias)
