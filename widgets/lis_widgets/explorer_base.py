"""What an explorer does around its pictures: requests, back and forward, errors, saving and loading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from lis_toolkit.errors import LisError
from lis_toolkit.explore import (
    History,
    UnitSession,
    UnitSetting,
    UnitStart,
    UnitState,
    save_gif,
    save_state_png,
)

from .charts import Charts
from .explorer_files import ExplorerFiles
from .explorer_parts import SCALES, StartControls, button, checkbox, close_tree, dropdown, flow, free_path
from .later import Later
from .live import Live
from .message import Message, tell
from .picture import Picture
from .sliders import Sliders
from .snapshot import Snapshot, static_html

SETTLED = 0.5  # seconds without a move after which a value counts as chosen, for back and forward
FILM_FRAMES = 24


class Explorer(Snapshot, ipywidgets.VBox):
    """A setting, and what it shows; what the explorers build on.

    A class of this kind says what its settings show (`_render`, `_film`, `_rows`, `_figures`, `code`, `reset`), and
    calls `_change` with a new one whenever a control was moved.

    Parameters
    ----------
    session : UnitSession
    which, seed, psi : the sample to begin with.
    transport : "raw" or "jpeg", see `Picture`.

    Raises
    ------
    LisError
        A class that the session does not have.
    """

    def __init__(
        self, session: UnitSession, which: str | None, seed: int, psi: float | None, transport: str
    ) -> None:
        self.session = session
        if which is not None and which not in session.classes:
            raise LisError(f"there is no class {which!r} to start from; choose one of {session.classes}.")
        UnitSetting(which or session.classes[0], seed, psi)  # refuses what is no number
        if psi is not None and session.pairs is not None:
            session.start(session.classes[0], psi=psi)  # pairs have a truncation of their own
        self.picture = Picture(transport=transport)
        self._state: UnitState | None = None
        self._start: UnitStart | None = None
        self._error: BaseException | None = None
        self._history = History()
        self._settle = Later(SETTLED, quiet=True)
        self._hand: Any = None  # the slider that moved last
        self._build_controls(which, seed, psi)
        self._setting = UnitSetting(which=self.which.value, seed=self.seed.value, psi=self._psi())
        self.sliders, self.charts, self.message = Sliders(), Charts(), Message()
        self._live = Live(self._compute, self._show, self._fail)
        self._films = Live(
            self._write_film,
            lambda _, path: self._tell_saved(path),
            lambda _, error: self.message.error(error),
        )
        self.files = self._make_files()
        super().__init__()
        self.add_class("lis-explorer")

    def _build_controls(self, which: str | None, seed: int, psi: float | None) -> None:
        session = self.session
        self._from = StartControls(
            session.classes,
            self._guarded(self._restart),
            which,
            seed,
            session.psi if psi is None else psi,
            sampled=session.pairs is None,
        )
        self.which, self.seed, self.psi = self._from.children
        self.scale = dropdown("show", SCALES, "150px", "what the first plot shows")
        self.outlines = checkbox("outlines", "draw the outlines of the parts that the segmenter finds")
        self.companions = checkbox(
            "with companions",
            "move the units along that usually move with those that are set, so that the picture stays a likely one",
        )
        self._origin = ipywidgets.Label()
        self._back = button("Back", "the setting before", self._guarded(self.back))
        self._forward = button("Forward", "the setting after", self._guarded(self.forward))
        options: list[ipywidgets.Widget] = [self.scale] if session.classifier.has_head else []
        options += [self.outlines] if session.segmenter is not None else []
        options += [self.companions] if session.companions is not None else []
        buttons = ipywidgets.HBox([  # they stay together
            button("As it was", "set everything to what it is in this sample", self._guarded(self.reset)),
            button("Random", "another sample of any class", self._guarded(self.random)),
            self._back,
            self._forward,
        ])  # fmt: skip
        self._controls = flow(*self._from.children, *options, buttons, self._origin)
        self.scale.observe(lambda _: self._plot(), "value")
        self.outlines.observe(lambda _: self._outline(), "value")
        self.companions.observe(lambda _: self._adjust(), "value")

    def _begin(self, left: ipywidgets.Widget, *below: ipywidgets.Widget) -> None:
        """Put the parts together, what is chosen from left and more below the sliders; show the first setting."""
        self.sliders.on_move(self._guarded(self._moved))
        self.sliders.on_action(self._guarded(self._acted))
        right = ipywidgets.VBox([self.picture, self.sliders, self.message, *below])
        right.add_class("lis-right")
        body = ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"})
        body.add_class("lis-body")
        self.children = (self._controls, body, self.charts, self.files)
        self._arrange()
        self._request()
        self._live.flush()
        self._push()

    # What is shown -----------------------------------------------------------------------------------------------

    @property
    def setting(self) -> UnitSetting:
        """What all controls say."""
        return self._setting

    @property
    def state(self) -> UnitState:
        """What the present setting shows; a LisError if that failed."""
        self._live.flush()
        if self._error is not None or self._state is None:
            told = "nothing was rendered yet" if self._error is None else tell(self._error)
            raise LisError(f"there is no picture of the present setting: {told}") from self._error
        return self._state

    def static_view(self) -> str:
        """Return the pictures as HTML, for where no widget can be shown."""
        state = self.state
        return static_html(self._panels(state), state.captions(), f"{self.setting.which}: {state.title}")

    # What can be done --------------------------------------------------------------------------------------------

    def random(self) -> None:
        """Go to another sample of any class."""
        which, seed = self._from.draw()
        self._go(replace(self._setting, which=which, seed=seed, psi=self._psi(), r=None, r_name=""))

    def back(self) -> None:
        """Go to the setting before; nothing happens at the first."""
        self._settle.flush()
        self._return(self._history.back())

    def forward(self) -> None:
        """Go to the setting after; nothing happens at the last."""
        self._settle.flush()
        self._return(self._history.forward())

    @abstractmethod
    def reset(self) -> None:
        """Set everything to what it is in this sample."""

    @abstractmethod
    def code(self) -> str:
        """Return a cell of code that draws the present picture, without a widget."""

    def save_png(self, path: str | Path | None = None) -> Path:
        """Save start, tuned picture and difference with their captions; default: a free name in the working folder.

        Raises
        ------
        LisError : a path that can't be written, or no picture of the present setting.
        """
        state = self.state
        path = free_path(self._stem(), ".png") if path is None else Path(path)
        save_state_png(path, state, outlines=state.labels is not None)
        return path

    def save_gif(self, path: str | Path | None = None) -> Path:
        """Save what was moved last, moved along its range and back, the rest as it is; default: a free name.

        Raises
        ------
        LisError : a path that can't be written, or a picture that can't be rendered.
        """
        path = free_path(self._stem(), ".gif") if path is None else Path(path)
        outlines = bool(self.outlines.value)
        save_gif(path, self._film(self._setting, outlines), outlines=outlines)
        return path

    def close(self) -> None:
        """End the widget and all its parts, and the thread that renders."""
        live = getattr(self, "_live", None)
        if live is not None:  # None: refused while it was made
            self._settle.cancel()
            live.close()
            self._films.close()
            for child in (*self.children, self.scale, self.outlines, self.companions):
                close_tree(child)
            self.layout.close()
        super().close()

    def close_all(self) -> None:  # ipywidgets' own would close every widget of the kernel
        """End the widget and all its parts."""
        self.close()

    # From a control to the picture -------------------------------------------------------------------------------

    def _change(self, setting: UnitSetting, hand: Any = None) -> None:
        """Go to another setting; `hand` is the slider that is being moved."""
        if hand is None or hand != self._hand:
            self._settle.flush()
        self._hand, self._setting = hand, setting
        if self.message.kind == "note":
            self.message.clear()
        if hand is None:
            self._arrange()
        self._request()
        self._settle.ask(self._push)

    def _go(self, setting: UnitSetting) -> None:
        """Go to a setting that is not what the controls say, and that one can go back from."""
        self._settle.flush()
        self._put(setting)
        self._settle.ask(self._push)

    def _put(self, setting: UnitSetting) -> None:
        """Bring all controls to a setting, and show it."""
        self._setting, self._hand = setting, None
        self._from.put(setting.which, setting.seed, self.session.psi if setting.psi is None else setting.psi)
        self.companions.value = setting.companions
        self._arrange()
        self._request()

    def _return(self, setting: UnitSetting | None) -> None:
        """Go to a setting of the history."""
        if setting is not None:
            self._put(setting)
        self._after_history()

    def _push(self) -> None:
        self._history.push(self._setting)
        self._after_history()

    def _after_history(self) -> None:
        self._back.disabled, self._forward.disabled = (
            not self._history.can_back,
            not self._history.can_forward,
        )
        self.files.refresh()

    def _request(self) -> None:
        self._live.request((self._setting, bool(self.outlines.value)))

    def _compute(self, asked: tuple[UnitSetting, bool]) -> tuple[UnitStart, UnitState, np.ndarray]:
        setting, outlines = asked
        state = self._render(setting, outlines)
        return self.session.start_of(setting), state, self._panels(state)

    def _show(self, _: Any, result: tuple[UnitStart, UnitState, np.ndarray]) -> None:
        """Show a render: the picture first, all that can wait after it."""
        start, state, panels = result
        outlined = state.labels is not None
        self.picture.show(panels, state.captions(outlined), state.descriptions(outlined))
        self.sliders.shown()
        self._state, self._error = state, None
        if self.message.kind == "error":
            self.message.clear()
        if start is not self._start:
            self._start = start
            self._arrange()
        self._plot()

    def _fail(self, _: Any, error: BaseException) -> None:
        """Tell why there is no picture, and dim the old one."""
        self._error = error
        self.message.error(error)
        self.picture.mark_stale()
        self.sliders.shown()

    def _plot(self) -> None:
        self.charts.show_later(self._guarded(self._figures, otherwise=()))

    @staticmethod
    def _panels(state: UnitState) -> np.ndarray:
        return state.rgb(outlines=state.labels is not None)

    def _restart(self) -> None:
        """Take the sample that the controls name."""
        which, seed = self.which.value, self.seed.value
        self._change(replace(self._setting, which=which, seed=seed, psi=self._psi(), r=None, r_name=""))

    def _adjust(self) -> None:
        if self.companions.value != self._setting.companions:
            self._change(replace(self._setting, companions=bool(self.companions.value)))

    def _outline(self) -> None:
        self._request()
        self.files.refresh()

    def _psi(self) -> float | None:
        return float(self.psi.value) if self.session.pairs is None else None

    def _guarded(self, function: Callable[..., Any], otherwise: Any = None) -> Callable[..., Any]:
        """Return a function for a control: an error is told in the widget."""

        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:  # whatever it is, the user must see it, and the next move must work
                self.message.error(error)
                return otherwise

        return call

    def _make_files(self) -> ExplorerFiles:
        """Return the buttons that save and load, and the code."""
        return ExplorerFiles(
            self.code,
            {text: (tip, self._guarded(save)) for text, (tip, save) in self._saves().items()},
            None if self._load_file is None else self._guarded(self._load_file),
        )

    def _make_film(self) -> None:
        """Save a film without keeping the kernel from answering: it may take a minute."""
        self.message.note("the film is being made ...")
        self._films.request((self._stem(), self._setting, bool(self.outlines.value)))

    def _write_film(self, asked: tuple[str, UnitSetting, bool]) -> Path:
        stem, setting, outlines = asked
        frames = self._film(setting, outlines)
        path = free_path(stem, ".gif")
        save_gif(path, frames, outlines=outlines)
        return path

    def _tell_saved(self, path: Path) -> None:
        self.message.note(f"saved as {path}")

    # What an explorer of a kind of its own brings ----------------------------------------------------------------

    _load_file: Callable[[dict[str, Any]], None] | None = None  # what to do with an uploaded file

    def _saves(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """Return what can be saved: a button's text -> its tooltip, and what it does."""
        return {
            "Save picture": (
                "start, tuned picture and difference as PNG",
                lambda: self._tell_saved(self.save_png()),
            ),
            "Save film": ("what was moved last along its observed range, as GIF", self._make_film),
        }

    @abstractmethod
    def _render(self, setting: UnitSetting, outlines: bool) -> UnitState:
        """Return what a setting shows; called in another thread."""

    @abstractmethod
    def _film(self, setting: UnitSetting, outlines: bool) -> list[UnitState]:
        """Return the states of a film; called in another thread."""

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """Return the sliders."""

    @abstractmethod
    def _figures(self) -> list[dict[str, Any]]:
        """Return the plots of the present state."""

    @abstractmethod
    def _moved(self, values: Mapping[str, float]) -> None:
        """Take what sliders were moved to: key -> value."""

    @abstractmethod
    def _acted(self, key: str, action: str) -> None:
        """Do what a button beside a slider says."""

    @abstractmethod
    def _stem(self) -> str:
        """Return the beginning of a file's name."""

    def _arrange(self) -> None:
        """Bring sliders and origin to what the setting says."""
        self.sliders.rows = self._rows()
        origin = self._setting.r_name if self._setting.r is not None else ""
        self._origin.value = f"from {origin} (class or seed: back to samples)" if origin else ""
