"""Parts of real photographs: measured on the photograph itself, or on its picture through the link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..names import whole_number
from ..parts import Segmenter, segment_pictures
from ..parts.measures import measure_parts
from ..parts.photographs import photograph_parts
from ..stylegan import Generator

if TYPE_CHECKING:
    import pandas as pd


@torch.no_grad()
def measure_photographs(segmenter: Segmenter, x: Tensor, batch_size: int = 256) -> pd.DataFrame:
    """Measure the parts of photographs, as a segmenter that reads pictures labels them.

    Parameters
    ----------
    x : [N, C, H, W] in the unit range, of the segmenter's size.

    Returns
    -------
    DataFrame with a row per photograph, columns "<part>.<measure>" and "<part>.code".

    Raises
    ------
    LisError : a segmenter that reads a generator's feature maps, images of another shape or range.

    Examples
    --------
    >>> measures = measure_photographs(load_segmenter("fashion-pictures"), load_fashion("sample").images)
    """
    labels = segment_pictures(segmenter, x, batch_size)
    return measure_parts(x, labels.to(x.device), segmenter.legend).to_frame()


@torch.no_grad()
def measure_cycled(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    segmenter: Segmenter,
    x: Tensor,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Measure the parts of what photographs become through classifier, link and generator: x -> r -> w -> parts.

    As a test of a ranking this is circular: the parts follow from the same activations by the same link that made the
    pictures. It shows what `check_on_photographs` gives if the link were right.

    Parameters
    ----------
    x : [N, C, H, W] in the unit range.
    segmenter : of the generator.

    Returns
    -------
    DataFrame with a row per photograph, columns "<part>.<measure>" and "<part>.code".

    Raises
    ------
    LisError : models that the link was not fitted for, images that the classifier does not take.

    Examples
    --------
    >>> circular = measure_cycled(generator, classifier, link, load_segmenter("fashion"), photographs.images)
    """
    import pandas as pd

    size = whole_number(batch_size, "batch_size", 1)
    frames = []
    for rows in x.split(size):
        seen = photograph_parts(rows, classifier, link, generator, segmenter)
        frames.append(measure_parts(seen.render, seen.labels, segmenter.legend).to_frame())
    return pd.concat(frames, ignore_index=True)
