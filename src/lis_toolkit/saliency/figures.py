"""A local explanation as one picture: every layer a row, every cluster of maps a tile."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import torch

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import FAINT, GOOD, INK, PixelSheet
from .explanation import Explanation, LayerExplanation, saliency_of, upsampled
from .overlays import heat_colours, heat_on, tile_of, tile_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["explanation_figure"]

SIDE, GAP, HEAD, CAPTION = 14, 8, 30, 30  # px: edges, between tiles, above and below a row's tiles
BAR, THICK = 250, 9  # px: the bar of a layer's weight
LIGHT, GREY = "#a9cbe0", "#dcdcdc"
LINE = 15


def explanation_figure(explanation: Explanation) -> Figure:
    """Draw the whole extraction of an explanation, layer by layer.

    A row a layer, in the order of execution: the merged map on the image, then every shown cluster with its share of
    the layer's weight and its number of maps. Above each row stands how many maps were kept and how many clusters are
    shown, and a bar says of what the layer's weight is made: shown clusters, clusters that were too light, maps that
    were dropped one by one. Heat runs from 0 to the map's own maximum; shares say which map is heavier.

    Parameters
    ----------
    explanation : one of `explain_images`.

    Returns
    -------
    matplotlib.figure.Figure, about 950 pixels wide.

    Raises
    ------
    LisError : anything but an Explanation.

    Examples
    --------
    >>> explanation_figure(explain_images(classifier, x[:1])[0]).savefig("explanation.png")
    """
    if not isinstance(explanation, Explanation):
        raise LisError(
            f"explanation_figure draws one Explanation, got {type(explanation).__name__}; explain_images gives a list "
            "of them: take one."
        )
    tall, wide = tile_size((int(explanation.image.shape[1]), int(explanation.image.shape[2])))
    most = max(2, *(1 + len(part.clusters) for part in explanation.layers))
    width = max(2 * SIDE + most * (wide + GAP), 940)
    texts = _texts(explanation, (width - 2 * SIDE - wide - 20) // 6)
    top = SIDE + max(tall + 8, LINE * len(texts) + 40) + 12
    high = HEAD + tall + CAPTION
    sheet = PixelSheet(width, top + high * len(explanation.layers) + SIDE)
    _head(sheet, explanation, texts, (tall, wide))
    for i, part in enumerate(explanation.layers):
        _row(sheet, explanation, part, top + i * high, (tall, wide), width)
    return sheet.figure()


def _texts(explanation: Explanation, letters: int) -> list[tuple[str, dict[str, Any]]]:
    """Lines beside the picture, and their style."""
    lines: list[tuple[str, dict[str, Any]]] = [
        (f"What speaks for {explanation.title}", {"fontsize": 12, "weight": "bold"})
    ]
    if explanation.logits is not None:
        best = explanation.logits.argsort(descending=True, stable=True)[:4].tolist()
        said = ", ".join(
            f"{cut(explanation.classes[k], 18)} {float(explanation.logits[k]):.1f}" for k in best
        )
        lines.append((f"Highest logits: {said}", {}))
    way = "PCA, t-SNE, Ward" if explanation.settings.get("method") == "tsne" else "PCA, Ward"
    told = (
        f"Each row is a layer. Its feature maps that speak for {cut(explanation.name)} are grouped by where they are "
        f"active ({way}). Under each group: its share of the layer's weight, and how many maps it has."
    )
    for text in (told, *explanation.notes):
        lines += [(line, {"color": FAINT}) for line in textwrap.wrap(text, letters)]
    return lines


def _head(
    sheet: PixelSheet,
    explanation: Explanation,
    texts: list[tuple[str, dict[str, Any]]],
    size: tuple[int, int],
) -> None:
    sheet.place(tile_of(explanation.image, size), SIDE, SIDE, 1, frame="#c8c8c8")
    left = SIDE + size[1] + 20
    for i, (text, style) in enumerate(texts):
        sheet.write(left, SIDE + 11 + LINE * i, text, **({"size": style.pop("fontsize", 8)} | style))
    y = SIDE + 11 + LINE * len(texts) + 2
    ramp = heat_colours(torch.linspace(0, 1, 90)[None].expand(THICK, -1))
    sheet.write(left, y + 8, "heat: 0", 7.5, color=FAINT)
    sheet.place(ramp, left + 42, y, 1)
    sheet.write(left + 138, y + 8, "the map's own maximum", 7.5, color=FAINT)
    sheet.write(left + 290, y + 8, "bars, a layer's weight:", 7.5, color=FAINT)
    x = left + 425
    for colour, text in ((GOOD, "shown"), (LIGHT, "too light clusters"), (GREY, "dropped maps")):
        _fill(sheet, colour, x, y, 12)
        sheet.write(x + 17, y + 8, text, 7.5, color=FAINT)
        x += 30 + 6 * len(text)


def _fill(sheet: PixelSheet, colour: str, x: int, y: int, wide: int) -> None:
    from matplotlib.colors import to_rgb

    sheet.canvas[y : y + THICK, x : x + wide] = to_rgb(colour)


def _row(
    sheet: PixelSheet,
    explanation: Explanation,
    part: LayerExplanation,
    top: int,
    size: tuple[int, int],
    width: int,
) -> None:
    tall, wide = size
    title = cut(part.layer.title)
    sheet.write(SIDE, top + 14, title, 9, weight="bold")
    y = top + HEAD - 6
    if part.empty:
        sheet.place(tile_of(explanation.image, size) * 0.55, SIDE, y, 1)
        sheet.write(
            SIDE + wide + 16,
            y + tall / 2,
            f"nothing speaks for {cut(explanation.name)} here",
            8.5,
            color=FAINT,
        )
        return
    groups = f"{part.k} cluster{'s' if part.k != 1 else ''}, {len(part.clusters)} shown"
    if not math.isnan(part.silhouette):
        groups += f", silhouette {part.silhouette:.2f}"
    told = f"{len(part.kept)} of {len(part.weights)} maps kept; {groups}; {part.accounted:.0%} of the weight"
    sheet.write(SIDE + max(150, 8 * len(title) + 10), top + 14, told, 8, color=FAINT)
    _bar(sheet, part, width - SIDE - BAR, top + 6)
    sheet.place(heat_on(explanation.image, saliency_of(explanation, part.layer), size), SIDE, y, 1, frame=INK)
    sheet.write(
        SIDE + wide / 2, y + tall + 13, f"all shown {part.accounted:.0%}", 7.5, ha="center", weight="bold"
    )
    for i, cluster in enumerate(part.clusters):
        x = SIDE + (i + 1) * (wide + GAP) + GAP
        sheet.place(heat_on(explanation.image, upsampled(cluster.map, explanation), size), x, y, 1)
        maps = f"{len(cluster.members)} map{'s' if len(cluster.members) != 1 else ''}"
        sheet.write(x + wide / 2, y + tall + 13, f"{cluster.weight:.0%} · {maps}", 7.5, ha="center")


def _bar(sheet: PixelSheet, part: LayerExplanation, left: int, top: int) -> None:
    """Draw of what a layer's weight is made."""
    at = 0.0
    pieces = [(c.weight, GOOD) for c in part.clusters] + [(c.weight, LIGHT) for c in part.dropped]
    for weight, colour in (*pieces, (1 - sum(w for w, _ in pieces), GREY)):
        start, end = round(at * BAR), round((at + weight) * BAR)
        _fill(sheet, colour, left + start, top, max(0, min(end, BAR) - start - 1))
        at += weight
