"""lis_toolkit: see what an image classifier has learned, through a linear link to StyleGAN-XL.

Examples
--------
>>> generator, classifier = load_generator("fashion"), load_classifier("fashion")
>>> fitted, held_out = collect_pairs(generator, classifier).split()
>>> link = fit_link(fitted)
>>> print(report_link(link, generator, classifier, held_out, load_fashion("sample")))
>>> walk = tune_unit(generator, classifier, link, held_out.r[:4], unit=17)
"""

from __future__ import annotations

from .activations import (
    Activations,
    PointCloud,
    extract_activations,
    list_layers,
    record_activations,
    sample_points,
    stream_activations,
)
from .classifiers import Classifier, load_classifier, save_classifier
from .convert import convert_generator
from .counterfactuals import (
    Counterfactuals,
    class_distances,
    compare_methods,
    find_counterfactuals,
    locate_boundary,
    measure_counterfactuals,
    part_carriers,
    unit_carriers,
)
from .datasets import FASHION_CLASSES, Photographs, load_fashion
from .datasets_cifar import CIFAR10_CLASSES, load_cifar10
from .directions import (
    Directions,
    class_directions,
    companion_directions,
    principal_directions,
    unit_combination,
)
from .errors import CheckpointError, LisError
from .explore import UnitSession, UnitSetting
from .features import Features, extract_features, stream_features
from .files import package_version
from .images import convert_range, from_pil, montage, save_png, to_pil
from .labels import Answers, explain_globally, process_labels, validate_concepts
from .link import Link, fit_link
from .link_report import LinkReport, report_link
from .models_table import describe_models
from .observers import (
    Attributes,
    Observers,
    find_denoting_units,
    image_statistics,
    observe_state,
    train_observers,
)
from .own_images import (
    FeatureStore,
    ImageSource,
    SkippedImages,
    UnreadableImage,
    extract_to_folder,
    load_photographs,
    open_images,
)
from .pairs import Pairs, collect_pairs
from .parts import (
    PartMasks,
    PartMeasures,
    Segmenter,
    load_masks,
    load_segmenter,
    measure_motion,
    measure_parts,
    measure_pictures,
    render_parts,
    segment,
    segment_pictures,
    train_segmenter,
)
from .quality import class_agreement, coverage_density, frechet_distance, nearest_distances
from .saliency import (
    Explanation,
    explain_images,
    explain_walk,
    explanation_figure,
    grad_cam,
    label_by_parts,
    measure_faithfulness,
    saliency_of,
)
from .screening import Screening, screen_units, validate_screening
from .selectivity import check_on_photographs, measure_photographs, rank_units, score_selectivity
from .stylegan import (
    Architecture,
    Generator,
    GeneratorConfig,
    latent_centroids,
    load_generator,
    save_generator,
    update_mean_latents,
)
from .sweep import Sweep, SweepPlan, plan_sweep, sweep_units
from .topology import (
    MapperGraph,
    layer_distances,
    linear_cka,
    mapper_graph,
    persistence_diagrams,
    purity_by_layer,
)
from .units import UnitWalk, render_activations, tune_unit
from .zoo import entries

__version__ = package_version()

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_CLASSES",
    "Activations",
    "Answers",
    "Architecture",
    "Attributes",
    "CheckpointError",
    "Classifier",
    "Counterfactuals",
    "Directions",
    "Explanation",
    "FeatureStore",
    "Features",
    "Generator",
    "GeneratorConfig",
    "ImageSource",
    "Link",
    "LinkReport",
    "LisError",
    "MapperGraph",
    "Observers",
    "Pairs",
    "PartMasks",
    "PartMeasures",
    "Photographs",
    "PointCloud",
    "Screening",
    "Segmenter",
    "SkippedImages",
    "Sweep",
    "SweepPlan",
    "UnitSession",
    "UnitSetting",
    "UnitWalk",
    "UnreadableImage",
    "check_on_photographs",
    "class_agreement",
    "class_directions",
    "class_distances",
    "collect_pairs",
    "companion_directions",
    "compare_methods",
    "convert_generator",
    "convert_range",
    "coverage_density",
    "describe_models",
    "entries",
    "explain_globally",
    "explain_images",
    "explain_walk",
    "explanation_figure",
    "extract_activations",
    "extract_features",
    "extract_to_folder",
    "find_counterfactuals",
    "find_denoting_units",
    "fit_link",
    "frechet_distance",
    "from_pil",
    "grad_cam",
    "image_statistics",
    "label_by_parts",
    "latent_centroids",
    "layer_distances",
    "linear_cka",
    "list_layers",
    "load_cifar10",
    "load_classifier",
    "load_fashion",
    "load_generator",
    "load_masks",
    "load_photographs",
    "load_segmenter",
    "locate_boundary",
    "mapper_graph",
    "measure_counterfactuals",
    "measure_faithfulness",
    "measure_motion",
    "measure_parts",
    "measure_photographs",
    "measure_pictures",
    "montage",
    "nearest_distances",
    "observe_state",
    "open_images",
    "part_carriers",
    "persistence_diagrams",
    "plan_sweep",
    "principal_directions",
    "process_labels",
    "purity_by_layer",
    "rank_units",
    "record_activations",
    "render_activations",
    "render_parts",
    "report_link",
    "saliency_of",
    "sample_points",
    "save_classifier",
    "save_generator",
    "save_png",
    "score_selectivity",
    "screen_units",
    "segment",
    "segment_pictures",
    "stream_activations",
    "stream_features",
    "sweep_units",
    "to_pil",
    "train_observers",
    "train_segmenter",
    "tune_unit",
    "unit_carriers",
    "unit_combination",
    "update_mean_latents",
    "validate_concepts",
    "validate_screening",
]
