"""The report's section on counterfactuals: what would have to change for another class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .webpage import Html, figure, join, table, tag

__all__ = ["counterfactual_section"]


def counterfactual_section(metrics: Mapping[str, Any], pictures: Mapping[str, bytes], heading: Html) -> Html:
    """Return the section, from `metrics["counterfactuals"]` and the pictures "ways_generated" and "ways_photographs".

    Examples
    --------
    >>> section = counterfactual_section(metrics, pictures, tag("h2", "What would have to change"))
    """
    told = metrics.get("counterfactuals")
    if told is None:
        return join([heading, tag("p", "No counterfactuals were searched, so this was left out.")])
    first = told["shown"][0]
    parts = [
        heading,
        tag(
            "p",
            f"What would have to change in a picture of {first['origin']} for the classifier to see {first['target']}? "
            "The search looks for a small change of the units, as the generator can draw it, after which the "
            "classifier, looking at the drawn picture, gives the other class a lead of at least "
            f"{told['margin']:.1f} (the margin, in its own score, the logit). The first picture that is seen as the "
            "other class is framed. Names: what the classifier sees; the judge is a second classifier, which took no "
            "part in the search.",
        ),
        figure(
            pictures["ways_generated"],
            "Rows of pictures that change from one class to another",
            "Generated images, the first held-out one of each class. From left to right: the start as it comes out of "
            "the loop (cycled), the way, the end, and what has changed.",
        ),
        _rows(told["shown"], "The ways above"),
    ]
    if told["photographs"]:
        parts += [
            tag(
                "p",
                "From a photograph the way begins at the picture that the generator draws from the photograph's units. "
                "What is lost there is the loop's doing, and is not counted as a change.",
            ),
            figure(
                pictures["ways_photographs"],
                "Rows of pictures from a photograph over its drawn picture to another class",
                "The first photographs of their class that the classifier sees as such.",
            ),
            _rows(told["photographs"], "The ways from photographs"),
        ]
    return join([*parts, *_all(told)])


def _rows(rows: list[Mapping[str, Any]], caption: str) -> Html:
    header = ["way", "lead at the end", "change in r (sd)", "in w", "in pixels", "units", "renders"]
    forms = {"margin_end": "+.1f", "distance_r_sd": ".2f", "distance_w": ".1f", "pixels": ".2f"}
    forms |= {"units_90": ".0f", "renders": ".0f"}
    judged = all("judge_end" in row for row in rows)
    if judged:
        header.insert(1, "judge sees")
    cells = []
    for row in rows:
        way = f"{row['origin']} → {row['target']}" + ("" if row["success"] else f": {row['reason']}")
        seen = [str(row["judge_end"])] if judged else []
        cells.append([way, *seen, *(_number(row[name], form) for name, form in forms.items())])
    return table(
        header,
        cells,
        f"{caption}; r: the units, w: the generator's latent; units: how many carry 90 % of the change",
    )


def _all(told: Mapping[str, Any]) -> list[Html]:
    """Say what came of all pairs of classes, and which classes are near each other."""
    every = told["all"]
    count = f"{told['starts_per_class']} image{'s' if told['starts_per_class'] > 1 else ''}"
    rows = [("the classifier sees the other class", _share(every["classifier"]))]
    if every["judge"] is not None:
        rows.append(("the judge sees it, too", _share(every["judge"])))
    rows += [
        ("change in w (median)", _number(every["distance_w"], ".1f")),
        (
            "change of a pixel (median of the root mean square, of a range of 1)",
            _number(every["pixels"], ".2f"),
        ),
        ("pictures rendered for each (median)", _number(every["renders"], ".0f")),
    ]
    text = (
        f"From {count} of each class to every other class, with the quicker method (the linear head's shortest way, "
        f"lengthened until the picture follows): {every['asked']} ways between {every['pairs']} pairs of classes."
    )
    if every["start_is_target"]:
        text += f" {every['start_is_target']} more were left out, whose start is seen as the target already."
    near = [
        (
            row["class"], f"{row['nearest']}", _number(row["distance_w"], ".1f"), row["farthest"],
            _number(row["farthest_w"], ".1f"),
        )
        for row in told["nearest"]
    ]  # fmt: skip
    return [
        tag("p", text),
        table(("what", "value"), rows, "All pairs of classes"),
        table(
            ("from", "nearest class", "change in w", "farthest class", "change in w"),
            near,
            f"Which class is how far, from {count} of each: a hint, no measurement; lis counterfactual takes more",
        ),
    ]


def _share(share: Mapping[str, Any]) -> str:
    return f"{share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%} at 95 % confidence)"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
