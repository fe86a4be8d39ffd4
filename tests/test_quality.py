"""The quality figures against loops written from their definitions, scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from lis_toolkit import quality
from lis_toolkit.errors import LisError
from lis_toolkit.quality import class_agreement, coverage_density, frechet_distance, nearest_distances


def points(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


def slow_coverage_density(real, fake, k):
    """Naeem et al. 2020, section 3: balls around real points that reach to their k-th real neighbour."""
    real, fake = real.double().tolist(), fake.double().tolist()
    radii = []
    for i, a in enumerate(real):
        others = sorted(math.dist(a, b) for j, b in enumerate(real) if j != i)
        radii.append(others[k - 1])
    covered = sum(any(math.dist(a, f) < radius for f in fake) for a, radius in zip(real, radii, strict=True))
    inside = sum(math.dist(a, f) < radius for f in fake for a, radius in zip(real, radii, strict=True))
    return covered / len(real), inside / (k * len(fake))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(7, 40),
    m=st.integers(2, 40),
    k=st.integers(1, 6),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_coverage_and_density_are_those_of_the_definition(seed, n, m, k, scale):
    real, fake = points(n, 3, seed), points(m, 3, seed + 1, scale)
    coverage, density = coverage_density(real, fake, k)
    assert (coverage, density) == pytest.approx(slow_coverage_density(real, fake, k))


def test_coverage_and_density_of_cases_that_can_be_seen():
    real = points(200, 4, 0)
    assert coverage_density(real, real)[0] == 1
    assert coverage_density(real, real + 100) == (0, 0)
    one_place = real[:1].expand(50, -1)  # a generator that knows a single picture
    coverage, density = coverage_density(real, one_place)
    assert coverage < 0.1 and density > 0.1
    same, other = points(200, 4, 1), points(200, 4, 1, 0.2)
    assert coverage_density(real, same)[0] > 0.9 and coverage_density(real, same)[1] == pytest.approx(
        1, abs=0.2
    )
    assert coverage_density(real, other)[0] < 0.6 and coverage_density(real, other)[1] > 1.2


def test_rows_are_taken_in_parts(monkeypatch):
    real, fake = points(30, 3, 0), points(25, 3, 1)
    whole = coverage_density(real, fake, 3), nearest_distances(fake, real, 2)
    monkeypatch.setattr(quality, "CHUNK", 7)
    parts = coverage_density(real, fake, 3), nearest_distances(fake, real, 2)
    assert whole[0] == parts[0]
    torch.testing.assert_close(whole[1], parts[1])


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_nearest_distances_are_scikit_learns(k, same):
    a, b = points(60, 5, 0), points(80, 5, 1)
    a = b if same else a
    finder = NearestNeighbors(n_neighbors=k + same, algorithm="brute").fit(b.double().numpy())
    wanted, at = finder.kneighbors(a.double().numpy())
    distances, indices = nearest_distances(a, b, k, same=same)
    np.testing.assert_allclose(distances, wanted[:, same:], atol=1e-5)
    np.testing.assert_array_equal(indices, at[:, same:])


def test_copies_are_at_distance_zero_even_far_from_the_origin():
    b = points(500, 20, 0, shift=50.0)
    distances, indices = nearest_distances(b[[3, 7]], b)
    assert indices[:, 0].tolist() == [3, 7]
    assert float(distances.max()) == 0
    near = b[[3, 7]] + 1e-3
    distances, _ = nearest_distances(near, b)
    np.testing.assert_allclose(distances[:, 0], 1e-3 * math.sqrt(20), rtol=0.01)


def test_duplicates_are_neighbours_of_each_other():
    b = torch.cat([points(10, 3, 0)] * 2)
    distances, indices = nearest_distances(b, b, same=True)
    assert float(distances.max()) == 0
    assert indices[:, 0].tolist() == [*range(10, 20), *range(10)]


@pytest.mark.parametrize("d", [1, 3, 12])
def test_the_frechet_distance_is_that_of_the_formula(d):
    from scipy.linalg import sqrtm

    mix = points(d, d, 5)
    a, b = points(60, d, 0) @ mix, points(90, d, 1, 1.5, 0.3)
    x, y = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    root = sqrtm(cov_a @ cov_b).real
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * d, rel=1e-5)


def test_the_frechet_distance_of_fewer_points_than_dimensions_is_finite():
    value = frechet_distance(points(5, 12, 0), points(7, 12, 1))
    assert math.isfinite(value) and value > 0


def test_class_agreement_counts():
    labels = torch.tensor([0, 0, 0, 2, 2])
    answers = torch.tensor([0, 1, 0, 2, 0])
    share, by_class = class_agreement(torch.nn.functional.one_hot(answers, 4).float(), labels)
    assert share == pytest.approx(3 / 5)
    assert by_class[0] == pytest.approx(2 / 3) and by_class[2] == 0.5
    assert by_class[[1, 3]].isnan().all()


def refused(call, *words):
    with pytest.raises(LisError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


GOOD = points(10, 3, 0)
BAD = {
    "one row": (GOOD[:1], "[1, 3]"),
    "no rows": (GOOD[:0], "[0, 3]"),
    "a vector": (GOOD[0], "[3]"),
    "an image": (GOOD[None], "[1, 10, 3]"),
    "NaN": (torch.full_like(GOOD, torch.nan), "NaN"),
    "infinite": (torch.full_like(GOOD, torch.inf), "infinite"),
    "another width": (GOOD[:, :2], "columns"),
    "not a tensor": (GOOD.tolist(), "list"),
    "complex": (GOOD.to(torch.complex64), "complex"),
}


@pytest.mark.parametrize("name", BAD)
def test_features_that_can_not_be_compared(name):
    value, word = BAD[name]
    for call in (coverage_density, frechet_distance):
        refused(lambda call=call: call(GOOD, value), word)
        refused(lambda call=call: call(value, GOOD), word)
    if name not in ("one row", "no rows"):
        refused(lambda: nearest_distances(GOOD, value), word)
        refused(lambda: nearest_distances(value, GOOD), word)


@pytest.mark.parametrize("k", [0, -1, 11, 1.5, None, "2", True])
def test_numbers_of_neighbours_that_there_are_not(k):
    refused(lambda: nearest_distances(GOOD, GOOD, k), "k is")
    refused(lambda: coverage_density(GOOD, GOOD, k), "k is")


def test_a_row_is_not_its_own_neighbour_so_there_is_one_less():
    nearest_distances(GOOD, GOOD, 10)
    refused(lambda: nearest_distances(GOOD, GOOD, 10, same=True), "1 to 9")
    refused(lambda: nearest_distances(GOOD[:4], GOOD, same=True), "same")


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)),
        (torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, 3])),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, -1])),
    ],
)
def test_logits_and_labels_that_do_not_belong_together(logits, labels):
    refused(lambda: class_agreement(logits, labels))
