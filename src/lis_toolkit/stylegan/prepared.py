"""What layers derive from their weights and filters once: kept as long as these stay the same."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd.forward_ad import unpack_dual

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a number


def transformed(tensor: Tensor | None) -> bool:
    """Whether forward derivatives of a tensor are followed, or it belongs to a transform of torch.func."""
    if tensor is None:
        return False
    return is_functorch_wrapped_tensor(tensor) or unpack_dual(tensor).tangent is not None


def batched(tensor: Tensor) -> bool:
    """Whether a tensor belongs to a vmap of torch.func, where nothing can be decided by its values."""
    if torch.compiler.is_compiling():
        return False
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


@contextmanager
def plainly() -> Iterator[None]:
    """Make tensors that outlive what is going on: no part of gradients, inference mode or torch.func's transforms."""
    with temporarily_clear_interpreter_stack(), torch.inference_mode(False), torch.no_grad():
        yield


class Prepared:
    """What a layer derives from its `weight` and filters, made anew when one of them has changed; never copied.

    Writes through `weight.data`, which tensors do not count, are seen on processors where they change a whole channel
    or more; elsewhere a look at the values would have to wait for the device.
    """

    def __init__(self) -> None:
        # Whose, in which state, and what: replaced at once, since several threads may render.
        self._held: tuple[Callable[[], Any], object, dict[object, Any]] = (lambda: None, None, {})

    @property
    def values(self) -> dict[object, Any]:
        """What there is, by its key."""
        return self._held[2]

    def get(self, layer: nn.Module, key: object, make: Callable[[], Any]) -> Any:
        """Give what `make` makes, from memory if nothing has changed since."""
        weight: Any = layer.weight
        sources = (weight, layer.up_filter, layer.down_filter)
        if torch.compiler.is_compiling() or any(map(transformed, sources)):
            return make()
        with plainly():
            state = (*map(_identity, sources), _sample(weight))  # type: ignore[arg-type]
            whose, before, values = self._held
            if whose() is not weight or state != before:
                values = {}
                self._held = (weakref.ref(weight), state, values)
            if key not in values:
                values[key] = make()
            return values[key]

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        return Prepared, ()


def _identity(tensor: Tensor | None) -> object:
    if tensor is None:
        return None
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), version, tensor.device, tensor.dtype


def _sample(weight: Tensor) -> int | None:
    """Sum up some values [C_out, C_in, k, k] exactly, of every output channel and every input channel."""
    if weight.device.type != "cpu":
        return None
    outputs, inputs, factors = _places(*weight.shape)
    some = weight.detach()[outputs, inputs].flatten()
    return int((some.view(_INTEGERS[some.element_size()]) * factors).sum())


@functools.lru_cache(maxsize=64)
def _places(c_out: int, c_in: int, high: int, wide: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the channels that `_sample` looks at, and a factor for every value, so that values can't change places."""
    place = torch.arange(max(c_out, c_in))
    return place % c_out, place % c_in, torch.arange(1, len(place) * high * wide + 1)
