"""The report and its tables without a browser: what is sent, what a choice does, what is said where nothing is."""

import json

import pytest

from lis_toolkit import LisError
from lis_toolkit.link_figures import report_figures
from lis_toolkit.link_tables import TERMS, Column, headlines, report_tabs
from lis_widgets import DataTable, LinkReport
from lis_widgets.assets import STATIC
from reports import made_report


class Explorer:
    """Takes a unit as a UnitExplorer does."""

    def __init__(self, units=12):
        self.known, self._unit = range(units), 0

    @property
    def unit(self):
        return self._unit

    @unit.setter
    def unit(self, unit):
        if unit not in self.known:
            raise LisError(f"unit {unit} was constant.")
        self._unit = unit


def choose(table, row):
    table._receive(table, {"kind": "choose", "row": row}, [])


def test_every_tab_shows_the_reports_rows_and_figures():
    report = made_report()
    widget = LinkReport(report)
    assert [widget.tabs.get_title(i) for i in range(7)] == [
        "cycle", "classes", "latents", "units", "order", "notes (1)", "terms"
    ]  # fmt: skip
    figures = report_figures(report)
    for tab in report_tabs(report):
        table = widget.tables[tab.key]
        assert table.rows == json.loads(json.dumps(tab.rows)), tab.key
        assert [column["title"] for column in table.columns] == [column.title for column in tab.columns]
        assert widget.charts[tab.key].figures == figures[tab.key]
    widget.close()


def test_headlines_are_written_with_their_level_in_words():
    report = made_report()
    widget = LinkReport(report)
    text = widget.children[0].value
    for line in headlines(report):
        assert line.number in text and line.question.split("?")[0] in text
    assert "● trust" in text and "◐ with care" in text
    assert "<script" not in text and text in widget.children[0].value
    terms = widget.tabs.children[-1].value
    assert all(term in terms for term in TERMS)
    assert "0.71" in widget.static_view() and "<table" in widget.static_view()


def test_a_chosen_unit_is_opened_in_the_explorer():
    explorer = Explorer()
    widget = LinkReport(made_report(), explorer=explorer)
    table = widget.tables["units"]
    assert table.choosable and not widget.tables["classes"].choosable
    choose(table, 4)
    assert explorer.unit == table.rows[4][0] and table.chosen == 4
    assert widget.message.kind == "note" and f"Unit {explorer.unit} " in widget.message.text


def test_a_unit_that_cannot_be_opened_is_told_in_the_widget():
    widget = LinkReport(made_report(), explorer=Explorer(units=11))
    table = widget.tables["units"]
    choose(table, [row[0] for row in table.rows].index(11))
    assert widget.message.kind == "error" and widget.message.text == "unit 11 was constant."
    choose(table, 0)
    assert widget.message.kind == "note"


def test_without_an_explorer_units_cannot_be_chosen():
    assert not LinkReport(made_report()).tables["units"].choosable


@pytest.mark.parametrize("options", [
    {"head": False, "photographs": False, "tested": 0}, {"classes": 1000, "units": 2048, "dims": 512, "tested": 300},
    {"classes": 1, "units": 2, "dims": 1, "tested": 1},
])  # fmt: skip
def test_reports_of_all_sizes_can_be_sent(options):
    widget = LinkReport(made_report(**options), explorer=Explorer())
    for table in widget.tables.values():
        assert json.dumps([table.columns, table.rows], allow_nan=False)
    for charts in widget.charts.values():
        assert len(json.dumps(charts.figures, allow_nan=False)) < 300_000
    if not options.get("head", True):
        assert "cycle" not in widget.charts and "Not measured" in widget.tabs.children[0].children[1].value


def test_what_is_no_report_is_refused():
    with pytest.raises(LisError, match="of type dict"):
        LinkReport({"r2": 0.7})


def test_tables_take_only_messages_of_their_own():
    table = DataTable([Column("unit", "count"), Column("slope")], [[17, 0.5], [3, None]], choosable=True)
    seen = []
    table.on_choose(seen.append)
    for content in (None, {"kind": "choose"}, {"kind": "choose", "row": 2}, {"kind": "choose", "row": "1"},
                    {"kind": "choose", "row": -1}, {"kind": "other", "row": 1}, []):  # fmt: skip
        table._receive(table, content, [])
    assert seen == [] and table.chosen == -1
    choose(table, 1)
    assert seen == [1] and table.chosen == 1
    with pytest.raises(LisError, match="row 1 has 1 cells for 2 columns"):
        DataTable([Column("a"), Column("b")], [[1, 2], [3]])


def test_javascript_of_the_sheets_loads_nothing():
    for name in ("data_table.js", "contact_sheet.js"):
        text = (STATIC / name).read_text()
        assert (
            "http" not in text and "eval(" not in text and "import " not in text and "innerHTML" not in text
        )
    for name in ("data_table.css", "contact_sheet.css", "link_report.css"):
        text = (STATIC / name).read_text()
        assert "url(" not in text and "@import" not in text
        assert "color: #" not in text and "background: #" not in text, "colours come from lis.css"
