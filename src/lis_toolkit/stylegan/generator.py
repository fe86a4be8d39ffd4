"""The generator that users hold: latents in, pictures out, errors explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lis_toolkit.errors import LisError
from lis_toolkit.files import sha256_tensors
from lis_toolkit.names import class_index, finite_number, spelling_hint, whole_number
from lis_toolkit.stylegan.geometry import Architecture, GeneratorConfig
from lis_toolkit.stylegan.network import MappingNetwork, SynthesisNetwork
from lis_toolkit.stylegan.prepared import batched
from lis_toolkit.stylegan.truncation import nearest_centroids

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of the feature maps of the pictures rendered at one time, when render is left to choose how many.
ACTIVATION_BYTES = 2**30


def _check_floating(value: object, name: str) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise LisError(f"{name} is {given}, expected a floating-point tensor")


def _checked_precision(value: object) -> str:
    if not isinstance(value, str) or value not in PRECISIONS:
        hint = spelling_hint(str(value), PRECISIONS)
        raise LisError(f"precision is {value!r}, expected one of {', '.join(PRECISIONS)}.{hint}")
    return value


class Generator(nn.Module):
    """A StyleGAN-XL or StyleGAN3 generator built from its configuration, with random weights until some are loaded.

    Attributes
    ----------
    architecture : all sizes, rates and cutoffs, layer by layer.
    config : the short settings it was built from, or None when it was built from an architecture.
    classes : names of the classes, or None.
    z_dim, w_dim, num_ws, c_dim : sizes Z, W, the number of latents a picture takes, the number of classes.
    img_resolution, img_channels : of the pictures.
    precision : of the feature maps in `render`: "float32" (exact), "bfloat16" or "float16" (two bytes a number;
        README says how fast; pictures differ by less than a grey level on average).

    Examples
    --------
    >>> generator = load_generator("fashion")
    >>> x = generator.render(generator.map(generator.sample_z(8, seed=0), labels=[3] * 8, psi=0.7))
    """

    def __init__(
        self,
        config: GeneratorConfig | Architecture,
        classes: Sequence[str] | None = None,
        name: str = "unnamed",
    ):
        super().__init__()
        architecture = config if isinstance(config, Architecture) else config.architecture()
        if classes is not None and len(classes) != architecture.c_dim:
            raise LisError(
                f"{len(classes)} class names were given for a generator of {architecture.c_dim} classes"
            )
        self.architecture = architecture
        self.config = None if isinstance(config, Architecture) else config
        self.name = name
        if classes is None and architecture.c_dim:
            classes = [f"class {i}" for i in range(architecture.c_dim)]
        self.classes: tuple[str, ...] = tuple(classes or ())
        self.img_resolution, self.img_channels = architecture.resolution, architecture.img_channels
        self.z_dim, self.w_dim, self.c_dim = architecture.z_dim, architecture.w_dim, architecture.c_dim
        self.mapping = MappingNetwork(architecture)
        self.synthesis = SynthesisNetwork(architecture, architecture.input, list(architecture.layers))
        self.num_ws = self.synthesis.num_ws
        self._precision = "float32"

    @property
    def precision(self) -> str:
        """Of the feature maps in `render`."""
        return self._precision

    @precision.setter
    def precision(self, value: str) -> None:
        self._precision = _checked_precision(value)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.synthesis.input.weight.device

    def _dtype(self) -> torch.dtype:
        """Give the type of weights and latents; what has too few digits for positions in a picture is refused."""
        dtype = self.synthesis.input.weight.dtype
        if dtype not in (torch.float32, torch.float64):
            raise LisError(
                f"the weights of generator {self.name!r} are {dtype}, too coarse for the positions in a picture; load "
                'it again, leave its weights as they are, and choose generator.precision = "bfloat16" or "float16".'
            )
        return dtype

    @property
    def hash(self) -> str:
        """sha256 of all weights and buffers: the identity that links and pairs remember."""
        return sha256_tensors(self.state_dict())

    def class_index(self, item: int | str) -> int:
        """Give the index of a class from its name or index."""
        return class_index(item, self.classes, "the generator")

    def sample_z(self, n: int, seed: int) -> Tensor:
        """Draw n inputs [n, Z] as the published tools do, from ``numpy.random.RandomState(seed)``."""
        n, seed = whole_number(n, "n", 1), whole_number(seed, "seed", 0, 2**32 - 1)
        return torch.from_numpy(np.random.RandomState(seed).randn(n, self.z_dim)).float()

    def z_of_seeds(self, seeds: Iterable[int]) -> Tensor:
        """Draw one input for each seed, [n, Z]: the pictures that the published tools call seed 0, seed 1, ...

        Raises
        ------
        LisError : no seeds, or one that is not a whole number from 0 to 2^32 - 1.
        """
        rows = [self.sample_z(1, seed) for seed in seeds]
        if not rows:
            raise LisError("there are no seeds: give at least one")
        return torch.cat(rows)

    def map(
        self,
        z: Tensor,
        labels: Tensor | Iterable[int | str] | int | str | None = None,
        psi: float = 1.0,
        centroids: Tensor | None = None,
    ) -> Tensor:
        """Map inputs to latents, truncated towards the mean latent of their class, or the nearest of several.

        Parameters
        ----------
        z : [N, Z], any float type.
        labels : class indices or names, one per row, or a single one for all; None for an unconditional generator.
        psi : truncation; 1 leaves w as it is, 0 gives the class mean.
        centroids : [K, W], or [C, K, W] with K for each class, of `latent_centroids`: truncate towards the nearest
            one instead of the mean.

        Returns
        -------
        w [N, W].

        Raises
        ------
        LisError : wrong shapes, values that are not finite, unknown classes, psi not finite.
        """
        psi = finite_number(psi, "psi", ", usually from 0 to 1")
        _check_floating(z, "z")
        if z.ndim != 2 or z.shape[1] != self.z_dim or len(z) == 0:
            raise LisError(f"z has shape {list(z.shape)}, expected [N, {self.z_dim}] with at least one row")
        if not torch.isfinite(z).all():
            raise LisError("z holds NaN or infinite values; draw it with generator.sample_z")
        index = self._labels(labels, len(z))
        z = z.to(self.device, self._dtype())
        w: Tensor = self.mapping(z, index)
        if centroids is None:
            return self.mapping.truncate(w, index, psi)
        center = nearest_centroids(w, self._checked_centroids(centroids), index)
        return center + psi * (w - center)

    def _checked_centroids(self, centroids: Tensor) -> Tensor:
        _check_floating(centroids, "centroids")
        shape = tuple(centroids.shape)
        per_class = len(shape) == 3 and self.c_dim and shape[0] == self.c_dim
        if not (len(shape) == 2 or per_class) or shape[-1] != self.w_dim or 0 in shape:
            wanted = f"[K, {self.w_dim}]" + (f" or [{self.c_dim}, K, {self.w_dim}]" if self.c_dim else "")
            raise LisError(f"centroids have shape {list(shape)}, expected {wanted}")
        if not torch.isfinite(centroids).all():
            raise LisError("centroids hold NaN or infinite values; make them with latent_centroids")
        return centroids.to(self.device, self._dtype())

    def _labels(self, labels: Tensor | Iterable[int | str] | int | str | None, n: int) -> Tensor | None:
        if self.c_dim == 0:
            if labels is not None:
                raise LisError("labels were given, but this generator is unconditional: leave them out")
            return None
        if labels is None:
            raise LisError(
                f"labels are missing: this generator has {self.c_dim} classes; name one for each row"
            )
        items: Any = labels.tolist() if isinstance(labels, (Tensor, np.generic, np.ndarray)) else labels
        items = list(items) if isinstance(items, Iterable) and not isinstance(items, str) else [items] * n
        if len(items) != n:
            raise LisError(f"{len(items)} labels were given for {n} rows of z")
        return torch.tensor(
            [class_index(item, self.classes, "the generator") for item in items], device=self.device
        )

    def broadcast(self, w: Tensor) -> Tensor:
        """Repeat w [N, W] for every layer: ws [N, num_ws, W]; a ws is checked and passed through."""
        _check_floating(w, "w")
        wanted = f"[N, {self.w_dim}] or [N, {self.num_ws}, {self.w_dim}]"
        if w.ndim == 2 and w.shape[1] == self.w_dim:
            return w[:, None, :].expand(-1, self.num_ws, -1)
        if w.ndim == 3 and w.shape[1:] == (self.num_ws, self.w_dim):
            return w
        raise LisError(f"w has shape {list(w.shape)}, expected {wanted} for generator {self.name!r}")

    def render(self, w: Tensor, batch_size: int | None = None, precision: str | None = None) -> Tensor:
        """Render latents to pictures in the unit range.

        Parameters
        ----------
        w : [N, W], the same latent for every layer, or ws [N, num_ws, W].
        batch_size : pictures at a time; None takes as many as keep the feature maps within 1 GiB. (Where gradients
            are followed every feature map is kept, whatever the batch size.)
        precision : of the feature maps, for this call; None takes the generator's `precision`.

        Returns
        -------
        x [N, C, H, W] in [0, 1], float32 on the generator's device. Values beyond the range are clamped. Derivatives
        by w flow, backward and forward (``torch.func.jvp``).

        Raises
        ------
        LisError : wrong shape, no rows, values that are not finite, an unknown precision.
        """
        ws, size, dtype = self._renderable(w, batch_size, precision)
        parts = [self.synthesis(part, dtype) for part in ws.split(size)]
        return (torch.cat(parts) * 0.5 + 0.5).clamp(0, 1)

    def render_features(
        self, w: Tensor, layers: Sequence[str], batch_size: int | None = None, precision: str | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Render latents as `render` does, and give the feature maps of chosen layers with the pictures.

        Parameters
        ----------
        layers : names from ``generator.synthesis.layer_names``.

        Returns
        -------
        x [N, C, H, W] and, for each layer, its output [N, C_l, S, S], in the precision asked for, where it lies under
        the picture: the margin that layers carry around it is cut off, so S is the layer's sampling rate.

        Raises
        ------
        LisError : as `render`, and for names that are not this generator's layers.

        Examples
        --------
        >>> x, (coarse, fine) = generator.render_features(w, generator.synthesis.layer_names[2:5:2])
        """
        known = self.synthesis.layer_names
        names = [layers] if isinstance(layers, str) else list(layers)
        for name in names:
            if name not in known:
                raise LisError(
                    f"generator {self.name!r} has no layer {name!r}; its layers are {', '.join(known)}."
                    + spelling_hint(str(name), known)
                )
        ws, size, dtype = self._renderable(w, batch_size, precision)
        rates = {spec.name: spec.out_sampling_rate for spec in self.architecture.layers}
        pictures, maps = [], []
        for part in ws.split(size):
            kept: dict[str, Tensor] = dict.fromkeys(names, part)
            pictures.append(self.synthesis(part, dtype, kept))
            maps.append([_without_margin(kept[name], rates[name]) for name in names])
        joined = [torch.cat(column) if len(column) > 1 else column[0] for column in zip(*maps, strict=True)]
        return (torch.cat(pictures) * 0.5 + 0.5).clamp(0, 1), joined

    def _renderable(
        self, w: Tensor, batch_size: int | None, precision: str | None
    ) -> tuple[Tensor, int, torch.dtype]:
        """Check latents and settings: ws on the generator's device, pictures at a time, type of feature maps."""
        dtype = PRECISIONS[self.precision if precision is None else _checked_precision(precision)]
        ws = self.broadcast(w)
        if len(ws) == 0:
            raise LisError("w has no rows: give at least one latent")
        if not batched(w) and not torch.isfinite(w).all():
            raise LisError("w holds NaN or infinite values; check the link and the activations it was given")
        if batch_size is None:
            size = max(1, ACTIVATION_BYTES // (self.synthesis.activations * dtype.itemsize))
        else:
            size = whole_number(batch_size, "batch_size", 1)
        return ws.to(self.device, self._dtype()), size, dtype


def _without_margin(x: Tensor, rate: int) -> Tensor:
    """Cut maps [N, C, S, S] to the `rate` samples in the middle, those under the picture."""
    margin = (x.shape[-1] - rate) // 2
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]


@torch.no_grad()
def update_mean_latents(generator: Generator, samples: int = 10_000, seed: int = 0) -> None:
    """Set the mean latents w_avg, per class where the mapping has one per class, from `samples` draws of z each.

    Raises
    ------
    LisError : a number of samples or a seed that is not a whole number, or too small a one.

    Examples
    --------
    >>> update_mean_latents(generator, samples=1000)
    """
    z = generator.sample_z(samples, seed).to(generator.device)
    mapping = generator.mapping
    if mapping.w_avg.ndim == 1:
        labels = torch.arange(samples, device=z.device) % max(generator.c_dim, 1)
        mapping.w_avg.copy_(mapping(z, labels if generator.c_dim else None).mean(dim=0))
        return
    for index in range(generator.c_dim):
        labels = torch.full((samples,), index, device=z.device)
        mapping.w_avg[index] = mapping(z, labels).mean(dim=0)
