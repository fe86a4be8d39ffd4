"""Models small enough to run in milliseconds: a random generator, and a classifier that knows its pictures."""

from __future__ import annotations

from typing import Any

import torch

from lis_toolkit.classifiers import Classifier, build_network
from lis_toolkit.stylegan import Generator, GeneratorConfig, update_mean_latents

CLASSES = ("disc", "ring", "cross")
TINY: dict[str, Any] = {
    "z_dim": 8,
    "c_dim": 3,
    "w_dim": 12,
    "resolution": 16,
    "img_channels": 1,
    "channel_base": 64,
    "channel_max": 8,
    "num_layers": 4,
    "embedding_dim": 4,
    "margin": 2,
    "first_stopband": 2**1.5,
    "lrelu_upsampling": 1,
}


def tiny_generator(seed: int = 0, classes: Any = CLASSES, **changes: Any) -> Generator:
    """A random generator of 16-pixel pictures; `changes` go to its configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(GeneratorConfig(**{**TINY, **changes}), classes, "tiny")
        for name, value in generator.named_parameters():
            if name.endswith("bias") and "affine" not in name:
                torch.nn.init.normal_(value, std=0.1 if "synthesis" in name else 1.0)
            if name == "synthesis.input.affine.weight":
                torch.nn.init.normal_(value)  # a trained generator moves its pictures
    generator.synthesis.output_scale = 1.0  # random weights give little contrast
    update_mean_latents(generator, 200)
    return generator.eval().requires_grad_(False)


def tiny_classifier(generator: Generator, seed: int = 0, weight: float = 0.1) -> Classifier:
    """A random network whose linear head was fitted to the generator's own pictures.

    `weight` blurs the head, so that it agrees with the generator often but not always.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network("plain", {"num_classes": 3, "stem": 6, "stages": ((8, 1), (10, 1))})
        classifier = Classifier(
            network, CLASSES, channels=1, size=(16, 16), mean=[0.5], std=[0.02], name="tiny classifier"
        )
        classifier.eval().requires_grad_(False)
        labels = torch.arange(240) % 3
        r = classifier.features(
            generator.render(generator.map(generator.sample_z(240, 77), labels))
        )  # [N, R]
        center, spread = r.mean(dim=0), r.std(dim=0) + 1e-6
        design = torch.cat([(r - center) / spread, torch.ones(len(r), 1)], dim=1)
        wanted = torch.nn.functional.one_hot(labels, 3).float()
        ridge = design.T @ design + weight * len(r) * torch.eye(design.shape[1])
        fitted = torch.linalg.solve(ridge, design.T @ wanted)  # [R + 1, K]
        network.head.weight.copy_((fitted[:-1] / spread[:, None]).T)
        network.head.bias.copy_(fitted[-1] - fitted[:-1].T @ (center / spread))
    return classifier
