"""A progress bar over rows that end together: every render is a part of its row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .closed_form import AMOUNTS
from .line import HALVINGS
from .problem import Options


def expected_renders(options: Options) -> int:
    """Return about how many times a row is rendered, for one target."""
    if options.method == "paper":
        return options.steps + 1
    line = len(AMOUNTS) + HALVINGS
    return line + 2 * (options.steps + 1) + HALVINGS if options.method == "latent" else line


class Progress:
    """Moves a bar by the rows that were rendered: a row is over at the latest when all are."""

    def __init__(self, bar: Any, rows: int, expected: int):
        self.bar, self.expected = bar, expected
        self.looks = torch.zeros(rows, dtype=torch.int64)

    def __call__(self, rows: Tensor, looks: int) -> None:
        """Note that rows [n] were looked at, `looks` renders each."""
        self.looks[rows.cpu()] += looks
        done = self.looks.clamp_max(self.expected).sum() / self.expected
        self.bar.update(int(done) - self.bar.n)
