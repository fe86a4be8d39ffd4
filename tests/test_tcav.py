"""TCAV against captum, finite differences, scikit-learn and simulations in which the truth is known."""

import numpy as np
import pytest
import torch
from torch import nn

from lis_toolkit import load_fashion
from lis_toolkit.activations import choose_layers, extract_activations
from lis_toolkit.classifiers import Classifier
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.labels import concept_figure, most_of, striped, validate_concepts
from lis_toolkit.labels.concept_space import fit_directions, layer_space
from lis_toolkit.labels.tcav import random_concept_p
from lis_toolkit.saliency.gradients import ask
from tiny_saliency import small_classifier, small_images

FEW = {"runs": 3, "random_concepts": 39}


def bars(count, seed, down=True):
    """Noise with bright bars, lying (down) or standing."""
    x = 0.5 * small_images(count, seed=seed)
    bright = torch.zeros(12, 12)
    bright[2::4] = 0.5
    return x + (bright if down else bright.T)


def space_of(classifier, x, images, name="body.3", target="ring", **options):
    layer = choose_layers(classifier, [name])[0]
    return layer_space(classifier, layer, x, images, ask(classifier, len(images), target), **options)


def activations(classifier, x, name):
    return extract_activations(classifier, x, [name])[name].reshape(len(x), -1).double()


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_directions_against_scikit_learn_on_all_activations(method):
    from sklearn.linear_model import LogisticRegression, Ridge

    classifier = small_classifier()
    x = torch.cat([bars(12, 1), bars(20, 2, down=False)])
    space = space_of(classifier, x, small_images(4))
    inside, outside = torch.arange(12)[None], torch.arange(14, 26)[None]
    found = fit_directions(space.gram, inside, outside, held=4, method=method)
    a = activations(classifier, x, "body.3")  # [32, D]
    direction = found.weights[0] @ (a - a.mean(0))
    rows = torch.cat([inside[0, :8], outside[0, :8]])
    y = np.repeat([1.0, -1.0], 8)
    centred = (a[rows] - a[rows].mean(0)).numpy()
    penalty = 0.1 * (centred**2).sum(1).mean()
    if method == "ridge":
        fitted = Ridge(alpha=penalty, fit_intercept=False).fit(centred, y).coef_
    else:
        fitted = LogisticRegression(C=1 / (16 * penalty), max_iter=5000, tol=1e-8).fit(centred, y).coef_[0]
    assert np.allclose(direction.numpy(), fitted, atol=2e-3 * np.abs(fitted).max())
    # The threshold lies half way between the means of the two sides; held-out images decide the accuracy.
    values = a @ direction
    middle = values[rows].mean()
    right = [*(values[inside[0, 8:]] > middle), *(values[outside[0, 8:]] < middle)]
    assert float(found.accuracy[0]) == pytest.approx(np.mean(right))


@pytest.mark.parametrize("name", ["body.1", "body.5", "penultimate"])
@pytest.mark.parametrize("pool", [None, "mean"])
def test_derivatives_against_finite_differences_of_the_logit(name, pool):
    classifier = small_classifier()
    x, images = torch.cat([bars(9, 1), bars(9, 2, False)]), small_images(3, seed=5)
    space = space_of(classifier, x, images, name, pool=pool)
    found = fit_directions(space.gram, torch.arange(9)[None], torch.arange(9, 18)[None], held=3)
    a = extract_activations(classifier, x, [name])[name].double()
    if pool == "mean" and a.ndim > 2:
        a = a.mean((2, 3))
    direction = (found.weights[0] @ (a - a.mean(0)).flatten(1)).reshape(a.shape[1:])
    direction = direction / direction.norm()
    if pool == "mean" and name != "penultimate":
        direction = direction[:, None, None]  # the same at every position
    start = extract_activations(classifier, images, [name])[name].double()
    body, head = classifier.network.body.double(), classifier.network.head.double()
    rest = {"body.1": body[2:], "body.5": nn.Identity(), "penultimate": nn.Identity()}[name]

    def logit(values):
        values = rest(values.clone())
        return head(values.mean((2, 3)) if values.ndim > 2 else values)[:, 1].detach()

    step = 1e-6
    slope = (logit(start + step * direction) - logit(start - step * direction)) / (2 * step)
    assert np.allclose(found.derivatives(space)[0].numpy(), slope.numpy(), atol=1e-5)


def test_scores_against_captum(tmp_path):
    from captum.attr import LayerGradientXActivation
    from captum.concept import TCAV, Concept
    from captum.concept._utils.classifier import Classifier as CaptumClassifier

    classifier, images = small_classifier(), small_images(30, seed=9)
    sets = [bars(12, 1), bars(12, 2, False)]
    space = space_of(classifier, torch.cat(sets), images, target="cross")
    inside, outside = torch.arange(12)[None], torch.arange(12, 24)[None]
    ours = fit_directions(space.gram, inside, outside, held=4)
    score = float((ours.derivatives(space) > 0).double().mean())

    class Same(CaptumClassifier):
        """Our directions, fitted to the same images, in captum's place: two rows, for the concept and against it."""

        def __init__(self):
            self.direction = None

        def train_and_eval(self, dataloader, **_):
            a, labels = (torch.cat(v) for v in zip(*dataloader, strict=True))
            first = labels == labels.min()
            a = torch.cat([a[first][:8], a[~first][:8]]).double()
            y = torch.tensor([1.0] * 8 + [-1.0] * 8).double()
            centred = a - a.mean(0)
            penalty = 0.1 * centred.square().sum(1).mean()
            gram = centred @ centred.T + penalty * torch.eye(16)
            self.direction = (centred.T @ torch.linalg.solve(gram, y)).float()
            return {"accs": torch.tensor(1.0)}

        def weights(self):
            return torch.stack([self.direction, -self.direction])

        def classes(self):
            return [0, 1]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = classifier.network.body, classifier.network.head
            self.own = nn.Identity()

        def forward(self, x):
            value = (x - 0.5) / 0.25
            for i, module in enumerate(self.body):
                value = torch.relu(value) if isinstance(module, nn.ReLU) else module(value)
                value = self.own(value) if i == 3 else value
            return self.head(value.mean((2, 3)))

    net = Net()
    concepts = [
        Concept(i, name, torch.utils.data.DataLoader(x, batch_size=len(x)))
        for i, (name, x) in enumerate(zip(("bars", "others"), sets, strict=True))
    ]
    attribute = LayerGradientXActivation(net, None, multiply_by_inputs=False)
    theirs = TCAV(net, ["own"], classifier=Same(), layer_attr_method=attribute, save_path=str(tmp_path))
    found = theirs.interpret(images, [concepts], target=2)["0-1"]["own"]["sign_count"]
    assert 0.05 < score < 0.95
    assert found.tolist() == pytest.approx([score, 1 - score])


class BarNet(nn.Module):
    """Class 0 speaks for lying bars, class 1 for standing ones; it sees nothing else."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(1, 4, 5, padding=2, bias=False)
        with torch.no_grad():
            kernel = torch.tensor([1.0, -1.0, 0.0, -1.0, 1.0])[:, None].expand(5, 5) / 10
            conv.weight.copy_(torch.stack([kernel, -kernel, kernel.T, -kernel.T])[:, None])
        self.body = nn.Sequential(conv, nn.ReLU())
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[3.0, 3, -3, -3], [-3, -3, 3, 3]]))
            self.head.bias.zero_()

    def features(self, x):
        return self.body(x).mean((2, 3))


def test_a_true_concept_is_found_a_wrong_one_is_not_and_signs_are_right():
    classifier = Classifier(
        BarNet().eval(), ("lying", "standing"), channels=1, size=(12, 12), mean=[0.5], std=[0.2]
    )
    concepts = {
        "lying bars": bars(15, 1),
        "standing bars": bars(15, 2, False),
        "noise": 0.5 * small_images(15, seed=3),
    }
    found = validate_concepts(
        classifier, concepts, "lying", bars(20, 4), 0.5 * small_images(90, seed=5), ["body.1"],
        runs=3, random_concepts=99,
    )  # fmt: skip
    rows = found.set_index("concept")
    assert rows.loc["lying bars", "score"] == 1.0 and rows.loc["standing bars", "score"] == 0.0
    assert rows.loc["lying bars", "accuracy"] == 1.0
    assert rows.loc["lying bars", "alignment"] > 0.2 > -0.2 > rows.loc["standing bars", "alignment"]
    assert rows.loc[["lying bars", "standing bars"], "alignment_q"].max() <= 0.05
    assert rows.loc[["lying bars", "standing bars"], "accuracy_q"].max() <= 0.05
    assert not rows.loc["noise", "significant"] and rows.loc["noise", "accuracy_q"] > 0.05
    figure = concept_figure(found)
    assert [p.get_title() for p in figure.axes] == ["lying bars", "noise", "standing bars"]


def test_random_images_as_a_concept_are_significant_at_about_the_level_but_not_by_the_papers_test():
    """80 null concepts in one layer: ours keeps the level, the t-test between runs does not."""
    classifier, images = small_classifier(), small_images(20, seed=50)
    null = {f"null {i}": small_images(8, seed=100 + i) for i in range(80)}
    found = validate_concepts(
        classifier, null, "ring", images, small_images(120, seed=51), ["body.3"],
        runs=20, random_concepts=99, pool="mean",
    )  # fmt: skip
    level, count = 0.1, len(found)
    assert (found["p"] <= level).mean() <= level + 3 * (level * (1 - level) / count) ** 0.5
    assert (found["paper_p"] <= level).mean() > 2.5 * level
    assert found["significant"].mean() <= level and found["accuracy"].mean() == pytest.approx(0.5, abs=0.05)


def test_p_is_a_rank_among_random_concepts():
    null = np.linspace(0.4, 0.6, 199)
    assert random_concept_p(0.9, null) == pytest.approx(1 / 200) == random_concept_p(0.1, null)
    assert random_concept_p(0.5, null) == 1.0
    assert random_concept_p(1.0, np.array([0.0, 1.0] * 10)) > 0.4  # scores that are all 0 or 1 tell nothing
    drawn = np.random.default_rng(0).normal(size=(400, 40))
    p = np.array([random_concept_p(row[0], row[1:]) for row in drawn])
    assert abs((p <= 0.1).mean() - 0.1) < 0.05


def test_the_same_for_a_seed_whatever_the_batch_and_which_layers_are_beside():
    classifier, images = small_classifier(), small_images(7, seed=9)
    given = {"bars": bars(8, 1)}, "ring", images, small_images(30, seed=2)
    several = [
        validate_concepts(classifier, *given, layers, batch_size=size, **FEW)
        for layers, size in ((["body.3"], 256), (["body.3"], 4), (["body.1", "body.3"], 16))
    ]
    one = several[0].iloc[0]
    for other in several[1:]:
        row = other[other["layer"] == "body.3"].iloc[0]
        for name in ("score", "accuracy", "alignment", "p", "random_score"):
            assert row[name] == pytest.approx(one[name], abs=1e-6), name
    another = validate_concepts(classifier, *given, ["body.3"], seed=1, **FEW).iloc[0]
    assert another["random_score"] != one["random_score"]
    photographs = Photographs(
        torch.cat([images, images]), torch.tensor([1] * 7 + [0] * 7), ("disc", "ring", "cross")
    )
    same = validate_concepts(classifier, given[0], 1, photographs, given[3], ["body.3"], **FEW).iloc[0]
    assert same["score"] == one["score"] and same["images"] == 7 and same["concept_images"] == 8
    assert (
        validate_concepts(classifier, *given, ["body.3"], method="logistic", **FEW)["score"]
        .between(0, 1)
        .all()
    )


def test_corrections():
    classifier = small_classifier()
    given = (
        {"a": bars(6, 1), "b": bars(6, 2, False)},
        "ring",
        small_images(5, seed=9),
        small_images(30, seed=2),
    )
    layers = ["body.1", "body.3"]
    strict = validate_concepts(classifier, *given, layers, correction="bonferroni", **FEW)
    assert strict["q"].tolist() == pytest.approx(np.minimum(strict["p"] * 4, 1).tolist())
    from scipy.stats import false_discovery_control

    found = validate_concepts(classifier, *given, layers, **FEW)
    assert found["q"].tolist() == pytest.approx(false_discovery_control(found["p"]).tolist())
    assert (found["significant"] == (found["q"] <= 0.05)).all() and (found["low"] <= found["high"]).all()


def test_layers_without_gradient_or_variation_say_nothing_wrong():
    classifier = small_classifier()
    with torch.no_grad():
        classifier.network.body[4].weight.zero_()
        classifier.network.body[4].bias.fill_(-1.0)  # a dead layer: no gradient reaches anything before it
    found = validate_concepts(
        classifier, {"a": bars(6, 1)}, "ring", small_images(5), small_images(20), ["body.3", "body.5"], **FEW
    )
    assert (found["p"] == 1).all() and (found["score"] == 0).all() and not found["significant"].any()
    assert np.isfinite(found[["score", "alignment", "accuracy"]].to_numpy()).all()
    assert found.loc[found["layer"] == "body.5", "accuracy"].item() == 0.5


def test_concepts_from_photographs():
    x = load_fashion("sample").images[:4]
    assert torch.equal(striped(x, strength=0), x)
    lying, standing = striped(x, 4, 0, 1.0), striped(x, 4, np.pi / 2, 1.0)
    assert torch.allclose(lying[:, :, 2::4], 0 * lying[:, :, 2::4], atol=1e-6)
    assert torch.equal(lying[:, :, ::4], x[:, :, ::4])
    assert torch.allclose(standing.transpose(2, 3), striped(x.transpose(2, 3), 4, 0, 1.0), atol=1e-5)
    values = [0.3, float("nan"), 0.9, 0.9, 0.1]
    assert most_of(values, 3).tolist() == [2, 3, 0]
    assert most_of(values, 2, torch.tensor([True, True, False, True, True])).tolist() == [3, 0]
    for call, why in (
        (lambda: most_of(values, 5), "4 of 5"),
        (lambda: most_of(["much"], 1), "the values are no numbers"),
        (lambda: striped(x, 1), "2 pixels"),
        (lambda: striped(x, strength=2), "0 to 1"),
        (lambda: striped(255 * x), "range"),
    ):
        with pytest.raises(LisError, match=why):
            call()


def test_what_is_refused():
    classifier, images, others = small_classifier(), small_images(4), small_images(20, seed=2)
    good = {"bars": bars(6, 1)}
    empty = Photographs(images, torch.zeros(4).long(), ("disc", "ring"))
    for arguments, options, why in (
        (({}, "ring", images, others), {}, "at least one"),
        (({"bars": bars(5, 1)}, "ring", images, others), {}, "at least 6"),
        (({"bars": bars(11, 1)}, "ring", images, others), {}, "at least 22"),
        (({"bars": bars(6, 1)[:, 0]}, "ring", images, others), {}, "concept 'bars'"),
        ((good, "rings", images, others), {}, "Did you mean 'ring'"),
        ((good, "ring", empty, others), {}, "no photograph of class 'ring'"),
        ((good, "cross", empty, others), {}, "no class 'cross'"),
        ((good, "ring", images, others, ["body.33"]), {}, "body.33"),
        ((good, "ring", images, others, ["logits"]), {}, "take an earlier one"),
        ((good, "ring", images, others), {"pool": "max"}, "pool"),
        ((good, "ring", images, others), {"method": "rigde"}, "Did you mean 'ridge'"),
        ((good, "ring", images, others), {"correction": "none"}, "correction"),
        ((good, "ring", images, others), {"random_concepts": 5}, "random_concepts"),
        ((good, "ring", images, others), {"alpha": 1}, "alpha"),
        ((good, "ring", images, float("nan") * others), {}, "random images"),
    ):
        with pytest.raises(LisError, match=why):
            validate_concepts(classifier, *arguments, **options)
    encoder = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), head=False,
                         channels=1, size=(12, 12), mean=[0.0], std=[1.0])  # fmt: skip
    with pytest.raises(LisError, match="head|no class"):
        validate_concepts(encoder, good, 0, images, others)


def test_large_layers_are_refused_before_they_fill_the_memory(monkeypatch):
    from lis_toolkit.labels import concept_space

    monkeypatch.setattr(concept_space, "MOST_BYTES", 10_000)
    with pytest.raises(LisError, match='pool="mean"'):
        validate_concepts(
            small_classifier(),
            {"a": bars(6, 1)},
            "ring",
            small_images(4),
            small_images(20),
            ["body.1"],
            **FEW,
        )


def test_many_images_are_fitted_in_pieces_and_refused_before_their_products_fill_the_memory(monkeypatch):
    from lis_toolkit.labels import concept_space, tcav

    classifier, args = small_classifier(), (small_images(4), small_images(30, seed=6))
    whole = validate_concepts(classifier, {"bars": bars(8, 1)}, "ring", *args, ["body.5"], **FEW)
    sizes = []
    real = tcav.fit_directions
    monkeypatch.setattr(
        tcav, "fit_directions", lambda g, a, b, *r, **k: (sizes.append(len(a)), real(g, a, b, *r, **k))[1]
    )
    monkeypatch.setattr(
        tcav, "CHUNK_BYTES", 5 * 8 * 16**2
    )  # products of 5 directions of 8 images and 8 others
    pieces = validate_concepts(classifier, {"bars": bars(8, 1)}, "ring", *args, ["body.5"], **FEW)
    assert max(sizes) == 5 and sum(sizes) == 3 + 39 * 3 and whole.equals(pieces)
    # The penultimate layer is narrow: there it is the products of images with images that grow.
    monkeypatch.setattr(concept_space, "MOST_BYTES", 8 * 37**2)
    with pytest.raises(LisError, match="38 images of concepts and at random need"):
        validate_concepts(
            classifier, {"bars": bars(8, 1)}, "ring", *args, ["penultimate"], batch_size=4, **FEW
        )


def test_random_concepts_are_not_held_against_themselves():
    from lis_toolkit.labels.tcav import _Draw

    inside, outside = _Draw(10, 30, 8, 4, seed=0).random_concepts(5)
    assert inside.shape == outside.shape == (20, 8)
    for own, others in zip(inside.tolist(), outside.tolist(), strict=True):
        assert (
            not set(own) & set(others)
            and len({*own, *others}) == 16
            and {*own, *others} <= set(range(10, 40))
        )
