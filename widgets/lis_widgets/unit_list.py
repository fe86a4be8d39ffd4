"""A list of units to choose from: a search box, a row each with a sparkline, and pins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anywidget
import traitlets

from lis_toolkit.explore import UnitRow, matching_rows

from .assets import css, esm

SHOWN = 200  # rows in the page; the others are found by searching


class UnitList(anywidget.AnyWidget):
    """A search box over a list of units: arrow keys move, Enter chooses, P pins; drawn by `static/unit_list.js`.

    No more than 200 rows are in the page at a time; a last line says how many others there are.

    Attributes
    ----------
    rows : list of UnitRow
        All of them, in their order.
    title : str
        Said above the list: what the rows are ranked by.
    selected : int or None
        The unit chosen.
    pinned : list of int
        Units whose pin is drawn filled.

    Examples
    --------
    >>> units = UnitList()
    >>> units.set_rows(unit_rows(session))
    """

    _esm = esm("kit.js", "keys.js", "unit_list.js")
    _css = css("lis.css", "unit_list.css", "layout.css")

    title = traitlets.Unicode("units").tag(sync=True)
    shown = traitlets.List(traitlets.Dict()).tag(sync=True)
    more = traitlets.Int(0).tag(sync=True)
    selected = traitlets.Int(None, allow_none=True).tag(sync=True)
    pinned = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, rows: Sequence[UnitRow] = (), title: str = "units") -> None:
        super().__init__(title=title)
        self.rows: list[UnitRow] = []
        self.pattern = ""
        self._choose: list[Callable[[int], Any]] = []
        self._pin: list[Callable[[int], Any]] = []
        self.on_msg(self._receive)
        self.set_rows(rows)

    def set_rows(self, rows: Sequence[UnitRow], title: str | None = None) -> None:
        """Replace the rows; what is in the search box goes on to hold."""
        self.rows = list(rows)
        if title is not None:
            self.title = title
        self._search(self.pattern)

    def on_choose(self, callback: Callable[[int], Any]) -> None:
        """Call back with a unit when a user chooses its row."""
        self._choose.append(callback)

    def on_pin(self, callback: Callable[[int], Any]) -> None:
        """Call back with a unit when a user turns its pin on or off."""
        self._pin.append(callback)

    def select(self, unit: int | None) -> None:
        """Mark the row of a unit as the chosen one, and bring it into view."""
        self.selected = unit

    def mark_pinned(self, units: Iterable[int]) -> None:
        """Draw the pins of these units filled, all others empty."""
        self.pinned = list(units)

    def _search(self, pattern: str) -> None:
        self.pattern = pattern
        found = matching_rows(self.rows, pattern)
        with self.hold_sync():
            self.shown = [_plain(row) for row in found[:SHOWN]]
            self.more = max(0, len(found) - SHOWN)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take what the browser says; what is no message of ours is left alone."""
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "search" and isinstance(content.get("text"), str):
            self._search(content["text"])
            if content.get("choose") is True and self.shown:
                self._tell(self._choose, self.shown[0]["unit"])
        elif kind in ("choose", "pin"):
            unit = content.get("unit")
            if any(row.unit == unit for row in self.rows):
                self._tell(self._choose if kind == "choose" else self._pin, int(unit))

    @staticmethod
    def _tell(callbacks: Sequence[Callable[[int], Any]], unit: int) -> None:
        for callback in callbacks:
            callback(unit)


def _plain(row: UnitRow) -> dict[str, Any]:
    return {
        "unit": row.unit,
        "text": row.text,
        "detail": row.detail,
        "spark": [round(float(v), 3) for v in row.spark],
        "mark": row.mark,
        "kind": row.kind,
    }
