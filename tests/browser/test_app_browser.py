"""The app notebook as Voila serves it: no code, live pictures, and nothing of ours from another machine."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import lab
import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Voila's page template asks for icons by this address; without a network its page works without them.
VOILAS_ICONS = re.compile(
    r"https://cdn\.jsdelivr\.net/npm/@fortawesome/fontawesome-free@[^/]+/css/(all|v4-shims)\.min\.css"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Voila on a copy of the notebook; its address."""
    folder = tmp_path_factory.mktemp("voila")
    # Two pages are opened at a time below: a kernel each, a core each.
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    for name in lab.FOLDERS:
        environment[name] = str(folder / name.lower())
    shutil.copy(lab.NOTEBOOKS / "explorer.ipynb", folder)
    port = lab.free_port()
    command = [
        sys.executable,
        "-m",
        "voila",
        "explorer.ipynb",
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
    ]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            # Where the port was taken since, Voila has another one.
            while not (found := re.search(r"http://127\.0\.0\.1:\d+/", (folder / "log").read_text())) or (
                not answers(f"{found[0]}static/")
            ):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield found[0]
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(url):
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def pages(app, open_page):
    """The app, and once more in its dark theme: loaded side by side, since Voila runs the notebook for each."""
    page, dark = open_page(), open_page()
    dark.evaluate("url => { location.href = url; }", f"{app}?theme=dark")
    page.goto(app, timeout=300_000)
    for opened in (page, dark):
        opened.locator(".lis-explorer").first.locator("canvas").nth(2).wait_for(timeout=300_000)
    page.wait_for_timeout(2000)
    return page, dark


@pytest.fixture
def page(pages):
    pages[0].bring_to_front()
    return pages[0]


def theirs(lines):
    return [line for line in lines if not VOILAS_ICONS.search(line)]


def test_it_shows_widgets_and_text_but_no_code(page):
    text = page.locator("body").inner_text()
    assert text.lstrip().startswith("Explorer") and "import lis_toolkit" not in text
    assert "Traceback" not in text and "Error" not in text
    assert page.locator(".lis-explorer").count() == 3  # of units, of directions, of ways to other classes
    assert page.get_by_role("tab").count() >= 4


def test_a_slider_changes_the_picture(page):
    explorer = page.locator(".lis-explorer").first
    before = lab.canvases(explorer)
    explorer.locator("input.lis-slider").first.focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")

    def check():
        after = lab.canvases(explorer)
        assert np.array_equal(before[0], after[0]), "the start picture stays"
        assert not np.array_equal(before[1], after[1])

    lab.eventually(check, 30)


def test_every_tab_draws(page):
    for tab in page.get_by_role("tab").all():
        tab.click()
        shown = page.locator("canvas:visible, .js-plotly-plot:visible")
        shown.first.wait_for(timeout=30_000)
        assert shown.first.bounding_box()["width"] >= 32, tab.inner_text()
    page.get_by_role("tab").first.click()


def test_nothing_of_ours_asks_for_another_machine_or_fails(page):
    assert theirs(page.watch.errors) == [] and theirs(page.watch.strangers) == []


def test_texts_can_be_read_in_its_dark_theme(pages):
    page = pages[1]
    page.bring_to_front()
    assert page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    lab.check_contrast(page.locator(".lis-explorer").first, texts=20)
    assert theirs(page.watch.errors) == [] and theirs(page.watch.strangers) == []
