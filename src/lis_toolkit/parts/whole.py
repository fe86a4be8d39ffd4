"""Measures of whole pictures: foreground, luminance, sharpness, and structural similarity to another picture."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LisError
from ..images import check_images

PICTURE_MEASURES = ("foreground", "luminance", "sharpness", "similarity")
REC709 = (0.2126, 0.7152, 0.0722)  # weights of red, green, blue
FOREGROUND_CONTRAST = 0.1  # of the unit range
SSIM_WINDOW = 7  # pixels
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # C1 and C2 of the paper for values from 0 to 1


def luminance(x: Tensor) -> Tensor:
    """Give the luminance [N, H, W] of pictures [N, C, H, W]: the grey value, or Rec. 709's weights on red, green, blue.

    The weights are applied to the values as they are stored (gamma-encoded, what video calls luma), since that is what
    classifiers see; it is not the physical luminance of linear light. Differentiable.

    Raises
    ------
    LisError : neither 1 nor 3 channels.

    Examples
    --------
    >>> luminance(torch.ones(1, 3, 2, 2))[0, 0]
    tensor([1., 1.])
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise LisError(f"the pictures have shape {list(x.shape)}; [N, 1 or 3, H, W] was expected.")
    if x.shape[1] == 1:
        return x[:, 0]
    red, green, blue = REC709
    return red * x[:, 0] + green * x[:, 1] + blue * x[:, 2]


def foreground_mask(x: Tensor) -> Tensor:
    """Guess the foreground [N, H, W] of pictures [N, C, H, W] with an even background, from dark to light.

    Foreground is what differs by more than 0.1 in luminance from the median of the picture's outermost pixels.

    Raises
    ------
    LisError : neither 1 nor 3 channels.

    Examples
    --------
    >>> foreground_mask(generator.render(w)).float().mean()
    """
    light = luminance(x.float())
    edge = torch.cat(
        [light[:, 0], light[:, -1], light[:, 1:-1, 0], light[:, 1:-1, -1]], dim=1
    )  # [N, 2 H + 2 W - 4]
    return (light - edge.median(dim=1).values[:, None, None]).abs() > FOREGROUND_CONTRAST


def sharpness(x: Tensor) -> Tensor:
    """Give the variance of the Laplacian of the luminance, [N]: a usual measure of focus.

    The Laplacian is the sum of the four neighbours less four times the pixel; pixels at the edge of the picture, which
    lack a neighbour, are left out. Unit: squared luminance.

    Raises
    ------
    LisError : neither 1 nor 3 channels, or pictures below 3 x 3 pixels.

    Examples
    --------
    >>> sharpness(torch.zeros(1, 1, 8, 8))
    tensor([0.])
    """
    light = luminance(x.float())
    if min(light.shape[1:]) < 3:
        raise LisError(f"the pictures are {list(light.shape[1:])} pixels; at least 3 x 3 were expected.")
    middle = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return (around - 4 * middle).flatten(1).var(dim=1, correction=0)


def similarity(x: Tensor, start: Tensor) -> Tensor:
    """Give the structural similarity of pictures to others, [N]: 1 for equal ones (Wang et al. 2004, section III.B).

    With a uniform window of 7 x 7 pixels, sample covariances and K1 = 0.01, K2 = 0.03, averaged over channels and over
    all windows that lie in the picture: the defaults of scikit-image's `structural_similarity`.

    Parameters
    ----------
    x : pictures [N, C, H, W] in the unit range, at least 7 x 7 pixels.
    start : the pictures to compare with, [N, C, H, W], or one for all, [1, C, H, W].

    Raises
    ------
    LisError : pictures of different shapes, or too small ones.

    Examples
    --------
    >>> similarity(walk.images[:, -1], walk.start)
    """
    if x.ndim != 4 or start.ndim != 4 or x.shape[1:] != start.shape[1:] or len(start) not in (1, len(x)):
        raise LisError(
            f"the pictures have shape {list(x.shape)}, the start {list(start.shape)}; the same, or "
            "one start for all, was expected."
        )
    if min(x.shape[2:]) < SSIM_WINDOW:
        raise LisError(
            f"the pictures are {list(x.shape[2:])} pixels; at least {SSIM_WINDOW} x {SSIM_WINDOW} were expected."
        )
    # Variances don't change with a shift, and around the middle of the range they lose less to rounding.
    a, b = x.float() - 0.5, start.to(x.device).float() - 0.5
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    var_a = (_window_mean(a * a) - mean_a**2) * unbiased
    var_b = (_window_mean(b * b) - mean_b**2) * unbiased
    cov = (_window_mean(a * b) - mean_a * mean_b) * unbiased
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    c1, c2 = SSIM_CONSTANTS
    score = (2 * mean_a * mean_b + c1) * (2 * cov + c2)  # [N, C, H - 6, W - 6]
    score = score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.mean(dim=(1, 2, 3))


def _window_mean(x: Tensor) -> Tensor:
    """Return the means over all windows inside the pictures [N, C, H, W]: [N, C, H - 6, W - 6]."""
    for dim in (
        2,
        3,
    ):  # sums of 2, 4 and 7 = 4 + 2 + 1 pixels: several times as fast as pooling on a processor
        size = x.shape[dim]
        two = x.narrow(dim, 0, size - 1) + x.narrow(dim, 1, size - 1)
        four = two.narrow(dim, 0, size - 3) + two.narrow(dim, 2, size - 3)
        count = size - SSIM_WINDOW + 1
        x = four.narrow(dim, 0, count) + two.narrow(dim, 4, count) + x.narrow(dim, 6, count)
    return x / SSIM_WINDOW**2


@torch.no_grad()
def measure_pictures(
    x: Tensor, labels: Tensor | None = None, start: Tensor | None = None
) -> dict[str, Tensor]:
    """Measure whole pictures: foreground, luminance, sharpness, and similarity to the start.

    Parameters
    ----------
    x : pictures [N, C, H, W] in the unit range, C = 1 or 3, at least 3 x 3 pixels.
    labels : [N, H, W] of a segmentation, 0 the background; without them, `foreground_mask` guesses.
    start : pictures to compare with, [N, C, H, W] or [1, C, H, W]; without them there is no "similarity".

    Returns
    -------
    A dict of float32 [N] on the pictures' device: "foreground" (share of the pixels), "luminance" (mean, 0 to 1),
    "sharpness" (variance of the Laplacian) and "similarity" (structural similarity, at most 1).

    Raises
    ------
    LisError : pictures that are not in the unit range, labels or a start that do not fit them.

    Examples
    --------
    >>> sorted(measure_pictures(torch.rand(4, 1, 32, 32)))
    ['foreground', 'luminance', 'sharpness']
    """
    x = check_images(x).detach()
    if labels is None:
        inside = foreground_mask(x)  # [N, H, W]
    else:
        if labels.shape != (x.shape[0], *x.shape[2:]):
            raise LisError(
                f"labels have shape {list(labels.shape)}; {[x.shape[0], *x.shape[2:]]} was expected, one a pixel."
            )
        inside = labels.to(x.device) != 0
    measures = {
        "foreground": inside.float().mean(dim=(1, 2)),
        "luminance": luminance(x.float()).mean(dim=(1, 2)),
        "sharpness": sharpness(x),
    }
    if start is not None:
        measures["similarity"] = similarity(x, check_images(start, name="start pictures"))
    return measures
