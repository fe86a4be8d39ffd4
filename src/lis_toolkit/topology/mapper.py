"""Mapper: the shape of a point cloud as a graph, after Singh et al. (2007) with the settings of Purvine et al."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import LisError
from ..files import provenance
from ..names import finite_number, whole_number
from .cover import IntervalCover, interval_bounds, lens_values
from .knee import Knee, find_knee, neighbour_distances
from .mapper_graph import MapperGraph

__all__ = ["MapperGraph", "mapper_graph", "shared_members"]

LIMIT = 10_000  # points; worst case 0.8 GB for DBSCAN's lists of neighbours
MOST_BYTES = 4 << 30
MOST_MEMBERSHIPS = 50_000_000  # of points in intervals: with overlaps near 1 every point is in every interval


def mapper_graph(
    cloud: Any,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    *,
    lens: Any = "norm",
    intervals: int = 40,
    overlap: float = 0.3,
    min_samples: int = 5,
    eps: float | str = "knee",
    limit: int | None = LIMIT,
    seed: int = 0,
) -> MapperGraph:
    """Return the mapper graph of a point cloud: clusters in overlapping intervals of a lens, joined by shared points.

    Parameters
    ----------
    cloud : PointCloud of `sample_points`, or points [M, C]
    labels : [N] or [M], optional
        Class of every image of a PointCloud, or of every row of an array; whole numbers from 0.
    classes : sequence of str, optional
        Names of the classes; "class 0", ... if left out.
    lens : "norm", callable or [M]
        One number a point: the Euclidean norm as in the paper, a function of the points [M, C], or the numbers.
    intervals, overlap
        How the lens' range is covered, see `interval_bounds`; the paper takes 40 and 0.25 to 0.3.
    min_samples : int
        Of DBSCAN: points within eps of a point, itself among them, that make it the core of a cluster.
    eps : "knee" or float
        Of DBSCAN, in units of the activations: one for all intervals. "knee": where the ascending distances of the
        points to their `min_samples`-th nearest, themselves counted first, bend (`find_knee`).
    limit : int or None
        Of more points so many are drawn, all equally likely; the graph's `used` and settings tell. None: all.
    seed : int
        Of that draw; nothing else is left to chance.

    Returns
    -------
    MapperGraph

    Raises
    ------
    LisError
        Points that are not finite or too few, a lens that is constant, labels that do not fit, numbers out of range,
        clustering that would need more than 4 GiB, or kmapper missing.

    Notes
    -----
    Source: Purvine et al. 2023, arXiv 2212.00222, mapper: lens, cover, DBSCAN with min_samples 5, eps at the knee of
    the nearest-neighbour distances. Our reading: which neighbour (that which decides whether a point is a core), one
    eps for the whole cloud, and what the knee is. kmapper covers and clusters; who shares points with whom we count
    ourselves, since its comparison of all pairs of sets takes minutes for thousands of nodes.

    Examples
    --------
    >>> cloud = sample_points(classifier, photographs, ["body.13"], "strongest")["body.13"]
    >>> mapper_graph(cloud, photographs.labels, photographs.classes).noise
    """
    given = read_cloud(cloud)
    needed = whole_number(min_samples, "min_samples", 1)
    whole_number(seed, "seed", 0, 2**63 - 1)
    if len(given.points) < max(needed, 2):
        raise LisError(
            f"{given.name} has {len(given.points)} points; at least {max(needed, 2)} were expected (min_samples is "
            f"{needed})."
        )
    own_labels, names = _labels(labels, classes, given)
    values = lens_values(given.points, lens, given.name)
    used = _drawn(len(given.points), limit, seed)
    points, values_used = given.points[used], values[used]
    if len(used) < len(values):
        values_used = lens_values(points, values_used, given.name)  # what was drawn may be constant
    bounds = interval_bounds(values_used, intervals, overlap)
    _check_memory(values_used, bounds, given.name)
    radius, knee = _radius(points, eps, needed)
    found = _clusters(points, values_used, bounds, float(overlap), radius, needed)
    members = tuple(used[rows] for _, rows in found)
    edges, shared = shared_members(members, len(values))
    settings = {
        "title": given.title, "layer": given.layer, "how": given.how, "points": len(values), "used": len(used),
        "width": given.points.shape[1], "lens": lens if isinstance(lens, str) else "own", "intervals": len(bounds),
        "overlap": float(overlap), "min_samples": needed, "eps": radius, "eps_from": "knee" if knee else "given",
        "knee_found": knee is None or knee.found, "knee_bend": None if knee is None else knee.bend,
        "limit": limit, "seed": int(seed),
    }  # fmt: skip
    return MapperGraph(
        members, np.array([i for i, _ in found], dtype=np.int64), edges, shared, values, bounds, used,
        given.images, given.positions, own_labels, names, settings, provenance(kmapper=_version(), **given.facts),
    )  # fmt: skip


def shared_members(members: Sequence[np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of nodes that share members, int64 [E, 2] in ascending order, and how many they share [E].

    Parameters
    ----------
    members : of each node, rows below `rows`, none twice in a node.

    Examples
    --------
    >>> shared_members([np.array([0, 1]), np.array([1, 2])], 3)
    (array([[0, 1]]), array([1]))
    """
    from scipy.sparse import csr_array, triu

    ends = np.cumsum([0, *(len(part) for part in members)])
    flat = np.concatenate([np.empty(0, np.int64), *members])
    held = csr_array((np.ones(len(flat), np.int64), flat, ends), shape=(len(members), rows))
    common = triu(held @ held.T, k=1).tocoo()
    order = np.lexsort((common.col, common.row))
    edges = np.stack([common.row[order], common.col[order]], axis=1).astype(np.int64)
    return edges, common.data[order].astype(np.int64)


@dataclass(frozen=True)
class Cloud:
    """A point cloud as mapper needs it: points [M, C] of either float, where they are from, and what it is called."""

    points: np.ndarray
    images: np.ndarray
    positions: np.ndarray
    of_images: bool
    layer: str
    title: str
    how: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """For errors."""
        return f"the cloud of {self.title}" if self.title else "the cloud"


def read_cloud(cloud: Any) -> Cloud:
    """Return a PointCloud, or points [M, C], checked.

    Raises
    ------
    LisError
        What is neither, is not finite, or has no columns.

    Examples
    --------
    >>> read_cloud(np.eye(3)).images
    array([0, 1, 2])
    """
    of_images = hasattr(cloud, "points") and hasattr(cloud, "images")
    layer = getattr(cloud, "layer", None) if of_images else None
    title = str(getattr(layer, "title", layer or ""))
    raw = cloud.points if of_images else cloud
    try:
        points = _array(raw)
        if points.dtype.kind not in "fiub":
            raise TypeError
        points = points.astype(
            np.float32 if points.dtype in (np.float16, np.float32) else np.float64, copy=False
        )
    except (TypeError, ValueError):
        raise LisError(
            f"the cloud is of type {type(cloud).__name__}; a PointCloud or points [M, C] were expected."
        ) from None
    owner = f"the cloud of {title}" if title else "the cloud"
    if points.ndim != 2 or points.shape[1] == 0:
        raise LisError(f"{owner} has shape {list(points.shape)}; points [M, C] were expected.")
    wrong = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(wrong):
        raise LisError(f"{owner} has {len(wrong)} points that are not finite, the first in row {wrong[0]}.")
    rows = np.arange(len(points))
    images = _array(cloud.images).astype(np.int64) if of_images else rows
    positions = _array(cloud.positions).astype(np.int64) if of_images else np.zeros((len(rows), 2), np.int64)
    if images.shape != rows.shape or positions.shape != (len(rows), 2) or (len(rows) and images.min() < 0):
        raise LisError(
            f"{owner} has {len(points)} points, images {list(images.shape)} and positions {list(positions.shape)}; "
            "one image and one position a point was expected."
        )
    facts = dict(getattr(cloud, "provenance", None) or {})
    facts = {
        key: value for key, value in facts.items() if key not in ("lis_toolkit", "torch", "numpy", "date")
    }
    return Cloud(points, images, positions, of_images, str(getattr(layer, "name", layer or "")), title,
                 str(getattr(cloud, "how", "")), facts)  # fmt: skip


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy())
    return np.asarray(values)


def _labels(labels: Any, classes: Any, cloud: Cloud) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the class of every point [M] and the names of all classes."""
    if labels is None:
        return None, ()
    found = _array(labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise LisError(
            f"labels have shape {list(found.shape)} and type {found.dtype}; whole numbers [N] were expected, one for "
            f"each {'image' if cloud.of_images else 'point'}."
        )
    if cloud.of_images and len(found) <= cloud.images.max(initial=-1):
        raise LisError(
            f"there are {len(found)} labels, and {cloud.name} has points of image {cloud.images.max()}: one label for "
            "each image was expected."
        )
    if not cloud.of_images and len(found) != len(cloud.points):
        raise LisError(
            f"there are {len(found)} labels for {len(cloud.points)} points; one each was expected."
        )
    own = found.astype(np.int64)[cloud.images]
    most = int(found.max(initial=-1)) + 1
    names = (
        tuple(str(c) for c in classes) if classes is not None else tuple(f"class {k}" for k in range(most))
    )
    if len(found) and (found.min() < 0 or most > len(names)):
        raise LisError(f"labels go from {found.min()} to {found.max()}; 0 to {len(names) - 1} were expected.")
    return own, names


def _drawn(rows: int, limit: int | None, seed: int) -> np.ndarray:
    if limit is None or rows <= whole_number(limit, "limit", 2):
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def _check_memory(values: np.ndarray, bounds: np.ndarray, owner: str) -> None:
    """Say before it starts what can't be done: DBSCAN lists the neighbours of all points of an interval."""
    ascending = np.sort(values)
    sizes = np.searchsorted(ascending, bounds[:, 1], "right") - np.searchsorted(
        ascending, bounds[:, 0], "left"
    )
    most, needed = int(sizes.max()), int(sizes.max()) ** 2 * 8
    if needed > MOST_BYTES:
        raise LisError(
            f"{owner} has {most:,} points in one interval of its lens; clustering them may need {needed / 2**30:.1f} "
            f"GiB, {MOST_BYTES >> 30} are allowed: set a limit (points in all), or take more intervals."
        )
    if sizes.sum() > MOST_MEMBERSHIPS:
        raise LisError(
            f"{owner} has {len(values):,} points, which are {int(sizes.sum()):,} in all intervals together: take fewer "
            "intervals or less overlap."
        )


def _radius(points: np.ndarray, eps: float | str, neighbour: int) -> tuple[float, Knee | None]:
    """Return eps, and the knee it comes from."""
    if isinstance(eps, str):
        if eps != "knee":
            raise LisError(f"eps is {eps!r}; 'knee' or a number above 0 was expected.")
        knee = find_knee(neighbour_distances(points, max(neighbour, 2)))
        if knee.value <= 0:
            raise LisError("all points have enough equal ones, so eps has no knee: give a number above 0.")
        return knee.value, knee
    radius = finite_number(eps, "eps", ", above 0")
    if radius <= 0:
        raise LisError(f"eps is {eps!r}; a number above 0, or 'knee', was expected.")
    return radius, None


def _clusters(
    points: np.ndarray, values: np.ndarray, bounds: np.ndarray, overlap: float, eps: float, min_samples: int
) -> list[tuple[int, np.ndarray]]:
    """Return interval and rows of every cluster, in the order of intervals and of DBSCAN."""
    from sklearn.cluster import DBSCAN

    kmapper = kmapper_package()
    made = kmapper.KeplerMapper(verbose=0).map(
        values[:, None],
        points.astype(np.float64, copy=False),
        clusterer=DBSCAN(eps=eps, min_samples=min_samples),
        cover=IntervalCover(bounds, overlap),
        nerve=_NoNerve(),
    )
    return [
        (int(name.removeprefix("cube").split("_")[0]), np.array(rows, dtype=np.int64))
        for name, rows in made["nodes"].items()
    ]


class _NoNerve:
    """What kmapper asks of a nerve, and leaves edges to `shared_members`."""

    min_intersection = 1

    def compute(self, nodes: Any) -> tuple[dict[str, list[str]], list[list[str]]]:
        return {}, [[name] for name in nodes]


def kmapper_package() -> Any:
    """Return the package, or say how to install it."""
    import importlib

    try:
        return importlib.import_module("kmapper")
    except ImportError as error:
        raise LisError(
            f'mapper graphs need the package kmapper ({error}): pip install "lis-toolkit[topology]".'
        ) from error


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("kmapper")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
