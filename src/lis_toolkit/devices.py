"""Models are put where they are asked for."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from .errors import LisError

M = TypeVar("M", bound=nn.Module)


def place(module: M, device: str | torch.device | None) -> M:
    """Move a module to a device, None for the CPU, and return it.

    Raises
    ------
    LisError : a device that there is not here.

    Examples
    --------
    >>> place(torch.nn.Linear(2, 1), "cpu").weight.device
    device(type='cpu')
    """
    try:
        return module.to(device or "cpu")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LisError(f"no device {str(device)!r} here: {error}") from error
