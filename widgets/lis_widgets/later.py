"""Work that can wait: the newest of many requests, after a pause."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

HEAD_START = 0.03  # seconds in which the picture goes out before anything else is worked on
LOST = 1.0  # seconds after which a timer that did not come is given up: the thread that had it may have ended


class Later:
    """Call the newest function that was asked for, after a pause, on the event loop of the request.

    Without a running event loop it is called at once.

    Parameters
    ----------
    pause : seconds between two calls; with `quiet`, seconds without a request before a call.

    Examples
    --------
    >>> later = Later(0.2)
    >>> later.ask(lambda: charts.show(figures(state)))
    """

    def __init__(self, pause: float, quiet: bool = False) -> None:
        self.pause, self.quiet = pause, quiet
        self._function: Callable[[], Any] | None = None
        self._due = self._last = 0.0
        self._ticking = False
        self._lock = threading.Lock()

    @property
    def waiting(self) -> bool:
        """Whether a function was asked for that was not called yet."""
        return self._function is not None

    def ask(self, function: Callable[[], Any]) -> None:
        """Call a function in a while; one that was asked for before and still waits is forgotten."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.cancel()
            function()
            return
        with self._lock:
            now = time.monotonic()
            on_its_way = self._ticking and now < self._due + LOST
            self._function = function
            if self.quiet:
                self._due = now + self.pause
            elif not on_its_way:
                self._due = max(now + HEAD_START, self._last + self.pause)
            if on_its_way:
                return
            self._ticking = True
        loop.call_later(self._due - now, self._tick, loop)

    def flush(self) -> None:
        """Call at once what waits."""
        with self._lock:
            function, self._function = self._function, None
            self._last = time.monotonic()
        if function is not None:
            function()

    def cancel(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._function = None

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            left = self._due - time.monotonic()
            if self._function is not None and left > 0:
                loop.call_later(left, self._tick, loop)
                return
            self._ticking = False
        self.flush()
