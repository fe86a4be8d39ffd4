"""Draw the parts of pictures by hand: masks for a generator of one's own, saved stroke by stroke."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.names import whole_number
from lis_toolkit.parts import (
    LabelledPicture,
    LabellingFolder,
    Legend,
    MaskChangedError,
    PartMasks,
    Segmenter,
    choose_photographs,
    choose_pictures,
    draw_outlines,
    labelling_folder,
)
from lis_toolkit.parts.mask_files import content_key
from lis_toolkit.stylegan import Generator

from .assets import css, esm
from .message import tell
from .snapshot import Snapshot, static_html

MESSAGES = ("save", "go", "reload", "keys")  # what the browser may ask for
PER_CLASS = 6
SCRIPTS = ("map", "stage", "store", "paint", "panel")  # of static/, in this order


def _sent(read: Any) -> Any:
    """Make a trait that counts changes, and sends what `read` gives: new pages get the newest of it, too."""
    return traitlets.Int(0).tag(sync=True, to_json=lambda _, widget: read(widget))


class PartLabeller(Snapshot, anywidget.AnyWidget):
    """Paint the parts of pictures; every stroke is saved as a PNG mask in a folder that `load_masks` reads.

    Opens the folder, or begins it. The tools, their keys, and how it saves are drawn by `static/labeller*.js`.

    Parameters
    ----------
    folder : path or LabellingFolder
        Where the masks are, or will be.
    generator : Generator, optional
        Whose pictures are labelled; photographs need none.
    legend : Legend or list of str, optional
        Parts with colours, or their names alone; to begin a folder. Default: the segmenter's.
    pictures : sequence of LabelledPicture, optional
        Which to label. Default: by the next five.
    classes, per_class, seeds, psi, split
        As in `choose_pictures`; photographs are "held out" unless told otherwise. Where the folder is there and none
        of classes, per_class and seeds is given, only its own pictures are shown; else those that it lacks are added.
    segmenter : Segmenter, optional
        Whose guess can be taken and corrected.
    photographs : Photographs or Tensor, optional
        Pictures to label in place of generated ones, or beside them.

    Attributes
    ----------
    folder : LabellingFolder
        What is on disk.
    index : int
        Number of the picture that is shown.
    labels : uint8 [H, W]
        Its labels, as painted last.

    Raises
    ------
    LisError
        Whatever `labelling_folder` refuses. Later errors are shown in the widget.

    Examples
    --------
    >>> labeller = PartLabeller("my masks", generator, ["sleeve", "torso"], per_class=3, segmenter=segmenter)
    >>> labeller.masks().labels.shape
    torch.Size([12, 32, 32])
    """

    _esm = esm("kit.js", "keys.js", *(f"labeller_{part}.js" for part in SCRIPTS), "labeller.js")
    _css = css("lis.css", "labeller.css")

    place = traitlets.Unicode().tag(sync=True)
    identity = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    files = traitlets.List(traitlets.Unicode()).tag(sync=True)
    titles = traitlets.List(traitlets.Unicode()).tag(sync=True)
    marks = traitlets.List(traitlets.Bool()).tag(sync=True)
    index = traitlets.Int(-1).tag(sync=True)
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    rgb = traitlets.Bytes(b"").tag(sync=True)
    label_bytes = _sent(lambda widget: widget._labels.tobytes())
    guess_bytes = _sent(lambda widget: b"" if widget._guess is None else widget._guess.tobytes())
    locked = traitlets.Bool(False).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        folder: str | os.PathLike[str] | LabellingFolder,
        generator: Generator | None = None,
        legend: Legend | Sequence[str] | None = None,
        *,
        pictures: Iterable[LabelledPicture] | None = None,
        classes: Iterable[str | int] | str | int | None = None,
        per_class: int | None = None,
        seeds: Iterable[int] | None = None,
        psi: float = 1.0,
        split: str | None = None,
        segmenter: Segmenter | None = None,
        photographs: Photographs | Any = None,
    ) -> None:
        if isinstance(folder, LabellingFolder):
            self.folder = folder
            if segmenter is not None:
                folder.segmenter = segmenter
        else:
            there = any(
                os.path.isfile(os.path.join(folder, name)) for name in ("legend.json", "to-label.json")
            )
            asked = classes is not None or per_class is not None or seeds is not None
            wanted = () if pictures is None else tuple(pictures)
            count = PER_CLASS if per_class is None else per_class
            if pictures is None and (asked or not there):
                if generator is not None:
                    wanted = choose_pictures(generator, classes, count, seeds, psi, split or "train")
                elif isinstance(photographs, Photographs):
                    wanted = choose_photographs(photographs, classes, count, split or "held out")
            self.folder = labelling_folder(folder, generator, legend, wanted, photographs, segmenter)
        self._lock = (
            threading.RLock()
        )  # messages come in a thread of their own where JupyterLab has subshells
        self._labels = np.zeros(self.folder.size, np.uint8)
        self._guess: np.ndarray | None = None
        legend = self.folder.legend
        super().__init__(
            place=str(self.folder.folder),
            identity=self._identity(),
            names=list(legend.names),
            colours=list(legend.colours),
            files=[p.file for p in self.folder.pictures],
            titles=[self.folder.title(i) for i in range(len(self.folder))],
        )
        self.on_msg(self._receive)
        marks = self.folder.labelled
        self.go(marks.index(False) if False in marks else 0)

    @property
    def labels(self) -> torch.Tensor:
        """Labels of the picture that is shown, uint8 [H, W], as painted last."""
        return torch.from_numpy(self._labels.copy())

    @property
    def segmenter(self) -> Segmenter | None:
        """Whose guess is shown; a better one may take its place."""
        return self.folder.segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        self.folder.segmenter = segmenter
        self._show(self.index, keep=True)

    def masks(self) -> PartMasks:
        """Return all masks that were saved.

        Raises
        ------
        LisError
            Before the first one was saved.
        """
        return self.folder.masks()

    def take_guesses(self) -> int:
        """Save the segmenter's guess of every picture that has no mask yet; return how many.

        Raises
        ------
        LisError
            Without a segmenter.
        """
        with self._lock:
            count = self.folder.take_guesses()
            self._show(self.index)
        return count

    def go(self, index: int) -> None:
        """Show another picture.

        Raises
        ------
        LisError
            For a number beyond the pictures.
        """
        self._show(whole_number(index, "the number of a picture", 0, len(self.folder) - 1))

    def reload(self) -> None:
        """Read the mask of the present picture again, after another program changed it."""
        self._show(self.index)

    def static_view(self) -> str:
        """Return the present picture and its parts as HTML that needs no kernel."""
        x, labels = self.folder.picture(self.index)[None], self.labels[None]
        drawn = [draw_outlines(x, some, self.folder.legend, 1, 1, 0.45) for some in (labels * 0, labels)]
        done = f"{sum(self.marks)} of {len(self.files)} labelled"
        return static_html(np.concatenate(drawn), [self.titles[self.index], "its parts"], done)

    def _show(self, index: int, keep: bool = False) -> None:
        """Send picture, labels and guess; `keep`: the labels stay as painted."""
        with self._lock:
            self._show_now(index, keep)

    def _show_now(self, index: int, keep: bool) -> None:
        problem, note, rgb, guess = "", "", np.zeros((*self.folder.size, 3), np.uint8), None
        labels = self._labels
        try:
            rgb = self.folder.rgb(index)
            if not keep:
                labels = self.folder.labels(index).numpy()
        except Exception as error:  # whatever it is, it is shown, and nothing can be painted over it
            problem, labels = tell(error), np.zeros(self.folder.size, np.uint8)
        try:
            found = self.folder.guess(index)
            guess = None if found is None else found.numpy()
        except Exception as error:  # labelling goes on without a guess
            note = f"There is no guess of this picture. {tell(error)}"
        self._labels, self._guess = labels, guess
        with self.hold_sync():
            self.index, self.size, self.rgb = index, self.folder.size, rgb.tobytes()
            self.label_bytes += 1
            self.guess_bytes += 1
            self.marks = list(self.folder.labelled)
            self.locked, self.problem, self.note = bool(problem), problem, note
            self.revision += 1

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Take what the browser asks for; anything malformed is passed over with a note."""
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind not in MESSAGES:
            self.note = f"A message of the browser was passed over: {str(content)[:100]}"
            return
        if kind == "reload":
            self.reload()
        elif kind == "go":
            self._guarded(content, lambda: self.go(content.get("index")))  # type: ignore[arg-type]
        elif kind == "keys":
            self._guarded(content, lambda: self._tell_keys(content))
        else:
            self._guarded(content, lambda: self._save(content, buffers))

    def _guarded(self, content: dict[str, Any], do: Any) -> None:
        try:
            with self._lock:
                do()
        except Exception as error:  # the browser must hear of it, and the next message must be heard
            about = {key: content.get(key) for key in ("number", "view", "file")}
            changed = isinstance(error, MaskChangedError)
            self.send({"kind": "refused", "text": tell(error), "changed": changed, **about})

    def _identity(self) -> str:
        """Tell this folder from another one that is made in its place later."""
        listed = self.folder
        told = [*listed.legend.names, *map(str, listed.size), listed.generator_hash]
        return f"{zlib.crc32(json.dumps(told).encode()):08x}"

    def _number(self, file: Any) -> int:
        if file not in self.files:
            raise LisError(f"there is no picture {str(file)[:100]!r} in this folder.")
        return self.files.index(file)

    def _save(self, content: dict[str, Any], buffers: Any) -> None:
        i, bases = self._number(content.get("file")), content.get("bases")
        data = bytes(buffers[0]) if buffers else b""
        high, wide = self.folder.size
        if len(data) != high * wide:
            raise LisError(f"the browser sent {len(data)} labels; {high} x {wide} were expected.")
        labels = np.frombuffer(data, np.uint8).reshape(high, wide)
        if i == self.index and self.locked:
            raise LisError(f"{self.files[i]} can't be read, and is not overwritten. {self.problem}")
        # Painted in another window, before the kernel died, or before another picture was shown: on what there is?
        there = self._labels if i == self.index else self.folder.labels(i)
        if not isinstance(bases, list) or content_key(there) not in bases:
            raise MaskChangedError(
                f"{self.files[i]} was changed since this was painted: it is not overwritten."
            )
        self.folder.save(i, labels)
        if i == self.index:
            self._labels = labels
        self.send(
            {"kind": "saved", "key": content_key(labels)}
            | {k: content.get(k) for k in ("number", "view", "file")}
        )
        self.marks = list(self.folder.labelled)

    def _tell_keys(self, content: dict[str, Any]) -> None:
        """Say which labels are in some files, so that the browser knows what of its own is newer."""
        files = content.get("files")
        keys = {}
        for file in files if isinstance(files, list) else []:
            i = self._number(file)
            with contextlib.suppress(LisError):  # a damaged mask is shown as such when its turn comes
                keys[file] = content_key(self._labels if i == self.index else self.folder.labels(i))
        self.send({"kind": "keys", "keys": keys, "view": content.get("view")})
