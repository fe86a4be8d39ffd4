"""Do layer distances of two trainings agree? The second finding of Purvine et al. 2023, on models given by name.

    python tests/benchmarks/topology_findings.py --name fashion --models fashion FILE FILE --out RESULT
    python tests/benchmarks/topology_findings.py --name cifar --data cifar --root FOLDER --models FILE FILE --out RESULT

with RESULT = tests/benchmarks/results/topology_findings.json; a name replaces its own figures there and leaves the
others. Every model is compared with every other, and with a copy whose weights are drawn anew (`untrained`), the
control: what it shares with a trained one comes from the architecture and the images. Two such copies (`untrained` and
`untrained 2`) are compared with each other, too. Test images, 1,000 in a draw as in the paper, draws without a common
image. About two seconds a layer and draw.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import importlib.metadata
import itertools
import json
import math
from pathlib import Path

import machine
import torch

import lis_toolkit as lis
from lis_toolkit.activations import extract_activations, sample_points
from lis_toolkit.datasets_cifar import load_cifar10
from lis_toolkit.topology import compare_trainings, layer_distances


def redrawn(classifier: lis.Classifier, seed: int) -> lis.Classifier:
    """The same network with new, untrained weights."""
    other = copy.deepcopy(classifier)
    torch.manual_seed(seed)
    for module in other.network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return other


def plain(value: object) -> object:
    """Numbers to read, and None for those that are none."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--name", required=True, help="of these figures in the result")
    parser.add_argument(
        "--models", nargs="+", required=True, help="classifiers of one architecture: names or files"
    )
    parser.add_argument("--data", choices=("fashion", "cifar"), default="fashion")
    parser.add_argument("--root", help="folder of the data")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    load = lis.load_fashion if options.data == "fashion" else load_cifar10
    photographs = load("test", options.root)
    x = photographs.images[: options.draws * options.points]
    models = {Path(name).stem: lis.load_classifier(name) for name in options.models}
    first = next(iter(models.values()))
    labels = photographs.labels[: len(x)]
    accuracy = {
        name: float((lis.extract_features(model, x).predictions == labels).float().mean())
        for name, model in models.items()
    }
    trained = list(models)
    models |= {"untrained": redrawn(first, 101), "untrained 2": redrawn(first, 102)}
    clouds, pooled = {}, {}
    for name, model in models.items():
        clouds[name] = sample_points(model, x)
        layers = list(clouds[name])
        lis_layers = [cloud.layer for cloud in clouds[name].values()]
        means = extract_activations(model, x, layers, pool="mean")
        pooled[name] = {layer: torch.as_tensor(means[layer]) for layer in layers}
    asked = {
        "H1": (clouds, {"dim": 1}),
        "H0": (clouds, {"dim": 0}),
        "CKA of strongest positions": (clouds, {"measure": "cka"}),
        "CKA of means over positions": (pooled, {"measure": "cka"}),
        "RSA of means over positions": (pooled, {"measure": "rsa"}),
    }
    settings = {"repeats": options.draws, "points": options.points}
    figures: dict[str, dict[str, object]] = {}
    for measure, (sets, own) in asked.items():
        # All models at once, so that every diagram is computed once.
        every = {f"{name} {layer}": cloud for name in models for layer, cloud in sets[name].items()}
        joint = layer_distances(every, **own, **settings, progress=True)
        figures[measure] = {}
        place = {name: slice(i * len(layers), (i + 1) * len(layers)) for i, name in enumerate(models)}
        for a, b in itertools.combinations(models, 2):
            if a in trained[1:] and b not in trained:
                continue  # one control for the first is enough
            three = [joint.part(place[p], place[q]) for p, q in ((a, a), (b, b), (a, b))]
            agreement = compare_trainings(*three)
            found = dataclasses.asdict(agreement)
            if joint.raw is not None:  # without bringing clouds to one scale
                raw = [dataclasses.replace(d, values=d.raw) for d in three]
                found["in activation units"] = dataclasses.asdict(compare_trainings(*raw))
                found["bars"] = [d.sizes_a.mean(0).tolist() for d in three[:2]]
                found["floor"] = [d.floor_a.tolist() for d in three[:2]]
            found["within"] = [d.mean.tolist() for d in three[:2]]
            found["between"] = three[2].mean.tolist()
            figures[measure][f"{a} / {b}"] = found
            print(measure, "|", a, "/", b, "|", agreement, flush=True)
    told = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    told[options.name] = {
        "command": machine.command(),
        **machine.hardware(),
        "versions": {p: importlib.metadata.version(p) for p in ("lis-toolkit", "torch", "ripser", "scipy")},
        "images": len(x),
        "accuracy": plain(accuracy),
        "layers": [layer.title for layer in lis_layers],
        "hashes": {name: model.hash for name, model in models.items()},
        "figures": plain(figures),
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
