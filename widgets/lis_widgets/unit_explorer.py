"""Turn units of one sample by hand and see what the linked generator draws and the classifier makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.explore import UnitSession, UnitSetting, UnitState, as_code, walk_frames
from lis_toolkit.explore.checks import checked_values
from lis_toolkit.features import Features
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.parts.segmenter import Segmenter
from lis_toolkit.stylegan import Generator

from .explorer_base import FILM_FRAMES
from .explorer_figures import class_figure, distribution_figure, moved_figure
from .explorer_saved import SavedExplorer
from .unit_ranking import UnitRanking

if TYPE_CHECKING:
    import pandas as pd


class UnitExplorer(SavedExplorer):
    """Choose a sample and units, turn them, and see pictures, logits and moved units follow the hand.

    Parameters
    ----------
    generator, classifier, link
        The link must have been fitted for both models.
    ranking : DataFrame of `score_selectivity` or `rank_units`, optional
        Order the units by what they do to a part; default: by their spread.
    pairs : Pairs, optional
        Take starting points from these; the seed then counts the pairs of a class. Default: fresh samples.
    photographs : Photographs, Features of them or activations [N, R], optional
        Real images, for the distribution of a unit's activation. Default: the pairs.
    segmenter : Segmenter, optional
        Draws the outlines of parts on demand.
    companions : [R, R] of `companion_directions`, optional
        Moves units together with those that usually move with them, on demand.
    unit : int or str, optional
        Unit to begin with; default: the one with the widest spread. Units that never varied are left out.
    which, seed, psi : optional
        Class, seed and truncation to begin with.
    transport : "raw" or "jpeg"
        How pictures go to the browser; "jpeg" for a slow line to a distant machine, or pictures above 512 pixels.

    Attributes
    ----------
    which, seed, psi, scale : ipywidgets controls
        Class, seed, truncation; whether logits or probabilities are plotted.
    unit : int
        The unit under the hand; setting it chooses another, at the upper end of its observed range.
    values : dict of int to float
        The units that are set.
    pinned : tuple of int
        Units that keep a slider when another one is chosen.
    setting : UnitSetting
        What all controls say.
    state : UnitState
        What the present setting shows; a LisError if that failed.
    session, picture, sliders, list, charts, files, message
        The parts it is made of.

    Raises
    ------
    LisError
        Models, ranking, photographs, segmenter or companions that do not belong together, a unit that does not exist
        or never varied. Later errors are shown in the widget, in a line below the sliders.

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
        ranking: pd.DataFrame | None = None,
        *,
        pairs: Pairs | None = None,
        photographs: Photographs | Features | Tensor | None = None,
        segmenter: Segmenter | None = None,
        companions: Tensor | None = None,
        unit: int | str | None = None,
        which: str | None = None,
        seed: int = 0,
        psi: float | None = None,
        transport: str = "raw",
    ) -> None:
        session = UnitSession(generator, classifier, link, pairs, photographs, companions, segmenter)
        first = session.units[0] if unit is None else link.varying_unit(unit)
        self._ranked = UnitRanking(session, ranking)
        self.list = self._ranked.list
        self._pins: list[int] = []
        super().__init__(session, which, seed, psi, transport)
        self._setting = replace(self._setting, values={first: session.observed(first)[1]}, unit=first)
        self._ranked.guard(self._guarded)
        self.list.on_choose(self._guarded(self._choose))
        self.list.on_pin(self._guarded(lambda unit: (self.unpin if unit in self._pins else self.pin)(unit)))
        self.charts.on_pick(self._guarded(self._picked))
        self._begin(self._ranked)

    @property
    def values(self) -> dict[int, float]:
        """The units that are set, and to what."""
        return dict(self._setting.values)

    @property
    def pinned(self) -> tuple[int, ...]:
        """Units that keep a slider when another one is chosen."""
        return tuple(self._pins)

    @property
    def unit(self) -> int:
        """The unit under the hand."""
        unit = self._setting.unit
        assert unit is not None
        return unit

    @unit.setter
    def unit(self, unit: int | str) -> None:
        self._choose(unit)

    def set(self, values: Mapping[int | str, float]) -> None:
        """Set units to values; those not under the hand get a slider of their own.

        Raises
        ------
        LisError : a unit that does not exist or never varied, a value that is not finite.

        Examples
        --------
        >>> explorer.set({17: 1.2, 3: 0.0})
        """
        chosen = checked_values(self.session.link, values)
        self._add_pins(u for u in chosen if u != self.unit)
        self._change(replace(self._setting, values=self._setting.values | chosen))

    def pin(self, unit: int | str) -> None:
        """Keep the slider of a unit when another one is chosen.

        Raises
        ------
        LisError : a unit that does not exist or never varied.
        """
        self._add_pins([self.session.link.varying_unit(unit)])
        self._arrange()

    def unpin(self, unit: int | str) -> None:
        """Give up the slider of a unit, which goes back to what it is in this sample unless it is under the hand.

        Raises
        ------
        LisError : a unit that does not exist or never varied.
        """
        index = self.session.link.varying_unit(unit)
        if index in self._pins:
            self._pins.remove(index)
            left = {u: v for u, v in self._setting.values.items() if u != index or u == self.unit}
            self._change(replace(self._setting, values=left))

    def open(
        self,
        setting: UnitSetting | None = None,
        *,
        r: Tensor | None = None,
        name: str = "",
        values: Mapping[int | str, float] | None = None,
        unit: int | str | None = None,
    ) -> None:
        """Show a setting, or values of units, from a start that is given by its activations r [R] or the present one.

        Without arguments it is ipywidgets' own `open`, which connects the widget to the browser.

        Raises
        ------
        LisError : a class, unit or value that the session does not have, activations of another shape.

        Examples
        --------
        >>> explorer.open(r=photograph_r, name="photograph 12", values={17: 1.2})
        """
        if setting is None and r is None and values is None and unit is None:
            super().open()
            return
        if setting is None:
            chosen = checked_values(self.session.link, values or {})
            hand = next(iter(chosen), self.unit) if unit is None else self.session.link.varying_unit(unit)
            setting = replace(self._setting, values=chosen, unit=hand)
            if r is not None:
                given: Any = r  # checked and made a tuple by the setting
                setting = replace(setting, r=given, r_name=name or "given activations")
        chosen = checked_values(self.session.link, setting.values)
        hand = next(iter(chosen), self.unit) if setting.unit is None else setting.unit
        hand = self.session.link.varying_unit(hand)
        if setting.which not in self.session.classes:
            raise LisError(
                f"there is no class {setting.which!r} to start from; choose one of {self.session.classes}."
            )
        self.session.start_of(setting)  # refused here, before anything has changed
        self._pins = [u for u in chosen if u != hand]
        self._go(replace(setting, values=chosen, unit=hand))

    def reset(self) -> None:
        """Set everything to what it is in this sample."""
        self._change(replace(self._setting, values={}))

    def code(self) -> str:
        """Return a cell of code that draws the present picture, without a widget."""
        return as_code(self._setting, self.session, outlines=bool(self.outlines.value))

    # From a control to a setting ---------------------------------------------------------------------------------

    def _choose(self, unit: int | str) -> None:
        """Take another unit under the hand, at the upper end of its range, so that one sees what it does."""
        index = self.session.link.varying_unit(unit)
        if index == self.unit:
            return
        values = {u: v for u, v in self._setting.values.items() if u in self._pins}
        if index not in values:
            values[index] = self.session.observed(index)[1]
        self._change(replace(self._setting, unit=index, values=values))

    def _picked(self, _: int, label: str) -> None:
        """Take the unit whose bar was clicked."""
        if label.startswith("unit "):
            self._choose(label)

    def _moved(self, values: Mapping[str, float]) -> None:
        chosen = {int(key): float(value) for key, value in values.items()}
        self._change(replace(self._setting, values=self._setting.values | chosen), hand=tuple(chosen))

    def _acted(self, key: str, action: str) -> None:
        unit = int(key)
        if action == "pin":
            self.pin(unit)
        elif action in ("unpin", "remove"):
            self.unpin(unit)
        elif action == "reset":
            left = {u: v for u, v in self._setting.values.items() if u != unit}
            self._change(replace(self._setting, values=left))

    def _add_pins(self, units: Any) -> None:
        self._pins += [u for u in units if u not in self._pins]

    def _return(self, setting: UnitSetting | None) -> None:
        if setting is not None:
            self._add_pins(u for u in setting.values if u != setting.unit)
        super()._return(setting)

    # From a setting to what is shown -----------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Bring sliders, list and origin to what the setting says."""
        super()._arrange()
        self.list.select(self.unit)
        self.list.mark_pinned(self._pins)

    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(u) for u in (self.unit, *(u for u in self._pins if u != self.unit))]

    def _row(self, unit: int) -> dict[str, Any]:
        seen_low, seen_high = self.session.observed(unit)
        low, high = self.session.limits(unit)
        own = None if self._start is None else float(self._start.r[unit])
        value = self._setting.values.get(unit, seen_high if own is None else own)
        reached = (
            [value] if own is None else [value, own]
        )  # by code, or in a photograph: maybe beyond the limits
        return {
            "key": str(unit),
            "label": f"unit {unit}",
            "low": min(low, *reached),
            "high": max(high, *reached),
            "seen_low": seen_low,
            "seen_high": seen_high,
            "own": own,
            "value": value,
            "digits": 2 if seen_high - seen_low >= 0.1 else 4,
            "pinned": unit in self._pins,
            "removable": unit != self.unit,
            "tooltip": f"activation of unit {unit}; over the link's pairs {seen_low:.3g} to {seen_high:.3g}",
        }

    def _render(self, setting: UnitSetting, outlines: bool) -> UnitState:
        return self.session.show(setting, outlines=outlines)

    def _film(self, setting: UnitSetting, outlines: bool) -> list[UnitState]:
        return walk_frames(self.session, setting, count=FILM_FRAMES, outlines=outlines)

    def _load_text(self, text: str) -> None:
        self.open(UnitSetting.from_json(text, self.session))

    def _figures(self) -> list[dict[str, Any]]:
        state, unit = self._state, self.unit
        if state is None:
            return []
        seen, over = self.session.observed(unit), self.session.distribution(unit)
        return [
            class_figure(state, self.scale.value),
            moved_figure(state),
            distribution_figure(unit, float(state.r_set[unit]), seen, over),
        ]

    def _stem(self) -> str:
        return f"unit-{self.unit}"
