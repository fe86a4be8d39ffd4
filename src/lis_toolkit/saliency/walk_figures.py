"""A unit's walk as one picture: merged maps layer by layer at three values, and curves over the layers below them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import whole_number
from ..pixel_sheet import BAD, FAINT, GOOD, INK, PixelSheet
from ..plots import quiet
from .explanation import saliency_of
from .overlays import heat_on, tile_of, tile_size
from .walk import WalkExplanation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["walk_figure"]

SIDE, LEFT, GAP, CAPTION, PLOT, BETWEEN = 14, 190, 8, 20, 130, 26  # px
CURVES = (
    ("alignment", "change points to\nthe unit (cosine)", 0.0),
    ("change_sd", "change of the layer\n(sd of its channels)", None),
    ("lift", "saliency on changed\npixels over their area", 1.0),
)


def walk_figure(result: WalkExplanation, sample: int = 0) -> Figure:
    """Draw where the unit is seen at three values of its walk, and how the layers' changes compare with controls'.

    Columns are layers, in the order of execution. Above: one sample at the lowest, middle and highest value, with the
    merged maps of what speaks for the unit. Below, over all samples: the unit's walk in blue with 95 % intervals,
    controls in orange, each thin, their mean thick.

    Parameters
    ----------
    sample : which one is drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError : a sample that there is not.

    Examples
    --------
    >>> walk_figure(explain_walk(classifier, walk, controls)).savefig("walk.png")
    """
    if not isinstance(result, WalkExplanation):
        raise LisError(f"walk_figure draws a WalkExplanation, got {type(result).__name__}; see explain_walk.")
    sample = whole_number(sample, "sample", 0, len(result.explanations) - 1)
    three = result.explanations[sample]
    image = three[0].image
    tall, wide = tile_size((int(image.shape[1]), int(image.shape[2])))
    layers = [part.layer for part in three[0].layers]
    cell = max(wide, 88) + GAP
    width = max(LEFT + cell * len(layers) + SIDE, 700)
    said = textwrap.wrap(result.conclusion(), max(60, (width - 2 * SIDE) // 6))
    head = 66 + CAPTION
    body = head + 4 * (tall + GAP)
    height = body + 14 + len(CURVES) * (PLOT + BETWEEN) + 16 + 14 * len(said) + SIDE
    sheet = PixelSheet(width, height)
    sheet.write(SIDE, 24, f"Where in the network the meaning of unit {result.unit} arises", 12, weight="bold")
    told = f"Maps: what speaks for the unit in each layer. Sample {sample}, set to three values, and what is seen."
    sheet.write(SIDE, 44, told, 8, color=FAINT)
    for i, layer in enumerate(layers):
        name, _, size = layer.title.rpartition(" · ")
        middle = LEFT + i * cell + wide / 2
        sheet.write(middle, head - 22, name or layer.title, 8, ha="center", weight="bold")
        sheet.write(middle, head - 9, size if name else "", 7, ha="center", color=FAINT)
    for row, (explanation, value) in enumerate(zip(three, result.values, strict=True)):
        y = head + row * (tall + GAP)
        sheet.place(tile_of(explanation.image, (tall, wide)), LEFT - wide - 12, y, 1, frame="#c8c8c8")
        for line, text in enumerate(
            (("low", "middle", "high")[row], f"set {value:.3g}", f"seen {explanation.score:.2f}")
        ):
            sheet.write(
                LEFT - wide - 20, y + 30 + 15 * line, text, 7.5, ha="right", color=INK if line == 0 else FAINT
            )
        for i, part in enumerate(explanation.layers):
            heat = heat_on(explanation.image, saliency_of(explanation, i), (tall, wide))
            sheet.place(heat, LEFT + i * cell, y, 1)
            if part.empty:
                sheet.write(
                    LEFT + i * cell + wide / 2, y + tall / 2, "nothing", 7.5, ha="center", color="white"
                )
    _changed_row(sheet, result, sample, head + 3 * (tall + GAP), (tall, wide))
    for i, sentence in enumerate(said):
        sheet.write(SIDE, height - SIDE - 14 * (len(said) - 1 - i), sentence, 8)
    figure = sheet.figure()
    _curves(figure, result, [layer.title for layer in layers], (width, height), body + 14, cell, wide)
    return figure


def _changed_row(
    sheet: PixelSheet, result: WalkExplanation, sample: int, y: int, size: tuple[int, int]
) -> None:
    tall, wide = size
    mask = result.changed[sample].float()[None]
    base = tile_of(result.explanations[sample][2].image, size) * 0.55
    lit = tile_of(mask, size)
    sheet.place(base * (1 - 0.7 * lit) + 0.7 * lit, LEFT - wide - 12, y, 1)
    sheet.write(LEFT - wide - 20, y + 30, "changed", 7.5, ha="right")
    sheet.write(
        LEFT,
        y + 30,
        "Left: the fewest pixels that carry half of the change between low and high.",
        8,
        color=FAINT,
    )
    texts = [
        ("unit's walk, mean and 95 % interval over samples", GOOD),
        ("controls, and their mean (thick)", BAD),
    ]
    for i, (text, colour) in enumerate(texts[: 1 + bool(result.controls)]):
        sheet.write(LEFT, y + 58 + 17 * i, f"— {text}", 8, color=colour, weight="bold")


def _curves(
    figure: Figure,
    result: WalkExplanation,
    titles: list[str],
    size: tuple[int, int],
    top: int,
    cell: int,
    wide: int,
) -> None:
    width, height = size
    table = result.summary()
    places = np.arange(len(titles))
    for k, (measure, label, line) in enumerate(CURVES):
        y = top + k * (PLOT + BETWEEN)
        left = LEFT - (cell - wide) / 2
        box = (left / width, 1 - (y + PLOT) / height, cell * len(titles) / width, PLOT / height)
        axes = figure.add_axes(box)
        own = _course(table, measure, titles, True)[f"unit {result.unit}"]
        others = _course(table, measure, titles, False)
        for values in others.values():
            axes.plot(places, values["value"], color=BAD, linewidth=0.7, alpha=0.5)
        if others:
            mean = np.mean([v["value"] for v in others.values()], axis=0)
            axes.plot(places, mean, color=BAD, linewidth=2)
        axes.fill_between(places, own["low"], own["high"], color=GOOD, alpha=0.2, linewidth=0)
        axes.plot(places, own["value"], "o-", color=GOOD, linewidth=2, markersize=4)
        if line is not None:
            axes.axhline(line, color=FAINT, linewidth=0.8, linestyle=":")
        axes.set_xlim(-0.5, len(titles) - 0.5)
        last = k == len(CURVES) - 1
        axes.set_xticks(places, [t.rpartition(" · ")[0] or t for t in titles] if last else [""] * len(titles))
        axes.tick_params(labelsize=7.5)
        axes.set_ylabel(label, fontsize=8)
        quiet(axes)
    axes.set_xlabel("layer, in the order of execution", fontsize=8)


def _course(table: pd.DataFrame, measure: str, titles: list[str], own: bool) -> dict[str, Any]:
    """Walk -> value, low and high of a measure over the layers."""
    rows = table[(table["measure"] == measure) & (table["own"] == own)]
    return {
        str(walk): {
            name: part.set_index("title").loc[titles, name].to_numpy() for name in ("value", "low", "high")
        }
        for walk, part in rows.groupby("walk", sort=False)
    }
