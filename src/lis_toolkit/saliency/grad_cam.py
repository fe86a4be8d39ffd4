"""Grad-CAM: maps of a layer, weighted by their mean gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..activations import Layer
from ..classifiers import Classifier
from ..names import whole_number
from .gradients import ask, checked_images, layer_gradients, spatial_layers

__all__ = ["grad_cam", "grad_cam_map", "grad_cam_weights"]


def grad_cam_weights(gradients: Tensor) -> Tensor:
    """Spatial means of gradients [..., C, h, w]: Grad-CAM's weights [..., C], of either sign."""
    return gradients.mean((-2, -1))


def grad_cam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Positive part of the weighted sum of maps, [..., C, h, w] -> [..., h, w].

    Examples
    --------
    >>> grad_cam_map(torch.ones(2, 3, 3), torch.ones(2, 3, 3)).unique()
    tensor([2.])
    """
    return (grad_cam_weights(gradients)[..., None, None] * activations).sum(-3).relu()


def grad_cam(
    classifier: Classifier,
    x: Any,
    target: Any = None,
    layer: str | Layer | None = None,
    *,
    unit: int | str | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Where in a layer images speak for a class: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    Each map is weighted by the spatial mean of the gradient of the class's logit; the positive part of the sum remains.

    Parameters
    ----------
    x : images [N, C, H, W] in the unit range, or Photographs.
    target : class by name or index, one for all or one each; default: what the classifier sees.
    layer : name or Layer with positions; default: the last convolution.
    unit : explain the activation of this penultimate unit instead of a class.
    batch_size : images at a time.

    Returns
    -------
    float32 [N, h, w] on the CPU, in units of the logit; all zeros where nothing speaks for the class.

    Raises
    ------
    LisError : images, classes, units and layers that the classifier does not have, or a layer without positions.

    Examples
    --------
    >>> grad_cam(classifier, photographs.images[:8], "Coat").shape
    torch.Size([8, 4, 4])
    """
    images = checked_images(classifier, x)
    question = ask(classifier, len(images), target, unit)
    chosen = spatial_layers(classifier, None if layer is None else [layer])[0][-1]
    parts = []
    size = whole_number(batch_size, "batch_size", 1)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        found = layer_gradients(classifier, images[part], [chosen], question.rows(part))
        parts.append(grad_cam_map(found.maps[chosen.name], found.gradients[chosen.name]).cpu())
    return torch.cat(parts)
