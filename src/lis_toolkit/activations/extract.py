"""Activations of many images: all layers in one pass, in memory or as memory-mapped files."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..errors import LisError
from ..names import spelling_hint, whole_number
from .batches import as_images, stream
from .layers import Layer, choose_layers

POOLS = ("mean", "max")


@dataclass(frozen=True, repr=False, eq=False)
class Activations:
    """What layers of a classifier give for N images.

    `activations["body.3"]` or `activations[layer]` is float32 [N, C, h, w], or [N, C] where the positions were pooled,
    [N, R] for "penultimate" and "logits". Read from a folder, the tensors are mapped from files: what is not looked at
    is not read, and writing into them does not reach the files.

    Attributes
    ----------
    layers : tuple of Layer
    pool : str or None
        "mean" or "max" over the positions, or None.
    folder : Path or None
        Where the files are.
    manifest : dict
        Classifier (name, hash), images (number, hash), settings, versions.
    """

    layers: tuple[Layer, ...]
    values: Mapping[str, Tensor]
    pool: str | None
    folder: Path | None
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values[self.layers[0].name])

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the layers."""
        return iter(self.values)

    def __repr__(self) -> str:
        pooled = "" if self.pool is None else f", {self.pool} over positions"
        return f"Activations({len(self)} images, {len(self.layers)} layers{pooled})"

    def __getitem__(self, layer: str | Layer) -> Tensor:
        """Return the activations of a layer, given by name or as `Layer`."""
        name = layer.name if isinstance(layer, Layer) else layer
        if name not in self.values:
            hint = spelling_hint(str(name), self.values)
            raise LisError(
                f"there is no layer {name!r}; there are {', '.join(map(repr, self.values))}.{hint}"
            )
        return self.values[name]


def extract_activations(
    classifier: Classifier,
    x: Any,
    layers: Iterable[str | Layer] | str | Layer | None = None,
    *,
    pool: str | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Activations:
    """Return the activations of layers for many images, all layers in one forward pass a batch.

    Parameters
    ----------
    x
        Images [N, C, H, W] in the unit range, `Photographs`, or whatever `open_images` takes.
    layers
        Names or `Layer`s; None: `list_layers(classifier)`.
    pool
        "mean" or "max" over the positions of each map; None: all positions.

    Raises
    ------
    LisError
        As `stream_activations`; when the result would not fit into memory.

    Examples
    --------
    >>> found = extract_activations(classifier, load_fashion("sample"), pool="mean")
    >>> found["body.3"].shape
    torch.Size([1000, 64])
    """
    size = whole_number(batch_size, "batch_size", 1)
    check_pool(pool)
    images, chosen = as_images(classifier, x), choose_layers(classifier, layers)
    needed = 4 * len(images) * sum(math.prod(kept_shape(layer, pool)) for layer in chosen)
    check_memory(needed, "the activations", "give out=FOLDER for files, pool=, or fewer layers")
    values = {layer.name: torch.empty(len(images), *kept_shape(layer, pool)) for layer in chosen}
    with tqdm(total=len(images), desc="activations", unit="image", disable=not progress) as bar:
        for rows, found in stream(classifier, images, chosen, size):
            for name, part in found.items():
                values[name][rows] = pooled(part, pool).cpu()
            bar.update(rows.stop - rows.start)
    return Activations(chosen, values, pool, None, {})


def check_memory(needed: int, what: str, instead: str) -> None:
    """Refuse what is larger than the memory that is free now, and warn of what takes more than half of it.

    Raises
    ------
    LisError
        With the bytes, and what to do instead.
    """
    free = free_memory()
    if free is None or needed <= free // 2:
        return
    size = f"{needed / 2**30:.3g} GiB ({needed} bytes)"
    text = f"{what} take {size} of memory, of which {free / 2**30:.3g} GiB are free: {instead}."
    if needed > free:
        raise LisError(text)
    warnings.warn(text, ResourceWarning, stacklevel=3)


def free_memory() -> int | None:
    """Return how many bytes of memory are free for new things, where the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def check_pool(pool: str | None) -> None:
    """Refuse what is no way of pooling."""
    if pool is not None and pool not in POOLS:
        raise LisError(
            f"no pooling {pool!r}; there are 'mean', 'max' and None.{spelling_hint(str(pool), POOLS)}"
        )


def kept_shape(layer: Layer, pool: str | None) -> tuple[int, ...]:
    """Shape of what is kept of one image."""
    return layer.shape if pool is None else layer.shape[:1]


def pooled(values: Tensor, pool: str | None) -> Tensor:
    """Return float32 values [n, C, h, w], or [n, C] pooled over their positions."""
    if pool is None or values.ndim < 4:
        return values.float()
    return values.float().mean((2, 3)) if pool == "mean" else values.float().amax((2, 3))
