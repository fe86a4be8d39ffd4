"""Motion between two renders: dense flow, where it can be relied on, what moved as a whole, and what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LisError
from ..images import check_images
from ..names import finite_number
from .flow import FlowMethod, dense_flow
from .legend import Legend
from .whole import foreground_mask, luminance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Motion", "dense_flow", "fit_affine", "measure_motion"]

LEAST_PIXELS = 12  # reliable foreground pixels; with fewer, nothing is said about the motion of the whole
LEAST_GRADIENT = (
    0.02  # of the unit range per pixel of a picture of 32 to 63 pixels, root mean square; 5 of 256 levels
)
LEAST_SHARE = 0.2  # of the gradient: what must lie across its main direction for motion along it to be seen
_COARSE, _WINDOW = 32, 5  # pixels: size of the picture and of the window in which texture is judged
_IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Motion:
    """How N pictures moved; everything on the CPU. Positions (x, y) in pixels, (0, 0) the middle of the first one.

    Attributes
    ----------
    flow : float32 [N, H, W, 2], what is at p before is at p + flow after: dx to the right and dy downwards, pixels.
    affine : float64 [N, 2, 3], the motion of the whole: p goes to affine @ (x, y, 1). The identity where `fitted` is
        False.
    residual : float32 [N, H, W, 2], flow without the motion of the whole. Where not `clear`, along an edge, motion in
        the edge's direction can't be seen, whatever flow says, and only that across it is kept.
    error : float32 [N, H, W], pixels by which the way forth and back misses the start.
    reliable : bool [N, H, W], where flow can be relied on: it comes back, stays in the picture, and there is something
        to see.
    clear : bool [N, H, W], where what is to be seen has more than one direction.
    foreground : bool [N, H, W]; the motion of the whole was fitted to its reliable and clear pixels.
    fitted : bool [N], whether there were enough of them.
    """

    flow: Tensor
    affine: Tensor
    residual: Tensor
    error: Tensor
    reliable: Tensor
    clear: Tensor
    foreground: Tensor
    fitted: Tensor

    def __len__(self) -> int:
        return len(self.flow)

    def overall(self) -> pd.DataFrame:
        """Describe the motion of the whole, a row a picture.

        Returns
        -------
        DataFrame with dx, dy (pixels, at the middle of the foreground), growth (of lengths: 0.1 is 10 % longer, mean
        over directions), rotation (radians, clockwise as seen), reliable (share of the foreground's pixels), fitted.
        NaN where it could not be fitted.
        """
        import pandas as pd

        n, height, width = self.error.shape
        places = _places(height, width)  # [H, W, 2]
        inside = self.foreground.flatten(1).double()  # [N, H W]
        middle = inside @ places.flatten(0, 1) / inside.sum(dim=1, keepdim=True)  # [N, 2]
        linear, shift = self.affine[:, :, :2], self.affine[:, :, 2]
        moved = (linear @ middle[:, :, None])[:, :, 0] + shift - middle  # [N, 2]
        area = torch.linalg.det(linear).clamp_min(0)
        turn = torch.atan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1])
        known = (self.reliable & self.foreground).flatten(1).double().sum(1) / inside.sum(1)
        columns = {"dx": moved[:, 0], "dy": moved[:, 1], "growth": area.sqrt() - 1, "rotation": turn}
        columns = {name: v.where(self.fitted, math.nan) for name, v in columns.items()} | {"reliable": known}
        return pd.DataFrame(
            {"picture": range(n)}
            | {name: v.numpy() for name, v in columns.items()}
            | {"fitted": self.fitted.numpy()}
        )

    def summary(
        self, labels: Tensor, legend: Legend, *, residual: bool = True, percentile: float = 95.0
    ) -> pd.DataFrame:
        """Summarise motion part by part, over reliable pixels only.

        Parameters
        ----------
        labels : whole numbers [N, H, W] of the pictures before, indices of the legend.
        legend : names of the parts.
        residual : False: the whole flow, with the motion of the whole.
        percentile : which percentile of magnitudes is "largest".

        Returns
        -------
        DataFrame, a row a picture and part: picture, part, pixels, reliable (share of the part's pixels), dx, dy (mean,
        pixels), magnitude (mean length, pixels), largest (percentile of lengths, pixels), divergence (growth of area:
        0.1 is 10 % more) and rotation (radians, clockwise as seen). The last two are means of differences between
        neighbours within the part. NaN where no pixel can be relied on.

        Raises
        ------
        LisError : labels that do not fit the pictures or the legend, a percentile outside 0 to 100.

        Examples
        --------
        >>> motion.summary(labels, segmenter.legend).groupby("part")["magnitude"].mean()
        """
        import pandas as pd

        if (
            not isinstance(labels, Tensor)
            or labels.shape != self.error.shape
            or labels.is_floating_point()
            or labels.dtype == torch.bool
        ):
            given = (
                f"{labels.dtype} {list(labels.shape)}"
                if isinstance(labels, Tensor)
                else type(labels).__name__
            )
            raise LisError(f"labels are {given}; whole numbers {list(self.error.shape)} were expected.")
        labels = labels.cpu()
        if int(labels.max()) >= len(legend.names) or int(labels.min()) < 0:
            raise LisError(f"labels go to {int(labels.max())}; the legend has 0 to {len(legend.names) - 1}.")
        share = finite_number(percentile, "percentile") / 100
        if not 0 <= share <= 1:
            raise LisError(f"percentile is {percentile}; 0 to 100 was expected.")
        moved = (self.residual if residual else self.flow).double()
        rows: list[dict[str, Any]] = []
        for n in range(len(self)):
            for p, part in enumerate(legend.parts, start=1):
                inside = labels[n] == p
                rows.append(
                    {"picture": n, "part": part} | _describe(moved[n], inside, self.reliable[n], share)
                )
        return pd.DataFrame(rows)


def measure_motion(
    before: Tensor,
    after: Tensor,
    foreground: Tensor | None = None,
    method: str | FlowMethod = "dis",
    tolerance: float | None = None,
) -> Motion:
    """Measure how pictures moved: dense flow forth and back, and the affine motion of the whole taken out.

    The affine motion is the one with the least median of distances over the reliable and clear pixels of the
    foreground, so that less than half of them may do something else (Rousseeuw 1984; OpenCV's LMEDS, refined on its
    inliers); the same at every call.

    Parameters
    ----------
    before, after : pictures [N, C, H, W] in the unit range; `before` may be a single one for all.
    foreground : bool [N, H, W], or labels with 0 the background, of the pictures before; None: `foreground_mask`.
    method : as `dense_flow`.
    tolerance : pixels; flow is reliable where the way forth and back misses the start by less than this, or by less
        than a tenth of the way (Sundaram et al. 2010, section 3). None: 0.5, and a 128th of the shorter side for
        pictures above 64 pixels.

    Raises
    ------
    LisError : pictures or a foreground that do not fit each other, a tolerance that is not above 0, an unknown method,
        RAFT's weights missing.

    Examples
    --------
    >>> motion = measure_motion(walk.start, walk.images[:, -1])
    >>> motion.overall()[["dx", "dy", "growth"]]
    """
    if tolerance is not None and finite_number(tolerance, "tolerance") <= 0:
        raise LisError(f"tolerance is {tolerance}; pixels above 0 were expected.")
    flow = dense_flow(before, after, method)  # [N, H, W, 2]
    n, height, width = flow.shape[:3]
    limit = max(0.5, min(height, width) / 128) if tolerance is None else float(tolerance)
    before, after = (check_images(x).detach().float().cpu() for x in (before, after))
    before = before.expand(n, -1, -1, -1)
    mask = _foreground(foreground, before)
    back = dense_flow(after, before, method)
    places = _places(height, width)  # [H, W, 2]
    returned = _sample(back, places + flow)  # [N, H, W, 2]
    error = (flow + returned).norm(dim=3)
    squares = flow.square().sum(dim=3) + returned.square().sum(dim=3)
    goal = places + flow
    stays = (goal >= -0.5).all(dim=3) & (goal[..., 0] <= width - 0.5) & (goal[..., 1] <= height - 0.5)
    textured, clear, across = _texture(before)
    reliable = (error.square() < limit**2 + 0.01 * squares) & stays & textured
    affine, fitted = [], []
    for i in range(n):
        known = reliable[i] & clear[i] & mask[i]
        found = fit_affine(places[known], goal[i][known])
        fitted.append(found is not None)
        affine.append(torch.tensor(_IDENTITY, dtype=torch.float64) if found is None else found)
    whole = torch.stack(affine)  # [N, 2, 3]
    ones = torch.cat([places, torch.ones(height, width, 1, dtype=places.dtype)], dim=2)  # [H, W, 3]
    moved = torch.einsum("nij,hwj->nhwi", whole, ones) - places  # [N, H, W, 2]
    residual = (flow - moved).float()
    seen = (residual * across).sum(dim=3, keepdim=True) * across  # its part across an edge
    residual = torch.where(clear[..., None], residual, seen)
    return Motion(flow, whole, residual, error.float(), reliable, clear, mask, torch.tensor(fitted))


def fit_affine(places: Tensor, goals: Tensor) -> Tensor | None:
    """Fit the affine map from places [M, 2] to goals [M, 2] that is right for most of them, whatever the others do.

    Returns
    -------
    float64 [2, 3], or None for fewer than 12 places, or places on one line.

    Examples
    --------
    >>> fit_affine(places, places + 1)
    tensor([[1., 0., 1.],
            [0., 1., 1.]], dtype=torch.float64)
    """
    import cv2
    import numpy as np

    if len(places) < LEAST_PIXELS:
        return None
    old: np.ndarray = places.double().numpy()
    spread = np.linalg.svd(old - old.mean(axis=0), compute_uv=False) / math.sqrt(len(old))
    if spread[1] < 0.25:  # pixels; narrower, the motion across is a guess
        return None
    found, _ = cv2.estimateAffine2D(
        old, goals.double().numpy(), method=cv2.LMEDS, maxIters=2000, confidence=0.999, refineIters=20
    )
    return None if found is None or not np.isfinite(found).all() else torch.from_numpy(found.copy())


def _foreground(foreground: Tensor | None, before: Tensor) -> Tensor:
    if foreground is None:
        return foreground_mask(before)
    expected = [before.shape[0], *before.shape[2:]]
    if not isinstance(foreground, Tensor) or list(foreground.shape) != expected:
        given = (
            f"has shape {list(foreground.shape)}" if isinstance(foreground, Tensor) else f"is {foreground!r}"
        )
        raise LisError(f"the foreground {given}; {expected} was expected.")
    return foreground.cpu() != 0


def _places(height: int, width: int) -> Tensor:
    """Return the positions (x, y) of all pixels, float64 [H, W, 2]."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([x, y], dim=2)


def _sample(flow: Tensor, at: Tensor) -> Tensor:
    """Look flow [N, H, W, 2] up at positions (x, y) [N, H, W, 2] in pixels, bilinearly; beyond the edge it goes on."""
    size = torch.tensor([flow.shape[2], flow.shape[1]], dtype=at.dtype)
    grid = ((at + 0.5) / size * 2 - 1).float()
    return F.grid_sample(
        flow.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).permute(0, 2, 3, 1)


def _texture(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Judge what there is to follow around every pixel, by the structure tensor of 5 x 5 pixels of a small picture.

    Returns
    -------
    textured [N, H, W], whether there is enough contrast; clear [N, H, W], whether it has more than one direction; and
    the unit vector (x, y) of the direction of most contrast, across an edge, [N, H, W, 2].
    """
    light = luminance(x)[:, None]
    size = (light.shape[2], light.shape[3])
    light = F.avg_pool2d(light, max(1, min(size) // _COARSE), ceil_mode=True)
    wide = F.pad(light, (1, 1, 1, 1), mode="replicate")
    right = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2
    down = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2
    products = torch.cat([right * right, right * down, down * down], dim=1)  # [N, 3, h, w]
    tensor = F.avg_pool2d(products, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)
    xx, xy, yy = F.interpolate(tensor, size, mode="bilinear").unbind(1)  # [N, H, W]
    total = xx + yy
    least = (total / 2 - torch.hypot((xx - yy) / 2, xy)).clamp_min(0)  # contrast in the direction of least
    across = torch.atan2(2 * xy, xx - yy) / 2
    clear = (total >= LEAST_GRADIENT**2) & (least >= LEAST_SHARE**2 * total)
    return total >= LEAST_GRADIENT**2, clear, torch.stack([across.cos(), across.sin()], dim=3)


def _describe(moved: Tensor, inside: Tensor, reliable: Tensor, share: float) -> dict[str, float]:
    """Summarise motion [H, W, 2] over the pixels `inside` a part [H, W]."""
    known = inside & reliable
    pixels, count = int(inside.sum()), int(known.sum())
    row = dict.fromkeys(("dx", "dy", "magnitude", "largest", "divergence", "rotation"), math.nan)
    if count:
        vectors = moved[known]  # [count, 2]
        lengths = vectors.norm(dim=1)
        row |= {"dx": float(vectors[:, 0].mean()), "dy": float(vectors[:, 1].mean())}
        row |= {"magnitude": float(lengths.mean()), "largest": float(lengths.quantile(share))}
    beside, below = known[:, 1:] & known[:, :-1], known[1:] & known[:-1]
    if beside.any() and below.any():
        across = (moved[:, 1:] - moved[:, :-1])[beside].mean(
            dim=0
        )  # change of (dx, dy) per pixel to the right
        along = (moved[1:] - moved[:-1])[below].mean(dim=0)  # and per pixel downwards
        row |= {"divergence": float(across[0] + along[1]), "rotation": float(across[1] - along[0]) / 2}
    return {"pixels": pixels, "reliable": count / pixels if pixels else math.nan, **row}
