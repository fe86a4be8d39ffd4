import json
import os

import numpy as np
import pytest
import torch

from lis_toolkit.activations import Activations, extract_activations
from lis_toolkit.activations import extract as extract_module
from lis_toolkit.activations import writer as writer_module
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.own_images import open_images
from test_activations import X, hooks_of, native

LAYERS = ["body.1", "body.5", "penultimate", "logits"]


@pytest.fixture(scope="module")
def classifier():
    return native()


@pytest.fixture
def interrupted(classifier, tmp_path):
    """A folder whose filling was stopped by Ctrl-C after two batches of four; gives the number of passes made."""

    def run(error=KeyboardInterrupt):
        passes = 0

        def stop(*_):
            nonlocal passes
            passes += 1
            if passes > 2:
                raise error

        handle = classifier.network.body[0].register_forward_hook(stop)
        try:
            with pytest.raises(error):
                extract_activations(classifier, X, LAYERS, out=tmp_path / "acts", batch_size=4)
        finally:
            handle.remove()
        assert not (tmp_path / "acts").exists() and hooks_of(classifier) == 0
        return tmp_path / "acts", tmp_path / ".acts.partial"

    extract_activations(classifier, X[:1], LAYERS)  # the layers are known from here on
    return run


@pytest.mark.parametrize("pool", [None, "mean", "max"])
def test_a_folder_holds_what_memory_would(classifier, tmp_path, pool):
    expected = extract_activations(classifier, X, LAYERS, pool=pool, batch_size=4)
    found = extract_activations(classifier, X, LAYERS, pool=pool, out=tmp_path / "a" / "b", batch_size=4)
    again = Activations.load(tmp_path / "a" / "b")
    for acts in (found, again):
        assert acts.layers == expected.layers and acts.pool == pool and len(acts) == 11
        assert all(torch.equal(acts[name], expected[name]) for name in LAYERS)
        assert acts.manifest["classifier"]["hash"] == classifier.hash
        assert acts.manifest["images"]["images"] == 11 and "torch" in acts.manifest["provenance"]
    plain = np.load(tmp_path / "a" / "b" / "00_body.1.npy", allow_pickle=False)  # anyone can read it
    assert np.array_equal(plain, expected["body.1"].numpy())
    assert os.listdir(tmp_path / "a") == ["b"]
    again["body.1"].zero_()  # reaches no file
    assert torch.equal(Activations.load(tmp_path / "a" / "b")["body.1"], expected["body.1"])


def test_a_complete_folder_is_taken_as_it_is(classifier, tmp_path, monkeypatch):
    (tmp_path / "acts").mkdir()  # an empty one will do
    extract_activations(classifier, X, LAYERS, out=tmp_path / "acts")
    monkeypatch.setattr(extract_module, "stream", None)  # no pass is made
    found = extract_activations(classifier, open_images(X), LAYERS, out=tmp_path / "acts", batch_size=3)
    assert len(found) == 11


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_call_goes_on(classifier, interrupted, error):
    folder, partial = interrupted(error)
    assert json.loads((partial / "progress.json").read_text()) == {"done": 8}
    rows = []
    handle = classifier.network.body[0].register_forward_hook(lambda m, a, out: rows.append(len(out)))
    try:
        found = extract_activations(classifier, X, LAYERS, out=folder, batch_size=2)
    finally:
        handle.remove()
    assert rows == [2, 1] and not partial.exists()
    expected = extract_activations(classifier, X, LAYERS)
    for name in LAYERS:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)
    Activations.load(folder)


def test_something_else_is_refused_with_the_difference(classifier, interrupted, tmp_path):
    folder, partial = interrupted()
    other = native()
    with torch.no_grad():
        other.network.head.bias.add_(1)
    for _ in range(2):  # interrupted, then complete
        for arguments, settings, message in (
            ((other, X, LAYERS), {}, "classifier .* there"),
            ((classifier, X[:9], LAYERS), {}, r"images \(11, .* there, \(9, "),
            ((classifier, X.flip(0), LAYERS), {}, "images"),
            (
                (classifier, X, LAYERS[:2]),
                {},
                r"layers \['body.1', 'body.5', 'penultimate', 'logits'\] there",
            ),
            ((classifier, X, LAYERS), {"pool": "max"}, "pool None there, max asked for"),
        ):
            with pytest.raises(LisError, match=f"holds other activations: .*{message}"):
                extract_activations(*arguments, out=folder, **settings)
        extract_activations(classifier, X, LAYERS, out=folder)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    for path in (foreign, foreign / "letter.txt"):
        with pytest.raises(LisError, match="holds other files"):
            extract_activations(classifier, X, LAYERS, out=path)
    assert (foreign / "letter.txt").read_text() == "dear"
    with pytest.raises(LisError, match="can't write"):
        extract_activations(classifier, X, LAYERS, out=foreign / "letter.txt" / "acts")


def damage(path, how):
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "flip": data[:-1] + bytes([data[-1] ^ 1])}[how])


@pytest.mark.parametrize("file", ["00_body.1.npy", "03_logits.npy", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "flip"])
def test_damage_is_noticed(classifier, tmp_path, file, how):
    folder = tmp_path / "acts"
    extract_activations(classifier, X, LAYERS, out=folder)
    damage(folder / file, how)
    with pytest.raises(CheckpointError, match="damaged|there is no|can't read"):
        Activations.load(folder)
    with pytest.raises(LisError):
        extract_activations(classifier, X, LAYERS, out=folder)


@pytest.mark.parametrize("file", ["02_penultimate.npy", "progress.json", "manifest.json"])
def test_damage_of_what_an_interruption_left(classifier, interrupted, file):
    folder, partial = interrupted()
    damage(partial / file, "cut")
    with pytest.raises(CheckpointError):
        extract_activations(classifier, X, LAYERS, out=folder)


MANIFESTS = {
    "a list": [],
    "another format": {"format": "lis-features-1"},
    "nothing else": {"format": "lis-activations-1"},
    "no layers": {"format": "lis-activations-1", "layers": [], "files": {}, "pool": None},
    "layers without names": {"format": "lis-activations-1", "layers": [{}], "files": {}, "pool": None},
    "files that are numbers": {"format": "lis-activations-1", "layers": [], "files": 3, "pool": None},
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_bad_manifests(tmp_path, case):
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFESTS[case]))
    with pytest.raises(CheckpointError, match="damaged|not of activations"):
        Activations.load(tmp_path)
    with pytest.raises(CheckpointError, match="there is no"):
        Activations.load(tmp_path / "none")


def test_an_object_array_is_never_unpickled(classifier, tmp_path):
    extract_activations(classifier, X, LAYERS, out=tmp_path / "acts")
    np.save(tmp_path / "acts" / "00_body.1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="damaged"):
        Activations.load(tmp_path / "acts", verify=False)


def test_two_at_one_folder(classifier, interrupted):
    fcntl = pytest.importorskip("fcntl")
    folder, partial = interrupted()
    with open(partial / "lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LisError, match="filled by another process"):
            extract_activations(classifier, X, LAYERS, out=folder)


def test_room_is_asked_for_before_it_starts(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "free_memory", lambda: 5000)
    with pytest.raises(LisError, match=r"GiB \(\d+ bytes\) of memory.*out=FOLDER"):
        extract_activations(classifier, X)
    monkeypatch.setattr(extract_module, "free_memory", lambda: 20000)
    with pytest.warns(ResourceWarning, match="out=FOLDER"):
        extract_activations(classifier, X)
    monkeypatch.setattr(writer_module.shutil, "disk_usage", lambda path: type("U", (), {"free": 1000}))
    with pytest.raises(LisError, match="GiB free: pool them"):
        extract_activations(classifier, X, out=tmp_path / "acts")
    monkeypatch.undo()
    assert extract_module.free_memory() is None or extract_module.free_memory() > 2**20
