"""Walks to compare a unit's walk with: random directions that change pictures as much, and other units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..link import Link
from ..names import whole_number
from ..pairs import check_models
from ..stylegan import Generator
from ..units import UnitWalk, tune_unit

__all__ = ["control_walks", "ends_of", "picture_change"]

DOUBLINGS, HALVINGS, NEAR = 10, 14, 0.02  # of the search for a step that changes the picture as much


def ends_of(walk: UnitWalk) -> tuple[int, int, int]:
    """Return the steps of a walk with the lowest, the middle and the highest value.

    Raises
    ------
    LisError : a walk whose values are all the same.

    Examples
    --------
    >>> ends_of(tune_unit(generator, classifier, link, r, 17))
    (0, 3, 6)
    """
    order = walk.values.argsort(stable=True).tolist()
    if float(walk.values[order[0]]) == float(walk.values[order[-1]]):
        raise LisError(
            f"the walk along unit {walk.unit} has one value, {float(walk.values[0]):g}; two different ones were "
            "expected."
        )
    return order[0], order[len(order) // 2], order[-1]


def picture_change(low: Tensor, high: Tensor) -> Tensor:
    """Root mean square change of pictures [N, C, H, W], in the unit range: [N]."""
    return (high - low).flatten(1).square().mean(1).sqrt()


@torch.no_grad()
def control_walks(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    walk: UnitWalk,
    random: int = 3,
    units: int | Sequence[int | str] = 2,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Make walks that start where a unit's walk does and are not about the unit, for `explain_walk`.

    A random walk goes through the latent of the walk's middle along a random mix of all units (each by a normal number
    times its standard deviation, linked), as far in both directions as makes its two ends differ as much, in root mean
    square, as those of the unit's walk. Other units are set to the ends of what they had over the link's pairs.

    Parameters
    ----------
    random : how many random walks.
    units : which other units, or how many, drawn from those that varied over the pairs.
    seed : of all that is drawn.

    Returns
    -------
    Name -> pictures [N, 2, C, H, W], the two ends, on the CPU.

    Raises
    ------
    LisError : models that don't belong together, units that can't be set, the walk's own unit.

    Examples
    --------
    >>> controls = control_walks(generator, classifier, link, walk)
    """
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    draw = torch.Generator().manual_seed(whole_number(seed, "seed", 0))
    low, middle, high = ends_of(walk)
    wanted = picture_change(walk.images[:, low], walk.images[:, high])  # [N]
    walks = {}
    for i in range(whole_number(random, "random", 0)):
        mix = torch.randn(len(walk.w), link.num_units, generator=draw) * link.unit_std.cpu()  # [N, R]
        direction = mix @ link.A.cpu().T  # [N, W]
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-12)
        walks[f"random mix {i}"] = _as_far(generator, walk.w[:, middle], direction, wanted, batch_size)
    if walk.given is None and units:
        raise LisError("the walk does not say what activations it started from: make it again by tune_unit.")
    for unit in _others(link, walk, units, draw):
        assert walk.given is not None
        other = tune_unit(generator, classifier, link, walk.given, unit, steps=2, batch_size=batch_size)
        walks[f"unit {unit}"] = other.images
    return walks


def _others(link: Link, walk: UnitWalk, units: int | Sequence[int | str], draw: torch.Generator) -> list[int]:
    if isinstance(units, int) and not isinstance(units, bool):
        varying = [u for u in range(link.num_units) if u != walk.unit and u not in set(link.constant_units)]
        order = torch.randperm(len(varying), generator=draw).tolist()
        return [varying[i] for i in order[: whole_number(units, "units", 0)]]
    chosen = [link.varying_unit(unit) for unit in units]  # type: ignore[union-attr]
    if walk.unit in chosen:
        raise LisError(f"unit {walk.unit} is the walk's own; a control is another unit.")
    return chosen


def _as_far(generator: Generator, w: Tensor, direction: Tensor, wanted: Tensor, batch_size: int) -> Tensor:
    """Pictures [N, 2, C, H, W] of both ends of steps along directions [N, W] whose change is the wanted one [N]."""

    def ends(step: Tensor) -> Tensor:
        both = torch.stack([w - step[:, None] * direction, w + step[:, None] * direction], 1)  # [N, 2, W]
        flat = both.flatten(0, 1).to(generator.device)
        x = torch.cat([generator.render(part).float().cpu() for part in flat.split(batch_size)])
        return x.unflatten(0, (len(w), 2))

    short, far = torch.zeros(len(w)), torch.full((len(w),), 0.25)
    x = ends(far)
    for _ in range(DOUBLINGS):
        enough = picture_change(x[:, 0], x[:, 1]) >= wanted
        if bool(enough.all()):
            break
        short, far = torch.where(enough, short, far), torch.where(enough, far, 2 * far)
        x = ends(far)
    for _ in range(HALVINGS):
        change = picture_change(x[:, 0], x[:, 1])
        if bool((change <= (1 + NEAR) * wanted).all()):
            break
        step = torch.where(change > (1 + NEAR) * wanted, (short + far) / 2, far)
        between = ends(step)
        enough = picture_change(between[:, 0], between[:, 1]) >= wanted
        short, far = torch.where(enough, short, step), torch.where(enough, step, far)
        x = torch.where(enough[:, None, None, None, None], between, x)
    return x
