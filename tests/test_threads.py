"""How many threads numeric libraries use inside, and that the number is what it was afterwards."""

import contextlib

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lis_toolkit import threads
from lis_toolkit.threads import one_thread, threads_for


def used():
    np.ones((2, 2)) @ np.ones((2, 2))  # the library is loaded
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two():
    with threadpool_limits(limits=2):
        yield


def test_one_thread_inside_and_as_before_after():
    assert used() == {2}
    with one_thread():
        assert used() == {1}
        with one_thread():  # a function inside a function
            assert used() == {1}
        assert used() == {1}
    assert used() == {2}
    with contextlib.suppress(KeyboardInterrupt), one_thread():
        raise KeyboardInterrupt
    assert used() == {2}


def test_large_work_keeps_its_threads(monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 100)
    with threads_for(100):
        assert used() == {1}
    with threads_for(101):
        assert used() == {2}
