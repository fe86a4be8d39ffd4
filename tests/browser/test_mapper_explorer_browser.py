"""The explorer of mapper graphs in a real JupyterLab: nodes are chosen by mouse and keys, controls redraw the graph."""

import json

import lab
import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """
import lis_toolkit as lis
from lis_toolkit.activations import sample_points
from lis_widgets import MapperExplorer
classifier, photographs = lis.load_classifier("fashion"), lis.load_fashion("sample")
clouds = sample_points(classifier, photographs, ["body.9", "body.15", "penultimate"])
""",
    "explorer = MapperExplorer(clouds, photographs, classifier=classifier)\nexplorer",
]


class Page:
    """The explorer by what is on the screen."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".lis-mapper").first
        self.plot = self.root.locator(".lis-mapper-graph .js-plotly-plot")
        self.plot.locator(".scatterlayer .trace").first.wait_for(state="attached", timeout=60_000)
        self.canvases = self.root.locator(".lis-picture canvas")
        self.canvases.first.wait_for(timeout=60_000)

    def field(self, label):
        return self.root.get_by_label(label, exact=True)

    def ask(self, expression):
        return json.loads(self.notebook.execute(f"import json\nprint(json.dumps({expression}))"))

    def wait_for_graph(self, text):
        """Wait until the graph on the screen says so of itself."""
        self.page.wait_for_function(
            "([plot, text]) => plot.getAttribute('aria-label').includes(text)",
            arg=[self.plot.element_handle(), text],
            timeout=60_000,
        )

    def wait_for_node(self, node):
        """Wait until graph, list and images are those of a node."""
        self.wait_for_graph(f"; node {node}: ")
        self.root.locator(".lis-hint").filter(has_text=f"node {node}: ").wait_for(timeout=30_000)
        self.page.wait_for_function(
            "([root, node]) => root.querySelector('.lis-nodes select').selectedOptions[0]?.textContent"
            ".replace(/\\u00a0/g, ' ').startsWith(`node ${node}:`)",
            arg=[self.root.element_handle(), node],
        )

    def check_images(self):
        """Every member image on the screen is that of the kernel's sheet, to the pixel."""
        revision = self.ask("(explorer.state, explorer.picture.revision)[1]")
        self.page.wait_for_function(
            "([root, revision]) => Number(root.querySelector('.lis-picture').dataset.revision) >= revision",
            arg=[self.root.element_handle(), revision],
        )
        expected = self.ask("explorer.picture.panels[:2].tolist()")
        shown = lab.canvases(self.root.locator(".lis-picture"))
        assert len(shown) == self.ask("len(explorer.picture.panels)")
        for got, wanted in zip(shown[:2], expected, strict=True):
            np.testing.assert_array_equal(got, np.array(wanted))

    def middle(self, node):
        """Where a node is on the screen."""
        return self.plot.evaluate(
            """(plot, node) => {
                const trace = plot.data.find(t => t.customdata?.includes(String(node)));
                const place = trace.customdata.indexOf(String(node));
                const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
                return [box.left + xaxis._offset + xaxis.d2p(trace.x[place]),
                        box.top + yaxis._offset + yaxis.d2p(trace.y[place])];
            }""",
            node,
        )


@pytest.fixture(scope="module")
def page(scratch):
    page = Page(scratch(CELLS, "mapper-explorer.ipynb"))
    yield page
    page.notebook.watch.check()


def test_it_opens_with_the_largest_node(page):
    largest = page.ask("int(explorer.state.graph.sizes.argmax())")
    page.wait_for_node(largest)
    page.check_images()
    facts = page.root.locator(".lis-facts").inner_text()
    assert "purity" in facts and "at the knee" in facts and "in no node" in facts
    legend = page.root.locator(".lis-swatches span").all_text_contents()
    assert legend[:2] == ["0 T-shirt/top", "1 Trouser"] and len(legend) == 10


def test_a_click_on_a_node_shows_its_images(page):
    page.root.scroll_into_view_if_needed()
    node = page.ask("[n for _, n in explorer.state.nodes()][3]")
    page.plot.scroll_into_view_if_needed()

    def point():  # once more where the plot has followed the window's width meanwhile
        x, y = page.middle(node)
        page.page.mouse.move(x - 2, y)
        page.page.mouse.move(x, y)
        assert any(f"node {node}" in text for text in page.plot.locator(".hovertext").all_text_contents())
        return x, y

    page.page.mouse.click(*lab.eventually(point, 30))
    page.wait_for_node(node)
    page.check_images()
    page.page.mouse.move(0, 0)


def test_arrow_keys_go_through_the_nodes(page):
    order = page.ask("[n for _, n in explorer.state.nodes()]")
    page.root.locator(".lis-nodes select").select_option(index=0)
    page.wait_for_node(order[0])
    page.root.locator(".lis-nodes select").focus()
    for node in order[1:3]:
        page.page.keyboard.press("ArrowDown")
        page.wait_for_node(node)
    page.check_images()
    assert page.ask("explorer.node") == order[2]


def test_another_layer_interval_or_eps_draws_another_graph(page):
    page.field("layer").select_option(label="conv 5 · 8×8×128")
    page.wait_for_graph("conv 5")
    assert page.ask("explorer.setting.layer") == "body.9"
    before = page.ask("len(explorer.state.graph)")
    page.field("intervals").fill("10")
    page.field("intervals").press("Enter")

    def taken():  # the browser tells the kernel when that has answered what came before
        assert page.ask("explorer.state.graph.settings['intervals']") == 10

    lab.eventually(taken, 30)
    assert page.ask("explorer.setting.intervals") == 10 and page.ask("len(explorer.state.graph)") < before
    page.wait_for_graph(f"{page.ask('len(explorer.state.graph)')} nodes")
    page.field("eps at the knee").uncheck()
    page.field("eps").fill("0.001")
    page.field("eps").press("Enter")
    page.root.get_by_text("No interval has a cluster").wait_for(timeout=30_000)
    page.field("eps at the knee").check()
    page.wait_for_graph("conv 5")
    page.check_images()


def test_what_fails_is_said_and_the_next_move_works(page):
    page.notebook.execute(
        "import lis_toolkit.topology.mapper_session as session\nmade = session.mapper_graph\n"
        "def broken(*_, **__):\n    raise RuntimeError('no <graph>')\nsession.mapper_graph = broken"
    )
    try:
        page.field("intervals").fill("13")
        page.field("intervals").press("Enter")
        page.root.locator(".lis-message[role=alert]").filter(has_text="RuntimeError: no <graph>").wait_for()
    finally:
        page.notebook.execute("session.mapper_graph = made")
    page.field("intervals").fill("14")
    page.field("intervals").press("Enter")
    page.root.locator(".lis-message[role=alert]").wait_for(state="detached", timeout=30_000)
    assert page.ask("explorer.state.graph.settings['intervals']") == 14


def test_it_saves_and_shows_its_code(page, tmp_path):
    page.field("layer").select_option(label="conv 5 · 8×8×128")
    page.wait_for_graph("conv 5")
    page.notebook.execute(f"import os\nbefore = os.getcwd()\nos.chdir({str(tmp_path)!r})")
    try:
        for name in ("GraphML", "JSON", "PNG"):
            page.root.get_by_role("button", name=f"Save {name}", exact=True).click()
            path = tmp_path / f"mapper-body-9-strongest.{name.lower()}"
            page.root.locator(".lis-message[role=status]").filter(has_text=f"saved as {path.name}").wait_for()
            assert path.stat().st_size > 1000
    finally:
        page.notebook.execute("os.chdir(before)")
    heading = page.root.locator("button.lis-heading", has_text="Code")  # its icon is part of a button's name
    heading.click()
    page.root.locator(".lis-code pre").filter(has_text="mapper_figure(graph)").wait_for()
    heading.click()
    page.root.locator(".lis-code pre").wait_for(state="hidden")


def test_it_can_be_read_in_both_themes_and_in_a_narrow_window(page):
    try:
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            page.notebook.theme(theme)
            lab.check_contrast(page.root, texts=20)
    finally:
        page.notebook.theme("JupyterLab Light")
    for width in (1280, 800):
        with page.notebook.width(width):
            lab.check_fits(page.root)
    for control in page.root.locator("select:visible, input:visible, button:visible").all():
        assert control.evaluate(
            "e => (e.labels?.length || e.ariaLabel || e.textContent.trim() || e.title || '').toString()"
        ), control
