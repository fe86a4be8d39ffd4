"""Jupyter widgets that draw what lis_toolkit computes; imported separately, so that the toolkit needs no browser."""

from __future__ import annotations

__all__: list[str] = []
