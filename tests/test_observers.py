"""Observers against scikit-learn written plainly, on worlds whose truth is planted; and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.observers import (
    ALL_LAYERS,
    Attributes,
    Observers,
    as_state,
    attribute_split,
    class_attributes,
    draw_pictures,
    find_denoting_units,
    image_statistics,
    join_attributes,
    observe_state,
    part_attributes,
    read_attributes,
    score_figure,
    score_units,
    superclass_attributes,
    table_attributes,
    train_observers,
    train_sparse_observer,
    weight_figure,
)
from lis_toolkit.observers.scores import balanced_accuracy, r_squared, score_answers, score_numbers
from lis_toolkit.observers.splits import split_rows
from observer_worlds import linear_world
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def world():
    return linear_world()


@pytest.fixture(scope="module")
def observers(world):
    state, attributes, _, _ = world
    return train_observers(state, attributes, controls=6, resamples=500)


def row(observers, layer, attribute):
    table = observers.table(attribute)
    return table[table["layer"] == layer].iloc[0]


def test_planted_truth_is_found_and_nothing_is_found_in_noise(observers):
    seen, blind = row(observers, "signal", "kind"), row(observers, "noise", "kind")
    assert seen.score > 0.97 and seen.selectivity_low > 0.4 and seen.status == "ok"
    assert blind.selectivity_low < 0 < blind.selectivity_high and blind.score < 0.5
    assert row(observers, "signal", "number").score > 0.95
    assert row(observers, "noise", "number").score < 0.05
    assert seen.low <= seen.score <= seen.high and seen.control_low <= seen.control <= seen.control_high


def test_random_labels_have_no_selectivity(observers):
    for name in ("coin", "dice"):
        table = observers.table(name)
        assert (table["selectivity_low"] < 0).all() and (table["selectivity_high"] > 0).all()


def test_random_labels_many_times_over_stay_within_their_intervals():
    """Of 40 labels that tell nothing, about two intervals may miss 0; ten would be a wrong interval."""
    rng = np.random.default_rng(5)
    state = as_state({"x": rng.normal(size=(160, 6)).astype(np.float32)})
    table = pd.DataFrame({f"coin {i}": rng.permutation(["h", "t"] * 80) for i in range(40)})
    scores = train_observers(state, table, penalty=0.1, controls=5, resamples=300).scores
    missed = ((scores["selectivity_low"] > 0) | (scores["selectivity_high"] < 0)).sum()
    assert missed <= 6
    # Nor are they wider than two shares of 48 images ask for, the second a mean of five.
    width = (scores["selectivity_high"] - scores["selectivity_low"]).median()
    expected = 2 * 1.96 * np.sqrt(0.25 / 48 * (1 + 1 / 5))
    assert 0.9 * expected < width < 1.3 * expected


def test_logistic_and_ridge_are_scikit_learns(world):
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    state, attributes, _, _ = world
    found = train_observers(
        state, attributes, names=["kind", "number"], layers=["signal"], penalty=0.01, controls=0
    )
    for name, model, measure in (
        ("kind", lambda n: LogisticRegression(C=1 / (0.01 * n), max_iter=1000), "accuracy"),
        ("number", lambda n: Ridge(alpha=0.01 * n), "r2"),
    ):
        [(train, test)] = attribute_split(attributes, name)
        y = attributes.values(name)
        x = np.delete(state.rows_of("signal"), 0, axis=1)  # StandardScaler divides the dead one by 1
        plain = make_pipeline(StandardScaler(), model(len(train))).fit(x[train], y[train])
        ours = row(found, "signal", name)
        assert ours.measure == measure and ours.held_out == len(test)
        assert ours.score == pytest.approx(plain.score(x[test], y[test]), abs=1e-6)
        observer = found.observer("signal", name)
        weights = np.atleast_2d(plain[-1].coef_).T
        assert np.allclose(observer.weights[1:], weights, atol=2e-3)
        assert (observer.weights[0] == 0).all()
        told = observer.tell(state.subset(test))
        assert (
            (told == plain.predict(x[test])).all()
            if name == "kind"
            else np.allclose(told, plain.predict(x[test]))
        )


@pytest.mark.parametrize("row", [1, 17, 40])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_single_nan_is_refused_wherever_it_falls(row, streaming):
    """Of a held-out image, too: the largest of NaN logits is an answer, and a wrong one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    x[row, 2] = np.nan
    table = pd.DataFrame({"kind": np.array(["a", "b"] * 30, object), "number": rng.normal(size=60)})
    for name in ("kind", "number"):
        with pytest.raises(LisError, match=f"image {row}, column 2"):
            train_observers({"l": x}, table, names=name, controls=0, streaming=streaming)
    with pytest.raises(LisError, match=f"image {row}, column 2"):
        find_denoting_units({"l": x}, table, names="kind", shuffles=1)
    with pytest.raises(LisError, match=f"image {row}, column 2"):
        train_sparse_observer({"l": x}, table, "kind", "l")
    with pytest.raises(LisError, match=f"image {row}, column 2"):
        score_units({"l": x}, table, "number")
    table.loc[row] = None  # an image without a value is not read
    assert train_observers({"l": x}, table, controls=0).scores["score"].notna().all()


def test_copies_on_both_sides_are_told_and_can_be_kept_together():
    """Random labels that copies share would look readable, beside shuffled ones that copies do not share."""
    rng = np.random.default_rng(0)
    state = as_state({"l": np.tile(rng.normal(size=(100, 80)), (2, 1)), "same": np.ones((200, 2))})
    table = pd.DataFrame({"coin": np.tile(rng.permutation(np.array(["h", "t"] * 50, object)), 2)})
    leaky = train_observers(state, table, layers="l", resamples=100, penalty=0.01).scores.iloc[0]
    assert leaky.selectivity_low > 0.1 and "copies of training images" in leaky.status
    assert np.array_equal(state.copies(), np.tile(np.arange(100), 2))
    fair = train_observers(
        state, table, layers="l", resamples=100, penalty=0.01, groups=state.copies()
    ).scores.iloc[0]
    assert fair.selectivity_low < 0 < fair.selectivity_high and fair.status == "ok"


def test_bfloat16_is_a_state():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert np.array_equal(as_state({"l": x}).rows_of("l"), x.double().numpy())


def test_weights_name_the_planted_components(observers):
    kind, number = observers.observer("signal", "kind"), observers.observer("signal", "number")
    assert set(np.argsort(-kind.importance)[:3]) == {5, 6, 7}
    assert [int(np.argmax(kind.weights[:, k])) for k in range(3)] == [5, 6, 7]
    assert int(np.argmax(number.importance)) == 3
    table = observers.weights_table("kind", "signal")
    assert len(table) == 12 * 3 and table.loc[table["weight"].idxmax(), "component"] in (5, 6, 7)


def test_all_layers_side_by_side_keep_their_columns(world):
    state, attributes, _, _ = world
    found = train_observers(state, attributes, names="kind", layers="all", controls=0)
    assert found.layers == (ALL_LAYERS,)
    observer = found.observer(ALL_LAYERS, "kind")
    columns = found.components(ALL_LAYERS)
    assert columns.equals(state.columns()) and len(columns) == 24
    best = columns.iloc[np.argsort(-observer.importance)[:3]]
    assert (best["layer"] == "signal").all() and set(best["component"]) == {5, 6, 7}


def test_the_split_is_stratified_and_depends_on_nothing_else():
    values = np.array(["a"] * 70 + ["b"] * 29 + ["c"], dtype=object)
    [(train, test)] = split_rows(values, True, held_out=0.3, seed=3)
    assert len(np.intersect1d(train, test)) == 0 and len(train) + len(test) == 100
    counts = [(values[test] == k).sum() for k in "abc"]
    assert abs(counts[0] - 21) <= 1 and abs(counts[1] - 9) <= 1 and counts[2] == 0
    folds = split_rows(values, True, folds=5, seed=3)
    held = np.concatenate([test for _, test in folds])
    assert sorted(held) == list(range(99))  # the lonely one is never held out
    assert all(abs((values[test] == "a").sum() - 14) <= 1 for _, test in folds)
    state, attributes, _, _ = linear_world(120)
    alone = train_observers(state, attributes, names="kind", layers=["signal"], controls=1, resamples=50)
    beside = train_observers(state, attributes, names=["dice", "kind"], controls=1, resamples=50)
    a, b = row(alone, "signal", "kind"), row(beside, "signal", "kind")
    assert a.drop("depth").equals(b.drop("depth"))


def test_groups_are_never_on_both_sides(world):
    groups = np.repeat(np.arange(40), 10)
    for settings in ({"held_out": 0.3}, {"folds": 4}):
        for train, test in split_rows(np.zeros(400), False, groups=groups, seed=1, **settings):
            assert not set(groups[train]) & set(groups[test]) and 60 <= len(test) <= 140
    # A label that is the group's own name cannot be told of groups never seen.
    rng = np.random.default_rng(0)
    state = as_state({"x": rng.normal(size=(40, 60))[groups].astype(np.float32)})
    label = np.array(["a", "b"], dtype=object)[rng.permutation(np.arange(40) % 2)][groups]
    table = pd.DataFrame({"label": label})
    leaky = train_observers(state, table, penalty=0.01, controls=0, resamples=100).scores["score"].iloc[0]
    fair = train_observers(state, table, penalty=0.01, groups=groups, controls=0, resamples=100).scores.iloc[
        0
    ]
    assert leaky > 0.7 and fair.score < leaky and fair.high - fair.low > 0.2


def test_folds_hold_every_image_out_once(world):
    state, attributes, _, _ = world
    found = train_observers(
        state, attributes, names="kind", layers=["signal"], folds=4, controls=2, resamples=200
    )
    assert row(found, "signal", "kind").held_out == 400 and row(found, "signal", "kind").score > 0.97


def test_scores_are_what_they_say():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    assert balanced_accuracy(answers, truth) == pytest.approx(balanced_accuracy_score(truth, answers))
    none = np.empty((0, 300))
    found = score_answers(answers, truth, np.zeros(300), none, none)
    assert found.score == accuracy_score(truth, answers) and np.isnan(found.selectivity)
    half = 1.96 * np.sqrt(found.score * (1 - found.score) / 300)
    assert found.low == pytest.approx(found.score - half, abs=0.012)
    y = rng.normal(size=300)
    guess = y + rng.normal(size=300)
    assert r_squared(guess, y) == pytest.approx(r2_score(y, guess))
    numbers = score_numbers(guess, y, np.zeros(300), none, none)
    again = [r2_score(y[i], guess[i]) for i in rng.integers(0, 300, (500, 300))]
    assert numbers.low == pytest.approx(np.quantile(again, 0.025), abs=0.05)
    perfect = score_answers(truth, truth, truth, none, none)
    assert perfect.high == 1 and 0.98 < perfect.low < 0.99  # Wilson's, a bootstrap has no width here


def test_what_ails_an_observer_is_in_its_status():
    rng = np.random.default_rng(0)
    dead = np.ones((60, 3), np.float32)
    live = rng.normal(size=(60, 30)).astype(np.float32)
    label = np.array(["a", "b"] * 30, dtype=object)
    rare = np.array(["a"] * 59 + ["b"], dtype=object)
    few = np.full(60, np.nan)
    few[:5] = np.arange(5)
    file = np.array([f"image {i}" for i in range(60)], dtype=object)
    table = Attributes(pd.DataFrame({"label": label, "rare": rare, "few": few, "file": file}))
    scores = train_observers({"dead": dead, "live": live}, table, controls=1, resamples=50).scores
    status = scores.set_index(["layer", "attribute"])["status"]
    assert status["dead", "label"] == "no component varies"
    assert status["live", "few"].startswith("only 5 images")
    assert status["live", "label"] == "ok" and status["live", "rare"] == "ok"
    assert "names of images" in status["live", "file"]
    assert np.isnan(scores[scores["attribute"].isin(["few", "file"])]["score"]).all()
    series = np.repeat(np.arange(5), 8)  # one of them is held out
    flat = train_observers({"live": live[:40]}, pd.DataFrame({"n": series}), groups=series, held_out=0.2)
    assert flat.scores["status"].iloc[0] == "the held-out values do not vary"
    hasty = train_observers({"live": live}, table, names="label", steps=1, penalty=1e-4, controls=0).scores
    assert "not converged in 1 steps" in hasty["status"].iloc[0]


def test_saved_observers_are_the_same(observers, world, tmp_path):
    observers.save(tmp_path / "a=1")
    read = Observers.load(tmp_path / "a=1")
    pd.testing.assert_frame_equal(read.scores, observers.scores)
    state = world[0]
    for key, model in observers.models.items():
        assert np.array_equal(read.models[key].weights, model.weights)
        assert np.array_equal(read.models[key].tell(state), model.tell(state))
    observers.save(tmp_path / "a=1")  # replaced
    (tmp_path / "a=1" / "weights.safetensors").write_bytes(b"else")
    with pytest.raises(CheckpointError, match="damaged"):
        Observers.load(tmp_path / "a=1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    with pytest.raises(LisError, match="holds something else"):
        observers.save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="can't be read"):
        Observers.load(tmp_path / "none")


def test_figures_have_a_panel_each(observers):
    assert len([a for a in score_figure(observers).axes if a.get_visible()]) == 4
    figure = weight_figure(observers, "kind")
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["a", "b", "c"]
    shown = figure.axes[1].images[0].get_array()
    assert shown.shape == (3, 12) and np.abs(shown).max() == pytest.approx(1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"names": "knid"}, "no attribute 'knid'.*Did you mean 'kind'"),
        ({"layers": ["sgnal"]}, "no layer 'sgnal'.*Did you mean 'signal'"),
        ({"layers": []}, "list of layers is empty"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"folds": 1}, "folds is 1"),
        ({"penalty": 0}, "penalty is 0"),
        ({"controls": -1}, "controls is -1"),
        ({"groups": [1, 2]}, r"groups have shape \[2\] for 400 images"),
        ({"groups": [1] * 400}, "all images are of one group"),
        ({"confidence": 2}, "confidence is 2"),
    ],
)
def test_wrong_settings_are_refused(world, change, message):
    with pytest.raises(LisError, match=message):
        train_observers(world[0], world[1], **{"names": "kind", **change})


def test_wrong_states_are_refused(world):
    nan = np.ones((400, 2), np.float32)
    nan[7, 1] = np.nan
    with pytest.raises(LisError, match=r"NaN or infinite activations \(first: image 7, column 1\)"):
        train_observers({"x": nan}, world[1], names="kind", folds=2)
    for wrong, message in (
        ({}, "at least one layer"),
        ({"x": np.ones((4, 2, 2))}, r"shape \[4, 2, 2\]"),
        ({"x": np.ones((0, 2))}, r"shape \[0, 2\]"),
        ({"x": np.ones((4, 2)), "y": np.ones((5, 2))}, "different numbers of images"),
        ({"x": np.ones((4, 2), int)}, "dtype int64"),
        ({ALL_LAYERS: np.ones((4, 2))}, "rename it"),
    ):
        with pytest.raises(LisError, match=message):
            as_state(wrong)
    with pytest.raises(LisError, match="400 images, the attributes of 3"):
        train_observers(world[0], pd.DataFrame({"a": ["x", "y", "x"]}))
    with pytest.raises(LisError, match="3 images have a value; at least 8|only 3"):
        attribute_split(Attributes(pd.DataFrame({"a": ["x", "y", "x"]})), "a")


@pytest.mark.parametrize(
    "table, message",
    [
        (pd.DataFrame({"a": ["x", "x"]}), "'x' for every image"),
        (pd.DataFrame({"a": [1.0, 1.0]}), "1 for every image"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "infinite values .first: row 1"),
        (pd.DataFrame({"a": [None, None]}), "no value at all"),
        (pd.DataFrame({"a": [[1], [2]]}), "values of type list"),
        (pd.DataFrame({"a": [1e200, -1e200]}), "another unit"),
        (pd.DataFrame({"a": [1e-200, -1e-200]}), "another unit"),
        (pd.DataFrame({"a": [1 + 2j, 2j]}), "dtype complex128"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2021-01-01"])}), "dtype datetime64"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "two columns 'a'"),
        (pd.DataFrame(), "a row an image"),
    ],
)
def test_wrong_tables_are_refused(table, message):
    with pytest.raises(LisError, match=message):
        Attributes(table)


def test_tables_of_ones_own(tmp_path):
    table = pd.DataFrame(
        {"kind": ["a", "b", None, "a"], "size": [1, 2, 3, 4], "worn": [True, False, True, True]}
    )
    with pytest.raises(LisError, match="no value in 1 rows .first: row 2"):
        table_attributes(table, 4)
    found = table_attributes(table, 4, missing="drop")
    assert found.kinds == {"kind": "category", "size": "number", "worn": "category"}
    assert found.known("kind").tolist() == [0, 1, 3] and found.values("worn").tolist() == [
        "yes",
        "no",
        "yes",
        "yes",
    ]
    with pytest.raises(LisError, match="4 rows for 5 images"):
        table_attributes(table, 5, missing="drop")
    table.to_csv(tmp_path / "mine.csv", index=False)
    table.to_parquet(tmp_path / "mine.parquet")
    for name in ("mine.csv", "mine.parquet"):
        read = read_attributes(tmp_path / name, 4, missing="drop")
        assert read.kinds == found.kinds and read.values("size").tolist() == [1, 2, 3, 4]
    (tmp_path / "bad.parquet").write_bytes(b"none")
    for name in ("bad.parquet", "none.csv", "mine.txt"):
        with pytest.raises(LisError, match=name):
            read_attributes(tmp_path / name, 4)


def test_classes_and_superclasses():
    labels = torch.tensor([0, 1, 2, 1])
    assert class_attributes(labels, CLASSES).values("class").tolist() == ["disc", "ring", "cross", "ring"]
    with pytest.raises(LisError, match="no superclasses are known"):
        superclass_attributes(labels, CLASSES)
    mapping = {"disc": "round", "ring": "round", "cross": "straight"}
    coarse = superclass_attributes(labels, CLASSES, mapping)
    assert coarse.values("superclass").tolist() == ["round", "round", "straight", "round"]
    cifar = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    told = superclass_attributes(torch.arange(10), cifar).values("superclass").tolist()
    assert told.count("animals") == 6 and told.count("vehicles") == 4
    with pytest.raises(LisError, match="labels run from 0 to 3"):
        class_attributes(torch.tensor([0, 3]), CLASSES)


def test_statistics_of_pictures_drawn_by_hand():
    x = torch.zeros(3, 1, 16, 16)
    x[0, 0, 4:12, 6:10] = 0.5  # 8 high, 4 wide, a mirror image of itself
    x[1, 0, 2:4, 0:6] = 1.0  # at the left edge
    x[2, 0, 4:12, 4:12] = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5
    table = image_statistics(x).table
    assert table["height"].tolist() == [0.5, 2 / 16, 0.5] and table["width"].tolist() == [0.25, 6 / 16, 0.5]
    assert table["foreground"].tolist() == pytest.approx([32 / 256, 12 / 256, 64 / 256])
    assert table["luminance"][0] == pytest.approx(16 / 256) and table["contrast"][0] == pytest.approx(
        x[0].std(correction=0)
    )
    assert table["symmetry"][0] == 1 and table["symmetry"][1] == 0 and 0.5 < table["symmetry"][2] < 1
    assert table["texture"][0] == 0 and np.isnan(table["texture"][1]) and table["texture"][2] > 0
    slow = [
        (x[2, 0, i, j] - x[2, 0, i - 1 : i + 2, j - 1 : j + 2].mean()) ** 2
        for i in range(5, 11)
        for j in range(5, 11)
    ]
    assert table["texture"][2] == pytest.approx(float(torch.stack(slow).mean()), rel=1e-5)
    grey = image_statistics(x.expand(-1, 3, -1, -1))
    assert "saturation" not in grey.names  # 0 for all of them
    with pytest.raises(LisError, match="alike in every statistic"):
        image_statistics(torch.zeros(4, 1, 8, 8))


def test_part_measures_as_attributes():
    measures = pd.DataFrame({
        "rim.area": [0.1, np.nan] * 8, "rim.code": [0, 1] * 8, "rim.luminance": [0.5, np.nan, 0.4, np.nan] * 4,
        "rim.angle": np.arange(16) / 16, "hub.area": [0.2] * 16, "hub.code": [0] * 16,
    })  # fmt: skip
    found = part_attributes(measures)
    assert found.names == ("rim.area", "rim.luminance")
    assert found.values("rim.area").tolist() == [0.1, 0.0] * 8 and len(found.known("rim.luminance")) == 8
    with pytest.raises(LisError, match="can't be told by a line"):
        part_attributes(measures, ["rim.angle"])
    with pytest.raises(LisError, match="no column 'rim.size'"):
        part_attributes(measures, ["rim.size"])


def test_generated_pictures_are_known_by_construction_and_do_not_depend_on_batches():
    generator = tiny_generator()
    one = draw_pictures(generator, None, 24, psi=(0.5, 1.0), batch_size=24)
    two = draw_pictures(generator, None, 24, psi=(0.5, 1.0), batch_size=5)
    assert torch.allclose(one.images, two.images, atol=1e-5)
    assert one.attributes.kinds == {"class": "category", "psi": "category"}
    z = generator.sample_z(24, 0)
    expected = generator.render(generator.map(z[4:5], torch.tensor([1]), 1.0))
    assert one.labels[4] == 1 and one.attributes.values("psi")[4] == "1"
    assert torch.allclose(one.images[4:5], expected.cpu(), atol=1e-5)
    with pytest.raises(LisError, match="nothing is known"):
        draw_pictures(generator, None, 4, classes=["disc"])


def test_a_classifiers_state_has_every_layer():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    pictures = draw_pictures(generator, None, 60, psi=(0.5, 1.0))
    state = observe_state(classifier, pictures.images)
    assert len(state) == 60 and state.layers[-1].startswith("penultimate")
    assert np.allclose(state.rows_of("penultimate"), classifier.features(pictures.images).numpy(), atol=1e-4)
    assert [state.depth(name) for name in state.layers] == sorted(state.depth(name) for name in state.layers)
    first = state.layers[0]
    assert state.title(first.split(" · ")[0]) == first
    found = train_observers(state, join_attributes(pictures.attributes), controls=1, resamples=100)
    assert row(found, state.layers[-1], "class").score > 0.7
    assert "class: accuracy" in str(found)


def test_nothing_of_the_held_out_part_goes_into_the_model_or_its_baseline():
    """Groups are split without looking at values: other values in the held-out part leave the model as it was."""
    rng = np.random.default_rng(0)
    groups = np.arange(240) // 6
    x = rng.normal(size=(240, 8)).astype(np.float32)
    table = pd.DataFrame({
        "kind": np.where(x[:, 0] + rng.normal(size=240) > 0.3, "yes", "no").astype(object),
        "number": x[:, 1] + rng.normal(size=240),
    })  # fmt: skip
    for name, other in (("kind", "yes"), ("number", 9.0)):
        [(train, test)] = attribute_split(Attributes(table), name, groups=groups)
        changed = table.copy()
        changed.loc[test[:-3], name] = other  # most: two values must be left
        before, after = (
            train_observers({"layer": x}, t, names=name, groups=groups, controls=1, resamples=50)
            for t in (table, changed)
        )
        one, same = (found.observer("layer", name) for found in (before, after))
        assert np.array_equal(one.weights, same.weights) and np.array_equal(one.bias, same.bias)
        baseline = after.scores["baseline"].iloc[0]
        if name == "kind":
            most = table.loc[train, name].mode()[0]
            assert most == "no" and baseline == (changed.loc[test, name] == most).mean() < 0.5
        else:
            truth, guess = changed.loc[test, name], table.loc[train, name].mean()
            assert baseline == pytest.approx(
                1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
            )


def test_controls_are_trained_on_shuffled_labels(monkeypatch):
    from lis_toolkit.observers import train

    seen = []
    plain = train.fit_logistic
    monkeypatch.setattr(train, "fit_logistic", lambda d, y, *more: seen.append(y) or plain(d, y, *more))
    state, attributes, _, _ = linear_world(120)
    train_observers(state, attributes, names="kind", layers=["signal"], controls=3, resamples=50)
    own, *shuffled = seen
    assert len(shuffled) == 3 and len({tuple(y) for y in seen}) == 4
    for y in shuffled:
        assert np.array_equal(np.bincount(y), np.bincount(own)) and (y == own).mean() < 0.6
