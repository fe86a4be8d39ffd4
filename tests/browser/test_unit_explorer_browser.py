"""The unit explorer in a real JupyterLab: keys, mouse, search, pins, play, history; always the right picture."""

import json
import time

import lab
import numpy as np
import pytest
from explorer_page import SETUP, Explorer, apart

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    SETUP,
    "explorer = UnitExplorer(generator, classifier, link, photographs=photographs, segmenter=segmenter,\n"
    "                        companions=companions, which='Coat')\nexplorer",
    "explorer",  # a second view of the same
]
SETTING = "vars(explorer.setting)"


def asked(page, expression, wanted):
    assert page.ask(expression) == wanted


@pytest.fixture(scope="module")
def opened(scratch):
    return Explorer(scratch(CELLS))


@pytest.fixture
def page(opened):
    """The explorer as it was at the beginning: one slider, one unit, the first sample."""
    opened.notebook.execute(
        "from lis_toolkit.explore import UnitSetting\n"
        "first = explorer.session.units[0]\n"
        "explorer.outlines.value = False\nexplorer.scale.value = 'logits'\nexplorer.message.clear()\n"
        "explorer.open(UnitSetting('Coat', 0, 0.7, values={first: explorer.session.observed(first)[1]}, unit=first))"
    )
    opened.settle()
    opened.unit = opened.units()[0]
    opened.row = opened.ask("explorer.sliders.rows[0]")
    yield opened
    opened.notebook.watch.check()


def test_arrow_keys_lead_to_the_picture_that_the_library_renders(page, tmp_path):
    before = page.pixels()
    slider, row = page.slider(page.unit), page.row
    slider.focus()
    for _ in range(30):
        page.page.keyboard.press("ArrowLeft")
    wanted = row["value"] - 30 * (row["seen_high"] - row["seen_low"]) / 100
    page.wait_for_caption(f"unit {page.unit} at {wanted:.2f}")
    page.check_pictures(tmp_path)
    assert page.ask("explorer.values") == {str(page.unit): pytest.approx(wanted, rel=1e-6)}
    after = page.pixels()
    np.testing.assert_array_equal(before[0], after[0], err_msg="the start picture must stay")
    assert apart(before[1], after[1]) > 0.01, "the tuned picture must change"


def test_the_mouse_drags_to_the_right_picture_also_beyond_the_observed_range(page, tmp_path):
    box = page.slider(page.unit).bounding_box()
    y, seen = box["y"] + box["height"] / 2, []
    page.page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.page.mouse.down()
    for part in np.linspace(0.5, 0.97, 25):
        page.page.mouse.move(box["x"] + part * box["width"], y)
        seen.append(page.captions()[1])
    end = time.monotonic() + 30  # a slow kernel passes over most of so quick a move; the hand goes on
    while len(set(seen)) <= 2 and time.monotonic() < end:
        for part in (0.9, 0.93, 0.97):
            page.page.mouse.move(box["x"] + part * box["width"], y)
            page.page.wait_for_timeout(50)
            seen.append(page.captions()[1])
    page.page.mouse.up()
    page.check_pictures(tmp_path)
    (value,) = page.ask("explorer.values").values()
    assert page.row["seen_high"] < value < page.row["high"]
    assert (
        f"at {value:.2f}" in page.captions()[1]
        and f"{value:.2f}" in page.line(page.unit).locator(".lis-number").input_value()
    )
    assert len(set(seen)) > 2, "pictures came while the mouse moved"


def test_a_held_key_ends_on_the_last_value(page, tmp_path):
    page.slider(page.unit).focus()
    page.page.keyboard.press("Home")
    for _ in range(100):  # no waiting in between, as a held key does; then the way back
        page.page.keyboard.down("ArrowRight")
    for _ in range(37):
        page.page.keyboard.down("ArrowLeft")
    page.page.keyboard.up("ArrowLeft")
    page.page.keyboard.up("ArrowRight")
    wanted = page.row["low"] + 63 * (page.row["seen_high"] - page.row["seen_low"]) / 100
    page.wait_for_caption(f"at {wanted:.2f}")
    page.check_pictures(tmp_path)


def test_class_seed_and_truncation_show_another_garment(page, tmp_path):
    before = page.pixels()
    page.field("class").select_option("Bag")
    for label, value in (("seed", "7"), ("psi", "0.5")):
        page.field(label).fill(value)
        page.field(label).press("Enter")
    lab.eventually(lambda: asked(page, f"[{SETTING}[k] for k in ('which', 'seed', 'psi')]", ["Bag", 7, 0.5]))
    page.check_pictures(tmp_path)
    assert apart(before[0], page.pixels()[0]) > 0.05, "another garment"
    assert page.line(page.unit).locator(".lis-number").input_value() == f"{page.row['value']:.2f}"


def test_keys_in_controls_are_no_commands_of_the_notebook(page):
    """JupyterLab's "b" would insert a cell, "x" cut one, an arrow key leave the explorer."""
    cells = len(page.notebook.code_cells())
    for control in (
        page.field("class"),
        page.button("As it was"),
        page.list,
        page.root.locator(".lis-play").first,
    ):
        control.focus()
        for key in ("b", "x", "ArrowDown"):
            page.page.keyboard.press(key)
        assert control.evaluate("e => e === document.activeElement || e.contains(document.activeElement)"), (
            control
        )
    assert len(page.notebook.code_cells()) == cells
    page.page.keyboard.press("Control+s")
    page.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")


def test_search_choose_and_pin_by_keyboard_then_move_both(page, tmp_path):
    other = page.ask("explorer.session.units[30]")
    page.search.click()
    page.page.keyboard.type(f"unit {other}")
    page.list.locator("[role=option]").first.filter(has_text=f"unit {other}").wait_for()
    page.page.keyboard.press("ArrowDown")  # into the list
    page.page.keyboard.press("p")
    page.line(other).wait_for()
    page.page.keyboard.press("Enter")
    page.wait_for_caption(f"unit {other} at")
    page.wait_for_units(other)
    page.page.wait_for_function(
        "([list, end]) => list.getAttribute('aria-activedescendant')?.endsWith(end)",
        arg=[page.list.element_handle(), f"-{other}"],
    )
    page.search.fill("")
    page.list.locator(f"[data-unit='{page.unit}']").wait_for()
    page.list.locator(f"[data-unit='{page.unit}'] .lis-units-pin").click()
    page.line(page.unit).wait_for()
    page.list.locator(f"[data-unit='{page.unit}']").click()
    page.wait_for_units(page.unit, other)
    for unit in (page.unit, other):
        page.slider(unit).focus()
        for _ in range(20):
            page.page.keyboard.press("ArrowLeft")
    page.wait_for_caption("2 units set")
    page.check_pictures(tmp_path)
    page.line(other).locator(".lis-remove").click()
    page.line(other).wait_for(state="detached")
    page.wait_for_caption(f"unit {page.unit} at")
    page.check_pictures(tmp_path)


def test_a_second_view_follows_the_first(page):
    other = Explorer(page.notebook, place=1)
    ids = page.page.locator(".lis-explorer [id]").evaluate_all("all => all.map(e => e.id)")
    assert ids and len(set(ids)) == len(ids), "a name that reads aloud what another list says"
    page.slider(page.unit).focus()
    for _ in range(25):
        page.page.keyboard.press("ArrowLeft")
    page.settle()
    other.settle()
    np.testing.assert_array_equal(page.pixels()[1], other.pixels()[1])
    assert other.captions() == page.captions()
    shown = [view.line(page.unit).locator(".lis-number") for view in (page, other)]
    assert shown[0].input_value() == shown[1].input_value() != f"{page.row['value']:.2f}"


def test_play_runs_along_the_range_and_stops_at_any_input(page, tmp_path):
    page.line(page.unit).locator(".lis-play").click()
    seen, end = set(), time.monotonic() + 30
    while len(seen) <= 5 and time.monotonic() < end:
        seen.add(page.captions()[1])
        page.page.wait_for_timeout(20)
    assert len(seen) > 5, "one picture a step"
    page.slider(page.unit).focus()
    page.page.keyboard.press("ArrowRight")
    page.settle()
    at = page.captions()[1]
    page.page.wait_for_timeout(500)
    assert page.captions()[1] == at
    (value,) = page.ask("explorer.values").values()
    assert page.row["seen_low"] <= value <= page.row["seen_high"] * 1.02
    page.check_pictures(tmp_path)


def test_outlines_are_drawn_on_demand(page):
    plain = page.pixels()
    page.field("outlines").check()
    page.page.wait_for_function("() => document.querySelector('.lis-picture canvas').width > 100")
    high, wide, _ = page.pixels()[0].shape
    expected = page.ask("explorer.state.rgb(outlines=True)[1].tolist()")
    np.testing.assert_array_equal(page.pixels()[1], np.array(expected, np.uint8))
    enlarged = plain[0].repeat(high // 32, axis=0).repeat(wide // 32, axis=1)
    assert 0.01 < apart(enlarged, page.pixels()[0]) < 0.5, "lines over the same picture"
    page.field("outlines").uncheck()
    page.page.wait_for_function("() => document.querySelector('.lis-picture canvas').width === 32")
    np.testing.assert_array_equal(page.pixels()[1], plain[1])


def test_companions_go_along_on_demand(page):
    plain = page.pixels()
    page.field("with companions").check()
    page.wait_for_caption("with companions")
    assert apart(plain[1], page.pixels()[1]) > 0.01
    page.field("with companions").uncheck()
    page.wait_for_caption(f"unit {page.unit} at {page.row['value']:.2f}: ")
    page.settle()
    np.testing.assert_array_equal(page.pixels()[1], plain[1])


def drawn_anew(page, before):
    assert apart(page.pixels()[0], before) > 0.02


def test_back_and_forward_bring_pictures_and_controls_back(page):
    first = page.pixels()
    page.slider(page.unit).focus()
    for _ in range(40):
        page.page.keyboard.press("ArrowLeft")
    wanted = page.row["value"] - 40 * (page.row["seen_high"] - page.row["seen_low"]) / 100
    page.wait_for_caption(f"unit {page.unit} at {max(wanted, page.row['low']):.2f}")
    page.wait_settled()
    second = page.pixels()
    page.button("As it was").click()
    page.wait_for_caption("nothing set")
    np.testing.assert_array_equal(page.pixels()[0], page.pixels()[1])
    page.button("Random").click()
    lab.eventually(lambda: drawn_anew(page, first[0]))
    page.wait_settled()
    assert apart(page.pixels()[0], first[0]) > 0.02
    for _ in range(2):
        page.button("Back").click()
    page.wait_for_caption(f"unit {page.unit} at")
    page.settle()
    np.testing.assert_array_equal(page.pixels()[1], second[1])
    assert page.field("class").input_value() and page.field("seed").input_value() == "0"
    page.button("Back").click()
    page.wait_for_caption(f"at {page.row['value']:.2f}")
    page.settle()
    np.testing.assert_array_equal(page.pixels()[1], first[1])
    page.button("Forward").click()
    page.wait_for_caption(f"unit {page.unit} at {max(wanted, page.row['low']):.2f}")
    page.settle()
    np.testing.assert_array_equal(page.pixels()[1], second[1])


def test_plots_show_the_state_and_a_bar_chooses_its_unit(page):
    # The charts are drawn after the picture.
    over = f"unit {page.unit} over 1,000 photographs; "
    page.root.locator(".lis-charts figcaption").nth(2).filter(has_text=over).wait_for()
    titles = page.root.locator(".lis-charts figcaption").all_text_contents()
    assert titles[:2] == ["classifier: logits", "units that moved most"] and titles[2].startswith(over)
    moved = page.ask("[u for u, _ in explorer.state.moved_units(10)]")
    plots = page.root.locator(".js-plotly-plot")
    page.page.wait_for_function(  # from the top
        """([plot, wanted]) => String([...plot.querySelectorAll(".ytick text")]
            .map(e => [e.getBoundingClientRect().top, e.textContent.trim()])
            .sort((a, b) => a[0] - b[0]).map(pair => pair[1])) === String(wanted)""",
        arg=[plots.nth(1).element_handle(), [f"unit {u}" for u in moved]],
        timeout=30_000,
    )
    plots.nth(2).locator(".shapelayer path").nth(1).wait_for(state="attached")
    assert plots.nth(2).locator(".shapelayer path").count() == 2
    for plot in plots.all():
        assert plot.get_attribute("role") == "img" and len(plot.get_attribute("aria-label")) > 15
    page.field("show").select_option("probabilities")
    page.root.locator(".lis-charts figcaption").first.filter(has_text="probabilities").wait_for()
    assert page.ask("explorer.setting.seed") == 0
    bar = plots.nth(1).locator(".bars .point").nth(0).bounding_box()
    page.page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    page.wait_for_caption(f"unit {moved[0]} at")
    page.root.locator(".lis-charts figcaption").nth(2).filter(has_text=f"unit {moved[0]} over").wait_for()


def test_pictures_are_described_and_enlarged_crisply(page):
    canvases = page.root.locator(".lis-picture canvas")
    assert canvases.count() == 3
    for canvas in canvases.all():
        assert canvas.get_attribute("role") == "img"
        assert len(canvas.get_attribute("aria-label")) > 20
        style = canvas.evaluate("c => [getComputedStyle(c).imageRendering, c.clientWidth / c.width]")
        assert style[0] == "pixelated" and style[1] >= 3 and style[1] == int(style[1])


def test_code_is_copied_or_selected_where_the_clipboard_is_refused(page):
    page.root.get_by_text("Code, save, load").click()
    box = page.root.locator(".lis-code")
    box.locator("pre").filter(has_text="session.start").wait_for()
    code = page.notebook.execute("print(explorer.code())")
    assert box.locator("pre").inner_text().strip() == code
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    box.get_by_role("button", name="Copy").click()
    box.get_by_text("copied").wait_for()
    assert page.page.evaluate("() => navigator.clipboard.readText()").strip() == code
    page.page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }"
    )
    box.get_by_role("button", name="Copy").click()
    box.get_by_text("to copy").wait_for()
    assert page.page.evaluate("() => getSelection().toString().trim()") == code
    page.root.get_by_text("Code, save, load").click()


def test_settings_are_saved_and_loaded_by_the_buttons(page, tmp_path):
    page.root.get_by_text("Code, save, load").click()
    page.button("Save settings").click()
    page.root.locator(".lis-message").filter(has_text="saved as").wait_for()
    name = page.message().split()[-1]
    text = page.notebook.execute(f"from pathlib import Path\nprint(Path({name!r}).read_text())")
    assert json.loads(text)
    (tmp_path / "mine.json").write_text(text)
    (tmp_path / "broken.json").write_text(text[:50])
    before = page.pixels()
    page.button("Random").click()
    page.page.wait_for_function("field => field.value !== '0'", arg=page.field("seed").element_handle())
    upload(page, tmp_path / "broken.json")
    page.root.locator(".lis-message[role=alert]").wait_for()
    assert page.field("seed").input_value() != "0"
    upload(page, tmp_path / "mine.json")
    page.page.wait_for_function("field => field.value === '0'", arg=page.field("seed").element_handle())
    page.wait_for_caption(f"unit {page.unit} at {page.row['value']:.2f}")
    page.settle()
    np.testing.assert_array_equal(page.pixels()[1], before[1])
    page.button("Save picture").click()
    page.root.locator(".lis-message").filter(has_text=".png").wait_for()
    page.root.get_by_text("Code, save, load").click()


def upload(page, path):
    with page.page.expect_file_chooser() as chooser:
        page.root.get_by_role("button", name="Load settings").click()
    chooser.value.set_files(path)


def test_a_failed_render_is_told_in_the_widget_and_forgotten_after_the_next_good_one(page):
    assert page.message() == ""
    page.notebook.execute(
        "def broken(*_, **__):\n    raise RuntimeError('no <paint> left')\nexplorer.session.generator.render = broken"
    )
    try:
        page.slider(page.unit).focus()
        page.page.keyboard.press("ArrowLeft")
        message = page.root.locator(".lis-message[role=alert]")
        message.filter(has_text="RuntimeError: no <paint> left").wait_for(state="visible", timeout=30_000)
        page.root.locator(".lis-picture.lis-stale").wait_for(timeout=30_000)
    finally:
        page.notebook.execute("del explorer.session.generator.render")
    page.page.keyboard.press("ArrowLeft")
    page.root.locator(".lis-picture:not(.lis-stale)").wait_for(timeout=30_000)
    page.root.locator(".lis-message[role=alert]").wait_for(state="hidden", timeout=30_000)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_texts_can_be_read_in_both_themes(theme, page):
    try:
        page.notebook.theme(theme)
        lab.check_contrast(page.root, texts=40)
    finally:
        page.notebook.theme("JupyterLab Light")


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_sticks_out(width, page):
    page.notebook.execute("explorer.set({explorer.session.units[40]: 0.2})")
    page.line(page.ask("explorer.session.units[40]")).wait_for()
    with page.notebook.width(width):
        lab.check_fits(page.root)
        tops = page.root.locator(".lis-ranking, .lis-right").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().top)"
        )
    assert (tops[0] == tops[1]) == (width == 1280), "side by side where there is room"
