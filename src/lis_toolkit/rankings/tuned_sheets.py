"""Tuned units with the parts of their pictures: rendered, labelled, measured, and drawn as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..directions import checked_directions
from ..errors import LisError
from ..names import spelling_hint, whole_number
from ..parts.measures import ABSENT, measure_parts, measure_pictures
from ..parts.pictures import draw_outlines
from ..parts.segmenter import render_parts
from ..pixel_sheet import FAINT, GOOD, PixelSheet
from .texts import RELATIVE, amount, change_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TunedRow", "tune_parts", "tuned_sheet"]

TILE = 128  # pixels: a picture is enlarged by the whole number that comes closest from below
MOST_ROWS = 40  # of a sheet, which is then about 5,500 pixels tall
WHOLE = "picture"


@dataclass(frozen=True)
class TunedRow:
    """One sample in which one unit was set to S values: what a row of the sheet shows.

    Attributes
    ----------
    unit : index.
    values : S values that it was set to.
    x : [1 + S, C, H, W], unit range; the picture of the activations as they were comes first.
    labels : uint8 [1 + S, H, W].
    amounts : 1 + S values of the measure, NaN where it is not defined.
    absent : 1 + S, whether the part is not in the picture.
    notes : lines at the left of the row.
    r : [R], the activations as they were, where they are known.
    companions : whether other units were taken along.
    """

    unit: int
    values: list[float]
    x: Tensor
    labels: Tensor
    amounts: list[float]
    absent: list[bool]
    notes: tuple[str, ...] = ()
    r: Tensor | None = None
    companions: bool = False


@torch.no_grad()
def tune_parts(
    generator: Any,
    link: Any,
    segmenter: Any,
    r: Tensor,
    units: Sequence[int],
    part: str,
    measure: str = "area",
    steps: int = 3,
    directions: Tensor | None = None,
    precision: str | None = None,
) -> list[TunedRow]:
    """Set units in samples, render, label the parts and measure one of them.

    Parameters
    ----------
    r : [R], one sample for all units, or [U, R], one for each.
    units : U indices; a unit may come several times.
    part, measure : what is measured; the part "picture" is the whole picture.
    steps : values from the smallest to the largest that each unit had over the link's pairs.
    directions : [R, R] as for `tune_unit`; default: units are set alone.
    precision : of the generator's feature maps.

    Returns
    -------
    list of TunedRow, one for each unit.

    Raises
    ------
    LisError : units, parts, measures, activations or models that do not fit.

    Examples
    --------
    >>> rows = tune_parts(generator, link, segmenter, pairs.r[0], [17, 3], "sleeve")
    """
    link.check(generator)
    chosen = [link.varying_unit(int(unit)) for unit in units]
    steps = whole_number(steps, "steps", 2, 50)
    r = torch.as_tensor(r).detach().cpu().float()
    r = r[None].expand(len(chosen), -1) if r.ndim == 1 else r
    if not chosen or r.shape != (len(chosen), link.num_units) or not torch.isfinite(r).all():
        raise LisError(
            f"r has shape {list(r.shape)} for {len(chosen)} units; finite activations [{link.num_units}] for all of at "
            f"least one unit, or [{len(chosen)}, {link.num_units}], were expected."
        )
    companions = checked_directions(directions, link.num_units)
    rows = r[:, None].repeat(1, 1 + steps, 1)  # [U, 1 + S, R], the first stays as it was
    values = []
    for row, unit in zip(rows, chosen, strict=True):
        set_to = torch.linspace(float(link.unit_min[unit]), float(link.unit_max[unit]), steps)  # [S]
        if companions is not None:
            row[1:] += (set_to - row[0, unit])[:, None] * companions[unit]
        row[1:, unit] = set_to
        values.append(set_to.tolist())
    x, labels = render_parts(
        generator, segmenter, link.linear(rows.flatten(0, 1).to(link.device)), precision=precision
    )
    x, labels = (tensor.cpu().unflatten(0, (len(chosen), 1 + steps)) for tensor in (x, labels))
    found = []
    for i, unit in enumerate(chosen):
        amounts, absent = _measured(x[i], labels[i], segmenter.legend, part, measure)
        start = rows[i, 0].clone()
        found.append(
            TunedRow(
                unit, values[i], x[i], labels[i], amounts, absent, r=start, companions=companions is not None
            )
        )
    return found


def _measured(
    x: Tensor, labels: Tensor, legend: Any, part: str, measure: str
) -> tuple[list[float], list[bool]]:
    """Return the measure of a part in each picture, and whether the part is absent."""
    if part == WHOLE:
        known: dict[str, Tensor] = measure_pictures(x, labels, x[:1])
        codes = torch.zeros(len(x))
    else:
        if part not in legend.parts:
            raise LisError(
                f"the segmenter has no part {part!r}; it has {', '.join(legend.parts)}."
                f"{spelling_hint(part, legend.parts)}"
            )
        measures = measure_parts(x, labels, legend)
        place = legend.parts.index(part)
        known = dict(zip(measures.measures, measures.values[:, place].T, strict=True))
        codes = measures.codes[:, place]
    name = "area" if measure == RELATIVE else measure
    if name not in known:
        raise LisError(
            f"there is no measure {measure!r} of {part}; there are {', '.join(known)}.{spelling_hint(measure, known)}"
        )
    return known[name].tolist(), (codes == ABSENT).tolist()


def tuned_sheet(
    rows: Sequence[TunedRow],
    legend: Any,
    part: str,
    measure: str = "area",
    title: str | None = None,
    outline: str = "part",
) -> Figure:
    """Draw tuned units, one row each: the picture as it was, then a column a step, with the part outlined.

    Parameters
    ----------
    rows : what `tune_parts` returned; of more than 40 the first 40 are drawn.
    legend : of the segmenter.
    part, measure : what the numbers below the pictures are.
    title : written above the sheet.
    outline : "part" outlines this part, "all" all parts, "none" nothing.

    Returns
    -------
    Figure
        Above each picture stands what the unit was set to, below it the measure. The blue frame marks the start.

    Raises
    ------
    LisError : no rows, or another outline.

    Examples
    --------
    >>> rows = tune_parts(generator, link, segmenter, pairs.r[0], [17, 3], "sleeve")
    >>> tuned_sheet(rows, segmenter.legend, "sleeve").savefig("sleeve.png")
    """
    rows = list(rows)
    if not rows:
        raise LisError("tuned_sheet was given no rows; make some with tune_parts.")
    if outline not in ("part", "all", "none"):
        raise LisError(f"outline is {outline!r}; 'part', 'all' or 'none' was expected.")
    count, rows = len(rows), rows[:MOST_ROWS]
    if count > len(rows):
        title = f"{title or ''} (the first {len(rows)} of {count} rows)".strip()
    first = rows[0].x
    scale = max(1, TILE // int(first.shape[-2]))
    tall, wide = (scale * int(n) for n in first.shape[-2:])
    texts = [
        (
            f"unit {row.unit}",
            [change_text(measure, row.amounts[1], row.amounts[-1], row.absent[-1]), *row.notes],
        )
        for row in rows
    ]
    longest = max(len(line) for _, lines in texts for line in lines)
    left, top, gap = max(150, 24 + round(5.6 * longest)), 14 + (30 if title else 0), 16
    lines = max(len(lines) for _, lines in texts)
    cell_w, cell_h = max(wide, 76) + gap, max(tall + 50, 40 + 15 * lines)
    steps = max(len(row.values) for row in rows)
    width = left + (1 + steps) * cell_w + gap
    sheet = PixelSheet(max(width, 24 + round(7.6 * len(title or ""))), top + len(rows) * cell_h)
    if title:
        sheet.write(12, 24, title, 11, weight="bold")
    for number, (row, (name, notes)) in enumerate(zip(rows, texts, strict=True)):
        y = top + number * cell_h + 20
        sheet.write(12, y + 10, name, 10, weight="bold")
        for line, note in enumerate(notes):
            sheet.write(12, y + 29 + 15 * line, note, 7.5, **({} if line == 0 else {"color": FAINT}))
        shown = outlined(row, legend, part, outline, scale)  # [1 + S, 3, scale H, scale W]
        for step in range(1 + len(row.values)):
            x = left + step * cell_w + (cell_w - gap - wide) // 2
            sheet.place(shown[step], x, y, 1, frame=GOOD if step == 0 else None)
            above = "start" if step == 0 else f"set {row.values[step - 1]:.3g}"
            below = "absent" if row.absent[step] else amount(measure, row.amounts[step])
            sheet.write(x + wide / 2, y - 5, above, 6.5, ha="center", color=GOOD if step == 0 else FAINT)
            sheet.write(x + wide / 2, y + tall + 14, below, 7.5, ha="center")
    return sheet.figure()


def outlined(row: TunedRow, legend: Any, part: str, outline: str, scale: int) -> Tensor:
    """Return the pictures of a row enlarged, [1 + S, 3, scale H, scale W], unit range, with parts outlined.

    Examples
    --------
    >>> outlined(row, segmenter.legend, "sleeve", "part", scale=4)
    """
    labels = row.labels
    if outline == "part" and part != WHOLE:
        number = legend.names.index(part)
        labels = torch.where(labels == number, labels, torch.zeros_like(labels))
    if outline == "none":
        x = row.x.expand(-1, 3, -1, -1) if row.x.shape[1] == 1 else row.x
        return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    drawn = torch.as_tensor(
        draw_outlines(row.x, labels, legend, scale, 2 if outline == "part" and scale > 3 else 1)
    )  # [1 + S, scale H, scale W, 3]
    drawn = drawn.float() / 255 if drawn.dtype == torch.uint8 else drawn.float()
    return drawn.permute(0, 3, 1, 2)
