"""CIFAR-10 from files that anyone can have: the official binary version, or PNG files with an image a row."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from .datasets import Photographs
from .errors import CheckpointError, LisError
from .images import convert_range
from .names import spelling_hint
from .zoo import cache_folder

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
SIZE = 32
RECORD = 1 + 3 * SIZE * SIZE  # bytes: a label, then the red, green and blue plane
GET = (
    'get the "CIFAR-10 binary version (suitable for C programs)" from the data set\'s page and give the folder '
    "cifar-10-batches-bin, or a folder with data_batch_1.png ... test_batch.png and train_lables.json, test_lables.json"
)


def load_cifar10(split: str = "test", root: str | os.PathLike[str] | None = None) -> Photographs:
    """Load CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny images"): 10 classes in colour.

    Nothing is downloaded. The Python version of the data set is made of pickles, which can execute code when they are
    read: it is refused.

    Parameters
    ----------
    split
        "train" (50,000) or "test" (10,000).
    root
        Folder with the files: the official binary version (`data_batch_1.bin` ... `data_batch_5.bin`,
        `test_batch.bin`), or its images as PNG files of the same names, one image of 32 x 32 pixels in each row of
        1,024, with the labels as a JSON list (`train_lables.json`, `test_lables.json`, spelled either way). A folder
        `cifar-10-batches-bin` or `package` in it is looked into too. Default: `datasets` in the cache folder.

    Returns
    -------
    Photographs
        images float32 [N, 3, 32, 32] in the unit range.

    Raises
    ------
    LisError
        When no files are found, or only the Python version.
    CheckpointError
        When a file is damaged or of another shape, or images and labels do not fit.

    Examples
    --------
    >>> photographs = load_cifar10("test", "cifar-10-batches-bin")
    >>> photographs.images.shape
    torch.Size([10000, 3, 32, 32])
    """
    if split not in BATCHES:
        raise LisError(
            f"no split {split!r}; there are 'train' and 'test'.{spelling_hint(str(split), BATCHES)}"
        )
    folder, ending = _find_folder(split, root)
    read = _read_binary if ending == ".bin" else _read_png
    parts = [read(folder / f"{name}{ending}") for name in BATCHES[split]]
    pixels = np.concatenate([part[0] for part in parts])  # [N, 3, 32, 32]
    if ending == ".bin":
        labels = np.concatenate([part[1] for part in parts])
        source = folder / f"{BATCHES[split][0]}{ending}"
    else:
        source = _label_file(folder, split)
        labels = _read_labels(source)
    if len(pixels) != len(labels) or len(pixels) == 0:
        raise CheckpointError(
            f"{folder} has {len(pixels)} images and {source.name} {len(labels)} labels; the same number, not 0, was "
            "expected. Get the files again."
        )
    if labels.min() < 0 or labels.max() >= len(CIFAR10_CLASSES):
        raise CheckpointError(
            f"{source} has labels from {labels.min()} to {labels.max()}; 0 to {len(CIFAR10_CLASSES) - 1} were expected."
        )
    images = convert_range(torch.from_numpy(pixels), "byte", "unit")
    return Photographs(images, torch.from_numpy(labels.astype(np.int64)), CIFAR10_CLASSES)


def _find_folder(split: str, root: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the folder with the files of a split, and their ending."""
    base = Path(root).expanduser() if root is not None else cache_folder() / "datasets"
    folders = [base, base / "cifar-10-batches-bin", base / "package"]
    names = BATCHES[split]
    for folder in folders:
        for ending in (".bin", ".png"):
            missing = [name + ending for name in names if not (folder / (name + ending)).is_file()]
            if not missing:
                return folder, ending
            if len(missing) < len(names):
                raise LisError(f"{folder} has some files of CIFAR-10, but not {', '.join(missing)}: {GET}.")
    for folder in (base, base / "cifar-10-batches-py"):
        if (folder / names[0]).is_file():
            raise LisError(
                f"{folder} holds the Python version of CIFAR-10, which is made of pickles: reading one can execute "
                f"code, so lis_toolkit never does. Instead {GET}."
            )
    raise LisError(f"no CIFAR-10 {split} files in {' or '.join(map(str, folders))}: {GET}.")


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels uint8 [N, 3, 32, 32] and labels [N] of a file of the binary version."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error}. Get the file again.") from error
    if not data or len(data) % RECORD:
        raise CheckpointError(
            f"{path} has {len(data)} bytes; a multiple of {RECORD} (a label and 3 x 32 x 32 pixels an image) was "
            "expected. Get the file again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, SIZE, SIZE), records[:, 0]


def _read_png(path: Path) -> tuple[np.ndarray, None]:
    """Return pixels uint8 [N, 3, 32, 32] of a PNG file with an image in each row."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, (width, height) = image.mode, image.size
            if width != SIZE * SIZE or mode not in ("RGB", "RGBA"):
                raise CheckpointError(
                    f"{path} is a {mode} picture of {width} x {height} pixels; RGB with an image in each row of "
                    f"{SIZE * SIZE} was expected."
                )
            rows = np.asarray(image.convert("RGB"))  # [N, 1024, 3]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CheckpointError(f"can't read {path}: {error}. Get the file again.") from error
    return rows.reshape(-1, SIZE, SIZE, 3).transpose(0, 3, 1, 2), None


def _label_file(folder: Path, split: str) -> Path:
    names = [f"{split}_lables.json", f"{split}_labels.json"]  # the first is how its maker spelled it
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise LisError(f"{folder} has the images, but neither {names[0]} nor {names[1]}: {GET}.")
    return found[0]


def _read_labels(path: Path) -> np.ndarray:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"can't read {path}: {error}. Get the file again.") from error
    if not isinstance(labels, list) or not all(type(k) is int and abs(k) < 2**31 for k in labels):
        raise CheckpointError(f"{path} is no list of whole numbers. Get the file again.")
    return np.array(labels, np.int64)
