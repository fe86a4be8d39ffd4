"""What carries a change of class, drawn: units and parts of one class pair as bars with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import whole_number
from ..parts.measures import MEASURES
from ..pixel_sheet import BAD, FAINT, GOOD, INK, figure_class
from ..plots import quiet
from .part_carriers import change_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["carrier_figure"]

UNSURE = "#c3ccd2"


def carrier_figure(
    units: pd.DataFrame | None,
    parts: pd.DataFrame | None,
    origin: str,
    target: str,
    top: int = 10,
) -> Figure:
    """Draw the units and the parts that change most from one class to another, with 95 % intervals.

    Both axes are in standard deviations: of the unit over the link's pairs, and of the measure over the starts. Bars
    whose interval holds 0 are pale.

    Parameters
    ----------
    units, parts : what `unit_carriers` and `part_carriers` returned; one of them may be None.
    origin, target : the class pair.
    top : bars in each panel.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError : a class pair that the tables do not have, or no table at all.

    Examples
    --------
    >>> units, parts = unit_carriers(result, link), part_carriers(result, generator, link, segmenter)
    >>> carrier_figure(units, parts, "Coat", "Shirt")
    """
    top = whole_number(top, "top", 1)
    panels: list[tuple[str, pd.DataFrame]] = []
    for kind, table in (("units", units), ("parts", parts)):
        if table is None:
            continue
        rows = table[(table["origin"] == origin) & (table["target"] == target)]
        if kind == "parts":
            rows = rows[rows["size"].notna()]
        if not len(rows):
            raise LisError(f"the table of {kind} has no counterfactual from {origin!r} to {target!r}.")
        panels.append((kind, rows.head(top)))
    if not panels:
        raise LisError("carrier_figure was given neither units nor parts; give at least one of the tables.")
    bars = max(len(rows) for _, rows in panels)
    widths = [1.0 if kind == "units" else 2.1 for kind, _ in panels]
    figure = figure_class()(
        figsize=(1.2 + 3.1 * sum(widths), 1.3 + 0.29 * bars),
        dpi=100, facecolor="white", layout="constrained",
    )  # fmt: skip
    every = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axes, (kind, rows) in zip(every, panels, strict=True):
        quiet(axes)
        (_draw_units if kind == "units" else _draw_parts)(axes, rows, bars)
    samples = max(int(rows["samples"].max()) for _, rows in panels)
    starts = f"{samples} start{'s' if samples != 1 else ''}"
    share = next(table.attrs.get("confidence", 0.95) for table in (units, parts) if table is not None)
    figure.suptitle(
        f"{origin} → {target}: what carries the change ({starts}; lines: {share:.0%} intervals)", fontsize=10, x=0.01,
        ha="left", parse_math=False,
    )  # fmt: skip
    return figure


def _bars(
    axes: Any, value: np.ndarray, low: np.ndarray, high: np.ndarray, labels: list[str], bars: int
) -> None:
    places = np.arange(len(value))
    sure = (low > 0) | (high < 0)
    colours = np.where(sure, np.where(value > 0, BAD, GOOD), UNSURE)
    axes.barh(places, value, height=0.66, color=colours.tolist())
    known = np.isfinite(low) & np.isfinite(high)
    axes.hlines(places[known], low[known], high[known], color=INK, linewidth=1)
    axes.set_yticks(places, labels, fontsize=8, parse_math=False)
    axes.set_ylim(bars - 0.4, -0.6)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    # Intervals of two or three starts may be so long that no bar could be seen: they go on beyond the axes.
    most = 3 * max(float(np.abs(value).max()), 1e-6)
    ends = np.concatenate([[0.0], value, np.clip([*low[known], *high[known]], -most, most)])
    span = max(float(ends.max() - ends.min()), 1e-6)
    axes.set_xlim(float(ends.min()) - 0.06 * span, float(ends.max()) + 0.06 * span)


def _draw_units(axes: Any, rows: pd.DataFrame, bars: int) -> None:
    value, low, high = (rows[name].to_numpy(float) for name in ("shift", "low", "high"))
    _bars(axes, value, low, high, [f"unit {unit}" for unit in rows["unit"]], bars)
    axes.set_xlabel("mean shift (sd of the unit)", fontsize=8)
    axes.set_title("units", fontsize=9, loc="left")


def _draw_parts(axes: Any, rows: pd.DataFrame, bars: int) -> None:
    change, size = rows["change"].to_numpy(float), rows["size"].to_numpy(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(
            change != 0, size / change, 0.0
        )  # from the measure's own unit to standard deviations
    low, high = (rows[name].to_numpy(float) * factor for name in ("low", "high"))
    measures = [MEASURES[name].label if name in MEASURES else name for name in rows["measure"]]
    labels = [f"{part}: {measure}" for part, measure in zip(rows["part"], measures, strict=True)]
    _bars(axes, size, low, high, labels, bars)
    for place, row in enumerate(rows.to_dict("records")):
        axes.annotate(
            change_words(row["measure"], row["change"]), (1.01, place), fontsize=7.5, va="center",
            xycoords=("axes fraction", "data"), color=FAINT, annotation_clip=False, parse_math=False,
        )  # fmt: skip
    axes.set_xlabel("mean change (sd of the measure over the starts)", fontsize=8)
    axes.set_title("parts", fontsize=9, loc="left")
