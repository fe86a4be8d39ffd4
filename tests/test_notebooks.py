"""What the notebooks promise without being run: stripped, short cells, a switch, no numerics of their own."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LIBRARIES = {"lis_toolkit", "lis_widgets", "pathlib", "tempfile"}
APP = "app"  # title of a notebook that is looked at without its code: the text stands below the widgets
USERS_OWN = "users-own-code"  # tag of cells that stand for what readers bring: a network written in torch


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_workflow_has_its_notebooks():
    assert [path.name for path in NOTEBOOKS][:4] == [
        "00_quickstart.ipynb", "01_features.ipynb", "02_linking.ipynb", "03_units.ipynb",
    ]  # fmt: skip


def test_is_valid_and_stripped(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.source
        assert cell.get("attachments", {}) == {}


def test_cells_are_short_and_explained(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and notebook.cells[0].source.startswith("# ")
    for source in code_of(notebook):
        assert 0 < len(source.splitlines()) <= 20, source
        assert max(map(len, source.splitlines())) <= 110, source
    if notebook.metadata.get("title") != APP:
        assert kinds.count("markdown") >= 0.6 * kinds.count("code")
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words > 250


def test_has_one_switch_at_the_top(notebook):
    code = code_of(notebook)
    assert [s for s in code if re.search(r"^MODELS = ", s, re.M)] == [code[0]]
    assert code[0].startswith('MODELS = "fashion"')
    chosen = {}
    for models in ("fashion", "imagenet"):
        scope = {}
        exec(
            code[0].replace('MODELS = "fashion"', f'MODELS = "{models}"'), scope
        )  # our own file: literals only
        chosen[models] = (scope["GENERATOR"], scope["CLASSIFIER"])
    assert chosen == {"fashion": ("fashion", "fashion"), "imagenet": ("imagenet256", "resnet50")}
    text = " ".join(cell.source for cell in notebook.cells[:4] if cell.cell_type == "markdown")
    assert "download" in text and ("GPU" in text or "processor" in text)
    loads = re.findall(r"load_(?:generator|classifier)\((?:GENERATOR|CLASSIFIER).*", "\n".join(code))
    assert len(loads) == 2 and all("device=DEVICE)" in load for load in loads), loads


def test_has_no_numerics_of_its_own(notebook):
    theirs = [cell for cell in notebook.cells if USERS_OWN in cell.metadata.get("tags", ())]
    libraries = LIBRARIES | ({"ipywidgets"} if notebook.metadata.get("title") == APP else set())  # tabs
    assert len(theirs) <= (2 if notebook.metadata.get("title") == "own models" else 0)
    for source in code_of(notebook):
        if source in [cell.source for cell in theirs]:
            assert "from torch import nn" in source or "nn.Module" in source
            continue
        tree = ast.parse(source)
        for node in ast.walk(tree):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module]
            for name in imported:
                assert name.split(".")[0] in libraries, f"{name} is imported in a notebook: call the library"
            assert not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While)), source


def test_the_app_begins_with_its_widgets():
    """Voila shows all but the code: a few lines, the widgets, then what there is to see; no cell prints."""
    notebook = nbformat.read(NOTEBOOKS[0].parent / "explorer.ipynb", as_version=4)
    assert notebook.metadata.title == APP
    last = max(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    above = " ".join(cell.source for cell in notebook.cells[:last] if cell.cell_type == "markdown")
    assert len(above.split()) < 120 and last == len(notebook.cells) - 2
    for source in code_of(notebook)[:-1]:
        assert not isinstance(ast.parse(source).body[-1], ast.Expr) and "progress=True" not in source


def test_text_has_no_dead_references(notebook):
    known = {path.stem for path in NOTEBOOKS}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for name in re.findall(r"`(\d\d_\w+)`", cell.source):
                assert name in known
