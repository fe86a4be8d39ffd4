"""What an observer is asked to tell of an image: a table of attributes, a row an image, categories or numbers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import LisError
from ..names import cut, finite_number, spelling_hint

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SUPERCLASSES",
    "Attributes",
    "Property",
    "class_attributes",
    "join_attributes",
    "read_attributes",
    "superclass_attributes",
    "table_attributes",
]

# Ours: neither data set comes with superclasses of this kind.
SUPERCLASSES: tuple[Mapping[str, str], ...] = (
    {
        "T-shirt/top": "tops", "Pullover": "tops", "Coat": "tops", "Shirt": "tops", "Trouser": "trousers",
        "Dress": "dresses", "Sandal": "footwear", "Sneaker": "footwear", "Ankle boot": "footwear", "Bag": "bags",
    },
    {
        "airplane": "vehicles", "automobile": "vehicles", "ship": "vehicles", "truck": "vehicles",
        "bird": "animals", "cat": "animals", "deer": "animals", "dog": "animals", "frog": "animals",
        "horse": "animals",
    },
)  # fmt: skip
LARGEST = 1e100  # span of a number; its inverse is the least
MOST_VALUES = 2000  # categories of one column; more are names of images, not attributes


@dataclass(frozen=True)
class Property:
    """A question with the answers yes and no.

    Attributes
    ----------
    attribute : column it comes from.
    value : category, or a text such as "above 0.31 (25%)", of the images.
    holds : bool [N].
    known : bool [N], false where the attribute is missing.
    """

    attribute: str
    value: str
    holds: np.ndarray
    known: np.ndarray

    @property
    def share(self) -> float:
        """Share of the known images that have the property: its label proportion."""
        return float(self.holds[self.known].mean()) if self.known.any() else float("nan")


class Attributes:
    """A checked table: every column either categories (texts) or finite numbers; missing values are allowed.

    Attributes
    ----------
    table : DataFrame, a row an image; categories as `object` texts (None where missing), numbers float64 (NaN).
    kinds : column -> "category" or "number".

    Raises
    ------
    LisError : an empty table, columns of other kinds, infinite numbers, columns of one value, too many categories.

    Examples
    --------
    >>> attributes = Attributes(pandas.DataFrame({"sleeve": ["long", "short"], "area": [0.3, 0.2]}))
    >>> attributes.kinds
    {'sleeve': 'category', 'area': 'number'}
    """

    def __init__(self, table: pd.DataFrame, *, allow_constant: bool = False) -> None:
        import pandas as pd

        if not isinstance(table, pd.DataFrame) or table.shape[0] == 0 or table.shape[1] == 0:
            given = f"shape {list(table.shape)}" if isinstance(table, pd.DataFrame) else type(table).__name__
            raise LisError(
                f"the attributes are {given}; a table with a row an image and a column at least was expected."
            )
        names = [str(name) for name in table.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LisError(f"the attributes have two columns {twice[0]!r}: rename one.")
        columns, self.kinds = {}, {}
        for place, name in enumerate(names):
            columns[name], self.kinds[name] = _column(table.iloc[:, place], name, allow_constant)
        self.table = pd.DataFrame({name: pd.Series(v, dtype=v.dtype) for name, v in columns.items()})

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(self.kinds)

    def chosen(self, names: str | Sequence[str] | None) -> list[str]:
        """Return names of attributes, all for None; a LisError with a hint for one that there is not."""
        if names is None:
            return list(self.names)
        asked = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
        for name in asked:
            if name not in self.kinds:
                raise LisError(
                    f"there is no attribute {name!r}; there are {', '.join(self.names[:16])}."
                    f"{spelling_hint(str(name), self.names)}"
                )
        if not asked:
            raise LisError("the list of attributes is empty; give names, or None for all.")
        return asked

    def known(self, name: str) -> np.ndarray:
        """Return the images whose attribute is not missing, int64 [n]."""
        return np.flatnonzero(self.table[name].notna().to_numpy())

    def values(self, name: str) -> np.ndarray:
        """Return one column: float64 [N], or texts [N] (None where missing)."""
        return self.table[name].to_numpy()

    def subset(self, rows: np.ndarray) -> Attributes:
        """Return the attributes of some images."""
        return Attributes(self.table.iloc[rows].reset_index(drop=True), allow_constant=True)

    def properties(
        self,
        names: str | Sequence[str] | None = None,
        quantiles: Sequence[float] = (0.5, 0.75, 0.9),
        rows: np.ndarray | None = None,
    ) -> list[Property]:
        """Turn attributes into questions of yes and no: a category or not, a number above a quantile or not.

        Parameters
        ----------
        names : which attributes; None: all.
        quantiles : of every number; several give properties that many, some and few images have.
        rows : images from which the quantiles are taken, such as those that an observer learns from; None: all.

        Raises
        ------
        LisError : names that there are not, quantiles outside 0 to 1.
        """
        asked = quantiles if isinstance(quantiles, Iterable) else [quantiles]
        shares = [finite_number(q, "quantiles", ", each between 0 and 1") for q in asked]
        if any(not 0 < q < 1 for q in shares):
            raise LisError(f"quantiles are {tuple(shares)}; numbers between 0 and 1 were expected.")
        found = []
        for name in self.chosen(names):
            values, known = self.values(name), self.table[name].notna().to_numpy()
            if self.kinds[name] == "category":
                for value in sorted(set(values[known])):
                    found.append(Property(name, value, known & (values == value), known))
                continue
            seen = values if rows is None else values[rows]
            seen = seen[np.isfinite(seen)]
            borders = dict.fromkeys(float(np.quantile(seen, q)) for q in shares) if len(seen) else {}
            for border in borders:
                with np.errstate(invalid="ignore"):
                    holds = known & (values > border)
                if 0 < holds[known].sum() < known.sum():
                    found.append(
                        Property(name, f"above {border:.3g} ({holds[known].mean():.0%})", holds, known)
                    )
        return found


def _column(series: Any, name: str, allow_constant: bool) -> tuple[np.ndarray, str]:
    """Return a column as float64 or as texts, and its kind."""
    import pandas as pd

    missing = series.isna().to_numpy()
    if missing.all():
        raise LisError(f"attribute {name!r} has no value at all; leave the column out.")
    kind = series.dtype
    if pd.api.types.is_bool_dtype(kind) or (
        pd.api.types.is_object_dtype(kind) and all(isinstance(v, (bool, np.bool_)) for v in series[~missing])
    ):
        values = np.array(
            [None if m else ("yes" if v else "no") for v, m in zip(series, missing, strict=True)],
            dtype=object,
        )
    elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise LisError(
                f"attribute {name!r} has infinite values (first: row {int(np.isinf(values).argmax())})."
            )
        spread = float(np.ptp(values[~missing]))
        if not (spread == 0 or 1 / LARGEST < spread < LARGEST):  # squares would not be numbers
            raise LisError(
                f"attribute {name!r} spans {spread:.3g}, of which squares can't be taken: give it in another unit."
            )
        if not allow_constant and spread == 0:
            raise LisError(
                f"attribute {name!r} is {values[~missing][0]:g} for every image: nothing can be told; leave it out."
            )
        return values, "number"
    elif (
        pd.api.types.is_object_dtype(kind)
        or pd.api.types.is_string_dtype(kind)
        or isinstance(kind, pd.CategoricalDtype)
    ):
        odd = [type(v).__name__ for v in series[~missing] if not isinstance(v, (str, int, float, np.generic))]
        if odd:
            raise LisError(
                f"attribute {name!r} holds values of type {odd[0]}; texts or numbers were expected."
            )
        values = np.array([None if m else str(v) for v, m in zip(series, missing, strict=True)], dtype=object)
    else:
        raise LisError(f"attribute {name!r} has dtype {kind}; texts (categories) or numbers were expected.")
    known = set(values[~missing])
    if len(known) == 1 and not allow_constant:
        raise LisError(
            f"attribute {name!r} is {cut(known.pop())!r} for every image: nothing can be told; leave it out."
        )
    if len(known) > MOST_VALUES:
        raise LisError(
            f"attribute {name!r} has {len(known)} different texts; at most {MOST_VALUES} categories were expected: are "
            "these names of images?"
        )
    return values, "category"


def class_attributes(labels: Any, classes: Sequence[str], name: str = "class") -> Attributes:
    """Return the class of every image as an attribute.

    Parameters
    ----------
    labels : int [N], indices into `classes`.

    Raises
    ------
    LisError : labels that do not fit the classes, or images of one class only.

    Examples
    --------
    >>> class_attributes(photographs.labels, photographs.classes).table["class"].value_counts()
    """
    import pandas as pd

    index = _labels(labels, classes)
    return Attributes(pd.DataFrame({name: np.array(classes, dtype=object)[index]}))


def superclass_attributes(
    labels: Any, classes: Sequence[str], mapping: Mapping[str, str] | None = None, name: str = "superclass"
) -> Attributes:
    """Return a coarser class of every image: Fashion-MNIST's and CIFAR-10's are known, others are yours to give.

    Parameters
    ----------
    mapping : class name -> superclass; None: that of `SUPERCLASSES` which knows all the classes.

    Raises
    ------
    LisError : classes that the mapping does not have, or of which no mapping is known.

    Examples
    --------
    >>> superclass_attributes(photographs.labels, photographs.classes).table["superclass"].unique()
    """
    import pandas as pd

    index = _labels(labels, classes)
    if mapping is None:
        mapping = next((one for one in SUPERCLASSES if set(classes) <= set(one)), None)
        if mapping is None:
            shown = ", ".join(map(cut, classes[:6]))
            raise LisError(
                f"no superclasses are known of these classes ({shown}, ...): give mapping={{class: superclass}}."
            )
    lacking = [c for c in classes if c not in mapping]
    if lacking:
        raise LisError(f"the mapping has no superclass of {lacking[0]!r}; give one for every class.")
    coarse = np.array([str(mapping[c]) for c in classes], dtype=object)
    return Attributes(pd.DataFrame({name: coarse[index]}))


def table_attributes(table: pd.DataFrame, count: int, missing: str = "error") -> Attributes:
    """Check a table of one's own: a row an image, texts as categories, numbers as numbers.

    Parameters
    ----------
    table : DataFrame with a row for every image, in their order.
    count : number of images N.
    missing : "error", or "drop": an image without a value is left out for that attribute only.

    Raises
    ------
    LisError : another number of rows, missing or infinite values, columns of one value or of another kind.

    Examples
    --------
    >>> table_attributes(pandas.read_csv("mine.csv"), len(images))
    """
    if missing not in ("error", "drop"):
        raise LisError(f"missing is {missing!r}; 'error' or 'drop' was expected.")
    attributes = Attributes(table)
    if len(attributes) != count:
        raise LisError(
            f"the table of attributes has {len(attributes)} rows for {count} images; one each was expected."
        )
    for name in attributes.names:
        lacking = np.flatnonzero(attributes.table[name].isna().to_numpy())
        if len(lacking) and missing == "error":
            raise LisError(
                f"attribute {name!r} has no value in {len(lacking)} rows (first: row {lacking[0]}); "
                'missing="drop" leaves these images out for it.'
            )
    return attributes


def read_attributes(path: str | os.PathLike[str], count: int, missing: str = "error") -> Attributes:
    """Read attributes from a .csv or .parquet file, checked as `table_attributes` does; nothing in it is run.

    Raises
    ------
    LisError : a file that can't be read or ends in something else, and as `table_attributes`.

    Examples
    --------
    >>> read_attributes("mine.csv", len(images)).kinds
    """
    import pandas as pd

    place = Path(path).expanduser()
    try:
        if place.suffix.lower() == ".csv":
            table = pd.read_csv(place)
        elif place.suffix.lower() == ".parquet":
            table = pd.read_parquet(place)
        else:
            raise LisError(
                f"{path} is not a table of attributes: a file ending in .csv or .parquet was expected."
            )
    except (OSError, ValueError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise LisError(f"can't read attributes from {path}: {error}.") from error
    return table_attributes(table, count, missing)


def join_attributes(*parts: Attributes) -> Attributes:
    """Put tables of the same images side by side.

    Raises
    ------
    LisError : different numbers of images, two columns of one name, nothing given.

    Examples
    --------
    >>> join_attributes(class_attributes(labels, classes), image_statistics(images))
    """
    import pandas as pd

    if not parts:
        raise LisError("join_attributes was given nothing; give at least one table.")
    sizes = {len(part) for part in parts}
    if len(sizes) > 1:
        raise LisError(f"the attributes to join are of {sorted(sizes)} images; the same number was expected.")
    return Attributes(pd.concat([part.table for part in parts], axis=1), allow_constant=True)


def _labels(labels: Any, classes: Sequence[str]) -> np.ndarray:
    index = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if index.ndim != 1 or len(index) == 0 or index.dtype.kind not in "iu":
        raise LisError(
            f"labels have shape {list(index.shape)} and dtype {index.dtype}; class indices [N] were expected."
        )
    if index.min() < 0 or index.max() >= len(classes):
        raise LisError(f"labels run from {index.min()} to {index.max()}; there are {len(classes)} classes.")
    return index
