"""Have the clouds of activations r and of latents w one shape? A topological test of the shared semantic order."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import provenance
from ..folders import output_folder
from ..link_stats import interval_of_mean
from ..names import unique_names, whole_number
from .agreement import mantel
from .clouds import as_points
from .diagrams import Diagrams
from .distances import sliced_wasserstein
from .layer_distances import _Draws
from .persistence import LIMIT, persistence_diagrams

if TYPE_CHECKING:
    import pandas as pd

    from ..link import Link
    from ..pairs import Pairs

__all__ = ["LinkShapes", "compare_link_shapes", "gaussian_like", "merge_heights"]

LINKED = "A r + b"
# What is compared with what, and what the distance means. Clouds of `_clouds`, by name.
COMPARED = (
    ("r", "other r", "floor"),
    ("w", "other w", "floor"),
    ("r", "w", "question"),
    ("r", LINKED, "question"),
    ("w", LINKED, "question"),
    ("r", "Gaussian like w", "null"),
    ("r", "columns of w shuffled", "null"),
    ("r", "class Gaussians like w", "null"),
    ("r", "Gaussian like r", "null"),
    ("w", "Gaussian like w", "null"),
)


@dataclass(frozen=True)
class LinkShapes:
    """What `compare_link_shapes` found.

    Attributes
    ----------
    distances : DataFrame
        One row a dimension and pair of clouds: `dim`, `one`, `other`, `kind` ("floor", "question", "null"), mean sliced
        Wasserstein distance of diagrams in median distances, `low`, `high` (95 % t interval over draws), `bars_one`,
        `bars_other`.
    order : DataFrame
        Do classes merge in the same order: one row a way of measuring distances between classes (`of`: "nearest"
        points, "means") and a pair of spaces: `merging`, the Spearman correlation of cophenetic distances (at what
        distance two classes have joined), and `pairs`, that of the distances themselves, of all pairs together; each
        with its p-value over permutations of the classes (`_p`), and the 95 % t interval of the mean over parts of the
        pairs (`_low`, `_high`), which lies lower where parts are small. The tree of single linkage hangs on few
        distances: believe `merging` only where its interval is narrow. Empty for fewer than 4 classes.
    heights : dict
        "r", "w" and "A r + b" -> distances between class means [K, K] in units of their median.
    classes : tuple of str
        The K classes of `heights`.
    diagrams : dict
        Name of a cloud -> Diagrams of the first draw.
    settings, provenance : dict

    Examples
    --------
    >>> print(compare_link_shapes(pairs, link))
    """

    distances: pd.DataFrame
    order: pd.DataFrame
    heights: dict[str, np.ndarray]
    classes: tuple[str, ...]
    diagrams: dict[str, Diagrams]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"LinkShapes({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        lines = []
        for dim in sorted(self.distances["dim"].unique()):
            rows = self.distances[self.distances["dim"] == dim].to_dict("records")
            mean = {(row["one"], row["other"]): row["mean_distance"] for row in rows}
            lines.append(
                f"H{dim}: r and w are {mean['r', 'w']:.2f} apart; two draws of r {mean['r', 'other r']:.2f}, of w "
                f"{mean['w', 'other w']:.2f}; r and a Gaussian like w {mean['r', 'Gaussian like w']:.2f}, "
                f"class Gaussians like w {mean['r', 'class Gaussians like w']:.2f}"
            )
        for row in self.order[self.order["other"] == "w"].to_dict("records"):
            lines.append(
                f"classes merge alike in r and w, by {row['of']}: {row['merging']:.2f} (parts "
                f"{row['merging_low']:.2f} to {row['merging_high']:.2f}, p = {row['merging_p']:.2g}); "
                f"their distances {row['pairs']:.2f} (p = {row['pairs_p']:.2g})"
            )
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write distances.parquet, order.parquet and manifest.json into a folder, all or none.

        Examples
        --------
        >>> shapes.save("runs/shapes")
        """
        with output_folder(folder) as place:
            self.distances.to_parquet(place / "distances.parquet")
            self.order.to_parquet(place / "order.parquet")
            told = {"classes": list(self.classes), "settings": self.settings, "provenance": self.provenance,
                    "heights": {name: matrix.tolist() for name, matrix in self.heights.items()}}  # fmt: skip
            (place / "manifest.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def compare_link_shapes(
    pairs: Pairs,
    link: Link,
    *,
    points: int = 300,
    repeats: int = 5,
    directions: int = 50,
    permutations: int = 9999,
    seed: int = 0,
    limit: int = LIMIT,
) -> LinkShapes:
    """Compare the shapes of activations r, latents w and linked latents A r + b of the same pairs.

    Two questions. Do the clouds have diagrams as near to each other as two draws of one cloud, and nearer than to
    clouds without more than w's covariance (`Gaussian like w`), than its columns (`columns of w shuffled`), or than a
    Gaussian for each class (`class Gaussians like w`)? And do classes *merge* in the same order when distances grow, in
    r as in w?

    What it can't show: a diagram does not know which point is which. Shuffling the pairs changes no diagram, so equal
    shapes do not mean that r and w order *images* alike: that is asked by `report_link` (shared order, row by row) and
    here, for classes only, by the merging. Equal diagrams of a linear image are no proof of a common order, and unequal
    ones no disproof: a linear map may stretch a cloud and keep its order. The classes of A r + b merge as in w already
    if the link predicts the class means.

    Parameters
    ----------
    pairs
        Held-out pairs, if A r + b is to mean anything: those it was fitted to are nearer to w.
    link
        The linear link.
    points, repeats
        Pairs in each draw, and draws, without a common pair where there are enough.
    directions
        Of the sliced Wasserstein distance.
    permutations
        Of the classes.
    seed, limit
        Of all draws; bytes, as in `persistence_diagrams`.

    Returns
    -------
    LinkShapes

    Raises
    ------
    LisError
        For pairs of another width than the link's, fewer than 3, NaN; and as `persistence_diagrams`.

    Notes
    -----
    Our own test of a claim of Linking in Style (Wehrheim et al. 2024, arXiv 2409.16865); merging of classes is single
    linkage, which is H0 of the classes' distances.

    Examples
    --------
    >>> train, held_out = collect_pairs(generator, classifier).split(0.5)
    >>> print(compare_link_shapes(held_out, fit_link(train)))
    """
    import pandas as pd

    points, repeats = whole_number(points, "points", 3), whole_number(repeats, "repeats", 1)
    seed = whole_number(seed, "seed", 0)
    spaces = {"r": as_points(pairs.r, "r of the pairs", 3), "w": as_points(pairs.w, "w of the pairs", 3)}
    spaces[LINKED] = as_points(link(pairs.r.to(link.device)), "A r + b of the pairs", 3)
    labels = pairs.labels.cpu().numpy()
    draws = _Draws(points, True, len(labels), seed)

    def diagram(cloud: np.ndarray, name: str) -> Diagrams:
        return persistence_diagrams(cloud, 1, points, normalise=True, seed=seed, limit=limit, name=name)

    made: list[dict[str, Diagrams]] = []
    for t in range(repeats):
        rows = draws.rows(t, len(labels))
        clouds = _clouds(spaces, rows, labels, np.random.default_rng([seed, 13, t]))
        made.append({name: diagram(cloud, name) for name, cloud in clouds.items()})
    told = [
        {"dim": dim, "one": one, "other": other, "kind": kind} | _compared(made, one, other, dim, directions)
        for dim in (0, 1)
        for one, other, kind in COMPARED
    ]
    order, heights, classes = _merging(spaces, labels, tuple(pairs.classes), repeats, permutations, seed)
    settings = {"points": min(points, len(labels)), "repeats": repeats, "directions": directions,
                "permutations": permutations, "seed": seed, "disjoint": draws.disjoint(repeats)}  # fmt: skip
    facts = {
        "generator_hash": pairs.generator_hash,
        "classifier_hash": pairs.classifier_hash,
        "pairs_seed": pairs.seed,
    }
    return LinkShapes(pd.DataFrame(told), order, heights, classes, made[0], settings, provenance(**facts))


def gaussian_like(x: np.ndarray, rng: np.random.Generator, count: int | None = None) -> np.ndarray:
    """Draw points [count, D] of a Gaussian with the mean and the covariance of x [N, D]; count defaults to N.

    Examples
    --------
    >>> gaussian_like(w, np.random.default_rng(0))
    """
    mean = x.mean(0)
    weights = rng.standard_normal((len(x) if count is None else count, len(x)))
    # Sums of centred rows with normal weights: no factor of the covariance, which may be singular, is needed.
    return np.asarray(mean + weights @ (x - mean) / math.sqrt(max(len(x) - 1, 1)))


def _clouds(
    spaces: dict[str, np.ndarray], rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the clouds of one draw: the pairs' own, and those that share less and less with them."""
    r, w, own = spaces["r"][rows], spaces["w"], labels[rows]
    mixed = np.empty_like(w[rows])
    for k in np.unique(own):
        mixed[own == k] = gaussian_like(w[labels == k], rng, int((own == k).sum()))
    return {
        "r": r,
        "w": w[rows],
        LINKED: spaces[LINKED][rows],
        "Gaussian like w": gaussian_like(w, rng, len(rows)),
        "columns of w shuffled": rng.permuted(w[rows], axis=0),
        "class Gaussians like w": mixed,
        "Gaussian like r": gaussian_like(spaces["r"], rng, len(rows)),
    }


def _compared(
    made: list[dict[str, Diagrams]], one: str, other: str, dim: int, directions: int
) -> dict[str, Any]:
    """Return mean distance over draws, its interval and the sizes of two clouds' diagrams."""
    if other.startswith("other "):
        # Each draw with the next: as many values as there are draws, not all of them independent.
        partner = [*made[1:], made[0]] if len(made) > 1 else []
        chosen = [(a[one], b[one]) for a, b in zip(made, partner, strict=False)]
    else:
        chosen = [(drawn[one], drawn[other]) for drawn in made]
    values = np.array([sliced_wasserstein(a, b, dim, directions=directions) for a, b in chosen])
    mean, low, high = interval_of_mean(values) if len(values) else (math.nan,) * 3
    sizes = [float(np.mean([len(d.bars(dim)) for d in side])) if chosen else math.nan
             for side in (list(zip(*chosen, strict=True)) or [(), ()])]  # fmt: skip
    return {"mean_distance": mean, "low": low, "high": high, "bars_one": sizes[0], "bars_other": sizes[1]}


def merge_heights(distances: np.ndarray) -> np.ndarray:
    """Return at what distance two items have joined, [K, K]: cophenetic distances of single linkage.

    Examples
    --------
    >>> merge_heights(np.array([[0, 1, 5], [1, 0, 3], [5, 3, 0.0]]))[0, 2]
    3.0
    """
    from scipy.cluster.hierarchy import cophenet, single
    from scipy.spatial.distance import squareform

    return np.asarray(squareform(cophenet(single(squareform(distances, checks=False)))))


def _between_means(x: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    from scipy.spatial.distance import pdist, squareform

    return np.asarray(squareform(pdist(np.stack([x[p].mean(0) for p in places]))))


def _between_nearest(x: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    from scipy.spatial.distance import cdist

    matrix = np.zeros((len(places), len(places)))
    for i in range(len(places)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = cdist(x[places[i]], x[places[j]]).min()
    return matrix


def _bounds(correlations: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t interval of a mean correlation."""
    _, low, high = interval_of_mean(correlations)
    return max(low, -1.0) if low == low else low, min(high, 1.0) if high == high else high


def _merging(
    spaces: dict[str, np.ndarray],
    labels: np.ndarray,
    names: tuple[str, ...],
    repeats: int,
    permutations: int,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, np.ndarray], tuple[str, ...]]:
    """Correlate the distances of classes, and of their merging, between spaces."""
    import pandas as pd

    columns = [
        "of",
        "one",
        "other",
        "classes",
        "merging",
        "merging_low",
        "merging_high",
        "merging_p",
        "pairs",
        "pairs_low",
        "pairs_high",
        "pairs_p",
    ]
    rng = np.random.default_rng([seed, 14])
    parts = max(repeats, 2)
    kept = [k for k in np.unique(labels) if (labels == k).sum() >= parts]
    if len(kept) < 4:
        return pd.DataFrame(columns=columns), {}, tuple(unique_names(names)[k] for k in kept)
    # Every class in every part.
    split = [np.array_split(rng.permutation(np.flatnonzero(labels == k)), parts) for k in kept]
    ways: dict[str, Callable[[np.ndarray, list[np.ndarray]], np.ndarray]]
    ways = {"nearest": _between_nearest, "means": _between_means}
    rows, heights = [], {}
    for of, measure in ways.items():
        found = {name: np.stack([measure(x, [own[t] for own in split]) for t in range(parts)])
                 for name, x in spaces.items()}  # [T, K, K] each  # fmt: skip
        mean = {name: matrices.mean(0) for name, matrices in found.items()}
        for one, other in (("r", "w"), ("r", LINKED), ("w", LINKED)):
            both = list(zip(found[one], found[other], strict=True))
            low, high = _bounds(np.array([mantel(a, b, 1, rng)[0] for a, b in both]))
            heads = [mantel(merge_heights(a), merge_heights(b), 1, rng)[0] for a, b in both]
            merging_low, merging_high = _bounds(np.array(heads))
            merging, merging_p = mantel(
                merge_heights(mean[one]), merge_heights(mean[other]), permutations, rng
            )
            alike, alike_p = mantel(mean[one], mean[other], permutations, rng)
            row = (
                of,
                one,
                other,
                len(kept),
                merging,
                merging_low,
                merging_high,
                merging_p,
                alike,
                low,
                high,
                alike_p,
            )
            rows.append(dict(zip(columns, row, strict=True)))
        if of == "means":
            above = np.triu_indices(len(kept), 1)
            heights = {name: m / (float(np.median(m[above])) or 1.0) for name, m in mean.items()}
    unique = unique_names(names)
    return pd.DataFrame(rows), heights, tuple(unique[k] for k in kept)
