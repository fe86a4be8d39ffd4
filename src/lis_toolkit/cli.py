"""The command `lis`. One clear message and exit code 2 for what a user can put right."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from .counterfactuals.command import add_arguments as add_counterfactual_arguments
from .errors import LisError
from .observers.command import add_arguments as add_observe_arguments
from .rankings.command import add_arguments as add_rank_arguments
from .saliency.command import add_arguments as add_explain_arguments
from .sweep.command import add_arguments as add_sweep_arguments
from .sweep.command import run_sweep_command
from .topology.command import add_arguments as add_topology_arguments
from .tutorials import add_arguments as add_lab_arguments

__all__ = ["main"]

# What an interrupted command leaves, where that is not nothing.
KEPT = {
    "download": "what has arrived is kept where the server allows to go on with it; give the command again.",
    "sweep": "what was finished is kept; give the command again to go on with it.",
    "counterfactual": "what was said to be written is there, and whole; nothing else is.",
    "lab": "the notebooks that were copied are whole.",
}
METHODS = ("ridge", "ols", "elastic_net", "reduced_rank")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 wrong input, 130 interrupted.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: those of the process.

    Returns
    -------
    int

    Examples
    --------
    >>> main(["models"])
    0
    """
    options = build_parser().parse_args(argv)
    try:
        with _termination_as_interrupt():
            options.run(options)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except LisError as error:
        print(f"lis {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        kept = str(stop) or KEPT.get(options.command, "nothing was written.")
        print(f"\nlis {options.command}: interrupted; {kept}", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, which else leaves temporary files behind, end a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run`, the function that carries it out."""
    parser = argparse.ArgumentParser(
        prog="lis", description="Link a classifier's units to a StyleGAN-XL and see what they stand for."
    )
    parser.add_argument("--version", action="version", version=f"lis-toolkit {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="run everything on the bundled models and write a report")
    demo.add_argument(
        "--out", required=True, metavar="DIR", help="folder for report.html, metrics.json and sheets"
    )
    _add_models(demo)
    demo.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="pairs of each class (%(default)s)"
    )
    demo.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    demo.set_defaults(run=run_demo_command)

    models = commands.add_parser("models", help="list what is bundled or can be downloaded")
    models.add_argument("--all", action="store_true", help="also torchvision's weights, one by one")
    models.set_defaults(run=run_models_command)

    download = commands.add_parser("download", help="get a model of `lis models` now, to work offline later")
    download.add_argument("name", metavar="NAME", help="imagenet256, resnet50, ...")
    download.add_argument("--verify", action="store_true", help="hash a file that is already there once more")
    download.set_defaults(run=run_download_command)

    fit = commands.add_parser("fit", help="collect pairs, fit a link, print its report")
    fit.add_argument("--out", required=True, metavar="FILE", help="link file to write, e.g. link.safetensors")
    _add_models(fit)
    fit.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="names or numbers of classes (default: all)"
    )
    fit.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="pairs of each class (%(default)s)"
    )
    fit.add_argument(
        "--keep",
        choices=("agreeing", "all"),
        default=None,
        help="pairs whose class the classifier sees, too (default), or all",
    )
    fit.add_argument("--psi", type=float, default=0.7, help="truncation of the latents (%(default)s)")
    fit.add_argument("--method", default="ridge", choices=METHODS, help="way of fitting (%(default)s)")
    fit.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    fit.set_defaults(run=run_fit_command)

    convert = commands.add_parser(
        "convert",
        help="rewrite a published StyleGAN-XL or StyleGAN3 pickle as safetensors; nothing in it is run",
    )
    convert.add_argument("source", metavar="IN", help="pickle, or a name of `lis models`")
    convert.add_argument("target", metavar="OUT", help="file to write, e.g. generator.safetensors")
    convert.add_argument(
        "--classes", metavar="NAMES", help="imagenet, cifar10, or a text file with one class name a line"
    )
    convert.add_argument("--network", default="G_ema", help="which network of the pickle (%(default)s)")
    convert.set_defaults(run=run_convert_command)

    features = commands.add_parser(
        "features", help="penultimate activations of your own images, into a folder"
    )
    features.add_argument(
        "images", metavar="IMAGES", help="folder of images (sub-folders are labels), or .npy file"
    )
    features.add_argument(
        "--out", required=True, metavar="DIR", help="folder for r.npy, logits.npy, images.parquet"
    )
    features.add_argument(
        "--classifier", default="fashion", metavar="NAME", help="name or path (%(default)s)"
    )
    features.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images at a time (%(default)s)"
    )
    features.add_argument(
        "--resize", action="store_true", help="bring images to the size that the classifier takes"
    )
    features.add_argument(
        "--overwrite", action="store_true", help="replace features of other images or models"
    )
    features.add_argument("--device", default=None, help="torch device (default: cpu)")
    features.set_defaults(run=run_features_command)

    sweep = commands.add_parser(
        "sweep", help="set every unit in many pictures, measure what changes, into a folder of tables"
    )
    add_sweep_arguments(sweep)
    sweep.set_defaults(run=run_sweep_command)

    rank = commands.add_parser("rank", help="which units of a sweep change a part most")
    add_rank_arguments(rank)

    counterfactual = commands.add_parser(
        "counterfactual", help="what has to change for a picture to be of another class"
    )
    add_counterfactual_arguments(counterfactual)

    explain = commands.add_parser(
        "explain", help="what of a picture speaks for its class, layer by layer: clusters of feature maps"
    )
    add_explain_arguments(explain)

    topology = commands.add_parser(
        "topology", help="the shape of each layer's activations, and how far layers are apart"
    )
    add_topology_arguments(topology)

    observe = commands.add_parser(
        "observe", help="what a linear observer can tell from each layer, and which units denote it"
    )
    add_observe_arguments(observe)

    lab = commands.add_parser("lab", help="copy the tutorials to a folder and open them in JupyterLab")
    add_lab_arguments(lab)
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generator", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument("--classifier", default="fashion", metavar="NAME", help="name or path (%(default)s)")
    parser.add_argument("--device", default=None, help="torch device (default: cpu)")


def run_demo_command(options: argparse.Namespace) -> None:
    """Carry out `lis demo`."""
    from .demo import run_demo

    result = run_demo(
        options.out,
        generator=options.generator,
        classifier=options.classifier,
        per_class=options.per_class,
        seed=options.seed,
        device=options.device,
        progress=True,
    )
    print(result.summary())


def run_models_command(options: argparse.Namespace) -> None:
    """Carry out `lis models`."""
    from .models_table import describe_models

    print(describe_models(all=options.all))


def run_download_command(options: argparse.Namespace) -> None:
    """Carry out `lis download`."""
    from .zoo import download

    print(download(options.name, verify=options.verify))


def run_fit_command(options: argparse.Namespace) -> None:
    """Carry out `lis fit`."""
    from . import collect_pairs, fit_link, load_classifier, load_generator, report_link
    from .demo import matching_photographs
    from .files import atomic_path

    with atomic_path(options.out) as probe:
        # A folder that can't be written is better known now than after the work.
        probe.touch()
        generator = load_generator(options.generator, device=options.device)
        classifier = load_classifier(options.classifier, device=options.device)
        classes = options.classes and [int(c) if c.isdigit() else c for c in options.classes]
        pairs = collect_pairs(
            generator,
            classifier,
            classes=classes,
            per_class=options.per_class,
            psi=options.psi,
            keep=options.keep,
            seed=options.seed,
            progress=True,
        )
        train, held_out = pairs.split(0.2, seed=options.seed)
        link = fit_link(train, method=options.method)
        report = report_link(link, generator, classifier, held_out, matching_photographs(classifier))
        link.save(probe)
    print(report)
    print(f"\nlink written to {options.out}")


def run_convert_command(options: argparse.Namespace) -> None:
    """Carry out `lis convert`."""
    from .convert import convert_command

    print(convert_command(options.source, options.target, options.classes, options.network))


def run_features_command(options: argparse.Namespace) -> None:
    """Carry out `lis features`."""
    from .own_images.extraction import features_command

    features_command(
        options.images,
        options.classifier,
        options.out,
        options.batch_size,
        options.resize,
        options.device,
        options.overwrite,
    )


def _version() -> str:
    try:
        return importlib.metadata.version("lis-toolkit")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
