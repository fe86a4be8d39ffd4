"""From pairs to the numbers of a link: streaming them once, choosing what was left open, solving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import solvers
from .class_statistics import ClassStatistics, covariance_of
from .errors import LisError
from .moments import Moments, Precision, check_rows, row_marks
from .solvers import Normal

METHODS = ("ridge", "ols", "elastic_net", "reduced_rank")
TRUSTED_CONDITION = 1e3  # up to here float32 products keep the coefficients to about 1e-4
LARGE = 2e10  # multiplications from which "auto" tries float32 products


@dataclass
class Options:
    """Options of `fit_link`, checked."""

    method: str
    penalty: float | None
    penalties: list[float] | None
    rank: int | None
    l1_ratio: float
    standardise: bool
    precision: str
    choose_rows: int | None
    held_out: float
    seed: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LisError(f"method is {self.method!r}, one of {', '.join(METHODS)} was expected.")
        if self.precision not in ("auto", "float64", "float32"):
            raise LisError(f"precision is {self.precision!r}, 'auto', 'float64' or 'float32' was expected.")
        for value in [self.penalty, *(self.penalties or [])]:
            if value is not None and not (_real(value) and value >= 0):
                raise LisError(f"a penalty is {value!r}, a finite number of at least 0 was expected.")
        if self.penalties is not None and not self.penalties:
            raise LisError(
                "penalties is empty, at least one was expected: leave it out for the default ones."
            )
        if self.penalty is not None and self.penalties is not None:
            raise LisError(
                "penalty and penalties are both given: give one penalty, or several to choose from."
            )
        if self.method == "ols" and (self.penalty or self.penalties):
            raise LisError("method 'ols' has no penalty: use method='ridge', or leave the penalty out.")
        if self.method == "reduced_rank" and self.penalties is not None:
            raise LisError(
                "method 'reduced_rank' takes one penalty: give penalty=, its rank is what is chosen."
            )
        if self.rank is not None and self.method != "reduced_rank":
            raise LisError(f"rank is {self.rank}, but method is {self.method!r}: use method='reduced_rank'.")
        if self.rank is not None and (
            isinstance(self.rank, bool) or int(self.rank) != self.rank or self.rank < 1
        ):
            raise LisError(f"rank is {self.rank!r}, a whole number of at least 1 was expected.")
        if not (_real(self.l1_ratio) and 0 < self.l1_ratio <= 1):
            raise LisError(f"l1_ratio is {self.l1_ratio!r}, it must lie in (0, 1]: for 0 use method='ridge'.")
        if not (_real(self.held_out) and 0 < self.held_out < 1):
            raise LisError(f"held_out is {self.held_out!r}, a share between 0 and 1 was expected.")
        for name, value, least in (("choose_rows", self.choose_rows, 2), ("seed", self.seed, 0)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if value is not None and not (whole and value >= least):
                raise LisError(f"{name} is {value!r}, a whole number of at least {least} was expected.")

    @property
    def needs_held_out(self) -> bool:
        """Whether something is chosen on held-out rows."""
        if self.method == "elastic_net":
            return self.penalty is None
        return self.method == "reduced_rank" and self.rank is None

    @property
    def needs_rows(self) -> bool:
        """Whether a penalty is chosen by leave-one-out."""
        return self.method == "ridge" and self.penalty is None


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass
class Gathered:
    """What one pass over the pairs leaves."""

    moments: Moments  # of all rows
    r_squares: Tensor  # [R]
    in_range: bool
    train: Moments | None  # of the rows not held out, where something is chosen on held-out rows
    held: Moments | None
    r: Tensor  # [M, R] rows for leave-one-out
    w: Tensor  # [M, W]
    marks: Tensor  # [N] int64, sorted
    covariance: Tensor | None = None  # float32 [R, R], of r over all rows; kept where classes are known


def batches_of(pairs: Any) -> tuple[Iterable[tuple[Tensor, Tensor]], bool]:
    """Batches (r, w) of Pairs, of one (r, w), or of an iterable; and whether they can be read again."""
    if hasattr(pairs, "r") and hasattr(pairs, "w"):
        return [(pairs.r, pairs.w)], True
    if isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(x, Tensor) for x in pairs):
        return [pairs], True
    if isinstance(pairs, (str, bytes, Tensor, dict)) or not isinstance(pairs, Iterable):
        raise LisError(
            f"pairs is {type(pairs).__name__}; Pairs, a tuple (r, w) or an iterable of such tuples was expected."
        )
    return pairs, False


def _checked(batches: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    for index, batch in enumerate(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise LisError(f"batch {index} of the pairs is {type(batch).__name__}, not a tuple (r, w).")
        check_rows(*batch)
        yield batch[0].detach(), batch[1].detach()


def gather(batches: Iterable[Any], options: Options, precision: Precision) -> Gathered:
    """Read all batches once. A row's part in the choices depends on the seed and its place, not on its batch."""
    random = np.random.default_rng(options.seed)
    moments: Moments | None = None
    train: Moments | None = None
    held: Moments | None = None
    kept_keys = np.empty(0)
    r_kept = w_kept = torch.empty(0, 0)
    marks = []
    for r, w in _checked(batches):
        if moments is None:
            sizes = r.shape[1], w.shape[1]
            device = r.device if r.device.type != "mps" else "cpu"  # no float64 there
            moments = Moments(*sizes, precision=precision, device=device)
            if options.needs_held_out:
                train, held = (Moments(*sizes, precision=precision, device=device) for _ in range(2))
            count = choose_rows(options, *sizes) if options.needs_rows else 0
            r_kept, w_kept = torch.empty(0, sizes[0]), torch.empty(0, sizes[1])
        check_rows(r, w, moments.num_inputs, moments.num_outputs)
        keys = random.random(len(r))
        if train is not None and held is not None:
            apart = torch.from_numpy(keys < options.held_out).to(r.device)
            train.update(r[~apart], w[~apart])
            held.update(r[apart], w[apart])
        else:
            moments.update(r, w)
        if count:
            # the rows of the smallest keys so far: an even draw without knowing how many rows will come
            joint = np.concatenate([kept_keys, keys])
            chosen = np.sort(np.argsort(joint, kind="stable")[:count])
            old, new = chosen[chosen < len(kept_keys)], chosen[chosen >= len(kept_keys)] - len(kept_keys)
            r_kept, w_kept = (
                torch.cat([kept[old].to(x.dtype), x[new].cpu()]) for kept, x in ((r_kept, r), (w_kept, w))
            )
            kept_keys = joint[chosen]
        marks.append(row_marks(w, r))
    if moments is not None and train is not None and held is not None:
        moments.merge(train).merge(held)
    if moments is None or moments.rows < 2:
        rows = 0 if moments is None else moments.rows
        raise LisError(f"there are {rows} pairs, at least 2 are needed for a link: collect more.")
    squares = moments.r_squares.cpu().clone()
    if precision == "float64" and not bool(
        torch.isfinite(squares).all() & torch.isfinite(moments.w_squares).all()
    ):
        raise LisError("r or w hold values so large that their squares overflow: scale them down.")
    return Gathered(
        moments, squares, moments.in_range, train, held, r_kept, w_kept, torch.cat(marks).sort().values
    )


def choose_rows(options: Options, num_inputs: int, num_outputs: int) -> int:
    """Rows over which leave-one-out is averaged: about 1e10 operations' worth, at least 256."""
    if options.choose_rows is not None:
        return options.choose_rows
    penalties = len(options.penalties) if options.penalties else 20
    return max(256, int(1e10 / (2.0 * num_inputs * num_outputs * penalties)))


@dataclass
class Solution:
    """Coefficients of scaled units and what is to be said of them."""

    normal: Normal
    b: Tensor  # [R', W]
    gram_b: Tensor | None  # gram B [R', W], None when it is still to be computed
    penalty: float | None = None
    rank: int | None = None
    curve: dict[str, Any] | None = None
    condition: float | None = None
    notes: tuple[str, ...] = ()


def solve(seen: Gathered, options: Options) -> Solution:
    """Solve by the method asked for."""
    if options.method == "elastic_net":
        return _elastic_net(seen, options)
    if options.method == "reduced_rank":
        return _reduced_rank(seen, options)
    if options.needs_rows:
        return _ridge_chosen(seen, options)
    return _shifted(seen.moments, options.penalty or 0.0, options, take=True)


def _shifted(moments: Moments, penalty: float, options: Options, take: bool = False) -> Solution:
    """Ridge with one penalty, or least squares where it is zero."""
    normal = Normal.of(moments, options.standardise or options.method == "ols", take=take)
    named = penalty if options.method != "ols" else None
    if penalty > 0 or moments.rows > len(normal.active):
        b, rcond = solvers.solve_shifted(normal, penalty)
        if b is not None:
            gram_b = normal.cross - penalty * b if penalty else normal.cross
            return Solution(normal, b, gram_b, named, condition=1 / rcond)
    b, rank = solvers.minimum_norm(normal)
    note = (
        f"the {len(normal.active)} units that vary span only {rank} dimensions over {moments.rows} pairs: of all "
        "least squares solutions the smallest was taken. Ridge may generalise better."
    )
    return Solution(normal, b, normal.cross, named, notes=(note,) if rank < len(normal.active) else ())


def _ridge_chosen(seen: Gathered, options: Options) -> Solution:
    normal = Normal.of(seen.moments, options.standardise, take=True)
    penalties = options.penalties or np.logspace(-6, 3, 20).tolist()
    if not len(normal.active):
        return Solution(normal, normal.cross, normal.cross, max(penalties))
    if not options.standardise and options.penalties is None:
        # the same range relative to the units' mean variance
        penalties = [p * float(normal.gram.diagonal().mean()) for p in penalties]
    x, y = normal.rows_of(seen.r, seen.w)
    b, penalty, curve, condition = solvers.ridge_leave_one_out(
        normal, x, y, penalties, seen.moments.precision
    )
    notes = []
    if len(penalties) > 1 and penalty == max(penalties):
        notes.append(
            f"the largest penalty, {penalty:g}, was best: r may tell nothing of w, or larger ones are due."
        )
    return Solution(normal, b, normal.cross - penalty * b, penalty, curve=curve, condition=condition,
                    notes=tuple(notes))  # fmt: skip


def _split(seen: Gathered, options: Options) -> tuple[Normal, Normal, Moments]:
    assert seen.train is not None and seen.held is not None
    if seen.train.rows < 2 or seen.held.rows < 2:
        raise LisError(
            f"{seen.moments.rows} pairs at held_out={options.held_out} leave {seen.train.rows} to fit and "
            f"{seen.held.rows} to choose on, at least 2 each are needed: collect more or give penalty or rank."
        )
    fit = Normal.of(seen.train, options.standardise).whole()
    return fit, Normal.of(seen.held, like=fit).whole(), seen.held


def _choice(name: str, values: list[Any], errors: list[float], held: Moments) -> tuple[Any, dict[str, Any]]:
    best = int(np.argmin(errors))
    outputs = held.num_outputs
    curve = {
        name: values,
        "error": [e / outputs for e in errors],
        "rows": held.rows,
        "kind": "held-out rows",
    }
    return values[best], curve


def _elastic_net(seen: Gathered, options: Options) -> Solution:
    normal = Normal.of(seen.moments, options.standardise).whole()
    penalty, curve, notes = options.penalty, None, []
    if penalty is None:
        fit, held, held_moments = _split(seen, options)
        squares = float(held_moments.w_squares.sum())
        top = float(fit.cross.abs().max()) / options.l1_ratio if fit.cross.numel() else 1.0
        penalties = sorted(options.penalties or (top * np.logspace(-3, 0, 10)).tolist(), reverse=True)
        errors, b = [], None
        for value in penalties:  # from the sparsest on, each from the last one's solution
            b, _ = solvers.elastic_net(fit, value, options.l1_ratio, b, tolerance=1e-5, max_steps=2000)
            errors.append(solvers.held_out_error(held, fit, b, squares))
        penalty, curve = _choice("penalty", penalties, errors, held_moments)
    b, converged = solvers.elastic_net(normal, float(penalty), options.l1_ratio)  # type: ignore[arg-type]
    if not converged:
        notes.append(
            "elastic net stopped before its optimality conditions held to 1e-7: give a larger penalty."
        )
    return Solution(normal, b, None, penalty, curve=curve, notes=tuple(notes))


def _reduced_rank(seen: Gathered, options: Options) -> Solution:
    penalty = options.penalty or 0.0
    full = _shifted(seen.moments, penalty, options)
    limit = min(full.b.shape)
    rank, curve = options.rank, None
    if rank is not None and rank > limit:
        raise LisError(f"rank is {rank}, at most {limit} is possible for {full.b.shape[0]} varying units "
                       f"and {full.b.shape[1]} latent dimensions.")  # fmt: skip
    if rank is None:
        fit, held, held_moments = _split(seen, options)
        part = _shifted_like(seen.train, penalty, fit, options)
        errors = solvers.held_out_error_of_ranks(held, fit, part, solvers.reduced_rank_basis(fit, part),
                                                 float(held_moments.w_squares.sum()))[: max(limit, 1)]  # fmt: skip
        rank, curve = _choice("rank", list(range(1, len(errors) + 1)), errors, held_moments)
    basis = solvers.reduced_rank_basis(full.normal, full.b)[:, :rank]  # [W, k]
    b = full.b @ basis @ basis.T
    normal = Normal.of(seen.moments, like=full.normal).whole()  # the other's gram is used up
    return Solution(normal, b, None, penalty, rank, curve, notes=full.notes)


def _shifted_like(moments: Moments | None, penalty: float, fit: Normal, options: Options) -> Tensor:
    """Coefficients as `_shifted`, in the scale of `fit`."""
    assert moments is not None
    solution = _shifted(moments, penalty, options)
    return solution.b / solution.normal.scale[:, None] * fit.scale[:, None]


def fit(pairs: Any, options: Options) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a Link."""
    batches, again = batches_of(pairs)
    precision: Precision = "float32" if options.precision == "float32" else "float64"
    if options.precision == "auto" and again and options.method in ("ols", "ridge"):
        r, w = next(iter(_checked(batches)))
        if len(r) * float(r.shape[1]) * (r.shape[1] + w.shape[1]) > LARGE:
            precision = "float32"
    seen = gather(batches, options, precision)
    seen.covariance = covariance_of(seen.moments, pairs)
    trusted = precision == "float64" or seen.in_range
    solution = solve(seen, options) if trusted else None
    if precision == "float32" and solution is not None:
        trusted = solution.condition is not None and solution.condition <= TRUSTED_CONDITION
    if not trusted and options.precision == "auto":
        del seen, solution  # their memory first
        precision = "float64"
        seen = gather(batches, options, precision)
        seen.covariance = covariance_of(seen.moments, pairs)
        solution = solve(seen, options)
    if solution is None:
        raise LisError("products of r or w leave the range of float32: use precision='float64'.")
    notes = solution.notes
    if not trusted and precision == "float32":
        notes += (
            "float32 products of units that are nearly dependent: coefficients may have few right digits.",
        )
    tensors, facts = _described(seen, solution, notes, precision)
    if seen.covariance is not None:
        tensors |= ClassStatistics.of(pairs, seen.covariance).tensors()
    return tensors, facts


def _described(
    seen: Gathered, solution: Solution, notes: tuple[str, ...], precision: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    moments, normal, b = seen.moments, solution.normal, solution.b
    gram_b = normal.gram @ b if solution.gram_b is None else solution.gram_b
    spread = moments.w_squares.cpu() / moments.rows  # [W]
    explained = 2 * torch.einsum("rw,rw->w", b, normal.cross) - torch.einsum("rw,rw->w", b, gram_b)  # [W]
    r_mean, w_mean = moments.r_mean.cpu(), moments.w_mean.cpu()
    a = normal.coefficients(b, moments.num_inputs)  # [W, R]
    total = float(spread.sum())
    if solution.curve is not None:
        outputs = moments.num_outputs
        solution.curve["r2"] = [
            1 - e * outputs / total if total else float("nan") for e in solution.curve["error"]
        ]
    tensors = {
        "A": a.float(),
        "b": (w_mean - a @ r_mean).float(),
        "unit_mean": r_mean.float(),
        "unit_std": (seen.r_squares / moments.rows).sqrt().float(),
        "unit_min": moments.r_min.cpu().float(),
        "unit_max": moments.r_max.cpu().float(),
        "w_mean": w_mean.float(),
        "r2_dims": torch.where(spread > 0, explained / spread, torch.nan).float(),
        "fitted_rows": seen.marks,
    }
    if not all(bool(torch.isfinite(tensors[name]).all()) for name in ("A", "b", "unit_min", "unit_max")):
        raise LisError("the fit leaves the range of float32: scale r and w, or give a larger penalty.")
    tensors["unit_std"][moments.constant.cpu()] = 0.0
    facts = {
        "penalty": solution.penalty,
        "rank": solution.rank,
        "rows": moments.rows,
        "in_sample_r2": float(explained.sum()) / total if total else float("nan"),
        "constant_units": moments.constant.cpu().nonzero()[:, 0].tolist(),
        "penalty_curve": solution.curve,
        "notes": list(notes),
        "precision": precision,
    }
    return tensors, facts
