"""Explanations along a unit's walk: every measure by hand, and claims that controls can refute."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.saliency import control_walks, explain_images, explain_walk, saliency_of, walk_figure
from lis_toolkit.saliency.comparison import map_agreement
from lis_toolkit.saliency.walk import WalkExplanation, alignment, changed_pixels
from lis_toolkit.saliency.walk_controls import ends_of, picture_change
from lis_toolkit.units import tune_unit
from tiny_sweep import tiny_models

UNIT = 3


@pytest.fixture(scope="module")
def models():
    return tiny_models()[:3]


@pytest.fixture(scope="module")
def walk(models):
    pairs = collect_pairs(*models[:2], per_class=2, psi=0.9, seed=5)
    unit = int(models[2].unit_std.argmax())
    return tune_unit(*models, pairs.r[:4], unit, steps=5)


@pytest.fixture(scope="module")
def controls(models, walk):
    return control_walks(*models, walk, random=2, units=1, seed=3)


@pytest.fixture(scope="module")
def result(models, walk, controls):
    return explain_walk(models[1], walk, controls)


def by_hand(classifier, image, unit):
    """Maps after every ReLU and gradients of a unit by them, module by module."""
    value = classifier.preprocess(image[None]).detach().requires_grad_(True)
    maps = []
    for module in classifier.network.body:
        plain = isinstance(module, torch.nn.ReLU)
        value = torch.relu(value) if plain else module(value)
        if plain:
            maps.append(value)
    gradients = torch.autograd.grad(value.mean((2, 3))[0, unit], maps)
    return [m[0].detach().double() for m in maps], [g[0].double() for g in gradients]


def test_every_measure_by_hand(models, walk, controls, result):
    classifier = models[1]
    names = [part.layer.name for part in result.explanations[0][0].layers]
    pictures = {f"unit {walk.unit}": walk.images[:, [0, -1]].clamp(0, 1), **controls}
    found = {
        (name, n, k): by_hand(classifier, x[n, k], walk.unit)
        for name, x in pictures.items() for n in range(len(x)) for k in (0, 1)
    }  # fmt: skip
    starts = [by_hand(classifier, x, walk.unit) for x in walk.start.clamp(0, 1)]
    table = result.table.set_index(["walk", "sample", "layer"])
    assert len(table) == len(pictures) * len(walk.start) * len(names)
    for i, layer in enumerate(names):
        every = torch.stack([maps[i] for maps, _ in (*starts, *found.values())])  # [M, C, h, w]
        sd = every.transpose(0, 1).flatten(1).std(1, correction=0)  # [C]
        some = sd > 1e-4 * sd.max()
        for name in pictures:
            for n in range(len(walk.start)):
                (low, g0), (high, g1) = found[name, n, 0], found[name, n, 1]
                change = ((high[i] - low[i])[some] / sd[some, None, None]).numpy().ravel()
                slope = ((g0[i] + g1[i])[some] / 2 * sd[some, None, None]).numpy().ravel()
                row = table.loc[name, n, layer]
                expected = change @ slope / np.sqrt((change @ change) * (slope @ slope))
                assert row["alignment"] == pytest.approx(expected, abs=1e-4)
                assert row["change_sd"] == pytest.approx(np.sqrt((change**2).mean()), rel=1e-3)
                x = pictures[name][n]
                assert row["picture_change"] == pytest.approx(
                    float((x[1] - x[0]).square().mean().sqrt()), rel=1e-5
                )
                r = classifier.features(x)[:, walk.unit]
                assert row["unit_change"] == pytest.approx(float(r[1] - r[0]), abs=1e-5)
                size = (x[1] - x[0]).abs().mean(0)
                mask = changed_pixels(*x)
                assert float(size[mask].sum()) >= 0.5 * float(size.sum()) * (1 - 1e-6)
                ends = explain_images(classifier, x, unit=walk.unit, method="pca")
                saliency = saliency_of(ends[1], layer)
                if float(saliency.sum()) > 0:
                    share = float(saliency[mask].sum() / saliency.sum())
                    assert row["on_changed"] == pytest.approx(share, rel=1e-4)
                    assert row["lift"] == pytest.approx(share / float(mask.float().mean()), rel=1e-4)
                one, other = (e.layer(layer) for e in ends)
                if one.empty or other.empty:
                    assert math.isnan(row["map_change"])
                else:
                    expected = 1 - map_agreement(one.merged(), other.merged())
                    assert row["map_change"] == pytest.approx(expected, abs=1e-4)


def test_explanations_are_those_of_the_pictures(models, walk, result):
    assert result.values == tuple(float(walk.values[k]) for k in (0, 2, 4)) and result.unit == walk.unit
    for n, three in enumerate(result.explanations):
        x = walk.images[n, [0, 2, 4]].clamp(0, 1)
        for mine, expected in zip(
            three, explain_images(models[1], x, unit=walk.unit, method="pca"), strict=True
        ):
            assert torch.equal(mine.image, expected.image) and mine.score == pytest.approx(expected.score)
            for a, b in zip(mine.layers, expected.layers, strict=True):
                assert [c.members for c in a.clusters] == [c.members for c in b.clusters]


def test_small_measures():
    sd = torch.tensor([2.0, 0.0])
    change, gradient = torch.tensor([[[4.0, 0.0]], [[9.0, 9.0]]]), torch.tensor([[[1.0, 1.0]], [[5.0, -5.0]]])
    assert alignment(change, gradient, sd) == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(alignment(change * 0, gradient, sd)) and math.isnan(alignment(change, gradient, sd * 0))
    low, high = torch.zeros(1, 2, 3), torch.tensor([[[0.6, 0.0, 0.1], [-0.5, 0.0, 0.0]]])
    assert changed_pixels(low, high).tolist() == [[True, False, False], [False, False, False]]
    other = changed_pixels(low, high * torch.tensor([[0.5], [1.0]]))
    assert other.tolist() == [[False, False, False], [True, False, False]]
    assert not changed_pixels(low, low).any()


def test_random_walks_change_the_picture_as_much(models, walk, controls):
    wanted = picture_change(walk.images[:, 0], walk.images[:, -1])
    for name in ("random mix 0", "random mix 1"):
        x = controls[name]
        assert x.shape == (len(walk.start), 2, 1, 16, 16)
        assert torch.allclose(picture_change(x[:, 0], x[:, 1]), wanted, rtol=0.05)
    assert not torch.allclose(controls["random mix 0"], controls["random mix 1"], atol=1e-3)
    again = control_walks(*models, walk, random=2, units=1, seed=3)
    assert list(again) == list(controls) and all(torch.equal(again[n], controls[n]) for n in again)
    other = next(name for name in controls if name.startswith("unit "))
    alone = tune_unit(*models, walk.given, int(other.split()[1]), steps=2)
    assert torch.equal(controls[other], alone.images)
    with pytest.raises(LisError, match="walk's own"):
        control_walks(*models, walk, units=[walk.unit])


def made(differences, controls=("other",), samples=4):
    """A result whose unit's alignments exceed the control's by given amounts, layer by layer."""
    import pandas as pd

    noise = np.random.default_rng(0).normal(0, 0.01, (samples, len(differences)))
    rows = [
        {"walk": name, "own": own, "sample": n, "layer": f"l{i}", "title": f"conv {i} · 1×1×1", "depth": i / 9,
         "alignment": (gap + noise[n, i] if own else 0.05 * (-1) ** n), "unit_change": 1.0}
        for name, own in (("unit 1", True), *((c, False) for c in controls))
        for n in range(samples)
        for i, gap in enumerate(differences)
    ]  # fmt: skip
    return WalkExplanation(1, (0.0, 1.0, 2.0), (), torch.zeros(0), tuple(controls), pd.DataFrame(rows))


def test_where_a_meaning_arises_and_that_it_may_not():
    assert made([0.05, 0.3, 0.05, 0.3, 0.4]).arises_at() == "conv 3 · 1×1×1"
    assert made([0.3, 0.3]).arises_at() == "conv 0 · 1×1×1"
    assert "From conv 3 on" in made([0.05, 0.3, 0.05, 0.3, 0.4]).conclusion()
    none = made([0.3, 0.3, 0.05])
    assert none.arises_at() is None and "does not show where" in none.conclusion()
    table = none.against_controls()
    assert table["difference"].tolist() == pytest.approx(
        [0.25, 0.25, 0.0], abs=0.02
    )  # the control's size is 0.05
    assert "Without control walks" in made([0.5], controls=()).conclusion()
    assert made([0.5], controls=()).arises_at() is None
    assert made([0.5], samples=1).arises_at() is None and "no interval" in made([0.5], samples=1).conclusion()


def test_the_figure(result, models, walk):
    figure = walk_figure(result, sample=1)
    figure.canvas.draw()
    texts = [text for axes in figure.axes for text in axes.texts]
    said = [text.get_text() for text in texts]
    assert any(f"unit {walk.unit} arises" in text for text in said)
    for part in result.explanations[0][0].layers:
        assert part.layer.title.split(" · ")[0] in said
    for text in texts:
        own = text.get_window_extent()
        assert own.x0 >= 0 and own.x1 <= figure.bbox.x1 and own.y0 >= 0 and own.y1 <= figure.bbox.y1, (
            text.get_text()
        )
    assert len(figure.axes) == 4 and all(axes.get_ylabel() for axes in figure.axes[1:])
    with pytest.raises(LisError, match="sample is 9"):
        walk_figure(result, sample=9)
    walk_figure(explain_walk(models[1], walk, layers=["body.1"]))  # without controls


def test_what_does_not_fit_is_said(models, walk, controls):
    with pytest.raises(LisError, match="one value"):
        ends_of(replace(walk, values=torch.ones(5)))
    for bad in (controls["random mix 0"][:1], "unit 7", controls["random mix 0"] * float("nan")):
        with pytest.raises(LisError, match="control walk 'bad'"):
            explain_walk(models[1], walk, {"bad": bad})
    with pytest.raises(LisError, match="something else than"):
        explain_walk(models[1], walk, {f"unit {walk.unit}": controls["random mix 0"]})
    with pytest.raises(LisError, match="no method"):
        explain_walk(models[1], walk, method="both")
