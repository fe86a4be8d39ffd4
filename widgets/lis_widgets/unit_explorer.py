"""Turn one unit of one sample by hand and see what the linked generator draws and the classifier makes of it."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets

from lis_toolkit.classifiers import Classifier
from lis_toolkit.errors import LisError
from lis_toolkit.explore import UnitSession, UnitStart, UnitState
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.stylegan import Generator

from .charts import Charts, bars
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
    charts : Charts
        The classifier's logits or probabilities before and after, and the units that moved most.
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
        self._build_controls(first)
        self.picture = Picture()
        self.message = ipywidgets.HTML(value=alert(""))
        self.charts = Charts()
        super().__init__([self.controls, self.message, self.picture, self.charts])
        self.add_class("lis-explorer")
        for control, react in (
            (self.which, self._restart),
            (self.seed, self._restart),
            (self.unit, self._choose_unit),
            (self.scale, self._redraw),
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
        self.reset = ipywidgets.Button(
            description="as it was",
            tooltip="set the unit to what it is in this sample",
            layout={"width": "90px"},
        )
        row = ipywidgets.Layout(flex_flow="row wrap", width="100%")
        self._value_row = ipywidgets.HBox(layout=row)
        self.controls = ipywidgets.VBox(
            [ipywidgets.HBox([self.which, self.seed, self.unit, self.scale], layout=row), self._value_row]
        )

    def _choose_unit(self, _: Any = None) -> None:
        """Give the unit a slider over the range that it had over the pairs, and go to its upper end.

        A new slider each time: the browser's one answers a change of its range with its old value, moved into the
        new range, and so overwrites what was set here.
        """
        low, high = self.session.observed(self.unit.value)
        old = getattr(self, "value", None)
        self.value = ipywidgets.FloatSlider(
            description="value",
            min=low,
            max=high,
            value=high,
            step=(high - low) / SLIDER_STEPS,
            readout_format=".2f" if high - low >= 0.1 else ".4f",
            style={"description_width": "3.2em"},
            layout={"width": "560px", "max_width": "98%"},
        )
        self.value.add_class("lis-unit")
        self.value.observe(self._refresh, "value")
        self._value_row.children = (self.value, self.reset)
        if old is not None:
            old.close()
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
        try:
            if self._start is None:
                self._start = self.session.start(self.which.value, self.seed.value)
            self.state = self.session.tune(self._start, {self.unit.value: self.value.value})
            self.picture.show(self.state.rgb(), self.state.captions(), self.state.descriptions())
            self._redraw()
        except Exception as error:  # whatever it is, the user must see it, and the next move must work
            told = str(error) if isinstance(error, LisError) else f"{type(error).__name__}: {error}"
            self.message.value = alert(told)
            self.picture.mark_stale()
        else:
            self.message.value = alert("")

    def _redraw(self, _: Any = None) -> None:
        """Draw the bars of the present state."""
        state = self.state
        if state is None:
            return
        rows = state.top_classes(SHOWN_CLASSES, probabilities=self.scale.value == "probabilities")
        names = [name for name, _, _ in rows]  # none for an encoder without a head
        before, after = [low for _, low, _ in rows], [high for _, _, high in rows]
        classes = bars(
            {"before": (names, before, BEFORE), "after": (names, after, AFTER)}, TITLES[self.scale.value]
        )
        moved = state.moved_units(SHOWN_UNITS)
        units = bars(
            {
                "change": (
                    [f"unit {unit}" for unit, _ in moved],
                    [change for _, change in moved],
                    [OTHER if unit == state.unit else AFTER for unit, _ in moved],
                )
            },
            f"units that moved most (orange: unit {state.unit})",
        )
        self.charts.show([classes, units])


def alert(text: str) -> str:
    """Return a line that screen readers announce when it changes; empty for no text."""
    return f'<div class="lis-message" role="alert">{html.escape(text)}</div>'
