"""A link report's figures in Plotly's own terms, as plain dicts: what an interactive report draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .link_tables import ReportTab, low_rows, report_tabs
from .names import cut

if TYPE_CHECKING:
    from .link_report import LinkReport

__all__ = ["report_figures"]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8c8c8c"  # two of Okabe and Ito's colours, told apart by everyone
MOST_BARS = 40  # in one figure; beyond, names cannot be read
ROW, FRAME = 22, 70  # px of a bar, and around all bars


def report_figures(report: LinkReport) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of each tab of a report: tab key -> dicts of data, layout, caption and description.

    Of more than 40 classes those that keep least are drawn, of more than 40 tested units those with the lowest slopes.

    Parameters
    ----------
    report : LinkReport
        What could not be measured is left out; a tab of which nothing could be has no figures.

    Returns
    -------
    dict of str to list of dict

    Examples
    --------
    >>> [figure["caption"] for figure in report_figures(report)["units"]]
    ['Do units come back from the loop?', 'Does a unit rise when it is set higher?']
    """
    tabs = {tab.key: tab for tab in report_tabs(report)}
    found = {
        "cycle": [_cycle(tabs["cycle"])],
        "classes": [_classes(tabs["classes"])],
        "dims": [_dims(tabs["dims"]), _sorted_dims(tabs["dims"])],
        "units": [_correlations(tabs["units"]), _slopes(tabs["units"])],
        "order": [_order(tabs["order"])],
    }
    return {key: [figure for figure in figures if figure is not None] for key, figures in found.items()}


def _figure(
    data: list[dict[str, Any]], title: str, x: str, y: str = "", height: int = 300, description: str = ""
) -> dict[str, Any]:
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    several = sum(trace.get("showlegend", True) for trace in data) > 1
    layout = {
        "height": height,
        "autosize": True,
        "margin": {"l": 60, "r": 16, "t": 30 if several else 8, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12},
        "legend": legend,
        "showlegend": several,
        "bargap": 0.25,
        "xaxis": {"title": {"text": x, "standoff": 6}, "automargin": True, "fixedrange": True},
        "yaxis": {"title": {"text": y, "standoff": 6}, "automargin": True, "fixedrange": True},
    }  # fmt: skip
    return {"data": data, "layout": layout, "caption": title, "description": description or f"{title} {x}."}


def _named(figure: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Make the y axis one of names, the first at the top; long ones are cut where they are written only."""
    figure["layout"]["yaxis"] |= {
        "autorange": "reversed",
        "type": "category",
        "ticklabelstandoff": 4,
        "tickmode": "array",
        "tickvals": list(names),
        # Plotly reads tags in labels; a class may be called "<b>".
        "ticktext": [cut(name).replace("&", "&amp;").replace("<", "&lt;") for name in names],
    }
    return figure


def _error(
    middle: Sequence[float], ends: Sequence[tuple[float, float] | None], colour: str
) -> dict[str, Any]:
    """Return error bars; none where there is no interval."""
    above = [0.0 if pair is None else pair[1] - one for one, pair in zip(middle, ends, strict=True)]
    below = [0.0 if pair is None else one - pair[0] for one, pair in zip(middle, ends, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def _shares(
    names: Sequence[Any], shares: Sequence[float], ends: Sequence[Any], label: str, colour: str
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": label,
        "y": list(names),
        "x": list(shares),
        "marker": {"color": colour, "opacity": 0.75},
        "error_x": _error(shares, ends, GREY),
        "hovertemplate": "%{y}: %{x:.1%}<extra>" + label + "</extra>",
    }


def _percent(figure: dict[str, Any]) -> dict[str, Any]:
    figure["layout"]["xaxis"] |= {"range": [0, 1.02], "tickformat": ".0%"}
    return figure


def _cycle(tab: ReportTab) -> dict[str, Any] | None:
    rows = [row for row in tab.rows if row[2] is not None]
    if not rows:
        return None
    trace = _shares(
        [row[0] for row in rows], [row[2] for row in rows], [row[3] for row in rows], "images", BLUE
    )
    said = "; ".join(f"{row[0]} {row[2]:.0%}" for row in rows)
    title = "Do images keep their class in the loop?"
    figure = _figure(
        [trace], title, "share of images", height=FRAME + 34 * len(rows), description=f"{title} {said}."
    )
    return _percent(_named(figure, [row[0] for row in rows]))


def _classes(tab: ReportTab) -> dict[str, Any] | None:
    with_photographs = len(tab.columns) > 6
    column = 7 if with_photographs else 4
    measured = [row for row in tab.rows if row[4] is not None or (with_photographs and row[7] is not None)]
    if not measured:
        return None
    rows = low_rows(measured, column, MOST_BARS)
    traces = []
    for label, value, colour in (("pairs", 4, BLUE), ("photographs", 7, ORANGE)):
        if value == 7 and not with_photographs:
            continue
        kept = [row for row in rows if row[value] is not None]
        if kept:
            ends = [row[value + 1] for row in kept]
            traces.append(
                _shares([row[0] for row in kept], [row[value] for row in kept], ends, label, colour)
            )
    title = "Which classes keep their class in the loop?"
    if len(rows) < len(measured):
        title = f"The {len(rows)} classes of {len(measured)} that keep it least"
    height = FRAME + ROW * len(rows) * max(1, len(traces))
    figure = _figure(traces, title, "share of images", height=min(height, 1100))
    return _percent(_named(figure, [row[0] for row in rows]))


def _dims(tab: ReportTab) -> dict[str, Any] | None:
    rows = [row for row in tab.rows if row[1] is not None and row[2] is not None]
    if not rows:
        return None
    x, y = [row[2] for row in rows], [max(row[1], -1.0) for row in rows]
    low = min(0.0, *x, *y)
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "dimension",
        "x": x,
        "y": y,
        "text": [f"dimension {row[0]}: held-out {row[1]:.2f}, in-sample {row[2]:.2f}" for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": BLUE, "size": 6, "opacity": 0.7},
    }
    equal = {
        "type": "scatter",
        "mode": "lines",
        "name": "equal",
        "x": [low, 1],
        "y": [low, 1],
        "hoverinfo": "skip",
        "line": {"color": GREY, "dash": "dot", "width": 1.5},
    }
    return _figure([dots, equal], "Held out against in the fit", "in-sample R²", "held-out R²", 340)


def _sorted_dims(tab: ReportTab) -> dict[str, Any] | None:
    traces = []
    for label, column, colour in (("held-out", 1, BLUE), ("in-sample", 2, ORANGE)):
        values = sorted((max(row[column], -1.0) for row in tab.rows if row[column] is not None), reverse=True)
        if values:
            traces.append(_ranked(values, label, colour))
    if not traces:
        return None
    return _figure(traces, "Does the link predict unseen latents?", "dimensions, sorted", "R²", 340)


def _ranked(values: Sequence[float], label: str, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(values) <= 64 else "lines",
        "name": label,
        "x": list(range(1, len(values) + 1)),
        "y": list(values),
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 5},
        "hovertemplate": "%{y:.2f}<extra>" + label + "</extra>",
    }


def _correlations(tab: ReportTab) -> dict[str, Any] | None:
    rows = sorted((row for row in tab.rows if row[2] is not None), key=lambda row: -row[2])
    if not rows:
        return None
    trace = _ranked([row[2] for row in rows], "unit", BLUE)
    trace |= {
        "text": [f"unit {row[0]}: {row[2]:.2f}" for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "fill": "tozeroy",
        "fillcolor": "rgba(0,114,178,0.15)",
    }
    title = "Do units come back from the loop?"
    return _figure([trace], title, "units, sorted", "correlation of a unit with itself", 340)


def _slopes(tab: ReportTab) -> dict[str, Any] | None:
    tried = sorted((row for row in tab.rows if row[3] is not None), key=lambda row: -row[3])
    if not tried:
        return None
    rows = tried[-MOST_BARS:]
    slopes = [row[3] for row in rows]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "slope",
        "x": [str(row[0]) for row in rows],
        "y": slopes,
        "marker": {"color": BLUE, "size": 8},
        "error_y": _error(slopes, [row[4] for row in rows], BLUE),
        "text": [f"unit {row[0]}: slope {row[3]:.2f}" for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }
    asked = {
        "type": "scatter",
        "mode": "lines",
        "name": "as much as asked",
        "x": [str(rows[0][0]), str(rows[-1][0])],
        "y": [1, 1],
        "hoverinfo": "skip",
        "line": {"color": ORANGE, "dash": "dot", "width": 1.5},
    }
    title = "Does a unit rise when it is set higher?"
    if len(rows) < len(tried):
        title += f" ({len(rows)} lowest of {len(tried)})"
    figure = _figure([dots, asked], title, "unit", "slope", 340)
    figure["layout"]["xaxis"] |= {
        "type": "category",
        "tickangle": -90 if len(rows) > 12 else 0,
        "tickfont": {"size": 11},
    }
    return figure


def _order(tab: ReportTab) -> dict[str, Any] | None:
    rows = [row for row in tab.rows if row[2] is not None]
    if not rows:
        return None
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "correlation",
        "y": [row[0] for row in rows],
        "x": [row[2] for row in rows],
        "text": ["" if row[3] is None else f"p = {row[3]:.2g}" for row in rows],
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }
    title = "Do activations and latents order images alike?"
    figure = _figure([bars], title, "rank correlation", height=FRAME + 34 * len(rows))
    figure = _named(figure, [row[0] for row in rows])
    low = min(0.0, *(row[2] for row in rows))
    figure["layout"]["xaxis"]["range"] = [low * 1.1, 1]
    return figure
