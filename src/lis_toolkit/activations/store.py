"""Activations of many images, in memory or in a folder.

00_body.1.npy ...   float32 [N, C, h, w], [N, C] or [N, R]: a file for each layer
manifest.json       format, classifier, images, layers, pooling, files with their sha256, versions
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..files import sha256_file
from ..names import spelling_hint
from .layers import Layer

FORMAT = "lis-activations-1"
MANIFEST = "manifest.json"
AGAIN = "Remove it and call extract_activations again."


@dataclass(frozen=True, repr=False, eq=False)
class Activations:
    """What layers of a classifier give for N images.

    `activations["body.3"]` or `activations[layer]` is float32 [N, C, h, w], or [N, C] where the positions were pooled,
    [N, R] for "penultimate" and "logits". Read from a folder, the tensors are mapped from files: what is not looked at
    is not read, and writing into them does not reach the files.

    Attributes
    ----------
    layers : tuple of Layer
    pool : str or None
        "mean" or "max" over the positions, or None.
    folder : Path or None
        Where the files are.
    manifest : dict
        Classifier (name, hash), images (number, hash), settings, versions.
    """

    layers: tuple[Layer, ...]
    values: Mapping[str, Tensor]
    pool: str | None
    folder: Path | None
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values[self.layers[0].name])

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the layers."""
        return iter(self.values)

    def __repr__(self) -> str:
        pooled = "" if self.pool is None else f", {self.pool} over positions"
        return f"Activations({len(self)} images, {len(self.layers)} layers{pooled})"

    def __getitem__(self, layer: str | Layer) -> Tensor:
        """Return the activations of a layer, given by name or as `Layer`."""
        name = layer.name if isinstance(layer, Layer) else layer
        if name not in self.values:
            hint = spelling_hint(str(name), self.values)
            raise LisError(
                f"there is no layer {name!r}; there are {', '.join(map(repr, self.values))}.{hint}"
            )
        return self.values[name]

    @classmethod
    def load(cls, folder: str | os.PathLike[str], verify: bool = True) -> Activations:
        """Open a folder of `extract_activations(..., out=folder)`; its arrays are mapped, not read.

        Parameters
        ----------
        verify
            Compare the hash of every file, which reads all of them once.

        Raises
        ------
        CheckpointError
            When there is no such folder, it is none of activations, or a file in it is missing or damaged.

        Examples
        --------
        >>> Activations.load("activations")["body.3"][:8].shape
        """
        place = Path(folder).expanduser()
        manifest = read_manifest(place)
        try:
            layers = tuple(_layer(item) for item in manifest["layers"])
            files = {str(name): dict(file) for name, file in manifest["files"].items()}
            ordered = {layer.name: files[layer.name] for layer in layers}
            values = {name: _open(place, file, verify) for name, file in ordered.items()}
            pool = manifest["pool"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{place / MANIFEST} is damaged ({error!r}). {AGAIN}") from error
        if not layers:
            raise CheckpointError(f"{place / MANIFEST} names no layers: it is damaged. {AGAIN}")
        return cls(layers, values, pool, place, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of activations; a CheckpointError where it has none of ours."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no {path}: activations are put into a folder by extract_activations(..., out=FOLDER)."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"can't read {path}: {error}. {AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise CheckpointError(f"{path} is not of activations (format {found!r}, expected {FORMAT!r}).")
    return manifest


def _layer(item: Mapping[str, Any]) -> Layer:
    shape = tuple(int(n) for n in item["shape"])
    return Layer(str(item["name"]), str(item["title"]), str(item["kind"]), shape, float(item["depth"]))


def _open(folder: Path, file: Mapping[str, Any], verify: bool) -> Tensor:
    """Map one file, so that writing into the tensor changes the memory and not the file."""
    path = folder / Path(str(file["file"])).name
    shape = [int(n) for n in file["shape"]]
    try:
        values = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}. {AGAIN}") from error
    if list(values.shape) != shape or values.dtype != np.float32:
        raise CheckpointError(
            f"{path} has {values.dtype} {list(values.shape)}, the manifest says float32 {shape}. {AGAIN}"
        )
    if verify and sha256_file(path) != file["sha256"]:
        raise CheckpointError(f"{path} has other bytes than when it was written: it is damaged. {AGAIN}")
    return torch.from_numpy(values)
