"""Selectivity: which unit changes what, how surely, and whether real photographs agree."""

from .changes import UnitChanges, unit_changes
from .files import load_scores, save_scores
from .ranking import rank_units
from .score import score_selectivity

__all__ = [
    "UnitChanges",
    "load_scores",
    "rank_units",
    "save_scores",
    "score_selectivity",
    "unit_changes",
]
