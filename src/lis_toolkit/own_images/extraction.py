"""Features of your own images, batch by batch into a folder that survives being killed; `lis features`."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classifiers import Classifier, load_classifier
from ..classifiers.penultimate import evaluating
from ..errors import LisError
from ..files import provenance
from ..names import whole_number
from .decoding import to_channels
from .sources import ImageSource, UnreadableImage, open_images
from .store import FORMAT, JOURNAL, FeatureStore, read_journal
from .writer import FeatureWriter, clear_folder, manifest_there

__all__ = ["SkippedImages", "extract_to_folder", "features_command"]

PLAIN_SIZE = (256, 256)  # of an image that any preprocessing takes
MOST_ELONGATED = (
    100  # longer to shorter side; with the shorter one resized, a line of pixels would fill the memory
)
T = TypeVar("T")


class SkippedImages(UserWarning):
    """Some images have no features; the text says how many, and why the first ones were skipped."""


def extract_to_folder(
    classifier: Classifier,
    source: Any,
    folder: str | os.PathLike[str],
    *,
    batch_size: int = 64,
    labels: Any = None,
    resize: bool = False,
    resume: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> FeatureStore:
    """Put penultimate activations and logits of your own images into a folder.

    Images are read, brought to the classifier's channels (grey by luminance, or grey repeated) and preprocessed one by
    one, encoded in batches, and written as they come; memory holds two batches of preprocessed images and, for a
    moment, one decoded image for each worker. A process that is killed goes on from its last checkpoint when it is
    started again, and ends with the same bytes as one that was not disturbed.

    Parameters
    ----------
    classifier
        In evaluation mode during the call, on its own device.
    source, labels
        As for `open_images`: folder, files, array, tensor, PIL images, Dataset, Photographs, table.
    folder
        Made if it is not there. Unrelated files in it stay.
    batch_size
        Images at a time. Another one changes results by rounding only, and may be used to go on.
    resize
        For a classifier of images of one size: bring the shorter side to it (bilinear, antialiased) and cut out the
        centre. False: images of other sizes are skipped. Others resize by their own preprocessing.
    resume
        Go on with what is in the folder, or return it at once if it is complete; False: refuse to.
    overwrite
        Remove the features that are in the folder and start again.
    workers
        Threads that read and preprocess; 0: none. Default: a few for files, none for what is in memory and for
        datasets, which need not bear several threads.
    progress
        Show a progress bar.

    Returns
    -------
    FeatureStore

    Warns
    -----
    SkippedImages
        When images were skipped, with the first few reasons.

    Raises
    ------
    LisError
        When no image at all could be used, the folder holds features of another classifier, source or setting (which),
        or files of others under these names, is being filled by another process, can't be written, the disk is too
        small, or the classifier gives NaN.
    CheckpointError
        When what is in the folder is damaged.

    Examples
    --------
    >>> store = extract_to_folder(load_classifier("resnet50"), "photographs", "features", batch_size=32)
    >>> print(store.summary())
    """
    store = _fill(
        classifier, source, folder, batch_size, labels, resize, resume, overwrite, workers, progress
    )
    if len(store.skipped):
        warnings.warn(store.summary(), SkippedImages, stacklevel=2)
    return store


def features_command(
    images: str,
    classifier: str,
    out: str,
    batch_size: int = 64,
    resize: bool = False,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Carry out `lis features`: extract, and print the summary, in the words of a shell."""
    model = load_classifier(classifier, device=device)
    try:
        store = _fill(model, images, out, batch_size, None, resize, True, overwrite, None, True)
    except LisError as error:
        raise type(error)(_in_a_shell(str(error))) from error
    print(_in_a_shell(store.summary()))


def _in_a_shell(text: str) -> str:
    return text.replace("resize=True", "--resize").replace("overwrite=True", "--overwrite")


def _fill(
    classifier: Any,
    source: Any,
    folder: str | os.PathLike[str],
    batch_size: int,
    labels: Any,
    resize: bool,
    resume: bool,
    overwrite: bool,
    workers: int | None,
    progress: bool,
) -> FeatureStore:
    if not isinstance(classifier, Classifier):
        raise LisError(
            f"the classifier is a {type(classifier).__name__}; a Classifier was expected: Classifier(module, ...)."
        )
    batch_size = whole_number(batch_size, "batch_size", 1)
    images = open_images(source, labels)
    if workers is None:
        workers = min(4, os.cpu_count() or 1) if images.in_threads else 0
    workers = whole_number(workers, "workers", 0)
    place = Path(folder).expanduser()
    manifest = _describe(classifier, images, bool(resize))
    if overwrite:
        clear_folder(place)
    there = manifest_there(place)
    if there is not None:
        _check_same(folder, there, manifest, resume)
        if there["state"] == "complete":
            with contextlib.suppress(OSError):  # of a process that was killed in its last moment
                (place / JOURNAL).unlink(missing_ok=True)
            return FeatureStore.open(place)
        manifest = there
    created = not place.exists()
    with FeatureWriter(place, manifest) as writer:
        try:
            readable = _run(classifier, images, writer, batch_size, resize, workers, progress)
            if readable:
                writer.finish(images.names)
        except (KeyboardInterrupt, RuntimeError) as stop:
            if not _is_interrupt(stop):
                raise
            writer.checkpoint()
            raise KeyboardInterrupt(
                f"stopped after {writer.done} of {len(images)} images; the same call goes on from there in {folder}"
            ) from None
    if not readable:
        reasons = _first_reasons(images, [row for batch in read_journal(place)[0] for row in batch])
        clear_folder(place)
        if created:
            with contextlib.suppress(OSError):
                place.rmdir()
        fixed = classifier.size is not None and not resize
        hint = " Images of other sizes are taken with resize=True." if fixed else ""
        raise LisError(f"none of the {len(images)} images could be used: {reasons}.{hint}")
    return FeatureStore.open(place)


def _describe(classifier: Classifier, images: ImageSource, resize: bool) -> dict[str, Any]:
    """Return the manifest of a folder that is about to be filled."""
    count = len(images)
    arrays = {"r": [count, classifier.num_units]}
    if classifier.has_head:
        arrays["logits"] = [count, classifier.num_classes]
    return {
        "format": FORMAT,
        "state": "unfinished",
        "images": count,
        "arrays": arrays,
        "classifier": {
            "name": classifier.name,
            "hash": classifier.hash,  # of weights and preprocessing
            "units": classifier.num_units,
            "classes": list(classifier.classes),
            "channels": classifier.channels,
            "size": classifier.size,
            "input_size": classifier.input_size,
            "explanation": classifier.explanation,
        },
        "source": {**images.identity, "notes": images.notes},
        "settings": {"resize": resize},
        "provenance": provenance(),
    }


def _check_same(
    folder: str | os.PathLike[str], there: dict[str, Any], here: dict[str, Any], resume: bool
) -> None:
    """Refuse to go on with features of something else, naming what differs."""
    ways = "Give another folder, or overwrite=True to replace them."
    if not resume:
        raise LisError(f"{folder} holds features already ({there['state']}) and resume is False. {ways}")
    compared = {"classifier": ("name", "hash"), "source": ("kind", "images", "range", "content", "labels"),
                "settings": ("resize",)}  # fmt: skip
    differ = []
    for part, keys in compared.items():
        for key in keys:
            old, new = (json.loads(json.dumps(m[part].get(key))) for m in (there, here))
            if old != new and not (key == "name" and there[part].get("hash") == here[part]["hash"]):
                old, new = (v[:12] if isinstance(v, str) and len(v) == 64 else v for v in (old, new))
                differ.append(f"{part} {key} {old} there, {new} here")
    if differ:
        changed = "source content" in str(differ)
        hint = " Files count as changed when name, size or date differ." if changed else ""
        raise LisError(f"{folder} holds features of something else ({'; '.join(differ)}).{hint} {ways}")


class _Prepared(NamedTuple):
    """One image, ready for the network [1, C, H, W] (None: skipped), and what the table will say of it."""

    inputs: Tensor | None
    label: Any
    width: int | None
    height: int | None
    reason: str
    note: str


@torch.no_grad()  # here too, because every thread has a mode of its own
def _prepare(classifier: Classifier, images: ImageSource, i: int, resize: bool) -> _Prepared:
    label = None if images.labels is None else images.labels[i]
    try:
        x, label, note = images.load(i)
    except UnreadableImage as error:
        return _Prepared(None, label, None, None, error.reason, "")
    height, width = x.shape[1:]
    x = to_channels(x, classifier.channels)[None]
    fits = classifier.size is not None and (height, width) == tuple(classifier.size)
    if classifier.size is not None and not fits and not resize:
        wanted = f"{classifier.size[1]} x {classifier.size[0]}"
        reason = f"{width} x {height} pixels, {classifier.name} takes {wanted} (resize=True resizes)"
        return _Prepared(None, label, width, height, reason, note)
    if not fits and max(height, width) > MOST_ELONGATED * min(height, width):
        reason = f"{width} x {height} pixels, too elongated to resize (more than {MOST_ELONGATED} : 1)"
        return _Prepared(None, label, width, height, reason, note)
    if classifier.size is not None and not fits:
        x = fit_size(x, classifier.size)
    try:
        device, dtype = classifier.device, classifier.dtype
        inputs = classifier.preprocess(x.to(device, dtype))
    except (LisError, RuntimeError, ValueError) as error:
        # When a plain image fails as well, it is not this one's fault, and the run ends here.
        classifier.preprocess(
            torch.zeros(1, classifier.channels, *(classifier.size or PLAIN_SIZE)).to(device, dtype)
        )
        return _Prepared(None, label, width, height, f"the preprocessing fails: {error}", note)
    return _Prepared(inputs, label, width, height, "", note)


def fit_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring images [N, C, H, W] to (height, width): resized, antialiased, until both fit, and the centre cut out."""
    height, width = x.shape[2:]
    scale = max(size[0] / height, size[1] / width)
    shape = [max(size[0], round(height * scale)), max(size[1], round(width * scale))]
    x = torch.nn.functional.interpolate(x, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
    return x[:, :, top : top + size[0], left : left + size[1]]


def _in_order(function: Callable[[int], T], indices: Iterable[int], workers: int, ahead: int) -> Iterator[T]:
    """Yield function(i) in order, computed by threads at most `ahead` results before they are asked for."""
    if workers == 0:
        yield from map(function, indices)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lis-images")
    waiting: deque[Future[T]] = deque()
    try:
        for i in indices:
            waiting.append(pool.submit(function, i))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(
    classifier: Classifier,
    images: ImageSource,
    writer: FeatureWriter,
    batch_size: int,
    resize: bool,
    workers: int,
    progress: bool,
) -> int:
    """Do what is left to do, and return how many images have features."""
    count, start = len(images), writer.done
    prepared = _in_order(
        lambda i: _prepare(classifier, images, i, resize), range(start, count), workers, batch_size
    )
    try:
        with (
            evaluating(classifier),
            tqdm(total=count, initial=start, desc="features", unit="image", disable=not progress) as bar,
        ):
            while start < count:
                batch = [next(prepared) for _ in range(min(batch_size, count - start))]
                writer.write(*_encode(classifier, images, batch, start))
                start += len(batch)
                bar.update(len(batch))
                batch.clear()  # else it would be there still while the next one is gathered
                bar.set_postfix(skipped=start - writer.readable, refresh=False)
    finally:
        prepared.close()  # type: ignore[attr-defined]  # threads end before anything else goes on
    writer.checkpoint()
    return writer.readable


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the root: between two steps of a lock Python turns it into a RuntimeError about the lock."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@torch.no_grad()
def _encode(
    classifier: Classifier, images: ImageSource, batch: list[_Prepared], start: int
) -> tuple[dict[str, np.ndarray], list[list[Any]]]:
    """Return the rows of the arrays, NaN for skipped images, and of the journal."""
    good = [j for j, item in enumerate(batch) if item.inputs is not None]
    widths = {"r": classifier.num_units} | ({"logits": classifier.num_classes} if classifier.has_head else {})
    rows = {name: np.full((len(batch), width), np.nan, np.float32) for name, width in widths.items()}
    answers: list[list[Any]] = [[None] * 4 for _ in batch]
    if good:
        r = classifier.encode(torch.cat([item.inputs for item in batch if item.inputs is not None]))  # [n, R]
        found = {"r": r} | ({"logits": classifier.head(r)} if classifier.has_head else {})
        for name, values in found.items():
            rows[name][good] = values.float().cpu().numpy()
            bad = [j for j in good if not np.isfinite(rows[name][j]).all()]
            if bad:
                raise LisError(
                    f"{classifier.name} gives NaN or infinite activations for {images.names[start + bad[0]]}: its "
                    "weights are damaged, or too large for its data type."
                )
        for j in good if classifier.has_head else ():
            logits = rows["logits"][j].astype(np.float64)  # [K]
            top = int(logits.argmax())
            share = 1 / np.exp(logits - logits[top]).sum()  # softmax
            answers[j] = [top, classifier.classes[top], float(logits[top]), float(share)]
    lines = [
        [item.label, *answer, item.width, item.height, item.inputs is not None, item.reason, item.note]
        for item, answer in zip(batch, answers, strict=True)
    ]
    return rows, lines


def _first_reasons(images: ImageSource, rows: Iterable[list[Any]], most: int = 3) -> str:
    told = [f"{name} ({row[-2]})" for name, row in zip(images.names, rows, strict=False)]
    return "; ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")
