"""Figures of penultimate units: distributions, class-by-unit maps, real against generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import LisError
from .pixel_sheet import FAINT, GOOD, INK, PALETTE, figure_class
from .plots import quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["activation_histograms", "class_unit_map", "mean_scatter"]


def activation_histograms(sets: Mapping[str, Tensor], units: Sequence[int], bins: int = 30) -> Figure:
    """Draw the distribution of some units over one or more sets of images, a small plot for each unit.

    Parameters
    ----------
    sets : name -> activations [N, R].
    units : which ones.
    bins : shared by the sets.

    Raises
    ------
    LisError : no set, no unit, a unit that does not exist.

    Examples
    --------
    >>> activation_histograms({"real": features.r, "generated": pairs.r}, units=[3, 17])
    """
    units = [int(unit) for unit in units]
    widths = {name: r.shape[-1] for name, r in sets.items()}
    if not sets or not units or len(set(widths.values())) != 1:
        raise LisError(
            f"the sets have widths {widths} for units {units}; one width and one unit at least are needed."
        )
    if not 0 <= min(units) <= max(units) < min(widths.values()):
        raise LisError(f"units {units} were asked for; there are 0 to {min(widths.values()) - 1}.")
    columns = min(4, len(units))
    rows = -(-len(units) // columns)
    figure = figure_class()(
        figsize=(2.5 * columns, 1.8 * rows + 0.3), dpi=100, facecolor="white", layout="constrained"
    )
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[len(units) :]:
        axes.set_visible(False)
    for axes, unit in zip(grid, units, strict=False):
        values = {name: r[:, unit].detach().cpu().float() for name, r in sets.items()}
        low = min(float(v.min()) for v in values.values())
        high = max(float(v.max()) for v in values.values())
        edges = torch.linspace(low, high if high > low else low + 1, bins + 1).tolist()
        for (name, v), colour in zip(values.items(), PALETTE, strict=False):
            shares = [1 / len(v)] * len(v)
            axes.hist(
                v.tolist(), edges, weights=shares, histtype="stepfilled", alpha=0.5, color=colour, label=name
            )
        axes.set_title(f"unit {unit}", fontsize=8, color=INK)
        axes.set_yticks([])
        quiet(axes)
    if len(sets) > 1:
        grid[0].legend(frameon=False, fontsize=7)
    figure.supxlabel("activation", fontsize=8)
    figure.supylabel("share of images", fontsize=8)
    return figure


def class_unit_map(
    values: Tensor, classes: Sequence[str], label: str, owners: Tensor | None = None, most: int = 40
) -> Figure:
    """Draw values of every class and unit [K, R] as a map; units stand by the class where they are highest.

    Classes without values (NaN, such as the means of classes without images) are left out. Of more than `most`
    classes those are drawn in which most units are highest.

    Parameters
    ----------
    values : [K, R], such as class means or head weights; colours diverge from white if some are negative.
    label : what the colours mean.
    owners : [K, R], other values that say with which class a unit stands and which classes are drawn; default:
        `values`. Give the same to two maps to compare them.
    most : number of classes.

    Raises
    ------
    LisError : values or owners that do not fit the classes, infinite ones, or no class that has any.

    Examples
    --------
    >>> class_unit_map(class_means(r, labels, 10), classes, "mean activation")
    """
    values = values.detach().cpu().float()
    ranks = values if owners is None else owners.detach().cpu().float()
    for name, matrix in (("values", values), ("owners", ranks)):
        if matrix.ndim != 2 or len(matrix) != len(classes) or matrix.shape != values.shape:
            wanted = f"[{len(classes)}, {values.shape[-1] if matrix is ranks else 'R'}]"
            raise LisError(f"{name} has shape {list(matrix.shape)}; {wanted} was expected.")
    shown = (~(values.isnan() | ranks.isnan()).any(1)).nonzero()[:, 0]  # classes
    if len(shown) == 0 or most < 1 or bool((values[shown].isinf() | ranks[shown].isinf()).any()):
        raise LisError(
            f"{len(shown)} of {len(classes)} classes have values; finite ones of some were expected."
        )
    if len(shown) > most:
        units = ranks[shown].argmax(0).bincount(minlength=len(shown))
        shown = shown[units.argsort(descending=True, stable=True)[:most].sort().values]
    values, ranks = values[shown], ranks[shown]
    owners = ranks.argmax(0)  # [R]
    highest = values.gather(0, owners[None])[0]  # [R]
    by_value = highest.argsort(descending=True, stable=True)
    order = by_value[owners[by_value].argsort(stable=True)]  # by class, and within it the highest first
    limit = float(values.abs().quantile(0.99)) or 1.0
    signed = bool((values < 0).any())
    figure = figure_class()(
        figsize=(9.5, 0.9 + 0.24 * len(shown)), dpi=100, facecolor="white", layout="constrained"
    )
    axes = figure.add_subplot()
    image = axes.imshow(
        values[:, order].numpy(),
        aspect="auto",
        interpolation="nearest",
        cmap="PuOr_r" if signed else "cividis",
        vmin=-limit if signed else 0,
        vmax=limit,
    )
    axes.set_yticks(range(len(shown)), [classes[k] for k in shown.tolist()], fontsize=8, parse_math=False)
    axes.set_xticks([])
    some = "" if len(shown) == len(classes) else f"; {len(shown)} of {len(classes)} classes"
    axes.set_xlabel(f"{values.shape[1]} units, grouped by class{some}", fontsize=8)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def mean_scatter(real: Tensor, generated: Tensor, label: str = "mean activation") -> Figure:
    """Draw one dot a unit: its value over real images against that over generated ones; equal ones on the line.

    Parameters
    ----------
    real, generated : [R] or [K, R], the same shape. Where one is NaN (a class without images), no dot is drawn.

    Raises
    ------
    LisError : different shapes, or nothing to draw.

    Examples
    --------
    >>> mean_scatter(class_means(real_r, real_labels, 10), class_means(pairs.r, pairs.labels, 10))
    """
    if real.shape != generated.shape or real.numel() == 0:
        raise LisError(
            f"real has shape {list(real.shape)}, generated {list(generated.shape)}; the same was expected."
        )
    real, generated = real.detach().cpu().float(), generated.detach().cpu().float()
    both = real.isfinite() & generated.isfinite()
    if not bool(both.any()):
        raise LisError("no value is finite in both real and generated: have they no class in common?")
    figure = figure_class()(figsize=(4, 4), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    x, y = real[both].numpy(), generated[both].numpy()
    bottom, top = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axes.plot([bottom, top], [bottom, top], color=FAINT, linewidth=0.8)
    axes.plot(x, y, ".", color=GOOD, markersize=3, alpha=0.5)
    axes.set_xlabel(f"{label}, real photographs", fontsize=8)
    axes.set_ylabel(f"{label}, generated", fontsize=8)
    axes.set_aspect("equal")
    quiet(axes)
    return figure
