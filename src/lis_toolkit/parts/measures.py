"""What is measured of every part of a picture: size, place, shape, brightness, texture; of whole batches at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from .angles import angle_difference, mean_angle
from .legend import Legend
from .regions import (
    LEAST_ELLIPSE,
    count_components,
    ellipses,
    perimeter_lengths,
    region_keys,
    region_sums,
)
from .texture import local_entropy
from .whole import luminance, measure_pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ABSENT",
    "MEASURES",
    "PRESENT",
    "TOO_SMALL",
    "Measure",
    "PartMeasures",
    "angle_difference",
    "mean_angle",
    "measure_columns",
    "measure_names",
    "measure_parts",
    "measure_pictures",
]

PRESENT, ABSENT, TOO_SMALL = 0, 1, 2  # codes of a part in a picture
# Pixels at a time: what a processor keeps at hand, and what an accelerator needs to be busy.
_CHUNK = {"cpu": 2**17}
_LARGE_CHUNK = 2**22


@dataclass(frozen=True)
class Measure:
    """One measure of a part.

    Attributes
    ----------
    name : as in columns ("area").
    label : for plots ("area").
    unit : for plots ("share of the picture").
    circular : whether it is an angle of an axis, whose differences go the short way round (`angle_difference`).
    colour_only : whether it exists for pictures with three channels only.
    relative : whether a change as share of the first value makes sense: it has a zero that means "none".
    """

    name: str
    label: str
    unit: str
    circular: bool = False
    colour_only: bool = False
    relative: bool = False

    @property
    def axis(self) -> str:
        """Label and unit, for the axis of a plot."""
        return f"{self.label} ({self.unit})"


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Measure("area", "area", "share of the picture", relative=True),
            Measure("luminance", "luminance", "0 to 1", relative=True),
            Measure("entropy", "local entropy", "bits", relative=True),
            Measure("perimeter", "perimeter", "pixels", relative=True),
            Measure("centre_x", "centre from the left", "share of the width"),
            Measure("centre_y", "centre from the top", "share of the height"),
            Measure("major_axis", "major axis", "pixels", relative=True),
            Measure("minor_axis", "minor axis", "pixels", relative=True),
            Measure("eccentricity", "eccentricity", "0 circle, 1 line"),
            Measure("angle", "angle to the vertical", "radians", circular=True),
            Measure("components", "pieces", "count", relative=True),
            Measure("red", "red", "0 to 1", colour_only=True, relative=True),
            Measure("green", "green", "0 to 1", colour_only=True, relative=True),
            Measure("blue", "blue", "0 to 1", colour_only=True, relative=True),
        )
    }
)


def measure_names(channels: int) -> tuple[str, ...]:
    """Return the names of the measures of pictures with 1 or 3 channels, in order.

    Raises
    ------
    LisError : another number of channels.

    Examples
    --------
    >>> set(measure_names(3)) - set(measure_names(1)) == {"red", "green", "blue"}
    True
    """
    if channels not in (1, 3):
        raise LisError(f"the pictures have {channels} channels; 1 or 3 were expected.")
    return tuple(name for name, measure in MEASURES.items() if channels == 3 or not measure.colour_only)


def measure_columns(parts: Sequence[str], channels: int) -> tuple[str, ...]:
    """Return the columns of a table of measures: part by part "sleeve.area", ..., "sleeve.code".

    Raises
    ------
    LisError : a number of channels other than 1 and 3.

    Examples
    --------
    >>> measure_columns(["sleeve"], 1)[::11]
    ('sleeve.area', 'sleeve.code')
    """
    names = (*measure_names(channels), "code")
    return tuple(f"{part}.{name}" for part in parts for name in names)


@dataclass(frozen=True)
class PartMeasures:
    """Measures of P parts in N pictures.

    Attributes
    ----------
    values : float32 [N, P, M], in the units of `MEASURES`; NaN where a measure is undefined, so everywhere for a part
        that is absent.
    codes : int8 [N, P]: 0 present, 1 absent, 2 too small (below 5 pixels) for an ellipse.
    parts : names of the P parts.
    measures : names of the M measures.
    """

    values: Tensor
    codes: Tensor
    parts: tuple[str, ...]
    measures: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, measure: str) -> Tensor:
        """Return one measure of all parts, [N, P]."""
        if measure not in self.measures:
            raise LisError(f"there is no measure {measure!r}; there are {', '.join(self.measures)}.")
        return self.values[:, :, self.measures.index(measure)]

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns: part by part "sleeve.area", ..., "sleeve.code"."""
        return tuple(f"{part}.{name}" for part in self.parts for name in (*self.measures, "code"))

    def to_columns(self) -> dict[str, Tensor]:
        """Return the columns: float32 [N] for measures, int8 [N] for codes, on the CPU."""
        values, codes = self.values.cpu().permute(1, 2, 0).contiguous(), self.codes.cpu().T.contiguous()
        columns = ((*values[p], codes[p]) for p in range(len(self.parts)))
        return dict(zip(self.columns(), (column for part in columns for column in part), strict=True))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a picture and the columns of `columns()`."""
        import pandas as pd

        return pd.DataFrame({name: column.numpy() for name, column in self.to_columns().items()})


@torch.no_grad()
def measure_parts(
    x: Tensor, labels: Tensor, legend: Legend, radius: int | None = None, levels: int | None = None
) -> PartMeasures:
    """Measure every part of every picture.

    Definitions are scikit-image's: area, centre and ellipse of `regionprops`, `perimeter`, pieces that `label` finds
    (diagonal neighbours connected), and the mean of `filters.rank.entropy` over the part (Linking in Style, arXiv
    2409.16865, measures area, luminance, local entropy and the ellipse). Luminance and colours are means over the part,
    `luminance` says with which weights. The centre is a share of the picture's width and height, 0 at the outer edge of
    the first pixel and 1 at that of the last. All pixels of a part count as one region, however many pieces it has.

    Work and memory do not depend on the number of parts; pictures are taken in chunks, whose size changes no digit.

    Parameters
    ----------
    x : pictures [N, C, H, W] in the unit range, C = 1 or 3, on any device.
    labels : whole numbers [N, H, W], indices of the legend, 0 the background.
    legend : names of the parts.
    radius : of the disk for local entropy, pixels; None: 2, and a 48th of the shorter side for large pictures. The
        disk is cut at the picture's edge, not at the part's: a part's texture includes its outline, as in the paper.
    levels : grey levels for local entropy, 2 to 256; None: 32, and 256 for disks of 64 pixels and more (radius 5), as
        `texture.default_levels` explains.

    Returns
    -------
    PartMeasures, on the device of the pictures.

    Raises
    ------
    LisError : pictures that are not in the unit range, labels that do not fit them or the legend.

    Examples
    --------
    >>> x, labels = render_parts(generator, segmenter, w)
    >>> measure_parts(x, labels, segmenter.legend)["area"].mean(dim=0)
    """
    x = check_images(x)
    names = measure_names(x.shape[1])
    labels = _check_labels(labels, x, len(legend.names))
    pixels = x.shape[2] * x.shape[3]
    chunk = max(1, _CHUNK.get(x.device.type, _LARGE_CHUNK) // pixels)
    values, codes = zip(
        *(
            _measure(part, of, len(legend.names), names, radius, levels)
            for part, of in zip(x.split(chunk), labels.split(chunk), strict=True)
        ),
        strict=True,
    )
    return PartMeasures(torch.cat(values), torch.cat(codes), tuple(legend.parts), names)


def _check_labels(labels: Tensor, x: Tensor, count: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        given = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise LisError(f"labels are {given}; whole numbers [N, H, W] (uint8) were expected.")
    if labels.shape != (x.shape[0], *x.shape[2:]):
        raise LisError(
            f"labels have shape {list(labels.shape)} for pictures {list(x.shape)}; "
            f"{[x.shape[0], *x.shape[2:]]} was expected, one a pixel."
        )
    low, high = (int(v) for v in torch.aminmax(labels))
    if low < 0 or high >= count:
        raise LisError(
            f"labels go from {low} to {high}; the legend has {count}, 0 to {count - 1}. Is it another model's legend?"
        )
    return labels.to(x.device)


def _measure(
    x: Tensor, labels: Tensor, count: int, names: Sequence[str], radius: int | None, levels: int | None
) -> tuple[Tensor, Tensor]:
    """Return values [N, P, M] and codes [N, P] of one chunk."""
    n, channels, height, width = x.shape
    keys = region_keys(labels, count)  # [N, H W]

    def sums(values: Tensor) -> Tensor:
        """Add up values [N or 1, H W] over the pixels of every part, float64 [N, P]."""
        return region_sums(values, keys, n * count).view(n, count)[:, 1:]

    down, right = torch.meshgrid(
        torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
    )
    down, right = down.flatten()[None], right.flatten()[None]  # [1, H W], pixels
    places = {"n": torch.ones_like(down), "x": right, "y": down}
    places |= {"xx": right * right, "xy": right * down, "yy": down * down}
    moments = {name: sums(place) for name, place in places.items()}
    area = moments["n"]  # pixels; 0 / 0 below: all measures of an absent part are NaN
    light = luminance(x.float())  # [N, H, W]; weighted sums of half-precision colours would be coarse
    measured = {
        "area": torch.where(area > 0, area / (height * width), math.nan),
        "luminance": sums(light.flatten(1)) / area,
        "entropy": sums(local_entropy(light, radius, levels).flatten(1)) / area,
        "perimeter": torch.where(area > 0, sums(perimeter_lengths(labels).flatten(1)), math.nan),
        "centre_x": (moments["x"] / area + 0.5) / width,
        "centre_y": (moments["y"] / area + 0.5) / height,
        "components": torch.where(area > 0, count_components(labels, count)[:, 1:].double(), math.nan),
        **ellipses(moments),
    }
    if channels == 3:
        for name, channel in zip(("red", "green", "blue"), x.unbind(1), strict=True):
            measured[name] = sums(channel.float().flatten(1)) / area
    codes = torch.full(area.shape, PRESENT, dtype=torch.int8, device=x.device)
    codes[area < LEAST_ELLIPSE] = TOO_SMALL
    codes[area == 0] = ABSENT
    return torch.stack([measured[name] for name in names], dim=2).float(), codes
