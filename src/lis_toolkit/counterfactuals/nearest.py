"""The nearest other class: the closed form tried for the others, the shortest rendered way wins."""

from __future__ import annotations

import torch
from torch import Tensor

from .closed_form import closed_form
from .rendered import Looker
from .search import Search

MOST = 10  # rivals that are rendered; of more, those nearest by the head alone


def nearest_targets(search: Search, excluded: Tensor) -> Tensor:
    """Choose for every row the class whose rendered counterfactual is nearest in w, int64 [n].

    Parameters
    ----------
    excluded : bool [n, K], classes that are no rivals of a row: its own, that of its cycled picture, unknown ones.

    Where no class can be reached, that of the least length by the head alone is chosen. Renders count for the row.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> target = nearest_targets(search, excluded)
    """
    lengths = head_lengths(search).masked_fill(excluded, torch.inf)  # [n, K]
    most = min(MOST, int((~excluded).sum(dim=1).max()))
    near = lengths.topk(most, dim=1, largest=False)  # [n, C]
    known = torch.isfinite(near.values)
    row, place = known.nonzero(as_tuple=True)
    trial = search.part(row)
    own = search.look
    look = Looker(own.generator, own.classifier, own.link, len(row), own.batch_size)
    places = torch.arange(len(row), device=row.device)
    trial = Search(**{**trial.__dict__, "look": look, "target": near.indices[row, place], "rows": places})
    found = closed_form(trial)
    distance = (own.link.linear(found.r) - own.link.linear(trial.r)).norm(dim=1)
    table = torch.full_like(near.values, torch.inf)
    table[row, place] = distance.masked_fill(~found.reached, torch.inf)
    own.renders.index_add_(0, search.rows.cpu()[row.cpu()], look.renders)
    table = torch.where(torch.isfinite(table).any(dim=1, keepdim=True), table, near.values)
    return near.indices.gather(1, table.argmin(dim=1, keepdim=True))[:, 0]


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
