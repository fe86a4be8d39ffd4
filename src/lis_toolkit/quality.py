"""How good a generator is, in the features of a judge: agreement, coverage, density, Fréchet distance, near-copies.

The judge is a classifier that nothing was trained against, so that no figure here measures its own training signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import LisError
from .names import whole_number

CHUNK = 1024  # rows of a distance matrix at a time, to bound memory


def _check(least: int = 2, **features: Tensor) -> list[Tensor]:
    for name, value in features.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            given = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise LisError(f"{name} features are {given}; a floating-point tensor was expected.")
        if value.ndim != 2 or len(value) < least:
            raise LisError(
                f"{name} features have shape {list(value.shape)}; [N, D] with N >= {least} was expected."
            )
        if not torch.isfinite(value).all():
            raise LisError(f"{name} features hold NaN or infinite values; check the images they come from.")
    (one, a), (two, b) = features.items()
    if a.shape[1] != b.shape[1]:
        raise LisError(
            f"{one} features have {a.shape[1]} columns and {two} ones {b.shape[1]}; take both from one judge."
        )
    return [value.float() for value in features.values()]


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
    LisError : fewer than k references, other widths, values that are not finite.

    Examples
    --------
    >>> distances, indices = nearest_distances(generated_features, training_features)
    """
    queries, references = _check(least=1, queries=queries, references=references)
    if same and len(queries) != len(references):
        raise LisError(
            f"same is True, but there are {len(queries)} queries and {len(references)} references."
        )
    available = len(references) - (1 if same else 0)
    try:
        k = whole_number(k, "k", 1, available)
    except LisError:
        raise LisError(
            f"k is {k!r}; 1 to {available} was expected with {len(references)} references."
        ) from None
    distances, indices = [], []
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        d = torch.cdist(part, references)  # [chunk, M]
        if same:
            rows = torch.arange(len(part), device=d.device)
            d[rows, rows + start] = torch.inf
        near = d.topk(k, largest=False).indices  # [chunk, k]
        # cdist takes the short cut over squared lengths, whose rounding drowns small distances: those kept are redone.
        exact = (part[:, None] - references[near]).norm(dim=2)
        ascending = exact.argsort(dim=1, stable=True)
        distances.append(exact.gather(1, ascending))
        indices.append(near.gather(1, ascending))
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

    Raises
    ------
    LisError : k is not below the number of real rows, other widths, values that are not finite.

    Examples
    --------
    >>> coverage, density = coverage_density(photograph_features, generated_features)
    """
    real, fake = _check(real=real, fake=fake)
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

    Raises
    ------
    LisError : fewer than 2 rows, other widths, values that are not finite.

    Examples
    --------
    >>> frechet_distance(photograph_features, generated_features)
    """
    a, b = (value.double() for value in _check(first=a, second=b))
    shift = float((a.mean(0) - b.mean(0)).square().sum())
    cov_a, cov_b = (torch.atleast_2d(torch.cov(value.T)) for value in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T  # [D, D], the symmetric square root
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(shift + float(cov_a.trace() + cov_b.trace() - 2 * cross), 0.0)


def class_agreement(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Give the share of images classified as asked, overall and per class [K] (NaN where a class has no image).

    Raises
    ------
    LisError : logits that are not finite [N, K], labels that are not [N] from 0 to K - 1, no images.

    Examples
    --------
    >>> share, by_class = class_agreement(judge.logits(images), labels)
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise LisError(f"logits {list(logits.shape)} and labels {list(labels.shape)} don't belong together.")
    if not torch.isfinite(logits).all() or int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise LisError(
            f"logits must be finite, labels from 0 to {logits.shape[1] - 1}; the labels go from {int(labels.min())} "
            f"to {int(labels.max())}."
        )
    right = (logits.argmax(dim=1) == labels).float()
    per_class = torch.stack([right[labels == k].mean() for k in range(logits.shape[1])])
    return float(right.mean()), per_class
