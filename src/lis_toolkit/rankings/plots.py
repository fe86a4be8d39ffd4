"""Figures of a ranking for print: heat map of units and parts, volcano plot, class-wise profiles, forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import whole_number
from ..pixel_sheet import BAD, FAINT, GOOD, INK, figure_class
from ..plots import quiet
from .label_places import free_places
from .rows import (
    POOLED,
    SIGNIFICANT,
    chosen_rows,
    cut,
    effect_matrix,
    largest,
    minus_log_q,
    profile_choice,
    profile_rows,
    ranking_title,
    share_text,
    unit_rows,
    volcano_rows,
)
from .texts import change_label, checked_significance, is_share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["class_profiles", "forest_plot", "selectivity_map", "volcano_plot"]

TALLEST = 11.0  # inches: a figure that still fits a printed page
EMPTY = "#dcdcdc"  # of a heat map: no value
PALE = 0.4  # opacity of what may be chance


def selectivity_map(
    ranking: pd.DataFrame,
    measure: str = "area",
    class_name: str = POOLED,
    most: int = 40,
    order: str = "clustered",
    significance: float = SIGNIFICANT,
) -> Figure:
    """Draw standardised effects as a map: a row a unit, a column a part, purple for less and orange for more.

    A dot marks q below `significance`, pale places may be chance; grey is no value, because the part was not there to
    be measured. Of more than `most` units those are drawn that have the largest effects, significant ones first.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    measure, class_name : which of its rows; the class "all" holds all samples.
    most : units that are drawn; more than about 60 are drawn as thin rows, of which some are numbered.
    order : "clustered", units with like effects beside each other, or "sorted" by the part they change most.
    significance : share of false findings among those that get a dot.

    Returns
    -------
    Figure

    Raises
    ------
    LisError : names that the ranking does not have, or nothing to draw.

    Examples
    --------
    >>> selectivity_map(score_selectivity(sweep), measure="area").savefig("map.png")
    """
    import numpy as np
    from matplotlib import colormaps

    found = effect_matrix(ranking, measure, class_name, "effect", most, order, significance)
    count, width = found.values.shape
    row = min(0.19, (TALLEST - 1.6) / count)  # inches
    longest = max(len(cut(part)) for part in found.parts)
    figure = figure_class()(
        figsize=(2.6 + 0.36 * width, 1.0 + 0.06 * longest + max(row * count, 0.8)),
        dpi=100, facecolor="white", layout="constrained",
    )  # fmt: skip
    axes = figure.add_subplot()
    colours = colormaps["PuOr_r"].with_extremes(bad=EMPTY)
    limit = largest(found.values, found.significant)
    image = axes.imshow(
        np.ma.masked_invalid(np.clip(found.values, -limit, limit)),
        aspect="auto", interpolation="nearest", cmap=colours, vmin=-limit, vmax=limit,
        alpha=np.where(found.significant | np.isnan(found.values), 1.0, PALE),
    )  # fmt: skip
    below, right = np.nonzero(found.significant & np.isfinite(found.values))
    dark = np.abs(found.values[below, right]) > 0.55 * limit
    axes.scatter(right, below, s=min(9.0, (40 * row) ** 2), c=np.where(dark, "white", INK), linewidths=0)
    every = max(1, -(-count // int(TALLEST / 0.15)))
    axes.set_yticks(range(0, count, every), [str(unit) for unit in found.units[::every]], fontsize=7)
    axes.set_xticks(
        range(width), [cut(part) for part in found.parts], rotation=90, fontsize=8, parse_math=False
    )
    axes.tick_params(length=2)
    axes.set_ylabel(f"unit ({count} of {found.of})" if count < found.of else "unit", fontsize=8)
    axes.set_title(ranking_title(measure, class_name), fontsize=9, loc="left", parse_math=False)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=18, extend="both")
    empty = "; grey: no value" if np.isnan(found.values).any() else ""
    bar.set_label(
        f"effect: mean / sd over samples\n(dot: q < {significance:g}, pale: not{empty})", fontsize=7
    )
    bar.ax.tick_params(labelsize=7)
    return figure


def volcano_plot(
    ranking: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    labels: int = 12,
    significance: float = SIGNIFICANT,
) -> Figure:
    """Draw one dot a unit: how much it changes a part against how surely; the top units are named.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    part, measure, class_name : which of its rows.
    labels : significant units that are named, those with the largest effects; one for which there is no room is not.
    significance : q at the dashed line.

    Returns
    -------
    Figure

    Raises
    ------
    LisError : names that the ranking does not have, or no unit with an effect and a q.

    Examples
    --------
    >>> volcano_plot(ranking, "sleeve", "area").savefig("volcano.png")
    """
    import numpy as np

    checked_significance(significance)
    whole_number(labels, "labels", 0)
    rows, count = volcano_rows(ranking, part, measure, class_name)
    figure = figure_class()(figsize=(6.0, 4.4), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    quiet(axes)
    effect = rows["effect"].to_numpy(float)
    height, capped = minus_log_q(rows)
    sure = rows["q"].to_numpy(float) < significance
    colour = np.where(sure, np.where(effect > 0, BAD, GOOD), "#b9c6cf")
    for mark, chosen in (("o", ~capped), ("^", capped)):
        axes.scatter(
            effect[chosen], height[chosen], s=18, c=colour[chosen], marker=mark, linewidths=0, alpha=0.85
        )
    axes.axhline(-np.log10(significance), color=FAINT, linewidth=0.8, linestyle="--")
    axes.axvline(0, color=FAINT, linewidth=0.8)
    limit = 1.12 * float(np.abs(effect).max()) or 1.0
    axes.set_xlim(-limit, limit)
    axes.set_ylim(
        min(0.0, float(height.min())), 1.1 * max(float(height.max()), -1.3 * np.log10(significance))
    )
    axes.set_xlabel("effect: mean change / sd over samples (right: more)", fontsize=8)
    note = "; triangles: q = 0" if capped.any() else ""
    axes.set_ylabel(f"-log10 q (dashed: q = {significance:g}{note})", fontsize=8)
    axes.set_title(
        f"{ranking_title(measure, class_name, part)} ({len(rows)} of {count} units)",
        fontsize=9,
        loc="left",
        parse_math=False,
    )
    name_dots(figure, axes, rows["unit"].to_numpy(), effect, height, sure, labels)
    return figure


def name_dots(
    figure: Any, axes: Any, units: Any, x: Any, y: Any, sure: Any, labels: int, by: Any = None
) -> None:
    """Write the numbers of the top units beside their dots where they cover nothing: those farthest from 0 in `by`."""
    import numpy as np

    size = np.abs(x if by is None else by)
    top = [int(i) for i in np.argsort(-size, kind="stable") if sure[i]][:labels]
    if not top:
        return
    figure.draw_without_rendering()  # the layout is settled
    frame = axes.get_window_extent()
    dots = axes.transData.transform(np.stack([x, y], 1))  # [N, 2] pixels
    sizes = [(6.2 * len(str(units[i])) + 2, 11.0) for i in top]
    places = free_places(dots, top, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), radius=3.0)
    for i, place in zip(top, places, strict=True):
        if place is not None:
            points = 72 / figure.dpi * (np.asarray(place) - dots[i])
            text = axes.annotate(
                str(units[i]), (x[i], y[i]), points, textcoords="offset points", fontsize=7,
                ha="center", va="center", color=INK,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 3, "shrinkB": 1},
            )  # fmt: skip
            text.set_in_layout(False)


def class_profiles(
    ranking: pd.DataFrame,
    unit: int | None = None,
    part: str | None = None,
    measure: str = "area",
    names: Sequence[Any] | None = None,
    panels: int = 8,
    classes: int = 12,
) -> Figure:
    """Draw what one unit does to the parts, or what the top units do to one part, class by class with intervals.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    unit, part : give one of the two: a unit has a panel for each part, a part a panel for each unit.
    measure : which of the rows.
    names : parts or units that get a panel, in this order; default: those with the largest effects.
    panels, classes : how many are drawn at most, those with the largest effects.

    Returns
    -------
    Figure
        Dots are mean changes from first to last step with their intervals, filled where q < 0.05; orange squares:
        the samples of all classes. All panels have one scale.

    Raises
    ------
    LisError : not one of unit and part, or what the ranking does not have.

    Examples
    --------
    >>> class_profiles(ranking, unit=17)
    >>> class_profiles(ranking, part="sleeve", panels=6)
    """
    import numpy as np

    by, rows = profile_choice(ranking, unit, part, measure)
    found, order = profile_rows(rows, by, names, panels, classes)
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    figure = figure_class()(
        figsize=(max(1.3 + 2.1 * columns, 5.0), 0.8 + lines * (0.55 + 0.17 * len(order))),
        dpi=100, facecolor="white", layout="constrained",
    )  # fmt: skip
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes in grid[len(found) :]:
        axes.set_visible(False)
    for axes, (name, part_rows) in zip(grid, found, strict=False):
        quiet(axes)
        places = [order.index(one) for one in part_rows["class"]]
        pooled = np.asarray(part_rows["class"] == POOLED)
        for chosen, colour, mark in ((~pooled, GOOD, "o"), (pooled, BAD, "s")):
            _intervals(
                axes,
                part_rows[chosen],
                [p for p, one in zip(places, chosen, strict=True) if one],
                colour,
                mark,
            )
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set_title(cut(name), fontsize=8, loc="left", parse_math=False)
    grid[0].set_yticks(range(len(order)), [cut(name) for name in order], fontsize=7, parse_math=False)
    grid[0].set_ylim(len(order) - 0.5, -0.5)
    _percent(grid[0], measure)
    for number, axes in enumerate(grid[: len(found)]):
        axes.tick_params(labelsize=7, labelbottom=number + columns >= len(found))
    what = f"unit {unit}" if part is None else part
    figure.suptitle(f"{cut(what)}: {measure} by class", fontsize=9, x=0.01, ha="left", parse_math=False)
    figure.supxlabel(f"{change_label(measure)} (filled: q < {SIGNIFICANT:g})", fontsize=8)
    return figure


def forest_plot(
    ranking: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    units: Sequence[int] | None = None,
    top: int = 20,
    significance: float = SIGNIFICANT,
) -> Figure:
    """Draw the top units of a part, one below the other: mean change with its interval, and the numbers beside it.

    Parameters
    ----------
    ranking : what `score_selectivity` or `rank_units` returned.
    part, measure, class_name : which of its rows.
    units : which ones, in this order; default: the `top` ones with the largest effects.
    top : how many.
    significance : dots are filled where q is below it.

    Returns
    -------
    Figure
        At the right: the effect (mean / sd over samples) and the share of samples whose change has the same sign.

    Raises
    ------
    LisError : names that the ranking does not have, or nothing to draw.

    Examples
    --------
    >>> forest_plot(ranking, "sleeve", top=12).savefig("forest.png")
    """
    checked_significance(significance)
    rows = unit_rows(chosen_rows(ranking, part, measure, class_name), units, min(top, 60))
    rows = rows[rows["mean_change"].notna()]
    if len(rows) == 0:
        raise LisError(
            f"none of the units has a change of {part} {measure} in class {class_name!r}; give others."
        )
    figure = figure_class()(
        figsize=(6.4, 1.0 + 0.17 * len(rows)), dpi=100, facecolor="white", layout="constrained"
    )
    axes = figure.add_subplot()
    quiet(axes)
    places = list(range(len(rows)))
    more = rows["mean_change"].to_numpy(float) > 0
    for chosen, colour in ((more, BAD), (~more, GOOD)):
        _intervals(axes, rows[chosen], [p for p in places if chosen[p]], colour, "o", significance)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(places, [f"unit {unit}" for unit in rows["unit"]], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _percent(axes, measure)
    beside = axes.secondary_yaxis("right")
    same = rows["same_sign"] if "same_sign" in rows else [float("nan")] * len(rows)
    notes = [f"{e:+.2f}   {share_text(s):>4}" for e, s in zip(rows["effect"], same, strict=True)]
    beside.set_yticks(places, notes, fontsize=7, family="monospace")
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    axes.set_title("effect, same sign", fontsize=7, loc="right", color=FAINT)
    axes.set_title(ranking_title(measure, class_name, part), fontsize=9, loc="left", parse_math=False)
    axes.set_xlabel(f"{change_label(measure)} (filled: q < {significance:g})", fontsize=8)
    return figure


def _intervals(
    axes: Any,
    rows: pd.DataFrame,
    places: Sequence[float],
    colour: str,
    mark: str,
    significance: float = SIGNIFICANT,
) -> None:
    """Draw mean changes with their intervals at these heights; hollow where q says that it may be chance."""
    import numpy as np

    middle, low, high, q = (rows[name].to_numpy(float) for name in ("mean_change", "low", "high", "q"))
    error = np.nan_to_num(
        np.clip(np.stack([middle - low, high - middle]), 0, None)
    )  # one sample has no interval
    axes.errorbar(middle, places, xerr=error, fmt="none", ecolor=colour, linewidth=1.2)
    fill = np.where(q < significance, colour, "white")
    axes.scatter(middle, places, s=18, c=list(fill), edgecolors=colour, linewidths=1.0, marker=mark, zorder=3)


def _percent(axes: Any, measure: str) -> None:
    """Write shares as percentages, and few numbers."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.xaxis.set_major_locator(MaxNLocator(4))
    if is_share(measure):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.tick_params(labelsize=7)
