"""A folder of labelled files as photographs: which are taken, in which size, with which labels."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

import lis_toolkit as lis
from lis_toolkit.errors import LisError


@pytest.fixture(scope="module")
def classifier():
    return lis.load_classifier("fashion")


@pytest.fixture
def folder(tmp_path):
    """8 photographs of 3 classes, written as PNG, class by class."""
    photographs = lis.load_fashion("sample")
    chosen = [
        i for i in range(40) if photographs.classes[photographs.labels[i]] in ("Trouser", "Coat", "Bag")
    ]
    for i in chosen[:8]:
        target = tmp_path / photographs.classes[photographs.labels[i]] / f"{i:02}.png"
        target.parent.mkdir(exist_ok=True)
        lis.save_png(photographs.images[i], target)
    return tmp_path


def wanted(folder):
    """(class name, image) of every file, in the order of the paths."""
    sample = lis.load_fashion("sample")
    return [(path.parent.name, sample.images[int(path.stem)]) for path in sorted(folder.rglob("*.png"))]


def test_files_come_back_as_they_were_written(folder, classifier):
    own = lis.load_photographs(folder, classifier)
    expected = wanted(folder)
    assert own.classes == classifier.classes
    assert [own.classes[k] for k in own.labels] == [name for name, _ in expected]
    for image, (_, original) in zip(own.images, expected, strict=True):
        torch.testing.assert_close(image, original, atol=0.5 / 255 + 1e-6, rtol=0)


def test_so_many_of_each_class(folder, classifier):
    own = lis.load_photographs(folder, classifier, per_class=1)
    assert sorted(own.labels.tolist()) == sorted({classifier.class_index(name) for name, _ in wanted(folder)})
    first = next(image for name, image in wanted(folder) if name == own.classes[own.labels[0]])
    torch.testing.assert_close(own.images[0], first, atol=0.5 / 255 + 1e-6, rtol=0)


def test_other_sizes_and_colours_are_brought_to_the_classifier(tmp_path):
    model = lis.load_classifier("resnet18", weights=None, classes=["a", "b"] + [f"c{i}" for i in range(998)])
    x = torch.rand(1, 300, 450, generator=torch.Generator().manual_seed(0))
    (tmp_path / "b").mkdir()
    lis.save_png(x, tmp_path / "b" / "grey.png")
    own = lis.load_photographs(tmp_path, model)
    assert own.images.shape == (1, 3, 224, 224) and own.labels.tolist() == [1]
    expected = functional.center_crop(
        functional.resize((x * 255).round() / 255, [224], antialias=True), [224, 224]
    )
    torch.testing.assert_close(own.images[0], expected.expand(3, -1, -1), atol=1e-2, rtol=0)


def test_a_file_that_is_no_image_is_left_out_and_said(folder, classifier):
    (folder / "Coat" / "00.jpg").write_text("not a picture")
    with pytest.warns(lis.SkippedImages, match="1 images were left out, such as Coat/00.jpg"):
        own = lis.load_photographs(folder, classifier)
    assert len(own) == 8


@pytest.mark.parametrize(
    "change, message", [("unknown", "Coats"), ("flat", "no labels"), ("broken", "none of 1")]
)
def test_what_can_not_be_used(tmp_path, classifier, change, message):
    name = {"unknown": "Coats", "flat": ".", "broken": "Coat"}[change]
    (tmp_path / name).mkdir(exist_ok=True)
    if change == "broken":
        (tmp_path / name / "x.png").write_text("not a picture")
    else:
        lis.save_png(torch.rand(1, 32, 32), tmp_path / name / "x.png")
    with pytest.raises(LisError, match=message):
        lis.load_photographs(tmp_path, classifier)


def test_an_encoder_has_no_classes(folder):
    parts = lis.load_classifier("fashion-judge")
    body = torch.nn.Sequential(parts.network.body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    encoder = lis.Classifier(body, head=False, channels=1, size=(32, 32))
    with pytest.raises(LisError, match="encoder"):
        lis.load_photographs(folder, encoder)
