"""The architectures of the bundled classifiers: a plain stack and a residual net.

A file names one of `ARCHITECTURES` and gives its numbers as JSON; nothing in a file is executed.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .. import names
from ..errors import CheckpointError


def _same_conv(
    inputs: int, outputs: int, kernel: int, stride: int, norm: bool, groups: int = 1
) -> nn.Sequential:
    """Convolution, followed by batch normalisation or, where that has been folded in, by nothing."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs)) if norm else nn.Sequential(conv)


class PlainNet(nn.Module):
    """A plain stack: 3x3 convolution, batch normalisation, ReLU; every stage halves the image.

    Penultimate: global average over the last ReLU, so activations are >= 0, one for each channel of the last stage.

    Parameters
    ----------
    stages
        (channels, number of convolutions) of each stage; the first convolution of a stage has stride 2.
    norm
        False: batch normalisation is folded into the convolutions (how models are shipped; they can't be trained on).
    dropout
        Of whole penultimate units, in training.
    """

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 10,
        stem: int = 32,
        stages: Sequence[Sequence[int]] = ((64, 2), (128, 3), (256, 2)),
        norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_same_conv(channels, stem, 3, 1, norm), nn.ReLU(inplace=True)]
        width = stem
        for stage, count in stages:
            for i in range(count):
                layers += [_same_conv(width, stage, 3, 2 if i == 0 else 1, norm), nn.ReLU(inplace=True)]
                width = stage
        self.body = nn.Sequential(*layers)
        self.dropout = dropout
        self.head = nn.Linear(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of normalised images [N, C, H, W]."""
        r = self.body(x).mean((2, 3))  # [N, R]
        return F.dropout(r, self.dropout, self.training)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al. 2015), with SiLU."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first = _same_conv(width, width, 3, 1, norm)
        self.second = _same_conv(width, width, 3, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width, h, w] for the same shape."""
        return F.silu(x + self.second(F.silu(self.first(x))))


class ResidualNet(nn.Module):
    """A residual net with SiLU, a 5x5 stem of stride 2 and a narrow last linear layer; the judge's architecture.

    Penultimate: global average, then a linear layer to `units` and SiLU.
    """

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 10,
        stem: int = 48,
        stages: Sequence[Sequence[int]] = ((48, 2), (96, 2), (192, 1)),
        units: int = 192,
        norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_same_conv(channels, stem, 5, 2, norm), nn.SiLU()]
        width = stem
        for i, (stage, count) in enumerate(stages):
            layers += [_same_conv(width, stage, 3, 1 if i == 0 else 2, norm), nn.SiLU()]
            layers += [_ResidualBlock(stage, norm) for _ in range(count)]
            width = stage
        self.body = nn.Sequential(*layers)
        self.neck = nn.Linear(width, units)
        self.dropout = dropout
        self.head = nn.Linear(units, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return penultimate activations [N, R] of normalised images [N, C, H, W]."""
        r = F.silu(self.neck(self.body(x).mean((2, 3))))  # [N, R]
        return F.dropout(r, self.dropout, self.training)


ARCHITECTURES: dict[str, type[nn.Module]] = {"plain": PlainNet, "residual": ResidualNet}


def _architecture(name: str) -> type[nn.Module]:
    if name not in ARCHITECTURES:
        hint = names.spelling_hint(str(name), ARCHITECTURES)
        raise CheckpointError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}.{hint}")
    return ARCHITECTURES[name]


def complete_config(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with the architecture's own defaults written out, so that files outlive a change of them."""
    parameters = inspect.signature(_architecture(architecture)).parameters
    return {**{name: p.default for name, p in parameters.items()}, **config}


def build_network(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Build one of `ARCHITECTURES` from its keyword arguments."""
    try:
        return _architecture(architecture)(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{architecture} can't be built from {dict(config)}: {error}.") from error
