"""Mapper graphs on disk: our own file, and GraphML and node-link JSON for other programs."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import CheckpointError, LisError
from ..files import atomic_path, load_tensors, save_tensors, sha256_tensors

if TYPE_CHECKING:
    from .mapper_graph import MapperGraph

__all__ = ["FORMAT", "load_graph", "node_link", "save_graph", "write_graphml", "write_json"]

FORMAT = "lis_toolkit mapper graph 1"
_SHAPES = {"members": 1, "sizes": 1, "intervals": 1, "edges": 2, "shared": 1, "lens": 1, "bounds": 2, "used": 1,
           "images": 1, "positions": 2}  # fmt: skip
_FLOATS = ("lens", "bounds")
# What XML 1.0 can't hold, whatever the escape.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def save_graph(graph: MapperGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as one safetensors file, atomically; the members of all nodes one after the other.

    Raises
    ------
    LisError
        When the file can't be written, or the settings are not JSON.

    Examples
    --------
    >>> save_graph(graph, "conv4.safetensors")
    """
    arrays = {name: getattr(graph, name) for name in _SHAPES if name != "members"}
    arrays["members"] = np.concatenate([np.empty(0, np.int64), *graph.members])
    if graph.labels is not None:
        arrays["labels"] = graph.labels
    tensors = {name: torch.tensor(values) for name, values in arrays.items()}  # own memory, also when empty
    facts = {"format": FORMAT, "classes": list(graph.classes), "settings": graph.settings,
             "provenance": graph.provenance, "hash": sha256_tensors(tensors)}  # fmt: skip
    save_tensors(path, tensors, facts)


def load_graph(path: str | os.PathLike[str]) -> MapperGraph:
    """Read what `save_graph` wrote.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, altered or of something else.

    Examples
    --------
    >>> load_graph("conv4.safetensors").noise
    """
    from .mapper_graph import MapperGraph

    tensors, facts = load_tensors(path)
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a mapper graph: {FORMAT!r} was expected, not {facts.get('format')!r}."
        )
    kinds = {"classes": list, "settings": dict, "provenance": dict, "hash": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name), kind)]
    wrong += [name for name, dims in _SHAPES.items() if name not in tensors or tensors[name].ndim != dims]
    wrong += [name for name, values in tensors.items() if values.is_floating_point() != (name in _FLOATS)]
    if wrong or facts["hash"] != sha256_tensors(tensors):
        raise CheckpointError(
            f"{path} is damaged ({', '.join(wrong) or 'its hash is not that of its content'}): save the graph again."
        )
    arrays = {name: values.numpy() for name, values in tensors.items()}
    members, sizes = arrays.pop("members"), arrays.pop("sizes")
    if (sizes < 0).any() or sizes.sum() != len(members) or arrays["edges"].shape[1:] != (2,):
        raise CheckpointError(
            f"{path} is damaged: its nodes have {sizes.sum()} members, {len(members)} are there."
        )
    parts = tuple(np.split(members, np.cumsum(sizes)[:-1])) if len(sizes) else ()
    labels = arrays.pop("labels", None)
    try:
        return MapperGraph(members=parts, labels=labels, classes=tuple(str(c) for c in facts["classes"]),
                           settings=facts["settings"], provenance=facts["provenance"], **arrays)  # fmt: skip
    except (LisError, TypeError) as error:
        raise CheckpointError(f"{path} is a damaged mapper graph: {error}") from error


def node_link(graph: MapperGraph) -> dict[str, Any]:
    """Return a graph as node-link data, plain values that JSON can hold.

    Nodes have id, size, interval, lens_low, lens_high, members (rows of the cloud) and images (those of its members,
    none twice); with labels also majority (a class's name), majority_share and counts (class -> members). Edges have
    source, target and shared.

    Examples
    --------
    >>> networkx.node_link_graph(node_link(graph), edges="edges")
    """
    nodes = []
    for number, rows in enumerate(graph.members):
        low, high = graph.bounds[graph.intervals[number]].tolist()
        node: dict[str, Any] = {
            "id": number, "size": len(rows), "interval": int(graph.intervals[number]), "lens_low": low,
            "lens_high": high, "members": rows.tolist(), "images": np.unique(graph.images[rows]).tolist(),
        }  # fmt: skip
        if graph.labels is not None:
            counts = graph.counts[number]
            top = int(counts.argmax())
            node |= {"majority": graph.classes[top], "majority_share": float(counts[top] / counts.sum()),
                     "counts": {graph.classes[k]: int(counts[k]) for k in np.flatnonzero(counts)}}  # fmt: skip
        nodes.append(node)
    edges = [{"source": int(a), "target": int(b), "shared": int(count)}
             for (a, b), count in zip(graph.edges, graph.shared, strict=True)]  # fmt: skip
    about = {"classes": list(graph.classes), "settings": graph.settings, "provenance": graph.provenance}
    return {"directed": False, "multigraph": False, "graph": about, "nodes": nodes, "edges": edges}


def write_json(graph: MapperGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as node-link JSON, atomically: `networkx.node_link_graph(data, edges="edges")` reads it.

    Raises
    ------
    LisError
        When the file can't be written.

    Examples
    --------
    >>> write_json(graph, "conv4.json")
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(node_link(graph), ensure_ascii=False), encoding="utf-8")


def write_graphml(graph: MapperGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as GraphML, atomically.

    It has the attributes of `node_link`; lists and counts are texts of JSON, since GraphML holds plain values only.
    Characters that XML can't hold are left out of names.

    Raises
    ------
    LisError
        When the file can't be written.

    Examples
    --------
    >>> write_graphml(graph, "conv4.graphml")
    """
    import networkx

    data = node_link(graph)
    made = networkx.Graph(**{key: _text(value) for key, value in data["graph"].items()})
    for node in data["nodes"]:
        made.add_node(node["id"], **{key: _plain(value) for key, value in node.items() if key != "id"})
    for edge in data["edges"]:
        made.add_edge(edge["source"], edge["target"], shared=edge["shared"])
    with atomic_path(path) as temporary:
        networkx.write_graphml_xml(made, temporary)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else _text(value)


def _text(value: Any) -> str:
    return _NOT_XML.sub("", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
