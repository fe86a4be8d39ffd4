"""timm's image classifiers by name, with the preprocessing of their own configuration; an optional extra."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .. import zoo
from ..errors import LisError
from ..names import spelling_hint, unique_names, whole_number
from .classifier import Classifier
from .preprocessing import Preprocess, ResizeCrop
from .state_dicts import fit_names, load_state, read_state


def load_timm(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = "default",
    seed: int = 0,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    head: bool | None = None,
) -> Classifier:
    """Build one of timm's classifiers, on the CPU; see `load_classifier` for the parameters.

    timm downloads published weights itself, into its own cache. Models without a head, such as DINO's, are encoders.

    Raises
    ------
    LisError
        When timm is not installed, has no such model, or can't get its weights.
    """
    timm = _timm()
    if head is not None and head is not False:
        raise LisError(
            f"head is {head!r}; None (as it is) or False (left out) was expected for a named model."
        )
    if not timm.is_model(name.partition(".")[0]):
        hint = spelling_hint(name, timm.list_models())
        raise LisError(f"timm {timm.__version__} has no model {name!r}.{hint} timm.list_models() lists them.")
    own = weights is not None and weights != "default"
    whole_number(seed, "seed", 0, 2**63 - 1)
    note, known, title = "", "published", f"timm:{name}"
    if weights == "default":
        try:
            network = timm.create_model(name, pretrained=True)
        except Exception as error:  # whatever its downloads and its hub raise
            reason = str(error).strip().split("\n")[0][:300]
            raise LisError(
                f"timm can't give the weights of {name!r} ({type(error).__name__}: {reason}). Without a network "
                "connection use weights=PATH, or weights=None for random ones."
            ) from error
    elif own and weights is not None:
        known, title = os.fspath(weights), f"timm:{name} ({os.path.basename(os.fspath(weights))})"
        state, note = read_state(weights)
        network = _create(timm, name, seed)
        state, more = fit_names(state, network)
        place = str(network.pretrained_cfg.get("classifier") or "")
        weight = state.get(f"{place}.weight")
        if weight is not None and head is None:
            network = _create(timm, name, seed, num_classes=len(weight))
        load_state(network, state, known, title, (f"{place}.",) if head is False else ())
        note += more
    else:
        known, title = f"random, seed {seed}", f"timm:{name} (random weights, seed {seed})"
        network = _create(timm, name, seed)
    if classes is None and not own:
        classes = _class_names(timm, network)
    if head is False:
        network.reset_classifier(0)
        note += " The head was left out."
    layer: Any = network.get_classifier()
    headless = head is False or getattr(network, "num_classes", 1) == 0 or isinstance(layer, nn.Identity)
    chosen = False if headless else layer if isinstance(layer, nn.Module) else None
    config = timm.data.resolve_model_data_config(network)
    made = Classifier(
        network.eval(),
        None if headless else classes,
        head=chosen,
        preprocess=_preprocess(config, name) if preprocess is None else preprocess,
        name=title,
        metadata={"model": f"timm {name}", "weights": known, "timm": timm.__version__},
    )
    made.explanation += note
    return made.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise LisError(
            f'models by "timm:NAME" need the package timm ({error}): pip install "lis-toolkit[timm]".'
        ) from error
    return timm


def _create(timm: Any, name: str, seed: int, **settings: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, pretrained=False, **settings)


def _preprocess(config: Mapping[str, Any], name: str) -> ResizeCrop:
    """Preprocessing of evaluation, as timm's `create_transform` makes it of the same configuration."""
    height, width = config["input_size"][1:]
    mode, share = config.get("crop_mode") or "center", config.get("crop_pct") or 0.875
    scaled = math.floor(height / share), math.floor(width / share)
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise LisError(
            f"timm's {name!r} wants its images cropped by {mode!r} to {height} x {width}, which is not known here: "
            "give preprocess=..., a callable on batches [N, 3, H, W] in the unit range."
        )
    resize = scaled if mode == "squash" else scaled[0]
    return ResizeCrop((height, width), resize, config["mean"], config["std"], config["interpolation"])


def _class_names(timm: Any, network: Any) -> Sequence[str] | None:
    subset = timm.data.infer_imagenet_subset(network)
    if subset == "imagenet-1k":
        return zoo.class_names("imagenet")  # torchvision's names, so that links and pairs agree on them
    if not subset:
        return None
    info = timm.data.ImageNetInfo(subset)
    return unique_names(info.index_to_description(k) for k in range(info.num_classes()))
