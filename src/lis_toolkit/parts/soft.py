"""Soft measures of parts: shares of probability instead of labels, so that they have derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError
from .whole import luminance

# Of a picture's pixels: below it the mean luminance of a part tends to 0, rather than to noise.
LEAST_SHARE = 1e-9


def soft_measures(x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Measure area and luminance of parts whose pixels are shared out by the softmax of a segmenter's logits.

    Differentiable, and made of plain operations: `torch.func.jvp`, `jacfwd` and `vmap` work. With confident logits it
    tends to what `measure_parts` gives for their argmax.

    Parameters
    ----------
    x : pictures [N, C, H, W] in the unit range, C = 1 or 3.
    logits : [N, 1 + P, H, W], the background first.

    Returns
    -------
    area [N, P] as share of the picture, and luminance [N, P], 0 to 1: the mean weighted by the part's probability.

    Raises
    ------
    LisError : logits that do not have the pictures' shape, or no part; pictures of another number of channels.

    Examples
    --------
    >>> area, light = soft_measures(*render_part_logits(generator, segmenter, w))
    """
    if (
        x.ndim != 4
        or logits.ndim != 4
        or logits.shape[0] != x.shape[0]
        or logits.shape[1] < 2
        or logits.shape[2:] != x.shape[2:]
    ):
        raise LisError(
            f"x has shape {list(x.shape)} and logits {list(logits.shape)}; [N, C, H, W] and [N, 1 + P, H, W] of the "
            "same pictures were expected, with at least one part."
        )
    shares = logits.softmax(dim=1)[:, 1:]  # [N, P, H, W]
    area = shares.mean(dim=(2, 3))  # [N, P]
    light = (shares * luminance(x)[:, None]).mean(dim=(2, 3))  # [N, P]
    return area, light / area.clamp_min(LEAST_SHARE)


def soft_area(logits: Tensor) -> Tensor:
    """Give the area [N, P] of parts as shares of the picture, from logits [N, 1 + P, H, W]; differentiable.

    Raises
    ------
    LisError : logits of another rank, or without a part.

    Examples
    --------
    >>> soft_area(torch.zeros(1, 4, 8, 8))
    tensor([[0.2500, 0.2500, 0.2500]])
    """
    if logits.ndim != 4 or logits.shape[1] < 2:
        raise LisError(f"logits have shape {list(logits.shape)}; [N, 1 + P, H, W] was expected.")
    return torch.softmax(logits, dim=1)[:, 1:].mean(dim=(2, 3))
