"""A lock between processes that the system takes back when its owner ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

try:
    import fcntl
except ImportError:  # not a POSIX system
    _LOCKS = False
else:
    _LOCKS = True


@contextlib.contextmanager
def locked(path: Path, name: str) -> Iterator[bool]:
    """Wait until nobody else works on `path`, and keep others out during the block.

    Yields
    ------
    bool
        False where the system or the file system has no locks: others may be at work.

    Examples
    --------
    >>> with locked(Path("cache/model.pkl"), "model"):
    ...     ...
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _acquire(lock, name)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            # Removed while it is held: who waits for it finds another file, or none, under its name, and asks again.
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(handle)


def _acquire(lock: Path, name: str) -> int | None:
    if not _LOCKS:
        return None
    told = False
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    tqdm.write(
                        f"{name} is being downloaded by another process; waiting for it.", file=sys.stderr
                    )
                told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(lock)):
                    return handle
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                lock.unlink()
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
