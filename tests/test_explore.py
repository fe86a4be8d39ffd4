"""The unit session against the plain chain of calls, tables of units against loops, links side by side."""

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, convert_range, fit_link, tune_unit
from lis_toolkit.explore import DIFFERENCE_LIMIT, UnitSession, difference_rgb, explore_unit
from lis_toolkit.feature_plots import activation_histograms, class_unit_map, mean_scatter
from lis_toolkit.feature_tables import class_means, compare_features, unit_contributions, unit_table
from lis_toolkit.link_compare import compare_links, penalty_figure
from lis_toolkit.sheets import head_weights
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def session(models):
    return UnitSession(*models[:3])


def test_a_state_is_what_the_chain_of_calls_gives(models, session):
    generator, classifier, link, _ = models
    unit = session.units[0]
    state = session.tune(session.start("ring", seed=5), {unit: 1.5})
    with torch.no_grad():
        w = generator.map(generator.sample_z(1, 5), ["ring"], link.psi)
        r = classifier.features(generator.render(w))
        torch.testing.assert_close(state.start, generator.render(link(r))[0])
        changed = r.clone()
        changed[0, unit] = 1.5
        tuned = generator.render(link(changed))
        torch.testing.assert_close(state.tuned, tuned[0])
        torch.testing.assert_close(state.r, classifier.features(tuned)[0])
        torch.testing.assert_close(state.logits, classifier.logits(tuned)[0])
    assert not torch.equal(state.tuned, state.start)
    direct = explore_unit(generator, classifier, link, r[0], f"unit {unit}", 1.5)
    assert torch.equal(direct.tuned, state.tuned)


def test_a_state_agrees_with_a_unit_walk(models, session):
    generator, classifier, link, pairs = models
    unit = session.units[1]
    walk = tune_unit(generator, classifier, link, pairs.r[3], unit, values=[0.25])
    state = session.tune(session.start_from(pairs.r[3]), {unit: 0.25})
    torch.testing.assert_close(state.tuned, walk.images[0, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(state.difference, walk.difference[0, 0], atol=1e-5, rtol=0)


def test_pictures_are_bytes_of_start_tuned_and_difference(session):
    state = session.tune(session.start("disc"), {session.units[0]: 2.0})
    start, tuned, difference = state.rgb()
    for got, x in ((start, state.start), (tuned, state.tuned)):
        expected = convert_range(x, "unit", "byte").permute(1, 2, 0).numpy()
        assert got.shape == (16, 16, 3) and (got == expected).all()
    assert (difference == difference_rgb(state.tuned - state.start)).all()
    assert len(state.captions()) == len(state.descriptions()) == 3
    assert f"unit {state.unit} at 2.00" in state.captions()[1]


def test_difference_is_white_at_zero_blue_below_orange_above_and_full_at_the_limit():
    values = torch.tensor(
        [[[0.0, -DIFFERENCE_LIMIT / 2, DIFFERENCE_LIMIT / 2, -1.0, 1.0, -DIFFERENCE_LIMIT]]]
    )
    white, blue, orange, dark_blue, dark_orange, full = difference_rgb(values)[0].astype(int)
    assert white.tolist() == [255, 255, 255]
    assert blue[2] > blue[0] and orange[0] > orange[2]
    assert dark_blue.sum() < blue.sum() and dark_orange.sum() < orange.sum()
    assert full.tolist() == dark_blue.tolist()
    for bad in (torch.zeros(3, 3), torch.full((1, 2, 2), torch.nan)):
        with pytest.raises(LisError):
            difference_rgb(bad)
    with pytest.raises(LisError):
        difference_rgb(torch.zeros(1, 2, 2), limit=0)


def test_units_are_sorted_by_spread_and_constant_ones_left_out(models, session):
    _, _, link, pairs = models
    spreads = [session.spread(unit) for unit in session.units]
    assert spreads == sorted(spreads, reverse=True)
    assert set(session.units) | set(link.constant_units) == set(range(link.num_units))
    assert session.spread(session.units[0]) == pytest.approx(
        float(pairs.r[:, session.units[0]].std(correction=0))
    )
    low, high = session.observed(session.units[0])
    assert (low, high) == (
        float(pairs.r[:, session.units[0]].min()),
        float(pairs.r[:, session.units[0]].max()),
    )


def test_moved_units_and_top_classes_against_loops(session):
    state = session.tune(session.start("cross", 2), {session.units[0]: 3.0})
    change = (state.r - state.start_r).tolist()
    expected = sorted(range(len(change)), key=lambda i: -abs(change[i]))[:4]
    expected += [] if state.unit in expected else [state.unit]
    assert [unit for unit, _ in state.moved_units(4)] == expected
    assert state.unit in [unit for unit, _ in state.moved_units(1)]
    assert [value for _, value in state.moved_units(4)] == pytest.approx([change[i] for i in expected])
    rows = state.top_classes(2)
    best = sorted(range(3), key=lambda k: -max(state.logits[k], state.start_logits[k]))[:2]
    assert [name for name, _, _ in rows] == [CLASSES[k] for k in sorted(best)]
    shares = state.top_classes(3, probabilities=True)
    assert sum(after for _, _, after in shares) == pytest.approx(1)


def test_starts_from_pairs_count_round(models):
    generator, classifier, link, pairs = models
    session = UnitSession(generator, classifier, link, pairs)
    rings = pairs.r[pairs.labels == 1]
    assert torch.equal(session.start("ring", 3).r, rings[3])
    assert torch.equal(session.start("ring", 3 + len(rings)).r, rings[3])
    only = UnitSession(generator, classifier, link, pairs.subset((pairs.labels == 2).nonzero()[:, 0]))
    assert only.classes == ("cross",)
    with pytest.raises(LisError, match="no pairs of 'disc'"):
        only.start("disc")


def test_bad_input_is_said_so(models, session):
    generator, classifier, link, pairs = models
    start = session.start("disc")
    for value in (float("nan"), float("inf"), "much", None):
        with pytest.raises(LisError, match="finite number"):
            session.tune(start, {session.units[0]: value})
    with pytest.raises(LisError, match="no unit"):
        session.tune(start, {10_000: 1.0})
    with pytest.raises(LisError, match="Did you mean 'ring'"):
        session.start("rign")
    for seed in (-1, 1.5, "x"):
        with pytest.raises(LisError, match="seed"):
            session.start("ring", seed)
    with pytest.raises(LisError, match="one row"):
        session.start_from(pairs.r[:2])
    other = tiny_generator(seed=9)
    with pytest.raises(LisError, match="does not belong"):
        UnitSession(other, classifier, link)
    strange = collect_pairs(generator, tiny_classifier(generator, seed=4), classes=["disc"], per_class=2)
    with pytest.raises(LisError, match="another classifier"):
        UnitSession(generator, classifier, link, strange)


def test_class_means_and_contributions_against_loops(models):
    _, classifier, _, pairs = models
    weights = head_weights(classifier)
    means = class_means(pairs.r, pairs.labels, 3)
    for k in range(3):
        np.testing.assert_allclose(means[k], pairs.r[pairs.labels == k].mean(0), atol=1e-5)
    table = unit_contributions(pairs.r, pairs.labels, weights, 1).set_index("unit")
    margin = classifier.head(pairs.r) - classifier.head(pairs.r).mean(1, keepdim=True)
    inside = pairs.labels == 1
    whole = margin[inside, 1].mean() - margin[~inside, 1].mean()
    assert table.contribution.sum() == pytest.approx(float(whole), rel=1e-3)
    assert table.contribution.is_monotonic_decreasing
    with pytest.raises(LisError, match="some inside"):
        unit_contributions(pairs.r[inside], pairs.labels[inside], weights, 1)


def test_unit_table_and_comparison(models):
    _, classifier, _, pairs = models
    table = unit_table(pairs.r, pairs.labels, head_weights(classifier), CLASSES)
    row = table.iloc[0]
    values = pairs.r[:, int(row.unit)]
    assert (row["mean"], row["std"], row["max"]) == pytest.approx(
        (float(values.mean()), float(values.std(correction=0)), float(values.max())), rel=1e-4
    )
    assert row.silent == pytest.approx(float((values == 0).float().mean()))
    assert row.strongest_in == CLASSES[int(class_means(pairs.r, pairs.labels, 3)[:, int(row.unit)].argmax())]
    same = compare_features(pairs.r, pairs.r)
    assert same["shift"].abs().max() < 1e-5
    moved = compare_features(pairs.r, pairs.r + pairs.r.std(0, correction=0))
    assert np.allclose(moved["shift"].dropna(), 1, atol=1e-3)
    with pytest.raises(LisError):
        compare_features(pairs.r, pairs.r[:, :2])
    with pytest.raises(LisError, match="labels run"):
        class_means(pairs.r, pairs.labels, 2)


def test_links_side_by_side(models):
    _, _, _, pairs = models
    train, held_out = pairs.split(0.25)
    links = {"ols": fit_link(train, "ols"), "ridge": fit_link(train, "ridge")}
    table = compare_links(links, held_out)
    for row, link in zip(table.itertuples(), links.values(), strict=True):
        w, predicted = held_out.w.numpy(), link(held_out.r).numpy()
        expected = 1 - ((w - predicted) ** 2).sum() / ((w - w.mean(0)) ** 2).sum()
        assert row.r2_held_out == pytest.approx(expected, abs=1e-5)
        assert row.r2_within < row.r2_held_out
        assert row.r2_in_sample == link.in_sample_r2
    with pytest.raises(LisError, match="has not seen"):
        compare_links(links, train)
    with pytest.raises(LisError, match="no links"):
        compare_links({}, held_out)
    assert penalty_figure(links["ridge"]).axes[0].get_xscale() == "log"
    with pytest.raises(LisError, match="without a choice"):
        penalty_figure(links["ols"])


def test_figures_of_units(models):
    _, classifier, _, pairs = models
    figure = activation_histograms({"a": pairs.r, "b": pairs.r[:10]}, [0, 1, 2, 3, 4])
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == [f"unit {u}" for u in range(5)]
    means = class_means(pairs.r, pairs.labels, 3)
    shown = class_unit_map(means, CLASSES, "mean").axes[0].images[0].get_array()
    assert shown.shape == means.shape
    assert sorted(shown.sum(0).tolist()) == pytest.approx(sorted(means.sum(0).tolist()))
    assert (np.diff(shown.argmax(0)) >= 0).all(), "units stand by the class where they are strongest"
    assert len(mean_scatter(means, means).axes) == 1

    # Classes without images have no means: they are left out of both maps, and of the dots.
    names, some = [f"c{k}" for k in range(100)], torch.full((100, 6), torch.nan)
    some[[3, 7, 90]] = torch.rand(3, 6) + torch.tensor([1.0, 2.0, 4.0])[:, None]
    weights = torch.randn(100, 6)
    for values in (some, weights):
        axes = class_unit_map(values, names, "x", owners=some).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["c3", "c7", "c90"]
        drawn = {tuple(column) for column in axes.images[0].get_array().T.tolist()}
        assert drawn == {tuple(column) for column in values[[3, 7, 90]].T.tolist()}
        assert "3 of 100 classes" in axes.get_xlabel()
    line, dots = mean_scatter(some, some + 0.5).axes[0].lines
    assert len(dots.get_xdata()) == 18
    assert list(line.get_xdata()) == pytest.approx([some[3].min().item(), some[90].max().item() + 0.5])
    # Of many classes the ones with most units.
    many = torch.zeros(100, 60)
    many[torch.arange(60) // 2, torch.arange(60)] = 1.0
    axes = class_unit_map(many, names, "x", most=30).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names[:30]
    wrong = (
        lambda: activation_histograms({}, [0]),
        lambda: activation_histograms({"a": pairs.r}, [999]),
        lambda: class_unit_map(means, CLASSES[:2], "mean"),
        lambda: class_unit_map(means, CLASSES, "mean", owners=means.argmax(0)),
        lambda: class_unit_map(means * torch.nan, CLASSES, "mean"),
        lambda: class_unit_map(means * torch.inf, CLASSES, "mean"),
        lambda: mean_scatter(means, means[:2]),
        lambda: mean_scatter(means, means * torch.nan),
    )
    for call in wrong:
        with pytest.raises(LisError):
            call()
