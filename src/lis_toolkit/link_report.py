"""How far to trust a link: measured on pairs it has not seen, on photographs, and unit by unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .errors import LisError
from .features import check_images_for
from .link_look import Look, predict
from .link_stats import (
    cycle_correlation,
    explained,
    interval_of_mean,
    per_class,
    records,
    share_row,
    shared_order,
)
from .moments import row_marks

if TYPE_CHECKING:
    import pandas as pd

    from .datasets import Photographs
    from .link import Link
    from .pairs import Pairs


@dataclass
class LinkReport:
    """What `report_link` measured; tables are pandas DataFrames, shares lie in [0, 1], NaN means not measurable.

    Attributes
    ----------
    r2, r2_low, r2_high, r2_in_sample : float
        Share of the variance of w explained on held-out pairs (95 % bootstrap interval over pairs), and in the fit.
    r2_within : float
        The same around each class's own mean: what the link knows beyond the class.
    dims : DataFrame
        Per latent dimension: dim, r2, r2_in_sample, share (of the held-out variance of w).
    classes : DataFrame
        Per class: class, pairs, r2 (around the mean of all), r2_within, cycle, cycle_low, cycle_high (of pairs),
        photographs, photo_cycle, photo_low, photo_high, photo_label (share seen as their true label).
    cycle : DataFrame
        One row per question ("pairs", "photographs", "photographs, true label", ...): what, n, share, low, high
        (Wilson, 95 %). Shares of images whose re-render keeps the class that the classifier saw before.
    units : DataFrame
        Per unit: unit, constant, std, cycle_correlation (of r with r of the re-render, over held-out pairs).
    fidelity : DataFrame
        Per tested unit: unit, low, high (values set), slope of the re-encoded on the set value (1 is perfect),
        slope_low, slope_high (95 % over samples), correlation (within samples), raised (share of samples with a
        positive slope), rank (1: no other unit moved more, in its standard deviations).
    order : DataFrame
        Representational similarity of r and w: what, n, correlation (Spearman), p_value (against permutations).
    notes : list of str
        What could not be measured, and why.
    options : dict
        Sizes and seed of the measurement.
    """

    r2: float
    r2_low: float
    r2_high: float
    r2_in_sample: float
    r2_within: float
    dims: pd.DataFrame
    classes: pd.DataFrame
    cycle: pd.DataFrame
    units: pd.DataFrame
    fidelity: pd.DataFrame
    order: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> str:
        """Readable text of a screen or less."""
        lines = [
            "Link report",
            f"  held-out R2   {self.r2:.3f} [{self.r2_low:.3f}, {self.r2_high:.3f}] over {self.options['pairs']} "
            f"pairs; in-sample {self.r2_in_sample:.3f}; within classes {self.r2_within:.3f}",
        ]
        for row in self.cycle.to_dict("records"):
            lines.append(
                f"  cycle         {row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}] of {row['n']} {row['what']}"
            )
        varied = self.units.cycle_correlation.dropna()
        if len(varied):
            lines.append(
                f"  units         cycle correlation: median {varied.median():.2f}, "
                f"{(varied > 0.5).mean():.0%} of {len(varied)} above 0.5"
            )
        slopes = self.fidelity.dropna(subset=["slope"])
        if len(slopes):
            lines.append(
                f"  fidelity      slope: median {slopes.slope.median():.2f}, {(slopes.slope_low > 0).mean():.0%} of "
                f"{len(slopes)} tested units surely rise; median correlation {slopes.correlation.median():.2f}"
            )
        for row in self.order.dropna().to_dict("records"):
            lines.append(
                f"  shared order  {row['correlation']:.2f} (p = {row['p_value']:.2g}) over {row['n']} {row['what']}"
            )
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def __str__(self) -> str:
        return self.summary()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values: tables as lists of rows, NaN as None."""
        return {name: records(value) for name, value in vars(self).items()}


def report_link(
    link: Link,
    generator: Any,
    classifier: Any,
    pairs: Pairs,
    photographs: Photographs | None = None,
    *,
    units: int | Sequence[int | str] | Literal["all"] = 16,
    samples: int = 8,
    steps: int = 5,
    permutations: int = 200,
    order_pairs: int = 500,
    judge: Any = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> LinkReport:
    """Measure a link on held-out pairs and real photographs.

    Parameters
    ----------
    link, generator, classifier
        The models must be those the link was fitted for.
    pairs : Pairs
        Held out: none of them may have been used in the fit.
    photographs : Photographs, optional
        Real images with labels, unit range, of the classifier's size. Left out, and said so in a note, for an encoder
        without a head: what is measured with them are classes.
    units : int, sequence of units, or "all"
        Units for fidelity. A number takes that many, evenly spread over the order of their standard deviations.
    samples, steps : int
        Held-out pairs per unit, and values per pair, from the unit's minimum to its maximum over the fitted pairs:
        units * samples * steps renders.
    permutations, order_pairs : int
        Of the test of shared order, and the most pairs it looks at.
    judge : Classifier, optional
        A second classifier, which then also says whether re-renders show the class that `classifier` saw before.
    batch_size, seed, progress
        Images per batch; of all random choices; whether to show bars.

    Returns
    -------
    LinkReport

    Raises
    ------
    LisError
        For models the link was not fitted for, pairs that were used in the fit or do not fit its widths, units that
        are unknown or constant, and photographs that are no images of the classifier's size.

    Notes
    -----
    Goes beyond Linking in Style (Wehrheim et al. 2024), which reports the in-sample error only.

    Examples
    --------
    >>> report = report_link(link, generator, classifier, held_out, load_fashion("sample"))
    >>> print(report.summary())
    """
    import pandas as pd

    link.check(generator, classifier)
    _check_options(samples=samples, steps=steps, permutations=permutations, batch_size=batch_size, seed=seed)
    r, w = pairs.r.float().cpu(), pairs.w.float().cpu()  # [N, R], [N, W]
    predicted_w = predict(link, r)
    if w.shape[1] != link.w_dim:
        raise LisError(f"w of the pairs has {w.shape[1]} columns, the link was fitted on {link.w_dim}.")
    if len(r) < 2:
        raise LisError(f"there are {len(r)} held-out pairs, at least 2 are needed: collect or hold out more.")
    seen = int(torch.isin(row_marks(w, r), link.fitted_rows.cpu()).sum())
    if seen:
        raise LisError(
            f"{seen} of the {len(r)} pairs were used to fit the link, a report needs pairs it has not seen: "
            "train, held_out = pairs.split(...), fit on the first, report on the second."
        )
    rng = np.random.default_rng(seed)
    labels, names = pairs.labels.cpu().numpy(), list(pairs.classes)
    has_head = getattr(classifier, "has_head", True)
    tested = _tested_units(link, units)
    notes: list[str] = []
    look = Look(link, generator, classifier, judge if has_head else None, batch_size, progress)

    # x -> r -> w' -> x' -> r', for pairs and for photographs
    again = look.through(predicted_w, "cycle of pairs")
    before = look.head(r)  # [N] classes seen before
    kept = again.seen == before  # all the same without a head
    cycle = [("pairs", kept)] if has_head else []
    columns = ("cycle", "cycle_low", "cycle_high")
    classes = per_class(labels, names, {"pairs": kept}, columns)
    if not has_head:
        classes[list(columns)] = np.nan
        unseen = "cycle accuracy" if photographs is None else "cycle accuracy and photographs"
        notes.append(f"the classifier has no head, so nothing was measured with classes: no {unseen}.")
    elif again.judged is not None:
        cycle.append(("pairs, by the judge", again.judged == before))
    if has_head and photographs is not None and len(photographs.images):
        x = check_images_for(classifier, photographs.images, "photographs")
        seen_names = list(getattr(classifier, "classes", names))
        names += [
            name for name in seen_names if name not in names
        ]  # where pairs count the generator's classes
        truth = _class_numbers(photographs, seen_names)
        r_photo = look.encode(x)
        photo, first = look.through(predict(link, r_photo), "cycle of photographs"), look.head(r_photo)
        cycle += [
            ("photographs", photo.seen == first),
            ("photographs, true label", photo.seen == truth),
            ("photographs themselves, true label", first == truth),
        ]
        if photo.judged is not None:
            cycle.append(("photographs, by the judge", photo.judged == first))
        columns = ("photo_cycle", "photo_low", "photo_high")
        real = per_class(truth, seen_names, {"photographs": photo.seen == first}, columns)
        real["photo_label"] = [
            float((photo.seen == truth)[truth == seen_names.index(c)].mean()) for c in real["class"]
        ]
        classes = classes.merge(real, on="class", how="outer", sort=False)
        classes = classes.sort_values("class", key=lambda c: c.map(names.index), ignore_index=True)
        for column in ("pairs", "photographs"):
            classes[column] = classes[column].fillna(0).astype(int)

    r2, dims = explained(w, predicted_w, labels, names, classes, link, rng)
    table = pd.DataFrame([share_row(what, hits) for what, hits in cycle], columns=list(_SHARE))
    correlation, silent = cycle_correlation(r, again.r, link)
    if silent:
        notes.append(
            f"{silent} units have no cycle correlation: they, or their re-encoded selves, did not vary."
        )
    unit_table = pd.DataFrame({
        "unit": range(link.num_units),
        "constant": np.isin(np.arange(link.num_units), link.constant_units),
        "std": link.unit_std.cpu().numpy(),
        "cycle_correlation": correlation,
    })  # fmt: skip
    fidelity = _fidelity(look, r[torch.from_numpy(rng.permutation(len(r))[:samples])], tested, steps)
    some = np.sort(rng.permutation(len(r))[:order_pairs])
    order = pd.DataFrame(shared_order(r.numpy()[some], w.numpy()[some], labels[some], permutations, rng))
    missing = order[order.correlation.isna()].what.tolist()
    if missing:
        notes.append(f"too few, or equal, for shared order: {', '.join(missing)}.")
    notes += link.notes
    options = {
        "pairs": len(r), "photographs": 0 if photographs is None else len(photographs.images), "seed": seed,
        "samples": min(samples, len(r)), "steps": steps, "permutations": permutations,
        "judge": getattr(judge, "name", None) if has_head else None,
    }  # fmt: skip
    return LinkReport(**r2, r2_in_sample=link.in_sample_r2, dims=dims, classes=classes, cycle=table, units=unit_table,
                      fidelity=fidelity, order=order, notes=notes, options=options)  # fmt: skip


_SHARE = ("what", "n", "share", "low", "high")  # columns of `share_row`, for a table without rows


def _check_options(**options: Any) -> None:
    for name, value in options.items():
        least = {"steps": 2, "seed": 0}.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise LisError(f"{name} is {value!r}, a whole number of at least {least} was expected.")


def _tested_units(link: Link, units: int | Sequence[int | str] | str) -> list[int]:
    varying = [i for i in range(link.num_units) if i not in set(link.constant_units)]
    if isinstance(units, str) and units == "all":
        return varying
    if isinstance(units, bool) or (isinstance(units, int) and units < 0):
        raise LisError(f"units is {units!r}, a number of units, a list of them or 'all' was expected.")
    if isinstance(units, int):
        ranked = sorted(varying, key=lambda i: -float(link.unit_std[i]))
        places = np.linspace(0, len(ranked) - 1, min(units, len(ranked))).round().astype(int)
        return [ranked[p] for p in places]
    return [link.varying_unit(unit) for unit in ([units] if isinstance(units, str) else units)]


def _class_numbers(photographs: Photographs, names: list[str]) -> np.ndarray:
    """Labels of photographs as places in the pairs' classes."""
    missing = [name for name in photographs.classes if name not in names]
    if missing:
        raise LisError(f"photographs have the classes {missing}, which the classifier's {names} lack.")
    if len(photographs.labels) != len(photographs.images):
        raise LisError(
            f"there are {len(photographs.images)} photographs and {len(photographs.labels)} labels."
        )
    return np.array([names.index(name) for name in photographs.classes])[photographs.labels.cpu().numpy()]


def _fidelity(look: Look, r: Tensor, tested: list[int], steps: int) -> pd.DataFrame:
    """Set each tested unit of each row of r [S, R] to `steps` values, render, re-encode."""
    import pandas as pd

    link, count = look.link, len(r)
    low, high = link.unit_min.cpu()[tested], link.unit_max.cpu()[tested]
    values = torch.stack([torch.linspace(float(a), float(b), steps) for a, b in zip(low, high, strict=True)]) if (
        tested) else torch.empty(0, steps)  # [U, steps]  # fmt: skip
    centred = (values - values.mean(1, keepdim=True)).double()
    size = centred.square().sum(1)  # [U]
    own = torch.zeros(len(tested) * count * steps)  # re-encoded values of the unit that was set
    slopes = torch.zeros(len(tested), link.num_units, dtype=torch.float64)  # of every unit, mean over samples

    def place(part: slice) -> tuple[Tensor, Tensor, Tensor]:
        flat = torch.arange(part.start, part.stop)
        return flat // (count * steps), flat // steps % count, flat % steps  # unit, sample, step

    def rows(part: slice) -> Tensor:
        u, s, t = place(part)
        changed = r[s].clone()
        changed[torch.arange(len(u)), torch.tensor(tested)[u]] = values[u, t]
        return predict(link, changed)

    for part, _, features in look.render(rows, len(own), "unit fidelity"):
        u, _, t = place(part)
        seen = features.double().cpu()
        own[part] = seen[torch.arange(len(u)), torch.tensor(tested)[u]].float()
        slopes.index_add_(0, u, seen * (centred[u, t] / size[u] / count)[:, None])
    y = own.double().reshape(len(tested), count, steps)
    y = y - y.mean(2, keepdim=True)
    per_sample = (y * centred[:, None]).sum(2) / size[:, None]  # [U, S]
    norm = (y.square().sum((1, 2)) * count * size).sqrt()
    correlation = torch.where(norm > 0, (y * centred[:, None]).sum((1, 2)) / norm, torch.nan)
    moved = (slopes / link.unit_std.cpu().double()).abs()
    moved[:, list(link.constant_units)] = 0.0
    table = []
    for k, unit in enumerate(tested):
        mean, below, above = interval_of_mean(per_sample[k].numpy())
        table.append({
            "unit": unit, "low": float(low[k]), "high": float(high[k]), "slope": mean, "slope_low": below,
            "slope_high": above, "correlation": float(correlation[k]),
            "raised": float((per_sample[k] > 0).double().mean()), "rank": int((moved[k] > moved[k, unit]).sum()) + 1,
        })  # fmt: skip
    columns = ("unit", "low", "high", "slope", "slope_low", "slope_high", "correlation", "raised", "rank")
    return pd.DataFrame(table, columns=columns)
