"""How faithful are cluster maps (INV) and Grad-CAM on real photographs, beside maps that know nothing?

    python tests/benchmarks/bench_faithfulness.py --out tests/benchmarks/results/bench_faithfulness.json
    python tests/benchmarks/bench_faithfulness.py --parts tsne --out tests/benchmarks/results/bench_faithfulness.json

500 photographs of the sample, 50 a class, the bundled classifier, the class that it sees. Deletion and insertion
against two baselines (blurred, black), saliency on the garment and its parts, the pointing game; means with bootstrap
intervals, and paired differences from Grad-CAM of the last convolution and from the best control of each measure.
`accounted`: how much of each layer's weight the shown clusters carry. `tsne`: the paper's grouping against PCA + Ward,
on 40 of the photographs. A part replaces its own figures in the file and leaves the others. Some 25 minutes on one busy
core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import machine
import torch

import lis_toolkit as lis
from lis_toolkit import saliency
from lis_toolkit.activations import list_layers
from lis_toolkit.files import provenance
from lis_toolkit.link_stats import records

STEPS = 16


def photographs(per_class: int) -> lis.Photographs:
    """The first photographs of every class of the sample."""
    sample = lis.load_fashion("sample")
    rows = [(sample.labels == k).nonzero()[:per_class, 0] for k in range(len(sample.classes))]
    return sample.subset(torch.cat(rows))


def faithfulness(classifier: lis.Classifier, baseline: str, per_class: int) -> dict[str, object]:
    layers = [layer for layer in list_layers(classifier) if layer.kind == "conv"]
    result = saliency.measure_faithfulness(
        classifier,
        photographs(per_class),
        saliency.explanation_maps(classifier, grad_cam_layers=layers),
        parts=lis.load_segmenter("fashion-pictures"),
        baseline=baseline,
        steps=STEPS,
        batch_size=250,
        progress=True,
    )
    table = result.table()
    against = {f"Grad-CAM {layers[-1].title.split(' · ')[0]}"}
    for measure in result.measures:
        rows = table[(table["measure"] == measure) & table["control"]].sort_values("mean")
        against.add(rows["method"].iloc[0 if measure == "deletion" else -1])
    differences = {name: records(result.differences(name)) for name in sorted(against)}
    return {"settings": result.settings, "table": records(table), "differences": differences,
            "by_part": records(result.by_part()) if baseline == "blur" else None}  # fmt: skip


def accounted(classifier: lis.Classifier, per_class: int) -> object:
    x = photographs(per_class).images
    return records(
        saliency.weights_accounted(saliency.explain_images(classifier, x, method="pca", progress=True))
    )


def tsne(classifier: lis.Classifier) -> dict[str, object]:
    """Cluster maps with the paper's grouping, on few photographs, against those of PCA + Ward."""
    x = photographs(4).images
    with torch.no_grad():
        seen = classifier.logits(x).argmax(1)
    maps = {}
    for method in ("pca", "tsne"):
        made = saliency.explanation_maps(classifier, method=method)(x, seen, torch.arange(len(x)))
        maps |= {f"{method}: {name}": value for name, value in made.items() if name.startswith("INV")}
    result = saliency.measure_faithfulness(classifier, x, maps, controls=(), steps=STEPS)
    names = [name.removeprefix("tsne: ") for name in maps if name.startswith("tsne")]
    rows = [
        row
        for name in names
        for row in records(result.differences(f"pca: {name}"))
        if row["method"] == f"tsne: {name}"
    ]
    return {"images": len(x), "differences": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["blur", "black", "accounted", "tsne"])
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = lis.load_classifier("fashion")
    out = arguments.out
    result = json.loads(out.read_text()) if out and out.exists() else {}
    result |= {"hardware": machine.hardware(), "provenance": provenance()}
    for part in arguments.parts:
        if part in ("blur", "black", "mean"):
            result[part] = faithfulness(classifier, part, arguments.per_class)
        elif part == "accounted":
            result[part] = accounted(classifier, arguments.per_class)
        else:
            result[part] = tsne(classifier)
        result.setdefault("commands", {})[part] = machine.command()
        machine.report(result, out)


if __name__ == "__main__":
    main()
