"""What a search for counterfactuals is not given: each is refused or told, in words."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lis_toolkit import (
    CheckpointError,
    Classifier,
    Link,
    LisError,
    collect_pairs,
    find_counterfactuals,
    fit_link,
)
from lis_toolkit.class_statistics import ClassStatistics
from lis_toolkit.counterfactuals import START_IS_TARGET
from lis_toolkit.counterfactuals.rendered import rendered_margin
from lis_toolkit.files import load_tensors, save_tensors
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=30, seed=0)
    return generator, classifier, fit_link(pairs), pairs


@pytest.fixture(scope="module")
def r(models):
    return collect_pairs(*models[:2], per_class=3, seed=1).r


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "rings"}, "Did you mean 'ring'"),
        ({"target": 3}, "no class 3"),
        ({"target": ["ring", "disc"]}, "2 targets were given for 9 starts"),
        ({"target": 1.5}, "a class is a name or an index"),
        ({"target": {"ring"}}, "a class is a name or an index, got {'ring'}"),
        ({"target": b"ring"}, "a class is a name or an index"),
        ({"method": "laten"}, "Did you mean 'latent'"),
        ({"metric": "l2"}, "one of euclidean, covariance, sparse"),
        ({"margin": -1}, "margin is -1"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"realism": "much"}, "realism is 'much'"),
        ({"steps": -1}, "steps is -1"),
        ({"points": 1}, "points is 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"pairs": "some"}, "pairs is str"),
    ],
)
def test_settings_that_make_no_sense(models, r, given, message):
    with pytest.raises(LisError, match=message):
        find_counterfactuals(*models[:3], r, **{"target": "ring", **given})


def test_starts_that_make_no_sense(models, r):
    nan, negative = r.clone(), r.clone()
    nan[2, 4], negative[1, 3] = torch.nan, -0.5
    for start, message in (
        (nan, "NaN or infinite .the first in row 2, unit 4"),
        (negative, "negative activations .the first in row 1, unit 3: -0.5"),
        (r[:, 1:], r"shape \[9, 9\]"),
        (r[:0], r"shape \[0, 10\]"),
        (r.long(), "int64"),
        ("r", "start is str"),
        (torch.cat([r[:1], torch.full((1, 10), 3e38)]), r"so large .row 1: up to 3e\+38"),
        (torch.rand(2, 1, 8, 8), "8"),
        (torch.rand(1, 16, 16), r"shape \[1, 16, 16\].*One image is images\[None\]"),
    ):
        with pytest.raises(LisError, match=message):
            find_counterfactuals(*models[:3], start, "ring")


def test_models_and_activations_of_another_classifier(models, r):
    generator, classifier, link, pairs = models
    other = tiny_classifier(generator, seed=4)
    with pytest.raises(LisError, match="does not belong to these models"):
        find_counterfactuals(generator, other, link, r, "ring")
    foreign = collect_pairs(generator, other, per_class=4, seed=0)
    with pytest.raises(LisError, match="of another classifier"):
        find_counterfactuals(generator, classifier, link, foreign, "ring")
    with pytest.raises(LisError, match="of another classifier"):
        find_counterfactuals(generator, classifier, link, r, "ring", pairs=foreign)


def test_targets_that_are_there_already(models, r):
    generator, classifier, link, _ = models
    origin = classifier.head(r).argmax(dim=1)
    with pytest.raises(LisError, match="already is of its target class"):
        find_counterfactuals(generator, classifier, link, r, origin)
    mixed = origin.clone()
    mixed[1:] = (mixed[1:] + 1) % 3
    for method in ("paper", "closed_form", "latent"):
        table = find_counterfactuals(generator, classifier, link, r, mixed, method, steps=3).table
        assert table["reason"][0] == START_IS_TARGET and not table["success"][0]
    cycled = classifier.head(classifier.features(generator.render(link(r)))).argmax(dim=1)
    lost = (cycled != origin).nonzero()[:, 0]
    assert len(lost)  # every row has nothing to search for, but not by its head
    table = find_counterfactuals(generator, classifier, link, r[lost], cycled[lost]).table
    assert table["reason"].tolist() == [START_IS_TARGET] * len(lost) and (table["distance_w"] == 0).all()


@pytest.mark.parametrize("method", ["paper", "closed_form", "latent"])
@pytest.mark.parametrize("target", ["ring", "nearest", "all"])
def test_what_can_not_be_reached_is_a_row_with_its_reason(models, r, method, target, monkeypatch):
    """A generator whose pictures are all the same, and one whose pictures the classifier can't read."""
    generator, classifier, link, _ = models
    render = type(generator).render
    fixed = render(generator, link(r[:1]))
    steps = {"paper": 30, "latent": 12}.get(method)
    most = {"paper": 33, "closed_form": 20, "latent": 60}[method]
    for scale in (1.0, torch.nan):
        with monkeypatch.context() as patch:
            patch.setattr(
                type(generator),
                "render",
                lambda self, w, s=scale: s * (fixed + 0 * w.sum(dim=1)[:, None, None, None]),
            )
            table = find_counterfactuals(generator, classifier, link, r, target, method, steps=steps).table
        assert not table["success"].any() and (table["renders"] <= most).all()
        told = table["reason"][table["reason"] != START_IS_TARGET]
        assert len(told) and told.str.contains("no picture" if scale == 1 else "NaN").all()


def test_a_margin_beyond_reach_is_told(models, r):
    table = find_counterfactuals(*models[:3], r, "cross", margin=1e4).table
    assert not table["success"].any() and table["margin_end"].max() > table["margin_start"].max()
    assert table["reason"].str.contains("no picture had the margin 10000").any()


@pytest.mark.parametrize("method", ["paper", "closed_form", "latent"])
@pytest.mark.parametrize(
    ("of_classifier", "of_link"),
    [(torch.float64, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_models_of_other_precisions(models, r, method, of_classifier, of_link):
    generator, classifier, link, pairs = models
    other = copy.deepcopy(classifier).to(of_classifier)
    own = fit_link(collect_pairs(generator, other, per_class=30, seed=0)).to(of_link)
    result = find_counterfactuals(generator, other, own, r, "cross", method, steps=6)
    x = generator.render(own(result.r_end).float())
    margins = rendered_margin(other.logits(x.to(of_classifier)).float(), result.targets)
    near = 0.05 if of_classifier == torch.bfloat16 else 1e-4  # its logits have three digits
    assert torch.allclose(result.margins[:, -1], margins, atol=near)
    if of_classifier == torch.float64:
        plain = find_counterfactuals(generator, classifier, link, r, "cross", method, steps=1)
        same = find_counterfactuals(generator, other, own, r, "cross", method, steps=1)
        assert torch.allclose(plain.r_end, same.r_end, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("metric", ["covariance", "euclidean", "sparse"])
def test_what_leaves_the_range_of_numbers_is_a_row(models, r, metric):
    for given in ({"margin": 1e300}, {"margin": 1e38}, {"realism": 1e30}):
        result = find_counterfactuals(*models[:3], r, "cross", metric=metric, **given)
        told = result.table["reason"][~result.table["success"]]
        assert len(told) and told.str.contains("no picture had the margin|start is target").all()
        assert bool(torch.isfinite(result.r_end).all())


def test_a_head_that_is_not_linear_serves_the_paper_only(models):
    generator, classifier, _, _ = models
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    body = _Body(classifier.network).eval()
    crooked = Classifier(body, CLASSES, head=head, channels=1, size=(16, 16), mean=[0.5], std=[0.02])
    pairs = collect_pairs(generator, crooked, per_class=20, seed=0, keep="all")
    link = fit_link(pairs)
    for method in ("closed_form", "latent"):
        with pytest.raises(LisError, match="one linear layer"):
            find_counterfactuals(generator, crooked, link, pairs.r[:4], "all", method)
    assert len(find_counterfactuals(generator, crooked, link, pairs.r[:4], "all", "paper", steps=2)) == 8


def test_an_encoder_has_no_counterfactuals(models, r):
    generator, classifier, _, _ = models
    body = _Body(classifier.network).eval()
    encoder = Classifier(body, head=False, channels=1, size=(16, 16), mean=[0.5], std=[0.02])
    link = fit_link(collect_pairs(generator, encoder, per_class=20, keep="all"))
    with pytest.raises(LisError, match="needs a classifier with a head"):
        find_counterfactuals(generator, encoder, link, r, "ring", "paper")


class _Body(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.inner = network

    def forward(self, x):
        return self.inner.features(x)


def test_a_link_without_statistics_needs_pairs(models, r):
    generator, classifier, link, pairs = models
    bare = fit_link((pairs.r, pairs.w))
    assert bare.statistics is None
    for method in ("closed_form", "latent"):
        with pytest.raises(LisError, match="no class statistics"):
            find_counterfactuals(generator, classifier, bare, r, "ring", method)
    given = find_counterfactuals(generator, classifier, bare, r, "ring", pairs=pairs)
    own = find_counterfactuals(generator, classifier, link, r, "ring")
    assert torch.allclose(given.r_end, own.r_end, atol=2e-3)
    walk = find_counterfactuals(generator, classifier, bare, r, "ring", "paper", steps=2)
    assert walk.table["distance_r_sd"].isna().all()


def test_statistics_are_those_of_the_pairs(models):
    pairs, statistics = models[3], models[2].statistics
    assert statistics.classes == CLASSES and statistics.counts.tolist() == [30, 30, 30]
    for k in range(3):
        rows = pairs.labels == k
        assert torch.allclose(statistics.r_means[k], pairs.r[rows].mean(dim=0), atol=1e-5)
        assert torch.allclose(statistics.w_means[k], pairs.w[rows].mean(dim=0), atol=1e-5)
    assert torch.allclose(statistics.covariance, torch.cov(pairs.r.T, correction=0), atol=1e-4)
    within = sum(29 * torch.cov(pairs.w[pairs.labels == k].T.double()) for k in range(3)) / 90
    assert torch.allclose(statistics.w_within.double(), within, atol=1e-5)
    total = torch.cov(pairs.w.T.double(), correction=0).trace().sqrt()
    assert statistics.w_spread == pytest.approx(float(total), rel=1e-4)
    u = torch.linalg.solve_triangular(statistics.root, pairs.r.double().T, upper=False)
    assert torch.allclose(statistics.mahalanobis(pairs.r), (u.square().mean(dim=0)).sqrt().float(), rtol=1e-4)


def test_statistics_follow_another_list_of_classes(models):
    statistics = models[2].statistics
    assert statistics.ordered(CLASSES) is statistics
    other = statistics.ordered(("cross", "square", "disc"))
    assert other.counts.tolist() == [30, 0, 30] and bool(other.r_means[1].isnan().all())
    assert torch.equal(other.w_means[[0, 2]], statistics.w_means[[2, 0]])


@pytest.mark.parametrize("method", ["ols", "ridge", "reduced_rank", "elastic_net"])
def test_every_method_of_fitting_keeps_statistics(models, method):
    pairs = models[3]
    link = fit_link(pairs, method=method)
    assert torch.allclose(link.statistics.covariance, torch.cov(pairs.r.T, correction=0), atol=1e-4)


def test_links_are_saved_with_their_statistics_and_old_ones_load(models, r, tmp_path):
    generator, classifier, link, _ = models
    path = tmp_path / "link.safetensors"
    link.save(path)
    again = Link.load(path)
    for name in ("counts", "r_means", "w_means", "covariance", "w_within"):
        assert torch.equal(getattr(again.statistics, name), getattr(link.statistics, name))
    assert torch.equal(
        find_counterfactuals(generator, classifier, again, r, "ring").r_end,
        find_counterfactuals(generator, classifier, link, r, "ring").r_end,
    )
    tensors, facts = load_tensors(path)
    old = {name: x for name, x in tensors.items() if not name.startswith("statistics.")}
    assert len(old) == len(tensors) - 5
    save_tensors(path, old, facts)
    assert Link.load(path).statistics is None
    for name, value in (("statistics.r_means", None), ("statistics.w_within", torch.zeros(3, 3))):
        broken = {**tensors, name: value}
        save_tensors(path, {n: x for n, x in broken.items() if x is not None}, facts)
        with pytest.raises(CheckpointError, match="class statistics are damaged"):
            Link.load(path)


def test_statistics_need_pairs(models):
    with pytest.raises(LisError, match="two or more"):
        ClassStatistics.of(models[3].subset(torch.tensor([0])))


def test_the_weights_of_linear_heads_make_the_logits(models, r):
    _, classifier, _, _ = models
    weight, bias = classifier.linear_head()
    assert torch.allclose(r @ weight.T + bias, classifier.head(r), atol=1e-5) and not weight.requires_grad
