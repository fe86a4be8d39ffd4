"""What classifiers do to images before their network: torchvision's own presets, one's own callables, and bad ones."""

from __future__ import annotations

import functools
import math
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from lis_toolkit.classifiers import Classifier
from lis_toolkit.classifiers.preprocessing import (
    ResizeCrop,
    check_preprocess,
    describe_preprocess,
    probe_images,
)
from lis_toolkit.errors import LisError
from lis_toolkit.features import extract_features, stream_features
from lis_toolkit.images import from_pil

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def network(channels=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def preset():
    models = pytest.importorskip("torchvision.models")
    return models.ResNet50_Weights.IMAGENET1K_V2.transforms()


@pytest.fixture(scope="module")
def classifier(preset):
    return Classifier(network(), preprocess=preset, name="any")


def picture(height=61, width=83):
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 9 + c) * np.cos(columns / (7 + c)) for c in range(3)]
    return Image.fromarray(((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))


def test_torchvisions_preset_is_used_as_it_is(classifier, preset):
    image = picture()
    x = from_pil(image, 3)[None]
    inputs = classifier.preprocess(x)
    assert torch.equal(inputs, preset(x)) and inputs.shape == (1, 3, 224, 224)
    assert (classifier.size, classifier.input_size) == (None, (224, 224))
    # From PIL it rounds to bytes after resizing: half a step of 255, in units of the standard deviation.
    difference = (inputs[0] - preset(image)).abs().amax((1, 2)) * torch.tensor(STD) * 255
    assert float(difference.max()) < 1.01


def test_resize_crop_is_torchvisions_preset(preset):
    same = ResizeCrop((224, 224), 232, MEAN, STD)
    x = torch.rand(2, 3, 40, 60)
    torch.testing.assert_close(same(x), preset(x))
    assert same(x.double()).dtype == torch.float64 and not same.state_dict()
    squashed = ResizeCrop((10, 12), (10, 12), [0.0] * 3, [1.0] * 3, "bicubic")(x)
    torch.testing.assert_close(
        squashed, nn.functional.interpolate(x, (10, 12), mode="bicubic", antialias=True), atol=1e-5, rtol=0
    )
    with pytest.raises(LisError, match="'bilinear', 'bicubic' or 'nearest'"):
        ResizeCrop((2, 2), 2, MEAN, STD, "lanczos")


def test_images_of_any_size_one_size_at_a_time(classifier, preset):
    for shape in ((2, 3, 32, 32), (1, 3, 50, 20), (3, 3, 300, 400)):
        x = torch.rand(shape)
        features = extract_features(classifier, x, batch_size=2)
        torch.testing.assert_close(features.logits, classifier.network(preset(x)), atol=1e-5, rtol=1e-5)
        assert sum(len(f) for f in stream_features(classifier, x, 2)) == len(x)


def test_grey_images_are_repeated_for_colour(classifier):
    grey = torch.rand(2, 1, 16, 16)
    together = extract_features(classifier, grey.repeat(1, 3, 1, 1)).r
    assert torch.equal(extract_features(classifier, grey).r, together)
    assert torch.equal(classifier.features(grey), together)
    other = Classifier(network(1), channels=1, size=(16, 16))
    with pytest.raises(LisError, match=r"takes \[N, 1, 16, 16\]"):
        other.features(grey.repeat(1, 3, 1, 1))
    with pytest.raises(LisError, match="3 channels.*1 were expected"):
        extract_features(other, grey.repeat(1, 3, 1, 1))


BAD_IMAGES = {
    "bytes": ((torch.rand(1, 3, 9, 9) * 255).byte(), "uint8"),
    "the signed range": (torch.rand(1, 3, 9, 9) * 2 - 1, "signed"),
    "NaN": (torch.full((1, 3, 9, 9), math.nan), "NaN"),
    "one image": (torch.rand(3, 9, 9), r"x\[None\]"),
    "two channels": (torch.rand(1, 2, 9, 9), "2 channels"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images(classifier, case):
    x, message = BAD_IMAGES[case]
    with pytest.raises(LisError, match=message):
        extract_features(classifier, x)


def test_shapes_and_dtypes_are_checked_without_looking_at_values(classifier):
    with pytest.raises(LisError, match=r"takes \[N, 3, any height, any width\]"):
        classifier.preprocess(torch.rand(3, 9, 9))
    with pytest.raises(LisError, match="torch.uint8.*convert_range"):
        classifier.preprocess(torch.zeros(1, 3, 9, 9, dtype=torch.uint8))


def test_gradients_and_forward_derivatives_pass_through(classifier):
    x, direction = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    _, change = torch.func.jvp(classifier.preprocess, (x,), (direction,))
    expected = classifier.preprocess(x + direction) - classifier.preprocess(x)  # it is affine
    torch.testing.assert_close(change, expected, atol=1e-4, rtol=1e-4)
    x.requires_grad_()
    classifier.logits(x)[0, 1].backward()
    assert float(x.grad.abs().sum()) > 0


def keep_first(x):
    return x[:1]


BAD = {
    "drops images": (lambda x: x[:1], r"makes torch.float32 \[1, 3, 256, 288\] of images \[2, 3, 256, 288\]"),
    "gives a list": (lambda x: list(x), "gives a list"),
    "gives bytes": (lambda x: (x * 255).byte(), "torch.uint8"),
    "begins with ToTensor": (
        transforms.Compose([transforms.ToTensor(), transforms.Resize((8, 8))]),
        r"fails on images.*Leave ToTensor\(\) out",
    ),
    "is for PIL": (lambda x: x.convert("RGB"), r"fails on images \[2, 3, 256, 288\].*batch of tensors"),
    "is for numpy": (lambda x: torch.from_numpy(x.detach().numpy()), "no gradient"),
    "is random": (lambda x: x + torch.rand_like(x), "alone than in a batch.*random"),
    "mixes images": (lambda x: x - x.mean(0), "alone than in a batch"),
    "makes NaN": (lambda x: x * math.nan, "alone than in a batch"),
    "does not resize": (lambda x: x * 2, r"one size \(it makes \(256, 288\) of \(256, 288\)"),
    "is a number": (3, "preprocess is 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_preprocessing(case):
    preprocess, message = BAD[case]
    with pytest.raises(LisError, match=message):
        Classifier(network(), preprocess=preprocess)


def test_a_preprocessing_that_does_not_resize_needs_a_size():
    classifier = Classifier(network(), preprocess=lambda x: x * 2, size=(12, 10))
    assert (classifier.size, classifier.input_size) == ((12, 10), (12, 10))
    x = torch.rand(2, 3, 12, 10)
    torch.testing.assert_close(classifier(x), network()(x * 2))
    with pytest.raises(LisError, match=r"takes \[N, 3, 12, 10\]"):
        classifier(torch.rand(2, 3, 10, 12))


def test_one_that_misbehaves_later_is_caught_then():
    calls = []

    def tiring(x):
        calls.append(1)
        return x if len(calls) < 5 else x[:1]

    classifier = Classifier(network(), preprocess=tiring, size=(8, 8))
    with pytest.raises(LisError, match="every image"):
        for _ in range(5):
            classifier(torch.rand(2, 3, 8, 8))


def test_descriptions_are_stable_and_tell_apart():
    class Nameless:
        def __call__(self, x):
            return x

    described = [
        describe_preprocess(p)
        for p in (
            None, ResizeCrop((8, 8), 9, MEAN, STD), ResizeCrop((8, 8), 10, MEAN, STD), ResizeCrop((8, 8), 9, STD, STD),
            Nameless(), keep_first, test_bad_images, functools.partial(keep_first, 3), functools.partial(keep_first, 4),
        )
    ]  # fmt: skip
    assert len(set(described)) == len(described)
    assert describe_preprocess(Nameless()) == described[4] and "0x" not in described[4]
    assert describe_preprocess(ResizeCrop((8, 8), 9, MEAN, STD)) == described[1]
    typed = types.FunctionType(keep_first.__code__.replace(co_filename="<prompt>"), {"__name__": "here"})
    assert describe_preprocess(typed) == "here.keep_first"  # its source is nowhere to be read


def test_probes_are_the_same_every_time_and_leave_random_numbers_alone():
    state = torch.get_rng_state()
    x = probe_images(1, (4, 5))
    assert x.shape == (2, 1, 4, 5) and torch.equal(x, probe_images(1, (4, 5)))
    assert check_preprocess(lambda x: x.mean((2, 3), keepdim=True), 1, None, "it") == (1, 1)
    assert torch.equal(torch.get_rng_state(), state)
