"""Labelled pictures: a folder of PNG masks, made in any paint program, and a legend that says what they show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import LisError
from ..files import load_tensors, save_tensors
from ..folders import output_folder
from ..names import spelling_hint, whole_number
from .identity import check_generator
from .legend import Legend
from .mask_files import read_mask, write_mask
from .mask_list import FORMAT, SPLITS, LabelledPicture, MaskList

if TYPE_CHECKING:
    from ..stylegan import Generator

LEGEND_FILE, LATENTS_FILE = "legend.json", "latents.safetensors"
_DATA = Path(__file__).parents[1] / "data" / "fashion-masks"
BUNDLED = {"fashion": _DATA, "fashion-second": _DATA / "second", "fashion-photographs": _DATA / "photographs"}


@dataclass(frozen=True)
class PartMasks:
    """Pictures whose parts were labelled, and how to make the pictures again.

    Attributes
    ----------
    legend : Legend
        Names and colours of the labels.
    labels : Tensor
        uint8 [N, H, W], indices into the legend.
    pictures : tuple of LabelledPicture
        Which pictures they are.
    generator_hash : str
        ``generator.hash`` of the generator that the pictures come from.
    made : str
        How the labels were made, in words.
    w : Tensor or None
        Latents [N, W] or [N, num_ws, W], where the pictures have no seeds.

    Raises
    ------
    LisError
        When these do not belong together: numbers, shapes, labels beyond the legend, pictures that occur twice.

    Examples
    --------
    >>> masks = load_masks("fashion")
    >>> masks.take("train").labels.shape
    torch.Size([60, 32, 32])
    """

    legend: Legend
    labels: Tensor
    pictures: tuple[LabelledPicture, ...]
    generator_hash: str = ""
    made: str = ""
    w: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", tuple(self.pictures))
        labels, n = self.labels, len(self.pictures)
        if not isinstance(labels, Tensor) or labels.dtype != torch.uint8 or labels.ndim != 3 or not n:
            has = (
                f"{labels.dtype} {list(labels.shape)}"
                if isinstance(labels, Tensor)
                else type(labels).__name__
            )
            raise LisError(
                f"the labels of {n} pictures are {has}; uint8 [N, H, W] with at least one was expected."
            )
        if len(labels) != n or 0 in labels.shape:
            raise LisError(f"the labels have shape {list(labels.shape)}; there are {n} pictures.")
        highest = int(labels.max())
        if highest >= len(self.legend.names):
            where = self.pictures[int((labels.flatten(1).max(dim=1).values == highest).nonzero()[0])].file
            raise LisError(
                f"{where} has the label {highest}; the legend has 0 to {len(self.legend.names) - 1}."
            )
        seen: dict[object, str] = {}
        for picture in self.pictures:
            keys: list[object] = [picture.file.lower()]
            if picture.seed is not None:
                keys.append((picture.label, picture.seed, picture.psi))
            if picture.photograph is not None:
                keys.append(("photograph", picture.photograph))
            for key in keys:
                if key in seen:
                    raise LisError(
                        f"{seen[key]} and {picture.file} are the same picture (file, class, seed and psi, photograph); "
                        "label every picture once."
                    )
                seen[key] = picture.file
        if self.w is None:
            missing = [p.file for p in self.pictures if p.seed is None and p.photograph is None]
            if missing:
                raise LisError(
                    f"{missing[0]} has neither a seed nor a latent, nor is it a photograph; give one of them."
                )
        elif (
            not isinstance(self.w, Tensor)
            or not self.w.is_floating_point()
            or self.w.ndim not in (2, 3)
            or len(self.w) != n
            or not bool(torch.isfinite(self.w).all())
        ):
            has = f"{self.w.dtype} {list(self.w.shape)}" if isinstance(self.w, Tensor) else type(self.w)
            raise LisError(
                f"the latents are {has}; finite floats [{n}, W] or [{n}, num_ws, W] were expected."
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, which: str | Sequence[int] | Tensor) -> PartMasks:
        """Return some of the pictures: those of a split ("train", "held out"), or by their numbers.

        Raises
        ------
        LisError
            For a split that doesn't exist or has no pictures, and for numbers beyond them.
        """
        if isinstance(which, str):
            if which not in SPLITS:
                raise LisError(
                    f"there is no split {which!r}; there are 'train' and 'held out'.{spelling_hint(which, SPLITS)}"
                )
            index = [i for i, p in enumerate(self.pictures) if p.split == which]
            if not index:
                raise LisError(f"none of the {len(self)} labelled pictures is in the split {which!r}.")
        else:
            index = [whole_number(int(i), "a picture's number", 0, len(self) - 1) for i in which]
        return replace(
            self,
            labels=self.labels[index],
            pictures=tuple(self.pictures[i] for i in index),
            w=None if self.w is None else self.w[index],
        )

    @torch.no_grad()
    def latents(self, generator: Generator) -> Tensor:
        """Return the latents [N, W] (or [N, num_ws, W], where stored so) of the pictures, on the generator's device.

        Raises
        ------
        LisError
            For another generator than the masks were made for, or another size of pictures.
        """
        check_generator(generator, self.generator_hash, "the masks were made for")
        size = (generator.img_resolution, generator.img_resolution)
        if tuple(self.labels.shape[1:]) != size:
            high, wide = self.labels.shape[1:]
            raise LisError(
                f"the masks are {wide} x {high} pixels; pictures of generator {generator.name!r} are "
                f"{size[0]} x {size[0]}."
            )
        if self.w is not None:
            generator.broadcast(self.w)  # the shape
            return self.w.to(generator.device, torch.float32)
        rows = []
        for p in self.pictures:
            if p.seed is None:
                raise LisError(f"{p.file} shows photograph {p.photograph}, which has no latent.")
            rows.append(generator.map(generator.z_of_seeds([p.seed]), labels=p.label, psi=p.psi))
        return torch.cat(rows)


def load_masks(name_or_folder: str | os.PathLike[str]) -> PartMasks:
    """Read labelled pictures: bundled ones, or a folder that `save_masks` or a person made.

    Parameters
    ----------
    name_or_folder
        "fashion" (generated pictures), "fashion-second" (the held-out ones by a second labeller), "fashion-photographs"
        (real ones, all held out), or a folder with `legend.json` and the PNG masks that it lists. Masks may be palette,
        RGB or RGBA files in exactly the legend's colours, or grey ones whose values are the labels.

    Raises
    ------
    LisError
        For a missing or malformed legend (unknown format, names that lead out of the folder, pictures listed twice),
        and for masks that are missing, damaged, of another size, or in other colours.

    Examples
    --------
    >>> load_masks("fashion").legend.parts[:2]
    ('sleeve', 'torso')
    """
    if not isinstance(name_or_folder, (str, os.PathLike)):
        raise LisError(f"masks are given by a name or a folder, got {name_or_folder!r}.")
    named = isinstance(name_or_folder, str) and name_or_folder in BUNDLED
    folder = BUNDLED[str(name_or_folder)] if named else Path(os.fspath(name_or_folder)).expanduser()
    path = folder / LEGEND_FILE
    if not os.path.isfile(path):
        raise LisError(
            f"there is no {path}. Masks are a folder with {LEGEND_FILE}, which save_masks writes, or one of "
            f"{', '.join(map(repr, BUNDLED))}.{spelling_hint(str(name_or_folder), BUNDLED)}"
        )
    listed = MaskList.read(path)
    w = None
    if (folder / LATENTS_FILE).exists():
        tensors, _ = load_tensors(folder / LATENTS_FILE)
        if set(tensors) != {"w"}:
            raise LisError(
                f"{folder / LATENTS_FILE} has {sorted(tensors)}; one tensor 'w' [N, W] was expected."
            )
        w = tensors["w"]
    labels = [read_mask(folder / p.file, listed.legend, listed.size) for p in listed.pictures]
    try:
        return PartMasks(
            listed.legend, torch.stack(labels), listed.pictures, listed.generator_hash, listed.made, w
        )
    except LisError as error:
        raise LisError(f"{folder}: {error}") from error


def save_masks(masks: PartMasks, folder: str | os.PathLike[str]) -> None:
    """Write labelled pictures as palette PNGs in the legend's colours, and `legend.json`; all or nothing.

    Files of other names that are in the folder stay.

    Raises
    ------
    LisError
        When the folder can't be written.

    Examples
    --------
    >>> save_masks(masks, "my masks")
    """
    size = (int(masks.labels.shape[1]), int(masks.labels.shape[2]))
    listed = MaskList(masks.legend, size, masks.pictures, masks.generator_hash, masks.made)
    try:
        with output_folder(folder) as place:
            for picture, labels in zip(masks.pictures, masks.labels, strict=True):
                write_mask(place / picture.file, labels, masks.legend)
            if masks.w is not None:
                save_tensors(place / LATENTS_FILE, {"w": masks.w}, {"format": FORMAT})
            (place / LEGEND_FILE).write_text(listed.text(), encoding="utf-8")
    except OSError as error:
        raise LisError(
            f"can't write {folder}: {error}. The folder is not writable or full; give another one."
        ) from error


def collect_masks(
    folder: str | os.PathLike[str],
    legend: Legend,
    pictures: Iterable[LabelledPicture],
    generator: Generator,
    *,
    made: str = "",
    indices: bool = False,
) -> PartMasks:
    """Gather masks that someone drew, for `save_masks`.

    Parameters
    ----------
    folder
        With one PNG of every picture, of the generator's size.
    pictures
        Which they are; pictures whose file is not there are an error.
    made
        How the labels were made, in words.
    indices
        True: the numbers in palette files are the labels, whatever colours their palette has.

    Raises
    ------
    LisError
        For masks that are missing, damaged, of another size, or in other colours, and pictures listed twice.

    Examples
    --------
    >>> picture = LabelledPicture("coat.png", label=4, seed=17, psi=0.7)
    >>> save_masks(collect_masks("drawn", legend, [picture], generator, made="by me, in GIMP"), "drawn")
    """
    listed = tuple(pictures)
    size = (generator.img_resolution, generator.img_resolution)
    labels = [read_mask(Path(folder) / p.file, legend, size, indices) for p in listed]
    if not labels:
        raise LisError("the list of pictures is empty; give at least one.")
    return PartMasks(legend, torch.stack(labels), listed, generator.hash, made)
