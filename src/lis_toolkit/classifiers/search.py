"""Finding a network's head and penultimate activations by running it once on random images, and saying why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LisError
from .penultimate import Split, apply_head, as_rows, capture, find_layer, is_linear, penultimate, untouched
from .preprocessing import FAILURES

SHOWN = 6  # layers listed in a message
SAME = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest value; 2e-2 for narrower types
STEADY = 0.05  # of the largest value: rounding grows to a percent in networks with chaotic weights
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(-1),
    "log-softmax": lambda logits: logits.log_softmax(-1),
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class _Call:
    """One run of a layer that could be the head, or whose output could be r."""

    name: str
    layer: nn.Module
    taken: Any  # first input
    given: Any  # output, as it was before any layer wrote into it
    place: int  # of the output in memory

    def __str__(self) -> str:
        shapes = " -> ".join(
            str(list(t.shape)) if isinstance(t, Tensor) else type(t).__name__
            for t in (self.taken, self.given)
        )
        return f"{self.name!r} ({type(self.layer).__name__} {shapes})"


def unwrap(module: nn.Module) -> tuple[nn.Module, str]:
    """Return the network inside DataParallel or torch.compile, and a sentence that says so."""
    notes = ""
    while True:
        inner = None
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):  # what torch.compile returns
            inner = module._orig_mod
        if not isinstance(inner, nn.Module):
            return module, notes
        notes += f" The network inside {type(module).__name__} is used, because layers are watched in Python."
        module = inner


def _watch(network: nn.Module, inputs: Tensor) -> tuple[Any, list[_Call]]:
    """Run a network once; its output, and the runs of all its innermost layers, in order."""
    calls: list[_Call] = []

    def hook(name: str) -> Callable[..., None]:
        def after(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            taken = args[0] if args else next(iter(kwargs.values()), None)
            place = output.data_ptr() if isinstance(output, Tensor) else 0
            if is_linear(layer):  # the next layer may write into them
                taken, output = (t.clone() if isinstance(t, Tensor) else t for t in (taken, output))
            calls.append(_Call(name, layer, taken, output, place))

        return after

    with ExitStack() as stack:
        for name, layer in network.named_modules():
            inner = list(layer.children()) and not is_linear(
                layer
            )  # a linear layer may hold parametrisations
            if name and not inner and not isinstance(layer, torch.jit.ScriptModule):
                handle = layer.register_forward_hook(hook(name), with_kwargs=True)
                stack.callback(handle.remove)
        return network(inputs), calls


def _tensors(output: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors of an output by their place in it: {"": y}, {"[0]": ...}, {".logits": ...}."""
    if isinstance(output, Tensor):
        return {path: output}
    items: list[tuple[str, Any]] = []
    if isinstance(output, Mapping):
        items = [(f"[{key!r}]", value) for key, value in output.items()]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        items = [(f".{key}", getattr(output, key)) for key in output._fields]
    elif isinstance(output, (tuple, list)):
        items = [(f"[{i}]", value) for i, value in enumerate(output)]
    elif dataclasses.is_dataclass(output):
        items = [(f".{field.name}", getattr(output, field.name)) for field in dataclasses.fields(output)]
    return {place: t for key, value in items for place, t in _tensors(value, path + key).items()}


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, as a share of the largest value of b; infinite for other shapes or NaN."""
    if a.shape != b.shape:
        return float("inf")
    gap, size = float((a - b).abs().max()), float(b.abs().max())
    return 0.0 if gap == 0 else gap / size if size > 0 and gap == gap else float("inf")


def _same(a: Tensor, b: Tensor) -> bool:
    return difference(a, b) <= SAME.get(b.dtype, 2e-2)


def _rows(output: Any) -> dict[str, Tensor]:
    """All tensors of an output as one row an image; a single number each counts as one."""
    return {
        place: y.flatten(1) if y.ndim > 1 else y[:, None]
        for place, y in _tensors(output).items()
        if y.ndim > 0 and y.is_floating_point()
    }


def _explains(logits: Any, output: Any) -> tuple[str, str] | None:
    """Where in the output these logits are, and through which activation; None if they are not."""
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        return None
    logits = logits.flatten(1)
    found = _rows(output)
    for place, y in found.items():
        if _same(logits, y):
            return place, ""
    for activation, function in ACTIVATIONS.items():
        for place, y in found.items():
            if y.shape == logits.shape and _same(function(logits), y):
                return place, activation
    return None


@dataclass(frozen=True)
class _Run:
    """One run of a network on random inputs, and what the messages say about it."""

    name: str
    output: Any
    calls: list[_Call]
    penultimate: Any = None  # output of the layer that was named so
    taken: Any = None  # input of the head, where it is a layer of the network

    def refusal(self, why: str) -> LisError:
        """Build the error that lists what could be meant and says what to pass."""
        linear = [call for call in self.calls if is_linear(call.layer)]
        rows = [
            call
            for call in self.calls
            if isinstance(call.given, Tensor) and call.given.ndim >= 2 and call.given[0, 0].numel() == 1
        ]
        return LisError(
            f"{self.name}: {why} The output is {_kind(self.output)}. Linear layers and 1x1 convolutions: "
            f'{_listing(linear)}. Layers with one row an image: {_listing(rows)}. Pass head="LAYER" if the network\'s '
            'output is what a linear layer gives; or penultimate="LAYER" with head=MODULE (taking [N, R]) or '
            "head=False (no classes)."
        )

    def detect(self) -> _Call:
        """Return the run of the linear layer whose output is the network's own."""
        places = {t.data_ptr() for t in _tensors(self.output).values()}
        linear = [call for call in self.calls if is_linear(call.layer)]
        found = [(call, hit) for call in linear if (hit := _explains(call.given, self.output)) is not None]
        plain = [call for call, (_, activation) in found if not activation]
        candidates = plain or [call for call, _ in found]
        if len(candidates) > 1:  # heads that are all zero, say, look alike
            candidates = [call for call in candidates if call.place in places] or candidates
        if not candidates:
            last = f", the last of them {linear[-1]}" if linear else ""
            raise self.refusal(
                f"no linear layer gives the network's output: there are {len(linear)}{last}, and what comes after is "
                "not a softmax or sigmoid alone."
            )
        if len({call.name for call in candidates}) > 1:
            raise self.refusal(f"several layers could be the head: {_listing(candidates)}.")
        chosen = candidates[-1]
        if [call.name for call in self.calls].count(chosen.name) > 1:
            raise self.refusal(f"the layer {chosen.name!r} runs several times for one batch.")
        return chosen

    def compare(self, head: str, logits: Tensor, found: bool) -> str:
        """Say how logits of the head and the network's own output agree; a LisError when they don't."""
        hit = _explains(logits, self.output)
        how = "found as the linear layer whose output is the network's own" if found else "as was asked for"
        if hit is not None:
            place, activation = hit
            if activation:
                how += f"; the network gives their {activation}, which is left out"
            elif place:
                how += f", there as {place}"
            return f" ({how}; checked on random images)."
        alike = [y for y in _rows(self.output).values() if y.shape == logits.shape]
        if not alike:
            return f" ({how}; the network's output, {_kind(self.output)}, can't be compared with them)."
        gap = min(float((y - logits).abs().max()) for y in alike)
        raise self.refusal(
            f"the logits of the head {head!r} differ from the network's own output by up to {gap:.3g}."
        )


def _kind(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)}"
    inside = ", ".join(f"{place} {list(t.shape)}" for place, t in _tensors(output).items()) or "no tensor"
    return f"a {type(output).__name__} with {inside}"


def _listing(calls: list[_Call]) -> str:
    return ", ".join(list(dict.fromkeys(map(str, calls)))[-SHOWN:]) or "none"


def _run(
    network: nn.Module, inputs: Tensor, penultimate_name: str | None, head: str | None, name: str
) -> _Run:
    """Run a network once, watching its layers and, by name, those that were asked for."""
    with ExitStack() as stack:
        asked = ((penultimate_name, "output"), (head, "input"))
        seen = [layer and stack.enter_context(capture(network, layer, side)) for layer, side in asked]
        try:
            output, calls = _watch(network, inputs)
        except LisError:
            raise
        except FAILURES as error:
            raise LisError(
                f"{name} fails on a batch {list(inputs.shape)}: {error}. Are channels, size and preprocess those it "
                "was made for?"
            ) from error
    return _Run(name, output, calls, *(captured and captured.only() for captured in seen))


def _head_in_network(network: nn.Module, head: str | nn.Module | bool | None, name: str) -> str | None:
    """Name of the head among the network's layers; None where it is to be found, separate, or not there."""
    if head is not None and head is not False and not isinstance(head, (str, nn.Module)):
        raise LisError(
            f"head of {name} is {head!r}; a layer's name, an nn.Module, False or None (to find it) was expected."
        )
    if isinstance(head, nn.Module):
        return next((n for n, layer in network.named_modules() if n and layer is head), None)
    if isinstance(head, str):
        find_layer(network, head)
        return head
    return None


def _units(run: _Run, penultimate_name: str | None, head: str | None) -> tuple[str, str, str, Tensor]:
    """Where r is taken (kind, layer, in words), and r of the run."""
    if penultimate_name is not None:
        where = f"the output of {penultimate_name!r}"
        r = as_rows(run.penultimate, where)
        if head is not None:
            given = as_rows(run.taken, f"the input of {head!r}")
            if not _same(r, given):
                raise LisError(
                    f"{run.name}: the head {head!r} takes {list(given.shape)}, which is not {where} {list(r.shape)}: "
                    "there is something between them. Leave penultimate out to take the head's input, or pass "
                    "head=MODULE that makes logits of that output."
                )
        return "output", penultimate_name, where, r
    if head is not None:
        where = f"the input of {head!r}"
        return "input", head, where, as_rows(run.taken, where)
    if not isinstance(run.output, Tensor):
        raise run.refusal("an encoder's output must be a tensor [N, R].")
    return "whole", "", "the network's own output", as_rows(run.output, f"the output of {run.name}")


def find_split(
    network: nn.Module,
    inputs: Tensor,
    penultimate_name: str | None,
    head: str | nn.Module | bool | None,
    name: str,
) -> Split:
    """Find where to cut a network, by two runs on random inputs [2, C, H, W] that leave it untouched.

    Parameters
    ----------
    penultimate_name
        The layer whose output is r; None: the head's input.
    head
        A layer's name or a layer of the network; a module of one's own that takes [N, R]; False for none; None: the
        linear layer whose output is the network's own.

    Raises
    ------
    LisError
        When it is not clear (lists the candidates), when r is no row of numbers, when `head(r)` is not the network's
        own output, for NaN, and for answers that change from call to call or with the batch.
    """
    inside = _head_in_network(network, head, name)
    scripted = isinstance(network, torch.jit.ScriptModule)
    if scripted and (penultimate_name is not None or head is None or inside is not None):
        raise LisError(
            f"{name} is a TorchScript module, whose layers can't be watched: pass the module that it was scripted "
            "from, or an encoder whose output is r, with head=False or a separate head."
        )
    with untouched(network), untouched(head if isinstance(head, nn.Module) else nn.Module()):
        run = _run(network, inputs, penultimate_name, inside, name)
        for values in _rows(run.output).values():
            _check_finite(values, "the output", name)
        if head is None:
            chosen = run.detect()
            inside, run = chosen.name, dataclasses.replace(run, taken=chosen.taken)
        kind, point, where, r = _units(run, penultimate_name, inside)
        _check_finite(r, where, name)
        num_units, num_classes = r.shape[1], 0
        text = f"r is {where}, {num_units} units; there is no head, so no classes."
        if head is not False:
            layer = head if isinstance(head, nn.Module) else find_layer(network, str(inside))
            try:
                logits = apply_head(layer, r)
            except (RuntimeError, TypeError, ValueError) as error:
                raise LisError(
                    f"the head {type(layer).__name__} of {name} does not take r {list(r.shape)}, {where}: {error}."
                ) from error
            _check_finite(logits, "the head's output", name)
            num_classes = logits.shape[1]
            made = f"{inside!r} ({type(layer).__name__})" if inside else "a separate head"
            text = f"r is {where}, {num_units} units, and {made} makes the logits of {num_classes} classes"
            text += (
                run.compare(inside, logits, head is None)
                if inside
                else "; there is no output to compare with."
            )
        split = Split(kind, point, inside, num_units, num_classes, text)
        _check_steady(network, inputs, split, r, name)
    return split


def _check_finite(values: Tensor, what: str, name: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise LisError(
            f"{name}: {what} has NaN or infinite values for images in [0, 1]: the weights are damaged, or the "
            "preprocessing is another one than they were trained with."
        )


def _check_steady(network: nn.Module, inputs: Tensor, split: Split, r: Tensor, name: str) -> None:
    """Check that the first image has the same r alone as in the batch, in another call."""
    gap = difference(penultimate(network, split, inputs[:1]), r[:1])
    if gap > STEADY:
        raise LisError(
            f"{name} gives an image other activations when it is called again without the rest of the batch (by "
            f"{gap:.2g} of the largest): it is random, remembers earlier calls, or normalises over the batch, but an "
            "image must have one r."
        )
