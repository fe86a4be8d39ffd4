"""Answers as CSV, for spreadsheets and for crowds asked elsewhere; several files of answers as one."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import LisError
from ..files import atomic_path
from ..names import cut, spelling_hint
from .answers import ANSWER, NO_IDEA, Answer, Answers, as_line, now

__all__ = ["export_csv", "import_csv", "merge_answers"]

COLUMNS = ("player", "explanation", "image", "layer", "cluster", "target", "label", "guess", "step", "kind", "time",
           "versions")  # fmt: skip
NEEDED = COLUMNS[:9]
# What a spreadsheet takes a text for a formula by; some take the wide forms of Asian keyboards, too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
MARK = "'"


def export_csv(
    answers: Answers | Iterable[Answer], path: str | os.PathLike[str], everything: bool = False
) -> int:
    """Write answers as CSV, atomically; return how many.

    UTF-8 with a byte order mark, so that spreadsheets read every letter. A text that a spreadsheet would take for a
    formula (one that begins with =, +, -, @, their wide forms, a tab or a line's end) gets an apostrophe before it,
    as does one that begins with an apostrophe; `import_csv` takes it away again.

    Parameters
    ----------
    answers : a file of answers, or answers.
    path : of the CSV file.
    everything : "more" and "skip", and repeated answers, too.

    Raises
    ------
    LisError : a file that can't be written.

    Examples
    --------
    >>> export_csv(Answers("answers.jsonl"), "answers.csv")
    12
    """
    from .answers import counted

    listed = list(answers) if everything else counted(answers)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in listed:
        row = asdict(one) | {"versions": json.dumps(one.versions, sort_keys=True)}
        writer.writerow(["" if row[name] is None else _harmless(str(row[name])) for name in COLUMNS])
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", "replace"))
    return len(listed)


def import_csv(path: str | os.PathLike[str]) -> list[Answer]:
    """Read answers from CSV, ours or from elsewhere.

    Needed are the columns player, explanation, image, layer, cluster, target, label, guess and step, in any order; kind
    (default: "answer", "no idea" where the label is empty), time (default: now) and versions may be there; others are
    passed over.

    Raises
    ------
    LisError : a file that can't be read or is no such CSV, with the line and what is wrong in it.

    Examples
    --------
    >>> for answer in import_csv("crowd.csv"):
    ...     answers.add(answer)
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LisError(f"can't read {path}: {error}.") from error
    except UnicodeDecodeError as error:
        raise LisError(f"{path} is not UTF-8 (byte {error.start}): save it as CSV with UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[Answer] = []
    begins, moment = 1, now()
    try:
        heads = [head.strip().lower() for head in next(reader, [])]
        _check_heads(path, heads)
        begins = reader.line_num + 1
        for row in reader:
            if row:
                found.append(_answer(path, begins, heads, row, moment))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise LisError(f"{path}, line {begins}: {error}; it is no proper CSV.") from error
    return found


def merge_answers(
    paths: Iterable[str | os.PathLike[str]], into: str | os.PathLike[str], leave_out_damaged: bool = False
) -> int:
    """Write several files of answers as a new one, the same line only once; return how many lines.

    Parameters
    ----------
    paths : of the files; they stay as they are.
    into : a file that is not there yet.
    leave_out_damaged : whether lines that are no answers are left out; else they are an error.

    Raises
    ------
    LisError : no files, one that is not there or has damaged lines, a file `into` that is there already.

    Examples
    --------
    >>> merge_answers(["ann.jsonl", "ben.jsonl"], into="all.jsonl")
    24
    """
    lines: dict[str, None] = {}
    listed = list(paths)
    if Path(into).exists():
        raise LisError(f"{into} is there already, and is not written over: give the path of a new file.")
    for path in listed:
        if not Path(path).is_file():
            raise LisError(f"there is no file {path}; give files of answers.")
        answers = Answers(path)
        if answers.damaged and not leave_out_damaged:
            bad = answers.damaged[0]
            raise LisError(
                f"{path}, line {bad.line} is no answer: {bad.reason} Mend it, or leave such lines out ({bad.text!r})."
            )
        lines.update(dict.fromkeys(map(as_line, answers)))
    if not listed:
        raise LisError("there are no files to merge; give at least one.")
    with atomic_path(into) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return len(lines)


def _harmless(text: str) -> str:
    return MARK + text if text.startswith((*FORMULA, MARK)) else text


def _plain(text: str) -> str:
    return text[1:] if text[:1] == MARK and text[1:2] in (*FORMULA, MARK) else text


def _check_heads(path: Any, heads: list[str]) -> None:
    lacking = [name for name in NEEDED if name not in heads]
    if lacking:
        hint = spelling_hint(lacking[0], [head for head in heads if head not in COLUMNS])
        has = cut(", ".join(heads), 120) or "none"
        raise LisError(f"{path}, line 1: there is no column {', '.join(lacking)}; it has {has}.{hint}")
    twice = [name for name in COLUMNS if heads.count(name) > 1]
    if twice:
        raise LisError(f"{path}, line 1: the column {twice[0]} is there {heads.count(twice[0])} times.")


def _answer(path: Any, line: int, heads: list[str], row: list[str], moment: str) -> Answer:
    if len(row) != len(heads):
        raise LisError(f"{path}, line {line}: {len(row)} cells for {len(heads)} columns.")
    cells: dict[str, Any] = {
        head: _plain(cell) for head, cell in zip(heads, row, strict=True) if head in COLUMNS
    }
    try:
        numbers: dict[str, Any] = {
            name: _whole(name, cells.pop(name)) for name in ("image", "cluster", "step")
        }
        guess = cells.pop("guess") or None
        kind = cells.pop("kind", "") or (ANSWER if cells["label"].strip() else NO_IDEA)
        versions = _versions(cells.pop("versions", ""))
        time = cells.pop("time", "") or moment
        return Answer(**cells, **numbers, guess=guess, kind=kind, time=time, versions=versions)
    except LisError as error:
        raise LisError(f"{path}, line {line}: {error}") from error


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise LisError(f"{name} is {cut(text, 40)!r}; a whole number was expected.") from None


def _versions(text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise LisError(f"versions are {cut(text, 40)!r}; JSON was expected.") from None
    return found  # type: ignore[no-any-return]  # Answer looks at it
