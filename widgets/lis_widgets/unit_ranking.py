"""The left column of an explorer: which units there are, in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets

from lis_toolkit.explore import UnitSession, unit_rows

from .explorer_parts import close_tree, dropdown, flow
from .unit_list import UnitList

if TYPE_CHECKING:
    import pandas as pd

BY_SPREAD = "(by spread)"
SHARE = " of the picture"  # said once, above the list
WHOLE = ("picture", "foreground", "all")  # no parts in the narrow sense: offered last
DIRECTIONS: dict[str, Literal["more", "less"] | None] = {
    "both": None,
    "more": "more",
    "less": "less",
}


class UnitRanking(ipywidgets.VBox):
    """A `UnitList` by spread, or by what a ranking says of a part and a measure, chosen in dropdowns.

    Parameters
    ----------
    session : UnitSession
    ranking : DataFrame of `score_selectivity` or `rank_units`; None for the spread alone.

    Attributes
    ----------
    list : UnitList
    part, measure, direction, class_name : ipywidgets.Dropdown
        Only seen with a ranking; the last one if it has several classes.

    Raises
    ------
    LisError
        A ranking that is none.
    """

    def __init__(self, session: UnitSession, ranking: pd.DataFrame | None = None) -> None:
        self.session, self.ranking = session, ranking
        if ranking is not None:
            unit_rows(session, ranking)  # refuses what is no ranking, before its columns are read
        self.list = UnitList()
        self._react: Callable[[], Any] = self.refresh
        parts = sorted(self._values("part"), key=lambda name: name in WHOLE)
        classes = sorted(self._values("class"), key=lambda name: name != "all")
        self.part = dropdown("part", [*parts, BY_SPREAD], "100%")
        self.measure = dropdown("measure", self._values("measure", self.part.value), "100%")
        self.direction = dropdown("change", list(DIRECTIONS), "100%", "units that raise or lower the measure")
        tip = "class of the samples that the ranking was made from"
        self.class_name = dropdown("samples", classes, "100%", tip)
        controls = [self.part, self.measure, self.direction, *([self.class_name] if len(classes) > 1 else [])]
        self.part.observe(self._part_changed, "value")
        for control in controls[1:]:
            control.observe(lambda _: self._react(), "value")
        self._controls = controls
        super().__init__([self.list] if ranking is None else [flow(*controls), self.list])
        self.add_class("lis-ranking")
        self.refresh()

    def guard(self, guarded: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Have errors of a choice told by the explorer."""
        self._react = guarded(self.refresh)

    def refresh(self) -> None:
        """Fill the list with what the dropdowns say."""
        part, measure = self.part.value, self.measure.value
        if part == BY_SPREAD:
            self.list.set_rows(unit_rows(self.session), "by spread over the link's pairs")
            return
        rows = unit_rows(
            self.session,
            self.ranking,
            part=part,
            measure=measure,
            class_name=self.class_name.value,
            direction=DIRECTIONS[self.direction.value],
        )
        short = [replace(row, detail=row.detail.replace(SHARE, "")) for row in rows]
        told = f" (share{SHARE})" if any(SHARE in row.detail for row in rows) else ""
        self.list.set_rows(short, f"by effect on {part}: {measure}{told}")

    def close(self) -> None:
        """End the list and all dropdowns, those that are not shown as well."""
        for name in ("part", "measure", "direction", "class_name"):
            control = getattr(self, name, None)  # a ranking that is refused has none
            if control is not None:
                close_tree(control)
        super().close()

    def _part_changed(self, _: Any) -> None:
        """Offer the measures that the part has; the present one stays where it can."""
        measures, present = self._values("measure", self.part.value), self.measure.value
        with self.measure.hold_trait_notifications():
            self.measure.options = measures
            self.measure.value = present if present in measures else next(iter(measures), None)
        self._react()

    def _values(self, column: str, part: str | None = None) -> list[str]:
        """Return the values of a column in the order in which they come up, of one part or all."""
        rows = self.ranking
        if rows is None:
            return []
        if part is not None:
            rows = rows[rows["part"] == part]
        return [str(v) for v in dict.fromkeys(rows[column])]
