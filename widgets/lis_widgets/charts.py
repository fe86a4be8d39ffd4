"""Plotly figures that are replaced as a whole: what is on the screen is always the last state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets
from plotly.offline import get_plotlyjs

from .assets import css, esm
from .figures import bars, histogram, sentence
from .later import Later

__all__ = ["Charts", "bars", "histogram", "sentence"]

PAUSE = 0.2  # seconds between two drawings while something is moved: they must not delay the next picture


class Charts(anywidget.AnyWidget):
    """Plotly figures side by side, or one below the other where there is no room; drawn by `static/charts.js`.

    plotly's FigureWidget came up empty on a busy machine: its 5 MB of JavaScript must load within two seconds, and
    changes that it is sent before that are lost. Here Plotly follows when the browser asks for it (from the Python
    package, not from a network), and what is sent is the whole state.

    Attributes
    ----------
    figures : list of dict
        data, layout, caption and description (read aloud in place of the figure) of each.

    Examples
    --------
    >>> charts = Charts()
    >>> charts.show([bars({"logit": (["Coat", "Bag"], [3.1, 0.2], "#0072B2")}, "logits")])
    """

    _esm = esm("kit.js", "keys.js", "charts.js")
    _css = css("lis.css", "charts.css", "layout.css")

    figures = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._later = Later(PAUSE)
        self._picked: list[Callable[[int, str], Any]] = []
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Send Plotly's JavaScript to a page that does not have it yet; pass on which bar was clicked."""
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "plotly":
            self.send({"kind": "plotly"}, [get_plotlyjs().encode()])
        elif kind == "pick":
            figure, label = content.get("figure"), content.get("label")
            if isinstance(figure, int) and isinstance(label, str) and 0 <= figure < len(self.figures):
                for callback in self._picked:
                    callback(figure, label)

    def show(self, figures: Sequence[dict[str, Any]]) -> None:
        """Show figures as `bars` and `histogram` return them, in one message to the browser."""
        self._later.cancel()
        self.figures = list(figures)

    def show_later(self, make: Callable[[], Sequence[dict[str, Any]]]) -> None:
        """Show what `make` returns, when the picture is out: some five times a second, and always the last one."""
        self._later.ask(lambda: self.show(make()))

    def flush(self) -> None:
        """Show at once what waits to be shown."""
        self._later.flush()

    def on_pick(self, callback: Callable[[int, str], Any]) -> None:
        """Call back with a figure's index and the label of a bar (or a point's customdata, a text) that is clicked."""
        self._picked.append(callback)

    def close(self) -> None:
        """End the widget, and forget what waits to be shown."""
        self._later.cancel()
        super().close()
