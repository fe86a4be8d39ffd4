"""What observers find in a classifier on real photographs: the figures behind each claim, with command and versions.

python tests/benchmarks/observer_findings.py --out tests/benchmarks/results/observer_findings.json
python tests/benchmarks/observer_findings.py --classifier cifar-0.safetensors --cifar FOLDER --out cifar.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import command, hardware, report

import lis_toolkit as lis
from lis_toolkit.files import provenance
from lis_toolkit.link_stats import records
from lis_toolkit.observers import (
    class_attributes,
    compare_with_ranking,
    denoting_figure,
    depth_dependence,
    find_denoting_units,
    image_statistics,
    join_attributes,
    observe_state,
    part_attributes,
    score_figure,
    score_units,
    sparse_figure,
    superclass_attributes,
    train_observers,
    train_sparse_observer,
    weight_figure,
)

KEPT = ["layer", "attribute", "measure", "score", "low", "high", "balanced", "baseline", "control", "selectivity",
        "selectivity_low", "selectivity_high", "penalty", "status"]  # fmt: skip


def agreement(state: Any, photographs: Any, per_class: int) -> list[dict[str, Any]]:
    """Units' values for the sleeve on photographs against screened units, set alone and with companions."""
    generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
    pairs = lis.collect_pairs(generator, classifier, per_class=per_class, psi=0.7, seed=0)
    link = lis.fit_link(pairs)
    sleeved = [
        photographs.classes.index(name) for name in ("T-shirt/top", "Pullover", "Coat", "Shirt", "Dress")
    ]
    rows = torch.cat([(pairs.labels == k).nonzero()[:6, 0] for k in sleeved])
    chosen = np.flatnonzero(np.isin(photographs.labels.numpy(), sleeved))
    worn = photographs.subset(torch.as_tensor(chosen))
    measures = lis.measure_photographs(lis.load_segmenter("fashion-pictures"), worn.images)
    told = score_units(
        state.subset(chosen), part_attributes(measures, ["sleeve.area"]), "sleeve.area",
        within=worn.labels,
    )  # fmt: skip
    found = []
    for way, directions in (("alone", None), ("with companions", lis.companion_directions(pairs))):
        screened = lis.screen_units(
            generator, lis.load_segmenter("fashion"), link, pairs.r[rows], method="principal", products=32,
            directions=directions,
        )  # fmt: skip
        ranking = lis.rank_units(screened.to_frame(), "sleeve", "area")
        for view in ("auc", "weight"):
            one = compare_with_ranking(told, ranking, view=view)
            found.append({"set": way, "view": view, "spearman": one.spearman, "low": one.low, "high": one.high,
                          "p": one.p, "same_sign": one.same_sign, "units": one.units, "photographs": len(chosen),
                          "disagreeing": one.disagreeing(6), "r2_of_all_units": told.attrs["r2"]})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", default="fashion")
    parser.add_argument("--split", default="test", help="of Fashion-MNIST: sample or test")
    parser.add_argument(
        "--cifar", default=None, help="folder of CIFAR-10's files; its test photographs are taken"
    )
    parser.add_argument("--limit", type=int, default=None, help="only the first so many photographs")
    parser.add_argument("--controls", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=200, help="pairs of the link")
    parser.add_argument("--figures", default=None, help="folder for figures")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    begin = time.time()
    classifier = lis.load_classifier(options.classifier)
    photographs = (
        lis.load_fashion(options.split) if options.cifar is None else lis.load_cifar10("test", options.cifar)
    )
    if options.limit:
        photographs = photographs.subset(torch.arange(options.limit))
    labels, classes = photographs.labels, photographs.classes
    attributes = join_attributes(
        class_attributes(labels, classes),
        superclass_attributes(labels, classes),
        image_statistics(photographs.images),
    )
    state = observe_state(classifier, photographs)
    observers = train_observers(state, attributes, controls=options.controls)
    every = train_observers(state, attributes, names=["class", "superclass"], layers="all", controls=1)
    found = find_denoting_units(state, attributes, shuffles=3, quantiles=(0.5, 0.9))
    classes_only = find_denoting_units(state, attributes, names=["class", "superclass"], shuffles=3)
    sparse = train_sparse_observer(state, attributes, "class", state.layers[-1], draws=3)
    result: dict[str, Any] = {
        "command": command(), "hardware": hardware(), "versions": provenance(), "classifier": classifier.name,
        "classifier_hash": classifier.hash, "photographs": len(photographs), "layers": state.layers,
        "observers": observers.scores[KEPT].round(4), "all_layers": every.scores[KEPT].round(4),
        "denoting": {
            "sentence": str(found), "by_layer": found.by_layer().round(4),
            "best": found.best(1)[["attribute", "value", "label_share", "layer", "unit", "direction", "precision",
                                   "recall", "f1", "f1_low", "f1_high", "auc", "chance", "denotes"]].round(4),
            "depth": depth_dependence(found).table.round(4),
            "depth_of_classes": depth_dependence(classes_only).table.round(4),
        },
        "sparse": {"sentence": str(sparse), "curve": sparse.curve.round(4)},
    }  # fmt: skip
    if options.figures:
        folder = Path(options.figures)
        folder.mkdir(parents=True, exist_ok=True)
        score_figure(observers).savefig(folder / "scores.png")
        weight_figure(observers, "class").savefig(folder / "weights.png")
        denoting_figure(found).savefig(folder / "denoting.png")
        sparse_figure(sparse).savefig(folder / "sparse.png")
    if options.cifar is None and options.per_class:
        result["agreement"] = agreement(state, photographs, options.per_class)
    result["minutes"] = round((time.time() - begin) / 60, 2)
    report(records(result), options.out)


if __name__ == "__main__":
    main()
