"""What `lis topology` does: diagrams, distances of layers, a second model, mapper graphs and purity, into a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..files import provenance
from ..folders import output_folder
from ..names import class_index, whole_number
from .agreement import Agreement, compare_trainings
from .layer_distances import MEASURES, LayerDistances, layer_distances, training_distances
from .mapper import kmapper_package, mapper_graph
from .mapper_plots import mapper_sheet
from .persistence import persistence_diagrams, ripser_package
from .plots import agreement_figure, diagram_figure, distance_figure
from .purity import purity_by_layer
from .purity_plots import purity_figure

if TYPE_CHECKING:
    from ..activations import PointCloud
    from ..classifiers import Classifier

__all__ = ["add_arguments", "run"]

SAMPLE = "sample"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis topology` to its parser.

    Examples
    --------
    >>> add_arguments(commands.add_parser("topology"))
    """
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for tables, diagrams, graphs and figures"
    )
    parser.add_argument("--classifier", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument(
        "--other",
        metavar="NAME",
        help="a second model to compare with: best, another training of the same network",
    )
    parser.add_argument(
        "--images",
        default=SAMPLE,
        metavar="FOLDER",
        help=f'images, in sub-folders named after classes for purity; or "{SAMPLE}", the bundled ones (%(default)s)',
    )
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="names of layers (default: all convolutions)"
    )
    parser.add_argument(
        "--points",
        type=int,
        default=200,
        metavar="N",
        help="points of each draw; the paper's are 1000 (%(default)s)",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="draws of other images (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (%(default)s)")
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out `lis topology`: print what was found and write the folder.

    Raises
    ------
    LisError
        Unknown layers, images that can't be read, too few of them, models of other input, a missing package.

    Examples
    --------
    >>> run(parser.parse_args(["--out", "topology"]))
    """
    from ..classifiers import load_classifier

    for name, least in (("points", 4), ("repeats", 1), ("seed", 0)):
        whole_number(getattr(options, name), f"--{name}", least)
    ripser_package(), kmapper_package()  # what is missing is said before images are read
    classifier = load_classifier(options.classifier, device=options.device)
    images, labels = _images(options.images, classifier)
    if len(images) < 10:
        raise LisError(f"there are {len(images)} images in {options.images}; at least 10 were expected.")
    with output_folder(options.out) as folder:
        clouds = _clouds(classifier, images, options)
        lines, facts = _one_model(folder, clouds, options), {"classifier_hash": classifier.hash}
        if options.other is not None:
            other = load_classifier(options.other, device=options.device)
            facts["other_hash"] = other.hash
            lines += _two_models(folder, clouds, _clouds(other, images, options), options)
        lines += _graphs(folder, clouds, labels, classifier)
        settings = {name: getattr(options, name) for name in (
            "classifier", "other", "images", "layers", "points", "repeats", "seed")}  # fmt: skip
        told = {
            "settings": settings,
            "images": len(images),
            "found": lines,
            "provenance": provenance(**facts),
        }
        (folder / "manifest.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    print("\n".join([*lines, f"written to {options.out}"]))


def _images(asked: str, classifier: Classifier) -> tuple[Any, list[int] | None]:
    """Return images as `sample_points` takes them, and a class for each where all have one."""
    from ..demo import matching_photographs
    from ..own_images import open_images

    if asked == SAMPLE and not Path(SAMPLE).is_dir():
        photographs = matching_photographs(classifier)
        if photographs is None:
            raise LisError(
                f"the bundled photographs are of other classes or another size than {classifier.name!r} takes; give a "
                "folder of yours with --images."
            )
        return photographs, photographs.labels.tolist()
    source = open_images(asked)
    known = [label for label in source.labels or () if label is not None]
    if len(known) < len(source) or not classifier.has_head:
        return source, None
    owner = f"classifier {classifier.name!r}"
    return source, [class_index(label, classifier.classes, owner) for label in known]


def _clouds(classifier: Classifier, images: Any, options: argparse.Namespace) -> dict[str, PointCloud]:
    from ..activations import sample_points

    return sample_points(classifier, images, options.layers, seed=options.seed, progress=True)


def _draw_settings(clouds: dict[str, PointCloud], options: argparse.Namespace) -> dict[str, Any]:
    count = min(len(cloud) for cloud in clouds.values())
    return {"points": min(options.points, count), "repeats": options.repeats, "seed": options.seed}


def _one_model(folder: Path, clouds: dict[str, PointCloud], options: argparse.Namespace) -> list[str]:
    """Write diagrams and distances within one model; return what to print."""
    import pandas as pd

    settings = _draw_settings(clouds, options)
    titles = {name: cloud.layer.title for name, cloud in clouds.items()}
    made = {
        name: persistence_diagrams(
            cloud, 1, settings["points"], normalise=True, seed=options.seed, name=f"layer {name!r}"
        )
        for name, cloud in clouds.items()
    }
    (folder / "diagrams").mkdir()
    for name, diagrams in made.items():
        diagrams.save(folder / "diagrams" / f"{name}.safetensors")
    tables = [
        one.summary().assign(layer=name, title=titles[name], scale=one.scale) for name, one in made.items()
    ]
    pd.concat(tables, ignore_index=True).to_parquet(folder / "diagrams.parquet")
    diagram_figure(made, titles).savefig(folder / "diagrams.png")
    found = [layer_distances(clouds, None, measure, progress=True, **settings) for measure in MEASURES]
    _write_tables(folder / "distances.parquet", {"within": found})
    distance_figure(*found).savefig(folder / "distances.png")
    return [str(one) for one in found]


def _two_models(
    folder: Path, clouds: dict[str, PointCloud], others: dict[str, PointCloud], options: argparse.Namespace
) -> list[str]:
    """Write distances within the second model and between both, and how far they agree."""
    settings = _draw_settings(clouds, options)
    tables: dict[str, list[LayerDistances]] = {"within the other": [], "between": []}
    lines = []
    for measure in MEASURES:
        within, within_other, between = training_distances(clouds, others, measure, progress=True, **settings)
        tables["within the other"].append(within_other)
        tables["between"].append(between)
        try:
            agreement: Agreement | None = compare_trainings(within, within_other, between, seed=options.seed)
            lines.append(f"two models, {measure}: {agreement}")
        except LisError as error:  # other architectures, few layers: distances are all there is
            agreement = None
            lines.append(f"two models, {measure}: no agreement measured: {error}")
        if measure == "sliced_wasserstein":
            names = [options.classifier, options.other]
            distance_figure(
                within, within_other, between, names=[*(Path(n).stem for n in names), "between both"]
            ).savefig(folder / "other.png")
            if agreement is not None:
                agreement_figure(within, within_other, agreement, names).savefig(folder / "agreement.png")
    _write_tables(folder / "other.parquet", tables)
    return lines


def _write_tables(path: Path, found: dict[str, list[LayerDistances]]) -> None:
    import pandas as pd

    tables = [one.table().assign(models=models) for models, several in found.items() for one in several]
    pd.concat(tables, ignore_index=True).to_parquet(path)


def _graphs(
    folder: Path, clouds: dict[str, PointCloud], labels: list[int] | None, classifier: Classifier
) -> list[str]:
    """Write the mapper graph of the last layer, and purity over layers where images have classes."""
    last = list(clouds)[-1]
    classes = classifier.classes if labels is not None else None
    graph = mapper_graph(clouds[last], labels, classes)
    graph.to_json(folder / "mapper.json")
    graph.to_graphml(folder / "mapper.graphml")
    if len(graph):
        mapper_sheet(graph).savefig(folder / "mapper.png")
    if labels is None:
        return [
            f"{graph}",
            "no purity: the images have no classes; put them into sub-folders named after classes.",
        ]
    table = purity_by_layer(clouds, labels, classes)
    table.to_parquet(folder / "purity.parquet")
    purity_figure(table).savefig(folder / "purity.png")
    ends = table.iloc[[0, -1]]
    course = " to ".join(
        f"{row.purity:.2f} (chance {row.null:.2f}) in {row.title}" for row in ends.itertuples()
    )
    return [f"{graph}", f"purity of mapper nodes: {course}"]
