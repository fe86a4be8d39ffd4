"""The nearest other class: the closed form tried for the others, the shortest rendered way wins."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .closed_form import closed_form
from .rendered import Looker
from .search import Found, Search

MOST = 10  # rivals that are rendered; of more, those nearest by the head alone


def nearest_targets(search: Search, excluded: Tensor) -> tuple[Tensor, Found]:
    """Choose for every row the class whose rendered counterfactual is nearest in w, and give that counterfactual.

    Where no class can be reached, that nearest by the head alone is chosen. All renders count for the row.

    Parameters
    ----------
    excluded : bool [n, K], classes that are no rivals of a row: its own, that of its cycled picture, unknown ones.

    Returns
    -------
    targets, int64 [n], and where they were found. A row without any rival gets its own class.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> target, first = nearest_targets(search, excluded)
    """
    lengths = head_lengths(search).masked_fill(excluded, torch.inf)  # [n, K]
    most = max(1, min(MOST, int((~excluded).sum(dim=1).max())))
    near = lengths.topk(most, dim=1, largest=False)  # [n, C]
    row, place = torch.isfinite(near.values).nonzero(as_tuple=True)  # [T] trials
    trial, found = _tried(search, row, near.indices[row, place])
    ways = torch.full_like(near.values, torch.inf)
    distance = (trial.look.link.linear(found.r) - trial.look.link.linear(trial.r)).norm(dim=1)
    ways[row, place] = distance.masked_fill(~found.reached, torch.inf)
    ways = torch.where(torch.isfinite(ways).any(dim=1, keepdim=True), ways, near.values)
    best = ways.argmin(dim=1, keepdim=True)  # [n, 1]
    trials = torch.full(near.values.shape, -1, device=row.device)
    trials[row, place] = torch.arange(len(row), device=row.device)
    chosen = trials.gather(1, best)[:, 0]  # [n], -1 of a row without rivals
    target = torch.where(chosen < 0, search.origin, near.indices.gather(1, best)[:, 0])
    return target, _those(search, found, chosen.tolist())


def _tried(search: Search, row: Tensor, target: Tensor) -> tuple[Search, Found]:
    """Run the closed form for some rows [T] and targets [T]; a row's renders are the sum over its trials."""
    own, places = search.look, torch.arange(len(row), device=row.device)
    look = Looker(own.generator, own.classifier, own.link, len(row), own.batch_size)
    trial = replace(search.part(row), look=look, target=target, rows=places)
    found = closed_form(trial)
    own.renders.index_add_(0, search.rows[row].cpu(), look.renders)
    return trial, found


def _those(search: Search, found: Found, chosen: list[int]) -> Found:
    """Pick one trial for every row; a row without any stays where it is."""
    there, reached = search.r.clone(), torch.zeros(len(chosen), dtype=torch.bool, device=search.r.device)
    for place, trial in enumerate(chosen):
        if trial >= 0:
            there[place], reached[place] = found.r[trial], found.reached[trial]
    ways = [found.way[trial] if trial >= 0 else "" for trial in chosen]
    return Found(there, reached, ways, torch.zeros(len(chosen), dtype=torch.int64))


def head_lengths(search: Search) -> Tensor:
    """Return how far it is, by the head, to where a class leads over the origin [n, K]: a lower bound."""
    assert search.head is not None and search.statistics is not None
    weight, bias = (x.to(search.r) for x in search.head)
    sigma = search.statistics.sigma.to(search.r)
    logits = search.r @ weight.T + bias  # [n, K]
    missing = (logits.gather(1, search.origin[:, None]) - logits + search.margin).clamp_min(0)
    product = weight @ sigma @ weight.T  # [K, K]
    own = product.diagonal()
    square = own[search.origin][:, None] + own - 2 * product[search.origin]
    return missing / square.clamp_min(1e-12).sqrt()
