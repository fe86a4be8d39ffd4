"""Multimodal truncation: centroids by k-means, and latents pulled towards the nearest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.stylegan import latent_centroids
from tiny import tiny_generator


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


def test_centroids_are_a_fixed_point_of_k_means(generator):
    centroids = latent_centroids(generator, 1, count=5, samples=400, seed=3)
    w = generator.map(generator.sample_z(400, 3), 1)
    nearest = torch.cdist(w, centroids).argmin(1)
    assert centroids.shape == (5, generator.w_dim) and len(nearest.unique()) == 5
    for i in range(5):
        torch.testing.assert_close(w[nearest == i].mean(0), centroids[i], atol=1e-4, rtol=1e-4)
    assert torch.equal(centroids, latent_centroids(generator, 1, count=5, samples=400, seed=3))


def test_one_centroid_is_the_class_mean(generator):
    one = latent_centroids(generator, 2, count=1, samples=300)
    w = generator.map(generator.sample_z(300, 0), 2)
    torch.testing.assert_close(one[0], w.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("psi", [0.0, 0.3, 1.0, 1.4])
def test_latents_go_towards_the_nearest_centroid(generator, psi):
    torch.manual_seed(0)
    z, w = generator.sample_z(6, 0), generator.map(generator.sample_z(6, 0), 1)
    centroids = w[:3] + 0.01 * torch.randn(3, generator.w_dim)
    got = generator.map(z, 1, psi=psi, centroids=centroids)
    for i in range(6):
        distances = [float(np.linalg.norm(w[i] - c)) for c in centroids]
        center = centroids[int(np.argmin(distances))]
        torch.testing.assert_close(got[i], center + psi * (w[i] - center), atol=1e-6, rtol=1e-5)


def test_centroids_class_by_class(generator):
    z, labels = generator.sample_z(4, 0), [0, 2, 1, 2]
    sets = torch.randn(generator.c_dim, 3, generator.w_dim, generator=torch.Generator().manual_seed(0))
    got = generator.map(z, labels, psi=0.5, centroids=sets)
    for i, label in enumerate(labels):
        alone = generator.map(z[i : i + 1], label, psi=0.5, centroids=sets[label])
        torch.testing.assert_close(got[i : i + 1], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "centroids, message",
    [
        (torch.zeros(3), "shape"),
        (torch.zeros(3, 5), "shape"),
        (torch.zeros(0, 12), "shape"),
        (torch.zeros(7, 2, 12), "shape"),
        (torch.full((2, 12), float("nan")), "NaN"),
        (torch.zeros(2, 12, dtype=torch.int64), "floating-point"),
        ([[0.0] * 12], "floating-point"),
    ],
)
def test_bad_centroids(generator, centroids, message):
    with pytest.raises(LisError, match=message):
        generator.map(generator.sample_z(2, 0), 1, psi=0.5, centroids=centroids)


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"count": 5, "samples": 4}, {"label": "no such class"}, {"seed": -1}]
)
def test_bad_settings(generator, settings):
    with pytest.raises(LisError):
        latent_centroids(generator, **{"label": 1, "count": 2, "samples": 10, **settings})
