"""One label picture as a PNG file: palette, colours or grey indices, as paint programs write them."""

from __future__ import annotations

import os
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from .legend import Legend, colour_distances, seen_colours

if TYPE_CHECKING:
    from PIL.Image import Image

_DEPTH = 24  # where a PNG file says how many bits a channel has


def read_mask(
    path: str | os.PathLike[str], legend: Legend, size: tuple[int, int], indices: bool = False
) -> Tensor:
    """Read the labels of one picture.

    Parameters
    ----------
    path
        A PNG file. Palette, RGB and RGBA: exactly the legend's colours, wholly transparent pixels are background.
        Grey: the values are the labels.
    size
        (height, width) in pixels, which the file must have.
    indices
        True: the numbers in a palette file are the labels, whatever colours its palette has.

    Returns
    -------
    Tensor
        uint8 [H, W].

    Raises
    ------
    LisError
        For a file that is missing, damaged, no PNG, of another size or mode, or has a colour or grey that the legend
        doesn't have (with the number of its pixels and the nearest colour).

    Examples
    --------
    >>> read_mask("03_0307.png", legend, (32, 32)).unique()
    tensor([0, 1, 2, 5], dtype=torch.uint8)
    """
    from PIL import Image, ImageFile

    if not os.path.isfile(path):
        raise LisError(
            f"there is no mask {path}{' (it is a folder)' if os.path.isdir(path) else ''}; draw it, or take it "
            "out of the list of pictures."
        )
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise LisError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so that truncated masks would silently be background; set "
            "it to False."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the size is checked before decoding
            image = Image.open(path, formats=("PNG",))
        with image:
            if (image.height, image.width) != tuple(size):
                raise LisError(
                    f"mask {path} is {image.width} x {image.height} pixels; {size[1]} x {size[0]} were expected. Draw "
                    "it on the picture itself, pixel by pixel."
                )
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise LisError(f"mask {path} is an animation of {frames} pictures; save one as PNG.")
            image.verify()  # every checksum, which decoding does not look at
        with open(path, "rb") as file:
            if file.read(_DEPTH + 1)[_DEPTH] == 16:  # Pillow drops the lower byte
                raise LisError(f"mask {path} has 16 bits a channel; save it with 8 bits.")
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return _labels(image, path, legend, indices)
    except LisError:
        raise
    except Image.UnidentifiedImageError:
        raise LisError(f"mask {path} is not a PNG file, or damaged at its start; save it as PNG.") from None
    except (
        Exception
    ) as error:  # decoders raise what a damaged file leads them to: struct.error, SyntaxError ...
        raise LisError(f"mask {path} can't be read: {error}. Save it again as PNG.") from error


def write_mask(path: str | os.PathLike[str], labels: Tensor, legend: Legend) -> None:
    """Write labels [H, W] as a palette PNG in the legend's colours; its numbers are the labels too."""
    from PIL import Image

    pixels = labels.to(torch.uint8).cpu().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.putpalette(legend.rgb.tobytes())  # grey becomes palette
    image.save(Path(path), format="PNG", optimize=True)


def check_labels(labels: Tensor | np.ndarray, legend: Legend, size: tuple[int, int], owner: str) -> Tensor:
    """Return labels as uint8 [H, W] on the CPU; `owner` names them in messages.

    Raises
    ------
    LisError
        For anything but whole numbers [H, W] of the legend, H and W being `size`.

    Examples
    --------
    >>> check_labels(np.zeros((32, 32), int), legend, (32, 32), "coat.png").dtype
    torch.uint8
    """
    given = torch.from_numpy(np.array(labels)) if isinstance(labels, np.ndarray) else labels
    whole = isinstance(given, Tensor) and not given.is_floating_point() and not given.is_complex()
    if not whole or tuple(given.shape) != tuple(size):
        has = f"{given.dtype} {list(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise LisError(f"the labels of {owner} are {has}; whole numbers {list(size)} were expected.")
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= len(legend.names):
        raise LisError(
            f"the labels of {owner} go from {low} to {high}; the legend has 0 to {len(legend.names) - 1}."
        )
    return given.to(torch.uint8).cpu()


def content_key(labels: Tensor | np.ndarray) -> str:
    """Return eight letters that differ for different labels: the CRC-32 of their bytes, as browsers compute it too.

    Examples
    --------
    >>> content_key(torch.zeros(2, 2, dtype=torch.uint8))
    '2144df1c'
    """
    return f"{zlib.crc32(np.ascontiguousarray(labels, dtype=np.uint8).tobytes()):08x}"


def _labels(image: Image, path: str | os.PathLike[str], legend: Legend, indices: bool) -> Tensor:
    transparent = "transparency" in image.info
    if image.mode == "LA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("L")
    if image.mode in ("1", "L") and not transparent or (image.mode == "P" and indices):
        grey = np.array(image).astype(np.uint8)  # [H, W]
        if (highest := int(grey.max())) >= len(legend.names):
            raise LisError(
                f"mask {path} has the grey value {highest} in {int((grey == highest).sum())} pixels; in a grey mask "
                f"the values are labels, 0 to {len(legend.names) - 1}. Save the legend's colours as RGB or palette."
            )
        return torch.from_numpy(grey)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise LisError(
            f"mask {path} has the mode {image.mode!r}; palette, RGB, RGBA or 8-bit grey was expected."
        )
    if image.mode == "P":
        numbers = np.array(image)
        colours_of = len(image.getpalette() or ()) // 3
        if (highest := int(numbers.max())) >= colours_of:  # Pillow would make it black, which is background
            raise LisError(
                f"mask {path} has the number {highest} in {int((numbers == highest).sum())} pixels, and a palette of "
                f"{colours_of} colours: it is damaged. Save it again as PNG."
            )
    pixels = np.array(image.convert("RGBA"))  # [H, W, 4]
    alpha = pixels[:, :, 3]
    if ((alpha > 0) & (alpha < 255)).any():
        raise LisError(
            f"mask {path} has {int(((alpha > 0) & (alpha < 255)).sum())} half-transparent pixels; draw without "
            "antialiasing, in full opacity."
        )
    colours = np.where(alpha[:, :, None] == 255, pixels[:, :, :3], legend.rgb[0])  # [H, W, 3]
    wanted, found = (rgb.astype(np.int32) @ (1 << 16, 1 << 8, 1) for rgb in (legend.rgb, colours))
    order = wanted.argsort()  # [1 + P]
    labels = order[np.searchsorted(wanted, found, sorter=order).clip(max=len(wanted) - 1)]  # [H, W]
    known = wanted[labels] == found
    if not known.all():
        raise LisError(_unknown_colour(colours[~known], path, legend))
    return torch.from_numpy(labels.astype(np.uint8))


def _unknown_colour(wrong: np.ndarray, path: str | os.PathLike[str], legend: Legend) -> str:
    """Say which colours [n, 3] the legend doesn't have: the most frequent one, and what is nearest to it."""
    found, counts = np.unique(wrong, axis=0, return_counts=True)
    most = int(counts.argmax())
    colour = "#{:02X}{:02X}{:02X}".format(*found[most].tolist())
    distances = colour_distances(seen_colours([colour, *legend.colours])[:1], 0)[1:]
    nearest = int(distances.argmin())
    more = f" and {len(found) - 1} more colours ({int(counts.sum() - counts[most])} pixels)"
    return (
        f"mask {path} has the colour {colour} in {int(counts[most])} pixels{more if len(found) > 1 else ''}, which the "
        f"legend doesn't have; the nearest is {legend.colours[nearest]}, {legend.names[nearest]!r}. Draw without "
        "antialiasing, and save without a colour profile."
    )
