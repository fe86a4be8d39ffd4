"""A random segmenter of tiny pictures that gives every label some pixels."""

from __future__ import annotations

import torch

from lis_toolkit.parts import Legend, Segmenter


def tiny_segmenter(
    features, layers=(), names=("left", "right"), size=16, generator_hash="", seed=3, sharpness=3.0
):
    """A segmenter with random weights, made for maps [N, C, S, S], one a layer (pictures: a list of x alone).

    Its logits have a mean of 0 and a standard deviation of `sharpness` over them, for every label.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        made = Segmenter(
            Legend(("background", *names)),
            layers,
            [m.shape[1] for m in features],
            size,
            generator_hash=generator_hash,
        )
        made.eval().requires_grad_(False).normalize(features)
        last = made.convolutions[-1]
        last.bias.zero_()
        scale = sharpness / made(features).std(dim=(0, 2, 3))
        last.weight.mul_(scale[:, None, None, None])
        last.bias.sub_(made(features).mean(dim=(0, 2, 3)))
    return made
