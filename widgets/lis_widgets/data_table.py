"""A table that is sorted by a click on a heading, and whose rows can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import anywidget
import traitlets

from lis_toolkit.errors import LisError
from lis_toolkit.link_tables import Column

from .assets import css, esm

PAGE = 50  # rows shown until more are asked for


class DataTable(anywidget.AnyWidget):
    """Rows under headings; the headings sort, a field above finds rows; drawn by `static/data_table.js`.

    The first 50 rows of the order are shown, then "n more". What could not be measured is a dash and sorted last.

    Parameters
    ----------
    columns : what `Column` says of each.
    rows : of cells; None for what could not be measured.
    label : read aloud as the table's name.
    choosable : whether rows can be chosen: click, or Enter on the first cell; arrow keys go from row to row.

    Attributes
    ----------
    chosen : int
        Which of `rows` is marked; -1 for none.

    Raises
    ------
    LisError
        Rows that have not one cell a column.

    Examples
    --------
    >>> table = DataTable([Column("unit", "count"), Column("slope")], [[17, 0.8]], "units", choosable=True)
    >>> table.on_choose(lambda row: print(row))
    """

    _esm = esm("keys.js", "data_table.js")
    _css = css("lis.css", "data_table.css", "link_report.css")

    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    rows = traitlets.List(traitlets.List()).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    choosable = traitlets.Bool(False).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    page = traitlets.Int(PAGE).tag(sync=True)

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Any]],
        label: str = "",
        choosable: bool = False,
    ) -> None:
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                raise LisError(
                    f"row {number} has {len(row)} cells for {len(columns)} columns; give one each."
                )
        self._react: list[Callable[[int], Any]] = []
        super().__init__(
            columns=[asdict(column) for column in columns],
            rows=[[list(cell) if isinstance(cell, tuple) else cell for cell in row] for row in rows],
            label=label,
            choosable=choosable,
        )
        self.on_msg(self._receive)

    def on_choose(self, callback: Callable[[int], Any]) -> None:
        """Call back with the number of a row of `rows` when a user chooses it."""
        self._react.append(callback)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take what the browser says; what is no message of ours is left alone."""
        row = content.get("row") if isinstance(content, dict) and content.get("kind") == "choose" else None
        if isinstance(row, int) and 0 <= row < len(self.rows):
            self.chosen = row
            for callback in self._react:
                callback(row)
