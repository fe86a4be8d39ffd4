"""What is measured of every counterfactual by itself: whether it holds, how near it is, how few units it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..features import extract_features
from ..link import Link
from ..names import spelling_hint
from ..pairs import check_models
from ..parts.whole import SSIM_WINDOW, similarity
from ..stylegan import Generator

if TYPE_CHECKING:
    import pandas as pd

    from .result import Counterfactuals

__all__ = ["asked", "judge_places", "pixel_rms", "row_measures", "target_places", "total_fall"]

COPIED = (
    "start", "origin", "cycled", "target", "success", "reason", "way", "steps", "renders", "seconds", "distance_r",
    "distance_r_sd", "distance_w", "units_90", "margin_start", "margin_end", "cycle_error", "monotone",
)  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    """Columns of one batch of rows, and the judge's features of its first and last pictures."""

    columns: dict[str, Tensor]
    start: Tensor | None
    end: Tensor | None


def asked(table: pd.DataFrame) -> np.ndarray:
    """Return which rows [N] asked for a change at all: not those whose start is of the target class already."""
    target = table["target"].astype(str).to_numpy()
    same = (table["cycled"].astype(str).to_numpy() == target) | (
        table["origin"].astype(str).to_numpy() == target
    )
    return ~same


def target_places(targets: Iterable[str], classes: Sequence[str]) -> Tensor:
    """Return the indices [N] of target names."""
    index = {name: k for k, name in enumerate(classes)}
    return torch.tensor([index[str(name)] for name in targets], dtype=torch.long)


def total_fall(margins: Tensor) -> Tensor:
    """Return by how much margins [N, P] fall along the path in all [N], logits: 0 where they never fall."""
    return margins.diff(dim=1).clamp(max=0).sum(dim=1).abs()


def pixel_rms(x: Tensor, start: Tensor) -> Tensor:
    """Return the root mean square [N] of the difference of pictures [N, C, H, W], in the unit range."""
    return (x.float() - start.float()).square().flatten(1).mean(dim=1).sqrt()


def judge_places(classes: tuple[str, ...], judge: Classifier) -> Tensor:
    """Return where the judge has the classes of a result, [K] indices.

    Raises
    ------
    LisError : a judge without a head, or one that lacks a class.
    """
    if not judge.has_head:
        raise LisError(f"judge {judge.name!r} is an encoder without a head; a classifier was expected.")
    known = list(judge.classes)
    for name in classes:
        if name not in known:
            raise LisError(
                f"judge {judge.name!r} has no class {name!r}, which the counterfactuals have; a judge of the same "
                f"classes was expected.{spelling_hint(name, known)}"
            )
    return torch.tensor([known.index(name) for name in classes])


@torch.no_grad()
def row_measures(
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier | None = None,
    batch_size: int = 64,
) -> tuple[pd.DataFrame, Tensor | None, Tensor | None]:
    """Render start and end of every row once more and measure them against each other.

    Returns
    -------
    A table with a row each, and the judge's features of the cycled starts and of the ends, [N, D] (None without one).

    Raises
    ------
    LisError : models that the link was not fitted for, a judge that does not fit.
    """
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    places = None
    if judge is not None:
        check_models(generator, judge, same_classes=False)
        places = judge_places(result.classes, judge)
    seen = [
        _look(result.r_start[rows], result.r_end[rows], generator, classifier, link, judge)
        for rows in torch.arange(len(result)).split(batch_size)
    ]
    columns = {name: torch.cat([one.columns[name] for one in seen]) for name in seen[0].columns}
    starts, ends = (
        None if judge is None else torch.cat([getattr(one, name) for one in seen])
        for name in ("start", "end")
    )
    rows = result.table[list(COPIED)].reset_index(drop=True).copy()
    names = np.array(result.classes, dtype=object)
    rows["asked"] = asked(rows)
    rows["seen"] = np.array(classifier.classes, dtype=object)[columns["seen"].numpy()]
    rows["valid"] = rows["success"].to_numpy(bool) & (rows["seen"] == rows["target"]).to_numpy(bool)
    if places is not None:
        for name in ("judge_start", "judge_end"):
            # Classes that only the judge knows are "another one": it says no to the target all the same.
            rows[name] = _named(columns[name], places, names)
        rows["valid_judge"] = rows["valid"] & (rows["judge_end"] == rows["target"]).to_numpy(bool)
    for name in ("pixels", "ssim"):
        rows[name] = columns[name].numpy().astype(float)
    if starts is not None and ends is not None:
        rows["perceptual"] = (ends - starts).norm(dim=1).numpy().astype(float)
    rows["fall"] = total_fall(result.margins).numpy().astype(float)
    return rows, starts, ends


def _look(
    r_start: Tensor, r_end: Tensor, generator: Generator, classifier: Classifier, link: Link, judge: Any
) -> _Seen:
    """Look at rows [n, R] of starts and ends."""
    n = len(r_start)
    x = generator.render(link(torch.cat([r_start, r_end]).to(link.device))).float().cpu()  # [2 n, C, H, W]
    large = min(x.shape[2:]) >= SSIM_WINDOW
    logits = extract_features(classifier, x[n:]).logits
    if logits is None:
        raise LisError(f"classifier {classifier.name!r} has no head; counterfactuals need one.")
    columns = {
        "seen": logits.argmax(dim=1),
        "pixels": pixel_rms(x[n:], x[:n]),
        "ssim": similarity(x[n:], x[:n]) if large else torch.full((n,), torch.nan),
    }
    if judge is None:
        return _Seen(columns, None, None)
    told = extract_features(judge, x)
    said = told.predictions
    columns |= {"judge_start": said[:n], "judge_end": said[n:]}
    return _Seen(columns, told.r[:n], told.r[n:])


def _named(said: Tensor, places: Tensor, names: np.ndarray) -> np.ndarray:
    """Names of the classes that a judge said, [N]; "another" for one that only the judge has."""
    found = said[:, None] == places[None]  # [N, K]
    return np.where(found.any(dim=1).numpy(), names[found.float().argmax(dim=1).numpy()], "another")
