"""The table of counterfactuals: its columns, what each holds, and how a table is brought into that form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "KINDS", "PAIR", "as_table"]

# In this order; what a column holds: a whole number, a text, a truth, a number (NaN: not measured).
KINDS: dict[str, type] = {
    "start": int, "origin": str, "cycled": str, "target": str, "success": bool, "reason": str, "way": str,
    "steps": int, "renders": int, "seconds": float, "distance_r": float, "distance_r_sd": float,
    "distance_w": float, "units_90": int, "margin_start": float, "margin_end": float, "margin_head": float,
    "cycle_error": float, "monotone": bool,
}  # fmt: skip
COLUMNS = tuple(KINDS)
PAIR = ("cycled", "target")  # a way leads from what the classifier says of the cycled picture
_DTYPES: dict[type, Any] = {int: np.int64, bool: np.bool_, float: np.float64}


def as_table(rows: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """Return a table of counterfactuals with the columns of `COLUMNS`, their types, and rows numbered from 0.

    Raises
    ------
    LisError
        For columns that lack or are too many, of different lengths, or whose values are of another kind.

    Examples
    --------
    >>> as_table({"start": [0], "origin": ["Coat"], "cycled": ["Coat"], "target": ["Shirt"], ...})
    """
    import pandas as pd

    lacking = [name for name in COLUMNS if name not in rows]
    extra = [str(name) for name in rows if name not in COLUMNS]
    if lacking or extra:
        raise LisError(
            f"the table of counterfactuals lacks {lacking or 'nothing'} and has {extra or 'nothing'} beside its "
            f"columns: {', '.join(COLUMNS)} were expected."
        )
    columns = {name: _column(rows[name], name, kind) for name, kind in KINDS.items()}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise LisError(f"the columns of the table have different lengths: {sorted(lengths)}.")
    return pd.DataFrame(columns)


def _column(values: Any, name: str, kind: type) -> pd.Series:
    import pandas as pd

    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if kind is str:
        wrong = [value for value in listed if not isinstance(value, str)]
        if wrong:
            raise LisError(f"column {name} has {wrong[0]!r}; texts were expected.")
        return pd.Series(listed, dtype=str)
    array = np.asarray(listed)
    allowed = {int: "iu", bool: "b", float: "iuf"}[kind]
    if array.ndim != 1 or (len(array) and array.dtype.kind not in allowed):
        wanted = {int: "whole numbers", bool: "True and False", float: "numbers"}[kind]
        raise LisError(f"column {name} has values of type {array.dtype}; {wanted} were expected.")
    return pd.Series(array.astype(_DTYPES[kind]))
