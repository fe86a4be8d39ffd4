"""Search the way from a picture to another class and walk along it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
from torch import Tensor

from lis_toolkit.classifiers import Classifier
from lis_toolkit.counterfactuals.code import counterfactual_code
from lis_toolkit.counterfactuals.session import CounterfactualSession
from lis_toolkit.counterfactuals.setting import FARTHEST, NEAREST, CounterfactualSetting
from lis_toolkit.counterfactuals.state import CounterfactualState
from lis_toolkit.counterfactuals.way import Way
from lis_toolkit.datasets import Photographs
from lis_toolkit.link import Link
from lis_toolkit.pairs import Pairs
from lis_toolkit.parts.segmenter import Segmenter
from lis_toolkit.stylegan import Generator

from .charts import Charts
from .counterfactual_choice import PAPER, SLOW, WayChoice
from .counterfactual_figures import carriers_figure, course_figure, part_figures
from .counterfactual_search import WaySearch
from .counterfactual_start import PHOTOGRAPHS, SourceControls
from .explorer_base import FILM_FRAMES
from .explorer_figures import class_figure
from .explorer_parts import close_tree
from .explorer_saved import SavedExplorer

PLACE = "place"  # key of the slider


class CounterfactualExplorer(SavedExplorer):
    """Choose a start and a target, find the way over the decision boundary, and walk along it by hand.

    Parameters
    ----------
    generator, classifier, link
        The link must have been fitted for both models.
    photographs : Photographs, optional
        Real images to start from: one is shown beside what the link makes of it, with what was lost on the way.
    pairs : Pairs, optional
        Take starting points from these; the seed then counts the pairs of a class. Default: fresh samples. A link
        without class statistics needs them.
    segmenter : Segmenter, optional
        Draws the outlines of parts on demand, and measures how parts change.
    which, seed, psi : optional
        Class, seed and truncation to begin with.
    target : str, optional
        Class to be reached; default: "nearest", the nearest other class.
    method : "latent", "closed_form" or "paper"
        Of `find_counterfactuals`. A search begins by itself, but for "paper", which takes long, and for large pictures
        on a CPU.
    transport : "raw" or "jpeg"
        How pictures go to the browser; "jpeg" for a slow line to a distant machine, or pictures above 512 pixels.

    Attributes
    ----------
    which, seed, psi, scale, source, photograph : ipywidgets controls
        Class, seed, truncation; whether logits or probabilities are plotted; samples or photographs, and which.
    place : float
        Along the way: 0 is the cycled start, 1 the end; setting it moves the slider.
    way : Way or None
        What was found for the present setting; None while it was not searched.
    setting : CounterfactualSetting
        What all controls say.
    state : CounterfactualState
        What the present setting shows; a LisError if that failed.
    session, choice, picture, sliders, course, charts, files, message
        The parts it is made of; `course` is the plot of the margin along the way.

    Raises
    ------
    LisError
        Models, photographs or a segmenter that do not belong together, an encoder without a head, a link without class
        statistics, a class or target that there is not. Later errors are shown in the widget.

    Examples
    --------
    >>> from lis_widgets import CounterfactualExplorer
    >>> CounterfactualExplorer(generator, classifier, link, which="Coat", target="Shirt")
    """

    _setting: CounterfactualSetting
    _state: CounterfactualState | None
    session: CounterfactualSession

    def __init__(
        self,
        generator: Generator,
        classifier: Classifier,
        link: Link,
        *,
        photographs: Photographs | None = None,
        pairs: Pairs | None = None,
        segmenter: Segmenter | None = None,
        which: str | None = None,
        seed: int = 0,
        psi: float | None = None,
        target: str | None = None,
        method: str = "latent",
        transport: str = "raw",
    ) -> None:
        session = CounterfactualSession(generator, classifier, link, pairs, photographs, segmenter)
        target = NEAREST if target is None else target
        CounterfactualSetting("", target=target, method=method)  # refuses what there is not
        session.check_target(target)
        self._offered: Any = None  # the start that `_targets` are of
        self._targets: tuple[str, ...] = ()
        super().__init__(session, which, seed, psi, transport)
        self._setting = CounterfactualSetting(
            self.which.value, self.seed.value, self._psi(), target=target, method=method
        )
        self.choice = WayChoice(
            session.goals, self._guarded(self._asked), self._guarded(self.find), self._guarded(self.stop)
        )
        self._ways = WaySearch(session, self.choice, lambda: self._setting, self._found)
        self.target, self.method, self.metric = self.choice.target, self.choice.method, self.choice.metric
        self.add_class("lis-counterfactuals")
        self.course = Charts()
        self._begin(self.choice, self.course)

    def _build_controls(self, which: str | None, seed: int, psi: float | None) -> None:
        super()._build_controls(which, seed, psi)
        photographs = self.session.photographs
        count = 0 if photographs is None else len(photographs)  # type: ignore[arg-type]
        self._sources = SourceControls(count, self._from.children, self._guarded(self._restart))
        self.source, self.photograph = self._sources.source, self._sources.photograph
        if count:
            self._controls.children = (*self._sources.children, *self._controls.children)

    # What can be done --------------------------------------------------------------------------------------------

    @property
    def way(self) -> Way | None:
        """What was found for the present setting; None while it was not searched."""
        return self.session.known(self._setting)

    @property
    def place(self) -> float:
        """Place along the way: 0 the cycled start, 1 the end."""
        return self._setting.place

    @place.setter
    def place(self, place: float) -> None:
        self._change(replace(self._setting, place=place))

    @property
    def state(self) -> CounterfactualState:
        """What the present setting shows, when a search that is under way is done; a LisError if that failed."""
        self._live.flush()
        self._ways.flush()
        state = super().state
        assert isinstance(state, CounterfactualState)
        return state

    def find(self, target: str | None = None, method: str | None = None, metric: str | None = None) -> None:
        """Search the way to a target, the slow method included; nothing is searched twice.

        Parameters
        ----------
        target, method, metric : as `find_counterfactuals`; None: as the controls say.

        Raises
        ------
        LisError : a class, method or metric that there is not.

        Examples
        --------
        >>> explorer.find("Shirt", method="closed_form")
        """
        given = {"target": target, "method": method, "metric": metric}
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if chosen:
            setting = replace(self._setting, **chosen, place=1.0)
            self.session.check_target(setting.target)
            self._change(setting)
        self._ways.seek(pressed=True)

    def stop(self) -> None:
        """End the search that is under way."""
        self._ways.stop()

    def open(
        self,
        setting: CounterfactualSetting | None = None,
        *,
        r: Tensor | None = None,
        name: str = "",
        photograph: int | None = None,
    ) -> None:
        """Show a setting, or start from activations r [R], or from a photograph.

        Without arguments it is ipywidgets' own `open`, which connects the widget to the browser.

        Raises
        ------
        LisError : a class that the session does not have, activations of another shape, no such photograph.

        Examples
        --------
        >>> explorer.open(photograph=12)
        """
        if setting is None and r is None and photograph is None:
            ipywidgets.VBox.open(self)
            return
        if setting is None:
            given: Any = None if r is None else tuple(r.detach().cpu().flatten().tolist())
            setting = replace(
                self._setting,
                r=given,
                r_name="" if r is None else name or "given activations",
                photograph=photograph,
                place=1.0,
            )
        self.session.check_target(setting.target)
        self.session.start_of(setting)  # refused here, before anything has changed
        self._go(setting)

    def random(self) -> None:
        """Go to another sample of any class, or another photograph."""
        setting = replace(self._setting, r=None, r_name="", place=1.0)
        if setting.photograph is not None:
            self._go(replace(setting, photograph=random.randrange(self.photograph.max + 1)))
            return
        which, seed = self._from.draw()
        self._go(replace(setting, which=which, seed=seed, psi=self._psi()))

    def reset(self) -> None:
        """Go back to the start of the way."""
        self._change(replace(self._setting, place=0.0))

    def code(self) -> str:
        """Return a cell of code that searches the way again and draws the present picture, without a widget."""
        return counterfactual_code(self._setting, self.session, outlines=bool(self.outlines.value))

    def close(self) -> None:
        """End the widget and all its parts, and the threads that search and render."""
        if getattr(self, "_ways", None) is not None:  # None: refused while it was made
            self._ways.close()
            for child in self._sources.children:  # without photographs they are in no row
                close_tree(child)
        super().close()

    # From a control to a setting ---------------------------------------------------------------------------------

    def _asked(self) -> None:
        """Ask what target, method and metric say."""
        choice = self.choice
        self._change(
            replace(
                self._setting,
                target=choice.target.value,
                method=choice.method.value,
                metric=choice.metric.value,
                place=1.0,
            )
        )

    def _restart(self) -> None:
        photograph = self.photograph.value if self.source.value == PHOTOGRAPHS else None
        self._change(
            replace(
                self._setting,
                which=self.which.value,
                seed=self.seed.value,
                psi=self._psi(),
                r=None,
                r_name="",
                photograph=photograph,
                place=1.0,
            )
        )

    def _moved(self, values: Mapping[str, float]) -> None:
        self._change(replace(self._setting, place=values[PLACE]), hand=PLACE)

    def _acted(self, _: str, action: str) -> None:
        crossing = None if self.way is None else self.way.crossing
        if action == "reset" and crossing is not None:
            self._change(replace(self._setting, place=crossing))

    def _put(self, setting: Any) -> None:
        self._sources.put(setting.photograph)
        super()._put(setting)

    # From a setting to what is shown -----------------------------------------------------------------------------

    def _show(self, asked: Any, result: Any) -> None:
        """Show a picture; then offer the targets of its start, and search the way where that was not done."""
        super()._show(asked, result)
        if asked[0].start != self._setting.start:
            return  # another picture comes
        if self._offered is not self._start and self._start is not None:
            self._offered, self._targets = self._start, self.session.targets(self._start)
            self.choice.offer(self._targets)
        if self._setting.target not in self._targets:
            own = self._setting.target
            self._change(replace(self._setting, target=NEAREST, place=1.0))
            self.message.note(f"This start is of {own} already: here is the way to the nearest other class.")
            return
        if self.way is not None:
            self.choice.show(self.way, self._state.cycle_loss() if self._state else "")
        self._ways.seek()

    def _found(self) -> None:
        """Show the way that was searched."""
        self._arrange()
        self._request()

    def _arrange(self) -> None:
        super()._arrange()
        self.choice.put(self._setting)
        quick = self.session.quick(self._setting)
        self.choice.hint("" if quick else PAPER if self._setting.method == "paper" else SLOW)

    def _rows(self) -> list[dict[str, Any]]:
        way = self.way
        crossing = None if way is None else way.crossing
        return [
            {
                "key": PLACE,
                "label": "along the way" if way is None else f"to {way.target}",
                "low": 0.0,
                "high": FARTHEST,
                "seen_low": 0.0,
                "seen_high": 1.0,
                "seen_name": "way",
                "own": crossing if crossing is not None and crossing <= FARTHEST else None,
                "own_name": "the boundary",
                "value": self._setting.place,
                "tooltip": "place along the way: 0 is the cycled start, 1 its end, the tick the decision boundary; "
                "beyond 1 the straight line goes on",
            }
        ]

    def _render(self, setting: Any, outlines: bool) -> CounterfactualState:
        return self.session.show(setting, outlines)

    def _film(self, setting: Any, outlines: bool) -> list[Any]:
        return list(self.session.walk(setting, FILM_FRAMES, outlines))

    def _plot(self) -> None:
        super()._plot()
        self.course.show_later(
            self._guarded(lambda: [course_figure(self.way, self._setting.place)], otherwise=())
        )

    def _figures(self) -> list[dict[str, Any]]:
        state = self._state
        if state is None:
            return []
        return [
            class_figure(state, self.scale.value),
            carriers_figure(self.way, state),
            *part_figures(state),
        ]

    @staticmethod
    def _panels(state: Any) -> np.ndarray:
        return np.ascontiguousarray(state.rgb(outlines=state.labels is not None))

    def _saves(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        saves = super()._saves()
        tips = {
            "Save picture": "start, the picture here and the difference as PNG",
            "Save film": "the way from start to end and back, as GIF",
        }
        return {text: (tips.get(text, tip), save) for text, (tip, save) in saves.items()}

    def _load_text(self, text: str) -> None:
        self.open(CounterfactualSetting.from_json(text, self.session))

    def _stem(self) -> str:
        way = self.way
        name = "counterfactual" if way is None else f"{way.origin}-to-{way.target}"
        return re.sub(r"\W+", "-", name).strip("-").lower()
