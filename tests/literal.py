"""The synthesis network as its formulas stand: the slow reference of tests and benchmarks.

Zeros are inserted and filtered by depthwise convolutions, every sample has a weight of its own, and one grouped
convolution takes the whole batch (methods: Karras et al. 2021, arXiv 2106.12423, section 3 and appendix F).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def fir(x: Tensor, taps: Tensor, step: int = 1) -> Tensor:
    """Convolve every channel with taps [t] on one axis after the other, or [t, t]; keep every `step`-th sample.

    The filter runs backwards over the samples.
    """
    n = x.shape[1]
    if taps.ndim == 2:
        return F.conv2d(x, taps.flip(0, 1).expand(n, 1, *taps.shape), stride=step, groups=n)
    kernel = taps.flip(0).expand(n, 1, 1, -1)
    x = F.conv2d(x, kernel, stride=(1, step), groups=n)
    return F.conv2d(x, kernel.mT, stride=(step, 1), groups=n)


def literal_layer(layer, x: Tensor, w: Tensor) -> Tensor:
    """A synthesis layer as published: x [N, C_in, S, S], w [N, W] to [N, C_out, T, T]."""
    spec, (n, c_in) = layer.spec, x.shape[:2]
    k = spec.kernel
    affine = layer.affine
    styles = w @ (affine.weight / math.sqrt(w.shape[1])).T + affine.bias  # [N, C_in]
    weight = layer.weight
    if spec.is_torgb:
        styles = styles / math.sqrt(c_in * k**2)
        weights = weight[None] * styles[:, None, :, None, None]
    else:
        weight = weight / weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        styles = styles / styles.square().mean().sqrt()  # over the batch
        weights = weight[None] * styles[:, None, :, None, None]  # [N, C_out, C_in, k, k]
        weights = weights / (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    x = x / layer.magnitude_ema.sqrt()
    x = F.conv2d(x.reshape(1, n * c_in, *x.shape[2:]), weights.flatten(0, 1), padding=k - 1, groups=n)
    x = x.unflatten(1, (n, spec.out_channels))[0] + layer.bias[:, None, None]

    up, down = spec.up_factor, spec.down_factor
    side = x.shape[2]
    stuffed = x.new_zeros(n, spec.out_channels, side * up, side * up)
    stuffed[:, :, ::up, ::up] = x
    low, high = spec.padding
    x = F.pad(stuffed, [low, high, low, high])
    if layer.up_filter is not None:
        x = fir(x, layer.up_filter) * up**2
    if not spec.is_torgb:
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    if spec.conv_clamp is not None:
        x = x.clamp(-spec.conv_clamp, spec.conv_clamp)
    if layer.down_filter is not None:
        return fir(x, layer.down_filter, down)
    return x[:, :, ::down, ::down]


def literal_synthesis(generator, ws: Tensor, keep: dict[str, Tensor] | None = None) -> Tensor:
    """All layers: ws [N, num_ws, W] to images [N, C, H, W] in the generator's own range; outputs go into `keep`."""
    network = generator.synthesis
    x = network.input(ws[:, 0])
    for i, name in enumerate(network.layer_names, start=1):
        x = literal_layer(network.get_submodule(name), x, ws[:, i])
        if keep is not None:
            keep[name] = x
    return x * network.output_scale


def literal_features(generator, w: Tensor, layers) -> tuple[Tensor, list[Tensor]]:
    """Pictures of w [N, W] in the unit range, and the outputs of some layers where they lie under the picture."""
    kept: dict[str, Tensor] = {}
    x = (literal_synthesis(generator, generator.broadcast(w), kept) * 0.5 + 0.5).clamp(0, 1)
    rates = {spec.name: spec.out_sampling_rate for spec in generator.architecture.layers}
    maps = []
    for name in layers:
        margin = (kept[name].shape[-1] - rates[name]) // 2
        maps.append(kept[name][:, :, margin : margin + rates[name], margin : margin + rates[name]])
    return x, maps
