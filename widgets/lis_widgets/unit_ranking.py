"""The left column of an explorer: which units there are, in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from lis_toolkit.explore import UnitSession, unit_rows

from .explorer_parts import dropdown, flow
from .unit_list import UnitList

if TYPE_CHECKING:
    import pandas as pd

SPREAD = "(by spread)"
DIRECTIONS = {"either way": None, "more": "more", "less": "less"}


class UnitRanking(ipywidgets.VBox):
    """A `UnitList` by spread, or by what a ranking says of a part and a measure, chosen in dropdowns.

    Parameters
    ----------
    session : UnitSession
    ranking : DataFrame of `score_selectivity` or `rank_units`; None for the spread alone.

    Attributes
    ----------
    list : UnitList
    part, measure, class_name, direction : ipywidgets.Dropdown, or None without a ranking.

    Raises
    ------
    LisError
        A ranking that is none, or of units that the link does not have.
    """

    def __init__(self, session: UnitSession, ranking: pd.DataFrame | None = None) -> None:
        self.session, self.ranking = session, ranking
        self.list = UnitList()
        self._refresh: Callable[[], Any] = self.refresh
        self.part = self.measure = self.class_name = self.direction = None
        controls = []
        if ranking is not None:
            unit_rows(session, ranking)  # refuses what is no ranking, before its columns are read
            self.part = dropdown("part", [*_values(ranking, "part"), SPREAD], "100%")
            self.measure = dropdown("measure", _values(ranking, "measure"), "100%")
            self.direction = dropdown("change", list(DIRECTIONS), "100%", "units that raise or lower the measure")
            names = _values(ranking, "class")
            self.class_name = dropdown("class", sorted(names, key=lambda name: name != "all"), "100%")
            controls = [self.part, self.measure, self.direction]
            if len(names) > 1:
                controls.append(self.class_name)
            for control in controls:
                control.observe(lambda _: self._refresh(), "value")
        super().__init__([flow(*controls), self.list] if controls else [self.list])
        self.add_class("lis-ranking")
        self.refresh()

    def guard(self, guarded: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Have errors of a choice told by the explorer."""
        self._refresh = guarded(self.refresh)

    def refresh(self) -> None:
        """Fill the list with what the dropdowns say."""
        part = self.part and self.part.value
        if part in (None, SPREAD):
            self.list.set_rows(unit_rows(self.session), "by spread: standard deviation over the link's pairs")
            return
        rows = unit_rows(
            self.session,
            self.ranking,
            part=part,
            measure=self.measure.value,
            class_name=self.class_name.value,
            direction=DIRECTIONS[self.direction.value],
        )
        self.list.set_rows(rows, f"by effect on {part}: {self.measure.value} (orange)")


def _values(ranking: pd.DataFrame, column: str) -> list[str]:
    """Return the values of a column in the order in which they come up."""
    return [str(v) for v in dict.fromkeys(ranking[column])] if column in ranking else ["all"]
