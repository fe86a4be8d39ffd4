"""How good a segmentation is: intersection over union part by part, confusions, and the worst pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..names import whole_number
from .legend import Legend

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PartScores:
    """Agreement of predicted labels with true ones.

    Attributes
    ----------
    legend : Legend
        What the labels stand for.
    counts : numpy.ndarray
        int64 [N, 1 + P, 1 + P]: of every picture, the pixels of each true label (row) and predicted label (column).

    Examples
    --------
    >>> scores = score_parts(segment(generator, segmenter, w), masks.labels, masks.legend)
    >>> scores.mean_iou, scores.worst(3)
    """

    legend: Legend
    counts: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union [P] of every part, over the pixels of all pictures; NaN where it never occurs."""
        return _iou(self.counts.sum(axis=0))

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the parts that occur, the background not among them."""
        return _mean(self.iou)

    @property
    def accuracy(self) -> float:
        """Share of all pixels, background included, whose label is right."""
        total = self.counts.sum(axis=0)
        return float(np.trace(total) / total.sum())

    @property
    def picture_iou(self) -> np.ndarray:
        """Mean [N] over the parts of each picture, in the truth or predicted; NaN for pictures without any."""
        return np.array([_mean(_iou(one)) for one in self.counts])

    def worst(self, count: int = 6) -> list[int]:
        """Return the numbers of the pictures with the lowest `picture_iou`, the worst first.

        Raises
        ------
        LisError
            For a count below 1.
        """
        count = whole_number(count, "count", 1)
        values = np.nan_to_num(self.picture_iou, nan=np.inf)
        return [int(i) for i in np.argsort(values, kind="stable")[:count]]

    def interval(self, samples: int = 2000, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Return a bootstrap interval of `mean_iou` (percentiles), pictures drawn with replacement.

        Raises
        ------
        LisError
            For fewer than 10 samples, or a level that is not between 0 and 1.
        """
        samples = whole_number(samples, "samples", 10)
        if not isinstance(level, float) or not 0 < level < 1:
            raise LisError(f"level is {level!r}; a number between 0 and 1 was expected.")
        n = len(self.counts)
        draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples)  # [S, N]
        means = [_mean(_iou(np.tensordot(draw, self.counts, axes=1))) for draw in draws]
        low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def table(self) -> pd.DataFrame:
        """Return one row a part: IoU, recall, precision, pixels in the truth, pictures that have it."""
        import pandas as pd

        total = self.counts.sum(axis=0)  # [1 + P, 1 + P]
        hits, true, found = np.diag(total), total.sum(axis=1), total.sum(axis=0)
        with np.errstate(invalid="ignore"):
            columns = {
                "iou": self.iou,
                "recall": (hits / true)[1:],
                "precision": (hits / found)[1:],
                "pixels": true[1:],
                "pictures": (self.counts.sum(axis=2) > 0).sum(axis=0)[1:],
            }
        return pd.DataFrame(columns, index=pd.Index(self.legend.parts, name="part"))

    def confusion(self, shares: bool = False) -> pd.DataFrame:
        """Return the pixels of each true label (row) that were predicted as each label (column), or their shares."""
        import pandas as pd

        total = self.counts.sum(axis=0)  # [1 + P, 1 + P]
        if shares:
            with np.errstate(invalid="ignore"):
                total = total / total.sum(axis=1, keepdims=True)
        names = list(self.legend.names)
        return pd.DataFrame(
            total, index=pd.Index(names, name="truth"), columns=pd.Index(names, name="predicted")
        )


def score_parts(labels: Tensor, truth: Tensor, legend: Legend) -> PartScores:
    """Compare predicted labels with true ones.

    Parameters
    ----------
    labels, truth
        uint8 [N, H, W], predicted and true.

    Raises
    ------
    LisError
        For labels of different shapes, of another type than integers, or beyond the legend.

    Examples
    --------
    >>> print(score_parts(labels, masks.labels, masks.legend).table())
    """
    k = len(legend.names)
    for name, value in (("labels", labels), ("truth", truth)):
        if not isinstance(value, Tensor) or value.is_floating_point() or value.ndim != 3 or 0 in value.shape:
            has = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise LisError(f"{name} are {has}; integers [N, H, W] were expected.")
        if int(value.max()) >= k or int(value.min()) < 0:
            raise LisError(
                f"{name} go from {int(value.min())} to {int(value.max())}; the legend has 0 to {k - 1}."
            )
    if labels.shape != truth.shape:
        raise LisError(
            f"labels have shape {list(labels.shape)}, the truth {list(truth.shape)}; the same was expected."
        )
    pairs = truth.cpu().long().flatten(1) * k + labels.cpu().long().flatten(1)  # [N, H W]
    pairs += torch.arange(len(pairs))[:, None] * k * k
    counts = torch.bincount(pairs.flatten(), minlength=len(pairs) * k * k).view(-1, k, k)
    return PartScores(legend, counts.numpy())


def class_scores(scores: PartScores, labels: Sequence[int], classes: Sequence[str]) -> pd.DataFrame:
    """Return one row a class: mean IoU over its parts, accuracy, and the IoU of every part.

    Parameters
    ----------
    labels
        Class index of every picture.
    classes
        Names of the classes.

    Raises
    ------
    LisError
        When there is not one label a picture.

    Examples
    --------
    >>> class_scores(scores, [p.label for p in masks.pictures], generator.classes)["mean_iou"]
    """
    import pandas as pd

    if len(labels) != len(scores.counts):
        raise LisError(f"there are {len(labels)} class labels for {len(scores.counts)} pictures.")
    rows = {}
    for index, name in enumerate(classes):
        of_class = PartScores(scores.legend, scores.counts[[label == index for label in labels]])
        if len(of_class.counts):
            parts = dict(zip(scores.legend.parts, of_class.iou, strict=True))
            rows[name] = {"mean_iou": of_class.mean_iou, "accuracy": of_class.accuracy, **parts}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _iou(counts: np.ndarray) -> np.ndarray:
    """Give the IoU [P] of the parts from counts [1 + P, 1 + P]."""
    hits = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    with np.errstate(invalid="ignore"):
        return (hits / union)[1:]


def _mean(iou: np.ndarray) -> float:
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")
