"""Counterfactuals: the shortest way over the decision boundary, proven on the rendered picture."""

from __future__ import annotations

from .agreement import head_agreement, head_margins
from .boundary import locate_boundary
from .carrier_plots import carrier_figure
from .class_distances import ClassDistances, class_distances
from .code import counterfactual_code
from .comparison import compare_methods, comparison_table
from .cycle import CycleLoss, cycle_loss
from .distance_plots import distance_embedding, distance_map
from .find import find_counterfactuals
from .margin_plots import margin_figure
from .measures import CounterfactualMeasures, measure_counterfactuals
from .part_carriers import part_carriers, part_sentence
from .passages import passed_classes
from .rendered import Looker, Seen, rendered_margin
from .result import COLUMNS, START_IS_TARGET, Counterfactuals
from .session import CounterfactualSession
from .setting import CounterfactualSetting
from .sheets import counterfactual_sheet
from .shortest import Shifts, shortest_shift
from .sparse import sparse_shift
from .state import CounterfactualState
from .stopping import Stopped, stoppable
from .unit_carriers import unit_carriers
from .way import Way

__all__ = [
    "COLUMNS",
    "START_IS_TARGET",
    "ClassDistances",
    "CounterfactualMeasures",
    "CounterfactualSession",
    "CounterfactualSetting",
    "CounterfactualState",
    "Counterfactuals",
    "CycleLoss",
    "Looker",
    "Seen",
    "Shifts",
    "Stopped",
    "Way",
    "carrier_figure",
    "class_distances",
    "compare_methods",
    "comparison_table",
    "counterfactual_code",
    "counterfactual_sheet",
    "cycle_loss",
    "distance_embedding",
    "distance_map",
    "find_counterfactuals",
    "head_agreement",
    "head_margins",
    "locate_boundary",
    "margin_figure",
    "measure_counterfactuals",
    "part_carriers",
    "part_sentence",
    "passed_classes",
    "rendered_margin",
    "shortest_shift",
    "sparse_shift",
    "stoppable",
    "unit_carriers",
]
