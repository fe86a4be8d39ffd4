"""The part labeller under a hand: what is painted by mouse and keys is on disk, pixel by pixel, whatever happens."""

import os
import re
import signal

import lab
import numpy as np
import pytest
import torch
from PIL import Image

import lis_toolkit as lis
from lis_toolkit.parts.mask_files import write_mask

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import lis_toolkit as lis
from lis_toolkit.parts import Legend
from lis_widgets import PartLabeller
generator = lis.load_generator("fashion")
segmenter = lis.load_segmenter("fashion")
"""
OPEN = """
labeller = PartLabeller("FOLDER", generator, classes=["Coat", "Trouser"], per_class=2, psi=0.7, segmenter=segmenter)
labeller
"""
SIDE = 32


class Labeller:
    """The widget by what is on the screen; pixels of the picture are (x, y)."""

    def __init__(self, notebook, folder, side=SIDE):
        self.notebook, self.page, self.folder, self.side = notebook, notebook.page, folder, side
        self.root = self.page.locator(".lis-labeller").last
        self.stage = self.root.locator(".lis-stage")
        self.stage.wait_for(timeout=60_000)
        self.page.wait_for_function("e => e.dataset.revision", arg=self.root.element_handle())
        self.stage.scroll_into_view_if_needed()

    def place(self, x, y):
        """Where the middle of a pixel is on the screen while the whole picture is shown."""
        left, top, wide, high = self.stage.evaluate(
            "e => { const b = e.querySelector('canvas').getBoundingClientRect();"
            " return [b.left, b.top, e.clientWidth, e.clientHeight]; }"
        )
        room = min(wide, high) / self.side
        zoom = int(room) if room >= 1 else room
        pan_x, pan_y = (np.floor((size - self.side * zoom) / 2 + 0.5) for size in (wide, high))
        return left + pan_x + (x + 0.5) * zoom, top + pan_y + (y + 0.5) * zoom

    def stroke(self, *points):
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point))
        self.page.mouse.up()

    def click(self, x, y):
        self.page.mouse.click(*self.place(x, y))

    def keys(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name):
        return self.root.get_by_role("button", name=name)

    def away(self):
        self.page.mouse.move(5, 300)

    def wait_saved(self, kind="done", timeout=30):
        self.page.wait_for_function(
            "([e, kind]) => e.dataset.saved === kind",
            arg=[self.root.element_handle(), kind],
            timeout=timeout * 1000,
        )

    def mask(self, file=None):
        """What is in the PNG, once everything is saved."""
        self.wait_saved()
        with Image.open(self.folder / (file or self.file())) as image:
            assert image.mode == "P"
            return np.array(image)

    def file(self):
        return self.root.get_attribute("data-file")

    def show(self, index):
        """Go to a picture and wait until it is there: only then the list names it."""
        before = self.root.get_attribute("data-revision")
        self.root.locator("select").select_option(str(index))
        self.page.wait_for_function(
            "([e, i, before]) => e.dataset.revision !== before && e.querySelector('select').value === i",
            arg=[self.root.element_handle(), str(index), before],
        )

    def wait_shown(self, before):
        """Wait until the kernel has shown something after revision `before`."""
        self.page.wait_for_function(
            "([e, before]) => e.dataset.revision !== before", arg=[self.root.element_handle(), before]
        )

    def readout(self):
        return self.root.locator(".lis-readout").inner_text()

    def wait_readout(self, text):
        self.root.locator(".lis-readout").filter(has_text=text).wait_for()

    def cursor(self):
        return tuple(map(int, re.search(r"x (\d+), y (\d+)", self.readout()).groups()))

    def problem(self):
        return self.root.locator(".lis-error").inner_text()


def blank(side=SIDE):
    return np.zeros((side, side), np.uint8)


def line(labels, start, end, size, label):
    """A round brush along a line, pixel by pixel: the plain reference."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    high, wide = labels.shape
    for k in range(steps + 1):
        share = k / max(steps, 1)
        x = int(np.floor(start[0] + (end[0] - start[0]) * share + 0.5))
        y = int(np.floor(start[1] + (end[1] - start[1]) * share + 0.5))
        middle = 0 if size % 2 else -0.5
        for dy in range(-size, size + 1):
            for dx in range(-size, size + 1):
                near = (dx - middle) ** 2 + (dy - middle) ** 2 < (size / 2) ** 2
                if near and 0 <= x + dx < wide and 0 <= y + dy < high:
                    labels[y + dy, x + dx] = label
    return labels


@pytest.fixture(scope="module")
def opened(scratch, server):
    notebook = scratch([SETUP, OPEN.replace("FOLDER", "masks")])
    return Labeller(notebook, server.root / "masks")


@pytest.fixture
def labeller(opened):
    """Picture 0 without labels, brush of 1 px, part 1, the tool that paints."""
    opened.page.bring_to_front()
    if opened.root.locator("select").input_value() != "0":
        opened.show(0)
    opened.stage.focus()
    opened.keys("Delete", "b", "1", "w", *["["] * 6)
    opened.page.wait_for_function(  # a key that changed something made it "saving" at once
        "e => ['done', 'none'].includes(e.dataset.saved)", arg=opened.root.element_handle()
    )
    yield opened
    opened.notebook.watch.check()


def test_strokes_of_the_mouse_are_in_the_png(labeller):
    expected = line(blank(), (3, 10), (25, 10), 1, 1)
    labeller.stroke((3, 10), (25, 10))
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("2", "]", "]")
    labeller.stroke((4, 4), (20, 29), (31, 31))
    line(line(expected, (4, 4), (20, 29), 3, 2), (20, 29), (31, 31), 3, 2)
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("e", "]", "]")  # a brush of 5 px, round, erases
    labeller.stroke((12, 12))
    line(expected, (12, 12), (12, 12), 5, 0)
    np.testing.assert_array_equal(labeller.mask(), expected)
    assert (expected[10:15, 10:15] == 0).sum() >= 21 and {1, 2} == set(np.unique(expected)) - {0}
    assert labeller.notebook.execute("print(labeller.labels.tolist())") == str(expected.tolist())
    assert lis.load_masks(labeller.folder).labels[0].tolist() == expected.tolist()
    labeller.root.get_by_text("1 of 4 labelled").wait_for()  # told after the mask was


def test_fill_takes_what_hangs_together_and_polygons_their_corners(labeller):
    labeller.keys("p", "3")
    for corner in ((5, 5), (14, 5), (14, 12), (5, 12)):
        labeller.click(*corner)
    labeller.keys("Enter")
    expected = blank()
    expected[5:13, 5:15] = 3
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("4")  # a triangle, closed by a double click on its last corner
    labeller.click(20, 20)
    labeller.click(30, 20)
    labeller.page.mouse.dblclick(*labeller.place(20, 30))
    for y in range(11):
        expected[20 + y, 20 : 31 - y] = 4
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.click(1, 1)
    labeller.click(3, 1)
    labeller.click(3, 3)
    labeller.keys("Escape", "Enter")
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("f", "2")
    labeller.click(8, 8)
    expected[expected == 3] = 2
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.click(0, 31)  # the background hangs together around both
    expected[expected == 0] = 2
    np.testing.assert_array_equal(labeller.mask(), expected)


def test_undo_and_redo_go_stroke_by_stroke(labeller):
    states = [blank()]
    for i, key in enumerate("123"):
        labeller.keys(key)
        labeller.stroke((2, 5 + 6 * i), (29, 8 + 6 * i))
        states.append(line(states[-1].copy(), (2, 5 + 6 * i), (29, 8 + 6 * i), 1, i + 1))
        np.testing.assert_array_equal(labeller.mask(), states[-1])
    labeller.keys("Control+z")
    np.testing.assert_array_equal(labeller.mask(), states[2])
    labeller.button("Undo").click()
    np.testing.assert_array_equal(labeller.mask(), states[1])
    labeller.keys("Control+Shift+Z")
    np.testing.assert_array_equal(labeller.mask(), states[2])
    labeller.keys("Control+y")
    np.testing.assert_array_equal(labeller.mask(), states[3])
    assert labeller.button("Redo").is_disabled()
    labeller.keys("Delete")
    np.testing.assert_array_equal(labeller.mask(), states[0])
    labeller.keys("Control+z", "Control+z")
    labeller.stroke((0, 0), (0, 31))  # another way: what was undone is gone
    np.testing.assert_array_equal(labeller.mask(), line(states[2].copy(), (0, 0), (0, 31), 1, 3))
    assert labeller.button("Redo").is_disabled()


def test_everything_works_by_keys_alone(labeller):
    labeller.away()
    labeller.stage.focus()
    labeller.keys("ArrowRight")
    x, y = labeller.cursor()
    labeller.keys("ArrowRight", "ArrowRight", "ArrowUp", "2", "Space")
    expected = blank()
    expected[y - 1, x + 2] = 2
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.page.keyboard.down("Shift")
    labeller.keys("ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft")
    labeller.page.keyboard.up("Shift")
    expected[y - 1 : y + 3, x + 2] = expected[y + 2, x + 1] = 2
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys(
        "p", "3", "Space", "ArrowLeft", "ArrowLeft", "Space", "ArrowDown", "ArrowDown", "Space", "Enter"
    )
    expected[y + 2, x - 1 : x + 2] = expected[y + 3, x - 1 : x + 1] = expected[y + 4, x - 1] = 3
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("Control+z", "Control+z")
    expected[expected == 3] = 0
    assert (labeller.mask() == 2).sum() == 1  # the line with Shift was one step
    label = labeller.stage.get_attribute("aria-label")
    assert f"cursor at {x - 1}, {y + 4}: background" in label and "Coat" in label


def test_next_previous_and_jumping_keep_every_picture_apart(labeller):
    labeller.stroke((1, 1), (9, 1))
    first, file = line(blank(), (1, 1), (9, 1), 1, 1), labeller.file()
    np.testing.assert_array_equal(labeller.mask(), first)
    labeller.keys("PageDown")
    labeller.page.wait_for_function(
        "([e, f]) => e.dataset.file !== f", arg=[labeller.root.element_handle(), file]
    )
    labeller.wait_saved("none")
    labeller.keys("s")  # without any part, it is labelled too
    assert not labeller.mask().any() and not (labeller.folder / "01_1001_psi0.7.png").exists()
    labeller.keys(",")
    labeller.page.wait_for_function(
        "([e, f]) => e.dataset.file === f", arg=[labeller.root.element_handle(), file]
    )
    labeller.keys("Control+z")
    assert not labeller.mask().any()  # undo is still there
    labeller.keys("Control+y")
    np.testing.assert_array_equal(labeller.mask(), first)
    labeller.keys("n")
    labeller.page.wait_for_function(
        "([e, f]) => e.dataset.file !== f", arg=[labeller.root.element_handle(), file]
    )
    options = labeller.root.locator("option").all_inner_texts()
    assert [text[0] for text in options] == ["✓", "✓", "○", "○"] and "Trouser, seed 1000" in options[2]
    assert labeller.root.locator("select").input_value() == "2"
    assert labeller.root.locator(".lis-progress").inner_text() == "2 of 4 labelled"
    labeller.show(0)


def test_the_guess_is_taken_compared_and_corrected(labeller):
    generator, segmenter = lis.load_generator("fashion"), lis.load_segmenter("fashion")
    w = generator.map(generator.z_of_seeds([4000]), "Coat", psi=0.7)
    guess = lis.segment(generator, segmenter, w)[0].numpy()
    canvas = labeller.stage.locator("canvas").first
    plain = canvas.evaluate("c => c.toDataURL()")
    labeller.keys("g")
    labeller.page.wait_for_function(
        "([c, plain]) => c.toDataURL() !== plain", arg=[canvas.element_handle(), plain]
    )
    labeller.keys("g", "t")
    np.testing.assert_array_equal(labeller.mask(), guess)
    assert len(np.unique(guess)) > 2
    labeller.stroke((10, 15), (12, 15))
    np.testing.assert_array_equal(labeller.mask(), line(guess.copy(), (10, 15), (12, 15), 1, 1))
    labeller.keys("Control+z")
    np.testing.assert_array_equal(labeller.mask(), guess)


def test_keys_stay_in_the_widget_and_are_taken_from_nobody(labeller):
    before = [cell["source"] for cell in labeller.notebook.code_cells()]
    labeller.stroke((5, 5), (6, 5))
    labeller.keys("d", "d", "b", "a", "x", "m", "y", "c", "v", "Enter", "i", "i", "0", "z", "Shift+M")
    labeller.button("Fill").focus()
    labeller.keys("d", "d", "b", "x")
    labeller.root.locator("input[type=radio]").first.focus()
    labeller.keys("d", "d", "b", "x", "a")
    while labeller.button("Undo").is_enabled():
        labeller.button("Undo").click()
    labeller.keys("d", "d", "b", "x", "a")  # a button that was disabled under the focus
    labeller.root.locator(".lis-progress").click()
    labeller.keys("d", "d", "b", "x", "a")  # no control at all
    labeller.button("Redo").click()
    labeller.root.locator(".lis-brush").focus()
    labeller.keys("ArrowRight", "d", "d", "Shift+Digit2")
    assert labeller.root.locator(".lis-field output").inner_text() == "2 px"  # the slider's own keys
    assert labeller.root.locator("input[type=radio]").nth(11).is_checked()
    labeller.page.wait_for_timeout(300)
    assert [cell["source"] for cell in labeller.notebook.code_cells()] == before
    assert labeller.notebook.execute("print('alive')") == "alive"  # "0 0" and "i i" did not reach the kernel
    mask = labeller.mask()
    # With the focus elsewhere, the same keys are the notebook's.
    labeller.page.locator(".jp-InputPrompt").first.click()
    labeller.keys("Escape", "b")
    count = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    labeller.page.wait_for_function(f"{count} === 3")
    for _ in range(5):  # JupyterLab forgets the first "d" when the second one comes a second later
        labeller.keys("d", "d")
        labeller.page.wait_for_timeout(100)
        if labeller.page.evaluate(count) == 2:
            break
        labeller.page.wait_for_timeout(1500)
    assert labeller.page.evaluate(count) == 2
    np.testing.assert_array_equal(labeller.mask(), mask)


def test_a_damaged_mask_is_told_and_comes_back_with_its_undo(labeller):
    labeller.stroke((5, 5), (9, 5))
    mask, path = labeller.mask(), labeller.folder / labeller.file()
    path.write_bytes(b"half a file")
    labeller.stroke((9, 9), (12, 9))
    labeller.button("Reload the file").click()
    labeller.wait_saved("unread")
    assert "not a PNG file" in labeller.problem() and labeller.button("Undo").is_disabled()
    labeller.stroke((1, 1), (12, 1))
    assert path.read_bytes() == b"half a file"
    path.unlink()
    labeller.button("Read it again").click()
    labeller.wait_saved("none")
    labeller.keys("Control+z")
    np.testing.assert_array_equal(labeller.mask(), line(mask, (9, 9), (12, 9), 1, 1))


def test_zoom_and_pan_move_the_view_and_not_the_labels(labeller):
    labeller.stroke((5, 5), (6, 5))
    before = labeller.mask()
    x, y = labeller.place(20, 8)
    labeller.page.mouse.move(x, y)
    whole = labeller.readout()
    for _ in range(3):
        labeller.page.mouse.wheel(0, -100)
    labeller.wait_readout("32 ×")
    under = labeller.cursor()
    labeller.page.mouse.wheel(0, -100)
    labeller.wait_readout("48 ×")
    assert labeller.cursor() == under  # the pixel under the pointer stays there
    labeller.page.keyboard.down("Space")
    labeller.page.mouse.down()
    labeller.page.mouse.move(x - 96, y - 48)
    labeller.page.mouse.up()
    labeller.page.keyboard.up("Space")
    assert labeller.cursor() == under
    labeller.page.mouse.move(x, y)
    there = (under[0] + 2, under[1] + 1)
    assert labeller.cursor() == there
    np.testing.assert_array_equal(labeller.mask(), before)
    labeller.page.mouse.click(x, y)
    before[there[1], there[0]] = 1
    np.testing.assert_array_equal(labeller.mask(), before)
    labeller.keys("w")
    labeller.page.mouse.move(*labeller.place(20, 8))
    assert labeller.readout() == whole and labeller.cursor() == (20, 8)


def test_a_change_by_a_paint_program_is_shown_before_anything_is_overwritten(labeller):
    labeller.stroke((5, 5), (6, 5))
    labeller.mask()
    theirs = line(blank(), (3, 3), (3, 20), 3, 6)
    path = labeller.folder / labeller.file()
    write_mask(path, torch.from_numpy(theirs), lis.load_masks(labeller.folder).legend)
    labeller.stroke((9, 9), (12, 9))
    labeller.wait_saved("failed")
    assert "changed by another program" in labeller.problem()
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.array(image), theirs)
    labeller.button("Reload the file").click()
    np.testing.assert_array_equal(labeller.mask(), theirs)
    assert labeller.problem() == ""
    labeller.button("Undo").click()  # mine again, now that theirs was seen
    mine = line(line(blank(), (5, 5), (6, 5), 1, 1), (9, 9), (12, 9), 1, 1)
    np.testing.assert_array_equal(labeller.mask(), mine)


def other_view(labeller):
    """Show the labeller in a second cell, and return it as it is there."""
    page, notebook = labeller.page, labeller.notebook
    count = page.locator(".lis-labeller").count()
    page.evaluate(
        """() => {
            const { content } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = content.widgets.length - 1;
            return window.jupyterapp.commands.execute('notebook:insert-cell-below').then(() => {
                content.activeCell.model.sharedModel.setSource('labeller');
                window.jupyterapp.commands.execute('notebook:run-cell');
            });
        }"""
    )
    page.wait_for_function("n => document.querySelectorAll('.lis-labeller').length > n", arg=count)
    return Labeller(notebook, labeller.folder)


def wait_label(labeller, x, y, name):
    """Wait until a pixel has this part on the screen."""
    labeller.page.mouse.move(*labeller.place(x, y))
    labeller.root.locator(".lis-readout").filter(has_text=f"x {x}, y {y}: {name}").wait_for()


def test_two_views_of_one_labeller_show_the_same_and_lose_nothing(scratch, server):
    notebook = scratch([SETUP, OPEN.replace("FOLDER", "views")])
    one = Labeller(notebook, server.root / "views")
    one.root = notebook.page.locator(".lis-labeller").first
    one.stage = one.root.locator(".lis-stage")
    two = other_view(one)
    two.stage.scroll_into_view_if_needed()
    two.stroke((2, 2), (20, 2))
    expected = line(blank(), (2, 2), (20, 2), 1, 1)
    np.testing.assert_array_equal(two.mask(), expected)
    names = notebook.execute("print(*labeller.names, sep='|')").split("|")
    one.stage.scroll_into_view_if_needed()
    wait_label(one, 10, 2, names[1])
    one.stage.focus()
    one.keys("2")
    before = one.root.get_attribute("data-revision")
    one.stroke((2, 6), (20, 6))
    np.testing.assert_array_equal(one.mask(), line(expected, (2, 6), (20, 6), 1, 2))
    one.wait_shown(before)  # the other view has asked for it, and all views were told
    # A stroke under the hand while the other view's is saved: it is told, and nothing is painted over.
    one.page.mouse.move(*one.place(3, 12))
    one.page.mouse.down()
    one.page.mouse.move(*one.place(9, 12))
    revision = one.root.get_attribute("data-revision")
    two.stage.dispatch_event("keydown", {"key": "Delete", "code": "Delete", "bubbles": True})
    two.wait_saved()
    one.page.wait_for_function("() => true")
    assert one.root.get_attribute("data-revision") == revision
    one.page.mouse.up()
    one.wait_saved("failed")
    assert "was changed since this was painted" in one.problem()
    assert not two.mask().any()
    one.button("Reload the file").click()
    one.wait_saved()
    one.keys("Control+z")
    np.testing.assert_array_equal(one.mask(), line(expected, (3, 12), (9, 12), 1, 2))
    notebook.watch.check()
    notebook.page.close()


def test_strokes_that_could_not_be_saved_come_back_with_their_picture(labeller):
    labeller.stroke((3, 3), (20, 3))
    expected = line(blank(), (3, 3), (20, 3), 1, 1)
    np.testing.assert_array_equal(labeller.mask(), expected)
    first = labeller.file()
    labeller.notebook.execute(
        "def full(i, labels, own=labeller.folder.save):\n"
        "    if i == 0: raise OSError(28, 'No space left on device')\n"
        "    own(i, labels)\n"
        "labeller.folder.save = full"
    )
    labeller.stroke((3, 9), (20, 9))
    line(expected, (3, 9), (20, 9), 1, 1)
    labeller.wait_saved("failed")
    assert "No space left" in labeller.problem()
    labeller.show(1)
    labeller.stroke((5, 5), (6, 5))  # saved, which does not hide that the other one is not
    labeller.root.locator("option", has_text="✓ 2.").wait_for(state="attached")
    assert "Not saved yet: Coat, seed 4000" in labeller.problem()
    assert labeller.root.get_attribute("data-saved") == "failed"
    labeller.notebook.execute("del labeller.folder.save")
    labeller.show(0)
    assert "could not be saved" in labeller.root.locator(".lis-offer").inner_text()
    labeller.button("Restore and save").click()
    np.testing.assert_array_equal(labeller.mask(first), expected)
    assert labeller.problem() == "" and labeller.root.locator(".lis-offer").inner_text() == ""
    labeller.show(1)
    labeller.keys("Delete")
    assert not labeller.mask().any()


def test_a_stroke_under_the_hand_stays_with_its_picture(labeller):
    file, process = labeller.file(), labeller.notebook.kernel_process()
    os.kill(process, signal.SIGSTOP)  # the next picture is slow to come
    try:
        labeller.keys("PageDown")
        labeller.page.mouse.move(*labeller.place(4, 7))
        labeller.page.mouse.down()
        labeller.page.mouse.move(*labeller.place(20, 7))
    finally:
        os.kill(process, signal.SIGCONT)
    labeller.page.wait_for_function(
        "([e, f]) => e.dataset.file !== f", arg=[labeller.root.element_handle(), file]
    )
    labeller.page.mouse.move(*labeller.place(20, 15))
    labeller.page.mouse.up()
    labeller.page.wait_for_function(
        "e => e.querySelector('option').textContent.startsWith('✓')", arg=labeller.root.element_handle()
    )
    labeller.show(0)
    np.testing.assert_array_equal(labeller.mask(file), line(blank(), (4, 7), (20, 7), 1, 1))


def test_one_pointer_paints_and_others_wait(labeller):
    touch = labeller.page.context.new_cdp_session(labeller.page)

    def points(kind, *places):
        spots = [dict(zip("xy", labeller.place(*p), strict=True), id=k) for k, p in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    points("touchStart", (4, 4))
    points("touchMove", (12, 4))
    points("touchStart", (12, 4), (28, 28))  # the ball of the hand
    points("touchMove", (20, 4), (28, 29))
    points("touchMove", (20, 4))  # the second one is lifted
    points("touchMove", (20, 10))
    points("touchEnd")
    touch.detach()
    expected = line(line(blank(), (4, 4), (20, 4), 1, 1), (20, 4), (20, 10), 1, 1)
    np.testing.assert_array_equal(labeller.mask(), expected)


def test_outside_and_at_the_edge_only_the_picture_is_painted(labeller):
    labeller.keys("]", "]", "]", "]")
    labeller.stroke((-4, 31), (-2, 31), (0, 31))
    labeller.stroke((31, 0), (44, 0), (44, 20))  # on, while the pointer is beyond
    expected = line(blank(), (-4, 31), (0, 31), 5, 1)
    for start, end in (((31, 0), (44, 0)), ((44, 0), (44, 20))):
        line(expected, start, end, 5, 1)
    np.testing.assert_array_equal(labeller.mask(), expected)
    labeller.keys("p", "3")
    for corner in ((4, 4), (20, 4), (4, 20), (20, 20)):  # it crosses itself
        labeller.click(*corner)
    labeller.click(-6, 10)  # beside the picture: no corner
    labeller.keys("Enter")
    mask = labeller.mask()
    assert mask[4, 12] == mask[20, 12] == mask[12, 12] == mask[7, 12] == mask[17, 12] == 3
    assert not mask[12, 5:9].any() and not mask[12, 16:20].any()
    labeller.keys("Control+z")
    for corner in ((2, 12), (10, 12)):
        labeller.click(*corner)
    labeller.keys("Enter")  # two corners are a line
    np.testing.assert_array_equal(labeller.mask(), line(expected, (2, 12), (10, 12), 1, 3))


def test_a_browser_that_keeps_nothing_says_so(labeller):
    labeller.page.evaluate(
        "() => { const put = Storage.prototype.setItem; window.allow = () => { Storage.prototype.setItem = put; };"
        " Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )
    process = labeller.notebook.kernel_process()
    try:
        labeller.stroke((5, 5), (9, 5))
        assert "keeps no strokes" in labeller.root.locator(".lis-note").inner_text()
        np.testing.assert_array_equal(labeller.mask(), line(blank(), (5, 5), (9, 5), 1, 1))
        os.kill(process, signal.SIGSTOP)
        labeller.stroke((5, 9), (9, 9))
        labeller.wait_saved("failed")
        assert "only on this page" in labeller.problem() and "is kept" not in labeller.problem()
    finally:
        os.kill(process, signal.SIGCONT)
        labeller.page.evaluate("() => window.allow()")
    labeller.wait_saved()


SMALL = """
import torch
from lis_toolkit.datasets import Photographs
from lis_toolkit.parts import Legend
from lis_widgets import PartLabeller
torch.manual_seed(0)
high, wide = SIZE
photographs = Photographs(torch.rand(2, 3, high, wide), torch.tensor([0, 0]), ("<b>one</b> 🧥",))
parts = ["<img src=x onerror=alert(1)>", "Ärmel & 袖 🧵", *(f"part {i}" for i in range(MORE))]
labeller = PartLabeller("NAME", None, parts, photographs=photographs)
labeller
"""


@pytest.mark.parametrize(("ratio", "size", "more"), [(1.5, (80, 48), 58), (2, (1, 1), 0)])
def test_any_size_names_and_pixel_ratio(browser, server, ratio, size, more):
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, device_scale_factor=ratio)
    try:
        page = context.new_page()
        page.watch = lab.Watch(page)
        name = f"small-{size[0]}"
        source = SMALL.replace("SIZE", str(size)).replace("MORE", str(more)).replace("NAME", name)
        server.write([source], f"{name}.ipynb")
        notebook = lab.Notebook(page, server, f"{name}.ipynb")
        notebook.run_all()
        notebook.check_cells()
        labeller = Labeller(notebook, server.root / name, side=size[0])
        assert page.evaluate("() => devicePixelRatio") == ratio
        expected = np.zeros(size, np.uint8)
        if size == (1, 1):
            shown = labeller.readout()
            labeller.stage.focus()
            labeller.keys("+")  # larger than it is shown there is nothing
            assert shown.strip() in labeller.readout()
            labeller.keys("2", "f")
            labeller.click(0, 0)
            expected[:] = 2
        else:
            assert "<img src=x" in labeller.root.locator(".lis-name").nth(1).inner_text()
            assert "<b>one</b> 🧥" in labeller.root.locator("option").first.inner_text()
            assert labeller.root.locator("input[type=radio]").count() == 61
            labeller.root.locator("input[type=radio]").nth(60).check()
            zoom = int(min(labeller.stage.evaluate("e => [e.clientWidth / 48, e.clientHeight / 80]")))
            box = labeller.stage.locator("canvas").first.bounding_box()
            spare = np.floor((np.array([box["width"], box["height"]]) - np.array([48, 80]) * zoom) / 2 + 0.5)
            for x, y in ((0, 0), (47, 79), (13, 70)):
                # The last CSS pixel of each: one further is the next pixel of the picture.
                page.mouse.click(*(spare + np.array([x + 1, y + 1]) * zoom - 0.6 + [box["x"], box["y"]]))
                expected[y, x] = 60
            centre = spare + np.array([30.5, 20.5]) * zoom + [box["x"], box["y"]]
            page.mouse.move(*centre)
            for _ in range(4):
                page.mouse.wheel(0, -100)
            labeller.root.locator(".lis-readout").filter(has_text=f"shown {[16, 24, 32][0]}").wait_for()
            under = labeller.cursor()
            page.mouse.down()
            page.mouse.move(centre[0] + 33, centre[1])
            page.mouse.up()
            line(expected, under, labeller.cursor(), 1, 60)
        np.testing.assert_array_equal(labeller.mask(), expected)
        lab.check_fits(labeller.root)
        notebook.watch.check()
    finally:
        context.close()


def test_looks_in_both_themes_and_at_800_px(labeller, tmp_path):
    labeller.keys("t", "g")
    labeller.root.locator("summary").click()
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        labeller.notebook.theme(theme)
        lab.check_contrast(labeller.root, texts=30)
        labeller.notebook.screenshot(labeller.root, tmp_path / f"{theme}.png")
        assert Image.open(tmp_path / f"{theme}.png").size[0] > 600
    with labeller.notebook.width(800):
        lab.check_fits(labeller.root)
    labeller.root.locator("summary").click()
    labeller.keys("g")


def test_nothing_is_lost_when_the_kernel_dies(scratch, server):
    notebook = scratch([SETUP, OPEN.replace("FOLDER", "dying")])
    labeller = Labeller(notebook, server.root / "dying")
    labeller.stroke((2, 2), (20, 2))
    expected = line(blank(), (2, 2), (20, 2), 1, 1)
    np.testing.assert_array_equal(labeller.mask(), expected)
    process = notebook.kernel_process()
    os.kill(process, signal.SIGSTOP)
    labeller.stroke((2, 4), (20, 4))  # a kernel that answers late: told, and taken back
    labeller.wait_saved("failed")
    assert "busy with another cell" in labeller.problem()
    os.kill(process, signal.SIGCONT)
    np.testing.assert_array_equal(labeller.mask(), line(expected, (2, 4), (20, 4), 1, 1))
    assert labeller.problem() == ""
    # Under the hand: JupyterLab's dialog, some seconds later, takes the focus, and all clicks.
    labeller.page.mouse.move(*labeller.place(2, 9))
    labeller.page.mouse.down()
    end = labeller.place(20, 12)
    notebook.kill_kernel(process)
    dialog = labeller.page.locator(".jp-Dialog")
    dialog.wait_for()
    labeller.page.mouse.move(*end)
    labeller.page.mouse.up()
    labeller.wait_saved("failed")
    assert "does not answer" in labeller.problem() and "kept in this browser" in labeller.problem()
    dialog.get_by_role("button").last.click()
    dialog.wait_for(state="detached")
    labeller.stage.scroll_into_view_if_needed()
    labeller.stroke((2, 15), (20, 18))
    with Image.open(labeller.folder / labeller.file()) as image:
        np.testing.assert_array_equal(
            np.array(image), expected
        )  # the kernel wrote what it was told, and no more
    notebook.wait_idle()
    # Strokes on a mask that was changed since are out of date, and other folders' are nobody's business.
    # Those of a folder with other parts, that was here before, too.
    for place, stale, changes in (
        (labeller.folder, "01_1000_psi0.7.png", {"bases": ["00000000"]}),
        (labeller.folder / "x", labeller.file(), {}),
        (labeller.folder, "01_1001_psi0.7.png", {"of": "ffffffff"}),
    ):
        labeller.page.evaluate(
            "([key, own, changes]) => { const entry = JSON.parse(localStorage.getItem(own));"
            " localStorage.setItem(key, JSON.stringify({ ...entry, ...changes })); }",
            [
                f"lis-part-labeller|{place}|{stale}",
                f"lis-part-labeller|{labeller.folder}|{labeller.file()}",
                changes,
            ],
        )
    old = labeller.root.element_handle()
    notebook.run_all()
    labeller.page.wait_for_function("e => !e.isConnected", arg=old, timeout=60_000)
    again = Labeller(notebook, labeller.folder)
    assert again.file() == "04_4001_psi0.7.png"  # the first without a mask
    again.button("Restore and save").wait_for(timeout=30_000)
    told = again.root.locator(".lis-offer").inner_text()
    assert "Coat, seed 4000" in told and "Trouser" not in told
    again.button("Restore and save").click()
    line(line(expected, (2, 9), (20, 12), 1, 1), (2, 15), (20, 18), 1, 1)
    again.page.wait_for_function("e => e.dataset.file.startsWith('04_4000')", arg=again.root.element_handle())
    np.testing.assert_array_equal(again.mask("04_4000_psi0.7.png"), expected)
    assert notebook.execute("print(labeller.labels.tolist())") == str(expected.tolist())
    # Saved now: the next page has nothing to offer.
    left = labeller.page.evaluate(
        "place => Object.keys(localStorage).filter(k => k.startsWith(`lis-part-labeller|${place}`)).sort()",
        str(labeller.folder),
    )
    place = f"lis-part-labeller|{labeller.folder}"
    assert left == [f"{place}/x|04_4000_psi0.7.png", f"{place}|01_1001_psi0.7.png"]
    notebook.page.close()


def test_pictures_of_1024_px_are_painted_and_saved_quickly(scratch, server):
    big = """
import torch
from lis_toolkit.datasets import Photographs
x = torch.linspace(0, 1, 1024).expand(1, 3, 1024, 1024)
photographs = Photographs(x, torch.zeros(1, dtype=torch.long), ("ramp",))
labeller = PartLabeller("big", None, ["left", "right"], photographs=photographs)
labeller
"""
    notebook = scratch([SETUP, big])
    labeller = Labeller(notebook, server.root / "big", side=1024)
    labeller.stage.focus()
    labeller.keys(*["]"] * 30)
    pauses = []
    while not pauses or (min(pauses) >= 2000 and len(pauses) < 3):  # the machine may stand still once
        # The longest pause between two frames while a stroke of many steps is painted.
        labeller.page.evaluate(
            "() => { window.pause = 0; let last = performance.now();"
            " const tick = now => { window.pause = Math.max(window.pause, now - last); last = now;"
            " window.ticking = requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"
        )
        labeller.stroke(*[(100 + 8 * k, 300 + 4 * k) for k in range(100)])
        labeller.wait_saved(timeout=30)
        pauses.append(
            labeller.page.evaluate("() => { cancelAnimationFrame(window.ticking); return window.pause; }")
        )
        mask = labeller.mask()
        assert mask.shape == (1024, 1024) and 15_000 < (mask == 1).sum() < 60_000
        labeller.keys("Control+z")
        assert not labeller.mask().any()
    assert min(pauses) < 2000, pauses
    print(f"longest pause {min(pauses):.0f} ms")
    notebook.watch.check()
    notebook.page.close()
