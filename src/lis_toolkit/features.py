"""Penultimate activations and logits of many images, in batches."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .classifiers import Classifier
from .classifiers.penultimate import evaluating
from .errors import LisError
from .images import check_images

ROWS_ON_DEVICE = (
    8192  # results are fetched from the device this many at a time: one wait for it, not one a batch
)


@dataclass(frozen=True)
class Features:
    """What a classifier says about N images.

    Attributes
    ----------
    r : Tensor
        float [N, R], penultimate activations.
    logits : Tensor or None
        float [N, K]; None for an encoder without a head.
    """

    r: Tensor
    logits: Tensor | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.r)

    @property
    def predictions(self) -> Tensor:
        """Index of the top class of each image, int64 [N]; a LisError where there are no classes."""
        if self.logits is None:
            raise LisError("there are no predictions: the classifier is an encoder without a head.")
        return self.logits.argmax(1)


def check_images_for(classifier: Any, x: Tensor, name: str = "the images") -> Tensor:
    """Check images as `check_images`, with the channels and size that a classifier takes.

    A classifier for colour takes grey images too; one that resizes takes any size, but one size at a time.
    """
    grey = classifier.channels == 3 and isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] == 1
    return check_images(x, channels=1 if grey else classifier.channels, size=classifier.size, name=name)


def known_logits(classifier: Any, r: Tensor) -> Tensor:
    """Return logits [N, K] of activations r [N, R]; [N, 0] for an encoder without a head."""
    return classifier.head(r) if getattr(classifier, "has_head", True) else r.new_empty(len(r), 0)


def stream_features(classifier: Classifier, x: Tensor, batch_size: int = 256) -> Iterator[Features]:
    """Yield the features of images batch by batch, on the classifier's device; stop whenever you like.

    Images are checked once, when this is called; see `extract_features` for them.

    Raises
    ------
    LisError
        As `extract_features`.

    Examples
    --------
    >>> for features in stream_features(classifier, x):
    ...     moments.update(features.r, ...)
    """
    try:
        size = operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1:
        raise LisError(f"batch_size is {batch_size!r}; a whole number from 1 was expected.")
    check_images_for(classifier, x)
    return _stream(classifier, x, size)


def _stream(classifier: Classifier, x: Tensor, batch_size: int) -> Iterator[Features]:
    for batch in x.split(batch_size):
        # no_grad ends before every yield: a generator must not leave its caller without gradients.
        with torch.no_grad():
            r = classifier.features(batch.to(classifier.device, classifier.dtype, non_blocking=True))
            features = Features(r, classifier.head(r) if classifier.has_head else None)
        yield features


def extract_features(
    classifier: Classifier, x: Tensor, batch_size: int = 256, progress: bool = False
) -> Features:
    """Return penultimate activations and logits of images, in evaluation mode and without gradients.

    Parameters
    ----------
    classifier
        Images are moved to its device, batch by batch.
    x
        Images [N, C, H, W] in the unit range, of the classifier's channels and size; of any size, where the
        classifier's preprocessing resizes; grey ones for a classifier for colour too.
    batch_size
        Images at a time.
    progress
        Show a progress bar.

    Returns
    -------
    Features
        r [N, R] and logits [N, K] (None without a head), float32 on the CPU.

    Raises
    ------
    LisError
        For images of the wrong rank, channels, size, dtype or range, with NaN or infinite values, for none at all,
        and when the classifier itself gives NaN or infinite activations.

    Examples
    --------
    >>> features = extract_features(load_classifier("fashion"), load_fashion("sample").images)
    >>> features.r.shape, features.logits.shape
    (torch.Size([1000, 256]), torch.Size([1000, 10]))
    """
    stream = stream_features(classifier, x, batch_size)
    r = torch.empty(len(x), classifier.num_units)
    logits = torch.empty(len(x), classifier.num_classes)
    waiting: list[Features] = []
    done = 0
    with (
        evaluating(classifier),
        tqdm(total=len(x), desc="features", unit="image", disable=not progress) as bar,
    ):
        for features in stream:
            waiting.append(features)
            rows = sum(map(len, waiting))
            if rows >= ROWS_ON_DEVICE or done + rows == len(x):
                r[done : done + rows] = torch.cat([f.r for f in waiting])
                logits[done : done + rows] = torch.cat(
                    [f.r[:, :0] if f.logits is None else f.logits for f in waiting]
                )
                done += rows
                waiting.clear()
            bar.update(len(features))
    if not (bool(torch.isfinite(r).all()) and bool(torch.isfinite(logits).all())):
        raise LisError(
            f"{classifier.name} gives NaN or infinite activations for images in [0, 1]: its weights are damaged."
        )
    return Features(r, logits if classifier.has_head else None)
