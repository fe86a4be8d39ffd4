"""Renders latents and looks at them again with the classifier, batch by batch: the way of a link report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from .link import Link


@torch.no_grad()
def predict(link: Link, r: Tensor) -> Tensor:
    """Latents [N, W] of activations [N, R], on the CPU."""
    return link(r.to(link.device)).float().cpu()  # type: ignore[no-any-return]


def _for(model: Any, x: Tensor) -> Tensor:
    """Bring values to a model's device and data type."""
    return x.to(getattr(model, "device", "cpu"), getattr(model, "dtype", x.dtype))


@dataclass
class Seen:
    """What was seen in renders."""

    r: Tensor  # [N, R] re-encoded
    seen: np.ndarray  # [N] class index
    judged: np.ndarray | None


class Look:
    """Renders latents and looks at them, batch by batch, keeping no image."""

    def __init__(
        self, link: Link, generator: Any, classifier: Any, judge: Any, batch_size: int, progress: bool
    ):
        self.link, self.generator, self.classifier, self.judge = link, generator, classifier, judge
        self.batch_size, self.progress = batch_size, progress

    def _batches(self, count: int, title: str) -> Iterator[slice]:
        starts = range(0, count, self.batch_size)
        for start in tqdm(starts, desc=title, disable=not self.progress, leave=False):
            yield slice(start, min(start + self.batch_size, count))

    @torch.no_grad()
    def head(self, r: Tensor) -> np.ndarray:
        """Classes [N] of activations; 0 without a head."""
        if not getattr(self.classifier, "has_head", True):
            return np.zeros(len(r), dtype=np.int64)
        result: np.ndarray = self.classifier.head(_for(self.classifier, r)).argmax(1).cpu().numpy()
        return result

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Activations [N, R] of images."""
        parts = [
            self.classifier.features(_for(self.classifier, x[part]))
            for part in self._batches(len(x), "features")
        ]
        return torch.cat(parts).float().cpu()

    @torch.no_grad()
    def render(
        self, rows: Callable[[slice], Tensor], count: int, title: str
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Parts, images and their activations of latents given part by part."""
        target = getattr(self.generator, "device", "cpu")
        for part in self._batches(count, title):
            x = self.generator.render(rows(part).to(target))
            yield part, x, self.classifier.features(_for(self.classifier, x))

    def through(self, w: Tensor, title: str) -> Seen:
        """Say what the classifier (and the judge) see in the renders of w [N, W]."""
        r, judged = [], []
        for _, x, features in self.render(lambda part: w[part], len(w), title):
            r.append(features.float().cpu())
            if self.judge is not None:
                with torch.no_grad():
                    judged.append(self.judge(_for(self.judge, x)).argmax(1).cpu())
        again = torch.cat(r)
        return Seen(again, self.head(again), torch.cat(judged).numpy() if judged else None)
