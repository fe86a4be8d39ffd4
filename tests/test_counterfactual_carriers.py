"""Units and parts that carry a change of class, against plain loops over the starts."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, t

from lis_toolkit import LisError, measure_parts, part_carriers, render_parts, unit_carriers
from lis_toolkit.counterfactuals import carrier_figure, part_sentence
from lis_toolkit.counterfactuals.part_carriers import WORDS, change_words
from lis_toolkit.counterfactuals.unit_carriers import bootstrap_means, mean_by_start
from lis_toolkit.parts import MEASURES
from lis_toolkit.selectivity.statistics import bootstrap_weights, false_discovery, sign_flip_p
from tiny_counterfactuals import moved, tiny_models
from tiny_segmenter import tiny_segmenter


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def result(models):
    return moved(models, per_class=6)


@pytest.fixture(scope="module")
def segmenter(models):
    generator, _, _, _, held_out = models
    layers = generator.synthesis.layer_names[1:3]
    maps = generator.render_features(held_out.w[:8], layers)[1]
    return tiny_segmenter(maps, layers, names=("left", "right", "middle"), generator_hash=generator.hash)


@pytest.fixture(scope="module")
def parts(models, result, segmenter):
    return part_carriers(result, models[0], models[3], segmenter, resamples=200, seed=3, batch_size=7)


def rows_of(result, origin, target):
    table = result.table
    return np.flatnonzero(table["success"] & (table["origin"] == origin) & (table["target"] == target))


def test_units_are_those_with_the_largest_mean_shift(models, result):
    link = models[3]
    carriers = unit_carriers(result, link, top=3, resamples=200, seed=3)
    assert set(carriers.groupby(["origin", "target"]).size()) == {3}
    for origin, target in (("disc", "ring"), ("cross", "ring")):
        rows = rows_of(result, origin, target)
        own = carriers[(carriers["origin"] == origin) & (carriers["target"] == target)]
        shifts = {
            unit: [
                float((result.r_end[n, unit] - result.r_start[n, unit]) / link.unit_std[unit]) for n in rows
            ]
            for unit in range(link.num_units) if unit not in link.constant_units
        }  # fmt: skip
        means = {unit: np.mean(each) for unit, each in shifts.items()}
        best = sorted(means, key=lambda unit: -abs(means[unit]))[:3]
        assert own["unit"].tolist() == best
        assert own["shift"].to_numpy() == pytest.approx([means[unit] for unit in best], rel=1e-4)
        assert own["samples"].tolist() == [len(rows)] * 3
        total = sum(mean**2 for mean in means.values())
        assert own["share"].to_numpy() == pytest.approx([means[u] ** 2 / total for u in best], rel=1e-4)
        p = sign_flip_p(np.array(list(shifts.values())))
        q = dict(zip(shifts, false_discovery(p), strict=True))
        assert own["q"].to_numpy() == pytest.approx([q[unit] for unit in best])
        drawn = bootstrap_weights(["all"] * len(rows), 200, 3)["all"]
        again = [np.average(shifts[best[0]], weights=times) for times in drawn]
        bounds = own.iloc[0][["low", "high"]].astype(float).tolist()
        n, centre = len(rows), means[best[0]]
        wider = math.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / norm.ppf(0.975)
        plain = np.quantile(again, [0.025, 0.975])
        assert bounds == pytest.approx((centre + wider * (plain - centre)).tolist(), rel=1e-4)


def test_all_units_of_one_class_pair(models, result):
    link = models[3]
    own = unit_carriers(result, link, None, origin="ring", target="cross")
    assert sorted(own["unit"]) == [u for u in range(link.num_units) if u not in link.constant_units]
    assert own["share"].sum() == pytest.approx(1)
    assert own["shift"].abs().is_monotonic_decreasing


def test_failures_carry_nothing(models, result):
    link = models[3]
    some = np.flatnonzero(result.table["success"])[::2]
    table = result.table.copy()
    table.loc[some, "success"] = False
    far = result.r_end.clone()
    far[some] = 1e6
    carriers = unit_carriers(replace(result, table=table, r_end=far), link)
    assert carriers["shift"].abs().max() < 1e3
    none = replace(result, table=result.table.assign(success=False))
    with pytest.raises(LisError, match="no successful"):
        unit_carriers(none, link)


def test_one_start_found_twice_counts_once(models, result):
    link = models[3]
    # Two methods' results together: the second's shifts are twice the first's.
    far = result.r_start + 2 * (result.r_end - result.r_start)
    both = replace(
        result,
        table=pd.concat([result.table] * 2, ignore_index=True),
        r_start=torch.cat([result.r_start] * 2),
        r_end=torch.cat([result.r_end, far]),
        logits=torch.cat([result.logits] * 2),
    )
    one, two = (unit_carriers(each, link, top=2) for each in (result, both))
    assert two["samples"].tolist() == one["samples"].tolist()
    assert two["shift"].to_numpy() == pytest.approx(1.5 * one["shift"].to_numpy(), rel=1e-4)
    assert (two["high"] - two["low"]).to_numpy() == pytest.approx(
        1.5 * (one["high"] - one["low"]).to_numpy(), rel=1e-3, nan_ok=True
    )


def test_a_single_start_has_no_interval(models, result):
    one = rows_of(result, "disc", "ring")[:1]
    table = result.table.assign(success=False)
    table.loc[one, "success"] = True
    carriers = unit_carriers(replace(result, table=table), models[3])
    assert carriers["low"].isna().all() and carriers["high"].isna().all() and carriers["shift"].notna().all()


def test_what_is_not_there_is_named(models, result, segmenter):
    generator, _, _, link, _ = models
    with pytest.raises(LisError, match="Did you mean 'ring'"):
        unit_carriers(result, link, target="rings")
    with pytest.raises(LisError, match="top is 0"):
        unit_carriers(result, link, 0)
    with pytest.raises(LisError, match="confidence"):
        unit_carriers(result, link, confidence=1.0)
    with pytest.raises(LisError, match="units, the link"):
        unit_carriers(replace(result, r_start=result.r_start[:, 1:], r_end=result.r_end[:, 1:]), link)
    with pytest.raises(LisError, match="Did you mean 'area'"):
        part_carriers(result, generator, link, segmenter, measures=["areas"])
    with pytest.raises(LisError, match="empty"):
        part_carriers(result, generator, link, segmenter, measures=[])


def test_parts_are_measured_at_the_cycled_start_and_at_the_end(models, result, segmenter, parts):
    generator, _, _, link, _ = models
    first, last = (
        measure_parts(*render_parts(generator, segmenter, link(r)), segmenter.legend).to_frame()
        for r in (result.r_start, result.r_end)
    )
    used = result.table.index[result.table["success"] & (result.table["origin"] != result.table["target"])]
    once = result.table.loc[used].drop_duplicates("start").index
    checked = 0
    for row in parts.to_dict("records"):
        if (row["origin"], row["target"]) != ("cross", "ring") or row["measure"] == "angle":
            continue
        rows = rows_of(result, "cross", "ring")
        column = f"{row['part']}.{row['measure']}"
        a, b = (each.loc[rows, column].astype(float) for each in (first, last))
        if row["measure"] in (
            "area",
            "perimeter",
            "components",
        ):  # 0 where the part is absent, in one of both
            both = a.isna() & b.isna()
            a, b = a.fillna(0).mask(both), b.fillna(0).mask(both)
        change = (b - a).dropna()
        assert row["samples"] == len(change)
        assert row["change"] == pytest.approx(change.mean(), rel=1e-3, abs=1e-6)
        spread = first.loc[once, column].astype(float).std(ddof=1)
        assert row["size"] == pytest.approx(change.mean() / spread, rel=1e-3, nan_ok=True)
        code = f"{row['part']}.code"
        gone = ((first.loc[rows, code] != 1) & (last.loc[rows, code] == 1)).mean()
        assert row["vanished"] == pytest.approx(gone)
        checked += 1
    assert checked > 20


def test_the_largest_changes_come_first_and_rare_ones_last(result, parts):
    for (origin, target), own in parts.groupby(["origin", "target"]):
        starts = len(set(result.table["start"].to_numpy()[rows_of(result, origin, target)]))
        rare = (2 * own["samples"] < starts).to_numpy()
        assert (np.diff(rare.astype(int)) >= 0).all()
        for part in (own[~rare], own[rare]):
            size = part["size"].abs().dropna()
            assert size.is_monotonic_decreasing
    order = list(dict.fromkeys(zip(parts["origin"], parts["target"], strict=True)))
    index = {name: k for k, name in enumerate(result.classes)}
    assert order == sorted(order, key=lambda pair: (index[pair[0]], index[pair[1]]))


def test_chosen_measures_alone(models, result, segmenter, parts):
    own = part_carriers(
        result, models[0], models[3], segmenter, 2, target="ring", measures=["area", "luminance"],
        resamples=200, seed=3,
    )  # fmt: skip
    assert set(own["target"]) == {"ring"} and set(own["measure"]) <= {"area", "luminance"}
    assert set(own.groupby(["origin", "target"]).size()) == {2}
    same = own.merge(parts, on=["origin", "target", "part", "measure"], suffixes=("", "_all"))
    assert same["low"].to_numpy() == pytest.approx(same["low_all"].to_numpy(), rel=1e-4)


def test_a_sentence_tells_only_what_is_sure():
    rows = [
        ("collar", "area", -0.02, -0.03, -0.01, 0.6, 0.0),
        ("body", "luminance", -0.214, -0.3, -0.1, 0.0, 0.0),
        ("body", "area", 0.1, 0.05, 0.15, 0.0, 0.0),
        ("skirt", "area", 0.1, -0.05, 0.15, 0.0, 0.0),
        ("sleeve", "major_axis", -3.04, -4.0, -2.0, 0.0, 0.0),
        ("handle", "angle", 0.5, math.nan, math.nan, 0.0, 0.0),
        ("waist", "perimeter", 9.0, 8.0, 10.0, 0.0, 0.0),
        ("heel", "area", 0.09, 0.08, 0.1, 0.1, 0.9),
    ]
    columns = ["part", "measure", "change", "low", "high", "vanished", "appeared"]
    table = pd.DataFrame(rows, columns=columns).assign(origin="Coat", target="Shirt")
    assert part_sentence(table, "Coat", "Shirt") == (
        "Coat → Shirt: collar vanishes in 60 %, body darker by 0.21, sleeve shorter by 3 px, heel appears in 90 %"
    )
    assert part_sentence(table, "Coat", "Shirt", most=1) == "Coat → Shirt: collar vanishes in 60 %"
    unsure = table[table["part"].isin(["skirt", "handle"])]
    assert part_sentence(unsure, "Coat", "Shirt").endswith("no part changes measurably")
    with pytest.raises(LisError, match="from 'Shirt' to 'Coat'"):
        part_sentence(table, "Shirt", "Coat")


def test_every_measure_has_words():
    assert set(WORDS) == set(MEASURES)
    assert change_words("area", 0.032) == "larger by 3.2 % of the picture"
    assert change_words("angle", -math.pi / 6) == "turned by 30°"
    assert change_words("centre_y", -0.1) == "higher by 10 % of the height"


def test_bars_are_the_tables_numbers(models, result, parts):
    units = unit_carriers(result, models[3], top=4, resamples=200)
    figure = carrier_figure(units, parts, "cross", "ring", top=4)
    left, right = figure.axes
    own = units[(units["origin"] == "cross") & (units["target"] == "ring")]
    assert [bar.get_width() for bar in left.patches] == pytest.approx(own["shift"].tolist())
    assert [text.get_text() for text in left.get_yticklabels()] == [f"unit {unit}" for unit in own["unit"]]
    shown = parts[(parts["origin"] == "cross") & (parts["target"] == "ring") & parts["size"].notna()].head(4)
    assert [bar.get_width() for bar in right.patches] == pytest.approx(shown["size"].tolist())
    told = [text.get_text() for text in right.texts]
    assert told == [change_words(m, c) for m, c in zip(shown["measure"], shown["change"], strict=True)]
    assert len(carrier_figure(None, parts, "cross", "ring").axes) == 1
    assert "95% intervals" in figure.get_suptitle()
    two = unit_carriers(result.subset(rows_of(result, "cross", "ring")[:2]), models[3], confidence=0.99)
    wide = carrier_figure(two, None, "cross", "ring")
    assert "99% intervals" in wide.get_suptitle() and two["high"].max() > 5 * two["shift"].abs().max()
    assert max(np.abs(wide.axes[0].get_xlim())) < 4 * two["shift"].abs().max()  # bars can be seen
    with pytest.raises(LisError, match="neither"):
        carrier_figure(None, None, "cross", "ring")
    with pytest.raises(LisError, match="from 'ring' to 'ring'"):
        carrier_figure(units, None, "ring", "ring")


def test_means_of_repeated_starts_and_intervals_leave_nan_out():
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, np.nan]])
    assert mean_by_start(values, np.array([7, 7, 9])) == pytest.approx(
        np.array([[2.0, 4.0], [5.0, np.nan]]), nan_ok=True
    )
    low, high = bootstrap_means(np.array([[1.0, 1.0], [2.0, np.nan], [3.0, np.nan]]), 0.9, 400, 0)
    assert low[0] < 1 < 3 < high[0] and math.isnan(low[1])  # three starts tell little
