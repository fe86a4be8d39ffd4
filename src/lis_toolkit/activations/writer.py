"""Filling a folder of activations out of sight, so that it can be interrupted at any moment and go on.

Beside the folder that is to be, `.NAME.partial` holds the manifest, the arrays at their full size, and progress.json:
how many rows are on the disk. When all are, the files are hashed and the folder gets its name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import CheckpointError, LisError
from ..files import atomic_path, provenance, sha256_file
from ..own_images import ImageSource, open_images
from .layers import Layer
from .store import FORMAT, MANIFEST, Activations, read_manifest

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes at one folder are not told of each other
    _LOCKS = False
else:
    _LOCKS = True

PROGRESS, LOCK = "progress.json", "lock"
SECONDS = 2.0  # of work are lost at most when the process is killed
SPARE = 1 << 24  # bytes that stay free on the disk
Shapes = Mapping[str, tuple[int, ...]]


class Filling:
    """Arrays that are being filled: `values` by layer, and how many rows are `done`."""

    def __init__(self, folder: Path, arrays: dict[str, np.memmap], done: int) -> None:
        self.folder, self.arrays, self.done = folder, arrays, done
        self.values: dict[str, Tensor] = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.saved, self.when = done, time.monotonic()

    def note(self, done: int) -> None:
        """Take note that the first `done` rows are written."""
        self.done = done
        if time.monotonic() - self.when >= SECONDS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Bring the rows to the disk, and then how many they are."""
        if self.done > self.saved:
            for array in self.arrays.values():
                array.flush()
            write_json(self.folder / PROGRESS, {"done": self.done})
            self.saved = self.done
        self.when = time.monotonic()


@contextlib.contextmanager
def open_folder(
    out: str | os.PathLike[str],
    classifier: Classifier,
    images: Tensor | ImageSource,
    layers: tuple[Layer, ...],
    shapes: Shapes,
    pool: str | None,
) -> Iterator[Filling]:
    """Give arrays to be filled from row `done` on; put the folder in place when the block ends with all rows.

    An error or an interruption in the block leaves what is done for the next call.

    Raises
    ------
    LisError
        When `out` holds other files, or activations of other things (which); when it can't be written, the disk is too
        small, or another process is filling it.
    CheckpointError
        When what is there is damaged.
    """
    target = Path(out).expanduser().absolute()
    manifest = _describe(classifier, images, layers, shapes, pool)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        _check_target(target, manifest)
        yield Filling(target, {}, len(images))
        return
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with open(partial / LOCK, "ab") as lock:
            _keep_others_out(lock.fileno(), target)
            filling = _begin(partial, manifest, shapes)
            try:
                yield filling
            finally:
                filling.checkpoint()
            _finish(filling, target, manifest, len(images))
    except OSError as error:
        raise LisError(f"can't write {target}: {error}. Give another folder.") from error


def _describe(
    classifier: Classifier,
    images: Tensor | ImageSource,
    layers: tuple[Layer, ...],
    shapes: Shapes,
    pool: str | None,
) -> dict[str, Any]:
    names = {layer.name: re.sub(r"[^\w.#-]", "_", layer.name)[:80] for layer in layers}
    described = {
        "format": FORMAT,
        "classifier": {"name": classifier.name, "hash": classifier.hash},
        "images": open_images(images).identity,
        "layers": [asdict(layer) for layer in layers],
        "pool": pool,
        "files": {
            name: {"file": f"{i:02d}_{safe}.npy", "shape": list(shapes[name])}
            for i, (name, safe) in enumerate(names.items())
        },
        "provenance": provenance(),
    }
    return dict(json.loads(json.dumps(described)))  # as it is when it is read again


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Say what differs between activations that are there and those that are asked for."""

    def parts(manifest: Mapping[str, Any]) -> dict[str, Any]:
        classifier = manifest.get("classifier") or {}
        images = manifest.get("images") or {}
        layers = manifest.get("layers") or []
        return {
            "classifier": (classifier.get("name"), str(classifier.get("hash"))[:12]),
            "images": (images.get("images"), str(images.get("content"))[:12]),
            "layers": [layer.get("name") for layer in layers],
            "pool": manifest.get("pool"),
        }

    try:
        have, want = parts(found), parts(wanted)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(f"{where / MANIFEST} is damaged. Remove the folder and call again.") from error
    # A name is what its owner likes; the hash is what counts.
    have["classifier"], want["classifier"] = (
        (v if have["classifier"][1] != want["classifier"][1] else "")
        for v in (have["classifier"], want["classifier"])
    )
    different = [f"{key} {have[key]} there, {want[key]} asked for" for key in want if have[key] != want[key]]
    if different:
        raise LisError(
            f"{where} holds other activations: {'; '.join(different)}. Give another folder, or remove it."
        )


def _check_target(target: Path, manifest: Mapping[str, Any]) -> None:
    if not target.is_dir() or not (target / MANIFEST).exists():
        raise LisError(f"{target} holds other files, no activations; give a folder that does not exist yet.")
    _check_same(read_manifest(target), manifest, target)
    Activations.load(target)


def _begin(partial: Path, manifest: Mapping[str, Any], shapes: Shapes) -> Filling:
    """Open what an interrupted call has left, or lay out the arrays."""
    files = {name: partial / file["file"] for name, file in manifest["files"].items()}
    if (partial / MANIFEST).exists():
        _check_same(read_manifest(partial), manifest, partial)
        arrays = {name: _reopen(path, shapes[name]) for name, path in files.items()}
        return Filling(partial, arrays, _read_progress(partial, len(next(iter(arrays.values())))))
    needed = sum(4 * math.prod(shape) for shape in shapes.values())
    free = shutil.disk_usage(partial).free
    if needed + SPARE > free:
        raise LisError(
            f"the activations take {needed / 2**30:.3g} GiB ({needed} bytes), and {partial.parent} has "
            f"{free / 2**30:.3g} GiB free: pool them, take fewer layers, or give another folder."
        )
    laid_out = {
        name: np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shapes[name])
        for name, path in files.items()
    }
    write_json(partial / PROGRESS, {"done": 0})
    write_json(partial / MANIFEST, manifest)  # last: what it names is there
    return Filling(partial, laid_out, 0)


def _reopen(path: Path, shape: tuple[int, ...]) -> np.memmap:
    try:
        np.lib.format.open_memmap(
            path, mode="r"
        )  # to write, a file that was cut off would be made longer silently
        array = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged: {error}. Remove {path.parent} and call again."
        ) from error
    if array.shape != shape or array.dtype != np.float32:
        raise CheckpointError(
            f"{path} has {array.dtype} {list(array.shape)}; float32 {list(shape)} was expected. Remove {path.parent} "
            "and call again."
        )
    return array


def _read_progress(partial: Path, count: int) -> int:
    try:
        done = json.loads((partial / PROGRESS).read_text(encoding="utf-8"))["done"]
        if type(done) is not int or not 0 <= done <= count:
            raise ValueError(f"{done!r} of {count} rows")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{partial / PROGRESS} is damaged: {error}. Remove {partial} and call again."
        ) from error
    return int(done)


def _finish(filling: Filling, target: Path, manifest: dict[str, Any], count: int) -> None:
    """Hash the files and give the folder its name."""
    if filling.done < count:
        return
    folder = filling.folder
    for file in manifest["files"].values():
        file["sha256"] = sha256_file(folder / file["file"])
    write_json(folder / MANIFEST, manifest)
    for name in (PROGRESS, LOCK):
        (folder / name).unlink(missing_ok=True)
    if target.exists():
        target.rmdir()  # it is empty
    os.replace(folder, target)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _keep_others_out(handle: int, target: Path) -> None:
    """Lock until the file is closed; the system takes the lock back too when the process is killed."""
    if not _LOCKS:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LisError(
            f"{target} is being filled by another process; wait for it, or give another folder."
        ) from None
    except OSError:
        pass  # a file system without locks
