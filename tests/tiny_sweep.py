"""The tiny models of tiny.py with a link and a segmenter, and what of a sweep's folder must not change."""

from __future__ import annotations

import json

import torch

from lis_toolkit.link import fit_link
from lis_toolkit.pairs import collect_pairs
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.segmenter import Segmenter
from lis_toolkit.sweep import Sweep
from tiny import tiny_classifier, tiny_generator

LEGEND = Legend(("background", "rim", "hub", "spoke"))


def tiny_segmenter(generator, seed=0):
    """Random weights on two of the generator's layers, whose labels change with the picture."""
    names = generator.synthesis.layer_names[1:3]
    channels = [spec.out_channels for spec in generator.architecture.layers if spec.name in names]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        segmenter = Segmenter(
            LEGEND,
            names,
            channels,
            generator.img_resolution,
            widths=(6, 6),
            dilations=(1, 1),
            generator_hash=generator.hash,
            name="tiny segmenter",
        )
    w = torch.randn(50, generator.w_dim, generator=torch.Generator().manual_seed(1))
    segmenter.normalize(generator.render_features(w, names)[1])
    for convolution in segmenter.convolutions:
        torch.nn.init.normal_(
            convolution.weight, std=1.0, generator=torch.Generator().manual_seed(convolution.weight.numel())
        )
    return segmenter.eval().requires_grad_(False)


def tiny_models(**changes):
    """Generator, classifier, link and segmenter that belong together."""
    generator = tiny_generator(**changes)
    classifier = tiny_classifier(generator)
    link = fit_link(collect_pairs(generator, classifier, per_class=30, psi=0.9, seed=1), penalty=0.01)
    return generator, classifier, link, tiny_segmenter(generator)


def content(folder):
    """Everything in the folder of a sweep but dates: names and bytes of its files."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest.pop("provenance")["date"]
    return files, manifest


def rows(folder):
    return Sweep.open(folder).table()
