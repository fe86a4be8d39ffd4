"""Streaming second moments of pairs of rows (r, w), the only thing a linear fit needs to see of them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import LisError

Precision = Literal["float64", "float32"]


def check_rows(r: Tensor, w: Tensor, num_inputs: int | None = None, num_outputs: int | None = None) -> None:
    """Raise LisError unless r [N, R] and w [N, W] are finite floating rows of one N and the given widths."""
    for name, x, width in (("r", r, num_inputs), ("w", w, num_outputs)):
        if not isinstance(x, Tensor):
            raise LisError(f"{name} is {type(x).__name__}, a torch.Tensor [N, columns] was expected.")
        if x.ndim != 2 or not x.is_floating_point():
            raise LisError(
                f"{name} has shape {list(x.shape)} and dtype {x.dtype}, floating rows [N, columns] were expected: "
                "pass one row per pair."
            )
        if x.shape[1] == 0:
            raise LisError(f"{name} has no columns, at least one was expected.")
        if width is not None and x.shape[1] != width:
            raise LisError(
                f"{name} has {x.shape[1]} columns, {width} were expected: pass rows of one model only."
            )
    if len(r) != len(w):
        raise LisError(f"r has {len(r)} rows and w has {len(w)}, one row each per pair was expected.")


def _limits(x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of every column [columns], which also show any NaN or infinity."""
    low, high = x.amin(0), x.amax(0)  # twenty times faster than torch.aminmax along rows
    if not bool((torch.isfinite(low) & torch.isfinite(high)).all()):
        row, column = (~torch.isfinite(x)).nonzero()[0].tolist()
        count = int((~torch.isfinite(x)).sum())
        raise LisError(
            f"{name} has {count} values that are NaN or infinite (the first in row {row}, column {column}), "
            "finite ones were expected: drop or repair these rows."
        )
    return low, high


def row_marks(w: Tensor, r: Tensor) -> Tensor:
    """One int64 per row [N] made of the bits of up to 8 + 8 of its values: equal rows have equal marks."""
    mark = torch.zeros(len(w), dtype=torch.int64)
    for x in (w, r):
        columns = torch.linspace(0, x.shape[1] - 1, min(8, x.shape[1])).long()
        bits = x[:, columns].detach().cpu().float().contiguous().view(torch.int32).long()
        for column in bits.unbind(1):
            mark = mark * 6364136223846793005 + column + 1442695040888963407  # wraps around
    return mark


class Moments:
    """Second moments of rows (r, w) in float64, in memory that does not grow with their number.

    Every chunk of rows is centred on its own mean before it is squared and the chunks' means are merged
    afterwards (Chan, Golub, LeVeque 1983), so that a large mean costs no digits. Only the upper block
    triangle of the Gram matrix of r is computed.

    Parameters
    ----------
    num_inputs, num_outputs : widths R of r and W of w.
    precision : "float64", or "float32": products of centred chunks of at most `chunk` rows in float32, their sums in
        float64. That is about three times faster; entries are then good to about 1e-7 of the two columns' norms,
        which is enough where the units' correlation matrix is well conditioned (see `fit_link`).
    device : where the sums are kept and the products computed.
    chunk : rows per product.

    Errors: LisError for widths that do not fit and for NaN or infinite values; nothing is added then.

    >>> moments = Moments(num_inputs=128, num_outputs=64).update(r, w)
    >>> moments.gram.shape, moments.rows  # doctest: +SKIP
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        precision: Precision = "float64",
        device: torch.device | str = "cpu",
        chunk: int = 512,
    ) -> None:
        if min(num_inputs, num_outputs, chunk) < 1:
            raise LisError(
                f"Moments({num_inputs}, {num_outputs}, chunk={chunk}): all three must be at least 1."
            )
        if precision not in ("float64", "float32"):
            raise LisError(f"precision is {precision!r}, 'float64' or 'float32' was expected.")
        self.num_inputs, self.num_outputs, self.precision, self.chunk = (
            num_inputs,
            num_outputs,
            precision,
            chunk,
        )
        self.device = torch.device(device)
        self.rows = 0
        self.eps = 0.0  # resolution of the coarsest dtype seen in r
        self._mean = torch.zeros(num_inputs + num_outputs, dtype=torch.float64, device=self.device)
        self._gram = self._mean.new_zeros(num_inputs, num_inputs)  # upper block triangle
        self._cross = self._mean.new_zeros(num_inputs, num_outputs)
        self._late: list[Tensor] = []  # rows [R + W] of between-chunk scatter, added in one product by _flush
        self._w_squares = self._mean.new_zeros(num_outputs)
        self.r_min = self._mean.new_full((num_inputs,), torch.inf)
        self.r_max = self._mean.new_full((num_inputs,), -torch.inf)

    def update(self, r: Tensor, w: Tensor) -> Moments:
        """Add rows r [N, R] and w [N, W]; returns itself."""
        check_rows(r, w, self.num_inputs, self.num_outputs)
        if len(r) == 0:
            return self
        low, high = _limits(r, "r")
        _limits(w, "w")
        self.r_min = torch.minimum(self.r_min, low.to(self._mean))
        self.r_max = torch.maximum(self.r_max, high.to(self._mean))
        self.eps = max(self.eps, torch.finfo(r.dtype).eps)
        work = torch.float64 if self.precision == "float64" else torch.float32
        width = self.num_inputs + self.num_outputs
        buffer = torch.empty(width, min(len(r), self.chunk), dtype=work, device=self.device)
        for start in range(0, len(r), self.chunk):
            part = slice(start, start + self.chunk)
            z = buffer[:, : len(r[part])]  # [R + W, n]
            z[: self.num_inputs] = r[part].T
            z[self.num_inputs :] = w[part].T
            mean = z.mean(1, keepdim=True)
            z -= mean
            rest = z.mean(1, keepdim=True)  # what rounding of a large mean left
            z -= rest
            squares = z[self.num_inputs :].double().square().sum(1)
            self._add(z.shape[1], (mean.double() + rest.double())[:, 0], squares)
            self._add_products(z)
        return self

    def merge(self, other: Moments) -> Moments:
        """Add the rows that another Moments of the same widths has seen; returns itself."""
        mine, theirs = (self.num_inputs, self.num_outputs), (other.num_inputs, other.num_outputs)
        if mine != theirs:
            raise LisError(f"the moments to merge are of {theirs} columns (r, w), {mine} were expected.")
        if other.rows:
            other._flush()
            self._add(other.rows, other._mean.to(self.device), other._w_squares.to(self.device))
            self._gram += other._gram.to(self.device)
            self._cross += other._cross.to(self.device)
            self.r_min = torch.minimum(self.r_min, other.r_min.to(self.device))
            self.r_max = torch.maximum(self.r_max, other.r_max.to(self.device))
            self.eps = max(self.eps, other.eps)
        return self

    def _add(self, rows: int, mean: Tensor, w_squares: Tensor) -> None:
        """Merge the count, mean and w_squares of further rows, and note the scatter between the two means."""
        total = self.rows + rows
        delta = mean - self._mean  # [R + W]
        late = delta * (self.rows * rows / total) ** 0.5
        self._mean += delta * (rows / total)
        self._w_squares += w_squares + late[self.num_inputs :].square()
        self.rows = total
        self._late.append(late)
        if len(self._late) >= 32:
            self._flush()

    def _add_products(self, z: Tensor, panel: int = 256) -> None:
        """Add the products of z [R + W, n], in panels of rows that begin at the diagonal of the Gram matrix."""
        size = self.num_inputs
        if z.dtype == torch.float64:
            self._cross.addmm_(z[:size], z[size:].T)
        for start in range(0, size, panel):
            stop = min(start + panel, size)
            left, target = z[start:stop], self._gram[start:stop, start:]
            if z.dtype == torch.float64:
                target.addmm_(left, z[start:size].T)
                continue
            if z.device.type == "cpu" and torch.backends.mkldnn.is_available():
                # oneDNN's product, measured at twice the speed of torch.mm on AMD processors
                product = F.linear(left.to_mkldnn(), z[start:].to_mkldnn()).to_dense()
            else:
                product = left @ z[start:].T
            target += product[:, : size - start]
            self._cross[start:stop] += product[:, size - start :]

    def _flush(self) -> None:
        if self._late:
            self._add_products(torch.stack(self._late, 1))
            self._late = []

    @property
    def r_mean(self) -> Tensor:
        """Mean of every unit [R]."""
        return self._mean[: self.num_inputs]

    @property
    def w_mean(self) -> Tensor:
        """Mean of every latent dimension [W]."""
        return self._mean[self.num_inputs :]

    @property
    def w_squares(self) -> Tensor:
        """Sum of squares of w around its mean [W]."""
        return self._w_squares

    @property
    def r_squares(self) -> Tensor:
        """Sum of squares of r around its mean [R]."""
        self._flush()
        return self._gram.diagonal()

    @property
    def cross(self) -> Tensor:
        """Sum of the products of centred r and centred w [R, W]."""
        self._flush()
        return self._cross

    @property
    def upper(self) -> Tensor:
        """Gram matrix of centred r [R, R], of which only the upper triangle is to be read."""
        self._flush()
        return self._gram

    def take(self) -> tuple[Tensor, Tensor]:
        """Give away `upper` and `cross` without a copy; only counts, means and limits may be read afterwards."""
        self._flush()
        taken = self._gram, self._cross
        self._gram, self._cross = self._gram.new_empty(0, 0), self._cross.new_empty(0, 0)
        return taken

    @property
    def gram(self) -> Tensor:
        """Gram matrix of centred r [R, R], whole: a copy."""
        upper = self.upper.triu()
        return upper + upper.T - torch.diag(upper.diagonal())

    @property
    def constant(self) -> Tensor:
        """Mask [R] of the units that did not vary by more than the rounding of their dtype."""
        size = torch.maximum(self.r_min.abs(), self.r_max.abs())
        return ~(self.r_max - self.r_min > 4 * self.eps * size)

    @property
    def in_range(self) -> bool:
        """Whether no sum overflowed or vanished, as float32 products of extreme values do."""
        varied = self.r_squares[~self.constant]
        sums = torch.cat([varied, self._w_squares[self._w_squares > 0]])
        return bool(torch.isfinite(sums).all()) and bool((varied > 1e-30 * self.rows).all())
