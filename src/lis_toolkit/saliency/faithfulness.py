"""Does a saliency map point at what the classifier uses? Deletion, insertion and parts, against honest controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier
from ..classifiers.penultimate import untouched
from ..counterfactuals.intervals import mean_over_starts
from ..datasets import Photographs
from ..errors import LisError
from ..features import check_images_for
from ..files import provenance
from ..names import spelling_hint, whole_number
from ..parts import Segmenter
from .controls import CONTROLS, control_maps
from .gradients import ask
from .overlap import PictureLabels, map_overlap, part_masks
from .perturbation import (
    KINDS,
    baseline_images,
    check_maps,
    curve_area,
    named_maps,
    perturbation_curves,
    pixel_counts,
    pixel_ranks,
    resize_maps,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Faithfulness", "MapMaker", "measure_faithfulness"]

MapMaker = Callable[
    [Tensor, Tensor, Tensor], Mapping[str, Tensor]
]  # (x, targets, indices) -> name: [n, h, w]
MEASURES = (*KINDS, "net", "inside", "pointing")


@dataclass(frozen=True)
class Faithfulness:
    """Curves and overlaps of M kinds of saliency maps on N images.

    Attributes
    ----------
    methods : tuple of str
        Names of the kinds of maps, in order; controls last.
    controls : tuple of str
        Those among them that know nothing of the classifier.
    counts : tuple of int
        Pixels changed at each point of a curve, from 0 to all.
    curves : dict of Tensor
        "deletion" and "insertion": float32 [M, N, S + 1], the probability of the target class.
    targets : Tensor
        int64 [N].
    empty : Tensor
        bool [M, N]: maps that are constant, so that their pixels come in a random order.
    share, hit : Tensor or None
        float64 [M, N, L]: share of the map's mass on each label, and whether its highest point is there (L: the
        background, then the parts); NaN for maps without mass. None without parts.
    area : Tensor or None
        float64 [N, L], the share of the picture that each label has.
    parts : tuple of str
        Names of the L labels.
    classes : tuple of str
    settings : dict

    Examples
    --------
    >>> result = measure_faithfulness(classifier, photographs.subset(torch.arange(40)))
    >>> result.table().round(3)
    """

    methods: tuple[str, ...]
    controls: tuple[str, ...]
    counts: tuple[int, ...]
    curves: dict[str, Tensor]
    targets: Tensor
    empty: Tensor
    share: Tensor | None
    hit: Tensor | None
    area: Tensor | None
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    def values(self, measure: str) -> np.ndarray:
        """Return one measure of every method and image, float64 [M, N].

        "deletion" and "insertion" (areas under the curves), "net" (insertion less deletion), "inside" (share of the
        map's mass on the object), "pointing" (whether its highest point is on the object); the last two need parts.
        """
        if measure not in self.measures:
            missing = " (it was measured without parts)" if measure in MEASURES else ""
            raise LisError(
                f"there is no measure {measure!r}{missing}; there are {', '.join(self.measures)}."
                f"{spelling_hint(str(measure), self.measures)}"
            )
        if measure in KINDS:
            return curve_area(self.curves[measure], self.counts).numpy()
        if measure == "net":
            return self.values("insertion") - self.values("deletion")
        of = self.share if measure == "inside" else self.hit
        assert of is not None
        return (1 - of[:, :, 0]).numpy()

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what was measured."""
        curves = tuple(kind for kind in KINDS if kind in self.curves)
        net = ("net",) if len(curves) == 2 else ()
        return curves + net + (() if self.share is None else ("inside", "pointing"))

    def table(self, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Return the mean of every measure and method over the images, with a bootstrap interval over images.

        Returns
        -------
        DataFrame
            method, control, measure, mean, low, high, n (images where it is defined), chance (the share of the pictures
            that the object has; for "inside" and "pointing"), empty (constant maps).
        """
        import pandas as pd

        rows = []
        for measure in self.measures:
            values = self.values(measure)
            chance = float("nan")
            if measure in ("inside", "pointing"):
                assert self.area is not None
                chance = float((1 - self.area[:, 0]).mean())
            for m, method in enumerate(self.methods):
                mean = _mean(values[m], confidence, resamples, seed)
                rows.append({"method": method, "control": method in self.controls, "measure": measure, **mean,
                             "chance": chance, "empty": int(self.empty[m].sum())})  # fmt: skip
        return pd.DataFrame(rows)

    def differences(
        self, against: str, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
    ) -> pd.DataFrame:
        """Compare every method with one of them, image by image.

        Returns
        -------
        DataFrame
            method, against, measure, difference (mean over images of the method less the other), low, high (bootstrap
            over images, so both are of the same ones), n, better (share of images on which the method is the better
            one: lower for deletion, higher for all else; equal ones count half), winner: the method whose favour the
            whole interval speaks for, or "".

        Raises
        ------
        LisError
            For a method that there is not.
        """
        import pandas as pd

        if against not in self.methods:
            raise LisError(
                f"there is no method {against!r}; there are {', '.join(self.methods)}."
                f"{spelling_hint(str(against), self.methods)}"
            )
        other = self.methods.index(against)
        rows = []
        for measure in self.measures:
            values = self.values(measure)
            sign = -1 if measure == "deletion" else 1
            for m, method in enumerate(self.methods):
                if m == other:
                    continue
                change = values[m] - values[other]
                known = sign * change[~np.isnan(change)]
                mean = _mean(change, confidence, resamples, seed)
                won = sign * mean["low"] > 0 and sign * mean["high"] > 0
                lost = sign * mean["low"] < 0 and sign * mean["high"] < 0
                rows.append({
                    "method": method, "against": against, "measure": measure,
                    "difference": mean["mean"], "low": mean["low"], "high": mean["high"], "n": mean["n"],
                    "better": float((known > 0).mean() + (known == 0).mean() / 2) if len(known) else float("nan"),
                    "winner": method if won else against if lost else "",
                })  # fmt: skip
        return pd.DataFrame(rows)

    def by_part(self) -> pd.DataFrame:
        """Return how the maps' mass is spread over the parts: method, part, share, area, lift (their ratio), n.

        Means over the images that have the part.

        Raises
        ------
        LisError
            When it was measured without parts.
        """
        import pandas as pd

        if self.share is None or self.area is None:
            raise LisError(
                "it was measured without parts: give measure_faithfulness a segmenter or labels as parts=."
            )
        rows = []
        for m, method in enumerate(self.methods):
            for p, part in enumerate(self.parts):
                there = (self.area[:, p] > 0) & ~self.share[m, :, p].isnan()
                share, area = (float(v[there].mean()) for v in (self.share[m, :, p], self.area[:, p]))
                rows.append({"method": method, "part": part, "share": share, "area": area,
                             "lift": share / area, "n": int(there.sum())})  # fmt: skip
        return pd.DataFrame(rows)


def _mean(values: np.ndarray, confidence: float, resamples: int, seed: int) -> dict[str, float]:
    """Mean over images with a bootstrap interval."""
    found = mean_over_starts(
        values, np.arange(len(values)), confidence=confidence, resamples=resamples, seed=seed
    )
    return {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}


def measure_faithfulness(
    classifier: Classifier,
    photographs: Photographs | Tensor,
    maps: MapMaker | Mapping[str, Tensor] | None = None,
    *,
    target: str | int | Sequence[str | int] | Tensor | None = None,
    parts: Segmenter | PictureLabels | Tensor | None = None,
    controls: Sequence[str] = CONTROLS,
    kinds: Sequence[str] = KINDS,
    baseline: str = "blur",
    sigma: float | None = None,
    steps: int = 32,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
) -> Faithfulness:
    """Measure how faithful saliency maps are to the classifier, beside maps that know nothing of it.

    Deletion and insertion (Petsiuk et al. 2018, RISE, arXiv 1806.07421, section 4.3), the share of the saliency inside
    the object and its parts, and the pointing game. These answer two questions: the curves ask what the classifier
    uses, the parts what a person would point at. A map may be good at one and bad at the other. And changed pictures
    are pictures that the classifier never saw: all maps share that weakness, so compare them with the controls, not
    with 0 or 1.

    Parameters
    ----------
    photographs
        Images [N, C, H, W] in the unit range, or `Photographs`.
    maps
        Names and maps [N, h, w]; or a function (x [n, C, H, W], targets [n], indices [n]) -> such names and maps, which
        is asked for `batch_size` images at a time, so that maps of many images are never held together. Default:
        `explanation_maps(classifier)`: cluster maps merged and layer by layer, and Grad-CAM.
    target
        Class whose probability is followed: one, or one an image. Default: the predicted one.
    parts
        Where the object and its parts are, see `part_masks`. Default: no overlap is measured.
    controls
        Of `CONTROLS`; see `control_maps`.
    kinds
        "deletion", "insertion" or both.
    baseline, sigma
        What deleted pixels become, see `baseline_images`. Results depend on it: try two.
    steps
        Equal steps of a curve.
    batch_size
        Images at a time.
    seed
        Of random controls and of the order of equally salient pixels.
    progress
        Show a progress bar.

    Returns
    -------
    Faithfulness

    Raises
    ------
    LisError
        For an encoder without a head, images and labels that don't fit, unknown names, and maps of another number, not
        finite, or of other names from batch to batch.

    Examples
    --------
    >>> result = measure_faithfulness(classifier, photographs, parts=load_segmenter("fashion-pictures"))
    >>> result.differences("Grad-CAM").query("measure == 'insertion'")
    """
    x = photographs.images if isinstance(photographs, Photographs) else photographs
    check_images_for(classifier, x)
    if not classifier.has_head:
        raise LisError(
            f"{classifier.name} is an encoder without a head: there is no class probability to follow."
        )
    size, seed = whole_number(batch_size, "batch_size", 1), whole_number(seed, "seed", 0)
    kinds, controls = _named(kinds, KINDS, "curve", least=1), _named(controls, CONTROLS, "control")
    given = ask(classifier, len(x), target).targets
    masks = None if parts is None else part_masks(parts, x, size)
    counts = pixel_counts(x.shape[2] * x.shape[3], steps)
    make = _maker(classifier, maps, len(x))
    collected: dict[str, dict[str, list[Tensor]]] = {}
    targets: list[Tensor] = []
    with tqdm(total=len(x), desc="faithfulness", unit="image", disable=not progress) as bar:
        for start in range(0, len(x), size):
            part = x[start : start + size]
            indices = torch.arange(start, start + len(part))
            if given is None:
                with untouched(classifier):
                    classes = classifier.logits(part.to(classifier.device, classifier.dtype)).argmax(1).cpu()
            else:
                classes = given[indices]
            found = named_maps(make(part, classes, indices), least=0 if controls else 1)
            clash = sorted(set(found) & set(controls))
            if clash:
                raise LisError(
                    f"a map has the name of a control, {clash[0]!r}: call it otherwise, or leave it out."
                )
            names = (*found, *controls)
            if collected and tuple(collected) != names:
                raise LisError(
                    f"the maps of images {start} on are {', '.join(names)}; those before were {', '.join(collected)}."
                )
            found |= {name: control_maps(part, name, indices, seed=seed) for name in controls}
            empty = baseline_images(part, baseline, sigma)
            for name, m in found.items():
                m = resize_maps(check_maps(m, len(part), f"the maps {name!r}"), x.shape[2:])
                ranks = pixel_ranks(m, indices, seed)
                row = collected.setdefault(name, {})
                for kind in kinds:
                    curve = perturbation_curves(
                        classifier, part, classes, ranks, kind, baseline=empty, steps=steps, batch_size=size
                    )
                    row.setdefault(kind, []).append(curve)
                row.setdefault("empty", []).append((m == m[:, :1, :1]).flatten(1).all(1))
                if masks is not None:
                    lying = map_overlap(m, masks.labels[indices], len(masks.legend.names))
                    for key in ("share", "hit", "area"):
                        row.setdefault(key, []).append(lying[key])
            targets.append(classes)
            bar.update(len(part))
    names = tuple(collected)
    joined = {
        key: torch.stack([torch.cat(collected[name][key]) for name in names]) for key in collected[names[0]]
    }  # [M, N, ...]
    return Faithfulness(
        methods=names,
        controls=controls,
        counts=tuple(counts),
        curves={kind: joined[kind] for kind in kinds},
        targets=torch.cat(targets),
        empty=joined["empty"],
        share=joined.get("share"),
        hit=joined.get("hit"),
        area=joined["area"][0] if masks is not None else None,
        parts=() if masks is None else masks.legend.names,
        classes=classifier.classes,
        settings={
            "classifier": classifier.hash, "baseline": baseline, "sigma": sigma, "steps": steps, "seed": seed,
            "images": len(x), "target": "predicted" if target is None else "given", "provenance": provenance(),
        },
    )  # fmt: skip


def _named(chosen: Sequence[str], known: Sequence[str], what: str, least: int = 0) -> tuple[str, ...]:
    names = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    for name in names:
        if name not in known:
            raise LisError(
                f"no {what} {name!r}; there are {', '.join(map(repr, known))}.{spelling_hint(str(name), known)}"
            )
    if len(set(names)) < max(least, len(names)):
        raise LisError(
            f"the {what}s are {list(names)}; give {'at least one, ' if least else ''}each of them once."
        )
    return names


def _maker(classifier: Classifier, maps: Any, count: int) -> MapMaker:
    """Return a function that gives the maps of some images."""
    if maps is None:
        from .map_makers import explanation_maps

        return explanation_maps(classifier)
    if callable(maps):
        return maps  # type: ignore[no-any-return]
    if not isinstance(maps, Mapping):
        raise LisError(
            f"the maps are a {type(maps).__name__}; a dict of names and maps [N, h, w] was expected."
        )
    for name, m in maps.items():
        check_maps(m, count, f"the maps {name!r}")
    return lambda x, targets, indices: {name: m[indices] for name, m in maps.items()}
