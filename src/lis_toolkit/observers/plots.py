"""Figures of observers: scores by depth, weights as heat maps, units that denote, how few components suffice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import cut, whole_number
from ..pixel_sheet import BAD, FAINT, GOOD, PALETTE, figure_class
from .denoting import DenotingUnits
from .result import Observers
from .sparse import SparseObserver
from .state import ALL_LAYERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["denoting_figure", "score_figure", "sparse_figure", "weight_figure"]

MOST = 9  # attributes of a figure
LINES = {"l1 path": (GOOD, "o"), "greedy": (PALETTE[2], "s"), "random": (BAD, "^")}


def score_figure(observers: Observers, attributes: Sequence[str] | None = None) -> Figure:
    """Draw held-out scores layer by layer, a panel an attribute: observer, shuffled labels, and baseline.

    Parameters
    ----------
    attributes : at most nine are drawn; None: the first nine.

    Raises
    ------
    LisError : an attribute without observers.

    Examples
    --------
    >>> score_figure(observers).savefig("scores.png")
    """
    names = list(observers.attributes[:MOST] if attributes is None else attributes)[:MOST]
    if not names:
        raise LisError("the list of attributes is empty; give names, or None for the first nine.")
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = figure_class()(
        figsize=(1 + 3.3 * columns, 1 + 2.3 * lines), dpi=100, facecolor="white", layout="constrained"
    )
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for place, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        table = observers.table(name)
        _quiet(axes)
        places = np.arange(len(table))
        score, low, high = (table[column].to_numpy(float) for column in ("score", "low", "high"))
        error = np.clip(np.nan_to_num(np.stack([score - low, high - score])), 0, None)
        axes.errorbar(
            places, score, yerr=error, fmt="o-", color=GOOD, markersize=4, linewidth=1.2, label="observer"
        )
        if table["control"].notna().any():
            control = table["control"].to_numpy(float)
            reach = np.stack([control - table["control_low"], table["control_high"] - control])
            axes.errorbar(places, control, yerr=np.clip(np.nan_to_num(reach), 0, None), fmt="s--", color=BAD,
                          markersize=3, linewidth=0.9, label="shuffled labels")  # fmt: skip
        axes.plot(places, table["baseline"], ":", color=FAINT, linewidth=1.2, label="baseline")
        axes.set_xticks(
            places, [_short(layer) for layer in table["layer"]], fontsize=7, rotation=60, parse_math=False
        )
        accuracy = table["measure"].iloc[0] == "accuracy"
        axes.set_ylabel("held-out accuracy" if accuracy else "held-out R²", fontsize=8)
        bottom = 0.0 if accuracy else min(-0.1, float(np.nanmin([*low, *table["control_low"], 0.0])))
        axes.set_ylim(max(bottom, -1.0), 1.03)
        axes.set_title(cut(name, 34), fontsize=9, loc="left", parse_math=False)
        if place == 0:
            axes.legend(frameon=False, fontsize=7, loc="best")
    return figure


def weight_figure(
    observers: Observers, attribute: str, layers: Sequence[str] | None = None, most: int = 256
) -> Figure:
    """Draw observers' weights as heat maps, layer by layer: a row a category, a column a component.

    Components stand in the order of the category that they argue for most, the strongest first; numbers at the axis
    count them. Weights are per standard deviation of the component, of categories less their mean over categories, in
    each panel as shares of its largest.

    Parameters
    ----------
    attribute : whose observers.
    layers : at most nine; None: the last nine that were observed. "all layers" is drawn layer by layer, to one scale.
    most : components a panel; of more the strongest are drawn.

    Raises
    ------
    LisError : an attribute or a layer that was not observed.

    Examples
    --------
    >>> weight_figure(observers, "class").savefig("weights.png")
    """
    most = whole_number(most, "most", 1)
    chosen = list(observers.layers if layers is None else layers)
    blocks: list[tuple[str, np.ndarray, float]] = []
    for layer in chosen:
        model = observers.observer(layer, attribute)
        weights = model.weights - (model.weights.mean(1, keepdims=True) if model.kind == "category" else 0.0)
        if layer != ALL_LAYERS:
            blocks.append((layer, weights, float(np.abs(weights).max())))
            continue
        ends = np.cumsum([0, *observers.columns.values()])
        top = float(np.abs(weights).max())
        blocks += [
            (f"{name} (of all)", weights[a:b], top)
            for name, a, b in zip(observers.columns, ends[:-1], ends[1:], strict=True)
        ]
    blocks = blocks[-MOST:]
    model = observers.observer(chosen[0], attribute)
    values = [cut(value, 16) for value in model.values]
    columns = min(3, len(blocks))
    lines = -(-len(blocks) // columns)
    tall = 0.75 + 0.14 * max(len(values), 3)
    figure = figure_class()(
        figsize=(2 + 3.6 * columns, 0.6 + tall * lines), dpi=100, facecolor="white", layout="constrained"
    )
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(blocks) :]:
        axes.set_visible(False)
    image = None
    for place, (axes, (name, weights, top)) in enumerate(zip(panels.flat, blocks, strict=False)):
        strongest = np.sort(np.argsort(-np.abs(weights).max(1), kind="stable")[:most])
        shown = weights[strongest]
        order = (
            np.lexsort((-shown.max(1), shown.argmax(1))) if shown.shape[1] > 1 else np.argsort(-shown[:, 0])
        )
        image = axes.imshow(
            shown[order].T / (top or 1.0),
            cmap="RdBu_r",
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
        )
        some = "" if len(weights) <= most else f", {most} strongest of {len(weights)}"
        axes.set_title(cut(name, 30) + some, fontsize=8, loc="left", parse_math=False)
        axes.set_yticks(range(len(values)), values if place % columns == 0 else [""] * len(values), fontsize=7,
                        parse_math=False)  # fmt: skip
        axes.tick_params(labelsize=7, length=2)
        axes.set_xlabel("components, in order", fontsize=7)
    bar = figure.colorbar(image, ax=panels, shrink=0.6)
    bar.set_label(f"weight for {cut(attribute, 20)},\nas share of the panel's largest", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def denoting_figure(found: DenotingUnits) -> Figure:
    """Draw how much single units denote, by depth: share of units, best F1 against chance, and label proportion.

    Examples
    --------
    >>> denoting_figure(found).savefig("denoting.png")
    """
    table = found.by_layer()
    places = np.arange(len(table))
    names = [_short(layer) for layer in table["layer"]]
    figure = figure_class()(figsize=(10.5, 3.3), dpi=100, facecolor="white", layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(places, table["denoting"], "o-", color=GOOD, markersize=4, label="units that denote a property")
    left.plot(
        places,
        table["properties"],
        "s--",
        color=PALETTE[2],
        markersize=4,
        label="properties that a unit denotes",
    )
    left.set_title(
        f"Denoting: held-out F1 ≥ {found.settings.get('least', 0.8):g}, above chance", fontsize=9, loc="left"
    )
    left.set_ylabel("share", fontsize=8)
    middle.plot(
        places, table["best_f1"], "o-", color=GOOD, markersize=4, label="best unit (chosen in training)"
    )
    middle.plot(
        places, table["chance"], "s--", color=BAD, markersize=4, label="best of all units, shuffled labels"
    )
    middle.set_title("Best single unit, mean over properties", fontsize=9, loc="left")
    middle.set_ylabel("held-out F1", fontsize=8)
    preferred = found.preferred()
    for place, layer in zip(places, table["layer"], strict=True):
        values = preferred.loc[preferred["layer"] == layer, "label_share"].to_numpy(float)
        # Equal shares are frequent: dots side by side, by a rule and not by chance.
        shift = (np.arange(len(values)) % 21 - 10) / 40
        right.scatter(place + shift, values, s=4, color=FAINT, alpha=0.35, linewidths=0)
    for column, colour, mark, said in (
        ("label_share", GOOD, "o-", "label proportion"), ("precision", PALETTE[2], "s--", "precision"),
        ("recall", PALETTE[4], "^--", "recall"),
    ):  # fmt: skip
        right.plot(places, table[column], mark, color=colour, markersize=4, linewidth=1.1, label=said)
    right.set_title("The property that a unit tells best, means", fontsize=9, loc="left")
    right.set_ylabel("share of images", fontsize=8)
    for axes in (left, middle, right):
        _quiet(axes)
        axes.set_xticks(places, names, fontsize=7, rotation=60, parse_math=False)
        axes.set_ylim(-0.02, 1.03)
        axes.legend(frameon=False, fontsize=7, loc="best")
    return figure


def sparse_figure(sparse: SparseObserver) -> Figure:
    """Draw the held-out score against the number of components, by three ways of choosing them.

    Examples
    --------
    >>> sparse_figure(train_sparse_observer(state, attributes, "class", "penultimate")).savefig("sparse.png")
    """
    figure = figure_class()(figsize=(5.8, 3.8), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _quiet(axes)
    for way, (colour, mark) in LINES.items():
        rows = sparse.curve[sparse.curve["way"] == way]
        axes.plot(
            rows["components"],
            rows["score"],
            f"{mark}-",
            color=colour,
            markersize=4,
            linewidth=1.2,
            label=way,
        )
        axes.fill_between(
            rows["components"], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0
        )
    axes.axhline(sparse.full, color=FAINT, linewidth=0.9)
    axes.axhline(sparse.keep * sparse.full, color=FAINT, linewidth=0.9, linestyle=":")
    axes.axhline(sparse.baseline, color=FAINT, linewidth=0.9, linestyle="--")
    axes.set_xscale("log", base=2)
    ticks = sorted(set(sparse.curve["components"]))
    ticks = ticks if len(ticks) < 12 else [tick for tick in ticks if tick & (tick - 1) == 0]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel(f"components of {cut(sparse.layer, 30)}", fontsize=8, parse_math=False)
    axes.set_ylabel("held-out accuracy" if sparse.measure == "accuracy" else "held-out R²", fontsize=8)
    axes.set_title(
        f"{cut(sparse.attribute, 24)}; lines: all components, {sparse.keep:.0%} of their score, none",
        fontsize=9, loc="left", parse_math=False,
    )  # fmt: skip
    axes.legend(edgecolor="none", framealpha=1, fontsize=8, loc="center right")  # over no line
    return figure


def _short(layer: str) -> str:
    return cut(layer.split(" · ")[0], 16)


def _quiet(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=3)
