"""One picture, from a file, PIL or an array, as float [C, H, W] in the unit range, or the reason why it can't be read.

What is done to pixels is said here, once: the first frame of several; EXIF orientation applied; transparent parts laid
on white; palettes and CMYK turned to RGB, colour profiles not applied; 16-bit grey divided by 65535; floating pixels
need a named range.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..images import RANGES, TOLERANCE, convert_range
from ..names import spelling_hint

__all__ = ["FORMATS", "UnreadableImage", "check_range", "read_picture", "to_channels", "unit_image"]

# Only these decoders are ever tried, whatever a file is called: PIL's others include one that starts Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
GREY_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA"}
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, which PIL's mode "L" uses too
ORIENTATION = 0x0112  # the EXIF tag


class UnreadableImage(LisError):
    """One image that can't be read; `reason` says why, without the image's name."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = reason


def check_range(value_range: str | None) -> None:
    """Raise a LisError unless the value range is None or one of `RANGES`."""
    if value_range is not None and value_range not in RANGES:
        raise LisError(
            f"no value range {value_range!r}; there are {', '.join(map(repr, RANGES))}, and None: bytes for uint8, the "
            f"unit range for floating values.{spelling_hint(str(value_range), RANGES)}"
        )


def read_picture(item: Any, value_range: str | None = None) -> tuple[Tensor, str]:
    """Read one image.

    Parameters
    ----------
    item
        Path of a file, PIL image, tensor [C, H, W], or array [H, W] or [H, W, C], with C = 1 or 3.
    value_range
        Of arrays, tensors, and files with floating or 32-bit pixels: "unit", "byte", "signed". None: bytes for uint8,
        the unit range for floating values. It says nothing about files with a range of their own.

    Returns
    -------
    x : Tensor
        float32 [C, H, W] in the unit range; C is 1 for grey, 3 for RGB.
    note : str
        What was done that one might want to know ("first of several frames"), or "".

    Raises
    ------
    UnreadableImage
        With the reason: missing, empty, no image, truncated, too many pixels, a colour mode that is not known.
    LisError
        When PIL has been told to fill up truncated files with grey, which nobody would notice here.

    Examples
    --------
    >>> x, note = read_picture("photo.jpg")
    >>> x.shape
    torch.Size([3, 480, 640])
    """
    if isinstance(item, Tensor | np.ndarray):
        return unit_image(item, value_range), ""
    from PIL import Image, ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise LisError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so that truncated files would silently be grey in part; "
            "set it to False."
        )
    try:  # no tensors in here: what torch may complain of is not this image's fault
        decoded = _decode(item) if isinstance(item, Image.Image) else _decode_file(item)
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError:
        raise UnreadableImage("there is no such file") from None
    except Image.UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UnreadableImage(f"not an image in a known format ({known}), or damaged at its start") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):  # not this image's fault either
            raise
        raise UnreadableImage(error.strerror or str(error)) from error
    except (
        Exception
    ) as error:  # decoders raise what a damaged file leads them to: struct.error, SyntaxError ...
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error
    return _finish(decoded, value_range)


class _Decoded(NamedTuple):
    """What PIL makes of an image: pixels [H, W] or [H, W, C] as PIL's `mode` has them."""

    pixels: np.ndarray
    mode: str
    clear: int | None  # the value of a 16-bit grey that stands for transparent
    orientation: int
    notes: list[str]


def _decode_file(path: str | os.PathLike[str]) -> _Decoded:
    from PIL import Image

    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise UnreadableImage("not a regular file")
    if status.st_size == 0:
        raise UnreadableImage("the file is empty")
    with Image.open(path, formats=FORMATS) as image:
        # PIL itself only warns up to twice the limit.
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise UnreadableImage(
                f"{image.width} x {image.height} pixels, more than PIL's limit of {Image.MAX_IMAGE_PIXELS} "
                "(PIL.Image.MAX_IMAGE_PIXELS)"
            )
        return _decode(image)


def _decode(image: Any) -> _Decoded:
    image.load()
    mode, notes, orientation, clear = image.mode, [], 1, None
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        pixels, mode, clear = np.array(image), "I;16", image.info.get("transparency")
    elif mode in ("F", "I"):
        pixels = np.array(image)
    elif mode in GREY_MODES or mode in COLOUR_MODES:
        plain, alpha = (GREY_MODES[mode], "LA") if mode in GREY_MODES else ("RGB", "RGBA")
        mode = alpha if image.has_transparency_data else plain
        pixels = np.array(image.convert(mode))
    else:
        raise UnreadableImage(f"PIL mode {mode!r} is not supported; convert it to RGB")
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data are no reason to lose the picture, but one to say so
        notes.append("EXIF data damaged, orientation not known")
    if getattr(image, "is_animated", False):
        notes.append("first of several frames")
    return _Decoded(pixels, mode, clear, orientation, notes)


def _finish(decoded: _Decoded, value_range: str | None) -> tuple[Tensor, str]:
    """Return float32 [C, H, W] in the unit range, turned, on white, and the note."""
    pixels, mode, clear, orientation, notes = decoded
    transparent = False
    if mode == "I;16":
        grey = torch.from_numpy(pixels.astype(np.float32))[None]  # [1, H, W]
        hidden = grey == (clear if isinstance(clear, int) else -1)
        x, transparent = grey.div(65535).masked_fill(hidden, 1), bool(hidden.any())
    elif mode in ("LA", "RGBA"):
        layers = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
        colour, alpha = layers[:-1], layers[-1:]
        x, transparent = colour * alpha + (1 - alpha), bool((alpha < 1).any())
    elif mode in ("F", "I") and value_range is None:
        raise UnreadableImage(f"its pixels (PIL mode {mode!r}) have no range of their own; pass range=")
    else:
        x = unit_image(pixels, value_range if mode in ("F", "I") else "byte")
    if transparent:
        notes.append("transparent parts laid on white")
    if orientation in range(2, 9):
        x = _turn(x, orientation)
        notes.append("turned as EXIF says")
    return x.contiguous(), "; ".join(notes)


def _turn(x: Tensor, orientation: int) -> Tensor:
    """Undo an EXIF orientation, 2 to 8: from 5 on, rows and columns are exchanged."""
    if orientation >= 5:
        x = x.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 5: (), 6: (2,), 7: (1, 2), 8: (1,)}[orientation]
    return x.flip(flips)


def unit_image(values: Tensor | np.ndarray, value_range: str | None = None) -> Tensor:
    """Return one image, tensor [C, H, W] or array [H, W] or [H, W, C], as float32 [C, H, W] in the unit range.

    Raises
    ------
    UnreadableImage
        For other shapes, dtypes that need a named range, NaN or infinite values, and values outside the range.
    """
    kind = "tensor [C, H, W]" if isinstance(values, Tensor) else "array [H, W] or [H, W, C]"
    given = f"{list(values.shape)} {str(values.dtype).removeprefix('torch.')}"
    if isinstance(values, Tensor):
        byte = values.dtype == torch.uint8
        whole = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
        real, x = not values.is_complex(), values.detach().cpu()
    else:
        byte, whole, real = values.dtype == np.uint8, values.dtype.kind in "ui", values.dtype.kind in "buif"
        if real:
            x = torch.from_numpy(
                np.array(values, np.uint8 if byte else np.float32)
            )  # a copy: it may be read-only
            x = x[None] if x.ndim == 2 else x.permute(2, 0, 1) if x.ndim == 3 else x
    if not real or x.ndim != 3 or x.shape[0] not in (1, 3) or 0 in x.shape:
        raise UnreadableImage(f"{given}; a {kind} of real numbers with C = 1 or 3 was expected")
    if value_range is None and whole and not byte:
        raise UnreadableImage(f"{given}; bytes or floating values were expected, else name the range=")
    source = value_range or ("byte" if byte else "unit")
    x = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)  # never the caller's own
    if byte and source == "byte":
        return x.mul_(1 / 255)  # as convert_range does, in place: photographs are large
    x = convert_range(x, source, "unit")
    low, high = (float(v) for v in torch.aminmax(x))  # NaN spreads into both
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableImage("it has NaN or infinite values")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        (zero, one) = RANGES[source]
        raise UnreadableImage(
            f"its values run from {zero + low * (one - zero):.4g} to {zero + high * (one - zero):.4g}, the {source} "
            f"range from {zero:g} to {one:g}; name another range="
        )
    return x


def to_channels(x: Tensor, channels: int) -> Tensor:
    """Turn one image [1 or 3, H, W] to grey (luminance 0.299 R + 0.587 G + 0.114 B) or RGB (repeated grey)."""
    if x.shape[0] == channels:
        return x
    if channels == 1:
        return torch.tensordot(x.new_tensor(LUMINANCE), x, dims=1)[None]
    return x.expand(channels, -1, -1)
