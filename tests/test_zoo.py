"""The registry, and what happens between a name and a verified file, against a server on loopback."""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_server import CONTENT, BadServer, answer, status
from lis_toolkit import load_classifier, load_generator, models_table, zoo
from lis_toolkit.downloads import download, file_records, torchvision_weights
from lis_toolkit.errors import CheckpointError, LisError

BUNDLED = {
    ("fashion", "generator"): "fashion-generator.safetensors",
    ("fashion", "classifier"): "fashion-classifier.safetensors",
    ("fashion-judge", "judge"): "fashion-judge.safetensors",
    ("fashion", "segmenter"): "fashion-segmenter.safetensors",
    ("fashion-pictures", "segmenter"): "fashion-picture-segmenter.safetensors",
}
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + b"?"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server for one made-up model, `server.publish(...)`, and an empty cache folder."""
    bad = BadServer()
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIS_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(zoo, "fetch", functools.partial(download.fetch, timeout=20, attempts=2, pause=0.001))

    def publish(size=None, sha256=None, exact=True):
        url = bad.url("toy.pkl")
        entry = zoo.Entry("toy", "generator", "toy.pkl", url, size, sha256, "MIT", "made up", exact=exact)
        monkeypatch.setattr(zoo, "_ENTRIES", (entry,))
        return entry

    bad.publish = publish
    yield bad
    bad.close()


def locate(**options):
    return zoo.locate("toy", "generator", progress=False, **options)


def record(entry):
    return json.loads(Path(f"{entry.path}.json").read_text())


def test_the_bundled_models_are_listed_with_size_hash_and_licence():
    listed = {(e.name, e.kind): e for e in zoo.entries() if e.url is None}
    assert {k: e.file for k, e in listed.items()} == BUNDLED
    for entry in listed.values():
        assert entry.available, f"{entry.path} is missing"
        data = entry.path.read_bytes()
        assert (
            entry.size == len(data)
            and entry.sha256 == hashlib.sha256(data).hexdigest()
            and entry.licence == "MIT"
        )


def test_names_are_unique_within_a_kind_and_addresses_are_https():
    listed = zoo.entries(torchvision=True)
    keys = [(e.name, e.kind) for e in listed]
    assert len(set(keys)) == len(keys) and all(kind in zoo.KINDS for _, kind in keys)
    assert all(e.url is None or e.url.startswith("https://") for e in listed)
    # Not even upper and lower case may make two files one.
    assert len({(e.url is None, e.file.lower()) for e in listed}) == len(listed)
    assert all(re.fullmatch(r"[\w.-]+", e.file) and not e.file.startswith(".") for e in listed)


def test_the_published_generators_are_those_of_the_authors_list():
    published = {e.name: e for e in zoo.entries() if e.url}
    assert set(published) == {
        *(f"imagenet{size}" for size in (16, 32, 64, 128, 256, 512, 1024)),
        "cifar10",
        *(f"{data}{size}" for data in ("ffhq", "pokemon") for size in (256, 512, 1024)),
    }
    for name, entry in published.items():
        assert entry.url.endswith(f"/stylegan_xl/models/{name}.pkl") and entry.kind == "generator"
        assert entry.sha256 is None and entry.size is None and "not checked" in entry.licence
        classes = {"imagenet": "imagenet", "cifar": "cifar10"}.get(name.rstrip("0123456789"))
        assert entry.classes == classes


def test_torchvision_s_weights_are_its_own_registry():
    from torchvision import models

    listed = {e.name: e for e in zoo.entries(torchvision=True) if e.torchvision}
    architectures = models.list_models(module=models)
    assert len(architectures) >= 80 and set(architectures) <= set(listed)
    seen, ratios = set(), []
    for entry in listed.values():
        architecture, name = entry.torchvision
        weights = models.get_model_weights(architecture)[name]
        seen.add(weights)
        assert (
            entry.url == weights.url and entry.url.endswith(f"/{entry.file}") and entry.kind == "classifier"
        )
        assert re.fullmatch("[0-9a-f]{8,}", entry.sha256) and f"-{entry.sha256}." in entry.file
        assert entry.size / 2**20 == pytest.approx(weights.meta["_file_size"], abs=1e-5) and not entry.exact
        ratios.append(entry.size / (4 * weights.meta["num_params"]))
        assert len(weights.meta["categories"]) == 1000 and entry.classes == "imagenet"
        assert f"{weights.meta['num_params'] / 1e6:.1f} M parameters" in entry.description
    # In bytes: four a parameter and little else, but for two in float16 and one with more heads than it counts.
    assert (
        min(ratios) > 0.5
        and max(ratios) < 2
        and sum(0.99 < ratio < 1.02 for ratio in ratios) >= len(ratios) - 3
    )
    every = {w for a in architectures for w in models.get_model_weights(a)}
    assert {str(w) for w in every - seen} == {"VGG16_Weights.IMAGENET1K_FEATURES"}  # has no classifier


def test_a_name_of_torchvision_s_stands_for_the_default_weights():
    from torchvision.models import ResNet50_Weights

    entry = zoo.find("resnet50", "classifier")
    assert entry.url == ResNet50_Weights.DEFAULT.url and entry.torchvision == ("resnet50", "IMAGENET1K_V2")
    assert (
        zoo.find("resnet50.DEFAULT", "classifier")
        == zoo.find("resnet50.IMAGENET1K_V2", "classifier")
        == entry
    )
    first = zoo.find("resnet50.IMAGENET1K_V1", ("classifier", "judge"))
    assert first.url == ResNet50_Weights.IMAGENET1K_V1.url and first.name == "resnet50.IMAGENET1K_V1"
    assert zoo.find("resnet50", "generator") is zoo.find("resnet500", "classifier") is None
    assert zoo.find("fashion", ("classifier", "judge")).file == BUNDLED["fashion", "classifier"]


def test_neither_the_import_nor_bundled_names_nor_paths_bring_torchvision(tmp_path):
    (tmp_path / "own.safetensors").write_bytes(b"x")
    code = (
        "import sys; from lis_toolkit import zoo; zoo.entries(); zoo.locate('fashion', 'classifier');"
        "zoo.locate('own.safetensors', 'classifier'); zoo.class_names('cifar10'); print('torchvision' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_a_torchvision_that_does_not_fit_torch_is_a_message(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(LisError, match=r"torchvision can't be imported: .*Install the version"):
        torchvision_weights.imagenet_categories()
    assert zoo.locate("fashion", "classifier").is_file()


def test_locate_takes_names_and_paths(tmp_path):
    for (name, kind), file in BUNDLED.items():
        assert zoo.locate(name, kind) == zoo.MODELS_FOLDER / file
    assert zoo.locate("fashion-judge", ("classifier", "judge")).name == "fashion-judge.safetensors"
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"x")
    assert zoo.locate(own, "generator") == own and zoo.locate(str(own), "judge") == own


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("fashon", "classifier", r"no classifier 'fashon'.*Did you mean 'fashion'\? A path"),
        ("imagenet257", "generator", "Did you mean 'imagenet256'"),
        ("ResNet50", "classifier", "80 of torchvision's .*Did you mean 'resnet50'"),
        ("densnet201", ("classifier", "judge"), "Did you mean 'densenet201'"),
        ("resnet50", "generator", "no generator 'resnet50'"),
        (
            "resnet50.IMAGENET1K_V3",
            "classifier",
            r"no weights 'IMAGENET1K_V3' .*; it has IMAGENET1K_V2, IMAGENET1K_V1\. Did you mean 'IMAGENET1K_V",
        ),
        ("vgg16.IMAGENET1K_FEATURES", "classifier", "that classify; it has IMAGENET1K_V1"),
        ("fashion-judge", "generator", "no generator 'fashion-judge'"),
        ("fashion.safetensors", "classifier", "no classifier file"),
        ("/nowhere/x", "classifier", "no classifier file /nowhere/x"),
        ("/tmp", "generator", "it is a folder"),
        ("~nobody-of-this-name/x", "generator", "no generator file"),
        ("a" * 300, "generator", "no generator 'aaa"),
        ("nul\0", "generator", "no generator"),
        ("", "generator", "given by a name or a path"),
        (None, "generator", "given by a name or a path"),
        (3, "generator", "got 3"),
    ],
)
def test_locate_says_what_is_wrong(name, kind, message):
    with pytest.raises(LisError, match=message):
        zoo.locate(name, kind)


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=20), kind=st.sampled_from(["generator", "judge"]))
def test_locate_any_text_is_a_file_or_a_lis_error(name, kind):
    with contextlib.suppress(LisError):
        assert zoo.locate(name, kind).is_file()


def test_class_names_are_unique_and_in_the_order_of_the_labels():
    from torchvision.models import ResNet50_Weights

    names, categories = zoo.class_names("imagenet"), ResNet50_Weights.DEFAULT.meta["categories"]
    assert len(set(names)) == len(names) == 1000
    assert all(n == c or n == f"{c} ({i})" for i, (n, c) in enumerate(zip(names, categories, strict=True)))
    assert names[232] == "Border collie" and names[817] == "sports car"
    assert (
        zoo.class_names("cifar10")[2:5] == ("bird", "cat", "deer") and len(zoo.class_names("cifar10")) == 10
    )
    with pytest.raises(LisError, match="no class names for 'imagnet'.*Did you mean 'imagenet'"):
        zoo.class_names("imagnet")


def test_a_name_is_downloaded_once_and_works_offline_afterwards(server, capsys):
    entry = server.publish(len(CONTENT), SHA256)
    assert not entry.available and zoo.entries() == [entry]
    assert locate() == entry.path and entry.path.read_bytes() == CONTENT
    assert record(entry)["sha256"] == SHA256 and "published" in record(entry)["note"]
    assert capsys.readouterr().err == ""  # it was told to be silent, and the hash is known
    server.close()
    assert locate() == locate(verify=True) == zoo.download("toy") == entry.path
    assert len(server.requests) == 1 and capsys.readouterr().err == ""


def test_the_download_says_what_comes_from_where(server, capsys):
    entry = server.publish(len(CONTENT), SHA256)
    zoo.locate("toy", "generator")
    said = capsys.readouterr().err
    assert f"toy: downloading 1.3 MB from {entry.url} to {entry.path.parent} (licence: MIT)" in said
    assert "100%" in said


def test_an_unknown_hash_is_recorded_at_first_use_and_said_once(server, capsys):
    entry = server.publish()
    locate()
    said = capsys.readouterr().err
    assert "no sha256 is published" in said and SHA256 in said and f"{entry.path}.json" in said
    kept = record(entry)
    assert kept["sha256"] == SHA256 and kept["size"] == len(CONTENT) and kept["url"] == entry.url
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", kept["date"])
    assert kept["note"] == "downloaded; recorded at first use, not checked against the publisher"
    (listed,) = zoo.entries()
    assert listed.sha256 == SHA256 and listed.size == len(CONTENT) and listed.note == kept["note"]
    locate()
    locate(verify=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("known", [SHA256, SHA256[:8], None])
def test_a_file_that_was_altered_is_refused(server, known):
    entry = server.publish(sha256=known)
    locate()
    before = entry.path.stat()
    for altered, now in (
        (OTHER, hashlib.sha256(OTHER).hexdigest()),
        (CONTENT[:-1], f"{len(CONTENT) - 1} bytes"),
    ):
        entry.path.write_bytes(altered)
        os.utime(entry.path, ns=(before.st_atime_ns, before.st_mtime_ns))  # even one that hides it
        for verify in (False, True):
            with pytest.raises(CheckpointError, match="was altered") as caught:
                locate(verify=verify)
            assert SHA256 in str(
                caught.value
            ) and f"now it has {'' if 'bytes' in now else 'sha256 '}{now}" in str(caught.value)
            assert "It is not loaded. Delete it and it is downloaded again" in str(caught.value)
    entry.path.write_bytes(CONTENT)  # put back: touched, but the same
    assert locate() == entry.path
    entry.path.unlink()
    assert locate().read_bytes() == CONTENT and len(server.requests) == 2


def test_an_untouched_file_is_hashed_on_demand_only(server, monkeypatch):
    entry = server.publish()
    locate()
    hashed, real = [], file_records.sha256_file
    monkeypatch.setattr(file_records, "sha256_file", lambda path: hashed.append(path) or real(path))
    locate()
    zoo.entries()
    assert hashed == []
    locate(verify=True)
    assert len(hashed) == 1
    os.utime(entry.path)
    locate()
    locate()
    assert len(hashed) == 2  # touched: once more, and its new times are remembered


def test_the_publisher_s_new_file_is_not_taken_for_the_old_one(server):
    entry = server.publish()
    locate()
    entry.path.unlink()
    server.script = [answer(OTHER)]
    with pytest.raises(
        CheckpointError, match=f"{SHA256} was expected.*first use.*delete {entry.path}.json if you"
    ):
        locate()
    assert not entry.path.exists()
    Path(f"{entry.path}.json").unlink()
    assert locate().read_bytes() == OTHER and record(entry)["sha256"] == hashlib.sha256(OTHER).hexdigest()


def test_the_same_file_again_keeps_its_record(server):
    entry = server.publish()
    locate()
    date = record(entry)["date"]
    entry.path.unlink()
    assert locate().read_bytes() == CONTENT and record(entry)["date"] == date


@pytest.mark.parametrize(
    ("content", "known", "message"),
    [
        (b"<html>no</html>", {}, "is a web page, not a model"),
        (b"", {}, "is empty"),
        (OTHER, {"sha256": SHA256}, f"has sha256 .*; {SHA256} was expected"),
        (OTHER, {"sha256": SHA256[:8]}, f"one that begins with {SHA256[:8]} was expected"),
        (CONTENT[:-1], {"size": len(CONTENT)}, "has 1279999 bytes; 1280000 were expected"),
    ],
)
def test_a_file_placed_by_hand_is_verified_at_its_first_use(server, content, known, message):
    entry = server.publish(**known)
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(content)
    assert zoo.entries()[0].note == "not used yet, so not verified"
    with pytest.raises(CheckpointError, match=message) as caught:
        locate()
    assert "It is not loaded" in str(caught.value) and entry.path.exists()  # it is the user's own
    entry.path.write_bytes(CONTENT)
    assert locate() == entry.path and record(entry)["note"].startswith("found in the cache folder")
    assert server.requests == []


def test_a_rounded_size_is_not_held_against_a_file(server):
    server.publish(size=len(CONTENT) + 400, sha256=SHA256[:8], exact=False)
    assert locate().read_bytes() == CONTENT


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"sha256": 1}', '{"sha256": "x", "size": 1, "url": "", '
                         '"date": "", "note": "", "stamp": []}'])  # fmt: skip
def test_a_damaged_record_is_not_overlooked(server, damage):
    entry = server.publish()
    locate()
    Path(f"{entry.path}.json").write_text(damage)
    with pytest.raises(CheckpointError, match="can't be read: .*Delete both"):
        locate()
    assert zoo.entries()[0].note == "its record can't be read"


def test_a_record_that_the_registry_has_outrun(server):
    server.publish()
    locate()
    server.publish(sha256="0" * 64)
    with pytest.raises(CheckpointError, match=f"has sha256 {SHA256}; {'0' * 64} is published"):
        locate()


def test_a_cache_that_cannot_be_written_does_without_records(server, monkeypatch, capsys):
    entry = server.publish()
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(CONTENT)

    def no(*arguments):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no)
        assert locate() == entry.path
    assert "could not be recorded in" in capsys.readouterr().err and not Path(f"{entry.path}.json").exists()


def test_offline_means_no_request(server, monkeypatch):
    entry = server.publish(len(CONTENT), SHA256)
    for value in ("1", "true", "yes"):
        monkeypatch.setenv("LIS_OFFLINE", value)
        for ask in (locate, lambda: zoo.download("toy", progress=False)):
            with pytest.raises(LisError, match="nothing is downloaded while LIS_OFFLINE is set") as caught:
                ask()
            assert f"get {entry.url}" in str(caught.value)
            assert f"save it (1,280,000 bytes, sha256 {SHA256}) as {entry.path}." in str(caught.value)
    assert server.requests == []
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(CONTENT)
    assert locate() == entry.path
    entry.path.unlink()
    monkeypatch.setenv("LIS_OFFLINE", "0")
    assert locate() == entry.path and len(server.requests) == 1


def test_the_cache_folder_can_be_moved(server, tmp_path, monkeypatch):
    entry = server.publish(sha256=SHA256)
    first = locate()
    os.rename(tmp_path / "cache", tmp_path / "elsewhere")
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "elsewhere"))
    assert locate() == entry.path != first and locate().read_bytes() == CONTENT
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "known", "message"),
    [
        ([answer(cut=640_000, etag=None)], {}, "640000 bytes; 1280000 were expected"),
        ([answer()], {"size": 5}, "1280000 bytes; 5 were expected"),
        ([answer()], {"sha256": "0" * 64}, "was expected. It was not kept"),
        ([answer(b"<html></html>")], {}, "is a web page"),
        ([status(404)], {}, "404"),
    ],
)
def test_a_bad_download_leaves_nothing(server, script, known, message):
    entry = server.publish(**known)
    server.script = script
    with pytest.raises(LisError, match=message) as caught:
        zoo.download("toy", progress=False)
    assert isinstance(caught.value, CheckpointError) == ("404" not in message)
    assert f"as {entry.path}." in str(caught.value) and not list(entry.path.parent.iterdir())


def test_a_cache_folder_that_cannot_be_made(server, tmp_path, monkeypatch):
    server.publish()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(LisError, match="can't write"):
        locate()


def test_download_knows_only_what_can_be_downloaded():
    for name in ("fashion", "imagnet256", "", None, 3):
        with pytest.raises(LisError, match="can't be downloaded; the zoo has 'imagenet16'.*torchvision's"):
            zoo.download(name)


def test_cache_folder(monkeypatch):
    monkeypatch.delenv("LIS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(zoo.cache_folder()) == "/x/lis_toolkit"
    monkeypatch.setenv("LIS_CACHE", "/y")
    assert str(zoo.cache_folder()) == "/y"
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LIS_CACHE", "~/models")
    assert str(zoo.cache_folder()) == "/home/me/models"


def test_the_table_groups_torchvision_unless_all_is_asked():
    short, full = (
        models_table.describe_models().splitlines(),
        models_table.describe_models(all=True).splitlines(),
    )
    few, every = zoo.entries(), zoo.entries(torchvision=True)
    assert short[: len(few) + 1][0].split() == [
        "name",
        "kind",
        "from",
        "size",
        "licence",
        "sha256",
        "description",
    ]
    assert len(full) == len(every) + 1 and len(short) < 50 and all(len(line) < 200 for line in short)
    for entry, line in zip(every, full[1:], strict=True):
        assert line.startswith(f"{entry.name} ") and entry.licence in line and entry.description in line
        assert ("bundled" in line) == (entry.url is None)
    listed = re.findall(r"[a-z]\w*", " ".join(short[len(few) + 3 :]))
    assert listed == sorted({e.torchvision[0] for e in every if e.torchvision})


def test_the_table_says_what_a_downloaded_hash_was_compared_with(server):
    server.publish()
    locate()
    line = models_table.describe_models().splitlines()[1]
    assert (
        "downloaded" in line and SHA256[:12] in line and line.endswith("not checked against the publisher]")
    )


def test_models_are_loaded_by_name_from_the_server_and_then_without_it(server, monkeypatch):
    import torch
    from torchvision import models

    path = zoo.MODELS_FOLDER / BUNDLED["fashion", "generator"]
    bundled = path.read_bytes()
    torch.manual_seed(0)
    network = models.get_model("squeezenet1_1").eval()
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    server.publish(len(bundled), hashlib.sha256(bundled).hexdigest())
    entry = torchvision_weights.find_weights("squeezenet1_1")
    digits = hashlib.sha256(weights.getvalue()).hexdigest()[:8]
    ours = replace(entry, url=server.url(f"squeezenet1_1-{digits}.pth"), sha256=digits)
    registry = {"squeezenet1_1": {ours.weights: ours}}
    monkeypatch.setattr(torchvision_weights, "_registry", lambda: registry)
    server.script = [answer(bundled, cut=len(bundled) // 2), answer(bundled), answer(weights.getvalue())]
    x = torch.rand(1, 3, 224, 224)
    for _ in range(2):
        named, own = load_generator("toy", progress=False).state_dict(), load_generator(path).state_dict()
        assert named and all(torch.equal(named[key], value) for key, value in own.items())
        classifier = load_classifier("squeezenet1_1", progress=False)
        assert torch.allclose(classifier.logits(x), network(classifier.preprocess(x)), atol=1e-5)
        assert classifier.classes == zoo.class_names("imagenet")
        assert len(server.requests) == 3
        monkeypatch.setenv("LIS_OFFLINE", "1")
