"""Where a rising curve bends: the distance below which points count as neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LisError
from ..names import whole_number

__all__ = ["Knee", "find_knee", "neighbour_distances"]

LEAST_BEND = 0.01  # share of the chord's rise; below it a curve counts as straight
ALIKE = 1e-6  # share of the largest distance; below it points count as equal
EQUAL = 1e-7  # share of the largest distance from the mean; below it two points are copies
ROWS = 1024  # points whose distances to all others are held at a time


@dataclass(frozen=True)
class Knee:
    """Where a curve bends.

    Attributes
    ----------
    value : of the curve there.
    index : place along the curve, from 0.
    bend : how far the curve is below its chord there, as a share of the chord's rise: 0 for a straight line.
    found : False for a curve without a bend, whose largest value is taken.
    """

    value: float
    index: int
    bend: float
    found: bool


def find_knee(values: np.ndarray) -> Knee:
    """Return the knee of a rising curve: the point farthest below the chord from its first point to its last.

    The idea of Kneedle (Satopää et al. 2011, "Finding a Kneedle in a Haystack") without its smoothing and its
    sensitivity: of several bends the deepest is taken, and nothing has to be set. Places and values are both scaled to
    0..1 first, which makes the distance from the chord x - y. A curve that never falls below its chord by more than
    1 % has no knee (flat, straight, or bent the other way): then its largest value is taken, with which every point is
    a neighbour of enough others, and `found` is False. Where the knee would be 0, since most points are equal, the next
    larger value is taken.

    Parameters
    ----------
    values : [M], ascending.

    Raises
    ------
    LisError
        No values, values that fall, or that are not finite.

    Examples
    --------
    >>> find_knee(np.array([0.0, 0.1, 0.2, 0.3, 5.0])).value
    0.3
    """
    curve = np.asarray(values, dtype=np.float64)
    if curve.ndim != 1 or not len(curve) or not np.isfinite(curve).all():
        raise LisError(
            f"the curve has shape {list(curve.shape)}; finite numbers [M] were expected, at least one."
        )
    if (np.diff(curve) < 0).any():
        raise LisError("the curve falls somewhere; distances in ascending order were expected.")
    rise = float(curve[-1] - curve[0])
    last = len(curve) - 1
    if rise <= 1e-9 * abs(float(curve[-1])) or last < 2:
        return Knee(float(curve[-1]), last, 0.0, False)
    below = np.arange(len(curve)) / last - (curve - curve[0]) / rise  # [M]
    index = int(below.argmax())
    if below[index] < LEAST_BEND:
        return Knee(float(curve[-1]), last, max(float(below[index]), 0.0), False)
    if (
        curve[index] <= ALIKE * curve[-1]
    ):  # most points are equal: the least distance of others is next to the knee
        index = int((curve > ALIKE * curve[-1]).argmax())
    return Knee(float(curve[index]), index, float(below[index]), True)


def neighbour_distances(points: np.ndarray, neighbour: int = 5) -> np.ndarray:
    """Return every point's distance to its k-th nearest, itself counted as the first, in ascending order: float64 [M].

    With k = min_samples this is the eps at which DBSCAN takes the point for the core of a cluster. A thousand points
    at a time are compared with all others, so memory grows with M, not with its square.

    Parameters
    ----------
    points : [M, C]
    neighbour : k; 1 is the point itself, 2 its nearest neighbour.

    Raises
    ------
    LisError
        Fewer than k points.

    Examples
    --------
    >>> neighbour_distances(np.array([[0.0], [1.0], [3.0]]), neighbour=2)
    array([1., 1., 2.])
    """
    from sklearn.metrics import pairwise_distances_chunked

    k = whole_number(neighbour, "neighbour", 1)
    if len(points) < k:
        raise LisError(f"there are {len(points)} points; at least {k} were expected, to have {k} neighbours.")
    memory = max(1, ROWS * len(points) * 8 >> 20)  # MiB
    # Float64 about the mean: differences of squares lose close neighbours in float32, or far from 0.
    points = points.astype(np.float64)
    points = points - points.mean(0)
    found = pairwise_distances_chunked(
        points,
        reduce_func=lambda distances, _: np.partition(distances, k - 1, axis=1)[:, k - 1],
        working_memory=memory,
    )
    distances = np.sort(np.concatenate(list(found)))
    # What differences of squares leave between copies is rounding, and no scale for anything.
    distances[distances <= EQUAL * np.sqrt((points**2).sum(1).max())] = 0.0
    return np.asarray(distances)
