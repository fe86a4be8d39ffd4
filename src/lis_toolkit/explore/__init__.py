"""Units under a hand: what an explorer shows, as plain data; the widgets draw it and pass on what is moved."""

from __future__ import annotations

from .along import DirectionSetting, direction_code, made_of, show_along
from .code import as_code
from .distribution import Distribution
from .frames import save_gif, save_state_png, state_image, walk_frames
from .history import History
from .pictures import DIFFERENCE_LIMIT, difference_rgb, picture_rgb
from .session import UnitSession
from .setting import UnitSetting
from .single import explore_unit
from .state import UnitStart, UnitState
from .unit_rows import UnitRow, matching_rows, unit_rows

__all__ = [
    "DIFFERENCE_LIMIT",
    "DirectionSetting",
    "Distribution",
    "History",
    "UnitRow",
    "UnitSession",
    "UnitSetting",
    "UnitStart",
    "UnitState",
    "as_code",
    "difference_rgb",
    "direction_code",
    "explore_unit",
    "made_of",
    "matching_rows",
    "picture_rgb",
    "save_gif",
    "save_state_png",
    "show_along",
    "state_image",
    "unit_rows",
    "walk_frames",
]
