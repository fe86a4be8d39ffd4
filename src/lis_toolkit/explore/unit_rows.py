"""The list of units of an explorer: sorted, searched, each with a small picture of its numbers."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import LisError
from ..parts.measures import MEASURES
from ..rankings.rows import POOLED
from ..rankings.texts import OTHERS, amount
from ..selectivity import rank_units
from .distribution import spark_histograms

if TYPE_CHECKING:
    import pandas as pd

    from .session import UnitSession

__all__ = ["UnitRow", "matching_rows", "unit_rows"]

NEEDED = ("unit", "part", "measure", "class", "mean_change", "effect", "q")
JOINED = re.compile(r"\bunit(?=\d)")  # "unit17"
SMALL_Q = 0.001  # below it the digits say nothing more
DIGITS = 3  # of a spark; it is 60 pixels wide
_lists: weakref.WeakKeyDictionary[Any, list[UnitRow]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class UnitRow:
    """A line of the list.

    Attributes
    ----------
    unit : index.
    text : its name.
    detail : why it stands there: spread, or the change of the part and its q.
    spark : small bars: of a histogram 0 .. 1, of effects on the parts -1 .. 1; empty where there are none.
    mark : the bar of the part that the list is sorted by, or None.
    kind : what the bars are, "histogram" or "effects".
    """

    unit: int
    text: str
    detail: str
    spark: tuple[float, ...] = ()
    mark: int | None = None
    kind: Literal["histogram", "effects"] = "histogram"


def unit_rows(
    session: UnitSession,
    scores: pd.DataFrame | None = None,
    part: str | None = None,
    measure: str | None = None,
    class_name: str = POOLED,
    direction: Literal["more", "less"] | None = None,
    pattern: str = "",
) -> list[UnitRow]:
    """List the units that can be turned: by spread, or by what they do to a part.

    Parameters
    ----------
    scores : of `score_selectivity`, or of `rank_units`; None: by spread over the link's pairs, the widest first.
    part, measure : what to sort by; None: the first that the scores have.
    class_name : "all" is all classes together; scores of a single class are taken as they are.
    direction : "more" or "less": units that raise or lower the measure only.
    pattern : what was typed into a search box, see `matching_rows`.

    Returns
    -------
    list of UnitRow
        Empty where nothing matches.

    Raises
    ------
    LisError : scores that are none, names that they do not have.

    Examples
    --------
    >>> unit_rows(session, scores, part="sleeve", measure="area", direction="more")[0].detail
    '+3.1 % of the picture, q 0.002'
    """
    if scores is None:
        return matching_rows(_by_spread(session), pattern)
    return matching_rows(_by_scores(session, scores, part, measure, class_name, direction), pattern)


def matching_rows(rows: Sequence[UnitRow], pattern: str) -> list[UnitRow]:
    """Return the rows that a search finds, in their order; quicker than a new list when only the search changes.

    Parameters
    ----------
    pattern : words that a row must have all: the beginning of its number, or a piece of its texts, in small letters or
        capitals. Empty: all.

    Examples
    --------
    >>> [row.unit for row in matching_rows(unit_rows(session), "unit 17")]
    [17, 172]
    """
    words = JOINED.sub("unit ", pattern.lower()).split()
    return [row for row in rows if _matches(row, words)]


def _by_spread(session: UnitSession) -> list[UnitRow]:
    if session not in _lists:
        reals, spreads = session.reals, session.link.unit_std.tolist()
        bars = [] if reals is None else spark_histograms(reals).round(DIGITS).tolist()
        _lists[session] = [
            UnitRow(unit, f"unit {unit}", f"spread {spreads[unit]:.2g}", tuple(bars[unit]) if bars else ())
            for unit in session.units
        ]
    return _lists[session]


def _by_scores(
    session: UnitSession,
    scores: pd.DataFrame,
    part: str | None,
    measure: str | None,
    class_name: str,
    direction: Literal["more", "less"] | None,
) -> list[UnitRow]:
    missing = [name for name in NEEDED if name not in getattr(scores, "columns", ())]
    if missing:
        raise LisError(
            f"the scores have no column {missing[0]!r}; a table of score_selectivity or rank_units was expected."
        )
    scores = scores.drop(columns="rank", errors="ignore")
    strangers = [u for u in scores["unit"].unique().tolist() if u not in range(session.link.num_units)]
    if strangers:
        raise LisError(
            f"the scores have the unit {strangers[0]!r}, the link has the units 0 to {session.link.num_units - 1}: "
            "these are scores of another classifier."
        )
    if len(scores) == 0:
        return []
    part = str(scores["part"].iloc[0]) if part is None else part
    if measure is None:
        own = scores.loc[scores["part"] == part, "measure"]
        measure = str((scores["measure"] if len(own) == 0 else own).iloc[0])
    classes = scores["class"].astype(str).unique()
    if class_name == POOLED and len(classes) == 1:
        class_name = str(classes[0])
    ranked = rank_units(scores, part, measure, class_name, direction=direction)
    parts = list(dict.fromkeys(scores.loc[scores["measure"] == measure, "part"].astype(str)))
    sparks = _effects(scores, measure, class_name, parts) if len(parts) > 1 else {}
    varies = set(session.units)
    mark = parts.index(part) if sparks else None
    return [
        UnitRow(unit, f"unit {unit}", _detail(measure, change, q), sparks.get(unit, ()), mark, "effects")
        for unit, change, q in zip(
            ranked["unit"].tolist(), ranked["mean_change"].tolist(), ranked["q"].tolist(), strict=True
        )
        if unit in varies
    ]


def _effects(
    scores: pd.DataFrame, measure: str, class_name: str, parts: list[str]
) -> dict[int, tuple[float, ...]]:
    """Return unit -> its effect on each part, of the largest finite one of all units."""
    rows = scores[(scores["measure"] == measure) & (scores["class"] == class_name)]
    table = rows.assign(part=rows["part"].astype(str)).drop_duplicates(["unit", "part"])
    wide = table.pivot(index="unit", columns="part", values="effect").reindex(columns=parts)
    values = wide.to_numpy(float)  # [U, P]
    finite = np.abs(values[np.isfinite(values)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    bars = np.clip(np.nan_to_num(values / limit, nan=0.0, posinf=1.0, neginf=-1.0), -1, 1).round(DIGITS)
    return {
        int(unit): tuple(row) for unit, row in zip(wide.index.tolist(), (bars + 0.0).tolist(), strict=True)
    }


def _detail(measure: str, change: float, q: float) -> str:
    if math.isnan(change):
        return "too few samples"
    known = MEASURES.get(measure)
    unit = known.unit if known else OTHERS.get(measure, ("", ""))[1]
    of = unit.removeprefix("share ") if unit.startswith("share of") else unit
    # A range, such as "0 to 1", is nothing to write behind a change.
    of = "" if of[:1].isdigit() or of == "count" else of
    told = f"{amount(measure, change, signed=True)} {of}".strip()
    if math.isnan(q):
        return told
    return f"{told}, q < 0.001" if q < SMALL_Q else f"{told}, q {q:.2g}"


def _matches(row: UnitRow, words: Sequence[str]) -> bool:
    text = f"{row.text} {row.detail}".lower()
    return all(str(row.unit).startswith(word) if word.isdigit() else word in text for word in words)
