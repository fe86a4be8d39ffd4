"""A result on disk: a folder of one table, one file of tensors and a manifest that tells of both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..files import content_key, load_tensors, save_tensors, sha256_file
from ..folders import output_folder
from .table import COLUMNS, KINDS, as_table

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["FORMAT", "MANIFEST", "TABLE", "TENSORS", "check_folder", "read_folder", "write_folder"]

FORMAT = "lis_toolkit counterfactuals 1"
TABLE, TENSORS, MANIFEST = "counterfactuals.parquet", "tensors.safetensors", "manifest.json"
_NAMES = ("r_start", "r_end", "amounts", "logits")


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return where a result can be saved; to be asked before a long search, too.

    Raises
    ------
    LisError
        For a file, and for a folder that holds something else and no result.
    """
    place = Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise LisError(f"can't save counterfactuals in {folder}: it is a file; give a folder.")
    if place.is_dir() and any(place.iterdir()) and not _holds_result(place):
        raise LisError(
            f"can't save counterfactuals in {folder}: the folder holds something else; give a new or empty one."
        )
    return place


def write_folder(result: Counterfactuals, folder: str | os.PathLike[str]) -> None:
    """Write a result into a folder that is new, empty, or holds a result already, which is replaced.

    Raises
    ------
    LisError
        When the folder holds anything else, or can't be written, or settings are not JSON.
    """
    place = check_folder(folder)
    facts = {"classes": list(result.classes), "settings": result.settings, "provenance": result.provenance,
             "rows": len(result), "shapes": {name: list(t.shape) for name, t in _tensors(result).items()}}  # fmt: skip
    try:
        text = json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise LisError(
            f"the settings or the provenance of these counterfactuals are not JSON: {error}."
        ) from error
    with output_folder(place) as temporary:
        _write_table(temporary / TABLE, result.table)
        save_tensors(temporary / TENSORS, _tensors(result), {"format": FORMAT})
        told = {"format": FORMAT, **json.loads(text)}
        told["files"] = {name: sha256_file(temporary / name) for name in (TABLE, TENSORS)}
        told["key"] = content_key(told)
        (temporary / MANIFEST).write_text(json.dumps(told, indent=1), encoding="utf-8")


def read_folder(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of a result that `write_folder` wrote, checked.

    Raises
    ------
    CheckpointError
        When a file is missing, damaged, of another format or of another result.
    """
    place = Path(folder).expanduser()
    told = _read_manifest(place)
    for name, digest in told["files"].items():
        if not (place / name).is_file():
            raise CheckpointError(f"{place / name} is missing: the result is not complete; copy it again.")
        if sha256_file(place / name) != digest:
            raise CheckpointError(
                f"{place / name} is damaged or of another result than {MANIFEST}: copy or save the result again."
            )
    table = _read_table(place / TABLE)
    tensors, facts = load_tensors(place / TENSORS)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    lacking = [name for name in _NAMES if name not in tensors]
    if facts.get("format") != FORMAT or lacking or shapes != told["shapes"] or len(table) != told["rows"]:
        raise CheckpointError(
            f"{place} is not a whole result: its tensors are {shapes} (lacking {lacking or 'none'}) and its rows "
            f"{len(table)}, the manifest tells of {told['shapes']} and {told['rows']}."
        )
    return {
        "table": table,
        **{name: tensors[name] for name in _NAMES},
        "images": tensors.get("images"),
        "classes": tuple(told["classes"]),
        "settings": told["settings"],
        "provenance": told["provenance"],
    }


def _tensors(result: Counterfactuals) -> dict[str, Tensor]:
    tensors = {name: getattr(result, name) for name in _NAMES}
    return tensors if result.images is None else {**tensors, "images": result.images}


def _holds_result(place: Path) -> bool:
    """Whether a folder is one that may be replaced: it has a manifest of ours, be it whole or not."""
    try:
        told = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("format") == FORMAT


def _read_manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: give a folder that Counterfactuals.save wrote.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} can't be read: {error}. Copy or save the result again.") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of a result of counterfactuals: {FORMAT!r} was expected.")
    kinds = {
        "classes": list,
        "settings": dict,
        "provenance": dict,
        "rows": int,
        "shapes": dict,
        "files": dict,
    }
    wrong = [name for name, kind in kinds.items() if not isinstance(told.get(name), kind)]
    if wrong or told.get("key") != content_key(told) or set(told["files"]) != {TABLE, TENSORS}:
        raise CheckpointError(
            f"{path} is damaged ({', '.join(wrong) or 'its key is not that of what it says'}): save the result again."
        )
    return told


def _schema() -> Any:
    import pyarrow as pa

    kinds = {int: pa.int64(), bool: pa.bool_(), float: pa.float64(), str: pa.string()}
    return pa.schema([(name, kinds[kind]) for name, kind in KINDS.items()])


def _write_table(path: Path, table: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Column by column, so that NaN stays NaN and nothing of pandas' own goes into the file.
    columns = [pa.array(table[name].tolist(), type=field.type, from_pandas=False)
               for name, field in zip(COLUMNS, _schema(), strict=True)]  # fmt: skip
    pq.write_table(pa.table(columns, schema=_schema()), path, compression="zstd", write_page_checksum=True)


def _read_table(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table, which would take a part of the path such as "seed=3" for a column.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        if not table.schema.equals(_schema()):
            raise ValueError(f"its columns are {', '.join(table.schema.names)}")
        return as_table({name: table[name].to_pylist() for name in COLUMNS})
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(
            f"{path} is not a table of counterfactuals: {error}. Save the result again."
        ) from error


def same_tensor(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same numbers, NaN where the other has NaN."""
    return one.shape == other.shape and bool(np.array_equal(one.numpy(), other.numpy(), equal_nan=True))


def as_kept(values: Any, name: str, shape: tuple[int | None, ...]) -> Tensor:
    """Return a tensor as results keep it (float32, CPU, no gradient), or say how its shape differs; None: any size.

    Raises
    ------
    LisError
        For anything but a floating tensor of that shape.
    """
    wanted = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise LisError(f"{name} is {type(values).__name__}; a floating tensor {wanted} was expected.")
    if values.ndim != len(shape) or any(
        s is not None and s != n for s, n in zip(shape, values.shape, strict=True)
    ):
        raise LisError(f"{name} has shape {list(values.shape)}; {wanted} was expected.")
    return values.detach().to("cpu", torch.float32).contiguous()
