"""Class distances: means and intervals against a loop, their figures against their numbers, scaling against sklearn."""

import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from scipy.spatial.distance import pdist, squareform
from scipy.stats import norm, t

from lis_toolkit.counterfactuals.class_distances import ClassDistances, class_distances
from lis_toolkit.counterfactuals.distance_plots import distance_embedding, distance_map
from lis_toolkit.counterfactuals.intervals import resampled_means, widened_interval
from lis_toolkit.counterfactuals.paths import row_indices
from lis_toolkit.counterfactuals.result import Counterfactuals
from lis_toolkit.counterfactuals.scaling import kruskal_stress, place_points
from lis_toolkit.counterfactuals.table import COLUMNS, KINDS
from lis_toolkit.errors import LisError


def made(k=4, per_pair=5, seed=0, keep=lambda i, j: True):
    """A result with only a table, and a boundary of random distances that differ by pair."""
    random = np.random.default_rng(seed)
    classes = tuple(f"class {i}" for i in range(k))
    rows = [(i, j, n) for i in range(k) for j in range(k) if i != j and keep(i, j) for n in range(per_pair)]
    blank = {int: 0, float: 0.0, bool: True, str: ""}
    table = pd.DataFrame({name: [blank[KINDS[name]]] * len(rows) for name in COLUMNS})
    table["start"] = [i * per_pair + n for i, _, n in rows]
    table["origin"] = table["cycled"] = [classes[i] for i, _, _ in rows]
    table["target"] = [classes[j] for _, j, _ in rows]
    n = len(rows)
    result = Counterfactuals(
        table,
        torch.zeros(n, 2),
        torch.ones(n, 2),
        torch.tensor([0.0, 1.0]),
        torch.zeros(n, 2, k),
        None,
        classes,
    )
    boundary = result.table[["start", "cycled", "target"]].copy()
    boundary["distance_w"] = [1 + abs(i - j) + 0.5 * (i > j) for i, j, _ in rows] * np.exp(
        0.3 * random.normal(size=n)
    )
    boundary["bend"] = random.normal(size=n)
    return result, boundary


def distances_of(matrix, **changes):
    """Class distances of which only the means matter."""
    matrix = np.asarray(matrix, float)
    k = len(matrix)
    off = ~np.eye(k, dtype=bool) & np.isfinite(matrix)
    mean = np.where(off, matrix, np.nan)
    uneven = mean - mean.T
    fields = {"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "counts": off * 6, "left_out": off * 0,
              "difference": uneven, "difference_low": uneven - 1, "difference_high": uneven + 1}  # fmt: skip
    return ClassDistances(tuple(f"class {i}" for i in range(k)), **{**fields, **changes})


def loop_interval(values, starts, resamples, seed, confidence):
    """The interval by plain loops: starts drawn with replacement, all rows of a drawn start, Student's tails."""
    names = sorted(set(starts))
    n = len(names)
    counts = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=resamples)
    means = []
    for drawn in counts:
        sample = []
        for name, times in zip(names, drawn, strict=True):
            for _ in range(times):
                sample += [v for v, s in zip(values, starts, strict=True) if s == name]
        means.append(sum(sample) / len(sample))
    mean, tail = sum(values) / len(values), (1 - confidence) / 2
    wider = (n / (n - 1)) ** 0.5 * t.ppf(tail, n - 1) / norm.ppf(tail)
    low, high = (mean + wider * (np.quantile(means, share) - mean) for share in (tail, 1 - tail))
    return max(low, 0), high


def test_means_and_intervals_are_those_of_a_loop():
    result, boundary = made()
    result = Counterfactuals(
        **{**vars(result), "table": result.table.assign(start=result.table["start"] // 2)}
    )
    boundary["start"] = result.table["start"]
    boundary.loc[[3, 10, 11], "distance_w"] = np.nan  # one way loses a row, another one a start
    got = class_distances(result, boundary, confidence=0.9, resamples=300, seed=4)
    assert got.classes == result.classes and np.isnan(np.diag(got.mean)).all()
    for i, origin in enumerate(got.classes):
        for j, target in enumerate(got.classes):
            if i == j:
                continue
            rows = boundary[(boundary.cycled == origin) & (boundary.target == target)]
            kept = rows.dropna()
            assert got.counts[i, j] == len(kept) and got.left_out[i, j] == len(rows) - len(kept)
            assert got.mean[i, j] == pytest.approx(sum(kept.distance_w) / len(kept))
            seed = [4, zlib.crc32(origin.encode()), zlib.crc32(target.encode())]
            low, high = loop_interval(kept.distance_w.tolist(), kept.start.tolist(), 300, seed, 0.9)
            assert (got.low[i, j], got.high[i, j]) == pytest.approx((low, high))
            assert got.difference[i, j] == pytest.approx(got.mean[i, j] - got.mean[j, i])
            # Of both ways' draws, and no surer than the way of fewer starts.
            back = boundary[(boundary.cycled == target) & (boundary.target == origin)].dropna()
            there = resampled_means(kept.distance_w.to_numpy(), kept.start.to_numpy(), 300, seed)
            again = resampled_means(
                back.distance_w.to_numpy(), back.start.to_numpy(), 300, [4, seed[2], seed[1]]
            )
            bounds = widened_interval(there[0] - again[0], got.difference[i, j], min(there[1], again[1]), 0.9)
            assert (got.difference_low[i, j], got.difference_high[i, j]) == pytest.approx(bounds)
    assert np.array_equal(got.difference, -got.difference.T, equal_nan=True)
    assert got.difference_low == pytest.approx(-got.difference_high.T, nan_ok=True)
    assert got.left_out.sum() == 3


def test_a_pairs_interval_does_not_depend_on_other_pairs_nor_on_the_order_of_rows():
    result, boundary = made()
    whole = class_distances(result, boundary, resamples=200)
    order = np.random.default_rng(0).permutation(len(result))
    mixed = class_distances(result.subset(order), boundary.iloc[order], resamples=200)
    two = row_indices(
        (result.table.cycled + result.table.target).isin(["class 0class 1", "class 1class 0"]), len(result)
    )
    few = class_distances(result.subset(two), boundary.iloc[two], resamples=200)
    assert few.classes == ("class 0", "class 1")
    for name in ("mean", "low", "high", "difference_low"):
        assert getattr(mixed, name) == pytest.approx(getattr(whole, name), nan_ok=True)
        assert getattr(few, name) == pytest.approx(getattr(whole, name)[:2, :2], nan_ok=True)
    other = class_distances(result, boundary, resamples=200, seed=1)
    assert not np.allclose(other.low, whole.low, equal_nan=True)


def test_intervals_of_few_starts_cover_the_mean_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = {"widened": 0, "plain": 0}
    for trial in range(300):
        values = random.normal(size=6)
        draws, starts = resampled_means(values, np.arange(6), 2000, [trial])
        low, high = widened_interval(draws, values.mean(), starts, 0.95)
        covered["widened"] += low < 0 < high
        low, high = np.quantile(draws, [0.025, 0.975])
        covered["plain"] += low < 0 < high
    assert 0.92 < covered["widened"] / 300 < 0.98
    assert covered["plain"] / 300 < 0.91  # why they are widened


def test_few_starts_are_said_and_have_no_interval():
    result, boundary = made(k=2, per_pair=3)
    one = class_distances(result.subset([0, 3, 4]), boundary.iloc[[0, 3, 4]])
    assert one.counts.tolist() == [[0, 1], [2, 0]]
    assert np.isnan([one.low[0, 1], one.high[0, 1], one.difference_low[0, 1]]).all()
    # Of two values hardly anything is known: the interval is many times their distance.
    assert one.high[1, 0] - one.mean[1, 0] > 4 * np.ptp(boundary.distance_w[3:5]) and one.low[1, 0] >= 0
    assert "no interval" in str(one) and "1 to 2 a pair" in str(one)
    # Two rows of one start are two rows, not two starts.
    same = Counterfactuals(**{**vars(result), "table": result.table.assign(start=0)})
    again = class_distances(same, boundary.assign(start=0))
    assert again.counts[0, 1] == 3 and np.isnan(again.low[0, 1])


def test_starts_that_are_of_the_target_by_head_alone_have_no_path():
    """They were not searched: neither their distance of 0 nor a lacking crossing counts."""
    result, boundary = made(k=3)
    idle = [1, 2]
    table = result.table.assign(distance_r_sd=2.0)
    table.loc[idle, "origin"] = table.loc[idle, "target"]
    table.loc[idle, "distance_r_sd"] = 0.0
    boundary.loc[idle, "distance_w"] = np.nan
    own = Counterfactuals(**{**vars(result), "table": table})
    ends = class_distances(own, boundary, of="distance_r_sd", resamples=20)
    assert ends.mean[0, 1] == ends.low[0, 1] == 2 and ends.counts[0, 1] == 3
    assert class_distances(own, boundary, resamples=20).left_out.sum() == 0


def test_of_a_single_class_pair_nothing_is_said_twice():
    result, boundary = made(k=2)
    rows = [0, 1, 2]
    told = str(class_distances(result.subset(rows), boundary.iloc[rows].reset_index(drop=True), resamples=20))
    assert told.count("class 0 to class 1") == 1 and "  only: " in told and "asymmetric" not in told


def test_tables_and_texts_say_the_same_as_the_matrix():
    result, boundary = made(seed=3)
    got = class_distances(result, boundary)
    frame = got.to_frame()
    assert len(frame) == 12 and set(frame["count"]) == {5}
    for row in frame.itertuples():
        i, j = got.classes.index(row.origin), got.classes.index(row.target)
        assert (row.mean, row.low, row.high) == (got.mean[i, j], got.low[i, j], got.high[i, j])
    uneven = got.asymmetry()
    assert len(uneven) == 6 and (uneven.difference >= 0).all() and uneven.difference.is_monotonic_decreasing
    top = uneven.iloc[0]
    i, j = got.classes.index(top.origin), got.classes.index(top.target)
    assert top.difference == got.mean[i, j] - got.mean[j, i] and top.low == got.difference_low[i, j]
    nearest = frame.loc[frame["mean"].idxmin()]
    assert f"least: {nearest.origin} to {nearest.target} {nearest['mean']:.3g}" in str(got)
    assert "12 class pairs, 60 rows, 5 a pair; 95% intervals" in str(got)
    both = got.symmetrised()
    assert both == pytest.approx((np.nan_to_num(got.mean) + np.nan_to_num(got.mean).T) / 2)
    half = distances_of([[0, 2, np.nan], [np.nan, 0, 4], [np.nan, 6, 0]]).symmetrised()
    assert np.array_equal(half, [[0, 2, np.nan], [2, 0, 5], [np.nan, 5, 0]], equal_nan=True)


def test_any_number_of_rows_can_be_averaged_and_nothing_else():
    result, boundary = made()
    bends = class_distances(result, boundary, of="bend", resamples=20)
    assert bends.mean[0, 1] == pytest.approx(boundary.bend[:5].mean())
    # What can be negative has an interval that may reach below 0, though all that was seen is above.
    above = class_distances(result, boundary.assign(bend=[0.1, 5.0, 0.2, 4.0, 0.1] * 12), of="bend")
    assert (above.low[above.counts > 0] < 0).all()
    seconds = class_distances(result, boundary, of="seconds", resamples=20)
    assert (seconds.mean[seconds.counts > 0] == 0).all()
    for of, message in (("distances_w", "Did you mean 'distance_w'"), ("cycled", "no number 'cycled'")):
        with pytest.raises(LisError, match=message):
            class_distances(result, boundary, of=of)
    with pytest.raises(LisError, match="not of this result"):
        class_distances(result, boundary.iloc[1:])
    with pytest.raises(LisError, match="another order"):
        class_distances(result, boundary.iloc[::-1])
    with pytest.raises(LisError, match="confidence"):
        class_distances(result, boundary, confidence=95)
    with pytest.raises(LisError, match="resamples"):
        class_distances(result, boundary, resamples=0)


def test_points_in_a_plane_are_found_again():
    points = np.random.default_rng(1).normal(size=(7, 2)) * [3, 1]
    matrix = squareform(pdist(points))
    placed, stress = place_points(matrix)
    assert stress < 1e-6 and squareform(pdist(placed)) == pytest.approx(matrix, abs=1e-5)
    assert placed.var(0)[0] > placed.var(0)[1] and np.abs(placed.mean(0)).max() < 1e-9
    again, _ = place_points(matrix[::-1, ::-1])
    assert again[::-1] == pytest.approx(placed, abs=1e-5)  # neither turned nor mirrored by the order
    matrix[0, 1] = matrix[1, 0] = np.nan  # the other distances fix all places
    assert squareform(pdist(place_points(matrix)[0])) == pytest.approx(squareform(pdist(points)), abs=1e-3)


def test_scaling_is_as_good_as_sklearns_best_of_many_starts():
    from sklearn.manifold import smacof

    random = np.random.default_rng(2)
    for k in (4, 9):
        matrix = squareform(pdist(random.normal(size=(k, 6)))) * np.exp(0.2 * random.normal())
        placed, stress = place_points(matrix)
        theirs, _ = smacof(matrix, n_init=8, max_iter=1000, eps=1e-9, random_state=0)
        assert stress <= 1.03 * kruskal_stress(matrix, theirs)
        apart = squareform(pdist(placed))
        upper = np.triu_indices(k, 1)
        plain = np.sqrt(((matrix - apart)[upper] ** 2).sum() / (apart[upper] ** 2).sum())
        assert stress == pytest.approx(plain)


def test_distances_that_place_nothing_are_refused():
    for matrix, message in (
        ([[0.0]], "at least 2"),
        ([[0, 1], [2, 0]], "symmetric"),
        ([[0, -1], [-1, 0]], "negative"),
        ([[0, 1, np.nan], [1, 0, np.nan], [np.nan, np.nan, 0]], "not even over a third"),
    ):
        with pytest.raises(LisError, match=message):
            place_points(np.array(matrix, float))
    placed, stress = place_points(np.array([[0, 3.0], [3.0, 0]]))
    assert stress < 1e-9 and np.abs(placed[0] - placed[1]) == pytest.approx([3, 0])
    assert place_points(np.zeros((3, 3)))[1] == 0.0


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]


def test_the_map_has_every_mean_and_interval_in_its_cell():
    result, boundary = made(k=4, per_pair=5)
    boundary.loc[boundary.cycled.eq("class 2") & boundary.target.eq("class 0"), "distance_w"] = np.nan
    got = class_distances(result, boundary, resamples=100)
    figure = distance_map(got)
    axes = figure.axes[0]
    image = axes.images[0].get_array()
    assert np.array_equal(np.asarray(image.filled(np.nan)), got.mean, equal_nan=True)
    cells = {}
    for text in axes.texts:
        x, y = text.get_position()
        cells.setdefault((round(y), round(x)), []).append(text.get_text())
    assert cells[2, 0] == ["none"] and cells[1, 1] == ["–"]
    for i, j in zip(*np.nonzero(np.isfinite(got.mean)), strict=True):
        number, bounds = cells[i, j]
        assert float(number) == pytest.approx(got.mean[i, j], abs=0.051)
        assert [float(b) for b in bounds.split("–")] == pytest.approx(
            [got.low[i, j], got.high[i, j]], abs=0.051
        )
    said = figure.get_supxlabel()
    assert "n = 55 counterfactuals, 5 a class pair" in said and "95% bootstrap interval" in said
    assert "5 that do not cross" in said
    assert [label.get_text() for label in axes.get_yticklabels()][:4] == list(got.classes)
    assert axes.get_xlabel() == "target" and "distance to the boundary in w" in figure.axes[1].get_ylabel()


def test_bounds_below_zero_say_to_and_fit_their_cells():
    figure = distance_map(distances_of([[0, -14.16], [1.23, 0]], of="bend"))
    assert {"−14.2", "−15 to −14", "1.2", "0.73–1.7"} <= set(texts_of(figure))
    figure = distance_map(distances_of([[0, -0.16], [1.23, 0]], of="bend"))
    assert "−0.7 to 0.3" in texts_of(figure)


def luminance(colour):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("of", ["distance_w", "bend"])
def test_numbers_can_be_read_on_their_colours(of):
    result, boundary = made(k=6)
    figure = distance_map(class_distances(result, boundary, of=of, resamples=20))
    axes, image = figure.axes[0], figure.axes[0].images[0]
    for text in axes.texts:
        x, y = text.get_position()
        ground = luminance(image.to_rgba(image.get_array())[round(y), round(x)][:3])
        ink = luminance(text.get_color())
        contrast = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
        assert contrast > (4 if text.get_text() != "–" else 3)


@pytest.mark.parametrize(("classes", "texts"), [(2, 2 + 2 * 2), (14, 14 + 2 * 182), (30, 900), (31, 0)])
def test_maps_of_any_size_fit_their_figure(classes, texts):
    random = np.random.default_rng(0)
    figure = distance_map(distances_of(random.uniform(1, 9, (classes, classes))))
    assert len(texts_of(figure)) == texts
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    assert max(width, height) < 1650
    labels = [
        *figure.axes[0].get_xticklabels(),
        *figure.axes[0].get_yticklabels(),
        figure.axes[0].xaxis.label,
    ]
    for label in labels:
        if label.get_text() and label.get_visible():
            box = label.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
    cell = np.abs(np.diff(figure.axes[0].transData.transform([(0, 0), (1, 1)]), axis=0)).min()
    for text in figure.axes[0].texts[:: max(1, texts // 40)]:
        assert text.get_window_extent().width <= cell + 1


def test_the_plane_has_every_class_where_scaling_puts_it():
    result, boundary = made(k=5, seed=6)
    got = class_distances(result, boundary, resamples=20)
    figure = distance_embedding(got)
    axes = figure.axes[0]
    points, stress = place_points(got.symmetrised())
    (dots,) = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert np.asarray(dots.get_offsets()) == pytest.approx(points)
    assert f"stress {stress:.2f}" in axes.get_title(loc="left")
    assert axes.get_aspect() == 1
    written = texts_of(figure)
    assert set(got.classes) <= set(written)
    both = got.symmetrised() + np.where(np.eye(5), np.inf, 0)
    nearest = {tuple(sorted((i, int(row.argmin())))) for i, row in enumerate(both)}
    numbers = sorted(float(text) for text in written if text not in got.classes)
    assert numbers == pytest.approx(sorted(both[pair] for pair in nearest), abs=0.051)
    assert len(axes.lines) == len(nearest)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text() in got.classes]
    assert not any(box.count_overlaps(boxes[i + 1 :]) for i, box in enumerate(boxes))


def test_figures_of_nothing_are_refused_and_classes_of_any_number_are_drawn():
    nothing = distances_of(np.full((3, 3), np.nan))
    assert str(nothing) == "no class pair has a distance_w"
    with pytest.raises(LisError, match="nothing to draw"):
        distance_map(nothing)
    with pytest.raises(LisError, match="not even over a third"):
        distance_embedding(nothing)
    with pytest.raises(LisError, match="negative"):
        distance_embedding(distances_of([[0, -1], [-1, 0]]))
    random = np.random.default_rng(0)
    for k in (2, 20, 40):
        assert distance_embedding(distances_of(random.uniform(1, 9, (k, k)))).axes
    few = distances_of(
        [[0, 2, 3], [2, 0, 4], [3, 4, 0]], low=np.full((3, 3), np.nan), high=np.full((3, 3), np.nan)
    )
    assert texts_of(distance_map(few)).count("n = 6") == 6
