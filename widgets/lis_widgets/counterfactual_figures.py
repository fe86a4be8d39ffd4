"""The plots of an explorer of counterfactuals: the margin along the way, the units that carry it, what parts do."""

from __future__ import annotations

from typing import Any

from lis_toolkit.counterfactuals.state import CounterfactualState
from lis_toolkit.counterfactuals.way import Way

from .figures import AFTER, BEFORE, bars, curves, sentence

SHOWN_UNITS, SHOWN_PARTS = 10, 8
NO_WAY = "No way was searched yet: press Find."
MEASURES = {
    "area": ("areas of parts", "share of the picture"),
    "luminance": ("brightness of parts", "luminance"),
}


def course_figure(way: Way | None, place: float) -> dict[str, Any]:
    """Return the margin along a way: rendered as a line, the linear head's dotted, the present place upright."""
    title = "margin along the way"
    if way is None:
        return sentence(title, NO_WAY)
    crossing = way.crossing
    crossed = "is not crossed" if crossing is None else f"is crossed at {crossing:.2f}"
    return curves(
        way.amounts.tolist(),
        {
            "rendered": (way.margins.tolist(), AFTER, "solid"),
            "linear head": (way.head_margins.tolist(), BEFORE, "dot"),
        },
        f"{title} to {way.target}",
        axis="place (shaded: beyond the end)",
        value_axis="logits over the best other",
        at=place,
        mark=None if crossing is None else ("boundary", crossing),
        beyond=1.0,
        description=f"margin of {way.target} along the way: {float(way.margins[0]):+.1f} logits at the start; the "
        f"boundary {crossed}; the line is at {place:.2f}",
    )


def carriers_figure(way: Way | None, state: CounterfactualState) -> dict[str, Any]:
    """Return bars of the units that carry most of the way, and of how much the classifier sees them changed here."""
    if way is None:
        return sentence("units that carry the most", NO_WAY)
    carried = way.carriers(SHOWN_UNITS)
    if not carried or state.change_sd is None:
        return sentence("units that carry the most", "No unit moves along this way.")
    share = sum(part for _, _, part in carried)
    labels = [f"unit {unit}" for unit, _, _ in carried]
    seen = [float(state.change_sd[unit]) for unit, _, _ in carried]
    return bars(
        {
            "whole way": (labels, [shift for _, shift, _ in carried], BEFORE),
            "seen here": (labels, seen, AFTER),
        },
        f"units that carry the most ({share:.0%} of the way)",
        axis="shift in the unit's sd",
        hover="%{x:+.2f} sd",
    )


def part_figures(state: CounterfactualState) -> list[dict[str, Any]]:
    """Return bars of the parts' areas and brightness, at the cycled start and here; nothing without a segmenter."""
    if state.parts is None:
        return []
    rows = state.part_changes()
    figures = []
    for measure, (title, axis) in MEASURES.items():
        known = [(part, of[measure]) for part, of in rows if measure in of]
        known = sorted(known, key=lambda row: -abs(row[1][1] - row[1][0]))[:SHOWN_PARTS]
        if not known:
            figures.append(sentence(title, "The segmenter finds no part in both pictures."))
            continue
        names = [part for part, _ in known]
        figures.append(
            bars(
                {
                    "start": (names, [before for _, (before, _) in known], BEFORE),
                    "here": (names, [after for _, (_, after) in known], AFTER),
                },
                title,
                axis=axis,
                hover="%{x:.1%}" if measure == "area" else "%{x:.2f}",
            )
        )
    return figures
