"""The shortest shift of activations over the margin of a linear head, r >= 0: one small quadratic program a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .active_set import Program, solve_programs

RIVALS = 50  # classes that are held off at once; the others are looked at afterwards
AT_ONCE = 64  # samples whose systems are solved together
ENTRIES = 2**24  # of their systems, at most


@dataclass(frozen=True)
class Shifts:
    """Shifts found for N samples.

    Attributes
    ----------
    d : [N, R], in r's type, with r + d >= 0 where that was asked for.
    short : float64 [N], by how much the margin asked for is missed (about 0: not at all), in logits.
    """

    d: Tensor
    short: Tensor


def shortest_shift(
    r: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor,
    sigma: Tensor,
    margin: float = 0.0,
    floor: bool = True,
) -> Shifts:
    """Find the shortest shifts for which a linear head prefers the target to every other class by a margin.

    Minimise d sigma^-1 d under (W_t - W_k)(r + d) + b_t - b_k >= margin for all k != t, and r + d >= 0, by its dual:
    an active set (`solve_programs`), exact in float64.

    Parameters
    ----------
    r : [N, R].
    target : [N], class indices.
    weight, bias : [K, R], [K], of the head.
    sigma : [R, R], positive definite: the covariance of r, or the identity for the plain length.
    floor : whether r + d >= 0 is demanded.

    Raises
    ------
    RuntimeError : shapes that do not fit each other.

    Examples
    --------
    >>> shifts = shortest_shift(r, target, *classifier.linear_head(), link.statistics.sigma, margin=3.0)
    """
    start, goal = r.detach().cpu().double(), target.cpu()
    weight, bias, sigma = weight.cpu().double(), bias.cpu().double(), sigma.cpu().double()
    known = torch.zeros(len(start), len(weight), dtype=torch.bool).scatter_(1, goal[:, None], True)  # [N, K]
    rivals = nearest_rivals(start, known, weight, bias)  # [N, k]
    d = torch.zeros_like(start)
    rows = torch.arange(len(start))
    size = max(1, min(AT_ONCE, ENTRIES // (start.shape[1] + RIVALS) ** 2))
    while len(rows):
        known[rows[:, None], rivals] = True
        d[rows] = torch.cat(
            [
                _solve(part, goals, others, weight, bias, sigma, margin, floor)
                for part, goals, others in zip(
                    start[rows].split(size), goal[rows].split(size), rivals.split(size), strict=True
                )
            ]
        )
        if floor:
            d[rows] = torch.maximum(d[rows], -start[rows].clamp_min(0))
        short, worst = missing_margin(start[rows] + d[rows], goal[rows], weight, bias, margin)
        again = (short > 1e-6) & ~known[rows, worst]  # a class that was not held off has come up
        more = nearest_rivals(start[rows] + d[rows], known[rows], weight, bias)
        rows, rivals = rows[again], torch.cat([rivals, more], dim=1)[again]
    short, _ = missing_margin(start + d, goal, weight, bias, margin)
    return Shifts(d.to(r), short)


def nearest_rivals(r: Tensor, known: Tensor, weight: Tensor, bias: Tensor, most: int = RIVALS) -> Tensor:
    """Return the classes [N, k] that the head says most of and that are not `known` [N, K]: at most `most`.

    Of a thousand classes few ever come near; what is left out is looked at afterwards.
    """
    left = int((~known).sum(dim=1).min())
    logits = (r @ weight.T + bias).masked_fill(known, -torch.inf)  # [N, K]
    return logits.topk(min(most, left), dim=1).indices


def missing_margin(
    r: Tensor, target: Tensor, weight: Tensor, bias: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Return by how much the head misses the margin at r [N], and the rival [N] that it misses it against."""
    logits = r @ weight.T + bias
    own = logits.gather(1, target[:, None])[:, 0]
    others, worst = logits.scatter(1, target[:, None], -torch.inf).max(dim=1)
    return (margin - own + others).clamp_min(0), worst


def _solve(
    r: Tensor,
    target: Tensor,
    rivals: Tensor,
    weight: Tensor,
    bias: Tensor,
    sigma: Tensor,
    margin: float,
    floor: bool,
) -> Tensor:
    """Return the shifts [n, R] of a few samples against their rivals [n, k]; all float64."""
    normals = weight[target][:, None] - weight[rivals]  # [n, k, R]
    have = torch.einsum("nkr,nr->nk", normals, r) + bias[target][:, None] - bias[rivals]
    low = margin - have  # [n, k]
    return solve_programs(Program.of(normals, torch.cat([low, -r], dim=1) if floor else low, sigma))
