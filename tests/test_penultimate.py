"""Any module as a classifier: which layer is found, what is refused and why, and that modules stay as they were."""

from __future__ import annotations

import copy
import re
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lis_toolkit.classifiers import Classifier, build_network, save_classifier
from lis_toolkit.classifiers.penultimate import as_rows, capture, find_layer
from lis_toolkit.classifiers.search import difference
from lis_toolkit.errors import LisError
from lis_toolkit.features import extract_features

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
FIXED = {"size": (8, 8), "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}


def body(units=6, seed=0):
    """Layers of a small network up to r [N, units]."""
    torch.manual_seed(seed)
    return [
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(144, units),
        nn.Tanh(),
    ]


def plain(units=6, classes=4, *after):
    return nn.Sequential(*body(units), nn.Linear(units, classes), *after).eval()


def normalised(x):
    mean, std = (torch.tensor(FIXED[k]).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    return (x - mean) / std


class Net(nn.Module):
    """Two heads on one body; `forward` is given from outside."""

    def __init__(self, answer, units=6):
        super().__init__()
        self.body = nn.Sequential(*body(units))
        self.fc, self.other = nn.Linear(units, 4), nn.Linear(units, 3)
        self.answer = answer
        self.eval()

    def forward(self, x):
        return self.answer(self, self.body(x))


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


Pair = namedtuple("Pair", "scores r")

FOUND = {
    "its last layer": (plain(), "6", "6"),
    "before a softmax": (plain(6, 4, nn.Softmax(1)), "6", "softmax"),
    "before a log-softmax": (plain(6, 4, nn.LogSoftmax(1)), "6", "log-softmax"),
    "before a sigmoid": (plain(6, 4, nn.Sigmoid()), "6", "sigmoid"),
    "before a dropout": (plain(6, 4, nn.Dropout(0.5)), "6", "6"),
    "an output that is a dict": (
        Net(lambda n, r: {"logits": n.fc(r), "r": r}),
        "fc",
        r"there as \['logits'\]",
    ),
    "an output that is a dataclass": (Net(lambda n, r: Output(n.fc(r), r)), "fc", r"there as \.logits"),
    "an output that is a named tuple": (Net(lambda n, r: Pair(n.fc(r), r)), "fc", r"there as \.scores"),
    "an output that is a tuple": (Net(lambda n, r: (r, n.fc(r))), "fc", r"there as \[1\]"),
    "one of two heads": (Net(lambda n, r: n.fc(r) + 0 * n.other(r).sum()), "fc", "fc"),
    "a convolution where there is one place": (
        nn.Sequential(*body(), nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 4, 1), nn.Flatten()).eval(),
        "7",
        "Conv2d",
    ),
    "a head with normalised weights": (
        nn.Sequential(*body(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))).eval(),
        "6",
        "ParametrizedLinear",
    ),
    "a head that is all zero": (Net(lambda n, r: zeroed(n).fc(r)), "fc", "fc"),
}


def test_one_number_an_image_is_one_class():
    class Binary(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = plain(6, 1)

        def forward(self, x):
            return torch.sigmoid(self.inner(x)[:, 0])

    network = Binary().eval()
    classifier = Classifier(network, classes=["cat"], **FIXED)
    assert (classifier.num_units, classifier.num_classes) == (6, 1) and "sigmoid" in classifier.explanation
    torch.testing.assert_close(classifier(X)[:, 0].sigmoid(), network(normalised(X)))


def zeroed(net):
    nn.init.zeros_(net.fc.weight), nn.init.zeros_(net.fc.bias)
    return net


@pytest.mark.parametrize("case", FOUND)
def test_the_head_is_found_and_explained(case):
    network, point, told = FOUND[case]
    classifier = Classifier(network, **FIXED)
    assert (classifier.num_units, classifier.num_classes) == (6, 4)
    assert repr(point) in classifier.explanation
    assert re.search(told, classifier.explanation)
    # r and logits again, with the layers called one by one
    layers = network if isinstance(network, nn.Sequential) else network.body
    r = normalised(X)
    for layer in layers[:6]:
        r = layer(r)
    torch.testing.assert_close(classifier.features(X), r)
    head = find_layer(network, point)
    logits = r @ head.weight.flatten(1).T + head.bias
    torch.testing.assert_close(classifier.head(r), logits)
    torch.testing.assert_close(classifier(X), logits)
    assert classifier.head(r[0]).shape == (4,) and classifier.head(r[None]).shape == (1, 5, 4)
    assert classifier.classes == ("class 0", "class 1", "class 2", "class 3")


def tokens(n, r):
    return n.fc(torch.stack([r, 2 * r], 1)).mean(1)


REFUSED = {
    "no linear layer": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()),
        {},
        r"there are 0.*Layers with one row",
    ),
    "a convolution before a mean": (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        {},
        r"no linear layer gives.*'0' \(Conv2d \[2, 3, 8, 8\] -> \[2, 4, 8, 8\]\).*penultimate=",
    ),
    "two heads": (Net(lambda n, r: (n.fc(r), n.other(r))), {}, r"several layers could be.*'fc'.*'other'"),
    "a temperature": (
        Net(lambda n, r: n.fc(r) / 3),
        {},
        r"no linear layer gives.*'fc' \(Linear \[2, 6\] -> \[2, 4\]\)",
    ),
    "a temperature and the head named": (
        Net(lambda n, r: n.fc(r) / 3),
        {"head": "fc"},
        r"differ .* by up to \d",
    ),
    "a head that does not run": (Net(lambda n, r: n.fc(r)), {"head": "other"}, "'other' runs 0 times"),
    "a head on tokens": (
        Net(tokens),
        {"head": "fc"},
        r"input of 'fc' has shape \[2, 2, 6\], a list of tokens",
    ),
    "a map": (
        plain(),
        {"penultimate": "0", "head": False},
        r"output of '0' has shape \[2, 4, 6, 6\], a map of pos",
    ),
    "a layer between": (plain(), {"penultimate": "4"}, "there is something between"),
    "a misspelt layer": (
        Net(lambda n, r: n.fc(r)),
        {"penultimate": "boddy"},
        r"no layer 'boddy'.*Did you mean 'body'",
    ),
    "a misspelt head": (Net(lambda n, r: n.fc(r)), {"head": "fcc"}, r"no layer 'fcc'.*Did you mean 'fc'"),
    "a head of another width": (
        plain(),
        {"penultimate": "5", "head": nn.Linear(7, 2)},
        r"does not take r \[2, 6\]",
    ),
    "a number as head": (plain(), {"head": 3}, "head of classifier is 3"),
    "an encoder that gives a dict": (
        Net(lambda n, r: {"r": r}),
        {"head": False},
        r"an encoder's output.*\['r'\] \[2, 6\]",
    ),
    "other channels": (
        plain(),
        {"channels": 1, "mean": [0.0], "std": [1.0]},
        r"fails on a batch \[2, 1, 8, 8\]",
    ),
    "no image size": (plain(), {"size": None}, "neither a size nor a preprocess"),
    "a size of one number": (plain(), {"size": (8,)}, r"\(height, width\)"),
    "two channels": (plain(), {"channels": 2}, "1 or 3"),
    "too few classes": (plain(), {"classes": ["a"]}, "4 logits and 1 class names"),
    "classes of one name": (plain(), {"classes": ["a", "b", "a", "c"]}, r"one name \(a\).*unique_names"),
    "only a mean": (plain(), {"std": None}, "only one of mean and std"),
    "a mean and a preprocess": (plain(), {"preprocess": lambda x: x}, "give one of them"),
    "no values yet": (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), {}, "without values"),
    "a meta device": (plain().to("meta"), {}, "without values"),
    "no module": (lambda x: x, {}, "made from a function"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_with_the_reason(case):
    network, options, message = REFUSED[case]
    if isinstance(network, nn.Module):
        network.eval()
    with pytest.raises(LisError, match=message):
        Classifier(network, **{**FIXED, **options})


def test_a_layer_that_runs_twice_has_no_single_r():
    act = nn.Tanh()
    network = nn.Sequential(*body()[:5], act, nn.Linear(6, 6), act, nn.Linear(6, 4)).eval()
    with pytest.raises(LisError, match="'5' runs 2 times"):
        Classifier(network, penultimate="5", head=False, **FIXED)
    shared = nn.Linear(6, 6)
    with pytest.raises(LisError, match="'6' runs several times"):
        Classifier(nn.Sequential(*body(), shared, shared).eval(), **FIXED)


def test_an_output_is_taken_before_the_next_layer_writes_into_it():
    network = nn.Sequential(*body()[:5], nn.ReLU(inplace=True), nn.Linear(6, 4)).eval()
    classifier = Classifier(network, penultimate="4", head=False, **FIXED)
    expected = network[4](network[:4](normalised(X)).clone())
    assert bool((expected < 0).any())
    torch.testing.assert_close(classifier.features(X), expected)


def test_damaged_weights_are_refused():
    network = plain()
    with torch.no_grad():
        network[4].weight[0, 0] = torch.nan
    with pytest.raises(LisError, match="NaN or infinite"):
        Classifier(network, **FIXED)
    network = plain()
    with torch.no_grad():
        network[6].bias[0] = torch.inf
    with pytest.raises(LisError, match="NaN or infinite"):
        Classifier(network, **FIXED)


class Counting(nn.Module):
    """Counts its calls in a buffer; `drift` adds the count to the answer."""

    def __init__(self, drift):
        super().__init__()
        self.inner, self.drift = plain(), drift
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.inner(x + self.drift * self.calls)


def test_answers_that_change_are_refused():
    with pytest.raises(LisError, match="remembers earlier calls"):
        Classifier(Counting(0.5).eval(), **FIXED)
    norm = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), *plain()).eval()
    with pytest.raises(LisError, match="normalises over the batch"):
        Classifier(norm, **FIXED)


def test_making_a_classifier_leaves_the_module_as_it_was():
    network = Counting(0.0).train()
    network.inner[1].eval()  # as for a frozen norm
    network.inner.add_module("end", nn.Dropout(0.5))
    before = copy.deepcopy(network.state_dict())
    flags = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    classifier = Classifier(network, **FIXED)
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert [module.training for module in network.modules()] == flags and classifier.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not hooks_of(network) and classifier.network is network
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    extract_features(classifier, X)  # in evaluation mode, and back
    assert [module.training for module in network.modules()] == flags


def hooks_of(network):
    return [
        h for m in network.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())
    ]


def test_no_hook_stays_whatever_happens():
    network = plain()
    classifier = Classifier(network, **FIXED)
    for _ in range(1000):
        classifier.encode(X[:1])
    assert not hooks_of(network)
    for error in (KeyboardInterrupt, RuntimeError, LisError):
        broken = network[3].register_forward_hook(raises(error))
        with pytest.raises(error):
            classifier.features(X)
        broken.remove()
        assert not hooks_of(network)
    with pytest.raises(LisError), capture(network, "6", "input") as seen:
        seen.only()
    assert not hooks_of(network)


def raises(error):
    def hook(*_):
        raise error("stop")

    return hook


def test_gradients_and_forward_derivatives_and_batches_by_vmap():
    network = plain().double()
    classifier = Classifier(network, **FIXED).requires_grad_(False)
    x, direction = X.double(), torch.rand(X.shape, dtype=torch.float64)
    r, change = torch.func.jvp(classifier.features, (x,), (direction,))
    step = (classifier.features(x + 1e-6 * direction) - classifier.features(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(change, step, atol=1e-7, rtol=1e-5)
    x.requires_grad_()
    classifier.logits(x).square().sum().backward()
    slope = float((x.grad * direction).sum())
    along = [float(classifier.logits(x.detach() + s * direction).square().sum()) for s in (1e-6, -1e-6)]
    assert abs(slope - (along[0] - along[1]) / 2e-6) < 1e-5 * max(1, abs(slope))
    alone = torch.func.vmap(lambda image: classifier.logits(image[None])[0])(X.double())
    torch.testing.assert_close(alone, classifier.logits(X.double()))
    with torch.no_grad():
        assert not classifier.features(X.double()).requires_grad
    assert not hooks_of(network)


def test_threads_do_not_see_each_other():
    from concurrent.futures import ThreadPoolExecutor

    classifier = Classifier(plain(), **FIXED).requires_grad_(False)
    images = [torch.rand(2, 3, 8, 8) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(classifier.features, images))
    for x, r in zip(images, together, strict=True):
        torch.testing.assert_close(r, classifier.features(x))


def test_wrapped_modules_are_unwrapped_or_explained():
    network = plain()
    expected = Classifier(network, **FIXED)
    for wrapped, name in (
        (nn.DataParallel(network), "DataParallel"),
        (torch.compile(network), "OptimizedModule"),
    ):
        classifier = Classifier(wrapped, **FIXED)
        assert name in classifier.explanation and classifier.hash == expected.hash
        torch.testing.assert_close(classifier(X), expected(X))
    traced = torch.jit.trace(network, X, check_trace=False)
    with pytest.raises(LisError, match="TorchScript.*the module that it was scripted from"):
        Classifier(traced, **FIXED)
    head = nn.Linear(4, 2)
    classifier = Classifier(traced, head=head, **FIXED)  # its output as r, and a head of one's own
    torch.testing.assert_close(classifier(X), head(expected(X)))


def test_heads_of_ones_own():
    network, head = plain(), nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    for option in ({"penultimate": "5"}, {"penultimate": "5", "classes": ["yes", "no"]}):
        classifier = Classifier(network, head=head, **FIXED, **option)
        assert "separate head" in classifier.explanation and classifier.has_head
        torch.testing.assert_close(classifier(X), head(network[:6](normalised(X))))
        assert classifier.head(torch.zeros(3, 7, 6)).shape == (3, 7, 2)
        assert {k for k in classifier.state_dict() if k.startswith("separate_head")}
    assert classifier.classes == ("yes", "no")
    own = Classifier(network, head=network[6], **FIXED)  # a layer of the network, given as it is
    assert own.hash == Classifier(network, head="6", **FIXED).hash == Classifier(network, **FIXED).hash
    named = Classifier(network, penultimate="5", **FIXED)  # the layer before the head
    torch.testing.assert_close(named.features(X), own.features(X))
    torch.testing.assert_close(copy.deepcopy(named)(X), own(X))
    hashes = {c.hash for c in (own, named, classifier, Classifier(network, head=False, **FIXED))}
    assert len(hashes) == 4


def test_encoders_have_no_classes():
    encoder = Classifier(plain(), head=False, name="moco", **FIXED)
    assert (
        not encoder.has_head and encoder.num_classes == 0 and encoder.classes == () and encoder.num_units == 4
    )
    for call in (lambda: encoder.head(torch.zeros(1, 4)), lambda: encoder.logits(X), lambda: encoder(X)):
        with pytest.raises(LisError, match="moco is an encoder without a head"):
            call()
    with pytest.raises(LisError, match="4 logits|0 logits and 1 class"):
        Classifier(plain(), head=False, classes=["a"], **FIXED)
    features = extract_features(encoder, X, batch_size=2)
    assert features.logits is None and features.r.shape == (5, 4) and len(features) == 5
    with pytest.raises(LisError, match="no predictions"):
        _ = features.predictions
    with pytest.raises(LisError, match="Keep the weights of any other network yourself"):
        save_classifier(encoder, "never.safetensors")


def test_the_hash_knows_weights_preprocessing_and_place():
    network = plain()
    hashes = [Classifier(network, **FIXED).hash, Classifier(network, **{**FIXED, "std": [1, 1, 1]}).hash]
    hashes.append(Classifier(network, size=(8, 8), preprocess=lambda x: x * 2).hash)
    hashes.append(Classifier(network, size=(8, 8), preprocess=nn.Sigmoid()).hash)
    hashes.append(Classifier(network, size=(8, 8)).hash)
    with torch.no_grad():
        network[6].bias += 1
    hashes.append(Classifier(network, **FIXED).hash)
    assert len(set(hashes)) == len(hashes)
    again = Classifier(copy.deepcopy(network), **FIXED)
    assert again.hash == hashes[-1] and again.half().hash != hashes[-1]


def test_a_network_that_names_its_two_steps_is_used_through_them():
    native = build_network("plain", {"channels": 3, "num_classes": 4, "stem": 4, "stages": ((6, 1),)}).eval()
    classifier = Classifier(native, size=(8, 8))  # no normalisation
    torch.testing.assert_close(classifier.features(X), native.features(X))
    assert "method `features`" in classifier.explanation and classifier.classes[0] == "class 0"

    class Misleading(nn.Module):  # like Swin: layers of these names, and a forward that does more
        def __init__(self):
            super().__init__()
            self.features, self.pool = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(6, 4)

        def forward(self, x):
            return self.head(self.pool(self.features(x)).flatten(1))

    network = Misleading().eval()
    torch.testing.assert_close(Classifier(network, **FIXED)(X), network(normalised(X)))


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(1, 3), min_size=0, max_size=5))
def test_rows_or_an_explanation(shape):
    value = torch.rand(shape)
    if len(shape) >= 2 and all(n == 1 for n in shape[2:]):
        assert as_rows(value, "r").shape == tuple(shape[:2])
    else:
        with pytest.raises(LisError, match="one row of numbers"):
            as_rows(value, "r")


def test_differences_are_shares_and_never_hide_nan():
    a = torch.tensor([[1.0, -4.0]])
    assert difference(a, a) == 0 and difference(a * 1.5, a) == 0.5
    assert difference(a, a[:, :1]) == difference(a * torch.nan, a) == difference(a, a * 0) == float("inf")
