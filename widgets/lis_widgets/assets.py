"""The texts of `static/`, put together: every widget's module is self-contained and loads nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lis_toolkit.errors import LisError

STATIC = Path(__file__).parent / "static"


@cache
def esm(*names: str) -> str:
    """Join JavaScript files of `static/` into one module; shared helpers such as `kit.js` come first.

    Raises
    ------
    LisError
        A file that is not there.

    Examples
    --------
    >>> class Picture(anywidget.AnyWidget):
    ...     _esm = esm("kit.js", "picture.js")
    """
    return "\n".join(_read(name) for name in names)


@cache
def css(*names: str) -> str:
    """Join style sheets of `static/` into one; `lis.css`, which defines the colours, comes first.

    Raises
    ------
    LisError
        A file that is not there.

    Examples
    --------
    >>> class Picture(anywidget.AnyWidget):
    ...     _css = css("lis.css", "picture.css")
    """
    return "\n".join(_read(name) for name in names)


def _read(name: str) -> str:
    path = STATIC / name
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in STATIC.iterdir()))
        raise LisError(f"{name!r} is not one of the widgets' files ({known}): install lis-toolkit again.")
    return path.read_text(encoding="utf-8")
