"""The frozen eye of the GAN's critic: a small net that knows garments and which way up they are.

A projected GAN (Sauer et al. 2021, arXiv 2111.01007) judges images in the feature space of a pretrained
network. Ours is trained on the training photographs only, to tell class and rotation (Gidaris et al. 2018,
arXiv 1803.07728), so that its features are richer than a classifier's. It is neither the bundled classifier
nor the judge, and it is not shipped.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..datasets import Photographs
from ..errors import LisError
from .classifier import augment_light, decayed_groups, shuffled_batches

ROTATIONS = 4  # by 0, 90, 180, 270 degrees


class CriticFeatures(nn.Module):
    """A small convolutional net with feature maps at four scales: 32, 16, 8, 4 pixels for images of 32.

    Parameters
    ----------
    widths
        Channels of the four maps.
    """

    def __init__(
        self, channels: int = 1, num_classes: int = 10, widths: tuple[int, ...] = (32, 64, 128, 192)
    ) -> None:
        super().__init__()
        self.widths = widths
        self.training_accuracy: dict[str, float] = {}
        stages, inputs = [], channels
        for i, width in enumerate(widths):
            stages.append(
                nn.Sequential(
                    nn.Conv2d(inputs, width, 3, 1 if i == 0 else 2, 1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(width, width, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.LeakyReLU(0.2),
                )
            )
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.class_head = nn.Linear(inputs, num_classes)
        self.rotation_head = nn.Linear(inputs, ROTATIONS)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the four maps [N, widths[i], H / 2^i, W / 2^i] of images [N, C, H, W] in the signed range."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of class [N, K] and of rotation [N, 4]."""
        pooled = self.features(x)[-1].mean((2, 3))
        return self.class_head(pooled), self.rotation_head(pooled)


def turn_quarters(x: Tensor, quarters: Tensor) -> Tensor:
    """Rotate square images [N, C, H, H] by `quarters` [N] times 90 degrees."""
    turned = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(ROTATIONS)])  # [4, N, C, H, H]
    return turned[quarters, torch.arange(len(x), device=x.device)]


def train_critic_features(
    photographs: Photographs,
    seed: int = 0,
    epochs: int = 15,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 512,
    learning_rate: float = 3e-3,
    bfloat16: bool | None = None,
    progress: bool = True,
) -> CriticFeatures:
    """Train the critic's feature net on training photographs, and freeze it.

    Returns
    -------
    CriticFeatures
        On `device`, in evaluation mode, without gradients for its weights (they flow to the images). Its attribute
        `training_accuracy` has the last epoch's shares of right classes and right rotations.

    Raises
    ------
    LisError
        For empty or not square photographs, or when training diverges.
    """
    if len(photographs) < 1 or epochs < 1 or photographs.images.shape[2] != photographs.images.shape[3]:
        raise LisError(
            f"square photographs and epochs >= 1 are needed, got {list(photographs.images.shape)}, {epochs}."
        )
    device = torch.device(device)
    half = device.type != "cpu" if bfloat16 is None else bfloat16
    images, labels = photographs.images.to(device) * 2 - 1, photographs.labels.to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = CriticFeatures(images.shape[1], len(photographs.classes)).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(seed)
    per_epoch = len(images) // min(batch_size, len(images))
    optimizer = torch.optim.AdamW(decayed_groups(net, 0.05), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * per_epoch + 1, pct_start=0.2
    )
    seen = torch.zeros(3, device=device)
    bar = tqdm(total=epochs * per_epoch, desc="critic features", unit="step", disable=not progress)
    for epoch in range(epochs):
        seen.zero_()
        for batch in shuffled_batches(len(images), batch_size, generator):
            quarters = torch.randint(0, ROTATIONS, (len(batch),), device=device, generator=generator)
            # Half of the images stay upright: those are what the GAN will show.
            quarters *= (torch.rand(len(batch), device=device, generator=generator) < 2 / 3).long()
            x = turn_quarters(augment_light((images[batch] + 1) / 2, generator) * 2 - 1, quarters)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                by_class, by_rotation = net(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(by_class.float(), labels[batch])
            loss = loss + F.cross_entropy(by_rotation.float(), quarters)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            hits = (by_class.argmax(1) == labels[batch]).float().mean()
            hits_rotation = (by_rotation.argmax(1) == quarters).float().mean()
            seen += torch.stack([loss.detach(), hits, hits_rotation])
            bar.update()
        mean_loss, class_accuracy, rotation_accuracy = (seen / per_epoch).tolist()
        if not math.isfinite(mean_loss):
            raise LisError(f"training diverged in epoch {epoch + 1}: loss {mean_loss}. Lower learning_rate.")
        bar.set_postfix(epoch=epoch + 1, loss=f"{mean_loss:.3f}", classes=f"{class_accuracy:.4f}")
    bar.close()
    net.training_accuracy = {"class": class_accuracy, "rotation": rotation_accuracy}
    net.zero_grad()
    return net.eval().requires_grad_(False)
