"""How a unit's activation is spread over real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import Features, extract_features
from ..names import whole_number
from ..pairs import Pairs

__all__ = ["Distribution", "Reals", "activation_distribution", "reals_of", "spark_histograms"]

CHUNK = 2**20  # activations counted at a time


@dataclass(frozen=True, eq=False)
class Reals:
    """Activations of real images.

    Attributes
    ----------
    r : float32 [N, R], on the CPU.
    source : what they are: "1,000 photographs".
    """

    r: Tensor
    source: str


@dataclass(frozen=True, eq=False)
class Distribution:
    """A histogram of one unit's activation.

    Attributes
    ----------
    edges : [B + 1], of the bins, in activation units.
    counts : [B], images in each; all of them, zeros too.
    source : what the images are: "1,000 photographs".
    zeros : share of the images with an activation of exactly 0, of which a ReLU makes many.
    n : number of images.
    """

    edges: np.ndarray
    counts: np.ndarray
    source: str
    zeros: float
    n: int

    @property
    def counts_without_zeros(self) -> np.ndarray:
        """Counts [B] without the images at exactly 0, which else hide the rest."""
        counts = self.counts.copy()
        if self.zeros and self.edges[0] <= 0 <= self.edges[-1]:
            place = min(int(np.searchsorted(self.edges, 0.0, side="right")) - 1, len(counts) - 1)
            counts[place] -= round(self.zeros * self.n)
        return counts


def reals_of(photographs: Any, pairs: Pairs | None, classifier: Classifier, num_units: int) -> Reals | None:
    """Return the activations of photographs (or Features, or activations [N, R]), else of pairs, else None.

    Raises
    ------
    LisError : something else, another width, no rows, values that are not finite.

    Examples
    --------
    >>> reals_of(load_fashion("sample"), None, classifier, link.num_units).source
    '1,000 photographs'
    """
    if photographs is None:
        return None if pairs is None else Reals(pairs.r.float().cpu(), _counted(len(pairs), "pair"))
    if isinstance(photographs, Photographs):
        r, noun = extract_features(classifier, photographs.images).r, "photograph"
    else:
        r, noun = (photographs.r if isinstance(photographs, Features) else photographs), "image"
    if not isinstance(r, Tensor) or r.ndim != 2 or r.shape[1] != num_units or len(r) == 0:
        given = f"a tensor {list(r.shape)}" if isinstance(r, Tensor) else f"a {type(r).__name__}"
        raise LisError(
            f"photographs are {given}; Photographs, Features, or activations [N, {num_units}] of at least one image "
            "were expected."
        )
    r = r.detach().float().cpu()
    if not bool(torch.isfinite(r).all()):
        raise LisError("the photographs' activations have NaN or infinite values; finite ones were expected.")
    return Reals(r, _counted(len(r), noun))


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' if n != 1 else ''}"


def activation_distribution(reals: Reals, unit: int, bins: int = 40) -> Distribution:
    """Return the histogram of one unit's activations, over their whole range.

    Raises
    ------
    LisError : bins that are no whole number from 2 to 1000, a unit that there is not.

    Examples
    --------
    >>> activation_distribution(reals, 17).counts.sum()
    1000
    """
    bins = whole_number(bins, "bins", 2, 1000)
    unit = whole_number(unit, "unit", 0, reals.r.shape[1] - 1)
    values = reals.r[:, unit].double().numpy()  # [N]
    counts, edges = np.histogram(values, bins=bins)
    return Distribution(edges, counts, reals.source, float((values == 0).mean()), len(values))


def spark_histograms(reals: Reals, bins: int = 16) -> np.ndarray:
    """Return small histograms [R, B] of all units, the fullest bin of each 1; zeros are left out, they hide the rest.

    Examples
    --------
    >>> spark_histograms(session.reals).shape
    (256, 16)
    """
    r = reals.r.numpy()  # [N, R]
    units = r.shape[1]
    low, high = r.min(axis=0), r.max(axis=0)
    width = np.where(high > low, high - low, np.float32(1))
    counts = np.zeros(bins * units, dtype=np.int64)
    for i in range(0, len(r), max(1, CHUNK // units)):
        part = r[i : i + max(1, CHUNK // units)]
        place = np.minimum((part - low) / width * bins, bins - 1).astype(np.int64)  # [n, R]
        counts += np.bincount((place + bins * np.arange(units))[part != 0], minlength=bins * units)
    rows = counts.reshape(units, bins)
    return rows / np.maximum(rows.max(axis=1, keepdims=True), 1)
