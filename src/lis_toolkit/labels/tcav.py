"""TCAV: does a class depend on a concept that a user has examples of? With random concepts as the null."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..activations import Layer, choose_layers
from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import check_images_for
from ..names import finite_number, spelling_hint, whole_number
from ..saliency.gradients import ask
from ..selectivity.statistics import false_discovery
from .concept_space import METHODS, ConceptSpace, Directions, fit_directions, layer_space

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["random_concept_p", "validate_concepts"]

LEAST_IMAGES = 6  # of a concept: four to fit and two to test
CORRECTIONS = ("bh", "bonferroni")
CHUNK_BYTES = 2**28  # of the products that are held at once while directions are fitted


def validate_concepts(
    classifier: Classifier,
    concepts: Mapping[str, Tensor | Photographs],
    target: str | int,
    images: Tensor | Photographs,
    random_images: Tensor | Photographs,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    *,
    runs: int = 10,
    random_concepts: int = 199,
    pool: str | None = None,
    method: str = "ridge",
    correction: str = "bh",
    alpha: float = 0.05,
    seed: int = 0,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Test whether a class score rises in the direction of concepts (TCAV: Kim et al. 2018, arXiv 1711.11279).

    In each layer a linear classifier tells the concept's images from random ones; its direction is the concept's
    activation vector. The TCAV score is the share of the class's images whose score rises in that direction (section
    3.3 there). It is repeated `runs` times with other random images.

    Significance deviates from the paper, which compares the runs of a concept with runs of random images by a t-test.
    All runs of a concept share its images, so they are no independent samples: with 25 runs that test called more
    than half of 80 random sets significant at a level of 5 % (51 to 64 % in three layers of a tiny network, where the
    rank below called 6 %; tests/test_tcav.py has a like). Here
    a random set of images is a null concept that gets exactly what the concept gets, as many images and as many runs,
    and p is the concept's rank among `random_concepts` of them, by the distance of its mean score from the mean of
    all. The paper's p is told, too.

    Parameters
    ----------
    concepts
        Name -> images of it [n, C, H, W] in the unit range; at least 6 each, better 50.
    target
        The class, by name or index.
    images
        Images whose class score is derived: of the class. Of `Photographs` those with its label are taken.
    random_images
        Images without the concept, the more the better; at least twice as many as the largest concept has. What they
        are decides what a concept means: "sleeves" against random garments is another concept than against noise.
        Take them from where the concept's images are from, as many as there are: what these have in common, every
        concept from elsewhere differs in.
    layers
        Names or Layers; default: all convolutions and the penultimate layer.
    runs
        Directions of every concept, each against other random images.
    random_concepts
        So many null concepts; the least p is 1 / (random_concepts + 1).
    pool
        None: directions in all activations of a layer, as in the paper; "mean": in their means over positions.
    method
        "ridge" or "logistic": the linear classifier.
    correction
        "bh": q by Benjamini and Hochberg over concepts and layers; "bonferroni".
    alpha
        Level of "significant".
    seed
        Of all draws.
    batch_size
        Images at a time.

    Returns
    -------
    DataFrame
        A row per concept and layer: concept, target, layer, title, depth; score (mean over the runs), low and high
        (of single runs), random_score and random_low, random_high (mean and middle 95 % of the null concepts' scores),
        p, q, significant; accuracy (of the linear classifier on held-out images, mean; of no concept 0.5), accuracy_q
        (of its rank among the null concepts, corrected likewise): a concept that can't be told has no direction;
        alignment (mean cosine of gradient and direction, which is finer than its sign) and alignment_q; paper_p (the
        paper's t-test); images (of the class), concept_images. Where all images share one gradient, as at the
        penultimate layer of a linear head, every single score is 0 or 1: look at alignment.

    Raises
    ------
    LisError
        For an encoder without a head, too few images, concepts without a name, images that don't fit, and layers that
        there are not or that don't fit into memory.

    Examples
    --------
    >>> found = validate_concepts(classifier, {"sleeves": long_sleeved}, "Coat", photographs, photographs.images)
    >>> found[["concept", "title", "score", "q", "accuracy"]]
    """
    import pandas as pd

    index = classifier.class_index(target)
    question_images = _images_of(classifier, images, index)
    pool_images = _checked(classifier, random_images, "the random images")
    sets = _concepts(classifier, concepts, len(pool_images))
    runs = whole_number(runs, "runs", 1)
    nulls = whole_number(random_concepts, "random_concepts", 19)
    seed, size = whole_number(seed, "seed", 0), whole_number(batch_size, "batch_size", 1)
    _known(method, METHODS, "method")
    _known(correction, CORRECTIONS, "correction")
    if pool not in (None, "mean"):
        raise LisError(f"pool is {pool!r}; None or 'mean' was expected.")
    if not 0 < finite_number(alpha, "alpha") < 1:
        raise LisError(f"alpha is {alpha!r}; a level between 0 and 1 was expected.")
    question = ask(classifier, len(question_images), index)
    chosen = choose_layers(classifier, layers)
    everything = torch.cat([*sets.values(), pool_images])
    starts = np.cumsum([0, *(len(x) for x in sets.values())])
    rows: list[dict[str, Any]] = []
    for layer in chosen:
        if layer.kind == "logits":
            raise LisError(
                "the logits are what is explained, not a layer to explain them by; take an earlier one."
            )
        space = layer_space(
            classifier, layer, everything, question_images, question, pool=pool, batch_size=size
        )
        null: dict[int, _Scores] = {}
        for (name, x), start in zip(sets.items(), starts, strict=False):
            n = len(x)
            draw = _Draw(int(starts[-1]), len(pool_images), n, runs, seed)
            if n not in null:
                null[n] = _scores(space, *draw.random_concepts(nulls), runs, method)
            own = _scores(space, *draw.concept(int(start)), runs, method)
            rows.append({
                "concept": name, "target": classifier.classes[index], "layer": layer.name, "title": layer.title,
                "depth": layer.depth, **_row(own, null[n]), "images": len(question_images), "concept_images": n,
            })  # fmt: skip
    table = pd.DataFrame(rows)
    for p, q in (("p", "q"), ("accuracy_p", "accuracy_q"), ("alignment_p", "alignment_q")):
        values = table[p].to_numpy()
        table[q] = false_discovery(values) if correction == "bh" else np.minimum(values * len(values), 1)
    table["significant"] = table["q"] <= alpha
    return table[_COLUMNS].sort_values(["concept", "depth"], kind="stable", ignore_index=True)


_COLUMNS = [
    "concept", "target", "layer", "title", "depth", "score", "low", "high", "random_score", "random_low", "random_high",
    "p", "q", "significant", "accuracy", "accuracy_q", "alignment", "alignment_q", "paper_p", "images",
    "concept_images",
]  # fmt: skip


class _Scores:
    """Scores, alignments and accuracies of concepts, each [concepts, runs]."""

    def __init__(self, score: Tensor, alignment: Tensor, accuracy: Tensor) -> None:
        self.score, self.alignment, self.accuracy = (v.numpy() for v in (score, alignment, accuracy))


def _scores(space: ConceptSpace, inside: Tensor, outside: Tensor, runs: int, method: str) -> _Scores:
    """Fit a direction to every row of `inside` against that of `outside`, [B, n] each."""
    held = max(1, round(inside.shape[1] / 3))
    each = 8 * max(
        (2 * inside.shape[1]) ** 2, len(space.gram)
    )  # bytes a direction, of products or of weights
    chunk, found = max(1, CHUNK_BYTES // each), []
    for a, b in zip(inside.split(chunk), outside.split(chunk), strict=True):
        directions: Directions = fit_directions(space.gram, a, b, held, method=method)
        derivatives = directions.derivatives(space)  # [B, n]
        lengths = space.lengths.clamp(min=1e-30)
        found.append(
            torch.stack(
                [
                    (derivatives > 0).double().mean(1),
                    (derivatives / lengths).mean(1),
                    directions.accuracy,
                ]
            )
        )
    return _Scores(*torch.cat(found, 1).reshape(3, -1, runs))


class _Draw:
    """Which images stand for a concept and which against it, in every run."""

    def __init__(self, first: int, count: int, n: int, runs: int, seed: int) -> None:
        self.first, self.count, self.n, self.runs, self.seed = first, count, n, runs, seed

    def concept(self, start: int) -> tuple[Tensor, Tensor]:
        """Return rows of a concept's images, in a new order in every run, and of random ones, int64 [runs, n] each."""
        inside, outside = [], []
        for run in range(self.runs):
            rng = np.random.default_rng([self.seed, 1, run, self.n])
            inside.append(start + rng.permutation(self.n))
            outside.append(self.first + rng.permutation(self.count)[: self.n])
        return _rows(inside), _rows(outside)

    def random_concepts(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the same for random images in place of a concept's, int64 [number runs, n] each."""
        inside, outside = [], []
        for k in range(number):
            rng = np.random.default_rng([self.seed, 2, k, self.n])
            shuffled = self.first + rng.permutation(self.count)
            own, others = shuffled[: self.n], shuffled[self.n :]
            for _ in range(self.runs):
                inside.append(rng.permutation(own))
                outside.append(rng.permutation(others)[: self.n])
        return _rows(inside), _rows(outside)


def _rows(lists: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(lists))


def random_concept_p(value: float, null: np.ndarray) -> float:
    """Return the two-sided p of a value among those of random concepts [R]: its rank by distance from the mean of all.

    Were the concept a random one, it could be exchanged with any of them, and each rank be as likely.

    Examples
    --------
    >>> random_concept_p(0.9, np.linspace(0.4, 0.6, 199))
    0.005
    """
    both = np.append(null, value)
    distance = np.abs(both - both.mean())
    return float((distance >= distance[-1] - 1e-12).mean())


def _row(own: _Scores, null: _Scores) -> dict[str, float]:
    from scipy.stats import ttest_ind

    score, random = own.score[0], null.score.mean(1)
    first = null.score[:, 0]
    paper = float("nan")
    if len(score) > 1 and score.std() + first.std() > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scores that are nearly equal
            paper = float(ttest_ind(score, first, equal_var=False).pvalue)
    low, high = np.quantile(random, [0.025, 0.975])
    return {
        "score": float(score.mean()), "low": float(score.min()), "high": float(score.max()),
        "random_score": float(random.mean()), "random_low": float(low), "random_high": float(high),
        "p": random_concept_p(float(score.mean()), random),
        "accuracy": float(own.accuracy.mean()),
        "accuracy_p": random_concept_p(float(own.accuracy.mean()), null.accuracy.mean(1)),
        "alignment": float(own.alignment.mean()),
        "alignment_p": random_concept_p(float(own.alignment.mean()), null.alignment.mean(1)),
        "paper_p": paper,
    }  # fmt: skip


def _known(value: Any, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise LisError(
            f"no {what} {value!r}; there are {', '.join(map(repr, known))}.{spelling_hint(str(value), known)}"
        )


def _checked(classifier: Classifier, given: Tensor | Photographs, name: str) -> Tensor:
    x = given.images if isinstance(given, Photographs) else given
    return check_images_for(classifier, x, name)


def _images_of(classifier: Classifier, given: Tensor | Photographs, index: int) -> Tensor:
    name = classifier.classes[index]
    if isinstance(given, Photographs):
        if name not in given.classes:
            raise LisError(f"the photographs have no class {name!r}; give the images of it as a tensor.")
        given = given.images[given.labels == given.classes.index(name)]
        if not len(given):
            raise LisError(f"there is no photograph of class {name!r}; give some, or its images as a tensor.")
    return _checked(classifier, given, f"the images of {name!r}")


def _concepts(
    classifier: Classifier, concepts: Mapping[str, Tensor | Photographs], available: int
) -> dict[str, Tensor]:
    if not isinstance(concepts, Mapping) or not concepts:
        raise LisError("the concepts are a dict of names and images [n, C, H, W], with at least one.")
    sets = {}
    for name, given in concepts.items():
        x = _checked(classifier, given, f"the images of concept {name!r}")
        if len(x) < LEAST_IMAGES:
            raise LisError(
                f"concept {name!r} has {len(x)} images; at least {LEAST_IMAGES} were expected, better 50."
            )
        if available < 2 * len(x):
            raise LisError(
                f"concept {name!r} has {len(x)} images and there are {available} random ones; at least {2 * len(x)} "
                "were expected, since random concepts are as large and need others to stand against."
            )
        sets[str(name)] = x
    return sets
