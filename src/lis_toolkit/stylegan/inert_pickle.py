"""Reading pickles without doing what they say: containers come back, everything else as an inert record.

A pickle is a program for a small stack machine, and the usual machine imports any name and calls it. This one knows
all operations and performs none that reach beyond its own stack: a name becomes a `Name`, a call or an instance a
`Record` of what would have been called with what. Large byte strings stay slices of the file, so what is not used
costs nothing. Every length is checked against what is left of the file, and the whole against the limits below.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan.inert_machine import Machine
from lis_toolkit.stylegan.inert_reader import LONG, MOST_NAME
from lis_toolkit.stylegan.inert_values import LatinBytes, LongText, Name, Record, describe, short

__all__ = ["LONG", "LatinBytes", "LongText", "Name", "Record", "describe", "read_pickle", "short"]

MOST_OPERATIONS = 3_000_000  # a snapshot whose discriminator holds two large networks takes 200,000
MOST_STACK = 250_000  # items, marks included


def read_pickle(
    data: memoryview,
    where: str,
    *,
    start: int = 0,
    base: int = 0,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    r"""Interpret one pickle of protocol 0 to 5 and return its value and where it ends.

    Parameters
    ----------
    data : bytes that hold the pickle, for instance of a memory-mapped file.
    where : the file's name, for messages.
    start : where in `data` the pickle begins.
    base : offset of `data` in the file, for messages.
    persistent : gives the value that stands for a persistent id; without it such ids are refused.

    Returns
    -------
    value, end : numbers, texts, None, tuples, lists, dictionaries and sets as they are; long byte strings as slices
        of `data`, long texts as `LongText`, names as `Name`, every call and instance as `Record`.

    Raises
    ------
    CheckpointError : the pickle is damaged, truncated, or beyond a limit; the message has the byte and the reason.

    Examples
    --------
    >>> read_pickle(memoryview(b"cos\nsystem\n(S'ls'\ntR."), "bad.pkl")
    (<inert os.system>, 21)
    """
    machine = Machine(data, where, start, base, persistent)
    try:
        return _run(machine), machine.position
    except CheckpointError:
        raise
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        machine.fail(f"it can't be read: {type(error).__name__}: {error}"[:300])


def _run(machine: Machine) -> Any:
    data, end = machine.data, len(machine.data)
    for count in range(MOST_OPERATIONS):
        machine.begin = machine.position
        if machine.begin >= end:
            machine.fail("the file ends before the pickle does: it is truncated")
        code = data[machine.begin]
        machine.position += 1
        if code == ord("."):
            value = machine.pop()
            if machine.stack or machine.marks:
                machine.fail("values are left on the stack at the end of the pickle")
            return value
        operation = _OPERATIONS.get(code)
        if operation is None:
            machine.fail(f"{code:#04x} is no operation of a pickle")
        operation(machine)
        if count % 256 == 0 and len(machine.stack) + len(machine.marks) > MOST_STACK:
            machine.fail(f"more than {MOST_STACK:,} values wait on the stack")
    machine.fail(f"the pickle has more than {MOST_OPERATIONS:,} operations")


def _refused(reason: str) -> Callable[[Machine], None]:
    return lambda machine: machine.fail(reason)


def _protocol(machine: Machine) -> None:
    if (version := machine.number(1)) > 5:
        machine.fail(f"protocol {version} is not known, expected 0 to 5")


def _container(kind: Callable[[], Any], cost: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.charge(cost)
        machine.push(kind())

    return operation


_EXTENSION = _refused("an extension code stands for a name that is not in the file")
_BUFFER = _refused("a buffer outside of the pickle is referred to")

_OPERATIONS: dict[int, Callable[[Machine], None]] = {
    code[0]: operation
    for code, operation in {
        b"\x80": _protocol,
        b"\x95": lambda m: m.check_frame(m.number(8)),
        b"I": lambda m: m.push(m.decimal(True)),
        b"L": lambda m: m.push(m.decimal(False)),
        b"J": lambda m: m.push(m.integer(4)),
        b"K": lambda m: m.push(m.number(1)),
        b"M": lambda m: m.push(m.number(2)),
        b"\x8a": lambda m: m.push(m.integer(m.number(1))),
        b"\x8b": lambda m: m.push(m.integer(m.number(4))),
        b"F": lambda m: m.push(m.real()),
        b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        b"N": lambda m: m.push(None),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"S": lambda m: m.push(m.quoted()),
        b"T": lambda m: m.push(m.latin(m.take(m.small(4)))),
        b"U": lambda m: m.push(m.latin(m.take(m.number(1)))),
        b"B": lambda m: m.push(m.own_bytes(m.take(m.number(4)))),
        b"C": lambda m: m.push(m.own_bytes(m.take(m.number(1)))),
        b"\x8e": lambda m: m.push(m.own_bytes(m.take(m.number(8)))),
        b"\x96": lambda m: m.push(m.own_bytes(m.take(m.number(8)))),
        b"V": lambda m: m.push(m.escaped()),
        b"X": lambda m: m.push(m.decode(m.take(m.number(4)))),
        b"\x8c": lambda m: m.push(m.decode(m.take(m.number(1)))),
        b"\x8d": lambda m: m.push(m.decode(m.take(m.number(8)))),
        b"]": _container(list, 64),
        b"}": _container(dict, 64),
        b")": _container(tuple, 8),
        b"\x8f": _container(set, 220),
        b"l": lambda m: m.collect(list),
        b"t": lambda m: m.collect(tuple),
        b"d": Machine.collect_dict,
        b"\x91": Machine.collect_frozenset,
        b"\x85": lambda m: m.make_tuple(1),
        b"\x86": lambda m: m.make_tuple(2),
        b"\x87": lambda m: m.make_tuple(3),
        b"a": lambda m: m.append_items([m.pop()]),
        b"e": lambda m: m.append_items(m.pop_mark()),
        b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
        b"u": lambda m: m.set_items(m.pop_mark()),
        b"\x90": Machine.add_items,
        b"(": Machine.mark,
        b"0": Machine.pop_or_mark,
        b"1": lambda m: m.pop_mark() and None,
        b"2": lambda m: m.push(m.top()),
        b"p": lambda m: m.put(m.index()),
        b"q": lambda m: m.put(m.number(1)),
        b"r": lambda m: m.put(m.number(4)),
        b"\x94": lambda m: m.put(len(m.memo)),
        b"g": lambda m: m.get(m.index()),
        b"h": lambda m: m.get(m.number(1)),
        b"j": lambda m: m.get(m.number(4)),
        b"c": lambda m: m.push(m.name_line()),
        b"\x93": Machine.stack_name,
        b"R": Machine.reduce,
        b"\x81": Machine.reduce,
        b"\x92": Machine.new_with_keywords,
        b"i": Machine.instance,
        b"o": Machine.instance_of_first,
        b"b": Machine.build,
        b"P": lambda m: m.persistent_value(m.line(MOST_NAME).decode("latin-1")),
        b"Q": lambda m: m.persistent_value(m.pop()),
        b"\x82": _EXTENSION,
        b"\x83": _EXTENSION,
        b"\x84": _EXTENSION,
        b"\x97": _BUFFER,
        b"\x98": _BUFFER,
    }.items()
}
