"""Throughput of extract_features against the bare network in the same batches, as a ratio within one run.

    python tests/benchmarks/bench_features.py --out tests/benchmarks/results/bench_features.json

The bare network gets normalised float32 images that are there already, and its results are thrown away; ours
checks the images, normalises them, keeps r and logits, and checks those. Contestants take turns, and the
ratio is the median over rounds. Weights don't change timings: where the bundled ones are missing, random ones are used.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import machine
import torch

from lis_toolkit.classifiers import Classifier, build_network, load_classifier
from lis_toolkit.datasets import FASHION_CLASSES, load_fashion
from lis_toolkit.errors import LisError
from lis_toolkit.features import extract_features


def classifier_of(name: str, device: str) -> tuple[Classifier, str]:
    try:
        return load_classifier(name, device), "bundled"
    except LisError:
        network = build_network({"fashion": "plain", "fashion-judge": "residual"}[name], {"norm": False})
        classifier = Classifier(
            network, FASHION_CLASSES, channels=1, size=(32, 32), mean=[0.2], std=[0.3], name=name
        )
        return classifier.to(device).eval().requires_grad_(False), "random"


@torch.no_grad()
def bare(classifier: Classifier, normalised: torch.Tensor, batch_size: int) -> None:
    network = classifier.network
    for batch in normalised.split(batch_size):
        y = network.head(network.features(batch.to(classifier.device)))
    float(y[0, 0])  # waits for an accelerator


def measure(name: str, device: str, images: torch.Tensor, batch_size: int, repeats: int) -> dict:
    classifier, weights = classifier_of(name, device)
    normalised = (images - classifier.mean.cpu()) / classifier.std.cpu()
    contestants = {
        "bare": lambda: bare(classifier, normalised, batch_size),
        "extract_features": lambda: extract_features(classifier, images, batch_size),
    }
    rates: dict[str, list[float]] = {k: [] for k in contestants}
    for i in range(repeats + 1):
        for k in list(contestants)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            contestants[k]()
            if i:  # the first round warms up
                rates[k].append(len(images) / (time.perf_counter() - start))
    ratios = [ours / plain for ours, plain in zip(rates["extract_features"], rates["bare"], strict=True)]
    median = {k: statistics.median(v) for k, v in rates.items()}
    return {
        "weights": weights,
        "images_per_second": {k: round(v, 1) for k, v in median.items()},
        "ratio (target >= 0.95)": round(statistics.median(ratios), 4),
        "runs": {k: [round(x, 1) for x in v] for k, v in rates.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    load = os.getloadavg()[0]
    sample = load_fashion("sample").images
    images = sample.repeat(-(-args.images // len(sample)), 1, 1, 1)[: args.images].contiguous()
    result = {
        "classifiers": {
            name: measure(name, args.device, images, args.batch_size, args.repeats)
            for name in ("fashion", "fashion-judge")
        },
        "sizes": {"images": args.images, "batch_size": args.batch_size, "dtype": "float32"},
        "load_average_before": load,
        "hardware": {
            "processor": machine.processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": args.device,
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "command": machine.command(),
    }
    machine.report(result, args.out)


if __name__ == "__main__":
    main()
