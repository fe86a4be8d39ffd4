"""The report's section on parts: which units change which part most, and whether photographs agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .rankings.texts import amount
from .webpage import Html, figure, join, table, tag

__all__ = ["ranking_section"]

LISTED = 3  # units named of each part


def ranking_section(metrics: Mapping[str, Any], pictures: Mapping[str, bytes], heading: Html) -> Html:
    """Return the section, from `metrics["ranking"]` and the pictures "parts_map" and "parts_<part>".

    Examples
    --------
    >>> section = ranking_section(metrics, pictures, tag("h2", "Parts"))
    """
    ranking = metrics.get("ranking")
    if ranking is None:
        return join(
            [heading, tag("p", "There is no segmenter of parts for this generator, so this was left out.")]
        )
    parts = [
        heading,
        tag(
            "p",
            f"Here every unit was set to its lowest and its highest value in {ranking['samples_per_class']} fresh "
            "generated images of each class, together with the units that usually move with it within a class. A small "
            "network, trained on 60 labelled images, tells the parts of each picture, and the change of every "
            f"part was measured: {ranking['rows']:,} pictures. Effect is the mean change divided by its standard "
            "deviation over images: how regular the change is, not how large; over a handful of images it is "
            "wild. Classes in which fewer than half of the images have the part are left out. q is the share of false "
            "findings to expect among units at least this sure.",
        ),
        _table(ranking, "area", "Units that change the area of a part most regularly (share of the picture)"),
        _table(ranking, "luminance", "Units that make a part lighter or darker most regularly (0 to 1)"),
    ]
    parts.append(tag("p", "The parts shown here are those whose area most units change."))
    for part in ranking["shown"]:
        parts.append(
            figure(
                pictures[f"parts_{part}"],
                f"Pictures in which units are set from low to high; the {part} is outlined",
                f"The units that change the area of the {part} most regularly, each in the image of the median change, "
                f"with the {part} outlined.",
            )
        )
    parts.append(
        figure(
            pictures["parts_map"],
            "Map of effects: units by parts",
            "Effects on the areas of all parts: a row a unit, a column a part. Purple: smaller, orange: larger.",
        )
    )
    parts.append(_photographs(ranking))
    return join(parts)


def _table(ranking: Mapping[str, Any], measure: str, caption: str) -> Html:
    rows = []
    for described in ranking["parts"]:
        if described["measure"] != measure:
            continue
        for place, unit in enumerate(described["units"][:LISTED]):
            low, middle, high = (amount(measure, unit[name], True) for name in ("low", "mean_change", "high"))
            rows.append(
                (
                    described["part"] if place == 0 else "",
                    str(unit["unit"]),
                    f"{middle} ({low} to {high})",
                    "" if unit["effect"] is None else f"{unit['effect']:+.1f}",
                    f"{unit['q']:.2g}",
                    str(unit["samples"]),
                    str(described["significant"]) if place == 0 else "",
                )
            )
    header = ("part", "unit", "mean change (95 % interval)", "effect", "q", "images", "units with q < 0.05")
    return table(header, rows, caption)


def _photographs(ranking: Mapping[str, Any]) -> Html:
    if not ranking["photographs"]:
        return tag("p", "There were no photographs to test these rankings on.")
    rows = [
        (
            f"{check['part']} {check['measure']}",
            f"{check['agreement']:.0%} of {check['units']}",
            "" if check["rest"] is None else f"{check['rest']:.0%}",
            f"{check['p']:.2g}",
        )
        for check in ranking["photographs"]
        if check["agreement"] is not None
    ]
    return join(
        [
            tag(
                "p",
                "The honest test: a unit whose pictures grow a sleeve should be more active on real photographs with "
                "large sleeves than on those with small ones of the same class. The parts of the photographs are told "
                "by a network that reads the photograph itself, so neither link nor generator takes part in it.",
            ),
            table(
                ("ranking", "top units that agree", "other units", "p"),
                rows,
                "Share of units that differ between photographs in the direction that the pictures say; half would be "
                "chance",
            ),
        ]
    )
