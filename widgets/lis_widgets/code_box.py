"""A cell of code to copy."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from .assets import css, esm


class CodeBox(anywidget.AnyWidget):
    """Code with a button that copies it; where the browser does not allow that, it selects the text instead.

    Attributes
    ----------
    text : str
        The code.
    label : str
        What it does, said above it.

    Examples
    --------
    >>> box = CodeBox(text=as_code(setting), label="A cell that draws this picture:")
    """

    _esm = esm("kit.js", "keys.js", "code_box.js")
    _css = css("lis.css", "code_box.css")

    text = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("A cell that draws this picture:").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
