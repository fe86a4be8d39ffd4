"""Plots: bars of units and logits, the link report; with the sheets of `sheets.py`. Functions return a Figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import LisError
from .sheets import BAD, FAINT, GOOD, class_sheet, contact_sheet, cycle_figure, figure_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "class_sheet",
    "contact_sheet",
    "cycle_figure",
    "logit_bars",
    "unit_bars",
]


def logit_bars(logits: Tensor, classes: Sequence[str], before: Tensor | None = None) -> Figure:
    """Draw the logits of one image as bars, one a class; with `before`, where each stood as a mark.

    Parameters
    ----------
    logits : Tensor [K]
        Of one image.
    classes : sequence of str
        Names of the K classes.
    before : Tensor [K], optional
        Logits to compare with.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        Logits that do not fit the class names, or are not finite.

    Examples
    --------
    >>> logit_bars(walk.logits[0, -1], classifier.classes, before=walk.logits[0, 0])
    """
    now = _vector(logits, "logits", len(classes), "classes")
    then = None if before is None else _vector(before, "before", len(classes), "classes")
    figure, axes = _axes(4.6, 0.6 + 0.27 * len(classes))
    top = int(now.argmax())
    places = list(range(len(classes)))
    axes.barh(places, now.tolist(), height=0.7, color=[GOOD if k == top else "#b9c6cf" for k in places])
    if then is not None:
        axes.plot(then.tolist(), places, "|", color=BAD, markersize=11, markeredgewidth=2, label="before")
        axes.legend(frameon=False, fontsize=8, loc="best")
    axes.set_yticks(places, classes, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_xlabel("logit", fontsize=8)
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
