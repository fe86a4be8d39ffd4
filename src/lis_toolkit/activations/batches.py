"""Images of any kind as batches of network inputs, and the layers' activations for them, in one pass a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..classifiers.penultimate import evaluating
from ..datasets import Photographs
from ..errors import LisError
from ..features import check_images_for
from ..names import whole_number
from ..own_images import ImageSource, open_images
from ..own_images.decoding import to_channels
from ..own_images.extraction import fit_size
from .layers import Layer, choose_layers
from .record import install

Batch = tuple[slice, dict[str, Tensor]]


def as_images(classifier: Classifier, x: Any) -> Tensor | ImageSource:
    """Return images as a checked tensor [N, C, H, W], or as a source that is read one by one.

    Raises
    ------
    LisError
        For a tensor of the wrong shape, dtype, range or with NaN, and for what `open_images` can't open.
    """
    x = x.images if isinstance(x, Photographs) else x
    return check_images_for(classifier, x) if isinstance(x, Tensor) else open_images(x)


def read_image(classifier: Classifier, source: ImageSource, i: int) -> Tensor:
    """Return image `i` as [1, C, H, W] as the classifier takes it: its channels, and its size where it has one.

    Raises
    ------
    LisError
        When it can't be read: rows must stay those of the source, so none is left out.
    """
    x = to_channels(source.read(i), classifier.channels)[None]
    fits = classifier.size is None or classifier.size == tuple(x.shape[2:])
    return x if fits else fit_size(x, classifier.size or (0, 0)).clamp(0, 1)


@torch.no_grad()
def network_inputs(classifier: Classifier, images: Tensor | ImageSource, rows: slice) -> Tensor:
    """Return what the network sees [n, C, h, w] of some images, on the classifier's device."""
    place = classifier.device, classifier.dtype
    if isinstance(images, Tensor):
        return classifier.preprocess(images[rows].to(*place, non_blocking=True))
    each = (read_image(classifier, images, i) for i in range(len(images))[rows])
    return torch.cat([classifier.preprocess(x.to(*place)) for x in each])


def stream_activations(
    classifier: Classifier,
    x: Any,
    layers: Iterable[str | Layer] | str | Layer | None = None,
    batch_size: int = 256,
) -> Iterator[Batch]:
    """Yield the activations of layers batch by batch, one forward pass a batch; stop whenever you like.

    Hooks and evaluation mode last as long as the pass of a batch: between batches, and after a stream that was dropped,
    the classifier is as it was. Images and layers are checked once, when this is called.

    Parameters
    ----------
    x
        Images [N, C, H, W] in the unit range, `Photographs`, or whatever `open_images` takes, read as they are needed
        (for a classifier of one size brought to it: shorter side, then the centre).
    layers
        Names or `Layer`s; None: `list_layers(classifier)`.

    Yields
    ------
    rows : slice
        Which images.
    activations : dict of str to Tensor
        Layer name -> [n, C, h, w] or [n, R], on the classifier's device.

    Raises
    ------
    LisError
        For bad images or layers, images that can't be read, and activations that are NaN or infinite.

    Examples
    --------
    >>> for rows, found in stream_activations(classifier, x, ["body.3", "penultimate"]):
    ...     mean[rows] = found["body.3"].mean((2, 3)).cpu()
    """
    size = whole_number(batch_size, "batch_size", 1)
    return stream(classifier, as_images(classifier, x), choose_layers(classifier, layers), size)


def stream(
    classifier: Classifier, images: Tensor | ImageSource, layers: tuple[Layer, ...], size: int, start: int = 0
) -> Iterator[Batch]:
    """Do what `stream_activations` says, with checked arguments, from image `start` on."""
    for first in range(start, len(images), size):
        rows = slice(first, min(first + size, len(images)))
        found = one_pass(classifier, network_inputs(classifier, images, rows), layers)
        for name, values in found.items():
            # A sum tells of most that is not finite in a fifth of the time; it may also be too large by itself.
            if not bool(values.sum().isfinite()) and not bool(torch.isfinite(values).all()):
                raise LisError(
                    f"{classifier.name} gives NaN or infinite activations in layer {name!r} for images {rows.start} to "
                    f"{rows.stop - 1}: its weights are damaged, or too large for its data type."
                )
        yield rows, found


@torch.no_grad()
def one_pass(classifier: Classifier, inputs: Tensor, layers: tuple[Layer, ...]) -> dict[str, Tensor]:
    """Return the activations of one batch of network inputs by layer name, in the order of `layers`."""
    inside = tuple(layer for layer in layers if layer.kind not in ("penultimate", "logits"))
    with evaluating(classifier), ExitStack() as stack:
        recorded = install(classifier, inside, stack, detach=True)
        r = classifier.encode(inputs)  # [n, R]
        found = {layer.name: recorded[layer] for layer in inside}
        stack.close()  # the head, which is applied again, is not to be seen
        names = {layer.name for layer in layers}
        found |= {"penultimate": r} if "penultimate" in names else {}
        found |= {"logits": classifier.head(r)} if "logits" in names else {}
    for layer in layers:
        if found[layer.name].shape[1:] != layer.shape:
            raise LisError(
                f"layer {layer.name!r} of {classifier.name} gives {list(found[layer.name].shape[1:])} for these images "
                f"and {list(layer.shape)} for others: its shape must not depend on the image."
            )
    return {layer.name: found[layer.name] for layer in layers}
