"""The explorer of counterfactuals without a browser: it searches by itself, shows plain renders, says what failed."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, Photographs, collect_pairs, convert_range, fit_link
from lis_widgets import CounterfactualExplorer
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_sweep import tiny_segmenter


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=30, seed=0)
    with torch.no_grad():
        images = generator.render(generator.map(generator.sample_z(6, 5), torch.arange(6) % 3))
    photographs = Photographs(images, torch.arange(6) % 3, CLASSES)
    return generator, classifier, fit_link(pairs, penalty=0.01), photographs


@pytest.fixture
def explorer(world):
    *models, photographs = world
    explorer = CounterfactualExplorer(
        *models,
        photographs=photographs,
        segmenter=tiny_segmenter(models[0]),
        which="disc",
        seed=4,
        target="ring",
    )
    yield explorer
    explorer.close()


def move(explorer, value):
    number = move.number = getattr(move, "number", 0) + 1
    message = {"kind": "move", "values": {"place": value}, "number": number}
    explorer.sliders._receive(explorer.sliders, message, [])


@torch.no_grad()
def rendered(world, r):
    generator, _, link, _ = world
    return (
        convert_range(generator.render(link(r[None]))[0], "unit", "byte")
        .permute(1, 2, 0)
        .expand(-1, -1, 3)
        .numpy()
    )


def along(explorer, place):
    way = explorer.way.result
    return (way.r_start[0] + place * (way.r_end[0] - way.r_start[0])).relu()


def check(world, explorer):
    """Start and picture on the screen are the library's renders."""
    panels = explorer.picture.panels[-3:]
    np.testing.assert_allclose(panels[0].astype(int), rendered(world, explorer.way.result.r_start[0]), atol=1)
    np.testing.assert_allclose(
        panels[1].astype(int), rendered(world, along(explorer, explorer.place)), atol=1
    )


def test_the_way_is_searched_by_itself_and_the_slider_walks_it(world, explorer):
    assert explorer.way.success and explorer.place == 1.0
    check(world, explorer)
    assert (
        explorer.choice.verdict.text == "disc to ring: a way was found."
        and explorer.choice.verdict.kind == "note"
    )
    (row,) = explorer.sliders.rows
    assert (row["low"], row["high"], row["seen_high"], row["label"]) == (0.0, 1.25, 1.0, "to ring")
    assert row["own"] == pytest.approx(explorer.way.crossing)
    seen = []
    for place in (0.0, 0.5, explorer.way.crossing, 1.0, 1.25):
        move(explorer, place)
        check(world, explorer)
        assert explorer.state.place == pytest.approx(place)
        seen.append(explorer.picture.panels[1].tobytes())
    assert len(set(seen)) == 5
    explorer.sliders._receive(explorer.sliders, {"kind": "action", "key": "place", "action": "reset"}, [])
    assert explorer.place == pytest.approx(explorer.way.crossing) and explorer.state.margin == pytest.approx(
        0, abs=0.1
    )
    explorer.reset()
    np.testing.assert_array_equal(explorer.picture.panels[0], explorer.picture.panels[1])


def test_another_target_method_or_start_is_searched_at_once(world, explorer):
    first = explorer.way
    explorer.target.value = "cross"
    assert explorer.way.target == "cross" and explorer.way is not first and explorer.setting.target == "cross"
    check(world, explorer)
    explorer.method.value = "closed_form"
    assert explorer.metric.layout.display == "" and explorer.way.result.settings["method"] == "closed_form"
    explorer.metric.value = "euclidean"
    assert explorer.way.result.settings["metric"] == "euclidean"
    explorer.method.value = "latent"
    assert explorer.metric.layout.display == "none"
    explorer.target.value = "nearest"
    assert explorer.way.target in ("ring", "cross")
    explorer.seed.value = 5
    assert torch.equal(explorer.way.result.r_start[0], explorer.session.start("disc", 5).r)
    explorer.seed.value, explorer.target.value = 4, "ring"
    assert explorer.way is first, "a way that is known is not searched again"


def test_the_starts_own_class_is_not_offered_and_a_target_that_became_it_gives_way(explorer):
    assert [name for _, name in explorer.target.options] == ["nearest", "ring", "cross"]
    explorer.which.value, explorer.seed.value = "ring", 8  # a ring, and seen as one
    assert [name for _, name in explorer.target.options] == ["nearest", "disc", "cross"]
    assert explorer.target.value == explorer.setting.target == "nearest" and explorer.way.success
    assert explorer.message.kind == "note" and "of ring already" in explorer.message.text
    explorer.target.value = "cross"
    assert explorer.message.text == ""


def test_failures_are_said_in_plain_words_with_the_best_point_shown(world, explorer, monkeypatch):
    asked = explorer.session.asked
    with monkeypatch.context() as patch:
        patch.setattr(
            explorer.session, "asked", lambda setting: {**asked(setting), "margin": 1e4}
        )  # out of reach
        explorer.target.value = "cross"
    assert not explorer.way.success
    verdict = explorer.choice.verdict
    assert (
        verdict.kind == "error"
        and verdict.text.startswith("no way found: ")
        and 'role="alert"' in verdict.value
    )
    check(world, explorer)
    explorer.target.value = "ring"
    assert verdict.kind == "note" and "was found" in verdict.text


def test_an_error_is_told_once_and_find_tries_again(explorer, monkeypatch):
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise LisError("no <way> out.")

    with monkeypatch.context() as patch:
        patch.setattr("lis_toolkit.counterfactuals.session.find_counterfactuals", broken)
        explorer.target.value = "cross"
        assert (
            explorer.choice.verdict.text == "no <way> out." and "&lt;way&gt;" in explorer.choice.verdict.value
        )
        move(explorer, 0.4)
        move(explorer, 0.5)
        assert len(calls) == 1 and explorer.choice.verdict.kind == "error" and explorer.way is None
        assert "not searched yet" in explorer.picture.captions[1]
        explorer.find()
        assert len(calls) == 2
    explorer.choice.find.click()
    assert explorer.way.target == "cross" and explorer.choice.verdict.text == explorer.way.verdict()
    with pytest.raises(LisError, match="no class 'rings'"):
        explorer.find("rings")


def test_the_slow_method_waits_for_find(explorer):
    explorer.method.value = "paper"
    assert explorer.way is None and "minutes" in explorer.choice._hint.value and explorer.choice.stop.disabled
    assert "press Find" in explorer.course.figures[0]["text"]
    explorer.choice.find.click()
    assert explorer.way.result.settings["method"] == "paper"
    explorer.seed.value = 5
    assert explorer.way is None, "another start is not searched by itself"
    explorer.method.value = "latent"
    assert explorer.way is not None and explorer.choice._hint.layout.display == "none"


def test_models_that_render_slowly_wait_for_find(explorer, monkeypatch):
    monkeypatch.setattr("lis_toolkit.counterfactuals.session.QUICK_PIXELS", 15)
    explorer.target.value = "cross"
    assert explorer.way is None and "take a CPU seconds" in explorer.choice._hint.value
    assert "not searched yet" in explorer.static_view(), "nobody waits for it"
    explorer.find()
    assert explorer.way.target == "cross"


def test_a_search_is_stopped_by_its_button_and_dropped_for_another(world):
    async def use():
        explorer = CounterfactualExplorer(*world[:3], which="disc", seed=4, target="ring")
        entered, gate, answers = threading.Event(), threading.Event(), []
        search = explorer.session.search

        def slow(setting, stop=None):
            entered.set()
            assert gate.wait(20)
            answers.append((setting.target, stop()))
            return search(setting, stop)

        async def until(done):
            for _ in range(1000):
                if done():
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("it never comes")

        await until(lambda: explorer.way is not None)
        explorer.session.search = slow
        try:
            explorer.target.value = "cross"
            await until(entered.is_set)
            assert (
                not explorer.choice.stop.disabled
                and "looking for the way to cross" in explorer.choice.verdict.text
            )
            explorer.choice.stop.click()
            assert explorer.choice.stop.disabled and explorer.choice.verdict.text.startswith("stopped")
            gate.set()
            await until(lambda: len(answers) == 1)
            await until(lambda: explorer._ways.live.counts["failed"] == 1)
            assert answers == [("cross", True)] and explorer.way is None
            assert explorer.choice.verdict.text.startswith("stopped"), "no error takes its place"
            entered.clear()
            gate.clear()
            explorer.choice.find.click()
            await until(entered.is_set)
            explorer.target.value = "nearest"  # overtakes the search that is under way
            await until(lambda: explorer._ways.wanted == explorer.setting.question)
            gate.set()
            await until(lambda: explorer.way is not None and explorer.choice.verdict.text.endswith("found."))
            assert answers[1:] == [("cross", True), ("nearest", False)]
        finally:
            gate.set()
            explorer.close()

    asyncio.run(use())


def test_photographs_are_shown_beside_their_cycle(world, explorer):
    explorer.source.value = "photographs"
    assert explorer.setting.photograph == 0 and explorer.which.layout.display == "none"
    explorer.photograph.value = 4
    assert len(explorer.picture.panels) == 4 and explorer.way is not None
    expected = convert_range(world[3].images[4], "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()
    np.testing.assert_array_equal(explorer.picture.panels[0], expected)
    assert "pixels off by" in explorer.picture.captions[1]
    assert "cycle lost" in explorer.choice._facts.value
    check(world, explorer)
    explorer.random()
    assert 0 <= explorer.photograph.value < 6 and explorer.source.value == "photographs"
    explorer.source.value = "samples"
    assert len(explorer.picture.panels) == 3 and explorer.photograph.layout.display == "none"
    explorer.open(photograph=2)
    assert explorer.source.value == "photographs" and explorer.photograph.value == 2
    with pytest.raises(LisError, match="0 to 5"):
        explorer.open(photograph=6)


def test_plots_show_the_way_and_the_place(explorer):
    way = explorer.way
    (course,) = explorer.course.figures
    rendered, head, boundary = course["data"]
    assert rendered["y"] == pytest.approx(way.margins.tolist()) and head["line"]["dash"] == "dot"
    assert head["y"] == pytest.approx(way.head_margins.tolist())
    assert boundary["x"] == [pytest.approx(way.crossing)] and course["layout"]["shapes"][-1]["x0"] == 1.0
    move(explorer, 0.5)
    (course,) = explorer.course.figures
    assert course["layout"]["shapes"][-1]["x0"] == 0.5 and "the line is at 0.50" in course["description"]
    classes, units, areas, light = explorer.charts.figures
    assert classes["data"][1]["x"] == pytest.approx(explorer.state.logits.tolist())
    carried = way.carriers(10)
    assert units["data"][0]["y"] == [f"unit {u}" for u, _, _ in carried]
    assert units["data"][0]["x"] == pytest.approx([shift for _, shift, _ in carried])
    spread = explorer.session.link.unit_std
    expected = [float((explorer.state.r - explorer.state.start_r)[u] / spread[u]) for u, _, _ in carried]
    assert units["data"][1]["x"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    rows = dict(explorer.state.part_changes())
    for figure, measure in ((areas, "area"), (light, "luminance")):
        for name, before, after in zip(
            figure["data"][0]["y"], *(d["x"] for d in figure["data"]), strict=True
        ):
            assert (before, after) == pytest.approx(rows[name][measure])
    explorer.scale.value = "probabilities"
    assert explorer.charts.figures[0]["caption"] == "classifier: probabilities"


def test_back_and_forward_files_and_code(world, explorer, tmp_path):
    from PIL import Image

    move(explorer, 0.5)
    explorer._settle.flush()
    explorer.target.value = "cross"
    explorer.back()
    assert explorer.place == 0.5 and explorer.target.value == "ring"
    check(world, explorer)
    explorer.forward()
    assert explorer.target.value == "cross" and explorer.place == 1.0
    explorer.back()
    path = explorer.save(tmp_path / "way.json")
    before = explorer.setting
    explorer.random()
    explorer.load(path)
    assert explorer.setting == before and explorer.sliders.values == {"place": 0.5}
    check(world, explorer)
    (tmp_path / "broken.json").write_text(path.read_text().replace('"ring"', '"rings"'))
    with pytest.raises(LisError, match="no class 'rings'"):
        explorer.load(tmp_path / "broken.json")
    assert explorer.setting == before
    names = dict(zip(("generator", "classifier", "link", "photographs"), world, strict=True))
    exec(compile(explorer.code(), "copied", "exec"), names)
    assert torch.equal(names["state"].tuned, explorer.state.tuned)
    np.testing.assert_array_equal(names["state"].rgb(), explorer.picture.panels)
    with Image.open(explorer.save_gif(tmp_path / "way.gif")) as film:
        assert film.n_frames >= 20
    explorer.outlines.value = True
    assert "outlines=True" in explorer.code() and explorer.picture.panels.shape[1] > 100
    with Image.open(explorer.save_png(tmp_path / "way.png")) as image:
        assert image.width > 300
    assert explorer._stem() == "disc-to-ring"


def test_given_activations_are_a_start_too(world, explorer):
    r = explorer.session.start("cross", 1).r
    explorer.open(r=r, name="a cross")
    assert "from a cross" in explorer._origin.value and torch.equal(explorer.way.result.r_start[0], r)
    with pytest.raises(LisError):
        explorer.open(r=torch.zeros(3))
    explorer.seed.value = 7
    assert explorer.setting.r is None and explorer._origin.value == ""


def test_what_does_not_belong_together_is_refused(world):
    generator, classifier, link, _ = world
    with pytest.raises(LisError, match="has no class 'Ring'"):
        CounterfactualExplorer(generator, classifier, link, target="Ring")
    with pytest.raises(LisError, match="one of latent, closed_form, paper"):
        CounterfactualExplorer(generator, classifier, link, method="fast")
    with pytest.raises(LisError, match="no class 'square'"):
        CounterfactualExplorer(generator, classifier, link, which="square")
    with pytest.raises(LisError, match="does not belong"):
        CounterfactualExplorer(tiny_generator(seed=5), classifier, link)


def test_nothing_is_left_open(world):
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    for photographs in (None, world[3]):
        explorer = CounterfactualExplorer(*world[:3], photographs=photographs, which="disc", seed=4)
        explorer.target.value = "ring"
        assert explorer.static_view().count("<figure") == 3
        explorer.close()
        assert explorer._live._closed and explorer._films._closed and explorer._ways.live._closed
    assert [type(_instances[key]).__name__ for key in set(_instances) - before] == []
