"""How the measures of parts and their changes are written: percentages for shares, units where there are some."""

from __future__ import annotations

import math

__all__ = ["amount", "change_label", "change_text", "is_share"]

SHARES = frozenset({"area", "area_relative", "foreground"})
UNITS = {
    "area": "share of the picture",
    "foreground": "share of the picture",
    "area_relative": "share of the first step's area",
    "luminance": "image range 0 to 1",
    "red": "image range 0 to 1",
    "green": "image range 0 to 1",
    "blue": "image range 0 to 1",
    "entropy": "bits",
    "perimeter": "pixels",
    "centre_x": "pixels, right is more",
    "centre_y": "pixels, down is more",
    "major_axis": "pixels",
    "minor_axis": "pixels",
    "angle": "radians",
    "components": "number",
}


def is_share(measure: str) -> bool:
    """Return whether a measure is a share of something, written as a percentage."""
    return measure in SHARES


def change_label(measure: str) -> str:
    """Return the text beside an axis of changes.

    Examples
    --------
    >>> change_label("entropy")
    'change of entropy, first to last step (bits)'
    """
    unit = UNITS.get(measure)
    return f"change of {measure}, first to last step" + (f" ({unit})" if unit else "")


def amount(measure: str, value: float, signed: bool = False) -> str:
    """Return a value of a measure as short text; a dash for none.

    Examples
    --------
    >>> amount("area", 0.123), amount("entropy", -1.5, signed=True)
    ('12.3 %', '-1.5')
    """
    if value is None or math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    if is_share(measure):
        percent = 100 * value
        return f"{percent:{sign}.{0 if abs(percent) >= 99.95 else 1}f} %"
    return f"{value:{sign}.3g}"


def change_text(measure: str, first: float, last: float) -> str:
    """Return "first -> last", and for areas how much that is of the first.

    Examples
    --------
    >>> change_text("area", 0.1, 0.15)
    '10.0 % → 15.0 % (+50 %)'
    """
    text = f"{amount(measure, first)} → {amount(measure, last)}"
    if measure in ("area", "foreground", "perimeter") and first > 0 and not math.isnan(last):
        text += f" ({100 * (last / first - 1):+.0f} %)"
    return text
