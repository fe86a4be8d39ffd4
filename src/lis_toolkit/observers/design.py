"""Standardised rows of one layer: in memory where they fit, else read chunk by chunk whenever they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .state import Standardiser, State

__all__ = ["Design", "needs_streaming"]

MEMORY = 2**30  # bytes of standardised rows that are held at once, unless told otherwise


def needs_streaming(state: State, layer: str, rows: int, streaming: bool | None) -> bool:
    """Whether rows of a layer are to be streamed: as asked, or (None) where they would take more than 1 GiB."""
    return rows * state.width(layer) * 8 > MEMORY if streaming is None else streaming


@dataclass
class Design:
    """Rows of a layer, standardised by the training images.

    Attributes
    ----------
    state, layer : where the rows are.
    rows : int64 [n], ascending, images.
    standardise : measured on the training images.
    streaming : whether rows are read again at each pass.
    """

    state: State
    layer: str
    rows: np.ndarray
    standardise: Standardiser
    streaming: bool
    _kept: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Return the number of columns C."""
        return len(self.standardise.mean)

    def matrix(self) -> np.ndarray:
        """Return all rows [n, C], kept in memory."""
        if self._kept is None:
            self._kept = self.standardise(self.state.rows_of(self.layer, self.rows))
        return self._kept

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield places and rows [m, C], all at once unless streaming."""
        if not self.streaming:
            yield slice(0, len(self)), self.matrix()
            return
        for part, x in self.state.stream(self.layer, self.rows):
            yield part, self.standardise(x)

    def take(self, places: np.ndarray) -> Design:
        """Return some of the rows, by their places in this design."""
        kept = None if self._kept is None else self._kept[places]
        return Design(self.state, self.layer, self.rows[places], self.standardise, self.streaming, kept)

    def apply(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Return rows times weights [C, V] plus bias [V], [n, V]."""
        out = np.empty((len(self), weights.shape[1]))
        for part, x in self.chunks():
            out[part] = x @ weights + bias
        return out
