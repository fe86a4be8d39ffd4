"""Which classes have a part: those whose samples tell what a unit does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import LisError
from ..parts.measures import ABSENT
from .changes import MISSING, measured
from .ends import SweepEnds

CHUNK = 2**22  # codes that are in memory at a time


def part_occurrence(sweep: Any, part: str) -> dict[str, float]:
    """Return, for each class of a sweep, the share of start pictures that have the part.

    Parameters
    ----------
    sweep : Sweep, or its table, which has no start pictures: those of the first step count, over all its units.
    part : name of a part; a whole picture is always there.

    Raises
    ------
    LisError : a part that the sweep does not have, and what `score_selectivity` refuses of tables.

    Examples
    --------
    >>> part_occurrence(sweep, "sleeve")
    {'Pullover': 1.0, 'Trouser': 0.0}
    """
    ends = SweepEnds(sweep)
    known = measured(ends.columns)
    if part not in known:
        raise LisError(f"the table has no part {part!r}; it has {', '.join(list(known)[:16])}.")
    return occurrences(ends, [part])[part]


def occurrences(ends: SweepEnds, parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return `part_occurrence` of several parts; a class of which nothing is known has NaN."""
    found = {}
    for part in parts:
        code = f"{part}.code"
        if code not in ends.columns:
            found[part] = dict.fromkeys(ends.classes, 1.0)
        elif ends.start is not None:
            there = (ends.start[code] != ABSENT).groupby(ends.start["class"].astype(str)).mean()
            found[part] = {name: float(there.get(name, np.nan)) for name in ends.classes}
        else:
            found[part] = _at_first_step(ends, code)
    return found


def _at_first_step(ends: SweepEnds, code: str) -> dict[str, float]:
    names = ends.samples["class"].to_numpy()
    have, known = np.zeros(len(names)), np.zeros(len(names))  # [S]
    step = max(1, CHUNK // len(names))
    for begin in range(0, len(ends.units), step):
        codes, _ = ends.read([code], np.arange(begin, min(begin + step, len(ends.units))))[code]  # [u, S]
        have += ((codes != ABSENT) & (codes != MISSING)).sum(0)
        known += (codes != MISSING).sum(0)
    shares = {}
    for name in ends.classes:
        count = known[names == name].sum()
        shares[name] = float(have[names == name].sum() / count) if count else float("nan")
    return shares


def pooled_classes(shares: Mapping[str, float], classes: Sequence[str], least: float) -> list[int]:
    """Return the places in `classes` of those that have a part in this share of pictures; all, if none has.

    Examples
    --------
    >>> pooled_classes({"Shirt": 1.0, "Bag": 0.1}, ["Bag", "Shirt"], 0.5)
    [1]
    """
    often = [k for k, name in enumerate(classes) if shares[name] >= least]
    return often if often and least > 0 else list(range(len(classes)))
