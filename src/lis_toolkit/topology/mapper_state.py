"""What is chosen of a mapper graph, and what is shown of it, as plain data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..files import atomic_path
from .mapper_graph import MapperGraph
from .mapper_plots import graph_parts, legend_entries, mapper_sheet
from .purity import Purity

__all__ = ["MapperSetting", "MapperState", "NodeSheet"]


@dataclass(frozen=True)
class MapperSetting:
    """What can be chosen.

    Attributes
    ----------
    layer, how : names of the layer and of the sampling.
    intervals, overlap, min_samples : see `mapper_graph`.
    eps : a number, or None for the knee.

    Examples
    --------
    >>> MapperSetting("body.13", intervals=20).eps is None
    True
    """

    layer: str
    how: str = "strongest"
    intervals: int = 40
    overlap: float = 0.3
    eps: float | None = None
    min_samples: int = 5


@dataclass(frozen=True)
class NodeSheet:
    """Member images of a node: panels uint8 [P, H, W, 3], captions, descriptions, and how many there are in all."""

    panels: np.ndarray
    captions: tuple[str, ...]
    descriptions: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class MapperState:
    """A graph, and how pure it is (None without labels)."""

    setting: MapperSetting
    graph: MapperGraph
    purity: Purity | None
    majority: Purity | None

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is to know of the graph, as terms and texts.

        Examples
        --------
        >>> dict(state.facts())["nodes"]
        '88 in 29 parts, 59 edges'
        """
        graph = self.graph
        knee = graph.settings["eps_from"] == "knee"
        about = (
            "" if not knee else ", at the knee" if graph.settings["knee_found"] else ", no knee: the largest"
        )
        drawn = "" if len(graph.used) == len(graph.lens) else f" (drawn of {len(graph.lens):,})"
        rows = [
            (
                "nodes",
                f"{len(graph):,} in {graph.components.max(initial=-1) + 1:,} parts, {len(graph.edges):,} edges",
            ),
            (
                "points",
                f"{len(graph.used):,}{drawn}, {graph.noise:.0%} of them in no node".replace("%", " %"),
            ),
            ("eps", f"{graph.settings['eps']:.4g}{about}"),
        ]
        if self.purity is not None and self.majority is not None and len(graph):
            one, two = self.purity, self.majority
            rows += [
                (
                    "purity",
                    f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}], shuffled classes: {one.null:.2f}",
                ),
                (
                    "main class",
                    f"{two.value:.0%} of a node, shuffled classes: {two.null:.0%}".replace("%", " %"),
                ),
            ]
        return rows

    def nodes(self) -> list[tuple[str, int]]:
        """Return a text and the number of each node, the largest first.

        Examples
        --------
        >>> state.nodes()[0]
        ('node 41: 61 points, Trouser 98 %, Dress 2 %', 41)
        """
        graph = self.graph
        order = [int(i) for i in np.argsort(-graph.sizes, kind="stable")]
        mixes = {i: "" if graph.labels is None else f", {graph.mix_of(i)}" for i in order}
        return [(f"node {i}: {graph.sizes[i]:,} points{mixes[i]}", i) for i in order]

    def figure(self, selected: int | None = None, height: int = 470) -> dict[str, Any]:
        """Return the graph as Plotly's data and layout, with a caption and a description.

        Raises
        ------
        LisError
            A node that the graph does not have.

        Examples
        --------
        >>> state.figure(selected=3)["description"]
        """
        parts = graph_parts(self.graph, selected=selected, wide=1.3)
        # What was zoomed and moved stays as it is while nodes are chosen.
        # The legend stands beside it, as text that wraps: Plotly keeps the room of an older width for its own.
        own = {"height": height, "autosize": True, "uirevision": repr(self.setting), "showlegend": False}
        parts["layout"] |= own
        told = f"mapper graph, {self.graph}" + (
            "" if selected is None else f"; {self.graph.title_of(selected)}"
        )
        return {**parts, "caption": "", "description": told}

    def legend(self) -> list[tuple[str, str]]:
        """Return colour and text of each class that has one, and of the others together; empty without labels.

        Examples
        --------
        >>> state.legend()[0]
        ('#0072B2', '0 T-shirt/top')
        """
        return [] if self.graph.labels is None else legend_entries(self.graph)

    def save_png(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as a picture, atomically, at 150 dots an inch.

        Raises
        ------
        LisError
            A graph without nodes, or a path that can't be written.

        Examples
        --------
        >>> state.save_png("conv4.png")
        """
        figure = mapper_sheet(self.graph)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)

    def mix(self, node: int, most: int = 8) -> tuple[list[str], list[float]]:
        """Return the classes of a node and their shares, the largest first.

        Raises
        ------
        LisError
            A graph without labels.

        Examples
        --------
        >>> names, shares = state.mix(3)
        """
        counts = self.graph.counts[node]
        order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]][:most]
        return [self.graph.classes[k] for k in order], [float(counts[k] / counts.sum()) for k in order]
