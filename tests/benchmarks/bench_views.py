"""Activations, explanations, topology, observers and labels: seconds against a named reference in the same run.

    python tests/benchmarks/bench_views.py --out tests/benchmarks/results/bench_views.json
    python tests/benchmarks/bench_views.py --parts extraction mapped --out tests/benchmarks/results/bench_views.json

A part replaces its own figures in the result and leaves the others. Contestants take turns; times are medians over
rounds, and "times the reference" is the median over rounds of a contestant's seconds over the reference's in the same
round. Where both must come to the same numbers, the largest difference stands beside.

`extraction`: eight layers of 1,000 photographs in one pass (ours), in one call of ours a layer, and by torchvision's
create_feature_extractor. `mapped`: 500 into a folder of memory-mapped files, and in memory; the mean of a layer by
either, the files still in the system's cache. `explanations`: explain_images with t-SNE, and with PCA and Ward's method
alone, seconds an image. `cka`: linear_cka and the plain formula with Gram matrices. `distances`: layer_distances by
number of points. `denoting`: the search for thresholds of all units by sorting, and a plain loop over units and cuts.
`observers`: in memory and streamed. `labels`: TF-IDF and Sentence-BERT, to the first label and for 50.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch

import lis_toolkit as lis
from lis_toolkit.activations import extract_activations, list_layers, sample_points


class Bench:
    """The bundled classifier, photographs, and what several parts need."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.classifier = lis.load_classifier("fashion")
        self.photographs = lis.load_fashion("sample")

    @property
    def images(self) -> torch.Tensor:
        return self.photographs.images

    @functools.cached_property
    def pooled(self) -> Any:
        """Activations of all layers, a number a channel."""
        return extract_activations(self.classifier, self.images, pool="mean")

    def race(
        self, contestants: dict[str, Callable[[], Any]], reference: str, rounds: int | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Let contestants take turns: their times, and what each returned last."""
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        values: dict[str, Any] = {}
        for turn in range((rounds or self.rounds) + 1):
            for name in list(contestants)[:: 1 if turn % 2 else -1]:
                values.pop(name, None)  # what the turn before made is no part of this one
                start = time.perf_counter()
                values[name] = contestants[name]()
                if turn:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
        figures = {
            name: {
                "seconds": rounded(statistics.median(taken)),
                f"times {reference}": rounded(
                    statistics.median(a / b for a, b in zip(taken, seconds[reference], strict=True))
                ),
                "runs": [rounded(second) for second in taken],
            }
            for name, taken in seconds.items()
        }
        return figures, values


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


class Whole(torch.nn.Module):
    """A network of ours as torchvision wants it: with a forward."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.head(self.network.features(x))


def extraction(bench: Bench) -> dict[str, Any]:
    from torchvision.models.feature_extraction import create_feature_extractor

    classifier, images = bench.classifier, bench.images
    layers = [layer for layer in list_layers(classifier) if len(layer.shape) == 3]
    names = [layer.name for layer in layers]
    theirs = create_feature_extractor(Whole(classifier.network), {f"network.{name}": name for name in names})

    @torch.no_grad()
    def torchvision() -> dict[str, torch.Tensor]:
        found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for batch in images.split(256):
            for name, values in theirs((batch - classifier.mean) / classifier.std).items():
                found[name].append(values)
        return {name: torch.cat(parts) for name, parts in found.items()}

    contestants = {
        "create_feature_extractor": torchvision,
        "one pass": lambda: extract_activations(classifier, images, layers),
        "a pass a layer": lambda: [extract_activations(classifier, images, layer) for layer in layers],
        "one pass, means": lambda: extract_activations(classifier, images, layers, pool="mean"),
    }
    figures, values = bench.race(contestants, "create_feature_extractor", 3)
    ours, reference = values["one pass"], values["create_feature_extractor"]
    apart = max(float((ours[name] - reference[name]).abs().max()) for name in names)
    return {"images": len(images), "layers": len(layers), "largest difference": apart, "contestants": figures}


def mapped(bench: Bench) -> dict[str, Any]:
    classifier, images = bench.classifier, bench.images[:500]
    with tempfile.TemporaryDirectory() as scratch:
        folders = iter(range(1000))

        def to_folder() -> Any:
            return extract_activations(classifier, images, out=Path(scratch) / str(next(folders)))

        contestants = {"in memory": lambda: extract_activations(classifier, images), "mapped": to_folder}
        figures, values = bench.race(contestants, "in memory", 3)
        name = values["mapped"].layers[0].name
        means = {
            f"mean of {name}, {how}": functools.partial(lambda found: found[name].mean(), found)
            for how, found in values.items()
        }
        reading, _ = bench.race(means, f"mean of {name}, in memory")
        same = all(bool(torch.equal(values["mapped"][k], values["in memory"][k])) for k in values["mapped"])
        size = sum(path.stat().st_size for path in values["mapped"].folder.iterdir())
    return {
        "images": len(images), "megabytes": rounded(size / 1e6), "the same to the last bit": same,
        "contestants": figures, "reading": reading,
    }  # fmt: skip


def explanations(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.saliency import explain_images

    x = bench.images[::125]  # 8 classes
    contestants = {
        method: functools.partial(explain_images, bench.classifier, x, method=method)
        for method in ("pca", "tsne")
    }
    figures, _ = bench.race(contestants, "pca", 1)
    for row in figures.values():
        row["seconds an image"] = rounded(row["seconds"] / len(x))
    return {"images": len(x), "contestants": figures}


def gram_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased linear CKA as Song et al. 2012 write HSIC_1, with both kernel matrices."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        rest = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        return float((np.trace(k @ m) + rest) / (n * (n - 3)))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5


def cka(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.topology import linear_cka

    layers = list_layers(bench.classifier)
    x, y = (bench.pooled[layer].numpy().astype(float) for layer in (layers[3], layers[-2]))
    x, y = x - x.mean(0), y - y.mean(0)
    contestants = {
        "Gram matrices": lambda: gram_cka(x, y),
        "linear_cka": lambda: linear_cka(x, y),
        "linear_cka, 250 rows at a time": lambda: linear_cka(x, y, batch_size=250),
    }
    figures, values = bench.race(contestants, "Gram matrices", 3)
    return {"rows": len(x), "columns": [x.shape[1], y.shape[1]], "values": values, "contestants": figures}


def distances(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.topology import layer_distances

    layers = [layer for layer in list_layers(bench.classifier) if len(layer.shape) == 3][1::2]
    clouds = sample_points(bench.classifier, bench.images, layers)
    contestants = {
        f"{points} points": functools.partial(layer_distances, clouds, points=points, repeats=1)
        for points in (50, 100, 200, 400)
    }
    figures, _ = bench.race(contestants, "50 points", 1)
    return {"layers": len(layers), "contestants": figures}


def plain_thresholds(x: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """Best F1 of every unit, by going through all units, cuts and both sides."""
    best = np.zeros(x.shape[1])
    for unit in range(x.shape[1]):
        column = x[:, unit]
        values = np.unique(column)
        for cut in (values[1:] + values[:-1]) / 2:
            for called in (column > cut, column <= cut):
                hits = int((called & holds).sum())
                best[unit] = max(best[unit], 2 * hits / (int(called.sum()) + int(holds.sum())))
    return best


def denoting(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.observers.thresholds import best_thresholds, rank_units_by_value

    x = bench.pooled["penultimate"][:500, :64].numpy().astype(float)
    holds = (bench.photographs.labels[:500] == bench.photographs.labels[0]).numpy()
    contestants = {
        "plain loop": lambda: plain_thresholds(x, holds),
        "by sorting": lambda: best_thresholds(rank_units_by_value(x), holds).score,
    }
    figures, values = bench.race(contestants, "plain loop", 1)
    apart = float(np.abs(values["plain loop"] - values["by sorting"]).max())
    return {"images": len(x), "units": x.shape[1], "largest difference": apart, "contestants": figures}


def observers(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.observers import class_attributes, image_statistics, join_attributes, train_observers

    attributes = join_attributes(
        class_attributes(bench.photographs.labels, bench.classifier.classes), image_statistics(bench.images)
    )
    found: dict[str, Any] = {"images": len(bench.images), "components": bench.pooled["penultimate"].shape[1]}
    for name in (attributes.names[0], attributes.names[1]):
        contestants = {
            title: functools.partial(
                train_observers, bench.pooled, attributes, names=name, layers=[bench.pooled.layers[-2].title],
                penalty=0.01, controls=0, streaming=streaming,
            )
            for title, streaming in (("in memory", False), ("streamed", True))
        }  # fmt: skip
        figures, values = bench.race(contestants, "in memory", 2)
        scores = {title: rounded(float(value.scores["score"].iloc[0])) for title, value in values.items()}
        found[name] = {"scores": scores, "contestants": figures}
    return found


def labels(bench: Bench) -> dict[str, Any]:
    from lis_toolkit.labels.embeddings import choose_embedding

    words = [f"{how} {what}" for how in ("long", "short", "striped", "dark", "left") for what in (
        "sleeve", "collar", "heel", "strap", "hem", "sole", "zip", "handle", "waist", "shoulder")]  # fmt: skip
    names = ("tfidf", "sentence-bert")
    loading = {}
    for name in names:  # the first call reads the model and checks its hash
        start = time.perf_counter()
        choose_embedding(name).encode(["sleeve"])
        loading[name] = rounded(time.perf_counter() - start)
    contestants = {name: functools.partial(choose_embedding(name).encode, words) for name in names}
    figures, _ = bench.race(contestants, "tfidf")
    return {"labels": len(words), "seconds to the first label": loading, "contestants": figures}


PARTS = {
    part.__name__: part
    for part in (extraction, mapped, explanations, cka, distances, denoting, observers, labels)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="of the quick parts; slow ones have fewer")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    result = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    bench = Bench(options.rounds)
    for name in options.parts:
        load, start = os.getloadavg()[0], time.perf_counter()
        found = PARTS[name](bench)
        result[name] = found | {
            "seconds in all": rounded(time.perf_counter() - start),
            "load_average_before": load,
            "hardware": machine.hardware() | {"threads": torch.get_num_threads()},
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "command": machine.command(),
        }
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
