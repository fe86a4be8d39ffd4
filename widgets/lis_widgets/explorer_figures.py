"""The three plots below an explorer: what the classifier sees, which units moved, and where the unit stands."""

from __future__ import annotations

from typing import Any

from lis_toolkit.explore import Distribution, UnitState

from .figures import AFTER, BEFORE, OTHER, bars, histogram, sentence

SHOWN_CLASSES, SHOWN_UNITS = 10, 10
UNMOVED = 1e-6  # change of an activation that is rounding


def class_figure(state: UnitState, scale: str) -> dict[str, Any]:
    """Return bars of the classifier's logits or probabilities, before and after."""
    rows = state.top_classes(SHOWN_CLASSES, probabilities=scale == "probabilities")
    title = f"classifier: {scale}"
    if not rows:
        return sentence(
            title, "This encoder has no head, so it gives no logits; the units tell what it sees."
        )
    names = [name for name, _, _ in rows]
    return bars(
        {
            "before": (names, [low for _, low, _ in rows], BEFORE),
            "after": (names, [high for _, _, high in rows], AFTER),
        },
        title,
        axis="probability" if scale == "probabilities" else "logit",
        shares=scale == "probabilities",
    )


def moved_figure(state: UnitState) -> dict[str, Any]:
    """Return bars of the units whose re-encoded activation changed most; orange: those that were set."""
    title = "units that moved most"
    moved = state.moved_units(SHOWN_UNITS)
    if not any(abs(change) > UNMOVED for _, change in moved):
        return sentence(title, "No unit has moved: the picture is as it was at the start.")
    return bars(
        {
            "change": (
                [f"unit {unit}" for unit, _ in moved],
                [change for _, change in moved],
                [OTHER if unit in state.values else AFTER for unit, _ in moved],
            )
        },
        title,
        axis="change of activation" + (" (orange: set)" if state.values else ""),
        hover="%{x:+.3g}",
    )


def distribution_figure(
    unit: int, value: float | None, seen: tuple[float, float], distribution: Distribution | None
) -> dict[str, Any]:
    """Return the unit's activations over real images, the observed range shaded, the present value a line."""
    if distribution is None:
        return sentence(
            f"unit {unit} over real images",
            "No activations are known: give photographs=... (or pairs=...) to the explorer, and this shows how "
            "often the unit has which value.",
        )
    zeros = f"; {distribution.zeros:.0%} are 0, not drawn" if distribution.zeros else ""
    at = "" if value is None else f"; the line is at {value:.3g}"
    return histogram(
        distribution.edges.tolist(),
        distribution.counts_without_zeros.tolist(),
        f"unit {unit} over {distribution.source}{zeros}",
        axis="activation (shaded: seen in pairs)",
        count_axis=distribution.source.split()[-1],
        value=value,
        seen=seen,
        description=f"histogram of unit {unit} over {distribution.source}{zeros}; the link's pairs range from "
        f"{seen[0]:.3g} to {seen[1]:.3g}{at}",
    )
