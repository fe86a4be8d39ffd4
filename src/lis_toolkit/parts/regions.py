"""Regions of label pictures, all pictures and labels at once: sums, ellipses, perimeters, connected components.

Nothing here goes over pictures or labels one by one. Sums are of whole numbers, so that they are exact, the same in any
batch and on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_ELLIPSE = 5  # pixels; fewer tell where a part is, not how it lies
ROUND = 0.9  # minor by major axis; above it the direction of the major axis is left to single pixels
_FIXED = 2**30  # fixed-point numbers: steps of 1e-9, and sums over 2^32 pixels fit into 64 bits


def region_keys(labels: Tensor, count: int) -> Tensor:
    """Return the number of every pixel's region, picture by picture, 0 to N `count` - 1: int64 [N, H W]."""
    first = torch.arange(len(labels), device=labels.device) * count  # [N]
    return labels.flatten(1).long() + first[:, None]


def region_sums(values: Tensor, keys: Tensor, regions: int) -> Tensor:
    """Add up values over the pixels of every region.

    Parameters
    ----------
    values : whole numbers that broadcast to `keys`, or floating-point ones, which are rounded to steps of 2^-30.
    keys : region of every pixel [N, H W], of `region_keys`.
    regions : how many there are.

    Returns
    -------
    [regions], float64.

    Examples
    --------
    >>> region_sums(torch.ones(1, 1), torch.tensor([[0, 1, 1]]), 2)
    tensor([1., 2.], dtype=torch.float64)
    """
    floating = values.is_floating_point()
    whole = (values.double() * _FIXED).round().long() if floating else values.long()
    sums = torch.zeros(regions, dtype=torch.int64, device=keys.device)
    sums.scatter_add_(0, keys.flatten(), whole.expand_as(keys).flatten())
    return sums.double() / _FIXED if floating else sums.double()


def ellipses(moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fit an ellipse to every region: that with the same second moments, as `skimage.measure.regionprops` does.

    Parameters
    ----------
    moments : sums over the pixels of a region: "n" (1), "x", "y", "xx", "xy", "yy", in pixels, any shape.

    Returns
    -------
    "major_axis" and "minor_axis", full lengths in pixels; "eccentricity", 0 (a circle) to 1 (a line); "angle" in
    radians from the vertical to the major axis, positive towards the lower right and upper left, -pi/2 to pi/2, NaN
    where the minor axis is above 0.9 of the major one. All NaN for regions below 5 pixels.
    """
    n = moments["n"]
    # Products first: they are exact for pictures up to 512 x 512, so straight lines get a minor axis of exactly 0.
    xx = (n * moments["xx"] - moments["x"] ** 2) / n**2
    yy = (n * moments["yy"] - moments["y"] ** 2) / n**2
    xy = (n * moments["xy"] - moments["x"] * moments["y"]) / n**2
    middle, half = (xx + yy) / 2, torch.hypot((yy - xx) / 2, xy)
    large, small = (middle + half).clamp_min(0), (middle - half).clamp_min(0)
    nowhere = torch.full_like(n, math.nan)
    found = n >= LEAST_ELLIPSE
    angle = torch.atan2(2 * xy, yy - xx) / 2
    return {
        "major_axis": torch.where(found, 4 * large.sqrt(), nowhere),
        "minor_axis": torch.where(found, 4 * small.sqrt(), nowhere),
        "eccentricity": torch.where(found, (1 - small / large).clamp_min(0).sqrt(), nowhere),
        "angle": torch.where(found & (small <= ROUND**2 * large), angle, nowhere),
    }


def perimeter_lengths(labels: Tensor) -> Tensor:
    """Give the length in pixels that every pixel adds to the perimeter of its label's region: float64 [N, H, W].

    Pixels with a neighbour of another label (of four; beyond the picture counts as another) are the contour. What a
    pixel of it adds depends on which of its eight neighbours are in the same contour (Benkrid and Crookes 2003): the
    weights of `skimage.measure.perimeter`.
    """
    height, width = labels.shape[1:]
    own = labels.to(torch.int16)

    def around(values: Tensor, dy: int, dx: int) -> Tensor:
        return values[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    wide = F.pad(own, (1, 1, 1, 1), value=-1)  # [N, H + 2, W + 2]
    straight, diagonal = [(-1, 0), (1, 0), (0, -1), (0, 1)], [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    edge = torch.zeros_like(own, dtype=torch.bool)
    for dy, dx in straight:
        edge |= around(wide, dy, dx) != own
    contour = F.pad(torch.where(edge, own, -1), (1, 1, 1, 1), value=-1)
    near, far = (
        sum((around(contour, dy, dx) == own).to(torch.uint8) for dy, dx in offsets)
        for offsets in (straight, diagonal)
    )
    lengths = torch.zeros(5, 5, dtype=torch.float64)  # by the number of straight and of diagonal neighbours
    for nearby, diagonals in ((2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (3, 2)):
        lengths[nearby, diagonals] = 1
    for nearby, diagonals in ((0, 2), (1, 3)):
        lengths[nearby, diagonals] = math.sqrt(2)
    for nearby, diagonals in ((1, 1), (1, 2)):
        lengths[nearby, diagonals] = (1 + math.sqrt(2)) / 2
    which = torch.where(edge, near * 5 + far, 0).long()  # [N, H, W]; no neighbours: no length
    return lengths.flatten().to(labels.device)[which]


def count_components(labels: Tensor, count: int) -> Tensor:
    """Count the connected pieces of every label but 0; diagonal neighbours are connected.

    Parameters
    ----------
    labels : [N, H, W], 0 to `count` - 1.
    count : number of labels.

    Returns
    -------
    int64 [N, count]; column 0, the background, is 0.

    Examples
    --------
    >>> count_components(torch.eye(3, dtype=torch.uint8)[None], 2)
    tensor([[0, 1]])
    """
    n, height, width = labels.shape
    wide = F.pad(labels.to(torch.int16), (1, 1, 0, 0), value=-1)  # [N, H, W + 2]
    own, left = wide[:, :, 1:-1], wide[:, :, :-2]
    starts = own != left  # [N, H, W]: where a run of one label begins
    run = (starts.flatten().cumsum(0) - 1).view(
        n, height, width
    )  # a row's end ends its runs, as width begins anew
    # Runs touch upwards where labels agree; pairs that the pixel to the left has given already are left out.
    below, above = own[:, 1:], own[:, :-1]
    solid = below != 0
    up = (below == above) & solid & (starts[:, 1:] | starts[:, :-1])
    right = wide[:, :, 2:]
    other = solid & (below != above)
    slant_left = other & (below == left[:, :-1]) & starts[:, 1:]
    slant_right = other & (below == right[:, :-1]) & (below != right[:, 1:])
    lower, upper = run[:, 1:], run[:, :-1]
    a = torch.cat([lower[up], lower[slant_left], lower[slant_right]])  # [E]
    b = torch.cat(
        [upper[up], upper[:, :, :-1][slant_left[:, :, 1:]], upper[:, :, 1:][slant_right[:, :, :-1]]]
    )
    first = starts.flatten().nonzero()[:, 0]  # [runs], pixels
    root = _roots(a, b, len(first))
    keys = region_keys(labels, count).flatten()[first]
    alone = (root == torch.arange(len(first), device=root.device)) & (labels.flatten()[first] != 0)
    return torch.bincount(keys[alone], minlength=n * count).view(n, count)


def _roots(a: Tensor, b: Tensor, count: int) -> Tensor:
    """Return the least member of the group of each of `count` items that the pairs (a, b) connect, [count]."""
    root = torch.arange(count, device=a.device)
    while True:
        x, y = root[a], root[b]
        apart = x != y
        if not bool(apart.any()):
            return root
        a, b, x, y = a[apart], b[apart], x[apart], y[apart]
        # All groups that have a lesser neighbour join it: at most half remain.
        root.scatter_reduce_(0, torch.maximum(x, y), torch.minimum(x, y), "amin")
        while True:
            higher = root[root]
            if torch.equal(higher, root):
                break
            root = higher
