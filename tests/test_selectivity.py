"""score_selectivity and its neighbours on tables with planted effects, against plain loops over rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.selectivity import (
    load_scores,
    part_occurrence,
    rank_units,
    save_scores,
    score_selectivity,
    unit_changes,
)

CLASSES = ("Shirt", "Shoe")
PARTS = ("sleeve", "torso")
MEASURES = ("area", "luminance", "angle", "components")
PLANTED = {3: 0.6, 7: -0.5}  # what these units do to the sleeve's area in shirts


def plant(units=12, per_class=14, steps=3, seed=0, planted=PLANTED):
    """A sweep's table: noise, two planted units, no sleeve on any shoe, and some that come and go on shirts."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(units):
        for sample in range(per_class * len(CLASSES)):
            name = CLASSES[sample // per_class]
            start = {m: 0.6 + 0.3 * rng.random() for m in MEASURES}
            for step in range(steps):
                row = {"unit": unit + 100, "sample": sample, "class": name, "step": step}
                for part in PARTS:
                    row[f"{part}.code"] = 0
                    row[f"{part}.area"] = start["area"] + rng.normal(0, 0.02)
                    row[f"{part}.luminance"] = start["luminance"] + rng.normal(0, 0.02)
                    row[f"{part}.angle"] = (start["angle"] * np.pi + rng.normal(0, 0.1)) % np.pi - np.pi / 2
                    row[f"{part}.components"] = 1 + rng.integers(2)
                row["sleeve.area"] += planted.get(unit, 0.0) * step / (steps - 1)
                if name == "Shoe" or rng.random() < 0.06:
                    row["sleeve.code"] = 1
                    row |= {f"sleeve.{m}": np.nan for m in MEASURES}
                row["picture.luminance"] = rng.random()
                row["logit.T-shirt v1.0"] = rng.normal()
                rows.append(row)
    table = pd.DataFrame(rows)
    kinds = {"unit": "int32", "sample": "int32", "step": "int16", "class": "category"}
    kinds |= {f"{p}.code": "int8" for p in PARTS}
    return table.astype(kinds)


@pytest.fixture(scope="module")
def table():
    return plant()


@pytest.fixture(scope="module")
def scores(table):
    return score_selectivity(table, resamples=300)


def by_hand(table, unit, part, measure, sample):
    """Change, vanished, appeared of one unit and sample, row by row."""
    rows = table[(table["unit"] == unit) & (table["sample"] == sample)].sort_values("step")
    first, last = rows.iloc[0], rows.iloc[-1]
    source = "area" if measure == "area_relative" else measure
    a, b = first[f"{part}.{source}"], last[f"{part}.{source}"]
    gone = first[f"{part}.code"] == 1, last[f"{part}.code"] == 1
    if gone == (True, True):
        return None, False, False
    if measure in ("area", "components", "area_relative"):
        a, b = (0.0 if gone[0] else a), (0.0 if gone[1] else b)
    elif any(gone):
        return None, gone[1], gone[0]
    change = b - a
    if measure == "area_relative":
        change = None if gone[0] else change / a
    if measure == "angle":
        change = min((change + k * np.pi for k in (-1, 0, 1)), key=abs)
    return change, gone == (False, True), gone == (True, False)


@pytest.mark.parametrize("measure", ["area", "area_relative", "luminance", "angle", "components"])
def test_changes_are_those_of_a_plain_loop(table, measure):
    changes = unit_changes(table, "sleeve", measure, units=[103, 100])
    assert changes.units.tolist() == [103, 100] and len(changes.samples) == 28
    seen = {"none": 0, "vanished": 0, "appeared": 0}
    for i, unit in enumerate(changes.units):
        for j, sample in enumerate(changes.samples["sample"]):
            change, vanished, appeared = by_hand(table, unit, "sleeve", measure, sample)
            assert changes.values[i, j] == pytest.approx(np.nan if change is None else change, nan_ok=True)
            assert (changes.vanished[i, j], changes.appeared[i, j]) == (vanished, appeared)
            seen["none"] += change is None
            seen["vanished"] += vanished
            seen["appeared"] += appeared
    assert min(seen.values()) > 0  # every case occurred
    frame = changes.to_frame()
    assert len(frame) == 56 and frame["change"].isna().sum() == seen["none"]
    relative = unit_changes(table, "sleeve", "area", relative=True)
    assert relative.measure == "area_relative"


def test_rows_are_those_of_a_plain_loop(table, scores):
    for part, measure, name, unit in (
        ("sleeve", "area", "all", 103), ("sleeve", "angle", "Shirt", 105), ("torso", "luminance", "Shoe", 101),
        ("sleeve", "area_relative", "Shirt", 107), ("torso", "area", "all", 110),
    ):  # fmt: skip
        pooled = CLASSES if part == "torso" else ("Shirt",)  # no shoe has a sleeve
        samples = [s for s in range(28) if CLASSES[s // 14] in (pooled if name == "all" else (name,))]
        triples = [by_hand(table, unit, part, measure, s) for s in samples]
        d = np.array([t[0] for t in triples if t[0] is not None])
        found = scores[(scores["unit"] == unit) & (scores["part"] == part) & (scores["measure"] == measure)
                       & (scores["class"] == name)]  # fmt: skip
        assert len(found) == 1
        row = found.iloc[0]
        assert row["samples"] == len(d)
        assert row["mean_change"] == pytest.approx(d.mean())
        assert row["effect"] == pytest.approx(d.mean() / d.std(ddof=1), rel=1e-4)
        assert row["same_sign"] == pytest.approx((np.sign(d) == np.sign(d.mean())).mean())
        assert row["vanished"] == pytest.approx(np.mean([t[1] for t in triples]))
        assert row["appeared"] == pytest.approx(np.mean([t[2] for t in triples]))
        assert row["low"] < row["mean_change"] < row["high"]


def test_pooled_intervals_are_a_stratified_bootstrap(table, scores):
    changes = unit_changes(table, "torso", "area", units=[102])
    d, names = changes.values[0], changes.samples["class"].to_numpy()
    rng, means = np.random.default_rng(0), []
    for _ in range(4000):
        drawn = np.concatenate([rng.choice(d[names == name], (names == name).sum()) for name in CLASSES])
        means.append(drawn.mean())
    fine = score_selectivity(table, "torso", "area", units=[102], resamples=4000)
    row = fine[fine["class"] == "all"].iloc[0]
    low, high = np.quantile(means, [0.025, 0.975])
    assert row["low"] == pytest.approx(low, abs=0.05 * (high - low))
    assert row["high"] == pytest.approx(high, abs=0.05 * (high - low))


def test_planted_units_are_found(table):
    scores = score_selectivity(
        table, "sleeve", "area", resamples=100
    )  # 14 samples allow no p that survives 336 rows
    more = rank_units(scores, "sleeve", "area", "Shirt", direction="more", alpha=0.05)
    less = rank_units(scores, "sleeve", "area", direction="less", alpha=0.05)
    assert more["unit"].tolist() == [103] and less["unit"].tolist() == [107]
    everything = rank_units(scores, "sleeve", "area")
    assert set(everything["unit"].head(2)) == {103, 107} and everything["rank"].tolist() == list(range(1, 13))
    assert everything["part_selectivity"].iloc[0] > 0.3 and everything["unit_selectivity"].abs().iloc[0] > 3


def test_discoveries_without_an_effect_stay_at_their_rate():
    rng = np.random.default_rng(11)
    units, samples = 40, 20
    keys = pd.DataFrame({
        "unit": np.repeat(np.arange(units), samples * 2), "sample": np.tile(np.repeat(np.arange(samples), 2), units),
        "class": "a", "step": np.tile([0, 1], units * samples),
    })  # fmt: skip
    false = []
    for _ in range(60):
        noise = {f"p{i}.area": rng.standard_t(3, len(keys)) for i in range(3)}
        found = score_selectivity(pd.concat([keys, pd.DataFrame(noise)], axis=1), measure="area", resamples=1)
        false.append((found["q"] <= 0.1).any())
    assert (
        np.mean(false) <= 0.1 + 2 * (0.1 * 0.9 / 60) ** 0.5
    )  # all are null: the rate is that of any discovery


def test_the_same_result_whatever_is_asked_for(table, scores):
    keys = ["unit", "part", "measure", "class"]
    asked = score_selectivity(table, "sleeve", ["area", "angle"], units=[107, 100], resamples=300)
    assert set(asked["unit"]) == {100, 107} and set(asked["measure"]) == {"area", "angle"}
    both = asked.merge(scores, on=keys, suffixes=("", "_all"))
    assert len(both) == len(asked) == 8
    for column in set(scores.columns) - {*keys, "q"}:
        assert both[column].to_numpy() == pytest.approx(
            both[column + "_all"].to_numpy(), rel=1e-5, nan_ok=True
        ), column
    shuffled = score_selectivity(table.sample(frac=1, random_state=0), resamples=300)
    pd.testing.assert_frame_equal(
        shuffled.sort_values(keys, ignore_index=True),
        scores.sort_values(keys, ignore_index=True),
        rtol=1e-5,
        check_like=True,
    )
    again = score_selectivity(table, resamples=300)
    pd.testing.assert_frame_equal(again, scores)
    assert not np.allclose(score_selectivity(table, "torso", "area", resamples=300, seed=1)["low"],
                           scores[(scores["part"] == "torso") & (scores["measure"] == "area")]["low"])  # fmt: skip


def test_classes_are_scored_and_pooled_as_asked(table):
    found = score_selectivity(table, "torso", "area", classes=["Shoe"], resamples=50)
    assert set(found["class"]) == {"all", "Shoe"}
    alone, pooled = (
        found[found["class"] == c].drop(columns=["class", "q"]).reset_index(drop=True)
        for c in ("Shoe", "all")
    )
    pd.testing.assert_frame_equal(alone, pooled)


def specks(table, share):
    """The table with sleeves on this share of the shoes' pictures."""
    chance = np.random.default_rng(2).random(len(table)) < share
    seen = (table["class"] == "Shoe") & chance
    values = {m: table[f"torso.{m}"] for m in MEASURES} | {"code": 0}
    return table.assign(**{f"sleeve.{m}": table[f"sleeve.{m}"].mask(seen, v) for m, v in values.items()})


def same_rows(one, other, where):
    one, other = (f[where(f)].drop(columns="q").reset_index(drop=True) for f in (one, other))
    assert len(one)
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_pooled_rows_leave_out_classes_without_the_part(table, scores):
    speckled = specks(table, 0.3)
    first = speckled[(speckled["step"] == 0) & (speckled["class"] == "Shoe")]
    expected = (first["sleeve.code"] == 0).mean()
    assert part_occurrence(speckled, "sleeve")["Shoe"] == pytest.approx(expected) and 0.2 < expected < 0.4
    assert part_occurrence(speckled, "torso") == part_occurrence(table, "picture") == {"Shirt": 1, "Shoe": 1}
    found = score_selectivity(speckled, resamples=300)
    settings = found.attrs["lis"]
    assert settings["pooled"] == {"sleeve": ["Shirt"], "torso": list(CLASSES), "picture": list(CLASSES)}
    assert settings["min_occurrence"] == 0.5
    # Pooled sleeves are those of the shirts, every number of them; the shoes' specks have rows of their own.
    sleeve = found[found["part"] == "sleeve"]
    figures = [c for c in found if c not in ("class", "q")]
    alone, pooled = (
        sleeve[sleeve["class"] == c].sort_values(["measure", "unit"], ignore_index=True)[figures]
        for c in ("Shirt", "all")
    )
    pd.testing.assert_frame_equal(alone, pooled)
    assert (sleeve["class"] == "Shoe").any()
    # The torso is compared with the sleeve where both are: on shirts.
    effects = found[(found["measure"] == "area") & (found["unit"] == 103)].set_index(["part", "class"])
    torso, other = abs(effects["effect"]["torso", "all"]), abs(effects["effect"]["sleeve", "Shirt"])
    expected = (torso - other) / (torso + other)
    assert effects["part_selectivity"]["torso", "all"] == pytest.approx(expected, rel=1e-5)
    everything = score_selectivity(speckled, resamples=300, min_occurrence=0)
    assert everything.attrs["lis"]["pooled"]["sleeve"] == list(CLASSES)
    same_rows(found, everything, lambda f: f["class"] != "all")
    same_rows(found, everything, lambda f: f["part"] == "picture")
    both = everything[(everything["class"] == "all") & (everything["part"] == "sleeve")]
    assert (both["samples"].to_numpy() > pooled["samples"].to_numpy().reshape(-1)).any()
    d = unit_changes(speckled, "sleeve", "area", units=[105]).values[0]
    row = both[(both["unit"] == 105) & (both["measure"] == "area")].iloc[0]
    assert row["samples"] == np.isfinite(d).sum() and row["mean_change"] == pytest.approx(np.nanmean(d))
    # The same, whatever is asked for; and all classes where none has the part often enough.
    some = score_selectivity(speckled, "sleeve", "area", units=[103, 110], resamples=300)
    keys = ["unit", "part", "measure", "class"]
    merged = some.merge(found, on=keys, suffixes=("", "_all"))
    assert len(merged) == len(some) > 4
    for column in set(found.columns) - {*keys, "q"}:
        assert merged[column].to_numpy() == pytest.approx(
            merged[column + "_all"].to_numpy(), rel=1e-5, nan_ok=True
        ), column
    rare = score_selectivity(speckled, "sleeve", "area", classes=["Shoe"], resamples=2)
    assert rare.attrs["lis"]["pooled"] == {"sleeve": ["Shoe"]} and set(rare["class"]) == {"all", "Shoe"}
    with pytest.raises(LisError, match="min_occurrence is 2"):
        score_selectivity(table, min_occurrence=2)
    with pytest.raises(LisError, match="no part 'sleve'"):
        part_occurrence(table, "sleve")


def test_start_pictures_say_which_classes_have_a_part(table):
    folder = Folder(specks(table, 0.3))
    folder.start = folder.start.assign(
        **{"sleeve.code": np.int8(0)}
    )  # in all of them, whatever the steps show
    assert part_occurrence(folder, "sleeve") == {"Shirt": 1, "Shoe": 1}
    found = score_selectivity(folder, "sleeve", "area", resamples=2)
    assert found.attrs["lis"]["pooled"] == {"sleeve": list(CLASSES)}


def test_what_never_occurs_has_no_row_and_what_is_rare_no_figures(table):
    found = score_selectivity(table, "sleeve", resamples=20)
    assert not (found["class"] == "Shoe").any()
    rare = score_selectivity(table, "sleeve", "area", resamples=20, min_samples=15)
    shirts = rare[rare["class"] == "Shirt"]
    assert (shirts["samples"] > 0).all() and shirts[["mean_change", "low", "effect", "p", "q"]].isna().all(
        axis=None
    )


def test_whole_pictures_and_logits(table):
    found = score_selectivity(table, "picture", resamples=20)
    assert set(found["measure"]) == {"luminance"} and found["part_selectivity"].isna().all()
    assert found["unit_selectivity"].notna().all()
    logits = score_selectivity(table, "logit", resamples=20)
    assert set(logits["measure"]) == {"T-shirt v1.0"} and set(logits["part"]) == {"logit"}
    assert "logit" not in set(score_selectivity(table, resamples=2)["part"])


class Folder:
    """A sweep as the selectivity sees it: it counts what is read."""

    def __init__(self, table):
        self.rows, self.read = table, []
        self.columns = tuple(table.columns)
        self.start = table[(table["unit"] == 100) & (table["step"] == 0)].drop(columns=["unit", "step"])
        self.manifest, self.complete = {"format": "test", "units": 12}, True

    def table(self, columns=None, units=None):
        self.read.append((tuple(columns), None if units is None else len(units)))
        rows = self.rows if units is None else self.rows[self.rows["unit"].isin(units)]
        return rows[columns].reset_index(drop=True)


def test_a_sweep_is_read_by_chunks_and_columns(table, scores, monkeypatch):
    folder = Folder(table)
    found = score_selectivity(folder, "sleeve", "area", resamples=300)
    pd.testing.assert_frame_equal(
        found.drop(columns="q"),
        score_selectivity(table, "sleeve", "area", resamples=300).drop(columns="q"), rtol=1e-5,
    )  # fmt: skip
    used = {column for columns, _ in folder.read for column in columns}
    assert used == {
        "unit",
        "sample",
        "class",
        "step",
        "sleeve.code",
        "sleeve.area",
        "torso.code",
        "torso.area",
    }
    monkeypatch.setattr("lis_toolkit.selectivity.score.CHUNK_BYTES", 28 * 24 * 4 * 5)
    chunked = Folder(table)
    in_chunks = score_selectivity(chunked, "sleeve", "area", resamples=300)
    assert [units for _, units in chunked.read] == [None, 5, 5, 2]
    pd.testing.assert_frame_equal(in_chunks, found, rtol=1e-5)
    longer = Folder(plant(units=5, steps=6))  # all steps are read, so fewer units at a time
    score_selectivity(longer, "sleeve", "area", resamples=2)
    assert [units for _, units in longer.read] == [None, 2, 2, 1]
    assert len(found.attrs["lis"]["sweep"]["manifest_sha256"]) == 64


def test_scores_come_back_from_their_file(scores, tmp_path):
    save_scores(tmp_path / "a.parquet", scores)
    back = load_scores(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(back, scores, check_dtype=False)
    assert (
        back.attrs["lis"] == json.loads(json.dumps(scores.attrs["lis"]))
        and back.attrs["lis"]["resamples"] == 300
    )
    assert "torch" in back.attrs["provenance"]
    with pytest.raises(LisError, match="lack the columns"):
        save_scores(tmp_path / "b.parquet", scores.drop(columns="q"))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.parquet").write_bytes(b"")
    scores.to_parquet(tmp_path / "other.parquet")
    for name, text in (
        ("cut", "complete"),
        ("empty", "complete"),
        ("other", "no scores"),
        ("none", "no file"),
    ):
        with pytest.raises(CheckpointError, match=text):
            load_scores(tmp_path / f"{name}.parquet")


def test_rows_that_are_not_there_yet(table):
    partial = table.drop(table[(table["unit"] == 105) & (table["sample"] < 5) & (table["step"] == 2)].index)
    changes = unit_changes(partial, "torso", "area")
    assert np.isnan(changes.values[5, :5]).all() and np.isfinite(np.delete(changes.values, 5, 0)).all()
    whole = partial.astype({"torso.components": "int64"})  # of whole numbers none is "not there"
    assert np.isnan(unit_changes(whole, "torso", "components").values[5, :5]).all()
    sleeves = unit_changes(partial, "sleeve", "area")
    assert np.isnan(sleeves.values[5, :5]).all() and not sleeves.vanished[5, :5].any()


def test_angles_turn_by_the_shortest_way(table):
    turned = table[table["unit"] < 102].copy()
    # From 80 degrees on to 100, which is called -80: a turn of 20, not of -160.
    turned["torso.angle"] = np.deg2rad(np.where(turned["step"] == 0, 80.0, -80.0))
    assert unit_changes(turned, "torso", "angle").values == pytest.approx(np.deg2rad(20.0))
    back = turned.assign(**{"torso.angle": -turned["torso.angle"]})
    assert unit_changes(back, "torso", "angle").values == pytest.approx(np.deg2rad(-20.0))


def test_codes_without_a_sign(table):
    partial = table.drop(table[(table["unit"] == 105) & (table["sample"] < 5) & (table["step"] == 2)].index)
    other = partial.astype({f"{p}.code": "uint8" for p in PARTS})
    for part in PARTS:
        expected, found = (unit_changes(t, part, "area").to_frame() for t in (partial, other))
        pd.testing.assert_frame_equal(found, expected)


def test_a_change_of_every_sample_alike(table):
    alike = table[table["unit"] < 104].copy()
    alike["torso.area"] = alike["step"] * (alike["unit"] - 101) * 0.5
    found = score_selectivity(alike, "torso", "area", resamples=20)
    pooled = found[found["class"] == "all"].set_index("unit")
    assert pooled["effect"].to_dict() == {100: -np.inf, 101: 0, 102: np.inf, 103: np.inf}
    assert pooled["mean_change"].to_dict() == {100: -1, 101: 0, 102: 1, 103: 2}
    assert (pooled["low"] == pooled["high"]).all() and pooled["p"][101] == 1
    assert rank_units(found, "torso", "area", direction="more")["unit"].tolist() == [103, 102]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"part": "sleve"}, "Did you mean 'sleeve'"),
        ({"measure": "aera"}, "Did you mean 'area'"),
        ({"part": "picture", "measure": "area"}, "no measure of picture 'area'"),
        ({"part": []}, "is empty"),
        ({"classes": ["Shirts"]}, "Did you mean 'Shirt'"),
        ({"units": [5]}, "no unit 5"),
        ({"units": [1.5]}, "whole numbers"),
        ({"units": []}, "at least one"),
        ({"confidence": 1}, "between 0 and 1"),
        ({"confidence": float("nan")}, "finite"),
        ({"resamples": 0}, "resamples is 0"),
        ({"resamples": 10**12}, "resamples is 10"),
        ({"min_samples": 1}, "from 2"),
        ({"correction": "none"}, "'bh' or 'by'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_explained(table, change, text):
    with pytest.raises(LisError, match=text):
        score_selectivity(table, **change)


def test_bad_tables_are_explained(table):
    def fails(damaged, text):
        with pytest.raises(LisError, match=text):
            score_selectivity(damaged, "torso", "area", resamples=2)

    fails(table.drop(columns=["unit", "step"]), r"lacks the columns \['unit', 'step'\]")
    fails(table[table["step"] == 1], "step 1 only")
    fails(table.iloc[:0], "no rows")
    fails(pd.concat([table, table.head(1)]), "twice")
    fails(pd.concat([table, table[["torso.area"]]], axis=1), r"\['torso.area'\] twice")
    fails(table.assign(unit=table["unit"] + 0.5), "whole numbers")
    fails(table.assign(**{"torso.area": np.inf}), "infinite")
    fails(table.assign(**{"torso.area": "large"}), "numbers were expected")
    fails(table.assign(**{"class": "all"}), "named 'all'")
    fails(table.assign(**{"class": None}), "without a class")
    fails("table", "not a str")
    with pytest.raises(LisError, match="relative is True"):
        unit_changes(table, "torso", "angle", relative=True)


def test_bad_rankings_are_explained(scores):
    for arguments, text in (
        ({"part": "slevee"}, "Did you mean 'sleeve'"),
        ({"class_name": "Shoe"}, "no class 'Shoe'"),
        ({"direction": "up"}, "'more', 'less'"),
        ({"by": "p"}, "one of effect"),
        ({"alpha": 2}, "from 0 to 1"),
    ):
        with pytest.raises(LisError, match=text):
            rank_units(scores, **{"part": "sleeve", "measure": "area", **arguments})
