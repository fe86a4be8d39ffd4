"""Reading and writing generators: safetensors weights with the configuration as JSON beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lis_toolkit import zoo
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import load_tensors, provenance, save_tensors
from lis_toolkit.stylegan.generator import Generator
from lis_toolkit.stylegan.geometry import Architecture, GeneratorConfig

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


def load_generator(name_or_path: str | Path, device: torch.device | str | None = None) -> Generator:
    """Load a generator by its registered name, or from a file of ours, ready to render (evaluation mode).

    Raises
    ------
    LisError : the name or the device is not known.
    CheckpointError : the file is not a generator of ours, or its weights do not fit its configuration.

    Examples
    --------
    >>> generator = load_generator("fashion")
    """
    path = zoo.locate(name_or_path, "generator")
    if path.suffix.lower() in (".pkl", ".pickle", ".pt", ".pth"):
        raise CheckpointError(
            f"{path} is a pickle, the format of published checkpoints; this version reads safetensors files written by "
            "save_generator only, because a pickle can execute code when it is opened the usual way."
        )
    state, notes = load_tensors(path)
    if notes.get("format") not in (FORMAT, FORMAT_1):
        raise CheckpointError(
            f"{path} holds {notes.get('format', 'no format note')!r}, expected {FORMAT!r}: "
            "is it a generator written by save_generator?"
        )
    classes = notes.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise CheckpointError(f"{path} has {classes!r} as class names, expected a list of texts")
    try:
        described: Architecture | GeneratorConfig
        if notes["format"] == FORMAT:
            described = Architecture.from_dict(notes.get("architecture"))
        else:
            described = GeneratorConfig.from_dict(notes.get("config"))
        generator = Generator(described, classes or None, str(name_or_path))
    except (LisError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} does not describe a generator that can be built: {error}") from error
    expected = generator.state_dict()
    for name, value in expected.items():
        if name not in state or state[name].shape != value.shape:
            has = list(state[name].shape) if name in state else "nothing"
            raise CheckpointError(f"{path}: {name} has {has}, expected {list(value.shape)}")
        if not state[name].is_floating_point() or not torch.isfinite(state[name]).all():
            raise CheckpointError(f"{path}: {name} holds values that are no finite floating-point numbers")
    surplus = sorted(set(state) - set(expected))
    if surplus:
        raise CheckpointError(
            f"{path} holds weights that its configuration has no place for: {', '.join(surplus[:5])}"
        )
    generator.load_state_dict({name: value.float() for name, value in state.items()})
    generator.eval().requires_grad_(False)
    try:
        return generator.to(device or "cpu")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LisError(f"no device {str(device)!r} here: {error}") from error
