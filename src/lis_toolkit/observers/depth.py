"""Does what single units denote depend on how deep they lie? A test of the paper's claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LisError
from ..names import finite_number, whole_number
from .denoting import DenotingUnits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["READINGS", "DepthDependence", "depth_dependence"]

READINGS = ("label_share", "precision", "recall", "f1")


@dataclass(frozen=True)
class DepthDependence:
    """How a measure of what units denote goes with their depth; made by `depth_dependence`.

    Attributes
    ----------
    table : DataFrame, a row per reading: reading, spearman (over units), low, high (bootstrap over units, within their
        layers), p (permutations of the layers' places), first, last (means of the first and the last layer).
    layers, units : how many.
    """

    table: pd.DataFrame
    layers: int
    units: int

    def __str__(self) -> str:
        """Say it in sentences."""
        names = {
            "label_share": "the label proportion of the property that a unit tells best",
            "precision": "the share of the images it calls that have the property",
            "recall": "the share of the property's images that it calls",
            "f1": "its F1",
        }
        lines = []
        for row in self.table.to_dict("records"):
            if not np.isfinite(row["spearman"]):
                lines.append(f"{names[row['reading']]} is the same for all units.")
                continue
            way = "rises" if row["spearman"] > 0 else "falls"
            sure = row["p"] <= 0.05 and row["low"] * row["high"] > 0
            lines.append(
                f"{names[row['reading']]} {way if sure else 'does not surely change'} with depth: Spearman "
                f"{row['spearman']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] over {self.units} units, "
                f"p {row['p']:.2g} by permuting {self.layers} layers; {row['first']:.2f} in the first layer, "
                f"{row['last']:.2f} in the last."
            )
        return "\n".join(line[0].upper() + line[1:] for line in lines)


def depth_dependence(
    found: DenotingUnits, *, confidence: float = 0.95, permutations: int = 2000, seed: int = 0
) -> DepthDependence:
    """Test whether "the share of the label that a neuron denotes depends on its depth".

    Every unit counts with the property that it tells best (`DenotingUnits.preferred`, chosen on training images). Which
    share the paper means is not known, so three readings are tested: the property's label proportion (how many images
    have it), the share of the images beyond the threshold that have it (precision), and the share of its images that
    are beyond it (recall); with F1 beside them. Units of one layer are no independent witnesses of depth: p counts
    permutations of whole layers, of which few layers allow few (p is at least 1 over their number).

    The label proportion is one of the properties that were *offered*: with classes of equal size alone it cannot
    change, and on the bundled classifier it falls with depth for classes, superclasses and luminance, but rises for
    luminance alone. So say with it which properties were asked for; and four readings are four looks, whose p
    are not corrected.

    Raises
    ------
    LisError : fewer than 3 layers.

    Notes
    -----
    Allen 2021 (arXiv 2103.08315), abstract. Layers that repeat another (a penultimate layer that is the mean of the
    last convolution's maps) are left out.

    Examples
    --------
    >>> print(depth_dependence(find_denoting_units(state, attributes)))
    """
    import pandas as pd
    from scipy.stats import rankdata

    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    permutations, seed = whole_number(permutations, "permutations", 1), whole_number(seed, "seed", 0)
    units = found.preferred()
    units = units[~units["layer"].isin(found.settings.get("repeated", []))]
    names, layer = np.unique(units["layer"].to_numpy(str), return_inverse=True)
    if len(names) < 3:
        raise LisError(f"there are {len(names)} layers; at least 3 are needed to ask about depth.")
    depth = np.array([units["depth"].to_numpy()[layer == k][0] for k in range(len(names))])  # [L]
    rng = np.random.default_rng(seed)
    drawn = np.stack([
        np.concatenate([rng.choice(np.flatnonzero(layer == k), (layer == k).sum()) for k in range(len(names))])
        for _ in range(min(permutations, 500))
    ])  # fmt: skip
    tail = (1 - confidence) / 2
    rows = []
    for reading in READINGS:
        values = np.nan_to_num(units[reading].to_numpy(float))  # precision of a unit that calls none
        value = _spearman(depth[layer], values)
        draws = np.array([_spearman(depth[layer[rows_]], values[rows_]) for rows_ in drawn])
        ranks = rankdata(values)
        null = np.array(
            [_pearson(rankdata(rng.permutation(depth)[layer]), ranks) for _ in range(permutations)]
        )
        beaten = (np.abs(null) >= abs(value) - 1e-12).sum() if np.isfinite(value) else np.nan
        ends = [values[layer == place].mean() for place in (depth.argmin(), depth.argmax())]
        bounds = np.nanquantile(draws, [tail, 1 - tail]) if np.isfinite(draws).any() else (np.nan, np.nan)
        rows.append({"reading": reading, "spearman": value, "low": bounds[0], "high": bounds[1],
                     "p": (1 + beaten) / (1 + permutations), "first": ends[0], "last": ends[1]})  # fmt: skip
    return DepthDependence(pd.DataFrame(rows), len(names), len(units))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(a), rankdata(b))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")
