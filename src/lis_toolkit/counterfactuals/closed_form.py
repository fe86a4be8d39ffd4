"""Closed form: the shortest shift over the linear head's margin, then as far along it as the picture needs."""

from __future__ import annotations

import torch
from torch import Tensor

from .line import first_valid, move_back
from .search import Found, Search
from .shortest import Shifts, shortest_shift
from .sparse import sparse_shift

HEAD_SHARE = 0.75  # of the margin is asked of the head: the line search finds the rest
AMOUNTS = (1.0, 1.5, 2.0)  # of the shortest shift; farther is not better, as pictures saturate
TOWARDS_MEAN = (0.7, 1.0)  # of the way to the target's mean activation, where the shift leads nowhere
SHORTEST, MEAN = "shortest", "towards the mean"


def head_shift(search: Search) -> Shifts:
    """Return the shortest shifts [n, R] for which the head has three quarters of the margin, in the search's metric."""
    assert search.head is not None and search.statistics is not None
    problem = search.r, search.target, *search.head
    margin = HEAD_SHARE * search.margin
    if search.metric == "sparse":
        return sparse_shift(*problem, search.look.link.unit_std, margin, search.floor)
    sigma = search.statistics.sigma
    plain = search.metric == "euclidean"
    return shortest_shift(*problem, torch.eye(len(sigma)) if plain else sigma, margin, search.floor)


def closed_form(search: Search) -> Found:
    """Go along the shortest shift until the rendered picture has the margin, or towards the target's mean; then back.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> found = closed_form(search)
    """
    there, best, way = _reach(search)
    goal = search.goal
    reached = best >= goal
    some = search.part(reached)
    there[reached] = move_back(search.look, some.r, there[reached], some.target, some.rows, goal)
    steps = torch.zeros(len(there), dtype=torch.int64)
    names = [way[row] if yes else "" for row, yes in enumerate(reached.tolist())]
    return Found(there, reached, names, steps)


def _reach(search: Search) -> tuple[Tensor, Tensor, list[str]]:
    """Return the first points [n, R] with the margin, or the best, their margins [n], and how they were reached."""
    assert search.statistics is not None
    look, r, floor, goal = search.look, search.r, search.floor, search.goal
    there, best = first_valid(look, r, head_shift(search).d, search.target, search.rows, goal, AMOUNTS, floor)
    way = [SHORTEST] * len(r)
    means = search.statistics.r_means.to(r)[search.target]  # [n, R]
    late = ((best < goal) & torch.isfinite(means).all(dim=1)).nonzero()[:, 0]
    if len(late):
        other, margins = first_valid(
            look,
            r[late],
            means[late] - r[late],
            search.target[late],
            search.rows[late],
            goal,
            TOWARDS_MEAN,
            floor,
        )
        better = margins > best[late]
        there[late[better]], best[late[better]] = other[better], margins[better]
        for row in late[better].tolist():
            way[row] = MEAN
    return there, best, way
