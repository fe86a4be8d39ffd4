"""Plots in Plotly's own terms, as plain dicts: its Python classes would take longer than rendering the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CLEAR = (
    "rgba(0,0,0,0)"  # no background, so that the page's theme shows through; texts are coloured by charts.css
)
BEFORE, AFTER, OTHER = "#8c8c8c", "#0072B2", "#D55E00"  # grey and two of Okabe and Ito's colours
SEEN = "rgba(140,140,140,0.22)"
LONGEST_LABEL = 16  # characters beside a bar
HEIGHT = 250
# Above the plot, at its right.
LEGEND = {
    "orientation": "h",
    "x": 1,
    "xanchor": "right",
    "y": 1,
    "yref": "container",
    "yanchor": "top",
}


def bars(
    traces: dict[str, tuple[Sequence[str], Sequence[float], Any]],
    title: str,
    *,
    axis: str = "",
    hover: str = "%{x:.3g}",
    shares: bool = False,
    height: int = HEIGHT,
) -> dict[str, Any]:
    """Return horizontal bars: name -> (labels, values, colour or colours), the first label at the top.

    Parameters
    ----------
    title : said above the figure.
    axis, hover : text below the axis of the values, and how one value is written where the mouse points.
    shares : values are probabilities: the axis goes from 0 to 1 and is written in percent.

    Examples
    --------
    >>> bars({"after": (["Coat", "Bag"], [3.1, 0.2], "#0072B2")}, "logits")["data"][0]["x"]
    [3.1, 0.2]
    """
    hover = "%{x:.1%}" if shares else hover
    data = [
        {
            "type": "bar",
            "name": n,
            "orientation": "h",
            "y": list(labels),
            "x": list(x),
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}{', ' + n if len(traces) > 1 else ''}: {hover}<extra></extra>",
        }
        for n, (labels, x, colour) in traces.items()
    ]
    names = list(dict.fromkeys(label for labels, _, _ in traces.values() for label in labels))
    short = [n if len(n) <= LONGEST_LABEL else n[: LONGEST_LABEL - 1] + "…" for n in names]
    layout = _layout(axis, height)
    layout["margin"]["l"] = 14 + round(6.3 * max((len(n) for n in short), default=0))
    layout["legend"] = dict(LEGEND)
    layout["showlegend"] = len(traces) > 1
    layout["margin"]["t"] = 24 if len(traces) > 1 else 8
    layout["bargap"] = 0.25
    layout["xaxis"] |= {"zeroline": True}
    if shares:
        layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
    layout["yaxis"] = {
        "autorange": "reversed",
        "type": "category",
        "ticklabelstandoff": 4,
        "tickvals": names,
        "ticktext": short,
        "fixedrange": True,
    }
    return {"data": data, "layout": layout, "caption": title, "description": f"bar plot, {title}"}


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    title: str,
    *,
    axis: str,
    count_axis: str,
    value: float | None = None,
    seen: tuple[float, float] | None = None,
    description: str = "",
    height: int = HEIGHT,
) -> dict[str, Any]:
    """Return upright bars between edges [B + 1], a range shaded behind them, and a line at the present value.

    Parameters
    ----------
    axis, count_axis : texts below the values and beside the counts.
    value, seen : where the line stands; the range that is shaded.

    Examples
    --------
    >>> figure = histogram([0, 1, 2], [5, 3], "unit 17", axis="activation", count_axis="photographs", value=1.2)
    >>> figure["layout"]["shapes"][-1]["x0"]
    1.2
    """
    left, right = list(edges[:-1]), list(edges[1:])
    data = [
        {
            "type": "bar",
            "x": [(a + b) / 2 for a, b in zip(left, right, strict=True)],
            "width": [b - a for a, b in zip(left, right, strict=True)],
            "y": list(counts),
            "customdata": [[a, b] for a, b in zip(left, right, strict=True)],
            "marker": {"color": AFTER, "line": {"width": 0}},
            "hovertemplate": f"%{{customdata[0]:.3g}} to %{{customdata[1]:.3g}}: %{{y}} {count_axis}<extra></extra>",
        }
    ]
    layout = _layout(axis, height)
    layout["margin"]["l"] = 52
    layout["bargap"] = 0
    layout["showlegend"] = False
    beside = {"text": count_axis, "standoff": 6, "font": {"size": 12}}
    layout["yaxis"] = {"title": beside, "nticks": 5, "rangemode": "tozero", "fixedrange": True}
    upright = {"yref": "paper", "y0": 0, "y1": 1}
    layout["shapes"] = []
    if seen is not None:
        layout["shapes"].append({"type": "rect", "x0": seen[0], "x1": seen[1], **upright, "layer": "below",
                                 "line": {"width": 0}, "fillcolor": SEEN})  # fmt: skip
    if value is not None:
        layout["shapes"].append({"type": "line", "x0": value, "x1": value, **upright,
                                 "line": {"width": 2.5, "color": OTHER}})  # fmt: skip
    # Shapes do not widen an axis by themselves.
    ends = [*edges, *(seen or ()), *([] if value is None else [value])]
    rim = 0.03 * (max(ends) - min(ends) or 1.0)
    layout["xaxis"] |= {"range": [min(ends) - rim, max(ends) + rim]}
    return {"data": data, "layout": layout, "caption": title, "description": description or title}


def curves(
    x: Sequence[float],
    traces: dict[str, tuple[Sequence[float], str, str]],
    title: str,
    *,
    axis: str,
    value_axis: str,
    at: float | None = None,
    mark: tuple[str, float] | None = None,
    beyond: float | None = None,
    description: str = "",
    height: int = HEIGHT,
) -> dict[str, Any]:
    """Return lines over x [Q]: name -> (values [Q], colour, dash), and where 0 is.

    Parameters
    ----------
    axis, value_axis : texts below x and beside the values.
    at : where a line stands upright.
    mark : name and place of a point on the zero line.
    beyond : what is to the right of it is shaded.

    Examples
    --------
    >>> rendered = ([-2.0, 3.0], "#0072B2", "solid")
    >>> figure = curves([0, 1], {"rendered": rendered}, "margin", axis="way", value_axis="logits")
    >>> figure["data"][0]["y"]
    [-2.0, 3.0]
    """
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": list(x),
            "y": list(values),
            "line": {"color": colour, "dash": dash, "width": 2.5},
            "hovertemplate": f"%{{x:.2f}}, {name}: %{{y:+.2f}}<extra></extra>",
        }
        for name, (values, colour, dash) in traces.items()
    ]
    if mark is not None:
        name, place = mark
        data.append({"type": "scatter", "mode": "markers", "name": name, "x": [place], "y": [0], "cliponaxis": False,
                     "marker": {"color": OTHER, "size": 11, "symbol": "diamond"},
                     "hovertemplate": f"{name} at %{{x:.2f}}<extra></extra>"})  # fmt: skip
    layout = _layout(axis, height)
    layout["margin"] |= {"l": 52, "t": 26}
    layout["legend"] = dict(LEGEND)
    layout["showlegend"] = True
    layout["xaxis"] |= {"range": [min(x), max(x)], "zeroline": False}
    beside = {"text": value_axis, "standoff": 6, "font": {"size": 12}}
    layout["yaxis"] = {"title": beside, "nticks": 6, "zeroline": True, "zerolinewidth": 2, "fixedrange": True}
    upright = {"yref": "paper", "y0": 0, "y1": 1}
    layout["shapes"] = []
    if beyond is not None:
        layout["shapes"].append({"type": "rect", "x0": beyond, "x1": max(x), **upright, "layer": "below",
                                 "line": {"width": 0}, "fillcolor": SEEN})  # fmt: skip
    if at is not None:
        layout["shapes"].append({"type": "line", "x0": at, "x1": at, **upright,
                                 "line": {"width": 2.5, "color": OTHER}})  # fmt: skip
    return {"data": data, "layout": layout, "caption": title, "description": description or f"plot, {title}"}


def sentence(title: str, text: str) -> dict[str, Any]:
    """Return a figure that is a sentence: why there is nothing to plot, and what to do."""
    return {"text": text, "caption": title, "description": f"{title}: {text}"}


def _layout(axis: str, height: int) -> dict[str, Any]:
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 90, "r": 12, "t": 8, "b": 44 if axis else 28},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"size": 12},
        "hovermode": "closest",
        "xaxis": {
            "nticks": 6,
            "tickangle": 0,
            "title": {"text": axis, "standoff": 6, "font": {"size": 12}},
            "fixedrange": True,
        },
    }
