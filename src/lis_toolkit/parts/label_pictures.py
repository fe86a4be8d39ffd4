"""The pictures behind masks, generated or photographs, and a segmenter's guess of their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..datasets import Photographs
from ..errors import LisError
from ..images import check_images, convert_range
from ..names import whole_number
from .identity import check_generator
from .mask_list import LabelledPicture, MaskList
from .masks import PartMasks
from .network import Segmenter
from .segmenter import render_parts, segment_pictures

if TYPE_CHECKING:
    from ..stylegan import Generator

KEPT = 16  # pictures that are kept rendered


class LabelPictures:
    """The pictures of a list of masks, rendered one by one when they are asked for.

    Parameters
    ----------
    listed : MaskList
        Which pictures, their size, and the hash of their generator.
    generator : Generator, optional
        That of the pictures; photographs need none.
    photographs : Photographs or Tensor, optional
        [N, C, H, W] in the unit range: where pictures are photographs.
    w : Tensor, optional
        Latents [N, W] or [N, num_ws, W], where pictures have no seeds.
    segmenter : Segmenter, optional
        Whose guesses are given. Its parts are matched with the legend's by name; others become background.

    Raises
    ------
    LisError
        For another generator or size, photographs that are not there, pictures listed twice, and a segmenter that
        shares no part with the legend.

    Examples
    --------
    >>> pictures = LabelPictures(MaskList.read("my masks/legend.json"), generator)
    >>> pictures.rgb(0).shape
    (32, 32, 3)
    """

    def __init__(
        self,
        listed: MaskList,
        generator: Generator | None = None,
        photographs: Photographs | Tensor | None = None,
        w: Tensor | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.listed, self.generator, self.w = listed, generator, w
        self.photographs = image_tensor(photographs)
        known = photographs if isinstance(photographs, Photographs) else None
        self._classes = generator.classes if generator is not None else known.classes if known else ()
        self._rendered: dict[int, Tensor] = {}
        self._guessed: dict[int, Tensor] = {}
        self.check(listed)
        self.segmenter = segmenter

    @property
    def segmenter(self) -> Segmenter | None:
        """Whose guesses are given; may be replaced at any time."""
        return self._segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        parts = self.listed.legend.parts
        if segmenter is not None and not set(segmenter.legend.parts) & set(parts):
            raise LisError(
                f"segmenter {segmenter.name!r} knows {', '.join(segmenter.legend.parts)}; the legend has "
                f"{', '.join(parts)}: none is in both."
            )
        self._segmenter = segmenter
        self._guessed.clear()

    def check(self, listed: MaskList) -> None:
        """Raise a LisError unless every picture of a list can be shown.

        Examples
        --------
        >>> pictures.check(MaskList.read("my masks/legend.json"))
        """
        # PartMasks says which pictures can't be in one folder.
        blank = torch.zeros(len(listed.pictures), 1, 1, dtype=torch.uint8)
        PartMasks(listed.legend, blank, listed.pictures, w=self.w)
        high, wide = listed.size
        shown = [p.photograph for p in listed.pictures if p.photograph is not None]
        if len(shown) < len(listed.pictures):
            generator = self._of_generated()
            check_generator(generator, listed.generator_hash, "the masks were made for")
            side = generator.img_resolution
            if listed.size != (side, side):
                raise LisError(
                    f"the masks are {wide} x {high} pixels; pictures of generator {generator.name!r} are "
                    f"{side} x {side}."
                )
            for p in listed.pictures:
                if p.photograph is None and p.label is not None and p.label >= generator.c_dim:
                    raise LisError(
                        f"{p.file} is of class {p.label}; generator {generator.name!r} has {generator.c_dim} classes."
                    )
        if shown:
            x = self.photographs
            if x is None:
                raise LisError(f"{len(shown)} of the pictures are photographs; give photographs=.")
            if max(shown) >= len(x) or tuple(x.shape[2:]) != listed.size:
                raise LisError(
                    f"there are {len(x)} photographs of {x.shape[3]} x {x.shape[2]} pixels; the masks are of "
                    f"photographs up to number {max(shown)}, of {wide} x {high} pixels."
                )

    def title(self, i: int) -> str:
        """Return a picture's name for people: "Coat, seed 17, psi 0.7", or "Coat, photograph 17"."""
        p = self._entry(i)
        classes, label = self._classes, -1 if p.label is None else p.label
        name = classes[label] + ", " if 0 <= label < len(classes) else f"class {label}, " * (label >= 0)
        if p.photograph is not None:
            return f"{name}photograph {p.photograph}"
        return f"{name}{p.file}" if p.seed is None else f"{name}seed {p.seed}, psi {p.psi:g}"

    def picture(self, i: int) -> Tensor:
        """Return one picture [C, H, W] in the unit range, on the CPU."""
        self._entry(i)
        if i not in self._rendered:
            self._make(i)
        return self._rendered[i]

    def rgb(self, i: int) -> np.ndarray:
        """Return one picture as bytes [H, W, 3]; grey ones have three equal channels."""
        x = convert_range(self.picture(i), "unit", "byte")  # [C, H, W]
        return np.ascontiguousarray(x.expand(3, -1, -1).permute(1, 2, 0).numpy())

    def guess(self, i: int) -> Tensor | None:
        """Return the segmenter's labels of one picture, uint8 [H, W] in the list's legend; None without a segmenter.

        Raises
        ------
        LisError
            For a segmenter of another generator or size, and one that reads feature maps where the picture is a
            photograph.
        """
        p = self._entry(i)
        if self.segmenter is not None and i not in self._guessed:
            if p.photograph is None:
                self._make(i, with_guess=True)
            else:
                labels = segment_pictures(self.segmenter, self.picture(i)[None])[0]
                _keep(self._guessed, i, self._translated(self.segmenter, labels))
        return self._guessed.get(i)

    @torch.no_grad()
    def _make(self, i: int, with_guess: bool = False) -> None:
        p = self.listed.pictures[i]
        if p.photograph is not None and self.photographs is not None:
            _keep(self._rendered, i, self.photographs[p.photograph].cpu())
            return
        w = None if self.w is None else self.w[i : i + 1]
        blank = torch.zeros(1, *self.listed.size, dtype=torch.uint8)
        one = PartMasks(self.listed.legend, blank, (p,), self.listed.generator_hash, w=w)
        generator = self._of_generated()
        if with_guess and self.segmenter is not None:  # from one pass
            x, labels = render_parts(generator, self.segmenter, one.latents(generator))
            _keep(self._guessed, i, self._translated(self.segmenter, labels[0]))
        else:
            x = generator.render(one.latents(generator))
        _keep(self._rendered, i, x[0].cpu())

    def _translated(self, segmenter: Segmenter, labels: Tensor) -> Tensor:
        """Turn a segmenter's labels into the legend's, by name."""
        names = self.listed.legend.names
        own = [names.index(n) if n in names else 0 for n in segmenter.legend.names]
        return torch.tensor(own, dtype=torch.uint8)[labels.long().cpu()]  # [H, W]

    def _entry(self, i: int) -> LabelledPicture:
        pictures = self.listed.pictures
        return pictures[whole_number(i, "the number of a picture", 0, len(pictures) - 1)]

    def _of_generated(self) -> Generator:
        if self.generator is None:
            raise LisError("the pictures are a generator's; give the generator.")
        return self.generator


def picture_size(
    pictures: tuple[LabelledPicture, ...], generator: Generator | None, photographs: Tensor | None
) -> tuple[int, int]:
    """Return (height, width) of pictures that come from a generator, photographs [N, C, H, W], or both.

    Raises
    ------
    LisError
        For none, models or photographs that are missing, and different sizes.

    Examples
    --------
    >>> picture_size(choose_pictures(generator), generator, None)
    (32, 32)
    """
    if not pictures:
        raise LisError("the list of pictures is empty; give at least one, from choose_pictures for instance.")
    kinds = {p.photograph is not None for p in pictures}
    sizes: set[tuple[int, int]] = set()
    if False in kinds and generator is not None:
        sizes.add((generator.img_resolution, generator.img_resolution))
    if True in kinds and photographs is not None:
        sizes.add((int(photographs.shape[2]), int(photographs.shape[3])))
    if not sizes:
        missing = "photographs" if True in kinds else "generator"
        raise LisError(f"the {missing} that the pictures are of is missing; give {missing}=.")
    if len(sizes) > 1:
        raise LisError(
            f"generated pictures and photographs have different sizes, {sorted(sizes)}; label them in two folders."
        )
    return sizes.pop()


def image_tensor(photographs: Photographs | Tensor | None) -> Tensor | None:
    """Return the images [N, C, H, W] of photographs, checked."""
    x = photographs.images if isinstance(photographs, Photographs) else photographs
    if x is not None:
        check_images(x)
        if x.shape[1] not in (1, 3):
            raise LisError(f"the photographs have {x.shape[1]} channels; 1 or 3 were expected.")
    return x


def _keep(kept: dict[int, Tensor], i: int, value: Tensor) -> None:
    kept[i] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
