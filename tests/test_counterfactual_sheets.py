"""Sheets and margin plots of counterfactuals: the pictures that were rendered, and the numbers that belong to them."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from lis_toolkit import LisError
from lis_toolkit.counterfactuals import counterfactual_sheet, cycle_loss, margin_figure
from lis_toolkit.counterfactuals.paths import first_crossings
from lis_toolkit.counterfactuals.sheets import chosen_rows, difference_colours
from lis_toolkit.pixel_sheet import BAD, GOOD
from tiny_counterfactuals import moved, tiny_models

TILE, LEFT, CELL = 96, 146, 121  # px: a picture of 16 pixels is enlarged six times


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def result(models):
    return moved(models, per_class=4)


def pixels_of(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def enlarged(x, scale=6):
    """A grey picture [H, W] as bytes, every pixel a square."""
    return (x.clamp(0, 1).numpy() * 255).round().astype(int).repeat(scale, 0).repeat(scale, 1)


def test_every_picture_stands_where_it_belongs(models, result):
    generator, classifier, judge, link, _ = models
    rows = [2, 5]
    figure = counterfactual_sheet(result, generator, classifier, link, rows, columns=4, judge=judge)
    shown = pixels_of(figure)
    assert shown.shape[1] == LEFT + 5 * CELL + 10
    top, high = 28, TILE + 3 * 13 + 20
    texts = texts_of(figure)
    for i, row in enumerate(rows):
        for column, amount in enumerate((0, 1 / 3, 2 / 3, 1)):
            r = torch.lerp(result.r_start[row], result.r_end[row], amount)[None]
            x = generator.render(link(r))
            y, left = top + i * high, LEFT + column * CELL
            drawn = shown[y : y + TILE, left : left + TILE, 0].astype(int)
            wanted = enlarged(x[0, 0])
            assert np.abs(drawn - wanted)[2:-2, 2:-2].max() <= 1  # crisp; the frame may cover the edge
            logits = classifier(x)[0]
            target = classifier.classes.index(result.table["target"][row])
            margin = float(logits[target] - max(float(v) for k, v in enumerate(logits) if k != target))
            assert f"margin {margin:+.1f}" in texts
            assert f"judge: {judge.classes[int(judge(x).argmax())]}" in texts
        assert result.table["origin"][row] in texts and f"→ {result.table['target'][row]}" in texts


def test_the_first_picture_of_the_target_is_framed(models, result):
    generator, classifier, _, link, _ = models
    good = int(np.flatnonzero(result.table["success"])[0])
    figure = counterfactual_sheet(result, generator, classifier, link, [good], columns=5)
    target = classifier.classes.index(result.table["target"][good])
    path = torch.lerp(result.r_start[good], result.r_end[good], torch.linspace(0, 1, 5)[:, None])
    first = int((classifier(generator.render(link(path))).argmax(1) == target).float().argmax())
    frames = [
        p
        for p in figure.axes[0].patches
        if p.get_edgecolor()[:3] == pytest.approx((0, 0x72 / 255, 0xB2 / 255))
    ]
    assert GOOD == "#0072B2" and [frame.get_x() for frame in frames] == [LEFT + first * CELL - 2]


def test_a_failure_says_why(models, result):
    generator, classifier, _, link, _ = models
    table = result.table.copy()
    table.loc[0, ["success", "reason"]] = [False, "no margin within twice the shift"]
    figure = counterfactual_sheet(replace(result, table=table), generator, classifier, link, [0])
    said = " ".join(t.get_text() for t in figure.axes[0].texts if t.get_color() == BAD)
    assert "no success: no margin within twice the shift" in said


def test_the_difference_is_coloured_on_one_scale(models, result):
    generator, classifier, _, link, _ = models
    figure = counterfactual_sheet(result, generator, classifier, link, [1, 4], columns=3)
    shown = pixels_of(figure)
    changes = [
        (generator.render(link(result.r_end[[row]])) - generator.render(link(result.r_start[[row]])))[0, 0]
        for row in (1, 4)
    ]
    largest = max(float(change.abs().max()) for change in changes)
    limit = max(0.1, np.ceil(largest * 10) / 10)
    assert f"+{limit:.1f} brighter" in texts_of(figure)
    left = LEFT + 3 * CELL
    for i, change in enumerate(changes):
        y = 28 + i * (TILE + 2 * 13 + 20)
        wanted = colormaps["PuOr_r"]((change / (2 * limit) + 0.5).numpy())[..., :3] * 255  # [16, 16, 3]
        drawn = shown[y + 3 : y + TILE : 6, left + 3 : left + TILE : 6]
        assert np.abs(drawn - wanted).max() <= 1.5
    white = difference_colours(torch.zeros(1, 1), 0.5)
    assert (white > 0.95).all() and difference_colours(torch.full((1, 1), -0.5), 0.5)[2] > 0.2


def test_photographs_stand_beside_their_cycle_with_its_loss(models):
    generator, classifier, _, link, held_out = models
    x = (generator.render(held_out.w[:3]) * 0.8).clamp(0, 1)
    result = moved(models, images=x)
    rows = chosen_rows(result)[:2]
    figure = counterfactual_sheet(result, generator, classifier, link, rows, columns=3)
    texts = " ".join(texts_of(figure))
    assert "compared with its cycled start" in texts and "not with the photograph" in texts.replace("  ", " ")
    loss = cycle_loss(x, generator, classifier, link).rows
    shown = pixels_of(figure)
    notes = sum(
        "cycled start, which" in t or "draw of it" in t or "photograph." in t for t in texts_of(figure)
    )
    for i, row in enumerate(rows):
        start = int(result.table["start"][row])
        assert f"RMS {loss['pixels'][start]:.2f}, SSIM {loss['ssim'][start]:.2f}" in texts
        assert f"r changes by {100 * loss['cycle_error'][start]:.0f} %" in texts
        y = 28 + 15 * notes + i * (TILE + 4 * 13 + 20)
        drawn = shown[y : y + TILE, LEFT : LEFT + TILE, 0].astype(int)
        assert np.abs(drawn - enlarged(x[start, 0]))[2:-2, 2:-2].max() <= 1
    assert "cycled start, which" not in " ".join(
        texts_of(counterfactual_sheet(replace(result, images=None), generator, classifier, link, rows))
    )


def test_rows_are_chosen_by_index_mask_or_the_first_that_asked(result):
    asked = [n for n in range(len(result)) if result.table["cycled"][n] != result.table["target"][n]]
    assert len(asked) < len(result) and chosen_rows(result).tolist() == asked[:6]
    assert (
        chosen_rows(result, result.table["success"]).tolist()
        == np.flatnonzero(result.table["success"]).tolist()
    )
    assert chosen_rows(result, range(2)).tolist() == [0, 1]
    for rows, message in (
        ([], "at least one"),
        ([0.5], "indices"),
        ([len(result)], "no row"),
        ([-1], "no row"),
    ):
        with pytest.raises(LisError, match=message):
            chosen_rows(result, rows)
    nothing = replace(result, table=result.table.assign(target=result.table["cycled"]))
    with pytest.raises(LisError, match="of their target class already"):
        chosen_rows(nothing)


def test_bad_columns_and_judges_are_refused(models, result):
    generator, classifier, judge, link, _ = models
    with pytest.raises(LisError, match="columns is 1"):
        counterfactual_sheet(result, generator, classifier, link, columns=1)
    with pytest.raises(LisError, match="does not belong"):
        counterfactual_sheet(result, generator, judge, link)


def test_lines_are_the_rendered_margins_and_dots_the_heads(models, result):
    _, classifier, _, _, _ = models
    rows = [0, 3]
    axes = margin_figure(result, rows, classifier=classifier).axes[0]
    rendered = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 5]
    head = [line for line in axes.lines if line.get_linestyle() == ":"]
    margins = result.margins
    assert len(rendered) == len(head) == 2
    for line, dots, row in zip(rendered, head, rows, strict=True):
        assert np.asarray(line.get_ydata()) == pytest.approx(margins[row].numpy(), abs=1e-5)
        target = classifier.classes.index(result.table["target"][row])
        for amount, value in zip(result.amounts, dots.get_ydata(), strict=True):
            said = classifier.head(torch.lerp(result.r_start[row], result.r_end[row], amount))
            other = max(float(v) for k, v in enumerate(said) if k != target)
            assert value == pytest.approx(float(said[target]) - other, abs=1e-4)


def test_the_boundary_of_the_caller_is_marked(result):
    crossing = np.linspace(0.1, 0.9, len(result))
    boundary = pd.DataFrame({"crossing": crossing})
    axes = margin_figure(result, [1, 2], boundary=boundary).axes[0]
    marks = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "D"]
    assert marks == pytest.approx(crossing[[1, 2]].tolist())
    with pytest.raises(LisError, match="the boundary has 2 rows"):
        margin_figure(result, boundary=boundary.head(2))


def test_many_paths_have_a_median(result):
    axes = margin_figure(result, result.table["success"]).axes[0]
    found = [line for line in axes.lines if str(line.get_label()).startswith("rendered, median of")]
    good = result.margins[torch.tensor(result.table["success"].tolist())]
    assert len(found) == 1 and len(good) > 6
    assert np.asarray(found[0].get_ydata()) == pytest.approx(np.median(good.numpy(), axis=0), abs=1e-5)


def test_crossings_lie_on_straight_lines():
    margins = np.array([[-1.0, 1, 2], [-3, -1, 1], [1, -1, 3], [-3, -2, -1], [1, 2, 3]])
    found = first_crossings(np.array([0, 0.5, 1]), margins)
    assert found[:3] == pytest.approx([0.25, 0.75, 0.625]) and np.isnan(found[3:]).all()
