"""What the classifier says of the pictures that activations render to; every picture is counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..stylegan import Generator


@dataclass(frozen=True)
class Seen:
    """What was seen of N activations.

    Attributes
    ----------
    w : [N, W], their latents.
    logits : [N, K], of their pictures.
    margin : [N], the target's logit above the best other.
    slope : [N, W], derivative by w of the smooth margin; None where none was asked for.
    smooth : [N], that margin; the same as `margin` without a slope.
    """

    w: Tensor
    logits: Tensor
    margin: Tensor
    slope: Tensor | None
    smooth: Tensor


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
    own = logits.gather(1, target[:, None])[:, 0]
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own - (smooth * torch.logsumexp(others / smooth, dim=1) if smooth else others.amax(dim=1))


class Looker:
    """Links, renders and re-classifies activations, and counts: a picture one, its derivative another.

    However many rows are given, they are rendered in even batches of at most `batch_size`: searches hand over all
    rows that are still under way, so that batches stay full when some stop early.

    Attributes
    ----------
    renders : int64 [rows], pictures of every row of the search so far, a backward pass counted as one more.
    """

    def __init__(
        self, generator: Generator, classifier: Classifier, link: Link, rows: int, batch_size: int = 64
    ):
        self.generator, self.classifier, self.link = generator, classifier, link
        self.batch_size = batch_size
        self.renders = torch.zeros(rows, dtype=torch.int64)

    def __call__(self, r: Tensor, target: Tensor, rows: Tensor) -> Seen:
        """Look at activations r [n, R] of the search's rows [n]."""
        self.renders[rows.cpu()] += 1
        w = self.link.linear(r)  # [n, W]
        logits = torch.cat([self._plainly(part) for part in self._batches(w)]).clone()
        margin = rendered_margin(logits, target)
        return Seen(w, logits, margin, None, margin)

    def slope(self, r: Tensor, target: Tensor, rows: Tensor, smooth: float = 1.0) -> Seen:
        """Look at activations as above, with the derivative of the smooth margin by w."""
        self.renders[rows.cpu()] += 2
        w = self.link.linear(r)
        logits, slopes = [], []
        for part, goal in zip(self._batches(w), self._batches(target), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                said = self._logits(leaf)
                (slope,) = torch.autograd.grad(rendered_margin(said, goal, smooth).sum(), leaf)
            logits.append(said.detach())
            slopes.append(slope)
        said = torch.cat(logits)
        return Seen(
            w, said, rendered_margin(said, target), torch.cat(slopes), rendered_margin(said, target, smooth)
        )

    def features(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return activations [n, R] and logits [n, K] of the pictures of r [n, R], counted for nobody."""
        with torch.inference_mode():
            again = [self._features(part) for part in self._batches(self.link.linear(r))]
            both = [(part, self.classifier.head(part)) for part in again]
        a, b = (torch.cat([x.to(r) for x in column]).clone() for column in zip(*both, strict=True))
        return a, b

    def _batches(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.tensor_split(-(-len(x) // self.batch_size))

    @torch.inference_mode()
    def _plainly(self, w: Tensor) -> Tensor:
        return self._logits(w)

    def _features(self, w: Tensor) -> Tensor:
        x = self.generator.render(w)
        return self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))

    def _logits(self, w: Tensor) -> Tensor:
        return self.classifier.head(self._features(w)).to(w)
