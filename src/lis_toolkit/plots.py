"""Plots: bars of units and logits, the link report; with the sheets of `sheets.py`. Functions return a Figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import LisError
from .pixel_sheet import BAD, FAINT, GOOD, figure_class
from .sheets import class_sheet, contact_sheet, cycle_figure, row_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .link_report import LinkReport

__all__ = [
    "class_sheet",
    "contact_sheet",
    "cycle_figure",
    "link_report_figure",
    "logit_bars",
    "row_sheet",
    "unit_bars",
]


def logit_bars(
    logits: Tensor, classes: Sequence[str], before: Tensor | None = None, count: int = 20
) -> Figure:
    """Draw the logits of one image as bars, one a class; with `before`, where each stood as a mark.

    Of more than `count` classes those are drawn that have the highest logits, before or now, in their own order.

    Parameters
    ----------
    logits : Tensor [K]
        Of one image.
    classes : sequence of str
        Names of the K classes.
    before : Tensor [K], optional
        Logits to compare with.
    count : int
        The most classes that are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        Logits that do not fit the class names, or are not finite, or a count below 1.

    Examples
    --------
    >>> logit_bars(walk.logits[0, -1], classifier.classes, before=walk.logits[0, 0])
    """
    now = _vector(logits, "logits", len(classes), "classes")
    then = None if before is None else _vector(before, "before", len(classes), "classes")
    if count < 1:
        raise LisError(f"count is {count}; expected at least 1.")
    highest = now if then is None else torch.maximum(now, then)
    shown = highest.argsort(descending=True, stable=True)[:count].sort().values.tolist()
    figure, axes = _axes(4.6, 0.6 + 0.27 * len(shown))
    top = int(now.argmax())
    places = list(range(len(shown)))
    axes.barh(places, now[shown].tolist(), height=0.7, color=[GOOD if k == top else "#b9c6cf" for k in shown])
    if then is not None:
        axes.plot(
            then[shown].tolist(), places, "|", color=BAD, markersize=11, markeredgewidth=2, label="before"
        )
        axes.legend(frameon=False, fontsize=8, loc="best")
    axes.set_yticks(places, [classes[k] for k in shown], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.8)
    some = "" if len(shown) == len(classes) else f", the highest {len(shown)} of {len(classes)} classes"
    axes.set_xlabel(f"logit{some}", fontsize=8)
    return figure


def unit_bars(before: Tensor, after: Tensor, count: int = 12, highlight: int | None = None) -> Figure:
    """Draw the units that moved most between two vectors of activations, as bars of their change.

    Parameters
    ----------
    before, after : Tensor [R]
        Penultimate activations of one image each.
    count : int
        How many units are drawn.
    highlight : int, optional
        A unit whose bar is coloured, for instance the one that was set.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        Vectors of different lengths, not finite, or a count below 1.

    Examples
    --------
    >>> unit_bars(walk.r[0, 0], walk.r[0, -1], highlight=walk.unit)
    """
    then = _vector(before, "before")
    now = _vector(after, "after", len(then), "entries of before")
    if count < 1:
        raise LisError(f"count is {count}; expected at least 1.")
    change = now - then
    order = change.abs().argsort(descending=True, stable=True)[:count].tolist()
    figure, axes = _axes(4.6, 0.6 + 0.27 * len(order))
    places = list(range(len(order)))
    colours = [BAD if unit == highlight else GOOD for unit in order]
    axes.barh(places, [float(change[unit]) for unit in order], height=0.7, color=colours)
    axes.set_yticks(places, [f"unit {unit}" for unit in order], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_xlabel("change of activation", fontsize=8)
    return figure


def link_report_figure(report: LinkReport) -> Figure:
    """Draw a link report: R2 of the latents, cycle accuracy by class, cycle correlation, and fidelity of units.

    Parameters
    ----------
    report : LinkReport
        What `report_link` measured.

    Returns
    -------
    matplotlib.figure.Figure
        Four panels; intervals are 95 % ones.

    Examples
    --------
    >>> link_report_figure(report_link(link, generator, classifier, held_out)).savefig("link.png")
    """
    figure = figure_class()(figsize=(10.5, 8), dpi=100, facecolor="white", layout="constrained")
    panels = figure.subplots(2, 2)
    for axes in panels.flat:
        quiet(axes)
    _draw_dims(panels[0, 0], report)
    _draw_cycle(panels[0, 1], report)
    _draw_correlation(panels[1, 0], report)
    _draw_fidelity(panels[1, 1], report)
    return figure


def _titles(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)


def _draw_dims(axes: Any, report: LinkReport) -> None:
    values = report.dims["r2"].dropna().clip(lower=-0.5)
    axes.hist(values, bins=24, range=(min(0.0, float(values.min())) if len(values) else 0, 1), color=GOOD)
    axes.axvline(report.r2, color=BAD, linewidth=1.5, label=f"overall {report.r2:.2f}")
    axes.axvline(
        report.r2_within, color=BAD, linewidth=1.5, linestyle=":", label=f"in classes {report.r2_within:.2f}"
    )
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _titles(axes, "Does the link predict unseen latents?", "held-out R² of a latent dimension", "dimensions")


def _draw_cycle(axes: Any, report: LinkReport) -> None:
    import numpy as np

    table = report.classes
    places = np.arange(len(table))
    kinds = [("cycle", "cycle_low", "cycle_high", "generated", GOOD, -0.14, "o")]
    if "photo_cycle" in table:
        kinds.append(("photo_cycle", "photo_low", "photo_high", "photographs", BAD, 0.14, "s"))
    for value, low, high, label, colour, offset, mark in kinds:
        share = table[value].to_numpy(float)
        error = np.abs(np.stack([share - table[low].to_numpy(float), table[high].to_numpy(float) - share]))
        axes.errorbar(
            share,
            places + offset,
            xerr=error,
            fmt=mark,
            color=colour,
            markersize=5,
            linewidth=1.2,
            label=label,
        )
    axes.axvline(1 / max(len(table), 1), color=FAINT, linewidth=0.8, linestyle=":")
    axes.set_yticks(places, table["class"], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    _titles(axes, "Do images keep their class in the loop?", "share of images (dotted: chance)", "")


def _draw_correlation(axes: Any, report: LinkReport) -> None:
    values = report.units["cycle_correlation"].dropna()
    axes.hist(values, bins=24, range=(min(0.0, float(values.min())) if len(values) else 0, 1), color=GOOD)
    if len(values):
        middle = float(values.median())
        axes.axvline(middle, color=BAD, linewidth=1.5, label=f"median {middle:.2f}")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    _titles(
        axes, "Do units come back from the loop?", "correlation of a unit with itself after the loop", "units"
    )


def _draw_fidelity(axes: Any, report: LinkReport) -> None:
    import numpy as np

    table = report.fidelity.dropna(subset=["slope"]).sort_values("slope", ascending=False)
    places = np.arange(len(table))
    slope = table["slope"].to_numpy(float)
    error = np.stack(
        [slope - table["slope_low"].to_numpy(float), table["slope_high"].to_numpy(float) - slope]
    )
    # One sample has no interval.
    axes.errorbar(places, slope, yerr=np.nan_to_num(error), fmt="o", color=GOOD, markersize=5, linewidth=1.2)
    axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=":")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_xticks(places, [str(unit) for unit in table["unit"]], fontsize=7, rotation=90)
    _titles(axes, "Does a unit rise when it is set higher?", "unit", "slope (dotted: as much as asked)")


def _vector(values: Tensor, name: str, length: int | None = None, of: str = "") -> Tensor:
    vector = torch.as_tensor(values).detach().cpu().float()
    if vector.ndim != 1 or len(vector) == 0 or (length is not None and len(vector) != length):
        wanted = f"[{length}] ({length} {of})" if length is not None else "[n] of one image"
        raise LisError(f"{name} has shape {list(vector.shape)}; expected {wanted}.")
    if not torch.isfinite(vector).all():
        raise LisError(f"{name} has NaN or infinite values; expected finite ones.")
    return vector


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    """Return an empty figure (inches) with one quiet pair of axes."""
    figure = figure_class()(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    quiet(axes)
    return figure, axes


def quiet(axes: Any) -> None:
    """Take away what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=3)
