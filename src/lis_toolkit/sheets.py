"""Sheets: figures made of small pictures, enlarged crisply and labelled; functions return a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import LisError
from .images import check_images
from .pixel_sheet import BAD, FAINT, GOOD, INK, PixelSheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .units import UnitWalk

__all__ = ["class_sheet", "contact_sheet", "cycle_figure", "row_sheet"]

TILE = 96  # pixels: a picture is enlarged by the whole number that comes closest from below
MOST_OVERVIEW = 128  # pixels of a picture among many


def picture_scale(images: Tensor, tile: int = TILE) -> int:
    """Return the whole number by which pictures [..., H, W] are enlarged to about `tile` pixels."""
    return max(1, tile // int(images.shape[-2]))


def check_walk(walk: UnitWalk, sample: int) -> None:
    """Raise a LisError unless the walk has pictures [N, S, C, H, W] that can be drawn, and the sample."""
    if walk.images.ndim != 5:
        raise LisError(
            f"the walk of unit {walk.unit} has images of shape {list(walk.images.shape)}; [N, S, C, H, W] was expected."
        )
    check_images(walk.images.flatten(0, 1), name=f"the images of unit {walk.unit}")
    if not 0 <= sample < len(walk.images):
        raise LisError(
            f"sample {sample} does not exist: the walk of unit {walk.unit} has {len(walk.images)} samples, "
            f"numbered from 0."
        )


def softmax(logits: Tensor) -> Tensor:
    """Return class probabilities, float32 on the CPU."""
    return torch.softmax(logits.detach().cpu().float(), dim=-1)


def contact_sheet(
    walks: Sequence[UnitWalk],
    classifier: Any = None,
    sample: int = 0,
    captions: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw unit walks, one row a unit and one column a step.

    Above each picture stands the value the unit was set to, and the value the classifier reads from the picture;
    below it the class the classifier sees there, in orange where it differs from the first step's; nothing stands
    there for an encoder without a head.

    Parameters
    ----------
    walks : sequence of UnitWalk
        What `tune_unit` returned; images [N, S, C, H, W] in the range 0 to 1.
    classifier : Classifier, optional
        Gives class names, and the classes for and against which each unit votes in the head.
    sample : int
        Which of the N starting samples is drawn.
    captions : sequence of str, optional
        One line or more for each row, written at its left.
    title : str, optional
        Written above the sheet.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        No walks, a sample that does not exist, or not one caption a walk.

    Notes
    -----
    Source: systematic unit tuning, arXiv 2409.16865, section 3.

    Examples
    --------
    >>> walk = tune_unit(generator, classifier, link, r, unit=17)
    >>> contact_sheet([walk], classifier).savefig("unit17.png")
    """
    walks = list(walks)
    if not walks:
        raise LisError("contact_sheet was given no unit walks; make at least one with tune_unit.")
    if captions is not None and len(captions) != len(walks):
        raise LisError(
            f"contact_sheet was given {len(captions)} captions for {len(walks)} walks; give one each."
        )
    for walk in walks:
        check_walk(walk, sample)
    scale = picture_scale(walks[0].images)
    tall, wide = (scale * int(n) for n in walks[0].images.shape[-2:])
    classes = getattr(classifier, "classes", None)
    headed = classifier is not None and getattr(classifier, "has_head", True)
    weights = head_weights(classifier) if headed else None
    notes = [[] if weights is None else vote_lines(weights[:, walk.unit], classes) for walk in walks]
    if captions is not None:
        notes = [lines + caption.splitlines() for lines, caption in zip(notes, captions, strict=True)]
    texts = [step_texts(walk, sample, classes) for walk in walks]
    longest = max(len(line) for lines in [[""], *notes] for line in lines)
    above = max(len(text) for steps in texts for text, _, _ in steps)
    below = max(len(text) for steps in texts for _, text, _ in steps)
    left, top, gap = max(190, 24 + round(5.4 * longest)), 14 + (26 if title else 0), 14
    cell_w, cell_h = max(wide, 88, 5 * above, round(5.4 * below)) + gap, tall + 52
    steps = max(len(walk.values) for walk in walks)
    sheet = PixelSheet(left + steps * cell_w + gap, top + len(walks) * cell_h)
    if title:
        sheet.write(12, 22, title, 11, weight="bold")
    for row, walk in enumerate(walks):
        y = top + row * cell_h + 20
        sheet.write(12, y + 10, f"unit {walk.unit}", 10, weight="bold")
        for number, line in enumerate(notes[row]):
            sheet.write(12, y + 30 + 15 * number, line, 7.5, color=FAINT)
        for step, (values, seen, same) in enumerate(texts[row]):
            x = left + step * cell_w + (cell_w - gap - wide) // 2
            sheet.place(walk.images[sample, step], x, y, scale)
            sheet.write(x + wide / 2, y - 4, values, 6.5, ha="center")
            if seen:
                sheet.write(x + wide / 2, y + tall + 13, seen, 7, ha="center", color=INK if same else BAD)
    return sheet.figure()


def step_texts(walk: UnitWalk, sample: int, classes: Sequence[str] | None) -> list[tuple[str, str, bool]]:
    """Say for each step what was set and read, the class seen ("" by an encoder), and whether it is the first's."""
    shown = softmax(walk.logits[sample])  # [S, K]
    best = shown.argmax(1).tolist() if shown.shape[1] else None
    said = []
    for step, value in enumerate(walk.values.tolist()):
        values = f"set {value:.3g}, reads {float(walk.r[sample, step, walk.unit]):.3g}"
        if best is None:
            said.append((values, "", True))
            continue
        name = classes[best[step]] if classes else f"class {best[step]}"
        said.append((values, f"{name} {float(shown[step, best[step]]):.0%}", best[step] == best[0]))
    return said


def vote_lines(weights: Tensor, classes: Sequence[str] | None) -> list[str]:
    """Say for and against which class a unit votes most, from its head weights [K]."""
    high, low = int(weights.argmax()), int(weights.argmin())
    name = (lambda index: classes[index]) if classes else (lambda index: f"class {index}")
    return [
        f"for {name(high)} {float(weights[high]):+.2f}",
        f"against {name(low)} {float(weights[low]):+.2f}",
    ]


def head_weights(classifier: Any) -> Tensor:
    """Return the weights [K, R] of a linear head, read off its answers to single units."""
    with torch.no_grad():
        eye = torch.eye(int(classifier.num_units), device=classifier.device, dtype=classifier.dtype)
        return (classifier.head(eye) - classifier.head(torch.zeros_like(eye[:1]))).T.float().cpu()  # [K, R]


def class_sheet(
    images: Tensor, labels: Tensor, classes: Sequence[str], columns: int = 20, title: str | None = None
) -> Figure:
    """Draw the first images of every class that occurs, one row a class with its name at the left.

    Images of more than 128 pixels are shown reduced, by means over blocks of pixels.

    Parameters
    ----------
    images : Tensor [N, C, H, W]
        In the range 0 to 1.
    labels : Tensor [N]
        Class index of each image.
    classes : sequence of str
        Names of all classes.
    columns : int
        Images a row.
    title : str, optional
        Written above the sheet.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        Labels that do not fit the images or the class names.

    Examples
    --------
    >>> photographs = load_fashion("sample")
    >>> class_sheet(photographs.images, photographs.labels, photographs.classes).savefig("sheet.png")
    """
    check_images(images, name="images")
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != images.shape[:1]:
        raise LisError(
            f"labels has shape {list(labels.shape)} for {len(images)} images; expected one label each."
        )
    if columns < 1:
        raise LisError(f"columns is {columns}; expected at least 1.")
    present = [int(index) for index in labels.unique()]
    if present[0] < 0 or present[-1] >= len(classes):
        raise LisError(
            f"labels run from {present[0]} to {present[-1]}, but there are {len(classes)} class names."
        )
    if (block := -(-max(images.shape[-2:]) // MOST_OVERVIEW)) > 1:
        images = torch.nn.functional.avg_pool2d(images.float(), block)
    scale = picture_scale(images, 64)
    tall, wide = (scale * int(n) for n in images.shape[-2:])
    widest = max(int((labels == index).sum()) for index in present)
    columns = min(columns, widest)
    longest = max(len(str(classes[index])) for index in present)
    left, top, gap = max(110, 20 + 7 * longest), 10 + (26 if title else 0), 4
    sheet = PixelSheet(left + columns * (wide + gap) + 8, top + len(present) * (tall + gap) + 6)
    if title:
        sheet.write(12, 22, title, 11, weight="bold")
    for row, index in enumerate(present):
        y = top + row * (tall + gap)
        sheet.write(left - 10, y + tall / 2, str(classes[index]), 9, ha="right", va="center")
        for column, image in enumerate(images[labels == index][:columns]):
            sheet.place(image, left + column * (wide + gap), y, scale)
    return sheet.figure()


def row_sheet(rows: Mapping[str, Tensor], columns: int = 20, title: str | None = None) -> Figure:
    """Draw batches of images [N, C, H, W] of one size in the range 0 to 1, each a row with its name at the left.

    Examples
    --------
    >>> row_sheet({"psi 1": generator.render(w), "psi 0.5": generator.render(pulled)}).savefig("rows.png")
    """
    if not rows:
        raise LisError("row_sheet was given no rows; give at least one batch of images with its name.")
    for name, images in rows.items():
        check_images(images, name=f"the images of row {name!r}")
    if len({images.shape[1:] for images in rows.values()}) > 1:
        shapes = ", ".join(f"{name!r} {list(images.shape)}" for name, images in rows.items())
        raise LisError(f"the rows hold images of several shapes ({shapes}); one for all was expected.")
    labels = torch.cat([torch.full((len(images),), i) for i, images in enumerate(rows.values())])
    return class_sheet(
        torch.cat([images.cpu() for images in rows.values()]), labels, list(rows), columns, title
    )


def cycle_figure(
    photographs: Tensor,
    reconstructions: Tensor,
    logits: Tensor,
    logits_again: Tensor,
    classes: Sequence[str],
    labels: Tensor | None = None,
    columns: int = 10,
    title: str | None = None,
) -> Figure:
    """Draw each photograph above its linked re-render, with what the classifier sees in both.

    The frame is blue where the class survives photograph -> activations -> latent -> picture, orange where not.

    Parameters
    ----------
    photographs, reconstructions : Tensor [N, C, H, W]
        In the range 0 to 1; row n of one belongs to row n of the other.
    logits, logits_again : Tensor [N, K]
        The classifier's logits of the photographs and of the reconstructions.
    classes : sequence of str
        Names of the K classes.
    labels : Tensor [N], optional
        True classes, written above the photographs when given.
    columns : int
        Pairs a row.
    title : str, optional
        Written above the sheet.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LisError
        Tensors of different lengths, or logits that do not fit the class names.

    Notes
    -----
    Source: the cycle x -> r -> w -> x' goes beyond arXiv 2409.16865, which reports in-sample errors only.

    Examples
    --------
    >>> again = generator.render(link(r))
    >>> cycle_figure(x, again, classifier(x), classifier(again), classifier.classes)
    """
    check_images(photographs, name="photographs")
    check_images(reconstructions, name="reconstructions")
    count = len(photographs)
    for name, value in (
        ("reconstructions", reconstructions),
        ("logits", logits),
        ("logits_again", logits_again),
    ):
        if len(value) != count:
            raise LisError(f"{name} has {len(value)} rows for {count} photographs; expected as many.")
    for name, value in (("logits", logits), ("logits_again", logits_again)):
        if value.shape[1:] != (len(classes),):
            raise LisError(
                f"{name} has shape {list(value.shape)}; expected {len(classes)} columns, one a class."
            )
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    scale = picture_scale(photographs)
    tall, wide = (scale * int(n) for n in photographs.shape[-2:])
    scale_again = max(1, tall // int(reconstructions.shape[-2]))
    tall_again, wide_again = (scale_again * int(n) for n in reconstructions.shape[-2:])
    left, top, gap = 96, 12 + (26 if title else 0), 14
    widest = max(
        wide, wide_again
    )  # a generator may draw larger or smaller pictures than the classifier takes
    cell_w, cell_h = max(widest, 96) + gap, tall + tall_again + 62
    sheet = PixelSheet(left + columns * cell_w, top + rows * cell_h)
    if title:
        sheet.write(12, 22, title, 11, weight="bold")
    before, after = softmax(logits), softmax(logits_again)
    for number in range(count):
        row, column = divmod(number, columns)
        x, y = left + column * cell_w + (widest - wide) // 2, top + row * cell_h + 20
        x_again, below = left + column * cell_w + (widest - wide_again) // 2, y + tall + 22
        if column == 0:
            sheet.write(left - 12, y + tall / 2, "photograph", 8, ha="right", va="center")
            sheet.write(left - 12, below + tall_again / 2, "re-render", 8, ha="right", va="center")
        seen, again = int(before[number].argmax()), int(after[number].argmax())
        sheet.place(photographs[number], x, y, scale)
        sheet.place(
            reconstructions[number], x_again, below, scale_again, frame=GOOD if seen == again else BAD
        )
        if labels is not None:
            sheet.write(x + wide / 2, y - 5, str(classes[int(labels[number])]), 7, ha="center", color=FAINT)
        sheet.write(
            x + wide / 2, y + tall + 13, f"{classes[seen]} {float(before[number, seen]):.0%}", 7, ha="center"
        )
        sheet.write(
            x + wide / 2,
            below + tall_again + 14,
            f"{classes[again]} {float(after[number, again]):.0%}",
            7,
            ha="center",
            color=GOOD if seen == again else BAD,
        )
    return sheet.figure()
