"""The generator reproduces what the reference implementation computed, layer by layer (tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lis_toolkit.stylegan import Generator, GeneratorConfig
from lis_toolkit.stylegan.geometry import lay_out

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("stem16", "superres64", "stylegan3t32", "radial32")
TOLERANCE = 1e-4


def golden_config(meta: dict[str, Any]) -> GeneratorConfig:
    init = dict(meta["init"].get("stem", meta["init"]))
    mapping = init.pop("mapping")
    init["resolution"] = init.pop("img_resolution")
    kind = "pretrained" if "embedding_dim" in mapping else "linear"
    stages = [(stage["up_factor"], stage["head_layers"]) for stage in meta["init"].get("stages", [])]
    extra = {"embedding_dim": mapping["embedding_dim"]} if kind == "pretrained" else {}
    return GeneratorConfig.from_dict(
        {**init, **extra, "mapping": kind, "mapping_layers": mapping["num_layers"], "stages": stages}
    )


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> tuple[Generator, dict[str, torch.Tensor], dict[str, Any]]:
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        meta = json.loads(str(file["meta"]))
        arrays = {key: torch.from_numpy(file[key]) for key in file.files if key != "meta"}
    generator = Generator(golden_config(meta)).eval().requires_grad_(False)
    state = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    assert state.keys() == generator.state_dict().keys()
    generator.load_state_dict(state)
    return generator, arrays, meta


@pytest.mark.parametrize("name", NAMES)
def test_geometry_and_filters_follow_from_the_configuration(name: str) -> None:
    with np.load(GOLDEN / f"{name}.npz") as file:
        meta = json.loads(str(file["meta"]))
        config = golden_config(meta)
        _, layers, resolution = lay_out(config)
        fresh = Generator(config).state_dict()
        designed = [key for key in file.files if key.endswith(("up_filter", "down_filter"))]
        for key in designed:
            np.testing.assert_allclose(fresh[key.removeprefix("state/")], file[key], atol=1e-6, err_msg=key)
    assert designed
    assert resolution == meta["img_resolution"]
    assert [layer.name for layer in layers] == [layer["name"] for layer in meta["layers"]]
    for layer, wanted in zip(layers, meta["layers"], strict=True):
        low, high = layer.padding
        assert [low, high, low, high] == wanted["padding"], layer.name
        for key, value in wanted.items():
            if key in ("padding", "use_fp16", "conv_kernel", "in_size", "out_size"):
                continue
            assert getattr(layer, key) == pytest.approx(value, abs=1e-9), f"{layer.name}.{key}"
        assert [layer.in_size] * 2 == wanted["in_size"]
        assert [layer.out_size] * 2 == wanted["out_size"]
        assert layer.kernel == wanted["conv_kernel"]


@pytest.mark.parametrize("psi", ["1.0", "0.7"])
def test_latents_and_images(golden: Any, psi: str) -> None:
    generator, arrays, _ = golden
    w = generator.map(arrays["z"], arrays["labels"], psi=float(psi))
    ws = generator.broadcast(w)
    torch.testing.assert_close(ws, arrays[f"ws_psi{psi}"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(generator.synthesis(ws), arrays[f"image_psi{psi}"], atol=TOLERANCE, rtol=0)


def test_every_layer(golden: Any) -> None:
    generator, arrays, _ = golden
    seen = {}
    for name in ["input", *generator.synthesis.layer_names]:
        module = generator.synthesis.get_submodule(name)
        module.register_forward_hook(lambda module, args, out, name=name: seen.__setitem__(name, out))
    generator.synthesis(arrays["ws_psi1.0"][:1])
    wanted = {key.removeprefix("act/"): value for key, value in arrays.items() if key.startswith("act/")}
    assert seen.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            seen[name], value, atol=TOLERANCE, rtol=0, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_a_latent_per_layer_and_a_user_transform(golden: Any) -> None:
    generator, arrays, _ = golden
    mixed = generator.synthesis(arrays["ws_random"])
    torch.testing.assert_close(mixed, arrays["image_ws_random"], atol=TOLERANCE, rtol=0)
    before = generator.synthesis.input.transform.clone()
    generator.synthesis.input.transform.copy_(arrays["transform"])
    try:
        moved = generator.synthesis(arrays["ws_random"])
    finally:
        generator.synthesis.input.transform.copy_(before)
    torch.testing.assert_close(moved, arrays["image_transform"], atol=TOLERANCE, rtol=0)


def test_a_picture_does_not_depend_on_its_batch(golden: Any) -> None:
    generator, arrays, _ = golden
    w = generator.map(generator.sample_z(7, seed=5), labels=[0, 1, 2, 3, 4, 0, 1])
    together = generator.render(w)
    assert together.std() > 0.01
    for size in (1, 2, 3):
        torch.testing.assert_close(generator.render(w, batch_size=size), together, atol=1e-5, rtol=0)
