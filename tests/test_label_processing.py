"""From texts to labels: spelling, classes left out, embedding, grouping, scores, merging, each against a plain way."""

import importlib.util
import itertools
import shutil
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.labels import (
    Answer,
    Answers,
    choose_embedding,
    label_score,
    measure_synonyms,
    process_labels,
)
from lis_toolkit.labels import embeddings as module
from lis_toolkit.labels.embeddings import SAME, Embedding
from lis_toolkit.labels.grouping import cosine_distances, group_vectors, representative
from lis_toolkit.labels.texts import class_words, normalise_label, plural_forms, without_class


def say(
    label,
    player="ann",
    cluster=0,
    step=1,
    guess="Coat",
    target="Coat",
    layer="body.1",
    image=0,
    explanation="8c",
):
    kind = "answer" if label else "no idea"
    return Answer(player, explanation, image, layer, cluster, target, label, guess, step, kind)


def everyone(*labels, **changes):
    return [say(label, f"player {i}", **changes) for i, label in enumerate(labels)]


MEANINGS = {"sleeve": 0, "sleeves": 0, "arm": 0, "collar": 1, "neck": 1, "button": 2}


def by_meaning(texts):
    """An embedding that knows what a few words mean: nearly the same vector for the same meaning."""
    vectors = np.zeros((len(texts), 8))
    for row, text in zip(vectors, texts, strict=True):
        row[MEANINGS.get(text, 7)] = 1
        row[3 + len(text) % 4] += 0.1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


KNOWN = Embedding("known", by_meaning, "", {})


# Texts.


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  The long-sleeve!! ", "long sleeve"),
        ("ＡＲＭ", "arm"),
        ("a", "a"),
        ("A a hem", "hem"),
        ("the coat's STRASSE, straße", "coats strasse strasse"),
        ("Ärmel_lang\n2x", "ärmel lang 2x"),
        ("👕?!", ""),
        ("theatre", "theatre"),
    ],
)
def test_a_label_has_one_spelling(text, plain):
    assert normalise_label(text) == plain == normalise_label(plain)


@pytest.mark.parametrize(
    ("name", "label", "left"),
    [
        ("Coat", "coat", ""),
        ("Coat", "coats", ""),
        ("Coat", "sleeve of the coat", "sleeve"),
        ("Coat", "coat sleeve", "sleeve"),
        ("Coat", "coating", "coating"),
        ("Coat", "petticoat", "petticoat"),
        ("Coat", "coat coat", ""),
        ("T-shirt/top", "tshirt collar", "collar"),
        ("T-shirt/top", "t shirts", ""),
        ("T-shirt/top", "top of it", "it"),
        ("T-shirt/top", "laptop", "laptop"),
        ("Ankle boot", "heel of ankle boots", "heel"),
        ("Ankle boot", "boot heel", "boot heel"),
        ("crested grebe, tench", "tenches eye", "eye"),
        ("wolf", "wolves", ""),
        ("berry", "berries", ""),
        ("policeman", "policemen", ""),
        ("...", "dots", "dots"),
    ],
)
def test_the_class_itself_is_left_out_and_no_more(name, label, left):
    assert without_class(label, class_words(name)) == left


def test_further_names_of_a_class_are_left_out():
    words = class_words("Coat", ["overcoat", "rain jacket"])
    assert without_class("rain jackets collar", words) == "collar" == without_class("overcoats collar", words)
    assert "knives" in plural_forms("knife") and "scarves" in plural_forms("scarf")


# Embeddings.


@pytest.fixture(scope="module")
def bert():
    """Sentence-BERT, loaded once, with every way to a network closed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("the extra `labels` is not installed")
    tried = []

    def refuse(self, address):
        tried.append(address)
        raise OSError("no network")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    try:
        module._load.cache_clear()
        embedding = choose_embedding("sentence-bert")
        embedding.encode(["warm"])
    finally:
        patch.undo()
    assert tried == []
    return embedding


def test_sentence_bert_knows_synonyms_which_letters_do_not(bert):
    meant, letters = measure_synonyms(bert.encode), measure_synonyms(choose_embedding("tfidf").encode)
    assert meant["merged"] >= 10 and meant["wrong"] == 0 and letters["merged"] <= 1
    assert meant["mean_synonyms"] > meant["mean_unrelated"] + 0.2
    lost = choose_embedding("tfidf").lost
    assert (
        f"{letters['merged']} of 20" in lost
        and 'pip install "lis-toolkit[labels]"' in lost
        and bert.lost == ""
    )


def test_sentence_bert_is_the_published_mean_of_tokens(bert):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = module._model_folder()
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    texts = ["long sleeve", "a shoe"]
    for text, vector in zip(texts, bert.encode(texts), strict=True):
        with torch.no_grad():
            mean = model(**tokens(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
    assert not bert.encode(["", " "]).any() and bert.encode([]).shape[0] == 0


def test_a_changed_model_is_refused(tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in module.HASHES:
        if name != "model.safetensors":
            shutil.copy(module._model_folder() / name, folder / name)
    (folder / "model.safetensors").symlink_to(module._model_folder() / "model.safetensors")
    module.check_model(folder)
    (folder / "more.py").write_text("")
    with pytest.raises(CheckpointError, match="more.py does not belong"):
        module.check_model(folder)
    (folder / "more.py").unlink()
    # What transformers reads by its name alone: an adapter (which may name a model elsewhere), tokens, other weights.
    for name in (
        "adapter_config.json",
        "added_tokens.json",
        "model.safetensors.index.json",
        "2_Normalize/config.json",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
        with pytest.raises(CheckpointError, match=f"{name} does not belong"):
            module.check_model(folder)
        (folder / name).unlink()
    (folder / "README.md").write_text("read by people")
    module.check_model(folder)
    with open(folder / "tokenizer.json", "ab") as file:
        file.write(b" ")
    with pytest.raises(CheckpointError, match="tokenizer.json is not the known file"):
        module.check_model(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer.json .* nothing"):
        module.check_model(folder)


def test_without_the_extra_words_and_letters_are_used_or_it_is_said(monkeypatch):
    real = importlib.util.find_spec
    hide = lambda name, *rest: None if name == "sentence_transformers" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(module.importlib.util, "find_spec", hide)
    assert choose_embedding("auto").name == "tfidf"
    with pytest.raises(LisError, match=r'pip install "lis-toolkit\[labels\]"'):
        choose_embedding("sentence-bert")
    with pytest.raises(LisError, match="Did you mean 'tfidf'"):
        choose_embedding("tf-idf")


def test_words_and_letters_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    texts = ["long sleeve", "sleeves", "collar", "dress", "x"]
    vectors = choose_embedding("tfidf").encode(texts)
    words = TfidfVectorizer(token_pattern=r"\w+").fit_transform(
        ["long sleeve", "sleeve", "collar", "dress", "x"]
    )
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4)).fit_transform(texts)
    expected = (cosine_similarity(words) + cosine_similarity(letters)) / 2
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-9)
    assert vectors[0] @ vectors[1] > SAME and not choose_embedding("tfidf").encode(["", ""]).any()


def test_of_very_many_texts_the_rarest_runs_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 300 * 20)
    texts = [f"sleeve {a}{b}{c}" for a, b, c in itertools.product("abcdefg", repeat=3)][:300]
    vectors = choose_embedding("tfidf").encode(texts)
    assert vectors.shape[0] == 300 and vectors.shape[1] <= 2 * 256
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


# Groups.


def plain_groups(vectors):
    """Complete linkage and silhouettes, written out: sets of rows by k, and the k of the best mean silhouette."""
    apart = 1 - vectors @ vectors.T
    n = len(vectors)
    clusters, cuts = [{i} for i in range(n)], {}
    cuts[n] = [set(c) for c in clusters]
    while len(clusters) > 1:

        def far(pair, clusters=clusters):
            return max(apart[i, j] for i in clusters[pair[0]] for j in clusters[pair[1]])

        a, b = min(itertools.combinations(range(len(clusters)), 2), key=far)
        clusters = [c for i, c in enumerate(clusters) if i not in (a, b)] + [clusters[a] | clusters[b]]
        cuts[len(clusters)] = [set(c) for c in clusters]

    def silhouette(cut):
        total = 0.0
        for own in cut:
            for i in own:
                if len(own) == 1:
                    continue
                inside = sum(apart[i, j] for j in own if j != i) / (len(own) - 1)
                outside = min(sum(apart[i, j] for j in c) / len(c) for c in cut if c is not own)
                total += (outside - inside) / max(inside, outside) if max(inside, outside) > 0 else 0
        return total / n

    return max((cuts[k] for k in range(2, n)), key=silhouette)


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_a_plain_rederivation_and_of_scikit_learn(seed):
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 6))
    vectors = centres[rng.integers(0, 3, 12)] + 0.3 * rng.normal(size=(12, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = group_vectors(vectors)
    assert {frozenset(np.flatnonzero(groups == g)) for g in set(groups)} == set(
        map(frozenset, plain_groups(vectors))
    )
    made = AgglomerativeClustering(groups.max() + 1, metric="cosine", linkage="complete").fit_predict(vectors)
    assert adjusted_rand_score(groups, made) == 1
    assert groups[0] == 0 and list(dict.fromkeys(groups)) == sorted(set(groups))  # numbered as they come


@pytest.mark.parametrize("seed, count", [(4, 4), (6, 9), (8, 9), (11, 6)])
def test_scattered_rows_are_grouped_by_their_farthest_members(seed, count):
    """Where average linkage would group otherwise, or all but two rows stand alone."""
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = group_vectors(vectors)
    found = {frozenset(np.flatnonzero(groups == g)) for g in set(groups)}
    assert found == set(map(frozenset, plain_groups(vectors)))


def test_few_and_equal_rows_are_grouped_on_purpose():
    east, north, near = np.array([1.0, 0]), np.array([0, 1.0]), np.array([0.8, 0.6])
    assert group_vectors(np.zeros((0, 2))).tolist() == []
    assert group_vectors(east[None]).tolist() == [0]
    assert group_vectors(np.stack([east] * 5)).tolist() == [0] * 5
    assert group_vectors(np.stack([east, near])).tolist() == [0, 0]  # 0.2 apart
    assert group_vectors(np.stack([east, north])).tolist() == [0, 1]
    assert group_vectors(np.stack([east, north, east])).tolist() == [0, 1, 0]
    assert group_vectors(np.eye(3)).tolist() == [0, 1, 2]  # all equally far apart: no cut into two
    assert group_vectors(np.repeat(np.eye(4), 2, axis=0)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for bad in (np.zeros(3), np.full((2, 2), np.nan)):
        with pytest.raises(LisError, match="finite ones"):
            group_vectors(bad)


def test_the_representative_is_the_most_frequent_then_the_most_central():
    vectors = np.array([[1.0, 0], [0.8, 0.6], [0, 1.0]])
    assert representative(["a", "b", "c"], vectors) == "b"
    assert representative(["a", "b", "c", "c"], vectors[[0, 1, 2, 2]]) == "c"
    assert representative(["b", "a"], np.eye(2)) == "a"
    assert cosine_distances(vectors)[0, 1] == pytest.approx(0.2)


# Scores and merging.


@given(
    steps=st.lists(st.integers(1, 6), min_size=1, max_size=9), more=st.integers(0, 9), guessed=st.booleans()
)
def test_scores_are_the_formula(steps, more, guessed):
    answers = len(steps) + more
    expected = len(steps) / answers * (1 - 0.1 * sum(steps) / len(steps)) * (1 if guessed else 0.25)
    assert label_score(steps, answers, guessed) == pytest.approx(expected)
    assert 0 < label_score(steps, answers, guessed) <= 0.9


def test_labels_of_one_cluster_worked_out_by_hand():
    given = [say("Sleeve", "a", step=1), say("the sleeves", "b", step=3, guess="Bag"), say("sleeve!", "c", step=2),
             say("collar", "d", step=6, guess="Bag"), say("coat", "e"), say("", "f")]  # fmt: skip
    labels = process_labels([*given, *given], KNOWN)  # the same twice counts once
    rows = labels.table.to_dict("records")
    assert [(r["label"], r["count"], r["answers"], r["rank"]) for r in rows] == [
        ("sleeve", 3, 6, 1),
        ("collar", 1, 6, 2),
    ]
    assert rows[0]["score"] == pytest.approx(3 / 6 * (1 - 0.1 * 2)) and rows[0]["guessed"] == pytest.approx(
        2 / 3
    )
    assert rows[1]["score"] == pytest.approx(1 / 6 * (1 - 0.1 * 6) * 0.25) and rows[1]["guessed"] == 0
    assert rows[0]["texts"] == ("Sleeve", "sleeve!", "the sleeves") and rows[0]["mean_step"] == 2
    assert labels.provenance["answers"] == 6 and "2 labels of 1 clusters" in str(labels)


def test_clusters_of_a_layer_with_the_same_best_label_are_merged():
    answers = [*everyone("sleeve", "sleeve", "collar", cluster=0), *everyone("button", "button", cluster=1),
               *everyone("sleeve", "sleeve", "sleeve", "button", cluster=2, step=2),
               *everyone("sleeve", layer="body.3"), *everyone("sleeve", image=1)]  # fmt: skip
    table = process_labels(answers, KNOWN).table
    merged = table[(table["layer"] == "body.1") & (table["image"] == 0)]
    assert list(merged[merged["rank"] == 1]["clusters"]) == [(0, 2), (1,)]
    rows = merged[merged["clusters"] == (0, 2)].to_dict("records")
    assert [(r["label"], r["count"], r["answers"]) for r in rows] == [
        ("sleeve", 5, 7),
        ("collar", 1, 7),
        ("button", 1, 7),
    ]
    assert rows[0]["score"] == pytest.approx(5 / 7 * (1 - 0.1 * 8 / 5))
    others = table[(table["layer"] != "body.1") | (table["image"] == 1)]
    assert set(others["clusters"]) == {(0,)} and len(others) == 2


def test_clusters_of_which_nothing_is_left_are_told():
    labels = process_labels(
        [*everyone("coat", "Coats!", "overcoat"), *everyone("hem", cluster=1)], KNOWN, {"Coat": ["overcoat"]}
    )
    assert labels.unlabelled.to_dict("records") == [
        {"explanation": "8c", "image": 0, "layer": "body.1", "cluster": 0, "target": "Coat", "answers": 3}
    ]
    assert list(labels.best["clusters"]) == [(1,)] and "1 clusters have none" in str(labels)
    alone = process_labels(everyone("coat"), KNOWN)
    assert not len(alone.table) and len(alone.unlabelled) == 1 and not len(alone.best)


def test_the_order_of_answers_makes_no_difference():
    answers = [*everyone("sleeve", "arm", "collar", "neck", "button"), *everyone("hem", "collar", cluster=1)]
    first = process_labels(answers, KNOWN).table
    again = process_labels(answers[::-1], KNOWN).table
    assert first.to_dict("records") == again.to_dict("records")


def test_a_file_of_answers_is_processed_by_both_embeddings(tmp_path, bert):
    answers = Answers(tmp_path / "answers.jsonl")
    for one in everyone("long sleeve", "the sleeves", "sleeve", "collar", "shirt collar"):
        answers.add(one)
    for embed in ("tfidf", bert, "auto"):
        labels = process_labels(answers, embed)
        best = labels.best.iloc[0]
        assert (
            best["count"] == 3 and "sleeve" in best["label"] and best["score"] == pytest.approx(3 / 5 * 0.9)
        )
    assert labels.embedding == "sentence-bert" and labels.lost == ""
    assert len(labels.provenance["embedding"]["sha256"]) == 64


def test_what_can_not_be_processed_is_said():
    with pytest.raises(LisError, match="no answers"):
        process_labels([])
    with pytest.raises(LisError, match="tell of class 'Coat' and of 'Bag'"):
        process_labels([say("hem"), say("hem", "ben", target="Bag")])
    with pytest.raises(LisError, match="no answers; there are some of 'Coat'.* Did you mean 'Coat'"):
        process_labels([say("hem")], KNOWN, {"Coet": ["x"]})
    with pytest.raises(LisError, match="synonyms are list"):
        process_labels([say("hem")], KNOWN, ["overcoat"])
    with pytest.raises(LisError, match="synonyms of class 'Coat'"):
        process_labels([say("hem")], KNOWN, {"Coat": [1]})
    with pytest.raises(LisError, match=r"gave shape \[3\] for 1"):
        process_labels([say("hem")], Embedding("bad", lambda texts: np.zeros(3), "", {}))
    with pytest.raises(LisError, match="1 to 0 were expected"):
        label_score([1], 0, True)


def test_the_example_of_the_docstring_is_true():
    told = module.measure_synonyms.__doc__.split('["merged"]')[1].split()[0]
    assert int(told) == module.measure_synonyms(choose_embedding("tfidf").encode)["merged"]


def test_synonyms_that_are_no_texts_are_refused():
    from lis_toolkit.labels.texts import checked_synonyms

    for wrong in (5, [5], None):
        with pytest.raises(LisError, match="synonyms of class 'Coat' are .* texts were expected"):
            checked_synonyms({"Coat": wrong}, ["Coat"])
