import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.images import (
    RANGES,
    check_images,
    convert_range,
    from_pil,
    montage,
    png_bytes,
    save_png,
    to_pil,
)

BYTES = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("source", RANGES)
@pytest.mark.parametrize("target", RANGES)
def test_convert_range_against_numbers(source, target):
    values = {"byte": BYTES, "unit": BYTES.double() / 255, "signed": BYTES.double() / 127.5 - 1}
    result = convert_range(values[source], source, target)
    assert result.dtype == {"byte": torch.uint8}.get(
        target, torch.float32 if source == "byte" else torch.float64
    )
    torch.testing.assert_close(result.double(), values[target].double(), atol=1e-6, rtol=0)


def test_convert_range_rounds_and_clamps_bytes_only():
    assert convert_range(torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 1.5]), "unit", "byte").tolist() == [
        0,
        0,
        1,
        255,
    ]
    assert convert_range(torch.tensor([2.0]), "unit", "signed").tolist() == [3.0]


def test_convert_range_names_the_wrong_range():
    with pytest.raises(LisError, match=r"'units'.*Did you mean 'unit'"):
        convert_range(BYTES, "byte", "units")


GOOD = torch.rand(2, 3, 8, 6)


def test_check_images_passes_good_ones_through():
    assert check_images(GOOD, channels=3, size=(8, 6)) is GOOD
    check_images(GOOD.double().requires_grad_())
    check_images(torch.full((1, 1, 2, 2), 1.0009))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 1, 4, 4), np.float32), "ndarray"),
        (None, "NoneType"),
        (GOOD[0], r"shape \[3, 8, 6\].*x\[None\]"),
        (GOOD[None], r"shape \[1, 2, 3, 8, 6\]"),
        (torch.tensor(0.5), r"shape \[\]"),
        (GOOD[:0], "empty"),
        (GOOD[..., :0], "empty"),
        ((GOOD * 255).to(torch.uint8), "uint8.*convert_range"),
        (GOOD > 0.5, "bool"),
        (GOOD[:, :1], "1 channels.*3 were expected"),
        (GOOD[:, :, :7], "7 x 6 pixels; 8 x 6 were expected"),
        (GOOD * 255, "0 to 1 was expected.*byte"),
        (GOOD * 2 - 1, "0 to 1 was expected.*signed"),
        (GOOD + 0.01 + (GOOD.max() > GOOD) * 0 + 0.5, "0 to 1 was expected"),
    ],
)
def test_check_images_names_what_is_wrong(x, message):
    with pytest.raises(LisError, match=message):
        check_images(x, channels=3, size=(8, 6))


@settings(max_examples=50, deadline=None)
@given(bad=st.sampled_from([math.nan, math.inf, -math.inf]), at=st.integers(0, 2 * 3 * 8 * 6 - 1))
def test_check_images_finds_any_single_bad_value(bad, at):
    x = GOOD.clone()
    x.view(-1)[at] = bad
    with pytest.raises(LisError, match="NaN or infinite values in 1 of 2 images"):
        check_images(x)


@settings(max_examples=50, deadline=None)
@given(value=st.floats(-300, 300, width=32), at=st.integers(0, 2 * 3 * 8 * 6 - 1))
def test_check_images_accepts_exactly_the_unit_range(value, at):
    x = GOOD.clone()
    x.view(-1)[at] = value
    if -1e-3 <= value <= 1.001:
        check_images(x)
    elif value < -1.0011e-3 or value > 1.0011:
        with pytest.raises(LisError, match="0 to 1 was expected"):
            check_images(x)


@pytest.mark.parametrize("channels", [1, 3])
def test_pil_and_back(channels):
    x = torch.randint(0, 256, (channels, 5, 7)).float() / 255
    image = to_pil(x)
    assert image.size == (7, 5) and image.mode == {1: "L", 3: "RGB"}[channels]
    back = from_pil(image, channels)
    assert back.shape == x.shape and back.dtype == torch.float32
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(
        np.asarray(image).reshape(5, 7, channels), (x * 255).round().permute(1, 2, 0).numpy()
    )


def test_from_pil_converts_modes():
    image = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    assert from_pil(image, 3)[:, 0, 0].tolist() == [1, 0, 0]
    assert from_pil(image, 1).shape == (1, 2, 4)
    with pytest.raises(LisError, match="channels is 4"):
        from_pil(image, 4)


@pytest.mark.parametrize(
    "x",
    [torch.rand(2, 4, 4), torch.rand(4, 4), torch.rand(1, 1, 4, 4), torch.rand(1, 0, 4), np.zeros((1, 4, 4)),
     torch.full((1, 4, 4), math.nan), torch.zeros(1, 4, 4, dtype=torch.uint8)],
)  # fmt: skip
def test_to_pil_refuses(x):
    with pytest.raises(LisError):
        to_pil(x)
    with pytest.raises(LisError):
        png_bytes(x)


def slow_montage(x, columns, pad, background):
    n, channels, height, width = x.shape
    rows = math.ceil(n / columns)
    sheet = np.full(
        (channels, pad + rows * (height + pad), pad + columns * (width + pad)), background, np.float32
    )
    for i in range(n):
        for row in range(height):
            for column in range(width):
                top = pad + (i // columns) * (height + pad) + row
                left = pad + (i % columns) * (width + pad) + column
                sheet[:, top, left] = x[i, :, row, column].numpy()
    return torch.from_numpy(sheet)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 7),
    columns=st.integers(1, 8),
    pad=st.integers(0, 2),
    channels=st.sampled_from([1, 3]),
    background=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_montage_against_loops(n, columns, pad, channels, background):
    x = torch.rand(n, channels, 3, 2)
    assert torch.equal(montage(x, columns, pad, background), slow_montage(x, columns, pad, background))


def test_montage_refuses():
    for x, columns, pad in [(GOOD[0], 2, 1), (GOOD[:0], 2, 1), (GOOD, 0, 1), (GOOD, 2, -1), ([1], 2, 1)]:
        with pytest.raises(LisError):
            montage(x, columns, pad)


def test_png_scales_by_whole_pixels(tmp_path):
    x = torch.randint(0, 256, (3, 4, 5)).float() / 255
    save_png(x, tmp_path / "sheets" / "x.png", scale=3)
    image = Image.open(tmp_path / "sheets" / "x.png")
    assert image.size == (15, 12)
    torch.testing.assert_close(from_pil(image, 3), x.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert Image.open(io.BytesIO(png_bytes(x))).size == (5, 4)
    for scale in (0, -1, 1.5):
        with pytest.raises(LisError, match="scale"):
            png_bytes(x, scale)
    (tmp_path / "file").write_text("")
    with pytest.raises(LisError, match="can't write"):
        save_png(x, tmp_path / "file" / "x.png")
