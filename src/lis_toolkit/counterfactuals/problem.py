"""The door of the search: what is asked, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from ..class_statistics import ClassStatistics
from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..features import Features, check_images_for, extract_features
from ..link import Link
from ..names import class_index, finite_number, spelling_hint, whole_number
from ..pairs import Pairs, check_models
from ..stylegan import Generator
from . import latent, paper
from .rendered import rendered_margin
from .search import Method, Metric


@dataclass(frozen=True)
class Options:
    """Numbers and names, checked."""

    method: Method
    metric: Metric
    margin: float
    scale: float
    realism: float
    steps: int
    points: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Problem:
    """What is asked of a search.

    Attributes
    ----------
    r : float32 [S, R], activations to start from.
    images : [S, C, H, W], the photographs they are of, or None.
    keys : int [S], a number made of what was given of each start: its random numbers depend on nothing else.
    origin : int64 [S], what the head says of r.
    start, target : int64 [N], of each row: the start's index, the class wanted (where it is known).
    nearest : whether targets are still to be found.
    asked : the target as it was given, for the record.
    rivals : bool [K], the classes that "nearest" and "all" mean.
    floor : whether activations are >= 0 by nature.
    head : weight and bias of the linear head, or None.
    statistics : in the classifier's order of classes, or None.
    """

    r: Tensor
    images: Tensor | None
    keys: list[int]
    origin: Tensor
    start: Tensor
    target: Tensor
    nearest: bool
    asked: Any
    rivals: Tensor
    floor: bool
    head: tuple[Tensor, Tensor] | None
    statistics: ClassStatistics | None
    options: Options


def pose(
    generator: Generator, classifier: Classifier, link: Link, start: Any, target: Any, pairs: Pairs | None,
    margin: float | None, **options: Any,
) -> Problem:  # fmt: skip
    """Check everything that was given to `find_counterfactuals`; see there."""
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    if not classifier.has_head or classifier.num_classes < 2:
        raise LisError(
            f"{classifier.name} has {classifier.num_classes} classes; a counterfactual needs a classifier with a head "
            "of two or more."
        )
    chosen = _options(**options)
    needed = chosen.method != "paper"
    statistics = _statistics(link, pairs, classifier, needed)
    floor = bool((link.unit_min >= 0).all())
    r, images = _starts(classifier, link, start, floor, chosen.batch_size)
    head = classifier.linear_head() if needed else None
    with torch.no_grad():
        origin = classifier.head(r.to(classifier.device, classifier.dtype)).argmax(dim=1).cpu()
    rivals = _rivals(classifier, link, statistics)
    rows, goals = _targets(classifier, target, origin, rivals)
    if needed:
        wanted, scale = _margins(classifier, statistics, margin)
        chosen = replace(chosen, margin=wanted, scale=scale)
    keys = _keys(r if images is None else images)
    nearest = isinstance(target, str) and target == "nearest" and target not in classifier.classes
    asked = target if isinstance(target, (str, int)) else [classifier.classes[k] for k in goals.tolist()]
    return Problem(
        r, images, keys, origin, rows, goals, nearest, asked, rivals, floor, head, statistics, chosen
    )


def default_margin(classifier: Classifier, statistics: ClassStatistics | None) -> float | None:
    """Return half the median, over classes, of the margin that the head gives at the class's mean activation.

    None where none of the classes has pairs, or the head does not tell most of them apart.
    """
    known = statistics.counts > 0 if statistics is not None else torch.zeros(0, dtype=torch.bool)
    if statistics is None or not bool(known.any()):
        return None
    with torch.no_grad():
        means = statistics.r_means[known].to(classifier.device, classifier.dtype)
        margins = rendered_margin(classifier.head(means).float().cpu(), known.nonzero()[:, 0])
    half = 0.5 * float(margins.quantile(0.5))
    return half if half > 0 else None


def _margins(classifier: Classifier, statistics: ClassStatistics | None, margin: Any) -> tuple[float, float]:
    """Return the margin asked for and the scale of logits."""
    usual = default_margin(classifier, statistics)
    if margin is None and usual is None:
        raise LisError(
            "the link's classes give no scale for a margin: none has pairs, or the head does not tell their means "
            "apart. Give margin=, in logits."
        )
    given = usual if margin is None else _positive(margin, "margin")
    assert given is not None
    return given, usual or given or 1.0


def _options(
    method: Any, metric: Any, realism: Any, steps: Any, points: Any, batch_size: Any, seed: Any
) -> Options:
    for name, value, known in (("method", method, get_args(Method)), ("metric", metric, get_args(Metric))):
        if value not in known:
            raise LisError(
                f"{name} is {value!r}; one of {', '.join(known)} was expected.{spelling_hint(str(value), known)}"
            )
    if steps is None:
        steps = paper.STEPS if method == "paper" else latent.STEPS
    return Options(
        method, metric, 0.0, 1.0, _positive(realism, "realism"), whole_number(steps, "steps", 0),
        whole_number(points, "points", 2), whole_number(batch_size, "batch_size", 1), whole_number(seed, "seed", 0),
    )  # fmt: skip


def _positive(value: Any, name: str) -> float:
    number = finite_number(value, name, " of at least 0")
    if number < 0:
        raise LisError(f"{name} is {value!r}; a number of at least 0 was expected.")
    return number


def _statistics(
    link: Link, pairs: Pairs | None, classifier: Classifier, needed: bool
) -> ClassStatistics | None:
    if pairs is not None:
        if not isinstance(pairs, Pairs):
            raise LisError(f"pairs is {type(pairs).__name__}; Pairs of collect_pairs were expected.")
        _same_classifier(link, pairs, "the pairs")
        if pairs.r.shape[1] != link.num_units or pairs.w.shape[1] != link.w_dim:
            raise LisError(
                f"the pairs have {pairs.r.shape[1]} units and {pairs.w.shape[1]} latent dimensions, the link "
                f"{link.num_units} and {link.w_dim}: give pairs of the link's models."
            )
        return ClassStatistics.of(pairs).ordered(classifier.classes)
    if link.statistics is not None:
        return link.statistics.ordered(classifier.classes)
    if needed:
        raise LisError(
            "the link has no class statistics (it was fitted without Pairs, or by an older version): give pairs=, or "
            "fit it again with fit_link(pairs)."
        )
    return None


def _same_classifier(link: Link, pairs: Pairs, what: str) -> None:
    ours, theirs = link.classifier_hash, getattr(pairs, "classifier_hash", None)
    if ours and theirs and ours != theirs:
        raise LisError(
            f"{what} hold activations of another classifier ({theirs[:8]}) than the link's ({ours[:8]}): collect them "
            "with the one the link was fitted for."
        )


def _starts(
    classifier: Classifier, link: Link, start: Any, floor: bool, batch_size: int
) -> tuple[Tensor, Tensor | None]:
    images = None
    if isinstance(start, Photographs):
        start = start.images
    if isinstance(start, Pairs):
        _same_classifier(link, start, "the starts")
    if isinstance(start, (Pairs, Features)):
        start = start.r
    if isinstance(start, Tensor) and start.ndim == 4:
        images = check_images_for(classifier, start).detach().float().cpu()
        start = extract_features(classifier, images, batch_size).r
    if not isinstance(start, Tensor) or not start.is_floating_point():
        given = f"a {start.dtype} tensor" if isinstance(start, Tensor) else type(start).__name__
        raise LisError(
            f"start is {given}; floating activations r [N, {link.num_units}], images [N, C, H, W] in the unit range, "
            "Features, Pairs or Photographs were expected."
        )
    r = (start[None] if start.ndim == 1 else start).detach().float().cpu()
    if r.ndim != 2 or len(r) == 0 or r.shape[1] != link.num_units:
        raise LisError(
            f"r has shape {list(r.shape)}; [N, {link.num_units}] with at least one row was expected: activations of "
            f"the classifier that the link was fitted for.{' One image is images[None].' if r.ndim == 3 else ''}"
        )
    _check_values(link, r, floor)
    return r, images


def _check_values(link: Link, r: Tensor, floor: bool) -> None:
    broken = ~torch.isfinite(r)
    if bool(broken.any()):
        row, unit = broken.nonzero()[0].tolist()
        raise LisError(
            f"r has {int(broken.sum())} values that are NaN or infinite (the first in row {row}, unit {unit}); finite "
            "activations were expected."
        )
    if floor and bool((r < 0).any()):
        row, unit = (r < 0).nonzero()[0].tolist()
        raise LisError(
            f"r has negative activations (the first in row {row}, unit {unit}: {float(r[row, unit]):g}), which the "
            "link's classifier never had: give activations >= 0."
        )
    beyond = ~torch.isfinite(link.linear(r.to(link.device))).all(dim=1)
    if bool(beyond.any()):
        row = int(beyond.nonzero()[0])
        raise LisError(
            f"r is so large (row {row}: up to {float(r[row].abs().max()):g}) that its latents leave the range of "
            "numbers; activations of the link's classifier were expected."
        )


def _rivals(classifier: Classifier, link: Link, statistics: ClassStatistics | None) -> Tensor:
    """Return which classes "nearest" and "all" mean [K]: those with pairs, else those that the link names."""
    if statistics is not None:
        return statistics.counts > 0
    names = set(link.classes or classifier.classes)
    return torch.tensor([name in names for name in classifier.classes])


def _targets(classifier: Classifier, target: Any, origin: Tensor, rivals: Tensor) -> tuple[Tensor, Tensor]:
    n = len(origin)
    every = torch.arange(n)
    if isinstance(target, str) and target in ("nearest", "all") and target not in classifier.classes:
        if int(rivals.sum()) < 2:
            raise LisError(
                f"target is {target!r}, but the link knows fewer than two of the classes: name one."
            )
        if target == "nearest":
            return every, origin
        wanted = rivals[None] & (origin[:, None] != torch.arange(len(rivals)))  # [N, K]
        return wanted.nonzero(as_tuple=True)  # type: ignore[return-value]
    if isinstance(target, Tensor):
        target = target.tolist()
    if isinstance(target, Iterable) and not isinstance(
        target, (str, bytes, Set, Mapping)
    ):  # these have no order
        items = list(target)
        if len(items) != n:
            raise LisError(
                f"{len(items)} targets were given for {n} starts; one for all, or one each was expected."
            )
    else:
        items = [target] * n
    goals = torch.tensor([class_index(item, classifier.classes, classifier.name) for item in items])
    if bool((goals == origin).all()):
        raise LisError(
            f"every start already is of its target class ({classifier.classes[int(goals[0])]!r}): choose another."
        )
    return every, goals


def _keys(given: Tensor) -> list[int]:
    rows = given.contiguous().flatten(1).numpy()
    return [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows]
