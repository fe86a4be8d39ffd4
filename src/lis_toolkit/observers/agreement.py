"""Do observers and linked pictures name the same units? Per unit, and where the two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import LisError
from ..names import cut, finite_number, spelling_hint, whole_number
from ..pixel_sheet import FAINT, GOOD, INK, PixelSheet, figure_class
from ..sheets import check_walk, picture_scale
from .attributes import Attributes
from .state import State, as_state
from .thresholds import area_bounds, area_under_curve
from .train import train_observers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..units import UnitWalk

__all__ = ["Agreement", "agreement_figure", "agreement_sheet", "compare_with_ranking", "score_units"]

VIEWS = ("auc", "weight")
ORDERS = ("effect", "mean_change", "unit_selectivity")


@dataclass(frozen=True)
class Agreement:
    """What observers and linked pictures say of the same units; made by `compare_with_ranking`.

    Attributes
    ----------
    table : DataFrame, a row a unit: unit, observer (area under the curve less 1/2, or weight), ranking (effect in
        linked pictures), observer_rank, ranking_rank (0 the lowest, 1 the highest, signs kept), disagreement
        (observer_rank less ranking_rank); the largest disagreement first.
    spearman, low, high : rank correlation over units, and its bootstrap interval over units. Units of one network are
        not independent, so the interval is rather too narrow.
    p : two-sided, against permutations of the units.
    same_sign : share of the units whose two values have the same sign.
    units : how many; view, by, part, measure : what was compared.
    """

    table: pd.DataFrame
    spearman: float
    low: float
    high: float
    p: float
    same_sign: float
    units: int
    view: str
    by: str
    part: str
    measure: str

    def disagreeing(self, count: int = 4) -> list[int]:
        """Return the units on which the two differ most."""
        return [int(unit) for unit in self.table["unit"].head(whole_number(count, "count", 1))]

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"{self.part} {self.measure}: Spearman {self.spearman:+.2f} [{self.low:+.2f}, {self.high:+.2f}] "
            f"(p {self.p:.2g}) between what {self.units} units tell of photographs ({self.view}) and what setting them "
            f"changes in linked pictures ({self.by}); {self.same_sign:.0%} have the same sign."
        )


def score_units(
    state: Any,
    attributes: Attributes | pd.DataFrame,
    name: str,
    layer: str | None = None,
    *,
    within: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Say of every unit what it tells of a number on its own, and its weight in the observer of all units.

    Parameters
    ----------
    name : an attribute that is a number, such as "sleeve.area".
    layer : title; None: the last, the penultimate activations.
    within : [N], class labels: units and number are taken less their class's mean, so that what tells classes apart
        does not answer the question. None: over all classes.

    Returns
    -------
    DataFrame
        unit, auc (probability that the unit is higher on an image above the number's median than on one below, all
        images with a value), auc_low, auc_high, weight (of the ridge observer, per standard deviation of unit and
        number). The observer's held-out R2 is in `.attrs["r2"]`.

    Raises
    ------
    LisError : an attribute that is a category, too few images with a value.

    Examples
    --------
    >>> told = score_units(state, part_attributes(measures), "sleeve.area", within=photographs.labels)
    """
    import pandas as pd
    from scipy.stats import norm, rankdata

    state = as_state(state)
    table = attributes if isinstance(attributes, Attributes) else Attributes(attributes)
    [name] = table.chosen(name)
    if table.kinds[name] != "number":
        raise LisError(f"attribute {name!r} is a category; a number was expected, such as a part's area.")
    if len(table) != len(state):
        raise LisError(
            f"the state is of {len(state)} images, the attributes of {len(table)}; the same was expected."
        )
    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    title = state.title(state.layers[-1] if layer is None else layer)
    known = table.known(name)
    y, x = table.values(name)[known].astype(float), state.rows_of(title, known)
    if within is not None:
        labels = np.asarray(within.cpu() if isinstance(within, Tensor) else within)
        if labels.shape != (len(state),):
            raise LisError(
                f"within has shape {list(labels.shape)} for {len(state)} images; one label each was expected."
            )
        _, of = np.unique(labels[known], return_inverse=True)
        counts = np.bincount(of)
        y = y - (np.bincount(of, y) / counts)[of]
        means = np.zeros((len(counts), x.shape[1]))
        np.add.at(means, of, x)
        x = x - (means / counts[:, None])[of]
    spread = y.std()
    if len(y) < 8 or spread <= 1e-12 * max(1.0, float(np.abs(y).max())):
        raise LisError(
            f"{name!r} does not vary over the {len(y)} images with a value; nothing can be told of it."
        )
    holds = y > np.median(y)
    if not holds.any():
        holds = y >= np.median(y)  # more than half of them share the largest value
    area, error, _ = area_under_curve(rankdata(x, axis=0), holds)
    low, high = area_bounds(area, error, holds, float(norm.ppf((1 + confidence) / 2)))
    observers = train_observers(
        State({title: x}, {title: 1.0}), pd.DataFrame({name: y / spread}), controls=0, seed=seed
    )
    told = pd.DataFrame({
        "unit": np.arange(x.shape[1]), "auc": area, "auc_low": low, "auc_high": high,
        "weight": observers.observer(title, name).weights[:, 0],
    })  # fmt: skip
    told.attrs["r2"] = float(observers.scores["score"].iloc[0])
    return told


def compare_with_ranking(
    told: pd.DataFrame,
    ranking: pd.DataFrame,
    *,
    view: str = "auc",
    by: str = "effect",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Compare what units tell of photographs with what setting them changes in linked pictures.

    Parameters
    ----------
    told : of `score_units`.
    ranking : of `rank_units`, of one part and measure, from a sweep's scores or from `Screening.to_frame()`.
    view : "auc" (each unit alone) or "weight" (beside all others: of two units that say the same, one may get nothing).
    by : column of the ranking.

    Returns
    -------
    Agreement

    Raises
    ------
    LisError : tables without these columns, fewer than 4 units in common.

    Notes
    -----
    The two may differ honestly: an observer sees what goes with a unit on photographs, other units included; a sweep
    sets the unit alone, and only what generator and link can draw shows.

    Examples
    --------
    >>> ranking = rank_units(screening.to_frame(), "sleeve", "area")
    >>> print(compare_with_ranking(told, ranking))
    """
    from scipy.stats import rankdata

    if view not in VIEWS or by not in ORDERS:
        raise LisError(
            f"view is {view!r} and by {by!r}; {' or '.join(VIEWS)}, and one of {', '.join(ORDERS)} were expected."
            f"{spelling_hint(str(view), VIEWS) if view not in VIEWS else spelling_hint(str(by), ORDERS)}"
        )
    for name, table, needed in (
        ("told", told, ("unit", view)),
        ("ranking", ranking, ("unit", "part", "measure", by)),
    ):
        lacking = [column for column in needed if column not in getattr(table, "columns", ())]
        if lacking:
            raise LisError(
                f"{name} has no column {lacking[0]!r}; give what score_units and rank_units return."
            )
    if (
        ranking["part"].nunique() > 1
        or ranking["measure"].nunique() > 1
        or ranking["unit"].duplicated().any()
    ):
        raise LisError("the ranking is of several parts, measures or classes; rank_units gives one.")
    resamples, seed = whole_number(resamples, "resamples", 1), whole_number(seed, "seed", 0)
    both = told[["unit", view]].merge(ranking[["unit", by]], on="unit")
    both = both.set_axis(["unit", "observer", "ranking"], axis=1)
    if view == "auc":
        both["observer"] -= 0.5
    both = both[np.isfinite(both["observer"]) & ~both["ranking"].isna()].reset_index(drop=True)
    n = len(both)
    if n < 4:
        raise LisError(f"told and ranking have {n} units with values in common; at least 4 were expected.")
    ranks = np.stack([rankdata(both[name]) for name in ("observer", "ranking")])  # [2, U]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, n, (resamples, n))
    draws = _correlation(
        *(rankdata(both[name].to_numpy()[drawn], axis=1) for name in ("observer", "ranking"))
    )
    value = float(_correlation(ranks[:1], ranks[1:])[0])
    shuffled = np.argsort(rng.random((resamples, n)), axis=1)
    null = _correlation(ranks[0][shuffled], np.broadcast_to(ranks[1], (resamples, n)))
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail]) if np.isfinite(draws).any() else (np.nan, np.nan)
    p = float((1 + (np.abs(null) >= abs(value) - 1e-12).sum()) / (1 + resamples))
    p = p if np.isfinite(value) else float("nan")
    for name, rank in zip(("observer_rank", "ranking_rank"), ranks, strict=True):
        both[name] = (rank - 1) / (n - 1)
    both["disagreement"] = both["observer_rank"] - both["ranking_rank"]
    order = np.lexsort((both["unit"], -both["disagreement"].abs()))
    return Agreement(
        both.iloc[order].reset_index(drop=True), value, float(low), float(high),
        p,
        float((np.sign(both["observer"]) == np.sign(both["ranking"])).mean()), n, view, by,
        str(ranking["part"].iloc[0]), str(ranking["measure"].iloc[0]),
    )  # fmt: skip


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row, [B, n] and [B, n] -> [B]; NaN where a row does not vary."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))  # type: ignore[no-any-return]


def agreement_figure(agreement: Agreement, labels: int = 8) -> Figure:
    """Draw one dot a unit: what it tells of photographs against what setting it changes in linked pictures.

    Parameters
    ----------
    labels : units that are named, those on which the two disagree most.

    Examples
    --------
    >>> agreement_figure(agreement).savefig("agreement.png")
    """
    from ..rankings.plots import name_dots

    table = agreement.table
    x, y, apart = (table[name].to_numpy(float) for name in ("observer", "ranking", "disagreement"))
    y = np.where(np.isfinite(y), y, np.nan)  # an infinite effect has no place
    named = np.isfinite(y)
    x, y, apart, units = x[named], y[named], apart[named], table["unit"].to_numpy()[named]
    figure = figure_class()(figsize=(5.6, 4.6), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=3)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    dots = axes.scatter(x, y, s=20, c=np.abs(apart), cmap="cividis", vmin=0, vmax=1, linewidths=0)
    bar = figure.colorbar(dots, ax=axes, shrink=0.8)
    bar.set_label("disagreement (difference of rank shares)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    said = (
        "P(higher above the median than below) less 1/2"
        if agreement.view == "auc"
        else "weight in the observer"
    )
    axes.set_xlabel(f"photographs: {said}", fontsize=8)
    axes.set_ylabel(f"linked pictures: {agreement.by.replace('_', ' ')} of setting the unit", fontsize=8)
    axes.set_title(
        f"{cut(agreement.part)} {agreement.measure}: {agreement.units} units, Spearman {agreement.spearman:+.2f} "
        f"[{agreement.low:+.2f}, {agreement.high:+.2f}]", fontsize=9, loc="left", parse_math=False,
    )  # fmt: skip
    name_dots(figure, axes, units, x, y, np.ones(len(x), bool), labels, by=apart)
    return figure


def agreement_sheet(
    agreement: Agreement,
    images: Tensor,
    activations: Any,
    walks: Sequence[UnitWalk],
    count: int = 6,
    sample: int = 0,
) -> Figure:
    """Draw units beside each other as both sides see them: the photographs they like most, and their linked walk.

    Parameters
    ----------
    images : photographs [N, C, H, W], unit range.
    activations : [N, R], of these photographs, the units that were compared.
    walks : of `tune_unit`, of the units to show, such as `agreement.disagreeing()`. One with companions stands without
        figures, which are those of the ranking that was compared; after the unit's own walk, without photographs too.
    count : photographs a unit.
    sample : which of the walks' samples is drawn.

    Raises
    ------
    LisError : no walks, activations that do not fit, a unit that was not compared.

    Examples
    --------
    >>> walks = [tune_unit(generator, classifier, link, r[:1], unit) for unit in agreement.disagreeing(4)]
    >>> agreement_sheet(agreement, photographs.images, features.r, walks)
    """
    r = np.asarray(activations.detach().cpu() if isinstance(activations, Tensor) else activations)
    if not walks:
        raise LisError("agreement_sheet was given no walks; make some with tune_unit.")
    for walk in walks:
        check_walk(walk, sample)
        if walk.unit not in set(agreement.table["unit"]):
            raise LisError(f"unit {walk.unit} is not among the {agreement.units} units that were compared.")
    if r.ndim != 2 or len(r) != len(images) or r.shape[1] <= max(walk.unit for walk in walks):
        raise LisError(
            f"activations have shape {list(r.shape)} for {len(images)} photographs; [N, R] was expected."
        )
    count = min(whole_number(count, "count", 1), len(images))
    scale = picture_scale(walks[0].images, 64)
    own = picture_scale(images, 64)
    tall = max(scale * walks[0].images.shape[-2], own * images.shape[-2])
    wide, seen = scale * walks[0].images.shape[-1], own * images.shape[-1]
    steps = max(len(walk.values) for walk in walks)
    left, top, gap, middle = 214, 44, 6, 34
    right = left + count * (seen + gap) + middle
    sheet = PixelSheet(right + steps * (wide + gap) + 10, top + len(walks) * (tall + 44) + 6)
    sheet.write(left, 24, "photographs with the highest activation", 9, weight="bold")
    sheet.write(
        right, 24, "linked pictures, the unit set from its least to its largest value", 9, weight="bold"
    )
    rows = agreement.table.set_index("unit")
    for number, walk in enumerate(walks):
        y = top + number * (tall + 44)
        sheet.write(12, y + 16, f"unit {walk.unit}", 10, weight="bold")
        if walk.companions:
            sheet.write(12, y + 36, "set with its companions", 8, color=INK)
        else:
            row = rows.loc[walk.unit]
            name = f"{cut(agreement.part, 12)} {cut(agreement.measure, 12)}"
            sheet.write(12, y + 36, f"{name} on photographs:", 7.5, color=FAINT)
            sheet.write(12, y + 51, _said(row["observer"], row["observer_rank"]), 8, color=INK)
            sheet.write(12, y + 71, f"{name} in linked pictures:", 7.5, color=FAINT)
            sheet.write(12, y + 86, _said(row["ranking"], row["ranking_rank"]), 8, color=GOOD)
        again = number > 0 and walks[number - 1].unit == walk.unit  # its photographs stand above
        best = np.argsort(-r[:, walk.unit], kind="stable")[: 0 if again else count]
        for column, image in enumerate(best.tolist()):
            x = left + column * (seen + gap)
            sheet.place(images[image], x, y, own)
            sheet.write(x + seen / 2, y + tall + 13, f"{r[image, walk.unit]:.3g}", 7, ha="center")
        for step, value in enumerate(walk.values.tolist()):
            x = right + step * (wide + gap)
            sheet.place(walk.images[sample, step], x, y, scale)
            sheet.write(x + wide / 2, y + tall + 13, f"{value:.3g}", 7, ha="center")
    return sheet.figure()


def _said(value: Any, rank: Any) -> str:
    return f"{value:+.2f}, above {rank:.0%} of units"
