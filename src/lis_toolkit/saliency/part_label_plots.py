"""Figure of labels without a crowd: which parts clusters cover beyond chance, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import figure_class
from .part_labels import NONE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["part_label_figure"]


def part_label_figure(shares: pd.DataFrame, *, most: int = 12) -> Figure:
    """Draw how many clusters of each layer have each label beyond chance, for each class.

    Parameters
    ----------
    shares
        Of `part_label_shares`, by layer, or by class and layer.
    most
        At most so many labels, those with most clusters beyond chance; "none" is left out.

    Returns
    -------
    Figure
        A panel per class; rows are labels, columns layers, from the first to the last. The colour is the excess, the
        number of such clusters beyond those expected by chance, an image (on a scale of square roots); a dot marks
        those whose interval lies above 0.

    Raises
    ------
    LisError
        For a table that is not by layer.

    Examples
    --------
    >>> part_label_figure(part_label_shares(labels, by=["layer"])).savefig("labels.png")
    """
    from matplotlib.colors import PowerNorm

    if "title" not in shares.columns:
        raise LisError('the labels are not counted by layer: call part_label_shares(labels, by=["layer"]).')
    named = shares[shares["label"] != NONE]
    totals = named.groupby("label")["excess"].sum().sort_values(ascending=False)
    labels = list(totals.index[:most])
    layers = list(shares.sort_values("depth", kind="stable")["title"].drop_duplicates())
    groups = list(shares["target"].drop_duplicates()) if "target" in shares.columns else [None]
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    wide, high = 0.9 + 0.42 * len(layers), 0.7 + 0.24 * max(len(labels), 1)
    figure = figure_class()(
        figsize=(max(5.5, columns * wide + 1.6), lines * high + 1.1), dpi=100, layout="constrained"
    )
    axes = np.array(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True))
    top = max(float(named["excess"].max()) if len(named) else 0.0, 0.05)
    drawn: Any = None
    for panel, group in zip(axes.flat, groups, strict=False):
        rows = named if group is None else named[named["target"] == group]
        values = np.zeros((len(labels), len(layers)))
        for _, row in rows.iterrows():
            if row["label"] in labels:
                y, x = labels.index(row["label"]), layers.index(row["title"])
                values[y, x] = row["excess"]
                if row["beyond"]:
                    shade = "white" if row["excess"] > 0.3 * top else "black"
                    panel.plot(x, y, "o", color=shade, markersize=2.5)
        drawn = panel.imshow(values.clip(0), norm=PowerNorm(0.5, 0, top), cmap="Blues", aspect="auto")
        panel.set_title("all classes" if group is None else cut(str(group)), fontsize=9)
        panel.set_xticks(range(len(layers)), [t.split(" · ")[0] for t in layers], rotation=90, fontsize=8)
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
    for panel in list(axes.flat)[len(groups) :]:
        panel.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, shrink=0.9)
    bar.set_label("clusters an image beyond chance", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
