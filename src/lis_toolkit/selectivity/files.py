"""Scores on disk: Parquet, with settings and provenance in the file."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, LisError
from ..files import METADATA_KEY, atomic_path, provenance

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "lis_toolkit selectivity 1"


def describe_sweep(sweep: Any) -> dict[str, Any]:
    """Say which sweep scores come from: its folder's name and the sha256 of its manifest; nothing for a bare table."""
    manifest = getattr(sweep, "manifest", None)
    if not isinstance(manifest, dict):
        return {"manifest_sha256": None}
    text = json.dumps(manifest, sort_keys=True, default=str)
    return {
        "manifest_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "complete": getattr(sweep, "complete", None),
    }


def save_scores(path: str | os.PathLike[str], scores: pd.DataFrame) -> None:
    """Write what `score_selectivity` returned as one Parquet file, with its settings and provenance, atomically.

    Raises
    ------
    LisError : a table that is not one of scores, a folder that can't be written.

    Examples
    --------
    >>> save_scores("scores.parquet", scores)
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .score import COLUMNS

    lacking = [name for name in COLUMNS if name not in getattr(scores, "columns", ())]
    if lacking:
        raise LisError(f"the scores lack the columns {lacking}; save what score_selectivity returned.")
    facts = {"format": FORMAT, "settings": scores.attrs.get("lis", {}), "provenance": provenance()}
    plain = scores[list(COLUMNS)].copy()
    plain.attrs = {}
    table = pa.Table.from_pandas(plain, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: json.dumps(facts)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def load_scores(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read scores that `save_scores` wrote; settings are in `.attrs["lis"]`, provenance in `.attrs["provenance"]`.

    Raises
    ------
    CheckpointError : no such file, a damaged one, or one that holds something else.

    Examples
    --------
    >>> scores = load_scores("scores.parquet")
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table, which would take a part of the path such as "seed=3" for a column.
        with pq.ParquetFile(os.fspath(path), page_checksum_verification=True) as file:
            table = file.read()
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}.") from None
    except (OSError, pa.ArrowException) as error:
        raise CheckpointError(f"{path} is not a complete Parquet file: {error}. Save it again.") from error
    try:
        facts = json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
    except (ValueError, RecursionError):
        facts = {}
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no scores ({FORMAT!r} was expected): give a file written by save_scores."
        )
    scores = table.to_pandas()
    scores.attrs = {"lis": facts.get("settings", {}), "provenance": facts.get("provenance", {})}
    return scores
