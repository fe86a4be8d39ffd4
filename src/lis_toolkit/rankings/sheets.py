"""Contact sheets of a ranking: the top units in typical samples of a sweep, the ranking's numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import LisError
from ..files import sha256_tensors
from ..names import spelling_hint, whole_number
from ..parts.measures import ABSENT
from .rows import POOLED, chosen_rows, cut, ranking_title, share_text, unit_rows
from .texts import RELATIVE, amount
from .tuned_sheets import MOST_ROWS, TunedRow, tune_parts, tuned_sheet

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["kept_rows", "ranking_rows", "ranking_sheet", "score_lines", "typical_samples"]


def typical_samples(
    sweep: Any,
    unit: int,
    part: str,
    measure: str,
    class_name: str | Sequence[str] = POOLED,
    count: int = 1,
) -> pd.DataFrame:
    """Choose samples that show what a unit usually does: the one of the median change, or evenly spread ones.

    Parameters
    ----------
    sweep : a Sweep or its table.
    unit, part, measure : which changes.
    class_name : one or several whose samples are taken; "all" takes all.
    count : 1 is the median; 3 are the changes at 1/6, 1/2 and 5/6 of the sorted ones, and so on.

    Returns
    -------
    DataFrame
        sample, class, change; from the smallest to the largest change.

    Raises
    ------
    LisError : no sample in which the change is defined, and what `unit_changes` refuses.

    Examples
    --------
    >>> typical_samples(sweep, 17, "sleeve", "area", "Shirt", count=3)
    """
    from ..selectivity import unit_changes

    whole_number(count, "count", 1)
    changes = unit_changes(sweep, part, measure, units=[int(unit)]).to_frame()
    kept = changes[changes["change"].notna()]
    wanted = [class_name] if isinstance(class_name, str) else list(class_name)
    if wanted != [POOLED]:
        known = [str(name) for name in dict.fromkeys(changes["class"])]
        for name in wanted:
            if name not in known:
                raise LisError(
                    f"the sweep has no class {name!r}; it has {', '.join(known[:30])}.{spelling_hint(name, known)}"
                )
        kept = kept[kept["class"].isin(wanted)]
    if len(kept) == 0:
        raise LisError(
            f"unit {unit} has no sample of {'any class' if wanted == [POOLED] else ', '.join(wanted)} in which {part} "
            f"{measure} is defined; choose another part or class."
        )
    kept = kept.sort_values(["change", "sample"], kind="stable")
    places = [
        min(len(kept) - 1, int((2 * i + 1) / (2 * count) * len(kept))) for i in range(min(count, len(kept)))
    ]
    return kept.iloc[places][["sample", "class", "change"]].reset_index(drop=True)


def ranking_sheet(
    sweep: Any,
    scores: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    *,
    generator: Any = None,
    link: Any = None,
    segmenter: Any = None,
    units: Sequence[int] | None = None,
    top: int = 5,
    samples: int = 1,
    outline: str = "part",
    title: str | None = None,
) -> Figure:
    """Draw the top units of a ranking in typical samples of a sweep, with the ranking's numbers beside each.

    Each unit is shown in the sample of the median change, so neither in the best one nor in one that was picked; of all
    classes together, among the classes that the scores pool for the part (see `score_selectivity`).

    Parameters
    ----------
    sweep : the Sweep that was scored.
    scores : what `score_selectivity` or `rank_units` returned.
    part, measure, class_name : which rows of the scores.
    generator, link, segmenter : the models of the sweep, to render its pictures again and outline the part. Without
        them its thumbnails are shown, without outlines.
    units : which ones, in this order; default: the `top` ones with the largest effects.
    top : how many.
    samples : of each unit, from the small to the large changes; 1 is the median.
    outline : as in `tuned_sheet`.
    title : default: part, measure and class.

    Returns
    -------
    Figure

    Raises
    ------
    LisError : names that the scores do not have, models that are not those of the sweep, or neither models nor
        thumbnails.

    Examples
    --------
    >>> scores = score_selectivity(sweep, "sleeve", "area")
    >>> models = dict(generator=generator, link=link, segmenter=segmenter)
    >>> ranking_sheet(sweep, scores, "sleeve", top=5, **models).savefig("sleeve.png")
    """
    rows = ranking_rows(
        sweep, scores, part, measure, class_name,
        generator=generator, link=link, segmenter=segmenter, units=units, top=top, samples=samples,
    )  # fmt: skip
    heading = title or ranking_title(measure, class_name, part)
    outline = "none" if segmenter is None else outline
    return tuned_sheet(rows, sweep.legend, part, measure, heading, outline)


def ranking_rows(
    sweep: Any,
    scores: pd.DataFrame,
    part: str,
    measure: str = "area",
    class_name: str = POOLED,
    *,
    generator: Any = None,
    link: Any = None,
    segmenter: Any = None,
    units: Sequence[int] | None = None,
    top: int = 5,
    samples: int = 1,
) -> list[TunedRow]:
    """Return the rows that `ranking_sheet` draws: top units in typical samples, with the ranking's numbers as notes.

    Parameters
    ----------
    sweep, scores, part, measure, class_name, generator, link, segmenter, units, top, samples
        As for `ranking_sheet`; rows without the models are the sweep's thumbnails, without labels.

    Raises
    ------
    LisError : as `ranking_sheet`.

    Examples
    --------
    >>> rows = ranking_rows(sweep, scores, "sleeve", top=5)
    """
    from ..selectivity.changes import column_of
    from ..selectivity.ends import KEYS

    chosen = unit_rows(chosen_rows(scores, part, measure, class_name), units, min(top, MOST_ROWS))
    settings = scores.attrs.get("lis", {})
    pooled = settings.get("pooled", {}).get(part) or settings.get("classes") or POOLED  # of the pooled rows
    needed = [name for name in (*KEYS, column_of(part, measure), f"{part}.code") if name in sweep.columns]
    table = sweep.table(needed, units=chosen["unit"].tolist())  # the files are read once, not once a unit
    numbers, notes, names = [], [], []
    for row in chosen.to_dict("records"):
        picked = typical_samples(
            table, row["unit"], part, measure, pooled if class_name == POOLED else class_name, samples
        )
        for place, sample in enumerate(picked.to_dict("records")):
            numbers.append(int(sample["sample"]))
            names.append(int(row["unit"]))
            where = f"{cut(sample['class'])}, sample {sample['sample']}"
            notes.append((where, *score_lines(row, measure)) if place == 0 else (where,))
    if generator is None and link is None and segmenter is None:
        rows = kept_rows(sweep, names, numbers, part, measure)
    else:
        _check_models(sweep, generator, link, segmenter)
        told = sweep.manifest["settings"]
        rows = tune_parts(
            generator, link, segmenter, sweep.samples.r[numbers], names, part, measure, sweep.steps, sweep.directions,
            told.get("precision"),
        )  # fmt: skip
    return [replace(row, notes=lines) for row, lines in zip(rows, notes, strict=True)]


def kept_rows(
    sweep: Any, units: Sequence[int], samples: Sequence[int], part: str, measure: str = "area"
) -> list[TunedRow]:
    """Return rows for a sheet from the pictures that a sweep kept, without labels.

    Parameters
    ----------
    sweep : a Sweep with thumbnails.
    units, samples : one sample for each unit.
    part, measure : what is read from its table.

    Raises
    ------
    LisError : a sweep without thumbnails, or without this part or measure.

    Examples
    --------
    >>> kept_rows(sweep, [17, 3], [0, 5], "sleeve")
    """
    name = f"{part}.{'area' if measure == RELATIVE else measure}"
    columns = [column for column in (name, f"{part}.code") if column in sweep.columns or column == name]
    start, found = sweep.start, []
    for unit, sample in zip(units, samples, strict=True):
        x = torch.cat([sweep.start_pictures[[sample]], sweep.pictures(unit, [sample])[0]])  # [1 + S, C, H, W]
        table = sweep.table(["sample", "step", *columns], units=[unit])
        table = table[table["sample"] == sample].sort_values("step")
        first = start[start["sample"] == sample].iloc[0]
        amounts = [float(first[name]), *table[name].astype(float)]
        codes = [first[columns[-1]], *table[columns[-1]]] if len(columns) == 2 else [0] * len(amounts)
        values = sweep.values[sweep.units.index(unit)].tolist()
        labels = torch.zeros(len(x), *x.shape[2:], dtype=torch.uint8)
        absent, r = [int(code) == ABSENT for code in codes], sweep.samples.r[sample]
        companions = sweep.directions is not None
        found.append(TunedRow(unit, values, x, labels, amounts, absent, r=r, companions=companions))
    return found


def score_lines(row: Mapping[Any, Any], measure: str) -> list[str]:
    """Return what a ranking says of a unit: mean change with its interval, effect, how sure, how often.

    Examples
    --------
    >>> score_lines(ranked.iloc[0].to_dict(), "area")
    """
    low, middle, high = (amount(measure, float(row[name]), True) for name in ("low", "mean_change", "high"))
    count = f"mean of {int(row['samples'])}" if "samples" in row else "mean"
    sign = share_text(row.get("same_sign", float("nan")))
    lines = [
        f"{count}: {middle} ({low} to {high})",
        f"effect {row['effect']:+.2f}, q {row['q']:.2g}, same sign {sign}",
    ]
    gone = [f"{what} {share_text(row[what])}" for what in ("vanished", "appeared") if row.get(what, 0) > 0]
    return [*lines, ", ".join(gone)] if gone else lines


def _check_models(sweep: Any, generator: Any, link: Any, segmenter: Any) -> None:
    """Raise a LisError unless these are the models that the sweep was made with."""
    given = {"generator": generator, "link": link, "segmenter": segmenter}
    lacking = [name for name, model in given.items() if model is None]
    if lacking:
        raise LisError(f"to render the sweep's pictures again its {' and '.join(lacking)} is needed, too.")
    told = sweep.manifest["settings"]
    wrong = [] if told["generator"] == generator.hash else [f"generator {generator.name!r}"]
    wrong += [] if told["link"] == sha256_tensors(link.state_dict()) else ["link"]
    if wrong:
        those = "is not that" if len(wrong) == 1 else "are not those"
        raise LisError(
            f"the {' and the '.join(wrong)} given {those} of the sweep: give what it was made with."
        )
    parts = () if sweep.legend is None else sweep.legend.parts
    if parts != segmenter.legend.parts:
        raise LisError(
            f"the segmenter knows the parts {', '.join(segmenter.legend.parts)}, the sweep "
            f"{', '.join(parts) or 'none'}: give the segmenter that the sweep was made with."
        )
