"""Point clouds as topology wants them: checked, thinned out on purpose, and with a scale of their own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from ..errors import LisError
from ..names import whole_number

__all__ = ["Thinning", "as_points", "choose_points", "cloud_title", "scale_of"]

Thinning = Literal["random", "spread"]
THINNINGS = ("random", "spread")
FLAT = 1e-7  # a cloud narrower than this share of its points' lengths is one point and rounding


def as_points(cloud: Any, name: str = "the cloud", least: int = 1) -> np.ndarray:
    """Return the points of a PointCloud, a tensor or an array [M, C], checked, as float64.

    Raises
    ------
    LisError
        For anything else, fewer than `least` points, no columns, NaN or infinite values.

    Examples
    --------
    >>> as_points(torch.zeros(3, 2)).shape
    (3, 2)
    """
    given = getattr(cloud, "points", cloud)
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().double().numpy()
    points: np.ndarray | None = None
    try:
        array = np.asarray(given)
        points = array.astype(np.float64) if array.dtype.kind in "fiu" else None
    except (TypeError, ValueError):
        points = None
    if points is None:
        raise LisError(
            f"{name} is of type {type(cloud).__name__}; points [M, C] were expected, as a PointCloud, a tensor or an "
            "array of numbers."
        )
    if points.ndim != 2 or points.shape[1] == 0:
        raise LisError(f"{name} has shape {list(points.shape)}; points [M, C] were expected, one a row.")
    if len(points) < least:
        raise LisError(
            f"{name} has {len(points)} points; at least {least} were expected: sample more images."
        )
    wrong = ~np.isfinite(points).all(1)
    if wrong.any():
        raise LisError(
            f"{name} has NaN or infinite values in {int(wrong.sum())} of {len(points)} points, first in row "
            f"{int(wrong.argmax())}: check the model's weights and the images."
        )
    return points


def choose_points(points: np.ndarray, count: int, how: Thinning = "random", seed: int = 0) -> np.ndarray:
    """Choose rows of points [M, C]: indices [min(count, M)], ascending.

    Parameters
    ----------
    points
        [M, C].
    count
        How many.
    how
        "random": every subset is equally likely, so that density stays what it was. "spread": farthest-point
        sampling from a drawn first one (Gonzalez 1985), each the farthest from those before; covers the cloud, keeps
        outliers, and forgets the density.
    seed
        Of the draw.

    Raises
    ------
    LisError
        For an unknown way, or a count below 1.

    Examples
    --------
    >>> rows = choose_points(points, 300, "spread", seed=0)
    """
    if how not in THINNINGS:
        raise LisError(f"how is {how!r}; 'random' or 'spread' was expected.")
    count = whole_number(count, "points", 1)
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    if count >= len(points):
        return np.arange(len(points))
    if how == "random":
        return np.sort(rng.choice(len(points), count, replace=False))
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)  # [M], to the nearest of those chosen
    while len(chosen) < count:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
        distance[chosen] = -1.0  # copies of a chosen point may come, but not itself
        chosen.append(int(distance.argmax()))
    return np.sort(np.array(chosen))


def scale_of(distances: np.ndarray, points: np.ndarray) -> float:
    """Median of the distances [M (M - 1) / 2] of points [M, C]; of those above 0 where most points are copies.

    0 for a single point, and where all distances are what rounding leaves of the points' size.

    Examples
    --------
    >>> scale_of(np.array([5.0]), np.array([[0.0, 0.0], [3.0, 4.0]]))
    5.0
    """
    if not len(distances) or distances.max() <= FLAT * np.abs(points).max():
        return 0.0
    median = float(np.median(distances))
    return median if median > 0 else float(np.median(distances[distances > 0]))


def cloud_title(cloud: Any, name: str) -> str:
    """Return the short text of a cloud's layer, or `name` where it has none."""
    return str(getattr(getattr(cloud, "layer", None), "title", None) or name)
