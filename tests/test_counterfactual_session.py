"""The session of counterfactuals: starts, ways and places along them against plain renders; settings as text, code."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, Photographs, collect_pairs, find_counterfactuals, fit_link
from lis_toolkit.counterfactuals import (
    CounterfactualSession,
    CounterfactualSetting,
    Stopped,
    counterfactual_code,
    stoppable,
)
from lis_toolkit.counterfactuals.way import first_crossing
from lis_toolkit.explore import save_gif, save_state_png
from lis_toolkit.parts.measures import measure_parts
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_sweep import tiny_segmenter

SETTING = CounterfactualSetting("disc", 4, target="ring")
RING = CLASSES.index("ring")


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=30, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def photographs(models):
    generator = models[0]
    with torch.no_grad():
        images = generator.render(generator.map(generator.sample_z(6, 5), torch.arange(6) % 3))
    return Photographs(images, torch.arange(6) % 3, CLASSES)


@pytest.fixture(scope="module")
def session(models, photographs):
    return CounterfactualSession(*models[:3], photographs=photographs, segmenter=tiny_segmenter(models[0]))


@torch.no_grad()
def seen(models, r):
    """Picture and logits of activations r [R], by the plain chain of calls."""
    generator, classifier, link, _ = models
    x = generator.render(link(r[None]))
    return x[0], classifier.head(classifier.features(x))[0]


def test_a_way_is_what_the_search_finds_and_its_course_is_rendered(models, session):
    way = session.search(SETTING)
    start = session.start("disc", 4)
    found = find_counterfactuals(*models[:3], start.r[None], target="ring")
    assert torch.equal(way.result.r_end, found.r_end) and way.target == "ring" and way.success
    assert session.search(SETTING) is way and session.known(replace(SETTING, place=0.3)) is way
    r, end = way.result.r_start[0], way.result.r_end[0]
    for k in range(0, len(way.amounts), 5):
        t = float(way.amounts[k])
        _, logits = seen(models, (r + t * (end - r)).relu())
        head = models[1].head((r + t * (end - r)).relu()[None])[0]
        for margins, said in ((way.margins, logits), (way.head_margins, head)):
            others = max(float(said[i]) for i in range(3) if i != RING)
            assert float(margins[k]) == pytest.approx(float(said[RING]) - others, abs=1e-3)
    assert way.amounts[[0, -1]].tolist() == [0.0, 1.25]


def test_a_place_along_the_way_is_the_plain_render_there(models, session):
    way = session.search(SETTING)
    r, end = way.result.r_start[0], way.result.r_end[0]
    pictures = []
    for place in (0.0, 0.4, 1.0, 1.25):
        state = session.show(replace(SETTING, place=place))
        picture, logits = seen(models, (r + place * (end - r)).relu())
        torch.testing.assert_close(state.tuned, picture, atol=1e-5, rtol=0)
        torch.testing.assert_close(state.logits, logits, atol=1e-3, rtol=1e-4)
        assert state.margin == pytest.approx(
            float(logits[RING] - logits[[k for k in range(3) if k != RING]].max()), abs=1e-3
        )
        torch.testing.assert_close(state.start, seen(models, r)[0])
        assert (state.r_set >= 0).all()
        pictures.append(state.tuned)
    assert torch.equal(pictures[0], state.start) and not torch.equal(pictures[1], pictures[2])
    assert "0.40 of the way to ring" in session.show(replace(SETTING, place=0.4)).captions()[1]


def test_before_a_search_only_the_start_is_shown(session):
    state = session.show(CounterfactualSetting("ring", 9, target="disc", place=0.7))
    assert torch.equal(state.tuned, state.start) and state.margin is None
    assert state.title == "not searched yet" and state.captions()[0].startswith("cycled start: ")
    with pytest.raises(LisError, match="press Find"):
        session.walk(CounterfactualSetting("ring", 9, target="disc"))


def test_the_crossing_is_between_the_two_places_beside_it():
    amounts = torch.tensor([0.0, 0.5, 1.0, 1.5])
    assert first_crossing(amounts, torch.tensor([-3.0, -1.0, 3.0, -2.0])) == pytest.approx(0.625)
    assert first_crossing(amounts, torch.tensor([-3.0, 1.0, -1.0, 5.0])) == pytest.approx(0.375), "the first"
    assert first_crossing(amounts, torch.tensor([1.0, 1.0, 1.0, 1.0])) == 0.0
    assert first_crossing(amounts, torch.tensor([-3.0, -1.0, -0.5, 0.0])) is None


def test_the_units_that_carry_most_are_those_of_the_largest_shift_in_their_spread(models, session):
    way, link = session.search(SETTING), models[2]
    shift = (way.result.r_end - way.result.r_start)[0].double().numpy()
    spread = link.unit_std.double().numpy()
    in_sd = np.divide(shift, spread, out=np.zeros_like(shift), where=spread > 0)
    order = np.argsort(-(in_sd**2), kind="stable")[:4]
    carried = way.carriers(4)
    assert [u for u, _, _ in carried] == order.tolist()
    assert [v for _, v, _ in carried] == pytest.approx(in_sd[order].tolist(), rel=1e-4)
    assert [p for _, _, p in carried] == pytest.approx(
        (in_sd[order] ** 2 / (in_sd**2).sum()).tolist(), rel=1e-4
    )


def test_the_starts_own_class_is_no_target(models, session):
    for which in CLASSES:
        start = session.start(which, 2)
        own = {session.origin(start), CLASSES[int(seen(models, start.r)[1].argmax())]}
        assert session.targets(start) == ("nearest", *(name for name in CLASSES if name not in own))
    nearest = session.search(replace(SETTING, target="nearest"))
    assert nearest.target in ("ring", "cross") and nearest.success


def test_a_photograph_is_kept_beside_its_cycle(models, session, photographs):
    state = session.show(CounterfactualSetting("disc", photograph=4))
    assert torch.equal(state.photograph, photographs.images[4]) and state.rgb().shape == (4, 16, 16, 3)
    classifier = models[1]
    r = classifier.features(photographs.images[4:5])[0]
    torch.testing.assert_close(state.raw_r, r)
    picture, logits = seen(models, r)
    again = classifier.features(picture[None])[0]
    names = [CLASSES[int(v.argmax())] for v in (classifier.head(r[None])[0], logits)]
    told = state.cycle_loss()
    assert (f"still {names[1]}" if names[0] == names[1] else f"{names[0]} became {names[1]}") in told
    rms = float((picture - photographs.images[4]).square().mean().sqrt())
    assert f"pixels off by {rms:.2f}" in told and f"r by {float((again - r).norm() / r.norm()):.0%}" in told
    captions = state.captions()
    assert captions[0].startswith("photograph: ") and captions[1].endswith(f"pixels off by {rms:.2f}")
    assert len(captions) == len(state.descriptions()) == 4 and told in state.descriptions()[1]
    plain = session.show(CounterfactualSetting("disc", 4))
    assert plain.photograph is None and plain.cycle_loss() == "" and len(plain.captions()) == 3


def test_photographs_of_another_size_are_shown_in_the_pictures_size():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    classifier.size = None  # takes pictures of any size
    pairs = collect_pairs(generator, classifier, per_class=10, seed=0)
    large = Photographs(torch.rand(2, 1, 32, 32), torch.zeros(2, dtype=torch.long), CLASSES)
    session = CounterfactualSession(generator, classifier, fit_link(pairs, penalty=0.01), photographs=large)
    state = session.show(CounterfactualSetting("disc", photograph=1))
    expected = large.images[1].reshape(1, 16, 2, 16, 2).mean(dim=(2, 4))
    torch.testing.assert_close(state.photograph, expected)
    assert state.rgb().shape == (4, 16, 16, 3)


def test_the_classes_on_the_way_are_told_in_order(session):
    way = session.search(SETTING)
    names = ["disc", "disc", "cross", "ring", "disc"]
    logits = torch.stack([torch.eye(3)[CLASSES.index(name)] for name in names])
    places = torch.tensor([0.0, 0.3, 0.6, 1.0, 1.25])
    told = replace(way, amounts=places, logits=logits, margins=places - 0.5, head_margins=places)
    assert told.through == ["disc", "cross", "ring"] and ("through", "disc, cross, ring") in told.facts()


def test_part_changes_are_measured_on_both_pictures(session):
    session.search(SETTING)
    state = session.show(SETTING)
    assert state.labels is None, "outlines were not asked for"
    pictures = torch.stack([state.start, state.tuned])
    measured = measure_parts(pictures, state.parts, session.segmenter.legend).to_frame()
    rows = dict(state.part_changes())
    assert rows
    for part, of in rows.items():
        assert of["area"] == pytest.approx(measured[f"{part}.area"].fillna(0).tolist(), abs=1e-6)
        if "luminance" in of:
            assert of["luminance"] == pytest.approx(measured[f"{part}.luminance"].tolist(), abs=1e-6)
    outlined = session.show(SETTING, outlines=True)
    assert torch.equal(outlined.labels, state.parts[1]) and outlined.rgb(outlines=True).shape[1] > 100


def test_pictures_and_films_are_written(session, tmp_path):
    from PIL import Image

    setting = CounterfactualSetting("disc", photograph=3)
    session.search(setting)
    save_state_png(tmp_path / "way.png", session.show(setting))
    with Image.open(tmp_path / "way.png") as image:
        assert image.width > 4 * 160
    save_gif(tmp_path / "way.gif", session.walk(setting, 4))
    with Image.open(tmp_path / "way.gif") as film:
        assert film.n_frames == 6


@pytest.mark.parametrize(
    "setting",
    [
        replace(SETTING, place=0.73),
        replace(SETTING, method="closed_form", metric="euclidean"),
        CounterfactualSetting("disc", photograph=2, place=1.1),
    ],
)
def test_code_gives_the_same_picture(models, session, photographs, setting):
    session.search(setting)
    names = dict(zip(("generator", "classifier", "link"), models, strict=False)) | {
        "photographs": photographs
    }
    exec(compile(counterfactual_code(setting, session), "copied", "exec"), names)
    assert torch.equal(names["state"].tuned, session.show(setting).tuned)
    assert names["state"].captions() == session.show(setting).captions()


def test_code_of_given_activations_of_pairs_and_of_outlines(models, session):
    generator, classifier, link, pairs = models
    setting = CounterfactualSetting("disc", r=pairs.r[40], r_name="pair 40", place=0.5)
    session.search(setting)
    names = dict(
        generator=generator, classifier=classifier, link=link, segmenter=session.segmenter, pairs=pairs
    )
    exec(compile(counterfactual_code(setting, session, outlines=True), "copied", "exec"), names)
    assert (
        torch.equal(names["state"].tuned, session.show(setting).tuned) and names["state"].labels is not None
    )
    from_pairs = CounterfactualSession(generator, classifier, link, pairs=pairs)
    setting = CounterfactualSetting("disc", 4)
    from_pairs.search(setting)
    exec(compile(counterfactual_code(setting, from_pairs), "copied", "exec"), names)
    assert torch.equal(names["state"].tuned, from_pairs.show(setting).tuned)
    assert torch.equal(names["start"].r, pairs.r[pairs.labels == 0][4])


@pytest.mark.parametrize(
    "setting",
    [
        CounterfactualSetting(
            "ring", 3, 0.5, target="disc", method="closed_form", metric="sparse", place=0.25
        ),
        CounterfactualSetting("disc", photograph=2),
        CounterfactualSetting("disc", r=(0.5,) * 10, r_name="halves", method="paper"),
    ],
)
def test_settings_go_to_text_and_back(session, setting):
    if setting.r is not None:
        setting = replace(setting, r=tuple([0.5] * session.link.num_units))
    text = setting.to_json(session)
    assert CounterfactualSetting.from_json(text, session) == setting
    told = json.loads(text)
    assert told["models"]["link"]["sha256"] == session.hashes["link"] and "torch" in str(told["provenance"])


def test_texts_that_are_no_settings_of_these_models_are_refused(models, session, photographs):
    text = replace(SETTING, photograph=2).to_json(session)
    told = json.loads(text)

    def refused(match, other=session, **changes):
        with pytest.raises(LisError, match=match):
            CounterfactualSetting.from_json(json.dumps({**told, **changes}), other)

    refused("has no class 'crosses'", target="crosses")
    refused("one of latent, closed_form, paper", method="laten")
    refused("0 to 1.25", place=1.3)
    refused("finite", place="far")
    refused("a whole number from 0 to 5", photograph=6)
    refused("which no setting has", places=0.1)
    refused("format", format="lis_toolkit unit setting 1")
    refused("does not say which models", models={})
    refused("does not say which models", models=3)
    lone = {k: v for k, v in told["models"].items() if k != "photograph"}
    refused("another one than when the setting was saved", models=lone)
    with pytest.raises(LisError, match="damaged"):
        CounterfactualSetting.from_json(text[:90], session)
    turned = Photographs(photographs.images.flip(0), photographs.labels, CLASSES)
    refused(
        "another one than when the setting was saved", CounterfactualSession(*models[:3], photographs=turned)
    )
    refused("there are no photographs", CounterfactualSession(*models[:3]))
    other_link = fit_link(models[3], penalty=1.0)
    refused(
        "belongs to other models", CounterfactualSession(*models[:2], other_link, photographs=photographs)
    )


def test_what_makes_no_session_or_setting_is_refused(models, session):
    generator, classifier, link, pairs = models
    with pytest.raises(LisError, match="Photographs were expected"):
        CounterfactualSession(generator, classifier, link, photographs=pairs.r)
    with pytest.raises(LisError, match="does not belong"):
        CounterfactualSession(tiny_generator(seed=5), classifier, link)
    bare = fit_link(pairs, penalty=0.01)
    bare.statistics = None
    with pytest.raises(LisError, match="no class statistics"):
        CounterfactualSession(generator, classifier, bare)
    helped = CounterfactualSession(generator, classifier, bare, pairs=pairs)
    assert helped.search(replace(SETTING, target="nearest")).target in CLASSES and helped.goals == CLASSES
    assert "pairs=pairs" in counterfactual_code(SETTING, helped)
    for wrong in (
        {"target": 3},
        {"method": "fast"},
        {"metric": "cosine"},
        {"place": -0.1},
        {"photograph": -1},
    ):
        with pytest.raises(LisError):
            CounterfactualSetting("disc", **wrong)
    with pytest.raises(LisError, match="Did you mean 'ring'"):
        session.search(replace(SETTING, target="Ring"))
    two = find_counterfactuals(generator, classifier, link, pairs.r[:2], target="all")
    with pytest.raises(LisError, match="one, found from this very start"):
        session.along(session.start("disc"), two, 0.5)


def test_a_search_stops_when_it_is_told_to(models, session):
    setting = CounterfactualSetting("disc", 5, target="ring", method="paper")
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Stopped):
        session.search(setting, stop=stop)
    assert len(asked) == 6 and session.known(setting) is None
    generator = models[0]
    assert not generator.synthesis._forward_pre_hooks, "nothing is left behind"
    with stoppable(generator, lambda: True), pytest.raises(Stopped):
        generator.render(torch.zeros(1, generator.w_dim))
    assert session.search(replace(setting, method="latent")).target == "ring"


def test_failures_say_why_and_their_best_point_is_shown(models, session, monkeypatch):
    asked = session.asked
    monkeypatch.setattr(
        session, "asked", lambda setting: {**asked(setting), "margin": 1e4}
    )  # beyond any reach
    setting = CounterfactualSetting("disc", 91, target="cross")
    way = session.search(setting)
    row = way.result.table.iloc[0]
    assert (
        not way.success
        and way.verdict() == f"no way found: {row.reason}. The best point seen is shown at 1.00."
    )
    best = session.show(setting)
    torch.testing.assert_close(best.tuned, seen(models, way.result.r_end[0])[0])
    assert best.margin == pytest.approx(row.margin_end, abs=1e-3)
    assert dict(way.facts())["margin"] == f"{row.margin_start:+.1f} to {row.margin_end:+.1f} logits"
