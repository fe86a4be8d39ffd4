"""The honest test of a ranking: its units must be more active on real photographs that are high in the measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import extract_features
from ..names import class_index, finite_number, whole_number
from ..parts import Segmenter
from ..parts.measures import ABSENT
from .changes import CIRCULAR, EXTENTS, RELATIVE, angle_change, column_of
from .photograph_measures import measure_photographs
from .score import ALL
from .statistics import interval

if TYPE_CHECKING:
    import pandas as pd

LEAST = 5  # photographs on each side for a class to count
NEEDED = ("unit", "part", "measure", "class", "mean_change")


@dataclass(frozen=True)
class PhotographCheck:
    """How far photographs agree with a ranking of units that was made from generated pictures.

    Attributes
    ----------
    table : a row per tested unit, in the ranking's order: unit, mean_change (of the pictures), auc (probability that
        the unit is more active on a photograph of the upper third than on one of the lower third of the same class),
        its bootstrap interval low, high, agrees (1 when auc - 0.5 has the sign of mean_change, else 0; NaN at 0.5).
    part, measure, class_name : what was ranked.
    images : photographs in the upper and lower thirds, classes : how many of each side, by class.
    agreement : share of the tested units that agree; units : how many were tested.
    p_binomial : two-sided, against 50 %, as if the units were independent of each other. They are not: see
    p_permutation : share of permutations of the photographs (upper against lower, within classes) that agree at least
        as well, which keeps the units' correlations.
    rest, rest_units : agreement of the ranking's other units: what to expect of units that were not selected.
    shuffled : agreement expected if the signs of the pictures' changes were shuffled among all units of the ranking.
    """

    table: pd.DataFrame
    part: str
    measure: str
    class_name: str
    images: int
    classes: dict[str, int]
    agreement: float
    units: int
    p_binomial: float
    p_permutation: float
    rest: float
    rest_units: int
    shuffled: float

    def __str__(self) -> str:
        """Say it in two sentences."""
        rest = f"; {self.rest:.0%} of the other {self.rest_units}" if self.rest_units else ""
        return (
            f"{self.part} {self.measure} ({self.class_name}): {self.agreement:.0%} of {self.units} units are more "
            f"active on the photographs where their pictures say so (p {self.p_permutation:.2g} by permuting "
            f"photographs){rest}. {self.images} photographs of {len(self.classes)} classes, high against low in each."
        )


def check_on_photographs(
    ranking: pd.DataFrame,
    classifier: Classifier,
    photographs: Photographs,
    measures: Any,
    *,
    top: int = 20,
    share: float = 1 / 3,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    batch_size: int = 256,
) -> PhotographCheck:
    """Test a ranking of units on real photographs: the activation must differ in the direction that the pictures say.

    A unit that lengthens the sleeve when it is set high in generated pictures should be more active on real
    photographs with long sleeves than on those with short ones. Photographs are compared within their class, so that
    what tells classes apart can't answer the question.

    Parameters
    ----------
    ranking : of `rank_units`, for one part, measure and class, best with all units (no alpha, no direction): the
        first `top` are tested, and the others say what units do that were not selected. A ranking for one class is
        tested on that class's photographs, a pooled one on those of the classes that its scores pool for the part
        (`.attrs["lis"]["pooled"]`), all where the photographs have none of these.
    photographs : images with labels, such as `load_fashion("sample")`.
    measures : the photographs' measures: a table with the column "<part>.<measure>" and a row per photograph (of
        `measure_photographs`, or of `measure_cycled`, which is circular), the values [N] themselves, or a segmenter
        that reads pictures.
    share : of a class's photographs on either side: 1/3 compares the upper with the lower third.
    confidence, resamples : of the bootstrap interval of each unit's auc, over photographs within class and third.
    seed : of resamples and permutations.

    Returns
    -------
    PhotographCheck

    Raises
    ------
    LisError : a ranking of several parts, measures or classes, measures that don't fit the photographs, no class with
        five photographs or more on either side, units that the classifier does not have.

    Notes
    -----
    A unit set alone shows what the link makes of this unit while all others stand still; photographs show what goes
    with it, other units included. Where units are redundant the two differ, even in sign: a sweep with
    `companion_directions` asks the photographs' question, and agrees with them more often.

    Examples
    --------
    >>> ranking = rank_units(scores, "sleeve", "area")
    >>> print(check_on_photographs(ranking, classifier, load_fashion("sample"), load_segmenter("fashion-pictures")))
    """
    import pandas as pd
    from scipy.stats import binomtest

    top, resamples = whole_number(top, "top", 1), whole_number(resamples, "resamples", 1)
    seed = whole_number(seed, "seed", 0)
    if not 0 < finite_number(share, "share") <= 0.5 or not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(
            f"share is {share!r} and confidence {confidence!r}; above 0, to 0.5 and below 1 were expected."
        )
    part, measure, class_name = _ranked(ranking, classifier)
    values = _values(measures, part, measure, photographs, batch_size)
    asked = ranking.attrs.get("lis", {}).get("pooled", {}).get(part, [])
    if class_name != ALL:
        asked = [photographs.classes[class_index(class_name, photographs.classes, "the set of photographs")]]
    groups = _thirds(values, photographs, measure, asked, share)
    chosen = ranking[ranking["mean_change"].notna() & (ranking["mean_change"] != 0)]
    tested = min(top, len(chosen))
    if tested == 0:
        raise LisError("the ranking has no unit with a change that is not 0.")
    used = np.concatenate([np.concatenate(sides) for sides in groups.values()])
    units = torch.tensor(chosen["unit"].to_numpy(dtype=np.int64))
    r = np.full((len(photographs), len(chosen)), np.nan)  # [N, T], only those used are filled
    r[used] = (
        extract_features(classifier, photographs.images[torch.as_tensor(used)], batch_size)
        .r[:, units]
        .numpy()
    )
    signs = np.sign(chosen["mean_change"].to_numpy())  # [T]
    auc, resampled, permuted = _areas(r, list(groups.values()), tested, resamples, seed)
    low, high = interval(resampled.T, confidence)
    agrees = np.where(auc == 0.5, np.nan, (np.sign(auc - 0.5) == signs).astype(float))
    table = pd.DataFrame({
        "unit": chosen["unit"].to_numpy()[:tested], "mean_change": chosen["mean_change"].to_numpy()[:tested],
        "auc": auc[:tested], "low": low, "high": high, "agrees": agrees[:tested],
    })  # fmt: skip
    decided = agrees[:tested][~np.isnan(agrees[:tested])]
    count = (np.sign(permuted - 0.5) == signs[:tested]).sum(1)  # [permutations]
    up, seen = (signs > 0).mean(), (auc > 0.5).mean()
    return PhotographCheck(
        table=table,
        part=part,
        measure=measure,
        class_name=class_name,
        images=len(used),
        classes={name: len(sides[0]) for name, sides in groups.items()},
        agreement=float(decided.mean()) if len(decided) else float("nan"),
        units=len(decided),
        p_binomial=float(binomtest(int(decided.sum()), len(decided)).pvalue)
        if len(decided)
        else float("nan"),
        p_permutation=float((1 + (count >= decided.sum()).sum()) / (1 + len(count))),
        rest=float(np.nanmean(agrees[tested:])) if np.isfinite(agrees[tested:]).any() else float("nan"),
        rest_units=int(np.isfinite(agrees[tested:]).sum()),
        shuffled=float(up * seen + (1 - up) * (1 - seen)),
    )


def _ranked(ranking: pd.DataFrame, classifier: Classifier) -> tuple[str, str, str]:
    lacking = [name for name in NEEDED if name not in getattr(ranking, "columns", ())]
    if lacking or len(ranking) == 0:
        raise LisError(
            f"the ranking has no rows or lacks the columns {lacking}; give what rank_units returned."
        )
    names = []
    for column in ("part", "measure", "class"):
        found = list(dict.fromkeys(ranking[column]))
        if len(found) > 1:
            raise LisError(f"the ranking has several of {column}: {found[:6]}; rank_units gives one.")
        names.append(str(found[0]))
    worst = int(ranking["unit"].max())
    if worst >= classifier.num_units or int(ranking["unit"].min()) < 0:
        raise LisError(
            f"the ranking has unit {worst}, {classifier.name} the units 0 to {classifier.num_units - 1}: give the "
            "classifier that was swept."
        )
    return names[0], names[1], names[2]


def _values(measures: Any, part: str, measure: str, photographs: Photographs, batch_size: int) -> np.ndarray:
    """Measures of the photographs, float64 [N]; absent parts are 0 where an extent is measured, else NaN."""
    import pandas as pd

    if isinstance(measures, Segmenter):
        measures = measure_photographs(measures, photographs.images, batch_size=batch_size)
    source = measure if measure != RELATIVE else "area"
    if isinstance(measures, pd.DataFrame):
        column = column_of(part, measure)
        if column not in measures.columns:
            raise LisError(f"the photographs' measures have no column {column!r}.")
        values = measures[column].to_numpy(dtype=np.float64)
        if source in EXTENTS and f"{part}.code" in measures.columns:
            values = np.where(measures[f"{part}.code"].to_numpy() == ABSENT, 0.0, values)
    else:
        given = measures.detach().cpu().numpy() if isinstance(measures, Tensor) else measures
        try:
            values = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise LisError(
                f"measures are a {type(measures).__name__}; a table, numbers [N] or a segmenter were expected."
            ) from None
    if values.shape != (len(photographs),):
        raise LisError(
            f"the measures have shape {list(values.shape)} for {len(photographs)} photographs; one each was expected."
        )
    return values


def _thirds(
    values: np.ndarray, photographs: Photographs, measure: str, names: Sequence[str], share: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Photographs low and high in the measure, of every class asked for that has enough of both."""
    # A part that is seen by mistake in a class without it would else decide for the others.
    wanted = [k for k, name in enumerate(photographs.classes) if name in names] or range(
        len(photographs.classes)
    )
    labels = photographs.labels.cpu().numpy()
    groups = {}
    for k in wanted:
        places = np.flatnonzero((labels == k) & np.isfinite(values))
        if len(places) == 0:
            continue
        v = values[places]
        if measure in CIRCULAR:  # an angle is high or low by the shortest way from the class's mean direction
            v = angle_change(np.full(len(v), np.angle(np.exp(2j * v).mean()) / 2), v)
        below, above = np.quantile(v, [share, 1 - share])
        # Values at a border go to neither side when that would put equal values on both.
        low, high = (v <= below, v >= above) if below < above else (v < below, v > above)
        if min(low.sum(), high.sum()) >= LEAST:
            groups[photographs.classes[k]] = (places[low], places[high])
    if not groups:
        raise LisError(
            f"no class has {LEAST} photographs or more on either side of the measure (of {', '.join(names) or ALL!r}): "
            "the part is absent, or alike, in all of them. Give more photographs."
        )
    return groups


def _areas(
    r: np.ndarray, groups: list[tuple[np.ndarray, np.ndarray]], tested: int, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area under the curve, upper against lower, pooled over classes by their numbers of couples.

    Returns it for all units [T], bootstrapped for those tested [B, tested], and permuted [B, tested].
    """
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    total, resampled, permuted = (
        np.zeros(r.shape[1]),
        np.zeros((resamples, tested)),
        np.zeros((resamples, tested)),
    )
    couples = 0
    for low, high in groups:
        m, n = len(low), len(high)
        couples += m * n
        ranks = rankdata(r[np.concatenate([high, low])], axis=0)  # [n + m, T]
        total += ranks[:n].sum(0) - n * (n + 1) / 2
        drawn = [rng.multinomial(k, np.full(k, 1 / k), size=resamples).astype(np.float32) for k in (n, m)]
        for t in range(tested):
            above = r[high, t][:, None] - r[low, t]  # [n, m]
            wins = (above > 0).astype(np.float32) + 0.5 * (above == 0)
            resampled[:, t] += ((drawn[0] @ wins.astype(np.float32)) * drawn[1]).sum(1)
        order = rng.random((resamples, n + m)).argpartition(n - 1, axis=1)[:, :n]
        upper = np.zeros((resamples, n + m))
        np.put_along_axis(upper, order, 1.0, axis=1)
        permuted += upper @ ranks[:, :tested] - n * (n + 1) / 2
    return total / couples, resampled / couples, permuted / couples
