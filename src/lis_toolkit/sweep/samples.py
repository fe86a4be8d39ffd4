"""The samples of a sweep: activations to start from, of fresh generated pictures or given by the user."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import CheckpointError, LisError
from ..files import load_tensors, save_tensors, sha256_tensors
from ..names import class_index
from ..pairs import collect_pairs
from ..stylegan import Generator

__all__ = ["Samples", "as_list", "belong", "collect_samples", "directions_hash", "given_samples"]

FORMAT = "lis-sweep-samples-1"
FRESH = (
    2**40
)  # added to the seed: the pictures are others than those that collect_pairs draws with the same one


@dataclass(frozen=True, eq=False)
class Samples:
    """N activations to start from.

    Attributes
    ----------
    r : Tensor
        float32 [N, R].
    labels : Tensor
        int64 [N], index into `classes`.
    classes : tuple of str
        Names of the classes that occur, in the order in which they were asked for.
    z : Tensor or None
        float32 [N, Z], what the pictures were made from; None for activations that were given.
    counts : dict
        Of generated samples: class -> (kept, tried).
    """

    r: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    z: Tensor | None
    counts: dict[str, tuple[int, int]]

    def __len__(self) -> int:
        """Return the number of samples N."""
        return len(self.r)

    @property
    def sha256(self) -> str:
        """Of activations and labels."""
        return sha256_tensors({"r": self.r, "labels": self.labels})

    def save(self, path: str | os.PathLike[str], settings: dict[str, Any], directions: Tensor | None) -> None:
        """Write them, and the directions of the sweep, as safetensors; `settings` are what they were made with."""
        tensors = {"r": self.r, "labels": self.labels}
        tensors |= {} if self.z is None else {"z": self.z}
        tensors |= {} if directions is None else {"directions": directions}
        counts = {name: list(count) for name, count in self.counts.items()}
        save_tensors(
            path,
            tensors,
            {"format": FORMAT, "classes": list(self.classes), "counts": counts, "settings": settings},
        )

    @classmethod
    def load(cls, path: Path) -> tuple[Samples, dict[str, Any], Tensor | None]:
        """Read what `save` wrote: samples, settings and directions; a CheckpointError for anything else."""
        tensors, told = load_tensors(path)
        if told.get("format") != FORMAT:
            raise CheckpointError(f"{path} holds no samples of a sweep (format {told.get('format')!r}).")
        try:
            counts = {name: (kept, tried) for name, (kept, tried) in told["counts"].items()}
            samples = cls(tensors["r"], tensors["labels"], tuple(told["classes"]), tensors.get("z"), counts)
            return samples, told["settings"], tensors.get("directions")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged ({error!r}).") from error


def directions_hash(directions: Tensor | None) -> str | None:
    """Return what a folder remembers of directions."""
    return None if directions is None else sha256_tensors({"directions": directions})


def belong(samples: Samples, directions: Tensor | None, manifest: dict[str, Any]) -> bool:
    """Whether samples and directions that were read are those of a manifest."""
    told = manifest["samples"]
    return (
        samples.sha256 == told.get("sha256")
        and list(samples.classes) == told.get("classes")
        and directions_hash(directions) == manifest["settings"].get("directions")
    )


def as_list(items: Any) -> list[Any]:
    """Return one item or several, in a list, tensor or array, as a list.

    Examples
    --------
    >>> as_list(3), as_list(torch.tensor([3, 4])), as_list("unit 3")
    ([3], [3, 4], ['unit 3'])
    """
    items = items.tolist() if hasattr(items, "tolist") else items
    return [items] if isinstance(items, str) or not isinstance(items, Iterable) else list(items)


def given_samples(r: Any, classes: Any, classifier: Classifier, num_units: int) -> Samples:
    """Check activations [N, R] given by the user, with a class for each: names, indices, or None.

    None takes the classifier's answers (for an encoder "any").

    Raises
    ------
    LisError
        For another shape, values that are not finite, another number of classes, or an index that does not exist.
    """
    if not isinstance(r, Tensor) or not r.is_floating_point():
        given = r.dtype if isinstance(r, Tensor) else f"of type {type(r).__name__}"
        raise LisError(f"r is {given}; a floating tensor [N, {num_units}] of activations was expected.")
    r = r[None] if r.ndim == 1 else r
    if r.ndim != 2 or len(r) == 0 or r.shape[1] != num_units:
        raise LisError(f"r has shape {list(r.shape)}; [N, {num_units}] with at least one row was expected.")
    r = r.detach().float().cpu().contiguous()
    if not bool(torch.isfinite(r).all()):
        raise LisError("r has NaN or infinite values; finite activations were expected.")
    if classes is None and classifier.has_head:
        with torch.no_grad():
            answers = classifier.head(r.to(classifier.device, classifier.dtype)).argmax(1).tolist()
        names = [classifier.classes[k] for k in answers]
    elif classes is None:
        names = ["any"] * len(r)
    else:
        listed = as_list(classes)
        if len(listed) != len(r):
            raise LisError(
                f"there are {len(listed)} classes for {len(r)} rows of r; one for each was expected."
            )
        # Photographs may have labels of their own, so any name will do; an index counts the classifier's classes.
        names = [
            c
            if isinstance(c, str)
            else classifier.classes[class_index(c, classifier.classes, classifier.name)]
            for c in listed
        ]
    known = tuple(dict.fromkeys(names))
    return Samples(r, torch.tensor([known.index(name) for name in names]), known, None, {})


def collect_samples(
    generator: Generator,
    classifier: Classifier,
    *,
    classes: Any,
    per_class: int,
    psi: float,
    seed: int,
    keep: Literal["agreeing", "all"] | None,
    allow_partial: bool,
    progress: bool,
) -> Samples:
    """Draw fresh pictures of every class and keep those that the classifier assigns to it: see `collect_pairs`.

    Raises
    ------
    LisError
        As `collect_pairs`, for a class that the classifier refuses above all.
    """
    pairs = collect_pairs(
        generator,
        classifier,
        classes=classes,
        per_class=per_class,
        psi=psi,
        seed=seed + FRESH,
        keep=keep,
        allow_partial=allow_partial,
        progress=progress,
    )
    if not len(pairs):
        raise LisError(
            "the classifier refuses every picture, so there are no samples; give other classes, another psi, or "
            'activations r of your own. With keep="all" no class is asked of it.'
        )
    places = list(dict.fromkeys(pairs.labels.tolist()))  # in the order of the rows
    labels = torch.tensor([places.index(k) for k in pairs.labels.tolist()])
    counts = {pairs.classes[k]: count for k, count in pairs.counts.items()}
    return Samples(
        pairs.r.contiguous(), labels, tuple(pairs.classes[k] for k in places), pairs.z.contiguous(), counts
    )
