"""The demo's counterfactuals: a few to look at, and one of every pair of classes to count and to measure distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .classifiers import Classifier
from .counterfactuals.find import find_counterfactuals
from .counterfactuals.intervals import share_over_starts
from .counterfactuals.result import Counterfactuals
from .counterfactuals.rows import row_measures
from .counterfactuals.sheets import counterfactual_sheet
from .datasets import Photographs
from .features import extract_features
from .link import Link
from .pairs import Pairs
from .stylegan import Generator

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["explain_decisions"]

# What is looked at: origin and target where the classifier has both, else the first classes and what is nearest.
WAYS = (("Coat", "Shirt"), ("Pullover", "Coat"), ("Sandal", "Ankle boot"), ("Sneaker", "Sandal"))
PHOTOGRAPHED = (0, 2)  # of these, also from a photograph
STARTS = 1  # pictures of each class from which every other class is searched
MOST_CLASSES = 12  # with more than these, "every other class" would take too long: the first ones
SHOWN = (
    "origin", "cycled", "target", "success", "reason", "margin_end", "distance_r_sd", "distance_w", "units_90",
    "renders", "cycle_error", "pixels", "judge_end",
)  # fmt: skip


def explain_decisions(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier | None,
    held_out: Pairs,
    photographs: Photographs | None,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Search counterfactuals from held-out pairs and photographs, and let the judge look at their ends.

    Returns
    -------
    The numbers for `metrics.json`, and the figures "generated" and, where there are photographs, "photographs".
    """
    models = (generator, classifier, link)
    r, labels = held_out.r, held_out.labels
    ways = _ways(classifier.classes, sorted(set(labels.tolist())))
    shown = _search(models, torch.stack([r[labels == k][0] for k, _ in ways]), ways, seed)
    starts = [r[labels == k][:STARTS] for k in labels.unique()[:MOST_CLASSES]]
    every = find_counterfactuals(
        *models, torch.cat(starts), target="all", method="closed_form", points=2, seed=seed
    )
    rows = row_measures(every, *models, judge)[0]
    numbers: dict[str, Any] = {
        "margin": float(shown.settings["margin"]),
        "starts_per_class": STARTS,
        "shown": _described(row_measures(shown, *models, judge)[0]),
        "photographs": [],
        "all": _counted(rows),
        "nearest": _nearest(rows),
    }
    figures = {"generated": counterfactual_sheet(shown, *models, judge=judge)}
    if photographs is not None and (chosen := _photographed(classifier, photographs, ways)) is not None:
        images, ways = chosen
        real = _search(models, images, ways, seed)
        numbers["photographs"] = _described(row_measures(real, *models, judge)[0])
        figures["photographs"] = counterfactual_sheet(real, *models, judge=judge)
    return numbers, figures


def _ways(classes: Sequence[str], there: Sequence[int]) -> list[tuple[int, int | None]]:
    """Return origins and targets as class indices; None where what is nearest is wanted."""
    known = {classes[k]: k for k in there}
    named = [(known[a], known[b]) for a, b in WAYS if a in known and b in known]
    return list(named) or [(k, None) for k in there[: len(WAYS)]]


def _search(
    models: tuple[Generator, Classifier, Link],
    start: Tensor,
    ways: Sequence[tuple[int, int | None]],
    seed: int,
) -> Counterfactuals:
    targets = [target for _, target in ways]
    wanted: Any = "nearest" if None in targets else targets
    return find_counterfactuals(*models, start, target=wanted, method="latent", seed=seed)


def _photographed(
    classifier: Classifier, photographs: Photographs, ways: Sequence[tuple[int, int | None]]
) -> tuple[Tensor, list[tuple[int, int | None]]] | None:
    """Return for some ways the first photograph that is seen as the origin [n, C, H, W], and those ways."""
    images, kept = [], []
    for k, target in [ways[place] for place in PHOTOGRAPHED if place < len(ways)]:
        own = photographs.images[photographs.labels == k]
        right = torch.nonzero(extract_features(classifier, own).predictions == k).flatten()
        if len(right):
            images.append(own[int(right[0])])
            kept.append((k, target))
    return (torch.stack(images), kept) if images else None


def _described(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the numbers of each counterfactual."""
    return [{name: _json(row[name]) for name in SHOWN if name in row} for row in rows.to_dict("records")]


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    """Say how many of those asked for convince the classifier and the judge, with 95 % intervals, and at what cost."""
    kept = rows[rows["asked"]]
    found = kept[kept["valid"]]
    counted: dict[str, Any] = {
        "asked": len(kept),
        "start_is_target": int((~rows["asked"]).sum()),
        "pairs": len(kept.drop_duplicates(["origin", "target"])),
    }
    for name, column in (("classifier", "valid"), ("judge", "valid_judge")):
        if column not in kept:
            counted[name] = None
            continue
        share = share_over_starts(kept[column].to_numpy(), kept["start"].to_numpy())
        counted[name] = {"share": _json(share.value), "low": _json(share.low), "high": _json(share.high)}
    for name in ("distance_w", "distance_r_sd", "pixels", "renders"):
        counted[name] = _json(found[name].median())
    return counted


def _nearest(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give for each class the other ones that were reached in the shortest and in the longest way, in w."""
    found = rows[rows["valid"]]
    listed = []
    for origin, own in found.groupby("origin", observed=True, sort=False):
        means = own.groupby("target", observed=True)["distance_w"].mean().sort_values(kind="stable")
        listed.append(
            {
                "class": str(origin), "nearest": str(means.index[0]), "distance_w": _json(means.iloc[0]),
                "farthest": str(means.index[-1]), "farthest_w": _json(means.iloc[-1]),
            }
        )  # fmt: skip
    return listed


def _json(value: Any) -> Any:
    """Give a value as JSON holds it: None for a number that is not finite."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
