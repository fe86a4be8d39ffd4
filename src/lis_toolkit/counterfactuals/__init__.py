"""Counterfactuals: the shortest way over the decision boundary, proven on the rendered picture."""

from __future__ import annotations

from .find import find_counterfactuals
from .rendered import Looker, Seen, rendered_margin
from .result import COLUMNS, START_IS_TARGET, Counterfactuals
from .shortest import Shifts, shortest_shift
from .sparse import sparse_shift

__all__ = [
    "COLUMNS", "START_IS_TARGET", "Counterfactuals", "Looker", "Seen", "Shifts", "find_counterfactuals",
    "rendered_margin", "shortest_shift", "sparse_shift",
]  # fmt: skip
