"""A sample moved along named directions: what the controls say, what it shows, and the code that shows it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..directions import DirectionFamilies
from ..errors import LisError
from ..names import finite_number, whole_number
from .code import as_code
from .setting import UnitSetting
from .state import UnitState

if TYPE_CHECKING:
    from .session import UnitSession

__all__ = ["DirectionSetting", "direction_code", "made_of", "show_along"]


@dataclass(frozen=True, eq=False)
class DirectionSetting(UnitSetting):
    """What the controls of an explorer of directions say: a start, and how far it is moved along which directions.

    Attributes
    ----------
    amounts : direction -> amount; those that are 0 are left out.

    Raises
    ------
    LisError : what UnitSetting refuses, an amount that is not finite.

    Examples
    --------
    >>> show_along(session, DirectionSetting("Coat", seed=3, amounts={"Coat to Shirt": 0.5}), families).title
    'Coat to Shirt at +0.5'
    """

    amounts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.amounts, Mapping):
            raise LisError(
                f"amounts are {self.amounts!r}; a mapping from directions to amounts was expected."
            )
        amounts = {str(name): finite_number(a, f"the amount of {name}") for name, a in self.amounts.items()}
        object.__setattr__(self, "amounts", {name: amount for name, amount in amounts.items() if amount != 0})

    def _key(self) -> tuple[Any, ...]:
        return (*super()._key(), tuple(self.amounts.items()))


def show_along(
    session: UnitSession, setting: DirectionSetting, families: DirectionFamilies, outlines: bool = False
) -> UnitState:
    """Return what a setting shows: its start moved along all its directions at once.

    Raises
    ------
    LisError : a direction that there is not, and what `UnitSession.start_of` and `move` refuse.

    Examples
    --------
    >>> state = show_along(session, DirectionSetting("Coat", amounts={"principal 1": 2.0}), families)
    """
    start = session.start_of(setting)
    if not setting.amounts:
        return session.tune(start, {}, outlines=outlines)
    return session.move(start, families.joined(setting.amounts), setting.amounts, outlines=outlines)


def made_of(
    families: DirectionFamilies, amounts: Mapping[str, float], count: int = 10
) -> list[tuple[int, float]]:
    """Return (unit, change) of the units that a move changes most, in activation units, the largest first.

    A principal direction's change is its weight times the unit's standard deviation.

    Parameters
    ----------
    amounts : direction -> amount; all changes are added.
    count : of the units, at most; those that are not changed at all are left out.

    Raises
    ------
    LisError : a direction that there is not, a count that is no whole number.

    Examples
    --------
    >>> made_of(families, {"Coat to Shirt": 1.0})[0]
    (88, 1.31)
    """
    count = whole_number(count, "count", 1)
    if not amounts:
        return []
    directions = families.joined(amounts)
    change = sum(finite_number(a, name) * directions.vector(name) for name, a in amounts.items())  # [R]
    order = change.abs().argsort(descending=True, stable=True)[:count].tolist()  # type: ignore[union-attr]
    return [(unit, float(change[unit])) for unit in order if float(change[unit])]  # type: ignore[index]


def direction_code(
    setting: DirectionSetting, session: UnitSession, families: DirectionFamilies, outlines: bool = False
) -> str:
    """Return a cell that shows what a setting shows, from variables `generator`, `classifier` and `link`.

    Raises
    ------
    LisError : a direction that there is not.

    Examples
    --------
    >>> print(direction_code(DirectionSetting("Coat", amounts={"principal 1": 2.0}), session, families))
    """
    unset = UnitSetting(setting.which, setting.seed, setting.psi, setting.r, setting.r_name)
    code = as_code(unset, session, outlines)
    if not setting.amounts:
        return code
    expression, functions = families.code(setting.amounts)
    beginning, _, end = code.partition("state = session.tune(start, {}")
    if functions:
        beginning = beginning.replace(
            "from lis_toolkit import UnitSession",
            f"from lis_toolkit import UnitSession\nfrom lis_toolkit.directions import {', '.join(functions)}",
        )
    moved = f"state = session.move(start, directions, {setting.amounts!r}"
    made = "" if expression == "directions" else f"directions = {expression}\n"
    return f"{beginning}{made}{moved}{end}"
