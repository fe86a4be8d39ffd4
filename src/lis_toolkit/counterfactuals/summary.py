"""From what a search found to the table and the paths of its result."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..files import provenance, sha256_tensors
from ..link import Link
from .closed_form import AMOUNTS
from .problem import Options, Problem
from .rendered import Looker, rendered_margin
from .result import COLUMNS, START_IS_TARGET, Counterfactuals
from .search import Outcome

FALLS = 1e-3  # logits that a margin may fall along a path that is called monotone: rounding


def summarise(
    problem: Problem, look: Looker, outcome: Outcome, again: Tensor, cycled: Tensor, seconds: float
) -> Counterfactuals:
    """Render the paths, judge every end by them, and tell it all.

    Parameters
    ----------
    again, cycled : [S, R], [S, K], activations and logits of the pictures of the starts.
    seconds : that the search took.
    """
    import pandas as pd

    options, start, target = problem.options, problem.start, outcome.target
    r, end = problem.r[start], outcome.r_end  # [N, R]
    amounts = torch.linspace(0, 1, options.points)
    logits = _path_logits(look, r, end, amounts, cycled.float().cpu()[start])  # [N, P, K]
    n, points, k = logits.shape
    margins = rendered_margin(logits.view(n * points, k), target.repeat_interleave(points)).view(n, points)
    head = look.head(end)  # [N, K]
    proven = logits[:, -1].argmax(dim=1) == target
    if options.method != "paper":
        proven &= margins[:, -1] >= options.margin
    success = outcome.reached & proven
    names, renders = look.classifier.classes, look.renders
    error = (again.float().cpu() - problem.r).norm(dim=1) / problem.r.norm(dim=1).clamp_min(1e-12)  # [S]
    columns = {
        "start": start.tolist(),
        "origin": [names[c] for c in problem.origin[start].tolist()],
        "cycled": [names[c] for c in cycled.argmax(dim=1).cpu()[start].tolist()],
        "target": [names[c] for c in target.tolist()],
        "success": success.tolist(),
        "reason": _reasons(options, outcome, success.tolist(), margins[:, -1].tolist()),
        "way": [name if yes else "" for name, yes in zip(outcome.way, success.tolist(), strict=True)],
        "steps": outcome.steps.tolist(),
        "renders": renders.tolist(),
        "seconds": (seconds * renders.double() / renders.sum()).tolist(),
        **_distances(problem, look.link, end - r),
        "margin_start": margins[:, 0].tolist(),
        "margin_end": margins[:, -1].tolist(),
        "margin_head": rendered_margin(head, target).tolist(),
        "cycle_error": error[start].tolist(),
        "monotone": (margins.diff(dim=1) >= -FALLS).all(dim=1).tolist(),
    }
    table = pd.DataFrame(columns)[list(COLUMNS)]
    settings = {**asdict(options), "target": problem.asked}
    return Counterfactuals(
        table, r, end, amounts, logits, problem.images, tuple(names), settings, _provenance(look)
    )


def _path_logits(look: Looker, r: Tensor, end: Tensor, amounts: Tensor, first: Tensor) -> Tensor:
    """Return logits [N, P, K] of the pictures along the straight paths, of which the first [N, K] are known."""
    device, rows = look.link.device, []
    for a, b in zip(r.split(look.batch_size), end.split(look.batch_size), strict=True):
        points = [torch.lerp(a, b, float(t)) for t in amounts[1:]]  # P - 1 of [n, R]
        logits = look.features(torch.cat(points).to(device))[1].float().cpu()
        rows.append(logits.view(len(points), len(a), -1).transpose(0, 1))
    return torch.cat([first[:, None], torch.cat(rows)], dim=1)


def _distances(problem: Problem, link: Link, shift: Tensor) -> dict[str, list[float]]:
    """Return the columns of the shifts' [N, R] lengths, and the units that carry 90 % of each."""
    spread = link.unit_std.cpu()
    share = torch.where(spread > 0, shift / spread.clamp_min(1e-12), 0).square()
    sums = share.sort(dim=1, descending=True).values.cumsum(dim=1)
    units = ((sums < 0.9 * sums[:, -1:]).sum(dim=1) + 1).masked_fill(sums[:, -1] == 0, 0)
    statistics = problem.statistics
    long = torch.full((len(shift),), torch.nan) if statistics is None else statistics.mahalanobis(shift)
    return {
        "distance_r": shift.norm(dim=1).tolist(),
        "distance_r_sd": long.tolist(),
        "distance_w": (shift.to(link.A) @ link.A.T).norm(dim=1).tolist(),
        "units_90": units.tolist(),
    }


def _reasons(options: Options, outcome: Outcome, success: list[bool], ends: list[float]) -> list[str]:
    """Return in plain words why rows failed; "" where they did not."""
    reasons = []
    for yes, skip, reached, end in zip(
        success, outcome.skip.tolist(), outcome.reached.tolist(), ends, strict=True
    ):
        if yes:
            reasons.append("")
        elif skip:
            reasons.append(START_IS_TARGET)
        elif math.isnan(end):
            reasons.append("the classifier gives NaN for the pictures on the way")
        elif reached:
            reasons.append("rendered again, the picture did not reach the target")
        elif options.method == "paper":
            reasons.append(f"no picture was of the target class within {options.steps} steps")
        else:
            where = f"on the shortest shift up to {AMOUNTS[-1]:g} times its length, nor on the way to the target's mean"
            where += ", nor by walking on" if options.method == "latent" else ""
            reasons.append(f"no picture had the margin {options.margin:.2f} {where}")
    return reasons


def _provenance(look: Looker) -> dict[str, Any]:
    generator, classifier, link = look.generator, look.classifier, look.link
    return provenance(
        generator=generator.name,
        classifier=classifier.name,
        precision=generator.precision,
        generator_hash=link.generator_hash or generator.hash,
        classifier_hash=link.classifier_hash or classifier.hash,
        link_hash=sha256_tensors({"A": link.A, "b": link.b}),
    )
