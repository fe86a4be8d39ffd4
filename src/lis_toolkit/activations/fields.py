"""Receptive fields: which pixels can reach a position of a layer, found by impulses through a positive network."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..classifiers import Classifier
from ..classifiers.penultimate import find_layer
from ..classifiers.preprocessing import FAILURES
from ..errors import LisError
from .layers import Layer, choose_layers
from .record import install
from .trace import network_state, trace_network

IMPULSES = 32  # images at a time
ENDS = ("penultimate", "logits")
ROUNDING = 1e-6  # of the largest value: less is none


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels of the network's input that can reach each position of a layer.

    Attributes
    ----------
    layer : Layer
    boxes : Tensor
        int64 [h, w, 4]: top, bottom, left, right in pixels, the ends excluded; clipped at the borders of the image.
    size : tuple of int
        (height, width) of the network's input.
    how : str
        "exact", or "proportional": the position's share of the image, where the network would not tell.
    """

    layer: Layer
    boxes: Tensor
    size: tuple[int, int]
    how: str

    @property
    def extent(self) -> tuple[int, int]:
        """Largest (height, width) of a box, in pixels."""
        tall = self.boxes[..., 1] - self.boxes[..., 0]
        wide = self.boxes[..., 3] - self.boxes[..., 2]
        return int(tall.max()), int(wide.max())


_known: weakref.WeakKeyDictionary[nn.Module, tuple[Any, dict[str, ReceptiveField]]] = (
    weakref.WeakKeyDictionary()
)


def receptive_fields(
    classifier: Classifier, layers: Iterable[str | Layer] | str | Layer | None = None
) -> dict[str, ReceptiveField]:
    """Return the receptive field of each position of layers, as boxes in the network's input.

    A copy of the network gets positive weights, no biases, and normalisations that do nothing, so that nothing cancels.
    An image that is lit in one row (or column) only changes exactly the positions whose field holds that row: height +
    width images give the fields of all layers at once, whatever the connections. Gates (squeeze and excitation) and the
    statistics of normalisations, which mix the whole image, are not counted; attention is. Where the copy fails, or a
    position answers to nothing, boxes are proportional: position i of h gets its share of the rows.

    Returns
    -------
    dict of str to ReceptiveField
        By layer name. "penultimate" and "logits" have one position and the whole image.

    Raises
    ------
    LisError
        For layers that there are not.

    Examples
    --------
    >>> receptive_fields(load_classifier("fashion"), "body.3")["body.3"].extent
    (5, 5)
    """
    chosen = choose_layers(classifier, layers)
    network, state = classifier.network, network_state(classifier)
    known = _known[network][1] if network in _known and _known[network][0] == state else {}
    missing = tuple(layer for layer in chosen if layer.name not in known)
    if missing:
        known |= _find(classifier, missing)
        _known[network] = (state, known)
    return {layer.name: known[layer.name] for layer in chosen}


def proportional_boxes(layer: Layer, size: tuple[int, int]) -> Tensor:
    """Return each position's share of the image as boxes [h, w, 4], each of at least one pixel."""
    sides = []
    for count, pixels in zip(layer.positions, size, strict=True):
        edges = torch.arange(count + 1) * pixels / count
        low = edges[:-1].floor().long()
        sides.append((low, torch.maximum(edges[1:].ceil().long(), low + 1)))
    (top, bottom), (left, right) = sides
    return torch.stack(torch.broadcast_tensors(top[:, None], bottom[:, None], left[None], right[None]), dim=2)


def _find(classifier: Classifier, layers: tuple[Layer, ...]) -> dict[str, ReceptiveField]:
    """Return the fields of layers, exact where the impulses tell."""
    inside = tuple(layer for layer in layers if layer.kind not in ENDS)
    reached = _reached(classifier, inside) if inside else {}
    size = classifier.input_size
    tokens = {call.name for call in trace_network(classifier).calls if call.layout == "tokens"}
    fields = {}
    for layer in layers:
        parts = (reached or {}).get(layer.name, ())
        if parts and all(bool(part.any(0).all()) for part in parts):
            ends = []
            for part in parts:  # [H, h, w], then [W, h, w]
                low = part.int().argmax(0)  # the first that is true
                ends += [low, len(part) - part.flip(0).int().argmax(0)]
            fields[layer.name] = ReceptiveField(layer, torch.stack(ends, dim=2), size, "exact")
            continue
        boxes = proportional_boxes(layer, size)
        if layer.name in tokens:  # which have no place that could be told
            boxes = torch.tensor([0, size[0], 0, size[1]]).expand_as(boxes)
        fields[layer.name] = ReceptiveField(layer, boxes, size, "proportional")
    return fields


def _reached(classifier: Classifier, layers: tuple[Layer, ...]) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Return by layer which rows [H, h, w] and columns [W, h, w] of the input reach a position; None for a failure."""
    shape = (classifier.channels, *classifier.input_size)
    try:
        twin = positive_copy(classifier)
        dark = _maps(twin, torch.zeros(1, *shape), layers)
        sides = []
        for side in (1, 2):
            parts = []
            for first in range(0, shape[side], IMPULSES):
                lit = torch.arange(first, min(first + IMPULSES, shape[side]))
                x = torch.zeros(len(lit), *shape)
                x.movedim(side + 1, 1)[torch.arange(len(lit)), lit] = 1
                maps = _maps(twin, x, layers)
                parts.append({name: (maps[name] - dark[name]).abs().amax(1) for name in maps})
            sides.append({layer.name: torch.cat([p[layer.name] for p in parts]) for layer in layers})
    except (LisError, *FAILURES):  # what can't be copied, or not be run like this
        return None
    return {name: (_true(sides[0][name]), _true(sides[1][name])) for name in sides[0]}


def _true(change: Tensor) -> Tensor:
    """Return which changes are more than rounding."""
    return change > ROUNDING * change.max()


class _Enough(Exception):
    """All layers that are wanted have run: what comes after them need not."""


@torch.no_grad()
def _maps(twin: Classifier, x: Tensor, layers: tuple[Layer, ...]) -> dict[str, Tensor]:
    """Return activations by layer, [n, C, h, w]; of a layer without positions [n, R, 1, 1]."""
    calls = trace_network(twin).calls
    wanted = {layer.name for layer in layers}
    last = max((i for i, call in enumerate(calls) if call.name in wanted), default=0)

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        if all(name in recorded for name in wanted):
            raise _Enough

    with contextlib.ExitStack() as stack, contextlib.suppress(_Enough):
        recorded = install(twin, layers, stack, detach=True)
        handle = find_layer(twin.network, calls[last].module).register_forward_hook(stop)
        stack.callback(handle.remove)
        twin.encode(x.to(twin.device, twin.dtype))
    found = {layer.name: recorded[layer] for layer in layers}
    return {name: (v if v.ndim == 4 else v[:, :, None, None]).cpu() for name, v in found.items()}


@torch.no_grad()
def positive_copy(classifier: Classifier) -> Classifier:
    """Return a copy in float32 in which nothing cancels; see `receptive_fields`."""
    twin = copy.deepcopy(classifier).float().eval().requires_grad_(False)
    for module in list(twin.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name)
    for module in twin.modules():
        conv = isinstance(module, nn.modules.conv._ConvNd)
        for name, value in module.named_parameters(recurse=False):
            matrix = value.ndim > 1 and not conv
            value.fill_(
                0.0 if "bias" in name else 1.0 / value[0].numel() if matrix else 1.0
            )  # a mean, or a sum
        for name, buffer in module.named_buffers(recurse=False):
            if name in ("running_mean", "running_var"):
                buffer.fill_(float(name == "running_var"))
        if conv:
            module.register_forward_pre_hook(_before_conv)
            module.register_forward_hook(_after_conv)
        elif "Norm" in type(module).__name__ and not any(True for _ in module.children()):
            module.register_forward_hook(_give_back)
    return twin


def _give_back(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Let a normalisation do nothing."""
    return args[0] if isinstance(output, Tensor) and args[0].shape == output.shape else None


# With zeros and ones for input and weights, a convolution counts, and neither vanishes nor grows over many layers.
def _before_conv(module: nn.Module, args: tuple[Any, ...]) -> Any:
    return ((args[0].abs() > ROUNDING * args[0].abs().max()).to(args[0].dtype), *args[1:])


def _after_conv(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return (output > 0.5).to(output.dtype)
