"""A setting as code: a cell that gives the same picture without a widget."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .setting import UnitSetting

if TYPE_CHECKING:
    from .session import UnitSession

__all__ = ["as_code", "start_lines"]

WIDTH = 100  # letters of a line


def as_code(setting: UnitSetting, session: UnitSession | None = None, outlines: bool = False) -> str:
    """Return a cell that shows what a setting shows, from variables `generator`, `classifier` and `link`.

    Numbers are written so that the same picture comes out, bit for bit.

    Parameters
    ----------
    session : the one that the setting is of; one with pairs needs the variable `pairs`, too. None: fresh samples.
    outlines : with the parts' outlines, from the variable `segmenter`.

    Examples
    --------
    >>> print(as_code(UnitSetting("Coat", seed=3, values={17: 1.2}), session))
    """
    given = ["generator", "classifier", "link"]
    if setting.r is None and session is not None and session.pairs is not None:
        given.append("pairs=pairs")
    if setting.companions:
        given.append("companions=companions")
    if outlines:
        given.append("segmenter=segmenter")
    lines = [
        "import torch" if setting.r is not None else "",
        "from lis_toolkit import UnitSession",
        "",
        f"session = UnitSession({', '.join(given)})",
    ]
    lines += start_lines(setting)
    values = "{" + ", ".join(f"{unit}: {value!r}" for unit, value in setting.values.items()) + "}"
    if len(values) > WIDTH - 40:
        lines += ["values = {", *_wrapped(values[1:-1]), "}"]
        values = "values"
    options = "" if setting.unit is None else f", unit={setting.unit}"
    options += ", companions=True" if setting.companions else ""
    options += ", outlines=True" if outlines else ""
    lines += [
        f"state = session.tune(start, {values}{options})",
        'print(*state.captions(), sep="\\n")',
        f"state.image({'outlines=True' if outlines else ''})",
    ]
    return "\n".join(lines).lstrip() + "\n"


def start_lines(setting: UnitSetting) -> list[str]:
    """Return lines of code that make `start` from `session`, as a setting says; with activations they need torch.

    Examples
    --------
    >>> start_lines(UnitSetting("Coat", seed=3))
    ["start = session.start('Coat', seed=3)"]
    """
    if setting.r is None:
        psi = "" if setting.psi is None else f", psi={setting.psi!r}"
        return [f"start = session.start({setting.which!r}, seed={setting.seed}{psi})"]
    return [
        "r = torch.tensor([",
        *_wrapped(", ".join(map(_short, setting.r))),
        "])",
        f"start = session.start_from(r{f', {setting.r_name!r}' if setting.r_name else ''})",
    ]


def _short(value: float) -> str:
    """Write an activation with as few digits as give the same float32."""
    short = float(str(np.float32(value)))
    return repr(short if np.float32(short) == np.float32(value) else value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
