"""What is seen at a place along a way to another class, beside the cycled start: plain data to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..explore.pictures import enlarged, picture_rgb
from ..explore.state import UnitState
from ..parts.measures import ABSENT, measure_parts
from .paths import target_margins
from .rows import pixel_rms

if TYPE_CHECKING:
    from ..parts import Legend

__all__ = ["PHOTOGRAPH", "RAW_LOGITS", "RAW_R", "CounterfactualState"]

PHOTOGRAPH, RAW_R, RAW_LOGITS = "photograph", "raw r", "raw logits"  # names of what a start keeps


@dataclass(frozen=True, eq=False)
class CounterfactualState(UnitState):
    """A place along a way, and what is seen there; everything on the CPU.

    Attributes
    ----------
    target : the class that the way leads to; empty while none was searched.
    place : along the way, 0 the cycled start, 1 its end.
    change_sd : [R], change of the re-encoded activations since the cycled start, in standard deviations.
    parts : uint8 [2, H, W], the parts of the cycled start and of the picture here, where there is a segmenter.
    photograph : [C, H, W], where the start is one, in the pictures' size and channels.
    raw_r, raw_logits : [R], [K], what the classifier says of the photograph itself.
    """

    target: str = ""
    place: float = 0.0
    change_sd: Tensor | None = None
    parts: Tensor | None = None
    photograph: Tensor | None = None
    raw_r: Tensor | None = None
    raw_logits: Tensor | None = None

    @property
    def margin(self) -> float | None:
        """The target's logit above the best other, in the picture here; None without a target."""
        if not self.target:
            return None
        return float(target_margins(self.logits[None], torch.tensor([self.classes.index(self.target)])))

    def rgb(self, outlines: bool = False, scale: int | None = None) -> np.ndarray:
        """Return the pictures as uint8 [P, H, W, 3]: the photograph if there is one, cycled start, here, difference.

        Raises
        ------
        LisError : outlines of a state that was made without them.

        Examples
        --------
        >>> session.show(setting).rgb().shape
        (3, 32, 32, 3)
        """
        panels = super().rgb(outlines, scale)
        if self.photograph is None:
            return panels
        times = panels.shape[1] // self.photograph.shape[1]
        return np.concatenate([enlarged(picture_rgb(self.photograph)[None], times), panels])

    def cycle_loss(self) -> str:
        """Say what the cycle through r and the link lost of the photograph; empty where the start is none."""
        if self.photograph is None or self.raw_logits is None or self.raw_r is None:
            return ""
        raw, again = (self.classes[int(v.argmax())] for v in (self.raw_logits, self.start_logits))
        kept = f"still {again}" if raw == again else f"{raw} became {again}"
        error = float((self.start_r - self.raw_r).norm() / self.raw_r.norm().clamp_min(1e-12))
        return f"{kept}; pixels off by {self._pixels_off():.2f} (RMS, of 1), activations r by {error:.0%}"

    def _pixels_off(self) -> float:
        assert self.photograph is not None
        return float(pixel_rms(self.start[None], self.photograph[None]))

    def captions(self, outlines: bool = False) -> list[str]:
        """Say in a line each what the pictures of `rgb` are."""
        start, here, difference = super().captions(outlines)
        if self.margin is not None:
            here += f", margin {self.margin:+.2f}"
        own = "cycled start" + start.removeprefix("start")
        if self.photograph is None:
            return [own, here, difference]
        seen = f": {self._seen(self.raw_logits)}" if self.raw_logits is not None else ""
        return [
            f"photograph{seen}",
            f"{own}; pixels off by {self._pixels_off():.2f}",
            here,
            f"{difference} than the cycled start",
        ]

    def descriptions(self, outlines: bool = False) -> list[str]:
        """Say the same in a sentence each, for readers who do not see the pictures."""
        _, here, difference = super().descriptions(outlines)
        own = f"The cycled start, seen as {self._seen(self.start_logits)}."
        if self.margin is not None:
            here += f" The logit of {self.target} is {self.margin:+.2f} against the best other class."
        if self.photograph is None:
            return [own, here, difference]
        seen = f", seen as {self._seen(self.raw_logits)}" if self.raw_logits is not None else ""
        return [
            f"The photograph itself{seen}.",
            f"{own} What the cycle lost: {self.cycle_loss()}.",
            here,
            difference,
        ]

    def part_changes(self) -> list[tuple[str, dict[str, tuple[float, float]]]]:
        """Return (part, measure -> (at the cycled start, here)) of "area" (share of the picture) and "luminance".

        Parts that are in neither picture are left out, and luminance where a part is missing from one of them.

        Examples
        --------
        >>> state.part_changes()[0]
        ('sleeve', {'area': (0.165, 0.121), 'luminance': (0.73, 0.52)})
        """
        if self.parts is None or self.legend is None:
            return []
        legend: Legend = self.legend
        measured = measure_parts(torch.stack([self.start, self.tuned]), self.parts, legend)
        gone = measured.codes == ABSENT  # [2, P]
        areas = measured["area"].nan_to_num(0.0)
        light = measured["luminance"]
        rows: list[tuple[str, dict[str, tuple[float, float]]]] = []
        for p, part in enumerate(measured.parts):
            if bool(gone[:, p].all()):
                continue
            row = {"area": (float(areas[0, p]), float(areas[1, p]))}
            if not bool(gone[:, p].any()):
                row["luminance"] = (float(light[0, p]), float(light[1, p]))
            rows.append((part, row))
        return rows
