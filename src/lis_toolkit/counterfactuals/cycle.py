"""What photographs lose on the way x -> r -> w -> picture, before anything is changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import check_images_for, extract_features
from ..link import Link
from ..pairs import check_models
from ..parts.whole import SSIM_WINDOW, luminance, similarity
from ..stylegan import Generator
from .intervals import Estimate, mean_over_starts, share_over_starts
from .measures import WITHIN
from .reference import mean_distance
from .rows import pixel_rms

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["CycleLoss", "cycle_loss", "like_generated"]

WHAT = {
    "kept": ("share", "class kept by the cycle, by the classifier"),
    "kept_judge": ("share", "class kept by the cycle, by the judge"),
    "pixels": ("RMS of the unit range", "difference of cycled picture and photograph"),
    "ssim": ("at most 1", "structural similarity of cycled picture and photograph"),
    "perceptual": ("mean distance of two photographs", "their distance in the judge's features"),
    "cycle_error": ("share of |r|", "distance of r after the cycle from r before"),
}


@dataclass(frozen=True, repr=False)
class CycleLoss:
    """What the cycle loses of photographs: a counterfactual of a photograph starts from its cycled picture.

    Attributes
    ----------
    rows : a row per photograph: raw and cycled (the classifier's classes of both), kept, pixels, ssim, cycle_error
        (|r(cycled) - r| / |r|), and with a judge judge_raw, judge_cycled, kept_judge, perceptual.
    summary : measure, value, low, high (95 %), n, unit, what.
    photographs, cycled : [N, C, H, W], both in the generator's format.

    Examples
    --------
    >>> print(cycle_loss(result, generator, classifier, link, judge=judge))
    """

    rows: pd.DataFrame
    summary: pd.DataFrame
    photographs: Tensor
    cycled: Tensor

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.rows)

    def __repr__(self) -> str:
        return f"CycleLoss({len(self)} photographs)"

    def __str__(self) -> str:
        """Say what is lost, a measure a line."""
        lines = [f"what the cycle itself loses of {len(self)} photographs:"]
        for row in self.summary.to_dict("records"):
            bounds = "" if math.isnan(row["low"]) else f" ({row['low']:.3g} to {row['high']:.3g})"
            lines.append(f"{row['measure']:12} {row['value']:.3g}{bounds}; {row['what']} [{row['unit']}]")
        return "\n".join(lines)


@torch.no_grad()
def cycle_loss(
    photographs: Counterfactuals | Photographs | Tensor,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    *,
    judge: Classifier | None = None,
    seed: int = 0,
) -> CycleLoss:
    """Measure what photographs lose when classifier, link and generator draw them again.

    Parameters
    ----------
    photographs : counterfactuals that started from photographs, or photographs, or images [N, C, H, W] in the unit
        range. Those of another size than the generator's are reduced by means over areas, or enlarged, for the
        comparison of pixels.
    judge : another classifier, for a second opinion and for a distance in its features.
    seed : of the bootstrap.

    Returns
    -------
    CycleLoss

    Raises
    ------
    LisError : counterfactuals that did not start from photographs, images that the classifier does not take, models
        that don't belong together, a classifier or a judge without classes.

    Examples
    --------
    >>> cycle_loss(load_fashion("sample").images[:100], generator, classifier, link).summary
    """
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    x = _images(photographs)
    told = extract_features(classifier, x)
    w = link(told.r.to(link.device))
    cycled = torch.cat([generator.render(part).float().cpu() for part in w.split(256)])  # [N, C, H, W]
    again = extract_features(classifier, cycled)
    raw = like_generated(x, generator)
    large = min(raw.shape[2:]) >= SSIM_WINDOW
    names = np.array(classifier.classes, dtype=object)
    columns = {
        "raw": names[told.predictions.numpy()],
        "cycled": names[again.predictions.numpy()],
        "kept": (told.predictions == again.predictions).numpy(),
        "pixels": pixel_rms(cycled, raw).double().numpy(),
        "ssim": similarity(cycled, raw).double().numpy() if large else np.full(len(x), np.nan),
        "cycle_error": ((again.r - told.r).norm(dim=1) / told.r.norm(dim=1)).double().numpy(),
    }
    if judge is not None:
        check_images_for(judge, x, "the photographs")
        check_models(generator, judge, same_classes=False)
        one, two = extract_features(judge, x), extract_features(judge, cycled)
        names = np.array(judge.classes, dtype=object)
        columns |= {
            "judge_raw": names[one.predictions.numpy()],
            "judge_cycled": names[two.predictions.numpy()],
            "kept_judge": (one.predictions == two.predictions).numpy(),
            "perceptual": ((two.r - one.r).norm(dim=1) / mean_distance(one.r)).double().numpy(),
        }
    return _summed(columns, raw, cycled, seed)


def _summed(columns: dict[str, np.ndarray], raw: Tensor, cycled: Tensor, seed: int) -> CycleLoss:
    import pandas as pd

    rows = pd.DataFrame(columns)
    starts = np.arange(len(rows))
    found = []
    for name, (unit, what) in WHAT.items():
        if name in rows:
            share = name.startswith("kept")
            e: Estimate = (
                share_over_starts(rows[name].to_numpy(), starts)
                if share
                else mean_over_starts(
                    rows[name].to_numpy(float), starts, within=WITHIN.get(name, (0.0, math.inf)), seed=seed
                )
            )
            found.append((name, e.value, e.low, e.high, e.n, unit, what))
    summary = pd.DataFrame(found, columns=["measure", "value", "low", "high", "n", "unit", "what"])
    return CycleLoss(rows, summary, raw, cycled)


def _images(photographs: Counterfactuals | Photographs | Tensor) -> Tensor:
    images = photographs if isinstance(photographs, Tensor) else getattr(photographs, "images", None)
    if not isinstance(images, Tensor):
        raise LisError(
            "these counterfactuals did not start from photographs, so there is no cycle to measure: give images to "
            "find_counterfactuals, or photographs here."
        )
    return images.float().cpu()


def like_generated(x: Tensor, generator: Generator) -> Tensor:
    """Return images [N, C, H, W] in the generator's size and channels, so that pixels can be compared."""
    size = (int(generator.img_resolution),) * 2
    if tuple(x.shape[2:]) != size:
        larger = min(x.shape[2:]) >= size[0]
        mode, options = ("area", {}) if larger else ("bilinear", {"align_corners": False})
        x = torch.nn.functional.interpolate(x.float(), size, mode=mode, **options)
    if x.shape[1] != generator.img_channels:
        x = luminance(x)[:, None] if generator.img_channels == 1 else x.expand(-1, 3, -1, -1)
    return x
