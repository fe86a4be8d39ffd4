"""Charts of a ranking for notebooks: the figures of `plots`, with all numbers under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import whole_number
from ..pixel_sheet import BAD, FAINT, GOOD, INK
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
from .texts import amount, change_label, checked_significance, is_share

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["forest_chart", "map_chart", "profile_chart", "volcano_chart"]

WIDTH, TALLEST = 760, 900  # pixels
UNSURE, EMPTY = "#b9c6cf", "#dcdcdc"


def map_chart(
    ranking: pd.DataFrame,
    measure: str = "area",
    class_name: str = POOLED,
    most: int = 60,
    order: str = "clustered",
    significance: float = SIGNIFICANT,
) -> go.Figure:
    """Draw standardised effects of units (rows) on parts (columns): purple for less, orange for more.

    A dot marks q below `significance`, pale places may be chance; grey is no value. The pointer shows the numbers.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    measure, class_name : which of its rows; the class "all" holds all samples.
    most : units that are drawn, those with the largest effects.
    order : "clustered" or "sorted", as in `selectivity_map`.
    significance : share of false findings among those that get a dot.

    Returns
    -------
    plotly Figure

    Raises
    ------
    LisError : names that the ranking does not have, or nothing to draw.

    Examples
    --------
    >>> map_chart(score_selectivity(sweep), measure="area").write_html("map.html")
    """
    import numpy as np
    import plotly.graph_objects as go

    found = effect_matrix(ranking, measure, class_name, "effect", most, order, significance)
    limit = largest(found.values, found.significant)
    units = [f"unit {unit}" for unit in found.units]
    parts = [cut(part) for part in found.parts]
    count = len(units)
    chart = go.Figure(
        go.Heatmap(
            z=found.values, x=parts, y=units, customdata=found.q, colorscale="PuOr_r", zmin=-limit, zmax=limit,
            hoverongaps=False, colorbar={"title": {"text": "effect"}, "thickness": 14},
            hovertemplate="%{y}, %{x}<br>effect %{z:.2f}, q %{customdata:.2g}<extra></extra>",
        )
    )  # fmt: skip
    veil = np.where(found.significant | np.isnan(found.values), np.nan, 1.0)
    white = [[0, "white"], [1, "white"]]
    chart.add_trace(
        go.Heatmap(z=veil, x=parts, y=units, colorscale=white, opacity=0.6, showscale=False, hoverinfo="skip")
    )
    below, right = np.nonzero(found.significant & np.isfinite(found.values))
    dark = np.abs(found.values[below, right]) > 0.55 * limit
    chart.add_trace(
        go.Scatter(
            x=[parts[j] for j in right], y=[units[i] for i in below], mode="markers", hoverinfo="skip",
            marker={"size": 5 if count <= 80 else 2, "color": np.where(dark, "white", INK).tolist()},
        )
    )  # fmt: skip
    empty = "; grey: no value" if np.isnan(found.values).any() else ""
    dots = f"dot: q < {significance:g}, pale: not{empty}"
    some = f"{count} of {found.of} units, " if count < found.of else ""
    _lay_out(
        chart,
        f"{ranking_title(measure, class_name)} ({some}{dots})",
        150 + max(140, min(15 * count, TALLEST - 150)),
    )
    chart.update_layout(plot_bgcolor=EMPTY, width=max(520, min(WIDTH, 260 + 40 * len(parts))))
    chart.update_xaxes(
        tickangle=-90, showgrid=False, type="category", categoryarray=parts, range=[-0.5, len(parts) - 0.5]
    )
    chart.update_yaxes(
        range=[count - 0.5, -0.5], showgrid=False, type="category", categoryarray=units, ticks="",
        tickvals=units[:: max(1, -(-count // 60))], tickfont={"size": 10},
    )  # fmt: skip
    return chart


def volcano_chart(
    ranking: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    labels: int = 12,
    significance: float = SIGNIFICANT,
) -> go.Figure:
    """Draw one dot a unit: how much it changes a part against how surely; the top units are named.

    Parameters
    ----------
    ranking : what `score_selectivity` returned.
    part, measure, class_name : which of its rows.
    labels : significant units that are named, those with the largest effects; one for which there is no room is not.
    significance : q at the dashed line.

    Returns
    -------
    plotly Figure

    Raises
    ------
    LisError : names that the ranking does not have, or no unit with an effect and a q.

    Examples
    --------
    >>> volcano_chart(ranking, "sleeve", "area")
    """
    import numpy as np
    import plotly.graph_objects as go

    checked_significance(significance)
    whole_number(labels, "labels", 0)
    rows, count = volcano_rows(ranking, part, measure, class_name)
    effect = rows["effect"].to_numpy(float)
    height, capped = minus_log_q(rows)
    sure = rows["q"].to_numpy(float) < significance
    limit = 1.12 * float(np.abs(effect).max()) or 1.0
    top = 1.1 * max(float(height.max()), -1.3 * float(np.log10(significance)))
    chart = go.Figure(
        go.Scatter(
            x=effect, y=height, mode="markers", text=_told(rows, measure), hoverinfo="text",
            marker={
                "size": 7, "opacity": 0.85, "symbol": np.where(capped, "triangle-up", "circle").tolist(),
                "color": np.where(sure, np.where(effect > 0, BAD, GOOD), UNSURE).tolist(),
            },
        )
    )  # fmt: skip
    _lay_out(chart, f"{ranking_title(measure, class_name, part)} ({len(rows)} of {count} units)", 460)
    chart.add_hline(y=-float(np.log10(significance)), line={"dash": "dash", "color": FAINT, "width": 1})
    chart.add_vline(x=0, line={"color": FAINT, "width": 1})
    chart.update_xaxes(range=[-limit, limit], title="effect: mean change / sd over samples (right: more)")
    note = "; triangles: q = 0" if capped.any() else ""
    chart.update_yaxes(range=[0, top], title=f"-log10 q (dashed: q = {significance:g}{note})")
    for i, (right, up) in _names(effect / limit, height / top, rows["unit"].tolist(), sure, labels):
        chart.add_annotation(
            x=effect[i], y=height[i], ax=right, ay=up, text=str(rows["unit"].iloc[i]), arrowwidth=0.6, arrowhead=0,
            standoff=4, arrowcolor=FAINT, font={"size": 11}, borderpad=0,
        )  # fmt: skip
    return chart


def _names(
    x: Any, y: Any, units: Sequence[int], sure: Any, labels: int
) -> list[tuple[int, tuple[float, float]]]:
    """Return the dots that get a name and how far from the dot it stands: pixels to the right and down."""
    import numpy as np

    wide, high = WIDTH - 90.0, 360.0  # of the plot's inside, as nearly as this side of the browser knows it
    dots = np.stack([(x + 1) / 2 * wide, (1 - y) * high], 1)  # [N, 2]
    top = [int(i) for i in np.argsort(-np.abs(x), kind="stable") if sure[i]][:labels]
    places = free_places(
        dots, top, [(8.0 * len(str(units[i])) + 4, 15.0) for i in top], (0, 0, wide, high), 4.0
    )
    found = [(i, place) for i, place in zip(top, places, strict=True) if place is not None]
    return [(i, (round(p[0] - dots[i, 0], 1), round(p[1] - dots[i, 1], 1))) for i, p in found]


def profile_chart(
    ranking: pd.DataFrame,
    unit: int | None = None,
    part: str | None = None,
    measure: str = "area",
    names: Sequence[Any] | None = None,
    panels: int = 8,
    classes: int = 12,
) -> go.Figure:
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
    plotly Figure

    Raises
    ------
    LisError : not one of unit and part, or what the ranking does not have.

    Examples
    --------
    >>> profile_chart(ranking, part="sleeve", panels=4)
    """
    from plotly.subplots import make_subplots

    by, rows = profile_choice(ranking, unit, part, measure)
    found, order = profile_rows(rows, by, names, panels, classes)
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    chart = make_subplots(
        lines, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=[cut(name, 18) for name, _ in found],
        horizontal_spacing=0.045, vertical_spacing=0.14 / lines,
    )  # fmt: skip
    for number, (_, part_rows) in enumerate(found):
        pooled = part_rows["class"] == POOLED
        for chosen, colour, mark in ((~pooled, GOOD, "circle"), (pooled, BAD, "square")):
            trace = _intervals(part_rows[chosen], "class", measure, colour, mark)
            chart.add_trace(trace, number // columns + 1, number % columns + 1)
    chart.update_annotations(font={"size": 12})
    what = cut(part) if unit is None else f"unit {unit}"
    _lay_out(
        chart,
        f"{what}: {measure} by class (filled: q < {SIGNIFICANT:g})",
        110 + lines * (40 + 18 * len(order)),
    )
    labels = {"tickvals": list(range(len(order))), "ticktext": [cut(name) for name in order]}
    for trace in chart.data:
        trace.y = [order.index(name) for name in trace.y]
    chart.update_yaxes(**labels, range=[len(order) - 0.5, -0.5], zeroline=False)
    chart.update_xaxes(
        zeroline=True,
        zerolinecolor=FAINT,
        nticks=4,
        tickfont={"size": 10},
        tickangle=0,
        rangemode="tozero",
        tickformat=".1%" if is_share(measure) else None,
    )
    for number in range(max(0, len(found) - columns), len(found)):  # nothing stands below these
        chart.update_xaxes(showticklabels=True, row=number // columns + 1, col=number % columns + 1)
    chart.add_annotation(
        text=change_label(measure), x=0.5, y=0, xref="paper", yref="paper", yshift=-46, showarrow=False,
        font={"size": 12},
    )  # fmt: skip
    return chart


def forest_chart(
    ranking: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    units: Sequence[int] | None = None,
    top: int = 20,
    significance: float = SIGNIFICANT,
) -> go.Figure:
    """Draw the top units of a part, one below the other: mean change with its interval; hollow dots may be chance.

    Parameters
    ----------
    ranking : what `score_selectivity` or `rank_units` returned.
    part, measure, class_name : which of its rows.
    units : which ones, in this order; default: the `top` ones with the largest effects.
    top : how many, at most 60.
    significance : dots are filled where q is below it.

    Returns
    -------
    plotly Figure

    Raises
    ------
    LisError : names that the ranking does not have, or nothing to draw.

    Examples
    --------
    >>> forest_chart(ranking, "sleeve", top=12)
    """
    import plotly.graph_objects as go

    checked_significance(significance)
    rows = unit_rows(chosen_rows(ranking, part, measure, class_name), units, min(top, 60))
    rows = rows[rows["mean_change"].notna()]
    if len(rows) == 0:
        raise LisError(
            f"none of the units has a change of {part} {measure} in class {class_name!r}; give others."
        )
    names = [f"unit {unit}" for unit in rows["unit"]]
    more = rows["mean_change"].to_numpy(float) > 0
    chart = go.Figure()
    for chosen, colour in ((more, BAD), (~more, GOOD)):
        trace = _intervals(rows[chosen], "unit", measure, colour, "circle", significance)
        trace.y = [f"unit {unit}" for unit in rows["unit"][chosen]]
        chart.add_trace(trace)
    title = f"{ranking_title(measure, class_name, part)} (filled: q < {significance:g})"
    _lay_out(chart, title, 130 + 18 * len(rows))
    chart.update_xaxes(
        title=change_label(measure),
        zerolinecolor=FAINT,
        rangemode="tozero",
        tickformat=".1%" if is_share(measure) else None,
    )
    chart.update_yaxes(type="category", categoryarray=names, autorange="reversed", tickvals=names)
    return chart


def _intervals(
    rows: pd.DataFrame, place: str, measure: str, colour: str, mark: str, significance: float = SIGNIFICANT
) -> go.Scatter:
    import numpy as np
    import plotly.graph_objects as go

    middle, low, high, q = (rows[name].to_numpy(float) for name in ("mean_change", "low", "high", "q"))
    up, down = (np.nan_to_num(np.clip(length, 0, None)) for length in (high - middle, middle - low))
    fill = np.where(q < significance, colour, "white").tolist()
    return go.Scatter(
        x=middle, y=rows[place].tolist(), mode="markers", text=_told(rows, measure), hoverinfo="text",
        error_x={"type": "data", "array": up, "arrayminus": down, "color": colour, "thickness": 1.2, "width": 0},
        marker={"size": 8, "symbol": mark, "color": fill, "line": {"color": colour, "width": 1.4}},
    )  # fmt: skip


def _told(rows: pd.DataFrame, measure: str) -> list[str]:
    """Say the numbers of each row, for the pointer."""
    told = []
    for row in rows.to_dict("records"):
        low, middle, high = (amount(measure, row[name], True) for name in ("low", "mean_change", "high"))
        told.append(
            f"unit {row['unit']}, {cut(row['part'])}, {cut(row['class'])}<br>{measure} {middle} ({low} to {high})<br>"
            f"effect {row['effect']:+.2f}, q {row['q']:.2g}, same sign {share_text(row.get('same_sign', float('nan')))}"
        )
    return told


def _lay_out(chart: go.Figure, title: str, height: int) -> None:
    """Give a chart its title and size (pixels), and take away what carries no information."""
    chart.update_layout(
        template="plotly_white", showlegend=False, width=WIDTH, height=height,
        title={"text": title, "font": {"size": 14}, "x": 0.01}, margin={"l": 80, "r": 20, "t": 60, "b": 60},
        font={"size": 12},
    )  # fmt: skip
