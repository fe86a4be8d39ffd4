"""Parts of real photographs: through activations, link and generator, and by the photograph itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..features import extract_features
from ..link import Link
from ..stylegan import Generator
from .legend import Legend
from .segmenter import Segmenter, render_parts, segment_pictures


@dataclass(frozen=True)
class PhotographParts:
    """Parts of photographs.

    Attributes
    ----------
    legend : Legend
        What the labels stand for.
    x : Tensor
        The photographs [N, C, H, W].
    render : Tensor
        What the generator makes of them [N, C, H, W]: x -> r -> w -> picture.
    labels : Tensor
        uint8 [N, H, W], parts of `render`.
    own_labels : Tensor or None
        uint8 [N, H, W], parts of `x`, by a segmenter that reads pictures.

    Examples
    --------
    >>> photograph_parts(x, classifier, link, generator, segmenter).labels.shape
    torch.Size([8, 32, 32])
    """

    legend: Legend
    x: Tensor
    render: Tensor
    labels: Tensor
    own_labels: Tensor | None = None


@torch.no_grad()
def photograph_parts(
    x: Tensor,
    classifier: Classifier,
    link: Link,
    generator: Generator,
    segmenter: Segmenter,
    by_picture: Segmenter | None = None,
) -> PhotographParts:
    """Label the parts of photographs: x -> r -> w, where the generator's feature maps tell them.

    The parts are those of the picture that the generator makes of a photograph, which shows what the classifier keeps
    of it; `by_picture` labels the photograph itself.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range.
    by_picture
        A segmenter that reads pictures, with the same legend.

    Raises
    ------
    LisError
        For models that don't fit each other, or photographs that don't fit the classifier.

    Examples
    --------
    >>> parts = photograph_parts(photographs.images[:8], classifier, link, generator, load_segmenter("fashion"))
    """
    if by_picture is not None and by_picture.legend.names != segmenter.legend.names:
        raise LisError(
            f"the two segmenters have different parts: {', '.join(segmenter.legend.parts)}, and "
            f"{', '.join(by_picture.legend.parts)}."
        )
    link.check(generator, classifier)
    r = extract_features(classifier, x).r
    render, labels = render_parts(generator, segmenter, link(r.to(link.device)))
    own = None if by_picture is None else segment_pictures(by_picture, x)
    return PhotographParts(segmenter.legend, x, render, labels, own)
