"""Observers on disk: a table of scores, a file of weights, and a manifest that tells of both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import CheckpointError, LisError
from ..files import load_tensors, save_tensors, sha256_file
from ..folders import output_folder
from ..link_stats import records

if TYPE_CHECKING:
    import pandas as pd

    from .result import Observers

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SCORES",
    "WEIGHTS",
    "check_folder",
    "read_observers",
    "read_table",
    "write_observers",
]

FORMAT = "lis_toolkit observers 1"
SCORES, WEIGHTS, MANIFEST = "scores.parquet", "weights.safetensors", "manifest.json"
_TENSORS = ("weights", "bias", "mean", "scale")


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return where observers can be saved: a new or empty folder, or one that holds observers, which are replaced.

    Raises
    ------
    LisError : a file, or a folder that holds something else.
    """
    place = Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise LisError(f"can't save observers in {folder}: it is a file; give a folder.")
    if place.is_dir() and any(place.iterdir()) and _manifest(place, quiet=True) is None:
        raise LisError(
            f"can't save observers in {folder}: the folder holds something else; give a new or empty one."
        )
    return place


def write_observers(observers: Observers, folder: str | os.PathLike[str]) -> None:
    """Write observers into a folder, whole or not at all.

    Raises
    ------
    LisError : as `check_folder`, or the folder can't be written.
    """
    place = check_folder(folder)
    with output_folder(place) as temporary:
        fill_folder(observers, temporary)


def fill_folder(observers: Observers, temporary: Path) -> None:
    """Write the three files of observers into a folder that exists."""
    tensors: dict[str, torch.Tensor] = {}
    models = []
    for number, ((layer, attribute), model) in enumerate(observers.models.items()):
        models.append(
            {"layer": layer, "attribute": attribute, "kind": model.kind, "values": list(model.values)}
        )
        tensors |= {
            f"{number}.{name}": torch.from_numpy(np.ascontiguousarray(getattr(model, name)))
            for name in _TENSORS
        }
    observers.scores.to_parquet(temporary / SCORES, index=False)
    save_tensors(temporary / WEIGHTS, tensors, {"format": FORMAT})
    told = {
        "format": FORMAT, "models": models, "columns": dict(observers.columns), "settings": records(observers.settings),
        "provenance": records(observers.provenance), "rows": len(observers.scores),
        "files": {name: sha256_file(temporary / name) for name in (SCORES, WEIGHTS)},
    }  # fmt: skip
    (temporary / MANIFEST).write_text(json.dumps(told, indent=1), encoding="utf-8")


def read_observers(folder: str | os.PathLike[str]) -> Observers:
    """Read what `write_observers` wrote, checked.

    Raises
    ------
    CheckpointError : files that are missing, damaged or of something else.
    """
    from .result import Observer, Observers

    place = Path(folder).expanduser()
    told = _manifest(place)
    assert told is not None
    for name, digest in told["files"].items():
        if not (place / name).is_file() or sha256_file(place / name) != digest:
            raise CheckpointError(
                f"{place / name} is missing, damaged or of other observers: save them again."
            )
    scores, (tensors, _) = read_table(place / SCORES), load_tensors(place / WEIGHTS)
    if len(scores) != told["rows"] or len(tensors) != len(_TENSORS) * len(told["models"]):
        raise CheckpointError(
            f"{place} does not hold as many observers as its manifest says: save them again."
        )
    models = {}
    for number, one in enumerate(told["models"]):
        values = [tensors[f"{number}.{name}"].numpy() for name in _TENSORS]
        models[one["layer"], one["attribute"]] = Observer(
            one["layer"], one["attribute"], one["kind"], tuple(one["values"]), *values
        )
    return Observers(scores, models, told["columns"], told["settings"], told["provenance"])


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table.

    Raises
    ------
    CheckpointError : it is not one.
    """
    import pandas as pd

    try:
        with path.open("rb") as file:  # an open file: "layer=1" in a path is no partition then
            return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}. Save it again.") from error


def _manifest(place: Path, quiet: bool = False) -> dict[str, Any] | None:
    """Return the manifest of a folder of observers; with `quiet` None where there is none."""
    try:
        told = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        kinds = {
            "models": list,
            "columns": dict,
            "settings": dict,
            "provenance": dict,
            "rows": int,
            "files": dict,
        }
        if isinstance(told, dict) and told.get("format") == FORMAT:
            if all(isinstance(told.get(name), kind) for name, kind in kinds.items()) and set(
                told["files"]
            ) == {SCORES, WEIGHTS}:
                return told
            if quiet:
                return told
    except (OSError, ValueError, RecursionError) as error:
        if quiet:
            return None
        raise CheckpointError(
            f"{place / MANIFEST} can't be read: {error}. Give a folder of observers."
        ) from error
    if quiet:
        return None
    raise CheckpointError(
        f"{place / MANIFEST} is not of observers, or damaged: {FORMAT!r} was expected; save them again."
    )
