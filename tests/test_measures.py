"""Measures of parts and pictures against scikit-image and against loops over the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import laplace
from skimage import filters, morphology
from skimage.measure import label as find_pieces
from skimage.measure import perimeter, regionprops
from skimage.metrics import structural_similarity

from lis_toolkit.errors import LisError
from lis_toolkit.parts import measures as module
from lis_toolkit.parts import texture
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.measures import (
    ABSENT,
    MEASURES,
    PRESENT,
    TOO_SMALL,
    angle_difference,
    mean_angle,
    measure_columns,
    measure_names,
    measure_parts,
    measure_pictures,
)
from lis_toolkit.parts.regions import count_components, ellipses, perimeter_lengths
from lis_toolkit.parts.soft import soft_area, soft_measures
from lis_toolkit.parts.texture import default_levels, default_radius, disk, local_entropy
from lis_toolkit.parts.whole import PICTURE_MEASURES, foreground_mask, luminance, sharpness, similarity

LEGEND = Legend(("background", "sleeve", "torso", "collar"))


def pictures(n, channels=1, height=12, width=12, seed=0, coarse=5):
    """Pictures with values that repeat, so that entropy is not the highest everywhere."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, height, width, generator=generator)
    return torch.where(
        torch.rand(n, 1, height, width, generator=generator) < 0.6, (x * coarse).floor() / coarse, x
    )


def blobs(n, height=12, width=12, seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(n, count, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(rough, (height, width), mode="bilinear").argmax(1).to(torch.uint8)


def plain(x, labels, p, radius, levels):
    """Measures of one part of one picture [C, H, W], from scikit-image."""
    mask = labels == p
    if not mask.any():
        return None
    region = regionprops(mask.astype(np.uint8))[0]
    height, width = mask.shape
    red, green, blue = x if len(x) == 3 else (x[0],) * 3
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    grey = np.rint(light.astype(np.float32) * (levels - 1)).astype(np.uint8)
    found = {
        "area": region.area / mask.size,
        "luminance": light[mask].mean(),
        "entropy": filters.rank.entropy(grey, morphology.disk(radius))[mask].mean(),
        "perimeter": perimeter(mask),
        "centre_x": (region.centroid[1] + 0.5) / width,
        "centre_y": (region.centroid[0] + 0.5) / height,
        "components": find_pieces(mask, connectivity=2).max(),
        "major_axis": region.axis_major_length,
        "minor_axis": region.axis_minor_length,
        "eccentricity": region.eccentricity,
        "angle": region.orientation,
    }
    if len(x) == 3:
        found |= {"red": red[mask].mean(), "green": green[mask].mean(), "blue": blue[mask].mean()}
    if mask.sum() < 5:
        found |= dict.fromkeys(("major_axis", "minor_axis", "eccentricity", "angle"), math.nan)
    elif region.axis_minor_length > 0.9 * region.axis_major_length:
        found["angle"] = math.nan
    return found


def check_against_plain(x, labels, legend=LEGEND, radius=2, levels=32):
    result = measure_parts(x, labels, legend, radius, levels)
    assert result.measures == measure_names(x.shape[1]) and result.values.dtype == torch.float32
    for n in range(len(x)):
        for p in range(len(legend.parts)):
            expected = plain(x[n].double().numpy(), labels[n].numpy(), p + 1, radius, levels)
            got = dict(zip(result.measures, result.values[n, p].tolist(), strict=True))
            if expected is None:
                assert result.codes[n, p] == ABSENT and all(math.isnan(v) for v in got.values())
                continue
            small = int((labels[n] == p + 1).sum()) < 5
            assert result.codes[n, p] == (TOO_SMALL if small else PRESENT)
            for name, value in expected.items():
                if name == "angle" and not math.isnan(value):
                    assert abs(angle_difference(torch.tensor(got[name]), torch.tensor(value))) < 1e-5
                else:
                    assert got[name] == pytest.approx(value, rel=2e-5, abs=1e-5, nan_ok=True), name
    return result


@pytest.mark.parametrize(("channels", "height", "width", "levels"), [(1, 12, 12, 32), (3, 9, 15, 256)])
def test_blobs_measure_as_scikit_image_does(channels, height, width, levels):
    x, labels = pictures(12, channels, height, width), blobs(12, height, width)
    result = check_against_plain(x, labels, levels=levels)
    assert (result.codes == PRESENT).any() and result["entropy"].nan_to_num().max() > 1


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(3, 9), st.integers(3, 9)), elements=st.integers(0, 3)))
def test_any_labels_measure_as_scikit_image_does(labels):
    check_against_plain(pictures(1, 1, *labels.shape), torch.from_numpy(labels)[None])


SHAPES = {
    "empty": ["....."] * 5,
    "full": ["#####"] * 5,
    "one pixel in a corner": ["#....", ".....", ".....", ".....", "....."],
    "diagonal": ["#....", ".#...", "..#..", "...#.", "....#"],
    "a horizontal line": [".....", ".....", "#####", ".....", "....."],
    "two pieces": ["##..#", "##..#", "....#", "##..#", "....."],
    "a ring": [".###.", "#...#", "#...#", "#...#", ".###."],
    "a checkerboard": ["#.#.#", ".#.#.", "#.#.#", ".#.#.", "#.#.#"],
}


def shape(name):
    return torch.tensor([[int(c == "#") for c in row] for row in SHAPES[name]], dtype=torch.uint8)


@pytest.mark.parametrize("name", SHAPES)
def test_awkward_shapes_measure_as_scikit_image_does(name):
    check_against_plain(pictures(1, 1, 5, 5), shape(name)[None], Legend(("background", "part")))


def test_known_answers():
    labels = torch.stack([shape(name) for name in SHAPES])
    x = torch.full((len(labels), 1, 5, 5), 0.25)
    result = measure_parts(x, labels, Legend(("background", "part")))
    found = {name: dict(zip(result.measures, row, strict=True)) for name, row in
             zip(SHAPES, result.values[:, 0].tolist(), strict=True)}  # fmt: skip
    assert result.codes[:, 0].tolist() == [1, 0, 2, 0, 0, 0, 0, 0]
    assert all(math.isnan(v) for v in found["empty"].values())
    assert found["full"]["area"] == 1 and found["full"]["centre_x"] == found["full"]["centre_y"] == 0.5
    assert (
        math.isnan(found["full"]["angle"]) and found["full"]["eccentricity"] == 0
    )  # a square has no direction
    assert found["one pixel in a corner"]["centre_x"] == pytest.approx(0.1)
    assert found["one pixel in a corner"]["area"] == pytest.approx(1 / 25)
    assert math.isnan(found["one pixel in a corner"]["major_axis"])
    assert found["diagonal"]["angle"] == pytest.approx(math.pi / 4)
    assert found["diagonal"]["minor_axis"] == 0 and found["diagonal"]["eccentricity"] == 1
    assert abs(found["a horizontal line"]["angle"]) == pytest.approx(math.pi / 2)
    assert [found[name]["components"] for name in list(SHAPES)[1:]] == [1, 1, 1, 1, 3, 1, 1]
    assert all(row["luminance"] == 0.25 and row["entropy"] == 0 for row in list(found.values())[1:])


def components_by_hand(mask):
    """Count pieces by flooding, diagonal neighbours included."""
    left = {tuple(place) for place in np.argwhere(mask)}
    count = 0
    while left:
        count, front = count + 1, [left.pop()]
        while front:
            y, x = front.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
    return count


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
                  elements=st.integers(0, 2)))  # fmt: skip
def test_pieces_are_those_that_flooding_finds(labels):
    counts = count_components(torch.from_numpy(labels), 3)
    assert counts[:, 0].eq(0).all()
    for n, picture in enumerate(labels):
        assert counts[n, 1:].tolist() == [components_by_hand(picture == p) for p in (1, 2)]


def test_pieces_of_a_spiral_and_of_a_comb_are_one():
    spiral, y, x, dy, dx = np.zeros((41, 41), np.uint8), 0, 0, 0, 1
    for length in [*range(40, 2, -2)]:
        for _ in range(2):
            for _ in range(length):
                spiral[y, x] = 1
                y, x = y + dy, x + dx
            dy, dx = dx, -dy
    comb = np.zeros((41, 41), np.uint8)
    comb[:, ::2] = 1
    assert comb[:1].sum() == 21
    joined = comb.copy()
    joined[-1] = 1
    labels = torch.from_numpy(np.stack([spiral, comb, joined]))
    assert count_components(labels, 2)[:, 1].tolist() == [components_by_hand(spiral == 1), 21, 1]


def entropy_by_hand(grey, radius):
    """The entropy of the histogram of every window, pixel by pixel."""
    height, width = grey.shape
    out = np.zeros(grey.shape)
    for y in range(height):
        for x in range(width):
            window = [grey[y + dy, x + dx] for dy, dx in disk(radius)
                      if 0 <= y + dy < height and 0 <= x + dx < width]  # fmt: skip
            shares = np.unique(window, return_counts=True)[1] / len(window)
            out[y, x] = -(shares * np.log2(shares)).sum()
    return out


@pytest.mark.parametrize(
    ("height", "width", "radius", "levels"), [(9, 9, 2, 8), (3, 20, 4, 256), (2, 2, 3, 16)]
)
def test_local_entropy_is_that_of_the_windows_histogram(height, width, radius, levels):
    light = pictures(2, 1, height, width, coarse=4)[:, 0]
    result = local_entropy(light, radius, levels)
    for n in range(2):
        grey = np.rint(light[n].numpy() * (levels - 1)).astype(np.uint8)
        np.testing.assert_allclose(result[n], entropy_by_hand(grey, radius), atol=2e-5)
        np.testing.assert_allclose(result[n], filters.rank.entropy(grey, morphology.disk(radius)), atol=2e-5)


@pytest.mark.parametrize("radius", [5, 10])  # more than 64 pixels, and more than a byte counts
def test_large_windows_count_right(radius):
    light = torch.cat([torch.zeros(1, 24, 24), pictures(1, 1, 24, 24)[:, 0]])
    result = local_entropy(light, radius, 256)
    assert result[0].abs().max() < 1e-4
    grey = np.rint(light[1].numpy() * 255).astype(np.uint8)
    np.testing.assert_allclose(result[1], filters.rank.entropy(grey, morphology.disk(radius)), atol=1e-4)


@pytest.mark.parametrize("most", [1, 40_000, 150_000])
def test_bands_and_pictures_one_by_one_change_no_digit(monkeypatch, most):
    light = torch.rand(3, 41, 19, generator=torch.Generator().manual_seed(0))
    whole = [local_entropy(light, radius) for radius in (1, 3, 9)]
    monkeypatch.setattr(texture, "MOST_BYTES", most)
    sizes = []
    inner = texture._entropy
    monkeypatch.setattr(
        texture, "_entropy", lambda grey, radius: sizes.append(grey.shape) or inner(grey, radius)
    )
    for radius, expected in zip((1, 3, 9), whole, strict=True):
        assert torch.equal(local_entropy(light, radius), expected)
    assert {shape[0] for shape in sizes} <= {1, 2, 3} and min(shape[1] for shape in sizes) < 41


def test_few_levels_tell_a_weak_texture_from_a_strong_one_where_256_do_not():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(40, 24, 24, generator=generator) - 0.5
    strong, weak = 0.5 + 0.4 * noise, 0.5 + 0.2 * noise
    gain = {levels: local_entropy(strong, 2, levels).mean() - local_entropy(weak, 2, levels).mean()
            for levels in (32, 256)}  # fmt: skip
    assert gain[32] > 0.5 > 4 * gain[256]
    assert default_levels(2) == 32 and default_levels(default_radius(256, 256)) == 256


def test_perimeters_of_a_batch_are_scikit_images():
    labels = blobs(6, 20, 17, seed=3)
    lengths = perimeter_lengths(labels)
    for n in range(6):
        for p in range(4):
            mask = (labels[n] == p).numpy()
            assert lengths[n][labels[n] == p].sum().item() == pytest.approx(perimeter(mask))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_light_of_other_precisions_is_summed_in_float32(dtype):
    x, labels = pictures(4, 3, 20, 17).to(dtype), blobs(4, 20, 17)
    for found, expected in (
        (measure_parts(x, labels, LEGEND).values, measure_parts(x.float(), labels, LEGEND).values),
        *zip(measure_pictures(x).values(), measure_pictures(x.float()).values(), strict=True),
    ):
        assert torch.equal(found.nan_to_num(-1), expected.nan_to_num(-1))


def test_neither_the_batch_nor_the_neighbours_in_it_change_a_digit(monkeypatch):
    x, labels = pictures(9, 3, 10, 14), blobs(9, 10, 14)
    whole = measure_parts(x, labels, LEGEND)
    alone = [measure_parts(x[n : n + 1], labels[n : n + 1], LEGEND) for n in range(9)]
    monkeypatch.setattr(module, "_CHUNK", {"cpu": 4 * 10 * 14})
    chunked = measure_parts(x, labels, LEGEND)
    for other in (torch.cat([one.values for one in alone]), chunked.values):
        assert torch.equal(other.nan_to_num(-1), whole.values.nan_to_num(-1))
    assert torch.equal(chunked.codes, whole.codes)


def test_the_other_parts_of_a_picture_do_not_change_a_measure():
    x, labels = pictures(3, 1, 14, 14), blobs(3, 14, 14)
    whole = measure_parts(x, labels, LEGEND)
    for p in range(1, 4):
        alone = measure_parts(x, torch.where(labels == p, p, 0), LEGEND)
        assert torch.equal(alone.values[:, p - 1].nan_to_num(-1), whole.values[:, p - 1].nan_to_num(-1))
        assert alone.codes.eq(ABSENT).sum() >= 6


def test_a_part_that_is_moved_and_mirrored_keeps_what_it_should():
    labels = torch.zeros(3, 20, 20, dtype=torch.uint8)
    labels[0, 2:8, 3:6] = 1
    labels[0, 7, 3:9] = 1
    labels[1] = labels[0].roll((5, 4), (0, 1))
    labels[2] = labels[0].flip(1)
    result = measure_parts(pictures(3, 1, 20, 20), labels, Legend(("background", "part")))
    for name in ("area", "perimeter", "major_axis", "minor_axis", "eccentricity", "components"):
        assert result[name].std() == pytest.approx(0, abs=1e-5), name
    angle = result["angle"][:, 0]
    assert (
        angle[1] == pytest.approx(angle[0]) and angle[2] == pytest.approx(-angle[0]) and abs(angle[0]) > 0.1
    )
    assert result["centre_x"][1, 0] - result["centre_x"][0, 0] == pytest.approx(4 / 20)
    assert result["centre_y"][1, 0] - result["centre_y"][0, 0] == pytest.approx(5 / 20)
    assert result["centre_x"][2, 0] == pytest.approx(1 - result["centre_x"][0, 0])


@settings(max_examples=40, deadline=None)
@given(turn=st.floats(-10, 10), ratio=st.floats(0.25, 0.85))
def test_the_angle_of_a_turned_ellipse_comes_back(turn, ratio):
    y, x = torch.meshgrid(torch.arange(61.0) - 30, torch.arange(61.0) - 30, indexing="ij")
    along, across = math.cos(turn) * y + math.sin(turn) * x, math.cos(turn) * x - math.sin(turn) * y
    inside = (along / 28) ** 2 + (across / (28 * ratio)) ** 2 <= 1
    result = measure_parts(
        torch.rand(1, 1, 61, 61), inside[None].to(torch.uint8), Legend(("background", "part"))
    )
    assert abs(angle_difference(result["angle"][0, 0], torch.tensor(turn))) < 0.03
    assert result["major_axis"][0, 0] == pytest.approx(56, rel=0.03)


def test_nearly_round_parts_have_no_angle():
    sums = {name: torch.tensor([value], dtype=torch.float64) for name, value in
            {"n": 100, "x": 0, "y": 0, "xx": 82.0 * 100, "yy": 100.0 * 100, "xy": 0}.items()}  # fmt: skip
    assert math.isnan(ellipses(sums)["angle"])  # the axes' ratio is sqrt(0.82) = 0.906
    assert ellipses(sums | {"xx": torch.tensor([80.0 * 100]).double()})["angle"] == 0  # 0.894


def test_angles_go_the_short_way_round():
    degrees = torch.arange(-360.0, 361, 15)
    a, b = torch.meshgrid(degrees.deg2rad(), degrees.deg2rad(), indexing="ij")
    difference = angle_difference(a, b)
    assert difference.min() >= -math.pi / 2 and difference.max() <= math.pi / 2
    turns = (b - a - difference) / math.pi
    assert (turns - turns.round()).abs().max() < 1e-5
    assert angle_difference(torch.tensor(math.nan), torch.tensor(0.0)).isnan()
    assert angle_difference(torch.tensor(1.5), torch.tensor(-1.5)) == pytest.approx(math.pi - 3)


def test_the_mean_of_angles_knows_that_a_half_turn_is_none():
    near = torch.tensor([[1.5, -1.5, math.nan, 1.56]])
    mean, agreement = mean_angle(near, dim=1)
    plain_mean = 0.5 * np.angle(np.mean(np.exp(2j * np.array([1.5, -1.5, 1.56]))))
    assert abs(angle_difference(mean[0], torch.tensor(plain_mean))) < 1e-5
    assert agreement[0] == pytest.approx(abs(np.mean(np.exp(2j * np.array([1.5, -1.5, 1.56])))), abs=1e-5)
    assert mean_angle(torch.tensor([0.0, math.pi / 2]))[1] < 1e-6  # opposites: no mean
    assert all(v.isnan() for v in mean_angle(torch.tensor([math.nan])))


def test_columns_and_frame_hold_the_measures():
    x, labels = pictures(4, 3), blobs(4)
    result = measure_parts(x, labels, LEGEND)
    frame = result.to_frame()
    assert tuple(frame.columns) == result.columns() == measure_columns(LEGEND.parts, 3)
    assert frame.dtypes.astype(str).value_counts().to_dict() == {"float32": 3 * 14, "int8": 3}
    for p, part in enumerate(LEGEND.parts):
        np.testing.assert_array_equal(frame[f"{part}.code"], result.codes[:, p])
        for m, name in enumerate(result.measures):
            np.testing.assert_array_equal(frame[f"{part}.{name}"], result.values[:, p, m])
    assert len(result) == 4 and set(measure_names(3)) == set(MEASURES)
    assert [m.name for m in MEASURES.values() if m.circular] == ["angle"]
    assert MEASURES["perimeter"].axis == "perimeter (pixels)"
    with pytest.raises(LisError, match="no measure 'size'"):
        result["size"]


def test_bad_input_is_refused():
    x, labels = pictures(2), blobs(2)
    for bad, message in [
        ((x * 300, labels, LEGEND), "0 to 1 was expected"),
        ((x[:, :1].expand(-1, 2, -1, -1), labels, LEGEND), "2 channels; 1 or 3"),
        ((x, labels[:1], LEGEND), "shape"),
        ((x, labels.float(), LEGEND), "whole numbers"),
        ((x, labels.numpy(), LEGEND), "ndarray"),
        ((x, labels, Legend(("background", "only"))), "the legend has 2"),
        ((x, labels.int() - 1, LEGEND), "from -1"),
        ((x, labels, LEGEND, 0), "radius is 0"),
        ((x, labels, LEGEND, 2, 1), "levels is 1"),
    ]:
        with pytest.raises(LisError, match=message):
            measure_parts(*bad)


# whole pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_is_scikit_images(channels):
    x, start = pictures(5, channels, 11, 16), pictures(5, channels, 11, 16, seed=1)
    start[0] = 0.95 + 0.05 * start[0]
    x[0] = start[0] + 0.001
    x[1] = start[1]
    got = similarity(x.clamp(0, 1), start)
    for n in range(5):
        expected = structural_similarity(
            x[n].clamp(0, 1).double().numpy(), start[n].double().numpy(), data_range=1, channel_axis=0
        )
        assert got[n] == pytest.approx(expected, abs=1e-4)
    assert got[1] == pytest.approx(1) and got[2] < 0.5
    one = similarity(x, start[:1])
    assert one.shape == (5,) and one[0] == pytest.approx(similarity(x[:1], start[:1])[0])


def test_whole_pictures_by_hand():
    x, labels = pictures(4, 3, 10, 9), blobs(4, 10, 9)
    found = measure_pictures(x, labels, x.flip(0))
    assert set(found) == set(PICTURE_MEASURES) and set(measure_pictures(x)) == set(PICTURE_MEASURES[:3])
    for n in range(4):
        red, green, blue = x[n].double().numpy()
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert found["foreground"][n] == pytest.approx(float((labels[n] > 0).double().mean()))
        assert found["luminance"][n] == pytest.approx(light.mean(), abs=1e-6)
        assert found["sharpness"][n] == pytest.approx(laplace(light)[1:-1, 1:-1].var(), rel=1e-4)
        np.testing.assert_allclose(luminance(x)[n], light, atol=1e-6)
    assert all(v.dtype == torch.float32 and v.shape == (4,) for v in found.values())


def test_the_foreground_is_found_on_dark_and_on_light_backgrounds():
    inside = torch.zeros(1, 1, 16, 16)
    inside[:, :, 4:12, 0:9] = 1  # touches the edge
    for ground, thing in ((0.0, 0.5), (1.0, 0.3), (0.5, 0.65)):
        mask = foreground_mask(ground + (thing - ground) * inside)
        assert torch.equal(mask, inside[:, 0] == 1)
    assert not foreground_mask(torch.full((1, 1, 8, 8), 0.7)).any()


def test_bad_pictures_are_refused():
    x = pictures(2)
    for call, message in [
        (lambda: measure_pictures(x, labels=blobs(1)), "labels have shape"),
        (lambda: measure_pictures(x, start=x[:, :, :5]), "same, or"),
        (lambda: similarity(x[:, :, :5], x[:, :, :5]), "at least 7 x 7"),
        (lambda: sharpness(x[:, :, :2]), "at least 3 x 3"),
        (lambda: luminance(x.expand(-1, 4, -1, -1)), "1 or 3"),
        (lambda: measure_pictures(x[0]), "batch dimension"),
        (lambda: local_entropy(x), "floating-point"),
    ]:
        with pytest.raises(LisError, match=message):
            call()


# soft measures


@pytest.mark.parametrize("channels", [1, 3])
def test_soft_measures_of_confident_logits_are_the_hard_ones(channels):
    x, labels = pictures(6, channels), blobs(6)
    labels[0] = 0
    logits = 60.0 * torch.nn.functional.one_hot(labels.long(), 4).permute(0, 3, 1, 2).float()
    area, light = soft_measures(x, logits)
    hard = measure_parts(x, labels, LEGEND)
    torch.testing.assert_close(area, hard["area"].nan_to_num(0), atol=1e-6, rtol=1e-5)
    present = hard.codes != ABSENT
    assert not present.all()
    torch.testing.assert_close(light[present], hard["luminance"][present], atol=1e-6, rtol=1e-5)
    assert light.isfinite().all()
    torch.testing.assert_close(soft_area(logits), area)


def test_soft_measures_have_derivatives_also_forward_and_under_vmap():
    x = pictures(2, 1, 6, 6).double()
    logits = torch.randn(2, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = torch.randn(logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def both(x, logits):
        return torch.cat(soft_measures(x, logits), dim=1)  # [N, 2 P]

    _, forward = torch.func.jvp(lambda v: both(x, v), (logits,), (step,))
    small = 1e-6
    differences = (both(x, logits + small * step) - both(x, logits - small * step)) / (2 * small)
    torch.testing.assert_close(forward, differences, atol=1e-8, rtol=1e-5)
    alone = torch.func.vmap(lambda a, b: both(a[None], b[None])[0])(x, logits)
    torch.testing.assert_close(alone, both(x, logits))
    assert torch.autograd.gradcheck(both, (x.requires_grad_(), logits.requires_grad_()))
    jacobian = torch.func.jacfwd(soft_area)(logits.detach())
    assert jacobian.shape == (2, 3, 2, 4, 6, 6)


def test_soft_measures_refuse_what_does_not_fit():
    with pytest.raises(LisError, match="same pictures"):
        soft_measures(pictures(2), torch.zeros(2, 4, 5, 12))
    with pytest.raises(LisError, match="logits have shape"):
        soft_area(torch.zeros(2, 1, 5, 5))
