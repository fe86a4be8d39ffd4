"""Tables of penultimate units: what they do per class, what they argue for, real against generated images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import LisError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_means", "compare_features", "unit_contributions", "unit_table"]


def class_means(r: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the mean activation of every unit in every class, [K, R]; NaN for a class without images.

    Examples
    --------
    >>> class_means(features.r, photographs.labels, len(photographs.classes)).shape
    torch.Size([10, 256])
    """
    r, labels = _checked(r, labels, num_classes)
    sums = torch.zeros(num_classes, r.shape[1], dtype=torch.float64).index_add_(0, labels, r.double())
    return (sums / torch.bincount(labels, minlength=num_classes)[:, None]).float()


def unit_table(r: Tensor, labels: Tensor, weights: Tensor, classes: Sequence[str]) -> pd.DataFrame:
    """Describe every unit over N images in a row.

    Parameters
    ----------
    r : [N, R], activations.
    labels : [N], class indices.
    weights : [K, R], of the linear head.
    classes : names of the K classes.

    Returns
    -------
    DataFrame
        unit, mean, std, max (activation units), silent (share of images where it is 0), strongest_in (class of the
        highest mean), argues_for and argues_against (classes of the highest and lowest weight); widest std first.

    Raises
    ------
    LisError : sizes that do not fit each other.

    Examples
    --------
    >>> unit_table(features.r, photographs.labels, head_weights(classifier), classifier.classes).head()
    """
    import pandas as pd

    r, labels = _checked(r, labels, len(classes))
    weights = _checked_weights(weights, len(classes), r.shape[1])
    means = class_means(r, labels, len(classes)).nan_to_num(-torch.inf)
    table = pd.DataFrame({
        "unit": range(r.shape[1]),
        "mean": r.mean(0).numpy(),
        "std": r.std(0, correction=0).numpy(),
        "max": r.amax(0).numpy(),
        "silent": (r == 0).float().mean(0).numpy(),
        "strongest_in": [classes[k] for k in means.argmax(0).tolist()],
        "argues_for": [classes[k] for k in weights.argmax(0).tolist()],
        "argues_against": [classes[k] for k in weights.argmin(0).tolist()],
    })  # fmt: skip
    return table.sort_values("std", ascending=False, ignore_index=True)


def unit_contributions(r: Tensor, labels: Tensor, weights: Tensor, k: int) -> pd.DataFrame:
    """Rank units by how much they tell class k from the other classes.

    The head is linear, so the logit of k less the mean logit of all classes is a sum over units of weight times
    activation, the weight less its mean over classes. `contribution` is that term's mean in class k less its mean
    elsewhere.

    Parameters
    ----------
    r, labels, weights : as for `unit_table`.
    k : class index.

    Returns
    -------
    DataFrame
        unit, weight (less its mean over classes), mean_inside, mean_outside, contribution; the largest first.

    Examples
    --------
    >>> unit_contributions(pairs.r, pairs.labels, head_weights(classifier), classifier.class_index("Coat")).head()
    """
    import pandas as pd

    r, labels = _checked(r, labels, len(weights))
    weights = _checked_weights(weights, len(weights), r.shape[1])
    inside = labels == k
    if not bool(inside.any()) or bool(inside.all()):
        raise LisError(
            f"class {k} has {int(inside.sum())} of {len(labels)} images; some inside and some outside are needed."
        )
    weight = weights[k] - weights.mean(0)  # [R]
    within, outside = r[inside].mean(0), r[~inside].mean(0)
    table = pd.DataFrame({
        "unit": range(r.shape[1]),
        "weight": weight.numpy(),
        "mean_inside": within.numpy(),
        "mean_outside": outside.numpy(),
        "contribution": (weight * (within - outside)).numpy(),
    })  # fmt: skip
    return table.sort_values("contribution", ascending=False, ignore_index=True)


def compare_features(real: Tensor, generated: Tensor) -> pd.DataFrame:
    """Compare every unit's activations over real with those over generated images.

    Both sets should hold the same share of each class, else the classes are what is compared.

    Returns
    -------
    DataFrame
        unit, real_mean, generated_mean, real_std, generated_std, shift (of the mean, in standard deviations over the
        real images; NaN where they do not vary); the largest shift first.

    Raises
    ------
    LisError : sets of different widths, or empty ones.

    Examples
    --------
    >>> compare_features(features.r, pairs.r).shift.abs().median()
    """
    import pandas as pd

    for name, r in (("real", real), ("generated", generated)):
        if r.ndim != 2 or len(r) == 0 or r.shape[1] != real.shape[1] or not bool(torch.isfinite(r).all()):
            raise LisError(
                f"{name} has shape {list(r.shape)}; finite activations [N, {real.shape[-1]}] were expected."
            )
    real, generated = real.cpu().float(), generated.cpu().float()
    spread = real.std(0, correction=0)
    shift = (generated.mean(0) - real.mean(0)) / spread.where(spread > 0, torch.nan)
    table = pd.DataFrame({
        "unit": range(real.shape[1]),
        "real_mean": real.mean(0).numpy(),
        "generated_mean": generated.mean(0).numpy(),
        "real_std": spread.numpy(),
        "generated_std": generated.std(0, correction=0).numpy(),
        "shift": shift.numpy(),
    })  # fmt: skip
    return table.sort_values("shift", key=abs, ascending=False, ignore_index=True)


def _checked(r: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    if r.ndim != 2 or labels.shape != r.shape[:1] or len(r) == 0:
        raise LisError(
            f"r has shape {list(r.shape)} and labels {list(labels.shape)}; [N, R] and [N] were expected."
        )
    if not bool(torch.isfinite(r).all()):
        raise LisError("r has NaN or infinite values; finite activations were expected.")
    labels = labels.cpu().long()
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise LisError(
            f"labels run from {int(labels.min())} to {int(labels.max())}; there are {num_classes} classes."
        )
    return r.detach().cpu().float(), labels


def _checked_weights(weights: Tensor, num_classes: int, num_units: int) -> Tensor:
    if tuple(weights.shape) != (num_classes, num_units):
        raise LisError(f"weights has shape {list(weights.shape)}; [{num_classes}, {num_units}] was expected.")
    return weights.detach().cpu().float()
