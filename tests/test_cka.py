"""Linear CKA against HSIC written down with kernel matrices; representational similarity against scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from lis_toolkit.errors import LisError
from lis_toolkit.topology import linear_cka, representational_similarity

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def the_same_numbers_whatever_ran_before():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def plain_hsic(x, y, unbiased):
    """HSIC of Gretton et al., or HSIC_1 of Song et al., equation 5, letter by letter."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    if not unbiased:
        centre = np.eye(n) - np.ones((n, n)) / n
        return np.trace(k @ centre @ m @ centre) / (n - 1) ** 2
    k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    whole = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (whole - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def plain_cka(x, y, unbiased, parts=1):
    split = list(zip(np.array_split(x, parts), np.array_split(y, parts), strict=True))
    mean = lambda pairs: np.mean([plain_hsic(a, b, unbiased) for a, b in pairs])  # noqa: E731
    return mean(split) / np.sqrt(mean([(a, a) for a, _ in split]) * mean([(b, b) for _, b in split]))


def related(n, d, e):
    x = RNG.normal(size=(n, d)) + 2
    return x, x[:, : min(d, e)] @ RNG.normal(size=(min(d, e), e)) + RNG.normal(size=(n, e))


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(60, 5, 8), (20, 50, 7), (20, 50, 90), (4, 3, 3)])
def test_equals_hsic_with_kernel_matrices(shape, unbiased):
    x, y = related(*shape)
    assert linear_cka(x, y, unbiased) == pytest.approx(plain_cka(x, y, unbiased), rel=1e-9)
    assert linear_cka(y, x, unbiased) == pytest.approx(linear_cka(x, y, unbiased))


@pytest.mark.parametrize("unbiased", [True, False])
def test_minibatches_are_means_of_each_hsic(unbiased):
    x, y = related(60, 30, 6)
    assert linear_cka(x, y, unbiased, batch_size=15) == pytest.approx(plain_cka(x, y, unbiased, 4), rel=1e-9)
    assert linear_cka(x, y, unbiased, batch_size=60) == pytest.approx(linear_cka(x, y, unbiased))
    assert linear_cka(x, y, unbiased, batch_size=1000) == pytest.approx(linear_cka(x, y, unbiased))
    # What is left over is never a part of its own that is too small.
    assert np.isfinite(linear_cka(x[:58], y[:58], unbiased, batch_size=8))


@pytest.mark.parametrize("unbiased", [True, False])
def test_what_changes_nothing(unbiased):
    x, y = related(50, 12, 12)
    turned = x @ np.linalg.qr(RNG.normal(size=(12, 12)))[0] * 1e-20 + 3e-19
    assert linear_cka(x, turned, unbiased) == pytest.approx(1)
    assert linear_cka(turned, y, unbiased) == pytest.approx(linear_cka(x, y, unbiased))
    order = RNG.permutation(50)
    assert linear_cka(x[order], y[order], unbiased) == pytest.approx(linear_cka(x, y, unbiased))
    assert linear_cka(x, y[order], unbiased) < 0.5 * linear_cka(x, y, unbiased)


def test_unrelated_activations_are_at_zero_only_without_bias():
    drawn = [(RNG.normal(size=(40, 300)), RNG.normal(size=(40, 300))) for _ in range(20)]
    assert abs(np.mean([linear_cka(x, y) for x, y in drawn])) < 0.02
    assert np.mean([linear_cka(x, y, unbiased=False) for x, y in drawn]) > 0.8


def test_maps_tensors_and_constant_activations():
    maps = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert linear_cka(maps, maps.flatten(1)) == pytest.approx(1)
    assert np.isnan(linear_cka(maps, torch.full((10, 4), 1e6) + 1e-3 * torch.rand(10, 4)))
    similar = representational_similarity(maps, torch.ones(10, 4), 9)
    assert np.isnan(similar.correlation) and np.isnan(similar.p_value)


def test_wrong_activations():
    x, _ = related(10, 3, 3)
    bad = x.copy()
    bad[2] = np.inf
    for y, said in ((x[:9], "10 rows and y 9"), (bad, "NaN or infinite"), ("y", "type str")):
        with pytest.raises(LisError, match=said):
            linear_cka(x, y)
    with pytest.raises(LisError, match="at least 4"):
        linear_cka(x[:3], x[:3])
    with pytest.raises(LisError, match="type list"):
        linear_cka([[1, 2], [3]], x)  # rows of several lengths
    half = torch.as_tensor(x).bfloat16()
    assert linear_cka(half, half) == pytest.approx(1)
    assert linear_cka(x[:3], x[:3], unbiased=False) == pytest.approx(1)
    for wrong in (3, 0, 2.5):
        with pytest.raises(LisError, match="batch_size"):
            linear_cka(x, x, batch_size=wrong)
    with pytest.raises(LisError, match="5,000"):
        representational_similarity(np.random.default_rng(0).random((5001, 1)), np.ones((5001, 1)))


def test_representational_similarity_is_spearmans_of_distances():
    x, y = related(40, 6, 9)
    found = representational_similarity(x, y, permutations=99, seed=1)
    assert found.correlation == pytest.approx(spearmanr(pdist(x), pdist(y))[0])
    assert found.p_value == pytest.approx(0.01) and found.rows == 40
    unrelated = representational_similarity(x, RNG.normal(size=(40, 9)), permutations=99)
    assert unrelated.p_value > 0.02 and abs(unrelated.correlation) < 0.3
    assert np.isnan(representational_similarity(x, y, permutations=0).p_value)
    assert representational_similarity(x, y, 19, seed=3) == representational_similarity(x, y, 19, seed=3)


def test_the_p_value_is_that_of_moving_images_not_of_moving_distances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    every = [spearmanr(pdist(x), pdist(y[list(order)]))[0] for order in itertools.permutations(range(5))]
    found = representational_similarity(x, y, permutations=3000)
    exact = np.mean(np.array(every) >= every[0] - 1e-12)
    assert 0.1 < exact < 0.9 and found.p_value == pytest.approx(exact, abs=0.03)
