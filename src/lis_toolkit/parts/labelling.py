"""A folder of masks in the making: pictures to label, a first guess of their parts, and masks saved one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..datasets import Photographs
from ..errors import LisError
from ..files import atomic_path, load_tensors, sha256_file
from ..names import whole_number
from .label_pictures import LabelPictures, image_tensor, picture_size
from .legend import Legend, as_legend
from .mask_files import check_labels, read_mask, write_mask
from .mask_list import LabelledPicture, MaskList
from .masks import LATENTS_FILE, LEGEND_FILE, PartMasks, load_masks
from .network import Segmenter

if TYPE_CHECKING:
    from ..stylegan import Generator

__all__ = ["LabellingFolder", "MaskChangedError", "labelling_folder"]

PLAN_FILE = "to-label.json"  # like legend.json, but with the pictures that have no mask yet


class MaskChangedError(LisError):
    """A mask on disk is not the one that was read: saving would overwrite what nobody has seen."""


class LabellingFolder:
    """A folder in which masks are drawn; `load_masks` can read it as soon as one of them is saved.

    ``to-label.json`` lists all pictures. ``legend.json`` lists those whose PNG is there: finished, or begun. Every file
    is written whole or not at all, and a mask that another program wrote since it was read is never overwritten.

    Parameters
    ----------
    folder
        Made by `LabellingFolder.begin`, by `save_masks`, or by hand: with ``legend.json`` or ``to-label.json``.
    generator : Generator, optional
        That of the pictures; photographs need none.
    photographs : Photographs or Tensor, optional
        [N, C, H, W] in the unit range: where pictures are photographs.
    segmenter : Segmenter, optional
        Whose guesses are corrected. Its parts are matched with the legend's by name; others become background.

    Attributes
    ----------
    folder : Path
        Absolute.

    Raises
    ------
    LisError
        For a folder without a list, another generator or size of pictures, photographs that are not there, and a
        segmenter that shares no part with the legend.

    Examples
    --------
    >>> folder = LabellingFolder("my masks", generator, segmenter=load_segmenter("fashion"))
    >>> folder.labels(0)  # what is on disk: a mask is not overwritten unseen
    >>> folder.save(0, folder.guess(0))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        generator: Generator | None = None,
        photographs: Photographs | Tensor | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.folder = _path(folder)
        lists = [MaskList.read(p) for p in _lists(self.folder) if p.is_file()]
        if not lists:
            raise LisError(
                f"there is neither a {LEGEND_FILE} nor a {PLAN_FILE} in {self.folder}; LabellingFolder.begin makes it."
            )
        plan, listed = lists[0], lists[-1]
        if any(getattr(plan, key) != getattr(listed, key) for key in ("legend", "size", "generator_hash")):
            raise LisError(
                f"{self.folder}: {PLAN_FILE} and {LEGEND_FILE} have different parts, sizes or generators; delete "
                f"{PLAN_FILE} to go on with the masks that are there."
            )
        # People edit legend.json: what it says of a picture holds.
        own, planned = {p.file: p for p in listed.pictures}, {p.file for p in plan.pictures}
        pictures = [own.get(p.file, p) for p in plan.pictures]
        pictures += [p for p in listed.pictures if p.file not in planned]
        self._list = replace(plan, pictures=tuple(pictures))
        w = self.folder / LATENTS_FILE
        self._shown = LabelPictures(
            self._list,
            generator,
            photographs,
            load_tensors(w)[0].get("w") if w.is_file() else None,
            segmenter,
        )
        self._read: dict[int, str | None] = {}  # picture -> hash of its file when it was read; None: no file
        self._write_legend()  # should the last session have died between a mask and the list

    @classmethod
    def begin(
        cls,
        folder: str | os.PathLike[str],
        legend: Legend | Sequence[str],
        pictures: Iterable[LabelledPicture],
        generator: Generator | None = None,
        photographs: Photographs | Tensor | None = None,
        segmenter: Segmenter | None = None,
        made: str = "",
    ) -> LabellingFolder:
        """Begin a folder of masks: only the list of its pictures is written.

        Parameters
        ----------
        legend
            Names and colours, or the names of the parts alone: colours are then told apart by colour-blind eyes too.
        pictures
            Which to label, from `choose_pictures` for instance.
        made
            How the labels are made, in words.

        Raises
        ------
        LisError
            For a folder that has masks already, and pictures that the generator or the photographs don't have.

        Examples
        --------
        >>> pictures = choose_pictures(generator, ["Coat", "Shirt"], per_class=6, psi=0.7)
        >>> folder = LabellingFolder.begin("my masks", ["sleeve", "torso"], pictures, generator)
        """
        path, chosen = _path(folder), tuple(pictures)
        if path.exists() and not path.is_dir():
            raise LisError(f"can't begin masks in {path}: it is a file; give a folder.")
        for there in [*_lists(path), *(path / p.file for p in chosen)]:
            if there.exists():
                raise LisError(
                    f"{there} is there already, and is not overwritten: open the folder with LabellingFolder, or give "
                    "another one."
                )
        size = picture_size(chosen, generator, image_tensor(photographs))
        generated = generator is not None and any(p.photograph is None for p in chosen)
        hashed = generator.hash if generated and generator is not None else ""
        plan = MaskList(as_legend(legend), size, chosen, hashed, made)
        # What is wrong is told before anything is written.
        LabelPictures(plan, generator, photographs, segmenter=segmenter)
        _write(path / PLAN_FILE, plan)
        return cls(path, generator, photographs, segmenter)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    @property
    def legend(self) -> Legend:
        """Names and colours of the labels."""
        return self._list.legend

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return self._list.size

    @property
    def generator_hash(self) -> str:
        """That of the generator whose pictures are labelled; empty for photographs."""
        return self._list.generator_hash

    @property
    def pictures(self) -> tuple[LabelledPicture, ...]:
        """All that are to be labelled, in order."""
        return self._list.pictures

    @property
    def segmenter(self) -> Segmenter | None:
        """Whose guesses are corrected."""
        return self._shown.segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        self._shown.segmenter = segmenter

    @property
    def labelled(self) -> tuple[bool, ...]:
        """Whether each picture has a mask on disk."""
        return tuple((self.folder / p.file).is_file() for p in self.pictures)

    def masks(self) -> PartMasks:
        """Return the masks that are on disk, as `load_masks` does.

        Raises
        ------
        LisError
            Before the first one was saved, and for damaged ones.
        """
        if not any(self.labelled):
            raise LisError(f"none of the {len(self)} pictures in {self.folder} is labelled yet.")
        return load_masks(self.folder)

    def add(self, pictures: Iterable[LabelledPicture]) -> int:
        """Plan more pictures, and return how many were new; those that are there already stay as they are.

        Raises
        ------
        LisError
            For pictures that the generator or the photographs don't have, and names of files that are taken.
        """
        known = {_identity(p) for p in self.pictures}
        new = tuple(p for p in pictures if _identity(p) not in known)
        if not new:
            return 0
        if self._shown.w is not None:
            raise LisError(f"{self.folder} has latents of its own pictures; begin another folder for more.")
        for p in new:
            if (self.folder / p.file).exists():
                raise LisError(f"{self.folder / p.file} is there already; give the new picture another name.")
        plan = replace(self._list, pictures=self.pictures + new)
        self._shown.check(plan)
        _write(self.folder / PLAN_FILE, plan)
        self._list = self._shown.listed = plan
        return len(new)

    def title(self, i: int) -> str:
        """Return a picture's name for people: "Coat, seed 17, psi 0.7", or "Coat, photograph 17"."""
        return self._shown.title(i)

    def picture(self, i: int) -> Tensor:
        """Return one picture [C, H, W] in the unit range, on the CPU."""
        return self._shown.picture(i)

    def rgb(self, i: int) -> np.ndarray:
        """Return one picture as bytes [H, W, 3]; grey ones have three equal channels."""
        return self._shown.rgb(i)

    def guess(self, i: int) -> Tensor | None:
        """Return the segmenter's labels of one picture, uint8 [H, W] in this folder's legend; None without a segmenter.

        Raises
        ------
        LisError
            For a segmenter of another generator or size, and one that reads feature maps where the picture is a
            photograph.
        """
        return self._shown.guess(i)

    def labels(self, i: int) -> Tensor:
        """Read the labels of one picture from its file: uint8 [H, W], background where it has none yet.

        Raises
        ------
        LisError
            For a damaged file, or one of another size or in other colours.
        """
        path = self._mask(i)
        if not path.exists():
            self._read[i] = None
            return torch.zeros(self.size, dtype=torch.uint8)
        self._read.pop(i, None)
        before = sha256_file(path)  # before: what is written meanwhile counts as a change
        labels = read_mask(path, self.legend, self.size)
        self._read[i] = before
        return labels

    def save(self, i: int, labels: Tensor | np.ndarray) -> None:
        """Write the mask of one picture, and list it in ``legend.json``.

        Parameters
        ----------
        labels
            Whole numbers [H, W], indices into the legend.

        Raises
        ------
        MaskChangedError
            When the file is not the one that was read last (or was never read): nothing is written; `labels` reads it.
        LisError
            For labels of another size or beyond the legend, and a folder that can't be written.
        """
        path = self._mask(i)
        checked = check_labels(labels, self.legend, self.size, path.name)
        if path.exists() and i not in self._read:
            raise MaskChangedError(f"mask {path} has not been read: it is not overwritten unseen.")
        if path.exists() and sha256_file(path) != self._read[i]:
            raise MaskChangedError(
                f"mask {path} was changed by another program since it was read: it is not overwritten. Read it again "
                "to see the change."
            )
        with atomic_path(path) as temporary:
            write_mask(temporary, checked, self.legend)
        self._read[i] = sha256_file(path)
        self._write_legend()

    def take_guesses(self) -> int:
        """Save the segmenter's guess of every picture that has no mask, to be corrected; return how many.

        Raises
        ------
        LisError
            Without a segmenter, and whatever `guess` and `save` refuse.
        """
        if self.segmenter is None:
            raise LisError(
                "there is no segmenter to guess; give one: folder.segmenter = load_segmenter(...)."
            )
        todo = [i for i, there in enumerate(self.labelled) if not there]
        for i in todo:
            guess = self.guess(i)
            if guess is not None and not self.labels(i).any():  # none was written meanwhile
                self.save(i, guess)
        return len(todo)

    def _write_legend(self) -> None:
        """Write ``legend.json`` where it doesn't list exactly the pictures that have a mask."""
        if self._shown.w is not None or not any(self.labelled):
            return  # latents belong to the list as it is
        path = self.folder / LEGEND_FILE
        now = MaskList.read(path) if path.is_file() else replace(self._list, pictures=())
        if now.legend != self.legend:
            raise LisError(f"the parts in {path} were changed; open the folder again.")
        edited, planned = {p.file: p for p in now.pictures}, {p.file for p in self.pictures}
        wanted = [edited.get(p.file, p) for p in self.pictures]
        # Pictures that another session added to the folder stay.
        wanted += [p for p in now.pictures if p.file not in planned]
        wanted = [p for p in wanted if (self.folder / p.file).is_file()]
        if set(wanted) != set(now.pictures):
            if not (self.folder / PLAN_FILE).is_file():
                _write(self.folder / PLAN_FILE, self._list)  # a mask that was deleted is still to be drawn
            _write(path, replace(now, pictures=tuple(wanted)))

    def _mask(self, i: int) -> Path:
        return self.folder / self.pictures[whole_number(i, "the number of a picture", 0, len(self) - 1)].file


def labelling_folder(
    folder: str | os.PathLike[str],
    generator: Generator | None = None,
    legend: Legend | Sequence[str] | None = None,
    pictures: Iterable[LabelledPicture] = (),
    photographs: Photographs | Tensor | None = None,
    segmenter: Segmenter | None = None,
    made: str = "",
) -> LabellingFolder:
    """Open a folder of masks, or begin it (with the segmenter's legend, if none is given); missing pictures are added.

    Raises
    ------
    LisError
        For a legend with other parts than the folder's, and whatever `LabellingFolder` refuses.

    Examples
    --------
    >>> folder = labelling_folder("my masks", generator, ["sleeve", "torso"], choose_pictures(generator))
    """
    path, chosen = _path(folder), tuple(pictures)
    if not any(p.is_file() for p in _lists(path)):
        known = segmenter.legend if legend is None and segmenter is not None else legend
        if known is None:
            raise LisError(
                f"there are no masks in {path}; to begin, give a legend, or a segmenter that has one."
            )
        return LabellingFolder.begin(path, known, chosen, generator, photographs, segmenter, made)
    opened = LabellingFolder(path, generator, photographs, segmenter)
    if legend is not None and (names := as_legend(legend).names) != opened.legend.names:
        raise LisError(
            f"the masks in {path} have the parts {', '.join(opened.legend.parts)}; the legend that was given has "
            f"{', '.join(names[1:])}. Leave it out, or give another folder."
        )
    opened.add(chosen)
    return opened


def _path(folder: str | os.PathLike[str]) -> Path:
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise LisError(f"the folder of the masks is {folder!r}; a path was expected.")
    return Path(os.fspath(folder)).expanduser().absolute()


def _lists(folder: Path) -> list[Path]:
    return [folder / PLAN_FILE, folder / LEGEND_FILE]


def _write(path: Path, listed: MaskList) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(listed.text(), encoding="utf-8")


def _identity(p: LabelledPicture) -> tuple[object, ...]:
    """Tell pictures apart as PartMasks does; those that are latents by their file."""
    if p.photograph is not None:
        return ("photograph", p.photograph)
    return (p.file.lower(),) if p.seed is None else (p.label, p.seed, p.psi)
