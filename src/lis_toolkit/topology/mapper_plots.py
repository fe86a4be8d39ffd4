"""Figures of mapper graphs: plotly where one wants to point at nodes, matplotlib on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import cut
from ..parts.legend import distinct_colours
from ..pixel_sheet import INK, figure_class
from .mapper_graph import MapperGraph
from .mapper_layout import node_radii, place_nodes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_colours", "graph_parts", "legend_entries", "mapper_figure", "mapper_sheet"]

MOST_CLASSES = 12  # with colours of their own; the others are grey together
OTHER, LINE, PLAIN = "#9a9a9a", "#8c8c8c", "#5b8db8"
RING = "#767676"  # seen on white and on black, and no class's colour
ROUND = 28  # corners of a circle
NUMBERED = 0.24  # radius from which a node has room for its class's number, where that class has half of it
NAME = 16  # letters of a class's name in a legend
CLEAR = "rgba(0,0,0,0)"


def class_colours(graph: MapperGraph) -> dict[int, str]:
    """Return class -> colour for the (at most 12) classes that have most members, in the order of the classes.

    The colours are `distinct_colours`, far apart for colour-blind eyes too; in the figures every class also has its
    number, which stands in the nodes that it leads.

    Examples
    --------
    >>> class_colours(graph)[4]
    '#56B4E9'
    """
    totals = graph.counts.sum(axis=0)
    present = [int(k) for k in np.argsort(-totals, kind="stable") if totals[k]][:MOST_CLASSES]
    # With few classes each keeps its colour from graph to graph, whatever is in it.
    palette = distinct_colours(len(graph.classes) if len(graph.classes) <= MOST_CLASSES else len(present))
    if len(graph.classes) <= MOST_CLASSES:
        return {k: palette[k] for k in sorted(present)}
    return dict(zip(sorted(present), palette, strict=True))


def legend_entries(graph: MapperGraph) -> list[tuple[str, str]]:
    """Return colour and text of each class that has a colour, and of the others together.

    Examples
    --------
    >>> legend_entries(graph)[0]
    ('#0072B2', '0 T-shirt/top')
    """
    colours = class_colours(graph)
    entries = [(colour, f"{k} {cut(graph.classes[k], NAME)}") for k, colour in colours.items()]
    others = bool(np.delete(graph.counts.sum(axis=0), list(colours)).any())
    return [*entries, (OTHER, "other classes")] if others else entries


def _slices(graph: MapperGraph, node: int, colours: dict[int, str]) -> list[tuple[int | None, float, float]]:
    """Return class (None: one without a colour) and both ends of each slice of a node's pie, in turns from the top."""
    if graph.labels is None:
        return [(None, 0.0, 1.0)]
    counts = graph.counts[node]
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] and int(k) in colours]
    sizes = [int(counts[k]) for k in order]
    rest = int(counts.sum()) - sum(sizes)
    ends = np.cumsum([0, *sizes, rest]) / counts.sum()
    keys: list[int | None] = [*order, None]
    return [(k, float(a), float(b)) for k, a, b in zip(keys, ends[:-1], ends[1:], strict=True) if b > a]


def graph_parts(
    graph: MapperGraph, seed: int = 0, selected: int | None = None, wide: float = 1.7
) -> dict[str, Any]:
    """Return a mapper graph as Plotly's data and layout, plain values: what `mapper_figure` and the explorer draw.

    Nodes are pies of their classes, edges lines, thicker where more points are shared. The last but one trace has the
    nodes' middles, with the node's number (a text) as customdata and what is in it where the mouse points.

    Parameters
    ----------
    seed : of the layout.
    selected : a node that is ringed.
    wide : width over height that the drawing is to have.

    Raises
    ------
    LisError
        A node that the graph does not have.

    Examples
    --------
    >>> graph_parts(graph)["data"][-2]["customdata"][0]
    '0'
    """
    if selected is not None and not 0 <= selected < len(graph):
        raise LisError(f"the graph has no node {selected}: it has {len(graph)}, numbered from 0.")
    places, radii = place_nodes(graph, seed, wide), node_radii(graph)
    colours = class_colours(graph) if graph.labels is not None else {}
    data = _edge_traces(graph, places) + _pie_traces(graph, places, radii, colours)
    if graph.labels is not None:
        data.append(_numbers(graph, places, radii, colours))
    told = [graph.title_of(node).replace("; ", "<br>").replace(": ", "<br>", 1) for node in range(len(graph))]
    data.append({
        "type": "scatter", "mode": "markers", "x": _floats(places[:, 0]), "y": _floats(places[:, 1]),
        "customdata": [str(node) for node in range(len(graph))], "text": told, "showlegend": False,
        "hovertemplate": "%{text}<extra></extra>", "marker": {"size": 16, "opacity": 0, "color": LINE},
    })  # fmt: skip
    ring = [] if selected is None else [selected]
    data.append({
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
        "line": {"color": RING, "width": 4},
        **_closed([_circle(places[node], radii[node] + 0.09) for node in ring]),
    })  # fmt: skip
    axis = {"visible": False, "showgrid": False, "zeroline": False}
    layout = {
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "hovermode": "closest",
        "dragmode": "zoom",
        "hoverlabel": {"align": "left"},
        "xaxis": dict(axis),
        "yaxis": {**axis, "scaleanchor": "x"},
        "legend": {"itemsizing": "constant", "title": {"text": ""}, "y": 1, "yanchor": "top"},
        "showlegend": graph.labels is not None,
    }
    return {"data": data, "layout": layout}


def mapper_figure(graph: MapperGraph, seed: int = 0, selected: int | None = None, height: int = 560) -> Any:
    """Draw a mapper graph so that one can point at nodes: a plotly Figure, which needs no kernel.

    Nodes are pies of the classes of their points, their area after the number of points (down to a size that can be
    seen); the number in a large node is that of its main class, as in the legend, for eyes that do not tell the colours
    apart. Where a part stands, and how far from another, means nothing.

    Parameters
    ----------
    seed : of the layout.
    selected : a node that is ringed.
    height : in pixels.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    LisError
        A graph without nodes, or without the node selected.

    Examples
    --------
    >>> mapper_figure(graph).write_html("conv4.html")
    """
    from plotly.graph_objects import Figure

    _check_nodes(graph)
    parts = graph_parts(graph, seed, selected)
    title = {"text": _escaped(_title(graph)), "font": {"size": 13}, "x": 0.01, "xanchor": "left"}
    white = {"paper_bgcolor": "white", "plot_bgcolor": "white", "margin": {"l": 8, "r": 8, "t": 44, "b": 8}}
    return Figure(parts["data"], {**parts["layout"], **white, "title": title, "height": height})


def mapper_sheet(graph: MapperGraph, seed: int = 0) -> Figure:
    """Draw a mapper graph for a report: nodes as pies of their classes, in matplotlib.

    Parameters
    ----------
    seed : of the layout.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        A graph without nodes.

    Examples
    --------
    >>> mapper_sheet(graph).savefig("conv4.png")
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle, Patch, Wedge

    _check_nodes(graph)
    places, radii = place_nodes(graph, seed), node_radii(graph)
    colours = class_colours(graph) if graph.labels is not None else {}
    low, high = (places - radii[:, None]).min(axis=0), (places + radii[:, None]).max(axis=0)
    wide, tall = high - low
    width = 7.2
    figure = figure_class()(figsize=(width + (1.7 if colours else 0), min(max(width * tall / wide, 2.2), 9) + 0.5),
                            dpi=100, facecolor="white", layout="constrained")  # fmt: skip
    axes: Any = figure.add_subplot()
    if len(graph.edges):
        axes.add_collection(LineCollection(places[graph.edges], colors=LINE, linewidths=1.0, zorder=1))
    for node in range(len(graph)):
        for k, start, end in _slices(graph, node, colours):
            colour = PLAIN if graph.labels is None else OTHER if k is None else colours[k]
            turn = (90 - 360 * end, 90 - 360 * start)
            axes.add_patch(Wedge(places[node], radii[node], *turn, facecolor=colour, linewidth=0, zorder=2))
        axes.add_patch(Circle(places[node], radii[node], fill=False, edgecolor=INK, linewidth=0.5, zorder=3))
    for node, top in _numbered(graph, radii) if colours else ():
        axes.text(*places[node], str(top), ha="center", va="center", fontsize=7, zorder=4,
                  color=_ink(colours.get(top, OTHER)))  # fmt: skip
    axes.set_xlim(low[0] - 0.2, high[0] + 0.2)
    axes.set_ylim(low[1] - 0.2, high[1] + 0.2)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(_title(graph), fontsize=9, color=INK, loc="left", wrap=True, parse_math=False)
    if colours:
        named = [Patch(facecolor=colour, label=text) for colour, text in legend_entries(graph)]
        legend = figure.legend(handles=named, loc="outside right upper", frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure  # type: ignore[no-any-return]


def _edge_traces(graph: MapperGraph, places: np.ndarray) -> list[dict[str, Any]]:
    """Return edges in three strengths, by the share of the smaller node that is shared."""
    if not len(graph.edges):
        return []
    share = graph.shared / np.minimum(*graph.sizes[graph.edges].T)
    found = []
    for low, high, width in ((0, 0.2, 1.0), (0.2, 0.5, 2.0), (0.5, 1.01, 3.2)):
        own = graph.edges[(share > low) & (share <= high)]
        lines = [places[pair] for pair in own]
        if len(own):
            found.append({"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
                          "line": {"color": LINE, "width": width}, **_closed(lines)})  # fmt: skip
    return found


def _pie_traces(
    graph: MapperGraph, places: np.ndarray, radii: np.ndarray, colours: dict[int, str]
) -> list[dict[str, Any]]:
    """Return one filled trace a class, of its slices in all nodes: ten traces, however many nodes."""
    outlines: dict[int | None, list[np.ndarray]] = {k: [] for k in (*colours, None)}
    for node in range(len(graph)):
        for k, start, end in _slices(graph, node, colours):
            outlines[k].append(_sector(places[node], radii[node], start, end))
    found = []
    for k, shapes in outlines.items():
        if not shapes:
            continue
        colour = PLAIN if graph.labels is None else OTHER if k is None else colours[k]
        name = "other classes" if k is None else f"{k} {cut(graph.classes[k], NAME)}"
        found.append({
            "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": colour, "hoverinfo": "skip",
            "line": {"color": colour, "width": 0.5}, "name": _escaped(name), **_closed(shapes),
        })  # fmt: skip
    return found


def _numbers(
    graph: MapperGraph, places: np.ndarray, radii: np.ndarray, colours: dict[int, str]
) -> dict[str, Any]:
    """Return the numbers of the main classes, in the nodes that have room for them."""
    found = _numbered(graph, radii)
    middles = places[[node for node, _ in found]].reshape(-1, 2)
    return {
        "type": "scatter", "mode": "text", "x": _floats(middles[:, 0]), "y": _floats(middles[:, 1]),
        "text": [str(top) for _, top in found], "hoverinfo": "skip", "showlegend": False,
        "textfont": {"size": 10, "color": [_ink(colours.get(top, OTHER)) for _, top in found]},
    }  # fmt: skip


def _numbered(graph: MapperGraph, radii: np.ndarray) -> list[tuple[int, int]]:
    """Return the nodes that carry the number of their main class, and that number."""
    tops = [int(k) for k in graph.counts.argmax(axis=1)]
    room = (radii >= NUMBERED) & (2 * graph.counts.max(axis=1, initial=0) >= graph.sizes)
    return [(int(node), tops[node]) for node in np.flatnonzero(room)]


def _sector(place: np.ndarray, radius: float, start: float, end: float) -> np.ndarray:
    if end - start > 1 - 1e-9:
        return _circle(place, radius)
    turns = np.linspace(start, end, max(2, math.ceil(ROUND * (end - start)) + 1)) * 2 * np.pi
    rim = place + radius * np.stack([np.sin(turns), np.cos(turns)], axis=1)
    return np.concatenate([place[None], rim, place[None]])


def _circle(place: np.ndarray, radius: float) -> np.ndarray:
    turns = np.linspace(0, 2 * np.pi, ROUND + 1)
    return place + radius * np.stack([np.sin(turns), np.cos(turns)], axis=1)  # type: ignore[no-any-return]


def _closed(lines: Sequence[np.ndarray]) -> dict[str, list[float | None]]:
    """Return lines [P, 2] one after the other, parted by None."""
    found: dict[str, list[float | None]] = {"x": [], "y": []}
    for line in lines:
        for axis, values in zip(("x", "y"), line.T, strict=True):
            found[axis] += [*_floats(values), None]
    return found


def _floats(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in values]


def _ink(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    light = 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2
    return "#000000" if light > 0.18 else "#ffffff"


def _title(graph: MapperGraph) -> str:
    return str(graph).replace("; eps", ", eps")


def _escaped(text: str) -> str:
    """Return a text for Plotly, which reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _check_nodes(graph: MapperGraph) -> None:
    if not len(graph):
        raise LisError(
            "the graph has no nodes: no interval has a cluster. Take a larger eps, fewer intervals or more points."
        )
