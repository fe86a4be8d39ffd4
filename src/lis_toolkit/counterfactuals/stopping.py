"""Searches that can be told to stop: a check before every batch of pictures, in the thread that asked for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import LisError
from ..stylegan import Generator

__all__ = ["Stopped", "stoppable"]


class Stopped(LisError):
    """A search was told to stop before it was done."""


@contextmanager
def stoppable(generator: Generator, stop: Callable[[], bool] | None) -> Iterator[None]:
    """End what renders in this block, in this thread, with `Stopped` as soon as `stop()` is true.

    Asked before every batch that the generator renders: any method of search can be stopped within a moment, without
    having to know of it. The generator is as before afterwards.

    Parameters
    ----------
    stop : whether to stop; None: never.

    Raises
    ------
    Stopped : when `stop()` is true and a batch is to be rendered.

    Examples
    --------
    >>> with stoppable(generator, lambda: pressed):
    ...     find_counterfactuals(generator, classifier, link, r, "Coat", method="paper")
    """
    thread = threading.get_ident()

    def check(*_: Any) -> None:
        if stop is not None and threading.get_ident() == thread and stop():
            raise Stopped("the search was stopped.")

    hook = generator.synthesis.register_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()
