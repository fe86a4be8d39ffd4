"""The directions that an explorer offers, by where they come from; made when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import LisError
from ..link import Link
from ..names import class_index, spelling_hint
from ..pairs import Pairs
from .makers import class_directions, principal_directions, unit_combination
from .named import Directions

__all__ = [
    "CLASSES",
    "GIVEN",
    "PRINCIPAL",
    "UNITS",
    "DirectionFamilies",
    "join_directions",
    "read_combination",
]

PRINCIPAL, CLASSES, UNITS, GIVEN = "principal", "class differences", "combinations of units", "given"
MOST_PRINCIPAL = 12
PART = re.compile(r"(?:unit\s*)?(\d+)\s*(?:[:=x×*]\s*([-+−]?\s*[\d.]+(?:e[-+]?\d+)?))?", flags=re.IGNORECASE)


def join_directions(*directions: Directions) -> Directions:
    """Put directions of several kinds together, so that one move can go along all of them.

    Raises
    ------
    LisError : none at all, of different widths, or of a name twice.

    Examples
    --------
    >>> both = join_directions(principal_directions(link, 4), class_directions(pairs, source="Coat"))
    >>> session.move(start, both, {"principal 1": 2.0, "Coat to Shirt": 0.5})
    """
    if not directions:
        raise LisError("there are no directions to join; give at least one.")
    widths = sorted({one.vectors.shape[1] for one in directions})
    if len(widths) > 1:
        raise LisError(
            f"the directions are of {' and '.join(map(str, widths))} units; one link has as many as it has."
        )
    if len(directions) == 1:
        return directions[0]
    kinds = {one.kind for one in directions}
    return Directions(
        tuple(name for one in directions for name in one.names),
        torch.cat([one.vectors for one in directions]),
        tuple(value for one in directions for value in one.low),
        tuple(value for one in directions for value in one.high),
        kinds.pop() if len(kinds) == 1 else "several",
    )


def read_combination(text: str) -> dict[int, float]:
    """Read units and weights that were typed: "17: 1, 40: -0.5"; a weight that is left out is 1.

    Raises
    ------
    LisError : no unit, a unit twice, or what is neither.

    Examples
    --------
    >>> read_combination("unit 17, 40: -0.5")
    {17: 1.0, 40: -0.5}
    """
    found: dict[int, float] = {}
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        match = PART.fullmatch(part.strip())
        try:
            weight = float((match[2] or "1").replace("−", "-").replace(" ", "")) if match else None
        except ValueError:
            weight = None
        if match is None or weight is None:
            raise LisError(f"{part.strip()!r} is no unit with a weight; write them as in 17: 1, 40: -0.5.")
        unit = int(match[1])
        if unit in found:
            raise LisError(f"unit {unit} is given twice; give every unit once.")
        found[unit] = weight
    if not found:
        raise LisError("no units were given; write them with their weights, as in 17: 1, 40: -0.5.")
    return found


class DirectionFamilies:
    """Directions by family: principal ones of the link, class differences, combinations of units, and given ones.

    Parameters
    ----------
    link : Link
    given : Directions, or several, of the user's own; those of the kinds "principal" and "class" take the place of the
        built-in ones, those of the kind "units" come first among the combinations.
    pairs : Pairs, for class differences and for the range of the principal directions.
    r, labels, classes : activations [N, R] of labelled images, in place of pairs.

    Attributes
    ----------
    names : of the families that there are.
    sources : classes that differences can start from; empty where no images with labels are known.
    combinations : name -> unit -> weight, those made by `combine`.

    Raises
    ------
    LisError : given directions of another width or with equal names, labels that do not fit.

    Examples
    --------
    >>> families = DirectionFamilies(link, pairs=pairs)
    >>> families.family("class differences", "Coat").names[0]
    'Coat to T-shirt/top'
    """

    def __init__(
        self,
        link: Link,
        given: Directions | Iterable[Directions] | None = None,
        pairs: Pairs | None = None,
        r: Tensor | None = None,
        labels: Tensor | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.link = link
        self._made: dict[tuple[str, str], Directions] = {}
        self.combinations: dict[str, dict[int | str, float]] = {}
        if pairs is not None:
            r, labels, classes = pairs.r, pairs.labels, pairs.classes
        self._images = None if r is None or labels is None or classes is None else (r, labels, tuple(classes))
        self._pairs = pairs
        self.sources: tuple[str, ...] = ()
        if self._images is not None:
            known = torch.as_tensor(self._images[1]).unique().tolist()
            self.sources = tuple(self._images[2][k] for k in known) if len(known) > 1 else ()
        own = [given] if isinstance(given, Directions) else list(given or ())
        for one in own:
            if not isinstance(one, Directions):
                raise LisError(f"directions are of type {type(one).__name__}; Directions were expected.")
            if one.vectors.shape[1] != link.num_units:
                raise LisError(
                    f"the directions are of {one.vectors.shape[1]} units, the link has {link.num_units}: make them "
                    "from this link or its pairs."
                )
        by_kind: dict[str, list[Directions]] = {}
        for one in own:
            place = {"principal": PRINCIPAL, "class": CLASSES, "units": UNITS}.get(one.kind, GIVEN)
            by_kind.setdefault(place, []).append(one)
        self._own = "directions" if len(own) < 2 else "*directions"
        self._given = {name: join_directions(*several) for name, several in by_kind.items()}
        if own:
            join_directions(*own)  # refuses equal names
        self.names = tuple(
            name
            for name in (GIVEN, PRINCIPAL, CLASSES, UNITS)
            if name in self._given or name in (PRINCIPAL, UNITS) or (name == CLASSES and self.sources)
        )

    def has_sources(self, name: str) -> bool:
        """Return whether a family needs a class to start from."""
        return name == CLASSES and CLASSES not in self._given

    def family(self, name: str, source: str | None = None) -> Directions | None:
        """Return the directions of a family; None for combinations while there are none.

        Parameters
        ----------
        source : class that the differences start from; default: the first.

        Raises
        ------
        LisError : a family or a class that there is not, a link that moves nothing.
        """
        if name not in self.names:
            raise LisError(f"there is no family {name!r} of directions; there are {', '.join(self.names)}.")
        if name == UNITS:
            return self._units()
        if name in self._given:
            return self._given[name]
        if name == CLASSES:
            source = self.sources[
                class_index(self.sources[0] if source is None else source, self.sources, "they")
            ]
        key = (name, source if name == CLASSES and source is not None else "")
        if key not in self._made:
            self._made[key] = self._principal() if name == PRINCIPAL else self._classes(key[1])
        return self._made[key]

    def combine(self, name: str, weights: Mapping[int | str, float] | Mapping[int, float]) -> Directions:
        """Add a combination of units, or replace the one of this name.

        Raises
        ------
        LisError : a name that another direction has, units that do not exist or never varied, weights that are all 0.

        Examples
        --------
        >>> families.combine("wide sleeves", {17: 1.0, 40: -0.5})
        """
        name = str(name).strip()
        if name not in self.combinations and self._place(name) is not None:
            raise LisError(f"there is a direction {name!r} already; choose another name.")
        chosen: dict[int | str, float] = {unit: value for unit, value in weights.items()}
        made = unit_combination({name: chosen}, self.link)
        self.combinations[name] = {self.link.unit_index(unit): float(value) for unit, value in chosen.items()}
        return made

    def joined(self, names: Iterable[str]) -> Directions:
        """Return the named directions of any family as one.

        Raises
        ------
        LisError : a name that no direction has.
        """
        found = []
        for name in names:
            one = self._place(name)
            if one is None:
                raise LisError(f"there is no direction {name!r}.{spelling_hint(name, self._known_names())}")
            found.append(one[1].subset([name]))
        return join_directions(*found)

    def code(self, names: Iterable[str]) -> tuple[str, list[str]]:
        """Return an expression that makes the named directions, and the functions that it calls.

        It needs the variables `link`, `pairs` where they are known, and `directions` for given ones.

        Raises
        ------
        LisError : a name that no direction has.
        """
        parts: dict[str, str] = {}  # expression -> function, each once
        combined: dict[str, dict[int | str, float]] = {}
        for name in names:
            one = self._place(name)
            if one is None:
                raise LisError(f"there is no direction {name!r}.{spelling_hint(name, self._known_names())}")
            family, source = one[0]
            if name in self.combinations:
                combined[name] = self.combinations[name]
            elif family in self._given:
                parts[self._own] = ""
            elif family == PRINCIPAL:
                images = "" if self._images is None else f", {'pairs' if self._pairs is not None else 'r'}"
                parts[f"principal_directions(link, {len(one[1])}{images})"] = "principal_directions"
            else:
                images = "pairs" if self._pairs is not None else "r, labels, classes"
                parts[f"class_directions({images}, source={source!r})"] = "class_directions"
        if combined:
            parts[f"unit_combination({combined!r}, link)"] = "unit_combination"
        called = sorted({function for function in parts.values() if function})
        if len(parts) == 1 and "*directions" not in parts:
            return next(iter(parts)), called
        return f"join_directions({', '.join(parts)})", sorted({*called, "join_directions"})

    def _units(self) -> Directions | None:
        made = [] if UNITS not in self._given else [self._given[UNITS]]
        if self.combinations:
            made.append(unit_combination(self.combinations, self.link))
        return join_directions(*made) if made else None

    def _principal(self) -> Directions:
        """Return as many as there are, twelve at most."""
        images = None if self._images is None else self._images[0]
        standardised = self.link.A.double().cpu() * self.link.unit_std.double().cpu()
        rank = int(torch.linalg.matrix_rank(standardised, rtol=1e-5))
        return principal_directions(self.link, max(1, min(MOST_PRINCIPAL, rank)), images)

    def _classes(self, source: str) -> Directions:
        assert self._images is not None
        return class_directions(*self._images, source=source)

    def _place(self, name: str) -> tuple[tuple[str, str], Directions] | None:
        units = self._units()
        known = [((family, ""), one) for family, one in self._given.items() if family != UNITS]
        known += [((UNITS, ""), units)] if units is not None else []
        for key, one in [*known, *self._made.items()]:
            if name in one.names:
                return key, one
        return self._unmade(name)

    def _known_names(self) -> list[str]:
        units = self._units()
        made = [*self._given.values(), *self._made.values(), *([] if units is None else [units])]
        return [name for one in made for name in one.names]

    def _unmade(self, name: str) -> tuple[tuple[str, str], Directions] | None:
        """Make the family that a name is of, if there is one."""
        wanted = [(CLASSES, source) for source in self.sources if name.startswith(f"{source} to ")]
        wanted = wanted if self.has_sources(CLASSES) else []
        if name.startswith("principal ") and PRINCIPAL not in self._given:
            wanted.append((PRINCIPAL, ""))
        for family, source in wanted:
            made = self.family(family, source)
            if made is not None and name in made.names:
                return (family, source), made
        return None
