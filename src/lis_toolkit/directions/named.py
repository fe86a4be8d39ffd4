"""Named directions in the space of activations, each with a range of amounts worth trying."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import LisError
from ..names import finite_number, spelling_hint

__all__ = ["Directions"]

AMOUNTS = {
    "principal": "standard deviations",
    "class": "of the difference of the means",
    "units": "times the combination",
}


@dataclass(frozen=True, eq=False)
class Directions:
    """Named directions in the space of activations: r' = r + amount * vector.

    Attributes
    ----------
    names : of the D directions, no two alike.
    vectors : float32 [D, R], in activation units for an amount of 1.
    low, high : D amounts each, the ends of a slider: from what to what an amount is worth trying.
    kind : where they come from: "principal", "class", "units" or another word.
    strength : D numbers, how far an amount of 1 moves the latent w, or None where nothing is known of it.

    Raises
    ------
    LisError : names that are missing or repeated, vectors of another shape, not finite or zero, ranges upside down.

    Examples
    --------
    >>> directions = Directions(("puffier",), vectors, low=(-1,), high=(1,), kind="units")
    >>> session.move(start, directions, {"puffier": 0.5})
    """

    names: tuple[str, ...]
    vectors: Tensor
    low: tuple[float, ...]
    high: tuple[float, ...]
    kind: str = "units"
    strength: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        given_names: Any = self.names
        if isinstance(given_names, str) or not isinstance(given_names, Sequence) or not given_names:
            raise LisError(f"names are {given_names!r}; at least one name was expected.")
        names = tuple(given_names)
        for name in names:
            if not isinstance(name, str) or not name.strip():
                raise LisError(f"a direction is called {name!r}; a name was expected.")
            if names.count(name) > 1:
                raise LisError(f"two directions are called {name!r}; give each a name of its own.")
        vectors = self.vectors
        if (
            not isinstance(vectors, Tensor)
            or not vectors.is_floating_point()
            or vectors.ndim != 2
            or len(vectors) != len(names)
            or vectors.shape[1] == 0
        ):
            given = (
                f"{vectors.dtype} {list(vectors.shape)}"
                if isinstance(vectors, Tensor)
                else type(vectors).__name__
            )
            raise LisError(
                f"vectors are {given}; a floating tensor [{len(names)}, R] was expected, one row a name."
            )
        vectors = vectors.detach().float().cpu().clone()
        if not bool(torch.isfinite(vectors).all()):
            raise LisError("vectors have NaN or infinite values; finite ones were expected.")
        still = [name for name, moves in zip(names, vectors.any(dim=1).tolist(), strict=True) if not moves]
        if still:
            raise LisError(f"direction {still[0]!r} is zero: it moves nothing; leave it out.")
        low, high = _numbers(self.low, "low", len(names)), _numbers(self.high, "high", len(names))
        for name, a, b in zip(names, low, high, strict=True):
            if not a < b:
                raise LisError(
                    f"direction {name!r} goes from {a:g} to {b:g}; a low below its high was expected."
                )
        for key, value in (("names", names), ("vectors", vectors), ("low", low), ("high", high)):
            object.__setattr__(self, key, value)
        if self.strength is not None:
            object.__setattr__(self, "strength", _numbers(self.strength, "strength", len(names)))

    def __len__(self) -> int:
        """Return the number of directions, D."""
        return len(self.names)

    @property
    def amounts(self) -> str:
        """What an amount counts, in words."""
        return AMOUNTS.get(self.kind, "")

    def index(self, name: str) -> int:
        """Return the place of a direction.

        Raises
        ------
        LisError : a name that there is not.

        Examples
        --------
        >>> directions.index("Coat to Shirt")
        4
        """
        if name not in self.names:
            listed = ", ".join(self.names[:12]) + (" ..." if len(self.names) > 12 else "")
            raise LisError(
                f"there is no direction {name!r}; there are {listed}.{spelling_hint(str(name), self.names)}"
            )
        return self.names.index(name)

    def vector(self, name: str) -> Tensor:
        """Return the change of r [R] for an amount of 1; a LisError for a name that there is not."""
        return self.vectors[self.index(name)]

    def subset(self, names: Iterable[str]) -> Directions:
        """Return some of the directions, in the order given.

        Raises
        ------
        LisError : a name that there is not, or none at all.

        Examples
        --------
        >>> directions.subset(["Coat to Shirt"]).names
        ('Coat to Shirt',)
        """
        places = [self.index(name) for name in names]
        return Directions(
            tuple(self.names[i] for i in places),
            self.vectors[places],
            tuple(self.low[i] for i in places),
            tuple(self.high[i] for i in places),
            self.kind,
            None if self.strength is None else tuple(self.strength[i] for i in places),
        )

    def largest_units(self, name: str, count: int = 8) -> list[tuple[int, float]]:
        """Return (unit, change for an amount of 1) of the units that a direction moves most, the largest first.

        Raises
        ------
        LisError : a name that there is not.

        Examples
        --------
        >>> directions.largest_units("Coat to Shirt", 2)
        [(203, -0.81), (17, 0.62)]
        """
        vector = self.vector(name)
        order = vector.abs().argsort(descending=True, stable=True)[:count].tolist()
        return [(unit, float(vector[unit])) for unit in order if float(vector[unit])]


def _numbers(values: object, what: str, count: int) -> tuple[float, ...]:
    listed = values.tolist() if isinstance(values, Tensor) else values
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise LisError(f"{what} is {values!r}; {count} numbers were expected.")
    numbers = tuple(finite_number(value, f"a value of {what}") for value in listed)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise LisError(f"{what} has {len(numbers)} values; {count} were expected, one for each direction.")
    return numbers
