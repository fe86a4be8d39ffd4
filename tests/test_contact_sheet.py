"""The contact sheet without a browser: one message, what a pick opens, what is told where it cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, convert_range, fit_link, tune_unit
from lis_toolkit.directions import companion_directions
from lis_toolkit.selectivity import rank_units, score_selectivity
from lis_toolkit.sheet_cells import walk_cells
from lis_toolkit.sweep import sweep_units
from lis_widgets import ContactSheet, UnitExplorer
from lis_widgets.contact_sheet import PictureGrid
from tiny import tiny_classifier, tiny_generator
from tiny_sweep import tiny_models


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    link = fit_link(pairs, penalty=0.01)
    walks = [tune_unit(generator, classifier, link, pairs.r[:3], unit, steps=4) for unit in (2, 5)]
    return generator, classifier, link, pairs, walks


@pytest.fixture
def explorer(world):
    explorer = UnitExplorer(*world[:3], companions=companion_directions(world[3]))
    yield explorer
    explorer.close()


def rgb(x):
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def pick(sheet, row, column):
    sheet.grid._handle_custom_msg({"kind": "pick", "row": row, "column": column}, [])


def test_all_pictures_go_out_in_the_first_message(world):
    walks = world[4]
    grid = PictureGrid(walk_cells(walks, world[1], sample=1), "some units")
    pictures = np.frombuffer(grid.rgb, np.uint8).reshape(*grid.shape, 3)
    for row, walk in zip(grid.rows, walks, strict=True):
        assert row["title"] == f"unit {walk.unit}" and row["notes"][0].startswith("for ")
        for step, cell in enumerate(row["cells"]):
            np.testing.assert_array_equal(pictures[cell["place"]], rgb(walk.images[1, step]))
            assert cell["description"].startswith(f"unit {walk.unit} set ")
    assert [sum(cell["start"] for cell in row["cells"]) for row in grid.rows] == [1, 1]
    assert set(grid.get_state()) >= {"rgb", "shape", "rows", "label", "picked"}


@torch.no_grad()
def test_a_pick_opens_start_unit_and_value_in_the_explorer(world, explorer):
    generator, classifier, link, pairs, walks = world
    sheet = ContactSheet(walks, classifier, explorer, sample=2)
    sent = []
    sheet.grid.send = lambda content, buffers=None: sent.append(content)
    pick(sheet, 1, 2)
    assert sheet.message.kind == "note", sheet.message.text
    value = float(walks[1].values[2])
    assert explorer.unit == 5 and explorer.values == {5: pytest.approx(value)}
    np.testing.assert_allclose(explorer.state.tuned, walks[1].images[2, 2], atol=1e-4)
    np.testing.assert_allclose(explorer.state.start, walks[1].start[2], atol=1e-4)
    assert (
        explorer.setting.r == pytest.approx(pairs.r[2].tolist())
        and explorer.setting.r_name == "row 2 of the sheet"
    )
    assert sheet.grid.picked == [1, 2]
    (message,) = sent
    assert message["kind"] == "reveal" and message["where"] in explorer._dom_classes


@torch.no_grad()
def test_walks_with_companions_open_with_companions(world, explorer):
    generator, classifier, link, pairs, _ = world
    directions = companion_directions(pairs)
    walk = tune_unit(generator, classifier, link, pairs.r[0], 2, steps=3, directions=directions)
    sheet = ContactSheet(walk, classifier, explorer)
    sheet.pick(0, 2)
    assert explorer.setting.companions
    np.testing.assert_allclose(explorer.state.tuned, walk.images[0, 2], atol=1e-4)
    without = UnitExplorer(generator, classifier, link)
    sheet = ContactSheet(walk, classifier, without)
    before = without.setting
    sheet.pick(0, 2)
    assert sheet.message.kind == "error" and "companion_directions" in sheet.message.text
    assert without.setting == before
    without.close()


def test_without_an_explorer_the_picture_is_shown_beside(world):
    sheet = ContactSheet(world[4], world[1])
    picks = []
    sheet.on_pick(lambda row, column: picks.append((row, column)))
    origin = sheet.sheet.origin(0)
    other = (origin + 1) % 4
    pick(sheet, 0, other)
    assert picks == [(0, other)] and sheet.picture.shape[0] == 2
    np.testing.assert_array_equal(sheet.picture.panels[0], sheet.sheet.picture(0, origin))
    np.testing.assert_array_equal(sheet.picture.panels[1], sheet.sheet.picture(0, other))
    assert sheet.picture.captions[1].startswith("unit 2, set ")
    pick(sheet, 0, origin)
    assert sheet.picture.shape[0] == 1


@torch.no_grad()
def test_the_top_units_of_a_ranking_open_where_they_were_measured(tmp_path):
    models = tiny_models()
    sweep = sweep_units(*models, out=tmp_path / "tiny", samples=6, psi=0.9, thumbnails=True, progress=False)
    scores = score_selectivity(sweep, measure=["area"], resamples=20, min_samples=2)
    generator, classifier, link, segmenter = models
    explorer = UnitExplorer(generator, classifier, link)
    given = {"generator": generator, "link": link, "segmenter": segmenter}
    sheet = ContactSheet.from_ranking(sweep, scores, "rim", **given, explorer=explorer, top=3)
    top = rank_units(scores, "rim", "area").unit.head(3).tolist()
    assert [row.unit for row in sheet.sheet.rows] == top
    steps = len(sheet.sheet.rows[0].cells) - 1
    for row, line in enumerate(sheet.sheet.rows):
        assert "median" in " ".join(line.notes) or "mean" in " ".join(line.notes)
        sheet.pick(row, steps)
        assert explorer.unit == line.unit and sheet.message.kind == "note", sheet.message.text
        made = tune_unit(generator, classifier, link, line.r, line.unit, steps=steps)
        np.testing.assert_allclose(explorer.state.tuned, made.images[0, -1], atol=1e-4)
        sheet.pick(row, 0)
        assert explorer.values == {} and explorer.unit == line.unit
        np.testing.assert_allclose(explorer.state.tuned, explorer.state.start, atol=1e-6)
    kept = ContactSheet.from_ranking(sweep, scores, "rim", top=2)  # the sweep's thumbnails, without outlines
    assert kept.sheet.pictures.shape[1:3] == (16, 16) and torch.equal(
        kept.sheet.rows[0].r, sheet.sheet.rows[0].r
    )
    assert kept.title == "rim: area, classes pooled"
    explorer.close()


def test_errors_are_told_and_gone_after_the_next_good_pick(world, explorer):
    sheet = ContactSheet([replace(world[4][0], given=None)], world[1], explorer)
    pick(sheet, 0, 1)
    assert sheet.message.kind == "error" and "tune_unit" in sheet.message.text
    sheet = ContactSheet(world[4], world[1])

    def broken(row, column):
        raise RuntimeError("no <b>more</b>")

    sheet.on_pick(broken)
    sheet.pick(0, 0)
    assert sheet.message.text == "RuntimeError: no <b>more</b>" and "<b>" not in sheet.message.value
    sheet._react.clear()
    sheet.pick(0, 1)
    assert sheet.message.text == ""
    sheet.pick(7, 0)
    assert "no row 7" in sheet.message.text


def test_only_messages_of_its_own_are_taken(world):
    sheet = ContactSheet(world[4], world[1])
    picks = []
    sheet.on_pick(lambda row, column: picks.append((row, column)))
    for content in (None, [], {"kind": "pick"}, {"kind": "pick", "row": 0}, {"kind": "pick", "row": 0, "column": 9},
                    {"kind": "pick", "row": "0", "column": 0}, {"kind": "pick", "row": -1, "column": 0}):  # fmt: skip
        sheet.grid._receive(sheet.grid, content, [])
    assert picks == [] and sheet.grid.picked == [] and sheet.message.text == ""


def test_what_is_no_walk_is_refused(world):
    with pytest.raises(LisError, match="Tensor"):
        ContactSheet([torch.zeros(3)])
    with pytest.raises(LisError, match="no unit walks"):
        ContactSheet([])
    with pytest.raises(LisError, match="sample 5"):
        ContactSheet(world[4], sample=5)


def test_pages_without_a_kernel_show_the_pictures(world):
    text = ContactSheet(world[4], world[1], title="two < three").static_view()
    assert text.count("<img") == 8 and "two &lt; three" in text and "unit 5" in text
