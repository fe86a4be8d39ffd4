"""Counterfactuals of tiny models, made without a search: r moved towards that of a picture of the target."""

from __future__ import annotations

import pandas as pd
import torch

from lis_toolkit import collect_pairs, fit_link
from lis_toolkit.counterfactuals.result import Counterfactuals
from tiny import tiny_classifier, tiny_generator


def tiny_models():
    """Generator, classifier, judge (another seed), link, and held-out pairs."""
    generator = tiny_generator()
    classifier, judge = tiny_classifier(generator), tiny_classifier(generator, seed=5)
    pairs = collect_pairs(generator, classifier, per_class=40, seed=0, progress=False)
    held_out = collect_pairs(generator, classifier, per_class=30, seed=3, progress=False)
    return generator, classifier, judge, fit_link(pairs), held_out


@torch.no_grad()
def moved(models, per_class=3, amount=1.0, points=5, images=None, seed=11):
    """Every start with every other class as target: moved by `amount` towards a pair that is cycled to the target."""
    generator, classifier, _, link, held_out = models
    classes = tuple(classifier.classes)
    seen = classifier.head(classifier.features(generator.render(link(held_out.r)))).argmax(1)
    if images is not None:
        r = classifier.features(images)
    else:
        r = collect_pairs(generator, classifier, per_class=per_class, seed=seed, progress=False).r
    said = classifier.head(r).argmax(1)
    places = [(s, int(said[s]), k) for s in range(len(r)) for k in range(3) if k != int(said[s])]
    starts, origins, targets = (torch.tensor(column) for column in zip(*places, strict=True))
    r_start = r[starts]
    pools = [held_out.r[seen == k] for k in range(3)]
    goal = torch.stack([pools[t][n % len(pools[t])] for n, t in enumerate(targets.tolist())])  # [N, R]
    r_end = r_start + amount * (goal - r_start)
    amounts = torch.linspace(0, 1, points)
    path = torch.lerp(r_start[:, None], r_end[:, None], amounts[None, :, None])  # [N, P, R]
    logits = classifier.head(classifier.features(generator.render(link(path.flatten(0, 1)))))
    logits = logits.unflatten(0, (len(starts), points))
    own = logits.gather(2, targets[:, None, None].expand(-1, points, 1))[..., 0]
    margins = own - logits.scatter(2, targets[:, None, None].expand(-1, points, 1), -torch.inf).amax(2)
    cycled = logits[:, 0].argmax(1)
    success = (margins[:, -1] > 0) & (cycled != targets)
    shift = (r_end - r_start).norm(dim=1)
    reasons = [
        "" if ok else ("start is target" if c == t else "no margin within reach")
        for ok, c, t in zip(success.tolist(), cycled.tolist(), targets.tolist(), strict=True)
    ]
    table = pd.DataFrame(
        {
            "start": starts.numpy(),
            "origin": [classes[k] for k in origins],
            "cycled": [classes[k] for k in cycled],
            "target": [classes[k] for k in targets],
            "success": success.numpy(),
            "reason": reasons,
            "way": ["towards the mean" if ok else "" for ok in success.tolist()],
            "steps": 1,
            "renders": 2 + starts.numpy() % 3,
            "seconds": 0.01,
            "distance_r": shift.numpy(),
            "distance_r_sd": (shift / r.shape[1] ** 0.5).numpy(),
            "distance_w": (link(r_end) - link(r_start)).norm(dim=1).numpy(),
            "units_90": 4,
            "margin_start": margins[:, 0].numpy(),
            "margin_end": margins[:, -1].numpy(),
            "margin_head": margins[:, -1].numpy(),
            "cycle_error": 0.1,
            "monotone": (margins.diff(dim=1) >= 0).all(1).numpy(),
        }
    )
    return Counterfactuals(
        table=table, r_start=r_start, r_end=r_end, amounts=amounts, logits=logits, images=images, classes=classes,
        settings={"method": "moved", "margin": 0.0}, provenance={},
    )  # fmt: skip
