"""Measure a generator with the judge, and write what was measured beside its weights.

Run as ``python -m lis_toolkit.training.model_card --generator generator.safetensors --judge judge.safetensors``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..classifiers import Classifier, load_classifier
from ..datasets import Photographs, load_fashion
from ..files import atomic_path
from ..quality import class_agreement, coverage_density, frechet_distance, nearest_distances
from ..stylegan import Generator, load_generator
from .classifier import choose_device

BATCH = 500
QUANTILES = (0.001, 0.01, 0.1, 0.5)  # of the distance to the nearest training image


@torch.no_grad()
def _judge(judge: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Give the judge's penultimate activations [N, R] and logits [N, K], batch by batch."""
    parts = [judge.features(x.to(judge.device)) for x in images.split(BATCH)]
    r = torch.cat(parts)
    return r, judge.head(r)


@torch.no_grad()
def sample_images(generator: Generator, samples: int, psi: float, seed: int) -> tuple[Tensor, Tensor]:
    """Render `samples` pictures with the classes in turn: images [N, C, H, W] and labels [N], on the device."""
    labels = torch.arange(samples) % max(generator.c_dim, 1)
    w = generator.map(generator.sample_z(samples, seed), labels, psi)
    return generator.render(w, batch_size=BATCH), labels.to(generator.device)


@torch.no_grad()
def measure_generator(
    generator: Generator,
    judge: Classifier,
    train: Photographs,
    test: Photographs,
    *,
    samples: int = 10_000,
    k: int = 5,
    seed: int = 1_000_000,
) -> dict[str, Any]:
    """Measure class agreement, coverage, density, Fréchet distance and near-copies in the features of a judge.

    Returns
    -------
    JSON-ready figures: the judge's accuracy on the test photographs; for psi 1.0 and 0.7 agreement (overall and by
    class), coverage, density, Fréchet distance to the test photographs; the same for training photographs, as the
    figure a perfect generator would have; quantiles of the distance to the nearest training image, in pixels (root
    mean square, unit range), of generated images and of test images.
    """
    device = generator.device
    judge = judge.to(device)
    test_r, test_logits = _judge(judge, test.images)
    accuracy, per_class = class_agreement(test_logits, test.labels.to(device))
    picked = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:samples]
    train_r, _ = _judge(judge, train.images[picked])
    coverage, density = coverage_density(test_r, train_r, k)
    figures: dict[str, Any] = {
        "samples": samples,
        "seed": seed,
        "k": k,
        "judge": {"name": judge.name, "hash": judge.hash, "accuracy_on_test_photographs": accuracy},
        "judge_accuracy_by_class": dict(zip(judge.classes, per_class.tolist(), strict=True)),
        "training_photographs": {
            "coverage": coverage,
            "density": density,
            "frechet_distance": frechet_distance(test_r, train_r),
        },
    }
    flat_train = train.images.flatten(1).to(device)
    pixels = flat_train.shape[1] ** 0.5
    quantiles = torch.tensor(QUANTILES, device=device)

    def nearest(images: Tensor) -> dict[str, float]:
        distance = nearest_distances(images.flatten(1).to(device), flat_train)[0][:, 0] / pixels
        values = distance.quantile(quantiles).tolist()
        return {f"{q:g}": round(v, 5) for q, v in zip(QUANTILES, values, strict=True)}

    figures["nearest_training_image_rms"] = {"test_photographs": nearest(test.images)}
    for psi in (1.0, 0.7):
        images, labels = sample_images(generator, samples, psi, seed)
        r, logits = _judge(judge, images)
        agreement, by_class = class_agreement(logits, labels)
        coverage, density = coverage_density(test_r, r, k)
        figures[f"psi_{psi}"] = {
            "class_agreement": agreement,
            "class_agreement_by_class": dict(zip(judge.classes, by_class.tolist(), strict=True)),
            "coverage": coverage,
            "density": density,
            "frechet_distance": frechet_distance(test_r, r),
        }
        figures["nearest_training_image_rms"][f"generated_psi_{psi}"] = nearest(images)
    return figures


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def generator_card(figures: dict[str, Any], training: dict[str, Any], size: int, weak: str) -> str:
    """Write the figures of `measure_generator` as a Markdown page."""
    judge, real = figures["judge"], figures["training_photographs"]
    rows = [("psi 1.0", figures["psi_1.0"]), ("psi 0.7", figures["psi_0.7"])]
    lines = [
        "# Generator `fashion`",
        "",
        "Class-conditional StyleGAN-XL at 32 px, one channel, in the ten classes of Fashion-MNIST, trained by",
        "`python -m lis_toolkit.training.generator` on the 60,000 training photographs (Fashion-MNIST, Xiao, Rasul and",
        f"Vollgraf 2017, MIT). {size / 1e6:.1f} MB. Licence: MIT.",
        "",
        "## Measured by the judge",
        "",
        f"`{judge['name']}` is right on {_percent(judge['accuracy_on_test_photographs'])} of the 10,000 test",
        "photographs, and nothing was trained against it. "
        f"{figures['samples']:,} samples, the classes in turn, seed {figures['seed']}.",
        f"Coverage and density after Naeem et al. 2020 with k = {figures['k']}, and the Fréchet distance, all against",
        "the test photographs, in the judge's penultimate activations. The last row is what as many training",
        "photographs get.",
        "",
        "| | classified as asked | coverage | density | Fréchet distance |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows:
        lines.append(
            f"| {name} | {_percent(row['class_agreement'])} | {row['coverage']:.3f} | {row['density']:.3f} | "
            f"{row['frechet_distance']:.2f} |"
        )
    lines += [
        f"| training photographs | | {real['coverage']:.3f} | {real['density']:.3f} | {real['frechet_distance']:.2f} |",
        "",
        "| class | judge on test photographs | psi 1.0 | psi 0.7 |",
        "|---|---|---|---|",
    ]
    for name, value in figures["judge_accuracy_by_class"].items():
        shares = [_percent(row["class_agreement_by_class"][name]) for _, row in rows]
        lines.append(f"| {name} | {_percent(value)} | {' | '.join(shares)} |")
    nearest = figures["nearest_training_image_rms"]
    quantiles = list(nearest["test_photographs"])
    lines += [
        "",
        "Near-copies: distance to the nearest of the 60,000 training images (root mean square over pixels, unit",
        "range), quantiles over 10,000 images. Generated images that were copies would be nearer",
        "than test photographs are.",
        "",
        "| quantile | " + " | ".join(f"{float(q):g}" for q in quantiles) + " |",
        "|---|" + "---|" * len(quantiles),
    ]
    for name, values in nearest.items():
        lines.append(
            f"| {name.replace('_', ' ')} | " + " | ".join(f"{values[q]:.4f}" for q in quantiles) + " |"
        )
    settings = ", ".join(f"{key} {value}" for key, value in training.items())
    lines += ["", "## Weak at", "", weak, "", "## Training", "", settings + ".", ""]
    return "\n".join(lines)


def classifier_card(classifier: Classifier, size: int, role: str) -> str:
    """Write what a classifier's file says of itself as a Markdown page."""
    notes = classifier.metadata
    accuracy = notes["accuracy"]["test"]
    parameters = sum(p.numel() for p in classifier.network.parameters())
    settings = ", ".join(f"{key} {value}" for key, value in notes["training"].items())
    lines = [
        f"# Classifier `{classifier.name}`",
        "",
        role,
        "",
        f"Architecture `{notes['architecture']}`, {parameters / 1e6:.2f} M parameters, {classifier.num_units}",
        f"penultimate units, {size / 1e6:.1f} MB. Trained by `python -m lis_toolkit.training.classifier` on the",
        "60,000 training photographs of Fashion-MNIST (MIT). Licence: MIT.",
        "",
        f"Top-1 on the {accuracy['images']:,} test photographs: {_percent(accuracy['overall'])}.",
        "",
        "| " + " | ".join(accuracy["per_class"]) + " |",
        "|" + "---|" * len(accuracy["per_class"]),
        "| " + " | ".join(_percent(v) for v in accuracy["per_class"].values()) + " |",
        "",
        "Weak at: shirts, which it takes for T-shirts, pullovers and coats; people disagree on these photographs too.",
        "",
        "## Training",
        "",
        settings + ".",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure a generator and print (or write) the figures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m lis_toolkit.training.model_card", description=main.__doc__
    )
    parser.add_argument("--generator", default="fashion")
    parser.add_argument("--judge", default="fashion-judge")
    parser.add_argument("--data", help="folder with Fashion-MNIST's IDX files (default: Debian's package)")
    parser.add_argument("--device", help="default: an accelerator if there is one, else the CPU")
    parser.add_argument("--out", help="JSON file to write")
    given = parser.parse_args(arguments)
    device = choose_device(given.device)
    figures = measure_generator(
        load_generator(given.generator, device),
        load_classifier(given.judge, device),
        load_fashion("train", given.data),
        load_fashion("test", given.data),
    )
    text = json.dumps(figures, indent=1)
    print(text)
    if given.out:
        with atomic_path(given.out) as path:
            Path(path).write_text(text + "\n")


if __name__ == "__main__":
    main()
