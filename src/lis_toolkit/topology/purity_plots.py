"""Figure of purity over layers, with what chance gives and how many points are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import cut
from ..parts.legend import distinct_colours
from ..pixel_sheet import BAD, FAINT, GOOD, INK, figure_class

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["purity_figure"]


def purity_figure(tables: Any, column: str = "purity") -> Figure:
    """Draw purity over layers with its interval and what chance gives, and below it the share of noise and the nodes.

    Parameters
    ----------
    tables : DataFrame of `purity_by_layer`, or dict name -> DataFrame of the same layers (samplings, models).
    column : "purity", "majority_purity" or "entropy_purity".

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        A column that a table does not have, or no rows.

    Examples
    --------
    >>> purity_figure({"strongest": table, "random": other}).savefig("purity.png")
    """
    named: dict[str, pd.DataFrame] = dict(tables) if isinstance(tables, dict) else {"": tables}
    prefix = column.removesuffix("purity")
    for name, table in named.items():
        lacking = [c for c in (column, prefix + "null", "noise", "nodes", "title") if c not in table]
        if lacking or not len(table):
            raise LisError(
                f"the table {name} has no {', '.join(lacking) or 'rows'}; that of purity_by_layer expected."
            )
    titles = list(next(iter(named.values()))["title"])
    count = len(titles)
    figure = figure_class()(
        figsize=(max(5.4, 0.62 * count + 2), 5.6), dpi=100, facecolor="white", layout="constrained"
    )
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, 1]})
    palette = [GOOD, BAD, *distinct_colours(len(named) + 7)[2:]]
    for (name, table), colour in zip(named.items(), palette, strict=False):
        x = np.arange(len(table))
        value, low, high = (table[c].to_numpy(float) for c in (column, prefix + "low", prefix + "high"))
        upper.plot(x, value, "o-", color=colour, markersize=4, label=name or "measured")
        upper.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        upper.plot(x, table[prefix + "null"], ":", color=colour, linewidth=1.2)
        lower.plot(x, table["noise"], "o-", color=colour, markersize=3)
        for place, nodes in zip(x, table["nodes"], strict=True) if len(named) == 1 else ():
            lower.annotate(f"{nodes}", (place, table["noise"].iloc[place]), (0, 5), textcoords="offset points",
                           fontsize=7, ha="center", color=INK)  # fmt: skip
    upper.plot([], [], ":", color=FAINT, label="classes shuffled")
    upper.set_ylim(0, 1.02)
    upper.set_ylabel(_LABELS.get(column, column), fontsize=8)
    upper.legend(frameon=False, fontsize=8, loc="best")
    lower.set_ylim(0, 1.12)
    lower.set_ylabel(
        "share of points\nin no node" + ("\n(numbers: nodes)" if len(named) == 1 else ""), fontsize=8
    )
    lower.set_xticks(range(count), [cut(t, 24) for t in titles], rotation=35, ha="right", fontsize=8,
                     rotation_mode="anchor", parse_math=False)  # fmt: skip
    lower.set_xlabel("layer, from the image to the head", fontsize=8)
    for axes in (upper, lower):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure  # type: ignore[no-any-return]


_LABELS = {
    "purity": "purity: mean of 1 / classes in a node",
    "majority_purity": "share of a node's main class",
    "entropy_purity": "1 - entropy / log K of a node",
}
