"""The list of a folder of masks: which pictures they belong to, and the legend; one JSON file that people can edit."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LisError
from ..names import finite_number, spelling_hint, whole_number
from .legend import Legend

FORMAT = "lis-masks-1"
SPLITS = ("train", "held out")
# In the legend file, and of LabelledPicture.
_KEYS = {name: name for name in ("file", "seed", "psi", "split", "photograph")} | {"class": "label"}
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
class MaskList:
    """What ``legend.json`` says of a folder of masks.

    Attributes
    ----------
    legend : Legend
        Names and colours of the labels.
    size : tuple of int
        (height, width) of every mask, in pixels.
    pictures : tuple of LabelledPicture
        At least one.
    generator_hash, made : str
        As in `PartMasks`.

    Examples
    --------
    >>> MaskList.read("my masks/legend.json").pictures[0].file
    '03_0307.png'
    """

    legend: Legend
    size: tuple[int, int]
    pictures: tuple[LabelledPicture, ...]
    generator_hash: str = ""
    made: str = ""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> MaskList:
        """Read the file.

        Raises
        ------
        LisError
            For anything else than such a list: unknown format, names that lead out of the folder.
        """
        try:
            described = json.loads(
                Path(path).read_text(encoding="utf-8-sig")
            )  # some editors begin with a mark
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
        return cls(legend, (high, wide), pictures, **texts)

    def text(self) -> str:
        """Return the file's text."""
        described = {
            "format": FORMAT,
            "size": list(self.size),
            "generator_hash": self.generator_hash,
            "made": self.made,
            "parts": self.legend.to_json(),
        }
        pictures = [{key: getattr(p, name) for key, name in _KEYS.items()} for p in self.pictures]
        # One picture a line: people read and edit this file.
        text = json.dumps(described, indent=1, ensure_ascii=False)
        rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in pictures)
        return f'{text[:-2]},\n "pictures": [\n{rows}\n ]\n}}\n'


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
