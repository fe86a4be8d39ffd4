"""A hand on units: models checked once, starts, and single steps as plain data to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..directions import Directions, checked_directions
from ..errors import LisError
from ..features import Features, known_logits
from ..link import Link
from ..names import class_index, finite_number, whole_number
from ..pairs import Pairs
from ..parts.segmenter import Segmenter, check_segmenter, render_parts
from ..stylegan import Generator
from .checks import Values, checked_hashes, checked_values, finite_value, start_classes
from .companions import companion_change
from .distribution import Distribution, Reals, activation_distribution, reals_of
from .setting import UnitSetting
from .state import UnitStart, UnitState

__all__ = ["UnitSession"]

DEFAULT_PSI = 0.7  # for a link that does not say at which truncation its pairs were sampled
KEPT_STARTS = 16


class UnitSession:
    """A generator, a classifier and their link, checked once, so that single steps are quick.

    Parameters
    ----------
    pairs : starting points are taken from them; without, they are sampled afresh.
    photographs : Photographs, Features of them, or activations [N, R]: real images, whose activations `distribution`
        shows. Default: the pairs.
    companions : [R, R], of `companion_directions`, for `tune` with companions.
    segmenter : of this generator or of pictures, for part outlines.

    Attributes
    ----------
    classes : names of the classes that a start can be of: those of the pairs, or those that the link was fitted on.
    units : units that vary, the one with the widest spread over the link's pairs first.
    psi : truncation of fresh samples, unless told otherwise.
    hashes : identities of "generator", "classifier", "link", and of "pairs" and "companions" where there are some.

    Raises
    ------
    LisError : models, pairs, photographs, companions or a segmenter that do not belong together.

    Examples
    --------
    >>> session = UnitSession(generator, classifier, link)
    >>> state = session.tune(session.start("Coat", seed=3), {17: 1.2})
    """

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        pairs: Pairs | None = None,
        photographs: Photographs | Features | Tensor | None = None,
        companions: Tensor | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.companions = checked_directions(companions, link.num_units)
        self.hashes = checked_hashes(generator, classifier, link, pairs, self.companions)
        if segmenter is not None:
            check_segmenter(generator, segmenter)
        self.generator, self.classifier, self.link, self.pairs = generator, classifier, link, pairs
        self.segmenter, self.photographs = segmenter, photographs
        sampled = link.psi if pairs is None else pairs.psi
        self.psi = DEFAULT_PSI if sampled is None else sampled
        self._names, own = start_classes(generator, classifier, link, pairs)
        self.classes: tuple[str, ...] = tuple(self._names[k] for k in own)
        constant = set(link.constant_units)
        self.units: list[int] = [
            u for u in link.unit_std.argsort(descending=True).tolist() if u not in constant
        ]
        if not self.units:
            raise LisError(
                "the link has no unit that varies, so there is nothing to turn: fit it to more pairs."
            )
        self._low, self._high = link.unit_min.tolist(), link.unit_max.tolist()
        self._reals: Reals | None = reals_of(photographs, pairs, classifier, link.num_units)
        self._starts: dict[tuple[Any, ...], UnitStart] = {}

    def observed(self, unit: int | str) -> tuple[float, float]:
        """Return the smallest and the largest activation of a unit over the pairs of the link."""
        index = self.link.varying_unit(unit)
        return self._low[index], self._high[index]

    def limits(self, unit: int | str) -> tuple[float, float]:
        """Return the ends of a slider: half a span beyond what was observed on either side.

        Not below 0 where no unit was ever negative: then the activations are those of a ReLU, and no picture has less.
        """
        low, high = self.observed(unit)
        half = (high - low) / 2
        beyond = low - half
        return (max(beyond, 0.0) if min(self._low) >= 0 else beyond), high + half

    def spread(self, unit: int | str) -> float:
        """Return the standard deviation of a unit over the pairs of the link."""
        return float(self.link.unit_std[self.link.varying_unit(unit)])

    def distribution(self, unit: int | str, bins: int = 40) -> Distribution | None:
        """Return how a unit's activation is spread over the photographs, or the pairs; None without both.

        Raises
        ------
        LisError : a unit that there is not, bins that are no whole number.

        Examples
        --------
        >>> session.distribution(17).source
        '1,000 photographs'
        """
        index = self.link.unit_index(unit)
        return None if self._reals is None else activation_distribution(self._reals, index, bins)

    @property
    def reals(self) -> Reals | None:
        """Activations [N, R] of real images, or of the pairs, and what they are; None without both."""
        return self._reals

    @torch.no_grad()
    def start(self, which: str | int, seed: int = 0, psi: float | None = None) -> UnitStart:
        """Return a sample of a class: pair number `seed` of it (counted round), or the sample of that seed.

        Parameters
        ----------
        psi : truncation of the sample; None takes the session's. Pairs have the one that they were collected at.

        Raises
        ------
        LisError : a class that there is not, a seed or psi that is none, another psi than that of the pairs.

        Examples
        --------
        >>> start = session.start("Coat", seed=3)
        """
        k = class_index(which, self._names, self.generator.name)
        seed = whole_number(seed, "seed", 0)
        if psi is not None:
            psi = finite_number(psi, "psi", ", usually from 0 to 1")
        if self.pairs is not None:
            if psi not in (None, self.pairs.psi):
                raise LisError(
                    f"psi is {psi:g}, but starts are taken from pairs that were sampled at {self.pairs.psi:g}: leave "
                    "psi out, or the pairs."
                )
            rows = (self.pairs.labels == k).nonzero()[:, 0]
            if len(rows) == 0:
                raise LisError(f"there are no pairs of {self._names[k]!r}; choose one of {self.classes}.")
            return self.start_from(self.pairs.r[rows[seed % len(rows)]])
        labels = [k] if self.generator.c_dim else None
        z = self.generator.sample_z(1, seed)
        x = self.generator.render(self.generator.map(z, labels, self.psi if psi is None else psi))
        return self.start_from(
            self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))[0]
        )

    @torch.no_grad()
    def start_from(self, r: Tensor, name: str = "") -> UnitStart:
        """Return the start at given activations r [R].

        Parameters
        ----------
        name : what they are, such as "photograph 12".

        Raises
        ------
        LisError : activations of another shape, or not finite.

        Examples
        --------
        >>> start = session.start_from(pairs.r[7], "pair 7")
        """
        if not isinstance(r, Tensor) or r.ndim != 1:
            raise LisError(
                f"r is {list(getattr(r, 'shape', ()))}; one row [{self.link.num_units}] was expected."
            )
        picture, seen_r, logits, _ = self._look(r, False)
        return UnitStart(r.detach().float().cpu(), picture, seen_r, logits, name)

    def start_photograph(self, index: int) -> UnitStart:
        """Return the start at the activations of a photograph that was given to the session.

        Raises
        ------
        LisError : a session without photographs, an index that there is not.

        Examples
        --------
        >>> state = session.tune(session.start_photograph(12), {17: 1.2})
        """
        if self.photographs is None or self._reals is None:
            raise LisError("there are no photographs; give some to the session to start from one.")
        rows = self._reals.r
        index = whole_number(index, "index of the photograph", 0, len(rows) - 1)
        return self.start_from(rows[index], f"photograph {index}")

    def start_of(self, setting: UnitSetting) -> UnitStart:
        """Return the start of a setting; the last few are kept, so that moves from one start render it once.

        Raises
        ------
        LisError : as `start` and `start_from`.

        Examples
        --------
        >>> session.start_of(UnitSetting(which="Coat", seed=3)).picture.shape
        torch.Size([1, 32, 32])
        """
        key = (setting.which, setting.seed, setting.psi, setting.r, setting.r_name)
        known = self._starts.get(key)
        if known is None:
            if setting.r is None:
                known = self.start(setting.which, setting.seed, setting.psi)
            else:
                known = self.start_from(torch.tensor(setting.r), setting.r_name)
            if len(self._starts) >= KEPT_STARTS:
                self._starts.clear()
            self._starts[key] = known
        return known

    def show(self, setting: UnitSetting, outlines: bool = False) -> UnitState:
        """Return what a setting shows.

        Raises
        ------
        LisError : as `start_of` and `tune`.

        Examples
        --------
        >>> session.show(UnitSetting(which="Coat", seed=3, values={17: 1.2})).title
        'unit 17 at 1.20'
        """
        return self.tune(
            self.start_of(setting), setting.values, setting.unit, setting.companions, outlines=outlines
        )

    @torch.no_grad()
    def tune(
        self,
        start: UnitStart,
        values: Values,
        unit: int | str | None = None,
        companions: bool = False,
        outlines: bool = False,
    ) -> UnitState:
        """Set units of a start to values, link, render, and look at the picture with the classifier.

        Linking in Style (arXiv 2409.16865, section 3). Values beyond the observed range are taken as they are.

        Parameters
        ----------
        values : unit -> what it is set to, in activation units; none is the start itself.
        unit : the one under the hand; default: the last that is set.
        companions : take the units along that usually move with those that are set: r' = r + sum_j c_j D[j], with c
            such that every unit of `values` has exactly its value.
        outlines : label the parts of start and tuned picture, too, from the same pass.

        Raises
        ------
        LisError : a unit that does not exist or never varied or is given twice, a value that is not finite, companions
            or outlines in a session without them, units that always move together but are set apart.

        Examples
        --------
        >>> session.tune(start, {17: 1.2, "unit 3": 0.0}).captions()[1]
        '2 units set: Shirt 91%'
        """
        chosen = checked_values(self.link, values)
        hand = list(chosen)[-1:] if unit is None else [self.link.varying_unit(unit)]
        r = start.r.clone()
        if companions and self.companions is None:
            raise LisError(
                "this session has no companions: make it with companions=companion_directions(pairs), or set units "
                "alone."
            )
        if companions and self.companions is not None and chosen:
            r += companion_change(self.companions, start.r, chosen, self.link.unit_std)
        for index, value in chosen.items():
            r[index] = value
        title = "nothing set" if not chosen else f"{len(chosen)} units set"
        if len(chosen) == 1:
            title = "".join(f"unit {index} at {value:.2f}" for index, value in chosen.items())
        if companions and chosen:
            title += " with companions"
        return self._state(start, r, hand[0] if hand else None, chosen, title, outlines)

    @torch.no_grad()
    def move(
        self, start: UnitStart, directions: Directions, amounts: Mapping[str, float], outlines: bool = False
    ) -> UnitState:
        """Move a start along named directions, r' = r + sum_d a_d v_d, link, render and look at the picture.

        Raises
        ------
        LisError : directions of another width, a name that they do not have, an amount that is not finite.

        Examples
        --------
        >>> session.move(start, class_directions(pairs, source="Coat"), {"Coat to Shirt": 0.5}).title
        'Coat to Shirt at +0.5'
        """
        if directions.vectors.shape[1] != self.link.num_units:
            raise LisError(
                f"the directions are of {directions.vectors.shape[1]} units, the link has {self.link.num_units}: make "
                "them from this link or its pairs."
            )
        chosen = {name: finite_value(value, name) for name, value in amounts.items()}
        r = start.r.clone()
        for name, value in chosen.items():
            r += value * directions.vectors[directions.index(name)]
        title = "nothing moved" if not chosen else f"{len(chosen)} directions"
        if len(chosen) == 1:
            title = "".join(f"{name} at {value:+.3g}" for name, value in chosen.items())
        return self._state(start, r, None, {}, title, outlines)

    def _state(
        self,
        start: UnitStart,
        r: Tensor,
        unit: int | None,
        values: dict[int, float],
        title: str,
        outlines: bool,
    ) -> UnitState:
        picture, seen_r, logits, labels = self._look(r, outlines)
        return UnitState(
            unit=unit,
            value=None if unit is None else values.get(unit, float(r[unit])),
            classes=self.classifier.classes,
            start=start.picture,
            tuned=picture,
            start_r=start.seen_r,
            r=seen_r,
            start_logits=start.logits,
            logits=logits,
            r_set=r,
            values=values,
            title=title,
            start_labels=self._start_labels(start) if outlines else None,
            labels=labels,
            legend=self.segmenter.legend if outlines and self.segmenter else None,
        )

    def _start_labels(self, start: UnitStart) -> Tensor | None:
        if "labels" not in start.kept:
            start.kept["labels"] = self._look(start.r, True)[3]
        return start.kept["labels"]

    def _look(self, r: Tensor, outlines: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Picture [C, H, W], its activations [R] and logits [K], and part labels [H, W], of activations r [R]."""
        w = self.link(r[None].to(self.link.device))  # [1, W]
        labels = None
        if outlines:
            if self.segmenter is None:
                raise LisError(
                    "this session has no segmenter to outline parts with: make it with segmenter=..."
                )
            x, found = render_parts(self.generator, self.segmenter, w)
            labels = found[0].cpu()
        else:
            x = self.generator.render(w)
        again = self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))
        picture, seen, logits = (t[0].float().cpu() for t in (x, again, known_logits(self.classifier, again)))
        return picture, seen, logits, labels
