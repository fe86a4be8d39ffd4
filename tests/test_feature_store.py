"""Features of own images in a folder: against a plain loop, killed at every step, refused, damaged, out of space."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from lis_toolkit.classifiers import Classifier, load_classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.own_images import extraction
from lis_toolkit.own_images import writer as feature_writer
from lis_toolkit.own_images.extraction import SkippedImages, extract_to_folder, features_command
from lis_toolkit.own_images.store import COLUMNS, FeatureStore

RNG = np.random.default_rng(0)
OWN = ["images.parquet", "logits.npy", "manifest.json", "r.npy"]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


def network(channels=3, classes=4):
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(channels, 6, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
    ]
    return nn.Sequential(*layers, nn.Linear(6, classes)).eval()


def fixed_classifier(channels=3, size=(8, 8)):
    return Classifier(network(channels), "abcd", channels=channels, size=size, mean=MEAN[:channels], std=STD[:channels],
                      name="toy")  # fmt: skip


class Shrink(nn.Module):
    """A preprocessing of images of any size."""

    def __init__(self, side=12):
        super().__init__()
        self.side = side

    def forward(self, x):
        x = nn.functional.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        return (x - 0.5) / 0.25

    def extra_repr(self):
        return f"{self.side}"


def any_size_classifier(**options):
    return Classifier(network(), "abcd", preprocess=Shrink(), name="any size", **options)


def slow(classifier, images):
    """One image [C, H, W] at a time through the modules themselves; None gives NaN."""
    body, head = classifier.network[:4], classifier.network[5]
    rows = []
    for x in images:
        if x is None:
            rows.append((torch.full((6,), math.nan), torch.full((4,), math.nan)))
            continue
        if classifier.size is None:
            x = Shrink()(x[None])
        else:
            x = torch.stack([(c - MEAN[i]) / STD[i] for i, c in enumerate(x)])[None]
        r = body(x)[0]
        rows.append((r, head.weight @ r + head.bias))
    return torch.stack([r for r, _ in rows]).detach(), torch.stack([y for _, y in rows]).detach()


def check(store, classifier, images):
    """Compare a store with the plain loop: arrays, table and features()."""
    r, logits = slow(classifier, images)
    ok = np.array([x is not None for x in images])
    torch.testing.assert_close(torch.tensor(store.r), r, atol=1e-5, rtol=1e-5, equal_nan=True)
    torch.testing.assert_close(torch.tensor(store.logits), logits, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert store.r.dtype == store.logits.dtype == np.float32
    table = store.table
    assert list(table.columns) == list(COLUMNS) and table.row.tolist() == list(range(len(images)))
    assert (table.status == "ok").tolist() == ok.tolist() == store.readable.tolist()
    assert store.rows.tolist() == np.flatnonzero(ok).tolist() and len(store.skipped) == (~ok).sum()
    assert table.prediction[ok].tolist() == logits[ok].argmax(1).tolist()
    assert table.predicted_class[ok].tolist() == [classifier.classes[k] for k in logits[ok].argmax(1)]
    np.testing.assert_allclose(table.top_logit[ok], logits[ok].amax(1), atol=1e-5)
    np.testing.assert_allclose(table.probability[ok], logits[ok].softmax(1).amax(1), atol=1e-5)
    assert (
        table[~ok].prediction.isna().all()
        and (table[~ok].reason != "").all()
        and (table[ok].reason == "").all()
    )
    features = store.features()
    torch.testing.assert_close(features.r, r[ok], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.logits, logits[ok], atol=1e-5, rtol=1e-5)


def content(folder):
    """Everything that must not depend on how often a run was disturbed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in ("provenance", "resumed"):
        manifest.pop(key, None)
    table = pd.read_parquet(folder / "images.parquet")
    return {n: (folder / n).read_bytes() for n in ("r.npy", "logits.npy")}, table.to_json(), manifest


def photos(folder, sizes, mode="RGB"):
    paths = []
    for i, (height, width) in enumerate(sizes):
        folder.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.png")
        paths.append(folder / f"{i}.png")
    return paths


def as_tensor(path, mode="RGB"):
    pixels = np.array(Image.open(path).convert(mode), dtype=np.float32) / 255
    return torch.from_numpy(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


# -------------------------------------------------------------------------------------------------------- extraction


def test_every_kind_of_source(tmp_path):
    paths = photos(tmp_path / "in", [(8, 8)] * 7)
    x = torch.stack([as_tensor(p) for p in paths])
    pixels = np.stack([np.array(Image.open(p)) for p in paths])
    np.save(tmp_path / "x.npy", pixels)
    sources = {
        "folder": tmp_path / "in", "files": paths, "iterator": iter(paths), "array": pixels, "npy": tmp_path / "x.npy",
        "tensor": x, "PIL": [Image.open(p) for p in paths], "dataset": Items(list(x)),
        "photographs": Photographs(x, torch.arange(7) % 2, ("even", "odd")), "table": pd.DataFrame({"file": paths}),
    }  # fmt: skip
    classifier = fixed_classifier()
    for kind, source in sources.items():
        store = extract_to_folder(classifier, source, tmp_path / "out" / kind, batch_size=3, progress=False)
        check(store, classifier, list(x))
        assert sorted(os.listdir(store.folder)) == OWN and len(store) == 7, kind
    assert store.table.file.tolist() == [str(p) for p in paths]
    assert FeatureStore.open(tmp_path / "out" / "photographs").table.label.tolist()[:2] == ["even", "odd"]


def test_labels_as_class_indices(tmp_path):
    x = torch.rand(7, 3, 8, 8)
    numbers = extract_to_folder(
        fixed_classifier(), x, tmp_path / "n", labels=[3, None] * 3 + [1], progress=False
    )
    assert numbers.table.label.dtype == "Int64" and numbers.table.label.dropna().tolist() == [3, 3, 3, 1]
    assert numbers.label_indices([0, 2, 6]).tolist() == [3, 3, 1]
    with pytest.raises(LisError, match="3 images have no label, such as image 1"):
        numbers.label_indices()
    x[2] = math.nan
    with pytest.warns(SkippedImages, match="image 2: it has NaN"):
        named = extract_to_folder(
            fixed_classifier(), x, tmp_path / "t", labels=list("abcdabz"), progress=False
        )
    known = named.readable & (named.table.label != "z")
    assert named.label_indices(known).tolist() == [0, 1, 3, 0, 1] and len(named.features(known)) == 5
    with pytest.raises(LisError, match="toy has no class 'z'"):
        named.label_indices()
    with pytest.raises(LisError, match="the classifier is a Sequential; a Classifier was expected"):
        extract_to_folder(network(), x, tmp_path / "m")


def test_images_of_any_size_with_threads_and_damaged_ones_among_them(tmp_path):
    sizes = [(20, 30), (12, 12), (40, 17), (5, 64), (13, 13), (30, 20), (9, 9)]
    paths = photos(tmp_path / "in" / "cats", sizes)
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    (tmp_path / "in" / "notes.txt").touch()
    images = [None if i == 2 else as_tensor(p) for i, p in enumerate(paths)]
    classifier = any_size_classifier()
    stores = []
    for workers in (0, 1, 3):
        with pytest.warns(SkippedImages, match="6 of 7 images.*\nskipped: 1\n  cats/2.png: ") as caught:
            stores.append(
                extract_to_folder(classifier, tmp_path / "in", tmp_path / f"{workers}", batch_size=2, workers=workers,
                                  progress=False)
            )  # fmt: skip
        assert caught[0].filename == __file__
        check(stores[-1], classifier, images)
    assert content(stores[0].folder) == content(stores[1].folder) == content(stores[2].folder)
    store = stores[0]
    assert store.table.label.tolist() == ["cats"] * 7 and "other files left out: 1" in store.summary()
    known = store.table[store.readable]
    assert list(zip(known.height, known.width, strict=True)) == [s for i, s in enumerate(sizes) if i != 2]
    with pytest.raises(LisError, match="1 of 2 rows have no features.*cats/2.png"):
        store.features([1, 2])
    assert torch.equal(store.features([3, 1]).r, torch.tensor(store.r[[3, 1]]))
    assert len(store.features(store.readable & (store.table.label == "cats"))) == 6
    assert len(store.features([])) == 0
    for rows, message in (
        ([7], "0 to 6"),
        ([-1], "0 to 6"),
        ([0.5], "whole numbers"),
        ([True], r"\[7\] was expected"),
    ):
        with pytest.raises(LisError, match=message):
            store.features(rows)
    for array in (store.r, store.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_results_do_not_depend_on_the_batch_size(tmp_path, batch_size):
    x = torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    store = extract_to_folder(fixed_classifier(), x, tmp_path, batch_size=batch_size, progress=False)
    check(store, fixed_classifier(), list(x))


def test_grey_and_colour_are_brought_to_the_classifiers_channels(tmp_path):
    paths = photos(tmp_path / "rgb", [(8, 8)] * 3) + photos(tmp_path / "grey", [(8, 8)] * 2, "L")
    colour = [as_tensor(p) for p in paths]
    check(
        extract_to_folder(fixed_classifier(), paths, tmp_path / "a", progress=False),
        fixed_classifier(),
        colour,
    )
    grey = [(x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True) for x in colour]
    check(
        extract_to_folder(fixed_classifier(1), paths, tmp_path / "b", progress=False),
        fixed_classifier(1),
        grey,
    )


def slow_resize(x, size):
    """A pixel is the mean of its neighbours weighted by a tent as wide as the reduction, rows then columns."""
    scale = max(size[0] / x.shape[1], size[1] / x.shape[2])
    for axis, side in ((1, size[0]), (2, size[1])):
        old = x.shape[axis]
        new = max(side, round(old * scale))
        ratio = old / new
        centres = (torch.arange(new) + 0.5) * ratio
        weight = (1 - ((torch.arange(old) + 0.5)[None] - centres[:, None]).abs() / max(ratio, 1)).clamp(min=0)
        weight = weight / weight.sum(1, keepdim=True)  # [new, old]
        x = torch.tensordot(x, weight, dims=([axis], [1])).movedim(-1, axis)
        x = x.narrow(axis, (new - side) // 2, side)
    return x


def test_a_classifier_of_one_size_skips_others_or_resizes(tmp_path):
    paths = photos(tmp_path / "in", [(8, 8), (16, 24), (5, 9), (8, 9)])
    images = [as_tensor(p) for p in paths]
    classifier = fixed_classifier()
    with pytest.warns(SkippedImages, match="24 x 16 pixels, toy takes 8 x 8"):
        store = extract_to_folder(classifier, tmp_path / "in", tmp_path / "a", progress=False)
    check(store, classifier, [images[0], None, None, None])
    assert store.table.width.tolist() == [8, 24, 9, 9]
    store = extract_to_folder(classifier, tmp_path / "in", tmp_path / "b", resize=True, progress=False)
    check(store, classifier, [slow_resize(x, (8, 8)) for x in images])
    assert repr(store) == f"FeatureStore(4 of 4 images have features (6 units of toy) in {tmp_path / 'b'})"


def test_a_line_of_pixels_does_not_fill_the_memory(tmp_path):
    paths = photos(tmp_path / "in", [(8, 8), (1, 5000), (1, 100)])
    for classifier, options in ((fixed_classifier(), {"resize": True}), (any_size_classifier(), {})):
        with pytest.warns(SkippedImages, match="1.png: 5000 x 1 pixels, too elongated"):
            store = extract_to_folder(
                classifier, paths, tmp_path / classifier.name, progress=False, **options
            )
        assert store.readable.tolist() == [True, False, True]


def test_no_image_at_all_is_an_error_that_leaves_nothing(tmp_path):
    photos(tmp_path / "in", [(8, 9)] * 5)
    with pytest.raises(
        LisError, match=r"none of the 5 images.*0.png \(9 x 8 pixels.* and 2 more.*resize=True"
    ):
        extract_to_folder(fixed_classifier(), tmp_path / "in", tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "thesis.txt").write_text("mine")
    with pytest.raises(LisError, match="none of the 5"):
        extract_to_folder(fixed_classifier(), tmp_path / "in", tmp_path / "old", progress=False)
    assert os.listdir(tmp_path / "old") == ["thesis.txt"]


def test_an_encoder_without_a_head_has_no_logits(tmp_path):
    encoder = Classifier(network()[:4], preprocess=Shrink(), head=False, name="encoder")
    x = torch.rand(5, 3, 9, 10)
    store = extract_to_folder(encoder, x, tmp_path / "a", progress=False)
    torch.testing.assert_close(torch.tensor(store.r), slow(any_size_classifier(), x)[0])
    assert store.logits is None and store.features().logits is None and store.classes == ()
    assert store.table.prediction.isna().all() and not (tmp_path / "a" / "logits.npy").exists()


def test_the_mode_comes_back_and_dropout_is_off(tmp_path):
    classifier = fixed_classifier()
    classifier.train()
    x = torch.rand(4, 3, 8, 8)
    check(extract_to_folder(classifier, x, tmp_path, progress=False), fixed_classifier(), list(x))
    assert classifier.training and torch.is_grad_enabled()


def test_every_module_keeps_its_own_mode(tmp_path):
    classifier = fixed_classifier()
    classifier.train()
    frozen = next(module for module in classifier.modules() if not list(module.children()))
    frozen.training = False
    photos(tmp_path / "in", [(8, 8)])
    extract_to_folder(classifier, tmp_path / "in", tmp_path / "out")
    assert [m for m in classifier.modules() if not m.training] == [frozen]


def test_a_damaged_classifier_is_named_with_the_image(tmp_path):
    classifier = fixed_classifier()
    with torch.no_grad():
        classifier.network[0].weight[0, 0, 0, 0] = 1e38
    x = torch.zeros(5, 3, 8, 8)
    x[3] = 1
    with pytest.raises(LisError, match="toy gives NaN or infinite activations for image 3"):
        extract_to_folder(classifier, x * 1.0, tmp_path / "a", batch_size=1, progress=False)


def test_a_preprocessing_that_fails_on_one_image_skips_it(tmp_path):
    class Picky(Shrink):
        def forward(self, x):
            if x.shape[2] < 6:
                raise RuntimeError("too low")
            return super().forward(x)

    classifier = Classifier(network(), "abcd", preprocess=Picky(), name="picky")
    paths = photos(tmp_path / "in", [(20, 30), (5, 30)])
    with pytest.warns(SkippedImages, match="1.png: the preprocessing fails: too low"):
        store = extract_to_folder(classifier, paths, tmp_path / "a", progress=False)
    assert store.readable.tolist() == [True, False]


class Alive:
    """Counts tensors that exist at one time."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def add(self, x):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        weakref.finalize(x, self.drop)
        return x

    def drop(self):
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("workers", [0, 3])
def test_images_are_not_held(tmp_path, workers):
    """Of many images and network inputs, few are alive at any time, with and without threads."""
    images, inputs = Alive(), Alive()

    class Counted(torch.utils.data.Dataset):
        def __len__(self):
            return 300

        def __getitem__(self, i):
            return images.add(torch.full((3, 8, 8), i / 300))

    class CountedShrink(Shrink):
        def forward(self, x):
            return inputs.add(super().forward(x))

    classifier = Classifier(network(), "abcd", preprocess=CountedShrink(), name="any size")
    inputs.most = inputs.now = 0
    store = extract_to_folder(classifier, Counted(), tmp_path, batch_size=8, workers=workers, progress=False)
    assert images.most <= 2 + workers and inputs.most <= 16 + workers + 1
    check(store, any_size_classifier(), [torch.full((3, 8, 8), i / 300) for i in range(300)])


# ---------------------------------------------------------------------------------------------------------- resuming

X = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_a_finished_folder_returns_at_once(tmp_path, monkeypatch):
    first = extract_to_folder(fixed_classifier(), X, tmp_path / "a", progress=False)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    monkeypatch.setattr(Classifier, "encode", lambda *_: pytest.fail("computed again"))
    again = extract_to_folder(fixed_classifier(), X, str(tmp_path / "a"), batch_size=3, progress=False)
    assert np.array_equal(first.r, again.r) and again.provenance == first.provenance
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before


def test_what_differs_is_named_with_both_values(tmp_path):
    extract_to_folder(fixed_classifier(), X, tmp_path, progress=False)
    before = content(tmp_path)
    other = fixed_classifier()
    with torch.no_grad():
        other.network[5].bias[0] += 1
    moved = Classifier(network(), "abcd", size=(8, 8), mean=MEAN, std=[0.2, 0.3, 0.5], name="toy")
    changes = [
        ((other, X), {}, "classifier hash [0-9a-f]{12} there, [0-9a-f]{12} here"),
        ((moved, X), {}, "classifier hash"),
        ((fixed_classifier(), X[:9]), {}, "source images 10 there, 9 here; source content"),
        ((fixed_classifier(), X.flip(0)), {}, "source content.*name, size or date"),
        ((fixed_classifier(), X.numpy()), {}, "source kind tensor there, array here"),
        ((fixed_classifier(), X), {"resize": True}, r"settings resize False there, True here"),
        ((fixed_classifier(), X), {"labels": list("abcdefghij")}, "source labels None there"),
        ((fixed_classifier(), X), {"resume": False}, "resume is False"),
    ]
    for (classifier, source), options, message in changes:
        with pytest.raises(LisError, match=f"{message}.*another folder, or overwrite=True"):
            extract_to_folder(classifier, source, tmp_path, progress=False, **options)
    assert content(tmp_path) == before
    (tmp_path / "thesis.txt").write_text("mine")
    store = extract_to_folder(other, X, tmp_path, overwrite=True, progress=False)
    check(store, other, list(X))
    assert sorted(os.listdir(tmp_path)) == sorted([*OWN, "thesis.txt"])


def interrupted_run(folder, after=3, error=KeyboardInterrupt, **options):
    """Stop the extraction of X while batch number `after` is encoded."""
    classifier = fixed_classifier()
    encode, calls = classifier.encode, []

    def counted(inputs):
        calls.append(len(inputs))
        if len(calls) > after:
            raise error("stop")
        return encode(inputs)

    classifier.encode = counted
    extract_to_folder(classifier, X, folder, batch_size=2, progress=False, **options)


def test_ctrl_c_leaves_a_folder_that_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped after 6 of 10 images; the same call goes on"):
        interrupted_run(tmp_path / "a")
    with pytest.raises(CheckpointError, match="6 of 10 images.*same arguments"):
        FeatureStore.open(tmp_path / "a")
    classifier = fixed_classifier()
    encode, sizes = classifier.encode, []
    classifier.encode = lambda inputs: (sizes.append(len(inputs)), encode(inputs))[1]
    store = extract_to_folder(classifier, X, tmp_path / "a", batch_size=2, progress=False)
    assert sizes == [2, 2]  # only what was left
    whole = extract_to_folder(fixed_classifier(), X, tmp_path / "b", batch_size=2, progress=False)
    assert content(store.folder) == content(whole.folder) and "resumed" in store.manifest
    with pytest.raises(RuntimeError, match="stop"):  # any error keeps what was done
        interrupted_run(tmp_path / "c", error=RuntimeError)
    other_size = extract_to_folder(fixed_classifier(), X, tmp_path / "c", batch_size=5, progress=False)
    check(other_size, fixed_classifier(), list(X))


def test_an_unfinished_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(tmp_path)
    with pytest.raises(LisError, match="source images 10 there, 5 here"):
        extract_to_folder(fixed_classifier(), X[:5], tmp_path, progress=False)
    check(extract_to_folder(fixed_classifier(), X[:5], tmp_path, overwrite=True, progress=False), fixed_classifier(),
          list(X[:5]))  # fmt: skip


def test_half_a_line_of_the_journal_is_forgotten(tmp_path):
    whole = extract_to_folder(fixed_classifier(), X, tmp_path / "b", batch_size=2, progress=False)
    for cut in (1, 2, 30):
        folder = tmp_path / f"a{cut}"
        with pytest.raises(KeyboardInterrupt):
            interrupted_run(folder)
        journal = (folder / "progress.jsonl").read_bytes()
        (folder / "progress.jsonl").write_bytes(journal[:-cut])
        with pytest.raises(CheckpointError, match="4 of 10 images"):
            FeatureStore.open(folder)
        extract_to_folder(fixed_classifier(), X, folder, batch_size=2, progress=False)
        assert content(folder) == content(whole.folder)


def test_two_processes_at_one_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(tmp_path)
    code = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(1, flush=True); input()"
    arguments = [sys.executable, "-c", code, str(tmp_path / "progress.jsonl")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for options in ({}, {"overwrite": True}):
            with pytest.raises(LisError, match="being filled by another process"):
                extract_to_folder(fixed_classifier(), X, tmp_path, batch_size=2, progress=False, **options)
        other.communicate(b"\n")
    check(extract_to_folder(fixed_classifier(), X, tmp_path, progress=False), fixed_classifier(), list(X))


ZYGOTE = """
import os, pathlib, random, shutil, signal, sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np, torch, pandas, pyarrow.parquet
from PIL import Image; Image.init()
from lis_toolkit.own_images import extraction
from lis_toolkit.own_images import writer as feature_writer
import test_feature_store as t
torch.set_num_threads(1)
feature_writer.SECONDS_PER_CHECKPOINT = 0
signal.signal(signal.SIGINT, signal.SIG_IGN)  # till a child is ready for it
root, mode = pathlib.Path(sys.argv[1]), sys.argv[3]
source = root / "in"
options = dict(batch_size=2, workers=2, progress=False)
classifier = t.any_size_classifier()

def child(folder, prepare=lambda: None):
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            prepare()
            torch.set_num_threads(1)  # makes torch's own pool anew, which a fork leaves broken
            import warnings; warnings.simplefilter("ignore")
            t.extract_to_folder(classifier, source, folder, **options)
            os._exit(0)
        except KeyboardInterrupt:
            os._exit(3)
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
    return pid

def run(folder, prepare=lambda: None):
    return os.waitstatus_to_exitcode(os.waitpid(child(folder, prepare), 0)[1])

def die_at(step):
    # Kill this process at its n-th call that changes files.
    count = [0]
    def counted(function):
        def call(*arguments, **keywords):
            count[0] += 1
            if count[0] > step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)
        return call
    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    os.unlink, os.mkdir, os.truncate = counted(os.unlink), counted(os.mkdir), counted(os.truncate)
    pathlib.Path.unlink, pathlib.Path.mkdir = counted(pathlib.Path.unlink), counted(pathlib.Path.mkdir)
    t.feature_writer.open_array = counted(t.feature_writer.open_array)
    t.feature_writer.FeatureWriter.write = counted(t.feature_writer.FeatureWriter.write)
    t.feature_writer._table = counted(t.feature_writer._table)

os.fsync = lambda number: None  # SIGKILL leaves what was written with the system; only a power cut needs it
assert run(root / "whole") == 0
start = time.monotonic()
assert run(root / "warm") == 0
duration = time.monotonic() - start
whole = t.content(root / "whole")
if mode == "steps":
    step = again = 0
    while True:
        folder = root / f"step{step}"
        first = run(folder, lambda: die_at(step))
        if step % 3 == 2:
            again = run(folder, lambda: die_at(step // 2))  # killed twice
        last = run(folder)
        assert last == 0, (step, first, again, last)
        assert t.content(folder) == whole, step
        assert sorted(os.listdir(folder)) == t.OWN, os.listdir(folder)
        shutil.rmtree(folder)
        if first == 0:
            break
        assert first == -signal.SIGKILL, first
        step += 1
    print("steps", step)
else:
    # A moment may come after the end of a quick run: such a trial counts for nothing, and another one is made.
    random.seed(0)
    kills = trial = 0
    while kills < int(mode):
        assert trial < 10 * int(mode), f"{kills} of {trial} runs were stopped before their end"
        trial += 1
        folder = root / f"random{trial}"
        while True:
            pid = child(folder)
            time.sleep(random.uniform(0.0, duration))
            os.kill(pid, random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, 3, -signal.SIGKILL), code
            kills += code != 0
            duration *= 0.8 if code == 0 else 1  # the machine was slower when it was measured
            if code == 0 or random.random() < 0.2:
                break
        assert run(folder) == 0
        assert t.content(folder) == whole, trial
    print("kills", kills)
"""


def test_an_interrupt_that_hits_a_lock_is_still_an_interrupt(tmp_path, monkeypatch):
    def unlucky(*arguments):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("cannot release un-acquired lock")  # as threading.Condition does

    monkeypatch.setattr(extraction, "_encode", unlucky)
    source = torch.rand(4, 1, 32, 32)
    with pytest.raises(KeyboardInterrupt, match="0 of 4 images.*goes on from there"):
        extract_to_folder(load_classifier("fashion"), source, tmp_path / "out", progress=False)
    monkeypatch.undo()
    assert extract_to_folder(
        load_classifier("fashion"), source, tmp_path / "out", progress=False
    ).readable.all()


def killed(tmp_path, mode):
    for i, path in enumerate(photos(tmp_path / "in", [(9 + i, 20 - i) for i in range(5)])):
        if i == 3:
            path.write_bytes(path.read_bytes()[:50])
    arguments = [sys.executable, "-c", ZYGOTE, str(tmp_path), str(Path(__file__).parent), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_step_it_goes_on_and_ends_the_same(tmp_path):
    assert killed(tmp_path, "steps") > 25  # so many places to die at


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_many_random_moments(tmp_path):
    assert killed(tmp_path, "60") >= 60


# ------------------------------------------------------------------------------------------- folders, disks, damage


@pytest.mark.parametrize("name", ["r.npy", "images.parquet", "progress.jsonl"])
def test_files_of_other_origin_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(LisError, match=f"holds {name}.*other origin"):
            extract_to_folder(fixed_classifier(), X, tmp_path, progress=False, **options)
    (tmp_path / "manifest.json").write_text('{"format": "theirs"}')
    for options in ({}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match="manifest.json is not of features.*theirs"):
            extract_to_folder(fixed_classifier(), X, tmp_path, progress=False, **options)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(LisError, match="can't write"):
            extract_to_folder(fixed_classifier(), X, folder, progress=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_too_small_a_disk_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(LisError, match="10 images take 17 MB.*has 1 MB left"):
        extract_to_folder(fixed_classifier(), X, tmp_path / "a" / "b", progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["r.npy", "manifest.json"])
def test_a_disk_that_fills_up_or_is_read_only_at_the_start(tmp_path, monkeypatch, name):
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LisError, match="can't write.*No space left on device"):
        extract_to_folder(fixed_classifier(), X, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists() or os.listdir(tmp_path / "a") == []
    monkeypatch.undo()
    check(
        extract_to_folder(fixed_classifier(), X, tmp_path / "a", progress=False), fixed_classifier(), list(X)
    )


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_disk_that_fills_up_on_the_way(tmp_path, monkeypatch, at):
    calls = []
    fsync = os.fsync

    def full(number):
        calls.append(number)
        if len(calls) == at * 3:
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(feature_writer, "SECONDS_PER_CHECKPOINT", 0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LisError, match="No space left on device.*goes on from there"):
        extract_to_folder(fixed_classifier(), X, tmp_path / "a", batch_size=2, progress=False)
    monkeypatch.undo()
    whole = extract_to_folder(fixed_classifier(), X, tmp_path / "b", batch_size=2, progress=False)
    extract_to_folder(fixed_classifier(), X, tmp_path / "a", batch_size=2, progress=False)
    assert content(tmp_path / "a") == content(whole.folder)


def test_a_read_only_folder(tmp_path, monkeypatch):
    done = extract_to_folder(fixed_classifier(), X, tmp_path / "done", progress=False)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(LisError, match="Permission denied.*not writable"):
        extract_to_folder(fixed_classifier(), X, tmp_path / "new", progress=False)
    assert np.array_equal(extract_to_folder(fixed_classifier(), X, done.folder, progress=False).r, done.r)


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


DAMAGES = {
    "short r": ("r.npy", lambda b: b[:-1], "r.npy is missing or damaged"),
    "empty logits": ("logits.npy", lambda b: b"", "logits.npy is missing or damaged"),
    "other shape": ("r.npy", lambda b: b.replace(b"(10, 6)", b"(6, 10)"), r"r.npy has float32 \[6, 10\]"),
    "pickled": ("r.npy", lambda b: b"\x80\x04.", "r.npy is missing or damaged"),
    "table": ("images.parquet", lambda b: b[:-10], "images.parquet is missing or damaged"),
    "not JSON": ("manifest.json", lambda b: b[:-5], "can't read .*manifest.json"),
    "a list": ("manifest.json", lambda b: b"[]", "is not of features .format 'list'"),
    "no arrays": ("manifest.json", lambda b: b.replace(b'"arrays"', b'"arrows"'), "None for 'arrays'"),
    "no classes": (
        "manifest.json",
        lambda b: b.replace(b'"classes"', b'"glasses"'),
        "manifest.json is damaged",
    ),
    "counts": (
        "manifest.json",
        lambda b: b.replace(b'"skipped": 0', b'"skipped": 1'),
        "0 skipped images, the manifest 1",
    ),
    "images": (
        "manifest.json",
        lambda b: b.replace(b'"images": 10,', b'"images": 11,'),
        "images.parquet has 10 rows",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_folders_say_which_file(tmp_path, case):
    name, change, message = DAMAGES[case]
    extract_to_folder(fixed_classifier(), X, tmp_path, progress=False)
    damage(tmp_path, name, change)
    with pytest.raises(CheckpointError, match=message):
        FeatureStore.open(tmp_path)
    if "overwrite" in message or case in ("short r", "table", "no arrays"):
        store = extract_to_folder(fixed_classifier(), X, tmp_path, overwrite=True, progress=False)
        check(store, fixed_classifier(), list(X))


@pytest.mark.parametrize("name", OWN)
def test_missing_files(tmp_path, name):
    extract_to_folder(fixed_classifier(), X, tmp_path / "a", progress=False)
    (tmp_path / "a" / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        FeatureStore.open(tmp_path / "a")


def test_a_missing_array_of_an_unfinished_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(tmp_path)
    (tmp_path / "logits.npy").unlink()
    with pytest.raises(CheckpointError, match="logits.npy is missing.*overwrite=True"):
        extract_to_folder(fixed_classifier(), X, tmp_path, progress=False)


def test_what_is_no_folder_of_features(tmp_path):
    for folder, message in (
        (tmp_path, "is a folder without manifest.json"),
        (tmp_path / "x", "has no manifest.json"),
    ):
        with pytest.raises(CheckpointError, match=message):
            FeatureStore.open(folder)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": "all"}, {"workers": -1}, {"workers": 1.5}]
)
def test_bad_numbers(tmp_path, options):
    with pytest.raises(LisError, match=next(iter(options))):
        extract_to_folder(fixed_classifier(), X, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def test_the_command(tmp_path, capsys):
    photos(tmp_path / "in", [(32, 32), (40, 40)], "L")
    features_command(str(tmp_path / "in"), "fashion", str(tmp_path / "out"), batch_size=1)
    text = capsys.readouterr().out
    assert "1 of 2 images have features (256 units of fashion)" in text and "1.png: 40 x 40 pixels" in text
    with contextlib.chdir(tmp_path):
        features_command("in", "fashion", "out2", resize=True)
    assert "2 of 2 images" in capsys.readouterr().out
    photos(tmp_path / "large", [(40, 40)], "L")
    with pytest.raises(LisError, match="taken with --resize"):
        features_command(str(tmp_path / "large"), "fashion", str(tmp_path / "c"))
    with pytest.raises(LisError, match="or --overwrite to replace"):
        features_command(str(tmp_path / "large"), "fashion", str(tmp_path / "out"), resize=True)
