"""What the controls of an explorer of counterfactuals say: a start, what is asked of it, a place along the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..explore.setting import UnitSetting
from ..names import finite_number, spelling_hint, whole_number

if TYPE_CHECKING:
    from .search import Method, Metric
    from .session import CounterfactualSession

__all__ = ["FARTHEST", "METHODS", "METRICS", "NEAREST", "CounterfactualSetting"]

METHODS: tuple[Method, ...] = (
    "latent",
    "closed_form",
    "paper",
)  # those that find_counterfactuals knows, as offered
METRICS: tuple[Metric, ...] = ("covariance", "euclidean", "sparse")
NEAREST = "nearest"
FARTHEST = 1.25  # place on a slider: a quarter of the way beyond its end


@dataclass(frozen=True, eq=False)
class CounterfactualSetting(UnitSetting):
    """What the controls of an explorer of counterfactuals say.

    Attributes
    ----------
    photograph : number of the photograph to start from in place of a class and a seed, or None.
    target : name of the class to be reached, or "nearest": the nearest other class.
    method, metric : of `find_counterfactuals`; the metric is that of "closed_form", and passed over by the others.
    place : along the way, 0 the cycled start, 1 the counterfactual, up to 1.25.

    Raises
    ------
    LisError : what UnitSetting refuses, an unknown method or metric, a place beyond the slider.

    Examples
    --------
    >>> setting = CounterfactualSetting("Coat", seed=3, target="Shirt", place=0.5)
    >>> session.show(setting).title
    '0.50 of the way to Shirt'
    """

    photograph: int | None = None
    target: str = NEAREST
    method: str = "latent"
    metric: str = "covariance"
    place: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.photograph is not None:
            number = whole_number(self.photograph, "the number of the photograph", 0)
            object.__setattr__(self, "photograph", number)
        if not isinstance(self.target, str):
            raise LisError(
                f"the target is {self.target!r}; the name of a class, or {NEAREST!r}, was expected."
            )
        _check_choice(self.method, "method", METHODS)
        _check_choice(self.metric, "metric", METRICS)
        place = finite_number(self.place, "the place along the way")
        if not 0 <= place <= FARTHEST:
            raise LisError(
                f"the place along the way is {place:g}; a number from 0 to {FARTHEST} was expected."
            )
        object.__setattr__(self, "place", place)

    @property
    def start(self) -> tuple[Any, ...]:
        """What says where it starts."""
        return (self.which, self.seed, self.psi, self.r, self.r_name, self.photograph)

    @property
    def question(self) -> tuple[Any, ...]:
        """What a search is asked: all but the place; settings that are equal in it have the same way."""
        metric = self.metric if self.method == "closed_form" else METRICS[0]
        return (*self.start, self.target, self.method, metric)

    def _key(self) -> tuple[Any, ...]:
        return (*self.question, self.metric, self.place)

    def to_json(self, session: CounterfactualSession) -> str:  # type: ignore[override]
        """Return the setting as JSON text, with the identities of the models that it was made with.

        Raises
        ------
        LisError : a setting that the session can't show: an unknown class, no such photograph.

        Examples
        --------
        >>> CounterfactualSetting.from_json(setting.to_json(session), session) == setting
        True
        """
        from .saved import setting_text

        return setting_text(self, session)

    @classmethod
    def from_json(cls, text: str, session: CounterfactualSession) -> CounterfactualSetting:  # type: ignore[override]
        """Return the setting that `to_json` described, after a check that it is whole and of the same models.

        Raises
        ------
        LisError : text that is damaged or no setting, of other models, with classes that there are not.

        Examples
        --------
        >>> setting = CounterfactualSetting.from_json(Path("setting.json").read_text(), session)
        """
        from .saved import read_setting

        return read_setting(text, session)


def _check_choice(given: Any, what: str, known: tuple[str, ...]) -> None:
    if given not in known:
        hint = spelling_hint(given, known) if isinstance(given, str) else ""
        raise LisError(f"the {what} is {given!r}; one of {', '.join(known)} was expected.{hint}")
