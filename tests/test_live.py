"""Live: the newest request wins, results come in order, the last one always; gates in place of waiting."""

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from lis_widgets import Live

LONG = 20  # seconds: a gate that nobody opens is a failure


class Bench:
    """A Live whose computations wait for a gate each, where one was set, and that notes everything."""

    def __init__(self):
        self.gates, self.begun, self.shown, self.failed, self.threads = {}, [], [], [], []
        self.started = {}
        self.inside, self.most_inside = 0, 0
        self.live = Live(self.compute, self.show, self.fail)

    def gate(self, *xs):
        for x in xs:
            self.gates[x], self.started[x] = threading.Event(), threading.Event()

    def compute(self, x):
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            self.begun.append(x)
            if x in self.gates:
                self.started[x].set()
                assert self.gates[x].wait(LONG), f"nobody opened the gate of {x}"
            if isinstance(x, BaseException):
                raise x
            return x * 2
        finally:
            self.inside -= 1

    def show(self, x, result):
        assert result == x * 2
        self.threads.append(threading.get_ident())
        self.shown.append(x)

    def fail(self, x, error):
        self.threads.append(threading.get_ident())
        self.failed.append((x, error))

    async def until(self, condition):
        end = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < end, (self.begun, self.shown, self.failed, self.live.counts)
            await asyncio.sleep(0.002)

    async def settled(self):
        def done():
            counts = self.live.counts
            return counts["requested"] == counts["shown"] + counts["dropped"] + counts["failed"]

        await self.until(done)
        await asyncio.sleep(0.02)  # whatever would still come


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.live.close()
    for gate in bench.gates.values():
        gate.set()


def test_without_a_loop_it_is_done_on_return(bench):
    for x in (1, 2, 3):
        bench.live.request(x)
        assert bench.shown[-1] == x
    assert bench.shown == [1, 2, 3] and set(bench.threads) == {threading.get_ident()}
    assert bench.live.counts == {"requested": 3, "computed": 3, "shown": 3, "dropped": 0, "failed": 0}


def test_newest_wins_older_are_dropped_last_is_shown(bench):
    bench.gate(0)

    async def main():
        bench.live.request(0)
        await asyncio.to_thread(bench.started[0].wait, LONG)
        for x in range(1, 10):
            bench.live.request(x)
        assert bench.shown == [] and bench.begun == [0]
        bench.gates[0].set()
        await bench.settled()

    asyncio.run(main())
    assert bench.begun == [0, 9]
    assert bench.shown in ([0, 9], [9])  # the first was overtaken or not, when it was done
    assert set(bench.threads) == {threading.get_ident()}, "shown on the loop, not in the worker"
    assert bench.live.counts["dropped"] == 10 - len(bench.shown)


def test_the_loop_is_free_while_it_computes(bench):
    bench.gate(1)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.started[1].wait, LONG)
        turns = 0
        for _ in range(50):
            await asyncio.sleep(0)
            turns += 1
        assert turns == 50 and bench.shown == []
        bench.gates[1].set()
        await bench.settled()

    asyncio.run(main())
    assert bench.shown == [1]


def test_an_error_is_told_in_its_place_and_the_next_one_works(bench):
    error = ValueError("no paint")

    async def main():
        bench.live.request(error)
        await bench.settled()
        bench.live.request(4)
        await bench.settled()

    asyncio.run(main())
    bench.live.request(error)
    bench.live.request(5)
    assert bench.failed == [(error, error)] * 2 and bench.shown == [4, 5]
    assert bench.live.counts == {"requested": 4, "computed": 2, "shown": 2, "dropped": 0, "failed": 2}
    assert set(bench.threads) == {threading.get_ident()}


def test_an_error_in_show_is_told_too():
    told = []
    live = Live(lambda x: x, lambda x, result: 1 / result, lambda x, error: told.append((x, type(error))))
    live.request(0)
    live.request(1)
    assert told == [(0, ZeroDivisionError)] and live.counts["failed"] == live.counts["shown"] == 1


def test_flush_finishes_what_is_being_computed_here_and_shows_it_once(bench):
    bench.gate(1)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.started[1].wait, LONG)
        threading.Timer(0.05, bench.gates[1].set).start()
        bench.live.flush()
        assert bench.shown == [1], "on return, and without the loop having turned"
        await bench.settled()

    asyncio.run(main())
    assert bench.begun == [1] and bench.shown == [1]


def test_flush_waits_for_the_running_one_and_does_the_waiting_one(bench):
    bench.gate(1)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.started[1].wait, LONG)
        bench.live.request(2)
        bench.live.request(3)
        threading.Timer(0.05, bench.gates[1].set).start()
        bench.live.flush()
        assert bench.shown[-1] == 3
        shown = list(bench.shown)
        await bench.settled()
        assert bench.shown == shown, "nothing older after the newer one, nothing twice"

    asyncio.run(main())
    assert bench.most_inside == 1 and 2 not in bench.begun


def test_flush_with_nothing_to_do_returns(bench):
    bench.live.flush()
    bench.live.request(1)
    bench.live.flush()
    assert bench.shown == [1]


def test_flush_ends_while_another_thread_goes_on_asking(bench):
    """It owes the caller what was asked before, not what comes meanwhile."""
    asked = iter(range(1000, 10_000))
    bench.live = Live(lambda x: (bench.live.request(next(asked)), x * 2)[1], bench.show, bench.fail)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.live.flush)
        assert bench.shown
        bench.live.close()

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_ctrl_c_in_flush_goes_on_and_the_request_is_not_lost(bench):
    raised = []

    def compute(x):
        if not raised:
            raised.append(x)
            raise KeyboardInterrupt
        return x * 2

    bench.live = Live(compute, bench.show, bench.fail)
    with pytest.raises(KeyboardInterrupt):
        bench.live.request(1)
    assert bench.shown == [] and bench.failed == []
    bench.live.flush()
    assert bench.shown == [1]
    bench.live.request(2)
    assert bench.shown == [1, 2]
    assert bench.live.counts == {"requested": 2, "computed": 2, "shown": 2, "dropped": 0, "failed": 0}


def test_ctrl_c_in_show_goes_on_and_shows_again(bench):
    raised = []

    def show(x, result):
        if not raised:
            raised.append(x)
            raise KeyboardInterrupt
        bench.show(x, result)

    bench.live = Live(bench.compute, show, bench.fail)
    with pytest.raises(KeyboardInterrupt):
        bench.live.request(1)
    bench.live.flush()
    assert bench.shown == [1] and bench.begun == [1]


def test_a_system_exit_in_the_worker_is_an_error_like_any_other(bench):
    error = SystemExit("no")

    async def main():
        bench.live.request(error)
        await bench.settled()
        bench.live.request(2)
        await bench.settled()

    asyncio.run(main())
    assert bench.failed == [(error, error)] and bench.shown == [2]


def test_asking_inside_compute_and_show_comes_next(bench):
    def compute(x):
        if x == 1:
            bench.live.request(2)
            bench.live.flush()  # nothing, here
        return x * 2

    def show(x, result):
        bench.show(x, result)
        if x == 2:
            bench.live.request(3)
            bench.live.flush()

    bench.live = Live(compute, show, bench.fail)
    bench.live.request(1)
    assert bench.shown[-2:] == [2, 3]

    async def main():
        bench.shown.clear()
        bench.live.request(1)
        await bench.until(lambda: bench.shown[-1:] == [3])
        await bench.settled()

    asyncio.run(main())
    assert bench.shown in ([1, 2, 3], [2, 3])


def test_close_while_computing_shows_nothing_any_more_and_ends_the_thread(bench):
    bench.gate(1)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.started[1].wait, LONG)
        bench.live.request(2)
        thread = bench.live._thread
        bench.live.close()
        bench.live.request(3)
        bench.gates[1].set()
        await asyncio.to_thread(thread.join, LONG)
        assert not thread.is_alive()
        bench.live.flush()
        await bench.settled()

    asyncio.run(main())
    assert bench.shown == [] and bench.begun == [1]
    assert bench.live.counts == {"requested": 2, "computed": 1, "shown": 0, "dropped": 2, "failed": 0}


def test_a_thousand_requests_leave_one_thread_and_no_heap(bench):
    class Value:
        def __init__(self, number):
            self.number = number

    alive = weakref.WeakSet()
    before = threading.active_count()

    async def main():
        for number in range(1000):
            value = Value(number)
            alive.add(value)
            bench.live.request(value)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await bench.settled()

    bench.live = Live(lambda x: x, lambda x, _: bench.shown.append(x.number), bench.fail)
    asyncio.run(main())
    assert bench.shown[-1] == 999 and bench.shown == sorted(set(bench.shown))
    counts = bench.live.counts
    assert counts["requested"] == 1000 == counts["shown"] + counts["dropped"]
    gc.collect()
    assert len(alive) <= 3
    assert threading.active_count() <= before + 1


def test_two_threads_with_loops_of_their_own_see_one_order(bench):
    """As with JupyterLab's subshells: requests from another thread's loop, flush in the main thread."""
    halves = [range(0, 600, 2), range(1, 600, 2)]
    lock, asked = threading.Lock(), []

    async def ask(numbers):
        for number in numbers:
            with lock:
                asked.append(number)
                bench.live.request(number)
            await asyncio.sleep(0)
        await bench.settled()

    other = threading.Thread(target=lambda: asyncio.run(ask(halves[1])))
    other.start()

    async def main():
        task = asyncio.create_task(ask(halves[0]))
        for _ in range(30):
            await asyncio.sleep(0)
            bench.live.flush()
        await task

    asyncio.run(main())
    other.join(LONG)
    bench.live.flush()
    places = [asked.index(x) for x in bench.shown]
    assert places == sorted(set(places)), "in the order of the requests, none twice"
    assert bench.shown[-1] == asked[-1] and bench.most_inside == 1


def test_a_loop_that_has_gone_does_not_lose_the_last_result(bench):
    bench.gate(1)

    async def main():
        bench.live.request(1)
        await asyncio.to_thread(bench.started[1].wait, LONG)

    asyncio.run(main())  # closed before the result is there
    bench.gates[1].set()
    bench.live.flush()
    assert bench.shown == [1]


def test_results_are_shown_in_the_context_of_their_request(bench):
    """Where a Jupyter kernel keeps the message that a reply belongs to."""
    message = contextvars.ContextVar("message", default=None)
    seen = []
    live = Live(lambda x: x, lambda x, _: seen.append((x, message.get())), bench.fail)

    async def main():
        for x in (1, 2):
            message.set(f"message {x}")
            live.request(x)
            message.set(None)
            await bench.until(lambda x=x: len(seen) == x)

    asyncio.run(main())
    assert seen == [(1, "message 1"), (2, "message 2")]


def test_it_does_not_hold_the_interpreter_up():
    code = (
        "import asyncio, threading\n"
        "from lis_widgets import Live\n"
        "begun = threading.Event()\n"
        "live = Live(lambda x: (begun.set(), threading.Event().wait())[1], print, print)\n"
        "async def main():\n"
        "    live.request(1)\n"
        "    await asyncio.to_thread(begun.wait, 20)\n"
        "asyncio.run(main())\n"
        "print('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
