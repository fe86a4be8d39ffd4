import json
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit import load_classifier
from lis_toolkit.datasets_cifar import CIFAR10_CLASSES, load_cifar10
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.training.classifier import main

COUNT = {"train": 12, "test": 7}  # images a file


def made(split, number=0):
    """Pixels [n, 32, 32, 3] and labels [n] of one made file."""
    draws = np.random.default_rng([zlib.crc32(split.encode()), number])
    labels = draws.integers(0, 10, COUNT[split])
    pixels = draws.integers(0, 120, (COUNT[split], 32, 32, 3)) + 12 * labels[:, None, None, None]
    return pixels.astype(np.uint8), labels


def files(split):
    return [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    for split in COUNT:
        for number, name in enumerate(files(split)):
            data = b""
            for picture, label in zip(*made(split, number), strict=True):  # the planes one after another
                data += bytes([label]) + b"".join(picture[:, :, c].tobytes() for c in range(3))
            (folder / f"{name}.bin").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for split in COUNT:
        labels = []
        for number, name in enumerate(files(split)):
            pixels, own = made(split, number)
            Image.fromarray(pixels.reshape(len(pixels), 1024, 3)).save(folder / f"{name}.png")
            labels += own.tolist()
        (folder / f"{split}_lables.json").write_text(json.dumps(labels))
    return folder


@pytest.mark.parametrize("kind", ["binary", "pictures"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_both_layouts_pixel_by_pixel(kind, split, request):
    photographs = load_cifar10(split, request.getfixturevalue(kind))
    parts = [made(split, number) for number in range(len(files(split)))]
    pixels, labels = (np.concatenate(values) for values in zip(*parts, strict=True))
    assert photographs.images.shape == (len(pixels), 3, 32, 32)
    assert photographs.images.dtype == torch.float32 and photographs.labels.dtype == torch.int64
    for n, row, column, c in ((0, 0, 0, 0), (3, 5, 31, 1), (6, 31, 2, 2)):
        assert float(photographs.images[n, c, row, column]) == pytest.approx(
            int(pixels[n, row, column, c]) / 255
        )
    assert float(photographs.images.double().sum()) == pytest.approx(float(pixels.sum()) / 255, rel=1e-6)
    assert photographs.labels.tolist() == labels.tolist()
    assert photographs.classes == CIFAR10_CLASSES and CIFAR10_CLASSES[3] == "cat"


def test_a_folder_above_will_do(binary, tmp_path):
    (tmp_path / "cifar-10-batches-bin").symlink_to(binary)
    assert len(load_cifar10("test", tmp_path)) == COUNT["test"]


def test_the_python_version_is_never_read(tmp_path):
    for name in files("train"):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(LisError, match="pickles.*never.*binary version"):
        load_cifar10("train", tmp_path)
    inner = tmp_path / "other" / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    (inner / "test_batch").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(LisError, match="pickles"):
        load_cifar10("test", tmp_path / "other")


def test_what_is_missing_is_named(binary, pictures, tmp_path):
    with pytest.raises(LisError, match="no CIFAR-10 test files.*binary version"):
        load_cifar10("test", tmp_path)
    with pytest.raises(LisError, match="no split 'tests'.*Did you mean 'test'"):
        load_cifar10("tests", binary)
    (tmp_path / "data_batch_1.bin").write_bytes((binary / "data_batch_1.bin").read_bytes())
    with pytest.raises(LisError, match="data_batch_2.bin"):
        load_cifar10("train", tmp_path)
    (tmp_path / "test_batch.png").write_bytes((pictures / "test_batch.png").read_bytes())
    with pytest.raises(LisError, match="test_lables.json"):
        load_cifar10("test", tmp_path)
    (tmp_path / "test_labels.json").write_text(json.dumps(made("test")[1].tolist()))
    assert len(load_cifar10("test", tmp_path)) == COUNT["test"]


BAD_LABELS = {
    "too few": ("[1, 2]", "7 images and .* 2 labels"),
    "too large": (json.dumps([0, 1, 2, 3, 4, 5, 10]), "labels from 0 to 10"),
    "negative": (json.dumps([0, 1, 2, 3, 4, 5, -1]), "labels from -1"),
    "no list": ("{}", "no list of whole numbers"),
    "texts": (json.dumps(["cat"] * 7), "no list of whole numbers"),
    "true": (json.dumps([True] * 7), "no list of whole numbers"),
    "huge": (json.dumps([10**30] * 7), "no list of whole numbers"),
    "cut off": ("[1, 2", "can't read"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(pictures, tmp_path, case):
    text, message = BAD_LABELS[case]
    (tmp_path / "test_batch.png").write_bytes((pictures / "test_batch.png").read_bytes())
    (tmp_path / "test_lables.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_cifar10("test", tmp_path)


def test_damaged_files(binary, pictures, tmp_path):
    data = (binary / "test_batch.bin").read_bytes()
    for damaged, message in (
        (data[:-1], "multiple of 3073"),
        (b"", "0 bytes"),
        (b"\x0b" + data[1:], "to 11"),
    ):
        (tmp_path / "test_batch.bin").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message):
            load_cifar10("test", tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_lables.json").write_text("[]")
    png = (pictures / "test_batch.png").read_bytes()
    for damaged in (png[: len(png) // 2], b"no picture", b""):
        (tmp_path / "test_batch.png").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="can't read"):
            load_cifar10("test", tmp_path)
    for size, mode in (((32, 32), "RGB"), ((1024, 7), "L")):
        Image.new(mode, size).save(tmp_path / "test_batch.png")
        with pytest.raises(CheckpointError, match="1024 was expected"):
            load_cifar10("test", tmp_path)


def test_a_classifier_is_trained_from_the_command_line(binary, tmp_path, capsys):
    out = tmp_path / "cifar.safetensors"
    main(["--dataset", "cifar10", "--data", str(binary), "--architecture", "plain", "--out", str(out),
          "--epochs", "1", "--batch-size", "20", "--device", "cpu"])  # fmt: skip
    assert "test accuracy" in capsys.readouterr().out
    classifier = load_classifier(out)
    assert classifier.classes == CIFAR10_CLASSES and classifier.channels == 3 and classifier.size == (32, 32)
    assert classifier.name == "cifar10" and set(classifier.metadata["accuracy"]) == {"test"}
    assert classifier.metadata["training"]["dataset"] == "cifar10"
    assert classifier.metadata["training"]["images"] == 5 * COUNT["train"]
    with pytest.raises(SystemExit, match="error: no CIFAR-10 train files"):
        main(["--dataset", "cifar10", "--data", str(tmp_path), "--architecture", "plain", "--out", str(out)])
