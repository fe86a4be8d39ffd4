"""Deletion and insertion: what a class probability does while pixels go or come in the order of a saliency map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..classifiers import Classifier
from ..classifiers.penultimate import untouched
from ..errors import LisError
from ..features import check_images_for
from ..names import finite_number, spelling_hint, whole_number

__all__ = [
    "BASELINES",
    "KINDS",
    "baseline_images",
    "check_maps",
    "curve_area",
    "perturbation_curves",
    "pixel_counts",
    "pixel_ranks",
    "resize_maps",
]

KINDS = ("deletion", "insertion")
BASELINES = ("blur", "black", "mean")
BLUR = (
    1 / 6
)  # standard deviation of the blur as share of the shorter side: below, garments are still recognised


def baseline_images(x: Tensor, kind: str = "blur", sigma: float | None = None) -> Tensor:
    """Return pictures from which the object is gone: what deleted pixels become, and what insertion begins with.

    Parameters
    ----------
    x
        Images [N, C, H, W] in the unit range.
    kind
        "blur": a Gaussian blur of the image itself; "black"; "mean": every image's own mean colour. No baseline is
        neutral: black is a garment's own background in Fashion-MNIST, and a sharp edge anywhere else.
    sigma
        Standard deviation of the blur in pixels; None: a sixth of the shorter side.

    Returns
    -------
    Tensor
        [N, C, H, W].

    Raises
    ------
    LisError
        For another kind, or a sigma that is not above 0.

    Examples
    --------
    >>> baseline_images(photographs.images, "mean").shape == photographs.images.shape
    True
    """
    if kind not in BASELINES:
        raise LisError(
            f"no baseline {kind!r}; there are {', '.join(map(repr, BASELINES))}.{spelling_hint(str(kind), BASELINES)}"
        )
    if kind == "black":
        return torch.zeros_like(x)
    if kind == "mean":
        return x.mean((2, 3), keepdim=True).expand_as(x).clone()
    width = BLUR * min(x.shape[2:]) if sigma is None else finite_number(sigma, "sigma", " of pixels")
    if width <= 0:
        raise LisError(f"sigma is {sigma!r}; a number of pixels above 0 was expected.")
    radius = max(1, round(3 * width))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device) / width) ** 2)
    weights = (weights / weights.sum()).to(x.dtype)  # [2 radius + 1]
    n, channels, height, wide = x.shape
    single = F.pad(x.reshape(n * channels, 1, height, wide), (radius,) * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(single, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    return blurred.reshape(x.shape).clamp(0, 1)


def check_maps(maps: Tensor, count: int, name: str = "the maps") -> Tensor:
    """Return saliency maps [N, h, w] as they are, or say what is wrong with them.

    Raises
    ------
    LisError
        For anything but finite floats [N, h, w] of `count` images.

    Examples
    --------
    >>> check_maps(torch.rand(8, 4, 4), 8).shape
    torch.Size([8, 4, 4])
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        has = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise LisError(f"{name} are {has}; a floating tensor [N, h, w] was expected.")
    if maps.ndim != 3 or len(maps) != count or 0 in maps.shape:
        raise LisError(
            f"{name} have shape {list(maps.shape)}; [{count}, h, w] was expected, one map an image."
        )
    if not bool(torch.isfinite(maps).all()):
        bad = int((~torch.isfinite(maps)).flatten(1).any(1).sum())
        raise LisError(
            f"{name} have NaN or infinite values in {bad} of {count} maps; finite ones were expected."
        )
    return maps


def named_maps(made: Any, least: int = 0) -> dict[str, Tensor]:
    """Return what a function of maps gave, float32 on the CPU by name, checked.

    Raises
    ------
    LisError
        For anything but a dict of names and tensors, or fewer than `least`.
    """
    if not (isinstance(made, Mapping) and all(isinstance(m, Tensor) for m in made.values())):
        raise LisError("the function of maps must return a dict of names and tensors [n, h, w].")
    if len(made) < least:
        raise LisError("there are no maps and no controls to measure; give at least one.")
    return {str(name): m.detach().float().cpu() for name, m in made.items()}


def resize_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps [N, h, w] at an image's size [N, H, W], bilinear between the centres of their pixels.

    Examples
    --------
    >>> resize_maps(torch.rand(8, 4, 4), (32, 32)).shape
    torch.Size([8, 32, 32])
    """
    height, width = size
    if tuple(maps.shape[1:]) == (height, width):
        return maps
    return F.interpolate(maps[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def pixel_ranks(maps: Tensor, indices: Sequence[int] | Tensor, seed: int = 0) -> Tensor:
    """Rank every pixel by saliency: 0 the most salient one; equal ones in an order drawn for the image.

    The draw belongs to the seed and the image's index, so it depends on no batch. Pixels on which a map is silent
    (equally 0) therefore come at random, and a constant map is a random one.

    Parameters
    ----------
    maps
        [N, H, W].
    indices
        [N], of the images among all.

    Returns
    -------
    Tensor
        int64 [N, H, W].

    Examples
    --------
    >>> pixel_ranks(torch.tensor([[[0.1, 0.9], [0.5, 0.2]]]), [0])
    tensor([[[3, 0],
             [1, 2]]])
    """
    n, height, width = maps.shape
    pixels = height * width
    drawn = np.stack([np.random.default_rng([seed, int(i)]).permutation(pixels) for i in indices])
    shuffle = torch.from_numpy(drawn).to(maps.device)  # [N, HW]
    order = maps.reshape(n, pixels).gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    order = shuffle.gather(1, order)  # [N, HW], pixels from the most salient one
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(pixels, device=maps.device).expand(n, -1))
    return ranks.reshape(n, height, width)


def pixel_counts(pixels: int, steps: int) -> list[int]:
    """Return how many pixels are changed at every point of a curve: from 0 to all, in `steps` equal steps.

    Examples
    --------
    >>> pixel_counts(1024, 4)
    [0, 256, 512, 768, 1024]
    """
    steps = min(whole_number(steps, "steps", 1), pixels)
    return [round(pixels * i / steps) for i in range(steps + 1)]


def perturbation_curves(
    classifier: Classifier,
    x: Tensor,
    targets: Tensor,
    ranks: Tensor,
    kind: str = "deletion",
    *,
    baseline: Tensor | None = None,
    steps: int = 32,
    batch_size: int = 256,
) -> Tensor:
    """Follow the class probability while pixels are deleted from, or inserted into, pictures (Petsiuk et al. 2018).

    RISE, arXiv 1806.07421, section 4.3. Deletion replaces pixels by those of the baseline, the most salient first: a
    faithful map makes the probability fall early. Insertion brings them into the baseline: a faithful map makes it
    rise early.

    Parameters
    ----------
    x
        [N, C, H, W] in the unit range.
    targets
        int64 [N], the class whose probability is followed.
    ranks
        [N, H, W], see `pixel_ranks`.
    kind
        "deletion" or "insertion".
    baseline
        [N, C, H, W]; default `baseline_images(x)`.
    steps
        So many equal steps; at most one a pixel.
    batch_size
        Images at a time.

    Returns
    -------
    Tensor
        float32 [N, steps + 1], on the CPU; from no pixel to all.

    Raises
    ------
    LisError
        For another kind, an encoder without a head, and sizes that don't fit each other.

    Examples
    --------
    >>> ranks = pixel_ranks(resize_maps(grad_cam(classifier, x), x.shape[2:]), range(len(x)))
    >>> perturbation_curves(classifier, x, classifier.logits(x).argmax(1), ranks).shape
    torch.Size([8, 33])
    """
    if kind not in KINDS:
        raise LisError(
            f"no curve {kind!r}; there are 'deletion' and 'insertion'.{spelling_hint(str(kind), KINDS)}"
        )
    if not classifier.has_head:
        raise LisError(
            f"{classifier.name} is an encoder without a head: there is no class probability to follow."
        )
    check_images_for(classifier, x)
    n, _, height, width = x.shape
    if targets.shape != (n,) or ranks.shape != (n, height, width):
        raise LisError(
            f"targets have shape {list(targets.shape)} and ranks {list(ranks.shape)}; [{n}] and "
            f"[{n}, {height}, {width}] were expected."
        )
    baseline = baseline_images(x) if baseline is None else baseline
    if baseline.shape != x.shape:
        raise LisError(f"the baseline has shape {list(baseline.shape)}; {list(x.shape)} was expected.")
    counts = pixel_counts(height * width, steps)
    size = whole_number(batch_size, "batch_size", 1)
    curves = torch.empty(n, len(counts))
    first, second = (baseline, x) if kind == "deletion" else (x, baseline)
    with untouched(classifier):
        for start in range(0, n, size):
            rows = slice(start, start + size)
            a, b = (side[rows].to(classifier.device, classifier.dtype) for side in (first, second))
            rank, target = ranks[rows].to(a.device)[:, None], targets[rows].to(a.device)[:, None]
            for column, count in enumerate(counts):
                logits = classifier.logits(torch.where(rank < count, a, b))  # [n, K]
                curves[rows, column] = logits.float().softmax(1).gather(1, target)[:, 0].cpu()
    if not bool(torch.isfinite(curves).all()):
        raise LisError(f"{classifier.name} gives NaN for images in [0, 1]: its weights are damaged.")
    return curves


def curve_area(curves: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the area under curves [..., S + 1] over the share of changed pixels (trapezoids), [...].

    Examples
    --------
    >>> curve_area(torch.tensor([1.0, 0.5, 0.0]), [0, 8, 16])
    tensor(0.5000, dtype=torch.float64)
    """
    share = torch.as_tensor(counts, dtype=torch.float64) / counts[-1]
    return torch.trapezoid(curves.double(), share, dim=-1)
