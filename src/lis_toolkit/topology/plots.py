"""Figures of topology: diagrams layer by layer, distances of layers, two trainings, shapes of r and w."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import BAD, FAINT, GOOD, INK, PALETTE, figure_class
from ..plots import quiet
from .agreement import Agreement
from .diagrams import Diagrams
from .layer_distances import LayerDistances
from .link_shape import LinkShapes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

__all__ = ["agreement_figure", "diagram_figure", "distance_figure", "link_shape_figure"]

COLUMNS = 5  # panels a row
NUMBERED = 10  # the most layers whose cells carry numbers
MARKS = ((GOOD, "o", "components (H0)"), (BAD, "^", "loops (H1)"), (PALETTE[2], "s", "voids (H2)"))


def diagram_figure(diagrams: Mapping[str, Diagrams], titles: Mapping[str, str] | None = None) -> Figure:
    """Draw persistence diagrams, one panel each, all on one scale: when holes appear, and when they are filled.

    The farther above the diagonal, the longer a hole lasts. Components all are born at 0; the last one, which never
    ends, is drawn at the upper edge.

    Parameters
    ----------
    diagrams
        By name; all in median distances, or all in units of the clouds.
    titles
        Texts to show for the names.

    Raises
    ------
    LisError
        For none, or some in median distances and some not.

    Examples
    --------
    >>> diagram_figure({name: persistence_diagrams(cloud, normalise=True) for name, cloud in clouds.items()})
    """
    if not diagrams:
        raise LisError("there are no diagrams to draw.")
    if len({one.normalised for one in diagrams.values()}) > 1:
        raise LisError("some diagrams are in median distances and others not: use rescaled() on all of them.")
    columns = min(COLUMNS, len(diagrams))
    rows = -(-len(diagrams) // columns)
    figure = figure_class()(
        figsize=(2.15 * columns + 0.7, 2.35 * rows + 0.75), dpi=100, facecolor="white", layout="constrained"
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    top = max(
        (float(bars.max()) for one in diagrams.values() for bars in one.finite if len(bars)), default=1.0
    )
    top *= 1.12
    highest = max(one.max_dim for one in diagrams.values())
    for axes, (name, one) in zip(grid.flat, diagrams.items(), strict=False):
        quiet(axes)
        axes.plot([0, top], [0, top], color=FAINT, linewidth=0.7)
        for dim, bars in enumerate(one.finite):
            colour, mark, _ = MARKS[dim]
            axes.scatter(*bars.T, s=11, marker=mark, color=colour, alpha=0.45, linewidths=0, clip_on=False)
            births = one.essential[dim]
            axes.scatter(births, [top] * len(births), s=26, marker="v", color=colour, clip_on=False, zorder=4)
        axes.set_title(cut((titles or {}).get(name, name), 24), fontsize=8, parse_math=False)
        sizes = ", ".join(f"{len(bars)} H{dim}" for dim, bars in enumerate(one.finite))
        axes.text(0.97, 0.03, sizes, transform=axes.transAxes, ha="right", fontsize=7, color=FAINT)
        axes.set(xlim=(-0.03 * top, top), ylim=(-0.03 * top, top), aspect="equal")
    for place, axes in enumerate(grid.flat[len(diagrams) :], len(diagrams)):
        axes.set_axis_off()
        grid.flat[place - columns].tick_params(labelbottom=True)  # it has no panel below
    unit = "distance, in median distances" if next(iter(diagrams.values())).normalised else "distance"
    figure.supxlabel(f"birth ({unit} between points)", fontsize=9)
    figure.supylabel(f"death ({unit})", fontsize=9)
    marks = [_mark(*MARKS[dim]) for dim in range(highest + 1)]
    if any(len(births) for one in diagrams.values() for births in one.essential):
        marks.append(_mark(FAINT, "v", "never ends"))
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), frameon=False, fontsize=8)
    return figure


def _mark(colour: str, mark: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=mark, linestyle="", markersize=5, label=label)


def distance_figure(*distances: LayerDistances, names: Sequence[str] | None = None) -> Figure:
    """Draw distances between layers as heat maps beside each other, dark where layers are alike.

    Parameters
    ----------
    distances
        Of any measures; each panel has its own scale.
    names
        Titles of the panels; default: what is measured.

    Raises
    ------
    LisError
        For none, as many names as there are no panels, or distances that are no numbers.

    Examples
    --------
    >>> distance_figure(layer_distances(clouds), layer_distances(clouds, measure="cka"))
    """
    import numpy as np

    if not distances or (names is not None and len(names) != len(distances)):
        raise LisError(
            f"{len(distances)} distances and {len(names or ())} names were given; as many were expected."
        )
    most = max(max(one.values.shape[1:]) for one in distances)
    side = min(max(1.3 + 0.34 * most, 2.6), 5.6)
    figure = figure_class()(
        figsize=(len(distances) * (side + 0.05) + 1.3, side + 1.35),
        dpi=100,
        facecolor="white",
        layout="constrained",
    )
    for k, one in enumerate(distances):
        axes: Any = figure.add_subplot(1, len(distances), k + 1)
        mean = one.mean
        known = np.isfinite(mean)
        if not known.any():
            raise LisError(f"no pair of layers has a distance ({one.label}): none of them varies.")
        image = axes.imshow(np.ma.masked_invalid(mean), cmap="cividis", vmin=0, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, shrink=0.78, aspect=26, pad=0.02, location="bottom")
        bar.set_label(textwrap.fill(one.label, 40), fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)
        rows, columns = mean.shape
        size = 7 if most <= 20 else max(3.0, 140 / most)
        short = [_short(title) for title in one.titles_b]
        axes.set_xticks(range(columns), short, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
        if k == 0 or one.titles_a != distances[0].titles_a or rows != columns:
            axes.set_yticks(
                range(rows), [cut(title, 24) for title in one.titles_a], fontsize=size, parse_math=False
            )
        else:
            axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("layer" if one.within else "layer of the second model", fontsize=8)
        if k == 0:
            axes.set_ylabel("layer" if one.within else "layer of the first model", fontsize=8)
        title = (
            names[k]
            if names is not None
            else f"{len(one.values)} draws of {one.settings.get('points', '?')} points"
        )
        axes.set_title(title, fontsize=9, parse_math=False)
        if most <= NUMBERED:
            top = float(np.nanmax(mean)) or 1.0
            for i, j in zip(*np.nonzero(known), strict=True):
                ink = "white" if mean[i, j] < 0.55 * top else "black"
                value = float(mean[i, j]) if abs(mean[i, j]) > 0.005 else 0.0
                text = f"{value:.1f}" if top >= 2 else f"{value:.2f}".replace("0.", ".", 1)
                axes.text(j, i, text.replace("-", "−"), ha="center", va="center", fontsize=6.5, color=ink)
    return figure


def _short(title: str) -> str:
    """Return a layer's title without the sizes of its map."""
    return cut(title.split(" · ")[0], 14)


def agreement_figure(
    within_a: LayerDistances,
    within_b: LayerDistances,
    agreement: Agreement | None = None,
    names: Sequence[str] = ("first model", "second model"),
) -> Figure:
    """Draw the distance of every pair of layers in one training against that in another.

    Colours tell how many places apart the layers are: where only they order the dots, the architecture explains what
    the trainings share. Bars are one standard deviation over draws.

    Raises
    ------
    LisError
        For other numbers of layers, or more than one distance on a layer.

    Examples
    --------
    >>> within_a, within_b, between = training_distances(clouds_a, clouds_b)
    >>> agreement_figure(within_a, within_b, compare_trainings(within_a, within_b, between))
    """
    import matplotlib
    import numpy as np

    if within_a.mean.shape != within_b.mean.shape:
        raise LisError(
            f"the models have {len(within_a.mean)} and {len(within_b.mean)} layers; as many were expected."
        )
    above = np.triu_indices(len(within_a.mean), 1)
    x, y = within_a.mean[above], within_b.mean[above]
    apart = above[1] - above[0]
    figure = figure_class()(figsize=(5.4, 4.6), dpi=100, facecolor="white", layout="constrained")
    axes: Any = figure.add_subplot()
    quiet(axes)
    sd = [np.nan_to_num(one.sd[above]) for one in (within_a, within_b)]
    axes.errorbar(x, y, xerr=sd[0], yerr=sd[1], fmt="none", ecolor="#c9c9c9", linewidth=0.8, zorder=1)
    colours = matplotlib.colormaps["viridis"]
    dots = axes.scatter(x, y, c=apart, cmap=colours, s=26, linewidths=0.4, edgecolors=INK, zorder=2)
    end = 1.08 * float(np.nanmax(np.concatenate([x + sd[0], y + sd[1]])))
    axes.plot([0, end], [0, end], color=FAINT, linewidth=0.7, linestyle=":")
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    bar = figure.colorbar(dots, ax=axes, shrink=0.8, aspect=26)
    bar.set_label("places between the two layers", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.set_xlabel(f"{within_a.label}\n{names[0]}", fontsize=8, parse_math=False)
    axes.set_ylabel(f"{names[1]}\n{within_b.label}", fontsize=8, parse_math=False)
    if agreement is not None:
        axes.set_title(
            f"Spearman {agreement.correlation:.2f} ({agreement.low:.2f} to {agreement.high:.2f}), "
            f"p = {agreement.p_value:.2g}\nwith depth taken out {agreement.beyond_depth:.2f}, "
            f"p = {agreement.beyond_depth_p:.2g}",
            fontsize=9, loc="left",
        )  # fmt: skip
    return figure


def link_shape_figure(shapes: LinkShapes) -> Figure:
    """Draw how far the clouds of r, w and A r + b are apart in shape, and in which order classes merge in r and w.

    Raises
    ------
    LisError
        For shapes without distances.

    Examples
    --------
    >>> link_shape_figure(compare_link_shapes(pairs, link))
    """
    if not len(shapes.distances):
        raise LisError("there are no distances to draw.")
    trees: list[str] = [name for name in ("r", "w") if name in shapes.heights]
    figure = figure_class()(
        figsize=(11.0 if trees else 6.6, 4.7), dpi=100, facecolor="white", layout="constrained"
    )
    parts = figure.subfigures(1, 2, width_ratios=(3, 2)) if trees else [figure]
    panels = parts[0].subplots(1, 2, sharey=True)
    colours = {"floor": FAINT, "question": GOOD, "null": BAD}
    for axes, dim, word in zip(panels, (1, 0), ("loops (H1)", "components (H0)"), strict=True):
        quiet(axes)
        rows = shapes.distances[shapes.distances["dim"] == dim].to_dict("records")
        for place, row in enumerate(rows):
            colour = colours[row["kind"]]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2, alpha=0.5)
            axes.plot([row["mean_distance"]], [place], "o", color=colour, markersize=5.5)
        axes.set_yticks(range(len(rows)), [f"{row['one']} – {row['other']}" for row in rows], fontsize=8,
                        parse_math=False)  # fmt: skip
        axes.set_xlim(left=0)
        axes.grid(axis="y", color="#ececec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"distance of {word}", fontsize=8)
    panels[0].invert_yaxis()
    said = {"floor": "other pairs of one cloud", "question": "r, w, linked", "null": "cloud with less shape"}
    marks = [_mark(colours[kind], "o", text) for kind, text in said.items()]
    parts[0].legend(handles=marks, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    if trees:
        _draw_trees(parts[1], shapes, trees)
    return figure


def _draw_trees(part: Any, shapes: LinkShapes, trees: list[str]) -> None:
    from scipy.cluster.hierarchy import dendrogram, single
    from scipy.spatial.distance import squareform

    names = [cut(name, 14) for name in shapes.classes]
    found = part.subplots(len(trees), 1, squeeze=False)[:, 0]
    for axes, name in zip(found, trees, strict=True):
        quiet(axes)
        tree: np.ndarray = single(squareform(shapes.heights[name], checks=False))
        dendrogram(tree, labels=names, ax=axes, color_threshold=0, above_threshold_color=GOOD, leaf_rotation=60,
                   leaf_font_size=7)  # fmt: skip
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_ylabel("distance of\nclass means\n(of the median)", fontsize=7.5)
        axes.set_title(f"classes merge in {name}", fontsize=9, loc="left")
