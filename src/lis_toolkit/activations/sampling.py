"""Point clouds of a layer: the channel vectors at chosen positions of many images (Purvine et al. 2023)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..errors import LisError
from ..names import spelling_hint, whole_number
from .batches import as_images, stream
from .extract import check_memory
from .ground import Ground
from .layers import Layer, choose_layers

HOWS = ("strongest", "random", "all", "foreground", "background")


@dataclass(frozen=True, repr=False, eq=False)
class PointCloud:
    """Channel vectors of one layer at chosen positions of images.

    Attributes
    ----------
    points : Tensor
        float32 [M, C].
    images : Tensor
        int64 [M], the image (row of x) that each point is from; ascending.
    positions : Tensor
        int64 [M, 2], row and column in the layer's map.
    layer : Layer
    how : str
        How the positions were chosen; see `sample_points`.
    """

    points: Tensor
    images: Tensor
    positions: Tensor
    layer: Layer
    how: str

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.points)

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points × {self.points.shape[1]} of {self.layer.title}, {self.how})"

    def subset(self, indices: Tensor | np.ndarray) -> PointCloud:
        """Return the points at `indices` (integers [m]) or where a boolean mask [M] is true."""
        rows = torch.as_tensor(np.asarray(indices))
        if rows.numel() == 0:
            rows = rows.long()
        return PointCloud(self.points[rows], self.images[rows], self.positions[rows], self.layer, self.how)


def sample_points(
    classifier: Classifier,
    x: Any,
    layers: Iterable[str | Layer] | str | Layer | None = None,
    how: str = "strongest",
    *,
    per_image: int = 1,
    limit: int | None = None,
    masks: Any = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: bool = False,
) -> dict[str, PointCloud]:
    """Return a point cloud for each layer: the channel vectors at chosen positions of each image, in one pass a batch.

    Source: Purvine et al. 2023 (arXiv 2212.00222): "strongest" for persistent homology, the others for mapper.

    Parameters
    ----------
    x
        Images [N, C, H, W] in the unit range, `Photographs`, or whatever `open_images` takes.
    layers
        Names or `Layer`s; None: `list_layers(classifier)`. "penultimate" and "logits" give one point an image, whatever
        `how`, at position (0, 0).
    how
        "strongest": the positions whose channel vector has the largest L2 norm (equal ones: the first); "random";
        "all"; "foreground" and "background": those with the largest and the smallest share of foreground in their
        receptive field, with nothing outside the image (equal ones: in their own place in it, then by a draw).
    per_image
        Positions of each image, at most all there are; of no meaning for "all".
    limit
        At most so many points a layer: a subset of all of them, every one as likely as another.
    masks
        For "foreground" and "background": bool [N, H, W], what is foreground in each image; None: `foreground_masks`.
    seed
        Of the draws, which belong to the image and the layer: they depend neither on `batch_size` nor on the other
        layers asked for.

    Returns
    -------
    dict of str to PointCloud
        By layer name, on the CPU.

    Raises
    ------
    LisError
        As `stream_activations`; for another `how`, numbers that are not whole or too small, masks that do not fit or
        are not used, and clouds that would not fit into memory.

    Examples
    --------
    >>> clouds = sample_points(classifier, load_fashion("sample"), ["body.3"], how="random", seed=1)
    >>> clouds["body.3"].points.shape
    torch.Size([1000, 64])
    """
    if how not in HOWS:
        raise LisError(
            f"no sampling {how!r}; there are {', '.join(map(repr, HOWS))}.{spelling_hint(str(how), HOWS)}"
        )
    per_image, seed = whole_number(per_image, "per_image", 1), whole_number(seed, "seed", 0)
    size = whole_number(batch_size, "batch_size", 1)
    most = None if limit is None else whole_number(limit, "limit", 1)
    images, chosen = as_images(classifier, x), choose_layers(classifier, layers)
    by_ground = how in ("foreground", "background")
    if masks is not None and not by_ground:
        raise LisError(f"masks are for how='foreground' and 'background', not for {how!r}.")
    ground = Ground(classifier, images, chosen, masks) if by_ground else None
    samplers = [_Sampler(layer, how, len(images), per_image, most, seed) for layer in chosen]
    check_memory(
        sum(s.size * (layer.channels * 4 + 24) for s, layer in zip(samplers, chosen, strict=True)),
        "the point clouds",
        "give limit=, a smaller per_image or fewer layers",
    )
    for sampler in samplers:
        sampler.begin()
    with tqdm(total=len(images), desc=f"points ({how})", unit="image", disable=not progress) as bar:
        for rows, found in stream(classifier, images, chosen, size):
            seen = None if ground is None or not ground.boxes else ground.masks_of(rows)  # [n, h, w]
            for sampler in samplers:
                sampler.add(rows, found[sampler.layer.name], ground, seen)
            bar.update(rows.stop - rows.start)
    return {sampler.layer.name: sampler.cloud() for sampler in samplers}


def layer_draws(layer: Layer, seed: int, purpose: int) -> np.random.Generator:
    """Return the random numbers of a layer; images take theirs in their order, so batches do not matter."""
    return np.random.default_rng([seed, zlib.crc32(layer.name.encode()), purpose])


class _Sampler:
    """Gathers the points of one layer, batch by batch, into arrays of their final size."""

    def __init__(
        self, layer: Layer, how: str, count: int, per_image: int, limit: int | None, seed: int
    ) -> None:
        self.layer, self.how = layer, how
        height, width = layer.positions
        self.there = height * width
        self.each = self.there if how == "all" else min(per_image, self.there)  # points an image
        total = count * self.each
        self.kept: np.ndarray | None = None  # [M] of range(total), ascending; None: all
        if limit is not None and limit < total:
            draws = layer_draws(layer, seed, 1)
            self.kept = np.sort(draws.choice(total, limit, replace=False, shuffle=False))
        self.draws = layer_draws(layer, seed, 0)
        self.size = total if self.kept is None else len(self.kept)
        self.filled = 0

    def begin(self) -> None:
        """Make room for the points."""
        self.points = torch.empty(self.size, self.layer.channels)
        self.images = torch.empty(self.size, dtype=torch.int64)
        self.places = torch.empty(self.size, dtype=torch.int64)  # row * width + column

    def add(self, rows: slice, values: Tensor, ground: Ground | None, seen: Tensor | None) -> None:
        """Take the points of a batch [n, C, h, w] or [n, R]; with the masks [n, H, W] that the network saw."""
        flat = values.flatten(2) if values.ndim == 4 else values[:, :, None]  # [n, C, h w]
        chosen = self._choose(flat, ground, seen).flatten()  # [n each]
        first, stop = rows.start * self.each, rows.stop * self.each
        if self.kept is None:
            mine = torch.arange(stop - first)
        else:
            low, high = np.searchsorted(self.kept, [first, stop])
            mine = torch.from_numpy(self.kept[low:high] - first)
        image, place = mine // self.each, chosen[mine]
        end = self.filled + len(mine)
        part = slice(self.filled, end)
        on = flat.device
        self.points[part] = flat[image.to(on), :, place.to(on)].float().cpu()
        self.images[part], self.places[part] = image + rows.start, place
        self.filled = end

    def _choose(self, flat: Tensor, ground: Ground | None, seen: Tensor | None) -> Tensor:
        """Return the positions of each image, int64 [n, each]."""
        count = len(flat)
        if self.how == "all" or self.there == 1:
            return torch.arange(self.there).expand(count, -1)
        if self.how != "strongest":
            draws = self.draws.random((count, self.there))  # [n, h w]
            if ground is None or seen is None:
                return torch.from_numpy(draws.argsort(axis=1)[:, : self.each])
            return ground.order(self.layer, seen, draws, self.how)[:, : self.each]
        norms = torch.linalg.vector_norm(flat.float(), dim=1).cpu()  # [n, h w]
        return norms.argsort(dim=1, descending=True, stable=True)[:, : self.each]

    def cloud(self) -> PointCloud:
        """Return what was gathered."""
        width = self.layer.positions[1]
        positions = torch.stack([self.places // width, self.places % width], dim=1)  # [M, 2]
        return PointCloud(self.points, self.images, positions, self.layer, self.how)
