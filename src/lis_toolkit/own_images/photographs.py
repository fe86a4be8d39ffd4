"""Photographs of one's own, with labels, as the reports want them."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import torch

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..names import class_index, whole_number
from .decoding import to_channels
from .extraction import SkippedImages, fit_size
from .sources import UnreadableImage, open_images


def load_photographs(
    source: Any, classifier: Classifier, labels: Any = None, per_class: int | None = None
) -> Photographs:
    """Read labelled photographs into memory, in the size that a classifier sees.

    For thousands of files use `extract_to_folder`, which keeps their activations and not their pixels.

    Parameters
    ----------
    source
        A folder whose sub-folders are named after classes, or whatever `open_images` takes.
    labels
        Class names or indices, one an image, where the source has none.
    per_class
        At most so many of each class, the first ones; None: all.

    Returns
    -------
    Photographs
        images [N, C, H, W] in the unit range: the shorter side brought to the classifier's, antialiased, and the centre
        cut out. `classes` are the classifier's.

    Raises
    ------
    LisError
        For images without a label, labels that the classifier doesn't know, and when none can be read. Single files
        that can't be read are left out with a `SkippedImages` warning.

    Examples
    --------
    >>> photographs = load_photographs("my photographs", classifier, per_class=50)
    >>> print(report_link(link, generator, classifier, held_out, photographs))
    """
    images = open_images(source, labels)
    known = [label for label in images.labels or () if label is not None]
    if len(known) < len(images):
        raise LisError(
            "the images have no labels: put them into sub-folders named after classes, or pass labels=."
        )
    if not classifier.has_head:
        raise LisError(f"{classifier.name} is an encoder and knows no classes; extract_to_folder needs none.")
    most = len(images) if per_class is None else whole_number(per_class, "per_class", 1)
    owner = f"classifier {classifier.name!r}"
    index = {label: class_index(label, classifier.classes, owner) for label in dict.fromkeys(known)}
    size = classifier.size or classifier.input_size
    taken: Counter[int] = Counter()
    pictures, numbers, skipped = [], [], []
    for i, label in enumerate(known):
        if taken[index[label]] >= most:
            continue
        try:
            x = to_channels(images.read(i), classifier.channels)
        except UnreadableImage as error:
            skipped.append(f"{images.names[i]}: {error.reason}")
            continue
        pictures.append(fit_size(x[None], size)[0].clamp(0, 1))
        numbers.append(index[label])
        taken[index[label]] += 1
    if not pictures:
        raise LisError(f"none of {len(images)} images can be read; the first: {skipped[0]}.")
    if skipped:
        warnings.warn(
            f"{len(skipped)} images were left out, such as {skipped[0]}", SkippedImages, stacklevel=2
        )
    return Photographs(torch.stack(pictures), torch.tensor(numbers), classifier.classes)
