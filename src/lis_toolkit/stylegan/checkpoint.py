"""Reading and writing generators: safetensors weights with the architecture as JSON beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lis_toolkit import zoo
from lis_toolkit.devices import place
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import load_tensors, provenance, save_tensors
from lis_toolkit.stylegan.file_kinds import file_kind
from lis_toolkit.stylegan.generator import Generator
from lis_toolkit.stylegan.geometry import Architecture, GeneratorConfig
from lis_toolkit.stylegan.published import read_published
from lis_toolkit.stylegan.torch_storage import all_finite

FORMAT = "lis_toolkit generator 2"  # with "architecture", the explicit list of layers
FORMAT_1 = "lis_toolkit generator 1"  # with "config", the settings that the layers follow from


def save_generator(
    generator: Generator, path: str | Path, *, dtype: torch.dtype = torch.float32, **metadata: Any
) -> None:
    """Write a generator to a safetensors file, atomically.

    Parameters
    ----------
    dtype : of the stored weights; float16 halves the file, and the weights become float32 again on loading. Buffers
        (filters, mean latents, frequencies) are always stored in float32.
    metadata : JSON-ready notes that travel with the weights (training, quality).

    Raises
    ------
    LisError : the file can't be written.

    Examples
    --------
    >>> save_generator(generator, "generator.safetensors", training={"images": 1_000_000})
    """
    parameters = {name for name, _ in generator.named_parameters()}
    state = {
        name: value.detach().to(dtype if name in parameters else torch.float32).cpu().contiguous()
        for name, value in generator.state_dict().items()
    }
    notes = {
        "format": FORMAT,
        "architecture": generator.architecture.to_dict(),
        "classes": list(generator.classes),
        "provenance": provenance(),
        **metadata,
    }
    save_tensors(path, state, notes)


def load_generator(
    name_or_path: str | Path,
    device: torch.device | str | None = None,
    *,
    classes: Sequence[str] | str | None = None,
    network: str = "G_ema",
    precision: str = "float32",
    progress: bool = True,
) -> Generator:
    """Load a generator by its registered name or from a file, ready to render (evaluation mode).

    A file is one of ours, or a pickle by the authors of StyleGAN-XL or StyleGAN3, told apart by content. Nothing in it
    is executed. `convert_generator` turns a pickle into a file of ours, which loads faster.

    Parameters
    ----------
    classes : names of the classes, or the name of a data set ("imagenet", "cifar10"). Without it they are those of the
        registered model or of the file, or "class 0" and so on.
    network : which network of a pickle: "G_ema", the averaged one that is published, or "G".
    precision : of the feature maps when it renders, "float32", "bfloat16" or "float16"; can be set later, too.
    progress : show a bar when the model is downloaded.

    Raises
    ------
    LisError : the name, the device or the precision is not known, or there are more or fewer classes than names.
    CheckpointError : the file is damaged, holds something else, or its weights do not fit what it describes.

    Examples
    --------
    >>> generator = load_generator("fashion")
    >>> generator = load_generator("network-snapshot.pkl", classes="imagenet")
    """
    path = zoo.locate(name_or_path, "generator", progress)
    described: Architecture | GeneratorConfig
    if file_kind(path) == "safetensors":
        described, state, stored = _read_ours(path)
    else:
        described, state = read_published(path, network)
        entry = zoo.find(name_or_path, "generator") if isinstance(name_or_path, str) else None
        stored = list(zoo.class_names(entry.classes)) if entry is not None and entry.classes else []
    names = zoo.class_names(classes) if isinstance(classes, str) else classes
    if names is None and stored and len(stored) != described.c_dim:
        raise CheckpointError(f"{path} has {len(stored)} class names for {described.c_dim} classes")
    generator = _assemble(described, state, names or stored or None, str(name_or_path))
    generator.precision = precision
    return place(generator, device)


def _assemble(
    described: Architecture | GeneratorConfig,
    state: dict[str, Tensor],
    classes: Sequence[str] | None,
    name: str,
) -> Generator:
    """Build a generator around float32 tensors, which stay where they are: in a file's mapping, for instance."""
    with torch.device("meta"):  # no memory, and no random numbers that would be thrown away
        generator = Generator(described, classes, name)
    generator.load_state_dict(state, assign=True)
    return generator.eval().requires_grad_(False)


def _read_ours(path: Path) -> tuple[Architecture | GeneratorConfig, dict[str, Tensor], list[str]]:
    """Read what `save_generator` wrote: architecture, float32 weights, class names."""
    state, notes = load_tensors(path)
    if notes.get("format") not in (FORMAT, FORMAT_1):
        raise CheckpointError(
            f"{path} holds {notes.get('format', 'no format note')!r}, expected {FORMAT!r}: "
            "is it a generator written by save_generator?"
        )
    classes = notes.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise CheckpointError(f"{path} has {classes!r:.200} as class names, expected a list of texts")
    described: Architecture | GeneratorConfig
    try:
        if notes["format"] == FORMAT:
            described = Architecture.from_dict(notes.get("architecture"))
        else:
            described = GeneratorConfig.from_dict(notes.get("config"))
        with torch.device("meta"):  # names and shapes only
            expected = Generator(described).state_dict()
    except (LisError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} does not describe a generator that can be built: {error}") from error
    for name, value in expected.items():
        if name not in state or state[name].shape != value.shape:
            has = list(state[name].shape) if name in state else "nothing"
            raise CheckpointError(f"{path}: {name} has {has}, expected {list(value.shape)}")
        if not state[name].is_floating_point() or not all_finite(state[name]):
            raise CheckpointError(f"{path}: {name} holds values that are no finite floating-point numbers")
    surplus = sorted(set(state) - set(expected))
    if surplus:
        raise CheckpointError(
            f"{path} holds weights that its architecture has no place for: {', '.join(surplus[:5])}"
        )
    return described, {name: value.float() for name, value in state.items()}, classes
