"""Saliency maps that know nothing of the classifier: what any explanation has to beat before it explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..names import spelling_hint, whole_number
from ..parts.whole import luminance
from .perturbation import resize_maps

__all__ = ["CONTROLS", "control_maps"]

CONTROLS = ("noise", "random", "centre", "brightness", "edges")


def control_maps(
    x: Tensor, kind: str, indices: Sequence[int] | Tensor | None = None, *, grid: int = 4, seed: int = 0
) -> Tensor:
    """Return maps of images that no classifier was asked for.

    Parameters
    ----------
    x
        Images [N, C, H, W] in the unit range.
    kind
        "noise": a random value for every pixel; "random": one for every cell of a coarse grid, smooth as the maps of
        late layers are; "centre": a Gaussian blob in the middle, a quarter of the sides wide (standard deviation);
        "brightness": the luminance itself; "edges": the length of its gradient (Sobel).
    indices
        [N], of the images among all: random maps belong to them, not to a batch. Default: 0 to N - 1.
    grid
        Cells of "random" along each side.
    seed
        Of the random maps.

    Returns
    -------
    Tensor
        float32 [N, H, W].

    Raises
    ------
    LisError
        For another kind, or a grid below 1.

    Examples
    --------
    >>> control_maps(photographs.images, "edges").shape
    torch.Size([1000, 32, 32])
    """
    if kind not in CONTROLS:
        raise LisError(
            f"no control {kind!r}; there are {', '.join(map(repr, CONTROLS))}.{spelling_hint(str(kind), CONTROLS)}"
        )
    n, _, height, width = x.shape
    if kind in ("noise", "random"):
        cells = (height, width) if kind == "noise" else (whole_number(grid, "grid", 1),) * 2
        places = range(n) if indices is None else [int(i) for i in indices]
        tag = CONTROLS.index(kind)  # the two kinds draw apart, and from no number that breaks ties
        drawn = np.stack([np.random.default_rng([seed, i, 1 + tag]).random(cells) for i in places])
        return resize_maps(torch.from_numpy(drawn).float(), (height, width))
    if kind == "centre":
        down, right = ((torch.arange(side) + 0.5) / side - 0.5 for side in (height, width))
        blob = torch.exp(-(down[:, None] ** 2 + right[None] ** 2) / (2 * 0.25**2))  # [H, W]
        return blob.expand(n, -1, -1).clone()
    light = luminance(x.detach().float().cpu())  # [N, H, W]
    return light if kind == "brightness" else _edges(light)


def _edges(light: Tensor) -> Tensor:
    """Length of the gradient [N, H, W], by Sobel's kernels; borders repeat the last row and column."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    padded = torch.nn.functional.pad(light[:, None], (1, 1, 1, 1), mode="replicate")
    both = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None])  # [N, 2, H, W]
    return both.square().sum(1).sqrt()
