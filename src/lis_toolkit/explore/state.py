"""What is seen at a start, and what came of setting units there: plain data to draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..names import whole_number
from ..rankings.texts import amount
from .pictures import DIFFERENCE_LIMIT, difference_rgb, enlarged, picture_rgb, whole_scale

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..parts import Legend

__all__ = ["UnitStart", "UnitState"]

CHANGED_PARTS = 2  # named in a caption


@dataclass(frozen=True, eq=False)
class UnitStart:
    """Where an exploration starts: activations, the picture they link to, and what the classifier sees in it.

    Attributes
    ----------
    r : [R], the activations given to the link.
    picture : [C, H, W], their linked render, unit range.
    seen_r, logits : [R], [K], of that picture; K is 0 for an encoder without a head.
    name : what it is, such as "photograph 12"; empty for a sample of a class.
    kept : what was found out about it later, by name.
    """

    r: Tensor
    picture: Tensor
    seen_r: Tensor
    logits: Tensor
    name: str = ""
    kept: dict[str, Tensor | None] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class UnitState:
    """Units of one sample set to values, and what came of it; everything on the CPU.

    Attributes
    ----------
    unit : the one under the hand, or None.
    value : what this unit was given as: set, or as it was at the start.
    classes : names of the K classes.
    start, tuned : [C, H, W], pictures without and with the units set, unit range.
    start_r, r : [R], the classifier's activations of these pictures.
    start_logits, logits : [K], its logits.
    r_set : [R], what was given to the link.
    values : unit -> value of all units that were set; empty after a move along directions.
    title : what was done, in a few words.
    start_labels, labels : uint8 [H, W], the parts of the two pictures, where a segmenter was asked.
    legend : names and colours of these labels.
    """

    unit: int | None
    value: float | None
    classes: tuple[str, ...]
    start: Tensor
    tuned: Tensor
    start_r: Tensor
    r: Tensor
    start_logits: Tensor
    logits: Tensor
    r_set: Tensor
    values: dict[int, float] = field(default_factory=dict)
    title: str = "nothing set"
    start_labels: Tensor | None = None
    labels: Tensor | None = None
    legend: Legend | None = None

    @property
    def difference(self) -> Tensor:
        """Tuned less start, [C, H, W] in -1 .. 1."""
        return self.tuned - self.start

    def rgb(self, outlines: bool = False, scale: int | None = None) -> np.ndarray:
        """Return start, tuned and coloured difference as uint8 [3, H, W, 3].

        Parameters
        ----------
        outlines : draw the outlines of the parts on start and tuned picture, all three enlarged.
        scale : whole number by which the pictures are enlarged; default 1, with outlines what makes about 192 px.

        Raises
        ------
        LisError : outlines of a state that was made without them.

        Examples
        --------
        >>> session.tune(start, {17: 1.2}, outlines=True).rgb(outlines=True).shape
        (3, 192, 192, 3)
        """
        if scale is not None:
            scale = whole_number(scale, "scale", 1, 64)
        difference = difference_rgb(self.difference)
        if not outlines:
            panels = np.stack([picture_rgb(self.start), picture_rgb(self.tuned), difference])
            return panels if scale in (None, 1) else enlarged(panels, int(scale or 1))
        start_labels, labels, legend = self._parts()
        from ..parts.pictures import draw_outlines

        scale = scale or whole_scale(*self.start.shape[-2:])
        drawn = draw_outlines(
            torch.stack([self.start, self.tuned]),
            torch.stack([start_labels, labels]),
            legend,
            scale,
            max(1, scale // 4),
        )
        return np.concatenate([drawn, enlarged(difference[None], scale)])

    def _parts(self) -> tuple[Tensor, Tensor, Legend]:
        if self.start_labels is None or self.labels is None or self.legend is None:
            raise LisError(
                "this state has no parts to outline: give the session a segmenter, and tune with outlines=True."
            )
        return self.start_labels, self.labels, self.legend

    def image(self, outlines: bool = False, scale: int | None = None) -> Image:
        """Return the three pictures with their captions as one PIL image, as `save_state_png` writes it.

        Raises
        ------
        LisError : as `rgb`.

        Examples
        --------
        >>> session.tune(start, {17: 1.2}).image()
        """
        from .frames import state_image

        return state_image(self, outlines, scale)

    def part_areas(self) -> list[tuple[str, float, float]]:
        """Return (part, before, after), shares of the picture, the part whose area changed most first.

        Raises
        ------
        LisError : a state that was made without parts.

        Examples
        --------
        >>> session.tune(start, {17: 1.2}, outlines=True).part_areas()[0]
        ('sleeve', 0.125, 0.161)
        """
        start_labels, labels, legend = self._parts()
        known = len(legend.names)
        before, after = (
            (x.flatten().long().bincount(minlength=known) / x.numel()).tolist()
            for x in (start_labels, labels)
        )
        rows = [(legend.names[k], before[k], after[k]) for k in range(1, known) if before[k] or after[k]]
        return sorted(rows, key=lambda row: -abs(row[2] - row[1]))

    def captions(self, outlines: bool = False) -> list[str]:
        """Say in a line each what the three pictures of `rgb` are."""
        before, after = (
            f": {seen}" if (seen := self._seen(v)) else "" for v in (self.start_logits, self.logits)
        )
        third = "difference: blue darker, orange brighter"
        if outlines:
            changed = [row for row in self.part_areas()[:CHANGED_PARTS] if row[1] != row[2]]
            listed = ", ".join(f"{part} {amount('area', b - a, signed=True)}" for part, a, b in changed)
            third += f"; share of the picture: {listed or 'as it was'}"
        return [f"start{before}", f"{self.title}{after}", third]

    def descriptions(self, outlines: bool = False) -> list[str]:
        """Say the same in a sentence each, for readers who do not see the pictures."""
        change = self.difference
        before, after = (
            f", seen as {seen}" if (seen := self._seen(v)) else "" for v in (self.start_logits, self.logits)
        )
        if len(self.values) == 1:
            ((unit, value),) = self.values.items()
            tuned = (
                f"Picture with unit {unit} set to {value:.2f}{after}; the classifier reads "
                f"{float(self.r[unit]):.2f} for this unit."
            )
        elif self.values:
            listed = ", ".join(f"unit {unit} set to {value:.2f}" for unit, value in self.values.items())
            tuned = f"Picture with {listed}{after}."
        else:
            tuned = f"Picture with {self.title}{after}."
        third = (
            f"Difference: mean change {float(change.abs().mean()):.3f}, largest {float(change.abs().max()):.2f} of 1; "
            f"blue is darker, orange brighter, colours are full at {DIFFERENCE_LIMIT:g}."
        )
        if outlines:
            listed = ", ".join(
                f"{part} from {amount('area', a)} to {amount('area', b)} of the picture"
                for part, a, b in self.part_areas()[:CHANGED_PARTS]
            )
            third += f" Areas that changed most: {listed or 'none'}."
        return [f"Picture before the change{before}.", tuned, third]

    def _seen(self, logits: Tensor) -> str:
        if not len(logits):
            return ""  # an encoder sees no class
        probabilities = logits.softmax(0)
        best = int(probabilities.argmax())
        return f"{self.classes[best]} {float(probabilities[best]):.0%}"

    def top_classes(self, count: int = 10, probabilities: bool = False) -> list[tuple[str, float, float]]:
        """Return (name, before, after) of the classes with the highest logits on either side, in their own order.

        An encoder without a head has none.
        """
        both = torch.stack([self.start_logits, self.logits])  # [2, K]
        shown = both.softmax(1) if probabilities else both
        chosen = both.max(0).values.argsort(descending=True)[: whole_number(count, "count", 1)].sort().values
        return [(self.classes[k], float(shown[0, k]), float(shown[1, k])) for k in chosen.tolist()]

    def moved_units(self, count: int = 10) -> list[tuple[int, float]]:
        """Return (unit, change) of the units whose re-encoded activation changed most, the largest first.

        The unit under the hand comes last where it is not among the first `count`.
        """
        change = self.r - self.start_r  # [R]
        order = change.abs().argsort(descending=True, stable=True)[: whole_number(count, "count", 1)].tolist()
        shown = order if self.unit is None or self.unit in order else [*order, self.unit]
        return [(unit, float(change[unit])) for unit in shown]
