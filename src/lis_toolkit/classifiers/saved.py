"""Classifier files: safetensors with a description, from which a bundled architecture is rebuilt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, LisError
from ..files import load_tensors, provenance, save_tensors, sha256_tensors
from .architectures import ARCHITECTURES, build_network
from .classifier import Classifier

FORMAT = "lis-classifier-1"
_WEIGHTS_ALONE = (
    ' If it holds weights alone, name their network: load_classifier("resnet50", weights=PATH), or load them into your '
    "module and make it a Classifier(module, ...)."
)


def fold_norms(classifier: Classifier) -> None:
    """Fold each batch normalisation into the convolution before it, in place; for evaluation only."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in classifier.eval().modules():
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, norm = module
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[0] = fuse_conv_bn_eval(conv, norm)
                del module[1]
    classifier.metadata["config"] = {**classifier.metadata["config"], "norm": False}
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_classifier(
    classifier: Classifier, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Save a classifier of a known architecture as safetensors, with all that is needed to rebuild it.

    Parameters
    ----------
    classifier
        Its `metadata` has "architecture" and "config", which `build_network` built it from.
    metadata
        More to keep, as JSON: training, measured accuracy.

    Raises
    ------
    LisError
        When the architecture is not one of `ARCHITECTURES`, or the folder can't be written.

    Examples
    --------
    >>> save_classifier(classifier, "classifier.safetensors", {"accuracy": 0.93})
    """
    known = {**classifier.metadata, **(metadata or {})}
    kind = ARCHITECTURES.get(str(known.get("architecture")))
    if (
        kind is None
        or "config" not in known
        or not isinstance(classifier.network, kind)
        or classifier.size is None
    ):
        raise LisError(
            f"{classifier.name} is a {type(classifier.network).__name__} with architecture "
            f"{known.get('architecture')!r} in its metadata; only {', '.join(ARCHITECTURES)}, with their config, can "
            "be rebuilt from a file. Keep the weights of any other network yourself (its own state_dict(), as "
            "safetensors or with torch.save), and make it a Classifier(module, ...) again."
        )
    tensors = classifier.state_dict()
    described = {
        "format": FORMAT,
        "name": classifier.name,
        "classes": list(classifier.classes),
        "channels": classifier.channels,
        "size": list(classifier.size),
        "mean": classifier.mean.flatten().tolist(),
        "std": classifier.std.flatten().tolist(),
        "sha256": sha256_tensors(tensors),
    }
    save_tensors(path, tensors, {"provenance": provenance(), **known, **described})


def read_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read a file of `save_classifier`, on the CPU.

    Raises
    ------
    CheckpointError
        For a file that is damaged, altered, or not a classifier.
    """
    try:
        tensors, metadata = load_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_WEIGHTS_ALONE if _is_torch_file(path) else ''}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a classifier of lis_toolkit (format {metadata.get('format')!r})."
            f"{'' if metadata else _WEIGHTS_ALONE}"
        )
    try:
        network = build_network(metadata["architecture"], metadata["config"])
        classifier = Classifier(
            network,
            metadata["classes"],
            channels=metadata["channels"],
            size=metadata["size"],
            mean=metadata["mean"],
            std=metadata["std"],
            name=metadata["name"],
            metadata=metadata,
        )
        classifier.load_state_dict(tensors)
    except (KeyError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its own description: {error}.") from error
    if classifier.hash != metadata.get("sha256"):
        raise CheckpointError(
            f"{path} has other weights than its sha256 says: it was altered. Get the file again."
        )
    return classifier


def _is_torch_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by torch.save: a zip archive, or a pickle."""
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((b"PK\x03\x04", b"\x80"))
    except OSError:
        return False
