"""Output folders: whole or not at all."""

import os
import signal
import stat

import pytest

from lis_toolkit.errors import LisError
from lis_toolkit.folders import output_folder


def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def fill(folder, text="new"):
    (folder / "report.html").write_text(text)
    (folder / "sheets").mkdir()
    (folder / "sheets" / "a.png").write_text(text)


def test_a_new_folder_appears_only_when_complete(tmp_path):
    out = tmp_path / "deep" / "er" / "demo"
    with output_folder(out) as folder:
        fill(folder)
        assert not out.parent.parent.exists()
    assert tree(tmp_path) == {"deep/er/demo/report.html": "new", "deep/er/demo/sheets/a.png": "new"}


def test_its_mode_is_that_of_any_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    with output_folder(tmp_path / "out") as folder:
        fill(folder)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out")]
    assert modes[0] == modes[1]


def test_unrelated_files_stay_and_own_files_are_replaced(tmp_path):
    out = tmp_path / "demo"
    (out / "sheets").mkdir(parents=True)
    (out / "thesis.txt").write_text("keep")
    (out / "sheets" / "b.png").write_text("keep")
    (out / "report.html").write_text("old")
    with output_folder(out) as folder:
        fill(folder)
    assert tree(tmp_path) == {
        "demo/thesis.txt": "keep",
        "demo/sheets/b.png": "keep",
        "demo/sheets/a.png": "new",
        "demo/report.html": "new",
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, LisError])
@pytest.mark.parametrize("exists", [True, False])
def test_after_an_error_all_is_as_before(tmp_path, error, exists):
    out = tmp_path / "a" / "demo"
    if exists:
        out.mkdir(parents=True)
        (out / "report.html").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(error), output_folder(out) as folder:
        fill(folder)
        raise error("stop")
    assert tree(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == (["a"] if exists else [])


def test_ctrl_c_while_moving_does_not_tear_the_results(tmp_path, monkeypatch):
    out = tmp_path / "demo"
    out.mkdir()
    replace = os.replace

    def interrupted_replace(source, target):
        os.kill(os.getpid(), signal.SIGINT)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted_replace)
    before = signal.getsignal(signal.SIGINT)
    with output_folder(out) as folder:
        fill(folder)
    assert tree(out) == {"report.html": "new", "sheets/a.png": "new"}
    assert signal.getsignal(signal.SIGINT) is before


def test_a_file_in_the_way_is_refused_before_any_work(tmp_path):
    out = tmp_path / "demo"
    out.write_text("mine")
    with pytest.raises(LisError, match="it is a file"), output_folder(out):
        raise AssertionError("the block must not run")
    with pytest.raises(LisError, match="not a writable folder"), output_folder(out / "below"):
        raise AssertionError("the block must not run")
    assert tree(tmp_path) == {"demo": "mine"}


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(LisError, match="give another one"), output_folder("/proc/lis"):
        raise AssertionError("the block must not run")
