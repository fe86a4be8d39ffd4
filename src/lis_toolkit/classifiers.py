"""Classifiers: images -> penultimate activations -> logits, with preprocessing and class names in one module.

The architectures of the bundled models are here too. A file names one of `ARCHITECTURES` and gives its numbers as
JSON; nothing in a file is executed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import names, zoo
from .errors import CheckpointError, LisError
from .files import load_tensors, provenance, save_tensors, sha256_tensors

FORMAT = "lis-classifier-1"


def _same_conv(
    inputs: int, outputs: int, kernel: int, stride: int, norm: bool, groups: int = 1
) -> nn.Sequential:
    """Convolution, followed by batch normalisation or, where that has been folded in, by nothing."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs)) if norm else nn.Sequential(conv)


class PlainNet(nn.Module):
    """A plain stack: 3x3 convolution, batch normalisation, ReLU; every stage halves the image.

    Penultimate: global average over the last ReLU, so activations are >= 0, one for each channel of the last stage.

    Parameters
    ----------
    stages
        (channels, number of convolutions) of each stage; the first convolution of a stage has stride 2.
    norm
        False: batch normalisation is folded into the convolutions (how models are shipped; they can't be trained on).
    dropout
        Of whole penultimate units, in training.
    """

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 10,
        stem: int = 32,
        stages: Sequence[Sequence[int]] = ((64, 2), (128, 3), (256, 2)),
        norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_same_conv(channels, stem, 3, 1, norm), nn.ReLU(inplace=True)]
        width = stem
        for stage, count in stages:
            for i in range(count):
                layers += [_same_conv(width, stage, 3, 2 if i == 0 else 1, norm), nn.ReLU(inplace=True)]
                width = stage
        self.body = nn.Sequential(*layers)
        self.dropout = dropout
        self.head = nn.Linear(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of normalised images [N, C, H, W]."""
        r = self.body(x).mean((2, 3))  # [N, R]
        return F.dropout(r, self.dropout, self.training)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al. 2015), with SiLU."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first = _same_conv(width, width, 3, 1, norm)
        self.second = _same_conv(width, width, 3, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width, h, w] for the same shape."""
        return F.silu(x + self.second(F.silu(self.first(x))))


class ResidualNet(nn.Module):
    """A residual net with SiLU, a 5x5 stem of stride 2 and a narrow last linear layer; the judge's architecture.

    Penultimate: global average, then a linear layer to `units` and SiLU.
    """

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 10,
        stem: int = 48,
        stages: Sequence[Sequence[int]] = ((48, 2), (96, 2), (192, 1)),
        units: int = 192,
        norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_same_conv(channels, stem, 5, 2, norm), nn.SiLU()]
        width = stem
        for i, (stage, count) in enumerate(stages):
            layers += [_same_conv(width, stage, 3, 1 if i == 0 else 2, norm), nn.SiLU()]
            layers += [_ResidualBlock(stage, norm) for _ in range(count)]
            width = stage
        self.body = nn.Sequential(*layers)
        self.neck = nn.Linear(width, units)
        self.dropout = dropout
        self.head = nn.Linear(units, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of normalised images [N, C, H, W]."""
        r = F.silu(self.neck(self.body(x).mean((2, 3))))  # [N, R]
        return F.dropout(r, self.dropout, self.training)


ARCHITECTURES: dict[str, type[nn.Module]] = {"plain": PlainNet, "residual": ResidualNet}


class Classifier(nn.Module):
    """A classifier in two steps: images -> penultimate activations r -> logits, head linear.

    Parameters
    ----------
    network
        Module with `features(normalised images [N, C, H, W]) -> [N, R]` and `head`, an `nn.Linear`.
    classes
        Names, in the order of the logits.
    channels, size
        Of the images: 1 or 3, and (height, width) in pixels.
    mean, std
        Per channel, of the unit range: networks see `(x - mean) / std`.
    name
        Shown in messages and reports.
    metadata
        What a file said about it: training, accuracy.

    Examples
    --------
    >>> classifier = load_classifier("fashion")
    >>> classifier.head(classifier.features(x)).argmax(1)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        *,
        channels: int,
        size: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        name: str = "classifier",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = tuple(classes)
        self.channels = channels
        self.size = (int(size[0]), int(size[1]))
        self.name = name
        self.metadata = dict(metadata or {})
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))
        if not isinstance(getattr(network, "head", None), nn.Linear) or not hasattr(network, "features"):
            raise LisError(f"{type(network).__name__} must have a method `features` and an nn.Linear `head`.")
        if len(self.classes) != self.num_classes:
            raise LisError(f"{name} has {self.num_classes} logits and {len(self.classes)} class names.")
        if len(mean) != channels or len(std) != channels:
            raise LisError(
                f"{name} has {channels} channels, {len(mean)} means and {len(std)} standard deviations."
            )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPUs

    @property
    def _linear(self) -> nn.Linear:
        head = self.network.head
        assert isinstance(head, nn.Linear)
        return head

    @property
    def num_units(self) -> int:
        """Number of penultimate units, R."""
        return self._linear.in_features

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return self._linear.out_features

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where images must be."""
        return self._linear.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        return self._linear.weight.dtype

    @property
    def hash(self) -> str:
        """sha256 of weights and preprocessing: what a link remembers of its classifier."""  # noqa: D403
        return sha256_tensors(self.state_dict())

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of images [N, C, H, W] in the unit range; differentiable."""
        if x.ndim != 4 or x.shape[1] != self.channels or tuple(x.shape[2:]) != self.size:
            height, width = self.size
            raise LisError(
                f"the images have shape {list(x.shape)}; {self.name} takes [N, {self.channels}, {height}, {width}]."
            )
        r: Tensor = self.network.features((x - self.mean) / self.std)  # type: ignore[operator]
        return r

    def head(self, r: Tensor) -> Tensor:
        """Return logits [..., K] of penultimate activations [..., R]; differentiable."""
        if r.ndim < 1 or r.shape[-1] != self.num_units:
            raise LisError(
                f"r has shape {list(r.shape)}; {self.name} has {self.num_units} penultimate units."
            )
        logits: Tensor = self._linear(r)
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [N, K] of images [N, C, H, W] in the unit range; differentiable."""
        return self.head(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return `logits(x)`."""
        return self.logits(x)

    def class_index(self, which: str | int) -> int:
        """Return the index of a class given by name or index; a LisError with a hint if there is none."""
        return names.class_index(which, self.classes, self.name)

    def class_indices(self, which: Iterable[str | int] | str | int | None) -> list[int]:
        """Return the indices of several classes, all for None; an empty list or a repetition is a LisError."""
        return names.class_indices(which, self.classes, self.name)


def _architecture(name: str) -> type[nn.Module]:
    if name not in ARCHITECTURES:
        hint = names.spelling_hint(str(name), ARCHITECTURES)
        raise CheckpointError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}.{hint}")
    return ARCHITECTURES[name]


def complete_config(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with the architecture's own defaults written out, so that files outlive a change of them."""
    parameters = inspect.signature(_architecture(architecture)).parameters
    return {**{name: p.default for name, p in parameters.items()}, **config}


def build_network(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Build one of `ARCHITECTURES` from its keyword arguments."""
    try:
        return _architecture(architecture)(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{architecture} can't be built from {dict(config)}: {error}.") from error


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
    """
    known = {**classifier.metadata, **(metadata or {})}
    if known.get("architecture") not in ARCHITECTURES or "config" not in known:
        raise LisError(
            f"{classifier.name} has architecture {known.get('architecture')!r} in its metadata; to be saved it must be "
            f"one of {', '.join(ARCHITECTURES)}, with its config."
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
    path = zoo.locate(name_or_path, ("classifier", "judge"))
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a classifier of lis_toolkit (format {metadata.get('format')!r})."
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
    try:
        classifier = classifier.to(device or "cpu")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LisError(f"no device {str(device)!r} here: {error}") from error
    return classifier.eval().requires_grad_(False)
