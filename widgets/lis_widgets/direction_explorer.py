"""Move a sample along directions by hand: principal ones of the link, class differences, combinations of units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from torch import Tensor

from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.directions import DirectionFamilies, Directions, read_combination
from lis_toolkit.errors import LisError
from lis_toolkit.explore import (
    DirectionSetting,
    UnitSession,
    UnitStart,
    UnitState,
    direction_code,
    made_of,
    save_gif,
    show_along,
)
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.parts.segmenter import Segmenter
from lis_toolkit.stylegan import Generator

from .explorer_base import FILM_FRAMES, Explorer
from .explorer_figures import class_figure, moved_figure
from .explorer_files import ExplorerFiles
from .explorer_parts import button, close_tree, dropdown, free_path
from .figures import AFTER, OTHER, bars, sentence

MOST = 9  # sliders of a family before the others are asked for by name
SHOWN_UNITS = 10
HINTS = {
    "principal": "The directions of activations that move the latent most, the strongest first; an amount of 1 is one "
    "standard deviation.",
    "class differences": "From the mean of one class to that of another; an amount of 1 is the whole difference.",
    "combinations of units": "Several units at once, each by its weight times the amount.",
    "given": "The directions that were given.",
}


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
        How pictures go to the browser; "jpeg" for a slow line to a distant machine.

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
    session, picture, sliders, charts, files, message
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
        self._extra: list[str] = []  # asked for by name, beyond the first of a family
        super().__init__(session, which, seed, psi, transport)
        self._setting = DirectionSetting(self.which.value, self.seed.value, self._psi())
        self._build_family()
        self.sliders.on_move(self._guarded(self._moved))
        self.sliders.on_action(self._guarded(self._acted))
        right = ipywidgets.VBox([self.picture, self.sliders, self.message])
        right.add_class("lis-right")
        body = ipywidgets.HBox([self._left, right], layout={"flex_flow": "row wrap"})
        body.add_class("lis-body")
        self.add_class("lis-directions")
        self._show_family()
        self._begin(body)

    def _make_files(self) -> ExplorerFiles:
        """Offer what can be saved of directions: picture, film and code; settings are those of units."""
        saves = {
            "Save picture": ("start, tuned picture and difference as PNG", self.save_png),
            "Save film": ("along the direction that was moved last, as GIF", self.save_gif),
        }
        return ExplorerFiles(
            self.code, {text: (tip, self._guarded(save, "saved as")) for text, (tip, save) in saves.items()}
        )

    def _build_family(self) -> None:
        self.family = dropdown("directions", list(self.families.names), "auto")
        sources = self.families.sources or ("",)
        self.source = dropdown("from", list(sources), "auto", "the class that the differences start from")
        if self.which.value in sources:
            self.source.value = self.which.value
        self.more = dropdown("add", [""], "auto", "another direction of this family")
        self._hint = ipywidgets.HTML()
        self._hint.add_class("lis-hint")
        units = [(f"unit {u}, spread {self.session.spread(u):.2g}", u) for u in self.session.units]
        self.unit = dropdown(
            "unit", units, "auto", "sorted by spread: the standard deviation over the link's pairs"
        )
        self.weight = ipywidgets.FloatText(
            value=1.0,
            description="weight",
            tooltip="in activation units, for an amount of 1",
            style={"description_width": "auto"},
            layout={"width": "auto"},
        )
        self.typed = ipywidgets.Text(
            description="units",
            placeholder="17: 1, 40: -0.5",
            tooltip="units and their weights; Enter makes the direction",
            style={"description_width": "auto"},
            layout={"width": "auto"},
            continuous_update=False,
        )
        self.name = ipywidgets.Text(
            description="name",
            placeholder="combination 1",
            style={"description_width": "auto"},
            layout={"width": "auto"},
        )
        self._combining = ipywidgets.VBox(
            [
                self.unit,
                self.weight,
                button(
                    "Add the unit", "write unit and weight into the line below", self._guarded(self._add_unit)
                ),
                self.typed,
                self.name,
                button(
                    "Make the direction", "give the combination a slider", self._guarded(self._combine_typed)
                ),
            ]
        )
        # Narrower than a list of units: what is beside it must have room for sliders in one line.
        self._left = ipywidgets.VBox(layout={"flex": "1 1 220px", "min_width": "0"})
        self.family.observe(lambda _: self._guarded(self._family_chosen)(), "value")
        self.source.observe(lambda _: self._guarded(self._family_chosen)(), "value")
        self.more.observe(lambda _: self._guarded(self._more_chosen)(), "value")

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
        self._choose_family("combinations of units")
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

    def save_gif(self, path: str | Path | None = None) -> Path:
        """Save a film along the direction that was moved last, the others as they are; default: a free name.

        Raises
        ------
        LisError : no direction, a path that can't be written, a picture that can't be rendered.
        """
        name = self._hand_direction()
        if not name:
            raise LisError("there is no direction to film: make one at the left.")
        one = self.families.joined([name])
        outlines = bool(self.outlines.value)
        frames = [
            show_along(self.session, self._moved_to({name: amount}), self.families, outlines)
            for amount in np.linspace(one.low[0], one.high[0], FILM_FRAMES).tolist()
        ]
        path = free_path(self._stem(), ".gif") if path is None else Path(path)
        save_gif(path, frames, outlines=outlines)
        return path

    def save(self, path: str | Path | None = None) -> Path:
        """Refuse: directions are vectors, which no file of settings holds; `code` writes how they are made.

        Raises
        ------
        LisError : always.
        """
        raise LisError(
            "settings of directions are not saved as a file: copy the code, which makes them again."
        )

    def load(self, path: str | Path) -> None:
        """Refuse, as `save` does.

        Raises
        ------
        LisError : always.
        """
        raise LisError(f"{path} is not loaded: settings of directions are kept as code.")

    # From a control to a setting ---------------------------------------------------------------------------------

    def _family_chosen(self) -> None:
        self._extra = []
        self._show_family()
        self._arrange()
        self._plot()

    def _choose_family(self, family: str) -> None:
        if self.family.value == family:
            self._family_chosen()
        else:
            self.family.value = family

    def _more_chosen(self) -> None:
        if self.more.value:
            self._extra.append(self.more.value)
            self._show_family()
            self._arrange()

    def _add_unit(self) -> None:
        text = self.typed.value.strip().rstrip(",")
        self.typed.value = f"{text}{', ' if text else ''}{self.unit.value}: {self.weight.value:g}"

    def _combine_typed(self) -> None:
        weights = read_combination(self.typed.value)
        number = len(self.families.combinations) + 1
        self.combine(self.name.value.strip() or f"combination {number}", weights)
        self.typed.value = self.name.value = ""

    def _moved(self, values: Mapping[str, float]) -> None:
        self._hand_name = next(iter(values))
        self._change(self._moved_to(values), hand=tuple(values))

    def _acted(self, key: str, action: str) -> None:
        if action in ("reset", "remove"):
            self._extra = [name for name in self._extra if action == "reset" or name != key]
            self._show_family()
            self._change(self._moved_to({key: 0.0}))

    def _moved_to(self, amounts: Mapping[str, float]) -> DirectionSetting:
        return replace(self._setting, amounts={**self._setting.amounts, **amounts})

    def _hand_direction(self) -> str:
        """Return the direction that was moved last, or the first that has a slider, or nothing."""
        names = [*self._setting.amounts, *self._names()]
        return self._hand_name if self._hand_name in names else next(iter(names), "")

    # From a setting to what is shown -----------------------------------------------------------------------------

    def _present(self) -> Directions | None:
        """Return the directions of the family that is chosen."""
        return self.families.family(self.family.value, self.source.value or None)

    def _names(self) -> list[str]:
        """Return the directions of the family that have sliders; the others are asked for by name."""
        present = self._present()
        names = () if present is None else present.names
        return [*names[:MOST], *(name for name in self._extra if name in names[MOST:])]

    def _show_family(self) -> None:
        """Put the controls of the family that is chosen into the left column."""
        family, present = self.family.value, self._present()
        self._hint.value = f"<div>{HINTS.get(family, '')}{_strengths(present)}</div>"
        left = [self.family]
        if self.families.has_sources(family):
            left.append(self.source)
        shown = self._names()
        others = [name for name in ([] if present is None else present.names) if name not in shown]
        if others:
            with self.more.hold_trait_notifications():
                self.more.options = [
                    (f"{len(others)} more: choose one", ""),
                    *((name, name) for name in others),
                ]
                self.more.value = ""
            left.append(self.more)
        left.append(self._hint)
        if family == "combinations of units":
            left.append(self._combining)
        self._left.children = left

    def _arrange(self) -> None:
        """Bring the sliders to what the setting says: those that move, then the others of the family."""
        shown = self._names()
        others = [name for name in self._setting.amounts if name not in shown]
        self.sliders.rows = [
            *(self._row(name, removable=True) for name in others),
            *(self._row(name, removable=name in self._extra) for name in shown),
        ]
        origin = self._setting.r_name if self._setting.r is not None else ""
        self._origin.value = f"from {origin} (class or seed: back to samples)" if origin else ""

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

    def _compute(self, asked: tuple[Any, bool]) -> tuple[UnitStart, UnitState, np.ndarray]:
        setting, outlines = asked
        state = show_along(self.session, setting, self.families, outlines)
        return self.session.start_of(setting), state, self._panels(state)

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

    def close(self) -> None:
        """End the widget and all its parts, also those that are not shown at present."""
        if getattr(self, "_left", None) is not None:
            for part in (self.source, self.more, self._combining):
                if part not in self._left.children:
                    close_tree(part)
        super().close()


def _strengths(directions: Directions | None) -> str:
    """Say how far each direction moves the latent, where that is known."""
    if directions is None or directions.strength is None:
        return ""
    known = list(zip(directions.names, directions.strength, strict=True))[:MOST]
    listed = "; ".join(
        f"{escape(name.removeprefix('principal '))}: {strength:.3g}" for name, strength in known
    )
    return f"<br>How far an amount of 1 moves the latent w: {listed}."
