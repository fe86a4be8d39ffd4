"""Which units carry a change of class: the mean shift of every unit, class pair by class pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..link import Link
from ..names import class_index, finite_number, whole_number
from ..selectivity.statistics import bootstrap_weights, describe, false_discovery, sign_flip_p
from .intervals import widened_interval

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["unit_carriers"]


def unit_carriers(
    result: Counterfactuals,
    link: Link,
    top: int | None = 10,
    *,
    origin: str | None = None,
    target: str | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the units that shift most between start and end of the counterfactuals of every class pair.

    Parameters
    ----------
    result : counterfactuals; only successes count.
    link : gives the units' standard deviations over the fitted pairs.
    top : units of every class pair, those with the largest mean shift; None for all.
    origin, target : only class pairs with this origin (what the head says of r, as in the result's table; class
        distances go by the class of the cycled picture), this target.
    confidence, resamples, seed : of the bootstrap over starts, within each class pair.

    Returns
    -------
    DataFrame, the largest shifts of each class pair first: origin, target, unit, shift (mean, in standard deviations
    of the unit), low, high, q (sign-flip test, false discovery rate over the units of the class pair), same_sign
    (share of the starts that shift as the mean does), share (of the pair's summed squares of mean shifts), samples.
    Units that never varied over the pairs are left out. Intervals are of each unit alone and NaN with fewer than two
    starts; q, which looks at all units, can't come below 0.06 with 5 starts.

    Raises
    ------
    LisError : no successes, unknown classes, a link of another width, options out of range.

    Examples
    --------
    >>> carriers = unit_carriers(result, link, top=5)
    >>> carriers[(carriers["origin"] == "Coat") & (carriers["target"] == "Shirt")]
    """
    import pandas as pd

    checked_bootstrap(confidence, resamples, seed)
    if top is not None:
        whole_number(top, "top", 1)
    if result.r_start.shape[1] != link.num_units:
        raise LisError(
            f"the counterfactuals have {result.r_start.shape[1]} units, the link {link.num_units}; give the link "
            "that they were found with."
        )
    std = link.unit_std.double().cpu().numpy()
    units = np.flatnonzero(std > 0)  # [U]
    shift = (result.r_end - result.r_start).double().cpu().numpy()[:, units] / std[units]  # [N, U]
    found = []
    for (of, to), rows in class_pairs(result, origin, target).items():
        each = mean_by_start(shift[rows], result.table["start"].to_numpy()[rows])  # [S, U]
        mean = each.mean(0)
        low, high = bootstrap_means(each, confidence, resamples, seed)
        found.append(
            pd.DataFrame(
                {
                    "origin": of, "target": to, "unit": units, "shift": mean, "low": low, "high": high,
                    "q": false_discovery(sign_flip_p(each.T)), "same_sign": describe(each.T)["same_sign"],
                    "share": mean**2 / max((mean**2).sum(), np.finfo(float).tiny), "samples": len(each),
                }
            )
        )  # fmt: skip
    table = largest_first(pd.concat(found, ignore_index=True), "shift", result.classes, top)
    table.attrs["confidence"] = confidence  # for figures
    return table


def largest_first(
    table: pd.DataFrame, column: str, classes: Sequence[str], top: int | None, last: Any = False
) -> pd.DataFrame:
    """Sort by class pair, in the order of the classes, and then by size, and keep the first `top` of each pair.

    Rows where `last` is True come after a class pair's others.
    """
    order = {name: i for i, name in enumerate(classes)}
    keys = {
        "_o": table["origin"].map(order),
        "_t": table["target"].map(order),
        "_l": last,
        "_s": -table[column].abs(),
    }
    table = table.assign(**keys).sort_values(list(keys), kind="stable").drop(columns=list(keys))
    if top is not None:
        table = table.groupby(["origin", "target"], sort=False).head(top)
    return table.reset_index(drop=True)


def checked_bootstrap(confidence: float, resamples: int, seed: int) -> None:
    """Raise a LisError for options of a bootstrap that are out of range."""
    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence}; a share between 0 and 1 was expected.")
    whole_number(resamples, "resamples", 1)
    whole_number(seed, "seed", 0)


def class_pairs(
    result: Counterfactuals, origin: str | None, target: str | None
) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of the successes of every class pair, in the order of the classes.

    Raises
    ------
    LisError : a class that the result does not know, no successes.
    """
    names = list(result.classes)
    for name in (origin, target):
        if name is not None:
            class_index(name, names, "the result")
    table = result.table
    of, to = (table[column].astype(str).to_numpy() for column in ("origin", "target"))
    keep = table["success"].to_numpy(bool) & (of != to)
    keep &= (of == origin) if origin is not None else True
    keep &= (to == target) if target is not None else True
    if not keep.any():
        which = f" from {origin or 'any class'} to {target or 'any class'}" if origin or target else ""
        raise LisError(f"there is no successful counterfactual{which}: nothing carries a change.")
    place = {name: k for k, name in enumerate(names)}
    there = sorted(
        set(zip(of[keep], to[keep], strict=True)), key=lambda pair: (place[pair[0]], place[pair[1]])
    )
    return {(a, b): np.flatnonzero(keep & (of == a) & (to == b)) for a, b in there}


def mean_by_start(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Average rows [n, M] of the same start, NaN left out: [S, M]."""
    names, group = np.unique(starts, return_inverse=True)
    if len(names) == len(starts):
        return values
    defined = ~np.isnan(values)
    counts = np.zeros((len(names), values.shape[1]))
    sums = np.zeros_like(counts)
    np.add.at(counts, group, defined)
    np.add.at(sums, group, np.where(defined, values, 0.0))
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def bootstrap_means(
    each: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the means over starts of [S, M], NaN left out: two [M], NaN with fewer than two starts."""
    defined = ~np.isnan(each)
    filled, starts = np.where(defined, each, 0.0), defined.sum(0)
    drawn = bootstrap_weights(["all"] * len(each), resamples, seed)["all"].astype(float)  # [B, S]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn @ filled) / (drawn @ defined)  # [B, M], NaN of resamples without any
        centre = filled.sum(0) / starts
    return widened_interval(means.T, centre, starts, confidence)
