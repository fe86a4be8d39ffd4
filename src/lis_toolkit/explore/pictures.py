"""Pictures as bytes to draw: one in the unit range, and a difference in colours that everybody can tell apart."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..images import convert_range

__all__ = ["DIFFERENCE_LIMIT", "difference_rgb", "enlarged", "picture_rgb", "whole_scale"]

DIFFERENCE_LIMIT = 0.5  # of the unit range: where the colours of a difference picture are full
# Blue: darker than before, white: unchanged, orange: brighter. Told apart with every common colour blindness.
DIVERGING = ((0, 50, 90), (0, 114, 178), (255, 255, 255), (213, 94, 0), (110, 40, 0))
TARGET = 192  # px: small pictures are enlarged by the whole number that comes closest from below


def difference_rgb(difference: Tensor, limit: float = DIFFERENCE_LIMIT) -> np.ndarray:
    """Colour a difference of two pictures: blue where it got darker, white unchanged, orange brighter.

    Parameters
    ----------
    difference : [C, H, W], of pictures in the unit range; channels are averaged.
    limit : difference at which the colour is full; beyond it stays so.

    Returns
    -------
    uint8 [H, W, 3].

    Raises
    ------
    LisError : another rank, values that are not finite, a limit that is not positive.

    Examples
    --------
    >>> difference_rgb(state.tuned - state.start).shape
    (32, 32, 3)
    """
    if difference.ndim != 3 or 0 in difference.shape or not bool(torch.isfinite(difference).all()):
        raise LisError(
            f"the difference has shape {list(difference.shape)}; finite values [C, H, W] were expected."
        )
    if not (math.isfinite(limit) and limit > 0):
        raise LisError(f"limit is {limit!r}; a positive number was expected.")
    places = (difference.detach().float().mean(0).cpu().numpy() / limit).clip(-1, 1)  # [H, W]
    stops = np.linspace(-1, 1, len(DIVERGING))
    channels = [np.interp(places, stops, [colour[c] for colour in DIVERGING]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def picture_rgb(x: Tensor) -> np.ndarray:
    """Return one picture [1 or 3, H, W] in the unit range as uint8 [H, W, 3].

    Examples
    --------
    >>> picture_rgb(state.tuned).shape
    (32, 32, 3)
    """
    pixels = convert_range(x.detach().float().cpu(), "unit", "byte").permute(1, 2, 0).numpy()  # [H, W, C]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def whole_scale(height: int, width: int, target: int = TARGET) -> int:
    """Return the whole number by which a picture is enlarged to at most `target` pixels; 1 where it is larger.

    Examples
    --------
    >>> whole_scale(32, 32), whole_scale(256, 256)
    (6, 1)
    """
    return max(1, target // max(height, width))


def enlarged(panels: np.ndarray, scale: int) -> np.ndarray:
    """Repeat every pixel of panels [P, H, W, 3] `scale` times on both axes.

    Examples
    --------
    >>> enlarged(state.rgb(), 6).shape
    (3, 192, 192, 3)
    """
    return panels.repeat(scale, 1).repeat(scale, 2)
