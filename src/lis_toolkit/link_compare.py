"""Several links side by side: what they explain of latents they were not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import LisError
from .link import Link
from .moments import row_marks
from .pixel_sheet import BAD, FAINT, GOOD, figure_class

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .pairs import Pairs

__all__ = ["compare_links", "penalty_figure"]


@torch.no_grad()
def compare_links(links: Mapping[str, Link], held_out: Pairs) -> pd.DataFrame:
    """Compare links on the same held-out pairs, without rendering.

    Parameters
    ----------
    links : name -> link.
    held_out : pairs that none of them was fitted on.

    Returns
    -------
    DataFrame
        link, method, penalty, rank, r2_in_sample, r2_held_out (share of the variance of w explained) and r2_within
        (the same around each class's own mean: what is known beyond the class).

    Raises
    ------
    LisError : no links, widths that do not fit, pairs that a link was fitted on.

    Examples
    --------
    >>> compare_links({"ols": fit_link(train, "ols"), "ridge": fit_link(train, "ridge")}, held_out)
    """
    import pandas as pd

    if not links:
        raise LisError("no links were given; at least one is needed.")
    w = held_out.w.double().cpu()  # [N, W]
    spread = (w - w.mean(0)).square().sum()
    within = _around_class_means(w, held_out.labels.cpu()).square().sum()
    rows: list[dict[str, Any]] = []
    for name, link in links.items():
        if w.shape[1] != link.w_dim:
            raise LisError(
                f"link {name!r} was fitted on {link.w_dim} latent dimensions; the pairs have {w.shape[1]}."
            )
        seen = int(torch.isin(row_marks(held_out.w, held_out.r), link.fitted_rows.cpu()).sum())
        if seen:
            raise LisError(
                f"link {name!r} was fitted on {seen} of the {len(w)} pairs: compare on pairs it has not seen."
            )
        missed = (w - link(held_out.r.to(link.device)).cpu().double()).square().sum()
        rows.append({
            "link": name,
            "method": link.method,
            "penalty": link.penalty,
            "rank": link.rank,
            "r2_in_sample": link.in_sample_r2,
            "r2_held_out": float(1 - missed / spread),
            "r2_within": float(1 - missed / within),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _around_class_means(w: Tensor, labels: Tensor) -> Tensor:
    left = w.clone()
    for k in labels.unique():
        left[labels == k] -= w[labels == k].mean(0)
    return left


def penalty_figure(link: Link) -> Figure:
    """Draw how the error on pairs not fitted on depends on the ridge penalty (or on the rank); the choice is marked.

    Raises
    ------
    LisError : a link for which nothing was chosen.

    Examples
    --------
    >>> penalty_figure(fit_link(pairs, method="ridge"))
    """
    curve = link.penalty_curve
    if not curve:
        raise LisError(
            f"this link ({link.method}) was fitted without a choice of penalty or rank: nothing to draw."
        )
    name = "rank" if "rank" in curve else "penalty"
    chosen = link.rank if name == "rank" else link.penalty
    figure = figure_class()(figsize=(5, 2.8), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve[name], curve["r2"], ".-", color=GOOD)
    axes.axvline(chosen, color=BAD, linestyle=":", label=f"chosen: {chosen:.3g}")
    if name == "penalty":
        axes.set_xscale("log")
    best = max(curve["r2"])
    axes.set_ylim(max(min(curve["r2"]), best - 1), best + 0.05 * max(abs(best), 0.2))
    axes.grid(color=FAINT, alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel(f"R², {curve['kind']}", fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    return figure
