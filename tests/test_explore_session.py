"""Sessions of the explorers: several units at once, companions, directions, outlines, distributions, starts."""

import numpy as np
import pytest
import torch

from lis_toolkit import (
    Features,
    LisError,
    Photographs,
    UnitSession,
    class_directions,
    collect_pairs,
    companion_directions,
    extract_features,
    fit_link,
    principal_directions,
    tune_unit,
)
from lis_toolkit.explore import difference_rgb
from lis_toolkit.explore.companions import companion_change
from lis_toolkit.explore.distribution import CHUNK, Reals, spark_histograms
from lis_toolkit.parts import draw_outlines, render_parts
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_segmenter import tiny_segmenter


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def companions(models):
    return companion_directions(models[3])


@pytest.fixture(scope="module")
def session(models, companions):
    generator = models[0]
    w = generator.map(generator.sample_z(8, 1), [0] * 8)
    maps = generator.render_features(w, generator.synthesis.layer_names[1:3])[1]
    segmenter = tiny_segmenter(maps, generator.synthesis.layer_names[1:3], generator_hash=generator.hash)
    return UnitSession(*models, companions=companions, segmenter=segmenter)


@torch.no_grad()
def chain(models, r):
    generator, classifier, link, _ = models
    x = generator.render(link(r[None]))
    return x[0], classifier.features(x)[0]


def test_several_units_at_once_against_the_chain_of_calls(models, session):
    start = session.start("ring", 2)
    a, b, c = session.units[:3]
    state = session.tune(start, {a: 0.7, f"unit {b}": 0.1, str(c): 0.33})
    r = start.r.clone()
    r[a], r[b], r[c] = 0.7, 0.1, 0.33
    assert torch.equal(state.r_set, r)
    tuned, seen = chain(models, r)
    assert torch.equal(state.tuned, tuned) and torch.equal(state.r, seen)
    assert state.values == {a: 0.7, b: 0.1, c: 0.33} and (state.unit, state.value) == (c, 0.33)
    assert state.title == "3 units set" and state.captions()[1].startswith("3 units set: ")
    assert all(f"unit {u} set to" in state.descriptions()[1] for u in (a, b, c))
    under = session.tune(start, {a: 0.7}, unit=b)
    assert (under.unit, under.value) == (b, float(start.r[b])) and under.title == f"unit {a} at 0.70"
    assert b in [unit for unit, _ in under.moved_units(1)]


def test_nothing_set_is_the_start_itself(session):
    start = session.start("disc", 4)
    for companions in (False, True):
        state = session.tune(start, {}, companions=companions)
        assert torch.equal(state.tuned, start.picture) and torch.equal(state.r_set, start.r)
        assert (state.unit, state.value, state.values, state.title) == (None, None, {}, "nothing set")
    assert len(state.moved_units(3)) == 3 and "nothing set" in state.descriptions()[1]


def test_one_unit_with_companions_is_that_of_a_walk(models, session, companions):
    pairs, unit = models[3], session.units[0]
    walk = tune_unit(*models[:3], pairs.r[3], unit, values=[0.25], directions=companions)
    state = session.tune(session.start_from(pairs.r[3]), {unit: 0.25}, companions=True)
    torch.testing.assert_close(state.r_set, walk.r_set[0, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(state.tuned, walk.images[0, 0], atol=1e-4, rtol=0)
    assert state.title == f"unit {unit} at 0.25 with companions"


def test_several_units_with_companions_solve_the_system(session, companions):
    start = session.start("cross", 1)
    wanted = {session.units[0]: 0.4, session.units[2]: 0.05, session.units[4]: 0.2}
    r = session.tune(start, wanted, companions=True).r_set
    for unit, value in wanted.items():
        assert float(r[unit]) == np.float32(value)
    rows = companions[list(wanted)].double().numpy()
    # What changed is a combination of the three rows.
    amounts = np.linalg.lstsq(rows.T, (r - start.r).double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(amounts @ rows, (r - start.r).numpy(), atol=1e-4)
    assert (r - start.r).count_nonzero() > 3


def test_companions_do_not_depend_on_the_scale_of_units():
    draw = torch.Generator().manual_seed(0)
    r = torch.randn(300, 5, generator=draw) @ torch.randn(5, 5, generator=draw)
    scale = torch.tensor([1e-3, 1.0, 1e3, 1.0, 10.0])
    values = {0: 0.3, 2: -0.2}
    plain = companion_change(companion_directions(r), r[0], values, r.std(0))
    scaled = companion_change(
        companion_directions(r * scale), r[0] * scale, {u: v * float(scale[u]) for u, v in values.items()},
        (r * scale).std(0),
    )  # fmt: skip
    torch.testing.assert_close(scaled / scale, plain, atol=1e-4, rtol=1e-3)
    for unit, value in values.items():
        assert float(r[0, unit] + plain[unit]) == pytest.approx(value, abs=1e-5)


def test_a_session_weighs_units_by_their_spread(models):
    """Units measured in thousands and thousandths: in plain numbers the system would look singular."""
    generator, classifier, _, pairs = models
    a, b = models[2].unit_std.argsort(descending=True).tolist()[:2]
    scale = torch.ones(pairs.r.shape[1])
    scale[a], scale[b] = 1e4, 1e-4
    r = pairs.r * scale
    session = UnitSession(
        generator, classifier, fit_link((r, pairs.w), penalty=0.01), companions=companion_directions(r)
    )
    plain = companion_change(companion_directions(pairs.r), pairs.r[0], {a: 0.3, b: 0.05})
    wanted = {a: 0.3 * 1e4, b: 0.05 * 1e-4}
    state = session.tune(session.start_from(r[0]), wanted, companions=True)
    torch.testing.assert_close(state.r_set / scale, pairs.r[0] + plain, atol=1e-3, rtol=1e-3)


def test_units_that_always_move_together_are_named():
    draw = torch.Generator().manual_seed(1)
    r = torch.randn(50, 6, generator=draw)
    r[:, 4] = 2 * r[:, 1] + 1
    rows, spread = companion_directions(r), r.std(0)
    with pytest.raises(LisError, match="units 1 and 4 always move together"):
        companion_change(rows, r[0], {1: 0.0, 2: 0.5, 4: 9.0}, spread)
    # Values that agree with each other can be had.
    change = companion_change(rows, r[0], {1: 0.5, 2: 0.5, 4: 2.0}, spread)
    for unit, value in {1: 0.5, 2: 0.5, 4: 2.0}.items():
        assert float(r[0, unit] + change[unit]) == pytest.approx(value, abs=1e-3)


def test_moves_along_directions(models, session):
    link, pairs = models[2], models[3]
    start = session.start("ring", 1)
    directions = class_directions(pairs, source="ring")
    state = session.move(start, directions, {"ring to disc": 0.5, "ring to cross": -0.25})
    r = start.r + 0.5 * directions.vectors[0] - 0.25 * directions.vectors[1]
    torch.testing.assert_close(state.tuned, chain(models, r)[0], atol=1e-5, rtol=0)
    assert state.title == "2 directions" and state.unit is None and state.values == {}
    one = session.move(start, principal_directions(link, 2), {"principal 2": 1.5})
    assert one.title == "principal 2 at +1.5" and "principal 2 at +1.5" in one.descriptions()[1]
    assert torch.equal(session.move(start, directions, {}).tuned, start.picture)
    with pytest.raises(LisError, match="Did you mean 'ring to disc'"):
        session.move(start, directions, {"ring to disk": 1.0})
    with pytest.raises(LisError, match="finite number"):
        session.move(start, directions, {"ring to disc": float("nan")})
    with pytest.raises(LisError, match="directions are of 4 units"):
        session.move(start, class_directions(torch.rand(6, 4), torch.arange(6) % 2, ("a", "b")), {})


def test_outlines_are_those_of_the_parts(models, session):
    generator, _, link, _ = models
    unit = session.units[0]
    start = session.start("ring", 5)
    plain = session.tune(start, {unit: 0.6})
    state = session.tune(start, {unit: 0.6}, outlines=True)
    assert torch.equal(state.tuned, plain.tuned), "the same picture from the pass that labels"
    pictures, labels = render_parts(generator, session.segmenter, link(torch.stack([start.r, state.r_set])))
    torch.testing.assert_close(pictures[1], state.tuned, atol=1e-5, rtol=0)
    assert torch.equal(state.start_labels, labels[0]) and torch.equal(state.labels, labels[1])
    drawn = state.rgb(outlines=True)
    assert drawn.shape == (3, 192, 192, 3)
    expected = draw_outlines(torch.stack([state.start, state.tuned]), labels, session.segmenter.legend, 12, 3)
    assert (drawn[:2] == expected).all()
    assert (drawn[2] == difference_rgb(state.difference).repeat(12, 0).repeat(12, 1)).all()
    assert (state.rgb() == plain.rgb()).all() and state.rgb(scale=3).shape == (3, 48, 48, 3)
    for part, before, after in state.part_areas():
        k = session.segmenter.legend.names.index(part)
        assert before == pytest.approx(float((labels[0] == k).float().mean()))
        assert after == pytest.approx(float((labels[1] == k).float().mean()))
    changes = [abs(b - a) for _, a, b in state.part_areas()]
    assert changes == sorted(changes, reverse=True) and changes[0] > 0
    assert f"share of the picture: {state.part_areas()[0][0]} " in state.captions(outlines=True)[2]
    assert "Areas that changed most" in state.descriptions(outlines=True)[2]
    assert "share" not in state.captions()[2]
    with pytest.raises(LisError, match="no parts to outline"):
        plain.rgb(outlines=True)


def test_outlines_need_a_segmenter_of_this_generator(models, session):
    bare = UnitSession(*models[:3])
    with pytest.raises(LisError, match="no segmenter"):
        bare.tune(bare.start("ring"), {}, outlines=True)
    other = tiny_generator(seed=7)
    layers = other.synthesis.layer_names[1:2]
    maps = other.render_features(other.map(other.sample_z(4, 1), [0] * 4), layers)[1]
    with pytest.raises(LisError, match="Take the generator of that hash"):
        UnitSession(*models[:3], segmenter=tiny_segmenter(maps, layers, generator_hash=other.hash))


@pytest.mark.parametrize("kind", ["photographs", "features", "activations", "pairs"])
def test_distributions_are_histograms_of_real_images(models, kind):
    generator, classifier, link, pairs = models
    with torch.no_grad():
        images = generator.render(generator.map(generator.sample_z(30, 9), [1] * 30))
    r = extract_features(classifier, images).r
    photographs, source, expected = {
        "photographs": (Photographs(images, torch.ones(30).long(), CLASSES), "30 photographs", r),
        "features": (Features(r, None), "30 images", r),
        "activations": (r, "30 images", r),
        "pairs": (None, f"{len(pairs)} pairs", pairs.r),
    }[kind]
    session = UnitSession(*models, photographs=photographs)
    for unit in session.units[:3]:
        shown = session.distribution(unit, bins=7)
        counts, edges = np.histogram(expected[:, unit].double().numpy(), bins=7)
        assert shown.counts.tolist() == counts.tolist() and shown.edges.tolist() == edges.tolist()
        assert (shown.source, shown.n) == (source, len(expected))
        assert shown.zeros == float((expected[:, unit] == 0).double().mean())
    if photographs is not None:
        start = session.start_photograph(4)
        assert torch.equal(start.r, r[4]) and start.name == "photograph 4"
        with pytest.raises(LisError, match="0 to 29"):
            session.start_photograph(30)
    else:
        with pytest.raises(LisError, match="no photographs"):
            session.start_photograph(0)


def test_zeros_are_counted_apart(models):
    r = torch.rand(50, models[2].num_units)
    r[:20] = 0
    r[20, :] = -1e-3
    session = UnitSession(*models[:3], photographs=r)
    shown = session.distribution(session.units[0], 10)
    assert shown.zeros == 0.4 and shown.counts.sum() == 50
    rest = shown.counts_without_zeros
    expected = np.histogram(r[20:, session.units[0]].double().numpy(), shown.edges)[0]
    assert rest.tolist() == expected.tolist()
    assert UnitSession(*models[:3]).distribution(session.units[0]) is None


def test_small_histograms_against_loops():
    draw = torch.Generator().manual_seed(2)
    r = torch.randn(CHUNK // 4 + 7, 5, generator=draw).clamp_min(0)  # more than are counted at a time
    r[:, 3] = 0
    r[:, 4] = 2.5
    bars = spark_histograms(Reals(r, ""), bins=6)
    assert bars.shape == (5, 6)
    for unit in range(3):
        values = r[:, unit].numpy()
        counts = np.histogram(values[values != 0], bins=np.linspace(0, values.max(), 7))[0]
        np.testing.assert_allclose(bars[unit], counts / counts.max(), atol=1e-4)
    assert bars[3].tolist() == [0] * 6 and sorted(bars[4]) == [0] * 5 + [1]


def test_bad_photographs_and_companions_are_refused(models):
    width = models[2].num_units
    for bad in (torch.rand(3, width + 1), torch.rand(0, width), torch.rand(width), "photographs", 7):
        with pytest.raises(LisError, match="photographs are"):
            UnitSession(*models[:3], photographs=bad)
    with pytest.raises(LisError, match="NaN"):
        UnitSession(*models[:3], photographs=torch.full((2, width), torch.nan))
    with pytest.raises(LisError, match="directions are"):
        UnitSession(*models[:3], companions=torch.eye(width + 1))
    bare = UnitSession(*models[:3])
    for values in ({bare.units[0]: 1.0}, {}):
        with pytest.raises(LisError, match="no companions"):
            bare.tune(bare.start("ring"), values, companions=True)


def test_bad_values_are_refused(models, session):
    start, unit = session.start("ring"), session.units[0]
    with pytest.raises(LisError, match="given twice"):
        session.tune(start, {unit: 1.0, f"unit {unit}": 2.0})
    for values in (1.0, [(unit, 1.0)], None):
        with pytest.raises(LisError, match="a mapping"):
            session.tune(start, values)
    for value in (1e39, -1e400, 10**400, float("nan"), "x"):
        with pytest.raises(LisError, match=f"unit {unit} is"):
            session.tune(start, {unit: value})
    generator, classifier, link, pairs = models
    still = fit_link((torch.cat([pairs.r[:, :-1], torch.ones(len(pairs), 1)], 1), pairs.w), penalty=0.1)
    other = UnitSession(generator, classifier, still)
    assert link.num_units - 1 not in other.units
    for call in (
        lambda u: other.tune(start, {u: 1.0}),
        lambda u: other.tune(start, {}, unit=u),
        other.limits,
    ):
        with pytest.raises(LisError, match="was constant"):
            call(link.num_units - 1)


def test_sliders_reach_half_a_span_beyond_but_not_below_what_a_relu_gives(models):
    generator, classifier, link, pairs = models
    session = UnitSession(generator, classifier, link)
    assert float(link.unit_min.min()) >= 0
    for unit in session.units:
        low, high = float(pairs.r[:, unit].min()), float(pairs.r[:, unit].max())
        assert session.limits(unit) == pytest.approx(
            (max(low - (high - low) / 2, 0), high + (high - low) / 2)
        )
    shifted = UnitSession(generator, classifier, fit_link((pairs.r - 1, pairs.w), penalty=0.01))
    low, high = shifted.observed(session.units[0])
    assert shifted.limits(session.units[0]) == pytest.approx(
        (low - (high - low) / 2, high + (high - low) / 2)
    )
    assert shifted.limits(session.units[0])[0] < 0


def test_starts_are_of_classes_that_the_link_knows(models):
    generator, classifier, _, _ = models
    some = collect_pairs(generator, classifier, classes=["cross", "ring"], per_class=10)
    link = fit_link(some, penalty=0.01)
    assert UnitSession(generator, classifier, link).classes == ("ring", "cross")
    link.provenance["pairs"]["chosen"] = [7, "x", True, None]  # a damaged file
    assert UnitSession(generator, classifier, link).classes == CLASSES
    link.provenance = {}
    assert UnitSession(generator, classifier, link).classes == CLASSES


@torch.no_grad()
def test_truncation_of_a_start(models, session):
    generator, classifier, link, pairs = models
    fresh = UnitSession(generator, classifier, link)
    assert fresh.psi == link.psi
    for psi in (0.3, None):
        w = generator.map(generator.sample_z(1, 8), ["disc"], link.psi if psi is None else psi)
        torch.testing.assert_close(
            fresh.start("disc", 8, psi).r, classifier.features(generator.render(w))[0], atol=1e-6, rtol=0
        )
    assert torch.equal(session.start("disc", 1, pairs.psi).r, session.start("disc", 1).r)
    with pytest.raises(LisError, match="sampled at 0.7"):
        session.start("disc", 1, 0.5)
    with pytest.raises(LisError, match="psi is nan"):
        fresh.start("disc", 1, float("nan"))


def test_steps_check_no_model_again(models, session, monkeypatch):
    """A step costs a render: no hash, no comparison of models."""
    start = session.start("ring")

    def broken(*_):
        raise AssertionError("a step looked at the models again")

    for model in (type(session.generator), type(session.classifier)):
        monkeypatch.setattr(model, "hash", property(broken))
    monkeypatch.setattr(type(session.link), "check", broken)
    state = session.tune(start, {session.units[0]: 0.5}, companions=True)
    assert state.rgb().shape == (3, 16, 16, 3)
