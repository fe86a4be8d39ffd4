"""The link report on a toy world whose generator and classifier are a few matrices."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lis_toolkit.errors import LisError
from lis_toolkit.link import fit_link
from lis_toolkit.link_report import report_link
from lis_toolkit.link_stats import shared_order, wilson

UNITS, LATENTS, SIDE, NAMES = 12, 5, 4, ("cup", "hat", "pin")


class Generator:
    """w -> image by one matrix and a sigmoid."""

    name, hash, device, classes = "toy", "g" * 64, torch.device("cpu"), NAMES

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(LATENTS, SIDE * SIDE, generator=g) * 0.3
        self.images = 0

    def render(self, w, batch_size=None):
        self.images += len(w)
        return torch.sigmoid(w @ self.matrix).reshape(-1, 1, SIDE, SIDE)


class Classifier:
    """Image -> r by one matrix and a ReLU (unit 3 is dead) -> logits."""

    name, hash, device, classes = "toy", "c" * 64, torch.device("cpu"), NAMES
    channels, size, num_units, num_classes = 1, (SIDE, SIDE), UNITS, len(NAMES)

    def __init__(self, seed=1):
        g = torch.Generator().manual_seed(seed)
        self.matrix = torch.randn(SIDE * SIDE, UNITS, generator=g)
        self.matrix[:, 3] = -1.0
        self.top = torch.randn(UNITS, 3, generator=g)

    def features(self, x):
        return ((x.flatten(1) - 0.45) @ self.matrix + 1).relu() * (self.matrix[0] != -1)

    def head(self, r):
        logits = r @ self.top
        return logits - self.mean if hasattr(self, "mean") else logits

    def __call__(self, x):
        return self.head(self.features(x))


@pytest.fixture(scope="module")
def world():
    generator, classifier = Generator(), Classifier()
    w = torch.randn(600, LATENTS, generator=torch.Generator().manual_seed(2))
    r = classifier.features(generator.render(w))
    classifier.mean = classifier.head(r).mean(0)  # so that all three classes are seen
    labels = classifier.head(r).argmax(1)

    def pairs(part):
        return SimpleNamespace(
            r=r[part], w=w[part], labels=labels[part], classes=NAMES, generator_hash=generator.hash,
            classifier_hash=classifier.hash, psi=1.0, seed=0, provenance={},
        )  # fmt: skip

    g = torch.Generator().manual_seed(3)
    photographs = SimpleNamespace(
        images=generator.render(torch.randn(90, LATENTS, generator=g)).clamp(0, 1),
        labels=torch.randint(0, 3, (90,), generator=g),
        classes=NAMES,
    )
    return SimpleNamespace(
        generator=generator, classifier=classifier, link=fit_link(pairs(slice(0, 400))), held=pairs(slice(400, 600)),
        photographs=photographs, pairs=pairs, judge=Classifier(seed=9),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(world):
    return report_link(
        world.link, world.generator, world.classifier, world.held, world.photographs, judge=world.judge,
        units="all", samples=4, batch_size=37,
    )  # fmt: skip


def test_r2_is_the_plain_one(world, report):
    w = world.held.w.double().numpy()
    error = (w - world.link(world.held.r).double().numpy()) ** 2
    assert report.r2 == pytest.approx(1 - error.sum() / ((w - w.mean(0)) ** 2).sum())
    assert np.allclose(report.dims.r2, 1 - error.sum(0) / ((w - w.mean(0)) ** 2).sum(0))
    assert report.dims.share.sum() == pytest.approx(1)
    assert (report.dims.r2 * report.dims.share).sum() == pytest.approx(report.r2)
    assert report.r2_low < report.r2 < report.r2_high and report.r2_in_sample == world.link.in_sample_r2
    inside = 0.0
    for k, name in enumerate(NAMES):
        rows = world.held.labels.numpy() == k
        row = report.classes.set_index("class").loc[name]
        own = ((w[rows] - w[rows].mean(0)) ** 2).sum()
        inside += own
        assert row.r2_within == pytest.approx(1 - error[rows].sum() / own)
        assert row.r2 == pytest.approx(1 - error[rows].sum() / ((w[rows] - w.mean(0)) ** 2).sum())
        assert row.pairs == rows.sum()
    assert report.r2_within == pytest.approx(1 - error.sum() / inside)


def test_cycles_are_the_plain_ones(world, report):
    look = world.classifier
    again = world.generator.render(world.link(world.held.r))
    kept = (look(again).argmax(1) == look.head(world.held.r).argmax(1)).double()
    x = world.photographs.images
    photo = world.generator.render(world.link(look.features(x)))
    table = report.cycle.set_index("what")
    assert table.share["pairs"] == pytest.approx(float(kept.mean())) and table.n["pairs"] == 200
    real = look(photo).argmax(1) == look(x).argmax(1)
    assert table.share["photographs"] == pytest.approx(float(real.double().mean()))
    true = look(photo).argmax(1) == world.photographs.labels
    assert table.share["photographs, true label"] == pytest.approx(float(true.double().mean()))
    judged = world.judge(photo).argmax(1) == look(x).argmax(1)
    assert table.share["photographs, by the judge"] == pytest.approx(float(judged.double().mean()))
    assert ((table.low <= table.share) & (table.share <= table.high)).all()
    by_class = report.classes.set_index("class")
    for k, name in enumerate(NAMES):
        mine, theirs = world.held.labels == k, world.photographs.labels == k
        assert by_class.cycle[name] == pytest.approx(float(kept[mine].mean()))
        assert by_class.photo_cycle[name] == pytest.approx(float(real[theirs].double().mean()))
        assert by_class.photo_label[name] == pytest.approx(float(true[theirs].double().mean()))
    assert by_class.pairs.sum() == 200 and by_class.photographs.sum() == 90


def test_cycle_correlation_is_numpys(world, report):
    r = world.held.r.numpy()
    again = world.classifier.features(world.generator.render(world.link(world.held.r))).numpy()
    for i, row in report.units.iterrows():
        if i in world.link.constant_units:
            assert row.constant and math.isnan(row.cycle_correlation)
        else:
            assert row.cycle_correlation == pytest.approx(np.corrcoef(r[:, i], again[:, i])[0, 1], abs=1e-5)
    assert 3 in world.link.constant_units and "no cycle correlation" in report.summary()


def test_fidelity_is_that_of_one_unit_at_a_time(world):
    generator = Generator()
    got = report_link(world.link, generator, world.classifier, world.held, units=[0, "unit 7"], samples=3, steps=4,
                      batch_size=5, seed=4)  # fmt: skip
    assert generator.images == 200 + 2 * 3 * 4
    chosen = np.random.default_rng(4)
    chosen.multinomial(200, np.full(200, 1 / 200), size=500)  # the bootstrap's draws come first
    starts = world.held.r[torch.from_numpy(chosen.permutation(200)[:3])]
    for _, row in got.fidelity.iterrows():
        i = int(row.unit)
        values = np.linspace(float(world.link.unit_min[i]), float(world.link.unit_max[i]), 4)
        slopes, every, moved = [], [], np.zeros(UNITS)
        for start in starts:
            r = start.repeat(4, 1)
            r[:, i] = torch.from_numpy(values).float()
            again = world.classifier.features(world.generator.render(world.link(r))).numpy()
            slopes.append(np.polyfit(values, again[:, i], 1)[0])
            moved += [np.polyfit(values, again[:, j], 1)[0] for j in range(UNITS)]
            every.append(again[:, i] - again[:, i].mean())
        assert row.slope == pytest.approx(np.mean(slopes), abs=1e-4)
        assert row.raised == pytest.approx(np.mean(np.array(slopes) > 0))
        assert row.correlation == pytest.approx(
            np.corrcoef(np.tile(values, 3), np.concatenate(every))[0, 1], abs=1e-3
        )
        assert row.slope_low <= row.slope <= row.slope_high
        size = np.abs(moved) / np.where(world.link.unit_std.numpy() > 0, world.link.unit_std.numpy(), np.inf)
        assert row["rank"] == 1 + (size > size[i] * (1 + 1e-6)).sum()


def test_units_are_spread_over_their_deviations(world):
    got = report_link(
        world.link, world.generator, world.classifier, world.held, units=3, samples=1, permutations=1
    )
    deviations = world.link.unit_std[got.fidelity.unit.tolist()]
    varying = world.link.unit_std[world.link.unit_std > 0]
    assert float(deviations[0]) == float(varying.max()) and float(deviations[-1]) == float(varying.min())
    assert got.fidelity.slope_low.isna().all()  # one sample has no interval
    none = report_link(world.link, world.generator, world.classifier, world.held, units=0, permutations=1)
    assert len(none.fidelity) == 0 and "fidelity" not in none.summary() and none.to_dict()["fidelity"] == []


def test_batches_and_runs_do_not_matter(world, report):
    again = report_link(
        world.link, world.generator, world.classifier, world.held, world.photographs, judge=world.judge,
        units="all", samples=4, batch_size=64,
    )  # fmt: skip
    for name in ("dims", "classes", "cycle", "units", "fidelity", "order"):
        pd.testing.assert_frame_equal(getattr(report, name), getattr(again, name), atol=1e-4)


def test_it_is_json_and_reads_well(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["r2"] == report.r2 and len(data["units"]) == UNITS
    assert data["units"][3]["cycle_correlation"] is None
    text = str(report)
    for word in (
        "held-out R2",
        "of 200 pairs",
        "of 90 photographs",
        "cycle correlation",
        "slope",
        "shared order",
    ):
        assert word in text, word
    assert len(text.splitlines()) < 25


# ---- shared order


def test_shared_order_is_spearmans():
    rng = np.random.default_rng(0)
    r, w = rng.normal(size=(25, 6)), rng.normal(size=(25, 4))
    w[:, 0] += 2 * r[:, 0]
    labels = np.repeat([0, 1, 2, 3, 4], 5)
    upper = np.triu_indices(25, 1)

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=2)

    rows = {row["what"]: row for row in shared_order(r, w, labels, 99, np.random.default_rng(1))}
    plain = spearmanr(distances(r)[upper], distances(w)[upper]).statistic
    assert rows["pairs"]["correlation"] == pytest.approx(plain)
    inner = np.triu_indices(5, 1)
    within = [
        spearmanr(distances(r[labels == k])[inner], distances(w[labels == k])[inner]).statistic
        for k in range(5)
    ]
    assert rows["pairs within classes"]["correlation"] == pytest.approx(np.mean(within))
    means = [np.stack([x[labels == k].mean(0) for k in range(5)]) for x in (r, w)]
    assert rows["class means"]["correlation"] == pytest.approx(
        spearmanr(distances(means[0])[inner], distances(means[1])[inner]).statistic
    )
    assert rows["pairs"]["n"] == 25 and rows["class means"]["n"] == 5


def test_shared_order_is_found_where_it_is_and_not_where_it_is_not():
    rng = np.random.default_rng(0)
    r = rng.normal(size=(60, 8))
    labels = np.arange(60) % 6
    same = shared_order(r, r @ rng.normal(size=(8, 5)), labels, 99, rng)
    assert same[0]["p_value"] == 0.01 and same[0]["correlation"] > 0.5
    p_values = [shared_order(r, rng.normal(size=(60, 5)), labels, 39, rng)[0]["p_value"] for _ in range(40)]
    assert np.mean(np.array(p_values) <= 0.1) < 0.3 and 0.3 < np.mean(p_values) < 0.7


def test_shared_order_without_enough_is_nan():
    rng = np.random.default_rng(0)
    rows = shared_order(np.ones((4, 2)), rng.normal(size=(4, 2)), np.zeros(4), 9, rng)
    assert all(math.isnan(row["correlation"]) and math.isnan(row["p_value"]) for row in rows)


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 500), data=st.data())
def test_wilson_holds_the_share(count, data):
    hits = data.draw(st.integers(0, count))
    low, high = wilson(hits, count)
    assert 0 <= low <= hits / count + 1e-12 and hits / count - 1e-12 <= high <= 1
    again = wilson(count - hits, count)
    assert low == pytest.approx(1 - again[1]) and high == pytest.approx(1 - again[0])


def test_wilson_bounds_are_exact_where_nothing_or_everything_hits():
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 60))


def test_wilson_known_value():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Brown, Cai, DasGupta 2001
    assert all(math.isnan(x) for x in wilson(0, 0))


# ---- bad input


def test_pairs_that_were_fitted_are_refused(world):
    with pytest.raises(LisError, match="5 of the 55 pairs were used to fit"):
        report_link(world.link, world.generator, world.classifier, world.pairs(slice(395, 450)))


def test_the_method_of_the_link_is_the_same(world):
    got = world.link.report(world.generator, world.classifier, world.held, units=1, permutations=1)
    assert got.options["pairs"] == 200 and got.options["photographs"] == 0
    assert list(got.cycle.what) == ["pairs"]


def test_pairs_of_one_class(world):
    only = torch.nonzero(world.held.labels == 1)[:, 0]
    part = SimpleNamespace(**{**vars(world.held), "r": world.held.r[only], "w": world.held.w[only],
                              "labels": world.held.labels[only]})  # fmt: skip
    got = report_link(
        world.link, world.generator, world.classifier, part, world.photographs, units=1, permutations=5
    )
    assert "class means" in got.summary()
    assert got.classes["class"].tolist() == list(NAMES) and got.classes.pairs.tolist() == [0, len(only), 0]
    json.dumps(got.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"units": [3]}, "unit 3 was constant"),
        ({"units": [12]}, "0 to 11"),
        ({"units": ["seven"]}, "0 to 11"),
        ({"units": -1}, "number of units"),
        ({"samples": 0}, "samples is 0"),
        ({"steps": 1}, "at least 2"),
        ({"batch_size": 0}, "batch_size"),
        ({"permutations": 1.5}, "permutations"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_do_not_fit(world, change, said):
    with pytest.raises(LisError, match=said):
        report_link(world.link, world.generator, world.classifier, world.held, **change)


def test_other_models_and_pairs_are_refused(world):
    other = Classifier()
    other.hash = "x" * 64
    with pytest.raises(LisError, match="classifier toy .xxxxxxxx. was given"):
        report_link(world.link, world.generator, other, world.held)
    narrow = SimpleNamespace(**{**vars(world.held), "r": world.held.r[:, :5]})
    with pytest.raises(LisError, match="r has 5 columns"):
        report_link(world.link, world.generator, world.classifier, narrow)
    narrow = SimpleNamespace(**{**vars(world.held), "w": world.held.w[:, :2]})
    with pytest.raises(LisError, match="w of the pairs has 2 columns"):
        report_link(world.link, world.generator, world.classifier, narrow)
    with pytest.raises(LisError, match="1 held-out pairs"):
        report_link(world.link, world.generator, world.classifier, world.pairs(slice(400, 401)))


def test_photographs_that_do_not_fit(world):
    good = world.photographs
    for change, said in (
        ({"classes": ("cup", "hat", "pan")}, "pan"),
        ({"images": good.images * 255}, "photographs"),
        ({"images": good.images[:, :, :3]}, "photographs"),
        ({"labels": good.labels[:5]}, "5 labels"),
    ):
        photographs = SimpleNamespace(**{**vars(good), **change})
        with pytest.raises(LisError, match=said):
            report_link(world.link, world.generator, world.classifier, world.held, photographs)
