"""Whether models, pairs and values belong together: asked once, when a session begins, or of what a user typed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..files import sha256_tensors
from ..link import Link
from ..pairs import Pairs, check_models
from ..stylegan import Generator

__all__ = ["Values", "checked_hashes", "checked_values", "finite_value", "start_classes"]

# Callers have dicts of one kind of key; a Mapping's keys do not vary with their type.
Values = Mapping[int | str, float] | Mapping[int, float] | Mapping[str, float]


def checked_hashes(
    generator: Generator, classifier: Classifier, link: Link, pairs: Pairs | None, companions: Tensor | None
) -> dict[str, str]:
    """Return the identities of models, link, pairs and companions after a check that they belong together.

    Raises
    ------
    LisError : models or pairs that the link was not fitted for, no pairs.

    Examples
    --------
    >>> checked_hashes(generator, classifier, link, None, None)["link"]
    """
    check_models(generator, classifier, same_classes=False)
    known = {
        kind: SimpleNamespace(name=model.name, hash=model.hash)
        for kind, model in (("generator", generator), ("classifier", classifier))
    }  # hashed once: that of a large model takes a second
    link.check(**known)
    hashes = {kind: model.hash for kind, model in known.items()}
    hashes["link"] = sha256_tensors({"A": link.A, "b": link.b})
    if pairs is not None:
        for kind, model in known.items():
            if getattr(pairs, f"{kind}_hash") != model.hash:
                raise LisError(
                    f"the pairs were collected with another {kind} than {model.name!r}: collect them again."
                )
        if len(pairs) == 0:
            raise LisError("the pairs are empty; leave them out to start from fresh samples.")
        hashes["pairs"] = sha256_tensors({"r": pairs.r, "labels": pairs.labels})
    if companions is not None:
        hashes["companions"] = sha256_tensors({"directions": companions})
    return hashes


def start_classes(
    generator: Generator, classifier: Classifier, link: Link, pairs: Pairs | None
) -> tuple[tuple[str, ...], Sequence[int]]:
    """Return the names of all classes, and the indices of those that a start can be of.

    These are the classes of the pairs; without pairs those that the link's own were collected of, where the link
    knows them, or all.

    Examples
    --------
    >>> start_classes(generator, classifier, link, None)[1]
    [4, 6]
    """
    if pairs is not None:
        return pairs.classes, [int(k) for k in pairs.labels.unique().tolist()]
    # Starts are asked of the generator by its own classes; without them, a class is a name and no more.
    names = generator.classes or classifier.classes or ("any",)
    origin = link.provenance.get("pairs")
    chosen = origin.get("chosen") if isinstance(origin, dict) and generator.c_dim else None
    if link.classes != names or not isinstance(chosen, list):
        return names, range(len(names))
    # From a file: whatever is no class is left out.
    own = sorted({k for k in chosen if type(k) is int and 0 <= k < len(names)})
    return names, own or range(len(names))


def checked_values(link: Link, values: Values) -> dict[int, float]:
    """Return unit -> value after a check.

    Raises
    ------
    LisError : no mapping, a unit that does not exist, never varied or comes twice, a value that is not finite.

    Examples
    --------
    >>> checked_values(link, {"unit 17": 1})
    {17: 1.0}
    """
    given: Any = values
    if not isinstance(given, Mapping):
        raise LisError(f"values are {given!r}; a mapping from units to values was expected: {{17: 1.2}}.")
    chosen: dict[int, float] = {}
    for unit, value in given.items():
        index = link.varying_unit(unit)
        if index in chosen:
            raise LisError(f"unit {index} is given twice ({unit!r}); give every unit once.")
        chosen[index] = finite_value(value, f"unit {index}")
    return chosen


def finite_value(value: Any, what: str) -> float:
    """Return a number that float32 can hold, or say what was given.

    Raises
    ------
    LisError : anything else.

    Examples
    --------
    >>> finite_value("1.5", "unit 17")
    1.5
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or abs(number) > torch.finfo(torch.float32).max:
        raise LisError(f"the value of {what} is {value!r}; a finite number was expected.")
    return number
