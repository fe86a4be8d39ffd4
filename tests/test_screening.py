"""screen_units against finite differences and exact sweeps of a tiny generator; the sketch against its own variance."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.link import fit_link
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.parts import render_part_logits
from lis_toolkit.parts.soft import soft_measures
from lis_toolkit.screening.blend import Expansions
from lis_toolkit.screening.directions import choose_directions, sketch_variance
from lis_toolkit.screening.screen import screen_units
from lis_toolkit.screening.table import validate_screening
from lis_toolkit.selectivity import rank_units, unit_changes
from tiny import tiny_classifier, tiny_generator
from tiny_segmenter import tiny_segmenter

W = 12


@pytest.fixture(scope="module")
def generator():
    made = tiny_generator()
    made.synthesis.input.affine.weight.mul_(
        0.02
    )  # pictures that fly about have no first order worth the name
    return made


@pytest.fixture(scope="module")
def pairs(generator):
    return collect_pairs(generator, tiny_classifier(generator), per_class=12, psi=1.0)


@pytest.fixture(scope="module")
def link(pairs):
    return fit_link(pairs, "ridge", penalty=0.1)


@pytest.fixture(scope="module")
def segmenter(generator, link, pairs):
    layers = generator.synthesis.layer_names[1:3]
    _, maps = generator.render_features(link(pairs.r), layers)
    return tiny_segmenter(maps, layers, generator_hash=generator.hash)


@pytest.fixture(scope="module")
def r(pairs):
    return pairs.r[[0, 5, 13, 25, 30]]


def linear(generator, segmenter, link, r, **settings):
    return screen_units(generator, segmenter, link, r, **{"blend": False, "temperature": 1.0, **settings})


@pytest.fixture(scope="module")
def screening(generator, segmenter, link, r):
    return linear(generator, segmenter, link, r, classes=["a", "a", "b", "b", "b"])


def soft(generator, segmenter, link, r, temperature=1.0):
    x, logits = render_part_logits(generator, segmenter, link(r))
    return (*soft_measures(x, logits / temperature), x, logits.argmax(1))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_changes_are_finite_differences(generator, segmenter, link, r, temperature):
    found = linear(generator, segmenter, link, r, temperature=temperature)
    h = 1e-4  # rounding of float32 bounds it from below
    for unit in (0, 3, 7):
        slope = float(link.unit_max[unit] - link.unit_min[unit]) / (2 * h)
        up, down = r.clone(), r.clone()
        up[:, unit] += h
        down[:, unit] -= h
        area_up, light_up, x_up, _ = soft(generator, segmenter, link, up, temperature)
        area_down, light_down, x_down, _ = soft(generator, segmenter, link, down, temperature)
        for values, differences in (
            (found.area, area_up - area_down),
            (found.luminance, light_up - light_down),
        ):
            values, expected = values[:, unit], differences * slope
            there = ~values.isnan()
            assert there.any()
            scale = float(expected.abs().max())
            torch.testing.assert_close(values[there], expected[there], rtol=0.03, atol=0.02 * scale)
        moved = ((x_up - x_down) * slope).square().mean((1, 2, 3))
        torch.testing.assert_close(found.energy[:, unit, 0], moved, rtol=0.02, atol=1e-6)


def test_blended_changes_are_those_of_a_plain_loop(generator, segmenter, link, r):
    found = screen_units(generator, segmenter, link, r, temperature=2.0)
    w = link(r)

    def measured(w):
        x, logits = render_part_logits(generator, segmenter, w)
        area, light = soft_measures(x, logits / 2.0)
        return torch.cat([area, area * light], dim=1)

    render_part_logits(generator, segmenter, w)
    values = measured(w)
    axes = torch.eye(W)
    slopes = torch.stack(
        [torch.func.jvp(measured, (w,), (axis.expand(5, W),))[1] for axis in axes], dim=1
    )  # [N, W, Q]
    scaled = slopes / values.std(0, unbiased=False)
    outer = sum(scaled[n] @ scaled[n].T for n in range(5)).double() / 5
    share, axes = torch.linalg.eigh(outer)
    root = (axes @ torch.diag(share.clamp_min(0).sqrt()) @ axes.T).float()  # of the metric's square

    def square(a, b):
        return float((a - b) @ root @ (a - b))

    lengths = sorted(square(w[i], w[j]) ** 0.5 for i in range(5) for j in range(i))
    middle = lengths[(len(lengths) - 1) // 2]  # torch's median, the lower one

    def at(z):
        weights = [(square(z, w[n]) / middle**2 + 0.1**2) ** -6 for n in range(5)]
        blended = sum(k * (values[n] + (z - w[n]) @ slopes[n]) for n, k in enumerate(weights)) / sum(weights)
        area = blended[:2].clamp(0, 1)
        return area, (blended[2:] / area.clamp_min(1e-4)).clamp(0, 1)

    for n, unit in ((0, 2), (3, 5), (4, 9)):
        ends = []
        for value in (link.unit_min[unit], link.unit_max[unit]):
            changed = r[n].clone()
            changed[unit] = value
            ends.append(at(link(changed)))
        torch.testing.assert_close(found.area[n, unit], ends[1][0] - ends[0][0], rtol=1e-2, atol=1e-4)
        there = found.present[n]
        torch.testing.assert_close(
            found.luminance[n, unit][there], (ends[1][1] - ends[0][1])[there], rtol=1e-2, atol=1e-3
        )


def test_a_single_sample_is_its_own_linearisation(generator, segmenter, link, r, screening):
    small = (r[0], r[0] + 1e-2 * (link.unit_max - link.unit_min))  # so that nothing is cut at 0 or 1
    one = screen_units(generator, segmenter, link, r[:1], temperature=1.0, ends=small)
    torch.testing.assert_close(one.area, screening.area[:1] * 1e-2, rtol=2e-2, atol=2e-6)


def test_expansions_give_back_what_they_were_made_of():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(30, 4, generator=generator)
    straight = torch.randn(4, 3, generator=generator)
    # Of a linear function every expansion is right, and so is any blend of them.
    blend = Expansions(points, points @ straight + 2, straight.expand(30, 4, 3))
    away = torch.randn(50, 4, generator=generator) * 3
    torch.testing.assert_close(blend(away), away @ straight + 2, rtol=1e-3, atol=1e-3)
    # Of a wave it is better than the nearest point's own expansion.
    wave, slope = points.sin(), torch.diag_embed(points.cos())
    near = points + 0.5 * torch.randn(30, 4, generator=generator)
    error = (Expansions(points, wave, slope)(near) - near.sin()).square().mean()
    own = (wave + points.cos() * (near - points) - near.sin()).square().mean()
    assert error < own
    same = Expansions(points[:1].expand(3, 4), wave[:1].expand(3, 4), slope[:1].expand(3, 4, 4))
    assert torch.isfinite(same(near)).all()


def test_energy_of_a_part_is_that_of_its_pixels(generator, segmenter, link, r, screening):
    _, _, x, labels = soft(generator, segmenter, link, r)
    steps = link.A * (link.unit_max - link.unit_min)
    for unit in (1, 4):
        _, change = torch.func.jvp(lambda w: generator.render(w), (link(r),), (steps[:, unit].expand(5, -1),))
        for n in range(5):
            for p in range(2):
                inside = labels[n] == p + 1
                expected = change[n, 0][inside].square().mean() if inside.any() else torch.tensor(torch.nan)
                torch.testing.assert_close(
                    screening.energy[n, unit, p + 1], expected, rtol=1e-3, atol=1e-8, equal_nan=True
                )
                assert bool(screening.luminance[n, unit, p].isnan()) == (not inside.any())
                assert bool(screening.present[n, p]) == bool(inside.any())


@pytest.mark.parametrize("batch_size", [3, 20, 500])
def test_batches_change_nothing(generator, segmenter, link, r, screening, batch_size):
    other = linear(generator, segmenter, link, r, batch_size=batch_size)
    for name in ("area", "luminance", "energy"):
        torch.testing.assert_close(
            getattr(other, name), getattr(screening, name), rtol=1e-3, atol=1e-6, equal_nan=True
        )
    assert other.evaluations >= 5 * (W + 1)


def test_evaluations_are_counted(generator, segmenter, link, r, screening, monkeypatch):
    assert screening.evaluations == 5 * (W + 1)  # 12 tangents and a picture of each of 5 samples
    seen = []
    inner = generator.render_features

    def counted(w, *arguments, **named):
        seen.append(len(w))
        return inner(w, *arguments, **named)

    monkeypatch.setattr(generator, "render_features", counted)
    chunked = linear(generator, segmenter, link, r, batch_size=6)  # one sample, five tangents at a time
    assert sum(seen) == 5 * 3 and chunked.evaluations == 5 * (W + 3)


def test_principal_directions_are_exact_from_the_rank_on(generator, segmenter, link, r, screening):
    rank = int(torch.linalg.matrix_rank(link.A))
    full = linear(generator, segmenter, link, r, method="principal", products=rank)
    torch.testing.assert_close(full.area, screening.area, rtol=1e-3, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(full.energy, screening.energy, rtol=1e-3, atol=1e-5, equal_nan=True)
    errors = []
    for products in (2, 5, rank):
        part = linear(generator, segmenter, link, r, method="principal", products=products)
        errors.append(float((part.area - screening.area).nan_to_num().square().mean()))
    assert errors[0] > errors[1] > errors[2]


def test_principal_directions_lose_least_of_the_steps():
    steps = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, factor = choose_directions(steps, "principal", 3, 0)
    assert factor == 1
    torch.testing.assert_close(v @ v.T, torch.eye(3, dtype=torch.float64))
    lost = (steps - v.T @ v @ steps).square().sum()
    torch.testing.assert_close(lost, torch.linalg.svdvals(steps)[3:].square().sum())
    tall = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))  # fewer units than dimensions
    v, _ = choose_directions(tall, "principal", 9, 0)
    torch.testing.assert_close(v.T @ v @ tall, tall)


@pytest.mark.parametrize("products", [1, 4, 11, 12])
def test_the_sketch_is_unbiased_and_varies_as_it_says(products):
    generator = torch.Generator().manual_seed(1)
    gradient, steps = torch.randn(W, generator=generator), torch.randn(W, 3, generator=generator)
    estimates = []
    for seed in range(3000):
        v, factor = choose_directions(steps, "sketch", products, seed)
        assert v.shape == (products, W)
        estimates.append((v @ gradient) @ (factor * v @ steps))
    estimates = torch.stack(estimates)  # [seeds, 3]
    expected = sketch_variance(gradient, steps.T, products)
    error = (expected / 3000).sqrt()
    assert ((estimates.mean(0) - gradient @ steps).abs() <= 4 * error + 1e-4).all()
    assert estimates.var(0).numpy() == pytest.approx(expected.numpy(), rel=0.15, abs=1e-6)


def test_the_sketch_is_drawn_by_its_seed(generator, segmenter, link, r):
    one, two, three = (
        screen_units(generator, segmenter, link, r, method="sketch", products=4, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one.energy, two.energy) and not torch.equal(one.energy, three.energy)
    assert one.evaluations == 5 * 5 and one.settings["products"] == 4


def test_directions_and_spans_are_those_of_the_sweep(generator, segmenter, link, r, screening):
    count = link.num_units
    directions = torch.eye(count) + 0.3 * torch.randn(
        count, count, generator=torch.Generator().manual_seed(0)
    ).fill_diagonal_(0)
    together = linear(generator, segmenter, link, r, directions=directions)
    alone = linear(generator, segmenter, link, r, ends=(torch.zeros(count), torch.ones(count)))
    span = link.unit_max - link.unit_min
    expected = (
        torch.einsum("njp,ij->nip", alone.area, directions) * span[:, None]
    )  # linear: units' changes add up
    torch.testing.assert_close(together.area, expected, rtol=1e-3, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(
        alone.area * span[:, None], screening.area, rtol=1e-3, atol=1e-5, equal_nan=True
    )


def exact_sweep(generator, segmenter, link, r, classes, scale):
    """Table of an exact sweep of soft measures around r: each unit from its value to `scale` of its range more."""
    rows = []
    span = (link.unit_max - link.unit_min) * scale
    for unit in range(link.num_units):
        for n in range(len(r)):
            for step in range(2):
                changed = r[n].clone()
                changed[unit] += step * span[unit]
                area, light, _, labels = soft(generator, segmenter, link, changed[None])
                row = {"unit": unit, "sample": n, "class": classes[n], "step": step}
                for p, name in enumerate(segmenter.legend.parts):
                    row |= {f"{name}.code": int(not (labels == p + 1).any()), f"{name}.area": float(area[0, p]),
                            f"{name}.luminance": float(light[0, p])}  # fmt: skip
                rows.append(row)
    return pd.DataFrame(rows)


def test_validation_of_small_steps_finds_a_perfect_order(generator, segmenter, link, r, screening):
    table = exact_sweep(generator, segmenter, link, r, screening.classes, 0.003)
    found = validate_screening(screening, table, top=3)
    assert set(found["class"]) == {"all", "a", "b"} and set(found["measure"]) == {"area", "luminance"}
    there = found[(found["class"] == "all") & (found["samples"] > 0)]
    assert len(there) > 0
    for row in there.itertuples():
        assert row.spearman > 0.95 and row.same_sign > 0.85 and row.found == 1
        assert row.slope == pytest.approx(0.003, rel=0.1)  # of the way
    # Figures of one part are those of a plain computation.
    row = there.iloc[0]
    exact = unit_changes(table, row["part"], row["measure"])
    a = np.nan_to_num(exact.values).mean(1)
    b = screening.changes(row["part"], row["measure"]).nan_to_num().mean(0).double().numpy()
    assert row["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    ranks = [np.argsort(np.argsort(v)) for v in (a, b)]
    assert row["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert row["slope"] == pytest.approx((a @ b) / (b @ b))
    shuffled = dataclasses.replace(
        screening, area=screening.area.roll(3, 1), luminance=screening.luminance.roll(3, 1)
    )
    worse = validate_screening(shuffled, table, top=3)
    assert worse[worse["class"] == "all"]["spearman"].mean() < 0.6


def test_tables_rank_units(screening):
    table = screening.to_frame()
    assert set(table["class"]) == {"all", "a", "b"} and set(table["measure"]) == {
        "area",
        "luminance",
        "energy",
    }
    part = next(p for i, p in enumerate(screening.parts) if screening.present[:, i].any())
    ranked = rank_units(table, part, "area", by="mean_change")
    values = screening.changes(part, "area").double()
    values[~screening.present[:, screening.parts.index(part)]] = torch.nan
    unit = int(ranked["unit"].iloc[0])
    assert ranked["mean_change"].iloc[0] == pytest.approx(float(values[:, unit].nanmean()))
    assert ranked["mean_change"].abs().is_monotonic_decreasing
    assert int(values.nanmean(0).abs().argmax()) == unit
    whole = table[(table["part"] == "picture") & (table["class"] == "a") & (table["unit"] == 2)]
    assert whole["mean_change"].tolist() == pytest.approx([float(screening.energy[:2, 2, 0].mean())])
    assert set(dataclasses.replace(screening, classes=("all",) * 5).to_frame()["class"]) == {"all"}
    often = set(screening.to_frame(min_samples=4)["class"])
    assert often == {"all"}  # neither class has four


def test_constant_units_are_left_out(generator, segmenter, link, r):
    facts = {name: getattr(link, name) for name in ("method", "rows", "in_sample_r2")}
    tensors = {name: value.clone() for name, value in link.state_dict().items()}
    still = type(link)(tensors, {**facts, "constant_units": [1]})
    found = linear(generator, segmenter, still, r[:2])
    assert (found.energy[:, 1].nan_to_num() == 0).all() and 1 not in set(found.to_frame()["unit"])


def test_bad_input_is_explained(generator, segmenter, link, r, screening):
    count = link.num_units
    unbound = copy.deepcopy(link)
    unbound.generator_hash = None

    def fails(text, activations=r, **settings):
        with pytest.raises(LisError, match=text):
            screen_units(generator, segmenter, link, activations, **settings)

    fails("at least one row", r[:0])
    fails("at least one row", r[0])
    fails("a list", r.tolist())
    fails("columns", r[:, :-1])
    fails("NaN", r * torch.nan)
    fails("Did you mean 'sketch'", method="skech")
    fails("takes 12", products=5)
    fails("1 to 12", method="sketch", products=13)
    fails("1 to 12", method="principal", products=0)
    fails("above 0", temperature=0)
    fails("finite", temperature=float("nan"))
    fails("4 classes for 5", classes=["a"] * 4)
    fails("named 'all'", classes=["all"] * 5)
    fails("directions are \\[3, 3\\]", directions=torch.eye(3))
    fails("directions have NaN", directions=torch.full((count, count), torch.nan))
    fails("the diagonal must be 1", directions=2 * torch.eye(count))  # as for sweeps
    fails("ends have shape", ends=(torch.ones(3), torch.ones(3)))
    fails("ends have shape", ends=(torch.zeros(count), torch.full((count,), torch.inf)))
    fails("batch_size is 0", batch_size=0)
    fails("seed is -1", method="sketch", seed=-1)
    with pytest.raises(LisError, match="trained on"):
        screen_units(tiny_generator(seed=5), segmenter, unbound, r)
    with pytest.raises(LisError, match="was not screened"):
        screening.changes("picture", "area")
    with pytest.raises(LisError, match="was not screened"):
        screening.changes("middle", "area")
    parts = screening.parts
    table = pd.DataFrame({"unit": [99, 99], "sample": [0, 0], "class": "a", "step": [0, 1],
                          **{f"{p}.{m}": [0.1, 0.2] for p in parts for m in ("area", "luminance")}})  # fmt: skip
    with pytest.raises(LisError, match="1 samples, the screening 5"):
        validate_screening(screening, table)
