"""A lens' range covered by overlapping intervals, as kmapper covers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import LisError
from ..names import finite_number, whole_number

__all__ = ["IntervalCover", "interval_bounds", "lens_values"]

MOST_INTERVALS = 10_000


def lens_values(points: np.ndarray, lens: Any = "norm", owner: str = "the cloud") -> np.ndarray:
    """Return one number a point, float64 [M].

    Parameters
    ----------
    points : [M, C]
    lens : "norm" (Euclidean, as in the paper), a function of the points, or [M] numbers.

    Raises
    ------
    LisError
        Another lens, not one finite number a point, or the same number for all: there is nothing to cover.

    Examples
    --------
    >>> lens_values(np.array([[3.0, 4.0], [0.0, 1.0]]))
    array([5., 1.])
    """
    if isinstance(lens, str):
        if lens != "norm":
            raise LisError(
                f"the lens is {lens!r}; 'norm', a function of the points or an array was expected."
            )
        values = np.linalg.norm(points.astype(np.float64), axis=1)
    else:
        given = lens(points) if callable(lens) else lens
        try:
            values = np.asarray(getattr(given, "tolist", lambda: given)(), dtype=np.float64)
        except (TypeError, ValueError):
            raise LisError(
                f"the lens gives {type(given).__name__}; one number a point was expected."
            ) from None
    if values.shape != (len(points),):
        raise LisError(
            f"the lens of {owner} has shape {list(values.shape)}; [{len(points)}], one number a point, was expected."
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise LisError(
            f"the lens of {owner} is {values[wrong[0]]} at point {wrong[0]}; finite numbers expected."
        )
    spread = float(values.max() - values.min())
    if spread <= 1e-9 * max(abs(float(values.max())), abs(float(values.min()))):
        raise LisError(
            f"the lens of {owner} is {values[0]:.4g} at every point (a layer that is dead, or constant), so there is "
            "nothing to cover: take another layer or lens."
        )
    return values


def interval_bounds(values: np.ndarray, intervals: int = 40, overlap: float = 0.3) -> np.ndarray:
    """Return lower and upper bound of each interval, float64 [I, 2], both belonging to it.

    The range is cut into I equal pieces; each is widened about its middle until neighbours share the given part of an
    interval's width (kmapper's meaning of overlap). The first and the last interval reach beyond the range.

    Parameters
    ----------
    values : [M], of the lens.
    intervals : their number; the paper takes 40.
    overlap : share of an interval that it has in common with the next, above 0 and below 1; the paper takes 0.25 to
        0.3.

    Raises
    ------
    LisError
        Numbers out of range.

    Examples
    --------
    >>> interval_bounds(np.array([0.0, 1.0]), intervals=2, overlap=0.5)
    array([[-0.25,  0.75],
           [ 0.25,  1.25]])
    """
    count = whole_number(intervals, "intervals", 1, MOST_INTERVALS)
    share = finite_number(overlap, "overlap", ", above 0 and below 1")
    if not 0 < share < 1:
        raise LisError(f"overlap is {overlap!r}; a number above 0 and below 1 was expected, such as 0.3.")
    low, high = float(values.min()), float(values.max())
    step = (high - low) / count
    middles = low + step * (np.arange(count) + 0.5)
    half = step / (2 * (1 - share))
    bounds = np.stack([middles - half, middles + half], axis=1)
    bounds[0, 0], bounds[-1, 1] = min(bounds[0, 0], low), max(bounds[-1, 1], high)  # whatever rounding did
    return bounds


class IntervalCover:
    """What kmapper asks of a cover: the same intervals as `kmapper.Cover`, the empty ones kept.

    kmapper's own leaves empty intervals out, after which the numbers in its nodes' names are not those of intervals.

    Parameters
    ----------
    bounds : [I, 2] of `interval_bounds`.
    overlap : as it was asked for.

    Examples
    --------
    >>> mapper.map(lens, points, cover=IntervalCover(interval_bounds(lens), 0.3))
    """

    def __init__(self, bounds: np.ndarray, overlap: float) -> None:
        self.bounds = bounds
        self.n_cubes, self.perc_overlap = len(bounds), overlap  # kmapper writes them down

    def fit(self, data: np.ndarray) -> list[np.ndarray]:
        """Return the middles of the intervals; nothing depends on the data any more."""
        return list(self.bounds.mean(axis=1, keepdims=True))

    def transform(self, data: np.ndarray, centers: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Return the rows of data [M, 1 + 1] (number, lens) in each interval, in the order of the rows."""
        return [data[inside] for inside in map(_inside(data[:, 1]), self.bounds)]


def _inside(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda bounds: (values >= bounds[0]) & (values <= bounds[1])
