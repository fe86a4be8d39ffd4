"""Activations of a layer as concept directions see them: products of images with images and with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..activations import Layer, stream_activations
from ..classifiers import Classifier
from ..errors import LisError
from ..saliency.gradients import Question, layer_gradients

__all__ = ["ConceptSpace", "Directions", "fit_directions", "layer_space"]

MOST_BYTES = 2 * 2**30  # of activations held at once
METHODS = ("ridge", "logistic")


@dataclass(frozen=True, eq=False)
class ConceptSpace:
    """What concept directions of one layer need to know of M images and of n images of a class.

    A linear classifier's direction is a weighted sum of the activations it was fitted to, so products of images are
    enough, however many units a layer has.

    Attributes
    ----------
    gram : Tensor
        float64 [M, M], products of the images' centred activations.
    pull : Tensor
        float64 [n, M], products of the class images' gradients with those.
    lengths : Tensor
        float64 [n], of the gradients.
    """

    gram: Tensor
    pull: Tensor
    lengths: Tensor


@dataclass(frozen=True, eq=False)
class Directions:
    """B concept directions: as weights of images, and how well they tell the concept.

    Attributes
    ----------
    weights : Tensor
        float64 [B, M]; the direction is the sum of the images' centred activations with these weights.
    accuracy : Tensor
        float64 [B], of the linear classifier on images that it was not fitted to.
    """

    weights: Tensor
    accuracy: Tensor

    def derivatives(self, space: ConceptSpace) -> Tensor:
        """Return the derivative of the class score along every direction of length 1, for each class image, [B, n]."""
        length = ((self.weights @ space.gram) * self.weights).sum(1).clamp(min=0).sqrt()  # [B]
        return self.weights @ space.pull.T / length.clamp(min=1e-30)[:, None]


def layer_space(
    classifier: Classifier,
    layer: Layer,
    x: Tensor,
    images: Tensor,
    question: Question,
    *,
    pool: str | None = None,
    batch_size: int = 256,
) -> ConceptSpace:
    """Gather what concept directions of a layer need.

    Parameters
    ----------
    x
        [M, C, H, W], concepts' and random images.
    images
        [n, C, H, W], whose class score is derived.
    pool
        None: all activations of a layer, as in the paper; "mean": the mean over positions, that is directions that are
        the same everywhere in the picture.

    Raises
    ------
    LisError
        For a layer whose activations of all images don't fit into memory, and gradients that don't reach it.

    Examples
    --------
    >>> layer_space(classifier, layer, x, images, ask(classifier, len(images), "Coat")).gram.shape
    torch.Size([150, 150])
    """
    width = layer.shape[0] if pool == "mean" else int(np.prod(layer.shape))
    needed = max(width * (len(x) + batch_size), len(x) ** 2) * 8  # activations, and their products
    if needed > MOST_BYTES:
        raise LisError(
            f"layer {layer.name!r} has {width} activations an image: {len(x)} images of concepts and at random need "
            f'{needed / 2**30:.1f} GiB, more than {MOST_BYTES / 2**30:.0f}. Take fewer images, pool="mean" or a later '
            "layer."
        )
    streamed = stream_activations(classifier, x, [layer], batch_size)
    rows = [_flat(found[layer.name], pool, mean=True).cpu() for _, found in streamed]
    activations = torch.cat(rows).double()  # [M, D]
    activations -= activations.mean(0)
    pulls, lengths = [], []
    for i in range(0, len(images), batch_size):
        rows_here = slice(i, i + batch_size)
        found = layer_gradients(classifier, images[rows_here], [layer], question.rows(rows_here))
        gradient = _flat(found.gradients[layer.name], pool, mean=False).cpu().double()  # [n, D]
        pulls.append(gradient @ activations.T)
        lengths.append(gradient.norm(dim=1))
    return ConceptSpace(activations @ activations.T, torch.cat(pulls), torch.cat(lengths))


def _flat(values: Tensor, pool: str | None, mean: bool) -> Tensor:
    """Return [N, D]; a gradient by the mean over positions is the sum of those by the positions."""
    if pool == "mean" and values.ndim > 2:
        return values.flatten(2).mean(2) if mean else values.flatten(2).sum(2)
    return values.flatten(1)


def fit_directions(
    gram: Tensor, inside: Tensor, outside: Tensor, held: int, *, method: str = "ridge", penalty: float = 0.1
) -> Directions:
    """Fit a linear classifier of B sets of images against B others, in each layer as if it had seen all activations.

    Parameters
    ----------
    gram
        float64 [M, M].
    inside, outside
        int64 [B, n] each, rows of the images with and without the concept. The last `held` of both are held out.
    method
        "ridge": least squares to +1 and -1 with a penalty, in closed form; "logistic": logistic regression.
    penalty
        Of the squared length of the direction, as share of the mean squared length of the centred activations.

    Returns
    -------
    Directions
        Towards the concept.

    Examples
    --------
    >>> fit_directions(space.gram, torch.arange(9)[None], torch.arange(9, 18)[None], held=3).accuracy
    """
    n = inside.shape[1] - held
    rows = torch.cat([inside[:, :n], outside[:, :n]], 1)  # [B, 2n]
    y = torch.cat([torch.ones(n), -torch.ones(n)]).double()
    small = gram[rows[:, :, None], rows[:, None, :]]  # [B, 2n, 2n]
    centre = torch.eye(2 * n, dtype=torch.float64) - 1 / (2 * n)
    centred = centre @ small @ centre
    scale = centred.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)  # [B]
    if method == "ridge":
        system = centred + (penalty * scale)[:, None, None] * torch.eye(2 * n, dtype=torch.float64)
        alpha = torch.linalg.solve(system, y.expand(len(rows), -1)[:, :, None])[:, :, 0] @ centre  # [B, 2n]
    else:
        alpha = torch.stack(
            [_logistic(k, y, float(s) * penalty) for k, s in zip(centred, scale, strict=True)]
        )
    weights = torch.zeros(len(rows), len(gram), dtype=torch.float64).scatter_add_(1, rows, alpha)
    offsets = -(small @ alpha[:, :, None])[:, :, 0].mean(1)  # half way between the two sides' means
    values = weights @ gram + offsets[:, None]  # [B, M]
    tested = torch.cat([values.gather(1, inside[:, n:]), -values.gather(1, outside[:, n:])], 1)
    right = (tested > 0).double() + (tested == 0).double() / 2
    return Directions(weights, right.mean(1))


def _logistic(centred: Tensor, y: Tensor, strength: float) -> Tensor:
    """Weights of 2n images by scikit-learn's logistic regression, in coordinates of the span of the images."""
    from sklearn.linear_model import LogisticRegression

    values, vectors = torch.linalg.eigh(centred)
    kept = values > 1e-10 * values.max().clamp(min=1e-30)
    if not bool(kept.any()):
        return torch.zeros(len(y), dtype=torch.float64)
    basis = vectors[:, kept] / values[kept].sqrt()  # [2n, m]
    coordinates = (centred @ basis).numpy()
    fitted = LogisticRegression(C=1 / (len(y) * strength), max_iter=2000).fit(coordinates, y.numpy())
    alpha = basis @ torch.from_numpy(fitted.coef_[0])
    return alpha - alpha.mean()  # the activations are centred, so a constant weighs nothing
