"""3 x 3 convolutions with fewer multiplications: Winograd's minimal filtering, for weights that stay.

The image is cut into overlapping tiles; tiles and weights are transformed so that the convolution becomes one product
of channels for each point of a tile, 4 or 3 times fewer multiplications than the definition needs (Lavin and Gray
2016, arXiv 1509.09308). The transforms follow Toom and Cook for any distinct points.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# (outputs of a tile along height and width): more are faster and less exact. Root mean square error relative to the
# result, one convolution of 1,024 channels: float32 3e-6 for (4, 4); bfloat16 1.2 % for (4, 2), where the definition
# has 0.3 % and (4, 4) 2.0 %.
TILES = {torch.float32: (4, 4), torch.bfloat16: (4, 2)}
# Evaluation points 0, +-a, +-b; magnitudes near 1 keep the transforms' entries, and with them the rounding, small.
POINTS: dict[int, tuple[float, ...]] = {2: (1.0,), 4: (0.75, 1.5)}


@functools.cache
def transforms(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give Winograd's matrices for `tile` outputs of a correlation with 3 taps, float64.

    Returns
    -------
    A [tile, n], G [n, 3], B [n, n] with n = tile + 2: ``A ((G g) * (B d))`` is ``y[i] = sum_k g[k] d[i + k]``.

    A Toom-Cook product, transposed: polynomials are evaluated at 0, +-a, +-b, ... and at infinity.
    """
    points = np.array([0.0, *(sign * point for point in POINTS[tile] for sign in (1, -1))])

    def evaluate(columns: int) -> np.ndarray:
        return np.concatenate([points[:, None] ** np.arange(columns), np.eye(columns)[-1:]])

    return evaluate(tile).T, evaluate(3), np.linalg.inv(evaluate(tile + 2)).T


class WinogradWeight:
    """A weight [C_out, C_in, 3, 3] transformed once for many convolutions; takes 3 to 4 times its memory.

    Attributes
    ----------
    tile : outputs of one tile along height and width.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype):
        self.tile = TILES[dtype]
        self.channels = weight.shape[1]
        (_, g_high, b_high), (_, g_wide, b_wide) = (transforms(tile) for tile in self.tile)
        taps = torch.tensor(np.kron(g_high, g_wide), dtype=torch.float32, device=weight.device)  # [points, 9]
        with torch.no_grad():
            by_tap = weight.float().flatten(2).permute(2, 0, 1).flatten(1)  # [9, C_out C_in]
            products = [(row @ by_tap).view(*weight.shape[:2], 1, 1).to(dtype) for row in taps]
        self.products = [products[i : i + len(g_wide)] for i in range(0, len(products), len(g_wide))]
        self.input_high = [self._depthwise(row, weight, dtype) for row in b_high]
        self.input_wide = [self._depthwise(row, weight, dtype).mT.contiguous() for row in b_wide]

    def _depthwise(self, taps: np.ndarray, weight: Tensor, dtype: torch.dtype) -> Tensor:
        values = torch.tensor(taps, dtype=dtype, device=weight.device)[:, None]
        return values.expand(self.channels, 1, len(taps), 1).contiguous()

    def whole_tiles(self, size: tuple[int, int]) -> tuple[int, int]:
        """Give the input samples (height, width) that whole tiles need for `size` outputs."""
        high, wide = (-(-outputs // tile) * tile + 2 for outputs, tile in zip(size, self.tile, strict=True))
        return high, wide

    def convolve(self, x: Tensor) -> Tensor:
        """Correlate x [N, C_in, H, W], of whole tiles, without padding: [N, C_out, H - 2, W - 2]."""
        high, wide = self.tile
        columns: list[list[Tensor]] = [[] for _ in range(wide)]
        for b_high, products in zip(self.input_high, self.products, strict=True):
            row = F.conv2d(x, b_high, stride=(high, 1), groups=self.channels)
            points = [
                F.conv2d(F.conv2d(row, b_wide, stride=(1, wide), groups=self.channels), product)
                for b_wide, product in zip(self.input_wide, products, strict=True)
            ]
            for column, y in zip(columns, _combine(points, POINTS[wide]), strict=True):
                column.append(y)
        n, outputs, th, tw = columns[0][0].shape
        y = x.new_empty(n, th, high, tw, wide, outputs)
        for j, column in enumerate(columns):
            for i, plane in enumerate(_combine(column, POINTS[high])):
                y[:, :, i, :, j] = plane.permute(0, 2, 3, 1)
        return y.view(n, th * high, tw * wide, outputs).permute(0, 3, 1, 2)


def _combine(planes: list[Tensor], points: tuple[float, ...]) -> list[Tensor]:
    """Apply the output transform A along one axis, in place: values at 0, +-a, +-b, ..., infinity to outputs.

    ``y[i] = sum over points p^i m_p``, and m_infinity in the last; for +-a that is a^i times the sum of the two
    for even i and times their difference for odd i.
    """
    sums = [planes[i] + planes[i + 1] for i in range(1, len(planes) - 1, 2)]
    differences = [planes[i].sub_(planes[i + 1]) for i in range(1, len(planes) - 1, 2)]
    outputs = []
    for power in range(2 * len(points)):
        if power == 0:
            y = planes[0]
        elif power == 2 * len(points) - 1:
            y = planes[-1]
        else:
            y = torch.zeros_like(planes[0])
        for term, point in zip(differences if power % 2 else sums, points, strict=True):
            y.add_(term, alpha=point**power)
        outputs.append(y)
    return outputs


class FrozenConvolution(torch.autograd.Function):
    """`WinogradWeight.convolve` with derivatives by its input, backward and forward, and under vmap."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, fast: WinogradWeight) -> Tensor:
        """Correlate x [N, C_in, H, W] of whole tiles with the weight that `fast` was made of."""
        return fast.convolve(x.contiguous(memory_format=torch.channels_last))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Remember the weight, in both of its forms."""
        _, ctx.weight, ctx.fast = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Give the gradient by x."""
        return F.conv_transpose2d(gradient, ctx.weight.to(gradient.dtype)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *others: None) -> Tensor:  # type: ignore[override]
        """Give the derivative along a tangent of x: the convolution is linear."""
        return FrozenConvolution.apply(tangent, ctx.weight, ctx.fast)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, fast: Any) -> Any:
        """Take one more batch dimension into the batch."""
        dim = in_dims[0]
        assert dim is not None  # the weight is never batched
        x = x.movedim(dim, 0)  # [B, N, C, H, W]
        y = FrozenConvolution.apply(x.flatten(0, 1), weight, fast)
        return y.unflatten(0, x.shape[:2]), 0
