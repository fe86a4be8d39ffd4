"""Companion directions: regressions of all units on each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from lis_toolkit import LisError, collect_pairs, companion_directions, fit_link, tune_unit
from lis_toolkit.directions import checked_directions
from tiny import tiny_classifier, tiny_generator


def activations(n=80, units=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=draw) @ torch.randn(3, units, generator=draw) + torch.randn(
        n, units, generator=draw
    )


def test_each_row_is_the_regression_of_all_units_on_one():
    r = activations()
    found = companion_directions(r)
    for i in range(r.shape[1]):
        wanted = LinearRegression().fit(r[:, i : i + 1].numpy(), r.numpy()).coef_[:, 0]
        np.testing.assert_allclose(found[i], wanted, atol=1e-5)


def test_labels_take_the_differences_of_classes_out():
    r, labels = activations(), torch.arange(80) % 4 + 3
    shifted = r + torch.nn.functional.one_hot(labels - 3, 6).float() * 50
    torch.testing.assert_close(
        companion_directions(shifted, labels), companion_directions(r, labels), atol=1e-4, rtol=0
    )
    dummies = np.eye(4)[labels.numpy() - 3]
    for i in range(6):
        given = np.column_stack([r[:, i].numpy(), dummies])
        wanted = LinearRegression(fit_intercept=False).fit(given, r.numpy()).coef_[:, 0]
        np.testing.assert_allclose(companion_directions(r, labels)[i], wanted, atol=1e-5)


def test_constant_units_move_alone_and_nothing_moves_with_them():
    r = activations()
    r[:, 2] = 7.3
    found = companion_directions(r)
    assert found[2].tolist() == [0, 0, 1, 0, 0, 0]
    assert found[:, 2].abs().sub(torch.eye(6)[2]).abs().max() < 1e-6


def test_walks_take_the_companions_along():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=30, seed=0, keep="all")
    link = fit_link(pairs, method="ridge", penalty=0.1)
    directions = companion_directions(pairs)
    assert torch.equal(directions, companion_directions(pairs.r, pairs.labels))
    unit = int(link.unit_std.argmax())
    start = pairs.r[:3]
    walk = tune_unit(generator, classifier, link, start, unit, steps=4, directions=directions)
    for n in range(3):
        for s, value in enumerate(walk.values):
            wanted = start[n] + (value - start[n, unit]) * directions[unit]
            torch.testing.assert_close(walk.r_set[n, s], wanted)
            torch.testing.assert_close(
                walk.images[n, s], generator.render(link(wanted[None]))[0], atol=1e-4, rtol=0
            )
    torch.testing.assert_close(walk.r_set[:, :, unit], walk.values.expand(3, -1))
    alone = tune_unit(generator, classifier, link, start, unit, steps=4, directions=torch.eye(link.num_units))
    torch.testing.assert_close(
        alone.images, tune_unit(generator, classifier, link, start, unit, steps=4).images, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.eye(3), r"\[3, 3\]; a tensor \[4, 4\]"),
        (torch.eye(4) * 2, r"directions\[0, 0\] is 2; the diagonal must be 1"),
        (torch.eye(4) + float("nan"), "NaN"),
        ("alone", "str; a tensor"),
    ],
)
def test_wrong_directions_are_explained(given, message):
    with pytest.raises(LisError, match=message):
        checked_directions(given, 4)


@pytest.mark.parametrize(
    ("r", "labels", "message"),
    [
        (torch.zeros(1, 4), None, "at least two rows"),
        (torch.zeros(5), None, r"\[N, R\]"),
        (torch.zeros(5, 2, dtype=torch.long), None, "int64"),
        (torch.full((5, 2), float("inf")), None, "infinite"),
        (torch.zeros(5, 2), torch.zeros(4), r"\[4\], expected one for each of 5"),
    ],
)
def test_wrong_activations_are_explained(r, labels, message):
    with pytest.raises(LisError, match=message):
        companion_directions(r, labels)
