"""Turn one unit of one sample by hand and see what the linked generator draws and the classifier makes of it."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from lis_toolkit.classifiers import Classifier
from lis_toolkit.errors import LisError
from lis_toolkit.explore import UnitSession, UnitStart, UnitState
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.stylegan import Generator

from .picture import Picture

BEFORE, AFTER, OTHER = "#8c8c8c", "#0072B2", "#D55E00"  # grey and two of Okabe and Ito's colours
SHOWN_CLASSES, SHOWN_UNITS = 10, 10
SLIDER_STEPS = 100
LARGEST_SEED = 99_999
TITLES = {"logits": "classifier: logits", "probabilities": "classifier: probabilities"}


class UnitExplorer(ipywidgets.VBox):
    """Sliders over class, seed, unit and value; live pictures and two bar plots of what the classifier sees.

    Parameters
    ----------
    generator, classifier, link
        The link must have been fitted for both models.
    pairs : Pairs, optional
        Take starting points from these; the seed then counts the pairs of a class. Default: fresh samples.
    unit : int or str, optional
        Unit to begin with; default: the one with the widest spread. Units that never varied are left out.

    Attributes
    ----------
    which, seed, unit, value, scale : widgets
        The controls.
    picture : Picture
        Start, tuned, and their difference.
    class_plot, unit_plot : plotly FigureWidget
    state : UnitState or None
        What is shown; None only if the very first render failed.

    Raises
    ------
    LisError
        Models that the link was not fitted for, a unit that does not exist or never varied. Later errors are shown
        in the widget, in a line above the pictures.

    Examples
    --------
    >>> from lis_widgets import UnitExplorer
    >>> UnitExplorer(generator, classifier, link, unit=17)
    """

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        pairs: Pairs | None = None,
        unit: int | str | None = None,
    ) -> None:
        self.session = UnitSession(generator, classifier, link, pairs)
        first = self.session.units[0] if unit is None else link.varying_unit(unit)
        self.state: UnitState | None = None
        self._start: UnitStart | None = None
        self._settling = False
        self._build_controls(first)
        self.picture = Picture()
        self.message = ipywidgets.HTML(value=alert(""))
        self.class_plot = bar_plot(("before", "after"), (BEFORE, AFTER))
        self.unit_plot = bar_plot(("change",), (AFTER,))
        plots = ipywidgets.HBox(
            [self.class_plot, self.unit_plot], layout=ipywidgets.Layout(flex_flow="row wrap", width="100%")
        )
        super().__init__([self.controls, self.message, self.picture, plots])
        self.add_class("lis-explorer")
        for control, react in (
            (self.which, self._restart),
            (self.seed, self._restart),
            (self.unit, self._choose_unit),
            (self.value, self._refresh),
            (self.scale, self._redraw_classes),
        ):
            control.observe(react, "value")
        self.reset.on_click(self._reset)
        self._choose_unit()

    def _build_controls(self, first: int) -> None:
        wide = {"description_width": "3.2em"}
        self.which = ipywidgets.Dropdown(
            options=self.session.classes, description="class", style=wide, layout={"width": "200px"}
        )
        self.seed = ipywidgets.BoundedIntText(
            value=0, min=0, max=LARGEST_SEED, description="seed", style=wide, layout={"width": "140px"}
        )
        self.unit = ipywidgets.Dropdown(
            options=[(f"unit {u}, spread {self.session.spread(u):.2g}", u) for u in self.session.units],
            value=first,
            description="unit",
            style=wide,
            layout={"width": "240px"},
            tooltip="sorted by spread: the standard deviation over the pairs",
        )
        self.scale = ipywidgets.Dropdown(
            options=list(TITLES), description="show", style=wide, layout={"width": "180px"}
        )
        self.value = ipywidgets.FloatSlider(
            description="value",
            min=0,
            max=1,
            step=0.01,
            readout_format=".2f",
            style=wide,
            layout={"width": "560px", "max_width": "98%"},
        )
        self.value.add_class("lis-unit")
        self.reset = ipywidgets.Button(
            description="as it was",
            tooltip="set the unit to what it is in this sample",
            layout={"width": "90px"},
        )
        row = ipywidgets.Layout(flex_flow="row wrap", width="100%")
        self.controls = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.which, self.seed, self.unit, self.scale], layout=row),
                ipywidgets.HBox([self.value, self.reset], layout=row),
            ]
        )

    def _choose_unit(self, _: Any = None) -> None:
        """Give the slider the range that this unit had over the pairs, and go to its upper end."""
        low, high = self.session.observed(self.unit.value)
        self._settling = True  # no renders for values that nobody asked for
        try:
            with self.value.hold_sync(), self.value.hold_trait_notifications():
                self.value.min, self.value.max = low, high
                self.value.step = (high - low) / SLIDER_STEPS
                self.value.value = high
        finally:
            self._settling = False
        self._refresh()

    def _restart(self, _: Any = None) -> None:
        self._start = None
        self._refresh()

    def _reset(self, _: Any = None) -> None:
        if self._start is not None:
            own = float(self._start.r[self.unit.value])
            self.value.value = min(max(own, self.value.min), self.value.max)

    def _refresh(self, _: Any = None) -> None:
        """Render what the controls say; an error is shown in the widget, and the old picture dimmed."""
        if self._settling:
            return
        try:
            if self._start is None:
                self._start = self.session.start(self.which.value, self.seed.value)
            self.state = self.session.tune(self._start, self.unit.value, self.value.value)
            self.picture.show(self.state.rgb(), self.state.captions(), self.state.descriptions())
            self._redraw_classes()
            self._redraw_units(self.state)
        except Exception as error:  # whatever it is, the user must see it, and the next move must work
            told = str(error) if isinstance(error, LisError) else f"{type(error).__name__}: {error}"
            self.message.value = alert(told)
            self.picture.mark_stale()
        else:
            self.message.value = alert("")

    def _redraw_classes(self, _: Any = None) -> None:
        if self.state is None:
            return
        rows = self.state.top_classes(SHOWN_CLASSES, probabilities=self.scale.value == "probabilities")
        names, before, after = (list(column) for column in zip(*rows, strict=True))
        with self.class_plot.batch_update():
            for trace, values in zip(self.class_plot.data, (before, after), strict=True):
                trace.x, trace.y = values, names
            self.class_plot.layout.title.text = TITLES[self.scale.value]

    def _redraw_units(self, state: UnitState) -> None:
        rows = state.moved_units(SHOWN_UNITS)
        (trace,) = self.unit_plot.data
        with self.unit_plot.batch_update():
            trace.x = [change for _, change in rows]
            trace.y = [f"unit {unit}" for unit, _ in rows]
            trace.marker.color = [OTHER if unit == state.unit else AFTER for unit, _ in rows]
            self.unit_plot.layout.title.text = f"units that moved most (orange: unit {state.unit})"


def alert(text: str) -> str:
    """Return a line that screen readers announce when it changes; empty for no text."""
    return f'<div class="lis-message" role="alert">{html.escape(text)}</div>'


def bar_plot(names: tuple[str, ...], colours: tuple[str, ...]) -> go.FigureWidget:
    """Return an empty figure of horizontal bars, without background, so that the page's theme shows through."""
    figure = go.FigureWidget(
        [
            go.Bar(name=name, orientation="h", marker_color=colour)
            for name, colour in zip(names, colours, strict=True)
        ]
    )
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        height=300,
        autosize=True,
        margin={"l": 90, "r": 10, "t": 34, "b": 24},
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        font={"size": 12},
        title={"x": 0, "xref": "container", "font": {"size": 13}, "text": " "},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        showlegend=len(names) > 1,
        bargap=0.25,
    )
    figure.update_yaxes(autorange="reversed", type="category", ticklabelstandoff=4)
    figure.update_xaxes(zeroline=True)
    figure._config = {**(figure._config or {}), "displayModeBar": False, "responsive": True}
    figure.layout.template = "none"
    return figure
