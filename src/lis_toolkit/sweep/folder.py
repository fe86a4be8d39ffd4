"""The folder of a sweep: written file by file, each whole or not at all, and read while it is being filled.

    manifest.json          format, settings, models, units, values, columns, versions; before any rows
    samples.safetensors    the activations that the samples start from, their classes
    start.parquet          a row for each sample: what its start picture shows
    start_pictures.npy     the start pictures, float32, or bytes where they are larger than 64 pixels
    start_r.npy            float32 [N, R], their activations
    rows/00000.parquet     the rows, 256 to 4,096 a file, which the settings alone divide into files

A file of rows carries the key of its sweep and which rows it has. What is there is what these files say: there is no
mark of completeness that could be wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, LisError
from ..files import atomic_path, sha256_file
from .manifest import FORMAT, KINDS, contradiction
from .rows import METADATA

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes at one folder are not told of each other
    _LOCKS = False
else:
    _LOCKS = True

__all__ = ["SweepFolder"]

MANIFEST, SAMPLES, ROWS, LOCK = "manifest.json", "samples.safetensors", "rows", ".sweep.lock"
START, START_X, START_R = "start.parquet", "start_pictures.npy", "start_r.npy"
OWN = (MANIFEST, SAMPLES, START, START_X, START_R, ROWS)
# atomic_path's, when killed
LEFT_OVER = re.compile(
    r"\.\.?(manifest|samples|start|start_pictures|start_r|\d{5,})(\.[0-9a-f]{8}){1,2}\.\w+"
)


class SweepFolder:
    """Paths, lock, writing and checking of a sweep's files.

    Parameters
    ----------
    path
        Need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest, None if there is none; a CheckpointError for a damaged or foreign one."""
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"can't read {path}: {error}. Give another folder.") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
            raise CheckpointError(f"{path} is not of a sweep (format {found!r}, expected {FORMAT!r}).")
        for key, kind in KINDS.items():
            if not isinstance(manifest.get(key), kind):
                raise CheckpointError(
                    f"{path} has {repr(manifest.get(key))[:60]} for {key!r}: it is damaged."
                )
        wrong = contradiction(manifest)
        if wrong is not None:
            raise CheckpointError(f"{path} is damaged or was altered: {wrong}. Give another folder.")
        return manifest

    def refuse_foreign(self) -> None:
        """Raise a LisError when files of other origin have the names of ours; for a folder without a manifest."""
        if self.path.exists() and not self.path.is_dir():
            raise LisError(f"can't write a sweep to {self.path}: it is a file; give a folder.")
        # Samples are looked into later; a folder for rows without any is of a sweep that was killed as it began.
        rows = self.path / ROWS
        begun = rows.is_dir() and not any(rows.iterdir())
        foreign = [
            name
            for name in OWN
            if name != SAMPLES and (self.path / name).exists() and not (name == ROWS and begun)
        ]
        if foreign and not (self.path / MANIFEST).exists():  # else another process began a sweep meanwhile
            raise LisError(
                f"{self.path} holds {', '.join(foreign)}, but no {MANIFEST} of a sweep: these files are of other "
                "origin and are left alone. Give another folder."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out, and remove what killed ones left half-written.

        Raises
        ------
        LisError
            When another process is at work in the folder, or it can't be written.
        """
        handle = None
        try:
            (self.path / ROWS).mkdir(parents=True, exist_ok=True)
            handle = _lock(self.path / LOCK, self.path)
            for folder in (self.path, self.path / ROWS):
                for name in os.listdir(folder):
                    if LEFT_OVER.fullmatch(name):
                        (folder / name).unlink(missing_ok=True)
        except OSError as error:
            if handle is not None:
                os.close(handle)
            raise self.refusal(self.path, error) from error
        try:
            yield
        finally:
            if handle is not None:
                # Removed while it is held: who waits finds another file under its name.
                with contextlib.suppress(OSError):
                    (self.path / LOCK).unlink()
                os.close(handle)

    def tidy(self) -> None:
        """Remove what a process left that was killed when all was done, if that is possible."""
        if (self.path / LOCK).exists():
            with contextlib.suppress(LisError), self.locked():
                pass

    def refusal(self, path: Path, error: BaseException) -> LisError:
        """Return the error for a file that can't be written."""
        reason = getattr(error, "strerror", None) or error
        return LisError(
            f"can't write {path}: {reason}. The folder is not writable or the disk is full; what was written stays, "
            "and the same call goes on from there."
        )

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a temporary path for one of our files; it is on the disk before it has its name."""
        path = self.path / name
        try:
            with atomic_path(path) as temporary:
                yield temporary
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            _sync_folder(path.parent)
        except OSError as error:
            raise self.refusal(path, error) from error
        except LisError as error:
            if isinstance(error.__cause__, OSError):
                raise self.refusal(path, error.__cause__) from error
            raise

    def write(self, name: str, content: bytes) -> None:
        """Write one of our files, whole or not at all; a LisError when it can't be."""
        with self.writing(name) as temporary:
            temporary.write_bytes(content)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write the manifest."""
        self.write(MANIFEST, json.dumps(manifest, indent=1).encode())

    def row_file(self, index: int) -> Path:
        """Return where the rows of file number `index` are, or will be."""
        return self.path / ROWS / f"{index:05d}.parquet"

    def finished(self, manifest: dict[str, Any], index: int) -> bool:
        """Whether a file of rows is there, whole, and belongs to this sweep."""
        start, stop = piece_range(manifest, index)
        return _checked(self.row_file(index), piece_note(manifest, index), (stop - start) * manifest["steps"])

    def start_finished(self, manifest: dict[str, Any], *, thoroughly: bool = False) -> bool:
        """Whether the start pictures were rendered, and what they show written; `thoroughly` reads every byte."""
        count = manifest["samples"]["count"]
        told = _told(self.path / START, count)
        sums = told.pop("sha256", {}) if isinstance(told, dict) else {}
        if told != start_note(manifest):
            return False
        try:
            if any(len(array) != count for array in self.start_arrays()):
                return False
        except CheckpointError:
            return False
        return not thoroughly or all(sha256_file(self.path / name) == digest for name, digest in sums.items())

    def start_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Map the start pictures [N, C, H, W] and their activations [N, R] for reading."""
        arrays = []
        for name in (START_X, START_R):
            try:
                arrays.append(np.load(self.path / name, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError, EOFError) as error:
                raise CheckpointError(f"{self.path / name} is missing or damaged: {error}.") from error
        return arrays[0], arrays[1]


def piece_range(manifest: dict[str, Any], index: int) -> tuple[int, int]:
    """Return the (unit, sample) pairs of a file of rows."""
    size, total = manifest["pairs_per_file"], len(manifest["units"]) * manifest["samples"]["count"]
    return index * size, min((index + 1) * size, total)


def piece_note(manifest: dict[str, Any], index: int) -> dict[str, Any]:
    """Return what a file of rows says of itself."""
    return {"key": manifest["key"], "file": index, "pairs": list(piece_range(manifest, index))}


def start_note(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what the table of the start pictures says of itself."""
    return {"key": manifest["key"], "file": "start"}


def piece_units(manifest: dict[str, Any], index: int) -> list[int]:
    """Return the units that a file of rows has."""
    start, stop = piece_range(manifest, index)
    count = manifest["samples"]["count"]
    units: list[int] = manifest["units"][start // count : (stop - 1) // count + 1]
    return units


def _checked(path: Path, note: dict[str, Any], rows: int) -> bool:
    """Whether a Parquet file is whole (its end is read), has so many rows and this note."""
    return bool(_told(path, rows) == note)


def _told(path: Path, rows: int) -> Any:
    """Return what a Parquet file of so many rows says of itself; None for any other file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        told = json.loads((metadata.metadata or {}).get(METADATA, b"null"))
    except (OSError, ValueError, RecursionError, pa.ArrowException):
        return None
    return told if metadata.num_rows == rows else None


def _lock(path: Path, folder: Path) -> int | None:
    """Lock a file, or say who is in the way; the system takes the lock back when this process ends."""
    if not _LOCKS:
        return None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        except BlockingIOError:
            os.close(handle)
            raise LisError(
                f"{folder} is being filled by another process; wait for it to end, or stop it."
            ) from None
        except OSError:  # a file system without locks
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Bring the folder's list of names to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
