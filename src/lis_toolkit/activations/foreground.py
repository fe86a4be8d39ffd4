"""Foreground masks of images by GrabCut (Rother et al. 2004), the same ones every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..datasets import Photographs
from ..errors import LisError
from ..images import check_images, convert_range
from ..names import whole_number

LEAST_SIDE = 128  # pixels: smaller images are enlarged, since GrabCut's colour models need some to learn from
FEWEST, MOST = 0.01, 0.99  # share of an image; a foreground outside of it is none
CENTRE = (0.4, 0.6)  # of height and width: what an image shows is there
SPREAD = 2 / 255  # of the values of an image that has anything to cut out


def foreground_masks(
    x: Tensor | Photographs,
    *,
    margin: float = 0.06,
    iterations: int = 2,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Return which pixels of images belong to what they show, by OpenCV's GrabCut; the same for the same image.

    Its start: a border of the image is background, its very centre (a fifth of height and width) foreground, the rest
    may be either. Images smaller than 128 pixels are enlarged (bicubic) and the mask brought back; without both, 9 of
    10 photographs of CIFAR-10 come out empty. Grey images are cut as colour. Where GrabCut fails, finds less than 1 %
    or more than 99 % of the image, or the image is of one colour, the mask is all but the border.

    A photograph of 32 pixels takes tens of milliseconds: keep the masks and pass them on as `masks=`.

    Source: of the masks of Purvine et al. 2023 (arXiv 2212.00222) we know that GrabCut made them; start, enlarging and
    what stands in for failures are our reading.

    Parameters
    ----------
    x
        Images [N, 1 or 3, H, W] in the unit range, or `Photographs`.
    margin
        Width of the border, as a share of height and width: from 0 (excluded) to below 0.5; at least one pixel.
    iterations
        Of GrabCut.
    seed
        Of the colour models' first clusters; every image starts with it.

    Returns
    -------
    Tensor
        bool [N, H, W], on the CPU.

    Raises
    ------
    LisError
        For bad images, images with a side under 3 pixels, and settings outside their ranges.

    Examples
    --------
    >>> foreground_masks(load_fashion("sample").images[:2]).float().mean((1, 2))
    """
    images = check_images(x.images if isinstance(x, Photographs) else x)
    if images.shape[1] not in (1, 3) or min(images.shape[2:]) < 3:
        raise LisError(
            f"the images have shape {list(images.shape)}; [N, 1 or 3, H, W] with sides of at least 3 was expected."
        )
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 0.5:
        raise LisError(f"margin is {margin!r}; a share of the image above 0 and below 0.5 was expected.")
    rounds, seed = whole_number(iterations, "iterations", 1), whole_number(seed, "seed", 0, 2**31 - 1)
    pixels = convert_range(images.detach().cpu(), "unit", "byte").permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    masks = torch.empty(len(pixels), *pixels.shape[1:3], dtype=torch.bool)
    for i in tqdm(range(len(pixels)), desc="foreground", unit="image", disable=not progress):
        masks[i] = torch.from_numpy(_cut_out(pixels[i], margin, rounds, seed))
    return masks


def _cut_out(picture: np.ndarray, margin: float, iterations: int, seed: int) -> np.ndarray:
    """Return the mask bool [H, W] of one picture uint8 [H, W, C]."""
    import cv2

    height, width = picture.shape[:2]
    top, left = max(1, round(margin * height)), max(1, round(margin * width))
    rectangle = np.zeros((height, width), bool)
    rectangle[top : height - top, left : width - left] = True
    if float(np.ptp(picture)) / 255 <= SPREAD:
        return rectangle
    colour = np.ascontiguousarray(np.broadcast_to(picture, (height, width, 3)))
    scale = max(1, -(-LEAST_SIDE // min(height, width)))  # a whole number: pixels stay where they are
    if scale > 1:
        colour = cv2.resize(colour, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    kinds = np.where(rectangle, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    rows, columns = (
        slice(int(CENTRE[0] * n), max(int(CENTRE[1] * n), int(CENTRE[0] * n) + 1)) for n in kinds.shape
    )
    kinds[rows, columns] = np.where(rectangle, cv2.GC_FGD, cv2.GC_BGD)[rows, columns]
    kinds = np.ascontiguousarray(kinds.repeat(scale, axis=0).repeat(scale, axis=1))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)  # its k-means draws from one generator for all
    try:
        cv2.grabCut(colour, kinds, (0, 0, 0, 0), *models, iterations, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # no colours left for one of the two models
        return rectangle
    found = (kinds == cv2.GC_FGD) | (kinds == cv2.GC_PR_FGD)  # [H scale, W scale]
    share = found.reshape(height, scale, width, scale).mean((1, 3))
    mask: np.ndarray = share >= 0.5
    return mask if FEWEST <= mask.mean() <= MOST else rectangle


def given_masks(masks: Any, count: int, size: tuple[int, ...] | None) -> Tensor:
    """Return masks of one's own as bool [N, H, W], checked.

    Raises
    ------
    LisError
        For another shape or number, and for values that are not truth values.
    """
    try:
        values = torch.as_tensor(np.asarray(masks))
    except (TypeError, ValueError) as error:  # texts, rows of several lengths
        raise LisError(
            f"masks can't be read: {error}. Truth values [{count}, H, W] were expected."
        ) from error
    wanted = f"[{count}, H, W]" if size is None else f"[{count}, {size[0]}, {size[1]}]"
    fits = values.ndim == 3 and len(values) == count and (size is None or tuple(values.shape[1:]) == size)
    if not fits:
        raise LisError(f"masks have shape {list(values.shape)}; {wanted} was expected, one an image.")
    if values.dtype != torch.bool and not bool(((values == 0) | (values == 1)).all()):
        raise LisError(
            f"masks have dtype {values.dtype} and values other than 0 and 1; truth values were expected."
        )
    return values.bool()
