"""Real pictures in a judge's features: the scale of distances, and what counterfactuals are compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import extract_features
from ..link import Link
from ..pairs import Pairs
from ..quality import nearest_distances
from ..stylegan import Generator

__all__ = ["JudgeReference", "diversity", "judge_reference", "mean_distance"]

MOST = 2000  # rows between which all distances are taken


@dataclass(frozen=True)
class JudgeReference:
    """Judge features of real pictures.

    Attributes
    ----------
    features : [M, D].
    labels : int64 [M], indices into the classes of the counterfactuals.
    cycled : [M, D], of what classifier, link and generator make of the same pictures, without any change.
    kind : "pairs" (pictures of the generator) or "photographs".
    """

    features: Tensor
    labels: Tensor
    cycled: Tensor
    kind: str

    def of(self, label: int) -> Tensor:
        """Return the features of one class, [m, D]."""
        return self.features[self.labels == label]

    def scale(self) -> float:
        """Return the mean distance between two random pictures."""
        return mean_distance(self.features)

    def neighbours(self, ends: Tensor, targets: Tensor) -> Tensor:
        """Return the distance of ends [N, D] to the nearest picture of their target classes [N].

        In units of the median distance of that class's pictures to their own nearest neighbours; NaN where the class
        has fewer than 3 pictures.
        """
        found = torch.full((len(ends),), torch.nan)
        for label in targets.unique().tolist():
            real = self.of(label)
            if len(real) < 3:
                continue
            usual = nearest_distances(real, real, 1, same=True)[0].median()
            rows = targets == label
            found[rows] = nearest_distances(ends[rows], real)[0][:, 0] / usual
        return found

    def matched(self, targets: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw ends and two sets of real pictures that share none, all of one size and one mixture of classes.

        Parameters
        ----------
        targets : [N], the target class of every end.

        Returns
        -------
        Indices of ends, of real pictures, and of other real pictures, [n] each. All ends are taken where every class
        has twice as many pictures as ends, else the same share of every class, as many as its pictures allow.
        """
        wanted, have = Counter(targets.tolist()), Counter(self.labels.tolist())
        share = min([1.0, *(have[label] / (2 * count) for label, count in wanted.items())])
        rng = np.random.default_rng(seed)
        drawn: tuple[list[np.ndarray], ...] = ([], [], [])
        for label, of_class in sorted(wanted.items()):
            count = int(of_class * share + 1e-9)
            real = rng.permutation(np.flatnonzero(self.labels.numpy() == label))
            drawn[0].append(np.sort(rng.permutation(np.flatnonzero(targets.numpy() == label))[:count]))
            drawn[1].append(real[:count])
            drawn[2].append(real[count : 2 * count])
        ends, first, second = (
            torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *each])) for each in drawn
        )
        return ends, first, second


def mean_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance between two different rows of [M, D]; NaN for fewer than two."""
    some = features[:: max(1, -(-len(features) // MOST))].double()  # evenly spread: no class is left out
    if len(some) < 2:
        return math.nan
    return float(torch.cdist(some, some).sum()) / (len(some) * (len(some) - 1))


def judge_reference(
    real: Pairs | Photographs,
    classes: Sequence[str],
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier,
) -> JudgeReference:
    """Look at real pictures with the judge, held-out pairs, rendered again, or photographs, and at their cycles.

    Raises
    ------
    LisError : neither pairs nor photographs, pairs of another generator, no picture of these classes.

    Examples
    --------
    >>> judge_reference(held_out, classifier.classes, generator, classifier, link, judge).scale()
    """
    if isinstance(real, Pairs):
        if real.generator_hash and real.generator_hash != generator.hash:
            raise LisError(
                f"the pairs were collected with another generator than {generator.name!r}; collect some with this one."
            )
        features, r, kind = _drawn(real.w, generator, judge), real.r, "pairs"
    elif isinstance(real, Photographs):
        features, kind = extract_features(judge, real.images).r, "photographs"
        r = extract_features(classifier, real.images).r
    else:
        raise LisError(f"pairs are a {type(real).__name__}; Pairs or Photographs were expected.")
    index = {name: k for k, name in enumerate(classes)}
    labels = torch.tensor([index.get(name, -1) for name in real.classes])[real.labels.cpu()]  # [M]
    if len(keep := (labels >= 0).nonzero()[:, 0]) < 2:
        raise LisError(
            f"the {kind} hold {len(keep)} pictures of the classes {', '.join(list(classes)[:6])}; at least 2 were "
            "expected."
        )
    with torch.no_grad():
        w = link(r[keep].to(link.device))
    return JudgeReference(features[keep], labels[keep], _drawn(w, generator, judge), kind)


@torch.no_grad()
def _drawn(w: Tensor, generator: Generator, judge: Classifier) -> Tensor:
    """Return the judge's features [M, D] of the pictures of latents [M, W]."""
    parts = (generator.render(part.to(generator.device)).float().cpu() for part in w.split(256))
    return torch.cat([extract_features(judge, x).r for x in parts])


def diversity(ends: Tensor, pairs: np.ndarray, targets: Tensor, usual: dict[int, float]) -> float:
    """Mean distance between ends of one class pair, over that between real pictures of the target class.

    Parameters
    ----------
    ends : [N, D].
    pairs : [N], the class pair of every end. Pairs with one end have no distance and are left out.
    targets : [N], indices of the target classes.
    usual : mean distance between real pictures, by class.

    Returns
    -------
    The mean over class pairs, each counted once; NaN where there is none.
    """
    found = []
    for pair in np.unique(pairs):
        rows = np.flatnonzero(pairs == pair)
        scale = usual.get(int(targets[rows[0]]), math.nan)
        if len(rows) > 1 and scale > 0:
            found.append(mean_distance(ends[rows]) / scale)
    return float(np.mean(found)) if found else math.nan
