"""The legend of label pictures: which number is which part, and which colour paint programs show it in."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LisError
from ..names import spelling_hint

BACKGROUND = "background"
MOST_PARTS = 255  # labels are bytes, and 0 is the background
# Okabe and Ito's palette without its black, which is the background: told apart with every common colour blindness.
_FIRST = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#F0E442")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
# Linear RGB to what people without red or green cones see of it (Viénot, Brettel and Mollon 1999).
_BLIND = (
    np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
)


@dataclass(frozen=True)
class Legend:
    """Names and colours of the labels of a segmentation; label 0 is the background.

    Attributes
    ----------
    names : tuple of str
        Of the labels 0, 1, ...; the first is "background", no name occurs twice.
    colours : tuple of str
        One "#RRGGBB" a label, no two alike; by default black and `distinct_colours`.

    Raises
    ------
    LisError
        For names or colours that are missing, malformed or repeated, and for more than 255 parts.

    Examples
    --------
    >>> legend = Legend(("background", "sleeve", "torso"))
    >>> legend.parts, legend.label("torso")
    (('sleeve', 'torso'), 2)
    """

    names: tuple[str, ...]
    colours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.names
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise LisError(f"the legend's names are {self.names!r}; a sequence of names was expected.")
        for name in self.names:
            if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
                raise LisError(
                    f"the legend has the name {name!r}; printable text of 1 to 100 letters was expected."
                )
        if len(self.names) < 2 or self.names[0] != BACKGROUND:
            raise LisError(
                f"the legend's names are {list(self.names)}; 'background' first, then at least one part, was expected."
            )
        if len(self.names) > MOST_PARTS + 1:
            raise LisError(
                f"the legend has {len(self.names) - 1} parts; at most {MOST_PARTS} fit into a label."
            )
        _refuse_repeated(self.names, "name")
        colours = tuple(self.colours) or ("#000000", *distinct_colours(len(self.names) - 1))
        if len(colours) != len(self.names):
            raise LisError(
                f"the legend has {len(self.names)} names and {len(colours)} colours; one each was expected."
            )
        for colour in colours:
            if not isinstance(colour, str) or not _HEX.fullmatch(colour):
                raise LisError(f"the legend has the colour {colour!r}; one like '#0072B2' was expected.")
        colours = tuple(colour.upper() for colour in colours)
        _refuse_repeated(colours, "colour")
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "colours", colours)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the P parts: all labels but the background."""
        return self.names[1:]

    @property
    def rgb(self) -> np.ndarray:
        """Colours as bytes [1 + P, 3]."""
        return np.array(
            [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colours], dtype=np.uint8
        )  # [1 + P, 3]

    def label(self, name: str) -> int:
        """Return the label of a part, or of the background.

        Raises
        ------
        LisError
            For a name that the legend doesn't have.
        """
        if name not in self.names:
            raise LisError(
                f"the legend has no part {name!r}; it has {', '.join(self.parts)}."
                f"{spelling_hint(str(name), self.names)}"
            )
        return self.names.index(name)

    def to_json(self) -> list[dict[str, str]]:
        """Return a list of {"name", "colour"}, in the order of the labels."""
        return [{"name": n, "colour": c} for n, c in zip(self.names, self.colours, strict=True)]

    @classmethod
    def from_json(cls, value: Any, owner: str = "the legend") -> Legend:
        """Return the legend that `to_json` described; `owner` names the file in messages.

        Raises
        ------
        LisError
            For anything else than such a list.

        Examples
        --------
        >>> Legend.from_json(legend.to_json()) == legend
        True
        """
        if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
            raise LisError(f'{owner}: the parts are no list of {{"name": ..., "colour": ...}}.')
        for i, row in enumerate(value):
            if not {"name", "colour"} <= set(row):
                raise LisError(f"{owner}: part {i} has {sorted(row)}; a name and a colour were expected.")
        try:
            return cls(tuple(row["name"] for row in value), tuple(row["colour"] for row in value))
        except LisError as error:
            raise LisError(f"{owner}: {error}") from error


def as_legend(given: Legend | Sequence[str]) -> Legend:
    """Return a legend, or make one of the names of its parts, with `distinct_colours`.

    Raises
    ------
    LisError
        For anything else.

    Examples
    --------
    >>> as_legend(["sleeve", "torso"]).names
    ('background', 'sleeve', 'torso')
    """
    if isinstance(given, Legend):
        return given
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise LisError(f"the legend is {given!r}; a Legend or a list of the parts' names was expected.")
    return Legend((BACKGROUND, *(name for name in given if name != BACKGROUND)))


def distinct_colours(n: int) -> tuple[str, ...]:
    """Return n colours, none near black, that are far apart for eyes with and without all three kinds of cones.

    The first seven are Okabe and Ito's; each further one is the candidate whose nearest neighbour is farthest away,
    by the least of its CIELAB distances in normal (halved, since these are larger), protanope and deuteranope vision.

    Raises
    ------
    LisError
        For a number beyond 0 to 255.

    Examples
    --------
    >>> distinct_colours(2)
    ('#0072B2', '#E69F00')
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= MOST_PARTS:
        raise LisError(f"n is {n!r}; a whole number from 0 to {MOST_PARTS} was expected.")
    return _ordered_colours()[:n] if n > len(_FIRST) else _FIRST[:n]


@functools.cache
def _ordered_colours() -> tuple[str, ...]:
    steps = range(0x22, 0x100, 0x11)
    # No greys: outlines are drawn on grey pictures.
    coloured = [c for c in itertools.product(steps, repeat=3) if max(c) - min(c) >= 0x66 <= max(c)]
    candidates = ["#{:02X}{:02X}{:02X}".format(*c) for c in coloured]
    names = ["#000000", *_FIRST, *candidates]
    seen = seen_colours(names)  # [3, M, 3]
    chosen = list(range(len(_FIRST) + 1))
    nearest = np.stack([colour_distances(seen, i) for i in chosen]).min(axis=0)  # [M]
    while len(chosen) <= MOST_PARTS:
        best = int(nearest.argmax())
        chosen.append(best)
        nearest = np.minimum(nearest, colour_distances(seen, best))
    return tuple(names[i] for i in chosen[1:])


def seen_colours(colours: Sequence[str]) -> np.ndarray:
    """Return CIELAB values [3, M, 3] of M colours "#RRGGBB" in normal, protanope and deuteranope vision.

    Examples
    --------
    >>> seen_colours(["#FFFFFF"])[0].round()
    array([[100.,   0.,   0.]])
    """
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]) / 255  # [M, 3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # [M, 3]
    eyes = np.stack([linear, *(np.clip(linear @ blind.T, 0, 1) for blind in _BLIND)])  # [3, M, 3]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = eyes @ (to_xyz / to_xyz.sum(axis=1, keepdims=True)).T  # [3, M, 3], white is 1
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )


def colour_distances(seen: np.ndarray, which: int) -> np.ndarray:
    """Return the least distance [M] of one colour of `seen_colours` to all of them, over the three eyes."""
    distances = np.linalg.norm(seen - seen[:, which : which + 1], axis=2)  # [3, M]
    least: np.ndarray = (distances * np.array([[0.5], [1.0], [1.0]])[: len(seen)]).min(axis=0)
    return least


def _refuse_repeated(items: Sequence[str], what: str) -> None:
    for item in items:
        if list(items).count(item) > 1:
            raise LisError(f"the legend has the {what} {item!r} twice; every label needs one of its own.")
