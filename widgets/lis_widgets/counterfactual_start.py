"""Whether an exploration starts from a sample or from a photograph, and from which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from .explorer_parts import dropdown

SAMPLES, PHOTOGRAPHS = "samples", "photographs"


class SourceControls:
    """Two controls before those of the sample, which are hidden while a photograph is chosen.

    Parameters
    ----------
    count : photographs that there are.
    samples : the controls of a sample.
    react : called when one of the two was changed by hand.

    Attributes
    ----------
    source, photograph : ipywidgets controls
    children : list of them, to be put into a row.

    Examples
    --------
    >>> sources = SourceControls(1000, start.children, restart)
    """

    def __init__(self, count: int, samples: Sequence[Any], react: Callable[[], Any]) -> None:
        self.source = dropdown("from", (SAMPLES, PHOTOGRAPHS), "165px", "what the start is")
        self.photograph = ipywidgets.BoundedIntText(
            min=0,
            max=max(count - 1, 0),
            description="photograph",
            tooltip=f"number of the photograph, 0 to {max(count - 1, 0)}",
            style={"description_width": "auto"},
            layout={"width": "150px"},
        )
        self.children = [self.source, self.photograph]
        self._samples, self._react, self._quiet = list(samples), react, False
        self._switch()
        for control in self.children:
            control.observe(self._changed, "value")

    def put(self, photograph: int | None) -> None:
        """Show a photograph's number, or that the start is a sample; nobody is called."""
        self._quiet = True
        try:
            self.source.value = SAMPLES if photograph is None else PHOTOGRAPHS
            if photograph is not None:
                self.photograph.value = photograph
        finally:
            self._quiet = False
        self._switch()

    def _switch(self) -> None:
        real = self.source.value == PHOTOGRAPHS
        self.photograph.layout.display = "" if real else "none"
        for control in self._samples:
            control.layout.display = "none" if real else ""

    def _changed(self, _: Any) -> None:
        if not self._quiet:
            self._switch()
            self._react()
