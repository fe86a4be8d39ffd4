import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lis_toolkit.classifiers import (
    ARCHITECTURES,
    Classifier,
    build_network,
    complete_config,
    fold_norms,
    load_classifier,
    save_classifier,
)
from lis_toolkit.datasets import FASHION_CLASSES, Photographs, load_fashion
from lis_toolkit.errors import LisError
from lis_toolkit.files import load_tensors, save_tensors, sha256_tensors
from lis_toolkit.names import unique_names
from lis_toolkit.training.classifier import AUGMENTATIONS, main, measure_accuracy, train_classifier
from lis_toolkit.training.critic_features import train_critic_features, turn_quarters

SMALL = {
    "plain": {"stem": 4, "stages": ((6, 2), (8, 1)), "num_classes": 3},
    "residual": {"stem": 4, "stages": ((6, 1), (8, 1)), "units": 7, "num_classes": 3},
}


def make(architecture, seed=0):
    torch.manual_seed(seed)
    config = complete_config(architecture, SMALL[architecture])
    network = build_network(architecture, config)
    for module in network.modules():  # statistics as after training, so that folding has something to fold
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    metadata = {"architecture": architecture, "config": config}
    classifier = Classifier(
        network, ("Shirt", "Coat", "Bag"), channels=1, size=(16, 16), mean=[0.3], std=[0.4], metadata=metadata
    )
    return classifier.eval()


@pytest.fixture(params=sorted(ARCHITECTURES))
def classifier(request):
    return make(request.param)


X = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def slow_plain(classifier, x):
    """PlainNet's features written out with float64 loops over convolutions and norms, from the state alone."""
    state = {k: v.double() for k, v in classifier.state_dict().items()}
    y = (x.double() - 0.3) / 0.4
    for i in range(0, 8, 2):
        weight = state[f"network.body.{i}.0.weight"]
        stride = 1 if i == 0 or weight.shape[0] == weight.shape[1] else 2
        patches = nn.functional.unfold(y, 3, padding=1, stride=stride)  # [N, C 9, L]
        y = torch.einsum("oc,ncl->nol", weight.flatten(1), patches)
        side = int(y.shape[2] ** 0.5)
        y = y.reshape(len(x), -1, side, side)
        p = {
            k: state[f"network.body.{i}.1.{k}"][:, None, None]
            for k in ("running_mean", "running_var", "weight", "bias")
        }
        y = (y - p["running_mean"]) / (p["running_var"] + 1e-5).sqrt() * p["weight"] + p["bias"]
        y = y * (y > 0)
    return y.flatten(2).mean(2)


def test_plain_features_against_a_slow_reference():
    classifier = make("plain")
    r = classifier.features(X)
    torch.testing.assert_close(r.double(), slow_plain(classifier, X), atol=1e-5, rtol=1e-5)
    assert bool((r >= 0).all()) and r.shape == (5, 8)


def test_steps_fit_together(classifier):
    r = classifier.features(X)
    assert r.shape == (5, classifier.num_units)
    torch.testing.assert_close(
        classifier.head(r), r @ classifier.network.head.weight.T + classifier.network.head.bias
    )
    torch.testing.assert_close(classifier(X), classifier.logits(X))
    torch.testing.assert_close(classifier(X), classifier.head(r))
    assert classifier.head(r[0]).shape == (3,) and classifier.head(r[None]).shape == (1, 5, 3)
    assert (classifier.num_classes, classifier.channels, classifier.size) == (3, 1, (16, 16))
    assert classifier.device.type == "cpu" and classifier.dtype == torch.float32


def test_an_image_has_the_same_features_in_any_batch(classifier):
    together = classifier.features(X)
    for i in range(len(X)):
        torch.testing.assert_close(classifier.features(X[i : i + 1])[0], together[i], atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_image_and_agree_with_differences(classifier):
    double = copy.deepcopy(classifier).double()
    x = X[:1].double().requires_grad_()
    double.logits(x)[0, 1].backward()
    step = torch.zeros_like(x)
    step[0, 0, 7, 9] = 1e-6
    difference = (double.logits(x + step) - double.logits(x - step))[0, 1].detach() / 2e-6
    assert abs(float(x.grad[0, 0, 7, 9] - difference)) < 1e-6


def test_folding_norms_changes_nothing_but_the_norms(classifier):
    folded = copy.deepcopy(classifier)
    fold_norms(folded)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded.features(X), classifier.features(X), atol=1e-5, rtol=1e-5)
    assert folded.metadata["config"]["norm"] is False and classifier.metadata["config"]["norm"] is True


@pytest.mark.parametrize("folded", [False, True])
def test_save_and_load(classifier, folded, tmp_path):
    if folded:
        fold_norms(classifier)
    path = tmp_path / "c.safetensors"
    save_classifier(classifier, path, {"accuracy": {"test": 0.5}})
    loaded = load_classifier(path)
    assert torch.equal(loaded(X), classifier(X)) and loaded.hash == classifier.hash
    assert loaded.classes == classifier.classes and loaded.name == "classifier" and loaded.size == (16, 16)
    assert (
        loaded.metadata["accuracy"]["test"] == 0.5
        and loaded.metadata["provenance"]["torch"] == torch.__version__
    )
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    save_classifier(loaded, tmp_path / "again.safetensors")
    assert load_classifier(str(tmp_path / "again.safetensors")).hash == classifier.hash


def test_hash_follows_weights_and_preprocessing(classifier):
    hashes = {classifier.hash}
    with torch.no_grad():
        classifier.network.head.weight[0, 0] += 1e-3
    hashes.add(classifier.hash)
    classifier.mean += 0.1
    hashes.add(classifier.hash)
    assert len(hashes) == 3
    assert copy.deepcopy(classifier).hash == classifier.hash == sha256_tensors(classifier.state_dict())


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(0, 17), max_size=6))
def test_wrong_shapes_are_named(shape):
    classifier = make("plain")
    if len(shape) != 4 or shape[1:] != [1, 16, 16]:
        with pytest.raises(LisError, match=r"takes \[N, 1, 16, 16\]"):
            classifier.features(torch.rand(shape))
    if not shape or shape[-1] != 8:
        with pytest.raises(LisError, match="8 penultimate units"):
            classifier.head(torch.rand(shape))


def test_classes_by_name_and_index():
    classifier = make("plain")
    assert [classifier.class_index(c) for c in ("Coat", 2, np.int64(0), torch.tensor(1))] == [1, 2, 0, 1]
    assert classifier.class_indices(None) == [0, 1, 2]
    assert classifier.class_indices(["Bag", 0]) == [2, 0]
    assert classifier.class_indices("Bag") == [2] and classifier.class_indices(1) == [1]
    assert classifier.class_indices(torch.tensor([1, 0])) == [1, 0] and classifier.class_indices(
        np.array([2])
    ) == [2]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("coat", r"no class 'coat'.*Did you mean 'Coat'\?"),
        ("Boat", "Did you mean 'Coat'"),
        ("xyzzy", r"no class 'xyzzy'; it knows 'Shirt', 'Coat', 'Bag'\.$"),
        (3, "has 3, numbered 0 to 2"),
        (-1, "no class -1"),
        (True, "bool"),
        (1.0, "float"),
        (None, "NoneType"),
        (["Coat"], "list"),
        (torch.tensor([0, 1]), "Tensor"),
    ],
)
def test_classes_that_do_not_exist(which, message):
    with pytest.raises(LisError, match=message):
        make("plain").class_index(which)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ([], "empty"),
        (["Coat", 1], "listed twice"),
        (["Coat", "coat"], "Did you mean"),
        ([None], "NoneType"),
        (7, "no class 7"),
    ],
)
def test_lists_of_classes_that_make_no_sense(which, message):
    with pytest.raises(LisError, match=message):
        make("plain").class_indices(which)


@settings(max_examples=60, deadline=None)
@given(
    which=st.one_of(
        st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3)
    )
)
def test_any_class_is_an_index_or_a_lis_error(which):
    classifier = make("plain")
    try:
        index = classifier.class_index(which)
    except LisError:
        assert which not in classifier.classes and which not in range(3) or isinstance(which, (bool, float))
    else:
        assert index == (classifier.classes.index(which) if isinstance(which, str) else which)


@settings(max_examples=60, deadline=None)
@given(classes=st.lists(st.sampled_from(["crane", "dog", "crane (0)", "crane (2)", "dog (1)"]), max_size=8))
def test_unique_names_are_unique_and_leave_others_alone(classes):
    unique = unique_names(classes)
    assert len(set(unique)) == len(unique) == len(classes)
    for name, new in zip(classes, unique, strict=True):
        assert new == name if len(set(classes)) == len(classes) else new.startswith(name)


def test_constructor_checks():
    network = build_network("plain", SMALL["plain"])
    good = {"channels": 1, "size": (16, 16), "mean": [0.0], "std": [1.0]}
    with pytest.raises(LisError, match="3 logits and 2 class names"):
        Classifier(network, ("a", "b"), **good)
    with pytest.raises(LisError, match="2 means"):
        Classifier(network, ("a", "b", "c"), **{**good, "mean": [0.0, 0.1]})
    with pytest.raises(LisError, match="no linear layer gives the network's output"):
        Classifier(nn.Sequential(), ("a",), **good)


def rewrite(path, change):
    tensors, metadata = load_tensors(path)
    change(tensors, metadata)
    save_tensors(path, tensors, metadata)


DAMAGES = {
    "other weights": (lambda t, m: t["network.head.bias"].add_(1), "altered"),
    "other preprocessing": (lambda t, m: t["mean"].add_(1), "altered"),
    "no hash": (lambda t, m: m.pop("sha256"), "altered"),
    "a missing tensor": (lambda t, m: t.pop("network.head.bias"), "does not fit its own description"),
    "a tensor too many": (lambda t, m: t.update(x=torch.zeros(1)), "does not fit its own description"),
    "other widths": (lambda t, m: m["config"].update(stem=5), "does not fit its own description"),
    "an unknown setting": (lambda t, m: m["config"].update(colour=5), "can't be built"),
    "nonsense settings": (lambda t, m: m["config"].update(stages="many"), "can't be built"),
    "an unknown architecture": (lambda t, m: m.update(architecture="plian"), "Did you mean 'plain'"),
    "code as architecture": (lambda t, m: m.update(architecture="os.system"), "no architecture"),
    "no architecture": (lambda t, m: m.pop("architecture"), "does not fit"),
    "no classes": (lambda t, m: m.pop("classes"), "does not fit"),
    "too few classes": (lambda t, m: m.update(classes=["a"]), "3 logits and 1 class names"),
    "another format": (lambda t, m: m.update(format="lis-link-1"), "not a classifier.*lis-link-1"),
    "no description": (lambda t, m: m.clear(), "not a classifier"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files(damage, tmp_path):
    path = tmp_path / "c.safetensors"
    save_classifier(make("plain"), path)
    change, message = DAMAGES[damage]
    rewrite(path, change)
    with pytest.raises(LisError, match=message):
        load_classifier(path)


def test_unknown_names_devices_and_places(tmp_path):
    with pytest.raises(LisError, match="Did you mean 'fashion'"):
        load_classifier("fasion")
    save_classifier(make("plain"), tmp_path / "c.safetensors")
    for device in ("toaster", "meta2", "cpu:x"):
        with pytest.raises(LisError, match="no device"):
            load_classifier(tmp_path / "c.safetensors", device)
    with pytest.raises(LisError, match="can't write"):
        save_classifier(make("plain"), tmp_path / "c.safetensors" / "d.safetensors")
    own = make("plain")
    own.metadata.clear()
    with pytest.raises(LisError, match="architecture None"):
        save_classifier(own, tmp_path / "own.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


# ---- training, briefly


def stripes(n, seed):
    """Photographs of three easy classes: horizontal stripes, vertical stripes, none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.rand(n, 1, 16, 16, generator=generator) * 0.3
    images[labels == 0, :, ::4] += 0.6
    images[labels == 1, :, :, ::4] += 0.6
    return Photographs(images, labels, ("rows", "columns", "none"))


@pytest.mark.parametrize(("architecture", "augment"), [("plain", "light"), ("residual", "geometric")])
def test_training_learns_is_reproducible_and_describes_itself(architecture, augment, tmp_path):
    settings = {
        "config": {k: v for k, v in SMALL[architecture].items() if k != "num_classes"},
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 2e-2,
        "augment": augment,
        "progress": False,
    }
    train, test = stripes(300, 0), stripes(60, 1)
    state = torch.get_rng_state()
    classifier = train_classifier(architecture, train, test, **settings)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert classifier.metadata["accuracy"]["test"]["overall"] > 0.9
    assert measure_accuracy(classifier, test) == classifier.metadata["accuracy"]["test"]
    save_classifier(classifier, tmp_path / "c.safetensors")
    assert load_classifier(tmp_path / "c.safetensors").hash == classifier.hash
    assert json.loads(json.dumps(classifier.metadata["training"]))["augment"] == augment
    settings["epochs"] = 1
    runs = [train_classifier(architecture, train, test, seed=s, **settings).hash for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_augmentations_stay_in_range_and_differ_between_images(augment):
    x = torch.rand(64, 2, 16, 16)
    x[1] = x[0]
    y = AUGMENTATIONS[augment](x, torch.Generator().manual_seed(0))
    assert y.shape == x.shape and y.dtype == x.dtype
    assert float(y.min()) >= 0 and float(y.max()) <= 1
    assert torch.equal(y[0], y[1]) == (augment == "none")


def test_measure_accuracy_against_counting():
    test = stripes(60, 1)
    classifier = make("plain")
    hits = [int(classifier(test.images[i : i + 1]).argmax()) == int(test.labels[i]) for i in range(60)]
    measured = measure_accuracy(classifier, test, batch_size=7)
    assert measured["overall"] == round(sum(hits) / 60, 6) and measured["images"] == 60
    assert measured["per_class"]["rows"] == round(sum(hits[::3]) / 20, 4)


def test_training_refuses_settings():
    photographs = stripes(30, 0)
    for change, message in [
        ({"augment": "lihgt"}, "Did you mean 'light'"),
        ({"epochs": 0}, "at least 1"),
        ({"architecture": "plane"}, "Did you mean 'plain'"),
        ({"learning_rate": 1e30, "epochs": 3}, "diverged"),
    ]:
        arguments = {
            "architecture": "plain",
            "config": {"stem": 4, "stages": ((6, 1),)},
            "progress": False,
            **change,
        }
        with pytest.raises(LisError, match=message):
            train_classifier(arguments.pop("architecture"), photographs, photographs, **arguments)


def test_command_line_says_errors_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match="error: no Fashion-MNIST train files"):
        main(["--architecture", "plain", "--out", str(tmp_path / "c"), "--data", str(tmp_path / "none")])


def test_turn_quarters_against_one_at_a_time():
    x, quarters = torch.rand(6, 1, 5, 5), torch.tensor([0, 1, 2, 3, 1, 0])
    expected = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(x, quarters, strict=True)])
    assert torch.equal(turn_quarters(x, quarters), expected)


def test_critic_features_learn_and_are_frozen():
    net = train_critic_features(stripes(60, 0), epochs=6, batch_size=20, progress=False)
    assert net.training_accuracy["class"] > 0.5 and not net.training
    x = (torch.rand(2, 1, 16, 16) * 2 - 1).requires_grad_()
    maps = net.features(x)
    sides = zip(net.widths, (16, 8, 4, 2), strict=True)
    assert [tuple(m.shape) for m in maps] == [(2, width, side, side) for width, side in sides]
    sum(m.mean() for m in maps).backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in net.parameters())


# ---- the bundled weights

LEAST_ACCURACY = {"fashion": 0.935, "fashion-judge": 0.93}  # of 10,000 test photographs


@pytest.mark.parametrize("name", ["fashion", "fashion-judge"])
def test_bundled_weights(name):
    classifier = load_classifier(name)
    assert classifier.classes == FASHION_CLASSES and classifier.name == name
    assert (classifier.channels, classifier.size) == (1, (32, 32))
    assert classifier.hash == classifier.metadata["sha256"]
    accuracy = classifier.metadata["accuracy"]["test"]
    assert accuracy["images"] == 10_000 and accuracy["overall"] >= LEAST_ACCURACY[name]
    sample = load_fashion("sample")
    assert measure_accuracy(classifier, sample)["overall"] >= 0.90
    r = classifier.features(sample.images[:200])
    assert bool((r.std(0) > 0).any()) and torch.isfinite(r).all()


@pytest.mark.parametrize("name", ["fashion", "fashion-judge"])
def test_bundled_accuracy_on_the_sample_is_what_its_file_says(name):
    classifier = load_classifier(name)
    recorded = classifier.metadata["accuracy"]["sample"]
    measured = measure_accuracy(classifier, load_fashion("sample"))
    assert (
        abs(measured["overall"] - recorded["overall"]) <= 0.001 and measured["images"] == recorded["images"]
    )


def test_bundled_penultimate_units_are_averages_of_a_relu():
    classifier = load_classifier("fashion")
    r = classifier.features(load_fashion("sample").images)
    assert bool((r >= 0).all()) and classifier.num_units == 256
    assert sum(p.numel() for p in classifier.parameters()) <= 1_500_000


def test_the_judge_is_another_network():
    judge, classifier = load_classifier("fashion-judge"), load_classifier("fashion")
    assert judge.metadata["architecture"] != classifier.metadata["architecture"]
    assert judge.metadata["training"]["seed"] != classifier.metadata["training"]["seed"]
    assert judge.metadata["training"]["augment"] != classifier.metadata["training"]["augment"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion", "fashion-judge"])
def test_bundled_accuracy_on_the_whole_test_set(name):
    try:
        test = load_fashion("test")
    except LisError as error:
        pytest.skip(str(error))
    classifier = load_classifier(name)
    measured = measure_accuracy(classifier, test)["overall"]
    assert (
        measured >= LEAST_ACCURACY[name]
        and abs(measured - classifier.metadata["accuracy"]["test"]["overall"]) <= 2e-4
    )
