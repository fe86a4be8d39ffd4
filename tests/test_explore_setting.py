"""Settings: written and read again, refused when damaged; code that gives the same pixels; back and forward."""

import dataclasses
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lis_toolkit import LisError, UnitSession, UnitSetting, collect_pairs, companion_directions, fit_link
from lis_toolkit.explore import History, as_code
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_segmenter import tiny_segmenter

BORROWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures that no example changes


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pairs = collect_pairs(generator, classifier, per_class=20, seed=0)
    return generator, classifier, fit_link(pairs, penalty=0.01), pairs


@pytest.fixture(scope="module")
def session(models):
    return UnitSession(*models, companions=companion_directions(models[3]))


@pytest.fixture(scope="module")
def fresh(models):
    return UnitSession(*models[:3])


def finite(width=64):
    return st.floats(-1e30, 1e30, allow_nan=False, width=width)


@settings(max_examples=150, deadline=None, suppress_health_check=BORROWED)
@given(data=st.data())
def test_what_is_written_is_read_again(session, data):
    units = st.sampled_from(session.units)
    width = session.link.num_units
    setting = UnitSetting(
        which=data.draw(st.sampled_from(CLASSES)),
        seed=data.draw(st.integers(0, 2**40)),
        psi=data.draw(st.none() | finite()),
        r=data.draw(st.none() | st.lists(finite(), min_size=width, max_size=width).map(tuple)),
        r_name=data.draw(st.text(max_size=20)),
        values=data.draw(st.dictionaries(units, finite(), max_size=5)),
        unit=data.draw(st.none() | units),
        companions=data.draw(st.booleans()),
    )
    text = setting.to_json(session)
    text.encode()  # whatever was typed fits into a file
    again = UnitSetting.from_json(text, session)
    assert again == setting and hash(again) == hash(setting)
    assert list(again.values) == list(setting.values), "in the same order"
    for field in dataclasses.fields(UnitSetting):
        assert getattr(again, field.name) == getattr(setting, field.name), field.name


def written(session, **changes):
    """The JSON object of a plain setting with some entries replaced; None takes one out."""
    setting = UnitSetting("ring", 3, values={session.units[0]: 0.5}, unit=session.units[0])
    told = json.loads(setting.to_json(session)) | changes
    return json.dumps({key: value for key, value in told.items() if value != "gone"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "no setting of an explorer"),
        ({"which": "gone"}, "lacks which"),
        ({"vlaues": []}, "'vlaues', which no setting has. Did you mean 'values'"),
        ({"which": "rign"}, "Did you mean 'ring'"),
        ({"which": 3}, "names of a class"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"psi": "much"}, "psi is 'much'"),
        ({"psi": float("nan")}, "value NaN"),
        ({"psi": float("-inf")}, "value -Infinity"),
        ({"values": [[0, float("inf")]]}, "value Infinity"),
        ({"values": [[1, 0.5], [1, 0.7]]}, "gives unit 1 twice"),
        ({"values": {"1": 0.5}}, "values of the setting are damaged"),
        ({"values": [[1]]}, "values of the setting are damaged"),
        ({"values": [[999, 0.5]]}, "no unit 999"),
        ({"values": [[True, 0.5]]}, "a unit of the setting is True"),
        ({"values": [[1, 10**400]]}, "finite number"),
        ({"values": [[1, 1e300]]}, "value of unit 1"),
        ({"values": [[1, "0.5"]]}, "finite number"),
        ({"unit": 999}, "no unit 999"),
        ({"unit": "1"}, "unit is '1'"),
        ({"companions": 1}, "companions is 1"),
        ({"r": [0.5, 0.5]}, "r of the setting has 2 activations"),
        ({"r": "0.5"}, "r of the setting is a str"),
        ({"r": [[0.5]]}, "an activation of r"),
        ({"r_name": 4}, "names of a class"),
        ({"models": {}}, "does not say which models"),
        ({"models": [1]}, "does not say which models"),
    ],
)
def test_damaged_settings_are_refused(session, changes, said):
    with pytest.raises(LisError, match=said):
        UnitSetting.from_json(written(session, **changes), session)


def test_text_that_is_no_setting_is_refused(session):
    whole = written(session)
    assert UnitSetting.from_json(whole, session).seed == 3
    told = json.loads(whole)
    del told["provenance"]  # says something about the setting, but is not needed
    assert UnitSetting.from_json(json.dumps(told), session).seed == 3
    for bad in ("", "{", "null", "[]", "3", whole[:-3], whole + "}", "[" * 100_000, "1" * 5000, b"{}", None,
                " " * 10_000_001):  # fmt: skip
        with pytest.raises(LisError):
            UnitSetting.from_json(bad, session)
    twice = whole[:-1] + ', "seed": 4}'
    with pytest.raises(LisError, match="'seed' twice"):
        UnitSetting.from_json(twice, session)


@settings(max_examples=60, deadline=None, suppress_health_check=BORROWED)
@given(
    place=st.integers(0, 10_000),
    what=st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.none(), max_size=2),
)
def test_any_entry_replaced_gives_a_setting_or_an_error_that_is_ours(session, place, what):
    told = json.loads(written(session))
    key = list(told)[place % len(told)]
    try:
        setting = UnitSetting.from_json(json.dumps(told | {key: what}), session)
    except LisError:
        return
    assert setting == UnitSetting.from_json(setting.to_json(session), session)


def test_other_models_are_named_with_their_hashes(models, session, fresh):
    generator, classifier, link, pairs = models
    text = written(session)
    told = json.loads(text)["models"]
    assert told["generator"] == {"name": "tiny", "sha256": generator.hash}
    assert set(told) == {"generator", "classifier", "link", "pairs"}
    with pytest.raises(LisError, match=f"saved with pairs .{told['pairs']['sha256'][:8]}.*has none"):
        UnitSetting.from_json(text, fresh)
    with pytest.raises(LisError, match="saved without pairs"):
        UnitSetting.from_json(written(fresh), session)
    refitted = UnitSession(generator, classifier, fit_link(pairs, penalty=1.0), pairs)
    with pytest.raises(LisError, match=f"its link is {told['link']['sha256'][:8]}, but the one here is"):
        UnitSetting.from_json(text, refitted)
    other = tiny_generator(seed=5)
    foreign = collect_pairs(other, tiny_classifier(other), per_class=5, keep="all")
    away = UnitSession(other, tiny_classifier(other), fit_link(foreign, penalty=0.1))
    with pytest.raises(
        LisError, match=r"its generator 'tiny' is .*; its classifier 'tiny classifier' is .*; its link"
    ):
        UnitSetting.from_json(text, away)
    bare = UnitSession(*models)
    both = UnitSetting("ring", values={session.units[0]: 0.5}, companions=True)
    with pytest.raises(LisError, match="saved with companions"):
        UnitSetting.from_json(both.to_json(session), bare)
    with pytest.raises(LisError, match="this session has none"):
        both.to_json(bare)


def test_settings_check_what_they_are_given(session):
    for wrong in ({"which": 1}, {"seed": -1}, {"psi": float("inf")}, {"values": {0: "x"}}, {"values": [1]},
                  {"values": {-1: 0.5}}, {"unit": 1.5}, {"companions": None}, {"r": 3}, {"r": "abc"},
                  {"r": (float("nan"),)}):  # fmt: skip
        with pytest.raises(LisError):
            UnitSetting(**({"which": "ring"} | wrong))
    given = {session.units[0]: 1}
    setting = UnitSetting("ring", values=given)
    given[session.units[1]] = 2
    assert setting.values == {session.units[0]: 1.0}, "a setting does not change with what it was made of"
    r = torch.rand(4)
    assert torch.equal(torch.tensor(UnitSetting("ring", r=r).r), r)
    swapped = UnitSetting("ring", values={0: 1.0, 1: 2.0}), UnitSetting("ring", values={1: 2.0, 0: 1.0})
    assert swapped[0] != swapped[1] and setting != "ring"


def test_a_session_shows_settings(models, session, fresh):
    unit = session.units[0]
    setting = UnitSetting("ring", 3, values={unit: 0.5}, unit=unit, companions=True)
    state = session.show(setting)
    direct = session.tune(session.start("ring", 3), {unit: 0.5}, unit, companions=True)
    assert torch.equal(state.tuned, direct.tuned) and state.title == direct.title
    assert session.start_of(setting) is session.start_of(dataclasses.replace(setting, values={}))
    assert session.start_of(setting) is not session.start_of(dataclasses.replace(setting, seed=4))
    given = UnitSetting("ring", r=models[3].r[7], r_name="pair 7")
    assert torch.equal(session.start_of(given).r, models[3].r[7]) and session.start_of(given).name == "pair 7"
    low, high = (fresh.start_of(UnitSetting("ring", 3, psi=psi)) for psi in (0.2, 1.0))
    assert not torch.equal(low.r, high.r) and torch.equal(low.r, fresh.start("ring", 3, 0.2).r)
    for seed in range(40):  # only the last few starts are kept
        assert torch.equal(session.start_of(UnitSetting("ring", seed)).r, session.start("ring", seed).r)
    assert len(session._starts) <= 16


CASES = {
    "one unit": {"values": {1: 0.1 + 0.2}},
    "nothing": {},
    "several, psi": {"values": {1: 1 / 3, 5: -1e-7}, "psi": 0.123456789, "unit": 1},
    "many": {"values": {u: u / 7 for u in range(8)}},
    "companions": {"values": {1: 0.4, 3: 0.01}, "companions": True},
    "activations": {"values": {1: 0.4}, "r": torch.rand(10).tolist(), "r_name": 'it\'s "mine"\n'},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_pairs", [False, True])
def test_code_gives_the_same_pixels(models, session, fresh, case, with_pairs, capsys):
    chosen = dict(CASES[case])
    if with_pairs and "psi" in chosen:
        chosen["psi"] = models[3].psi
    if "companions" in chosen and not with_pairs:
        fresh = UnitSession(*models[:3], companions=session.companions)
    used = session if with_pairs else fresh
    chosen["values"] = {used.units[k]: v for k, v in chosen.get("values", {}).items()}
    setting = UnitSetting("cross", 11, **chosen)
    state = used.show(setting)
    code = as_code(setting, used)
    assert max(map(len, code.splitlines())) <= 100 and "lis_widgets" not in code
    names = dict(zip(("generator", "classifier", "link"), models, strict=False))
    if with_pairs and setting.r is None:
        names["pairs"] = models[3]
    if setting.companions:
        names["companions"] = session.companions
    exec(code, names)
    assert torch.equal(names["state"].tuned, state.tuned) and torch.equal(names["state"].start, state.start)
    assert (names["state"].rgb() == state.rgb()).all()
    assert capsys.readouterr().out == "\n".join(state.captions()) + "\n"


def test_code_with_outlines(models):
    generator = models[0]
    layers = generator.synthesis.layer_names[1:2]
    maps = generator.render_features(generator.map(generator.sample_z(4, 1), [0] * 4), layers)[1]
    segmenter = tiny_segmenter(maps, layers, generator_hash=generator.hash)
    session = UnitSession(*models[:3], segmenter=segmenter)
    setting = UnitSetting("ring", values={session.units[0]: 0.7})
    names = dict(zip(("generator", "classifier", "link"), models, strict=False), segmenter=segmenter)
    exec(as_code(setting, session, outlines=True), names)
    assert (names["state"].rgb(True) == session.show(setting, outlines=True).rgb(True)).all()


def test_history_is_that_of_a_browser():
    a, b, c, d = (UnitSetting("ring", seed) for seed in range(4))
    history = History(limit=3)
    assert (history.present, history.back(), history.forward(), len(history)) == (None, None, None, 0)
    for setting in (a, a, b, b, c):
        history.push(setting)
    assert len(history) == 3 and history.present == c and history.can_back and not history.can_forward
    assert (history.back(), history.back(), history.back()) == (b, a, None)
    assert history.present == a and not history.can_back and history.can_forward
    assert history.forward() == b
    history.push(b)
    assert history.can_forward, "the present one again changes nothing"
    history.push(d)
    assert not history.can_forward and history.back() == b
    for setting in (a, b, c, d):
        history.push(setting)
    assert len(history) == 3 and [history.back(), history.back(), history.back()] == [c, b, None]
    with pytest.raises(LisError):
        History(0)


@settings(max_examples=100, deadline=None)
@given(moves=st.lists(st.integers(-2, 4), max_size=60), limit=st.integers(1, 6))
def test_history_against_a_list(moves, limit):
    history, entries, place = History(limit), [], -1
    for move in moves:
        if move == -2:
            place = max(place - 1, 0 if entries else -1)
            history.back()
        elif move == -1:
            place = min(place + 1, len(entries) - 1)
            history.forward()
        elif not entries or entries[place].seed != move:
            entries = [*entries[: place + 1], UnitSetting("ring", move)][-limit:]
            place = len(entries) - 1
            history.push(entries[-1])
        else:
            history.push(UnitSetting("ring", move))
        assert history.present == (entries[place] if entries else None)
        assert history.can_back == (place > 0) and history.can_forward == (place + 1 < len(entries))
