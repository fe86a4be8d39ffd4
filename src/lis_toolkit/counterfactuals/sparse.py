"""The shift of few units over the margin of a linear head: one small linear program a sample."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .shortest import Shifts, missing_margin, nearest_rivals


def sparse_shift(
    r: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor,
    spread: Tensor,
    margin: float = 0.0,
    floor: bool = True,
) -> Shifts:
    """Find the shifts of the least sum of |d_i| / spread_i for which a linear head prefers the target by a margin.

    Parameters
    ----------
    r : [N, R].
    target : [N], class indices.
    weight, bias : [K, R], [K], of the head.
    spread : [R], standard deviations of the units; units of 0 stay as they are.
    floor : whether r + d >= 0 is demanded.

    Raises
    ------
    RuntimeError : shapes that do not fit each other.

    Examples
    --------
    >>> shifts = sparse_shift(r, target, *classifier.linear_head(), link.unit_std, margin=3.0)
    """
    start, goal = r.detach().cpu().double(), target.cpu()
    weight, bias, spread = weight.cpu().double(), bias.cpu().double(), spread.cpu().double()
    d = torch.zeros_like(start)
    for row in range(len(start)):
        one = slice(row, row + 1)
        known = torch.zeros(1, len(weight), dtype=torch.bool)
        known[0, goal[row]] = True
        chosen: list[int] = []
        worst = torch.empty(0)
        while not chosen or not known[0, worst]:
            chosen += nearest_rivals(start[one] + d[one], known, weight, bias)[0].tolist()
            known[0, chosen] = True
            d[row] = _program(start[row], int(goal[row]), chosen, weight, bias, spread, margin, floor)
            _, worst = missing_margin(start[one] + d[one], goal[one], weight, bias, margin)
    short, _ = missing_margin(start + d, goal, weight, bias, margin)
    return Shifts(d.to(r), short)


def _program(
    r: Tensor,
    target: int,
    rivals: list[int],
    weight: Tensor,
    bias: Tensor,
    spread: Tensor,
    margin: float,
    floor: bool,
) -> Tensor:
    from scipy.optimize import linprog

    normals = weight[target] - weight[rivals]  # [k, R]
    low = margin - normals @ r - bias[target] + bias[rivals]
    faces = (normals * spread).numpy()
    free = np.where(spread.numpy() > 0, np.inf, 0.0)
    down = np.minimum(free, (r / spread.clamp_min(1e-12)).clamp_min(0).numpy()) if floor else free
    bounds = np.stack([np.zeros(2 * len(r)), np.concatenate([free, down])], axis=1)
    found = linprog(
        np.ones(2 * len(r)), A_ub=-np.concatenate([faces, -faces], axis=1), b_ub=-low.numpy(), bounds=bounds,
        method="highs",
    )  # fmt: skip
    if found.x is None:
        return torch.zeros_like(r)
    up, fall = np.split(found.x, 2)
    return torch.from_numpy(up - fall) * spread
