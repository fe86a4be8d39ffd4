"""Low-pass filters, and resampling as matrix products.

Upsampling, filtering and downsampling along one axis is linear, so each is a small dense matrix; a layer multiplies by
one matrix per axis. That is the same function as inserting zeros and convolving, at a fraction of its memory traffic.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def design_filter(
    taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False
) -> Tensor | None:
    """Design the Kaiser-windowed low-pass filter of a synthesis layer (StyleGAN3, appendix C).

    Parameters
    ----------
    taps : number of samples; 1 means "no filter" and gives None.
    cutoff, width : cutoff frequency and transition band width, in cycles per unit of the image.
    rate : sampling rate at which the filter runs, in samples per unit of the image.
    radial : True for the radially symmetric two-dimensional filter of ``stylegan3-r``.

    Returns
    -------
    float32 [taps], or [taps, taps] when radial; sums to one.
    """
    if taps == 1:
        return None
    from scipy.signal import firwin, kaiser_atten, kaiser_beta
    from scipy.signal.windows import kaiser
    from scipy.special import j1

    if not radial:
        return torch.as_tensor(firwin(taps, cutoff, width=width, fs=rate), dtype=torch.float32)
    position = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(*np.meshgrid(position, position))
    with np.errstate(invalid="ignore", divide="ignore"):
        response = j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
    # The limit of j1(2 pi c r) / (pi r); reached with an odd number of taps only.
    response[radius == 0] = cutoff
    window = kaiser(taps, kaiser_beta(kaiser_atten(taps, width / (rate / 2))))
    response = response * np.outer(window, window)
    return torch.as_tensor(response / response.sum(), dtype=torch.float32)


def upsampling_matrix(taps: Tensor | None, size_in: int, size_out: int, factor: int, pad: int) -> Tensor:
    """Build the matrix that inserts zeros, pads (or crops) `pad` samples in front, and filters; shape [out, in].

    Row i holds the filter taps that meet input sample j, which sits at position ``j * factor + pad``. The gain is
    `factor`, so that a constant stays constant.
    """
    kernel = torch.ones(1) if taps is None else taps
    row = torch.arange(size_out, device=kernel.device)[:, None]
    column = torch.arange(size_in, device=kernel.device)[None, :]
    tap = column * factor + pad - row  # [out, in]
    inside = (tap >= 0) & (tap < len(kernel))
    flipped = kernel.flip(0)  # a convolution: the filter runs backwards over the samples
    return torch.where(inside, flipped[tap.clamp(0, len(kernel) - 1)] * factor, torch.zeros_like(flipped[:1]))


def downsampling_matrix(taps: Tensor | None, size_in: int, size_out: int, factor: int) -> Tensor:
    """Build the matrix that filters and keeps every `factor`-th sample; shape [out, in]."""
    kernel = torch.ones(1) if taps is None else taps
    row = torch.arange(size_out, device=kernel.device)[:, None]
    column = torch.arange(size_in, device=kernel.device)[None, :]
    tap = column - row * factor
    inside = (tap >= 0) & (tap < len(kernel))
    flipped = kernel.flip(0)
    return torch.where(inside, flipped[tap.clamp(0, len(kernel) - 1)], torch.zeros_like(flipped[:1]))


def separable(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply both spatial axes of x [N, C, H, W] by the same matrix [out, in]: [N, C, out, out], channels last."""
    matrix = matrix.to(x.dtype)
    n, channels, height, width = x.shape
    size = len(matrix)
    # A view where x is in channels-last layout.
    x = x.permute(0, 2, 3, 1).reshape(n, height, width * channels)
    x = torch.matmul(matrix, x).view(n * size, width, channels)  # every row of the result first
    return torch.matmul(matrix, x).view(n, size, size, channels).permute(0, 3, 1, 2)


def filter_radial(x: Tensor, taps: Tensor, factor: int) -> Tensor:
    """Filter every channel of x [N, C, H, W] by the two-dimensional taps [t, t], keep every `factor`-th sample."""
    channels = x.shape[1]
    kernel = taps.flip(0, 1).to(x.dtype).expand(channels, 1, *taps.shape)
    return F.conv2d(x, kernel, stride=factor, groups=channels)
