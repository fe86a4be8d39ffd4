"""`lis observe`: its tables are those of the library, files are whole, and what is wrong is said."""

import argparse
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lis_toolkit.classifiers import save_classifier
from lis_toolkit.errors import LisError
from lis_toolkit.images import save_png
from lis_toolkit.observers import (
    Observers,
    class_attributes,
    command,
    draw_pictures,
    observe_state,
    train_observers,
)
from lis_toolkit.observers.command import add_arguments, observe, run
from lis_toolkit.own_images import load_photographs
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a classifier's file and 60 pictures in sub-folders named after their classes."""
    folder = tmp_path_factory.mktemp("observe")
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    config = {"num_classes": 3, "stem": 6, "stages": ((8, 1), (10, 1))}  # what tiny_classifier is made with
    save_classifier(
        classifier, folder / "classifier.safetensors", {"architecture": "plain", "config": config}
    )
    pictures = draw_pictures(generator, None, 60, psi=(0.5, 1.0))
    for i, (image, label) in enumerate(zip(pictures.images, pictures.labels.tolist(), strict=True)):
        (folder / "pictures" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        save_png(image, folder / "pictures" / CLASSES[label] / f"{i:03}.png")
    return folder, classifier


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(a) for a in arguments])


def common(folder):
    return [
        "--classifier",
        folder / "classifier.safetensors",
        "--images",
        folder / "pictures",
        "--controls",
        1,
    ]


@pytest.fixture(scope="module")
def written(place, tmp_path_factory):
    folder, _ = place
    out = tmp_path_factory.mktemp("out") / "observed"
    run(parsed(*common(folder), "--out", out))
    return out


def test_the_tables_are_the_librarys(place, written):
    folder, classifier = place
    photographs = load_photographs(folder / "pictures", classifier)
    state = observe_state(classifier, photographs)
    expected = train_observers(state, class_attributes(photographs.labels, photographs.classes), controls=1)
    read = Observers.load(written)
    ours = read.table("class").drop(columns="depth")
    pd.testing.assert_frame_equal(ours, expected.table("class").drop(columns="depth"))
    assert read.attributes == ("class",) and read.provenance["classifier_hash"] == classifier.hash
    units = pd.read_parquet(written / "denoting.parquet")
    assert set(units["layer"]) == set(state.layers) and {"precision", "chance", "denotes"} <= set(units)
    assert len(pd.read_parquet(written / "preferred.parquet")) == sum(
        state.width(name) for name in state.layers
    )


def test_attributes_are_joined_in_the_order_asked_for(place):
    folder, classifier = place
    photographs = load_photographs(folder / "pictures", classifier)
    options = parsed(*common(folder), "--attributes", "statistics,class", "--out", "unused")
    found = command._attributes(options, photographs)
    assert found.names[-1] == "class" and {"luminance", "contrast"} <= set(found.names)
    one = photographs.subset(photographs.labels == 1)
    options = parsed(*common(folder), "--out", "unused")
    with pytest.raises(LisError, match="the images are of one class"):
        command._attributes(options, one)


def test_figures_and_summary_are_written_whole(written):
    names = {path.name for path in written.iterdir()}
    assert {"scores.png", "weights_0.png", "denoting.png", "sparse.png", "summary.txt", "by_layer.parquet",
            "sparse.parquet", "manifest.json", "units.json"} <= names  # fmt: skip
    assert not [name for name in names if name.startswith(".")]
    for path in written.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 300 and np.asarray(image.convert("L")).std() > 5
    text = (written / "summary.txt").read_text(encoding="utf-8")
    assert "class: accuracy 0." in text and "units denote one of" in text and "components) is kept by" in text


def test_a_table_of_ones_own_and_chosen_layers(place, tmp_path, capsys):
    folder, _ = place
    table = pd.DataFrame({"size": np.arange(60.0), "side": ["left", "right"] * 30})
    table.to_csv(tmp_path / "mine.csv", index=False)
    settings = ["--attributes", tmp_path / "mine.csv", "--layers", "penultimate", "--out", tmp_path / "out"]
    run(parsed(*common(folder), *settings))
    printed = capsys.readouterr().out
    assert "size: r2" in printed and "side: accuracy" in printed and "written to" in printed
    read = Observers.load(tmp_path / "out")
    assert len(read.layers) == 1 and read.layers[0].startswith("penultimate")
    run(parsed(*common(folder), *settings))  # replaces what is there


def test_observers_are_kept_where_images_are_too_few_for_single_units(place, tmp_path):
    folder, classifier = place
    photographs = load_photographs(folder / "pictures", classifier, per_class=10)
    attributes = class_attributes(photographs.labels, photographs.classes)
    text = observe(classifier, photographs.images, attributes, tmp_path / "few", controls=1)
    assert "class: accuracy 0." in text and "No denoting units: no property has 5 images that have it" in text
    assert Observers.load(tmp_path / "few").attributes == ("class",)
    names = {path.name for path in (tmp_path / "few").iterdir()}
    assert "scores.png" in names and not names & {"denoting.parquet", "denoting.png", "by_layer.parquet"}
    assert "no property has 5" in json.loads((tmp_path / "few" / "units.json").read_text())["denoting"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--attributes", "clas"], "Did you mean 'class'"),
        (["--attributes", ","], "--attributes is empty"),
        (["--attributes", "none.csv"], "can't read attributes from none.csv"),
        (["--attributes", "superclass"], "no superclasses are known"),
        (["--layers", "conv 99"], "the state has no layer 'conv 99'"),
        (["--controls", "-1"], "--controls is -1"),
        (["--images", "test"], "not of the kind that"),
        (["--images", "nowhere"], "nowhere"),
        (["--held-out", "1.5"], "held_out is 1.5"),
    ],
)
def test_what_is_wrong_is_said(place, tmp_path, arguments, message):
    folder, _ = place
    with pytest.raises(LisError, match=message):
        run(parsed(*common(folder), "--out", tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_stays(place, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(LisError, match="holds something else"):
        run(parsed(*common(place[0]), "--out", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_said_before_the_work(place, tmp_path, monkeypatch):
    monkeypatch.setattr("lis_toolkit.observers.state.observe_state", lambda *_, **__: pytest.fail("it began"))
    monkeypatch.setattr(command.Path, "mkdir", refuse)
    with pytest.raises(LisError, match="is not a writable folder"):
        run(parsed(*common(place[0]), "--out", tmp_path / "out"))


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_images_without_classes_have_statistics_and_rows_of_a_table(place, tmp_path):
    folder, _ = place
    (tmp_path / "mine").mkdir()
    files = sorted((folder / "pictures").rglob("*.png"))
    for i, path in enumerate(files):
        shutil.copy(path, tmp_path / "mine" / f"{i:03}.png")
    bright = [np.asarray(Image.open(path)).mean() / 255 for path in files]
    pd.DataFrame({"bright": bright}).to_csv(tmp_path / "mine.csv", index=False)
    mine = [*common(folder)[:2], "--images", tmp_path / "mine", "--controls", 1, "--layers", "conv 1"]
    run(parsed(*mine, "--attributes", "statistics", "--out", tmp_path / "one"))
    run(parsed(*mine, "--attributes", tmp_path / "mine.csv", "--out", tmp_path / "two"))
    one, two = Observers.load(tmp_path / "one"), Observers.load(tmp_path / "two")
    assert "luminance" in one.attributes and two.attributes == ("bright",)
    assert two.table("bright")["score"].iloc[0] > 0.5
    with pytest.raises(LisError, match="the images have no labels"):
        run(parsed(*mine, "--out", tmp_path / "three"))
    (tmp_path / "mine" / "000.png").write_bytes(b"nothing")  # its row can't be left out
    with pytest.raises(LisError, match="000.png"):
        run(parsed(*mine, "--attributes", tmp_path / "mine.csv", "--out", tmp_path / "three"))


def test_lis_knows_the_command(capsys):
    from lis_toolkit.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["observe", "--help"])
    assert stop.value.code == 0 and "--attributes" in capsys.readouterr().out
    assert main(["observe", "--attributes", "clas", "--out", "nowhere"]) == 2
    assert "Did you mean 'class'" in capsys.readouterr().err
