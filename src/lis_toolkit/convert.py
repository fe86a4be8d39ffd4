"""Published checkpoints to files of ours: smaller, faster to open, and nothing in them could be executed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import zoo
from .errors import LisError
from .files import sha256_file
from .stylegan import load_generator, save_generator


def convert_generator(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    classes: Sequence[str] | str | None = None,
    network: str = "G_ema",
    progress: bool = False,
) -> Path:
    """Write a generator of a published pickle as safetensors: weights, architecture, class names and where it is from.

    Parameters
    ----------
    source
        A pickle by the authors of StyleGAN-XL or StyleGAN3, or by their training code, or a name of the zoo. A file of
        ours is written anew, with other class names for instance.
    target
        The file to write, atomically; missing folders are made.
    classes
        Names of the classes, or of a data set ("imagenet", "cifar10"), as in `load_generator`.
    network
        Which network of the pickle.
    progress
        Show a bar when `source` has to be downloaded.

    Returns
    -------
    path
        `target`.

    Raises
    ------
    LisError
        When `target` is `source`, has the ending of a pickle, or can't be written, or the class names are not as many
        as the classes.
    CheckpointError
        When `source` holds no generator; see `load_generator`.

    Examples
    --------
    >>> convert_generator("stylegan_xl.pkl", "stylegan_xl.safetensors", classes="imagenet")
    PosixPath('stylegan_xl.safetensors')
    """
    name: str | Path = source if isinstance(source, str) else Path(source)
    path, result = zoo.locate(source, "generator", progress), Path(target)
    if result.is_dir():
        raise LisError(f"can't write {result}: it is a folder; give the path of a file.")
    if result.exists() and os.path.samefile(path, result):
        raise LisError(f"{result} is the file to be read; give another one to write.")
    if result.suffix.lower() in (".pkl", ".pickle", ".pt", ".pth"):
        raise LisError(f"{result} is to hold safetensors; give it the ending .safetensors.")
    digest = sha256_file(path)
    generator = load_generator(name, classes=classes, network=network, progress=progress)
    note: dict[str, Any] = {"file": path.name, "sha256": digest, "network": network}
    entry = zoo.find(name, "generator") if isinstance(name, str) else None
    if entry is not None:
        note |= {"name": entry.name, "address": entry.url, "licence": entry.licence}
    save_generator(generator, result, source=note)
    return result


def convert_command(source: str, target: str, classes: str | None = None, network: str = "G_ema") -> str:
    """Do `lis convert IN OUT [--classes FILE|imagenet|cifar10] [--network G_ema]` and return what to print.

    `classes` is the name of a data set, or of a text file with one class name a line.

    Raises
    ------
    LisError, CheckpointError
        As `convert_generator`.

    Examples
    --------
    >>> print(convert_command("network-snapshot.pkl", "mine.safetensors", classes="names.txt"))
    """
    names: Sequence[str] | str | None = classes
    if classes is not None and (Path(classes).is_file() or classes not in zoo.CLASS_LISTS):
        names = read_class_names(classes)
    result = convert_generator(source, target, classes=names, network=network, progress=True)
    return f"{result}: {result.stat().st_size / 1e6:.1f} MB, from {source}"


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a text file, one a line; empty lines at the end are left out.

    Raises
    ------
    LisError
        When the file can't be read, is not UTF-8, or has an empty line between names.

    Examples
    --------
    >>> read_class_names("names.txt")
    ('cat', 'dog')
    """
    try:
        lines = Path(path).read_text("utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        known = " or ".join(zoo.CLASS_LISTS)
        raise LisError(
            f"can't read class names from {path}: {error}. Give a text file with one class name a line, or {known}."
        ) from error
    names = tuple(line.strip() for line in lines)
    if not names or "" in names:
        raise LisError(
            f"{path} has {names.count('') or 'nothing but'} empty lines; one class name a line was expected."
        )
    return names
