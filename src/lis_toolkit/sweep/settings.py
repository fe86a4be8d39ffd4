"""What a sweep is asked to do, checked: units, values, directions, models, and the settings a folder is held to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier
from ..directions import checked_directions
from ..errors import LisError
from ..files import sha256_tensors
from ..link import Link
from ..names import class_indices, finite_number, whole_number
from ..pairs import check_models
from ..stylegan import Generator
from ..stylegan.generator import PRECISIONS
from .recipe import Recipe, rows_at_a_time
from .samples import Samples, as_list, directions_hash, given_samples
from .thumbnails import picture_format

__all__ = ["Setup", "differences", "prepare", "settings_key", "shown"]

ALL_LOGITS = 100  # classes; of more, only the logits of the samples' classes are kept


@dataclass(frozen=True, eq=False)
class Setup:
    """A checked request for a sweep.

    Attributes
    ----------
    settings : dict
        Everything that changes the table, as JSON: what a folder is held to.
    names : dict
        Of the models, for people.
    units, skipped : tuple of int
        Units of the sweep, and those left out because they were constant over the link's pairs.
    given : Samples or None
        None: they are to be collected.
    """

    generator: Generator
    classifier: Classifier
    link: Link
    segmenter: Any
    settings: dict[str, Any]
    names: dict[str, Any]
    units: tuple[int, ...]
    skipped: tuple[int, ...]
    directions: Tensor | None
    given: Samples | None
    batch_size: int

    def recipe(self, classes: Iterable[str]) -> Recipe:
        """Return what every batch needs, for samples of these classes."""
        names, own = self.classifier.classes if self.classifier.has_head else (), set(classes)
        logits = [k for k, name in enumerate(names) if len(names) <= ALL_LOGITS or name in own]
        low, high = self.link.unit_min.cpu(), self.link.unit_max.cpu()
        steps = self.settings["steps"]
        values = torch.stack(
            [torch.linspace(float(low[i]), float(high[i]), steps) for i in self.units]
        )  # [U, S]
        size = self.generator.img_resolution
        recipe = Recipe(
            self.generator,
            self.classifier,
            self.link,
            self.segmenter,
            self.units,
            values,
            self.directions,
            self.settings["moved"],
            tuple(logits),
            picture_format(size) if self.settings["thumbnails"] else None,
            self.settings["precision"],
            self.batch_size,
        )
        if recipe.legend is not None and {"picture", "logit"} & set(recipe.legend.parts):
            raise LisError(
                'a part is called "picture" or "logit", as other columns of the table begin: rename it.'
            )
        return recipe


def prepare(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    segmenter: Any,
    *,
    units: Any,
    samples: int,
    classes: Any,
    psi: float,
    seed: int,
    r: Any,
    steps: int,
    directions: Tensor | None,
    moved: int,
    thumbnails: bool,
    precision: str | None,
    batch_size: int | None,
    keep: str | None,
    allow_partial: bool,
) -> Setup:
    """Check the arguments of `sweep_units`; the models' hashes are taken here, once."""
    check_models(generator, classifier, same_classes=False)
    if getattr(segmenter, "training", False):
        raise LisError(f"segmenter {segmenter.name!r} is in training mode; call its .eval() first.")
    link.check(generator, classifier)
    if precision is None:
        precision = generator.precision
    elif precision not in PRECISIONS:
        raise LisError(f"precision is {precision!r}; one of {', '.join(PRECISIONS)} was expected.")
    chosen, skipped = _units(units, link)
    directions = checked_directions(directions, link.num_units)
    steps, moved = whole_number(steps, "steps", 1, 1000), whole_number(moved, "moved", 1)
    varying = link.num_units - len(link.constant_units)
    given = None if r is None else given_samples(r, classes, classifier, link.num_units)
    if given is None:
        origin: dict[str, Any] = {
            "samples": whole_number(samples, "samples", 1),
            "classes": _class_list(classes, generator),
            "psi": finite_number(psi, "psi", ", usually from 0 to 1"),
            "seed": whole_number(seed, "seed", 0),
            "keep": keep,
            "allow_partial": bool(allow_partial),
        }
    else:
        origin = {"samples": len(given), "r": given.sha256, "classes": list(given.classes)}
    settings = {
        "generator": generator.hash,
        "classifier": classifier.hash,
        "link": sha256_tensors(link.state_dict()),
        "segmenter": None if segmenter is None else _segmenter_hash(segmenter),
        "units": list(chosen),
        **origin,
        "steps": steps,
        "directions": directions_hash(directions),
        "moved": min(moved, max(varying, 1)),
        "thumbnails": bool(thumbnails),
        "precision": precision,
    }
    names = {
        "generator": generator.name,
        "classifier": classifier.name,
        "segmenter": getattr(segmenter, "name", None),
    }
    size = (
        rows_at_a_time(generator, classifier, precision)
        if batch_size is None
        else whole_number(batch_size, "batch_size", 1)
    )
    setup = Setup(
        generator, classifier, link, segmenter, settings, names, chosen, skipped, directions, given, size
    )
    # One picture through everything: what does not fit together is better known before a folder is made.
    setup.recipe(()).look(link.unit_mean[None].cpu(), None)
    return setup


def _units(units: Any, link: Link) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the units to sweep, ascending, and those that were asked for but can't be."""
    if units is None:
        asked: list[Any] = list(range(link.num_units))
    else:
        asked = as_list(units)
    indices = sorted({link.unit_index(unit) for unit in asked})
    constant = set(link.constant_units)
    chosen = tuple(i for i in indices if i not in constant)
    if not chosen:
        why = (
            "the list of units is empty"
            if not indices
            else f"units {shown(indices)} were constant over the pairs"
        )
        raise LisError(
            f"{why}: there is nothing to sweep. The link has directions for {shown(_varying(link))}."
        )
    return chosen, tuple(i for i in indices if i in constant)


def _varying(link: Link) -> list[int]:
    return [i for i in range(link.num_units) if i not in set(link.constant_units)]


def _class_list(classes: Any, generator: Generator) -> list[str] | None:
    """Return class names as a folder remembers them; an unknown one is told here, before anything is made."""
    if not generator.c_dim:
        if classes is not None:
            raise LisError(f"generator {generator.name!r} has no classes; leave classes out.")
        return None
    return [generator.classes[k] for k in class_indices(classes, generator.classes, "the generator")]


def _segmenter_hash(segmenter: Any) -> str:
    """Return a hash of weights and of what the labels mean."""
    told = json.dumps([segmenter.hash, segmenter.legend.to_json()])
    return hashlib.sha256(told.encode()).hexdigest()


def settings_key(*told: Any) -> str:
    """Return one sha256 of JSON values: what every file of a sweep carries."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Return, for every setting that differs, its name and both values."""
    names = list(dict.fromkeys([*here, *there]))
    return [
        f"{name}: the folder has {shown(there.get(name))}, you gave {shown(here.get(name))}"
        for name in names
        if there.get(name) != here.get(name)
    ]


def shown(value: Any) -> str:
    """Return a setting as short text: runs of numbers as "0 to 31", hashes by their first digits."""
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}..."
    if isinstance(value, (list, tuple)) and value and all(type(v) is int for v in value):
        runs: list[list[int]] = []
        for number in value:
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        texts = [str(a) if a == b else f"{a} to {b}" for a, b in runs]
        return ", ".join(texts[:8]) + (f" and more ({len(value)} in all)" if len(texts) > 8 else "")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value[:8])) + (f" and {len(value) - 8} more" if len(value) > 8 else "")
    return str(value)
