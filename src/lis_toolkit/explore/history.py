"""Back and forward through the settings that were looked at."""

from __future__ import annotations

from ..names import whole_number
from .setting import UnitSetting

__all__ = ["History"]


class History:
    """The settings that were looked at, in order, and which of them is present; as in a web browser.

    Parameters
    ----------
    limit : settings kept; the oldest go first.

    Raises
    ------
    LisError : a limit that is no whole number from 1.

    Examples
    --------
    >>> history = History()
    >>> history.push(UnitSetting("Coat")), history.push(UnitSetting("Coat", seed=1))
    >>> history.back().seed
    0
    """

    def __init__(self, limit: int = 200) -> None:
        self.limit = whole_number(limit, "limit", 1)
        self._entries: list[UnitSetting] = []
        self._place = -1

    def __len__(self) -> int:
        """Return the number of settings kept."""
        return len(self._entries)

    @property
    def present(self) -> UnitSetting | None:
        """The setting that is shown; None before the first."""
        return self._entries[self._place] if self._entries else None

    @property
    def can_back(self) -> bool:
        """Whether there is a setting before the present one."""
        return self._place > 0

    @property
    def can_forward(self) -> bool:
        """Whether there is a setting after the present one."""
        return self._place + 1 < len(self._entries)

    def push(self, setting: UnitSetting) -> None:
        """Add a setting after the present one, in place of what came later; the same again changes nothing."""
        if setting == self.present:
            return
        del self._entries[self._place + 1 :]
        self._entries.append(setting)
        del self._entries[: -self.limit]
        self._place = len(self._entries) - 1

    def back(self) -> UnitSetting | None:
        """Go to the setting before and return it; None, and stay, where there is none."""
        if not self.can_back:
            return None
        self._place -= 1
        return self.present

    def forward(self) -> UnitSetting | None:
        """Go to the setting after and return it; None, and stay, where there is none."""
        if not self.can_forward:
            return None
        self._place += 1
        return self.present
