"""Single units that denote a property: beyond a threshold there are (nearly) only images that have it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from ..errors import LisError
from ..files import provenance
from ..link_stats import wilson_bounds
from ..names import finite_number, whole_number
from ..selectivity.statistics import false_discovery
from .attributes import Attributes, Property
from .splits import check_groups, check_sharing, split_rows
from .state import State, as_state
from .thresholds import (
    Criterion,
    Thresholds,
    area_bounds,
    area_under_curve,
    best_thresholds,
    count_beyond,
    rank_units_by_value,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DenotingUnits", "find_denoting_units"]

MOST_ROWS = 5_000_000  # of the table, about 1 GB
LEAST_POSITIVE = 5  # images with a property, and without, in the training and in the held-out part


@dataclass(frozen=True)
class DenotingUnits:
    """What single units tell of properties; made by `find_denoting_units`.

    Attributes
    ----------
    table : DataFrame, a row per unit and property: layer, depth, unit, attribute, value, label_share (share of all
        images with the property), direction ("high", "low"), threshold, and on held-out images: f1, f1_low, f1_high,
        precision, precision_low, precision_high, recall, recall_low, recall_high, auc (above 1/2: high values mean
        the property), auc_low, auc_high, p, q; called (held-out images beyond the threshold), chance (what the best
        unit of the layer reaches when labels are shuffled), denotes. Sorted by layer, then f1.
    layers : DataFrame, a row a layer: see `by_layer`.
    properties : DataFrame, a row a property: attribute, value, label_share, training, held_out (images that have it).
    settings, provenance : how it was made.
    """

    table: pd.DataFrame
    properties: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def best(self, count: int = 10, layer: str | None = None) -> pd.DataFrame:
        """Return for every property its best units by F1 on the training images, with what they are worth held out.

        The order is of the training images, so that held-out figures are not the largest of many by chance.
        """
        rows = self.table if layer is None else self.table[self.table["layer"] == layer]
        if len(rows) == 0:
            raise LisError(
                f"there are no units of layer {layer!r}; there are {', '.join(self.table['layer'].unique())}."
            )
        ordered = rows.sort_values("training_score", ascending=False, kind="stable")
        return ordered.groupby(["attribute", "value"], sort=False).head(count).reset_index(drop=True)

    def preferred(self) -> pd.DataFrame:
        """Return for every unit the property that it tells best, chosen on the training images: a row a unit.

        "Best" is by Youden's index, which does not favour properties that many images have, as F1 does.
        """
        place = self.table.groupby(["layer", "unit"], sort=False)["training_youden"].idxmax()
        return self.table.loc[place].reset_index(drop=True)

    def by_layer(self) -> pd.DataFrame:
        """Return a row a layer: how much its single units denote.

        Columns: layer, depth, units, denoting (share of units that denote a property), properties (share of the
        properties that some unit denotes), best_f1 (mean over properties of the held-out F1 of the layer's best unit,
        chosen on the training images), chance (mean of what the best unit reaches with shuffled labels), label_share,
        precision, recall (means over units, of the property that the unit tells best).
        """
        import pandas as pd

        preferred = self.preferred()
        rows = []
        for layer, own in self.table.groupby("layer", sort=False):
            chosen = preferred[preferred["layer"] == layer]
            top = own.loc[own.groupby(["attribute", "value"], sort=False)["training_score"].idxmax()]
            units = own["unit"].nunique()
            rows.append({
                "layer": layer, "depth": float(own["depth"].iloc[0]), "units": units,
                "denoting": own.loc[own["denotes"], "unit"].nunique() / units,
                "properties": float(own.groupby(["attribute", "value"], sort=False)["denotes"].any().mean()),
                "best_f1": float(top["f1"].mean()), "chance": float(top["chance"].mean()),
                "label_share": float(chosen["label_share"].mean()), "precision": float(chosen["precision"].mean()),
                "recall": float(chosen["recall"].mean()),
            })  # fmt: skip
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """Say how many units denote something."""
        found = self.table[self.table["denotes"]]
        units = len(self.table.drop_duplicates(["layer", "unit"]))
        text = f"{len(found.drop_duplicates(['layer', 'unit']))} of {units} units denote one of {len(self.properties)} "
        text += f"properties (held-out F1 of at least {self.settings['least']:g}, and surely above what chance gives)."
        if len(found):
            top = found.iloc[int(found["training_score"].argmax())]
            text += (
                f" Best: unit {top['unit']} of {top['layer']} for {top['attribute']} {top['value']}: "
                f"F1 {top['f1']:.2f} [{top['f1_low']:.2f}, {top['f1_high']:.2f}]."
            )
        return text


def find_denoting_units(
    state: Any,
    attributes: Attributes | pd.DataFrame,
    *,
    names: str | Sequence[str] | None = None,
    layers: str | Sequence[str] = "each",
    by: Criterion = "f1",
    least: float = 0.8,
    alpha: float = 0.05,
    quantiles: Sequence[float] = (0.5, 0.75, 0.9),
    held_out: float = 0.3,
    groups: Any = None,
    shuffles: int = 10,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> DenotingUnits:
    """Search every unit for every property: the threshold beyond which images have it.

    The threshold and its side are those of the best F1 (or Youden index) on the training images, every cut tried; all
    else is of held-out images. A unit denotes a property when its held-out F1 is at least `least`, its rank test holds
    after correction for all units and properties (Benjamini-Hochberg, `alpha`), and the whole interval of its F1 is
    above `chance`. The best of many units is good by chance, and any rule is for a property that most images have: so
    labels are shuffled `shuffles` times, the search done anew, and `chance` is the largest held-out F1 of any unit of
    the layer.

    Parameters
    ----------
    state, attributes, names, layers, groups, held_out : as for `train_observers`.
    by : criterion of the search.
    quantiles : numbers become properties "above this quantile of the training images".
    least : F1 from which a unit "denotes"; the paper's threshold is not known, this one is ours.
    confidence : of Wilson intervals (precision, recall; F1 by its images in question) and of DeLong's (auc).

    Raises
    ------
    LisError : as `train_observers`; no property with 5 images on either side, or too many rows for the memory.

    Notes
    -----
    Allen 2021 (arXiv 2103.08315) reports that some properties are denoted by a single neuron. How it searched is not
    known; this search is ours.

    Examples
    --------
    >>> found = find_denoting_units(state, class_attributes(labels, classes))
    >>> found.best(3)[["layer", "unit", "value", "precision", "recall"]]
    """
    import pandas as pd

    state = as_state(state)
    table = attributes if isinstance(attributes, Attributes) else Attributes(attributes)
    if len(table) != len(state):
        raise LisError(
            f"the state is of {len(state)} images, the attributes of {len(table)}; the same was expected."
        )
    if by not in ("f1", "youden"):
        raise LisError(f"by is {by!r}; 'f1' or 'youden' was expected.")
    for value, name in ((least, "least"), (alpha, "alpha"), (confidence, "confidence")):
        if not 0 < finite_number(value, name) < 1:
            raise LisError(f"{name} is {value!r}; a number between 0 and 1 was expected.")
    shuffles, seed = whole_number(shuffles, "shuffles", 1), whole_number(seed, "seed", 0)
    share, _ = check_sharing(held_out, None)
    wanted, asked = state.chosen(layers), table.chosen(names)
    # One split for all: stratified by the first categories asked for, so that rare ones are on both sides.
    stratum = next((name for name in asked if table.kinds[name] == "category"), None)
    values = (
        np.zeros(len(state))
        if stratum is None
        else np.where(table.table[stratum].notna(), table.values(stratum), "")
    )
    [(train, test)] = split_rows(
        values, stratum is not None, held_out=share, groups=check_groups(groups, len(state)), seed=[seed, 10]
    )
    properties = [p for p in table.properties(asked, quantiles, train) if _usable(p, train, test)]
    if not properties:
        raise LisError(
            f"no property has {LEAST_POSITIVE} images that have it and {LEAST_POSITIVE} that do not, in the training "
            "and in the held-out part: give more images."
        )
    rows = sum(state.width(layer) for layer in wanted) * len(properties)
    if rows > MOST_ROWS:
        raise LisError(
            f"the table would have {rows:,} rows ({len(properties)} properties); at most {MOST_ROWS:,} were expected: "
            "give fewer layers or names."
        )
    frames = []
    for layer in tqdm(wanted, desc="denoting units", unit="layer", disable=not progress):
        frames.append(_layer(state, layer, properties, train, test, by, shuffles, confidence, seed))
    found = pd.concat(frames, ignore_index=True)
    found["q"] = false_discovery(found["p"].to_numpy())
    found["denotes"] = (found["f1"] >= least) & (found["q"] <= alpha) & (found["f1_low"] > found["chance"])
    told = pd.DataFrame([
        {"attribute": p.attribute, "value": p.value, "label_share": p.share,
         "training": int(p.holds[train].sum()), "held_out": int(p.holds[test].sum())} for p in properties
    ])  # fmt: skip
    settings = {
        "by": by, "least": least, "alpha": alpha, "quantiles": np.ravel(quantiles).tolist(), "held_out": share,
        "shuffles": shuffles, "confidence": confidence, "seed": seed, "images": len(state),
        "repeated": _repeated(state, wanted, train), "grouped": groups is not None,
    }  # fmt: skip
    return DenotingUnits(found, told, settings, provenance())


def _repeated(state: State, layers: list[str], rows: np.ndarray) -> list[str]:
    """Layers that say what another one before them says: a penultimate layer that is the mean of the last maps."""
    few = rows[:200]
    seen = [(layer, state.rows_of(layer, few)) for layer in layers]
    return [
        layer
        for place, (layer, x) in enumerate(seen)
        if any(x.shape == other.shape and np.allclose(x, other, atol=1e-5) for _, other in seen[:place])
    ]


def _usable(p: Property, train: np.ndarray, test: np.ndarray) -> bool:
    counts = [
        (p.holds[rows] == side)[p.known[rows]].sum() for rows in (train, test) for side in (True, False)
    ]
    return bool(min(counts) >= LEAST_POSITIVE)


def _layer(
    state: State, layer: str, properties: list[Property], train: np.ndarray, test: np.ndarray, by: Criterion,
    shuffles: int, confidence: float, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Search the units of one layer for all properties."""
    import pandas as pd
    from scipy.stats import norm, rankdata

    x, y = state.rows_of(layer, train), state.rows_of(layer, test)
    columns = state.columns(layer)
    z = float(norm.ppf((1 + confidence) / 2))
    sorted_units, sorted_for = None, None
    frames = []
    for p in properties:
        known = p.known[train], p.known[test]
        if sorted_units is None or sorted_for is None or not all(map(np.array_equal, known, sorted_for)):
            a, b = x[known[0]], y[known[1]]
            sorted_units, sorted_for, ranks = rank_units_by_value(a), known, rankdata(b, axis=0)
        holds, judged = p.holds[train][known[0]], p.holds[test][known[1]]
        found = best_thresholds(sorted_units, holds, by)
        other = best_thresholds(sorted_units, holds, "youden") if by == "f1" else found
        # Of the property's name, not of its place: what else is asked for changes nothing.
        rng = np.random.default_rng([seed, 11, zlib.crc32(f"{p.attribute}\0{p.value}".encode())])
        chance = 0.0
        for _ in range(shuffles):
            guessed = best_thresholds(sorted_units, rng.permutation(holds), by)
            chance = max(chance, float(np.nanmax(_f1(*count_beyond(b, rng.permutation(judged), guessed)))))
        frames.append(pd.DataFrame({
            "layer": columns["layer"], "depth": [state.depth(name) for name in columns["layer"]],
            "unit": columns["component"], "attribute": p.attribute, "value": p.value, "label_share": p.share,
            "direction": np.where(found.high, "high", "low"), "threshold": found.threshold,
            "training_score": found.score, "training_youden": other.score,
            **_held_out(b, ranks, judged, found, z), "chance": chance,
        }))  # fmt: skip
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values("f1", ascending=False, kind="stable", ignore_index=True)


def _f1(hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * hits / (2 * hits + alarms + misses)


def _held_out(
    x: np.ndarray, ranks: np.ndarray, holds: np.ndarray, found: Thresholds, z: float
) -> dict[str, Any]:
    """Precision, recall, F1 and area under the curve of every unit on held-out images, with intervals."""
    hits, alarms, misses = count_beyond(x, holds, found)
    called = hits + alarms
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = np.where(called > 0, hits / called, np.nan), hits / (hits + misses)
    precision_low, precision_high = wilson_bounds(hits, called, z)
    recall_low, recall_high = wilson_bounds(hits, hits + misses, z)
    # F1 = 2 J / (1 + J), J the share of hits among images that are called or have the property: rising in J.
    f1_low, f1_high = (2 * j / (1 + j) for j in wilson_bounds(hits, called + misses, z))
    area, error, p = area_under_curve(ranks, holds)
    low, high = area_bounds(area, error, holds, z)
    return {
        "f1": _f1(hits, alarms, misses), "f1_low": f1_low, "f1_high": f1_high,
        "precision": precision, "precision_low": precision_low, "precision_high": precision_high,
        "recall": recall, "recall_low": recall_low, "recall_high": recall_high,
        "auc": area, "auc_low": low, "auc_high": high, "p": p, "called": called,
    }  # fmt: skip
