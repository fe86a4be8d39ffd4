"""The boundary along a path: against a dense scan of rendered pictures; what the head says of the same line."""

import numpy as np
import pandas as pd
import pytest
import torch

from counterfactual_results import say, tiny_models, tiny_result
from lis_toolkit import Classifier
from lis_toolkit.counterfactuals.agreement import head_agreement, head_margins
from lis_toolkit.counterfactuals.boundary import ARROW, head_crossings, locate_boundary
from lis_toolkit.counterfactuals.class_distances import class_distances
from lis_toolkit.counterfactuals.intervals import resampled_means, widened_interval
from lis_toolkit.counterfactuals.passages import passed_classes
from lis_toolkit.counterfactuals.paths import target_margins
from lis_toolkit.counterfactuals.result import Counterfactuals
from lis_toolkit.errors import LisError
from tiny import tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def result():
    return tiny_result(40)


@pytest.fixture(scope="module")
def boundary(result):
    generator, classifier, _, link = tiny_models()
    return locate_boundary(result, generator, classifier, link)


@pytest.fixture(scope="module")
def dense(result):
    """Amounts [2001], rendered classes [12, 2001] and margins of the first rows' paths."""
    amounts = torch.linspace(0, 1, 2001, dtype=torch.float64)
    rows = slice(0, 12)
    r = torch.lerp(result.r_start[rows, None], result.r_end[rows, None], amounts.float()[None, :, None])
    logits = say(r)
    return amounts.numpy(), logits.argmax(-1).numpy(), target_margins(logits, result.targets[rows]).numpy()


def test_crossings_are_those_of_a_dense_scan(result, boundary, dense):
    amounts, _, margins = dense
    checked = 0
    for row, margin in enumerate(margins):
        crossing = boundary.crossing[row]
        grid = margin[::250]  # the result's own places
        enters = [p for p in range(8) if grid[p] <= 0 < grid[p + 1]]
        if grid[0] > 0 or not enters:
            assert np.isnan(crossing)
            continue
        changes = amounts[1:][(margin[:-1] <= 0) & (margin[1:] > 0)]
        step = changes[(changes > enters[0] / 8) & (changes <= (enters[0] + 1) / 8)]
        # At most the tolerance beyond a change of the scan, which itself is at most its step too late.
        assert ((crossing - step > -1 / 2000) & (crossing - step < 1e-3)).any(), (row, crossing, step)
        assert boundary.crossings[row] == sum((grid[p] > 0) != (grid[p + 1] > 0) for p in range(8))
        checked += 1
    assert checked >= 6


def test_the_picture_at_the_crossing_is_of_the_target_and_just_before_it_is_not(result, boundary):
    rows = np.flatnonzero(boundary.crossing.notna())
    assert len(rows) > 20
    at = torch.tensor(boundary.crossing.to_numpy()[rows], dtype=torch.float32)[:, None]
    start, end, targets = result.r_start[rows], result.r_end[rows], result.targets[rows]
    assert (target_margins(say(start + at * (end - start)), targets) > -1e-5).all()
    for share in (0.5, 1.0):  # the step that was halved last begins at most the tolerance before
        before = target_margins(say(start + (at - share * 1e-3) * (end - start)), targets)
        assert (before <= 1e-5).float().mean() > (0.9 if share == 1 else 0.3)


def stays(tops):
    return [int(top) for i, top in enumerate(tops) if i == 0 or tops[i - 1] != top]


def in_order(some, more):
    rest = iter(more)
    return all(any(top == seen for seen in rest) for top in some)


def test_the_classes_on_the_way_are_those_of_the_scan(result, boundary, dense):
    amounts, tops, _ = dense
    several = 0
    for row in range(len(tops)):
        before = ~(amounts >= boundary.crossing[row])  # NaN: all of the path
        told = [result.classes.index(name) for name in boundary.through[row].split(ARROW) if name]
        grid = tops[row][::250][before[::250]]
        # Nothing of the grid is missing, and nothing is told that a scan does not see.
        assert in_order(stays(grid)[1:], [*told, int(result.targets[row])]), row
        assert in_order(told, stays(tops[row][before])[1:]), row
        several += len(told) > 0
    assert several >= 3


def test_distances_at_the_crossing_are_those_of_its_point(result, boundary):
    _, classifier, _, link = tiny_models()
    for row, t in enumerate(boundary.crossing):
        if np.isnan(t):
            assert boundary.loc[row, ["distance_r", "distance_w", "head_margin"]].isna().all()
            continue
        point = result.r_start[row] + t * (result.r_end[row] - result.r_start[row])
        assert boundary.distance_r[row] == pytest.approx(
            float((point - result.r_start[row]).norm()), rel=1e-4
        )
        moved = (link(point) - link(result.r_start[row])).norm()
        assert boundary.distance_w[row] == pytest.approx(float(moved), rel=1e-3, abs=1e-5)
        said = classifier.head(point[None])
        assert boundary.head_margin[row] == pytest.approx(
            float(target_margins(said, result.targets[row : row + 1])), abs=1e-4
        )


def test_the_heads_crossing_is_that_of_a_scan_on_the_same_line(result, boundary):
    _, classifier, _, _ = tiny_models()
    amounts = torch.linspace(0, 8, 80_001, dtype=torch.float64)
    head = classifier.head
    found = 0
    for row in range(len(result)):
        start, end = head(result.r_start[row]).double(), head(result.r_end[row]).double()
        margins = target_margins(
            start + amounts[:, None] * (end - start), result.targets[row].repeat(len(amounts))
        )
        inside = torch.nonzero(margins >= 0)
        if len(inside):
            assert boundary.head_crossing[row] == pytest.approx(float(amounts[inside[0, 0]]), abs=2e-4)
            found += 1
        else:
            assert not boundary.head_crossing[row] <= 8 - 1e-3
    assert found > 15


def test_lines_of_the_head_that_never_cross_or_leave_again():
    start = np.array([[-1.0, 2.0], [-1.0, 1.0], [-1.0, 2.0], [1.0, 2.0], [-1.0, 1.0], [-2.0, -1.0]])
    end = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -1.0], [-5.0, 2.0], [np.nan, 1.0], [-1.0, 2.0]])
    got = head_crossings(start, end)
    # Third: reaches the first rival's gap at t = 1, when the second has fallen below 0 at t = 2/3.
    assert np.array_equal(got, [0.5, np.nan, np.nan, 0.0, np.nan, 2.0], equal_nan=True)


def test_the_bend_is_half_way_against_the_chord_on_any_grid(result, boundary):
    margins = result.margins
    expected = margins[:, 4] - (margins[:, 0] + margins[:, 8]) / 2
    assert boundary.bend.to_numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    generator, classifier, _, link = tiny_models()
    even = [0, 2, 6, 8]  # without the place half way
    coarse = Counterfactuals(
        **{**vars(result), "amounts": result.amounts[even], "logits": result.logits[:, even]}
    )
    again = locate_boundary(coarse, generator, classifier, link)
    assert again.bend.to_numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_neither_batch_nor_order_matter_and_a_finer_tolerance_goes_on(result, boundary, capsys):
    generator, classifier, _, link = tiny_models()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1)).tolist()
    mixed = locate_boundary(result.subset(order), generator, classifier, link, batch_size=5)
    for name in ("crossing", "distance_w", "head_crossing", "bend"):
        assert mixed[name].to_numpy() == pytest.approx(
            boundary[name].to_numpy()[order], abs=1e-4, nan_ok=True
        )
    assert mixed.through.tolist() == boundary.through.iloc[order].tolist()
    fine = locate_boundary(result, generator, classifier, link, tolerance=1e-5)
    gain = (boundary.crossing - fine.crossing).dropna()
    assert (gain >= 0).all() and (gain <= 1e-3).all() and gain.max() > 1e-4
    whole = locate_boundary(result, generator, classifier, link, tolerance=1.0, progress=True)
    locate_boundary(result, generator, classifier, link, tolerance=0.01, progress=True)
    crossed = int(boundary.crossing.notna().sum())
    assert f"{4 * crossed}/{4 * crossed}" in capsys.readouterr().err  # 1/8 is halved four times
    assert set((whole.crossing.dropna() * 8) % 1) == {0.0}


def test_rows_without_a_boundary_have_none():
    generator, classifier, pairs, link = tiny_models()
    result = tiny_result(6)
    still = Counterfactuals(
        **{**vars(result), "r_end": result.r_start, "logits": result.logits[:, :1].expand(-1, 9, -1)}
    )
    table = still.table.assign(target=still.table["cycled"])
    table.loc[3:, "target"] = [next(c for c in still.classes if c != now) for now in table["cycled"][3:]]
    told = locate_boundary(Counterfactuals(**{**vars(still), "table": table}), generator, classifier, link)
    assert told.crossing.isna().all() and (told.crossings == 0).all() and (told.through == "").all()
    assert told.bend.to_numpy() == pytest.approx(np.zeros(6), abs=1e-6)
    none = locate_boundary(result.subset([]), generator, classifier, link)
    assert len(none) == 0 and list(none) == list(told)


def test_other_models_and_settings_are_refused(result):
    generator, classifier, _, link = tiny_models()
    for value in (0, -1, 2, float("nan"), 1e-9, "fine"):
        with pytest.raises(LisError, match="tolerance"):
            locate_boundary(result, generator, classifier, link, tolerance=value)
    with pytest.raises(LisError, match="batch_size"):
        locate_boundary(result, generator, classifier, link, batch_size=0)
    with pytest.raises(LisError, match="does not belong"):
        locate_boundary(result, tiny_generator(3), classifier, link)
    with pytest.raises(LisError, match="does not belong"):
        locate_boundary(result, generator, tiny_classifier(generator, seed=4), link)
    with pytest.raises(LisError, match="not the one"):
        head_agreement(result, tiny_classifier(generator, seed=4))


def test_a_head_that_is_not_linear_has_no_crossing_of_its_own(result):
    generator, classifier, pairs, link = tiny_models()

    class Bent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.outside = torch.nn.Linear(classifier.num_units, 3), torch.nn.Linear(3, 3)

        def forward(self, r):
            return self.outside((30 * self.inside(r)).square())

    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.top = classifier.network, Bent()

        def forward(self, x):
            return self.top(self.body.features(x))

    bent = Classifier(
        Network().eval(), classifier.classes, head="top", mean=[0.5], std=[0.02], channels=1, size=(16, 16)
    )
    from lis_toolkit import collect_pairs, fit_link

    own = fit_link(collect_pairs(generator, bent.eval(), per_class=10, keep="all"))
    plain = Counterfactuals(**{**vars(result), "provenance": {}})
    assert locate_boundary(plain, generator, bent, own).head_crossing.isna().all()


def test_agreement_is_that_of_a_plain_loop(result):
    _, classifier, _, _ = tiny_models()
    table = head_agreement(result, classifier, resamples=200)
    head = head_margins(result, classifier)
    for row in (0, 7, 21):
        said = classifier.head(result.paths()[row]).double()
        assert head[row] == pytest.approx(
            target_margins(said, result.targets[row].repeat(9)).numpy(), abs=1e-5
        )
    margins, rises = result.margins.numpy(), {}
    for row in range(len(result)):
        pair = (result.table.cycled[row], result.table.target[row])
        if result.table.origin[row] == pair[1]:
            continue  # by its head it is of the target already: such rows are not searched
        same = [(head[row, p] > 0) == (margins[row, p] > 0) for p in range(1, 9)]
        early = [head[row, p] > 0 >= margins[row, p] for p in range(1, 9)]
        rise = (margins[row, -1] - margins[row, 0], head[row, -1] - head[row, 0])
        for key in (pair, ("all", "all")):
            rises.setdefault(key, []).append((np.mean(same), np.mean(early), *rise))
    assert (table.origin[0], table.target[0]) == ("all", "all") and len(table) == len(rises)
    for row in table.itertuples():
        same, early, picture, own = np.array(rises[row.origin, row.target]).T
        assert row.rows == len(same)
        assert row.agreement == pytest.approx(same.mean()) and row.early == pytest.approx(early.mean())
        assert row.slope == pytest.approx(picture.mean() / own.mean(), rel=1e-4)
        assert not row.agreement < row.agreement_low and not row.agreement > row.agreement_high
    kept = np.flatnonzero(result.table.origin != result.table.target)
    starts, same = result.table.start.to_numpy()[kept], np.array([same for same, *_ in rises["all", "all"]])
    assert len(set(starts)) < len(kept)  # some recur: their rows are drawn together
    draws, n = resampled_means(same, starts, 200, [0])
    bounds = widened_interval(draws, same.mean(), n, 0.95)
    assert (table.agreement_low[0], table.agreement_high[0]) == pytest.approx(bounds)
    assert np.isnan(head_agreement(result.subset(kept[:1]), classifier).agreement_low).all()
    known = Counterfactuals(  # by their head they are of the target: nothing was searched
        **{**vars(result), "table": result.table.assign(origin=result.table["target"])}
    )
    with pytest.raises(LisError, match="no counterfactual"):
        head_agreement(known, classifier)
    with pytest.raises(LisError, match="confidence"):
        head_agreement(result, classifier, confidence=1.0)
    with pytest.raises(LisError, match="no counterfactual"):
        head_agreement(result.subset([]), classifier)


def test_a_head_that_knows_the_picture_agrees_everywhere(result):
    _, classifier, _, _ = tiny_models()
    right = Counterfactuals(**{**vars(result), "logits": classifier.head(result.paths())})
    kept = right.subset((right.margins[:, 0] < 0).numpy())
    table = head_agreement(kept, classifier)
    assert (table.agreement == 1).all()
    for name in ("slope", "slope_low", "slope_high"):  # in every resample, where there is an interval
        slopes = table[name].dropna().to_numpy()
        assert len(slopes) > 1 and slopes == pytest.approx(np.ones(len(slopes)), abs=1e-4)


def test_distances_of_class_pairs_come_from_the_boundary(result, boundary):
    distances = class_distances(result, boundary, resamples=50)
    for i, origin in enumerate(distances.classes):
        for j, target in enumerate(distances.classes):
            table = result.table[result.table.origin != result.table.target]  # the others are not searched
            rows = table.index[(table.cycled == origin) & (table.target == target) & (origin != target)]
            values = boundary.distance_w[rows]
            assert distances.counts[i, j] == values.notna().sum()
            assert distances.left_out[i, j] == values.isna().sum()
            assert distances.mean[i, j] == pytest.approx(values.mean(), nan_ok=True)


def test_passed_classes_are_counted_once_a_path():
    rows = [
        ("Coat", "Shirt", 0.5, "Pullover"), ("Coat", "Shirt", 0.5, "Pullover → Coat → Pullover → Dress"),
        ("Coat", "Shirt", 0.5, ""), ("Coat", "Shirt", np.nan, "Dress"), ("Shirt", "Coat", 0.1, "Dress"),
        ("Bag", "Coat", 0.2, ""),
    ]  # fmt: skip
    table = passed_classes(pd.DataFrame(rows, columns=["cycled", "target", "crossing", "through"]))
    assert table.to_numpy().tolist() == [
        ["Shirt", "Coat", "Dress", 1, 1, 1.0],
        ["Coat", "Shirt", "Pullover", 2, 3, 2 / 3],
        ["Coat", "Shirt", "Dress", 1, 3, 1 / 3],
    ]
    with pytest.raises(LisError, match="lacks through"):
        passed_classes(pd.DataFrame({"cycled": [], "target": [], "crossing": []}))
