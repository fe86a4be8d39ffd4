"""Widgets by keyboard: no key is a command of the notebook, Escape leaves, nothing jumps while one is held."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODELS = """import lis_toolkit as lis
from lis_widgets import ContactSheet, UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
pairs = lis.collect_pairs(generator, classifier, per_class=25, psi=0.7, seed=0)
link = lis.fit_link(pairs)"""
SHEET = """walks = [lis.tune_unit(generator, classifier, link, pairs.r[:1], unit, steps=3) for unit in (1, 2)]
ContactSheet(walks, classifier)"""
EXPLORER = """segmenter = lis.load_segmenter("fashion")
explorer = UnitExplorer(generator, classifier, link, segmenter=segmenter, which="Shirt")
explorer.outlines.value = True
explorer"""
TOP = "e => e.getBoundingClientRect().top - e.closest('.lis-explorer').getBoundingClientRect().top"
FOCUSED_CELL = "() => document.activeElement.classList.contains('jp-Cell')"


@pytest.fixture(scope="module")
def sheet(scratch):
    """A notebook with nothing but a sheet: other widgets would take care of the keys as well."""
    notebook = scratch([MODELS, SHEET])
    notebook.page.locator(".lis-grid-cell").nth(5).wait_for()
    return notebook


@pytest.fixture(scope="module")
def notebook(scratch):
    notebook = scratch([MODELS, EXPLORER])
    notebook.page.locator(".lis-explorer .js-plotly-plot .xtick").first.wait_for(timeout=60_000)
    return notebook


@pytest.fixture
def explorer(notebook):
    return notebook.page.locator(".lis-explorer")


def test_keys_on_a_sheet_alone_in_its_page_are_no_commands_of_the_notebook(sheet):
    page, cells = sheet.page, [cell["source"] for cell in sheet.code_cells()]
    page.locator(".lis-grid-cell").first.focus()
    for key in ("b", "a", "x", "d", "d", "m"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert [cell["source"] for cell in sheet.code_cells()] == cells
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.column") == "1"


def test_escape_leaves_for_the_cell(sheet):
    page = sheet.page
    page.locator(".lis-grid-cell").first.focus()
    page.keyboard.press("Escape")
    page.wait_for_function(FOCUSED_CELL)


def test_escape_leaves_a_slider_a_field_and_an_empty_search_box(explorer, notebook):
    page = notebook.page
    for place in ("input.lis-slider", "input.lis-number", "select", ".lis-units-rows"):
        explorer.locator(place).first.focus()
        page.keyboard.press("Escape")
        page.wait_for_function(FOCUSED_CELL)
    search = explorer.locator("input[type=search]")
    search.fill("17")
    page.keyboard.press("Escape")
    page.wait_for_function("e => e === document.activeElement && e.value === ''", arg=search.element_handle())
    page.keyboard.press("Escape")
    page.wait_for_function(FOCUSED_CELL)


def test_tab_reaches_every_control_and_shows_where_it_is(explorer, notebook):
    page = notebook.page
    wanted = explorer.evaluate(
        """root => [...root.querySelectorAll("select, input, button, [role=listbox]")]
            .filter(e => e.checkVisibility() && !e.disabled).length"""
    )
    explorer.locator("select").first.focus()
    page.keyboard.press("Shift+Tab")
    reached, plain = 0, []
    for _ in range(wanted + 1):
        page.keyboard.press("Tab")
        inside, told = page.evaluate(
            """() => {
                const e = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(e);
                const thumb = e.matches("input.lis-slider"); // has the ring
                const ring = thumb || (outlineStyle === "solid" && outlineWidth === "2px");
                return [Boolean(e.closest(".lis-explorer")), ring ? null : e.outerHTML.slice(0, 120)];
            }"""
        )
        reached += inside
        if inside and told:
            plain.append(told)
    assert reached == wanted and not plain, (reached, wanted, plain)


def test_code_is_folded_out_by_keyboard(explorer, notebook):
    page, code = notebook.page, explorer.locator(".lis-code pre")
    assert not code.is_visible()
    explorer.get_by_role("button", name="Code, save, load").focus()
    page.keyboard.press("Space")
    code.filter(has_text="generator").wait_for()
    page.keyboard.press("Space")
    code.wait_for(state="hidden")


@pytest.mark.parametrize("width", [1280, 960])
def test_nothing_jumps_while_a_slider_is_held(width, explorer, notebook):
    page, slider = notebook.page, explorer.locator("input.lis-slider").first
    number = explorer.locator("input.lis-number").first
    with notebook.width(width):
        slider.focus()
        # Along the whole slider and back, a picture a step: the captions were as long then as they ever are.
        for key in [*["PageDown"] * 40, "Home", *["PageUp"] * 40, "End"]:
            before = number.input_value()
            page.keyboard.press(key)
            if number.input_value() != before:
                page.wait_for_function(
                    "([root, value]) => root.querySelectorAll('.lis-picture figcaption')[1].textContent"
                    ".includes(` at ${value}`)",
                    arg=[explorer.element_handle(), number.input_value()],
                )
        tops = set()
        for key in ["PageDown"] * 40:
            page.keyboard.press(key)
            page.wait_for_timeout(25)
            tops.add(slider.evaluate(TOP))
    assert len(tops) == 1, tops


def test_nothing_went_wrong(sheet, notebook):
    sheet.watch.check()
    notebook.watch.check()
