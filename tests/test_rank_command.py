"""`lis rank`: its table is that of the library, files are whole, and what is wrong is said."""

import argparse

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.parts import save_segmenter
from lis_toolkit.rankings.command import add_arguments, rank_sweep, ranking_text, run, write_ranking
from lis_toolkit.selectivity import rank_units, score_selectivity
from lis_toolkit.stylegan import save_generator
from lis_toolkit.sweep import Sweep, sweep_units
from tiny_sweep import tiny_models


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a sweep and the models' files."""
    folder = tmp_path_factory.mktemp("rank")
    generator, classifier, link, segmenter = tiny_models()
    settings = dict(out=folder / "sweep", samples=6, psi=0.9, progress=False)
    sweep_units(generator, classifier, link, segmenter, **settings)
    save_generator(generator, folder / "generator.safetensors")
    save_segmenter(segmenter, folder / "segmenter.safetensors")
    link.save(folder / "link.safetensors")
    return folder


@pytest.fixture(scope="module")
def sweep(place):
    return Sweep.open(place / "sweep")


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(a) for a in arguments])


def test_the_printed_table_is_the_ranking(place, sweep, capsys):
    run(parsed(place / "sweep", "--part", "rim", "--direction", "more", "--top", 4))
    printed = capsys.readouterr().out
    scores = score_selectivity(sweep, part="rim", measure="area")
    expected = rank_units(scores, "rim", "area", direction="more")
    lines = printed.splitlines()
    assert lines[0].startswith("rim: area, disc, ring, cross, last step minus first")
    rows = [line.split() for line in lines[3:] if line.strip()[:1].isdigit()]
    assert [int(row[1]) for row in rows] == expected.unit.head(4).tolist()
    assert [row[0] for row in rows] == [str(i) for i in range(1, len(rows) + 1)]
    first = expected.iloc[0]
    assert f"{100 * first.mean_change:+.1f} %" in printed and f"{first.effect:+.2f}" in printed
    assert all("+" in row[2] for row in rows)


def test_classes_without_the_part_are_left_out_and_named(place, sweep, capsys, monkeypatch):
    shares = {"disc": 1.0, "ring": 0.4, "cross": 0.0}
    monkeypatch.setattr(
        "lis_toolkit.selectivity.score.occurrences", lambda ends, parts: dict.fromkeys(parts, shares)
    )
    run(parsed(place / "sweep", "--part", "rim"))
    printed = capsys.readouterr().out
    assert printed.startswith("rim: area, disc, last step")
    assert "Left out: ring, cross; fewer than half of the start pictures there have the part" in printed
    run(parsed(place / "sweep", "--part", "rim", "--class", "disc", "ring"))
    printed = capsys.readouterr().out
    assert printed.startswith("rim: area, disc, ring, last step") and "start pictures" not in printed


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_all_ranked_units_are_written(place, sweep, tmp_path, capsys, ending):
    target = tmp_path / f"new folder/rim.{ending}"
    run(parsed(place / "sweep", "--part", "rim", "--measure", "luminance", "--top", 1, "--out", target))
    read = pd.read_csv(target) if ending == "csv" else pd.read_parquet(target)
    ranked = rank_sweep(sweep, "rim", "luminance")
    assert read["unit"].tolist() == ranked["unit"].tolist() and len(read) > 2
    assert np.allclose(read["effect"], ranked["effect"]) and read["rank"].tolist() == list(
        range(1, len(read) + 1)
    )
    assert f"{len(ranked)} units written" in capsys.readouterr().out


def test_a_class_is_ranked_by_its_own_samples(place, sweep):
    scores = score_selectivity(sweep, part="hub", measure="area", classes=["ring"])
    ranked = rank_sweep(sweep, "hub", "area", ["ring"])
    assert (
        ranked["unit"].tolist()
        == rank_units(scores, "hub", "area", "ring").dropna(subset="effect").unit.tolist()
    )
    assert set(ranked["class"]) == {"ring"}
    assert ranking_text(ranked).startswith("hub: area, ring, ")
    two = rank_sweep(sweep, "hub", "area", ["ring", "disc"])
    assert ranking_text(two).startswith("hub: area, ring, disc, ") and two.samples.max() <= 12


def test_a_sheet_is_rendered_with_the_link(place, tmp_path, capsys):
    models = ["--link", place / "link.safetensors", "--generator", place / "generator.safetensors"]
    models += ["--segmenter", place / "segmenter.safetensors"]
    run(parsed(place / "sweep", "--part", "rim", "--sheet", tmp_path / "rim.png", "--rows", 2, *models))
    assert "sheet written to" in capsys.readouterr().out
    with Image.open(tmp_path / "rim.png") as image:
        assert image.height > 2 * 128 and image.width > 4 * 128
    with pytest.raises(LisError, match="kept no pictures.*--link FILE"):
        run(parsed(place / "sweep", "--part", "rim", "--sheet", tmp_path / "other.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["rim.png"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--part", "rimm"], "no part 'rimm'; it has .*rim, hub, spoke.*Did you mean 'rim'"),
        (
            ["--part", "rim", "--measure", "aera"],
            "no measure of rim 'aera'; it has area.*Did you mean 'area'",
        ),
        (["--part", "rim", "--class", "rnig"], "no class 'rnig'.*Did you mean 'ring'"),
        (
            ["--part", "rim", "--out", "table.xlsx"],
            r"--out is 'table.xlsx'; a file ending in .csv or .parquet",
        ),
        (["--part", "rim", "--sheet", "rim.jpg"], "--sheet is 'rim.jpg'; a file ending in .png"),
        (["--part", "rim", "--top", "0"], "--top is 0"),
    ],
)
def test_what_is_wrong_is_said_with_a_hint(place, arguments, message):
    with pytest.raises(LisError, match=message):
        run(parsed(place / "sweep", *arguments))


def test_no_unit_and_no_folder(place, sweep, tmp_path):
    with pytest.raises(LisError, match="sweeps are made by"):
        run(parsed(tmp_path / "none", "--part", "rim"))
    table = sweep.table()
    table["rim.area"] = 0.25  # nothing changes
    table["rim.code"] = np.int8(0)
    with pytest.raises(LisError, match="no unit raises the area of rim in any class"):
        rank_sweep(table, "rim", direction="more")
    with pytest.raises(LisError, match="ending in .csv or .parquet"):
        write_ranking(tmp_path / "a.txt", rank_sweep(sweep, "rim"))
