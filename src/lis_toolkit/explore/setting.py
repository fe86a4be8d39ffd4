"""What the controls of an explorer say: a start and the values of units, as plain data that can be saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import finite_number, whole_number

if TYPE_CHECKING:
    from .session import UnitSession

__all__ = ["UnitSetting"]


@dataclass(frozen=True)
class UnitSetting:
    """What the controls of an explorer say.

    Attributes
    ----------
    which, seed : class and number of the start.
    psi : truncation of a fresh sample; None takes the session's.
    r, r_name : [R] activations to start from in place of a class and a seed, and what they are; None and "" otherwise.
    values : unit -> value, those that are set, in their order.
    unit : the one under the hand, or None.
    companions : whether units that usually move with those that are set go along.

    Raises
    ------
    LisError : a seed, psi, value or unit that is no number of its kind.

    Examples
    --------
    >>> setting = UnitSetting(which="Coat", seed=3, values={17: 1.2}, unit=17)
    >>> session.show(setting).title
    'unit 17 at 1.20'
    """

    which: str
    seed: int = 0
    psi: float | None = None
    r: tuple[float, ...] | None = None
    r_name: str = ""
    values: dict[int, float] = field(default_factory=dict)
    unit: int | None = None
    companions: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.which, str) or not isinstance(self.r_name, str):
            raise LisError(
                f"which is {self.which!r} and r_name {self.r_name!r}; names of a class and of a start were expected."
            )
        if not isinstance(self.companions, bool):
            raise LisError(f"companions is {self.companions!r}; True or False was expected.")
        object.__setattr__(self, "seed", whole_number(self.seed, "seed", 0))
        if self.psi is not None:
            object.__setattr__(self, "psi", finite_number(self.psi, "psi", ", usually from 0 to 1"))
        if self.unit is not None:
            object.__setattr__(self, "unit", whole_number(self.unit, "unit", 0))
        if self.r is not None:
            object.__setattr__(self, "r", _activations(self.r))
        if not isinstance(self.values, Mapping):
            raise LisError(f"values are {self.values!r}; a mapping from units to values was expected.")
        values = {
            whole_number(unit, "a unit", 0): finite_number(value, f"the value of unit {unit}")
            for unit, value in self.values.items()
        }
        object.__setattr__(self, "values", values)

    def __eq__(self, other: object) -> bool:
        """Return whether both say the same, the order of the values included."""
        if not isinstance(other, UnitSetting):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        """Return a hash of all that is said."""
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = tuple(self.values.items())
        return (self.which, self.seed, self.psi, self.r, self.r_name, values, self.unit, self.companions)

    def to_json(self, session: UnitSession) -> str:
        """Return the setting as JSON text, with the identities of the models that it was made with.

        Raises
        ------
        LisError : a setting that the session can't show: unknown class or unit.

        Examples
        --------
        >>> UnitSetting.from_json(setting.to_json(session), session) == setting
        True
        """
        from .saved import setting_text

        return setting_text(self, session)

    @classmethod
    def from_json(cls, text: str, session: UnitSession) -> UnitSetting:
        """Return the setting that `to_json` described, after a check that it is whole and of the same models.

        Raises
        ------
        LisError : text that is damaged or no setting, of other models, with classes or units that there are not.

        Examples
        --------
        >>> setting = UnitSetting.from_json(Path("setting.json").read_text(), session)
        """
        from .saved import read_setting

        return read_setting(text, session)


def _activations(r: Any) -> tuple[float, ...]:
    values = r.tolist() if hasattr(r, "tolist") else r
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise LisError(f"r is {r!r}; a sequence of finite numbers was expected.")
    return tuple(finite_number(value, "an activation of r") for value in values)
