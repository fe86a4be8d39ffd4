"""`lis counterfactual`: its table is the library's, its files are whole, and what is wrong is said."""

import argparse
import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lis_toolkit import cli, find_counterfactuals
from lis_toolkit.counterfactuals import Counterfactuals
from lis_toolkit.counterfactuals.command import add_arguments, counterfactual_text, run
from lis_toolkit.errors import LisError
from lis_toolkit.images import save_png
from lis_toolkit.link import Link, fit_link
from lis_toolkit.pairs import collect_pairs
from tiny_sweep import tiny_models


@pytest.fixture(scope="module")
def models():
    return tiny_models()[:3]


@pytest.fixture(scope="module")
def place(models, tmp_path_factory):
    """Folder with the link's file."""
    folder = tmp_path_factory.mktemp("counterfactual")
    models[2].save(folder / "link.safetensors")
    return folder


@pytest.fixture(autouse=True)
def tiny_is_known(models, monkeypatch):
    """Let the name "tiny" load the tiny models, which no file holds in full."""
    for place, model in (("stylegan.load_generator", models[0]), ("classifiers.load_classifier", models[1])):
        package, name = place.split(".")
        real = getattr(importlib.import_module(f"lis_toolkit.{package}"), name)
        monkeypatch.setattr(
            f"lis_toolkit.{place}",
            lambda asked, device=None, real=real, model=model: (
                model if asked == "tiny" else real(asked, device=device)
            ),
        )


def arguments(place, *more):
    told = ["--link", place / "link.safetensors", "--generator", "tiny", "--classifier", "tiny", "--psi", 0.9]
    return [str(a) for a in (*told, *more)]


def parsed(place, *more):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments(place, *more))


def plain(table):
    """Without what a clock says."""
    return table.drop(columns="seconds")


def test_the_printed_table_is_that_of_the_library(models, place, tmp_path, capsys):
    asked = ["--from", "disc", "--to", "ring", "--samples", 4, "--seed", 5, "--out", tmp_path / "result"]
    run(parsed(place, *asked, "--top", 3, "--method", "closed_form", "--margin", 0.25))
    printed = capsys.readouterr().out
    starts = collect_pairs(*models[:2], ["disc"], 4, psi=0.9, seed=5)
    expected = find_counterfactuals(*models, starts, target="ring", method="closed_form", margin=0.25, seed=5)
    lines = printed.splitlines()
    assert lines[0].split()[:5] == ["start", "from", "to", "success", "margin"]
    rows = [line.split() for line in lines[1:4]]
    for row, truth in zip(rows, expected.table.to_dict("records"), strict=False):
        assert row[:4] == [str(truth["start"]), truth["origin"], "ring", "yes" if truth["success"] else "no"]
        assert row[4] == f"{truth['margin_start']:+.1f}" and row[6] == f"{truth['margin_end']:+.1f}"
    assert lines[4] == "... and 1 more"
    found = expected.table[expected.table["success"]]
    assert len(found) > 0
    assert f"{len(found)} of 4 counterfactuals found" in printed or "left out" in printed
    assert f"{found['distance_w'].median():.2f} in w" in printed
    assert f"result written to {tmp_path / 'result'}" in printed
    kept = Counterfactuals.load(tmp_path / "result")
    pd.testing.assert_frame_equal(plain(kept.table), plain(expected.table))
    assert np.array_equal(kept.r_end, expected.r_end)


def test_all_and_nearest(place, tmp_path):
    run(parsed(place, "--to", "all", "--samples", 2, "--method", "closed_form", "--out", tmp_path / "all"))
    table = Counterfactuals.load(tmp_path / "all").table
    assert len(table) == 3 * 2 * 2 and (table["origin"] != table["target"]).all()
    asked = ["--from", "cross", "0", "--samples", 2, "--method", "closed_form", "--out", tmp_path / "near"]
    run(parsed(place, *asked))
    near = Counterfactuals.load(tmp_path / "near").table
    assert len(near) == 4 and set(near["origin"]) <= {"cross", "disc", "ring"}
    # Of all classes but the target's own, which needs no way, there are starts.
    run(parsed(place, "--to", "2", "--samples", 2, "--method", "closed_form", "--out", tmp_path / "cross"))
    table = Counterfactuals.load(tmp_path / "cross").table
    assert len(table) == 4 and set(table["target"]) == {"cross"}


def test_photographs_in_a_folder_and_a_sheet(models, place, tmp_path, capsys):
    pairs = collect_pairs(*models[:2], per_class=3, psi=0.9, seed=9)
    x = models[0].render(pairs.w)
    for i, (picture, label) in enumerate(zip(x, pairs.labels.tolist(), strict=True)):
        (tmp_path / "photographs" / pairs.classes[label]).mkdir(parents=True, exist_ok=True)
        save_png(picture, tmp_path / "photographs" / pairs.classes[label] / f"{i}.png")
    asked = ["--photographs", tmp_path / "photographs", "--from", "ring", "--to", "disc", "--samples", 2]
    sheet = tmp_path / "new" / "sheet.png"
    run(parsed(place, *asked, "--sheet", sheet, "--out", tmp_path / "result", "--method", "closed_form"))
    printed = capsys.readouterr().out
    result = Counterfactuals.load(tmp_path / "result")
    assert result.images.shape == (2, 1, 16, 16)
    starts = result.table.drop_duplicates("start")
    kept = (starts["cycled"] == starts["origin"]).sum()
    assert f"{kept} of 2 keep their class there" in printed and "cycled pictures" in printed
    with Image.open(sheet) as picture:
        assert picture.width > 400 and np.asarray(picture.convert("L")).std() > 10
    assert [path.name for path in sheet.parent.iterdir()] == ["sheet.png"]


def test_a_seed_of_the_links_own_pairs_is_told(place, capsys):
    asked = ["--from", "ring", "--to", "disc", "--samples", 1, "--method", "closed_form", "--seed"]
    run(parsed(place, *asked, 1))
    assert "fitted to pairs of this seed" in capsys.readouterr().out
    run(parsed(place, *asked, 2))
    assert "fitted to pairs of this seed" not in capsys.readouterr().out


def test_failures_are_shown_with_their_reason(models):
    starts = collect_pairs(*models[:2], ["disc"], 2, psi=0.9, seed=5)
    result = find_counterfactuals(*models, starts, target="ring", method="closed_form", margin=1e6)
    assert not result.table["success"].any()
    printed = counterfactual_text(result)
    assert "0 of 2 counterfactuals found" in printed
    assert all(reason in printed for reason in result.table["reason"]) and "yes" not in printed


@pytest.mark.parametrize(
    "more, message",
    [
        (["--to", "rnig"], "no class 'rnig'.*Did you mean 'ring'"),
        (["--from", "dics"], "no class 'dics'.*Did you mean 'disc'"),
        (["--from", "ring", "--to", "1"], "--from and --to are both 'ring'"),
        (["--to", "7"], "no class 7: it has 3"),
        (["--sheet", "sheet.jpg"], "--sheet is 'sheet.jpg'; a file ending in .png"),
        (["--samples", "0"], "--samples is 0"),
        (["--photographs", "nowhere"], "nowhere"),
        (["--photographs", "fashion"], "other classes"),
        (["--margin", "-1"], "--margin is -1"),
        (["--margin", "nan"], "--margin"),
    ],
)
def test_what_is_wrong_is_said(place, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LisError, match=message):
        run(parsed(place, *more))
    assert cli.main(["counterfactual", *arguments(place, *more)]) == 2
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("lis counterfactual: ") and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_holds_something_else_is_refused_before_the_search(place, tmp_path, monkeypatch, kind):
    other = tmp_path / "mine"
    other.write_text("mine") if kind == "file" else (other.mkdir(), (other / "notes.txt").write_text("mine"))
    monkeypatch.setattr("lis_toolkit.pairs.collect_pairs", lambda *_, **__: pytest.fail("nothing is drawn"))
    with pytest.raises(LisError, match=r"mine: (it is a file|the folder holds something else)"):
        run(parsed(place, "--samples", 1, "--out", other))
    assert [path.name for path in tmp_path.rglob("*")] == (
        ["mine"] if kind == "file" else ["mine", "notes.txt"]
    )


def test_a_sheet_shows_rows_that_were_searched(models, place, tmp_path, monkeypatch):
    starts = collect_pairs(*models[:2], ["disc"], 3, psi=0.9, seed=5)
    result = find_counterfactuals(*models, starts, target="ring", method="closed_form", margin=0.25)
    table = result.table.copy()
    table.loc[0, ["cycled", "success", "reason"]] = ["ring", False, "start is target"]
    drawn = []

    class Figure:
        def savefig(self, path):
            path.write_bytes(b"png")

    def sheet(result, *models, rows, judge):
        drawn.append(list(rows))
        return Figure()

    monkeypatch.setattr("lis_toolkit.counterfactuals.sheets.counterfactual_sheet", sheet)
    for known in (table, table.assign(cycled="ring")):  # where nothing was searched, what there is
        monkeypatch.setattr(
            "lis_toolkit.counterfactuals.find.find_counterfactuals",
            lambda *_, known=known, **__: replace(result, table=known),
        )
        run(parsed(place, "--rows", 2, "--sheet", tmp_path / "sheet.png"))
    assert drawn == [[1, 2], [0, 1]]


def test_a_link_of_other_models_or_without_statistics(models, place, tmp_path):
    pairs = collect_pairs(*models[:2], per_class=10, psi=0.9, seed=2)
    fit_link((pairs.r, pairs.w), penalty=0.1).save(tmp_path / "bare.safetensors")
    assert Link.load(tmp_path / "bare.safetensors").statistics is None
    with pytest.raises(LisError, match=r"no statistics.*lis fit"):
        run(parsed(place, "--link", tmp_path / "bare.safetensors"))
    with pytest.raises(LisError, match="does not belong to these models"):
        run(argparse.Namespace(**{**vars(parsed(place)), "generator": "fashion"}))


def test_an_interruption_says_what_is_kept(place, tmp_path, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lis_toolkit.counterfactuals.find.find_counterfactuals", stop)
    assert cli.main(["counterfactual", *arguments(place, "--samples", 1, "--out", tmp_path / "out")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "lis counterfactual: interrupted; what was said to be written is there, and whole; nothing else is."
    )
    assert list(tmp_path.iterdir()) == []
