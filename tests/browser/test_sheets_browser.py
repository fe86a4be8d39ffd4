"""Report, contact sheet and directions in a real JupyterLab: pictures are compared with those of the library."""

import json
import re

import lab
import numpy as np
import pytest
import torch

from lis_toolkit import Link, convert_range, load_classifier, load_generator

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """import json
import numpy as np
import torch
import lis_toolkit as lis
from lis_widgets import ContactSheet, DirectionExplorer, LinkReport, UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
train, held_out = lis.collect_pairs(generator, classifier, per_class=20, seed=0).split(0.3, seed=0)
link = lis.fit_link(train)
report = lis.report_link(link, generator, classifier, held_out, units=6, samples=2, steps=3, permutations=20)""",
    "explorer = UnitExplorer(generator, classifier, link)\nexplorer",
    "shown = LinkReport(report, explorer=explorer)\nshown",
    """units = explorer.session.units[:3]
walks = [lis.tune_unit(generator, classifier, link, held_out.r[:1], unit, steps=5) for unit in units]
sheet = ContactSheet(walks, classifier, explorer)
sheet""",
    "ContactSheet(walks[:1], classifier)",
    'directions = DirectionExplorer(generator, classifier, link, pairs=train, which="Coat")\ndirections',
]


@pytest.fixture(scope="module")
def notebook(scratch):
    notebook = scratch(CELLS, "sheets.ipynb")
    page = notebook.page
    page.locator(".lis-directions canvas").nth(2).wait_for(timeout=60_000)
    page.locator(".lis-report .js-plotly-plot").first.wait_for(timeout=60_000)
    return notebook


@pytest.fixture(scope="module")
def models(notebook, tmp_path_factory):
    path = tmp_path_factory.mktemp("sheets")
    notebook.execute(
        f"link.save({str(path / 'link.safetensors')!r})\ntorch.save(held_out.r[0], {str(path / 'r.pt')!r})"
    )
    r = torch.load(path / "r.pt", weights_only=True)
    return load_generator("fashion"), load_classifier("fashion"), Link.load(path / "link.safetensors"), r


@pytest.fixture(autouse=True)
def quiet(notebook):
    """No error in the console, and no request to elsewhere, whatever was done."""
    yield
    notebook.watch.check()


@torch.no_grad()
def rendered(models, r):
    x = models[0].render(models[2](r[None]))[0]
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def told(notebook, expression):
    return json.loads(notebook.execute(f"print(json.dumps({expression}))"))


def wait_for_caption(locator, text):
    locator.locator("figcaption").filter(has_text=text).first.wait_for(timeout=30_000)


def tab(notebook, name):
    report = notebook.page.locator(".lis-report")
    report.locator(".lm-TabBar-tab", has_text=name).click()
    return report


def test_every_tab_of_the_report_is_drawn(notebook):
    for name, figures, words in (
        ("cycle", 1, "keep their class"), ("classes", 1, "Ankle boot"), ("latents", 2, "held-out R²"),
        ("units", 2, "Fidelity was measured for 6 of 256 units"), ("order", 1, "class means"),
        ("notes", 0, "Measured with"), ("terms", 0, "penultimate"),
    ):  # fmt: skip
        report = tab(notebook, name)
        panel = report.locator(
            ".widget-tab-contents > *:visible, .jupyter-widget-tab-contents > *:visible"
        ).first
        panel.get_by_text(words).first.wait_for(timeout=30_000)
        plots = panel.locator(".js-plotly-plot:visible")
        if figures:
            plots.nth(figures - 1).wait_for(timeout=30_000)
        assert plots.count() == figures, name
        for plot in plots.all():
            assert plot.locator("path").count() > 5 and plot.bounding_box()["width"] > 250, name
        lab.check_fits(report)


def test_headings_sort_the_table_and_the_field_finds_a_unit(notebook):
    report = tab(notebook, "units")
    table = report.locator(".lis-table:visible")
    head = table.locator("th", has_text="cycle correlation")
    column = told(notebook, "[row[2] for row in shown.tables['units'].rows]")
    wanted = sorted((v for v in column if v is not None), reverse=True)
    for way, expected in (("descending", wanted), ("ascending", wanted[::-1])):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == way
        cells = table.locator("tbody td:nth-child(3)").all_text_contents()
        assert [float(c.replace("−", "-")) for c in cells] == pytest.approx(expected[:50], abs=0.0051)
    assert "206 more" in table.inner_text()
    table.get_by_role("button", name="show 200 of them").click()
    assert table.locator("tbody tr").count() == 250
    find = table.locator("input[type=search]")
    find.fill("17")
    found = [int(text) for text in table.locator("tbody td:first-child").all_text_contents()]
    assert sorted(found) == [17, *range(170, 180)]
    find.fill("no such unit")
    assert table.locator("tbody tr").count() == 0 and "No row is found" in table.inner_text()
    find.fill("")
    head = table.locator("th", has_text="slope")
    head.locator("button").click()
    head.locator("button").click()
    cells = table.locator("tbody td:nth-child(4)").all_text_contents()
    assert "–" not in cells[:6] and set(cells[6:]) == {"–"}, "what was not measured is last, whichever way"


def test_a_unit_of_the_report_opens_in_the_explorer(notebook):
    report = tab(notebook, "units")
    rows = report.locator(".lis-table:visible tbody tr")
    rows.nth(2).locator("td").nth(1).click()
    unit = int(rows.nth(2).locator(".lis-choose").inner_text())
    report.locator(".lis-message", has_text=f"Unit {unit} is open").wait_for(timeout=30_000)
    assert told(notebook, "explorer.unit") == unit
    report.locator(".lis-table:visible tbody tr.lis-chosen").filter(
        has=notebook.page.locator(".lis-choose", has_text=re.compile(f"^{unit}$"))
    ).wait_for()
    rows.nth(2).locator(".lis-choose").focus()
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("Enter")
    unit = int(rows.nth(3).locator(".lis-choose").inner_text())
    report.locator(".lis-message", has_text=f"Unit {unit} is open").wait_for(timeout=30_000)
    assert told(notebook, "explorer.unit") == unit


def test_the_sheet_shows_the_pictures_of_its_walks(notebook, models):
    sheet = notebook.page.locator(".lis-sheet").first
    cells = told(notebook, "[[int(u), [float(v) for v in w.values]] for u, w in zip(units, walks)]")
    pictures = lab.canvases(sheet.locator(".lis-grid"))
    assert len(pictures) == 15
    for row, (unit, values) in enumerate(cells):
        for column, value in enumerate(values):
            r = models[3].clone()
            r[unit] = value
            lab.same_picture(pictures[5 * row + column], rendered(models, r))
        own = float(models[3][unit])
        nearest = int(np.abs(np.array(values) - own).argmin())
        framed = sheet.locator(".lis-grid-row").nth(row).locator("canvas.lis-start")
        assert (
            framed.count() == 1 and framed.evaluate("c => Number(c.parentElement.dataset.column)") == nearest
        )


def test_a_click_on_a_picture_opens_it_in_the_explorer(notebook, models):
    page = notebook.page
    sheet, explorer = page.locator(".lis-sheet").first, page.locator(".lis-explorer").first
    unit, value = told(notebook, "[int(units[1]), float(walks[1].values[3])]")
    sheet.locator(".lis-grid-row").nth(1).locator(".lis-grid-cell").nth(3).click()
    wait_for_caption(explorer, f"unit {unit} at {value:.2f}")
    r = models[3].clone()
    r[unit] = value
    start, tuned = lab.canvases(explorer.locator(".lis-picture"))[:2]
    lab.same_picture(tuned, rendered(models, r))
    lab.same_picture(start, rendered(models, models[3]))

    def check():
        top = explorer.bounding_box()["y"]
        assert -50 < top < page.viewport_size["height"], "it was scrolled into view"

    lab.eventually(check)
    page.wait_for_timeout(500)
    check()


def test_arrow_keys_and_enter_open_a_picture_without_a_mouse(notebook, models):
    page = notebook.page
    sheet, explorer = page.locator(".lis-sheet").first, page.locator(".lis-explorer").first
    grid = sheet.locator("[role=grid]")
    assert grid.locator("[tabindex='0']").count() == 1, "one stop of the Tab key"
    grid.locator(".lis-grid-cell").first.focus()
    for key in ("ArrowDown", "ArrowDown", "End", "ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    unit, value = told(notebook, "[int(units[2]), float(walks[2].values[3])]")
    wait_for_caption(explorer, f"unit {unit} at {value:.2f}")
    sheet.locator(f".lis-grid-cell[aria-selected=true][aria-label*='unit {unit} set ']").wait_for()
    assert sheet.locator(".lis-grid-cell[aria-selected=true]").count() == 1
    r = models[3].clone()
    r[unit] = value
    lab.same_picture(lab.canvases(explorer.locator(".lis-picture"))[1], rendered(models, r))


def test_without_an_explorer_the_picture_is_shown_larger(notebook):
    sheet = notebook.page.locator(".lis-sheet").nth(1)
    cell = sheet.locator(".lis-grid-cell").nth(4)
    small = cell.locator("canvas").bounding_box()["width"]
    cell.click()
    large = sheet.locator(".lis-picture canvas")
    large.nth(1).wait_for(timeout=30_000)
    assert large.nth(1).bounding_box()["width"] > 1.9 * small
    lab.same_picture(
        lab.canvases(sheet.locator(".lis-picture"))[1], lab.canvases(sheet.locator(".lis-grid"))[4]
    )


def arrived(notebook, value):
    assert told(notebook, "directions.amounts.get('Coat to Shirt')") == pytest.approx(value)


def test_a_slider_moves_the_picture_along_its_direction(notebook, models):
    page, root = notebook.page, notebook.page.locator(".lis-directions")
    root.locator("select").filter(has_text="class differences").select_option("class differences")
    slider = root.locator(
        "input.lis-slider[data-key='Coat to Shirt'], [data-key='Coat to Shirt'] input.lis-slider"
    )
    slider.first.wait_for(timeout=30_000)
    slider.first.focus()
    page.keyboard.press("End")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    shown = float(slider.first.input_value())
    lab.eventually(lambda: arrived(notebook, shown))
    amount, start, vector = told(
        notebook,
        "[directions.amounts['Coat to Shirt'], directions.session.start_of(directions.setting).r.tolist(),"
        "lis.directions.class_directions(train, source='Coat').vector('Coat to Shirt').tolist()]",
    )
    wait_for_caption(root, f"Coat to Shirt at {amount:+.3g}")
    shown = lab.canvases(root.locator(".lis-picture"))
    start, vector = torch.tensor(start), torch.tensor(vector)
    lab.same_picture(shown[0], rendered(models, start))
    lab.same_picture(shown[1], rendered(models, start + amount * vector))
    assert amount > 0.5 and (np.abs(shown[0].astype(int) - shown[1]) > 10).mean() > 0.05
    root.get_by_text("units that make up the move").wait_for(timeout=30_000)
    root.get_by_role("button", name="As it was").click()
    wait_for_caption(root, "nothing set")
    lab.same_picture(lab.canvases(root.locator(".lis-picture"))[1], shown[0])


def test_units_are_combined_and_mistakes_told(notebook):
    root = notebook.page.locator(".lis-directions")
    root.locator("select").filter(has_text="combinations of units").select_option("combinations of units")
    typed = root.get_by_placeholder("17: 1, 40: -0.5")
    typed.fill("seventeen")
    typed.press("Tab")
    root.get_by_role("button", name="Make the direction").click()
    root.locator(".lis-message[role=alert]", has_text="seventeen").wait_for(timeout=30_000)
    typed.fill(told(notebook, "f'{units[0]}: 1, {units[1]}: -0.5'"))
    typed.press("Tab")
    root.get_by_role("button", name="Make the direction").click()
    root.locator("[data-key='combination 1']").first.wait_for(timeout=30_000)
    assert told(notebook, "list(directions.families.combinations['combination 1'].values())") == [1.0, -0.5]


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_texts_can_be_read_in_both_themes(theme, notebook):
    page = notebook.page
    try:
        notebook.theme(theme)
        for name in ("units", "terms", "classes"):
            lab.check_contrast(tab(notebook, name), texts=30)
        lab.check_contrast(page.locator(".lis-sheet").first, texts=30)
        lab.check_contrast(page.locator(".lis-directions"), texts=30)
    finally:
        notebook.theme("JupyterLab Light")


def test_all_fits_a_narrow_window(notebook):
    page = notebook.page
    with notebook.width(800):
        for name in ("cycle", "classes", "units"):
            report = tab(notebook, name)
            page.wait_for_timeout(300)
            lab.check_fits(report)  # plots that were hidden are fitted when they are seen
            if name != "cycle":
                page.locator(".lis-report").get_by_text("Left out, for lack of room").filter(
                    visible=True
                ).first.wait_for()
        for root in (page.locator(".lis-sheet").first, page.locator(".lis-sheet").nth(1)):
            lab.check_fits(root)
            assert root.locator("canvas").first.bounding_box()["width"] >= 64
