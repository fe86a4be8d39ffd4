"""A place along a way as code: a cell that searches it again and shows the same picture, without a widget."""

from __future__ import annotations

from ..explore.code import start_lines
from .session import CounterfactualSession
from .setting import CounterfactualSetting

__all__ = ["counterfactual_code"]


def counterfactual_code(
    setting: CounterfactualSetting, session: CounterfactualSession, outlines: bool = False
) -> str:
    """Return a cell that shows what a setting shows, from variables `generator`, `classifier` and `link`.

    It needs the variables `photographs`, `pairs` and `segmenter`, too, where the session has what the setting uses.
    The same picture comes out, bit for bit.

    Examples
    --------
    >>> print(counterfactual_code(CounterfactualSetting("Coat", seed=3, target="Shirt"), session))
    """
    asked = session.asked(setting)
    sampled = setting.r is None and setting.photograph is None
    given = ["generator", "classifier", "link"]
    if session.pairs is not None and (sampled or "pairs" in asked):
        given.append("pairs=pairs")
    if setting.photograph is not None:
        given.append("photographs=photographs")
    if outlines:
        given.append("segmenter=segmenter")
    start = start_lines(setting)
    if setting.photograph is not None:
        start = [f"start = session.start_photograph({setting.photograph})"]
    options = ", ".join(f"{n}={'pairs' if n == 'pairs' else repr(v)}" for n, v in asked.items())
    shown = "outlines=True" if outlines else ""
    lines = [
        *(["import torch"] if "torch" in start[0] else []),
        "from lis_toolkit import find_counterfactuals",
        "from lis_toolkit.counterfactuals import CounterfactualSession",
        "",
        f"session = CounterfactualSession({', '.join(given)})",
        *start,
        "result = find_counterfactuals(",
        f"    generator, classifier, link, start.r[None], {options}",
        ")",
        "print(result)",
        f"state = session.along(start, result, {setting.place!r}{', ' + shown if shown else ''})",
        'print(*state.captions(), sep="\\n")',
        f"state.image({shown})",
    ]
    return "\n".join(lines) + "\n"
