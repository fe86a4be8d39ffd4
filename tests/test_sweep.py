"""Sweeps: rows against a plain loop over units, samples and steps, and what may not change them."""

import argparse
import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lis_toolkit.classifiers import Classifier, save_classifier
from lis_toolkit.directions import companion_directions
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.link import Link, fit_link
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.parts.measures import MEASURES, measure_parts, measure_pictures
from lis_toolkit.parts.segmenter import render_parts
from lis_toolkit.stylegan import load_generator, save_generator
from lis_toolkit.sweep import Sweep, plan_sweep, sweep_units
from lis_toolkit.sweep import plan as sweep_plan
from lis_toolkit.sweep.command import add_arguments, parse_units, run_sweep_command
from lis_toolkit.sweep.recipe import rows_at_a_time
from lis_toolkit.sweep.samples import FRESH
from lis_toolkit.sweep.thumbnails import decode_pictures, encode_pictures
from lis_toolkit.units import tune_unit
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_sweep import LEGEND, tiny_models

UNITS, SAMPLES, STEPS = (1, 4, 7), 3, 3
QUIET = {"psi": 0.9, "progress": False}


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def sweep(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "a"
    return sweep_units(*models, out=folder, units=UNITS, samples=SAMPLES, thumbnails=True, **QUIET)


def plain(models, r, directions=None):
    """One unit, one sample, one step at a time."""
    generator, classifier, link, segmenter = models
    records = []
    for unit in UNITS:
        for n in range(len(r)):
            walk = tune_unit(
                generator, classifier, link, r[n : n + 1], unit, steps=STEPS, directions=directions
            )
            for s in range(STEPS):
                x, labels = render_parts(generator, segmenter, walk.w[:, s])
                torch.testing.assert_close(x, walk.images[:, s], atol=1e-5, rtol=0)
                row = {"unit": unit, "sample": n, "step": s, "value": float(walk.values[s])}
                row["encoded"] = float(walk.r[0, s, unit])
                row |= {f"picture.{k}": float(v) for k, v in measure_pictures(x, labels, walk.start).items()}
                row |= measure_parts(x, labels, LEGEND).to_frame().iloc[0].to_dict()
                row |= {f"logit.{c}": float(v) for c, v in zip(CLASSES, walk.logits[0, s], strict=True)}
                row["top_class"] = int(walk.logits[0, s].argmax())
                change = (walk.r[0, s] - walk.start_r[0]).numpy()
                order = np.argsort(-np.abs(change) / link.unit_std.numpy())[:8]
                records.append(row | {"moved_units": order, "moved_changes": change[order]})
    return pd.DataFrame(records)


def assert_same(table, wanted, share=1.0):
    """All numbers agree; with a share below 1, as many rows may have a pixel on the other side of an edge."""
    assert len(table) == len(wanted)
    for name in wanted.columns.drop(["moved_units", "moved_changes", "class"], errors="ignore"):
        close = np.isclose(
            table[name].astype(float), wanted[name].astype(float), atol=2e-4, rtol=1e-3, equal_nan=True
        )
        assert close.mean() >= share, (name, table[name][~close], wanted[name][~close])


@pytest.mark.parametrize("together", [False, True])
def test_rows_are_those_of_a_plain_loop(models, tmp_path, together):
    generator, classifier, link, _ = models
    directions = (
        companion_directions(collect_pairs(generator, classifier, per_class=20, seed=1)) if together else None
    )
    sweep = sweep_units(
        *models,
        out=tmp_path / "a",
        units=UNITS,
        samples=SAMPLES,
        directions=directions,
        batch_size=10,
        **QUIET,
    )
    table, wanted = sweep.table(), plain(models, sweep.samples.r, directions)
    assert_same(table, wanted, 0.97)
    assert table["spoke.area"].nunique() > 10  # the labels do change
    for mine, theirs, changes, expected in zip(
        table.moved_units, wanted.moved_units, table.moved_changes, wanted.moved_changes, strict=True
    ):
        score = np.abs(changes) / link.unit_std.numpy()[mine]
        assert (np.diff(score) <= 1e-6).all() and len(set(mine)) == 8
        np.testing.assert_allclose(changes, expected, atol=1e-4)
        assert (mine == theirs).mean() > 0.7  # equal ones may change places
    classes = table["class"].astype(str)
    assert classes.tolist() == [CLASSES[n // SAMPLES] for n in table["sample"]]
    kept = sweep.render(generator, link, 4, samples=[2])
    walk = tune_unit(generator, classifier, link, sweep.samples.r[2:3], 4, steps=STEPS, directions=directions)
    torch.testing.assert_close(kept, walk.images, atol=1e-5, rtol=0)


def test_columns_types_and_order(sweep):
    table = sweep.table()
    measures = [m for m in MEASURES if not MEASURES[m].colour_only]
    assert list(table.columns[:6]) == ["unit", "sample", "class", "step", "value", "encoded"]
    assert set(table.columns) == {
        *("unit", "sample", "class", "step", "value", "encoded", "top_class", "moved_units", "moved_changes"),
        *(f"picture.{m}" for m in ("foreground", "luminance", "sharpness", "similarity")),
        *(f"{part}.{m}" for part in LEGEND.parts for m in [*measures, "code"]),
        *(f"logit.{c}" for c in CLASSES),
    }
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert kinds["unit"] == kinds["sample"] == "int32" and kinds["step"] == kinds["top_class"] == "int16"
    assert kinds["class"] == "category" and kinds["rim.code"] == "int8"
    assert {kinds[c] for c in ("value", "encoded", "rim.area", "picture.similarity", "logit.disc")} == {
        "float32"
    }
    assert table.moved_units[0].dtype == np.int32 and table.moved_changes[0].dtype == np.float32
    n = SAMPLES * len(CLASSES)
    order = [(u, s, k) for u in UNITS for s in range(n) for k in range(STEPS)]
    assert list(zip(table.unit, table["sample"], table.step, strict=True)) == order
    assert sweep.units == UNITS and sweep.classes == CLASSES and sweep.legend == LEGEND and sweep.complete
    assert len(sweep) == len(table) == sweep.manifest["rows"] and sweep.finished_units == UNITS
    assert (table[table["rim.code"] == 1]["rim.area"].isna()).all()


def test_the_start_is_what_the_unchanged_samples_show(models, sweep):
    generator, classifier, link, segmenter = models
    samples = sweep.samples
    assert len(samples) == 9 and samples.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    x, labels = render_parts(generator, segmenter, link(samples.r))
    torch.testing.assert_close(sweep.start_pictures, x, atol=1e-6, rtol=0)
    start = sweep.start
    assert start["class"].astype(str).tolist() == [CLASSES[k] for k in samples.labels]
    np.testing.assert_allclose(start["picture.similarity"], 1, atol=1e-5)
    frame = measure_parts(x, labels, LEGEND).to_frame()
    for name in frame:
        np.testing.assert_allclose(start[name], frame[name], atol=1e-4, rtol=1e-3)
    logits = classifier.logits(x)
    np.testing.assert_allclose(start[[f"logit.{c}" for c in CLASSES]], logits, atol=1e-3)
    assert start.top_class.tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_rows_do_not_depend_on_the_batch_size(models, sweep, tmp_path, batch_size):
    other = sweep_units(
        *models,
        out=tmp_path / "b",
        units=UNITS,
        samples=SAMPLES,
        thumbnails=True,
        batch_size=batch_size,
        **QUIET,
    )
    assert torch.equal(other.samples.r, sweep.samples.r) and other.manifest["key"] == sweep.manifest["key"]
    assert_same(other.table(), sweep.table(), 0.97)


def test_only_what_is_asked_for_is_read(models, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 12)  # 4 pairs a file, so files cut units in two
    sweep = sweep_units(*models, out=tmp_path / "a", units=UNITS, samples=SAMPLES, **QUIET)
    whole = sweep.table()
    assert sweep.manifest["files"] == 7 and len(sweep) == len(whole) == 81
    some = sweep.table(["step", "unit", "rim.area"], units=[7, "unit 1"])
    expected = whole[whole.unit.isin([1, 7])][["step", "unit", "rim.area"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.reset_index(drop=True), expected)
    assert (
        list(sweep.table("class", units=4).columns) == ["class"] and len(sweep.table("class", units=4)) == 27
    )
    (tmp_path / "a" / "rows" / "00003.parquet").unlink()  # pairs 12 to 15, all of unit 4
    part = Sweep.open(tmp_path / "a")
    assert not part.complete and part.finished_units == (1, 7) and len(part) == 69 == len(part.table())
    assert "69 rows are there" in part.summary() and len(part.table(units=[4])) == 15
    (tmp_path / "a" / "rows" / "00006.parquet").unlink()  # the last one, shorter than the others
    assert len(Sweep.open(tmp_path / "a")) == 60 == len(Sweep.open(tmp_path / "a").table())
    with pytest.raises(LisError, match="no column 'rim.aera'. Did you mean 'rim.area'?"):
        sweep.table("rim.aera")
    with pytest.raises(LisError, match="no unit 2; it has 1, 4, 7"):
        sweep.table(units=[2])


def test_pictures_are_kept_or_rendered_again(models, sweep, tmp_path):
    generator, _, link, _ = models
    kept, again = sweep.pictures("unit 4", samples=[5, 0]), sweep.render(generator, link, 4, samples=[5, 0])
    assert kept.shape == again.shape == (2, STEPS, 1, 16, 16)
    assert (kept - again).abs().max() <= 0.5 / 255 + 1e-5 and not torch.equal(kept[0], kept[1])
    assert sweep.pictures(7).shape[0] == 9
    without = sweep_units(*models, out=tmp_path / "b", units=[4], samples=1, **QUIET)
    with pytest.raises(LisError, match="kept no pictures.*sweep.render"):
        without.pictures(4)
    assert "picture" not in without.columns and without.render(generator, link, 4).shape == (3, 3, 1, 16, 16)
    other = tiny_generator(seed=3)
    with pytest.raises(LisError, match="the generator given are not those of this sweep"):
        sweep.render(other, link, 4)
    assert torch.equal(sweep.pictures(4, samples=torch.tensor(5)), kept[:1])
    for samples in ([9], [-1], [0.5], 2.0):
        with pytest.raises(LisError, match="no sample .*0 to 8"):
            sweep.pictures(4, samples=samples)


def test_large_pictures_are_kept_with_little_loss():
    ramp = torch.linspace(0, 1, 80).expand(2, 3, 80, 80) * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    files = encode_pictures(ramp, "jpeg")
    assert (decode_pictures(files, (3, 80, 80)) - ramp).abs().max() < 0.05
    x = torch.randint(0, 256, (3, 3, 8, 8)).float() / 255
    torch.testing.assert_close(decode_pictures(encode_pictures(x, "png"), (3, 8, 8)), x)
    for wrong, shape in (([b"not a picture"], (3, 80, 80)), (files, (3, 80, 81))):
        with pytest.raises(CheckpointError, match="damaged|80 x 81|81 x 80"):
            decode_pictures(wrong, shape)


# ---------------------------------------------------------------------------------------------- other kinds of models


def test_whole_pictures_only(models, tmp_path):
    sweep = sweep_units(*models[:3], out=tmp_path / "a", units=[1], samples=2, **QUIET)
    table = sweep.table()
    assert sweep.legend is None and not any(c.endswith(".code") for c in table) and len(table) == 18
    x = sweep.render(*models[::2][:2], 1).flatten(0, 1)
    start = sweep.start_pictures.repeat_interleave(3, dim=0)
    for name, values in measure_pictures(x, None, start).items():
        np.testing.assert_allclose(table[f"picture.{name}"], values, atol=1e-4)


def test_an_encoder_without_a_head(tmp_path):
    generator = tiny_generator()
    body = nn.Sequential(tiny_classifier(generator).network.body, nn.AdaptiveAvgPool2d(1)).eval()
    encoder = Classifier(body, head=False, channels=1, size=(16, 16), mean=[0.5], std=[0.02], name="encoder")
    encoder.requires_grad_(False)
    link = fit_link(collect_pairs(generator, encoder, per_class=20, psi=1.0), penalty=0.01)
    sweep = sweep_units(generator, encoder, link, out=tmp_path / "a", units=[0, 2], samples=2, **QUIET)
    table = sweep.table()
    assert not any(c.startswith("logit.") for c in table) and (table.top_class == -1).all()
    assert sweep.classes == CLASSES and table.encoded.std() > 0
    given = sweep_units(generator, encoder, link, out=tmp_path / "b", units=[0], r=sweep.samples.r, **QUIET)
    assert given.classes == ("any",)


def test_colour_and_many_classes(tmp_path):
    generator = tiny_generator(img_channels=3)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(*body, nn.Linear(8, 120))
    names = [*CLASSES, *(f"other {k}" for k in range(117))]
    classifier = Classifier(
        network, names, channels=3, size=(16, 16), mean=[0.5] * 3, std=[0.1] * 3, name="many"
    )
    classifier.eval().requires_grad_(False)
    link = fit_link(collect_pairs(generator, classifier, per_class=20, keep="all"), penalty=0.01)
    sweep = sweep_units(
        generator, classifier, link, out=tmp_path / "a", units=[0], samples=2, classes=["ring", "disc"], keep="all",
        thumbnails=True, **QUIET,
    )  # fmt: skip
    table = sweep.table()
    assert [c for c in table if c.startswith("logit.")] == ["logit.disc", "logit.ring"]
    x = sweep.render(generator, link, 0).flatten(0, 1)
    logits = classifier.logits(x)
    np.testing.assert_allclose(table["logit.ring"], logits[:, 1], atol=1e-3)
    assert table.top_class.tolist() == logits.argmax(1).tolist()
    assert (
        table["class"].astype(str).tolist() == ["ring"] * 6 + ["disc"] * 6 and sweep.pictures(0).shape[2] == 3
    )


# ------------------------------------------------------------------------------------------------ samples and units


def test_samples_are_fresh_and_of_the_seed(models, sweep, tmp_path):
    generator, classifier, link, _ = models
    fitted = collect_pairs(generator, classifier, per_class=SAMPLES, psi=0.9, seed=0)
    assert not torch.isclose(sweep.samples.z[:, None], fitted.z[None]).all(2).any()
    fresh = collect_pairs(generator, classifier, per_class=SAMPLES, psi=0.9, seed=FRESH)
    assert torch.equal(fresh.r, sweep.samples.r) and sweep.samples.counts["disc"] == fresh.counts[0]
    other = sweep_units(*models, out=tmp_path / "b", units=[1], samples=SAMPLES, seed=5, **QUIET)
    assert not torch.equal(other.samples.r, sweep.samples.r)


def test_a_refused_class_is_told(models, tmp_path):
    generator, classifier, link, segmenter = models
    picky = copy.deepcopy(classifier)
    picky.network.head.bias[1] = -100.0
    link = copy.deepcopy(link)
    link.classifier_hash = None
    with pytest.raises(LisError, match=r"refuses too many pictures of 'ring': kept 0 of \d+ tried"):
        sweep_units(generator, picky, link, out=tmp_path / "a", samples=2, **QUIET)
    assert not (tmp_path / "a").exists()
    sweep = sweep_units(
        generator, picky, link, out=tmp_path / "a", units=[1], samples=2, allow_partial=True, **QUIET
    )
    assert sweep.classes == ("disc", "cross") and sweep.manifest["samples"]["counts"]["ring"][0] == 0
    assert "'ring' 0 of" in sweep.summary()


def test_activations_of_ones_own(models, tmp_path):
    _, classifier, link, _ = models
    r = torch.rand(4, link.num_units) * link.unit_max
    one = sweep_units(*models, out=tmp_path / "a", units=[1], r=r, progress=False)
    answers = [CLASSES[k] for k in classifier.head(r).argmax(1)]
    assert one.table()["class"].astype(str).tolist() == [c for c in answers for _ in range(3)]
    two = sweep_units(
        *models, out=tmp_path / "b", units=[1], r=r, classes=["mine", 2, "mine", "disc"], progress=False
    )
    assert two.classes == ("mine", "cross", "disc") and two.samples.labels.tolist() == [0, 1, 0, 2]
    np.testing.assert_array_equal(one.table()["rim.area"], two.table()["rim.area"])
    assert two.samples.z is None and torch.equal(two.samples.r, r)
    for wrong, message in (
        ({"r": r[:, 1:]}, r"shape \[4, 9\]; \[N, 10\]"),
        ({"r": r * math.nan}, "NaN"),
        ({"r": r.long()}, "int64"),
        ({"r": r[:0]}, "at least one row"),
        ({"r": r, "classes": ["disc"]}, "1 classes for 4 rows"),
        ({"r": r, "classes": [0, 1, 2, 3]}, "no class 3"),
    ):
        with pytest.raises(LisError, match=message):
            sweep_units(*models, out=tmp_path / "c", units=[1], progress=False, **wrong)
    assert not (tmp_path / "c").exists()


def test_constant_units_are_left_out_and_named(models, tmp_path, capsys):
    generator, classifier, link, segmenter = models
    pairs = collect_pairs(generator, classifier, per_class=20, psi=0.9, seed=1)
    r = pairs.r.clone()
    r[:, [2, 5]] = 0.25
    link = fit_link((r, pairs.w), penalty=0.01)
    assert link.constant_units == (2, 5)
    sweep = sweep_units(generator, classifier, link, out=tmp_path / "a", samples=1, moved=20, psi=0.9)
    assert sweep.units == (0, 1, 3, 4, 6, 7, 8, 9) and sweep.manifest["skipped_units"] == [2, 5]
    assert "units 2, 5" in sweep.summary() and "Left out" in capsys.readouterr().err
    moved = np.concatenate(sweep.table().moved_units.tolist())
    assert set(moved) == set(sweep.units)  # never one that has no spread to measure a change by
    with pytest.raises(LisError, match="units 2, 5 were constant.*0 to 1, 3 to 4, 6 to 9"):
        sweep_units(generator, classifier, link, out=tmp_path / "b", units=[5, "unit 2"], **QUIET)


@pytest.mark.parametrize(
    "units",
    [4, "unit 4", [4, 4], range(4, 5), torch.tensor(4), torch.tensor([4]), np.int64(4), np.array(["4"])],
)
def test_units_in_any_form(models, sweep, tmp_path, units):
    one = sweep_units(*models[:3], out=tmp_path / "a", units=units, samples=1, **QUIET)
    assert one.units == (4,) and len(sweep.table("step", units=units)) == 27


def test_what_cannot_be_done_is_said_before_anything_is_made(models, tmp_path):
    generator, classifier, link, segmenter = models
    for wrong, message in (
        ({"units": [10]}, "no unit 10"),
        ({"units": []}, "list of units is empty"),
        ({"steps": 0}, "steps is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"moved": 0}, "moved is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"psi": math.nan}, "psi is nan"),
        ({"classes": ["dics"]}, "Did you mean 'disc'"),
        ({"precision": "bfloat"}, "precision is 'bfloat'; one of float32, bfloat16"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"directions": torch.ones(3, 3)}, r"directions are \[3, 3\]"),
        ({"keep": "some"}, "keep is 'some'"),
        ({"executor": "dask"}, "executor is of type str; a synchronous distributed.Client"),
    ):
        with pytest.raises(LisError, match=message):
            sweep_units(*models, **{"out": tmp_path / "a", "units": [1], "samples": 1, **QUIET, **wrong})
        assert not (tmp_path / "a").exists(), wrong
    other = tiny_generator(seed=1)
    with pytest.raises(LisError, match="the link does not belong to these models"):
        sweep_units(other, classifier, link, out=tmp_path / "b")
    with pytest.raises(LisError, match="training mode"):
        sweep_units(generator, classifier, link, copy.deepcopy(segmenter).train(), out=tmp_path / "b")
    free = copy.deepcopy(link)
    free.generator_hash = None
    with pytest.raises(LisError, match="segmenter 'tiny segmenter' was trained on"):
        sweep_units(other, classifier, free, segmenter, out=tmp_path / "b")
    ill = copy.deepcopy(classifier)
    ill.network.head.bias[0] = math.nan
    free.classifier_hash, free.generator_hash = None, None
    with pytest.raises(LisError, match="gives NaN"):
        sweep_units(generator, ill, free, segmenter, out=tmp_path / "b")
    twice = copy.deepcopy(segmenter)  # a part called "picture" would have columns of the whole picture
    twice.legend = type(LEGEND)(("background", "spoke", "picture", "x"))
    with pytest.raises(LisError, match="a part is called"):
        sweep_units(generator, classifier, link, twice, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_batches_are_bounded_by_what_the_models_hold(models):
    generator, classifier = models[:2]
    assert rows_at_a_time(generator, classifier, "float32") == 256
    large = Classifier(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), "ab", size=(448, 448), mean=[0.5] * 3,
        std=[1.0] * 3,
    )  # fmt: skip
    assert rows_at_a_time(generator, large, "float32") == 2**25 // (3 * 448 * 448) == 55
    halves = [rows_at_a_time(tiny_generator(resolution=256, channel_base=2**17, channel_max=2048), classifier, p)
              for p in ("float32", "bfloat16")]  # fmt: skip
    assert 1 <= halves[0] < 100 and abs(halves[1] - 2 * halves[0]) <= 1


def test_precision_is_passed_on_and_gradients_come_back(models, tmp_path):
    exact = sweep_units(*models[:3], out=tmp_path / "a", units=[1], samples=2, **QUIET).table()
    rough = sweep_units(
        *models[:3], out=tmp_path / "b", units=[1], samples=2, precision="bfloat16", **QUIET
    ).table()
    difference = (exact["picture.luminance"] - rough["picture.luminance"]).abs().max()
    assert 0 < difference < 0.02 and torch.is_grad_enabled()
    w = torch.zeros(1, 12, requires_grad=True)  # what the sweep left in the generator does not stop gradients
    models[0].render(w).sum().backward()
    assert w.grad.abs().sum() > 0


# --------------------------------------------------------------------------------------------------- plan and command


def test_a_plan_writes_nothing_and_says_what_it_takes(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = plan_sweep(*models, samples=50, psi=0.9, thumbnails=True)
    assert (plan.rows, plan.missing, plan.files) == (10 * 150 * 3, 4500, 18) and plan.seconds > 0
    assert "10 units x 150 samples x 3 steps = 4,500 rows in 18 files, about" in str(plan)
    assert list(tmp_path.iterdir()) == []
    sweep = sweep_units(*models, out="a", samples=50, psi=0.9, thumbnails=True)
    told = capsys.readouterr().err
    assert "4,500 rows in 18 files, about" in told and "row/s" in told
    there = sum(path.stat().st_size for path in (tmp_path / "a" / "rows").iterdir())
    assert 0.5 < plan.bytes / there < 2 and sweep.complete
    given = plan_sweep(*models, units=[1, 2], r=sweep.samples.r[:5])
    assert (given.rows, given.files) == (30, 1)
    large = plan_sweep(*models, samples=20_000, psi=0.9)
    assert (large.rows, large.files) == (1_800_000, 440)  # of 1,365 pairs
    with pytest.raises(LisError, match="no unit 99"):
        plan_sweep(*models, units=99)


def test_lis_sweep(tmp_path, capsys):
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    save_generator(generator, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    classifier.metadata |= {
        "architecture": "plain",
        "config": {"num_classes": 3, "stem": 6, "stages": ((8, 1), (10, 1))},
    }
    save_classifier(classifier, tmp_path / "c.safetensors")
    fit_link(collect_pairs(loaded, classifier, per_class=20, keep="all"), penalty=0.01).save(
        tmp_path / "l.safetensors"
    )
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert all(action.help for action in parser._actions)
    models = ["--generator", f"{tmp_path}/g.safetensors", "--classifier", f"{tmp_path}/c.safetensors"]
    common = [
        *models,
        "--link",
        f"{tmp_path}/l.safetensors",
        "--out",
        f"{tmp_path}/out",
        "--units",
        "1-2",
        "4",
    ]
    common += ["--samples", "1", "--psi", "0", "--classes", "disc"]
    run_sweep_command(parser.parse_args([*common, "--plan"]))
    assert (
        "3 units x 1 samples x 3 steps = 9 rows" in capsys.readouterr().out
        and not (tmp_path / "out").exists()
    )
    try:
        run_sweep_command(parser.parse_args(common))
    except (
        LisError
    ) as error:  # the loaded generator has another contrast, and the classifier may refuse its pictures
        assert "refuses" in str(error)
    else:
        assert "9 rows" in capsys.readouterr().out and Sweep.open(tmp_path / "out").units == (1, 2, 4)
    assert parse_units(["3", "10-12"]) == [3, 10, 11, 12]
    for wrong in ("a", "3-", "5-4", "-3"):
        with pytest.raises(LisError, match="such as 3 17 40-63"):
            parse_units([wrong])
    assert Link.load(tmp_path / "l.safetensors").num_units == 10
