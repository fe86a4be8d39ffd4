"""Streaming moments against plain two-pass sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import LisError
from lis_toolkit.moments import Moments


def plain(r, w):
    """Sums of squares around the mean, in float64; the mean is taken twice because a large one is rounded."""
    x, y = r.double(), w.double()
    for _ in range(2):
        x, y = x - x.mean(0), y - y.mean(0)
    return x.T @ x, x.T @ y, y.square().sum(0)


def rows(n=200, units=7, latents=3, seed=0, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    r = torch.randn(n, units, generator=g) * torch.arange(1.0, units + 1) + offset
    return r, torch.randn(n, latents, generator=g) + r[:, :latents]


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("units", [1, 7, 300])
def test_moments_of_a_whole(precision, tolerance, units):
    r, w = rows(units=units, latents=1 if units == 1 else 3)
    m = Moments(units, w.shape[1], precision=precision, chunk=64).update(r, w)
    gram, cross, squares = plain(r, w)
    size = gram.diagonal().sqrt()
    assert m.rows == 200
    assert ((m.gram - gram).abs() <= tolerance * torch.outer(size, size)).all()
    assert ((m.cross - cross).abs() <= tolerance * torch.outer(size, squares.sqrt())).all()
    assert torch.allclose(m.w_squares, squares, rtol=tolerance)
    assert torch.allclose(m.r_squares, gram.diagonal(), rtol=tolerance)
    assert ((m.r_mean - r.double().mean(0)).abs() <= tolerance * r.std(0)).all()
    assert torch.equal(m.gram, m.gram.T)
    assert torch.equal(m.r_min, r.double().amin(0)) and torch.equal(m.r_max, r.double().amax(0))


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 60), max_size=6), chunk=st.integers(1, 70), merged=st.booleans())
def test_any_batches_and_merges_give_the_same(cuts, chunk, merged):
    r, w = rows(60, offset=3.0)
    whole = Moments(7, 3).update(r, w)
    edges = [0, *sorted(cuts), 60]
    m = Moments(7, 3, chunk=chunk)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        if merged:
            m.merge(Moments(7, 3).update(r[a:b], w[a:b]))
        else:
            m.update(r[a:b], w[a:b])
    assert m.rows == 60
    for name in ("gram", "cross", "w_squares", "r_mean", "w_mean"):
        assert torch.allclose(getattr(m, name), getattr(whole, name), rtol=1e-10, atol=1e-10), name


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed):
    r, w = rows(100)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
    a, b = Moments(7, 3, chunk=9).update(r, w), Moments(7, 3, chunk=9).update(r[order], w[order])
    assert torch.allclose(a.gram, b.gram, rtol=1e-10, atol=1e-10)
    assert torch.allclose(a.cross, b.cross, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("drift", [0.0, 1e4])
def test_a_large_mean_costs_no_digits(drift):
    r, w = (x.double() for x in rows(4000))
    r, w = r + 1e7 + drift * torch.linspace(0, 1, 4000, dtype=torch.float64)[:, None], w - 1e7
    m = Moments(7, 3, chunk=50).update(r, w)
    gram, cross, _ = plain(r, w)
    naive = r.T @ r - 4000 * torch.outer(r.mean(0), r.mean(0))
    worst = (m.gram - gram).abs().max() / gram.diagonal().max()
    assert worst < 1e-9 and worst < 1e-3 * (naive - gram).abs().max() / gram.diagonal().max()
    size = torch.outer(gram.diagonal().sqrt(), plain(r, w)[2].sqrt())
    assert ((m.cross - cross).abs() / size).max() < 1e-8


def test_float32_large_mean_is_as_good_as_its_input():
    r, w = rows(3000, offset=1000.0)
    m = Moments(7, 3, precision="float32", chunk=64).update(r, w)
    assert torch.allclose(m.gram, plain(r, w)[0], rtol=1e-5, atol=1e-5 * float(m.gram.max()))


def test_constant_units_are_found_whatever_their_value():
    r, w = rows(5000)
    r[:, 1], r[:, 3], r[:, 5] = 0.0, 0.1, -1e6
    m = Moments(7, 3, chunk=100).update(r, w)
    assert m.constant.nonzero()[:, 0].tolist() == [1, 3, 5]


def test_extreme_values_leave_float32s_range():
    r, w = rows(100)
    assert Moments(7, 3, precision="float32").update(r, w).in_range
    assert not Moments(7, 3, precision="float32").update(r * 1e25, w).in_range
    assert not Moments(7, 3, precision="float32").update(r * 1e-25, w).in_range


def test_memory_does_not_grow_with_rows():
    m = Moments(7, 3, chunk=16)
    sizes = set()
    for seed in range(100):
        m.update(*rows(16, seed=seed))
        sizes.add(sum(t.numel() for t in (m._gram, m._cross)))
        assert len(m._late) < 32
    assert len(sizes) == 1


@pytest.mark.parametrize("name", ["r", "w"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_change_nothing(name, bad):
    r, w = rows(50)
    m = Moments(7, 3, chunk=10).update(r, w)
    before = m.gram.clone()
    r2, w2 = rows(50, seed=1)
    (r2 if name == "r" else w2)[33, 1] = bad
    with pytest.raises(LisError, match=f"{name} has 1 values.*row 33, column 1"):
        m.update(r2, w2)
    assert m.rows == 50 and torch.equal(m.gram, before)


@settings(deadline=None, max_examples=50)
@given(shapes=st.tuples(*[st.lists(st.integers(0, 4), max_size=3)] * 2), whole=st.booleans())
def test_shapes_that_do_not_fit_are_said(shapes, whole):
    r, w = (torch.zeros(s, dtype=torch.int64 if whole else torch.float32) for s in shapes)
    good = not whole and r.ndim == w.ndim == 2 and r.shape[1] == 4 and w.shape[1] == 3 and len(r) == len(w)
    if good:
        Moments(4, 3).update(r, w)
    else:
        with pytest.raises(LisError):
            Moments(4, 3).update(r, w)


def test_options_that_do_not_fit():
    with pytest.raises(LisError, match="precision"):
        Moments(2, 2, precision="float16")
    with pytest.raises(LisError, match="at least 1"):
        Moments(0, 2)
    with pytest.raises(LisError, match="merge"):
        Moments(2, 2).merge(Moments(3, 2))
    with pytest.raises(LisError, match="Tensor"):
        Moments(2, 2).update([[1.0, 2.0]], torch.zeros(1, 2))
