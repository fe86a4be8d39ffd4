"""The demo's ranking: a small sweep of all units, which change a part most, and what photographs say to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .classifiers import Classifier
from .datasets import Photographs
from .directions import companion_directions
from .errors import LisError
from .link import Link
from .pairs import Pairs
from .parts import Segmenter, load_segmenter
from .selectivity import (
    check_on_photographs,
    measure_photographs,
    rank_units,
    save_scores,
    score_selectivity,
)
from .stylegan import Generator
from .sweep import Sweep, sweep_units

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["bundled_segmenter", "rank_parts"]

# Samples of each class, six being the fewest in which a sign test can be significant after correction, and values of
# each unit: its lowest and its highest.
SAMPLES, STEPS = 6, 2
MEASURES = ("area", "luminance")
SHOWN, TOP, SIGNIFICANT = 3, 5, 0.05  # parts with a sheet, units listed of each part, share of false findings
CHECKED = 20  # units of a ranking whose direction is compared with photographs


def bundled_segmenter(generator: Generator) -> Segmenter | None:
    """Return the bundled segmenter if it was trained on this generator, else None."""
    segmenter = load_segmenter("fashion", device=generator.device)
    return segmenter if segmenter.generator_hash == generator.hash else None


def rank_parts(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    segmenter: Segmenter,
    pairs: Pairs,
    photographs: Photographs | None,
    folder: Path,
    seed: int,
    progress: bool,
    units: Sequence[int] | None = None,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Sweep all units with their companions, rank them for every part, and check the rankings on photographs.

    The sweep's tables and the scores are written into `folder`.

    Returns
    -------
    The numbers for `metrics.json`, and figures by name: "map" and one sheet for each of the parts that are shown.
    """
    sweep = sweep_units(
        generator, classifier, link, segmenter, out=folder / "sweep", samples=SAMPLES, psi=pairs.psi, seed=seed,
        steps=STEPS, directions=companion_directions(pairs), units=units, progress=progress,
    )  # fmt: skip
    scores = score_selectivity(sweep, part=list(segmenter.legend.parts), measure=list(MEASURES), seed=seed)
    save_scores(folder / "scores.parquet", scores)
    rankings = {
        (part, measure): rank_units(scores, part, measure)
        for part in segmenter.legend.parts
        for measure in MEASURES
        if ((scores["part"] == part) & (scores["measure"] == measure) & scores["effect"].notna()).any()
    }
    shown = _shown(rankings)
    checks = [] if photographs is None else _checks(rankings, shown, classifier, photographs, seed)
    numbers = {
        "rows": len(sweep),
        "samples_per_class": SAMPLES,
        "steps": STEPS,
        "measures": list(MEASURES),
        "parts": [_described(ranked) for ranked in rankings.values()],
        "shown": shown,
        "photographs": checks,
    }
    return numbers, _figures(sweep, scores, shown, generator, link, segmenter)


def _shown(rankings: dict[tuple[str, str], pd.DataFrame]) -> list[str]:
    """Choose the parts whose area most units change significantly."""
    counts = {
        part: int((ranked["q"] < SIGNIFICANT).sum())
        for (part, measure), ranked in rankings.items()
        if measure == "area"
    }
    return sorted(counts, key=lambda part: (-counts[part], part))[:SHOWN]


def _described(ranked: pd.DataFrame) -> dict[str, Any]:
    """Give the first units of a ranking, and how many are significant."""
    kept = ("unit", "mean_change", "low", "high", "effect", "q", "same_sign", "part_selectivity", "samples")
    first = ranked[ranked["effect"].notna()].head(TOP)
    return {
        "part": str(ranked["part"].iloc[0]),
        "measure": str(ranked["measure"].iloc[0]),
        "significant": int((ranked["q"] < SIGNIFICANT).sum()),
        "units": [{name: _json(row[name]) for name in kept} for row in first.to_dict("records")],
    }


def _checks(
    rankings: dict[tuple[str, str], pd.DataFrame],
    shown: Sequence[str],
    classifier: Classifier,
    photographs: Photographs,
    seed: int,
) -> list[dict[str, Any]]:
    reader = load_segmenter("fashion-pictures", device=classifier.device)
    measured = measure_photographs(reader, photographs.images)
    checks = []
    for (part, measure), ranked in rankings.items():
        if part not in shown:
            continue
        try:
            check = check_on_photographs(
                ranked, classifier, photographs, measured, top=CHECKED, resamples=1000, seed=seed
            )
        except LisError:
            continue  # too few photographs show this part
        checks.append(
            {
                "part": part, "measure": measure, "units": check.units, "agreement": _json(check.agreement),
                "p": _json(check.p_permutation), "rest": _json(check.rest), "photographs": check.images,
            }
        )  # fmt: skip
    return checks


def _figures(
    sweep: Sweep,
    scores: pd.DataFrame,
    shown: Sequence[str],
    generator: Generator,
    link: Link,
    segmenter: Segmenter,
) -> dict[str, Figure]:
    from .rankings.plots import selectivity_map
    from .rankings.sheets import ranking_sheet

    figures = {"map": selectivity_map(scores, "area")}
    for part in shown:
        figures[part] = ranking_sheet(
            sweep, scores, part, "area", generator=generator, link=link, segmenter=segmenter, top=TOP
        )
    return figures


def _json(value: Any) -> Any:
    """Give a number as JSON holds it: None for what is not finite."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
