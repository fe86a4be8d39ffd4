"""How far to trust a link, to look through: headline numbers, figures and sortable tables of a LinkReport."""

from __future__ import annotations

from typing import Any

import ipywidgets

from lis_toolkit.errors import LisError
from lis_toolkit.link_figures import report_figures
from lis_toolkit.link_report import LinkReport as Measured
from lis_toolkit.link_tables import TERMS, ReportTab, headlines, report_tabs
from lis_toolkit.trust import LEVELS
from lis_toolkit.webpage import join, table, tag

from .charts import Charts
from .data_table import DataTable
from .message import Message
from .snapshot import Snapshot

MARKS = {"good": "●", "care": "◐", "no": "○"}  # so that a level is not told by its colour alone


class LinkReport(Snapshot, ipywidgets.VBox):
    """A link's report in tabs: the cycle, classes, latent dimensions, units, shared order, notes.

    Parameters
    ----------
    report : lis_toolkit.LinkReport
        What `report_link` measured.
    explorer : UnitExplorer, optional
        A unit chosen in the table of units is opened in it.
    terms : bool
        Whether the terms are explained in a last tab.

    Attributes
    ----------
    tabs : ipywidgets.Tab
    tables : dict of str to DataTable
        By the key of their tab: cycle, classes, dims, units, order.
    charts : dict of str to Charts

    Raises
    ------
    LisError
        What is not a report.

    Examples
    --------
    >>> from lis_widgets import LinkReport
    >>> LinkReport(report_link(link, generator, classifier, held_out, photographs), explorer=explorer)
    """

    def __init__(self, report: Measured, *, explorer: Any = None, terms: bool = True) -> None:
        if not isinstance(report, Measured):
            raise LisError(
                f"the report is of type {type(report).__name__}; what report_link returned was expected."
            )
        self.report, self.explorer = report, explorer
        self.message = Message()
        self.charts: dict[str, Charts] = {}
        self.tables: dict[str, DataTable] = {}
        figures = report_figures(report)
        shown = [(tab.title, self._tab(tab, figures[tab.key])) for tab in report_tabs(report)]
        shown.append((_notes_title(report), ipywidgets.HTML(notes_html(report))))
        if terms:
            shown.append(("terms", ipywidgets.HTML(terms_html())))
        self.tabs = ipywidgets.Tab([box for _, box in shown], titles=[title for title, _ in shown])
        self.tables["units"].on_choose(self._open)
        head = ipywidgets.HTML(headline_html(report))
        super().__init__([head, self.message, self.tabs])
        self.add_class("lis-report")

    def _tab(self, tab: ReportTab, figures: list[dict[str, Any]]) -> ipywidgets.VBox:
        can_open = tab.key == "units" and self.explorer is not None
        text = tab.text + (" Choose a unit to open it in the explorer." if can_open else "")
        self.tables[tab.key] = DataTable(tab.columns, tab.rows, tab.title, choosable=can_open)
        parts: list[ipywidgets.Widget] = [ipywidgets.HTML(tag("p", text, class_="lis-report-text"))]
        if figures:
            self.charts[tab.key] = Charts()
            self.charts[tab.key].show(figures)
            parts.append(self.charts[tab.key])
        elif tab.key not in ("notes", "terms"):
            parts.append(
                ipywidgets.HTML(tag("p", "Not measured; the notes say why.", class_="lis-report-text"))
            )
        return ipywidgets.VBox([*parts, self.tables[tab.key]])

    def _open(self, row: int) -> None:
        """Open the unit of a row in the explorer; what goes wrong is told above the tabs."""
        unit = int(self.tables["units"].rows[row][0])
        try:
            self.explorer.unit = unit
        except Exception as error:  # whatever it is, the user must see it
            self.message.error(error)
        else:
            self.message.note(f"Unit {unit} is open in the explorer.")

    def static_view(self) -> str:
        """Return the headline numbers and the cycle's table, for pages without a kernel."""
        rows = [
            (line.name, line.number, line.interval, LEVELS[line.level], line.text)
            for line in headlines(self.report)
        ]
        return tag("div", table(("number", "value", "", "", "what it says"), rows), class_="lis-static")


def headline_html(report: Measured) -> str:
    """Return the headline numbers as cards: value, interval, level, what it answers and what it says."""
    cards = []
    for line in headlines(report):
        level = tag("span", f"{MARKS[line.level]} {LEVELS[line.level]}", class_=f"lis-level lis-{line.level}")
        measured = line.number != "not measured"
        number = tag("span", line.number, class_="lis-headline" if measured else "lis-unmeasured")
        aside = [tag("span", line.interval, class_="lis-muted")] if line.interval else []
        cards.append(
            tag(
                "div",
                tag("div", tag("strong", line.name), *([level] if measured else [])),
                tag("div", number, *aside, class_="lis-headline-row"),
                tag("div", line.question, class_="lis-muted"),
                tag("div", line.text),
                class_="lis-card",
            )
        )
    return tag("div", *cards, class_="lis-cards")


def _notes_title(report: Measured) -> str:
    return f"notes ({len(report.notes)})" if report.notes else "notes"


def notes_html(report: Measured) -> str:
    """Return what could not be measured and why, and the sizes of the measurement."""
    notes = [tag("li", note) for note in report.notes]
    said = tag("ul", *notes) if notes else tag("p", "Everything could be measured.")
    sizes = [
        tag(
            "tr",
            tag("th", key.replace("_", " "), scope="row"),
            tag("td", "none" if value is None else str(value)),
        )
        for key, value in report.options.items()
    ]
    return tag("div", said, tag("p", "Measured with:"), tag("table", *sizes), class_="lis-report-notes")


def terms_html() -> str:
    """Return the terms of a report, each with what it means."""
    parts = [part for term, text in TERMS.items() for part in (tag("dt", term), tag("dd", text))]
    return join([tag("dl", *parts, class_="lis-terms")])
