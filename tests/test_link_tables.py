"""A link report as rows and figures: every number is the report's own, what is missing stays missing."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lis_toolkit.link_figures import MOST_BARS, report_figures
from lis_toolkit.link_tables import QUESTIONS, TERMS, headlines, low_rows, report_numbers, report_tabs
from lis_toolkit.trust import THRESHOLDS, findings, link_findings
from reports import made_report

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def tabs(report):
    return {tab.key: tab for tab in report_tabs(report)}


def test_the_questions_are_those_of_the_readme():
    section = README.split("## What to trust")[1].split("## ")[0]
    rows = re.findall(r"^\| (?!number|---)(.+?) \| (.+?) \|$", section, flags=re.MULTILINE)
    assert dict(rows) == QUESTIONS


def test_headlines_say_the_reports_numbers_and_how_far_to_trust_them():
    report = made_report(units=40)
    lines = {line.name: line for line in headlines(report)}
    assert len(lines) == 6
    r2 = lines["held-out R²"]
    assert (r2.number, r2.interval, r2.level) == ("0.71", "0.69 to 0.74", "good")
    assert "71%" in r2.text and r2.question == QUESTIONS["held-out R²"]
    assert (lines["cycle accuracy, photographs"].number, lines["cycle accuracy, photographs"].level) == (
        "71%",
        "care",
    )
    assert lines["cycle accuracy, photographs"].interval == "66% to 76%"
    median = float(report.units.cycle_correlation.median())
    assert lines["median cycle correlation of units"].number == f"{median:.2f}".replace("-", "−")
    assert lines["median cycle correlation of units"].interval == "39 units"
    assert lines["median slope of units set"].number == f"{report.fidelity.slope.median():.2f}"
    assert (lines["shared order"].number, lines["shared order"].interval) == ("0.55", "p = 0.005")
    levels = [line.level for line in headlines(replace(report, r2=THRESHOLDS["r2"][1] - 0.01))]
    assert levels[0] == "no"


def test_what_could_not_be_measured_is_said():
    bare = made_report(head=False, photographs=False, tested=0)
    bare = replace(
        bare, r2=math.nan, r2_low=math.nan, r2_high=math.nan, r2_within=math.nan,
        order=bare.order.assign(correlation=np.nan, p_value=np.nan),
    )  # fmt: skip
    lines = {line.name: line for line in headlines(bare)}
    for name in ("held-out R²", "cycle accuracy, pairs", "cycle accuracy, photographs", "median slope of units set",
                 "shared order"):  # fmt: skip
        assert (
            lines[name].number == "not measured" and lines[name].interval == "" and lines[name].level == "no"
        ), name
        assert "nan" not in lines[name].text.lower(), name
    found = tabs(bare)
    assert found["cycle"].rows == [] and all(row[4] is None for row in found["classes"].rows)
    figures = report_figures(bare)
    assert figures["cycle"] == figures["classes"] == figures["order"] == [] and len(figures["units"]) == 1


def test_the_reports_sentences_are_those_of_the_demos_page():
    report = made_report()
    numbers = report_numbers(report)
    assert link_findings(numbers) == findings({"link": numbers, "units": []})
    assert [one.topic for one in link_findings(numbers)] == [
        "the link", "generated images", "real photographs", "all units", "any unit", "shared order"
    ]  # fmt: skip


def test_a_thousand_weak_classes_do_not_fill_a_page():
    numbers = report_numbers(made_report(classes=1000))
    assert all(len(one.text) < 700 for one in link_findings(numbers))
    weak = sum(
        one["accuracy"] < THRESHOLDS["cycle"][1] for one in numbers["cycle_pairs"]["per_class"].values()
    )
    assert f"and {weak - 10} more classes" in link_findings(numbers)[1].text


def test_tables_hold_every_row_of_the_report_and_can_be_sent():
    report = made_report(classes=7, units=30, dims=9, tested=5)
    found = tabs(report)
    assert list(found) == ["cycle", "classes", "dims", "units", "order"]
    for tab in found.values():
        assert all(len(row) == len(tab.columns) for row in tab.rows)
        assert json.loads(json.dumps(tab.rows, allow_nan=False))
    assert [row[0] for row in found["classes"].rows] == report.classes["class"].tolist()
    assert [row[7] for row in found["classes"].rows] == pytest.approx(report.classes.photo_cycle.tolist())
    assert found["classes"].rows[2][5] == pytest.approx(
        (report.classes.cycle_low[2], report.classes.cycle_high[2])
    )
    assert [row[1] for row in found["dims"].rows] == pytest.approx(report.dims.r2.tolist())
    units = found["units"].rows
    assert sorted(row[0] for row in units) == list(range(30))
    assert units[-1][:3] == [29, None, None], "the constant one is last"
    spread = [row[1] for row in units[:-1]]
    assert spread == sorted(spread, reverse=True)
    by_unit = {row[0]: row for row in units}
    assert by_unit[3][3] == pytest.approx(report.fidelity.slope[3]) and by_unit[7][3:] == [None] * 6
    assert by_unit[3][4] == pytest.approx((report.fidelity.slope_low[3], report.fidelity.slope_high[3]))


def test_tables_without_photographs_have_no_columns_of_them():
    assert len(tabs(made_report(photographs=False))["classes"].columns) == 6
    assert len(tabs(made_report())["classes"].columns) == 10


def test_figures_show_the_tables_numbers():
    report = made_report(classes=4, tested=6)
    figures = report_figures(report)
    pairs, photographs = figures["classes"][0]["data"]
    assert (
        pairs["x"] == pytest.approx(report.classes.cycle.tolist())
        and pairs["y"] == report.classes["class"].tolist()
    )
    assert photographs["x"] == pytest.approx(report.classes.photo_cycle.tolist())
    assert photographs["error_x"]["array"] == pytest.approx([0.05] * 4)
    correlations, slopes = figures["units"]
    kept = report.units.cycle_correlation.dropna().sort_values(ascending=False)
    assert correlations["data"][0]["y"] == pytest.approx(kept.tolist())
    assert correlations["data"][0]["text"][0].startswith(f"unit {kept.index[0]}:")
    assert slopes["data"][0]["y"] == pytest.approx(sorted(report.fidelity.slope, reverse=True))
    assert slopes["data"][0]["error_y"]["arrayminus"] == pytest.approx([0.1] * 6)
    dots = figures["dims"][0]["data"][0]
    assert dots["x"] == pytest.approx(report.dims.r2_in_sample.tolist())
    assert dots["y"] == pytest.approx(report.dims.r2.clip(lower=-1).tolist())
    assert json.dumps(figures, allow_nan=False) and all(
        f["description"] for one in figures.values() for f in one
    )


def test_of_a_thousand_classes_the_worst_are_drawn_and_of_all_units_the_lowest():
    report = made_report(classes=1000, units=2048, tested=100)
    figures = report_figures(report)
    drawn = figures["classes"][0]["data"][1]
    assert drawn["x"] == pytest.approx(report.classes.photo_cycle.sort_values().head(MOST_BARS).tolist())
    assert figures["classes"][0]["caption"] == "The 40 classes of 1000 that keep it least"
    slopes = figures["units"][1]
    assert max(slopes["data"][0]["y"]) == pytest.approx(sorted(report.fidelity.slope)[MOST_BARS - 1])
    assert "40 lowest of 100" in slopes["caption"]
    assert len(figures["units"][0]["data"][0]["y"]) == 2047


def test_names_of_classes_are_no_markup_and_long_ones_are_not_mixed_up():
    report = made_report(classes=2)
    names = ["<b>" + "x" * 40 + "1", "<b>" + "x" * 40 + "2"]
    figure = report_figures(replace(report, classes=report.classes.assign(**{"class": names})))["classes"][0]
    assert figure["data"][0]["y"] == names, "told apart in full"
    for text in figure["layout"]["yaxis"]["ticktext"]:
        assert text.startswith("&lt;b>") and len(text) < 35


def test_low_rows():
    rows = [["a", 0.9], ["b", 0.2], ["c", None], ["d", 0.5]]
    assert low_rows(rows, 1, 4) == rows
    assert [row[0] for row in low_rows(rows, 1, 3)] == ["b", "d", "a"]


def test_terms_are_plain_sentences():
    assert all(text.endswith(".") and len(text) < 130 for text in TERMS.values())
    assert len(TERMS) > 8
