"""Train segmenters: one on a few hand-labelled pictures, and one that learns from it to read photographs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..errors import LisError
from ..names import finite_number, whole_number
from ..stylegan import Generator
from .masks import PartMasks
from .network import DILATIONS, SLOPE, WIDTHS, Segmenter
from .segmenter import render_parts

PICTURE_WIDTHS = (24, 24, 32, 32, 32, 32, 24)
PICTURE_DILATIONS = (1, 2, 4, 8, 4, 2, 1)


def default_layers(generator: Generator) -> tuple[str, ...]:
    """Return every second synthesis layer, the last that makes the picture not among them (methods of the paper).

    Examples
    --------
    >>> default_layers(load_generator("fashion"))
    ('L1_20_128', 'L3_36_67', 'L5_32_40')
    """
    names = generator.synthesis.layer_names[:-1]
    return tuple(names[1::2] or names)


def train_segmenter(
    generator: Generator,
    masks: PartMasks,
    *,
    layers: Sequence[str] | None = None,
    epochs: int = 120,
    batch_size: int = 10,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-3,
    shift: int = 2,
    mirror: bool = False,
    widths: Sequence[int] = WIDTHS,
    dilations: Sequence[int] = DILATIONS,
    seed: int = 0,
    name: str = "unnamed",
    progress: bool = True,
) -> Segmenter:
    """Train a segmenter that reads a generator's feature maps on a few labelled pictures.

    Tritrong et al. 2021 (arXiv 2103.04379). Parts that cover few pixels weigh more in the loss (by the inverse root of
    their frequency, and by a Dice term in which every part counts alike).

    Parameters
    ----------
    masks
        Labelled pictures of this generator; all of them are trained on (``masks.take("train")``).
    layers
        Names of synthesis layers; None: every second.
    epochs, batch_size
        Rounds over the pictures, and how many make a step.
    learning_rate, weight_decay
        Of Adam; the rate falls to zero along a half cosine.
    shift
        Maps and labels are moved by up to so many pixels, whole pixels of the coarsest map; 0: not.
    mirror
        Mirror maps and labels, half of the time. (Feature maps of a mirrored picture are not quite mirrored ones.)
    widths, dilations
        Of the network, see `Segmenter`.
    seed
        Of the first weights, the order of the pictures and their shifts: same seed, same segmenter.

    Returns
    -------
    Segmenter
        For evaluation, weights frozen.

    Raises
    ------
    LisError
        For masks of another generator, layers it doesn't have, and settings that are no such numbers.

    Examples
    --------
    >>> masks = load_masks("fashion")
    >>> segmenter = train_segmenter(generator, masks.take("train"))
    """
    chosen = default_layers(generator) if layers is None else tuple(layers)
    if not chosen:
        raise LisError("there are no layers; give names of the generator's layers, or None for every second.")
    w = masks.latents(generator)
    with torch.no_grad():
        parts = [generator.render_features(some, chosen)[1] for some in w.split(16)]
    maps = [torch.cat(column) for column in zip(*parts, strict=True)]
    truth = masks.labels.to(generator.device).long()  # [N, H, W]
    coarsest = min(m.shape[-1] for m in maps)
    step = max(1, generator.img_resolution // coarsest)  # pixels of the picture in one of the coarsest map's

    def batch(index: Tensor, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        inputs, target = [m[index] for m in maps], truth[index]
        down, right = (_whole_steps(shift, step, random) for _ in range(2))
        if down or right:
            size = generator.img_resolution
            inputs = [_moved(m, down * m.shape[-1] // size, right * m.shape[-1] // size) for m in inputs]
            target = _moved(target, down, right)
        if mirror and torch.rand((), generator=random) < 0.5:
            inputs, target = [m.flip(3) for m in inputs], target.flip(2)
        return inputs, target

    def build() -> Segmenter:
        channels = [m.shape[1] for m in maps]
        segmenter = Segmenter(
            masks.legend,
            chosen,
            channels,
            generator.img_resolution,
            widths=widths,
            dilations=dilations,
            generator_hash=generator.hash,
            name=name,
        )
        segmenter.normalize(maps)
        return segmenter.to(generator.device)

    settings = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings |= {"weight_decay": weight_decay, "seed": seed}
    segmenter = _train(build, batch, truth, settings, "segmenter", progress)
    segmenter.metadata["training"] |= {"shift": shift, "mirror": mirror, "pictures": len(masks)}
    return segmenter


def train_picture_segmenter(
    generator: Generator,
    segmenter: Segmenter,
    *,
    pictures: int = 4000,
    psi: Sequence[float] = (0.7, 1.0),
    epochs: int = 12,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-4,
    widths: Sequence[int] = PICTURE_WIDTHS,
    dilations: Sequence[int] = PICTURE_DILATIONS,
    seed: int = 0,
    name: str = "unnamed",
    progress: bool = True,
) -> Segmenter:
    """Train a segmenter that reads pictures on generated ones, labelled by one that reads feature maps.

    Tritrong et al. 2021, section 3.3 (auto-shot segmentation). Pictures are moved, brightened, darkened, given more or
    less contrast, and noise, so that photographs are not too different from them.

    Parameters
    ----------
    segmenter
        The teacher; it reads this generator's feature maps.
    pictures
        How many are generated, the classes in turn.
    psi
        Truncations, in turn.
    epochs, batch_size, learning_rate, weight_decay, widths, dilations, seed, name
        As in `train_segmenter`.

    Raises
    ------
    LisError
        For a teacher of another generator, and settings that are no such numbers.

    Examples
    --------
    >>> by_picture = train_picture_segmenter(generator, load_segmenter("fashion"))
    >>> labels = segment_pictures(by_picture, photographs.images)
    """
    pictures, seed = whole_number(pictures, "pictures", 1), whole_number(seed, "seed", 0, 2**31)
    values = [finite_number(value, "psi") for value in psi]
    if not values:
        raise LisError("there is no psi; give at least one truncation.")
    z = generator.sample_z(pictures, seed)
    rows = []
    for i, value in enumerate(values):  # picture j has the psi of number j % len(values)
        some = z[i :: len(values)]
        if len(some):
            turn = torch.arange(i, pictures, len(values)) // len(values)
            rows.append(generator.map(some, turn % generator.c_dim if generator.c_dim else None, value))
    x, labels = render_parts(generator, segmenter, torch.cat(rows))
    truth = labels.long()

    def batch(index: Tensor, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        down, right = (_whole_steps(3, 1, random) for _ in range(2))
        return [_other_light(_moved(x[index], down, right), random)], _moved(truth[index], down, right)

    def build() -> Segmenter:
        student = Segmenter(
            segmenter.legend,
            (),
            [generator.img_channels],
            generator.img_resolution,
            widths=widths,
            dilations=dilations,
            generator_hash=generator.hash,
            name=name,
        )
        # Not channel by channel as for feature maps: what is learned shall not depend on the pictures' mean.
        student.get_buffer("mean0").fill_(0.5)
        student.get_buffer("std0").fill_(0.5)
        return student.to(generator.device)

    settings = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings |= {"weight_decay": weight_decay, "seed": seed}
    student = _train(build, batch, truth, settings, "picture segmenter", progress)
    student.metadata["training"] |= {"pictures": pictures, "psi": values, "teacher": segmenter.hash}
    return student


def _train(
    build: Callable[[], Segmenter],
    batch: Callable[[Tensor, torch.Generator], tuple[list[Tensor], Tensor]],
    truth: Tensor,
    settings: dict[str, float],
    title: str,
    progress: bool,
) -> Segmenter:
    """Train what `build` makes on what `batch` gives of some of the pictures with labels `truth` [N, H, W]."""
    epochs = whole_number(settings["epochs"], "epochs", 1)
    size = whole_number(settings["batch_size"], "batch_size", 1)
    seed = whole_number(settings["seed"], "seed", 0, 2**31)
    rate = finite_number(settings["learning_rate"], "learning_rate")
    decay = finite_number(settings["weight_decay"], "weight_decay")
    if rate <= 0 or decay < 0:
        raise LisError(
            f"learning_rate is {rate} and weight_decay {decay}; a positive number and one of at least 0 were expected."
        )
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        segmenter = build()
        _first_weights(segmenter)
    random = torch.Generator().manual_seed(seed)
    weights = _part_weights(truth, len(segmenter.legend.names))  # [1 + P]
    optimizer = torch.optim.Adam(segmenter.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * -(-len(truth) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = torch.zeros(())
    with tqdm(total=steps, desc=f"training the {title}", disable=not progress, leave=False) as bar:
        for _ in range(epochs):
            for index in torch.randperm(len(truth), generator=random).split(size):
                inputs, target = batch(index.to(truth.device), random)
                loss = _loss(segmenter(inputs), target, weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    segmenter.metadata["training"] = {
        **settings,
        "steps": steps,
        "last_loss": round(float(loss.detach()), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return segmenter.eval().requires_grad_(False)


def _first_weights(segmenter: Segmenter) -> None:
    """Set He's first weights for this leaky ReLU; torch's own are too small for it."""
    for module in segmenter.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _part_weights(truth: Tensor, count: int) -> Tensor:
    """Give every label [1 + P] the inverse root of its frequency, the mean over all pixels being 1."""
    pixels = torch.bincount(truth.flatten(), minlength=count).double()
    weights = (pixels.sum() / pixels.clamp_min(1)).sqrt() * (pixels > 0)
    return (weights * pixels.sum() / (weights * pixels).sum()).float()


def _loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy plus a Dice term over the parts that are in the batch."""
    entropy = F.cross_entropy(logits, target, weights)
    one_hot = F.one_hot(target, logits.shape[1]).movedim(3, 1).to(logits.dtype)  # [N, 1 + P, H, W]
    shares = logits.softmax(dim=1)
    both = (shares * one_hot).sum(dim=(0, 2, 3))  # [1 + P]
    total = (shares + one_hot).sum(dim=(0, 2, 3))
    there = one_hot.sum(dim=(0, 2, 3)) > 0
    dice = 1 - 2 * both / total.clamp_min(1e-6)
    return entropy + dice[there].mean()


def _whole_steps(most: int, step: int, random: torch.Generator) -> int:
    """Draw a shift of up to `most` pixels that is a whole number of steps."""
    reach = whole_number(most, "shift", 0) // step
    return int(torch.randint(-reach, reach + 1, (), generator=random)) * step


def _moved(x: Tensor, down: int, right: int) -> Tensor:
    """Move maps or labels [..., H, W] by whole pixels; the edge is repeated where they come in."""
    high, wide = x.shape[-2:]
    rows = (torch.arange(high, device=x.device) - down).clamp(0, high - 1)
    columns = (torch.arange(wide, device=x.device) - right).clamp(0, wide - 1)
    return x[..., rows, :][..., columns]


def _other_light(x: Tensor, random: torch.Generator) -> Tensor:
    """Change contrast and brightness of each picture [N, C, H, W], and add noise."""
    draw = torch.rand(3, len(x), 1, 1, 1, generator=random).to(x.device)
    power = (0.8 * draw[0] - 0.4).exp()  # gamma 0.67 to 1.5
    gain = 0.75 + 0.5 * draw[1]
    noise = torch.randn(x.shape, generator=random).to(x.device) * 0.05 * draw[2]
    return (x.clamp_min(0) ** power * gain + noise).clamp(0, 1)
