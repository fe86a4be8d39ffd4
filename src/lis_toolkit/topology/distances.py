"""How far two persistence diagrams are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import LisError
from ..names import whole_number
from .diagrams import Diagrams, Essential

__all__ = ["diagram_distances", "sliced_wasserstein"]


def sliced_wasserstein(
    a: Diagrams | Any, b: Diagrams | Any, dim: int = 1, *, directions: int = 50, essential: Essential = "drop"
) -> float:
    """Sliced Wasserstein distance of two persistence diagrams.

    Each diagram gets the other's points projected to the diagonal, so that bars without a partner are matched with
    nothing; both are projected to lines of `directions` angles over the half circle, where the 1-Wasserstein distance
    is that of sorted values; the mean over angles is returned. The distance to an empty diagram is that to the
    diagonal, of two empty ones 0. It is a *sum* over bars: diagrams of more bars are farther apart, so compare those of
    equally many points, and report sizes beside it.

    Parameters
    ----------
    a, b
        Diagrams in the same units, or arrays [B, 2] of births and deaths.
    dim
        Which dimension of Diagrams.
    directions
        Angles; the paper's 50.
    essential
        What to do with bars of Diagrams that never end: see `Diagrams.bars`. Arrays must be finite.

    Returns
    -------
    float

    Raises
    ------
    LisError
        For one diagram in median distances and another not, a dimension that is missing, bars that are not finite.

    Notes
    -----
    Carriere, Cuturi and Oudot 2017 (arXiv 1706.03358), algorithm 1, as used by Purvine et al. (AAAI 2023); equal to
    `persim.sliced_wasserstein` (a test holds it), whose loop over bars and angles it replaces by one sort.

    Examples
    --------
    >>> sliced_wasserstein(persistence_diagrams(one), persistence_diagrams(other))
    """
    if isinstance(a, Diagrams) and isinstance(b, Diagrams) and a.normalised != b.normalised:
        raise LisError(
            "one of the diagrams is in median distances and the other in the cloud's units; use rescaled() on one."
        )
    m = whole_number(directions, "directions", 1)
    left, right = (_bars(x, dim, essential) for x in (a, b))
    angle = np.pi * (0.5 + np.arange(m) / m)  # the half circle that persim takes
    lines = np.stack([np.cos(angle), np.sin(angle)])  # [2, M]
    on_diagonal = [np.repeat(x.mean(1, keepdims=True), 2, axis=1) for x in (left, right)]
    one = np.sort(np.concatenate([left, on_diagonal[1]]) @ lines, axis=0)  # [B + B', M]
    two = np.sort(np.concatenate([right, on_diagonal[0]]) @ lines, axis=0)
    return float(np.abs(one - two).sum() / m)


def _bars(x: Diagrams | Any, dim: int, essential: Essential) -> np.ndarray:
    if isinstance(x, Diagrams):
        return x.bars(dim, essential)
    bars = np.asarray(x, float)
    if bars.size == 0:
        return np.empty((0, 2))
    if bars.ndim != 2 or bars.shape[1] != 2 or not np.isfinite(bars).all():
        raise LisError(
            f"a diagram of shape {list(bars.shape)} was given; finite births and deaths [B, 2] were expected: drop "
            "bars without end, or cap them (Diagrams.bars)."
        )
    return bars


def diagram_distances(
    a: Sequence[Diagrams],
    b: Sequence[Diagrams] | None = None,
    dim: int = 1,
    *,
    directions: int = 50,
    essential: Essential = "drop",
) -> np.ndarray:
    """Sliced Wasserstein distances [A, B] between all diagrams of two lists, or of one list [A, A].

    Raises
    ------
    LisError
        As `sliced_wasserstein`.

    Examples
    --------
    >>> diagram_distances([persistence_diagrams(cloud, normalise=True) for cloud in clouds.values()])
    """

    def distance(x: Diagrams, y: Diagrams) -> float:
        return sliced_wasserstein(x, y, dim, directions=directions, essential=essential)

    if b is not None:
        return np.array([[distance(x, y) for y in b] for x in a]).reshape(len(a), len(b))
    matrix = np.zeros((len(a), len(a)))
    for i in range(len(a)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = distance(a[i], a[j])
    return matrix
