"""Jupyter widgets that draw what lis_toolkit computes; imported separately, so that the toolkit needs no browser."""

from __future__ import annotations

from .charts import Charts
from .code_box import CodeBox
from .contact_sheet import ContactSheet
from .counterfactual_explorer import CounterfactualExplorer
from .data_table import DataTable
from .direction_explorer import DirectionExplorer
from .link_report import LinkReport
from .live import Live
from .mapper_explorer import MapperExplorer
from .message import Message
from .part_labeller import PartLabeller
from .picture import Picture
from .reveal_game import RevealGame
from .sliders import Sliders
from .snapshot import Snapshot, static_html
from .unit_explorer import UnitExplorer
from .unit_list import UnitList

__all__ = [
    "Charts",
    "CodeBox",
    "ContactSheet",
    "CounterfactualExplorer",
    "DataTable",
    "DirectionExplorer",
    "LinkReport",
    "Live",
    "MapperExplorer",
    "Message",
    "PartLabeller",
    "Picture",
    "RevealGame",
    "Sliders",
    "Snapshot",
    "UnitExplorer",
    "UnitList",
    "static_html",
]
