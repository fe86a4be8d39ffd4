"""Tensors of inert records: sizes checked against the storage, bytes copied only when a tensor is asked for.

Two layouts are read. A *legacy* one is a row of pickles (magic number, protocol, system, object, keys) and then, for
each key, a count and the raw bytes; it is also what sits in `torch.storage._load_from_bytes` calls of plain pickles.
The *zip* layout keeps the object in `data.pkl` and each storage in an entry of its own. Everything goes through
`read_pickle`; torch itself reads nothing.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan.inert_pickle import LatinBytes, Name, Record, describe, read_pickle
from lis_toolkit.stylegan.stored_zip import stored_entries

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the legacy layout
LEGACY_PROTOCOL = 1001
MOST_DIMENSIONS = 8
MOST_COPIES = 4  # times the file's size: more comes from tensors that share a storage only

STORAGES = {  # under "torch" in all files we know of; newer ones may say "torch.storage"
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
_STORAGE_MODULES = ("torch", "torch.storage")
_LOAD = Name("torch.storage", "_load_from_bytes")
_STORED = Name("torch.storage", "persistent id")  # ours: a storage of a torch.save file
_REBUILD = {
    Name("torch._utils", "_rebuild_tensor"): 4,
    Name("torch._utils", "_rebuild_tensor_v2"): 6,
    Name("torch._utils", "_rebuild_tensor_v3"): 7,
}  # and how many arguments each takes at least
_PARAMETER = {
    Name("torch._utils", "_rebuild_parameter"),
    Name("torch._utils", "_rebuild_parameter_with_state"),
}
_FROM_TYPE = Name("torch._tensor", "_rebuild_from_type_v2")


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage: its dtype and its bytes, most often a slice of the file."""

    dtype: torch.dtype
    data: memoryview

    @property
    def count(self) -> int:
        """Numbers in it."""
        return len(self.data) // self.dtype.itemsize


class CheckpointFile:
    """The content of a pickle or of a `torch.save` file, as inert values, and tensors on request.

    Attributes
    ----------
    where : the file's name, for messages.
    value : what the file holds, see `read_pickle`.

    Examples
    --------
    >>> file = CheckpointFile("network.pkl")
    >>> file.tensor(file.value["weight"], "weight").shape
    """

    def __init__(self, path: str | Path):
        self.where = str(path)
        data = map_file(path)
        self._raw: dict[str, memoryview] = {}
        self._left = MOST_COPIES * len(data) + 2**20  # bytes that may still be copied
        if data[:4] == b"PK\x03\x04":
            self.value, self._raw = _read_saved(data, self.where)
            return
        self.value, end = read_pickle(data, self.where)
        if isinstance(self.value, int) and self.value == MAGIC:
            self.value, self._raw = _read_saved(data, self.where)
        elif end != len(data):
            raise CheckpointError(
                f"{self.where}: byte {end}: {len(data) - end} bytes follow the end of the pickle, expected none"
            )

    def tensor(self, value: Any, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Copy a tensor of floating-point numbers out of the file.

        Parameters
        ----------
        value : the inert record of the tensor.
        name : for messages.
        shape : what it has to be; nothing is copied otherwise.

        Raises
        ------
        CheckpointError : no tensor, another shape, whole numbers, or sizes that its storage can't fill.
        """
        args = self._rebuilt(value, name)
        source, offset, size, stride = args[:4]
        size, stride = self._sizes(size, f"{name}: size"), self._sizes(stride, f"{name}: stride")
        (offset,) = self._sizes((offset,), f"{name}: offset")
        if shape is not None and size != tuple(shape):
            raise CheckpointError(f"{self.where}: {name} has {list(size)}, expected {list(shape)}")
        if len(size) != len(stride):
            raise CheckpointError(f"{self.where}: {name} has {len(size)} sizes and {len(stride)} strides")
        storage = self._storage(source, name)
        if len(args) > 6 and isinstance(args[6], Name):  # an untyped storage, and the dtype beside it
            dtype = DTYPES.get(args[6].name)
            storage = Storage(dtype or torch.uint8, storage.data)
        if not storage.dtype.is_floating_point:
            kind = str(storage.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{self.where}: {name} holds {kind} values, expected floating-point numbers"
            )
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
        if count > storage.count or last >= storage.count:
            raise CheckpointError(
                f"{self.where}: {name} is a view of {list(size)} with strides {list(stride)} from {offset} on, but its "
                f"storage has {storage.count} numbers"
            )
        if count == 0:
            return torch.empty(size, dtype=storage.dtype)
        item = storage.dtype.itemsize
        self._left -= (last + 1 - offset) * item
        if self._left < 0:
            raise CheckpointError(
                f"{self.where}: its tensors up to {name} ask for more than {MOST_COPIES} times what the file holds: "
                "they share their storages"
            )
        flat = torch.empty(last + 1 - offset, dtype=storage.dtype)
        flat.view(torch.uint8).numpy()[:] = np.frombuffer(
            storage.data[offset * item : (last + 1) * item], np.uint8
        )
        return flat.as_strided(size, stride).contiguous()

    def shape(self, value: Any, name: str) -> tuple[int, ...]:
        """Give the shape of a tensor without looking at its numbers."""
        return self._sizes(self._rebuilt(value, name)[2], f"{name}: size")

    def _rebuilt(self, value: Any, name: str) -> tuple[Any, ...]:
        """Give what a tensor would be rebuilt from: storage, offset, sizes, strides and more."""
        rebuilt = _unwrap(value)
        least = _REBUILD.get(rebuilt.name) if rebuilt else None
        if rebuilt is None or least is None or len(rebuilt.args) < least:
            raise CheckpointError(f"{self.where}: {name} is {describe(value)}, expected a tensor")
        return rebuilt.args

    def _sizes(self, values: Any, name: str) -> tuple[int, ...]:
        if not isinstance(values, (tuple, list)) or len(values) > MOST_DIMENSIONS:
            raise CheckpointError(f"{self.where}: {name} is {describe(values)}, expected a few whole numbers")
        for value in values:
            if type(value) is not int or not 0 <= value < 2**40:
                raise CheckpointError(
                    f"{self.where}: {name} has {describe(value)}, expected whole numbers from 0 to 2^40"
                )
        return tuple(values)

    def _storage(self, value: Any, name: str) -> Storage:
        raw, where = self._raw, f"{self.where}: the storage of {name}"
        if isinstance(value, Record) and value.name == _LOAD and len(value.args) == 1:
            value, raw = _read_saved(_buffer(value.args[0], where), where)
        if not isinstance(value, Record) or value.name != _STORED:
            raise CheckpointError(f"{where} is {describe(value)}, expected a torch storage")
        dtype, key, count = value.args
        if key not in raw:
            raise CheckpointError(f"{where} is under key {key!r:.80}, which the file does not have")
        if len(raw[key]) != count * dtype.itemsize:
            raise CheckpointError(
                f"{where} should hold {count} numbers of {dtype.itemsize} bytes, but has {len(raw[key])} bytes"
            )
        return Storage(dtype, raw[key])


def all_finite(x: Tensor) -> bool:
    """Say whether there are no NaN or infinite values, in one pass where the sum is finite: it can't be otherwise."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def map_file(path: str | Path) -> memoryview:
    """Map a file into memory, to read only; what is not looked at is not read."""
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise CheckpointError(f"{path} is empty: copy or download it again") from None
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error}") from error


def _unwrap(value: Any) -> Record | None:
    """Go from a parameter, or a tensor with attributes, to the call that rebuilds its tensor."""
    for _ in range(4):
        if not isinstance(value, Record):
            return None
        if value.name in _PARAMETER and value.args:
            value = value.args[0]
        elif value.name == _FROM_TYPE and len(value.args) > 2 and isinstance(value.args[2], tuple):
            function = value.args[0]
            value = Record(function, value.args[2]) if isinstance(function, Name) else None
        else:
            return value
    return None


def _buffer(value: Any, where: str) -> memoryview:
    if isinstance(value, LatinBytes):
        try:
            return memoryview(bytes(value.text.data).decode("utf-8").encode("latin-1"))
        except UnicodeError as error:
            raise CheckpointError(f"{where} is a text that stands for no bytes: {error}") from error
    if isinstance(value, (bytes, memoryview)):
        return memoryview(value)
    raise CheckpointError(f"{where} is {describe(value)}, expected bytes")


def _read_saved(data: memoryview, where: str) -> tuple[Any, dict[str, memoryview]]:
    """Read what `torch.save` wrote, in either layout: the object, and the bytes of each storage by its key."""
    found: dict[str, tuple[torch.dtype, int]] = {}

    def persistent(key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # the class of a module, beside the text of its source, which nobody looks at
        # ("storage", type, key, location, count), and in old files a sixth entry for views
        kind = key[1] if isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage" else None
        if not isinstance(kind, Name) or kind.module not in _STORAGE_MODULES or kind.name not in STORAGES:
            raise CheckpointError(f"{where}: a persistent id is {describe(key)}, expected a torch storage")
        place, count = key[2], key[4]
        if (
            type(place) is not str
            or type(count) is not int
            or not 0 <= count < 2**40
            or key[5:] not in ((), (None,))
        ):
            raise CheckpointError(
                f"{where}: a storage has key {describe(place)} and {describe(count)} numbers, expected a text and a "
                "whole number, and no view"
            )
        dtype = STORAGES[kind.name]
        if found.setdefault(place, (dtype, count)) != (dtype, count):
            raise CheckpointError(f"{where}: storage {place!r:.80} is described twice, and differently")
        return Record(_STORED, (dtype, place, count))

    if data[:4] == b"PK\x03\x04":
        entries = stored_entries(data, where)
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError(
                f"{where}: the zip archive has {len(roots)} entries data.pkl, expected one, as in files by torch.save"
            )
        (root,) = roots
        _check_order(bytes(entries.get(root + "byteorder", memoryview(b"little"))[:20]) == b"little", where)
        value, _ = read_pickle(entries[root + "data.pkl"], f"{where}, data.pkl", persistent=persistent)
        folder = root + "data/"
        return value, {name[len(folder) :]: part for name, part in entries.items() if name.startswith(folder)}

    position = 0
    header = []
    for _ in range(3):
        part, position = read_pickle(data, where, start=position)
        header.append(part)
    magic, protocol, system = header
    if magic != MAGIC or protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise CheckpointError(f"{where} begins with {describe(magic)}, expected what torch.save writes")
    _check_order(system.get("little_endian") is True, where)
    value, position = read_pickle(data, where, start=position, persistent=persistent)
    keys, position = read_pickle(data, where, start=position)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in found for key in keys):
        raise CheckpointError(
            f"{where} lists its storages as {describe(keys)}, expected a list of their keys"
        )
    raw = {}
    for key in keys:
        dtype, count = found[key]
        stored = int.from_bytes(data[position : position + 8], "little")
        size = count * dtype.itemsize
        if stored != count or position + 8 + size > len(data):
            raise CheckpointError(
                f"{where}: storage {key!r:.80} declares {count} numbers and holds {stored}, with "
                f"{max(0, len(data) - position - 8)} bytes left: it is truncated or altered"
            )
        raw[key] = data[position + 8 : position + 8 + size]
        position += 8 + size
    return value, raw


def _check_order(little: bool, where: str) -> None:
    if not little:
        raise CheckpointError(f"{where} was written in another byte order, expected little-endian numbers")
