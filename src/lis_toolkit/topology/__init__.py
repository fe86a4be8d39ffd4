"""The shape of activations: mapper graphs of point clouds and how purely they separate classes."""

from __future__ import annotations

from .knee import Knee, find_knee, neighbour_distances
from .mapper import mapper_graph
from .mapper_graph import MapperGraph
from .purity import Purity, Trend, purity, purity_by_layer, purity_trend

__all__ = [
    "Knee",
    "MapperGraph",
    "Purity",
    "Trend",
    "find_knee",
    "mapper_graph",
    "neighbour_distances",
    "purity",
    "purity_by_layer",
    "purity_trend",
]
