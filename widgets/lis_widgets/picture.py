"""A live picture: RGB bytes in a trait, drawn on canvases, one a panel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from lis_toolkit.errors import LisError

STATIC = Path(__file__).parent / "static"


class Picture(anywidget.AnyWidget):
    """Panels side by side, small pictures enlarged crisply, with a caption each; drawn by `static/picture.js`.

    Attributes
    ----------
    rgb : bytes
        panels * height * width * 3, row by row.
    shape : tuple of int
        (panels, height, width).
    captions, descriptions : list of str
        Shown below each panel, and read aloud in place of it.
    stale : bool
        Whether the picture no longer shows what was asked for; it is dimmed.
    revision : int
        Rises with every `show`; the browser redraws when it does.

    Examples
    --------
    >>> picture = Picture()
    >>> picture.show(state.rgb(), state.captions(), state.descriptions())
    """

    _esm = STATIC / "picture.js"
    _css = STATIC / "explorer.css"

    rgb = traitlets.Bytes(b"").tag(sync=True)
    shape = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int(), default_value=(0, 0, 0)).tag(
        sync=True
    )
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    descriptions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    stale = traitlets.Bool(False).tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)

    def show(self, panels: np.ndarray, captions: Sequence[str], descriptions: Sequence[str] = ()) -> None:
        """Show uint8 panels [P, H, W, 3] with P captions, in one message to the browser.

        Raises
        ------
        LisError
            Panels of another shape or type, or not one caption each.
        """
        if panels.dtype != np.uint8 or panels.ndim != 4 or panels.shape[-1] != 3 or 0 in panels.shape:
            raise LisError(f"the panels are {panels.dtype} {panels.shape}; uint8 [P, H, W, 3] was expected.")
        if len(captions) != len(panels):
            raise LisError(f"there are {len(captions)} captions for {len(panels)} panels; give one each.")
        count, height, width, _ = panels.shape
        with self.hold_sync():
            self.shape = (count, height, width)
            self.rgb = panels.tobytes()
            self.captions = list(captions)
            self.descriptions = list(descriptions or captions)
            self.stale = False
            self.revision += 1

    def mark_stale(self) -> None:
        """Dim the picture: it is not what was asked for last."""
        with self.hold_sync():
            self.stale = True
            self.revision += 1
