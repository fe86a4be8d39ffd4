"""Named directions: principal ones against numpy, class means against loops, combinations, bad input."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lis_toolkit import (
    Directions,
    LisError,
    class_directions,
    collect_pairs,
    fit_link,
    principal_directions,
    unit_combination,
)
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def pairs():
    generator = tiny_generator()
    return collect_pairs(generator, tiny_classifier(generator), per_class=20, seed=0)


@pytest.fixture(scope="module")
def link(pairs):
    return fit_link(pairs, penalty=0.01)


def test_principal_directions_against_numpy(link):
    found = principal_directions(link, 4)
    std = link.unit_std.double().numpy()
    _, strength, right = np.linalg.svd(link.A.double().numpy() * std)
    assert found.strength == pytest.approx(strength[:4]) and found.kind == "principal"
    assert found.names == tuple(f"principal {d}" for d in (1, 2, 3, 4)) and len(found) == 4
    for d in range(4):
        sign = np.sign(right[d][np.abs(right[d]).argmax()])
        np.testing.assert_allclose(found.vectors[d], sign * right[d] * std, atol=1e-5)
        assert float((link.A @ found.vectors[d]).norm()) == pytest.approx(strength[d], rel=1e-4)
    assert found.low == (-3,) * 4 and found.high == (3,) * 4


def test_with_pairs_they_are_the_principal_components_of_the_linked_latents(link, pairs):
    found = principal_directions(link, 3, pairs)
    latents = link(pairs.r).double().numpy()
    fitted = PCA(3).fit(latents)
    n = len(pairs)
    assert found.strength == pytest.approx(np.sqrt(fitted.explained_variance_ * (n - 1) / n), rel=1e-4)
    scores = fitted.transform(latents) / found.strength  # [N, 3], standard deviations
    std = link.unit_std.double().numpy()
    for d in range(3):
        moved = (link.A @ found.vectors[d]).double().numpy()
        cosine = moved @ fitted.components_[d] / np.linalg.norm(moved)
        assert abs(cosine) == pytest.approx(1, abs=1e-4)
        assert np.linalg.norm(moved) == pytest.approx(found.strength[d], rel=1e-3)
        own = scores[:, d] * np.sign(cosine)
        assert (found.low[d], found.high[d]) == pytest.approx((own.min(), own.max()), abs=1e-3)
        # The change of r that goes with one standard deviation of the component: a regression on it.
        slope = (own[:, None] * (pairs.r - pairs.r.mean(0)).double().numpy()).mean(0)
        np.testing.assert_allclose(found.vectors[d], slope, atol=1e-5)
        entries = found.vectors[d].numpy()[std > 0] / std[std > 0]
        assert entries[np.abs(entries).argmax()] > 0
    again = principal_directions(link, 3, pairs.r)
    assert torch.equal(again.vectors, found.vectors)


def test_no_step_of_one_standard_deviation_moves_w_more_than_the_first_direction(link):
    first = principal_directions(link, 1)
    draw = torch.Generator().manual_seed(0)
    for _ in range(200):
        step = torch.randn(link.num_units, generator=draw)
        moved = link.A @ (link.unit_std * step / step.norm())
        assert float(moved.norm()) <= first.strength[0] * (1 + 1e-5)


def test_more_directions_than_there_are_is_said_so(link):
    with pytest.raises(LisError, match=r"count is 1000; this link has \d+ directions"):
        principal_directions(link, 1000)
    with pytest.raises(LisError, match="count is 0"):
        principal_directions(link, 0)
    with pytest.raises(LisError, match="activations"):
        principal_directions(link, 2, torch.rand(5, link.num_units + 1))


def test_class_directions_are_differences_of_means(pairs):
    means = {k: pairs.r[pairs.labels == k].double().mean(0) for k in range(3)}
    found = class_directions(pairs, source="ring")
    assert found.names == ("ring to disc", "ring to cross") and found.kind == "class"
    for d, k in enumerate((0, 2)):
        torch.testing.assert_close(found.vectors[d], (means[k] - means[1]).float())
        # The mean of the source is at 0, that of the target at 1.
        vector = found.vectors[d].double()
        rows = pairs.r[(pairs.labels == k) | (pairs.labels == 1)].double()
        amounts = (rows - means[1]) @ vector / vector.square().sum()
        assert found.low[d] == pytest.approx(min(float(amounts.min()), -1), abs=1e-4)
        assert found.high[d] == pytest.approx(max(float(amounts.max()), 1), abs=1e-4)
    each = class_directions(pairs)
    assert each.names == tuple(f"others to {name}" for name in CLASSES)
    torch.testing.assert_close(each.vectors[1], (means[1] - (means[0] + means[2]) / 2).float())
    plain = class_directions(pairs.r, pairs.labels, CLASSES, source=1)
    assert plain.names == found.names and torch.equal(plain.vectors, found.vectors)


def test_means_of_classes_of_other_sizes_weigh_alike():
    r = torch.tensor([[0.0, 1.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [6.0, 0.0]])
    found = class_directions(r, torch.tensor([0, 1, 1, 1, 4]), list("abcde"))
    assert found.names == ("others to a", "others to b", "others to e")
    assert found.vectors.tolist() == [[-4, 1], [-1, -0.5], [5, -0.5]]


def test_bad_classes_are_refused(pairs):
    r, labels = pairs.r, pairs.labels
    for call, said in (
        (lambda: class_directions(pairs, labels), "leave them out"),
        (lambda: class_directions(r), "labels and classes are missing"),
        (lambda: class_directions(r, labels[:-1], CLASSES), "one a row"),
        (lambda: class_directions(r, labels.float(), CLASSES), "whole numbers"),
        (lambda: class_directions(r, labels, CLASSES[:2]), "labels go from 0 to 2"),
        (lambda: class_directions(r, torch.zeros_like(labels), CLASSES), "fewer than two classes"),
        (lambda: class_directions(r, labels.clamp_max(1), CLASSES, "cross"), "no rows of 'cross'"),
        (lambda: class_directions(pairs, source="rign"), "Did you mean 'ring'"),
        (lambda: class_directions(r * torch.nan, labels, CLASSES), "NaN"),
        (lambda: class_directions(torch.ones(4, 3), torch.arange(4) % 2, ("a", "b")), "same mean"),
    ):
        with pytest.raises(LisError, match=said):
            call()


def test_combinations_of_units(link):
    a, b = link.unit_std.argsort(descending=True).tolist()[:2]
    found = unit_combination({"wide": {a: 1.0, f"unit {b}": -0.5}, "one": {a: 2}}, link)
    assert found.names == ("wide", "one") and found.vectors.count_nonzero() == 3
    assert (float(found.vectors[0, a]), float(found.vectors[0, b]), float(found.vectors[1, a])) == (
        1,
        -0.5,
        2,
    )
    span = (link.unit_max - link.unit_min).tolist()
    assert found.high == pytest.approx((min(span[a], span[b] / 0.5), span[a] / 2))
    assert found.low == tuple(-x for x in found.high)
    assert found.strength == pytest.approx([float((link.A @ v).norm()) for v in found.vectors], rel=1e-5)
    assert found.largest_units("wide") == [(a, 1.0), (b, -0.5)] and found.largest_units("wide", 1) == [
        (a, 1.0)
    ]
    for bad, said in (
        ({}, "combinations are"),
        ([("x", {a: 1})], "combinations are"),
        ({"x": {}}, "a mapping from units"),
        ({"x": [a]}, "a mapping from units"),
        ({"x": {a: 0}}, "all weights of 'x' are 0"),
        ({"x": {a: 1, f"unit {a}": 2}}, "twice"),
        ({"x": {a: float("nan")}}, "finite"),
        ({"x": {10_000: 1}}, "no unit 10000"),
    ):
        with pytest.raises(LisError, match=said):
            unit_combination(bad, link)


def test_directions_check_what_they_are_given():
    good = {"names": ("a", "b"), "vectors": torch.eye(2, 3), "low": (-1, -1), "high": (1, 2)}
    made = Directions(**good, strength=torch.tensor([2.0, 1.0]))
    assert made.index("b") == 1 and torch.equal(made.vector("b"), torch.tensor([0.0, 1.0, 0.0]))
    some = made.subset(["b"])
    assert (some.names, some.low, some.high, some.strength) == (("b",), (-1,), (2,), (1.0,))
    good["vectors"][0, 0] = 9
    assert float(made.vectors[0, 0]) == 1, "directions do not change with what they were made of"
    for change, said in (
        ({"names": ()}, "at least one name"),
        ({"names": "ab"}, "at least one name"),
        ({"names": ("a", "a")}, "name of its own"),
        ({"names": ("a", " ")}, "a name was expected"),
        ({"names": ("a",)}, "one row a name"),
        ({"vectors": torch.eye(2, 3).long()}, "floating"),
        ({"vectors": [[1.0]]}, "floating"),
        ({"vectors": torch.full((2, 3), torch.nan)}, "NaN"),
        ({"vectors": torch.zeros(2, 3)}, "'a' is zero"),
        ({"low": (-1,)}, "low has 1 values"),
        ({"low": -1}, "2 numbers"),
        ({"high": (1, float("inf"))}, "finite"),
        ({"high": (1, -2)}, "'b' goes from -1 to -2"),
        ({"strength": (1,)}, "strength has 1 values"),
    ):
        with pytest.raises(LisError, match=said):
            Directions(**(good | change))
    with pytest.raises(LisError, match="no direction 'c'"):
        made.vector("c")
    with pytest.raises(LisError, match="at least one name"):
        made.subset([])
