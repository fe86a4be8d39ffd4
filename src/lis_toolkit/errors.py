"""The two errors that lis_toolkit raises on purpose."""

from __future__ import annotations


class LisError(ValueError):
    """Bad input or a failed step: names the item, what it has, what was expected and what to do."""


class CheckpointError(LisError):
    """A file that is not a readable, complete and unaltered model, link or data file."""
