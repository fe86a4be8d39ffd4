"""What is asked of a start, at the left of an explorer of counterfactuals: target, method, Find, Stop; what came."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from lis_toolkit.counterfactuals.setting import METHODS, METRICS, NEAREST, CounterfactualSetting
from lis_toolkit.counterfactuals.way import Way

from .explorer_parts import button, dropdown, flow
from .message import Message

METHOD_NAMES = {"latent": "latent", "closed_form": "closed form", "paper": "paper (slow)"}
SLOW = "Pictures of this size take a CPU seconds each: a search takes minutes. Press Find to begin; Stop ends it."
PAPER = (
    "The published search takes up to 2,000 steps and as many renders: it may take minutes, and often finds nothing. "
    "Press Find to begin; Stop ends it."
)


class WayChoice(ipywidgets.VBox):
    """Target, method and metric, buttons to find and to stop, and below them what was found.

    Parameters
    ----------
    goals : names of the classes that can be a target.
    react : called when target, method or metric was changed by hand.
    find, stop : called when the buttons are pressed.

    Attributes
    ----------
    target, method, metric : ipywidgets.Dropdown
    find, stop : ipywidgets.Button
    verdict : Message
        Whether a way was found, or why not.
    """

    def __init__(
        self,
        goals: Sequence[str],
        react: Callable[[], Any],
        find: Callable[[], Any],
        stop: Callable[[], Any],
    ) -> None:
        self.target = dropdown("target", [], "auto", "the class that the picture is to become")
        self.method = dropdown(
            "method", [(METHOD_NAMES[m], m) for m in METHODS], "auto", "how the way is searched"
        )
        self.metric = dropdown("metric", METRICS, "auto", "in which sense the shift in r is the shortest")
        self.find = button("Find", "search the way to the target", find)
        self.stop = button("Stop", "end the search that is under way", stop)
        for field in (self.target, self.method, self.metric):
            field.style.description_width = "52px"
        self._hint, self._facts = (ipywidgets.HTML(layout={"width": "auto"}) for _ in range(2))
        self.verdict = Message()
        self._react, self._quiet = react, False
        self._told: Way | None = None
        self.offer((NEAREST, *goals))
        self.busy(False)
        fields = flow(self.target, self.method, self.metric)
        buttons = flow(self.find, self.stop)
        super().__init__([fields, buttons, self._hint, self.verdict, self._facts])
        self.add_class("lis-ranking")
        for control in (self.target, self.method, self.metric):
            control.observe(self._changed, "value")

    def offer(self, targets: Sequence[str]) -> None:
        """Offer these targets, "nearest" among them; nobody is called."""
        options = [("nearest other class" if name == NEAREST else name, name) for name in targets]
        if list(self.target.options) == options:
            return
        chosen = self.target.value
        self._quiet = True
        try:
            self.target.options = options
            self.target.value = chosen if chosen in targets else targets[0]
        finally:
            self._quiet = False

    def put(self, setting: CounterfactualSetting) -> None:
        """Show what a setting asks for; nobody is called."""
        self._quiet = True
        try:
            if setting.target not in [name for _, name in self.target.options]:
                self.target.options = [*self.target.options, (setting.target, setting.target)]
            self.target.value, self.method.value = setting.target, setting.method
            self.metric.value = setting.metric
        finally:
            self._quiet = False
        self.metric.layout.display = "" if setting.method == "closed_form" else "none"

    def hint(self, text: str) -> None:
        """Say what to know before Find is pressed."""
        self._hint.value = f'<div class="lis-hint">{html.escape(text)}</div>' if text else ""
        self._hint.layout.display = "" if text else "none"

    def busy(self, searching: bool, text: str = "") -> None:
        """Say that a search is under way, or that none is."""
        self.stop.disabled = not searching
        if searching:
            self._tell(None)
            self.verdict.note(text)

    def say(self, text: str, error: bool = False) -> None:
        """Say what became of a search that led to no way."""
        self._tell(None)
        (self.verdict.error if error else self.verdict.note)(text)

    def show(self, way: Way | None, lost: str = "") -> None:
        """Say what is known of a way, and what the cycle lost of a photograph; of no way, nothing."""
        if way is not None and way is self._told:
            return
        self._tell(way, lost)
        if way is None:
            self.verdict.clear()
        else:
            (self.verdict.note if way.success else self.verdict.error)(way.verdict())

    def _tell(self, way: Way | None, lost: str = "") -> None:
        self._told = way
        rows = [] if way is None else way.facts() + ([("cycle lost", lost)] if lost else [])
        cells = "".join(f"<dt>{html.escape(what)}</dt><dd>{html.escape(text)}</dd>" for what, text in rows)
        self._facts.value = f'<dl class="lis-facts">{cells}</dl>' if rows else ""

    def _changed(self, _: Any) -> None:
        if not self._quiet:
            self._react()
