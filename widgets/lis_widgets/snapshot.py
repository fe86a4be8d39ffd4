"""Static pictures beside a live widget: what exported HTML shows where no saved widget state is."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from lis_toolkit.errors import LisError

TARGET = 192  # CSS pixels a small picture is enlarged to


def check_panels(panels: np.ndarray, captions: Sequence[str]) -> None:
    """Raise LisError unless panels are uint8 [P, H, W, 3] with P captions.

    Raises
    ------
    LisError
        Panels of another shape or type, or not one caption each.

    Examples
    --------
    >>> check_panels(np.zeros((1, 32, 32, 3), np.uint8), ["black"])
    """
    kind, shape = getattr(panels, "dtype", type(panels).__name__), tuple(getattr(panels, "shape", ()))
    if kind != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise LisError(f"the panels are {kind} {shape}; uint8 [P, H, W, 3] was expected.")
    if len(captions) != len(panels):
        raise LisError(f"there are {len(captions)} captions for {len(panels)} panels; give one each.")


def static_html(panels: np.ndarray, captions: Sequence[str], title: str = "", target: int = TARGET) -> str:
    """Return panels uint8 [P, H, W, 3] as HTML that needs nothing else: PNG inside, captions below.

    Raises
    ------
    LisError
        Panels of another shape or type, or not one caption each.

    Examples
    --------
    >>> text = static_html(state.rgb(), state.captions(), "unit 17")
    """
    check_panels(panels, captions)
    width = panels.shape[2]
    shown = width * max(1, target // width) if width <= target else target
    crisp = "image-rendering:pixelated;" if width <= target else ""
    figures = "".join(
        f'<figure style="margin:0;width:{shown}px"><img alt="{html.escape(caption)}" width="{shown}" '
        f'src="data:image/png;base64,{_png(panel)}" style="{crisp}display:block;max-width:100%;height:auto">'
        f'<figcaption style="padding-top:4px;line-height:1.3">{html.escape(caption)}</figcaption></figure>'
        for panel, caption in zip(panels, captions, strict=True)
    )
    heading = f'<div style="font-weight:600;margin-bottom:6px">{html.escape(title)}</div>' if title else ""
    row = f'<div style="display:flex;flex-wrap:wrap;gap:12px 16px">{figures}</div>'
    return f'<div class="lis-static" style="font-family:sans-serif;font-size:13px">{heading}{row}</div>'


def _png(panel: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(panel)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")


class Snapshot:
    """Mixin, before the widget's class: `text/html` from `static_view()` beside the live view.

    JupyterLab shows the live one; exported HTML without saved widget state, and what cannot run widgets, the other.

    Examples
    --------
    >>> class Picture(Snapshot, anywidget.AnyWidget):
    ...     def static_view(self):
    ...         return static_html(self.panels, self.captions)
    """

    def static_view(self) -> str:
        """Return the HTML to keep; empty for nothing."""
        return ""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        found = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        data, metadata = found if isinstance(found, tuple) else (found, {})
        if not data:
            return found
        try:
            text = self.static_view()
        except Exception:  # whatever it is, the live view must appear: it tells what is wrong
            text = ""
        return ({**data, "text/html": text} if text else data), metadata
