"""Small quadratic programs by an active set: which constraints hold with equality, found in few exact solves."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

ROUNDS = 1000
SOFT = 1e-9  # of a constraint's own size: what keeps the systems solvable where constraints are dependent
JOIN = 0.65  # constraints join together that would gain this share of what the best one gains
EXACT = 1e-8  # of the first violation, what counts as none


@dataclass(frozen=True)
class Program:
    """Minimise d sigma^-1 d under normals d >= low[:, :k] and, where `low` has R more columns, d >= low[:, k:].

    All float64.

    Attributes
    ----------
    normals : [n, k, R].
    low : [n, k] or [n, k + R].
    sigma : [R, R], positive definite.
    seen, small : [n, k, R] and [n, k, k], normals sigma, and that times the normals.
    """

    normals: Tensor
    low: Tensor
    sigma: Tensor
    seen: Tensor
    small: Tensor

    @classmethod
    def of(cls, normals: Tensor, low: Tensor, sigma: Tensor) -> Program:
        """Compute the products that every round needs."""
        seen = normals @ sigma
        return cls(normals, low, sigma, seen, seen @ normals.transpose(1, 2))

    def part(self, rows: Tensor) -> Program:
        """Return the programs of some rows."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return Program(**{name: x if name == "sigma" else x[rows] for name, x in own.items()})

    def shifts(self, values: Tensor) -> Tensor:
        """Return d [n, R] of the constraints' multipliers [n, k (+ R)]."""
        k = self.normals.shape[1]
        d = torch.einsum("nk,nkr->nr", values[:, :k], self.seen)
        return d + values[:, k:] @ self.sigma if values.shape[1] > k else d

    def violations(self, d: Tensor) -> Tensor:
        """Return by how much constraints are missed [n, k (+ R)], each over its own size in the metric."""
        k = self.normals.shape[1]
        reached = torch.einsum("nkr,nr->nk", self.normals, d)
        size = self.small.diagonal(dim1=1, dim2=2)
        if self.low.shape[1] > k:
            reached = torch.cat([reached, d], dim=1)
            size = torch.cat([size, self.sigma.diagonal().expand(len(d), -1)], dim=1)
        return (self.low - reached) / size.clamp_min(1e-30).sqrt()

    def solve(self, active: Tensor) -> Tensor:
        """Return the multipliers [n, k (+ R)] for which the active constraints hold with equality; 0 for the others."""
        count = max(int(active.sum(dim=1).max()), 1)
        used, places = active.byte().topk(count, dim=1)  # [n, m]
        used = used.bool()
        square = self._square(places) * (used[:, None] & used[:, :, None])  # [n, m, m]
        diagonal = square.diagonal(dim1=1, dim2=2)
        diagonal += torch.where(used, SOFT * diagonal + 1e-30, 1.0)
        factor, _ = torch.linalg.cholesky_ex(square)
        answer = torch.cholesky_solve((self.low.gather(1, places) * used)[:, :, None], factor)[:, :, 0]
        return torch.zeros_like(self.low).scatter(1, places, answer * used)

    def _square(self, places: Tensor) -> Tensor:
        """Gather the products [n, m, m] of the constraints at `places` [n, m]: k normals first, then units."""
        k, rows = self.normals.shape[1], torch.arange(len(places))[:, None, None]
        first, second = places[:, :, None], places[:, None, :]
        if self.low.shape[1] == k:
            return self.small[rows, first, second]
        normal, unit = places.clamp_max(k - 1), (places - k).clamp_min(0)
        mixed = self.seen[rows, normal[:, :, None], unit[:, None, :]]  # row a normal, column a unit
        above = torch.where(second < k, self.small[rows, normal[:, :, None], normal[:, None, :]], mixed)
        below = torch.where(second < k, mixed.transpose(1, 2), self.sigma[unit[:, :, None], unit[:, None, :]])
        return torch.where(first < k, above, below)


def solve_programs(program: Program) -> Tensor:
    """Return the shortest d [n, R], by Lawson and Hanson's active set on the dual problem (1974, chapter 23).

    Violated constraints join the active set, several at a time; multipliers that would turn negative leave it. Every
    round lowers the dual's value, so none comes twice. Where no d fits, the one found misses the constraints.

    Raises
    ------
    RuntimeError : shapes that do not fit each other.

    Examples
    --------
    >>> d = solve_programs(Program.of(normals, low, sigma))
    """
    d = torch.zeros(len(program.low), program.normals.shape[2], dtype=program.low.dtype)
    values = torch.zeros_like(program.low)
    rows = torch.arange(len(d))
    violated = program.violations(d)
    none = EXACT * violated.amax(dim=1, keepdim=True).clamp_min(1e-30)
    active = _joining(violated, none, values > 0)
    for _ in range(ROUNDS):
        goal = program.solve(active)
        wrong = active & (goal <= 0)
        share = torch.where(wrong, values / (values - goal).clamp_min(1e-300), 1.0).amin(dim=1, keepdim=True)
        values = torch.lerp(values, goal, share)
        leaving = wrong & (values <= 1e-12 * goal.abs())
        settled = ~wrong.any(dim=1)
        here = program.shifts(values)
        joining = _joining(program.violations(here), none, active)
        active = torch.where(settled[:, None], active | joining, active & ~leaving)
        done = settled & ~joining.any(dim=1)
        d[rows] = here
        if bool(done.any()):
            live = ~done
            if not bool(live.any()):
                break
            rows, active, values, none = (x[live] for x in (rows, active, values, none))
            program = program.part(live)
    return torch.nan_to_num(d, posinf=0.0, neginf=0.0)


def _joining(violated: Tensor, none: Tensor, active: Tensor) -> Tensor:
    """Choose constraints that are missed most and not active, bool like `violated`."""
    violated = violated.masked_fill(active, 0)
    return (violated > none) & (violated >= JOIN * violated.amax(dim=1, keepdim=True))
