"""Screening: what every unit would change, to first order, from a few forward-mode products per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..directions import checked_directions
from ..errors import LisError
from ..link import Link
from ..names import finite_number, whole_number
from ..parts import Segmenter
from ..stylegan import Generator
from ..stylegan.generator import ACTIVATION_BYTES
from .blend import Expansions
from .directions import Method, choose_directions
from .products import linearise

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("area", "luminance", "energy")
TANGENTS = 128  # pictures' worth of tangents at a time, unless told otherwise
LEAST_AREA = 1e-4  # below it a part's predicted brightness is that of nothing


@dataclass(frozen=True)
class Screening:
    """Predicted change of N samples for each of R units, from its least to its largest value.

    Attributes
    ----------
    area : float32 [N, R, P], change of the soft area of each part, as share of the picture.
    luminance : float32 [N, R, P], change of the mean luminance of each part; NaN for samples whose start picture lacks
        the part.
    energy : float32 [N, R, 1 + P], mean squared change of the picture's pixels to first order, over the whole picture
        first, then over each part's pixels at the start (0 to 1, squared); NaN likewise.
    present : bool [N, P], whether the start picture has the part.
    parts : names of the P parts.
    classes : a class name per sample.
    constant_units : units without a direction; their changes are 0.
    evaluations : of the generator: a picture and a tangent count as one each.
    settings : method, products, temperature, blend, seed.
    """

    area: Tensor
    luminance: Tensor
    energy: Tensor
    present: Tensor
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    constant_units: tuple[int, ...]
    evaluations: int
    settings: dict[str, Any]

    def changes(self, part: str, measure: str) -> Tensor:
        """Return one measure's changes [N, R]; part "picture" has the measure "energy" only.

        Raises
        ------
        LisError : a part or measure that was not screened.
        """
        if part == "picture" and measure == "energy":
            return self.energy[:, :, 0]
        if part not in self.parts or measure not in MEASURES:
            raise LisError(
                f"{part!r} {measure!r} was not screened; there are {', '.join(self.parts)} with "
                f"{', '.join(MEASURES)}, and 'picture' with 'energy'."
            )
        place = self.parts.index(part)
        values = self.energy[:, :, 1:] if measure == "energy" else getattr(self, measure)
        return values[:, :, place]

    def to_frame(self, min_samples: int = 1) -> pd.DataFrame:
        """Return means over samples, by class and pooled ("all"), in the columns of `score_selectivity`.

        There are unit, part, measure, class, samples, mean_change, effect, same_sign, part_selectivity and
        unit_selectivity, so `rank_units` sorts them; there is no p, since nothing was rendered. Samples count whose
        start picture has the part; groups with fewer than `min_samples` of them are left out, and constant units.

        Examples
        --------
        >>> rank_units(screening.to_frame(), "sleeve", "area").head(20)
        """
        from .table import table_of

        return table_of(self, whole_number(min_samples, "min_samples", 1))


def screen_units(
    generator: Generator,
    segmenter: Segmenter,
    link: Link,
    r: Tensor,
    *,
    classes: Sequence[str] | None = None,
    method: Method = "exact",
    products: int | None = None,
    directions: Tensor | None = None,
    ends: tuple[Tensor, Tensor] | None = None,
    temperature: float = 4.0,
    blend: bool = True,
    batch_size: int | None = None,
    seed: int = 0,
) -> Screening:
    """Predict what every unit changes in pictures and parts, by linearisation: no unit is set, nothing else rendered.

    With w = A r + b the change of a measure m of the picture by unit i is, to first order, (dm / dw) A[:, i] times the
    distance that the unit moves. Products of dm / dw with directions of the latent space are computed in forward mode
    (``torch.func.jvp``), W of them for all units, or fewer (see `choose_directions`): against an exact sweep's R times
    steps pictures per sample. Use it to choose among thousands of units what to sweep.

    Parameters
    ----------
    segmenter : of the generator's feature maps, or of pictures.
    r : activations [N, R] to start from, such as ``sweep.samples.r``.
    classes : a name per row of r, for tables by class.
    method : "exact" (W products), "sketch" (random directions) or "principal" (main directions of the units' steps).
    products : forward-mode products per sample; None: W, or half of W for the other two.
    directions : [R, R] with ones on the diagonal, as for `sweep_units`: what moves with each unit.
    ends : two [R], the values between which each unit's change is predicted; None: its least and its largest over the
        link's pairs, a sweep's first and last step.
    temperature : the logits are divided by it before the softmax that makes parts soft. Higher values make areas react
        to pixels further from a border, and parts that are not there yet count.
    blend : predict what is at both ends of each unit's range from the linearisations of all samples, the nearest above
        all (see `Expansions`): units move so far that the start picture's own slope tells little of the far end.
        False: each sample's own linearisation, times the distance.
    batch_size : pictures and tangents at a time; None: as many as fit. Changes results by rounding only.
    seed : of the sketch.

    Returns
    -------
    Screening

    Raises
    ------
    LisError : models that don't belong together, activations of another width or not finite, settings out of range.

    Notes
    -----
    Beyond Linking in Style (arXiv 2409.16865), whose link makes it possible. On the bundled models, 256 units and twice
    10 samples of each class that no setting was chosen on, 11.8 times fewer evaluations than a sweep of three steps:
    Spearman correlation with the sweep's mean changes of parts' areas 0.79 on average (0.60 to 0.89) for units set
    alone and 0.83 (0.39 to 0.96) with companions, of luminances 0.81 (0.63 to 0.97) and 0.77 (0.40 to 0.95); a sweep
    of other samples reaches 0.97 to 0.98. Half of the sweep's 20 strongest units are among the screening's. Small
    parts, and parts that only some samples have, are predicted worst: `validate_screening` says how well, against a
    sweep of some units.

    Examples
    --------
    >>> screening = screen_units(generator, segmenter, link, sweep.samples.r, method="principal", products=32)
    >>> best = rank_units(screening.to_frame(), "sleeve", "area")["unit"].head(20)
    """
    link.check(generator)
    if finite_number(temperature, "temperature") <= 0:
        raise LisError(f"temperature is {temperature!r}; a number above 0 was expected.")
    if not isinstance(r, Tensor) or r.ndim != 2 or len(r) == 0:
        given = f"of shape {list(r.shape)}" if isinstance(r, Tensor) else f"a {type(r).__name__}"
        raise LisError(
            f"r is {given}; activations [N, {link.num_units}] with at least one row were expected."
        )
    names = ("all",) * len(r) if classes is None else tuple(str(name) for name in classes)
    if classes is not None and "all" in names:
        raise LisError("a class is named 'all', which is the name of the pooled rows: rename it.")
    if len(names) != len(r):
        raise LisError(f"there are {len(names)} classes for {len(r)} rows of r; one each was expected.")
    with torch.no_grad():
        matrix, low, high = _moves(link, directions, ends)  # [W, R], [R], [R]
        v, factor = choose_directions(matrix * (high - low), method, products, whole_number(seed, "seed", 0))
        w, r = link(r.to(link.device)), r.to(link.A)  # [N, W], [N, R]
        unit = (factor * (v @ matrix)).to(
            generator.device
        )  # [k, R], coordinates of what one of each unit adds
        distance = (high - low).to(unit)
        size = _size(generator, batch_size)
        found = linearise(
            generator, segmenter, w.to(generator.device), v.to(unit), unit * distance, temperature, size
        )
        if blend:
            places = factor * (w @ v.T).to(unit)  # [N, k]
            expansions = Expansions(places, found.values, found.slopes)
            pairs = [
                [
                    _of_parts(expansions(z + ((end - row)[:, None] * unit.T)))
                    for end in (low.to(unit), high.to(unit))
                ]
                for z, row in zip(places, r.to(unit), strict=True)
            ]
            area, light = (torch.stack([last[i] - first[i] for first, last in pairs]).cpu() for i in range(2))
        else:
            area, light = (value.cpu() for value in found.linear(unit * distance))
    present = found.present.cpu()
    light = light.masked_fill(~present[:, None], torch.nan)
    return Screening(
        area, light, found.energy.cpu(), present, segmenter.legend.parts, names, link.constant_units,
        found.evaluations, {"method": method, "products": len(v), "temperature": float(temperature),
                            "blend": bool(blend), "seed": seed},
    )  # fmt: skip


def _of_parts(values: Tensor) -> tuple[Tensor, Tensor]:
    """Area and luminance [R, P] out of predicted areas and light [R, 2 P], within what is possible."""
    area, mass = values.chunk(2, dim=1)
    return area.clamp(0, 1), (mass / area.clamp_min(LEAST_AREA)).clamp(0, 1)


def _moves(
    link: Link, directions: Tensor | None, ends: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Give what one of each unit adds to w, [W, R], and between which values each moves, [R] and [R]."""
    count = link.num_units
    matrix = link.A.clone()
    companions = checked_directions(directions, count)
    if companions is not None:
        matrix = link.A @ companions.to(link.A).T  # [W, R]
    matrix[:, list(link.constant_units)] = 0.0
    low, high = (
        (link.unit_min, link.unit_max) if ends is None else (torch.as_tensor(end).to(link.A) for end in ends)
    )
    for end in (low, high):
        if end.shape != (count,) or not bool(torch.isfinite(end).all()):
            raise LisError(f"ends have shape {list(end.shape)}; two of {count} finite numbers were expected.")
    return matrix, low, high


def _size(generator: Generator, batch_size: int | None) -> int:
    if batch_size is not None:
        return whole_number(batch_size, "batch_size", 1)
    # A tangent keeps maps of its own beside those of its picture.
    return max(2, min(TANGENTS, ACTIVATION_BYTES // (generator.synthesis.activations * 4)))
