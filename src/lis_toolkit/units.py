"""Walks along one unit: set it, follow the link, render, look again with the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .classifiers import Classifier
from .directions import checked_directions
from .errors import LisError
from .features import known_logits
from .link import Link
from .names import whole_number
from .pairs import check_models
from .stylegan import Generator


@dataclass(frozen=True)
class UnitWalk:
    """What happened when one unit of N samples was set to S values; everything on the CPU, float32.

    Attributes
    ----------
    unit : index of the unit.
    values : [S], what the unit was set to.
    observed : smallest and largest activation of the unit over the pairs of the link.
    images : [N, S, C, H, W], unit range.
    w : [N, S, W], linked latents.
    r_set : [N, S, R], the activations with the unit set: what the link was given.
    r : [N, S, R], the activations of the rendered pictures.
    logits : [N, S, K], of the rendered pictures; K is 0 for an encoder without a head.
    start : [N, C, H, W], the pictures of the activations as they were, unit untouched.
    start_r, start_logits : [N, R], [N, K], of `start`.
    given : [N, R], the activations as they were given, unit untouched.
    companions : whether other units were taken along.
    """

    unit: int
    values: Tensor
    observed: tuple[float, float]
    images: Tensor
    w: Tensor
    r_set: Tensor
    r: Tensor
    logits: Tensor
    start: Tensor
    start_r: Tensor
    start_logits: Tensor
    given: Tensor | None = None
    companions: bool = False

    @property
    def difference(self) -> Tensor:
        """Change of every picture against its start, [N, S, C, H, W] in -1 .. 1."""
        return self.images - self.start[:, None]

    def moved_units(self, count: int = 10, step: int = -1) -> tuple[Tensor, Tensor]:
        """Units whose re-encoded activation changed most from the start, and by how much on average over samples.

        Parameters
        ----------
        count : how many.
        step : which of the S values.

        Returns
        -------
        indices [count] and mean changes [count], the largest first.
        """
        steps = len(self.values)
        if not -steps <= whole_number(step, "step", -steps) < steps:
            raise LisError(f"step is {step}; this walk has {steps} steps, 0 to {steps - 1}.")
        change = (self.r[:, step] - self.start_r).mean(dim=0)  # [R]
        order = change.abs().argsort(descending=True)[: whole_number(count, "count", 1)]
        return order, change[order]


def _rows(r: Tensor, link: Link) -> Tensor:
    if not isinstance(r, Tensor) or not r.is_floating_point():
        given = r.dtype if isinstance(r, Tensor) else f"of type {type(r).__name__}"
        raise LisError(f"r is {given}; a floating tensor [N, R] was expected.")
    r = r[None] if r.ndim == 1 else r
    if r.ndim != 2 or len(r) == 0 or r.shape[1] != link.num_units:
        raise LisError(
            f"r has shape {list(r.shape)}; [N, {link.num_units}] with at least one row was expected: "
            "activations of the classifier that the link was fitted for."
        )
    if not torch.isfinite(r).all():
        raise LisError("r has NaN or infinite values; finite activations were expected.")
    return r


def _values(values: Sequence[float] | Tensor | None, steps: int, low: float, high: float) -> Tensor:
    if values is None:
        return torch.linspace(low, high, whole_number(steps, "steps", 1))
    try:
        chosen = torch.as_tensor(values, dtype=torch.float32).cpu()
    except (TypeError, ValueError, RuntimeError):
        chosen = torch.empty(0)
    if chosen.ndim != 1 or len(chosen) == 0 or not torch.isfinite(chosen).all():
        raise LisError(f"values are {values!r}; a list of finite numbers was expected, at least one.")
    return chosen


@torch.no_grad()
def render_activations(
    generator: Generator, classifier: Classifier, link: Link, r: Tensor, batch_size: int = 64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Follow the link from activations r [N, R]: latents, pictures, their activations and logits.

    Returns
    -------
    w [N, W], x [N, C, H, W] in the unit range, r' [N, R], logits [N, K] (K is 0 without a head), all on the CPU.

    Raises
    ------
    LisError : models that the link was not fitted for, activations of another width or not finite.

    Examples
    --------
    >>> w, x, r_again, logits_again = render_activations(generator, classifier, link, features.r)
    """
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    r = _rows(r, link)
    parts = []
    for part in r.split(whole_number(batch_size, "batch_size", 1)):
        w = link(part.to(link.device))
        x = generator.render(w)
        again = classifier.features(x.to(classifier.device, classifier.dtype))
        parts.append([value.float().cpu() for value in (w, x, again, known_logits(classifier, again))])
    w, x, again, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return w, x, again, logits


def tune_unit(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    r: Tensor,
    unit: int | str,
    values: Sequence[float] | Tensor | None = None,
    steps: int = 7,
    batch_size: int = 64,
    directions: Tensor | None = None,
) -> UnitWalk:
    """Set one unit to given values, link and render: systematic unit tuning.

    Linking in Style (arXiv 2409.16865, section 3).

    Parameters
    ----------
    r : activations [N, R] to start from, or a single [R].
    unit : index, or a name such as "unit 17".
    values : what to set the unit to, in activation units; default: `steps` values from the smallest to the largest that
        the unit had over the pairs.
    batch_size : pictures at a time, over samples and steps together.
    directions : [R, R], row i the change of all units for one unit of unit i (`companion_directions`); default: every
        unit is set alone, as in the paper.

    Raises
    ------
    LisError : a unit that does not exist or was constant over the pairs, values that are not finite, activations of
        another width, models that the link was not fitted for.

    Examples
    --------
    >>> walk = tune_unit(generator, classifier, link, pairs.r[:4], unit=17)
    >>> walk.images.shape
    torch.Size([4, 7, 1, 32, 32])
    """
    index = link.varying_unit(unit)
    r = _rows(r, link).float().cpu()
    low, high = float(link.unit_min[index]), float(link.unit_max[index])
    chosen = _values(values, steps, low, high)
    n, s = len(r), len(chosen)
    r_set = r[:, None, :].repeat(1, s, 1)  # [N, S, R]
    companions = checked_directions(directions, link.num_units)
    if companions is not None:
        r_set = r_set + (chosen - r[:, index, None])[:, :, None] * companions[index]
    r_set[:, :, index] = chosen
    rows = torch.cat([r, r_set.flatten(0, 1)])  # [N + N S, R]: the start and all steps go through in one pass
    w, x, again, logits = render_activations(generator, classifier, link, rows, batch_size)

    def steps_of(values: Tensor) -> Tensor:
        return values[n:].unflatten(0, (n, s))

    return UnitWalk(
        unit=index,
        values=chosen,
        observed=(low, high),
        images=steps_of(x),
        w=steps_of(w),
        r_set=r_set,
        r=steps_of(again),
        logits=steps_of(logits),
        start=x[:n],
        start_r=again[:n],
        start_logits=logits[:n],
        given=r,
        companions=companions is not None,
    )
