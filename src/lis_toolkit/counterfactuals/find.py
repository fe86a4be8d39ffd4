"""The search for counterfactuals: one call for all methods."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..link import Link
from ..pairs import Pairs
from ..stylegan import Generator
from .closed_form import closed_form
from .latent import latent
from .nearest import MOST, nearest_targets
from .paper import paper
from .problem import Problem, pose
from .progress import Progress, expected_renders
from .rendered import Looker
from .result import Counterfactuals
from .search import Found, Method, Metric, Outcome, Search
from .summary import summarise

WINDOW = 2**22  # activations, rows times units, that are under way at once: bounds the memory of many rows


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
    realism: float = 0.3,
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
    realism : weight of the Mahalanobis distance to the target's latents, of "latent": more leads farther from the
        start, and convinces other classifiers more often.
    steps : gradient steps at most; None: 12 for "latent", 2000 for "paper".
    pairs : what means and covariances are taken of, for a link without `statistics`.
    points : pictures of the path whose logits are kept, ends included.
    batch_size : pictures at a time; it changes results by rounding only, which latent's steps may amplify to about a
        hundredth of a distance.
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
    with tqdm(total=len(problem.start), disable=not progress, desc="counterfactuals", unit="row") as bar:
        seen = Progress(bar, len(problem.start), expected_renders(problem.options)) if progress else None
        look = Looker(generator, classifier, link, len(problem.start), batch_size, seen)
        again, logits = look.features(problem.r.to(link.device))  # of the cycled starts
        look.renders[_first(problem.start)] += 1
        parts = [
            _search(problem, look, rows.to(link.device), logits)
            for rows in torch.arange(len(problem.start)).split(_window(problem))
        ]
        bar.update(len(problem.start) - bar.n)
    return summarise(problem, look, Outcome.joined(parts), again, logits, time.perf_counter() - began)


def _first(start: Tensor) -> Tensor:
    """Return the first row [S] of every start."""
    return torch.cat([start.new_ones(1), start.diff()]).nonzero()[:, 0]


def _window(problem: Problem) -> int:
    """Return how many rows are searched at once: batches stay full, and memory is that of some, however many come."""
    wide = problem.r.shape[1] * (MOST if problem.nearest else 1)  # "nearest" tries that many classes for each
    return max(16 * problem.options.batch_size, WINDOW // wide)


def _search(problem: Problem, look: Looker, rows: Tensor, logits: Tensor) -> Outcome:
    """Search for some rows [n]: their nearest targets first where none were named."""
    options, start = problem.options, problem.start[rows.cpu()]
    r, origin = problem.r[start].to(look.link.A), problem.origin[start].to(rows.device)
    target = problem.target.to(rows.device)[rows]
    search = Search(
        look, r, origin, target, rows, options.margin, options.scale, problem.floor, options.metric, problem.head,
        problem.statistics,
    )  # fmt: skip
    cycled, first = logits.argmax(dim=1)[start.to(rows.device)], None
    if problem.nearest:
        excluded = (~problem.rivals.to(rows.device)).repeat(len(r), 1)  # [n, K]
        excluded.scatter_(1, origin[:, None], True).scatter_(1, cycled[:, None], True)
        if options.method == "paper":  # it has no notion of near: the class that the head says most of
            said = look.head(r).masked_fill(excluded, -torch.inf)
            search = replace(search, target=torch.where(excluded.all(dim=1), origin, said.argmax(dim=1)))
        else:
            target, first = nearest_targets(search, excluded)
            search = replace(search, target=target)
    skip = (search.target == cycled) | (search.target == origin)
    found = _run(problem, search.part(~skip), first.part(~skip) if first is not None else None)
    return Outcome.of(search, skip, found)


def _run(problem: Problem, search: Search, first: Found | None) -> Found:
    options = problem.options
    if len(search.r) == 0:  # every start is of its target class already
        return Found(search.r, torch.zeros_like(search.rows, dtype=torch.bool), [], search.rows.cpu())
    if options.method == "paper":
        seeds = [
            [options.seed, problem.keys[int(problem.start[row])], goal]
            for row, goal in zip(search.rows.tolist(), search.target.tolist(), strict=True)
        ]
        return paper(search, seeds, options.steps)
    first = closed_form(search) if first is None else first
    return latent(search, first, options.realism, options.steps) if options.method == "latent" else first
