"""The base widgets in a real JupyterLab: sliders by key, mouse and typing; pictures; a kernel that dies."""

import json
import os
import signal
import time

import lab
import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# A picture that tells the value it was drawn for: the tuned panel is the start, brighter by ten times the value.
SETUP = """
import ipywidgets, threading
import numpy as np
from lis_widgets import Live, Message, Picture, Sliders

def panels(value):
    start = (np.add.outer(np.arange(32), np.arange(32))[..., None] * [3, 2, 1]).astype(np.uint8)
    return np.stack([start, start + np.uint8(round(value * 10) % 256)])

rows = [
    dict(key="17", label="unit 17", low=-1.0, high=4.0, seen_low=0.0, seen_high=3.0, own=1.2, value=1.2, pinned=False),
    dict(key="203", label="unit 203", low=0.0, high=9.0, seen_low=0.0, seen_high=6.0, value=2.0, pinned=True,
         removable=True, tooltip="unit 203, spread 0.8"),
]
sliders, picture, message = Sliders(rows), Picture(), Message()
actions, broken, open_gate = [], [], threading.Event()
open_gate.set()
def compute(values):
    open_gate.wait(30)
    if broken:
        raise RuntimeError("no <paint> left")
    return panels(values["17"])
def show(values, result):
    message.clear()
    picture.show(result, ["start", f"unit 17 at {values['17']:.2f}"])
    sliders.shown()
def fail(values, error):
    message.error(error)
    picture.mark_stale()
    sliders.shown()
live = Live(compute, show, fail)
def ask(*_):
    live.request(dict(sliders.values))
def act(*told):
    actions.append(told)
    ask()
sliders.on_move(ask)
sliders.on_action(act)
ask()
live.flush()
box = ipywidgets.VBox([sliders, message, picture])
box.add_class("first")
"""

GRID = """
chosen = []
grid = Picture(pickable=True, target=96)
grid.on_pick(chosen.append)
numbers = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
grid.show(numbers, [f"panel {i}" for i in range(12)])
smooth = np.add.outer(np.arange(64), np.arange(64))[None, ..., None].repeat(3, -1).astype(np.uint8)
jpeg = Picture(transport="jpeg")
jpeg.show(smooth, ["as JPEG"])
wide = Picture()
wide.show(np.zeros((2, 512, 700, 3), np.uint8) + np.uint8(90), ["a large one", "another"])
second = ipywidgets.VBox([grid, jpeg, wide])
second.add_class("second")
"""


@pytest.fixture(scope="module")
def notebook(scratch):
    return scratch([SETUP, GRID])


@pytest.fixture
def page(notebook):
    """The page, put back in order and free of console errors."""
    yield notebook.page
    notebook.page.mouse.up()
    notebook.execute("open_gate.set(); broken.clear(); sliders.set_values({'17': 1.2, '203': 2.0}); ask()")
    wait_for_caption(notebook.page, "at 1.20")
    for key, value in (("17", "1.20"), ("203", "2.00")):
        notebook.page.wait_for_function(
            "([e, value]) => e.value === value", arg=[number(notebook.page, key).element_handle(), value]
        )
    notebook.page.watch.check()


def slider(page, key="17"):
    return page.locator(f".first .lis-unit[data-key='{key}'] input.lis-slider")


def number(page, key="17"):
    return page.locator(f".first .lis-unit[data-key='{key}'] input.lis-number")


def wait_for_caption(page, text):
    page.locator(".first figcaption").nth(1).filter(has_text=text).wait_for(timeout=30_000)


def pixels(page, root=".first", picture=0):
    found = (
        page.locator(f"{root} .lis-picture")
        .nth(picture)
        .locator("canvas")
        .evaluate_all(
            """canvases => canvases.map(canvas => {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.height, canvas.width, Array.from(data).filter((_, i) => i % 4 !== 3)];
        })"""
        )
    )
    return [np.array(data, np.uint8).reshape(height, width, 3) for height, width, data in found]


def told(notebook, expression, wanted):
    """What the browser told the kernel, which may hear it a while later."""
    found = json.loads(notebook.execute(f"import json; print(json.dumps({expression}))"))
    assert found == wanted


def expected(value):
    start = (np.add.outer(np.arange(32), np.arange(32))[..., None] * [3, 2, 1]).astype(np.uint8)
    return [start, start + np.uint8(round(value * 10) % 256)]


def test_keys_move_by_steps_of_the_observed_range(notebook, page):
    slider(page).focus()
    for key, wanted in (
        ("ArrowRight", 1.23),
        ("ArrowUp", 1.26),
        ("ArrowLeft", 1.23),
        ("Shift+ArrowRight", 1.53),
        ("PageDown", 1.23),
        ("Home", -1.0),
        ("ArrowLeft", -1.0),
        ("End", 4.0),
    ):
        page.keyboard.press(key)
        assert float(number(page).input_value()) == wanted, "the number follows at once"
        wait_for_caption(page, f"at {wanted:.2f}")
    np.testing.assert_array_equal(pixels(page), expected(4.0))
    assert slider(page).get_attribute("aria-valuetext") == "4.00, outside the observed range"
    assert json.loads(notebook.execute("print(sliders.values['17'])")) == 4.0


def test_a_held_key_ends_on_its_last_value(notebook, page):
    slider(page).focus()
    page.keyboard.press("Home")
    for _ in range(100):
        page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowRight")
    wait_for_caption(page, "at 2.00")
    page.wait_for_timeout(300)
    np.testing.assert_array_equal(pixels(page), expected(2.0))
    assert float(notebook.execute("print(sliders.values['17'])")) == pytest.approx(2.0)


def test_the_mouse_drags_and_python_does_not_pull_the_slider_away(notebook, page):
    box = slider(page).bounding_box()
    middle = box["y"] + box["height"] / 2
    start = box["x"] + 8 + (box["width"] - 16) * (1.2 + 1) / 5  # where the thumb is
    page.mouse.move(start, middle)
    page.mouse.down()
    for part in range(1, 21):
        page.mouse.move(start + part * (box["x"] + box["width"] * 0.9 - start) / 20, middle)
    held = number(page).input_value()
    assert float(held) > 3
    notebook.execute("sliders.set_values({'17': 0.0})")
    page.wait_for_timeout(200)
    assert number(page).input_value() == held, "the hand has it"
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.up()
    end = float(number(page).input_value())
    assert end == pytest.approx(1.5, abs=0.1)
    wait_for_caption(page, f"at {end:.2f}")
    value = float(notebook.execute("print(sliders.values['17'])"))
    np.testing.assert_array_equal(pixels(page), expected(value))
    notebook.execute("sliders.set_values({'17': 0.5})")
    page.wait_for_function("() => document.querySelector('.first .lis-number').value === '0.50'")


@pytest.mark.parametrize(
    "change", ["sliders.set_values({'17': 3.0})", "sliders.rows = [{**row, 'value': 3.0} for row in rows]"]
)
def test_a_slider_that_is_let_go_shows_what_the_kernel_has(change, notebook, page):
    box = slider(page).bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    wait_for_caption(page, "at 1.50")
    held = number(page).input_value()
    notebook.execute(f"{change}; ask(); live.flush()")  # such as a setting that is loaded
    wait_for_caption(page, "at 3.00")
    assert number(page).input_value() == held
    page.mouse.up()
    assert number(page).input_value() == "3.00"


def test_a_number_is_typed_and_one_beyond_the_limits_is_refused(notebook, page):
    number(page).fill("2.345")
    number(page).press("Enter")
    wait_for_caption(page, "at 2.35")
    assert float(notebook.execute("print(sliders.values['17'])")) == 2.345
    number(page).press("Shift+ArrowDown")
    assert number(page).input_value() in ("2.04", "2.05"), "up and down move as on the slider"
    wait_for_caption(page, "at 2.0")
    number(page).fill("2.345")
    number(page).press("Enter")
    wait_for_caption(page, "at 2.35")  # a value waits in the browser until the one before it was answered
    number(page).fill("77")
    number(page).press("Enter")
    assert "from -1.00 to 4.00" in number(page).evaluate("e => e.validationMessage")
    assert float(notebook.execute("print(sliders.values['17'])")) == 2.345
    slider(page).focus()
    assert number(page).input_value() == "2.35" and number(page).evaluate("e => e.validity.valid")


def test_buttons_act(notebook, page):
    notebook.execute("actions.clear(); sliders.set_values({'17': 3.5}); ask()")
    wait_for_caption(page, "at 3.50")
    unit = page.locator(".first .lis-unit[data-key='17']")
    unit.get_by_role("button", name="set unit 17 to the start's own value").click()
    wait_for_caption(page, "at 1.20")
    assert number(page).input_value() == "1.20"
    unit.get_by_role("button", name="pin unit 17").click()
    other = page.locator(".first .lis-unit[data-key='203']")
    assert other.get_by_role("button", name="unpin unit 203").get_attribute("aria-pressed") == "true"
    other.get_by_role("button", name="unpin unit 203").click()
    other.get_by_role("button", name="remove unit 203").focus()
    page.keyboard.press("Enter")
    wanted = [["17", "reset"], ["17", "pin"], ["203", "unpin"], ["203", "remove"]]
    lab.eventually(lambda: told(notebook, "actions", wanted))
    page.wait_for_timeout(300)
    told(notebook, "actions", wanted)  # each of them once


def test_rows_change_and_keep_focus_and_values(notebook, page):
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    notebook.execute(
        "kept = sliders.rows; sliders.rows = [*kept[:1], dict(key='5', label='unit 5', low=0, high=1, value=0.5)]"
    )
    page.locator(".first .lis-unit[data-key='5']").wait_for()
    assert page.locator(".first .lis-unit").count() == 2
    assert page.evaluate("() => document.activeElement.dataset.key") == "17"
    assert number(page).input_value() == "1.23"
    notebook.execute("sliders.rows = kept")
    page.locator(".first .lis-unit[data-key='203']").wait_for()


def test_rows_from_before_the_last_move_do_not_pull_the_slider_back(notebook, page):
    notebook.execute("open_gate.clear()")
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    lab.eventually(lambda: told(notebook, "round(sliders.values['17'], 6)", 1.23))  # the move has arrived
    # As if the rows had left before the move arrived.
    notebook.execute(
        "old = [dict(row) for row in sliders.rows]; old[0].update(value=1.2, tooltip='older')\n"
        "sliders._received -= 1; sliders.rows = old; sliders._received += 1; sliders.rows[0]['value'] = 1.23"
    )
    page.wait_for_function("() => document.querySelector('.first .lis-name').title === 'older'")
    assert number(page).input_value() == "1.23"
    notebook.execute("open_gate.set()")
    wait_for_caption(page, "at 1.23")
    notebook.execute("sliders.rows = old")
    page.wait_for_function("() => document.querySelector('.first .lis-number').value === '1.20'")


def test_play_runs_along_the_observed_range_a_picture_a_step(notebook, page):
    before = json.loads(notebook.execute("import json; print(json.dumps(live.counts))"))
    play = page.locator(".first .lis-unit[data-key='17'] .lis-play")
    assert play.get_attribute("aria-label") == "play unit 17 along its observed range"
    play.click()
    assert play.get_attribute("aria-label") == "pause unit 17"
    page.wait_for_function(
        "() => Number(document.querySelector('.first .lis-number').value) > 2.5", timeout=30_000
    )
    page.wait_for_function(
        "() => Number(document.querySelector('.first .lis-number').value) < 2.5", timeout=30_000
    )
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    assert play.get_attribute("aria-label") == "play unit 17 along its observed range", "stops on any input"
    page.wait_for_timeout(300)
    rest = number(page).input_value()
    page.wait_for_timeout(300)
    assert number(page).input_value() == rest
    after = json.loads(notebook.execute("print(json.dumps(live.counts))"))
    assert after["shown"] - before["shown"] >= 30 and after["dropped"] - before["dropped"] <= 3
    wait_for_caption(page, f"at {rest}")


def test_an_error_is_shown_and_forgotten(notebook, page):
    notebook.execute("broken.append(1)")
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    page.locator(".first .lis-message[role=alert]").filter(
        has_text="RuntimeError: no <paint> left"
    ).wait_for()
    page.locator(".first .lis-picture.lis-stale").wait_for()
    notebook.execute("broken.clear()")
    page.keyboard.press("ArrowRight")
    page.locator(".first .lis-picture:not(.lis-stale)").wait_for()
    page.locator(".first .lis-message").wait_for(state="hidden")


def most_messages(seconds):
    """How many moves may be sent in so many seconds to a kernel that answers none: one a quarter of a second."""
    return 3 + int(seconds / 0.25)


def test_a_long_render_is_no_silence(notebook, page):
    """The kernel gives a sign of life while its worker computes; and few messages wait for it."""
    notebook.execute("open_gate.clear(); before = live.counts['requested']")
    slider(page).focus()
    start = time.monotonic()
    for _ in range(40):
        page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowRight")
    most = most_messages(time.monotonic() - start)
    page.wait_for_timeout(6000)
    assert page.locator(".first [role=alert]").count() == 0
    assert int(notebook.execute("print(live.counts['requested'] - before)")) <= most
    notebook.execute("open_gate.set()")
    wait_for_caption(page, "at 2.40")


def test_a_silent_kernel_is_told_and_the_last_value_still_arrives(notebook, page):
    process = notebook.kernel_process()
    os.kill(process, signal.SIGSTOP)
    try:
        slider(page).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        alert = page.locator(".first .lis-sliders [role=alert]")
        alert.filter(has_text="The kernel does not answer").wait_for(timeout=30_000)
        assert number(page).input_value() == "1.26"
    finally:
        os.kill(process, signal.SIGCONT)
    alert.wait_for(state="detached", timeout=30_000)
    wait_for_caption(page, "at 1.26")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_texts_can_be_read_in_both_themes(theme, notebook, page):
    try:
        notebook.theme(theme)
        found = page.locator(".first").evaluate(
            """root => {
                const probe = document.createElement("div");
                probe.style.color = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
                root.appendChild(probe);
                const texts = [...root.querySelectorAll("label, .lis-number, figcaption, .lis-end, .lis-icon")]
                    .map(e => [e, getComputedStyle(e)])
                    .map(([e, style]) => [e.className || e.tagName, style.color, style.backgroundColor]);
                const background = getComputedStyle(probe).color;
                probe.remove();
                return { background, texts };
            }"""
        )
    finally:
        notebook.theme("JupyterLab Light")
    assert len(found["texts"]) >= 15
    for name, colour, own in found["texts"]:
        behind = found["background"] if own == "rgba(0, 0, 0, 0)" else own
        assert lab.contrast(colour, behind) >= 4.5, (theme, name, colour, behind)


def test_it_fits_a_narrow_window(notebook, page):
    with notebook.width(800):
        for root in (".first", ".second"):
            beyond = page.locator(root).evaluate(
                """root => {
                    const own = root.getBoundingClientRect();
                    return [...root.querySelectorAll("canvas, input, button, label")]
                        .map(e => [e.className || e.tagName, e.getBoundingClientRect().right - own.right]);
                }"""
            )
            assert beyond and all(right <= 1 for _, right in beyond), beyond


def test_panels_are_chosen_by_mouse_and_key(notebook, page):
    notebook.execute("chosen.clear()")
    panel = page.get_by_role("button", name="panel 3", exact=True)
    panel.click()
    page.get_by_role("button", name="panel 7", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press(" ")
    lab.eventually(lambda: told(notebook, "chosen", [3, 7, 8]))
    tops = (
        page.locator(".second .lis-picture")
        .nth(0)
        .locator("canvas")
        .evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
    )
    assert len(tops) == 12 and len(set(tops)) >= 2, "many panels wrap"


def test_jpeg_is_close_and_the_newest_is_what_stays(notebook, page):
    notebook.execute("for shift in range(60):\n    jpeg.show(smooth + np.uint8(shift), [f'shift {shift}'])")
    page.locator(".second figcaption").filter(has_text="shift 59").wait_for()
    smooth = np.add.outer(np.arange(64), np.arange(64))[..., None].repeat(3, -1) + 59

    def check():
        assert np.abs(pixels(page, ".second", 1)[0].astype(int) - smooth).max() <= 6

    lab.eventually(check)  # decoded after its caption came
    page.wait_for_timeout(300)
    check()


@pytest.mark.parametrize("ratio", [1, 1.5, 2])
def test_small_pixels_are_whole_device_pixels_and_large_pictures_are_scaled_smoothly(ratio, page):
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setDeviceMetricsOverride",
                 {"width": 1280, "height": 1000, "deviceScaleFactor": ratio, "mobile": False})  # fmt: skip
    try:
        page.wait_for_function("ratio => devicePixelRatio === ratio", arg=ratio)
        read = """all => all.map(e =>
            [e.getBoundingClientRect().width * devicePixelRatio / e.width, getComputedStyle(e).imageRendering])"""

        def check():
            small = page.locator(".first canvas").evaluate_all(read)
            large = page.locator(".second .lis-picture").nth(2).locator("canvas").evaluate_all(read)
            assert len(small) == len(large) == 2
            for scale, rendering in small:
                assert rendering == "pixelated" and scale >= 4
                assert scale == pytest.approx(round(scale), abs=1e-3)
            for scale, rendering in large:
                assert scale < 1 and rendering != "pixelated"

        lab.eventually(check)
        page.wait_for_timeout(400)
        check()
    finally:
        session.send("Emulation.clearDeviceMetricsOverride")
        session.detach()


def test_every_control_has_a_name_and_the_picture_a_description(page):
    nameless = page.locator(".first").evaluate(
        """root => [...root.querySelectorAll("input, button")]
            .filter(e => !e.getAttribute("aria-label") && !(e.labels?.length && e.labels[0].textContent)).length"""
    )
    assert nameless == 0
    for canvas in page.locator(".first canvas").all():
        assert canvas.get_attribute("role") == "img" and canvas.get_attribute("aria-label")


def test_a_page_loaded_anew_goes_on_where_it_was_and_spares_the_kernel(scratch, server):
    notebook = scratch([SETUP + "box\n"])
    page = notebook.page
    slider(page).focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    wait_for_caption(page, "at 2.40")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.goto(server.address(notebook.name).replace("&reset", ""))
    wait_for_caption(page, "at 2.40")
    assert number(page).input_value() == "2.40"
    notebook.execute("ask(); live.flush()")  # an answer, but to no move of this page
    notebook.execute(
        "numbers, move = [], sliders._move\n"
        "sliders._move = lambda content: (numbers.append(content['number']), move(content))\n"
        "open_gate.clear()"
    )
    slider(page).focus()
    start = time.monotonic()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(100)
    most = most_messages(time.monotonic() - start)
    sent = json.loads(notebook.execute("import json; print(json.dumps(numbers))"))
    assert len(sent) <= most, "no more than one unanswered, and a few a second while it lasts"
    notebook.execute("open_gate.set()")
    wait_for_caption(page, "at 1.80")
    assert number(page).input_value() == "1.80"
    page.watch.check()
    page.close()


def test_a_restarted_kernel_is_told_without_a_console_error(scratch):
    notebook = scratch([SETUP])
    page = notebook.page
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    wait_for_caption(page, "at 1.23")
    notebook.restart_kernel()
    slider(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.locator(".first [role=alert]").filter(has_text="The kernel does not answer").wait_for(timeout=30_000)
    assert number(page).input_value() == "1.38"
    page.watch.check()
    notebook.run_all()
    wait_for_caption(page, "at 1.20")
    assert page.locator(".first [role=alert]").count() == 0
    page.close()
