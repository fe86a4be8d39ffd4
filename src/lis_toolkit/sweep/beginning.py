"""The beginning of a sweep: its samples, its manifest, and the pictures that all rows are compared with."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from ..errors import CheckpointError
from ..files import provenance, sha256_file
from ..parts.texture import default_levels, default_radius
from .folder import FORMAT, SAMPLES, START, START_R, START_X, SweepFolder, piece_range, start_note
from .plan import pairs_per_file, small_picture_bytes
from .recipe import Recipe
from .rows import Piece, parquet_bytes, row_schema, start_table
from .samples import Samples, belong, collect_samples, directions_hash
from .settings import Setup, settings_key

__all__ = ["describe", "find_samples", "is_begun", "nearly_same", "read_piece", "render_start"]


def is_begun(folder: SweepFolder, manifest: dict[str, Any]) -> bool:
    """Whether samples and start pictures are there and whole."""
    try:
        samples, _, directions = Samples.load(folder.path / SAMPLES)
    except CheckpointError:
        return False
    return belong(samples, directions, manifest) and folder.start_finished(manifest)


def nearly_same(setup: Setup, folder: SweepFolder, manifest: dict[str, Any]) -> Setup:
    """Return the request with the folder's own directions and activations, where those given differ by rounding only.

    Computed again by another number of threads, as `lis sweep --companions` does, both differ in their last bits.
    """
    told, settings = manifest["settings"], dict(setup.settings)
    changes: dict[str, Any] = {}
    if all(told.get(name) == settings.get(name) for name in ("directions", "r")):
        return setup
    try:
        samples, _, directions = Samples.load(folder.path / SAMPLES)
    except CheckpointError:
        return setup
    if not belong(samples, directions, manifest):
        return setup
    if _near(setup.directions, directions):
        settings["directions"], changes["directions"] = told["directions"], directions
    given = setup.given
    if (
        given is not None
        and "r" in told
        and _near(given.r, samples.r)
        and given.classes == samples.classes
        and torch.equal(given.labels, samples.labels)
    ):
        settings["r"], changes["given"] = told["r"], samples
    return replace(setup, settings=settings, **changes)


def _near(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def find_samples(
    setup: Setup, folder: SweepFolder, manifest: dict[str, Any] | None, progress: bool
) -> Samples:
    """Return the samples: those of the folder, those that were given, or fresh ones, which are written."""
    path = folder.path / SAMPLES
    if path.exists():
        try:
            before, settings, directions = Samples.load(path)
        except CheckpointError:
            if manifest is None:  # no sweep is here, so it is not ours
                raise
        else:
            # Without a manifest: of a sweep that was killed before it had begun.
            fits = (
                settings == setup.settings and directions_hash(directions) == settings.get("directions")
                if manifest is None
                else belong(before, directions, manifest)
            )
            if fits:
                return before
    asked = setup.settings
    samples = setup.given or collect_samples(
        setup.generator,
        setup.classifier,
        classes=asked["classes"],
        per_class=asked["samples"],
        psi=asked["psi"],
        seed=asked["seed"],
        keep=asked["keep"],
        allow_partial=asked["allow_partial"],
        progress=progress,
    )
    if manifest is not None and samples.sha256 != manifest["samples"]["sha256"]:
        raise CheckpointError(
            f"{path} is missing or damaged, and the samples collected in its place differ, as on another machine: the "
            "rows that are there can't be gone on with. Give another folder."
        )
    with folder.writing(SAMPLES) as temporary:
        samples.save(temporary, asked, setup.directions)
    return samples


def describe(setup: Setup, recipe: Recipe, samples: Samples) -> dict[str, Any]:
    """Return the manifest of a sweep that is about to begin."""
    generator = setup.generator
    pairs = len(setup.units) * len(samples)
    size = pairs_per_file(recipe, len(samples))
    columns = {field.name: str(field.type) for field in row_schema(recipe)}
    beside = ("unit", "step", "value", "encoded", "moved_units", "moved_changes", "picture")
    told = {
        "count": len(samples),
        "sha256": samples.sha256,
        "classes": list(samples.classes),
        "counts": {name: list(count) for name, count in samples.counts.items()},
        "generated": samples.z is not None,
    }
    return {
        "format": FORMAT,
        "key": settings_key(FORMAT, setup.settings, told["sha256"], columns, size),
        "settings": setup.settings,
        "models": setup.names,
        "samples": told,
        "units": list(setup.units),
        "skipped_units": list(setup.skipped),
        "values": recipe.values.tolist(),
        "steps": recipe.steps,
        "classifier_classes": list(setup.classifier.classes),
        "legend": None if recipe.legend is None else recipe.legend.to_json(),
        "image": [generator.img_channels, generator.img_resolution, generator.img_resolution],
        "pictures": recipe.pictures,
        "measures": _measures_told(recipe),
        "columns": columns,
        "start_columns": {name: kind for name, kind in columns.items() if name not in beside},
        "rows": pairs * recipe.steps,
        "pairs_per_file": size,
        "files": -(-pairs // size),
        "provenance": provenance(
            batch_size=setup.batch_size, threads=torch.get_num_threads(), device=generator.device.type
        ),
    }


def render_start(recipe: Recipe, folder: SweepFolder, manifest: dict[str, Any], samples: Samples) -> None:
    """Render the start picture of every sample, batch by batch into files, and write the table of what they show."""
    shape = (len(samples), *manifest["image"])
    exact = small_picture_bytes(shape[-1])
    looks: list[tuple[np.ndarray, ...]] = []
    with (
        folder.writing(START_X) as path_x,
        folder.writing(START_R) as path_r,
        contextlib.ExitStack() as files,
    ):
        pictures = _array_file(path_x, "<f4" if exact else "|u1", shape, files)
        activations = _array_file(path_r, "<f4", tuple(samples.r.shape), files)
        for r in samples.r.split(recipe.batch_size):
            look = recipe.look(r, None)
            x = look.x.float() if exact else (look.x * 255).round().to(torch.uint8)
            pictures.write(np.ascontiguousarray(x.cpu().numpy()).data)
            activations.write(np.ascontiguousarray(look.r.numpy()).data)
            looks.append((look.floats, look.codes, look.top))
    table = start_table(recipe, samples.labels.numpy(), samples.classes, looks)
    sums = {name: sha256_file(folder.path / name) for name in (START_X, START_R)}  # arrays have no checksums
    folder.write(START, parquet_bytes(table, start_note(manifest) | {"sha256": sums}))


def read_piece(folder: SweepFolder, manifest: dict[str, Any], samples: Samples, index: int) -> Piece:
    """Gather what the rows of one file are made from; start pictures are read from the disk."""
    start, stop = piece_range(manifest, index)
    count = len(samples)
    which = np.unique(np.arange(start, min(stop, start + count)) % count)
    start_x, start_r = folder.start_arrays()
    return Piece(
        start,
        stop,
        count,
        which,
        samples.r.numpy()[which],
        np.asarray(start_r[which]),
        np.asarray(start_x[which]),
        samples.labels.numpy()[which],
        samples.classes,
    )


def _measures_told(recipe: Recipe) -> dict[str, Any] | None:
    """Return what the measures of parts depend on beside the pictures, so that rows of two kinds are not mixed."""
    if recipe.legend is None:
        return None
    radius = default_radius(*[recipe.generator.img_resolution] * 2)
    return {"entropy_radius": radius, "entropy_levels": default_levels(radius)}


def _array_file(path: Path, kind: str, shape: tuple[int, ...], files: contextlib.ExitStack) -> IO[bytes]:
    """Open a .npy file and write its head. Not mapped: on a disk that fills up, a hole in a mapped file kills."""
    file = files.enter_context(path.open("wb"))
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})  # type: ignore[arg-type]
    return file
