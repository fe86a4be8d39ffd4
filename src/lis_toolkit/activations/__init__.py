"""Activations of any layer of a classifier: streamed, extracted, or sampled as points, all layers in one pass."""

from .batches import stream_activations
from .extract import extract_activations
from .fields import ReceptiveField, receptive_fields
from .foreground import foreground_masks
from .layers import Layer, choose_layers, list_layers
from .record import Recorded, record_activations
from .sampling import PointCloud, sample_points
from .store import Activations

__all__ = [
    "Activations",
    "Layer",
    "PointCloud",
    "ReceptiveField",
    "Recorded",
    "choose_layers",
    "extract_activations",
    "foreground_masks",
    "list_layers",
    "receptive_fields",
    "record_activations",
    "sample_points",
    "stream_activations",
]
