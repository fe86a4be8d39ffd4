"""Figures that ask whether a ranking can be believed: its screening beside the sweep, and real photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..pixel_sheet import BAD, FAINT, GOOD, INK, figure_class
from ..plots import quiet
from .plots import name_dots
from .rows import POOLED, chosen_rows, cut, ranking_title
from .texts import change_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..selectivity import PhotographCheck

__all__ = ["photograph_check_plot", "screening_plot"]


def screening_plot(
    screened: pd.DataFrame,
    scores: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    labels: int = 8,
) -> Figure:
    """Draw one dot a unit: the change that screening predicts against the one that the sweep found.

    Parameters
    ----------
    screened : of `Screening.to_frame`.
    scores : of `score_selectivity`; units that are in both are drawn.
    part, measure, class_name : which rows of both.
    labels : units that are named, those that the sweep changed most.

    Returns
    -------
    Figure
        The dotted line is where prediction and sweep are equal.

    Raises
    ------
    LisError : names that one of the tables does not have, or no unit that both have.

    Examples
    --------
    >>> screening_plot(screening.to_frame(), score_selectivity(sweep), "sleeve", "area")
    """
    import numpy as np

    filled = screened.assign(**{name: np.nan for name in ("low", "high", "q") if name not in screened})
    predicted = chosen_rows(filled, part, measure, class_name)[["unit", "mean_change"]]
    found = chosen_rows(scores, part, measure, class_name)[["unit", "mean_change"]]
    both = predicted.merge(found, on="unit", suffixes=("_predicted", "_found")).dropna()
    if len(both) == 0:
        raise LisError(
            f"no unit has a change of {part} {measure} in both tables: screen and sweep the same units and parts."
        )
    x, y = (both[f"mean_change_{kind}"].to_numpy(float) for kind in ("predicted", "found"))
    figure = figure_class()(figsize=(5.2, 4.4), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    quiet(axes)
    # Equal scales would hide the smaller changes where a prediction is far off, as predictions far from the start are.
    axes.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, linestyle=":")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    same = np.sign(x) == np.sign(y)
    axes.scatter(x, y, s=18, c=np.where(same, GOOD, BAD), linewidths=0, alpha=0.8)
    for setter, values in ((axes.set_xlim, x), (axes.set_ylim, y)):
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        room = 0.08 * ((high - low) or 1.0)
        setter(low - room, high + room)
    axes.set_xlabel("predicted by screening", fontsize=8)
    axes.set_ylabel("found by the sweep", fontsize=8)
    axes.set_title(
        f"{ranking_title(measure, class_name, part)} ({len(both)} units)",
        fontsize=9,
        loc="left",
        parse_math=False,
    )
    figure.supxlabel(f"{change_label(measure)}; orange: the sign is wrong", fontsize=8, color=FAINT)
    name_dots(figure, axes, both["unit"].to_numpy(), x, y, np.ones(len(both), bool), labels, by=y)
    return figure


def photograph_check_plot(check: PhotographCheck) -> Figure:
    """Draw, for each tested unit, how much more active it is on the photographs that are high in the measure.

    Parameters
    ----------
    check : of `check_on_photographs`.

    Returns
    -------
    Figure
        A dot is the probability that the unit is more active on a photograph of the upper third than on one of the
        lower third of its class, with its interval. Blue: on the side that the generated pictures say, marked by an
        arrow at the edge; orange: on the other side.

    Examples
    --------
    >>> photograph_check_plot(check_on_photographs(ranking, classifier, photographs, segmenter))
    """
    import numpy as np

    rows = check.table
    auc, low, high = (rows[name].to_numpy(float) for name in ("auc", "low", "high"))
    places = np.arange(len(rows))
    up = rows["mean_change"].to_numpy(float) > 0
    colours = np.where(rows["agrees"].to_numpy(float) == 1, GOOD, np.where(auc == 0.5, FAINT, BAD))
    figure = figure_class()(
        figsize=(5.6, 1.3 + 0.17 * len(rows)), dpi=100, facecolor="white", layout="constrained"
    )
    axes: Any = figure.add_subplot()
    quiet(axes)
    error = np.nan_to_num(np.clip(np.stack([auc - low, high - auc]), 0, None))
    axes.errorbar(auc, places, xerr=error, fmt="none", ecolor=list(colours), linewidth=1.2)
    axes.scatter(auc, places, s=18, c=list(colours), linewidths=0, zorder=3)
    reach = max(0.1, 1.15 * float(np.nanmax(np.abs(np.concatenate([auc, low, high]) - 0.5))))
    axes.set_xlim(0.5 - reach, 0.5 + reach)
    for sign, marker in ((True, ">"), (False, "<")):
        chosen = places[up == sign]
        edge = np.full(len(chosen), 0.5 + (0.97 if sign else -0.97) * reach)
        axes.scatter(edge, chosen, s=14, marker=marker, c=INK, linewidths=0)
    axes.axvline(0.5, color=FAINT, linewidth=0.8)
    axes.set_yticks(places, [f"unit {unit}" for unit in rows["unit"]], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    where = "classes pooled" if check.class_name == POOLED else cut(check.class_name)
    title = f"{cut(check.part)}: {check.measure}, {where}: {check.agreement:.0%} of {check.units} units agree"
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.set_xlabel(
        "P(more active on photographs high in the measure)\narrows: side that the generated pictures say",
        fontsize=8,
    )
    return figure
