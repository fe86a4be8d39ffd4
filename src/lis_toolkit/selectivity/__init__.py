"""Selectivity: which unit changes what, how surely, and whether real photographs agree."""

from .changes import UnitChanges, unit_changes
from .files import load_scores, save_scores
from .occurrence import part_occurrence
from .photograph_measures import measure_cycled, measure_photographs
from .photographs import PhotographCheck, check_on_photographs
from .ranking import rank_units
from .score import score_selectivity

__all__ = [
    "PhotographCheck",
    "UnitChanges",
    "check_on_photographs",
    "load_scores",
    "measure_cycled",
    "measure_photographs",
    "part_occurrence",
    "rank_units",
    "save_scores",
    "score_selectivity",
    "unit_changes",
]
