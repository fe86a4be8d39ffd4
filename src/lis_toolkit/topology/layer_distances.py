"""How far the layers of a network are from each other, or from those of another training, over several draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..errors import LisError
from ..files import provenance
from ..names import spelling_hint, whole_number
from .clouds import Thinning, as_points, cloud_title
from .diagrams import Diagrams, Essential
from .distances import diagram_distances, sliced_wasserstein
from .layer_result import MEASURES, LayerDistances, Measure
from .persistence import LIMIT, persistence_diagrams
from .similarity import distance_ranks, linear_cka, rank_correlation

__all__ = ["MEASURES", "LayerDistances", "layer_distances", "training_distances"]

_LEAST: dict[Measure, int] = {"sliced_wasserstein": 3, "cka": 4, "rsa": 3}


def layer_distances(
    clouds_a: Mapping[str, Any],
    clouds_b: Mapping[str, Any] | None = None,
    measure: Measure = "sliced_wasserstein",
    *,
    repeats: int = 5,
    points: int = 300,
    dim: int = 1,
    directions: int = 50,
    essential: Essential = "drop",
    how: Thinning = "random",
    seed: int = 0,
    limit: int = LIMIT,
    notes: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> LayerDistances:
    """Measure distances between the layers of a model, or between those of two, on several draws of images.

    Parameters
    ----------
    clouds_a
        Point clouds by layer: PointClouds of `sample_points`, or arrays [M, C].
    clouds_b
        Those of another model; None: distances within one.
    measure
        "sliced_wasserstein": of persistence diagrams. "cka", "rsa": 1 minus linear CKA (unbiased), 1 minus the
        correlation of distances; row i of all clouds must then be of the same image.
    repeats, points
        Draws, and points in each (the paper: 1,000). Where all clouds have the same images and enough of them, the
        draws share no image and are the same images for every layer and both models; else they are drawn anew each
        time, and overlap.
    dim
        Of the diagrams: 0 components, 1 loops (the paper's).
    directions
        Of the sliced Wasserstein distance (the paper's 50).
    essential
        What to do with bars that never end: see `Diagrams.bars`.
    how, limit
        As in `persistence_diagrams`; "spread" chooses half of twice as many drawn points.
    seed
        Of the draws.
    notes
        Facts to keep in the provenance, such as hashes of the models.
    progress
        Show a progress bar.

    Returns
    -------
    LayerDistances

    Raises
    ------
    LisError
        For no layers, clouds of too few points, rows that do not belong together, an unknown measure, and as
        `persistence_diagrams`.

    Notes
    -----
    Purvine et al. 2023 (arXiv 2212.00222): 1,000 test images at a time, H1, 50 directions. Not told there
    and ours: diagrams are brought to median distances, since layers differ in scale; `raw` has them without.

    Examples
    --------
    >>> clouds = sample_points(classifier, photographs.images)
    >>> distance_figure(layer_distances(clouds, repeats=3))
    """
    if measure not in MEASURES:
        raise LisError(
            f"measure is {measure!r}; expected one of {', '.join(MEASURES)}.{spelling_hint(str(measure), MEASURES)}"
        )
    repeats, points = whole_number(repeats, "repeats", 1), whole_number(points, "points", _LEAST[measure])
    seed, dim = whole_number(seed, "seed", 0), whole_number(dim, "dim", 0, 2)
    groups = [_checked(clouds_a, "clouds_a", _LEAST[measure])]
    if clouds_b is not None:
        groups.append(_checked(clouds_b, "clouds_b", _LEAST[measure]))
    same_rows = _same_rows([c for clouds in (clouds_a, clouds_b or {}) for c in clouds.values()])
    if measure != "sliced_wasserstein" and not same_rows:
        raise LisError(
            f"{measure} compares image by image, but the clouds have other images or numbers of points: sample all "
            "with the same images, one point an image."
        )
    smallest = min(len(x) for group in groups for x in group.values())
    draws = _Draws(points * (2 if how == "spread" else 1), same_rows, smallest, seed)
    options: dict[str, Any] = {"how": how, "limit": limit}
    found: list[tuple[np.ndarray, list[list[Diagrams]]]] = []
    for t in tqdm(range(repeats), desc="draws", disable=not progress):
        drawn = [[x[draws.rows(t, len(x))] for x in group.values()] for group in groups]
        if measure == "sliced_wasserstein":
            made = [
                [
                    persistence_diagrams(x, dim, points, normalise=True, seed=seed, name=f"layer {name!r}", **options)
                    for name, x in zip(group, clouds, strict=True)
                ]
                for group, clouds in zip(groups, drawn, strict=True)
            ]  # fmt: skip
            between = diagram_distances(
                made[0], made[1] if len(made) > 1 else None, dim, directions=directions, essential=essential
            )
            found.append((between, made))
        else:
            found.append((_similarities(drawn, measure), []))
    told = {"points": min(points, smallest), "repeats": repeats, "dim": dim, "directions": directions, "how": how,
            "essential": essential, "seed": seed, "same_images": same_rows,
            "disjoint": draws.disjoint(repeats)}  # fmt: skip
    fields: dict[str, Any] = {"settings": told, "provenance": provenance(**dict(notes or {}))}
    if measure == "sliced_wasserstein":
        fields |= _of_diagrams([made for _, made in found], dim, directions, essential)
    last = clouds_a if clouds_b is None else clouds_b
    return LayerDistances(
        measure, tuple(groups[0]), tuple(groups[-1]),
        tuple(cloud_title(cloud, name) for name, cloud in clouds_a.items()),
        tuple(cloud_title(cloud, name) for name, cloud in last.items()),
        clouds_b is None, np.stack([values for values, _ in found]), **fields,
    )  # fmt: skip


def training_distances(
    clouds_a: Mapping[str, Any],
    clouds_b: Mapping[str, Any],
    measure: Measure = "sliced_wasserstein",
    **options: Any,
) -> tuple[LayerDistances, LayerDistances, LayerDistances]:
    """Measure distances within each of two models and between them, on the same draws, each diagram computed once.

    Parameters
    ----------
    clouds_a, clouds_b
        Point clouds by layer, of the same images.
    measure, options
        As in `layer_distances`.

    Returns
    -------
    within the first, within the second, between both : LayerDistances
        What `compare_trainings` takes.

    Raises
    ------
    LisError
        As `layer_distances`.

    Examples
    --------
    >>> print(compare_trainings(*training_distances(clouds_a, clouds_b)))
    """
    for name, clouds in (("clouds_a", clouds_a), ("clouds_b", clouds_b)):
        _checked(clouds, name, 1)
    both = {f"{mark} {name}": cloud for mark, clouds in (("a", clouds_a), ("b", clouds_b))
            for name, cloud in clouds.items()}  # fmt: skip
    joint = layer_distances(both, None, measure, **options)
    names = tuple(name[2:] for name in joint.layers_a)
    titles = tuple(cloud_title(cloud, name) for name, cloud in zip(names, both.values(), strict=True))
    joint = replace(joint, layers_a=names, layers_b=names, titles_a=titles, titles_b=titles)
    first, second = slice(0, len(clouds_a)), slice(len(clouds_a), len(both))
    return joint.part(first, first), joint.part(second, second), joint.part(first, second)


def _checked(clouds: Mapping[str, Any], name: str, least: int) -> dict[str, np.ndarray]:
    if not isinstance(clouds, Mapping) or not clouds:
        raise LisError(f"{name} is {type(clouds).__name__}; a dict of point clouds by layer was expected.")
    return {str(layer): as_points(cloud, f"layer {layer!r}", least) for layer, cloud in clouds.items()}


def _same_rows(clouds: list[Any]) -> bool:
    """Whether row i of every cloud is of the same image, as far as it can be told."""
    images = [getattr(cloud, "images", None) for cloud in clouds]
    if len({len(getattr(cloud, "points", cloud)) for cloud in clouds}) > 1:
        return False
    known = [np.asarray(rows) for rows in images if rows is not None]
    return all(np.array_equal(known[0], rows) for rows in known[1:])


@dataclass(frozen=True)
class _Draws:
    """Which rows each draw takes: a part of one permutation where that is long enough."""

    points: int
    same_rows: bool
    smallest: int
    seed: int

    def disjoint(self, repeats: int) -> bool:
        return repeats * min(self.points, self.smallest) <= self.smallest

    def rows(self, draw: int, count: int) -> np.ndarray:
        # The same numbers for all clouds of as many points: the same images.
        order = np.random.default_rng([self.seed, 11]).permutation(count)
        size = min(self.points, count)
        if (draw + 1) * size <= count:
            return np.sort(order[draw * size : (draw + 1) * size])
        return np.sort(np.random.default_rng([self.seed, 12, draw]).choice(count, size, replace=False))


def _similarities(drawn: list[list[np.ndarray]], measure: str) -> np.ndarray:
    """Return 1 minus the similarity of every pair of clouds [A, B]."""
    one, two = drawn[0], drawn[-1]
    values = np.zeros((len(one), len(two)))
    ranks = [[distance_ranks(x) for x in group] for group in drawn] if measure == "rsa" else []
    for i, j in np.ndindex(*values.shape):
        if len(drawn) == 1 and j < i:
            values[i, j] = values[j, i]
        elif measure == "cka":
            values[i, j] = 1 - linear_cka(one[i], two[j])
        else:
            values[i, j] = 1 - rank_correlation(ranks[0][i], ranks[-1][j])
    return values


def _of_diagrams(
    made: list[list[list[Diagrams]]], dim: int, directions: int, essential: Essential
) -> dict[str, np.ndarray]:
    """Distances in activation units, sizes, and distances of a layer to itself on other images."""
    options: dict[str, Any] = {"directions": directions, "essential": essential}
    raw = []
    for groups in made:
        plain = [[d.rescaled(False) for d in group] for group in groups]
        # A number that bars end at is in median distances, and can't be one for all layers here.
        rule = essential if isinstance(essential, str) else "drop"
        other = plain[1] if len(plain) > 1 else None
        raw.append(diagram_distances(plain[0], other, dim, directions=directions, essential=rule))
    fields = {"raw": np.stack(raw)}
    for name, place in (("a", 0), ("b", -1)):
        layers = range(len(made[0][place]))
        fields[f"sizes_{name}"] = np.array([[len(t[place][i].bars(dim)) for i in layers] for t in made])
        fields[f"floor_{name}"] = np.array(
            [_mean(sliced_wasserstein(p, q, dim, **options) for p, q in _pairs([t[place][i] for t in made]))
             for i in layers]
        )  # fmt: skip
    return fields


def _pairs(items: list[Diagrams]) -> Iterator[tuple[Diagrams, Diagrams]]:
    return ((items[i], items[j]) for i in range(len(items)) for j in range(i))


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
