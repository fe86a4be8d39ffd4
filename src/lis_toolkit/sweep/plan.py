"""What a sweep will take, before it starts: rows, files, bytes, time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..stylegan import Generator
from .recipe import Recipe
from .rows import Piece, compute_piece, parquet_bytes
from .settings import Setup, prepare, shown

__all__ = ["SweepPlan", "estimate", "pairs_per_file", "plan_sweep", "small_picture_bytes"]

ROWS_PER_FILE, LEAST_ROWS = 4096, 256
FILES = 32  # of a sweep that could have as many of at least 256 rows
START_BYTES = 2**25  # of the start pictures that one file's rows are compared with
CALIBRATION = 64  # rows that are timed
SLOW = 1.0  # seconds: when so few rows take so long, no more are timed


@dataclass(frozen=True)
class SweepPlan:
    """Size of a sweep, and what is left of it.

    Attributes
    ----------
    units : tuple of int
        Units to be set.
    skipped : tuple of int
        Units left out: they were constant over the link's pairs.
    samples, steps, rows, files : int
    bytes : int
        Of the whole folder's rows, estimated from a few.
    seconds : float
        For the rows that are missing, in this process, by the time that a few took.
    missing : int
        Rows that are not there yet.

    Examples
    --------
    >>> print(plan_sweep(generator, classifier, link, segmenter, samples=50))
    """

    units: tuple[int, ...]
    skipped: tuple[int, ...]
    samples: int
    steps: int
    rows: int
    files: int
    bytes: int
    seconds: float
    missing: int

    def __str__(self) -> str:
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        files = f"{self.files:,} file{'' if self.files == 1 else 's'}"
        text = (
            f"{len(self.units):,} units x {self.samples:,} samples x {steps} = {self.rows:,} rows in {files}, about "
            f"{_size(self.bytes)}"
        )
        if self.missing < self.rows:
            text += f"; {self.rows - self.missing:,} rows are there"
        text += f"; about {_duration(self.seconds)} in one process if nothing else runs"
        if self.skipped:
            text += f". Left out, constant over the link's pairs: units {shown(self.skipped)}"
        return text


def plan_sweep(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    segmenter: Any = None,
    *,
    units: Any = None,
    samples: int = 50,
    classes: Any = None,
    psi: float = 0.7,
    seed: int = 0,
    r: Tensor | None = None,
    steps: int = 3,
    directions: Tensor | None = None,
    moved: int = 8,
    thumbnails: bool = False,
    precision: str | None = None,
    batch_size: int | None = None,
) -> SweepPlan:
    """Say how many rows, files and bytes a sweep has and how long it takes here, by computing a few rows.

    Parameters
    ----------
    generator, classifier, link, segmenter
        Models, as for `sweep_units`, and so are all other arguments. Nothing is written.
    units, samples, classes, psi, seed, r, steps, directions, moved, thumbnails, precision, batch_size
        What is to be done.

    Returns
    -------
    SweepPlan
        Its time does not count collecting the samples, which takes as long as that many rows.

    Raises
    ------
    LisError
        As `sweep_units`, for arguments that it would refuse.

    Examples
    --------
    >>> plan = plan_sweep(generator, classifier, link, segmenter, samples=50)
    >>> plan.rows, plan.seconds / 3600
    """
    setup = prepare(
        generator, classifier, link, segmenter, units=units, samples=samples, classes=classes, psi=psi, seed=seed, r=r,
        steps=steps, directions=directions, moved=moved, thumbnails=thumbnails, precision=precision,
        batch_size=batch_size, keep=None, allow_partial=False,
    )  # fmt: skip
    if setup.given is not None:
        count, some, names = len(setup.given), setup.given.r, setup.given.classes
    else:
        names = tuple(setup.settings["classes"] or ())
        count, some = setup.settings["samples"] * max(len(names), 1), _some_activations(setup)
    recipe = setup.recipe(names)
    rows = len(setup.units) * count * recipe.steps
    size, seconds, per_file = estimate(recipe, some, names or ("any",))
    files = -(-len(setup.units) * count // pairs_per_file(recipe, count))
    return SweepPlan(
        setup.units,
        setup.skipped,
        count,
        recipe.steps,
        rows,
        files,
        int(size * rows + per_file * files),
        seconds * rows,
        rows,
    )


@torch.no_grad()
def _some_activations(setup: Setup) -> Tensor:
    """Return activations of a few pictures, whatever the classifier takes them for."""
    generator, classifier = setup.generator, setup.classifier
    names, n = setup.settings["classes"], 6
    labels = [names[i % len(names)] for i in range(n)] if names else None
    w = generator.map(generator.sample_z(n, 0), labels, setup.settings["psi"])
    x = generator.render(w, precision=setup.settings["precision"])
    return classifier.features(x.to(classifier.device, classifier.dtype)).float().cpu()


def pairs_per_file(recipe: Recipe, samples: int) -> int:
    """Return how many (unit, sample) pairs a file has; the settings alone decide, so that files can be compared.

    Small sweeps have files enough for a few workers, large ones files that are not too many.
    """
    side = recipe.generator.img_resolution
    one = recipe.generator.img_channels * side**2 * (4 if small_picture_bytes(side) else 1)
    share = -(-len(recipe.units) * samples // FILES)
    rows = max(share * recipe.steps, LEAST_ROWS)
    return max(1, min(min(rows, ROWS_PER_FILE) // recipe.steps, START_BYTES // one))


def small_picture_bytes(side: int) -> bool:
    """Whether start pictures are kept as floats; larger ones are rounded to bytes."""
    from .thumbnails import SMALL

    return side <= SMALL


def estimate(recipe: Recipe, r: Tensor, classes: tuple[str, ...]) -> tuple[float, float, float]:
    """Compute a few rows; return bytes a row, seconds a row, and bytes that every file has beside its rows."""
    few = r[: max(1, min(len(r), 6))]
    start = recipe.look(few, None)
    arrays = few.numpy(), start.r.numpy(), start.x.cpu().numpy()
    labels, which = np.zeros(len(few), np.int64), np.arange(len(few))
    for wanted in (1, 8, CALIBRATION):  # the first ones load and prepare what the later ones find ready
        pairs = min(max(1, wanted // recipe.steps), len(recipe.units) * len(few))
        begin = time.perf_counter()
        table = compute_piece(recipe, Piece(0, pairs, len(few), which, *arrays, labels, classes[:1]))
        seconds = (time.perf_counter() - begin) / len(table)
        if wanted > 1 and seconds * CALIBRATION > SLOW:
            break
    whole, half = len(parquet_bytes(table, {})), len(parquet_bytes(table.slice(0, len(table) // 2), {}))
    size = max(whole - half, 1) / (len(table) - len(table) // 2)
    return size, seconds, max(whole - size * len(table), 0.0)


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{max(count / 1e3, 1):,.0f} kB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"
