"""`lis explain`: what it prints is the library's, its files are whole, and what is wrong is said."""

import argparse
import importlib
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit import cli
from lis_toolkit.images import save_png
from lis_toolkit.saliency import explain_images, load_explanations
from lis_toolkit.saliency.command import add_arguments, explanation_text, picture_for, run
from tiny_saliency import small_classifier, small_images


@pytest.fixture(autouse=True)
def small_is_known(monkeypatch):
    """Let the name "small" load a small classifier, which no file holds."""
    module = importlib.import_module("lis_toolkit.classifiers")
    real = module.load_classifier

    def load(name, device=None):
        return small_classifier() if name == "small" else real(name, device=device)

    monkeypatch.setattr(module, "load_classifier", load)


@pytest.fixture
def picture(tmp_path):
    save_png(small_images(1)[0], tmp_path / "in.png")
    return tmp_path / "in.png"


def parsed(*told):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(a) for a in told])


def test_the_table_and_the_files_are_those_of_the_library(picture, tmp_path, capsys):
    out = tmp_path / "new" / "explanation.png"
    told = [
        "--classifier",
        "small",
        "--class",
        "ring",
        "--method",
        "pca",
        "--out",
        out,
        "--save",
        tmp_path / "s",
    ]
    run(parsed(picture, *told))
    printed = capsys.readouterr().out
    x, note = picture_for(str(picture), small_classifier())
    assert note == "" and torch.allclose(x, small_images(1)[0], atol=1 / 500)
    expected = explain_images(small_classifier(), x[None], "ring", method="pca")[0]
    assert explanation_text(expected) in printed and f"figure written to {out}" in printed
    assert [path.name for path in out.parent.iterdir()] == ["explanation.png"]
    with Image.open(out) as drawn:
        assert drawn.width > 600 and np.asarray(drawn.convert("L")).std() > 10
    again = load_explanations(tmp_path / "s")[0]
    assert again.target == 1 and torch.equal(again.layers[1].merged(), expected.layers[1].merged())
    for part in expected.layers:
        line = next(line for line in printed.splitlines() if line.startswith(part.layer.title))
        cells = line.removeprefix(part.layer.title).split()
        counts = [len(part.weights), len(part.kept), part.k, len(part.clusters)]
        assert cells[:5] == [*map(str, counts), f"{part.accounted:.0%}"]


def test_the_figure_says_what_made_it(picture, tmp_path, capsys):
    run(parsed(picture, "--classifier", "small", "--method", "pca", "--out", tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as figure:
        told = json.loads(figure.text["Description"])
    assert told["image"] == str(picture) and told["method"] == "pca"
    assert told["classifier_hash"] == small_classifier().hash and told["torch"] == torch.__version__


def test_a_class_that_is_not_seen_is_said(picture, tmp_path, capsys):
    seen = explain_images(
        small_classifier(), picture_for(str(picture), small_classifier())[0][None], method="pca"
    )[0]
    other = (seen.predicted + 1) % 3
    told = ["--classifier", "small", "--method", "pca", "--out", tmp_path / "e.png"]
    run(parsed(picture, *told, "--class", other))
    assert f"sees {seen.classes[seen.predicted]}, not {seen.classes[other]}" in capsys.readouterr().out
    run(parsed(picture, *told))
    assert "The classifier sees" not in capsys.readouterr().out


def test_units_and_layers(picture, tmp_path, capsys):
    told = ["--classifier", "small", "--method", "pca", "--out", tmp_path / "e.png"]
    run(parsed(picture, *told, "--unit", "4", "--layers", "body.3", "penultimate"))
    printed = capsys.readouterr().out
    assert printed.startswith("unit 4 (activation") and "conv 2" in printed and "conv 3" not in printed
    assert "Left out" in printed


def test_pictures_of_other_sizes_and_colours(tmp_path):
    colour = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
    save_png(colour, tmp_path / "colour.png")
    x, note = picture_for(str(tmp_path / "colour.png"), small_classifier())
    assert x.shape == (1, 12, 12) and note == "turned to grey; brought from 40 x 60 to 12 x 12 pixels"
    x, note = picture_for("sample:17", small_classifier(size=32))
    assert x.shape == (1, 32, 32) and "class 'Coat'" in note
    wide = small_classifier()
    wide.channels, wide.size = 3, None
    x, note = picture_for(str(tmp_path / "colour.png"), wide)
    assert x.shape == (3, 40, 60) and note == ""


@pytest.mark.parametrize(
    "told, message",
    [
        (["nowhere.png"], "can't read nowhere.png: there is no such file.*sample:0"),
        (["sample:1000"], "no photograph 'sample:1000'"),
        (["sample:x"], "no photograph 'sample:x'"),
        (["sample:1", "--class", "Cota"], "no class 'Cota'.*Did you mean 'Coat'"),
        (["sample:1", "--class", "12"], "no class 12"),
        (["sample:1", "--unit", "256"], "unit is 256"),
        (["sample:1", "--unit", "x"], "unit is 'x'"),
        (["sample:1", "--unit", "2", "--class", "Coat"], "a class .* and a unit"),
        (["sample:1", "--layers", "body.33"], "no layer 'body.33'"),
        (["sample:1", "--seed", "-1"], "--seed is -1"),
    ],
)
def test_what_is_wrong_is_one_clear_message(tmp_path, capsys, told, message):
    out = tmp_path / "e.png"
    assert cli.main(["explain", *told, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lis explain: ") and len(error.splitlines()) == 1
    assert re.search(message, error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_told_before_the_work(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("keep")
    told = ["explain", "sample:1", "--out", str(tmp_path / "e.png"), "--save", str(tmp_path / "mine")]
    assert cli.main(told) == 2
    said = capsys.readouterr()
    assert "holds something else" in said.err and not said.out and not (tmp_path / "e.png").exists()


def test_figures_are_png(capsys):
    assert cli.main(["explain", "sample:1", "--out", "e.jpg"]) == 2
    assert "ending in .png" in capsys.readouterr().err


def test_broken_pictures(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but no more")
    assert cli.main(["explain", str(tmp_path / "broken.png"), "--out", str(tmp_path / "e.png")]) == 2
    assert "can't read" in capsys.readouterr().err and not (tmp_path / "e.png").exists()
