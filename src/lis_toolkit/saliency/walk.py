"""Where in the network a unit's meaning arises: local explanations along the unit's walk, beside walks of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..activations import Layer, stream_activations
from ..classifiers import Classifier
from ..counterfactuals.intervals import mean_over_starts
from ..errors import LisError
from ..threads import one_thread
from ..units import UnitWalk
from .clustering import Method, checked_method
from .comparison import map_agreement
from .explain import explain_layer
from .explanation import Explanation, LayerExplanation, saliency_of
from .gradients import LayerGradients, ask, checked_images, layer_gradients, seen_part, spatial_layers
from .walk_controls import ends_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEASURES", "WalkExplanation", "alignment", "changed_pixels", "explain_walk"]

MEASURES = ("alignment", "change_sd", "lift", "map_change")
HALF = 0.5  # of a picture's change lies on the pixels that count as changed


@dataclass(frozen=True, eq=False)
class WalkExplanation:
    """A unit's explanations along its walk, layer by layer, and the same measures for walks that are not about it.

    Attributes
    ----------
    unit : index of the penultimate unit.
    values : the unit's lowest, middle and highest value along the walk.
    explanations : of the unit's activation, for each sample at these three.
    changed : bool [N, H, W], the fewest pixels that carry half of the change between the two ends.
    controls : names of the walks that it is compared with.
    table : DataFrame, one row a walk, sample and layer: walk, own (whether it is the unit's), sample, layer, title,
        depth, alignment, change_sd, lift, on_changed, map_change (see `explain_walk`), unit_change (of the re-encoded
        unit between the ends), picture_change (root mean square, unit range).

    Examples
    --------
    >>> print(explain_walk(classifier, walk, controls).conclusion())
    """

    unit: int
    values: tuple[float, float, float]
    explanations: tuple[tuple[Explanation, Explanation, Explanation], ...]
    changed: Tensor
    controls: tuple[str, ...]
    table: pd.DataFrame

    def summary(self) -> pd.DataFrame:
        """Give means over the samples with 95 % intervals.

        Returns
        -------
        DataFrame: walk, own, layer, title, depth, measure, value, low, high, n (samples in which it is defined).
        """
        import pandas as pd

        rows = []
        for (walk, own, layer, title, depth), part in self.table.groupby(
            ["walk", "own", "layer", "title", "depth"], sort=False
        ):
            for measure in MEASURES:
                e = mean_over_starts(part[measure].to_numpy(float), part["sample"].to_numpy())
                rows.append((walk, own, layer, title, depth, measure, e.value, e.low, e.high, e.n))
        names = ["walk", "own", "layer", "title", "depth", "measure", "value", "low", "high", "n"]
        return pd.DataFrame(rows, columns=names)

    def against_controls(self) -> pd.DataFrame:
        """By how much each layer's change points to the unit more than in the control walks.

        Compared is the alignment along the unit's walk with the mean size of that along the controls, which have no
        sense of direction, sample by sample.

        Returns
        -------
        DataFrame: layer, title, depth, difference, low, high (95 % interval over samples), n. Empty without controls.
        """
        import pandas as pd

        own = self.table[self.table["own"]]
        others = self.table[~self.table["own"]]
        rows = []
        for (layer, title, depth), part in own.groupby(["layer", "title", "depth"], sort=False):
            there = others[others["layer"] == layer]
            if not len(there):
                continue
            chance = there.assign(size=there["alignment"].abs()).groupby("sample")["size"].mean()
            gap = part.set_index("sample")["alignment"] - chance
            e = mean_over_starts(gap.to_numpy(float), gap.index.to_numpy())
            rows.append((layer, title, depth, e.value, e.low, e.high, e.n))
        return pd.DataFrame(rows, columns=["layer", "title", "depth", "difference", "low", "high", "n"])

    def arises_at(self) -> str | None:
        """Title of the layer from which on, to the last, every layer's change points to the unit more than controls'.

        None where that is not so even in the last layer, where fewer than two samples leave no interval, and without
        controls.
        """
        table = self.against_controls()
        first = None
        for title, low in zip(table["title"][::-1], table["low"][::-1], strict=True):
            if not low > 0:
                break
            first = str(title)
        return first

    def conclusion(self) -> str:
        """Return in a few sentences what the walk shows, and what it does not."""
        own = self.table[self.table["own"]].drop_duplicates("sample")
        change = own["unit_change"].to_numpy(float)
        text = (
            f"Between the ends of the walk unit {self.unit}, set from {self.values[0]:.3g} to {self.values[2]:.3g}, "
            f"changes by {change.mean():+.3g} in the re-encoded pictures (mean of {len(change)}). "
        )
        if not self.controls:
            return text + "Without control walks nothing can be said of where its meaning arises."
        where = self.arises_at()
        others = f"{len(self.controls)} control walk{'s' if len(self.controls) != 1 else ''}"
        if len(change) < 2:
            return (
                text + f"One sample has no interval: against {others} nothing can be said; give more samples."
            )
        if where is None:
            return text + (
                f"In the last layer its change does not point to the unit more than those of {others} do: the walk "
                "does not show where the unit's meaning arises."
            )
        name = where.rpartition(" · ")[0] or where
        return text + (
            f"From {name} on the layers' changes point to the unit more than those of {others} do (95 % intervals, "
            "layer by layer). That is a matter of degree: earlier layers carry the change too, in directions that "
            "other changes share."
        )


def alignment(change: Tensor, gradient: Tensor, sd: Tensor) -> float:
    """Cosine between a layer's change and the gradient of a score, channels in units of their standard deviation.

    1: the change is just what raises the score most; 0: none of it raises the score. NaN where either is zero.

    Parameters
    ----------
    change, gradient : [C, h, w].
    sd : [C]; channels with 0 are left out.

    Examples
    --------
    >>> alignment(torch.ones(2, 1, 1), torch.ones(2, 1, 1), torch.ones(2))
    1.0
    """
    some = sd > 0
    a = (change[some] / sd[some, None, None]).double()
    g = (gradient[some] * sd[some, None, None]).double()
    size = float(a.norm() * g.norm())
    return float((a * g).sum()) / size if size > 0 else math.nan


def changed_pixels(low: Tensor, high: Tensor) -> Tensor:
    """Return the fewest pixels that carry half of the change between two pictures [C, H, W]: bool [H, W].

    Examples
    --------
    >>> changed_pixels(torch.zeros(1, 2, 2), torch.eye(2)[None]).sum()
    tensor(1)
    """
    size = (high - low).abs().mean(0)  # [H, W]
    order = size.flatten().argsort(descending=True, stable=True)
    total = size.flatten()[order].double().cumsum(0)
    if float(total[-1]) == 0:
        return torch.zeros_like(size, dtype=torch.bool)
    count = int((total < HALF * total[-1]).sum()) + 1
    mask = torch.zeros(size.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.reshape(size.shape)


def explain_walk(
    classifier: Classifier,
    walk: UnitWalk,
    controls: Mapping[str, Tensor] | None = None,
    *,
    layers: Sequence[str | Layer] | str | Layer | None = None,
    method: Method = "pca",
    seed: int = 0,
    progress: bool = False,
) -> WalkExplanation:
    """Explain a unit along its walk, layer by layer, to see where in the network its meaning arises.

    At the walk's lowest, middle and highest value the unit's activation is explained as `explain_images` explains a
    class. Between the two ends every layer is measured, along this walk and along control walks, always for this unit:

    - alignment: cosine between the layer's change and the mean of the unit's gradients at both ends, channels in
      standard deviations. How much of what changes in the layer is what the unit listens to. For a random direction it
      is near 0.
    - change_sd: root mean square change of the layer, in standard deviations of each channel over all the
      pictures that are compared.
    - lift: share of the unit's saliency (merged cluster maps at the high end) on the changed pixels, over their share
      of the area; on_changed is the share itself.
    - map_change: one minus the overlap of the merged maps at the two ends.

    Parameters
    ----------
    walk : from `tune_unit`, with two values at least; several samples give intervals.
    controls : name -> pictures [N, 2, C, H, W], as from `control_walks`. Without them nothing is claimed.
    layers : names or Layers with positions; default: the last nine convolutions.
    method, seed : of the clustering.
    progress : show a progress bar.

    Returns
    -------
    WalkExplanation

    Raises
    ------
    LisError : a walk of another classifier's pictures or with one value, controls that don't fit, layers that there are
        not.

    Notes
    -----
    Not in the papers: ours, to join Interpretable Network Visualizations with Linking in Style. What the link leaves
    out of the unit's picture can't be seen in any layer.

    Examples
    --------
    >>> walk = tune_unit(generator, classifier, link, pairs.r[:6], unit=17)
    >>> result = explain_walk(classifier, walk, control_walks(generator, classifier, link, walk))
    >>> print(result.conclusion())
    """
    import pandas as pd

    checked_method(method, seed)
    low, middle, high = ends_of(walk)
    pictures = checked_images(classifier, walk.images[:, [low, middle, high]].flatten(0, 1).clamp(0, 1))
    own = pictures.unflatten(0, (len(walk.images), 3))  # [N, 3, C, H, W]
    others = _checked_controls(controls, own, f"unit {walk.unit}")
    chosen, notes = spatial_layers(classifier, layers)
    ask(classifier, 1, unit=walk.unit)
    compared = [walk.start.clamp(0, 1), *(x[:, [0, -1]].flatten(0, 1) for x in (own, *others.values()))]
    sd = _spread(classifier, torch.cat(compared), chosen)
    seen = seen_part(classifier, pictures)
    settings = {"method": method, "seed": int(seed), "classifier": classifier.name}

    def explained(x: Tensor, found: LayerGradients, row: int, index: int) -> Explanation:
        with one_thread():
            parts = tuple(
                explain_layer(la, found.maps[la.name][row], found.gradients[la.name][row], method, seed)
                for la in chosen
            )
        logits = None if found.logits is None else found.logits[row].cpu()
        return Explanation(x.clone(), None, classifier.classes, walk.unit, logits, float(found.scores[row]), parts,
                           seen, index, notes, settings)  # fmt: skip

    rows: list[dict[str, Any]] = []
    triples: list[tuple[Explanation, Explanation, Explanation]] = []
    masks = []
    names = [f"unit {walk.unit}", *others]
    with tqdm(total=len(names) * len(own), desc="walks", unit="walk", disable=not progress) as bar:
        for name in names:
            mine = name not in others
            for n, x in enumerate(own if mine else others[name]):
                found = layer_gradients(classifier, x, chosen, ask(classifier, len(x), unit=walk.unit))
                at = [explained(x[k], found, k, n) for k in range(len(x))]
                mask = changed_pixels(x[0], x[-1])
                if mine:
                    triples.append((at[0], at[1], at[2]))
                    masks.append(mask)
                for i, layer in enumerate(chosen):
                    measured = _measures(found, layer, sd[layer.name], at[0].layers[i], at[-1].layers[i])
                    rows.append(
                        {"walk": name, "own": mine, "sample": n, "layer": layer.name, "title": layer.title,
                         "depth": layer.depth, **measured, **_on_changed(at[-1], i, mask),
                         "unit_change": float(found.scores[-1] - found.scores[0]),
                         "picture_change": float((x[-1] - x[0]).square().mean().sqrt())}
                    )  # fmt: skip
                bar.update(1)
    values = (float(walk.values[low]), float(walk.values[middle]), float(walk.values[high]))
    table = pd.DataFrame(rows)
    return WalkExplanation(walk.unit, values, tuple(triples), torch.stack(masks), tuple(others), table)


def _checked_controls(controls: Mapping[str, Tensor] | None, own: Tensor, name: str) -> dict[str, Tensor]:
    """Return control walks [N, 2, C, H, W] by name after a check."""
    found = {}
    wanted = [len(own), 2, *own.shape[2:]]
    for control, x in (controls or {}).items():
        if not isinstance(x, Tensor) or list(x.shape) != wanted or control == name:
            given = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise LisError(
                f"the control walk {control!r} is {given}; pictures {wanted}, two ends for each sample of the walk, of "
                f"something else than {name}, were expected: see control_walks."
            )
        if not bool(torch.isfinite(x).all()):
            raise LisError(
                f"the control walk {control!r} has NaN or infinite values; pictures were expected."
            )
        found[control] = x.float().clamp(0, 1)
    return found


def _spread(classifier: Classifier, pictures: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Return the standard deviation [C] of every channel over pictures and positions; 0 where it hardly varies."""
    sums: dict[str, list[Tensor]] = {}
    for _, batch in stream_activations(classifier, pictures, layers, batch_size=32):
        for layer in layers:
            values = batch[layer.name].double().transpose(0, 1).flatten(1).cpu()  # [C, n h w]
            sums.setdefault(layer.name, []).append(torch.stack([values.sum(1), values.square().sum(1)]))
    spreads = {}
    for layer in layers:
        mean, square = torch.stack(sums[layer.name]).sum(0) / (
            len(pictures) * layer.shape[1] * layer.shape[2]
        )
        sd = (square - mean.square()).clamp_min(0).sqrt()  # [C]
        spreads[layer.name] = torch.where(sd > 1e-4 * sd.max(), sd, 0).float()
    return spreads


def _measures(
    found: LayerGradients, layer: Layer, sd: Tensor, low: LayerExplanation, high: LayerExplanation
) -> dict[str, float]:
    maps, gradients = (values[layer.name].cpu() for values in (found.maps, found.gradients))
    change = maps[-1] - maps[0]  # [C, h, w]
    some = sd > 0
    size = (
        float((change[some] / sd[some, None, None]).square().mean().sqrt()) if bool(some.any()) else math.nan
    )
    moved = math.nan if low.empty or high.empty else 1 - map_agreement(low.merged(), high.merged())
    return {
        "alignment": alignment(change, (gradients[0] + gradients[-1]) / 2, sd),
        "change_sd": size,
        "map_change": moved,
    }


def _on_changed(explanation: Explanation, layer: int, mask: Tensor) -> dict[str, float]:
    saliency = saliency_of(explanation, layer)
    total, area = float(saliency.sum()), float(mask.float().mean())
    if total <= 0 or area == 0:
        return {"lift": math.nan, "on_changed": math.nan}
    share = float(saliency[mask].sum()) / total
    return {"lift": share / area, "on_changed": share}
