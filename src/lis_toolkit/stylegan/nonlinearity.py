"""A layer's filtered nonlinearity: upsampling, leaky ReLU, clamp and downsampling, in two ways.

Polyphase: upsampling by u makes u signals, one for each phase of the fine grid, each a short filter of the coarse one.
The nonlinearity acts on every phase alone; downsampling by d sums short filters of the phases. On both axes that is a
dozen depthwise convolutions of about 6 taps, which processors do about as fast as they read memory, and no zero is
inserted or multiplied (polyphase decomposition: Vaidyanathan 1990, doi 10.1109/5.52200).

Matrix: along one axis each filter is a small dense matrix; for devices that are best at matrix products.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lis_toolkit.stylegan.geometry import LayerSpec
from lis_toolkit.stylegan.prepared import plainly, transformed
from lis_toolkit.stylegan.resample import downsampling_matrix, filter_radial, separable, upsampling_matrix

SLOPE = 0.2  # of the leaky ReLU


class Window(NamedTuple):
    """Samples of the convolution's output, on each axis, that a layer's output depends on.

    The convolution has ``in_size + kernel - 1`` samples; the window may begin before 0 and end behind the last: zeros.
    """

    start: int
    size: int


class Nonlinearity:
    """Upsampling, leaky ReLU, clamp and downsampling of one layer, as a function of its convolved features.

    Parameters
    ----------
    spec : the layer's sizes and factors.
    up_filter, down_filter : taps [t], or [t, t] for a radial down filter; None where there is none.

    Attributes
    ----------
    window : what is wanted of the convolution's output.
    """

    def __init__(self, spec: LayerSpec, up_filter: Tensor | None, down_filter: Tensor | None):
        self.spec = spec
        self.up_filter, self.down_filter = up_filter, down_filter
        low, taps = spec.padding[0], spec.up_taps
        self.offset = (
            low % spec.up_factor
        )  # of the window's first sample on the fine grid, behind the padding
        # Fine sample i = u a + p depends on samples a .. a + reach - 1 of the window.
        self.reach = (taps - 1 - self.offset + spec.up_factor - 1) // spec.up_factor + 1
        self.fine = (spec.out_size - 1) * spec.down_factor + spec.down_taps
        self.window = Window(-(low // spec.up_factor), (self.fine - 1) // spec.up_factor + self.reach)

    def __call__(self, y: Tensor, overwrite: bool = False) -> Tensor:
        """Map the window [N, C, L, L] of convolved features to the layer's output [N, C, T, T].

        `overwrite` lets intermediate results be overwritten: for when no derivatives are followed.
        """
        raise TypeError("use one of the two kinds")

    def activate(self, x: Tensor, overwrite: bool) -> Tensor:
        """Apply leaky ReLU and clamp."""
        x = F.leaky_relu(x, SLOPE, inplace=overwrite)
        limit = self.spec.conv_clamp
        return x if limit is None else F.hardtanh(x, -limit, limit, inplace=overwrite)


class MatrixNonlinearity(Nonlinearity):
    """The filtered nonlinearity as products with one dense matrix for each axis."""

    def __init__(self, spec: LayerSpec, up_filter: Tensor | None, down_filter: Tensor | None):
        super().__init__(spec, up_filter, down_filter)
        size, up, down = self.window.size, spec.up_factor, spec.down_factor
        self.up_matrix = upsampling_matrix(up_filter, size, self.fine, up, self.offset)
        if not spec.radial_down:
            self.down_matrix = downsampling_matrix(down_filter, self.fine, spec.out_size, down)

    def __call__(self, y: Tensor, overwrite: bool = False) -> Tensor:
        """Map the window [N, C, L, L] of convolved features to the layer's output [N, C, T, T]."""
        x = self.activate(y if self.up_filter is None else separable(y, self.up_matrix), overwrite)
        if self.down_filter is None:
            return x
        if self.spec.radial_down:
            return filter_radial(x, self.down_filter, self.spec.down_factor)
        return separable(x, self.down_matrix)


class PolyphaseNonlinearity(Nonlinearity):
    """The filtered nonlinearity as short depthwise convolutions of phases."""

    def __init__(self, spec: LayerSpec, up_filter: Tensor | None, down_filter: Tensor | None):
        super().__init__(spec, up_filter, down_filter)
        self._kernels: dict[tuple[torch.dtype, int], _Kernels] = {}

    def _prepare(self, like: Tensor) -> _Kernels:
        if transformed(self.up_filter) or transformed(self.down_filter):
            return self._make_kernels(like)
        key = (like.dtype, like.shape[1])
        if key not in self._kernels:
            with plainly():
                self._kernels[key] = self._make_kernels(like)
        return self._kernels[key]

    def _make_kernels(self, like: Tensor) -> _Kernels:
        u, d, channels = self.spec.up_factor, self.spec.down_factor, like.shape[1]

        def depthwise(taps: Tensor) -> Tensor:
            taps = taps.detach().to(like.device, like.dtype)
            return taps.expand(channels, 1, *taps.shape).contiguous()

        up, down, radial = [], [], []
        if self.up_filter is not None:
            flipped = self.up_filter.flip(0) * u  # a convolution: the filter runs backwards over the samples
            flipped = F.pad(flipped, [u, u * self.reach])  # zeros on both sides
            up = [flipped[u + self.offset - p :: u][: self.reach] for p in range(u)]
        if self.down_filter is not None and self.spec.radial_down:
            flipped = self.down_filter.flip(0, 1)
            radial = [depthwise(flipped[p::d, q::d]) for p in range(d) for q in range(d)]
        elif self.down_filter is not None:
            down = [self.down_filter.flip(0)[p::d] for p in range(d)]
        return _Kernels([depthwise(k[:, None]) for k in up], [depthwise(k[:, None]) for k in down], radial)

    def __call__(self, y: Tensor, overwrite: bool = False) -> Tensor:
        """Map the window [N, C, L, L] of convolved features to the layer's output [N, C, T, T]."""
        kernels, size = self._prepare(y), self.spec.out_size
        rows = [self._split(row, kernels.up, axis=3) for row in self._split(y, kernels.up, axis=2)]
        rows = [[self.activate(plane, overwrite) for plane in row] for row in rows]
        if kernels.radial:
            planes = [plane for row in rows for plane in row]
            x = _sum(planes, kernels.radial, overwrite)
        else:
            x = self._merge(
                [self._merge(row, kernels.down, 3, overwrite) for row in rows], kernels.down, 2, overwrite
            )
        return x[:, :, :size, :size]

    def _split(self, y: Tensor, kernels: list[Tensor], axis: int) -> list[Tensor]:
        """Upsample one axis: the fine grid's samples by their index modulo the down factor."""
        u, d = self.spec.up_factor, self.spec.down_factor
        phases = [_convolve(y, _along(kernel, axis)) for kernel in kernels] or [y]
        if u == d:
            return phases
        if u % d == 0:
            return [_interleave(phases[q::d], axis) for q in range(d)]
        fine = _interleave(phases, axis)
        return [fine[:, :, q::d] if axis == 2 else fine[:, :, :, q::d] for q in range(d)]

    @staticmethod
    def _merge(phases: list[Tensor], kernels: list[Tensor], axis: int, overwrite: bool) -> Tensor:
        """Filter and downsample one axis."""
        if not kernels:
            return phases[0]
        return _sum(phases, [_along(kernel, axis) for kernel in kernels], overwrite)


class _Kernels(NamedTuple):
    """Depthwise weights: for the phases up [C, 1, t, 1], down (likewise), and radial down by pairs of phases."""

    up: list[Tensor]
    down: list[Tensor]
    radial: list[Tensor]


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(x, kernel, groups=x.shape[1])


def _along(kernel: Tensor, axis: int) -> Tensor:
    return kernel if axis == 2 else kernel.mT


def _interleave(phases: list[Tensor], axis: int) -> Tensor:
    """Put samples of several signals [N, C, H, W] in turn along an axis, channels last."""
    if len(phases) == 1:
        return phases[0]
    last = [x.permute(0, 2, 3, 1) for x in phases]  # [N, H, W, C]
    return torch.stack(last, dim=axis).flatten(axis - 1, axis).permute(0, 3, 1, 2)


def _sum(phases: list[Tensor], kernels: list[Tensor], overwrite: bool) -> Tensor:
    """Sum convolutions, cropped to the smallest."""
    parts = [_convolve(x, kernel) for x, kernel in zip(phases, kernels, strict=True)]
    high, wide = (min(x.shape[axis] for x in parts) for axis in (2, 3))
    total = parts[0][:, :, :high, :wide]
    for part in parts[1:]:
        part = part[:, :, :high, :wide]
        total = total.add_(part) if overwrite else total + part
    return total
