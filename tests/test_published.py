"""Published checkpoints: written in the official layout by the real pickle, read by ours, pictures compared."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import official
from lis_toolkit import zoo
from lis_toolkit.convert import convert_command, convert_generator, read_class_names
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import load_tensors, save_tensors, sha256_file
from lis_toolkit.stylegan import Architecture, Generator, load_generator, save_generator
from lis_toolkit.stylegan.file_kinds import file_kind
from official import NAMES, dumps, load_golden, official_generator, save_with_torch, snapshot

TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file that executed text would write; it must never be there."""
    path = tmp_path / "mark"
    monkeypatch.setenv(official.MARK, str(path))
    yield path
    assert not path.exists()


def write(path: Path, content: Any, **options: Any) -> Path:
    path.write_bytes(dumps(content, **options))
    return path


def difference(generator: Generator, name: str) -> float:
    _, arrays = load_golden(name)
    z, labels = torch.from_numpy(arrays["z"]), torch.from_numpy(arrays["labels"])
    worst = 0.0
    for psi in (1.0, 0.7):
        w = generator.map(z, labels, psi=psi)
        np.testing.assert_allclose(generator.broadcast(w), arrays[f"ws_psi{psi}"], atol=TOLERANCE)
        x = generator.synthesis(generator.broadcast(w))
        worst = max(worst, float((x - torch.from_numpy(arrays[f"image_psi{psi}"])).abs().max()))
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_those_of_the_authors_code_directly_and_after_conversion(
    name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator(name)))
    generator = load_generator(path)
    meta, arrays = load_golden(name)
    assert difference(generator, name) < TOLERANCE
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    assert generator.num_ws == meta["num_ws"] and generator.classes[1] == "class 1"
    stored = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    assert stored.keys() == generator.state_dict().keys()
    for key, value in generator.state_dict().items():
        assert np.array_equal(value.numpy(), stored[key]), key
    result = convert_generator(path, tmp_path / "new" / "ours.safetensors")
    again = load_generator(result)
    assert result == tmp_path / "new" / "ours.safetensors" and again.architecture == generator.architecture
    assert again.hash == generator.hash and difference(again, name) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": 2},
        {"protocol": 3},
        {"protocol": 4, "ordered": True},
        {"protocol": 5},
        {"protocol": 4, "zip_storages": True},
        {"protocol": 2, "zip_storages": True, "ordered": True},
        {"protocol": 3, "numpy_scalars": True},
        {"protocol": 5, "numpy_scalars": True},
        {"protocol": 1},
    ],
    ids=str,
)
def test_files_of_all_times(options: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator()), **options)
    assert difference(load_generator(path), "stylegan3t32") < TOLERANCE


@pytest.mark.parametrize("order", ["G_ema G D", "D G_ema G", "D G G_ema"])
def test_any_order_and_shared_weights(order: str, tmp_path: Path) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator(), order, shared=True))
    assert difference(load_generator(path), "stylegan3t32") < TOLERANCE


@pytest.mark.parametrize("zipped", [False, True])
def test_the_same_content_saved_by_torch(zipped: bool, tmp_path: Path) -> None:
    save_with_torch(snapshot(official_generator("radial32")), tmp_path / "network.pt", zipped)
    assert difference(load_generator(tmp_path / "network.pt"), "radial32") < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_what_plain_layers_do_not_note_follows_from_their_filters(name: str, tmp_path: Path) -> None:
    full = load_generator(write(tmp_path / "full.pkl", snapshot(official_generator(name, plain=False))))
    plain = load_generator(write(tmp_path / "plain.pkl", snapshot(official_generator(name, plain=True))))
    assert plain.hash == full.hash and difference(plain, name) < TOLERANCE
    for a, b in zip(plain.architecture.layers, full.architecture.layers, strict=True):
        for key in ("padding", "tmp_rate", "up_taps", "down_taps", "radial_down", "kernel"):
            assert getattr(a, key) == getattr(b, key), (a.name, key)


def test_an_unconditional_generator(tmp_path: Path) -> None:
    source = official_generator("stem16", unconditional=True)
    generator = load_generator(write(tmp_path / "network.pkl", snapshot(source)))
    assert generator.c_dim == 0 and generator.mapping.w_avg.shape == (48,) and generator.classes == ()
    z = generator.sample_z(2, 0)
    x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for i in range(2):  # methods.md, section 1: equalised layers with multiplier 0.01
        layer = source.mapping.get_submodule(f"fc{i}")
        x = x @ (layer.weight * 0.01 / layer.weight.shape[1] ** 0.5).T + layer.bias * 0.01
        x = torch.where(x < 0, x * 0.2, x) * 2**0.5
    torch.testing.assert_close(generator.map(z), x)
    torch.testing.assert_close(generator.map(z, psi=0.0), source.mapping.w_avg.expand(2, -1))
    assert torch.isfinite(generator.render(generator.map(z))).all()


def test_networks_are_chosen_by_name(tmp_path: Path) -> None:
    content = snapshot(official_generator())
    content["G"].mapping.fc0.bias.add_(1)
    path = write(tmp_path / "network.pkl", content)
    averaged, raw = load_generator(path), load_generator(path, network="G")
    torch.testing.assert_close(raw.mapping.fc0.bias, averaged.mapping.fc0.bias + 1)
    with pytest.raises(CheckpointError, match=r"'EMA' but 'G', 'D', 'G_ema'"):
        load_generator(path, network="EMA")
    with pytest.raises(CheckpointError, match="progress is a dict"):
        load_generator(path, network="progress")


def test_a_generator_in_another_package_or_in_half_precision(tmp_path: Path) -> None:
    content = {"G_ema": official_generator("stem16").half()}
    data = dumps(content, protocol=3).replace(b"torch_utils.persistence", b"fork_utils0.persistence")
    path = tmp_path / "fork.pkl"
    path.write_bytes(data)
    assert b"fork_utils0" in data
    generator = load_generator(path)
    assert {p.dtype for p in generator.parameters()} == {torch.float32}
    full = torch.from_numpy(load_golden("stem16")[1]["state/mapping.fc0.weight"])
    torch.testing.assert_close(generator.mapping.fc0.weight, full.half().float(), atol=0, rtol=0)


def test_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator("stem16")))
    names = [f"thing {i}" for i in range(10)]
    assert load_generator(path, classes=names).classes == tuple(names)
    assert load_generator(path, classes="cifar10").classes == zoo.class_names("cifar10")
    with pytest.raises(LisError, match="1000 class names .* 10 classes"):
        load_generator(path, classes="imagenet")
    ours = convert_generator(path, tmp_path / "ours.safetensors", classes=names)
    assert load_generator(ours).classes == tuple(names)
    assert load_generator(ours, classes="cifar10").classes[0] == zoo.class_names("cifar10")[0]
    entry = zoo.Entry(
        "mine", "generator", "f.pkl", "http://127.0.0.1/f.pkl", None, None, "CC0", "", "cifar10"
    )
    monkeypatch.setattr(zoo, "locate", lambda *args, **options: path)
    monkeypatch.setattr(zoo, "find", lambda name, kind: entry if name == "mine" else None)
    assert load_generator("mine").classes == zoo.class_names("cifar10")
    note = load_tensors(convert_generator("mine", tmp_path / "mine.safetensors"))[1]["source"]
    assert note["licence"] == "CC0" and note["sha256"] == sha256_file(path) and note["file"] == "network.pkl"


def test_conversion_does_not_write_over_its_source(tmp_path: Path) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator()))
    before = path.read_bytes()
    (tmp_path / "link.pkl").symlink_to(path)
    for target in (path, tmp_path / "link.pkl", tmp_path / "x" / ".." / "network.pkl"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(LisError, match="file to be read"):
            convert_generator(path, target)
    with pytest.raises(LisError, match="folder"):
        convert_generator(path, tmp_path)
    assert path.read_bytes() == before
    (tmp_path / "bad.pkl").write_bytes(before[:-50])
    with pytest.raises(CheckpointError):
        convert_generator(tmp_path / "bad.pkl", tmp_path / "bad.safetensors")
    assert not (tmp_path / "bad.safetensors").exists()


def test_the_command_reads_class_names_from_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator()))
    (tmp_path / "names.txt").write_text("a\nb \nc\nd\ne\n\n")
    said = convert_command(str(path), str(tmp_path / "ours.safetensors"), str(tmp_path / "names.txt"))
    assert "ours.safetensors" in said and "MB" in said
    assert load_generator(tmp_path / "ours.safetensors").classes == ("a", "b", "c", "d", "e")
    for text in ("", "\n\n", "a\n\nb\n"):
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(LisError, match="empty lines"):
            read_class_names(tmp_path / "names.txt")
    with pytest.raises(LisError, match="can't read"):
        convert_command(str(path), str(tmp_path / "more.safetensors"), "missing.txt")


# --- our own format ---


@pytest.mark.parametrize("name", NAMES)
def test_architectures_survive_json_and_rebuild_the_generator(name: str, tmp_path: Path) -> None:
    generator = load_generator(write(tmp_path / "network.pkl", snapshot(official_generator(name))))
    text = json.dumps(generator.architecture.to_dict())
    again = Architecture.from_dict(json.loads(text))
    assert again == generator.architecture and hash(again) == hash(generator.architecture)
    rebuilt = Generator(again)
    assert rebuilt.config is None and rebuilt.state_dict().keys() == generator.state_dict().keys()


def test_our_files_are_mapped_and_stay_as_they_are(tmp_path: Path) -> None:
    path = convert_generator(
        write(tmp_path / "network.pkl", snapshot(official_generator())), tmp_path / "ours.safetensors"
    )
    generator, before = load_generator(path), path.read_bytes()
    if sys.platform == "linux":
        places = [
            tuple(int(part, 16) for part in line.split()[0].split("-"))
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.endswith("ours.safetensors")
        ]
        address = generator.synthesis.get_submodule("L3_52_24").weight.data_ptr()
        assert any(low <= address < high for low, high in places)
    generator.mapping.fc0.weight.add_(1)  # a private copy of the page is written, not the file
    generator.mapping.w_avg.zero_()
    assert path.read_bytes() == before
    assert load_generator(path).hash != generator.hash


def test_nothing_of_the_random_state_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "network.pkl", snapshot(official_generator()))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_generator(path)
    assert torch.equal(before, torch.get_rng_state())


# --- what is not a generator that we rebuild exactly ---


def change(path: str, name: str, value: Any) -> Any:
    """A change of one attribute of one module."""

    def apply(generator: Any) -> None:
        setattr(generator.get_submodule(path), name, value)

    return apply


def reshape(path: str, name: str, value: Any) -> Any:
    def apply(generator: Any) -> None:
        module = generator.get_submodule(path)
        group = module._parameters if name in module._parameters else module._buffers
        group[name] = value

    return apply


LAYER = "synthesis.L3_52_24"
REFUSED = {
    "padding": (change(LAYER, "padding", [1, 1, 1, 1]), "L3_52_24: padding is .1, 1, 1, 1., but .-6, -9"),
    "up factor": (change(LAYER, "up_factor", 8), "L3_52_24"),
    "down factor": (change(LAYER, "down_factor", 4), "L3_52_24: down_factor is 4.0, but 2"),
    "temporary rate": (change(LAYER, "tmp_sampling_rate", 128), "tmp_sampling_rate is 128.0, but 64"),
    "kernel": (
        change(LAYER, "conv_kernel", 5),
        "L3_52_24.weight has .24, 24, 3, 3., expected .24, 24, 5, 5.|padding",
    ),
    "gain": (change(f"{LAYER}.affine", "weight_gain", 0.5), "weight_gain is 0.5"),
    "bias gain": (change("mapping.fc0", "bias_gain", 1.0), "fc0: bias_gain is 1.0, but 0.01"),
    "activation": (change("mapping.fc0", "activation", "relu"), "activation is 'relu', expected 'lrelu'"),
    "layers in the mapping": (change("mapping", "num_layers", 8), "num_layers is 8.0, but 2"),
    "number of latents": (change("synthesis", "num_ws", 12), "num_ws is 12.0, but 11"),
    "latent width": (change("mapping", "w_dim", 40), "w_dim"),
    "resolution": (change("synthesis", "img_resolution", 64), "expected the picture's 3 channels of 64 px"),
    "sizes that don't follow": (
        change(LAYER, "in_size", np.array([40, 40])),
        r"takes .* but layer L2_36_24 gives",
    ),
    "not square": (change(LAYER, "in_size", np.array([36, 40])), "in_size .* two equal ones"),
    "size as text": (change(LAYER, "out_size", "52"), "out_size is '52'"),
    "size beyond all bounds": (change(LAYER, "out_size", 10**12), "out_size is 1000000000000"),
    "half a size": (change(LAYER, "out_size", [52.5, 52.5]), "out_size"),
    "truth value as a number": (change(LAYER, "in_channels", True), "in_channels is True"),
    "number as a truth value": (change(LAYER, "is_torgb", 1), "is_torgb is 1, expected True or False"),
    "rate of nothing": (change(LAYER, "in_sampling_rate", 0), "rates"),
    "negative cutoff": (change(LAYER, "in_cutoff", -1.0), "in_cutoff is -1.0"),
    "cutoff is not a number": (change(LAYER, "in_cutoff", float("nan")), "in_cutoff is nan"),
    "cutoff above what the rate can carry": (change(LAYER, "in_cutoff", 1e6), "in_cutoff is 1e"),
    "clamp as text": (change(LAYER, "conv_clamp", "256"), "conv_clamp is '256'"),
    "names are no list": (change("synthesis", "layer_names", "L0"), "layer_names is 'L0', expected a list"),
    "names are numbers": (change("synthesis", "layer_names", [1, 2]), "layer_names holds 1"),
    "a name that is none": (
        change("synthesis", "layer_names", ["\x1b[2J" * 9999]),
        r"layer_names holds '\\x1b",
    ),
    "a name too many": (change("synthesis", "layer_names", ["L99_32_3"]), "has no module 'L99_32_3'"),
    "output scale": (change("synthesis", "output_scale", "a"), "output_scale is 'a'"),
    "no layers": (lambda g: g.synthesis.__dict__.pop("layer_names"), "names no layers"),
    "StyleGAN2": (
        lambda g: (
            g.synthesis.__dict__.pop("layer_names"),
            g.synthesis.add_module("b4", torch.nn.Identity()),
        ),
        "StyleGAN2",
    ),
    "no mapping": (lambda g: g._modules.pop("mapping"), "no module 'mapping'"),
    "no attribute": (lambda g: g.synthesis.L3_52_24.__dict__.pop("padding"), "has no attribute padding"),
    "weight missing": (reshape("mapping.fc1", "weight", None), "fc1 has no weight"),
    "weight of another shape": (
        reshape("mapping.fc1", "weight", torch.nn.Parameter(torch.zeros(3, 36), False)),
        r"fc1.weight has .3, 36., expected .36, 36.",
    ),
    "weight not finite": (
        reshape("mapping.fc1", "bias", torch.nn.Parameter(torch.full((36,), float("nan")), False)),
        "fc1.bias holds NaN",
    ),
    "whole numbers": (
        reshape("mapping.fc1", "bias", torch.nn.Parameter(torch.zeros(36, dtype=torch.int64), False)),
        "fc1.bias holds int64",
    ),
    "a weight too many": (lambda g: g.synthesis.register_buffer("noise", torch.zeros(3)), "also holds noise"),
    "a module too many": (lambda g: g.synthesis.add_module("skip", torch.nn.Linear(2, 2)), "also holds skip"),
    "a filter too many": (
        reshape("synthesis.L9_32_3", "up_filter", torch.ones(4)),
        "up_filter",
    ),
    "a shared mean latent per class": (reshape("mapping", "w_avg", torch.zeros(5, 36)), "w_avg has .5, 36."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_are_not_rebuilt_exactly_are_refused(name: str, tmp_path: Path) -> None:
    damage, reason = REFUSED[name]
    generator = official_generator()
    damage(generator)
    path = write(tmp_path / "network.pkl", {"G_ema": generator})
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_generator(path)
    assert (
        str(path) in str(caught.value) and len(str(caught.value)) < 1000 and str(caught.value).isprintable()
    )


def test_modules_without_weights_do_not_matter(tmp_path: Path) -> None:
    generator = official_generator()
    generator.synthesis.add_module("nothing", torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU()))
    assert (
        difference(load_generator(write(tmp_path / "n.pkl", {"G_ema": generator})), "stylegan3t32")
        < TOLERANCE
    )


def test_the_embedding_of_an_unconditional_generator_is_not_used(tmp_path: Path) -> None:
    generator = official_generator("stem16", unconditional=True)
    generator.mapping.embed = torch.nn.Embedding(5, 7)
    assert load_generator(write(tmp_path / "n.pkl", {"G_ema": generator})).c_dim == 0
    embedding = official_generator("stem16")
    embedding.mapping.embed.max_norm = 1.0
    with pytest.raises(CheckpointError, match="max_norm"):
        load_generator(write(tmp_path / "n.pkl", {"G_ema": embedding}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404", "web page"),
        (b"  \n<HTML>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-LFS"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"not tensors", "begins with b'not tens'"),
        (b"\x89PNG\r\n\x1a\n", "begins with"),
    ],
)
def test_files_of_other_kinds(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_generator(path)
    assert str(path) in str(caught.value)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    generator = load_generator(write(tmp_path / "pickle.safetensors", snapshot(official_generator())))
    save_generator(generator, tmp_path / "ours.pkl")
    assert file_kind(tmp_path / "ours.pkl") == "safetensors" != file_kind(tmp_path / "pickle.safetensors")
    assert load_generator(tmp_path / "ours.pkl").hash == generator.hash
    save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="no format note"):
        load_generator(tmp_path / "other.safetensors")


def test_bare_weights_and_single_networks_are_told_apart(tmp_path: Path) -> None:
    generator = official_generator()
    torch.save(generator.state_dict(), tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="bare state_dict.*synthesis"):
        load_generator(tmp_path / "state.pt")
    with official.authors_packages():
        torch.save(generator, tmp_path / "single.pt")
    with pytest.raises(CheckpointError, match="single network"):
        load_generator(tmp_path / "single.pt")


def test_the_text_in_these_files_would_leave_a_mark(tmp_path: Path) -> None:
    """The same file, opened the usual way: this is what must not happen, so that the other tests can fail."""
    path = write(tmp_path / "network.pkl", {"G_ema": official_generator()})
    usual = (
        "import pickle, sys, types\n"
        "def build(meta): exec(meta['module_src'], {})\n"
        "for name in ('dnnlib', 'dnnlib.util', 'torch_utils', 'torch_utils.persistence'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['dnnlib.util'].EasyDict = type('EasyDict', (dict,), {})\n"
        "sys.modules['torch_utils.persistence']._reconstruct_persistent_obj = build\n"
        f"pickle.load(open({str(path)!r}, 'rb'))\n"
    )
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-c", usual], check=True, env={**os.environ, official.MARK: str(there)})
    assert re.search("module_src ran", there.read_text())


def test_a_record_without_its_attributes(tmp_path: Path) -> None:
    with official.authors_packages():
        meta = official.EasyDict(type="class", module_src=official.SOURCE, class_name="Generator", state=[1])
        record = Reduced(official._reconstruct_persistent_obj, meta)
        (tmp_path / "network.pkl").write_bytes(pickle.dumps({"G_ema": record}))
    with pytest.raises(CheckpointError, match=r"G_ema \(Generator\) has a list of 1 as its state"):
        load_generator(tmp_path / "network.pkl")


class Reduced:
    """Pickled as a call."""

    def __init__(self, function: Any, *args: Any):
        self.parts = (function, args)

    def __reduce__(self) -> Any:
        return self.parts
