"""A game that names what cluster maps show: a picture revealed step by step, a text, and a guess of the class."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

import ipywidgets

from lis_toolkit.labels import Answers, Game, GameSession

from .message import Message
from .picture import Picture
from .reveal_form import RevealForm
from .snapshot import Snapshot, static_html

TARGET = 320  # CSS pixels of the picture


class RevealGame(Snapshot, ipywidgets.VBox):
    """Play the reveal game: of each cluster, what it shows and which class the picture is of.

    A cluster's most salient pixels are revealed in six steps. Every answer is in the file before the next question is
    shown; the same player goes on where the answers of the file end, and several may play at once, in one notebook or
    in many. Everything works by keys: Enter submits, the down arrow in the text field shows more. What the class is, is
    told when all questions of a picture are answered.

    Parameters
    ----------
    game : Game, or explanations
        What `explain_images` returned, or a `Game` of it.
    answers : path or Answers
        File of answers, one JSON line each; begun where it is not there.
    player : str
        Name under which the answers are kept.
    seed : int
        Of the order of questions, where explanations were given.

    Attributes
    ----------
    session : GameSession
        What is asked, and what was said.
    picture : Picture
    form : RevealForm
    message : Message
        Errors, below the form.

    Raises
    ------
    LisError
        What is no game, no name, a file that can't be read. Later errors are shown in the widget.

    Examples
    --------
    >>> from lis_widgets import RevealGame
    >>> RevealGame(explain_images(classifier, photographs.images[:8]), answers="answers.jsonl", player="ann")
    """

    def __init__(
        self,
        game: Game | Iterable[Any],
        answers: str | os.PathLike[str] | Answers = "answers.jsonl",
        player: str = "player 1",
        *,
        seed: int = 0,
    ) -> None:
        played = game if isinstance(game, Game) else Game(game, seed)
        file = answers if isinstance(answers, Answers) else Answers(answers)
        self.session = GameSession(played, file, player)
        self._lock = (
            threading.RLock()
        )  # messages come in a thread of their own where JupyterLab has subshells
        self.picture, self.form, self.message = Picture(target=TARGET), RevealForm(), Message()
        self.picture.layout.flex = "0 1 auto"
        self.form.layout.flex = "1 1 340px"
        row = ipywidgets.HBox(
            [self.picture, self.form], layout={"flex_flow": "row wrap", "overflow": "visible"}
        )
        row.add_class("lis-game-row")
        super().__init__([row, self.message])
        self.add_class("lis-game")
        self.add_class("lis-explorer")
        self.form.on_action(self._act)
        went_on = f"Welcome back, {self.session.player}." if self.session.done else ""
        self._show(went_on, True)
        damaged = self.session.answers.damaged
        if damaged:
            self.message.note(
                f"{self.session.answers.path} has {len(damaged)} damaged lines, which are kept but not read: the first "
                f"is line {damaged[0].line}, {damaged[0].reason}"
            )

    @property
    def answers(self) -> Answers:
        """The file of answers."""
        return self.session.answers

    def refresh(self) -> None:
        """Read the file of answers again, and show what is asked now: another program may have answered."""
        with self._lock:
            self.session.refresh()
            self._show("", True)

    def static_view(self) -> str:
        """Return the picture as it is revealed, for pages without a kernel."""
        return static_html(self.session.panel(), [self._caption()], "What does it show?", TARGET)

    def _act(self, action: str, label: str, guess: str | None) -> None:
        """Do what a player asks for; what goes wrong is told, and the question stays."""
        with self._lock:
            session = self.session
            try:
                if action == "more":
                    session.more()
                    said = f"Step {session.step} of {self.form.steps}: {session.share:.1%} of the picture is revealed."
                elif action == "submit":
                    session.submit(label, guess)
                    said = "Saved."
                elif action == "no idea":
                    session.no_idea(guess)
                    said = "Saved as no idea."
                else:
                    session.skip()
                    said = "Put off: it comes again at the end."
                done = session.finished
                if done is not None and action != "more":
                    said += (
                        f" A picture is done: it was seen as {done.target}; you guessed so {done.right} of "
                        f"{done.asked} times (+{done.points} points)."
                    )
            except (
                Exception
            ) as error:  # whatever it is, the player must see it, and the next answer must be taken
                self.message.error(error)
                self.form.feedback = ""
                return
            self.message.clear()
            self._show(said, action != "more")

    def _caption(self) -> str:
        session = self.session
        if session.question is None:
            return "All questions are answered."
        return f"{session.share:.1%} of the picture, step {session.step} of {self.form.steps}"

    def _show(self, said: str, fresh: bool) -> None:
        """Show the present question; `fresh`: it is another one, and the fields are emptied."""
        session, form = self.session, self.form
        if session.question is not None:
            caption = self._caption()
            self.picture.show(
                session.panel(), [caption], [f"a picture of which {caption}, is revealed; the rest is grey"]
            )
        else:
            self.picture.show(session.panel(), [self._caption()])
        points = f"{session.score} point{'s' if session.score != 1 else ''}"
        with form.hold_sync():
            form.step, form.done, form.total = session.step, session.done, session.total
            form.headline = f"{session.player} · {session.done} of {session.total} answered · {points}"
            form.finished = session.question is None
            form.choices = [] if session.question is None else list(session.question.choices)
            form.feedback = said
            if fresh:
                form.draft = form.guess = ""
                form.number += 1
