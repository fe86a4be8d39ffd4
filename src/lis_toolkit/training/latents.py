"""What ties the mapping to real photographs: an encoder, a store of its latents, and a critic of latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """Photograph and class to the latent w; every latent dimension has zero mean and unit variance over a batch.

    Parameters
    ----------
    widths : channels at full size, a half, a quarter and an eighth of it.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        num_classes: int,
        w_dim: int,
        widths: tuple[int, ...] = (32, 64, 128, 192),
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            stride = 1 if i == 0 else 2
            layers += [
                nn.Conv2d(channels, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
            channels, size = width, size // stride
        self.body = nn.Sequential(*layers)
        self.embed = nn.Embedding(num_classes, 32)
        self.fc = nn.Sequential(
            nn.Linear(channels * size * size + 32, 256), nn.LeakyReLU(0.2), nn.Linear(256, w_dim)
        )
        self.scale = nn.BatchNorm1d(w_dim, affine=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map signed images [N, C, H, W] and classes [N] to w [N, W]."""
        h = self.body(x).flatten(1)
        w: Tensor = self.scale(self.fc(torch.cat([h, self.embed(labels).to(h.dtype)], dim=1)).float())
        return w


class LatentBank(nn.Module):
    """The encoder's most recent latents, so that the critic of latents can see many more than a batch of images."""

    w: Tensor
    labels: Tensor
    pushed: Tensor

    def __init__(self, w_dim: int, size: int = 8192):
        super().__init__()
        self.register_buffer("w", torch.zeros(size, w_dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64, device="cpu"))

    def push(self, w: Tensor, labels: Tensor) -> None:
        """Store latents [N, W] and classes [N] in place of the oldest."""
        place = (torch.arange(len(w)) + int(self.pushed)) % len(self.w)
        self.w[place], self.labels[place] = w.detach(), labels
        self.pushed += len(w)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw n latents [n, W] and their classes [n], with replacement."""
        index = torch.randint(min(int(self.pushed), len(self.w)), (n,), device=self.w.device)
        return self.w[index], self.labels[index]


class LatentCritic(nn.Module):
    """Tells latents of the encoder from latents of the mapping, class by class: scores [N]."""

    def __init__(self, w_dim: int, num_classes: int, width: int = 256):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(w_dim, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)
        )
        self.score = nn.Linear(width, 1)
        self.embed = nn.Embedding(num_classes, width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)

    def forward(self, w: Tensor, labels: Tensor) -> Tensor:
        """Score latents w [N, W] of classes [N]."""
        h = self.body(w)
        scores: Tensor = self.score(h)[:, 0] + (h * self.embed(labels)).sum(dim=1)
        return scores

    def loss(
        self, real: Tensor, fake: Tensor, real_labels: Tensor, fake_labels: Tensor, gamma: float
    ) -> Tensor:
        """Logistic loss with the R1 gradient penalty on the encoder's latents (Mescheder et al. 2018)."""
        real = real.detach().requires_grad_()
        real_scores = self(real, real_labels)
        (slope,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
        penalty = slope.square().sum(dim=1).mean() * gamma / 2
        return F.softplus(-real_scores).mean() + F.softplus(self(fake.detach(), fake_labels)).mean() + penalty
