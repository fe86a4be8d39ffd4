"""Heat on pictures: a darkened picture, lit where a map is high, in colours that everybody can tell apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["heat_colours", "heat_on", "tile_of", "tile_size"]

DARK = 0.55  # of the picture's light that remains below the heat


def tile_size(shape: tuple[int, int], longest: int = 96) -> tuple[int, int]:
    """Return (height, width) of a picture [H, W] drawn in at most `longest` pixels a side, whole multiples if small.

    Examples
    --------
    >>> tile_size((32, 32)), tile_size((224, 112))
    ((96, 96), (96, 48))
    """
    height, width = shape
    scale = longest / max(height, width)
    scale = float(int(scale)) if scale >= 1 else scale
    return max(1, round(height * scale)), max(1, round(width * scale))


def tile_of(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a picture [1 or 3, H, W] to RGB [3, h, w]: pixels repeated when enlarged, averaged when reduced."""
    small = image.shape[1] <= size[0]
    mode = {"mode": "nearest"} if small else {"mode": "bilinear", "antialias": True}
    x = F.interpolate(image[None].float(), size, **mode)[0]  # type: ignore[arg-type]
    return x.clamp(0, 1).expand(3, -1, -1)


def heat_colours(values: Tensor) -> Tensor:
    """Colours [3, ...] of values 0 .. 1: cividis, which looks the same with most kinds of colour blindness."""
    from matplotlib import colormaps

    rgb = colormaps["cividis"](values.detach().cpu().clamp(0, 1).numpy())[..., :3]
    return torch.from_numpy(rgb).movedim(-1, 0).float()


def heat_on(image: Tensor, saliency: Tensor, size: tuple[int, int], limit: float | None = None) -> Tensor:
    """Lay a map over a picture: [1 or 3, H, W] and [H, W] -> [3, h, w].

    Parameters
    ----------
    limit : the value drawn in full yellow; default: the map's own maximum. A map of zeros leaves the dark picture.

    Examples
    --------
    >>> heat_on(explanation.image, saliency_of(explanation), (96, 96)).shape
    torch.Size([3, 96, 96])
    """
    base = tile_of(image, size) * DARK  # [3, h, w]
    values = F.interpolate(saliency[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    top = float(saliency.max()) if limit is None else limit
    share = (values / top).clamp(0, 1) if top > 0 else torch.zeros_like(values)  # [h, w]
    cover = 0.85 * share**0.8
    return base * (1 - cover) + heat_colours(share) * cover
