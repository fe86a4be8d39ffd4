"""What of a picture a player sees: the most salient pixels of a cluster map, step by step, the rest grey."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from ..names import whole_number

__all__ = ["REVEAL_SHARES", "reveal", "reveal_mask", "revealed_pixels"]

REVEAL_SHARES = (0.02, 0.045, 0.08, 0.13, 0.20, 0.30)  # of the picture's pixels, step by step
SOFTNESS = 1 / 32  # standard deviation of the Gaussian, as a share of the shorter side
GREY = 0.5


def revealed_pixels(saliency: Tensor, size: tuple[int, int], step: int) -> Tensor:
    """Return which pixels of a picture are revealed at a step, bool [H, W].

    The map is resized bilinearly. The highest pixels come first, equal ones row by row. Those where the map is at its
    very lowest speak of nothing and are never revealed: a map that is zero nearly everywhere reveals fewer.

    Parameters
    ----------
    saliency : [h, w], a cluster map.
    size : (H, W) of the picture.
    step : 1 to 6, for 2, 4.5, 8, 13, 20 and 30 % of the pixels, at least one.

    Raises
    ------
    LisError : a map of another shape, with NaN or infinite values, or the same everywhere; a step that is none.

    Notes
    -----
    Source: Interpretable Network Visualizations, arXiv 2405.03301, the game.

    Examples
    --------
    >>> int(revealed_pixels(torch.rand(8, 8), (32, 32), 1).sum())
    20
    """
    step = whole_number(step, "the step", 1, len(REVEAL_SHARES))
    high = resized_map(saliency, size).flatten()  # [H W]
    count = max(1, round(REVEAL_SHARES[step - 1] * len(high)))
    first = high.argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(len(high), dtype=torch.bool)
    mask[first] = high[first] > high.min()
    return mask.view(size)


def reveal_mask(saliency: Tensor, size: tuple[int, int], step: int, softness: float = SOFTNESS) -> Tensor:
    """Return how much of each pixel is seen at a step, [H, W] from 0 (grey) to 1.

    Revealed pixels are seen fully; around them a Gaussian fades to grey. The paper says no more than that the mask is
    softened by one: its width, and that it only adds, is our reading.

    Parameters
    ----------
    saliency, size, step : as for `revealed_pixels`.
    softness : standard deviation of the Gaussian, as a share of the shorter side; 0 for hard edges.

    Raises
    ------
    LisError : as `revealed_pixels`.

    Examples
    --------
    >>> reveal_mask(torch.rand(8, 8), (32, 32), 3).shape
    torch.Size([32, 32])
    """
    from scipy.ndimage import gaussian_filter

    hard = revealed_pixels(saliency, size, step).double()
    soft = torch.from_numpy(gaussian_filter(hard.numpy(), softness * min(size), mode="nearest"))
    return torch.maximum(hard, soft).float()


def reveal(image: Tensor, saliency: Tensor, step: int) -> Tensor:
    """Return a picture [C, H, W] in the unit range of which only the most salient pixels are seen, the rest grey.

    Parameters
    ----------
    image : [C, H, W] in the unit range.
    saliency, step : as for `revealed_pixels`.

    Raises
    ------
    LisError : as `revealed_pixels`; an image of another shape or range.

    Examples
    --------
    >>> reveal(torch.rand(1, 32, 32), torch.rand(8, 8), 2).shape
    torch.Size([1, 32, 32])
    """
    check_images(image[None] if isinstance(image, Tensor) else image, name="the image")
    x = image.detach().cpu().float()
    mask = reveal_mask(saliency, (int(x.shape[1]), int(x.shape[2])), step)  # [H, W]
    return x * mask + GREY * (1 - mask)


def resized_map(saliency: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a cluster map [h, w] as large as the picture, [H, W] float64, checked."""
    if not isinstance(saliency, Tensor) or saliency.ndim != 2 or 0 in saliency.shape:
        has = f"shape {list(saliency.shape)}" if isinstance(saliency, Tensor) else type(saliency).__name__
        raise LisError(f"the cluster map has {has}; a tensor [h, w] was expected.")
    values = saliency.detach().cpu().double()
    if not bool(torch.isfinite(values).all()):
        raise LisError("the cluster map has NaN or infinite values; nothing can be revealed by it.")
    if values.min() == values.max():
        raise LisError("the cluster map is the same everywhere: no pixel is more salient than another.")
    return torch.nn.functional.interpolate(values[None, None], size, mode="bilinear")[0, 0]
