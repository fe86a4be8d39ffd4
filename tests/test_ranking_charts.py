"""Charts of a ranking: the same numbers as in the printed figures, and under the pointer."""

import numpy as np
import pytest

from lis_toolkit.errors import LisError
from lis_toolkit.rankings.charts import forest_chart, map_chart, profile_chart, volcano_chart
from lis_toolkit.rankings.rows import effect_matrix
from rankings import CLASSES, PARTS, synthetic_ranking


@pytest.fixture(scope="module")
def ranking():
    return synthetic_ranking()


def rows_of(ranking, **names):
    for column, name in names.items():
        ranking = ranking[ranking[column.rstrip("_")] == name]
    return ranking


def test_the_map_holds_the_matrix_and_marks_what_is_sure(ranking):
    chart = map_chart(ranking, "area", most=12)
    found = effect_matrix(ranking, "area", most=12)
    heat, veil, marks = chart.data
    pale = ~found.significant & np.isfinite(found.values)
    assert np.array_equal(np.isfinite(np.asarray(veil.z, float)), pale) and 0 < pale.sum() < pale.size
    assert np.array_equal(np.asarray(heat.z), found.values, equal_nan=True)
    assert list(heat.x) == list(PARTS) and list(heat.y) == [f"unit {unit}" for unit in found.units]
    expected = {(found.units[i], PARTS[j]) for i, j in zip(*np.nonzero(found.significant), strict=True)}
    assert {(int(y.split()[1]), x) for x, y in zip(marks.x, marks.y, strict=True)} == expected
    assert np.asarray(heat.customdata)[0, 0] == pytest.approx(found.q[0, 0])
    # The scale is symmetric, so that white is no change.
    assert heat.zmin == -heat.zmax


def test_the_volcano_says_the_numbers_of_every_unit(ranking):
    chart = volcano_chart(ranking, "sleeve", "area", "Shirt", labels=4)
    rows = rows_of(ranking, part="sleeve", measure="area", class_="Shirt")
    (dots,) = chart.data
    assert list(dots.x) == pytest.approx(rows.effect.tolist())
    assert list(dots.y) == pytest.approx((-np.log10(rows.q)).tolist())
    seven = rows[rows.unit == 7].iloc[0]
    told = dots.text[rows.unit.tolist().index(7)]
    assert told.startswith("unit 7, sleeve, Shirt<br>area +") and f"effect {seven.effect:+.2f}" in told
    names = [note for note in chart.layout.annotations if note.text]
    assert [note.text for note in names[:2]] == ["7", "3"] and len(names) <= 4
    assert names[0].x == pytest.approx(seven.effect)
    assert all(abs(note.ax) + abs(note.ay) > 5 for note in names)


def test_names_in_a_crowd_stand_apart():
    table = synthetic_ranking(300, parts=("sleeve",), measures=("area",), classes=CLASSES[:1])
    table["effect"] = np.random.default_rng(1).normal(1.5, 0.1, len(table))
    table["q"] = 10 ** (-4 - table.effect)
    chart = volcano_chart(table, "sleeve", labels=25)
    (low, high), (bottom, top) = chart.layout.xaxis.range, chart.layout.yaxis.range
    wide, tall = 760 - 100, 460 - 120  # the plot's inside
    places = np.array(
        [((n.x - low) / (high - low) * wide + n.ax, (top - n.y) / (top - bottom) * tall + n.ay)
         for n in chart.layout.annotations if n.text]
    )  # fmt: skip
    assert len(places) >= 8
    for i, (x, y) in enumerate(places):
        for other_x, other_y in places[i + 1 :]:
            assert abs(x - other_x) > 18 or abs(y - other_y) > 11


@pytest.mark.parametrize("part, unit", [("sleeve", None), (None, 7)])
def test_profiles_have_a_panel_each_and_a_dot_for_each_class(ranking, part, unit):
    chart = profile_chart(ranking, unit=unit, part=part, panels=3)
    *titles, label = [note.text for note in chart.layout.annotations]
    assert (
        label.startswith("change of area")
        and len(titles) == 3
        and titles[0] == ("unit 7" if part else "sleeve")
    )
    names = list(chart.layout.yaxis.ticktext)
    assert names[-1] == "all" and set(names[:-1]) == set(CLASSES)
    assert len(chart.data) == 6  # classes and all of them, for each panel
    for number, title in enumerate(titles):
        chosen = {"unit": int(title.split()[1]), "part": part} if part else {"unit": 7, "part": title}
        rows = rows_of(ranking, measure="area", **chosen).dropna(subset="mean_change").set_index("class")
        drawn = {}
        for trace in chart.data[2 * number : 2 * number + 2]:
            for i, place in enumerate(trace.y):
                ends = (trace.x[i] - trace.error_x.arrayminus[i], trace.x[i] + trace.error_x.array[i])
                drawn[names[place]] = (trace.x[i], *ends, trace.marker.color[i] != "white")
        assert set(drawn) == set(rows.index)
        for name, (middle, low, high, full) in drawn.items():
            row = rows.loc[name]
            assert (middle, low, high) == pytest.approx((row.mean_change, row.low, row.high))
            assert full == (row.q < 0.05)


def test_the_forest_lists_the_top_units_the_farthest_first(ranking):
    chart = forest_chart(ranking, "sleeve", top=5)
    rows = rows_of(ranking, part="sleeve", measure="area", class_="all")
    rows = rows.assign(size=rows.effect.abs()).nlargest(5, "size")
    assert list(chart.layout.yaxis.categoryarray) == [f"unit {unit}" for unit in rows.unit]
    drawn = {y: x for trace in chart.data for x, y in zip(trace.x, trace.y, strict=True)}
    assert drawn == pytest.approx({f"unit {u}": c for u, c in zip(rows.unit, rows.mean_change, strict=True)})


@pytest.mark.parametrize("units", [1, 2048])
def test_any_number_of_units_fits_a_screen(units):
    table = synthetic_ranking(units, measures=("area",), classes=CLASSES[:1])
    for chart in (
        map_chart(table, most=units),
        volcano_chart(table, "sleeve"),
        forest_chart(table, "sleeve", top=units),
        profile_chart(table, part="sleeve"),
    ):
        assert 100 <= chart.layout.height <= 1300 and chart.layout.width <= 800
    assert len(map_chart(table, most=units).layout.yaxis.tickvals) <= 61


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda r: forest_chart(r, "sleave"), "no part 'sleave'.*Did you mean 'sleeve'"),
        (lambda r: volcano_chart(r, "heel", class_name="Coat"), "sweep with more samples"),
        (lambda r: profile_chart(r), "give either unit or part"),
        (lambda r: profile_chart(r, unit=1, names=["shoe"]), "none of the names"),
        (lambda r: volcano_chart(r, "sleeve", significance=0), "significance is 0"),
        (lambda r: volcano_chart(r, "sleeve", labels=-1), "labels is -1"),
        (lambda r: forest_chart(r, "sleeve", significance=2), "significance is 2"),
        (lambda r: map_chart(r, measure="texture"), "no measure 'texture'; it has area, entropy"),
        (lambda r: forest_chart(r, "sleeve", units=[77]), "unit 77 is not in the ranking"),
    ],
)
def test_what_can_not_be_drawn_is_said(ranking, call, message):
    with pytest.raises(LisError, match=message):
        call(ranking)
