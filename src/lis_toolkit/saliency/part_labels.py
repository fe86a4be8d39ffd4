"""Which part of a picture does a cluster map cover? Labels of clusters without a crowd, from part masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..counterfactuals.intervals import mean_over_starts
from ..errors import LisError
from ..names import finite_number, spelling_hint, whole_number
from ..parts import Segmenter
from .explanation import Explanation, explanation_list, upsampled
from .overlap import PictureLabels, part_masks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NONE", "WHOLE", "label_by_parts", "part_coverage", "part_label_shares", "shifted_shares"]

NONE, WHOLE = "none", "whole object"
CHANCE = "chance."  # before a part's name: how columns of label_by_parts begin
LEAST_PIXELS = 4  # smaller parts are not looked for: one cell of a map covers them and much beside
_PLACE = ["image", "target", "layer", "title", "depth", "cluster", "maps", "weight"]
_COVER = ["part", "share", "area", "lift", "iou", "score", "p", "chance"]


def shifted_shares(values: Tensor, masks: Tensor) -> Tensor:
    """Return the share of a map's mass on each mask, for the map where it is and at every circular shift.

    Parameters
    ----------
    values
        [H, W], at least 0, with some mass.
    masks
        bool [P, H, W].

    Returns
    -------
    Tensor
        float64 [P, H, W]; [:, 0, 0] is the map as it stands, [:, a, b] moved down by a and right by b.

    Examples
    --------
    >>> shifted_shares(torch.eye(4), torch.eye(4)[None] > 0)[0, 0, :2]
    tensor([1., 0.], dtype=torch.float64)
    """
    mass = values.double() / values.double().sum()
    spectrum = torch.fft.rfft2(masks.double()) * torch.fft.rfft2(mass).conj()  # [P, H, W / 2 + 1]
    return torch.fft.irfft2(spectrum, s=tuple(values.shape))


def _candidates(labels: Tensor, names: Sequence[str], whole: bool) -> tuple[list[str], Tensor]:
    """Return what a cluster may be called in one picture, and where that is: names and bool [P, H, W]."""
    found, masks = [], []
    for number, name in enumerate(names):
        mask = labels == number
        if int(mask.sum()) >= LEAST_PIXELS and not bool(mask.all()):
            found.append(name)
            masks.append(mask)
    parts = len(found) - (1 if names[0] in found else 0)
    if whole and parts > 1 and bool((labels == 0).any()):
        found.append(WHOLE)
        masks.append(labels > 0)
    return found, torch.stack(masks) if masks else labels.new_zeros(0, *labels.shape, dtype=torch.bool)


def _cover(values: Tensor, masks: Tensor, threshold: float, alpha: float) -> Tensor:
    """Return share, area, lift, IoU, score, p and chance of one map on every mask, float64 [P, 7]."""
    shares = shifted_shares(values, masks)  # [P, H, W]
    area = masks.double().mean((1, 2))
    spread = (shares - area[:, None, None]).square().mean((1, 2)).sqrt()
    # A map that is even everywhere lies the same wherever it is moved: no spread, no evidence.
    moved = (shares - area[:, None, None]) / spread.clamp(min=1e-9)[:, None, None]
    scores = torch.where((spread > 1e-9)[:, None, None], moved, 0.0).flatten(1)  # [P, HW], unmoved first
    scores = (scores * 1e9).round() / 1e9  # transforms leave equal ones apart in the last digits
    best, which = scores.max(0)  # [HW], the best part of every shift
    ascending = best.sort().values
    count = best.numel()
    p = (
        1 - torch.searchsorted(ascending, scores[:, 0].contiguous()) / count
    )  # [P], of shifts as good or better
    labelled = 1 - torch.searchsorted(ascending, best) / count <= alpha  # [HW]
    chance = torch.stack([(labelled & (which == i)).double().mean() for i in range(len(masks))])
    high = values >= threshold * values.max()
    iou = (masks & high).sum((1, 2)).double() / (masks | high).sum((1, 2))
    share = shares[:, 0, 0].clamp(0, 1)
    return torch.stack([share, area, share / area, iou, scores[:, 0], p, chance], 1)


def part_coverage(
    explanations: Iterable[Explanation],
    parts: Segmenter | PictureLabels | Tensor,
    *,
    alpha: float = 0.05,
    threshold: float = 0.5,
    whole: bool = True,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Measure how every shown cluster map covers every part of its picture.

    The null is the same map somewhere else: all circular shifts of it, so that a smooth map is compared with maps as
    smooth, and a large part is no better a guess than a small one. Maps tend to lie on the object; a map that covers
    all of it is therefore called the whole object, not its largest part.

    Parameters
    ----------
    explanations
        Of `explain_images`, for photographs or rendered pictures.
    parts
        A segmenter that reads pictures; or labels of the explained pictures in the same order (see `part_masks`), for
        rendered ones ``PictureLabels(render_parts(generator, segmenter, w)[1], segmenter.legend)``.
    alpha
        Level of "chance" below.
    threshold
        Share of a map's maximum from which a pixel counts as covered, for the IoU.
    whole
        Take the union of all parts as a further part, called "whole object", where a picture has several.
    batch_size
        Pictures at a time, for the segmenter.

    Returns
    -------
    DataFrame
        A row for every cluster and part (of at least 4 pixels; the background is one): image, target, layer, title,
        depth, cluster, maps, weight; part, share (of the map's mass on the part), area (share of the picture that the
        part has), lift (share / area), iou, score (share less area in standard deviations over the shifts), p (of
        shifts at which any part has at least this score: corrected for the number of parts), chance (share of shifts at
        which this part would be the best and have a p of at most alpha).

    Raises
    ------
    LisError
        For no explanations, pictures of several sizes, and parts that don't fit them.

    Examples
    --------
    >>> coverage = part_coverage(explanations, load_segmenter("fashion-pictures"))
    """
    import pandas as pd

    given = explanation_list(explanations)
    known = [(e.index, e.name) for e in given]
    if len(set(known)) < len(known):
        twice = next(each for each in known if known.count(each) > 1)
        raise LisError(
            f"image {twice[0]} is explained twice for {twice[1]}: give every explanation once, of one call."
        )
    shapes = sorted({tuple(e.image.shape) for e in given})
    if len(shapes) > 1:
        raise LisError(
            f"the explained pictures have the shapes {shapes}; explain those of one size together."
        )
    if not 0 < finite_number(alpha, "alpha") < 1:
        raise LisError(f"alpha is {alpha!r}; a level between 0 and 1 was expected.")
    if not 0 < finite_number(threshold, "threshold") <= 1:
        raise LisError(
            f"threshold is {threshold!r}; a share of the map's maximum above 0, up to 1, was expected."
        )
    masks = part_masks(
        parts, torch.stack([e.image for e in given]), whole_number(batch_size, "batch_size", 1)
    )
    rows = []
    for labels, e in zip(masks.labels, given, strict=True):
        names, there = _candidates(labels, masks.legend.names, whole)
        for part in e.layers:
            for number, cluster in enumerate(part.clusters):
                values = upsampled(cluster.map, e).clamp(min=0)
                if not names or float(values.sum()) <= 0:
                    continue
                place = (e.index, e.name, part.layer.name, part.layer.title, part.layer.depth, number,
                         len(cluster.members), cluster.weight)  # fmt: skip
                cover = _cover(values, there, threshold, alpha).tolist()
                rows += [(*place, name, *values) for name, values in zip(names, cover, strict=True)]
    return pd.DataFrame(rows, columns=[*_PLACE, *_COVER])


def label_by_parts(
    explanations: Iterable[Explanation],
    parts: Segmenter | PictureLabels | Tensor,
    *,
    alpha: float = 0.05,
    threshold: float = 0.5,
    whole: bool = True,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Label every shown cluster by the part of the picture that its map covers best; "none" where chance does as well.

    Ours, in place of the crowd of the paper (Bianchi et al. 2024, arXiv 2405.03301, section 4): cheap and the same for
    everyone, but it knows only the parts of the legend, and only where something is, not what about it matters.

    Parameters
    ----------
    explanations, parts, threshold, whole, batch_size
        As for `part_coverage`.
    alpha
        Level of the test against the same map elsewhere: so many maps that lie anywhere get a label by chance.

    Returns
    -------
    DataFrame
        A row per cluster: the columns of `part_coverage` for the part of the highest score, and label: that part, or
        "none" where p is above alpha. In place of chance "chance.<part>" for every part, NaN where the picture has it
        not. Clusters of pictures in which no part is found have no row. A single map of 4 x 4 values is so coarse that
        it is nearly always "none": `part_label_shares` asks many of them.

    Raises
    ------
    LisError
        As `part_coverage`.

    Examples
    --------
    >>> labels = label_by_parts(explanations, load_segmenter("fashion-pictures"))
    >>> part_label_shares(labels).head()
    """
    coverage = part_coverage(
        explanations, parts, alpha=alpha, threshold=threshold, whole=whole, batch_size=batch_size
    )
    clusters = coverage.groupby(["image", "target", "layer", "cluster"], sort=False)
    labels = coverage.loc[clusters["score"].idxmax()].reset_index(drop=True)
    labels["label"] = labels["part"].where(labels["p"] <= alpha, NONE)
    chances = coverage.pivot_table(index=clusters.ngroup(), columns="part", values="chance", sort=False)
    return labels.drop(columns="chance").join(chances.add_prefix(CHANCE))


def part_label_shares(
    labels: pd.DataFrame,
    by: Sequence[str] = ("target", "layer"),
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the labels of `label_by_parts` over images: a global explanation without a crowd.

    Parameters
    ----------
    labels
        Of `label_by_parts`.
    by
        Columns to count by: class and layer, ("layer",) over all classes, ("target",) over all layers.

    confidence, resamples, seed
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        A row for every group and label: the columns of `by`, title and depth where layers are apart, label, clusters
        (how many), expected (how many such labels the same maps would get if they lay anywhere), excess (clusters less
        expected, per image), low and high (bootstrap over images), beyond (whether the interval lies above 0), images
        (with at least one such cluster), of (images of the group), weight (of the label's clusters, mean over the
        group's images), lift (of its clusters, mean weighted by theirs). "none" is expected in 1 - alpha of all. Within
        a group the label of the largest excess comes first, and "none" last.

    Raises
    ------
    LisError
        For a table of other columns, or an empty one.

    Examples
    --------
    >>> part_label_shares(labels, by=["layer"]).query("label == 'sleeve'")
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    needed = [*_PLACE, "label", "lift"]
    lacking = [name for name in needed if name not in labels.columns]
    told = [name for name in labels.columns if str(name).startswith(CHANCE)]
    lacking += [] if told or lacking else [f"{CHANCE}<part>"]
    if not len(labels):
        raise LisError(
            "the table of labels is empty: no cluster was shown on a picture in which a part was found."
        )
    if lacking:
        raise LisError(f"the labels lack {', '.join(lacking)}; a table of label_by_parts was expected.")
    for name in by:
        if name not in _PLACE:
            raise LisError(f"labels can't be counted by {name!r}.{spelling_hint(str(name), _PLACE)}")
    if not by:
        raise LisError("by is empty; give at least one column, such as 'layer'.")
    extra = [name for name in ("title", "depth") if "layer" in by and name not in by]
    rows = []
    for key, group in labels.groupby([*by, *extra], sort=False):
        images = group.groupby(["image", "target"], sort=False).ngroup().to_numpy()  # [clusters]
        of = int(images.max()) + 1
        chances = group[told].fillna(0.0).rename(columns=lambda name: name.removeprefix(CHANCE))
        chances[NONE] = 1 - chances.sum(axis=1)
        for label, chance in chances.items():
            same = (group["label"] == label).to_numpy()
            if not same.any():
                continue
            excess = np.bincount(images, same - chance.to_numpy(), of)  # [images]
            mean = mean_over_starts(
                excess, np.arange(of), confidence=confidence, resamples=resamples, seed=seed
            )
            weight = float(group["weight"][same].sum())
            rows.append({
                **dict(zip([*by, *extra], key, strict=True)), "label": label, "clusters": int(same.sum()),
                "expected": float(chance.sum()), "excess": mean.value, "low": mean.low, "high": mean.high,
                "beyond": bool(mean.low > 0), "images": len(np.unique(images[same])), "of": of, "weight": weight / of,
                "lift": float((group["lift"] * group["weight"])[same].sum()) / weight,
            })  # fmt: skip
    table = pd.DataFrame(rows)
    table["last"] = table["label"] == NONE
    order = [name for name in ("target", "depth") if name in table.columns]
    ascending = [True] * (len(order) + 1) + [False]
    table = table.sort_values(
        [*order, "last", "excess"], ascending=ascending, kind="stable", ignore_index=True
    )
    return table.drop(columns="last")
