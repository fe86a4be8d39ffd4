"""The shape of activations: persistence of point clouds, distances of layers, mapper graphs and their purity."""

from __future__ import annotations

from .agreement import Agreement, compare_trainings
from .diagrams import Diagrams
from .distances import diagram_distances, sliced_wasserstein
from .knee import Knee, find_knee, neighbour_distances
from .layer_distances import LayerDistances, layer_distances, training_distances
from .link_shape import LinkShapes, compare_link_shapes
from .mapper import mapper_graph
from .mapper_graph import MapperGraph
from .mapper_plots import mapper_figure, mapper_sheet
from .persistence import PersistencePlan, persistence_diagrams, plan_persistence
from .plots import agreement_figure, diagram_figure, distance_figure, link_shape_figure
from .purity import Purity, Trend, purity, purity_by_layer, purity_trend
from .purity_plots import purity_figure
from .similarity import Similarity, linear_cka, representational_similarity

__all__ = [
    "Agreement",
    "Diagrams",
    "Knee",
    "LayerDistances",
    "LinkShapes",
    "MapperGraph",
    "PersistencePlan",
    "Purity",
    "Similarity",
    "Trend",
    "agreement_figure",
    "compare_link_shapes",
    "compare_trainings",
    "diagram_distances",
    "diagram_figure",
    "distance_figure",
    "find_knee",
    "layer_distances",
    "linear_cka",
    "link_shape_figure",
    "mapper_figure",
    "mapper_graph",
    "mapper_sheet",
    "neighbour_distances",
    "persistence_diagrams",
    "plan_persistence",
    "purity",
    "purity_by_layer",
    "purity_figure",
    "purity_trend",
    "representational_similarity",
    "sliced_wasserstein",
    "training_distances",
]
