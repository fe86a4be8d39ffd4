"""First and last step of a sweep's table: arrays of units x samples, read column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["unit", "sample", "class", "step"]


class SweepEnds:
    """Where the first and the last step of every unit and sample are; values are read when asked for.

    Attributes
    ----------
    units : [U] indices of the units, ascending.
    samples : DataFrame, columns "class" and "sample", a row per sample.
    columns : names of the measures' columns.
    first, last : the two steps that are compared.
    steps : how many there are, those between included.
    start : the table of the start pictures; None for a bare table, which does not have it.
    streamed : True when values are read from files.
    """

    def __init__(self, sweep: Any) -> None:
        import pandas as pd

        self._table: pd.DataFrame | None = None
        self.start: pd.DataFrame | None
        if isinstance(sweep, pd.DataFrame):
            lacking = [name for name in KEYS if name not in sweep.columns]
            if lacking:
                raise LisError(
                    f"the table lacks the columns {lacking}; give a Sweep, or what Sweep.table() returns."
                )
            twice = sorted({str(c) for c in sweep.columns[sweep.columns.duplicated()]})
            if twice:
                raise LisError(
                    f"the table has the columns {twice[:6]} twice; every column must be there once."
                )
            self._table, self.start = sweep, None
            self.columns = [str(c) for c in sweep.columns if c not in KEYS]
            keys = sweep[KEYS]
        elif callable(getattr(sweep, "table", None)) and hasattr(sweep, "columns"):
            self._sweep, self.start = sweep, sweep.start
            self.columns = [str(c) for c in sweep.columns if c not in KEYS]
            keys = sweep.table(columns=KEYS)
        else:
            raise LisError(f"a Sweep or its table was expected, not a {type(sweep).__name__}.")
        if len(keys) == 0:
            raise LisError("the sweep has no rows yet: run sweep_units until it is complete.")
        for name in ("unit", "sample", "step"):
            if not pd.api.types.is_integer_dtype(keys[name].dtype):
                raise LisError(f"the column {name!r} is {keys[name].dtype}; whole numbers were expected.")
        if bool(keys["class"].isna().any()):
            raise LisError("the column 'class' has rows without a class; give every sample its class.")
        self.units = np.unique(keys["unit"].to_numpy())
        self.first, self.last = int(keys["step"].min()), int(keys["step"].max())
        self.steps = int(keys["step"].nunique())
        if self.first == self.last:
            raise LisError(f"the sweep has the step {self.first} only; a change needs two at least.")
        pairs = keys[["class", "sample"]].drop_duplicates()
        self.samples = pd.DataFrame(
            {"class": pairs["class"].astype(str).to_numpy(dtype=object), "sample": pairs["sample"].to_numpy()}
        )
        appearing = {name: place for place, name in enumerate(dict.fromkeys(self.samples["class"]))}
        order = np.lexsort((self.samples["sample"], self.samples["class"].map(appearing)))
        self.samples = self.samples.iloc[order].reset_index(drop=True)
        self.classes = tuple(appearing)
        self._index = pd.MultiIndex.from_frame(self.samples)
        self.streamed = self._table is None  # every read goes through the files again
        self._rows = self._positions(keys, self.units) if self._table is not None else None

    def places(self, units: Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Places in `units` of the units asked for.

        Raises
        ------
        LisError : one that the sweep does not have.
        """
        if units is None:
            return np.arange(len(self.units))
        wanted = np.asarray(units if np.ndim(units) else [units])
        if wanted.dtype.kind not in "iu" or len(wanted) == 0:
            raise LisError(f"units are {units!r}; whole numbers were expected, at least one.")
        unknown = wanted[~np.isin(wanted, self.units)]
        if len(unknown):
            raise LisError(
                f"the sweep has no unit {unknown[0]}: it has {len(self.units)}, from {self.units[0]} to "
                f"{self.units[-1]}. Sweep it first."
            )
        return np.searchsorted(self.units, wanted)

    def _positions(self, keys: pd.DataFrame, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the first and of the last step, [U, S] each; -1 where there is none."""
        import pandas as pd

        step = keys["step"].to_numpy()
        ends = np.flatnonzero((step == self.first) | (step == self.last))
        part = keys.iloc[ends]
        names = part["class"].astype(str).to_numpy(dtype=object)
        sample = self._index.get_indexer(pd.MultiIndex.from_arrays([names, part["sample"]]))
        place = np.searchsorted(units, part["unit"].to_numpy()) * len(self.samples) + sample
        found = []
        for wanted in (self.first, self.last):
            these = step[ends] == wanted
            positions = np.full(len(units) * len(self.samples), -1)
            positions[place[these]] = ends[these]
            if int((positions >= 0).sum()) != int(these.sum()):
                raise LisError("the table has a unit, sample and step twice; every row must be there once.")
            found.append(positions.reshape(len(units), len(self.samples)))
        return found[0], found[1]

    def read(self, columns: Sequence[str], places: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Values [U, S] at the first and at the last step, of units given by place.

        Rows that the sweep has not got are NaN, in columns of whole numbers -1.

        Raises
        ------
        LisError : a column that is not numbers, or has infinite values.
        """
        units = self.units[places]
        if self._table is not None and self._rows is not None:
            table, rows = self._table, tuple(r[places] for r in self._rows)
        else:
            table = self._sweep.table(columns=[*KEYS, *columns], units=[int(u) for u in units])
            ascending, back = np.unique(units, return_inverse=True)
            rows = tuple(r[back] for r in self._positions(table[KEYS], ascending))
        result = {}
        for column in columns:
            values = table[column].to_numpy()
            if values.dtype.kind not in "iuf":
                raise LisError(f"the column {column!r} is {values.dtype}; numbers were expected.")
            if np.isinf(values).any():
                raise LisError(
                    f"the column {column!r} has infinite values; finite numbers or NaN were expected."
                )
            if values.dtype.kind == "u":
                values = values.astype(np.int64)  # -1 is no number of theirs
            nothing = np.nan if values.dtype.kind == "f" else -1
            first, last = (np.where(r >= 0, values[r], values.dtype.type(nothing)) for r in rows)
            result[column] = (first, last)
        return result
