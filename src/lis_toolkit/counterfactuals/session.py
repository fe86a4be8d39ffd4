"""Ways over the decision boundary, found once and walked by hand: starts, searches, single steps as plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..explore.session import KEPT_STARTS, UnitSession
from ..explore.setting import UnitSetting
from ..explore.state import UnitStart
from ..link import Link
from ..names import class_index, whole_number
from ..pairs import Pairs
from ..parts.segmenter import Segmenter
from ..stylegan import Generator
from .cycle import like_generated
from .find import find_counterfactuals
from .paths import target_margins
from .result import Counterfactuals
from .setting import NEAREST, CounterfactualSetting
from .state import PHOTOGRAPH, RAW_LOGITS, RAW_R, CounterfactualState
from .stopping import stoppable
from .way import COURSE, Way, at_place

__all__ = ["CounterfactualSession"]

KEPT_WAYS = 64
QUICK = (
    "latent",
    "closed_form",
)  # methods that are done in a second, with models that render a picture in few ms
QUICK_PIXELS = 64  # size of the largest pictures that a CPU renders in few ms


class CounterfactualSession(UnitSession):
    """A generator, a classifier and their link, checked once, to search ways to other classes and walk along them.

    Parameters
    ----------
    pairs : starting points are taken from them; without, they are sampled afresh. A link without class statistics
        takes these from them, too.
    photographs : Photographs, real images to start from.
    segmenter : of this generator or of pictures, for outlines and measures of parts.

    Attributes
    ----------
    classes : names of the classes that a start can be of.
    goals : names of the classes that can be a target: those that the link knows.

    Raises
    ------
    LisError : what UnitSession refuses; a classifier without a head, a link without class statistics and no pairs,
        photographs that are no Photographs.

    Examples
    --------
    >>> session = CounterfactualSession(generator, classifier, link)
    >>> setting = CounterfactualSetting("Coat", seed=3, target="Shirt", place=0.5)
    >>> way = session.search(setting)
    >>> state = session.show(setting)
    """

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        pairs: Pairs | None = None,
        photographs: Photographs | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        if not classifier.has_head:
            raise LisError(
                f"{classifier.name} is an encoder without a head: it has no classes, so there is no boundary to cross."
            )
        if photographs is not None and not isinstance(photographs, Photographs):
            raise LisError(
                f"photographs are of type {type(photographs).__name__}; Photographs were expected, with the images: "
                "they are shown beside what the link makes of them."
            )
        super().__init__(generator, classifier, link, pairs, photographs, None, segmenter)
        statistics = link.statistics
        if statistics is None and pairs is None:
            raise LisError(
                "the link has no class statistics, as one that was saved by an older version, or not fitted on Pairs: "
                "give pairs=..., or fit it again."
            )
        names = pairs.classes if statistics is None else statistics.classes  # type: ignore[union-attr]
        counts = (
            pairs.labels.bincount(minlength=len(names))  # type: ignore[union-attr]
            if statistics is None
            else statistics.counts
        )
        known = {name for name, count in zip(names, counts.tolist(), strict=True) if count}
        self.goals: tuple[str, ...] = tuple(name for name in classifier.classes if name in known)
        self._ways: dict[tuple[Any, ...], Way] = {}

    # Starts ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def start_photograph(self, index: int) -> UnitStart:
        """Return the start at the activations of a photograph, which keeps the photograph itself.

        Raises
        ------
        LisError : a session without photographs, an index that there is not.

        Examples
        --------
        >>> session.start_photograph(12).kept["photograph"].shape
        torch.Size([1, 32, 32])
        """
        start = super().start_photograph(self.check_photograph(index))
        raw = self.photographs.images[index : index + 1].float().cpu()  # type: ignore[union-attr]
        logits = self.classifier.head(start.r[None].to(self.classifier.device, self.classifier.dtype))[0]
        start.kept[RAW_R], start.kept[RAW_LOGITS] = start.r, logits.float().cpu()
        start.kept[PHOTOGRAPH] = like_generated(raw, self.generator)[0]
        return start

    def start_of(self, setting: UnitSetting) -> UnitStart:
        """Return the start of a setting; the last few are kept.

        Raises
        ------
        LisError : as `start`, `start_from` and `start_photograph`.

        Examples
        --------
        >>> session.start_of(CounterfactualSetting("Coat", photograph=12)).name
        'photograph 12'
        """
        number = getattr(setting, "photograph", None)
        if number is None:
            return super().start_of(setting)
        key = ("photograph", number)
        known = self._starts.get(key)
        if known is None:
            known = self.start_photograph(number)
            if len(self._starts) >= KEPT_STARTS:
                self._starts.clear()
            self._starts[key] = known
        return known

    def check_photograph(self, index: int) -> int:
        """Return the number of a photograph after a check.

        Raises
        ------
        LisError : a session without photographs, a number that there is not.

        Examples
        --------
        >>> session.check_photograph(12)
        12
        """
        if self.photographs is None:
            raise LisError("there are no photographs; give some to the session to start from one.")
        return whole_number(index, "the number of the photograph", 0, len(self.photographs.images) - 1)  # type: ignore[union-attr]

    @torch.no_grad()
    def origin(self, start: UnitStart) -> str:
        """Return the class that the head gives the activations of a start."""
        r = start.r[None].to(self.classifier.device, self.classifier.dtype)
        return self.classifier.classes[int(self.classifier.head(r).argmax())]

    def targets(self, start: UnitStart) -> tuple[str, ...]:
        """Return what can be asked of a start: "nearest", and every class that it is not of by now.

        Neither the class that the head gives its activations nor that of its cycled picture is among them.

        Examples
        --------
        >>> session.targets(session.start("Coat"))[:3]
        ('nearest', 'T-shirt/top', 'Trouser')
        """
        own = {self.origin(start), self.classifier.classes[int(start.logits.argmax())]}
        return (NEAREST, *(name for name in self.goals if name not in own))

    def check_target(self, target: str) -> None:
        """Raise a LisError for a target that no start can have here."""
        if target != NEAREST:
            class_index(target, self.goals, "the link")

    # Searches ----------------------------------------------------------------------------------------------------

    def known(self, setting: CounterfactualSetting) -> Way | None:
        """Return the way of a setting if it was searched before."""
        return self._ways.get(setting.question)

    def quick(self, setting: CounterfactualSetting) -> bool:
        """Return whether a search takes a moment, not minutes."""
        small = self.generator.img_resolution <= QUICK_PIXELS or self.link.device.type != "cpu"
        return setting.method in QUICK and small

    def search(self, setting: CounterfactualSetting, stop: Callable[[], bool] | None = None) -> Way:
        """Return the way that a setting asks for, found or not; what was searched before is kept.

        Parameters
        ----------
        stop : asked before every batch of pictures; once it is true, the search ends.

        Raises
        ------
        LisError : a target that there is not, and what `find_counterfactuals` refuses.
        Stopped : a LisError of its own: `stop` was true.

        Examples
        --------
        >>> way = session.search(CounterfactualSetting("Coat", seed=3, target="Shirt"))
        >>> way.success, way.crossing
        (True, 0.71)
        """
        way = self.known(setting)
        if way is None:
            self.check_target(setting.target)
            start = self.start_of(setting)
            with stoppable(self.generator, stop):
                found = find_counterfactuals(
                    self.generator, self.classifier, self.link, start.r[None], **self.asked(setting)
                )
                way = self._along(found)
            while len(self._ways) >= KEPT_WAYS:
                self._ways.pop(next(iter(self._ways)), None)
            self._ways[setting.question] = way
        return way

    def asked(self, setting: CounterfactualSetting) -> dict[str, Any]:
        """Return the arguments of `find_counterfactuals` that a setting stands for, the pairs where it needs them."""
        asked: dict[str, Any] = {"target": setting.target, "method": setting.method}
        if setting.method == "closed_form":
            asked["metric"] = setting.metric
        if self.link.statistics is None:
            asked["pairs"] = self.pairs
        return asked

    @torch.no_grad()
    def _along(self, result: Counterfactuals) -> Way:
        """Render the way from its start to a quarter beyond its end, and see where it crosses the boundary."""
        amounts = torch.linspace(0, COURSE[-1], COURSE[0])  # [Q]
        r = torch.stack([at_place(result, float(amount)) for amount in amounts])  # [Q, R]
        r = r.to(self.link.device)
        x = self.generator.render(self.link(r).to(self.generator.device))
        seen = self.classifier.features(x.to(self.classifier.device, self.classifier.dtype))
        logits = self.classifier.head(seen).float().cpu()  # [Q, K]
        head = self.classifier.head(r.to(self.classifier.device, self.classifier.dtype)).float().cpu()
        return Way(
            result=result,
            classes=self.classifier.classes,
            amounts=amounts,
            logits=logits,
            margins=target_margins(logits[None], result.targets)[0],
            head_margins=target_margins(head[None], result.targets)[0],
            shift_sd=self._in_sd(result.r_end[0] - result.r_start[0]),
        )

    def _in_sd(self, shift: Tensor) -> Tensor:
        """Shifts of units [R] in their standard deviations over the link's pairs; 0 for those that never varied."""
        spread = self.link.unit_std.cpu()
        return torch.where(spread > 0, shift.cpu() / spread.clamp_min(1e-12), torch.zeros(()))

    # A place along the way ---------------------------------------------------------------------------------------

    def show(self, setting: UnitSetting, outlines: bool = False) -> CounterfactualState:
        """Return what a setting shows; the start itself while its way was not searched.

        Raises
        ------
        LisError : as `start_of`, outlines without a segmenter.

        Examples
        --------
        >>> session.show(CounterfactualSetting("Coat", seed=3, target="Shirt", place=0.5)).title
        'not searched yet'
        """
        if not isinstance(setting, CounterfactualSetting):
            raise LisError(
                f"the setting is a {type(setting).__name__}; a CounterfactualSetting was expected."
            )
        way = self.known(setting)
        start = self.start_of(setting)
        if way is None:
            return self._seen(start, start.r, "", 0.0, "not searched yet", outlines)
        return self.along(start, way.result, setting.place, outlines)

    @torch.no_grad()
    def along(
        self, start: UnitStart, result: Counterfactuals, place: float, outlines: bool = False
    ) -> CounterfactualState:
        """Link, render and look at the activations at a place along the way of a result of one row.

        Parameters
        ----------
        place : 0 is the cycled start, 1 the end of the way; beyond it the straight line goes on.
        outlines : draw the parts' outlines.

        Raises
        ------
        LisError : a result of several rows, or of another start; outlines without a segmenter.

        Examples
        --------
        >>> result = find_counterfactuals(generator, classifier, link, start.r[None], "Shirt")
        >>> session.along(start, result, 0.5).captions()[1]
        '0.50 of the way to Shirt: Coat 88%, margin -2.1'
        """
        if len(result) != 1 or not torch.equal(result.r_start[0], start.r):
            raise LisError(
                f"the result has {len(result)} rows; one, found from this very start, was expected: give "
                "find_counterfactuals start.r[None] and one target."
            )
        target = str(result.table["target"].iloc[0])
        title = f"{place:.2f} of the way to {target}" if place else "at the start"
        return self._seen(start, at_place(result, place), target, place, title, outlines)

    def _seen(
        self, start: UnitStart, r: Tensor, target: str, place: float, title: str, outlines: bool
    ) -> CounterfactualState:
        picture, seen_r, logits, labels = self._look(r, self.segmenter is not None or outlines)
        parts = None
        if labels is not None:
            own = self._start_labels(start)
            assert own is not None
            parts = torch.stack([own, labels])
        shown = parts if outlines else None
        return CounterfactualState(
            unit=None,
            value=None,
            classes=self.classifier.classes,
            start=start.picture,
            tuned=picture,
            start_r=start.seen_r,
            r=seen_r,
            start_logits=start.logits,
            logits=logits,
            r_set=r,
            title=title,
            start_labels=None if shown is None else shown[0],
            labels=None if shown is None else shown[1],
            legend=self.segmenter.legend if self.segmenter else None,
            target=target,
            place=place,
            parts=parts,
            change_sd=self._in_sd(seen_r - start.seen_r),
            photograph=start.kept.get(PHOTOGRAPH),
            raw_r=start.kept.get(RAW_R),
            raw_logits=start.kept.get(RAW_LOGITS),
        )

    def walk(
        self, setting: CounterfactualSetting, count: int = 16, outlines: bool = False
    ) -> list[CounterfactualState]:
        """Return states from the start to the end of the way of a setting, for a film.

        Raises
        ------
        LisError : a way that was not searched.

        Examples
        --------
        >>> save_gif("coat to shirt.gif", session.walk(setting))
        """
        if self.known(setting) is None:
            raise LisError("there is no way to film yet: press Find first.")
        places = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
        return [self.show(replace(setting, place=place), outlines) for place in places]
