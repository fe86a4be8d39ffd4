"""tune_unit against a plain loop, one picture at a time."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import LisError
from lis_toolkit.link import fit_link
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.units import render_activations, tune_unit
from tiny import tiny_classifier, tiny_generator

BORROWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures that no example changes

UNIT = 3


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def classifier(generator):
    return tiny_classifier(generator)


@pytest.fixture(scope="module")
def pairs(generator, classifier):
    return collect_pairs(generator, classifier, per_class=12, psi=1.0)


@pytest.fixture(scope="module")
def link(pairs):
    return fit_link(pairs, "ridge", penalty=0.1)


@pytest.fixture(scope="module")
def walk(generator, classifier, link, pairs):
    return tune_unit(generator, classifier, link, pairs.r[[0, 13, 25]], UNIT, steps=4)


def one(generator, classifier, link, r):
    """Link, render and look at one activation [R] by hand."""
    w = link.A @ r + link.b
    x = generator.render(w[None])[0]
    again = classifier.features(x[None])[0]
    return w, x, again, classifier.head(again)


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_walk_is_a_plain_loop(generator, classifier, link, pairs, batch_size):
    r, values = pairs.r[[0, 13, 25]], [0.0, 0.7, 0.2, 3.0]
    walk = tune_unit(generator, classifier, link, r, UNIT, values, batch_size=batch_size)
    assert walk.unit == UNIT and walk.values.tolist() == pytest.approx(values)
    for n in range(3):
        w, x, again, logits = one(generator, classifier, link, r[n])
        close(walk.start[n], x)
        close(walk.start_r[n], again, 1e-3)
        close(walk.start_logits[n], logits, 1e-2)
        for s, value in enumerate(values):
            changed = r[n].clone()
            changed[UNIT] = value
            w, x, again, logits = one(generator, classifier, link, changed)
            assert torch.equal(walk.r_set[n, s], changed)
            close(walk.w[n, s], w)
            close(walk.images[n, s], x)
            close(walk.r[n, s], again, 1e-3)
            close(walk.logits[n, s], logits, 1e-2)
            close(walk.difference[n, s], walk.images[n, s] - walk.start[n])
    assert walk.difference.abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3


def test_shapes_and_places(walk):
    shapes = {
        f.name: tuple(getattr(walk, f.name).shape)
        for f in dataclasses.fields(walk)
        if f.name not in ("unit", "observed", "companions")
    }
    assert shapes == {
        "values": (4,),
        "images": (3, 4, 1, 16, 16),
        "w": (3, 4, 12),
        "r_set": (3, 4, 10),
        "r": (3, 4, 10),
        "logits": (3, 4, 3),
        "start": (3, 1, 16, 16),
        "start_r": (3, 10),
        "start_logits": (3, 3),
        "given": (3, 10),
    }
    tensors = [getattr(walk, name) for name in shapes]
    assert {t.dtype for t in tensors} == {torch.float32} and not any(t.requires_grad for t in tensors)
    assert walk.images.min() >= 0 and walk.images.max() <= 1


def test_by_default_the_unit_goes_from_its_least_to_its_greatest_over_the_pairs(walk, pairs, link):
    low, high = float(pairs.r[:, UNIT].min()), float(pairs.r[:, UNIT].max())
    np.testing.assert_allclose(walk.values, np.linspace(low, high, 4), rtol=1e-6)
    assert walk.observed == pytest.approx((low, high))
    assert (float(link.unit_min[UNIT]), float(link.unit_max[UNIT])) == walk.observed


def test_setting_a_unit_to_what_it_is_changes_nothing(generator, classifier, link, pairs):
    r = pairs.r[2]
    walk = tune_unit(generator, classifier, link, r, UNIT, [float(r[UNIT])])
    close(walk.images[0, 0], walk.start[0])
    assert walk.images.shape == (1, 1, 1, 16, 16), "a single r is a batch of one"


@pytest.mark.parametrize("name", ["3", "unit 3", "Unit 3", np.int64(3)])
def test_a_unit_has_several_names(generator, classifier, link, pairs, walk, name):
    again = tune_unit(generator, classifier, link, pairs.r[[0, 13, 25]], name, steps=4)
    assert again.unit == UNIT
    close(again.images, walk.images)


def test_values_may_be_a_tensor_or_an_array(generator, classifier, link, pairs):
    r = pairs.r[:1]
    wanted = tune_unit(generator, classifier, link, r, UNIT, [0.5, 1.0]).images
    for values in (torch.tensor([0.5, 1.0], dtype=torch.float64), np.array([0.5, 1.0]), (0.5, 1.0)):
        close(tune_unit(generator, classifier, link, r.double(), UNIT, values).images, wanted)


def test_moved_units_are_those_that_changed_most(walk):
    for step in (-1, 0, 2):
        change = [
            sum(float(walk.r[n, step, i] - walk.start_r[n, i]) for n in range(3)) / 3 for i in range(10)
        ]
        order = sorted(range(10), key=lambda i: -abs(change[i]))
        indices, values = walk.moved_units(4, step)
        assert indices.tolist() == order[:4]
        np.testing.assert_allclose(values, [change[i] for i in order[:4]], atol=1e-6)
    assert len(walk.moved_units(99)[0]) == 10


def test_render_activations_is_the_same_loop(generator, classifier, link, pairs):
    r = pairs.r[:3]
    columns = render_activations(generator, classifier, link, r, batch_size=2)
    for n in range(3):
        for got, wanted in zip(columns, one(generator, classifier, link, r[n]), strict=True):
            close(got[n], wanted, 1e-2 if got.shape[-1] in (3, 10) else 1e-5)


# --- bad input -------------------------------------------------------------------------------------------------------


def refused(call, *words):
    with pytest.raises(LisError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


@settings(max_examples=30, deadline=None, suppress_health_check=BORROWED)
@given(
    unit=st.one_of(
        st.integers().filter(lambda i: not 0 <= i < 10),
        st.text(max_size=5).filter(lambda s: not s.lower().removeprefix("unit").strip().isdigit()),
        st.floats(),
        st.none(),
        st.booleans(),
    )
)
def test_units_that_do_not_exist(generator, classifier, link, pairs, unit):
    refused(lambda: tune_unit(generator, classifier, link, pairs.r[:1], unit), "unit", "0 to 9")


def test_a_constant_unit_is_refused(generator, classifier, pairs):
    r = pairs.r.clone()
    r[:, UNIT] = 0.25
    link = fit_link(dataclasses.replace(pairs, r=r), "ridge", penalty=0.1)
    refused(lambda: tune_unit(generator, classifier, link, r[:1], UNIT), "unit 3 was constant (0.25)")
    tune_unit(generator, classifier, link, r[:1], UNIT + 1, steps=1)


@pytest.mark.parametrize(
    "values", [[], [math.nan], [0.0, math.inf], [[0.0]], ["a"], "a", 1.0, [None], {}, object()]
)
def test_values_that_a_unit_can_not_have(generator, classifier, link, pairs, values):
    refused(lambda: tune_unit(generator, classifier, link, pairs.r[:1], UNIT, values), "values")


@pytest.mark.parametrize("number", [0, -1, 1.5, None, "2", True])
def test_steps_and_batches_that_make_no_sense(generator, classifier, link, pairs, number):
    refused(lambda: tune_unit(generator, classifier, link, pairs.r[:1], UNIT, steps=number), "steps")
    refused(
        lambda: tune_unit(generator, classifier, link, pairs.r[:1], UNIT, batch_size=number), "batch_size"
    )


@settings(max_examples=30, deadline=None, suppress_health_check=BORROWED)
@given(shape=st.lists(st.integers(0, 11), max_size=3))
def test_activations_of_other_shapes(generator, classifier, link, shape):
    if shape and shape[-1] == 10 and (len(shape) == 1 or (len(shape) == 2 and shape[0] > 0)):
        return
    refused(
        lambda: tune_unit(generator, classifier, link, torch.zeros(shape), UNIT), "r has shape", "[N, 10]"
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: r.index_fill(1, torch.tensor(4), torch.nan), "NaN"),
        (lambda r: r.index_fill(1, torch.tensor(4), torch.inf), "infinite"),
        (lambda r: r.long(), "int64"),
        (lambda r: r.tolist(), "list"),
        (lambda r: r.numpy(), "ndarray"),
        (lambda r: None, "NoneType"),
    ],
)
def test_activations_of_another_kind(generator, classifier, link, pairs, change, word):
    refused(lambda: tune_unit(generator, classifier, link, change(pairs.r[:2]), UNIT), "r ", word)


def test_models_that_the_link_was_not_fitted_for(generator, classifier, link, pairs):
    other = tiny_generator(seed=1)
    refused(lambda: tune_unit(other, classifier, link, pairs.r[:1], UNIT), "generator", "was given")
    refused(
        lambda: tune_unit(generator, tiny_classifier(other), link, pairs.r[:1], UNIT),
        "classifier",
        "was given",
    )
    refused(lambda: tune_unit(tiny_generator(resolution=32), classifier, link, pairs.r[:1], UNIT), "32 x 32")
    refused(
        lambda: tune_unit(copy.deepcopy(generator).train(), classifier, link, pairs.r[:1], UNIT), "training"
    )


@pytest.mark.parametrize(
    ("count", "step"), [(0, 0), (1.5, 0), (None, 0), (3, 4), (3, -5), (3, 1.5), (3, None)]
)
def test_moved_units_of_steps_that_were_not_taken(walk, count, step):
    refused(lambda: walk.moved_units(count, step))
