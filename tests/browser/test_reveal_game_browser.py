"""The reveal game under a player's hands: two questions by keys alone, what is in the file, what is on the screen."""

import json

import lab
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CLASSES = ("Coat", "Shirt", "Bag")
SETUP = """
import torch
from lis_toolkit.labels import Game, make_question
from lis_widgets import RevealGame
x = torch.linspace(0, 1, 1024).view(1, 32, 32)
rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
questions = [
    make_question(x if image == 0 else x.flip(1), (rows * 8 + columns) if cluster else (columns * 8 + rows), target,
        ("Coat", "Shirt", "Bag"), image=image, cluster=cluster)
    for image, target in enumerate(("Coat", "Bag")) for cluster in (0, 1)
]
"""
ANN = """
ann = RevealGame(Game(questions, seed=1), "answers.jsonl", "ann")
ann
"""
BEN = """
ben = RevealGame(Game(questions, seed=1), "answers.jsonl", "ben")
ben
"""
SHARES = (0.02, 0.045, 0.08, 0.13, 0.20, 0.30)


class Player:
    """One game by what is on the screen."""

    def __init__(self, notebook, server, name, place):
        self.notebook, self.page, self.name = notebook, notebook.page, name
        self.file = server.root / "answers.jsonl"
        self.root = self.page.locator(".lis-game").nth(place)
        self.form = self.root.locator(".lis-game-form")
        self.text = self.root.get_by_label("What do you see?")
        self.root.locator(".lis-picture canvas").wait_for(timeout=60_000)
        self.text.wait_for()

    def key(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def wait(self, number=None, step=None):
        """Wait until the form shows a question and the picture its step."""
        self.page.wait_for_function(
            "([e, number, step]) => (number === null || e.dataset.question === String(number))"
            " && (step === null || e.dataset.step === String(step))",
            arg=[self.form.element_handle(), number, step],
        )

    def number(self):
        return int(self.form.get_attribute("data-question"))

    def lines(self, kind="answer"):
        told = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [one for one in told if one["player"] == self.name and one["kind"] == kind]

    def ask(self, expression):
        return json.loads(self.notebook.execute(f"import json\nprint(json.dumps({expression}))"))

    def expected(self, step):
        """What is to be seen, plainly: the picture by the asked question, its most salient pixels, a Gaussian."""
        image, cluster = self.ask(f"{self.name}.session.question.key[1::2]")
        x = np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32)
        x = x[::-1] if image else x
        rows, columns = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
        small = rows * 8 + columns if cluster else columns * 8 + rows
        place = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)  # bilinear, pixel centres
        low, part = np.floor(place).astype(int), place - np.floor(place)
        high = np.minimum(low + 1, 7)
        tall = small[low] * (1 - part)[:, None] + small[high] * part[:, None]
        full = tall[:, low] * (1 - part) + tall[:, high] * part
        mask = np.zeros(1024)
        mask[np.argsort(-full.ravel(), kind="stable")[: round(SHARES[step - 1] * 1024)]] = 1
        mask = np.maximum(mask.reshape(32, 32), gaussian_filter(mask.reshape(32, 32), 1.0, mode="nearest"))
        seen = np.round(255 * (x * mask + 0.5 * (1 - mask)))
        return np.repeat(seen[..., None], 3, axis=2)

    def check_picture(self, step):
        def check():
            (got,) = lab.canvases(self.root)
            assert np.abs(got.astype(int) - self.expected(step)).max() <= 1

        lab.eventually(check)


@pytest.fixture(scope="module")
def notebook(scratch):
    return scratch([SETUP, ANN, BEN], "reveal-game.ipynb")


@pytest.fixture
def ann(notebook, server):
    yield Player(notebook, server, "ann", 0)
    notebook.watch.check()


@pytest.fixture
def ben(notebook, server):
    yield Player(notebook, server, "ben", 1)
    notebook.watch.check()


def test_two_questions_are_played_by_keys_alone(ann):
    ann.check_picture(1)
    ann.text.focus()
    ann.key("ArrowDown")
    ann.wait(step=2)
    ann.key("ArrowDown")
    ann.wait(step=3)
    ann.check_picture(3)
    first, question = ann.number(), ann.ask("[*ann.session.question.key]")
    ann.page.keyboard.type("long sleeve, “x”")
    ann.key("Tab", "Space", "ArrowRight", "Enter")  # the first class, the second, submit
    ann.wait(first + 1, 1)
    (line,) = ann.lines()
    assert [line[name] for name in ("explanation", "image", "layer", "cluster")] == question
    assert (line["label"], line["guess"], line["step"]) == ("long sleeve, “x”", "Shirt", 3)
    ann.check_picture(1)
    ann.page.wait_for_function("e => document.activeElement === e", arg=ann.text.element_handle())
    assert ann.text.input_value() == "" and not ann.root.locator("input:checked").count()
    ann.page.keyboard.type("collar")
    ann.key("Tab", "Space", "Shift+Tab", "Enter")
    ann.wait(first + 2)
    assert [(one["label"], one["guess"], one["step"]) for one in ann.lines()][1:] == [("collar", "Coat", 1)]
    assert ann.root.locator(".lis-game-headline").inner_text().startswith("ann · 2 of 4 answered · 0 points")


def test_what_is_wrong_is_told_below_and_nothing_is_lost(ann):
    before, lines = ann.number(), len(ann.lines())
    ann.text.fill("hem")
    ann.text.focus()
    ann.key("Enter")
    ann.root.get_by_role("alert").filter(has_text="no class is chosen").wait_for()
    assert ann.number() == before and ann.text.input_value() == "hem" and len(ann.lines()) == lines
    box, form = (e.bounding_box() for e in (ann.root.get_by_role("alert"), ann.form))
    assert box["y"] >= form["y"] + form["height"] - 1


def test_another_player_in_the_notebook_has_questions_of_their_own(ann, ben):
    assert ben.root.locator(".lis-game-headline").inner_text().startswith("ben · 0 of 4 answered")
    number = ben.number()
    ben.root.get_by_role("button", name="Skip").click()
    ben.wait(number + 1)
    ben.root.get_by_role("button", name="No idea").click()
    ben.wait(number + 2)
    assert len(ben.lines("skip")) == len(ben.lines("no idea")) == 1 and len(ann.lines()) == 2


def test_nothing_on_the_page_names_the_class_before_the_end(ann):
    shown = ann.root.locator(".lis-picture").evaluate("e => e.outerHTML") + ann.root.inner_text()
    choices = ann.root.locator("input[type=radio]").evaluate_all("all => all.map(e => e.value)")
    assert choices == list(CLASSES)
    for name in CLASSES:  # each as often as any other: among the choices
        assert shown.count(name) == shown.count(CLASSES[0]) == 1


def test_dark_theme_and_a_narrow_window_can_be_read(ann):
    lab.check_contrast(ann.root, texts=8)
    ann.notebook.screenshot(ann.root, lab.ARTIFACTS / "reveal_game-played-light.png")
    ann.notebook.theme("JupyterLab Dark")
    try:
        lab.check_contrast(ann.root, texts=8)
        ann.notebook.screenshot(ann.root, lab.ARTIFACTS / "reveal_game-played-dark.png")
        with ann.notebook.width(800):
            lab.check_fits(ann.root)
            ann.notebook.screenshot(ann.root, lab.ARTIFACTS / "reveal_game-played-narrow.png")
    finally:
        ann.notebook.theme("JupyterLab Light")


def test_a_page_loaded_anew_shows_what_was_typed(ann, notebook):
    question = ann.ask("[*ann.session.question.key]")
    ann.text.fill("half a wo")
    ann.root.get_by_label("Shirt", exact=True).check()
    lab.eventually(lambda: check_draft(ann))
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    notebook.page.reload()
    notebook.page.wait_for_function(lab.IDLE, arg=notebook.name, timeout=90_000)
    ann.root.locator(".lis-picture canvas").wait_for(timeout=60_000)
    ann.text.wait_for()
    lab.eventually(lambda: check_fields(ann))
    assert ann.ask("[*ann.session.question.key]") == question
    ann.check_picture(ann.ask("ann.session.step"))


def check_draft(player):
    assert player.ask(f"[{player.name}.form.draft, {player.name}.form.guess]") == ["half a wo", "Shirt"]


def check_fields(player):
    assert player.text.input_value() == "half a wo"
    assert player.root.locator("input:checked").input_value() == "Shirt"


def test_a_new_kernel_goes_on_where_the_player_stopped(ann, notebook, server):
    question, step = ann.ask("[*ann.session.question.key]"), ann.ask("ann.session.step")
    ann.text.focus()
    ann.key("ArrowDown")
    ann.wait(step=step + 1)
    notebook.restart_kernel()
    notebook.run_all()
    again = Player(notebook, server, "ann", 0)
    again.root.get_by_text("Welcome back, ann.").wait_for()
    assert again.ask("[*ann.session.question.key]") == question
    again.wait(step=step + 1)
    again.check_picture(step + 1)
    for _ in range(2):
        number = again.number()
        again.text.fill("edge")
        again.root.get_by_label("Bag", exact=True).check()
        again.root.get_by_role("button", name="Submit").click()
        again.wait(number + 1)
    again.root.get_by_text("A picture is done").wait_for()
    assert again.form.locator("form").is_hidden() and len(again.lines()) == 4

    def check_whole():  # the picture is drawn on its own
        (whole,) = lab.canvases(again.root)
        assert whole.std() > 60

    lab.eventually(check_whole)
