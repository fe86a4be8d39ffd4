"""What `lis observe` does: train observers on images, find units that denote, write tables, figures and a summary."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..folders import output_folder
from ..link_stats import records
from ..names import cut, spelling_hint, whole_number
from .result_files import check_folder, fill_folder

if TYPE_CHECKING:
    from ..classifiers import Classifier
    from ..datasets import Photographs
    from .attributes import Attributes
    from .denoting import DenotingUnits
    from .result import Observers
    from .sparse import SparseObserver

__all__ = ["add_arguments", "observe", "run", "summary_text"]

KINDS = ("class", "superclass", "statistics")
SPLITS = ("sample", "test", "train")
TABLES = (".csv", ".parquet")
T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis observe` to its parser.

    Examples
    --------
    >>> add_arguments(commands.add_parser("observe"))
    """
    parser.add_argument(
        "--classifier",
        default="fashion",
        metavar="NAME",
        help="name or path of the observed one (%(default)s)",
    )
    parser.add_argument(
        "--images",
        default="sample",
        metavar="WHAT",
        help="sample, test or train of Fashion-MNIST, or a folder of images; for class and superclass in sub-folders "
        "named after classes (%(default)s)",
    )
    parser.add_argument(
        "--attributes",
        default="class",
        metavar="LIST",
        help="class, superclass, statistics, with commas between, or a .csv or .parquet table with a row an image, "
        "in the order of the files' names (%(default)s)",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["each"],
        metavar="LAYER",
        help='each, all (one observer of all), or titles such as "conv 3" (each)',
    )
    parser.add_argument(
        "--controls", type=int, default=5, metavar="N", help="shuffles of the labels (%(default)s)"
    )
    parser.add_argument(
        "--held-out", type=float, default=0.3, metavar="SHARE", help="of the images (%(default)s)"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "drop"),
        default="error",
        help="images without a value in the table (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for tables, figures and summary.txt"
    )
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out `lis observe`: print the summary and write the folder.

    Raises
    ------
    LisError : images or tables that can't be read, unknown attributes and layers, a folder that holds something else.

    Examples
    --------
    >>> run(parser.parse_args(["--images", "sample", "--out", "observed"]))
    """
    from ..classifiers import load_classifier

    check_folder(options.out)  # now, and not when the work is done
    whole_number(options.controls, "--controls", 0)
    whole_number(options.seed, "--seed", 0)
    labelled = bool({"class", "superclass"} & set(_asked(options.attributes)))
    classifier = load_classifier(options.classifier, device=options.device)
    photographs = _photographs(options.images, classifier, labelled)
    attributes = _attributes(options, photographs)
    images = photographs if isinstance(photographs, Tensor) else photographs.images
    text = observe(
        classifier, images, attributes, options.out, layers=options.layers, controls=options.controls,
        held_out=options.held_out, seed=options.seed, progress=True,
    )  # fmt: skip
    print(text)
    print(f"\ntables and figures written to {options.out}")


def observe(
    classifier: Any,
    images: Any,
    attributes: Attributes,
    out: Any,
    *,
    layers: Any = "each",
    controls: int = 5,
    held_out: float = 0.3,
    seed: int = 0,
    progress: bool = False,
) -> str:
    """Train observers, find denoting units and a sparse observer, write all into a folder; return the summary.

    The folder gets scores.parquet, weights.safetensors, manifest.json (`Observers.load` reads it), denoting.parquet,
    preferred.parquet, by_layer.parquet, sparse.parquet, units.json, summary.txt, and as figures scores.png,
    weights_*.png, denoting.png, sparse.png. Where images are too few for denoting units or a sparse observer, theirs
    are left out, and summary.txt and units.json say why.

    Raises
    ------
    LisError : as `train_observers`, and a folder that holds something else.

    Examples
    --------
    >>> print(observe(classifier, images, attributes, "observed"))
    """
    from .denoting import find_denoting_units
    from .plots import denoting_figure, score_figure, sparse_figure, weight_figure
    from .sparse import train_sparse_observer
    from .state import ALL_LAYERS, observe_state
    from .train import train_observers

    check_folder(out)
    with output_folder(
        out
    ) as folder:  # which says now, and not when the work is done, that it can't be written
        state = observe_state(classifier, images, progress=progress)
        chosen = state.chosen(layers[0] if isinstance(layers, list) and len(layers) == 1 else layers)
        settings: dict[str, Any] = {"held_out": held_out, "seed": seed}
        observers = train_observers(
            state, attributes, layers=chosen, controls=controls, progress=progress, **settings
        )
        observers.provenance.update(classifier=classifier.name, classifier_hash=classifier.hash)
        single = (
            list(state.layers) if chosen == [ALL_LAYERS] else [name for name in chosen if name != ALL_LAYERS]
        )
        # Too few images for single units are often enough for observers: what was trained is kept.
        found = _found_or_reason(
            lambda: find_denoting_units(
                state, attributes, layers=single, shuffles=5, progress=progress, **settings
            )
        )
        sparse = _found_or_reason(
            lambda: train_sparse_observer(state, attributes, attributes.names[0], chosen[-1], **settings)
        )
        text = summary_text(observers, found, sparse)
        fill_folder(observers, folder)
        score_figure(observers).savefig(folder / "scores.png")
        for number, name in enumerate(attributes.names[:9]):
            weight_figure(observers, name).savefig(folder / f"weights_{number}.png")
        told: dict[str, Any] = {}
        if isinstance(found, str):
            told["denoting"] = found
        else:
            told["denoting"] = found.settings
            found.table.to_parquet(folder / "denoting.parquet", index=False)
            found.preferred().to_parquet(folder / "preferred.parquet", index=False)
            found.by_layer().to_parquet(folder / "by_layer.parquet", index=False)
            denoting_figure(found).savefig(folder / "denoting.png")
        if isinstance(sparse, str):
            told["sparse"] = sparse
        else:
            told.update(sparse=sparse.settings, fewest=sparse.fewest)
            sparse.curve.to_parquet(folder / "sparse.parquet", index=False)
            sparse_figure(sparse).savefig(folder / "sparse.png")
        (folder / "units.json").write_text(json.dumps(records(told), indent=1), encoding="utf-8")
        (folder / "summary.txt").write_text(text + "\n", encoding="utf-8")
    return text


def _found_or_reason(find: Callable[[], T]) -> T | str:
    """Return what is found, or why nothing can be."""
    try:
        return find()
    except LisError as error:
        return str(error)


def summary_text(observers: Observers, found: DenotingUnits | str, sparse: SparseObserver | str) -> str:
    """Say in lines what observers see, which units denote, how few suffice, and whether depth matters.

    A text in the place of units or of a sparse observer says why there are none.

    Examples
    --------
    >>> print(summary_text(observers, found, sparse))
    """
    from .depth import depth_dependence

    lines = ["Held-out scores of the best layer, 95 % intervals over images:", str(observers), ""]
    few = "No fewest units: " if isinstance(sparse, str) else ""
    if isinstance(found, str):
        return "\n".join([*lines, f"No denoting units: {found}", "", f"{few}{sparse}"])
    lines.append(str(found))
    best = found.best(1)
    for row in best[best["denotes"]].head(12).to_dict("records"):
        lines.append(
            f"  {row['attribute']} {cut(row['value'])}: unit {row['unit']} of {row['layer']} ({row['direction']}), "
            f"precision {row['precision']:.2f}, recall {row['recall']:.2f}, F1 {row['f1']:.2f} (shuffled labels "
            f"{row['chance']:.2f})"
        )
    repeated = found.settings.get("repeated", [])
    if found.table["layer"].nunique() - len(repeated) >= 3:
        lines += ["", str(depth_dependence(found, permutations=1000))]
    return "\n".join([*lines, "", f"{few}{sparse}"])


def _asked(text: str) -> list[str]:
    """Return the kinds of attributes, or the one file, that --attributes names."""
    if Path(text).suffix.lower() in TABLES:
        return [text]
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in KINDS:
            raise LisError(
                f"--attributes has {name!r}; {', '.join(KINDS)}, or a file ending in .csv or .parquet were expected."
                f"{spelling_hint(name, KINDS)}"
            )
    if not asked:
        raise LisError(f"--attributes is empty; {', '.join(KINDS)}, or a table's file were expected.")
    return list(dict.fromkeys(asked))


def _photographs(source: str, classifier: Classifier, labelled: bool) -> Photographs | Tensor:
    """Return photographs, or the images alone [N, C, H, W] of a folder whose classes nobody asks for."""
    from ..datasets import FASHION_CLASSES, load_fashion
    from ..own_images import open_images
    from ..own_images.decoding import to_channels
    from ..own_images.extraction import fit_size
    from ..own_images.photographs import load_photographs

    if source in SPLITS and not Path(source).is_dir():
        if classifier.channels != 1 or classifier.size != (32, 32) or classifier.classes != FASHION_CLASSES:
            raise LisError(
                f"Fashion-MNIST's photographs are not of the kind that {classifier.name!r} takes; give a folder of "
                "images."
            )
        return load_fashion(source)
    if labelled:
        return load_photographs(source, classifier)
    images, size = open_images(source), classifier.size or classifier.input_size
    # None is left out: a table's rows are those of the files.
    each = (to_channels(images.read(i), classifier.channels)[None] for i in range(len(images)))
    return torch.cat([fit_size(x, size).clamp(0, 1) for x in each])


def _attributes(options: argparse.Namespace, photographs: Photographs | Tensor) -> Attributes:
    from .attributes import class_attributes, join_attributes, read_attributes, superclass_attributes
    from .measured import image_statistics

    asked = _asked(options.attributes)
    if Path(asked[0]).suffix.lower() in TABLES:
        return read_attributes(asked[0], len(photographs), options.missing)
    if isinstance(photographs, Tensor):
        return image_statistics(photographs)
    labels, classes = photographs.labels, photographs.classes
    if len(np.unique(labels.cpu().numpy())) < 2 and set(asked) & {"class", "superclass"}:
        raise LisError(
            "the images are of one class: there is no class to tell; use --attributes statistics or a table."
        )
    makers = {
        "class": lambda: class_attributes(labels, classes),
        "superclass": lambda: superclass_attributes(labels, classes),
        "statistics": lambda: image_statistics(photographs.images),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return join_attributes(*(makers[name]() for name in asked))
