"""The command `lis sweep`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import LisError
from ..stylegan.generator import PRECISIONS

COMPANION_PAIRS = 200  # generated pictures of each class from which --companions learns

__all__ = ["add_arguments", "parse_units", "run_sweep_command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lis sweep` to its parser."""
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder of the tables; one that is not complete is gone on with",
    )
    parser.add_argument("--link", required=True, metavar="FILE", help="link file, as `lis fit` writes it")
    parser.add_argument("--generator", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument("--classifier", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument(
        "--segmenter",
        default=None,
        metavar="NAME",
        help='name or path; "none": whole pictures only (default: "fashion" for that generator, else none)',
    )
    parser.add_argument(
        "--units", nargs="+", metavar="UNIT", help="numbers and ranges, such as 3 17 40-63 (default: all)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=50,
        metavar="N",
        help="pictures of each class to start from (%(default)s)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="names or numbers of classes (default: all)"
    )
    parser.add_argument(
        "--steps", type=int, default=3, metavar="N", help="values that every unit is set to (%(default)s)"
    )
    parser.add_argument(
        "--companions",
        action="store_true",
        help="set units together with those that usually move with them within a class, not alone",
    )
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of the latents (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default=None,
        help="of the generator's feature maps (float32)",
    )
    parser.add_argument("--thumbnails", action="store_true", help="keep every picture in the tables, too")
    parser.add_argument(
        "--batch-size", type=int, default=None, metavar="N", help="rows at a time (default: as many as fit)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes on this machine (default: this one alone)",
    )
    parser.add_argument("--plan", action="store_true", help="say what it would take, and write nothing")
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")


def run_sweep_command(options: argparse.Namespace) -> None:
    """Carry out `lis sweep`."""
    from ..classifiers import load_classifier
    from ..directions import companion_directions
    from ..link import Link
    from ..pairs import collect_pairs
    from ..stylegan import load_generator
    from .plan import plan_sweep
    from .sweep import sweep_units

    units = None if options.units is None else parse_units(options.units)
    classes = options.classes and [int(c) if c.isdigit() else c for c in options.classes]
    link = Link.load(options.link)
    generator = load_generator(options.generator, device=options.device)
    classifier = load_classifier(options.classifier, device=options.device)
    models = (generator, classifier, link, _segmenter(options))
    directions = None
    if options.companions:
        pairs = collect_pairs(
            generator, classifier, classes, COMPANION_PAIRS, psi=options.psi, seed=options.seed, progress=True
        )
        directions = companion_directions(pairs)
    asked: dict[str, Any] = {
        "units": units,
        "directions": directions,
        "samples": options.samples,
        "classes": classes,
        "psi": options.psi,
        "seed": options.seed,
        "steps": options.steps,
        "thumbnails": options.thumbnails,
        "precision": options.precision,
        "batch_size": options.batch_size,
    }
    if options.plan:
        print(plan_sweep(*models, **asked))
        return
    with _workers(options.workers) as client:
        sweep = sweep_units(*models, out=options.out, executor=client, **asked)
    print(sweep.summary())


def parse_units(texts: Sequence[str]) -> list[int]:
    """Return the numbers of units given as numbers and ranges.

    Raises
    ------
    LisError
        For a text that is neither.

    Examples
    --------
    >>> parse_units(["3", "10-12"])
    [3, 10, 11, 12]
    """
    units: list[int] = []
    for text in texts:
        first, dash, last = text.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or int(last) < int(first):
            raise LisError(f"units are given as numbers and ranges, such as 3 17 40-63; got {text!r}.")
        units += range(int(first), int(last) + 1)
    return units


def _segmenter(options: argparse.Namespace) -> Any:
    name = options.segmenter or ("fashion" if options.generator == "fashion" else "none")
    if name == "none":
        return None
    from ..parts.segmenter import load_segmenter

    return load_segmenter(name, device=options.device)


@contextlib.contextmanager
def _workers(count: int) -> Iterator[Any]:
    """Give a client of so many processes on this machine; None for none."""
    if count < 0:
        raise LisError(f"--workers is {count}; a whole number from 0 was expected.")
    if count == 0:
        yield None
        return
    from .cluster import packages

    distributed, _ = packages()
    with (
        distributed.LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
