"""Images of concepts: photographs on which a measure is high, and photographs with stripes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from ..names import finite_number, whole_number

__all__ = ["most_of", "striped"]


def most_of(values: Any, count: int, among: Tensor | None = None) -> Tensor:
    """Return the rows of the `count` highest values, the highest first; missing values (NaN) never count.

    Parameters
    ----------
    values
        [N], such as a column of `measure_photographs`.
    among
        bool [N] or rows: only these are looked at.

    Returns
    -------
    Tensor
        int64 [count].

    Raises
    ------
    LisError
        When fewer rows have a value.

    Examples
    --------
    >>> most_of([0.1, float("nan"), 0.9], 1)
    tensor([2])
    """
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise LisError(f"the values are no numbers: {error}.") from error
    count = whole_number(count, "count", 1)
    allowed = np.zeros(len(values), bool)
    allowed[slice(None) if among is None else np.asarray(among)] = True
    rows = np.flatnonzero(allowed & ~np.isnan(values))
    if len(rows) < count:
        raise LisError(f"{len(rows)} of {len(values)} rows have a value; {count} were asked for.")
    return torch.from_numpy(rows[np.argsort(-values[rows], kind="stable")[:count]])


def striped(x: Tensor, period: float = 4, angle: float = 0, strength: float = 0.5) -> Tensor:
    """Return images with stripes: their light is modulated by a sine, so that black stays black.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range.
    period
        Pixels from stripe to stripe, at least 2.
    angle
        0: horizontal stripes, pi / 2: vertical ones (radians).
    strength
        From 0 (none) to 1 (dark stripes are black).

    Raises
    ------
    LisError
        For images of another range, and numbers beyond theirs.

    Examples
    --------
    >>> striped(photographs.images[:8], period=4).shape
    torch.Size([8, 1, 32, 32])
    """
    check_images(x)
    if finite_number(period, "period", " of pixels") < 2:
        raise LisError(f"period is {period!r}; at least 2 pixels were expected.")
    if not 0 <= finite_number(strength, "strength") <= 1:
        raise LisError(f"strength is {strength!r}; 0 to 1 was expected.")
    turn = finite_number(angle, "angle", " of radians")
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    right = torch.arange(x.shape[3], device=x.device)[None]
    phase = (down * math.cos(turn) + right * math.sin(turn)) * (2 * math.pi / period)
    return x * (1 - strength * (1 - torch.cos(phase).to(x.dtype)) / 2)
