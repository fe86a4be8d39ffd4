"""Along a shift: how far one must go until the rendered picture changes class by the margin, and no farther."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .rendered import Looker

HALVINGS = 3  # of the way back


def first_valid(
    look: Looker, r: Tensor, d: Tensor, target: Tensor, rows: Tensor, margin: float, amounts: Sequence[float],
    floor: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Try r + t d for the amounts t in turn; a row stops at the first whose picture has the margin.

    Parameters
    ----------
    r, d : [n, R], activations and shifts.
    target, rows : [n], class indices, and the rows of the search they belong to.
    floor : whether activations below 0 are cut off.

    Returns
    -------
    r' [n, R], with the best margin seen where none has the one asked for; that margin [n].

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> there, best = first_valid(look, r, shift, target, rows, margin=4.0, amounts=(1.0, 1.5, 2.0))
    """
    there, most = r.clone(), torch.full_like(r[:, 0], -torch.inf)
    live = torch.arange(len(r), device=r.device)
    for t in amounts:
        if not len(live):
            break
        trial = r[live] + t * d[live]
        trial = trial.relu() if floor else trial
        found = look(trial, target[live], rows[live]).margin
        better = found > most[live]
        there[live[better]], most[live[better]] = trial[better], found[better]
        live = live[most[live] < margin]
    return there, most


def move_back(
    look: Looker,
    r: Tensor,
    there: Tensor,
    target: Tensor,
    rows: Tensor,
    margin: float,
    rounds: int = HALVINGS,
) -> Tensor:
    """Halve the way from r to `there` (which has the margin), keeping the nearest point [n, R] seen to have it.

    Raises
    ------
    LisError : activations of another width than the link's.

    Examples
    --------
    >>> nearer = move_back(look, r, there, target, rows, margin=4.0)
    """
    low, high = r.new_zeros(len(r), 1), r.new_ones(len(r), 1)
    for _ in range(rounds if len(r) else 0):
        middle = (low + high) / 2  # [n, 1]
        valid = look(torch.lerp(r, there, middle), target, rows).margin[:, None] >= margin
        high, low = torch.where(valid, middle, high), torch.where(valid, low, middle)
    return torch.lerp(r, there, high)
