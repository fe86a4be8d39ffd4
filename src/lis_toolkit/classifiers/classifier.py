"""Classifier: images -> penultimate activations -> logits, of any network, with preprocessing and class names."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import names
from ..errors import LisError
from ..files import sha256_tensors
from ..names import whole_number
from .penultimate import Split, apply_head, find_layer, is_linear, penultimate
from .preprocessing import (
    Preprocess,
    apply_preprocess,
    check_preprocess,
    describe_preprocess,
    probe_images,
)
from .search import find_split, unwrap


class Classifier(nn.Module):
    """A classifier in two steps: images -> penultimate activations r -> logits.

    Any `nn.Module` that maps images to logits will do: it is run once on random images to find its last linear layer,
    whose input is r, and left as it was. `explanation` says what was chosen; where it is not clear, a LisError lists
    the candidates.

    Parameters
    ----------
    module
        The network. One with a method `features(inputs) -> r` and an nn.Linear `head`, and either `mean` and `std`
        given or no `forward` of its own, is used through these two without a run.
    classes
        Names, in the order of the logits; default "class 0", "class 1", ...
    penultimate
        Name of the layer whose output is r, [N, R] or [N, R, 1, 1]. Default: r is what the head takes.
    head
        Name of the linear layer that makes the logits, or a module that makes [N, K] of [N, R]; False: the network is
        an encoder and its output (or `penultimate`) is r. Default: found.
    preprocess
        What the network was trained with, as a callable on batches [N, C, H, W] in the unit range, such as
        torchvision's `weights.transforms()`; must be differentiable and treat every image alone.
    mean, std
        In place of `preprocess`: per channel, of the unit range; networks see `(x - mean) / std`.
    channels, size
        Of the images: 1 or 3, and (height, width) in pixels; None: any size, which `preprocess` brings to one.
    name
        Shown in messages and reports.
    metadata
        What is known about it: training, accuracy.

    Attributes
    ----------
    explanation : str
        Where r and the logits are taken, and why.
    input_size : tuple of int
        (height, width) that the network sees after the preprocessing.
    size : tuple of int or None
    channels, num_units, num_classes : int

    Raises
    ------
    LisError
        When the head or r can't be told, `head(features(x))` is not the network's own output, answers change from call
        to call, the preprocessing is not one for batches, class names don't fit, or weights are NaN.

    Examples
    --------
    >>> classifier = Classifier(my_resnet.eval(), preprocess=weights.transforms(), classes=weights.meta["categories"])
    >>> print(classifier.explanation)
    >>> classifier.head(classifier.features(x)).argmax(1)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str] | None = None,
        *,
        penultimate: str | None = None,
        head: str | nn.Module | bool | None = None,
        preprocess: Preprocess | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels: int = 3,
        size: Sequence[int] | None = None,
        name: str = "classifier",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise LisError(f"{name} is made from a {type(module).__name__}; an nn.Module was expected.")
        self.network, note = unwrap(module)
        for weight in (*self.network.parameters(), *self.network.buffers()):
            if weight.is_meta or nn.parameter.is_lazy(weight):
                raise LisError(
                    f"{name} has weights without values (a meta device or a lazy layer): load its weights, or run it "
                    "once, first."
                )
        self.name = name
        self.metadata = dict(metadata or {})
        self.channels = channels
        self.size: tuple[int, int] | None = None if size is None else _height_width(size, name)
        native = penultimate is None and head is None and _is_native(self.network, mean is not None)
        self._set_preprocess(preprocess, mean, std, native)
        if isinstance(head, nn.Module) and all(inside is not head for inside in self.network.modules()):
            self.separate_head = head
        self.training = module.training
        if native:
            linear = self.network.head
            assert isinstance(linear, nn.Linear)
            text = f"r is what the method `features` gives, {linear.in_features} units, and its `head` makes "
            text += f"the logits: {linear.out_features} classes."
            self._split = Split("method", "", "head", linear.in_features, linear.out_features, text)
        else:
            probe = probe_images(channels, self.size or self.input_size).to(self.device, self.dtype)
            with torch.no_grad():
                inputs = self.preprocess(probe)
            self._split = find_split(self.network, inputs, penultimate, head, name)
        self.explanation = self._split.explanation + note
        self.classes = self._named(classes)
        if native:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPUs

    def _set_preprocess(
        self,
        preprocess: Preprocess | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        native: bool,
    ) -> None:
        """Take over the preprocessing, checked, and set `input_size`."""
        if self.channels not in (1, 3):
            raise LisError(f"{self.name} has {self.channels!r} channels; 1 or 3 was expected.")
        if preprocess is not None and (mean is not None or std is not None):
            raise LisError(
                f"{self.name} has a preprocess and a mean or std; give one of them, or normalise in it."
            )
        if (mean is None) != (std is None):
            raise LisError(f"{self.name} has only one of mean and std; give both.")
        if preprocess is not None and not callable(preprocess):
            raise LisError(
                f"preprocess is {preprocess!r}; a callable on images [N, C, H, W] was expected, such as "
                "torchvision's weights.transforms()."
            )
        if preprocess is None and self.size is None:
            raise LisError(
                f"{self.name} has neither a size nor a preprocess: give size=(height, width) of its images, or a "
                "preprocess that resizes, such as torchvision's weights.transforms()."
            )
        if mean is None and preprocess is None and native:
            mean, std = [0.0] * self.channels, [1.0] * self.channels
        self._preprocess = preprocess
        if mean is not None and std is not None:
            if len(mean) != self.channels or len(std) != self.channels:
                raise LisError(
                    f"{self.name} has {self.channels} channels, {len(mean)} means and {len(std)} standard deviations."
                )
            self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
            self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))
        if preprocess is None:
            assert self.size is not None
            self.input_size = self.size
        else:
            self.input_size = check_preprocess(preprocess, self.channels, self.size, self.name, self.device)

    def _named(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        if classes is None:
            return tuple(f"class {k}" for k in range(self.num_classes))
        own = tuple(str(c) for c in classes)
        if len(own) != self.num_classes:
            raise LisError(f"{self.name} has {self.num_classes} logits and {len(own)} class names.")
        twice = sorted({c for c in own if own.count(c) > 1}) if len(set(own)) < len(own) else []
        if twice:
            raise LisError(
                f"{self.name} has classes of one name ({', '.join(twice[:4])}): make them unique, for instance with "
                "lis_toolkit.names.unique_names(classes)."
            )
        return own

    @property
    def _linear(self) -> nn.Linear:
        head = self.network.head
        assert isinstance(head, nn.Linear)
        return head

    @property
    def has_head(self) -> bool:
        """Whether there are logits; False for an encoder."""
        return self._split.head is not None or "separate_head" in self._modules

    @property
    def num_units(self) -> int:
        """Number of penultimate units, R."""
        return self._linear.in_features if self._split.kind == "method" else self._split.num_units

    @property
    def num_classes(self) -> int:
        """Number of classes, K; 0 without a head."""
        return self._linear.out_features if self._split.kind == "method" else self._split.num_classes

    def _weight(self) -> Tensor | None:
        values = (v for v in self.network.parameters() if v.is_floating_point())
        return next(values, next((v for v in self.network.buffers() if v.is_floating_point()), None))

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where images must be."""
        weight = self._weight()
        return torch.device("cpu") if weight is None else weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        weight = self._weight()
        return torch.float32 if weight is None else weight.dtype

    @property
    def hash(self) -> str:
        """sha256 of weights, preprocessing and where r is taken: what a link remembers of its classifier."""  # noqa: D403
        weights = sha256_tensors(self.state_dict())
        if self._split.kind == "method" and self._preprocess is None:
            return weights  # mean and std are among the weights
        text = "\n".join([weights, describe_preprocess(self._preprocess), self._split.text])
        return hashlib.sha256(text.encode()).hexdigest()

    def preprocess(self, x: Tensor) -> Tensor:
        """Return network inputs [N, C, h, w] of images [N, C, H, W] in the unit range; differentiable.

        A grey image is repeated for the three channels of a network for colour.
        """
        if (
            x.ndim != 4
            or x.shape[1] not in {1, self.channels}
            or (self.size is not None and tuple(x.shape[2:]) != self.size)
        ):
            height, width = self.size or ("any height", "any width")
            raise LisError(
                f"the images have shape {list(x.shape)}; {self.name} takes [N, {self.channels}, {height}, {width}]."
            )
        if not x.is_floating_point():
            raise LisError(
                f"the images have dtype {x.dtype}; {self.name} takes floating values in [0, 1]. Use "
                'convert_range(x, "byte", "unit") for bytes.'
            )
        if x.shape[1] < self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        if self._preprocess is not None:
            return apply_preprocess(self._preprocess, x, self.name).to(
                self.dtype
            )  # torchvision's make float32
        return (x - self.mean) / self.std if "mean" in self._buffers else x

    def encode(self, inputs: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of what `preprocess` gives; differentiable."""
        return penultimate(self.network, self._split, inputs)

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of images [N, C, H, W] in the unit range; differentiable."""
        return self.encode(self.preprocess(x))

    def head(self, r: Tensor) -> Tensor:
        """Return logits [..., K] of penultimate activations [..., R]; differentiable."""
        if not self.has_head:
            raise LisError(
                f"{self.name} is an encoder without a head, it has no logits: make it with head=nn.Linear(...) to "
                "give it one, or use what needs r only."
            )
        if r.ndim < 1 or r.shape[-1] != self.num_units:
            raise LisError(
                f"r has shape {list(r.shape)}; {self.name} has {self.num_units} penultimate units."
            )
        inside = self._split.head
        return apply_head(self.separate_head if inside is None else find_layer(self.network, inside), r)

    def linear_head(self) -> tuple[Tensor, Tensor]:
        """Return weight [K, R] and bias [K] of the head, detached; a LisError where it is not one linear layer."""
        inside = self._split.head
        layer = None
        if self.has_head:
            layer = self.separate_head if inside is None else find_layer(self.network, inside)
        if layer is None or not is_linear(layer):
            has = f"the head {type(layer).__name__}" if layer is not None else "no head"
            raise LisError(f"{self.name} has {has}; one linear layer from r to the logits was expected.")
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        weight = layer.weight.detach().flatten(1)  # [K, R]
        return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()

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


def _height_width(size: Sequence[int], name: str) -> tuple[int, int]:
    if isinstance(size, int) or len(size) != 2:
        raise LisError(f"size of {name} is {size!r}; (height, width) in pixels was expected.")
    return whole_number(size[0], "height", 1), whole_number(size[1], "width", 1)


def _is_native(network: nn.Module, normalised: bool) -> bool:
    """Whether a network names its two steps itself: a method `features`, and an nn.Linear `head`.

    With a `forward` of its own it may mean something else by them (Swin has layers of these names), unless mean and
    std were given, as they are for our own architectures.
    """
    named = inspect.ismethod(getattr(network, "features", None)) and isinstance(
        getattr(network, "head", None), nn.Linear
    )
    return named and (normalised or type(network).forward is nn.Module.forward)
