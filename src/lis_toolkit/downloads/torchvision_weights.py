"""torchvision's published classification weights: names, addresses, sizes and hashes, read from its own registry.

Nothing is listed here by hand, so a newer torchvision brings its models along. It is imported when it is asked, because
that takes seconds.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from ..errors import LisError
from ..names import spelling_hint

# "resnet50" or "resnet50.IMAGENET1K_V1"; anything else needs no import to be told from a name of torchvision's.
_NAME = re.compile(r"([a-z][a-z0-9_]*)(?:\.([A-Z][A-Z0-9_]*))?")
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


@dataclass(frozen=True)
class PublishedWeights:
    """One file of weights.

    Attributes
    ----------
    name : str
        "resnet50" for the default weights of an architecture, "resnet50.IMAGENET1K_V1" for others.
    architecture, weights : str
        What `torchvision.models.get_model(architecture, weights=weights)` takes.
    url, file : str
    about : int or None
        Bytes; torchvision rounds them to 0.001 MiB.
    sha256 : str or None
        The first digits, from the file's name.
    licence, description : str
    """

    name: str
    architecture: str
    weights: str
    url: str
    file: str
    about: int | None
    sha256: str | None
    licence: str
    description: str


def all_weights() -> tuple[PublishedWeights, ...]:
    """Return all weights of image classifiers, by architecture, the default ones of each first.

    Raises
    ------
    LisError
        When torchvision can't be imported, e.g. because it was built for another torch.
    """
    return tuple(one for members in _registry().values() for one in members.values())


def find_weights(name: str) -> PublishedWeights | None:
    """Return the weights that a name stands for, None when it is no name of torchvision's.

    Raises
    ------
    LisError
        For an architecture that has no such weights.

    Examples
    --------
    >>> find_weights("resnet50").weights
    'IMAGENET1K_V2'
    """
    parts = _NAME.fullmatch(name)
    members = _registry().get(parts[1]) if parts else None
    if parts is None or members is None:
        return None
    chosen = parts[2]
    if chosen in (None, "DEFAULT"):
        return next(iter(members.values()))
    if chosen not in members:
        raise LisError(
            f"{parts[1]} has no weights {chosen!r} that classify; it has {', '.join(members)}."
            f"{spelling_hint(chosen, members)}"
        )
    return members[chosen]


def imagenet_categories() -> tuple[str, ...]:
    """Return torchvision's names of the 1000 ImageNet classes, in the order of the logits."""
    return tuple(_models().get_model_weights("resnet50").DEFAULT.meta["categories"])


def _models() -> Any:
    try:
        from torchvision import models
    except (
        ImportError,
        RuntimeError,
    ) as error:  # RuntimeError: a torchvision that was built for another torch
        raise LisError(
            f"torchvision can't be imported: {error}. Install the version that belongs to this torch."
        ) from error
    return models


@functools.cache
def _registry() -> dict[str, dict[str, PublishedWeights]]:
    models = _models()
    registry: dict[str, dict[str, PublishedWeights]] = {}
    for architecture in models.list_models(module=models):
        weights = models.get_model_weights(architecture)
        # vgg16's "FEATURES" have no categories: its linear layers are not in the file.
        members = [member for member in weights if member.meta.get("categories")]
        members.sort(key=lambda member: member is not weights.DEFAULT)
        registry[architecture] = {m.name: _describe(architecture, m, m is members[0]) for m in members}
    return registry


def _describe(architecture: str, member: Any, default: bool) -> PublishedWeights:
    meta, file = member.meta, member.url.rsplit("/", 1)[-1]
    digits = _HASH.search(file)
    mebibytes = meta.get("_file_size")
    accuracy = meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    told = [f"{len(meta['categories'])} ImageNet classes"]
    told += [f"{meta['num_params'] / 1e6:.1f} M parameters"] if "num_params" in meta else []
    told += [f"top-1 {accuracy:.1f} %"] if accuracy else []
    return PublishedWeights(
        name=architecture if default else f"{architecture}.{member.name}",
        architecture=architecture,
        weights=member.name,
        url=member.url,
        file=file,
        about=round(mebibytes * 2**20) if mebibytes else None,
        sha256=digits[1] if digits else None,
        licence=f"see {meta['license']}" if meta.get("license") else "not stated by torchvision",
        description=f"torchvision {architecture} ({member.name}), {', '.join(told)}",
    )
