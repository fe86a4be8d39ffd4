"""Why does a classifier see a class in an image? Clusters of feature maps layer by layer, and Grad-CAM."""

from .clustering import cluster_maps, heavy_clusters, normalised_maps
from .comparison import compare_clusterings
from .controls import CONTROLS, control_maps
from .explain import explain_images, explain_layer, stream_explanations
from .explanation import Cluster, Explanation, LayerExplanation, cluster_table, saliency_of, upsampled
from .explanation_files import load_explanations, save_explanations
from .faithfulness import Faithfulness, measure_faithfulness
from .faithfulness_plots import accounting_figure, faithfulness_figure
from .figures import explanation_figure
from .grad_cam import grad_cam
from .map_makers import explanation_maps, weights_accounted
from .overlap import PictureLabels, map_overlap, part_masks
from .part_label_plots import part_label_figure
from .part_labels import label_by_parts, part_coverage, part_label_shares
from .perturbation import baseline_images, curve_area, perturbation_curves, pixel_ranks
from .saliency_sheet import saliency_sheet
from .walk import WalkExplanation, explain_walk
from .walk_controls import control_walks
from .walk_figures import walk_figure
from .weights import kept_maps, map_weights

__all__ = [
    "CONTROLS",
    "Cluster",
    "Explanation",
    "Faithfulness",
    "LayerExplanation",
    "PictureLabels",
    "WalkExplanation",
    "accounting_figure",
    "baseline_images",
    "cluster_maps",
    "cluster_table",
    "compare_clusterings",
    "control_maps",
    "control_walks",
    "curve_area",
    "explain_images",
    "explain_layer",
    "explain_walk",
    "explanation_figure",
    "explanation_maps",
    "faithfulness_figure",
    "grad_cam",
    "heavy_clusters",
    "kept_maps",
    "label_by_parts",
    "load_explanations",
    "map_overlap",
    "map_weights",
    "measure_faithfulness",
    "normalised_maps",
    "part_coverage",
    "part_label_figure",
    "part_label_shares",
    "part_masks",
    "perturbation_curves",
    "pixel_ranks",
    "saliency_of",
    "saliency_sheet",
    "save_explanations",
    "stream_explanations",
    "upsampled",
    "walk_figure",
    "weights_accounted",
]
