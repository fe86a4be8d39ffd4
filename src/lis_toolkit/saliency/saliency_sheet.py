"""A sheet of photographs and where they speak for their class: a column each, a row a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import LisError
from ..names import cut
from ..pixel_sheet import BAD, INK, PixelSheet
from .explanation import Explanation, saliency_of
from .overlays import heat_on, tile_of, tile_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["saliency_sheet"]

LEFT, TOP, GAP = 92, 40, 4


def saliency_sheet(explanations: Iterable[Explanation], *, tile: int = 72) -> Figure:
    """Draw the merged cluster maps of several photographs side by side.

    Parameters
    ----------
    explanations
        Of one size and the same layers; ten fit a page.
    tile
        Longest side of a picture in pixels, at most.

    Returns
    -------
    Figure
        A column per photograph, what is explained above it; below it its layers' shown cluster maps, merged, each to
        its own maximum, and the mean over the layers (`saliency_of` with "all"). Orange: not the class that the
        classifier sees.

    Raises
    ------
    LisError
        For no explanations, or such of several sizes or layers.

    Examples
    --------
    >>> saliency_sheet(explain_images(classifier, photographs.images[:10], method="pca")).savefig("sheet.png")
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if not given:
        raise LisError("the list of explanations is empty; at least one was expected.")
    layers = [part.layer for part in given[0].layers]
    for e in given:
        if [part.layer for part in e.layers] != layers or e.image.shape != given[0].image.shape:
            raise LisError(
                f"the explanation of image {e.index} has other layers or another size than that of {given[0].index}."
            )
    size = tile_size((given[0].image.shape[1], given[0].image.shape[2]), tile)
    high, wide = size
    rows = len(layers) + 2
    sheet = PixelSheet(LEFT + len(given) * (wide + GAP) + GAP, TOP + rows * (high + GAP) + GAP)
    titles = ["photograph", *(layer.title.replace(" · ", "\n") for layer in layers), "all layers"]
    for row, title in enumerate(titles):
        sheet.write(LEFT - 8, TOP + row * (high + GAP) + high / 2, title, ha="right", va="center")
    for column, e in enumerate(given):
        left = LEFT + column * (wide + GAP)
        seen = e.target is None or e.target == e.predicted
        sheet.write(
            left + wide / 2,
            TOP - 8,
            cut(e.name, 12),
            ha="center",
            va="bottom",
            color=INK if seen else BAD,
        )
        sheet.place(tile_of(e.image, size), left, TOP, 1)
        maps = [saliency_of(e, layer.name) for layer in layers] + [saliency_of(e, "all")]
        for row, values in enumerate(maps, 1):
            sheet.place(heat_on(e.image, values, size), left, TOP + row * (high + GAP), 1)
    return sheet.figure()
