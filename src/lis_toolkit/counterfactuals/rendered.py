"""What the classifier says of the pictures that activations render to; every picture is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..stylegan import Generator
from .paths import target_margins


@dataclass(frozen=True)
class Seen:
    """What was seen of N activations.

    Attributes
    ----------
    w : [N, W], their latents.
    logits : [N, K], of their pictures.
    margin : [N], the target's logit above the best other.
    smooth : [N], a margin that is differentiable everywhere; the same as `margin` where no slope was asked for.
    slope : [N, W], derivative of that margin by w; zero where none was asked for.
    """

    w: Tensor
    logits: Tensor
    margin: Tensor
    smooth: Tensor
    slope: Tensor


def rendered_margin(logits: Tensor, target: Tensor, smooth: float = 0.0) -> Tensor:
    """Return by how much the target's logit exceeds every other [N]; with `smooth` > 0 differentiable everywhere.

    Raises
    ------
    IndexError : a target that is no column of the logits.

    Examples
    --------
    >>> rendered_margin(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1]))
    tensor([2.])
    """
    if not smooth:
        return target_margins(logits, target)
    own = logits.gather(1, target[:, None])[:, 0]
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own - smooth * torch.logsumexp(others / smooth, dim=1)


class Looker:
    """Links, renders and re-classifies activations, and counts: a picture one, its derivative another.

    However many rows are given, they are rendered in even batches of at most `batch_size`: searches hand over all
    rows that are still under way, so that batches stay full when some stop early.

    Attributes
    ----------
    renders : int64 [rows], pictures of every row of the search so far, a backward pass counted as one more.
    seen : called after every batch with its rows, and how many renders each of them took.
    """

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        rows: int,
        batch_size: int = 64,
        seen: Callable[[Tensor, int], None] | None = None,
    ):
        self.generator, self.classifier, self.link = generator, classifier, link
        self.batch_size, self.seen = batch_size, seen
        self.renders = torch.zeros(rows, dtype=torch.int64)

    def __call__(self, r: Tensor, target: Tensor, rows: Tensor) -> Seen:
        """Look at activations r [n, R] of the search's rows [n]."""
        w, none = self._latents(r)
        logits = []
        for part, places in zip(self._batches(w), self._batches(rows), strict=True):
            with torch.inference_mode():
                logits.append(self._logits(part))
            self._count(places, 1)
        said = torch.cat(logits).masked_fill(none, torch.nan)  # out of inference mode
        margin = rendered_margin(said, target)
        return Seen(w, said, margin, margin, torch.zeros_like(w))

    def slope(self, r: Tensor, target: Tensor, rows: Tensor, smooth: float = 1.0) -> Seen:
        """Look at activations as above, with the derivative of the smooth margin by w."""
        w, none = self._latents(r)
        logits, slopes = [], []
        for part, goal, places in zip(*map(self._batches, (w, target, rows)), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                said = self._logits(leaf)
                # Of r it is this times the link's A: the way back need not go through the link.
                (slope,) = torch.autograd.grad(rendered_margin(said, goal, smooth).sum(), leaf)
            logits.append(said.detach())
            slopes.append(slope)
            self._count(places, 2)
        said = torch.cat(logits).masked_fill(none, torch.nan)
        both = rendered_margin(said, target), rendered_margin(said, target, smooth)
        return Seen(w, said, *both, torch.cat(slopes))

    def head(self, r: Tensor) -> Tensor:
        """Return what the classifier's head says of activations [n, K] themselves, in r's type; differentiable."""
        return self.classifier.head(r.to(self.classifier.device, self.classifier.dtype)).to(r)

    def features(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return activations [n, R] and logits [n, K] of the pictures of r [n, R], counted for nobody; r's device."""
        both = []
        for part in self._batches(self.link.linear(r)):
            with torch.inference_mode():
                again = self._features(part)
                both.append((again.to(r), self.classifier.head(again).to(r)))
        activations, logits = (torch.cat(column).clone() for column in zip(*both, strict=True))
        return activations, logits

    def _latents(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents [n, W] that can be rendered, and which [n, 1] are none: a step went out of all range."""
        w = self.link.linear(r)
        none = ~torch.isfinite(w).all(dim=1, keepdim=True)
        return w.masked_fill(none, 0), none

    def _count(self, rows: Tensor, renders: int) -> None:
        self.renders[rows.cpu()] += renders
        if self.seen is not None:
            self.seen(rows, renders)

    def _batches(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.tensor_split(-(-len(x) // self.batch_size))

    def _features(self, w: Tensor) -> Tensor:
        x = self.generator.render(w)
        return self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))

    def _logits(self, w: Tensor) -> Tensor:
        return self.classifier.head(self._features(w)).to(w)
