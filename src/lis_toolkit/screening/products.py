"""Forward-mode products: how the pictures and parts of samples change along directions of the latent space."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..parts import Segmenter, render_part_logits
from ..parts.soft import LEAST_SHARE, soft_measures
from ..stylegan import Generator

PICTURE_BYTES = 2**29  # of the pictures' tangents that are held at a time


@dataclass(frozen=True)
class Linearised:
    """Soft areas and light of P parts at N latents, and their derivatives along k directions.

    Attributes
    ----------
    values : [N, 2 P], areas, then areas times luminances.
    slopes : [N, k, 2 P].
    energy : [N, R, 1 + P], of `Screening`.
    present : bool [N, P].
    evaluations : of the generator.
    """

    values: Tensor
    slopes: Tensor
    energy: Tensor
    present: Tensor
    evaluations: int

    def linear(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply out: changes of area and luminance [N, R, P] over steps [k, R], by each sample's own slopes."""
        area, mass = self.values.chunk(2, dim=1)  # [N, P]
        by_area, by_mass = torch.einsum("nkq,kr->nrq", self.slopes, steps).chunk(2, dim=2)
        area = area[:, None].clamp_min(LEAST_SHARE)
        return by_area, (by_mass - mass[:, None] / area * by_area) / area


def linearise(
    generator: Generator,
    segmenter: Segmenter,
    w: Tensor,
    v: Tensor,
    steps: Tensor,
    temperature: float,
    size: int,
) -> Linearised:
    """Differentiate at w [N, W] along v [k, W], `size` pictures and tangents at a time; energies of steps [k, R]."""
    pixels = generator.img_channels * generator.img_resolution**2
    rows = max(1, min(size // (len(v) + 1), PICTURE_BYTES // (4 * len(v) * pixels)))
    found, evaluations = [], 0
    for start in w.split(rows):
        chunk = max(1, size // len(start) - 1)
        values, slopes, x, logits = _products(generator, segmenter, start, v, temperature, chunk)
        found.append((values, slopes, *_energy(x, logits, steps)))
        evaluations += len(start) * (len(v) + -(-len(v) // chunk))
    values, slopes, energy, present = (torch.cat(column) for column in zip(*found, strict=True))
    return Linearised(values, slopes, energy, present, evaluations)


def _products(
    generator: Generator, segmenter: Segmenter, w: Tensor, v: Tensor, temperature: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values [n, 2 P], their slopes [n, k, 2 P], those of the pictures [n, k, C, H, W], logits [n, 1 + P, H, W]."""

    def measured(w: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        x, logits = render_part_logits(generator, segmenter, w)
        area, light = soft_measures(x, logits / temperature)
        values = torch.cat([area, area * light], dim=1)
        return (values, x), (values, logits)

    def tangents(direction: Tensor) -> tuple[Tensor, ...]:
        result: Any = torch.func.jvp(measured, (w,), (direction.expand_as(w),), has_aux=True)
        return (*result[1], *result[2])

    places: Any = (0, 0, None, None)  # the last two are those of w itself, whatever the direction
    with warnings.catch_warnings():
        # torch compiles some of its own derivatives at the first product, in a way that it warns of itself.
        warnings.filterwarnings("ignore", r".*torch\.jit\.script", FutureWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit\.script", DeprecationWarning)
        outputs = [torch.func.vmap(tangents, out_dims=places)(part) for part in v.split(chunk)]
    slopes, x = (torch.cat([output[i] for output in outputs]).transpose(0, 1) for i in range(2))
    return outputs[0][2], slopes, x, outputs[0][3]


def _energy(x: Tensor, logits: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared changes [n, R, 1 + P] over the picture and over its parts, and which parts there are [n, P].

    x [n, k, C, H, W] are the pictures' derivatives along the directions: with their Gram matrix B over some pixels, the
    sum of squares of a step s is s^T B s, so that no unit's picture is ever made.
    """
    labels = logits.argmax(1).flatten(1)  # [n, H W]
    count = logits.shape[1] - 1
    present = torch.stack([(labels == p + 1).any(1) for p in range(count)], dim=1)  # [n, P]
    energy = x.new_full((len(x), steps.shape[1], 1 + count), torch.nan)
    for n, changes in enumerate(x.flatten(3)):  # [k, C, H W]
        for p in [0, *(int(i) + 1 for i in present[n].nonzero()[:, 0])]:
            seen = changes.flatten(1) if p == 0 else changes[:, :, labels[n] == p].flatten(1)  # [k, C pixels]
            energy[n, :, p] = ((seen @ seen.T / seen.shape[1] @ steps) * steps).sum(0)
    return energy, present
