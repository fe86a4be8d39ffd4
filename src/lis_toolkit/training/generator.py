"""Training of a small class-conditional StyleGAN-XL on real photographs.

    python -m lis_toolkit.training.generator --data DIR --out fashion-generator.safetensors

Two phases of one run, made so that hours on a CPU are enough. First the synthesis network learns to reconstruct
photographs from an encoder's latents, while the mapping learns, against a critic of latents, to give latents as the
encoder does. Then critics of images join, on reconstructions and on samples alike (projected GAN, Sauer et al. 2021);
the reconstruction loss stays on, which keeps every kind of photograph covered.

Interrupted runs go on from `--checkpoint`: every step draws from its own seed, so a resumed run sees what an
undisturbed one would have seen.
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
from ..files import load_tensors, provenance, save_tensors, sha256_tensors
from ..stylegan import Generator, GeneratorConfig, save_generator, update_mean_latents
from ..stylegan.network import SynthesisLayer
from .classifier import choose_device
from .critic_features import CriticFeatures, train_critic_features
from .critics import Critic, augment
from .latents import Encoder, LatentBank, LatentCritic

FASHION_CONFIG = GeneratorConfig(
    z_dim=64,
    c_dim=10,
    w_dim=64,
    resolution=32,
    img_channels=1,
    channel_base=1280,
    channel_max=128,
    num_layers=6,
    embedding_dim=32,
    mapping_layers=4,
    first_stopband=2**1.5,
    margin=2,
    lrelu_upsampling=1,
    conv_clamp=None,
)


@dataclass(frozen=True)
class GeneratorSettings:
    """Everything that decides a run besides the photographs and the generator's configuration.

    Attributes
    ----------
    steps : optimiser steps of the whole run; `warm_up` is the share of them without critics of images.
    batch_size : photographs per step; in the second phase as many samples are drawn.
    latent_batch : latents per step of the critic of latents.
    lr_* : Adam step sizes of the synthesis, mapping, encoder, image critics and latent critic. Those of synthesis
        and mapping are divided by `calm` when the second phase begins; all fall linearly to zero
        over the last `anneal` share.
    noise : standard deviation of the noise on the encoder's latents, in units of theirs.
    adversarial, reconstruction, latent, guidance : weights of the losses in the second phase: critics of images,
        photographs against their reconstructions, critic of latents, and cross-entropy of samples under the frozen
        network's class head (classifier guidance, StyleGAN-XL section 3.4).
    """

    steps: int = 8_500
    warm_up: float = 0.4117
    batch_size: int = 32
    latent_batch: int = 256
    lr_synthesis: float = 1e-2
    lr_mapping: float = 1.0
    lr_encoder: float = 1e-3
    lr_critic: float = 5e-4
    lr_latent_critic: float = 2e-3
    calm: float = 4.0
    anneal: float = 0.3
    noise: float = 0.2
    adversarial: float = 1.0
    reconstruction: float = 2.0
    latent: float = 0.5
    guidance: float = 0.5
    ema_images: int = 20_000
    seed: int = 0


class GeneratorTrainer:
    """The state of a run: networks, running averages, optimisers, step.

    Parameters
    ----------
    config : of the generator.
    photographs : real images and labels; moved to the device as a whole.
    feature_net : what `train_critic_features` gives; frozen.
    bfloat16 : half precision in the large networks (default: anywhere but on a CPU, where few have it).
    """

    def __init__(
        self,
        config: GeneratorConfig,
        settings: GeneratorSettings,
        photographs: Photographs,
        feature_net: CriticFeatures,
        device: torch.device | str = "cpu",
        bfloat16: bool | None = None,
    ):
        if len(photographs.classes) != config.c_dim:
            raise LisError(
                f"{len(photographs.classes)} classes of photographs, but the generator has {config.c_dim}"
            )
        self.device = torch.device(device)
        self.settings, self.step = settings, 0
        self.half = self.device.type != "cpu" if bfloat16 is None else bfloat16
        torch.manual_seed(settings.seed)
        self.generator = Generator(config, photographs.classes).to(self.device).train()
        size, channels, classes = config.resolution, config.img_channels, config.c_dim
        self.encoder = Encoder(channels, size, classes, config.w_dim).to(self.device)
        self.bank = LatentBank(config.w_dim).to(self.device)
        self.latent_critic = LatentCritic(config.w_dim, classes).to(self.device)
        self.feature_net = feature_net.to(self.device).eval().requires_grad_(False)
        self.critic = Critic(self.feature_net.features, channels, size, classes, self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.images = (photographs.images * 2 - 1).to(self.device)
        self.labels = photographs.labels.to(self.device)
        groups = {
            "synthesis": (self.generator.synthesis, settings.lr_synthesis, (0.0, 0.99)),
            "mapping": (self.generator.mapping, settings.lr_mapping, (0.0, 0.99)),
            "encoder": (self.encoder, settings.lr_encoder, (0.9, 0.99)),
            "critic": (self.critic, settings.lr_critic, (0.0, 0.99)),
            "latent_critic": (self.latent_critic, settings.lr_latent_critic, (0.0, 0.99)),
        }
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr, betas)
            for name, (module, lr, betas) in groups.items()
        }
        self.full_rates = {name: lr for name, (_, lr, _) in groups.items()}
        self.modules = {
            "generator": self.generator,
            "average": self.average,
            "encoder": self.encoder,
            "critic": self.critic,
            "latent_critic": self.latent_critic,
            "bank": self.bank,
        }

    @property
    def adversarial(self) -> bool:
        """Whether the second phase has begun."""
        return self.step >= self.settings.warm_up * self.settings.steps

    def _set_rates(self) -> None:
        settings = self.settings
        left = 1 - self.step / settings.steps
        rate = min(1.0, (self.step + 1) / 100, left / settings.anneal if settings.anneal else 1.0)
        for name, optimizer in self.optimizers.items():
            calm = settings.calm if name in ("synthesis", "mapping") and self.adversarial else 1.0
            for group in optimizer.param_groups:
                group["lr"] = self.full_rates[name] * rate / calm

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _update(self, name: str, loss: Tensor, *others: str) -> None:
        for each in (name, *others):
            self.optimizers[each].zero_grad(set_to_none=True)
        loss.backward()
        for each in (name, *others):
            self.optimizers[each].step()

    def _feature_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """Mean absolute difference of pixels, and of the frozen network's maps relative to their size."""
        with torch.no_grad(), self._autocast():
            wanted = self.feature_net.features(real)
        with self._autocast():
            maps = self.feature_net.features(fake)
        loss = (fake - real).abs().mean() * 4
        for got, want in zip(maps, wanted, strict=True):
            loss = loss + (got.float() - want.float()).abs().mean() / want.float().abs().mean()
        return loss

    def train_step(self) -> dict[str, Tensor]:
        """Take one step of every network; returns losses, not synchronised with the device."""
        settings, model, n = self.settings, self.generator, self.settings.batch_size
        torch.manual_seed((settings.seed << 32) + self.step)
        self._set_rates()
        index = torch.randint(len(self.images), (n,), device=self.device)
        real, real_labels = self.images[index], self.labels[index]
        labels = torch.randint(model.c_dim, (n,), device=self.device)
        losses: dict[str, Tensor] = {}

        # Latents: the encoder's with noise on them, the mapping's from z.
        with self._autocast():
            w_real = self.encoder(real, real_labels)  # [N, W]
        w_real = w_real + settings.noise * torch.randn_like(w_real)
        self.bank.push(w_real, real_labels)
        many_labels = torch.randint(model.c_dim, (settings.latent_batch,), device=self.device)
        many = model.mapping(torch.randn(settings.latent_batch, model.z_dim, device=self.device), many_labels)
        stored, stored_labels = self.bank.draw(settings.latent_batch)
        losses["latent critic"] = self.latent_critic.loss(stored, many, stored_labels, many_labels, gamma=0.3)
        self._update("latent_critic", losses["latent critic"])
        losses["latent"] = F.softplus(-self.latent_critic(many, many_labels)).mean()

        w, all_labels = w_real, real_labels
        if self.adversarial:
            w_fake = model.mapping(torch.randn(n, model.z_dim, device=self.device), labels)
            w, all_labels = torch.cat([w_real, w_fake]), torch.cat([real_labels, labels])
        images = model.synthesis(model.broadcast(w), torch.bfloat16 if self.half else None)
        losses["reconstruction"] = self._feature_loss(images[:n], real)
        if self.adversarial:
            losses |= self._criticise(real, real_labels, images, all_labels)
        names = ("latent", "adversarial", "guidance", "reconstruction")
        weights = {name: getattr(settings, name) for name in names}
        total = torch.stack([weights[name] * losses[name] for name in weights if name in losses]).sum()
        self._update("synthesis", total, "mapping", "encoder")
        self._follow()
        self.step += 1
        return {name: value.detach() for name, value in losses.items()}

    def _criticise(
        self, real: Tensor, real_labels: Tensor, images: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Take a step of the image critics (hinge), then give the generator's losses under them.

        `images` [2 N, ...] are N reconstructions and N samples; the critics learn from every second of them, so that
        they see as many real as generated images.
        """
        n = len(real)
        self.critic.requires_grad_(True)
        seen = torch.cat([real, images.detach()[::2]])
        with self._autocast():
            scores, _ = self.critic(augment(seen), torch.cat([real_labels, labels[::2]]))
        critic_loss = torch.stack(
            [F.relu(1 - s[:n].float()).mean() + F.relu(1 + s[n:].float()).mean() for s in scores]
        ).mean()
        self._update("critic", critic_loss)
        self.critic.requires_grad_(False)
        with self._autocast():
            scores, maps = self.critic(augment(images), labels)
            logits = self.feature_net.class_head(maps[-1][n:].mean((2, 3)))
        adversarial = torch.stack([-s.float().mean() for s in scores]).mean()
        guidance = F.cross_entropy(logits.float(), labels[n:])
        return {"critic": critic_loss, "adversarial": adversarial, "guidance": guidance}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average towards the present weights; its half-life grows with the run at first."""
        seen = (self.step + 1) * self.settings.batch_size
        keep = 0.5 ** (self.settings.batch_size / min(self.settings.ema_images, seen * 0.05))
        averaged: list[Tensor] = list(self.average.parameters())
        present: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averaged, present, 1 - keep)
        for old, new in zip(self._layers(self.average), self._layers(self.generator), strict=True):
            old.magnitude_ema.copy_(new.magnitude_ema)

    @staticmethod
    def _layers(generator: Generator) -> list[SynthesisLayer]:
        return [module for module in generator.modules() if isinstance(module, SynthesisLayer)]

    @property
    def identity(self) -> dict[str, dict[str, Any]]:
        """What a run must share with the one it goes on from: settings, layout, photographs and feature network."""
        assert self.generator.config is not None  # __init__ builds it from a configuration
        layout = self.generator.config.to_dict()
        layout["stages"] = [list(stage) for stage in layout["stages"]]  # as JSON gives them back
        data = {"photographs": sha256_tensors({"images": self.images, "labels": self.labels})}
        data["feature network"] = sha256_tensors(self.feature_net.state_dict())
        return {"settings": asdict(self.settings), "config": layout, "data": data}

    def save(self, path: str | Path) -> None:
        """Write the whole state of the run, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {
                    f"optimizer/{name}/{index}/{slot}": torch.as_tensor(v) for slot, v in slots.items()
                }
        save_tensors(path, tensors, {"step": self.step, **self.identity, "provenance": provenance()})

    def resume(self, path: str | Path) -> None:
        """Go on from a state written by `save`.

        Raises
        ------
        LisError : the run was started with other settings, or for another generator.
        """
        tensors, notes = load_tensors(path)
        changed = []
        for kind, mine in self.identity.items():
            theirs = notes.get(kind, {})
            changed += [
                f"{k}: {theirs.get(k)} there, {v} here" for k, v in mine.items() if theirs.get(k) != v
            ]
        if changed:
            raise LisError(f"{path} belongs to a run with other settings ({'; '.join(changed)}); use those")

        def under(prefix: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
            }

        for name, module in self.modules.items():
            try:
                module.load_state_dict(under(f"{name}/"))
            except RuntimeError as error:
                raise LisError(f"{path} does not fit the {name} of this run: {error}") from error
        for name, optimizer in self.optimizers.items():
            state: dict[str, Any] = optimizer.state_dict()
            for key, value in under(f"optimizer/{name}/").items():
                index, slot = key.split("/")
                state["state"].setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict(state)
        self.step = int(notes["step"])

    def run(self, checkpoint: str | Path | None = None, every: int = 500, progress: bool = True) -> Generator:
        """Train to the end, with checkpoints, and give the averaged generator with its mean latents set."""
        with tqdm(
            total=self.settings.steps,
            initial=self.step,
            disable=not progress,
            mininterval=5,
            desc="generator",
        ) as bar:
            while self.step < self.settings.steps:
                losses = self.train_step()
                bar.update()
                if self.step % 100 == 0:
                    bar.set_postfix(
                        {name: f"{float(value):.3f}" for name, value in losses.items()}, refresh=False
                    )
                    if not all(torch.isfinite(value) for value in losses.values()):
                        raise LisError(f"training diverged at step {self.step}: lower the step sizes")
                if checkpoint and self.step % every == 0:
                    self.save(checkpoint)
        if checkpoint:
            self.save(checkpoint)
        update_mean_latents(self.average)
        return self.average


def main(arguments: list[str] | None = None) -> None:
    """Train the bundled generator on Fashion-MNIST's 60,000 training photographs."""
    parser = argparse.ArgumentParser(
        prog="python -m lis_toolkit.training.generator", description=main.__doc__
    )
    parser.add_argument("--out", required=True, help="safetensors file to write")
    parser.add_argument("--data", help="folder with Fashion-MNIST's IDX files (default: Debian's package)")
    parser.add_argument("--device", help="default: an accelerator if there is one, else the CPU")
    parser.add_argument(
        "--bfloat16", action="store_true", default=None, help="on a CPU that has it (others: always)"
    )
    parser.add_argument("--checkpoint", help="file for the run's state; an interrupted run goes on from it")
    parser.add_argument("--critic-epochs", type=int, default=3)
    for field in fields(GeneratorSettings):
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    given = vars(parser.parse_args(arguments))
    settings = GeneratorSettings(**{field.name: given[field.name] for field in fields(GeneratorSettings)})
    device, half = choose_device(given["device"]), given["bfloat16"]
    torch.set_float32_matmul_precision("high")
    photographs = load_fashion("train", given["data"])
    feature_net = train_critic_features(
        photographs, settings.seed, given["critic_epochs"], device, batch_size=256, bfloat16=half
    )
    trainer = GeneratorTrainer(FASHION_CONFIG, settings, photographs, feature_net, device, half)
    if given["checkpoint"] and Path(given["checkpoint"]).exists():
        trainer.resume(given["checkpoint"])
    generator = trainer.run(given["checkpoint"])
    notes: dict[str, Any] = {
        "images": len(photographs),
        "device": device.type,
        "critic_epochs": given["critic_epochs"],
    }
    notes["bfloat16"] = trainer.half
    save_generator(generator, given["out"], training={**asdict(settings), **notes})


if __name__ == "__main__":
    main()
