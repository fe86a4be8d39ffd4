"""Feature maps grouped by where they are active: PCA, t-SNE to the plane, Ward's tree, k by silhouette."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..errors import LisError
from ..names import spelling_hint, whole_number

__all__ = [
    "METHODS",
    "checked_method",
    "cluster_maps",
    "heavy_clusters",
    "normalised_maps",
    "principal_coordinates",
    "tsne_plane",
]

METHODS = ("tsne", "pca")
Method = Literal["tsne", "pca"]
MOST_COMPONENTS = 50
FEWEST, MOST = 3, 8  # clusters that are tried
PERPLEXITY = 30.0
DECIMALS = 5  # what lies below is noise of the network's own arithmetic, and t-SNE would enlarge it


def checked_method(method: Any, seed: Any) -> tuple[Method, int]:
    """Return the way of clustering and the seed after a check.

    Raises
    ------
    LisError : another method, a seed that is no whole number.

    Examples
    --------
    >>> checked_method("pca", 0)
    ('pca', 0)
    """
    if method not in METHODS:
        raise LisError(
            f"there is no method {method!r}; 'tsne' is the paper's, 'pca' leaves t-SNE out and is quicker."
            f"{spelling_hint(str(method), METHODS)}"
        )
    return method, whole_number(seed, "seed", 0, 2**32 - 1)


def normalised_maps(maps: np.ndarray) -> np.ndarray:
    """Bring every map to 0 .. 1 by its own least and largest value, [M, h, w] -> float64 [M, h, w].

    A map of one value everywhere (all are in layers of 1 x 1 positions) points nowhere in particular: it is 1
    everywhere. Values are rounded to 5 decimals, so that the last bits of the network's arithmetic don't decide.

    Raises
    ------
    LisError : anything but finite maps [M, h, w].

    Examples
    --------
    >>> normalised_maps(np.array([[[1.0, 3.0]], [[2.0, 2.0]]])).tolist()
    [[[0.0, 1.0]], [[1.0, 1.0]]]
    """
    values = np.asarray(maps, np.float64)
    if values.ndim != 3 or 0 in values.shape or not np.isfinite(values).all():
        raise LisError(
            f"maps have shape {list(values.shape)}; finite ones [M, h, w], at least one, were expected."
        )
    low, high = (reduce(values, axis=(1, 2), keepdims=True) for reduce in (np.min, np.max))
    extent = high - low
    flat = extent <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
    shares = (values - low) / np.where(flat, 1, extent)
    return np.where(flat, 1.0, shares.round(DECIMALS))


def principal_coordinates(points: np.ndarray, most: int = MOST_COMPONENTS) -> np.ndarray:
    """Coordinates of points [M, D] on their first principal components, at most `most`: [M, P].

    By the M x M products, since layers have more positions than maps (scikit-learn's KernelPCA with a linear kernel).
    Each component's largest coordinate is positive, components without variance are left out, and there are two at
    least.

    Examples
    --------
    >>> principal_coordinates(np.random.default_rng(0).random((10, 64))).shape
    (10, 9)
    """
    from sklearn.decomposition import KernelPCA

    pca = KernelPCA(min(most, len(points)), kernel="linear", eigen_solver="dense")
    coordinates = pca.fit_transform(points)  # [M, P]
    values = pca.eigenvalues_
    some = max(2, int((values > 1e-12 * max(values[0], 0)).sum()))
    return np.asarray(coordinates[:, :some])


def tsne_plane(coordinates: np.ndarray, seed: int = 0, start: str = "pca") -> np.ndarray:
    """Lay principal coordinates [M, P] out in the plane by t-SNE, [M, 2].

    It begins at the first two components, so that nothing is drawn by chance and the seed says nothing;
    ``start="random"`` begins at random places of that seed, to see how much t-SNE's own choices matter
    (`compare_clusterings`). The perplexity is 30, or a third of the other maps where there are too few for that.

    Raises
    ------
    LisError : fewer than 4 points, another start.

    Examples
    --------
    >>> tsne_plane(principal_coordinates(points)).shape
    (60, 2)
    """
    from sklearn.manifold import TSNE

    n = len(coordinates)
    if n < 4 or start not in ("pca", "random"):
        raise LisError(
            f"t-SNE of {n} points from {start!r}; at least 4, and 'pca' or 'random', were expected."
        )
    first: Any = start
    if start == "pca":
        spread = coordinates[:, 0].std()
        first = (coordinates[:, :2] / (spread if spread > 0 else 1.0) * 1e-4).astype(np.float32)
    tsne = TSNE(2, perplexity=min(PERPLEXITY, (n - 1) / 3), init=first, random_state=seed)
    return np.asarray(tsne.fit_transform(coordinates), np.float64)


def cluster_maps(
    normalised: np.ndarray, method: Method = "tsne", seed: int = 0, start: str = "pca"
) -> tuple[np.ndarray, float]:
    """Group maps by where they are active: labels int64 [M] from 0, and the silhouette of the grouping.

    PCA to at most 50 components, t-SNE to the plane (not with ``method="pca"``), Ward's tree, and of 3 to 8 clusters
    the number of the highest silhouette, the smallest of equals (Interpretable Network Visualizations, section 3). With
    three different maps or fewer there is nothing to choose: each is a cluster, and the silhouette NaN.

    Parameters
    ----------
    normalised : [M, h, w], as from `normalised_maps`.

    Raises
    ------
    LisError : another method.

    Examples
    --------
    >>> labels, score = cluster_maps(normalised_maps(maps), "pca")
    """
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    method, seed = checked_method(method, seed)
    points = normalised.reshape(len(normalised), -1)  # [M, h w]
    known: dict[bytes, int] = {}
    labels = np.array([known.setdefault(row.tobytes(), len(known)) for row in points])
    if len(known) <= FEWEST:
        return labels, math.nan
    places = principal_coordinates(points)  # [M, P]
    if method == "tsne":
        places = tsne_plane(places, seed, start)  # [M, 2]
    counts = list(range(FEWEST, min(MOST, len(known) - 1) + 1))
    cuts = cut_tree(linkage(places, "ward"), counts).T  # [counts, M], each numbered as its clusters come
    distances = squareform(pdist(places))
    scores = [float(silhouette_score(distances, cut, metric="precomputed")) for cut in cuts]
    best = int(np.argmax(np.round(scores, 9)))
    return cuts[best].astype(np.int64), scores[best]


def heavy_clusters(weights: Sequence[float]) -> list[bool]:
    """Whether each cluster is heavy enough to be shown: at least max(largest / 3, mean / 2).

    Examples
    --------
    >>> heavy_clusters([0.5, 0.2, 0.1])
    [True, True, False]
    """
    if not weights:
        return []
    least = max(max(weights) / 3, sum(weights) / len(weights) / 2)
    return [weight >= least for weight in weights]
