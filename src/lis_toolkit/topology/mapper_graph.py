"""A mapper graph: clusters of points in intervals of a lens, joined where they share points."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import LisError

__all__ = ["MapperGraph"]


@dataclass(frozen=True, eq=False, repr=False)
class MapperGraph:
    """What `mapper_graph` made of a point cloud.

    Attributes
    ----------
    members : tuple of int64 arrays
        Of each of the n nodes: rows of the cloud, ascending.
    intervals : int64 [n]
        Which interval of the lens a node is from.
    edges : int64 [E, 2]
        Nodes that share points, the lower number first.
    shared : int64 [E]
        How many points they share.
    lens : float64 [M]
        Of every row of the cloud.
    bounds : float64 [I, 2]
        Of the intervals.
    used : int64 [U]
        Rows of the cloud that took part: all, or those drawn when there was a limit.
    images, positions : int64 [M], [M, 2]
        The image of every row, and where in it (row, column of the layer's map).
    labels : int64 [M] or None
        Class of every row.
    classes : tuple of str
        Names of the K classes; empty without labels.
    settings, provenance : dict
        What was asked and what came of it (eps); versions, date.

    Raises
    ------
    LisError
        For parts that do not belong together.

    Examples
    --------
    >>> graph = mapper_graph(cloud, photographs.labels, photographs.classes)
    >>> graph.counts[graph.sizes.argmax()]  # classes in the largest node
    """

    members: tuple[np.ndarray, ...]
    intervals: np.ndarray
    edges: np.ndarray
    shared: np.ndarray
    lens: np.ndarray
    bounds: np.ndarray
    used: np.ndarray
    images: np.ndarray
    positions: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, rows = len(self.members), len(self.lens)
        sizes = {"images": len(self.images), "positions": len(self.positions)}
        sizes |= {} if self.labels is None else {"labels": len(self.labels)}
        for name, size in sizes.items():
            if size != rows:
                raise LisError(
                    f"the graph has {name} of {size} points and a lens of {rows}; the same was expected."
                )
        if len(self.intervals) != n or len(self.edges) != len(self.shared):
            raise LisError(
                f"the graph has {n} nodes in {len(self.intervals)} intervals and {len(self.edges)} edges with "
                f"{len(self.shared)} counts; one each was expected."
            )
        everyone = [self.used, *self.members]
        if any(len(part) and not 0 <= part.min() <= part.max() < rows for part in everyone):
            raise LisError(f"the graph has members beyond the {rows} points of its cloud.")
        if len(self.edges) and not 0 <= self.edges.min() <= self.edges.max() < n:
            raise LisError(f"the graph has edges beyond its {n} nodes.")
        if (
            self.labels is not None
            and rows
            and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes)
        ):
            raise LisError(f"the graph has labels beyond its {len(self.classes)} classes.")

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"MapperGraph({self})"

    def __str__(self) -> str:
        title = self.settings.get("title")
        found = "" if self.settings.get("knee_found", True) else ", no knee: the largest distance"
        eps = self.settings.get("eps")
        return (
            f"{title + ': ' if title else ''}{len(self):,} nodes in {self.components.max(initial=-1) + 1:,} parts, "
            f"{len(self.edges):,} edges; {len(self.used) - round(self.noise * len(self.used)):,} of "
            f"{len(self.used):,} points in nodes ({self.noise:.1%} in none)"
            + ("" if eps is None else f"; eps {eps:.4g}{found}")
        )

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of members of each node, int64 [n]."""
        return np.array([len(part) for part in self.members], dtype=np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Members of each class in each node, int64 [n, K]; a LisError without labels."""
        if self.labels is None:
            raise LisError("the graph has no labels: give them to mapper_graph to ask for classes.")
        labels, k = self.labels, len(self.classes)
        rows = [np.bincount(labels[part], minlength=k) for part in self.members]
        return np.stack(rows) if rows else np.zeros((0, k), np.int64)

    @cached_property
    def times(self) -> np.ndarray:
        """In how many nodes each row of the cloud is, int64 [M]."""
        flat = np.concatenate([np.empty(0, np.int64), *self.members])
        return np.bincount(flat, minlength=len(self.lens))

    @property
    def noise(self) -> float:
        """Share of the points that took part and are in no node; NaN without any."""
        return float((self.times[self.used] == 0).mean()) if len(self.used) else float("nan")

    @cached_property
    def components(self) -> np.ndarray:
        """Number of the connected part that each node is in, int64 [n], from 0 in the order of the nodes."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n = len(self)
        ones = np.ones(len(self.edges), bool)
        near = coo_array((ones, (self.edges[:, 0], self.edges[:, 1])), shape=(n, n))
        return connected_components(near, directed=False)[1].astype(np.int64) if n else np.empty(0, np.int64)

    def title_of(self, node: int) -> str:
        """Return a node's lens interval, size and main classes as a line of text.

        Examples
        --------
        >>> graph.title_of(3)
        'node 3: 41 points, lens 2.1 to 2.9; Coat 73 %, Shirt 22 %, Bag 5 %'
        """
        low, high = self.bounds[self.intervals[node]]
        text = f"node {node}: {self.sizes[node]:,} points, lens {low:.3g} to {high:.3g}"
        return text if self.labels is None else f"{text}; {self.mix_of(node)}"

    def mix_of(self, node: int, most: int = 3) -> str:
        """Return the largest classes of a node with their shares, "Coat 73 %, Shirt 22 %"."""
        counts = self.counts[node]
        order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
        named = [f"{self.classes[k]} {counts[k] / counts.sum():.0%}".replace("%", " %") for k in order[:most]]
        more = f", {len(order) - most} more" if len(order) > most else ""
        return ", ".join(named) + more

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as one safetensors file, atomically.

        Raises
        ------
        LisError
            When the file can't be written.

        Examples
        --------
        >>> graph.save("runs/conv4.safetensors")
        """
        from .mapper_files import save_graph

        save_graph(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MapperGraph:
        """Read what `save` wrote; nothing is executed.

        Raises
        ------
        CheckpointError
            When the file is missing, damaged, altered or of something else.

        Examples
        --------
        >>> MapperGraph.load("runs/conv4.safetensors").noise
        """
        from .mapper_files import load_graph

        return load_graph(path)

    def to_graphml(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as GraphML, for Gephi, Cytoscape or networkx: see `mapper_files.write_graphml`.

        Raises
        ------
        LisError
            When the file can't be written.

        Examples
        --------
        >>> graph.to_graphml("conv4.graphml")
        """
        from .mapper_files import write_graphml

        write_graphml(self, path)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as node-link JSON, for D3 or networkx: see `mapper_files.write_json`.

        Raises
        ------
        LisError
            When the file can't be written.

        Examples
        --------
        >>> graph.to_json("conv4.json")
        """
        from .mapper_files import write_json

        write_json(self, path)
