"""What a classifier does to images before its network sees them: any callable on a batch, checked on a probe."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .errors import LisError

Preprocess = Callable[[Tensor], Tensor]
PROBE_SIZES = ((256, 288), (320, 256))  # of images for a preprocessing that is said to take any size
TOLERANCE = 1e-4  # of an image's values, alone and in a batch


def describe_preprocess(preprocess: Preprocess | None) -> str:
    """Return a text that stays the same as long as the preprocessing does: a part of a classifier's hash.

    Modules and instances are described by their `repr`, functions by name and source (where there is one; values that
    a function takes from around it are not seen).
    """
    if preprocess is None:
        return "none"
    if isinstance(preprocess, functools.partial):
        inner = describe_preprocess(preprocess.func)
        return f"partial({inner}, {preprocess.args!r}, {sorted(preprocess.keywords.items())!r})"
    if inspect.isfunction(preprocess) or inspect.ismethod(preprocess):
        text = f"{preprocess.__module__}.{preprocess.__qualname__}"
        try:
            source = inspect.getsource(preprocess)
        except (OSError, TypeError):  # typed at a prompt
            return text
        return f"{text} {hashlib.sha256(source.encode()).hexdigest()[:16]}"
    # A default repr names the place in memory, which is another one in every run.
    return f"{type(preprocess).__module__}.{re.sub(r' at 0x[0-9a-fA-F]+', '', repr(preprocess))}"


def apply_preprocess(preprocess: Preprocess, x: Tensor, name: str = "the classifier") -> Tensor:
    """Return network inputs [N, C', H', W'] of images [N, C, H, W]; a LisError for any other result."""
    inputs = preprocess(x)
    if not isinstance(inputs, Tensor):
        raise LisError(
            f"the preprocessing of {name} gives a {type(inputs).__name__}; a torch.Tensor [N, C, H, W] was expected."
        )
    if inputs.ndim != 4 or len(inputs) != len(x) or not inputs.is_floating_point():
        raise LisError(
            f"the preprocessing of {name} makes {inputs.dtype} {list(inputs.shape)} of images {list(x.shape)}; "
            f"floating [{len(x)}, C, H, W] was expected. It must take a batch and keep every image of it."
        )
    return inputs


def probe_images(channels: int, size: Sequence[int], count: int = 2) -> Tensor:
    """Return random images of the unit range, always the same, without touching the global random state."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, int(size[0]), int(size[1]), generator=generator)


def check_preprocess(
    preprocess: Preprocess,
    channels: int,
    size: Sequence[int] | None,
    name: str,
    device: torch.device | str = "cpu",
) -> tuple[int, int]:
    """Try a preprocessing on random images, and return the (height, width) that it gives to the network.

    Raises
    ------
    LisError
        When it fails on a batch of tensors, drops or mixes images, lets no gradient through, is random, or, with
        `size` None, does not bring images of any size to one.
    """
    found = []
    for probe_size in PROBE_SIZES if size is None else (tuple(size),):
        x = probe_images(channels, probe_size).to(device).requires_grad_()
        try:
            with torch.enable_grad():
                inputs = apply_preprocess(preprocess, x, name)
                alone = apply_preprocess(preprocess, x[:1], name)
        except LisError:
            raise
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise LisError(
                f"the preprocessing of {name} fails on images {list(x.shape)} in the unit range: {error} It must take "
                "a batch of tensors."
            ) from error
        if not inputs.requires_grad:
            raise LisError(
                f"the preprocessing of {name} lets no gradient through: it must be made of torch operations on the "
                "images it is given."
            )
        difference = (
            float((inputs[:1] - alone).detach().abs().max()) if alone.shape[1:] == inputs.shape[1:] else 1
        )
        if not difference <= TOLERANCE * max(1.0, float(inputs.detach().abs().max())):
            raise LisError(
                f"the preprocessing of {name} gives an image other values alone than in a batch (by {difference:.2g}): "
                "it mixes images or is random, but an image must have one r."
            )
        found.append((int(inputs.shape[2]), int(inputs.shape[3])))
    if len(set(found)) > 1:
        raise LisError(
            f"the preprocessing of {name} does not bring images to one size (it makes {found[0]} of {PROBE_SIZES[0]} "
            f"and {found[1]} of {PROBE_SIZES[1]}): let it resize, or say with size=(height, width) which images "
            "there will be."
        )
    return found[0]
