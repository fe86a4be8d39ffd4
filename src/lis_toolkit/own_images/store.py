"""A folder of features: memory-mapped activations and logits, a table of the images, and where all of it is from.

    r.npy            float32 [N, R], penultimate activations; a row for each image of the source, in its order
    logits.npy       float32 [N, K], of a classifier with a head
    images.parquet   a row for each image: file, label, prediction, size, status, reason
    manifest.json    format, state, classifier, source, settings, counts, versions
    progress.jsonl   only while it is being filled: what will become the table, a line for each batch

Images that could not be read keep their row, NaN in the arrays and "skipped" in the table: row i is image i of the
source everywhere, and a NaN that slips into a fit is noticed there. `FeatureStore.features()` leaves them out.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..features import Features
from ..names import class_index

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT", "FeatureStore", "open_array", "read_journal", "read_manifest"]

FORMAT = "lis-features-1"
MANIFEST, TABLE, JOURNAL = "manifest.json", "images.parquet", "progress.jsonl"
ARRAYS = {"r": "r.npy", "logits": "logits.npy"}
AGAIN = "Call extract_to_folder again with overwrite=True, or give another folder."
# Column -> pandas type; labels that are numbers have Int64.
COLUMNS = {
    "row": "int64",
    "file": "string",
    "label": "string",
    "prediction": "Int64",
    "predicted_class": "string",
    "top_logit": "float64",
    "probability": "float64",
    "width": "Int64",
    "height": "Int64",
    "status": "string",
    "reason": "string",
    "note": "string",
}


@dataclass(frozen=True, repr=False, eq=False)
class FeatureStore:
    """What a classifier says about N images of one's own, read from a folder of `extract_to_folder`.

    Attributes
    ----------
    folder : Path
    r : numpy.memmap
        float32 [N, R], read-only; rows of skipped images are NaN.
    logits : numpy.memmap or None
        float32 [N, K], read-only; None for an encoder without a head.
    table : DataFrame
        For each image: row, file, label, prediction, predicted_class, top_logit, probability (of the prediction, by
        softmax), width and height (pixels, as read), status ("ok" or "skipped"), reason (why skipped), note (what was
        done on reading: "first of several frames").
    manifest : dict
        Classifier (name, hash, classes), source, settings, counts, provenance.

    Examples
    --------
    >>> store = FeatureStore.open("features")
    >>> store.features().r.shape, store.skipped[["file", "reason"]]
    """

    folder: Path
    r: np.ndarray
    logits: np.ndarray | None
    table: pd.DataFrame
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> FeatureStore:
        """Open a folder for reading; arrays are mapped, not read.

        Raises
        ------
        CheckpointError
            When there is no such folder, it is not one of features, it is not complete yet, or a file in it is
            missing, damaged or does not fit the others: which one, and what to do.
        """
        place = Path(folder).expanduser()
        manifest = read_manifest(place)
        if manifest is None:
            there = "is a folder without" if place.is_dir() else "has no"
            raise CheckpointError(f"{folder} {there} {MANIFEST}: features are made by extract_to_folder.")
        if manifest["state"] != "complete":
            done = sum(map(len, read_journal(place)[0]))
            raise CheckpointError(
                f"{folder} has {done} of {manifest['images']} images: it was interrupted or is being filled. Call "
                "extract_to_folder with the same arguments, which goes on from there."
            )
        arrays = {name: open_array(place, name, shape) for name, shape in manifest["arrays"].items()}
        table = _open_table(place / TABLE, manifest)
        return cls(place, arrays["r"], arrays.get("logits"), table, manifest)

    def __len__(self) -> int:
        """Return the number of images, skipped ones included."""
        return len(self.table)

    def __repr__(self) -> str:
        return f"FeatureStore({self.summary(0).splitlines()[0]})"

    @property
    def readable(self) -> np.ndarray:
        """True for the images that have features, bool [N]."""
        return (self.table["status"] == "ok").to_numpy(dtype=bool)

    @property
    def rows(self) -> np.ndarray:
        """Rows of the images that have features, int64 [M]: row `rows[j]` is row j of `features()`."""
        return np.flatnonzero(self.readable)

    @property
    def skipped(self) -> pd.DataFrame:
        """The rows of the table that have no features, with the reason."""  # noqa: D401
        return self.table[~self.readable]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the classifier, in the order of the logits."""
        return tuple(self.manifest["classifier"]["classes"])

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions and date of the extraction."""
        return dict(self.manifest["provenance"])

    def features(self, rows: Any = None) -> Features:
        """Return features as tensors in memory, which is what fits and reports take.

        Parameters
        ----------
        rows
            Integers [M] or a boolean mask [N]; None: all images that were not skipped.

        Raises
        ------
        LisError
            When one of the rows was skipped or does not exist.

        Examples
        --------
        >>> coats = store.features(store.readable & (store.table.label == "Coat"))
        """
        chosen = self._chosen(rows)
        r = torch.from_numpy(np.array(self.r[chosen]))  # [M, R]
        logits = None if self.logits is None else torch.from_numpy(np.array(self.logits[chosen]))  # [M, K]
        return Features(r, logits)

    def label_indices(self, rows: Any = None) -> Tensor:
        """Return the labels of the images of `features(rows)` as indices into the classifier's classes, int64 [M].

        Raises
        ------
        LisError
            When one has no label, or its label is none of the classes.

        Examples
        --------
        >>> unit_table(store.features().r, store.label_indices(), head_weights(classifier), store.classes)
        """
        table = self.table.iloc[self._chosen(rows)]
        missing = table[table["label"].isna()]
        if len(missing):
            raise LisError(f"{len(missing)} images have no label, such as {missing['file'].iloc[0]}.")
        owner = self.manifest["classifier"]["name"]
        known = {label: class_index(label, self.classes, owner) for label in table["label"].unique().tolist()}
        return torch.tensor([known[label] for label in table["label"]], dtype=torch.int64)

    def _chosen(self, rows: Any) -> np.ndarray:
        """Return the numbers of rows that have features, or say which have not."""
        chosen = self.rows if rows is None else _row_numbers(rows, len(self))
        lost = chosen[~self.readable[chosen]]
        if len(lost):
            row = self.table.iloc[int(lost[0])]
            raise LisError(
                f"{len(lost)} of {len(chosen)} rows have no features, such as {row.file}, which was skipped "
                f"({row.reason}); take rows out of store.rows, or mask with store.readable."
            )
        return chosen

    def summary(self, most: int = 5) -> str:
        """Return a text of how many images have features and why others have none, the first `most` by name."""
        skipped = self.skipped
        classifier = self.manifest["classifier"]
        lines = [
            f"{len(self) - len(skipped)} of {len(self)} images have features "
            f"({classifier['units']} units of {classifier['name']}) in {self.folder}"
        ]
        if len(skipped):
            lines.append(f"skipped: {len(skipped)}")
            first = skipped.head(most)
            lines += [
                f"  {file}: {reason}" for file, reason in zip(first["file"], first["reason"], strict=True)
            ]
            if len(skipped) > most:
                lines.append(f"  and {len(skipped) - most} more; see store.skipped or {TABLE}")
        return "\n".join([*lines, *self.manifest["source"]["notes"]])


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder of features, None if it has none; a CheckpointError for another's file."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"can't read {path}: {error}. Give another folder.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise CheckpointError(f"{path} is not of features (format {found!r}, expected {FORMAT!r}).")
    kinds = {"images": int, "arrays": dict, "classifier": dict, "source": dict, "settings": dict,
             "provenance": dict, "state": str}  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise CheckpointError(f"{path} has {manifest.get(key)!r} for {key!r}: it is damaged. {AGAIN}")
    arrays, notes = manifest["arrays"], manifest["source"].get("notes")
    known = {"name": str, "hash": str, "units": int, "classes": list}
    sound = (
        "r" in arrays
        and set(arrays) <= set(ARRAYS)
        and all(isinstance(shape, list) for shape in arrays.values())
        and isinstance(notes, list)
        and all(isinstance(manifest["classifier"].get(key), kind) for key, kind in known.items())
    )
    if not sound:
        raise CheckpointError(f"{path} is damaged. {AGAIN}")
    return manifest


def read_journal(folder: Path) -> tuple[list[list[list[Any]]], int]:
    """Return the batches that are complete, each a list of rows, and how many bytes of the journal they take.

    What comes after them was being written when the process ended.
    """
    batches: list[list[list[Any]]] = []
    size = 0
    try:
        with open(folder / JOURNAL, "rb") as file:
            for line in file:
                try:
                    rows = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n") or not isinstance(rows, list):
                    break
                batches.append(rows)
                size += len(line)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CheckpointError(f"can't read {folder / JOURNAL}: {error}.") from error
    return batches, size


def open_array(folder: Path, name: str, shape: list[int]) -> np.memmap:
    """Map one of `ARRAYS` for reading; a CheckpointError when it is not float32 of that shape."""
    path = folder / ARRAYS[name]
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}. {AGAIN}") from error
    if list(values.shape) != shape or values.dtype != np.float32:
        raise CheckpointError(
            f"{path} has {values.dtype} {list(values.shape)}, the manifest says float32 {shape}. {AGAIN}"
        )
    return values


def _open_table(path: Path, manifest: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}. {AGAIN}") from error
    if list(table.columns) != list(COLUMNS) or len(table) != manifest["images"]:
        raise CheckpointError(
            f"{path} has {len(table)} rows and columns {', '.join(map(str, table.columns))}; {manifest['images']} rows "
            f"of {', '.join(COLUMNS)} were expected. {AGAIN}"
        )
    skipped = int((table["status"] != "ok").sum())
    if skipped != manifest.get("skipped"):
        raise CheckpointError(
            f"{path} has {skipped} skipped images, the manifest {manifest.get('skipped')}. {AGAIN}"
        )
    return table


def _row_numbers(rows: Any, count: int) -> np.ndarray:
    if str(getattr(rows, "dtype", "")) == "boolean":  # of a table; a missing label is not the one looked for
        rows = rows.to_numpy(dtype=bool, na_value=False)
    numbers = np.asarray(rows)
    if numbers.dtype == bool:
        if numbers.shape != (count,):
            raise LisError(f"the mask has shape {list(numbers.shape)}; [{count}] was expected.")
        return np.flatnonzero(numbers)
    if numbers.size == 0:
        numbers = numbers.astype(np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise LisError(f"rows are {numbers.dtype} {list(numbers.shape)}; whole numbers [M] were expected.")
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < count):
        raise LisError(f"rows run from {numbers.min()} to {numbers.max()}; there are 0 to {count - 1}.")
    return numbers
