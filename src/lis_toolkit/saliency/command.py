"""What `lis explain` does: one picture, explained layer by layer, as a figure and a table."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LisError
from ..files import atomic_path, provenance
from ..names import cut, whole_number
from .clustering import METHODS

if TYPE_CHECKING:
    from torch import Tensor

    from ..classifiers import Classifier
    from .explanation import Explanation

__all__ = ["add_arguments", "explanation_text", "picture_for", "run"]

SAMPLE = "sample:"  # what photographs inside the package are called


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis explain` to its parser.

    Examples
    --------
    >>> add_arguments(commands.add_parser("explain"))
    """
    parser.add_argument(
        "image", metavar="IMAGE", help="picture file, or sample:17 for a photograph inside the package"
    )
    parser.add_argument("--classifier", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument(
        "--class",
        dest="target",
        metavar="CLASS",
        help="name or number of the class to explain (default: what the classifier sees)",
    )
    parser.add_argument("--unit", metavar="N", help="explain this penultimate unit instead of a class")
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="names of layers (default: the last nine convolutions)"
    )
    parser.add_argument(
        "--method", choices=METHODS, default="tsne", help="way of clustering; pca is quicker (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of t-SNE (%(default)s)")
    parser.add_argument(
        "--out", default="explanation.png", metavar="FILE", help="figure to write, a .png file (%(default)s)"
    )
    parser.add_argument(
        "--save", metavar="DIR", help="write weights, clusters and maps into this folder, too"
    )
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out `lis explain`: print what each layer shows, write the figure and the folder that was asked for.

    Raises
    ------
    LisError : a picture that can't be read, unknown classes, units and layers, files that can't be written.

    Examples
    --------
    >>> run(parser.parse_args(["sample:17", "--out", "explanation.png"]))
    """
    from ..classifiers import load_classifier
    from .explain import explain_images
    from .explanation_files import check_folder, save_explanations
    from .figures import explanation_figure

    if Path(options.out).suffix.lower() != ".png":
        raise LisError(f"--out is {options.out!r}; a file ending in .png was expected.")
    whole_number(options.seed, "--seed", 0)
    if options.save is not None:
        check_folder(options.save)
    with atomic_path(options.out) as temporary:
        temporary.touch()  # a folder that can't be written is better known before the work
        classifier = load_classifier(options.classifier, device=options.device)
        x, note = picture_for(options.image, classifier)
        explanation = explain_images(
            classifier,
            x[None],
            _named(options.target),
            options.layers,
            unit=options.unit,
            method=options.method,
            seed=options.seed,
        )[0]
        print(explanation_text(explanation, note))
        explanation_figure(explanation).savefig(temporary, metadata=_described(explanation, options.image))
        if options.save is not None:  # both files or none
            save_explanations([explanation], options.save)
    print(f"figure written to {options.out}")
    if options.save is not None:
        print(f"explanation written to {options.save}")


def _described(explanation: Explanation, image: str) -> dict[str, str]:
    """Return what a PNG's own text fields say of the figure in it: what was explained, models, settings, versions."""
    told = {"image": image, "explained": explanation.title, **explanation.settings, **provenance()}
    return {"Description": json.dumps(told, ensure_ascii=False), "Software": "lis_toolkit"}


def _named(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def picture_for(item: str, classifier: Classifier) -> tuple[Tensor, str]:
    """Return the picture [C, H, W] that a classifier sees of a file or of "sample:17", and what was done to it.

    Files are turned to the classifier's channels (grey by luminance), resized until the shorter side fits, and the
    centre is cut out. Classifiers that resize by themselves get files as they are.

    Raises
    ------
    LisError : a file that can't be read, a photograph that there is not, one that the classifier does not take.

    Examples
    --------
    >>> x, note = picture_for("sample:17", classifier)
    """
    from ..datasets import load_fashion
    from ..own_images.decoding import UnreadableImage, read_picture, to_channels
    from ..own_images.extraction import fit_size

    if item.startswith(SAMPLE):
        photographs = load_fashion("sample")
        text = item.removeprefix(SAMPLE)
        if not (text.isascii() and text.isdigit()) or int(text) >= len(photographs):
            raise LisError(
                f"there is no photograph {item!r}; there are sample:0 to sample:{len(photographs) - 1}."
            )
        x = photographs.images[int(text)]
        note = f"a photograph of class {photographs.classes[int(photographs.labels[int(text)])]!r}"
    else:
        try:
            x, note = read_picture(Path(item).expanduser())
        except UnreadableImage as error:
            hint = (
                "" if Path(item).exists() else f' Photographs inside the package are "{SAMPLE}0" and so on.'
            )
            raise LisError(f"can't read {item}: {error.reason}.{hint}") from error
    notes = [note] if note else []
    if x.shape[0] == 3 and classifier.channels == 1:
        notes.append("turned to grey")
    x = to_channels(x, classifier.channels)
    if classifier.size is not None and tuple(x.shape[1:]) != tuple(classifier.size):
        notes.append(
            f"brought from {x.shape[1]} x {x.shape[2]} to {classifier.size[0]} x {classifier.size[1]} pixels"
        )
        x = fit_size(x[None], classifier.size)[0]
    return x.clamp(0, 1), "; ".join(notes)


def explanation_text(explanation: Explanation, note: str = "") -> str:
    """Return what an explanation says as text: what is explained, and a line for each layer.

    Examples
    --------
    >>> print(explanation_text(explanation))
    """
    lines = [f"{explanation.title}" + (f"; the picture: {note}" if note else "")]
    seen = explanation.predicted
    if seen is not None and explanation.target is not None and seen != explanation.target:
        lines.append(f"The classifier sees {explanation.classes[seen]}, not {explanation.name}.")
    header = ("layer", "maps", "kept", "clusters", "shown", "of weight", "silhouette", "heaviest clusters")
    rows = [header]
    for part in explanation.layers:
        score = "-" if math.isnan(part.silhouette) else f"{part.silhouette:.2f}"
        heaviest = ", ".join(f"{c.weight:.0%}" for c in part.clusters) or "nothing speaks for it here"
        rows.append(
            (cut(part.layer.title, 40), str(len(part.weights)), str(len(part.kept)), str(part.k),
             str(len(part.clusters)), f"{part.accounted:.0%}", score, heaviest)
        )  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
    left = {0, len(header) - 1}  # texts
    lines += [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *explanation.notes])
