"""How the measures of parts and their changes are written: percentages for shares, units where there are some."""

from __future__ import annotations

import math

from ..errors import LisError
from ..names import finite_number
from ..parts.measures import MEASURES

__all__ = ["amount", "change_label", "change_text", "checked_significance", "is_share"]

RELATIVE = "area_relative"  # a measure of changes only
SHARES = frozenset({"area", RELATIVE, "foreground"})
WITH_RELATIVE = frozenset({"area", "foreground", "perimeter", "major_axis", "minor_axis"})
OTHERS = {
    RELATIVE: ("area", "share of the first step's"),
    "foreground": ("foreground", "share of the picture"),
}


def is_share(measure: str) -> bool:
    """Return whether a measure is a share of something, written as a percentage."""
    return measure in SHARES


def checked_significance(value: float) -> float:
    """Return a share of false findings after a check.

    Raises
    ------
    LisError : no number above 0 and up to 1.

    Examples
    --------
    >>> checked_significance(0.05)
    0.05
    """
    if not 0 < finite_number(value, "significance") <= 1:
        raise LisError(f"significance is {value!r}; a number above 0, up to 1, was expected.")
    return float(value)


def change_label(measure: str) -> str:
    """Return the text beside an axis of changes.

    Examples
    --------
    >>> change_label("entropy")
    'change of local entropy, first to last step (bits)'
    """
    known = MEASURES.get(measure)
    label, unit = (known.label, known.unit) if known else OTHERS.get(measure, (measure, ""))
    return f"change of {label}, first to last step" + (f" ({unit})" if unit else "")


def amount(measure: str, value: float, signed: bool = False) -> str:
    """Return a value of a measure as short text; a dash for none.

    Examples
    --------
    >>> amount("area", 0.123), amount("entropy", -1.5, signed=True)
    ('12.3 %', '-1.5')
    """
    if math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    if is_share(measure):
        percent = 100 * value
        return f"{percent:{sign}.{0 if abs(percent) >= 99.95 else 1}f} %"
    return f"{value:{sign}.3g}"


def change_text(measure: str, first: float, last: float, vanished: bool = False) -> str:
    """Return "first → last", and for sizes by how much of the first that is.

    Examples
    --------
    >>> change_text("area", 0.1, 0.15)
    '10.0 % → 15.0 % (+50 %)'
    """
    measure = "area" if measure == RELATIVE else measure
    text = f"{amount(measure, first)} → {'absent' if vanished else amount(measure, last)}"
    if measure in WITH_RELATIVE and first > 0 and not (math.isnan(last) or vanished):
        text += f" ({100 * (last / first - 1):+.0f} %)"
    return text
