"""A small network that tells the parts of a picture, from the generator's own feature maps or from the pixels.

Tritrong, Rewatbowornwong and Suwajanakorn 2021 (arXiv 2103.04379), section 3: feature maps of several layers, resized
to one size and concatenated, and a dilated convolutional network on top. Theirs has 128, 64, 64, 32 channels; ours
begins with a 1 x 1 reduction and stays narrow, since sweeps segment hundreds of thousands of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LisError
from ..files import sha256_tensors
from ..names import whole_number
from .legend import Legend

WIDTHS = (32, 32, 32, 24, 24)
DILATIONS = (1, 2, 1, 2, 1)
LARGEST = 128  # px: where pictures are larger, maps are brought to this size and the logits enlarged
LARGEST_PICTURE = 4096  # px
SLOPE = 0.2  # of the leaky ReLU


class Segmenter(nn.Module):
    """Dilated convolutions on feature maps: logits of every part and the background, pixel by pixel.

    Parameters
    ----------
    legend : Legend
        What the 1 + P outputs stand for.
    layers : sequence of str
        Names of the synthesis layers it reads; none: it reads pictures.
    channels : sequence of int
        Channels of each of these layers; for pictures, one number.
    size : int
        Height and width of the pictures.
    widths : sequence of int
        Channels of the hidden layers: the 1 x 1 reduction, then every convolution but the last.
    dilations : sequence of int
        Of the 3 x 3 convolutions, one for each that a width leads into.
    generator_hash : str
        ``generator.hash`` of the generator whose pictures it was trained on.

    Raises
    ------
    LisError
        For sizes that are not whole numbers, or of the wrong number.

    Examples
    --------
    >>> segmenter = load_segmenter("fashion")
    >>> x, labels = render_parts(generator, segmenter, w)
    """

    def __init__(
        self,
        legend: Legend,
        layers: Sequence[str],
        channels: Sequence[int],
        size: int,
        *,
        widths: Sequence[int] = WIDTHS,
        dilations: Sequence[int] = DILATIONS,
        generator_hash: str = "",
        name: str = "unnamed",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.legend, self.layers, self.name = legend, tuple(layers), name
        if isinstance(layers, str) or not all(
            isinstance(t, str) for t in (name, generator_hash, *self.layers)
        ):
            raise LisError(
                f"name {name!r}, generator_hash {generator_hash!r}, layers {layers!r}: a text, a text and a sequence "
                "of texts were expected."
            )
        self.channels = tuple(whole_number(c, "a layer's number of channels", 1) for c in channels)
        self.size = whole_number(size, "size", 1, LARGEST_PICTURE)
        self.widths = tuple(whole_number(c, "a width", 1) for c in widths)
        self.dilations = tuple(whole_number(d, "a dilation", 1, LARGEST) for d in dilations)
        if len(self.channels) != max(len(self.layers), 1) or len(set(self.layers)) < len(self.layers):
            raise LisError(
                f"channels are {list(self.channels)} for the layers {list(self.layers)}; one number for each layer, "
                "named once, was expected (one in all for pictures)."
            )
        if not self.widths or len(self.dilations) != len(self.widths):
            raise LisError(
                f"there are {len(self.widths)} widths and {len(self.dilations)} dilations; as many were expected."
            )
        self.generator_hash, self.metadata = generator_hash, dict(metadata or {})
        self.reductions = nn.ModuleList(
            nn.Conv2d(c, self.widths[0], 1, bias=i == 0) for i, c in enumerate(self.channels)
        )
        # What the whole picture shows: a strap of a bag and one of a dress look alike from near.
        self.contexts = nn.ModuleList(nn.Linear(c, self.widths[0], bias=False) for c in self.channels)
        for i, c in enumerate(self.channels):
            self.register_buffer(f"mean{i}", torch.zeros(c))
            self.register_buffer(f"std{i}", torch.ones(c))
        outputs = (*self.widths[1:], len(legend.names))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=d, dilation=d)
            for a, b, d in zip(self.widths, outputs, self.dilations, strict=True)
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        weight: Tensor = self.convolutions[0].weight  # type: ignore[assignment]
        return weight.device

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads pictures, not a generator's feature maps."""
        return not self.layers

    @property
    def hash(self) -> str:
        """sha256 of all weights and buffers: the identity that sweeps remember."""
        return sha256_tensors(self.state_dict())

    @property
    def flops(self) -> int:
        """Operations of one picture: two for each multiplication of a convolution, maps at the working size."""
        size = min(self.size, LARGEST)
        weights = [m.weight.numel() for m in (*self.reductions, *self.convolutions)]  # type: ignore[union-attr, operator]
        return 2 * size * size * sum(weights)

    @torch.no_grad()
    def normalize(self, features: Sequence[Tensor]) -> None:
        """Take mean and standard deviation of every channel from these maps [N, C, S, S]."""
        for i, maps in enumerate(features):
            self.get_buffer(f"mean{i}").copy_(maps.mean(dim=(0, 2, 3)))
            std = maps.std(dim=(0, 2, 3))  # [C]
            # A channel in which hardly anything happens is not blown up.
            self.get_buffer(f"std{i}").copy_(std.clamp_min(max(float(std.mean()) / 20, 1e-6)))

    def forward(self, features: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
        """Map features, one [N, C, S, S] a layer (for pictures: a list of x alone), to logits [N, 1 + P, H, W].

        `dtype` is that of the convolutions (default: that of the weights); the logits are float32.

        Raises
        ------
        LisError
            For another number of maps, or of their channels.
        """
        if len(features) != len(self.channels) or any(
            m.ndim != 4 or m.shape[1] != c for m, c in zip(features, self.channels, strict=False)
        ):
            raise LisError(
                f"segmenter {self.name!r} reads {list(self.channels)} channels of "
                f"{', '.join(self.layers) or 'pictures'}; it was given {[list(m.shape) for m in features]}."
            )
        kind = dtype or self.get_buffer("mean0").dtype
        size = min(self.size, LARGEST)
        # Resizing and a 1 x 1 convolution commute, so each layer is reduced at its own size, and maps of one size are
        # added before they are resized: the same function as on the concatenated maps.
        by_size: dict[tuple[int, ...], Tensor] = {}
        for i, maps in enumerate(features):
            conv: nn.Conv2d = self.reductions[i]  # type: ignore[assignment]
            weight = conv.weight / self.get_buffer(f"std{i}")[:, None, None]  # [C', C, 1, 1]
            bias = -(weight[:, :, 0, 0] @ self.get_buffer(f"mean{i}"))
            if conv.bias is not None:
                bias = bias + conv.bias
            reduced = F.conv2d(maps.to(kind), weight.to(kind), bias.to(kind))  # [N, C', S, S]
            mean = maps.mean(dim=(2, 3), dtype=self.get_buffer("mean0").dtype)
            center = (mean - self.get_buffer(f"mean{i}")) / self.get_buffer(f"std{i}")  # [N, C]
            reduced = reduced + self.contexts[i](center).to(kind)[:, :, None, None]
            shape = tuple(reduced.shape[2:])
            by_size[shape] = by_size[shape] + reduced if shape in by_size else reduced
        h = sum(
            (_resized(maps, size) for maps in by_size.values()),
            torch.zeros((), dtype=kind, device=self.device),
        )
        for layer in self.convolutions:
            conv = layer  # type: ignore[assignment]
            weight, bias = conv.weight.to(kind), conv.bias.to(kind)  # type: ignore[union-attr]
            h = F.leaky_relu(h, SLOPE)
            h = F.conv2d(h, weight, bias, padding=conv.padding, dilation=conv.dilation)  # type: ignore[arg-type]
        return _resized(h.float(), self.size)


def _resized(maps: Tensor, size: int) -> Tensor:
    """Resize maps [N, C, S, S]: bilinearly, or by averaging where they get smaller by a whole factor."""
    s = maps.shape[-1]
    if s == size:
        return maps
    if s > size and s % size == 0:
        return F.avg_pool2d(maps, s // size)
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
