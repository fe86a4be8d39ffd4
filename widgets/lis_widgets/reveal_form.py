"""The form of the reveal game: see more, type what it is, choose the class, submit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from .assets import css, esm

ACTIONS = ("more", "submit", "no idea", "skip")
LONGEST = 200  # letters, as in an answer


class RevealForm(anywidget.AnyWidget):
    """Fields and buttons of one question after the other; drawn by `static/reveal_form.js`.

    Every message of the browser names the question that it is of, so that a key pressed twice answers one question.

    Attributes
    ----------
    number : int
        Of the question; rises with each that is shown.
    step, steps : int
        How much is revealed, and of how many steps.
    choices : list of str
        Classes to guess among.
    done, total : int
        Questions answered, and all.
    headline, feedback : str
        Who plays and what was reached; what was done last, read aloud.
    finished : bool
        Whether there is no question left.
    draft, guess : str
        What is typed and chosen but not sent; a page that is loaded anew shows it again.

    Examples
    --------
    >>> form = RevealForm()
    >>> form.on_action(lambda action, label, guess: print(action, label, guess))
    """

    _esm = esm("kit.js", "keys.js", "reveal_form.js")
    _css = css("lis.css", "reveal_form.css")

    number = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(1).tag(sync=True)
    steps = traitlets.Int(6).tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    done = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    headline = traitlets.Unicode("").tag(sync=True)
    feedback = traitlets.Unicode("").tag(sync=True)
    finished = traitlets.Bool(False).tag(sync=True)
    longest = traitlets.Int(LONGEST).tag(sync=True)
    draft = traitlets.Unicode("").tag(sync=True)
    guess = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._react: list[Callable[[str, str, str | None], Any]] = []
        super().__init__(**traits)
        self.on_msg(self._receive)

    def on_action(self, callback: Callable[[str, str, str | None], Any]) -> None:
        """Call back with what was asked for, the label and the class (None for none), of the present question."""
        self._react.append(callback)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take what the browser asks for; what is malformed, or of another question, is passed over."""
        action = content.get("kind") if isinstance(content, dict) else None
        if action in ACTIONS and content.get("question") == self.number:
            label, guess = content.get("label"), content.get("guess")
            for callback in self._react:
                callback(
                    action, label if isinstance(label, str) else "", guess if isinstance(guess, str) else None
                )
        self.send({"kind": "taken"})  # a sign of life, whatever it was
