"""Linear observers of a network's state (Allen 2021, arXiv 2103.08315): which attribute stands where, and how surely.

Examples
--------
>>> state = observe_state(classifier, photographs)
>>> attributes = class_attributes(photographs.labels, photographs.classes)
>>> print(train_observers(state, attributes))
>>> print(find_denoting_units(state, attributes))
"""

from __future__ import annotations

from .agreement import Agreement, agreement_figure, agreement_sheet, compare_with_ranking, score_units
from .attributes import (
    SUPERCLASSES,
    Attributes,
    Property,
    class_attributes,
    join_attributes,
    read_attributes,
    superclass_attributes,
    table_attributes,
)
from .denoting import DenotingUnits, find_denoting_units
from .depth import DepthDependence, depth_dependence
from .measured import STATISTICS, GeneratedPictures, draw_pictures, image_statistics, part_attributes
from .plots import denoting_figure, score_figure, sparse_figure, weight_figure
from .result import Observer, Observers
from .sparse import SparseObserver, train_sparse_observer
from .state import ALL_LAYERS, State, as_state, observe_state
from .train import attribute_split, train_observers

__all__ = [
    "ALL_LAYERS",
    "STATISTICS",
    "SUPERCLASSES",
    "Agreement",
    "Attributes",
    "DenotingUnits",
    "DepthDependence",
    "GeneratedPictures",
    "Observer",
    "Observers",
    "Property",
    "SparseObserver",
    "State",
    "agreement_figure",
    "agreement_sheet",
    "as_state",
    "attribute_split",
    "class_attributes",
    "compare_with_ranking",
    "denoting_figure",
    "depth_dependence",
    "draw_pictures",
    "find_denoting_units",
    "image_statistics",
    "join_attributes",
    "observe_state",
    "part_attributes",
    "read_attributes",
    "score_figure",
    "score_units",
    "sparse_figure",
    "superclass_attributes",
    "table_attributes",
    "train_observers",
    "train_sparse_observer",
    "weight_figure",
]
