"""How purely the nodes of a mapper graph separate classes, against chance, and its course over layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..counterfactuals.intervals import mean_over_starts
from ..errors import LisError
from ..names import whole_number
from .mapper import mapper_graph
from .mapper_graph import MapperGraph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Purity", "Trend", "point_purity", "purity", "purity_by_layer", "purity_trend"]

KINDS = ("classes", "majority", "entropy")
MOST_PERMUTATIONS = 100_000


@dataclass(frozen=True)
class Purity:
    """How pure the nodes of a graph are, and what that is worth.

    Attributes
    ----------
    value : mean over the points in nodes, above 0 to 1; NaN without any.
    low, high : 95 % interval over images, with the graph as it is.
    null : the same measure with the classes of images shuffled, mean over the permutations.
    null_high : its 95 % quantile.
    p_value : (k + 1) / (permutations + 1), k the permutations that are as pure.
    excess : (value - null) / (1 - null): 0 for what chance gives graphs of these nodes, 1 for nodes of one class.
    kind : which measure.
    nodes, parts, points, noise : nodes, connected parts, points in nodes, share of the points in none.
    median_size : of the nodes, in points.

    Examples
    --------
    >>> purity(graph).excess
    """

    value: float
    low: float
    high: float
    null: float
    null_high: float
    p_value: float
    excess: float
    kind: str
    nodes: int
    parts: int
    points: int
    noise: float
    median_size: float


def point_purity(graph: MapperGraph, kind: str = "classes", labels: np.ndarray | None = None) -> np.ndarray:
    """Return the purity of every row of the cloud, the mean over its nodes, float64 [M]; NaN for rows in no node.

    Parameters
    ----------
    kind : of a node: "classes", 1 / number of classes in it, as in the paper; "majority", the share of its largest
        class; "entropy", 1 - its entropy over log K. The first falls with a single point of another class, and so
        with the size of nodes; the others do not.
    labels : int64 [M], in place of the graph's own.

    Raises
    ------
    LisError
        A graph without labels, or another kind.

    Examples
    --------
    >>> point_purity(graph).mean(where=graph.times > 0)
    """
    if kind not in KINDS:
        raise LisError(f"the kind of purity is {kind!r}; one of {', '.join(KINDS)} was expected.")
    if graph.labels is None:
        raise LisError("the graph has no labels: give them to mapper_graph to ask for purity.")
    flat = np.concatenate([np.empty(0, np.int64), *graph.members])
    node = np.repeat(np.arange(len(graph)), graph.sizes)
    return _per_point(
        _of_nodes(graph, node, flat, graph.labels if labels is None else labels, kind), node, flat, graph
    )


def purity(
    graph: MapperGraph,
    kind: str = "classes",
    *,
    permutations: int = 200,
    resamples: int = 2000,
    seed: int = 0,
) -> Purity:
    """Measure how purely a graph's nodes separate the classes of images.

    Each point counts the mean purity of its nodes; points in no node are left out, so that a graph that calls more
    points noise may come out purer: `noise` says how many. Points of one image are drawn together in the interval, and
    keep one class in the shuffles, which keep the number of images a class.

    Parameters
    ----------
    kind : see `point_purity`.
    permutations : of the null distribution.
    resamples : of the bootstrap.
    seed : of both.

    Returns
    -------
    Purity

    Raises
    ------
    LisError
        A graph without labels, points of one image with several classes, numbers out of range.

    Notes
    -----
    Source: Purvine et al. 2023, arXiv 2212.00222, purity of a node set. Ours: the null, the interval, the two measures
    that weigh how many points are of another class.

    Examples
    --------
    >>> purity(mapper_graph(cloud, photographs.labels)).value
    """
    whole_number(permutations, "permutations", 1, MOST_PERMUTATIONS)
    whole_number(resamples, "resamples", 2, MOST_PERMUTATIONS)
    own = point_purity(graph, kind)  # [M]
    known = ~np.isnan(own)
    nodes, parts = len(graph), int(graph.components.max(initial=-1)) + 1
    median = float(np.median(graph.sizes)) if nodes else math.nan
    counted: dict[str, Any] = {"kind": kind, "nodes": nodes, "parts": parts, "points": int(known.sum()),
                               "noise": graph.noise, "median_size": median}  # fmt: skip
    if not known.any():
        nan = math.nan
        return Purity(nan, nan, nan, nan, nan, nan, nan, **counted)
    estimate = mean_over_starts(
        own[known], graph.images[known], within=(0.0, 1.0), resamples=resamples, seed=seed
    )
    shuffled = _shuffled(graph, kind, permutations, seed)
    null = float(shuffled.mean())
    beaten = int((shuffled >= estimate.value - 1e-12).sum())
    excess = (estimate.value - null) / (1 - null) if null < 1 - 1e-12 else math.nan
    return Purity(estimate.value, estimate.low, estimate.high, null, float(np.quantile(shuffled, 0.95)),
                  (beaten + 1) / (permutations + 1), excess, **counted)  # fmt: skip


def purity_by_layer(
    clouds: Mapping[str, Any],
    labels: Any = None,
    classes: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    permutations: int = 200,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Measure the purity of several layers, each in a graph of its own.

    Parameters
    ----------
    clouds : name -> PointCloud, points [M, C] or MapperGraph, from the first layer to the last
    labels, classes : as in `mapper_graph`; not needed for graphs.
    kinds : measures, each with columns of its own; those of "classes", the paper's, have no prefix.
    permutations, resamples, seed : see `purity`; the seed goes to `mapper_graph`, too.
    progress : show a bar.
    **settings : of `mapper_graph`.

    Returns
    -------
    DataFrame
        A row a layer: layer, title, depth (0..1 by its place where layers do not say), nodes, edges, parts, used,
        points (in nodes), noise, median_size, largest, eps, knee_found, and purity, low, high, null, p_value, excess of
        each measure ("majority_purity", ...).

    Raises
    ------
    LisError
        As `mapper_graph` and `purity`, with the layer's name; no clouds.

    Notes
    -----
    Source: Purvine et al. 2023, arXiv 2212.00222. Nodes differ in number and size between layers, and with them
    what chance gives: compare `excess`, too, not `purity` alone.

    Examples
    --------
    >>> table = purity_by_layer(sample_points(classifier, photographs), photographs.labels, photographs.classes)
    >>> purity_trend(table).spearman
    """
    import pandas as pd
    from tqdm.auto import tqdm

    if not isinstance(clouds, Mapping) or not clouds:
        raise LisError(
            "there are no clouds; a dict of layers' names and clouds, as of sample_points, was expected."
        )
    rows = []
    for place, (name, cloud) in enumerate(tqdm(clouds.items(), "mapper", disable=not progress)):
        try:
            made = cloud
            if not isinstance(cloud, MapperGraph):
                made = mapper_graph(cloud, labels, classes, seed=seed, **settings)
            found = {kind: purity(made, kind, permutations=permutations, resamples=resamples, seed=seed)
                     for kind in dict.fromkeys(kinds)}  # fmt: skip
        except LisError as error:
            raise LisError(f"layer {name}: {error}") from error
        depth = getattr(getattr(cloud, "layer", None), "depth", place / max(len(clouds) - 1, 1))
        row = {"layer": str(name), "title": made.settings.get("title") or str(name), "depth": float(depth),
               "nodes": len(made), "edges": len(made.edges), "parts": int(made.components.max(initial=-1)) + 1,
               "used": len(made.used), "points": int((made.times > 0).sum()), "noise": made.noise,
               "median_size": float(np.median(made.sizes)) if len(made) else math.nan,
               "largest": int(made.sizes.max(initial=0)), "eps": made.settings.get("eps", math.nan),
               "knee_found": bool(made.settings.get("knee_found", True))}  # fmt: skip
        for kind, measured in found.items():
            prefix = "" if kind == "classes" else f"{kind}_"
            values = asdict(measured)
            row[f"{prefix}purity"] = values["value"]
            row |= {prefix + key: values[key] for key in ("low", "high", "null", "p_value", "excess")}
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Trend:
    """Whether a column rises over layers.

    Attributes
    ----------
    slope : of a straight line over depth, from the first layer (0) to the last (1).
    spearman : rank correlation with depth.
    p_value : one-sided: share of the orders of layers whose rank correlation is as high.
    layers : with a value.
    column : which.
    """

    slope: float
    spearman: float
    p_value: float
    layers: int
    column: str


def purity_trend(
    table: pd.DataFrame, column: str = "purity", *, permutations: int = 10_000, seed: int = 0
) -> Trend:
    """Test whether a column of `purity_by_layer` rises with depth.

    Layers that follow each other are alike, so the p-value answers whether this order is better than any other of
    these layers, not whether another training would rise: repeat with other models for that.

    Parameters
    ----------
    table : of `purity_by_layer`.
    column : "purity", "excess", "majority_purity", "noise", ...
    permutations, seed : of the orders that are drawn.

    Raises
    ------
    LisError
        A column that the table does not have, or numbers out of range.

    Examples
    --------
    >>> purity_trend(table, "excess").p_value
    """
    from scipy.stats import rankdata

    whole_number(permutations, "permutations", 1, MOST_PERMUTATIONS)
    for needed in ("depth", column):
        if needed not in table:
            raise LisError(
                f"the table has no column {needed!r}; it has {', '.join(map(str, table.columns))}."
            )
    values, depth = table[column].to_numpy(float), table["depth"].to_numpy(float)
    known = np.isfinite(values)
    values, depth = values[known], depth[known]
    n = len(values)
    if n < 3 or np.ptp(depth) == 0:
        return Trend(math.nan, math.nan, math.nan, n, column)
    slope = float(np.polyfit(depth, values, 1)[0])
    a, b = (rankdata(v) - (n + 1) / 2 for v in (values, depth))
    size = math.sqrt(float(a @ a) * float(b @ b))
    if size == 0:
        return Trend(slope, math.nan, math.nan, n, column)
    spearman = float(a @ b) / size
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(a, (permutations, 1)), axis=1) @ b / size  # [P]
    p_value = (int((drawn >= spearman - 1e-12).sum()) + 1) / (permutations + 1)
    return Trend(slope, spearman, p_value, n, column)


def _of_nodes(
    graph: MapperGraph, node: np.ndarray, flat: np.ndarray, labels: np.ndarray, kind: str
) -> np.ndarray:
    """Return the purity of each node, float64 [n], from the memberships (node, row) [S]."""
    k, n = len(graph.classes), len(graph)
    counts = np.bincount(node * k + labels[flat], minlength=n * k).reshape(n, k)  # [n, K]
    if kind == "classes":
        return 1 / (counts > 0).sum(axis=1)
    shares = counts / graph.sizes[:, None]
    if kind == "majority":
        return shares.max(axis=1, initial=0)
    if k < 2:
        return np.ones(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares), 0.0)
    return np.clip(1 + terms.sum(axis=1) / math.log(k), 0.0, 1.0)  # type: ignore[no-any-return]


def _per_point(nodes: np.ndarray, node: np.ndarray, flat: np.ndarray, graph: MapperGraph) -> np.ndarray:
    sums = np.bincount(flat, nodes[node], minlength=len(graph.lens))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(graph.times > 0, sums / graph.times, np.nan)


def _shuffled(graph: MapperGraph, kind: str, permutations: int, seed: int) -> np.ndarray:
    """Return the purity [B] with the classes of the images that took part shuffled among them."""
    assert graph.labels is not None
    images, first, own = np.unique(graph.images[graph.used], return_index=True, return_inverse=True)
    of_images = graph.labels[graph.used][first]  # [images]
    if (of_images[own] != graph.labels[graph.used]).any():
        raise LisError("points of one image have several classes; one class an image was expected.")
    flat = np.concatenate([np.empty(0, np.int64), *graph.members])
    node = np.repeat(np.arange(len(graph)), graph.sizes)
    counted = int((graph.times > 0).sum())
    # The mean over points of the mean over their nodes is a mean of nodes, each with a weight.
    weight = np.bincount(node, 1 / graph.times[flat], minlength=len(graph)) / counted  # [n]
    rng = np.random.default_rng(seed)
    found, labels = np.empty(permutations), graph.labels.copy()
    for b in range(permutations):
        labels[graph.used] = rng.permutation(of_images)[own]
        found[b] = _of_nodes(graph, node, flat, labels, kind) @ weight
    return found
