"""Places for the names of dots, so that they cover neither each other nor dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

DISTANCES = (11.0, 18.0, 27.0, 38.0)  # pixels from the dot, the nearest free place is taken
DIRECTIONS = 16


def free_places(
    dots: np.ndarray,
    named: Sequence[int],
    sizes: Sequence[tuple[float, float]],
    frame: tuple[float, float, float, float],
    radius: float = 3.0,
) -> list[tuple[float, float] | None]:
    """Return the middle of a free place near each dot that gets a name, or None where there is no room.

    Parameters
    ----------
    dots : [N, 2], all dots, pixels.
    named : indices of those that get a name, the most important first: it has the first choice.
    sizes : width and height of each name, pixels.
    frame : x0, y0, x1, y1 which no name leaves.
    radius : of a dot.

    Examples
    --------
    >>> free_places(dots, [3, 0], [(20, 10), (20, 10)], (0, 0, 600, 400))
    """
    import numpy as np

    taken: list[tuple[float, float, float, float]] = []
    places: list[tuple[float, float] | None] = []
    for index, (wide, high) in zip(named, sizes, strict=True):
        best, fewest = None, math.inf
        for distance in DISTANCES:
            for step in range(DIRECTIONS):
                turn = 2 * math.pi * (step + 2) / DIRECTIONS
                x = float(dots[index, 0]) + (distance + wide / 2 - 5) * math.cos(turn)
                y = float(dots[index, 1]) + distance * math.sin(turn)
                box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
                if box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]:
                    continue
                if any(_meet(box, other) for other in taken):
                    continue
                near_x = np.clip(dots[:, 0], box[0], box[2]) - dots[:, 0]
                near_y = np.clip(dots[:, 1], box[1], box[3]) - dots[:, 1]
                covered = int((near_x**2 + near_y**2 < radius**2).sum())
                if covered < fewest:
                    best, fewest = box, covered
            if fewest == 0:
                break
        if best is None:
            places.append(None)
            continue
        taken.append(best)
        places.append(((best[0] + best[2]) / 2, (best[1] + best[3]) / 2))
    return places


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
