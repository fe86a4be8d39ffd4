"""Every widget in both themes as PNG, to be looked at; texts that can be read, pictures that are not empty.

They go to $LIS_ARTIFACTS, or `artifacts` beside this file. With LIS_SCREENSHOTS=FOLDER those of the README are written
there, too: LIS_SCREENSHOTS=notebooks/figures python -m pytest tests/browser/test_screenshots.py
"""

import os
import shutil
from pathlib import Path

import lab
import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODELS = """
import tempfile
from pathlib import Path
import lis_toolkit as lis
from lis_widgets import ContactSheet, CounterfactualExplorer, DirectionExplorer, LinkReport, MapperExplorer
from lis_widgets import PartLabeller, RevealGame, UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
segmenter, photographs = lis.load_segmenter("fashion"), lis.load_fashion("sample")
pairs = lis.collect_pairs(generator, classifier, None, per_class=100, psi=0.7, seed=0)
train, held_out = pairs.split(0.2, seed=0)
link = lis.fit_link(train, method="ridge")
units = lis.explore.UnitSession(generator, classifier, link).units
"""
SCORES = """
sweep = lis.sweep_units(generator, classifier, link, segmenter, units=sorted(units[:16]), samples=3, steps=2,
    classes=["Dress", "Coat", "Shirt"], seed=1, out=Path(tempfile.mkdtemp()) / "sweep", progress=False)
scores = lis.score_selectivity(sweep, measure=["area"])
"""
# Name: the DOM class that is cut out, and the cell.
WIDGETS = {
    "unit_explorer": (".lis-explorer", """
explorer = UnitExplorer(generator, classifier, link, scores, photographs=photographs, segmenter=segmenter,
    companions=lis.companion_directions(train), which="Shirt")
explorer.pin(units[1])
explorer
"""),
    "direction_explorer": (".lis-explorer", """
directions = DirectionExplorer(generator, classifier, link, pairs=train, segmenter=segmenter, which="Dress")
directions.set({"principal 1": 1.0, "principal 3": -1.0})
directions
"""),
    "counterfactual_explorer": (".lis-explorer", """
ways = CounterfactualExplorer(generator, classifier, link, photographs=photographs, segmenter=segmenter,
    which="Coat", target="Shirt")
ways.open(photograph=int((photographs.labels == 4).nonzero()[2]))
ways
"""),
    "contact_sheet": (".lis-sheet", """
r = lis.extract_features(classifier, photographs.images[photographs.labels == 3][:1]).r
ContactSheet([lis.tune_unit(generator, classifier, link, r, unit) for unit in units[:4]], classifier,
    title="the four units that vary most")
"""),
    "part_labeller": (".lis-labeller", """
labeller = PartLabeller(Path(tempfile.mkdtemp()) / "masks", generator, classes=["Coat"], seeds=range(3),
    psi=0.7, segmenter=segmenter)
labeller.folder.save(0, labeller.folder.guess(0))
labeller.reload()
labeller
"""),
    "reveal_game": (".lis-game", """
coats = photographs.images[photographs.labels == 4][:2]
game = RevealGame(lis.explain_images(classifier, coats, layers=["body.9"], method="pca"),
    Path(tempfile.mkdtemp()) / "answers.jsonl", "ann")
for _ in range(3):
    game.session.more()
game.refresh()
game.form.draft, game.form.guess = "white collar", "Coat"
game
"""),
    "mapper_explorer": (".lis-mapper", """
clouds = lis.activations.sample_points(classifier, photographs)
mapper = MapperExplorer(clouds, photographs, classifier=classifier, layer="body.9")
mapper.choose(15)
mapper
"""),
    "link_report": (".lis-report", """
LinkReport(lis.report_link(link, generator, classifier, held_out, samples=6))
"""),
}  # fmt: skip
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
README = {
    "unit_explorer": "light",
    "direction_explorer": "dark",
    "counterfactual_explorer": "light",
    "part_labeller": "light",
    "contact_sheet": "dark",
    "reveal_game": "light",
    "mapper_explorer": "light",
}


@pytest.fixture(scope="module")
def notebook(scratch):
    return scratch([MODELS, SCORES, *(cell for _, cell in WIDGETS.values())], "screenshots.ipynb")


@pytest.fixture(scope="module", params=THEMES)
def theme(request, notebook):
    notebook.theme(THEMES[request.param])
    notebook.page.wait_for_timeout(500)
    yield request.param
    notebook.theme(THEMES["light"])


def widget(notebook, name):
    """The widget below its cell, by the cell's place in the notebook."""
    place = 2 + list(WIDGETS).index(name)
    return notebook.page.locator(".jp-Notebook .jp-CodeCell").nth(place).locator(WIDGETS[name][0]).first


@pytest.mark.parametrize("name", WIDGETS)
def test_widget_in_a_theme(name, theme, notebook):
    root = widget(notebook, name)
    root.scroll_into_view_if_needed(timeout=30_000)
    root.locator("canvas, .js-plotly-plot").first.wait_for(timeout=30_000)
    path = lab.ARTIFACTS / f"{name}-{theme}.png"
    folder = os.environ.get("LIS_SCREENSHOTS")
    notebook.page.wait_for_timeout(1500 if folder else 200)  # plots are drawn when the page has time
    lab.eventually(lambda: take(notebook, root, path, name, theme))
    lab.check_contrast(root, texts=8)
    lab.check_fits(root)
    if folder and README.get(name) == theme:
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, Path(folder) / f"{name}.png")


def take(notebook, root, path, name, theme):
    """Write the PNG of a widget, on which something is drawn."""
    from PIL import Image

    notebook.screenshot(root, path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] >= 700 and pixels.shape[0] >= 200
    colours, counts = np.unique(pixels @ [65536, 256, 1], return_counts=True)
    background = np.mean([colours[counts.argmax()] >> shift & 255 for shift in (0, 8, 16)])
    assert background > 230 if theme == "light" else background < 60, background
    assert len(colours) > 60, "hardly anything is drawn"
    drawn = lab.canvases(root)
    assert name == "link_report" or max(canvas.std() for canvas in drawn) > 20


@pytest.mark.parametrize("name", WIDGETS)
def test_widget_in_a_narrow_window(name, notebook):
    with notebook.width(800):
        root = widget(notebook, name)
        root.scroll_into_view_if_needed()
        lab.check_fits(root)
        notebook.screenshot(root, lab.ARTIFACTS / f"{name}-narrow.png")
        lab.check_fits(root)


def test_nothing_went_wrong(notebook):
    notebook.watch.check()
