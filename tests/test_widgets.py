"""The widgets without a browser: traits, callbacks, the bytes of the picture; lis_toolkit does without them."""

import subprocess
import sys

import numpy as np
import pytest

from lis_toolkit import LisError
from lis_widgets import Charts, Picture
from lis_widgets.assets import STATIC
from lis_widgets.charts import bars


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
    assert {path.name for path in files} >= {"picture.js", "charts.js", "lis.css"}
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
