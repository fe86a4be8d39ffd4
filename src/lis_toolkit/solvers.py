"""Linear fits from second moments: least squares, ridge with exact leave-one-out, elastic net, reduced rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import LisError

if TYPE_CHECKING:
    from .moments import Moments

RANK_CUTOFF = 1e-12  # eigenvalues of the correlation matrix below this share of the largest count as zero


@dataclass
class Normal:
    """Normal equations (gram / N) B = (cross / N) of the units that vary, each divided by `scale`, on the CPU."""

    gram: Tensor  # [R', R'], the upper triangle only; solvers may overwrite it
    cross: Tensor  # [R', W]
    scale: Tensor  # [R']
    active: Tensor  # [R'] indices of the units that vary
    mean: Tensor  # [R'] of r
    w_mean: Tensor  # [W]
    rows: int

    @classmethod
    def of(
        cls, moments: Moments, standardise: bool = True, like: Normal | None = None, take: bool = False
    ) -> Normal:
        """Form the normal equations of moments, units divided by their standard deviation (or left as they are).

        With `like`, its units and its scale are taken instead. With `take`, the moments' memory is used up.
        """
        active = (~moments.constant).nonzero()[:, 0].cpu() if like is None else like.active
        upper, cross = (x.cpu() for x in (moments.take() if take else (moments.upper, moments.cross)))
        if len(active) < moments.num_inputs:
            upper, cross = upper[active][:, active], cross[active]
        elif not take:
            upper, cross = upper.clone(), cross.clone()
        upper /= moments.rows
        cross /= moments.rows
        if like is not None:
            scale = like.scale
        elif standardise:
            scale = upper.diagonal().sqrt()
        else:
            scale = torch.ones(len(active), dtype=torch.float64)
        upper /= scale
        upper /= scale[:, None]
        cross /= scale[:, None]
        mean = moments.r_mean.cpu()[active]
        return cls(upper, cross, scale, active, mean, moments.w_mean.cpu(), moments.rows)

    def whole(self) -> Normal:
        """Fill in the lower triangle of gram from the upper, in place; returns itself."""
        _mirror(self.gram)
        return self

    def rows_of(self, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Centred and scaled rows [M, R'] and centred outputs [M, W]."""
        x = (r.double()[:, self.active] - self.mean) / self.scale
        return x, w.double() - self.w_mean

    def coefficients(self, b: Tensor, num_inputs: int) -> Tensor:
        """Return the link's A [W, R] on plain units, zero for constant ones."""
        a = torch.zeros(b.shape[1], num_inputs, dtype=torch.float64)
        a[:, self.active] = (b / self.scale[:, None]).T
        return a


def _mirror(square: Tensor, panel: int = 256) -> None:
    """Copy the upper triangle of a square matrix to the lower one, in place and in panels to keep memory low."""
    for start in range(0, len(square), panel):
        stop = min(start + panel, len(square))
        block = square[start:stop, start:stop].triu()
        square[start:stop, start:stop] = block + block.triu(1).T
        square[stop:, start:stop] = square[start:stop, stop:].T


def _one_norm(square: Tensor) -> float:
    """Largest absolute column sum of a symmetric matrix."""
    return max(float(part.abs().sum(1).max()) for part in square.split(256))


def solve_shifted(normal: Normal, penalty: float = 0.0) -> tuple[Tensor | None, float]:
    """Solve (gram + penalty) B = cross by Cholesky: B [R', W] and the reciprocal condition number.

    `normal.gram` is used up; but when it is too near to singular, B is None and it stays, whole.
    """
    from scipy.linalg import lapack

    if len(normal.active) == 0:
        return normal.cross.clone(), 1.0
    gram = normal.whole().gram
    diagonal = gram.diagonal().clone()
    gram.diagonal().add_(penalty)
    norm = _one_norm(gram)
    # LAPACK's lower triangle is our upper one (it counts by columns): the factor goes there, the lower one stays
    factor, info = lapack.dpotrf(gram.numpy().T, lower=1, overwrite_a=1, clean=0)
    rcond = lapack.dpocon(factor, norm, uplo="L")[0] if info == 0 else 0.0
    if rcond < 10 * RANK_CUTOFF:
        gram.diagonal().copy_(diagonal)
        _mirror(gram.T)
        return None, float(rcond)
    normal.gram = torch.empty(0, 0)
    solution, _ = lapack.dpotrs(factor, np.array(normal.cross.numpy(), order="F"), lower=1, overwrite_b=1)
    return torch.from_numpy(solution), float(rcond)


def minimum_norm(normal: Normal) -> tuple[Tensor, int]:
    """Least squares solution of smallest norm [R', W] and the rank of gram, by its eigenvalues."""
    values, vectors = torch.linalg.eigh(normal.whole().gram)
    keep = values > RANK_CUTOFF * values[-1]
    vectors = vectors[:, keep]
    return vectors @ ((vectors.T @ normal.cross) / values[keep, None]), int(keep.sum())


class Tridiagonal:
    """gram = Q T Q^T with T tridiagonal: a quarter of the work of an eigendecomposition, and as good for ridge.

    For any penalty p, (gram + p)^-1 c = Q (T + p)^-1 Q^T c, and a tridiagonal solve costs next to nothing.
    """

    def __init__(self, normal: Normal, precision: str = "float64") -> None:
        from scipy.linalg import get_lapack_funcs

        self.dtype = np.dtype(precision)
        names = ("sytrd", "ormqr", "pttrf", "pttrs")
        sytrd, self._ormqr, self._pttrf, self._pttrs = get_lapack_funcs(names, dtype=self.dtype)
        gram = np.array(normal.gram.numpy().T, dtype=self.dtype, order="F")
        factors, self.diagonal, self.off, self._tau, info = sytrd(
            gram, lower=1, lwork=64 * len(gram), overwrite_a=1
        )
        if info != 0:
            raise LisError(f"the tridiagonal form of the units' Gram matrix failed (LAPACK info {info}).")
        self._reflectors = np.asfortranarray(factors[1:, :-1])

    def rotate(self, c: np.ndarray, transpose: bool) -> np.ndarray:
        """Return Q c, or Q^T c, for c [R', columns]."""
        c = np.array(c, dtype=self.dtype, order="F")
        if len(c) > 1:  # Q leaves the first coordinate alone
            side = "T" if transpose else "N"
            c[1:], _, info = self._ormqr("L", side, self._reflectors, self._tau, c[1:], 64 * c.shape[1])
            assert info == 0
        return c

    def solve(self, c: np.ndarray, penalty: float) -> np.ndarray | None:
        """Return (T + penalty)^-1 c, or None when that matrix is not positive definite."""
        if len(self.diagonal) == 1:  # scipy's wrapper refuses the empty off-diagonal
            alone = self.diagonal[0] + penalty
            return c / alone if alone > 0 else None
        diagonal, off, info = self._pttrf(self.diagonal + self.dtype.type(penalty), self.off)
        return self._pttrs(diagonal, off, c)[0] if info == 0 else None

    def condition(self) -> float:
        """Return the largest over the smallest eigenvalue."""
        from scipy.linalg import eigvalsh_tridiagonal

        if len(self.diagonal) == 1:
            return 1.0
        ends = [
            float(eigvalsh_tridiagonal(self.diagonal, self.off, select="i", select_range=(i, i))[0])
            for i in (0, len(self.diagonal) - 1)
        ]
        return ends[1] / ends[0] if ends[0] > 0 else float("inf")


def ridge_leave_one_out(
    normal: Normal, x: Tensor, y: Tensor, penalties: list[float], precision: str = "float64"
) -> tuple[Tensor, float, dict[str, Any], float]:
    """Ridge with the penalty of least leave-one-out error over rows x [M, R'] and y [M, W] of the fitted ones.

    The residual that row i has when it is left out is e_i / (1 - 1/N - h_i), with
    h_i = x_i^T (gram + penalty)^-1 x_i / N; this is exact, with scaling and total penalty N * penalty held.
    In float32 the curve has about four digits where the condition is at most 1000; B is solved in float64.
    Returns B [R', W], the penalty, the curve, and the condition of gram.
    """
    form = Tridiagonal(normal, precision)
    count, width = y.shape
    rotated = form.rotate(np.concatenate([normal.cross.numpy(), x.numpy().T], axis=1), transpose=True)
    cross, points = rotated[:, :width], np.asfortranarray(rotated[:, width:])  # [R', W], [R', M]
    true = y.numpy().astype(form.dtype)
    errors = []
    for penalty in penalties:
        solved = form.solve(points, penalty)  # [R', M]
        if solved is None:
            errors.append(np.full(count, np.inf))
            continue
        leverage = (1 + np.einsum("rm,rm->m", solved, points)) / normal.rows  # [M]
        left_out = (true - solved.T @ cross) / np.maximum(1 - leverage, 1e-12)[:, None]  # [M, W]
        errors.append((left_out**2).mean(1, dtype=np.float64))
    table = np.stack(errors)  # [penalties, M]
    mean = table.mean(1)
    best = int(np.argmin(mean))
    if not np.isfinite(mean[best]):
        raise LisError(f"none of the penalties {penalties} makes ridge solvable: give larger ones.")
    with np.errstate(invalid="ignore"):
        spread = table.std(1, ddof=1) / count**0.5 if count > 1 else np.full(len(mean), np.nan)
    curve = {
        "penalty": [float(p) for p in penalties],
        "error": mean.tolist(),  # mean squared error of a latent dimension, in units of w squared
        "standard_error": spread.tolist(),
        "rows": count,
        "kind": "leave-one-out",
    }
    condition = form.condition()
    if precision == "float64":
        b = torch.from_numpy(form.rotate(form.solve(cross, penalties[best]), transpose=False))  # type: ignore[arg-type]
    else:
        del form
        solved_again, _ = solve_shifted(normal, penalties[best])
        b = torch.zeros_like(normal.cross) if solved_again is None else solved_again
        condition = condition if solved_again is not None else float("inf")
    return b, float(penalties[best]), curve, condition


def elastic_net(
    normal: Normal,
    penalty: float,
    l1_ratio: float,
    start: Tensor | None = None,
    tolerance: float = 1e-7,
    max_steps: int = 20_000,
) -> tuple[Tensor, bool]:
    """Minimise tr(B'GB)/2 - tr(B'C) + penalty (l1_ratio |B|_1 + (1 - l1_ratio)/2 |B|^2): B [R', W], converged.

    FISTA with restarts (Beck & Teboulle 2009; O'Donoghue & Candes 2015). Stops when no entry breaks the
    optimality conditions by more than `tolerance` times the largest entry of C. Needs both triangles of gram.
    """
    gram, cross = normal.gram, normal.cross
    if not cross.numel():
        return cross.clone(), True
    l1, l2 = penalty * l1_ratio, penalty * (1 - l1_ratio)
    step = 1 / (float(torch.linalg.eigvalsh(gram)[-1]) * (1 + 1e-9) + l2)
    slack = tolerance * float(cross.abs().max())
    b = torch.zeros_like(cross) if start is None else start.clone()
    ahead, momentum = b.clone(), 1.0
    for count in range(max_steps):
        gradient = gram @ ahead + l2 * ahead - cross
        if count % 10 == 0:
            plain = gram @ b + l2 * b - cross if count else gradient
            broken = torch.where(b != 0, (plain + l1 * b.sign()).abs(), (plain.abs() - l1).clamp(min=0))
            if float(broken.max()) <= slack:
                return b, True
        moved = ahead - step * gradient
        new = moved.sign() * (moved.abs() - step * l1).clamp(min=0)
        if float(((ahead - new) * (new - b)).sum()) > 0:  # the momentum points uphill: forget it
            momentum, ahead = 1.0, new.clone()
        else:
            next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + (momentum - 1) / next_momentum * (new - b)
            momentum = next_momentum
        b = new
    return b, False


def reduced_rank_basis(normal: Normal, b: Tensor) -> Tensor:
    """Directions of w [W, W] by falling variance of the fitted values: B V_k V_k' is the best fit of rank k.

    For ridge this holds of its augmented problem (Izenman 1975; Mukherjee & Zhu 2011).
    """
    values = normal.cross.T @ b  # = B' (gram + penalty) B
    return torch.linalg.eigh((values + values.T) / 2)[1].flip(1)


def held_out_error(held: Normal, fit: Normal, b: Tensor, w_squares: float) -> float:
    """Squared error per row, summed over W, of a fit's B on other rows' moments (same scale, whole gram)."""
    shift = held.w_mean - fit.w_mean - b.T @ ((held.mean - fit.mean) / fit.scale)  # [W]
    scatter = w_squares / held.rows - 2 * (b * held.cross).sum() + (b * (held.gram @ b)).sum()
    return float(scatter + shift.square().sum())


def held_out_error_of_ranks(
    held: Normal, fit: Normal, b: Tensor, basis: Tensor, w_squares: float
) -> list[float]:
    """Squared error per row, summed over W, of B V_k V_k' on other rows' moments, for k = 1 .. W."""
    rotated = b @ basis  # [R', W]
    # the error is a sum over directions of w: each kept one exchanges its own scatter for its residual's
    gain = (rotated * (2 * held.cross @ basis - held.gram @ rotated)).sum(0)  # [W]
    offset = (held.w_mean - fit.w_mean) @ basis  # [W]
    moved = rotated.T @ ((held.mean - fit.mean) / fit.scale)  # [W]
    gain += offset.square() - (offset - moved).square()
    total = w_squares / held.rows + float(offset.square().sum())
    return (total - gain.cumsum(0)).tolist()  # type: ignore[no-any-return]
