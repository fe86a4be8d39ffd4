"""Measures of counterfactuals against plain loops, scikit-image, and scipy."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import norm, t
from skimage.metrics import structural_similarity

from lis_toolkit import LisError, Photographs
from lis_toolkit.counterfactuals import (
    compare_methods,
    comparison_table,
    cycle_loss,
    measure_counterfactuals,
)
from lis_toolkit.counterfactuals.cycle import like_generated
from lis_toolkit.counterfactuals.intervals import jackknife, mean_over_starts, share_over_starts
from lis_toolkit.counterfactuals.reference import JudgeReference
from lis_toolkit.counterfactuals.rows import total_fall
from lis_toolkit.link_stats import wilson
from lis_toolkit.selectivity.statistics import bootstrap_weights
from tiny import tiny_classifier
from tiny_counterfactuals import moved, tiny_models


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def result(models):
    return moved(models, per_class=6)


@pytest.fixture(scope="module")
def measures(models, result):
    generator, classifier, judge, link, held_out = models
    return measure_counterfactuals(
        result, generator, classifier, link, judge=judge, pairs=held_out, resamples=200, seed=4
    )


def pictures(models, result):
    generator, _, _, link, _ = models
    return tuple(generator.render(link(r)) for r in (result.r_start, result.r_end))


def test_every_row_is_measured_as_a_plain_loop_does(models, result, measures):
    _, classifier, judge, _, held_out = models
    start, end = pictures(models, result)
    real = judge.features(models[0].render(held_out.w))
    scale = np.mean([
        float((a - b).norm()) for i, a in enumerate(real) for j, b in enumerate(real) if i != j
    ])  # fmt: skip
    assert measures.scale == pytest.approx(scale, rel=1e-4)
    rows = measures.rows
    assert len(rows) == len(result) == len(measures)
    for n in range(len(result)):
        a, b = start[n, 0].numpy(), end[n, 0].numpy()
        assert rows["pixels"][n] == pytest.approx(math.sqrt(((a - b) ** 2).mean()), abs=1e-6)
        assert rows["ssim"][n] == pytest.approx(structural_similarity(b, a, data_range=1.0), abs=1e-4)
        apart = judge.features(end[n : n + 1])[0] - judge.features(start[n : n + 1])[0]
        assert rows["perceptual"][n] == pytest.approx(float(apart.norm()) / scale, rel=1e-3)
        seen = classifier.classes[int(classifier(end[n : n + 1]).argmax())]
        told = judge.classes[int(judge(end[n : n + 1]).argmax())]
        assert rows["judge_start"][n] == judge.classes[int(judge(start[n : n + 1]).argmax())]
        target = result.table["target"][n]
        assert rows["seen"][n] == seen and rows["judge_end"][n] == told
        assert rows["valid"][n] == (result.table["success"][n] and seen == target)
        assert rows["valid_judge"][n] == (rows["valid"][n] and told == target)
        margins = result.logits[n, :, classifier.classes.index(target)] - torch.stack([
            result.logits[n, :, k] for k in range(3) if classifier.classes[k] != target
        ]).amax(0)  # fmt: skip
        falls = [max(0.0, float(x - y)) for x, y in itertools.pairwise(margins)]
        assert rows["fall"][n] == pytest.approx(sum(falls), abs=1e-5)


def test_the_nearest_real_picture_is_found_within_the_target_class(models, result, measures):
    _, classifier, judge, _, held_out = models
    real = judge.features(models[0].render(held_out.w))
    ends = judge.features(pictures(models, result)[1])
    for n in (0, 7, len(result) - 1):
        label = classifier.classes.index(result.table["target"][n])
        own = real[held_out.labels == label]
        usual = [min(float((a - b).norm()) for j, b in enumerate(own) if j != i) for i, a in enumerate(own)]
        near = min(float((ends[n] - b).norm()) for b in own)
        # torch's median is the lower of the middle two.
        assert measures.rows["nearest"][n] == pytest.approx(
            near / sorted(usual)[(len(usual) - 1) // 2], rel=1e-3
        )


def test_starts_of_the_target_class_are_left_out_and_counted(result, measures):
    table = result.table
    nothing = (table["cycled"] == table["target"]).sum()
    assert nothing == measures.left_out == measures.value("left_out") > 0
    assert f"{nothing} left out" in str(measures)
    validity = measures.summary.set_index("measure").loc["validity"]
    assert validity["n"] == len(table) - nothing
    hits = (table["success"] & (table["cycled"] != table["target"])).sum()
    assert validity["value"] == pytest.approx(hits / (len(table) - nothing))


def test_means_are_over_successes_only_and_costs_over_all_attempts(models, result):
    generator, classifier, judge, link, _ = models
    table = result.table.copy()
    fails = np.flatnonzero(table["success"])[::3]
    table.loc[fails, ["success", "reason", "distance_w", "renders"]] = [False, "too far", 1e6, 500]
    found = measure_counterfactuals(replace(result, table=table), generator, classifier, link, judge=judge)
    tried = table[table["cycled"] != table["target"]]
    good = tried[tried["success"]]
    assert found.value("distance_w") == pytest.approx(good["distance_w"].mean())
    assert found.value("renders") == pytest.approx(tried["renders"].sum() / len(good))
    assert found.value("validity") == pytest.approx(len(good) / len(tried))
    assert "frechet" not in set(found.summary["measure"])  # nothing to compare with
    with pytest.raises(LisError, match="frechet"):
        found.value("frechet")


def test_without_a_judge_there_is_no_second_opinion(models, result):
    generator, classifier, _, link, held_out = models
    found = measure_counterfactuals(result, generator, classifier, link)
    assert "perceptual" not in found.rows and "validity_judge" not in set(found.summary["measure"])
    with pytest.raises(LisError, match="judge="):
        measure_counterfactuals(result, generator, classifier, link, pairs=held_out)


def test_a_judge_is_asked_by_the_names_of_the_classes(models, result, measures):
    generator, classifier, judge, link, _ = models
    order = [2, 0, 1]
    other = tiny_classifier(generator, seed=5)
    other.network.head.weight.copy_(judge.network.head.weight[order])
    other.network.head.bias.copy_(judge.network.head.bias[order])
    other.classes = tuple(judge.classes[k] for k in order)
    again = measure_counterfactuals(result, generator, classifier, link, judge=other)
    assert (again.rows["judge_end"] == measures.rows["judge_end"]).all()
    other.classes = ("disc", "ring", "star")
    with pytest.raises(LisError, match="no class 'cross'"):
        measure_counterfactuals(result, generator, classifier, link, judge=other)


def test_sets_are_compared_as_scipy_and_loops_do(models, result, measures):
    _, classifier, judge, _, held_out = models
    real = judge.features(models[0].render(held_out.w))
    held = measures.rows[measures.rows["asked"] & measures.rows["valid"]]
    ends = judge.features(pictures(models, result)[1])[held.index.tolist()]
    targets = torch.tensor([classifier.classes.index(name) for name in held["target"]])
    some, first, second = measures.reference.matched(targets, seed=4)
    cycled = judge.features(models[0].render(models[3](held_out.r)))
    a, b, c, d = (x.double().numpy() for x in (real[first], ends[some], real[second], cycled[second]))

    def frechet(x, y):
        root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
        return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)

    def coverage(x, y, k=5):
        hit = 0
        for i in range(len(x)):
            radius = sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1]
            hit += any(np.linalg.norm(x[i] - point) < radius for point in y)
        return hit / len(x)

    assert measures.value("frechet") == pytest.approx(frechet(a, b), rel=1e-2, abs=1e-6)
    assert measures.value("frechet_real") == pytest.approx(frechet(a, c), rel=1e-2, abs=1e-6)
    assert measures.value("frechet_cycled") == pytest.approx(frechet(a, d), rel=1e-2, abs=1e-6)
    assert measures.value("coverage") == pytest.approx(coverage(a, b))
    assert measures.value("coverage_real") == pytest.approx(coverage(a, c))
    ratios = []
    for origin, target in itertools.permutations(classifier.classes, 2):
        rows = np.flatnonzero((held["origin"] == origin) & (held["target"] == target))
        own = real[held_out.labels == classifier.classes.index(target)]
        if len(rows) > 1:
            two = [float((ends[i] - ends[j]).norm()) for i, j in itertools.combinations(rows, 2)]
            usual = [float((x - y).norm()) for x, y in itertools.combinations(own, 2)]
            ratios.append(np.mean(two) / np.mean(usual))
    assert measures.value("diversity") == pytest.approx(np.mean(ratios), rel=1e-3)


def test_drawn_sets_share_no_picture_and_have_the_targets_mixture():
    labels = torch.arange(90) % 3
    features = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    reference = JudgeReference(features, labels, features, "pairs")
    targets = torch.tensor([0] * 10 + [1] * 4)
    some, first, second = reference.matched(targets, seed=1)
    assert sorted(some.tolist()) == list(range(14))
    assert not set(first.tolist()) & set(second.tolist())
    for drawn in (first, second):
        assert labels[drawn].bincount().tolist() == [10, 4] == targets[some].bincount().tolist()
    scarce = torch.tensor([0] * 30 + [1] * 12)  # 30 pictures make two sets of 15: half of everything
    some, first, second = reference.matched(scarce, seed=1)
    assert scarce[some].bincount().tolist() == labels[first].bincount().tolist() == [15, 6]
    none, *_ = reference.matched(torch.tensor([0, 0]), seed=1)
    assert len(none) == 2
    lacking = JudgeReference(features, torch.zeros(90, dtype=torch.long), features, "pairs")
    assert [len(x) for x in lacking.matched(torch.tensor([0, 1]), seed=0)] == [0, 0, 0]


def test_a_mean_resamples_starts_and_not_rows():
    rng = np.random.default_rng(0)
    starts = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3])
    values = rng.normal(size=6)[starts] + 0.1 * rng.normal(size=12)
    values[4] = np.nan
    found = mean_over_starts(values, starts, resamples=300, seed=2)
    drawn = bootstrap_weights(["all"] * 6, 300, 2)["all"]
    means = []
    for times in drawn:
        picked = [
            values[i] for s in range(6) for _ in range(int(times[s])) for i in np.flatnonzero(starts == s)
        ]
        means.append(np.nanmean(picked))
    assert found.value == pytest.approx(np.nanmean(values)) and found.n == 11
    wider = math.sqrt(6 / 5) * t.ppf(0.975, 5) / norm.ppf(0.975)  # of 6 starts
    bounds = [found.value + wider * (q - found.value) for q in np.quantile(means, [0.025, 0.975])]
    assert (found.low, found.high) == pytest.approx(tuple(bounds))
    within = mean_over_starts(values, starts, resamples=300, seed=2, within=(found.value, found.value + 0.1))
    assert (within.low, within.high) == (found.value, found.value + 0.1)
    by_row = mean_over_starts(values, np.arange(12), resamples=300, seed=2)
    assert found.high - found.low > by_row.high - by_row.low  # rows of one start are alike


def test_a_ratio_counts_failures_in_its_numerator_only():
    found = mean_over_starts(np.array([10.0, 20, 30]), np.arange(3), np.array([1.0, 0, 1]), resamples=500)
    assert found.value == 30 and found.low <= 30 <= found.high
    assert math.isnan(mean_over_starts(np.ones(3), np.arange(3), np.zeros(3)).value)
    one = mean_over_starts(np.ones(3), np.zeros(3))
    assert one.value == 1 and math.isnan(one.low) and math.isnan(one.high)
    assert mean_over_starts(np.zeros(0), np.zeros(0)).n == 0


def test_a_share_is_worth_as_many_rows_as_its_starts_tell():
    hits = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
    alone = share_over_starts(hits, np.arange(8))
    assert (alone.low, alone.high) == pytest.approx(wilson(6, 8))
    copied = share_over_starts(np.repeat(hits, 5), np.repeat(np.arange(8), 5))
    # Variance between 8 starts over 7, as of a mean, and Student's tails.
    worth = (8 - 1) * (norm.ppf(0.975) / t.ppf(0.975, 7)) ** 2
    assert (copied.low, copied.high) == pytest.approx(wilson(0.75 * worth, worth))
    sure = share_over_starts(np.ones(40, bool), np.repeat(np.arange(8), 5))
    assert sure.value == 1 and sure.low == pytest.approx(wilson(8, 8)[0]) and sure.n == 40
    assert math.isnan(share_over_starts(np.zeros(0, bool), np.zeros(0)).value)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).normal(5, 1, 12)
    found = jackknife(lambda rows: float(values[rows].mean()), np.arange(12), groups=12)
    half = t.ppf(0.975, 11) * values.std(ddof=1) / math.sqrt(12)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    bounded = jackknife(lambda rows: float(np.clip(values[rows] - 4, 0, 1).mean()), np.arange(12), most=1.0)
    assert bounded.low >= 0 and bounded.high <= 1
    assert math.isnan(jackknife(lambda rows: 1.0, np.zeros(5)).low)


def test_intervals_of_few_starts_hold_what_they_measure_as_often_as_they_say():
    """Six starts of two rows that are alike: of means, costs per success, shares and sets."""
    random, held = np.random.default_rng(0), dict.fromkeys(("mean", "cost", "share", "set"), 0)
    starts, sure = np.repeat(np.arange(6), 2), dict(resamples=500)
    for seed in range(200):
        values = random.normal(size=6)[starts] + 0.3 * random.normal(size=12)
        found = {"mean": (mean_over_starts(values, starts, seed=seed, **sure), 0.0)}
        cost = mean_over_starts(3 + values, starts, (np.arange(12) % 4 > 0).astype(float), seed=seed, **sure)
        found["cost"] = cost, 3 / 0.75
        found["share"] = share_over_starts(random.random(12) < random.beta(2, 2, 6)[starts], starts), 0.5
        found["set"] = jackknife(lambda rows, v=values: float(v[rows].mean() + 9), starts, seed=seed), 9.0
        for name, (estimate, truth) in found.items():
            held[name] += estimate.low < truth < estimate.high
    assert all(182 <= count <= 199 for count in held.values()), held  # 95 % of 200 are 190 +- 3


def test_some_rows_alone_are_measured_as_if_there_were_no_others(models, result, measures):
    generator, classifier, judge, link, held_out = models
    places = np.arange(0, len(result), 2)
    part = replace(
        result,
        table=result.table.iloc[places].reset_index(drop=True),
        r_start=result.r_start[places],
        r_end=result.r_end[places],
        logits=result.logits[places],
    )
    alone = measure_counterfactuals(
        part, generator, classifier, link, judge=judge, pairs=held_out, resamples=200, seed=4
    )
    pd.testing.assert_frame_equal(measures.on(places).summary, alone.summary, rtol=1e-3)
    with pytest.raises(LisError, match="at least one"):
        measures.on(np.zeros(len(result), bool))


def test_measures_do_not_depend_on_the_batch_size(models, result, measures):
    generator, classifier, judge, link, held_out = models
    again = measure_counterfactuals(
        result, generator, classifier, link, judge=judge, pairs=held_out, resamples=200, seed=4, batch_size=5
    )
    pd.testing.assert_frame_equal(again.summary, measures.summary, rtol=1e-3, atol=1e-4)


def test_class_pairs_are_listed(result, measures):
    pairs = measures.by_pair()
    assert pairs["n"].sum() == len(result) - measures.left_out
    row = pairs.iloc[1]
    own = measures.rows[measures.rows["asked"]]
    own = own[(own["origin"] == row["origin"]) & (own["target"] == row["target"])]
    assert row["validity"] == own["valid"].mean()
    assert row["distance_w"] == pytest.approx(own.loc[own["valid"], "distance_w"].mean(), nan_ok=True)


def test_photographs_serve_as_reference(models, result):
    generator, classifier, judge, link, held_out = models
    photographs = Photographs(generator.render(held_out.w), held_out.labels, classifier.classes)
    found = measure_counterfactuals(result, generator, classifier, link, judge=judge, pairs=photographs)
    assert found.reference.kind == "photographs" and found.value("coverage") <= 1
    with pytest.raises(LisError, match="Pairs or Photographs"):
        measure_counterfactuals(result, generator, classifier, link, judge=judge, pairs=held_out.r)
    foreign = replace(held_out, generator_hash="0" * 64)
    with pytest.raises(LisError, match="another generator"):
        measure_counterfactuals(result, generator, classifier, link, judge=judge, pairs=foreign)


@pytest.fixture(scope="module")
def compared(models, measures):
    generator, classifier, judge, link, held_out = models
    short = moved(models, per_class=6, amount=0.7)
    other = measure_counterfactuals(short, generator, classifier, link, judge=judge, pairs=held_out)
    return {"far": measures, "short": other}


def test_methods_are_compared_where_all_succeed(compared):
    table = compare_methods(compared)
    rows = {name: each.rows.set_index(["start", "target"]) for name, each in compared.items()}
    keys = [
        key for key in rows["far"].index
        if all(of.loc[key, "asked"] and of.loc[key, "valid"] for of in rows.values())
    ]  # fmt: skip
    assert 2 <= len(keys) < compared["far"].rows["valid"].sum()
    for name, of in rows.items():
        own = table[(table["rows"] == "common") & (table["method"] == name)].set_index("measure")
        assert own.loc["distance_w", "value"] == pytest.approx(of.loc[keys, "distance_w"].mean())
        assert own.loc["distance_w", "n"] == len(keys)
        assert "validity" not in own.index
    short = table[(table["rows"] == "common") & (table["method"] == "short")].set_index("measure")
    apart = rows["short"].loc[keys, "pixels"] - rows["far"].loc[keys, "pixels"]
    assert short.loc["pixels", "difference"] == pytest.approx(apart.mean())
    assert short.loc["pixels", "difference_low"] <= apart.mean() <= short.loc["pixels", "difference_high"]
    assert short.loc["distance_w", "ratio"] == pytest.approx(0.7, abs=1e-3)
    # Rows are paired by start and target, in whatever order they come.
    mixed = {"far": compared["far"], "short": compared["short"].on(np.arange(len(rows["short"]))[::-1])}
    again = compare_methods(mixed)
    again = again[(again["rows"] == "common") & (again["method"] == "short")].set_index("measure")
    for name in ("difference", "difference_low", "ratio"):
        assert again.loc["pixels", name] == pytest.approx(short.loc["pixels", name])
    every = table[(table["rows"] == "all") & (table["measure"] == "validity")]
    assert every["method"].tolist() == ["far", "short"]
    text = comparison_table(table, "common")
    assert text.loc["pixels", "short"].startswith(f"{short.loc['pixels', 'value']:.3g} (")
    assert "validity" in comparison_table(table).index


def test_methods_of_other_starts_are_refused(models, compared):
    generator, classifier, _, link, _ = models
    other = measure_counterfactuals(moved(models, per_class=6, seed=99), generator, classifier, link)
    with pytest.raises(LisError, match="not run on the same starts"):
        compare_methods({"far": compared["far"], "other": other})
    with pytest.raises(LisError, match="at least two"):
        compare_methods({"far": compared["far"]})
    with pytest.raises(LisError, match="Did you mean 'short'"):
        compare_methods(compared, against="shirt")
    with pytest.raises(LisError, match="'all' or 'common'"):
        comparison_table(compare_methods(compared), "both")
    twice = replace(compared["far"], rows=pd.concat([compared["far"].rows] * 2, ignore_index=True))
    with pytest.raises(LisError, match="twice"):
        compare_methods({"far": twice, "short": compared["short"]})


def test_no_common_success_leaves_the_methods_own_rows(models, result, compared):
    generator, classifier, _, link, _ = models
    none = replace(result, table=result.table.assign(success=False, reason="too far"))
    failed = measure_counterfactuals(none, generator, classifier, link)
    table = compare_methods({"far": compared["far"], "failed": failed})
    assert set(table["rows"]) == {"all"}
    with pytest.raises(LisError, match="no success in common"):
        comparison_table(table, "common")


def test_the_cycle_of_photographs_is_measured_against_the_photographs(models):
    generator, classifier, judge, link, held_out = models
    x = (generator.render(held_out.w[:8]) * 0.9).clamp(0, 1)
    loss = cycle_loss(x, generator, classifier, link, judge=judge)
    r = classifier.features(x)
    again = generator.render(link(r))
    for n in range(8):
        a, b = x[n, 0].numpy(), again[n, 0].numpy()
        assert loss.rows["pixels"][n] == pytest.approx(math.sqrt(((a - b) ** 2).mean()), abs=1e-6)
        assert loss.rows["ssim"][n] == pytest.approx(structural_similarity(b, a, data_range=1.0), abs=1e-4)
        back = classifier.features(again[n : n + 1])[0]
        assert loss.rows["cycle_error"][n] == pytest.approx(
            float((back - r[n]).norm() / r[n].norm()), rel=1e-3
        )
        kept = int(classifier(x[n : n + 1]).argmax()) == int(classifier(again[n : n + 1]).argmax())
        assert loss.rows["kept"][n] == kept
        told = [int(judge(picture[n : n + 1]).argmax()) for picture in (x, again)]
        assert loss.rows["kept_judge"][n] == (told[0] == told[1])
    raw, cycled = judge.features(x), judge.features(again)
    scale = np.mean([float((a - b).norm()) for a, b in itertools.combinations(raw, 2)])
    assert loss.rows["perceptual"].to_numpy() == pytest.approx(
        (cycled - raw).norm(dim=1).numpy() / scale, rel=1e-3
    )
    kept = loss.summary.set_index("measure").loc["kept"]
    assert kept["value"] == loss.rows["kept"].mean()
    assert (kept["low"], kept["high"]) == pytest.approx(wilson(loss.rows["kept"].sum(), 8))
    assert "8 photographs" in str(loss) and torch.equal(loss.photographs, x)


def test_photographs_of_a_result_and_of_another_size(models):
    generator, classifier, _, link, held_out = models
    x = generator.render(held_out.w[:4])
    result = moved(models, images=x)
    assert torch.equal(cycle_loss(result, generator, classifier, link).photographs, x)
    assert (
        len(cycle_loss(Photographs(x, held_out.labels[:4], classifier.classes), generator, classifier, link))
        == 4
    )
    with pytest.raises(LisError, match="did not start from photographs"):
        cycle_loss(replace(result, images=None), generator, classifier, link)
    large = x.repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert torch.allclose(like_generated(large, generator), x, atol=1e-6)
    colour = x.expand(-1, 3, -1, -1)
    assert torch.allclose(like_generated(colour, generator), x, atol=1e-6)


def test_falls_add_up():
    assert total_fall(torch.tensor([[0.0, 2, 1, 3, 0.5], [0, 1, 2, 3, 4]])).tolist() == [3.5, 0]


def test_what_is_said_of_measures_is_short_and_what_is_none_is_refused(models, result, measures):
    assert len(repr(measures)) < 200 and "start" in repr(measures)
    assert not np.signbit(measures.rows["fall"]).any()
    with pytest.raises(LisError, match=r"'raw' is Counterfactuals; what measure_counterfactuals returned"):
        compare_methods({"found": measures, "raw": result})
