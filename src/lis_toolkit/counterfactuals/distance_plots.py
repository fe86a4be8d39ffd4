"""Figures of class distances: a heat map with numbers and intervals, and classes as points in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import BAD, FAINT, GOOD, INK, figure_class
from ..plots import quiet
from .class_distances import UNITS, ClassDistances
from .scaling import place_points

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

__all__ = ["distance_embedding", "distance_map"]

WITH_INTERVALS, WITH_NUMBERS = 14, 30  # the most classes whose cells carry these
NAME = 14  # letters of a class's name


def distance_map(distances: ClassDistances) -> Figure:
    """Draw how far each class is from each other as a heat map, rows where the path starts, columns the target.

    A cell has the mean over starts and below it the interval of that mean (up to 14 classes; up to 30 only the mean;
    above that only the colour). Grey cells have no counterfactual that crosses the boundary.

    Raises
    ------
    LisError
        When no class pair has a distance.

    Examples
    --------
    >>> distance_map(class_distances(result, boundary)).savefig("distances.png")
    """
    import matplotlib
    import numpy as np
    from matplotlib.colors import Normalize, TwoSlopeNorm

    mean, classes = distances.mean, distances.classes
    known = np.isfinite(mean)
    if not known.any():
        raise LisError(f"no class pair has a {distances.of}: there is nothing to draw.")
    k = len(classes)
    cell = 0.66 if k <= WITH_INTERVALS else 0.40 if k <= WITH_NUMBERS else max(0.1, 9 / k)  # inches
    side = max(k * cell, 2.6)
    figure = figure_class()(
        figsize=(side + 2.3, side + 1.9), dpi=100, facecolor="white", layout="constrained"
    )
    axes: Any = figure.add_subplot()
    low, high = float(mean[known].min()), float(mean[known].max())
    # Values on both sides of 0 (bends, margins) diverge from it; distances go from dark to light.
    signed = low < 0
    reach = max(-low, high) or 1.0
    norm = TwoSlopeNorm(0, -reach, reach) if signed else Normalize(0.0, high if high > 0 else 1.0)
    colours = matplotlib.colormaps["PuOr" if signed else "cividis"].with_extremes(bad="#e4e4e4")
    image = axes.imshow(np.ma.masked_invalid(mean), cmap=colours, norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(UNITS.get(distances.of, distances.of), fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    if k <= 60:
        names = [cut(name, NAME) for name in classes]
        size = 8 if k <= WITH_NUMBERS else 6
        axes.set_xticks(
            range(k), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size, parse_math=False
        )
        axes.set_yticks(range(k), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    numbered = "" if k <= 60 else " (numbers of distances.classes)"
    axes.set_xlabel(f"target{numbered}", fontsize=9)
    axes.set_ylabel(f"from: class of the cycled start{numbered}", fontsize=9)
    if k <= WITH_NUMBERS:
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1)
        axes.tick_params(which="minor", length=0)
        for i, j in zip(*np.nonzero(known), strict=True):
            _write(axes, distances, int(i), int(j), colours(norm(mean[i, j])), k <= WITH_INTERVALS)
        for i, j in zip(*np.nonzero(~known), strict=True):
            axes.text(j, i, "–" if i == j else "none", ha="center", va="center", fontsize=7, color=FAINT)
    figure.supxlabel(_said(distances), fontsize=8, color=FAINT)
    return figure


def _write(axes: Any, distances: ClassDistances, i: int, j: int, colour: Any, with_interval: bool) -> None:
    luminance = sum(share * _linear(v) for share, v in zip((0.2126, 0.7152, 0.0722), colour[:3], strict=True))
    ink = "white" if luminance < 0.18 else "black"  # where both have about the same contrast
    text = _short(distances.mean[i, j])
    if not with_interval:
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color=ink)
        return
    low, high = distances.low[i, j], distances.high[i, j]
    axes.text(j, i - 0.13, text, ha="center", va="center", fontsize=9, color=ink)
    below = f"n = {distances.counts[i, j]}" if low != low else f"{_short(low)}–{_short(high)}"
    if low < 0 or high < 0:
        digits = 1 if max(-low, high) < 9.95 else 0  # signs and "to" leave little room
        below = f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")
    axes.text(j, i + 0.24, below, ha="center", va="center", fontsize=6.5, color=ink)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _short(value: float) -> str:
    size = abs(float(value))
    text = f"{value:.0f}" if size >= 99.5 else f"{value:.1f}" if size >= 0.995 else f"{value:.2f}"
    return text.replace("-", "−")


def _said(distances: ClassDistances) -> str:
    """Say what the numbers are: of how many rows, and which intervals."""
    import numpy as np

    counts = distances.counts[np.isfinite(distances.mean)]
    each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    said = f"means of n = {counts.sum()} counterfactuals, {each} a class pair"
    if len(distances.classes) <= WITH_INTERVALS:
        said += f"\nsmall: {distances.confidence:.0%} bootstrap interval of the mean, over starts"
    if left := int(distances.left_out.sum()):
        said += f"\n{left} that do not cross the boundary are left out"
    return said


def distance_embedding(distances: ClassDistances) -> Figure:
    """Draw classes as points in a plane, so that they lie as far apart as the mean of both ways says.

    A line joins each class with its nearest one and has their distance as measured (up to 14 classes). How well a plane
    can show the distances is said as Kruskal's stress: 0 is exact, above 0.2 is poor.

    Raises
    ------
    LisError
        For fewer than 2 classes, values below 0, and classes without any chain of distances between them.

    Examples
    --------
    >>> distance_embedding(class_distances(result, boundary)).savefig("classes.png")
    """
    import numpy as np

    matrix = distances.symmetrised()
    points, stress = place_points(matrix)
    figure = figure_class()(figsize=(6.4, 5.6), dpi=100, facecolor="white", layout="constrained")
    axes: Any = figure.add_subplot()
    quiet(axes)
    many = len(points) > WITH_NUMBERS
    for i, j in _nearest(matrix):
        # Orange where the plane shows the two more than a quarter too near or too far.
        shown = float(np.linalg.norm(points[i] - points[j]))
        fits = abs(shown - matrix[i, j]) <= 0.25 * matrix[i, j]
        style = {"color": FAINT, "linestyle": "-"} if fits else {"color": BAD, "linestyle": "--"}
        axes.plot(*points[[i, j]].T, linewidth=1, zorder=1, **style)
    axes.scatter(*points.T, s=14 if many else 34, color=GOOD, linewidths=0, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.16)
    unit = UNITS.get(distances.of, distances.of)
    axes.set_xlabel(f"{unit} (mean of both ways), first axis", fontsize=8)
    axes.set_ylabel("second axis, same scale", fontsize=8)
    word = "good" if stress < 0.1 else "fair" if stress < 0.2 else "poor: trust the numbers, not the plane"
    axes.set_title(f"Kruskal's stress {stress:.2f} ({word})", fontsize=9, loc="left")
    numbers = ", with the distance measured" if len(points) <= WITH_INTERVALS else ""
    figure.supxlabel(
        "lines: each class and its nearest one"
        f"{numbers}; dashed orange: the plane is off by more than a quarter\n"
        + _said(distances).splitlines()[0],
        fontsize=7.5,
        color=FAINT,
    )
    _write_names(figure, axes, points, matrix, [cut(name, NAME) for name in distances.classes], many)
    return figure


def _nearest(matrix: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i < j) in which one is the nearest class of the other."""
    import numpy as np

    others = np.where(np.eye(len(matrix), dtype=bool) | ~np.isfinite(matrix), np.inf, matrix)
    found = {(i, int(row.argmin())) for i, row in enumerate(others) if np.isfinite(row).any()}
    return sorted({(min(pair), max(pair)) for pair in found})


def _write_names(figure: Any, axes: Any, points: Any, matrix: Any, names: list[str], many: bool) -> None:
    """Write names beside the points and distances on the lines where they cover nothing."""
    import numpy as np
    from matplotlib.patheffects import withStroke

    from ..rankings.label_places import free_places

    figure.draw_without_rendering()  # the layout is settled
    frame = axes.get_window_extent()
    dots = axes.transData.transform(points)  # [K, 2] pixels
    size = 7 if many else 9
    joined = _nearest(matrix)
    # Names are kept off the lines, the more so where the numbers stand.
    along = np.linspace(0, 1, 15)[:, None]
    taken = np.concatenate([dots, *[dots[i] + along * (dots[j] - dots[i]) for i, j in joined]])
    sizes = [(0.78 * size * len(name) + 4, 1.5 * size) for name in names]
    places = free_places(
        taken, range(len(names)), sizes, (frame.x0, frame.y0, frame.x1, frame.y1), radius=6.0
    )
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for (i, place), name in zip(enumerate(places), names, strict=True):
        if place is not None:
            offset = 72 / figure.dpi * (np.asarray(place) - dots[i])
            axes.annotate(
                name, points[i], offset, textcoords="offset points", fontsize=size, ha="center", va="center",
                color=INK, parse_math=False, path_effects=halo, zorder=5,
            ).set_in_layout(False)  # fmt: skip
    for i, j in joined if len(names) <= WITH_INTERVALS else ():
        axes.annotate(
            _short(matrix[i, j]), (points[i] + points[j]) / 2, fontsize=7, ha="center", va="center", color=FAINT,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}, zorder=2,
        ).set_in_layout(False)  # fmt: skip
