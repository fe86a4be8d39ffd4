"""Vietoris-Rips persistence of a cloud: how many points it may have, and its diagrams."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LisError
from ..files import provenance
from ..names import whole_number
from .clouds import Thinning, as_points, choose_points, scale_of
from .diagrams import Diagrams

__all__ = ["PersistencePlan", "persistence_diagrams", "plan_persistence"]

LIMIT = 2 * 2**30  # bytes
# Measured with ripser 0.6.15 as growth of the process: 140 to 185 bytes an edge for H1 of 300 to 2,000 points, 100 for
# H0, and 24 for our own distances; 22 to 504 a triangle for H2, the most for points in no direction in particular.
BYTES_AN_EDGE, BYTES_A_TRIANGLE = 224, 512
HIGHEST = 2


@dataclass(frozen=True)
class PersistencePlan:
    """What persistence of so many points takes at worst, when every distance counts.

    Attributes
    ----------
    points, max_dim : int
    edges, triangles : int
        Simplices to be paired: n (n - 1) / 2 for H0 and H1, also n (n - 1) (n - 2) / 6 for H2.
    bytes : int
        Estimate from measurements, no bound: what a reduction fills in depends on the cloud.

    Examples
    --------
    >>> print(plan_persistence(1000))
    """

    points: int
    max_dim: int
    edges: int
    triangles: int
    bytes: int

    def __str__(self) -> str:
        more = f" and {self.triangles:,} triangles" if self.triangles else ""
        return (
            f"H0 to H{self.max_dim} of {self.points:,} points: at most {self.edges:,} edges{more}, "
            f"about {size_text(self.bytes)}"
        )


def size_text(count: int) -> str:
    """Return a number of bytes to read."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"


def plan_persistence(points: int, max_dim: int = 1) -> PersistencePlan:
    """Estimate what persistence of so many points takes, before it starts.

    Raises
    ------
    LisError
        For no points, and dimensions other than 0, 1 and 2.

    Examples
    --------
    >>> print(plan_persistence(1000))
    H0 to H1 of 1,000 points: at most 499,500 edges, about 106.7 MiB
    """
    n = whole_number(points, "points", 1)
    dim = whole_number(max_dim, "max_dim", 0, HIGHEST)
    edges, triangles = math.comb(n, 2), math.comb(n, 3) if dim == HIGHEST else 0
    return PersistencePlan(n, dim, edges, triangles, BYTES_AN_EDGE * edges + BYTES_A_TRIANGLE * triangles)


def _most_points(limit: int, max_dim: int) -> int:
    """Return the most points whose plan stays within a limit of bytes."""
    low, high = 1, 2
    while plan_persistence(high, max_dim).bytes <= limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if plan_persistence(middle, max_dim).bytes <= limit:
            low = middle
        else:
            high = middle
    return low


def persistence_diagrams(
    cloud: Any,
    max_dim: int = 1,
    points: int | None = 500,
    *,
    how: Thinning = "random",
    normalise: bool = False,
    seed: int = 0,
    limit: int = LIMIT,
    name: str = "the cloud",
) -> Diagrams:
    """Compute the Vietoris-Rips persistence diagrams of a point cloud.

    Balls grow around all points; components merge (H0), loops close and fill (H1), voids likewise (H2). A bar is the
    range of *distances between points*, not of radii, over which such a hole lives.

    Parameters
    ----------
    cloud
        A PointCloud of `sample_points`, or points [M, C].
    max_dim
        Highest dimension, 0 to 2. H2 takes minutes for more than about 150 points in many dimensions.
    points
        Of a larger cloud so many are chosen; None: all.
    how
        "random", or "spread" for farthest points: see `choose_points`.
    normalise
        Give births and deaths in multiples of the median distance between two of the points used, because layers
        differ in scale. `Diagrams.rescaled` goes from one to the other.
    seed
        Of the choice of points.
    limit
        Bytes that the estimate of `plan_persistence` may reach.
    name
        What errors call the cloud.

    Returns
    -------
    Diagrams
        Of a cloud of copies of one point all diagrams are empty, and the scale is 0.

    Raises
    ------
    LisError
        Without the package ripser; fewer than 3 points; NaN; more memory than `limit`, told with the number of points
        that would fit.

    Notes
    -----
    As in Purvine et al. (AAAI 2023, arXiv 2212.00222), who use H1 of 1,000 points. Computed by ripser (Bauer 2021), in
    float32, with coefficients in Z/2. That the bars without length and those without end are left out is our reading.

    Examples
    --------
    >>> clouds = sample_points(classifier, photographs.images)
    >>> print(persistence_diagrams(clouds["penultimate"]))
    """
    from scipy.spatial.distance import pdist, squareform

    ripser = ripser_package()
    all_points = as_points(cloud, name, least=3)
    count = len(all_points) if points is None else whole_number(points, "points", 3)
    plan = plan_persistence(min(count, len(all_points)), max_dim)
    most = whole_number(limit, "limit", 1)
    if plan.bytes > most:
        raise LisError(
            f"persistence of {name} would take too much memory: {plan} ({plan.bytes:,} bytes); the limit is {most:,} "
            f"bytes. points={_most_points(most, plan.max_dim)} would fit; or raise limit=."
        )
    rows = choose_points(all_points, count, how, seed)
    used = all_points[rows]
    distances = pdist(used)  # [n (n - 1) / 2]
    if not np.isfinite(distances).all() or distances.max() > np.finfo(np.float32).max:
        raise LisError(f"{name} has points too far from each other for their distances to be numbers.")
    scale = scale_of(distances, used)
    if scale == 0:
        finite = tuple(np.empty((0, 2)) for _ in range(plan.max_dim + 1))
        essential = (np.zeros(1), *(np.empty(0) for _ in range(plan.max_dim)))
    else:
        # In units of the scale, so that float32 neither overflows nor underflows inside.
        matrix = squareform((distances / scale).astype(np.float32))  # [n, n]
        found = ripser(matrix, maxdim=plan.max_dim, distance_matrix=True)["dgms"]
        finite, essential = zip(*(_split(bars) for bars in found), strict=True)
    settings = {
        "max_dim": plan.max_dim,
        "points": points,
        "how": how,
        "normalise": bool(normalise),
        "seed": seed,
    }
    versions = {package: importlib.metadata.version(package) for package in ("ripser", "scipy")}
    diagrams = Diagrams(
        finite, essential, scale, scale > 0, len(used), len(all_points),
        len(used) - len(np.unique(used, axis=0)), settings, provenance(**versions),
    )  # fmt: skip
    return diagrams.rescaled(bool(normalise))


def _split(bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split bars [B, 2] into those that end, with a length, and the births of those that don't."""
    bars = np.asarray(bars, float).reshape(-1, 2)
    ends = np.isfinite(bars[:, 1])
    finite = bars[ends & (bars[:, 1] > bars[:, 0])]
    order = np.lexsort((finite[:, 1], finite[:, 0]))  # whatever order they were found in
    return finite[order], np.sort(bars[~ends, 0])


def ripser_package() -> Any:
    """Return the function ripser, or say how to install it."""
    try:
        return importlib.import_module("ripser").ripser
    except ImportError as error:
        raise LisError(
            f'persistence needs the package ripser ({error}): pip install "lis-toolkit[topology]".'
        ) from error
