"""Segmenters by name or file, and what they say of pictures: from latents in one pass, or from pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import zoo
from ..devices import place
from ..errors import CheckpointError, LisError
from ..files import load_tensors, provenance, save_tensors, sha256_tensors
from ..images import check_images
from ..names import whole_number
from ..stylegan import Generator
from ..stylegan.generator import ACTIVATION_BYTES, PRECISIONS
from .identity import check_generator
from .legend import Legend
from .network import Segmenter

__all__ = [
    "Segmenter",
    "check_segmenter",
    "load_segmenter",
    "render_part_logits",
    "render_parts",
    "save_segmenter",
    "segment",
    "segment_pictures",
]

FORMAT = "lis-segmenter-1"
PICTURES = 256  # segmented at a time, unless told otherwise


@torch.no_grad()
def render_parts(
    generator: Generator,
    segmenter: Segmenter,
    w: Tensor,
    batch_size: int | None = None,
    precision: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Render latents, and label the parts of the pictures from the same pass.

    Parameters
    ----------
    w
        [N, W] or [N, num_ws, W], as ``generator.render`` takes them.
    batch_size
        Pictures at a time; None takes as many as keep feature maps within 1 GiB, 256 at most.
    precision
        Of the generator's feature maps and of the segmenter, as in ``generator.render``.

    Returns
    -------
    x : Tensor
        [N, C, H, W] in the unit range, float32; what ``generator.render`` gives.
    labels : Tensor
        uint8 [N, H, W], indices into ``segmenter.legend``. Neither follows gradients: see `render_part_logits`.

    Raises
    ------
    LisError
        For a segmenter of another generator, and whatever ``generator.render`` refuses.

    Examples
    --------
    >>> x, labels = render_parts(generator, load_segmenter("fashion"), w)
    """
    check_segmenter(generator, segmenter)
    ws = generator.broadcast(w)
    size = _batch_size(generator, batch_size, precision)
    pictures, labels = [], []
    for part in ws.split(size) if len(ws) else [ws]:  # render_features says what is wrong with none
        x, logits = _render(generator, segmenter, part, precision)
        pictures.append(x)
        labels.append(_labels(logits))
    return torch.cat(pictures), torch.cat(labels)


def render_part_logits(
    generator: Generator, segmenter: Segmenter, w: Tensor, precision: str | None = None
) -> tuple[Tensor, Tensor]:
    """Render latents with the logits of every part, both differentiable by w, backward and forward.

    Works under ``torch.func`` (jvp, vmap, jacfwd). All of w is one batch.

    Returns
    -------
    x : Tensor
        [N, C, H, W] in the unit range.
    logits : Tensor
        [N, 1 + P, H, W]; a softmax over the second axis makes them shares of the parts.

    Raises
    ------
    LisError
        For a segmenter of another generator, and whatever ``generator.render`` refuses.

    Examples
    --------
    >>> x, logits = render_part_logits(generator, segmenter, w)
    >>> sleeve = logits.softmax(dim=1)[:, segmenter.legend.label("sleeve")].mean(dim=(1, 2))  # share of the picture
    """
    check_segmenter(generator, segmenter)
    return _render(generator, segmenter, w, precision)


def segment(
    generator: Generator,
    segmenter: Segmenter,
    w: Tensor,
    batch_size: int | None = None,
    precision: str | None = None,
) -> Tensor:
    """Return the labels of the pictures of latents, as `render_parts` does, without the pictures.

    Returns
    -------
    Tensor
        uint8 [N, H, W], indices into ``segmenter.legend``.

    Raises
    ------
    LisError
        For a segmenter of another generator, and whatever ``generator.render`` refuses.

    Examples
    --------
    >>> labels = segment(generator, load_segmenter("fashion"), w)
    """
    return render_parts(generator, segmenter, w, batch_size, precision)[1]


@torch.no_grad()
def segment_pictures(segmenter: Segmenter, x: Tensor, batch_size: int = PICTURES) -> Tensor:
    """Return the labels of pictures, photographs for instance, by a segmenter that reads pictures.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range, of the segmenter's size.
    batch_size
        Pictures at a time.

    Returns
    -------
    Tensor
        uint8 [N, H, W], indices into ``segmenter.legend``, on the segmenter's device.

    Raises
    ------
    LisError
        For a segmenter that reads a generator's feature maps, and pictures of another shape or range.

    Examples
    --------
    >>> labels = segment_pictures(load_segmenter("fashion-pictures"), photographs.images)
    """
    if not segmenter.reads_pictures:
        raise LisError(
            f"segmenter {segmenter.name!r} reads feature maps of a generator ({', '.join(segmenter.layers)}), "
            'not pictures. Take one that reads pictures, such as load_segmenter("fashion-pictures"), or use segment.'
        )
    check_images(x, channels=segmenter.channels[0], size=(segmenter.size, segmenter.size))
    size = whole_number(batch_size, "batch_size", 1)
    kind = segmenter.get_buffer("mean0").dtype
    return torch.cat([_labels(segmenter([part.to(segmenter.device, kind)])) for part in x.split(size)])


def save_segmenter(
    segmenter: Segmenter, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Save a segmenter as safetensors, with its legend, layers, and all that is needed to rebuild it.

    Parameters
    ----------
    metadata
        More to keep, as JSON: training, measured quality.

    Raises
    ------
    LisError
        When the folder can't be written.

    Examples
    --------
    >>> save_segmenter(segmenter, "segmenter.safetensors")
    """
    tensors = segmenter.state_dict()
    described = {
        "format": FORMAT,
        "name": segmenter.name,
        "parts": segmenter.legend.to_json(),
        "layers": list(segmenter.layers),
        "channels": list(segmenter.channels),
        "size": segmenter.size,
        "widths": list(segmenter.widths),
        "dilations": list(segmenter.dilations),
        "generator_hash": segmenter.generator_hash,
        "sha256": sha256_tensors(tensors),
    }
    known = {**segmenter.metadata, **(metadata or {})}
    save_tensors(path, tensors, {"provenance": provenance(), **known, **described})


def load_segmenter(
    name_or_path: str | os.PathLike[str], device: str | torch.device | None = None
) -> Segmenter:
    """Load a segmenter for evaluation, by name or from a file of `save_segmenter`.

    Parameters
    ----------
    name_or_path
        "fashion" (reads the bundled generator's feature maps), "fashion-pictures" (reads pictures, photographs
        included), or a path.
    device
        Default: CPU.

    Raises
    ------
    LisError
        For an unknown name or device.
    CheckpointError
        For a file that is damaged, altered, or not a segmenter.

    Examples
    --------
    >>> load_segmenter("fashion").legend.parts[:3]
    ('sleeve', 'torso', 'collar')
    """
    path = zoo.locate(name_or_path, "segmenter")
    tensors, described = load_tensors(path)
    if described.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a segmenter of lis_toolkit (format {described.get('format')!r}; {FORMAT!r} was expected)."
        )
    try:
        settings = {key: described[key] for key in ("widths", "dilations", "generator_hash", "name")}
        legend = Legend.from_json(described["parts"], str(path))
        layers, channels, size = (described[key] for key in ("layers", "channels", "size"))
        with torch.device("meta"):  # a description may ask for any size; the file's tensors say what there is
            segmenter = Segmenter(legend, layers, channels, size, metadata=described, **settings)
        _check_weights(tensors)
        segmenter.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, RuntimeError, LisError) as error:
        raise CheckpointError(f"{path} does not fit its own description: {error}.") from error
    if segmenter.hash != described.get("sha256"):
        raise CheckpointError(
            f"{path} has other weights than its sha256 says: it was altered. Get the file again."
        )
    return place(segmenter, device).eval().requires_grad_(False)


def _check_weights(tensors: Mapping[str, Tensor]) -> None:
    """Raise a LisError for weights with which nothing can be computed, or only NaN."""
    kinds = sorted({str(t.dtype) for t in tensors.values()})
    if len(kinds) != 1 or not next(iter(tensors.values())).is_floating_point():
        raise LisError(
            f"the weights are {', '.join(kinds) or 'missing'}; one floating-point type was expected"
        )
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()) or (name.startswith("std") and bool((tensor <= 0).any())):
            raise LisError(f"{name} has values that are not finite, or no spread above 0")


def _render(
    generator: Generator, segmenter: Segmenter, w: Tensor, precision: str | None
) -> tuple[Tensor, Tensor]:
    x, maps = generator.render_features(w, segmenter.layers, batch_size=max(len(w), 1), precision=precision)
    dtype = PRECISIONS[precision or generator.precision]
    return x, segmenter([x] if segmenter.reads_pictures else maps, None if dtype == torch.float32 else dtype)


def _labels(logits: Tensor) -> Tensor:
    """Give the largest logit's number, uint8 [N, H, W]; the first of equal ones."""
    return logits.argmax(dim=1).to(torch.uint8)


def _batch_size(generator: Generator, batch_size: int | None, precision: str | None) -> int:
    if batch_size is not None:
        return whole_number(batch_size, "batch_size", 1)
    item = PRECISIONS.get(precision or generator.precision, torch.float32).itemsize
    return max(1, min(PICTURES, ACTIVATION_BYTES // (generator.synthesis.activations * item)))


def check_segmenter(generator: Generator, segmenter: Segmenter) -> None:
    """Raise a LisError unless a segmenter labels the pictures of this generator, on the same device.

    Examples
    --------
    >>> check_segmenter(generator, load_segmenter("fashion"))
    """
    if generator.device != segmenter.device:
        raise LisError(
            f"segmenter {segmenter.name!r} is on {segmenter.device}, generator {generator.name!r} on "
            f"{generator.device}; move one of them with .to(device)."
        )
    channels = segmenter.channels[0] if segmenter.reads_pictures else generator.img_channels
    has, expected = (generator.img_channels, generator.img_resolution), (channels, segmenter.size)
    if has != expected:
        raise LisError(
            f"segmenter {segmenter.name!r} labels pictures of {expected[0]} channels and {expected[1]} px; those of "
            f"generator {generator.name!r} have {has[0]} and {has[1]} px."
        )
    if segmenter.reads_pictures:
        return
    check_generator(generator, segmenter.generator_hash, f"segmenter {segmenter.name!r} was trained on")
