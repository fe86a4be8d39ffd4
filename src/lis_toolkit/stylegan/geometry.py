"""The sizes, rates, cutoffs and channels of every synthesis layer, from a short configuration."""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan.architecture import MAPPINGS, Architecture, InputSpec, LayerSpec

__all__ = ["Architecture", "GeneratorConfig", "InputSpec", "LayerSpec", "lay_out"]

WHOLE_NUMBERS = {  # least and most
    "z_dim": (1, 2**16),
    "c_dim": (0, 2**20),
    "w_dim": (1, 2**16),
    "resolution": (4, 2**12),
    "img_channels": (1, 2**10),
    "channel_base": (1, 2**20),
    "channel_max": (1, 2**16),
    "num_layers": (1, 2**10),
    "num_critical": (0, 2**10),
    "conv_kernel": (1, 2**6),
    "embedding_dim": (1, 2**16),
    "mapping_layers": (1, 2**6),
    "margin": (0, 2**8),
    "filter_size": (1, 2**6),
    "lrelu_upsampling": (1, 2**4),
}
MOST_STAGES = 16


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that is needed to build a generator (StyleGAN3 section 3.2, appendix C; StyleGAN-XL section 3).

    Attributes
    ----------
    resolution : pixels of the stem's image; each of `stages` then multiplies it.
    stages : (up factor, head layers) of each super-resolution stage.
    mapping : "pretrained" (class embedding, projection, one mean latent a class: StyleGAN-XL), "linear" (one-hot class,
        one mean latent: StyleGAN3) or "unconditional".
    margin : samples that every layer computes beyond the image border.
    lrelu_upsampling : oversampling of the nonlinearity; the papers use 2, 1 saves most of the cost in small models.
    """

    z_dim: int = 64
    c_dim: int = 1000
    w_dim: int = 512
    resolution: int = 16
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 1024
    num_layers: int = 10
    num_critical: int = 2
    stages: tuple[tuple[int, int], ...] = ()
    conv_kernel: int = 3
    use_radial_filters: bool = False
    mapping: str = "pretrained"
    embedding_dim: int = 320
    mapping_layers: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin: int = 10
    filter_size: int = 6
    lrelu_upsampling: int = 2
    conv_clamp: float | None = 256
    output_scale: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what can't be built, before anything is allocated for it."""
        if self.mapping not in MAPPINGS:
            raise CheckpointError(f"mapping is {self.mapping!r}, expected one of {', '.join(MAPPINGS)}")
        if (self.c_dim == 0) != (self.mapping == "unconditional"):
            raise CheckpointError(
                f"c_dim is {self.c_dim} with mapping {self.mapping!r}: 0 classes go with 'unconditional' and no other"
            )
        for name, (least, most) in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise CheckpointError(f"{name} is {value!r}, expected a whole number from {least} to {most}")
        for name in ("first_cutoff", "first_stopband", "last_stopband_rel", "output_scale", "conv_clamp"):
            value = getattr(self, name)
            if name == "conv_clamp" and value is None:
                continue
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise CheckpointError(f"{name} is {value!r}, expected a positive finite number")
        if not isinstance(self.use_radial_filters, bool):
            raise CheckpointError(
                f"use_radial_filters is {self.use_radial_filters!r}, expected True or False"
            )
        if len(self.stages) > MOST_STAGES:
            raise CheckpointError(f"there are {len(self.stages)} stages, expected {MOST_STAGES} at most")
        for stage in self.stages:
            if not all(1 <= value <= WHOLE_NUMBERS["num_layers"][1] for value in stage):
                raise CheckpointError(f"a stage is {stage!r:.80}, expected whole numbers from 1 to 1024")
        if self.num_critical >= self.num_layers:
            raise CheckpointError(f"num_critical is {self.num_critical}, expected 0 to num_layers - 1")

    def architecture(self) -> Architecture:
        """Lay the generator out: the explicit list of layers that the settings stand for."""
        input_spec, layers, resolution = lay_out(self)
        return Architecture(
            z_dim=self.z_dim,
            c_dim=self.c_dim,
            w_dim=self.w_dim,
            mapping=self.mapping,
            embedding_dim=self.embedding_dim,
            mapping_layers=self.mapping_layers,
            img_channels=self.img_channels,
            resolution=resolution,
            output_scale=self.output_scale,
            input=input_spec,
            layers=tuple(layers),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> GeneratorConfig:
        """Read the settings back from the dictionary of `to_dict`, refusing names that are not known."""
        if not isinstance(values, dict):
            raise CheckpointError(
                f"the generator's configuration is a {type(values).__name__}, expected a dictionary"
            )
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise CheckpointError(
                f"the generator's configuration has unknown entries: {', '.join(sorted(unknown))}"
            )
        try:
            stages = tuple(
                (operator.index(up), operator.index(layers)) for up, layers in values.get("stages", ())
            )
        except (TypeError, ValueError):
            raise CheckpointError(
                f"stages is {values['stages']!r}, expected a list of (up factor, head layers)"
            ) from None
        return cls(**{**values, "stages": stages})


def _stack(
    config: GeneratorConfig,
    resolution: int,
    num_layers: int,
    start: tuple[float, float],
    first: LayerSpec | None,
    index: int,
) -> list[LayerSpec]:
    """Lay out `num_layers` layers and ToRGB from the `start` (cutoff, stopband) up to a resolution."""
    exponent = np.minimum(np.arange(num_layers + 1) / (num_layers - config.num_critical), 1)
    end = (resolution / 2, resolution / 2 * config.last_stopband_rel)
    cutoffs, stopbands = (low * (high / low) ** exponent for low, high in zip(start, end, strict=True))
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, resolution)))).astype(int)
    channels = np.rint(np.minimum(config.channel_base / 2 / cutoffs, config.channel_max)).astype(int)
    channels[-1] = config.img_channels
    if first is not None:
        rates[0], channels[0] = first.out_sampling_rate, first.out_channels
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    if start[0] > end[0] or half_widths.min() <= 0 or channels.min() < 1:
        raise CheckpointError(
            f"no layers lead from cutoff {start[0]:g} and stopband {start[1]:g} to resolution {resolution}: cutoffs go "
            f"to {end[0]:g}, the narrowest transition is {half_widths.min():g}, the fewest channels {channels.min()}"
        )
    sizes = rates + 2 * config.margin
    sizes[-2:] = resolution
    layers = []
    for i in range(num_layers + 1):
        before = max(i - 1, 0)
        layers.append(
            LayerSpec(
                name=f"L{index + i}_{sizes[i]}_{channels[i]}",
                is_torgb=i == num_layers,
                is_critically_sampled=i >= num_layers - config.num_critical,
                in_channels=int(channels[before]),
                out_channels=int(channels[i]),
                in_size=int(sizes[before]),
                out_size=int(sizes[i]),
                in_sampling_rate=int(rates[before]),
                out_sampling_rate=int(rates[i]),
                in_cutoff=float(cutoffs[before]),
                out_cutoff=float(cutoffs[i]),
                in_half_width=float(half_widths[before]),
                out_half_width=float(half_widths[i]),
                conv_kernel=config.conv_kernel,
                filter_size=config.filter_size,
                lrelu_upsampling=config.lrelu_upsampling,
                use_radial_filters=config.use_radial_filters,
                conv_clamp=config.conv_clamp,
                stopband=float(stopbands[i]),
            )
        )
    return layers


def lay_out(config: GeneratorConfig) -> tuple[InputSpec, list[LayerSpec], int]:
    """Give the input's and every layer's specification, and the resolution of the image in pixels.

    A super-resolution stage drops the critically sampled layers and ToRGB of what is there, and appends its own; the
    layer index skips one at every stage, as in published checkpoints (StyleGAN-XL, section 3.3).
    """
    resolution = config.resolution
    layers = _stack(
        config, resolution, config.num_layers, (config.first_cutoff, config.first_stopband), None, 0
    )
    first = layers[0]
    input_spec = InputSpec(first.in_channels, first.in_size, float(first.in_sampling_rate), first.in_cutoff)
    if config.stages and config.num_critical < 1:
        raise CheckpointError(
            "num_critical is 0, expected at least 1 in a generator with super-resolution stages"
        )
    for up_factor, head_layers in config.stages:
        if head_layers <= config.num_critical or up_factor < 1:
            raise CheckpointError(
                f"a stage has up factor {up_factor} and {head_layers} head layers, expected at least 1 and "
                f"{config.num_critical + 1}"
            )
        kept = layers[: len(layers) - 1 - config.num_critical]
        resolution *= up_factor
        last = kept[-1]
        start = (last.out_cutoff, last.stopband)
        layers = kept + _stack(config, resolution, head_layers, start, last, len(kept) + 1)
    return input_spec, layers, resolution
