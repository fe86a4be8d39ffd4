"""Contact sheets of tuned units: the pictures are those of the models, the numbers those of the tables."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit.directions import companion_directions
from lis_toolkit.errors import LisError
from lis_toolkit.parts.measures import measure_parts
from lis_toolkit.parts.pictures import draw_outlines
from lis_toolkit.rankings.sheets import (
    kept_rows,
    ranking_sheet,
    score_lines,
    typical_samples,
)
from lis_toolkit.rankings.texts import amount, change_label, change_text
from lis_toolkit.rankings.tuned_sheets import TunedRow, tune_parts, tuned_sheet
from lis_toolkit.selectivity import part_occurrence, score_selectivity, unit_changes
from lis_toolkit.sweep import sweep_units
from lis_toolkit.units import tune_unit
from tiny_sweep import LEGEND, tiny_models


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def given(models):
    generator, _, link, segmenter = models
    return {"generator": generator, "link": link, "segmenter": segmenter}


@pytest.fixture(scope="module")
def sweep(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "tiny"
    return sweep_units(*models, out=folder, samples=6, psi=0.9, thumbnails=True, progress=False)


@pytest.fixture(scope="module")
def scores(sweep):
    return score_selectivity(sweep, measure=["area", "luminance", "foreground"], resamples=50, min_samples=2)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def pixels(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB")).astype(int)


def place_of(sheet, block):
    """Upper left corners at which `block` [h, w, 3] stands on the sheet, but for rounding."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], block.shape[:2])
    corners = np.argwhere(np.abs(windows[:, :, ::9, ::9] - block[None, None, ::9, ::9, 0]).max((2, 3)) <= 1)
    high, wide = block.shape[:2]
    return [(y, x) for y, x in corners if np.abs(sheet[y : y + high, x : x + wide] - block).max() <= 1]


@pytest.mark.parametrize("companions", [False, True])
def test_rows_show_what_tune_unit_renders(models, given, sweep, companions):
    generator, classifier, link, _ = models
    r = sweep.samples.r
    directions = companion_directions(r) if companions else None
    units = list(sweep.units[:2])
    rows = tune_parts(**given, r=r[3], units=units, part="rim", steps=4, directions=directions)
    for row, unit in zip(rows, units, strict=True):
        walk = tune_unit(generator, classifier, link, r[3], unit, steps=4, directions=directions)
        assert row.unit == unit and row.values == pytest.approx(walk.values.tolist())
        assert torch.allclose(row.x, torch.cat([walk.start, walk.images[0]]), atol=1e-5)
        measured = measure_parts(row.x, row.labels, LEGEND)
        assert row.amounts == pytest.approx(measured["area"][:, 0].tolist(), nan_ok=True)
        assert row.absent == (measured.codes[:, 0] == 1).tolist()


def test_each_unit_may_have_a_sample_of_its_own(given, sweep):
    r = sweep.samples.r
    both = tune_parts(**given, r=r[[4, 7]], units=[sweep.units[0]] * 2, part="hub")
    for row, sample in zip(both, (4, 7), strict=True):
        (alone,) = tune_parts(**given, r=r[sample], units=[sweep.units[0]], part="hub")
        assert torch.allclose(row.x, alone.x, atol=1e-5)


def test_a_sheet_has_the_start_and_every_step_with_its_numbers(given, sweep):
    row = tune_parts(**given, r=sweep.samples.r[3], units=[sweep.units[1]], part="rim")[0]
    figure = tuned_sheet([row], LEGEND, "rim", title="rims", outline="all")
    sheet = pixels(figure)
    drawn = draw_outlines(row.x, row.labels, LEGEND, 128 // 16).astype(int)
    columns = [min(x for _, x in place_of(sheet, picture)) for picture in drawn]
    assert columns[0] < columns[2] < columns[3]
    written = texts(figure)
    assert {"rims", f"unit {row.unit}", "start"} <= set(written)
    for value, size, gone in zip(row.values, row.amounts[1:], row.absent[1:], strict=True):
        assert f"set {value:.3g}" in written
        assert ("absent" if gone else amount("area", size)) in written
    assert change_text("area", row.amounts[1], row.amounts[-1], row.absent[-1]) in written
    # The frame marks the start alone.
    assert len(figure.axes[0].patches) == 1


def test_only_the_part_is_outlined_unless_all_are_asked_for(given, sweep):
    (row,) = tune_parts(**given, r=sweep.samples.r[0], units=[sweep.units[0]], part="hub")
    colours = {name: LEGEND.rgb[LEGEND.names.index(name)] for name in LEGEND.parts}

    def seen(figure):
        sheet = pixels(figure)
        return {name for name, colour in colours.items() if (np.abs(sheet - colour).max(-1) <= 1).sum() > 20}

    there = {LEGEND.names[k] for k in row.labels.unique().tolist()} - {"background"}
    assert "hub" in there and len(there) > 1
    blank = TunedRow(row.unit, row.values, torch.zeros_like(row.x), row.labels, row.amounts, row.absent)
    frame = {"rim"} if tuple(colours["rim"]) == (0, 114, 178) else set()  # the start's frame has that colour
    assert seen(tuned_sheet([blank], LEGEND, "hub")) - frame == {"hub"}
    assert seen(tuned_sheet([blank], LEGEND, "hub", outline="all")) - frame == there - frame
    assert seen(tuned_sheet([blank], LEGEND, "hub", outline="none")) - frame == set()


def test_typical_samples_are_quantiles_of_the_changes(sweep):
    unit = sweep.units[0]
    changes = unit_changes(sweep, "rim", "area", units=[unit]).to_frame().dropna()
    middle = typical_samples(sweep, unit, "rim", "area")
    values = np.sort(changes.change.to_numpy())
    assert middle.change.iloc[0] == values[len(values) // 2]
    three = typical_samples(sweep, unit, "rim", "area", count=3)
    assert three.change.is_monotonic_increasing and len(set(three["sample"])) == 3
    assert three.change.iloc[0] == values[len(values) // 6]
    ring = typical_samples(sweep, unit, "rim", "area", "ring", count=100)
    assert set(ring["class"]) == {"ring"} and len(ring) == (changes["class"] == "ring").sum()


def test_the_ranking_sheet_shows_the_top_units_with_their_scores(sweep, scores, given):
    figure = ranking_sheet(sweep, scores, "rim", "area", top=3, **given)
    rows = scores[(scores.part == "rim") & (scores.measure == "area") & (scores["class"] == "all")]
    top = rows.assign(size=rows.effect.abs()).nlargest(3, "size")
    written = texts(figure)
    assert [text for text in written if text.startswith("unit ")] == [f"unit {unit}" for unit in top.unit]
    for row in top.to_dict("records"):
        assert set(score_lines(row, "area")) <= set(written)
        having = scores.attrs["lis"]["pooled"]["rim"]
        sample = typical_samples(sweep, row["unit"], "rim", "area", having).iloc[0]
        assert f"{sample['class']}, sample {sample['sample']}" in written
        shown = sweep.table(["unit", "sample", "step", "rim.area"], units=[row["unit"]])
        shown = shown[shown["sample"] == sample["sample"]].sort_values("step")["rim.area"]
        assert {"absent" if np.isnan(v) else amount("area", v) for v in shown} <= set(written)


def test_without_models_the_kept_pictures_are_shown(sweep, scores, given):
    unit = sweep.units[0]
    (kept,) = kept_rows(sweep, [unit], [4], "rim")
    (made,) = tune_parts(**given, r=sweep.samples.r[4], units=[unit], part="rim")
    assert (kept.x - made.x).abs().max() <= 0.51 / 255
    assert kept.amounts == pytest.approx(made.amounts, nan_ok=True, abs=1e-6)
    assert kept.absent == made.absent and kept.values == pytest.approx(made.values)
    assert len(texts(ranking_sheet(sweep, scores, "rim", "area", units=[unit]))) > 8


def test_the_whole_picture_has_sheets_too(sweep, scores, given):
    written = texts(ranking_sheet(sweep, scores, "picture", "foreground", top=2, **given))
    assert written[0] == "picture: foreground, classes pooled"
    assert any("→" in text and text.endswith("%)") for text in written)


def test_several_samples_of_a_unit(sweep, scores, given):
    unit = sweep.units[0]
    written = texts(ranking_sheet(sweep, scores, "rim", units=[unit], samples=3, **given))
    assert written.count(f"unit {unit}") == 3 and len({t for t in written if ", sample " in t}) == 3


def test_samples_are_of_the_classes_that_were_scored(sweep, given):
    scores = score_selectivity(sweep, "rim", "area", ["cross", "disc"], resamples=10, min_samples=2)
    written = texts(ranking_sheet(sweep, scores, "rim", top=2, samples=40, **given))
    shown = {text.split(",")[0] for text in written if ", sample " in text}
    assert shown and shown <= {"cross", "disc"}


def test_pooled_samples_are_of_classes_that_have_the_part(sweep, given, monkeypatch):
    start = sweep.start
    shares = part_occurrence(sweep, "spoke")
    for name in sweep.classes:
        codes = start[start["class"] == name]["spoke.code"].tolist()
        assert shares[name] == pytest.approx(sum(code != 1 for code in codes) / len(codes))
    monkeypatch.setattr(
        "lis_toolkit.selectivity.score.occurrences",
        lambda ends, parts: dict.fromkeys(parts, {"disc": 0.4, "ring": 0.5, "cross": 0.0}),
    )
    scores = score_selectivity(sweep, "rim", "area", resamples=10, min_samples=2)
    written = texts(ranking_sheet(sweep, scores, "rim", top=2, samples=40, **given))
    assert {text.split(",")[0] for text in written if ", sample " in text} == {"ring"}


def test_a_long_sheet_is_cut_and_says_so(given, sweep):
    (row,) = tune_parts(**given, r=sweep.samples.r[0], units=[sweep.units[0]], part="hub")
    figure = tuned_sheet([row] * 100, LEGEND, "hub", title="hubs")
    assert texts(figure)[0] == "hubs (the first 40 of 100 rows)"
    assert figure.get_size_inches()[1] < 80


def test_texts_of_a_sheet_do_not_cover_each_other(sweep, scores, given):
    units = list(sweep.units[:3])
    figure = ranking_sheet(
        sweep, scores, "rim", units=units, title="a title of more letters than usual, by far", **given
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[number + 1 :])
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_how_amounts_and_changes_are_written():
    assert change_text("area", 0.1, 0.15) == "10.0 % → 15.0 % (+50 %)"
    assert change_text("area", 0.1, float("nan"), vanished=True) == "10.0 % → absent"
    assert change_text("entropy", 1.25, 1.5) == "1.25 → 1.5"
    assert amount("area", -0.034, signed=True) == "-3.4 %" and amount("area_relative", 2.5, True) == "+250 %"
    assert amount("angle", float("nan")) == "–"
    assert change_label("perimeter").endswith("(pixels)") and "share of the first" in change_label(
        "area_relative"
    )


def test_what_does_not_fit_is_said(models, given, sweep, scores):
    generator, _, link, segmenter = models
    r = sweep.samples.r
    with pytest.raises(LisError, match="no part 'rimm'; it has rim, hub, spoke.*Did you mean 'rim'"):
        tune_parts(**given, r=r[0], units=[sweep.units[0]], part="rimm")
    with pytest.raises(LisError, match="no measure 'aera'.*Did you mean 'area'"):
        tune_parts(**given, r=r[0], units=[sweep.units[0]], part="rim", measure="aera")
    with pytest.raises(LisError, match=r"r has shape \[2, 10\] for 1 units"):
        tune_parts(**given, r=r[:2], units=[sweep.units[0]], part="rim")
    with pytest.raises(LisError, match="no rows; make some with tune_parts"):
        tuned_sheet([], LEGEND, "rim")
    with pytest.raises(LisError, match="'part', 'all' or 'none'"):
        tuned_sheet(
            tune_parts(**given, r=r[0], units=[sweep.units[0]], part="rim"), LEGEND, "rim", outline="red"
        )
    with pytest.raises(LisError, match="no class 'rings'.*Did you mean 'ring'"):
        typical_samples(sweep, sweep.units[0], "rim", "area", "rings")
    with pytest.raises(LisError, match="its link and segmenter is needed"):
        ranking_sheet(sweep, scores, "rim", generator=generator)
    other = tiny_models(seed=5)[0]
    with pytest.raises(LisError, match="generator 'tiny' given is not that of the sweep"):
        ranking_sheet(sweep, scores, "rim", generator=other, link=link, segmenter=segmenter)
    with pytest.raises(LisError, match="no measure 'entropy'"):
        ranking_sheet(sweep, scores, "rim", "entropy", **given)
