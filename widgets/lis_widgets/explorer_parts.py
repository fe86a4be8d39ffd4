"""What explorers have in common: small controls in a flowing row, the sample to start from, tidying up."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets

LARGEST_SEED = 99_999
PSI_STEP, LARGEST_PSI = 0.05, 2.0
SCALES = ("logits", "probabilities")


def flow(*children: Any, class_name: str = "lis-row") -> ipywidgets.HBox:
    """Return controls side by side, in more rows where there is no room."""
    box = ipywidgets.HBox(list(children), layout={"flex_flow": "row wrap", "width": "100%"})
    box.add_class(class_name)
    return box


def button(text: str, tip: str, react: Callable[[], Any]) -> ipywidgets.Button:
    """Return a button just as wide as its text, that calls `react()`."""
    made = ipywidgets.Button(description=text, tooltip=tip, layout={"width": "auto"})
    made.on_click(lambda _: react())
    return made


def dropdown(text: str, options: Any, width: str, tip: str = "") -> ipywidgets.Dropdown:
    """Return a dropdown with its label before it, as wide as both together need."""
    return ipywidgets.Dropdown(
        options=options,
        description=text,
        style={"description_width": "auto"},
        layout={"width": width},
        tooltip=tip or None,
    )


def checkbox(text: str, tip: str) -> ipywidgets.Checkbox:
    """Return a checkbox just as wide as its text."""
    return ipywidgets.Checkbox(description=text, indent=False, tooltip=tip, layout={"width": "auto"})


class StartControls:
    """Class, seed and truncation of the sample that an exploration starts from.

    Attributes
    ----------
    which, seed, psi : ipywidgets controls.
    children : list of them, to be put into a row.

    Examples
    --------
    >>> controls = StartControls(session.classes, react=restart)
    >>> row = flow(*controls.children)
    """

    def __init__(
        self,
        classes: Sequence[str],
        react: Callable[[], Any],
        which: str | None = None,
        seed: int = 0,
        psi: float = 0.7,
        sampled: bool = True,
    ) -> None:
        self.which = dropdown("class", list(classes), "175px")
        self.seed = ipywidgets.BoundedIntText(
            min=0,
            max=LARGEST_SEED,
            description="seed",
            tooltip="each number is another sample of the class",
            style={"description_width": "auto"},
            layout={"width": "110px"},
        )
        self.psi = ipywidgets.BoundedFloatText(
            min=0,
            max=LARGEST_PSI,
            step=PSI_STEP,
            description="psi",
            tooltip="truncation: 0 is the mean of the class, 1 its whole variety"
            if sampled
            else "truncation: as the pairs were sampled",
            disabled=not sampled,
            style={"description_width": "auto"},
            layout={"width": "95px"},
        )
        self.children = [self.which, self.seed, self.psi]
        self._react, self._quiet = react, False
        self.put(classes[0] if which is None else which, seed, psi)
        for control in self.children:
            control.observe(self._changed, "value")

    def put(self, which: str, seed: int, psi: float) -> None:
        """Show another sample in the controls, beyond their usual limits too; nobody is called."""
        self._quiet = True
        try:
            self.which.value = which
            for control, value in ((self.seed, seed), (self.psi, psi)):
                control.min, control.max = min(control.min, value), max(control.max, value)
                control.value = value
        finally:
            self._quiet = False

    def draw(self) -> tuple[str, int]:
        """Return a class and a seed by chance."""
        return random.choice(self.which.options), random.randrange(LARGEST_SEED + 1)

    def _changed(self, _: Any) -> None:
        if not self._quiet:
            self._react()


def free_path(stem: str, suffix: str) -> Path:
    """Return a name in the working folder that is not taken: stem.png, else stem-2.png and so on."""
    path, number = Path(f"{stem}{suffix}"), 1
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}{suffix}")
    return path


def close_tree(widget: Any) -> None:
    """Close a widget, all that it contains, and their layouts and styles: each has a line to the browser of its own."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if isinstance(part, ipywidgets.Widget):
            part.close()
    widget.close()
