"""States as files: a sheet with captions as PNG, a walk along a unit as GIF."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import LisError
from ..files import atomic_path
from ..names import whole_number
from .pictures import whole_scale
from .setting import UnitSetting
from .state import UnitState

if TYPE_CHECKING:
    from PIL.Image import Image

    from .session import UnitSession

__all__ = ["save_gif", "save_state_png", "state_image", "walk_frames"]

GAP, LINE, TEXT = 12, 17, 13  # px around pictures, of a line of text, of its letters
LEAST = 160  # px: width of a caption under a small picture
INK = (26, 26, 26)


def walk_frames(
    session: UnitSession,
    setting: UnitSetting,
    unit: int | str | None = None,
    count: int = 16,
    outlines: bool = False,
) -> list[UnitState]:
    """Return states along one unit, from the smallest to the largest activation observed, the rest as it is set.

    Parameters
    ----------
    unit : default: the one under the hand.
    count : of the states.

    Raises
    ------
    LisError : a unit that never varied, or none at all; a count that is no whole number from 2 to 200.

    Examples
    --------
    >>> save_gif("unit 17.gif", walk_frames(session, setting, unit=17))
    """
    count = whole_number(count, "count", 2, 200)
    unit = setting.unit if unit is None else unit
    if unit is None:
        raise LisError("there is no unit to walk along: give one.")
    index = session.link.varying_unit(unit)
    start = session.start_of(setting)
    values = torch.linspace(*session.observed(index), count, dtype=torch.float64).tolist()
    return [
        session.tune(start, {**setting.values, index: value}, index, setting.companions, outlines)
        for value in values
    ]


def state_image(state: UnitState, outlines: bool = False, scale: int | None = None) -> Image:
    """Return a state's pictures side by side, small ones enlarged crisply, with captions below.

    Parameters
    ----------
    outlines : of the parts, on start and tuned picture.
    scale : whole number by which the pictures are enlarged; default: to about 192 px.

    Raises
    ------
    LisError : outlines of a state that was made without them, a scale that is no whole number.

    Examples
    --------
    >>> state_image(state).size
    (624, 250)
    """
    return _sheet([state], outlines, scale)[0]


def _sheet(states: Sequence[UnitState], outlines: bool, scale: int | None) -> list[Image]:
    """Return the sheets of states, all of one size."""
    from PIL import Image, ImageDraw

    font = _font()
    scale = whole_scale(*states[0].start.shape[-2:]) if scale is None else scale
    first = states[0].rgb(outlines, scale)
    high, wide = first.shape[1:3]
    cell = max(wide, LEAST)
    told = [[_lines(text, font, cell) for text in state.captions(outlines)] for state in states]
    rows = max(len(lines) for captions in told for lines in captions)
    size = (len(first) * (cell + GAP) + GAP, GAP + high + GAP // 2 + rows * LINE + GAP // 2)
    sheets = []
    for i, (state, captions) in enumerate(zip(states, told, strict=True)):
        panels = first if i == 0 else state.rgb(outlines, scale)
        if panels.shape != first.shape:
            raise LisError(
                f"the pictures are {list(first.shape[1:3])} and {list(panels.shape[1:3])}; one size was expected."
            )
        sheet = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(sheet)
        for k, (panel, lines) in enumerate(zip(panels, captions, strict=True)):
            left = GAP + k * (cell + GAP)
            x = left + (cell - wide) // 2
            sheet.paste(Image.fromarray(np.ascontiguousarray(panel)), (x, GAP))
            draw.rectangle((x - 1, GAP - 1, x + wide, GAP + high), outline=(190, 190, 190))
            for n, line in enumerate(lines):
                draw.text((left, GAP + high + GAP // 2 + n * LINE), line, fill=INK, font=font)
        sheets.append(sheet)
    return sheets


def _font() -> Any:
    """Return matplotlib's own DejaVu Sans: the same on every machine, and it has most letters."""
    from pathlib import Path

    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), TEXT)


def _lines(text: str, font: Any, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, between words where there are some."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        while font.getlength(word) > width:
            cut = next(n for n in range(len(word), 0, -1) if n == 1 or font.getlength(word[:n]) <= width)
            lines[-1:] = [word[:cut], ""]
            word = word[cut:]
        lines[-1] = word
    return lines


def save_state_png(
    path: str | os.PathLike[str], state: UnitState, outlines: bool = False, scale: int | None = None
) -> None:
    """Write a state as `state_image` draws it, as PNG, atomically.

    Raises
    ------
    LisError : as `state_image`, or a file that can't be written.

    Examples
    --------
    >>> save_state_png("unit 17.png", state)
    """
    buffer = io.BytesIO()
    state_image(state, outlines, scale).save(buffer, format="PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def save_gif(
    path: str | os.PathLike[str],
    states: Sequence[UnitState],
    outlines: bool = False,
    scale: int | None = None,
    milliseconds: int = 100,
) -> None:
    """Write states as a GIF that runs there and back, over and over, atomically.

    Parameters
    ----------
    milliseconds : of a frame; a GIF counts in tens.

    Raises
    ------
    LisError : no states, or of several sizes; a time that is no whole number from 20; a file that can't be written.

    Examples
    --------
    >>> save_gif("unit 17.gif", walk_frames(session, setting, unit=17, count=16))
    """
    milliseconds = whole_number(milliseconds, "milliseconds", 20, 60_000)
    if len(states) == 0:
        raise LisError("there are no states to write; make some with walk_frames.")
    sheets = _sheet(states, outlines, scale)
    frames = [*sheets, *sheets[-2:0:-1]]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        disposal=1,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
