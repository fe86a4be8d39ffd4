"""The report of a demo run as one self-contained page, for readers who have not read the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .report_counterfactuals import counterfactual_section
from .report_ranking import ranking_section
from .trust import LEVELS, THRESHOLDS, findings
from .webpage import Html, figure, join, page, table, tag

__all__ = ["render_report"]


def render_report(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the page for the numbers of a run and its sheets.

    Parameters
    ----------
    metrics : mapping
        The content of `metrics.json`; every number on the page is taken from it.
    pictures : mapping of str to bytes
        PNG files by name: "classes", "link", "units_<number>" of each class, "cycle" where there are photographs,
        "parts_map" and "parts_<part>" where parts were ranked, "ways_generated" and "ways_photographs" where
        counterfactuals were searched.

    Returns
    -------
    str
        HTML that loads nothing from outside itself.

    Examples
    --------
    >>> Path("report.html").write_text(render_report(metrics, pictures), encoding="utf-8")
    """
    models = metrics["models"]
    sections = [
        _opening(metrics),
        _trust(metrics),
        _cycle(metrics, pictures),
        _units(metrics, pictures),
        ranking_section(metrics, pictures, _heading("Parts")),
        counterfactual_section(metrics, pictures, _heading("Counterfactuals")),
        _link(metrics, pictures),
        _generated(metrics, pictures),
        _provenance(metrics),
    ]
    return page(f"What the units of {models['classifier']['name']} stand for", *sections)


def _opening(metrics: Mapping[str, Any]) -> Html:
    classifier, link = metrics["models"]["classifier"], metrics["link"]
    photographs, level = link["cycle_photographs"], [unit["trust"] for unit in metrics["units"]]
    cards = [
        _card(
            f"{link['r2']:.0%}", "of the variance of unseen latents is predicted by the link (held-out R²)"
        ),
        _card(
            f"{link['cycle_pairs']['accuracy']:.0%}",
            "of unseen generated images keep their class in the loop",
        ),
        _card(
            f"{photographs['accuracy']:.0%}" if photographs else "not measured",
            "of real photographs keep their class in the loop",
        ),
        _card(
            f"{level.count('good')} of {len(level)}",
            "of the units shown do in the picture what they are set to",
        ),
    ]
    names = (
        "What to trust", "The loop", "Units", "Parts", "Counterfactuals", "The link", "The generator", "Provenance",
    )  # fmt: skip
    return join(
        [
            tag("h1", f"What the units of the classifier “{classifier['name']}” stand for"),
            tag(
                "p",
                f"This classifier sorts pictures into {len(classifier['classes'])} classes. Just before its answer it "
                f"holds {classifier['units']} numbers, its units; nobody told it what each should mean. Here single "
                "units are turned from low to high, and an image generator draws what changes. The measures on this "
                "page say which of these drawings to believe.",
                class_="lead",
            ),
            tag("nav", *(tag("a", name, href=f"#{_anchor(name)}") for name in names)),
            tag("div", *cards, class_="cards"),
            tag("h3", "How the pictures are made"),
            tag(
                "ol",
                tag(
                    "li",
                    "The generator draws images of each class; the classifier's units are read from each image.",
                ),
                tag(
                    "li",
                    "A linear map, the link, is fitted from the units to the generator's inputs (its latents), on "
                    f"{metrics['pairs']['train']} such pairs; {metrics['pairs']['held_out']} more are kept for checks.",
                ),
                tag(
                    "li",
                    "For a photograph the units are read, one of them is set to a row of values, and the rest kept.",
                ),
                tag(
                    "li",
                    "The link and the generator turn each set of units into a picture, and the classifier looks again.",
                ),
            ),
        ]
    )


def _card(number: str, text: str) -> Html:
    return tag("div", tag("strong", number), text, class_="card")


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _heading(name: str) -> Html:
    return tag("h2", name, id=_anchor(name))


def _level(level: str) -> Html:
    return tag("span", LEVELS[level], class_=f"level {level}")


def _trust(metrics: Mapping[str, Any]) -> Html:
    items = [tag("li", _level(item.level), f" · {item.topic}: {item.text}") for item in findings(metrics)]
    limits = [
        "The generator can only draw what it has learned to draw: what the classifier reacts to and the generator "
        "cannot draw stays invisible.",
        "Units go together. Setting one through the link also moves what was correlated with it in the pairs, so a "
        "picture shows the direction of a unit, not the unit in isolation.",
        "A change in a picture is a hypothesis about the unit. Test it on photographs before you build on it.",
    ]
    return join(
        [
            _heading("What to trust"),
            tag("p", "Computed from the numbers of this run:"),
            tag("ul", *items),
            tag("p", "What no number here can remove:"),
            tag("ul", *(tag("li", text) for text in limits)),
        ]
    )


def _cycle(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Html:
    parts = [_heading("The loop")]
    if "cycle" not in pictures:
        return join(
            [
                *parts,
                tag("p", "There are no photographs for the classes of these models, so this was left out."),
            ]
        )
    cycle = metrics["link"]["cycle_photographs"]
    parts += [
        tag(
            "p",
            "Real photographs are the hard test, because neither the link nor the generator was fitted to them. Above: "
            "the photograph. Below: what the generator draws from the photograph's units alone. What is lost between "
            "the two is what the units, or the link, or the generator do not carry. The photographs are the first two "
            "of each class in the sample; none were chosen by hand.",
        ),
        figure(
            pictures["cycle"],
            "Twenty photographs of garments, each above the picture drawn from its unit activations",
            "Names and percentages: what the classifier sees, and its certainty. Blue: the class is the same in both; "
            "orange: it is not.",
        ),
        table(
            ("class", "photographs", "keep their class", "at 95 % confidence"),
            [
                (name, str(one["count"]), f"{one['accuracy']:.0%}", f"{one['low']:.0%} to {one['high']:.0%}")
                for name, one in cycle["per_class"].items()
            ],
            "Photographs whose re-render is seen as the same class as the photograph",
        ),
    ]
    return join(parts)


def _units(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Html:
    settings = metrics["settings"]
    parts = [
        _heading("Units"),
        tag(
            "p",
            f"Of each class, the {settings['candidates']} units were tried that speak most for it against the other "
            "classes and vary most; shown are those that answered best, tried on other images than these. Each row "
            "starts from the same image; only one unit is set, from the lowest to the highest value it had on the "
            "generated images. “Set” is the value asked for, “reads” what the classifier finds in the picture. If "
            "reading follows setting, the picture shows this unit; if not, it shows something else: here “trust” means "
            f"a slope of at least {THRESHOLDS['fidelity slope'][0]} and a correlation of at least "
            f"{THRESHOLDS['fidelity correlation'][0]}. The sentences are over {settings['walk_samples']} images, the "
            "sheet shows the first.",
        ),
    ]
    for number, name in enumerate(metrics["models"]["classifier"]["classes"]):
        units = [unit for unit in metrics["units"] if unit["class"] == name]
        if not units:
            continue
        numbers = ", ".join(str(unit["unit"]) for unit in units)
        parts += [
            tag("h3", name),
            figure(
                pictures[f"units_{number}"],
                f"Rows of pictures in which units {numbers} are turned from low to high, starting from {name}",
                "One row a unit, from its lowest value at the left to its highest at the right. Orange: the classifier "
                "sees another class than in the first picture.",
            ),
            tag("ul", *(_unit_sentence(unit) for unit in units)),
        ]
    return join(parts)


def _unit_sentence(unit: Mapping[str, Any]) -> Html:
    return tag(
        "li",
        tag("strong", f"Unit {unit['unit']}"),
        f" votes most for {unit['for']} ({unit['for_weight']:+.2f}) and least for {unit['against']} "
        f"({unit['against_weight']:+.2f}). Set from {unit['low']:.2f} to {unit['high']:.2f}, it reads "
        f"{unit['read_low']:.2f} to {unit['read_high']:.2f} in the pictures (slope {unit['slope']:.2f}, correlation "
        f"{unit['correlation']:.2f}), and the certainty that it is {unit['class']} goes from "
        f"{unit['probability_low']:.0%} to {unit['probability_high']:.0%}. ",
        _level(unit["trust"]),
    )


def _link(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Html:
    link, pairs = metrics["link"], metrics["pairs"]
    rows = [
        (name, f"{count['kept']}", f"{count['tried']}", *_class_numbers(link, name))
        for name, count in pairs["counts"].items()
    ]
    order = link["shared_order"]
    return join(
        [
            _heading("The link"),
            tag(
                "p",
                f"The link is one matrix ({link['latents']} latents by {link['units']} units), fitted by "
                f"{link['method']}{_penalty(link)}. R² says how much of a latent it predicts on pairs it has not "
                "seen: 1 is all of it, 0 no more than the mean. Cycle correlation says whether a unit comes back when "
                "an image is turned into units, into a latent, and into an image again. Fidelity says how much a unit "
                "rises in the rendered picture when it is set higher: a slope of 1 is exactly as much as asked.",
            ),
            figure(
                pictures["link"],
                "Charts: R2 of the latents, cycle accuracy by class, cycle correlation of the units, unit fidelity",
                f"Held-out R² overall {link['r2']:.3f}; shared order of the two spaces {order['correlation']:.3f} "
                f"(p = {order['p_value']:.2g}).",
            ),
            table(
                ("class", "kept", "tried", "R²", "loop, generated"),
                rows,
                "Generated images tried until enough were seen as the class that was asked for; held-out measures",
            ),
        ]
    )


def _class_numbers(link: Mapping[str, Any], name: str) -> tuple[str, str]:
    r2, cycle = link["r2_per_class"].get(name), link["cycle_pairs"]["per_class"].get(name)
    return ("" if r2 is None else f"{r2:.2f}", "" if cycle is None else f"{cycle['accuracy']:.0%}")


def _penalty(link: Mapping[str, Any]) -> str:
    return "" if link["penalty"] is None else f" with penalty {link['penalty']:.3g}"


def _generated(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Html:
    return join(
        [
            _heading("The generator"),
            tag(
                "p",
                "What the generator draws of each class, at the same truncation as the pairs "
                f"(psi {metrics['settings']['psi']}): the first images of each class that were kept. These are not "
                "photographs. If a class looks wrong here, do not interpret its pictures above.",
            ),
            figure(
                pictures["classes"],
                "Generated images, one row a class",
                f"Drawn by the generator “{metrics['models']['generator']['name']}”; the first of each class, not "
                "chosen.",
            ),
        ]
    )


def _provenance(metrics: Mapping[str, Any]) -> Html:
    rows = []
    for part in ("models", "settings", "provenance", "seconds"):
        for key, value in metrics[part].items():
            if isinstance(value, Mapping):
                rows += [
                    (f"{key} {inner}", _shown(item)) for inner, item in value.items() if inner != "classes"
                ]
            else:
                rows.append((f"{key} (s)" if part == "seconds" else key.replace("_", " "), _shown(value)))
    return join(
        [
            _heading("Provenance"),
            tag("p", "All numbers of this page, and more digits of them, are in metrics.json beside it."),
            table(("what", "value"), rows),
            tag(
                "p",
                "Method: Wehrheim, Osuna-Vargas and Kaschube, Linking in Style, 2024, arXiv 2409.16865; made with "
                "lis_toolkit, an independent implementation.",
                class_="soft",
            ),
        ]
    )


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
