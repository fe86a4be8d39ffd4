"""Exported HTML, without a kernel and without a network: the widgets' pictures are there as pictures."""

import json

import nbformat
import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """
import lis_toolkit as lis
from lis_widgets import UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
pairs = lis.collect_pairs(generator, classifier, None, per_class=30, psi=0.7, seed=0)
link = lis.fit_link(pairs, method="ridge")
""",
    "explorer = UnitExplorer(generator, classifier, link, pairs=pairs)\nexplorer",
    "import json\nprint(json.dumps(explorer.state.rgb().tolist()))",
]
# Pixels of every picture in the page, as it decodes them.
PICTURES = """() => Promise.all([...document.querySelectorAll("img[src^='data:image/png']")].map(async img => {
    await img.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0);
    return {
        width: img.naturalWidth, height: img.naturalHeight, shown: img.getBoundingClientRect().width, alt: img.alt,
        data: [...context.getImageData(0, 0, canvas.width, canvas.height).data],
    };
}))"""


@pytest.fixture(scope="module")
def executed():
    """The notebook run by nbclient, as `jupyter nbconvert --execute` does, without saved widget state."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    return notebook


def test_exported_html_shows_the_pictures(executed, open_page, tmp_path):
    from nbconvert import HTMLExporter

    assert "widgets" not in executed.metadata
    path = tmp_path / "exported.html"
    path.write_text(HTMLExporter().from_notebook_node(executed)[0])
    expected = np.array(json.loads(executed.cells[2].outputs[0].text), np.uint8)  # [P, H, W, 3]
    page = open_page()
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    page.wait_for_timeout(500)
    found = page.evaluate(PICTURES)
    assert len(found) == len(expected) == 3
    for picture, panel in zip(found, expected, strict=True):
        shape = (picture["height"], picture["width"])
        pixels = np.array(picture["data"], np.uint8).reshape(*shape, 4)[..., :3]
        step = shape[0] // panel.shape[0]  # enlarged or not
        np.testing.assert_array_equal(pixels[::step, ::step], panel)
        assert picture["shown"] >= 100 and len(picture["alt"]) > 5
    assert "unit " in page.locator("figcaption").nth(1).inner_text()
    page.close()


def test_a_notebook_saved_by_jupyterlab_keeps_the_pictures(scratch, server):
    """JupyterLab saves no widget state by itself: the file holds the static view, and another program shows it."""
    notebook = scratch(CELLS[:2])
    # Returns when the file is written.
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    saved = nbformat.read(server.root / notebook.name, as_version=4)
    data = saved.cells[1].outputs[0].data
    assert data["text/html"].count("data:image/png;base64,") == 3
    assert "application/vnd.jupyter.widget-view+json" in data and "widgets" not in saved.metadata
    assert len(data["text/html"]) < 100_000
    notebook.watch.check()
