"""Classifiers by name: the bundled ones and files of our own; `Classifier` takes any other network."""

from __future__ import annotations

import os

import torch

from . import zoo
from .architectures import (
    ARCHITECTURES,
    PlainNet,
    ResidualNet,
    build_network,
    complete_config,
)
from .classifier import Classifier
from .classifier_files import fold_norms, read_classifier, save_classifier
from .errors import LisError

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


def load_classifier(
    name_or_path: str | os.PathLike[str], device: str | torch.device | None = None
) -> Classifier:
    """Load a classifier for evaluation: "fashion", "fashion-judge", or a file of `save_classifier`.

    Returns
    -------
    Classifier
        In evaluation mode, weights frozen (gradients flow to images, not to weights), on `device` (default: CPU).

    Raises
    ------
    LisError
        For an unknown name or device.
    CheckpointError
        For a file that is damaged, altered, or not a classifier.

    Examples
    --------
    >>> classifier = load_classifier("fashion")
    >>> classifier.classes[classifier.logits(photographs.images[:1]).argmax()]
    'Ankle boot'
    """
    classifier = read_classifier(zoo.locate(name_or_path, ("classifier", "judge")))
    try:
        classifier = classifier.to(device or "cpu")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LisError(f"no device {str(device)!r} here: {error}") from error
    return classifier.eval().requires_grad_(False)
