"""Systematic tuning of every unit: set it, follow the link, render, measure, look again; into a folder."""

from __future__ import annotations

import os
from typing import Any, Literal

from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..stylegan import Generator
from .beginning import is_begun, nearly_same
from .cluster import check_client
from .filling import fill, refuse_other
from .folder import SweepFolder
from .result import Sweep
from .settings import prepare

__all__ = ["sweep_units"]


def sweep_units(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    segmenter: Any = None,
    *,
    out: str | os.PathLike[str],
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
    keep: Literal["agreeing", "all"] | None = None,
    allow_partial: bool = False,
    executor: Any = None,
    retries: int = 3,
    progress: bool = True,
) -> Sweep:
    """Set every unit in every sample to a few values, and put what the pictures then show into a folder of tables.

    For every unit, sample and step one row: the measures of every part and of the whole picture, the similarity to the
    start, the logits, and which units moved when the picture was encoded again. A folder that is not complete, because
    the process was killed for instance, is gone on with by the same call, and ends with the same table as that of a
    run that was not disturbed.

    Parameters
    ----------
    segmenter
        Tells the parts (`load_segmenter`); None: only the whole pictures are measured.
    out
        Folder, made if it is not there. Unrelated files in it stay.
    units
        Indices, or texts such as "unit 17"; None: all. Units that were constant over the link's pairs are left out,
        and named in the result's manifest.
    samples
        Fresh generated pictures of each class (in all, of a generator without classes) to start from. They are others
        than those of `collect_pairs` with the same seed, so a link fitted to these has not seen them.
    classes
        Names or indices; None: all. With `r`: a class for each row, or None for the classifier's answers.
    psi, seed
        Truncation and seed of the samples.
    r
        Activations [N, R] to start from, such as those of real photographs, in place of generated samples.
    steps
        Values each unit is set to, evenly from the least to the largest that it had over the link's pairs.
    directions
        [R, R] with ones on the diagonal: setting unit i by d moves all units by ``d * directions[i]``
        (`companion_directions`). None: the unit is set alone, as in the paper. A folder goes on with its own, and with
        its own `r`, when those given differ by rounding only, as when they are computed by more threads.
    moved
        How many of the units that moved most, in their standard deviations, a row names.
    thumbnails
        Keep every picture: exact PNGs up to 64 pixels, JPEGs beyond.
    precision
        Of the generator's feature maps, as for ``generator.render``.
    batch_size
        Rows at a time, over units, samples and steps together; None: as many as fit. Changes results by rounding only.
    keep, allow_partial
        Of the samples, as for `collect_pairs`: with "all" no class is asked of the classifier; with `allow_partial` a
        class that it refuses gets fewer samples in place of an error.
    executor
        A ``distributed.Client`` (extra "distributed"): every file of rows is a task for its workers, and what they send
        back is written here, so they need not share a file system. See `lis_toolkit.sweep.cluster`.
    retries
        With `executor`: how often a file is tried again after an error or the death of its worker.
    progress
        Say what will be done, and show a bar.

    Returns
    -------
    Sweep

    Raises
    ------
    LisError
        For models that don't fit each other, arguments out of range, a class that the classifier refuses (kept k of n
        tried), a folder of other settings or models (which), one that another process fills or that can't be written.
    CheckpointError
        When the folder's manifest is damaged or of something else.

    Notes
    -----
    Linking in Style (Wehrheim et al. 2024, arXiv 2409.16865), systematic unit tuning. With the same batch size and
    number of threads the table is the same to the last bit; others change floats by rounding, which may bring a pixel
    between two parts to the other one, and change the order of units that moved equally much.

    Examples
    --------
    >>> sweep = sweep_units(generator, classifier, link, load_segmenter("fashion"), out="runs/fashion")
    >>> sweep.table(["unit", "sample", "step", "sleeve.area"], units=[17])
    """
    setup = prepare(
        generator, classifier, link, segmenter, units=units, samples=samples, classes=classes, psi=psi, seed=seed, r=r,
        steps=steps, directions=directions, moved=moved, thumbnails=thumbnails, precision=precision,
        batch_size=batch_size, keep=keep, allow_partial=allow_partial,
    )  # fmt: skip
    folder = SweepFolder(out)
    manifest = folder.read_manifest()
    if manifest is None:
        folder.refuse_foreign()
    else:
        setup = nearly_same(setup, folder, manifest)
        refuse_other(folder, manifest, setup)
        sweep = Sweep.open(out)
        if sweep.complete and is_begun(folder, manifest):
            folder.tidy()
            return sweep
    if executor is not None:
        check_client(executor)
    created, mine = not folder.path.exists(), False
    try:
        with folder.locked():
            mine = True
            fill(setup, folder, executor, retries, progress)
    except BaseException as error:
        if mine:
            _remove_empty(folder, created)
        if isinstance(error, KeyboardInterrupt) and not str(error):
            raise KeyboardInterrupt(
                f"stopped before the first row; the same call begins again in {out}"
            ) from None
        raise
    return Sweep.open(out)


def _remove_empty(folder: SweepFolder, created: bool) -> None:
    """Remove the folders of a sweep that ended before it had anything to keep."""
    for path in (folder.path / "rows", folder.path) if created else (folder.path / "rows",):
        try:
            path.rmdir()
        except OSError:  # there is something in it
            return
