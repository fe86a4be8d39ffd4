"""Do two trainings agree on how far their layers are from each other (Mantel's test), and layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..counterfactuals.intervals import widened_interval
from ..errors import LisError
from ..names import whole_number
from .layer_distances import LayerDistances

__all__ = ["Agreement", "compare_trainings", "mantel"]


@dataclass(frozen=True)
class Agreement:
    """How far two trainings agree on the distances of their layers.

    Attributes
    ----------
    correlation, low, high, p_value : float
        Spearman correlation of the two matrices of distances within each model, its 95 % interval over draws of images,
        and Mantel's p-value over permutations of layers.
    beyond_depth, beyond_depth_p : float
        The same with the layers' distance in depth, as ranks and along a line, taken out of both: layers near in depth
        are alike in any network. What is left need not come from training: widths and sizes of maps are of the
        architecture, too, and so is a course over depth that is no line. Compare with networks that nobody trained
        (tests/benchmarks/topology_findings.py does).
    nearest : tuple of int, or None
        For each layer of the first model the nearest of the second, by place.
    hits, hits_p : int or None, float or None
        How many are nearest to the layer of their own place, and how often as many would be if places were drawn.
    offset, chance_offset : float or None
        Mean distance in places to the nearest, and what it is by chance.
    layers, draws : int

    Examples
    --------
    >>> print(compare_trainings(within_a, within_b, between))
    """

    correlation: float
    low: float
    high: float
    p_value: float
    beyond_depth: float
    beyond_depth_p: float
    nearest: tuple[int, ...] | None
    hits: int | None
    hits_p: float | None
    offset: float | None
    chance_offset: float | None
    layers: int
    draws: int

    def __str__(self) -> str:
        text = (
            f"Spearman correlation of the layers' distances {self.correlation:.2f} "
            f"({self.low:.2f} to {self.high:.2f} over {self.draws} draws), p = {self.p_value:.2g}; "
            f"beyond depth {self.beyond_depth:.2f}, p = {self.beyond_depth_p:.2g}"
        )
        if self.hits is not None and self.hits_p is not None:
            text += (
                f"; nearest layer of the other model is the same one for {self.hits} of {self.layers} "
                f"(p = {self.hits_p:.2g}), {self.offset:.1f} places off on average (chance {self.chance_offset:.1f})"
            )
        return text


def compare_trainings(
    within_a: LayerDistances,
    within_b: LayerDistances,
    between: LayerDistances | None = None,
    *,
    permutations: int = 9999,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Compare two trainings of one architecture by the distances of their layers.

    Parameters
    ----------
    within_a, within_b
        Distances within each model, of the same measure and as many layers in the same order.
    between
        Distances between the layers of both, for the nearest layers; its rows are the first model's.
    permutations
        Of the layers; p = (1 + those that agree at least as much) / (1 + permutations).
    resamples
        Of the draws, for the interval, which is about other images and not about other trainings.
    seed
        Of both.

    Returns
    -------
    Agreement

    Raises
    ------
    LisError
        For other measures, other numbers of layers or draws, fewer than 4 layers, distances that are no numbers.

    Notes
    -----
    The finding of Purvine et al. 2023 that it puts to test is that layer distances of two trainings agree. Mantel 1967;
    with depth taken out as by Smouse, Long and Sokal 1986, residuals permuted.

    Examples
    --------
    >>> print(compare_trainings(*training_distances(clouds_a, clouds_b)))
    """
    a, b = within_a.mean, within_b.mean
    if not (within_a.within and within_b.within) or within_a.measure != within_b.measure:
        raise LisError("distances within each of two models, of the same measure, were expected.")
    layers = len(a)
    if a.shape != b.shape or layers < 4:
        raise LisError(
            f"the models have {len(a)} and {len(b)} layers; as many of both, at least 4, were expected."
        )
    if within_a.values.shape != within_b.values.shape:
        raise LisError("the distances have other numbers of draws: give both the same repeats=.")
    if not (np.isfinite(within_a.values).all() and np.isfinite(within_b.values).all()):
        raise LisError("some layers have no distance, since they do not vary: leave them out.")
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    permutations = whole_number(permutations, "permutations", 1)
    found, p_value = mantel(a, b, permutations, rng)
    place = np.arange(layers)
    depth = np.abs(place[:, None] - place).astype(float)
    beyond, beyond_p = mantel(a, b, permutations, rng, given=depth)
    draws = len(within_a.values)
    low = high = math.nan
    if draws > 1:
        resampled = []
        for _ in range(whole_number(resamples, "resamples", 1)):
            rows = rng.integers(draws, size=draws)  # the same images in both
            resampled.append(_spearman(within_a.values[rows].mean(0), within_b.values[rows].mean(0)))
        bounds = widened_interval(np.array(resampled), found, draws, 0.95)
        low, high = (float(np.clip(bound, -1, 1)) for bound in bounds)
    nearest = _nearest(between, layers, permutations, rng)
    return Agreement(found, low, high, p_value, beyond, beyond_p, *nearest, layers, draws)


def mantel(
    a: np.ndarray, b: np.ndarray, permutations: int, rng: np.random.Generator, given: np.ndarray | None = None
) -> tuple[float, float]:
    """Spearman correlation of two symmetric matrices [L, L] above the diagonal, and its p-value over permutations.

    Examples
    --------
    >>> mantel(a, b, 999, np.random.default_rng(0))
    """
    from scipy.spatial.distance import squareform

    above = np.triu_indices(len(a), 1)
    left, right = _centred_ranks(a[above]), _centred_ranks(b[above])
    if given is not None:
        depth = _centred_ranks(given[above])
        left, right = (x - depth * (x @ depth) / (depth @ depth) for x in (left, right))
    size = math.sqrt(float((left @ left) * (right @ right)))
    if size < 1e-9 * len(left):
        return math.nan, math.nan
    found, moved = float(left @ right) / size, squareform(right)
    beaten = 0
    for _ in range(permutations):
        p = rng.permutation(len(a))
        beaten += float(left @ moved[np.ix_(p, p)][above]) / size >= found - 1e-12
    return found, (beaten + 1) / (permutations + 1)


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = rankdata(values)
    return np.asarray(ranks - ranks.mean())


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    above = np.triu_indices(len(a), 1)
    left, right = _centred_ranks(a[above]), _centred_ranks(b[above])
    size = math.sqrt(float((left @ left) * (right @ right)))
    return float(left @ right) / size if size > 0 else math.nan


def _nearest(
    between: LayerDistances | None, layers: int, permutations: int, rng: np.random.Generator
) -> tuple[tuple[int, ...] | None, int | None, float | None, float | None, float | None]:
    """Nearest layers, how many are in their place and its p-value, mean offset and that by chance."""
    if between is None:
        return None, None, None, None, None
    matrix = between.mean
    if between.within or matrix.shape != (layers, layers) or not np.isfinite(matrix).all():
        raise LisError(f"between must have the distances of {layers} x {layers} layers of two models.")
    nearest, place = matrix.argmin(1), np.arange(layers)  # [L]
    hits = int((nearest == place).sum())
    drawn = np.array([(nearest == rng.permutation(layers)).sum() for _ in range(permutations)])
    chance = float(np.abs(nearest[:, None] - place).mean())  # any place as likely
    p_value = float(((drawn >= hits).sum() + 1) / (permutations + 1))
    return tuple(nearest.tolist()), hits, p_value, float(np.abs(nearest - place).mean()), chance
