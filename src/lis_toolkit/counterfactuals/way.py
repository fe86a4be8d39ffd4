"""One way to another class: its ends, the margin along it, where it crosses the boundary, and what to say of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..names import whole_number
from .paths import first_crossings, lines
from .result import START_IS_TARGET, Counterfactuals
from .setting import FARTHEST

__all__ = ["COURSE", "Way", "at_place"]

COURSE = (26, FARTHEST)  # places that the margin is drawn at, and the last of them


def at_place(result: Counterfactuals, place: float, row: int = 0) -> Tensor:
    """Return activations [R] at a place of a result's way: 0 its start, 1 its end, beyond that straight on.

    Examples
    --------
    >>> torch.equal(at_place(result, 0.0), result.r_start[0])
    True
    """
    return lines(result.r_start[row : row + 1], result.r_end[row : row + 1], torch.tensor([place]))[0, 0]


@dataclass(frozen=True, eq=False)
class Way:
    """A search for one start and target, and what is along it.

    Attributes
    ----------
    result : Counterfactuals of one row.
    classes : names of the K classes.
    amounts : [Q], places along the way, from 0 to 1.25.
    logits : [Q, K], of the pictures rendered there.
    margins, head_margins : [Q], the target's logit above the best other: of these pictures, and what the head says of
        the activations themselves, which a search that trusts in linearity goes by.
    shift_sd : [R], from start to end, in standard deviations of the units.
    """

    result: Counterfactuals
    classes: tuple[str, ...]
    amounts: Tensor
    logits: Tensor
    margins: Tensor
    head_margins: Tensor
    shift_sd: Tensor

    def _told(self, column: str):  # type: ignore[no-untyped-def]  # a cell of the table
        return self.result.table[column].iloc[0]

    @property
    def success(self) -> bool:
        """Whether the picture at the end is of the target class, by the margin that was asked for."""
        return bool(self._told("success"))

    @property
    def target(self) -> str:
        """The class that the way leads to; of "nearest" the one that was found."""
        return str(self._told("target"))

    @property
    def origin(self) -> str:
        """What the head says of the start."""
        return str(self._told("origin"))

    @property
    def crossing(self) -> float | None:
        """Place where the picture becomes the target's for the first time, between two that were rendered; or None."""
        return first_crossing(self.amounts, self.margins)

    @property
    def head_crossing(self) -> float | None:
        """Place where the head says so of the activations, or None."""
        return first_crossing(self.amounts, self.head_margins)

    @property
    def through(self) -> list[str]:
        """Classes that the pictures are of, from the start to the end of the way, in order."""
        seen = [self.classes[k] for k in self.logits[self.amounts <= 1].argmax(dim=1).tolist()]
        return [name for k, name in enumerate(seen) if k == 0 or name != seen[k - 1]]

    def carriers(self, count: int = 10) -> list[tuple[int, float, float]]:
        """Return (unit, shift in its standard deviations, share of the squared shift), those that carry most first.

        Raises
        ------
        LisError : a count that is no whole number.

        Examples
        --------
        >>> way.carriers(1)
        [(88, 1.92, 0.06)]
        """
        count = whole_number(count, "count", 1)
        squared = self.shift_sd.square()
        share = squared / squared.sum().clamp_min(1e-12)
        order = squared.argsort(descending=True, stable=True)[:count].tolist()
        return [(u, float(self.shift_sd[u]), float(share[u])) for u in order if float(squared[u])]

    def verdict(self) -> str:
        """Say in a sentence or two whether a way was found, and where it leads."""
        if self.success:
            seen = str(self._told("cycled"))
            start = self.origin if seen == self.origin else f"{self.origin}, seen as {seen} after the cycle,"
            return f"{start} to {self.target}: a way was found."
        reason = str(self._told("reason")).strip().rstrip(".")
        if reason == START_IS_TARGET:
            return (
                f"no way to find: the cycled start is seen as {self.target} already, so nothing has to change. "
                "Choose another target or another start."
            )
        return f"no way found: {reason}. The best point seen is shown at 1.00."

    def facts(self) -> list[tuple[str, str]]:
        """Return what is known of the way, as (what, how much), in words that fit beside each other."""
        tell, units = self._told, len(self.shift_sd)
        at, guess = (
            "not crossed" if place is None else f"at {place:.2f}"
            for place in (self.crossing, self.head_crossing)
        )
        facts = [
            ("margin", f"{tell('margin_start'):+.1f} to {tell('margin_end'):+.1f} logits"),
            ("boundary", f"{at}; linear head: {guess}"),
            ("through", ", ".join(self.through)),
            ("distance", f"{tell('distance_w'):.2f} in w, {tell('distance_r'):.2f} in r"),
            ("units", f"{tell('units_90'):.0f} of {units} carry 90% of the shift"),
            ("search", f"{tell('renders')} renders, {tell('steps')} steps, {tell('seconds'):.1f} s"),
        ]
        return facts + ([("way", str(tell("way")))] if tell("way") else [])


def first_crossing(amounts: Tensor, margins: Tensor) -> float | None:
    """Return where margins first rise above 0, straight between the two places beside it; None where they never do.

    Examples
    --------
    >>> first_crossing(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([-1.0, 1.0, 2.0]))
    0.25
    """
    if float(margins[0]) > 0:
        return float(amounts[0])
    place = float(first_crossings(amounts.double().numpy(), margins.double().numpy()[None])[0])
    return None if math.isnan(place) else place
