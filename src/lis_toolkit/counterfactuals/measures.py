"""How good counterfactuals are: validity, proximity, sparsity, realism, diversity, cost; with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..link import Link
from ..names import whole_number
from ..pairs import Pairs
from ..quality import coverage_density, frechet_distance
from ..stylegan import Generator
from .intervals import Estimate, jackknife, mean_over_starts, share_over_starts
from .reference import JudgeReference, diversity, judge_reference, mean_distance
from .rows import row_measures, target_places

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["CounterfactualMeasures", "measure_counterfactuals"]

_Row = tuple[str, Estimate, str, str]  # measure, value, unit, what
NEIGHBOURS = 5  # k of the coverage
LEAST = 10  # ends below which sets are not compared
# Measures of every success: column, unit, and what it is.
OF_ROWS = {
    "pixels": ("RMS of the unit range", "difference of the end from the cycled start"),
    "ssim": ("at most 1", "structural similarity of end and cycled start"),
    "perceptual": ("mean distance of two pictures", "distance of end and cycled start in the judge's features"),
    "distance_r": ("activation", "Euclidean distance in r"),
    "distance_r_sd": ("standard deviations", "distance in r by the total covariance, over sqrt R"),
    "distance_w": ("latent", "Euclidean distance in w"),
    "units_90": ("units", "units that carry 90 % of the shift"),
    "nearest": ("usual distance of neighbours", "distance of the end to the nearest real picture of the target"),
    "margin_end": ("logits", "rendered margin of the end"),
    "fall": ("logits", "by how much the rendered margin falls along the path, in all"),
}  # fmt: skip
WITHIN = {"ssim": (-1.0, 1.0), "margin_end": (-math.inf, math.inf)}  # the others are never negative


@dataclass(frozen=True, repr=False)
class CounterfactualMeasures:
    """What was measured of counterfactuals, row by row and in all.

    Attributes
    ----------
    rows : a row per counterfactual, in the result's order: its columns, and `asked` (False where the start is of the
        target class already: such rows are left out of everything else), `seen` (the class the classifier gives the
        end, rendered again), `valid` (a success, and seen as the target), `judge_start`, `judge_end`, `valid_judge`
        (valid, and the judge says the target too), `pixels`, `ssim`, `perceptual` (over `scale`), `nearest`, `fall`.
        Distances are those of the end from the *cycled* start.
    summary : a row per measure: measure, value, low, high (95 %), n (rows it comes from), unit, what.
    scale : mean distance of two pictures in the judge's features: of real ones, or of cycled starts without any.
    ends : judge features of the ends [N, D]; None without a judge.
    reference : the real pictures that were compared with, if any.
    settings : resamples, seed.

    Notes
    -----
    All rows of a start are drawn together (cluster bootstrap), shares have Wilson's interval, measures of whole sets
    (Fréchet distance, coverage, diversity) a jackknife over groups of starts. The measures are those of the literature
    on counterfactuals: Wachter et al. 2017 (arXiv 1711.00399), Mothilal et al. 2020 (arXiv 1905.07697).
    """

    rows: pd.DataFrame
    summary: pd.DataFrame
    scale: float
    ends: Tensor | None = None
    reference: JudgeReference | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    @property
    def left_out(self) -> int:
        """How many rows asked for nothing: their start is of the target class already."""
        return int((~self.rows["asked"]).sum())

    def value(self, measure: str) -> float:
        """Return one value of the summary.

        Raises
        ------
        LisError : a measure that the summary does not have.
        """
        found = self.summary.loc[self.summary["measure"] == measure, "value"]
        if not len(found):
            raise LisError(
                f"there is no measure {measure!r}; there are {', '.join(self.summary['measure'])}. "
                "Some need a judge, or pairs."
            )
        return float(found.iloc[0])

    def on(self, keep: np.ndarray) -> CounterfactualMeasures:
        """Return the measures of some rows only: a boolean mask [N], or indices.

        Raises
        ------
        LisError : no rows.
        """
        places = np.arange(len(self))[np.asarray(keep)]
        if not len(places):
            raise LisError("no rows were chosen to measure; at least one was expected.")
        rows = self.rows.iloc[places].reset_index(drop=True)
        ends = None if self.ends is None else self.ends[torch.from_numpy(places)]
        part = replace(self, rows=rows, ends=ends)
        return replace(part, summary=_summary(part))

    def by_pair(self) -> pd.DataFrame:
        """Return a row per origin and target: n asked, validity, its agreement with the judge, mean distances."""
        rows = self.rows[self.rows["asked"]]
        means = {name: name for name in ("pixels", "distance_r", "distance_w", "units_90") if name in rows}
        grouped = rows.groupby(["origin", "target"], observed=True, sort=False)
        found = grouped["valid"].agg(n="size", validity="mean")
        if "valid_judge" in rows:
            found["validity_judge"] = grouped["valid_judge"].mean()
        held = rows[rows["valid"]].groupby(["origin", "target"], observed=True, sort=False)
        return found.join(held[list(means)].mean()).reset_index()

    def __repr__(self) -> str:
        return f"CounterfactualMeasures({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        """Say everything in one line a measure."""
        pairs = len(self.rows[self.rows["asked"]].groupby(["origin", "target"], observed=True))
        lines = [
            f"{len(self)} counterfactuals of {self.rows['start'].nunique()} starts, {pairs} class pairs; "
            f"{self.left_out} left out, whose start is of the target class already"
        ]
        for row in self.summary.to_dict("records"):
            if row["measure"] == "left_out":
                continue
            bounds = "" if math.isnan(row["low"]) else f" ({row['low']:.3g} to {row['high']:.3g})"
            lines.append(
                f"{row['measure']:16} {row['value']:.3g}{bounds}, n {row['n']}; {row['what']} [{row['unit']}]"
            )
        return "\n".join(lines)


def measure_counterfactuals(
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    *,
    judge: Classifier | None = None,
    pairs: Pairs | Photographs | None = None,
    resamples: int = 2000,
    seed: int = 0,
    batch_size: int = 64,
) -> CounterfactualMeasures:
    """Measure counterfactuals as the literature does; start and end of every row are rendered once more.

    Everything is compared with the *cycled* start, the picture of link and generator, not with a photograph.

    Parameters
    ----------
    result : what `find_counterfactuals` returned.
    judge : another classifier of the same classes, such as load_classifier("fashion-judge"). Without one there is no
        second opinion, no perceptual distance and no realism.
    pairs : real pictures that the link was not fitted to, pairs or photographs with labels. Realism and diversity need
        them. Fréchet distance and coverage depend on the number of pictures: the same of as many other real pictures
        is given beside them ("frechet_real"; it takes twice as many of a class as there are ends), and that of these
        others cycled without any change ("frechet_cycled"), which is what link and generator lose by themselves.
    resamples, seed : of the bootstrap, and of the draw of real pictures.
    batch_size : rows at a time.

    Returns
    -------
    CounterfactualMeasures

    Raises
    ------
    LisError : models or pairs that don't belong together, an empty result.

    Examples
    --------
    >>> measures = measure_counterfactuals(result, generator, classifier, link, judge=judge, pairs=held_out)
    >>> print(measures)
    """
    if not len(result):
        raise LisError("there are no counterfactuals to measure; find some first.")
    settings: dict[str, Any] = {
        "resamples": whole_number(resamples, "resamples", 1),
        "seed": whole_number(seed, "seed", 0),
    }
    size = whole_number(batch_size, "batch_size", 1)
    if judge is None and pairs is not None:
        raise LisError("pairs are compared in the features of a judge: give judge= as well.")
    rows, starts, ends = row_measures(result, generator, classifier, link, judge, size)
    reference = (
        None
        if judge is None or pairs is None
        else judge_reference(pairs, result.classes, generator, classifier, link, judge)
    )
    scale = math.nan
    if starts is not None and ends is not None:
        first = np.unique(rows["start"].to_numpy(), return_index=True)[1]  # every start once
        scale = reference.scale() if reference else mean_distance(starts[torch.from_numpy(first)])
        rows["perceptual"] /= finite_or_nan(scale)
    if reference is not None and ends is not None:
        rows["nearest"] = (
            reference.neighbours(ends, target_places(rows["target"], result.classes)).numpy().astype(float)
        )
    rows.attrs = {}
    settings["classes"] = list(result.classes)
    found = CounterfactualMeasures(rows, rows, scale, ends, reference, settings)
    return replace(found, summary=_summary(found))


def finite_or_nan(scale: float) -> float:
    """Return a scale that can be divided by."""
    return scale if math.isfinite(scale) and scale > 0 else math.nan


def _summary(measures: CounterfactualMeasures) -> pd.DataFrame:
    import pandas as pd

    rows = measures.rows
    found: list[_Row] = []
    tried = rows[rows["asked"]]
    held = tried[tried["valid"]]
    found.append(
        ("left_out", _plain(len(rows) - len(tried), len(rows)), "rows", "start is of the target class")
    )
    starts = tried["start"].to_numpy()
    found.append(
        (
            "validity",
            share_over_starts(tried["valid"].to_numpy(), starts),
            "share",
            "found and seen as the target",
        )
    )
    if "valid_judge" in rows:
        share = share_over_starts(tried["valid_judge"].to_numpy(), starts)
        found.append(("validity_judge", share, "share", "the judge says so too, of all"))
        share = share_over_starts(held["valid_judge"].to_numpy(), held["start"].to_numpy())
        found.append(("agreement_judge", share, "share", "the judge says so too, of those valid"))
    options = {"resamples": measures.settings["resamples"], "seed": measures.settings["seed"]}
    for name, (unit, what) in OF_ROWS.items():
        if name in rows and held[name].notna().any():
            within = WITHIN.get(name, (0.0, math.inf))
            estimate = mean_over_starts(
                held[name].to_numpy(float), held["start"].to_numpy(), within=within, **options
            )
            found.append((name, estimate, unit, what))
    share = share_over_starts(held["monotone"].to_numpy(), held["start"].to_numpy())
    found.append(("monotone", share, "share", "the rendered margin never falls along the path"))
    found += _sets(measures, held)
    for name in ("steps", "renders", "seconds"):
        of = tried[name].to_numpy(float)
        valid = tried["valid"].to_numpy(float)
        estimate = mean_over_starts(of, starts, valid, within=(0.0, math.inf), **options)
        found.append((name, estimate, f"{name} per success", "of all attempts, failures included"))
    columns = ["measure", "value", "low", "high", "n", "unit", "what"]
    return pd.DataFrame(
        [(name, e.value, e.low, e.high, e.n, unit, what) for name, e, unit, what in found], columns=columns
    )


def _plain(value: float, n: int) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, n)


def _sets(measures: CounterfactualMeasures, held: pd.DataFrame) -> list[_Row]:
    """Compare the ends as sets: with real pictures, and those of one class pair with each other."""
    if measures.reference is None or measures.ends is None or len(held) < 2:
        return []
    ends = measures.ends[torch.from_numpy(held.index.to_numpy().copy())]  # [n, D]
    targets = target_places(held["target"], measures.settings["classes"])
    found = _realism(measures.reference, ends, targets, held["start"].to_numpy(), measures.settings["seed"])
    return found + _diversity(measures.reference, ends, targets, held, measures.settings["seed"])


def _realism(
    reference: JudgeReference, ends: Tensor, targets: Tensor, starts: np.ndarray, seed: int
) -> list[_Row]:
    some, real, other = reference.matched(targets, seed)
    if len(some) < LEAST:
        return []
    first, picked = reference.features[real], ends[some]
    yardsticks = {
        "cycled": (reference.cycled[other], "the same of cycled real pictures, unchanged"),
        "real": (reference.features[other], "the same of other real pictures"),
    }
    found: list[_Row] = []
    for name, of, unit, what, most in (
        ("frechet", frechet_distance, "judge features, squared", "Fréchet distance", math.inf),
        ("coverage", _covered, "share of real pictures", "share of real pictures with an end nearby", 1.0),
    ):

        def distance(rows: np.ndarray, of: Any = of) -> float:
            return float(of(first, picked[torch.from_numpy(rows)]))

        estimate = jackknife(distance, starts[some.numpy()], most=most, seed=seed)
        found.append((name, estimate, unit, f"{what}, {len(some)} of each"))
        for kind, (features, told) in yardsticks.items():
            found.append((f"{name}_{kind}", _plain(of(first, features), len(features)), unit, told))
    return found


def _diversity(
    reference: JudgeReference, ends: Tensor, targets: Tensor, held: pd.DataFrame, seed: int
) -> list[_Row]:
    usual = {label: mean_distance(reference.of(label)) for label in targets.unique().tolist()}
    pairs = (held["origin"].astype(str) + " -> " + held["target"].astype(str)).to_numpy()

    def spread(rows: np.ndarray) -> float:
        places = torch.from_numpy(rows)
        return diversity(ends[places], pairs[rows], targets[places], usual)

    if math.isnan(spread(np.arange(len(held)))):
        return []
    estimate = jackknife(spread, held["start"].to_numpy(), seed=seed)
    what = "distance of a class pair's ends, over that of the target's real pictures"
    return [("diversity", estimate, "ratio", what)]


def _covered(real: Tensor, picked: Tensor) -> float:
    return coverage_density(real, picked, min(NEIGHBOURS, len(real) - 1))[0]
