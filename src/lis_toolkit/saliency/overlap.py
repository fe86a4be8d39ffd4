"""How much of a saliency map lies on which part of a picture, and whether its highest point does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LisError
from ..parts import Legend, Segmenter, segment_pictures
from .perturbation import check_maps, resize_maps

__all__ = ["PictureLabels", "map_overlap", "part_masks"]


@dataclass(frozen=True)
class PictureLabels:
    """Which part every pixel of N pictures belongs to.

    Attributes
    ----------
    labels : Tensor
        uint8 [N, H, W], indices into the legend; 0 is the background.
    legend : Legend
    """

    labels: Tensor
    legend: Legend

    def __len__(self) -> int:
        return len(self.labels)


def part_masks(parts: Segmenter | PictureLabels | Tensor, x: Tensor, batch_size: int = 256) -> PictureLabels:
    """Return the labels of pictures: by a segmenter that reads pictures, or those that are given, checked.

    Parameters
    ----------
    parts
        A segmenter that reads pictures; `PictureLabels`; or a tensor [N, H, W]: bool (inside or not) or whole numbers
        (0 the background, then parts without names).
    x
        The pictures [N, C, H, W].

    Raises
    ------
    LisError
        For labels that don't fit the pictures or their legend, and segmenters of feature maps: label rendered
        pictures with `render_parts` and give its labels as `PictureLabels(labels, segmenter.legend)`.

    Examples
    --------
    >>> masks = part_masks(load_segmenter("fashion-pictures"), photographs.images)
    """
    if isinstance(parts, Segmenter):
        if not parts.reads_pictures:
            raise LisError(
                f"segmenter {parts.name!r} reads feature maps of a generator, not pictures: x, labels = "
                "render_parts(generator, segmenter, w), then give PictureLabels(labels, segmenter.legend)."
            )
        return PictureLabels(segment_pictures(parts, x, batch_size).cpu(), parts.legend)
    labels = parts.labels if isinstance(parts, PictureLabels) else parts
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        has = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise LisError(
            f"the parts are {has}; a segmenter, PictureLabels, or a tensor [N, H, W] of bool or whole numbers was "
            "expected."
        )
    if labels.shape != (len(x), *x.shape[2:]):
        raise LisError(
            f"the labels have shape {list(labels.shape)}; {[len(x), *x.shape[2:]]} was expected, one a pixel."
        )
    labels = labels.detach().cpu()
    highest, lowest = int(labels.max()), int(labels.min())
    if isinstance(parts, PictureLabels):
        legend = parts.legend
    elif labels.dtype == torch.bool:
        legend = Legend(("background", "object"))
    else:
        legend = Legend(("background", *(f"part {i}" for i in range(1, min(max(highest, 1), 255) + 1))))
    if lowest < 0 or highest >= len(legend.names):
        raise LisError(
            f"the labels go from {lowest} to {highest}; the legend has 0 to {len(legend.names) - 1}."
        )
    return PictureLabels(labels.to(torch.uint8), legend)


def map_overlap(maps: Tensor, labels: Tensor, count: int) -> dict[str, Tensor]:
    """Measure where the mass and the highest point of maps lie.

    Negative values of a map count as none. Where the highest value is reached several times, `hit` is the share of
    those places.

    Parameters
    ----------
    maps
        [N, h, w], resized to the labels.
    labels
        Whole numbers [N, H, W] below `count`.

    Returns
    -------
    dict of Tensor
        float64 [N, count] each: "share" of the map's mass on each label and "hit" (pointing game: Zhang et al. 2016,
        arXiv 1608.00507, without their tolerance), both NaN for a map without mass; "area" of each label, which is
        what a map that knows nothing of the picture would have.

    Raises
    ------
    LisError
        For maps that don't fit.

    Examples
    --------
    >>> map_overlap(maps, masks.labels, len(masks.legend.names))["share"][:, 0]  # on the background
    """
    flat = (
        resize_maps(check_maps(maps, len(labels)).float(), labels.shape[1:]).clamp(min=0).flatten(1).double()
    )
    place = labels.flatten(1).long()  # [N, HW]
    if int(place.min()) < 0 or int(place.max()) >= count:
        raise LisError(
            f"labels go from {int(place.min())} to {int(place.max())}; 0 to {count - 1} was expected."
        )
    mass = flat.sum(1, keepdim=True)  # [N, 1]
    top = ((flat == flat.amax(1, keepdim=True)) & (mass > 0)).double()  # [N, HW]

    def by_label(values: Tensor) -> Tensor:
        return values.new_zeros(len(values), count).scatter_add_(1, place, values)  # [N, L]

    return {
        "share": by_label(flat) / mass,
        "hit": by_label(top) / top.sum(1, keepdim=True),
        "area": by_label(torch.ones_like(flat)) / flat.shape[1],
    }
