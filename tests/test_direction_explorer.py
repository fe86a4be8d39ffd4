"""The explorer of directions without a browser: pictures against plain renders, families, combinations, errors."""

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, convert_range, fit_link
from lis_toolkit.directions import Directions, class_directions, principal_directions
from lis_widgets import DirectionExplorer
from tiny import tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture
def explorer(world):
    explorer = DirectionExplorer(*world[:3], pairs=world[3], which="disc", seed=1)
    yield explorer
    explorer.close()


def move(explorer, **values):
    explorer.sliders._receive(explorer.sliders, {"kind": "move", "values": values, "number": 1}, [])


@torch.no_grad()
def rendered(world, r):
    generator, _, link, _ = world
    x = generator.render(link(r[None]))[0]
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def start_of(world, explorer):
    pairs = world[3]
    return pairs.r[pairs.labels == pairs.classes.index(explorer.which.value)][explorer.seed.value]


def click(explorer, text):
    (button,) = (part for part in explorer.choice.form.children if part.description == text)
    button.click()


def keys(explorer):
    return [row["key"] for row in explorer.sliders.rows]


def test_sliders_move_the_picture_along_their_directions(world, explorer):
    principal = principal_directions(world[2], 2, world[3])
    assert keys(explorer)[:2] == ["principal 1", "principal 2"]
    r = start_of(world, explorer)
    np.testing.assert_array_equal(explorer.picture.panels[1], rendered(world, r))
    move(explorer, **{"principal 1": 1.5})
    np.testing.assert_array_equal(explorer.picture.panels[1], rendered(world, r + 1.5 * principal.vectors[0]))
    assert "principal 1 at +1.5" in explorer.picture.captions[1]
    move(explorer, **{"principal 2": -1.0})
    both = r + 1.5 * principal.vectors[0] - principal.vectors[1]
    np.testing.assert_allclose(explorer.picture.panels[1].astype(int), rendered(world, both), atol=1)
    assert explorer.amounts == {"principal 1": 1.5, "principal 2": -1.0}
    explorer.reset()
    assert explorer.amounts == {} and explorer.state.title == "nothing set"
    np.testing.assert_array_equal(explorer.picture.panels[1], rendered(world, r))


def test_ranges_strengths_and_ticks_are_the_directions_own(world, explorer):
    principal = principal_directions(world[2], 4, world[3])
    for row, low, high in zip(explorer.sliders.rows, principal.low, principal.high, strict=False):
        assert (row["low"], row["high"], row["own"], row["value"]) == (
            pytest.approx(low),
            pytest.approx(high),
            0,
            0,
        )
    assert f"1 moves w by {principal.strength[0]:.3g}" in explorer.sliders.rows[0]["tooltip"]
    told = ", ".join(f"{strength:.2f}" for strength in principal.strength[:9])
    assert told.count(",") >= 2 and told in explorer.choice.hint.value, "all of them, in order"


def test_class_differences_start_from_the_class_chosen(world, explorer):
    explorer.family.value = "class differences"
    assert explorer.source.value == "disc" and explorer.source in explorer.choice.children
    assert keys(explorer) == ["disc to ring", "disc to cross"]
    explorer.source.value = "ring"
    assert keys(explorer) == ["ring to disc", "ring to cross"]
    move(explorer, **{"ring to cross": 0.5})
    vector = class_directions(world[3], source="ring").vector("ring to cross")
    expected = rendered(world, start_of(world, explorer) + 0.5 * vector)
    np.testing.assert_allclose(explorer.picture.panels[1].astype(int), expected, atol=1)
    assert "ring to cross at +0.5" in explorer.picture.captions[1]


def test_what_is_moved_keeps_its_slider_when_another_family_is_shown(explorer):
    explorer.set({"disc to ring": 0.5})
    assert keys(explorer)[0] == "disc to ring" and explorer.sliders.rows[0]["removable"]
    explorer.family.value = "class differences"
    assert keys(explorer) == ["disc to ring", "disc to cross"] and not explorer.sliders.rows[0]["removable"]
    explorer.family.value = "combinations of units"
    assert keys(explorer) == ["disc to ring"]
    explorer.sliders._receive(
        explorer.sliders, {"kind": "action", "key": "disc to ring", "action": "remove"}, []
    )
    assert keys(explorer) == [] and explorer.amounts == {}


def test_units_are_combined_by_hand(world, explorer):
    explorer.family.value = "combinations of units"
    assert explorer.choice.form in explorer.choice.children
    explorer.choice.unit.value, explorer.choice.weight.value = 3, 2.0
    click(explorer, "Add the unit")
    explorer.choice.unit.value, explorer.choice.weight.value = 5, -0.5
    click(explorer, "Add the unit")
    assert explorer.choice.typed.value == "3: 2, 5: -0.5"
    click(explorer, "Make the direction")
    assert keys(explorer) == ["combination 1"] and explorer.choice.typed.value == ""
    amount = explorer.sliders.rows[0]["high"] / 2
    move(explorer, **{"combination 1": amount})
    r = start_of(world, explorer).clone()
    r[3] += 2 * amount
    r[5] -= 0.5 * amount
    np.testing.assert_allclose(explorer.picture.panels[1].astype(int), rendered(world, r), atol=1)
    explorer.choice.typed.value = "seventeen"
    click(explorer, "Make the direction")
    assert explorer.message.kind == "error" and "seventeen" in explorer.message.text
    explorer.combine("combination 1", {4: 1.0})
    assert explorer.amounts == {}, "the old combination of this name is gone"


def test_more_directions_are_asked_for_by_name(world):
    many = Directions(
        tuple(f"d{i}" for i in range(30)), torch.eye(world[2].num_units)[torch.arange(30) % 10] + 0.1,
        (-1,) * 30, (1,) * 30, "mine",
    )  # fmt: skip
    explorer = DirectionExplorer(*world[:3], many)
    assert explorer.family.value == "given" and keys(explorer) == [f"d{i}" for i in range(9)]
    assert explorer.choice.more in explorer.choice.children and len(explorer.choice.more.options) == 22
    explorer.choice.more.value = "d20"
    assert (
        keys(explorer)[-1] == "d20"
        and explorer.sliders.rows[-1]["removable"]
        and explorer.choice.more.value == ""
    )
    explorer.close()


def test_plots_show_classes_what_the_move_is_made_of_and_what_moved(explorer):
    assert explorer.charts.figures[1]["caption"] == "units that make up principal 1, at +1"
    explorer.set({"disc to ring": 0.5})
    classes, made, moved = explorer.charts.figures
    assert classes["data"][1]["x"] == pytest.approx(explorer.state.logits.tolist())
    change = (explorer.state.r_set - explorer._start.r).abs().sort(descending=True)
    assert [abs(v) for v in made["data"][0]["x"]] == pytest.approx(change.values[:10].tolist(), abs=1e-6)
    assert made["data"][0]["y"][0] == f"unit {int(change.indices[0])}"
    assert moved["data"][0]["y"] == [f"unit {u}" for u, _ in explorer.state.moved_units(10)]


def test_code_back_and_forward_and_a_start_of_ones_own(world, explorer):
    explorer.set({"principal 1": 1.0})
    names = dict(zip(("generator", "classifier", "link", "pairs"), world, strict=True))
    exec(compile(explorer.code(), "copied", "exec"), names)
    assert torch.equal(names["state"].tuned, explorer.state.tuned)
    explorer.set({"principal 2": 1.0})
    explorer.back()
    assert explorer.amounts == {"principal 1": 1.0} and explorer.sliders.values["principal 2"] == 0
    explorer.forward()
    assert explorer.amounts == {"principal 1": 1.0, "principal 2": 1.0}
    explorer.open(world[3].r[7], "pair 7")
    assert "pair 7" in explorer._origin.value
    explorer.reset()
    np.testing.assert_array_equal(explorer.picture.panels[1], rendered(world, world[3].r[7]))


def test_a_picture_is_saved(explorer, tmp_path):
    from PIL import Image

    explorer.set({"principal 1": 1.0})
    with Image.open(explorer.save_png(tmp_path / "moved.png")) as image:
        assert image.width > 300
    with Image.open(explorer.save_gif(tmp_path / "moved.gif")) as film:
        assert film.n_frames >= 20
    before = explorer.setting
    assert explorer.setting == before
    assert explorer.files.upload is None, "settings of directions are kept as code"


def test_photographs_with_labels_stand_in_for_pairs(world):
    from lis_toolkit import Photographs

    generator, classifier, link, pairs = world
    with torch.no_grad():
        images = generator.render(pairs.w).cpu()
    photographs = Photographs(images, pairs.labels, pairs.classes)
    explorer = DirectionExplorer(generator, classifier, link, photographs=photographs)
    explorer.family.value = "class differences"
    r = classifier.features(images)
    expected = r[pairs.labels == 1].double().mean(0) - r[pairs.labels == 0].double().mean(0)
    np.testing.assert_allclose(explorer.families.joined(["disc to ring"]).vectors[0], expected, atol=1e-4)
    explorer.close()
    plain = DirectionExplorer(generator, classifier, link)
    assert list(plain.family.options) == ["principal", "combinations of units"]
    plain.close()


def test_errors_are_shown_and_gone_after_the_next_good_render(explorer, monkeypatch):
    before = explorer.picture.panels
    with monkeypatch.context() as patch:
        patch.setattr(explorer.session.generator, "render", lambda *_, **__: 1 / 0)
        move(explorer, **{"principal 1": 1.0})
        assert explorer.message.kind == "error" and "ZeroDivisionError" in explorer.message.text
        assert explorer.picture.stale and explorer.picture.panels is before
    move(explorer, **{"principal 1": 0.5})
    assert explorer.message.text == "" and not explorer.picture.stale
    with pytest.raises(LisError, match="no direction 'principal one'"):
        explorer.set({"principal one": 1.0})
    assert explorer.amounts == {"principal 1": 0.5}
    with pytest.raises(LisError):
        explorer.open(torch.zeros(3))


def test_a_family_that_cannot_be_made_is_told(explorer, monkeypatch):
    monkeypatch.setattr(explorer.families, "_classes", lambda source: 1 / 0)
    explorer.family.value = "class differences"
    assert explorer.message.kind == "error" and "ZeroDivisionError" in explorer.message.text
    explorer.family.value = "principal"
    move(explorer, **{"principal 1": 0.5})
    assert explorer.message.text == "" and explorer.amounts == {"principal 1": 0.5}


def test_what_does_not_belong_together_is_refused(world):
    generator, classifier, link, pairs = world
    with pytest.raises(LisError, match="of 3 units"):
        DirectionExplorer(generator, classifier, link, Directions(("a",), torch.ones(1, 3), (-1,), (1,)))
    with pytest.raises(LisError, match="does not belong"):
        DirectionExplorer(tiny_generator(seed=5), classifier, link)


def test_nothing_is_left_open(world):
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    explorer = DirectionExplorer(*world[:3], pairs=world[3])
    explorer.family.value = "combinations of units"
    explorer.family.value = "class differences"
    explorer.close()
    assert explorer._live._closed and explorer._films._closed
    left = [type(_instances[key]).__name__ for key in set(_instances) - before]
    assert left == []
