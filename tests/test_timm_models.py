"""timm's models: the split is timm's own, the preprocessing that of its configuration."""

from __future__ import annotations

import builtins

import pytest
import torch
from PIL import Image

from lis_toolkit import zoo
from lis_toolkit.classifiers import load_classifier
from lis_toolkit.errors import LisError
from lis_toolkit.images import to_pil


def test_without_timm_the_extra_is_named(monkeypatch):
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "timm":
            raise ImportError("No module named 'timm'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(LisError, match=r'pip install "lis-toolkit\[timm\]"'):
        load_classifier("timm:resnet18", weights=None)


MODELS = {
    "resnet18": 512,
    "mobilenetv3_small_050": 1024,
    "convnext_atto": 320,
    "vit_tiny_patch16_224": 192,
    "resnetv2_50": 2048,  # its head is a convolution
    "resnet18.a1_in1k": 512,
}


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


@pytest.mark.parametrize("name", MODELS)
def test_features_and_head_are_timms_own(timm, name):
    state = torch.get_rng_state()
    classifier = load_classifier(f"timm:{name}", weights=None, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    network = timm.create_model(name, pretrained=False).eval()
    config = timm.data.resolve_model_data_config(network)
    assert classifier.input_size == config["input_size"][1:] and classifier.size is None
    x = torch.rand(2, 3, 60, 50)
    with torch.no_grad():
        inputs = classifier.preprocess(x)
        own = network(inputs)
        before_head = network.forward_head(network.forward_features(inputs), pre_logits=True)
        r = classifier.features(x)
        torch.testing.assert_close(r, before_head.flatten(1), atol=1e-4 * float(r.abs().max()), rtol=0)
        torch.testing.assert_close(classifier.head(r), own, atol=1e-5 * float(own.abs().max()), rtol=0)
    assert classifier.num_units == MODELS[name] and classifier.classes == zoo.class_names("imagenet")
    assert classifier.metadata["timm"] == timm.__version__


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224"])
def test_preprocessing_is_that_of_timms_transform(timm, name):
    classifier = load_classifier(f"timm:{name}", weights=None)
    rows, columns = torch.meshgrid(torch.arange(300.0), torch.arange(400.0), indexing="ij")
    x = torch.stack([torch.sin(rows / 20) * torch.cos(columns / 30 + c) / 2 + 0.5 for c in range(3)])
    image = to_pil(x)
    assert isinstance(image, Image.Image)
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(classifier.network))(image)
    found = classifier.preprocess(x[None])[0]
    assert found.shape == expected.shape
    assert (
        float((found - expected).abs().max()) < 0.05
    )  # PIL rounds to bytes: 1/255 over a deviation of about 0.22


def test_models_without_a_head_are_encoders(timm):
    left_out = load_classifier("timm:resnet18", weights=None, head=False)
    whole = load_classifier("timm:resnet18", weights=None)
    x = torch.rand(1, 3, 40, 40)
    assert not left_out.has_head and "left out" in left_out.explanation
    torch.testing.assert_close(left_out.features(x), whole.features(x))


def test_weights_of_ones_own(timm, tmp_path):
    network = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()
    torch.save(
        {"state_dict": {"module." + k: v for k, v in network.state_dict().items()}}, tmp_path / "own.pth"
    )
    classifier = load_classifier("timm:mobilenetv3_small_050", weights=tmp_path / "own.pth")
    assert (
        classifier.classes == tuple(f"class {k}" for k in range(7)) and "'module.'" in classifier.explanation
    )
    x = torch.rand(1, 3, 30, 30)
    expected = network(classifier.preprocess(x)).detach()
    torch.testing.assert_close(classifier(x), expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    encoder = load_classifier("timm:mobilenetv3_small_050", weights=tmp_path / "own.pth", head=False)
    torch.testing.assert_close(encoder.features(x), classifier.features(x), atol=1e-5, rtol=1e-4)


def test_what_timm_does_not_have_or_cannot_get_is_explained(timm, monkeypatch):
    with pytest.raises(LisError, match=r"no model 'resnet5O'\. Did you mean 'resnet50'\?"):
        load_classifier("timm:resnet5O", weights=None)
    with pytest.raises(LisError, match="several|no linear layer gives.*'head'.*'head_dist'"):
        load_classifier("timm:deit_tiny_distilled_patch16_224", weights=None)  # the mean of two heads
    with pytest.raises(LisError, match="head is 'fc'"):
        load_classifier("timm:resnet18", weights=None, head="fc")

    def unreachable(*args, **kwargs):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(LisError, match=r"can't give the weights of 'resnet18' \(OSError: no route to host\)"):
        load_classifier("timm:resnet18")
