"""Training of a small class-conditional StyleGAN-XL against projected critics.

    python -m lis_toolkit.training.generator --data DIR --out fashion-generator.safetensors

Interrupted runs go on from `--checkpoint`: every step draws from its own seed, so a resumed run sees what an undisturbed
one would have seen.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from ..datasets import Photographs, load_fashion
from ..errors import LisError
from ..files import load_tensors, provenance, save_tensors
from ..stylegan import Generator, GeneratorConfig, save_generator, update_mean_latents
from ..stylegan.network import SynthesisLayer
from .classifier import choose_device
from .critic_features import CriticFeatures, train_critic_features
from .critics import Critic, augment

FASHION_CONFIG = GeneratorConfig(
    z_dim=64,
    c_dim=10,
    w_dim=128,
    resolution=32,
    img_channels=1,
    channel_base=1536,
    channel_max=192,
    num_layers=8,
    embedding_dim=32,
    first_stopband=2**1.5,
    margin=2,
    lrelu_upsampling=1,
)


@dataclass(frozen=True)
class GanSettings:
    """Everything that decides a training run besides the data and the generator's configuration.

    Attributes
    ----------
    images : generated images over the whole run.
    lr_generator, lr_critic : Adam step sizes; both fall linearly to zero over the last `anneal` share of the run.
    ema_images : half-life of the averaged weights, in images.
    guidance : weight of the cross-entropy of generated images under the frozen network's class head (classifier
        guidance, StyleGAN-XL section 3.4).
    """

    images: int = 4_000_000
    batch_size: int = 256
    lr_generator: float = 2.5e-3
    lr_critic: float = 5e-4
    anneal: float = 0.3
    ema_images: int = 40_000
    guidance: float = 0.2
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return -(-self.images // self.batch_size)

    def rate(self, step: int) -> float:
        """Share of the full step size at a step: a short warm-up, then constant, then down to zero."""
        left = 1 - step / self.steps
        return min(1.0, (step + 1) / 200, left / self.anneal if self.anneal else 1.0)


class GanTrainer:
    """The state of a run: generator, its running average, critic, optimisers, step.

    Parameters
    ----------
    config : of the generator.
    photographs : real images and labels; moved to the device as a whole.
    feature_net : what `train_critic_features` gives; frozen.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        settings: GanSettings,
        photographs: Photographs,
        feature_net: CriticFeatures,
        device: torch.device | str = "cpu",
    ):
        if len(photographs.classes) != config.c_dim:
            raise LisError(f"{len(photographs.classes)} classes of photographs, but the generator has {config.c_dim}")
        self.device = torch.device(device)
        self.settings, self.step = settings, 0
        self.low_precision = self.device.type != "cpu"
        torch.manual_seed(settings.seed)
        self.generator = Generator(config, photographs.classes).to(self.device).train()
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.feature_net = feature_net.to(self.device).eval().requires_grad_(False)
        size = config.resolution
        self.critic = Critic(self.feature_net.features, config.img_channels, size, config.c_dim, self.device)
        self.images = (photographs.images * 2 - 1).to(self.device)
        self.labels = photographs.labels.to(self.device)
        fused = self.low_precision
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), settings.lr_generator, (0.0, 0.99), fused=fused),
            "critic": torch.optim.Adam(self.critic.parameters(), settings.lr_critic, (0.0, 0.99), fused=fused),
        }

    def generate(self) -> tuple[Tensor, Tensor]:
        """Draw random classes and render a batch: signed images [N, C, H, W] and labels [N]."""
        n, model = self.settings.batch_size, self.generator
        labels = torch.randint(model.c_dim, (n,), device=self.device)
        w = model.mapping(torch.randn(n, model.z_dim, device=self.device), labels)
        dtype = torch.bfloat16 if self.low_precision else None
        return model.synthesis(model.broadcast(w), dtype), labels

    def autocast(self) -> torch.autocast:
        """Half precision on an accelerator, none on the CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)

    def train_step(self) -> dict[str, Tensor]:
        """Take one step of the critic and one of the generator (hinge losses); returns losses, not synchronised."""
        settings = self.settings
        torch.manual_seed((settings.seed << 32) + self.step)
        for name, full in (("generator", settings.lr_generator), ("critic", settings.lr_critic)):
            for group in self.optimizers[name].param_groups:
                group["lr"] = full * settings.rate(self.step)

        index = torch.randint(len(self.images), (settings.batch_size,), device=self.device)
        with torch.no_grad():
            fake, fake_labels = self.generate()
        self.critic.requires_grad_(True)
        with self.autocast():
            x = augment(torch.cat([self.images[index], fake]))
            scores, _ = self.critic(x, torch.cat([self.labels[index], fake_labels]))
            critic_loss = torch.zeros((), device=self.device)
            for score in scores:
                real_score, fake_score = score.float().chunk(2)
                critic_loss = critic_loss + F.relu(1 - real_score).mean() + F.relu(1 + fake_score).mean()
        self.optimizers["critic"].zero_grad(set_to_none=True)
        critic_loss.backward()
        self.optimizers["critic"].step()

        self.critic.requires_grad_(False)
        fake, fake_labels = self.generate()
        with self.autocast():
            scores, maps = self.critic(augment(fake), fake_labels)
            loss = torch.stack([-score.float().mean() for score in scores]).sum()
            if settings.guidance:
                logits = self.feature_net.class_head(maps[-1].mean((2, 3))).float()
                loss = loss + settings.guidance * F.cross_entropy(logits, fake_labels)
        self.optimizers["generator"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["generator"].step()
        self._follow()
        self.step += 1
        return {"critic": critic_loss.detach() / len(scores), "generator": loss.detach() / len(scores)}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average towards the present weights; its half-life grows with the run at first."""
        seen = (self.step + 1) * self.settings.batch_size
        half_life = min(self.settings.ema_images, seen * 0.05)
        keep = 0.5 ** (self.settings.batch_size / max(half_life, 1e-8))
        averaged, present = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(averaged, present, 1 - keep)
        for old, new in zip(self._layers(self.average), self._layers(self.generator), strict=True):
            old.magnitude_ema.copy_(new.magnitude_ema)

    @staticmethod
    def _layers(generator: Generator) -> list[SynthesisLayer]:
        return [module for module in generator.modules() if isinstance(module, SynthesisLayer)]

    def save(self, path: str | Path) -> None:
        """Write the whole state of the run, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, module in (("generator", self.generator), ("average", self.average), ("critic", self.critic)):
            state = module.state_dict()
            frozen = "features."  # the feature network is not part of the run's state
            tensors |= {f"{name}/{key}": value for key, value in state.items() if not key.startswith(frozen)}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{slot}": torch.as_tensor(v) for slot, v in slots.items()}
        settings = asdict(self.settings)
        save_tensors(path, tensors, {"step": self.step, "settings": settings, "provenance": provenance()})

    def resume(self, path: str | Path) -> None:
        """Go on from a state written by `save`.

        Raises
        ------
        LisError : the run was started with other settings.
        """
        tensors, notes = load_tensors(path)
        mine = asdict(self.settings)
        changed = {k: (notes.get("settings", {}).get(k), mine[k]) for k in mine if notes.get("settings", {}).get(k) != mine[k]}
        if changed:
            told = ", ".join(f"{k}: {a} there, {b} here" for k, (a, b) in changed.items())
            raise LisError(f"{path} belongs to a run with other settings ({told}); use those, or start without it")
        for name, module in (("generator", self.generator), ("average", self.average), ("critic", self.critic)):
            prefix = f"{name}/"
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            missing, unexpected = module.load_state_dict(state, strict=False)
            if unexpected or any(not key.startswith("features.") for key in missing):
                raise LisError(f"{path} does not fit this {name}: {(list(missing) + list(unexpected))[:3]}")
        for name, optimizer in self.optimizers.items():
            state_dict: dict[str, Any] = optimizer.state_dict()
            prefix = f"optimizer/{name}/"
            for key, value in tensors.items():
                if key.startswith(prefix):
                    index, slot = key.removeprefix(prefix).split("/")
                    state_dict["state"].setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict(state_dict)
        self.step = int(notes["step"])

    def run(self, checkpoint: str | Path | None = None, every: int = 2000, progress: bool = True) -> Generator:
        """Train to the end, with checkpoints, and give the averaged generator with its mean latents set."""
        total = self.settings.steps
        with tqdm(total=total, initial=self.step, disable=not progress, mininterval=5, desc="generator") as bar:
            while self.step < total:
                losses = self.train_step()
                bar.update()
                if self.step % 100 == 0:
                    bar.set_postfix({name: f"{float(value):.3f}" for name, value in losses.items()}, refresh=False)
                    if not torch.isfinite(losses["generator"]):
                        raise LisError(f"training diverged at step {self.step}: lower lr_generator or lr_critic")
                if checkpoint and self.step % every == 0:
                    self.save(checkpoint)
        update_mean_latents(self.average)
        return self.average


def main(arguments: list[str] | None = None) -> None:
    """Train the bundled generator on Fashion-MNIST's 60,000 training photographs."""
    parser = argparse.ArgumentParser(prog="python -m lis_toolkit.training.generator", description=main.__doc__)
    parser.add_argument("--out", required=True, help="safetensors file to write")
    parser.add_argument("--data", help="folder with Fashion-MNIST's IDX files (default: Debian's package)")
    parser.add_argument("--device", help="default: an accelerator if there is one, else the CPU")
    parser.add_argument("--checkpoint", help="file for the run's state; an interrupted run goes on from it")
    parser.add_argument("--critic-epochs", type=int, default=15)
    for field in fields(GanSettings):
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    given = vars(parser.parse_args(arguments))
    settings = GanSettings(**{field.name: given[field.name] for field in fields(GanSettings)})
    device = choose_device(given["device"])
    torch.set_float32_matmul_precision("high")
    photographs = load_fashion("train", given["data"])
    feature_net = train_critic_features(photographs, settings.seed, given["critic_epochs"], device)
    trainer = GanTrainer(FASHION_CONFIG, settings, photographs, feature_net, device)
    if given["checkpoint"] and Path(given["checkpoint"]).exists():
        trainer.resume(given["checkpoint"])
    generator = trainer.run(given["checkpoint"])
    notes = {"images": len(photographs), "device": device.type, "critic_epochs": given["critic_epochs"]}
    save_generator(generator, given["out"], training={**asdict(settings), **notes})


if __name__ == "__main__":
    main()
