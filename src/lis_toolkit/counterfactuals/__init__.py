"""Counterfactuals: the shortest way over the decision boundary, proven on the rendered picture."""

from __future__ import annotations

from .carrier_plots import carrier_figure
from .comparison import compare_methods, comparison_table
from .cycle import CycleLoss, cycle_loss
from .find import find_counterfactuals
from .margin_plots import margin_figure
from .measures import CounterfactualMeasures, measure_counterfactuals
from .part_carriers import part_carriers, part_sentence
from .rendered import Looker, Seen, rendered_margin
from .result import COLUMNS, START_IS_TARGET, Counterfactuals
from .sheets import counterfactual_sheet
from .shortest import Shifts, shortest_shift
from .sparse import sparse_shift
from .unit_carriers import unit_carriers

__all__ = [
    "COLUMNS",
    "START_IS_TARGET",
    "CounterfactualMeasures",
    "Counterfactuals",
    "CycleLoss",
    "Looker",
    "Seen",
    "Shifts",
    "carrier_figure",
    "compare_methods",
    "comparison_table",
    "counterfactual_sheet",
    "cycle_loss",
    "find_counterfactuals",
    "margin_figure",
    "measure_counterfactuals",
    "part_carriers",
    "part_sentence",
    "rendered_margin",
    "shortest_shift",
    "sparse_shift",
    "unit_carriers",
]
