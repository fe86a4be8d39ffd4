"""How far each class is from each other: distances to the decision boundary, averaged by class pair."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import finite_number, spelling_hint, whole_number
from .intervals import resampled_means, widened_interval
from .result import Counterfactuals
from .rows import asked
from .table import PAIR

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClassDistances", "UNITS", "class_distances"]

UNITS = {
    "distance_w": "distance to the boundary in w",
    "distance_r": "distance to the boundary in r",
    "distance_r_sd": "distance to the end in r (Mahalanobis)",
    "crossing": "share of the way to the boundary",
    "head_crossing": "share of the way to the head's boundary",
    "head_margin": "head's margin at the boundary (logits)",
    "bend": "bend of the margin half way (logits)",
}
NEVER_NEGATIVE = ("distance_w", "distance_r", "distance_r_sd", "crossing", "head_crossing")


@dataclass(frozen=True, eq=False, repr=False)
class ClassDistances:
    """A class-to-class matrix of distances, rows the class of the start and columns the target, with intervals.

    Attributes
    ----------
    classes : tuple of str
        Names of the K rows and columns.
    mean, low, high : array [K, K]
        Mean over starts and the interval of that mean; NaN where there is no row (the diagonal), and for bounds where
        there are fewer than 2 starts.
    counts : array [K, K]
        Rows averaged.
    left_out : array [K, K]
        Rows that have no value, because their path does not cross the boundary.
    difference, difference_low, difference_high : array [K, K]
        Mean of a pair less that of the way back, with its interval: the asymmetry.
    of : str
        Column that is averaged.
    confidence : float
        Of every single interval; no correction for looking at many.

    Examples
    --------
    >>> print(class_distances(result, boundary))
    """

    classes: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    left_out: np.ndarray
    difference: np.ndarray
    difference_low: np.ndarray
    difference_high: np.ndarray
    of: str = "distance_w"
    confidence: float = 0.95
    settings: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ClassDistances({len(self.classes)} classes, {int(self.counts.sum())} rows, of {self.of})"

    def __str__(self) -> str:
        table = self.to_frame().dropna(subset=["mean"]).sort_values("mean", kind="stable")
        if len(table) == 0:
            return f"no class pair has a {self.of}"
        least, most = int(table["count"].min()), int(table["count"].max())
        each = f"{least}" if least == most else f"{least} to {most}"
        lines = [
            f"{UNITS.get(self.of, self.of)}: {len(table)} class pairs, {table['count'].sum()} rows, {each} a pair; "
            f"{self.confidence:.0%} intervals over starts"
        ]
        few = min(3, len(table) // 2) or 1
        ends = [("least", table.iloc[:few]), ("most", table.iloc[: -few - 1 : -1])]
        for title, rows in ends if len(table) > 1 else [("only", table)]:
            texts = [
                f"{row.origin} to {row.target} {row.mean:.3g} ({_range(row.low, row.high)})"
                for row in rows.itertuples(index=False)
            ]
            lines.append(f"  {title}: {'; '.join(texts)}")
        uneven = self.asymmetry()
        sure = uneven[(uneven["low"] > 0) | (uneven["high"] < 0)]
        if len(uneven):
            lines.append(
                f"  asymmetric, interval of the difference without 0: {len(sure)} of {len(uneven)} pairs"
            )
        lines += [
            f"    {row.origin} to {row.target} is {row.difference:.3g} ({_range(row.low, row.high)}) more than back"
            for row in sure.iloc[:few].itertuples(index=False)
        ]
        if left := int(self.left_out.sum()):
            lines.append(f"  left out: {left} rows without a crossing")
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each ordered class pair: origin, target, mean, low, high, count, left_out.

        Examples
        --------
        >>> distances.to_frame().sort_values("mean").head()
        """
        import pandas as pd

        rows, columns = np.nonzero(~np.eye(len(self.classes), dtype=bool))
        fields = {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "count": self.counts,
            "left_out": self.left_out,
        }
        names = np.asarray(self.classes, dtype=object)
        ends = {"origin": pd.Series(names[rows], dtype=str), "target": pd.Series(names[columns], dtype=str)}
        return pd.DataFrame({**ends, **{name: matrix[rows, columns] for name, matrix in fields.items()}})

    def asymmetry(self) -> pd.DataFrame:
        """Return one row for each pair of classes that has both ways: origin, target, difference, low, high, the
        farther way first, the largest difference on top.

        Examples
        --------
        >>> distances.asymmetry().head()
        """  # noqa: D205, D400
        import pandas as pd

        rows, columns = np.nonzero((self.difference > 0) | ((self.difference == 0) & _upper(self.difference)))
        names = np.asarray(self.classes, dtype=object)
        table = pd.DataFrame(
            {
                "origin": pd.Series(names[rows], dtype=str),
                "target": pd.Series(names[columns], dtype=str),
                "difference": self.difference[rows, columns],
                "low": self.difference_low[rows, columns],
                "high": self.difference_high[rows, columns],
            }
        )
        return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)

    def symmetrised(self) -> np.ndarray:
        """Return the mean of both ways [K, K], 0 on the diagonal; where only one is known that one, NaN where none.

        Examples
        --------
        >>> distances.symmetrised()
        """
        both = np.stack([self.mean, self.mean.T])
        known = ~np.isnan(both)
        total = np.where(known, both, 0.0).sum(0)
        with np.errstate(invalid="ignore"):
            matrix = total / np.where(known.any(0), known.sum(0), np.nan)
        np.fill_diagonal(matrix, 0.0)
        return matrix


def class_distances(
    result: Counterfactuals,
    boundary: pd.DataFrame,
    of: str = "distance_w",
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> ClassDistances:
    """Average a distance over the starts of each class pair, with bootstrap intervals.

    A row counts for the class of its *cycled* picture, where its path starts, and its target. Rows without a value,
    whose path does not cross, are counted in `left_out` and not averaged: where there are many, the mean is that of
    those that are near. Rows whose start is of the target already, by head or picture, have no path and count nowhere.

    Parameters
    ----------
    boundary : of `locate_boundary`.
    of : column of `boundary` (or of `result.table`): "distance_w", "distance_r", "crossing", "bend", ...
    confidence : of each interval.
    resamples : draws of starts with replacement, within each class pair.
    seed : of the draws; each pair has its own, so that its interval does not depend on the other pairs.

    Returns
    -------
    ClassDistances
        Only classes that occur, in the order of `result.classes`.

    Raises
    ------
    LisError
        For a boundary of another result, a column that there is not, settings out of range.

    Notes
    -----
    Bootstrap intervals of few starts are too narrow and are stretched (`intervals.widened_interval`).

    Examples
    --------
    >>> distances = class_distances(result, locate_boundary(result, generator, classifier, link))
    >>> print(distances)
    """
    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    whole_number(resamples, "resamples", 1)
    whole_number(seed, "seed", 0)
    values = column_values(result, boundary, of)
    origins, targets = (result.table[name].to_numpy() for name in PAIR)
    occurring = set(origins) | set(targets)
    classes = tuple(name for name in result.classes if name in occurring)
    places = {name: index for index, name in enumerate(classes)}
    matrices = {name: np.full((len(classes),) * 2, np.nan)
                for name in ("mean", "low", "high", "difference", "difference_low", "difference_high")}  # fmt: skip
    counts, left_out = (np.zeros((len(classes),) * 2, dtype=np.int64) for _ in range(2))
    drawn: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
    searched = np.flatnonzero(asked(result.table))
    for (origin, target), found in rows_by_pair(origins[searched], targets[searched]).items():
        i, j = places[origin], places[target]
        rows = searched[found]
        kept = rows[np.isfinite(values[rows])]
        counts[i, j], left_out[i, j] = len(kept), len(rows) - len(kept)
        if len(kept):
            matrices["mean"][i, j] = values[kept].mean()
            draws, starts = resampled_means(
                values[kept],
                result.table["start"].to_numpy()[kept],
                resamples,
                [seed, *pair_codes(origin, target)],
            )
            drawn[i, j] = draws, starts
            low, high = widened_interval(draws, matrices["mean"][i, j], starts, confidence)
            # A mean of distances is no distance below 0, however few they are; NaN stays.
            matrices["low"][i, j] = np.maximum(low, 0.0) if of in NEVER_NEGATIVE else low
            matrices["high"][i, j] = high
    for i, j in drawn:
        if (j, i) in drawn:
            (there, n), (back, m) = drawn[i, j], drawn[j, i]
            matrices["difference"][i, j] = matrices["mean"][i, j] - matrices["mean"][j, i]
            matrices["difference_low"][i, j], matrices["difference_high"][i, j] = widened_interval(
                there - back, matrices["difference"][i, j], min(n, m), confidence
            )
    return ClassDistances(
        classes, counts=counts, left_out=left_out, of=of, confidence=confidence,
        settings={"resamples": resamples, "seed": seed}, **matrices,
    )  # fmt: skip


def column_values(result: Counterfactuals, boundary: pd.DataFrame, of: str) -> np.ndarray:
    """Return a numeric column of a boundary, or else of the result's table, as float64 [N].

    Raises
    ------
    LisError
        For a boundary that is not of this result, and a column that neither has or that is no number.

    Examples
    --------
    >>> column_values(result, boundary, "distance_w")
    """
    keys = ["start", "target"]
    if (
        not hasattr(boundary, "columns")
        or not set(keys) <= set(boundary.columns)
        or len(boundary) != len(result)
    ):
        raise LisError("the boundary is not of this result: give what locate_boundary returned for it.")
    if any((boundary[name].to_numpy() != result.table[name].to_numpy()).any() for name in keys):
        raise LisError("the boundary has the rows in another order than the result, or is of another one.")
    known = {name: table for table in (result.table, boundary) for name in table.columns
             if table[name].dtype.kind in "iuf" and name != "start"}  # fmt: skip
    if of not in known:
        raise LisError(
            f"there is no number {of!r} of counterfactuals; known are {', '.join(known)}."
            f"{spelling_hint(str(of), known)}"
        )
    return known[of][of].to_numpy(np.float64)


def rows_by_pair(origins: np.ndarray, targets: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of each class pair that occurs, in their order.

    Examples
    --------
    >>> rows_by_pair(result.table["cycled"].to_numpy(), result.table["target"].to_numpy())
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(zip(origins.tolist(), targets.tolist(), strict=True)):
        rows.setdefault(pair, []).append(row)
    return {pair: np.asarray(listed) for pair, listed in rows.items()}


def pair_codes(*names: str) -> list[int]:
    """Return a number for each name, the same in every session: seeds of a pair's own draws.

    Examples
    --------
    >>> np.random.default_rng([seed, *pair_codes("Coat", "Shirt")])
    """
    return [zlib.crc32(name.encode()) for name in names]


def _upper(matrix: np.ndarray) -> np.ndarray:
    return np.triu(np.ones(matrix.shape, dtype=bool), 1)


def _range(low: Any, high: Any) -> str:
    return "no interval" if np.isnan(low) else f"{low:.3g} to {high:.3g}"
