"""Tutorials: copied whole, the user's own changes kept, part of the wheel."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lis_toolkit import cli, tutorials
from lis_toolkit.errors import LisError
from lis_toolkit.tutorials import copy_tutorials, tutorials_folder

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture
def source(tmp_path):
    """A toolkit with three notebooks."""
    folder = tmp_path / "toolkit"
    folder.mkdir()
    for name in ("00_a", "01_b", "02_c"):
        (folder / f"{name}.ipynb").write_text(f"{name}, first version")
    (folder / "figures").mkdir()
    (folder / "notes.txt").write_text("no notebook")
    return folder


def contents(folder):
    return {path.name: path.read_text() for path in folder.glob("*.ipynb")}


def test_a_first_call_copies_all_and_a_second_changes_nothing(source, tmp_path):
    done = copy_tutorials(tmp_path / "deep" / "mine", source)
    assert done.folder == tmp_path / "deep" / "mine"
    assert done.new == ("00_a.ipynb", "01_b.ipynb", "02_c.ipynb") and done.kept == done.unchanged == ()
    assert contents(done.folder) == contents(source)
    assert {path.name for path in done.folder.iterdir()} == {*done.new, tutorials.RECORD}
    before = {path: path.stat().st_mtime_ns for path in done.folder.glob("*.ipynb")}
    again = copy_tutorials(done.folder, source)
    assert again.unchanged == done.new and again.new == again.updated == again.kept == ()
    assert {path: path.stat().st_mtime_ns for path in done.folder.glob("*.ipynb")} == before


def test_what_the_user_changed_is_kept_and_what_not_is_updated(source, tmp_path):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (mine / "01_b.ipynb").write_text("my own text")
    (mine / "own.ipynb").write_text("a notebook of mine")
    done = copy_tutorials(mine, source)
    assert done.kept == () and len(done.unchanged) == 3, "no newer version: nothing to tell"
    for name in ("00_a", "01_b"):
        (source / f"{name}.ipynb").write_text(f"{name}, second version")
    done = copy_tutorials(mine, source)
    assert (done.updated, done.kept, done.unchanged) == (("00_a.ipynb",), ("01_b.ipynb",), ("02_c.ipynb",))
    assert done.beside == ("01_b.new.ipynb",) and done.new == ()
    assert contents(mine) == {
        "00_a.ipynb": "00_a, second version",
        "01_b.ipynb": "my own text",
        "01_b.new.ipynb": "01_b, second version",
        "02_c.ipynb": "02_c, first version",
        "own.ipynb": "a notebook of mine",
    }
    assert "01_b.ipynb is yours and was kept; the toolkit's newer version is 01_b.new.ipynb" in str(done)
    assert "3 notebooks" in str(done) and "0 new, 1 updated" in str(done)


def test_a_newer_version_beside_is_updated_in_turn_unless_it_was_changed_too(source, tmp_path):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (mine / "01_b.ipynb").write_text("my own text")
    for version in ("second", "third"):
        (source / "01_b.ipynb").write_text(f"01_b, {version} version")
        assert copy_tutorials(mine, source).beside == ("01_b.new.ipynb",)
        assert (mine / "01_b.new.ipynb").read_text() == f"01_b, {version} version"
    (mine / "01_b.new.ipynb").write_text("I work in here now")
    (source / "01_b.ipynb").write_text("01_b, fourth version")
    done = copy_tutorials(mine, source)
    assert done.kept == ("01_b.ipynb",) and done.beside == ()
    assert (mine / "01_b.new.ipynb").read_text() == "I work in here now"
    assert str(done).endswith("01_b.ipynb is yours and was kept")


def test_a_newer_version_that_was_thrown_away_stays_away_until_the_next(source, tmp_path):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (mine / "01_b.ipynb").write_text("my own text")
    (source / "01_b.ipynb").write_text("01_b, second version")
    copy_tutorials(mine, source)
    (mine / "01_b.new.ipynb").unlink()
    done = copy_tutorials(mine, source)
    assert done.kept == ("01_b.ipynb",) and done.beside == () and "01_b.new.ipynb" not in contents(mine)
    (source / "01_b.ipynb").write_text("01_b, third version")
    assert copy_tutorials(mine, source).beside == ("01_b.new.ipynb",)


def test_links_of_the_users_are_not_written_through(source, tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs.ipynb"
    copy_tutorials(mine, source)
    theirs.write_text("01_b, first version")
    (mine / "01_b.ipynb").unlink()
    (mine / "01_b.ipynb").symlink_to(theirs)
    (source / "01_b.ipynb").write_text("01_b, second version")
    copy_tutorials(mine, source)
    assert theirs.read_text() == "01_b, first version"
    assert contents(mine)["01_b.ipynb"] == "01_b, second version"


def test_many_at_once_leave_whole_notebooks_and_a_record(source, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: copy_tutorials(tmp_path / "mine", source), range(40)))
    assert contents(tmp_path / "mine") == contents(source) and len(list((tmp_path / "mine").iterdir())) == 4
    assert set(json.loads((tmp_path / "mine" / tutorials.RECORD).read_text())) == set(contents(source))


@pytest.mark.parametrize("record", [None, "", "[1]", '{"00_a.ipynb": 3}', "[" * 100_000])
def test_without_a_record_every_difference_is_the_users(record, source, tmp_path):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (mine / tutorials.RECORD).unlink()
    if record is not None:
        (mine / tutorials.RECORD).write_text(record)
    (source / "00_a.ipynb").write_text("00_a, second version")
    done = copy_tutorials(mine, source)
    assert done.kept == ("00_a.ipynb",) and done.unchanged == ("01_b.ipynb", "02_c.ipynb")
    assert (mine / "00_a.ipynb").read_text() == "00_a, first version"


def test_a_deleted_notebook_comes_back(source, tmp_path):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (mine / "02_c.ipynb").unlink()
    assert copy_tutorials(mine, source).new == ("02_c.ipynb",)


def test_a_failed_copy_leaves_no_half_written_notebook(source, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    copy_tutorials(mine, source)
    (source / "01_b.ipynb").write_text("01_b, second version")
    real = Path.write_bytes

    def full(path, content):
        real(path, content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LisError, match="01_b.ipynb.*No space left"):
        copy_tutorials(mine, source)
    assert contents(mine)["01_b.ipynb"] == "01_b, first version"
    assert len(list(mine.iterdir())) == 4


def test_folders_that_cannot_be_used_are_refused(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LisError, match="file is a file; give a folder"):
        copy_tutorials(tmp_path / "file", source)
    with pytest.raises(LisError, match="where the tutorials come from"):
        copy_tutorials(source / ".." / "toolkit", source)
    with pytest.raises(LisError, match="where the tutorials come from"):
        copy_tutorials(source / "deep" / "mine", source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(LisError, match="where the tutorials come from"):
        copy_tutorials(tmp_path / "link", source)
    assert {path.name for path in source.iterdir()} == {*contents(source), "figures", "notes.txt"}
    with pytest.raises(LisError, match="can't use .*too long"):
        copy_tutorials(tmp_path / ("x" * 300), source)
    with pytest.raises(LisError, match="file"):
        copy_tutorials(tmp_path / "file" / "mine", source)
    (tmp_path / "mine" / "01_b.ipynb").mkdir(parents=True)
    with pytest.raises(LisError, match="01_b.ipynb is a folder"):
        copy_tutorials(tmp_path / "mine", source)


def test_a_checkout_finds_its_notebooks_and_a_broken_copy_says_so(tmp_path, monkeypatch):
    assert contents(tutorials_folder()) == contents(NOTEBOOKS)
    monkeypatch.setattr(tutorials, "__file__", str(tmp_path / "a" / "b" / "c" / "tutorials.py"))
    with pytest.raises(LisError, match="install again"):
        tutorials_folder()


def test_the_command_copies_and_starts_jupyterlab(tmp_path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(tutorials, "open_lab", started.append)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab"]) == 0
    assert contents(tmp_path / "lis-tutorials") == contents(NOTEBOOKS)
    assert f"notebooks in {tmp_path / 'lis-tutorials'}" in capsys.readouterr().out
    assert cli.main(["lab", "other folder", "--no-browser", "--port", "8899", "--allow-root"]) == 0
    root, page, *options = started[1]
    assert root == f"--ServerApp.root_dir={tmp_path / 'other folder'}"
    assert page.endswith("/lab/tree/00_quickstart.ipynb")
    assert options == ["--ServerApp.port=8899", "--no-browser", "--allow-root"]
    assert started[0][2:] == []


def test_the_command_refuses_before_it_copies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "--port", "70000"]) == 2
    assert "port is 70000" in capsys.readouterr().err
    monkeypatch.setattr(tutorials.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2
    told = capsys.readouterr().err
    assert (
        told == 'lis lab: lis lab needs JupyterLab, which is not installed: pip install "lis-toolkit[lab]".\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_brings_the_notebooks(tmp_path):
    """Built, unpacked and used by a process that sees nothing of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    inside = {Path(name).name for name in names if name.startswith("lis_toolkit/notebooks/")}
    assert inside == {path.name for path in NOTEBOOKS.glob("*.ipynb")}
    ends = {".py", ".typed", ".js", ".css", ".ipynb", ".json", ".png", ".md", ".safetensors", ".gz"}
    strange = [n for n in names if ".dist-info/" not in n and Path(n).suffix not in ends]
    assert strange == [] and not any("checkpoint" in n.split("/")[-2] or "tests/" in n for n in names)
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"lis_toolkit", "lis_widgets"}
    assert "lis_toolkit/tutorials.py" in names and "lis_widgets/static/picture.js" in names
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import json, lis_toolkit; from lis_toolkit.tutorials import copy_tutorials\n"
        f"print(json.dumps([lis_toolkit.__file__, copy_tutorials({str(tmp_path / 'mine')!r}).new]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    where, new = json.loads(done.stdout)
    assert where.startswith(str(tmp_path / "site")) and set(new) == inside
    assert contents(tmp_path / "mine") == contents(NOTEBOOKS)
