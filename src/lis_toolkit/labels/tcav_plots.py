"""Figure of TCAV: scores of concepts layer by layer, in the band of random concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import FAINT, PALETTE, figure_class

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["concept_figure"]


def concept_figure(found: pd.DataFrame) -> Figure:
    """Draw the TCAV score of each concept in each layer, what random concepts get, and which differ from them.

    Parameters
    ----------
    found
        Of `validate_concepts`.

    Returns
    -------
    Figure
        A panel per concept. Grey: the middle 95 % of random concepts; points: the concept's mean over its runs, the
        line its least and highest run; filled where it is significant. Numbers: held-out accuracy of its direction.

    Raises
    ------
    LisError
        For an empty table.

    Examples
    --------
    >>> concept_figure(validate_concepts(classifier, concepts, "Coat", photographs, others)).savefig("tcav.png")
    """
    concepts = list(dict.fromkeys(found["concept"]))
    if not concepts:
        raise LisError("the table of concepts is empty; validate_concepts gives one.")
    layers = list(found.sort_values("depth", kind="stable")["title"].drop_duplicates())
    figure = figure_class()(
        figsize=(max(4.5, 2.6 * len(concepts) + 1.4), 1.4 + 0.3 * len(layers)), dpi=100, layout="constrained"
    )
    axes: Any = np.atleast_1d(figure.subplots(1, len(concepts), sharey=True, sharex=True))
    for panel, concept in zip(axes, concepts, strict=True):
        rows = found[found["concept"] == concept]
        for _, row in rows.iterrows():
            y = layers.index(row["title"])
            panel.barh(
                y, row["random_high"] - row["random_low"], left=row["random_low"], color="#dedede", height=0.7
            )
            panel.plot([row["low"], row["high"]], [y, y], color=PALETTE[0], linewidth=1.5)
            panel.plot(row["score"], y, "o", color=PALETTE[0], markersize=6.5,
                       markerfacecolor=PALETTE[0] if row["significant"] else "white")  # fmt: skip
            panel.text(1.04, y, f"{row['accuracy']:.2f}", fontsize=7.5, va="center", color=FAINT)
        panel.axvline(0.5, color=FAINT, linewidth=0.6, linestyle=":")
        panel.set_title(cut(concept), fontsize=9)
        panel.set_xlim(-0.03, 1.2)
        panel.set_xticks([0, 0.5, 1])
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(layers)), [title.split(" · ")[0] for title in layers])
    axes[0].set_ylim(len(layers) - 0.4, -0.6)
    target = found["target"].iloc[0]
    figure.supxlabel(
        f"share of {cut(str(target))} images whose score rises towards the concept (TCAV)\n"
        "grey: random concepts, middle 95 %; filled: significant; right: held-out accuracy of the direction",
        fontsize=8,
    )
    return figure
