"""Local explanations of images: what is derived, by what, and what is said when there is nothing to say."""

import pytest
import torch
from torch import nn

from lis_toolkit import load_classifier, load_fashion
from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.saliency import (
    cluster_table,
    explain_images,
    explain_layer,
    gradients,
    saliency_of,
    stream_explanations,
)
from tiny_saliency import TinyNet, by_hand, small_classifier, small_images


def same(one, other):
    """Whether two explanations are equal to the last bit, scores to rounding."""
    assert one.target == other.target and one.unit == other.unit and one.score == pytest.approx(other.score)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.layer == b.layer and torch.equal(a.kept, b.kept) and a.k == b.k
        assert torch.allclose(a.weights, b.weights, atol=1e-6)
        assert [c.members for c in (*a.clusters, *a.dropped)] == [
            c.members for c in (*b.clusters, *b.dropped)
        ]
        for c, d in zip(a.clusters, b.clusters, strict=True):
            assert torch.allclose(c.map, d.map, atol=1e-5)


@pytest.mark.parametrize("asked", [{}, {"target": "ring"}, {"unit": 4}])
def test_layers_against_a_pass_by_hand(asked):
    classifier, x = small_classifier(), small_images()
    told = {"target": 1} if asked.get("target") else asked
    for i, explanation in enumerate(explain_images(classifier, x, method="pca", **asked)):
        maps, gradients, logits = by_hand(classifier, x[i], **told)
        assert [part.layer.name for part in explanation.layers] == ["body.1", "body.3", "body.5"]
        assert torch.allclose(explanation.logits, logits, atol=1e-5) and explanation.index == i
        for part, a, g in zip(explanation.layers, maps, gradients, strict=True):
            expected = explain_layer(part.layer, a, g, "pca")
            assert torch.allclose(part.weights, expected.weights, atol=1e-5)
            assert [c.members for c in part.clusters] == [c.members for c in expected.clusters]
            assert part.mass == pytest.approx(expected.mass, rel=1e-4)
        if "unit" in asked:
            r = classifier.features(x[i : i + 1]).detach()[0, 4]
            assert (
                explanation.target is None
                and explanation.unit == 4
                and explanation.score == pytest.approx(float(r))
            )
        else:
            assert explanation.target == (1 if asked else int(logits.argmax()))
            assert explanation.score == pytest.approx(float(logits[explanation.target]), rel=1e-4)


def test_one_pass_forward_and_one_back_for_a_batch_and_all_layers(monkeypatch):
    classifier, x = small_classifier(), small_images(7)
    explain_images(classifier, x[:1])  # layers are looked for once
    passes = []
    real = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append("back") or real(*a, **k))
    hook = classifier.network.body[0].register_forward_hook(lambda *_: passes.append("forward"))
    chosen = gradients.spatial_layers(classifier)[0]
    assert len(chosen) == 3
    gradients.layer_gradients(classifier, x, chosen, gradients.ask(classifier, 7))
    assert passes == ["forward", "back"]
    passes.clear()
    explain_images(classifier, x, batch_size=4, method="pca")
    hook.remove()
    assert passes == [
        "back",
        "forward",
        "back",
        "forward",
        "back",
    ]  # first: what the preprocessing lets through


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_two_runs_and_any_batch_size_give_the_same(method):
    classifier = load_classifier("fashion")
    x = load_fashion("sample").images[:2]
    layers = ["body.15"]
    first = explain_images(classifier, x, layers=layers, method=method)
    for again in (
        explain_images(classifier, x, layers=layers, method=method),
        explain_images(classifier, x, layers=layers, method=method, batch_size=1),
        explain_images(classifier, x, layers=layers, method=method, batch_size=2, seed=7),
    ):
        for one, other in zip(first, again, strict=True):
            same(one, other)
            for a, b in zip(one.layers, other.layers, strict=True):
                assert torch.equal(a.merged(), b.merged())


def test_threads_change_nothing():
    classifier, x = small_classifier(widths=(16, 24, 40)), small_images(2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = explain_images(classifier, x)
        torch.set_num_threads(2)
        two = explain_images(classifier, x)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        same(a, b)


def test_the_state_of_models_and_libraries_is_left_alone():
    classifier, x = small_classifier(), small_images(2)
    classifier.train()
    classifier.network.body[1].training = False
    flags = [module.training for module in classifier.modules()]
    libraries = (torch.backends.mkldnn, torch.backends.nnpack)
    for library in libraries:
        library.set_flags(True)  # as torch has them; whatever ran before this test
    with torch.no_grad():
        explain_images(classifier, x, method="pca")
        assert not torch.is_grad_enabled()
    assert [module.training for module in classifier.modules()] == flags
    assert all(p.grad is None for p in classifier.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())
    assert [library.set_flags(True)[0] for library in libraries] == [True, True]
    with torch.inference_mode():
        inside = explain_images(classifier, x + 0, method="pca")
    same(inside[0], explain_images(classifier, x, method="pca")[0])


def test_hooks_are_gone_after_an_interrupt(monkeypatch):
    classifier, x = small_classifier(), small_images(2)
    explain_images(classifier, x, method="pca")

    def stop(r):
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier, "head", stop)
    classifier.train()
    with pytest.raises(KeyboardInterrupt):
        explain_images(classifier, x)
    assert (
        not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())
        and classifier.training
    )


def test_targets_of_every_kind():
    classifier, x = small_classifier(), small_images(3)

    def targets(target):
        return [e.target for e in explain_images(classifier, x, target, ["body.5"], method="pca")]

    assert targets(None) == classifier.logits(x).argmax(1).tolist()
    assert targets("ring") == targets(1) == targets([1, "ring", 1]) == [1, 1, 1]
    assert targets(torch.tensor([2, 0, 1])) == [2, 0, 1]
    stream = explain_images(
        classifier, Photographs(x, torch.zeros(3).long(), classifier.classes), "disc", method="pca"
    )
    assert [e.title.split(" (")[0] for e in stream] == ["disc"] * 3
    assert explain_images(classifier, x[:1], unit="unit 3", method="pca")[0].name == "unit 3"


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"target": "rnig"}, "no class 'rnig'.*Did you mean 'ring'"),
        ({"target": [0, 1]}, "2 targets were given for 3 images"),
        ({"target": torch.zeros(3, 2)}, r"\[3, 2\]"),
        ({"target": 7}, "no class 7"),
        ({"target": True}, "a class is a name or an index"),
        ({"unit": 10}, "unit is 10"),
        ({"unit": 1.5}, "unit is 1.5"),
        ({"unit": 1, "target": "disc"}, "a class .* and a unit"),
        ({"layers": ["body.4x"]}, "no layer 'body.4x'"),
        ({"layers": ["penultimate", "logits"]}, "has positions"),
        ({"layers": []}, "empty"),
        ({"method": "umap"}, "no method 'umap'"),
        ({"method": "tnse"}, "Did you mean 'tsne'"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_is_wrong_is_said_at_once(asked, message):
    with pytest.raises(LisError, match=message):
        stream_explanations(small_classifier(), small_images(3), **asked)


def test_images_that_do_not_fit():
    classifier = small_classifier()
    for x, message in (
        (torch.rand(2, 1, 9, 9), "9 x 9"),
        (torch.rand(2, 3, 12, 12), "3 channels"),
        (torch.full((1, 1, 12, 12), float("nan")), "NaN"),
        (torch.rand(0, 1, 12, 12), "empty"),
    ):
        with pytest.raises(LisError, match=message):
            explain_images(classifier, x)


def test_layers_without_positions_are_left_out_and_said():
    classifier, x = small_classifier(), small_images(1)
    explanation = explain_images(classifier, x, layers=["body.3", "penultimate"], method="pca")[0]
    assert [part.layer.name for part in explanation.layers] == ["body.3"]
    assert any("penultimate [10]" in note for note in explanation.notes)


def test_the_last_nine_convolutions_are_explained():
    network = TinyNet(widths=(4,) * 11)
    classifier = Classifier(network.eval(), mean=[0.5], std=[0.25], channels=1, size=(12, 12), name="deep")
    explanation = explain_images(classifier, small_images(1), method="pca")[0]
    assert [part.layer.name for part in explanation.layers] == [f"body.{2 * i + 1}" for i in range(2, 11)]


def test_nothing_speaks_for_the_class():
    classifier, x = small_classifier(), small_images(1)
    with torch.no_grad():
        classifier.network.head.weight[1] = -classifier.network.head.weight[1].abs()
    explanation = explain_images(classifier, x, "ring", layers=["body.5"])[0]
    assert explanation.layers[0].empty and "Nothing speaks for the class in any layer" in explanation.notes[0]
    for layer in (None, "body.5", "all"):
        assert saliency_of(explanation, layer).shape == (12, 12) and not saliency_of(explanation, layer).any()
    assert len(cluster_table([explanation])) == 0
    with torch.no_grad():  # a unit that is off
        classifier.network.body[4].bias[2] = -100
    off = explain_images(classifier, x, unit=2, method="pca")[0]
    assert all(part.empty for part in off.layers) and off.score == 0


def test_encoders_have_units_only():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = Classifier(body.eval(), head=False, channels=1, size=(9, 9), name="encoder")
    x = torch.rand(2, 1, 9, 9)
    with pytest.raises(LisError, match="encoder without a head.*unit="):
        explain_images(encoder, x)
    unit = int(encoder.features(x)[1].argmax())
    explanation = explain_images(encoder, x, unit=unit, method="pca")[1]
    assert (
        explanation.logits is None
        and explanation.predicted is None
        and explanation.title.startswith(f"unit {unit} (act")
    )
    assert explanation.layers[0].clusters[0].members == (unit,) and explanation.layers[
        0
    ].accounted == pytest.approx(1)


def test_gradients_that_do_not_flow_are_said():
    class Cut(TinyNet):
        def features(self, x):
            return self.body(x).detach().mean((2, 3))

    told = {"mean": [0.5], "std": [0.25], "channels": 1, "size": (12, 12), "name": "cut"}
    with pytest.raises(LisError, match="no gradient|does not depend"):
        explain_images(Classifier(Cut().eval(), **told), small_images(1))


def test_preprocessing_without_gradients_and_frozen_weights_do_no_harm():
    network = small_classifier().network.requires_grad_(False)
    told = {"channels": 1, "size": (12, 12), "name": "other"}
    plain = Classifier(network, mean=[0.5], std=[0.25], **told)
    expected, ours = (explain_images(plain, small_images(1), method="pca")[0] for _ in range(2))
    same(expected, ours)


def test_the_part_that_is_cut_off_has_no_saliency():
    network = small_classifier().network
    classifier = Classifier(
        network,
        preprocess=lambda x: (x[..., 2:-2, 4:-5] - 0.5) / 0.25,
        channels=1,
        size=(16, 20),
        name="cropped",
    )
    x = torch.rand(1, 1, 16, 20, generator=torch.Generator().manual_seed(0))
    explanation = explain_images(classifier, x, layers=["body.3"], method="pca")[0]
    assert explanation.seen == (2, 4, 12, 11)  # top, left, height, width
    whole = saliency_of(explanation)
    inside = whole[2:-2, 4:-5]
    assert (
        whole.shape == (16, 20)
        and float(inside.sum()) == pytest.approx(float(whole.sum()))
        and inside.sum() > 0
    )
    cropped = Classifier(network, mean=[0.5], std=[0.25], channels=1, size=(12, 11), name="small")
    alone = explain_images(cropped, x[..., 2:-2, 4:-5], layers=["body.3"], method="pca")[0]
    assert torch.allclose(saliency_of(alone), inside, atol=1e-6)
    assert saliency_of(explanation, size=(8, 10)).shape == (8, 10)


def test_saliency_of_a_layer():
    explanation = explain_images(small_classifier(), small_images(1), method="pca")[0]
    part = explanation.layers[1]
    expected = nn.functional.interpolate(part.merged()[None, None], (12, 12), mode="bilinear")[0, 0]
    for which in (1, "body.3", part.layer, part.layer.title):
        assert torch.equal(saliency_of(explanation, which), expected)
    assert float(expected.max()) <= part.accounted + 1e-6
    last = saliency_of(explanation)
    assert torch.equal(last, saliency_of(explanation, "body.5"))
    assert float(saliency_of(explanation, "all").max()) <= 1
    with pytest.raises(LisError, match="no layer 'body.2'"):
        saliency_of(explanation, "body.2")
    with pytest.raises(LisError, match="no layer 7"):
        saliency_of(explanation, 7)


def test_the_table_of_clusters():
    explanations = explain_images(small_classifier(widths=(16, 24, 40)), small_images(2), method="pca")
    table = cluster_table(explanations)
    assert len(table) == sum(part.k for e in explanations for part in e.layers)
    shown = table[table["shown"]].groupby(["image", "layer"])["weight"].sum()
    for e in explanations:
        for part in e.layers:
            assert shown[e.index, part.layer.name] == pytest.approx(part.accounted)
    with pytest.raises(LisError, match="empty"):
        cluster_table([])


def test_networks_that_can_not_be_run_with_gradients_are_said():
    hooked = small_classifier()
    hooked.network.body[0].register_full_backward_hook(
        lambda *given: None
    )  # then torch forbids the in-place ReLU
    with pytest.raises(LisError, match="small can't be run with gradients: .* modified inplace"):
        explain_images(hooked, small_images())
    assert not any(module._forward_hooks for module in hooked.network.modules())


@pytest.mark.parametrize("size", [(0, 5), (5,), 5, (5.5, 5), "x", (-1, 3)])
def test_sizes_that_are_none_are_refused(size):
    explanation = explain_images(small_classifier(), small_images(1), method="pca")[0]
    with pytest.raises(LisError, match=r"size is|the height is|the width is"):
        saliency_of(explanation, size=size)
    assert saliency_of(explanation, size=[5, 7]).shape == (5, 7)


def test_what_are_no_explanations_is_said():
    from lis_toolkit.saliency import label_by_parts, weights_accounted

    for function in (
        cluster_table,
        weights_accounted,
        lambda given: label_by_parts(given, torch.zeros(1, 12, 12)),
    ):
        for wrong, told in (
            (3, "int"),
            (None, "NoneType"),
            ([None], "NoneType"),
            ("text", "str"),
            ([], "empty"),
        ):
            with pytest.raises(LisError, match=f"list of explanations .*{told}"):
                function(wrong)
