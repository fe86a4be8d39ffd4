"""Move a sample along directions by hand: principal ones of the link, class differences, combinations of units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
from torch import Tensor

from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.directions import DirectionFamilies, Directions, read_combination
from lis_toolkit.directions.families import UNITS
from lis_toolkit.errors import LisError
from lis_toolkit.explore import (
    DirectionSetting,
    UnitSession,
    UnitState,
    direction_code,
    made_of,
    show_along,
)
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.parts.segmenter import Segmenter
from lis_toolkit.stylegan import Generator

from .direction_choice import DirectionChoice
from .explorer_base import FILM_FRAMES, Explorer
from .explorer_figures import class_figure, moved_figure
from .figures import AFTER, OTHER, bars, sentence

SHOWN_UNITS = 10


class DirectionExplorer(Explorer):
    """Choose a sample, move it along named directions, and see pictures, logits and moved units follow the hand.

    Parameters
    ----------
    generator, classifier, link
        The link must have been fitted for both models.
    directions : Directions, or several, optional
        Of your own; those of the kinds "principal" and "class" take the place of the built-in ones.
    pairs : Pairs, optional
        Take starting points from these, the class differences, and the ranges of the principal directions.
    photographs : Photographs, optional
        Labelled real images, for class differences and ranges where there are no pairs.
    segmenter : Segmenter, optional
        Draws the outlines of parts on demand.
    which, seed, psi : optional
        Class, seed and truncation to begin with.
    transport : "raw" or "jpeg"
        How pictures go to the browser; "jpeg" for a slow line to a distant machine, or pictures above 512 pixels.

    Attributes
    ----------
    which, seed, psi, scale : ipywidgets controls
        Class, seed, truncation; whether logits or probabilities are plotted.
    family, source : ipywidgets.Dropdown
        Which directions have sliders; the class that differences start from.
    families : DirectionFamilies
    amounts : dict of str to float
        How far the sample is moved along which directions; those that are 0 are left out.
    setting : DirectionSetting
        What all controls say.
    state : UnitState
        What the present setting shows; a LisError if that failed.
    session, choice, picture, sliders, charts, files, message
        The parts it is made of.

    Raises
    ------
    LisError
        Models, directions, photographs or a segmenter that do not belong together. Later errors are shown in the
        widget, in a line below the sliders.

    Examples
    --------
    >>> from lis_widgets import DirectionExplorer
    >>> explorer = DirectionExplorer(generator, classifier, link, pairs=pairs, which="Coat")
    >>> explorer.set({"Coat to Shirt": 0.5})
    """

    _setting: DirectionSetting

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        directions: Directions | Iterable[Directions] | None = None,
        *,
        pairs: Pairs | None = None,
        photographs: Photographs | None = None,
        segmenter: Segmenter | None = None,
        which: str | None = None,
        seed: int = 0,
        psi: float | None = None,
        transport: str = "raw",
    ) -> None:
        session = UnitSession(generator, classifier, link, pairs, photographs, None, segmenter)
        images: dict[str, Any] = {}
        if pairs is None and photographs is not None and session.reals is not None:
            images = {
                "r": session.reals.r,
                "labels": getattr(photographs, "labels", None),
                "classes": getattr(photographs, "classes", None),
            }
        self.families = DirectionFamilies(link, directions, pairs, **images)
        self._hand_name = ""  # the direction whose slider moved last
        super().__init__(session, which, seed, psi, transport)
        self._setting = DirectionSetting(self.which.value, self.seed.value, self._psi())
        self.choice = DirectionChoice(
            self.families, session, self._chosen, self._combine, self._guarded, self.which.value
        )
        self.family, self.source = self.choice.family, self.choice.source
        self.add_class("lis-directions")
        self._begin(self.choice)

    # What can be done --------------------------------------------------------------------------------------------

    @property
    def amounts(self) -> dict[str, float]:
        """How far the sample is moved along which directions."""
        return dict(self._setting.amounts)

    def set(self, amounts: Mapping[str, float]) -> None:
        """Move along directions of any family; an amount of 0 takes one back.

        Raises
        ------
        LisError : a direction that there is not, an amount that is not finite.

        Examples
        --------
        >>> explorer.set({"Coat to Shirt": 0.5, "principal 1": -1.0})
        """
        if amounts:
            self.families.joined(amounts)  # refuses what there is not
            self._hand_name = list(amounts)[-1]
            self._change(self._moved_to(amounts))

    def combine(self, name: str, weights: Mapping[int | str, float] | Mapping[int, float]) -> None:
        """Make a direction of several units, and show its slider.

        Raises
        ------
        LisError : a name that another direction has, units that do not exist or never varied, weights that are all 0.

        Examples
        --------
        >>> explorer.combine("wide sleeves", {17: 1.0, 40: -0.5})
        """
        self.families.combine(name, weights)
        if name in self._setting.amounts:  # of this name there was another one, maybe of other ends
            self._setting = self._moved_to({name: 0.0})
        self.choice.show(UNITS)
        self._change(self._setting)

    def open(self, r: Tensor | None = None, name: str = "") -> None:
        """Start from activations r [R]; without them it is ipywidgets' own `open`, which connects to the browser.

        Raises
        ------
        LisError : activations of another shape, or not finite.

        Examples
        --------
        >>> explorer.open(features.r[12], "photograph 12")
        """
        if r is None:
            ipywidgets.VBox.open(self)
            return
        setting = replace(
            self._setting, r=tuple(r.detach().cpu().tolist()), r_name=name or "given activations"
        )
        self.session.start_of(setting)  # refused here, before anything has changed
        self._change(setting)

    def reset(self) -> None:
        """Take every move back."""
        self._change(replace(self._setting, amounts={}))

    def code(self) -> str:
        """Return a cell of code that draws the present picture, without a widget."""
        outlines = bool(self.outlines.value)
        return direction_code(self._setting, self.session, self.families, outlines=outlines)

    # From a control to a setting ---------------------------------------------------------------------------------

    def _chosen(self) -> None:
        self._arrange()
        self._plot()

    def _combine(self, name: str, text: str) -> None:
        weights = read_combination(text)
        self.combine(name or f"combination {len(self.families.combinations) + 1}", weights)

    def _moved(self, values: Mapping[str, float]) -> None:
        self._hand_name = next(iter(values))
        self._change(self._moved_to(values), hand=tuple(values))

    def _acted(self, key: str, action: str) -> None:
        if action in ("reset", "remove"):
            if action == "remove":
                self.choice.leave_out(key)
            self._change(self._moved_to({key: 0.0}))

    def _moved_to(self, amounts: Mapping[str, float]) -> DirectionSetting:
        return replace(self._setting, amounts={**self._setting.amounts, **amounts})

    def _hand_direction(self) -> str:
        """Return the direction that was moved last, or the first that has a slider, or nothing."""
        names = [*self._setting.amounts, *self.choice.names()]
        return self._hand_name if self._hand_name in names else next(iter(names), "")

    # From a setting to what is shown -----------------------------------------------------------------------------

    def _rows(self) -> list[dict[str, Any]]:
        """Return sliders of the directions that move, then of the others of the family."""
        shown = self.choice.names()
        others = [name for name in self._setting.amounts if name not in shown]
        return [
            *(self._row(name, removable=True) for name in others),
            *(self._row(name, removable=name in self.choice.extra) for name in shown),
        ]

    def _row(self, name: str, removable: bool) -> dict[str, Any]:
        directions = self.families.joined([name])
        low, high = directions.low[0], directions.high[0]
        value = self._setting.amounts.get(name, 0.0)
        strength = "" if directions.strength is None else f"; 1 moves w by {directions.strength[0]:.3g}"
        unit = f" {directions.amounts}" if directions.amounts else ""
        return {
            "key": name,
            "label": name,
            "low": min(low, value, 0.0),
            "high": max(high, value, 0.0),
            "seen_low": low,
            "seen_high": high,
            "own": 0.0,
            "value": value,
            "digits": 2,
            "removable": removable,
            "tooltip": f"{name}: amounts{unit}, {low:.3g} to {high:.3g} over the images{strength}",
        }

    def _render(self, setting: Any, outlines: bool) -> UnitState:
        return show_along(self.session, setting, self.families, outlines)

    def _film(self, setting: Any, outlines: bool) -> list[UnitState]:
        """Return states along the direction that was moved last, the others as they are."""
        name = self._hand_direction()
        if not name:
            raise LisError("there is no direction to film: make one at the left.")
        along = self.families.joined([name])
        return [
            self._render(replace(setting, amounts={**setting.amounts, name: amount}), outlines)
            for amount in np.linspace(along.low[0], along.high[0], FILM_FRAMES).tolist()
        ]

    def _figures(self) -> list[dict[str, Any]]:
        state = self._state
        if state is None:
            return []
        return [class_figure(state, self.scale.value), self._made_figure(), moved_figure(state)]

    def _made_figure(self) -> dict[str, Any]:
        """Return bars of the units that the move changes most; while nothing is moved, of one direction's."""
        amounts: dict[str, float] = self._setting.amounts
        title = f"units that make up the move, largest {SHOWN_UNITS}"
        if not amounts:
            name = self._hand_direction()
            if not name:
                return sentence(
                    "units that make up the move", "There is no direction yet: make one at the left."
                )
            amounts, title = {name: 1.0}, f"units that make up {name}, at +1"
        made = made_of(self.families, amounts, SHOWN_UNITS)
        colours = [AFTER if change > 0 else OTHER for _, change in made]
        labels = [f"unit {unit}" for unit, _ in made]
        return bars(
            {"change": (labels, [change for _, change in made], colours)},
            title,
            axis="change (orange: less)",
            hover="%{x:+.3g}",
        )

    def _stem(self) -> str:
        return "directions"
