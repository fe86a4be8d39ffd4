"""Local explanations of images: weigh the maps, leave out light ones, cluster, merge, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..activations import Layer
from ..classifiers import Classifier
from ..names import whole_number
from ..threads import one_thread
from .clustering import (
    Method,
    checked_method,
    cluster_maps,
    heavy_clusters,
    normalised_maps,
)
from .explanation import Cluster, Explanation, LayerExplanation
from .gradients import (
    LayerGradients,
    Question,
    ask,
    checked_images,
    layer_gradients,
    seen_part,
    spatial_layers,
)
from .weights import kept_maps, positive_mass

__all__ = ["explain_images", "explain_layer", "merged_map", "stream_explanations"]


def merged_map(normalised: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean [h, w] of normalised maps [M, h, w] with weights [M]."""
    shares = weights.double() / weights.double().sum()
    return (shares[:, None, None] * normalised.double()).sum(0).float()


def explain_layer(
    layer: Layer,
    maps: Tensor,
    gradients: Tensor,
    method: Method = "tsne",
    seed: int = 0,
    start: str = "pca",
) -> LayerExplanation:
    """Explain one image by one layer: weights, kept maps, clusters and their merged maps.

    Parameters
    ----------
    maps, gradients : [C, h, w], of one image.
    method, seed, start : as in `cluster_maps`.

    Returns
    -------
    LayerExplanation; without clusters where no gradient is positive at a positive activation.

    Raises
    ------
    LisError : maps and gradients of different shapes, or not finite.

    Examples
    --------
    >>> explain_layer(layer, maps[0], gradients[0], method="pca").accounted
    """
    mass = positive_mass(maps, gradients).double().cpu()  # [C]
    total = float(mass.sum())
    weights = (mass / total if total > 0 else torch.zeros_like(mass)).float()
    kept = kept_maps(weights) if total > 0 else torch.zeros(0, dtype=torch.int64)
    if not len(kept):
        return LayerExplanation(layer, weights, kept, (), (), float("nan"), 0, total)
    active = maps[kept.to(maps.device)].clamp_min(0)  # what is negative is not active, as in the weights
    normalised = normalised_maps(active.cpu().numpy())  # [M, h, w]
    labels, score = cluster_maps(normalised, method, seed, start)
    values = torch.from_numpy(normalised)
    clusters = []
    for label in sorted(set(labels.tolist())):
        rows = torch.from_numpy(labels == label)
        own = kept[rows]
        members = tuple(own.tolist())
        clusters.append(
            Cluster(members, float(weights[own].double().sum()), merged_map(values[rows], weights[own]))
        )
    clusters.sort(key=lambda cluster: (-cluster.weight, cluster.members))
    heavy = heavy_clusters([cluster.weight for cluster in clusters])
    shown = tuple(c for c, enough in zip(clusters, heavy, strict=True) if enough)
    light = tuple(c for c, enough in zip(clusters, heavy, strict=True) if not enough)
    return LayerExplanation(layer, weights, kept, shown, light, score, len(clusters), total)


def stream_explanations(
    classifier: Classifier,
    x: Any,
    target: Any = None,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    *,
    unit: int | str | None = None,
    method: Method = "tsne",
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> Iterator[Explanation]:
    """Yield the explanations of images one by one, as `explain_images` lists them; stop whenever you like.

    What is wrong with the arguments is said when this is called, not at the first explanation.

    Raises
    ------
    LisError
        As `explain_images`.

    Examples
    --------
    >>> for explanation in stream_explanations(classifier, photographs, method="pca"):
    ...     print(explanation.title, explanation.layer().accounted)
    """
    images = checked_images(classifier, x)
    question = ask(classifier, len(images), target, unit)
    chosen, notes = spatial_layers(classifier, layers)
    checked_method(method, seed)
    size = whole_number(batch_size, "batch_size", 1)
    settings = {
        "method": method, "seed": int(seed), "classifier": classifier.name, "classifier_hash": classifier.hash,
    }  # fmt: skip
    return _stream(classifier, images, question, chosen, notes, settings, size, progress)


def _stream(
    classifier: Classifier,
    images: Tensor,
    question: Question,
    layers: tuple[Layer, ...],
    notes: tuple[str, ...],
    settings: dict[str, Any],
    batch_size: int,
    progress: bool,
) -> Iterator[Explanation]:
    seen = seen_part(classifier, images)
    with tqdm(total=len(images), desc="explanations", unit="image", disable=not progress) as bar:
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            found = layer_gradients(classifier, images[part], layers, question.rows(part))
            for row in range(len(found.scores)):
                yield _one(classifier, images[start + row], start + row, row, found,
                           question.unit, layers, seen, notes, settings)  # fmt: skip
                bar.update(1)


def _one(
    classifier: Classifier,
    image: Tensor,
    index: int,
    row: int,
    found: LayerGradients,
    unit: int | None,
    layers: tuple[Layer, ...],
    seen: tuple[int, int, int, int],
    notes: tuple[str, ...],
    settings: dict[str, Any],
) -> Explanation:
    with one_thread():
        parts = tuple(
            explain_layer(layer, found.maps[layer.name][row], found.gradients[layer.name][row],
                          settings["method"], settings["seed"])
            for layer in layers
        )  # fmt: skip
    silent = [part.layer.title for part in parts if part.empty]
    if silent:
        what = "the class" if unit is None else f"unit {unit}"
        where = "any layer" if len(silent) == len(parts) else ", ".join(silent)
        notes = (*notes, f"Nothing speaks for {what} in {where}: no map that is active raises it.")
    return Explanation(
        image=image.detach().float().cpu().clone(),
        target=None if found.targets is None else int(found.targets[row]),
        classes=classifier.classes,
        unit=unit,
        logits=None if found.logits is None else found.logits[row].cpu().clone(),
        score=float(found.scores[row]),
        layers=parts,
        seen=seen,
        index=index,
        notes=notes,
        settings=dict(settings),
    )


def explain_images(
    classifier: Classifier,
    x: Any,
    target: Any = None,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    *,
    unit: int | str | None = None,
    method: Method = "tsne",
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> list[Explanation]:
    """Explain images layer by layer by clusters of the feature maps that speak for a class.

    Interpretable Network Visualizations (Bianchi et al., IJCAI 2024, arXiv 2405.03301), local explanations: in each
    layer every map's weight is the spatial mean of ``1[A > 0] 1[g > 0] g``, g the gradient of the class's logit, as a
    share of the layer's sum; light maps are dropped; the others, each brought to 0 .. 1, are clustered by where they
    are active (PCA, t-SNE, Ward's tree, 3 to 8 clusters by silhouette); clusters under max(max / 3, mean / 2) of the
    clusters' weights are dropped; a cluster's map is the weighted mean of its maps.

    Parameters
    ----------
    classifier
        Any; run in evaluation mode and left as it was.
    x
        Images [N, C, H, W] in the unit range, or Photographs.
    target
        The class to explain, by name or index: one for all images, or one each. Default: what the classifier sees.
    layers
        Names or Layers with positions. Default: the last nine convolutions.
    unit
        Explain the activation of this penultimate unit instead of a class.
    method
        "tsne" as in the paper, some seconds an image; "pca" takes Ward's tree of the principal components as they are,
        which is many times quicker.
    seed
        Of t-SNE. It starts from the first principal components here, so that nothing is left to chance.
    batch_size
        Images at a time in the classifier: one pass forward and one back for all layers.
    progress
        Show a progress bar.

    Returns
    -------
    list of Explanation
        One an image. The same images, settings and machine give the same, whatever the batch size; of networks with
        large linear layers, which sum in another order, but for the weights' last digits.

    Raises
    ------
    LisError
        For images, classes, units and layers that the classifier does not have, for layers without positions alone,
        and an encoder without `unit`.

    Notes
    -----
    Our readings, where the paper's text is silent: clustered and merged are the min-max-normalised activation maps, of
    which, in layers taken before their non-linearity, only the positive part counts, as it does in the weights; the
    thresholds, given for 512 to 64 maps, are 0.896 of the mean share at any width; k is at most one less than the
    number of different maps, and up to three different maps are a cluster each.

    Examples
    --------
    >>> explanation = explain_images(load_classifier("fashion"), load_fashion("sample").images[:1])[0]
    >>> explanation_figure(explanation).savefig("explanation.png")
    """
    return list(
        stream_explanations(
            classifier, x, target, layers, unit=unit, method=method, seed=seed, batch_size=batch_size, progress=progress
        )
    )  # fmt: skip
