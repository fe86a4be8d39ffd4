"""Where named directions come from: the link itself, differences of classes, combinations of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import LisError
from ..link import Link
from ..names import class_index, finite_number, whole_number
from ..pairs import Pairs
from .named import Directions

__all__ = ["class_directions", "principal_directions", "unit_combination"]

USUAL = 3.0  # standard deviations either way: what nearly all samples have
NEGLIGIBLE = 1e-6  # of the largest strength: below it a direction moves w by rounding only


@torch.no_grad()
def principal_directions(link: Link, count: int = 8, pairs: Pairs | Tensor | None = None) -> Directions:
    """Return the directions of activations that move the latent most per standard deviation.

    Without pairs the units are taken for independent: the right singular vectors v_d of A times the units' standard
    deviations s, and an amount of 1 adds s * v_d to r. With pairs their covariance C is known, of which s is the
    diagonal: the singular vectors of A C^(1/2), and an amount of 1 adds C^(1/2) v_d. These are the principal components
    of the linked latents A r + b, each as the change of r that goes with it; the pictures stay among those that there
    are, which they leave soon where the units are far from independent.

    Parameters
    ----------
    count : of the directions, the strongest first.
    pairs : Pairs or activations [N, R]; also for the ranges, which are those of their rows. None: -3 to 3.

    Returns
    -------
    Directions
        An amount of 1 is one standard deviation, and moves w by `strength`, for each direction at right angles to the
        others. Signs: the largest entry, in standard deviations of the units, is positive.

    Raises
    ------
    LisError : a count beyond the number of directions that move anything, activations of another width.

    Notes
    -----
    Not in the paper.

    Examples
    --------
    >>> directions = principal_directions(link, 4, pairs)
    >>> session.move(start, directions, {"principal 1": 2.0})
    """
    count = whole_number(count, "count", 1)
    std, A = link.unit_std.double().cpu(), link.A.double().cpu()  # [R], [W, R]
    if pairs is None:
        _, strength, right = torch.linalg.svd(A * std, full_matrices=False)  # [D], [D, R]
        vectors = right * std  # [D, R]
        low, high = torch.full_like(strength, -USUAL), torch.full_like(strength, USUAL)
    else:
        r = _activations(pairs.r if isinstance(pairs, Pairs) else pairs, link.num_units)
        centred = (r - r.mean(dim=0)) / len(r) ** 0.5  # [N, R]
        scores, strength, _ = torch.linalg.svd(centred @ A.T, full_matrices=False)  # [N, D], [D]
        vectors = scores.T @ centred  # [D, R]
        low, high = (bound * len(r) ** 0.5 for bound in (scores.amin(dim=0), scores.amax(dim=0)))
    moving = int((strength > NEGLIGIBLE * strength[0]).sum()) if float(strength[0]) > 0 else 0
    if count > moving:
        raise LisError(f"count is {count}; this link has {moving} directions that move w.")
    entries = (vectors / torch.where(std > 0, std, 1.0))[:count]  # [D, R], in standard deviations
    sign = entries.gather(1, entries.abs().argmax(dim=1, keepdim=True)).sign()  # [D, 1]
    ends = torch.stack([low[:count], high[:count]], dim=1) * sign  # [D, 2]
    return Directions(
        tuple(f"principal {d + 1}" for d in range(count)),
        (vectors[:count] * sign).float(),
        tuple(ends.amin(dim=1).tolist()),
        tuple(ends.amax(dim=1).tolist()),
        "principal",
        tuple(strength[:count].tolist()),
    )


@torch.no_grad()
def class_directions(
    r: Pairs | Tensor,
    labels: Tensor | None = None,
    classes: Sequence[str] | None = None,
    source: str | int | None = None,
) -> Directions:
    """Return differences of class means: from one class to every other, or from all others to each.

    An amount of 1 is the whole difference. The range of a direction holds what the rows of both ends have along it.

    Parameters
    ----------
    r : Pairs, whose labels and classes are taken; or activations [N, R].
    labels, classes : [N] indices and the names that they count; with activations only.
    source : the class to start from: K - 1 directions "Coat to Shirt". None: K directions "others to Shirt", from the
        mean of the other classes' means.

    Raises
    ------
    LisError : labels that do not fit, fewer than two classes with rows, a source without rows.

    Notes
    -----
    Not in the paper, which tunes single units.

    Examples
    --------
    >>> class_directions(pairs, source="Coat").names[:2]
    ('Coat to T-shirt/top', 'Coat to Trouser')
    """
    if isinstance(r, Pairs):
        if labels is not None or classes is not None:
            raise LisError(
                "labels or classes were given beside pairs, which bring their own: leave them out."
            )
        labels, classes, r = r.labels, r.classes, r.r
    if labels is None or classes is None:
        raise LisError("labels and classes are missing: give both beside activations.")
    r = _activations(r)
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != r.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise LisError(
            f"labels are {labels.dtype} {list(labels.shape)}; whole numbers [{len(r)}] were expected, one a row."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise LisError(
            f"labels go from {int(labels.min())} to {int(labels.max())}; there are {len(classes)} classes."
        )
    known = labels.unique().tolist()
    if len(known) < 2:
        raise LisError("the rows are of fewer than two classes; there is no difference to move along.")
    means = {k: r[labels == k].mean(dim=0) for k in known}  # [R] each
    first = None if source is None else class_index(source, classes, "the pairs")
    if first is not None and first not in means:
        raise LisError(f"there are no rows of {classes[first]!r}; take a source that has some.")
    names, vectors, low, high = [], [], [], []
    for k in known:
        if k == first:
            continue
        others = [first] if first is not None else [j for j in known if j != k]
        origin = torch.stack([means[j] for j in others]).mean(dim=0)  # [R]
        vector = means[k] - origin
        square = float(vector @ vector)
        if square == 0:
            raise LisError(
                f"{classes[k]!r} has the same mean as where it starts from: there is no way to go."
            )
        rows = r if first is None else r[(labels == k) | (labels == first)]
        amounts = (rows - origin) @ vector / square  # [M], 0 at the origin and 1 at the class
        # A start at one end may go to the other end of what there is, and beyond the class itself.
        low.append(min(float(amounts.min()), -1.0))
        high.append(max(float(amounts.max()), 1.0))
        names.append(f"{'others' if first is None else classes[first]} to {classes[k]}")
        vectors.append(vector)
    return Directions(tuple(names), torch.stack(vectors).float(), tuple(low), tuple(high), "class")


@torch.no_grad()
def unit_combination(combinations: Mapping[str, Mapping[int | str, float]], link: Link) -> Directions:
    """Return named combinations of units: an amount of 1 adds every weight to its unit.

    Parameters
    ----------
    combinations : name -> unit -> weight, in activation units.

    Returns
    -------
    Directions
        Their ranges are the amounts at which the first of their units has gone through its whole observed range.

    Raises
    ------
    LisError : no combinations, units that do not exist or never varied, weights that are not finite or all 0.

    Examples
    --------
    >>> directions = unit_combination({"wide sleeves": {17: 1.0, 40: -0.5}}, link)
    """
    if not isinstance(combinations, Mapping) or not combinations:
        raise LisError(
            f"combinations are {combinations!r}; a mapping such as {{'wide': {{17: 1.0}}}} was expected."
        )
    vectors, reach = torch.zeros(len(combinations), link.num_units), []
    span = (link.unit_max - link.unit_min).double().cpu()  # [R]
    strength = []
    for i, (name, weights) in enumerate(combinations.items()):
        if not isinstance(weights, Mapping) or not weights:
            raise LisError(
                f"{name!r} is {weights!r}; a mapping from units to weights was expected: {{17: 1.0}}."
            )
        for unit, weight in weights.items():
            index = link.varying_unit(unit)
            if vectors[i, index] != 0:
                raise LisError(f"{name!r} gives unit {index} twice; once was expected.")
            vectors[i, index] = finite_number(weight, f"the weight of unit {index} in {name!r}")
        moved = vectors[i].nonzero()[:, 0]
        if len(moved) == 0:
            raise LisError(f"all weights of {name!r} are 0: it moves nothing; leave it out.")
        reach.append(float((span[moved] / vectors[i, moved].double().abs()).min()))
        strength.append(float((link.A.double().cpu() @ vectors[i].double()).norm()))
    return Directions(
        tuple(combinations), vectors, tuple(-a for a in reach), tuple(reach), "units", tuple(strength)
    )


def _activations(r: object, num_units: int | None = None) -> Tensor:
    wanted = "R" if num_units is None else num_units
    if (
        not isinstance(r, Tensor)
        or not r.is_floating_point()
        or r.ndim != 2
        or len(r) < 2
        or (num_units is not None and r.shape[1] != num_units)
    ):
        given = f"{r.dtype} {list(r.shape)}" if isinstance(r, Tensor) else type(r).__name__
        raise LisError(f"r is {given}; activations [N, {wanted}] of at least two rows were expected.")
    if not bool(torch.isfinite(r).all()):
        raise LisError("r has NaN or infinite values; finite activations were expected.")
    return r.detach().double().cpu()
