"""Why does a classifier see a class in an image? Clusters of feature maps layer by layer, and Grad-CAM."""

from .clustering import cluster_maps, heavy_clusters, normalised_maps
from .comparison import compare_clusterings
from .explain import explain_images, explain_layer, stream_explanations
from .explanation import Cluster, Explanation, LayerExplanation, cluster_table, saliency_of, upsampled
from .explanation_files import load_explanations, save_explanations
from .figures import explanation_figure
from .grad_cam import grad_cam
from .weights import kept_maps, map_weights

__all__ = [
    "Cluster",
    "Explanation",
    "LayerExplanation",
    "cluster_maps",
    "cluster_table",
    "compare_clusterings",
    "explain_images",
    "explain_layer",
    "explanation_figure",
    "grad_cam",
    "heavy_clusters",
    "kept_maps",
    "load_explanations",
    "map_weights",
    "normalised_maps",
    "saliency_of",
    "save_explanations",
    "stream_explanations",
    "upsampled",
]
