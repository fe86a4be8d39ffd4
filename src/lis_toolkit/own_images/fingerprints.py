"""Bytes that tell whether a file, an array or an item of a list is still the same one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .listing import printable_path

__all__ = ["array_bytes", "file_line", "item_bytes", "plain_value", "tensor_bytes"]

BLOCK = 1 << 24  # bytes of an array that are given at a time


def plain_value(value: Any) -> Any:
    """Return the number in a 0-d tensor or array, and anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def file_line(name: str, file: str | os.PathLike[str]) -> bytes:
    """Return a line of a file's name, size and date of change."""
    try:
        status = os.stat(file)
    except OSError:
        return f"{name}\0missing\n".encode()
    return f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()


def array_bytes(values: np.ndarray) -> Iterator[bytes]:
    """Yield dtype, shape and then the values of an array, block by block, so that a mapped file need not fit."""
    yield f"{values.dtype.str} {values.shape}".encode()
    rows = max(1, BLOCK // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].tobytes()


def tensor_bytes(x: Tensor) -> Iterator[bytes]:
    """Yield dtype, shape and then the values of a tensor on any device, block by block."""
    yield f"{x.dtype} {tuple(x.shape)}".encode()
    for part in x.detach().split(max(1, BLOCK // max(1, x[:1].nbytes))) if len(x) else ():
        yield part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def item_bytes(item: Any) -> bytes:
    """Return what tells one item of a list or dataset from another: file line or pixels, and its label."""
    if isinstance(item, tuple | list) and len(item) == 2:
        return item_bytes(item[0]) + repr(plain_value(item[1])).encode()
    if isinstance(item, str | os.PathLike):
        return file_line(printable_path(item), item)
    if isinstance(item, Tensor):
        return b"".join(tensor_bytes(item[None]))
    if isinstance(item, np.ndarray):
        return b"".join(array_bytes(item[None]))
    try:
        return f"{item.mode} {item.size}".encode() + hashlib.sha256(item.tobytes()).digest()
    except (
        AttributeError,
        OSError,
        ValueError,
        SyntaxError,
    ):  # no image, or a damaged one; reading it will tell
        return type(item).__name__.encode()
