"""The rows of one file: an independent piece of a sweep, computed in batches across units and samples.

Row number ``(u * N + n) * S + s`` is unit u of the sweep, sample n, step s. A file has whole (unit, sample) pairs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .recipe import Recipe, set_units
from .thumbnails import encode_pictures

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Piece", "compute_piece", "parquet_bytes", "row_schema", "start_table"]

METADATA = b"lis-sweep"  # the key of the schema's metadata that holds our JSON


@dataclass(frozen=True, eq=False)
class Piece:
    """What the rows of one file are made from, beside the recipe.

    Attributes
    ----------
    start, stop : int
        The (unit, sample) pairs ``u * N + n`` of the file.
    count : int
        N, samples of the whole sweep.
    samples : ndarray
        [n], the samples that occur in the file, ascending.
    r, start_r : ndarray
        float32 [n, R], their activations, and those of their start pictures.
    start_x : ndarray
        [n, C, H, W], their start pictures: float32 in the unit range, or bytes.
    labels : ndarray
        int [n], index of their classes in `classes`.
    classes : tuple of str
        Names of the samples' classes, of the whole sweep.
    """

    start: int
    stop: int
    count: int
    samples: np.ndarray
    r: np.ndarray
    start_r: np.ndarray
    start_x: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def row_schema(recipe: Recipe) -> pa.Schema:
    """Return names and types of the columns of a sweep's rows."""
    import pyarrow as pa

    fields: list[tuple[str, Any]] = [
        ("unit", pa.int32()),
        ("sample", pa.int32()),
        ("class", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int16()),
        ("value", pa.float32()),
        ("encoded", pa.float32()),
        *((name, pa.int8()) for name in recipe.code_columns),
        *((name, pa.float32()) for name in recipe.float_columns),
        ("top_class", pa.int16()),
        ("moved_units", pa.list_(pa.int32(), recipe.moved)),
        ("moved_changes", pa.list_(pa.float32(), recipe.moved)),
    ]
    if recipe.pictures:
        fields.append(("picture", pa.binary()))
    return pa.schema(fields)


def compute_piece(
    recipe: Recipe, piece: Piece, progress: Callable[[int], Any] = lambda rows: None
) -> pa.Table:
    """Compute the rows of one file.

    Parameters
    ----------
    progress
        Called with the number of rows of every batch.

    Returns
    -------
    pyarrow.Table
        With the columns of `row_schema`.
    """
    import pyarrow as pa

    steps = recipe.steps
    pair = np.arange(piece.start, piece.stop).repeat(steps)  # [n]
    step = np.tile(np.arange(steps), piece.stop - piece.start)  # [n]
    place = pair // piece.count  # [n], of the unit in recipe.units
    unit = np.asarray(recipe.units)[place]
    sample = pair % piece.count
    row = np.searchsorted(piece.samples, sample)  # [n], where the sample is in the piece's arrays
    value = recipe.values.numpy()[place, step]  # [n]
    n = len(pair)
    floats = np.empty((len(recipe.float_columns), n), np.float32)
    codes = np.empty((len(recipe.code_columns), n), np.int8)
    encoded, top = np.empty(n, np.float32), np.empty(n, np.int16)
    moved_units = np.empty((n, recipe.moved), np.int32)
    moved_changes = np.empty((n, recipe.moved), np.float32)
    pictures: list[bytes] = []
    r, start_r, start_x = map(torch.from_numpy, (piece.r, piece.start_r, piece.start_x))
    for first in range(0, n, recipe.batch_size):
        part = slice(first, min(first + recipe.batch_size, n))
        rows, units = torch.from_numpy(row[part]), torch.from_numpy(unit[part])
        moved = set_units(r[rows], units, torch.from_numpy(value[part]), recipe.directions)
        start = start_x[rows].float() / 255 if start_x.dtype == torch.uint8 else start_x[rows]
        look = recipe.look(moved, start)
        floats[:, part], codes[:, part], top[part] = look.floats.T, look.codes.T, look.top
        encoded[part] = look.r[torch.arange(len(rows)), units].numpy()
        change = look.r - start_r[rows]  # [B, R]
        score = (change.abs() * recipe.weights).nan_to_num(-1.0)  # units that never varied come last
        order = score.topk(recipe.moved, dim=1).indices  # [B, moved]
        moved_units[part], moved_changes[part] = order.numpy(), change.gather(1, order).numpy()
        if recipe.pictures:
            pictures += encode_pictures(look.x, recipe.pictures)
        progress(len(rows))
    columns: dict[str, Any] = {
        "unit": unit.astype(np.int32),
        "sample": sample.astype(np.int32),
        "class": _class_column(piece.labels[row], piece.classes),
        "step": step.astype(np.int16),
        "value": value,
        "encoded": encoded,
        **dict(zip(recipe.code_columns, codes, strict=True)),
        **dict(zip(recipe.float_columns, floats, strict=True)),
        "top_class": top,
        "moved_units": pa.FixedSizeListArray.from_arrays(pa.array(moved_units.ravel()), recipe.moved),
        "moved_changes": pa.FixedSizeListArray.from_arrays(pa.array(moved_changes.ravel()), recipe.moved),
    }
    if recipe.pictures:
        columns["picture"] = pa.array(pictures, pa.binary())
    return pa.table(columns, schema=row_schema(recipe))


def start_table(
    recipe: Recipe, labels: np.ndarray, classes: tuple[str, ...], looks: list[tuple[np.ndarray, ...]]
) -> pa.Table:
    """Return the table of the start pictures, a row for each sample, from (floats, codes, top) of its batches."""
    import pyarrow as pa

    floats, codes, top = (np.concatenate(column) for column in zip(*looks, strict=True))
    return pa.table(
        {
            "sample": np.arange(len(labels), dtype=np.int32),
            "class": _class_column(labels, classes),
            **dict(zip(recipe.code_columns, np.ascontiguousarray(codes.T), strict=True)),
            **dict(zip(recipe.float_columns, np.ascontiguousarray(floats.T), strict=True)),
            "top_class": top,
        }
    )


def _class_column(labels: np.ndarray, classes: tuple[str, ...]) -> pa.DictionaryArray:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(labels, pa.int32()), pa.array(classes, pa.string()))


def parquet_bytes(table: pa.Table, told: dict[str, Any]) -> bytes:
    """Return a table as a Parquet file; what is `told` of it, as JSON, is in the metadata of its schema.

    Floats have their bytes split by place, which zstd makes smaller than dictionaries would; pages have checksums.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata({METADATA: json.dumps(told, sort_keys=True)})
    floats = [f.name for f in table.schema if f.type == pa.float32()]
    others = [
        f.name
        for f in table.schema
        if not pa.types.is_nested(f.type) and f.type not in (pa.float32(), pa.binary())
    ]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=others,
        use_byte_stream_split=floats,
        write_statistics=["unit", "sample"] if "unit" in table.column_names else False,
        write_page_checksum=True,
        row_group_size=max(len(table), 1),
    )
    return sink.getvalue()
