"""Where the ways of counterfactuals cross the decision boundary: found on rendered pictures, to a tolerance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..errors import LisError
from ..link import Link
from ..names import finite_number, whole_number
from ..stylegan import Generator
from .paths import lines, target_margins
from .result import Counterfactuals, check_own_models

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["locate_boundary"]

ARROW = " → "  # between the classes of `through`
LEAST = 1e-6  # tolerances below this are lost in float32
HALF = 0.5  # where the bend of the margin is measured


@torch.no_grad()
def locate_boundary(
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    tolerance: float = 1e-3,
    batch_size: int = 64,
    progress: bool = False,
) -> pd.DataFrame:
    """Find where each path first crosses into its target class, on rendered pictures.

    The boundary is where the target's logit exceeds the best other one. The result's own places along the path are the
    coarse grid; its first step into the target class is halved, all rows together, until it is no longer than
    `tolerance`. A class that is visited for less than a step of the grid can be missed.

    Parameters
    ----------
    tolerance : of the amount t along the path, which is 0 at the cycled start and 1 at the end.
    batch_size : pictures at a time; it changes no result beyond rounding.
    progress : show a progress bar over pictures.

    Returns
    -------
    DataFrame
        One row for each of the result's rows, in their order:
        `start`, `origin`, `cycled`, `target` : as in the result.
        `crossing` : the least t seen in the target class, at most `tolerance` beyond the crossing; NaN where the path
        does not reach the target, and where it starts there.
        `crossings` : how often the path enters or leaves the target class, on the grid.
        `through` : classes that the picture passes between its own and the target, in order, such as "Pullover → Coat".
        `distance_r`, `distance_w` : from the cycled start to the crossing, Euclidean.
        `head_crossing` : t at which the linear head alone would cross on the same line, 0 where it starts beyond; may
        be above 1, NaN where it never crosses or is not linear.
        `head_margin` : what the head says of the activations at the crossing, in logits.
        `bend` : the rendered margin half way along the path less the mean of its two ends, in logits: 0 on a straight
        way, below 0 where the picture changes late, above where it changes early.

    Raises
    ------
    LisError
        For models that the result was not made with, a classifier without a head, a tolerance outside 1e-6 to 1.

    Notes
    -----
    Linking in Style (arXiv 2409.16865) quantifies the boundary by counterfactuals; crossings are ours.

    Examples
    --------
    >>> boundary = locate_boundary(result, generator, classifier, link)
    >>> boundary[["origin", "target", "crossing", "through"]]
    """
    if not LEAST <= finite_number(tolerance, "tolerance") <= 1:
        raise LisError(f"tolerance is {tolerance!r}; a number from {LEAST} to 1 was expected.")
    whole_number(batch_size, "batch_size", 1)
    check_own_models(result, generator, classifier, link)
    if not classifier.has_head:
        raise LisError(f"{classifier.name} is an encoder without a head: it has no decision boundary.")
    if tuple(classifier.classes) != result.classes:
        raise LisError("the classifier has other classes than these counterfactuals.")
    seen = _Seen(result, generator, classifier, link, batch_size)
    low, high, there = _bracket(result.margins.numpy(), result.amounts.double().numpy())
    rows = np.flatnonzero(there)
    halvings = np.ceil(np.log2(np.maximum((high - low)[rows] / tolerance, 1)))
    with tqdm(total=int(halvings.sum()), desc="boundary", unit="picture", disable=not progress) as bar:
        while len(rows := rows[high[rows] - low[rows] > tolerance]):
            middle = (low[rows] + high[rows]) / 2
            inside = seen.margins(rows, middle, bar) > 0
            high[rows[inside]], low[rows[~inside]] = middle[inside], middle[~inside]
    crossing = np.where(there, high, np.nan)
    return _table(result, classifier, link, seen, crossing)


class _Seen:
    """Pictures looked at along the paths: what the classifier says of them, noted with their place."""

    def __init__(
        self, result: Counterfactuals, generator: Generator, classifier: Classifier, link: Link, size: int
    ) -> None:
        self.result, self.size = result, size
        self.generator, self.classifier, self.link = generator, classifier, link
        self.targets = result.targets
        grid = result.amounts.double().tolist()
        tops = result.logits.argmax(-1).tolist()  # N lists of P
        self.places = [list(zip(grid, row, strict=True)) for row in tops]  # per row: (t, class)

    def margins(self, rows: np.ndarray, amounts: np.ndarray, bar: Any = None) -> np.ndarray:
        """Return the rendered margins of one place on each of some rows."""
        found = [np.zeros(0)]
        for begin in range(0, len(rows), self.size):
            own = torch.from_numpy(rows[begin : begin + self.size])
            places = torch.from_numpy(amounts[begin : begin + self.size])
            r = lines(self.result.r_start[own], self.result.r_end[own], places[:, None])[:, 0]  # [n, R]
            x = self.generator.render(self.link.linear(r.to(self.link.device)).to(self.generator.device))
            logits = self.classifier.logits(x.to(self.classifier.device, self.classifier.dtype)).float().cpu()
            for row, place, top in zip(own.tolist(), places.tolist(), logits.argmax(1).tolist(), strict=True):
                self.places[row].append((place, top))
            found.append(target_margins(logits, self.targets[own]).double().numpy())
            if bar is not None:
                bar.update(len(own))
        return np.concatenate(found)

    def through(self, row: int, until: float) -> str:
        """Classes visited before `until` (NaN: to the end), each stay once, without the first and the target's last."""
        visited = [top for place, top in sorted(self.places[row]) if not place >= until]
        stays = [top for i, top in enumerate(visited) if i == 0 or visited[i - 1] != top]
        if math.isnan(until) and stays and stays[-1] == int(self.targets[row]):
            stays.pop()
        return ARROW.join(self.result.classes[top] for top in stays[1:])


def _bracket(margins: np.ndarray, amounts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends of the first step of the grid into the target class, and whether there is one, [N] each."""
    inside = margins > 0  # [N, P]; NaN is outside
    enters = inside[:, 1:] & ~inside[:, :-1]
    there = enters.any(1) & ~inside[:, 0]
    first = enters.argmax(1)
    return amounts[first], amounts[first + 1], there


def _table(
    result: Counterfactuals, classifier: Classifier, link: Link, seen: _Seen, crossing: np.ndarray
) -> pd.DataFrame:
    import pandas as pd

    margins = result.margins.double().numpy()  # [N, P]
    inside = margins > 0
    table: pd.DataFrame = result.table[["start", "origin", "cycled", "target"]].copy()
    table["crossing"] = crossing
    table["crossings"] = (inside[:, 1:] != inside[:, :-1]).sum(1)
    # Half way is looked at before the classes are listed: it is one more place seen.
    table["bend"] = _middle(result, seen, margins) - (margins[:, 0] + margins[:, -1]) / 2
    table["through"] = pd.Series(
        [seen.through(row, until) for row, until in enumerate(crossing.tolist())], dtype=str
    )
    shift = (result.r_end - result.r_start).double()  # [N, R]
    table["distance_r"] = crossing * shift.norm(dim=1).numpy()
    moved = (
        shift.to(link.A.dtype).to(link.device) @ link.A.T
    )  # [N, W]: the link is linear, so w moves as far per t
    table["distance_w"] = crossing * moved.double().norm(dim=1).cpu().numpy()
    table["head_crossing"] = head_crossings(*_head_ends(result, classifier))
    table["head_margin"] = _head_margins(result, classifier, crossing)
    order = [
        "crossing",
        "crossings",
        "through",
        "distance_r",
        "distance_w",
        "head_crossing",
        "head_margin",
        "bend",
    ]
    return table[["start", "origin", "cycled", "target", *order]]


def _middle(result: Counterfactuals, seen: _Seen, margins: np.ndarray) -> np.ndarray:
    """Return rendered margins half way, [N]; from the grid where it has that place."""
    there = np.flatnonzero(result.amounts.numpy() == HALF)
    if len(there):
        return margins[:, there[0]]
    return seen.margins(np.arange(len(result)), np.full(len(result), HALF))


def head_logits(classifier: Classifier, r: Tensor) -> Tensor:
    """Logits [..., K] that the head gives for activations [..., R], float64 on the CPU.

    Examples
    --------
    >>> head_logits(classifier, result.paths())
    """
    return classifier.head(r.to(classifier.device, classifier.dtype)).double().cpu()


def _head_ends(result: Counterfactuals, classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """By how much the head puts the target above each other class at both ends, [N, K - 1] each; NaN: not linear."""
    ends = [head_logits(classifier, r) for r in (result.r_start, result.r_end)]
    middle = head_logits(classifier, (result.r_start + result.r_end) / 2)
    scale = torch.stack(ends).abs().amax(0).clamp_min(1e-6)
    if bool((((ends[0] + ends[1]) / 2 - middle).abs() > 1e-4 * scale).any()):
        ends = [torch.full_like(end, torch.nan) for end in ends]
    others = torch.ones(len(result), len(result.classes), dtype=torch.bool)
    others[torch.arange(len(result)), result.targets] = False
    shape = (len(result), max(len(result.classes) - 1, 0))
    gaps = [(end.gather(1, result.targets[:, None]) - end)[others].reshape(shape) for end in ends]
    return gaps[0].numpy(), gaps[1].numpy()


def head_crossings(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Least t >= 0 at which all gaps, linear in t from `start` (t = 0) to `end` (t = 1), are >= 0; NaN: none.

    Parameters
    ----------
    start, end : [N, K - 1], logit of the target less those of the others.

    Examples
    --------
    >>> head_crossings(np.array([[-1.0, 2.0]]), np.array([[1.0, 1.0]]))
    array([0.5])
    """
    slope = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = -start / slope
    below, above = np.full(start.shape, 0.0), np.full(start.shape, np.inf)  # where each gap is >= 0
    below = np.where(start < 0, np.where(slope > 0, zero, np.inf), below)
    above = np.where((start >= 0) & (slope < 0), zero, above)
    first, last = below.max(1, initial=0.0), above.min(1, initial=np.inf)
    known = np.isfinite(start).all(1) & np.isfinite(end).all(1)
    return np.where(known & (first <= last) & np.isfinite(first), first, np.nan)


def _head_margins(result: Counterfactuals, classifier: Classifier, crossing: np.ndarray) -> np.ndarray:
    """Return what the head says of the activations at the crossing, [N]."""
    places = torch.from_numpy(np.nan_to_num(crossing))[:, None]
    r = lines(result.r_start, result.r_end, places)[:, 0]  # [N, R]
    margins = target_margins(head_logits(classifier, r), result.targets).numpy()
    return np.where(np.isnan(crossing), np.nan, margins)
