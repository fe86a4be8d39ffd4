"""Latent: from the closed form's point along the boundary of rendered pictures towards the start."""

from __future__ import annotations

import torch
from torch import Tensor

from .line import move_back
from .search import Found, Search

STEPS = 12
# Of a step, in standard deviations along the data: the first, what a failure leaves of it, the last.
RATE, SHRINK, LEAST = 0.6, 0.6, 0.03
# Of the scale of logits:
BEYOND = 0.08  # that a step aims beyond the margin, since the boundary is curved
FELL = 0.4  # below the margin, from where a row goes back to its best point
SOFT = 0.25  # width of the margin's corners


def latent(search: Search, first: Found, realism: float = 0.3, steps: int = STEPS) -> Found:
    """Shorten the closed form's way in gradient steps along the surface of equal rendered margin.

    What falls is |w - w(r)| / spread + realism * (Mahalanobis distance of w to the target class)^2 / W. A step is its
    gradient without the part along the margin's gradient, plus what leads back to the margin, both in the coordinates
    of the data's covariance; a step that did not help shrinks the next ones of its row, and rows stop on their own.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> found = latent(search, closed_form(search), realism=0.3)
    """
    slid = _slide(search, first, realism, steps)
    some = search.part(slid.reached)
    slid.r[slid.reached] = move_back(
        search.look, some.r, slid.r[slid.reached], some.target, some.rows, search.goal
    )
    return slid


def _slide(search: Search, first: Found, realism: float, steps: int) -> Found:
    """Return the cheapest points seen to have the margin; of rows where none has, those of the largest margin."""
    look, a = search.look, search.look.link.A
    assert search.statistics is not None
    cost_of, sigma = _Cost(search, realism), search.statistics.sigma.to(search.r)
    at, best = first.r.clone(), first.r.clone()
    least = torch.full_like(at[:, 0], torch.inf)  # cost [n]
    most, rate = -least, torch.full_like(least, RATE)  # margin, size of the next step
    missing = torch.zeros_like(least)  # logits that the best point lacks [n]
    slope = torch.zeros_like(cost_of.start)  # of the margin there [n, W]
    taken, live = torch.zeros(len(at), dtype=torch.int64), torch.arange(len(at), device=at.device)
    for step in range(steps + 1):
        if not len(live):
            break
        here = at[live]
        given = here, search.target[live], search.rows[live]
        # Nobody steps on from the last look: it needs no slope.
        seen = look.slope(*given, SOFT * search.scale) if step < steps else look(*given)
        cost, _ = cost_of(seen.w, live)
        valid = seen.margin >= search.goal
        better = valid & (cost < 0.999 * least[live])
        keep = better | (least[live].isinf() & (seen.margin > most[live]))
        best[live[keep]], slope[live[keep]] = here[keep], seen.slope[keep]
        missing[live[keep]] = search.goal + BEYOND * search.scale - seen.smooth[keep]
        least[live[better]] = cost[better]
        most[live] = torch.maximum(most[live], seen.margin)
        known = ~least[live].isinf()
        rate[live[known & ~better]] *= SHRINK
        fell = known & (seen.margin < search.goal - FELL * search.scale)
        # A row that fell takes another, smaller step from its best point, whose slope is known.
        here = torch.where(fell[:, None], best[live], here)
        up = torch.where(fell[:, None], slope[live], seen.slope)
        lack = torch.where(fell, missing[live], search.goal + BEYOND * search.scale - seen.smooth)
        _, fall = cost_of(look.link.linear(here), live)
        to = here + _step(here, up @ a, fall @ a, lack, rate[live], sigma, search.floor)
        at[live] = to.relu() if search.floor else to
        taken[live.cpu()] = step
        live = live[(rate[live] > LEAST) & torch.isfinite(seen.smooth)]
    reached = ~least.isinf()
    ways = [name or "walk" if yes else "" for name, yes in zip(first.way, reached.tolist(), strict=True)]
    return Found(best, reached, ways, taken)


class _Cost:
    """What the slide lowers, of latents w: how far they are from the start, and how unlikely in the target class."""

    def __init__(self, search: Search, realism: float):
        statistics = search.statistics
        assert statistics is not None
        self.start = search.look.link.linear(search.r)  # [n, W]
        means = statistics.w_means.to(self.start)[search.target]  # [n, W]
        self.weight = realism * torch.isfinite(means).all(dim=1).to(means)  # [n]
        self.means = torch.nan_to_num(means)
        self.precision = statistics.w_precision.to(self.start)
        self.spread = max(statistics.w_spread, 1e-12)

    def __call__(self, w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost [n] and its derivative by w [n, W]."""
        way, off = w - self.start[rows], w - self.means[rows]
        length = way.norm(dim=1)
        pull = off @ self.precision  # [n, W]
        weight = self.weight[rows] / w.shape[1]
        cost = length / self.spread + weight * (pull * off).sum(dim=1)
        return cost, way / (length * self.spread).clamp_min(1e-9)[:, None] + 2 * weight[:, None] * pull


def _step(
    r: Tensor, up: Tensor, down: Tensor, missing: Tensor, rate: Tensor, sigma: Tensor, floor: bool
) -> Tensor:
    """Return the step [n, R]: against the cost within the tangent of the margin, and along the margin by `missing`."""
    if floor:
        at_zero = r <= 0
        down = down.masked_fill(at_zero & (down > 0), 0)  # a unit at 0 can't go lower
        up = up.masked_fill(at_zero & (up < 0), 0)
    up_move, down_move = up @ sigma, down @ sigma  # lengths are those of the data's covariance

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=1, keepdim=True)

    square = product(up, up_move).clamp_min(1e-9)
    tangent = down_move - product(down, up_move) / square * up_move
    back = missing[:, None] / square
    length = back.abs() * square.sqrt()
    # Rows below the margin rise faster than they go on: with their small last steps they would never get there.
    most = torch.where(missing > 0, RATE, rate)[:, None]
    back = back * (most / length.clamp_min(1e-9)).clamp(max=1)
    return back * up_move - rate[:, None] * tangent / product(down, down_move).clamp_min(1e-18).sqrt()
