"""The report page: self-contained, escaped, and every number on it from metrics.json."""

import base64
import copy
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_toolkit.report_html import render_report
from lis_toolkit.trust import findings, unit_level
from lis_toolkit.webpage import Html, figure, page, table, tag

PNG = b"\x89PNG\r\n\x1a\nnot really"
VOID = {"img", "meta", "br"}


class Reader(HTMLParser):
    """Reads a page: its tags with attributes, its text, whether all tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attributes for tag_name, attributes in self.tags if tag_name == name]

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def check_self_contained(reader):
    """Nothing is fetched: sources are data, references stay on the page; pictures have a description."""
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    for name, attributes in reader.tags:
        assert name not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not {"srcset", "style", "background", "poster", "action"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
        if "href" in attributes:
            assert attributes["href"][0] == "#" and attributes["href"][1:] in ids
    for picture in reader.all("img"):
        assert len(picture["alt"].split()) >= 3
    style = "".join(text for text in reader.text if "{" in text)
    assert "url(" not in style and "@import" not in style


def cycle(accuracy, low=0.5, high=0.9):
    one = {"accuracy": accuracy, "low": low, "high": high, "count": 40}
    return {**one, "count": 80, "per_class": {"Coat": one, "Bag": dict(one, accuracy=0.91)}}


def make_unit(unit=7, name="Coat", trust="good"):
    return {
        "unit": unit, "class": name, "for": "Coat", "for_weight": 0.4321, "against": "Bag", "against_weight": -0.21,
        "low": 0.0, "high": 2.5, "read_low": 0.111, "read_high": 1.987, "slope": 0.753, "correlation": 0.957,
        "probability_low": 0.12, "probability_high": 0.88, "trust": trust,
    }  # fmt: skip


def make_way(origin="Coat", target="Bag", judge="Bag", **changes):
    way = {"origin": origin, "cycled": origin, "target": target, "success": True, "reason": "", "margin_end": 4.31,
           "distance_r_sd": 0.77, "distance_w": 5.61, "units_90": 71, "renders": 34, "cycle_error": 0.2,
           "pixels": 0.19, "judge_end": judge}  # fmt: skip
    return way | changes


def make_counterfactuals():
    share = {"share": 0.955, "low": 0.921, "high": 0.978}
    return {
        "margin": 3.88, "starts_per_class": 2,
        "shown": [make_way(), make_way("Bag", "Coat", "Coat", success=False, reason="no way <found>")],
        "photographs": [make_way(renders=29)],
        "all": {"asked": 179, "start_is_target": 1, "pairs": 90, "classifier": dict(share, share=0.993), "judge": share,
                "distance_w": 5.54, "distance_r_sd": 0.5, "pixels": 0.31, "renders": 6.0},
        "nearest": [{"class": "Coat", "nearest": "Bag", "distance_w": 2.93, "farthest": "Bag", "farthest_w": 7.84}],
    }  # fmt: skip


def make_metrics():
    return {
        "settings": {"per_class": 40, "psi": 0.7, "seed": 3, "walk_samples": 8, "candidates": 8},
        "models": {
            "generator": {"name": "toy", "sha256": "ab" * 32, "classes": ["Coat", "Bag"]},
            "classifier": {"name": "toynet", "sha256": "cd" * 32, "classes": ["Coat", "Bag"], "units": 64},
        },
        "pairs": {
            "total": 80, "train": 64, "held_out": 16,
            "counts": {"Coat": {"kept": 40, "tried": 47}, "Bag": {"kept": 40, "tried": 41}},
        },
        "link": {
            "r2": 0.724, "r2_within": 0.61, "judge_pairs": None, "judge_photographs": {"accuracy": 0.77},
            "r2_per_class": {"Coat": 0.61, "Bag": 0.55}, "latents": 96, "units": 64, "method": "ridge",
            "penalty": 0.0123, "cycle_pairs": cycle(0.937), "cycle_photographs": cycle(0.812),
            "cycle_correlation": [0.9, 0.8, None, 0.3], "shared_order": {"correlation": 0.41, "p_value": 0.001},
            "fidelity": {"tested": 16, "median_slope": 0.07, "good": 2, "care": 5, "no": 9},
        },
        "units": [make_unit(7), make_unit(9, "Coat", "no"), make_unit(12, "Bag", "care")],
        "counterfactuals": make_counterfactuals(),
        "seconds": {"total": 12.5}, "provenance": {"torch": "2.15.0", "date": "2026-11-21"},
    }  # fmt: skip


PICTURES = dict.fromkeys(
    ("classes", "link", "cycle", "units_0", "units_1", "overview", "ways_generated", "ways_photographs"), PNG
)


def test_the_page_is_self_contained_and_complete():
    reader = Reader(render_report(make_metrics(), PICTURES))
    check_self_contained(reader)
    assert len(reader.all("img")) == 7  # all but the overview
    for source in (picture["src"] for picture in reader.all("img")):
        assert base64.b64decode(source.split(",")[1]) == PNG
    assert reader.all("html")[0]["lang"] == "en" and reader.all("title")
    assert "default-src 'none'" in reader.all("meta")[2]["content"]


def test_its_numbers_are_those_of_the_metrics():
    words = Reader(render_report(make_metrics(), PICTURES)).words
    for number in (
        "72%",
        "0.724",
        "94%",
        "81%",
        "1 of 3",
        "64",
        "0.61",
        "47",
        "ab" * 32,
        "12.5",
        "2.15.0",
        "0.0123",
    ):
        assert number in words, number
    assert (
        "Set from 0.00 to 2.50, it reads 0.11 to 1.99 in the pictures (slope 0.75, correlation 0.96)" in words
    )
    assert "goes from 12% to 88%" in words
    changed = make_metrics()
    changed["link"]["r2"] = 0.315
    words = Reader(render_report(changed, PICTURES)).words
    assert "0.315" in words and "0.724" not in words and "72%" not in words


def test_names_cannot_become_markup():
    evil = '<script>alert("1")</script>'
    metrics = make_metrics()
    metrics["models"]["classifier"]["name"] = evil
    metrics["models"]["classifier"]["classes"] = [evil, "Bag"]
    metrics["pairs"]["counts"] = {evil: {"kept": 1, "tried": 2}}
    metrics["units"] = [make_unit(1, evil)]
    metrics["provenance"]["note"] = evil
    text = render_report(metrics, PICTURES)
    assert "<script" not in text
    reader = Reader(text)
    check_self_contained(reader)
    assert evil in reader.words


def test_without_photographs_the_page_says_so():
    metrics = make_metrics()
    metrics["link"]["cycle_photographs"] = None
    reader = Reader(render_report(metrics, {key: value for key, value in PICTURES.items() if key != "cycle"}))
    assert "not measured" in reader.words and "There are no photographs" in reader.words
    assert len(reader.all("img")) == 6


def test_counterfactuals_are_told_with_their_failures_and_the_judge():
    words = Reader(render_report(make_metrics(), PICTURES)).words
    for said in ("in a picture of Coat for the classifier to see Bag",
                 "a lead of at least 3.9", "Coat → Bag", "Bag → Coat: no way <found>", "+4.3", "5.6", "0.19", "71",
                 "96% (92% to 98% at 95 % confidence)", "99% (92%", "179 ways between 90 pairs", "2 images of each",
                 "1 more were left out", "2.9", "7.8", "29"):  # fmt: skip
        assert said in words, said
    metrics = make_metrics()
    metrics["counterfactuals"] |= {"photographs": [], "starts_per_class": 1}
    for row in metrics["counterfactuals"]["shown"]:
        del row["judge_end"]
    metrics["counterfactuals"]["all"] |= {"judge": None, "start_is_target": 0}
    reader = Reader(render_report(metrics, PICTURES))
    assert len(reader.all("img")) == 6 and "judge sees" not in reader.words
    assert "left out, whose" not in reader.words and "From 1 image of each" in reader.words
    metrics["counterfactuals"] = None
    assert "No counterfactuals were searched" in Reader(render_report(metrics, PICTURES)).words


@given(st.text(), st.text(min_size=1))
def test_any_text_comes_back_as_it_went_in(text, attribute):
    text = text.replace("\r", "").replace("\x00", "")
    attribute = attribute.replace("\r", "").replace("\x00", "")
    reader = Reader(tag("p", text, title=attribute))
    assert "".join(reader.text) == text and reader.tags == [("p", {"title": attribute})]


def test_building_blocks():
    assert tag("p", "a < b", Html("<b>c</b>"), class_="x") == '<p class="x">a &lt; b<b>c</b></p>'
    assert tag("img", src="data:", alt='"') == '<img src="data:" alt="&quot;">'
    cells = Reader(table(("name", "n"), [("Coat", "12"), ("-", "-3.5")])).all("td")
    assert [cell.get("class") for cell in cells] == [None, "number", None, "number"]
    assert Reader(page("T", figure(PNG, "one two three", "c"))).all("img")[0]["alt"] == "one two three"


@pytest.mark.parametrize(
    ("slope", "correlation", "level"),
    [
        (1.0, 0.99, "good"),
        (0.5, 0.9, "good"),
        (0.49, 0.99, "care"),
        (0.9, 0.8, "care"),
        (0.15, 0.99, "no"),
        (0.9, 0.5, "no"),
        (0.9, -0.9, "no"),
        (float("nan"), 0.9, "no"),
    ],
)
def test_a_unit_is_as_good_as_its_worse_measure(slope, correlation, level):
    assert unit_level(slope, correlation) == level


def by_topic(metrics):
    return {finding.topic: finding for finding in findings(metrics)}


def test_findings_follow_the_numbers():
    found = by_topic(make_metrics())
    assert {topic: finding.level for topic, finding in found.items()} == {
        "the link": "good",
        "generated images": "good",
        "real photographs": "care",
        "all units": "care",  # two of three
        "shown units": "no",  # one of three
        "any unit": "no",
        "counterfactuals": "good",
        "shared order": "good",
    }
    metrics = copy.deepcopy(make_metrics())
    metrics["link"].update(
        r2=0.2, cycle_photographs=cycle(0.4), shared_order={"correlation": 0.0, "p_value": 0.6}
    )
    found = by_topic(metrics)
    assert {found[topic].level for topic in ("the link", "real photographs", "shared order")} == {"no"}
    assert "Do not read single pictures of: Coat (40%)." in found["real photographs"].text


def test_the_judge_and_the_variance_within_classes_can_only_lower_a_finding():
    metrics = make_metrics()
    metrics["link"].update(judge_pairs={"accuracy": 0.5}, judge_photographs={"accuracy": 0.99}, r2_within=0.2)
    found = by_topic(metrics)
    assert found["generated images"].level == "no" and "in 50%" in found["generated images"].text
    assert found["real photographs"].level == "care"
    assert found["the link"].level == "care" and "20% of that within a class" in found["the link"].text


def test_what_could_not_be_measured_is_not_trusted():
    metrics = make_metrics()
    metrics["link"].update(r2=None, r2_within=None, shared_order={"correlation": None, "p_value": None})
    found = by_topic(metrics)
    assert found["the link"].level == "no" and found["shared order"].level == "no"
    metrics["link"]["r2"] = -0.4
    assert by_topic(metrics)["the link"].text.startswith("It explains none of the variance")


def test_counterfactuals_are_as_good_as_the_judge_says():
    metrics = make_metrics()
    for share, level in ((0.9, "good"), (0.89, "care"), (0.6, "care"), (0.59, "no")):
        metrics["counterfactuals"]["all"]["judge"]["share"] = share
        assert by_topic(metrics)["counterfactuals"].level == level
    assert "In 99% of 179 searches" in by_topic(metrics)["counterfactuals"].text
    assert "agrees in 59% of the searches (92% to 98%" in by_topic(metrics)["counterfactuals"].text
    metrics["counterfactuals"]["all"]["judge"] = None
    found = by_topic(metrics)["counterfactuals"]
    assert found.level == "no" and "no second classifier" in found.text
    metrics["counterfactuals"] = None
    assert "counterfactuals" not in by_topic(metrics)


def test_one_weak_class_lowers_a_good_average():
    metrics = make_metrics()
    metrics["link"]["cycle_pairs"]["per_class"]["Bag"]["accuracy"] = 0.31
    finding = by_topic(metrics)["generated images"]
    assert finding.level == "care" and finding.text.endswith("Do not read single pictures of: Bag (31%).")
