"""The generator against a literal, slow transcription of its published layers, and its manners with bad input."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import METADATA_KEY, load_tensors, save_tensors
from lis_toolkit.stylegan import (
    Generator,
    GeneratorConfig,
    load_generator,
    save_generator,
    update_mean_latents,
)
from lis_toolkit.stylegan.geometry import InputSpec, LayerSpec, lay_out
from lis_toolkit.stylegan.network import SynthesisInput, SynthesisLayer
from literal import literal_layer
from tiny import CLASSES, TINY, tiny_generator

BORROWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures that no example changes


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


# --- synthesis -------------------------------------------------------------------------------------------------------


def random_spec(rng, **fixed):
    in_rate, out_rate = (
        fixed.get(f"{side}_sampling_rate", int(rng.choice([8, 16, 32]))) for side in ("in", "out")
    )
    radial = bool(rng.integers(2))
    values = {
        "name": "L0",
        "is_torgb": False,
        "is_critically_sampled": bool(rng.integers(2)),
        "in_channels": int(rng.integers(1, 5)),
        "out_channels": int(rng.integers(1, 5)),
        "in_size": in_rate + int(rng.integers(0, 7)),
        "out_size": out_rate + int(rng.integers(0, 7)),
        "in_sampling_rate": in_rate,
        "out_sampling_rate": out_rate,
        "in_cutoff": in_rate / 2 * float(rng.uniform(0.3, 0.9)),
        "out_cutoff": out_rate / 2 * float(rng.uniform(0.3, 0.9)),
        "in_half_width": in_rate * float(rng.uniform(0.1, 0.3)),
        "out_half_width": out_rate * float(rng.uniform(0.1, 0.3)),
        "conv_kernel": int(rng.choice([1, 3])),
        "filter_size": int(rng.choice([4, 6])),
        "lrelu_upsampling": int(rng.choice([1, 2])),
        "use_radial_filters": radial,
        "conv_clamp": float(rng.choice([1.0, 256.0])),
    }
    return LayerSpec(**{**values, **fixed})


def compare_layer(spec, seed):
    torch.manual_seed(seed)
    layer = SynthesisLayer(spec, 5).eval()
    torch.nn.init.normal_(layer.bias)
    layer.magnitude_ema.fill_(0.5 + seed % 3)
    x = torch.randn(3, spec.in_channels, spec.in_size, spec.in_size, requires_grad=True)
    w = torch.randn(3, 5, requires_grad=True)
    inputs = [x, w, *layer.parameters()]
    got, wanted = layer(x, w), literal_layer(layer, x, w)
    assert got.shape == (3, spec.out_channels, spec.out_size, spec.out_size)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
    assert got.std() > 0.01
    probe = torch.randn_like(got) / got[0].numel()
    mine = torch.autograd.grad((got * probe).sum(), inputs)
    theirs = torch.autograd.grad((wanted * probe).sum(), inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("seed", range(16))
def test_layers_of_random_specifications(seed):
    compare_layer(random_spec(np.random.default_rng(seed)), seed)


SPECIAL = {
    "no filters, crops beyond the kernel's border": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=24, out_size=16, lrelu_upsampling=1, conv_kernel=1
    ),
    "no filters, crops within it": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=18, out_size=18, lrelu_upsampling=1, conv_kernel=3
    ),
    "no filters, one side cropped more": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=19, out_size=18, lrelu_upsampling=1, conv_kernel=3
    ),
    "no filters, padded": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=16, out_size=20, lrelu_upsampling=1, conv_kernel=1
    ),
    "up only": dict(in_sampling_rate=8, out_sampling_rate=16, in_size=12, out_size=20, lrelu_upsampling=1),
    "down only": dict(in_sampling_rate=16, out_sampling_rate=8, in_size=20, out_size=12, lrelu_upsampling=1),
    "up 4, down 2": dict(in_sampling_rate=8, out_sampling_rate=16, in_size=12, out_size=20, lrelu_upsampling=2),
    "radial down": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=20, out_size=20, lrelu_upsampling=2,
        use_radial_filters=True, is_critically_sampled=False,
    ),
    "radial, critically sampled": dict(
        in_sampling_rate=16, out_sampling_rate=16, in_size=20, out_size=20, lrelu_upsampling=2,
        use_radial_filters=True, is_critically_sampled=True,
    ),
    "ToRGB": dict(is_torgb=True, in_sampling_rate=16, out_sampling_rate=16, in_size=16, out_size=16),
    "no clamp": dict(conv_clamp=None),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_layers_of_every_kind(name):
    compare_layer(random_spec(np.random.default_rng(99), **SPECIAL[name]), 1)


def slow_input(module, w):
    """The Fourier features by affine_grid, in the words of the paper."""
    spec = module.spec
    t = w @ (module.affine.weight / math.sqrt(w.shape[1])).T + module.affine.bias
    out = []
    for row in t / t[:, :2].norm(dim=1, keepdim=True):
        rotation, shift = torch.eye(3), torch.eye(3)
        rotation[:2, :2] = torch.stack([torch.stack([row[0], -row[1]]), torch.stack([row[1], row[0]])])
        shift[0, 2], shift[1, 2] = -row[2], -row[3]
        m = rotation @ shift @ module.transform
        phases = module.phases + module.freqs @ m[:2, 2]
        freqs = module.freqs @ m[:2, :2]
        amplitude = (
            1 - (freqs.norm(dim=1) - spec.bandwidth) / (spec.sampling_rate / 2 - spec.bandwidth)
        ).clamp(0, 1)
        theta = torch.eye(2, 3) * 0.5 * spec.size / spec.sampling_rate
        grid = F.affine_grid(theta[None], [1, 1, spec.size, spec.size], align_corners=False)[0]  # [S, S, 2]
        x = torch.sin(2 * math.pi * (grid @ freqs.T + phases)) * amplitude  # [S, S, C]
        out.append((x @ (module.weight / math.sqrt(spec.channels)).T).permute(2, 0, 1))
    return torch.stack(out)


def test_the_input_is_a_grid_of_waves_that_the_latent_moves():
    torch.manual_seed(4)
    module = SynthesisInput(InputSpec(6, 20, 16.0, 2.0), 5)
    torch.nn.init.normal_(module.affine.weight)
    module.transform.copy_(torch.tensor([[0.9, -0.2, 0.1], [0.2, 0.9, -0.3], [0, 0, 1]]))
    w = torch.randn(3, 5)
    got = module(w)
    torch.testing.assert_close(got, slow_input(module, w), atol=1e-5, rtol=0)
    assert got.shape == (3, 6, 20, 20)
    assert (got[0] - got[1]).abs().max() > 0.1


def test_the_network_is_its_layers_one_after_another(generator):
    g = generator
    ws = torch.randn(2, g.num_ws, g.w_dim, generator=torch.Generator().manual_seed(2))
    x = slow_input(g.synthesis.input, ws[:, 0])
    for i, name in enumerate(g.synthesis.layer_names):
        x = literal_layer(g.synthesis.get_submodule(name), x, ws[:, i + 1])
    wanted = x * g.synthesis.output_scale
    torch.testing.assert_close(g.synthesis(ws), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(g.render(ws), (wanted / 2 + 0.5).clamp(0, 1), atol=1e-4, rtol=0)
    assert wanted.std() > 0.03


# --- mapping ---------------------------------------------------------------------------------------------------------


def slow_fc(module, x, multiplier=1.0, lrelu=True):
    weight, bias = (p.detach().double().numpy() * multiplier for p in (module.weight, module.bias))
    y = x @ (weight / math.sqrt(weight.shape[1])).T + bias
    return np.where(y > 0, y, 0.2 * y) * math.sqrt(2) if lrelu else y


def slow_map(g, z, labels, psi):
    """The mapping in float64, one sample at a time."""
    m, out = g.mapping, []
    for i, row in enumerate(z.double().numpy()):
        x = row / math.sqrt((row**2).mean() + 1e-8)
        y = np.zeros(0)
        if m.kind == "pretrained":
            y = slow_fc(m.embed_proj, m.embed.weight.detach().double().numpy()[labels[i]])
        elif m.kind == "linear":
            y = slow_fc(m.embed, np.eye(g.c_dim)[labels[i]], lrelu=False)
        if len(y):
            y = y / math.sqrt((y**2).mean() + 1e-8)
        x = np.concatenate([x, y])
        for layer in range(m.num_layers):
            x = slow_fc(m.get_submodule(f"fc{layer}"), x, 0.01)
        mean = m.w_avg.double().numpy()
        mean = mean[labels[i]] if m.kind == "pretrained" else mean
        out.append(mean + psi * (x - mean))
    return np.stack(out)


KINDS = {
    "pretrained": {},
    "linear": {"mapping": "linear", "mapping_layers": 3},
    "unconditional": {"mapping": "unconditional", "c_dim": 0},
}


@pytest.mark.parametrize("psi", [1.0, 0.6, 0.0, -0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_mapping_and_truncation_of_every_kind(kind, psi):
    g = tiny_generator(classes=None, **KINDS[kind])
    assert g.mapping.w_avg.shape == ((3, 12) if kind == "pretrained" else (12,))
    assert g.mapping.w_avg.std() > 0.01
    z, labels = g.sample_z(5, seed=3), None if kind == "unconditional" else [2, 0, 1, 1, 2]
    got = g.map(z, labels, psi)
    np.testing.assert_allclose(got, slow_map(g, z, labels, psi), atol=1e-5)
    assert got.shape == (5, 12) and g.render(got).shape == (5, 1, 16, 16)
    if labels:
        other = g.map(z, [0, 1, 2, 2, 0], psi)
        assert (got - other).abs().max() > (0.05 if psi or kind == "pretrained" else -1)


def test_mean_latents_are_means_over_draws():
    g = tiny_generator()
    update_mean_latents(g, samples=30, seed=9)
    z = g.sample_z(30, seed=9)
    for k in range(3):
        torch.testing.assert_close(g.mapping.w_avg[k], g.map(z, k).mean(dim=0), atol=1e-6, rtol=0)
    g = tiny_generator(classes=None, **KINDS["linear"])
    update_mean_latents(g, samples=30, seed=9)
    wanted = g.map(z, [i % 3 for i in range(30)]).mean(dim=0)
    torch.testing.assert_close(g.mapping.w_avg, wanted, atol=1e-6, rtol=0)


def test_seeds_are_those_of_the_published_tools(generator):
    wanted = np.random.RandomState(42).randn(4, 8)
    np.testing.assert_allclose(generator.sample_z(4, seed=42), wanted, atol=1e-6)


def test_labels_may_be_names_indices_tensors_or_one_for_all(generator):
    z = generator.sample_z(3, 0)
    wanted = generator.map(z, [2, 2, 2])
    for labels in ("cross", 2, np.int64(2), torch.tensor(2), ["cross", 2, "cross"], torch.tensor([2, 2, 2])):
        torch.testing.assert_close(generator.map(z, labels), wanted)
    assert generator.class_index("ring") == 1 == generator.class_index(1)


# --- rendering -------------------------------------------------------------------------------------------------------


def test_pictures_are_clamped_and_alone_in_their_batch(generator):
    w = generator.map(generator.sample_z(7, 1), 1)
    x = generator.render(w)
    assert x.dtype == torch.float32 and x.shape == (7, 1, 16, 16)
    assert (x - x[:1]).abs()[1:].amax(dim=(1, 2, 3)).min() > 0.01, "every latent has a picture of its own"
    for size in (1, 2, 5, 100):
        torch.testing.assert_close(generator.render(w, batch_size=size), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(generator.render(w.double().flip(0)).flip(0), x, atol=1e-5, rtol=0)
    loud = copy.deepcopy(generator)
    loud.synthesis.output_scale = 100.0
    raw, x = loud.synthesis(loud.broadcast(w)) / 2 + 0.5, loud.render(w)
    assert raw.min() < -1 and raw.max() > 2 and float(x.min()) == 0 and float(x.max()) == 1
    inside = (raw > 0) & (raw < 1)
    torch.testing.assert_close(x[inside], raw[inside])


def test_every_layer_takes_a_latent_of_its_own(generator):
    ws = generator.broadcast(generator.map(generator.sample_z(1, 1), 0)).clone()
    assert ws.shape == (1, generator.num_ws, 12)
    before = generator.render(ws)
    for i in range(generator.num_ws):
        changed = ws.clone()
        changed[:, i] += 1
        assert (generator.render(changed) - before).abs().max() > 1e-4, i


def test_one_seed_a_picture_as_the_published_tools_count(generator):
    wanted = [np.random.RandomState(seed).randn(1, generator.z_dim) for seed in (3, 0, 85)]
    np.testing.assert_allclose(generator.z_of_seeds([3, 0, 85]), np.concatenate(wanted), rtol=1e-6)
    for seeds in ([], [-1], [1.5]):
        with pytest.raises(LisError):
            generator.z_of_seeds(seeds)


def test_forward_mode_products_agree_with_differences_and_with_gradients(generator):
    w = generator.map(generator.sample_z(2, 1), 1).double()
    g = copy.deepcopy(generator).double()
    direction = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def picture(w):
        return g.synthesis.get_submodule(g.synthesis.layer_names[-1])(features(w), w)

    def features(w):
        x = g.synthesis.input(w)
        for name in g.synthesis.layer_names[:-1]:
            x = g.synthesis.get_submodule(name)(x, w)
        return x

    _, slope = torch.func.jvp(picture, (w,), (direction,))
    step = 1e-6  # small, so that hardly any value crosses the kink of the leaky ReLU
    finite = (picture(w + step * direction) - picture(w - step * direction)) / (2 * step)
    torch.testing.assert_close(slope, finite, atol=1e-5, rtol=1e-4)
    assert slope.abs().max() > 0.01
    _, single = torch.func.jvp(
        lambda w: generator.synthesis(generator.broadcast(w)), (w.float(),), (direction.float(),)
    )
    torch.testing.assert_close(single.double(), slope * g.synthesis.output_scale, atol=1e-3, rtol=1e-3)
    leaf = w.float().requires_grad_()
    generator.render(leaf).sum().backward()
    assert leaf.grad.abs().min() > 0


def test_bfloat16_feature_maps_give_nearly_the_same_picture(generator):
    ws = generator.broadcast(generator.map(generator.sample_z(4, 1), 1))
    exact, rough = generator.synthesis(ws), generator.synthesis(ws, torch.bfloat16)
    assert rough.dtype == torch.float32
    error = (rough - exact).square().mean().sqrt() / exact.std()
    assert 0.001 < error < 0.05


def test_training_follows_the_magnitude_of_every_layers_input():
    g = tiny_generator().train()
    ws = g.broadcast(g.map(g.sample_z(3, 1), 1))
    name = g.synthesis.layer_names[0]
    layer = g.synthesis.get_submodule(name)
    g.synthesis(ws)
    power = float(g.synthesis.input(ws[:, 0]).square().mean())
    assert float(layer.magnitude_ema) == pytest.approx(1 + (power - 1) * 0.001, abs=1e-6)
    g.eval().synthesis(ws)
    assert float(layer.magnitude_ema) == pytest.approx(1 + (power - 1) * 0.001, abs=1e-6)


# --- bad input -------------------------------------------------------------------------------------------------------

NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=BORROWED)


def refused(call, *mentions):
    with pytest.raises(LisError) as caught:
        call()
    text = str(caught.value)
    assert all(str(m) in text for m in mentions), text


@QUICK
@given(shape=st.lists(st.integers(0, 13), min_size=0, max_size=4))
def test_latents_and_inputs_of_other_shapes_are_refused(generator, shape):
    value = torch.zeros(shape)
    good_z = len(shape) == 2 and shape[1] == 8 and shape[0] > 0
    good_w = (len(shape) == 2 and shape[1] == 12 and shape[0] > 0) or (
        len(shape) == 3 and shape[0] > 0 and shape[1:] == [generator.num_ws, 12]
    )
    if not good_z:
        refused(lambda: generator.map(value, 0), list(value.shape))
    if not good_w:
        refused(lambda: generator.render(value))


@QUICK
@given(row=st.integers(0, 2), column=st.integers(0, 7), value=NOT_FINITE)
def test_values_that_are_not_finite_are_refused(generator, row, column, value):
    z, w = torch.zeros(3, 8), torch.zeros(3, 12)
    z[row, column] = w[row, column] = value
    refused(lambda: generator.map(z, 0), "NaN or infinite")
    refused(lambda: generator.render(w), "NaN or infinite")
    refused(lambda: generator.map(torch.ones(3, 8), 0, psi=value), "psi")


@pytest.mark.parametrize("psi", [None, "0.7", [0.7], 1j])
def test_psi_that_is_no_number(generator, psi):
    refused(lambda: generator.map(generator.sample_z(1, 0), 0, psi=psi), "psi")


@pytest.mark.parametrize(
    "value", [None, 3, [[0.0] * 12], np.zeros((1, 12)), torch.zeros(1, 12, dtype=torch.int64)]
)
def test_latents_that_are_no_floating_tensor(generator, value):
    refused(lambda: generator.render(value), "w")
    refused(lambda: generator.map(value, 0), "z")


@QUICK
@given(
    label=st.one_of(
        st.integers().filter(lambda i: not 0 <= i < 3),
        st.text(max_size=6).filter(lambda s: s not in CLASSES),
        st.floats(),
        st.none(),
        st.booleans(),
    )
)
def test_unknown_classes_are_refused(generator, label):
    refused(lambda: generator.class_index(label))
    refused(lambda: generator.map(torch.ones(2, 8), label))
    refused(lambda: generator.map(torch.ones(2, 8), [0, label]))


@pytest.mark.parametrize(
    "labels",
    [[], [0], [0, 1, 2], torch.zeros(3, dtype=torch.long), torch.zeros(2, 1), torch.tensor([0.0, 1.0])],
)
def test_labels_of_another_number_or_kind(generator, labels):
    refused(lambda: generator.map(torch.ones(2, 8), labels))


def test_a_misspelt_class_gets_a_hint(generator):
    refused(lambda: generator.class_index("rnig"), "Did you mean 'ring'?")


def test_an_unconditional_generator_takes_no_labels():
    g = tiny_generator(classes=None, **KINDS["unconditional"])
    refused(lambda: g.map(g.sample_z(1, 0), 0), "unconditional")


@pytest.mark.parametrize(
    ("n", "seed"), [(0, 0), (-1, 0), (1.5, 0), ("2", 0), (2, -1), (2, 2**32), (2, None), (2, 0.5)]
)
def test_draws_that_can_not_be_made(generator, n, seed):
    refused(lambda: generator.sample_z(n, seed))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "2"])
def test_batches_that_can_not_be_made(generator, batch_size):
    refused(lambda: generator.render(torch.zeros(2, 12), batch_size), "batch_size")


# --- configuration and files -----------------------------------------------------------------------------------------


def test_a_configuration_survives_json():
    config = GeneratorConfig(**{**TINY, "stages": ((2, 4), (2, 3)), "conv_clamp": None})
    again = GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and isinstance(again.stages[0], tuple)


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"mapping": "magic"},
        {"c_dim": 0},
        {"mapping": "unconditional"},
        {"c_dim": -1},
        {"num_critical": 4},
        {"num_critical": -1},
        {"z_dim": 0},
        {"w_dim": 2.5},
        {"resolution": "16"},
        {"resolution": True},
        {"channel_max": 2**21},
        {"lrelu_upsampling": 0},
        {"embedding_dim": 0},
        {"embedding_dim": None},
        {"margin": -1},
        {"margin": 2.5},
        {"stages": ((2, 2),)},
        {"stages": ((0, 4),)},
        {"stages": (2, 4)},
        {"stages": None},
        {"stages": (("a", "b"),)},
        {"stages": ((1, 10**9),)},
        {"stages": ((10**9, 4),)},
        {"stages": ((1, 4),) * 17},
        {"first_cutoff": 0.0},
        {"first_cutoff": math.nan},
        {"first_cutoff": "2"},
        {"first_stopband": math.inf},
        {"first_cutoff": 9.0},
        {"last_stopband_rel": -1},
        {"conv_clamp": -1.0},
        {"conv_clamp": "256"},
        {"output_scale": None},
        {"output_scale": math.nan},
        {"use_radial_filters": "yes"},
    ],
)
def test_configurations_that_can_not_be_built(changes):
    with pytest.raises(CheckpointError):
        lay_out(GeneratorConfig.from_dict({**TINY, **changes}))


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "resolution": st.sampled_from([4, 8, 12, 16, 20, 32]),
            "num_layers": st.integers(1, 6),
            "num_critical": st.integers(0, 3),
            "margin": st.integers(0, 4),
            "lrelu_upsampling": st.integers(1, 2),
            "conv_kernel": st.integers(1, 3),
            "filter_size": st.integers(1, 6),
            "use_radial_filters": st.booleans(),
            "channel_base": st.integers(1, 64),
            "stages": st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4)), max_size=1),
        }
    )
)
def test_a_configuration_is_built_and_rendered_or_refused(changes):
    try:
        g = Generator(GeneratorConfig.from_dict({**TINY, **changes})).eval().requires_grad_(False)
    except CheckpointError:
        return
    x = g.render(g.map(g.sample_z(2, 0), 0))
    assert x.shape == (2, 1, g.img_resolution, g.img_resolution) and torch.isfinite(x).all()
    factor = changes["stages"][0][0] if changes["stages"] else 1
    assert g.img_resolution == changes["resolution"] * factor
    assert g.num_ws == len(g.synthesis.layer_names) + 1


def test_class_names_must_be_as_many_as_classes():
    refused(lambda: Generator(GeneratorConfig(**TINY), ["a", "b"]), "2 class names", "3 classes")


def test_a_generator_survives_its_file(generator, tmp_path):
    path = tmp_path / "g.safetensors"
    save_generator(generator, path, training={"steps": 3})
    again = load_generator(path)
    assert again.hash == generator.hash and again.classes == CLASSES and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    z = generator.sample_z(3, 0)
    saved_scale = (
        0.25 / generator.synthesis.output_scale
    )  # the fixture's own scale is not part of its configuration
    w = generator.map(z, [0, 1, 2], psi=0.7)
    torch.testing.assert_close(again.map(z, [0, 1, 2], psi=0.7), w)
    torch.testing.assert_close(
        again.synthesis(again.broadcast(w)), generator.synthesis(generator.broadcast(w)) * saved_scale
    )
    assert load_tensors(path)[1]["training"] == {"steps": 3}


def test_resampling_follows_the_filters_of_the_file(generator, tmp_path):
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    tensors, notes = load_tensors(path)
    name = next(n for n in tensors if n.endswith("up_filter"))
    tensors[name] *= 2
    save_tensors(path, tensors, notes)
    again = load_generator(path)
    layer = again.synthesis.get_submodule(name.split(".")[1])
    x = torch.randn(1, layer.spec.in_channels, layer.spec.in_size, layer.spec.in_size)
    w = torch.randn(1, 12)
    torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=1e-4, rtol=0)
    before = generator.synthesis.get_submodule(name.split(".")[1])(x, w)
    assert (layer(x, w) - before).abs().max() > 0.1


def test_half_precision_halves_the_file_and_hardly_moves_the_picture(tmp_path):
    g = tiny_generator(channel_base=4096, channel_max=32)
    save_generator(g, tmp_path / "full.safetensors")
    save_generator(g, tmp_path / "half.safetensors", dtype=torch.float16)
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.6 * full
    tensors, _ = load_tensors(tmp_path / "half.safetensors")
    assert tensors["mapping.w_avg"].dtype == torch.float32 == tensors["synthesis.input.freqs"].dtype
    a, b = load_generator(tmp_path / "full.safetensors"), load_generator(tmp_path / "half.safetensors")
    assert {p.dtype for p in b.parameters()} == {torch.float32} and a.hash != b.hash
    x, y = (m.render(m.map(m.sample_z(4, 0), 1)) for m in (a, b))
    assert 0 < (x - y).abs().max() < 0.01


def huge(architecture):
    """A single layer of one channel and 16,000 px: hardly any weights, but matrices of 4 GiB."""
    layer = {**architecture["layers"][1], "in_channels": 1, "out_channels": 1, "is_torgb": False}
    layer |= {"in_size": 16_000, "out_size": 16_000, "in_sampling_rate": 2**14, "out_sampling_rate": 2**14}
    layer |= {"name": "L0_16000_1", "lrelu_upsampling": 2}
    last = {**layer, "name": "L1_16000_1", "is_torgb": True}
    source = {"channels": 1, "size": 16_000, "sampling_rate": 2**14, "bandwidth": 2.0}
    return {**architecture, "resolution": 16_000, "input": source, "layers": [layer, last]}


DAMAGES = {
    "a weight is missing": lambda t, n: t.pop("mapping.fc0.weight"),
    "a buffer is missing": lambda t, n: t.pop("synthesis.input.freqs"),
    "a weight has another shape": lambda t, n: t.update({"mapping.fc0.weight": t["mapping.fc0.weight"][:1]}),
    "a weight too many": lambda t, n: t.update(more=torch.zeros(1)),
    "a weight is not finite": lambda t, n: t["mapping.fc0.weight"].fill_(math.nan),
    "weights are whole numbers": lambda t, n: t.update(
        {"mapping.fc0.bias": torch.zeros(12, dtype=torch.int64)}
    ),
    "no architecture": lambda t, n: n.pop("architecture"),
    "architecture is a list": lambda t, n: n.update(architecture=[1]),
    "unknown entry": lambda t, n: n["architecture"].update(colour="red"),
    "contradiction": lambda t, n: n["architecture"].update(mapping="unconditional"),
    "a layer too few": lambda t, n: n["architecture"]["layers"].pop(),
    "layers that don't follow": lambda t, n: n["architecture"]["layers"][1].update(in_size=5),
    "a size of 10^12": lambda t, n: n["architecture"]["layers"][0].update(in_channels=10**12),
    "a size as text": lambda t, n: n["architecture"]["layers"][0].update(in_channels="8"),
    "a rate of nothing": lambda t, n: n["architecture"]["layers"][0].update(in_sampling_rate=0),
    "a layer without cutoff": lambda t, n: n["architecture"]["layers"][0].pop("in_cutoff"),
    "a layer twice": lambda t, n: n["architecture"]["layers"].insert(0, n["architecture"]["layers"][0]),
    "layers of 10^6": lambda t, n: n["architecture"].update(layers=[{}] * 10**6),
    "a rate that is not finite": lambda t, n: n["architecture"]["input"].update(sampling_rate=math.inf),
    "a name with a path": lambda t, n: n["architecture"]["layers"][0].update(name="L0.weight"),
    "a cutoff beyond the rate": lambda t, n: n["architecture"]["layers"][1].update(in_cutoff=1e9),
    "pictures of 16,000 px": lambda t, n: n.update(architecture=huge(n["architecture"])),
    "format 1 without configuration": lambda t, n: n.update(format="lis_toolkit generator 1"),
    "format 1 with an unknown entry": lambda t, n: n.update(
        format="lis_toolkit generator 1", config={**TINY, "colour": "red"}
    ),
    "class names too few": lambda t, n: n.update(classes=["a"]),
    "no class names": lambda t, n: n.pop("classes"),
    "class names are a number": lambda t, n: n.update(classes=3),
    "another format": lambda t, n: n.update(format="lis-pairs-1"),
    "no format": lambda t, n: n.clear(),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(generator, tmp_path, name):
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    tensors, notes = load_tensors(path)
    DAMAGES[name](tensors, notes)
    save_tensors(path, tensors, notes)
    with pytest.raises(CheckpointError, match=r"g\.safetensors"):
        load_generator(path)


def test_files_that_are_no_generator(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    deep = {METADATA_KEY: "[" * 10**6}
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "deep.safetensors", metadata=deep)
    for name in ("foreign", "text", "deep"):
        with pytest.raises(CheckpointError, match=name):
            load_generator(tmp_path / f"{name}.safetensors")
    with pytest.raises(LisError, match="missing"):
        load_generator(tmp_path / "missing.safetensors")
    with pytest.raises(LisError, match="Did you mean 'fashion'"):
        load_generator("fashoin")


def test_an_unknown_device_is_said_so(generator, tmp_path):
    save_generator(generator, tmp_path / "g.safetensors")
    with pytest.raises(LisError, match="warp"):
        load_generator(tmp_path / "g.safetensors", device="warp")


def test_the_hash_tells_weights_apart(generator):
    other = copy.deepcopy(generator)
    assert other.hash == generator.hash
    other.mapping.w_avg[0, 0] += 1e-3
    assert other.hash != generator.hash


def test_render_features_are_the_layers_outputs_under_the_picture():
    generator = tiny_generator(margin=3)
    w = generator.map(generator.sample_z(5, seed=0), labels=[0, 1, 2, 0, 1])
    names = generator.synthesis.layer_names
    seen: dict = {}
    hooks = [
        generator.synthesis.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: seen.__setitem__(name, out.clone())
        )
        for name in names
    ]
    x = generator.render(w)
    for hook in hooks:
        hook.remove()
    again, maps = generator.render_features(w, names, batch_size=2)
    torch.testing.assert_close(again, x)
    specs = generator.architecture.layers
    assert any(spec.out_size > spec.out_sampling_rate for spec in specs)  # else there is no margin to cut
    for spec, found in zip(specs, maps, strict=True):
        low = (spec.out_size - spec.out_sampling_rate) // 2
        high = low + spec.out_sampling_rate
        assert found.shape == (5, spec.out_channels, spec.out_sampling_rate, spec.out_sampling_rate)
        torch.testing.assert_close(found, seen[spec.name][:, :, low:high, low:high], rtol=1e-4, atol=1e-4)


def test_render_features_have_derivatives():
    generator = tiny_generator().double()
    name = generator.synthesis.layer_names[1]
    w, v = torch.randn(2, 2, generator.w_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def features(w):
        return generator.render_features(w, [name])[1][0]

    _, forward = torch.func.jvp(features, (w,), (v,))
    step = 1e-5
    with torch.no_grad():
        difference = (features(w + step * v).double() - features(w - step * v).double()) / (2 * step)
    torch.testing.assert_close(forward.double(), difference, rtol=2e-2, atol=2e-2)


def test_render_features_names_unknown_layers():
    generator = tiny_generator()
    name = generator.synthesis.layer_names[1]
    with pytest.raises(LisError, match=f"no layer 'L1'; its layers are .*{name}"):
        generator.render_features(torch.zeros(1, generator.w_dim), ["L1"])
