"""One unit under a hand: what an explorer shows for one sample, one unit and one value, as plain data to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .classifiers import Classifier
from .errors import LisError
from .features import known_logits
from .images import convert_range
from .link import Link
from .names import class_index
from .pairs import Pairs, check_models, whole_number
from .stylegan import Generator

__all__ = ["UnitSession", "UnitStart", "UnitState", "difference_rgb", "explore_unit"]

DEFAULT_PSI = 0.7  # for a link that does not say at which truncation its pairs were sampled
DIFFERENCE_LIMIT = 0.5  # of the unit range: where the colours of a difference picture are full
# Blue: darker than before, white: unchanged, orange: brighter. Told apart with every common colour blindness.
DIVERGING = ((0, 50, 90), (0, 114, 178), (255, 255, 255), (213, 94, 0), (110, 40, 0))


def difference_rgb(difference: Tensor, limit: float = DIFFERENCE_LIMIT) -> np.ndarray:
    """Colour a difference of two pictures: blue where it got darker, white unchanged, orange brighter.

    Parameters
    ----------
    difference : [C, H, W], of pictures in the unit range; channels are averaged.
    limit : difference at which the colour is full; beyond it stays so.

    Returns
    -------
    uint8 [H, W, 3].

    Raises
    ------
    LisError : another rank, values that are not finite, a limit that is not positive.

    Examples
    --------
    >>> difference_rgb(state.tuned - state.start).shape
    (32, 32, 3)
    """
    if difference.ndim != 3 or 0 in difference.shape or not bool(torch.isfinite(difference).all()):
        raise LisError(
            f"the difference has shape {list(difference.shape)}; finite values [C, H, W] were expected."
        )
    if not (math.isfinite(limit) and limit > 0):
        raise LisError(f"limit is {limit!r}; a positive number was expected.")
    places = (difference.detach().float().mean(0).cpu().numpy() / limit).clip(-1, 1)  # [H, W]
    stops = np.linspace(-1, 1, len(DIVERGING))
    channels = [np.interp(places, stops, [colour[c] for colour in DIVERGING]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def picture_rgb(x: Tensor) -> np.ndarray:
    """Return one picture [1 or 3, H, W] in the unit range as uint8 [H, W, 3]."""
    pixels = convert_range(x.detach().float().cpu(), "unit", "byte").permute(1, 2, 0).numpy()  # [H, W, C]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


@dataclass(frozen=True)
class UnitStart:
    """Where an exploration starts: activations, the picture they link to, and what the classifier sees in it.

    Attributes
    ----------
    r : [R], the activations given to the link.
    picture : [C, H, W], their linked render, unit range.
    seen_r, logits : [R], [K], of that picture; K is 0 for an encoder without a head.
    """

    r: Tensor
    picture: Tensor
    seen_r: Tensor
    logits: Tensor


@dataclass(frozen=True)
class UnitState:
    """One unit of one sample set to one value, and what came of it; everything on the CPU.

    Attributes
    ----------
    unit, value : index, and what it was set to.
    classes : names of the K classes.
    start, tuned : [C, H, W], pictures without and with the unit set, unit range.
    start_r, r : [R], the classifier's activations of these pictures.
    start_logits, logits : [K], its logits.
    """

    unit: int
    value: float
    classes: tuple[str, ...]
    start: Tensor
    tuned: Tensor
    start_r: Tensor
    r: Tensor
    start_logits: Tensor
    logits: Tensor

    @property
    def difference(self) -> Tensor:
        """Tuned less start, [C, H, W] in -1 .. 1."""
        return self.tuned - self.start

    def rgb(self) -> np.ndarray:
        """Return start, tuned and coloured difference as uint8 [3, H, W, 3]."""
        return np.stack([picture_rgb(self.start), picture_rgb(self.tuned), difference_rgb(self.difference)])

    def captions(self) -> list[str]:
        """Say in a line each what the three pictures of `rgb` are."""
        before, after = (
            f": {seen}" if (seen := self._seen(v)) else "" for v in (self.start_logits, self.logits)
        )
        return [
            f"start{before}",
            f"unit {self.unit} at {self.value:.2f}{after}",
            "difference: blue darker, orange brighter",
        ]

    def descriptions(self) -> list[str]:
        """Say the same in a sentence each, for readers who do not see the pictures."""
        change = self.difference
        before, after = (
            f", seen as {seen}" if (seen := self._seen(v)) else "" for v in (self.start_logits, self.logits)
        )
        return [
            f"Picture before the change{before}.",
            f"Picture with unit {self.unit} set to {self.value:.2f}{after}; the classifier "
            f"reads {float(self.r[self.unit]):.2f} for this unit.",
            f"Difference: mean change {float(change.abs().mean()):.3f}, largest {float(change.abs().max()):.2f} of 1; "
            f"blue is darker, orange brighter, colours are full at {DIFFERENCE_LIMIT:g}.",
        ]

    def _seen(self, logits: Tensor) -> str:
        if not len(logits):
            return ""  # an encoder sees no class
        probabilities = logits.softmax(0)
        best = int(probabilities.argmax())
        return f"{self.classes[best]} {float(probabilities[best]):.0%}"

    def top_classes(self, count: int = 10, probabilities: bool = False) -> list[tuple[str, float, float]]:
        """Return (name, before, after) of the classes with the highest logits on either side, in their own order.

        An encoder without a head has none.
        """
        both = torch.stack([self.start_logits, self.logits])  # [2, K]
        shown = both.softmax(1) if probabilities else both
        chosen = both.max(0).values.argsort(descending=True)[: whole_number(count, "count", 1)].sort().values
        return [(self.classes[k], float(shown[0, k]), float(shown[1, k])) for k in chosen.tolist()]

    def moved_units(self, count: int = 10) -> list[tuple[int, float]]:
        """Return (unit, change) of the units whose re-encoded activation changed most, the largest first.

        The unit that was set comes last where it is not among the first `count`.
        """
        change = self.r - self.start_r  # [R]
        order = change.abs().argsort(descending=True, stable=True)[: whole_number(count, "count", 1)].tolist()
        shown = order if self.unit in order else [*order, self.unit]
        return [(unit, float(change[unit])) for unit in shown]


class UnitSession:
    """A generator, a classifier and their link, checked once, so that single steps are quick.

    Parameters
    ----------
    pairs : starting points are taken from them; without, they are sampled afresh at the link's truncation.

    Attributes
    ----------
    classes : names of the classes that a start can be of.
    units : units that vary, the one with the widest spread over the link's pairs first.

    Raises
    ------
    LisError : models or pairs that the link was not fitted for.

    Examples
    --------
    >>> session = UnitSession(generator, classifier, link)
    >>> state = session.tune(session.start("Coat", seed=3), unit=17, value=1.2)
    """

    def __init__(
        self, generator: Generator, classifier: Classifier, link: Link, pairs: Pairs | None = None
    ) -> None:
        check_models(generator, classifier, same_classes=False)
        link.check(generator, classifier)
        if pairs is not None:
            for kind, model in (("generator", generator), ("classifier", classifier)):
                if getattr(pairs, f"{kind}_hash") != model.hash:
                    raise LisError(
                        f"the pairs were collected with another {kind} than {model.name!r}: collect them again."
                    )
            if len(pairs) == 0:
                raise LisError("the pairs are empty; leave them out to start from fresh samples.")
        self.generator, self.classifier, self.link, self.pairs = generator, classifier, link, pairs
        # Starts are asked of the generator by its own classes; without them, a class is a name and no more.
        self._names = generator.classes or classifier.classes or ("any",)
        if pairs is not None:
            self._names = pairs.classes
        known = range(len(self._names)) if pairs is None else pairs.labels.unique().tolist()
        self.classes: tuple[str, ...] = tuple(self._names[k] for k in known)
        constant = set(link.constant_units)
        self.units: list[int] = [
            u for u in link.unit_std.argsort(descending=True).tolist() if u not in constant
        ]
        if not self.units:
            raise LisError(
                "the link has no unit that varies, so there is nothing to turn: fit it to more pairs."
            )

    def observed(self, unit: int | str) -> tuple[float, float]:
        """Return the smallest and the largest activation of a unit over the pairs of the link."""
        index = self.link.varying_unit(unit)
        return float(self.link.unit_min[index]), float(self.link.unit_max[index])

    def spread(self, unit: int | str) -> float:
        """Return the standard deviation of a unit over the pairs of the link."""
        return float(self.link.unit_std[self.link.varying_unit(unit)])

    @torch.no_grad()
    def start(self, which: str | int, seed: int = 0) -> UnitStart:
        """Return a sample of a class: pair number `seed` of it (counted round), or the sample of that seed."""
        k = class_index(which, self._names, self.generator.name)
        seed = whole_number(seed, "seed", 0)
        if self.pairs is not None:
            rows = (self.pairs.labels == k).nonzero()[:, 0]
            if len(rows) == 0:
                raise LisError(f"there are no pairs of {self._names[k]!r}; choose one of {self.classes}.")
            return self.start_from(self.pairs.r[rows[seed % len(rows)]])
        psi = DEFAULT_PSI if self.link.psi is None else self.link.psi
        labels = [k] if self.generator.c_dim else None
        x = self.generator.render(self.generator.map(self.generator.sample_z(1, seed), labels, psi))
        return self.start_from(
            self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))[0]
        )

    @torch.no_grad()
    def start_from(self, r: Tensor) -> UnitStart:
        """Return the start at given activations r [R]."""
        if not isinstance(r, Tensor) or r.ndim != 1:
            raise LisError(
                f"r is {list(getattr(r, 'shape', ()))}; one row [{self.link.num_units}] was expected."
            )
        return UnitStart(r.detach().float().cpu(), *self._look(r))

    @torch.no_grad()
    def tune(self, start: UnitStart, unit: int | str, value: float) -> UnitState:
        """Set a unit of a start to a value, link, render, and look at the picture with the classifier.

        Linking in Style (arXiv 2409.16865, section 3). A value beyond the observed range is taken as it is.

        Raises
        ------
        LisError : a unit that does not exist or never varied, a value that is not finite.
        """
        index = self.link.varying_unit(unit)
        value = _finite(value)
        r = start.r.clone()
        r[index] = value
        picture, seen_r, logits = self._look(r)
        return UnitState(
            unit=index,
            value=value,
            classes=self.classifier.classes,
            start=start.picture,
            tuned=picture,
            start_r=start.seen_r,
            r=seen_r,
            start_logits=start.logits,
            logits=logits,
        )

    def _look(self, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Picture [C, H, W], its activations [R] and logits [K], of activations r [R]."""
        w = self.link(r[None].to(self.link.device))  # [1, W]
        x = self.generator.render(w)
        again = self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))
        picture, seen, logits = (t[0].float().cpu() for t in (x, again, known_logits(self.classifier, again)))
        return picture, seen, logits


def _finite(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise LisError(f"the value is {value!r}; a finite number in activation units was expected.")
    return number


def explore_unit(
    generator: Generator, classifier: Classifier, link: Link, r: Tensor, unit: int | str, value: float
) -> UnitState:
    """Set one unit of one sample to one value, link, render and look again: a single step of `tune_unit`.

    Linking in Style (arXiv 2409.16865, section 3). For many steps in a row keep a `UnitSession`.

    Parameters
    ----------
    r : [R], activations to start from.

    Raises
    ------
    LisError : as `UnitSession` and its `tune`.

    Examples
    --------
    >>> state = explore_unit(generator, classifier, link, pairs.r[0], unit=17, value=1.2)
    >>> state.rgb().shape
    (3, 32, 32, 3)
    """
    session = UnitSession(generator, classifier, link)
    return session.tune(session.start_from(r), unit, value)
