"""JupyterLab and Chromium for the browser tests; what went wrong is kept as screenshot and console log."""

import contextlib
import itertools
import re
from pathlib import Path

import lab
import pytest

COUNT = itertools.count()  # of all modules: they share the server's folder
FAILED = pytest.StashKey[bool]()
AGAIN = pytest.StashKey[int]()  # how many were run again


class OneServer:
    """The JupyterLab of all modules: a process of its own, that takes seconds to start."""

    def __init__(self):
        self.running, self.stack = None, contextlib.ExitStack()

    def start(self, factory):
        if self.running is None:
            self.running = self.stack.enter_context(lab.server(factory.mktemp("lab")))
        return self.running

    def end_kernels(self):
        try:
            self.running.end_kernels()
        except OSError:  # it hangs: the next module has another one
            self.end()

    def end(self):
        self.running = None
        self.stack.close()


SERVER = pytest.StashKey[OneServer]()


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    one = request.config.stash.setdefault(SERVER, OneServer())
    yield one.start(tmp_path_factory)
    one.end_kernels()


# All of module scope: Playwright's event loop must be gone before nbmake starts its own in the same process.
@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    if not Path(lab.CHROMIUM).exists():
        pytest.fail(
            f"{lab.CHROMIUM} is missing: apt-get install chromium fonts-dejavu-core, set LIS_CHROMIUM, or leave the "
            'browser tests out with -m "not browser".',
            pytrace=False,
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=lab.CHROMIUM, args=lab.CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def open_page(browser):
    """Open a page that is watched; all are closed, and looked at, when the module is done."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(30_000)

    def open_page():
        page = context.new_page()
        page.watch = lab.Watch(page)
        return page

    open_page.pages = lambda: context.pages
    yield open_page
    context.close()


@pytest.fixture(scope="module")
def scratch(open_page, server):
    """A new notebook with these code cells, opened and run: `scratch(["x = 1", "x"]) -> lab.Notebook`."""

    def scratch(cells, name=None):
        name = name or f"scratch-{next(COUNT)}.ipynb"
        server.write(cells, name)
        notebook = lab.Notebook(open_page(), server, name)
        notebook.run_all()
        notebook.check_cells()
        return notebook

    return scratch


def playwright_error():
    from playwright.sync_api import Error

    return Error


# Browser, server and kernel are processes that share few cores with whatever else runs there. One test in thousands
# may fail for what no test can wait for (a browser that crashes, a machine that stands still for a minute), and must
# not hide what the others found. So a test here, and nowhere else, that fails is run once more, with a browser, a
# server and a kernel of its own. It is no cure for a test that looks before there is something to see: the summary
# shows each first try with its traceback, its screenshots are kept, and what fails twice has failed. Where many fail,
# something is broken: --max-suite-reruns of pyproject.toml ends it, so that the run is red in time.
def pytest_collection_modifyitems(config, items):
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    """Before a second try all that the module shares is closed: the page may hang, the kernel may be dead."""
    again = item.stash.get(FAILED, False) and getattr(item, "execution_count", 2) == 1
    if again:
        item.config.stash[AGAIN] = item.config.stash.get(AGAIN, 0) + 1
        again = item.config.stash[AGAIN] <= item.config.getoption("max_suite_reruns")
    try:
        if again:
            item.session._setupstate.teardown_exact(item.getparent(pytest.Module).parent)
        return (yield)
    finally:
        last = nextitem is None or not nextitem.get_closest_marker("browser")
        if (again or last) and SERVER in item.config.stash:
            item.config.stash[SERVER].end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "setup":
        item.stash[FAILED] = False
    item.stash[FAILED] |= report.failed
    open_page = getattr(item, "funcargs", {}).get("open_page")
    if report.failed and open_page is not None:
        lab.ARTIFACTS.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "_", item.name)
        if getattr(item, "execution_count", 1) > 1:
            stem += "-again"
        for number, page in enumerate(open_page.pages()):
            (lab.ARTIFACTS / f"{stem}-{number}.log").write_text("\n".join(page.watch.log))
            try:
                page.screenshot(path=lab.ARTIFACTS / f"{stem}-{number}.png", timeout=10_000)
            except playwright_error() as error:  # a page that hangs must not hide why the test failed
                report.sections.append(("browser", f"no screenshot: {error}"))
        report.sections.append(("browser", f"screenshots and console logs are in {lab.ARTIFACTS}"))
    return report
