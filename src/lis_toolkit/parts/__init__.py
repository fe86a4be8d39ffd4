"""Parts of pictures: labels made by hand, segmentation by generator features, and what is measured of every part."""

from __future__ import annotations
