"""Pairs of latent and penultimate activation, the data that a link is fitted to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .classifiers import Classifier
from .errors import CheckpointError, LisError
from .files import load_tensors, provenance, save_tensors
from .names import class_indices, finite_number, whole_number
from .stylegan import Generator

FORMAT = "lis-pairs-1"
SAVE_EVERY = 50  # batches between two writes of a checkpoint
_TENSORS = ("w", "r", "z", "labels")
_NOTES = ("psi", "seed", "generator_hash", "classifier_hash", "provenance")


@dataclass(frozen=True)
class Pairs:
    """Latents, the activations of the pictures they render to, and what is needed to make them again.

    Attributes
    ----------
    w, r, z : float32 [N, W], [N, R], [N, Z]: latent, penultimate activation, and the input that gave the latent.
    labels : int64 [N], the class asked of the generator; with keep="agreeing" also what the classifier answered. Of a
        generator without classes: the classifier's answer, or 0 if it has no classes either.
    classes : names of all classes, which labels count.
    counts : class index -> (kept, tried).
    psi, seed : truncation and seed.
    generator_hash, classifier_hash : the models' identities.
    provenance : versions, date and settings.
    """

    w: Tensor
    r: Tensor
    z: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    counts: dict[int, tuple[int, int]]
    psi: float
    seed: int
    generator_hash: str
    classifier_hash: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.labels)

    @property
    def keep(self) -> str:
        """Which pictures were kept: "agreeing" or "all"."""
        return str(self.provenance.get("keep", "agreeing"))

    @property
    def precision(self) -> str:
        """Precision of the generator's feature maps when the pictures were rendered."""
        return str(self.provenance.get("precision", "float32"))

    def subset(self, indices: Tensor) -> Pairs:
        """Return the pairs at integer indices [M]; `counts` keep telling of the whole collection."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: values[name][indices] for name in _TENSORS}
        return Pairs(**values)

    def split(self, held_out: float = 0.2, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Split into pairs to fit and pairs to test, class by class.

        A class with a single pair is an error, except with keep="all": there it goes to the fit.

        Parameters
        ----------
        held_out : share of every class that is held out, between 0 and 1.
        seed : of the shuffle.

        Raises
        ------
        LisError : a share outside (0, 1), or a class too small to have both.
        """
        if not 0 < finite_number(held_out, "held_out", " between 0 and 1") < 1:
            raise LisError(f"held_out is {held_out}; a share between 0 and 1 was expected.")
        if not len(self):
            raise LisError("there are no pairs to split; collect some first.")
        generator = torch.Generator().manual_seed(whole_number(seed, "seed", 0, 2**63 - 1))
        fit, test = [], []
        for label in self.labels.unique().tolist():
            rows = (self.labels == label).nonzero()[:, 0]
            if len(rows) < 2 and self.keep == "all":
                fit.append(rows)
                continue
            if len(rows) < 2:
                raise LisError(
                    f"class {self.classes[label]!r} has {len(rows)} pair; 2 are needed to hold one out."
                )
            rows = rows[torch.randperm(len(rows), generator=generator)]
            cut = min(max(round(held_out * len(rows)), 1), len(rows) - 1)
            test.append(rows[:cut])
            fit.append(rows[cut:])
        if not test:
            raise LisError(
                f"there are {len(self)} pairs, one of each class; more are needed to hold some out."
            )
        return self.subset(torch.cat(fit).sort().values), self.subset(torch.cat(test).sort().values)

    def save(self, path: str | Path) -> None:
        """Write the pairs as safetensors, atomically."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        notes = {
            "format": FORMAT,
            "classes": list(self.classes),
            "counts": {str(index): list(count) for index, count in self.counts.items()},
            **{name: getattr(self, name) for name in _NOTES},
        }
        save_tensors(path, tensors, notes)

    @classmethod
    def load(cls, path: str | Path) -> Pairs:
        """Read pairs written by `save`."""
        tensors, notes = load_tensors(path)
        if notes.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} holds no pairs (format {notes.get('format')!r}, expected {FORMAT!r})."
            )
        try:
            values: dict[str, Any] = {name: notes[name] for name in _NOTES} | {
                name: tensors[name] for name in _TENSORS
            }
            values["classes"] = tuple(notes["classes"])
            values["counts"] = {int(index): (kept, tried) for index, (kept, tried) in notes["counts"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is a damaged set of pairs ({error!r}); collect them again."
            ) from error
        if len({len(values[name]) for name in _TENSORS}) != 1:
            shapes = ", ".join(f"{name} {list(values[name].shape)}" for name in _TENSORS)
            raise CheckpointError(f"{path} holds tables of different lengths ({shapes}); collect them again.")
        return cls(**values)


def check_models(generator: Generator, classifier: Classifier, same_classes: bool = True) -> None:
    """Check that the classifier can look at the generator's pictures and, unless told not to, names the same classes.

    Raises
    ------
    LisError : other channels, size, number or names of classes; a model in training mode, whose answers change.
    """
    for kind, model in (("generator", generator), ("classifier", classifier)):
        if getattr(model, "training", False):
            raise LisError(f"{kind} {model.name!r} is in training mode; call its .eval() first.")
    size = (generator.img_resolution, generator.img_resolution)
    if generator.img_channels not in {1, classifier.channels} or classifier.size not in {None, size}:
        wanted = classifier.size or ("any height", "any width")
        raise LisError(
            f"generator {generator.name!r} renders {generator.img_channels} x {size[0]} x {size[1]} pictures, "
            f"classifier {classifier.name!r} takes {classifier.channels} x {wanted[0]} x {wanted[1]}; use models "
            "of one image format, or a classifier with a preprocess that resizes."
        )
    if same_classes and generator.c_dim and generator.classes != classifier.classes:
        if not classifier.has_head:
            raise LisError(f'classifier {classifier.name!r} is an encoder without classes: use keep="all".')
        fix = (
            "if they mean the same, name the generator's by load_generator(..., classes=classifier.classes), or once "
            "for all in a file of its own: lis convert IN OUT --classes NAMES"
            if generator.c_dim == classifier.num_classes
            else 'with keep="all" no class is asked of the classifier'
        )
        raise LisError(
            f"generator {generator.name!r} has {generator.c_dim} classes {', '.join(generator.classes[:4])} ..., "
            f"classifier {classifier.name!r} has {classifier.num_classes}, {', '.join(classifier.classes[:4])} ...; "
            f"both need the same list: {fix}."
        )


class _Collection:
    """What has been kept and tried so far, and every class's own stream of z.

    Of a generator without classes everything is in one stream, that of index 0, whatever the classifier answers.
    """

    def __init__(self, chosen: list[int], z_dim: int, seed: int):
        self.kept: dict[int, list[tuple[Tensor, Tensor, Tensor, int]]] = {index: [] for index in chosen}
        self.tried = dict.fromkeys(chosen, 0)
        self.streams = {index: np.random.default_rng([seed, index]) for index in chosen}
        self.z_dim = z_dim

    def draw(self, index: int, n: int) -> Tensor:
        z = self.streams[index].standard_normal((n, self.z_dim), dtype=np.float32)
        return torch.from_numpy(z)

    def restore(self, pairs: Pairs, one_stream: bool) -> None:
        counts = {0: sum(tried for _, tried in pairs.counts.values())} if one_stream else None
        for index, tried in (counts or {k: tried for k, (_, tried) in pairs.counts.items()}).items():
            rows = (
                torch.full_like(pairs.labels, True, dtype=torch.bool) if one_stream else pairs.labels == index
            )
            kept = (pairs.z[rows], pairs.w[rows], pairs.r[rows], pairs.labels[rows].tolist())
            self.kept[index] = list(zip(*kept, strict=True))
            self.tried[index] = tried
            self.draw(index, tried)  # the stream goes on behind what was tried

    def table(self, position: int, width: int) -> Tensor:
        rows = [row[position] for kept in self.kept.values() for row in kept]
        return torch.stack(rows) if rows else torch.empty(0, width)  # type: ignore[arg-type]

    def labels(self) -> list[int]:
        return [row[3] for kept in self.kept.values() for row in kept]


def collect_pairs(
    generator: Generator,
    classifier: Classifier,
    classes: Any = None,
    per_class: int = 200,
    psi: float = 0.7,
    seed: int = 0,
    batch_size: int = 64,
    max_tries: int | None = None,
    allow_partial: bool = False,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    keep: Literal["agreeing", "all"] | None = None,
) -> Pairs:
    """Collect pairs (w, r): render latents of every class, keep those that the classifier assigns to it.

    Linking in Style (arXiv 2409.16865, section 3). Every class draws z from a stream of its own, so no latent repeats
    and the result depends on the seed alone, not on the batch size, on other classes or on interruptions.

    Parameters
    ----------
    classes : names or indices; None takes all. Of a generator without classes: None.
    per_class : pairs wanted of every class; of a generator without classes, in all.
    psi : truncation of the latents.
    max_tries : pictures tried per class before it is given up; default ``20 * per_class + 100``.
    allow_partial : give what there is of a class that could not be filled, in place of an error.
    checkpoint : file for what has been collected; a run that was interrupted goes on from it.
    progress : show a progress bar.
    keep : "agreeing", the default where both models have classes, keeps the pictures that the classifier takes for what
        the generator was asked for; both must have one list of classes. "all" keeps every picture: for encoders without
        a head, generators without classes, and models with different lists (`labels` then count the generator's).

    Raises
    ------
    LisError : unknown, repeated or no classes, numbers that make no sense, models that don't fit each other, a
        checkpoint of another collection, and a class that the classifier refuses (kept k of n tried).

    Examples
    --------
    >>> pairs = collect_pairs(generator, classifier, classes=["Coat", "Shirt"], per_class=100)
    >>> pairs.counts
    {4: (100, 103), 6: (100, 121)}
    """
    keep_all = _keep_all(keep, generator, classifier)
    check_models(generator, classifier, same_classes=not keep_all)
    per_class, batch_size = whole_number(per_class, "per_class", 1), whole_number(batch_size, "batch_size", 1)
    seed = whole_number(seed, "seed", 0)
    limit = 20 * per_class + 100 if max_tries is None else whole_number(max_tries, "max_tries", 1)
    psi = finite_number(psi, "psi", ", usually from 0 to 1")
    if generator.c_dim:
        names = generator.classes
        owner = "the generator" if keep_all else f"classifier {classifier.name!r}"
        chosen = class_indices(classes, names, owner)
    elif classes is not None:
        raise LisError(f"generator {generator.name!r} has no classes; leave classes out.")
    else:
        names, chosen = classifier.classes or ("any",), [0]
    hashes = {"generator_hash": generator.hash, "classifier_hash": classifier.hash}
    settings: dict[str, Any] = {"per_class": per_class, "max_tries": limit, "chosen": chosen}
    settings |= {"keep": "all" if keep_all else "agreeing", "precision": generator.precision}
    collection = _Collection(chosen, generator.z_dim, seed)

    def gather() -> Pairs:
        labels = collection.labels()
        kept = {index: len(rows) for index, rows in collection.kept.items()}
        counts = {index: (kept[index], collection.tried[index]) for index in chosen}
        if not generator.c_dim:  # what was not asked for can't be refused either
            counts = {k: (labels.count(k), labels.count(k)) for k in sorted(set(labels))}
        return Pairs(
            w=collection.table(1, generator.w_dim),
            r=collection.table(2, classifier.num_units),
            z=collection.table(0, generator.z_dim),
            labels=torch.tensor(labels, dtype=torch.int64),
            classes=names,
            counts=counts,
            psi=psi,
            seed=seed,
            provenance=provenance(generator=generator.name, classifier=classifier.name, **settings),
            **hashes,
        )

    if checkpoint is not None and Path(checkpoint).exists():
        before = Pairs.load(checkpoint)
        mine, theirs = gather(), before
        same = ("generator_hash", "classifier_hash", "psi", "seed")
        there = {name: getattr(theirs, name) for name in same} | {
            k: before.provenance.get(k) for k in settings
        }
        there |= {"keep": before.keep, "precision": before.precision}  # older files do not say
        here = {name: getattr(mine, name) for name in same} | settings
        differ = [
            f"{name} {there[name]} there, {here[name]} here" for name in here if there[name] != here[name]
        ]
        if differ:
            raise LisError(f"{checkpoint} is of another collection ({'; '.join(differ)}); give another file.")
        collection.restore(before, one_stream=not generator.c_dim)

    with tqdm(total=per_class * len(chosen), disable=not progress, desc="pairs", unit="pair") as bar:
        bar.update(sum(map(len, collection.kept.values())))
        batches = 0
        while missing := {
            index: min(per_class - len(collection.kept[index]), limit - collection.tried[index])
            for index in chosen
            if len(collection.kept[index]) < per_class and collection.tried[index] < limit
        }:
            labels = torch.tensor([index for index, n in missing.items() for _ in range(n)])
            z = torch.cat([collection.draw(index, n) for index, n in missing.items()])
            for z_part, label_part in zip(z.split(batch_size), labels.split(batch_size), strict=True):
                bar.update(_try(generator, classifier, collection, z_part, label_part, psi, keep_all))
                batches += 1
                if checkpoint is not None and batches % SAVE_EVERY == 0:
                    gather().save(checkpoint)
    pairs = gather()
    if checkpoint is not None:
        pairs.save(checkpoint)
    short = [index for index in chosen if len(collection.kept[index]) < per_class]
    if short and not allow_partial:
        told = "; ".join(
            f"{names[i]!r}: kept {pairs.counts[i][0]} of {pairs.counts[i][1]} tried" for i in short
        )
        raise LisError(
            f"the classifier refuses too many pictures of {told}, {per_class} were wanted. Leave the class out, lower "
            "psi, raise max_tries, or take what there is with allow_partial=True."
        )
    return pairs


def _keep_all(keep: str | None, generator: Generator, classifier: Classifier) -> bool:
    """Whether every picture is kept."""
    possible = bool(generator.c_dim) and classifier.has_head
    if keep not in (None, "agreeing", "all"):
        raise LisError(f'keep is {keep!r}; "agreeing" or "all" was expected.')
    if keep == "agreeing" and not possible:
        model = classifier if generator.c_dim else generator
        raise LisError(f'{model.name!r} has no classes that could agree; use keep="all".')
    return keep == "all" or not possible


@torch.no_grad()
def _try(
    generator: Generator,
    classifier: Classifier,
    collection: _Collection,
    z: Tensor,
    labels: Tensor,
    psi: float,
    keep_all: bool,
) -> int:
    """Render one batch and keep what the classifier agrees with, or all; returns how many."""
    w = generator.map(z, labels if generator.c_dim else None, psi)
    r = classifier.features(generator.render(w).to(classifier.device, classifier.dtype))
    answers = classifier.head(r).argmax(dim=1).cpu() if classifier.has_head else torch.zeros_like(labels)
    wanted = torch.ones_like(labels, dtype=torch.bool) if keep_all else answers == labels
    known = labels if generator.c_dim else answers
    rows = zip(labels.tolist(), wanted.tolist(), z, w.cpu(), r.float().cpu(), known.tolist(), strict=True)
    for index, keep, z_row, w_row, r_row, label in rows:
        collection.tried[index] += 1
        if keep:
            collection.kept[index].append((z_row, w_row, r_row, label))
    return int(wanted.sum())
