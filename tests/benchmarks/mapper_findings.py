"""Do later layers separate classes more purely? The paper's mapper, over models, data and samplings, with controls.

    python tests/benchmarks/mapper_findings.py --cifar FOLDER --models FOLDER \\
        --out tests/benchmarks/results/mapper_findings.json

For every model and sampling: purity by layer as in the paper, what shuffled classes give, the share of main classes,
noise and nodes; its trend over layers; and the same with eps at a fixed share of cores, so that no layer calls more
points noise than another by its knee. Controls that nobody trained: the same networks with random weights.
"""

import argparse
import copy
import importlib.metadata
import json
from pathlib import Path

import torch
from machine import command, hardware

import lis_toolkit as lis
from lis_toolkit import activations
from lis_toolkit.datasets_cifar import load_cifar10
from lis_toolkit.topology import mapper_graph, neighbour_distances, purity_by_layer, purity_trend

GROUND = ("foreground", "background")
CORES = 0.9  # share of points that are cores of clusters, in the control
COLUMNS = ("purity", "excess", "majority_purity", "majority_excess", "noise")


def subset(photographs, count, seed):
    """Return so many photographs, all equally likely, in their order."""
    draws = torch.Generator().manual_seed(seed)
    return photographs.subset(torch.randperm(len(photographs), generator=draws)[:count].sort().values)


def accuracy(classifier, photographs):
    """Return the share of photographs that are seen as what they are."""
    found = torch.cat(
        [classifier.head(classifier.features(x)).argmax(1) for x in photographs.images.split(250)]
    )
    return round(float((found == photographs.labels).float().mean()), 4)


def untrained(classifier, seed):
    """Return a copy of a classifier with the random weights that training begins with."""
    torch.manual_seed(seed)
    twin = copy.deepcopy(classifier)
    for module in twin.network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return twin


def one(classifier, photographs, how, limit, permutations, masks):
    """Return purity by layer, with the knee and with a fixed share of cores, and their trends."""
    own = {"masks": masks} if how in GROUND else {}
    clouds = activations.sample_points(classifier, photographs, how=how, limit=limit, **own)
    settings = {"labels": photographs.labels, "classes": photographs.classes, "permutations": permutations,
                "resamples": 500, "kinds": ("classes", "majority")}  # fmt: skip
    knee = purity_by_layer(clouds, **settings)
    fixed = {
        name: mapper_graph(cloud, photographs.labels, photographs.classes,
                           eps=float(neighbour_distances(cloud.points.numpy(), 5)[int(CORES * len(cloud))]) + 1e-9)
        for name, cloud in clouds.items()
    }  # fmt: skip
    even = purity_by_layer(fixed, **settings)
    even["depth"] = knee["depth"]
    found = {}
    for name, table in (("knee", knee), ("even", even)):
        trends = {column: purity_trend(table, column) for column in COLUMNS}
        found[name] = {
            "layers": table["title"].tolist(),
            **{c: [round(v, 4) for v in table[c].tolist()]
               for c in ("purity", "low", "high", "null", "excess", "majority_purity", "majority_null", "noise")},
            **{c: table[c].tolist() for c in ("nodes", "parts", "points", "median_size")},
            "trends": {c: [round(t.slope, 3), round(t.spearman, 3), round(t.p_value, 5)] for c, t in trends.items()},
        }  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", type=Path, help="folder of other trainings: fashion-*.safetensors, cifar-*"
    )
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10's files")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--limit", type=int, default=4000, help="points a layer at most")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument(
        "--samplings", nargs="+", default=["strongest", "random", "all", "foreground", "background"]
    )
    parser.add_argument("--untrained", type=int, default=2, help="controls with random weights a data set")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [("fashion", "fashion sample", lis.load_fashion("sample")),
            ("fashion", "fashion test", subset(lis.load_fashion("test"), args.images, 0))]  # fmt: skip
    others = sorted(args.models.glob("*.safetensors")) if args.models else []
    for path in others:
        if path.stem.startswith("fashion"):
            runs.append((path, runs[1][1], runs[1][2]))
        elif args.cifar:
            runs.append((path, "cifar10 test", subset(load_cifar10("test", args.cifar), args.images, 0)))
    results, masks, seen = [], {}, set()  # masks of each data set, found once
    for model, data, photographs in runs:
        classifier = lis.load_classifier(model)
        named = [(model if isinstance(model, str) else model.stem, classifier)]
        if data not in seen:
            named += [(f"untrained {seed}", untrained(classifier, seed)) for seed in range(args.untrained)]
        seen.add(data)
        for name, network in named:
            for how in args.samplings:
                if how in GROUND and data not in masks:
                    masks[data] = activations.foreground_masks(photographs)
                found = one(network, photographs, how, args.limit, args.permutations, masks.get(data))
                results.append({"model": name, "data": data, "images": len(photographs), "sampling": how,
                                "accuracy": accuracy(network, photographs), **found})  # fmt: skip
                for kind in ("knee", "even"):
                    told = found[kind]
                    print(name, data, how, kind, "purity", told["purity"], "excess", told["excess"],
                          "noise", told["noise"], told["trends"]["excess"], flush=True)  # fmt: skip
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "numpy", "scikit-learn", "kmapper")
    }
    facts = {"command": command(), "hardware": hardware(), "versions": versions, "cores": CORES}
    if args.out:  # a line each: sixteen thousand lines of one number would be read by nobody
        lines = ",\n".join(json.dumps(result) for result in results)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f'{json.dumps(facts)[:-1]}, "results": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    with torch.no_grad():
        main()
