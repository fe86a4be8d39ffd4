"""Shortest shifts over a linear head's margin, against Lawson and Hanson's NNLS of scipy and plain linear programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls

from lis_toolkit.counterfactuals import shortest as shortest_module
from lis_toolkit.counterfactuals import shortest_shift, sparse_shift
from lis_toolkit.counterfactuals.active_set import Program, solve_programs


def problem(units=30, classes=6, n=8, seed=0, kind="covariance"):
    """Random activations with zeros, of few factors, and a random head."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    r = (draw(200, 5) @ draw(5, units) + 0.5 * draw(200, units)).relu()
    sigma = torch.cov(r.T.double())
    sigma.diagonal().add_(1e-3 * sigma.diagonal().mean())
    if kind == "euclidean":
        sigma = torch.eye(units, dtype=torch.float64)
    target = torch.randint(0, classes, (n,), generator=random)
    return r[:n], target, draw(classes, units) / units**0.5, draw(classes), sigma


def constraints(r, target, weight, bias, margin, floor=True):
    """Faces [k (+ R), R] and what they have to reach, of one sample."""
    others = [k for k in range(len(weight)) if k != target]
    faces = (weight[target] - weight[others]).double()
    low = margin - faces @ r.double() - (bias[target] - bias[others]).double()
    if floor:
        faces, low = torch.cat([faces, torch.eye(len(r)).double()]), torch.cat([low, -r.double()])
    return faces, low


def plain_length(r, target, weight, bias, sigma, margin, floor=True):
    """Least distance programming by NNLS (Lawson and Hanson 1974, chapter 23)."""
    root = torch.linalg.cholesky(sigma)
    faces, low = constraints(r, target, weight, bias, margin, floor)
    e = torch.cat([(faces @ root).T, low[None]]).numpy()
    f = np.zeros(len(e))
    f[-1] = 1
    u, _ = nnls(e, f, maxiter=10_000)
    rest = e @ u - f
    return np.linalg.norm(rest[:-1] / rest[-1])


def length(d, sigma):
    return float((d.double() @ torch.linalg.solve(sigma, d.double())).sqrt())


@pytest.mark.parametrize("kind", ["covariance", "euclidean"])
@pytest.mark.parametrize("margin", [0.0, 2.0, 8.0])
@pytest.mark.parametrize("floor", [True, False])
def test_lengths_are_those_of_least_distance_programming(kind, margin, floor):
    r, target, weight, bias, sigma = problem(kind=kind)
    shifts = shortest_shift(r, target, weight, bias, sigma, margin, floor)
    assert float(shifts.short.max()) < 1e-5
    if floor:
        assert bool((r + shifts.d >= 0).all())
    for row in range(len(r)):
        faces, low = constraints(r[row], int(target[row]), weight, bias, margin, floor)
        assert bool((faces @ shifts.d[row].double() >= low - 1e-4).all())
        wanted = plain_length(r[row], int(target[row]), weight, bias, sigma, margin, floor)
        assert length(shifts.d[row], sigma) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_a_start_beyond_the_margin_stays_where_it_is():
    r, _, weight, bias, sigma = problem()
    target = (r @ weight.T + bias).argmax(dim=1)
    assert torch.equal(shortest_shift(r, target, weight, bias, sigma, 0.0).d, torch.zeros_like(r))


def test_one_by_one_is_the_same_as_together():
    r, target, weight, bias, sigma = problem(n=20)
    together = shortest_shift(r, target, weight, bias, sigma, 3.0).d
    alone = torch.cat(
        [shortest_shift(r[i : i + 1], target[i : i + 1], weight, bias, sigma, 3.0).d for i in range(20)]
    )
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_classes_that_were_left_out_are_held_off_once_they_come_up(monkeypatch, sparse):
    r, target, weight, bias, sigma = problem(classes=25)
    spread = sigma.diagonal().sqrt().float()

    def find():
        if sparse:
            return sparse_shift(r, target, weight, bias, spread, 3.0)
        return shortest_shift(r, target, weight, bias, sigma, 3.0)

    every = find()
    module = "lis_toolkit.counterfactuals.sparse.nearest_rivals"
    few = shortest_module.nearest_rivals
    assert few.__defaults__ == (50,)
    for name in (module, "lis_toolkit.counterfactuals.shortest.nearest_rivals"):
        monkeypatch.setattr(name, lambda *given: few(*given, most=2))
    some = find()
    assert float(some.short.max()) < 1e-5
    sizes = [(x.d.abs() / spread).sum(dim=1) if sparse else torch.tensor([length(d, sigma) for d in x.d])
             for x in (every, some)]  # fmt: skip
    assert torch.allclose(*sizes, rtol=1e-4)


def test_a_margin_that_no_activation_has_is_missed_and_said():
    r, target, _, bias, sigma = problem(classes=3)
    weight = -torch.rand(3, r.shape[1])  # of rising activations all logits fall
    weight[2] = 0
    target = torch.zeros_like(target)
    shifts = shortest_shift(r, target, weight, bias, sigma, margin=1e3)
    assert bool((shifts.short > 10).all()) and bool(torch.isfinite(shifts.d).all())
    assert bool((r + shifts.d >= 0).all())
    sparse = sparse_shift(r, target, weight, bias, torch.ones(r.shape[1]), margin=1e3)
    assert bool((sparse.short > 10).all()) and bool((sparse.d == 0).all())


def test_constraints_that_depend_on_each_other_do_no_harm():
    r, target, weight, bias, sigma = problem(classes=4)
    doubled, both = torch.cat([weight, weight[-1:]]), torch.cat([bias, bias[-1:]])
    target = target % 3
    once = shortest_shift(r, target, weight, bias, sigma, 2.0).d
    twice = shortest_shift(r, target, doubled, both, sigma, 2.0).d
    assert torch.allclose(once, twice, atol=1e-4)


def test_the_optimality_conditions_hold():
    """Stationarity, signs and complementarity of the multipliers, of random programs."""
    random = torch.Generator().manual_seed(3)
    normals = torch.randn(40, 3, 12, generator=random, dtype=torch.float64)
    low = torch.randn(40, 15, generator=random, dtype=torch.float64)
    low[:, 3:] = -low[:, 3:].abs()  # d = 0 keeps the units' own constraints
    root = torch.randn(12, 12, generator=random, dtype=torch.float64)
    sigma = root @ root.T + 0.1 * torch.eye(12)
    d = solve_programs(Program.of(normals, low, sigma))
    for row in range(len(d)):
        faces = torch.cat([normals[row], torch.eye(12)])
        slack = faces @ d[row] - low[row]
        assert float(slack.min()) > -1e-5
        tight = slack < 1e-5
        pull = torch.linalg.solve(
            sigma, d[row]
        )  # the objective's gradient is a sum of tight faces, not negative
        rest = nnls(faces[tight].T.numpy(), pull.numpy())[1] if bool(tight.any()) else float(pull.norm())
        assert rest < 1e-5 * max(1.0, float(pull.norm()))


@pytest.mark.parametrize("floor", [True, False])
def test_sparse_shifts_are_optimal_by_a_plain_program(floor):
    r, target, weight, bias, sigma = problem()
    spread = sigma.diagonal().sqrt().float()
    shifts = sparse_shift(r, target, weight, bias, spread, 2.0, floor)
    for row in range(len(r)):
        faces, low = constraints(r[row], int(target[row]), weight, bias, 2.0, floor)
        # min sum t under -t <= d / spread <= t and faces d >= low: twice the unknowns, no splitting of signs
        n = r.shape[1]
        scale, eye = np.diag(1 / spread.double().numpy()), np.eye(n)
        upper = np.block([[scale, -eye], [-scale, -eye], [-faces.numpy(), np.zeros((len(faces), n))]])
        limit = np.concatenate([np.zeros(2 * n), -low.numpy()])
        plain = linprog(
            np.r_[np.zeros(n), np.ones(n)], upper, limit, bounds=[(None, None)] * n + [(0, None)] * n
        )
        assert float((shifts.d[row] / spread).abs().sum()) == pytest.approx(plain.fun, rel=1e-4, abs=1e-5)
    assert float(shifts.short.max()) < 1e-4


def test_units_that_never_vary_stay_as_they_are():
    r, target, weight, bias, sigma = problem()
    spread = sigma.diagonal().sqrt().float()
    spread[:20] = 0
    assert bool((sparse_shift(r, target, weight, bias, spread, 1.0).d[:, :20] == 0).all())
