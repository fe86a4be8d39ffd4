"""What turns latents into the numbers of a sweep's rows: the models and the settings that every batch needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..features import known_logits
from ..link import Link
from ..parts.measures import measure_parts, measure_pictures
from ..parts.segmenter import render_parts
from ..stylegan import Generator
from ..stylegan.generator import ACTIVATION_BYTES, PRECISIONS

__all__ = ["Look", "Recipe", "rows_at_a_time", "set_units"]

BATCH, LARGE_BATCH = 256, 2048  # rows at a time on a CPU, and what keeps an accelerator busy
INPUTS = 2**25  # numbers that the classifier is given at a time, at most
WHOLE = "picture"  # stands where a part's name does in the columns of whole pictures
TOGETHER = 64  # pictures that go through the models at a time on a CPU, whose caches hold no more


@dataclass(frozen=True, eq=False)
class Look:
    """What N pictures show; on the CPU but for the pictures and activations.

    Attributes
    ----------
    x, r : Tensor
        [N, C, H, W], [N, R], on their models' devices.
    floats : ndarray
        float32 [N, F], the columns `Recipe.float_columns`.
    codes : ndarray
        int8 [N, P], the columns `Recipe.code_columns`.
    top : ndarray
        int16 [N], the top class, -1 without a head.
    """

    x: Tensor
    r: Tensor
    floats: np.ndarray
    codes: np.ndarray
    top: np.ndarray


@dataclass(frozen=True, eq=False)
class Recipe:
    """Models and settings of a sweep; a worker of a cluster gets it once.

    Attributes
    ----------
    units : tuple of int
        The U units, in the order of the rows.
    values : Tensor
        [U, S], what each is set to.
    directions : Tensor or None
        [R, R]: with unit i, all units move by row i; None: it is set alone.
    moved : int
        Units of the largest change that are named in a row.
    logit_classes : tuple of int
        Classes whose logits are kept.
    pictures : str or None
        "png" or "jpeg", how the pictures are kept; None: they are not.
    precision : str
        Of the generator's feature maps.
    batch_size : int
        Rows at a time.
    """

    generator: Generator
    classifier: Classifier
    link: Link
    segmenter: Any
    units: tuple[int, ...]
    values: Tensor
    directions: Tensor | None
    moved: int
    logit_classes: tuple[int, ...]
    pictures: str | None
    precision: str
    batch_size: int

    @property
    def steps(self) -> int:
        """Number of steps S."""
        return int(self.values.shape[1])

    @cached_property
    def weights(self) -> Tensor:
        """What a change of each unit [R] counts: one over its standard deviation, NaN for units that never varied."""
        std = self.link.unit_std.cpu()
        return torch.where(std > 0, 1 / std.clamp(min=1e-30), torch.nan)

    @cached_property
    def measured(self) -> tuple[list[str], list[str]]:
        """Names of the measures of a picture, and codes of its parts: float and int8 columns."""
        size = self.generator.img_resolution
        x = torch.zeros(1, self.generator.img_channels, size, size)
        labels = None if self.segmenter is None else torch.zeros(1, size, size, dtype=torch.uint8)
        floats, codes = _measures(x, labels, self.legend, x)
        return list(floats), list(codes)

    @property
    def legend(self) -> Any:
        """The parts, None without a segmenter."""
        return None if self.segmenter is None else self.segmenter.legend

    @property
    def float_columns(self) -> list[str]:
        """Names of what `Look.floats` holds."""
        return self.measured[0] + [f"logit.{self.classifier.classes[k]}" for k in self.logit_classes]

    @property
    def code_columns(self) -> list[str]:
        """Names of what `Look.codes` holds."""
        return self.measured[1]

    @torch.no_grad()
    def look(self, r: Tensor, start: Tensor | None) -> Look:
        """Follow the link from activations r [N, R], render, look with the classifier, measure.

        `start` [N, C, H, W] is what the pictures are compared with; None: themselves.

        Raises
        ------
        LisError
            When the classifier gives NaN or infinite activations.
        """
        w = self.link.linear(r.to(self.link.device))
        size = min(len(r), TOGETHER) if self.generator.device.type == "cpu" else None
        labels = None
        if self.segmenter is None:
            x = self.generator.render(w, size, self.precision)
        else:
            x, labels = render_parts(self.generator, self.segmenter, w, size, self.precision)
        seen = x.to(self.classifier.device, self.classifier.dtype)
        again = torch.cat([self.classifier.features(part) for part in seen.split(size or len(seen))])
        logits = known_logits(self.classifier, again).float().cpu()  # [N, K]
        again = again.float().cpu()
        if not (bool(torch.isfinite(again).all()) and bool(torch.isfinite(logits).all())):
            raise LisError(
                f"{self.classifier.name} gives NaN or infinite activations: its weights are damaged."
            )
        floats, codes = _measures(x, labels, self.legend, x if start is None else start.to(x.device))
        columns = [*floats.values(), *logits[:, list(self.logit_classes)].T]
        top = logits.argmax(1) if logits.shape[1] else torch.full((len(r),), -1)
        return Look(
            x,
            again,
            np.stack([_array(c, np.float32) for c in columns], axis=1),
            np.stack([_array(c, np.int8) for c in codes.values()], axis=1)
            if codes
            else np.empty((len(r), 0), np.int8),
            _array(top, np.int16),
        )


def set_units(r: Tensor, units: Tensor, values: Tensor, directions: Tensor | None) -> Tensor:
    """Return activations [N, R] with one unit a row, units [N], set to values [N], others moved by its direction.

    Examples
    --------
    >>> set_units(torch.zeros(2, 3), torch.tensor([0, 2]), torch.tensor([1.0, 5.0]), None)
    tensor([[1., 0., 0.],
            [0., 0., 5.]])
    """
    r, rows = r.clone(), torch.arange(len(r))
    if directions is not None:
        r += (values - r[rows, units])[:, None] * directions[units]
    r[rows, units] = values
    return r


def rows_at_a_time(generator: Generator, classifier: Classifier, precision: str) -> int:
    """Return how many rows of a sweep fit into a batch, by the generator's feature maps and the classifier's inputs."""
    maps = generator.synthesis.activations * PRECISIONS[precision].itemsize
    height, width = classifier.input_size
    most = BATCH if generator.device.type == "cpu" else LARGE_BATCH
    return max(1, min(most, 2 * ACTIVATION_BYTES // maps, INPUTS // (classifier.channels * height * width)))


def _array(values: Tensor, kind: Any) -> np.ndarray:
    return values.detach().cpu().numpy().astype(kind)


def _measures(
    x: Tensor, labels: Tensor | None, legend: Any, start: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return all float columns and all codes, each [N], by their names."""
    whole = measure_pictures(x, labels, start)
    floats = {f"{WHOLE}.{name}": values for name, values in whole.items()}
    if labels is None:
        return floats, {}
    parts = measure_parts(x, labels, legend)
    for p, part in enumerate(parts.parts):
        floats |= {f"{part}.{m}": parts.values[:, p, i] for i, m in enumerate(parts.measures)}
    return floats, {f"{part}.code": parts.codes[:, p] for p, part in enumerate(parts.parts)}
