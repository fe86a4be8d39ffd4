"""Filling a folder of features so that it can be killed at any moment and go on.

The manifest comes first, then arrays full of NaN, which take their whole place on the disk. A batch is written into
the arrays, and only when that has reached the disk a line for it into the journal: what the journal names is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import CheckpointError, LisError
from ..files import atomic_path, provenance
from .store import (
    AGAIN,
    ARRAYS,
    COLUMNS,
    FORMAT,
    JOURNAL,
    MANIFEST,
    TABLE,
    open_array,
    read_journal,
    read_manifest,
)

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes at one folder are not told of each other
    _LOCKS = False
else:
    _LOCKS = True

__all__ = ["FeatureWriter", "clear_folder", "manifest_there"]

SECONDS_PER_CHECKPOINT = 2.0  # so much work is lost at most when the process is killed
SPARE = 1 << 24  # bytes that stay free on the disk, for the table and for others
BLOCK = 1 << 22  # values that are written at a time when an array is laid out
OWN = (TABLE, *ARRAYS.values(), JOURNAL, MANIFEST)  # in the order in which they are removed
LEFT_OVER = re.compile(
    r"\.(r|logits|images|manifest)\.[0-9a-f]{8}\.(npy|parquet|json)"
)  # atomic_path's, when killed


def manifest_there(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of features that are in a folder; None if our files can be put there.

    Raises
    ------
    LisError
        When files of other origin have the names of ours.
    """
    manifest = read_manifest(folder)
    foreign = [name for name in OWN if (folder / name).exists()] if manifest is None else []
    if foreign:
        raise LisError(
            f"{folder} holds {', '.join(foreign)}, but no {MANIFEST} of features: these files are of other origin and "
            "are left alone. Give another folder."
        )
    return manifest


def clear_folder(folder: Path) -> None:
    """Remove the files of features from a folder, and no others; a LisError if they are not ours or in use."""
    try:
        described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(described, dict) and described.get("format") == FORMAT
    except (OSError, ValueError):
        ours = False
    if not ours:
        manifest_there(folder)  # says what is wrong, if anything is
        return
    try:
        if (folder / JOURNAL).exists():
            with open(folder / JOURNAL, "ab") as journal:
                _lock(journal, folder)
        for path in (
            folder / name for name in OWN
        ):  # the manifest last: till then it says whose the others are
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LisError(f"can't remove the features in {folder}: {error}.") from error


def _lock(file: IO[bytes], folder: Path) -> None:
    """Keep other processes out until the file is closed; the system does that too when this one is killed."""
    if not _LOCKS:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LisError(f"{folder} is being filled by another process; wait for it to end.") from None
    except OSError:
        return  # a file system without locks


class FeatureWriter:
    """Writes rows of arrays and of the table, in order; a context manager.

    Parameters
    ----------
    folder
        Made if it is not there.
    manifest
        What is in the folder already, or what is to be.

    Attributes
    ----------
    done : int
        Images that have been written.
    readable : int
        Those of them that have features.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.done = self.readable = 0
        self._pending: list[bytes] = []
        self._last = time.monotonic()
        self._open: contextlib.ExitStack[Any] = contextlib.ExitStack()
        self._files: dict[str, tuple[IO[bytes], int]] = {}

    def __enter__(self) -> FeatureWriter:
        fresh = not (self.folder / MANIFEST).exists()
        created = not self.folder.exists()
        try:
            if fresh:
                self._check_space()
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write_manifest()
            self._journal = self._open.enter_context(open(self.folder / JOURNAL, "ab"))
            _lock(self._journal, self.folder)
            batches, size = read_journal(self.folder)
            self._journal.truncate(size)
            for name in os.listdir(self.folder):
                if LEFT_OVER.fullmatch(name):
                    (self.folder / name).unlink()
            for name in self.manifest["arrays"]:
                self._prepare_array(name, started=bool(batches))
        except BaseException as error:
            self._open.close()
            if fresh:  # nothing of use is there yet
                with contextlib.suppress(OSError, LisError):
                    clear_folder(self.folder)
                    if created:
                        self.folder.rmdir()
            if isinstance(error, OSError):
                raise self._refusal(error) from error
            raise
        rows = [row for batch in batches for row in batch]
        self.done, self.readable = len(rows), sum(bool(row[-3]) for row in rows)
        self._resumed = bool(rows)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(*([LisError] if error else [])):  # the first error is the one to tell
                self.checkpoint()
        finally:
            self._files.clear()
            with contextlib.suppress(OSError):
                self._open.close()

    def _refusal(self, error: OSError) -> LisError:
        return LisError(
            f"can't write features to {self.folder}: {error.strerror or error}. The folder is not writable or the disk "
            "is full; what was written stays, and the same call goes on from there."
        )

    def _check_space(self) -> None:
        needed = sum(4 * int(np.prod(shape)) for shape in self.manifest["arrays"].values()) + SPARE
        existing = next(f for f in (self.folder.absolute(), *self.folder.absolute().parents) if f.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise LisError(
                f"features of {self.manifest['images']} images take {needed / 1e6:.0f} MB, {existing} has "
                f"{free / 1e6:.0f} MB left. Make room or give a folder on another disk."
            )

    def _write_manifest(self) -> None:
        with atomic_path(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(self.manifest, indent=1), encoding="utf-8")

    def _prepare_array(self, name: str, started: bool) -> None:
        path, shape = self.folder / ARRAYS[name], self.manifest["arrays"][name]
        if not path.exists():
            if started:
                raise CheckpointError(f"{path} is missing, though {JOURNAL} says it was begun. {AGAIN}")
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
                np.lib.format.write_array_header_1_0(file, header)
                # Written out, where a mapped file would have holes: a disk that fills up then kills the process.
                left = int(np.prod(shape))
                while left:
                    file.write(np.full(min(left, BLOCK), np.nan, "<f4").data)
                    left -= min(left, BLOCK)
        offset = open_array(self.folder, name, shape).offset
        self._files[name] = (self._open.enter_context(path.open("r+b")), offset)

    def write(self, rows: dict[str, np.ndarray], lines: list[list[Any]]) -> None:
        """Write the next images: float32 [n, ...] for each array, and n rows of the journal."""
        try:
            for name, (file, offset) in self._files.items():
                values = np.ascontiguousarray(rows[name], "<f4")
                file.seek(offset + self.done * values[:1].nbytes)
                file.write(values.data)
        except OSError as error:
            raise self._refusal(error) from error
        self._pending.append(json.dumps(lines).encode() + b"\n")
        self.done += len(lines)
        self.readable += sum(bool(line[-3]) for line in lines)
        if time.monotonic() - self._last >= SECONDS_PER_CHECKPOINT:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Bring what was written to the disk, and then the journal's lines for it."""
        lines, self._pending = (
            self._pending,
            [],
        )  # never twice: after an error the journal may end in half a line
        if not lines:
            return
        try:
            for file, _ in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            self._journal.write(b"".join(lines))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise self._refusal(error) from error
        self._last = time.monotonic()

    def finish(self, names: list[str]) -> None:
        """Write the table and a manifest that says "complete", and remove the journal."""
        self.checkpoint()
        table = _table(names, [row for batch in read_journal(self.folder)[0] for row in batch])
        with atomic_path(self.folder / TABLE) as temporary:
            table.to_parquet(temporary, index=False)
        resumed = {"resumed": provenance()} if self._resumed else {}
        counts = {"readable": self.readable, "skipped": self.done - self.readable}
        self.manifest = {**self.manifest, **counts, **resumed, "state": "complete"}
        self._write_manifest()
        with contextlib.suppress(OSError):
            (self.folder / JOURNAL).unlink()


def _table(names: list[str], rows: list[list[Any]]) -> Any:
    """Return the table of images from the rows of the journal."""
    import pandas as pd

    told = ("label", "prediction", "predicted_class", "top_logit", "probability", "width", "height",
            "ok", "reason", "note")  # fmt: skip
    columns: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(told)}
    columns |= {"row": list(range(len(rows))), "file": names}
    columns["status"] = ["ok" if ok else "skipped" for ok in columns.pop("ok")]
    kinds = {type(label) for label in columns["label"]} - {type(None)}
    if kinds == {int}:
        types = {**COLUMNS, "label": "Int64"}
    else:  # a dataset's items may have both
        types = COLUMNS
        columns["label"] = [None if label is None else str(label) for label in columns["label"]]
    return pd.DataFrame(columns)[list(types)].astype(types)
