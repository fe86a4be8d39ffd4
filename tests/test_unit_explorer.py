"""The unit explorer without a browser: the picture is the library's render, whatever is moved and in whichever way."""

import asyncio
import gc
import json
import threading
from dataclasses import replace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, companion_directions, convert_range, fit_link, rank_units
from lis_widgets import Charts, CodeBox, UnitExplorer, UnitList
from lis_widgets.later import Later
from lis_widgets.unit_ranking import BY_SPREAD
from tiny import CLASSES, tiny_classifier, tiny_generator

WIDGETS = ipywidgets.widgets.widget._instances  # those with a line to the browser


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture
def explorer(models):
    *three, pairs = models
    explorer = UnitExplorer(*three, photographs=pairs.r, companions=companion_directions(pairs))
    yield explorer
    explorer.close_all()


@pytest.fixture(scope="module")
def scores(models):
    """A ranking by chance: two parts, two measures, two classes, some q."""
    link, draw = models[2], np.random.default_rng(0)
    rows = [
        (unit, part, measure, name, *draw.normal(size=2), draw.uniform())
        for unit in range(link.num_units)
        for part in ("picture", "arm", "leg")
        for measure in ("area", "luminance")
        for name in ("all", "disc")
        if (part, measure) != ("picture", "area")
    ]
    return pd.DataFrame(rows, columns=["unit", "part", "measure", "class", "mean_change", "effect", "q"])


def panels(explorer):
    picture = explorer.picture
    return np.frombuffer(picture.rgb, np.uint8).reshape(*picture.shape, 3)


def move(explorer, unit, value):
    """Move a slider as the browser does."""
    number = move.number = getattr(move, "number", 0) + 1
    explorer.sliders._handle_custom_msg({"kind": "move", "values": {str(unit): value}, "number": number}, [])


def act(explorer, unit, action):
    explorer.sliders._handle_custom_msg({"kind": "action", "key": str(unit), "action": action}, [])


def tell(widget, **message):
    widget._handle_custom_msg(message, [])


@torch.no_grad()
def rendered(models, explorer):
    """The tuned picture for what the controls say, by the plain chain of calls."""
    generator, classifier, link, _ = models
    w = generator.map(generator.sample_z(1, explorer.seed.value), [explorer.which.value], explorer.psi.value)
    r = classifier.features(generator.render(w))
    for unit, value in explorer.values.items():
        r[0, unit] = value
    return rgb(generator.render(link(r))[0])


def rgb(x):
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def test_the_picture_is_the_librarys_render_whatever_is_moved(models, explorer):
    first, second, third = explorer.session.units[:3]

    def moves():
        yield {first: explorer.session.observed(first)[1]}
        low = explorer.session.observed(first)[0]
        move(explorer, first, low)
        yield {first: low}
        explorer.set({first: 0.1})
        yield {first: 0.1}
        explorer.seed.value = 11
        yield {first: 0.1}
        explorer.psi.value = 0.4
        yield {first: 0.1}
        explorer.which.value = "cross"
        yield {first: 0.1}
        tell(explorer.list, kind="pin", unit=first)
        tell(explorer.list, kind="choose", unit=second)
        yield {first: 0.1, second: explorer.session.observed(second)[1]}
        move(explorer, first, 0.3)
        yield {first: 0.3, second: explorer.session.observed(second)[1]}
        explorer.unit = third
        yield {first: 0.3, third: explorer.session.observed(third)[1]}
        explorer.set({f"unit {second}": 0.2})
        yield {first: 0.3, third: explorer.session.observed(third)[1], second: 0.2}
        explorer.unpin(first)
        yield {third: explorer.session.observed(third)[1], second: 0.2}

    seen = []
    for values in moves():
        assert explorer.values == pytest.approx(values) and explorer.state.values == explorer.values
        tuned = panels(explorer)[1]
        np.testing.assert_array_equal(tuned, rendered(models, explorer))
        assert explorer.picture.captions == explorer.state.captions()
        shown = {row["key"]: row["value"] for row in explorer.sliders.rows}
        assert {str(unit): value for unit, value in explorer.values.items()}.items() <= shown.items()
        seen.append(tuned.tobytes())
    assert len(set(seen)) == len(seen)


def test_a_slider_marks_the_observed_range_and_goes_beyond_it(models, explorer):
    link = models[2]
    for unit in explorer.session.units[:3]:
        explorer.unit = unit
        (row,) = explorer.sliders.rows
        low, high = float(link.unit_min[unit]), float(link.unit_max[unit])
        assert (row["key"], row["seen_low"], row["seen_high"], row["value"]) == (str(unit), low, high, high)
        assert (row["low"], row["high"]) == explorer.session.limits(unit) and row["high"] > high
        assert row["own"] == pytest.approx(float(explorer.session.start_of(explorer.setting).r[unit]))
    explorer.set({explorer.unit: 99.0})
    assert explorer.sliders.rows[0]["high"] == explorer.sliders.rows[0]["value"] == 99.0


def test_as_it_was_brings_the_start_back(explorer):
    explorer.pin(explorer.unit)
    explorer.unit = explorer.session.units[1]
    explorer.reset()
    start, tuned, _ = panels(explorer)
    np.testing.assert_array_equal(start, tuned)
    assert explorer.values == {} and len(explorer.sliders.rows) == 2
    assert all(row["value"] == pytest.approx(row["own"]) for row in explorer.sliders.rows)


def test_one_slider_can_go_back_alone(explorer):
    first, second = explorer.session.units[:2]
    explorer.set({second: 0.2})
    act(explorer, second, "reset")
    assert list(explorer.values) == [first] and explorer.pinned == (second,)
    act(explorer, second, "remove")
    assert [row["key"] for row in explorer.sliders.rows] == [str(first)] and explorer.pinned == ()


def test_back_and_forward_go_through_all_settings_and_pictures(explorer):
    assert explorer._back.disabled and explorer._forward.disabled
    seen = [(explorer.setting, explorer.picture.rgb)]
    for change in (
        lambda: move(explorer, explorer.unit, 0.1),
        lambda: setattr(explorer.seed, "value", 5),
        lambda: setattr(explorer.companions, "value", True),
        lambda: setattr(explorer, "unit", explorer.session.units[2]),
        lambda: explorer.set({explorer.session.units[0]: 0.3}),
        explorer.random,
        explorer.reset,
    ):
        change()
        seen.append((explorer.setting, explorer.picture.rgb))
    for setting, picture in reversed(seen[:-1]):
        explorer.back()
        assert (explorer.setting, explorer.picture.rgb) == (setting, picture)
        assert (explorer.which.value, explorer.seed.value) == (setting.which, setting.seed)
        assert explorer.companions.value == setting.companions and explorer.unit == setting.unit
        assert explorer.list.selected == setting.unit
    assert explorer._back.disabled and not explorer._forward.disabled
    for setting, picture in seen[1:]:
        explorer.forward()
        assert (explorer.setting, explorer.picture.rgb) == (setting, picture)
    explorer.back()
    explorer.reset()
    assert explorer._forward.disabled, "what was undone is gone after another change"


def test_the_plots_show_the_state(explorer):
    classes, units, over = explorer.charts.figures
    assert classes["data"][1]["y"] == list(CLASSES)
    assert classes["data"][1]["x"] == pytest.approx(explorer.state.logits.tolist())
    assert classes["data"][0]["x"] == pytest.approx(explorer.state.start_logits.tolist())
    assert units["data"][0]["y"] == [f"unit {u}" for u, _ in explorer.state.moved_units(10)]
    colours = dict(zip(units["data"][0]["y"], units["data"][0]["marker"]["color"], strict=True))
    assert [y for y, colour in colours.items() if colour == "#D55E00"] == [f"unit {explorer.unit}"]
    shaded, line = over["layout"]["shapes"]
    assert (shaded["x0"], shaded["x1"]) == explorer.session.observed(explorer.unit)
    assert line["x0"] == pytest.approx(explorer.values[explorer.unit])
    move(explorer, explorer.unit, 0.05)
    assert explorer.charts.figures[2]["layout"]["shapes"][1]["x0"] == pytest.approx(0.05)
    explorer.scale.value = "probabilities"
    figure = explorer.charts.figures[0]
    assert sum(figure["data"][1]["x"]) == pytest.approx(1) and "probabilities" in figure["description"]
    json.dumps(explorer.charts.figures)


def test_the_distribution_counts_every_image_once(models, explorer):
    r, unit = models[3].r[:, explorer.unit], explorer.unit
    (data,) = explorer.charts.figures[2]["data"]
    assert sum(data["y"]) == int((r != 0).sum())
    inside = ((r >= data["customdata"][5][0]) & (r < data["customdata"][5][1]) & (r != 0)).sum()
    assert data["y"][5] == int(inside), unit


def test_without_photographs_the_plot_says_how_to_get_them(models):
    explorer = UnitExplorer(*models[:3])
    assert "photographs=" in explorer.charts.figures[2]["text"]
    explorer.close_all()


def test_a_bar_that_is_clicked_chooses_its_unit(explorer):
    label = explorer.charts.figures[1]["data"][0]["y"][1]
    tell(explorer.charts, kind="pick", figure=1, label=label)
    assert f"unit {explorer.unit}" == label
    for nonsense in ({"figure": 0, "label": "disc"}, {"figure": 9, "label": label}, {"figure": 1}, {}):
        tell(explorer.charts, kind="pick", **nonsense)
    assert f"unit {explorer.unit}" == label and explorer.message.text == ""


@pytest.mark.parametrize(
    "error", [LisError("the <b>unit</b> is gone"), RuntimeError("no memory left"), KeyError("x")]
)
def test_errors_are_shown_and_gone_after_the_next_good_render(explorer, monkeypatch, error):
    before = explorer.picture.rgb

    def broken(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(explorer.session, "tune", broken)
        move(explorer, explorer.unit, 0.1)
        assert explorer.message.kind == "error" and 'role="alert"' in explorer.message.value
        assert "<b>" not in explorer.message.value
        told = str(error) if isinstance(error, LisError) else type(error).__name__
        assert told in explorer.message.text
        assert explorer.picture.stale and explorer.picture.rgb == before
        with pytest.raises(LisError, match="no picture of the present setting"):
            explorer.state  # noqa: B018
    move(explorer, explorer.unit, 0.15)
    assert explorer.message.text == ""
    assert not explorer.picture.stale and explorer.picture.rgb != before


def test_errors_of_controls_are_shown(explorer, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def broken(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr("lis_widgets.explorer_base.save_state_png", broken)
    button = explorer.files.children[1].children[0].children[0]
    button.click()
    assert "the disk is full" in explorer.message.text


def test_wrong_arguments_are_refused_at_once(models, scores):
    generator, classifier, link, pairs = models
    for wrong, arguments in (
        ("does not belong", (tiny_generator(seed=5), classifier, link)),
        ("no column", (generator, classifier, link, scores.drop(columns="effect"))),
        ("no column", (generator, classifier, link, pd.DataFrame())),
    ):
        with pytest.raises(LisError, match=wrong):
            UnitExplorer(*arguments)
    for wrong, options in (
        ("no unit 'seventeen'", {"unit": "seventeen"}),
        ("class 'square'", {"which": "square"}),
        ("seed", {"seed": -1}),
        ("photographs are", {"photographs": pairs.r[:, :3]}),
        ("psi is", {"pairs": pairs, "psi": 0.1}),
        ("directions", {"companions": torch.eye(3)}),
        ("transport", {"transport": "pigeon"}),
    ):
        with pytest.raises(LisError, match=wrong):
            UnitExplorer(generator, classifier, link, **options)


def test_code_is_told_what_is_wrong(explorer):
    before = explorer.setting
    for wrong in (
        lambda: setattr(explorer, "unit", "seventeen"),
        lambda: explorer.set({explorer.unit: float("nan")}),
        lambda: explorer.set({999: 1.0}),
        lambda: explorer.pin(-1),
        lambda: explorer.open(r=torch.zeros(3)),
        lambda: explorer.load("no such file.json"),
    ):
        with pytest.raises(LisError):
            wrong()
    assert explorer.setting == before and explorer.state.values == before.values


def test_starts_can_be_given_by_their_activations(models, explorer):
    _, _, link, pairs = models
    unit = explorer.session.units[1]
    explorer.open(r=pairs.r[3], name="pair 3", values={unit: 0.2})
    with torch.no_grad():
        np.testing.assert_array_equal(panels(explorer)[0], rgb(models[0].render(link(pairs.r[3:4]))[0]))
    assert explorer.unit == unit and "pair 3" in explorer._origin.value
    explorer.seed.value = 8
    np.testing.assert_array_equal(panels(explorer)[1], rendered(models, explorer))
    assert explorer._origin.value == "" and explorer.setting.r is None


@pytest.mark.parametrize("start", [{"seed": 200_000}, {"psi": 2.5}, {"psi": -0.5}, {"seed": 7, "psi": None}])
def test_controls_say_what_is_shown_also_beyond_their_usual_limits(models, explorer, start):
    explorer.open(replace(explorer.setting, **start))
    expected = {"seed": 0, "psi": explorer.session.psi} | {k: v for k, v in start.items() if v is not None}
    assert {"seed": explorer.seed.value, "psi": explorer.psi.value} == expected
    np.testing.assert_array_equal(panels(explorer)[1], rendered(models, explorer))
    explorer.which.value = "cross"
    assert {"seed": explorer.setting.seed, "psi": explorer.setting.psi} == expected, "only the class changes"
    made = UnitExplorer(*models[:3], **start)
    assert {"seed": made.setting.seed, "psi": made.setting.psi} == expected
    made.close()


def test_truncation_is_that_of_the_pairs(models):
    generator, classifier, link, _ = models
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0, psi=0.5)
    explorer = UnitExplorer(generator, classifier, link, pairs=pairs)
    assert explorer.psi.value == 0.5 and explorer.psi.disabled
    explorer.close()


def test_without_a_head_there_is_no_choice_of_logits_or_probabilities(models, monkeypatch):
    generator, classifier, link, _ = models
    monkeypatch.setattr(type(classifier), "has_head", False)
    explorer = UnitExplorer(generator, classifier, link)
    assert explorer.scale not in explorer._controls.children
    assert explorer._controls.children[3:] == explorer._controls.children[-2:], "the buttons and the origin"
    explorer.close()
    assert explorer.scale.comm is None


def test_settings_are_saved_and_loaded_also_by_upload(explorer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer.set({explorer.session.units[2]: 0.25})
    explorer.companions.value = True
    setting, picture = explorer.setting, explorer.picture.rgb
    path = explorer.save()
    assert path.name == f"unit-{explorer.unit}.json" and explorer.save() != path
    for load in (
        lambda: explorer.load(path),
        lambda: setattr(explorer.files.upload, "value", (upload(path.name, path.read_bytes()),)),
    ):
        explorer.random()
        explorer.companions.value = False
        explorer.reset()
        load()
        assert (explorer.setting, explorer.picture.rgb) == (setting, picture)
        assert set(explorer.pinned) == {explorer.session.units[2]}
    for content in (b"{}", b"\xff\xfe", b"[1", path.read_bytes()[:-20], b""):
        explorer.files.upload.value = (upload("broken.json", content),)
        assert explorer.message.kind == "error" and explorer.setting == setting
        explorer.message.clear()


def upload(name, content):
    """One file in the form of `FileUpload.value`."""
    return {"name": name, "type": "application/json", "size": len(content), "content": memoryview(content),
            "last_modified": pd.Timestamp("2026-01-01").to_pydatetime()}  # fmt: skip


def test_pictures_and_films_never_overwrite(explorer, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lis_widgets.unit_explorer.FILM_FRAMES", 4)
    buttons = {b.description: b for b in explorer.files.children[1].children[0].children}
    for name, suffix in (("Save picture", "png"), ("Save picture", "png"), ("Save film", "gif")):
        buttons[name].click()
        assert explorer.message.kind == "note" and f".{suffix}" in explorer.message.text
    stem = f"unit-{explorer.unit}"
    assert {p.name for p in tmp_path.iterdir()} == {f"{stem}.png", f"{stem}-2.png", f"{stem}.gif"}
    assert Image.open(f"{stem}.png").size[0] > 3 * 16 and Image.open(f"{stem}.gif").n_frames == 6
    move(explorer, explorer.unit, 0.1)
    assert explorer.message.text == ""


def test_pictures_follow_the_hand_while_a_film_is_made(models, explorer, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    gate, film, first = threading.Event(), explorer._film, explorer.unit
    monkeypatch.setattr(explorer, "_film", lambda *asked: (gate.wait(20), film(*asked))[1])
    (button,) = (b for b in explorer.files._content.children[0].children if b.description == "Save film")

    async def notebook():
        button.click()
        assert explorer.message.text == "the film is being made ..."
        for value in (0.1, 0.2):
            move(explorer, first, value)
        while explorer.state.values != {first: 0.2}:
            await asyncio.sleep(0.01)
        np.testing.assert_array_equal(panels(explorer)[1], rendered(models, explorer))
        explorer.unit = explorer.session.units[1]
        assert not list(tmp_path.iterdir())
        gate.set()
        while not explorer.message.text.startswith("saved as"):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(notebook(), 60))
    assert explorer.message.text == f"saved as unit-{first}.gif", "of the moment of the click"
    with Image.open(f"unit-{first}.gif") as image:
        assert image.n_frames > 20


def test_the_code_draws_the_same_picture(models, explorer):
    generator, classifier, link, pairs = models
    explorer.set({explorer.session.units[2]: 0.25})
    assert explorer.files.code_box.text == "", "not worked out while nobody sees it"
    explorer.files.heading.value = True
    scope = {"generator": generator, "classifier": classifier, "link": link}
    exec(explorer.files.code_box.text, scope)
    np.testing.assert_array_equal(scope["state"].rgb(), panels(explorer))
    explorer.seed.value = 4
    assert "seed=4" in explorer.files.code_box.text == explorer.code()
    explorer.outlines.value = True
    assert "outlines=True" in explorer.files.code_box.text == explorer.code()


def test_a_ranking_orders_the_list_as_rank_units_does(models, scores):
    explorer = UnitExplorer(*models[:3], scores)
    part, measure, direction, class_name = explorer._ranked._controls
    varies = set(explorer.session.units)
    assert part.options == ("arm", "leg", "picture", BY_SPREAD)
    for p in ("arm", "leg"):
        for m in ("area", "luminance"):
            for label, d in (("more", "more"), ("less", "less"), ("both", None)):
                part.value, measure.value, direction.value = p, m, label
                ranked = rank_units(scores, p, m, direction=d)
                wanted = [u for u in ranked.unit if u in varies]
                assert [row.unit for row in explorer.list.rows] == wanted
    class_name.value = "disc"
    ranked = rank_units(scores, "leg", "luminance", "disc")
    assert [row.unit for row in explorer.list.rows] == [u for u in ranked.unit if u in varies]
    measure.value = "area"
    part.value = "picture"
    assert measure.options == ("luminance",) and explorer.message.text == ""
    part.value = BY_SPREAD
    assert [row.unit for row in explorer.list.rows] == explorer.session.units
    explorer.close_all()


def test_what_rank_units_returns_is_a_ranking_too(models, scores):
    ranked = rank_units(scores, "arm", "luminance", "disc", direction="less")
    explorer = UnitExplorer(*models[:3], ranked)
    varies = set(explorer.session.units)
    assert [row.unit for row in explorer.list.rows] == [u for u in ranked.unit if u in varies]
    assert explorer._ranked.part.options == ("arm", BY_SPREAD)
    explorer.close_all()


def test_a_list_of_thousands_is_cut_and_searched(models):
    from lis_toolkit.explore import UnitRow

    units = UnitList([UnitRow(n, f"unit {n}", f"spread {n / 1000:.2g}", (0.5, 1.0)) for n in range(2048)])
    assert len(units.shown) == 200 and units.more == 1848
    assert len(json.dumps(units.get_state(["shown"]))) < 40_000
    chosen = []
    units.on_choose(chosen.append)
    for text, found in (
        ("2047", [2047]),
        ("unit 204", [204, *range(2040, 2048)]),
        ("spread nine", []),
        ("", None),
    ):
        tell(units, kind="search", text=text)
        if found is not None:
            assert [row["unit"] for row in units.shown] == found and units.more == 0
    tell(units, kind="search", text="2047", choose=True)
    tell(units, kind="choose", unit=12)
    for nonsense in ({"unit": 4000}, {"unit": "12"}, {}, {"unit": None}):
        tell(units, kind="choose", **nonsense)
    units._handle_custom_msg("no message of ours", [])
    assert chosen == [2047, 12]
    units.close()


def test_comms_stay_the_same_over_300_units_and_all_are_closed(models):
    gc.collect()
    before = set(WIDGETS)
    explorer = UnitExplorer(*models[:3], companions=companion_directions(models[3]))
    live = explorer._live
    first = len(WIDGETS)
    for n in range(300):
        explorer.unit = explorer.session.units[n % len(explorer.session.units)]
        explorer.pin(explorer.unit) if n % 7 == 0 else explorer.unpin(explorer.unit)
    assert len(WIDGETS) == first
    explorer.close_all()
    assert [type(WIDGETS[key]).__name__ for key in set(WIDGETS) - before] == []
    counts = live.counts
    explorer._request()
    assert live.counts == counts, "a closed explorer renders nothing"


def test_in_a_notebook_the_state_is_right_in_the_same_cell(models, explorer):
    """With an event loop requests are worked off by a thread; asking for the state waits for the newest."""

    async def cell():
        for value in np.linspace(0, 0.4, 9):
            explorer.set({explorer.unit: value})
        assert explorer.state.values == {explorer.unit: 0.4}
        np.testing.assert_array_equal(panels(explorer)[1], rendered(models, explorer))
        explorer.unit = explorer.session.units[3]
        assert explorer.state.unit == explorer.session.units[3]
        while not explorer.charts.figures[2]["caption"].startswith(f"unit {explorer.unit} "):
            await asyncio.sleep(0.01)  # the plots follow

    asyncio.run(asyncio.wait_for(cell(), 30))


def test_history_takes_settled_values_not_every_step(explorer):
    async def cell():
        for value in np.linspace(0.05, 0.4, 30):
            move(explorer, explorer.unit, float(value))
        explorer.seed.value = 3  # another control: the value before it counts
        explorer.back()
        assert explorer.values[explorer.unit] == pytest.approx(0.4) and explorer.seed.value == 0
        explorer.back()
        assert explorer.values[explorer.unit] == explorer.session.observed(explorer.unit)[1]
        assert explorer._back.disabled

    asyncio.run(cell())


def test_later_calls_the_newest_and_always_the_last():
    called = []

    async def run(later):
        for n in range(5):
            later.ask(lambda n=n: called.append(n))
        assert called == [] and later.waiting
        while later.waiting:
            await asyncio.sleep(0.01)
        later.ask(lambda: called.append("cancelled"))
        later.cancel()
        later.ask(lambda: called.append("flushed"))
        later.flush()
        assert not later.waiting

    for quiet in (False, True):
        called.clear()
        asyncio.run(asyncio.wait_for(run(Later(0.02, quiet)), 30))
        assert called == [4, "flushed"]
    Later(5).ask(lambda: called.append("at once"))
    assert called[-1] == "at once", "without an event loop"


def test_later_outlives_an_event_loop_that_ended():
    later, called = Later(0.01), []

    async def begin():
        later.ask(lambda: called.append("lost"))

    asyncio.run(begin())
    later._due -= 10  # that was some seconds ago

    async def go_on():
        later.ask(lambda: called.append("new"))
        while not called:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(go_on(), 30))
    assert called == ["new"]


def test_code_box_and_charts_keep_little_state():
    box = CodeBox(text="print(1)")
    charts = Charts()
    assert box.get_state()["text"] == "print(1)"
    assert len(str(charts.get_state())) < 20_000, "what a notebook saves of it is small: Plotly is not in it"
    box.close()
    charts.close()
