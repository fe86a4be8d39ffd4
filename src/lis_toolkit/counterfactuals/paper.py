"""The published walk: plain gradient steps among activations, every step rendered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .search import Found, Search

STEP, STEPS, AWAY, NEAR = 0.5, 2000, 0.6, 10.0


def paper(search: Search, seeds: Sequence[Sequence[int]], steps: int = STEPS) -> Found:
    """Walk r' = r - s, s from uniform [0, 1], until the picture of relu(r') is classified as the target.

    Plain gradient steps of 0.5 on - logit_target(r') + 0.6 logit_origin(r') - 10 cos(w(r), w(r')), as Linking in
    Style (Wehrheim et al. 2024, arXiv 2409.16865, code).

    Notes
    -----
    Read where the publication leaves it open: every unit has an s of its own, which is never cut off; logits are the
    head's, and they and w(r') are taken at r' itself, only the picture at relu(r'); the origin is what the head says of
    r; the picture of the random start is looked at before the first step, and so is each after a step. What never
    arrives ends where the picture was nearest to the target by its margin.

    Parameters
    ----------
    seeds : of every row's own s.
    steps : after which a row that never was of the target class is given up.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> found = paper(search, [[0, row] for row in range(len(search.r))])
    """
    r, target = search.r, search.target
    width = r.shape[1]
    draws = [np.random.default_rng(list(seed)).random(width, dtype=np.float32) for seed in seeds]
    shift = torch.from_numpy(np.stack(draws)).to(r) if draws else torch.empty_like(r)
    taken = torch.zeros(len(r), dtype=torch.int64, device=r.device)
    reached = torch.zeros(len(r), dtype=torch.bool, device=r.device)
    best, most = (r - shift).relu(), torch.full((len(r),), -torch.inf).to(r)
    start = search.look.link.linear(r)  # [n, W]
    live = torch.arange(len(r), device=r.device)
    for step in range(steps + 1):
        there = (r[live] - shift[live]).relu()
        seen = search.look(there, target[live], search.rows[live])
        flipped = seen.logits.argmax(dim=1) == target[live]
        better = flipped | (seen.margin > most[live])
        best[live[better]], most[live[better]] = there[better], seen.margin[better]
        taken[live] = step
        reached[live[flipped]] = True
        live = live[~flipped & torch.isfinite(seen.margin)]
        if not len(live) or step == steps:
            break
        shift[live] -= STEP * gradient(search, shift[live], start[live], live)
    return Found(best, reached, ["walk" if yes else "" for yes in reached.tolist()], taken.cpu())


def gradient(search: Search, shift: Tensor, start: Tensor, live: Tensor) -> Tensor:
    """Return the objective's derivative by s [n, R]."""
    look = search.look
    with torch.enable_grad():
        s = shift.detach().requires_grad_()
        moved = search.r[live] - s
        logits = look.head(moved)  # [n, K]
        near = torch.cosine_similarity(start, look.link.linear(moved), dim=1)
        own, was = (logits.gather(1, k[live, None])[:, 0] for k in (search.target, search.origin))
        return torch.autograd.grad((-own + AWAY * was - NEAR * near).sum(), s)[0]
