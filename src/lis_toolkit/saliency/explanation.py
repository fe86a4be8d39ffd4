"""Local explanations: what of an image speaks for a score, layer by layer, as clusters of feature maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LisError
from ..names import cut, spelling_hint, whole_number

if TYPE_CHECKING:
    import pandas as pd

    from ..activations import Layer

__all__ = ["Cluster", "Explanation", "LayerExplanation", "cluster_table", "saliency_of", "upsampled"]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Feature maps of one layer that are active at the same places.

    Attributes
    ----------
    members : indices of the maps within the layer, ascending.
    weight : share of the layer's weight that they have together.
    map : float32 [h, w], the mean of the min-max-normalised maps, each as heavy as its weight; 0 .. 1.

    Examples
    --------
    >>> explanation.layers[-1].clusters[0].weight
    """

    members: tuple[int, ...]
    weight: float
    map: Tensor


@dataclass(frozen=True, eq=False)
class LayerExplanation:
    """What of one layer speaks for the score.

    Attributes
    ----------
    layer : what was looked at.
    weights : float32 [C], every map's share of the layer's positive gradient mass; all 0 where nothing speaks for it.
    kept : int64 [M], indices of the maps that were heavy enough to be clustered.
    clusters : those that are shown, the heaviest first.
    dropped : clusters that were too light, the heaviest first.
    silhouette : of the grouping; NaN where there was nothing to choose.
    k : number of clusters, dropped ones included.
    mass : sum over the maps of the spatial mean of the positive gradient, in units of the score per unit of activation.

    Examples
    --------
    >>> part = explanation.layers[-1]
    >>> part.k, len(part.clusters), part.accounted
    """

    layer: Layer
    weights: Tensor
    kept: Tensor
    clusters: tuple[Cluster, ...]
    dropped: tuple[Cluster, ...]
    silhouette: float
    k: int
    mass: float

    @property
    def accounted(self) -> float:
        """Share of the layer's weight that the shown clusters have."""
        return float(sum(cluster.weight for cluster in self.clusters))

    @property
    def kept_share(self) -> float:
        """Share of the layer's weight that the clustered maps have."""
        return float(self.weights[self.kept].double().sum())

    @property
    def empty(self) -> bool:
        """Whether nothing in the layer speaks for the score."""
        return not self.clusters

    @property
    def labels(self) -> Tensor:
        """Cluster of every kept map, int64 [M]: shown ones from 0, the heaviest first, then those dropped."""
        number = {m: i for i, c in enumerate((*self.clusters, *self.dropped)) for m in c.members}
        return torch.tensor([number[m] for m in self.kept.tolist()], dtype=torch.int64)

    def merged(self) -> Tensor:
        """Return the shown clusters' maps [h, w], added up, each as heavy as its weight; 0 .. `accounted`."""
        whole = torch.zeros(self.layer.shape[1:])
        for cluster in self.clusters:
            whole = whole + cluster.weight * cluster.map
        return whole


@dataclass(frozen=True, eq=False)
class Explanation:
    """What of one image speaks for a class, or for a penultimate unit, layer by layer.

    Attributes
    ----------
    image : float32 [C, H, W], unit range.
    target : index of the class that is explained; None where a unit is.
    classes : names of the classes; empty for an encoder.
    unit : index of the penultimate unit that is explained; None where a class is.
    logits : float32 [K]; None for an encoder.
    score : the logit, or the unit's activation, that is explained.
    layers : one entry a layer, in the order of execution.
    seen : (top, left, height, width), the part of the image that reaches the network: preprocessing may cut edges off.
    index : row of the images that were given.
    notes : what the user should know, in sentences.
    settings : method, seed, and the classifier's name and hash.

    Examples
    --------
    >>> explanation = explain_images(classifier, x)[0]
    >>> explanation.title
    'Coat (logit 9.3)'
    """

    image: Tensor
    target: int | None
    classes: tuple[str, ...]
    unit: int | None
    logits: Tensor | None
    score: float
    layers: tuple[LayerExplanation, ...]
    seen: tuple[int, int, int, int]
    index: int = 0
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def predicted(self) -> int | None:
        """Index of the class that the classifier sees; None for an encoder."""
        return None if self.logits is None else int(self.logits.argmax())

    @property
    def name(self) -> str:
        """Name of what is explained: the class, or the unit."""
        return f"unit {self.unit}" if self.target is None else self.classes[self.target]

    @property
    def title(self) -> str:
        """What is explained, with its score."""
        what = "activation" if self.target is None else "logit"
        return f"{cut(self.name)} ({what} {self.score:.3g})"

    def layer(self, which: str | int | Layer | None = None) -> LayerExplanation:
        """Return one layer by name, title, place or Layer; None: the last one that has clusters, if any has.

        Raises
        ------
        LisError : a layer that was not explained.
        """
        if which is None:
            return next((part for part in reversed(self.layers) if not part.empty), self.layers[-1])
        if isinstance(which, int) and not isinstance(which, bool):
            if -len(self.layers) <= which < len(self.layers):
                return self.layers[which]
            raise LisError(f"there is no layer {which}: the explanation has {len(self.layers)}.")
        asked = getattr(which, "name", which)
        for part in self.layers:
            if asked in (part.layer.name, part.layer.title):
                return part
        known = [part.layer.name for part in self.layers]
        raise LisError(
            f"the explanation has no layer {asked!r}; it has {', '.join(map(repr, known))}."
            f"{spelling_hint(str(asked), known)}"
        )


def upsampled(values: Tensor, explanation: Explanation, size: tuple[int, int] | None = None) -> Tensor:
    """Bring a layer's map [h, w] to the image: bilinear, over the part that the network sees, 0 outside; [H, W].

    Positions are taken as spread evenly over the image, as Grad-CAM does; a position sees more than its own place.

    Parameters
    ----------
    size : (height, width) to bring the whole to; default: the image's.

    Raises
    ------
    LisError : a size that is not two whole numbers.

    Examples
    --------
    >>> upsampled(explanation.layers[-1].clusters[0].map, explanation).shape
    torch.Size([32, 32])
    """
    if size is not None:
        sides = tuple(size) if isinstance(size, Iterable) else (size,)
        if len(sides) != 2:
            raise LisError(f"size is {size!r}; (height, width) was expected.")
        size = whole_number(sides[0], "the height", 1), whole_number(sides[1], "the width", 1)
    top, left, height, width = explanation.seen
    whole = torch.zeros(explanation.image.shape[1:])  # [H, W]
    whole[top : top + height, left : left + width] = _resized(values, (height, width))
    return whole if size is None or size == tuple(whole.shape) else _resized(whole, size)


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(values[None, None].float(), tuple(size), mode="bilinear", align_corners=False)[0, 0]


def saliency_of(
    explanation: Explanation, layer: str | int | Layer | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Return where an image speaks for its score: a layer's shown cluster maps, merged, on the image, [H, W].

    Every cluster map is as heavy as its weight, so the values reach at most the share that is accounted for.

    Parameters
    ----------
    layer : name, place or Layer; "all": the mean over the layers that have clusters, each divided by its maximum (ours,
        the paper merges within layers only); default: the last layer that has clusters.
    size : (height, width); default: the image's.

    Returns
    -------
    float32 [H, W]; all zeros where nothing speaks for the score.

    Raises
    ------
    LisError : a layer that was not explained, a size that is not two whole numbers.

    Examples
    --------
    >>> saliency_of(explanation, "body.7").shape
    torch.Size([32, 32])
    """
    if isinstance(layer, str) and layer == "all":
        maps = [upsampled(part.merged(), explanation, size) for part in explanation.layers if not part.empty]
        if not maps:
            return upsampled(explanation.layers[-1].merged(), explanation, size)
        return torch.stack([m / m.max().clamp_min(1e-12) for m in maps]).mean(0)
    return upsampled(explanation.layer(layer).merged(), explanation, size)


def explanation_list(explanations: Any) -> list[Explanation]:
    """Return explanations, or a single one, as a list.

    Raises
    ------
    LisError : anything else, or none at all.
    """
    listed = isinstance(explanations, Iterable) and not isinstance(explanations, str)
    given = list(explanations) if listed else [explanations]
    if not given:
        raise LisError("the list of explanations is empty; at least one was expected.")
    strange = [type(one).__name__ for one in given if not isinstance(one, Explanation)]
    if strange:
        raise LisError(
            f"a list of explanations has a {strange[0]}; what explain_images returns was expected."
        )
    return given


def cluster_table(explanations: Iterable[Explanation]) -> pd.DataFrame:
    """List all clusters of explanations, one a row.

    Returns
    -------
    DataFrame: image (its index), explained (class or "unit i"), layer, title, depth, cluster (from 0, the heaviest
    first, dropped ones last), shown, maps (how many), weight, accounted (the layer's), k, silhouette. Layers in which
    nothing speaks for the score have no rows.

    Raises
    ------
    LisError : no explanation.

    Examples
    --------
    >>> cluster_table(explanations).groupby("title")["weight"].max()
    """
    import pandas as pd

    columns = ["image", "explained", "layer", "title", "depth", "cluster", "shown", "maps", "weight",
               "accounted", "k", "silhouette"]  # fmt: skip
    given = explanation_list(explanations)
    rows = [
        (e.index, e.name, part.layer.name, part.layer.title, part.layer.depth, i, i < len(part.clusters),
         len(c.members), c.weight, part.accounted, part.k, part.silhouette)
        for e in given
        for part in e.layers
        for i, c in enumerate((*part.clusters, *part.dropped))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
