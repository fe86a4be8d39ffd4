"""What players say, one JSON line an answer, appended at once: several players, several processes, nothing lost."""

from __future__ import annotations

import datetime
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..files import package_version
from ..names import cut
from .reveal import REVEAL_SHARES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Answer", "Answers", "DamagedLine"]

ANSWER, NO_IDEA, MORE, SKIP = KINDS = ("answer", "no idea", "more", "skip")
COUNTED = (ANSWER, NO_IDEA)  # what ends a question; "more" and "skip" tell where a player stopped
LONGEST = 200  # letters of a label
LONGEST_NAME = 80  # letters of a player's name
_TEXTS = ("player", "explanation", "layer", "target", "time")
_NUMBERS = ("image", "cluster", "step")


def now() -> str:
    """Return the time, UTC, as it is written in answers."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    return {"lis_toolkit": package_version()}


@dataclass(frozen=True)
class Answer:
    """One thing that a player said or did.

    Attributes
    ----------
    player : name.
    explanation, image, layer, cluster : which question, see `Question`.
    target : the class that the explanation is of.
    label : what the player typed; empty for everything but an answer.
    guess : the class that the player guessed; None for no guess.
    step : how much was revealed then, 1 to 6.
    kind : "answer", "no idea", "more" (asked to see more) or "skip" (put off).
    time : UTC, ISO 8601.
    versions : of the package that took it.
    """

    player: str
    explanation: str
    image: int
    layer: str
    cluster: int
    target: str
    label: str = ""
    guess: str | None = None
    step: int = 1
    kind: str = ANSWER
    time: str = field(default_factory=now)
    versions: dict[str, str] = field(default_factory=_versions)

    def __post_init__(self) -> None:
        """Refuse what is no answer."""
        for name in (*_TEXTS, "label"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise LisError(f"{name} is {cut(repr(value), 80)}; a text was expected.")
        for name in _NUMBERS:
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise LisError(f"{name} is {cut(repr(value), 80)}; a whole number from 0 was expected.")
        if not self.player.strip() or len(self.player) > LONGEST_NAME:
            raise LisError(
                f"the player's name has {len(self.player)} letters; 1 to {LONGEST_NAME} were expected."
            )
        if self.kind not in KINDS:
            raise LisError(f"kind is {cut(repr(self.kind), 80)}; one of {', '.join(KINDS)} was expected.")
        if not 1 <= self.step <= len(REVEAL_SHARES):
            raise LisError(f"step is {self.step}; 1 to {len(REVEAL_SHARES)} was expected.")
        if self.guess is not None and not isinstance(self.guess, str):
            raise LisError(
                f"guess is {cut(repr(self.guess), 80)}; the name of a class, or None, was expected."
            )
        if len(self.label) > LONGEST:
            raise LisError(f"the label has {len(self.label)} letters; at most {LONGEST} were expected.")
        if (self.kind == ANSWER) != bool(self.label.strip()):
            raise LisError(f"the label is {self.label!r} for the kind {self.kind!r}; only an answer has one.")
        told = self.versions
        if not isinstance(told, dict) or not all(isinstance(v, str) for pair in told.items() for v in pair):
            raise LisError(f"versions are {cut(repr(told), 80)}; names with texts were expected.")

    @property
    def key(self) -> tuple[str, int, str, int]:
        """Which question it is of: explanation, image, layer, cluster."""
        return (self.explanation, self.image, self.layer, self.cluster)

    @property
    def counts(self) -> bool:
        """Whether it ends its question: an answer, or no idea."""
        return self.kind in COUNTED


@dataclass(frozen=True)
class DamagedLine:
    """A line of a file that is no answer: where, what it begins with, and why."""

    line: int
    text: str
    reason: str


def as_answer(content: Any) -> Answer:
    """Return the answer that a JSON object tells; unknown names are passed over, for versions to come.

    Raises
    ------
    LisError
        When a field is missing or wrong.
    """
    if not isinstance(content, dict):
        raise LisError(f"it is {type(content).__name__}; an object was expected.")
    lacking = [name for name in (*_TEXTS, *_NUMBERS, "kind") if name not in content]
    if lacking:
        raise LisError(f"it has no {', '.join(lacking)}.")
    return Answer(**{one.name: content[one.name] for one in fields(Answer) if one.name in content})


class Answers:
    """A file of answers, one JSON line each, which is only ever appended to.

    Every line goes to the file in one write and to the disk at once, so that several players and processes can use one
    file, and a crash loses nothing that was said. (Network file systems may not append in one piece: give each player
    a file there, and join them by `merge_answers`.) A line that is torn or no answer is passed over, kept in the file,
    and listed in `damaged`.

    Parameters
    ----------
    path : of the file; it and its folder are made with the first answer.

    Attributes
    ----------
    path : Path
    damaged : list of DamagedLine

    Raises
    ------
    LisError : a file that can't be read.

    Examples
    --------
    >>> answers = Answers("answers.jsonl")
    >>> answers.add(Answer("ann", "8c1f", 0, "body.9", 1, "Coat", "long sleeve", "Coat", 2))
    >>> len(answers.counted)
    1
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.damaged: list[DamagedLine] = []
        self._all: list[Answer] = []
        self._read, self._lines = 0, 0  # bytes and lines that were taken from the file
        self._file: tuple[int, int] | None = None  # which file they were of
        self._lock = threading.RLock()
        self.refresh()

    def __len__(self) -> int:
        """Return the number of lines that are answers of any kind."""
        return len(self._all)

    def __iter__(self) -> Iterator[Answer]:
        """Go through all lines, in the order of the file."""
        return iter(tuple(self._all))

    @property
    def counted(self) -> list[Answer]:
        """The first answer, or "no idea", of every player to every question: the same twice counts once."""
        return counted(self._all)

    def of_player(self, player: str) -> list[Answer]:
        """Return all lines of a player."""
        return [one for one in self._all if one.player == player]

    def add(self, answer: Answer) -> None:
        """Append an answer; it is on the disk when this returns.

        Raises
        ------
        LisError
            When the file can't be written; nothing that was in it is touched.
        """
        data = (as_line(answer) + "\n").encode()
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _append(self.path, data)
            except OSError as error:
                raise LisError(
                    f"can't write the answer to {self.path}: {error}. It is not saved; make room "
                    "or rights, and send it again."
                ) from error
            self.refresh()

    def refresh(self) -> int:
        """Read what was added to the file since, by whomever; return how many answers."""
        with self._lock:
            try:
                with open(self.path, "rb") as file:
                    told = os.fstat(file.fileno())
                    if told.st_size < self._read or self._file not in (None, (told.st_dev, told.st_ino)):
                        self._all, self.damaged, self._read, self._lines = (
                            [],
                            [],
                            0,
                            0,
                        )  # another file in its place
                    self._file = told.st_dev, told.st_ino
                    file.seek(self._read)
                    data = file.read()
            except FileNotFoundError:
                self._all, self.damaged, self._read, self._lines = [], [], 0, 0
                return 0
            except OSError as error:
                raise LisError(f"can't read {self.path}: {error}.") from error
            before = len(self._all)
            self._take(data)
            return len(self._all) - before

    def table(self) -> pd.DataFrame:
        """Return what counts as a table, a row an answer, with the columns of `Answer` but versions."""
        import pandas as pd

        names = [one.name for one in fields(Answer) if one.name != "versions"]
        return pd.DataFrame([asdict(one) for one in self.counted], columns=names)

    def _take(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        self.damaged = [
            one for one in self.damaged if one.line <= self._lines
        ]  # a torn end is looked at again
        for line in whole:
            self._lines += 1
            self._take_line(line, self._lines)
        self._read += len(data) - len(rest)
        if rest.strip():  # torn by a crash, or being written
            before = len(self._all)
            self._take_line(rest, self._lines + 1)
            if len(self._all) > before:  # whole, but for its end of line, which may follow
                self._read += len(rest)

    def _take_line(self, line: bytes, number: int) -> None:
        if not line.strip():
            return
        try:
            self._all.append(as_answer(json.loads(line.decode("utf-8"))))
        except (ValueError, RecursionError) as error:  # LisError and what json and decoding raise
            text = line.decode("utf-8", "replace")
            self.damaged.append(DamagedLine(number, cut(text, 80), str(error)))


def counted(answers: Iterable[Answer]) -> list[Answer]:
    """Return the first answer, or "no idea", of every player to every question; first by time, then by order.

    A later one would be given after having seen more. The order of those returned is that of the input.

    Raises
    ------
    LisError : what is no answers.

    Examples
    --------
    >>> len(counted([answer, answer]))
    1
    """
    known: Any = answers  # whoever calls may give anything
    given = list(known) if isinstance(known, Iterable) and not isinstance(known, str) else [known]
    strange = [type(one).__name__ for one in given if not isinstance(one, Answer)]
    if strange:
        raise LisError(
            f"the answers are {strange[0]}; an Answers file, as Answers(path), or a list of Answer was expected."
        )
    listed = [one for one in given if one.counts]
    first: dict[Any, int] = {}
    for place, one in enumerate(listed):
        held = first.get((one.player, one.key))
        if held is None or _instant(one) < _instant(listed[held]):
            first[(one.player, one.key)] = place
    return [listed[place] for place in sorted(first.values())]


def _instant(answer: Answer) -> float:
    """Seconds of an answer's time; what can't be told comes last."""
    try:
        told = datetime.datetime.fromisoformat(answer.time)
    except ValueError:
        return math.inf
    return (told if told.tzinfo else told.replace(tzinfo=datetime.UTC)).timestamp()


def as_line(answer: Answer) -> str:
    """Return an answer as one line of JSON; half a surrogate pair, which no file can hold, becomes a question mark."""
    text = json.dumps(asdict(answer), ensure_ascii=False, separators=(", ", ": "))
    return text.encode("utf-8", "replace").decode()


def _append(path: Path, data: bytes) -> None:
    """Append bytes in one write; a torn line before them is ended first, so that it spoils no other."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                data = b"\n" + data
        written = os.write(handle, data)
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written; the disk may be full")
        os.fsync(handle)
    finally:
        os.close(handle)
