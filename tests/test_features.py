import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit import features as features_module
from lis_toolkit.classifiers import Classifier, PlainNet
from lis_toolkit.errors import LisError
from lis_toolkit.features import Features, extract_features, stream_features


@pytest.fixture(scope="module")
def classifier():
    """A small untrained classifier of 3 x 8 x 8 images with dropout and batch normalisation."""
    torch.manual_seed(0)
    network = PlainNet(channels=3, num_classes=4, stem=4, stages=((6, 1), (8, 2)), dropout=0.5)
    classifier = Classifier(
        network, "abcd", channels=3, size=(8, 8), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4], name="toy"
    )
    return classifier.eval()


X = torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def slow_features(classifier, x):
    """One image at a time, normalised by hand, the head written out."""
    rows = []
    for image in x:
        normalised = torch.stack(
            [
                (image[c] - classifier.mean.flatten()[c]) / classifier.std.flatten()[c]
                for c in range(len(image))
            ]
        )
        maps = classifier.network.body(normalised[None])[0]
        r = torch.stack([m.sum() / m.numel() for m in maps])
        head = classifier.network.head
        rows.append(
            (r, torch.stack([(head.weight[k] * r).sum() + head.bias[k] for k in range(len(head.bias))]))
        )
    return torch.stack([r for r, _ in rows]).detach(), torch.stack([y for _, y in rows]).detach()


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 11), batch_size=st.integers(1, 15), rows=st.integers(1, 12))
def test_features_against_one_image_at_a_time_whatever_the_batches(classifier, n, batch_size, rows):
    before, features_module.ROWS_ON_DEVICE = features_module.ROWS_ON_DEVICE, rows
    try:
        found = extract_features(classifier, X[:n], batch_size)
    finally:
        features_module.ROWS_ON_DEVICE = before
    r, logits = slow_features(classifier, X[:n])
    torch.testing.assert_close(found.r, r, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logits, logits, atol=1e-5, rtol=1e-5)
    assert len(found) == n and torch.equal(found.predictions, logits.argmax(1))


def test_results_are_float32_without_gradients_and_the_mode_comes_back(classifier):
    classifier.train()
    statistics = {k: v.clone() for k, v in classifier.state_dict().items()}
    try:
        found = extract_features(classifier, X.double().requires_grad_(), progress=True)
        assert classifier.training
    finally:
        classifier.eval()
    assert found.r.dtype == found.logits.dtype == torch.float32
    assert not found.r.requires_grad and torch.is_grad_enabled()
    torch.testing.assert_close(found.r, slow_features(classifier, X)[0], atol=1e-5, rtol=1e-5)
    assert all(torch.equal(v, statistics[k]) for k, v in classifier.state_dict().items())


def test_images_in_any_memory_layout(classifier):
    expected = extract_features(classifier, X).r
    torch.testing.assert_close(
        extract_features(classifier, X.to(memory_format=torch.channels_last)).r, expected
    )
    torch.testing.assert_close(
        extract_features(classifier, X.transpose(2, 3).contiguous().transpose(2, 3)).r, expected
    )


def test_a_stream_can_be_stopped_and_leaves_gradients_on(classifier):
    stream = stream_features(classifier, X, batch_size=4)
    first = next(stream)
    assert isinstance(first, Features) and len(first) == 4 and torch.is_grad_enabled()
    stream.close()
    assert [len(f) for f in stream_features(classifier, X, 4)] == [4, 4, 3]


BAD_IMAGES = {
    "a numpy array": (X.numpy(), "ndarray"),
    "nothing": (None, "NoneType"),
    "one image": (X[0], r"x\[None\]"),
    "no images": (X[:0], "empty"),
    "two channels": (X[:, :2], "2 channels.*3 were expected"),
    "another size": (X[..., :7], "8 x 7 pixels; 8 x 8"),
    "bytes": ((X * 255).byte(), "uint8"),
    "the signed range": (X * 2 - 1, "signed"),
    "the byte range": (X * 255, "byte"),
    "complex numbers": (X.to(torch.complex64), "complex64"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images(classifier, case):
    x, message = BAD_IMAGES[case]
    with pytest.raises(LisError, match=message):
        extract_features(classifier, x)
    with pytest.raises(LisError, match=message):
        stream_features(classifier, x)  # at the call, not at the first batch


@settings(max_examples=30, deadline=None)
@given(value=st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 255.0]), at=st.integers(0, X.numel() - 1))
def test_one_bad_value_anywhere(classifier, value, at):
    x = X.clone()
    x.view(-1)[at] = value
    with pytest.raises(LisError, match="NaN|0 to 1"):
        extract_features(classifier, x)


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(0, 9), max_size=6))
def test_any_shape_is_either_right_or_a_lis_error(classifier, shape):
    x = torch.rand(shape)
    if len(shape) == 4 and shape[0] > 0 and shape[1:] == [3, 8, 8]:
        assert len(extract_features(classifier, x)) == shape[0]
    else:
        with pytest.raises(LisError):
            extract_features(classifier, x)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None, "all"])
def test_bad_batch_size(classifier, batch_size):
    with pytest.raises(LisError, match="batch_size"):
        extract_features(classifier, X, batch_size)


def test_damaged_weights_are_noticed(classifier):
    with torch.no_grad():
        kept = classifier.network.head.bias[0].clone()
        classifier.network.head.bias[0] = math.nan
    try:
        with pytest.raises(LisError, match="toy gives NaN"):
            extract_features(classifier, X)
    finally:
        with torch.no_grad():
            classifier.network.head.bias[0] = kept
