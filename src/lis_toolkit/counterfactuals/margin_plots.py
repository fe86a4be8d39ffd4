"""Margins along the paths: what the rendered pictures say, and what the linear head says of the same activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classifiers import Classifier
from ..errors import LisError
from ..pixel_sheet import BAD, FAINT, GOOD, INK, PALETTE, figure_class
from ..plots import quiet
from .agreement import head_margins
from .paths import first_crossings
from .sheets import chosen_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .result import Counterfactuals

__all__ = ["margin_figure"]

NAMED = 6  # paths that are told apart by colour
COLOURS = tuple(colour for colour in PALETTE if colour != "#F0E442")  # yellow on white can't be seen


def margin_figure(
    result: Counterfactuals,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    classifier: Classifier | None = None,
    boundary: pd.DataFrame | None = None,
) -> Figure:
    """Draw the rendered margins along the paths, with the boundary at 0 and the margin that was asked for.

    Up to 6 paths have a colour each; of more, all are drawn thin, with their median and quartiles.

    Parameters
    ----------
    result : what `find_counterfactuals` returned.
    rows : indices, or a mask; all rows that asked for a change by default.
    classifier : its head's own margins are drawn dotted: where they part from the line, head and picture disagree.
    boundary : what `locate_boundary` returned for the result, for crossings to its tolerance; without it they are read
        off straight lines between the path's points.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError : rows that there are not, a table of another result.

    Examples
    --------
    >>> margin_figure(result, [0, 1, 2], classifier=classifier)
    """
    picked = chosen_rows(result, rows, most=len(result))
    if boundary is not None and len(boundary) != len(result):
        raise LisError(
            f"the boundary has {len(boundary)} rows, the result {len(result)}; give that of this result."
        )
    part = result.subset(picked)
    amounts = result.amounts.numpy()
    margins = part.margins.numpy()  # [n, P]
    head = None if classifier is None else head_margins(part, classifier)
    crossing = first_crossings(amounts, margins)
    if boundary is not None:
        crossing = boundary["crossing"].to_numpy(float)[picked]
    few = len(picked) <= NAMED
    figure = figure_class()(figsize=(8.4 if few else 7, 4), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    quiet(axes)
    axes.axhline(0, color=INK, linewidth=1)
    axes.annotate(
        "boundary", (0.005, 0), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", color=INK
    )
    margin = result.settings.get("margin")
    if isinstance(margin, int | float) and margin > 0:
        axes.axhline(margin, color=FAINT, linewidth=1, linestyle="--")
        axes.annotate(
            f"margin asked for, {margin:.1f}", (0.005, margin), xycoords=("axes fraction", "data"), fontsize=8,
            va="bottom", color=FAINT,
        )  # fmt: skip
    (_few if few else _many)(axes, part.table, amounts, margins, head, crossing)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the way from start to end", fontsize=8)
    axes.set_ylabel("margin of the target against the best other class (logits)", fontsize=8)
    return figure


def _few(
    axes: Any, table: pd.DataFrame, amounts: np.ndarray, margins: np.ndarray, head: Any, crossing: np.ndarray
) -> None:
    """Draw each path in a colour of its own."""
    from matplotlib.lines import Line2D

    for i, row in enumerate(table.to_dict("records")):
        failed = "" if row["success"] else " (no success)"
        label = f"{row['origin']} → {row['target']}, start {row['start']}{failed}"
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(amounts, margins[i], color=colour, linewidth=1.8, marker=".", markersize=5, label=label)
        if head is not None:
            axes.plot(amounts, head[i], color=colour, linewidth=1.2, linestyle=":")
        if np.isfinite(crossing[i]):
            axes.plot(crossing[i], 0, "D", color=colour, markeredgecolor="white", markersize=7, zorder=4)
    handles, labels = axes.get_legend_handles_labels()
    more = [
        Line2D([], [], color=INK, linewidth=1.8, marker="."),
        Line2D([], [], color=INK, marker="D", linestyle=""),
    ]
    named = ["of the rendered picture", "crossing"]
    if head is not None:
        more.insert(1, Line2D([], [], color=INK, linewidth=1.2, linestyle=":"))
        named.insert(1, "what the head says of r")
    legend = axes.legend(
        [*handles, *more],
        [*labels, *named],
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _many(
    axes: Any, table: pd.DataFrame, amounts: np.ndarray, margins: np.ndarray, head: Any, crossing: np.ndarray
) -> None:
    """Draw all paths thin, and the median with the quartiles."""
    success = table["success"].to_numpy(bool)
    for kind, keep, colour in (("successes", success, GOOD), ("failures", ~success, BAD)):
        if not keep.any():
            continue
        axes.plot(
            amounts, margins[keep].T, color=colour, linewidth=0.6, alpha=max(0.06, min(0.5, 12 / keep.sum()))
        )
        low, middle, high = np.quantile(margins[keep], [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(amounts, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            amounts, middle, color=colour, linewidth=2.2, label=f"rendered, median of {keep.sum()} {kind}"
        )
    if head is not None:
        axes.plot(
            amounts,
            np.median(head, axis=0),
            color=INK,
            linewidth=1.6,
            linestyle=":",
            label="what the head says, median",
        )
    if np.isfinite(crossing).any():
        axes.plot(
            float(np.nanmedian(crossing)), 0, "D", color=INK, markeredgecolor="white", markersize=8, zorder=4,
            label=f"median crossing of {int(np.isfinite(crossing).sum())}",
        )  # fmt: skip
    axes.legend(fontsize=8, frameon=False, loc="lower right")
