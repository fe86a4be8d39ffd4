"""The means of the browser tests themselves: what they are to catch, they catch."""

import lab
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEXTS = """
import ipywidgets
rows = [("black on white", "#000", "#fff", 1), ("grey on grey", "#999", "#aaa", 1), ("faded", "#000", "#fff", 0.3)]
lines = "".join(f"<p style='color:{c};background:{b};opacity:{o}'>{t}</p>" for t, c, b, o in rows)
hidden = ipywidgets.HTML("hidden", layout={"display": "none"})
box = ipywidgets.VBox([ipywidgets.HTML(lines), hidden, ipywidgets.Text(placeholder="type here")])
box.add_class("on-purpose")
box
"""


@pytest.fixture(scope="module")
def notebook(scratch):
    return scratch([TEXTS, "x = 41", "x + 1"])


def test_scratch_runs_cells_and_tells_of_one_that_fails(notebook, scratch):
    assert notebook.code_cells()[2]["outputs"][0]["data"]["text/plain"] == "42"
    notebook.watch.check()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        scratch(["1 / 0"])


def test_contrast_sees_colours_transparency_and_only_what_is_visible(notebook):
    box = notebook.page.locator(".on-purpose")
    found = {text: ratio for ratio, text, *_ in lab.contrast_of(box)}
    assert found["black on white"] == pytest.approx(21)
    assert found["grey on grey"] == pytest.approx(1.23, abs=0.01)  # (0.402 + 0.05) / (0.319 + 0.05), WCAG 2.1
    assert 1.2 < found["faded"] < 4.5 and 1 < found["type here"] < 21 and "hidden" not in found
    with pytest.raises(AssertionError, match="grey on grey"):
        lab.check_contrast(box, seconds=0.5)
    with pytest.raises(AssertionError):
        lab.check_contrast(box.locator("p").first, texts=2, seconds=0)


def test_screenshots_show_the_whole_element(notebook, tmp_path):
    from PIL import Image

    notebook.page.locator(".on-purpose").evaluate("e => { e.style.height = e.style.maxHeight = '1700px'; }")
    notebook.screenshot(notebook.page.locator(".on-purpose"), tmp_path / "a" / "tall.png")
    width, height = Image.open(tmp_path / "a" / "tall.png").size
    assert width > 600 and 1700 <= height <= 1701
    assert notebook.page.viewport_size == {"width": 1280, "height": 1000}


def test_kernels_can_be_restarted_and_killed(scratch):
    notebook = scratch(["x = 41"])
    first = notebook.kernel_process()
    notebook.restart_kernel()
    assert notebook.execute("print('x' in globals())") == "False"
    second = notebook.kernel_process()
    assert second != first
    notebook.kill_kernel()
    notebook.page.locator("dialog, .jp-Dialog").get_by_text("restart", exact=False).first.wait_for(
        timeout=30_000
    )
    notebook.page.keyboard.press("Escape")
    notebook.wait_idle()
    assert notebook.kernel_process() != second
    notebook.page.close()
