"""The stack machine behind `inert_pickle`: it fills containers, and describes every call without making it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lis_toolkit.stylegan.inert_reader import MOST_NAME, Reader
from lis_toolkit.stylegan.inert_values import UNNAMED, LatinBytes, LongText, Name, Record, describe

MOST_MEMO = 500_000  # values; large snapshots remember 40,000
_ATOMS = (str, bytes, bool, int, float, type(None), Name, Record)
_BUILTINS = ("builtins", "__builtin__")
_DICTS = {
    Name("collections", "OrderedDict"),
    Name("collections", "defaultdict"),
}  # and EasyDict of any module
_SEQUENCES: dict[Name, Callable[[Any], Any]] = {Name("torch", "Size"): tuple}
for _module in _BUILTINS:
    _DICTS.add(Name(_module, "dict"))
    _SEQUENCES |= {Name(_module, kind.__name__): kind for kind in (list, tuple, set, frozenset)}
_BYTES = {Name(module, name) for module in _BUILTINS for name in ("bytes", "bytearray")}
_ENCODE = Name("_codecs", "encode")
_NEW = {Name(module, "__newobj__") for module in ("copyreg", "copy_reg")}
_RECONSTRUCT = {Name(module, "_reconstructor") for module in ("copyreg", "copy_reg")}


class Machine(Reader):
    """A stack, a memo and a place in the file; every length and every object is checked as it comes."""

    def __init__(
        self,
        data: memoryview,
        where: str,
        start: int,
        base: int,
        persistent: Callable[[Any], Any] | None,
    ):
        super().__init__(data, where, start, base)
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    # --- the stack ---

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value."""
        if not self.stack:
            self.fail("a value is taken from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        """Look at the last value."""
        if not self.stack:
            self.fail("a value is needed, but the stack is empty")
        return self.stack[-1]

    def mark(self) -> None:
        """Start a new group of values."""
        self.charge(64)
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Take the values since the last mark."""
        if not self.marks:
            self.fail("values since a mark are taken, but there is no mark")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop_or_mark(self) -> None:
        """Drop the last value, or an empty group."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def put(self, index: int) -> None:
        """Remember the last value."""
        if len(self.memo) >= MOST_MEMO:
            self.fail(f"more than {MOST_MEMO:,} values are remembered")
        self.charge(100)
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self.memo:
            self.fail(f"value {index} of the memo is used, but was never put there")
        self.push(self.memo[index])

    # --- containers ---

    def key(self, value: Any) -> Any:
        """Refuse keys that have no hash, or one that can be chosen to collide."""
        parts = value if type(value) is tuple and len(value) <= 16 else (value,)
        for part in parts:
            if type(part) not in _ATOMS:
                self.fail(f"a key is {describe(value)}, expected a text or a number")
            if type(part) is int and part.bit_length() > 63:
                self.fail(f"a key is {describe(part)}, expected 63 bits at most")
        return value

    def make_tuple(self, size: int) -> None:
        """Make a tuple of the last values."""
        if len(self.stack) < size:
            self.fail(f"a tuple of {size} is made of a stack of {len(self.stack)}")
        self.charge(48 + 8 * size)
        items = tuple(self.stack[len(self.stack) - size :])
        del self.stack[len(self.stack) - size :]
        self.push(items)

    def collect(self, kind: Callable[[Any], Any]) -> None:
        """Make a container of the values since the mark."""
        items = self.pop_mark()
        self.charge(64 + 8 * len(items))
        self.push(kind(items))

    def collect_dict(self) -> None:
        """Make a dictionary of the values since the mark."""
        items = self.pop_mark()
        self.charge(64)
        self.push({})
        self.set_items(items)

    def collect_frozenset(self) -> None:
        """Make a frozen set of the values since the mark."""
        items = self.pop_mark()
        self.charge(220 + 64 * len(items))
        self.push(frozenset(map(self.key, items)))

    def append_items(self, items: list[Any]) -> None:
        """Append to the list on the stack, or note it in a record."""
        target = self.top()
        self.charge(16 * len(items))
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Record):
            if target.items is None:
                target.items = []
            target.items.extend(items)
        else:
            self.fail(f"items are appended to {describe(target)}, expected a list")

    def set_items(self, items: list[Any]) -> None:
        """Set keys of the dictionary on the stack, or note them in a record."""
        target = self.top()
        if len(items) % 2:
            self.fail("a key has no value")
        self.charge(64 * len(items))
        if isinstance(target, dict):
            for i in range(0, len(items), 2):
                target[self.key(items[i])] = items[i + 1]
        elif isinstance(target, Record):
            if target.pairs is None:
                target.pairs = []
            target.pairs.extend((items[i], items[i + 1]) for i in range(0, len(items), 2))
        else:
            self.fail(f"keys are set in {describe(target)}, expected a dictionary")

    def add_items(self) -> None:
        """Add the values since the mark to a set."""
        items = self.pop_mark()
        target = self.top()
        self.charge(64 * len(items))
        if not isinstance(target, set):
            self.fail(f"items are added to {describe(target)}, expected a set")
        target.update(map(self.key, items))

    # --- names, calls and instances: described, never done ---

    def name(self, module: Any, name: Any) -> None:
        """Put a name on the stack."""
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MOST_NAME:
            self.fail(f"a name is {describe(module)} and {describe(name)}, expected two short texts")
        self.charge(64)
        self.push(Name(module, name))

    def stack_name(self) -> None:
        """Make a name of two texts."""
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def reduce(self) -> None:
        """Describe a call, or a new instance."""
        args, function = self.pop(), self.pop()
        self.call(function, args)

    def new_with_keywords(self) -> None:
        """Describe a new instance with keywords."""
        keywords, args, kind = self.pop(), self.pop(), self.pop()
        if not isinstance(keywords, dict):
            self.fail(f"keywords are {describe(keywords)}, expected a dictionary")
        self.call(kind, args)
        if isinstance(self.top(), Record) and keywords:
            self.top().pairs = list(keywords.items())

    def instance(self) -> None:
        """Describe an instance of a class written as two lines."""
        name = self.name_line()
        self.call(name, tuple(self.pop_mark()))

    def instance_of_first(self) -> None:
        """Describe an instance of the first value since the mark."""
        items = self.pop_mark()
        if not items:
            self.fail("an instance has no class")
        self.call(items[0], tuple(items[1:]))

    def call(self, function: Any, args: Any) -> None:
        """Push the container that is meant, when it is one of the few known, or else a record."""
        if not isinstance(args, tuple):
            self.fail(f"arguments are {describe(args)}, expected a tuple")
        self.charge(120)
        value = self.container(function, args) if isinstance(function, Name) else None
        if value is None:
            name = function if isinstance(function, Name) else UNNAMED
            value = Record(name, args, offset=self.base + self.begin)
        self.push(value)

    def container(self, name: Name, args: tuple[Any, ...]) -> Any:
        """Make a plain container or bytes, or None when the call is not one of those."""
        if name in _NEW and args and isinstance(args[0], Name):
            return self.container(args[0], args[1:])
        if name in _RECONSTRUCT and len(args) == 3 and isinstance(args[0], Name):
            plain = isinstance(args[2], (dict, list, set))
            return self.container(args[0], ()) if args[2] is None or not plain else args[2]
        first = args[0] if args else ()
        if name in _DICTS or name.name == "EasyDict":
            return {} if not args or name.name == "defaultdict" else self.pairs(first)
        if name in _SEQUENCES and isinstance(first, (list, tuple, set, frozenset)) and len(args) < 2:
            self.charge(220 + 64 * len(first))
            hashed = _SEQUENCES[name] in (set, frozenset)
            return _SEQUENCES[name](map(self.key, first) if hashed else first)
        if name in _BYTES and not args:
            return b""
        if name in _BYTES and isinstance(first, (bytes, memoryview, LatinBytes)):
            return first
        if (name == _ENCODE or name in _BYTES) and len(args) == 2 and args[1] in ("latin1", "latin-1"):
            if isinstance(first, LongText):
                return LatinBytes(first)
            if isinstance(first, str) and max(first, default="") < "\u0100":
                self.charge(64 + len(first))
                return first.encode("latin-1")
        return None

    def pairs(self, items: Any) -> dict[Any, Any] | None:
        """Make a dictionary of pairs, or None."""
        if isinstance(items, dict):
            items = list(items.items())
        if not isinstance(items, (list, tuple)):
            return None
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
            return None
        self.charge(64 * len(items))
        return {self.key(key): value for key, value in items}

    def build(self) -> None:
        """Note the state of a record."""
        state, target = self.pop(), self.top()
        if isinstance(target, Record):
            if target.state is not None:
                self.fail(f"{target!r} is given its state twice")
            target.state = state
        elif not isinstance(target, (dict, list, set)):  # attributes of a container say nothing here
            self.fail(f"a state is given to {describe(target)}, expected an instance")

    def persistent_value(self, key: Any) -> None:
        """Put on the stack what stands for a persistent id."""
        if self.persistent is None:
            self.fail("a persistent id refers to something outside of the pickle")
        self.charge(200)
        self.push(self.persistent(key))
