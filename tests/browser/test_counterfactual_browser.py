"""The explorer of counterfactuals in a real JupyterLab: it finds a way, and the slider leads to the right picture."""

import json

import lab
import numpy as np
import pytest
import torch
from explorer_page import PIXELS, rgb, same_picture

from lis_toolkit import load_classifier, load_generator
from lis_toolkit.counterfactuals.paths import lines
from lis_toolkit.explore import difference_rgb
from lis_toolkit.link import Link

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """
import lis_toolkit as lis
from lis_widgets import CounterfactualExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
segmenter, photographs = lis.load_segmenter("fashion"), lis.load_fashion("sample")
link = lis.fit_link(lis.collect_pairs(generator, classifier, per_class=25, psi=0.7, seed=0), method="ridge")
""",
    "explorer = CounterfactualExplorer(generator, classifier, link, photographs=photographs, segmenter=segmenter,\n"
    "                                  which='Coat', target='Shirt')\nexplorer",
]


class Page:
    """The explorer by what is on the screen."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".lis-explorer").first
        self.slider = self.root.locator('input.lis-slider[data-key="place"]')
        self.captions = self.root.locator(".lis-picture figcaption")
        self.wait_for_picture("of the way to Shirt")
        self.root.locator(".js-plotly-plot .xtick").nth(3).wait_for(timeout=60_000)

    def field(self, label):
        return self.root.get_by_label(label, exact=True)

    def button(self, text):
        return self.root.get_by_role("button", name=text, exact=True)

    def ask(self, expression):
        return json.loads(self.notebook.execute(f"import json\nprint(json.dumps({expression}))"))

    def wait_for_picture(self, text):
        self.captions.filter(has_text=text).wait_for(timeout=60_000)

    def settle(self):
        """Wait until nothing is searched or rendered any more, and what came of it is on the canvases."""
        before = None
        while (revision := self.ask("(explorer.state, explorer.picture.revision)[1]")) != before:
            self.page.wait_for_function(
                "([root, revision]) => Number(root.querySelector('.lis-picture').dataset.revision) >= revision",
                arg=[self.root.element_handle(), revision],
            )
            before = revision

    def pixels(self):
        found = self.root.locator(".lis-picture canvas").evaluate_all(PIXELS)
        return [np.array(values, np.uint8).reshape(high, wide, 3) for high, wide, values in found]

    @torch.no_grad()
    def check_pictures(self, folder):
        """What is on the screen is what this process renders at the slider's place along the kernel's way."""
        self.settle()
        path = folder / "link.safetensors"
        self.notebook.execute(f"link.save({str(path)!r})")
        place = self.ask("explorer.place")
        ends = torch.tensor(
            self.ask("[getattr(explorer.way.result, k)[0].tolist() for k in ('r_start', 'r_end')]")
        )
        generator, link = load_generator("fashion"), Link.load(path)
        r = lines(ends[:1], ends[1:], torch.tensor([0.0, place]))[0]  # [2, R]
        start, here = (generator.render(link(one[None]))[0] for one in r)
        for got, expected in zip(
            self.pixels()[-3:], [rgb(start), rgb(here), difference_rgb(here - start)], strict=True
        ):
            same_picture(got, expected)
        return here


@pytest.fixture(scope="module")
def page(scratch):
    page = Page(scratch(CELLS))
    yield page
    page.notebook.watch.check()


def test_it_opens_with_the_way_found(page, tmp_path):
    here = page.check_pictures(tmp_path)
    classifier = load_classifier("fashion")
    seen = classifier.classes[int(classifier.head(classifier.features(here[None])).argmax())]
    assert seen == "Shirt", "the picture at the end is of the target class, looked at anew"
    page.root.locator(".lis-message").filter(has_text="Coat to Shirt: a way was found.").wait_for()
    targets = [t.replace("\xa0", " ") for t in page.field("target").locator("option").all_text_contents()]
    assert targets[0] == "nearest other class" and "Coat" not in targets and len(targets) == 10
    assert page.button("Stop").is_disabled() and page.button("Find").is_enabled()
    course = page.root.locator(".js-plotly-plot").first
    assert "the line is at 1.00" in course.get_attribute("aria-label")


def test_keys_and_mouse_walk_along_the_way(page, tmp_path):
    page.slider.focus()
    for _ in range(40):
        page.page.keyboard.press("ArrowLeft")
    page.wait_for_picture("0.60 of the way to Shirt")
    page.check_pictures(tmp_path)
    assert page.slider.get_attribute("aria-valuetext") == "0.60"
    box = page.slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.page.mouse.down()
    for part in np.linspace(0.5, 0.95, 10):
        page.page.mouse.move(box["x"] + part * box["width"], y)
    page.page.mouse.up()
    page.check_pictures(tmp_path)
    assert 1 < page.ask("explorer.place") < 1.25
    assert page.slider.get_attribute("aria-valuetext").endswith("outside the way")
    page.button("set to Shirt to the boundary").click()
    crossing = page.ask("explorer.way.crossing")
    page.wait_for_picture(f"{crossing:.2f} of the way to Shirt")
    page.check_pictures(tmp_path)
    course = page.root.locator(".js-plotly-plot").first.element_handle()
    page.page.wait_for_function(
        "([plot, text]) => plot.getAttribute('aria-label').endsWith(text)", arg=[course, f"at {crossing:.2f}"]
    )


def test_another_target_and_method_are_searched_at_once(page, tmp_path):
    page.field("target").select_option(label="Bag")
    page.wait_for_picture("1.00 of the way to Bag")
    page.check_pictures(tmp_path)
    page.field("method").select_option(label="closed form")
    page.field("metric").wait_for()
    page.root.locator(".lis-facts").filter(has_text="0 steps").wait_for()
    page.check_pictures(tmp_path)
    page.field("method").select_option(label="latent")
    page.field("metric").wait_for(state="hidden")


def test_the_slow_method_is_begun_and_stopped_by_its_buttons(page):
    page.field("method").select_option(label="paper (slow)")
    page.root.locator(".lis-hint").filter(has_text="may take minutes").wait_for()
    page.wait_for_picture("not searched yet")
    page.notebook.execute("import threading\ngate = threading.Event()\n"
                          "def held(*_):\n    gate.wait(60)\n"
                          "hook = generator.synthesis.register_forward_pre_hook(held)")  # fmt: skip
    page.button("Find").click()
    page.root.locator(".lis-message").filter(has_text="looking for the way to Bag").wait_for()
    page.button("Stop").click()
    page.root.locator(".lis-message").filter(has_text="stopped before a way was found").wait_for()
    page.notebook.execute("hook.remove()\ngate.set()")
    page.settle()
    assert page.ask("explorer.way is None") and page.button("Stop").is_disabled()
    page.field("method").select_option(label="latent")
    page.wait_for_picture("1.00 of the way to Bag")


def test_what_fails_is_said(page):
    page.notebook.execute(
        "import lis_toolkit.counterfactuals.session as session\nfind = session.find_counterfactuals\n"
        "def broken(*_, **__):\n    raise RuntimeError('no <way> out')\nsession.find_counterfactuals = broken"
    )
    try:
        page.field("target").select_option(label="Dress")
        page.root.locator(".lis-message[role=alert]").filter(has_text="RuntimeError: no <way> out").wait_for()
        page.notebook.execute("session.find_counterfactuals = lambda *a, **k: find(*a, **k, margin=99.0)")
        page.button("Find").click()
        page.root.locator(".lis-message[role=alert]").filter(has_text="no way found: ").wait_for()
        page.wait_for_picture("1.00 of the way to Dress")
    finally:
        page.notebook.execute("session.find_counterfactuals = find")
    page.field("target").select_option(label="Shirt")
    page.root.locator(".lis-message[role=status]").filter(
        has_text="Coat to Shirt: a way was found."
    ).wait_for()


def test_a_photograph_stands_beside_its_cycle(page, tmp_path):
    page.field("from").select_option("photographs")
    page.root.locator(".lis-picture canvas").nth(3).wait_for()
    page.field("class").wait_for(state="hidden")
    page.field("photograph").fill("401")
    page.field("photograph").press("Enter")
    page.page.wait_for_function(
        "root => root.querySelector('.lis-facts')?.textContent.includes('Ankle boot')",
        arg=page.root.element_handle(),
    )
    page.check_pictures(tmp_path)
    raw = page.ask("explorer.state.photograph.mul(255).round().int()[0].tolist()")
    np.testing.assert_array_equal(page.pixels()[0][..., 0], np.array(raw))
    assert page.captions.nth(0).inner_text().startswith("photograph: ")
    assert "pixels off by" in page.captions.nth(1).inner_text()


def test_it_can_be_read_in_both_themes_and_in_a_narrow_window(page):
    try:
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            page.notebook.theme(theme)
            lab.check_contrast(page.root, texts=40)
    finally:
        page.notebook.theme("JupyterLab Light")
    for width in (1280, 800):
        with page.notebook.width(width):
            lab.check_fits(page.root)
    for control in page.root.locator("select:visible, input:visible, button:visible").all():
        assert control.evaluate(
            "e => (e.labels?.length || e.ariaLabel || e.textContent.trim() || e.title || '').toString()"
        ), control
