"""One player's way through a game, without a screen: what is shown, what is taken, what is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import LisError
from ..images import convert_range
from .answers import ANSWER, COUNTED, LONGEST_NAME, MORE, NO_IDEA, SKIP, Answer, Answers
from .game import Game, Question
from .reveal import REVEAL_SHARES

__all__ = ["GameSession", "Told"]

STEPS = len(REVEAL_SHARES)


@dataclass(frozen=True)
class Told:
    """What a player is told after a picture's last question: the class, right guesses of all, points."""

    target: str
    right: int
    asked: int
    points: int


class GameSession:
    """A player's questions, one at a time; whatever is said is in the file at once, and from there it is gone on.

    What a class is, is told when all questions of the picture are answered: before, it would give the others away.

    Parameters
    ----------
    game : Game
    answers : file of answers, or its path.
    player : name; the same name goes on where it stopped.

    Attributes
    ----------
    question : the question that is asked; None when all are answered.
    step : how much of it is revealed, 1 to 6.

    Raises
    ------
    LisError : no name, or a file that can't be read.

    Examples
    --------
    >>> session = GameSession(game, "answers.jsonl", "ann")
    >>> session.more()
    >>> session.submit("long sleeve", "Coat")
    """

    def __init__(self, game: Game, answers: Answers | str | os.PathLike[str], player: str) -> None:
        if not isinstance(game, Game):
            raise LisError(f"the game is {type(game).__name__}; a Game was expected.")
        name = player.strip() if isinstance(player, str) else ""
        if not name or len(name) > LONGEST_NAME:
            raise LisError(f"the player is {player!r}; a name of 1 to {LONGEST_NAME} letters was expected.")
        self.game, self.player = game, name
        self.answers = answers if isinstance(answers, Answers) else Answers(answers)
        self.question: Question | None = None
        self.step = 1
        self._finished: Told | None = None
        self._given: dict[tuple[str, int, str, int], Answer] = {}
        self._order = game.order(name)
        self.refresh()

    @property
    def total(self) -> int:
        """How many questions there are."""
        return len(self.game)

    @property
    def done(self) -> int:
        """How many of them the player has answered."""
        return len(self._given)

    @property
    def share(self) -> float:
        """How much of the picture is revealed, as a share of its pixels."""
        return REVEAL_SHARES[self.step - 1]

    @property
    def told(self) -> list[Told]:
        """What the player may know by now: pictures of which every question is answered."""
        told = (self._told(questions) for questions in self._pictures())
        return [one for one in told if one is not None]

    @property
    def finished(self) -> Told | None:
        """The picture that was done with the last answer; None where none was."""
        return self._finished

    @property
    def score(self) -> int:
        """Points so far: for a right guess 6 at the first step, 1 at the last; of pictures that are done."""
        return sum(one.points for one in self.told)

    def panel(self) -> np.ndarray:
        """Return what is seen, uint8 [1, H, W, 3]; of a finished game the last picture, whole.

        Raises
        ------
        LisError
            When the picture can't be revealed.
        """
        question = self.question or self._order[-1]
        x = question.x if self.question is None else question.picture(self.step)  # [C, H, W]
        return _rgb(x)

    def more(self) -> None:
        """Reveal the next step.

        Raises
        ------
        LisError
            When everything is revealed already, or nothing is asked.
        """
        question = self._asked()
        if self.step >= STEPS:
            raise LisError(f"all {STEPS} steps are revealed; there is no more to see.")
        self._write(question, MORE, step=self.step + 1)
        self.step += 1

    def submit(self, label: str, guess: str | None) -> None:
        """Say what the cluster shows, and which class the picture is of; the next question follows.

        Raises
        ------
        LisError
            For an empty label, a class that is no choice, or when the file can't be written; the question stays.
        """
        question = self._asked()
        text = " ".join(label.split()) if isinstance(label, str) else ""
        if not text:
            raise LisError("the label is empty: type what you see, or press No idea.")
        if guess not in question.choices:
            raise LisError("no class is chosen: choose one, or press No idea.")
        self._write(question, ANSWER, label=text, guess=guess)
        self._next()

    def no_idea(self, guess: str | None = None) -> None:
        """Say that the cluster shows nothing that can be named, perhaps with a class; the next question follows."""
        question = self._asked()
        self._write(question, NO_IDEA, guess=guess if guess in question.choices else None)
        self._next()

    def skip(self) -> None:
        """Put the question off: it comes again at the end."""
        self._write(self._asked(), SKIP)
        self._next()

    def refresh(self) -> None:
        """Read the file again, and go on with the first question that the player has not answered."""
        self.answers.refresh()
        self._next()

    def _told(self, questions: list[Question]) -> Told | None:
        given = [self._given[one.key] for one in questions if one.key in self._given]
        if len(given) < len(questions):
            return None
        hits = [one for one in given if one.guess == questions[0].target]
        return Told(questions[0].target, len(hits), len(given), sum(STEPS + 1 - one.step for one in hits))

    def _asked(self) -> Question:
        if self.question is None:
            raise LisError("all questions are answered; there is none to answer.")
        return self.question

    def _write(
        self,
        question: Question,
        kind: str,
        label: str = "",
        guess: str | None = None,
        step: int | None = None,
    ) -> None:
        told = self.step if step is None else step
        self.answers.add(Answer(self.player, *question.key, question.target, label, guess, told, kind))
        self._finished = None
        if kind in COUNTED:
            self._take_stock()
            whole = (question.explanation, question.image)
            same = [one for one in self._order if (one.explanation, one.image) == whole]
            self._finished = self._told(same)

    def _next(self) -> None:
        """Ask the first question that is open, those put off last, as far revealed as it was."""
        steps, skipped = self._take_stock()
        open_ = [question for question in self._order if question.key not in self._given]
        open_.sort(key=lambda question: skipped.get(question.key, -1))
        self.question = open_[0] if open_ else None
        self.step = 1 if self.question is None else steps.get(self.question.key, 1)

    def _take_stock(self) -> tuple[dict[Any, int], dict[Any, int]]:
        """Go through the player's lines: how far questions were revealed, and which were put off, in order."""
        given: dict[tuple[str, int, str, int], Answer] = {}
        skipped: dict[tuple[str, int, str, int], int] = {}
        steps: dict[tuple[str, int, str, int], int] = {}
        for place, one in enumerate(self.answers.of_player(self.player)):
            if one.kind in COUNTED:
                given.setdefault(one.key, one)
            elif one.kind == SKIP:
                skipped[one.key] = place
            steps[one.key] = max(one.step, steps.get(one.key, 1))
        self._given = {key: one for key, one in given.items() if self.game.find(key) is not None}
        return steps, skipped

    def _pictures(self) -> list[list[Question]]:
        found: dict[tuple[str, int], list[Question]] = {}
        for question in self._order:
            found.setdefault((question.explanation, question.image), []).append(question)
        return list(found.values())


def _rgb(x: Tensor) -> np.ndarray:
    """Return a picture [C, H, W] in the unit range as uint8 [1, H, W, 3]."""
    pixels = convert_range(x, "unit", "byte")
    return np.ascontiguousarray(pixels.permute(1, 2, 0).expand(-1, -1, 3).numpy())[None]  # type: ignore[no-any-return]
