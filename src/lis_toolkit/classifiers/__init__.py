"""Classifiers: any network as images -> penultimate activations -> logits; by name, from files, or one's own."""

from .architectures import (
    ARCHITECTURES,
    PlainNet,
    ResidualNet,
    build_network,
    complete_config,
)
from .classifier import Classifier
from .loading import load_classifier
from .saved import fold_norms, save_classifier

__all__ = [
    "ARCHITECTURES",
    "Classifier",
    "PlainNet",
    "ResidualNet",
    "build_network",
    "complete_config",
    "fold_norms",
    "load_classifier",
    "save_classifier",
]
