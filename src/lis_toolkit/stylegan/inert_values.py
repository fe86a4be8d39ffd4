"""What a pickle becomes that is read without doing what it says: names and records that were never called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Name:
    """A module and a name in it, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return repr(f"{self.module}.{self.name}".lstrip(".")[:120])[1:-1]  # no control characters in messages


@dataclass(eq=False, slots=True)
class Record:
    """What a call or an instance would have been made of: nothing was called.

    Attributes
    ----------
    name : what would have been called.
    args : its arguments.
    state : what the instance's attributes would have been set to, or None.
    items, pairs : what would have been appended, and set by key.
    offset : the byte of the file where it was made.
    """

    name: Name
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] | None = None
    pairs: list[Any] | None = None
    offset: int = 0

    def __repr__(self) -> str:
        return f"<inert {self.name}>"


@dataclass(eq=False, slots=True)
class LongText:
    """A long text, UTF-8 in the file, not decoded until someone asks."""

    data: memoryview

    def __repr__(self) -> str:
        return f"<text of {len(self.data)} bytes>"


@dataclass(eq=False, slots=True)
class LatinBytes:
    """Bytes that protocols before 3 write as a text, one character each; made on demand."""

    text: LongText

    def __repr__(self) -> str:
        return f"<bytes in a text of {len(self.text.data)} bytes>"


def describe(value: Any) -> str:
    """Say what a value from a file is, in a few words, however large or deeply nested it is."""
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)) and len(value) > 60:
        return f"{value[:60]!r}..."
    return f"the name {value}" if isinstance(value, Name) else repr(value)[:200]


def short(value: Any) -> str:
    """Give a name from a file as it is, if it is a short and printable text."""
    return repr(value[:40])[1:-1] if isinstance(value, str) else describe(value)[:40]


UNNAMED = Name("", "result of an inert record")
