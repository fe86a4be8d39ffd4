"""Resampling as matrices against zeros inserted by hand and scipy's filters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import firwin, upfirdn

from lis_toolkit.stylegan.resample import (
    design_filter,
    downsampling_matrix,
    filter_radial,
    separable,
    upsampling_matrix,
)


def stuffed(x, factor):
    """One axis with `factor - 1` zeros behind every sample."""
    long = np.zeros(len(x) * factor)
    long[::factor] = x
    return long


def slow_upsample(x, taps, factor, pad, size_out):
    """Insert zeros, pad (or crop) in front, and correlate with the flipped filter, sample by sample."""
    long = stuffed(x, factor)
    flipped = taps[::-1]
    out = np.zeros(size_out)
    for i in range(size_out):
        for t in range(len(taps)):
            at = i + t - pad
            if 0 <= at < len(long):
                out[i] += long[at] * flipped[t] * factor
    return out


def random_case(seed):
    rng = np.random.default_rng(seed)
    return rng, rng.standard_normal(int(rng.integers(3, 12))), rng.standard_normal(int(rng.integers(2, 13)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(-5, 9), st.integers(1, 40))
def test_upsampling_is_inserting_zeros_and_filtering(seed, factor, pad, size_out):
    _, x, taps = random_case(seed)
    matrix = upsampling_matrix(torch.from_numpy(taps), len(x), size_out, factor, pad).numpy()
    assert matrix.shape == (size_out, len(x))
    np.testing.assert_allclose(matrix @ x, slow_upsample(x, taps, factor, pad, size_out), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_upsampling_is_scipys(seed, factor):
    _, x, taps = random_case(seed)
    wanted = upfirdn(taps, x, up=factor) * factor  # full convolution of the signal with zeros inserted
    pad = len(taps) - 1
    matrix = upsampling_matrix(torch.from_numpy(taps), len(x), len(wanted), factor, pad)
    np.testing.assert_allclose(matrix.numpy() @ x, wanted, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_downsampling_is_scipys_where_the_filter_fits_in(seed, factor):
    rng, x, taps = random_case(seed)
    x = rng.standard_normal(len(x) + len(taps))
    wanted = upfirdn(taps, x, down=1)[len(taps) - 1 : len(x)][::factor]
    matrix = downsampling_matrix(torch.from_numpy(taps), len(x), len(wanted), factor)
    np.testing.assert_allclose(matrix.numpy() @ x, wanted, atol=1e-12)


def test_without_taps_samples_are_repeated_with_zeros_and_picked():
    x = torch.tensor([1.0, 2.0, 3.0])
    assert (upsampling_matrix(None, 3, 4, 1, 1) @ x).tolist() == [0, 1, 2, 3]
    assert (upsampling_matrix(None, 3, 2, 1, -1) @ x).tolist() == [2, 3]
    assert (downsampling_matrix(None, 3, 2, 2) @ x).tolist() == [1, 3]


@pytest.mark.parametrize("factor", [2, 4])
def test_a_constant_stays_constant(factor):
    taps = design_filter(6 * factor, 4.0, 3.0, 16.0 * factor)
    up = upsampling_matrix(taps, 30, 30 * factor, factor, 3 * factor)
    inner = (up @ torch.full((30,), 0.7))[6 * factor : -6 * factor]
    # Every phase of the filter sums to one only as far as the filter stops the images of the spectrum.
    torch.testing.assert_close(inner, torch.full_like(inner, 0.7), atol=0.02, rtol=0)
    assert abs(float(inner.mean()) - 0.7) < 1e-6
    down = downsampling_matrix(taps, 100, 20, factor)
    torch.testing.assert_close(down @ torch.full((100,), 0.7), torch.full((20,), 0.7))


@pytest.mark.parametrize(("taps", "cutoff", "width", "rate"), [(12, 2.0, 9.5, 32.0), (24, 4.0, 6.0, 64.0)])
def test_filters_are_scipys_kaiser_windowed_low_passes(taps, cutoff, width, rate):
    got = design_filter(taps, cutoff, width, rate)
    assert got.dtype == torch.float32 and abs(float(got.sum()) - 1) < 1e-6
    np.testing.assert_allclose(got, firwin(taps, cutoff, width=width, fs=rate), atol=1e-7)
    low, high = np.abs(np.fft.rfft(got.numpy(), 1024))[[0, -1]]
    assert low == pytest.approx(1, abs=1e-6) and high < 0.01


def test_one_tap_is_no_filter():
    assert design_filter(1, 2.0, 1.0, 16.0) is None


@pytest.mark.parametrize("taps", [11, 12])
def test_the_radial_filter_looks_the_same_from_all_sides(taps):
    got = design_filter(taps, 4.0, 12.0, 32.0, radial=True)
    assert got.shape == (taps, taps) and float(got.sum()) == pytest.approx(1, abs=1e-6)
    assert torch.isfinite(got).all()
    for same in (got.T, got.flip(0), got.flip(1)):
        torch.testing.assert_close(got, same, atol=1e-8, rtol=0)
    response = np.abs(np.fft.fft2(got.numpy(), (256, 256)))
    along, diagonal = response[32, 0], response[23, 23]  # the same frequency, at 0 and 45 degrees
    assert along == pytest.approx(diagonal, abs=0.05)
    assert 0.35 < along < 0.65, "the cutoff, 4 of 32 cycles, is where half of the amplitude passes"


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_separable_and_radial_filters_against_plain_sums(factor):
    rng = np.random.default_rng(factor)
    x = torch.from_numpy(rng.standard_normal((2, 3, 9, 9)))
    matrix = torch.from_numpy(rng.standard_normal((5, 9)))
    wanted = torch.einsum("oh,nchw,pw->ncop", matrix, x, matrix)
    torch.testing.assert_close(separable(x, matrix), wanted)
    torch.testing.assert_close(separable(x.contiguous(memory_format=torch.channels_last), matrix), wanted)

    taps = torch.from_numpy(rng.standard_normal((4, 4)))  # not symmetric, so that a missing flip shows
    got = filter_radial(x, taps, factor)
    size = (9 - 4) // factor + 1
    slow = torch.zeros(2, 3, size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            for a in range(4):
                for b in range(4):
                    slow[:, :, i, j] += x[:, :, i * factor + a, j * factor + b] * taps[3 - a, 3 - b]
    torch.testing.assert_close(got, slow)


def test_a_symmetric_filter_as_matrix_equals_its_outer_product_as_picture():
    taps = design_filter(8, 4.0, 12.0, 32.0)
    x = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    matrix = downsampling_matrix(taps, 20, 7, 2)
    wanted = F.conv2d(x, torch.outer(taps, taps).expand(2, 1, 8, 8), stride=2, groups=2)
    torch.testing.assert_close(separable(x, matrix), wanted, atol=1e-6, rtol=0)
