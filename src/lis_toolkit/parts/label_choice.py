"""Which pictures to label: by class and seed, so that a mask's picture can always be made again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import LisError
from ..names import class_indices, finite_number, spelling_hint, whole_number
from .mask_list import SPLITS, LabelledPicture

if TYPE_CHECKING:
    from ..datasets import Photographs
    from ..stylegan import Generator


def choose_pictures(
    generator: Generator,
    classes: Iterable[str | int] | str | int | None = None,
    per_class: int = 6,
    seeds: Iterable[int] | None = None,
    psi: float = 1.0,
    split: str = "train",
) -> tuple[LabelledPicture, ...]:
    """Choose pictures to label, by class and seed: they can be made again at any time.

    Parameters
    ----------
    classes
        Names or indices; None takes all. A generator without classes takes None.
    per_class
        Pictures of each class; class k has the seeds 1000 k, 1000 k + 1, ..., so that more can be added later.
    seeds
        In place of `per_class`: these seeds for every class.
    psi
        Truncation.
    split
        "train" or "held out".

    Returns
    -------
    tuple of LabelledPicture
        Files are called class_seed.png, with psi where it is not 1.

    Raises
    ------
    LisError
        For classes, seeds, numbers and splits that don't exist.

    Examples
    --------
    >>> choose_pictures(generator, ["Coat"], per_class=2)[1].file
    '04_4001.png'
    """
    psi = finite_number(psi, "psi")
    if split not in SPLITS:
        raise LisError(
            f"there is no split {split!r}; there are 'train' and 'held out'.{spelling_hint(split, SPLITS)}"
        )
    per_class = whole_number(per_class, "per_class", 1, 1000)
    given = None if seeds is None else [whole_number(s, "a seed", 0, 2**32 - 1) for s in seeds]
    if given is not None and (not given or len(set(given)) < len(given)):
        raise LisError(f"the seeds are {given}; at least one, and each once, was expected.")
    if not generator.c_dim and classes is not None:
        raise LisError(f"generator {generator.name!r} has no classes; leave classes out.")
    chosen: list[int | None] = [None]
    if generator.c_dim:
        chosen = [*class_indices(classes, generator.classes, "the generator")]
    wide = len(str(max(generator.c_dim - 1, 10)))
    truncated = "" if psi == 1 else f"_psi{psi:g}"
    pictures = []
    for k in chosen:
        own = range(1000 * (k or 0), 1000 * (k or 0) + per_class) if given is None else given
        for seed in own:
            name = f"{seed:04d}{truncated}.png" if k is None else f"{k:0{wide}d}_{seed:04d}{truncated}.png"
            pictures.append(LabelledPicture(name, label=k, seed=seed, psi=psi, split=split))
    return tuple(pictures)


def choose_photographs(
    photographs: Photographs,
    classes: Iterable[str | int] | str | int | None = None,
    per_class: int = 6,
    split: str = "held out",
) -> tuple[LabelledPicture, ...]:
    """Choose photographs to label, the first ones of every class: for checks, since a generator learns from its own.

    Raises
    ------
    LisError
        For classes, numbers and splits that don't exist, and classes without photographs.

    Examples
    --------
    >>> choose_photographs(load_fashion("sample"), ["Coat"], per_class=2)[0].photograph
    400
    """
    per_class = whole_number(per_class, "per_class", 1, 1000)
    pictures = []
    for k in class_indices(classes, photographs.classes, "the data set"):
        own = (photographs.labels == k).nonzero()[:per_class, 0].tolist()
        if not own:
            raise LisError(f"there is no photograph of class {photographs.classes[k]!r}; leave it out.")
        names = [f"photograph_{i:05d}.png" for i in own]
        pictures += [
            LabelledPicture(name, label=k, photograph=i, split=split)
            for name, i in zip(names, own, strict=True)
        ]
    return tuple(pictures)
