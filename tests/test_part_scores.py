"""Scores of segmentations: against plain loops and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score

from lis_toolkit.errors import LisError
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.scores import class_scores, score_parts

LEGEND = Legend(("background", "a", "b", "c"))


def some(seed, n=5, right=0.6, high=4):
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, high, (n, 6, 7), generator=random).to(torch.uint8)
    noise = torch.randint(0, high, truth.shape, generator=random).to(torch.uint8)
    return torch.where(torch.rand(truth.shape, generator=random) < right, truth, noise), truth


def loop_iou(labels, truth, part):
    both = either = 0
    for a, b in zip(labels.flatten().tolist(), truth.flatten().tolist(), strict=True):
        both += a == part and b == part
        either += a == part or b == part
    return both / either if either else float("nan")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0, 1), st.integers(1, 4))
def test_scores_are_those_of_a_plain_loop_and_of_scikit_learn(seed, n, right, high):
    labels, truth = some(seed, n, right, high)
    scores = score_parts(labels, truth, LEGEND)
    plain = [loop_iou(labels, truth, part) for part in (1, 2, 3)]
    assert np.allclose(scores.iou, plain, equal_nan=True)
    flat = truth.flatten().numpy(), labels.flatten().numpy()
    assert (scores.confusion().to_numpy() == confusion_matrix(*flat, labels=range(4))).all()
    there = [p for p in (1, 2, 3) if (flat[0] == p).any() or (flat[1] == p).any()]
    assert scores.accuracy == pytest.approx((flat[0] == flat[1]).mean())
    if there:
        expected = jaccard_score(*flat, labels=there, average="macro", zero_division=0)
        assert scores.mean_iou == pytest.approx(expected)
    else:
        assert np.isnan(scores.mean_iou)
    for i in range(n):
        values = [loop_iou(labels[i], truth[i], part) for part in (1, 2, 3)]
        values = [v for v in values if not np.isnan(v)]
        assert np.isclose(scores.picture_iou[i], np.mean(values) if values else np.nan, equal_nan=True)


def test_the_table_and_the_worst():
    labels, truth = some(1)
    labels[2] = truth[2]
    scores = score_parts(labels, truth, LEGEND)
    table = scores.table()
    assert list(table.index) == ["a", "b", "c"] and np.allclose(table["iou"], scores.iou)
    assert table.loc["a", "recall"] == pytest.approx(float((labels[truth == 1] == 1).float().mean()))
    assert table.loc["b", "precision"] == pytest.approx(float((truth[labels == 2] == 2).float().mean()))
    assert table.loc["c", "pixels"] == int((truth == 3).sum())
    assert table.loc["c", "pictures"] == int((truth == 3).flatten(1).any(1).sum())
    assert scores.worst(5)[-1] == 2 and scores.picture_iou[2] == 1
    assert scores.worst(2) == np.argsort(scores.picture_iou)[:2].tolist()
    shares = scores.confusion(shares=True)
    assert np.allclose(shares.sum(axis=1), 1) and list(shares.columns)[0] == "background"


def test_pictures_without_any_part_are_never_the_worst():
    labels, truth = some(2)
    labels[0] = truth[0] = 0
    assert np.isnan(score_parts(labels, truth, LEGEND).picture_iou[0])
    assert score_parts(labels, truth, LEGEND).worst(5)[-1] == 0


def test_the_interval_covers_the_mean_and_narrows_with_more_pictures():
    few, many = (score_parts(*some(3, n), LEGEND) for n in (6, 120))
    low, high = few.interval(500)
    assert low < few.mean_iou < high
    wide = high - low
    low, high = many.interval(500)
    # Standard error by the jackknife, a third way.
    counts = many.counts
    leave_one_out = np.array([type(many)(LEGEND, np.delete(counts, i, 0)).mean_iou for i in range(120)])
    error = np.sqrt(119 / 120 * ((leave_one_out - leave_one_out.mean()) ** 2).sum())
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.2) and high - low < wide / 2
    assert many.interval(500) == (low, high) != many.interval(500, seed=1)
    with pytest.raises(LisError, match="samples is 5"):
        few.interval(5)
    with pytest.raises(LisError, match="level is 95"):
        few.interval(level=95)


def test_scores_of_classes():
    labels, truth = some(4, 6)
    scores = score_parts(labels, truth, LEGEND)
    table = class_scores(scores, [0, 0, 2, 2, 2, 0], ("x", "y", "z"))
    assert list(table.index) == ["x", "z"]
    part = score_parts(labels[2:5], truth[2:5], LEGEND)
    assert table.loc["z", "mean_iou"] == pytest.approx(part.mean_iou)
    assert table.loc["z", "a"] == pytest.approx(part.iou[0])
    with pytest.raises(LisError, match="2 class labels for 6 pictures"):
        class_scores(scores, [0, 1], ("x", "y"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(5, 6, 6, dtype=torch.uint8), "the same was expected"),
        (torch.zeros(5, 6, 7), "float32"),
        (torch.full((5, 6, 7), 4, dtype=torch.uint8), "go from 4 to 4"),
        (torch.full((5, 6, 7), -1), "go from -1"),
        (torch.zeros(6, 7, dtype=torch.uint8), "integers .N, H, W."),
        (torch.zeros(0, 6, 7, dtype=torch.uint8), "integers .N, H, W."),
        ([1], "list"),
    ],
)
def test_labels_that_are_refused(labels, message):
    with pytest.raises(LisError, match=message):
        score_parts(labels, some(0)[1], LEGEND)
