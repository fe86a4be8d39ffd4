"""Parts of pictures: labels made by hand, segmentation by generator features, and what is measured of every part."""

from __future__ import annotations

from .legend import Legend
from .masks import LabelledPicture, PartMasks, collect_masks, load_masks, save_masks
from .segmenter import (
    Segmenter,
    load_segmenter,
    render_part_logits,
    render_parts,
    save_segmenter,
    segment,
    segment_pictures,
)

__all__ = [
    "LabelledPicture",
    "Legend",
    "PartMasks",
    "Segmenter",
    "collect_masks",
    "load_masks",
    "load_segmenter",
    "render_part_logits",
    "render_parts",
    "save_masks",
    "save_segmenter",
    "segment",
    "segment_pictures",
]
