"""Several results put below each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import LisError
from .result_files import same_tensor

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["join"]


def join(results: list[Counterfactuals], same_starts: bool) -> Counterfactuals:
    """Return the rows of several results below each other; see `Counterfactuals.concat`.

    Raises
    ------
    LisError
        As `Counterfactuals.concat`.

    Examples
    --------
    >>> join([to_coats, to_shirts], same_starts=True)
    """
    import pandas as pd

    if not results:
        raise LisError("there is no result to put together; give at least one.")
    first = results[0]
    hashes = [{k: v for k, v in one.provenance.items() if "hash" in k} for one in results]
    for number, one in enumerate(results):
        same = {
            "classes": one.classes == first.classes,
            "amounts": same_tensor(one.amounts, first.amounts),
            "units": one.r_start.shape[1] == first.r_start.shape[1],
            "models": hashes[number] == hashes[0],
            "kind of start": (one.images is None) == (first.images is None),
        }
        for name, fits in same.items():
            if not fits:
                raise LisError(
                    f"result {number} has other {name} than the first: they can't be put together."
                )
    tables, images, before = [], [], 0
    for one in results:
        table = one.table
        tables.append(table if same_starts else table.assign(start=table["start"] + before))
        count = 0 if not len(table) else int(table["start"].max()) + 1
        before += count if one.images is None else len(one.images)
        images.append(one.images)
    table = pd.concat(tables, ignore_index=True)
    r_start = torch.cat([one.r_start for one in results])
    if same_starts:
        _check_same_starts(table, r_start, images)
    settings = [one.settings for one in results]
    kept = [image for image in images if image is not None]
    return replace(
        first,
        table=table,
        r_start=r_start,
        r_end=torch.cat([one.r_end for one in results]),
        logits=torch.cat([one.logits for one in results]),
        images=(kept[0] if same_starts else torch.cat(kept)) if kept else None,
        settings=_joined(settings),
    )


def _joined(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep what all settings have in common, and the rest as a list of what each had."""
    common = {k: v for k, v in settings[0].items() if all(k in s and s[k] == v for s in settings)}
    others = [{k: v for k, v in one.items() if k not in common} for one in settings]
    return {**common, "parts": others} if any(others) else common


def _check_same_starts(table: pd.DataFrame, r_start: Tensor, images: list[Tensor | None]) -> None:
    first_row: dict[int, int] = {}
    for row, start in enumerate(table["start"].tolist()):
        if not same_tensor(r_start[first_row.setdefault(start, row)], r_start[row]):
            raise LisError(
                f"start {start} has other activations in one result than in another: use same_starts=False."
            )
    kept = [image for image in images if image is not None]
    if any(not same_tensor(kept[0], image) for image in kept[1:]):
        raise LisError("the results have other images: use same_starts=False.")
