"""Jupyter widgets that draw what lis_toolkit computes; imported separately, so that the toolkit needs no browser."""

from __future__ import annotations

from .charts import Charts
from .picture import Picture
from .unit_explorer import UnitExplorer

__all__ = ["Charts", "Picture", "UnitExplorer"]
