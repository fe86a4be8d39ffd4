"""Weights, pruning and clusters of feature maps, each against a slow re-derivation or another library."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from lis_toolkit.activations import Layer
from lis_toolkit.errors import LisError
from lis_toolkit.saliency.clustering import (
    cluster_maps,
    heavy_clusters,
    normalised_maps,
    principal_coordinates,
    tsne_plane,
)
from lis_toolkit.saliency.explain import explain_layer
from lis_toolkit.saliency.weights import kept_maps, map_weights, positive_mass
from lis_toolkit.threads import one_thread


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blobs(seed=0, groups=4, each=7, size=6):
    """Maps of bumps at few places [groups * each, size, size], shuffled, and their groups."""
    random = np.random.default_rng(seed)
    places = [(0, 0), (0, size - 1), (size - 1, 0), (size - 1, size - 1)][:groups]
    rows, columns = np.mgrid[:size, :size]
    maps = [
        np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 3) * random.uniform(0.5, 5)
        + 0.01 * random.random((size, size))
        for y, x in places
        for _ in range(each)
    ]
    order = random.permutation(len(maps))
    return np.array(maps)[order], np.repeat(np.arange(groups), each)[order]


def test_weights_against_a_loop():
    a, g = drawn(0, 3, 4, 5, 2), drawn(1, 3, 4, 5, 2)
    expected = torch.zeros(3, 4)
    for n in range(3):
        for c in range(4):
            for y in range(5):
                for x in range(2):
                    if a[n, c, y, x] > 0 and g[n, c, y, x] > 0:
                        expected[n, c] += g[n, c, y, x] / 10
    assert torch.allclose(positive_mass(a, g), expected, atol=1e-6)
    for n in range(3):
        assert torch.allclose(map_weights(a, g)[n], expected[n] / expected[n].sum(), atol=1e-6)
        assert torch.allclose(map_weights(a[n], g[n]), map_weights(a, g)[n])


def test_nothing_that_speaks_for_the_class_weighs_nothing():
    a = drawn(0, 4, 3, 3)
    for g in (torch.zeros(4, 3, 3), -drawn(1, 4, 3, 3).abs(), torch.where(a > 0, -1.0, 1.0)):
        assert map_weights(a, g).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("width, percent", [(512, 0.175), (256, 0.35), (128, 0.7), (64, 1.4)])
def test_the_papers_thresholds(width, percent):
    just_under, just_over = percent / 100 * (1 - 1e-5), percent / 100 * (1 + 1e-5)
    weights = torch.full((width,), just_under)
    weights[3] = just_over
    assert kept_maps(weights).tolist() == [3]


def test_other_widths_keep_the_same_share_of_the_mean():
    weights = torch.tensor([0.896 / 3 + 1e-6, 0.896 / 3 - 1e-6, 0.4])
    assert kept_maps(weights).tolist() == [0, 2]
    assert kept_maps(torch.tensor([1.0])).tolist() == [0]
    assert kept_maps(torch.zeros(5)).tolist() == []  # not all of them
    with pytest.raises(LisError, match="at least 0"):
        kept_maps(torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad):
    a = torch.ones(2, 3, 3)
    spoilt = a.clone()
    spoilt[0, 0, 0] = bad
    for pair in ((a, spoilt), (spoilt, a)):
        with pytest.raises(LisError, match="NaN or infinite"):
            map_weights(*pair)
    with pytest.raises(LisError, match=r"\[2, 3, 3\].*\[2, 3, 4\]"):
        map_weights(a, torch.ones(2, 3, 4))
    with pytest.raises(LisError, match="finite"):
        normalised_maps(spoilt.numpy())


def test_normalised_maps():
    maps = np.array([[[1.0, 3.0], [2.0, 1.5]], [[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.0], [0.0, 7.0]]])
    assert normalised_maps(maps).tolist() == [[[0, 1], [0.5, 0.25]], [[1, 1], [1, 1]], [[0, 0], [0, 1]]]
    assert normalised_maps(np.full((3, 1, 1), 0.2)).tolist() == [[[1.0]]] * 3
    assert np.array_equal(normalised_maps(maps * (1 + 1e-7)), normalised_maps(maps))  # noise is rounded away


def test_principal_coordinates_against_scikit_learn():
    points = np.random.default_rng(0).random((30, 80))
    ours = principal_coordinates(points, 50)
    theirs = PCA(29, svd_solver="full").fit_transform(points)
    assert ours.shape == (30, 29)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-8)
    assert principal_coordinates(np.random.default_rng(0).random((90, 80))).shape == (90, 50)
    assert principal_coordinates(np.ones((4, 3))).tolist() == [[0, 0]] * 4


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("groups", [3, 4])
def test_bumps_at_few_places_are_told_apart(method, groups):
    maps, truth = blobs(groups=groups)
    labels, score = cluster_maps(normalised_maps(maps), method)
    assert adjusted_rand_score(truth, labels) == 1
    assert score > 0.8


def slow_silhouette(places, labels):
    """Rousseeuw 1987, written out: how much nearer a point's own cluster is than the next, on average."""
    scores = []
    for i, own in enumerate(labels):
        apart = {k: [math.dist(places[i], places[j]) for j in range(len(labels)) if labels[j] == k and j != i]
                 for k in set(labels)}  # fmt: skip
        if not apart[own]:
            scores.append(0.0)  # alone
            continue
        within, nearest = np.mean(apart[own]), min(np.mean(apart[k]) for k in apart if k != own)
        scores.append((nearest - within) / max(nearest, within))
    return np.mean(scores)


@pytest.mark.parametrize("count", [9, 20])
def test_pca_clusters_step_by_step(count):
    maps = normalised_maps(np.random.default_rng(3).random((count, 5, 5)))
    labels, score = cluster_maps(maps, "pca")
    places = PCA(count - 1, svd_solver="full").fit_transform(maps.reshape(count, 25))
    found = {k: AgglomerativeClustering(k, linkage="ward").fit_predict(places).tolist() for k in range(3, 9)}
    scores = {k: slow_silhouette(places, cut) for k, cut in found.items()}
    best = max(scores, key=scores.get)
    assert adjusted_rand_score(found[best], labels) == 1
    assert score == pytest.approx(scores[best])
    assert list(dict.fromkeys(labels.tolist())) == list(range(best))  # numbered as they come


@pytest.mark.parametrize("count, perplexity", [(10, 3.0), (100, 30.0)])
def test_perplexity_is_a_third_of_the_other_maps_at_most(monkeypatch, count, perplexity):
    from sklearn import manifold

    asked = []

    class Spy(manifold.TSNE):
        def fit_transform(self, points):
            asked.append(self.perplexity)
            return points[:, :2]

    monkeypatch.setattr(manifold, "TSNE", Spy)
    tsne_plane(np.random.default_rng(0).random((count, 3)))
    assert asked == [perplexity]


def test_what_is_negative_is_not_active():
    maps, gradients = drawn(6, 40, 5, 5), drawn(7, 40, 5, 5)  # a layer that is taken before its non-linearity
    layer = Layer("body.0", "conv 1", "conv", (40, 5, 5), 0.5)
    taken = explain_layer(layer, maps, gradients, "pca")
    positive = explain_layer(layer, maps.relu(), gradients, "pca")
    assert [c.members for c in taken.clusters] == [c.members for c in positive.clusters]
    for cluster, same in zip(taken.clusters, positive.clusters, strict=True):
        assert torch.equal(cluster.map, same.map)


def test_tsne_starts_from_the_components_and_needs_no_seed():
    points = principal_coordinates(normalised_maps(blobs()[0]).reshape(28, -1))
    with one_thread():
        assert np.array_equal(tsne_plane(points, 0), tsne_plane(points, 5))
        by_chance = [tsne_plane(points, seed, "random") for seed in (0, 0, 1)]
    assert np.array_equal(by_chance[0], by_chance[1]) and not np.allclose(by_chance[0], by_chance[2])
    with pytest.raises(LisError, match="t-SNE of 3 points"):
        tsne_plane(points[:3])


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("count", range(1, 13))
def test_few_maps(method, count):
    maps = normalised_maps(np.random.default_rng(count).random((count, 3, 3)))
    labels, score = cluster_maps(maps, method)
    if count <= 3:
        assert sorted(labels) == list(range(count)) and math.isnan(score)
    else:
        assert 3 <= len(set(labels)) <= min(8, count - 1)
        assert set(labels) == set(range(len(set(labels)))) and -1 <= score <= 1


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_equal_maps_stay_together(method):
    three = np.random.default_rng(0).random((3, 4, 4))
    labels, score = cluster_maps(normalised_maps(np.repeat(three, 5, axis=0)), method)
    assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 and math.isnan(score)
    labels, _ = cluster_maps(normalised_maps(np.full((9, 1, 1), 3.0)), method)
    assert labels.tolist() == [0] * 9
    line = np.linspace(0, 1, 12)[:, None, None] * np.array([[1.0, 0.3]]) + np.array([[0.0, 0.1]])
    labels, _ = cluster_maps(line, method)  # maps on a line: one component
    assert 3 <= len(set(labels)) <= 8


def test_light_clusters():
    assert heavy_clusters([0.6, 0.2, 0.199]) == [True, True, False]  # a third of the largest
    assert heavy_clusters([0.4, 0.3, 0.3, 0.13]) == [True, True, True, False]
    assert heavy_clusters([0.1, 0.1, 0.1]) == [True] * 3
    assert heavy_clusters([1.0]) == [True] and heavy_clusters([]) == []
    # Half of the mean is more than a third of the largest where the mean is above two thirds of the largest.
    assert heavy_clusters([0.3, 0.3, 0.3, 0.102]) == [True, True, True, False]


def slow_layer(maps, gradients, method):
    """A layer's explanation in plain steps: {members: (weight, map)} of the clusters that are shown."""
    width = len(maps)
    weight = np.zeros(width)
    for c in range(width):
        both = (maps[c] > 0) & (gradients[c] > 0)
        weight[c] = gradients[c][both].sum() / maps[c].size
    weight = weight / weight.sum()
    kept = [c for c in range(width) if weight[c] >= 0.896 / width]
    flat = {c: (maps[c] - maps[c].min()) / (maps[c].max() - maps[c].min()) for c in kept}
    labels, _ = cluster_maps(normalised_maps(np.array([maps[c] for c in kept])), method)
    groups = {}
    for c, label in zip(kept, labels, strict=True):
        groups.setdefault(label, []).append(c)
    weights = {label: sum(weight[c] for c in group) for label, group in groups.items()}
    least = max(max(weights.values()) / 3, np.mean(list(weights.values())) / 2)
    return {
        tuple(group): (weights[label], sum(weight[c] * flat[c] for c in group) / weights[label])
        for label, group in groups.items()
        if weights[label] >= least
    }


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_layer_against_plain_steps(method):
    maps, gradients = drawn(4, 40, 5, 5).relu(), drawn(5, 40, 5, 5)
    part = explain_layer(Layer("body.1", "conv 1", "conv", (40, 5, 5), 0.5), maps, gradients, method)
    expected = slow_layer(maps.double().numpy(), gradients.double().numpy(), method)
    assert {c.members for c in part.clusters} == set(expected)
    for cluster in part.clusters:
        weight, merged = expected[cluster.members]
        assert cluster.weight == pytest.approx(weight, abs=1e-6)
        assert np.allclose(cluster.map, merged, atol=2e-5)
    assert part.accounted == pytest.approx(sum(weight for weight, _ in expected.values()), abs=1e-6)
    assert [c.weight for c in part.clusters] == sorted((c.weight for c in part.clusters), reverse=True)
    assert part.kept_share == pytest.approx(part.accounted + sum(c.weight for c in part.dropped), abs=1e-6)
    assert part.k == len(part.clusters) + len(part.dropped)
    assert sorted(m for c in (*part.clusters, *part.dropped) for m in c.members) == part.kept.tolist()
    assert torch.allclose(
        part.merged(), torch.stack([c.weight * c.map for c in part.clusters]).sum(0), atol=1e-6
    )
    for m, label in zip(part.kept.tolist(), part.labels.tolist(), strict=True):
        assert m in (*part.clusters, *part.dropped)[label].members


def test_layers_without_much_to_say():
    def explained(maps, gradients, method="tsne"):
        layer = Layer("a", "a", "conv", tuple(maps.shape), 0.0)
        return explain_layer(layer, maps, gradients, method)

    silent = explained(torch.ones(5, 3, 3), -torch.ones(5, 3, 3))
    assert silent.empty and silent.k == 0 and silent.accounted == 0 and silent.mass == 0
    assert silent.merged().shape == (3, 3) and not silent.merged().any() and len(silent.labels) == 0
    one = explained(
        drawn(0, 5, 3, 3).abs() + 0.1, torch.tensor([1.0, 0, 0, 0, 0])[:, None, None].expand(5, 3, 3)
    )
    assert [c.members for c in one.clusters] == [(0,)] and one.accounted == pytest.approx(1)
    points = explained(
        torch.rand(40, 1, 1) + 0.1, torch.rand(40, 1, 1)
    )  # 1 x 1 positions: nothing to tell apart
    assert points.k == 1 and points.clusters[0].map.tolist() == [[1.0]]
    assert points.accounted == pytest.approx(points.kept_share)
    constant = explained(torch.full((20, 4, 4), 2.0), torch.rand(20, 4, 4))
    assert constant.k == 1 and bool((constant.clusters[0].map == 1).all())
