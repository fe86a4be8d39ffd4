"""The shortest shift of activations over the margin of a linear head, r >= 0: one small quadratic program a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RIVALS = 50  # classes that are held off at once; the others are looked at afterwards
ROUNDS = 60  # of the active set
SOFT = 1e-9  # of the constraints' own size: what keeps the dual problem strictly convex


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
    an active set that changes in blocks (Portugal, Judice, Vicente 1994), exact in float64 when it stands still.

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
    rivals = nearest_rivals(start, goal, weight, bias)  # [N, k]
    for _ in range(4):
        d = torch.cat(
            [_solve(*part, weight, bias, sigma, margin, floor)
             for part in zip(start.split(64), goal.split(64), rivals.split(64), strict=True)]
        )  # fmt: skip
        if floor:
            d = torch.maximum(d, -start.clamp_min(0))
        short, worst = missing_margin(start + d, goal, weight, bias, margin)
        new = ~(rivals == worst[:, None]).any(dim=1) & (short > 1e-6)
        if not bool(new.any()):
            break
        rivals = torch.cat([rivals, worst[:, None]], dim=1)
    return Shifts(d.to(r), short)


def nearest_rivals(r: Tensor, target: Tensor, weight: Tensor, bias: Tensor, most: int = RIVALS) -> Tensor:
    """Return the other classes [N, k] that the head says most of, at most `most`: few of a thousand ever matter."""
    logits = (r @ weight.T + bias).scatter(1, target[:, None], -torch.inf)  # [N, K]
    return logits.topk(min(most, len(weight) - 1), dim=1).indices


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
    seen = normals @ sigma  # [n, k, R]
    small = seen @ normals.transpose(1, 2)  # [n, k, k]
    low = margin - have  # [n, k]
    if floor:
        low = torch.cat([low, -r], dim=1)  # [n, k + R]
    k = rivals.shape[1]

    def dual(active: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for the multipliers of the active constraints; give them [n, k + R] and the shifts [n, R]."""
        count = max(int(active.sum(dim=1).max()), 1)
        places = active.byte().argsort(dim=1, descending=True, stable=True)[:, :count]  # [n, m]
        used = active.gather(1, places)
        square = _square(places, k, small, seen, sigma)  # [n, m, m]
        square = square * used[:, None] * used[:, :, None]
        diagonal = square.diagonal(dim1=1, dim2=2)
        diagonal += torch.where(used, SOFT * diagonal, 1.0)
        factor, _ = torch.linalg.cholesky_ex(square)
        answer = torch.cholesky_solve((low.gather(1, places) * used)[:, :, None], factor)[:, :, 0]
        values = torch.zeros_like(low).scatter(1, places, answer * used)
        d = torch.einsum("nk,nkr->nr", values[:, :k], seen)
        return values, d + values[:, k:] @ sigma if floor else d

    return _pivot(dual, normals, low, k)


def _square(places: Tensor, k: int, small: Tensor, seen: Tensor, sigma: Tensor) -> Tensor:
    """Gather the dual's matrix [n, m, m] of the chosen constraints [n, m]: k margins first, then units."""
    units = (places - k).clamp_min(0)
    margins = places.clamp_max(k - 1)
    is_unit = places >= k
    rows = torch.arange(len(places))[:, None, None]
    mixed = seen[rows, margins[:, :, None], units[:, None, :]]  # margin (row) with unit (column)
    both = torch.where(is_unit[:, None, :], mixed, small[rows, margins[:, :, None], margins[:, None, :]])
    lower = torch.where(
        is_unit[:, None, :], sigma[units[:, :, None], units[:, None, :]], mixed.transpose(1, 2)
    )
    return torch.where(is_unit[:, :, None], lower, both)


def _pivot(dual: Callable[[Tensor], tuple[Tensor, Tensor]], normals: Tensor, low: Tensor, k: int) -> Tensor:
    """Change the active sets until every multiplier and every constraint has its sign; give the shifts."""
    active = low > 0
    active[:, k:] = False
    fewest = torch.full((len(low),), low.shape[1] + 1)
    patience = torch.full_like(fewest, 10)
    size = torch.cat([normals.norm(dim=2), torch.ones(len(low), low.shape[1] - k)], dim=1)
    for _ in range(ROUNDS):
        values, d = dual(active)
        slack = torch.cat([torch.einsum("nkr,nr->nk", normals, d), d[:, : low.shape[1] - k]], dim=1) - low
        wrong = torch.where(active, values < 0, slack < -1e-7 * size * (1 + low.abs()))
        count = wrong.sum(dim=1)
        if not bool(count.any()):
            break
        patience = torch.where(count < fewest, 10, patience - 1)
        fewest = torch.minimum(fewest, count)
        # Where blocks go round in circles, one constraint at a time can't (Murty 1974).
        last = low.shape[1] - 1 - wrong.flip(1).byte().argmax(dim=1, keepdim=True)  # [n, 1]
        single = torch.zeros_like(wrong).scatter(1, last, True) & wrong
        active = active ^ torch.where((patience > 0)[:, None], wrong, single)
    return d
