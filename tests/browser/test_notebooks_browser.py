"""The notebooks with widgets in a real JupyterLab: they run, stay on this machine, and show the right pictures."""

import json
import re

import lab
import numpy as np
import pytest
import torch

from lis_toolkit import convert_range, load_classifier, load_generator
from lis_toolkit.explore import difference_rgb
from lis_toolkit.link import Link

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def opened(open_page, server):
    """Notebooks by name, opened and run once."""
    found = {}

    def opened(name):
        if name not in found:
            page = open_page()
            notebook = lab.Notebook(page, server, name)
            notebook.run_all()
            found[name] = notebook
        found[name].page.bring_to_front()
        return found[name]

    return opened


@pytest.fixture
def units(opened):
    """The explorer in 03_units, in the light theme and in order."""
    notebook = opened("03_units.ipynb")
    yield lab.Explorer(notebook)
    notebook.page.watch.check()


@pytest.mark.parametrize("name", lab.widget_notebooks())
def test_notebook_runs_without_an_error_and_stays_on_this_machine(name, opened, open_page):
    notebook = opened(name)
    cells = notebook.code_cells()
    assert len(cells) > 5
    for cell in cells:
        assert cell["execution_count"], cell["source"]
        assert [o for o in cell["outputs"] if o["output_type"] == "error"] == []
    notebook.page.wait_for_timeout(1000)
    notebook.page.watch.check()


def test_some_notebook_has_widgets():
    assert "03_units.ipynb" in lab.widget_notebooks()


class Shown:
    """What the kernel's explorer is set to, and the picture that the library renders for it in this process."""

    def __init__(self, units, folder):
        path = folder / "link.safetensors"
        told = json.loads(
            units.notebook.execute(
                f"link.save({str(path)!r})\nimport json\n"
                "print(json.dumps(dict(unit=explorer.unit.value, value=explorer.value.value, seed=explorer.seed.value,"
                "which=explorer.which.value, low=explorer.value.min, high=explorer.value.max)))"
            )
        )
        self.unit, self.value, self.low, self.high = (told[key] for key in ("unit", "value", "low", "high"))
        generator, classifier, link = load_generator("fashion"), load_classifier("fashion"), Link.load(path)
        w = generator.map(generator.sample_z(1, told["seed"]), [told["which"]], link.psi)
        r = classifier.features(generator.render(w))  # [1, R]
        start = generator.render(link(r))[0]
        r[0, self.unit] = self.value
        tuned = generator.render(link(r))[0]
        self.panels = [rgb(start), rgb(tuned), difference_rgb(tuned - start)]


def rgb(x):
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def as_arrays(pixels):
    return [np.frombuffer(data, np.uint8).reshape(height, width, 3) for height, width, data in pixels]


def same_picture(got, expected):
    """Pixel for pixel, but for a last bit of float32 that now and then falls on the other side of a rounding.

    The order of sums in another process depends on where its memory lies.
    """
    assert got.shape == expected.shape
    apart = np.abs(got.astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.005, (
        f"{(apart > 0).sum()} values differ, by {apart.max()}"
    )


def test_arrow_keys_change_the_picture_to_the_one_the_library_renders(units, tmp_path):
    torch.set_grad_enabled(False)
    try:
        units.handle.focus()
        units.page.keyboard.press("Home")
        low = Shown(units, tmp_path)
        units.wait_for_caption(f"at {low.low:.2f}")
        before = as_arrays(units.pixels())
        for _ in range(30):
            units.page.keyboard.press("ArrowRight")
        wanted = low.low + 30 * (low.high - low.low) / 100
        units.wait_for_caption(f"at {wanted:.2f}")
        units.page.wait_for_timeout(500)
        shown = Shown(units, tmp_path)
        after = as_arrays(units.pixels())
    finally:
        torch.set_grad_enabled(True)
    assert shown.value == pytest.approx(wanted, rel=1e-3)
    assert units.readout() == pytest.approx(shown.value, abs=0.0051)
    for got, expected in zip(after, shown.panels, strict=True):
        same_picture(got, expected)
    np.testing.assert_array_equal(before[0], after[0], err_msg="the start picture must stay")
    assert (np.abs(before[1].astype(int) - after[1]) > 1).any(), "the tuned picture must change"


def test_a_held_key_ends_on_the_last_value(units, tmp_path):
    units.handle.focus()
    units.page.keyboard.press("Home")
    for _ in range(100):  # no waiting in between, as a held key does; then the way back
        units.page.keyboard.down("ArrowRight")
    for _ in range(37):
        units.page.keyboard.down("ArrowLeft")
    units.page.keyboard.up("ArrowLeft")
    units.page.keyboard.up("ArrowRight")
    units.page.wait_for_timeout(1500)
    with torch.no_grad():
        shown = Shown(units, tmp_path)
    assert shown.value == pytest.approx(shown.low + 63 * (shown.high - shown.low) / 100, rel=1e-3)
    same_picture(as_arrays(units.pixels())[1], shown.panels[1])


def test_another_class_seed_and_unit_show_another_garment_and_range(units, tmp_path):
    before = as_arrays(units.pixels())
    units.root.locator(".widget-dropdown select").nth(0).select_option("Bag")
    seed = units.root.locator("input[type=number]")
    seed.fill("7")
    seed.press("Enter")
    units.root.locator(".widget-dropdown select").nth(1).select_option(index=2)
    units.page.wait_for_timeout(1500)
    with torch.no_grad():
        shown = Shown(units, tmp_path)
    after = as_arrays(units.pixels())
    for got, expected in zip(after, shown.panels, strict=True):
        same_picture(got, expected)
    assert (np.abs(before[0].astype(int) - after[0]) > 1).mean() > 0.05, "another garment"
    assert shown.value == shown.high
    assert f"unit {shown.unit} at {shown.value:.2f}" in units.captions()[1]


def test_pictures_are_described_and_enlarged_crisply(units):
    canvases = units.root.locator("canvas")
    assert canvases.count() == 3
    for canvas in canvases.all():
        assert canvas.get_attribute("role") == "img"
        assert len(canvas.get_attribute("aria-label")) > 20
        style = canvas.evaluate("c => [getComputedStyle(c).imageRendering, c.clientWidth / c.width]")
        assert style[0] == "pixelated" and style[1] >= 3 and style[1] == int(style[1])


def test_plots_follow_the_state(units):
    units.handle.focus()
    units.page.keyboard.press("End")
    units.page.wait_for_timeout(1000)
    unit = int(units.notebook.execute("print(explorer.unit.value)"))
    titles = units.root.locator(".js-plotly-plot .gtitle").all_text_contents()
    assert titles == ["classifier: logits", f"units that moved most (orange: unit {unit})"]
    moved = json.loads(
        units.notebook.execute(
            "import json; print(json.dumps([u for u, _ in explorer.state.moved_units(10)]))"
        )
    )
    labels = (
        units.root.locator(".js-plotly-plot")
        .nth(1)
        .locator(".ytick text")
        .evaluate_all(
            """texts => texts.map(e => [e.getBoundingClientRect().top, e.textContent.trim()])
            .sort((a, b) => a[0] - b[0]).map(pair => pair[1])"""
        )
    )
    assert labels == [f"unit {u}" for u in moved], "from the top"


def test_a_failed_render_is_told_in_the_widget_and_forgotten_after_the_next_good_one(units):
    assert units.message() == ""
    units.notebook.execute(
        "def broken(*_, **__):\n    raise RuntimeError('no <paint> left')\nexplorer.session.generator.render = broken"
    )
    try:
        units.handle.focus()
        units.page.keyboard.press("ArrowLeft")
        message = units.root.locator(".lis-message[role=alert]")
        message.filter(has_text="RuntimeError: no <paint> left").wait_for(state="visible", timeout=10_000)
        assert units.root.locator(".lis-picture.lis-stale").count() == 1
    finally:
        units.notebook.execute("del explorer.session.generator.render")
    units.page.keyboard.press("ArrowLeft")
    units.root.locator(".lis-picture:not(.lis-stale)").wait_for(timeout=10_000)
    units.root.locator(".lis-message").wait_for(state="hidden", timeout=10_000)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_texts_can_be_read_in_both_themes(theme, units):
    try:
        units.notebook.theme(theme)
        colours = units.root.evaluate(
            """root => {
                const background = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
                const probe = document.createElement("div");
                probe.style.color = background;
                root.appendChild(probe);
                const texts = [...root.querySelectorAll("figcaption, .widget-label, .widget-readout")]
                    .filter(e => e.textContent.trim()).map(e => [e.textContent, getComputedStyle(e).color]);
                const plots = [...root.querySelectorAll(".js-plotly-plot text")]
                    .filter(e => e.textContent.trim()).map(e => [e.textContent, getComputedStyle(e).fill]);
                const found = { background: getComputedStyle(probe).color, texts, plots };
                probe.remove();
                return found;
            }"""
        )
    finally:
        units.notebook.theme("JupyterLab Light")
    assert len(colours["texts"]) >= 7 and len(colours["plots"]) >= 20
    for text, colour in colours["texts"] + colours["plots"]:
        assert lab.contrast(colour, colours["background"]) >= 4.5, (
            theme,
            text,
            colour,
            colours["background"],
        )


def test_it_fits_a_narrow_window(units):
    try:
        units.page.set_viewport_size({"width": 800, "height": 1000})
        units.page.wait_for_timeout(800)
        boxes = units.root.evaluate(
            """root => {
                const own = root.getBoundingClientRect();
                return [...root.querySelectorAll("canvas, .js-plotly-plot, .widget-dropdown, .lis-unit")]
                    .map(e => [e.className || e.tagName, e.getBoundingClientRect().right - own.right]);
            }"""
        )
    finally:
        units.page.set_viewport_size({"width": 1280, "height": 1000})
        units.page.wait_for_timeout(500)
    for name, beyond in boxes:
        assert beyond <= 1, (name, beyond)


def test_the_console_is_watched(open_page):
    """The watch itself works: an error in a page and a request to elsewhere are seen."""
    page = open_page()
    page.evaluate("() => { console.error('on purpose'); fetch('http://example.org/x').catch(() => 0); }")
    page.wait_for_timeout(500)
    assert any("on purpose" in line for line in page.watch.errors)
    assert any(re.search("example.org", line) for line in page.watch.strangers)
    page.close()
