"""How much of what a position of a layer can see is foreground: masks, times receptive fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..own_images import ImageSource
from .batches import read_image
from .fields import proportional_boxes, receptive_fields
from .foreground import foreground_masks, given_masks
from .layers import Layer


class Ground:
    """Foreground shares of positions, batch by batch; masks are made when they are needed, unless they were given."""

    def __init__(
        self, classifier: Classifier, images: Tensor | ImageSource, layers: tuple[Layer, ...], masks: Any
    ) -> None:
        self.classifier, self.images = classifier, images
        size = tuple(images.shape[2:]) if isinstance(images, Tensor) else None
        self.masks = None if masks is None else given_masks(masks, len(images), size)
        spatial = [layer for layer in layers if layer.positions != (1, 1)]
        fields = receptive_fields(classifier, spatial) if spatial else {}
        self.boxes = {
            layer.name: (fields[layer.name].boxes, proportional_boxes(layer, classifier.input_size))
            for layer in spatial
        }

    def masks_of(self, rows: slice) -> Tensor:
        """Return the masks of some images as the network sees the images, float64 [n, h, w] from 0 to 1."""
        if isinstance(self.images, Tensor):
            masks = foreground_masks(self.images[rows]) if self.masks is None else self.masks[rows]
            return seen_masks(self.classifier, masks)
        parts = []
        for i in range(len(self.images))[rows]:
            x = read_image(self.classifier, self.images, i)
            mask = foreground_masks(x) if self.masks is None else self.masks[i : i + 1]
            if mask.shape[1:] != x.shape[2:]:
                raise LisError(
                    f"the mask of {self.images.names[i]} has {mask.shape[1]} x {mask.shape[2]} pixels, the image "
                    f"{x.shape[2]} x {x.shape[3]}; the same were expected."
                )
            parts.append(seen_masks(self.classifier, mask))
        return torch.cat(parts)

    def order(self, layer: Layer, masks: Tensor, draws: np.ndarray, how: str) -> Tensor:
        """Return all positions of each image, int64 [n, h w]: for "foreground" by falling, else by rising share.

        Where a field reaches over the border there is no foreground: without this, the corners of deep layers, whose
        fields miss only the far side of the image, would have the largest shares. Equal shares, as deep layers have
        that see all from anywhere, are ordered by the mask's share of the position's own place, and equal ones of
        these by the draws [n, h w].
        """
        shares, own = (box_shares(masks, boxes).numpy() for boxes in self.boxes[layer.name])  # [n, h w]
        sign = -1 if how == "foreground" else 1
        keys = (draws, sign * own.round(9), sign * shares.round(9))  # the last counts most
        return torch.from_numpy(np.lexsort(keys, axis=-1))


def seen_masks(classifier: Classifier, masks: Tensor) -> Tensor:
    """Return masks bool [N, H, W] as the classifier's preprocessing shows them to the network: float64 [N, h, w].

    Black and white images tell what the preprocessing makes of 0 and 1, so that resizing and cutting, and no
    normalisation, are left. Where it does not keep black and white apart, masks are resized.
    """
    if classifier._preprocess is None:
        return masks.double()
    values = masks[:, None].to(classifier.device, classifier.dtype)  # [N, 1, H, W]
    with torch.no_grad():
        black, white = (classifier.preprocess(torch.full_like(values[:1], v)).double() for v in (0, 1))
        seen = classifier.preprocess(values).double()
    shares = ((seen - black) / (white - black)).mean(1).clamp(0, 1).cpu()  # [N, h, w]
    if bool(torch.isfinite(shares).all()):
        return shares
    size = classifier.input_size
    return torch.nn.functional.interpolate(masks[:, None].double(), size, mode="bilinear")[:, 0]


def box_shares(masks: Tensor, boxes: Tensor) -> Tensor:
    """Return the sum of masks [N, H, W] inside boxes [h, w, 4], by the area of the largest box: float64 [N, h w]."""
    sums = torch.nn.functional.pad(masks.double().cumsum(1).cumsum(2), (1, 0, 1, 0))  # [N, H + 1, W + 1]
    top, bottom, left, right = boxes.flatten(0, 1).unbind(1)
    inside = sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
    return inside / ((bottom - top) * (right - left)).max()
