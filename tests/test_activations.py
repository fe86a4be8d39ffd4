import copy
import gc
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lis_toolkit import load_classifier, load_fashion
from lis_toolkit.activations import (
    Layer,
    choose_layers,
    extract_activations,
    list_layers,
    record_activations,
    stream_activations,
)
from lis_toolkit.classifiers import Classifier, PlainNet, ResidualNet
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.own_images import open_images

X = torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def native(network_class=PlainNet, **config):
    """A small untrained network with dropout and batch normalisation, as the bundled ones are made."""
    torch.manual_seed(0)
    network = network_class(channels=3, num_classes=4, stem=4, stages=((6, 1), (8, 2)), dropout=0.5, **config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    return Classifier(network, "abcd", channels=3, size=(8, 8), mean=mean, std=std, name="toy").eval()


@pytest.fixture(scope="module")
def classifier():
    return native()


def hooks_of(classifier):
    """Every hook on every module, of any kind."""
    return sum(
        len(hooks)
        for module in classifier.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )


def by_hand(classifier, x):
    """Output of every module of a plain network's body, run one after another, each on a copy."""
    found, value = {}, (x - classifier.mean) / classifier.std
    with torch.no_grad():
        for number, module in enumerate(classifier.network.body):
            value = module(value.clone())
            found[f"body.{number}"] = value.clone()
        found["penultimate"] = value.mean((2, 3))
        head = classifier.network.head
        found["logits"] = found["penultimate"] @ head.weight.T + head.bias
    return found


class Shared(nn.Module):
    """Residual blocks as torchvision writes them: one in-place ReLU for all, and an addition in place."""

    def __init__(self, inplace=True):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=inplace)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        first = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(first))
        out += first
        return self.fc(self.relu(out).mean((2, 3)))


def shared(inplace=True):
    torch.manual_seed(3)
    return Classifier(Shared(inplace).eval(), size=(8, 8), name="shared")


def test_the_layers_of_a_plain_network(classifier):
    layers = list_layers(classifier)
    assert [layer.name for layer in layers] == ["body.1", "body.3", "body.5", "body.7", "penultimate"]
    assert [layer.shape for layer in layers] == [(4, 8, 8), (6, 4, 4), (8, 2, 2), (8, 2, 2), (8,)]
    assert layers[1].title == "conv 2 · 4×4×6" and layers[-1].title == "penultimate · 8"
    assert [layer.depth for layer in layers] == [0, 0.25, 0.5, 0.75, 1]
    assert layers[1].channels == 6 and layers[1].positions == (4, 4) and layers[-1].positions == (1, 1)
    names = [layer.name for layer in list_layers(classifier, "all")]
    running = [n for n, m in classifier.network.named_modules() if n and n != "head"]
    assert set(names) == {*running, "penultimate", "logits"}
    assert names.index("body.0.0") < names.index("body.0.1") < names.index("body.0") < names.index("body.1")


def test_extraction_against_modules_run_by_hand(classifier):
    expected = by_hand(classifier, X)
    found = extract_activations(classifier, X, [*expected], batch_size=4)
    assert len(found) == 11 and list(found) == [*expected]
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-5)
        assert found[name].dtype == torch.float32 and not found[name].requires_grad
    layer = list_layers(classifier)[0]
    assert found[layer] is found["body.1"]
    for pool, function in (("mean", lambda v: v.mean((2, 3))), ("max", lambda v: v.amax((2, 3)))):
        pooled = extract_activations(classifier, X, ["body.3", "penultimate"], pool=pool)
        torch.testing.assert_close(pooled["body.3"], function(expected["body.3"]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled["penultimate"], expected["penultimate"], atol=1e-5, rtol=1e-5)


def test_a_convolution_is_not_what_the_in_place_layer_after_it_left(classifier):
    """body.2 is convolution and normalisation; the in-place ReLU body.3 writes into its output."""
    expected = by_hand(classifier, X)
    found = extract_activations(classifier, X, ["body.2", "body.3"])
    assert float(found["body.2"].min()) < 0 and float(found["body.3"].min()) == 0
    torch.testing.assert_close(found["body.2"], expected["body.2"], atol=1e-5, rtol=1e-5)


def test_the_bundled_classifier_and_its_judge():
    x = load_fashion("sample").images[:6]
    fashion, judge = load_classifier("fashion"), load_classifier("fashion-judge")
    expected = by_hand(fashion, x)
    found = extract_activations(fashion, x)
    assert len(found.layers) == 9
    for name in found:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)
    layers = list_layers(judge)
    assert len(layers) == 15 and layers[-1].name == "penultimate"
    block = judge.network.body[4]
    with torch.no_grad():
        before = judge.network.body[:4](judge.preprocess(x))
        first = block.first(before)
        after = block.second(F.silu(first))
    got = extract_activations(judge, x, ["body.4.first.0", "body.4.second", "penultimate"])
    torch.testing.assert_close(got["body.4.first.0"], first, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got["body.4.second"], after, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got["penultimate"], judge.features(x).detach(), atol=1e-5, rtol=1e-5)


def test_a_module_that_runs_twice_has_two_names_and_additions_in_place_are_seen():
    model = shared()
    names = [layer.name for layer in list_layers(model)]
    assert names == ["relu#1", "bn2", "penultimate"]  # bn2: what comes after is an addition, then a ReLU
    assert {"relu#1", "relu#2"} < {layer.name for layer in list_layers(model, "all")}
    with pytest.raises(LisError, match="runs 2 times in a pass.*'relu#1', 'relu#2'"):
        choose_layers(model, "relu")
    with torch.no_grad():
        net, x = shared(inplace=False).network, X
        first = F.relu(net.bn1(net.conv1(x)))
        second = net.bn2(net.conv2(first))
    found = extract_activations(model, X, ["relu#1", "bn2", "relu#2", "conv1"], batch_size=5)
    for name, values in {"relu#1": first, "bn2": second, "relu#2": F.relu(first + second)}.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["conv1"], net.conv1(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [native, lambda: native(ResidualNet), shared])
def test_gradients_flow_through_what_is_recorded(make):
    """Against a finite difference: a step along the gradient of a layer moves the logit as the gradient says."""
    model = make().requires_grad_(False).double()
    x = X[:2].double().requires_grad_()
    layers = [layer for layer in list_layers(model, "all") if layer.name != "logits"]
    with record_activations(model, [*layers, "logits"], detach=False) as recorded:
        logits = model.logits(x)
        values = [recorded[layer] for layer in layers]
        gradients = torch.autograd.grad(logits[:, 1].sum(), values)
    torch.testing.assert_close(recorded["logits"], logits)
    for layer, value, gradient in zip(layers, values, gradients, strict=True):
        if layer.name == "penultimate":
            torch.testing.assert_close(gradient, model.linear_head()[0][1].expand_as(value))
            continue
        module, _, number = layer.name.partition("#")
        step = 1e-6 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2)).double()
        runs = 0

        def push(_, __, output, step=step, number=number):
            nonlocal runs
            runs += 1
            return output + step if runs == int(number or 1) else None

        handle = model.network.get_submodule(module).register_forward_hook(push)
        with torch.no_grad():
            moved = model.logits(x)[:, 1].sum()
        handle.remove()
        expected = float((gradient * step).sum())
        assert abs(float((moved - logits[:, 1].sum()).detach()) - expected) <= 2e-2 * abs(expected) + 1e-12, (
            layer.name
        )


def test_networks_of_torchvision_and_timm():
    """Dense connections, norms with their activation inside, channels that come last, patches and tokens."""
    import timm
    import torchvision

    torch.manual_seed(0)
    dense = Classifier(torchvision.models.DenseNet(4, (1, 2), 8).eval(), size=(32, 32), name="dense")
    names = [layer.name for layer in list_layers(dense)]
    assert names[:3] == ["features.relu0", "features.denseblock1.denselayer1.relu2",
                         "features.denseblock1.denselayer1.conv2"]  # fmt: skip
    mobile = timm.create_model("mobilenetv2_035", num_classes=3).eval()
    mobile = Classifier(mobile, size=(32, 32), name="mobile")
    assert [layer.name for layer in list_layers(mobile)][:3] == ["bn1", "blocks.0.0.bn1", "blocks.0.0.bn2"]
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        stem = mobile.network.bn1(mobile.network.conv_stem(x))
    torch.testing.assert_close(extract_activations(mobile, x, "bn1")["bn1"], stem, atol=1e-5, rtol=1e-5)
    swin = torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [2, 4], [2, 2], num_classes=3).eval()
    swin = Classifier(swin, size=(32, 32), name="swin")
    shapes = {layer.name: layer.shape for layer in list_layers(swin, "all")}
    assert all(shapes[f"features.{n}"] == (12, 8, 8) for n in ("0.0", "0.1", "0.2", "0", "1.0.norm1", "1.0"))
    with torch.no_grad():
        block = swin.network.features[:2](x)  # [N, h, w, C]
    found = extract_activations(swin, x, "features.1")["features.1"]
    torch.testing.assert_close(found, block.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)
    with record_activations(swin, ["features.1", "features.0.1"], detach=False) as recorded:
        logit = swin.logits(x)[:, 0].sum()
        gradients = torch.autograd.grad(logit, [recorded["features.1"], recorded["features.0.1"]])
    assert all(g.shape == (2, 12, 8, 8) and float(g.abs().max()) > 0 for g in gradients)


def test_an_encoder_without_a_head_and_one_with_a_separate_head():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    encoder = Classifier(body, head=False, size=(8, 8), name="encoder")
    assert [layer.name for layer in list_layers(encoder)] == ["1", "penultimate"]
    assert "logits" not in [layer.name for layer in list_layers(encoder, "all")]
    with pytest.raises(LisError, match="encoder without a head"):
        extract_activations(encoder, X, "logits")
    headed = Classifier(copy.deepcopy(body), head=nn.Linear(4, 3), size=(8, 8), name="headed")
    for model in (encoder, headed):
        found = extract_activations(model, X, ["1", "penultimate"])
        torch.testing.assert_close(found["penultimate"], found["1"].mean((2, 3)), atol=1e-5, rtol=1e-5)
        with record_activations(model, ["1", "penultimate"], detach=False) as recorded:
            model.logits(X) if model.has_head else model.features(X)
            assert torch.equal(recorded["penultimate"].detach(), found["penultimate"])


def test_recording_does_not_change_answers_and_each_pass_replaces_the_last(classifier):
    plain = classifier.logits(X).detach()
    for detach in (True, False):
        with record_activations(classifier, ["body.3", "penultimate", "logits"], detach) as recorded:
            with pytest.raises(LisError, match="'body.3' was not run"):
                recorded["body.3"]
            with pytest.raises(LisError, match="'body.5' is not recorded"):
                recorded["body.5"]
            assert torch.equal(classifier.logits(X).detach(), plain)
            first = recorded["body.3"].detach().clone()
            classifier.logits(X[:3])
            torch.testing.assert_close(recorded["body.3"], first[:3], atol=1e-5, rtol=1e-5)
            assert recorded["penultimate"].shape == (3, 8) and recorded["logits"].shape == (3, 4)
            assert recorded["body.3"].requires_grad != detach
    assert hooks_of(classifier) == 0


def test_a_pass_that_breaks_off_does_not_count(classifier):
    model = shared()
    with record_activations(model, ["relu#2"]) as recorded:
        handle = model.network.conv2.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.logits(X)
        handle.remove()
        model.logits(X)
        assert float(recorded["relu#2"].min()) == 0
        torch.testing.assert_close(recorded["relu#2"], extract_activations(model, X, "relu#2")["relu#2"])


def test_values_overwritten_by_the_caller_are_noticed(classifier):
    with record_activations(classifier, "body.3", detach=False) as recorded:
        classifier.logits(X)
        with torch.no_grad():
            recorded["body.3"].zero_()
        with pytest.raises(LisError, match="overwritten"):
            recorded["body.3"]


def test_other_threads_are_not_recorded(classifier):
    with record_activations(classifier, "penultimate") as recorded:
        classifier.logits(X[:2])
        other = threading.Thread(target=lambda: classifier.logits(X))
        other.start()
        other.join()
        assert len(recorded["penultimate"]) == 2


def test_one_pass_a_batch_for_all_layers(classifier):
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    list_layers(classifier)  # the one run that finds the layers
    handle = classifier.network.body[0][0].register_forward_hook(count)
    try:
        extract_activations(classifier, X, list_layers(classifier, "all"), batch_size=4)
        list_layers(classifier)
    finally:
        handle.remove()
    assert passes == 3


def test_nothing_stays_after_errors_interrupts_and_dropped_streams(classifier):
    model = copy.deepcopy(classifier).train()
    model.network.body[0][1].eval()  # a frozen norm keeps its own mode
    modes = [m.training for m in model.modules()]
    for error in (RuntimeError, KeyboardInterrupt, MemoryError):

        def fail(*_, error=error):
            raise error

        handle = model.network.body[4].register_forward_hook(fail)
        try:
            list_of = choose_layers(classifier, ["body.3", "body.7"])
            with pytest.raises(error):
                extract_activations(model, X, list_of)
            with pytest.raises(error), record_activations(model, list_of):
                model.logits(X)
        finally:
            handle.remove()
        assert hooks_of(model) == 0 and [m.training for m in model.modules()] == modes
    stream = stream_activations(model, X, batch_size=2)
    for _ in range(2):
        next(stream)
        assert hooks_of(model) == 0 and [m.training for m in model.modules()] == modes
        assert torch.is_grad_enabled()
    stream.close()  # GeneratorExit
    del stream
    with pytest.raises(KeyError), record_activations(model, "body.3"):
        raise KeyError
    assert hooks_of(model) == 0 and [m.training for m in model.modules()] == modes


def test_a_thousand_calls_leave_no_hook_and_no_tensor(classifier):
    def tensors():
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    x = X[:2]
    counts = []
    for _ in range(2):
        for call in range(500):
            if call % 3 == 0:
                extract_activations(classifier, x)
            elif call % 3 == 1:
                next(stream_activations(classifier, x, batch_size=1))
            else:
                with record_activations(classifier, "body.3", detach=False):
                    classifier.logits(x)
        counts.append(tensors())
    assert hooks_of(classifier) == 0
    assert counts[1] <= counts[0]


def test_statistics_and_random_numbers_are_left_alone(classifier):
    model = copy.deepcopy(classifier).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = extract_activations(model, X, "logits")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(found["logits"], classifier.logits(X).detach(), atol=1e-5, rtol=1e-5)


def test_photographs_and_sources_give_the_same_rows(classifier):
    expected = extract_activations(classifier, X, "body.3")["body.3"]
    photographs = Photographs(X, torch.zeros(11, dtype=torch.int64), ("a",))
    for x in (photographs, open_images(X), list(X), X.double()):
        found = extract_activations(classifier, x, "body.3", batch_size=4)["body.3"]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_streaming_inside_inference_mode(classifier):
    model = copy.deepcopy(classifier)
    with torch.inference_mode():
        found = extract_activations(model, X, "body.3")["body.3"]
    torch.testing.assert_close(found, by_hand(classifier, X)["body.3"], atol=1e-5, rtol=1e-5)


BAD_LAYERS = {
    "a name with a slip": ("body.33", r"no layer 'body.33'.*Did you mean 'body"),
    "no module": ("trunk", "no layer 'trunk'.*conv 1 \\('body.1'\\), conv 2 \\('body.3'\\)"),
    "none": ([], "empty"),
    "a number": ([3], "a layer is a name or a Layer, got 3"),
    "twice": (["body.1", "body.1"], "'body.1' is listed twice"),
    "the head": ("head", "its output is the layer 'logits'"),
    "another's": (Layer("body.3", "", "conv", (9, 9, 9), 0), "another classifier"),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_bad_layers(classifier, case):
    layers, message = BAD_LAYERS[case]
    for function in (
        lambda: extract_activations(classifier, X, layers),
        lambda: stream_activations(classifier, X, layers),
        lambda: record_activations(classifier, layers).__enter__(),
    ):
        with pytest.raises(LisError, match=message):
            function()
    assert hooks_of(classifier) == 0


def test_other_bad_arguments(classifier):
    with pytest.raises(LisError, match="no kind of layers 'convs'"):
        list_layers(classifier, "convs")
    with pytest.raises(LisError, match="no pooling 'average'"):
        extract_activations(classifier, X, pool="average")
    with pytest.raises(LisError, match="batch_size"):
        stream_activations(classifier, X, batch_size=0)
    for x in (X[0], X[:0], X * 255, X * float("nan"), X[..., :7]):
        with pytest.raises(LisError):
            extract_activations(classifier, x)
    with pytest.raises(LisError, match="there is no layer 'body.9'"):
        extract_activations(classifier, X, "body.1")["body.9"]
    broken = copy.deepcopy(classifier)
    with torch.no_grad():
        broken.network.body[4][0].weight.fill_(float("nan"))
    with pytest.raises(LisError, match="NaN or infinite activations in layer 'body.5'"):
        extract_activations(broken, X)


def test_titles_are_understood_where_names_are(classifier):
    known = list_layers(classifier)
    assert choose_layers(classifier, [layer.title for layer in known]) == known
    assert choose_layers(classifier, ["conv 2", "penultimate"]) == (known[1], known[-1])
    assert choose_layers(classifier, "conv 1") == known[:1]
    with pytest.raises(LisError, match="'body.1' is listed twice"):
        choose_layers(classifier, ["conv 1", "body.1"])
    with pytest.raises(LisError, match=r"conv 1 \('body.1'\).*Did you mean 'conv 1'"):
        choose_layers(classifier, "conv 11")


def test_layers_that_are_no_list_are_refused():
    classifier = load_classifier("fashion")
    for given in (3, 1.5, True):
        with pytest.raises(LisError, match="names or Layers were expected"):
            choose_layers(classifier, given)
