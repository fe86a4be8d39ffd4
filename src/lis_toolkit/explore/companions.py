"""Several units set at once, with the units that usually move with them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError

__all__ = ["companion_change"]

# Directions that are a combination of others up to this share of their length always move together; what is left is
# rounding of float32 and of the regression.
SINGULAR = 1e-4
NEGLIGIBLE = 1e-3  # standard deviations: so little is set right afterwards


def companion_change(
    companions: Tensor, r: Tensor, values: dict[int, float], spread: Tensor | None = None
) -> Tensor:
    """Return the change of r that sets units to values and takes their companions along.

    A combination sum_j c_j D[j] of the rows of the units that are set, with c such that each of them has exactly its
    value: a small linear system, one equation a unit. One unit alone: (v - r_i) D[i], as in `tune_unit`.

    Parameters
    ----------
    companions : D [R, R], of `companion_directions`.
    r : [R], what the units are now.
    values : unit -> value.
    spread : [R], the units' standard deviations, so that units of another scale are weighed alike; None: ones.

    Returns
    -------
    change [R], float32.

    Raises
    ------
    LisError : units that always move together, so that they can't be set apart; they are named.

    Examples
    --------
    >>> r = r + companion_change(companion_directions(pairs), r, {17: 1.2, 3: 0.0})
    """
    units = list(values)
    scale = torch.ones(len(units)).double() if spread is None else spread[units].double().cpu()  # [n]
    rows = companions[units].double() * scale[:, None]  # [n, R], changes for one standard deviation of unit j
    system = rows[:, units].T / scale[:, None]  # [n, n], of unit i (row) for unit j (column); correlations
    wanted = (
        torch.tensor([values[u] for u in units], dtype=torch.float64) - r[units].double()
    ) / scale  # [n]
    left, strength, right = torch.linalg.svd(system)
    there = strength > SINGULAR * strength[0]  # [n]
    parts = left.T @ wanted  # [n]
    if bool((parts[~there].abs() > NEGLIGIBLE).any()):
        # What is asked for lies along combinations of units that stay as they are whatever is tried.
        bound = left[:, ~there].abs().amax(dim=1)  # [n]
        together = [unit for unit, share in zip(units, bound.tolist(), strict=True) if share > 0.1]
        raise LisError(
            f"units {' and '.join(map(str, together))} always move together, so with companions they can't be set to "
            "values of their own: leave all but one of them out, or set units alone."
        )
    amounts = right[there].T @ (parts[there] / strength[there])  # [n], in standard deviations
    return (amounts @ rows).float()
