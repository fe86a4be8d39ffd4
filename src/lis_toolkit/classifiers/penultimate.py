"""Where a network is cut in two: images -> penultimate activations r [N, R] -> logits, and how r is taken from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import names
from ..errors import LisError


@dataclass(frozen=True)
class Split:
    """Where r is taken, and what makes logits of it.

    Attributes
    ----------
    kind : str
        "method" (`network.features`), "input" or "output" of the layer `point`, or "whole": the network's own output.
    point : str
        Name of that layer in the network; "" for "method" and "whole".
    head : str or None
        Name of the head in the network; None for a separate head, or for none.
    num_units, num_classes : int
        R and K; K is 0 without a head.
    explanation : str
        What was chosen and why, in sentences.
    """

    kind: str
    point: str
    head: str | None
    num_units: int
    num_classes: int
    explanation: str

    @property
    def text(self) -> str:
        """What a hash remembers: the places, not the sentences."""
        return f"{self.kind} {self.point} -> {self.head}"


class Captured:
    """What went into or came out of one layer while a network ran once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: list[Any] = []

    def only(self) -> Any:
        """Return the one value; a LisError when the layer ran never or several times."""
        if len(self.values) != 1:
            raise LisError(
                f"the layer {self.name!r} runs {len(self.values)} times for one batch, so it is not clear which r is "
                "meant; choose a layer that runs once."
            )
        return self.values[0]


@contextmanager
def capture(network: nn.Module, name: str, side: str) -> Iterator[Captured]:
    """Watch the first input ("input") or the output ("output") of a layer, as long as the block lasts.

    The hook is gone afterwards, whatever happened in the block; other threads that run the same network meanwhile are
    not seen. What was captured is a copy, since the next layer may write into it; gradients flow through.

    Examples
    --------
    >>> with capture(network, "fc", "input") as seen:
    ...     network(inputs)
    >>> r = seen.only()  # [N, R]
    """
    captured, mine = Captured(name), threading.get_ident()

    def keep(value: Any) -> None:
        if threading.get_ident() == mine:
            captured.values.append(value.clone() if isinstance(value, Tensor) else value)

    # Another thread may meet the hook before torch has noted that it takes keywords.
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        keep(args[0] if args else next(iter((kwargs or {}).values()), None))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        keep(output)

    layer = find_layer(network, name)
    if side == "input":
        handle = layer.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = layer.register_forward_hook(after)
    try:
        yield captured
    finally:
        handle.remove()


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """Return a layer by its name in `named_modules`; a LisError with a spelling hint if there is none."""
    try:
        return network.get_submodule(name)
    except AttributeError:
        known = [n for n, _ in network.named_modules() if n]
        last = ", ".join(map(repr, known[-6:])) or "none"
        raise LisError(
            f"{type(network).__name__} has no layer {name!r}; it has {len(known)}, the last are {last}."
            f"{names.spelling_hint(name, known)}"
        ) from None


def as_rows(r: Any, what: str) -> Tensor:
    """Return activations as [N, R] from [N, R] or [N, R, 1, 1]; a LisError that explains any other shape."""
    if not isinstance(r, Tensor):
        raise LisError(f"{what} is a {type(r).__name__}; a torch.Tensor [N, R] was expected.")
    if r.ndim > 2 and r.shape[2:].numel() == 1:
        r = r.flatten(1)
    if r.ndim != 2:
        kind = (
            "a map of positions" if r.ndim == 4 else "a list of tokens" if r.ndim == 3 else "no list of rows"
        )
        raise LisError(
            f"{what} has shape {list(r.shape)}, {kind}; penultimate activations are one row of numbers an image, "
            "[N, R] or [N, R, 1, 1]. Choose the layer after the pooling (or after the class token is taken)."
        )
    return r


def penultimate(network: nn.Module, split: Split, inputs: Tensor) -> Tensor:
    """Return r [N, R] of network inputs [N, C, H, W], where `split` says; differentiable."""
    if split.kind == "method":
        r: Tensor = network.features(inputs)  # type: ignore[operator]
        return r
    if split.kind == "whole":
        return as_rows(network(inputs), "the network's output")
    with capture(network, split.point, split.kind) as seen:
        network(inputs)
    return as_rows(seen.only(), f"the {split.kind} of {split.point!r}")


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is a linear head: `nn.Linear`, or a convolution that is one where there is one position."""
    return isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
    )


def apply_head(layer: nn.Module, r: Tensor) -> Tensor:
    """Return logits [..., K] of activations [..., R]."""
    if isinstance(layer, nn.Linear):
        return layer(r)  # type: ignore[no-any-return]
    rows = r.reshape(-1, r.shape[-1])  # other modules know of one batch dimension only
    logits = layer(rows[:, :, None, None]).flatten(1) if isinstance(layer, nn.Conv2d) else layer(rows)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(rows):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LisError(
            f"the head {type(layer).__name__} makes {shape} of activations {list(rows.shape)}; [{len(rows)}, K] was "
            "expected."
        )
    return logits.reshape(*r.shape[:-1], logits.shape[1])


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Let a network run in evaluation mode; every module gets its own mode back, for a frozen norm keeps its own."""
    training = {module: module.training for module in network.modules()}
    try:
        for module in training:
            module.training = False  # not .eval(), which a subclass may have given a meaning of its own
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Let a network run in evaluation mode and leave it as it was: training flags, buffers, random state."""
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
    ]
    places = {p.device for p in network.parameters() if p.device.type not in ("cpu", "meta")}
    kind = next(iter(places)).type if places else "cpu"
    indices = [p.index or 0 for p in places] if places else []
    try:
        with (
            torch.random.fork_rng(devices=indices, device_type=kind),
            torch.no_grad(),
            evaluating(network),
        ):
            yield
    finally:
        for module, name, buffer, value in buffers:
            if buffer is not None and value is not None and not torch.equal(buffer, value):
                buffer.copy_(value)
            module._buffers[name] = buffer
