"""Weights from files of others: state dicts read without executing anything, and fitted to a network's own names."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, LisError
from ..files import load_tensors

# Where training scripts put the weights in what they save.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "module",
    "weights",
    "model_ema",
    "teacher",
)
NEEDLESS = ("num_batches_tracked", "total_ops", "total_params")  # a counter, and what profilers leave behind
SHOWN = 4  # names in a message
# torchvision's files for DenseNet are older than its module names, which have no dots any more.
_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """Read a state dict: safetensors, or a file of torch.save, which is read as weights only.

    Returns
    -------
    The tensors by name, and a sentence that says where in the file they were ("" for at the top).

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, holds more than weights, or no weights.
    """
    path = Path(path).expanduser()
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"can't read weights from {path}: {error.strerror or error}.") from error
    if start[8:9] == b"{" and start[:4] != b"PK\x03\x04":  # the length of its JSON, then the JSON
        return load_tensors(path)[0], ""
    try:
        # Files from before torch 1.6 are no zip archives and can't be mapped into memory.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=start[:4] == b"PK\x03\x04")
    except Exception as error:  # a damaged file can provoke any of them
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"{path} can't be read as weights ({type(error).__name__}: {reason}). It is damaged, or more than weights "
            "was saved in it: save model.state_dict() alone, with torch.save or as safetensors."
        ) from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    inside = ""
    for _ in range(4):
        if not isinstance(content, Mapping):
            break
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if len(tensors) > 1 or (tensors and len(tensors) == len(content)):
            return tensors, f" The weights are in its entry {inside!r}." if inside else ""
        key = next((k for k in WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if key is None:
            break
        inside, content = f"{inside}.{key}".lstrip("."), content[key]
    found = list(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(
        f"{path} holds no state dict: {found} was found where tensors by name were expected, at the top or in one of "
        f"{', '.join(WRAPPERS)}."
    )


def fit_names(state: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Return the weights under the network's own names, without a common prefix, and a sentence that says so.

    Prefixes such as "module." or "module.encoder_q." come from what the network was part of in training; weights of
    the other parts are left out.
    """
    state = {_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    own = set(network.state_dict())
    # A prefix is what stands before a name of the network's; the one that fits most of them is meant.
    some = [*own][:: max(1, len(own) // 8)]
    prefixes = {""} | {key[: -len(name)] for name in some for key in state if key.endswith("." + name)}
    hits = {p: sum(p + name in state for name in own) for p in sorted(prefixes)}
    prefix = max(hits, key=lambda p: hits[p])
    if not prefix:
        return state, ""
    chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    left = len(state) - len(chosen)
    others = f"; {left} others are left out" if left else ""
    return chosen, f" Those that start with {prefix!r} are taken{others}."


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], source: str, name: str, optional: tuple[str, ...] = ()
) -> None:
    """Put weights into a network, in place.

    Parameters
    ----------
    source, name
        Of the weights and of the network, for messages.
    optional
        Beginnings of names that are not looked at on either side.

    Raises
    ------
    CheckpointError
        When names are missing or unexpected, shapes differ, or values are NaN; names the first of them.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state and not k.endswith(NEEDLESS) and not k.startswith(optional)]
    unexpected = [
        k for k in state if k not in own and not k.endswith(NEEDLESS) and not k.startswith(optional)
    ]
    shared = {k: v for k, v in state.items() if k in own and not (optional and k.startswith(optional))}
    other = [
        f"{k!r} is {list(v.shape)} there and {list(own[k].shape)} here"
        for k, v in shared.items()
        if v.shape != own[k].shape
    ]
    wrong = []
    for what, found in (("missing", missing), ("unexpected", unexpected)):
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            wrong.append(f"{what}: {', '.join(map(repr, found[:SHOWN]))}{more}")
    if other:
        wrong.append(f"other shapes: {', '.join(other[:SHOWN])} ({len(other)} in all)")
    if wrong:
        raise CheckpointError(f"{source} does not fit {name}: {'; '.join(wrong)}.")
    broken = [k for k, v in shared.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise CheckpointError(f"{source} has NaN or infinite values in {broken[0]!r}: it is damaged.")
    fitted = OrderedDict(shared)
    fitted._metadata = own._metadata  # type: ignore[attr-defined]  # versions of the layers, which MNASNet asks for
    try:
        network.load_state_dict(fitted, strict=False)
    except RuntimeError as error:
        raise LisError(f"{source} does not fit {name}: {error}.") from error
