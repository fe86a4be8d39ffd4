"""Straight paths between activations, and by how much a target leads along them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError

__all__ = ["first_crossings", "lines", "row_indices", "target_margins"]


def target_margins(logits: Tensor, targets: Tensor) -> Tensor:
    """By how much the target's logit exceeds the best other, [N, ..., K] and [N] -> [N, ...]; with one class the logit.

    Examples
    --------
    >>> target_margins(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1]))
    tensor([2.])
    """
    index = targets.reshape(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    own = logits.gather(-1, index)[..., 0]
    if logits.shape[-1] < 2:
        return own
    return own - logits.scatter(-1, index, -torch.inf).amax(-1)


def first_crossings(amounts: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Where margins [N, P] first rise through 0, by straight lines between the places [P]: [N], NaN where never.

    Examples
    --------
    >>> first_crossings(np.array([0.0, 0.5, 1.0]), np.array([[-1.0, 1.0, 2.0]]))
    array([0.25])
    """
    rises = (margins[:, :-1] <= 0) & (margins[:, 1:] > 0)
    place = rises.argmax(1)
    n = np.arange(len(margins))
    below, above = margins[n, place], margins[n, place + 1]
    step = np.where(rises.any(1), -below / np.where(above > below, above - below, 1.0), np.nan)
    return amounts[place] + step * (amounts[place + 1] - amounts[place])  # type: ignore[no-any-return]


def lines(start: Tensor, end: Tensor, amounts: Tensor) -> Tensor:
    """Points [N, P, R] on the lines from `start` to `end` [N, R], at amounts [P] or [N, P]; beyond 1 units stay >= 0.

    Examples
    --------
    >>> lines(result.r_start, result.r_end, torch.tensor([0.0, 0.5, 1.0]))
    """
    places = amounts.to(start)[..., None].expand(len(start), amounts.shape[-1], 1)
    points = torch.lerp(start[:, None], end[:, None], places)  # [N, P, R]
    if bool((start < 0).any()) or bool((end < 0).any()):
        return points  # activations that are negative by nature
    return points.relu()


def row_indices(rows: Any, count: int) -> list[int]:
    """Return the indices of rows given as whole numbers, a slice, or a truth value for each of `count` rows.

    Raises
    ------
    LisError
        For anything else, and rows that are not there.

    Examples
    --------
    >>> row_indices([True, False, True], 3)
    [0, 2]
    """
    if isinstance(rows, slice):
        return list(range(count))[rows]
    listed = rows.tolist() if hasattr(rows, "tolist") else rows
    listed = [listed] if isinstance(listed, int) else list(listed)
    if listed and all(isinstance(row, bool) for row in listed):
        if len(listed) != count:
            raise LisError(f"{len(listed)} truth values were given for {count} rows.")
        return [index for index, row in enumerate(listed) if row]
    for row in listed:
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < count:
            raise LisError(f"there is no row {row!r}: the result has {count}, from 0.")
    return listed
