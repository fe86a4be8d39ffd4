"""Contact sheets as data: which picture stands where, what is written at it, and where it can be gone on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import LisError
from .images import convert_range
from .sheets import check_walk, head_weights, step_texts, vote_lines

if TYPE_CHECKING:
    from .rankings.tuned_sheets import TunedRow
    from .units import UnitWalk

__all__ = ["Sheet", "SheetCell", "SheetRow", "tuned_cells", "walk_cells"]

TILE = 128  # pixels to which outlined pictures are enlarged


@dataclass(frozen=True)
class SheetCell:
    """One picture of a sheet.

    Attributes
    ----------
    value : what the unit was set to; None for the picture with the unit as it was.
    above, below : texts at the picture.
    description : the same in a sentence, for readers who do not see it.
    start : whether it is the picture of, or nearest to, the sample as it was; it is framed.
    changed : whether the classifier sees another class than in the first picture.
    """

    value: float | None
    above: str
    below: str
    description: str
    start: bool = False
    changed: bool = False


@dataclass(frozen=True)
class SheetRow:
    """One unit of one sample, set to several values.

    Attributes
    ----------
    unit : index.
    notes : lines at the left of the row, below the unit's number.
    cells : its pictures, from the left.
    r : [R], the activations as they were; None where they are not known.
    companions : whether other units were taken along.
    """

    unit: int
    notes: tuple[str, ...]
    cells: tuple[SheetCell, ...]
    r: Tensor | None
    companions: bool


@dataclass(frozen=True)
class Sheet:
    """Rows of a sheet and their pictures, uint8 [P, H, W, 3], row by row.

    Examples
    --------
    >>> sheet = walk_cells([walk], classifier)
    >>> sheet.picture(0, 3).shape
    (32, 32, 3)
    """

    rows: tuple[SheetRow, ...]
    pictures: np.ndarray

    def place(self, row: int, column: int) -> int:
        """Return which of the pictures stands in a row and column.

        Raises
        ------
        LisError : there is no such row, or it has no such column.
        """
        if not 0 <= row < len(self.rows):
            raise LisError(f"the sheet has no row {row}: it has {len(self.rows)}, numbered from 0.")
        if not 0 <= column < len(self.rows[row].cells):
            raise LisError(
                f"row {row} has no column {column}: it has {len(self.rows[row].cells)}, numbered from 0."
            )
        return sum(len(one.cells) for one in self.rows[:row]) + column

    def picture(self, row: int, column: int) -> np.ndarray:
        """Return one picture, uint8 [H, W, 3]."""
        return self.pictures[self.place(row, column)]  # type: ignore[no-any-return]

    def origin(self, row: int) -> int | None:
        """Return the column of a row that is framed as its start; None where no picture is."""
        framed = [column for column, cell in enumerate(self.rows[row].cells) if cell.start]
        return framed[0] if framed else None


def walk_cells(
    walks: Sequence[UnitWalk], classifier: Any = None, sample: int = 0, captions: Sequence[str] | None = None
) -> Sheet:
    """Lay unit walks out as a sheet, one row a unit and one column a step.

    The picture whose value is nearest to what the unit had in the sample is the start.

    Parameters
    ----------
    walks : what `tune_unit` returned; pictures of one size.
    classifier : gives class names, and the classes for and against which each unit votes in the head.
    sample : which of the N starting samples is shown.
    captions : for each row, one line or more to write at its left.

    Raises
    ------
    LisError : no walks, a sample that does not exist, pictures of several sizes, not one caption a walk.

    Notes
    -----
    Source: systematic unit tuning, arXiv 2409.16865, section 3.

    Examples
    --------
    >>> walk_cells([tune_unit(generator, classifier, link, r, unit=17)], classifier).rows[0].unit
    17
    """
    walks = list(walks)
    if not walks:
        raise LisError("the sheet was given no unit walks; make at least one with tune_unit.")
    if captions is not None and len(captions) != len(walks):
        raise LisError(f"the sheet was given {len(captions)} captions for {len(walks)} walks; give one each.")
    for walk in walks:
        check_walk(walk, sample)
    classes = getattr(classifier, "classes", None)
    headed = classifier is not None and getattr(classifier, "has_head", True)
    weights = head_weights(classifier) if headed else None
    rows = []
    for number, walk in enumerate(walks):
        notes = [] if weights is None else vote_lines(weights[:, walk.unit], classes)
        notes += captions[number].splitlines() if captions is not None else []
        own = None if walk.given is None else float(walk.given[sample, walk.unit])
        nearest = -1 if own is None else int((walk.values - own).abs().argmin())
        cells = []
        texts = step_texts(walk, sample, classes)
        for step, (value, (above, below, same)) in enumerate(zip(walk.values.tolist(), texts, strict=True)):
            said = f"unit {walk.unit} {above}" + (f"; seen as {below}" if below else "")
            if step == nearest:
                said += f"; nearest to the sample's own value, {own:.3g}"
            cells.append(SheetCell(value, above, below, said, step == nearest, not same))
        r = None if walk.given is None else walk.given[sample]
        rows.append(SheetRow(walk.unit, tuple(notes), tuple(cells), r, walk.companions))
    return Sheet(tuple(rows), _stacked([_rgb(walk.images[sample]) for walk in walks]))


def tuned_cells(
    rows: Sequence[TunedRow], legend: Any = None, part: str = "", measure: str = "area", outline: str = "part"
) -> Sheet:
    """Lay tuned units of a ranking out as a sheet: the picture as it was, then a column a step, a part outlined.

    Parameters
    ----------
    rows : what `tune_parts` or `ranking_rows` returned; pictures of one size.
    legend : of the segmenter; without it nothing is outlined.
    part, measure : what the amounts of the rows are.
    outline : "part" outlines this part, "all" all parts, "none" nothing.

    Raises
    ------
    LisError : no rows, another outline, pictures of several sizes.

    Examples
    --------
    >>> sheet = tuned_cells(ranking_rows(sweep, scores, "sleeve"), sweep.legend, "sleeve")
    """
    from .rankings.texts import amount, change_text
    from .rankings.tuned_sheets import outlined

    rows = list(rows)
    if not rows:
        raise LisError("the sheet was given no rows; make some with tune_parts or ranking_rows.")
    if outline not in ("part", "all", "none"):
        raise LisError(f"outline is {outline!r}; 'part', 'all' or 'none' was expected.")
    labelled = legend is not None and outline != "none" and any(bool(row.labels.any()) for row in rows)
    scale = max(1, TILE // int(rows[0].x.shape[-2])) if labelled else 1
    found, pictures = [], []
    for row in rows:
        cells = []
        for step, (value, absent) in enumerate(zip(row.amounts, row.absent, strict=True)):
            set_to = None if step == 0 else float(row.values[step - 1])
            above = "start" if set_to is None else f"set {set_to:.3g}"
            below = "absent" if absent else amount(measure, value)
            where = (
                f"unit {row.unit}, as it was" if set_to is None else f"unit {row.unit} set to {set_to:.3g}"
            )
            cells.append(SheetCell(set_to, above, below, f"{where}; {part} {measure} {below}", step == 0))
        change = change_text(measure, row.amounts[1], row.amounts[-1], row.absent[-1])
        found.append(SheetRow(row.unit, (change, *row.notes), tuple(cells), row.r, row.companions))
        pictures.append(_rgb(outlined(row, legend, part, outline, scale) if labelled else row.x))
    return Sheet(tuple(found), _stacked(pictures))


def _rgb(x: Tensor) -> np.ndarray:
    """Return pictures [S, 1 or 3, H, W] in the unit range as uint8 [S, H, W, 3]."""
    pixels = convert_range(x.detach().float().cpu(), "unit", "byte").to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()  # type: ignore[no-any-return]


def _stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    sizes = {one.shape[1:] for one in pictures}
    if len(sizes) > 1:
        told = ", ".join(f"{height} x {width}" for height, width, _ in sorted(sizes))
        raise LisError(
            f"the rows of the sheet have pictures of several sizes ({told}); one for all was expected."
        )
    return np.ascontiguousarray(np.concatenate(list(pictures)))
