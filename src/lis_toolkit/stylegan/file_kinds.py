"""What a file is, told from its first bytes: names and suffixes can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

from lis_toolkit.errors import CheckpointError

MOST_HEADER = 2**27  # bytes of a safetensors header
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf": "7-zip",
    b"Rar!": "RAR",
}
_PICKLE_STARTS = b"\x80(}]c)NIKMJLFGSTUVXi"  # protocol 2 and later, or what an older pickle can begin with


def file_kind(path: str | Path) -> str:
    """Return "safetensors" or "pickle" (also for what `torch.save` writes), from a file's content.

    Raises
    ------
    CheckpointError : the file is neither; what it is instead is said where it is known.

    Examples
    --------
    >>> file_kind("imagenet256.pkl")
    'pickle'
    """
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error}") from error
    if size == 0:
        raise CheckpointError(f"{path} is empty: copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-LFS pointer, not the file it stands for: run git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise CheckpointError(f"{path} is a web page (HTML or XML), not a model: download it again")
    for start, name in _COMPRESSED.items():
        if head.startswith(start):
            raise CheckpointError(f"{path} is compressed with {name}: unpack it first")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MOST_HEADER:
        return "safetensors"
    if head.startswith(b"PK\x03\x04") or head[0] in _PICKLE_STARTS:
        return "pickle"
    raise CheckpointError(
        f"{path} begins with {head[:8]!r}: expected a safetensors file of ours, or a pickle by the authors of "
        "StyleGAN-XL or StyleGAN3"
    )
