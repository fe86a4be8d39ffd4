"""Searches for ways off the event loop: the newest question wins, and what it overtakes ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lis_toolkit.counterfactuals.session import CounterfactualSession
from lis_toolkit.counterfactuals.setting import NEAREST, CounterfactualSetting
from lis_toolkit.counterfactuals.stopping import Stopped
from lis_toolkit.counterfactuals.way import Way

from .counterfactual_choice import WayChoice
from .live import Live
from .message import tell


class WaySearch:
    """Search the way of the present setting where it is not known, and say what becomes of it.

    Parameters
    ----------
    session : searches, and keeps what was found.
    choice : where it is said.
    present : returns the setting that is asked for now.
    found : called when its way is known.

    Attributes
    ----------
    wanted : the question that is being searched, or None.

    Examples
    --------
    >>> search = WaySearch(session, choice, lambda: setting, show)
    >>> search.seek()
    """

    def __init__(
        self,
        session: CounterfactualSession,
        choice: WayChoice,
        present: Callable[[], CounterfactualSetting],
        found: Callable[[], Any],
    ) -> None:
        self._session, self._choice, self._present, self._then = session, choice, present, found
        self.wanted: tuple[Any, ...] | None = None
        self._refused: dict[
            tuple[Any, ...], tuple[str, bool]
        ] = {}  # questions: why no way, whether by an error
        self.live = Live(self._search, self._found, self._not_found)

    def seek(self, pressed: bool = False) -> None:
        """Search the way of the present setting where it is not known and may begin by itself, or Find was pressed."""
        setting = self._present()
        if pressed:
            self._refused.pop(setting.question, None)
        if self._session.known(setting) is not None:
            self.wanted = None
            self._choice.busy(False)
            return
        if setting.question == self.wanted:
            return
        self.wanted = None  # ends the search of another question
        refused = self._refused.get(setting.question)
        if refused is not None or not (pressed or self._session.quick(setting)):
            self._choice.busy(False)
            self._choice.show(None) if refused is None else self._choice.say(*refused)
            return
        goal = "the nearest other class" if setting.target == NEAREST else setting.target
        self.wanted = setting.question
        self._choice.busy(True, f"looking for the way to {goal} ...")
        self.live.request(setting)

    def stop(self) -> None:
        """End the search that is under way."""
        if self.wanted is not None:
            self._refuse(self.wanted, "stopped before a way was found; Find searches again.", error=False)

    def flush(self) -> None:
        """Wait for the search that is under way, if it takes no more than a moment."""
        if self.wanted is not None and self._session.quick(self._present()):
            self.live.flush()

    def close(self) -> None:
        """End what is under way, and the thread."""
        self.wanted = None
        self.live.close()

    def _search(self, setting: CounterfactualSetting) -> Way:
        return self._session.search(setting, stop=lambda: self.wanted != setting.question)

    def _found(self, setting: CounterfactualSetting, _: Way) -> None:
        if setting.question == self._present().question:
            self.wanted = None
            self._choice.busy(False)
            self._then()

    def _not_found(self, setting: CounterfactualSetting, error: BaseException) -> None:
        """Tell why a search failed, unless it was ended on purpose."""
        if setting.question == self.wanted and not isinstance(error, Stopped):
            self._refuse(setting.question, tell(error), error=True)

    def _refuse(self, question: tuple[Any, ...], text: str, error: bool) -> None:
        """Say why there is no way, and search it no more until Find is pressed."""
        self.wanted = None
        self._refused[question] = (text, error)
        self._choice.busy(False)
        self._choice.say(text, error)
