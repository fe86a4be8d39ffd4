"""Texture: entropy of the grey values around every pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import LisError
from ..names import whole_number

MOST_LEVELS, FEW_LEVELS = 256, 32
LARGE_DISK = 64  # pixels
MOST_BYTES = 2**30  # of comparisons that are held at a time, so that large disks don't fill the memory
_LARGEST = 1e37  # products of counts stay below it, so that float32 holds them


def disk(radius: int) -> list[tuple[int, int]]:
    """Return the offsets (down, right) of the pixels within `radius` of a pixel, itself included.

    Examples
    --------
    >>> disk(1)
    [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
    """
    around = range(-radius, radius + 1)
    return [(dy, dx) for dy in around for dx in around if dy**2 + dx**2 <= radius**2]


def default_radius(height: int, width: int) -> int:
    """Return the radius in pixels that `local_entropy` takes: 2, and a 48th of the shorter side for large pictures.

    Examples
    --------
    >>> default_radius(32, 32), default_radius(256, 256)
    (2, 5)
    """
    return max(2, round(min(height, width) / 48))


def default_levels(radius: int) -> int:
    """Return the number of grey levels that `local_entropy` takes: 32, and 256 for disks of 64 pixels and more.

    In a disk of 13 pixels nearly all of 256 levels differ, and entropy is near log2(13) whatever the texture: on 300
    pictures of the bundled generator, halving the contrast of all texture lowered a garment's mean entropy in 52 % of
    them with 256 levels, in 95 % with 32.

    Examples
    --------
    >>> default_levels(2), default_levels(5)
    (32, 256)
    """
    return MOST_LEVELS if len(disk(radius)) >= LARGE_DISK else FEW_LEVELS


@torch.no_grad()
def local_entropy(light: Tensor, radius: int | None = None, levels: int | None = None) -> Tensor:
    """Give the entropy of the grey values in a disk around every pixel, in bits: `skimage.filters.rank.entropy`.

    Values are rounded to `levels` grey levels. At the picture's edge the disk is cut; it is not cut at the
    borders of parts, so a part's mean entropy tells of its outline too, the more the thinner the part is.

    Parameters
    ----------
    light : luminance [N, H, W], 0 to 1.
    radius : of the disk, in pixels; None: `default_radius`.
    levels : 2 to 256; None: `default_levels`.

    Raises
    ------
    LisError : values that are not [N, H, W], a radius below 1, levels beyond 2 to 256.

    Examples
    --------
    >>> local_entropy(torch.zeros(1, 8, 8)).max()
    tensor(0.)
    """
    if light.ndim != 3 or not light.is_floating_point():
        raise LisError(f"light is {light.dtype} {list(light.shape)}; floating-point [N, H, W] was expected.")
    height, width = light.shape[1:]
    radius = default_radius(height, width) if radius is None else whole_number(radius, "radius", 1)
    levels = default_levels(radius) if levels is None else whole_number(levels, "levels", 2, MOST_LEVELS)
    grey = (light.float() * (levels - 1)).round().clamp(0, levels - 1).to(torch.int16)  # [N, H, W]
    row = width * (4 * radius + 1) * (4 * radius + 2) * (1 if len(disk(radius)) < 256 else 2)  # bytes
    pictures = grey.split(max(1, MOST_BYTES // (row * height)))
    # Bands of a large picture reach over their edges by the radius; narrower ones would be mostly that.
    rows = max(2 * radius, MOST_BYTES // row - 2 * radius)
    bands = [(top, max(0, top - radius), top + rows) for top in range(0, height, rows)]
    found = [
        [
            _entropy(some[:, start : end + radius], radius)[:, top - start : end - start]
            for top, start, end in bands
        ]
        for some in pictures
    ]
    return torch.cat([torch.cat(part, dim=1) for part in found])


def _entropy(grey: Tensor, radius: int) -> Tensor:
    """Give the entropy [N, H, W] around every pixel of grey levels int16 [N, H, W]."""
    # With counts c of the values in a window of n pixels: entropy = log2 n - (sum over its pixels of log2 c) / n.
    # Comparing pixels replaces histograms; the same comparisons, counted along rows, serve all windows.
    height, width = grey.shape[1:]
    wide = torch.nn.functional.pad(grey, (2 * radius,) * 4, value=-1)  # beyond the edge nothing is equal
    offsets = disk(radius)
    half = {
        dy: max(dx for y, dx in offsets if y == dy) for dy in range(-radius, radius + 1)
    }  # half a row of the disk
    # Windows of 256 pixels and more can hold a value more often than a byte counts.
    counter = torch.uint8 if len(offsets) < 256 else torch.int16
    equal = {
        dy: _equal_before(grey, wide, radius, dy, reach, counter) for dy, reach in _reaches(half).items()
    }
    inside = torch.zeros(height, width, device=grey.device)  # pixels of the window that lie in the picture
    logs = torch.zeros_like(grey, dtype=torch.float32)  # sum of log2 c
    product = torch.ones_like(logs)
    factors, most = 0, int(math.log(_LARGEST) / math.log(len(offsets)))
    for oy, ox in offsets:
        if abs(oy) >= height or abs(ox) >= width:
            continue
        # [N, H, W]: how often the value of a pixel occurs in the window whose centre is (-oy, -ox) from it, row by row
        count = torch.zeros_like(grey, dtype=counter)
        for jy, wide_by in half.items():
            before = equal[jy - oy]
            middle = len(before) // 2 - 1 - ox  # where dx = -ox is
            count += before[middle + wide_by + 1]
            count -= before[middle - wide_by]
        centre = (slice(max(0, -oy), height - max(0, oy)), slice(max(0, -ox), width - max(0, ox)))
        pixel = (slice(max(0, oy), height - max(0, -oy)), slice(max(0, ox), width - max(0, -ox)))
        product[:, *centre] *= count[:, *pixel]
        inside[centre] += 1
        factors += 1
        if factors == most:
            logs += product.log2()
            product.fill_(1)
            factors = 0
    logs += product.log2()
    return (inside.log2() - logs / inside).clamp_min(0)


def _reaches(half: dict[int, int]) -> dict[int, int]:
    """Return how far apart, sideways, two pixels of the disk can be that are dy apart, for every dy."""
    reaches: dict[int, int] = {}
    for oy, one in half.items():
        for jy, other in half.items():
            reaches[jy - oy] = max(reaches.get(jy - oy, 0), one + other)
    return reaches


def _equal_before(
    grey: Tensor, wide: Tensor, radius: int, dy: int, reach: int, counter: torch.dtype
) -> list[Tensor]:
    """Count the pixels with a pixel's value in the row dy from it, from its left end to before each dx.

    Returns
    -------
    [N, H, W] for every dx from -reach to reach + 1: how many of those from -reach to dx - 1 have the pixel's value.
    """
    height, width = grey.shape[1:]
    top = 2 * radius + dy
    counts = [torch.zeros_like(grey, dtype=counter)]
    for dx in range(-reach, reach + 1):
        left = 2 * radius + dx
        same = grey == wide[:, top : top + height, left : left + width]
        counts.append(counts[-1] + same.view(torch.uint8))
    return counts
