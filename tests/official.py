"""Checkpoints in the layout of the StyleGAN-XL and StyleGAN3 authors, written by the real pickle and the real torch.

Every module is a record {type, version, module_src, class_name, state} handed to a function of
`torch_utils.persistence`; `module_src` is program text, which the authors' loader executes: ours here leaves a mark.
The packages that such files name exist only while one is written.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import pickle
import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("stem16", "superres64", "stylegan3t32", "radial32")
MARK = "LIS_TEST_MARK"  # environment variable with the file that executed text would write
SOURCE = f"import os\nopen(os.environ.get({MARK!r}, '/tmp/lis-mark'), 'w').write('module_src ran')\n"
PLAIN = (
    "filter_size",
    "lrelu_upsampling",
    "use_radial_filters",
)  # attributes that plain StyleGAN3 layers lack


class EasyDict(dict):
    """A dictionary with a name of its own, as the authors' dnnlib.util has it."""


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the loader called a function that the file names")


class Persistent(torch.nn.Module):
    """A module that pickles itself as a persistent record."""

    class_name = "Module"

    def __reduce__(self) -> Any:
        meta = EasyDict(
            type="class", version=6, module_src=SOURCE, class_name=self.class_name, state=self.__dict__
        )
        return _reconstruct_persistent_obj, (meta,)

    def __deepcopy__(self, memo: Any) -> Any:
        other = _module(self.class_name)
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other


class Backbone(torch.nn.Module):
    """Stands for a discriminator whose package is not installed where the file is read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU())
        self.kernel = torch.arange(3)
        self.dtype = torch.float16
        self.device = torch.device("cpu")
        self.size = torch.Size([3, 4])


class AugmentPipe:
    """Stands for an object of the authors' training package."""

    def __init__(self) -> None:
        self.p, self.policy = np.float32(0.25), {"color", "translation"}


@contextlib.contextmanager
def authors_packages() -> Iterator[None]:
    """Let the modules that the files name exist, for the time of writing."""
    homes = {
        EasyDict: "dnnlib.util",
        _reconstruct_persistent_obj: "torch_utils.persistence",
        Backbone: "pg_modules.projector",
        AugmentPipe: "training.augment",
    }
    before = {item: item.__module__ for item in homes}
    for item, home in homes.items():
        item.__module__ = home
        for i in range(home.count(".") + 1):
            name = ".".join(home.split(".")[: i + 1])
            sys.modules.setdefault(name, types.ModuleType(name))
        setattr(sys.modules[home], item.__name__, item)
    try:
        yield
    finally:
        for item, home in before.items():
            item.__module__ = home
        for name in [
            n for n in sys.modules if n.split(".")[0] in ("dnnlib", "torch_utils", "pg_modules", "training")
        ]:
            del sys.modules[name]


def load_golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return json.loads(str(file["meta"])), {key: file[key] for key in file.files if key != "meta"}


def fully_connected(n_in: int, n_out: int, activation: str, rate: float = 1.0) -> Persistent:
    module = _module("FullyConnectedLayer")
    module.in_features, module.out_features, module.activation = n_in, n_out, activation
    module.weight_gain = rate / np.sqrt(n_in)  # a numpy scalar, as in the authors' files
    module.bias_gain = rate
    module.weight = torch.nn.Parameter(torch.zeros(n_out, n_in))
    module.bias = torch.nn.Parameter(torch.zeros(n_out))
    return module


def _module(class_name: str) -> Persistent:
    module = Persistent()
    module.class_name = class_name
    return module


def _mapping(meta: dict[str, Any], state: dict[str, np.ndarray]) -> Persistent:
    module = _module("MappingNetwork")
    module.z_dim, module.c_dim, module.w_dim = meta["z_dim"], meta["c_dim"], meta["w_dim"]
    module.num_ws, module.w_avg_beta = meta["num_ws"], 0.998
    module.num_layers = sum(key.startswith("mapping.fc") and key.endswith("weight") for key in state)
    if "mapping.embed_proj.weight" in state:
        width = state["mapping.embed.weight"].shape[1]
        module.embed = torch.nn.Embedding(meta["c_dim"], width)
        module.embed_proj = fully_connected(width, meta["z_dim"], "lrelu")
    elif meta["c_dim"]:
        module.embed = fully_connected(meta["c_dim"], meta["w_dim"], "linear")
    for i in range(module.num_layers):
        n_out, n_in = state[f"mapping.fc{i}.weight"].shape
        setattr(module, f"fc{i}", fully_connected(n_in, n_out, "lrelu", 0.01))
    module.register_buffer("w_avg", torch.zeros(state["mapping.w_avg"].shape))
    return module


def _synthesis(meta: dict[str, Any], state: dict[str, np.ndarray], plain: bool) -> Persistent:
    module = _module("SynthesisNetwork")
    module.w_dim, module.num_ws, module.output_scale = meta["w_dim"], meta["num_ws"], meta["output_scale"]
    module.img_resolution, module.img_channels = meta["img_resolution"], meta["img_channels"]
    module.num_fp16_res = 4
    module.input = _module("SynthesisInput")
    for key, value in meta["input"].items():
        setattr(module.input, key, np.array(value) if key == "size" else value)
    module.input.affine = fully_connected(meta["w_dim"], 4, "linear")
    module.layer_names = [layer["name"] for layer in meta["layers"]]
    for spec in meta["layers"]:
        layer = _module("SynthesisLayer")
        for key, value in spec.items():
            if not (key == "name" or (plain and key in PLAIN)):
                setattr(layer, key, np.array(value) if key in ("in_size", "out_size") else value)
        layer.tmp_sampling_rate = max(spec["in_sampling_rate"], spec["out_sampling_rate"])
        layer.tmp_sampling_rate *= 1 if spec["is_torgb"] else spec["lrelu_upsampling"]
        layer.affine = fully_connected(meta["w_dim"], spec["in_channels"], "linear")
        setattr(module, spec["name"], layer)
    for key, value in state.items():
        path, _, last = key.rpartition(".")
        if path.startswith("synthesis") and "affine" not in path:
            owner = module.get_submodule(path.removeprefix("synthesis").removeprefix("."))
            if last in ("weight", "bias"):
                owner.register_parameter(last, torch.nn.Parameter(torch.zeros(value.shape)))
            else:
                owner.register_buffer(last, torch.zeros(value.shape))
    for spec in meta["layers"]:
        for key in ("up_filter", "down_filter"):
            if key not in module.get_submodule(spec["name"])._buffers:
                module.get_submodule(spec["name"]).register_buffer(key, None)
    return module


def official_generator(
    name: str = "stylegan3t32", plain: bool | None = None, unconditional: bool = False
) -> Persistent:
    """Build the golden generator of this name as the authors' modules are, weights and attributes.

    `plain` leaves out the attributes that StyleGAN3 does not have (default: of stylegan3t32 only).
    """
    meta, arrays = load_golden(name)
    state = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    if unconditional:
        meta["c_dim"] = 0
        state = {key: value for key, value in state.items() if not key.startswith("mapping.embed")}
        state["mapping.fc0.weight"] = state["mapping.fc0.weight"][:, : meta["z_dim"]].copy()
        state["mapping.w_avg"] = np.atleast_2d(state["mapping.w_avg"])[0].copy()
    generator = _module("Generator")
    for key in ("z_dim", "c_dim", "w_dim", "num_ws", "img_resolution", "img_channels"):
        setattr(generator, key, meta[key])
    generator._init_args, generator._init_kwargs = (), EasyDict(meta["init"])
    generator.mapping = _mapping(meta, state)
    generator.synthesis = _synthesis(meta, state, name == "stylegan3t32" if plain is None else plain)
    generator.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return generator.eval().requires_grad_(False)


def snapshot(generator: Persistent, order: str = "G D G_ema", shared: bool = False) -> dict[str, Any]:
    """Give the dictionary that the authors' training code saves."""
    other = generator if shared else copy.deepcopy(generator)
    discriminator = _module("ProjectedDiscriminator")
    discriminator.feature_networks = torch.nn.ModuleDict({"deit": Backbone(), "tf_efficientnet": Backbone()})
    discriminator.partial = Backbone().forward  # a bound method: pickled as a call of getattr
    parts = {"G": other, "D": discriminator, "G_ema": generator}
    rest = {
        "augment_pipe": AugmentPipe(),
        "training_set_kwargs": EasyDict(
            class_name="training.dataset.ImageFolderDataset", path="data.zip", xflip=True
        ),
        "progress": {
            "cur_nimg": torch.zeros((), dtype=torch.int64),
            "cur_tick": np.int64(3),
            "best_fid": math.inf,
        },
    }
    return {**{key: parts[key] for key in order.split()}, **rest}


def _restyle(root: torch.nn.Module, ordered: bool, numpy_scalars: bool) -> None:
    for module in list(root.modules()):
        for key in ("_parameters", "_buffers", "_modules"):
            module.__dict__[key] = (OrderedDict if ordered else dict)(module.__dict__[key])
        for key, value in list(module.__dict__.items()):
            if numpy_scalars and type(value) in (int, float, bool) and key != "training":
                module.__dict__[key] = {int: np.int64, float: np.float64, bool: np.bool_}[type(value)](value)


def dumps(
    content: Any,
    protocol: int = 4,
    ordered: bool = False,
    zip_storages: bool = False,
    numpy_scalars: bool = False,
) -> bytes:
    """Pickle with the real pickle: as torch 1.9 (`ordered`) or newer ones keep modules, with either kind of storage."""
    for module in [v for v in content.values() if isinstance(v, torch.nn.Module)] * (
        ordered or numpy_scalars
    ):
        _restyle(module, ordered, numpy_scalars)
    before = torch.storage.TypedStorage.__reduce__

    def reduce_to_zip(self: Any) -> Any:
        file = io.BytesIO()
        torch.save(self, file)
        return torch.storage._load_from_bytes, (file.getvalue(),)

    with authors_packages():
        try:
            if zip_storages:
                torch.storage.TypedStorage.__reduce__ = reduce_to_zip
            return pickle.dumps(content, protocol)
        finally:
            torch.storage.TypedStorage.__reduce__ = before


def save_with_torch(content: Any, path: Path, zipped: bool) -> None:
    """Write the same content by torch.save."""
    with authors_packages(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the legacy layout wants to save source text, which these classes have none of
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
