"""Labels of many pictures gathered per class and layer: by hand, from parts, drawn, on disk and back."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.labels import (
    Answer,
    Game,
    GlobalExplanation,
    choose_embedding,
    explain_globally,
    global_figure,
    process_labels,
)
from reveal_questions import CLASSES, some_questions


@pytest.fixture(scope="module")
def game():
    """Six pictures: 0 and 4 are Coats, 1 and 5 Shirts, 2 a Bag, 3 Sandals; two layers of two clusters."""
    return Game(some_questions(images=6, layers=("body.1", "body.13")))


def said(game, words):
    """Answers of players to the questions of `words`: (image, layer, cluster) -> texts."""
    found = []
    for question in game.questions:
        for i, label in enumerate(words.get(question.key[1:], ())):
            found.append(Answer(f"player {i}", *question.key, question.target, label, question.target, 1))
    return found


@pytest.fixture(scope="module")
def labels(game):
    words = {
        (0, "body.13", 0): ["sleeve", "sleeve"],  # 0.9
        (0, "body.13", 1): ["sleeves", "hem"],  # 0.45 each
        (4, "body.13", 0): ["hem", "hem", "sleeve"],  # 0.6 and 0.3
        (4, "body.13", 1): ["coat"],
        (4, "body.1", 0): ["edge"],
        (1, "body.1", 0): ["edge"],
        (5, "body.1", 0): ["shirt"],
    }
    return process_labels(said(game, words), "tfidf")


def test_gathered_labels_worked_out_by_hand(game, labels):
    found = explain_globally(labels, game, embed=None)
    assert found.classes == ("Coat", "Shirt") and found.layers == ("body.1", "body.13")
    coat = found.of("Coat", "body.13").to_dict("records")
    # A picture's best: sleeve 0.9 in 0 and 0.3 in 4; hem 0.45 and 0.6; sleeves 0.45 in 0 alone.
    assert [(r["label"], r["rank"], r["pictures"], r["of"]) for r in coat] == [
        ("sleeve", 1, 2, 2), ("hem", 2, 2, 2), ("sleeves", 3, 1, 2),
    ]  # fmt: skip
    assert [r["score"] for r in coat] == pytest.approx([0.6, 0.525, 0.225])
    assert [r["images"] for r in coat] == [(0, 4), (4, 0), (0,)]
    # A picture of which only the class was named counts, and lowers the score.
    (shirt,) = found.of("Shirt").to_dict("records")
    assert (shirt["label"], shirt["pictures"], shirt["of"], shirt["score"]) == (
        "edge",
        1,
        2,
        pytest.approx(0.45),
    )


def test_labels_that_mean_the_same_are_one(game, labels):
    found = explain_globally(labels, game).of("Coat", "body.13").to_dict("records")
    assert [(r["label"], r["texts"]) for r in found] == [("sleeve", ("sleeve", "sleeves")), ("hem", ("hem",))]
    assert found[0]["score"] == pytest.approx(0.6)  # in each picture the best counts, not the sum
    same = explain_globally(labels, game, embed=choose_embedding("tfidf")).table
    assert same.equals(explain_globally(labels, game).table)


def test_examples_are_the_pictures_revealed_the_best_first(game, labels):
    found = explain_globally(labels, game, embed=None, examples=1)
    row = found.of("Coat", "body.13").iloc[0]
    (place,) = row["examples"]
    question = game.find((f"{0:016x}", 0, "body.13", 0))
    torch.testing.assert_close(found.pictures[place], question.picture(6))
    assert len(found.pictures) == found.table["examples"].map(len).sum() == len(found.table)
    assert explain_globally(labels, game, examples=0).pictures is None
    alone = explain_globally(labels)
    assert alone.pictures is None and alone.layers == ("body.1", "body.13") and not alone.titles


def test_only_the_best_are_kept_of_layers_that_are_asked_for(game, labels):
    found = explain_globally(labels, game, embed=None, top=1, layers=["body.13"])
    assert list(found.table["label"]) == ["sleeve"] and found.layers == ("body.13",)
    for changes, told in (({"layers": ["body.2"]}, "no labels of layer 'body.2'"), ({"top": 0}, "top is 0"),
                          ({"examples": -1}, "examples is -1")):  # fmt: skip
        with pytest.raises(LisError, match=told):
            explain_globally(labels, game, **changes)
    with pytest.raises(LisError, match="Did you mean 'Coat'"):
        found.of("Cot")
    with pytest.raises(LisError, match="no layer 'x'"):
        found.of("Coat", "x")


def by_parts():
    """What label_by_parts gives, as far as it is needed."""
    rows = [(0, "sleeve", 3.1), (0, "sleeve", 2.0), (0, "none", -1.0), (4, "torso", 5.0), (8, "none", 0.1)]
    return pd.DataFrame([
        {"image": image, "target": "Coat", "layer": "body.9", "title": "conv 5", "cluster": cluster, "label": label,
         "score": score}
        for cluster, (image, label, score) in enumerate(rows)
    ])  # fmt: skip


def test_labels_by_parts_take_the_crowds_place():
    found = explain_globally(by_parts())
    rows = found.table.to_dict("records")
    assert [(r["label"], r["pictures"], r["of"]) for r in rows] == [("sleeve", 1, 3), ("torso", 1, 3)]
    assert [r["score"] for r in rows] == pytest.approx([1 / 3, 1 / 3]) and found.titles == {
        "body.9": "conv 5"
    }
    counted = explain_globally(by_parts(), score="score").table.to_dict("records")
    assert [(r["label"], r["score"]) for r in counted] == [
        ("torso", pytest.approx(5 / 3)),
        ("sleeve", pytest.approx(3.1 / 3)),
    ]
    renamed = by_parts().rename(columns={"target": "class"})
    assert explain_globally(renamed).table.equals(found.table)


def test_tables_that_are_none_are_refused():
    for table, told in (
        (by_parts().drop(columns="label"), "no column 'label'"),
        (by_parts().drop(columns="target"), "no column 'class'"),
        (by_parts().iloc[:0], "is empty"),
        ([1], "labels are list"),
    ):
        with pytest.raises(LisError, match=told):
            explain_globally(table)
    with pytest.raises(LisError, match="has the score nan"):
        explain_globally(by_parts().assign(score=np.nan), score="score")
    with pytest.raises(LisError, match="no column 'points'"):
        explain_globally(by_parts(), score="points")


def test_more_labels_than_can_be_compared_are_told(game, labels, monkeypatch):
    monkeypatch.setattr("lis_toolkit.labels.global_explanation.MOST_LABELS", 3)
    with pytest.raises(LisError, match="there are 4 different labels.* embed=None"):
        explain_globally(labels, game)
    assert len(explain_globally(labels, game, embed=None).table) == 5


def test_it_is_on_disk_and_back(game, labels, tmp_path):
    found = explain_globally(labels, game)
    found.save(tmp_path / "coat")
    again = GlobalExplanation.load(tmp_path / "coat")
    assert again.table.to_dict("records") == found.table.to_dict("records")
    assert (again.classes, again.layers, again.titles) == (found.classes, found.layers, found.titles)
    assert (
        again.provenance == json.loads(json.dumps(found.provenance))
        and again.provenance["labels"]["answers"] == 11
    )
    torch.testing.assert_close(again.pictures, found.pictures, rtol=0, atol=0)
    explain_globally(by_parts()).save(tmp_path / "coat")  # takes its place
    assert GlobalExplanation.load(tmp_path / "coat").pictures is None
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(LisError, match="something else"):
        found.save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="there is no"):
        GlobalExplanation.load(tmp_path / "other")
    path = tmp_path / "coat" / "labels.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        GlobalExplanation.load(tmp_path / "coat")
    (tmp_path / "coat" / "manifest.json").write_text("[]")
    with pytest.raises(CheckpointError, match="another kind"):
        GlobalExplanation.load(tmp_path / "coat")


def test_the_figure_shows_layers_labels_and_pictures(game, labels):
    found = explain_globally(labels, game)
    figure = global_figure(found, "Coat")
    texts = [text.get_text() for text in figure.axes[0].texts]
    for told in ("body.1", "body.13", "title of body.13", "sleeve", "hem", "edge", "0.60, in 2 of 2"):
        assert told in texts, told
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    wide, high = figure.get_size_inches() * figure.dpi
    for text in figure.axes[0].texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0 and box.x1 <= wide and box.y0 >= 0 and box.y1 <= high, text.get_text()
    (image,) = figure.axes[0].images
    assert len(np.unique(np.asarray(image.get_array()).reshape(-1, 3), axis=0)) > 50
    bare = global_figure(explain_globally(by_parts()), "Coat")
    assert "torso" in [text.get_text() for text in bare.axes[0].texts]
    with pytest.raises(LisError, match="has no class"):
        global_figure(found, CLASSES[2])


def test_a_changed_manifest_is_told(game, labels, tmp_path):
    explain_globally(labels, game, embed=None).save(tmp_path / "saved")
    path = tmp_path / "saved" / "manifest.json"
    told = json.loads(path.read_text())
    for changes in ({"classes": ["Bag"]}, {"files": 3}, {"titles": {}}, {"key": None}):
        path.write_text(json.dumps(told | changes | ({"titles": {"x": "y"}} if "titles" in changes else {})))
        with pytest.raises(CheckpointError, match="manifest.json is damaged"):
            GlobalExplanation.load(tmp_path / "saved")
    for name in ("files", "classes", "layers", "provenance", "titles", "key"):
        path.write_text(json.dumps({key: value for key, value in told.items() if key != name}))
        with pytest.raises(CheckpointError, match="manifest.json is damaged"):
            GlobalExplanation.load(tmp_path / "saved")


def test_a_picture_without_a_number_is_told():
    table = pd.DataFrame({"image": [float("nan")], "layer": ["l"], "label": ["hem"], "target": ["Coat"]})
    with pytest.raises(LisError, match="image of label 'hem' is nan"):
        explain_globally(table)
