"""Below an explorer: the code of its present state, and buttons that save it and load it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from lis_toolkit.errors import LisError

from .code_box import CodeBox
from .explorer_parts import button, flow

LARGEST_FILE = 10_000_000  # bytes; settings have some thousand


class ExplorerFiles(ipywidgets.VBox):
    """Folded until it is wanted: code to copy, save as picture, film or settings, load settings.

    A button folds it out: the heading of ipywidgets' Accordion can't be reached by keyboard.

    Parameters
    ----------
    code : returns the code of the present state; asked only while it is seen.
    saves : button's text -> (tooltip, function).
    load : takes an uploaded file (read it with `file_text`); None for an explorer that loads nothing.

    Attributes
    ----------
    heading : ipywidgets.ToggleButton
        On while the rest is seen.
    code_box : CodeBox
    upload : ipywidgets.FileUpload or None
    """

    def __init__(
        self,
        code: Callable[[], str],
        saves: dict[str, tuple[str, Callable[[], Any]]],
        load: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.code_box = CodeBox()
        self._code, self._load = code, load
        buttons = [button(text, tip, save) for text, (tip, save) in saves.items()]
        self.upload = None
        if load is not None:
            self.upload = ipywidgets.FileUpload(
                accept=".json",
                multiple=False,
                description="Load settings",
                tooltip="a file that Save settings wrote",
                layout={"width": "auto"},
            )
            self.upload.observe(self._uploaded, "value")
            buttons.append(self.upload)
        self.heading = ipywidgets.ToggleButton(description="Code, save, load", layout={"width": "100%"})
        self.heading.add_class("lis-heading")
        self._content = ipywidgets.VBox([flow(*buttons), self.code_box])
        super().__init__([self.heading, self._content])
        self.add_class("lis-files")
        self.heading.observe(lambda _: self._fold(), "value")
        self._fold()

    def refresh(self) -> None:
        """Write the code anew, if it is seen."""
        if self.heading.value:
            self.code_box.text = self._code()

    def _fold(self) -> None:
        seen = self.heading.value
        self.heading.icon, verb = ("caret-down", "hide") if seen else ("caret-right", "show")
        self.heading.tooltip = f"{verb} the code of this picture, and buttons that save and load"
        self._content.layout.display = "" if seen else "none"
        self.refresh()

    def _uploaded(self, change: dict[str, Any]) -> None:
        files = change["new"]
        if not files or self._load is None or self.upload is None:
            return
        (file,) = files[:1]
        self.upload.value = ()  # so that the same file can be loaded again
        self._load(file)


def file_text(file: dict[str, Any]) -> str:
    """Return the text of an uploaded file.

    Raises
    ------
    LisError : it is much too large, or no text.
    """
    content, name = bytes(file["content"]), file.get("name", "the file")
    if len(content) > LARGEST_FILE:
        raise LisError(f"{name} has {len(content) / 1e6:.0f} MB; settings have some thousand bytes.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise LisError(f"{name} is no text; a file that 'Save settings' wrote was expected.") from None
