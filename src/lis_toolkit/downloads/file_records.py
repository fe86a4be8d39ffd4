"""What a downloaded model was when it was first used, kept as JSON beside it, so that a change is noticed later."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import CheckpointError, LisError
from ..files import atomic_path, sha256_file

_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|\?xml|!--|html|head|body|title|meta|script|error)", re.I)
_POINTER = b"version https://git-lfs.github.com/spec/"
_TORCH_BEFORE_ZIP = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number, then what can end in any byte
)


@dataclass(frozen=True)
class Record:
    """What is known of one file in the cache.

    Attributes
    ----------
    sha256 : str
        64 hexadecimal digits.
    size : int
        Bytes.
    url, date : str
        Where it is published, and when it was first used here (UTC).
    note : str
        What the sha256 was compared with.
    stamp : list of int
        Times of the last change of contents and of the file's entry, in nanoseconds: where they are as they were, the
        file is not hashed again.
    """

    sha256: str
    size: int
    url: str
    date: str
    note: str
    stamp: list[int]


def check_contents(path: Path, what: str, size: int | None = None, sha256: str | None = None) -> str:
    """Return the sha256 of a file, or say why it is not the model that was expected.

    Parameters
    ----------
    what
        The file's name in messages, e.g. its address.
    size, sha256
        Where known; the sha256 may be its first digits.

    Raises
    ------
    CheckpointError
        For an empty file, a web page, a Git LFS pointer, a file without its end (zip and pickle say where that is),
        another size or another sha256.

    Examples
    --------
    >>> check_contents(path, "resnet50", sha256="11ad3fa6")
    '11ad3fa6...'
    """
    try:
        with open(path, "rb") as file:
            start = file.read(512)
            has = file.seek(0, os.SEEK_END)
            file.seek(max(has - 1, 0))
            end = file.read(1)
    except OSError as error:
        raise LisError(f"can't read {path}: {error}.") from error
    if not start:
        raise CheckpointError(f"{what} is empty.")
    if _PAGE.match(start):
        raise CheckpointError(f"{what} is a web page, not a model: it begins with {start[:40]!r}.")
    if start.startswith(_POINTER):
        raise CheckpointError(f"{what} is a Git LFS pointer, not the model that it points to.")
    if size is not None and has != size:
        raise CheckpointError(f"{what} has {has} bytes; {size} were expected.")
    # Where neither size nor sha256 are known, a server that names too small a length would else go unnoticed.
    is_zip, is_pickle = start.startswith(b"PK\3\4"), start.startswith(b"\x80")
    if (is_zip and not zipfile.is_zipfile(path)) or (
        is_pickle and end != b"." and not start.startswith(_TORCH_BEFORE_ZIP)
    ):
        raise CheckpointError(
            f"{what} is truncated: {has} bytes of a {'zip' if is_zip else 'pickle'} without its end."
        )
    digest = sha256_file(path)
    if sha256 is not None and not digest.startswith(sha256):
        raise CheckpointError(
            f"{what} has sha256 {digest}; {'' if len(sha256) == 64 else 'one that begins with '}{sha256} was expected."
        )
    return digest


def record_path(path: Path) -> Path:
    """Return where the record of a file is: `model.pkl.json` beside `model.pkl`."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> Record | None:
    """Return the record of a file, None if there is none.

    Raises
    ------
    CheckpointError
        When there is one that can't be understood.
    """
    place = record_path(path)
    try:
        known = json.loads(place.read_text())
        record = Record(**known)
        if not re.fullmatch("[0-9a-f]{64}", record.sha256) or not isinstance(record.size, int):
            raise ValueError("no sha256 or size in it")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{place}, which holds the sha256 of {path.name}, can't be read: {error}. Delete both to have the model "
            "downloaded again, or this record alone if you know that the model is as it was."
        ) from error
    return record


def write_record(path: Path, digest: str, url: str, expected: str | None, origin: str) -> Record:
    """Record a file that has just been hashed; a folder that can't be written goes without.

    Parameters
    ----------
    expected
        The published sha256, or its first digits, that `digest` agrees with; None: none is published.
    origin
        How the file came here: "downloaded", or "found in the cache folder".
    """
    if expected is None:
        note = f"{origin}; recorded at first use, not checked against the publisher"
    elif len(expected) == 64:
        note = f"{origin}; the published sha256"
    else:
        note = f"{origin}; its first {len(expected)} digits are published"
    stat = path.stat()
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = Record(digest, stat.st_size, url, date, note, [stat.st_mtime_ns, stat.st_ctime_ns])
    _write(path, record)
    return record


def check_record(path: Path, record: Record, again: bool = False) -> None:
    """Raise a CheckpointError when a file is not what its record says.

    The size is always compared. The sha256 is compared when the file was touched since, or with `again`.
    """
    stat = path.stat()
    stamp = [stat.st_mtime_ns, stat.st_ctime_ns]
    if stat.st_size == record.size and stamp == record.stamp and not again:
        return
    changed = f"it was {record.size} bytes with sha256 {record.sha256} when it was first used ({record.date})"
    advice = (
        f"It is not loaded. Delete it and it is downloaded again; if you replaced it on purpose, delete "
        f"{record_path(path)} and the new one is recorded."
    )
    if stat.st_size != record.size:
        raise CheckpointError(f"{path} was altered: {changed}, now it has {stat.st_size} bytes. {advice}")
    digest = sha256_file(path)
    if digest != record.sha256:
        raise CheckpointError(f"{path} was altered: {changed}, now it has sha256 {digest}. {advice}")
    if stamp != record.stamp:
        _write(path, Record(**{**asdict(record), "stamp": stamp}))


def _write(path: Path, record: Record) -> None:
    # In a shared folder that others own, the file is hashed at every use instead.
    with contextlib.suppress(LisError), atomic_path(record_path(path)) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1) + os.linesep)
