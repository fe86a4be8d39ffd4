"""Counterfactuals as pictures: cycled start, the path, the end and what changed; photographs beside their cycle."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..classifiers import Classifier
from ..errors import LisError
from ..features import extract_features
from ..link import Link
from ..names import cut, whole_number
from ..pairs import check_models
from ..pixel_sheet import BAD, FAINT, GOOD, INK, PixelSheet
from ..sheets import MOST_OVERVIEW, picture_scale
from ..stylegan import Generator
from .cycle import CycleLoss, cycle_loss
from .paths import target_margins
from .rows import asked, judge_places

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .result import Counterfactuals

__all__ = ["chosen_rows", "counterfactual_sheet", "difference_colours"]

MOST = 6  # rows that are drawn when none are named
LEFT, GAP, LINE, SIDE = 146, 25, 13, 10  # px: texts at the left, between pictures, a line of text, edges
NAME = 17  # letters of a class name below a picture
COMPARED = (
    "A photograph's counterfactual is compared with its cycled start, which is what classifier, link and generator "
    "draw of it, not with the photograph."
)


@dataclass(frozen=True)
class _Shown:
    """What is drawn: pictures [n, P, C, H, W], texts of the classifier and the judge, margins [n, P]."""

    x: Tensor
    seen: np.ndarray
    margins: Tensor
    judged: np.ndarray | None


def chosen_rows(result: Counterfactuals, rows: Any = None, most: int = MOST) -> np.ndarray:
    """Return the rows to draw as indices [n]: those given, or the first that asked for a change.

    Parameters
    ----------
    rows : indices, or a boolean mask [N]; None for the first `most`.

    Raises
    ------
    LisError : an empty choice, rows that the result does not have.
    """
    if rows is None:
        found = np.flatnonzero(asked(result.table))[:most]
        if not len(found):
            raise LisError(
                "all starts are of their target class already: there is no counterfactual to draw."
            )
        return found
    given = np.atleast_1d(np.array(rows))
    if given.dtype == bool and given.shape == (len(result),):
        given = np.flatnonzero(given)
    if given.ndim != 1 or not len(given) or not np.issubdtype(given.dtype, np.integer):
        raise LisError(
            f"rows are {rows!r}; indices of rows, at least one, or a mask [{len(result)}] were expected."
        )
    for row in given.tolist():
        if not 0 <= row < len(result):
            raise LisError(f"there is no row {row}: the result has {len(result)}, numbered from 0.")
    return given


@torch.no_grad()
def counterfactual_sheet(
    result: Counterfactuals,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    rows: Sequence[int] | np.ndarray | None = None,
    columns: int = 5,
    judge: Classifier | None = None,
) -> Figure:
    """Draw counterfactuals, one a row: the cycled start, the path, the end, and end minus cycled start.

    Under every picture stand the class that the classifier sees, the margin of the target against the best other
    class, and the judge's class, in orange where it says something else. The first picture that is seen as the target
    is framed. Where the starts are photographs, each stands at the left of its cycled start with what the cycle
    itself lost. Rows without success say why, and show the best that was found.

    Parameters
    ----------
    result : what `find_counterfactuals` returned.
    rows : indices, or a mask; the first 6 that asked for a change by default.
    columns : pictures along the path, start and end included.
    judge : another classifier of the same classes, whose opinion is written below.

    Returns
    -------
    matplotlib.figure.Figure, about 1000 pixels wide for pictures of 32 pixels.

    Raises
    ------
    LisError : rows that there are not, fewer than 2 columns, models that don't belong together.

    Examples
    --------
    >>> counterfactual_sheet(result, generator, classifier, link, judge=judge).savefig("counterfactuals.png")
    """
    picked = chosen_rows(result, rows)
    columns = whole_number(columns, "columns", 2, 30)
    check_models(generator, classifier, same_classes=False)
    link.check(generator, classifier)
    shown = _look(result, picked, columns, generator, classifier, link, judge)
    starts = result.table["start"].to_numpy()[picked]
    loss = None
    if result.images is not None:
        loss = cycle_loss(
            result.images[torch.from_numpy(starts.copy())], generator, classifier, link, judge=judge
        )
    return _draw(result, picked, shown, loss, columns)


def _look(
    result: Counterfactuals,
    picked: np.ndarray,
    columns: int,
    generator: Generator,
    classifier: Classifier,
    link: Link,
    judge: Classifier | None,
) -> _Shown:
    places = torch.from_numpy(picked)
    amounts = torch.linspace(0, 1, columns)
    path = torch.lerp(result.r_start[places, None], result.r_end[places, None], amounts[None, :, None])
    w = link(path.flatten(0, 1).to(link.device))
    x = torch.cat([generator.render(part).float().cpu() for part in w.split(64)])  # [n P, C, H, W]
    logits = extract_features(classifier, x).logits
    if logits is None:
        raise LisError(f"classifier {classifier.name!r} has no head; counterfactuals need one.")
    shape = (len(picked), columns)
    names = np.array(classifier.classes, dtype=object)
    judged = None
    if judge is not None:
        judge_places(result.classes, judge)
        said = extract_features(judge, x).predictions
        judged = np.array(judge.classes, dtype=object)[said.numpy()].reshape(shape)
    margins = target_margins(logits.unflatten(0, shape), result.targets[places])
    return _Shown(x.unflatten(0, shape), names[logits.argmax(1).numpy()].reshape(shape), margins, judged)


def _reduced(x: Tensor) -> Tensor:
    """Pictures [N, C, H, W] of at most 128 pixels, large ones by means over blocks."""
    block = -(-max(x.shape[-2:]) // MOST_OVERVIEW)
    return torch.nn.functional.avg_pool2d(x.float(), block) if block > 1 else x


def difference_colours(difference: Tensor, limit: float) -> Tensor:
    """Colour differences [H, W] from -limit (purple, darker) over 0 (white) to limit (orange, brighter): [3, H, W]."""
    from matplotlib import colormaps

    place = (difference / (2 * limit) + 0.5).clamp(0, 1).numpy()
    return torch.from_numpy(colormaps["PuOr_r"](place)[..., :3]).permute(2, 0, 1).float()


def _draw(
    result: Counterfactuals, picked: np.ndarray, shown: _Shown, loss: CycleLoss | None, columns: int
) -> Figure:
    n = len(picked)
    x = _reduced(shown.x.flatten(0, 1)).unflatten(0, (n, columns))
    scale = picture_scale(x)
    tall, wide = (scale * int(size) for size in x.shape[-2:])
    cell = wide + GAP
    before = 1 if loss is not None else 0
    lines = 3 if shown.judged is not None else 2
    lines = max(lines, 4) if before else lines
    high = tall + lines * LINE + 20
    width = LEFT + (before + columns + 1) * cell + SIDE
    notes = textwrap.wrap(COMPARED, max(40, width // 6)) if before else []
    top = 10 + 15 * len(notes) + 18
    sheet = PixelSheet(width, top + n * high + 34)
    for i, note in enumerate(notes):
        sheet.write(SIDE, 18 + 15 * i, note, 8, color=FAINT)
    heads = [
        "cycled start",
        *(f"{100 * k / (columns - 1):.0f} % of the way" for k in range(1, columns - 1)),
        "end",
    ]
    for column, head in enumerate([*(["photograph"] if before else []), *heads, "end − cycled start"]):
        sheet.write(LEFT + column * cell + wide / 2, top - 8, head, 8, ha="center", weight="bold")
    change = (x[:, -1] - x[:, 0]).mean(dim=1)  # [n, H, W]
    limit = max(0.1, float(np.ceil(float(change.abs().max()) * 10) / 10))
    for i, row in enumerate(picked.tolist()):
        y = top + i * high
        _row_texts(sheet, result.table.iloc[row], y, high)
        if loss is not None:
            _photograph(sheet, loss, i, LEFT, y, (tall, wide))
        _path(
            sheet,
            shown,
            x[i],
            i,
            str(result.table["target"].iloc[row]),
            (LEFT + before * cell, y, cell),
            scale,
        )
        left = LEFT + (before + columns) * cell
        sheet.place(difference_colours(change[i], limit), left, y, scale, frame="#c8c8c8")
        sheet.write(left + wide / 2, y + tall + LINE, f"RMS {_rms(shown.x[i]):.2f}", 7, ha="center")
    _foot(sheet, top + n * high, width, limit, shown.judged is not None)
    return sheet.figure()


def _rms(path: Tensor) -> float:
    return float((path[-1] - path[0]).square().mean().sqrt())


def _row_texts(sheet: PixelSheet, row: Any, y: int, high: int) -> None:
    """Write at the left of a row what it is."""
    sheet.write(SIDE, y + 12, cut(row["origin"], 20), 9, weight="bold")
    sheet.write(SIDE, y + 27, f"→ {cut(row['target'], 18)}", 9, weight="bold")
    count = int(row["renders"])
    texts = [(f"start {row['start']}, {count} render{'s' if count != 1 else ''}", FAINT)]
    if row["success"]:
        texts.append((f"distance in w {row['distance_w']:.2f}", FAINT))
        texts.append((f"{int(row['units_90'])} units carry 90 %", FAINT))
    else:
        said, room = f"no success: {row['reason']}", (high - 58) // LINE
        texts += [(line, BAD) for line in textwrap.wrap(said, 24, max_lines=room, placeholder=" …")]
    for i, (text, colour) in enumerate(texts):
        sheet.write(SIDE, y + 45 + LINE * i, text, 7.5, color=colour)


def _photograph(sheet: PixelSheet, loss: CycleLoss, i: int, left: int, y: int, size: tuple[int, int]) -> None:
    """Place a photograph, with what its cycle lost."""
    tall, wide = size
    raw = _reduced(loss.photographs[i : i + 1])[0]
    sheet.place(raw, left, y, max(1, tall // int(raw.shape[-2])))
    row = loss.rows.iloc[i]
    lost = BAD if not row["kept"] else INK
    texts = [(cut(row["raw"], NAME), lost)]
    texts.append(("the cycle loses", FAINT) if row["kept"] else ("the cycle loses the class", BAD))
    texts.append((f"RMS {row['pixels']:.2f}, SSIM {row['ssim']:.2f}", FAINT))
    texts.append((f"r changes by {100 * row['cycle_error']:.0f} %", FAINT))
    for k, (text, colour) in enumerate(texts):
        sheet.write(left + wide / 2, y + tall + LINE * (k + 1), text, 7, ha="center", color=colour)


def _path(
    sheet: PixelSheet, shown: _Shown, x: Tensor, i: int, target: str, place: tuple[int, int, int], scale: int
) -> None:
    """Place the pictures [P, C, H, W] of a path, and frame the first that is seen as the target."""
    left, y, cell = place
    tall, wide = (scale * int(size) for size in x.shape[-2:])
    reached = np.flatnonzero(shown.seen[i] == target)
    for column in range(len(x)):
        at = left + column * cell
        first = len(reached) > 0 and column == reached[0]
        sheet.place(x[column], at, y, scale, frame=GOOD if first else None)
        seen = str(shown.seen[i, column])
        style = {"color": GOOD, "weight": "bold"} if seen == target else {"color": INK}
        sheet.write(at + wide / 2, y + tall + LINE, cut(seen, NAME), 7, ha="center", **style)
        margin = f"margin {float(shown.margins[i, column]):+.1f}"
        sheet.write(at + wide / 2, y + tall + 2 * LINE, margin, 7, ha="center", color=FAINT)
        if shown.judged is not None:
            says = str(shown.judged[i, column])
            colour = FAINT if says == seen else BAD
            sheet.write(
                at + wide / 2,
                y + tall + 3 * LINE,
                f"judge: {cut(says, NAME - 4)}",
                7,
                ha="center",
                color=colour,
            )


def _foot(sheet: PixelSheet, y: int, width: int, limit: float, judged: bool) -> None:
    """Write what the frame and the colours mean, and draw the scale of the differences."""
    said = "Blue frame: the first picture shown that is seen as the target."
    sheet.write(SIDE, y + 10, f"{said} Margin: logit of the target less the best other.", 7.5, color=FAINT)
    if judged:
        sheet.write(
            SIDE, y + 24, "Orange: the judge, another classifier, sees another class.", 7.5, color=FAINT
        )
    long, thick = 160, 10
    left, top = width - SIDE - long - 6, y + 2
    ramp = difference_colours(
        torch.linspace(-limit, limit, long)[None].expand(thick, -1), limit
    )  # [3, thick, long]
    sheet.place(ramp, left, top, 1, frame=None)
    for at, text, align in (
        (0, f"−{limit:.1f} darker", "left"),
        (long // 2, "0", "center"),
        (long, f"+{limit:.1f} brighter", "right"),
    ):
        sheet.write(left + at, top + thick + 12, text, 7, ha=align, color=FAINT)
