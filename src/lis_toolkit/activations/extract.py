"""Activations of many images: all layers in one pass, in memory or as memory-mapped files."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..errors import LisError
from ..names import spelling_hint, whole_number
from ..own_images import ImageSource
from .batches import as_images, stream
from .layers import Layer, choose_layers
from .store import Activations
from .writer import open_folder

POOLS = ("mean", "max")


def extract_activations(
    classifier: Classifier,
    x: Any,
    layers: Iterable[str | Layer] | str | Layer | None = None,
    *,
    pool: str | None = None,
    out: str | os.PathLike[str] | None = None,
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
    out
        A folder for memory-mapped files, in place of memory. It appears when it is complete; until then a hidden folder
        beside it is filled, and the same call goes on where an interrupted one stopped. A complete folder of the same
        classifier, images, layers and pooling is returned as it is.
    batch_size
        Images at a time. Another one changes results by rounding only, and may be used to go on.

    Returns
    -------
    Activations
        float32, on the CPU.

    Raises
    ------
    LisError
        As `stream_activations`; when the result would not fit into memory or on the disk; when `out` holds other
        files, or activations of another classifier, images or setting: which.
    CheckpointError
        When what is in `out`, or was left by an interrupted call, is damaged.

    Examples
    --------
    >>> found = extract_activations(classifier, load_fashion("sample"), pool="mean")
    >>> found["body.3"].shape
    torch.Size([1000, 64])
    """
    size = whole_number(batch_size, "batch_size", 1)
    check_pool(pool)
    images, chosen = as_images(classifier, x), choose_layers(classifier, layers)
    shapes = {layer.name: (len(images), *kept_shape(layer, pool)) for layer in chosen}
    if out is not None:
        with open_folder(out, classifier, images, chosen, shapes, pool) as folder:
            if folder.done < len(images):
                _fill(
                    folder.values, classifier, images, chosen, pool, size, progress, folder.done, folder.note
                )
        return Activations.load(out, verify=False)
    needed = 4 * sum(map(math.prod, shapes.values()))
    check_memory(needed, "the activations", "give out=FOLDER for files, pool=, or fewer layers")
    values = {name: torch.empty(shape) for name, shape in shapes.items()}
    _fill(values, classifier, images, chosen, pool, size, progress)
    return Activations(chosen, values, pool, None, {})


def _fill(
    values: MutableMapping[str, Tensor],
    classifier: Classifier,
    images: Tensor | ImageSource,
    layers: tuple[Layer, ...],
    pool: str | None,
    size: int,
    progress: bool,
    start: int = 0,
    note: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the rows from `start` on, and note after each batch how many are there."""
    with tqdm(
        total=len(images), initial=start, desc="activations", unit="image", disable=not progress
    ) as bar:
        for rows, found in stream(classifier, images, layers, size, start):
            for name, part in found.items():
                values[name][rows] = pooled(part, pool).cpu()
            note(rows.stop)
            bar.update(rows.stop - rows.start)


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
