"""Hundreds of moves, and a kernel that goes away under the hand: nothing piles up, nothing breaks."""

from itertools import pairwise

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODELS = """
import lis_toolkit as lis
from lis_widgets import UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
pairs = lis.collect_pairs(generator, classifier, None, per_class=30, psi=0.7, seed=0)
link = lis.fit_link(pairs, method="ridge")
"""
EXPLORER = """
explorer = UnitExplorer(generator, classifier, link, pairs=pairs)
explorer
"""
MOVES = 300
HISTORY = 200  # settings that back and forward remember


@pytest.fixture(scope="module")
def notebook(scratch):
    return scratch([MODELS, EXPLORER])


def parts(notebook):
    """Slider and tuned picture of the explorer on the screen."""
    root = notebook.page.locator(".lis-explorer")
    root.locator("canvas").nth(2).wait_for(timeout=30_000)
    return root.locator("input.lis-slider").first, root.locator(".lis-picture").first


def move(notebook, count):
    """Press an arrow key so many times, back and forth along the slider; each waits for its picture."""
    slider, picture = parts(notebook)
    slider.focus()
    for step in range(count):
        before = picture.get_attribute("data-revision")
        notebook.page.keyboard.press("ArrowLeft" if step % 80 < 40 else "ArrowRight")
        notebook.page.wait_for_function(
            "before => document.querySelector('.lis-explorer .lis-picture').dataset.revision !== before",
            arg=before,
            timeout=30_000,
        )


def test_300_moves_leave_nothing_behind(notebook):
    move(notebook, 20)  # what is made once is there
    seen = [notebook.counts_at_rest()]  # the charts are drawn after the pictures
    for _ in range(3):
        move(notebook, MOVES // 3)
        seen.append(notebook.counts_at_rest())
    before, after = seen[0], seen[-1]
    assert after["comms"] == before["comms"] > 5
    assert after["threads"] <= before["threads"] + 1
    # One a move would be 300 more; what is remembered on purpose has its limit.
    allowed = {"lis_toolkit.UnitSetting": HISTORY}
    for name, count in after["objects"].items():
        assert count - before["objects"].get(name, 0) <= allowed.get(name, 0) + 40, name
    assert after["Nodes"] - before["Nodes"] < MOVES
    # JupyterLab itself adds some 130 listeners once, at a time of its own: so one third may have more.
    listeners = [counts["JSEventListeners"] for counts in seen]
    *usual, most = sorted(b - a for a, b in pairwise(listeners))
    assert sum(usual) < MOVES * 2 / 9 and most < MOVES * 2 / 3, listeners
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < 20e6
    assert after["rss"] - before["rss"] < 50e6  # what is only sometimes given back is in it
    notebook.watch.check()


@pytest.mark.parametrize("way", ["restarted", "killed"])
def test_a_kernel_that_goes_away_while_the_slider_is_dragged(way, notebook):
    """The hand goes on; the page says that nobody answers; the cells run again give an explorer that works."""
    page, process = notebook.page, notebook.kernel_process()
    slider, _ = parts(notebook)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.9, y)
    page.mouse.down()
    for step in range(90):
        page.mouse.move(box["x"] + box["width"] * (0.9 - 0.008 * step), y)
        page.wait_for_timeout(20)
        if step == 30:
            if way == "restarted":
                notebook.restart_kernel(wait=False)
            else:
                notebook.kill_kernel(process)
    page.mouse.up()
    page.locator(".lis-explorer").get_by_text("does not answer", exact=False).first.wait_for(timeout=30_000)
    if way == "killed":  # JupyterLab tells that the kernel died, and starts another one
        page.locator(".jp-Dialog").get_by_role("button").last.click()
    notebook.wait_idle()
    assert notebook.kernel_process() != process
    notebook.watch.check()
    assert slider.is_enabled()
    notebook.run_all()
    notebook.check_cells()
    move(notebook, 3)
    assert page.locator(".lis-explorer").get_by_text("does not answer", exact=False).count() == 0
    notebook.watch.check()
