"""Entries of a zip archive that are stored, not compressed, as slices of the file: what `torch.save` writes."""

from __future__ import annotations

import struct

from lis_toolkit.errors import CheckpointError

MOST_ENTRIES = 100_000
_END, _END_64, _PLACE_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def stored_entries(data: memoryview, where: str) -> dict[str, memoryview]:
    """List the entries of an archive, each a slice of `data`; nothing is unpacked.

    Raises
    ------
    CheckpointError : the archive is damaged or truncated, an entry is compressed, encrypted or reaches beyond the
        file, or there are too many.
    """
    try:
        return _entries(data, where)
    except (struct.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{where}: its zip directory is damaged: {error}") from error


def _entries(data: memoryview, where: str) -> dict[str, memoryview]:
    count, size, start = _directory(data, where)
    if count > MOST_ENTRIES:
        raise CheckpointError(
            f"{where}: its zip directory has {count} entries, expected {MOST_ENTRIES} at most"
        )
    if start + size > len(data):
        raise CheckpointError(f"{where}: its zip directory lies beyond the end of the file: it is truncated")
    entries: dict[str, memoryview] = {}
    position = start
    for _ in range(count):
        if position + 46 > start + size or data[position : position + 4] != b"PK\x01\x02":
            raise CheckpointError(f"{where}: byte {position}: its zip directory is damaged")
        flags, method = struct.unpack_from("<2H", data, position + 8)
        packed, full, name_size, extra_size, note_size = struct.unpack_from("<2I3H", data, position + 20)
        (offset,) = struct.unpack_from("<I", data, position + 42)
        begin = position + 46
        name = bytes(data[begin : begin + name_size]).decode("utf-8")
        extra = data[begin + name_size : begin + name_size + extra_size]
        packed, full, offset = _wide(extra, full, packed, offset)
        position = begin + name_size + extra_size + note_size
        if method != 0 or packed != full:
            raise CheckpointError(
                f"{where}: zip entry {name[:80]!r} is compressed ({packed} bytes, {full} unpacked), expected it "
                "stored: torch.save never compresses"
            )
        if flags & 1:
            raise CheckpointError(f"{where}: zip entry {name[:80]!r} is encrypted")
        if name in entries:
            raise CheckpointError(f"{where}: zip entry {name[:80]!r} is there twice")
        entries[name] = _content(data, where, name, offset, full)
    return entries


def _directory(data: memoryview, where: str) -> tuple[int, int, int]:
    """Find the number of entries, the size and the offset of the directory at the end of the file."""
    tail_start = max(0, len(data) - 22 - 2**16)
    place = bytes(data[tail_start:]).rfind(_END)
    if place < 0:
        raise CheckpointError(f"{where}: it begins as a zip archive but has no directory: it is truncated")
    place += tail_start
    _, count, size, start = struct.unpack_from("<2H2I", data, place + 8)
    if place >= 20 and data[place - 20 : place - 16] == _PLACE_64:
        (wide,) = struct.unpack_from("<Q", data, place - 12)
        if wide + 56 > len(data) or data[wide : wide + 4] != _END_64:
            raise CheckpointError(f"{where}: its zip directory is damaged")
        _, count, size, start = struct.unpack_from("<4Q", data, wide + 24)
    return count, size, start


def _wide(extra: memoryview, full: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Replace the 32-bit fields that overflowed by those of the zip64 extra field: packed, full, offset."""
    fields = [full, packed, offset]
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            at = position + 4
            for i, value in enumerate(fields):
                if value == 0xFFFFFFFF:
                    (fields[i],) = struct.unpack_from("<Q", extra, at)
                    at += 8
        position += 4 + size
    return fields[1], fields[0], fields[2]


def _content(data: memoryview, where: str, name: str, offset: int, size: int) -> memoryview:
    if offset + 30 > len(data) or data[offset : offset + 4] != b"PK\x03\x04":
        raise CheckpointError(f"{where}: zip entry {name[:80]!r} does not begin at byte {offset}")
    name_size, extra_size = struct.unpack_from("<2H", data, offset + 26)
    begin = offset + 30 + name_size + extra_size
    if begin + size > len(data):
        raise CheckpointError(
            f"{where}: zip entry {name[:80]!r} declares {size} bytes, but the file ends before: it is truncated"
        )
    return data[begin : begin + size]
