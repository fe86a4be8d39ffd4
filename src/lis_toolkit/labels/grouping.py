"""Which labels say the same: complete linkage on cosine distance, the number of groups by silhouette."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import LisError
from .embeddings import SAME

__all__ = ["cosine_distances", "group_vectors", "representative"]

MOST_GROUPS = 30  # tried for one question


def cosine_distances(vectors: np.ndarray) -> np.ndarray:
    """Return cosine distances [N, N] of rows [N, D] of length 1, exactly 0 on the diagonal and symmetric.

    Raises
    ------
    LisError : what is no matrix, or not finite.

    Examples
    --------
    >>> cosine_distances(np.eye(2))
    array([[0., 1.],
           [1., 0.]])
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise LisError(f"the vectors have shape {list(vectors.shape)}; finite ones [N, D] were expected.")
    apart = 1 - vectors @ vectors.T
    apart = np.clip((apart + apart.T) / 2, 0, 2)
    apart[apart < 1e-9] = 0  # equal texts: what rounding left
    np.fill_diagonal(apart, 0)
    return apart


def group_vectors(vectors: np.ndarray) -> np.ndarray:
    """Group rows by what they mean: int [N], numbered by first occurrence.

    Complete linkage on cosine distance; the number of groups is the one of 2 to N - 1 (at most 30, and no more than
    there are different rows) with the highest mean silhouette, the smallest of equals. The silhouette can't tell one
    group from several, nor judge two rows: rows of which no two are farther apart than 0.4 are one group, and two rows
    that are farther apart are two; that is our addition.

    Parameters
    ----------
    vectors : [N, D], of length 1.

    Raises
    ------
    LisError : vectors that are not finite [N, D].

    Notes
    -----
    Source: Interpretable Network Visualizations, arXiv 2405.03301, labels.

    Examples
    --------
    >>> group_vectors(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    array([0, 0, 1])
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    apart = cosine_distances(vectors)  # [N, N]
    n = len(apart)
    if n == 0:
        return np.zeros(0, np.int64)
    if apart.max() <= SAME:
        return np.zeros(n, np.int64)
    if n == 2:
        return np.arange(2)
    tree = linkage(squareform(apart, checks=False), method="complete")
    different = len(np.unique(fcluster(tree, 0, "distance")))
    best, score = np.zeros(n, np.int64), -np.inf
    for k in range(2, min(n - 1, different, MOST_GROUPS) + 1):
        groups = fcluster(tree, k, "maxclust")
        if len(np.unique(groups)) < 2:  # equal heights: the tree has no cut into just k
            continue
        found = silhouette_score(apart, groups, metric="precomputed")
        if found > score + 1e-12:
            best, score = groups, found
    if not np.isfinite(score):  # no cut at all: all are equally far apart
        best = fcluster(tree, 0, "distance")
    return _renumbered(best)


def representative(texts: Sequence[str], vectors: np.ndarray) -> str:
    """Return the text that stands for a group: the most frequent, of equals the most central, then by letters.

    Central is what has the smallest mean cosine distance to all texts of the group, repeated ones counted each time.

    Examples
    --------
    >>> representative(["sleeve", "sleeve", "arm"], vectors)
    'sleeve'
    """
    listed = list(texts)
    if not listed:
        raise LisError("an empty group has no text that stands for it.")
    mean = cosine_distances(vectors).mean(1).round(9)  # [n]
    return min(zip(listed, mean, strict=True), key=lambda one: (-listed.count(one[0]), one[1], one[0]))[0]


def _renumbered(groups: np.ndarray) -> np.ndarray:
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    return first.argsort().argsort()[place]  # type: ignore[no-any-return]
