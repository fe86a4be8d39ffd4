"""Angles of axes: a turn by pi gives the same axis, so differences and means go the short way round."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PERIOD = math.pi  # radians


def angle_difference(a: Tensor, b: Tensor) -> Tensor:
    """Give b - a for angles of axes in radians, the short way round: from -pi/2 to just below pi/2; NaN stays NaN.

    Examples
    --------
    >>> angle_difference(torch.tensor(1.5), torch.tensor(-1.5))
    tensor(0.1416)
    """
    difference = torch.as_tensor(b) - torch.as_tensor(a)
    return torch.remainder(difference + PERIOD / 2, PERIOD) - PERIOD / 2


def mean_angle(angles: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Give the mean of angles of axes in radians, and how well they agree; NaN is left out.

    The angles are doubled, averaged as directions, and halved (Mardia and Jupp 2000, section 9.4 on axial data).

    Parameters
    ----------
    angles : any shape.
    dim : the dimension to average over.

    Returns
    -------
    mean, from -pi/2 to pi/2, and agreement, from 0 (all over the place, the mean says nothing) to 1 (all equal); both
    NaN where there is no angle.

    Examples
    --------
    >>> mean_angle(torch.tensor([1.5, -1.5]))[0].abs()
    tensor(1.5708)
    """
    known = ~angles.isnan()
    doubled = torch.where(known, 2 * angles, torch.zeros_like(angles))
    count = known.sum(dim=dim)
    east = (doubled.cos() * known).sum(dim=dim) / count
    north = (doubled.sin() * known).sum(dim=dim) / count
    return torch.atan2(north, east) / 2, torch.hypot(east, north)
