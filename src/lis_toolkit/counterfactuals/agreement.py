"""Does the linear head know what the picture will be? Its margins along paths beside the rendered ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..classifiers import Classifier
from ..errors import LisError
from ..names import finite_number, whole_number
from .boundary import head_logits
from .class_distances import pair_codes, rows_by_pair
from .intervals import resampled_means, widened_interval
from .paths import target_margins
from .result import Counterfactuals, check_own_models
from .rows import asked
from .table import PAIR

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["head_agreement", "head_margins"]

ALL = "all"


@torch.no_grad()
def head_margins(result: Counterfactuals, classifier: Classifier) -> np.ndarray:
    """Margins [N, P] that the head gives to the activations along the paths: target against the best other, logits.

    Raises
    ------
    LisError
        For a classifier without a head, or another than the result's.

    Examples
    --------
    >>> head_margins(result, classifier) - result.margins.numpy()
    """
    check_own_models(result, classifier=classifier)
    if not classifier.has_head or tuple(classifier.classes) != result.classes:
        raise LisError("the classifier has no head or other classes than these counterfactuals.")
    rows = [head_logits(classifier, part) for part in result.paths().split(1024)]
    if not rows:
        return np.zeros((0, len(result.amounts)))
    return target_margins(torch.cat(rows), result.targets).numpy()


def head_agreement(
    result: Counterfactuals,
    classifier: Classifier,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what the head predicts along the paths with what the rendered pictures are, by class pair.

    The head is linear in r, so it says at once where a shift crosses its boundary; the picture goes through the link,
    the generator and the whole classifier. Starts are left out of the comparison: both sides say "not yet" there.

    Parameters
    ----------
    confidence, resamples, seed : of the bootstrap over starts, within each class pair.

    Returns
    -------
    DataFrame
        First the row "all", "all", then one for each class pair (class of the cycled picture, target):
        `origin`, `target`, `rows` : the pair and its counterfactuals; those that begin in the target, by head or
        picture, are left out: they have no path.
        `agreement`, `_low`, `_high` : share of places along the paths where head and picture agree on whether the
        target is reached, and its interval.
        `early` : share of places where the head says yes and the picture no; the rest of the disagreement is late.
        `slope`, `_low`, `_high` : logits by which the rendered margin rises for one of the head's, from the start to
        the end of the path, pooled over rows (the ratio of the two mean rises); 1 where the head is right.

    Raises
    ------
    LisError
        For another classifier, one without a head, settings out of range, no rows to compare.

    Examples
    --------
    >>> head_agreement(result, classifier).head()
    """
    import pandas as pd

    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    whole_number(resamples, "resamples", 1)
    whole_number(seed, "seed", 0)
    head, seen = head_margins(result, classifier), result.margins.double().numpy()
    origins, targets = (result.table[name].to_numpy() for name in PAIR)
    kept = np.flatnonzero(asked(result.table) & np.isfinite(head).all(1) & np.isfinite(seen).all(1))
    if len(kept) == 0:
        raise LisError("no counterfactual can be compared: all begin in their target, or have no margins.")
    rows = _Rows(head[kept], seen[kept], result.table["start"].to_numpy()[kept], confidence, resamples)
    found = [rows.compare(ALL, ALL, np.arange(len(kept)), [seed])]
    order = {name: place for place, name in enumerate(result.classes)}
    pairs = rows_by_pair(origins[kept], targets[kept])
    for origin, target in sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])):
        found.append(rows.compare(origin, target, pairs[origin, target], [seed, *pair_codes(origin, target)]))
    return pd.DataFrame(found)


class _Rows:
    """Margins of the rows that are compared, and how intervals are made."""

    def __init__(
        self, head: np.ndarray, seen: np.ndarray, starts: np.ndarray, confidence: float, resamples: int
    ) -> None:
        yes, reached = head[:, 1:] > 0, seen[:, 1:] > 0  # [N, P - 1]
        self.same, self.early = (yes == reached).mean(1), (yes & ~reached).mean(1)  # [N]
        self.rises = np.stack([seen[:, -1] - seen[:, 0], head[:, -1] - head[:, 0]])  # [2, N]
        self.starts, self.confidence, self.resamples = starts, confidence, resamples

    def compare(self, origin: str, target: str, rows: np.ndarray, seed: list[int]) -> dict[str, Any]:
        same, starts = self.same[rows], self.starts[rows]
        draws, n = resampled_means(same, starts, self.resamples, seed)
        agreement = np.clip(widened_interval(draws, same.mean(), n, self.confidence), 0, 1)
        picture, head = self.rises[:, rows]
        # The same seed draws the same starts, so this is the ratio in each resample.
        drawn, _ = resampled_means(picture, starts, self.resamples, seed)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = drawn / resampled_means(head, starts, self.resamples, seed)[0]
            slope = float(picture.mean() / head.mean()) if head.mean() else float("nan")
        slopes = widened_interval(ratio, slope, n, self.confidence)
        return {
            "origin": origin, "target": target, "rows": len(rows),
            "agreement": float(same.mean()),
            "agreement_low": float(agreement[0]), "agreement_high": float(agreement[1]),
            "early": float(self.early[rows].mean()),
            "slope": slope, "slope_low": float(slopes[0]), "slope_high": float(slopes[1]),
        }  # fmt: skip
