"""Distances between layers, draw by draw, as a table and as a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..errors import CheckpointError
from ..files import load_tensors, save_tensors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEASURES", "LayerDistances", "Measure"]

FORMAT = "lis_toolkit layer distances 1"
Measure = Literal["sliced_wasserstein", "cka", "rsa"]
MEASURES: dict[Measure, str] = {
    "sliced_wasserstein": "sliced Wasserstein distance of H{dim} (in median distances)",
    "cka": "1 − linear CKA (unbiased)",
    "rsa": "1 − Spearman correlation of distances",
}


@dataclass(frozen=True)
class LayerDistances:
    """Distances between layers, draw by draw.

    Attributes
    ----------
    measure : str
        "sliced_wasserstein", "cka" or "rsa"; of the last two, 1 minus the similarity.
    layers_a, layers_b, titles_a, titles_b : tuple of str
        Names, and short texts for axes, of the rows and the columns.
    within : bool
        Rows and columns are layers of one model.
    values : array [T, A, B]
        Distances of every draw; of diagrams in median distances of their clouds.
    raw : array [T, A, B] or None
        The same of diagrams in the units of the activations; None for "cka" and "rsa".
    sizes_a, sizes_b : arrays [T, A] and [T, B], or None
        Bars of each diagram.
    floor_a, floor_b : arrays [A] and [B], or None
        Mean distance between diagrams of one layer and *other* images: distances of layers that are not larger mean
        nothing. NaN with one draw.
    settings, provenance : dict

    Examples
    --------
    >>> distances = layer_distances(clouds, repeats=5)
    >>> distances.mean
    """

    measure: Measure
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    titles_a: tuple[str, ...]
    titles_b: tuple[str, ...]
    within: bool
    values: np.ndarray
    raw: np.ndarray | None = None
    sizes_a: np.ndarray | None = None
    sizes_b: np.ndarray | None = None
    floor_a: np.ndarray | None = None
    floor_b: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"LayerDistances({self})"

    def __str__(self) -> str:
        draws, points = len(self.values), self.settings.get("points")
        kind = "within one model" if self.within else "between two models"
        apart = "" if self.settings.get("disjoint", True) else ", draws overlap"
        text = (
            f"{self.label}, {kind}: {len(self.layers_a)} x {len(self.layers_b)} layers, mean over {draws} draws of "
            f"{points} points{apart}"
        )
        if self.sizes_a is not None and self.sizes_b is not None:
            sizes = np.concatenate([self.sizes_a.mean(0), self.sizes_b.mean(0)])
            text += f"; diagrams of {sizes.min():.0f} to {sizes.max():.0f} bars"
        return text

    @property
    def label(self) -> str:
        """What is measured, for axes."""
        return MEASURES[self.measure].format(dim=self.settings.get("dim", 1))

    @property
    def mean(self) -> np.ndarray:
        """Mean over draws [A, B]."""
        return np.asarray(self.values.mean(0))

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation over draws [A, B]; NaN for one draw."""
        if len(self.values) < 2:
            return np.full(self.values.shape[1:], np.nan)
        return np.asarray(self.values.std(0, ddof=1))

    def table(self) -> pd.DataFrame:
        """Return one row a draw and pair of layers: distance, distance in activation units, sizes of both diagrams.

        Examples
        --------
        >>> distances.table().groupby(["layer_a", "layer_b"]).distance.agg(["mean", "std"])
        """
        import pandas as pd

        rows = []
        for t, i, j in np.ndindex(*self.values.shape):
            row: dict[str, Any] = {"draw": t, "layer_a": self.layers_a[i], "layer_b": self.layers_b[j],
                                   "measure": self.measure, "distance": float(self.values[t, i, j])}  # fmt: skip
            if self.raw is not None and self.sizes_a is not None and self.sizes_b is not None:
                row |= {"distance_raw": float(self.raw[t, i, j]), "bars_a": int(self.sizes_a[t, i]),
                        "bars_b": int(self.sizes_b[t, j])}  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)

    def part(self, rows: slice, columns: slice) -> LayerDistances:
        """Return the distances of some layers, as many rows and columns as the slices take.

        Examples
        --------
        >>> distances.part(slice(3), slice(3))  # between the first three layers
        """

        def cut(values: Any, where: slice) -> Any:
            return None if values is None else values[where]

        count = len(self.layers_a), len(self.layers_b)
        same = rows.indices(count[0]) == columns.indices(count[1])
        return replace(
            self,
            layers_a=self.layers_a[rows],
            layers_b=self.layers_b[columns],
            titles_a=self.titles_a[rows],
            titles_b=self.titles_b[columns],
            within=self.within and same,
            values=self.values[:, rows, columns],
            raw=None if self.raw is None else self.raw[:, rows, columns],
            sizes_a=None if self.sizes_a is None else self.sizes_a[:, rows],
            sizes_b=None if self.sizes_b is None else self.sizes_b[:, columns],
            floor_a=cut(self.floor_a, rows),
            floor_b=cut(self.floor_b, columns),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write distances, settings and provenance as one safetensors file, atomically.

        Examples
        --------
        >>> distances.save("distances.safetensors")
        """
        tensors = {n: torch.from_numpy(np.array(v)) for n in _ARRAYS if (v := getattr(self, n)) is not None}
        facts = {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in _FACTS}
        save_tensors(path, tensors, {"format": FORMAT, **facts})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LayerDistances:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            When the file is missing, damaged or holds something else.

        Examples
        --------
        >>> distances = LayerDistances.load("distances.safetensors")
        """
        tensors, facts = load_tensors(path)
        if facts.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} holds no layer distances (format {facts.get('format')!r}, expected {FORMAT!r})."
            )
        try:
            told: dict[str, Any] = {
                n: tuple(facts[n]) if isinstance(facts[n], list) else facts[n] for n in _FACTS
            }
            told |= {n: tensors[n].numpy() for n in _ARRAYS if n in tensors}
            result = cls(**told)
            shape = (len(result.layers_a), len(result.layers_b))
            if result.measure not in MEASURES or result.values.ndim != 3 or result.values.shape[1:] != shape:
                raise ValueError(f"distances of shape {result.values.shape} for {shape} layers")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is a damaged set of layer distances ({error}).") from error
        return result


_ARRAYS = ("values", "raw", "sizes_a", "sizes_b", "floor_a", "floor_b")
_FACTS = ("measure", "layers_a", "layers_b", "titles_a", "titles_b", "within", "settings", "provenance")
