"""Train the bundled classifier and its judge: everything on the device, a minute on a GPU.

`python -m lis_toolkit.training.classifier --architecture plain --out fashion-classifier.safetensors`
`... --dataset cifar10 --data cifar-10-batches-bin --architecture plain --out cifar10.safetensors`
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..classifiers import Classifier, build_network, complete_config, fold_norms, save_classifier
from ..datasets import Photographs, load_fashion
from ..datasets_cifar import load_cifar10
from ..errors import LisError
from ..names import spelling_hint


def draw_uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return n uniform numbers on the generator's device."""
    return torch.rand(n, device=generator.device, generator=generator) * (high - low) + low


def shift(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `most` whole pixels on both axes; zeros come in."""
    n, _, height, width = x.shape
    steps = torch.randint(0, 2 * most + 1, (2, n, 1), device=x.device, generator=generator)
    rows = steps[0] + torch.arange(height, device=x.device)  # [N, H]
    columns = steps[1] + torch.arange(width, device=x.device)  # [N, W]
    first = torch.arange(n, device=x.device)[:, None, None]
    padded = F.pad(x, (most, most, most, most)).permute(0, 2, 3, 1)  # [N, H + 2 most, W + 2 most, C]
    return padded[first, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, left to right."""
    mirrored = draw_uniform(len(x), 0, 1, generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def erase(x: Tensor, share: float, smallest: float, largest: float, generator: torch.Generator) -> Tensor:
    """Fill a box in a `share` of the images with one random grey; box sides are in pixels."""
    n, _, height, width = x.shape
    top, left = draw_uniform(n, 0, height, generator), draw_uniform(n, 0, width, generator)
    tall, wide = (draw_uniform(n, smallest, largest, generator) for _ in range(2))
    rows = torch.arange(height, device=x.device) - top[:, None]  # [N, H]
    columns = torch.arange(width, device=x.device) - left[:, None]  # [N, W]
    box = (rows.abs() < tall[:, None] / 2)[:, :, None] & (columns.abs() < wide[:, None] / 2)[:, None, :]
    box &= (draw_uniform(n, 0, 1, generator) < share)[:, None, None]  # [N, H, W]
    grey = draw_uniform(n, 0, 1, generator)[:, None, None, None]
    return torch.where(box[:, None], grey.to(x.dtype), x)


def turn(x: Tensor, degrees: float, scale: float, move: float, generator: torch.Generator) -> Tensor:
    """Rotate, scale (both axes apart) and move each image, bilinearly; `move` in pixels, `scale` relative."""
    n, _, height, width = x.shape
    angle = draw_uniform(n, -math.radians(degrees), math.radians(degrees), generator)
    stretch = [draw_uniform(n, 1 - scale, 1 + scale, generator) for _ in range(2)]
    offset = [draw_uniform(n, -2 * move / side, 2 * move / side, generator) for side in (width, height)]
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack(
        [
            torch.stack([cos * stretch[0], -sin * stretch[0], offset[0]], 1),
            torch.stack([sin * stretch[1], cos * stretch[1], offset[1]], 1),
        ],
        1,
    )  # [N, 2, 3]
    grid = F.affine_grid(matrix, [n, 1, height, width], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", align_corners=False)


def augment_light(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts of up to 2 pixels, mirror images, a small box erased in a quarter of the images."""
    return erase(flip(shift(x, 2, generator), generator), 0.25, 4, 10, generator)


def augment_geometric(x: Tensor, generator: torch.Generator) -> Tensor:
    """Small rotations, scalings and shifts, mirror images, contrast, a small box erased in a quarter of the images."""
    x = flip(turn(x, 5, 0.06, 2, generator), generator)
    gain = draw_uniform(len(x), 0.9, 1.1, generator)[:, None, None, None]
    power = draw_uniform(len(x), -0.1, 0.1, generator).exp()[:, None, None, None]
    return erase((x.clamp(0, 1) ** power * gain).clamp(0, 1), 0.25, 4, 10, generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "light": augment_light,
    "geometric": augment_geometric,
    "none": lambda x, generator: x,
}


def shuffled_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of one epoch, on the generator's device, in whole batches (a remainder is left out)."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    size = min(batch_size, n)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


def decayed_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return optimiser groups in which only matrices and kernels decay, not biases and norms."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move a running average of weights and buffers towards `module`."""
    for old, new in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


@torch.no_grad()
def measure_accuracy(
    classifier: Classifier, photographs: Photographs, batch_size: int = 500
) -> dict[str, Any]:
    """Return top-1 accuracy, "overall" and "per_class", on the classifier's device."""
    right = []
    for start in range(0, len(photographs), batch_size):
        part = slice(start, start + batch_size)
        logits = classifier(photographs.images[part].to(classifier.device))
        right.append(logits.argmax(1).cpu() == photographs.labels[part].cpu())
    hit = torch.cat(right).double()  # [N]
    labels = photographs.labels.cpu()
    per_class = {
        name: round(float(hit[labels == k].mean()), 4)
        for k, name in enumerate(photographs.classes)
        if bool((labels == k).any())
    }
    return {"overall": round(float(hit.mean()), 6), "per_class": per_class, "images": len(hit)}


def train_classifier(
    architecture: str,
    photographs_train: Photographs,
    photographs_test: Photographs,
    *,
    config: Mapping[str, Any] | None = None,
    epochs: int = 40,
    batch_size: int = 512,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.05,
    ema: float = 0.998,
    augment: str = "light",
    seed: int = 0,
    device: str | torch.device = "cpu",
    name: str = "classifier",
    bfloat16: bool | None = None,
    progress: bool = True,
) -> Classifier:
    """Train a classifier with cross-entropy, AdamW, a one-cycle schedule and averaged weights.

    No label smoothing and no mixing of images: both make penultimate activations poorer.

    Parameters
    ----------
    architecture, config
        For `build_network`; channels and classes are those of the photographs.
    ema
        Decay per step of the averaged weights, which are the result.
    augment
        "light", "geometric" or "none".
    device, bfloat16
        Where to train, and whether products run in bfloat16 (default: anywhere but on a CPU, where few have it). The
        result is float32 and measured on the CPU.

    Returns
    -------
    Classifier
        On the CPU, in evaluation mode, normalisation folded in; settings and accuracy on `photographs_test` (which
        training never looks at) in its `metadata`.

    Raises
    ------
    LisError
        For settings that don't exist, or when training diverges.
    """
    if augment not in AUGMENTATIONS:
        raise LisError(
            f"no augmentation {augment!r}; there are {', '.join(AUGMENTATIONS)}.{spelling_hint(augment, AUGMENTATIONS)}"
        )
    if min(epochs, batch_size, len(photographs_train), len(photographs_test)) < 1:
        raise LisError("epochs, batch_size and both sets of photographs must be at least 1.")
    device = torch.device(device)
    half = device.type != "cpu" if bfloat16 is None else bfloat16
    images, labels = photographs_train.images.to(device), photographs_train.labels.to(device)
    channels = images.shape[1]
    settings = complete_config(
        architecture, {"channels": channels, "num_classes": len(photographs_train.classes), **(config or {})}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(architecture, settings)
        mean, std = images.mean((0, 2, 3)).tolist(), images.std((0, 2, 3)).tolist()
        described = {"architecture": architecture, "config": settings}
        classifier = Classifier(
            network,
            photographs_train.classes,
            channels=channels,
            size=images.shape[2:],
            mean=mean,
            std=std,
            name=name,
            metadata=described,
        ).to(device)
        generator = torch.Generator(device).manual_seed(seed)
        average = copy.deepcopy(classifier)
        optimizer = torch.optim.AdamW(decayed_groups(classifier, weight_decay), lr=learning_rate)
        per_epoch = len(images) // min(batch_size, len(images))
        steps = epochs * per_epoch
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=steps + 1, pct_start=0.2
        )
        step, seen = 0, torch.zeros(2, device=device)  # sums of loss and hits, read once an epoch
        bar = tqdm(total=steps, desc=f"{name} ({architecture})", unit="step", disable=not progress)
        for epoch in range(epochs):
            classifier.train()
            seen.zero_()
            for batch in shuffled_batches(len(images), batch_size, generator):
                x = AUGMENTATIONS[augment](images[batch], generator)
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    logits = classifier(x.contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(logits.float(), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                update_average(average, classifier, min(ema, step / (step + 10)))
                seen += torch.stack([loss.detach(), (logits.argmax(1) == labels[batch]).float().mean()])
                bar.update()
            loss_mean, hit_mean = (seen / per_epoch).tolist()
            if not math.isfinite(loss_mean):
                raise LisError(
                    f"training diverged in epoch {epoch + 1}: loss {loss_mean}. Lower learning_rate."
                )
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss_mean:.4f}", augmented_accuracy=f"{hit_mean:.4f}")
        bar.close()
    average = average.cpu()
    fold_norms(average)
    average.requires_grad_(False)
    average.metadata["training"] = {
        "images": len(images),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "ema": ema,
        "augment": augment,
        "seed": seed,
        "device": device.type,
        "bfloat16": half,
        "loss_last_epoch": loss_mean,
    }
    average.metadata["accuracy"] = {"test": measure_accuracy(average, photographs_test)}
    return average


def choose_device(device: str | None) -> torch.device:
    """Return the named device, or this machine's accelerator, or the CPU."""
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


RECIPES: dict[str, dict[str, Any]] = {  # of the bundled models: "fashion" and "fashion-judge"
    "plain": {"name": "fashion", "augment": "light", "seed": 0, "epochs": 14},
    "residual": {"name": "fashion-judge", "augment": "geometric", "seed": 1000, "epochs": 14},
}
DATASETS: dict[str, Callable[..., Photographs]] = {"fashion": load_fashion, "cifar10": load_cifar10}


def main(arguments: list[str] | None = None) -> None:
    """Train one of the two bundled classifiers, or one of its architecture on CIFAR-10, and save it."""
    parser = argparse.ArgumentParser(
        prog="python -m lis_toolkit.training.classifier", description=main.__doc__
    )
    parser.add_argument("--architecture", choices=sorted(RECIPES), required=True)
    parser.add_argument("--out", required=True, help="safetensors file to write")
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="fashion")
    parser.add_argument(
        "--data", help="folder with its files (default: Debian's package of Fashion-MNIST; the cache folder)"
    )
    parser.add_argument("--device", help="default: an accelerator if there is one, else the CPU")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--augment", choices=sorted(AUGMENTATIONS))
    parser.add_argument(
        "--bfloat16", action="store_true", default=None, help="on a CPU that has it (others: always)"
    )
    given = vars(parser.parse_args(arguments))
    recipe = dict(RECIPES[given["architecture"]])
    recipe["name"] = recipe["name"].replace("fashion", given["dataset"])
    load = DATASETS[given["dataset"]]
    recipe.update({k: given[k] for k in ("epochs", "seed", "augment") if given[k] is not None})
    try:
        classifier = train_classifier(
            given["architecture"],
            load("train", given["data"]),
            load("test", given["data"]),
            batch_size=given["batch_size"],
            device=choose_device(given["device"]),
            bfloat16=given["bfloat16"],
            **recipe,
        )
        if given["dataset"] == "fashion":
            # The sample is part of every installation, so anyone can repeat this figure.
            classifier.metadata["accuracy"]["sample"] = measure_accuracy(classifier, load_fashion("sample"))
        else:
            classifier.metadata["training"]["dataset"] = given["dataset"]
        save_classifier(classifier, given["out"])
    except LisError as error:
        sys.exit(f"error: {error}")
    accuracy = classifier.metadata["accuracy"]["test"]
    print(f"{given['out']}: test accuracy {accuracy['overall']:.4f}")
    print("  ".join(f"{k} {v:.3f}" for k, v in accuracy["per_class"].items()))


if __name__ == "__main__":
    main()
