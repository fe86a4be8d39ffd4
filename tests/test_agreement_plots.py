"""Figures that ask whether a ranking can be believed show the numbers of their tables; overviews show every picture."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.pictures import draw_outlines
from lis_toolkit.parts.sheets import parts_sheet
from lis_toolkit.pixel_sheet import BAD, GOOD
from lis_toolkit.rankings.agreement_plots import photograph_check_plot, screening_plot
from rankings import synthetic_ranking

LEGEND = Legend(("background", "rim", "hub"))


def hexes(collection):
    return [
        "#" + "".join(f"{round(255 * value):02X}" for value in colour[:3])
        for colour in collection.get_facecolors()
    ]


def test_screening_stands_beside_the_sweep_unit_by_unit():
    scores = synthetic_ranking(20)
    screened = scores[scores.unit != 4].drop(columns=["low", "high", "q", "p", "vanished", "appeared"])
    screened = screened.assign(mean_change=2 * screened.mean_change)
    wrong = (screened.unit == 9) & (screened.part == "sleeve")
    screened.loc[wrong, "mean_change"] *= -1
    figure = screening_plot(screened, scores, "sleeve", "area", "Shirt", labels=3)
    (dots,) = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    rows = scores[(scores.part == "sleeve") & (scores.measure == "area") & (scores["class"] == "Shirt")]
    rows = rows[rows.unit != 4]
    sign = np.where(rows.unit == 9, -2, 2)
    assert np.asarray(dots.get_offsets()) == pytest.approx(
        np.stack([sign * rows.mean_change, rows.mean_change], 1)
    )
    assert hexes(dots) == [BAD if unit == 9 else GOOD for unit in rows.unit]
    top = rows.assign(size=rows.mean_change.abs()).nlargest(3, "size").unit.astype(str)
    assert {text.get_text() for text in figure.axes[0].texts} <= set(top)
    assert "(19 units)" in figure.axes[0].get_title(loc="left")


def test_screening_and_sweep_of_other_units_are_refused():
    scores = synthetic_ranking(6)
    with pytest.raises(LisError, match="in both tables"):
        screening_plot(scores[scores.unit < 3], scores[scores.unit >= 3], "sleeve")
    with pytest.raises(LisError, match="no part 'slave'"):
        screening_plot(scores, scores, "slave")


def test_the_check_on_photographs_shows_side_and_interval():
    table = pd.DataFrame(
        {"unit": [3, 8, 5, 6], "mean_change": [0.1, -0.2, 0.1, -0.1], "auc": [0.8, 0.4, 0.45, 0.5],
         "low": [0.7, 0.3, 0.4, 0.4], "high": [0.9, 0.5, 0.55, 0.6], "agrees": [1.0, 1.0, 0.0, np.nan]}
    )  # fmt: skip
    check = SimpleNamespace(
        table=table, part="sleeve", measure="area", class_name="all", agreement=2 / 3, units=3
    )
    figure = photograph_check_plot(check)
    axes = figure.axes[0]
    dots, *edges = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert np.asarray(dots.get_offsets())[:, 0] == pytest.approx(table.auc)
    assert hexes(dots)[:3] == [GOOD, GOOD, BAD] and hexes(dots)[3] not in (GOOD, BAD)
    (bars,) = [c for c in axes.collections if not isinstance(c, PathCollection)]
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert np.sort(ends, axis=1) == pytest.approx(table[["low", "high"]].to_numpy())
    # Arrows stand at the edge to which the generated pictures point.
    sides = {round(y): x > 0.5 for c in edges for x, y in np.asarray(c.get_offsets())}
    assert sides == {0: True, 1: False, 2: True, 3: False}
    assert "67% of 3 units agree" in axes.get_title(loc="left")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first unit at the top


def sheet_pixels(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB")).astype(int)


def test_every_picture_of_an_overview_has_its_parts_and_caption():
    random = torch.Generator().manual_seed(0)
    x = torch.rand(5, 1, 16, 16, generator=random)
    labels = torch.randint(0, 2, (5, 16, 16), generator=random, dtype=torch.uint8)
    figure = parts_sheet(
        x, labels, LEGEND, captions=[f"picture {i}" for i in range(5)], columns=2, title="all"
    )
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written[0] == "all" and written[1:6] == [f"picture {i}" for i in range(5)]
    assert "rim" in written and "hub" not in written  # the key has what occurs
    sheet = sheet_pixels(figure)
    corners = []
    for picture in draw_outlines(x, labels, LEGEND, 6, 1, 0.35).astype(int):
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (96, 96, 3))[:, :, 0]
        near = np.abs(windows[:, :, ::17, ::17] - picture[::17, ::17]).max((2, 3, 4)) <= 1
        found = [(y, x) for y, x in np.argwhere(near) if np.abs(windows[y, x] - picture).max() <= 1]
        assert len(found) == 1
        corners.append(found[0])
    assert corners == sorted(corners) and len({y for y, _ in corners}) == 3
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(box.count_overlaps(boxes[i + 1 :]) for i, box in enumerate(boxes))


def test_overviews_that_do_not_fit_are_refused():
    x, labels = torch.rand(2, 1, 16, 16), torch.zeros(2, 16, 16, dtype=torch.uint8)
    with pytest.raises(LisError, match="1 captions for 2 pictures"):
        parts_sheet(x, labels, LEGEND, captions=["one"])
    with pytest.raises(LisError, match="no pictures"):
        parts_sheet(x[:0], labels[:0], LEGEND)
    with pytest.raises(LisError, match="columns is 0"):
        parts_sheet(x, labels, LEGEND, columns=0)
    assert parts_sheet(x, labels, LEGEND).axes  # nothing but background has no key
