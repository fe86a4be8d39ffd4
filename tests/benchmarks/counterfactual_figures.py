"""What the benchmark of counterfactuals draws, and what it asks of the closed form's shift before any line search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lis_toolkit.counterfactuals.rendered import rendered_margin
from lis_toolkit.counterfactuals.shortest import shortest_shift
from lis_toolkit.counterfactuals.sparse import sparse_shift

if TYPE_CHECKING:
    from bench_counterfactuals import Bench

HEAD_MARGIN = 3.0  # logits asked of the head
AMOUNTS = (1.0, 1.5, 2.0)  # of the shift
COLOURS = {
    "closed_form": "#d55e00",
    "latent": "#0072b2",
    "latent, realism 0.1": "#009e73",
}  # apart for the colour-blind, too


def head(bench: Bench) -> tuple[Tensor, Tensor]:
    """Weight [K, R] and bias [K] of the classifier's linear head, by asking it."""
    units = torch.eye(bench.link.num_units)
    with torch.no_grad():
        bias = bench.classifier.head(torch.zeros_like(units[:1]))[0]
        return (bench.classifier.head(units) - bias).T.contiguous(), bias


@torch.no_grad()
def shifts(bench: Bench, r: Tensor, targets: Tensor) -> dict[str, dict[str, object]]:
    """Per metric: the share of the shift that the link sees, how far off the data it leads, what the picture says.

    "difference of means" is no closed form: the way to the target's mean activation, as a yardstick.
    """
    link, classes = bench.link, bench.classifier.classes
    weight, bias = head(bench)
    sigma = link.statistics.sigma
    problem = r, targets, weight, bias
    d = {
        "euclidean": shortest_shift(*problem, torch.eye(len(sigma)), margin=HEAD_MARGIN).d,
        "covariance": shortest_shift(*problem, sigma, margin=HEAD_MARGIN).d,
        "sparse": sparse_shift(*problem, link.unit_std, margin=HEAD_MARGIN).d,
        "difference of means": link.statistics.r_means[targets] - r,
    }
    seen = torch.linalg.svd(link.A, full_matrices=False).Vh  # [W, R]: directions in r that move w
    centre, start = link.unit_mean, rendered(bench, r, targets)
    found: dict[str, dict[str, object]] = {}
    for name, shift in d.items():
        row: dict[str, object] = {
            "length_r": float(shift.norm(dim=1).mean()),
            "share_the_link_sees": float((shift @ seen.T).norm(dim=1).div(shift.norm(dim=1)).mean()),
            "units_90": float(units_90(shift / link.unit_std.clamp_min(1e-6)).float().mean()),
            "mahalanobis_end": float(link.statistics.mahalanobis(r + shift - centre).square().mean()),
        }
        for t in AMOUNTS if name != "difference of means" else (0.7, 1.0):
            there = (r + t * shift).relu()
            by_head = rendered_margin(there @ weight.T + bias, targets)
            by_picture = rendered(bench, there, targets)
            row |= {
                f"head_margin_{t:g}": float(by_head.mean()),
                f"rendered_margin_{t:g}": float(by_picture.mean()),
                f"flipped_{t:g}": float((by_picture > 0).float().mean()),
                f"signs_agree_{t:g}": float(((by_head > 0) == (by_picture > 0)).float().mean()),
                f"distance_w_{t:g}": float((link.linear(there) - link.linear(r)).norm(dim=1).mean()),
                f"rendered_margin_{t:g}_by_target": {
                    classes[k]: round(float(by_picture[targets == k].mean()), 2)
                    for k in targets.unique().tolist()
                },
            }
        found[name] = row
    found["start"] = {"rendered_margin": float(start.mean()), "mahalanobis": float(
        link.statistics.mahalanobis(r - centre).square().mean())}  # fmt: skip
    return found


def rendered(bench: Bench, r: Tensor, targets: Tensor) -> Tensor:
    """Margins [N] of the pictures."""
    said = [
        bench.classifier.head(bench.classifier.features(bench.generator.render(bench.link.linear(part))))
        for part in r.split(64)
    ]
    return rendered_margin(torch.cat(said), targets)


def units_90(shift: Tensor) -> Tensor:
    """Units [N] that carry 90 % of the squared shift [N, R]."""
    share = shift.square().sort(dim=1, descending=True).values.cumsum(dim=1)
    return (share < 0.9 * share[:, -1:]).sum(dim=1) + 1


def tradeoff(
    found: dict[str, dict[str, list[float]]],
    margins: tuple[float, ...],
    default: float,
    starts: int,
    path: Path,
) -> None:
    """Draw what the judge agrees to against how far it is, one curve a method, one point a margin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for method, colour in COLOURS.items():
        rows = [found[f"{method}, margin {margin:g}"] for margin in margins]
        far, judge = ([row[key] for row in rows] for key in ("distance_w", "agreement_judge"))
        axes.errorbar(
            [x[0] for x in far], [y[0] for y in judge],
            xerr=[[x[0] - x[1] for x in far], [x[2] - x[0] for x in far]],
            yerr=[[y[0] - y[1] for y in judge], [y[2] - y[0] for y in judge]],
            fmt="none", ecolor=colour, alpha=0.25,
        )  # fmt: skip
        axes.plot([x[0] for x in far], [y[0] for y in judge], "-o", color=colour, label=method, zorder=3)
        for margin, x, y, row in zip(margins, far, judge, rows, strict=True):
            valid = row["validity"][0]
            right = method != "latent"
            axes.annotate(
                f"{margin:g}" if valid > 0.995 else f"{margin:g} ({valid:.0%} found)", (x[0], y[0]),
                xytext=(7, -13) if right else (-7, 6), textcoords="offset points", color=colour,
                ha="left" if right else "right", fontsize=9,
            )  # fmt: skip
    axes.axhline(0.9, color="0.5", linewidth=1, linestyle=":")
    axes.text(
        0.995, 0.9, "asked: 0.90 ", transform=axes.get_yaxis_transform(), ha="right", va="bottom", color="0.4"
    )
    axes.set_xlabel("distance of the counterfactual from its start, in w")
    axes.set_ylabel("share of those found that the judge sees as the target, too")
    axes.set_title(
        f"Farther beyond the boundary, surer: numbers are margins in logits (default {default:.2g})\n"
        f"{starts} held-out starts, all class pairs; bars are 95 % intervals of one draw of starts", fontsize=10,
    )  # fmt: skip
    axes.legend(loc="lower right")
    axes.grid(alpha=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
