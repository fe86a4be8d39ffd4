"""A canvas in pixels for pictures and texts, and the colours of all figures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common kind of colour blindness, and in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
GOOD, BAD, INK, FAINT = PALETTE[0], PALETTE[1], "#1a1a1a", "#6b6b6b"


@functools.cache
def figure_class() -> Any:
    """Return matplotlib's Figure with a picture for Jupyter, so that no function needs pyplot's global state."""
    import io

    from matplotlib.figure import Figure

    class SheetFigure(Figure):
        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png")
            return stream.getvalue()

    return SheetFigure


class PixelSheet:
    """A white canvas in pixels on which pictures and texts are placed; `figure()` draws it one to one."""

    def __init__(self, width: int, height: int) -> None:
        self.canvas = np.ones((height, width, 3), dtype=np.float32)  # [height, width, RGB]
        self.texts: list[tuple[float, float, str, dict[str, Any]]] = []
        self.frames: list[tuple[float, float, float, float, str, float]] = []

    def place(self, image: Tensor, x: int, y: int, scale: int, frame: str | None = None) -> None:
        """Enlarge `image` [C, H, W] by a whole number and put its upper left corner at (x, y)."""
        pixels = image.detach().cpu().float().clamp(0, 1).numpy().transpose(1, 2, 0)  # [H, W, C]
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).repeat(scale, 0).repeat(scale, 1)
        height, width = pixels.shape[:2]
        self.canvas[y : y + height, x : x + width] = pixels
        if frame is not None:
            self.frames.append((x - 2, y - 2, width + 4, height + 4, frame, 2.0))

    def write(self, x: float, y: float, text: str, size: float = 7.5, **style: Any) -> None:
        """Write `text` at (x, y); `size` in points, further keywords as in matplotlib's Text."""
        self.texts.append((x, y, text, {"fontsize": size, "color": INK, "parse_math": False} | style))

    def figure(self) -> Figure:
        """Return the sheet as a figure whose pixels are the canvas's pixels."""
        from matplotlib.patches import Rectangle

        height, width = self.canvas.shape[:2]
        # The tiny excess keeps rounding from losing the last row and column.
        figure = figure_class()(
            figsize=((width + 0.01) / 100, (height + 0.01) / 100), dpi=100, facecolor="white"
        )
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(self.canvas, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        for x, y, wide, high, colour, line in self.frames:
            axes.add_patch(Rectangle((x, y), wide, high, fill=False, edgecolor=colour, linewidth=line * 0.72))
        for x, y, text, style in self.texts:
            axes.text(x, y, text, **style)
        return figure
