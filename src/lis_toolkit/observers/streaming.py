"""Observers of more rows than fit in memory: the same optimum as in memory, from passes over chunks of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..moments import Moments
from ..solvers import Normal, minimum_norm, solve_shifted
from .design import Design

__all__ = ["stream_logistic", "stream_ridge"]

TOLERANCE = 1e-5  # largest slope of the objective, per image, at which the search ends


def stream_ridge(
    design: Design, targets: np.ndarray, penalties: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit targets [n, T] by ridge from one pass: weights [C, T] and bias [T] for every penalty.

    Second moments are all that a linear fit needs (`Moments`); minimises mean squared error + penalty |w|^2.

    Examples
    --------
    >>> [(weights, bias)] = stream_ridge(design, y[:, None], [0.01])
    """
    moments = Moments(design.width, targets.shape[1])
    for part, x in design.chunks():
        moments.update(
            torch.from_numpy(x), torch.from_numpy(np.ascontiguousarray(targets[part], dtype=float))
        )
    normal = Normal.of(moments, standardise=False)
    fits = []
    for penalty in penalties:
        copy = Normal(
            normal.gram.clone(),
            normal.cross,
            normal.scale,
            normal.active,
            normal.mean,
            normal.w_mean,
            normal.rows,
        )
        b = copy.cross
        if len(copy.active):
            solved, _ = solve_shifted(copy, penalty)
            b = minimum_norm(copy)[0] if solved is None else solved
        weights = normal.coefficients(b, design.width).T.numpy()  # [C, T]
        bias = (normal.w_mean - b.T @ normal.mean).numpy()
        fits.append((weights, bias))
    return fits


def stream_logistic(
    design: Design,
    index: np.ndarray,
    count: int,
    penalty: float,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    steps: int = 300,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Fit a multinomial logistic regression by L-BFGS, a pass over all rows a step.

    Stochastic steps (`SGDClassifier.partial_fit`) would need a schedule, answer by one class against the others, and
    end near the optimum only; this ends at the optimum that scikit-learn's solver finds in memory.

    Parameters
    ----------
    index : int [n], 0 to count - 1, every number present.
    start : weights [C, count] and bias [count] to begin at.

    Returns
    -------
    weights [C, count], bias [count], whether it converged within `steps`.

    Examples
    --------
    >>> weights, bias, converged = stream_logistic(design, labels, 10, 0.01)
    """
    from scipy.optimize import minimize

    two = count == 2
    columns, n = (1 if two else count), len(design)
    first = np.zeros((design.width + 1, columns))
    if start is not None:
        w, b = start
        first[:-1], first[-1] = (w[:, 1:] - w[:, :1], b[1:] - b[:1]) if two else (w, b)
    sign = 2.0 * index - 1

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = flat.reshape(design.width + 1, columns)
        loss, slope = 0.0, np.zeros_like(theta)
        for part, x in design.chunks():
            logits = x @ theta[:-1] + theta[-1]  # [m, V]
            if two:
                margin = sign[part] * logits[:, 0]
                loss += float(np.logaddexp(0, -margin).sum())
                residual = (-sign[part] * np.exp(-np.logaddexp(0, margin)))[:, None]
            else:
                logits -= logits.max(1, keepdims=True)
                residual = np.exp(logits)
                total = residual.sum(1, keepdims=True)
                rows = np.arange(len(x))
                loss += float((np.log(total[:, 0]) - logits[rows, index[part]]).sum())
                residual /= total
                residual[rows, index[part]] -= 1
            slope[:-1] += x.T @ residual
            slope[-1] += residual.sum(0)
        slope /= n
        slope[:-1] += penalty * theta[:-1]
        return loss / n + penalty / 2 * float((theta[:-1] ** 2).sum()), slope.ravel()

    options = {"maxiter": steps, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    found = minimize(objective, first.ravel(), method="L-BFGS-B", jac=True, options=options)
    theta = found.x.reshape(design.width + 1, columns)
    w, b = theta[:-1], theta[-1]
    converged = bool(found.nit < steps)
    return (
        (np.concatenate([-w, w], 1) / 2, np.concatenate([-b, b]) / 2, converged) if two else (w, b, converged)
    )
