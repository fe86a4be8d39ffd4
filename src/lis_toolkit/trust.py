"""What to trust and what not: plain sentences computed from measured numbers, with the thresholds in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Finding", "findings", "link_findings", "unit_level"]

# (good from, with care from): conventions of this report, not of the paper; below the second, do not build on it.
THRESHOLDS = {
    "r2": (0.6, 0.3),
    "cycle": (0.85, 0.6),
    "unit cycle": (0.7, 0.4),
    "fidelity slope": (0.5, 0.2),
    "fidelity correlation": (0.9, 0.6),
    "units that come back": (0.75, 0.4),
    "units that answer": (0.75, 0.4),
    "counterfactuals": (0.9, 0.6),
}
MOST_NAMES = 10  # of classes in one sentence
LEVELS = {"good": "trust", "care": "with care", "no": "do not build on it"}


@dataclass(frozen=True)
class Finding:
    """One sentence about the results: `level` good, care or no; `topic` in two words; `text` in full."""

    level: str
    topic: str
    text: str


def grade(value: float, name: str) -> str:
    """Return good, care or no for a value on one of the `THRESHOLDS`; NaN is no."""
    good, care = THRESHOLDS[name]
    return "good" if value >= good else "care" if value >= care else "no"


def unit_level(slope: float, correlation: float) -> str:
    """Return the worse grade of a unit's fidelity slope and correlation."""
    order = ("good", "care", "no")
    return max(grade(slope, "fidelity slope"), grade(correlation, "fidelity correlation"), key=order.index)


def findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Return what the numbers of a demo run (`metrics.json`) allow to say, the broadest first.

    Examples
    --------
    >>> findings(json.loads(Path("demo/metrics.json").read_text()))[0].topic
    'the link'
    """
    found = link_findings(metrics["link"], metrics["units"])
    if metrics.get("counterfactuals"):
        found.append(_about_counterfactuals(metrics["counterfactuals"]["all"]))
    return found


def _about_counterfactuals(counted: Mapping[str, Any]) -> Finding:
    """Say whether pictures that change the classifier's mind change that of one that took no part in the search."""
    topic, judge, own = "counterfactuals", counted["judge"], counted["classifier"]
    text = (
        f"In {measured(own['share']):.0%} of {counted['asked']} searches a picture was found that the classifier takes "
        "for the other class."
    )
    if judge is None or counted["asked"] == 0:
        return Finding("no", topic, f"{text} Not checked: there is no second classifier for these classes.")
    level = grade(measured(judge["share"]), "counterfactuals")
    text += (
        f" The second classifier, which took no part, agrees in {measured(judge['share']):.0%} of the searches "
        f"({measured(judge['low']):.0%} to {measured(judge['high']):.0%} at 95 % confidence). "
    )
    text += {
        "good": "So they show what tells classes apart, as far as two classifiers can say, and not one's blind spot.",
        "care": "So some of them show a blind spot of this classifier: look at each.",
        "no": "So they show this classifier's blind spots more than what tells classes apart.",
    }[level]
    return Finding(level, topic, text)


def link_findings(link: Mapping[str, Any], units: list[Mapping[str, Any]] | None = None) -> list[Finding]:
    """Return what the numbers of a link (`link_tables.report_numbers`) allow to say, and those of units shown.

    Examples
    --------
    >>> link_findings(report_numbers(report))[0].level
    'good'
    """
    found = [_about_r2(link)]
    if link["cycle_pairs"]:
        pairs = link["cycle_pairs"], link["judge_pairs"]
        found.append(_about_cycle(*pairs, "generated images", "not used in the fit"))
    else:
        found.append(
            Finding(
                "no", "generated images", "Not measured: the classifier has no head, so it sees no class."
            )
        )
    if link["cycle_photographs"]:
        real = link["cycle_photographs"], link["judge_photographs"]
        found.append(_about_cycle(*real, "real photographs", "which nothing was fitted to"))
    else:
        found.append(
            Finding(
                "no", "real photographs", "Not measured: no photographs of these models' classes were given."
            )
        )
    found += _about_units(link, units or [])
    found.append(_about_order({name: measured(value) for name, value in link["shared_order"].items()}))
    return found


def _about_order(order: Mapping[str, float]) -> Finding:
    if math.isnan(order["p_value"]):
        return Finding("no", "shared order", "Not measured: there were too few images, or all were equal.")
    if order["p_value"] < 0.05:
        text = "Activations and latents order images alike beyond chance, so a linear map between them has a ground."
    else:
        text = "The two spaces do not order images alike beyond chance: a linear map has no ground here."
    text += (
        f" (Rank correlation {order['correlation']:.2f}, p = {order['p_value']:.2g} against permutations.)"
    )
    return Finding("good" if order["p_value"] < 0.05 else "no", "shared order", text)


def measured(value: float | None) -> float:
    """Return a number of `metrics.json`, NaN for one that could not be measured."""
    return math.nan if value is None else float(value)


def _share(r2: float) -> str:
    """Say an R2; one below 0, worse than the mean, is nothing explained."""
    if math.isnan(r2):
        return "an unknown share"
    return "none" if r2 <= 0 else f"{r2:.0%}"


def _about_r2(link: Mapping[str, Any]) -> Finding:
    r2, within = measured(link["r2"]), measured(link["r2_within"])
    level = grade(r2, "r2")
    meaning = {
        "good": "Most of what the generator needs to know can be read from the classifier by a linear map.",
        "care": "A good part can be read from the classifier; the rest of each picture is an average.",
        "no": "Too little can be read from the classifier linearly; pictures are mostly averages.",
    }[level]
    text = (
        f"It explains {_share(r2)} of the variance of latents it was not fitted on, and {_share(within)} of that "
        f"within a class. {meaning}"
    )
    if level == "good" and grade(within, "r2") != "good":
        level = "care"
        text += " But it tells classes apart better than images of one class."
    return Finding(level, "the link", text)


def _about_cycle(cycle: Mapping[str, Any], judge: Mapping[str, Any] | None, what: str, which: str) -> Finding:
    level = grade(cycle["accuracy"], "cycle")
    text = (
        f"After image, activations, latent and back, {cycle['accuracy']:.0%} of {cycle['count']} {what}, {which}, are "
        f"still seen as the same class ({cycle['low']:.0%} to {cycle['high']:.0%} at 95 % confidence)."
    )
    if judge:
        text += f" A second classifier, trained independently, sees that class in {judge['accuracy']:.0%}."
        if judge["accuracy"] < cycle["accuracy"]:
            level = grade(judge["accuracy"], "cycle")
    weak = {
        name: one["accuracy"]
        for name, one in cycle["per_class"].items()
        if grade(one["accuracy"], "cycle") == "no"
    }
    if weak:
        worst = sorted(weak.items(), key=lambda item: item[1])
        names = ", ".join(f"{name} ({value:.0%})" for name, value in worst[:MOST_NAMES])
        more = f" and {len(worst) - MOST_NAMES} more classes" if len(worst) > MOST_NAMES else ""
        text += f" Do not read single pictures of: {names}{more}."
        level = "care" if level == "good" else level
    return Finding(level, what, text)


def _about_units(link: Mapping[str, Any], units: list[Mapping[str, Any]]) -> list[Finding]:
    kept = [value for value in link["cycle_correlation"] if value is not None]
    share = sum(grade(value, "unit cycle") == "good" for value in kept) / max(len(kept), 1)
    level = grade(share, "units that come back")
    found = [
        Finding(
            level,
            "all units",
            f"{share:.0%} of the {len(kept)} units that vary keep their value through the same loop "
            f"(correlation of at least {THRESHOLDS['unit cycle'][0]} over the images).",
        )
    ]
    if units:
        counts = {level: sum(unit["trust"] == level for unit in units) for level in LEVELS}
        text = (
            f"Of the {len(units)} units shown here, {counts['good']} rise in the picture when they are set higher "
            f"(trust), {counts['care']} do so weakly (with care), {counts['no']} do not (do not build on them). They "
            "are those that answered best among the units that speak most for their class."
        )
        level = grade(counts["good"] / len(units), "units that answer")
        found.append(Finding(level, "shown units", text))
    other = link["fidelity"]
    if other["tested"]:
        text = (
            f"Of {other['tested']} units taken evenly from all, {other['good']} rise when they are set higher, "
            f"{other['care']} weakly, {other['no']} do not (median slope {measured(other['median_slope']):.2f}; 1 is "
            "as much as asked). So look at a unit's slope before you read its pictures."
        )
        found.append(Finding(grade(other["good"] / other["tested"], "units that answer"), "any unit", text))
    return found
