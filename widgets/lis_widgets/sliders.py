"""Rows of sliders with the observed range marked; moves arrive at once and unthrottled."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import anywidget
import traitlets

from lis_toolkit.errors import LisError

from .assets import css, esm

ACTIONS = ("pin", "unpin", "remove", "reset")
LARGEST_NUMBER = 2**53  # whole numbers up to it are exact in a browser
NUMBERS = ("low", "high", "seen_low", "seen_high", "value")
DEFAULTS: dict[str, Any] = {
    "seen_low": None,
    "seen_high": None,
    "own": None,
    "own_name": "the start's own value",
    "seen_name": "observed range",
    "digits": 2,
    "pinned": None,
    "removable": False,
    "tooltip": "",
}


class Sliders(anywidget.AnyWidget):
    """Sliders, a row each: name, play, slider, number, reset, pin, remove; drawn by `static/sliders.js`.

    A move is a message of its own. The browser keeps one unanswered at a time, and the newest waiting: whoever
    reacts to moves calls `shown` when the picture (or the error) is out.

    Attributes
    ----------
    rows : list of dict
        key (str), label, low and high (limits), value; and, if wanted, seen_low and seen_high (the observed range:
        marked, what is outside is shaded; default: the limits), own (the start's value: a tick, and what reset goes
        to) or None, own_name and seen_name (what tick and range are called), digits (decimals shown; 2), pinned
        (True, False, or None for no pin button), removable, tooltip.
        Assign a new list to change rows; the values in it are what the sliders go to. A value beyond the limits
        is shown as a number, with the slider at its end.
    values : dict
        key -> value, as moved last.

    Raises
    ------
    LisError
        Rows without a key, of equal keys, with limits the wrong way round, or with what is no finite number.

    Examples
    --------
    >>> sliders = Sliders(rows=[{"key": "17", "label": "unit 17", "low": 0.0, "high": 3.0, "value": 1.2}])
    >>> sliders.on_move(lambda values: print(values))
    """

    _esm = esm("kit.js", "keys.js", "sliders.js")
    _css = css("lis.css", "sliders.css")

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    moved = traitlets.Int(0).tag(sync=True)  # number of the newest move that `rows` knew of

    def __init__(self, rows: Sequence[Mapping[str, Any]] = (), **traits: Any) -> None:
        self._lock = threading.RLock()
        self._received = 0  # number of the newest move that arrived
        self._arrived: float | None = None  # when the first one came that no picture answers yet
        self._move_callbacks: list[Callable[[dict[str, float]], None]] = []
        self._action_callbacks: list[Callable[[str, str], None]] = []
        super().__init__(rows=list(rows), **traits)
        self.on_msg(self._receive)

    @traitlets.validate("rows")
    def _check_rows(self, proposal: Any) -> list[dict[str, Any]]:
        rows = [checked_row(row) for row in proposal["value"]]
        keys = [row["key"] for row in rows]
        for key in keys:
            if keys.count(key) > 1:
                raise LisError(f"there are {keys.count(key)} sliders of the key {key!r}; give each its own.")
        self.moved = self._received  # goes out before the rows
        return rows

    @property
    def values(self) -> dict[str, float]:
        """Where each slider is: key -> value."""
        return {row["key"]: row["value"] for row in self.rows}

    def set_values(self, values: Mapping[str, float]) -> None:
        """Move sliders from Python; one that is being dragged, or was moved since, stays where the hand has it.

        Raises
        ------
        LisError
            A key that no slider has, or a value that is no finite number.
        """
        rows = {row["key"]: row for row in self.rows}
        for key, value in values.items():
            if key not in rows:
                raise LisError(f"there is no slider {key!r}; there are {list(rows)}.")
            if not finite(value):
                raise LisError(f"the value of slider {key!r} is {value!r}; a finite number was expected.")
        with self._lock:
            for key, value in values.items():
                rows[key]["value"] = float(
                    value
                )  # in place: a page opened later is told, this one by message
            sent = {key: float(value) for key, value in values.items()}
            self.send({"kind": "values", "values": sent, "number": self._received})

    def shown(self) -> None:
        """Tell the browser that the picture of the newest move is out: it may send the next."""
        arrived, self._arrived = self._arrived, None
        took = None if arrived is None else round(1000 * (time.perf_counter() - arrived), 1)  # ms
        self.send({"kind": "shown", "number": self._received, "took": took})

    def on_move(self, callback: Callable[[dict[str, float]], None]) -> None:
        """Call back with the values that were moved in the browser: key -> value."""
        self._move_callbacks.append(callback)

    def on_action(self, callback: Callable[[str, str], None]) -> None:
        """Call back with key and "pin", "unpin", "remove" or "reset"; the slider was set to its own value by then."""
        self._action_callbacks.append(callback)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take moves and actions from the browser; anything else is passed over."""
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        if kind == "ping":
            self.send({"kind": "pong"})
        elif kind == "move":
            self._move(content)
        elif kind == "action":
            self._act(content.get("key"), content.get("action"))

    def _move(self, content: dict[str, Any]) -> None:
        values, number = content.get("values"), content.get("number")
        if not isinstance(values, dict) or type(number) is not int or not 0 < number <= LARGEST_NUMBER:
            return
        with self._lock:
            self._received = number
            if self._arrived is None:
                self._arrived = time.perf_counter()
            moved = {}
            for row in self.rows:
                value = values.get(row["key"])
                if finite(value):
                    row["value"] = moved[row["key"]] = min(max(float(value), row["low"]), row["high"])
        if not moved:
            self.shown()
            return
        for callback in self._move_callbacks:
            callback(moved)

    def _act(self, key: Any, action: Any) -> None:
        row = next((row for row in self.rows if row["key"] == key), None)
        if row is None or action not in ACTIONS:
            return
        if action == "reset":
            if row["own"] is None:
                return
            self.set_values({row["key"]: row["own"]})
        for callback in self._action_callbacks:
            callback(row["key"], action)


def finite(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number (and no bool)."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a row with what it leaves out, or raise LisError.

    Raises
    ------
    LisError
        No key, limits the wrong way round, a number that is not finite, a name that no row has.

    Examples
    --------
    >>> checked_row({"key": "17", "label": "unit 17", "low": 0.0, "high": 3.0, "value": 1.2})["digits"]
    2
    """
    key = row.get("key")
    if not isinstance(key, str) or not key:
        raise LisError(f"a slider has the key {key!r}; a text was expected.")
    unknown = set(row) - set(DEFAULTS) - {"key", "label", "low", "high", "value"}
    if unknown:
        raise LisError(f"slider {key!r} has {sorted(unknown)}, which no slider has.")
    full = {"label": key, **DEFAULTS, **row}
    for bound, limit in (("seen_low", "low"), ("seen_high", "high")):
        if full[bound] is None:
            full[bound] = full.get(limit)
    for name in (*NUMBERS, *(["own"] if full["own"] is not None else [])):
        number = full.get(name)
        number = getattr(number, "item", lambda number=number: number)()  # of numpy or torch
        if not finite(number):
            raise LisError(f"{name!r} of slider {key!r} is {number!r}; a finite number was expected.")
        full[name] = float(number)
    if not full["low"] < full["high"] or full["seen_low"] > full["seen_high"]:
        raise LisError(
            f"slider {key!r} goes from {full['low']} to {full['high']}, observed from {full['seen_low']} to "
            f"{full['seen_high']}; the low end must be below the high one."
        )
    return full
