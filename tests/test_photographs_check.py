"""The test on photographs: planted agreement is found, chance is called chance, figures are those of plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.features import extract_features
from lis_toolkit.link import fit_link
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.parts import Legend, Segmenter, render_parts, segment_pictures
from lis_toolkit.parts.measures import measure_parts
from lis_toolkit.selectivity import check_on_photographs, measure_cycled, measure_photographs
from tiny import CLASSES, tiny_classifier, tiny_generator
from tiny_segmenter import tiny_segmenter


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def classifier(generator):
    return tiny_classifier(generator)


@pytest.fixture(scope="module")
def photographs(generator):
    labels = torch.arange(120) % 3
    x = generator.render(generator.map(generator.sample_z(120, seed=5), labels))
    return Photographs(x, labels, CLASSES)


@pytest.fixture(scope="module")
def r(classifier, photographs):
    return extract_features(classifier, photographs.images).r.numpy()


def ranking_of(signs, class_name="all", measure="area"):
    """A ranking of the classifier's units in their order, with these signs of the change."""
    return pd.DataFrame({
        "rank": np.arange(1, len(signs) + 1), "unit": np.arange(len(signs)), "part": "sleeve", "measure": measure,
        "class": class_name, "mean_change": np.asarray(signs, dtype=float),
    })  # fmt: skip


def by_hand(values, labels, activation, share=1 / 3):
    """Couples of one photograph of the upper and one of the lower third: share in which the upper one is higher."""
    won = couples = 0.0
    for k in sorted(set(labels)):
        inside = [i for i in range(len(labels)) if labels[i] == k and np.isfinite(values[i])]
        below, above = np.quantile([values[i] for i in inside], [share, 1 - share])
        for i in inside:
            for j in inside:
                if values[i] >= above and values[j] <= below:
                    won += (activation[i] > activation[j]) + 0.5 * (activation[i] == activation[j])
                    couples += 1
    return won / couples


def test_areas_are_those_of_a_plain_loop(classifier, photographs, r):
    values = np.random.default_rng(0).random(120)
    values[:4] = np.nan
    signs = np.where(np.arange(r.shape[1]) % 2, 1, -1)
    check = check_on_photographs(ranking_of(signs), classifier, photographs, values, top=4, resamples=200)
    labels = photographs.labels.tolist()
    for row in check.table.itertuples():
        expected = by_hand(values, labels, r[:, row.unit])
        assert row.auc == pytest.approx(expected)
        assert row.low <= row.auc <= row.high
        assert row.agrees == float((expected > 0.5) == (signs[row.unit] > 0))
    rest = [(by_hand(values, labels, r[:, u]) > 0.5) == (signs[u] > 0) for u in range(4, r.shape[1])]
    assert check.rest == pytest.approx(np.mean(rest)) and check.rest_units == len(rest)
    assert check.agreement == pytest.approx(check.table["agrees"].mean()) and check.units == 4
    up, seen = (signs > 0).mean(), np.mean([by_hand(values, labels, a) > 0.5 for a in r.T])
    assert check.shuffled == pytest.approx(up * seen + (1 - up) * (1 - seen))
    assert check.images == 2 * sum(check.classes.values())


def test_a_pooled_ranking_is_tested_on_the_classes_that_it_pools(classifier, photographs):
    values = np.random.default_rng(0).random(120)
    ranking = ranking_of([1, -1])
    assert list(check_on_photographs(ranking, classifier, photographs, values).classes) == list(CLASSES)
    ranking.attrs["lis"] = {"pooled": {"sleeve": list(CLASSES[:2])}}
    check = check_on_photographs(ranking, classifier, photographs, values)
    assert list(check.classes) == list(CLASSES[:2])
    # The photographs of the third class have no say.
    values[photographs.labels.numpy() == 2] = np.arange(40)
    again = check_on_photographs(ranking, classifier, photographs, values)
    assert again.table["auc"].tolist() == check.table["auc"].tolist()
    ranking.attrs["lis"] = {"pooled": {"sleeve": ["another"]}}
    assert len(check_on_photographs(ranking, classifier, photographs, values).classes) == 3


def test_planted_agreement_is_found(classifier, photographs, r):
    scaled = (r - r.mean(0)) / (r.std(0) + 1e-9)
    values = scaled[:, 0] - scaled[:, 1] + 0.1 * np.random.default_rng(0).normal(size=120)
    signs = [1, -1]
    good = check_on_photographs(ranking_of(signs), classifier, photographs, values)
    assert good.agreement == 1 and (good.table["low"] > 0.5).tolist() == [True, False]
    assert "100% of 2 units" in str(good)
    bad = check_on_photographs(ranking_of([-1, 1]), classifier, photographs, values)
    assert bad.agreement == 0 and bad.p_permutation == 1


def test_classes_can_not_answer_the_question(classifier, photographs, r):
    # Between classes the measure follows the unit, within them it is noise.
    means = np.array([r[photographs.labels == k, 0].mean() for k in range(3)])
    values = means[photographs.labels] + 1e-6 * np.random.default_rng(1).random(120)
    found = check_on_photographs(ranking_of([1]), classifier, photographs, values)
    assert found.table["low"][0] < 0.5 < found.table["high"][0]
    assert found.p_permutation > 0.05


def test_the_permutation_test_holds_its_level_where_units_are_copies_of_each_other(
    classifier, photographs, r
):
    copies = ranking_of(
        np.sign(np.corrcoef(r.T)[0])
    )  # all units with the sign of their correlation with the first
    ps = [
        check_on_photographs(
            copies, classifier, photographs, np.random.default_rng(i).random(120), resamples=100
        )
        for i in range(60)
    ]
    assert np.mean([c.p_permutation <= 0.1 for c in ps]) <= 0.1 + 2.5 * (0.09 / 60) ** 0.5
    # The binomial test, which takes them for independent, does not: that is why there are two.
    assert np.mean([c.p_binomial <= 0.1 for c in ps]) > np.mean([c.p_permutation <= 0.1 for c in ps])


def test_one_class_is_tested_on_its_photographs(classifier, photographs, r):
    values = np.random.default_rng(2).random(120)
    check = check_on_photographs(ranking_of([1, 1], "ring"), classifier, photographs, values)
    ring = np.flatnonzero(photographs.labels == 1)
    assert list(check.classes) == ["ring"]
    assert check.table["auc"][0] == pytest.approx(by_hand(values[ring], [0] * len(ring), r[ring, 0]))


def test_angles_are_high_or_low_the_short_way_round(classifier, photographs):
    turned = np.random.default_rng(3).normal(0, 0.3, 120)
    near = check_on_photographs(ranking_of([1, 1], measure="angle"), classifier, photographs, turned)
    across = (
        turned + np.pi / 2 + np.pi / 2
    ) % np.pi - np.pi / 2  # the same axes, a quarter turn away: at the border
    far = check_on_photographs(ranking_of([1, 1], measure="angle"), classifier, photographs, across)
    assert far.table["auc"].tolist() == pytest.approx(near.table["auc"].tolist(), abs=1e-6)


def test_equal_values_never_stand_on_both_sides(classifier, photographs):
    values = (np.arange(120) % 9 == 0).astype(float)  # a part that most photographs lack
    check = check_on_photographs(ranking_of([1]), classifier, photographs, values)
    assert sum(check.classes.values()) > 0
    with pytest.raises(LisError, match="no class has 5"):
        check_on_photographs(ranking_of([1]), classifier, photographs, np.ones(120))


def test_seeds_decide(classifier, photographs):
    values = np.random.default_rng(4).random(120)
    one, two, three = (
        check_on_photographs(
            ranking_of([1, -1]), classifier, photographs, values, resamples=99, seed=s, batch_size=b
        )
        for s, b in ((0, 256), (0, 7), (1, 256))
    )
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.p_permutation == two.p_permutation and (one.table["low"] != three.table["low"]).any()


def test_photographs_are_measured_directly_or_through_the_link(generator, classifier, photographs):
    segmenter = tiny_segmenter([photographs.images], names=("sleeve", "torso"))
    direct = measure_photographs(segmenter, photographs.images, batch_size=50)
    labels = segment_pictures(segmenter, photographs.images)
    pd.testing.assert_frame_equal(
        direct, measure_parts(photographs.images, labels, segmenter.legend).to_frame()
    )
    link = fit_link(collect_pairs(generator, classifier, per_class=12, psi=1.0), "ridge", penalty=0.1)
    cycled = measure_cycled(generator, classifier, link, segmenter, photographs.images, batch_size=50)
    w = link(extract_features(classifier, photographs.images).r)
    x, labels = render_parts(generator, segmenter, w)
    expected = measure_parts(x, labels, segmenter.legend).to_frame()
    assert cycled["sleeve.area"].to_numpy() == pytest.approx(
        expected["sleeve.area"].to_numpy(), abs=0.01, nan_ok=True
    )
    by_table = check_on_photographs(ranking_of([1, 1]), classifier, photographs, direct)
    by_model = check_on_photographs(ranking_of([1, 1]), classifier, photographs, segmenter)
    pd.testing.assert_frame_equal(by_table.table, by_model.table)
    relative = check_on_photographs(
        ranking_of([1, 1], measure="area_relative"), classifier, photographs, direct
    )
    pd.testing.assert_frame_equal(by_table.table, relative.table)


def test_absent_parts_have_no_area_but_no_brightness_either(classifier, photographs):
    present = np.arange(120) % 2 == 0
    table = pd.DataFrame({"sleeve.area": np.where(present, 0.3 + np.arange(120) / 1e4, np.nan),
                          "sleeve.luminance": np.where(present, np.arange(120) / 120, np.nan),
                          "sleeve.code": np.where(present, 0, 1)})  # fmt: skip
    area = check_on_photographs(ranking_of([1]), classifier, photographs, table)
    light = check_on_photographs(ranking_of([1], measure="luminance"), classifier, photographs, table)
    assert area.images > light.images and light.images <= 2 * np.ceil(60 / 3) + 6


def test_bad_input_is_explained(classifier, photographs):
    values = np.random.default_rng(0).random(120)
    good = ranking_of([1, -1])

    def fails(text, ranking=good, measures=values, **settings):
        with pytest.raises(LisError, match=text):
            check_on_photographs(ranking, classifier, photographs, measures, **settings)

    fails("no rows or lacks", good.drop(columns="mean_change"))
    fails("no rows", good.iloc[:0])
    fails("several of class", pd.concat([good, ranking_of([1], "ring")]))
    fails("has unit 999", good.assign(unit=[0, 999]))
    fails("change that is not 0", good.assign(mean_change=0.0))
    fails("no class 'square'", good.assign(**{"class": "square"}))
    fails(r"shape \[119\]", measures=values[1:])
    fails("numbers", measures="sleeve")
    fails("no column 'sleeve.area'", measures=pd.DataFrame({"torso.area": values}))
    fails("top is 0", top=0)
    fails("share is 0.7", share=0.7)
    fails("no class has 5", measures=np.full(120, np.nan))
    with pytest.raises(LisError, match="feature maps"):
        measure_photographs(Segmenter(Legend(("background", "a")), ("L0_8_8",), (8,), 16), photographs.images)
