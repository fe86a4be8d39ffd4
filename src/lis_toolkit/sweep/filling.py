"""Filling a sweep's folder: what is missing is computed, here or on a cluster, and written file by file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from ..errors import LisError
from .beginning import describe, find_samples, read_piece, render_start
from .cluster import run_on_cluster
from .folder import SweepFolder, piece_note, piece_range, piece_units
from .plan import SweepPlan, estimate
from .recipe import Recipe
from .rows import compute_piece, parquet_bytes
from .samples import Samples
from .settings import Setup, differences

__all__ = ["fill", "refuse_other"]

AGAIN = "Give the same settings to go on with it, or another folder."


def refuse_other(folder: SweepFolder, manifest: dict[str, Any], setup: Setup) -> None:
    """Raise a LisError with what differs when a folder's sweep has other settings or models."""
    found = differences(manifest["settings"], setup.settings)
    if found:
        raise LisError(f"{folder.path} holds another sweep. {'; '.join(found)}. {AGAIN}")


def fill(setup: Setup, folder: SweepFolder, executor: Any, retries: int, progress: bool) -> None:
    """Bring everything that is missing into the folder."""
    manifest = folder.read_manifest()
    if manifest is not None:  # written since, or there before
        refuse_other(folder, manifest, setup)
    samples = find_samples(setup, folder, manifest, progress)
    recipe = setup.recipe(samples.classes)
    planned = describe(setup, recipe, samples)
    if manifest is None:
        manifest = planned
        folder.write_manifest(manifest)
    elif manifest["columns"] != planned["columns"]:
        other = sorted(set(manifest["columns"]) ^ set(planned["columns"])) or ["their order"]
        raise LisError(
            f"{folder.path} was begun by a version of lis_toolkit whose tables have other columns "
            f"({', '.join(other[:6])}), {manifest['provenance'].get('lis_toolkit')}: go on with it, or give "
            "another folder."
        )
    if manifest.get("measures", planned["measures"]) != planned["measures"]:
        raise LisError(
            f"{folder.path} was begun by a version of lis_toolkit, {manifest['provenance'].get('lis_toolkit')}, whose "
            f"measures are others ({manifest['measures']}, here {planned['measures']}): go on with it, or give another "
            "folder."
        )
    if not folder.start_finished(manifest, thoroughly=True):
        render_start(recipe, folder, manifest, samples)
    missing = [i for i in range(manifest["files"]) if not folder.finished(manifest, i)]
    if not missing:
        return
    rows = {i: _rows_of(manifest, i) for i in missing}
    size, seconds, per_file = estimate(recipe, samples.r, samples.classes)
    plan = SweepPlan(
        setup.units,
        setup.skipped,
        len(samples),
        recipe.steps,
        manifest["rows"],
        manifest["files"],
        int(size * manifest["rows"] + per_file * manifest["files"]),
        seconds * sum(rows.values()),
        sum(rows.values()),
    )
    _check_space(folder, size * plan.missing + per_file * len(missing))
    if progress:
        tqdm.write(f"sweep: {plan}", file=sys.stderr)
    done = manifest["rows"] - plan.missing
    with tqdm(total=manifest["rows"], initial=done, desc="sweep", unit="row", disable=not progress) as bar:
        written = [done]

        def keep(index: int, content: bytes) -> None:
            folder.write(f"rows/{index:05d}.parquet", content)
            written[0] += rows[index]

        def keep_from_cluster(index: int, content: bytes) -> None:
            keep(index, content)
            bar.update(rows[index])

        try:
            if executor is None:
                _run_here(recipe, folder, manifest, samples, missing, keep, bar.update)
            else:
                tasks = (
                    (i, read_piece(folder, manifest, samples, i), piece_note(manifest, i)) for i in missing
                )
                run_on_cluster(
                    executor,
                    recipe,
                    tasks,
                    keep_from_cluster,
                    lambda i: _called(manifest, i),
                    retries,
                )
        except (KeyboardInterrupt, RuntimeError) as stop:
            if not is_interrupt(stop):
                raise
            raise KeyboardInterrupt(
                f"stopped after {written[0]:,} of {manifest['rows']:,} rows, which are kept; the same call goes on "
                f"from there in {folder.path}"
            ) from None


def is_interrupt(stop: BaseException | None) -> bool:
    """Whether an error is Ctrl-C, or what a lock or a foreign library made of it."""
    while stop is not None and not isinstance(stop, KeyboardInterrupt):
        stop = stop.__cause__ or stop.__context__
    return stop is not None


def _run_here(
    recipe: Recipe,
    folder: SweepFolder,
    manifest: dict[str, Any],
    samples: Samples,
    missing: list[int],
    keep: Callable[[int, bytes], None],
    progress: Callable[[int], Any],
) -> None:
    for index in missing:
        table = compute_piece(recipe, read_piece(folder, manifest, samples, index), progress)
        keep(index, parquet_bytes(table, piece_note(manifest, index)))


def _rows_of(manifest: dict[str, Any], index: int) -> int:
    start, stop = piece_range(manifest, index)
    return int((stop - start) * manifest["steps"])


def _called(manifest: dict[str, Any], index: int) -> str:
    units = piece_units(manifest, index)
    named = f"unit {units[0]}" if len(units) == 1 else f"units {units[0]} to {units[-1]}"
    return f"rows/{index:05d}.parquet ({named})"


def _check_space(folder: SweepFolder, needed: float) -> None:
    free = shutil.disk_usage(folder.path).free
    if free < needed:
        raise LisError(
            f"the missing rows take about {needed / 1e6:,.0f} MB, {folder.path} has {free / 1e6:,.0f} MB left. Make "
            "room, sweep fewer units or samples, or give a folder on another disk."
        )
