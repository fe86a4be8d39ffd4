"""Which classes lie between: the classes that paths pass on their way from one class to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LisError
from .boundary import ARROW
from .table import PAIR

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["passed_classes"]


def passed_classes(boundary: pd.DataFrame) -> pd.DataFrame:
    """Count through which classes the paths of each class pair go before they reach their target.

    Parameters
    ----------
    boundary : of `locate_boundary`; rows without a crossing are left out.

    Returns
    -------
    DataFrame
        `origin` (class of the cycled start), `target`, `through` (a class passed; a path that returns to its own class
        does not pass it), `rows` (paths that pass it), `of` (paths of the pair that cross), `share`; what is passed
        most often comes first.

    Raises
    ------
    LisError
        For a table that is not one of `locate_boundary`.

    Examples
    --------
    >>> passed_classes(boundary).head()
    """
    import pandas as pd

    lacking = [
        name for name in (*PAIR, "through", "crossing") if name not in getattr(boundary, "columns", ())
    ]
    if lacking:
        raise LisError(f"the table lacks {', '.join(lacking)}: give what locate_boundary returned.")
    found: list[dict[str, Any]] = []
    for (origin, target), rows in boundary.dropna(subset=["crossing"]).groupby(list(PAIR), sort=False):
        passed: dict[str, int] = {}
        for text in rows["through"]:
            for name in dict.fromkeys(text.split(ARROW)):
                if name not in ("", origin, target):
                    passed[name] = passed.get(name, 0) + 1
        found += [
            {"origin": origin, "target": target, "through": name, "rows": count, "of": len(rows),
             "share": count / len(rows)}
            for name, count in passed.items()
        ]  # fmt: skip
    table = pd.DataFrame(found, columns=["origin", "target", "through", "rows", "of", "share"])
    return table.sort_values(["share", "rows"], ascending=False, kind="stable", ignore_index=True)
