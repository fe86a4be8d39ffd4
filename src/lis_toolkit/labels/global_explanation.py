"""What a class is seen by, layer by layer: the labels of many pictures gathered, with examples."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..files import content_key, load_tensors, provenance, save_tensors, sha256_file
from ..folders import output_folder
from ..names import whole_number
from .embeddings import SAME, Embedding, choose_embedding
from .game import Game, Question
from .grouping import cosine_distances
from .processing import ClusterLabels, embed_texts
from .reveal import REVEAL_SHARES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["GlobalExplanation", "explain_globally"]

FORMAT = "lis_toolkit global explanation 1"
TABLE, PICTURES, MANIFEST = "labels.parquet", "pictures.safetensors", "manifest.json"
COLUMNS = ("class", "layer", "rank", "label", "score", "pictures", "of", "texts", "images", "examples")
MOST_LABELS = 5000  # whose distances to each other fit into memory (0.2 GB)
NONE = "none"  # what a table of labels by parts has for a cluster that covers no part


@dataclass(frozen=True)
class GlobalExplanation:
    """The best labels of every class and layer.

    Attributes
    ----------
    table : DataFrame, a row a label: class, layer, rank (1 is best), label, score (mean over the pictures of the
        class; 0 where a picture has not the label), pictures (that have it), of (pictures asked about), texts (tuple:
        labels that were put together), images (tuple of int: numbers of the pictures, the best first), examples (tuple
        of int: rows of `pictures`).
    classes, layers : names, in order.
    pictures : [P, C, H, W], example pictures with the cluster revealed; None without a game.
    provenance : versions and settings.
    titles : layer -> its title for people, where it has one.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    pictures: Tensor | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def of(self, which: str, layer: str | None = None) -> pd.DataFrame:
        """Return the rows of a class, perhaps of one of its layers.

        Raises
        ------
        LisError : a class or layer that was not explained.
        """
        from ..names import class_index

        name = self.classes[class_index(which, self.classes, "the global explanation")]
        rows = self.table["class"] == name
        if layer is not None:
            if layer not in self.layers:
                raise LisError(
                    f"the global explanation has no layer {layer!r}; it has {', '.join(self.layers)}."
                )
            rows &= self.table["layer"] == layer
        return self.table[rows].reset_index(drop=True)

    def figure(self, which: str) -> Figure:
        """Draw a class: `global_figure`."""
        from .global_figure import global_figure

        return global_figure(self, which)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into a folder: a Parquet table, the pictures, and a manifest in JSON.

        Raises
        ------
        LisError
            When the folder can't be written, or holds something else.
        """
        place = Path(folder).expanduser()
        if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / MANIFEST).is_file()):
            raise LisError(f"can't save in {folder}: there is something else; give a new or empty folder.")
        with output_folder(place) as temporary:
            stored = self.table.assign(**{name: self.table[name].map(list) for name in _LISTS})
            stored.to_parquet(temporary / TABLE, index=False)
            tensors = {} if self.pictures is None else {"pictures": self.pictures}
            save_tensors(temporary / PICTURES, tensors, {"format": FORMAT})
            told = {
                "format": FORMAT, "classes": list(self.classes), "layers": list(self.layers),
                "provenance": self.provenance, "titles": self.titles,
                "files": {name: sha256_file(temporary / name) for name in (TABLE, PICTURES)},
            }  # fmt: skip
            told = json.loads(json.dumps(told))
            told["key"] = content_key(told)
            (temporary / MANIFEST).write_text(json.dumps(told, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> GlobalExplanation:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged or of another kind.
        """
        import pandas as pd

        place = Path(folder).expanduser()
        try:
            told = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"there is no {place / MANIFEST}: give a folder that save wrote.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{place / MANIFEST} can't be read: {error}.") from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise CheckpointError(f"{place / MANIFEST} is of another kind; {FORMAT!r} was expected.")
        if told.get("key") != content_key(told):
            raise CheckpointError(
                f"{place / MANIFEST} is damaged (its key is not that of what it says): save or copy the folder again."
            )
        for name in (TABLE, PICTURES):
            if not (place / name).is_file() or sha256_file(place / name) != told["files"].get(name):
                raise CheckpointError(f"{place / name} is missing or damaged: save or copy the folder again.")
        table = pd.read_parquet(place / TABLE)
        table = table.assign(**{name: table[name].map(tuple) for name in _LISTS})
        tensors, _ = load_tensors(place / PICTURES)
        return cls(
            table,
            tuple(told["classes"]),
            tuple(told["layers"]),
            tensors.get("pictures"),
            told["provenance"],
            told["titles"],
        )


_LISTS = ("texts", "images", "examples")


def explain_globally(
    labels: ClusterLabels | pd.DataFrame,
    game: Game | Iterable[Any] | None = None,
    *,
    top: int = 5,
    examples: int = 4,
    layers: Sequence[str] | None = None,
    embed: str | Embedding | None = "same",
    score: str | None = None,
) -> GlobalExplanation:
    """Gather the labels of many pictures per class and layer: the best `top` of each, with example pictures.

    A label's score is its best score in each picture (0 where a picture has not got it), averaged over the pictures of
    the class that have labels in the layer. Labels no two of which are farther apart than a cosine distance of 0.4 are
    one; the one with most score stands for them. The paper says no more than that the labels are gathered: both are our
    reading.

    Parameters
    ----------
    labels : what `process_labels` returned; or a table with a row a cluster: image, layer, label, target or class,
        perhaps explanation, cluster (or clusters), title, such as `label_by_parts` gives. Rows without a
        label, or with "none", count as pictures without one.
    game : that was played, or explanations: for example pictures, and the order of layers.
    top : labels a class and layer.
    examples : pictures a label.
    layers : in this order; by default as in the game, else by name.
    score : column of such a table that holds the score; by default every label has 1, and the score of a class is the
        share of pictures with the label. (The score of `label_by_parts` is no share: it counts standard deviations.)
    embed : what is compared by: "same" (as the labels were, nothing for a table), None (equal texts only), or as in
        `process_labels`.

    Raises
    ------
    LisError : no labels, a table that lacks columns, scores that are not finite, more than 5,000 different
        labels to compare.

    Notes
    -----
    Source: Interpretable Network Visualizations, arXiv 2405.03301, global explanations.

    Examples
    --------
    >>> explained = explain_globally(process_labels(answers), game)
    >>> explained.of("Coat").head(5)
    """
    import pandas as pd

    top, examples = whole_number(top, "top", 1), whole_number(examples, "examples", 0)
    rows = label_rows(labels, score)
    if game is not None and not isinstance(game, Game):
        game = Game(game)
    if embed == "same":
        embed = labels.embedding if isinstance(labels, ClusterLabels) else None
    how = choose_embedding(embed) if isinstance(embed, str) else embed
    order = _layer_order(rows, game, layers)
    rows = [row for row in rows if row["layer"] in order]
    names = _same_labels(rows, how)
    questions = {} if game is None else _questions(game)
    found: list[tuple[Any, ...]] = []  # rows of the table
    shown: list[Tensor] = []
    classes = tuple(dict.fromkeys(sorted(row["class"] for row in rows)))
    for which in classes:
        for layer in order:
            own = [row for row in rows if row["class"] == which and row["layer"] == layer]
            for rank, one in enumerate(gather(own, names)[:top], 1):
                images = [row["image"] for row in one["rows"]]
                places = []
                for row in one["rows"][:examples]:
                    question = _question_of(row, questions)
                    if question is not None:
                        places.append(len(shown))
                        shown.append(question.picture(len(REVEAL_SHARES)))
                found.append((which, layer, rank, one["label"], one["score"], len(images), one["of"], one["texts"],
                              tuple(images), tuple(places)))  # fmt: skip
    sizes = {tuple(x.shape) for x in shown}
    pictures = torch.stack(shown) if shown and len(sizes) == 1 else None
    table = pd.DataFrame(found, columns=list(COLUMNS))
    if pictures is None:
        table["examples"] = [()] * len(table)
    settings = {
        "top": top,
        "examples": examples,
        "same_up_to": SAME,
        "embedding": None if how is None else how.name,
    }
    told = provenance(settings=settings)
    if isinstance(labels, ClusterLabels):
        told["labels"] = labels.provenance
    titles = {row["layer"]: row["title"] for row in rows if row["title"]}
    titles |= {} if game is None else {one.layer: one.title for one in game.questions if one.title}
    return GlobalExplanation(
        table, classes, order, pictures, told, {name: titles[name] for name in order if name in titles}
    )


def label_rows(labels: Any, score: str | None = None) -> list[dict[str, Any]]:
    """Return every label of every cluster: explanation, image, layer, clusters, class, label ("" for none), score.

    Raises
    ------
    LisError : what is no table of labels.
    """
    import pandas as pd

    column = "score" if isinstance(labels, ClusterLabels) else score
    if isinstance(labels, ClusterLabels):
        empty = labels.unlabelled.assign(label="", score=0.0)
        table = pd.concat([labels.table, empty], ignore_index=True) if len(empty) else labels.table
    else:
        table = labels
    if not isinstance(table, pd.DataFrame):
        raise LisError(
            f"the labels are {type(table).__name__}; what process_labels or label_by_parts returned was expected."
        )
    kind = "target" if "target" in table else "class"
    needed = ("image", "layer", "label", kind, *([column] if column else []))
    lacking = [name for name in needed if name not in table]
    if lacking:
        raise LisError(
            f"the table of labels has no column {lacking[0]!r}; it has {', '.join(map(str, table))}."
        )
    if not len(table):
        raise LisError("the table of labels is empty; there is nothing to gather.")
    found = []
    for row in table.to_dict("records"):
        label = row["label"] if isinstance(row["label"], str) and row["label"] != NONE else ""
        value = float(row[column] if column else 1.0) if label else 0.0
        if not np.isfinite(value):
            raise LisError(
                f"the label {label!r} of image {row['image']} has the score {value}; a number was expected."
            )
        clusters = row.get("clusters")
        single = row.get("cluster")
        if not isinstance(clusters, (tuple, list)):
            clusters = () if single is None or single != single else (int(single),)
        told = row.get("explanation")
        if not np.isfinite(row["image"]):
            raise LisError(
                f"the image of label {label!r} is {row['image']}; the number of a picture was expected."
            )
        found.append({
            "explanation": told if isinstance(told, str) else "", "image": int(row["image"]),
            "layer": str(row["layer"]), "clusters": tuple(clusters), "class": str(row[kind]),
            "label": label, "score": value,
            "title": row["title"] if isinstance(row.get("title"), str) else "",
        })  # fmt: skip
    return found


def gather(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
    """Gather the labels of one class and layer, the best first: label, score, of, texts, rows (the best a picture)."""
    pictures = {(row["explanation"], row["image"]) for row in rows}
    best: dict[str, dict[Any, dict[str, Any]]] = {}
    texts: dict[str, set[str]] = {}
    for row in rows:
        if not row["label"]:
            continue
        name = names[row["label"]]
        texts.setdefault(name, set()).add(row["label"])
        held = best.setdefault(name, {})
        key = (row["explanation"], row["image"])
        if key not in held or row["score"] > held[key]["score"]:
            held[key] = row
    found = [
        {
            "label": name,
            "score": sum(row["score"] for row in held.values()) / len(pictures),
            "of": len(pictures),
            "texts": tuple(sorted(texts[name])),
            "rows": sorted(held.values(), key=lambda row: (-row["score"], row["image"], row["explanation"])),
        }
        for name, held in best.items()
    ]
    return sorted(found, key=lambda one: (-round(one["score"], 12), one["label"]))


def _same_labels(rows: Sequence[dict[str, Any]], how: Embedding | None) -> dict[str, str]:
    """Return for every label the one that stands for it."""
    weight: dict[str, float] = {}
    for row in rows:
        if row["label"]:
            weight[row["label"]] = weight.get(row["label"], 0.0) + row["score"]
    texts = sorted(weight)
    if how is None or len(texts) < 2:
        return {text: text for text in texts}
    if len(texts) > MOST_LABELS:
        raise LisError(
            f"there are {len(texts)} different labels; more than {MOST_LABELS} can't be compared at once. "
            "Give embed=None, which puts equal ones together only."
        )
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    vectors = embed_texts(texts, how)
    apart = cosine_distances(np.stack([vectors[text] for text in texts]))
    groups = fcluster(linkage(squareform(apart, checks=False), "complete"), SAME, "distance")
    names = {}
    for group in np.unique(groups):
        same = [texts[i] for i in np.flatnonzero(groups == group)]
        stands = min(same, key=lambda text: (-round(weight[text], 12), text))
        names.update(dict.fromkeys(same, stands))
    return names


def _layer_order(
    rows: Sequence[dict[str, Any]], game: Game | None, layers: Sequence[str] | None
) -> tuple[str, ...]:
    there = list(dict.fromkeys(row["layer"] for row in rows))
    if layers is not None:
        wanted = [layers] if isinstance(layers, str) else list(layers)
        strange = [name for name in wanted if name not in there]
        if strange:
            raise LisError(f"there are no labels of layer {strange[0]!r}; there are of {', '.join(there)}.")
        return tuple(wanted)
    known = [] if game is None else list(dict.fromkeys(one.layer for one in game.questions))
    rest = sorted((name for name in there if name not in known), key=_by_number)
    return (*(name for name in known if name in there), *rest)


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """Sort "body.10" behind "body.9"."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _questions(game: Game) -> dict[tuple[Any, ...], Question]:
    """Return questions by their key, and by image, layer and cluster where that names just one."""
    found: dict[tuple[Any, ...], Question] = {}
    several: set[tuple[Any, ...]] = set()
    for one in game.questions:
        found[one.key] = one
        short = one.key[1:]
        if short in found:
            several.add(short)
        found[short] = one
    return {key: one for key, one in found.items() if key not in several}


def _question_of(row: dict[str, Any], questions: dict[tuple[Any, ...], Question]) -> Question | None:
    for cluster in row["clusters"]:
        short = (row["image"], row["layer"], cluster)
        one = questions.get((row["explanation"], *short) if row["explanation"] else short)
        if one is not None:
            return one
    return None
