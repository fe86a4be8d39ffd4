"""Directions along which units are set: one alone, or one with the units that usually move with it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError
from ..pairs import Pairs


def companion_directions(pairs: Pairs | Tensor, labels: Tensor | None = None) -> Tensor:
    """Give, for every unit, how all units usually move when it moves by one: the regression of all units on each.

    Setting one unit and leaving the others as they were (the paper's systematic tuning) makes activations that no
    picture has where units are redundant, and the rendered picture then hardly shows the unit. Row i of the result,
    D[i], is the change of all units that goes with one unit of unit i, so ``r + (v - r_i) D[i]`` sets unit i to v and
    takes its companions along. With `labels` the regression is within classes: what distinguishes classes, which moves
    hundreds of units at a time, is left out, and pictures stay in their class more often.

    Parameters
    ----------
    pairs : Pairs, whose activations and labels are taken; or activations [N, R].
    labels : [N] class indices, with activations only; None regresses over all rows together.

    Returns
    -------
    D [R, R], float32, with ones on the diagonal. Rows of units that never vary are those of the identity.

    Raises
    ------
    LisError : fewer than two rows, labels of another length, values that are not finite.

    Notes
    -----
    Not in the paper. It answers another question: not what the unit's own weight in the link does, but what the unit
    stands for together with what it is redundant with. A unit's pictures then also show its companions' content.

    Examples
    --------
    >>> D = companion_directions(pairs)
    >>> walk = tune_unit(generator, classifier, link, pairs.r[:4], unit=17, directions=D)
    """
    if isinstance(pairs, Pairs):
        if labels is not None:
            raise LisError("labels were given beside pairs, which bring their own: leave them out")
        r, labels = pairs.r, pairs.labels
    else:
        r = pairs
    if not isinstance(r, Tensor) or r.ndim != 2 or len(r) < 2 or not r.is_floating_point():
        given = f"{r.dtype} {list(r.shape)}" if isinstance(r, Tensor) else type(r).__name__
        raise LisError(f"r is {given}; activations [N, R] of at least two rows were expected")
    if not torch.isfinite(r).all():
        raise LisError("r has NaN or infinite values; finite activations were expected")
    r = r.double()
    if labels is None:
        centred = r - r.mean(dim=0)
    else:
        labels = torch.as_tensor(labels, device=r.device)
        if labels.shape != r.shape[:1]:
            raise LisError(f"labels have shape {list(labels.shape)}, expected one for each of {len(r)} rows")
        _, group = labels.unique(return_inverse=True)
        count = group.bincount()
        sums = r.new_zeros(len(count), r.shape[1]).index_add_(0, group, r)
        centred = r - (sums / count[:, None])[group]  # [N, R]
    products = centred.T @ centred  # [R, R]
    square = products.diagonal()
    # What remains of a constant after a mean is taken off is rounding.
    varies = square > len(r) * (r.abs().amax(dim=0) * 1e-12).square()
    scale = torch.where(varies, square, 1.0)
    directions = torch.where(varies[:, None], products / scale[:, None], 0.0)
    directions.fill_diagonal_(1.0)
    return directions.float()


def checked_directions(directions: Tensor | None, num_units: int) -> Tensor | None:
    """Return directions [R, R] as float32 on the CPU after a check; None, for units set alone, stays None.

    Raises
    ------
    LisError : another shape, values that are not finite, a diagonal that is not all ones.

    Examples
    --------
    >>> checked_directions(companion_directions(pairs), link.num_units)
    """
    if directions is None:
        return None
    wanted = f"[{num_units}, {num_units}]"
    if not isinstance(directions, Tensor) or directions.shape != (num_units, num_units):
        given = list(directions.shape) if isinstance(directions, Tensor) else type(directions).__name__
        raise LisError(
            f"directions are {given}; a tensor {wanted} was expected, as from companion_directions"
        )
    directions = directions.detach().float().cpu()
    if not torch.isfinite(directions).all():
        raise LisError("directions have NaN or infinite values; finite ones were expected")
    if not torch.allclose(directions.diagonal(), torch.ones(num_units), atol=1e-6):
        worst = int((directions.diagonal() - 1).abs().argmax())
        raise LisError(
            f"directions[{worst}, {worst}] is {float(directions[worst, worst]):g}; the diagonal must be 1, so that "
            "setting a unit to a value gives it that value"
        )
    return directions
