"""Parts of pictures: labels made by hand, segmentation by generator features, and what is measured of every part."""

from __future__ import annotations

from .legend import Legend
from .masks import LabelledPicture, PartMasks, collect_masks, load_masks, save_masks
from .measures import (
    MEASURES,
    Measure,
    PartMeasures,
    angle_difference,
    mean_angle,
    measure_parts,
    measure_pictures,
)
from .motion import Motion, dense_flow, measure_motion
from .motion_plots import motion_figure
from .photographs import PhotographParts, photograph_parts
from .pictures import draw_outlines
from .scores import PartScores, score_parts
from .segmenter import (
    Segmenter,
    load_segmenter,
    render_part_logits,
    render_parts,
    save_segmenter,
    segment,
    segment_pictures,
)
from .soft import soft_measures
from .training import train_picture_segmenter, train_segmenter

__all__ = [
    "MEASURES",
    "LabelledPicture",
    "Legend",
    "Measure",
    "Motion",
    "PartMasks",
    "PartMeasures",
    "PartScores",
    "PhotographParts",
    "Segmenter",
    "angle_difference",
    "collect_masks",
    "dense_flow",
    "draw_outlines",
    "load_masks",
    "load_segmenter",
    "mean_angle",
    "measure_motion",
    "measure_parts",
    "measure_pictures",
    "motion_figure",
    "photograph_parts",
    "render_part_logits",
    "render_parts",
    "save_masks",
    "save_segmenter",
    "score_parts",
    "segment",
    "segment_pictures",
    "soft_measures",
    "train_picture_segmenter",
    "train_segmenter",
]
