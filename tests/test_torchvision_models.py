"""torchvision's architectures: head(features(x)) is their own output; weights from files, fitted or refused."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lis_toolkit import zoo
from lis_toolkit.classifiers import Classifier, load_classifier, save_classifier
from lis_toolkit.classifiers import torchvision_models as module
from lis_toolkit.classifiers.preprocessing import ResizeCrop
from lis_toolkit.classifiers.state_dicts import fit_names, read_state
from lis_toolkit.classifiers.torchvision_models import build
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.features import extract_features

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# name: (penultimate units, side of the inputs: as small as the architecture allows)
ARCHITECTURES = {
    "alexnet": (4096, 64),
    "vgg11_bn": (4096, 32),
    "vgg16": (4096, 32),
    "resnet18": (512, 64),
    "resnet50": (2048, 64),
    "resnext50_32x4d": (2048, 64),
    "wide_resnet50_2": (2048, 64),
    "densenet121": (1024, 64),
    "densenet201": (1920, 64),
    "googlenet": (1024, 64),
    "inception_v3": (2048, 75),
    "mobilenet_v2": (1280, 64),
    "mobilenet_v3_large": (1280, 64),
    "mobilenet_v3_small": (1024, 64),
    "mnasnet0_5": (1280, 64),
    "shufflenet_v2_x0_5": (1024, 64),
    "efficientnet_b0": (1280, 64),
    "efficientnet_v2_s": (1280, 64),
    "regnet_x_400mf": (400, 64),
    "regnet_y_400mf": (440, 64),
    "convnext_tiny": (768, 64),
    "swin_t": (768, 64),
    "swin_v2_t": (768, 64),
    "vit_b_32": (768, 64),
    "maxvit_t": (512, 224),
}


def with_a_head(network):
    """The last linear layer drawn anew: ViT's starts at zero, and zeros are equal to anything."""
    layer = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=torch.Generator().manual_seed(3))
    if layer.bias is not None:
        nn.init.zeros_(
            layer.bias
        )  # untrained networks can fade to 1e-14, beside which a bias is all there is
    return network


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_head_of_the_features_is_the_networks_own_output(name):
    units, side = ARCHITECTURES[name]
    network = with_a_head(build(name, image_size=side))
    preprocess = ResizeCrop((side, side), side, MEAN, STD)
    x = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        own = network(preprocess(x))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = torch.get_rng_state()
    classifier = Classifier(network, preprocess=preprocess, name=name).requires_grad_(False)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    x.requires_grad_()
    r = classifier.features(x)
    logits = classifier.head(r)
    assert (classifier.num_units, classifier.num_classes, r.shape) == (units, 1000, (2, units))
    size = float(own.abs().max())
    assert float((own[0] - own[1]).abs().max()) > 1e-4 * size, (
        "answers to two images must differ to mean anything"
    )
    assert float((logits - own).detach().abs().max()) <= 1e-5 * size
    logits[0, 7].backward()
    assert float(x.grad[0].abs().sum()) > 0 and float(x.grad[1].abs().sum()) == 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize(
    ("name", "units"),
    [("resnet18", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024), ("squeezenet1_1", 1000)],
)
def test_random_weights_by_name(name, units):
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = load_classifier(name, weights=None, seed=3)
    assert not classifier.training and not any(p.requires_grad for p in classifier.parameters())
    assert (classifier.num_units, classifier.size, classifier.input_size) == (units, None, (224, 224))
    assert "random" in classifier.name and classifier.metadata["weights"] == "random, seed 3"
    assert len(set(classifier.classes)) == 1000 and classifier.classes[207] == "golden retriever"
    assert classifier.classes == zoo.class_names("imagenet")
    torch.manual_seed(3)
    network = models.get_model(name, weights=None).eval()
    x = torch.rand(1, 3, 50, 40)
    with torch.no_grad():
        expected = network(models.get_model_weights(name).DEFAULT.transforms()(x))
    torch.testing.assert_close(extract_features(classifier, x).logits, expected, atol=1e-5, rtol=1e-4)
    again = load_classifier(name, weights=None, seed=3)
    assert again.hash == classifier.hash != load_classifier(name, weights=None, seed=4).hash
    with pytest.raises(LisError, match="Keep the weights"):
        save_classifier(classifier, "never.safetensors")


def test_squeezenet_says_that_it_has_no_linear_head():
    classifier = load_classifier("squeezenet1_0", weights=None)
    assert "no linear head" in classifier.explanation


@pytest.fixture(scope="module")
def small():
    return build("shufflenet_v2_x0_5", seed=1)


NAME = "shufflenet_v2_x0_5"


def write(path, content):
    torch.save(content, path)
    return path


def test_published_weights_come_through_the_zoo(small, tmp_path, monkeypatch):
    from torchvision import models

    asked = []

    def locate(name, kind, progress=True):
        asked.append((name, kind, progress))
        return write(tmp_path / "weights.pth", small.state_dict())

    monkeypatch.setattr(module.zoo, "locate", locate)
    classifier = load_classifier(NAME, progress=False)
    assert asked == [(f"{NAME}.IMAGENET1K_V1", "classifier", False)]
    assert classifier.metadata["weights"] == "IMAGENET1K_V1" and classifier.classes[0] == "tench"
    x = torch.rand(1, 3, 30, 30)
    with torch.no_grad():
        expected = small(models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.transforms()(x))
    torch.testing.assert_close(classifier.logits(x), expected, atol=1e-5, rtol=1e-4)
    for call in (
        {"name_or_path": f"{NAME}.IMAGENET1K_V1"},
        {"name_or_path": NAME, "weights": "IMAGENET1K_V1"},
    ):
        assert load_classifier(**call).hash == classifier.hash
    names = [f"kind {k}" for k in range(1000)]
    assert load_classifier(NAME, classes=names).classes[7] == "kind 7"
    with pytest.raises(LisError, match="no weights 'IMAGENET1K_V9'"):
        load_classifier(f"{NAME}.IMAGENET1K_V9")
    with pytest.raises(LisError, match="no weights 'IMAGENET1K_V9'"):
        load_classifier(NAME, weights="IMAGENET1K_V9")


def prefixed(state, prefix):
    return {prefix + k: v for k, v in state.items()}


WRAPPED = {
    "as they are": (lambda s: s, ""),
    "from DataParallel": (lambda s: prefixed(s, "module."), "start with 'module.'"),
    "of a checkpoint": (
        lambda s: {"state_dict": s, "epoch": 3, "best": torch.tensor(0.5)},
        "its entry 'state_dict'",
    ),
    "of a nested checkpoint": (
        lambda s: {"epoch": 3, "model": {"state_dict": prefixed(s, "module.model."), "ema": 1}},
        "'model.state_dict'.*start with 'module.model.'",
    ),
    "as MoCo keeps them": (
        lambda s: {
            "arch": "x",
            "state_dict": prefixed(s, "module.encoder_q.") | {"module.queue": torch.zeros(3)},
        },
        "start with 'module.encoder_q.' are taken; 1 others are left out",
    ),
    "by an old torch": (lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")}, ""),
    "after profiling": (lambda s: s | {"total_ops": torch.zeros(1)}, ""),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_weights_of_ones_own(small, case, tmp_path):
    wrap, told = WRAPPED[case]
    path = write(tmp_path / "own.pth", wrap(dict(small.state_dict())))
    classifier = load_classifier(NAME, weights=path)
    weights = {k.removeprefix("network."): v for k, v in classifier.state_dict().items()}
    assert all(torch.equal(v, weights[k]) for k, v in small.state_dict().items())
    assert re.search(told, classifier.explanation)
    assert classifier.classes[5] == "class 5" and str(path) == classifier.metadata["weights"]


def test_own_number_of_classes_own_names_own_preprocessing(tmp_path):
    network = build(NAME, num_classes=3)
    path = tmp_path / "own.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    preprocess = ResizeCrop((48, 48), 48, [0.5] * 3, [0.5] * 3)
    classifier = load_classifier(NAME, weights=path, classes=["a", "b", "c"], preprocess=preprocess)
    assert classifier.classes == ("a", "b", "c") and classifier.input_size == (48, 48)
    x = torch.rand(2, 3, 20, 30)
    torch.testing.assert_close(classifier(x), network(preprocess(x)).detach(), atol=1e-5, rtol=1e-4)
    with pytest.raises(LisError, match="3 logits and 2 class names"):
        load_classifier(NAME, weights=path, classes=["a", "b"])
    encoder = load_classifier(NAME, weights=path, head=False, preprocess=preprocess)
    assert not encoder.has_head and encoder.num_units == 1024 and "'fc' was left out" in encoder.explanation
    torch.testing.assert_close(encoder.features(x), classifier.features(x))


def test_an_encoder_without_any_head_in_its_file(small, tmp_path):
    state = {k: v for k, v in small.state_dict().items() if not k.startswith("fc.")} | {
        "fc.0.weight": torch.ones(2, 2)
    }
    path = write(tmp_path / "moco.pth", {"state_dict": prefixed(state, "module.encoder_q.")})
    encoder = load_classifier(NAME, weights=path, head=False)
    assert encoder.num_units == 1024 and not encoder.has_head
    with pytest.raises(CheckpointError, match="missing: 'fc.weight', 'fc.bias'; unexpected: 'fc.0.weight'"):
        load_classifier(NAME, weights=path)


def test_image_size_of_a_transformer_follows_its_weights(tmp_path):
    network = build("vit_b_32", image_size=64, num_classes=5)
    path = write(tmp_path / "vit.pth", network.state_dict())
    preprocess = ResizeCrop((64, 64), 64, MEAN, STD)
    classifier = load_classifier("vit_b_32", weights=path, preprocess=preprocess)
    assert (classifier.num_classes, classifier.input_size) == (5, (64, 64))
    with pytest.raises(LisError, match="Are channels, size and preprocess"):
        load_classifier("vit_b_32", weights=path)


def test_densenets_old_names_are_translated():
    network = build("densenet121")
    new = network.state_dict()
    old = {}
    for key, value in new.items():
        for part in ("norm", "relu", "conv"):
            if "denselayer" in key and not key.endswith("num_batches_tracked"):  # which old files do not have
                key = key.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
        old[key] = value
    assert set(old) != set(new)
    fitted, note = fit_names(old, network)
    assert set(fitted) == set(new) and note == "" and all(fitted[k] is new[k] for k in new)


class Mark:
    """Leaves a mark if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


BAD = {
    "another architecture": (
        lambda s, p: write(p, build("mnasnet0_5").state_dict()),
        "does not fit.*missing.*and .* more",
    ),
    "a missing layer": (
        lambda s, p: write(p, {k: v for k, v in s.items() if k != "fc.bias"}),
        "missing: 'fc.bias'",
    ),
    "a layer too many": (lambda s, p: write(p, s | {"fc2.bias": torch.ones(2)}), "unexpected: 'fc2.bias'"),
    "another width": (
        lambda s, p: write(p, s | {"conv1.0.weight": torch.ones(24, 1, 3, 3)}),
        r"'conv1.0.weight' is \[24, 1, 3, 3\] there and \[24, 3, 3, 3\] here",
    ),
    "NaN": (lambda s, p: write(p, s | {"fc.bias": torch.full((1000,), torch.nan)}), "NaN.*'fc.bias'"),
    "no weights": (lambda s, p: write(p, {"epoch": 3, "name": "x"}), r"no state dict: \['epoch', 'name'\]"),
    "a number": (lambda s, p: write(p, 3), "no state dict: int"),
    "a whole module": (lambda s, p: write(p, nn.Linear(2, 2)), "more than weights was saved"),
    "a web page": (lambda s, p: p.write_text("<html>not found</html>") and p, "can't be read as weights"),
    "an empty file": (lambda s, p: p.write_bytes(b"") or p, "can't be read as weights"),
    "no file": (lambda s, p: p.with_name("nowhere.pth"), "No such file"),
    "a folder": (lambda s, p: p.parent, "can't read weights"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_do_not_fit(small, case, tmp_path):
    make, message = BAD[case]
    path = make(dict(small.state_dict()), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        load_classifier(NAME, weights=path)


def test_truncated_files_and_old_formats(small, tmp_path):
    path = write(tmp_path / "w.pth", small.state_dict())
    data = path.read_bytes()
    for share in (0.001, 0.3, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match="can't be read as weights"):
            read_state(path)
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=False)
    state, _ = read_state(path)
    assert all(torch.equal(state[k], v) for k, v in small.state_dict().items())


def test_nothing_in_a_file_is_executed(small, tmp_path):
    mark = tmp_path / "mark"
    path = write(tmp_path / "w.pth", {"state_dict": dict(small.state_dict()), "x": Mark(str(mark))})
    with pytest.raises(CheckpointError, match="more than weights"):
        load_classifier(NAME, weights=path)
    assert not mark.exists()


def test_weights_without_a_network_are_told_from_classifiers(small, tmp_path):
    path = write(tmp_path / "resnet50.pth", small.state_dict())
    with pytest.raises(CheckpointError, match="weights alone.*weights=PATH"):
        load_classifier(path)
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="weights alone.*weights=PATH"):
        load_classifier(tmp_path / "a.safetensors")


def test_options_that_do_not_fit():
    with pytest.raises(LisError, match="Did you mean 'resnet50'"):
        load_classifier("resnet5O", weights=None)
    with pytest.raises(LisError, match="weights, classes can't be given for fashion"):
        load_classifier("fashion", weights=None, classes=["a"])
    with pytest.raises(LisError, match="head is 'fc'"):
        load_classifier("resnet18", weights=None, head="fc")
    with pytest.raises(LisError, match="seed is -1"):
        load_classifier("resnet18", weights=None, seed=-1)
    with pytest.raises(LisError, match="no device"):
        load_classifier(NAME, weights=None, device="toaster")
    state = torch.get_rng_state()
    build(NAME, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
