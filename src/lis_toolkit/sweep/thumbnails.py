"""Pictures of rows as bytes of a table's column: exact PNG where they are small, JPEG where they are large."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["decode_pictures", "encode_pictures", "picture_format"]

SMALL = 64  # pixels; up to this side pictures are kept without loss, at about the size of a good JPEG
QUALITY = 92


def picture_format(size: int) -> str:
    """Return "png" for pictures of up to 64 pixels, "jpeg" for larger ones."""
    return "png" if size <= SMALL else "jpeg"


def encode_pictures(x: Tensor, kind: str) -> list[bytes]:
    r"""Return pictures [N, C, H, W] of the unit range as files in memory; values are rounded to bytes.

    Examples
    --------
    >>> encode_pictures(torch.rand(2, 1, 32, 32), "png")[0][:4]
    b'\x89PNG'
    """
    from PIL import Image

    pixels = (x.detach() * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    options = {"compress_level": 4} if kind == "png" else {"quality": QUALITY, "subsampling": 0}
    encoded = []
    for picture in pixels:
        sink = io.BytesIO()
        shown = picture[..., 0] if picture.shape[-1] == 1 else picture
        Image.fromarray(np.ascontiguousarray(shown)).save(sink, kind, **options)
        encoded.append(sink.getvalue())
    return encoded


def decode_pictures(files: Iterable[bytes], shape: Sequence[int]) -> Tensor:
    """Return pictures [N, C, H, W] of the unit range, float32, from `encode_pictures`; shape is (C, H, W).

    Raises
    ------
    CheckpointError
        For bytes that are not such a picture.
    """
    from PIL import Image

    channels, height, width = shape
    pictures = []
    for data in files:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                pixels = (
                    np.array(image.convert("L" if channels == 1 else "RGB"))
                    if image.size == (width, height)
                    else None
                )
        except (OSError, SyntaxError, ValueError) as error:
            raise CheckpointError(f"a picture of the sweep is damaged: {error}.") from error
        if pixels is None:
            raise CheckpointError(
                f"a picture of the sweep is not {width} x {height} pixels, as its manifest says."
            )
        pictures.append(torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1))
    return torch.stack(pictures).float() / 255 if pictures else torch.empty(0, *shape)
