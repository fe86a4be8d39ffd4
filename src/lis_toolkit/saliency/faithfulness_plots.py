"""Figures of faithfulness: curves and areas of methods and controls, and what clusters account for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..pixel_sheet import FAINT, PALETTE, figure_class
from .faithfulness import MEASURES, Faithfulness

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["accounting_figure", "faithfulness_figure"]

_TITLES = {
    "deletion": "deletion\n(area, lower is better)",
    "insertion": "insertion\n(area, higher is better)",
    "net": "insertion less deletion\n(area, higher is better)",
    "inside": "saliency on the object\n(share, dotted: its area)",
    "pointing": "highest point on it\n(share, dotted: its area)",
}


def faithfulness_figure(result: Faithfulness, *, resamples: int = 2000) -> Figure:
    """Draw every measure of every method: a dot and its bootstrap interval; controls are grey.

    Returns
    -------
    Figure
        A panel per measure, a row per method; dashed: the best control.

    Examples
    --------
    >>> faithfulness_figure(measure_faithfulness(classifier, photographs)).savefig("faithfulness.png")
    """
    table = result.table(resamples=resamples)
    measures = [name for name in MEASURES if name in set(table["measure"])]
    methods = list(result.methods)
    height = 1.3 + 0.27 * len(methods)
    figure = figure_class()(figsize=(1.9 + 2.0 * len(measures), height), dpi=100, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(measures), sharey=True))
    for panel, measure in zip(axes, measures, strict=True):
        rows = table[table["measure"] == measure].set_index("method").loc[methods]
        for y, (_, row) in enumerate(rows.iterrows()):
            colour = FAINT if row["control"] else PALETTE[0]
            panel.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2, solid_capstyle="round")
            panel.plot(row["mean"], y, "o", color=colour, markersize=5)
        controls = rows[rows["control"]]["mean"]
        if len(controls):
            best = controls.min() if measure == "deletion" else controls.max()
            panel.axvline(best, color=FAINT, linestyle="--", linewidth=0.9)
        if np.isfinite(rows["chance"].iloc[0]):
            panel.axvline(rows["chance"].iloc[0], color=FAINT, linestyle=":", linewidth=1.2)
        panel.set_title(_TITLES[measure], fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].set_ylim(len(methods) - 0.5, -0.5)
    figure.supxlabel(
        f"mean over {len(result)} images, with 95 % intervals; blue: explanations, grey: maps that know nothing of the "
        "classifier, dashed: the best of these",
        fontsize=8,
    )  # fmt: skip
    return figure


def accounting_figure(accounted: pd.DataFrame) -> Figure:
    """Draw how much of each layer's weight is shown, and what was left out, from `weights_accounted`.

    Examples
    --------
    >>> accounting_figure(weights_accounted(explanations)).savefig("accounted.png")
    """
    figure = figure_class()(figsize=(7.5, 1.3 + 0.28 * len(accounted)), dpi=100, layout="constrained")
    axes: Any = figure.subplots()
    left = np.zeros(len(accounted))
    names = {
        "shown": ("in shown clusters", PALETTE[0]),
        "dropped": ("in clusters too light to show", PALETTE[5]),
        "pruned": ("in maps too light to cluster", "#c8c8c8"),
    }
    places = np.arange(len(accounted))
    for column, (name, colour) in names.items():
        values = accounted[column].to_numpy()
        axes.barh(places, values, left=left, color=colour, label=name, height=0.7)
        left = left + np.nan_to_num(values)
    axes.set_yticks(places, accounted["title"])
    axes.set_ylim(len(accounted) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("share of the layer's positive gradient mass for the class, mean over images", fontsize=8)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
