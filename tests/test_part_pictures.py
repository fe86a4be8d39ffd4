"""Drawings of parts: outlines where labels change and nowhere else, sheets with everything on them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.photographs import PhotographParts, photograph_parts
from lis_toolkit.parts.pictures import (
    confusion_figure,
    draw_outlines,
    legend_figure,
    photograph_sheet,
    worst_sheet,
)
from lis_toolkit.parts.scores import score_parts

LEGEND = Legend(("background", "left", "right"), ("#000000", "#FF0000", "#0000FF"))
RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves():
    """One picture of 4 x 6 pixels, grey 100: background, two columns left, two right, background."""
    labels = torch.zeros(1, 4, 6, dtype=torch.uint8)
    labels[:, :, 1:3], labels[:, :, 3:5] = 1, 2
    return torch.full((1, 1, 4, 6), 100 / 255), labels


def drawn_by_a_loop(x, labels, legend, scale, thickness):
    high, wide = labels.shape[0] * scale, labels.shape[1] * scale
    result = np.zeros((high, wide, 3), np.uint8)
    for r in range(high):
        for c in range(wide):
            here = int(labels[r // scale, c // scale])
            result[r, c] = round(float(x[0, r // scale, c // scale]) * 255)
            near = False
            for away in range(1, thickness + 1):
                for i, j in ((r - away, c), (r + away, c), (r, c - away), (r, c + away)):
                    outside = not (0 <= i < high and 0 <= j < wide)
                    near |= outside or int(labels[i // scale, j // scale]) != here
            if here and near:
                result[r, c] = legend.rgb[here]
    return result


@pytest.mark.parametrize(("scale", "thickness"), [(1, 1), (3, 1), (4, 2), (6, 3)])
def test_outlines_are_those_of_a_plain_loop(scale, thickness):
    random = torch.Generator().manual_seed(scale)
    labels = torch.randint(0, 3, (2, 5, 7), generator=random).to(torch.uint8)
    x = torch.randint(0, 256, (2, 1, 5, 7), generator=random) / 255
    drawn = draw_outlines(x, labels, LEGEND, scale, thickness)
    assert drawn.dtype == np.uint8 and drawn.shape == (2, 5 * scale, 7 * scale, 3)
    for i in range(2):
        assert (drawn[i] == drawn_by_a_loop(x[i], labels[i], LEGEND, scale, thickness)).all()


def test_two_neighbours_show_both_colours_and_the_picture_stays_inside():
    drawn = draw_outlines(*halves(), LEGEND, scale=4)[0]
    middle = drawn[8]  # a row of pixels through the middle
    assert tuple(middle[4]) == RED and tuple(middle[11]) == RED and tuple(middle[12]) == BLUE
    assert (middle[5:11] == 100).all() and (middle[:4] == 100).all()
    assert (draw_outlines(halves()[0], halves()[1] * 0, LEGEND, 4) == 100).all()


def test_filling_mixes_colour_and_picture_in_parts_only():
    x, labels = halves()
    drawn = draw_outlines(x, labels, LEGEND, scale=4, fill=0.5)[0]
    assert drawn[8, 6].tolist() == [178, 50, 50] and drawn[8, 0].tolist() == [100, 100, 100]
    assert (draw_outlines(x, labels, LEGEND, scale=4, fill=1.0)[0, 8, 4:12] == RED).all()


def test_colour_pictures_keep_their_colours():
    x = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    drawn = draw_outlines(x, torch.zeros(1, 4, 6, dtype=torch.uint8), LEGEND, 1)[0]
    assert np.abs(drawn - x[0].permute(1, 2, 0).numpy() * 255).max() <= 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2, 4, 6, dtype=torch.uint8)}, "uint8 .2, 4, 6.; integers .1, 4, 6."),
        ({"labels": torch.zeros(1, 4, 6)}, "float32"),
        ({"labels": torch.full((1, 4, 6), 3)}, "go from 3 to 3"),
        ({"labels": None}, "NoneType"),
        ({"x": torch.zeros(1, 2, 4, 6)}, "2 channels"),
        ({"x": torch.full((1, 1, 4, 6), 2.0)}, "0 to 1 was expected"),
        ({"scale": 0}, "scale is 0"),
        ({"thickness": 3}, "thickness is 3; a whole number from 1 to 2"),
        ({"fill": 1.5}, "fill is 1.5"),
    ],
)
def test_what_cannot_be_drawn(change, message):
    x, labels = halves()
    with pytest.raises(LisError, match=message):
        draw_outlines(**{"x": x, "labels": labels, "legend": LEGEND, "scale": 4} | change)


def pixels(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB")).astype(int)


def has(image, colour, at_least=1, tolerance=2):
    return (np.abs(image - np.array(colour)).max(axis=2) <= tolerance).sum() >= at_least


def test_the_worst_pictures_come_first_and_the_difference_is_white():
    x, labels = halves()
    x, truth = x.repeat(3, 1, 1, 1), labels.repeat(3, 1, 1)
    predicted = truth.clone()
    predicted[1] = 2 * (truth[1] > 0)  # all right: half wrong
    scores = score_parts(predicted, truth, LEGEND)
    figure = worst_sheet(x, predicted, truth, scores, ["first", "second", "third"], count=2, scale=8)
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert next(t for t in texts if "IoU" in t).startswith("second: mean IoU 0.25 of left, right")
    assert "left" in texts and "right" in texts
    image = pixels(figure)
    assert has(image, RED, 50) and has(image, BLUE, 50)
    for bad, message in ((["one"], "1 names for 3"), (None, "scores are of 3 pictures, but there are 2")):
        with pytest.raises(LisError, match=message):
            few = slice(None) if bad else slice(2)
            worst_sheet(x[few], predicted[few], truth[few], scores, bad)


def test_the_confusion_table_shows_shares_of_what_occurs():
    x, truth = halves()
    legend = Legend(("background", "left", "right", "never"))
    predicted = truth.clone()
    predicted[0, 0, 1:3] = 2  # a quarter of the left
    figure = confusion_figure(score_parts(predicted, truth, legend))
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert sorted(texts) == ["100", "100", "25", "75"]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["background", "left", "right"]


def test_the_key_shows_every_part_in_its_colour():
    names = tuple(f"part number {i}" for i in range(13))
    legend = Legend(("background", *names))
    figure = legend_figure(legend, width=300)
    assert [t.get_text() for t in figure.axes[0].texts] == list(names)
    image = pixels(figure)
    assert image.shape[1] == 300
    assert all(has(image, colour, 100) for colour in legend.rgb[1:])
    with pytest.raises(LisError, match="width is 3"):
        legend_figure(legend, width=3)


def test_photographs_beside_what_the_generator_makes_of_them():
    from lis_toolkit import collect_pairs, fit_link
    from lis_toolkit.parts import Segmenter, segment, segment_pictures
    from tiny import tiny_classifier, tiny_generator

    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    link = fit_link(collect_pairs(generator, classifier, per_class=30, keep="all", seed=0))
    torch.manual_seed(0)
    layers = generator.synthesis.layer_names[:1]
    by_features = Segmenter(
        LEGEND, layers, (8,), 16, widths=(4,), dilations=(1,), generator_hash=generator.hash
    )
    by_picture = Segmenter(LEGEND, (), (1,), 16, widths=(4,), dilations=(1,))
    x = generator.render(generator.map(generator.sample_z(5, 1), [0, 1, 2, 0, 1]))
    parts = photograph_parts(x, classifier, link, generator, by_features, by_picture)
    w = link(classifier.features(x))
    assert torch.equal(parts.x, x) and torch.allclose(parts.render, generator.render(w), atol=1e-6)
    assert (parts.labels == segment(generator, by_features, w)).float().mean() > 0.99
    assert torch.equal(parts.own_labels, segment_pictures(by_picture, x))
    texts = [t.get_text() for t in photograph_sheet(parts).axes[0].texts]
    assert "photograph" in texts and "its parts, by the picture" in texts
    alone = PhotographParts(LEGEND, x, parts.render, parts.labels)
    assert "its parts, by the picture" not in [t.get_text() for t in photograph_sheet(alone).axes[0].texts]
    other = Segmenter(Legend(("background", "a", "b")), (), (1,), 16, widths=(4,), dilations=(1,))
    with pytest.raises(LisError, match="different parts: left, right, and a, b"):
        photograph_parts(x, classifier, link, generator, by_features, other)
