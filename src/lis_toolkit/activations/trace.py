"""One run of a network on random images, watched: which modules run, in which order, and what follows a convolution."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..classifiers import Classifier
from ..classifiers.penultimate import untouched
from ..classifiers.preprocessing import probe_images

# Elementwise non-linearities by their class names: torch's own, and those of the usual model collections.
_NAMES = """ReLU ReLU6 LeakyReLU PReLU RReLU ELU CELU SELU GELU SiLU Swish Mish Sigmoid LogSigmoid Tanh Softplus
Softsign Softshrink Hardshrink Tanhshrink Threshold Hardsigmoid Hardswish Hardtanh HardSwish HardSigmoid HardMish
MemoryEfficientSwish SwishMe MishMe HardSwishMe HardSwishJit QuickGELU GELUTanh"""
NON_LINEARITIES = frozenset(_NAMES.split())
NORM = "Norm"  # a part of the class names of normalisations
LAST_DIMENSION = (nn.Linear, nn.LayerNorm)  # exactly these act on [..., C]; a subclass may permute


@dataclass(frozen=True)
class Call:
    """One run of one module in a pass.

    Attributes
    ----------
    module : str
        Its name in the network.
    type : str
        Its class.
    number, of : int
        Which run of this module it is, from 1, and how many there are in a pass.
    shape : tuple of int
        What one image gives: (C, h, w), with tokens (C, T, 1), or (R,).
    layout : str
        How the output is read: "maps" [N, C, h, w], "last" [N, h, w, C], "tokens" [N, T, C], or "rows" [N, R].
    several : bool
        The output is a tuple or list, of which the first is meant.
    before : int
        Runs of layers with weights (convolutions, linear layers) up to its end, itself included.
    conv : bool
        It is a convolution with more than one position.
    follows : int or None
        Of a convolution: the call (its place in the list) after the normalisation and non-linearity that directly
        follow; itself where none does.
    """

    module: str
    type: str
    number: int
    of: int
    shape: tuple[int, ...]
    layout: str
    several: bool
    before: int
    conv: bool = False
    follows: int | None = None

    @property
    def name(self) -> str:
        """Name of the layer: the module's, with "#2" for the second of several runs."""
        return self.module if self.of == 1 else f"{self.module}#{self.number}"


@dataclass(frozen=True)
class Trace:
    """All runs of modules with one tensor output, in the order in which they end, and the module that begins a pass."""

    calls: tuple[Call, ...]
    first: str
    first_runs: int
    weighted: int
    silent: frozenset[str]  # modules that did not run, or have no output that can be read


_known: weakref.WeakKeyDictionary[nn.Module, tuple[Any, Trace]] = weakref.WeakKeyDictionary()


def trace_network(classifier: Classifier) -> Trace:
    """Return what happens in one pass of `classifier.features`; remembered as long as the network has these modules.

    The network is run on two random images in evaluation mode and left as it was.
    """
    network, state = classifier.network, network_state(classifier)
    if network in _known and _known[network][0] == state:
        return _known[network][1]
    trace = _trace(classifier)
    _known[network] = (state, trace)
    return trace


def network_state(classifier: Classifier) -> Any:
    """Return what changes when modules of the network are exchanged."""
    modules = tuple((name, id(module)) for name, module in classifier.network.named_modules())
    return modules, classifier.input_size


class _Watcher:
    """Collects the calls; tensors are kept until the end, so that none takes the place of another."""

    def __init__(self, count: int) -> None:
        self.count = count  # images
        self.begun: list[str] = []
        self.runs: Counter[str] = Counter()
        self.weighted = 0
        self.last: list[int] = []  # shape of the last [N, h, w, C]
        self.calls: list[Call] = []
        self.open: list[tuple[Tensor | None, int]] = []  # inputs of the calls that have begun and not ended
        self.taken: list[tuple[Tensor | None, int]] = []  # input of each call, and its version then
        self.given: list[tuple[Tensor, int]] = []

    def before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.begun.append(name)
            first = args[0] if args else next(iter(kwargs.values()), None)
            self.open.append((first, first._version) if isinstance(first, Tensor) else (None, 0))

        return hook

    def after(self, name: str, head: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            taken = self.open.pop()
            self.runs[name] += 1
            number = self.runs[name]
            weights = (nn.Linear, nn.modules.conv._ConvNd)
            inner = any(isinstance(part, weights) for part in module.modules() if part is not module)
            several = isinstance(output, tuple | list) and len(output) > 0
            value = output[0] if several else output
            weighted = isinstance(module, weights) and not head
            self.weighted += weighted
            layout = self._layout(module, value) if isinstance(value, Tensor) else None
            if head or layout is None:
                return
            shape = read_layout(value, layout).shape[1:]
            conv = isinstance(module, nn.Conv2d) and (
                len(shape) == 3
                and (shape[1] * shape[2] > 1 or module.kernel_size != (1, 1))
                or taken[0] is not None
                and taken[0].ndim == 4
                and taken[0].shape[2:].numel() > 1
            )
            kind = type(module).__name__
            self.calls.append(Call(name, kind, number, 0, tuple(shape), layout, several, self.weighted, conv))
            self.taken.append((None, 0) if inner else taken)  # a block is no non-linearity
            self.given.append((value, value._version))

        return hook

    def _layout(self, module: nn.Module, value: Tensor) -> str | None:
        if not value.is_floating_point() or value.ndim not in (2, 3, 4) or value.shape[0] != self.count:
            return None
        if value.ndim < 4:
            return "rows" if value.ndim == 2 else "tokens"
        turned = list(getattr(module, "dims", ())) == [0, 2, 3, 1]  # torchvision's Permute
        if type(module) in LAST_DIMENSION or turned:
            self.last = list(value.shape)
            return "last"
        if isinstance(module, nn.Conv2d):
            self.last = []
        return "last" if list(value.shape) == self.last else "maps"  # a block of layers that act on [..., C]


def _trace(classifier: Classifier) -> Trace:
    network, head = classifier.network, classifier._split.head
    probe = probe_images(classifier.channels, classifier.size or classifier.input_size)
    probe = probe.to(classifier.device, classifier.dtype)
    watch = _Watcher(len(probe))
    with torch.inference_mode(False), ExitStack() as stack, untouched(classifier):
        for name, module in network.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                handle = module.register_forward_pre_hook(watch.before(name), with_kwargs=True)
                stack.callback(handle.remove)
                handle = module.register_forward_hook(watch.after(name, name == head))
                stack.callback(handle.remove)
        classifier.features(probe)
    calls = [replace(call, of=watch.runs[call.module]) for call in watch.calls]
    calls = [replace(c, follows=_following(i, calls, watch)) if c.conv else c for i, c in enumerate(calls)]
    first = watch.begun[0] if watch.begun else ""
    known = {call.module for call in calls}
    silent = frozenset(name for name, _ in network.named_modules() if name and name not in known)
    return Trace(tuple(calls), first, watch.begun.count(first), watch.weighted, silent)


def _following(start: int, calls: list[Call], watch: _Watcher) -> int:
    """Place of the last of the normalisations and non-linearities that take just what the call before them gave."""
    here = start
    for i in range(start + 1, len(calls)):
        value, version = watch.given[here]
        taken, then = watch.taken[i]
        # A residual that is added in place leaves the tensor and changes its version.
        if taken is not value or then != version or calls[i].shape != calls[start].shape:
            continue
        if calls[i].type in NON_LINEARITIES:
            return i
        if NORM in calls[i].type:
            here = i
    return here


def read_layout(value: Tensor, layout: str) -> Tensor:
    """Return an output as [N, C, h, w] (tokens: [N, C, T, 1]) or [N, R]."""
    if layout == "tokens":
        return value.transpose(1, 2)[..., None]
    return value.permute(0, 3, 1, 2) if layout == "last" else value


def write_layout(values: Tensor, layout: str) -> Tensor:
    """Undo `read_layout`."""
    if layout == "tokens":
        return values[..., 0].transpose(1, 2)
    return values.permute(0, 2, 3, 1) if layout == "last" else values
