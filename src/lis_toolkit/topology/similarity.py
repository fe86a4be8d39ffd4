"""How alike two sets of activations of the same images are: linear CKA and representational similarity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import LisError
from ..link_stats import _ranks
from ..names import whole_number
from .clouds import FLAT, as_points

__all__ = ["Similarity", "linear_cka", "representational_similarity"]

LEAST = {True: 4, False: 2}  # rows that the unbiased and the biased estimate need
MOST_RANKED = 5000  # rows whose distances are ranked: 12.5 million numbers


def linear_cka(x: Any, y: Any, unbiased: bool = True, *, batch_size: int | None = None) -> float:
    """Centred kernel alignment of two sets of activations of the same images, with a linear kernel.

    1 when one is a rotation, shift and scaling of the other; near 0 when they have nothing in common. The biased
    estimate is far from 0 for unrelated activations with fewer images than units; the unbiased one is not, and may be
    a little below 0.

    Parameters
    ----------
    x, y
        Activations [N, D] and [N, E], row i of both of the same image; maps [N, C, h, w] are flattened.
    unbiased
        With HSIC_1 (Song et al. 2012) instead of the usual, biased HSIC.
    batch_size
        None: one estimate from all rows. Else each HSIC is the mean over consecutive parts of so many rows (Nguyen,
        Raghu and Kornblith 2021), for activations that are too wide to be held in float64 at once. A last part shorter
        than half goes to the one before.

    Returns
    -------
    float
        NaN where one of both does not vary.

    Raises
    ------
    LisError
        For other numbers of rows, fewer than 4 (biased: 2), NaN, a batch size below that.

    Notes
    -----
    Kornblith et al. 2019 (arXiv 1905.00414); HSIC_1 from equation 5 of Song et al. 2012; minibatches from section 3 of
    Nguyen et al. 2021 (arXiv 2010.15327). No kernel matrix is made where there are more rows than columns.

    Examples
    --------
    >>> acts = extract_activations(classifier, photographs.images, pool="mean")
    >>> linear_cka(acts["body.3"], acts["penultimate"])
    """
    x, y = _pair(x, y, LEAST[bool(unbiased)])
    size = len(x) if batch_size is None else whole_number(batch_size, "batch_size", LEAST[bool(unbiased)])
    scales = _spread(x), _spread(y)
    if 0.0 in scales:
        return math.nan
    cross = own_x = own_y = 0.0
    for part in _parts(len(x), size):
        a, b = (_centred(z[part], scale) for z, scale in zip((x, y), scales, strict=True))
        cross += _hsic(a, b, unbiased)
        own_x += _hsic(a, a, unbiased)
        own_y += _hsic(b, b, unbiased)
    return cross / math.sqrt(own_x * own_y) if own_x > 0 and own_y > 0 else math.nan


def _parts(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of `size` rows; what is left joins the last, unless it is at least half of one."""
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] < max(size / 2, 4):
        starts.pop()
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        yield slice(start, end)


def _pair(x: Any, y: Any, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of activations and flatten maps; they keep their precision until a part is used."""
    both = []
    for name, value in (("x", x), ("y", y)):
        array = getattr(value, "points", value)
        if isinstance(array, torch.Tensor):
            array = array.detach().cpu()
            array = (
                array.float() if array.dtype == torch.bfloat16 else array
            ).numpy()  # NumPy has no bfloat16
        try:
            array = np.asarray(array)
        except ValueError:  # rows of several lengths
            array = np.empty(0, dtype=object)
        if array.ndim > 2:
            array = array.reshape(len(array), -1)
        as_points(array if array.dtype.kind in "fiu" else value, name, least)
        both.append(array)
    if len(both[0]) != len(both[1]):
        raise LisError(
            f"x has {len(both[0])} rows and y {len(both[1])}: give activations of the same images in the same order."
        )
    return both[0], both[1]


def _spread(x: np.ndarray) -> float:
    """Largest deviation from a column's middle; 0 where rows only differ by rounding."""
    low, high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
    spread = float((high - low).max()) / 2
    return spread if spread > FLAT * max(np.abs(low).max(), np.abs(high).max()) else 0.0


def _centred(x: np.ndarray, scale: float) -> np.ndarray:
    """Return rows minus their mean, divided by a scale, in float64."""
    x = x.astype(np.float64) / scale
    return np.asarray(x - x.mean(0))


def _hsic(x: np.ndarray, y: np.ndarray, unbiased: bool) -> float:
    """Return HSIC of centred x [n, D] and y [n, E] with a linear kernel: products of columns, or of rows if fewer."""
    n = len(x)
    wide = max(x.shape[1], y.shape[1]) > n
    if wide:
        k, m = x @ x.T, y @ y.T  # [n, n]
        product, own = float((k * m).sum()), (np.diag(k).copy(), np.diag(m).copy())
    else:
        product, own = float(((x.T @ y) ** 2).sum()), ((x**2).sum(1), (y**2).sum(1))
    if not unbiased:
        return product / (n - 1) ** 2
    # Of kernel matrices K, L without their diagonals: trace K L, sums of all entries, and 1' K L 1. Rows of the whole,
    # centred matrices sum to 0, so without its diagonal row i sums to -K_ii.
    trace = product - float(own[0] @ own[1])
    sums = float(own[0].sum() * own[1].sum())
    rows = float(own[0] @ own[1])
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


@dataclass(frozen=True)
class Similarity:
    """Spearman correlation of the distances within two sets, its permutation p-value, and the number of rows."""

    correlation: float
    p_value: float
    rows: int
    permutations: int

    def __str__(self) -> str:
        chance = "" if math.isnan(self.p_value) else f", p = {self.p_value:.2g}"
        return f"Spearman correlation of distances {self.correlation:.3f}{chance} ({self.rows} images)"


def representational_similarity(x: Any, y: Any, permutations: int = 199, seed: int = 0) -> Similarity:
    """Do two sets of activations of the same images place them alike: Spearman correlation of all distances.

    Parameters
    ----------
    x, y
        Activations [N, D] and [N, E], row i of both of the same image; maps [N, C, h, w] are flattened.
    permutations
        Of the images of y (Mantel test); 0: no p-value. p = (1 + those that correlate at least as much) /
        (1 + permutations).
    seed
        Of the permutations.

    Returns
    -------
    Similarity
        NaN where all distances of one of both are equal.

    Raises
    ------
    LisError
        For other numbers of rows, fewer than 3, more than 5,000 (subsample them), NaN.

    Notes
    -----
    Kriegeskorte, Mur and Bandettini 2008, with Euclidean distances.

    Examples
    --------
    >>> print(representational_similarity(clouds["body.3"], clouds["penultimate"]))
    """
    x, y = _pair(x, y, 3)
    permutations = whole_number(permutations, "permutations", 0)
    if len(x) > MOST_RANKED:
        raise LisError(
            f"there are {len(x)} rows, whose distances would take {8 * len(x) ** 2 / 2**30:.0f} GiB; give at most "
            f"{MOST_RANKED:,}, drawn at random."
        )
    left, right = distance_ranks(x), distance_ranks(y)
    found = rank_correlation(left, right)
    if left is None or right is None:
        return Similarity(math.nan, math.nan, len(x), permutations)
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    beaten = 0
    for _ in range(permutations):
        p = rng.permutation(len(x))
        beaten += float((left * right[np.ix_(p, p)]).sum()) >= found - 1e-12
    p_value = (beaten + 1) / (permutations + 1) if permutations else math.nan
    return Similarity(found, p_value, len(x), permutations)


def distance_ranks(x: np.ndarray) -> np.ndarray | None:
    """Centred ranks [N, N] of the distances between rows of x [N, D], of norm 1; None when all are equal.

    Examples
    --------
    >>> rank_correlation(distance_ranks(x), distance_ranks(y))
    """
    scale = _spread(x)
    return _ranks(_centred(x, scale)) if scale else None


def rank_correlation(left: np.ndarray | None, right: np.ndarray | None) -> float:
    """Spearman correlation of two sets of distances by their `distance_ranks`; NaN where one has none.

    Examples
    --------
    >>> rank_correlation(distance_ranks(x), distance_ranks(y))
    """
    return math.nan if left is None or right is None else float((left * right).sum())
