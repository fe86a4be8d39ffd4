"""Folders of results: filled out of sight, and put in place only when they are complete."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from .errors import LisError

__all__ = ["output_folder"]


@contextlib.contextmanager
def output_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder whose files are moved into `out` when the block ends without an error.

    After an error or Ctrl-C `out` is as it was before. Files of other names that are already in `out` stay.

    Raises
    ------
    LisError
        Before the block runs: `out` is a file, or nothing can be written there. After it: a file of the results
        can't be put in place.

    Examples
    --------
    >>> with output_folder("demo") as folder:
    ...     (folder / "metrics.json").write_text("{}")
    """
    target = Path(out).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise LisError(
            f"can't write results to {out}: it is a file; give a folder, which need not exist yet."
        )
    # Inside an existing folder, which may be a mount of its own; else beside its future place, to be moved in one step.
    existing = next(folder for folder in (target, *target.parents) if folder.exists())
    temporary = existing / f".lis-{secrets.token_hex(4)}"
    try:
        temporary.mkdir()
    except OSError as error:
        raise LisError(
            f"can't write results to {out}: {existing} is not a writable folder ({error.strerror}); give another one."
        ) from error
    try:
        yield temporary
        with _no_interrupt():
            _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(source: Path, target: Path) -> None:
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
            return
        for path in sorted(source.rglob("*")):
            place = target / path.relative_to(source)
            if path.is_dir():
                place.mkdir(exist_ok=True)
            else:
                os.replace(path, place)
    except OSError as error:
        raise LisError(f"can't put the results into {target}: {error}. Give another folder.") from error


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let the moving of finished files, a matter of milliseconds, not be torn in two by Ctrl-C or SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
