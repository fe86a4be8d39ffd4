"""What the methods of the search share: the rows to be searched, and what was found for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..class_statistics import ClassStatistics
from .rendered import Looker

Method = Literal["paper", "closed_form", "latent"]
Metric = Literal["euclidean", "covariance", "sparse"]
SLACK = 3e-4  # of the scale, beyond the margin: a second look at the end must not differ by rounding


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
    scale : logits that are much for this classifier: the margin where none was given.
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
    scale: float
    floor: bool
    metric: Metric
    head: tuple[Tensor, Tensor] | None
    statistics: ClassStatistics | None

    @property
    def goal(self) -> float:
        """Margin that a picture is to have while the search lasts."""
        return self.margin + SLACK * self.scale

    def part(self, chosen: Tensor) -> Search:
        """Return the search of some rows, by their places [m] or a mask [n]."""
        names = ("r", "origin", "target", "rows")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@dataclass(frozen=True)
class Found:
    """Where n rows ended.

    Attributes
    ----------
    r : [n, R], the nearest point that has the margin; of failures the best seen.
    reached : bool [n].
    way : str of each row, "" of failures.
    steps : int64 [n], gradient steps; on the CPU.
    """

    r: Tensor
    reached: Tensor
    way: list[str]
    steps: Tensor

    def part(self, mask: Tensor) -> Found:
        """Return where the rows of a mask [n] ended."""
        way = [name for name, yes in zip(self.way, mask.tolist(), strict=True) if yes]
        return Found(self.r[mask], self.reached[mask], way, self.steps[mask.cpu()])


@dataclass(frozen=True)
class Outcome:
    """A search's end, skipped rows included; everything on the CPU.

    Attributes
    ----------
    target, steps : int64 [n].
    skip, reached : bool [n]: nothing to search for; seen with the margin.
    r_end : [n, R].
    way : str of each row.
    """

    target: Tensor
    steps: Tensor
    skip: Tensor
    reached: Tensor
    r_end: Tensor
    way: list[str]

    @classmethod
    def of(cls, search: Search, skip: Tensor, found: Found) -> Outcome:
        """Put what was found for the rows that are not skipped beside those that are."""
        end, live = search.r.clone(), ~skip
        end[live] = found.r
        reached, steps = skip.new_zeros(len(skip)), torch.zeros(len(skip), dtype=torch.int64)
        reached[live], steps[live.cpu()] = found.reached, found.steps
        names = iter(found.way)
        way = ["" if out else next(names) for out in skip.tolist()]
        return cls(search.target.cpu(), steps, skip.cpu(), reached.cpu(), end.float().cpu(), way)

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """Return the outcomes of one part of the rows after the other."""
        names = ("target", "steps", "skip", "reached", "r_end")
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(**tensors, way=[name for part in parts for name in part.way])
