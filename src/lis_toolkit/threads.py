"""How many threads numeric libraries use: one, where more would change results or only wait for each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["SMALL", "one_thread", "threads_for"]

# Numbers in a matrix up to which scikit-learn's solvers are quicker in one thread: seen from 700 x 256 (23 times) to
# 20,000 x 1,024 (1.7 times) on 2 cores. Threads of small products spend their time waiting for each other.
SMALL = 2**25
_LIMITS = threading.RLock()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let numeric libraries use one thread inside: sums in another order give other last digits.

    Examples
    --------
    >>> with one_thread():
    ...     labels, score = cluster_maps(maps)
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # The limits are the process's: two threads must not restore each other's.
    with _LIMITS, threadpool_limits(limits=1):
        yield


def threads_for(size: int) -> contextlib.AbstractContextManager[None]:
    """Return `one_thread()` for work on a matrix of at most `SMALL` numbers, else a context that changes nothing.

    Examples
    --------
    >>> with threads_for(x.size):
    ...     model.fit(x, y)
    """
    return one_thread() if size <= SMALL else contextlib.nullcontext()
