"""What setting a unit changed: a measure at the last step minus at the first, sample by sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import spelling_hint
from ..parts.measures import ABSENT, MEASURES
from .ends import SweepEnds

if TYPE_CHECKING:
    import pandas as pd

MISSING = -1  # in place of a part's code: the table has no such row
EXTENTS = (
    "area",
    "perimeter",
    "components",
)  # 0 where the part is absent; other measures are undefined there
RELATIVE = "area_relative"  # change of the area divided by the area at the first step
CIRCULAR = [name for name, known in MEASURES.items() if known.circular]
WHOLE = "picture"
LOGIT = "logit"


@dataclass(frozen=True)
class UnitChanges:
    """Change of one measure of one part from the first step to the last, for U units and S samples.

    Attributes
    ----------
    part, measure : what was measured.
    units : [U], indices of the units.
    samples : a row per sample, columns "class" and "sample".
    values : float64 [U, S], last step minus first; NaN where the change is not defined.
    vanished, appeared : bool [U, S], the part is absent in the last picture only, or in the first only.
    """

    part: str
    measure: str
    units: np.ndarray
    samples: pd.DataFrame
    values: np.ndarray
    vanished: np.ndarray
    appeared: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Return a row per unit and sample: unit, sample, class, change, vanished, appeared."""
        import pandas as pd

        shape = self.values.shape
        return pd.DataFrame({
            "unit": np.repeat(self.units, shape[1]),
            "sample": np.tile(self.samples["sample"].to_numpy(), shape[0]),
            "class": np.tile(self.samples["class"].to_numpy(dtype=object), shape[0]),
            "change": self.values.ravel(),
            "vanished": self.vanished.ravel(),
            "appeared": self.appeared.ravel(),
        })  # fmt: skip


def angle_change(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Turn from one axis to another by the shortest way, in [-pi/2, pi/2): axes have no head, their period is pi."""
    return (last - first + np.pi / 2) % np.pi - np.pi / 2


def change_of(
    measure: str,
    first: np.ndarray,
    last: np.ndarray,
    codes: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return change, vanished and appeared, each of the shape of `first`.

    A part that is absent at both ends has no change (NaN). One that vanished or appeared has a change of area,
    perimeter and number of components, which are 0 where it is absent, and a relative change of area of -1 when it
    vanished; its other measures have none.
    """
    first, last = first.astype(np.float64), last.astype(np.float64)
    if codes is None:
        vanished = appeared = np.zeros(first.shape, bool)
    else:
        known = (codes[0] != MISSING) & (codes[1] != MISSING)
        gone = [code == ABSENT for code in codes]
        vanished, appeared = known & ~gone[0] & gone[1], known & gone[0] & ~gone[1]
        undefined = np.nan if measure not in (*EXTENTS, RELATIVE) else 0.0
        first, last = np.where(gone[0], undefined, first), np.where(gone[1], undefined, last)
        first = np.where(~known | (gone[0] & gone[1]), np.nan, first)
    if measure in CIRCULAR:
        return angle_change(first, last), vanished, appeared
    change = last - first
    if measure == RELATIVE:
        change = np.divide(change, first, out=np.full(first.shape, np.nan), where=first > 0)
    return change, vanished, appeared


def column_of(part: str, measure: str) -> str:
    """Name of the column that a measure of a part is computed from."""
    return f"{part}.{'area' if measure == RELATIVE else measure}"


def measured(columns: Iterable[str]) -> dict[str, list[str]]:
    """Measures of every part that a table's columns hold, "picture" and "logit" included, in their order."""
    found: dict[str, list[str]] = {}
    for column in columns:
        # A class name may hold a dot, and so may a part's; a measure's never does.
        part, dot, measure = (
            column.partition(".") if column.startswith(LOGIT + ".") else column.rpartition(".")
        )
        if not dot or not part or measure == "code":
            continue
        found.setdefault(part, []).append(measure)
        if measure == "area" and part != LOGIT:
            found[part].append(RELATIVE)
    return found


def chosen_pairs(
    known: dict[str, list[str]], part: str | Sequence[str] | None, measure: str | Sequence[str] | None
) -> list[tuple[str, str]]:
    """Give the pairs (part, measure) asked for, in the table's order; without names all but the logits.

    Raises
    ------
    LisError : a part or a measure that the table does not have, or no combination of those asked for.
    """
    parts = _chosen(part, list(known), "part", [p for p in known if p != LOGIT])
    everything = list(dict.fromkeys(m for p in parts for m in known[p]))
    measures = _chosen(measure, everything, "measure of " + (", ".join(parts[:6]) or "a part"), everything)
    pairs = [(p, m) for p in parts for m in known[p] if m in measures]
    if not pairs:
        raise LisError("the table has no measures: columns such as 'sleeve.area' were expected.")
    return pairs


def _chosen(given: str | Sequence[str] | None, known: list[str], what: str, default: list[str]) -> list[str]:
    if given is None:
        return default
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in known:
            listed = ", ".join(known[:16]) + (f" and {len(known) - 16} more" if len(known) > 16 else "")
            raise LisError(
                f"the table has no {what} {name!r}; it has {listed}.{spelling_hint(str(name), known)}"
            )
    if not names:
        raise LisError(f"the list of names for {what} is empty; give names, or None for all.")
    return [name for name in known if name in names]


def unit_changes(
    sweep: Any, part: str, measure: str, *, relative: bool = False, units: Sequence[int] | None = None
) -> UnitChanges:
    """Change of a measure between the first and the last value of every unit, paired within each sample.

    Linking in Style (arXiv 2409.16865, section 3): "change from first to last step".

    Parameters
    ----------
    sweep : Sweep, or its table (a DataFrame with the columns unit, sample, class, step, "<part>.<measure>" and, so that
        absent parts are known, "<part>.code").
    part : name of a part, or "picture".
    measure : such as "area". Angles turn by the shortest way.
    relative : divide by the first step's value; for areas.
    units : which units; None: all.

    Returns
    -------
    UnitChanges

    Raises
    ------
    LisError : unknown parts, measures or units, a table without these columns, one step only, rows that occur twice,
        infinite values.

    Examples
    --------
    >>> changes = unit_changes(sweep, "sleeve", "area")
    >>> changes.values.shape
    (256, 500)
    """
    ends = SweepEnds(sweep)
    if relative and measure == "area":
        measure = RELATIVE
    elif relative and measure != RELATIVE:
        raise LisError(
            f"relative is True for {measure!r}; only an area's change is given relative to the first."
        )
    [(part, measure)] = chosen_pairs(measured(ends.columns), part, measure)
    places = ends.places(units)
    column, code = column_of(part, measure), f"{part}.code"
    read = ends.read([column, code] if code in ends.columns else [column], places)
    values, vanished, appeared = change_of(measure, *read[column], read.get(code))
    return UnitChanges(part, measure, ends.units[places], ends.samples.copy(), values, vanished, appeared)
