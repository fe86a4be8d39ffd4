"""What the methods of the search share: the rows to be searched, and what was found for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ..class_statistics import ClassStatistics
from .rendered import Looker

Method = Literal["paper", "closed_form", "latent"]
Metric = Literal["euclidean", "covariance", "sparse"]
SLACK = 1e-3  # logits beyond the margin, so that a second look at the end does not differ by rounding


@dataclass(frozen=True)
class Search:
    """Rows under way, on the link's device.

    Attributes
    ----------
    look : the counting eye on rendered pictures.
    r : [n, R], activations to start from.
    origin, target : int64 [n], what the head says of r, and what the picture is to become.
    rows : int64 [n], their places in `look.renders`.
    margin : logits by which the target must lead in the rendered picture.
    floor : whether activations are demanded to be >= 0.
    metric : "euclidean", "covariance" or "sparse".
    head : weight [K, R] and bias [K] of a linear head; None where the method needs none.
    statistics : in the classifier's order of classes; None where the method needs none.
    """

    look: Looker
    r: Tensor
    origin: Tensor
    target: Tensor
    rows: Tensor
    margin: float
    floor: bool
    metric: Metric
    head: tuple[Tensor, Tensor] | None
    statistics: ClassStatistics | None

    def part(self, chosen: Tensor) -> Search:
        """Return the search of some rows, by their places [m] or a mask [n]."""
        names = ("r", "origin", "target", "rows")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@dataclass
class Found:
    """Where n rows ended.

    Attributes
    ----------
    r : [n, R], the nearest point that has the margin; of failures the best seen.
    reached : bool [n].
    way : str of each row, "" of failures.
    steps : int64 [n], gradient steps.
    """

    r: Tensor
    reached: Tensor
    way: list[str]
    steps: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
