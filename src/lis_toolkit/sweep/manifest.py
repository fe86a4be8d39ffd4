"""What a sweep's manifest must say, and whether what it says holds together."""

from __future__ import annotations

import math
from typing import Any

from .settings import settings_key

__all__ = ["FORMAT", "KINDS", "contradiction"]

FORMAT = "lis-sweep-1"
KINDS = {"settings": dict, "samples": dict, "units": list, "skipped_units": list, "values": list, "steps": int,
         "columns": dict, "start_columns": dict, "image": list, "models": dict, "rows": int, "pairs_per_file": int,
         "files": int, "key": str, "provenance": dict}  # fmt: skip


def contradiction(manifest: dict[str, Any]) -> str | None:
    """Say what of a manifest contradicts the rest; None when it holds together. All of `KINDS` must be there.

    Numbers are compared, never counted up to, so that a wrong one can't keep anyone waiting.

    Examples
    --------
    >>> contradiction({**manifest, "files": 10**12})
    'it tells of 1000000000000 files, and its rows make 3'
    """
    units, steps, samples = manifest["units"], manifest["steps"], manifest["samples"]
    count, classes, counts = (samples.get(name) for name in ("count", "classes", "counts"))
    if not (_whole(units, 0) and units == sorted(set(units)) and units == manifest["settings"].get("units")):
        return "its units are not those of its settings"
    if not _whole(manifest["skipped_units"], 0) or not _whole([steps, count, manifest["pairs_per_file"]], 1):
        return "its steps, samples or pairs of a file are not numbers of things"
    if steps != manifest["settings"].get("steps"):
        return "its steps are not those of its settings"
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return "the classes of its samples are not names"
    if not isinstance(counts, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 and _whole(pair, 0) for pair in counts.values()
    ):
        return "the counts of its samples are not pairs of numbers"
    if not _values(manifest["values"], len(units), steps):
        return f"its values are not {steps} finite numbers for each of {len(units)} units"
    if len(manifest["image"]) != 3 or not _whole(manifest["image"], 1):
        return "its image is not three sizes"
    if manifest.get("pictures", "") not in (None, "png", "jpeg"):
        return f"its pictures are {str(manifest.get('pictures'))[:20]!r}"
    pairs = len(units) * count
    if manifest["rows"] != pairs * steps:
        return (
            f"it tells of {manifest['rows']} rows, and {len(units)} units, {count} samples and {steps} steps"
        )
    files = -(-pairs // manifest["pairs_per_file"])
    if manifest["files"] != files:
        return f"it tells of {manifest['files']} files, and its rows make {files}"
    columns, told = manifest["columns"], manifest["settings"]
    if manifest["key"] != settings_key(
        FORMAT, told, samples.get("sha256"), columns, manifest["pairs_per_file"]
    ):
        return "its key is not that of its settings, samples and columns"
    if any(columns.get(name) != kind for name, kind in manifest["start_columns"].items()):
        return "its start has other columns than its rows"
    return None


def _whole(numbers: Any, least: int) -> bool:
    return all(type(number) is int and number >= least for number in numbers)


def _values(values: Any, units: int, steps: int) -> bool:
    return len(values) == units and all(
        isinstance(row, list)
        and len(row) == steps
        and all(type(v) in (int, float) and abs(v) < 1e39 and math.isfinite(v) for v in row)
        for row in values
    )
