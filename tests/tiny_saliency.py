"""Tiny classifiers of which every step can be followed by hand."""

import torch
from torch import nn

from lis_toolkit.classifiers import Classifier


class TinyNet(nn.Module):
    """Three convolutions with in-place ReLUs, means, a linear head."""

    def __init__(self, widths=(6, 8, 10), classes=3):
        super().__init__()
        layers, inputs = [], 1
        for i, width in enumerate(widths):
            layers += [nn.Conv2d(inputs, width, 3, 1 + (i > 0), 1), nn.ReLU(inplace=True)]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def features(self, x):
        return self.body(x).mean((2, 3))


def small_classifier(seed=0, widths=(6, 8, 10), size=12, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TinyNet(widths)
    told = {"mean": [0.5], "std": [0.25], "channels": 1, "size": (size, size), "name": "small"}
    return Classifier(network.eval(), ("disc", "ring", "cross"), **{**told, **more})


def small_images(count=5, size=12, seed=1):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def by_hand(classifier, image, target=None, unit=None):
    """Maps after every ReLU, and the gradients of the score by them, module by module, without hooks."""
    value = ((image[None] - 0.5) / 0.25).requires_grad_(True)
    maps = []
    for module in classifier.network.body:
        value = torch.relu(value) if isinstance(module, nn.ReLU) else module(value)
        if isinstance(module, nn.ReLU):
            maps.append(value)
    r = value.mean((2, 3))
    logits = classifier.network.head(r)
    score = r[0, unit] if unit is not None else logits[0, logits.argmax() if target is None else target]
    return [m[0].detach() for m in maps], [g[0] for g in torch.autograd.grad(score, maps)], logits[0].detach()
