"""A global explanation of one class, drawn: layer by layer the best labels, their scores, and example pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..names import cut
from ..pixel_sheet import FAINT, GOOD, PixelSheet
from ..sheets import MOST_OVERVIEW, picture_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .global_explanation import GlobalExplanation

__all__ = ["global_figure"]

LEFT, EDGE, GAP, BAR = 150, 12, 16, 5  # px
TILE = 64  # px of an example
NAME = 24  # letters of a label


def global_figure(explained: GlobalExplanation, which: str) -> Figure:
    """Draw what a class is seen by: a row a layer, a column a label, the best at the left.

    Below each label stand its score as a bar (0 to 1), in how many of the pictures it was found, and examples: pictures
    with what was labelled revealed, the rest grey.

    Parameters
    ----------
    explained : what `explain_globally` returned.
    which : a class.

    Raises
    ------
    LisError : a class that was not explained.

    Examples
    --------
    >>> global_figure(explain_globally(labels, game), "Coat").savefig("coat.png")
    """
    rows = explained.of(which)
    layers = [name for name in explained.layers if (rows["layer"] == name).any()]
    columns = int(rows["rank"].max()) if len(rows) else 1
    pictures = explained.pictures
    side, most = 0, 0
    if pictures is not None:
        block = -(-max(pictures.shape[-2:]) // MOST_OVERVIEW)
        pictures = torch.nn.functional.avg_pool2d(pictures.float(), block) if block > 1 else pictures
        scale = picture_scale(pictures, TILE)
        side = scale * max(pictures.shape[-2:])
        most = max((len(one) for one in rows["examples"]), default=0)
    across = min(most, 2)  # examples side by side
    wide = max(136, across * (side + 4))
    high = 46 + (-(-most // 2) if most else 0) * (side + 4) + GAP
    title = f"What {cut(which, 60)} is seen by, layer by layer"
    width = max(LEFT + columns * (wide + GAP) + EDGE, 470, 2 * EDGE + round(8.5 * len(title)))
    sheet = PixelSheet(width, 62 + max(1, len(layers)) * high + 8)
    sheet.write(EDGE, 22, title, 11, weight="bold")
    said = "Bar: score, 0 to 1, mean over the pictures. Examples: what was labelled, the rest grey."
    sheet.write(EDGE, 40, said, 7.5, color=FAINT)
    if not layers:
        sheet.write(EDGE, 76, "No cluster of this class has a label.", 9)
    for place, layer in enumerate(layers):
        y = 62 + place * high
        own = rows[rows["layer"] == layer]
        short, _, shape = explained.titles.get(layer, layer).partition(" · ")
        sheet.write(EDGE, y + 12, cut(short, 18), 9, weight="bold")
        named = ", ".join(text for text in (shape, layer) if text and text != short)  # code asks for the name
        if named:
            sheet.write(EDGE, y + 28, cut(named, 26), 7.5, color=FAINT)
        count = int(own["of"].iloc[0])
        sheet.write(
            EDGE, y + 43 if named else y + 28, f"{count} picture{'s' if count != 1 else ''}", 7.5, color=FAINT
        )
        for column, row in enumerate(own.to_dict("records")):
            x = LEFT + column * (wide + GAP)
            sheet.write(x, y + 12, cut(row["label"], NAME), 9)
            sheet.canvas[y + 19 : y + 19 + BAR, x : x + wide] = 0.9
            filled = round(wide * min(max(row["score"], 0.0), 1.0))
            sheet.canvas[y + 19 : y + 19 + BAR, x : x + filled] = _rgb(GOOD)
            told = f"{row['score']:.2f}, in {row['pictures']} of {row['of']}"
            sheet.write(x, y + 36, told, 7, color=FAINT)
            for i, number in enumerate(row["examples"]):
                assert pictures is not None
                left, top = x + (i % 2) * (side + 4), y + 44 + (i // 2) * (side + 4)
                sheet.place(pictures[number], left, top, scale, frame=None)
    return sheet.figure()


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
