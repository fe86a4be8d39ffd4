"""Multimodal truncation: latents pulled towards the nearest of several means instead of the one mean of their class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lis_toolkit.errors import LisError
from lis_toolkit.names import whole_number

if TYPE_CHECKING:
    from lis_toolkit.stylegan.generator import Generator


def latent_centroids(
    generator: Generator,
    label: int | str | None = None,
    *,
    count: int = 64,
    samples: int = 10_000,
    seed: int = 0,
) -> Tensor:
    """Find the centres of a class's latents by k-means, for ``generator.map(..., centroids=...)``.

    One mean for a class of many looks is a latent like no sample, and truncation towards it loses the looks; centroids
    keep them (Mokady et al. 2022, arXiv 2202.12211, section 3.2; distances here are Euclidean in W, theirs perceptual).

    Parameters
    ----------
    label : class, by name or index; None for an unconditional generator.
    count : of centroids, K.
    samples : latents to cluster, from seed `seed`.

    Returns
    -------
    centroids [K, W], float32 on the generator's device.

    Raises
    ------
    LisError : an unknown class, or fewer samples than centroids.

    Examples
    --------
    >>> centroids = latent_centroids(generator, "Bag", count=8)
    >>> w = generator.map(generator.sample_z(4, seed=0), "Bag", psi=0.5, centroids=centroids)
    """
    from sklearn.cluster import KMeans  # heavy to import

    count = whole_number(count, "count", 1)
    samples = whole_number(samples, "samples", 1)
    if samples < count:
        raise LisError(
            f"{samples} samples can't have {count} centroids; take more samples or fewer centroids"
        )
    with torch.no_grad():
        w = generator.map(generator.sample_z(samples, seed), label)
    fitted = KMeans(count, n_init=1, random_state=seed).fit(w.cpu().numpy().astype(np.float64))
    return torch.as_tensor(fitted.cluster_centers_, dtype=torch.float32, device=generator.device)


def nearest_centroids(w: Tensor, centroids: Tensor, labels: Tensor | None) -> Tensor:
    """Give the centroid nearest to every latent w [N, W], of centroids [K, W] or, class by class, [C, K, W]."""
    if centroids.ndim == 3:
        assert labels is not None
        centroids = centroids[labels]  # [N, K, W]
    else:
        centroids = centroids.expand(len(w), -1, -1)
    distance = (w[:, None] - centroids).square().sum(dim=2)  # [N, K]
    return centroids[torch.arange(len(w), device=w.device), distance.argmin(dim=1)]
