"""torchvision's image classifiers by name, with the preprocessing and class names that belong to their weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import zoo
from ..errors import CheckpointError, LisError
from ..names import unique_names, whole_number
from .classifier import Classifier
from .preprocessing import Preprocess
from .state_dicts import fit_names, load_state, read_state

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception that only training uses


def load_torchvision(
    architecture: str,
    published: str,
    *,
    weights: str | os.PathLike[str] | None = "default",
    seed: int = 0,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    head: bool | None = None,
    progress: bool = True,
) -> Classifier:
    """Build one of torchvision's classifiers, on the CPU.

    Parameters
    ----------
    architecture, published
        Name of the network, and of its published weights, whose preprocessing and classes are taken.
    weights
        "default": the published ones, downloaded if need be; None: random, of `seed`; a path: one's own.
    classes, preprocess
        In place of those of the published weights.
    head
        False: leave the head out, and whatever a file says about it.
    progress
        Show the download.

    Raises
    ------
    LisError, CheckpointError
        As `load_classifier`.
    """
    if head is not None and head is not False:
        raise LisError(
            f"head is {head!r}; None (as it is) or False (left out) was expected for a named model."
        )
    member, note = _member(architecture, published), ""
    if weights is None:
        whole_number(seed, "seed", 0, 2**63 - 1)
        title, known = f"{architecture} (random weights, seed {seed})", f"random, seed {seed}"
        network = build(architecture, seed=seed, image_size=int(member.meta["min_size"][0]))
    else:
        title, known, source = f"{architecture}.{published}", published, os.fspath(weights)
        if weights == "default":
            source = os.fspath(zoo.locate(title, "classifier", progress))
        else:
            title, known = f"{architecture} ({os.path.basename(source)})", source
        state, note = read_state(source)
        network, more = _with_weights(architecture, state, source, head is False)
        note += more
    if classes is None and weights in (None, "default"):
        classes = unique_names(member.meta["categories"])
    made = _wrap(
        architecture,
        network,
        classes=classes if head is None else None,
        preprocess=member.transforms() if preprocess is None else preprocess,
        headless=head is False,
        name=title,
        metadata={"model": f"torchvision {architecture}", "weights": known},
    )
    made.explanation += note
    return made.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _member(architecture: str, published: str) -> Any:
    from torchvision import models

    return models.get_model_weights(architecture)[published]


def build(architecture: str, seed: int = 0, num_classes: int = 1000, image_size: int = 224) -> nn.Module:
    """Build an architecture with random weights that depend on the seed alone, for evaluation.

    `image_size` matters to vision transformers only, which have a weight for every place.
    """
    from torchvision import models

    settings: dict[str, Any] = {"num_classes": num_classes}
    if architecture in ("googlenet", "inception_v3"):  # as the networks of the published weights are
        settings |= {"aux_logits": False, "transform_input": True, "init_weights": False}
    if architecture.startswith("vit_"):
        settings["image_size"] = image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = models.get_model(architecture, weights=None, **settings)
    return network.eval()


def _head_name(architecture: str, network: nn.Module) -> str:
    """Name of the last linear layer (of SqueezeNet: of the last convolution)."""
    kind = nn.Conv2d if architecture.startswith("squeezenet") else nn.Linear
    return [name for name, layer in network.named_modules() if isinstance(layer, kind)][-1]


def _with_weights(
    architecture: str, state: Mapping[str, Tensor], source: str, headless: bool
) -> tuple[nn.Module, str]:
    """Build an architecture for these weights: with their number of classes and their image size."""
    network = build(architecture)
    head = _head_name(architecture, network)
    state, note = fit_names(state, network)
    settings = {"num_classes": 1000}
    weight, places = state.get(f"{head}.weight"), state.get("encoder.pos_embedding")
    if weight is not None and not headless and weight.ndim >= 2:
        settings["num_classes"] = len(weight)
    if architecture.startswith("vit_") and places is not None and places.ndim == 3:
        patch = network.get_submodule("conv_proj").kernel_size[0]  # type: ignore[index, union-attr]
        settings["image_size"] = math.isqrt(places.shape[1] - 1) * int(patch)
    if settings != {"num_classes": 1000}:
        try:
            network = build(architecture, **settings)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise CheckpointError(
                f"{source} does not fit {architecture} with {settings}: {error}."
            ) from error
    load_state(network, state, source, architecture, (*AUXILIARY, f"{head}.") if headless else AUXILIARY)
    return network, note


def _wrap(architecture: str, network: nn.Module, *, headless: bool, **facts: Any) -> Classifier:
    if architecture.startswith("squeezenet"):
        # Convolution, ReLU, average: no linear layer makes its logits, so r is what they are.
        made = Classifier(
            network, penultimate="classifier.3", head=False if headless else nn.Identity(), **facts
        )
        made.explanation += " SqueezeNet has no linear head: its r are the class scores themselves."
        return made
    if not headless:
        return Classifier(network, **facts)
    head = _head_name(architecture, network)
    parent, _, last = head.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    made = Classifier(network, head=False, **facts)
    made.explanation += f" The head {head!r} was left out."
    return made
