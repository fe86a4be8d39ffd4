"""What a search for counterfactuals gives: a tidy table, and the paths it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

START_IS_TARGET = "start is target"  # the reason of rows in which nothing was to be searched
COLUMNS = (
    "start", "origin", "cycled", "target", "success", "reason", "way", "steps", "renders", "seconds", "distance_r",
    "distance_r_sd", "distance_w", "units_90", "margin_start", "margin_end", "margin_head", "cycle_error", "monotone",
)  # fmt: skip


@dataclass(frozen=True)
class Counterfactuals:
    """Counterfactuals of N rows, one for each start and target; tensors on the CPU, float32.

    Attributes
    ----------
    table : one row each, columns `COLUMNS`.
    r_start, r_end : [N, R].
    amounts : [P], from 0 to 1.
    logits : [N, P, K], of the rendered pictures along lerp(r_start, r_end, amounts).
    images : [S, C, H, W], the photographs that were given, or None.
    classes : names of the classes, K.
    settings, provenance : what was asked; hashes, versions, date.
    """

    table: pd.DataFrame
    r_start: Tensor
    r_end: Tensor
    amounts: Tensor
    logits: Tensor
    images: Tensor | None
    classes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)
