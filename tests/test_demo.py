"""The demo on the bundled models: what it writes, that it is true, and that it is the same again."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit import (
    demo,
    demo_numbers,
    find_counterfactuals,
    load_classifier,
    load_fashion,
    load_generator,
)
from lis_toolkit.datasets import FASHION_CLASSES
from lis_toolkit.demo_numbers import describe_walk, pick_units
from lis_toolkit.errors import LisError
from lis_toolkit.features import extract_features
from lis_toolkit.files import sha256_file
from lis_toolkit.link import Link
from lis_toolkit.selectivity import load_scores, rank_units
from lis_toolkit.sweep import Sweep
from test_report_html import Reader, check_self_contained

RANKED = (3, 77, 156, 230)  # of all 256, so that it takes seconds


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return demo.run_demo(out, per_class=20, seed=3, units=RANKED)


@pytest.fixture(scope="module")
def written(result):
    return json.loads((result.out / "metrics.json").read_text(encoding="utf-8"))


def strip_times(metrics):
    kept = {key: value for key, value in metrics.items() if key != "seconds"}
    return {**kept, "provenance": {k: v for k, v in metrics["provenance"].items() if k != "date"}}


def test_the_folder_holds_report_sheets_numbers_and_link(result):
    names = {str(path.relative_to(result.out)) for path in result.out.rglob("*") if path.is_file()}
    sheets = {"classes", "cycle", "link", "best", "overview"} | {f"units_{k}" for k in range(10)}
    sheets |= {"ways_generated", "ways_photographs"}
    sheets |= {"parts_map"} | {f"parts_{part}" for part in result.metrics["ranking"]["shown"]}
    files = {"report.html", "metrics.json", "link.safetensors", "scores.parquet"}
    assert len(sheets) == 21
    assert {name for name in names if not name.startswith("sweep/")} == files | {
        f"sheets/{s}.png" for s in sheets
    }
    assert Sweep.open(result.out / "sweep").complete
    for path in (result.out / "sheets").iterdir():
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) > 200 and picture.std() > 10, path.name
    assert [path.name for path in result.out.parent.iterdir()] == ["out"]


def test_the_report_is_self_contained_and_shows_the_sheets_that_were_written(result):
    text = (result.out / "report.html").read_text(encoding="utf-8")
    reader = Reader(text)
    check_self_contained(reader)
    assert len(reader.all("img")) == 19
    assert len(text) < 8_000_000
    for name in FASHION_CLASSES:
        assert name in reader.words


def test_the_reports_numbers_are_those_of_metrics_json(result, written):
    assert written == json.loads(json.dumps(result.metrics))
    words = Reader((result.out / "report.html").read_text(encoding="utf-8")).words
    assert f"{written['link']['r2']:.3f}" in words
    for unit in written["units"]:
        assert f"Unit {unit['unit']} votes most for {unit['for']} ({unit['for_weight']:+.2f})" in words
    for model in written["models"].values():
        assert model["sha256"] in words
    summary = result.summary()
    assert f"{written['link']['r2']:.0%}" in summary and len(summary.splitlines()) < 20
    assert str(result.out / "report.html") in summary


def test_the_ranking_is_that_of_the_sweep_that_was_kept(result, written):
    ranking = written["ranking"]
    sweep = Sweep.open(result.out / "sweep")
    assert (len(sweep), ranking["rows"]) == (4 * 60 * 2,) * 2
    scores = load_scores(result.out / "scores.parquet")
    for described in ranking["parts"]:
        ranked = rank_units(scores, described["part"], described["measure"])
        assert [unit["unit"] for unit in described["units"]] == ranked["unit"].head(5).tolist()[
            : len(described["units"])
        ]
        assert described["significant"] == (ranked["q"] < 0.05).sum()
    # One number from the rows themselves.
    described = next(d for d in ranking["parts"] if (d["part"], d["measure"]) == ("torso", "luminance"))
    unit = described["units"][0]
    table = sweep.table(["unit", "sample", "class", "step", "torso.luminance"], units=[unit["unit"]])
    table = table[table["class"].isin(scores.attrs["lis"]["pooled"]["torso"])]  # those that have the part
    first, last = (table[table["step"] == k].set_index("sample")["torso.luminance"] for k in (0, 1))
    assert unit["mean_change"] == pytest.approx((last - first).mean(), abs=1e-6)
    words = Reader((result.out / "report.html").read_text(encoding="utf-8")).words
    assert f"{unit['mean_change']:+.3g} ({unit['low']:+.3g} to {unit['high']:+.3g})" in words
    for check in ranking["photographs"]:
        assert f"{check['agreement']:.0%} of {check['units']}" in words
    assert ranking["photographs"]


def test_the_numbers_are_those_of_the_models_and_the_link(result, written):
    generator, classifier = load_generator("fashion"), load_classifier("fashion")
    assert written["models"]["generator"]["sha256"] == generator.hash
    assert written["models"]["classifier"]["sha256"] == classifier.hash
    link = Link.load(result.out / "link.safetensors")
    link.check(generator, classifier)
    assert written["pairs"]["total"] == 200 == written["pairs"]["train"] + written["pairs"]["held_out"]
    assert link.rows == written["pairs"]["train"]
    assert all(count["kept"] == 20 <= count["tried"] for count in written["pairs"]["counts"].values())
    # The loop over the photographs, once more and plainly.
    photographs = load_fashion("sample")
    with torch.no_grad():
        before = extract_features(classifier, photographs.images)
        after = extract_features(classifier, generator.render(link(before.r), batch_size=100))
    kept = (before.logits.argmax(1) == after.logits.argmax(1)).float().mean()
    assert written["link"]["cycle_photographs"]["accuracy"] == pytest.approx(float(kept), abs=0.005)
    assert written["link"]["cycle_photographs"]["count"] == 1000


def test_the_counterfactuals_are_those_of_the_link_that_was_kept(result, written):
    told = written["counterfactuals"]
    generator, classifier, judge = (
        load_generator("fashion"),
        *map(load_classifier, ("fashion", "fashion-judge")),
    )
    link = Link.load(result.out / "link.safetensors")
    ways = [("Coat", "Shirt"), ("Pullover", "Coat"), ("Sandal", "Ankle boot"), ("Sneaker", "Sandal")]
    assert [row["target"] for row in told["shown"]] == [target for _, target in ways]
    assert [row["origin"] for row in told["photographs"]] == ["Coat", "Sandal"]
    every = told["all"]
    assert every["asked"] + every["start_is_target"] == 90 >= every["pairs"]
    # The photographs' counterfactuals once more, and their ends looked at plainly.
    photographs = load_fashion("sample")
    seen = extract_features(classifier, photographs.images).logits.argmax(1)
    first = [next(i for i in range(1000) if photographs.labels[i] == k == seen[i]) for k in (4, 5)]
    again = find_counterfactuals(
        generator, classifier, link, photographs.images[first], target=["Shirt", "Ankle boot"], seed=3
    )
    pictures = generator.render(link(again.r_end))
    logits = extract_features(classifier, pictures).logits
    judged = extract_features(judge, pictures).logits.argmax(1)
    for i, (row, k) in enumerate(zip(told["photographs"], (6, 9), strict=True)):
        margin = logits[i, k] - logits[i, [other for other in range(10) if other != k]].max()
        assert row["margin_end"] == pytest.approx(float(margin), abs=0.02)
        assert row["success"] == bool(margin >= told["margin"] - 0.02)
        assert row["judge_end"] == FASHION_CLASSES[judged[i]]
    words = Reader((result.out / "report.html").read_text(encoding="utf-8")).words
    assert f"{every['asked']} ways between {every['pairs']} pairs of classes" in words
    assert f"agrees in {every['judge']['share']:.0%} of the searches" in words
    for near in told["nearest"]:
        assert near["distance_w"] <= near["farthest_w"] and near["class"] not in (
            near["nearest"],
            near["farthest"],
        )


def test_the_units_shown_vote_for_their_class_and_none_is_shown_twice(written):
    units = written["units"]
    assert len({unit["unit"] for unit in units}) == len(units) >= 20
    assert {unit["class"] for unit in units} == set(FASHION_CLASSES)
    weight = load_classifier("fashion").network.head.weight
    for unit in units:
        own = float(weight[FASHION_CLASSES.index(unit["class"]), unit["unit"]])
        assert own > float(weight[:, unit["unit"]].mean())
        assert unit["for_weight"] == pytest.approx(float(weight[:, unit["unit"]].max()), abs=1e-5)
        assert unit["low"] < unit["high"]


def test_the_same_seed_gives_the_same_numbers_and_pictures(result, written, tmp_path):
    again = demo.run_demo(tmp_path / "again", per_class=20, seed=3, units=RANKED)
    assert strip_times(json.loads(json.dumps(again.metrics))) == strip_times(written)
    assert sha256_file(tmp_path / "again/sheets/cycle.png") == sha256_file(result.out / "sheets/cycle.png")


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise LisError("no more")

    monkeypatch.setattr(demo, "report_link", fail)  # the link is saved by then
    with pytest.raises(LisError, match="no more"):
        demo.run_demo(tmp_path / "out", per_class=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("per_class", [0, -3])
def test_no_samples_are_refused(tmp_path, per_class):
    with pytest.raises(LisError, match="per_class"):
        demo.run_demo(tmp_path / "out", per_class=per_class)
    assert list(tmp_path.iterdir()) == []


def test_units_are_picked_by_vote_spread_and_loop():
    weights = torch.tensor([[2.0, 1.0, 0.0, 3.0, 9.0], [0.0, 0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    std = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0])
    # Unit 4 is constant; unit 3 does not survive the loop; unit 1 varies three times as much as unit 0.
    assert pick_units(weights, std, [0.9, 0.9, 0.9, -0.2, None], 2) == {0: [1, 0], 1: [2], 2: []}
    assert pick_units(weights, std, [0.9, 0.2, 0.9, -0.2, None], 1) == {0: [0], 1: [2], 2: []}


def test_the_units_that_answer_best_come_first(monkeypatch):
    # Unit u reads back u/10 of what it is asked for, whatever its range.
    def walk(generator, classifier, link, r, unit, steps):
        values = torch.linspace(0, 1 + unit, steps)
        reads = torch.zeros(len(r), steps, 12)
        reads[:, :, unit] = 5 + values * unit / 10
        return SimpleNamespace(unit=unit, values=values, r=reads)

    monkeypatch.setattr(demo_numbers, "tune_unit", walk)
    assert demo_numbers.best_answering(None, None, None, torch.zeros(2, 12), [3, 11, 0, 7], 3) == [11, 7, 3]


def make_walk(reads, values=(0.0, 1.0, 2.0)):
    reads = torch.tensor(reads)  # [N, S]
    r = torch.zeros(*reads.shape, 4)
    r[..., 2] = reads
    logits = torch.zeros(*reads.shape, 2)
    logits[:, -1, 1] = math.log(3.0)
    return SimpleNamespace(unit=2, values=torch.tensor(values), r=r, logits=logits)


def test_a_walk_is_described_by_a_regression_within_samples():
    weights = torch.tensor([[0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    reads = [[0.5, 1.0, 1.5], [3.0, 3.5, 4.0]]  # other starts, the same slope of a half
    found = describe_walk(make_walk(reads), ("Bag", "Coat"), 1, weights)
    assert found["slope"] == pytest.approx(0.5) and found["correlation"] == pytest.approx(1.0)
    assert (found["for"], found["against"], found["class"]) == ("Coat", "Bag", "Coat")
    assert (found["for_weight"], found["against_weight"]) == (2.0, -1.0)
    assert (found["low"], found["high"], found["read_low"], found["read_high"]) == (0.0, 2.0, 1.75, 2.75)
    assert found["probability_low"] == pytest.approx(0.5) and found["probability_high"] == pytest.approx(0.75)
    assert found["trust"] == "good"
    noisy = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)).tolist()
    values = tuple(torch.linspace(0, 1, 5).tolist())
    found = describe_walk(make_walk(noisy, values), ("Bag", "Coat"), 0, weights)
    centred = np.array(noisy) - np.mean(noisy, axis=1, keepdims=True)
    assert found["slope"] == pytest.approx(np.polyfit(np.tile(values, 6), centred.ravel(), 1)[0], abs=1e-6)
    assert found["correlation"] == pytest.approx(
        np.corrcoef(np.tile(values, 6), centred.ravel())[0, 1], abs=1e-6
    )


def test_a_unit_that_does_not_answer_is_not_trusted():
    found = describe_walk(make_walk([[1.0, 1.0, 1.0]]), ("Bag", "Coat"), 0, torch.zeros(2, 4))
    assert (found["slope"], found["correlation"], found["trust"]) == (0.0, 0.0, "no")
