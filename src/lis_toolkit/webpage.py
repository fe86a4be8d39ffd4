"""A few lines to build HTML in which every text is escaped, and the style of our reports."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

__all__ = ["Html", "figure", "join", "page", "table", "tag"]

VOID = {"img", "meta", "br"}


class Html(str):
    """Text that is HTML already; everything else is escaped where it is put into a tag."""


def tag(name: str, /, *children: str, **attributes: str) -> Html:
    """Return an element; plain strings among `children` and all attribute values are escaped.

    A trailing underscore of an attribute's name is dropped, others become hyphens: `class_`, `aria_label`.

    Examples
    --------
    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Put parts one after the other, escaping those that are not `Html`."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def figure(png: bytes, alt: str, caption: str) -> Html:
    """Return a picture, embedded as a data URI, with its caption."""
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return tag("figure", tag("img", src=source, alt=alt), tag("figcaption", caption))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Html:
    """Return a table; cells that look like numbers, and heads above nothing else, are set flush right by the style."""
    rows = list(rows)
    columns = [[cell for cell in column if cell] for column in zip(*rows, strict=True)] or [[]] * len(header)
    heads = [bool(cells) and all(map(_is_number, cells)) for cells in columns]
    head = tag(
        "tr",
        *(tag("th", cell, scope="col", **_flush(right)) for cell, right in zip(header, heads, strict=True)),
    )
    body = [tag("tr", *(tag("td", cell, **_flush(_is_number(cell))) for cell in row)) for row in rows]
    title = [tag("caption", caption)] if caption else []
    return tag("div", tag("table", *title, tag("thead", head), tag("tbody", *body)), class_="wide")


def _flush(right: bool) -> dict[str, str]:
    return {"class_": "number"} if right else {}


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or (cell[:1] in "+-−" and cell[1:2].isdigit())


def page(title: str, *body: str) -> str:
    """Return a whole document that asks for nothing from outside itself."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        tag("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en") + "\n"


STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #5c5c62; --paper: #fdfdfb; --line: #d9d9d4;
  --panel: #f3f3ee; --good: #0072b2; --care: #9a6700; --no: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e9e6; --soft: #a9a9ad; --paper: #17181a; --line: #3a3b3f;
  --panel: #212225; --good: #6db9e8; --care: #e5b64a; --no: #ff9b5e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 Georgia, "Times New Roman", serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1, h2, h3, th, .card, nav, figcaption, .level { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; } h2 { font-size: 1.35rem; margin: 3.2rem 0 .6rem;
  padding-top: .8rem; border-top: 1px solid var(--line); } h3 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p, ul, ol { max-width: 44rem; margin: .6rem 0; } .lead { font-size: 1.15rem; } .soft { color: var(--soft); }
nav { font-size: .9rem; margin: 1rem 0 1.5rem; } nav a { color: var(--good); margin-right: 1.1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.card { background: var(--panel); border-radius: 6px; padding: .8rem 1rem; font-size: .88rem; line-height: 1.4; }
.card strong { display: block; font-size: 1.7rem; line-height: 1.25; }
figure { margin: 1.2rem 0; } figure img { display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 4px; padding: 6px; image-rendering: auto; }
figcaption { font-size: .88rem; color: var(--soft); margin-top: .5rem; max-width: 46rem; line-height: 1.45; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: 1rem 0; }
caption { text-align: left; font-style: italic; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; } td.number, th.number { text-align: right; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.level { font-weight: 600; font-size: .9rem; } .good { color: var(--good); } .care { color: var(--care); }
.no { color: var(--no); } code { font-size: .86em; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --panel: #f4f4f4; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } nav { display: none; }
  figure, tr, .card { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
