"""Watching layers while a classifier runs: hooks that are gone when the block ends, however it ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from ..classifiers import Classifier
from ..classifiers.penultimate import as_rows, find_layer
from ..errors import LisError
from .layers import Layer, choose_layers
from .trace import Call, read_layout, trace_network, write_layout


class Recorded(dict[str, Tensor]):
    """Activations by layer, of the last pass; `recorded["body.3"]` or `recorded[layer]`.

    A layer that has not run yet is a LisError, as is one whose values were overwritten since.
    """

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        self.layers = layers
        self._sources: dict[str, tuple[Tensor, int]] = {}

    def __getitem__(self, layer: str | Layer) -> Tensor:
        name = layer.name if isinstance(layer, Layer) else layer
        if name not in self:
            known = ", ".join(repr(item.name) for item in self.layers)
            why = "was not run in this block yet" if name in [item.name for item in self.layers] else ""
            raise LisError(f"layer {name!r} {why or f'is not recorded; there are {known}'}.")
        source = self._sources.get(name)
        if source is not None and source[0]._version != source[1]:
            raise LisError(f"the activations of {name!r} were overwritten after they had been recorded.")
        return super().__getitem__(name)

    def keep(self, name: str, values: Tensor, detach: bool) -> None:
        """Take what a layer gave: a copy, or the tensor itself, whose version tells whether it is still the same."""
        self[name] = values.detach().clone() if detach else values
        if not detach and not values.is_inference():
            self._sources[name] = (values, values._version)


@contextmanager
def record_activations(
    classifier: Classifier, layers: Iterable[str | Layer] | str | Layer | None = None, detach: bool = True
) -> Iterator[Recorded]:
    """Record what layers give in every forward pass of a classifier, as long as the block lasts.

    Every pass (`classifier(x)`, `.logits(x)`, `.features(x)`) replaces the activations of the one before. The hooks are
    gone when the block ends, whatever happened in it. Passes of other threads are not seen. Modes are left as they are:
    put the classifier into evaluation mode.

    Parameters
    ----------
    layers
        Names or `Layer`s; None: `list_layers(classifier)`. "penultimate" and "logits" of a classifier with a head are
        recorded when the head runs, that is by `logits`, not by `features` alone.
    detach
        True: copies without gradients. False: what the rest of the network goes on with, so that
        `torch.autograd.grad(logits[:, k].sum(), recorded[layer])` works; in-place layers write into a copy.

    Yields
    ------
    Recorded
        Name -> Tensor [N, C, h, w] or [N, R]; tokens [N, T, C] are [N, C, T, 1], a view of them.

    Raises
    ------
    LisError
        For layers that there are not (see `choose_layers`), and for reading one that has not run.

    Examples
    --------
    >>> with record_activations(classifier, ["body.3"]) as recorded:
    ...     logits = classifier.logits(x)
    >>> recorded["body.3"].shape  # [N, C, h, w]
    """
    chosen = choose_layers(classifier, layers)
    with ExitStack() as stack:
        yield install(classifier, chosen, stack, detach)


def install(classifier: Classifier, layers: tuple[Layer, ...], stack: ExitStack, detach: bool) -> Recorded:
    """Set the hooks, whose removal is left to `stack`."""
    trace = trace_network(classifier)
    by_name = {call.name: call for call in trace.calls}
    recorded, mine, runs = Recorded(layers), threading.get_ident(), Counter[str]()
    begun = 0

    def begin(module: nn.Module, args: Any) -> None:
        nonlocal begun
        if threading.get_ident() == mine:
            if begun % trace.first_runs == 0:  # also after a pass that broke off in the middle
                runs.clear()
                recorded.clear()
            begun += 1

    if trace.first:
        _add(stack, find_layer(classifier.network, trace.first).register_forward_pre_hook(begin))
    wanted: dict[str, list[Call]] = {}
    for layer in layers:
        if layer.kind not in ("penultimate", "logits"):
            wanted.setdefault(by_name[layer.name].module, []).append(by_name[layer.name])
    for module, calls in wanted.items():
        hook = _after(recorded, calls, runs, mine, detach)
        _add(stack, find_layer(classifier.network, module).register_forward_hook(hook))
    for layer in layers:
        if layer.kind in ("penultimate", "logits"):
            _watch_end(classifier, layer.name, recorded, mine, detach, stack)
    return recorded


def _add(stack: ExitStack, handle: Any) -> None:
    stack.callback(handle.remove)


def _after(
    recorded: Recorded, calls: list[Call], runs: Counter[str], mine: int, detach: bool
) -> Callable[..., Any]:
    """Make the hook of a module, some of whose runs in a pass are wanted."""
    by_number = {call.number: call for call in calls}
    name = calls[0].module

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != mine:
            return None
        runs[name] += 1
        call = by_number.get(runs[name])
        if call is None:
            return None
        values = read_layout(output[0] if call.several else output, call.layout)
        recorded.keep(call.name, values, detach)
        if detach:
            return None
        passed = write_layout(values, call.layout).clone()  # the next layer may write into it
        if not call.several:
            return passed
        items = (passed, *output[1:])
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)

    return hook


def _watch_end(
    classifier: Classifier, name: str, recorded: Recorded, mine: int, detach: bool, stack: ExitStack
) -> None:
    """Record r, as the head takes it, or the logits; without a head r is what the encoder gives."""
    split = classifier._split

    def keep(value: Any) -> Any:
        if threading.get_ident() != mine:
            return value
        rows = as_rows(value, f"the layer {name!r}")
        recorded.keep(name, rows, detach)
        return value if detach else rows.clone().reshape(value.shape)

    def before(module: nn.Module, args: tuple[Any, ...]) -> Any:
        return (keep(args[0]), *args[1:])

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        return keep(output)

    if classifier.has_head:
        head = classifier.separate_head if split.head is None else find_layer(classifier.network, split.head)
        if name == "penultimate":
            _add(stack, head.register_forward_pre_hook(before))
        else:
            _add(stack, head.register_forward_hook(after))
    else:
        place = classifier.network if split.kind == "whole" else find_layer(classifier.network, split.point)
        _add(stack, place.register_forward_hook(after))
