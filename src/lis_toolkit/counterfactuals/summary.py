"""From what a search found to the table and the paths of its result."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..files import provenance, sha256_tensors
from .problem import Problem
from .rendered import rendered_margin
from .result import COLUMNS, START_IS_TARGET, Counterfactuals
from .search import Found, Search

FALLS = 1e-3  # logits that a margin may fall along a path that is called monotone: rounding


def summarise(
    problem: Problem, search: Search, cycled: Tensor, skip: Tensor, found: Found, seconds: float
) -> Counterfactuals:
    """Render the paths, judge every end by them, and tell it all."""
    import pandas as pd

    look, options = search.look, problem.options
    end = search.r.clone()
    end[~skip] = found.r
    amounts = torch.linspace(0, 1, options.points)
    logits, again = _paths(search, end, amounts)  # [N, P, K], [N, R]
    target = search.target.cpu()
    margins = rendered_margin(logits.flatten(0, 1), target.repeat_interleave(options.points)).view(
        len(end), -1
    )
    said = look.classifier.head(end.to(look.classifier.device, look.classifier.dtype)).float().cpu()
    r, end, skip = search.r.float().cpu(), end.float().cpu(), skip.cpu()
    reached = torch.zeros(len(r), dtype=torch.bool)
    reached[~skip] = found.reached.cpu()
    proven = logits[:, -1].argmax(dim=1) == target
    if options.method != "paper":
        proven &= margins[:, -1] >= options.margin
    success = reached & proven
    ways, steps = [""] * len(r), torch.zeros(len(r), dtype=torch.int64)
    for place, row in enumerate((~skip).nonzero()[:, 0].tolist()):
        ways[row] = found.way[place] if success[row] else ""
    steps[~skip] = found.steps
    names = look.classifier.classes
    renders = look.renders
    columns = {
        "start": problem.start.tolist(),
        "origin": [names[k] for k in search.origin.tolist()],
        "cycled": [names[k] for k in cycled.tolist()],
        "target": [names[k] for k in target.tolist()],
        "success": success.tolist(),
        "reason": [_reason(problem, search, *row) for row in zip(skip.tolist(), success.tolist(), margins.tolist(),
                                                                  strict=True)],
        "way": ways,
        "steps": steps.tolist(),
        "renders": renders.tolist(),
        "seconds": (seconds * renders / renders.sum()).tolist(),
        **_distances(problem, search, r, end),
        "margin_start": margins[:, 0].tolist(),
        "margin_end": margins[:, -1].tolist(),
        "margin_head": rendered_margin(said, target).tolist(),
        "cycle_error": ((again - r).norm(dim=1) / r.norm(dim=1).clamp_min(1e-12)).tolist(),
        "monotone": (margins.diff(dim=1) >= -FALLS).all(dim=1).tolist(),
    }  # fmt: skip
    table = pd.DataFrame(columns)[list(COLUMNS)]
    return Counterfactuals(
        table, r, end, amounts, logits, problem.images, tuple(names), dict(options.__dict__), _origin(search)
    )


def _paths(search: Search, end: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [N, P, K] along the straight paths, and the activations [N, R] of the cycled starts."""
    r, n = search.r, len(search.r)
    points = torch.cat([torch.lerp(r, end, float(t)) for t in amounts])  # [P N, R]
    again, logits = search.look.features(points)
    return logits.float().cpu().view(len(amounts), n, -1).transpose(0, 1).contiguous(), again[
        :n
    ].float().cpu()


def _distances(problem: Problem, search: Search, r: Tensor, end: Tensor) -> dict[str, list[float]]:
    link, shift = search.look.link, end - r
    spread = link.unit_std.cpu()
    share = (
        torch.where(spread > 0, shift / spread.clamp_min(1e-12), 0)
        .square()
        .sort(dim=1, descending=True)
        .values
    )
    sums = share.cumsum(dim=1)
    units = ((sums < 0.9 * sums[:, -1:]).sum(dim=1) + 1).masked_fill(sums[:, -1] == 0, 0)
    statistics = problem.statistics
    long = torch.full((len(r),), torch.nan) if statistics is None else statistics.mahalanobis(shift)
    w = (shift.to(link.A) @ link.A.T).norm(dim=1)
    return {
        "distance_r": shift.norm(dim=1).tolist(),
        "distance_r_sd": long.tolist(),
        "distance_w": w.tolist(),
        "units_90": units.tolist(),
    }


def _reason(problem: Problem, search: Search, skip: bool, success: bool, margins: list[float]) -> str:
    if success:
        return ""
    if skip:
        return START_IS_TARGET
    if problem.options.method == "paper":
        return f"the picture was not of the target class within {problem.options.steps} steps"
    return (
        f"no picture had the margin {search.margin:.3g}, neither along the shortest shift nor at the target's mean; "
        f"the best had {margins[-1]:.3g}"
    )


def _origin(search: Search) -> dict[str, Any]:
    look = search.look
    link = look.link
    return provenance(
        generator=look.generator.name, classifier=look.classifier.name,
        generator_hash=link.generator_hash or look.generator.hash,
        classifier_hash=link.classifier_hash or look.classifier.hash,
        link_hash=sha256_tensors({"A": link.A, "b": link.b}),
    )  # fmt: skip
