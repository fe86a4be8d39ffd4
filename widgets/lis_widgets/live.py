"""Renders off the event loop: the newest request wins, and its result is shown where it was asked for."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

COUNTED = ("requested", "computed", "shown", "dropped", "failed")
POLL = 0.5  # seconds: waiting in slices lets Ctrl-C through on every system
LAST_WAIT = 1.0  # seconds that a computation under way may take when the interpreter ends


@dataclass(eq=False)
class _Request:
    number: int  # counted from 1
    x: Any
    loop: asyncio.AbstractEventLoop | None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    result: Any = None
    error: BaseException | None = None


class Live:
    """Compute in a thread and show on the event loop; what a newer request overtakes is dropped.

    Never two computations at once, results in the order of the requests, and the last request is always shown. Any
    thread may ask. Where no event loop runs (a script, a test), `request` computes and shows before it returns.

    Parameters
    ----------
    compute : callable
        request -> result, in the worker thread. It brings its own `torch.no_grad`, which is per thread.
    show : callable
        (request, result), on the event loop of the request. One at a time.
    fail : callable
        (request, error) in place of `show`, when `compute` or `show` raised.

    Attributes
    ----------
    counts : dict
        Requests so far: requested, computed, shown, dropped (overtaken by a newer one, computed or not), failed.

    Examples
    --------
    >>> live = Live(lambda value: session.tune(start, {17: value}), show, fail)
    >>> live.request(1.2)
    """

    def __init__(
        self,
        compute: Callable[[Any], Any],
        show: Callable[[Any, Any], None],
        fail: Callable[[Any, BaseException], None],
    ) -> None:
        self._compute, self._show, self._fail = compute, show, fail
        self._changed = threading.Condition()  # guards everything below but `_showing`
        self._waiting: _Request | None = None  # the newest one not begun
        self._running: _Request | None = None
        self._runner: int | None = None  # the thread that computes `_running`
        self._done: _Request | None = None  # computed, not shown
        self._settled = 0  # number of the newest request that was shown or failed
        self._counts = dict.fromkeys(COUNTED, 0)
        self._closed = False
        self._thread: threading.Thread | None = None
        self._showing = threading.RLock()  # taken before `_changed`, never after it
        self._in_show = False
        _all.add(self)

    @property
    def counts(self) -> dict[str, int]:
        """How many requests there were, and what became of them."""
        with self._changed:
            return dict(self._counts)

    def request(self, x: Any) -> None:
        """Ask for `x` to be computed and shown; overtakes every earlier request that is not shown yet."""
        loop = _running_loop()
        with self._changed:
            if self._closed:
                return
            if loop is None and self._runner == threading.get_ident() and self._running is not None:
                loop = self._running.loop  # asked by `compute` itself
            self._counts["requested"] += 1
            if self._waiting is not None:
                self._counts["dropped"] += 1
            self._waiting = _Request(self._counts["requested"], x, loop)
            if loop is not None:
                self._start()
                self._changed.notify_all()
        if loop is None:
            self.flush()

    def flush(self) -> None:
        """Finish the newest request and show it, in the calling thread; at once where nothing is under way.

        Inside `compute` or `show` it does nothing: what is asked for there comes next.
        """
        if self._nested():
            return
        with self._changed:
            wanted = self._counts["requested"]
        while self._flush_one(wanted):
            pass
        with self._showing:  # another thread may be in the midst of showing
            pass

    def close(self) -> None:
        """Drop what is waiting and end the thread; what is being computed is not shown any more."""
        with self._changed:
            self._closed = True
            for dropped in (self._waiting, self._done):
                self._counts["dropped"] += dropped is not None
            self._waiting = self._done = None
            self._changed.notify_all()

    def _nested(self) -> bool:
        if self._runner == threading.get_ident():
            return True
        if self._showing.acquire(blocking=False):  # an RLock: granted to the thread that has it already
            nested = self._in_show
            self._showing.release()
            return nested
        return False

    def _flush_one(self, wanted: int) -> bool:
        """Wait for the running computation, or do the waiting one, and show; False when nothing is left to do."""
        todo = None
        with self._changed:
            while self._running is not None:
                self._changed.wait(POLL)
            asked_here = self._waiting is not None and self._waiting.loop is None  # by `compute` or `show`
            if self._settled >= wanted and not asked_here:
                return False
            if self._done is None or self._done.number < wanted or asked_here:
                if self._waiting is None and self._done is None:
                    return False
                todo = self._take() if self._waiting is not None else None
        if todo is not None:
            self._run(todo, Exception)
        self._deliver()
        return True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="lis-live", daemon=True)
            self._thread.start()

    def _take(self) -> _Request:
        """Begin the waiting request; the caller holds `_changed`, and calls `_run` next."""
        todo = self._waiting
        assert todo is not None
        self._waiting, self._running, self._runner = None, todo, threading.get_ident()
        return todo

    def _run(self, todo: _Request, caught: type[BaseException]) -> None:
        """Compute, and leave the result to be shown; what is not caught goes on, and the request waits again."""
        finished = False
        try:
            todo.result = self._compute(todo.x)
            finished = True
        except caught as error:
            todo.error = error
            finished = True
        finally:
            with self._changed:
                self._running = self._runner = None
                self._counts["computed"] += finished and todo.error is None
                slot = "_done" if finished else "_waiting"
                overtaken = getattr(self, slot) is not None  # an older result, or a newer request
                self._counts["dropped"] += self._closed or overtaken
                if not self._closed and (finished or not overtaken):
                    setattr(self, slot, todo)
                self._changed.notify_all()

    def _deliver(self) -> None:
        """Show the newest result, if there is one that was not shown."""
        with self._showing:
            if self._in_show:
                return  # a nested event loop inside `show`
            with self._changed:
                done, self._done = self._done, None
            if done is None:
                return
            self._in_show = True
            try:
                self._tell(done)
            except Exception:
                raise
            except BaseException:  # Ctrl-C: the next flush, or the next result, shows again
                with self._changed:
                    if self._done is None and not self._closed:
                        self._done = done
                    else:
                        self._counts["dropped"] += 1
                raise
            finally:
                self._in_show = False

    def _tell(self, done: _Request) -> None:
        error = done.error
        if error is None:
            try:
                self._show(done.x, done.result)
            except Exception as raised:
                error = raised
        with self._changed:
            self._counts["shown" if error is None else "failed"] += 1
            self._settled = done.number
        if error is not None:
            self._fail(done.x, error)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (
                    self._running is not None or self._waiting is None or self._waiting.loop is None
                ):
                    self._changed.wait()
                if self._closed:
                    return
                todo = self._take()
            self._run(todo, BaseException)  # no Ctrl-C reaches this thread
            self._hand_over(todo)

    def _hand_over(self, done: _Request) -> None:
        """Have the result shown on the event loop of the request; here, when that loop is gone."""
        loop = done.loop
        if loop is not None and loop.is_running():
            try:
                loop.call_soon_threadsafe(self._deliver, context=done.context)
                return
            except RuntimeError:
                pass  # closed since
        try:
            self._deliver()
        except Exception:
            logging.getLogger(__name__).exception("a result could not be shown")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_all: weakref.WeakSet[Live] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Let computations end before the interpreter does: threads that die inside torch can take the process along."""
    for live in list(_all):
        live.close()
        with live._changed:
            if live._running is not None and live._runner != threading.get_ident():
                live._changed.wait(LAST_WAIT)
