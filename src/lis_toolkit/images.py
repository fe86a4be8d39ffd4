"""Images: named value ranges, checks at the door, PIL and PNG, montages.

Between functions an image is always in the "unit" range: float [N, C, H, W] from 0 to 1.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import LisError
from .files import atomic_path
from .names import spelling_hint

if TYPE_CHECKING:
    from PIL.Image import Image

RANGES = {"byte": (0.0, 255.0), "unit": (0.0, 1.0), "signed": (-1.0, 1.0)}
TOLERANCE = 1e-3  # of the unit range: resampling and rounding may leave it by so much


def convert_range(x: Tensor, source: str, target: str) -> Tensor:
    """Convert values from one named range to another: "byte" 0..255, "unit" 0..1, "signed" -1..1.

    "byte" results are uint8, rounded and clamped; the others are floating (float32 for integer input) and unclamped.

    Raises
    ------
    LisError
        For a range that is not in `RANGES`.

    Examples
    --------
    >>> convert_range(torch.tensor([0, 255], dtype=torch.uint8), "byte", "signed")
    tensor([-1.,  1.])
    """
    for name in (source, target):
        if name not in RANGES:
            raise LisError(
                f"no value range {name!r}; there are {', '.join(map(repr, RANGES))}.{spelling_hint(str(name), RANGES)}"
            )
    (low, high), (new_low, new_high) = RANGES[source], RANGES[target]
    if not x.is_floating_point():
        x = x.float()
    if source != target:
        x = (x - low) * ((new_high - new_low) / (high - low)) + new_low
    return x.round().clamp(0, 255).to(torch.uint8) if target == "byte" else x


def check_images(
    x: Tensor,
    *,
    channels: int | None = None,
    size: Sequence[int] | None = None,
    name: str = "images",
) -> Tensor:
    """Check images [N, C, H, W] in the unit range and return them as they are.

    Raises
    ------
    LisError
        For anything but a floating, finite tensor of rank 4 with N, C, H, W >= 1, values in [0, 1] (tolerance 1e-3),
        and, where given, `channels` and `size` (height, width).

    Examples
    --------
    >>> check_images(torch.rand(8, 1, 32, 32), channels=1, size=(32, 32)).shape
    torch.Size([8, 1, 32, 32])
    """
    if not isinstance(x, Tensor):
        raise LisError(f"{name} are a {type(x).__name__}; a torch.Tensor [N, C, H, W] was expected.")
    shape = list(x.shape)
    if x.ndim != 4:
        fix = "; add the batch dimension with x[None]" if x.ndim == 3 else ""
        raise LisError(f"{name} have shape {shape}; [N, C, H, W] was expected{fix}.")
    if 0 in shape:
        raise LisError(f"{name} have shape {shape}: they are empty; at least one image was expected.")
    if not x.is_floating_point():
        raise LisError(
            f"{name} have dtype {x.dtype}; floating values in [0, 1] were expected. "
            'Use convert_range(x, "byte", "unit") for bytes.'
        )
    if channels is not None and x.shape[1] != channels:
        raise LisError(f"{name} have {x.shape[1]} channels (shape {shape}); {channels} were expected.")
    if size is not None and tuple(x.shape[2:]) != tuple(size):
        raise LisError(
            f"{name} are {x.shape[2]} x {x.shape[3]} pixels; {size[0]} x {size[1]} were expected. Resize or pad them."
        )
    low, high = (float(v) for v in torch.aminmax(x.detach()))  # NaN spreads into both
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        raise LisError(
            f"{name} have NaN or infinite values in {bad} of {x.shape[0]} images; finite ones were expected."
        )
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        guess = "signed" if low >= -1 - TOLERANCE and high <= 1 + TOLERANCE else "byte"
        raise LisError(
            f"{name} have values from {low:.4g} to {high:.4g}; 0 to 1 was expected. "
            f'If they are in the {guess} range, use convert_range(x, "{guess}", "unit").'
        )
    return x


def to_pil(x: Tensor) -> Image:
    """Return one image [C, H, W], C = 1 or 3, in the unit range as a PIL image ("L" or "RGB"); values are clamped.

    Raises
    ------
    LisError
        For another shape, or values that are not finite floating-point numbers.

    Examples
    --------
    >>> to_pil(torch.rand(3, 32, 48)).size
    (48, 32)
    """
    from PIL import Image

    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[0] not in (1, 3) or 0 in x.shape:
        has = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise LisError(f"the image has {has}; [1 or 3, H, W] was expected.")
    if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise LisError(f"the image ({x.dtype}) must have finite floating values in [0, 1].")
    pixels = convert_range(x.detach().float().cpu(), "unit", "byte").permute(1, 2, 0).numpy()  # [H, W, C]
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if x.shape[0] == 1 else pixels))


def from_pil(image: Image, channels: int) -> Tensor:
    """Return a PIL image as float32 [channels, H, W] in the unit range, converted to grey (1) or RGB (3).

    Raises
    ------
    LisError
        For another number of channels.

    Examples
    --------
    >>> from_pil(to_pil(torch.rand(1, 32, 48)), channels=3).shape
    torch.Size([3, 32, 48])
    """
    if channels not in (1, 3):
        raise LisError(f"channels is {channels!r}; 1 (grey) or 3 (RGB) was expected.")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))  # a copy: PIL's own memory is read-only
    return convert_range(
        torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1), "byte", "unit"
    )


def montage(x: Tensor, columns: int, pad: int = 1, background: float = 1.0) -> Tensor:
    """Lay images [N, C, H, W] out in rows of `columns`, `pad` pixels between and around them.

    Returns
    -------
    Tensor
        [C, rows (H + pad) + pad, columns (W + pad) + pad]; empty places have the value `background`.

    Raises
    ------
    LisError
        For images of another shape, fewer than 1 column, or a negative `pad`.

    Examples
    --------
    >>> montage(torch.rand(10, 1, 32, 32), columns=5).shape
    torch.Size([1, 67, 166])
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
        has = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise LisError(f"the images have {has}; [N, C, H, W] with N >= 1 was expected.")
    if columns < 1 or pad < 0:
        raise LisError(f"columns is {columns} and pad {pad}; at least 1 and 0 were expected.")
    n, channels, height, width = x.shape
    rows = -(-n // columns)
    sheet = x.new_full((channels, rows * (height + pad) + pad, columns * (width + pad) + pad), background)
    for i in range(n):
        top, left = (i // columns) * (height + pad) + pad, (i % columns) * (width + pad) + pad
        sheet[:, top : top + height, left : left + width] = x[i]
    return sheet


def png_bytes(x: Tensor, scale: int = 1) -> bytes:
    """Return one image [C, H, W] in the unit range as PNG, every pixel repeated `scale` times on both axes."""
    if scale < 1 or scale != int(scale):
        raise LisError(f"scale is {scale!r}; a whole number from 1 was expected.")
    image = to_pil(x)
    if scale > 1:
        image = image.resize((image.width * int(scale), image.height * int(scale)), resample=0)  # 0: nearest
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(x: Tensor, path: str | os.PathLike[str], scale: int = 1) -> None:
    """Write one image [C, H, W] in the unit range as a PNG file, atomically.

    Parameters
    ----------
    scale
        A whole number by which it is enlarged, without smoothing.

    Raises
    ------
    LisError
        For another shape or values that are not finite, or a file that can't be written.

    Examples
    --------
    >>> save_png(generator.render(w)[0], "picture.png", scale=4)
    """
    data = png_bytes(x, scale)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
