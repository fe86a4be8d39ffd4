"""Critics of the generator: heads on the frozen features of a trained network, and one on the pixels.

Projected GAN (Sauer et al. 2021, arXiv 2111.01007): a real/fake decision at several scales of a frozen network needs
little regularisation and converges fast. A small spectrally normalised critic on the pixels sees what a classifier's
features throw away: crisp edges and texture. The class enters by projection (Miyato and Koyama 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

FeatureFunction = Callable[[Tensor], Sequence[Tensor]]


class Head(nn.Module):
    """A class-conditional patch critic on a feature map [N, C, S, S]: scores [N, S', S']."""

    def __init__(self, channels: int, size: int, num_classes: int, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = []
        while size > 4:
            layers += [spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            channels, size = width, size // 2
        layers += [spectral_norm(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Conv2d(width, 1, 1))
        self.embed = spectral_norm(nn.Embedding(num_classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Score every patch of every feature map."""
        h = self.body(x)
        return self.score(h)[:, 0] + torch.einsum("nchw,nc->nhw", h, self.embed(labels).to(h.dtype))


class PixelCritic(nn.Module):
    """A spectrally normalised residual critic on the image itself: scores [N]."""

    def __init__(self, channels: int, size: int, num_classes: int, width: int = 32):
        super().__init__()
        # Half the size at once: cheap.
        self.stem = spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1))
        size //= 2
        self.blocks = nn.ModuleList()
        while size > 4:
            after = min(width * 2, 192)
            main = nn.Sequential(
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, after, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(after, after, 3, padding=1)),
            )
            skip = spectral_norm(nn.Conv2d(width, after, 1))
            self.blocks.append(nn.ModuleList([main, skip]))
            width, size = after, size // 2
        self.score = spectral_norm(nn.Linear(width, 1))
        self.embed = spectral_norm(nn.Embedding(num_classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Score every image."""
        h = self.stem(x)
        for block in self.blocks:
            main, skip = block.children()
            h = F.avg_pool2d(main(h) + skip(h), 2)
        h = F.leaky_relu(h, 0.2).mean(dim=(2, 3))  # [N, width]
        return self.score(h)[:, 0] + (h * self.embed(labels).to(h.dtype)).sum(dim=1)


class Critic(nn.Module):
    """Heads on every scale of a frozen feature function, and the pixel critic; returns one score tensor per part."""

    def __init__(
        self, features: FeatureFunction, channels: int, size: int, num_classes: int, device: torch.device
    ):
        super().__init__()
        self.features = features
        with torch.no_grad():
            maps = features(torch.zeros(2, channels, size, size, device=device))
        self.heads = nn.ModuleList(Head(m.shape[1], m.shape[2], num_classes) for m in maps)
        self.pixels = PixelCritic(channels, size, num_classes)
        self.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, labels: Tensor) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Score images x [N, C, H, W] in the signed range.

        Returns
        -------
        scores [N, patches] of every part, and the feature maps that the heads looked at.
        """
        maps = self.features(x)
        scores = [head(m, labels).flatten(1) for head, m in zip(self.heads, maps, strict=True)]
        return [*scores, self.pixels(x, labels)[:, None]], maps


def augment(x: Tensor, shift: int = 2, hole: int = 6) -> Tensor:
    """Shift every image of x [N, C, H, W] by up to `shift` pixels and blank a square of `hole` pixels in half of them.

    Differentiable, and applied to real and generated images alike, so that the critic can't learn the training images
    by heart (Zhao et al. 2020, arXiv 2006.10738).
    """
    n, _, height, width = x.shape
    device = x.device
    dy, dx = torch.randint(-shift, shift + 1, (2, n, 1), device=device)
    rows = torch.arange(height, device=device) + dy + shift  # [N, H], in the padded image
    columns = torch.arange(width, device=device) + dx + shift
    padded = F.pad(x, [shift] * 4, value=-1.0)
    image = torch.arange(n, device=device)[:, None, None]
    x = padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    top, left = torch.randint(0, height - hole + 1, (2, n, 1), device=device)
    kept = torch.rand(n, 1, 1, device=device) < 0.5
    down, across = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows, in_columns = (down >= top) & (down < top + hole), (across >= left) & (across < left + hole)
    blank = in_rows[:, :, None] & in_columns[:, None, :] & ~kept  # [N, H, W]
    return x.masked_fill(blank[:, None], -1.0)
