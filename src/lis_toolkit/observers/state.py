"""The state of an observed network: a column a component (channel or unit) of every layer, a row an image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import LisError
from ..names import cut, spelling_hint, whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALL_LAYERS", "State", "Standardiser", "as_state", "observe_state"]

ALL_LAYERS = "all layers"  # the state of every layer side by side
CHUNK = 2048  # rows at a time where a state is streamed
DEAD = 1e-6  # a standard deviation below this share of the largest value is rounding, not variation


@dataclass(frozen=True)
class State:
    """What a network's components did on N images, layer by layer.

    Attributes
    ----------
    blocks : layer title -> [N, C], floating; may be memory-mapped: rows are read when they are needed.
    depths : layer title -> 0 (first layer) to 1 (last), by order of execution.

    Notes
    -----
    "State" is the word of Allen 2021 (arXiv 2103.08315). How a convolution's maps become one number each is not known
    from there; here it is the mean over positions (`observe_state`).

    Examples
    --------
    >>> state = as_state({"conv 1": first, "conv 2": second})
    >>> state.columns().head()
    """

    blocks: Mapping[str, np.ndarray]
    depths: Mapping[str, float]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(next(iter(self.blocks.values())))

    @property
    def layers(self) -> tuple[str, ...]:
        """Titles of the layers, in order of execution."""
        return tuple(self.blocks)

    def width(self, layer: str) -> int:
        """Return the number of components of a layer, or of all ("all layers")."""
        return sum(self.blocks[name].shape[1] for name in self.members(layer))

    def title(self, layer: str) -> str:
        """Return the whole title of a layer, which may be given short: "conv 2" for "conv 2 · 16×16×64".

        Raises
        ------
        LisError : a layer that the state does not have.
        """
        if layer == ALL_LAYERS or layer in self.blocks:
            return layer
        found = [name for name in self.layers if name.split(" · ")[0] == layer]
        if len(found) != 1:
            shown = ", ".join(repr(name) for name in self.layers[:12])
            known = [*self.layers, *(name.split(" · ")[0] for name in self.layers)]
            raise LisError(
                f"the state has no layer {layer!r}; it has {shown}.{spelling_hint(str(layer), known)}"
            )
        return found[0]

    def members(self, layer: str) -> tuple[str, ...]:
        """Return the layers that a title stands for: itself, or all of them for "all layers".

        Raises
        ------
        LisError : a layer that the state does not have.
        """
        title = self.title(layer)
        return self.layers if title == ALL_LAYERS else (title,)

    def depth(self, layer: str) -> float:
        """Return the depth of a layer; NaN for all of them."""
        return math.nan if layer == ALL_LAYERS else self.depths[self.members(layer)[0]]

    def columns(self, layer: str = ALL_LAYERS) -> pd.DataFrame:
        """Return what every column of `rows_of` is: layer, component (index within its layer)."""
        import pandas as pd

        members = self.members(layer)
        counts = [self.blocks[name].shape[1] for name in members]
        return pd.DataFrame({
            "layer": np.repeat(np.array(members, dtype=object), counts),
            "component": np.concatenate([np.arange(count) for count in counts]),
        })  # fmt: skip

    def rows_of(self, layer: str, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return some rows of a layer, or of all layers side by side, float64 [n, C].

        Raises
        ------
        LisError : NaN or infinite activations, with the first of them: of whichever images are read, since an observer
            would answer something for them, too.
        """
        x = np.concatenate([_read(self.blocks[name], rows) for name in self.members(layer)], axis=1)
        finite = np.isfinite(x)
        if not finite.all():
            row, column = (int(i[0]) for i in np.nonzero(~finite))
            raise LisError(
                f"layer {layer!r} has NaN or infinite activations (first: image {np.arange(len(self))[rows][row]}, "
                f"column {column}); finite ones were expected: drop these images or repair the network."
            )
        return x

    def stream(self, layer: str, rows: np.ndarray, chunk: int = CHUNK) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield rows of a layer in order, chunk by chunk: the places within `rows`, and float64 [n, C]."""
        for start in range(0, len(rows), chunk):
            part = slice(start, min(start + chunk, len(rows)))
            yield part, self.rows_of(layer, rows[part])

    def copies(self) -> np.ndarray:
        """Return a number an image, int64 [N], the same for images whose states agree in all layers to the last bit.

        That is what a picture and its copy do. As `groups` it keeps them on one side of a split.
        """
        seen: dict[bytes, int] = {}
        found = np.empty(len(self), dtype=np.int64)
        for start in range(0, len(self), CHUNK):
            parts = [np.asarray(block[start : start + CHUNK]) for block in self.blocks.values()]
            for i in range(len(parts[0])):
                state = hashlib.blake2b(b"".join(part[i].tobytes() for part in parts), digest_size=16)
                found[start + i] = seen.setdefault(state.digest(), len(seen))
        return found

    def subset(self, rows: np.ndarray) -> State:
        """Return the state of some images, in memory."""
        return State({name: np.asarray(block[rows]) for name, block in self.blocks.items()}, self.depths)

    def chosen(self, layers: str | Sequence[str]) -> list[str]:
        """Return the layers that are asked for: "each", "all" (one observer of all), or titles.

        Raises
        ------
        LisError : an empty list, or a layer that the state does not have.
        """
        if layers == "each":
            return list(self.layers)
        if layers == "all":
            return [ALL_LAYERS]
        names = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
        if not names:
            raise LisError('the list of layers is empty; give titles, "each" or "all".')
        return list(dict.fromkeys(self.title(name) for name in names))


def _read(block: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    return np.asarray(block[rows], dtype=np.float64)


@dataclass(frozen=True)
class Standardiser:
    """Mean and standard deviation of every column over the training images; columns that never varied become 0.

    Attributes
    ----------
    mean, scale : [C]; scale is 1 where `alive` is false.
    alive : bool [C], components that varied.
    """

    mean: np.ndarray
    scale: np.ndarray
    alive: np.ndarray

    @classmethod
    def of(cls, state: State, layer: str, rows: np.ndarray) -> Standardiser:
        """Measure some rows of a layer, chunk by chunk.

        Raises
        ------
        LisError : NaN or infinite activations, with the first of them.
        """
        width = state.width(layer)
        count, mean, squares, largest = 0, np.zeros(width), np.zeros(width), np.zeros(width)
        for _, x in state.stream(layer, rows):
            # Chunks' means are merged (Chan, Golub, LeVeque 1983): a large mean costs no digits.
            own = x.mean(0)
            delta, total = own - mean, count + len(x)
            squares += ((x - own) ** 2).sum(0) + delta**2 * count * len(x) / total
            mean, count = mean + delta * len(x) / total, total
            largest = np.maximum(largest, np.abs(x).max(0))
        scale = np.sqrt(squares / max(count, 1))
        alive = scale > DEAD * largest
        return cls(mean, np.where(alive, scale, 1.0), alive)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return standardised rows [n, C]."""
        return np.where(self.alive, (x - self.mean) / self.scale, 0.0)


def as_state(activations: Any, depths: Mapping[str, float] | None = None) -> State:
    """Make a state of pooled activations: {layer title: [N, C]}, what `extract_activations` returned, or a State.

    Parameters
    ----------
    activations : mapping of arrays or tensors [N, C] in order of execution, or Activations (pooled).
    depths : of the layers; None: evenly from 0 to 1.

    Raises
    ------
    LisError : no layers, no images, other shapes than [N, C], layers of different N.

    Examples
    --------
    >>> as_state({"penultimate": features.r}).width("penultimate")
    256
    """
    if isinstance(activations, State):
        return activations
    if not isinstance(activations, Mapping) and hasattr(activations, "layers"):
        layers = activations.layers
        own = {layer.title: float(layer.depth) for layer in layers}
        if len(own) < len(layers):
            raise LisError(
                "two layers have one title; give a mapping {title: [N, C]} with titles of your own."
            )
        return as_state({layer.title: activations[layer.name] for layer in layers}, depths or own)
    if not isinstance(activations, Mapping) or not activations:
        raise LisError(
            f"the state is made from {type(activations).__name__}; a mapping {{layer: activations [N, C]}} with at "
            "least one layer was expected."
        )
    blocks = {}
    for name, block in activations.items():
        if hasattr(block, "detach"):
            block = block.detach().cpu()
            values = (
                block.float() if block.dtype == torch.bfloat16 else block
            ).numpy()  # NumPy has no bfloat16
        else:
            values = np.asanyarray(block)
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
            raise LisError(
                f"layer {cut(name)!r} has shape {list(values.shape)} and dtype {values.dtype}; floating activations "
                "[N, C] were expected, at least one of each: pool maps, for instance by "
                'extract_activations(pool="mean").'
            )
        blocks[str(name)] = values
    sizes = {len(block) for block in blocks.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{cut(name)}: {len(block)}" for name, block in list(blocks.items())[:6])
        raise LisError(f"the layers have different numbers of images ({told}); the same was expected.")
    if ALL_LAYERS in blocks:
        raise LisError(f"a layer is titled {ALL_LAYERS!r}, which stands for all of them: rename it.")
    places = np.linspace(0, 1, len(blocks)) if len(blocks) > 1 else np.ones(1)
    given = dict(zip(blocks, places.tolist(), strict=True)) if depths is None else dict(depths)
    lacking = [name for name in blocks if name not in given or not math.isfinite(given[name])]
    if lacking:
        raise LisError(f"layer {lacking[0]!r} has no depth; a finite number for each layer was expected.")
    return State(blocks, {name: float(given[name]) for name in blocks})


def observe_state(
    classifier: Any,
    x: Any,
    layers: Any = None,
    *,
    pool: str = "mean",
    out: Any = None,
    batch_size: int = 256,
    progress: bool = False,
) -> State:
    """Run a classifier over images and return its state: every channel of every layer pooled over positions.

    Parameters
    ----------
    x : images [N, C, H, W], Photographs or an ImageSource.
    layers : of `list_layers`, or their names; None: the convolutions and the penultimate activations.
    pool : "mean" or "max" over positions.
    out : folder for memory-mapped activations of large sets; None: in memory.

    Raises
    ------
    LisError : as `extract_activations`.

    Examples
    --------
    >>> state = observe_state(load_classifier("fashion"), load_fashion("sample").images)
    >>> state.layers
    """
    from ..activations import extract_activations

    if pool not in ("mean", "max"):
        raise LisError(
            f"pool is {pool!r}; 'mean' or 'max' was expected: an observer sees one number a channel."
        )
    size = whole_number(batch_size, "batch_size", 1)
    settings: dict[str, Any] = {} if out is None else {"out": out}
    found = extract_activations(
        classifier, x, layers, pool=pool, batch_size=size, progress=progress, **settings
    )
    return as_state(found)
