"""The search for counterfactuals: one call for all methods."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..pairs import Pairs
from ..stylegan import Generator
from .closed_form import closed_form
from .latent import latent
from .nearest import nearest_targets
from .paper import paper
from .problem import NEAREST, Problem, pose
from .rendered import Looker
from .result import Counterfactuals
from .search import Found, Method, Metric, Search
from .summary import summarise


@torch.no_grad()
def find_counterfactuals(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    start: Any,
    target: Any = "nearest",
    method: Method = "latent",
    *,
    metric: Metric = "covariance",
    margin: float | None = None,
    realism: float = 0.1,
    steps: int | None = None,
    pairs: Pairs | None = None,
    points: int = 9,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> Counterfactuals:
    """Find what has to change for the classifier to take pictures for another class, proven on the rendered pictures.

    Parameters
    ----------
    start : activations r [N, R], Features, Pairs; or Photographs or images [N, C, H, W] in the unit range, of which r
        is taken. All distances are from the *cycled* picture, that of link(r).
    target : a class (name or index), one for each start, "nearest" (the other class whose counterfactual is nearest in
        w) or "all" (every other class of the link's: N x (K - 1) rows).
    method : "closed_form": the shortest shift in r over the margin of the linear head, r >= 0, and then as far along it
        as the rendered picture needs, or towards the target's mean activation. "latent": from there in gradient steps
        along the boundary of rendered pictures towards the start. "paper": plain gradient steps of Linking in Style
        (Wehrheim et al. 2024, arXiv 2409.16865, code) until the picture is classified as the target.
    metric : what closed_form calls short: "covariance" (Mahalanobis, of r over all pairs), "euclidean" or "sparse" (sum
        of the shift in standard deviations).
    margin : logits by which the target must lead in the rendered picture. None: half the median, over classes, of the
        head's margin at the class's mean activation. Not used by "paper".
    realism : weight of the Mahalanobis distance to the target's latents, of "latent".
    steps : gradient steps at most; None: 12 for "latent", 2000 for "paper".
    pairs : what means and covariances are taken of, for a link without `statistics`.
    points : pictures of the path whose logits are kept, ends included.
    batch_size : pictures at a time; it changes no result.
    seed : of the random start of "paper".
    progress : show a progress bar over rows.

    Returns
    -------
    Counterfactuals
        With a row for each start and target; failures stay, with their reason.

    Raises
    ------
    LisError : models that the link was not fitted for; a class that does not exist; starts that all are of their target
        class; activations of another width, of another classifier, negative or not finite; a classifier without a
        linear head (except "paper"); no class statistics; numbers that make no sense.

    Examples
    --------
    >>> result = find_counterfactuals(generator, classifier, link, held_out.r[:8], target="Coat")
    >>> result.table[["origin", "target", "success", "distance_w"]]
    """
    problem = pose(
        generator, classifier, link, start, target, pairs, margin, method=method, metric=metric, realism=realism,
        steps=steps, points=points, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    began = time.perf_counter()
    look = Looker(generator, classifier, link, len(problem.start), batch_size)
    search, cycled, skip = _begin(problem, look)
    found = _run(problem, search.part(~skip))
    seconds = time.perf_counter() - began
    return summarise(problem, search, cycled, skip, found, seconds)


def _begin(problem: Problem, look: Looker) -> tuple[Search, Tensor, Tensor]:
    """Look at the starts; choose nearest targets; say which rows have nothing to search for."""
    device = look.link.device
    r, origin = (x[problem.start].to(device) for x in (problem.r, problem.origin))
    rows = torch.arange(len(r), device=device)
    target = problem.target.to(device)
    options = problem.options
    search = Search(look, r, origin, target, rows, options.margin, problem.floor, options.metric, problem.head,
                    problem.statistics)  # fmt: skip
    logits = look(r, target.clamp_min(0), rows).logits
    cycled = logits.argmax(dim=1)  # [N]
    if bool((target == NEAREST).any()):
        excluded = (~problem.rivals.to(device)).repeat(len(r), 1)  # [N, K]
        excluded.scatter_(1, origin[:, None], True).scatter_(1, cycled[:, None], True)
        if options.method == "paper":  # without a metric: what the head says most of
            said = look.classifier.head(r).masked_fill(excluded, -torch.inf)
            target = said.argmax(dim=1)
        else:
            target = nearest_targets(search, excluded)
        search = Search(**{**search.__dict__, "target": target})
    return search, cycled, (target == cycled) | (target == origin)


def _run(problem: Problem, search: Search) -> Found:
    options = problem.options
    if len(search.r) == 0:  # every start is of its target class already
        return Found(search.r, torch.zeros(0, dtype=torch.bool, device=search.r.device), [])
    if options.method == "paper":
        seeds = [
            [options.seed, problem.keys[int(problem.start[row])], goal]
            for row, goal in zip(search.rows.tolist(), search.target.tolist(), strict=True)
        ]
        return paper(search, seeds, options.steps)
    if options.method == "latent":
        return latent(search, options.realism, options.steps)
    return closed_form(search)
