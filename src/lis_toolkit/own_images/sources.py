"""Your own images as one lazy, indexable collection: folders, files, arrays, tensors, PIL images, datasets, tables."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..datasets import Photographs
from ..errors import LisError
from .decoding import UnreadableImage, check_range, read_picture
from .fingerprints import array_bytes, file_line, item_bytes, plain_value, tensor_bytes
from .listing import list_images, printable_path

__all__ = ["ImageSource", "LoadedImage", "UnreadableImage", "open_images"]

HASHED_ITEMS = 16  # of a dataset, whose items can't all be asked for beforehand
Label = str | int | None


class LoadedImage(NamedTuple):
    """One image of a source: float32 [C, H, W] in the unit range, its label, and what was done to it, or ""."""

    x: Tensor
    label: Label
    note: str


class ImageSource:
    """N images that are read one at a time, when they are asked for; made by `open_images`.

    Attributes
    ----------
    kind : str
        What it was made of: "folder", "files", "array", "dataset FashionMNIST" ...
    names : list of str
        Of files: the path in its folder, or as it was given; else "image 17".
    labels : list of str, int or None; or None
        None when there are none, or when they come with a dataset's items.
    notes : list of str
        What was left out: other files in a folder, folders that can't be read.
    root : Path or None
        The folder, where it is one.
    in_threads : bool
        True for files, which may be read by several threads at once.

    Examples
    --------
    >>> source = open_images("photographs")
    >>> len(source), source.names[0], source.read(0).shape
    (2000, 'cats/1.jpg', torch.Size([3, 480, 640]))
    """

    def __init__(
        self,
        kind: str,
        names: list[str],
        fetch: Callable[[int], Any],
        fingerprint: Callable[[], Iterator[bytes]],
        *,
        labels: Any = None,
        value_range: str | None = None,
        notes: Sequence[str] = (),
        root: Path | None = None,
        in_threads: bool = False,
    ) -> None:
        if not names:
            raise LisError(f"there are no images in the {kind}; at least one was expected.")
        self.kind, self.names, self.notes = kind, names, list(notes)
        self.root, self.in_threads = root, in_threads
        self.labels = None if labels is None else _checked_labels(labels, len(names))
        self.value_range = value_range
        self._fetch, self._fingerprint = fetch, fingerprint

    def __len__(self) -> int:
        """Return the number of images, readable or not."""
        return len(self.names)

    def __repr__(self) -> str:
        labels = "" if self.labels is None else f", {len(set(self.labels) - {None})} labels"
        return f"ImageSource({self.kind}: {len(self)} images{labels})"

    def load(self, i: int) -> LoadedImage:
        """Read image `i` with its label and a note.

        Raises
        ------
        UnreadableImage
            When this image can't be read; the message names it and says why, `reason` only why.
        LisError
            For an index that there isn't, labels that are neither text nor whole numbers, and a folder that is gone.
        """
        i = operator.index(i)
        if not 0 <= i < len(self):
            raise LisError(f"there is no image {i}: the {self.kind} has {len(self)}, numbered from 0.")
        try:
            item = self._fetch(i)
            item, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
            if not isinstance(item, Tensor | np.ndarray | str | os.PathLike) and not _is_pil(item):
                raise UnreadableImage(
                    f"a {type(item).__name__} is no image; a path, PIL image, tensor [C, H, W] or array [H, W, C] "
                    "was expected"
                )
            x, note = read_picture(item, self.value_range)
        except UnreadableImage as error:
            if self.root is not None and not self.root.is_dir():
                raise LisError(
                    f"the folder {self.root} is gone; images of it that are left can't be read."
                ) from error
            raise UnreadableImage(error.reason, self.names[i]) from error
        if self.labels is not None:
            return LoadedImage(x, self.labels[i], note)
        return LoadedImage(x, _label(label, f"the label of {self.names[i]}"), note)

    def read(self, i: int) -> Tensor:
        """Read image `i` as float32 [C, H, W] in the unit range, C = 1 or 3; see `load`."""
        return self.load(i).x

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What makes this the same source another day: kind, number, and a hash.

        Of files: relative paths, sizes and dates of change; of arrays, tensors and PIL images: the pixels; of a
        dataset: 16 items out of all of it. Labels that were given have a hash of their own.
        """
        digest = hashlib.sha256()
        for part in self._fingerprint():
            digest.update(part)
        labels = None
        if self.labels is not None:
            labels = hashlib.sha256(json.dumps(self.labels).encode()).hexdigest()
        return {
            "kind": self.kind,
            "images": len(self),
            "content": digest.hexdigest(),
            "labels": labels,
            "range": self.value_range,
        }


def open_images(source: Any, labels: Any = None, *, range: str | None = None) -> ImageSource:  # noqa: A002
    """Open images of any kind as a lazy collection; nothing is decoded yet.

    Parameters
    ----------
    source
        - A folder: images in it and below, by extension, in natural order (2.png before 10.png); hidden files and
          folders are left out, other files counted in `notes`. The class of an image is its first sub-folder.
        - A file: one image, or a .npy array, which is memory-mapped.
        - A list or iterator of paths, PIL images, tensors [C, H, W], arrays [H, W, C], or (one of these, label); an
          iterator is exhausted now, so let it give paths if there are many.
        - An array [N, H, W], [N, H, W, C] or [N, C, H, W], a tensor [N, C, H, W], with C = 1 or 3.
        - A torch `Dataset` with a length, or anything with a length and items by number, which are images or (image,
          label). It has to give the same image each time; what it raises is why that image can't be read.
        - `Photographs`, or a pandas table with columns "file" and, if you like, "label".
    labels
        One text, whole number or None for each image, in the order of `names`, in place of those of the source.
    range
        Of arrays and tensors: "unit", "byte" or "signed"; None: bytes for uint8, else the unit range.

    Raises
    ------
    LisError
        When there is nothing there, no image, or the kind or the layout can't be told.

    Examples
    --------
    >>> open_images("photographs").labels[:2]
    ['cats', 'cats']
    >>> open_images(torch.rand(8, 3, 64, 64), labels=["cat"] * 8).names[3]
    'image 3'
    """
    check_range(range)
    opened = _opened(source, range)
    if labels is not None:
        opened.labels = _checked_labels(labels, len(opened))
        opened.__dict__.pop("identity", None)
    return opened


def _opened(source: Any, value_range: str | None) -> ImageSource:
    if isinstance(source, ImageSource):
        same = ImageSource.__new__(ImageSource)  # a copy, so that other labels do not reach the first one
        same.__dict__.update(source.__dict__)
        return same
    if isinstance(source, Photographs):
        names = [source.classes[k] for k in source.labels.tolist()]
        return _from_tensor(source.images, value_range, "photographs", names)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source).expanduser(), value_range)
    if isinstance(source, Tensor):
        return _from_tensor(source, value_range)
    if isinstance(source, np.ndarray):
        return _from_array(source, value_range, "array", functools.partial(array_bytes, source))
    if "pandas" in sys.modules and isinstance(source, sys.modules["pandas"].DataFrame):
        return _from_table(source, value_range)
    if isinstance(source, torch.utils.data.DataLoader):
        raise LisError("images are taken one by one, not in batches: pass the loader's .dataset.")
    if isinstance(source, torch.utils.data.Dataset) or _is_lazy_sequence(source):
        return _from_dataset(source, value_range)
    if _is_pil(source):
        return _from_items([source], value_range)
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | Mapping | Set):
        return _from_items(list(source), value_range)
    raise LisError(
        f"images can't be taken from a {type(source).__name__}; a folder, a file, a list of paths or images, an array, "
        "a tensor, a Dataset, Photographs or a table with a column 'file' was expected."
    )


def _from_path(path: Path, value_range: str | None) -> ImageSource:
    if path.is_dir():
        files, notes = list_images(path)
        names = [file.relative_to(path) for file in files]
        folders = [name.parts[0] if len(name.parts) > 1 else None for name in names]
        labels = None if not any(folders) else [f and printable_path(f) for f in folders]
        texts = list(map(printable_path, names))
        return _from_files("folder", files, texts, labels, value_range, notes, path)
    if not path.exists():
        hint = ' Patterns are not expanded: pass Path(...).glob("*.png").' if "*" in path.name else ""
        raise LisError(f"there is no file or folder {path}.{hint}")
    if path.suffix.lower() != ".npy":
        return _from_files("file", [path], [path.name], None, value_range)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LisError(
            f"{path} is not a complete .npy file of numbers ({error}); save the array again with numpy.save."
        ) from error
    return _from_array(values, value_range, "npy file", lambda: iter([file_line(path.name, path)]))


def _from_table(table: Any, value_range: str | None) -> ImageSource:
    if "file" not in table.columns:
        raise LisError(f"the table has columns {list(table.columns)}; one named 'file' was expected.")
    files = list(table["file"])
    for row, file in enumerate(files):
        if not isinstance(file, str | os.PathLike):
            raise LisError(f"row {row} of the table has {file!r} as its file; a path was expected.")
    labels = list(table["label"]) if "label" in table.columns else None
    return _from_files("table", files, list(map(printable_path, files)), labels, value_range)


def _from_files(
    kind: str,
    files: Sequence[str | os.PathLike[str]],
    names: list[str],
    labels: Any,
    value_range: str | None,
    notes: Sequence[str] = (),
    root: Path | None = None,
) -> ImageSource:
    from PIL import Image

    Image.init()  # decoders are registered now, not by several threads at once
    return ImageSource(
        kind,
        names,
        files.__getitem__,
        lambda: (file_line(name, file) for name, file in zip(names, files, strict=True)),
        labels=labels,
        value_range=value_range,
        notes=notes,
        root=root,
        in_threads=True,
    )


def _from_items(items: list[Any], value_range: str | None) -> ImageSource:
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        return _from_files("list of files", items, list(map(printable_path, items)), None, value_range)
    bare = [item[0] if isinstance(item, tuple) and len(item) == 2 else item for item in items]
    names = [
        printable_path(x) if isinstance(x, str | os.PathLike) else f"image {i}" for i, x in enumerate(bare)
    ]
    return ImageSource(
        "list", names, items.__getitem__, lambda: map(item_bytes, items), value_range=value_range
    )


def _from_dataset(dataset: Any, value_range: str | None) -> ImageSource:
    kind = f"dataset {type(dataset).__name__}"
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise LisError(f"the {kind} has no items by number; take a map-style dataset, or list(dataset).")

    def fetch(i: int) -> Any:
        try:
            return dataset[i]
        except Exception as error:  # the user's code: whatever it raises is why there is no image
            raise UnreadableImage(f"{type(error).__name__}: {error}") from error

    def fingerprint() -> Iterator[bytes]:
        for i in sorted({round(i) for i in np.linspace(0, len(dataset) - 1, HASHED_ITEMS)}):
            try:
                yield item_bytes(fetch(i))
            except UnreadableImage:
                yield b"unreadable"

    names = [f"image {i}" for i in range(len(dataset))]
    return ImageSource(kind, names, fetch, fingerprint, value_range=value_range)


def _from_tensor(
    x: Tensor, value_range: str | None, kind: str = "tensor", labels: Sequence[str] | None = None
) -> ImageSource:
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        fix = (
            " Use x[None] for one image [C, H, W], x[:, None] for grey ones [N, H, W]." if x.ndim == 3 else ""
        )
        raise LisError(f"the {kind} has shape {list(x.shape)}; [N, 1 or 3, H, W] was expected.{fix}")
    names = [f"image {i}" for i in range(len(x))]
    return ImageSource(
        kind, names, x.__getitem__, lambda: tensor_bytes(x), labels=labels, value_range=value_range
    )


def _from_array(
    values: np.ndarray, value_range: str | None, kind: str, fingerprint: Callable[[], Iterator[bytes]]
) -> ImageSource:
    if values.dtype.kind not in "buif":
        raise LisError(f"the {kind} has dtype {values.dtype}; bytes or floating numbers were expected.")
    if values.dtype.kind in "ui" and values.dtype != np.uint8 and value_range is None:
        raise LisError(
            f"the {kind} has dtype {values.dtype}, whose range is not known; uint8 or floating numbers were expected, "
            'or range="byte" for whole numbers from 0 to 255.'
        )
    shape = list(values.shape)
    first = values.ndim == 4 and shape[1] in (1, 3)
    last = values.ndim == 4 and shape[3] in (1, 3)
    if first and last:
        raise LisError(
            f"the {kind} has shape {shape}, which may be [N, C, H, W] or [N, H, W, C]; pass a tensor [N, C, H, W], "
            "such as torch.from_numpy(x) or torch.from_numpy(x).permute(0, 3, 1, 2)."
        )
    if values.ndim == 3 and (shape[0] == 3 or shape[2] in (1, 3, 4)):
        raise LisError(
            f"the {kind} has shape {shape}, which may be one image with channels or several grey ones; use x[None] for "
            "one image, x[:, None] for grey ones."
        )
    if not (first or last or values.ndim == 3):
        raise LisError(f"the {kind} has shape {shape}; [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3 "
                       "was expected.")  # fmt: skip
    names = [f"image {i}" for i in range(len(values))]

    def fetch(i: int) -> np.ndarray:
        return values[i].transpose(1, 2, 0) if first else values[i]

    return ImageSource(kind, names, fetch, fingerprint, value_range=value_range)


def _is_lazy_sequence(source: Any) -> bool:
    """Whether this has items by number like a Dataset, without being one; a pandas Series has them by label."""
    plain = isinstance(source, list | tuple | bytes | bytearray | Mapping)
    numbered = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    return numbered and not plain and not type(source).__module__.startswith("pandas")


def _is_pil(item: Any) -> bool:
    return "PIL.Image" in sys.modules and isinstance(item, sys.modules["PIL.Image"].Image)


def _label(value: Any, name: str) -> Label:
    value = plain_value(value)
    if isinstance(value, float):
        if math.isnan(value):  # how tables tell of a missing one
            return None
        value = int(value) if value.is_integer() else value
    if value is None or isinstance(value, str) or type(value) is int:
        return value
    if type(value).__name__ == "NAType":
        return None
    raise LisError(
        f"{name} is {value!r} ({type(value).__name__}); text, a whole number or None was expected. Pass labels=[...]."
    )


def _checked_labels(labels: Any, count: int) -> list[Label]:
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise LisError(f"labels are {labels!r}; one for each of the {count} images was expected.")
    checked = [_label(value, f"label {i}") for i, value in enumerate(labels)]
    if len(checked) != count:
        raise LisError(f"there are {len(checked)} labels and {count} images; one for each was expected.")
    if len({type(label) for label in checked if label is not None}) > 1:
        raise LisError("the labels are text and numbers; one of the two was expected.")
    return checked
