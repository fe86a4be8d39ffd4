"""Real photographs: Fashion-MNIST from Debian's package, any folder of IDX files, torchvision, or our sample."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, LisError
from .files import atomic_path
from .images import convert_range
from .names import spelling_hint
from .zoo import cache_folder

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FOLDER = Path(__file__).parent / "data" / "fashion-sample"
PREFIXES = {"train": "train", "test": "t10k", "sample": "t10k"}
PIXELS, PADDING = 28, 2  # the files have 28 x 28 pixels; black borders of 2 make it 32


@dataclass(frozen=True)
class Photographs:
    """Real images with their labels.

    Attributes
    ----------
    images : Tensor
        float32 [N, C, H, W], unit range.
    labels : Tensor
        int64 [N], indices into `classes`.
    classes : tuple of str
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.images)

    def subset(self, indices: Tensor) -> Photographs:
        """Return the photographs at `indices` (integers [M]) or where a boolean mask [N] is true."""
        return Photographs(self.images[indices], self.labels[indices], self.classes)


def load_fashion(
    split: str = "sample", root: str | os.PathLike[str] | None = None, download: bool = False
) -> Photographs:
    """Load Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT): grey photographs of garments in 10 classes.

    Parameters
    ----------
    split
        "train" (60,000), "test" (10,000), or "sample": 100 test photographs of each class, which are part of
        lis_toolkit and need neither `root` nor a network.
    root
        Folder with the IDX files, gzipped or not; torchvision's folder layout works too. Default: Debian's package
        `dataset-fashion-mnist`, or what was downloaded before.
    download
        Let torchvision download what is missing, into `root` or the cache folder.

    Returns
    -------
    Photographs
        images float32 [N, 1, 32, 32] in the unit range (28 x 28 photographs with 2 black pixels around).

    Raises
    ------
    LisError
        When no files are found, or they are not intact IDX files of Fashion-MNIST's shape.

    Examples
    --------
    >>> photographs = load_fashion("sample")
    >>> photographs.images.shape
    torch.Size([1000, 1, 32, 32])
    """
    if split not in PREFIXES:
        raise LisError(
            f"no split {split!r}; there are 'sample', 'train' and 'test'.{spelling_hint(str(split), PREFIXES)}"
        )
    folder = SAMPLE_FOLDER if split == "sample" else _find_folder(split, root, download)
    image_file, label_file = (_find_file(folder, split, kind) for kind in ("images-idx3", "labels-idx1"))
    pixels, labels = read_idx(image_file, ndim=3), read_idx(label_file, ndim=1)  # [N, 28, 28], [N]
    if pixels.shape[1:] != (PIXELS, PIXELS):
        raise CheckpointError(
            f"{image_file} has images of {pixels.shape[1]} x {pixels.shape[2]} pixels; "
            f"{PIXELS} x {PIXELS} were expected."
        )
    if len(pixels) != len(labels) or len(pixels) == 0:
        raise CheckpointError(
            f"{image_file} has {len(pixels)} images and {label_file} {len(labels)} labels; the same number, not 0, "
            "was expected."
        )
    if labels.max() >= len(FASHION_CLASSES):
        raise CheckpointError(
            f"{label_file} has the label {labels.max()}; 0 to {len(FASHION_CLASSES) - 1} were expected."
        )
    padded = np.pad(pixels, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))[:, None]  # [N, 1, 32, 32]
    images = convert_range(torch.from_numpy(padded), "byte", "unit")
    return Photographs(images, torch.from_numpy(labels.astype(np.int64)), FASHION_CLASSES)


def read_idx(path: str | os.PathLike[str], ndim: int) -> np.ndarray:
    """Read an IDX file of bytes, gzipped or not, as a uint8 array with `ndim` dimensions.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, truncated or longer than its header says, or of another type or rank.

    Examples
    --------
    >>> read_idx("/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz", ndim=1).shape
    (10000,)
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise CheckpointError(f"can't read {path}: {error}. Get the file again.") from error
    magic = bytes((0, 0, 8, ndim))  # 8: unsigned bytes
    if data[:4] != magic:
        raise CheckpointError(
            f"{path} starts with bytes {data[:4].hex(' ') or '(none)'}; an IDX file of bytes with {ndim} dimensions "
            f"starts with {magic.hex(' ')}."
        )
    start = 4 + 4 * ndim
    if len(data) < start:
        raise CheckpointError(
            f"{path} has {len(data)} bytes; its header alone takes {start}. Get the file again."
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", count=ndim, offset=4))
    if len(data) - start != math.prod(shape):
        raise CheckpointError(
            f"{path} has {len(data) - start} values; its header promises "
            f"{shape} = {math.prod(shape)}. Get the file again."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def write_idx(path: str | os.PathLike[str], values: np.ndarray) -> None:
    """Write a uint8 array as a gzipped IDX file, atomically; the same array gives the same bytes."""
    if values.dtype != np.uint8 or not 1 <= values.ndim <= 255:
        raise LisError(
            f"IDX files are written from uint8 arrays with dimensions, got {values.dtype} {values.shape}."
        )
    data = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))


def write_sample(
    folder: str | os.PathLike[str] = SAMPLE_FOLDER,
    root: str | os.PathLike[str] | None = None,
    per_class: int = 100,
) -> None:
    """Write the first photographs of each class of the test set, in their order, as two IDX files.

    This made the sample inside lis_toolkit: `python -c "from lis_toolkit.datasets import *; write_sample()"`.
    """
    source = _find_folder("test", root, download=False)
    pixels = read_idx(_find_file(source, "test", "images-idx3"), ndim=3)
    labels = read_idx(_find_file(source, "test", "labels-idx1"), ndim=1)
    first = [np.flatnonzero(labels == k)[:per_class] for k in range(len(FASHION_CLASSES))]
    chosen = np.sort(np.concatenate(first))  # [10 * per_class], test-set order
    write_idx(Path(folder) / "t10k-images-idx3-ubyte.gz", pixels[chosen])
    write_idx(Path(folder) / "t10k-labels-idx1-ubyte.gz", labels[chosen])


def _candidates(folder: Path, split: str, kind: str) -> list[Path]:
    stem = f"{PREFIXES[split]}-{kind}-ubyte"
    names = (stem, stem + ".gz", stem.replace("-idx", ".idx"))  # the dot is in some hand-unpacked copies
    return [f for name in names if (f := folder / name).is_file()]


def _find_file(folder: Path, split: str, kind: str) -> Path:
    found = _candidates(folder, split, kind)
    if not found:
        raise LisError(f"{folder} has no {PREFIXES[split]}-{kind}-ubyte file, gzipped or not.")
    return found[0]


def _find_folder(split: str, root: str | os.PathLike[str] | None, download: bool) -> Path:
    base = Path(root) if root is not None else cache_folder() / "datasets"
    folders = [base, base / "FashionMNIST" / "raw"]  # the second is torchvision's
    if root is None:
        folders.insert(0, DEBIAN_FOLDER)
    for folder in folders:
        if _candidates(folder, split, "images-idx3"):
            return folder
    if not download:
        raise LisError(
            f"no Fashion-MNIST {split} files in {' or '.join(map(str, folders))}. Install Debian's package "
            "dataset-fashion-mnist, give root=FOLDER with the IDX files, or pass download=True; "
            'load_fashion("sample") needs none of them.'
        )
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(base), train=split == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise LisError(f"torchvision could not download Fashion-MNIST to {base}: {error}.") from error
    return folders[-1]
