"""Train segmenters: one on a few hand-labelled pictures, and one that learns from it to read photographs."""

from __future__ import annotations

import copy
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

_FAR = 10**9  # added to seeds of pictures that nobody labelled, so that none is one of those that were
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
    epochs: int = 60,
    unlabelled: int = 4000,
    batch_size: int = 10,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-3,
    shift: int = 2,
    widths: Sequence[int] = WIDTHS,
    dilations: Sequence[int] = DILATIONS,
    seed: int = 0,
    name: str = "unnamed",
    progress: bool = True,
) -> Segmenter:
    """Train a segmenter that reads a generator's feature maps on a few labelled pictures.

    Tritrong et al. 2021 (arXiv 2103.04379), and a second round beyond it, for the generator makes as many pictures as
    one likes: the network of the first round labels new ones, where only parts count that some labelled picture of the
    same class has, and a second network learns from both. Parts that cover few pixels weigh more in the loss (by the
    inverse root of their frequency, and by a Dice term in which every part counts alike).

    Parameters
    ----------
    masks
        Labelled pictures of this generator; all of them are trained on (``masks.take("train")``).
    layers
        Names of synthesis layers; None: every second.
    epochs
        Rounds over the pictures before the second round.
    unlabelled
        Pictures generated in the second round; 0: there is none.
    batch_size
        Labelled pictures in a step, and unlabelled ones.
    learning_rate, weight_decay
        Of Adam; the rate falls to zero along a half cosine.
    shift
        Maps and labels are moved by up to so many pixels, by whole pixels of the coarsest map; 0: not.
    widths, dilations
        Of the network, see `Segmenter`.
    seed
        Of the first weights, the order of the pictures, their shifts and the unlabelled pictures: same seed, same
        segmenter.

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
    settings = _Settings(epochs, batch_size, learning_rate, weight_decay, seed)
    shift, unlabelled = whole_number(shift, "shift", 0), whole_number(unlabelled, "unlabelled", 0)
    w = masks.latents(generator)
    with torch.no_grad():
        parts = [generator.render_features(some, chosen)[1] for some in w.split(16)]
    maps = [torch.cat(column) for column in zip(*parts, strict=True)]
    truth = masks.labels.to(generator.device).long()  # [N, H, W]
    size = generator.img_resolution
    coarse = max(
        1, size // min(m.shape[-1] for m in maps)
    )  # pixels of the picture in one of the coarsest map's

    def build() -> Segmenter:
        network = Segmenter(
            masks.legend, chosen, [m.shape[1] for m in maps], size,
            widths=widths, dilations=dilations, generator_hash=generator.hash, name=name,
        )  # fmt: skip
        network.normalize(maps)
        return network

    def moved(inputs: list[Tensor], target: Tensor, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        down, right = (_whole_steps(shift, coarse, random) for _ in range(2))
        if not (down or right):
            return inputs, target
        inputs = [_moved(m, down * m.shape[-1] // size, right * m.shape[-1] // size) for m in inputs]
        return inputs, _moved(target, down, right)

    def labelled(index: Tensor, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        return moved([m[index] for m in maps], truth[index], random)

    first = _train(build, labelled, truth, settings, "segmenter", progress)
    report = first.metadata["training"]
    if unlabelled:
        more = _Unlabelled(generator, first, masks)

        def both(index: Tensor, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
            others, target = more.draw(settings.batch_size, random)
            inputs = [torch.cat([m[index], other]) for m, other in zip(maps, others, strict=True)]
            return moved(inputs, torch.cat([truth[index], target]), random)

        steps = -(-unlabelled // settings.batch_size)
        first = _train(build, both, truth, settings, "segmenter again", progress, steps)
        first.metadata["training"]["seconds"] += report["seconds"]
        first.metadata["training"]["epochs_before"] = report["epochs"]
    first.metadata["training"] |= {"shift": shift, "unlabelled": unlabelled, "pictures": len(masks)}
    return first


class _Unlabelled:
    """New pictures of a generator, with what a first segmenter makes of them.

    Classes are drawn alike often; of each, only parts count that a labelled picture of the class has.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, masks: PartMasks) -> None:
        self.generator, self.segmenter = generator, segmenter
        self.psi = sorted({p.psi for p in masks.pictures})
        self.allowed = torch.zeros(max(generator.c_dim, 1), len(masks.legend.names), dtype=torch.bool)
        for picture, labels in zip(masks.pictures, masks.labels, strict=True):
            self.allowed[picture.label or 0, labels.unique().long()] = True
        self.allowed[:, 0] = True
        # Of classes without labelled pictures nothing is known, so everything may be.
        self.allowed[self.allowed.sum(dim=1) == 1] = True

    @torch.no_grad()
    def draw(self, n: int, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Give feature maps and labels [n, H, W] of n pictures."""
        generator = self.generator
        classes = torch.randint(0, len(self.allowed), (n,), generator=random)
        z = torch.randn(n, generator.z_dim, generator=random)
        labels = classes if generator.c_dim else None
        choices = torch.stack([generator.map(z, labels, psi) for psi in self.psi])  # [S, n, W]
        which = torch.randint(0, len(self.psi), (n,), generator=random)
        w = choices[which.to(choices.device), torch.arange(n, device=choices.device)]  # [n, W]
        maps = generator.render_features(w, self.segmenter.layers)[1]
        forbidden = ~self.allowed[classes].to(w.device)[:, :, None, None]  # [n, 1 + P, 1, 1]
        return maps, self.segmenter(maps).masked_fill(forbidden, -torch.inf).argmax(dim=1)


def train_picture_segmenter(
    generator: Generator,
    segmenter: Segmenter,
    *,
    pictures: int = 4000,
    psi: Sequence[float] = (0.7, 1.0),
    epochs: int = 6,
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
    settings = _Settings(epochs, batch_size, learning_rate, weight_decay, seed)
    pictures = whole_number(pictures, "pictures", 1)
    values = [finite_number(value, "psi") for value in psi]
    if not values:
        raise LisError("there is no psi; give at least one truncation.")
    z = generator.sample_z(pictures, _FAR + settings.seed)
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
            segmenter.legend, (), [generator.img_channels], generator.img_resolution,
            widths=widths, dilations=dilations, generator_hash=generator.hash, name=name,
        )  # fmt: skip
        # Not channel by channel as for feature maps: what is learned shall not depend on the pictures' mean.
        student.get_buffer("mean0").fill_(0.5)
        student.get_buffer("std0").fill_(0.5)
        return student

    student = _train(build, batch, truth, settings, "picture segmenter", progress)
    student.metadata["training"] |= {"pictures": pictures, "psi": values, "teacher": segmenter.hash}
    return student


class _Settings:
    """The numbers of a training, checked."""

    def __init__(self, epochs: int, batch_size: int, rate: float, decay: float, seed: int) -> None:
        self.epochs = whole_number(epochs, "epochs", 1)
        self.batch_size = whole_number(batch_size, "batch_size", 1)
        self.seed = whole_number(seed, "seed", 0, 2**31)
        self.rate = finite_number(rate, "learning_rate")
        self.decay = finite_number(decay, "weight_decay")
        if self.rate <= 0 or self.decay < 0:
            raise LisError(
                f"learning_rate is {rate} and weight_decay {decay}; a positive number and one of at least 0 were "
                "expected."
            )


def _train(
    build: Callable[[], Segmenter],
    batch: Callable[[Tensor, torch.Generator], tuple[list[Tensor], Tensor]],
    truth: Tensor,
    settings: _Settings,
    title: str,
    progress: bool,
    steps: int | None = None,
) -> Segmenter:
    """Train what `build` makes on what `batch` gives of some of the pictures with labels `truth` [N, H, W].

    Returned are the running means of the weights, which are steadier than the last ones.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            settings.seed
        )  # that of the CPU alone: others would not be forked
        segmenter = build()
        _first_weights(segmenter)
    segmenter.to(truth.device)
    average = copy.deepcopy(segmenter).eval().requires_grad_(False)
    random = torch.Generator().manual_seed(settings.seed)
    weights = _part_weights(truth, len(segmenter.legend.names))  # [1 + P]
    optimizer = torch.optim.Adam(segmenter.parameters(), lr=settings.rate, weight_decay=settings.decay)
    total = settings.epochs * -(-len(truth) // settings.batch_size) if steps is None else steps
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    order: list[Tensor] = []
    last = 0.0
    for step in tqdm(range(total), desc=f"training the {title}", disable=not progress, leave=False):
        if not order:
            order = list(torch.randperm(len(truth), generator=random).split(settings.batch_size))
        inputs, target = batch(order.pop().to(truth.device), random)
        loss = _loss(segmenter(inputs), target, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        _move_average(average, segmenter, min(0.99, (step + 1) / (step + 10)))
        last = float(loss.detach())
    average.metadata["training"] = {
        "epochs": settings.epochs,
        "steps": total,
        "batch_size": settings.batch_size,
        "learning_rate": settings.rate,
        "weight_decay": settings.decay,
        "seed": settings.seed,
        "last_loss": round(last, 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return average


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


@torch.no_grad()
def _move_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move a running average of weights towards those of `module`."""
    for old, new in zip(average.parameters(), module.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


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
    reach = most // step
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
