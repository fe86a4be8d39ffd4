"""Figures of a ranking: what is drawn is what the table says, nothing covers anything, any size fits a page."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from lis_toolkit.errors import LisError
from lis_toolkit.rankings.label_places import free_places
from lis_toolkit.rankings.plots import class_profiles, forest_plot, selectivity_map, volcano_plot
from lis_toolkit.rankings.rows import chosen_rows, cut, effect_matrix, top_rows
from rankings import CLASSES, PARTS, synthetic_ranking


@pytest.fixture(scope="module")
def ranking():
    return synthetic_ranking()


def picked(ranking, **names):
    for column, name in names.items():
        ranking = ranking[ranking[column.rstrip("_")] == name]
    return ranking


def dots(axes):
    """Offsets [N, 2] of all scattered dots, and whether each is filled."""
    found = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    where = np.concatenate([np.asarray(c.get_offsets()) for c in found])
    colours = np.concatenate([np.broadcast_to(c.get_facecolors(), (len(c.get_offsets()), 4)) for c in found])
    return where, (colours[:, :3] < 0.999).any(1)


@pytest.mark.parametrize("order", ["clustered", "sorted"])
def test_the_map_holds_the_effects_of_the_units_it_names(ranking, order):
    figure = selectivity_map(ranking, "area", most=12, order=order)
    axes = figure.axes[0]
    units = [int(label.get_text()) for label in axes.get_yticklabels()]
    assert len(set(units)) == 12 and {3, 7} <= set(units)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(PARTS)
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    limit = axes.images[0].get_clim()[1]
    marked = {(round(y), round(x)) for x, y in dots(axes)[0]}
    for i, unit in enumerate(units):
        for j, part in enumerate(PARTS):
            row = picked(ranking, unit=unit, part=part, measure="area", class_="all").iloc[0]
            if np.isnan(row.effect):
                assert np.isnan(drawn[i, j])
            else:
                assert drawn[i, j] == pytest.approx(np.clip(row.effect, -limit, limit))
            assert ((i, j) in marked) == (row.q < 0.05)
    alpha = axes.images[0].get_alpha()
    assert {(i, j) for i, j in np.argwhere(alpha == 1.0)} - {
        tuple(p) for p in np.argwhere(np.isnan(drawn))
    } == marked
    every = ranking[(ranking.measure == "area") & (ranking["class"] == "all")]
    strongest = every.assign(size=every.effect.abs()).groupby("unit")["size"].max().nlargest(12).index
    assert set(units) == set(strongest)


def test_effects_that_may_be_chance_neither_choose_the_units_nor_set_the_scale(ranking):
    table = ranking.copy()
    wild = (table.unit >= 20) & (table.part == "collar")
    table.loc[wild, ["effect", "q"]] = [40.0, 0.9]  # five samples that changed by the same
    found = effect_matrix(table, "area", most=8)
    sure = table[(table["class"] == "all") & (table.measure == "area") & (table.q < 0.05)]
    top = sure.assign(size=sure.effect.abs()).groupby("unit")["size"].max().nlargest(8).index
    assert set(found.units) >= set(top) and {3, 7} <= set(found.units)
    assert selectivity_map(table, most=8).axes[0].images[0].get_clim()[1] < 4


@pytest.mark.parametrize("units", [1, 2, 2048])
def test_any_number_of_units_fits_a_page(units):
    table = synthetic_ranking(units, measures=("area",), classes=CLASSES[:1])
    for figure in (
        selectivity_map(table, most=units),
        volcano_plot(table, "sleeve"),
        forest_plot(table, "sleeve", top=units),
        class_profiles(table, part="sleeve", panels=12),
    ):
        assert max(figure.get_size_inches()) <= 12.5
        figure.draw_without_rendering()
    boxes = [
        label.get_window_extent() for label in selectivity_map(table, most=units).axes[0].get_yticklabels()
    ]
    assert len(boxes) <= 80


def test_the_volcano_has_a_dot_for_each_unit_and_names_the_top_ones(ranking):
    figure = volcano_plot(ranking, "sleeve", "area", "Shirt", labels=6)
    rows = picked(ranking, part="sleeve", measure="area", class_="Shirt")
    where, _ = dots(figure.axes[0])
    expected = np.stack([rows.effect, -np.log10(rows.q)], 1)
    assert np.sort(where, axis=0) == pytest.approx(np.sort(expected, axis=0))
    names = [text.get_text() for text in figure.axes[0].texts]
    sure = rows[rows.q < 0.05]
    top = sure.assign(size=sure.effect.abs()).nlargest(6, "size").unit
    assert names[:2] == ["7", "3"] and set(names) <= {str(unit) for unit in top}


def test_a_q_of_zero_is_drawn_at_the_highest_place_as_a_triangle(ranking):
    table = ranking.copy()
    first = (table.unit == 7) & (table.part == "sleeve") & (table["class"] == "all")
    table.loc[first, "q"] = 0.0
    figure = volcano_plot(table, "sleeve")
    where, _ = dots(figure.axes[0])
    assert np.isfinite(where).all() and where[where[:, 0].argmax(), 1] == where[:, 1].max()
    assert "triangles: q = 0" in figure.axes[0].get_ylabel()


def test_names_of_dots_cover_neither_each_other_nor_the_edge():
    table = synthetic_ranking(300, parts=("sleeve",), measures=("area",), classes=CLASSES[:1])
    table["effect"] = np.random.default_rng(1).normal(1.5, 0.1, len(table))  # a crowd of sure ones
    table["q"] = 10 ** (-4 - table.effect)
    figure = volcano_plot(table, "sleeve", labels=25)
    figure.draw_without_rendering()
    assert len(figure.axes[0].texts) >= 8
    frame = figure.axes[0].get_window_extent()
    for number, text in enumerate(figure.axes[0].texts):
        # An annotation's extent holds its line too: the text's own box is what may not be covered.
        box = super(type(text), text).get_window_extent()
        assert frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1
        others = [super(type(t), t).get_window_extent() for t in figure.axes[0].texts[number + 1 :]]
        assert not box.count_overlaps(others)


def test_free_places_keep_clear_of_dots_and_give_up_where_there_is_no_room():
    crowd = np.array([[50.0, 50.0], [60.0, 50.0], [50.0, 60.0]])
    (place,) = free_places(crowd, [0], [(20, 10)], (0, 0, 200, 200))
    for x, y in crowd:
        assert abs(x - place[0]) > 10 or abs(y - place[1]) > 5
    assert free_places(crowd, [0, 1], [(20, 10)] * 2, (40, 40, 45, 45)) == [None, None]


@pytest.mark.parametrize("part, unit", [("sleeve", None), (None, 7)])
def test_profiles_draw_every_class_with_its_interval(ranking, part, unit):
    figure = class_profiles(ranking, unit=unit, part=part, panels=3)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert len(shown) == 3
    assert titles[:2] == ["unit 7", "unit 3"] if part else titles[0] == "sleeve"
    classes = [label.get_text() for label in shown[0].get_yticklabels()]
    assert set(classes[:-1]) == set(CLASSES) and classes[-1] == "all"
    for axes, title in zip(shown, titles, strict=True):
        chosen = {"unit": int(title.split()[1]), "part": part} if part else {"unit": 7, "part": title}
        rows = picked(ranking, measure="area", **chosen).dropna(subset="mean_change").set_index("class")
        where, filled = dots(axes)
        assert len(where) == len(rows)
        for (x, y), full in zip(where, filled, strict=True):
            row = rows.loc[classes[round(y)]]
            assert x == pytest.approx(row.mean_change) and full == (row.q < 0.05)
        bars = {
            round(segment[0, 1]): segment[:, 0]
            for c in axes.collections if not isinstance(c, PathCollection) for segment in c.get_segments()
        }  # fmt: skip
        for place, ends in bars.items():
            assert sorted(ends) == pytest.approx(
                rows.loc[classes[place], ["low", "high"]].astype(float).tolist()
            )


def test_of_many_classes_a_profile_shows_those_with_the_largest_effects():
    classes = tuple(f"class {i}" for i in range(100))
    table = synthetic_ranking(4, PARTS[:2], classes, ("area",))
    table.loc[(table["class"] == "class 77") & (table.unit == 2), "effect"] = 9.0
    figure = class_profiles(table, part="sleeve", names=[2], classes=5)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 6 and "class 77" in labels and labels[-1] == "all"


def test_the_forest_lists_the_top_units_with_their_numbers(ranking):
    figure = forest_plot(ranking, "sleeve", top=5)
    axes = figure.axes[0]
    rows = picked(ranking, part="sleeve", measure="area", class_="all")
    rows = rows.assign(size=rows.effect.abs()).nlargest(5, "size")
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"unit {unit}" for unit in rows.unit]
    where, filled = dots(axes)
    for (x, y), full in zip(where, filled, strict=True):
        row = rows.iloc[round(y)]
        assert x == pytest.approx(row.mean_change) and full == (row.q < 0.05)
    beside = [label.get_text().split() for label in axes.child_axes[0].get_yticklabels()]
    assert [float(effect) for effect, _ in beside] == pytest.approx(rows.effect.tolist(), abs=0.006)
    given = forest_plot(ranking, "sleeve", units=[9, 3]).axes[0]
    assert [label.get_text() for label in given.get_yticklabels()] == ["unit 9", "unit 3"]


def test_one_sample_has_no_interval_and_is_drawn_hollow(ranking):
    table = ranking.copy()
    table[["low", "high", "q"]] = np.nan
    _, filled = dots(forest_plot(table, "sleeve", top=3).axes[0])
    assert not filled.any()


def test_long_names_are_cut(ranking):
    long = "a part whose name is by far longer than any column is wide"
    table = ranking.assign(part=ranking.part.replace("sleeve", long))
    labels = [label.get_text() for label in selectivity_map(table).axes[0].get_xticklabels()]
    assert labels[0] == cut(long) and labels[0].endswith("…") and len(labels[0]) <= 26
    assert forest_plot(table, long).axes[0].get_title(loc="left").startswith(cut(long))


def test_top_rows_go_one_way_when_asked(ranking):
    rows = chosen_rows(ranking, "sleeve")
    assert top_rows(rows, 4, direction="more").unit.tolist()[0] == 7
    less = top_rows(rows, 4, direction="less")
    assert less.unit.tolist()[0] == 3 and (less.effect < 0).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda r: forest_plot(r, "sleave"), "no part 'sleave'; it has sleeve, torso.*Did you mean 'sleeve'"),
        (lambda r: volcano_plot(r, "sleeve", "are"), "no measure 'are'.*Did you mean 'area'"),
        (lambda r: selectivity_map(r, class_name="Shirtt"), "no class 'Shirtt'.*Did you mean 'Shirt'"),
        (lambda r: selectivity_map(r.drop(columns="q")), "no column 'q'.*score_selectivity"),
        (lambda r: selectivity_map(r.iloc[:0]), "is empty"),
        (lambda r: selectivity_map(r, order="alphabet"), "'clustered' or 'sorted'"),
        (lambda r: selectivity_map(r, most=0), "most is 0"),
        (lambda r: forest_plot(r, "sleeve", units=[1, 999]), "unit 999 is not in the ranking.*0 to 29"),
        (lambda r: forest_plot(r, "sleeve", units=[]), "the list of units is empty"),
        (lambda r: forest_plot(r, "heel", class_name="Coat"), "none of the 30 rows has a value in effect"),
        (lambda r: volcano_plot(r, "heel", class_name="Coat"), "choose another, or sweep with more samples"),
        (lambda r: class_profiles(r), "give either unit or part"),
        (lambda r: class_profiles(r, unit=1, part="sleeve"), "give either unit or part"),
        (lambda r: class_profiles(r, unit=99), "unit 99 is not in the ranking"),
        (
            lambda r: class_profiles(r, unit=1, names=["shoe"]),
            "none of the names .'shoe'. has a change; give parts",
        ),
        (lambda r: class_profiles(r, unit=1, panels=0), "panels is 0"),
        (lambda r: class_profiles(r, unit=1, classes=0), "classes is 0"),
        (lambda r: forest_plot(r, "sleeve", units=5), "units are 5; a list"),
        (lambda r: forest_plot(r, "sleeve", units=["a"]), "a unit is 'a'"),
        (lambda r: volcano_plot(r, "sleeve", significance=0), "significance is 0; a number above 0"),
        (lambda r: selectivity_map(r, significance="x"), "significance is 'x'"),
        (lambda r: forest_plot(r, "sleeve", significance=float("nan")), "significance is nan"),
        (lambda r: volcano_plot(r, "sleeve", labels=None), "labels is None"),
        (lambda r: selectivity_map(None), "no column 'unit'.*score_selectivity"),
        (lambda r: top_rows(r, 3, direction="up"), "'more', 'less' or None"),
        (lambda r: selectivity_map(r.assign(effect=np.nan)), "no unit has a value in effect"),
    ],
)
def test_what_can_not_be_drawn_is_said(ranking, call, message):
    with pytest.raises(LisError, match=message):
        call(ranking)


def test_infinite_effects_are_drawn_at_the_end_of_the_scale(ranking):
    table = ranking.copy()
    table.loc[(table.unit == 5) & (table.part == "torso"), "effect"] = np.inf  # a change without any spread
    figure = selectivity_map(table)
    image = figure.axes[0].images[0]
    assert image.get_array().max() == image.get_clim()[1] < 10
    assert "5" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert np.isfinite(dots(volcano_plot(table, "torso").axes[0])[0]).all()


def test_infinite_changes_and_huge_ones_leave_the_scale_alone(ranking):
    table = ranking.copy()
    odd = (table.unit == 7) & (table.part == "sleeve")
    table.loc[odd, ["mean_change", "low", "high", "q"]] = [np.inf, -np.inf, np.inf, -np.inf]
    assert np.isfinite(dots(volcano_plot(table, "sleeve").axes[0])[0]).all()
    forest = forest_plot(table, "sleeve", top=30)
    assert "unit 7" not in [label.get_text() for label in forest.axes[0].get_yticklabels()]
    assert np.isfinite(dots(forest.axes[0])[0]).all() and np.isfinite(forest.axes[0].get_xlim()).all()
    assert np.isfinite(class_profiles(table, part="sleeve").axes[0].get_xlim()).all()
    scaled = ranking.assign(effect=1e300 * ranking.effect)  # whose squares overflow
    plain, huge = (
        [label.get_text() for label in selectivity_map(one).axes[0].get_yticklabels()]
        for one in (ranking, scaled)
    )
    assert plain == huge


def test_categories_and_column_types_of_parquet_are_taken(ranking):
    table = ranking.astype(
        {"part": "category", "class": "category", "measure": "category", "effect": np.float32}
    )
    table = pd.concat([table[table.part == "leg"], table[table.part != "leg"]])
    assert effect_matrix(table).values.shape == (30, 5)
    assert len(class_profiles(table, part="sleeve").axes) == 8
    assert len(forest_plot(table, "sleeve", top=3).axes[0].get_yticklabels()) == 3
