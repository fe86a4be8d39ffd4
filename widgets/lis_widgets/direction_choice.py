"""The left column of an explorer of directions: which family has sliders, and new combinations of units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from lis_toolkit.directions import DirectionFamilies, Directions
from lis_toolkit.directions.families import CLASSES, GIVEN, PRINCIPAL, UNITS
from lis_toolkit.explore import UnitSession

from .explorer_parts import button, close_tree, dropdown

MOST = 9  # sliders of a family before the others are asked for by name
HINTS = {
    PRINCIPAL: "The directions of activations that move the latent most, the strongest first; an amount of 1 is one "
    "standard deviation.",
    CLASSES: "From the mean of one class to that of another; an amount of 1 is the whole difference.",
    UNITS: "Several units at once, each by its weight times the amount.",
    GIVEN: "The directions that were given.",
}


class DirectionChoice(ipywidgets.VBox):
    """Dropdowns of families and their directions; for combinations, a form that makes a new one.

    Parameters
    ----------
    families : DirectionFamilies
    session : UnitSession
    react : called when other directions have sliders than before.
    combine : called with a name, or nothing, and the text of a combination of units.
    guard : makes of a function for a control one that tells errors in the widget.
    source : class that differences start from at first, if there are some of it.

    Attributes
    ----------
    family, source, more : ipywidgets.Dropdown
        The family; the class that differences start from; directions beyond the first of a family.
    unit, weight, typed, name : ipywidgets controls of the form.
    extra : list of str
        Directions that were asked for by name.

    Examples
    --------
    >>> choice = DirectionChoice(families, session, arrange, combine, explorer._guarded)
    >>> choice.names()
    """

    def __init__(
        self,
        families: DirectionFamilies,
        session: UnitSession,
        react: Callable[[], Any],
        combine: Callable[[str, str], Any],
        guard: Callable[[Callable[..., Any]], Callable[..., Any]],
        source: str = "",
    ) -> None:
        self.families = families
        self.extra: list[str] = []
        self._react, self._combine, self._guard = react, combine, guard
        self.family = dropdown("directions", list(families.names), "auto")
        sources = families.sources or ("",)
        self.source = dropdown("from", list(sources), "auto", "the class that the differences start from")
        if source in sources:
            self.source.value = source
        self.more = dropdown("add", [""], "auto", "another direction of this family")
        self.hint = ipywidgets.HTML()
        self.hint.add_class("lis-hint")
        self.form = self._make_form(session)
        # Narrower than a list of units: what is beside it must have room for sliders in one line.
        super().__init__(layout={"flex": "1 1 220px", "min_width": "0"})
        self._arrange()
        self.family.observe(guard(self._family_chosen), "value")
        self.source.observe(guard(self._family_chosen), "value")
        self.more.observe(guard(self._more_chosen), "value")

    def names(self) -> list[str]:
        """Return the directions of the family that have sliders; the others are asked for by name."""
        present = self._present()
        names = () if present is None else present.names
        return [*names[:MOST], *(name for name in self.extra if name in names[MOST:])]

    def show(self, family: str) -> None:
        """Go to a family, or show anew what it has."""
        if self.family.value == family:
            self._family_chosen()
        else:
            self.family.value = family

    def leave_out(self, name: str) -> None:
        """Take away the slider of a direction that was asked for by name."""
        self.extra = [extra for extra in self.extra if extra != name]
        self._arrange()

    def close(self) -> None:
        """End all controls, those that are not shown as well."""
        for name in ("family", "source", "more", "hint", "form"):
            part = getattr(self, name, None)  # one that is refused has none
            if part is not None:
                close_tree(part)
        super().close()

    def _make_form(self, session: UnitSession) -> ipywidgets.VBox:
        units = [(f"unit {u}, spread {session.spread(u):.2g}", u) for u in session.units]
        self.unit = dropdown(
            "unit", units, "auto", "sorted by spread: the standard deviation over the link's pairs"
        )
        look: dict[str, Any] = {"style": {"description_width": "auto"}, "layout": {"width": "auto"}}
        self.weight = ipywidgets.FloatText(
            value=1.0, description="weight", tooltip="in activation units, for an amount of 1", **look
        )
        self.typed = ipywidgets.Text(
            description="units",
            placeholder="17: 1, 40: -0.5",
            tooltip="units and their weights, to be made a direction",
            continuous_update=False,
            **look,
        )
        self.name = ipywidgets.Text(description="name", placeholder="combination 1", **look)
        add = button("Add the unit", "write unit and weight into the line below", self._guard(self._add_unit))
        make = button("Make the direction", "give the combination a slider", self._guard(self._make))
        return ipywidgets.VBox([self.unit, self.weight, add, self.typed, self.name, make])

    def _present(self) -> Directions | None:
        """Return the directions of the family that is chosen."""
        return self.families.family(self.family.value, self.source.value or None)

    def _arrange(self) -> None:
        """Show the controls of the family that is chosen."""
        family, present = self.family.value, self._present()
        self.hint.value = f"<div>{HINTS[family]}{_strengths(present)}</div>"
        shown = self.names()
        others = [name for name in ([] if present is None else present.names) if name not in shown]
        if others:
            with self.more.hold_trait_notifications():
                self.more.options = [
                    (f"{len(others)} more: choose one", ""),
                    *((name, name) for name in others),
                ]
                self.more.value = ""
        self.children = [
            self.family,
            *([self.source] if self.families.has_sources(family) else []),
            *([self.more] if others else []),
            self.hint,
            *([self.form] if family == UNITS else []),
        ]

    def _family_chosen(self, _: Any = None) -> None:
        self.extra = []
        self._arrange()
        self._react()

    def _more_chosen(self, _: Any) -> None:
        if self.more.value:
            self.extra.append(self.more.value)
            self._arrange()
            self._react()

    def _add_unit(self) -> None:
        text = self.typed.value.strip().rstrip(",")
        self.typed.value = f"{text}{', ' if text else ''}{self.unit.value}: {self.weight.value:g}"

    def _make(self) -> None:
        """Have the combination made; what was typed stays where it is refused."""
        self._combine(self.name.value.strip(), self.typed.value)
        self.typed.value = self.name.value = ""


def _strengths(directions: Directions | None) -> str:
    """Say how far each direction moves the latent, where that is known."""
    if directions is None or directions.strength is None:
        return ""
    known = ", ".join(f"{strength:.2f}" for strength in directions.strength[:MOST])
    return f"<br>How far an amount of 1 moves the latent w, in the order of the sliders: {known}."
