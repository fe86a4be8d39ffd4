"""From what players typed to labels of clusters: embedded, grouped, scored, merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..files import provenance
from .answers import Answer, Answers, counted
from .embeddings import Embedding, choose_embedding
from .grouping import group_vectors, representative
from .texts import checked_synonyms, class_words, normalise_label, without_class

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClusterLabels", "label_score", "process_labels"]

PER_STEP = 0.1  # of the score that is lost with every step of the reveal
NEVER_GUESSED = 0.25  # what is left of a score where nobody who said so guessed the class
COLUMNS = ("explanation", "image", "layer", "clusters", "target", "rank", "label", "score", "count", "answers",
           "frequency", "mean_step", "guessed", "texts")  # fmt: skip


@dataclass(frozen=True)
class ClusterLabels:
    """Labels of clusters, as players gave them.

    Attributes
    ----------
    table : DataFrame, a row a label of a cluster (or of clusters merged), the best first (rank 1): explanation, image,
        layer, clusters (tuple of int), target (class), rank, label, score (0 to 0.9), count (players who said so),
        answers (all, with those who had no idea), frequency (count / answers), mean_step (1 to 6), guessed (share of
        the count who guessed the class), texts (tuple of what was typed).
    embedding : "sentence-bert" or "tfidf".
    lost : what that embedding can't do, in words; empty for Sentence-BERT.
    unlabelled : DataFrame of clusters of which no label is left: explanation, image, layer, cluster, target, answers.
    provenance : versions, embedding, synonyms, number of answers and players.
    """

    table: pd.DataFrame
    embedding: str
    lost: str
    unlabelled: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> pd.DataFrame:
        """The best label of every cluster."""
        return self.table[self.table["rank"] == 1].reset_index(drop=True)

    def __str__(self) -> str:
        """Say how many labels there are, and what was lost."""
        clusters = int((self.table["rank"] == 1).sum())
        said = f"{len(self.table)} labels of {clusters} clusters, compared by {self.embedding}."
        if len(self.unlabelled):
            said += f" {len(self.unlabelled)} clusters have none."
        return f"{said} {self.lost}".rstrip()


@dataclass(frozen=True)
class _Label:
    """One label of one cluster: what was typed, at which steps, and whether the class was guessed then."""

    label: str
    texts: tuple[str, ...]
    steps: tuple[int, ...]
    hits: tuple[bool, ...]
    answers: int

    @property
    def score(self) -> float:
        return label_score(self.steps, self.answers, any(self.hits))


def label_score(steps: Sequence[int], answers: int, guessed: bool) -> float:
    """Score a label of a cluster: frequency (1 - 0.1 mean reveal step), a quarter of it if the class was never guessed.

    The frequency is the share of all answers to the cluster, those without an idea among them; steps count from 1; the
    class counts as guessed when one of those who gave this label guessed it. This is our reading of the paper.

    Parameters
    ----------
    steps : the reveal step, 1 to 6, of everyone who gave the label.
    answers : how many answers there are to the cluster.
    guessed : whether one of them guessed the class.

    Raises
    ------
    LisError : no steps, or fewer answers than steps.

    Notes
    -----
    Source: Interpretable Network Visualizations, arXiv 2405.03301, labels.

    Examples
    --------
    >>> label_score([1, 3], 4, True)
    0.4
    """
    if not len(steps) or answers < len(steps):
        raise LisError(f"a label has {len(steps)} steps of {answers} answers; 1 to {answers} were expected.")
    score = len(steps) / answers * (1 - PER_STEP * float(np.mean(steps)))
    return score if guessed else NEVER_GUESSED * score


def process_labels(
    answers: Answers | Iterable[Answer],
    embed: str | Embedding = "auto",
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> ClusterLabels:
    """Turn answers into labels of clusters.

    Of every cluster: the texts in one spelling, without the class's own name (singular, plural, and its synonyms),
    embedded, grouped (`group_vectors`), each group with the text that stands for it and its score; then clusters of one
    layer whose best label is the same are merged, their answers put together.

    Parameters
    ----------
    answers : a file of answers, or answers; of each player and question the first counts.
    embed : "auto", "sentence-bert", "tfidf" (see `choose_embedding`), or an Embedding of your own.
    synonyms : class name -> further names of the class, which are dropped from labels, too.

    Raises
    ------
    LisError : no answers, answers to one question with different classes, synonyms of another class, another `embed`.

    Notes
    -----
    Source: Interpretable Network Visualizations, arXiv 2405.03301, labels.

    Examples
    --------
    >>> labels = process_labels(Answers("answers.jsonl"), synonyms={"Coat": ["overcoat"]})
    >>> labels.best[["layer", "clusters", "label", "score"]]
    """
    import pandas as pd

    listed = counted(answers)
    if not listed:
        raise LisError("there are no answers to process; play the game, or import some.")
    questions = by_question(listed)
    targets = {key: given[0].target for key, given in questions.items()}
    named = checked_synonyms(synonyms, targets.values())
    words = {name: class_words(name, named.get(name, ())) for name in dict.fromkeys(targets.values())}
    cleaned = {
        key: [clean_label(one.label, words[targets[key]]) for one in given]
        for key, given in questions.items()
    }
    how = embed if isinstance(embed, Embedding) else choose_embedding(embed)
    vectors = embed_texts(sorted({text for texts in cleaned.values() for text in texts if text}), how)
    found: dict[tuple[str, int, str], list[tuple[tuple[int, ...], list[_Label]]]] = {}
    without = []
    for key, given in questions.items():
        labels = cluster_labels(given, cleaned[key], vectors)
        if labels:
            found.setdefault(key[:3], []).append(((key[3],), labels))
        else:
            without.append((*key, targets[key], len(given)))
    rows = []
    for place, clusters in found.items():
        for members, labels in merge_clusters(clusters):
            target = targets[(*place, members[0])]
            rows += [_row(place, members, target, rank, one) for rank, one in enumerate(labels, 1)]
    return ClusterLabels(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        how.name,
        how.lost,
        pd.DataFrame(without, columns=["explanation", "image", "layer", "cluster", "target", "answers"]),
        provenance(
            embedding=how.provenance,
            synonyms={name: list(given) for name, given in named.items()},
            answers=len(listed),
            players=len({one.player for one in listed}),
        ),
    )


def by_question(answers: Iterable[Answer]) -> dict[tuple[str, int, str, int], list[Answer]]:
    """Return the answers to every question, in the order of questions: by picture, layer and cluster as first seen.

    Raises
    ------
    LisError : a question whose answers tell of different classes.
    """
    found: dict[tuple[str, int, str, int], list[Answer]] = {}
    for one in answers:
        same = found.setdefault(one.key, [])
        if same and same[0].target != one.target:
            raise LisError(
                f"the answers to question {'/'.join(map(str, one.key))} tell of class {same[0].target!r} and of "
                f"{one.target!r}; they are of different explanations."
            )
        same.append(one)
    first = {key[:3]: place for place, key in reversed(list(enumerate(found)))}
    # In a picture and layer by cluster; the same answers in another order make the same labels.
    return dict(sorted(found.items(), key=lambda item: (first[item[0][:3]], item[0][3])))


def clean_label(text: str, words: Sequence[str]) -> str:
    """Return a text in one spelling and without the words of a class; empty where nothing else was said."""
    return without_class(normalise_label(text), words)


def embed_texts(texts: Sequence[str], how: Embedding) -> dict[str, np.ndarray]:
    """Return the vector of every text.

    Raises
    ------
    LisError : an embedding that gives other than one finite vector a text.
    """
    if not texts:
        return {}
    vectors = np.asarray(how.encode(texts))
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise LisError(
            f"embedding {how.name!r} gave shape {list(vectors.shape)} for {len(texts)} texts; finite vectors [N, D] "
            "were expected."
        )
    return dict(zip(texts, vectors, strict=True))


def cluster_labels(
    answers: Sequence[Answer], cleaned: Sequence[str], vectors: Mapping[str, np.ndarray]
) -> list[_Label]:
    """Return the labels of one cluster, the best first; none where nothing was said but the class."""
    said = sorted(((text, one) for text, one in zip(cleaned, answers, strict=True) if text), key=_order)
    if not said:
        return []
    own = np.stack([vectors[text] for text, _ in said])
    groups = group_vectors(own)
    found = []
    for group in range(int(groups.max()) + 1):
        places = np.flatnonzero(groups == group)
        texts = [said[i][0] for i in places]
        given = [said[i][1] for i in places]
        found.append(
            _Label(
                representative(texts, own[places]),
                tuple(sorted(one.label.strip() for one in given)),
                tuple(one.step for one in given),
                tuple(one.guess == one.target for one in given),
                len(answers),
            )
        )
    return ranked(found)


def merge_clusters(
    clusters: Sequence[tuple[tuple[int, ...], list[_Label]]],
) -> list[tuple[tuple[int, ...], list[_Label]]]:
    """Merge clusters of one layer whose best label is the same: labels put together by their text, scored anew."""
    held = list(clusters)
    while True:
        best: dict[str, list[int]] = {}
        for place, (_, labels) in enumerate(held):
            best.setdefault(labels[0].label, []).append(place)
        twice = next((places for places in best.values() if len(places) > 1), None)
        if twice is None:
            return held
        members = tuple(sorted(one for place in twice for one in held[place][0]))
        pooled = pool_labels([held[place][1] for place in twice])
        held[twice[0]] = (members, pooled)
        held = [one for place, one in enumerate(held) if place not in twice[1:]]


def pool_labels(clusters: Sequence[list[_Label]]) -> list[_Label]:
    """Put the labels of several clusters together, those of one text as one, out of all their answers."""
    answers = sum(labels[0].answers for labels in clusters)
    found: dict[str, list[_Label]] = {}
    for labels in clusters:
        for one in labels:
            found.setdefault(one.label, []).append(one)
    return ranked([
        _Label(
            text,
            tuple(sorted(typed for one in same for typed in one.texts)),
            tuple(step for one in same for step in one.steps),
            tuple(hit for one in same for hit in one.hits),
            answers,
        )
        for text, same in found.items()
    ])  # fmt: skip


def ranked(labels: Iterable[_Label]) -> list[_Label]:
    """Sort labels by score, then by letters."""
    return sorted(labels, key=lambda one: (-round(one.score, 12), one.label))


def _order(said: tuple[str, Answer]) -> tuple[str, str, str]:
    return (said[0], said[1].player, said[1].time)


def _row(
    place: tuple[str, int, str], members: tuple[int, ...], target: str, rank: int, one: _Label
) -> tuple[Any, ...]:
    count = len(one.steps)
    return (*place, members, target, rank, one.label, one.score, count, one.answers, count / one.answers,
            float(np.mean(one.steps)), float(np.mean(one.hits)), one.texts)  # fmt: skip
