"""Figures: what is drawn where, crisp and labelled."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.pixel_sheet import PixelSheet
from lis_toolkit.plots import class_sheet, contact_sheet, cycle_figure, logit_bars, row_sheet, unit_bars
from lis_toolkit.sheets import head_weights

CLASSES = ("T-shirt/top", "Trouser", "Coat")


class LinearHead:
    """As much of a classifier as the sheets use."""

    classes, num_units, device, dtype = CLASSES, 6, torch.device("cpu"), torch.float32

    def __init__(self):
        self.weight = torch.arange(18.0).reshape(3, 6) - 8

    def head(self, r):
        return r @ self.weight.T + 0.5


def make_walk(unit=2, samples=2, steps=5, size=8, channels=1):
    r = torch.zeros(samples, steps, 6)
    r[:, :, unit] = torch.linspace(0, 0.9, steps)
    logits = torch.zeros(samples, steps, 3)
    logits[:, :, 0] = 1.0
    logits[:, -1, 2] = 5.0  # the last step is seen as a coat
    images = torch.rand(samples, steps, channels, size, size, generator=torch.Generator().manual_seed(unit))
    return SimpleNamespace(unit=unit, values=torch.linspace(0, 2, steps), images=images, r=r, logits=logits)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def pixels(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("L")).astype(float) / 255


def contains(sheet, image, scale):
    """Whether every pixel of `image` [H, W] is a block of scale x scale equal pixels somewhere on the sheet."""
    block = np.kron(image, np.ones((scale, scale)))
    height, width = block.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width))
    candidates = np.argwhere(np.abs(windows[:, :, 0, 0] - block[0, 0]) < 1 / 254)
    return any(np.abs(windows[y, x] - block).max() < 1 / 254 for y, x in candidates)


def test_pictures_are_enlarged_to_equal_blocks_without_smoothing():
    walk = make_walk()
    sheet = pixels(contact_sheet([walk]))
    for step in range(5):
        assert contains(sheet, walk.images[0, step, 0].numpy(), 12)
    assert not contains(sheet, walk.images[1, 0, 0].numpy(), 12)
    assert contains(pixels(contact_sheet([walk], sample=1)), walk.images[1, 0, 0].numpy(), 12)


def test_contact_sheet_of_an_encoder_names_no_class():
    walk = make_walk()
    walk.logits = torch.zeros(2, 5, 0)
    encoder = SimpleNamespace(classes=(), has_head=False, num_units=6)
    written = texts(contact_sheet([walk], encoder))
    assert sum("set " in text for text in written) == 5
    assert not any("%" in text or "for " in text for text in written)


def test_rows_are_drawn_in_order_under_their_names():
    first, second = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(2))
    figure = row_sheet({"one": first, "two": second[:2]}, columns=2)
    assert [text for text in texts(figure) if text in ("one", "two")] == ["one", "two"]
    sheet = pixels(figure)
    for image in (first[0], first[1], second[0], second[1]):
        assert contains(sheet, image[0].numpy(), 8)
    assert not contains(sheet, first[2, 0].numpy(), 8)


@pytest.mark.parametrize(
    "rows, message",
    [
        ({}, "no rows"),
        ({"a": torch.rand(1, 1, 8, 8), "b": torch.rand(1, 3, 8, 8)}, "several shapes.*'b'"),
        ({"a": torch.rand(1, 8, 8)}, "row 'a'"),
        ({"a": torch.rand(1, 1, 8, 8) + 2}, "row 'a'"),
    ],
)
def test_rows_that_do_not_fit(rows, message):
    with pytest.raises(LisError, match=message):
        row_sheet(rows)


def test_the_canvas_is_drawn_pixel_by_pixel():
    sheet = PixelSheet(115, 57)
    sheet.canvas[:] = np.random.default_rng(0).random((57, 115, 1), dtype=np.float32)
    assert np.abs(pixels(sheet.figure()) - sheet.canvas[:, :, 0]).max() < 1 / 254


def test_contact_sheet_says_what_was_set_read_and_seen():
    found = texts(
        contact_sheet([make_walk(2), make_walk(4)], LinearHead(), captions=["one", "two"], title="Coat")
    )
    assert "set 0, reads 0" in found and "set 2, reads 0.9" in found
    assert {"unit 2", "unit 4", "one", "two", "Coat"} <= set(found)
    assert (
        "for Coat +6.00" in found and "against T-shirt/top -6.00" in found
    )  # unit 2 has head weights -6, 0, 6
    seen = [text for text in found if text.endswith("%")]
    assert [text.split()[0] for text in seen] == ["T-shirt/top"] * 4 + ["Coat"] + ["T-shirt/top"] * 4 + [
        "Coat"
    ]


def test_texts_of_a_contact_sheet_do_not_cover_each_other():
    # As with ImageNet's class names and a generator of small pictures.
    classifier = LinearHead()
    classifier.classes = (
        "American Staffordshire terrier",
        "soft-coated wheaten terrier",
        "red-backed sandpiper",
    )
    walk = make_walk()
    walk.values, walk.r = walk.values + 0.0123, walk.r + 0.0345
    figure = contact_sheet(
        [walk, walk], classifier, captions=["", "a caption of more letters than usual, by far"]
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 2 * (3 + 5 * 2) + 1
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[number + 1 :])


def test_class_sheet_reduces_large_images():
    x = torch.rand(2, 3, 256, 224).mean(1, keepdim=True)
    figure = class_sheet(x, torch.tensor([0, 2]), CLASSES)
    means = x.reshape(2, 1, 128, 2, 112, 2).mean((3, 5))
    assert all(contains(pixels(figure), picture[0].numpy(), 1) for picture in means)


def test_head_weights_are_the_matrix_of_the_head():
    classifier = LinearHead()
    assert torch.equal(head_weights(classifier), classifier.weight)


def test_names_are_drawn_as_they_are():
    # Dollar signs would be read as mathematics, and "$" alone would raise.
    classifier = LinearHead()
    classifier.classes = ("$x^2$", "a$", "<b>")
    figure = contact_sheet([make_walk()], classifier)
    assert pixels(figure).min() < 0.5
    assert any(text.startswith("$x^2$") for text in texts(figure))


def test_class_sheet_has_a_row_for_each_class_that_occurs():
    images = torch.rand(9, 1, 8, 8)
    labels = torch.tensor([2, 0, 2, 0, 2, 2, 2, 0, 2])
    sheet = class_sheet(images, labels, CLASSES, columns=4)
    assert [name for name in texts(sheet) if name in CLASSES] == ["T-shirt/top", "Coat"]
    drawn = pixels(sheet)
    places = [contains(drawn, images[n, 0].numpy(), 8) for n in range(9)]
    assert places == [
        True,
        True,
        True,
        True,
        True,
        True,
        False,
        True,
        False,
    ]  # the first four coats, all shirts


def test_colour_images_stay_coloured():
    images = torch.zeros(1, 3, 4, 4)
    images[:, 0] = 1
    stream = io.BytesIO()
    class_sheet(images, torch.tensor([0]), CLASSES).savefig(stream, format="png")
    values = np.asarray(Image.open(stream).convert("RGB")).reshape(-1, 3)
    assert (values == (255, 0, 0)).all(axis=1).sum() == 64 * 64


def test_cycle_figure_marks_what_kept_its_class():
    logits = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4]])
    again = torch.tensor([[4.0, 0, 0], [0, 0, 4], [0, 0, 4]])
    x = torch.rand(3, 1, 8, 8)
    figure = cycle_figure(x, x.flip(0), logits, again, CLASSES, labels=torch.tensor([0, 1, 1]))
    frames = [patch.get_edgecolor() for patch in figure.axes[0].patches]
    assert frames[0] == frames[2] != frames[1]
    assert texts(figure).count("Trouser") == 2  # true classes; seen classes carry a percentage
    assert contains(pixels(figure), x[0, 0].numpy(), 12)
    # Larger re-renders than photographs, as of a 256 px generator for a 224 px classifier: nothing is covered.
    large = torch.rand(3, 1, 120, 112)
    figure = cycle_figure(x, large, logits, again, CLASSES)
    for picture in large:
        assert contains(pixels(figure), picture[0].numpy(), 1)
    low = max(text.get_position()[1] for text in figure.axes[0].texts)
    frame = figure.axes[0].patches[0]
    assert low > frame.get_y() + frame.get_height()


def test_bars_show_the_values_they_are_given():
    figure = logit_bars(torch.tensor([1.0, -2.0, 3.0]), CLASSES, before=torch.zeros(3))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1.0, -2.0, 3.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(CLASSES)
    # Of many classes the highest, now or before, in their own order.
    now, before = torch.arange(1000.0), torch.zeros(1000)
    before[4] = 2000.0
    axes = logit_bars(now, [f"c{k}" for k in range(1000)], before, count=3).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c4", "c998", "c999"]
    assert [bar.get_width() for bar in axes.patches] == [4.0, 998.0, 999.0]
    assert axes.lines[0].get_xdata().tolist() == [2000.0, 0.0, 0.0] and "3 of 1000" in axes.get_xlabel()
    before, after = torch.zeros(5), torch.tensor([0.1, -3.0, 0.2, 2.0, 0.0])
    figure = unit_bars(before, after, count=3, highlight=3)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["unit 1", "unit 3", "unit 2"]
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert colours[0] == colours[2] != colours[1]


def test_figures_show_themselves_in_jupyter_and_leave_no_global_state():
    import matplotlib._pylab_helpers

    figure = unit_bars(torch.zeros(3), torch.ones(3))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not matplotlib._pylab_helpers.Gcf.figs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contact_sheet([]), "no unit walks"),
        (lambda: contact_sheet([make_walk()], sample=2), "sample 2 does not exist.*2 samples"),
        (lambda: contact_sheet([make_walk()], sample=-1), "sample -1 does not exist"),
        (lambda: contact_sheet([make_walk()], captions=["a", "b"]), "2 captions for 1 walks"),
        (
            lambda: contact_sheet([SimpleNamespace(unit=1, images=torch.rand(2, 3))]),
            "unit 1 has images of shape",
        ),
        (lambda: class_sheet(torch.rand(2, 1, 8, 8), torch.tensor([0]), CLASSES), r"labels has shape \[1\]"),
        (lambda: class_sheet(torch.rand(1, 1, 8, 8), torch.tensor([3]), CLASSES), "3 class names"),
        (lambda: class_sheet(torch.rand(1, 1, 8, 8), torch.tensor([-1]), CLASSES), "labels run from -1"),
        (lambda: class_sheet(torch.rand(1, 1, 8, 8), torch.tensor([0]), CLASSES, columns=0), "columns is 0"),
        (lambda: class_sheet(torch.full((1, 1, 8, 8), torch.nan), torch.tensor([0]), CLASSES), "NaN"),
        (
            lambda: cycle_figure(
                torch.rand(2, 1, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(2, 3), torch.zeros(2, 3), CLASSES
            ),
            "reconstructions has 1 rows for 2",
        ),
        (
            lambda: cycle_figure(
                torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(1, 2), torch.zeros(1, 3), CLASSES
            ),
            "expected 3 columns",
        ),
        (lambda: logit_bars(torch.zeros(2), CLASSES), r"expected \[3\]"),
        (lambda: logit_bars(torch.tensor([0.0, torch.inf, 1]), CLASSES), "NaN or infinite"),
        (lambda: unit_bars(torch.zeros(3), torch.zeros(2)), r"after has shape \[2\]"),
        (lambda: unit_bars(torch.zeros(3), torch.zeros(3), count=0), "count is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(LisError, match=message):
        call()
