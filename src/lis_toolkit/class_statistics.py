"""Where the classes of a link's pairs lie: means and covariances of activations r and latents w."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import CheckpointError, LisError

if TYPE_CHECKING:
    from .moments import Moments
    from .pairs import Pairs

RIDGE = 1e-3  # of the mean variance: what never varied would make a covariance singular
ROWS = 4096  # of the pairs that are taken at a time: all of them in float64 would be twice the data
PREFIX = "statistics."  # of the tensors' names in a link's file
_TENSORS = ("counts", "r_means", "w_means", "covariance", "w_within")


@dataclass(frozen=True)
class ClassStatistics:
    """Means and covariances of the pairs of a link, on the CPU; `fit_link` keeps them as `link.statistics`.

    Attributes
    ----------
    classes : names of the classes, K.
    counts : int64 [K], pairs of each.
    r_means, w_means : float32 [K, R] and [K, W], means of every class; NaN of a class without pairs.
    covariance : float32 [R, R], of r over all pairs, not within classes.
    w_within : float32 [W, W], of w within classes, pooled.
    """

    classes: tuple[str, ...]
    counts: Tensor
    r_means: Tensor
    w_means: Tensor
    covariance: Tensor
    w_within: Tensor

    @classmethod
    def of(cls, pairs: Pairs, covariance: Tensor | None = None) -> ClassStatistics:
        """Measure pairs; `covariance` [R, R] of their r spares its computation.

        Raises
        ------
        LisError : fewer than two pairs, values that are not finite.

        Examples
        --------
        >>> ClassStatistics.of(pairs).r_means.shape
        torch.Size([10, 256])
        """
        r, w, labels = pairs.r.cpu(), pairs.w.cpu(), pairs.labels.cpu()
        k = len(pairs.classes)
        counts = torch.bincount(labels, minlength=k)  # [K]
        r_means, w_means = (_means(x, labels, counts) for x in (r, w))
        known = counts > 0
        if len(labels) < 2 or not bool(
            torch.isfinite(torch.cat([r_means[known], w_means[known]], dim=1)).all()
        ):
            raise LisError(f"the statistics of {len(labels)} pairs: two or more finite ones were expected.")
        within = torch.zeros(w.shape[1], w.shape[1], dtype=torch.float64)
        for own, part in zip(labels.split(ROWS), w.split(ROWS), strict=True):
            off = (
                part - w_means[own]
            ).float()  # [n, W], small numbers: the float32 product keeps their digits
            within += off.T @ off
        if covariance is None:
            covariance = torch.cov(r.double().T, correction=0)
        return cls(
            tuple(pairs.classes), counts, r_means.float(), w_means.float(), covariance.float(),
            (within / len(w)).float(),
        )  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], classes: Sequence[str]) -> ClassStatistics | None:
        """Take the statistics out of a link's tensors; None if there are none, CheckpointError if they don't fit."""
        own = {name: tensors[PREFIX + name] for name in _TENSORS if PREFIX + name in tensors}
        if not own:
            return None
        k, (width, units) = len(classes), tensors["A"].shape
        shapes = {"counts": [k], "r_means": [k, units], "w_means": [k, width],
                  "covariance": [units, units], "w_within": [width, width]}  # fmt: skip
        wrong = [n for n in _TENSORS if n not in own or list(own[n].shape) != shapes[n]]
        if wrong:
            raise CheckpointError(
                f"the link's class statistics are damaged ({', '.join(wrong)} missing or of another shape): "
                "fit the link again."
            )
        return cls(tuple(classes), **own)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by their names in a link's file."""
        return {PREFIX + name: getattr(self, name) for name in _TENSORS}

    def ordered(self, classes: Sequence[str]) -> ClassStatistics:
        """Return the statistics in another list's order; a class that is not known has no pairs and NaN means."""
        if tuple(classes) == self.classes:
            return self
        known = {name: k for k, name in enumerate(self.classes)}
        take = torch.tensor([known.get(name, -1) for name in classes])
        none = take < 0
        counts, r_means, w_means = (
            x[take].masked_fill(none if x.ndim == 1 else none[:, None], 0 if x.ndim == 1 else torch.nan)
            for x in (self.counts, self.r_means, self.w_means)
        )
        return ClassStatistics(tuple(classes), counts, r_means, w_means, self.covariance, self.w_within)

    @cached_property
    def sigma(self) -> Tensor:
        """`covariance` plus a small ridge, float64 [R, R]: safe to invert."""
        return _ridged(self.covariance)

    @cached_property
    def root(self) -> Tensor:
        """Lower Cholesky factor of `sigma`, float64 [R, R]."""
        return torch.linalg.cholesky(self.sigma)

    @cached_property
    def w_precision(self) -> Tensor:
        """Inverse of `w_within` plus a small ridge, float32 [W, W]."""
        return torch.cholesky_inverse(torch.linalg.cholesky(_ridged(self.w_within))).float()

    @cached_property
    def w_spread(self) -> float:
        """Root of the summed variances of w over all pairs."""
        known = self.counts > 0
        share = self.counts[known, None].double() / self.counts.sum()
        means = self.w_means[known].double()  # [K, W]
        between = (share * (means - (share * means).sum(dim=0)).square()).sum()
        return float((self.w_within.diagonal().double().sum() + between).sqrt())

    def mahalanobis(self, shift: Tensor) -> Tensor:
        """Return Mahalanobis lengths [N] of shifts of r [N, R], over the root of R: about 1 for a draw of the data."""
        u = torch.linalg.solve_triangular(self.root, shift.double().cpu().T, upper=False)  # [R, N]
        return (u.square().sum(dim=0) / len(u)).sqrt().float()


def covariance_of(moments: Moments, pairs: Any) -> Tensor | None:
    """Return the covariance [R, R] of the r that moments have seen, of pairs with classes; None of anything else.

    A fit has the sums at hand before its solver uses them up.
    """
    if not getattr(pairs, "classes", None) or getattr(pairs, "labels", None) is None:
        return None
    return (moments.gram / moments.rows).float().cpu()


def _means(x: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Means [K, D] in float64 of rows [N, D]."""
    sums = torch.zeros(len(counts), x.shape[1], dtype=torch.float64)
    for own, part in zip(labels.split(ROWS), x.split(ROWS), strict=True):
        sums.index_add_(0, own, part.double())
    return sums / torch.where(counts > 0, counts.double(), torch.nan)[:, None]


def _ridged(covariance: Tensor) -> Tensor:
    sigma = covariance.double().clone()
    sigma.diagonal().add_(max(RIDGE * float(sigma.diagonal().mean()), 1e-12))
    return sigma
