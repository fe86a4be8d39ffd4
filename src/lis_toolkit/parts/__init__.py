"""Parts of pictures: labels of a few, segmentation by generator features, and what is measured of every part."""

from __future__ import annotations

from .label_choice import choose_photographs, choose_pictures
from .labelling import LabellingFolder, MaskChangedError, labelling_folder
from .legend import Legend
from .mask_list import LabelledPicture
from .masks import PartMasks, collect_masks, load_masks, save_masks
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
from .pictures import confusion_figure, draw_outlines, photograph_sheet, worst_sheet
from .scores import PartScores, class_scores, score_parts
from .segmenter import (
    Segmenter,
    load_segmenter,
    render_part_logits,
    render_parts,
    save_segmenter,
    segment,
    segment_pictures,
)
from .sheets import parts_sheet
from .soft import soft_measures
from .training import train_picture_segmenter, train_segmenter

__all__ = [
    "MEASURES",
    "LabelledPicture",
    "LabellingFolder",
    "Legend",
    "MaskChangedError",
    "Measure",
    "Motion",
    "PartMasks",
    "PartMeasures",
    "PartScores",
    "PhotographParts",
    "Segmenter",
    "angle_difference",
    "choose_photographs",
    "choose_pictures",
    "class_scores",
    "collect_masks",
    "confusion_figure",
    "dense_flow",
    "draw_outlines",
    "labelling_folder",
    "load_masks",
    "load_segmenter",
    "mean_angle",
    "measure_motion",
    "measure_parts",
    "measure_pictures",
    "motion_figure",
    "parts_sheet",
    "photograph_parts",
    "photograph_sheet",
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
    "worst_sheet",
]
