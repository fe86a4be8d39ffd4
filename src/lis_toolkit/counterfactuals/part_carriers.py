"""What changes in the picture with the class: measures of every part, at the cycled start and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import LisError
from ..link import Link
from ..names import spelling_hint, whole_number
from ..parts import Segmenter, measure_parts, render_parts
from ..parts.measures import ABSENT, MEASURES, measure_names
from ..selectivity.changes import EXTENTS, change_of
from ..selectivity.statistics import describe, false_discovery, sign_flip_p
from ..stylegan import Generator
from .unit_carriers import bootstrap_means, checked_bootstrap, class_pairs, largest_first, mean_by_start

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["change_words", "part_carriers", "part_sentence"]

# What more and less of a measure is called, and how the amount is written.
WORDS = {
    "area": ("larger", "smaller"),
    "luminance": ("brighter", "darker"),
    "entropy": ("more textured", "smoother"),
    "perimeter": ("longer in outline", "shorter in outline"),
    "centre_x": ("farther right", "farther left"),
    "centre_y": ("lower", "higher"),
    "major_axis": ("longer", "shorter"),
    "minor_axis": ("wider", "narrower"),
    "eccentricity": ("more elongated", "rounder"),
    "angle": ("turned", "turned"),
    "components": ("in more pieces", "in fewer pieces"),
    "red": ("redder", "less red"),
    "green": ("greener", "less green"),
    "blue": ("bluer", "less blue"),
}
UNSAID = ("perimeter", "eccentricity", "angle", "components")  # in tables, but no one sees them at a glance
UNITS = {"entropy": " bits", "perimeter": " px", "major_axis": " px", "minor_axis": " px"}


@torch.no_grad()
def part_carriers(
    result: Counterfactuals,
    generator: Generator,
    link: Link,
    segmenter: Segmenter,
    top: int | None = None,
    *,
    origin: str | None = None,
    target: str | None = None,
    measures: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Measure every part at the cycled start and at the end, and give the changes of every class pair.

    Parameters
    ----------
    result : counterfactuals; only successes count.
    segmenter : of this generator: parts come from the pass that renders, for "fashion" load_segmenter("fashion").
    top : changes of every class pair, those with the largest `size`; None for all.
    origin, target : only class pairs with this origin (what the head says of r, as in the result's table; class
        distances go by the class of the cycled picture), this target.
    measures : such as "area" and "luminance"; None for all that the pictures have.
    confidence, resamples, seed : of the bootstrap over starts, within each class pair.
    batch_size : rows at a time.

    Returns
    -------
    DataFrame, the largest changes of each class pair first, those defined for fewer than half of its starts last:
    origin, target, part, measure, change (mean, in the units of `parts.MEASURES`; angles turn the short way), low,
    high, size (change over the standard deviation of the measure over all starts that have the part), first and last
    (means of the starts and ends that have the part), q (sign-flip test, false discovery rate over the rows of the
    class pair), same_sign, samples (starts for which the change is defined), vanished and appeared (shares of all the
    pair's starts). A part that is absent has an area, a perimeter and a number of pieces of 0, and no other measure;
    one that is absent at both ends is left out.

    Raises
    ------
    LisError : no successes, unknown classes or measures, a segmenter of another generator.

    Examples
    --------
    >>> parts = part_carriers(result, generator, link, load_segmenter("fashion"))
    >>> part_sentence(parts, "Coat", "Shirt")
    """
    import pandas as pd

    checked_bootstrap(confidence, resamples, seed)
    if top is not None:
        whole_number(top, "top", 1)
    names = _measures(measures, int(generator.img_channels))
    pairs = class_pairs(result, origin, target)
    used = np.concatenate(list(pairs.values()))
    place = np.full(len(result), -1)
    place[used] = np.arange(len(used))
    ends = [_measured(result, r, used, generator, link, segmenter, batch_size) for r in ("r_start", "r_end")]
    parts = tuple(segmenter.legend.parts)
    starts = result.table["start"].to_numpy()
    found = []
    for m, name in enumerate(measure_names(int(generator.img_channels))):
        if name not in names:
            continue
        first, last = (values[:, :, m] for values, _ in ends)  # [n, P]
        change, vanished, appeared = change_of(name, first, last, (ends[0][1], ends[1][1]))
        once = np.unique(starts[used], return_index=True)[1]
        spread = _deviation(first[once])  # [P]
        filled = [np.where(codes == ABSENT, 0.0 if name in EXTENTS else np.nan, v)
                  for v, codes in ((first, ends[0][1]), (last, ends[1][1]))]  # fmt: skip
        for (of, to), rows in pairs.items():
            n = place[rows]
            each = mean_by_start(change[n], starts[rows])  # [S, P]
            low, high = bootstrap_means(each, confidence, resamples, seed)
            told = describe(each.T)
            found.append(
                pd.DataFrame(
                    {
                        "origin": of, "target": to, "part": parts, "measure": name,
                        "change": told["mean_change"], "low": low, "high": high,
                        "size": told["mean_change"] / np.where(spread > 0, spread, np.nan),
                        "first": _mean(filled[0][n]), "last": _mean(filled[1][n]), "q": sign_flip_p(each.T),
                        "same_sign": told["same_sign"], "samples": told["samples"],
                        "vanished": vanished[n].mean(0), "appeared": appeared[n].mean(0),
                    }
                )
            )  # fmt: skip
    table = pd.concat(found, ignore_index=True)
    table = table[table["samples"] > 0].reset_index(drop=True)
    for of_pair in table.groupby(["origin", "target"], sort=False).indices.values():
        table.loc[of_pair, "q"] = false_discovery(table["q"].to_numpy()[of_pair])
    # A part that few starts have must not come first because of its one change.
    usual = np.array(
        [len(np.unique(starts[pairs[key]])) for key in zip(table["origin"], table["target"], strict=True)]
    )
    table = largest_first(table, "size", result.classes, top, last=2 * table["samples"].to_numpy() < usual)
    table.attrs["confidence"] = confidence  # for figures
    return table


def _measures(measures: Sequence[str] | None, channels: int) -> list[str]:
    known = list(measure_names(channels))
    if measures is None:
        return known
    chosen = [measures] if isinstance(measures, str) else list(measures)
    for name in chosen:
        if name not in known:
            raise LisError(
                f"there is no measure {name!r}; there are {', '.join(known)}.{spelling_hint(str(name), known)}"
            )
    if not chosen:
        raise LisError("the list of measures is empty; give names, or None for all.")
    return chosen


def _measured(
    result: Counterfactuals,
    which: str,
    rows: np.ndarray,
    generator: Generator,
    link: Link,
    segmenter: Segmenter,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Measures [n, P, M] and codes [n, P] of the pictures of some rows, at the start or at the end."""
    r = getattr(result, which)[torch.from_numpy(rows)]
    values, codes = [], []
    for part in r.split(whole_number(batch_size, "batch_size", 1)):
        x, labels = render_parts(generator, segmenter, link(part.to(link.device)))
        told = measure_parts(x, labels, segmenter.legend)
        values.append(told.values.double().cpu().numpy())
        codes.append(told.codes.cpu().numpy())
    return np.concatenate(values), np.concatenate(codes)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of the columns of [n, P], NaN left out."""
    defined = ~np.isnan(values)
    count = defined.sum(0)
    total = np.where(defined, values, 0.0).sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _deviation(values: np.ndarray) -> np.ndarray:
    """Give the standard deviation (n - 1) of the columns of [n, P], NaN left out; NaN for fewer than two."""
    defined = ~np.isnan(values)
    count = defined.sum(0)
    square = (np.where(defined, values - _mean(values), 0.0) ** 2).sum(0)
    return np.sqrt(np.divide(square, count - 1, out=np.full(square.shape, np.nan), where=count > 1))


def change_words(measure: str, change: float) -> str:
    """Say a change in words: "smaller by 3.2 % of the picture".

    Examples
    --------
    >>> change_words("luminance", -0.21), change_words("area", 0.032)
    ('darker by 0.21', 'larger by 3.2 % of the picture')
    """
    more, less = WORDS.get(measure, (f"more {measure}", f"less {measure}"))
    size = abs(change)
    if measure == "area":
        amount = f"{100 * size:.2g} % of the picture"
    elif measure in ("centre_x", "centre_y"):
        amount = f"{100 * size:.2g} % of the {'width' if measure == 'centre_x' else 'height'}"
    elif MEASURES[measure].circular if measure in MEASURES else False:
        amount = f"{np.degrees(size):.0f}°"
    else:
        amount = f"{size:.2g}{UNITS.get(measure, '')}"
    return f"{more if change > 0 else less} by {amount}"


def part_sentence(parts: pd.DataFrame, origin: str, target: str, most: int = 4) -> str:
    """Say what changes in the picture from one class to another: "Coat → Shirt: body darker by 0.21, ...".

    Only changes whose interval leaves out 0 are told, one a part, the largest (by `size`) first; a part that vanishes
    or appears in at least half of the starts is told as such. Outlines, angles and numbers of pieces are left to the
    table.

    Parameters
    ----------
    parts : what `part_carriers` returned, with all measures.
    most : parts that are told.

    Raises
    ------
    LisError : a class pair that the table does not have.

    Examples
    --------
    >>> part_sentence(part_carriers(result, generator, link, segmenter), "Coat", "Shirt")
    """
    rows = parts[(parts["origin"] == origin) & (parts["target"] == target)]
    if not len(rows):
        raise LisError(f"the table has no parts from {origin!r} to {target!r}.")
    told: dict[str, str] = {}
    for row in rows.to_dict("records"):
        if len(told) == whole_number(most, "most", 1):
            break
        part = str(row["part"])
        if part in told or row["measure"] in UNSAID:
            continue
        if max(row["vanished"], row["appeared"]) >= 0.5:
            gone = row["vanished"] >= row["appeared"]
            share = row["vanished"] if gone else row["appeared"]
            told[part] = f"{part} {'vanishes' if gone else 'appears'} in {100 * share:.0f} %"
        elif row["low"] > 0 or row["high"] < 0:
            told[part] = f"{part} {change_words(row['measure'], row['change'])}"
    said = ", ".join(told.values()) or "no part changes measurably"
    return f"{origin} → {target}: {said}"
