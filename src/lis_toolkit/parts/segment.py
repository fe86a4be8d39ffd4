"""Pictures with the labels of their parts: from latents, in one pass of the generator, or from pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images
from ..names import whole_number
from ..stylegan import Generator
from ..stylegan.generator import ACTIVATION_BYTES, PRECISIONS
from .masks import check_generator
from .segmenter import Segmenter

__all__ = ["render_part_logits", "render_parts", "segment", "segment_pictures"]

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
    _check(generator, segmenter)
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
    _check(generator, segmenter)
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


def _check(generator: Generator, segmenter: Segmenter) -> None:
    if generator.device != segmenter.device:
        raise LisError(
            f"segmenter {segmenter.name!r} is on {segmenter.device}, generator {generator.name!r} on "
            f"{generator.device}; move one of them with .to(device)."
        )
    if segmenter.reads_pictures:
        has, expected = (
            (generator.img_channels, generator.img_resolution),
            (segmenter.channels[0], segmenter.size),
        )
        if has != expected:
            raise LisError(
                f"segmenter {segmenter.name!r} reads pictures of {expected[0]} channels and {expected[1]} px; those of "
                f"generator {generator.name!r} have {has[0]} and {has[1]} px."
            )
        return
    check_generator(generator, segmenter.generator_hash, f"segmenter {segmenter.name!r} was trained on")
