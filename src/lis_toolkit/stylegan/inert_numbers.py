"""Numbers of inert records: Python's own, and numpy's scalars and small arrays."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lis_toolkit.stylegan.inert_pickle import Name, Record

MOST_NUMBERS = 64  # of an array; sizes and paddings have two or four
_SCALAR = {Name(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")}
_ARRAY = {Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_BUFFER = {Name(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
_DTYPE = Name("numpy", "dtype")
_KIND = re.compile(r"[<>=|]?([iufb][1248])")


def numbers(value: Any) -> list[Any] | None:
    """Give the numbers of a list, a tuple or a small numpy array as a list, or None for anything else.

    Examples
    --------
    >>> numbers((36, 36))
    [36, 36]
    """
    if isinstance(value, (list, tuple)) and len(value) <= MOST_NUMBERS:
        found = [number(item) for item in value]
        return None if any(item is None for item in found) else found
    if not isinstance(value, Record):
        return None
    if value.name in _ARRAY and isinstance(value.state, tuple) and len(value.state) == 5:
        return _array(value.state[2], value.state[4], value.state[1])
    if value.name in _BUFFER and len(value.args) >= 3:
        return _array(value.args[1], value.args[0], value.args[2])
    return None


def number(value: Any) -> Any:
    """Give a number or a truth value as Python's own, or None for anything else.

    Examples
    --------
    >>> number(0.5), number("0.5")
    (0.5, None)
    """
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Record) and value.name in _SCALAR and len(value.args) == 2:
        found = _array(value.args[0], value.args[1], ())
    else:  # an array without dimensions
        found = numbers(value) if isinstance(value, Record) else None
    return found[0] if found is not None and len(found) == 1 else None


def whole(value: Any) -> int | None:
    """Give a whole number, also one that is stored as a float, or None for anything else."""
    found = number(value)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def real(value: Any) -> float | None:
    """Give a number as a float, or None for anything else."""
    found = number(value)
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63:
        return float(found)
    return found if isinstance(found, float) else None


def _array(dtype: Any, data: Any, shape: Any) -> list[Any] | None:
    """Read the bytes of an array of plain numbers; None when its dtype, shape and bytes don't say the same."""
    if not isinstance(dtype, Record) or dtype.name != _DTYPE or not dtype.args:
        return None
    kind = _KIND.fullmatch(dtype.args[0]) if isinstance(dtype.args[0], str) else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "|"
    if kind is None or order not in ("<", ">", "|", "=") or not isinstance(data, bytes):
        return None
    if kind.group(1)[0] == "b" and kind.group(1) != "b1":
        return None
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n <= MOST_NUMBERS for n in shape):
        return None
    if kind.group(1) == "f1":
        return None
    item = np.dtype(("<" if order in "|=" else order) + kind.group(1))
    count = int(np.prod(shape, dtype=float)) if len(shape) <= 4 else MOST_NUMBERS + 1
    if count > MOST_NUMBERS or len(data) != count * item.itemsize:
        return None
    result: list[Any] = np.frombuffer(data, item).tolist()
    return result
