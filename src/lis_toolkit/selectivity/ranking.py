"""Which units change a part most: sorted lists out of the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import LisError
from ..names import finite_number, spelling_hint

if TYPE_CHECKING:
    import pandas as pd

ORDERS = ("effect", "mean_change", "part_selectivity", "unit_selectivity")


def rank_units(
    scores: pd.DataFrame,
    part: str,
    measure: str,
    class_name: str = "all",
    *,
    direction: Literal["more", "less"] | None = None,
    alpha: float | None = None,
    by: str = "effect",
) -> pd.DataFrame:
    """Sort the units by what they do to a part: "which units lengthen the sleeve?".

    Parameters
    ----------
    scores : of `score_selectivity`.
    part, measure, class_name : which rows; "all" is all classes together.
    direction : "more" for units that raise the measure, "less" for those that lower it, None for both.
    alpha : leave out units whose q is not at most this; None keeps all.
    by : "effect" (regular changes first), "mean_change" (large ones first), "part_selectivity" or "unit_selectivity".

    Returns
    -------
    DataFrame
        The rows of the scores with a column "rank" from 1 before them, the strongest first; with `direction` None by
        absolute value. Units without a value come last, or not at all with a direction or alpha.

    Raises
    ------
    LisError : a part, measure or class that the scores do not have, settings out of range.

    Examples
    --------
    >>> longer = rank_units(scores, "sleeve", "area", direction="more", alpha=0.05)
    >>> longer[["rank", "unit", "mean_change", "low", "high", "q"]].head()
    """
    if direction not in ("more", "less", None):
        raise LisError(f"direction is {direction!r}; 'more', 'less' or None was expected.")
    if by not in ORDERS:
        raise LisError(
            f"by is {by!r}; one of {', '.join(ORDERS)} was expected.{spelling_hint(str(by), ORDERS)}"
        )
    if alpha is not None and not 0 < finite_number(alpha, "alpha") <= 1:
        raise LisError(f"alpha is {alpha!r}; a number from 0 to 1 was expected.")
    rows = scores
    for column, value in (("part", part), ("measure", measure), ("class", class_name)):
        known = rows[column].unique().tolist()
        rows = rows[rows[column] == value]
        if len(rows) == 0:
            if not known:
                raise LisError(
                    f"the scores are empty: no unit has a change of {measure} of {part} in as many samples as a score "
                    "takes; choose another part, or sweep with more samples."
                )
            listed = ", ".join(map(str, known[:16]))
            raise LisError(
                f"the scores have no {column} {value!r}; here are {listed}.{spelling_hint(str(value), known)}"
            )
    if direction is not None:
        sign = 1 if direction == "more" else -1
        rows = rows[sign * rows["mean_change"] > 0]
    if alpha is not None:
        rows = rows[rows["q"] <= alpha]
    # Equal effects (infinite ones, where every sample changes alike) go by the size of the change, then by unit.
    size = rows["mean_change"].abs().to_numpy()
    figures = rows[by].to_numpy()
    key = figures if by == "part_selectivity" else np.abs(figures)
    order = np.lexsort((rows["unit"], -size, -key))  # NaN last
    ranked = rows.iloc[order].reset_index(drop=True)
    ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
    return ranked
