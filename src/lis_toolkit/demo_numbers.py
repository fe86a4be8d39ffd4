"""The numbers of a demo run: which units are shown, where their walks start, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .classifiers import Classifier
from .datasets import Photographs
from .features import extract_features
from .link import Link
from .link_report import LinkReport
from .link_tables import report_numbers
from .pairs import Pairs
from .trust import unit_level
from .units import UnitWalk, tune_unit

if TYPE_CHECKING:
    from .stylegan import Generator

__all__ = ["best_answering", "describe_link", "describe_walk", "pick_units", "starting_points"]


def describe_link(link: Link, report: LinkReport, classes: Sequence[str]) -> dict[str, Any]:
    """Return the numbers of a link and its report that are spoken about, and the report in full; NaN is None.

    The report's are those of `report_numbers`.
    """
    return {
        "method": link.method,
        "penalty": link.penalty,
        "units": link.num_units,
        "latents": link.w_dim,
        "constant_units": len(link.constant_units),
        **report_numbers(report),
    }


def pick_units(
    weights: Tensor, unit_std: Tensor, cycle: Sequence[float | None], per_class: int = 3
) -> dict[int, list[int]]:
    """Choose for each class the units that speak most for it, vary most and survive the loop; none twice.

    Parameters
    ----------
    weights : Tensor [K, R]
        Of the head.
    unit_std : Tensor [R]
        Standard deviation of each unit over the pairs.
    cycle : sequence of float or None [R]
        Cycle correlation of each unit; None for a constant one, which is never chosen.
    per_class : int
        Units a class, fewer where there are too few units.

    Returns
    -------
    dict of int to list of int
        Class index to units, the best first.
    """
    trust = torch.tensor([0.0 if value is None else max(value, 0.0) for value in cycle])  # [R]
    contrast = weights - weights.mean(dim=0, keepdim=True)  # [K, R]
    score = contrast * unit_std.float().cpu() * trust  # [K, R]
    chosen: dict[int, list[int]] = {}
    # A unit goes to the class it speaks most for.
    owner = score.argmax(dim=0)  # [R]
    for k in range(len(weights)):
        own = torch.nonzero((owner == k) & (score[k] > 0)).flatten()
        chosen[k] = own[score[k, own].argsort(descending=True, stable=True)][:per_class].tolist()
    return chosen


def starting_points(
    classifier: Classifier, held_out: Pairs, photographs: Photographs | None, count: int
) -> dict[int, Tensor]:
    """Return for each class activations [at most count, R] to start from, seen as their class.

    They come from photographs, or where there are none from held-out pairs.
    """
    if photographs is None:
        r, labels = held_out.r, held_out.labels
    else:
        features = extract_features(classifier, photographs.images)
        right = features.predictions == photographs.labels
        r, labels = features.r[right], photographs.labels[right]
    return {int(k): r[labels == k][:count] for k in labels.unique()}


def best_answering(
    generator: Generator, classifier: Classifier, link: Link, r: Tensor, candidates: Sequence[int], count: int
) -> list[int]:
    """Return the `count` candidates that rise most, per unit asked, when they are set from low to high; best first.

    A probe of two steps from each of r [N, R]; these should not be the images on which the units are then shown, or
    their numbers would be flattered by having been chosen on them.
    """
    rises = {}
    for unit in candidates:
        walk = tune_unit(generator, classifier, link, r, unit, steps=2)
        reads = walk.r[:, :, walk.unit].mean(dim=0)  # [2]
        rises[unit] = float((reads[1] - reads[0]) / (walk.values[1] - walk.values[0]))
    return sorted(candidates, key=lambda unit: -rises[unit])[:count]


def describe_walk(walk: UnitWalk, classes: Sequence[str], k: int, weights: Tensor) -> dict[str, Any]:
    """Return the numbers of one unit walk that started from class k: what it asked for and what came back."""
    votes = weights[:, walk.unit]  # [K]
    reads = walk.r[:, :, walk.unit].double().cpu()  # [N, S]
    values = walk.values.double().cpu()  # [S]
    probability = torch.softmax(walk.logits.double().cpu(), dim=-1)[..., k]  # [N, S]
    x = (values - values.mean()).expand_as(reads)
    y = reads - reads.mean(dim=1, keepdim=True)  # within each sample: where it starts from does not count
    xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    slope, correlation = xy / xx, (xy / math.sqrt(xx * yy) if yy > 0 else 0.0)
    high, low = int(votes.argmax()), int(votes.argmin())
    return {
        "unit": int(walk.unit),
        "class": classes[k],
        "for": classes[high],
        "for_weight": float(votes[high]),
        "against": classes[low],
        "against_weight": float(votes[low]),
        "low": float(values[0]),
        "high": float(values[-1]),
        "read_low": float(reads[:, 0].mean()),
        "read_high": float(reads[:, -1].mean()),
        "slope": slope,
        "correlation": correlation,
        "probability_low": float(probability[:, 0].mean()),
        "probability_high": float(probability[:, -1].mean()),
        "trust": unit_level(slope, correlation),
    }
