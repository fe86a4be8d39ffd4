"""Explanations on disk: a folder of two tables, one file of tensors and a manifest that tells of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..activations import Layer
from ..errors import CheckpointError, LisError
from ..files import content_key, load_tensors, provenance, save_tensors, sha256_file
from ..folders import output_folder
from .explanation import Cluster, Explanation, LayerExplanation

__all__ = ["load_explanations", "save_explanations"]

FORMAT = "lis_toolkit explanations 1"
LAYERS, CLUSTERS, TENSORS, MANIFEST = (
    "layers.parquet", "clusters.parquet", "tensors.safetensors", "manifest.json",
)  # fmt: skip


def save_explanations(explanations: Iterable[Explanation], folder: str | os.PathLike[str]) -> None:
    """Write explanations of one classifier into a folder that is new, empty, or holds explanations already.

    Weights, maps, images and logits go into one safetensors file, clusters and layers into two Parquet tables, all else
    into manifest.json with what made them; nothing that is read back is executed.

    Parameters
    ----------
    explanations : of the same layers and classifier, and of images of one size.

    Raises
    ------
    LisError : explanations that differ in these, none at all, a folder that holds something else or can't be written.

    Examples
    --------
    >>> save_explanations(explain_images(classifier, x), "explanations")
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    _check_alike(given)
    place = check_folder(folder)
    first = given[0]
    facts = {
        "format": FORMAT,
        "count": len(given),
        "classes": list(first.classes),
        "layers": [
            [p.layer.name, p.layer.title, p.layer.kind, list(p.layer.shape), p.layer.depth]
            for p in first.layers
        ],
        "images": [
            {
                "target": e.target,
                "unit": e.unit,
                "index": e.index,
                "seen": list(e.seen),
                "notes": list(e.notes),
            }
            for e in given
        ],
        "settings": first.settings,
        "provenance": provenance(),
    }
    with output_folder(place) as temporary:
        _write_tables(given, temporary)
        save_tensors(temporary / TENSORS, _tensors(given), {"format": FORMAT})
        told = {
            **facts,
            "files": {name: sha256_file(temporary / name) for name in (LAYERS, CLUSTERS, TENSORS)},
        }
        told = json.loads(json.dumps(told))
        told["key"] = content_key(told)
        (temporary / MANIFEST).write_text(json.dumps(told, indent=1), encoding="utf-8")


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return where explanations can be saved: a new or empty folder, or one that holds explanations.

    Raises
    ------
    LisError : a folder that holds something else.
    """
    place = Path(folder).expanduser()
    if place.is_dir() and any(place.iterdir()) and not _holds_explanations(place):
        raise LisError(
            f"can't save explanations in {folder}: the folder holds something else; give a new or empty one."
        )
    return place


def load_explanations(folder: str | os.PathLike[str]) -> list[Explanation]:
    """Return the explanations that `save_explanations` wrote, checked.

    Raises
    ------
    CheckpointError : a file that is missing, damaged, or of another save.

    Examples
    --------
    >>> explanation_figure(load_explanations("explanations")[0])
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = Path(folder).expanduser()
    told = _read_manifest(place)
    for name, digest in told["files"].items():
        if not (place / name).is_file():
            raise CheckpointError(
                f"{place / name} is missing: the explanations are not complete; copy them again."
            )
        if sha256_file(place / name) != digest:
            raise CheckpointError(
                f"{place / name} is damaged or of another save than {MANIFEST}: copy it again."
            )
    tensors, _ = load_tensors(place / TENSORS)
    try:
        rows, clusters = (pq.ParquetFile(place / name).read().to_pylist() for name in (LAYERS, CLUSTERS))
        return _rebuild(told, tensors, rows, clusters)
    except (KeyError, IndexError, TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise CheckpointError(
            f"{place} does not hold whole explanations: {error}. Save them again."
        ) from error


def _check_alike(given: Sequence[Explanation]) -> None:
    if not given or not all(isinstance(e, Explanation) for e in given):
        kinds = sorted({type(e).__name__ for e in given}) or ["nothing"]
        raise LisError(f"explanations to save are {', '.join(kinds)}; at least one Explanation was expected.")
    first = given[0]
    for i, e in enumerate(given):
        for name, one, other in (
            ("layers", [p.layer for p in first.layers], [p.layer for p in e.layers]),
            ("image shape", list(first.image.shape), list(e.image.shape)),
            ("classes", first.classes, e.classes),
            ("settings", first.settings, e.settings),
        ):
            if one != other:
                raise LisError(
                    f"explanation {i} has other {name} than the first ({other!r}, {one!r}): save them in folders of "
                    "their own."
                )


def _tensors(given: Sequence[Explanation]) -> dict[str, Tensor]:
    """Weights [N, C] and maps [clusters, h, w] of every layer, images [N, C, H, W], scores [N], logits [N, K]."""
    tensors = {
        "images": torch.stack([e.image for e in given]),
        "scores": torch.tensor([e.score for e in given], dtype=torch.float64),
    }
    if given[0].logits is not None:
        tensors["logits"] = torch.stack([e.logits for e in given if e.logits is not None])
    for i, part in enumerate(given[0].layers):
        tensors[f"weights.{i}"] = torch.stack([e.layers[i].weights for e in given])
        maps = [c.map for e in given for c in (*e.layers[i].clusters, *e.layers[i].dropped)]
        tensors[f"maps.{i}"] = torch.stack(maps) if maps else torch.zeros(0, *part.layer.shape[1:])
    return tensors


def _write_tables(given: Sequence[Explanation], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, real, indices = pa.int64(), pa.float64(), pa.list_(pa.int64())
    layers = pa.table(
        {
            "image": pa.array([n for n, e in enumerate(given) for _ in e.layers], whole),
            "layer": pa.array([i for e in given for i in range(len(e.layers))], whole),
            "kept": pa.array([p.kept.tolist() for e in given for p in e.layers], indices),
            "silhouette": pa.array([p.silhouette for e in given for p in e.layers], real, from_pandas=False),
            "mass": pa.array([p.mass for e in given for p in e.layers], real),
        }
    )
    rows = [
        (n, i, shown, c.weight, list(c.members))
        for n, e in enumerate(given)
        for i, p in enumerate(e.layers)
        for shown, group in ((True, p.clusters), (False, p.dropped))
        for c in group
    ]
    names = (
        ("image", whole),
        ("layer", whole),
        ("shown", pa.bool_()),
        ("weight", real),
        ("members", indices),
    )
    clusters = pa.table(
        {name: pa.array([row[k] for row in rows], kind) for k, (name, kind) in enumerate(names)}
    )
    for name, table in ((LAYERS, layers), (CLUSTERS, clusters)):
        pq.write_table(table, folder / name, compression="zstd", write_page_checksum=True)


def _rebuild(
    told: dict[str, Any],
    tensors: dict[str, Tensor],
    rows: list[dict[str, Any]],
    clusters: list[dict[str, Any]],
) -> list[Explanation]:
    layers = [
        Layer(name, title, kind, tuple(shape), depth) for name, title, kind, shape, depth in told["layers"]
    ]
    used = [0] * len(layers)  # maps of each layer that have been given out
    grouped: dict[tuple[int, int], list[tuple[bool, Cluster]]] = {}
    # Maps lie in the order of the images, and within one shown clusters first, as the rows do.
    for row in clusters:
        i = row["layer"]
        cluster = Cluster(tuple(row["members"]), row["weight"], tensors[f"maps.{i}"][used[i]].clone())
        used[i] += 1
        grouped.setdefault((row["image"], i), []).append((row["shown"], cluster))
    parts: dict[tuple[int, int], LayerExplanation] = {}
    for row in rows:
        n, i = row["image"], row["layer"]
        own = grouped.get((n, i), [])
        shown, dropped = (tuple(c for flag, c in own if flag == wanted) for wanted in (True, False))
        kept = torch.tensor(row["kept"], dtype=torch.int64)
        weights = tensors[f"weights.{i}"][n].clone()
        parts[n, i] = LayerExplanation(
            layers[i], weights, kept, shown, dropped, row["silhouette"], len(own), row["mass"]
        )
    logits = tensors.get("logits")
    return [
        Explanation(
            image=tensors["images"][n].clone(),
            target=facts["target"],
            classes=tuple(told["classes"]),
            unit=facts["unit"],
            logits=None if logits is None else logits[n].clone(),
            score=float(tensors["scores"][n]),
            layers=tuple(parts[n, i] for i in range(len(layers))),
            seen=tuple(facts["seen"]),  # type: ignore[arg-type]
            index=facts["index"],
            notes=tuple(facts["notes"]),
            settings=dict(told["settings"]),
        )
        for n, facts in enumerate(told["images"])
    ]


def _holds_explanations(place: Path) -> bool:
    try:
        told = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("format") == FORMAT


def _read_manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: give a folder that save_explanations wrote.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}. Copy or save the explanations again."
        ) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of explanations: {FORMAT!r} was expected.")
    if told.get("key") != content_key(told) or set(told.get("files", ())) != {LAYERS, CLUSTERS, TENSORS}:
        raise CheckpointError(
            f"{path} is damaged (its key is not that of what it says): save the explanations again."
        )
    return told
