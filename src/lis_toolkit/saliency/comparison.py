"""How much of an explanation is the way of clustering: t-SNE from other starts, and without t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..activations import Layer
from ..classifiers import Classifier
from ..names import whole_number
from ..threads import one_thread
from .explain import explain_layer
from .explanation import LayerExplanation
from .gradients import ask, checked_images, layer_gradients, spatial_layers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_clusterings", "group_overlap", "map_agreement"]


def map_agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    """Sum of the smaller over the sum of the larger of two maps >= 0, each divided by its sum: 1 for equal ones.

    Examples
    --------
    >>> map_agreement(torch.eye(2), torch.eye(2))
    1.0
    """
    a, b = (m.double() / m.double().sum() if float(m.sum()) > 0 else m.double() for m in (one, other))
    above = float(torch.maximum(a, b).sum())
    return float(torch.minimum(a, b).sum()) / above if above > 0 else 1.0


def group_overlap(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    """How far the groups of one labelling [M] are found in another: best Jaccard index, weighted by their maps' weight.

    Examples
    --------
    >>> group_overlap(np.array([0, 0, 1]), np.array([1, 1, 0]), np.ones(3))
    1.0
    """
    total = 0.0
    for label in np.unique(one):
        own = one == label
        best = max((own & (other == o)).sum() / (own | (other == o)).sum() for o in np.unique(other))
        total += float(weights[own].sum()) * float(best)
    return total / float(weights.sum())


def compare_clusterings(
    classifier: Classifier,
    x: Any,
    target: Any = None,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    *,
    starts: int = 2,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> pd.DataFrame:
    """Cluster the same maps in several ways, and say how far the groups and the merged maps agree.

    The reference is t-SNE as `explain_images` has it, begun at the principal components. Compared with it: t-SNE begun
    at random places (`starts` seeds), Ward's tree without t-SNE, and as a control the reference's own labels given to
    the maps at random, which says what agreement means nothing.

    Parameters
    ----------
    starts : number of random beginnings.
    seed : the first of their seeds, and that of the control.

    Returns
    -------
    DataFrame: image, layer, title, way ("t-SNE, start 0", ..., "PCA, Ward", "shuffled"), rand (adjusted Rand index of
    the kept maps' groups: 1 equal, 0 as by chance), groups (`group_overlap`, of the reference's in the other), merged
    (`map_agreement` of the merged maps), k, k_reference, accounted, accounted_reference. Layers with fewer than five
    kept maps are left out: there is hardly a choice.

    Raises
    ------
    LisError : as `explain_images`.

    Examples
    --------
    >>> compare_clusterings(classifier, x[:5]).groupby("way")[["rand", "groups", "merged"]].median()
    """
    import pandas as pd

    images = checked_images(classifier, x)
    question = ask(classifier, len(images), target)
    chosen, _ = spatial_layers(classifier, layers)
    ways = [
        (f"t-SNE, start {i}", "tsne", seed + i, "random") for i in range(whole_number(starts, "starts", 0))
    ]
    whole_number(seed, "seed", 0)
    size, rows = whole_number(batch_size, "batch_size", 1), []
    with tqdm(total=len(images), desc="clusterings", unit="image", disable=not progress) as bar:
        for begin in range(0, len(images), size):
            part = slice(begin, begin + size)
            found = layer_gradients(classifier, images[part], chosen, question.rows(part))
            for row in range(len(found.scores)):
                for layer in chosen:
                    given = (layer, found.maps[layer.name][row], found.gradients[layer.name][row])
                    with one_thread():
                        reference = explain_layer(*given)
                        if len(reference.kept) < 5:
                            continue
                        others = {name: explain_layer(*given, way, s, at) for name, way, s, at in ways}  # type: ignore[arg-type]
                        others["PCA, Ward"] = explain_layer(*given, "pca")
                    rows += _agreement(begin + row, reference, others, [seed, begin + row])
                bar.update(1)
    names = ["image", "layer", "title", "way", "rand", "groups", "merged", "k", "k_reference", "accounted",
             "accounted_reference"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def _agreement(
    image: int, reference: LayerExplanation, others: dict[str, LayerExplanation], seed: list[int]
) -> list[tuple[Any, ...]]:
    from sklearn.metrics import adjusted_rand_score

    own = reference.labels.numpy()
    weights = reference.weights[reference.kept].double().numpy()
    rows: list[tuple[Any, ...]] = []
    for name, other in others.items():
        labels = other.labels.numpy()
        rows.append(
            (image, reference.layer.name, reference.layer.title, name, adjusted_rand_score(own, labels),
             group_overlap(own, labels, weights), map_agreement(reference.merged(), other.merged()), other.k,
             reference.k, other.accounted, reference.accounted)
        )  # fmt: skip
    shuffled = np.random.default_rng(seed).permutation(own)
    rows.append(
        (image, reference.layer.name, reference.layer.title, "shuffled", adjusted_rand_score(own, shuffled),
         group_overlap(own, shuffled, weights), float("nan"), reference.k, reference.k, float("nan"),
         reference.accounted)
    )  # fmt: skip
    return rows
