"""Families of directions: each from its source, several at once, typed combinations, code for the same picture."""

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, fit_link
from lis_toolkit.directions import (
    DirectionFamilies,
    Directions,
    class_directions,
    join_directions,
    principal_directions,
    read_combination,
    unit_combination,
)
from lis_toolkit.directions.families import CLASSES, GIVEN, PRINCIPAL, UNITS
from lis_toolkit.explore import DirectionSetting, History, UnitSession, direction_code, made_of, show_along
from tiny import tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    link = fit_link(pairs, penalty=0.01)
    return generator, classifier, link, pairs


@pytest.fixture
def families(world):
    return DirectionFamilies(world[2], pairs=world[3])


def test_each_family_is_what_its_maker_makes(world, families):
    link, pairs = world[2], world[3]
    assert families.names == (PRINCIPAL, CLASSES, UNITS) and families.sources == pairs.classes
    principal = families.family(PRINCIPAL)
    expected = principal_directions(link, len(principal), pairs)
    assert principal.names == expected.names and torch.equal(principal.vectors, expected.vectors)
    assert principal.high == expected.high
    found = families.family(CLASSES, "ring")
    assert torch.equal(found.vectors, class_directions(pairs, source="ring").vectors)
    assert (
        found.names == ("ring to disc", "ring to cross")
        and families.family(CLASSES).names[0] == "disc to ring"
    )
    assert families.family(UNITS) is None
    families.combine("wide", {3: 1.0, "unit 5": -2})
    assert torch.equal(
        families.family(UNITS).vectors, unit_combination({"wide": {3: 1, 5: -2}}, link).vectors
    )
    families.combine("wide", {4: 1.0})
    assert families.family(UNITS).largest_units("wide") == [(4, 1.0)], "made anew"


def test_without_labelled_images_there_are_no_class_differences(world):
    link, pairs = world[2], world[3]
    assert DirectionFamilies(link).names == (PRINCIPAL, UNITS)
    labelled = DirectionFamilies(link, r=pairs.r, labels=pairs.labels, classes=pairs.classes)
    assert torch.equal(
        labelled.family(CLASSES, "cross").vectors, class_directions(pairs, source="cross").vectors
    )


def test_given_directions_take_the_place_of_those_of_their_kind(world):
    link, pairs = world[2], world[3]
    mine = Directions(("mine",), torch.ones(1, link.num_units), (-1,), (1,), "hand-made")
    strong = principal_directions(link, 2)
    families = DirectionFamilies(link, [mine, strong], pairs)
    assert families.names == (GIVEN, PRINCIPAL, CLASSES, UNITS)
    assert families.family(PRINCIPAL) is strong and families.family(GIVEN) is mine
    combined = DirectionFamilies(link, unit_combination({"a": {3: 1.0}}, link))
    combined.combine("b", {4: 1.0})
    assert combined.family(UNITS).names == ("a", "b")


def test_directions_of_several_families_are_joined(families):
    families.family(PRINCIPAL)
    families.family(CLASSES, "disc")
    families.combine("wide", {3: 1.0})
    joined = families.joined(["disc to ring", "principal 2", "wide"])
    assert joined.names == ("disc to ring", "principal 2", "wide") and joined.kind == "several"
    assert torch.equal(joined.vector("principal 2"), families.family(PRINCIPAL).vector("principal 2"))


def test_what_is_typed_is_read():
    assert read_combination("17: 1, 40: -0.5") == {17: 1.0, 40: -0.5}
    assert read_combination(" unit 17 ; 40 = −2\n3×1e-1,") == {17: 1.0, 40: -2.0, 3: 0.1}
    for wrong in ("", " , ", "seventeen", "17: much", "17 1 2", "17: 1.2.3", "-3: 1"):
        with pytest.raises(LisError):
            read_combination(wrong)
    with pytest.raises(LisError, match="unit 17 is given twice"):
        read_combination("17, unit 17: 2")


def test_what_does_not_fit_is_refused(world, families):
    link, pairs = world[2], world[3]
    with pytest.raises(LisError, match="no family 'best'"):
        families.family("best")
    with pytest.raises(LisError, match="'Coat'"):
        families.family(CLASSES, "Coat")
    assert families.joined(["ring to disc"]).names == ("ring to disc",), "made when it is asked for"
    families.family(PRINCIPAL)
    with pytest.raises(LisError, match="no direction 'principal one'. Did you mean 'principal"):
        families.joined(["principal one"])
    with pytest.raises(LisError, match="no direction 'ring to Coat'"):
        families.joined(["ring to Coat"])
    with pytest.raises(LisError, match="already"):
        families.combine("principal 1", {3: 1.0})
    with pytest.raises(LisError):
        families.combine("wide", {link.num_units: 1.0})
    assert families.combinations == {}
    with pytest.raises(LisError, match="of 3 units"):
        DirectionFamilies(link, Directions(("a",), torch.ones(1, 3), (-1,), (1,)))
    with pytest.raises(LisError, match="type str"):
        DirectionFamilies(link, ["principal"])
    with pytest.raises(LisError, match="two directions"):
        DirectionFamilies(link, [principal_directions(link, 1)] * 2)
    with pytest.raises(LisError, match="no directions to join"):
        join_directions()
    with pytest.raises(LisError, match="units"):
        join_directions(principal_directions(link, 1), Directions(("a",), torch.ones(1, 3), (-1,), (1,)))
    assert class_directions(pairs, source=0).names  # nothing above changed the pairs


@torch.no_grad()
def test_a_setting_shows_its_start_moved_along_all_directions(world, families):
    generator, classifier, link, pairs = world
    session = UnitSession(generator, classifier, link)
    families.family(PRINCIPAL)
    families.family(CLASSES, "disc")
    amounts = {"principal 1": 1.5, "disc to ring": -0.5}
    state = show_along(session, DirectionSetting("disc", seed=4, amounts=amounts), families)
    w = generator.map(generator.sample_z(1, 4), ["disc"], link.psi)
    r = classifier.features(generator.render(w))
    mean = [pairs.r[pairs.labels == k].double().mean(0) for k in (0, 1)]
    moved = r + 1.5 * families.family(PRINCIPAL).vectors[0] - 0.5 * (mean[1] - mean[0]).float()
    np.testing.assert_allclose(state.r_set, moved[0], atol=1e-5)
    np.testing.assert_allclose(state.tuned, generator.render(link(moved))[0], atol=1e-5)
    assert state.title == "2 directions"
    still = show_along(session, DirectionSetting("disc", seed=4), families)
    assert torch.equal(still.tuned, still.start)
    change = dict(made_of(families, amounts, count=link.num_units))
    for unit, value in change.items():
        assert value == pytest.approx(float((moved - r)[0, unit]), abs=1e-5)
    sizes = [abs(value) for _, value in made_of(families, amounts, 3)]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True) and made_of(families, {}) == []


def test_settings_are_compared_by_all_they_say():
    first = DirectionSetting("disc", amounts={"a": 1, "b": 0.0})
    assert first.amounts == {"a": 1.0} and first == DirectionSetting("disc", amounts={"a": 1.0})
    assert first != DirectionSetting("disc", amounts={"a": 2.0}) and first != DirectionSetting(
        "ring", amounts={"a": 1}
    )
    assert len({first, DirectionSetting("disc", amounts={"a": 1.0})}) == 1
    history = History()
    for amount in (1.0, 1.0, 2.0):
        history.push(DirectionSetting("disc", amounts={"a": amount}))
    assert history.back() == first and not history.can_back
    for wrong in ({"a": float("nan")}, {"a": "much"}, 3):
        with pytest.raises(LisError):
            DirectionSetting("disc", amounts=wrong)


@pytest.mark.parametrize("amounts", [
    {"principal 2": 1.25},
    {"disc to ring": 0.5},
    {"wide": -0.3},
    {"mine": 0.7},
    {"principal 1": -1.0, "disc to cross": 0.25, "wide": 0.1, "mine": -0.7},
    {},
])  # fmt: skip
@pytest.mark.parametrize("several", [False, True])
def test_the_code_shows_the_same_picture(world, amounts, several):
    generator, classifier, link, pairs = world
    mine = Directions(("mine",), torch.linspace(-1, 1, link.num_units)[None], (-1,), (1,), "hand-made")
    other = Directions(("other",), torch.ones(1, link.num_units), (-1,), (1,), "hand-made")
    directions = [mine, other] if several else mine
    families = DirectionFamilies(link, directions, pairs)
    families.family(PRINCIPAL)
    families.family(CLASSES, "disc")
    families.combine("wide", {3: 1.0, 5: -0.5})
    session = UnitSession(generator, classifier, link, pairs)
    setting = DirectionSetting("disc", seed=2, amounts=amounts)
    code = direction_code(setting, session, families)
    names = {
        "generator": generator,
        "classifier": classifier,
        "link": link,
        "pairs": pairs,
        "directions": directions,
    }
    exec(compile(code, "copied", "exec"), names)
    assert torch.equal(names["state"].tuned, show_along(session, setting, families).tuned)
    assert names["state"].title == show_along(session, setting, families).title
