"""A link report as it is read: its numbers in a line each, its tables as rows, the questions that they answer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .names import whole_number
from .trust import LEVELS, Finding, link_findings, measured, unit_level

if TYPE_CHECKING:
    from .link_report import LinkReport

__all__ = [
    "QUESTIONS",
    "TERMS",
    "Column",
    "Headline",
    "ReportTab",
    "headlines",
    "report_numbers",
    "report_tabs",
]

# The README's table "What to trust" holds the same words; a test compares them.
QUESTIONS = {
    "held-out R²": "How much of the latent does a linear map predict from the activations, on pairs it has not seen?",
    "cycle accuracy, pairs and photographs": "Does an image keep its class after image → r → w → image? "
    "Photographs are the harder and the honest test.",
    "cycle correlation of a unit": "Does this unit keep its value through the same loop?",
    "unit fidelity (slope, correlation)": "When the unit is set higher, does it come out higher in the rendered image? "
    "Near 0: do not interpret its pictures.",
    "shared order against permutations": "Do activations and latents order images alike beyond chance?",
}
R2, CYCLE, UNIT, FIDELITY, ORDER = QUESTIONS.values()

TERMS = {
    "unit, r": "one of the numbers that the classifier holds just before its answer (penultimate activations).",
    "latent, w": "the numbers from which the generator draws a picture; the link is the linear map from r to w.",
    "pairs": "generated pictures with their w and r. Held out: not used to fit the link.",
    "R²": "share of the variance that is predicted: 1 is all of it, 0 no more than the mean predicts, below 0 worse.",
    "in-sample": "measured on the pairs that the link was fitted to: too good by what was learned by heart.",
    "within classes": "around the mean of each class: what the link knows beyond the class.",
    "the loop, cycle": "image → r → w → image → r: what comes back of a class, or of a unit's value.",
    "interval": "95 % confidence: Wilson's for shares, Student's t for slopes, bootstrap over pairs for R².",
    "slope": "how much higher a unit reads in the rendered picture when it is set one higher: 1 is as much as asked.",
    "raised": "share of samples in which the unit rose at all when it was set higher.",
    "rank": "place of the unit among all by how far it moved, in their standard deviations; 1: none moved more.",
    "shared order": "rank correlation of the distances between images in r and in w; p against permutations.",
}


@dataclass(frozen=True)
class Headline:
    """One number of a report: what it is, its value and interval as text, how far to trust it, what it means.

    Attributes
    ----------
    name, number, interval : texts; the interval is empty where there is none.
    level : "good", "care" or "no", as in `trust.LEVELS`.
    question : what the number answers.
    text : what this value says.
    """

    name: str
    number: str
    interval: str
    level: str
    question: str
    text: str


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, an explanation, and what its cells are.

    Attributes
    ----------
    kind : "text", "count", "number", "share" (0 to 1), or the intervals "number interval" and "share interval", whose
        cells are (low, high). None stands for what could not be measured.
    """

    title: str
    kind: str = "number"
    tip: str = ""


@dataclass(frozen=True)
class ReportTab:
    """One part of a report: what it asks, its table.

    Attributes
    ----------
    key, title, text : a short name, a heading, and a sentence or two on how to read it.
    columns : of the table.
    rows : lists of cells: text, whole number, number, (low, high) or None.
    """

    key: str
    title: str
    text: str
    columns: tuple[Column, ...]
    rows: list[list[Any]]


def report_numbers(report: LinkReport) -> dict[str, Any]:
    """Return the numbers of a report that are spoken about, and the report in full; NaN is None.

    Cycles, from "pairs" and "photographs" of the report, are {accuracy, low, high, count, per_class}, or None where
    they were not measured; the judge's, where there is one, the same without classes.

    Examples
    --------
    >>> report_numbers(report)["cycle_pairs"]["accuracy"]
    0.93
    """
    full = report.to_dict()
    rows = {row["what"]: row for row in full["cycle"]}
    order = {row["what"]: row for row in full["order"]}

    def cycle(what: str, count: str = "", columns: Sequence[str] = ()) -> dict[str, Any] | None:
        if what not in rows:
            return None
        row = rows[what]
        found = {"accuracy": row["share"], "low": row["low"], "high": row["high"], "count": row["n"]}
        if columns:
            names = ("accuracy", "low", "high", "count")
            found["per_class"] = {
                one["class"]: dict(zip(names, (one[column] for column in (*columns, count)), strict=True))
                for one in full["classes"]
                if one[count]
            }
        return found

    slopes = [row["slope"] for row in full["fidelity"] if row["slope"] is not None]
    levels = [_level(row) for row in full["fidelity"]]
    empty = {"correlation": None, "p_value": None, "n": 0}
    return {
        **{name: full[name] for name in ("r2", "r2_low", "r2_high", "r2_in_sample", "r2_within")},
        "r2_per_class": {row["class"]: row["r2"] for row in full["classes"] if row["r2"] is not None},
        "cycle_pairs": cycle("pairs", "pairs", ("cycle", "cycle_low", "cycle_high")),
        "cycle_photographs": cycle("photographs", "photographs", ("photo_cycle", "photo_low", "photo_high")),
        "judge_pairs": cycle("pairs, by the judge"),
        "judge_photographs": cycle("photographs, by the judge"),
        "cycle_correlation": [row["cycle_correlation"] for row in full["units"]],
        "shared_order": {key: order.get("pairs", empty)[key] for key in empty},
        "fidelity": {
            "tested": len(levels),
            "median_slope": statistics.median(slopes) if slopes else None,
            **{level: levels.count(level) for level in LEVELS},
        },
        "report": full,
    }


def _level(row: dict[str, Any]) -> str:
    return unit_level(row["slope"] or 0.0, row["correlation"] or 0.0)


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign; "not measured" for None and NaN."""
    if value is None or not math.isfinite(value):
        return "not measured"
    return f"{value:.{digits}f}".replace("-", "−")


def _between(low: float | None, high: float | None, share: bool = False) -> str:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    low_text, high_text = (f"{v:.0%}" if share else number_text(v) for v in (low, high))
    return f"{low_text} to {high_text}"


def headlines(report: LinkReport) -> list[Headline]:
    """Return the numbers to look at first, each with how far to trust it and a sentence on what it means.

    The levels and sentences are those of the demo's report page (`trust.link_findings`).

    Parameters
    ----------
    report : LinkReport

    Returns
    -------
    list of Headline
        R2, the cycle of pairs and of photographs, the units' cycle correlation and fidelity, shared order.

    Examples
    --------
    >>> [(line.name, line.number) for line in headlines(report)][0]
    ('held-out R²', '0.71')
    """
    numbers = report_numbers(report)
    said = {one.topic: one for one in link_findings(numbers)}
    kept = [value for value in numbers["cycle_correlation"] if value is not None]
    order, fidelity = numbers["shared_order"], numbers["fidelity"]

    def line(name: str, topic: str, number: str, interval: str, question: str) -> Headline:
        found = said.get(topic, Finding("no", topic, "Not measured."))
        return Headline(name, number, interval, found.level, question, found.text)

    def cycle(name: str, topic: str, found: dict[str, Any] | None) -> Headline:
        number = "not measured" if found is None else f"{found['accuracy']:.0%}"
        interval = "" if found is None else _between(found["low"], found["high"], share=True)
        return line(name, topic, number, interval, CYCLE)

    p = measured(order["p_value"])
    return [
        line(
            "held-out R²",
            "the link",
            number_text(numbers["r2"]),
            _between(numbers["r2_low"], numbers["r2_high"]),
            R2,
        ),
        cycle("cycle accuracy, pairs", "generated images", numbers["cycle_pairs"]),
        cycle("cycle accuracy, photographs", "real photographs", numbers["cycle_photographs"]),
        line(
            "median cycle correlation of units",
            "all units",
            number_text(statistics.median(kept) if kept else None),
            f"{len(kept)} units" if kept else "",
            UNIT,
        ),
        line(
            "median slope of units set",
            "any unit",
            number_text(fidelity["median_slope"]),
            f"{fidelity['tested']} units tried" if fidelity["tested"] else "",
            FIDELITY,
        ),
        line(
            "shared order",
            "shared order",
            number_text(order["correlation"]),
            "" if math.isnan(p) else f"p = {p:.2g}",
            ORDER,
        ),
    ]


def report_tabs(report: LinkReport) -> list[ReportTab]:
    """Return a report's tables in the order in which they are read: cycle, classes, dims, units, order.

    Parameters
    ----------
    report : LinkReport
        NaN, encoders without a head, and reports without photographs or tested units have fewer or empty cells.

    Returns
    -------
    list of ReportTab

    Examples
    --------
    >>> {tab.key: len(tab.rows) for tab in report_tabs(report)}["units"]
    256
    """
    full = report.to_dict()
    return [_cycle(full), _classes(full), _dims(full), _units(full), _order(full)]


def _pair(row: dict[str, Any], low: str, high: str) -> tuple[float, float] | None:
    ends = (row.get(low), row.get(high))
    return None if None in ends else ends  # type: ignore[return-value]


def _cycle(full: dict[str, Any]) -> ReportTab:
    return ReportTab(
        "cycle",
        "cycle",
        CYCLE,
        (
            Column("images", "text"),
            Column("number", "count"),
            Column("keep their class", "share", "share of images whose re-render is seen as the same class"),
            Column("95 % interval", "share interval", TERMS["interval"]),
        ),
        [[row["what"], row["n"], row["share"], _pair(row, "low", "high")] for row in full["cycle"]],
    )


def _classes(full: dict[str, Any]) -> ReportTab:
    rows, photographs = full["classes"], any("photo_cycle" in row for row in full["classes"])
    columns = [
        Column("class", "text"),
        Column("pairs", "count", "held-out pairs"),
        Column("R²", tip=TERMS["R²"]),
        Column("R² within", tip=TERMS["within classes"]),
        Column("pairs keep class", "share"),
        Column("95 % interval", "share interval", TERMS["interval"]),
    ]
    cells = [
        [r["class"], r["pairs"], r["r2"], r["r2_within"], r["cycle"], _pair(r, "cycle_low", "cycle_high")]
        for r in rows
    ]
    if photographs:
        columns += [
            Column("photographs", "count"),
            Column("photographs keep class", "share"),
            Column("95 % interval", "share interval", TERMS["interval"]),
            Column("seen as true class", "share", "re-renders that are seen as the photograph's label"),
        ]
        for row, one in zip(rows, cells, strict=True):
            one += [
                row["photographs"],
                row["photo_cycle"],
                _pair(row, "photo_low", "photo_high"),
                row["photo_label"],
            ]
    text = "Pictures of a class that seldom comes back should not be read one by one."
    return ReportTab("classes", "classes", text, tuple(columns), cells)


def _dims(full: dict[str, Any]) -> ReportTab:
    return ReportTab(
        "dims",
        "latents",
        R2
        + " A dimension far below the diagonal was learned by heart; a share of variance near 0 makes it unimportant.",
        (
            Column("dimension", "count"),
            Column("held-out R²", tip=TERMS["R²"]),
            Column("in-sample R²", tip=TERMS["in-sample"]),
            Column("share of variance", "share", "of the variance of w over the held-out pairs"),
        ),
        [[row["dim"], row["r2"], row["r2_in_sample"], row["share"]] for row in full["dims"]],
    )


def _units(full: dict[str, Any]) -> ReportTab:
    tried = {row["unit"]: row for row in full["fidelity"]}
    rows = []
    for row in full["units"]:
        cells = [row["unit"], None if row["constant"] else row["std"], row["cycle_correlation"]]
        one = tried.get(row["unit"])
        if one is None:
            cells += [None] * 6
        else:
            slope = _pair(one, "slope_low", "slope_high")
            level = LEVELS[_level(one)]
            cells += [one["slope"], slope, one["correlation"], one["raised"], one["rank"], level]
        rows.append(cells)
    # The widest spread first, constant units last: without another choice, the units that matter are on top.
    rows.sort(key=lambda cells: -math.inf if cells[1] is None else cells[1], reverse=True)
    return ReportTab(
        "units",
        "units",
        f"{UNIT} {FIDELITY} Fidelity was measured for {len(tried)} of {len(rows)} units.",
        (
            Column("unit", "count"),
            Column("spread", tip="standard deviation over the fitted pairs; none: the unit was constant"),
            Column("cycle correlation", tip=UNIT),
            Column("slope", tip=TERMS["slope"]),
            Column("95 % interval", "number interval", TERMS["interval"]),
            Column("correlation", tip="of the set and the re-encoded value, within samples"),
            Column("raised", "share", TERMS["raised"]),
            Column("rank", "count", TERMS["rank"]),
            Column("trust", "text", "the worse of the grades of slope and correlation"),
        ),
        rows,
    )


def _order(full: dict[str, Any]) -> ReportTab:
    return ReportTab(
        "order",
        "order",
        ORDER,
        (
            Column("images", "text"),
            Column("number", "count"),
            Column("rank correlation", tip=TERMS["shared order"]),
            Column("p", tip="share of permutations that correlate at least as much"),
        ),
        [[row["what"], row["n"], row["correlation"], row["p_value"]] for row in full["order"]],
    )


def low_rows(rows: Sequence[Sequence[Any]], column: int, most: int) -> list[Sequence[Any]]:
    """Return rows in their order; of more than `most` those that are lowest in a column, the lowest first.

    Rows without a value there come last.

    Examples
    --------
    >>> low_rows([["a", 0.9], ["b", 0.2], ["c", None]], column=1, most=2)
    [['b', 0.2], ['a', 0.9]]
    """
    if len(rows) <= whole_number(most, "most", 1):
        return list(rows)
    return sorted(rows, key=lambda row: math.inf if row[column] is None else row[column])[:most]
