"""What is compared by default: cluster maps, merged and layer by layer, and Grad-CAM; and what they account for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..activations import Layer
from ..classifiers import Classifier
from ..counterfactuals.intervals import mean_over_starts
from ..errors import LisError
from .explain import Method, explain_images
from .explanation import Explanation, explanation_list, saliency_of
from .faithfulness import MapMaker
from .grad_cam import grad_cam
from .gradients import spatial_layers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MERGED", "explanation_maps", "weights_accounted"]

MERGED = "INV, all layers"


def explanation_maps(
    classifier: Classifier,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    *,
    method: Method = "pca",
    grad_cam_layers: Sequence[str | Layer] | str | Layer | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> MapMaker:
    """Return a function that makes the maps `measure_faithfulness` compares: cluster maps (INV) and Grad-CAM.

    Parameters
    ----------
    layers
        Of the cluster maps. Default: those of `explain_images`, the last nine convolutions.
    method
        How maps are clustered, see `explain_images`; default "pca", which is many times quicker than the paper's
        t-SNE. The merged map of a layer depends on the grouping only through the clusters that are dropped.
    grad_cam_layers
        Default: the last of `layers`, as in the paper of Grad-CAM.
    seed, batch_size
        See `explain_images`.

    Returns
    -------
    function
        (x [n, C, H, W], targets [n], indices [n]) -> {"INV, all layers": [n, H, W] (the mean over the layers, see
        `saliency_of`), "INV conv 1": ..., "Grad-CAM conv 8": [n, h, w]}.

    Raises
    ------
    LisError
        For layers that there are not, or that have no positions.

    Examples
    --------
    >>> maps = explanation_maps(classifier, ["body.7", "body.15"])
    >>> measure_faithfulness(classifier, photographs, maps).table()
    """
    chosen, _ = spatial_layers(classifier, layers)
    cams = chosen[-1:] if grad_cam_layers is None else spatial_layers(classifier, grad_cam_layers)[0]

    def make(x: Tensor, targets: Tensor, indices: Tensor) -> dict[str, Tensor]:
        found = explain_images(
            classifier, x, targets, chosen, method=method, seed=seed, batch_size=batch_size
        )
        maps = {MERGED: torch.stack([saliency_of(e, "all") for e in found])}
        for layer in chosen:
            maps[f"INV {_short(layer)}"] = torch.stack([saliency_of(e, layer.name) for e in found])
        for layer in cams:
            maps[f"Grad-CAM {_short(layer)}"] = grad_cam(classifier, x, targets, layer, batch_size=batch_size)
        return maps

    return make


def _short(layer: Layer) -> str:
    """Return a layer's title without its shape."""
    return layer.title.split(" · ")[0]


def weights_accounted(
    explanations: Iterable[Explanation],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Tell how much of each layer's weight the shown clusters account for, and where the rest went.

    A layer's weight is its maps' positive gradient mass for the class; what speaks against the class is in none of
    these figures.

    Returns
    -------
    DataFrame
        A row per layer: layer, title, depth; shown, dropped (clusters too light), pruned (maps too light): shares of
        the layer's weight, means over images, which add up to 1; low, high (bootstrap interval of shown over images);
        clusters, dropped_clusters, maps, kept_maps (means over images); n (images), empty (images for which nothing in
        the layer speaks; they are in no mean).

    Raises
    ------
    LisError
        For no explanations, or such of different layers.

    Examples
    --------
    >>> weights_accounted(explain_images(classifier, photographs.images[:20], method="pca"))
    """
    import pandas as pd

    given = explanation_list(explanations)
    layers = [part.layer for part in given[0].layers]
    for e in given:
        if [part.layer for part in e.layers] != layers:
            raise LisError(
                f"the explanation of image {e.index} has other layers than that of {given[0].index}."
            )
    rows = []
    for i, layer in enumerate(layers):
        parts = [e.layers[i] for e in given if not e.layers[i].empty]
        shown = np.array([part.accounted for part in parts])
        kept = np.array([part.kept_share for part in parts])
        mean = mean_over_starts(
            shown, np.arange(len(shown)), within=(0, 1), confidence=confidence, resamples=resamples, seed=seed
        )
        rows.append({
            "layer": layer.name, "title": layer.title, "depth": layer.depth, "shown": mean.value,
            "dropped": _average(kept - shown), "pruned": _average(1 - kept), "low": mean.low, "high": mean.high,
            "clusters": _average([len(part.clusters) for part in parts]),
            "dropped_clusters": _average([len(part.dropped) for part in parts]),
            "maps": len(given[0].layers[i].weights),
            "kept_maps": _average([len(part.kept) for part in parts]), "n": len(parts),
            "empty": len(given) - len(parts),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _average(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
