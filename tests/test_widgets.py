"""The widgets without a browser: traits, callbacks, the bytes of the picture; lis_toolkit does without them."""

import base64
import io
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from lis_toolkit import LisError
from lis_widgets import Charts, Message, Picture, Sliders, static_html
from lis_widgets.assets import STATIC, css, esm
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


def sent_by(widget, monkeypatch):
    """Collect the custom messages that a widget sends."""
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append(content))
    return sent


NOISE = np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)


def test_a_module_is_its_files_in_order_and_a_missing_one_is_told():
    text = esm("kit.js", "picture.js")
    assert text.index("function element") < text.index("export default") and text.count("export") == 1
    assert css("lis.css", "picture.css").startswith((STATIC / "lis.css").read_text(encoding="utf-8"))
    with pytest.raises(LisError, match="'nothing.js' is not one of the widgets' files"):
        esm("nothing.js")


def test_colours_are_defined_once():
    for path in STATIC.glob("*.css"):
        if path.name != "lis.css":
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b", path.read_text(encoding="utf-8")), path.name


def test_jpeg_is_much_smaller_and_looks_the_same():
    smooth = np.add.outer(np.arange(64), np.arange(64))[None, ..., None].repeat(3, -1).astype(np.uint8)
    picture = Picture(transport="jpeg")
    picture.show(smooth, ["a"])
    (file,) = picture.jpeg
    assert picture.rgb == b"" and len(file) < smooth.size / 4
    read = Image.open(io.BytesIO(file))
    assert read.format == "JPEG" and np.abs(np.asarray(read).astype(int) - smooth[0]).max() <= 6
    layers = {layer[1:3] for layer in read.layer}
    assert layers == {(1, 1)}, "colours as fine as brightness"
    for wrong in ({"transport": "png"}, {"quality": 0}, {"quality": 2.5}):
        with pytest.raises(LisError):
            Picture(**wrong)


def test_a_panel_is_chosen_and_nonsense_passed_over():
    picture, chosen = Picture(), []
    picture.show(NOISE, ["a", "b"])
    assert not picture.pickable
    picture.on_pick(chosen.append)
    assert picture.pickable
    nonsense = [
        None,
        "pick",
        {},
        {"kind": "pick"},
        *({"kind": "pick", "index": i} for i in (-1, 2, "0", 0.0, True, None)),
    ]
    for content in [*nonsense, {"kind": "pick", "index": 1}]:
        picture._handle_custom_msg(content, [])
    assert chosen == [1]


def test_pictures_shown_from_two_threads_are_whole(monkeypatch):
    picture, sent = Picture(), []
    monkeypatch.setattr(
        picture, "_send", lambda message, buffers=None: sent.append((message["state"], buffers))
    )

    def show(level):
        for _ in range(100):
            picture.show(np.full((1, 2, 2, 3), level, np.uint8), [f"level {level}"])

    threads = [threading.Thread(target=show, args=(level,)) for level in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [state["revision"] for state, _ in sent] == list(range(1, 201))
    last = None
    for state, buffers in sent:
        last = (buffers[0][0], state["captions"][0]) if buffers and "captions" in state else last
        assert last in ((1, "level 1"), (2, "level 2"))


def test_exported_pages_show_the_panels_themselves():
    picture = Picture()
    data, _ = picture._repr_mimebundle_()
    assert "text/html" not in data
    picture.show(NOISE, ["<start>", "tuned"])
    data, _ = picture._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == picture.model_id
    files = re.findall(r"base64,([^\"]+)", data["text/html"])
    assert len(files) == 2 and "&lt;start&gt;" in data["text/html"] and "<start>" not in data["text/html"]
    for file, panel in zip(files, NOISE, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))), panel)
    assert "pixelated" in static_html(NOISE, ["a", "b"], "both") and ">both<" in static_html(
        NOISE, ["a", "b"], "both"
    )
    assert "pixelated" not in static_html(np.zeros((1, 4, 400, 3), np.uint8), ["wide"])
    with pytest.raises(LisError, match="1 captions for 2 panels"):
        static_html(NOISE, ["a"])


ROW = {"key": "17", "label": "unit 17", "low": -1.0, "high": 4.0, "value": 1.2}


@pytest.fixture
def sliders():
    other = {
        "key": "5",
        "low": 0,
        "high": np.float32(2),
        "seen_low": 0.5,
        "seen_high": 1.5,
        "own": 0.25,
        "value": 9,
    }
    return Sliders([ROW, other])


def test_rows_are_checked_and_completed(sliders):
    first, second = sliders.rows
    assert (first["seen_low"], first["seen_high"], first["own"], first["pinned"]) == (-1.0, 4.0, None, None)
    assert (second["label"], second["value"], second["high"]) == ("5", 9.0, 2.0)
    assert type(second["high"]) is float, "plain JSON"
    for wrong, told in (
        ({"key": ""}, "a text was expected"),
        ({"low": 5.0}, "the low end must be below"),
        ({"value": float("nan")}, "a finite number"),
        ({"high": None}, "a finite number"),
        ({"own": "x"}, "a finite number"),
        ({"lable": "x"}, "lable"),
    ):
        with pytest.raises(LisError, match=told):
            sliders.rows = [{**ROW, **wrong}]
    with pytest.raises(LisError, match="2 sliders of the key '17'"):
        sliders.rows = [ROW, ROW]
    assert sliders.rows == [first, second]


def test_moves_arrive_inside_the_limits_and_nonsense_is_passed_over(sliders, monkeypatch):
    sent, moved = sent_by(sliders, monkeypatch), []
    sliders.on_move(moved.append)
    for content in (None, [], {"kind": "move"}, {"kind": "move", "number": "1", "values": {"17": 1.0}},
                    {"kind": "move", "number": 1, "values": [1]}, {"kind": "nudge"}, {"kind": ["move"]}):  # fmt: skip
        sliders._handle_custom_msg(content, [])
    assert moved == [] and sent == []
    for number in (0, -3, 10**400, True, 1.0):
        sliders._handle_custom_msg({"kind": "move", "number": number, "values": {"17": 1.0}}, [])
    assert moved == [] and sent == [], "a number that a browser cannot count on from"
    bad = {"17": float("nan"), "5": 10**400, "900": 1.0}
    sliders._handle_custom_msg({"kind": "move", "number": 1, "values": bad}, [])
    assert moved == [] and [content["kind"] for content in sent] == ["shown"], (
        "answered, or the browser would wait"
    )
    sliders._handle_custom_msg({"kind": "move", "number": 2, "values": {"17": 99, "5": 1.0, "x": 3}}, [])
    assert moved == [{"17": 4.0, "5": 1.0}] and sliders.values == moved[0]
    sliders.rows = sliders.rows[:1]
    assert sliders.moved == 2
    sliders.shown()
    assert sent[-1].items() >= {"kind": "shown", "number": 2}.items() and 0 <= sent[-1]["took"] < 10_000
    sliders.shown()
    assert sent[-1] == {"kind": "shown", "number": 2, "took": None}, "no move was waiting"
    sliders._handle_custom_msg({"kind": "ping"}, [])
    assert sent[-1] == {"kind": "pong"}
    assert sliders.get_state("rows")["rows"][0]["value"] == 4.0, "a page opened later is told"


def test_values_set_from_python_say_what_was_known_of_the_hand(sliders, monkeypatch):
    sent, moved = sent_by(sliders, monkeypatch), []
    sliders.on_move(moved.append)
    sliders._handle_custom_msg({"kind": "move", "number": 7, "values": {"17": 2.0}}, [])
    sliders.set_values({"17": 0.5})
    assert sent == [{"kind": "values", "values": {"17": 0.5}, "number": 7}]
    assert sliders.values["17"] == 0.5 and len(moved) == 1, "no echo"
    for values in ({"900": 1.0}, {"17": float("inf")}, {"17": "a"}):
        with pytest.raises(LisError, match="slider"):
            sliders.set_values(values)
    assert sliders.values["17"] == 0.5


def test_actions_arrive_and_reset_goes_to_the_starts_own_value(sliders, monkeypatch):
    sent, told = sent_by(sliders, monkeypatch), []
    sliders.on_action(lambda key, action: told.append((key, action, sliders.values[key])))
    for key, action in (
        ("5", "reset"),
        ("17", "reset"),
        ("17", "pin"),
        ("900", "pin"),
        ("17", "explode"),
        (None, None),
    ):
        sliders._handle_custom_msg({"kind": "action", "key": key, "action": action}, [])
    assert told == [("5", "reset", 0.25), ("17", "pin", 1.2)], "17 has no own value"
    assert [content["kind"] for content in sent] == ["values"]


def test_a_message_tells_errors_aloud_and_notes_quietly():
    message = Message()
    assert message.value == '<div class="lis-message lis-nothing" role="status"></div>'
    message.error(LisError("the <b>unit</b> is gone"))
    assert 'role="alert"' in message.value and "&lt;b&gt;" in message.value
    assert (message.kind, message.text) == ("error", "the <b>unit</b> is gone")
    message.error(KeyError("x"))
    assert message.text == "KeyError: 'x'"
    message.note("saved as a.png")
    assert 'role="status"' in message.value and message.kind == "note"
    message.clear()
    assert message.text == message.kind == ""


def test_every_widget_that_takes_keys_keeps_them_from_the_notebook():
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        if "export default" in text:  # the script of a widget, not a helper
            assert "  keepKeys();\n" in text, f"a letter typed into {path.name} is a command of JupyterLab"
