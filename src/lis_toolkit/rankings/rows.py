"""What the figures of a ranking draw: its rows chosen by name, units against parts as a matrix, texts cut to length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import cut, spelling_hint, whole_number
from .texts import checked_significance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "EffectMatrix",
    "chosen_rows",
    "cut",
    "effect_matrix",
    "minus_log_q",
    "profile_choice",
    "profile_rows",
    "ranking_title",
    "top_rows",
    "unit_rows",
    "volcano_rows",
]

POOLED = "all"  # the class under which a ranking holds all samples together
NEEDED = ("unit", "part", "measure", "class", "mean_change", "low", "high", "effect", "q")
SCALED = ("mean_change", "low", "high", "q")
SIGNIFICANT = 0.05  # share of false findings among those that are marked


def chosen_rows(
    ranking: pd.DataFrame,
    part: str | None = None,
    measure: str | None = "area",
    class_name: str | None = POOLED,
) -> pd.DataFrame:
    """Return the rows of one part, measure and class; None keeps them all.

    Parameters
    ----------
    ranking : what `score_selectivity` returned: a row for each unit, part, measure and class.
    part, measure, class_name : names; the class "all" holds the samples of all classes together.

    Raises
    ------
    LisError : a table that is no ranking or is empty, a name that it does not have, or no row that has all three.

    Examples
    --------
    >>> chosen_rows(ranking, "sleeve", "area", "Shirt")
    """
    missing = [name for name in NEEDED if name not in getattr(ranking, "columns", ())]
    if missing or len(ranking) == 0:
        what = f"has no column {missing[0]!r}" if missing else "is empty"
        raise LisError(
            f"the ranking {what}; a table as score_selectivity returns it was expected, with a row for each unit, "
            "part, measure and class."
        )
    rows = ranking
    for column, name in (("part", part), ("measure", measure), ("class", class_name)):
        if name is None:
            continue
        known = [str(one) for one in ranking[column].dropna().unique()]
        if name not in known:
            listed = ", ".join(known[:30]) + (f" and {len(known) - 30} more" if len(known) > 30 else "")
            raise LisError(
                f"the ranking has no {column} {name!r}; it has {listed}.{spelling_hint(str(name), known)}"
            )
        rows = rows[rows[column] == name]
    if len(rows) == 0:
        asked = ", ".join(
            f"{what} {name!r}"
            for what, name in (("part", part), ("measure", measure), ("class", class_name))
            if name
        )
        raise LisError(
            f"the ranking has no row of {asked} together; score them with score_selectivity first."
        )
    # Effects may be infinite, when all changes are equal; what is drawn to scale can't be.
    return rows.assign(**{name: rows[name].where(rows[name].abs() < math.inf) for name in SCALED})


def unit_rows(rows: pd.DataFrame, units: Sequence[int] | None, top: int, by: str = "effect") -> pd.DataFrame:
    """Return the rows of the given units in their order, or of the `top` units whose `by` is farthest from 0.

    Raises
    ------
    LisError : an empty list of units, one that the rows do not have, or no row with a value.

    Examples
    --------
    >>> unit_rows(chosen_rows(ranking, "sleeve"), units=[17, 3], top=20)
    """
    if units is None:
        return top_rows(rows, top, by)
    given: Any = units
    if not isinstance(given, Iterable):
        raise LisError(f"units are {units!r}; a list of whole numbers was expected.")
    wanted = [whole_number(unit, "a unit", 0) for unit in units]
    known = set(rows["unit"].tolist())
    absent = [unit for unit in wanted if unit not in known]
    if absent or not wanted:
        what = f"unit {absent[0]} is not in the ranking" if absent else "the list of units is empty"
        raise LisError(
            f"{what}; give some of its {len(known)} units, {min(known)} to {max(known)}, or None for the top ones."
        )
    return rows[rows["unit"].isin(wanted)].sort_values(
        "unit", key=lambda unit: unit.map(wanted.index), kind="stable"
    )


def top_rows(
    rows: pd.DataFrame, top: int = 20, by: str = "effect", direction: str | None = None
) -> pd.DataFrame:
    """Return the `top` rows whose value `by` is farthest from 0, the farthest first; rows without a value are left out.

    Parameters
    ----------
    rows : of a ranking.
    top : how many at most.
    by : a column.
    direction : "more" keeps positive values, "less" negative ones, None both.

    Raises
    ------
    LisError : no row has a value in this direction, or another direction.

    Examples
    --------
    >>> top_rows(chosen_rows(ranking, "sleeve"), 5, direction="more").unit.tolist()
    """
    if direction not in (None, "more", "less"):
        raise LisError(f"direction is {direction!r}; 'more', 'less' or None for both was expected.")
    whole_number(top, "top", 1)
    kept = rows[rows[by].notna()]
    if direction is not None:
        kept = kept[kept[by] > 0] if direction == "more" else kept[kept[by] < 0]
    if len(kept) == 0:
        raise LisError(
            f"none of the {len(rows)} rows has a value in {by}{f' in direction {direction!r}' if direction else ''}; "
            "choose another part, class or direction, or sweep with more samples."
        )
    return kept.sort_values(by, key=lambda value: -value.abs(), kind="stable").head(top)


def minus_log_q(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return -log10 of q [N], and which of them [N] had q = 0, drawn at the height of the smallest q above it.

    Examples
    --------
    >>> height, capped = minus_log_q(chosen_rows(ranking, "sleeve"))
    """
    import numpy as np

    q = rows["q"].to_numpy(float)
    above = q[q > 0]
    floor = min(float(above.min()), 1e-4) if len(above) else 1e-4
    capped = q == 0
    with np.errstate(invalid="ignore"):
        return -np.log10(np.where(capped, floor, q)) + 0.0, capped


@dataclass(frozen=True)
class EffectMatrix:
    """Values of some units (rows) for all parts (columns) of one measure and class.

    Attributes
    ----------
    units : the U units, in the order in which they are drawn.
    parts : names of the P parts that have a value.
    values : [U, P], NaN where there is none.
    significant : [U, P], where q is below the given share.
    q : [U, P], corrected for the number of tests.
    of : how many units there were to choose from.
    """

    units: list[int]
    parts: list[str]
    values: np.ndarray
    significant: np.ndarray
    q: np.ndarray
    of: int


def effect_matrix(
    ranking: pd.DataFrame,
    measure: str = "area",
    class_name: str = POOLED,
    value: str = "effect",
    most: int = 40,
    order: str = "clustered",
    significance: float = SIGNIFICANT,
) -> EffectMatrix:
    """Arrange a ranking as units against parts: the units with the largest values, like beside like.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    measure, class_name : which of its rows.
    value : the column that fills the matrix.
    most : units that are kept: first those with the largest |value| that is significant, for any part.
    order : "clustered" (average linkage of their rows), or "sorted" (by the part where |value| is largest).
    significance : q below which a place is marked.

    Raises
    ------
    LisError : names that the ranking does not have, no value at all, or another order.

    Examples
    --------
    >>> effect_matrix(ranking, "area", most=20).values.shape
    (20, 13)
    """
    import numpy as np

    if order not in ("clustered", "sorted"):
        raise LisError(f"order is {order!r}; 'clustered' or 'sorted' was expected.")
    whole_number(most, "most", 1)
    checked_significance(significance)
    rows = chosen_rows(ranking, None, measure, class_name)
    if value not in rows.columns:
        raise LisError(f"the ranking has no column {value!r}.{spelling_hint(value, rows.columns)}")
    names = list(dict.fromkeys(rows["part"].astype(str)))  # in the ranking's order
    rows = rows.assign(part=rows["part"].astype(str)).drop_duplicates(["unit", "part"])
    values = rows.pivot(index="unit", columns="part", values=value).reindex(columns=names).astype(float)
    values = values.dropna(axis="columns", how="all")  # parts that no picture has are left out
    if values.shape[1] == 0:
        raise LisError(
            f"no unit has a value in {value} for {measure!r} in class {class_name!r}; choose another, or sweep "
            "with more samples."
        )
    finite = values.to_numpy()  # [U, P]
    q = rows.pivot(index="unit", columns="part", values="q")[list(values.columns)].to_numpy(float)
    sure = q < significance
    size = np.nan_to_num(np.abs(finite), nan=-1.0, posinf=np.finfo(float).max)
    # Few samples can give huge effects that may be chance: what is sure comes first.
    order_of = np.lexsort((-size.max(1), -np.where(sure, size, -1.0).max(1)))
    best = np.sort(order_of[:most])
    best = best[size[best].max(1) >= 0]
    best = best[_order(finite[best], order)]
    units = [int(unit) for unit in values.index[best]]
    q = q[best]
    return EffectMatrix(units, list(values.columns), finite[best], q < significance, q, len(values))


def _order(values: np.ndarray, order: str) -> np.ndarray:
    """Return the places of the rows [U, P] as they are drawn."""
    import numpy as np

    limit = largest(values)
    filled = np.clip(np.nan_to_num(values, nan=0.0, posinf=limit, neginf=-limit), -limit, limit)
    if order == "clustered" and len(values) > 2:
        from scipy.cluster.hierarchy import leaves_list, linkage

        # Bringing neighbouring leaves close to each other takes time with the cube of their number.
        # Divided by the limit, so that squares of huge values are finite.
        return leaves_list(linkage(filled / limit, "average", optimal_ordering=len(values) <= 200))
    part = np.abs(filled).argmax(1)
    strongest = filled[np.arange(len(filled)), part]
    return np.lexsort((-strongest, part))


def largest(values: Any, sure: Any = None) -> float:
    """Return a limit for colours: the largest finite |value| but for the outermost tenth; 1 when all are 0.

    Where some are sure, of these only: a few samples can give huge values that mean nothing.
    """
    import numpy as np

    finite = np.abs(np.asarray(values, float))
    if sure is not None and (np.isfinite(finite) & sure).any():
        finite = finite[sure]
    finite = finite[np.isfinite(finite)]
    return float(np.quantile(finite, 0.9)) or 1.0 if len(finite) else 1.0


def profile_rows(
    ranking: pd.DataFrame, panels: str, names: Sequence[Any] | None, most_panels: int, most_classes: int
) -> tuple[list[tuple[str, pd.DataFrame]], list[str]]:
    """Return the panels of a profile, each a name and its rows, one a class; and the names of the classes, pooled last.

    Parameters
    ----------
    ranking : rows of one unit and all parts, or of one part and some units; of one measure, all classes.
    panels : "part" or "unit", the column by which it is divided.
    names : those that are drawn, in this order; None: those with the largest |effect| in any class.
    most_panels, most_classes : how many at most. All panels have the same classes: those with the largest |effect|.

    Raises
    ------
    LisError : no row has a value.

    Examples
    --------
    >>> profile_rows(ranking[ranking.unit == 17], "part", None, 8, 12)
    """
    whole_number(most_panels, "panels", 1)
    whole_number(most_classes, "classes", 1)
    kept = ranking[ranking["mean_change"].notna()]
    if len(kept) == 0:
        raise LisError("none of the rows has a change; choose another unit, part or measure.")
    size = kept["effect"].abs().fillna(0)
    if names is None:
        names = (
            size.groupby(kept[panels].astype(object))
            .max()
            .sort_values(ascending=False, kind="stable")
            .index.tolist()
        )
    asked = list(names)
    names = [name for name in asked if (kept[panels] == name).any()][:most_panels]
    if not names:
        raise LisError(
            f"none of the names {asked[:10]} has a change; give {panels}s of the ranking, or None."
        )
    kept = kept[kept[panels].isin(names)]
    single = kept[kept["class"] != POOLED]
    strongest = single["effect"].abs().fillna(0).groupby(single["class"].astype(object)).max()
    shown = strongest.sort_values(ascending=False, kind="stable").head(most_classes).index
    order = [c for c in dict.fromkeys(ranking["class"].astype(object)) if c in shown]
    order += [POOLED] * bool((kept["class"] == POOLED).any())
    found = []
    for name in names:
        rows = kept[(kept[panels] == name) & kept["class"].isin(order)]
        place = rows["class"].astype(object).map(order.index)
        found.append(
            (f"unit {name}" if panels == "unit" else str(name), rows.iloc[place.argsort(kind="stable")])
        )
    return found, order


def profile_choice(
    ranking: pd.DataFrame, unit: int | None, part: str | None, measure: str
) -> tuple[str, pd.DataFrame]:
    """Return by what a profile is divided, "part" or "unit", and its rows of all classes.

    Raises
    ------
    LisError : not one of unit and part, or what the ranking does not have.

    Examples
    --------
    >>> by, rows = profile_choice(ranking, unit=17, part=None, measure="area")
    """
    if (unit is None) == (part is None):
        raise LisError("a profile is that of one unit or of one part: give either unit or part.")
    rows = chosen_rows(ranking, part, measure, None)
    return ("part", unit_rows(rows, [unit], 1)) if unit is not None else ("unit", rows)


def volcano_rows(ranking: pd.DataFrame, part: str, measure: str, class_name: str) -> tuple[pd.DataFrame, int]:
    """Return the rows that have an effect and a q, and of how many units they are.

    Raises
    ------
    LisError : names that the ranking does not have, or no such row.

    Examples
    --------
    >>> rows, count = volcano_rows(ranking, "sleeve", "area", "all")
    """
    import numpy as np

    rows = chosen_rows(ranking, part, measure, class_name)
    kept = rows[np.isfinite(rows["effect"].to_numpy(float)) & (rows["q"] >= 0).to_numpy()]
    if len(kept) == 0:
        raise LisError(
            f"no unit has an effect and a q for {part} {measure} in class {class_name!r}; choose another, or sweep "
            "with more samples."
        )
    return kept, rows["unit"].nunique()


def ranking_title(measure: str, class_name: str, part: str | None = None) -> str:
    """Return what a figure is about: part, measure, class."""
    of = "parts" if part is None else cut(part)
    return f"{of}: {measure}, " + ("classes pooled" if class_name == POOLED else cut(class_name))


def share_text(value: float) -> str:
    """Return a share as a percentage, a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.0%}"
