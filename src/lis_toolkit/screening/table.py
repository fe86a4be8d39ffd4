"""Tables of a screening, and how well it predicts an exact sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..selectivity.changes import unit_changes
from ..selectivity.statistics import describe, part_selectivity, unit_selectivity

if TYPE_CHECKING:
    import pandas as pd

    from .screen import Screening

ALL = "all"
TOP = 20


def table_of(screening: Screening, min_samples: int) -> pd.DataFrame:
    """Summarise changes over samples, by class and pooled: what `Screening.to_frame` returns."""
    import pandas as pd

    units = _varying(screening)
    names = np.array(screening.classes)
    groups = {ALL: np.arange(len(names))} | {
        k: np.flatnonzero(names == k) for k in dict.fromkeys(screening.classes)
    }
    # What a part that was not there may become is no change of it.
    lacking = ~screening.present.numpy().T  # [P, N]
    frames = []
    for measure in ("area", "luminance", "energy"):
        parts = [*screening.parts, *(["picture"] if measure == "energy" else [])]
        changes = np.stack([screening.changes(p, measure).double().numpy() for p in parts])  # [P, N, R]
        changes = changes[:, :, units]
        changes[: len(screening.parts)][lacking] = np.nan
        for name, members in groups.items():
            found = describe(changes[:, members].transpose(0, 2, 1))  # [P, U] each
            enough = found["samples"] >= max(min_samples, 1)
            effects = np.where(enough, found["effect"], np.nan)
            compared = len(screening.parts)
            selective = np.full(effects.shape, np.nan)
            selective[:compared] = part_selectivity(effects[:compared])
            p, u = np.nonzero(enough)
            frames.append(pd.DataFrame({
                "unit": units[u].astype(np.int32), "part": np.array(parts, dtype=object)[p], "measure": measure,
                "class": name, **{key: values[p, u] for key, values in found.items()},
                "part_selectivity": selective[p, u], "unit_selectivity": unit_selectivity(effects)[p, u],
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True).astype({"part": str, "measure": str, "class": str})


def _varying(screening: Screening) -> np.ndarray:
    return np.setdiff1d(np.arange(screening.area.shape[1]), screening.constant_units)


def validate_screening(screening: Screening, sweep: Any, *, top: int = TOP) -> pd.DataFrame:
    """Compare a screening with an exact sweep of the same samples: the order in which both put the units.

    Parameters
    ----------
    screening : of `screen_units`, of the activations that the sweep started from, in their order.
    sweep : Sweep, or its table; its units may be some of those screened.
    top : how many of the sweep's strongest units to look for among as many of the screening's.

    Returns
    -------
    DataFrame
        A row per part, measure ("area", "luminance") and class ("all" pools them): part, measure, class, units, samples
        (in which the part is there), spearman and pearson (over units, of the mean change over samples, signs kept),
        same_sign (share of units), found (share of the sweep's `top` largest mean changes that are among the
        screening's), slope (of the sweep's changes on the predicted ones, through 0: below 1 the screening
        exaggerates). A part that vanished or appeared counts with its area of 0, one that was never there with no
        change of area; luminance is compared over the samples in which the part is there at both ends.

    Raises
    ------
    LisError : samples of another number or other classes, no units or parts in common.

    Examples
    --------
    >>> validate_screening(screening, sweep).query("`class` == 'all'")[["part", "measure", "spearman"]]
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for part in screening.parts:
        for measure in ("area", "luminance"):
            exact = unit_changes(sweep, part, measure)
            samples = exact.samples.sort_values("sample")
            if len(samples) != len(screening.classes):
                raise LisError(
                    f"the sweep has {len(samples)} samples, the screening {len(screening.classes)}: screen the "
                    "activations that the sweep started from, such as sweep.samples.r."
                )
            names = samples["class"].to_numpy()
            kept = np.isin(exact.units, _varying(screening))
            if not kept.any():
                raise LisError("the sweep and the screening have no units in common.")
            seen = exact.values[kept][:, samples.index]  # [U, N]
            predicted = screening.changes(part, measure).double().numpy().T[exact.units[kept]]
            for name in [ALL, *dict.fromkeys(names)]:
                members = np.arange(len(names)) if name == ALL else np.flatnonzero(names == name)
                figures = _agreement(seen[:, members], predicted[:, members], measure == "area", top)
                rows.append({"part": part, "measure": measure, "class": name, **figures})
    return pd.DataFrame(rows)


def _agreement(seen: np.ndarray, predicted: np.ndarray, nothing_is_zero: bool, top: int) -> dict[str, Any]:
    """Compare mean changes over samples, [U, n] each."""
    from scipy.stats import pearsonr, spearmanr

    there = ~np.isnan(seen) if nothing_is_zero else ~np.isnan(seen) & ~np.isnan(predicted)
    samples = int(there.any(0).sum())
    if nothing_is_zero:
        a, b = np.nan_to_num(seen).mean(1), np.nan_to_num(predicted).mean(1)
    else:
        count = np.where(there.any(1), there.sum(1), np.nan)
        a, b = (np.where(there, v, 0).sum(1) / count for v in (seen, predicted))
    a, b = a[np.isfinite(a)], b[np.isfinite(a)]
    result = {"units": len(a), "samples": samples, "spearman": np.nan, "pearson": np.nan, "same_sign": np.nan,
              "found": np.nan, "slope": np.nan}  # fmt: skip
    if samples and len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
        k = min(top, len(a))
        strongest = [set(np.argsort(-np.abs(v), kind="stable")[:k]) for v in (a, b)]
        moved = a != 0
        result |= {
            "spearman": float(spearmanr(a, b).statistic),
            "pearson": float(pearsonr(a, b).statistic),
            "same_sign": float((np.sign(a) == np.sign(b))[moved].mean()),
            "found": len(strongest[0] & strongest[1]) / k,
            "slope": float((a * b).sum() / (b * b).sum()),
        }
    return result
