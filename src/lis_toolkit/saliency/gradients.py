"""Gradients of a class score, or of a penultimate unit, by the maps of many layers: one pass forward, one back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, backends

from ..activations import Layer, list_layers, record_activations
from ..activations.layers import choose_layers
from ..classifiers import Classifier
from ..classifiers.penultimate import evaluating
from ..datasets import Photographs
from ..errors import LisError
from ..features import check_images_for
from ..names import whole_number

__all__ = [
    "LayerGradients",
    "Question",
    "ask",
    "checked_images",
    "layer_gradients",
    "seen_part",
    "spatial_layers",
]

LAST = 9  # convolutions, from the end: those of the paper
_SWITCHES = threading.Lock()


@dataclass(frozen=True, eq=False)
class Question:
    """What is explained of N images: one class each, or one penultimate unit.

    Attributes
    ----------
    targets : int64 [N], or None for the class that the classifier sees.
    unit : index, or None for a class.
    """

    targets: Tensor | None
    unit: int | None

    def rows(self, part: slice) -> Question:
        """Return the question for some of the images."""
        return Question(None if self.targets is None else self.targets[part], self.unit)


@dataclass(frozen=True, eq=False)
class LayerGradients:
    """Maps of layers and the gradients of a score by them; float32, on the classifier's device.

    Attributes
    ----------
    maps, gradients : layer's name -> [N, C, h, w].
    r : [N, R].
    logits : [N, K], None for an encoder.
    targets : int64 [N], None where a unit is explained.
    scores : [N], the logits or activations that were derived.
    """

    maps: dict[str, Tensor]
    gradients: dict[str, Tensor]
    r: Tensor
    logits: Tensor | None
    targets: Tensor | None
    scores: Tensor


def checked_images(classifier: Classifier, x: Any) -> Tensor:
    """Return images [N, C, H, W], of Photographs their images, after a check.

    Raises
    ------
    LisError : images that the classifier doesn't take.

    Examples
    --------
    >>> checked_images(classifier, load_fashion("sample")).shape
    torch.Size([1000, 1, 32, 32])
    """
    return check_images_for(classifier, x.images if isinstance(x, Photographs) else x)


def ask(classifier: Classifier, count: int, target: Any = None, unit: Any = None) -> Question:
    """Say what is explained of `count` images: a class (one for all, or one an image), or a unit.

    Parameters
    ----------
    target : name or index, or a list or tensor of `count` of them; None: what the classifier sees.
    unit : index of a penultimate unit, or a name such as "unit 17".

    Raises
    ------
    LisError : both, classes or units that there are not, another number of classes, a class of an encoder.

    Examples
    --------
    >>> ask(classifier, 3, "Coat").targets
    tensor([4, 4, 4])
    """
    if unit is not None:
        if target is not None:
            raise LisError(
                f"a class ({target!r}) and a unit ({unit!r}) were given; one of them can be explained."
            )
        return Question(None, _unit_index(classifier, unit))
    if not classifier.has_head:
        raise LisError(
            f"{classifier.name} is an encoder without a head, it has no class scores: give unit=, the penultimate unit "
            "that is to be explained."
        )
    if target is None:
        return Question(None, None)
    if isinstance(target, Tensor | np.ndarray):
        if np.ndim(target) > 1:
            raise LisError(f"the targets have shape {list(target.shape)}; one class an image was expected.")
        target = target.tolist()
    if isinstance(target, str) or not isinstance(target, Iterable):
        return Question(torch.full((count,), classifier.class_index(target)), None)
    indices = [classifier.class_index(each) for each in target]
    if len(indices) != count:
        raise LisError(
            f"{len(indices)} targets were given for {count} images; one for all, or one each, was expected."
        )
    return Question(torch.tensor(indices), None)


def _unit_index(classifier: Classifier, unit: Any) -> int:
    text = unit.removeprefix("unit ") if isinstance(unit, str) else ""
    number = int(text) if text.isascii() and text.isdigit() else unit
    return whole_number(number, "unit", 0, classifier.num_units - 1)


def spatial_layers(
    classifier: Classifier, layers: Sequence[str | Layer] | str | Layer | None = None
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Return the layers to explain, those with positions, and a sentence on those that are left out.

    Parameters
    ----------
    layers : names or Layers; default: the last nine convolutions, as in the paper.

    Raises
    ------
    LisError : layers that there are not, none that has positions.

    Examples
    --------
    >>> layers, notes = spatial_layers(classifier)
    """
    if layers is None:
        chosen = tuple(layer for layer in list_layers(classifier) if layer.kind == "conv")[-LAST:]
    else:
        chosen = choose_layers(classifier, layers)
    # Tokens of a transformer stand in a row, without a place on the image.
    flat = [layer for layer in chosen if len(layer.shape) != 3 or " tokens" in layer.title]
    kept = tuple(layer for layer in chosen if layer not in flat)
    if not kept:
        named = ", ".join(repr(layer.name) for layer in flat) or "none at all"
        raise LisError(
            f"no layer of {classifier.name} to explain has positions (given or found: {named}); convolutions have, see "
            "list_layers(classifier, 'all')."
        )
    if not flat:
        return kept, ()
    left = ", ".join(f"{layer.name} {list(layer.shape)}" for layer in flat)
    return kept, (f"Left out, because their activations have no place on the image: {left}.",)


@contextlib.contextmanager
def _same_arithmetic() -> Iterator[None]:
    """Let convolutions on CPUs sum in an order that does not depend on the size of the batch.

    The quick ones differ in the last bits from one batch size to another, which t-SNE makes visible.
    """
    with _SWITCHES:  # they are the process's: two threads must not restore each other's
        before = [(library, library.set_flags(False)[0]) for library in (backends.mkldnn, backends.nnpack)]
        try:
            yield
        finally:
            for library, enabled in before:
                library.set_flags(enabled)


def layer_gradients(
    classifier: Classifier, x: Tensor, layers: Sequence[Layer], question: Question
) -> LayerGradients:
    """Return maps of layers and the gradients of a score by them: one pass forward and one back for all of a batch.

    The score is the logit of the class, before any softmax, or the activation of a penultimate unit. Images don't see
    each other, so that the gradient of the scores' sum is each image's own.

    Parameters
    ----------
    x : [N, C, H, W] in the unit range.

    Raises
    ------
    LisError : a layer that the score does not depend on, a network that can't be run with gradients, gradients that are
        NaN or infinite.

    Examples
    --------
    >>> found = layer_gradients(classifier, x, layers, ask(classifier, len(x), "Coat"))
    """
    names = [layer.name for layer in layers]
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier), _same_arithmetic():
        own = x.detach().to(classifier.device, classifier.dtype)
        own = own.clone() if own.is_inference() else own
        # From here on gradients flow, be the preprocessing differentiable and the weights frozen or not.
        inputs = classifier.preprocess(own).detach().requires_grad_(True)
        try:
            with record_activations(classifier, layers, detach=False) as recorded:
                r = classifier.encode(inputs)  # [N, R]
                logits = classifier.head(r) if classifier.has_head else None  # [N, K]
                maps = [recorded[name] for name in names]
        except RuntimeError as error:  # weights made under inference_mode, hooks that forbid in-place layers
            raise LisError(f"{classifier.name} can't be run with gradients: {error}") from error
        targets = None
        if question.unit is not None:
            scores = r[:, question.unit]
        else:
            assert logits is not None
            targets = logits.argmax(1) if question.targets is None else question.targets.to(logits.device)
            scores = logits.gather(1, targets[:, None])[:, 0]
        reached = [value.requires_grad for value in maps]
        if not (scores.requires_grad and all(reached)):
            name = names[reached.index(False)] if not all(reached) else names[-1]
            raise LisError(
                f"no gradient flows through layer {name!r} of {classifier.name}: it runs under no_grad or detaches."
            )
        found = torch.autograd.grad(scores.sum(), maps, allow_unused=True)
    gradients = {}
    for name, value in zip(names, found, strict=True):
        if value is None:
            raise LisError(f"the score of {classifier.name} does not depend on layer {name!r}: leave it out.")
        if not bool(torch.isfinite(value).all()):
            raise LisError(
                f"the gradients by layer {name!r} of {classifier.name} have NaN or infinite values."
            )
        gradients[name] = value.float()
    return LayerGradients(
        {name: value.detach().float() for name, value in zip(names, maps, strict=True)},
        gradients,
        r.detach().float(),
        None if logits is None else logits.detach().float(),
        targets,
        scores.detach().float(),
    )


def seen_part(classifier: Classifier, x: Tensor) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the part of images [N, C, H, W] that reaches the network.

    Preprocessing often cuts the centre out: pixels by which no input changes are not seen.

    Examples
    --------
    >>> seen_part(classifier, x)
    (0, 0, 32, 32)
    """
    height, width = x.shape[2:]
    whole = (0, 0, int(height), int(width))
    with torch.inference_mode(False), torch.enable_grad():
        generator = torch.Generator().manual_seed(0)
        probe = torch.rand(1, *x.shape[1:], generator=generator)
        probe = probe.to(classifier.device, classifier.dtype).requires_grad_(True)
        inputs = classifier.preprocess(probe)
        if not inputs.requires_grad:
            return whole
        signs = torch.rand(inputs.shape, generator=generator).to(inputs) + 0.5
        gradient = torch.autograd.grad((inputs * signs).sum(), probe, allow_unused=True)[0]
    if gradient is None or not bool(gradient.any()):
        return whole
    used = gradient[0].abs().sum(0) > 0  # [H, W]
    rows, columns = (torch.nonzero(used.any(dim)).flatten() for dim in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
