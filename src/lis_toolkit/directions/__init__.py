"""Directions in the space of activations: along which units are set, and named ones to move samples along."""

from __future__ import annotations

from .companions import checked_directions, companion_directions
from .families import DirectionFamilies, join_directions, read_combination
from .makers import class_directions, principal_directions, unit_combination
from .named import Directions

__all__ = [
    "DirectionFamilies",
    "Directions",
    "checked_directions",
    "class_directions",
    "companion_directions",
    "join_directions",
    "principal_directions",
    "read_combination",
    "unit_combination",
]
