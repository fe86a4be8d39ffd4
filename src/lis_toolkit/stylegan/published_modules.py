"""Modules of published checkpoints: their attributes, weights and children, from inert records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan import inert_numbers
from lis_toolkit.stylegan.inert_pickle import Record, describe, short

PERSISTENT = "_reconstruct_persistent_obj"  # of torch_utils.persistence; forks move the module
_CONTENTS = ("_parameters", "_buffers", "_modules")
MOST_VISITS = 100_000


class Module:
    """A network or a layer as the checkpoint describes it: the dictionary of its attributes, never an object.

    Attributes
    ----------
    where, path : the file and the module's place in it, for messages.
    kind : its class, as the file calls it.
    state : its attributes.
    """

    def __init__(self, value: Any, where: str, path: str):
        self.where, self.path = where, path
        state, self.kind = None, "?"
        if isinstance(value, Record) and value.name.name == PERSISTENT:
            meta = value.args[0] if value.args else None
            if isinstance(meta, dict) and isinstance(meta.get("class_name"), str):
                state, self.kind = meta.get("state"), short(meta["class_name"])
        elif isinstance(value, Record) and value.state is not None:
            state, self.kind = value.state, short(value.name.name)
        if not isinstance(state, dict) and self.kind != "?":
            raise CheckpointError(
                f"{where}: {path} ({self.kind}) has {describe(state)} as its state, expected a dictionary"
            )
        if not isinstance(state, dict):
            raise CheckpointError(f"{where}: {path} is {describe(value)}, expected the record of a module")
        self.state: dict[Any, Any] = state
        for name in _CONTENTS:
            if not isinstance(state.get(name), dict):
                raise CheckpointError(
                    f"{where}: {path} has {describe(state.get(name))} as {name}, expected a dictionary"
                )

    def has(self, name: str) -> bool:
        """Say whether there is a child of this name."""
        return self.state["_modules"].get(name) is not None

    def child(self, name: str) -> Module:
        """Give a module inside of this one."""
        if not self.has(name):
            raise CheckpointError(f"{self.where}: {self.path} has no module {name!r}; {self.contents()}")
        return Module(self.state["_modules"][name], self.where, f"{self.path}.{name}")

    def contents(self) -> str:
        """Say which modules are there."""
        names = [short(name) for name in self.state["_modules"]]
        return f"it is a {self.kind} with {', '.join(names[:8]) or 'no modules'}{', ...' if len(names) > 8 else ''}"

    def weight(self, name: str) -> Any:
        """Give the inert record of a parameter or a buffer, or None."""
        value = self.state["_parameters"].get(name)
        return self.state["_buffers"].get(name) if value is None else value

    def find(self, name: str) -> Any:
        """Give the record of a parameter or a buffer from its dotted name."""
        module = self
        *path, last = name.split(".")
        for part in path:
            module = module.child(part)
        if module.weight(last) is None:
            raise CheckpointError(f"{self.where}: {module.path} has no {last}, which its architecture needs")
        return module.weight(last)

    def only(self, weights: Iterable[str], modules: Iterable[str]) -> None:
        """Refuse weights that nobody would use: the picture would be another one."""
        stored = {**self.state["_parameters"], **self.state["_buffers"]}
        weights, modules = set(weights), set(modules)
        surplus = [short(name) for name in stored if stored[name] is not None and name not in weights]
        for name, value in self.state["_modules"].items():
            if name not in modules and holds_weights(value):
                surplus.append(short(name))
        if surplus:
            raise CheckpointError(
                f"{self.where}: {self.path} ({self.kind}) also holds {', '.join(surplus[:8])}, which no generator of "
                "StyleGAN-XL or StyleGAN3 has: it is another network"
            )

    # --- attributes ---

    def attribute(self, name: str) -> Any:
        """Give an attribute as it is stored."""
        if name not in self.state:
            raise CheckpointError(f"{self.where}: {self.path} ({self.kind}) has no attribute {name}")
        return self.state[name]

    def _wrong(self, name: str, expected: str) -> CheckpointError:
        value = describe(self.state.get(name))
        return CheckpointError(f"{self.where}: {self.path}: {name} is {value}, expected {expected}")

    def whole(self, name: str) -> int:
        """Give an attribute that is a whole number."""
        value = inert_numbers.whole(self.attribute(name))
        if value is None:
            raise self._wrong(name, "a whole number")
        return value

    def real(self, name: str) -> float:
        """Give an attribute that is a finite number."""
        value = inert_numbers.real(self.attribute(name))
        if value is None or not math.isfinite(value):
            raise self._wrong(name, "a finite number")
        return value

    def flag(self, name: str) -> bool:
        """Give an attribute that is True or False."""
        value = inert_numbers.number(self.attribute(name))
        if not isinstance(value, bool):
            raise self._wrong(name, "True or False")
        return value

    def side(self, name: str) -> int:
        """Give a size that is stored as a number or as two equal ones."""
        value = self.attribute(name)
        sides = inert_numbers.numbers(value)
        found = [inert_numbers.whole(item) for item in ([value] if sides is None else sides)]
        if not found or len(found) > 2 or found[0] is None or found[0] != found[-1]:
            raise self._wrong(name, "one whole number, or two equal ones")
        return found[0]

    def agree(self, name: str, expected: int | float | list[int], must: bool = True) -> None:
        """Refuse an attribute that differs from what follows from the others."""
        if not must and name not in self.state:
            return
        value = self.attribute(name)
        if isinstance(expected, list):
            given: Any = inert_numbers.numbers(value)
            same = given is not None and [inert_numbers.whole(item) for item in given] == expected
        else:
            given = inert_numbers.real(value)
            same = given is not None and math.isclose(given, expected, rel_tol=1e-6)
        if not same:
            shown = describe(value) if given is None else given
            raise CheckpointError(
                f"{self.where}: {self.path}: {name} is {shown}, but {expected} follows from its other settings"
            )


def holds_weights(value: Any) -> bool:
    """Say whether a module, or one inside of it, has parameters or buffers; circles end where they began."""
    waiting: list[Any] = [value]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_VISITS:
        item = waiting.pop()
        if id(item) in seen or item is None:
            continue
        seen.add(id(item))
        if isinstance(item, Record) and item.name.name == PERSISTENT and item.args:
            item = item.args[0].get("state") if isinstance(item.args[0], dict) else None
        elif isinstance(item, Record):
            item = item.state
        if not isinstance(item, dict):
            return True  # not a module: refuse rather than guess
        for name in ("_parameters", "_buffers"):
            group = item.get(name)
            if not isinstance(group, dict) or any(value is not None for value in group.values()):
                return True
        children = item.get("_modules")
        waiting += list(children.values()) if isinstance(children, dict) else [children]
    return bool(waiting)
