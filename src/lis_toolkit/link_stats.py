"""Small statistics of the link report: intervals, and the test of a shared order of two spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

    from .link import Link


def wilson(hits: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; counts may be fractions, of rows that are worth less than one each."""
    low, high = wilson_bounds(np.array([hits]), np.array([count]), z)
    return float(low[0]), float(high[0])


def wilson_bounds(hits: np.ndarray, count: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of many shares at once; NaN where count is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share, weight = hits / count, z * z / count
        middle = (share + weight / 2) / (1 + weight)
        half = z / (1 + weight) * np.sqrt(np.maximum(share * (1 - share), 0) / count + weight / (4 * count))
    # Without a miss, or without a hit, one bound is the share itself; rounding leaves it 1e-17 away.
    low = np.where(hits <= 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(hits >= count, 1.0, np.minimum(middle + half, 1.0))
    return np.where(count == 0, np.nan, low), np.where(count == 0, np.nan, high)


def interval_of_mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % t interval; NaN bounds for one value."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def _ranks(x: np.ndarray) -> np.ndarray | None:
    """Centred ranks [N, N] of the distances between rows, of norm 1, zero on the diagonal; None when all are equal."""
    from scipy.spatial.distance import pdist, squareform
    from scipy.stats import rankdata

    ranks = rankdata(pdist(x))
    ranks -= ranks.mean()
    norm = math.sqrt(2 * float((ranks**2).sum()))
    return squareform(ranks / norm) if norm > 0 else None  # type: ignore[no-any-return]


def shared_order(
    r: np.ndarray, w: np.ndarray, labels: np.ndarray, permutations: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Spearman correlation of the distances between rows of r [N, R] and between those of w [N, W].

    For all pairs, for pairs of one class (mean over classes, weighted by their sizes), and for class means. The
    p-value is (k + 1) / (permutations + 1), k the permutations of rows that correlate at least as much.
    """
    classes = np.unique(labels)
    places = [np.flatnonzero(labels == k) for k in classes]
    means = [np.stack([x[p].mean(0) for p in places]) for x in (r, w)]
    questions = {
        "pairs": [(r, w)],
        "pairs within classes": [(r[p], w[p]) for p in places],
        "class means": [(means[0], means[1])],
    }
    rows = []
    for what, groups in questions.items():
        ready = []
        for a, b in groups:
            if len(a) > 2:
                left, right = _ranks(a), _ranks(b)
                if left is not None and right is not None:
                    ready.append((left, right))
        count = sum(len(left) for left, _ in ready)
        found, p_value = math.nan, math.nan
        if ready:
            found = sum(len(a) * float((a * b).sum()) for a, b in ready) / count
            beaten = 0
            for _ in range(permutations):
                drawn = 0.0
                for a, b in ready:
                    p = rng.permutation(len(a))
                    drawn += len(a) * float((a * b[np.ix_(p, p)]).sum()) / count
                beaten += drawn >= found - 1e-12
            p_value = (beaten + 1) / (permutations + 1)
        rows.append({"what": what, "n": count, "correlation": found, "p_value": p_value})
    return rows


def records(value: Any) -> Any:
    """Plain JSON values: a table as a list of rows, NaN and infinities as None."""
    if hasattr(value, "to_dict"):
        return [records(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(k): records(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [records(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def share_row(what: str, hits: np.ndarray) -> dict[str, Any]:
    """Share of hits, with its interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return {"what": what, "n": len(hits), "share": float(hits.mean()), "low": low, "high": high}


def per_class(
    labels: np.ndarray, names: list[str], hits: dict[str, np.ndarray], columns: Sequence[str]
) -> pd.DataFrame:
    """Share of hits within each class."""
    import pandas as pd

    rows = []
    for count, values in hits.items():
        for k in np.unique(labels):
            row = share_row(names[k], values[labels == k])
            rows.append({"class": names[k], count: row["n"],
                         **dict(zip(columns, (row["share"], row["low"], row["high"]), strict=True))})  # fmt: skip
    return pd.DataFrame(rows)


def explained(
    w: Tensor,
    predicted: Tensor,
    labels: np.ndarray,
    names: list[str],
    classes: pd.DataFrame,
    link: Link,
    rng: np.random.Generator,
) -> tuple[dict[str, float], pd.DataFrame]:
    """R2 overall, per class (into `classes`) and per dimension."""
    import pandas as pd

    true, error = w.double().numpy(), (w.double() - predicted.double()).square().numpy()  # [N, W]
    scatter = (true - true.mean(0)) ** 2
    within = np.zeros(len(true))
    for k in np.unique(labels):
        rows = labels == k
        within[rows] = ((true[rows] - true[rows].mean(0)) ** 2).sum(1)
    missed, spread = error.sum(1), scatter.sum(1)  # [N]

    def share(part: np.ndarray, whole: np.ndarray) -> float:
        return float(1 - part.sum() / whole.sum()) if whole.sum() > 0 else math.nan

    for column, whole in (("r2", spread), ("r2_within", within)):
        values = {names[k]: share(missed[labels == k], whole[labels == k]) for k in np.unique(labels)}
        classes[column] = classes["class"].map(values)
    draws = rng.multinomial(len(true), np.full(len(true), 1 / len(true)), size=500)  # [500, N]
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.quantile(1 - (draws @ missed) / (draws @ spread), [0.025, 0.975])
        per_dim = np.where(scatter.sum(0) > 0, 1 - error.sum(0) / scatter.sum(0), np.nan)
    dims = pd.DataFrame({
        "dim": range(len(per_dim)),
        "r2": per_dim,
        "r2_in_sample": link.r2_dims.cpu().numpy(),
        "share": scatter.sum(0) / scatter.sum() if scatter.sum() > 0 else math.nan,
    })  # fmt: skip
    overall = {"r2": share(missed, spread), "r2_low": float(low), "r2_high": float(high),
               "r2_within": share(missed, within)}  # fmt: skip
    return overall, dims


def cycle_correlation(r: Tensor, again: Tensor, link: Link) -> tuple[np.ndarray, int]:
    """Correlation over rows of every unit with itself re-encoded [R], and how many units have none."""
    a, b = r.double() - r.double().mean(0), again.double() - again.double().mean(0)
    flat = ((r == r[0]).all(0) | (again == again[0]).all(0)).numpy()
    size = (a.square().sum(0) * b.square().sum(0)).sqrt()
    correlation = ((a * b).sum(0) / size).numpy()
    correlation[flat | (size == 0).numpy()] = np.nan
    correlation[list(link.constant_units)] = np.nan
    return correlation, int(np.isnan(correlation).sum())
