"""The UnitExplorer of a notebook, by what is on the screen."""

import json

import lab
import numpy as np
import torch

from lis_toolkit import convert_range, load_classifier, load_generator
from lis_toolkit.explore import difference_rgb
from lis_toolkit.link import Link

SETUP = """
import lis_toolkit as lis
from lis_widgets import UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
segmenter, photographs = lis.load_segmenter("fashion"), lis.load_fashion("sample")
pairs = lis.collect_pairs(generator, classifier, per_class=25, psi=0.7, seed=0)
link = lis.fit_link(pairs, method="ridge")
companions = lis.companion_directions(pairs)
"""
PIXELS = """canvases => canvases.map(canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.height, canvas.width, Array.from(data).filter((_, i) => i % 4 !== 3)];
})"""


class Explorer:
    """The explorer that the variable `name` of the kernel holds; the only one of the page, or the one at `place`."""

    def __init__(self, notebook, name="explorer", place=0):
        self.notebook, self.page, self.name = notebook, notebook.page, name
        self.root = self.page.locator(".lis-explorer").nth(place)
        self.list = self.root.locator(".lis-units-rows")
        self.search = self.root.locator("input[type=search]")
        self.root.locator(".lis-picture canvas").nth(2).wait_for(timeout=60_000)
        self.root.locator(".js-plotly-plot .xtick").nth(1).wait_for(timeout=60_000)

    def slider(self, unit):
        return self.root.locator(f'input.lis-slider[data-key="{unit}"]')

    def line(self, unit):
        return self.root.locator(f'.lis-unit[data-key="{unit}"]')

    def units(self):
        """Units with a slider, from the top."""
        return [
            int(key)
            for key in self.root.locator(".lis-unit").evaluate_all("all => all.map(e => e.dataset.key)")
        ]

    def wait_for_units(self, *units):
        """Wait until these have sliders, from the top."""
        self.page.wait_for_function(
            "([root, keys]) => [...root.querySelectorAll('.lis-unit')].map(e => e.dataset.key).join() === keys",
            arg=[self.root.element_handle(), ",".join(map(str, units))],
        )

    def wait_settled(self):
        """Wait until the setting is one that back leads to: the hand has rested for a while."""
        self.settle()
        lab.eventually(lambda: self._check_settled())

    def _check_settled(self):
        assert not self.ask(f"{self.name}._settle.waiting")

    def field(self, label):
        return self.root.get_by_label(label, exact=True)

    def button(self, text):
        return self.root.get_by_role("button", name=text, exact=True)

    def pixels(self):
        """What is on the canvases: list of uint8 [H, W, 3]."""
        found = self.root.locator(".lis-picture canvas").evaluate_all(PIXELS)
        return [np.array(values, np.uint8).reshape(high, wide, 3) for high, wide, values in found]

    def captions(self):
        return self.root.locator(".lis-picture figcaption").all_text_contents()

    def wait_for_caption(self, text, timeout=30):
        """Wait until the middle picture says this."""
        self.root.locator(".lis-picture figcaption").nth(1).filter(has_text=text).wait_for(
            timeout=timeout * 1000
        )

    def message(self):
        return self.root.locator(".lis-message-line").inner_text().strip()

    def settle(self):
        """Wait until nothing is asked for any more, neither in the page nor in the kernel, and the picture is drawn."""
        before = None
        while (revision := self.revision()) != before:
            self.page.wait_for_function(
                "([root, revision]) => Number(root.querySelector('.lis-picture').dataset.revision) >= revision",
                arg=[self.root.element_handle(), revision],
            )
            self.page.wait_for_timeout(150)
            before = revision

    def revision(self):
        return int(self.ask(f"({self.name}.state, {self.name}.picture.revision)[1]"))

    def ask(self, expression):
        """Return the value of an expression in the kernel, as JSON."""
        return json.loads(self.notebook.execute(f"import json\nprint(json.dumps({expression}))"))

    def expected(self, folder):
        """Return the three pictures that the library renders for the kernel's setting, in this process."""
        path = folder / "link.safetensors"
        self.notebook.execute(f"link.save({str(path)!r})")
        told = self.ask(f"vars({self.name}.setting)")
        generator, classifier, link = load_generator("fashion"), load_classifier("fashion"), Link.load(path)
        with torch.no_grad():
            w = generator.map(generator.sample_z(1, told["seed"]), [told["which"]], told["psi"])
            r = classifier.features(generator.render(w))  # [1, R]
            start = generator.render(link(r))[0]
            for unit, value in told["values"].items():
                r[0, int(unit)] = value
            tuned = generator.render(link(r))[0]
        return [rgb(start), rgb(tuned), difference_rgb(tuned - start)]

    def check_pictures(self, folder):
        """What is on the screen is what the library renders, pixel for pixel."""
        self.settle()
        for got, expected in zip(self.pixels(), self.expected(folder), strict=True):
            same_picture(got, expected)


def rgb(x):
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def same_picture(got, expected):
    """Pixel for pixel, but for a last bit of float32 that now and then falls on the other side of a rounding.

    The order of sums in another process depends on where its memory lies.
    """
    assert got.shape == expected.shape
    apart = np.abs(got.astype(int) - expected)
    few = (apart > 0).mean() < 0.005
    assert apart.max() <= 3 and few, f"{(apart > 0).sum()} values differ, by {apart.max()}"


def apart(first, second):
    """Share of the values that differ visibly."""
    return (np.abs(first.astype(int) - second) > 1).mean()
