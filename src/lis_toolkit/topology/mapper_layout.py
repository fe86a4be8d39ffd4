"""Where the nodes of a mapper graph stand: connected parts drawn one by one, and packed like words on a page."""

from __future__ import annotations

import math

import numpy as np

from .mapper_graph import MapperGraph

__all__ = ["node_radii", "place_nodes"]

CAREFUL = 80  # nodes of a part up to which Kamada and Kawai's cubic method is used
LEAST, MOST = 0.14, 0.42  # radius of nodes, in lengths of a typical edge
GAP = 0.7  # between parts
WIDE = 1.7


def node_radii(graph: MapperGraph) -> np.ndarray:
    """Return the radius of each node, float64 [n]: its area grows with its members, down to a size that can be seen.

    Examples
    --------
    >>> node_radii(graph).max()
    0.42
    """
    if not len(graph):
        return np.empty(0)
    return np.maximum(MOST * np.sqrt(graph.sizes / graph.sizes.max()), LEAST)


def place_nodes(graph: MapperGraph, seed: int = 0, wide: float = WIDE) -> np.ndarray:
    """Return a place for each node, float64 [n, 2], x to the right and y up; the same for the same graph and seed.

    Each connected part is laid out by itself (Kamada and Kawai 1989; above 80 nodes by springs, Fruchterman and
    Reingold 1991, which start from the seed), a typical edge of length 1, its longer side across. Parts are then set in
    lines, the largest first, so that no two overlap. Distances between parts mean nothing.

    Parameters
    ----------
    seed : of the springs.
    wide : width of the page over its height, as near as the parts allow.

    Examples
    --------
    >>> x, y = place_nodes(graph).T
    """
    n, radii = len(graph), node_radii(graph)
    places = np.zeros((n, 2))
    boxes = []
    numbers, sizes = np.unique(graph.components, return_counts=True)
    for part in numbers[np.argsort(-sizes, kind="stable")]:
        nodes = np.flatnonzero(graph.components == part)
        own = _layout(graph, nodes, seed)  # [size, 2]
        low, high = (own - radii[nodes, None]).min(axis=0), (own + radii[nodes, None]).max(axis=0)
        places[nodes] = own - low
        boxes.append((nodes, *(high - low)))
    area = sum((across + GAP) * (high + GAP) for _, across, high in boxes)
    room = max([math.sqrt(area * wide), *(across for _, across, _ in boxes)])
    x = y = deep = 0.0
    for nodes, across, high in boxes:
        if x > 0 and x + across > room:
            x, y, deep = 0.0, y + deep + GAP, 0.0
        places[nodes, 0] += x
        places[nodes, 1] = -(y + places[nodes, 1])
        x, deep = x + across + GAP, max(deep, high)
    return places


def _layout(graph: MapperGraph, nodes: np.ndarray, seed: int) -> np.ndarray:
    import networkx

    if len(nodes) == 1:
        return np.zeros((1, 2))
    index = {int(node): place for place, node in enumerate(nodes)}
    edges = np.array([(index[int(a)], index[int(b)]) for a, b in graph.edges if int(a) in index])  # [E, 2]
    made = networkx.Graph()
    made.add_nodes_from(range(len(nodes)))
    made.add_edges_from(edges.tolist())
    if len(nodes) <= CAREFUL:
        found = networkx.kamada_kawai_layout(made, weight=None)
    else:
        found = networkx.spring_layout(made, seed=seed % 2**32, iterations=100, weight=None)
    own = np.array([found[i] for i in range(len(nodes))])
    own = own - own.mean(axis=0)
    _, _, axes = np.linalg.svd(own, full_matrices=False)
    if axes.shape == (
        2,
        2,
    ):  # the longer side across; signs by the first node, so that nothing depends on LAPACK
        own = own @ axes.T
        own *= np.where(own[np.abs(own).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    lengths = np.linalg.norm(own[edges[:, 0]] - own[edges[:, 1]], axis=1)
    typical = float(np.median(lengths))
    return own / typical if typical > 0 else own
