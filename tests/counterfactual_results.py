"""Counterfactuals of tiny models, made by hand, for tests of what is done with them."""

from __future__ import annotations

from functools import lru_cache

import torch

from lis_toolkit import collect_pairs, fit_link
from lis_toolkit.counterfactuals.paths import target_margins
from lis_toolkit.counterfactuals.result import Counterfactuals
from tiny import tiny_classifier, tiny_generator


@lru_cache
def tiny_models():
    """Generator, classifier, pairs and their link."""
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=30, psi=1.0, keep="all")
    return generator, classifier, pairs, fit_link(pairs)


def say(r):
    """What the classifier says of the pictures that activations r [..., R] render to."""
    generator, classifier, _, link = tiny_models()
    x = generator.render(link(r.reshape(-1, r.shape[-1])))
    return classifier.logits(x).reshape(*r.shape[:-1], -1)


def tiny_result(rows=24, points=9, seed=0, images=False, stretch=1.0):
    """Counterfactuals that go from one pair's activations to another's: real paths, found by no search."""
    generator, classifier, pairs, link = tiny_models()
    draw = torch.Generator().manual_seed(seed)
    first = torch.randint(len(pairs.r), (rows,), generator=draw)
    second = torch.randint(len(pairs.r), (rows,), generator=draw)
    start, end = pairs.r[first], pairs.r[first].lerp(pairs.r[second], stretch).relu()
    amounts = torch.linspace(0, 1, points)
    logits = say(torch.lerp(start[:, None], end[:, None], amounts[None, :, None]))
    names = classifier.classes
    cycled = logits[:, 0].argmax(1)
    # The end's class, or where that is the start's the next one, which is then not reached.
    target = torch.where(logits[:, -1].argmax(1) == cycled, (cycled + 1) % 3, logits[:, -1].argmax(1))
    margins = target_margins(logits, target)
    head = classifier.head(start).argmax(1)
    success = (margins[:, -1] > 0).tolist()
    w = (link(end) - link(start)).norm(dim=1)
    distance = (end - start).norm(dim=1)
    table = {
        "start": first.tolist(), "origin": [names[k] for k in head], "cycled": [names[k] for k in cycled],
        "target": [names[k] for k in target], "success": success,
        "reason": ["" if s else "no way found" for s in success], "way": ["walk" if s else "" for s in success],
        "steps": [3] * rows, "renders": list(range(rows)), "seconds": [0.25] * rows,
        "distance_r": distance.tolist(), "distance_r_sd": (distance / 3).tolist(), "distance_w": w.tolist(),
        "units_90": [5] * rows, "margin_start": margins[:, 0].tolist(), "margin_end": margins[:, -1].tolist(),
        "margin_head": [float("nan")] * rows, "cycle_error": [0.5] * rows,
        "monotone": (margins.diff(dim=1) >= 0).all(1).tolist(),
    }  # fmt: skip
    return Counterfactuals(
        table, start, end, amounts, logits, torch.rand(len(pairs.r), 1, 16, 16) if images else None, names,
        {"method": "by hand", "margin": 0.0}, {"generator_hash": generator.hash, "classifier_hash": classifier.hash},
    )  # fmt: skip
