"""Published StyleGAN-XL and StyleGAN3 checkpoints: the architecture and the weights, from what the file records.

The file says of every module its attributes, parameters and buffers, and carries the source text of its class, which
the authors' loader executes. Here that text is never looked at. The layers are rebuilt from sizes, rates and cutoffs,
and what follows from them (padding, factors, taps, gains) has to be what the file says as well.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan.architecture import LAYER_NAME, MOST_LAYERS, Architecture, InputSpec, LayerSpec
from lis_toolkit.stylegan.generator import Generator
from lis_toolkit.stylegan.inert_pickle import Record, describe
from lis_toolkit.stylegan.published_modules import PERSISTENT, Module
from lis_toolkit.stylegan.torch_storage import CheckpointFile, all_finite

FULLY_CONNECTED = ("weight", "bias")
OUTPUT_SCALE = 0.25  # of both papers, where the file does not say
MAPPING_RATE = 0.01  # learning rate multiplier of the mapping's layers


def read_published(path: str | Path, network: str = "G_ema") -> tuple[Architecture, dict[str, Tensor]]:
    """Read a generator from a pickle by the authors of StyleGAN-XL or StyleGAN3, or by their training code.

    Parameters
    ----------
    network : which one of the file's networks: "G_ema", the averaged generator that is published, or "G".

    Returns
    -------
    architecture, state : what a `Generator` is built from, and its float32 weights and buffers by name.

    Raises
    ------
    CheckpointError : the file is damaged, holds something else, or describes a network that is not rebuilt exactly.

    Examples
    --------
    >>> architecture, state = read_published("imagenet256.pkl")
    >>> architecture.resolution
    256
    """
    file = CheckpointFile(path)
    where = str(path)
    root = Module(_choose(file.value, network, where), where, network)
    for name in ("mapping", "synthesis"):
        if not root.has(name):
            raise CheckpointError(
                f"{where}: {network} has no module {name!r}, expected a generator; {root.contents()}"
            )
    if "layer_names" not in root.child("synthesis").state:
        if any(str(name).startswith("b4") for name in root.child("synthesis").state["_modules"]):
            raise CheckpointError(
                f"{where}: {network} is a StyleGAN2 generator, expected StyleGAN-XL or StyleGAN3: its layers are others"
            )
        raise CheckpointError(
            f"{where}: {network}.synthesis names no layers; {root.child('synthesis').contents()}"
        )
    try:
        architecture = _architecture(file, root)
    except CheckpointError as error:
        if str(error).startswith(where):
            raise
        raise CheckpointError(f"{where}: {network}: {error}") from error
    with torch.device("meta"):  # names and shapes only
        shapes = {name: tuple(value.shape) for name, value in Generator(architecture).state_dict().items()}
    _check_surplus(root, architecture, set(shapes))
    state = {}
    for name, shape in shapes.items():
        tensor = file.tensor(root.find(name), f"{network}.{name}", shape).float()
        if not all_finite(tensor):
            raise CheckpointError(f"{where}: {network}.{name} holds NaN or infinite values")
        state[name] = tensor
    return architecture, state


def _choose(content: Any, network: str, where: str) -> Record:
    """Find a network in what the file holds, or say what it holds instead."""
    first = content[0] if isinstance(content, (list, tuple)) and content else content
    if isinstance(first, Record) and first.name.module.startswith("dnnlib.tflib"):
        raise CheckpointError(
            f"{where} is a TensorFlow-era pickle ({first.name}), expected one of StyleGAN-XL or StyleGAN3 for PyTorch"
        )
    if isinstance(first, Record) and first is content and first.name.name == PERSISTENT:
        raise CheckpointError(f"{where} holds a single network, expected a dictionary with {network!r}")
    if not isinstance(content, dict):
        raise CheckpointError(f"{where} holds {describe(content)}, expected a dictionary with {network!r}")
    names = [describe(key) for key in list(content)[:10]]
    if network not in content:
        kind = (
            "a bare state_dict: weights without the description of their network; it"
            if _is_weights(content)
            else ""
        )
        raise CheckpointError(
            f"{where} is {kind or 'a dictionary that'} has no {network!r} but {', '.join(names) or 'nothing at all'}"
            f"{', ...' if len(content) > 10 else ''}; expected what the authors' training code saves"
        )
    value = content[network]
    if not isinstance(value, Record):
        raise CheckpointError(f"{where}: {network} is {describe(value)}, expected the record of a network")
    return value


def _is_weights(content: dict[Any, Any]) -> bool:
    tensors = [v for v in content.values() if isinstance(v, Record) and v.name.module.startswith("torch._")]
    return len(tensors) > len(content) / 2


def _architecture(file: CheckpointFile, root: Module) -> Architecture:
    mapping, synthesis = root.child("mapping"), root.child("synthesis")
    names = synthesis.attribute("layer_names")
    if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= MOST_LAYERS:
        raise CheckpointError(
            f"{root.where}: {synthesis.path}: layer_names is {describe(names)}, expected a list of 1 to {MOST_LAYERS}"
        )
    unknown = [name for name in names if not isinstance(name, str) or not LAYER_NAME.fullmatch(name)]
    if unknown:
        raise CheckpointError(
            f"{root.where}: {synthesis.path}: layer_names holds {describe(unknown[0])}, expected "
            "L{index}_{size}_{channels}"
        )
    z_dim, c_dim, w_dim = (
        (mapping if name in mapping.state else root).whole(name) for name in ("z_dim", "c_dim", "w_dim")
    )
    source = synthesis.child("input")
    layers = tuple(_layer(file, synthesis.child(name), name, names[-1]) for name in names)
    kind = "unconditional" if c_dim == 0 else "pretrained" if mapping.has("embed_proj") else "linear"
    depth = sum(str(name).startswith("fc") for name in mapping.state["_modules"])
    mapping.agree("num_layers", depth, must=False)
    architecture = Architecture(
        z_dim=z_dim,
        c_dim=c_dim,
        w_dim=w_dim,
        mapping=kind,
        embedding_dim=mapping.child("embed").whole("embedding_dim") if kind == "pretrained" else 1,
        mapping_layers=depth,
        img_channels=(synthesis if "img_channels" in synthesis.state else root).whole("img_channels"),
        resolution=(synthesis if "img_resolution" in synthesis.state else root).whole("img_resolution"),
        output_scale=synthesis.real("output_scale") if "output_scale" in synthesis.state else OUTPUT_SCALE,
        input=InputSpec(
            source.whole("channels"),
            source.side("size"),
            source.real("sampling_rate"),
            source.real("bandwidth"),
        ),
        layers=layers,
    )
    for module in (root, mapping, synthesis):
        for name, value in (
            ("z_dim", z_dim),
            ("c_dim", c_dim),
            ("w_dim", w_dim),
            ("num_ws", len(layers) + 1),
        ):
            module.agree(name, value, must=False)
    root.agree("img_resolution", architecture.resolution, must=False)
    root.agree("img_channels", architecture.img_channels, must=False)
    _check_mapping(mapping, architecture)
    _check_fully_connected(source.child("affine"), w_dim)
    for layer in layers:
        _check_layer(synthesis.child(layer.name), layer, w_dim)
    return architecture


def _layer(file: CheckpointFile, module: Module, name: str, last: str) -> LayerSpec:
    """Read one layer. Plain StyleGAN3 does not note how its filters were designed; their sizes tell."""
    rates = module.whole("in_sampling_rate"), module.whole("out_sampling_rate")
    up, down = module.whole("up_factor"), module.whole("down_factor")
    if min(*rates, up, down) < 1:
        raise CheckpointError(
            f"{module.where}: {module.path} has rates {rates} and factors {up} and {down}, expected positive numbers"
        )
    filters = [
        () if module.weight(key) is None else file.shape(module.weight(key), f"{module.path}.{key}")
        for key in ("up_filter", "down_filter")
    ]
    taps = [(shape[0], factor) for shape, factor in zip(filters, (up, down), strict=True) if shape]
    filter_size = taps[0][0] // taps[0][1] if taps else 6
    upsampling = rates[0] * up // max(rates)
    is_torgb = module.flag("is_torgb")
    clamp = module.attribute("conv_clamp")
    return LayerSpec(
        name=name,
        is_torgb=is_torgb,
        is_critically_sampled=module.flag("is_critically_sampled"),
        in_channels=module.whole("in_channels"),
        out_channels=module.whole("out_channels"),
        in_size=module.side("in_size"),
        out_size=module.side("out_size"),
        in_sampling_rate=rates[0],
        out_sampling_rate=rates[1],
        in_cutoff=module.real("in_cutoff"),
        out_cutoff=module.real("out_cutoff"),
        in_half_width=module.real("in_half_width"),
        out_half_width=module.real("out_half_width"),
        conv_kernel=module.whole("conv_kernel"),
        filter_size=module.whole("filter_size") if "filter_size" in module.state else filter_size,
        lrelu_upsampling=(
            module.whole("lrelu_upsampling") if "lrelu_upsampling" in module.state else upsampling
        ),
        use_radial_filters=(
            module.flag("use_radial_filters")
            if "use_radial_filters" in module.state
            else len(filters[1]) == 2
        ),
        conv_clamp=None if clamp is None else module.real("conv_clamp"),
    )


def _check_layer(module: Module, layer: LayerSpec, w_dim: int) -> None:
    """Compare what follows from a layer's sizes, rates and cutoffs with what the file says."""
    low, high = layer.padding
    module.agree("padding", [low, high, low, high])
    module.agree("up_factor", layer.up_factor)
    module.agree("down_factor", layer.down_factor)
    module.agree("conv_kernel", layer.kernel)
    for name, value in (
        ("tmp_sampling_rate", layer.tmp_rate),
        ("up_taps", layer.up_taps),
        ("down_taps", layer.down_taps),
        ("w_dim", w_dim),
    ):
        module.agree(name, value, must=False)
    _check_fully_connected(module.child("affine"), w_dim)


def _check_mapping(mapping: Module, architecture: Architecture) -> None:
    if architecture.mapping == "pretrained":
        embed = mapping.child("embed")
        embed.agree("num_embeddings", architecture.c_dim)
        if embed.state.get("max_norm") is not None:
            raise CheckpointError(
                f"{mapping.where}: {embed.path} limits its norm (max_norm), which ours does not"
            )
        _check_fully_connected(mapping.child("embed_proj"), architecture.embedding_dim, lrelu=True)
        width = architecture.z_dim * 2
    elif architecture.mapping == "linear":
        _check_fully_connected(mapping.child("embed"), architecture.c_dim)
        width = architecture.z_dim + architecture.w_dim
    else:
        width = architecture.z_dim
    for i in range(architecture.mapping_layers):
        _check_fully_connected(mapping.child(f"fc{i}"), width, lrelu=True, rate=MAPPING_RATE)
        width = architecture.w_dim


def _check_fully_connected(module: Module, n_in: int, *, lrelu: bool = False, rate: float = 1.0) -> None:
    module.agree("weight_gain", rate / math.sqrt(n_in))
    module.agree("bias_gain", rate)
    activation = "lrelu" if lrelu else "linear"
    if module.attribute("activation") != activation:
        given = describe(module.attribute("activation"))
        raise CheckpointError(
            f"{module.where}: {module.path}: activation is {given}, expected {activation!r}"
        )
    module.only(FULLY_CONNECTED, ())


def _check_surplus(root: Module, architecture: Architecture, names: set[str]) -> None:
    """Refuse weights beyond those of the architecture, in the generator and every module that is used."""
    ignored = {"mapping": ("embed", "embed_proj")} if architecture.mapping == "unconditional" else {}
    paths = {""} | {name.rpartition(".")[0] for name in names} | {"mapping", "synthesis"}
    for path in sorted(paths):
        module = root
        for part in path.split(".") if path else ():
            module = module.child(part)
        prefix = f"{path}." if path else ""
        below = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        children = {name.split(".")[0] for name in below if "." in name}
        module.only([name for name in below if "." not in name], children.union(ignored.get(path, ())))
