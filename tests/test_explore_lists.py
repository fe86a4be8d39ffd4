"""Lists of units, walks, and the files that states are saved to."""

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit import LisError, UnitSession, UnitSetting, collect_pairs, fit_link, rank_units
from lis_toolkit.explore import matching_rows, save_gif, save_state_png, state_image, unit_rows, walk_frames
from lis_toolkit.explore.frames import GAP, _font, _lines
from rankings import CLASSES as RANKED_CLASSES
from rankings import PARTS, synthetic_ranking
from tiny import tiny_classifier, tiny_generator
from tiny_segmenter import tiny_segmenter


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def session(models):
    generator = models[0]
    layers = generator.synthesis.layer_names[1:3]
    maps = generator.render_features(generator.map(generator.sample_z(8, 1), [0] * 8), layers)[1]
    return UnitSession(*models, segmenter=tiny_segmenter(maps, layers, generator_hash=generator.hash))


@pytest.fixture(scope="module")
def scores():
    return synthetic_ranking(units=10)


def test_by_spread_the_widest_first(models, session):
    rows = unit_rows(session)
    assert [row.unit for row in rows] == session.units
    for row in rows:
        assert row.text == f"unit {row.unit}" and row.kind == "histogram" and row.mark is None
        assert row.detail == f"spread {session.spread(row.unit):.2g}"
        values = models[3].r[:, row.unit].numpy()
        counts = np.histogram(values[values != 0], bins=16, range=(values.min(), values.max()))[0]
        np.testing.assert_allclose(row.spark, counts / counts.max(), atol=1e-3)
    assert all(row.spark == () for row in unit_rows(UnitSession(*models[:3])))


def test_by_scores_in_the_order_of_the_ranking(session, scores):
    rows = unit_rows(session, scores, part="torso", measure="area")
    ranked = rank_units(scores, "torso", "area")
    assert [row.unit for row in rows] == [u for u in ranked.unit.tolist() if u in session.units]
    effects = scores[(scores.measure == "area") & (scores["class"] == "all")]
    largest = effects.effect.abs().max()
    for row in rows:
        own = effects[effects.unit == row.unit].set_index("part").effect
        np.testing.assert_allclose(row.spark, [own[part] / largest for part in PARTS], atol=1e-3)
        assert row.mark == PARTS.index("torso") and row.kind == "effects"
    top = ranked.iloc[0]
    assert rows[0].detail == f"{100 * top.mean_change:+.1f} % of the picture, q {top.q:.2g}"
    more = unit_rows(session, scores, "torso", "area", direction="more")
    assert 0 < len(more) < len(rows) and all(row.detail.startswith("+") for row in more)
    assert unit_rows(session, scores)[0] == unit_rows(session, scores, "sleeve", "area")[0]
    assert "bits" in unit_rows(session, scores, "sleeve", "entropy")[0].detail
    assert unit_rows(session, scores, "sleeve", "area")[0].detail.endswith("q < 0.001")


def test_scores_of_one_part_or_one_class(session, scores):
    ranking = rank_units(scores, "collar", "area", RANKED_CLASSES[1])
    rows = unit_rows(session, ranking)
    assert [row.unit for row in rows] == [u for u in ranking.unit.tolist() if u in session.units]
    assert all(row.spark == () and row.mark is None for row in rows)
    of_class = unit_rows(session, scores, "collar", "area", RANKED_CLASSES[1])
    assert [row.unit for row in of_class] == [row.unit for row in rows]


def test_units_that_cannot_be_turned_are_not_listed(models, scores):
    generator, classifier, _, pairs = models
    r = pairs.r.clone()
    r[:, 7] = 0.5  # the unit with the largest effect
    session = UnitSession(generator, classifier, fit_link((r, pairs.w), penalty=0.01))
    listed = [row.unit for row in unit_rows(session, scores, "sleeve", "area")]
    everything = rank_units(scores, "sleeve", "area").unit.tolist()
    assert everything[0] == 7 and listed == everything[1:]
    assert 7 not in [row.unit for row in unit_rows(session)]


def test_scores_without_a_value(session, scores):
    rows = unit_rows(session, scores, "heel", "area", RANKED_CLASSES[1])
    assert {row.detail for row in rows} == {"too few samples"}
    endless = scores.copy()
    endless.loc[(endless.unit == 2) & (endless.measure == "area"), "effect"] = np.inf
    spark = next(row.spark for row in unit_rows(session, endless, "torso", "area") if row.unit == 2)
    assert set(spark) == {1.0}


def test_searching(session, scores):
    rows = unit_rows(session, scores, "torso", "area")
    unit = rows[3].unit
    for pattern in (str(unit), f"unit {unit}", f"  UNIT {unit} ", f"unit{unit}"):
        assert unit_rows(session, scores, "torso", "area", pattern=pattern) == [rows[3]]
    assert (
        matching_rows(rows, "of the pic") == rows == matching_rows(rows, " ") == matching_rows(rows, "unit")
    )
    assert matching_rows(rows, f"pic {unit} OF") == [rows[3]], "words in any order"
    for pattern in ("no such thing", "999", "²", f"{unit} thing"):
        assert matching_rows(rows, pattern) == []
    assert unit_rows(session, scores.iloc[:0]) == []
    assert unit_rows(session, scores[scores.mean_change > 0], "torso", "area", direction="less") == []


def test_scores_that_are_none_are_refused(session, scores):
    for stranger in (session.link.num_units, -1, 0.5, "sleeve"):
        with pytest.raises(LisError, match="another classifier"):
            unit_rows(session, scores.replace({"unit": {scores.unit.iloc[3]: stranger}}))
    for bad in ("scores", scores.drop(columns="q"), 3):
        with pytest.raises(LisError, match="no column"):
            unit_rows(session, bad)
    with pytest.raises(LisError, match="Did you mean 'sleeve'"):
        unit_rows(session, scores, "sleve", "area")
    with pytest.raises(LisError, match="no measure 'aera'"):
        unit_rows(session, scores, "sleeve", "aera")
    with pytest.raises(LisError, match="no class"):
        unit_rows(session, scores, "sleeve", "area", "Hat")
    with pytest.raises(LisError, match="direction"):
        unit_rows(session, scores, "sleeve", "area", direction="up")


def test_a_walk_goes_through_the_observed_range_and_keeps_what_is_set(session):
    a, b = session.units[:2]
    setting = UnitSetting("ring", 2, values={b: 0.2}, unit=a)
    states = walk_frames(session, setting, count=5)
    assert [state.values[a] for state in states] == pytest.approx(np.linspace(*session.observed(a), 5))
    assert {state.values[b] for state in states} == {0.2} and {state.unit for state in states} == {a}
    direct = session.tune(session.start("ring", 2), {b: 0.2, a: states[3].values[a]}, a)
    assert torch.equal(states[3].tuned, direct.tuned)
    assert walk_frames(session, setting, b, 3)[0].values == {b: session.observed(b)[0]}
    for wrong in ({"count": 1}, {"unit": 999}):
        with pytest.raises(LisError):
            walk_frames(session, setting, **wrong)
    with pytest.raises(LisError, match="no unit to walk along"):
        walk_frames(session, UnitSetting("ring"))


def panels(sheet, scale):
    """The three pictures on a sheet of 16 px pictures, at their own size."""
    side, cell = 16 * scale, max(16 * scale, 160)
    found = []
    for k in range(3):
        left = GAP + k * (cell + GAP) + (cell - side) // 2
        found.append(np.asarray(sheet)[GAP : GAP + side, left : left + side][::scale, ::scale])
    return np.stack(found)


def test_a_saved_state_holds_its_pixels_and_captions(session, tmp_path):
    state = session.tune(session.start("ring"), {session.units[0]: 0.6}, outlines=True)
    save_state_png(tmp_path / "new" / "state.png", state)
    sheet = Image.open(tmp_path / "new" / "state.png").convert("RGB")
    assert (panels(sheet, 12) == state.rgb()).all()
    below = np.asarray(sheet)[GAP + 192 + 2 :]
    for k in range(3):
        part = below[:, GAP + k * (192 + GAP) : (k + 1) * (192 + GAP)]
        assert (part < 100).any() and (part[:, -1] == 255).all(), "a caption, not cut off"
    assert (panels(state_image(state, scale=2), 2) == state.rgb()).all()
    outlined = state.image(outlines=True)
    assert np.asarray(outlined)[GAP : GAP + 192, GAP : GAP + 192].tolist() == state.rgb(True)[0].tolist()
    for wrong in (0, 2.5, "x"):
        with pytest.raises(LisError, match="scale"):
            state_image(state, scale=wrong)
    with pytest.raises(LisError, match="folder"):
        save_state_png(tmp_path, state)


def test_a_saved_walk_runs_there_and_back(session, tmp_path):
    states = walk_frames(session, UnitSetting("ring", 2, unit=session.units[0]), count=5)
    save_gif(tmp_path / "walk.gif", states, milliseconds=80)
    film = Image.open(tmp_path / "walk.gif")
    assert film.n_frames == 8 and film.info["loop"] == 0 and film.info["duration"] == 80
    for number, place in enumerate((0, 1, 2, 3, 4, 3, 2, 1)):
        film.seek(number)
        shown = panels(film.convert("RGB"), 12).astype(int)
        assert abs(shown - states[place].rgb())[:2].max() <= 12, "256 colours a frame"
    with pytest.raises(LisError, match="no states"):
        save_gif(tmp_path / "none.gif", [])
    with pytest.raises(LisError, match="milliseconds"):
        save_gif(tmp_path / "none.gif", states, milliseconds=0)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.gif"]


def test_long_captions_are_broken_between_words():
    font = _font()
    text = "difference: blue darker, orange brighter " + "x" * 80
    lines = _lines(text, font, 160)
    assert max(map(font.getlength, lines)) <= 160 and len(lines) > 3
    assert "".join(lines).replace(" ", "") == text.replace(" ", "") and lines[0].startswith(
        "difference: blue"
    )
    assert _lines("", font, 160) == [""]
