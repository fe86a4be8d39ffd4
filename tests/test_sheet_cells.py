"""Contact sheets as data: pictures in their places, values, frames, and the starts to go on from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, convert_range, fit_link, tune_unit
from lis_toolkit.directions import companion_directions
from lis_toolkit.parts.legend import Legend
from lis_toolkit.rankings.tuned_sheets import TunedRow
from lis_toolkit.sheet_cells import tuned_cells, walk_cells
from tiny import tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def walks(models):
    generator, classifier, link, pairs = models
    return [tune_unit(generator, classifier, link, pairs.r[:3], unit, steps=4) for unit in (2, 5)]


def rgb(x):
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def test_pictures_stand_in_their_places(models, walks):
    sheet = walk_cells(walks, models[1], sample=1)
    assert sheet.pictures.shape == (8, 16, 16, 3) and sheet.pictures.dtype == np.uint8
    for row, walk in enumerate(walks):
        assert sheet.rows[row].unit == walk.unit
        for column in range(4):
            np.testing.assert_array_equal(sheet.picture(row, column), rgb(walk.images[1, column]))
            assert sheet.rows[row].cells[column].value == pytest.approx(float(walk.values[column]))


def test_a_row_says_where_it_starts(models, walks):
    pairs = models[3]
    sheet = walk_cells(walks, models[1], sample=2)
    for row, walk in zip(sheet.rows, walks, strict=True):
        assert torch.equal(row.r, pairs.r[2]) and not row.companions
        own = float(pairs.r[2, walk.unit])
        nearest = min(range(4), key=lambda step: abs(float(walk.values[step]) - own))
        assert [cell.start for cell in row.cells] == [step == nearest for step in range(4)]
        assert f"{own:.3g}" in row.cells[nearest].description
    assert sheet.origin(0) == [cell.start for cell in sheet.rows[0].cells].index(True)


def test_companions_are_said(models):
    generator, classifier, link, pairs = models
    walk = tune_unit(generator, classifier, link, pairs.r[0], 2, directions=companion_directions(pairs))
    assert walk.companions and walk_cells([walk]).rows[0].companions


def test_texts_name_the_class_seen_and_the_votes(models, walks):
    classifier = models[1]
    sheet = walk_cells(walks, classifier, captions=["first\nsecond", "third"])
    seen = walks[0].logits[0].softmax(1)
    best = seen.argmax(1)
    for step, cell in enumerate(sheet.rows[0].cells):
        assert cell.below == f"{classifier.classes[best[step]]} {float(seen[step, best[step]]):.0%}"
        assert cell.above.startswith(f"set {float(walks[0].values[step]):.3g}, reads ")
        assert cell.changed == bool(best[step] != best[0])
        assert cell.below in cell.description
    weights = classifier.head(torch.eye(classifier.num_units)) - classifier.head(
        torch.zeros(1, classifier.num_units)
    )
    assert f"for {classifier.classes[int(weights[2].argmax())]}" in sheet.rows[0].notes[0]
    assert sheet.rows[0].notes[2:] == ("first", "second") and sheet.rows[1].notes[2:] == ("third",)
    plain = walk_cells(walks)
    assert plain.rows[0].notes == () and "class" in plain.rows[0].cells[0].below


def test_an_encoder_has_no_classes_below_its_pictures(walks):
    blind = [replace(walk, logits=walk.logits[..., :0]) for walk in walks]
    assert all(cell.below == "" for row in walk_cells(blind).rows for cell in row.cells)


def test_an_old_walk_without_its_start_has_no_frame(walks):
    sheet = walk_cells([replace(walks[0], given=None)])
    assert sheet.origin(0) is None and sheet.rows[0].r is None


def tuned(unit=3, count=3, side=16, r=None):
    generator = torch.Generator().manual_seed(unit)
    labels = torch.zeros(count, side, side, dtype=torch.uint8)
    labels[:, 4:9, 4:9] = 1
    labels[:, 10:, 10:] = 2
    return TunedRow(
        unit, [0.0, 1.0][: count - 1], torch.rand(count, 1, side, side, generator=generator), labels,
        [0.1, 0.1, 0.2][:count], [False] * count, ("sample 4",), r,
    )  # fmt: skip


LEGEND = Legend(("background", "sleeve", "collar"))


def test_rows_of_a_ranking_start_with_the_picture_as_it_was():
    row = tuned(r=torch.arange(10.0))
    sheet = tuned_cells([row, replace(tuned(4), absent=[False, False, True])], None, "sleeve")
    assert [cell.value for cell in sheet.rows[0].cells] == [None, 0.0, 1.0]
    assert [cell.start for cell in sheet.rows[0].cells] == [True, False, False]
    assert [cell.below for cell in sheet.rows[0].cells] == ["10.0 %", "10.0 %", "20.0 %"]
    assert sheet.rows[1].cells[2].below == "absent"
    assert sheet.rows[0].notes == ("10.0 % → 20.0 % (+100 %)", "sample 4")
    assert torch.equal(sheet.rows[0].r, torch.arange(10.0)) and sheet.rows[1].r is None
    np.testing.assert_array_equal(sheet.picture(0, 2), rgb(row.x[2]))


def test_outlines_are_those_of_the_part_that_was_asked_for():
    row = tuned()
    plain = tuned_cells([row], LEGEND, "sleeve", outline="none").pictures
    assert plain.shape[1:3] == (16, 16)
    drawn = tuned_cells([row], LEGEND, "sleeve").pictures  # enlarged 8 times
    everything = tuned_cells([row], LEGEND, "sleeve", outline="all").pictures
    assert drawn.shape[1:3] == everything.shape[1:3] == (128, 128)
    enlarged = plain.repeat(8, 1).repeat(8, 2)
    changed = (drawn != enlarged).any(-1)
    part = (row.labels == 1).numpy().repeat(8, 1).repeat(8, 2)
    assert changed.any() and not (changed & ~part).any(), "inside the part, and nowhere else"
    assert ((everything != enlarged).any(-1) & (row.labels == 2).numpy().repeat(8, 1).repeat(8, 2)).any()


def test_what_does_not_fit_is_refused(models, walks):
    with pytest.raises(LisError, match="no unit walks"):
        walk_cells([])
    with pytest.raises(LisError, match="no rows"):
        tuned_cells([])
    with pytest.raises(LisError, match="1 captions for 2 walks"):
        walk_cells(walks, captions=["one"])
    with pytest.raises(LisError, match="sample 3 does not exist"):
        walk_cells(walks, sample=3)
    with pytest.raises(LisError, match="several sizes"):
        tuned_cells([tuned(), tuned(side=32)])
    with pytest.raises(LisError, match="outline is 'some'"):
        tuned_cells([tuned()], LEGEND, "sleeve", outline="some")
    sheet = walk_cells(walks)
    with pytest.raises(LisError, match="no row 2"):
        sheet.picture(2, 0)
    with pytest.raises(LisError, match="row 1 has no column 4"):
        sheet.picture(1, 4)
