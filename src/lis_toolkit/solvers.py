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
    def of(cls, moments: Moments, standardise: bool = True, like: Normal | None = None) -> Normal:
        """Normal equations of the moments, units divided by their standard deviation (or left as they are).

        With `like`, its units and its scale are taken instead.
        """
        active = (~moments.constant).nonzero()[:, 0].cpu() if like is None else like.active
        every = len(active) == moments.num_inputs
        upper, cross = moments.upper.cpu(), moments.cross.cpu()
        gram = upper.clone(memory_format=torch.contiguous_format) if every else upper[active][:, active]
        cross = cross.clone(memory_format=torch.contiguous_format) if every else cross[active]
        gram /= moments.rows
        cross /= moments.rows
        if like is not None:
            scale = like.scale
        elif standardise:
            scale = gram.diagonal().sqrt()
        else:
            scale = torch.ones(len(active), dtype=torch.float64)
        gram /= scale
        gram /= scale[:, None]
        cross /= scale[:, None]
        return cls(
            gram, cross, scale, active, moments.r_mean.cpu()[active], moments.w_mean.cpu(), moments.rows
        )

    def whole(self) -> Normal:
        """Fill in the lower triangle of gram, in place; returns itself."""
        for start in range(0, len(self.gram), 256):
            stop = min(start + 256, len(self.gram))
            block = self.gram[start:stop, start:stop].triu()
            self.gram[start:stop, start:stop] = block + block.T - torch.diag(block.diagonal())
            self.gram[stop:, start:stop] = self.gram[start:stop, stop:].T
        return self

    def rows_of(self, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Centred and scaled rows [M, R'] and centred outputs [M, W]."""
        x = (r.double()[:, self.active] - self.mean) / self.scale
        return x, w.double() - self.w_mean

    def coefficients(self, b: Tensor, num_inputs: int) -> Tensor:
        """The link's A [W, R] on plain units, zero for constant ones."""
        a = torch.zeros(b.shape[1], num_inputs, dtype=torch.float64)
        a[:, self.active] = (b / self.scale[:, None]).T
        return a


def _one_norm(upper: Tensor) -> float:
    """Largest absolute column sum of a symmetric matrix of which the upper triangle is given."""
    sums = torch.zeros(len(upper), dtype=upper.dtype)
    for start in range(0, len(upper), 256):  # in panels, to keep memory low
        part = upper[start : start + 256].abs().triu(start)
        sums += part.sum(0)
        part[:, start : start + 256].fill_diagonal_(0.0)
        sums[start : start + 256] += part.sum(1)
    return float(sums.max())


def solve_shifted(normal: Normal, penalty: float = 0.0) -> tuple[Tensor | None, float]:
    """Solve (gram + penalty) B = cross by Cholesky: B [R', W] and the reciprocal condition number.

    B is None when the matrix is not positive definite to rounding. Overwrites `normal.gram`.
    """
    from scipy.linalg import lapack

    if len(normal.active) == 0:
        return normal.cross.clone(), 1.0
    normal.gram.diagonal().add_(penalty)
    norm = _one_norm(normal.gram)
    # row-major upper triangle = column-major lower one; the factor takes the place of the matrix
    factor, info = lapack.dpotrf(normal.gram.numpy().T, lower=1, overwrite_a=1, clean=0)
    if info != 0:
        return None, 0.0
    rcond, _ = lapack.dpocon(factor, norm, uplo="L")
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

    def __init__(self, normal: Normal) -> None:
        from scipy.linalg import lapack

        self._lapack, size = lapack, len(normal.active)
        gram = normal.gram.numpy().T
        self._factors, self.diagonal, self.off, self._tau, info = lapack.dsytrd(
            gram, lower=1, lwork=64 * size, overwrite_a=1
        )
        if info != 0:
            raise LisError(f"the tridiagonal form of the units' Gram matrix failed (LAPACK info {info}).")

    def rotate(self, c: np.ndarray, transpose: bool) -> np.ndarray:
        """Q c, or Q^T c, for c [R', columns]."""
        c = np.array(c, dtype=np.float64, order="F")
        if len(c) > 1:
            # Q leaves the first coordinate alone
            c[1:], _, info = self._lapack.dormqr(
                "L", "T" if transpose else "N", self._factors[1:, :-1], self._tau, c[1:], 64 * c.shape[1]
            )
            assert info == 0
        return c

    def solve(self, c: np.ndarray, penalty: float) -> np.ndarray | None:
        """(T + penalty)^-1 c, or None when that matrix is not positive definite."""
        diagonal, off, info = self._lapack.dpttrf(self.diagonal + penalty, self.off)
        if info != 0:
            return None
        return self._lapack.dpttrs(diagonal, off, c)[0]  # type: ignore[no-any-return]

    def condition(self) -> float:
        """Largest over smallest eigenvalue."""
        from scipy.linalg import eigvalsh_tridiagonal

        values = eigvalsh_tridiagonal(self.diagonal, self.off)
        return float(values[-1] / values[0]) if values[0] > 0 else float("inf")


def ridge_leave_one_out(
    normal: Normal, x: Tensor, y: Tensor, penalties: list[float]
) -> tuple[Tensor, float, dict[str, Any], float]:
    """Ridge with the penalty of least leave-one-out error over rows x [M, R'] and y [M, W] of the fitted ones.

    The residual that row i has when it is left out is e_i / (1 - 1/N - h_i), with
    h_i = x_i^T (gram + penalty)^-1 x_i / N; this is exact, with scaling and total penalty N * penalty held.
    Overwrites `normal.gram`. Returns B [R', W], the penalty, the curve, and the condition of gram.
    """
    form = Tridiagonal(normal)
    count, width = y.shape
    rotated = form.rotate(np.concatenate([normal.cross.numpy(), x.numpy().T], axis=1), transpose=True)
    cross, points = rotated[:, :width], np.asfortranarray(rotated[:, width:])  # [R', W], [R', M]
    # a quarter of the error's time is this product, of which three digits count
    narrow = torch.from_numpy(cross).float() if normal.cross.numel() * count > 1e7 else torch.from_numpy(cross)
    errors, norms = [], []
    for penalty in penalties:
        solved = form.solve(points, penalty)  # [R', M]
        if solved is None:
            errors.append(np.full(count, np.inf))
            norms.append(np.inf)
            continue
        fitted = (torch.from_numpy(solved).T.to(narrow.dtype) @ narrow).double().numpy()  # [M, W]
        leverage = 1 / normal.rows + np.einsum("rm,rm->m", solved, points) / normal.rows
        left_out = (y.numpy() - fitted) / np.maximum(1 - leverage, 1e-12)[:, None]
        errors.append((left_out**2).mean(1))
    table = np.stack(errors)  # [penalties, M]
    mean = table.mean(1)
    best = int(np.argmin(mean))
    if not np.isfinite(mean[best]):
        raise LisError(f"none of the penalties {penalties} makes ridge solvable: give larger ones.")
    spread = table.std(1, ddof=1) / count**0.5 if count > 1 else np.full(len(mean), np.nan)
    curve = {
        "penalty": [float(p) for p in penalties],
        "error": mean.tolist(),  # mean squared error of a latent dimension, in units of w squared
        "standard_error": spread.tolist(),
        "rows": count,
        "kind": "leave-one-out",
    }
    solution = form.rotate(form.solve(cross, penalties[best]), transpose=False)  # type: ignore[arg-type]
    return torch.from_numpy(solution), float(penalties[best]), curve, form.condition()


def elastic_net(
    normal: Normal, penalty: float, l1_ratio: float, start: Tensor | None = None, tolerance: float = 1e-7,
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
