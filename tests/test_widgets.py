"""The widgets without a browser: traits, callbacks, the bytes of the picture; lis_toolkit does without them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, collect_pairs, convert_range, fit_link
from lis_widgets import Charts, Picture, UnitExplorer
from lis_widgets.charts import STATIC, bars
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    return (
        generator,
        classifier,
        fit_link(collect_pairs(generator, classifier, per_class=20, seed=0), penalty=0.01),
    )


@pytest.fixture
def explorer(models):
    explorer = UnitExplorer(*models)
    yield explorer
    explorer.close_all()


def panels(picture):
    return np.frombuffer(picture.rgb, np.uint8).reshape(*picture.shape, 3)


@torch.no_grad()
def rendered(models, explorer):
    """The tuned picture for what the controls say, by the plain chain of calls."""
    generator, classifier, link = models
    w = generator.map(generator.sample_z(1, explorer.seed.value), [explorer.which.value], link.psi)
    r = classifier.features(generator.render(w))
    r[0, explorer.unit.value] = explorer.value.value
    x = generator.render(link(r))[0]
    return convert_range(x, "unit", "byte").permute(1, 2, 0).expand(-1, -1, 3).numpy()


def test_the_picture_is_the_librarys_render_whatever_is_moved(models, explorer):
    def moves():
        yield
        explorer.value.value = explorer.value.min
        yield
        explorer.value.value = (explorer.value.min + explorer.value.max) / 2
        yield
        explorer.seed.value = 11
        yield
        explorer.which.value = "cross"
        yield
        explorer.unit.value = explorer.session.units[-1]
        yield

    seen = []
    for _ in moves():
        tuned = panels(explorer.picture)[1]
        np.testing.assert_array_equal(tuned, rendered(models, explorer))
        assert f"unit {explorer.unit.value} at {explorer.value.value:.2f}" in explorer.picture.captions[1]
        seen.append(tuned.tobytes())
    assert len(set(seen)) == len(seen)


def test_the_slider_spans_the_observed_range_in_activation_units(models, explorer):
    link = models[2]
    for unit in explorer.session.units[:3]:
        explorer.unit.value = unit
        low, high = float(link.unit_min[unit]), float(link.unit_max[unit])
        assert (explorer.value.min, explorer.value.max, explorer.value.value) == (low, high, high)
        assert "lis-unit" in explorer.value._dom_classes
        assert explorer.value in explorer._value_row.children
    assert [u for _, u in explorer.unit.options] == explorer.session.units


def test_as_it_was_brings_the_start_back(explorer):
    explorer.reset.click()
    start, tuned, _ = panels(explorer.picture)
    assert abs(start.astype(int) - tuned).max() <= 1


def test_plots_follow(explorer):
    classes, units = explorer.charts.figures
    assert classes["data"][1]["y"] == list(CLASSES)
    assert classes["data"][1]["x"] == pytest.approx(explorer.state.logits.tolist())
    assert classes["data"][0]["x"] == pytest.approx(explorer.state.start_logits.tolist())
    assert units["data"][0]["y"] == [f"unit {u}" for u, _ in explorer.state.moved_units(10)]
    assert f"orange: unit {explorer.unit.value}" in units["layout"]["title"]["text"]
    explorer.scale.value = "probabilities"
    shares = explorer.charts.figures[0]["data"][1]["x"]
    assert sum(shares) == pytest.approx(1) and "probabilities" in explorer.charts.figures[0]["description"]


@pytest.mark.parametrize(
    "error", [LisError("the <b>unit</b> is gone"), RuntimeError("no memory left"), KeyError("x")]
)
def test_errors_are_shown_and_gone_after_the_next_good_render(explorer, monkeypatch, error):
    before = explorer.picture.rgb

    def broken(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(explorer.session, "tune", broken)
        explorer.value.value = explorer.value.min
        assert 'role="alert"' in explorer.message.value
        assert "<b>" not in explorer.message.value
        assert (
            ("&lt;b&gt;" in explorer.message.value)
            if isinstance(error, LisError)
            else (type(error).__name__ in explorer.message.value)
        )
        assert explorer.picture.stale and explorer.picture.rgb == before
    explorer.value.value = (explorer.value.min + explorer.value.max) / 2
    assert explorer.message.value == '<div class="lis-message" role="alert"></div>'
    assert not explorer.picture.stale and explorer.picture.rgb != before


def test_a_wrong_link_or_unit_is_refused_at_once(models):
    generator, classifier, link = models
    with pytest.raises(LisError, match="does not belong"):
        UnitExplorer(tiny_generator(seed=5), classifier, link)
    with pytest.raises(LisError, match="no unit 'seventeen'"):
        UnitExplorer(generator, classifier, link, unit="seventeen")
    unit = (
        UnitExplorer(generator, classifier, link, unit=f"unit {link.unit_std.argmin().item()}")
        if (not link.constant_units)
        else None
    )
    assert unit is None or unit.unit.value == int(link.unit_std.argmin())


def test_old_sliders_are_closed(explorer):
    first = explorer.value
    explorer.unit.value = explorer.session.units[1]
    assert explorer.value is not first and first.comm is None


def test_a_picture_goes_out_in_one_message(monkeypatch):
    picture = Picture()
    sent = []
    monkeypatch.setattr(picture, "send_state", lambda key=None: sent.append(set(key)))
    picture.show(np.zeros((2, 3, 4, 3), np.uint8), ["a", "b"], ["first", "second"])
    assert len(sent) == 1 and {"rgb", "shape", "captions", "revision"} <= sent[0]
    assert picture.shape == (2, 3, 4) and len(picture.rgb) == 72
    for bad, captions in ((np.zeros((2, 3, 4, 3)), ["a", "b"]), (np.zeros((2, 3, 4), np.uint8), ["a", "b"]),
                          (np.zeros((2, 3, 4, 3), np.uint8), ["a"])):  # fmt: skip
        with pytest.raises(LisError):
            picture.show(bad, captions)


def test_charts_carry_their_whole_state():
    charts = Charts()
    charts.show([bars({"a": (["x"], [1.0], "red")}, "one"), bars({"b": (["y"], [2.0], "blue")}, "two")])
    assert [figure["description"] for figure in charts.figures] == ["bar plot, one", "bar plot, two"]
    charts.show([])
    assert charts.figures == []


def test_javascript_is_all_ours_and_loads_nothing():
    files = sorted(STATIC.iterdir())
    assert {path.name for path in files} >= {"picture.js", "charts.js", "explorer.css"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        for loading in ("http:", "https:", "//cdn", "@import", "url(", "eval("):
            assert loading not in text, (path.name, loading)
        assert (
            text.count("import(")
            == text.count("import(url)")
            == text.count("url = URL.createObjectURL(new Blob")
        )


def test_plotly_is_sent_when_a_page_asks_for_it(monkeypatch):
    charts = Charts()
    sent = []
    monkeypatch.setattr(charts, "send", lambda content, buffers=None: sent.append((content, buffers)))
    charts._handle_custom_msg({"kind": "something else"}, [])
    assert sent == []
    charts._handle_custom_msg({"kind": "plotly"}, [])
    ((content, (code,)),) = sent
    assert content == {"kind": "plotly"} and len(code) > 1_000_000 and b"module.exports" in code
    assert len(str(charts.get_state())) < 20_000, "what a notebook saves of it is small"


def test_lis_toolkit_imports_no_widgets():
    code = (
        "import sys, pkgutil, importlib, lis_toolkit\n"
        "for m in pkgutil.walk_packages(lis_toolkit.__path__, 'lis_toolkit.'): importlib.import_module(m.name)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('lis_widgets', 'ipywidgets', 'anywidget')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
