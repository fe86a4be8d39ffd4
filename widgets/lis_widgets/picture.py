"""A live picture: RGB or JPEG bytes in a trait, drawn on canvases, one a panel."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from lis_toolkit.errors import LisError

from .assets import STATIC as STATIC  # the tests look there
from .assets import css, esm
from .snapshot import TARGET, Snapshot, check_panels, static_html

TRANSPORTS = ("raw", "jpeg")
FINE = 256  # pixels: up to this width JPEG keeps every pixel's own colour (4:4:4)


class Picture(Snapshot, anywidget.AnyWidget):
    """Panels side by side, small pictures enlarged crisply, with a caption each; drawn by `static/picture.js`.

    Parameters
    ----------
    transport : "raw" or "jpeg"
        What goes to the browser: every pixel as it is, or JPEG for a server far away and for large pictures. From key
        to screen three panels of 1024 x 1024 pixels took 280 ms raw and 95 ms as JPEG, of 512 x 512 pixels 58 and 40.
    quality : int
        Of the JPEG, 1 to 95.
    pickable : bool
        Panels can be chosen by click, Enter or Space: see `on_pick`.
    target : int
        CSS pixels that a panel's width is enlarged to, by whole device pixels; larger pictures are scaled down.
    columns : int
        Panels a row; 0: as many as fit.

    Attributes
    ----------
    shape : tuple of int
        (panels, height, width).
    panels : uint8 [P, H, W, 3] or None
        What is shown.
    captions, descriptions : list of str
        Shown below each panel, and read aloud in place of it.
    stale : bool
        Whether the picture no longer shows what was asked for; it is dimmed.
    revision : int
        Rises with every `show`; the browser redraws when it does.

    Raises
    ------
    LisError
        Another transport, or a quality out of range.

    Examples
    --------
    >>> picture = Picture()
    >>> picture.show(state.rgb(), state.captions(), state.descriptions())
    """

    _esm = esm("kit.js", "keys.js", "picture.js")
    _css = css("lis.css", "picture.css")

    rgb = traitlets.Bytes(b"").tag(sync=True)
    jpeg = traitlets.List(traitlets.Bytes()).tag(sync=True)
    shape = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int(), default_value=(0, 0, 0)).tag(
        sync=True
    )
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    descriptions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pickable = traitlets.Bool(False).tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)
    target = traitlets.Int(TARGET, min=1).tag(sync=True)
    columns = traitlets.Int(0, min=0).tag(sync=True)
    stale = traitlets.Bool(False).tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)

    def __init__(self, transport: str = "raw", quality: int = 90, **traits: Any) -> None:
        if transport not in TRANSPORTS:
            raise LisError(f"the transport is {transport!r}; one of {TRANSPORTS} was expected.")
        if not isinstance(quality, int) or not 1 <= quality <= 95:
            raise LisError(f"the quality is {quality!r}; a whole number from 1 to 95 was expected.")
        self.transport, self.quality = transport, quality
        self.panels: np.ndarray | None = None
        self._lock = threading.RLock()
        self._pick_callbacks: list[Callable[[int], None]] = []
        super().__init__(**traits)
        self.on_msg(self._receive)

    def show(self, panels: np.ndarray, captions: Sequence[str], descriptions: Sequence[str] = ()) -> None:
        """Show uint8 panels [P, H, W, 3] with P captions, in one message to the browser.

        Raises
        ------
        LisError
            Panels of another shape or type, or not one caption each.
        """
        check_panels(panels, captions)
        if len(descriptions or captions) != len(panels):
            raise LisError(
                f"there are {len(descriptions)} descriptions for {len(panels)} panels; give one each."
            )
        raw = self.transport == "raw"
        rgb = panels.tobytes() if raw else b""
        jpeg = [] if raw else [self._jpeg(panel) for panel in panels]
        with self._lock, self.hold_sync():
            self.panels = panels
            self.shape = panels.shape[:3]
            self.rgb, self.jpeg = rgb, jpeg
            self.captions = list(captions)
            self.descriptions = list(descriptions or captions)
            self.stale = False
            self.revision += 1

    def mark_stale(self) -> None:
        """Dim the picture: it is not what was asked for last."""
        with self._lock, self.hold_sync():
            self.stale = True
            self.revision += 1

    def on_pick(self, callback: Callable[[int], None]) -> None:
        """Call back with the index of a panel that was chosen; makes the panels pickable."""
        self._pick_callbacks.append(callback)
        self.pickable = True

    def static_view(self) -> str:
        """Return the panels as HTML that needs no kernel."""
        return "" if self.panels is None else static_html(self.panels, self.captions, target=self.target)

    def _jpeg(self, panel: np.ndarray) -> bytes:
        from PIL import Image

        file = io.BytesIO()
        subsampling = 0 if panel.shape[1] <= FINE else 2
        Image.fromarray(panel).save(file, "jpeg", quality=self.quality, subsampling=subsampling)
        return file.getvalue()

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a choice from the browser; anything else is passed over."""
        if not isinstance(content, dict) or content.get("kind") != "pick":
            return
        index = content.get("index")
        if type(index) is not int or not 0 <= index < self.shape[0]:
            return
        for callback in self._pick_callbacks:
            callback(index)
