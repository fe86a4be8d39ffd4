"""Explorers whose settings can be saved as JSON and loaded again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lis_toolkit.errors import LisError
from lis_toolkit.files import atomic_path

from .explorer_base import Explorer
from .explorer_files import file_text
from .explorer_parts import free_path


class SavedExplorer(Explorer):
    """An explorer with a button that saves what the controls say, and one that loads it again.

    Examples
    --------
    >>> path = explorer.save("setting.json")
    >>> explorer.load(path)
    """

    def save(self, path: str | Path | None = None) -> Path:
        """Save what the controls say as JSON, with the identities of the models; default: a free name.

        Raises
        ------
        LisError : a path that can't be written.
        """
        path = free_path(self._stem(), ".json") if path is None else Path(path)
        with atomic_path(path) as part:
            part.write_text(self._setting.to_json(self.session), encoding="utf-8")
        return path

    def load(self, path: str | Path) -> None:
        """Show what a file of `save` says.

        Raises
        ------
        LisError : no such file, a damaged one, or one of other models.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise LisError(f"{path} can't be read: {error.strerror}.") from error
        self._load_file({"name": str(path), "content": content})

    @abstractmethod
    def _load_text(self, text: str) -> None:
        """Show what the text of a saved setting says."""

    def _load_file(self, file: dict[str, Any]) -> None:
        self._load_text(file_text(file))

    def _saves(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        tip = "what the controls say as JSON, to be loaded again"
        return {**super()._saves(), "Save settings": (tip, lambda: self._tell_saved(self.save()))}
