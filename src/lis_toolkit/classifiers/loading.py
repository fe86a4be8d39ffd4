"""Classifiers by name: the bundled ones, torchvision's, timm's, and files; `Classifier` takes any other network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from .. import zoo
from ..devices import place
from ..errors import LisError
from .classifier import Classifier
from .preprocessing import Preprocess
from .saved import read_classifier
from .timm_models import load_timm
from .torchvision_models import load_torchvision

_OWN_FILE = {"weights": "default", "seed": 0, "classes": None, "preprocess": None, "head": None}


def load_classifier(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    *,
    weights: str | os.PathLike[str] | None = "default",
    seed: int = 0,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    head: bool | None = None,
    progress: bool = True,
) -> Classifier:
    """Load a classifier for evaluation, by name or from a file.

    Parameters
    ----------
    name_or_path
        "fashion", "fashion-judge", a file of `save_classifier`; one of torchvision's image classifiers, such as
        "resnet50" or, with other weights than torchvision's default, "resnet50.IMAGENET1K_V1"; one of timm's as
        "timm:NAME" (an extra: `pip install "lis-toolkit[timm]"`).
    device
        Default: CPU.
    weights
        For torchvision and timm. "default": the published ones, downloaded at the first use; the name of others; a path
        to one's own (a state dict as safetensors or of torch.save; the number of classes is taken from it); None:
        random ones, for trying things out without a network connection.
    seed
        Of random weights.
    classes, preprocess
        For torchvision and timm, in place of those that belong to the published weights. With weights of one's own and
        without `classes`, they are "class 0", "class 1", ...
    head
        For torchvision and timm. False: an encoder, without the last linear layer.
    progress
        Show a download.

    Returns
    -------
    Classifier
        In evaluation mode, weights frozen (gradients flow to images, not to weights). `explanation` says where r and
        the logits are taken.

    Raises
    ------
    LisError
        For an unknown name or device, and when a download fails.
    CheckpointError
        For a file that is damaged, altered, or not a classifier, and for weights of another network.

    Examples
    --------
    >>> classifier = load_classifier("fashion")
    >>> classifier.classes[classifier.logits(photographs.images[:1]).argmax()]
    'Ankle boot'
    >>> load_classifier("resnet50").num_units
    2048
    """
    options: dict[str, Any] = {"weights": weights, "seed": seed, "classes": classes, "preprocess": preprocess}
    options["head"] = head
    text = name_or_path if isinstance(name_or_path, str) else ""
    if text.startswith("timm:"):
        classifier = load_timm(text.removeprefix("timm:"), **options)
    elif (
        entry := zoo.find(text, "classifier") if text else None
    ) is not None and entry.torchvision is not None:
        architecture, published = entry.torchvision
        if isinstance(weights, str) and weights.isupper() and not os.path.exists(weights):
            named = zoo.find(
                f"{architecture}.{weights}", "classifier"
            )  # a LisError, if there are none of this name
            architecture, published = (named or entry).torchvision or entry.torchvision
            options["weights"] = "default"
        classifier = load_torchvision(architecture, published, progress=progress, **options)
    else:
        given = [k for k, v in options.items() if v != _OWN_FILE[k]]
        path = zoo.locate(name_or_path, ("classifier", "judge"), progress)
        if given:
            raise LisError(
                f"{', '.join(given)} can't be given for {name_or_path!s}, whose file says all; they are for "
                "torchvision's and timm's models, as in load_classifier('resnet50', weights=PATH)."
            )
        classifier = read_classifier(path)
    return place(classifier, device).eval().requires_grad_(False)
