"""An overview of pictures with their parts coloured and outlined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import LisError
from ..names import cut, whole_number
from ..pixel_sheet import FAINT, PixelSheet
from .pictures import draw_outlines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["parts_sheet"]

TILE = 96  # pixels: a picture is enlarged by the whole number that comes closest from below
LINE = 15


def parts_sheet(
    x: Tensor,
    labels: Tensor,
    legend: Any,
    captions: Sequence[str] | None = None,
    columns: int = 10,
    fill: float = 0.35,
    title: str | None = None,
) -> Figure:
    """Draw pictures with their parts in the legend's colours, and below the names of the parts that occur.

    Parameters
    ----------
    x : [N, C, H, W], unit range.
    labels : [N, H, W], indices into the legend.
    legend : names and colours of the parts.
    captions : one below each picture.
    columns : pictures a row.
    fill : share of the part's colour inside its outline; 0 outlines only.
    title : written above.

    Returns
    -------
    Figure

    Raises
    ------
    LisError : no pictures, or labels, captions and legend that do not fit them.

    Examples
    --------
    >>> x, labels = render_parts(generator, segmenter, w)
    >>> parts_sheet(x, labels, segmenter.legend).savefig("parts.png")
    """
    if len(x) == 0:
        raise LisError("parts_sheet was given no pictures; give at least one.")
    if captions is not None and len(captions) != len(x):
        raise LisError(f"there are {len(captions)} captions for {len(x)} pictures; give one each.")
    columns = min(whole_number(columns, "columns", 1), len(x))
    scale = max(1, TILE // int(x.shape[-2]))
    drawn = (
        torch.from_numpy(draw_outlines(x, labels, legend, scale, 1, fill)).permute(0, 3, 1, 2).float() / 255
    )
    tall, wide = drawn.shape[-2:]
    gap, top = 6, 8 + (26 if title else 0)
    longest = max((len(cut(text)) for text in captions), default=0) if captions else 0
    cell_w = max(wide, round(5.4 * longest)) + gap
    cell_h = tall + gap + (LINE if captions else 0)
    rows = -(-len(x) // columns)
    present = [legend.names[k] for k in labels.unique().tolist() if k]
    width = max(gap + columns * cell_w, 340, 20 + 8 * len(title or ""))
    places = _key_places(present, width)
    key = (places[-1][1] + LINE + 10) if places else 0
    sheet = PixelSheet(width, top + rows * cell_h + key + 4)
    if title:
        sheet.write(gap, 22, title, 11, weight="bold")
    for number, picture in enumerate(drawn):
        row, column = divmod(number, columns)
        left, above = gap + column * cell_w, top + row * cell_h
        sheet.place(picture, left + (cell_w - gap - wide) // 2, above, 1)
        if captions is not None:
            text = cut(captions[number])
            sheet.write(left + (cell_w - gap) / 2, above + tall + 12, text, 7, ha="center", color=FAINT)
    for name, (right, down) in zip(present, places, strict=True):
        y = top + rows * cell_h + 4 + down
        colour = legend.rgb[legend.names.index(name)] / 255
        sheet.canvas[y : y + 12, gap + right : gap + right + 12] = colour
        sheet.write(gap + right + 17, y + 10, cut(name), 8)
    return sheet.figure()


def _key_places(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return where the key has each name: pixels from the left and from its top."""
    places, x, y = [], 0, 0
    for name in names:
        wide = 32 + 7 * len(cut(name))
        if x and x + wide > width - 12:
            x, y = 0, y + LINE + 3
        places.append((x, y))
        x += wide
    return places
