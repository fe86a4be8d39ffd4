"""Many linearisations as one: what measures are at a latent that lies between or beyond the linearised ones."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the weights: the better of 3, 4 and 6 over two sweeps of the bundled models; h hardly matters.
POWER, NEAR = 6.0, 0.1
BYTES = 2**27  # of the expansions' values that are held at a time


class Expansions:
    """First-order expansions of Q measures at N points, blended by distance.

    Modified Shepard interpolation: m(z) = sum_n k_n(z) (m_n + J_n (z - z_n)) / sum_n k_n(z), with the weights
    k_n = (d_n^2 + h^2)^-6 (Shepard 1968; with expansions: Ischtwan and Collins 1994, J. Chem. Phys. 100, 8080). At a
    point the nearest expansions count, so that a unit which turns one kind of garment into another is told by pictures
    of both. Directions count in the distance d as much as the measures change along them (by the square root of the
    mean outer product of the slopes); h is a tenth of the median distance of two points.

    Parameters
    ----------
    points : [N, k], in any coordinates.
    values : [N, Q].
    slopes : [N, k, Q], derivatives along the coordinates.
    """

    def __init__(self, points: Tensor, values: Tensor, slopes: Tensor) -> None:
        self.centre = points.mean(0)
        points = points - self.centre  # small numbers, so that sums of large products don't round
        self.slopes = slopes
        self.offsets = values - torch.einsum("nkq,nk->nq", slopes, points)
        spread = values.std(0, unbiased=False)
        scaled = slopes / torch.where(
            spread > 1e-6, spread, torch.inf
        )  # measures that never vary don't count
        outer = torch.einsum("nkq,nlq->kl", scaled, scaled).double() / len(points)
        share, axes = torch.linalg.eigh(outer)
        self.metric = (axes * share.clamp_min(0) ** 0.25).to(points)  # [k, k]
        self.places = points @ self.metric
        between = torch.pdist(self.places)
        between = between[between > 0]
        scale = float(between.median()) if len(between) else 1.0
        self.metric, self.places = self.metric / scale, self.places / scale

    def __call__(self, z: Tensor) -> Tensor:
        """Measures [M, Q] at points z [M, k]."""
        n, k, q = self.slopes.shape
        flat = self.slopes.permute(1, 0, 2).reshape(k, n * q)
        parts = []
        for rows in (z - self.centre).split(max(1, BYTES // (4 * n * q))):
            square = torch.cdist(rows @ self.metric, self.places).square()  # [m, N]
            weights = torch.softmax(-POWER * (square + NEAR**2).log(), dim=1)  # [m, N], of sum 1
            at = (rows @ flat).unflatten(1, (n, q)) + self.offsets  # [m, N, Q]
            parts.append(torch.einsum("mn,mnq->mq", weights, at))
        return torch.cat(parts)
