import gzip
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit import datasets
from lis_toolkit.datasets import (
    DEBIAN_FOLDER,
    FASHION_CLASSES,
    SAMPLE_FOLDER,
    load_fashion,
    read_idx,
    write_idx,
    write_sample,
)
from lis_toolkit.errors import CheckpointError, LisError

needs_debian = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


def slow_read_idx(path):
    with open(path, "rb") as file:
        data = file.read()
    if str(path).endswith(".gz"):
        data = gzip.decompress(data)
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return np.array(list(data[4 + 4 * data[3] :]), np.uint8).reshape(shape)


def write_plain(path, values):
    path.write_bytes(
        bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    )


@pytest.fixture
def folder(tmp_path):
    """Three images of each split, one folder, not compressed."""
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        write_plain(tmp_path / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (3, 28, 28), np.uint8))
        write_plain(tmp_path / f"{prefix}-labels-idx1-ubyte", np.array([9, 0, 4], np.uint8))
    return tmp_path


def test_the_sample_is_real_balanced_and_padded():
    sample = load_fashion()
    assert sample.images.shape == (1000, 1, 32, 32) and sample.images.dtype == torch.float32
    assert sample.labels.dtype == torch.int64 and sample.classes == FASHION_CLASSES and len(sample) == 1000
    assert sample.labels.bincount().tolist() == [100] * 10
    assert float(sample.images.min()) == 0 and float(sample.images.max()) == 1
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert float(sample.images[:, 0, border].max()) == 0
    raw = slow_read_idx(SAMPLE_FOLDER / "t10k-images-idx3-ubyte.gz")
    np.testing.assert_array_equal((sample.images[:, 0, 2:-2, 2:-2] * 255).round().byte().numpy(), raw)
    assert sum(f.stat().st_size for f in SAMPLE_FOLDER.iterdir()) < 500_000


@needs_debian
def test_the_sample_is_the_first_hundred_of_each_class_of_the_test_set(tmp_path):
    test, sample = load_fashion("test"), load_fashion("sample")
    assert len(test) == 10_000 and test.labels.bincount().tolist() == [1000] * 10
    count, chosen = [0] * 10, []
    for i, label in enumerate(test.labels.tolist()):
        if count[label] < 100:
            chosen.append(i)
            count[label] += 1
    assert torch.equal(sample.images, test.images[chosen]) and torch.equal(sample.labels, test.labels[chosen])
    write_sample(tmp_path)
    for file in SAMPLE_FOLDER.iterdir():
        assert gzip.decompress((tmp_path / file.name).read_bytes()) == gzip.decompress(file.read_bytes())


@needs_debian
def test_the_training_set():
    train = load_fashion("train")
    assert train.images.shape == (60_000, 1, 32, 32) and train.labels.bincount().tolist() == [6000] * 10


def test_any_folder_gzipped_or_not_and_torchvisions_layout(folder, tmp_path):
    plain = load_fashion("train", folder)
    assert plain.labels.tolist() == [9, 0, 4]
    expected = slow_read_idx(folder / "train-images-idx3-ubyte")
    np.testing.assert_array_equal((plain.images[:, 0, 2:-2, 2:-2] * 255).round().byte().numpy(), expected)
    raw = tmp_path / "other" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in folder.glob("t10k*"):
        write_idx(raw / f"{file.name}.gz", slow_read_idx(file))
    again = load_fashion("test", str(tmp_path / "other"))
    assert torch.equal(again.images, load_fashion("test", folder).images)


def test_subset(folder):
    photographs = load_fashion("test", folder)
    assert photographs.subset(torch.tensor([2, 0])).labels.tolist() == [4, 9]
    assert len(photographs.subset(photographs.labels == 0)) == 1


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    cut=st.integers(1, 40),
    extra=st.integers(1, 40),
    compress=st.booleans(),
)
def test_idx_round_trip_and_any_wrong_length(tmp_path_factory, shape, cut, extra, compress):
    path = tmp_path_factory.mktemp("idx") / "x.gz"
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_idx(path, values)
    np.testing.assert_array_equal(read_idx(path, values.ndim), values)
    np.testing.assert_array_equal(slow_read_idx(path), values)
    whole = gzip.decompress(path.read_bytes())
    for wrong in (whole[: max(0, len(whole) - cut)], whole + bytes(extra)):
        path.write_bytes(gzip.compress(wrong) if compress else wrong)
        with pytest.raises(CheckpointError, match=r"x\.gz"):
            read_idx(path, values.ndim)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60))
def test_idx_never_a_bare_error_on_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "x"
    for data in (content, b"\x1f\x8b\x08" + content, bytes((0, 0, 8, 1)) + content):
        path.write_bytes(data)
        try:
            values = read_idx(path, 1)
        except LisError:
            continue
        assert data[:4] == bytes((0, 0, 8, 1)) and values.tobytes() == data[8:]


def test_damaged_gzip_and_wrong_magic(folder):
    path = folder / "t10k-labels-idx1-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[:-9])
    with pytest.raises(CheckpointError, match="can't read"):
        load_fashion("test", folder)
    path.write_bytes(packed[:12] + b"\xff\xff\xff" + packed[15:])
    with pytest.raises(CheckpointError, match="can't read"):
        load_fashion("test", folder)
    path.write_bytes(bytes((0, 0, 13, 1)) + bytes(20))
    with pytest.raises(CheckpointError, match="00 00 0d 01.*00 00 08 01"):
        load_fashion("test", folder)
    shutil.copy(folder / "t10k-images-idx3-ubyte", path)
    with pytest.raises(CheckpointError, match="1 dimensions"):
        load_fashion("test", folder)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 28)), np.zeros(2), "3 images and .* 2 labels"),
        (np.zeros((0, 28, 28)), np.zeros(0), "0 images"),
        (np.zeros((3, 32, 32)), np.zeros(3), "32 x 32 pixels; 28 x 28"),
        (np.zeros((3, 28, 28)), np.array([0, 10, 1]), "label 10; 0 to 9"),
    ],
)
def test_files_that_are_not_fashion_mnist(folder, images, labels, message):
    write_plain(folder / "t10k-images-idx3-ubyte", images.astype(np.uint8))
    write_plain(folder / "t10k-labels-idx1-ubyte", labels.astype(np.uint8))
    with pytest.raises(CheckpointError, match=message):
        load_fashion("test", folder)


def test_missing_files_say_what_to_do(tmp_path, folder, monkeypatch):
    with pytest.raises(LisError, match="dataset-fashion-mnist.*root=.*download=True.*sample"):
        load_fashion("test", tmp_path / "nowhere")
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(LisError, match="no train-labels-idx1-ubyte"):
        load_fashion("train", folder)
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(LisError, match="cache"):
        load_fashion("test")
    shutil.copytree(folder, tmp_path / "cache" / "datasets")
    assert len(load_fashion("test")) == 3


@pytest.mark.parametrize("split", ["tset", "", None, 3])
def test_unknown_split(split):
    with pytest.raises(LisError, match="no split"):
        load_fashion(split)


def test_download_goes_through_torchvision_and_only_when_asked(tmp_path, folder, monkeypatch):
    import torchvision.datasets

    calls = []

    def fake(root, train, download):
        calls.append((root, train, download))
        raw = tmp_path / "new" / "FashionMNIST" / "raw"
        shutil.copytree(folder, raw, ignore=lambda d, names: [n for n in names if "ubyte" not in n])

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake)
    assert len(load_fashion("test", folder, download=True)) == 3 and not calls  # they are there
    assert len(load_fashion("test", tmp_path / "new", download=True)) == 3
    assert calls == [(str(tmp_path / "new"), False, True)]

    def offline(root, train, download):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", offline)
    with pytest.raises(LisError, match="could not download"):
        load_fashion("train", tmp_path / "other", download=True)


def test_write_idx_refuses_other_types_and_places(tmp_path):
    with pytest.raises(LisError, match="float64"):
        write_idx(tmp_path / "x.gz", np.zeros(3))
    with pytest.raises(LisError, match="can't write"):
        (tmp_path / "file").write_text("")
        write_idx(tmp_path / "file" / "x.gz", np.zeros(3, np.uint8))
