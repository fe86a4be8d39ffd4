"""Rows of pictures in which units are turned: each can be opened, and gone on from, in an explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from lis_toolkit.errors import LisError
from lis_toolkit.rankings.sheets import ranking_rows
from lis_toolkit.rankings.tuned_sheets import TunedRow
from lis_toolkit.sheet_cells import Sheet, tuned_cells, walk_cells
from lis_toolkit.units import UnitWalk

from .assets import css, esm
from .message import Message
from .picture import Picture
from .snapshot import Snapshot, static_html

MOST_STATIC = 60  # pictures in a page without a kernel


class PictureGrid(anywidget.AnyWidget):
    """Pictures in labelled rows, drawn on canvases by `static/contact_sheet.js`; all arrive in one message.

    One picture has the focus; arrow keys, Home and End move it, Enter, Space and a click pick the picture.

    Attributes
    ----------
    rgb : bytes
        pictures * height * width * 3.
    shape : tuple of int
        (pictures, height, width).
    rows : list of dict
        title, notes, and cells (place, above, below, description, start, changed) of each row.
    label : str
        Read aloud as the grid's name.
    picked : list of int
        Row and column that are marked; empty for none.

    Examples
    --------
    >>> grid = PictureGrid(walk_cells([walk], classifier), "units of a coat")
    >>> grid.on_pick(lambda row, column: print(row, column))
    """

    _esm = esm("keys.js", "contact_sheet.js")
    _css = css("lis.css", "contact_sheet.css")

    rgb = traitlets.Bytes(b"").tag(sync=True)
    shape = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int()).tag(sync=True)
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    picked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, sheet: Sheet, label: str = "contact sheet") -> None:
        self.sheet = sheet
        self._react: list[Callable[[int, int], Any]] = []
        count, height, width, _ = sheet.pictures.shape
        super().__init__(
            rgb=sheet.pictures.tobytes(),
            shape=(count, height, width),
            rows=[
                {
                    "title": f"unit {row.unit}",
                    "notes": list(row.notes),
                    "cells": [
                        {
                            "place": sheet.place(number, column),
                            "above": cell.above,
                            "below": cell.below,
                            "description": cell.description,
                            "start": cell.start,
                            "changed": cell.changed,
                        }
                        for column, cell in enumerate(row.cells)
                    ],
                }
                for number, row in enumerate(sheet.rows)
            ],
            label=label,
        )
        self.on_msg(self._receive)

    def on_pick(self, callback: Callable[[int, int], Any]) -> None:
        """Call back with row and column when a user picks a picture."""
        self._react.append(callback)

    def reveal(self, dom_class: str) -> None:
        """Scroll what has this class into view."""
        self.send({"kind": "reveal", "where": dom_class})

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take what the browser says; what is no message of ours is left alone."""
        if not isinstance(content, dict) or content.get("kind") != "pick":
            return
        row, column = content.get("row"), content.get("column")
        if not isinstance(row, int) or not isinstance(column, int):
            return
        if 0 <= row < len(self.sheet.rows) and 0 <= column < len(self.sheet.rows[row].cells):
            self.picked = [row, column]
            for callback in self._react:
                callback(row, column)


class ContactSheet(Snapshot, ipywidgets.VBox):
    """Unit walks, or the top units of a ranking, as rows of pictures; a click opens one in an explorer.

    Parameters
    ----------
    walks : UnitWalk, or sequence of UnitWalk or of TunedRow
        What `tune_unit`, `tune_parts` or `ranking_rows` returned.
    classifier : Classifier, optional
        Gives class names, and the classes for and against which each unit votes.
    explorer : UnitExplorer, optional
        A picture that is picked is opened in it: its start, its unit, the value it was set to. Without an explorer the
        picture is shown larger beside the sheet.
    sample : int
        Which of the N starting samples of the walks is shown.
    captions : sequence of str, optional
        For each walk, one line or more to write at its left.
    legend, part, measure, outline
        For rows of a ranking: the segmenter's legend, what was measured, and which outlines are drawn ("part", "all"
        or "none").
    title : str, optional
        Written above the sheet.

    Attributes
    ----------
    sheet : lis_toolkit.sheet_cells.Sheet
    grid : PictureGrid
    picture : Picture or None
        The enlarged picture; None where there is an explorer.

    Raises
    ------
    LisError
        No walks, or walks that do not fit together. Later errors are shown in the widget.

    Examples
    --------
    >>> from lis_widgets import ContactSheet
    >>> ContactSheet([tune_unit(generator, classifier, link, r, unit) for unit in (17, 3)], classifier, explorer)
    """

    def __init__(
        self,
        walks: UnitWalk | Sequence[UnitWalk] | Sequence[TunedRow],
        classifier: Any = None,
        explorer: Any = None,
        sample: int = 0,
        *,
        captions: Sequence[str] | None = None,
        legend: Any = None,
        part: str = "",
        measure: str = "area",
        outline: str = "part",
        title: str | None = None,
    ) -> None:
        rows: list[Any] = [walks] if isinstance(walks, UnitWalk) else list(walks)
        kinds = {type(row) for row in rows}
        if rows and kinds == {TunedRow}:
            self.sheet = tuned_cells(rows, legend, part, measure, outline)
        elif kinds <= {UnitWalk}:
            self.sheet = walk_cells(rows, classifier, sample, captions)
        else:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise LisError(f"the sheet was given {names}; unit walks, or rows of tune_parts, were expected.")
        self.explorer, self.title = explorer, title or ""
        self._react: list[Callable[[int, int], Any]] = []
        self.message = Message()
        self.grid = PictureGrid(self.sheet, title or "contact sheet of units")
        self.grid.on_pick(self.pick)
        self.picture = Picture(columns=1) if explorer is None else None
        parts: list[ipywidgets.Widget] = [self.grid]
        if self.picture is not None:
            self.picture.add_class("lis-sheet-picture")
            parts.append(self.picture)
        heading = [ipywidgets.HTML(f"<b>{escape(title)}</b>")] if title else []
        body = ipywidgets.Box(parts, layout={"flex_flow": "row wrap", "width": "100%"})
        body.add_class("lis-sheet-body")
        super().__init__([*heading, self.message, body])
        self.add_class("lis-sheet")
        if explorer is not None:
            self._mark = f"lis-explorer-{explorer.model_id}"
            explorer.add_class(self._mark)

    @classmethod
    def from_ranking(
        cls,
        sweep: Any,
        scores: Any,
        part: str,
        measure: str = "area",
        class_name: str = "all",
        *,
        generator: Any = None,
        link: Any = None,
        segmenter: Any = None,
        explorer: Any = None,
        units: Sequence[int] | None = None,
        top: int = 5,
        samples: int = 1,
        outline: str = "part",
        title: str | None = None,
    ) -> ContactSheet:
        """Show the top units of a ranking in typical samples of its sweep, the part outlined.

        Parameters are those of `lis_toolkit.rankings.sheets.ranking_sheet`; without the models the sweep's thumbnails
        are shown.

        Raises
        ------
        LisError
            Names that the scores do not have, models that are not those of the sweep.

        Examples
        --------
        >>> models = dict(generator=generator, link=link, segmenter=segmenter)
        >>> ContactSheet.from_ranking(sweep, scores, "sleeve", **models, explorer=explorer)
        """
        rows = ranking_rows(
            sweep, scores, part, measure, class_name,
            generator=generator, link=link, segmenter=segmenter, units=units, top=top, samples=samples,
        )  # fmt: skip
        legend = None if segmenter is None else segmenter.legend
        heading = title or f"{part}: {measure}, " + ("classes pooled" if class_name == "all" else class_name)
        return cls(
            rows, None, explorer, legend=legend, part=part, measure=measure, outline=outline, title=heading
        )

    def on_pick(self, callback: Callable[[int, int], Any]) -> None:
        """Call back with row and column, counted from 0, when a picture is picked."""
        self._react.append(callback)

    def pick(self, row: int, column: int) -> None:
        """Open a picture in the explorer, or show it larger beside the sheet; errors are shown above the sheet.

        Examples
        --------
        >>> sheet.pick(0, 3)
        """
        try:
            self._open(row, column)
            for callback in self._react:
                callback(row, column)
        except Exception as error:  # whatever it is, the user must see it
            self.message.error(error)

    def _open(self, row: int, column: int) -> None:
        place = self.sheet.place(row, column)
        line = self.sheet.rows[row]
        cell = line.cells[column]
        self.grid.picked = [row, column]
        if self.picture is not None:
            places = [place] if column == self.sheet.origin(row) else [self._origin(row), place]
            cells = [cell] if len(places) == 1 else [line.cells[self.sheet.origin(row) or 0], cell]
            texts = [f"unit {line.unit}, {one.above}: {one.below}".rstrip(": ") for one in cells]
            self.picture.show(self.sheet.pictures[places], texts, [one.description for one in cells])
            self.message.clear()
            return
        if line.r is None:
            raise LisError(
                f"row {row} does not say which activations it starts from, so it cannot be opened in the explorer: "
                "make its walk again with tune_unit."
            )
        if line.companions and getattr(self.explorer.session, "companions", None) is None:
            raise LisError(
                f"in this picture unit {line.unit} was set with its companions, which the explorer does not know: "
                "make it with companions=companion_directions(pairs)."
            )
        values = {} if cell.value is None else {line.unit: cell.value}
        self.explorer.open(
            replace(
                self.explorer.setting,
                r=tuple(line.r.tolist()),
                r_name=f"row {row + 1} of the sheet",
                values=values,
                unit=line.unit,
                companions=line.companions,
            )
        )
        self.grid.reveal(self._mark)
        where = "as it was" if cell.value is None else f"at {cell.value:.3g}"
        self.message.note(f"Unit {line.unit} {where} is open in the explorer.")

    def _origin(self, row: int) -> int:
        """Return the place of the picture beside which another of its row is shown: its start, else its first."""
        origin = self.sheet.origin(row)
        return self.sheet.place(row, 0 if origin is None else origin)

    def static_view(self) -> str:
        """Return the pictures as HTML, for pages without a kernel."""
        captions = [
            f"unit {row.unit}, {cell.above}: {cell.below}".rstrip(": ")
            for row in self.sheet.rows
            for cell in row.cells
        ]
        shown: np.ndarray = self.sheet.pictures[:MOST_STATIC]
        return static_html(shown, captions[:MOST_STATIC], self.title, target=96)
