"""What all tests share: how hypothesis draws its examples, and how two processes share the work (`-n 2`)."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Two processes with a pool of threads each would spin against one another. Kernels and commands inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The gate gives the same answer to the same source, on a busy machine too: examples are drawn from the test's own
# text, and neither they nor a test have a time limit. LIS_EXPLORE=1 draws others every time.
settings.register_profile(
    "gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("gate"), derandomize=False, print_blob=True)
settings.load_profile("explore" if os.environ.get("LIS_EXPLORE") else "gate")


# One process drives the browser (one JupyterLab, one Chromium) from the first minute on: that is the longest piece.
# The other takes the notebooks, then one test module after the other: what a module computes once stays in one process.
# `--dist loadgroup` is no help: pytest-xdist 3.8 hands its groups on in `item._nodeid`, which pytest 9.2 doesn't read.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class OneBrowser(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module = nodeid.split("::")[0]
            return "browser" if module.startswith("tests/browser/") else module

    config.option.loadscopereorder = False  # its order is by numbers of tests: notebooks would come last
    return OneBrowser(config, log)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(
            key=lambda item: (not item.get_closest_marker("browser"), isinstance(item, pytest.Function))
        )
