"""How good a generator is, in the features of a judge: agreement, coverage, density, Fréchet distance, near-copies.

The judge is a classifier that nothing was trained against, so that no figure here measures its own training signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import LisError

CHUNK = 1024  # rows of a distance matrix at a time, to bound memory


def _check(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    for name, value in (("real", real), ("fake", fake)):
        if value.ndim != 2 or len(value) < 2:
            raise LisError(
                f"{name} features have shape {list(value.shape)}; [N, D] with N >= 2 was expected."
            )
        if not torch.isfinite(value).all():
            raise LisError(f"{name} features hold NaN or infinite values; check the images they come from.")
    if real.shape[1] != fake.shape[1]:
        raise LisError(
            f"real features have {real.shape[1]} columns and fake ones {fake.shape[1]}; take both from one judge."
        )
    return real.float(), fake.float()


def nearest_distances(
    queries: Tensor, references: Tensor, k: int = 1, *, same: bool = False
) -> tuple[Tensor, Tensor]:
    """Find the k nearest references of every query, by Euclidean distance.

    Parameters
    ----------
    queries, references : [N, D] and [M, D].
    same : True when both are the same set, so that a row is not its own neighbour.

    Returns
    -------
    distances [N, k] ascending, and indices [N, k] into the references.

    Raises
    ------
    LisError : fewer than k references.
    """
    available = len(references) - (1 if same else 0)
    if not 1 <= k <= available:
        raise LisError(f"k is {k}; 1 to {available} was expected with {len(references)} references.")
    distances, indices = [], []
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        d = torch.cdist(part, references)  # [chunk, M]
        if same:
            rows = torch.arange(len(part), device=d.device)
            d[rows, rows + start] = torch.inf
        near = d.topk(k, largest=False)
        distances.append(near.values)
        indices.append(near.indices)
    return torch.cat(distances), torch.cat(indices)


def coverage_density(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Measure coverage and density (Naeem et al. 2020, arXiv 2002.09797, section 3).

    Coverage is the share of real points with at least one fake point inside the ball that reaches their k-th real
    neighbour; density counts, for every fake point, the real balls it lies in, divided by k, on average.

    Parameters
    ----------
    real, fake : judge features [N, D] and [M, D].

    Returns
    -------
    coverage in [0, 1] and density >= 0.
    """
    real, fake = _check(real, fake)
    radius = nearest_distances(real, real, k, same=True)[0][:, -1]  # [N]
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    inside = 0
    for part in fake.split(CHUNK):
        within = torch.cdist(part, real) < radius  # [chunk, N]
        covered |= within.any(dim=0)
        inside += int(within.sum())
    return float(covered.float().mean()), inside / (k * len(fake))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Measure the Fréchet distance of two feature sets taken as Gaussians (Heusel et al. 2017, arXiv 1706.08500).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` with unbiased covariances; a, b are [N, D] and [M, D].
    """
    a, b = (value.double() for value in _check(a, b))
    shift = float((a.mean(0) - b.mean(0)).square().sum())
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T  # [D, D], the symmetric square root
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(shift + float(cov_a.trace() + cov_b.trace() - 2 * cross), 0.0)


def class_agreement(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Give the share of images classified as asked, overall and per class [K] (NaN where a class has no image)."""
    if logits.ndim != 2 or len(logits) != len(labels) or len(labels) == 0:
        raise LisError(f"logits {list(logits.shape)} and labels {list(labels.shape)} don't belong together.")
    right = (logits.argmax(dim=1) == labels).float()
    per_class = torch.stack([right[labels == k].mean() for k in range(logits.shape[1])])
    return float(right.mean()), per_class
