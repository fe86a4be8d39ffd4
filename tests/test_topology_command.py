"""`lis topology`: what it writes is the library's, and what is wrong is said before anything is written."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lis_toolkit import cli
from lis_toolkit.activations import sample_points
from lis_toolkit.images import save_png
from lis_toolkit.topology import Diagrams, layer_distances, persistence_diagrams
from tiny import tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two classifiers, a folder of their pictures with a sub-folder a class, and the folder's path."""
    generator = tiny_generator()
    models = {"one": tiny_classifier(generator, 0), "two": tiny_classifier(generator, 1)}
    labels = torch.arange(60) % 3
    x = generator.render(generator.map(generator.sample_z(60, 3), labels))
    folder = tmp_path_factory.mktemp("pictures")
    for i, (picture, label) in enumerate(zip(x, labels.tolist(), strict=True)):
        place = folder / generator.classes[label]
        place.mkdir(exist_ok=True)
        save_png(picture, place / f"{i:02}.png")
    return models, folder


@pytest.fixture(autouse=True)
def known(made, monkeypatch):
    import lis_toolkit.classifiers as package

    real = package.load_classifier
    monkeypatch.setattr(
        package, "load_classifier", lambda name, device=None: made[0].get(name) or real(name, device=device)
    )


def lis(made, out, *more):
    asked = [
        "topology",
        "--classifier",
        "one",
        "--images",
        made[1],
        "--points",
        15,
        "--repeats",
        2,
        "--out",
        out,
    ]
    return cli.main([str(a) for a in (*asked, *more)])


def test_two_models(made, tmp_path, capsys):
    out = tmp_path / "out"
    assert lis(made, out, "--other", "two") == 0
    printed = capsys.readouterr().out
    clouds = sample_points(made[0]["one"], made[1])
    expected = layer_distances(clouds, points=15, repeats=2)
    assert str(expected) in printed and "two models, rsa" in printed and "purity of mapper nodes" in printed
    table = pd.read_parquet(out / "distances.parquet")
    own = table[table.measure == "sliced_wasserstein"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[list(expected.table())], expected.table(), check_dtype=False)
    assert set(pd.read_parquet(out / "other.parquet").models) == {"within the other", "between"}
    diagrams = Diagrams.load(out / "diagrams" / "penultimate.safetensors")
    truth = persistence_diagrams(clouds["penultimate"], points=15, normalise=True)
    assert np.array_equal(diagrams.H1, truth.H1)
    summary = pd.read_parquet(out / "diagrams.parquet")
    assert set(summary.layer) == set(clouds) and set(summary["dim"]) == {0, 1}
    told = json.loads((out / "manifest.json").read_text())
    assert told["provenance"]["other_hash"] == made[0]["two"].hash and told["settings"]["points"] == 15
    assert {p.name for p in out.glob("*.png")} >= {"diagrams.png", "distances.png", "other.png", "purity.png"}
    for path in out.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width > 300 and np.asarray(picture.convert("L")).std() > 5, path
    assert len(json.loads((out / "mapper.json").read_text())) > 0


def test_one_model_without_classes_and_some_layers(made, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in made[1].rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    asked = ["topology", "--classifier", "one", "--images", flat, "--layers", "body.3", "penultimate"]
    assert (
        cli.main([str(a) for a in (*asked, "--points", 15, "--repeats", 1, "--out", tmp_path / "out")]) == 0
    )
    assert "no purity" in capsys.readouterr().out and not (tmp_path / "out" / "purity.parquet").exists()
    assert set(pd.read_parquet(tmp_path / "out" / "distances.parquet").layer_a) == {"body.3", "penultimate"}


def test_what_is_wrong_is_said_and_nothing_is_written(made, tmp_path, capsys):
    for more, said in ((["--points", 2], "--points"), (["--repeats", 0], "--repeats"),
                       (["--layers", "body.4x"], "body"), (["--classifier", "nobody"], "nobody"),
                       (["--images", tmp_path / "none"], "none")):  # fmt: skip
        assert lis(made, tmp_path / "out", *more) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    asked = ["topology", "--classifier", "one", "--out", str(tmp_path / "out")]
    assert cli.main(asked) == 2 and "--images" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["ripser", "kmapper"])
def test_a_missing_package_is_said_before_images_are_read(made, tmp_path, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("lis_toolkit.activations.sample_points", lambda *_, **__: pytest.fail("it began"))
    assert lis(made, tmp_path / "out") == 2
    assert 'pip install "lis-toolkit[topology]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
