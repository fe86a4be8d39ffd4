"""How much every feature map speaks for a score, and which maps are left out because they say too little."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError

__all__ = ["KEPT_OF_MEAN", "kept_maps", "map_weights", "positive_mass"]

# 0.175, 0.35, 0.7 and 1.4 % for layers of 512, 256, 128 and 64 maps are all 0.896 times the mean share.
KEPT_OF_MEAN = 0.896


def positive_mass(activations: Tensor, gradients: Tensor) -> Tensor:
    """Spatial mean of the gradient where it and the activation are positive, [..., C, h, w] -> [..., C].

    Interpretable Network Visualizations (arXiv 2405.03301, section 3): 1[A > 0] 1[g > 0] g.

    Parameters
    ----------
    activations, gradients : [..., C, h, w], a layer's maps A and the gradient g of the score by them.

    Raises
    ------
    LisError : shapes that differ or have no space, NaN or infinite values.

    Examples
    --------
    >>> positive_mass(torch.ones(2, 3, 3), torch.ones(2, 3, 3))
    tensor([1., 1.])
    """
    if activations.ndim < 3 or activations.shape != gradients.shape or 0 in activations.shape:
        raise LisError(
            f"activations have shape {list(activations.shape)}, gradients {list(gradients.shape)}; the same "
            "[..., C, h, w] was expected of both."
        )
    for name, values in (("activations", activations), ("gradients", gradients)):
        if not bool(torch.isfinite(values).all()):
            raise LisError(f"the {name} have NaN or infinite values; finite ones were expected.")
    return torch.where((activations > 0) & (gradients > 0), gradients, 0).mean((-2, -1))  # [..., C]


def map_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weight of every feature map, as a share of its layer's sum, [..., C, h, w] -> [..., C].

    All weights are 0 where no gradient is positive at a positive activation: nothing in the layer speaks for the score.

    Parameters
    ----------
    activations, gradients : [..., C, h, w], a layer's maps A and the gradient g of the score by them.

    Raises
    ------
    LisError : as `positive_mass`.

    Examples
    --------
    >>> map_weights(torch.ones(2, 3, 3), torch.tensor([3.0, 1.0])[:, None, None].expand(2, 3, 3))
    tensor([0.7500, 0.2500])
    """
    mass = positive_mass(activations, gradients)  # [..., C]
    total = mass.sum(-1, keepdim=True)
    return torch.where(total > 0, mass / torch.where(total > 0, total, 1), 0)


def kept_maps(weights: Tensor) -> Tensor:
    """Return the indices int64 [M] of the maps, of weights [C], that are heavy enough to be clustered.

    The paper drops maps under 0.175, 0.35, 0.7 and 1.4 % in layers of 512, 256, 128 and 64 maps, which is 0.896 of the
    mean share each time; the same rule serves other widths here.

    Raises
    ------
    LisError : weights that are not one row, negative or not finite.

    Examples
    --------
    >>> kept_maps(torch.tensor([0.6, 0.1, 0.3]))
    tensor([0, 2])
    """
    if weights.ndim != 1 or len(weights) == 0 or not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise LisError(
            f"weights have shape {list(weights.shape)}; one finite weight of at least 0 was expected for each map."
        )
    threshold = KEPT_OF_MEAN / len(weights)
    return torch.nonzero((weights > 0) & (weights.double() >= threshold)).flatten()  # [M]
