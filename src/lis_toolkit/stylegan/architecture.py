"""A generator as an explicit list of layers: what files hold, and what the networks are built from."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lis_toolkit.errors import CheckpointError

MAPPINGS = ("unconditional", "pretrained", "linear")  # no class; StyleGAN-XL's class embedding; StyleGAN3's
LAYER_NAME = re.compile(r"L[0-9]{1,4}_[0-9]{1,5}_[0-9]{1,6}")
MOST_LAYERS = 2**10
MOST_WIDTH = 8  # of half a transition band, in sampling rates; the papers stay below 1
MOST_WEIGHTS = 2**31  # 8 GiB in float32
MOST_MATRICES = 2**29  # entries of all resampling matrices: 2 GiB; 1024 px take a fifth of it

ARCHITECTURE_LIMITS = {  # least and most
    "z_dim": (1, 2**16),
    "c_dim": (0, 2**20),
    "w_dim": (1, 2**16),
    "embedding_dim": (1, 2**16),
    "mapping_layers": (1, 2**6),
    "img_channels": (1, 2**10),
    "resolution": (4, 2**14),
}
LAYER_LIMITS = {
    "in_channels": (1, 2**16),
    "out_channels": (1, 2**16),
    "in_size": (1, 2**15),
    "out_size": (1, 2**15),
    "in_sampling_rate": (1, 2**15),
    "out_sampling_rate": (1, 2**15),
    "conv_kernel": (1, 2**6),
    "filter_size": (1, 2**6),
    "lrelu_upsampling": (1, 2**4),
}


def _whole(owner: str, name: str, value: Any, limits: tuple[int, int]) -> None:
    least, most = limits
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CheckpointError(
            f"{owner}: {name} is {value!r:.80}, expected a whole number from {least} to {most}"
        )


def _positive(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise CheckpointError(f"{owner}: {name} is {value!r:.80}, expected a positive finite number")


@dataclass(frozen=True)
class InputSpec:
    """The Fourier-feature input: channels, size in samples, samples per image unit, bandwidth in cycles per unit."""

    channels: int
    size: int
    sampling_rate: float
    bandwidth: float


@dataclass(frozen=True)
class LayerSpec:
    """One synthesis layer, sizes in samples, rates in samples and cutoffs in cycles per image unit."""

    name: str
    is_torgb: bool
    is_critically_sampled: bool
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    in_sampling_rate: int
    out_sampling_rate: int
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    conv_kernel: int
    filter_size: int
    lrelu_upsampling: int
    use_radial_filters: bool
    conv_clamp: float | None
    stopband: float = field(default=0.0, compare=False)

    @property
    def kernel(self) -> int:
        """Side of the convolution kernel."""
        return 1 if self.is_torgb else self.conv_kernel

    @property
    def tmp_rate(self) -> int:
        """Sampling rate of the nonlinearity."""
        return max(self.in_sampling_rate, self.out_sampling_rate) * (
            1 if self.is_torgb else self.lrelu_upsampling
        )

    @property
    def up_factor(self) -> int:
        """Samples made of one before the nonlinearity."""
        return self.tmp_rate // self.in_sampling_rate

    @property
    def down_factor(self) -> int:
        """Samples made into one after the nonlinearity."""
        return self.tmp_rate // self.out_sampling_rate

    @property
    def up_taps(self) -> int:
        """Taps of the filter before the nonlinearity; 1 when there is none."""
        return 1 if self.up_factor == 1 or self.is_torgb else self.filter_size * self.up_factor

    @property
    def down_taps(self) -> int:
        """Taps of the filter after the nonlinearity; 1 when there is none."""
        return 1 if self.down_factor == 1 or self.is_torgb else self.filter_size * self.down_factor

    @property
    def radial_down(self) -> bool:
        """Whether the filter after the nonlinearity is the radially symmetric one."""
        return self.use_radial_filters and not self.is_critically_sampled

    @property
    def padding(self) -> tuple[int, int]:
        """Samples added (or cropped, when negative) at the low and the high side, at the temporary rate."""
        total = (self.out_size - 1) * self.down_factor + 1 - (self.in_size + self.kernel - 1) * self.up_factor
        total += self.up_taps + self.down_taps - 2
        low = (total + self.up_factor) // 2
        return low, total - low

    def check(self) -> None:
        """Refuse what can't be built; the message names the layer and the entry."""
        if not isinstance(self.name, str) or not LAYER_NAME.fullmatch(self.name):
            raise CheckpointError(
                f"a layer is called {self.name!r:.80}, expected L{{index}}_{{size}}_{{channels}}"
            )
        owner = f"layer {self.name}"
        for name, limits in LAYER_LIMITS.items():
            _whole(owner, name, getattr(self, name), limits)
        for name in ("in_cutoff", "out_cutoff", "in_half_width", "out_half_width"):
            _positive(owner, name, getattr(self, name))
        for side in ("in", "out"):
            width, rate = getattr(self, f"{side}_half_width"), getattr(self, f"{side}_sampling_rate")
            if width > MOST_WIDTH * rate:
                raise CheckpointError(
                    f"{owner}: {side}_half_width is {width:g}, expected {MOST_WIDTH * rate} at most"
                )
        for name in ("is_torgb", "is_critically_sampled", "use_radial_filters"):
            if not isinstance(getattr(self, name), bool):
                raise CheckpointError(
                    f"{owner}: {name} is {getattr(self, name)!r:.80}, expected True or False"
                )
        if self.conv_clamp is not None:
            _positive(owner, "conv_clamp", self.conv_clamp)
        if self.tmp_rate % self.in_sampling_rate or self.tmp_rate % self.out_sampling_rate:
            raise CheckpointError(
                f"{owner}: its nonlinearity runs at rate {self.tmp_rate}, expected a multiple of the rates before and "
                f"behind it, {self.in_sampling_rate} and {self.out_sampling_rate}"
            )
        for side, taps, cutoff in (
            ("in", self.up_taps, self.in_cutoff),
            ("out", self.down_taps, self.out_cutoff),
        ):
            if taps > 1 and cutoff >= self.tmp_rate / 2:
                raise CheckpointError(
                    f"{owner}: {side}_cutoff is {cutoff:g}, expected less than {self.tmp_rate / 2:g}, half the rate at "
                    "which its filters run"
                )
        if self.is_torgb and (self.in_size, self.in_sampling_rate) != (self.out_size, self.out_sampling_rate):
            raise CheckpointError(
                f"{owner} turns size {self.in_size} at rate {self.in_sampling_rate} into {self.out_size} at rate "
                f"{self.out_sampling_rate}, expected the last layer to change neither"
            )

    @property
    def weights(self) -> int:
        """Weights of the convolution."""
        return self.in_channels * self.out_channels * self.kernel**2

    @property
    def matrices(self) -> int:
        """Entries of the matrices that resample, were they dense."""
        padded = self.in_size + self.kernel - 1
        temporary = (self.out_size - 1) * self.down_factor + self.down_taps
        return 0 if self.is_torgb else temporary * (padded + self.out_size)


@dataclass(frozen=True)
class Architecture:
    """All sizes, rates and cutoffs of a generator, checked; what `GeneratorConfig` lays out and files hold.

    Attributes
    ----------
    z_dim, c_dim, w_dim : widths of the input, number of classes (0: unconditional), width of the latent.
    mapping : "pretrained", "linear" or "unconditional", as in `GeneratorConfig`.
    embedding_dim : width of the class embedding of "pretrained"; not used by the others.
    mapping_layers : fully connected layers of the mapping.
    img_channels, resolution : of the picture, in pixels.
    output_scale : factor from the last layer's output to the picture.
    input, layers : the Fourier features and every synthesis layer, ToRGB last.

    Raises
    ------
    CheckpointError : an entry of the wrong type or beyond its limits, layers that don't follow from one another, or
        more than `MOST_WEIGHTS` or `MOST_MATRICES` numbers; all of it before anything is allocated.

    Examples
    --------
    >>> architecture = GeneratorConfig(c_dim=10).architecture()
    >>> Architecture.from_dict(architecture.to_dict()) == architecture
    True
    """

    z_dim: int
    c_dim: int
    w_dim: int
    mapping: str
    embedding_dim: int
    mapping_layers: int
    img_channels: int
    resolution: int
    output_scale: float
    input: InputSpec
    layers: tuple[LayerSpec, ...]

    def __post_init__(self) -> None:
        """Check every entry, and how they fit together."""
        owner = "the generator"
        if self.mapping not in MAPPINGS:
            raise CheckpointError(f"mapping is {self.mapping!r:.80}, expected one of {', '.join(MAPPINGS)}")
        for name, limits in ARCHITECTURE_LIMITS.items():
            _whole(owner, name, getattr(self, name), limits)
        _positive(owner, "output_scale", self.output_scale)
        if (self.c_dim == 0) != (self.mapping == "unconditional"):
            raise CheckpointError(
                f"c_dim is {self.c_dim} with mapping {self.mapping!r}: 0 classes go with 'unconditional' and no other"
            )
        if not 1 <= len(self.layers) <= MOST_LAYERS:
            raise CheckpointError(f"there are {len(self.layers)} layers, expected 1 to {MOST_LAYERS}")
        _whole("the input", "channels", self.input.channels, LAYER_LIMITS["in_channels"])
        _whole("the input", "size", self.input.size, LAYER_LIMITS["in_size"])
        _positive("the input", "sampling_rate", self.input.sampling_rate)
        _positive("the input", "bandwidth", self.input.bandwidth)
        self._check_chain()
        matrices = sum(layer.matrices for layer in self.layers)
        for kind, numbers, most in (
            ("weights", self.weights, MOST_WEIGHTS),
            ("entries of resampling matrices", matrices, MOST_MATRICES),
        ):
            if numbers > most:
                raise CheckpointError(
                    f"the generator would have {numbers:,} {kind}, expected {most:,} at most"
                )

    def _check_chain(self) -> None:
        before: tuple[Any, ...] = (
            "the input",
            self.input.channels,
            self.input.size,
            self.input.sampling_rate,
        )
        names = set()
        for i, layer in enumerate(self.layers):
            layer.check()
            names.add(layer.name)
            wanted = (layer.in_channels, layer.in_size, layer.in_sampling_rate)
            if before[1:] != wanted:
                raise CheckpointError(
                    f"layer {layer.name} takes (channels, size, rate) {wanted}, but {before[0]} gives {before[1:]}"
                )
            if layer.is_torgb != (i == len(self.layers) - 1):
                raise CheckpointError(
                    f"layer {layer.name}: is_torgb is {layer.is_torgb}, expected True of the last layer and no other"
                )
            before = (f"layer {layer.name}", layer.out_channels, layer.out_size, layer.out_sampling_rate)
        if len(names) != len(self.layers):
            raise CheckpointError("two layers have the same name, expected every name once")
        if before[1:3] != (self.img_channels, self.resolution):
            raise CheckpointError(
                f"{before[0]} gives {before[1]} channels of {before[2]} px, expected the picture's "
                f"{self.img_channels} channels of {self.resolution} px"
            )

    @property
    def weights(self) -> int:
        """Weights and mean latents: what a generator of this kind takes in memory."""
        width = self.z_dim
        mapping = self.c_dim * self.w_dim if self.mapping == "pretrained" else self.w_dim
        if self.mapping == "pretrained":
            mapping += (self.c_dim + self.z_dim) * self.embedding_dim
            width += self.z_dim
        elif self.mapping == "linear":
            mapping += self.c_dim * self.w_dim
            width += self.w_dim
        mapping += (width + (self.mapping_layers - 1) * self.w_dim) * self.w_dim
        layers = sum(layer.weights + layer.in_channels * self.w_dim for layer in self.layers)
        return mapping + layers + self.input.channels**2

    def to_dict(self) -> dict[str, Any]:
        """Give everything as a JSON-ready dictionary."""
        values = asdict(self)
        values["layers"] = [_without(layer, "stopband") for layer in values["layers"]]
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Architecture:
        """Read the dictionary of `to_dict` back; CheckpointError for anything missing, unknown or out of bounds."""
        values = dict(_entries(cls, values, "the architecture"))
        layers = values["layers"]
        if not isinstance(layers, (list, tuple)) or len(layers) > MOST_LAYERS:
            raise CheckpointError(
                f"layers is a {type(layers).__name__}, expected a list of {MOST_LAYERS} layers at most"
            )
        values["layers"] = tuple(LayerSpec(**_entries(LayerSpec, layer, "a layer")) for layer in layers)
        values["input"] = InputSpec(**_entries(InputSpec, values["input"], "the input"))
        return cls(**values)


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _entries(kind: Any, values: Any, owner: str) -> dict[str, Any]:
    """Check that a dictionary has exactly the entries that a dataclass compares."""
    if not isinstance(values, dict):
        raise CheckpointError(f"{owner} is a {type(values).__name__}, expected a dictionary")
    wanted = {f.name for f in fields(kind) if f.compare}
    if wanted != set(values):
        missing, surplus = sorted(wanted - set(values)), sorted(map(str, set(values) - wanted))
        raise CheckpointError(
            f"{owner} lacks {', '.join(missing) or 'nothing'} and has unknown entries {', '.join(surplus) or 'none'}"[
                :400
            ]
        )
    return values
