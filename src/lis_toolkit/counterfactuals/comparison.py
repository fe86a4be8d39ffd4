"""Methods side by side: each on its own counterfactuals, and all on those starts where every one succeeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import spelling_hint
from .intervals import mean_over_starts
from .measures import OF_ROWS, CounterfactualMeasures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_methods", "comparison_table"]

KEY = ["start", "target"]
SAME = 1e-2  # logits by which the margin of one start may differ between two runs, by rounding
MEANINGLESS = ("validity", "validity_judge", "left_out")  # where all succeed
OWN, COMMON = "all", "common"


def compare_methods(
    measures: Mapping[str, CounterfactualMeasures], against: str | None = None
) -> pd.DataFrame:
    """Compare methods that were run on the same starts and targets.

    A method that fails often has few successes, perhaps the easy ones, and their mean says little beside another
    method's. So everything is given twice: over each method's own rows ("all"), and over the starts and targets at
    which all methods succeed ("common"), there with the mean difference, row by row, and its bootstrap interval.

    Parameters
    ----------
    measures : name -> what `measure_counterfactuals` returned.
    against : the method that the others are compared with; the first by default.

    Returns
    -------
    DataFrame with a row per measure, set of rows and method: measure, rows ("all" or "common"), method, value, low,
    high, n, unit, ratio (of the value to that of `against`), difference, difference_low, difference_high (means of the
    paired differences to `against`; NaN where a measure is none of single rows).

    Raises
    ------
    LisError : fewer than two methods, what is no measures, an unknown `against`, other starts in one than in another.

    Examples
    --------
    >>> table = compare_methods({"paper": of_paper, "latent": of_latent})
    >>> print(comparison_table(table).to_string())
    """
    import pandas as pd

    names = list(measures)
    if len(names) < 2:
        raise LisError(f"there are {len(names)} methods; at least two were expected, as name -> measures.")
    for name, each in measures.items():
        if not isinstance(each, CounterfactualMeasures):
            raise LisError(
                f"method {name!r} is {type(each).__name__}; what measure_counterfactuals returned was expected."
            )
    against = names[0] if against is None else against
    if against not in measures:
        raise LisError(
            f"there is no method {against!r}; there are {', '.join(names)}.{spelling_hint(against, names)}"
        )
    common = _common(measures)
    sets: list[tuple[str, Mapping[str, CounterfactualMeasures]]] = [(OWN, measures)]
    if len(next(iter(common.values()))):
        sets.append((COMMON, {name: measures[name].on(places) for name, places in common.items()}))
    found = []
    for which, of in sets:
        base = of[against]
        for name, each in of.items():
            for row in each.summary.to_dict("records"):
                if which == COMMON and row["measure"] in MEANINGLESS:
                    continue
                other = base.summary.loc[base.summary["measure"] == row["measure"], "value"]
                divisor = float(other.iloc[0]) if len(other) else math.nan
                found.append(
                    {
                        "measure": row["measure"], "rows": which, "method": name, "value": row["value"],
                        "low": row["low"], "high": row["high"], "n": row["n"], "unit": row["unit"],
                        "ratio": row["value"] / divisor if divisor else math.nan,
                        **_difference(each, base, row["measure"], which == COMMON and name != against),
                    }
                )  # fmt: skip
    table = pd.DataFrame(found)
    order = {name: i for i, name in enumerate(dict.fromkeys(table["measure"]))}
    table = table.sort_values(["rows", "measure"], key=lambda c: c.map(order) if c.name == "measure" else c,
                              kind="stable")  # fmt: skip
    return table.reset_index(drop=True)


def _common(measures: Mapping[str, CounterfactualMeasures]) -> dict[str, np.ndarray]:
    """Return for every method the places of the rows at which all succeed, in one order."""
    import pandas as pd

    held: dict[str, pd.Series] = {}
    margins: dict[str, pd.Series] = {}
    for name, each in measures.items():
        rows = each.rows[each.rows["asked"]]
        if rows.duplicated(KEY).any():
            raise LisError(f"method {name!r} has a start and target twice; give one run of it.")
        keys = pd.MultiIndex.from_frame(rows[KEY].astype({"target": str}))
        margins[name] = pd.Series(rows["margin_start"].to_numpy(float), keys)
        places = pd.Series(rows.index.to_numpy(), keys)
        held[name] = places[rows["valid"].to_numpy(bool)]
    first, *others = margins
    shared = held[first].index
    for name in others:
        both = margins[first].index.intersection(margins[name].index)
        if not len(both):
            raise LisError(f"methods {first!r} and {name!r} have no start and target in common.")
        apart = (margins[first][both] - margins[name][both]).abs()
        if (apart > SAME).any():
            worst = apart.index[int(apart.argmax())][0]
            raise LisError(
                f"methods {first!r} and {name!r} were not run on the same starts: the margin of start {worst} differs "
                f"by {apart.max():.2g}. Give both the same activations in the same order."
            )
        shared = shared.intersection(held[name].index, sort=False)
    return {name: places[shared].to_numpy(int) for name, places in held.items()}


def _difference(
    each: CounterfactualMeasures, base: CounterfactualMeasures, measure: str, wanted: bool
) -> dict[str, float]:
    names = ("difference", "difference_low", "difference_high")
    single = measure in OF_ROWS or measure in ("renders", "seconds", "steps")
    if not (wanted and single and measure in each.rows and measure in base.rows):
        return dict.fromkeys(names, math.nan)
    apart = each.rows[measure].to_numpy(float) - base.rows[measure].to_numpy(float)
    options: dict[str, Any] = {key: each.settings[key] for key in ("resamples", "seed")}
    found = mean_over_starts(apart, each.rows["start"].to_numpy(), **options)
    return dict(zip(names, (found.value, found.low, found.high), strict=True))


def comparison_table(table: pd.DataFrame, rows: str = OWN) -> pd.DataFrame:
    """Lay a comparison out for reading: a row a measure, a column a method, "value (low to high)" in each place.

    Parameters
    ----------
    table : what `compare_methods` returned.
    rows : "all" or "common".

    Raises
    ------
    LisError : other rows than these, or none of them because the methods have no common success.

    Examples
    --------
    >>> table = compare_methods({"paper": of_paper, "latent": of_latent})
    >>> print(comparison_table(table, "common").to_string())
    """
    import pandas as pd

    if rows not in (OWN, COMMON):
        raise LisError(f"rows is {rows!r}; {OWN!r} or {COMMON!r} was expected.")
    part = table[table["rows"] == rows]
    if not len(part):
        raise LisError("the methods have no success in common: there are no such rows.")
    texts: dict[str, dict[str, str]] = {}
    for row in part.to_dict("records"):
        bounds = "" if math.isnan(row["low"]) else f" ({row['low']:.3g} to {row['high']:.3g})"
        texts.setdefault(row["method"], {})[row["measure"]] = f"{row['value']:.3g}{bounds}, n {row['n']}"
    laid = pd.DataFrame(texts).reindex(list(dict.fromkeys(part["measure"]))).fillna("–")
    laid.insert(0, "unit", part.drop_duplicates("measure").set_index("measure")["unit"])
    return laid.rename_axis("measure")
