"""Figures of motion: arrows coloured by direction, and every pixel's motion as a colour with its key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from ..names import finite_number
from ..pixel_sheet import FAINT, INK, figure_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .motion import Motion

__all__ = ["direction_colours", "flow_colours", "motion_figure"]

TILE = 2.1  # inches a picture
ARROWS_ACROSS = 16  # a picture's side; more would cover each other
SHOWN_LENGTH = 0.1  # of a picture's side: short motions are drawn longer, until the longest are about that
_UNKNOWN = 0.82  # grey of pixels whose motion is not known
# Colours of right, down, left, up, and right again. Neighbours differ in hue and opposites in lightness as well, so
# that eyes without red or green cones can tell right from left and up from down.
_WHEEL = ((0.85, 0.12, 0.15), (0.95, 0.68, 0.00), (0.30, 0.80, 0.60), (0.36, 0.42, 0.98))


def direction_colours(angles: Tensor) -> Tensor:
    """Return colours RGB [..., 3] of directions in radians: right (0) red, down (pi/2) yellow, left green, up blue.

    Examples
    --------
    >>> direction_colours(torch.tensor(0.0))
    tensor([0.8500, 0.1200, 0.1500])
    """
    wheel = torch.tensor(_WHEEL, dtype=torch.float32)  # [4, 3]
    place = torch.remainder(angles.float() / (2 * math.pi), 1) * len(_WHEEL)
    first = place.floor().long() % len(_WHEEL)
    share = (place - place.floor())[..., None]
    return wheel[first] * (1 - share) + wheel[(first + 1) % len(_WHEEL)] * share


def flow_colours(flow: Tensor, most: float, known: Tensor | None = None) -> Tensor:
    """Return motion as pictures RGB [N, 3, H, W]: the colour is the direction, white is no motion.

    Parameters
    ----------
    flow : [N, H, W, 2], pixels.
    most : length in pixels that gets the full colour; longer ones get it too.
    known : bool [N, H, W]; other pixels are grey.

    Raises
    ------
    LisError : flow of another shape, a `most` that is not above 0.

    Examples
    --------
    >>> flow_colours(motion.residual, 2.0, motion.reliable).shape
    torch.Size([4, 3, 32, 32])
    """
    if flow.ndim != 4 or flow.shape[3] != 2:
        raise LisError(f"flow has shape {list(flow.shape)}; [N, H, W, 2] was expected.")
    if finite_number(most, "most") <= 0:
        raise LisError(f"most is {most}; a length above 0 pixels was expected.")
    strength = (flow.norm(dim=3, keepdim=True) / most).clamp(max=1)  # [N, H, W, 1]
    colours = direction_colours(torch.atan2(flow[..., 1], flow[..., 0]))  # [N, H, W, 3]
    pictures = 1 - strength * (1 - colours)
    if known is not None:
        pictures = torch.where(known[..., None], pictures, torch.full_like(pictures, _UNKNOWN))
    return pictures.permute(0, 3, 1, 2)


def motion_figure(
    motion: Motion,
    before: Tensor,
    after: Tensor,
    *,
    residual: bool = True,
    percentile: float = 75.0,
    captions: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw motion, a row a picture: before, after, arrows of the largest motions, all motion as colours with its key.

    Only reliable pixels of the foreground get an arrow or a colour; the others are grey. Arrows begin at their pixel
    before. The column's head says how many times longer than the motion they are drawn, the same for all rows.

    Parameters
    ----------
    motion : what `measure_motion` found.
    before, after : the pictures it was given, [N, C, H, W] (`before` may be one for all).
    residual : without the motion of the whole; False: with it.
    percentile : of lengths within a picture, 0 to 100; arrows are drawn from it upwards.
    captions : one a picture, written at the left.
    title : above all.

    Raises
    ------
    LisError : pictures or captions that do not fit the motion, a percentile outside 0 to 100.

    Notes
    -----
    Source: arrows of the largest percentile as in Linking in Style, arXiv 2409.16865.

    Examples
    --------
    >>> motion_figure(motion, walk.start, walk.images[:, -1]).savefig("motion.png")
    """
    before, after = (check_images(x).detach().float().cpu() for x in (before, after))
    n, height, width = motion.error.shape
    for name, x in (("before", before), ("after", after)):
        if x.shape[2:] != (height, width) or len(x) not in ((1, n) if name == "before" else (n,)):
            raise LisError(
                f"pictures {name} have shape {list(x.shape)}; [{n}, C, {height}, {width}] was expected."
            )
    if captions is not None and len(captions) != n:
        raise LisError(f"there are {len(captions)} captions for {n} pictures; give one each.")
    if not 0 <= finite_number(percentile, "percentile") <= 100:
        raise LisError(f"percentile is {percentile}; 0 to 100 was expected.")
    before = before.expand(n, -1, -1, -1)
    flow = motion.residual if residual else motion.flow
    known = motion.reliable & motion.foreground  # [N, H, W]
    lengths = flow.norm(dim=3)[known]
    # torch's quantile takes no more than 2^24 values.
    most = max(0.5, float(np.quantile(lengths.numpy(), 0.98))) if len(lengths) else 0.5
    colours = flow_colours(flow, most, known)
    times = max(1, round(SHOWN_LENGTH * min(height, width) / most))
    wide = TILE * max(1.0, width / height)
    figure = figure_class()(
        figsize=(4 * wide + 1.5, n * TILE * max(1.0, height / width) + 0.35 + (0.3 if title else 0)),
        dpi=100,
        facecolor="white",
        layout="constrained",
    )
    grid = figure.add_gridspec(n, 5, width_ratios=(wide, wide, wide, wide, 1.2))
    what = "motion of parts" if residual else "motion"
    heads = ("before", "after", f"{what}, {times} x" if times > 1 else what, what)
    for row in range(n):
        tiles = (before[row], after[row], before[row], colours[row])
        for column, (head, tile) in enumerate(zip(heads, tiles, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            _show(axes, tile, faded=column == 2)
            if row == 0:
                axes.set_title(head, fontsize=9, color=INK)
            if column == 2:
                _draw_arrows(axes, flow[row], known[row], percentile, times)
            if column == 0 and captions is not None:
                axes.set_ylabel(captions[row], fontsize=8, color=INK, parse_math=False)
    _draw_key(figure.add_subplot(grid[0, 4]), most)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    return figure


def _show(axes: Any, picture: Tensor, faded: bool) -> None:
    """Show a picture [C, H, W] crisply; faded to dark grey, it lets coloured arrows stand out."""
    pixels = picture.clamp(0, 1).numpy().transpose(1, 2, 0)  # [H, W, C]
    if faded:
        pixels = 0.1 + 0.33 * pixels.mean(axis=2, keepdims=True)
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.5)


def _draw_arrows(axes: Any, flow: Tensor, known: Tensor, percentile: float, times: int) -> None:
    """Draw the longest motions [H, W, 2] of the pixels `known` [H, W] as arrows, `times` longer."""
    lengths = flow.norm(dim=2)  # [H, W]
    if not bool(known.any()):
        return
    # Below a tenth of a pixel there is nothing that an arrow could show.
    least = max(float(np.quantile(lengths[known].numpy(), percentile / 100)), 0.1)
    stride = max(1, round(min(known.shape) / ARROWS_ACROSS))
    grid = torch.zeros_like(known)
    grid[stride // 2 :: stride, stride // 2 :: stride] = True
    y, x = (known & grid & (lengths >= least)).nonzero(as_tuple=True)
    if len(x) == 0:
        return
    vectors = flow[y, x]  # [M, 2]
    axes.quiver(
        x.numpy(),
        y.numpy(),
        vectors[:, 0].numpy(),
        vectors[:, 1].numpy(),
        color=direction_colours(torch.atan2(vectors[:, 1], vectors[:, 0])).numpy(),
        angles="xy",
        scale_units="xy",
        scale=1 / times,
        units="dots",
        width=1.8,
        headwidth=4,
        headlength=4,
        headaxislength=3.5,
        minlength=0.5,
    )


def _draw_key(axes: Any, most: float) -> None:
    """Draw the wheel: the colour of every direction and length up to `most` pixels."""
    size = 101
    line = torch.linspace(-1.06, 1.06, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    wheel = flow_colours(torch.stack([x, y], dim=2)[None] * most, most)[0]  # [3, size, size]
    wheel = torch.where(x**2 + y**2 <= 1, wheel, torch.ones_like(wheel))
    axes.imshow(wheel.numpy().transpose(1, 2, 0), extent=(-1.06, 1.06, 1.06, -1.06))
    axes.set_axis_off()
    axes.set_anchor("N")
    axes.set_title(f"to the rim:\n{most:.1f} px", fontsize=8, color=INK)
    axes.text(0, 1.2, "grey: background,\nor not reliable", fontsize=7, color=FAINT, ha="center", va="top")
