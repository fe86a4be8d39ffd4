"""The mapping and synthesis networks of StyleGAN-XL and StyleGAN3, under the names of published checkpoints.

Source of every formula: Karras et al. 2021 (arXiv 2106.12423), sections 3 and appendices C and F; Sauer et al. 2022
(arXiv 2202.00273), section 3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lis_toolkit.stylegan.geometry import Architecture, GeneratorConfig, InputSpec, LayerSpec
from lis_toolkit.stylegan.layer import FullyConnected, SynthesisLayer, initial


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale every row of x [N, D] to unit mean square."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingNetwork(nn.Module):
    """z and class to the latent w, with one mean latent per class (StyleGAN-XL) or one for all (StyleGAN3)."""

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig | Architecture):
        super().__init__()
        self.kind = config.mapping
        self.z_dim, self.c_dim, self.num_layers = config.z_dim, config.c_dim, config.mapping_layers
        width = config.z_dim
        if self.kind == "pretrained":
            table = initial(config.c_dim, config.embedding_dim)
            self.embed: nn.Module = nn.Embedding(config.c_dim, config.embedding_dim, _weight=table)
            self.embed_proj = FullyConnected(config.embedding_dim, config.z_dim, lrelu=True)
            width += config.z_dim
        elif self.kind == "linear":
            self.embed = FullyConnected(config.c_dim, config.w_dim)
            width += config.w_dim
        for i in range(self.num_layers):
            n_in = width if i == 0 else config.w_dim
            self.add_module(f"fc{i}", FullyConnected(n_in, config.w_dim, lrelu=True, lr_multiplier=0.01))
        means = (config.c_dim, config.w_dim) if self.kind == "pretrained" else (config.w_dim,)
        self.register_buffer("w_avg", torch.zeros(means))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z [N, Z] and class indices [N] to w [N, W], not truncated."""
        x = normalize_second_moment(z)
        if self.kind == "pretrained":
            x = torch.cat([x, normalize_second_moment(self.embed_proj(self.embed(labels)))], dim=1)
        elif self.kind == "linear":
            assert labels is not None
            y = self.embed(F.one_hot(labels, self.c_dim).to(x.dtype))
            x = torch.cat([x, normalize_second_moment(y)], dim=1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x

    def truncate(self, w: Tensor, labels: Tensor | None, psi: float) -> Tensor:
        """Pull w [N, W] towards the mean latent of its class: ``w_avg + psi (w - w_avg)``."""
        if psi == 1:
            return w
        center = self.w_avg[labels] if self.w_avg.ndim == 2 else self.w_avg
        return center + psi * (w - center)


class SynthesisInput(nn.Module):
    """Fourier features that the latent translates and rotates, mixed into channels."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, spec: InputSpec, w_dim: int):
        super().__init__()
        self.spec = spec
        self.weight = nn.Parameter(initial(spec.channels, spec.channels))
        self.affine = FullyConnected(w_dim, 4)
        nn.init.zeros_(self.affine.weight)  # no motion at the start of training: t = (1, 0, 0, 0)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.register_buffer("transform", torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        self.register_buffer("freqs", torch.empty(spec.channels, 2))
        self.register_buffer("phases", torch.empty(spec.channels))
        if not self.phases.is_meta:
            radius = (
                spec.bandwidth * torch.rand(spec.channels).sqrt()
            )  # uniform over the disc of the bandwidth
            angle = 2 * math.pi * torch.rand(spec.channels)
            self.freqs.copy_(torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
            self.phases.copy_(torch.rand(spec.channels) - 0.5)

    def forward(self, w: Tensor) -> Tensor:
        """Map w [N, W] to features [N, C, S, S]."""
        spec = self.spec
        # Products and sums element by element: phases can be large, and matrix products whose rounding changes with the
        # size of the batch would move whole pictures by more than 1e-5.
        affine = self.affine
        t = (w[:, None, :] * (affine.weight * affine.weight_gain)).sum(dim=2) + affine.bias * affine.bias_gain
        t = t / t[:, :2].norm(dim=1, keepdim=True)  # [N, 4]: cosine, sine, shift right, shift down
        cos, sin, dx, dy = t.unbind(dim=1)
        first = torch.stack([cos, -sin, sin * dy - cos * dx], dim=1)
        second = torch.stack([sin, cos, -sin * dx - cos * dy], dim=1)
        # Rotation times translation, without the last row, then the user's transform.
        motion = torch.stack([first, second], dim=1)  # [N, 2, 3]
        transform = (motion[:, :, :, None] * self.transform).sum(dim=2)  # [N, 2, 3]

        phases = self.phases + (self.freqs * transform[:, None, :, 2]).sum(dim=2)  # [N, C]
        phases = phases - phases.detach().round()  # whole turns say nothing, and cost digits
        freqs = (self.freqs[:, :, None] * transform[:, None, :, :2]).sum(dim=2)  # [N, C, 2]
        headroom = spec.sampling_rate / 2 - spec.bandwidth
        amplitude = (1 - (freqs.norm(dim=2) - spec.bandwidth) / headroom).clamp(0, 1)  # [N, C]

        sample = torch.arange(spec.size, device=w.device, dtype=w.dtype)
        place = (sample + 0.5 - spec.size / 2) / spec.sampling_rate
        across = freqs[:, :, :1] * place  # [N, C, S]: x runs along the last axis
        down = freqs[:, :, 1:] * place  # [N, C, S]
        angle = across[:, :, None, :] + down[:, :, :, None] + phases[:, :, None, None]
        x = torch.sin(2 * math.pi * angle) * amplitude[:, :, None, None]  # [N, C, S, S]
        weight = self.weight / math.sqrt(spec.channels)
        return torch.matmul(weight, x.flatten(2)).unflatten(2, x.shape[2:])


class SynthesisNetwork(nn.Module):
    """The input and all layers; one w for each."""

    def __init__(
        self, config: GeneratorConfig | Architecture, input_spec: InputSpec, layers: list[LayerSpec]
    ):
        super().__init__()
        self.output_scale = config.output_scale
        self.layer_names = [spec.name for spec in layers]
        self.num_ws = len(layers) + 1
        self.input = SynthesisInput(input_spec, config.w_dim)
        for spec in layers:
            self.add_module(spec.name, SynthesisLayer(spec, config.w_dim))

    @property
    def activations(self) -> int:
        """Numbers that one picture's largest layer holds at a time: about the memory that rendering takes."""
        layers = (self.get_submodule(name) for name in self.layer_names)
        return max(layer.activations for layer in layers if isinstance(layer, SynthesisLayer))

    def forward(
        self, ws: Tensor, dtype: torch.dtype | None = None, keep: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Render ws [N, num_ws, W] to float32 images [N, C, H, W] in the generator's own range, about [-1, 1].

        `dtype` is that of the feature maps (default: that of ws); latents, styles and frequencies keep theirs. `keep`
        is a dictionary whose keys name layers; their outputs [N, C, S, S] are put into it.
        """
        x = self.input(ws[:, 0]).to(dtype or ws.dtype)
        for i, name in enumerate(self.layer_names, start=1):
            x = self.get_submodule(name)(x, ws[:, i])
            if keep is not None and name in keep:
                keep[name] = x
        return x.float() * self.output_scale
