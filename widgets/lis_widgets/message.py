"""One line that tells an error or a notice."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets

from lis_toolkit.errors import LisError


def tell(error: BaseException) -> str:
    """Return what a user should read of an error: a LisError's own text, others with their type.

    Examples
    --------
    >>> tell(LisError("the link has no unit 900."))
    'the link has no unit 900.'
    """
    if isinstance(error, LisError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Message(ipywidgets.HTML):
    """A line above the pictures, empty and invisible until there is something to tell.

    Attributes
    ----------
    text : str
        What it says; empty for nothing.
    kind : str
        "error" (announced at once by screen readers), "note" or "".

    Examples
    --------
    >>> message = Message()
    >>> message.error(LisError("the link has no unit 900."))
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.add_class("lis-message-line")
        self.clear()

    def error(self, told: str | BaseException) -> None:
        """Tell an error: a text, or an exception as `tell` words it."""
        self._say("error", tell(told) if isinstance(told, BaseException) else told, "alert")

    def note(self, text: str) -> None:
        """Tell what is no error, such as where a file was saved."""
        self._say("note", text, "status")

    def clear(self) -> None:
        """Say nothing."""
        self._say("", "", "status")

    def _say(self, kind: str, text: str, role: str) -> None:
        self.kind, self.text = kind, text
        self.value = (
            f'<div class="lis-message lis-{kind or "nothing"}" role="{role}">{html.escape(text)}</div>'
        )
