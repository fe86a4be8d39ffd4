"""Which images an observer learns from and which it is tested on: stratified, and whole groups together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import LisError
from ..names import finite_number, whole_number

__all__ = ["check_groups", "check_sharing", "split_rows"]

LEAST = 8  # images with a value; fewer can't be split and judged


def check_sharing(held_out: Any, folds: Any) -> tuple[float, int | None]:
    """Check how images are shared out.

    Raises
    ------
    LisError : a share outside 0 to 1, fewer than 2 folds.
    """
    share = finite_number(held_out, "held_out", " between 0 and 1")
    if not 0 < share < 1:
        raise LisError(f"held_out is {held_out!r}; a share between 0 and 1 was expected.")
    return share, None if folds is None else whole_number(folds, "folds", 2)


def check_groups(groups: Any, count: int) -> np.ndarray | None:
    """Return group numbers [N] of any labels, such as the photographer or the series of each image.

    Raises
    ------
    LisError : not one label an image, missing ones, or one group only.
    """
    if groups is None:
        return None
    given = groups.detach().cpu().numpy() if hasattr(groups, "detach") else np.asarray(groups)
    if given.shape != (count,):
        raise LisError(
            f"groups have shape {list(given.shape)} for {count} images; one label each was expected."
        )
    texts = given.astype(str)
    if any(text in ("nan", "None", "<NA>") for text in set(texts)):
        raise LisError("groups have missing labels; give every image its group.")
    numbers = np.unique(texts, return_inverse=True)[1]
    if numbers.max() == 0:
        raise LisError("all images are of one group: none can be held out; give groups=None.")
    return np.asarray(numbers)


def split_rows(
    values: np.ndarray,
    categorical: bool,
    *,
    held_out: float = 0.3,
    folds: int | None = None,
    groups: np.ndarray | None = None,
    seed: int | list[int] = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Share out rows [n] as pairs (training, held-out), ascending; one pair, or one a fold.

    Categories are shared out evenly, numbers by their order; a category of one row stays in the training part. Whole
    groups are held out together, then shares hold only as far as groups allow.

    Parameters
    ----------
    values : [n], without missing ones.

    Raises
    ------
    LisError : too few rows or groups for both parts.

    Examples
    --------
    >>> [(training, test)] = split_rows(np.array(["a", "b"] * 10, dtype=object), True)
    """
    n = len(values)
    rng = np.random.default_rng(seed)
    if n < LEAST:
        raise LisError(
            f"{n} images have a value; at least {LEAST} are needed to learn from some and test on others."
        )
    parts = folds if folds is not None else None
    if groups is not None:
        return _grouped(groups, held_out, parts, rng)
    draw = rng.random(n)
    if categorical:
        _, index, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
        single = counts[index] == 1
    else:
        index, single = (
            np.argsort(np.argsort(values, kind="stable"), kind="stable") * 10 // n,
            np.zeros(n, bool),
        )
    order = np.lexsort((draw, index))
    order = order[~single[order]]
    places = np.arange(len(order))
    if parts is None:
        offset = rng.random()
        taken = np.floor((places + 1) * held_out + offset) > np.floor(places * held_out + offset)
        chosen = [order[taken]]
    else:
        if parts > len(order):
            raise LisError(f"folds is {parts} for {len(order)} images; at most so many were expected.")
        chosen = [order[places % parts == fold] for fold in range(parts)]
    return _pairs(chosen, n)


def _grouped(
    groups: np.ndarray, held_out: float, folds: int | None, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deal groups in random order: to the held-out part until it is full, or to the fold with the fewest rows."""
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < (folds or 2):
        raise LisError(f"there are {len(names)} groups; at least {folds or 2} were expected.")
    order = rng.permutation(len(names))
    if folds is None:
        wanted, rows = max(1.0, held_out * len(groups)), 0
        taken: list[int] = []
        for group in order[: len(names) - 1]:
            if not taken or rows + sizes[group] <= wanted:
                taken.append(group)
                rows += sizes[group]
        return _pairs([np.flatnonzero(np.isin(index, taken))], len(groups))
    fold_of, filled = np.zeros(len(names), int), np.zeros(folds)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[group] = int(filled.argmin())
        filled[fold_of[group]] += sizes[group]
    return _pairs([np.flatnonzero(fold_of[index] == fold) for fold in range(folds)], len(groups))


def _pairs(held: list[np.ndarray], n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    pairs = []
    for rows in held:
        mask = np.zeros(n, bool)
        mask[rows] = True
        if mask.all() or not mask.any():
            raise LisError(
                f"of {n} images none would be left on one side: give more images, or another share."
            )
        pairs.append((np.flatnonzero(~mask), np.flatnonzero(mask)))
    return pairs
