"""Screening: what every unit changes, to first order, from forward-mode products along the latent dimensions."""

from .directions import sketch_variance
from .screen import Screening, screen_units
from .table import validate_screening

__all__ = ["Screening", "screen_units", "sketch_variance", "validate_screening"]
