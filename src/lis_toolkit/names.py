"""What users type: class names and indices, with a spelling hint when they don't exist, and numbers."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import LisError

LONGEST = 26  # letters of a name before it is cut


def cut(text: object, longest: int = LONGEST) -> str:
    """Return a text, or its beginning and an ellipsis when it has more than `longest` letters.

    Examples
    --------
    >>> cut("soft-coated wheaten terrier", 12)
    'soft-coated…'
    """
    full = str(text)
    return full if len(full) <= longest else full[: longest - 1].rstrip() + "…"


def spelling_hint(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'Coat'?" for the nearest known name, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def unique_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Return names in which those that occur several times carry their index: no class hides another.

    Examples
    --------
    >>> unique_names(["crane", "dog", "crane"])
    ('crane (0)', 'dog', 'crane (2)')
    """
    known = tuple(str(c) for c in classes)
    while len(set(known)) < len(known):  # again, should "crane (0)" have been a name already
        counts = Counter(known)
        known = tuple(f"{c} ({i})" if counts[c] > 1 else c for i, c in enumerate(known))
    return known


def class_index(which: str | int, classes: Sequence[str], owner: str = "the model") -> int:
    """Return the index of a class given by name or index.

    Raises
    ------
    LisError
        For a name or an index that `classes` does not have (negative indices included).

    Examples
    --------
    >>> class_index("Coat", ("Shirt", "Coat"))
    1
    """
    if isinstance(which, str):
        if which in classes:
            return list(classes).index(which)
        raise LisError(
            f"{owner} has no class {which!r}; it knows {_listing(classes)}.{spelling_hint(which, classes)}"
        )
    try:
        if isinstance(which, bool):
            raise TypeError
        index = operator.index(which)
    except TypeError:
        raise LisError(
            f"a class is a name or an index, got {which!r} ({type(which).__name__}); {owner} knows {_listing(classes)}."
        ) from None
    if not 0 <= index < len(classes):
        raise LisError(
            f"{owner} has no class {index}: it has {len(classes)}, numbered 0 to {len(classes) - 1}."
        )
    return index


def class_indices(
    which: Iterable[str | int] | str | int | None, classes: Sequence[str], owner: str = "the model"
) -> list[int]:
    """Return the indices of several classes, all of them for None.

    A single name or index counts as a list of one. An empty list, or a class given twice, is a LisError.

    Examples
    --------
    >>> class_indices(["Coat", 0], ("Shirt", "Coat"))
    [1, 0]
    """
    if which is None:
        return list(range(len(classes)))
    items: Any = which
    if isinstance(items, str) or not isinstance(items, Iterable):
        items = [items]
    elif getattr(items, "ndim", 1) == 0:
        items = [items.item()]  # type: ignore[attr-defined]  # a 0-d tensor or array
    indices = [class_index(item, classes, owner) for item in items]
    if not indices:
        raise LisError(
            f"the list of classes is empty; give names out of {_listing(classes)}, or None for all."
        )
    twice = sorted({i for i in indices if indices.count(i) > 1})
    if twice:
        raise LisError(
            f"class {classes[twice[0]]!r} (index {twice[0]}) is listed twice; give every class once."
        )
    return indices


def whole_number(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a whole number from `least` (to `most`), or say what was given."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        limit = "" if most is None else f" to {most}"
        raise LisError(f"{name} is {value!r}; a whole number from {least}{limit} was expected.")
    return number


def finite_number(value: Any, name: str, hint: str = "") -> float:
    """Return a finite real number as a float, or say what was given."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise LisError(f"{name} is {value!r}; a finite number was expected{hint}.")
    return number


def _listing(classes: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(c) for c in classes[:most])
    return shown + (f" and {len(classes) - most} more" if len(classes) > most else "")
