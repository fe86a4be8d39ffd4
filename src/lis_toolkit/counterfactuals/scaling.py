"""Multidimensional scaling: points in a plane whose distances are as near as can be to given ones."""

from __future__ import annotations

import numpy as np

from ..errors import LisError

__all__ = ["kruskal_stress", "place_points"]

ROUNDS, SMALL = 1000, 1e-9  # of majorisation; the least relative change of the stress that goes on


def place_points(distances: np.ndarray, dimensions: int = 2) -> tuple[np.ndarray, float]:
    """Return points [K, D] whose distances are nearest in squares to those given, and Kruskal's stress-1 of them.

    Classical scaling (Torgerson 1952) is the start, majorisation (SMACOF, de Leeuw 1977; Borg and Groenen 2005,
    chapter 8) goes on from it; nothing is random. Axes are the principal ones, so the first shows most.

    Parameters
    ----------
    distances : [K, K], symmetric, 0 on the diagonal; NaN where it is not known.

    Raises
    ------
    LisError
        For fewer than 2 points, negative or asymmetric distances, and points without any chain of known distances
        between them.

    Examples
    --------
    >>> points, stress = place_points(distances.symmetrised())
    """
    from scipy.sparse.csgraph import connected_components, shortest_path

    d = np.array(distances, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or len(d) < 2:
        raise LisError(f"distances have shape {list(d.shape)}; [K, K] with at least 2 classes was expected.")
    known = np.isfinite(d) & ~np.eye(len(d), dtype=bool)
    if not np.allclose(d, d.T, equal_nan=True) or (d[known] < 0).any():
        raise LisError("distances are negative or differ by direction; a symmetric matrix was expected.")
    if connected_components(known)[0] > 1:
        raise LisError(
            "some classes have no distance to the others, not even over a third one: take counterfactuals of more "
            'class pairs (target="all").'
        )
    # An unknown distance is for the start as long as the shortest chain of known ones. Zeros would be no edges.
    chain = shortest_path(np.where(known, np.maximum(d, 1e-12), 0.0), directed=False)
    points = _classical(np.where(known, d, chain), dimensions)
    weights = known.astype(float)
    laplacian = np.diag(weights.sum(1)) - weights
    inverse = np.linalg.pinv(laplacian)
    filled, before = np.where(known, d, 0.0), np.inf
    for _ in range(ROUNDS):
        apart = _apart(points)
        stress = float((weights * (filled - apart) ** 2).sum())
        if before - stress <= SMALL * max(stress, float((filled**2).sum()) * 1e-12):
            break
        before = stress
        ratio = -weights * np.divide(filled, apart, out=np.zeros_like(apart), where=apart > 0)
        points = inverse @ ((ratio - np.diag(ratio.sum(1))) @ points)  # Guttman's transform
    return _principal(points), kruskal_stress(d, points)


def kruskal_stress(distances: np.ndarray, points: np.ndarray) -> float:
    """Root of the squared misfit over the squared distances of the points; 0 is exact, above 0.2 is poor.

    Kruskal (1964), Psychometrika 29. Distances that are NaN, and the diagonal, do not count.

    Examples
    --------
    >>> kruskal_stress(matrix, points)
    """
    apart = _apart(np.asarray(points))
    known = np.isfinite(distances) & ~np.eye(len(apart), dtype=bool)
    total = float((apart[known] ** 2).sum())
    return float(np.sqrt(((distances[known] - apart[known]) ** 2).sum() / total)) if total > 0 else 0.0


def _classical(d: np.ndarray, dimensions: int) -> np.ndarray:
    centre = np.eye(len(d)) - 1 / len(d)
    values, vectors = np.linalg.eigh(-0.5 * centre @ (d**2) @ centre)
    points = vectors[:, ::-1][:, :dimensions] * np.sqrt(np.clip(values[::-1][:dimensions], 0, None))
    return np.pad(points, ((0, 0), (0, dimensions - points.shape[1])))


def _principal(points: np.ndarray) -> np.ndarray:
    """Turn points to their principal axes, the class farthest along each on its positive side."""
    centred = points - points.mean(0)
    turned = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    turned = np.pad(turned, ((0, 0), (0, points.shape[1] - turned.shape[1])))
    farthest = np.take_along_axis(turned, np.abs(turned).argmax(0)[None], 0)
    return turned * np.where(farthest < 0, -1.0, 1.0)


def _apart(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)
