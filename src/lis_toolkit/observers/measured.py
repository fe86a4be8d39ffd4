"""Attributes that are measured: statistics of photographs, parts of any picture, generated pictures known by design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LisError
from ..images import check_images
from ..names import class_indices, finite_number, whole_number
from ..parts.measures import ABSENT
from ..parts.whole import foreground_mask, luminance
from ..selectivity.changes import CIRCULAR, EXTENTS
from .attributes import Attributes, class_attributes, join_attributes

if TYPE_CHECKING:
    import pandas as pd

    from ..parts import Segmenter
    from ..stylegan import Generator

__all__ = ["GeneratedPictures", "STATISTICS", "draw_pictures", "image_statistics", "part_attributes"]

STATISTICS = ("luminance", "contrast", "foreground", "height", "width", "symmetry", "texture")
LEAST_ROWS = 8  # images with a value: of fewer nothing can be learned


def image_statistics(x: Tensor, batch_size: int = 1024) -> Attributes:
    """Measure what of a photograph can be told by a formula. Definitions are ours.

    Y is the luminance (`luminance`), b the median of its outermost pixels, the foreground where |Y - b| > 0.1
    (`foreground_mask`): the garment, on an even background.

    - luminance: mean of Y, 0 to 1; contrast: its standard deviation;
    - foreground: share of the pixels; height, width: of its bounding box, shares of the picture's;
    - symmetry: 1 - sum |Y - Y'| / sum (|Y - b| + |Y' - b|), Y' the left-right mirror image about the picture's
      middle: 1 for a mirror image of itself;
    - texture: mean squared difference of Y from the mean of its 3 x 3 neighbourhood, over the pixels whose
      neighbourhood is all foreground (so outlines do not count); missing where there are none;
    - saturation, of pictures in colour: mean over pixels of the largest less the smallest channel.

    Parameters
    ----------
    x : [N, C, H, W] in the unit range, C = 1 or 3, at least 3 x 3 pixels.
    batch_size : pictures at a time.

    Returns
    -------
    Attributes, without the columns that are the same for all pictures.

    Raises
    ------
    LisError : pictures out of range or too small, or all alike in everything.

    Examples
    --------
    >>> image_statistics(load_fashion("sample").images).table.describe()
    """
    import pandas as pd

    x = check_images(x)
    if min(x.shape[2:]) < 3:
        raise LisError(f"the pictures are {list(x.shape[2:])} pixels; at least 3 x 3 were expected.")
    parts = [_statistics(part.float().cpu()) for part in x.split(whole_number(batch_size, "batch_size", 1))]
    table = pd.DataFrame(
        {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}
    )
    varied = [name for name in table if table[name].notna().any() and np.ptp(table[name].dropna()) > 0]
    if not varied:
        raise LisError(
            f"the {len(x)} pictures are alike in every statistic: there is nothing to tell of them."
        )
    return Attributes(table[varied])


def _statistics(x: Tensor) -> dict[str, Tensor]:
    light = luminance(x)  # [n, H, W]
    inside = foreground_mask(x)
    edge = torch.cat([light[:, 0], light[:, -1], light[:, 1:-1, 0], light[:, 1:-1, -1]], dim=1)
    raised = light - edge.median(dim=1).values[:, None, None]  # above the background
    mirrored = raised.flip(2)
    apart = (raised - mirrored).abs().sum((1, 2))
    extent = raised.abs().sum((1, 2)) + mirrored.abs().sum((1, 2))
    whole = F.avg_pool2d(inside[:, None].float(), 3, stride=1)[:, 0] > 1 - 1e-3  # [n, H - 2, W - 2]
    rest = (light[:, 1:-1, 1:-1] - F.avg_pool2d(light[:, None], 3, stride=1)[:, 0]).square()
    found = {
        "luminance": light.mean((1, 2)),
        "contrast": light.flatten(1).std(1, correction=0),
        "foreground": inside.float().mean((1, 2)),
        "height": _length(inside.any(2)),
        "width": _length(inside.any(1)),
        "symmetry": torch.where(extent > 0, 1 - apart / extent, 1.0),
        "texture": (rest * whole).sum((1, 2)) / whole.sum((1, 2)),  # 0 / 0: missing
    }
    if x.shape[1] == 3:
        found["saturation"] = (x.amax(1) - x.amin(1)).mean((1, 2))
    return found


def _length(occupied: Tensor) -> Tensor:
    """Share of the lines from the first occupied one to the last, [n, L] -> [n]."""
    places = torch.arange(occupied.shape[1])
    last = torch.where(occupied, places, -1).amax(1)
    first = torch.where(occupied, places, occupied.shape[1]).amin(1)
    return (last - first + 1).clamp(min=0) / occupied.shape[1]


def part_attributes(measures: pd.DataFrame, columns: Sequence[str] | None = None) -> Attributes:
    """Take part measures as attributes: columns "<part>.<measure>" of `measure_parts` or `measure_photographs`.

    Extents of an absent part (area, perimeter, axes, pieces) are 0, its other measures are missing. An angle is left
    out: it has no greater and less.

    Parameters
    ----------
    measures : table with a row an image.
    columns : names to keep; None: all that vary and have values for at least 8 images.

    Raises
    ------
    LisError : columns that the table does not have or that cannot be used, or none that can.

    Examples
    --------
    >>> part_attributes(measure_photographs(segmenter, images), ["sleeve.area"])
    """
    import pandas as pd

    known = [name for name in measures.columns if "." in str(name) and not str(name).endswith(".code")]
    wanted = known if columns is None else list(columns)
    lacking = [name for name in wanted if name not in known]
    if lacking:
        raise LisError(
            f"the measures have no column {lacking[0]!r}; there are {', '.join(map(str, known[:12]))}."
        )
    kept: dict[str, np.ndarray] = {}
    for name in wanted:
        part, measure = str(name).rsplit(".", 1)
        values = measures[name].to_numpy(dtype=np.float64, copy=True)
        if measure in EXTENTS and f"{part}.code" in measures:
            values[measures[f"{part}.code"].to_numpy() == ABSENT] = 0.0
        defined = values[np.isfinite(values)]
        usable = measure not in CIRCULAR and len(defined) >= LEAST_ROWS and np.ptp(defined) > 0
        if usable:
            kept[str(name)] = values
        elif columns is not None:
            raise LisError(
                f"{name!r} can't be told by a line: it is an angle, constant, or known for {len(defined)} images only."
            )
    if not kept:
        raise LisError("no part measure varies over these images; there is nothing to tell.")
    return Attributes(pd.DataFrame(kept))


@dataclass(frozen=True)
class GeneratedPictures:
    """Pictures of a generator, and what is known of them by construction.

    Attributes
    ----------
    images : [N, C, H, W], unit range.
    attributes : class (of a generator that has classes), psi (where several were asked for), "<part>.<measure>".
    labels : int64 [N], the class asked of the generator.
    """

    images: Tensor
    attributes: Attributes
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)


@torch.no_grad()
def draw_pictures(
    generator: Generator,
    segmenter: Segmenter | None = None,
    count: int = 500,
    *,
    classes: Sequence[str | int] | str | int | None = None,
    psi: float | Sequence[float] = 0.7,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> GeneratedPictures:
    """Draw pictures of which the truth is known by construction: class, truncation, and the parts' measures.

    Parameters
    ----------
    segmenter : of the generator's feature maps, or of pictures; None: no parts.
    count : pictures; classes take turns.
    psi : truncation; several take turns and become the attribute "psi", a category.
    columns : part measures to keep, such as ["sleeve.area"]; None: all.
    seed : of the latents; a picture depends on its index and the seed, not on batches.

    Raises
    ------
    LisError : settings out of range, classes that the generator does not have.

    Examples
    --------
    >>> pictures = draw_pictures(generator, segmenter, 200, psi=(0.5, 1.0))
    >>> pictures.attributes.names
    """
    import pandas as pd

    from ..parts import measure_parts, render_parts

    count, size = whole_number(count, "count", 2), whole_number(batch_size, "batch_size", 1)
    asked = [psi] if not isinstance(psi, Sequence) else list(psi)
    amounts = [finite_number(one, "psi") for one in asked]
    if not amounts:
        raise LisError("the list of psi is empty; give one truncation at least.")
    named = class_indices(classes, generator.classes, "the generator") if generator.c_dim else [0]
    turn = np.arange(count)
    labels = torch.tensor(named)[torch.from_numpy(turn % len(named))]
    which = turn // len(named) % len(amounts)
    z = generator.sample_z(count, whole_number(seed, "seed", 0))
    images, frames = [], []
    for start in range(0, count, size):
        rows = slice(start, start + size)
        w = _latents(generator, z[rows], labels[rows], [amounts[i] for i in which[rows]])
        if segmenter is None:
            images.append(generator.render(w).cpu())
            continue
        x, parts = render_parts(generator, segmenter, w)
        images.append(x.cpu())
        frames.append(measure_parts(x, parts, segmenter.legend).to_frame())
    tables = []
    if generator.c_dim and len(named) > 1:
        tables.append(class_attributes(labels, generator.classes))
    if len(set(amounts)) > 1:
        told = np.array([f"{amount:g}" for amount in amounts], dtype=object)
        tables.append(Attributes(pd.DataFrame({"psi": told[which]})))
    if frames:
        tables.append(part_attributes(pd.concat(frames, ignore_index=True), columns))
    if not tables:
        raise LisError(
            "nothing is known of these pictures: give a segmenter, several classes or several psi."
        )
    return GeneratedPictures(torch.cat(images).float(), join_attributes(*tables), labels)


def _latents(generator: Generator, z: Tensor, labels: Tensor, amounts: list[float]) -> Tensor:
    """Map inputs [n, Z] to latents [n, W], each with its own truncation."""
    given = labels if generator.c_dim else None
    mapped = {amount: generator.map(z, given, amount) for amount in dict.fromkeys(amounts)}
    return torch.stack([mapped[amount][i] for i, amount in enumerate(amounts)])
