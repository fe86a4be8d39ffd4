"""A synthesis layer of StyleGAN3: modulated convolution, bias, and a nonlinearity at a higher sampling rate.

Source: Karras et al. 2021 (arXiv 2106.12423), sections 3 and appendices C and F.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lis_toolkit.stylegan.geometry import LayerSpec
from lis_toolkit.stylegan.nonlinearity import (
    MatrixNonlinearity,
    Nonlinearity,
    PolyphaseNonlinearity,
    Window,
)
from lis_toolkit.stylegan.prepared import Prepared, transformed
from lis_toolkit.stylegan.resample import design_filter
from lis_toolkit.stylegan.winograd import TILES, FrozenConvolution, WinogradWeight

MAGNITUDE_DECAY = 0.999  # of the running mean square of a layer's input, followed in training only
# From here on Winograd's convolution was measured to be faster: channels of input and output, and products per image.
# The rule does not look at the batch: a picture must not depend on the pictures beside it.
WINOGRAD_CHANNELS = 128
WINOGRAD_PRODUCTS = 4e9


def initial(*shape: int, divisor: float = 1.0) -> Tensor:
    """Draw normal numbers for a weight; on "meta" there are none, and torch would import 1.5 s of Python for them."""
    x = torch.empty(shape)
    return x if x.is_meta else x.normal_().div_(divisor)


class FullyConnected(nn.Module):
    """A fully connected layer with equalised learning rate: ``y = x (weight m / sqrt(in))^T + bias m``."""

    def __init__(
        self, n_in: int, n_out: int, *, lrelu: bool = False, lr_multiplier: float = 1.0, bias: float = 0.0
    ):
        super().__init__()
        self.lrelu = lrelu
        self.weight_gain = lr_multiplier / math.sqrt(n_in)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(initial(n_out, n_in, divisor=lr_multiplier))
        self.bias = nn.Parameter(torch.full((n_out,), bias / lr_multiplier))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, in] to [N, out]."""
        y = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(y, 0.2) * math.sqrt(2) if self.lrelu else y


class SynthesisLayer(nn.Module):
    """Modulated convolution, bias, and a filtered nonlinearity at a higher sampling rate.

    On processors the filters are polyphase convolutions and wide 3 x 3 convolutions with frozen weights are Winograd's;
    on other devices the filters are matrix products.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, spec: LayerSpec, w_dim: int):
        super().__init__()
        self.spec = spec
        self.affine = FullyConnected(w_dim, spec.in_channels, bias=1.0)
        self.weight = nn.Parameter(initial(spec.out_channels, spec.in_channels, spec.kernel, spec.kernel))
        self.bias = nn.Parameter(torch.zeros(spec.out_channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        up = design_filter(spec.up_taps, spec.in_cutoff, spec.in_half_width * 2, spec.tmp_rate)
        down = design_filter(
            spec.down_taps, spec.out_cutoff, spec.out_half_width * 2, spec.tmp_rate, radial=spec.radial_down
        )
        self.register_buffer("up_filter", up)
        self.register_buffer("down_filter", down)
        self._prepared = Prepared()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [N, C_in, S, S] and w [N, W] to [N, C_out, T, T]."""
        if self.training:
            with torch.no_grad():
                magnitude = x.detach().float().square().mean()
                self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, MAGNITUDE_DECAY))
        styles, scale, bias = (t[..., None, None] for t in self.modulation(w))
        if self.spec.is_torgb:
            x = F.conv2d(x * styles.to(x.dtype), self.weight.to(x.dtype))
            x = torch.addcmul(bias.to(x.dtype), x, scale.to(x.dtype))
            limit = self.spec.conv_clamp
            return x if limit is None else x.clamp(-limit, limit)
        overwrite = not _followed(x, styles, scale, bias)
        nonlinearity = self.nonlinearity()
        y = self.convolve(x, styles, scale, bias, nonlinearity.window, overwrite)
        return nonlinearity(y, overwrite)

    @property
    def activations(self) -> int:
        """Numbers held at a time for one picture: the fine grid, and what goes in and comes out."""
        spec = self.spec
        fine = (spec.out_size - 1) * spec.down_factor + spec.down_taps
        return 2 * spec.out_channels * fine**2 + 2 * spec.in_channels * spec.in_size**2

    def modulation(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the scales of input channels [N, C_in] and output channels [N or 1, C_out], and the bias [C_out].

        Scaling a sample's input and output channels is the same function as giving it a weight of its own, and lets
        the whole batch share one. The styles are scaled to unit mean square sample by sample (the published code:
        over the batch); demodulation cancels that scale, so only a sample's independence of its batch is gained.
        """
        spec = self.spec
        styles, gain = self.affine(w), torch.rsqrt(self.magnitude_ema)
        if spec.is_torgb:
            return styles / math.sqrt(spec.in_channels * spec.kernel**2), gain.expand(1, 1), self.bias
        styles = styles * torch.rsqrt(styles.square().mean(dim=1, keepdim=True))
        if self.weight.requires_grad:
            energy, unit = self._energy()
        else:
            energy, unit = self._prepared.get(self, "energy", self._energy)
        demodulation = torch.rsqrt(styles.square() @ energy.T + 1e-8)  # [N, C_out]
        # The nonlinearity's gain sqrt(2) moves in front of it: leaky ReLU and the filters commute with a factor.
        return styles, demodulation * unit * gain * math.sqrt(2), self.bias * math.sqrt(2)

    def _energy(self) -> tuple[Tensor, Tensor]:
        """Give the normalised weight's squares summed over taps [C_out, C_in], and what normalises it [C_out]."""
        square = self.weight.square().sum(dim=(2, 3))
        unit = torch.rsqrt(square.mean(dim=1) / self.spec.kernel**2)
        return square * unit.square()[:, None], unit

    def convolve(
        self, x: Tensor, styles: Tensor, scale: Tensor, bias: Tensor, window: Window, overwrite: bool
    ) -> Tensor:
        """Convolve x modulated by styles, scale the outputs and add the bias: the `window` of it, [N, C_out, L, L].

        Only what the window shows of the convolution, which is padded by k - 1 zeros, is computed.
        """
        border = self.spec.kernel - 1
        first, last = max(window.start, 0), min(window.start + window.size, self.spec.in_size + border)
        count = last - first
        fast = self._winograd(x, count)
        size = (count + border,) * 2 if fast is None else fast.whole_tiles((count, count))
        low = border - first  # samples of padding in front of x, and behind it:
        high = size[0] - low - self.spec.in_size
        padding = low if fast is None and low == high > 0 else 0  # what the convolution itself can do
        if padding:
            low, size = 0, (self.spec.in_size,) * 2
        x = _place(x, styles, None, low, size, overwrite)
        if fast is None:
            weight, divisor = self._weight(x.dtype)
            y = F.conv2d(x, weight, padding=padding)
            scale = scale if divisor is None else scale / divisor
        else:
            y = FrozenConvolution.apply(x, self.weight, fast)[:, :, :count, :count]  # type: ignore[no-untyped-call]
        return _place(y, scale, bias, first - window.start, (window.size,) * 2, overwrite)

    def _weight(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Give the weight for a definition's convolution, and what its outputs are to be divided by."""
        if self.weight.requires_grad or dtype == self.weight.dtype != torch.float16:
            return self._cast_weight(dtype)
        return self._prepared.get(self, dtype, lambda: self._cast_weight(dtype))

    def _cast_weight(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        if dtype != torch.float16:
            return self.weight.to(dtype), None
        # Beyond 65,504 there is no float16: sums are kept near 1.
        scale = self._energy()[1][:, None, None] / math.sqrt(self.weight[0].numel())
        return (self.weight * scale[..., None]).half(), scale

    def _winograd(self, x: Tensor, count: int) -> WinogradWeight | None:
        outputs, inputs, kernel, _ = self.weight.shape
        wide = kernel == 3 and min(outputs, inputs) >= WINOGRAD_CHANNELS
        large = 9 * count**2 * outputs * inputs >= WINOGRAD_PRODUCTS
        if not (wide and large and x.device.type == "cpu" and x.dtype in TILES):
            return None
        if self.weight.requires_grad or torch.compiler.is_compiling() or transformed(self.weight):
            return None  # the transformed weight would not follow
        return self._prepared.get(self, ("winograd", x.dtype), lambda: WinogradWeight(self.weight, x.dtype))

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._prepared = Prepared()  # values of another type or place may lie where the old ones lay
        return super()._apply(*args, **kwargs)

    def nonlinearity(self) -> Nonlinearity:
        """Give the filtered nonlinearity for the device that the layer is on."""
        compiled = torch.compiler.is_compiling()  # compilers fuse matrix products with what is around them
        kind = MatrixNonlinearity if compiled or self.weight.device.type != "cpu" else PolyphaseNonlinearity
        make = functools.partial(kind, self.spec, self.up_filter, self.down_filter)
        return self._prepared.get(self, (kind, self.spec), make)  # type: ignore[no-any-return]


def _followed(*tensors: Tensor) -> bool:
    """Whether derivatives of tensors are followed, backward or forward, or they are batched by torch.func."""
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return True
    return any(map(transformed, tensors))


def _place(
    x: Tensor, scale: Tensor, bias: Tensor | None, low: int, size: tuple[int, int], overwrite: bool
) -> Tensor:
    """Scale x [N, C, H, W], add the bias, and pad with zeros or crop: `low` samples in front, up to `size`."""
    scale = scale.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    high, wide = (total - low - side for total, side in zip(size, x.shape[2:], strict=True))
    skip = max(-low, 0)
    x = x[:, :, skip : x.shape[2] + min(high, 0), skip : x.shape[3] + min(wide, 0)]
    low, high, wide = max(low, 0), max(high, 0), max(wide, 0)
    if overwrite and max(low, high, wide) > 0:
        out = x.new_zeros(len(x), *size, x.shape[1]).permute(0, 3, 1, 2)
        place = out[:, :, low : low + x.shape[2], low : low + x.shape[3]]
        torch.mul(x, scale, out=place) if bias is None else torch.addcmul(bias, x, scale, out=place)
        return out
    x = x * scale if bias is None else torch.addcmul(bias, x, scale)
    return F.pad(x, [low, wide, low, high]) if max(low, high, wide) > 0 else x
