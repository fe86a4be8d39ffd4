"""Parts drawn: outlines on enlarged pictures, truth beside prediction, the confusion table, keys to the colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from ..names import finite_number, whole_number
from ..pixel_sheet import FAINT, PixelSheet, figure_class
from .legend import Legend
from .scores import PartScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .photographs import PhotographParts

__all__ = ["confusion_figure", "draw_outlines", "legend_figure", "photograph_sheet", "worst_sheet"]

GAP, LINE = 12, 16  # px between pictures, of a line of text


def draw_outlines(
    x: Tensor, labels: Tensor, legend: Legend, scale: int = 6, thickness: int = 1, fill: float = 0.0
) -> np.ndarray:
    """Enlarge pictures without smoothing and outline their parts in the legend's colours.

    Outlines run inside the parts, so that two neighbours show both of their colours.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range, C = 1 or 3.
    labels
        [N, H, W], indices into the legend.
    scale
        A whole number by which the pictures are enlarged.
    thickness
        Of the outlines, in pixels of the enlarged picture, at most half of `scale` (one where scale is 1).
    fill
        Share of the part's colour inside the outline: 0 leaves the picture as it is, 1 shows colours alone.

    Returns
    -------
    numpy.ndarray
        uint8 [N, scale H, scale W, 3].

    Raises
    ------
    LisError
        For pictures and labels that don't fit each other or the legend, and settings out of range.

    Examples
    --------
    >>> drawn = draw_outlines(x, labels, segmenter.legend, scale=8)
    >>> PIL.Image.fromarray(drawn[0]).save("outlined.png")
    """
    _check(x, labels, legend)
    scale = whole_number(scale, "scale", 1, 64)
    thickness = whole_number(thickness, "thickness", 1, max(scale // 2, 1))
    fill = finite_number(fill, "fill")
    if not 0 <= fill <= 1:
        raise LisError(f"fill is {fill}; a share from 0 to 1 was expected.")
    grey = (x.detach().float().clamp(0, 1) * 255).round().cpu().numpy().transpose(0, 2, 3, 1)  # [N, H, W, C]
    pixels = np.broadcast_to(grey, (*grey.shape[:3], 3))
    number = labels.detach().cpu().numpy().astype(np.int64)  # [N, H, W]
    colours = legend.rgb.astype(np.float32)[number]  # [N, H, W, 3]
    part = (number > 0)[..., None]
    pixels = np.where(part, (1 - fill) * pixels + fill * colours, pixels)
    drawn = pixels.repeat(scale, 1).repeat(scale, 2)  # [N, scale H, scale W, 3]
    large = number.repeat(scale, 1).repeat(scale, 2)  # [N, scale H, scale W]
    edge = np.zeros(large.shape, dtype=bool)
    for away in range(1, thickness + 1):
        for axis in (1, 2):
            first = [slice(None)] * 3
            last = [slice(None)] * 3
            first[axis], last[axis] = slice(None, -away), slice(away, None)
            differs = large[tuple(first)] != large[tuple(last)]
            edge[tuple(first)] |= differs
            edge[tuple(last)] |= differs
            # What leaves the picture is outlined too.
            first[axis], last[axis] = slice(None, thickness), slice(-thickness, None)
            edge[tuple(first)] = edge[tuple(last)] = True
    edge &= large > 0
    drawn[edge] = legend.rgb[large[edge]]
    return np.ascontiguousarray(drawn.round().astype(np.uint8))


def worst_sheet(
    x: Tensor,
    labels: Tensor,
    truth: Tensor,
    scores: PartScores,
    names: Sequence[str] | None = None,
    count: int = 6,
    scale: int = 6,
) -> Figure:
    """Draw the pictures with the lowest IoU: picture, truth, prediction, and the pixels in which they differ.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range.
    labels, truth
        [N, H, W], predicted and true.
    scores : PartScores
        Of these labels, from `score_parts`.
    names
        Of the pictures; default: their numbers.
    count
        How many are drawn.
    scale
        By which they are enlarged.

    Raises
    ------
    LisError
        For pictures, labels and scores that don't fit each other.

    Examples
    --------
    >>> worst_sheet(x, labels, masks.labels, scores).savefig("worst.png")
    """
    _check(x, labels, scores.legend)
    _check(x, truth, scores.legend)
    if len(scores.counts) != len(x):
        raise LisError(f"the scores are of {len(scores.counts)} pictures, but there are {len(x)}.")
    if names is not None and len(names) != len(x):
        raise LisError(f"there are {len(names)} names for {len(x)} pictures.")
    which = scores.worst(count)
    picked = x[which].cpu(), labels[which].cpu(), truth[which].cpu()
    plain = draw_outlines(picked[0], torch.zeros_like(picked[1]), scores.legend, scale)
    drawn = [draw_outlines(picked[0], some, scores.legend, scale, 1, 0.45) for some in picked[:0:-1]]
    wrong = (picked[1] != picked[2])[:, None].float()  # [n, 1, H, W]
    columns = [plain, *drawn, draw_outlines(wrong, torch.zeros_like(picked[1]), scores.legend, scale)]
    high, wide = plain.shape[1:3]
    sheet = PixelSheet(
        4 * (wide + GAP) + GAP, LINE + len(which) * (high + LINE + GAP) + _key_height(scores.legend, 4 * wide)
    )
    for c, title in enumerate(("picture", "truth", "prediction", "differs (white)")):
        sheet.write(GAP + c * (wide + GAP), LINE - 4, title)
    values = scores.picture_iou
    for i, number in enumerate(which):
        top = LINE + i * (high + LINE + GAP)
        name = f"picture {number}" if names is None else names[number]
        present = sorted(set(picked[1][i].unique().tolist()) | set(picked[2][i].unique().tolist()) - {0})
        parts = ", ".join(scores.legend.names[k] for k in present if k)
        sheet.write(GAP, top + LINE - 3, f"{name}: mean IoU {values[number]:.2f} of {parts}", color=FAINT)
        for c, column in enumerate(columns):
            place = GAP + c * (wide + GAP)
            sheet.place(_tensor(column[i]), place, top + LINE, 1)
    _draw_key(
        sheet, scores.legend, GAP, sheet.canvas.shape[0] - _key_height(scores.legend, 4 * wide), 4 * wide
    )
    return sheet.figure()


def photograph_sheet(parts: PhotographParts, scale: int = 5) -> Figure:
    """Draw photographs with their parts, above what classifier, link and generator make of them, with its parts.

    Raises
    ------
    LisError
        For a scale that is no whole number.

    Examples
    --------
    >>> photograph_sheet(photograph_parts(x, classifier, link, generator, segmenter)).savefig("parts.png")
    """
    rows: list[tuple[str, np.ndarray]] = [("photograph", _plain(parts.x, parts.legend, scale))]
    if parts.own_labels is not None:
        drawn = draw_outlines(parts.x, parts.own_labels, parts.legend, scale, 1, 0.4)
        rows.append(("its parts, by the picture", drawn))
    rows += [
        ("photograph → r → w → picture", _plain(parts.render, parts.legend, scale)),
        (
            "its parts, by the features",
            draw_outlines(parts.render, parts.labels, parts.legend, scale, 1, 0.4),
        ),
    ]
    n, high, wide = rows[0][1].shape[:3]
    key = _key_height(parts.legend, n * (wide + GAP))
    sheet = PixelSheet(n * (wide + GAP) + GAP, len(rows) * (high + LINE + 4) + key + 4)
    for i, (title, pictures) in enumerate(rows):
        top = i * (high + LINE + 4)
        sheet.write(GAP, top + LINE - 3, title)
        for j in range(n):
            sheet.place(_tensor(pictures[j]), GAP + j * (wide + GAP), top + LINE, 1)
    _draw_key(sheet, parts.legend, GAP, sheet.canvas.shape[0] - key, n * (wide + GAP))
    return sheet.figure()


def legend_figure(legend: Legend, width: int = 480) -> Figure:
    """Draw the key to a legend's colours: a square and a name for every part.

    Parameters
    ----------
    width
        Of the figure, in pixels.

    Raises
    ------
    LisError
        For a width below 100.

    Examples
    --------
    >>> legend_figure(segmenter.legend).savefig("key.png")
    """
    width = whole_number(width, "width", 100, 10_000)
    sheet = PixelSheet(width, _key_height(legend, width - 2 * GAP))
    _draw_key(sheet, legend, GAP, 0, width - 2 * GAP)
    return sheet.figure()


def confusion_figure(scores: PartScores) -> Figure:
    """Draw the confusion table: of the pixels of every true part (rows), the share predicted as each part (columns).

    Labels that occur neither in the truth nor in the prediction are left out.

    Examples
    --------
    >>> confusion_figure(scores).savefig("confusion.png")
    """
    table = scores.confusion()
    counts = table.to_numpy()
    there = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    names = [name for name, is_there in zip(scores.legend.names, there, strict=True) if is_there]
    counts = counts[there][:, there]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.4 + 0.42 * len(names)
    figure = figure_class()(figsize=(side + 0.4, side), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share >= 0.005:
                colour = "white" if share > 0.55 else "black"
                axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    places = list(range(len(names)))
    axes.set_xticks(
        places, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8, parse_math=False
    )
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true: % of its pixels", fontsize=8)
    axes.set_title(
        f"mean IoU {scores.mean_iou:.2f}, {100 * scores.accuracy:.1f} % of pixels right", fontsize=9
    )
    return figure


def _check(x: Tensor, labels: Tensor, legend: Legend) -> None:
    check_images(x)
    if x.shape[1] not in (1, 3):
        raise LisError(f"the pictures have {x.shape[1]} channels; 1 or 3 were expected.")
    integers = isinstance(labels, Tensor) and not labels.is_floating_point()
    if not integers or labels.shape != (len(x), *x.shape[2:]):
        has = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise LisError(
            f"the labels are {has}; integers {[len(x), *x.shape[2:]]} were expected for these pictures."
        )
    if int(labels.max()) >= len(legend.names) or int(labels.min()) < 0:
        raise LisError(
            f"the labels go from {int(labels.min())} to {int(labels.max())}; the legend has 0 to "
            f"{len(legend.names) - 1}."
        )


def _plain(x: Tensor, legend: Legend, scale: int) -> np.ndarray:
    return draw_outlines(x, torch.zeros(len(x), *x.shape[2:], dtype=torch.uint8), legend, scale)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255  # [3, H, W]


def _key_places(legend: Legend, width: int) -> list[tuple[int, int]]:
    places, x, y = [], 0, 0
    for name in legend.parts:
        wide = 26 + 7 * len(name)
        if x and x + wide > width:
            x, y = 0, y + LINE + 4
        places.append((x, y))
        x += wide
    return places


def _key_height(legend: Legend, width: int) -> int:
    return _key_places(legend, width)[-1][1] + LINE + 12


def _draw_key(sheet: Any, legend: Legend, left: int, top: int, width: int) -> None:
    """Draw a square and the name of every part, in rows of at most `width` pixels."""
    for (x, y), name, colour in zip(_key_places(legend, width), legend.parts, legend.rgb[1:], strict=True):
        sheet.canvas[top + y + 6 : top + y + 18, left + x : left + x + 12] = colour / 255
        sheet.write(left + x + 16, top + y + 16, name)
