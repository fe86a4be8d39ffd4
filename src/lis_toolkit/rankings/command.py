"""What `lis rank` does: which units change a part most, as a table, a file and a contact sheet."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import LisError
from ..files import atomic_path
from .rows import POOLED, cut, share_text
from .texts import amount, change_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_arguments", "rank_sweep", "ranking_text", "run", "write_ranking"]

ORDERS = ("effect", "mean_change", "part_selectivity", "unit_selectivity")
ENDINGS = (".csv", ".parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis rank` to its parser.

    Examples
    --------
    >>> add_arguments(commands.add_parser("rank"))
    """
    parser.add_argument("sweep", metavar="SWEEP", help="folder of a sweep (lis sweep)")
    parser.add_argument(
        "--part", required=True, help="sleeve, for instance; an unknown one lists those there are"
    )
    parser.add_argument("--measure", default="area", help="area, area_relative, luminance, ... (%(default)s)")
    parser.add_argument(
        "--class",
        dest="classes",
        nargs="+",
        metavar="CLASS",
        help="classes of the samples, together (default: all)",
    )
    parser.add_argument(
        "--direction",
        choices=("more", "less"),
        default=None,
        help="units that raise the measure, or lower it",
    )
    parser.add_argument(
        "--by", choices=ORDERS, default="effect", help="what the units are sorted by (%(default)s)"
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="units that are shown (%(default)s)")
    parser.add_argument("--out", metavar="FILE", help="write all ranked units to this .csv or .parquet file")
    parser.add_argument("--sheet", metavar="FILE", help="draw the top units' pictures into this .png file")
    parser.add_argument("--rows", type=int, default=5, metavar="N", help="units of the sheet (%(default)s)")
    parser.add_argument(
        "--link",
        metavar="FILE",
        help="link of the sweep (lis fit): the sheet's pictures are rendered, parts outlined",
    )
    for model in ("generator", "segmenter"):
        parser.add_argument(
            f"--{model}", metavar="NAME", help="name or path (default: what the sweep calls it)"
        )
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out `lis rank`: print the table, write the file and the sheet that were asked for.

    Raises
    ------
    LisError : unknown parts, measures and classes, files that can't be written, a sheet without pictures.

    Examples
    --------
    >>> run(parser.parse_args(["runs/fashion", "--part", "sleeve"]))
    """
    from ..sweep import Sweep

    for name, endings in (("out", ENDINGS), ("sheet", (".png",))):
        path = getattr(options, name)
        if path is not None and Path(path).suffix.lower() not in endings:
            raise LisError(f"--{name} is {path!r}; a file ending in {' or '.join(endings)} was expected.")
    for name in ("top", "rows"):
        if getattr(options, name) < 1:
            raise LisError(f"--{name} is {getattr(options, name)}; a whole number from 1 was expected.")
    sweep = Sweep.open(options.sweep)
    ranked = rank_sweep(sweep, options.part, options.measure, options.classes, options.direction, options.by)
    print(ranking_text(ranked, options.top))
    told = ranked.attrs["lis"]
    seldom = [name for name in told["classes"] if name not in told["pooled"][options.part]]
    if seldom:
        more = f" and {len(seldom) - 12} more" if len(seldom) > 12 else ""
        print(
            f"Left out: {', '.join(map(cut, seldom[:12]))}{more}; fewer than half of the start pictures there have the "
            "part. --class asks for them."
        )
    if not sweep.complete:
        print(
            "The sweep is not complete: what is there was ranked. lis sweep with the same options goes on with it."
        )
    if options.out is not None:
        write_ranking(options.out, ranked)
        print(f"{len(ranked)} units written to {options.out}")
    if options.sheet is not None:
        _write_sheet(options, sweep, ranked)
        bare = "; --link FILE outlines the part" if options.link is None and options.part != "picture" else ""
        print(f"sheet written to {options.sheet}{bare}")


def rank_sweep(
    sweep: Any,
    part: str,
    measure: str = "area",
    classes: list[str] | None = None,
    direction: Literal["more", "less"] | None = None,
    by: str = "effect",
) -> pd.DataFrame:
    """Score one measure of one part over a sweep, and sort the units.

    Parameters
    ----------
    sweep : a Sweep or its table.
    part, measure : what is ranked.
    classes : of the samples; several are pooled, whether they have the part or not; None: all that have it.
    direction : "more", "less", or None for both.
    by : column that is sorted by, as in `rank_units`.

    Returns
    -------
    DataFrame of `rank_units`, units without a value left out.

    Raises
    ------
    LisError : names that the sweep does not have, or no unit with a change in this direction.

    Examples
    --------
    >>> rank_sweep(Sweep.open("runs/fashion"), "sleeve", "area", direction="more").head()
    """
    from ..selectivity import rank_units, score_selectivity

    least = 0.5 if classes is None else 0.0
    scores = score_selectivity(sweep, part=part, measure=measure, classes=classes, min_occurrence=least)
    class_name = classes[0] if classes is not None and len(classes) == 1 else POOLED
    settings = scores.attrs
    ranked = rank_units(scores, part, measure, class_name, direction=direction, by=by)
    ranked = ranked[ranked["effect"].notna()].reset_index(drop=True)
    if len(ranked) == 0:
        where = "any class" if class_name == POOLED else f"class {class_name}"
        way = {"more": " raises", "less": " lowers"}.get(str(direction), " changes")
        most = scores.loc[scores["class"] == class_name, "samples"].max()
        raise LisError(
            f"no unit{way} the {measure} of {part} in {where}, in as many samples as it takes to say so "
            f"({settings['lis']['min_samples']}; here {most} at most have a value at the first and the last step): "
            "choose another part, measure, class or direction, or sweep with more samples."
        )
    ranked.attrs = settings
    return ranked


def ranking_text(ranked: pd.DataFrame, top: int = 20) -> str:
    """Return a ranking as a table to read, the first `top` units of it.

    Examples
    --------
    >>> print(ranking_text(rank_sweep(sweep, "sleeve"), top=5))
    """
    first = ranked.iloc[0]
    part, measure, class_name = str(first["part"]), str(first["measure"]), str(first["class"])
    of = "classes pooled" if class_name == POOLED else cut(class_name, 40)
    if class_name == POOLED and (pooled := ranked.attrs.get("lis", {}).get("pooled", {}).get(part)):
        of = cut(", ".join(pooled), 60) if len(pooled) < 4 else f"{len(pooled)} classes"
    share = f"{100 * ranked.attrs.get('lis', {}).get('confidence', 0.95):.3g} % interval"
    header = ("rank", "unit", "change", share, "effect", "q", "same sign", "of part", "of units", "samples")
    rows = [header]
    for row in ranked.head(top).to_dict("records"):
        low, middle, high = (
            amount(measure, float(row[name]), True) for name in ("low", "mean_change", "high")
        )
        rows.append(
            (
                str(row["rank"]), str(row["unit"]), middle, f"{low} to {high}", f"{row['effect']:+.2f}",
                f"{row['q']:.2g}", share_text(row["same_sign"]), _signed(row["part_selectivity"], 2),
                _signed(row["unit_selectivity"], 1), str(row["samples"]),
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    more = f", the first {top} of {len(ranked)} units" if len(ranked) > top else ""
    return "\n".join(
        [
            f"{part}: {measure}, {of}, last step minus first{more}",
            "",
            *lines,
            "",
            f"{change_label(measure)}.",
            "effect: mean change / sd over samples. q: corrected for all units and classes.",
            "of part: this part against the unit's strongest other part, -1 to 1. of units: robust z among all units.",
        ]
    )


def _signed(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:+.{digits}f}"


def write_ranking(path: str | os.PathLike[str], ranked: pd.DataFrame) -> None:
    """Write a ranking as CSV or Parquet, by the file's ending, whole or not at all.

    Raises
    ------
    LisError : another ending, or a folder that can't be written.

    Examples
    --------
    >>> write_ranking("sleeve.csv", ranked)
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise LisError(
            f"the ranking can't be written to {path}: a file ending in .csv or .parquet was expected."
        )
    plain = ranked.copy()
    plain.attrs = {}
    with atomic_path(path) as temporary:
        if ending == ".csv":
            plain.to_csv(temporary, index=False, encoding="utf-8")
        else:
            plain.to_parquet(temporary, index=False)


def _write_sheet(options: argparse.Namespace, sweep: Any, ranked: pd.DataFrame) -> None:
    from .sheets import ranking_sheet

    models: dict[str, Any] = {}
    if options.link is not None:
        from ..link import Link
        from ..parts import load_segmenter
        from ..stylegan import load_generator

        called = sweep.manifest["models"]
        segmenter = options.segmenter or called.get("segmenter")
        if segmenter is None:
            raise LisError(
                "the sweep was made without a segmenter: there is no part to outline; leave out --link."
            )
        models = {
            "generator": load_generator(options.generator or called["generator"], device=options.device),
            "link": Link.load(options.link).to(options.device or "cpu"),
            "segmenter": load_segmenter(segmenter, device=options.device),
        }
    elif sweep.manifest["pictures"] is None:
        raise LisError(
            "the sweep kept no pictures to make a sheet of: give the link that it was made with (--link FILE) to "
            "render them again, or sweep with --thumbnails."
        )
    units = ranked["unit"].head(options.rows).tolist()
    class_name = str(ranked["class"].iloc[0])
    with atomic_path(options.sheet) as temporary:
        figure = ranking_sheet(
            sweep, ranked, options.part, options.measure, class_name, units=units, **models
        )
        figure.savefig(temporary)
