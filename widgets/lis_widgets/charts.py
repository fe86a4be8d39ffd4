"""Plotly figures that are replaced as a whole: what is on the screen is always the last state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from plotly.offline import get_plotlyjs

STATIC = Path(__file__).parent / "static"

CLEAR = "rgba(0,0,0,0)"  # no background, so that the page's theme shows through; texts are coloured by explorer.css


class Charts(anywidget.AnyWidget):
    """Plotly figures side by side, or one below the other where there is no room; drawn by `static/charts.js`.

    plotly's FigureWidget came up empty on a busy machine: its 5 MB of JavaScript must load within two seconds, and
    changes that it is sent before that are lost. Here Plotly follows when the browser asks for it (from the Python
    package, not from a network), and what is sent is the whole state.

    Attributes
    ----------
    figures : list of dict
        data, layout and description (read aloud in place of the figure) of each.

    Examples
    --------
    >>> charts = Charts()
    >>> charts.show([bars({"logit": (["Coat", "Bag"], [3.1, 0.2], "#0072B2")}, "logits")])
    """

    _esm = STATIC / "charts.js"
    _css = STATIC / "explorer.css"

    figures = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Send Plotly's JavaScript to a page that does not have it yet."""
        if content.get("kind") == "plotly":
            self.send({"kind": "plotly"}, [get_plotlyjs().encode()])

    def show(self, figures: Sequence[dict[str, Any]]) -> None:
        """Show figures as `bars` returns them, in one message to the browser."""
        self.figures = list(figures)


def bars(traces: dict[str, tuple[Sequence[str], Sequence[float], Any]], title: str) -> dict[str, Any]:
    """Return horizontal bars: name -> (labels, values, colour or colours), the first label at the top.

    A plain dict in Plotly's own terms: its Python classes would take longer than rendering the picture.
    """
    data = [
        {
            "type": "bar",
            "name": n,
            "orientation": "h",
            "y": list(labels),
            "x": list(x),
            "marker": {"color": colour},
        }
        for n, (labels, x, colour) in traces.items()
    ]
    layout = {
        "height": 300,
        "autosize": True,
        "margin": {"l": 90, "r": 12, "t": 36, "b": 28},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"size": 12},
        "title": {
            "x": 0,
            "xref": "container",
            "y": 0.97,
            "yanchor": "top",
            "font": {"size": 13},
            "text": title,
        },
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        "showlegend": len(traces) > 1,
        "bargap": 0.25,
        "xaxis": {"zeroline": True, "nticks": 6},
        "yaxis": {"autorange": "reversed", "type": "category", "ticklabelstandoff": 4},
    }
    return {"data": data, "layout": layout, "description": f"bar plot, {title}"}
