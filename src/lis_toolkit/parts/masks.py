"""Labelled pictures: a folder of PNG masks, made in any paint program, and a legend that says what they show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import LisError
from ..files import load_tensors, save_tensors
from ..folders import output_folder
from ..names import finite_number, spelling_hint, whole_number
from .identity import check_generator
from .legend import Legend
from .mask_files import read_mask, write_mask

if TYPE_CHECKING:
    from ..stylegan import Generator

FORMAT = "lis-masks-1"
LEGEND_FILE, LATENTS_FILE = "legend.json", "latents.safetensors"
SPLITS = ("train", "held out")
# In the legend file, and of LabelledPicture.
_KEYS = {name: name for name in ("file", "seed", "psi", "split", "photograph")} | {"class": "label"}
_DATA = Path(__file__).parents[1] / "data" / "fashion-masks"
BUNDLED = {"fashion": _DATA, "fashion-second": _DATA / "second", "fashion-photographs": _DATA / "photographs"}
MOST_PIXELS = 4096  # on a side


@dataclass(frozen=True)
class LabelledPicture:
    """Which picture, generated or a photograph, a mask belongs to.

    Attributes
    ----------
    file : str
        Name of the mask in its folder.
    label : int or None
        Index of the class it was made for; None for generators without classes.
    seed : int or None
        Of its z, as in ``generator.z_of_seeds([seed])``; None: the folder holds the latent itself.
    psi : float
        Truncation.
    split : str
        "train" or "held out".
    photograph : int or None
        In place of a seed: number of a real photograph in its data set (bundled ones: ``load_fashion("sample")``).
    """

    file: str
    label: int | None = None
    seed: int | None = None
    psi: float = 1.0
    split: str = "train"
    photograph: int | None = None

    def __post_init__(self) -> None:
        name = self.file
        plain = isinstance(name, str) and name.isprintable() and not set(name) & set('/\\:*?"<>|')
        if not plain or name.startswith(".") or not name.lower().endswith(".png") or len(name) > 200:
            raise LisError(
                f"a mask is called {name!r}; the name of a .png file, without a folder, was expected."
            )
        if self.label is not None:
            whole_number(self.label, f"the class of {name}", 0)
        if self.seed is not None:
            whole_number(self.seed, f"the seed of {name}", 0, 2**32 - 1)
        if self.photograph is not None:
            whole_number(self.photograph, f"the photograph of {name}", 0)
            if self.seed is not None:
                raise LisError(f"{name} has a seed and a photograph; give one of them.")
        object.__setattr__(self, "psi", finite_number(self.psi, f"psi of {name}"))
        if self.split not in SPLITS:
            raise LisError(
                f"{name} has the split {self.split!r}; 'train' or 'held out' was expected."
                f"{spelling_hint(str(self.split), SPLITS)}"
            )


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
    try:
        described = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
    except (OSError, ValueError, RecursionError) as error:
        raise LisError(f"{path} can't be read as JSON: {error}.") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        has = described.get("format") if isinstance(described, dict) else type(described).__name__
        raise LisError(f"{path} has the format {has!r}; {FORMAT!r} was expected.")
    legend = Legend.from_json(described.get("parts"), str(path))
    size = described.get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise LisError(f"{path}: the size is {size!r}; [height, width] in pixels was expected.")
    high, wide = (whole_number(side, f"{path}: a side of the masks", 1, MOST_PIXELS) for side in size)
    try:
        pictures = _pictures(described.get("pictures"))
        texts = {key: described.get(key, "") for key in ("made", "generator_hash")}
        for key, text in texts.items():
            if not isinstance(text, str):
                raise LisError(f"{key} is {text!r}; a text was expected.")
    except LisError as error:
        raise LisError(f"{path}: {error}") from error
    w = None
    if (folder / LATENTS_FILE).exists():
        tensors, _ = load_tensors(folder / LATENTS_FILE)
        if set(tensors) != {"w"}:
            raise LisError(
                f"{folder / LATENTS_FILE} has {sorted(tensors)}; one tensor 'w' [N, W] was expected."
            )
        w = tensors["w"]
    labels = [read_mask(folder / p.file, legend, (high, wide)) for p in pictures]
    try:
        return PartMasks(legend, torch.stack(labels), pictures, w=w, **texts)
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
    pictures = [{key: getattr(p, name) for key, name in _KEYS.items()} for p in masks.pictures]
    described = {
        "format": FORMAT,
        "size": list(masks.labels.shape[1:]),
        "generator_hash": masks.generator_hash,
        "made": masks.made,
        "parts": masks.legend.to_json(),
    }
    # One picture a line: people read and edit this file.
    text = json.dumps(described, indent=1, ensure_ascii=False)
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in pictures)
    text = f'{text[:-2]},\n "pictures": [\n{rows}\n ]\n}}\n'
    try:
        with output_folder(folder) as place:
            for picture, labels in zip(masks.pictures, masks.labels, strict=True):
                write_mask(place / picture.file, labels, masks.legend)
            if masks.w is not None:
                save_tensors(place / LATENTS_FILE, {"w": masks.w}, {"format": FORMAT})
            (place / LEGEND_FILE).write_text(text, encoding="utf-8")
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


def _pictures(rows: Any) -> tuple[LabelledPicture, ...]:
    if not isinstance(rows, list) or not rows:
        raise LisError("the pictures are missing; a list with at least one was expected.")
    known = _KEYS
    pictures = []
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or "file" not in row:
            raise LisError(f"picture {i} is {str(row)[:100]}; an object with a file was expected.")
        for key in row:
            if key not in known:
                raise LisError(
                    f"picture {i} has {key!r}; known are {', '.join(known)}.{spelling_hint(key, known)}"
                )
        pictures.append(LabelledPicture(**{known[key]: value for key, value in row.items()}))
    return tuple(pictures)
