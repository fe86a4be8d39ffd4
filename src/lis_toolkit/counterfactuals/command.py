"""What `lis counterfactual` does: search from generated pictures or photographs; a table, a folder and a sheet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import LisError
from ..files import atomic_path
from ..names import class_index, class_indices, cut, finite_number, whole_number
from .result_files import check_folder
from .setting import METHODS, METRICS

if TYPE_CHECKING:
    from ..classifiers import Classifier
    from ..datasets import Photographs
    from ..link import Link
    from ..pairs import Pairs
    from ..stylegan import Generator
    from .result import Counterfactuals

__all__ = ["add_arguments", "counterfactual_starts", "counterfactual_text", "run"]

BUNDLED = "fashion"  # what --photographs calls those inside the package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis counterfactual` to its parser.

    Examples
    --------
    >>> add_arguments(commands.add_parser("counterfactual"))
    """
    parser.add_argument("--link", required=True, metavar="FILE", help="link file, as `lis fit` writes it")
    parser.add_argument(
        "--from",
        dest="origins",
        nargs="+",
        metavar="CLASS",
        help="names or numbers of the classes to start from (default: all)",
    )
    parser.add_argument(
        "--to",
        default="nearest",
        metavar="CLASS",
        help="name or number of the class to arrive at, nearest or all (%(default)s)",
    )
    parser.add_argument(
        "--samples", type=int, default=8, metavar="N", help="starts of each class (%(default)s)"
    )
    parser.add_argument("--method", choices=METHODS, default="latent", help="way of searching (%(default)s)")
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default="covariance",
        help="what closed_form, and the beginning of latent, calls short (%(default)s)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=None,
        help="logits by which the picture must be the target (default: from the link's classes)",
    )
    parser.add_argument(
        "--photographs",
        metavar="FOLDER",
        help=f'start from photographs: sub-folders named after classes, or "{BUNDLED}" for the bundled ones',
    )
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of generated starts (%(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the starts; that of the link's pairs gives those pairs (%(default)s)",
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows that are shown (%(default)s)")
    parser.add_argument("--out", metavar="DIR", help="write table, paths and manifest into this folder")
    parser.add_argument("--sheet", metavar="FILE", help="draw the first paths into this .png file")
    parser.add_argument("--rows", type=int, default=6, metavar="N", help="rows of the sheet (%(default)s)")
    for model in ("generator", "classifier"):
        parser.add_argument(
            f"--{model}", default="fashion", metavar="NAME", help="name or path (%(default)s)"
        )
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out `lis counterfactual`: print the table, write the folder and the sheet that were asked for.

    Raises
    ------
    LisError : unknown classes, a link of other models or without statistics, files that can't be written.

    Examples
    --------
    >>> run(parser.parse_args(["--link", "link.safetensors", "--from", "Coat", "--to", "Shirt"]))
    """
    from ..classifiers import load_classifier
    from ..link import Link
    from ..stylegan import load_generator
    from .find import find_counterfactuals

    _check(options)
    link = Link.load(options.link).to(options.device or "cpu")
    generator = load_generator(options.generator, device=options.device)
    classifier = load_classifier(options.classifier, device=options.device)
    link.check(generator, classifier)
    if link.statistics is None:
        raise LisError(
            f"{options.link} was written by an older lis_toolkit and holds no statistics of its pairs: give lis fit "
            "again."
        )
    starts = counterfactual_starts(options, generator, classifier)
    target = _target(options.to, classifier)
    result = find_counterfactuals(
        generator, classifier, link, starts, target=target, method=options.method, metric=options.metric,
        margin=options.margin, seed=options.seed, progress=True,
    )  # fmt: skip
    judge = _judge(classifier)
    print(counterfactual_text(result, options.top))
    for line in _remarks(options, result, generator, classifier, link, judge):
        print(line)
    if options.out is not None:
        result.save(options.out)
        print(f"result written to {options.out}")
    if options.sheet is not None:
        _write_sheet(options, result, generator, classifier, link, judge)
        print(f"sheet written to {options.sheet}")


def _check(options: argparse.Namespace) -> None:
    if options.sheet is not None and Path(options.sheet).suffix.lower() != ".png":
        raise LisError(f"--sheet is {options.sheet!r}; a file ending in .png was expected.")
    for name in ("samples", "top", "rows"):
        whole_number(getattr(options, name), f"--{name}", 1)
    whole_number(options.seed, "--seed", 0)
    if options.margin is not None and finite_number(options.margin, "--margin") < 0:
        raise LisError(f"--margin is {options.margin:g}; a number of logits of at least 0 was expected.")
    if options.out is not None:
        check_folder(options.out)  # now, and not when the search is done


def _named(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdigit() else text


def _target(text: str, classifier: Classifier) -> str | int:
    if text in ("nearest", "all"):
        return text
    # Here and not later: pairs of all origins would be drawn in vain.
    return class_index(_named(text), classifier.classes or (), f"classifier {classifier.name!r}")


def counterfactual_starts(
    options: argparse.Namespace, generator: Generator, classifier: Classifier
) -> Pairs | Photographs:
    """Return what was asked to start from: pairs drawn afresh, or photographs, as many of each class.

    Raises
    ------
    LisError : unknown classes, a folder without photographs of them, pairs that can't be drawn.

    Examples
    --------
    >>> starts = counterfactual_starts(options, generator, classifier)
    """
    from ..pairs import collect_pairs

    asked = options.origins and [_named(text) for text in options.origins]
    origins = class_indices(asked, classifier.classes or (), f"classifier {classifier.name!r}")
    target = _target(options.to, classifier)
    if origins == [target]:
        name = classifier.classes[origins[0]]
        raise LisError(f"--from and --to are both {name!r}: there is no way to go; give another --to.")
    if target in origins:
        origins.remove(int(target))  # all the others were asked for
    if options.photographs is None:
        return collect_pairs(
            generator, classifier, origins, options.samples, psi=options.psi, seed=options.seed, progress=True
        )
    return _photographs(options, classifier, origins)


def _photographs(options: argparse.Namespace, classifier: Classifier, origins: list[int]) -> Photographs:
    from ..datasets import FASHION_CLASSES, load_fashion
    from ..own_images.photographs import load_photographs

    if options.photographs == BUNDLED and not Path(BUNDLED).is_dir():
        if classifier.classes != FASHION_CLASSES:
            raise LisError(
                f"the bundled photographs show other classes than {classifier.name!r} knows; give a folder of yours."
            )
        photographs = load_fashion("sample")
    else:
        photographs = load_photographs(options.photographs, classifier, per_class=options.samples)
    rows = [torch.nonzero(photographs.labels == k).flatten()[: options.samples] for k in origins]
    chosen = photographs.subset(torch.cat(rows))
    if len(chosen) == 0:
        names = ", ".join(cut(classifier.classes[k]) for k in origins[:12])
        raise LisError(f"there are no photographs of {names} in {options.photographs}; give other classes.")
    return chosen


def counterfactual_text(result: Counterfactuals, top: int = 20) -> str:
    """Return counterfactuals as a table to read, its first `top` rows, and a line that sums all of them up.

    Examples
    --------
    >>> print(counterfactual_text(result, top=5))
    """
    header = ("start", "from", "to", "success", "margin", "in r (sd)", "in w", "units 90 %", "renders", "way")
    rows = [header]
    for row in result.table.head(top).to_dict("records"):
        found = bool(row["success"])
        rows.append(
            (
                str(row["start"]), cut(row["origin"], 18), cut(row["target"], 18), "yes" if found else "no",
                f"{row['margin_start']:+.1f} to {row['margin_end']:+.1f}", f"{row['distance_r_sd']:.2f}",
                f"{row['distance_w']:.2f}", str(int(row["units_90"])), str(int(row["renders"])),
                row["way"] if found else row["reason"],
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    left = {1, 2, len(header) - 1}  # texts
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    more = [f"... and {len(result) - top} more"] if len(result) > top else []
    return "\n".join([*lines, *more, "", _sums(result)])


def _sums(result: Counterfactuals) -> str:
    """Say how many of the rows succeeded, and the medians over those."""
    from .result import START_IS_TARGET

    table = result.table
    done = table["reason"] == START_IS_TARGET
    asked, found = table[~done], table[table["success"]]
    text = f"{len(found)} of {len(asked)} counterfactuals found"
    if done.any():
        text += f" ({int(done.sum())} left out, whose cycled start is seen as the target already)"
    if len(found) == 0:
        return text + "."
    middle = found[["margin_end", "distance_r_sd", "distance_w", "units_90", "renders"]].median()
    return (
        f"{text}; medians: margin {middle['margin_end']:.1f}, distance {middle['distance_r_sd']:.2f} sd in r and "
        f"{middle['distance_w']:.2f} in w, {middle['units_90']:.0f} units carry 90 %, {middle['renders']:.0f} renders."
    )


def _judge(classifier: Classifier) -> Classifier | None:
    """Return the bundled judge where it knows the same classes and pictures, else None."""
    from ..classifiers import load_classifier
    from ..demo import matching_photographs

    if matching_photographs(classifier) is None:
        return None
    return load_classifier("fashion-judge", device=classifier.device)


def _remarks(
    options: argparse.Namespace,
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier | None,
) -> list[str]:
    """Say what a second classifier sees at the ends, and which starts are not fresh."""
    from .rows import row_measures

    lines = []
    if judge is not None and result.table["success"].any():
        rows = row_measures(result, generator, classifier, link, judge)[0]
        lines.append(
            f"A second classifier, {judge.name}, sees the target in {rows['valid_judge'].sum()} of the "
            f"{rows['valid'].sum()} found."
        )
    if options.photographs is not None:
        cycled = result.table.drop_duplicates("start")
        kept, error = int((cycled["cycled"] == cycled["origin"]).sum()), cycled["cycle_error"].median()
        lines.append(
            f"All is measured from the cycled pictures, those that generator and link draw of the photographs: {kept} "
            f"of {len(cycled)} keep their class there, and the activations are off by {error:.0%} (median)."
        )
    elif link.provenance.get("pairs", {}).get("seed") == options.seed:
        lines.append(
            "The link was fitted to pairs of this seed: give another --seed for starts it has not seen."
        )
    return lines


def _write_sheet(
    options: argparse.Namespace,
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier | None,
) -> None:
    import numpy as np

    from .rows import asked
    from .sheets import counterfactual_sheet

    searched = np.flatnonzero(asked(result.table))  # the others have no way to draw
    rows = (searched if len(searched) else np.arange(len(result)))[: options.rows]
    with atomic_path(options.sheet) as temporary:
        figure = counterfactual_sheet(result, generator, classifier, link, rows=rows, judge=judge)
        figure.savefig(temporary)
