"""The notebooks with widgets in a real JupyterLab: all run, none asks for anything beyond this machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lab
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FAILING = """
import pytest

tries = []

@pytest.fixture(scope="module")
def page(open_page):
    page = open_page()
    page.set_content("<h1 style='background: #0072b2; height: 700px'>something to see</h1>")
    return page

@pytest.mark.browser
def test_by_chance(page):
    tries.append(1)
    if len(tries) == 1:
        page.close()
    assert page.locator("h1").count() == 1

@pytest.mark.browser
def test_on_purpose(page):
    page.evaluate("() => console.warn('heard before the end')")
    assert page.locator("h2").count() == 1

def test_of_no_browser():
    tries.append(1)
    assert len(tries) != 3
"""


@pytest.mark.parametrize("name", lab.widget_notebooks())
def test_notebook_runs_without_an_error_and_stays_on_this_machine(name, open_page, server):
    page = open_page()
    notebook = lab.Notebook(page, server, name)
    notebook.run_all()
    assert len(notebook.code_cells()) > 5
    notebook.check_cells()
    # A widget has drawn a picture, or, later than that, Plotly's bars.
    page.locator(".jp-OutputArea-output :is(canvas, .js-plotly-plot .bars)").first.wait_for(state="attached")
    page.wait_for_timeout(1000)  # for what comes late, in the console too
    notebook.watch.check()
    page.close()


def test_some_notebooks_have_widgets():
    assert {"03_units.ipynb"} <= set(lab.widget_notebooks())


def test_the_console_is_watched(open_page):
    """The watch itself works: an error in a page and a request to elsewhere are seen."""
    page = open_page()
    page.evaluate("() => { console.error('on purpose'); fetch('http://example.org/x').catch(() => 0); }")

    def check():
        page.wait_for_timeout(50)  # events arrive
        assert any("on purpose" in line for line in page.watch.errors)
        assert any(re.search("example.org", line) for line in page.watch.strangers)

    lab.eventually(check)
    with pytest.raises(AssertionError, match="on purpose"):
        page.watch.check()
    page.close()


def test_a_failure_keeps_a_screenshot_and_the_console(tmp_path):
    """Another pytest, with this folder's conftest.py: in the browser what fails twice has failed, all else at once."""
    from PIL import Image

    here = Path(__file__).parent
    (tmp_path / "test_failing.py").write_text(FAILING)
    environment = dict(os.environ) | {
        "LIS_ARTIFACTS": str(tmp_path / "kept"),
        "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider",
               "-c", str(here.parents[1] / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed, 2 rerun" in done.stdout, done.stdout + done.stderr
    told = done.stdout.split("RERUN test_failing.py::test_by_chance")[1].split("RERUN")[0]
    assert "has been closed" in told and "PASSED test_failing.py::test_by_chance" in told
    assert f"screenshots and console logs are in {tmp_path / 'kept'}" in done.stdout
    for stem in ("test_on_purpose-0", "test_on_purpose-again-0"):
        with Image.open(tmp_path / "kept" / f"{stem}.png") as picture:
            assert picture.size == (1280, 1000)
            assert picture.convert("RGB").getpixel((640, 300)) == (0, 114, 178)
        assert "heard before the end" in (tmp_path / "kept" / f"{stem}.log").read_text()
