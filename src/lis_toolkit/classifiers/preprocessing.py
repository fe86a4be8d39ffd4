"""What a classifier does to images before its network sees them: any callable on a batch, checked on a probe."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import LisError

Preprocess = Callable[[Tensor], Tensor]
PROBE_SIZES = ((256, 288), (320, 256))  # of images for a preprocessing that is said to take any size
# What a callable raises that is not made for what it gets.
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
TOLERANCE = 1e-4  # of an image's values, alone and in a batch


class ResizeCrop(nn.Module):
    """Resize, cut out the centre, normalise: the usual preprocessing, on batches of tensors and differentiable.

    Parameters
    ----------
    size
        (height, width) that is cut out, in pixels.
    resize
        The shorter side's new length, which keeps the shape; or (height, width), which doesn't.
    mean, std
        Per channel, of the unit range.
    interpolation
        "bilinear", "bicubic" or "nearest"; smoothed where it shrinks.

    Examples
    --------
    >>> Classifier(network, preprocess=ResizeCrop((224, 224), 256, mean=[0.5] * 3, std=[0.5] * 3))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: Sequence[int],
        resize: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        self.size, self.interpolation = [int(v) for v in size], interpolation
        self.resize = [int(v) for v in ([resize] if isinstance(resize, int) else resize)]
        if interpolation not in ("bilinear", "bicubic", "nearest"):
            raise LisError(
                f"interpolation is {interpolation!r}; 'bilinear', 'bicubic' or 'nearest' was expected."
            )
        for name, values in (("mean", mean), ("std", std)):
            numbers = torch.tensor([float(v) for v in values]).reshape(1, -1, 1, 1)
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w] of images [N, C, H, W] in the unit range."""
        from torchvision.transforms import InterpolationMode, functional

        x = functional.resize(x, self.resize, InterpolationMode(self.interpolation), antialias=True)
        x = functional.center_crop(x, self.size)
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)

    def extra_repr(self) -> str:
        """Say all that matters, for print and for a classifier's hash."""
        mean, std = ([round(v, 6) for v in t.flatten().tolist()] for t in (self.mean, self.std))
        return f"size={self.size}, resize={self.resize}, mean={mean}, std={std}, interpolation={self.interpolation}"


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
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(preprocess))


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
        except FAILURES as error:
            # What ToTensor says, which most training code begins its transforms with.
            hint = (
                " Leave ToTensor() out: images come as tensors." if "pic should be PIL" in str(error) else ""
            )
            raise LisError(
                f"the preprocessing of {name} fails on images {list(x.shape)} in the unit range: {error}. It must take "
                f"a batch of tensors.{hint}"
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
