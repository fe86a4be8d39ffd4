"""The fast ways through a synthesis layer against the literal one: values, derivatives, precisions, what is kept."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lis_toolkit.errors import LisError
from lis_toolkit.stylegan import generator as generator_module
from lis_toolkit.stylegan import layer as layer_module
from lis_toolkit.stylegan import load_generator
from lis_toolkit.stylegan.layer import SynthesisLayer
from lis_toolkit.stylegan.nonlinearity import MatrixNonlinearity, PolyphaseNonlinearity
from lis_toolkit.stylegan.winograd import FrozenConvolution, WinogradWeight, transforms
from literal import literal_layer, literal_synthesis
from test_generator import SPECIAL, random_spec
from tiny import tiny_generator


@pytest.fixture
def always_winograd(monkeypatch):
    monkeypatch.setattr(layer_module, "WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr(layer_module, "WINOGRAD_PRODUCTS", 0)


def frozen_layer(seed=0, **fixed):
    torch.manual_seed(seed)
    spec = random_spec(np.random.default_rng(seed), conv_kernel=3, **fixed)
    layer = SynthesisLayer(spec, 5).eval().requires_grad_(False)
    torch.nn.init.normal_(layer.bias)
    layer.magnitude_ema.fill_(0.7)
    return layer, torch.randn(3, spec.in_channels, spec.in_size, spec.in_size), torch.randn(3, 5)


# --- Winograd's convolution ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [2, 4])
def test_transforms_are_an_exact_correlation(tile):
    output, weight, inputs = transforms(tile)
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal(tile + 2), rng.standard_normal(3)
    np.testing.assert_allclose(output @ ((weight @ g) * (inputs @ d)), np.correlate(d, g), atol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 8e-7), (torch.bfloat16, 0.016)])
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (12, 7), (1, 2)])
def test_convolution_equals_the_definition(dtype, tolerance, size):
    torch.manual_seed(0)
    weight = torch.randn(7, 6, 3, 3)
    fast = WinogradWeight(weight, dtype)
    high, wide = fast.whole_tiles(size)
    assert high >= size[0] + 2 and wide >= size[1] + 2
    x = torch.randn(2, 6, high, wide)
    y = fast.convolve(x.to(dtype).contiguous(memory_format=torch.channels_last))
    wanted = F.conv2d(x, weight)
    assert y.shape == wanted.shape and y.dtype == dtype
    assert (y.float() - wanted).square().mean().sqrt() < tolerance * wanted.std()


def test_derivatives_of_the_frozen_convolution():
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 3, 3)
    fast = WinogradWeight(weight, torch.float32)
    x, tangents = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randn(5, 2, 4, 6, 6)
    y = FrozenConvolution.apply(x, weight, fast)
    probe = torch.randn_like(y)
    mine, theirs = (torch.autograd.grad((f * probe).sum(), x)[0] for f in (y, F.conv2d(x, weight)))
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)

    def along(tangent):
        return torch.func.jvp(lambda x: FrozenConvolution.apply(x, weight, fast), (x,), (tangent,))[1]

    got = torch.func.vmap(along)(tangents)
    for i in range(5):
        torch.testing.assert_close(got[i], F.conv2d(tangents[i], weight), atol=1e-4, rtol=1e-4)
    aside = torch.func.vmap(lambda x: FrozenConvolution.apply(x, weight, fast), in_dims=2)
    torch.testing.assert_close(aside(tangents.movedim(0, 2)), got, atol=1e-5, rtol=1e-5)


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_frozen_layers_of_random_specifications(always_winograd, seed):
    layer, x, w = frozen_layer(seed)
    with torch.no_grad():
        got, wanted = layer(x, w), literal_layer(layer, x, w)
    assert ("winograd", torch.float32) in layer._prepared.values
    torch.testing.assert_close(got, wanted, atol=2e-4, rtol=0)
    assert wanted.std() > 0.01
    followed = layer(x.requires_grad_(), w)  # without writing over intermediate results
    torch.testing.assert_close(followed, wanted, atol=2e-4, rtol=0)
    probe = torch.randn_like(wanted)
    mine, theirs = (
        torch.autograd.grad((y * probe).sum(), x)[0] for y in (followed, literal_layer(layer, x, w))
    )
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_forward_derivatives_of_a_frozen_layer_also_where_gradients_are_off(always_winograd):
    layer, x, w = frozen_layer(3, in_channels=4)
    layer.double()
    x, w, tangent = x.double(), w.double(), torch.randn(3, 5, dtype=torch.float64)
    _, wanted = torch.func.jvp(lambda w: literal_layer(layer, x, w), (w,), (tangent,))
    layer.float()
    x, w, tangent = x.float(), w.float(), tangent.float()
    _, got = torch.func.jvp(lambda w: layer(x, w), (w,), (tangent,))
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(w, tangent)
        _, quiet = torch.autograd.forward_ad.unpack_dual(layer(x, dual))
    scale = wanted.abs().max()
    # The literal layer scales styles over the batch, whose tangent demodulation cancels up to its epsilon.
    assert (got - wanted).abs().max() < 1e-4 * scale
    torch.testing.assert_close(quiet, got, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in SPECIAL if name != "ToRGB"])
def test_matrix_and_polyphase_filters_agree(name):
    spec = random_spec(np.random.default_rng(1), **SPECIAL[name])
    torch.manual_seed(0)
    layer = SynthesisLayer(spec, 5)
    matrix, polyphase = (
        kind(spec, layer.up_filter, layer.down_filter) for kind in (MatrixNonlinearity, PolyphaseNonlinearity)
    )
    assert matrix.window == polyphase.window
    y = torch.randn(2, spec.out_channels, matrix.window.size, matrix.window.size)
    a, b = matrix(y), polyphase(y)
    assert a.shape == (2, spec.out_channels, spec.out_size, spec.out_size)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert torch.equal(y.clone(), y)
    torch.testing.assert_close(polyphase(y.clone(), overwrite=True), b, atol=0, rtol=0)


@pytest.mark.parametrize("torgb", [False, True])
def test_clamps_are_those_of_the_definition(torgb):
    layer, x, w = frozen_layer(0, **(SPECIAL["ToRGB"] if torgb else {}))
    whole = {}
    for limit in (None, 0.05):
        layer.spec = dataclasses.replace(layer.spec, conv_clamp=limit)
        whole[limit] = layer(x, w)
        torch.testing.assert_close(whole[limit], literal_layer(layer, x, w), atol=1e-4, rtol=0)
    assert (whole[None] - whole[0.05]).abs().max() > 0.05


def test_prepared_weights_follow_changes_and_stay_out_of_copies_and_files(always_winograd):
    layer, x, w = frozen_layer(2)
    with torch.no_grad():
        before = layer(x, w)
        layer.weight.mul_(torch.rand_like(layer.weight))
        torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=2e-4, rtol=0)
        other, _, _ = frozen_layer(2)
        layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(layer(x, w), before)
        twin = copy.deepcopy(layer)
        assert twin._prepared is not layer._prepared and not twin._prepared.values
        torch.testing.assert_close(twin(x, w), before)
    assert set(layer.state_dict()) <= {
        "weight", "bias", "magnitude_ema", "affine.weight", "affine.bias", "up_filter", "down_filter"
    }  # fmt: skip


def test_gradients_after_a_first_picture_in_inference_mode(always_winograd):
    layer, x, w = frozen_layer(4)
    with torch.inference_mode():
        first = layer(x, w)
    w.requires_grad_()
    y = layer(x, w)
    torch.testing.assert_close(y.detach(), first.clone(), atol=1e-5, rtol=1e-5)
    y.sum().backward()
    assert w.grad.abs().max() > 0


def test_the_choice_of_convolution_ignores_the_batch(monkeypatch):
    monkeypatch.setattr(layer_module, "WINOGRAD_CHANNELS", 1)
    layer, x, w = frozen_layer(1, in_channels=4, out_channels=4)
    products = 9 * layer.nonlinearity().window.size ** 2 * 16
    monkeypatch.setattr(layer_module, "WINOGRAD_PRODUCTS", 2 * products)  # of one picture: too few
    with torch.no_grad():
        layer(x.repeat(4, 1, 1, 1), w.repeat(4, 1))
    assert ("winograd", torch.float32) not in layer._prepared.values


def test_weights_written_where_tensors_do_not_count(always_winograd):
    layer, x, w = frozen_layer(2, in_channels=5, out_channels=3)

    def check():
        with torch.no_grad():
            torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=2e-4, rtol=0)

    check()
    layer.weight.data[1] *= 3
    layer.weight.data[2, 0] += 1
    check()
    layer.weight.data[:, 4] = 0
    check()
    with torch.inference_mode():
        layer.weight = torch.nn.Parameter(torch.randn_like(layer.weight), requires_grad=False)
        check()
        layer.weight.mul_(torch.rand_like(layer.weight))
        check()


def test_prepared_weights_follow_changes_of_type_and_place():
    layer, x, w = frozen_layer(2)
    with torch.no_grad():
        before = layer(x, w)
        layer.bfloat16().float()  # may lie where the old weight lay
        assert not layer._prepared.values
        torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=2e-4, rtol=0)
        assert not torch.equal(layer(x, w), before)
        first = layer._prepared.get(layer, "key", object)
        assert layer._prepared.get(layer, "key", object) is first
        layer.weight = torch.nn.Parameter(layer.weight.data, requires_grad=False)  # same place, same values
        assert layer._prepared.get(layer, "key", object) is not first


@pytest.mark.parametrize("seed", [1, 2])
def test_filters_prepared_in_inference_mode_serve_gradients(always_winograd, seed):
    layer, x, w = frozen_layer(seed, lrelu_upsampling=2)
    assert layer.up_filter is not None and layer.down_filter is not None
    with torch.inference_mode():
        layer(x, w)
    layer(x, w.requires_grad_()).sum().backward()
    assert w.grad.abs().max() > 0


@pytest.mark.parametrize("first", ["grad of grad", "hessian", "vmap of jvp"])
def test_a_first_picture_inside_a_transform_leaves_nothing_of_it(always_winograd, first):
    layer, x, w = frozen_layer(3, in_channels=4)

    def value(w):
        return layer(x[:1], w[None]).square().mean()

    if first == "hessian":
        torch.func.hessian(value)(w[0])
    elif first == "grad of grad":
        torch.func.grad(lambda w: torch.func.grad(value)(w).sum())(w[0])
    else:
        torch.func.vmap(lambda t: torch.func.jvp(value, (w[0],), (t,))[1])(w)
    torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=2e-4, rtol=0)
    wanted = torch.func.jacrev(lambda w: literal_layer(layer, x[:1], w[None]).square().mean())(w[0])
    for derivative in (torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(derivative(value)(w[0]), wanted, atol=1e-4, rtol=1e-3)


def test_derivatives_by_the_weight_of_a_frozen_layer(always_winograd):
    layer, x, w = frozen_layer(3, in_channels=4)
    layer(x, w)
    weight, tangent = layer.weight.detach().clone(), torch.randn_like(layer.weight)

    def mine(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x, w))

    def theirs(weight):
        del layer._parameters["weight"]
        layer.weight = weight
        result = literal_layer(layer, x, w)
        del layer.weight
        layer.weight = torch.nn.Parameter(whole, requires_grad=False)
        return result

    whole = weight.clone()
    wanted = torch.func.jvp(theirs, (weight,), (tangent,))[1]
    bound = {"atol": 1e-4 * float(wanted.abs().max()), "rtol": 0}
    torch.testing.assert_close(torch.func.jvp(mine, (weight,), (tangent,))[1], wanted, **bound)
    probe = torch.randn_like(wanted)
    gradient = torch.func.grad(lambda weight: (mine(weight) * probe).sum())(weight)
    slope = (wanted * probe).sum()
    torch.testing.assert_close((gradient * tangent).sum(), slope, atol=1e-2, rtol=1e-3)
    with torch.autograd.forward_ad.dual_level():
        dual = mine(torch.autograd.forward_ad.make_dual(weight, tangent))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, wanted, **bound)
    several = torch.stack([weight, tangent])
    got = torch.func.vmap(mine)(several)
    torch.testing.assert_close(got, torch.stack([mine(weight), mine(tangent)]), atol=1e-4, rtol=0)


def test_all_tensors_of_several_layers_at_a_time(always_winograd):
    layers = [frozen_layer(3, in_channels=4)[0] for _ in range(3)]
    _, x, w = frozen_layer(3, in_channels=4)
    for layer in layers[1:]:
        layer.weight.mul_(torch.rand_like(layer.weight))
    tensors = torch.func.stack_module_state(layers)
    got = torch.func.vmap(lambda *tensors: torch.func.functional_call(layers[0], tensors, (x, w)))(*tensors)
    torch.testing.assert_close(got, torch.stack([layer(x, w) for layer in layers]), atol=2e-4, rtol=0)


def test_a_value_is_not_lost_when_the_weight_changes_while_it_is_made():
    layer, _, _ = frozen_layer(0)

    def make():  # as another thread would
        with torch.no_grad():
            layer.weight.mul_(2)
        layer._prepared.get(layer, "other", lambda: 1)
        return "mine"

    assert layer._prepared.get(layer, "key", make) == "mine"
    assert set(layer._prepared.values) == {"other"}


def test_layers_that_winograds_convolution_is_not_for(monkeypatch, always_winograd):
    torch.manual_seed(0)
    spec = random_spec(np.random.default_rng(0), conv_kernel=1, in_channels=6, out_channels=6)
    layer = SynthesisLayer(spec, 5).eval().requires_grad_(False)
    x, w = torch.randn(2, 6, spec.in_size, spec.in_size), torch.randn(2, 5)
    torch.testing.assert_close(layer(x, w), literal_layer(layer, x, w), atol=2e-4, rtol=0)
    monkeypatch.setattr(layer_module, "WINOGRAD_CHANNELS", 5)
    for inputs, outputs, wide in ((4, 5, False), (5, 4, False), (5, 5, True)):
        layer, x, w = frozen_layer(0, in_channels=inputs, out_channels=outputs)
        layer(x, w)
        assert (("winograd", torch.float32) in layer._prepared.values) == wide


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision, bound", [("float32", 1e-4), ("bfloat16", 2), ("float16", 0.5)])
def test_precisions_against_the_literal_network(always_winograd, precision, bound):
    generator = tiny_generator()
    w = generator.map(generator.sample_z(3, 0), 1)
    with torch.no_grad():
        wanted = (literal_synthesis(generator, generator.broadcast(w)) * 0.5 + 0.5).clamp(0, 1)
        got = generator.render(w, precision=precision)
        assert got.dtype == torch.float32
        generator.precision = precision
        assert torch.equal(generator.render(w), got)
    error = (got - wanted).abs().mean() * 255
    assert error < bound
    assert (error > 1e-3) == (precision != "float32")


def test_precision_of_a_loaded_generator():
    assert load_generator("fashion").precision == "float32"
    generator = load_generator("fashion", precision="bfloat16")
    w = generator.map(generator.sample_z(2, 0), 1)
    assert torch.equal(generator.render(w), generator.render(w, precision="bfloat16"))
    with pytest.raises(LisError, match="bfloat16"):
        load_generator("fashion", precision="half")


@pytest.mark.parametrize("factor", [1e-6, 3000, 1e6])
def test_half_precision_survives_large_and_small_weights(factor):
    generator = tiny_generator()
    w = generator.map(generator.sample_z(2, 0), 1)
    wanted = generator.render(w)
    for name in generator.synthesis.layer_names[:-1]:
        generator.synthesis.get_submodule(name).weight.mul_(factor)  # demodulation cancels it
    torch.testing.assert_close(generator.render(w), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(generator.render(w, precision="float16"), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("precision", ["float64", "bf16", "", None, 16, torch.float16])
def test_unknown_precisions(precision):
    generator = tiny_generator()
    with pytest.raises(LisError, match="float32, bfloat16, float16"):
        generator.precision = precision
    if precision is not None:
        with pytest.raises(LisError, match="precision is"):
            generator.render(torch.zeros(1, generator.w_dim), precision=precision)
    assert generator.precision == "float32"


@pytest.mark.parametrize("precision, bound", [("float32", 1e-5), ("bfloat16", 0.05)])
def test_generators_of_float64(always_winograd, precision, bound):
    generator, double = tiny_generator(), tiny_generator().double()
    z, centroids = generator.sample_z(3, 0), torch.randn(4, generator.w_dim)
    for extra in ({}, {"psi": 0.5}, {"psi": 0.5, "centroids": centroids}):
        w = double.map(z, 1, **extra)
        assert w.dtype == torch.float64
        torch.testing.assert_close(w.float(), generator.map(z, 1, **extra), atol=1e-5, rtol=1e-4)
    x = double.render(w, precision=precision)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, generator.render(w), atol=bound, rtol=0)
    ws = double.broadcast(w)
    wanted = literal_synthesis(double, ws)
    assert wanted.dtype == torch.float64
    torch.testing.assert_close(double.synthesis(ws).double(), wanted, atol=1e-6, rtol=0)


def test_per_picture_jacobians(always_winograd):
    generator = tiny_generator()
    w = generator.map(generator.sample_z(3, 0), 1)

    def one(w):
        return generator.render(w[None])[0]

    torch.testing.assert_close(torch.func.vmap(one)(w), generator.render(w), atol=1e-5, rtol=0)
    wanted = torch.stack([torch.func.jacrev(one)(row) for row in w])
    for derivative in (torch.func.jacfwd, torch.func.jacrev):
        got = torch.func.vmap(derivative(one))(w)
        torch.testing.assert_close(got, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)
    with pytest.raises(LisError, match="NaN"):
        torch.func.jvp(one, (w[0] * float("nan"),), (w[0],))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_generators_of_coarse_weights_are_refused(dtype):
    generator = tiny_generator()
    w = generator.map(generator.sample_z(1, 0), 1)
    generator.to(dtype)
    for use in (lambda: generator.render(w), lambda: generator.map(generator.sample_z(1, 0), 1)):
        with pytest.raises(LisError, match="precision"):
            use()


def test_feature_maps_are_bounded_when_no_batch_size_is_given(monkeypatch):
    generator = tiny_generator()
    w = generator.map(generator.sample_z(7, 0), 1)
    whole = generator.render(w)
    sizes = []
    generator.synthesis.input.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    budget = 3 * 4 * generator.synthesis.activations
    monkeypatch.setattr(generator_module, "ACTIVATION_BYTES", budget)
    torch.testing.assert_close(generator.render(w), whole, atol=1e-5, rtol=0)
    assert sizes == [3, 3, 1]
    sizes.clear()
    generator.render(w, precision="bfloat16")
    assert sizes == [6, 1]
    sizes.clear()
    monkeypatch.setattr(generator_module, "ACTIVATION_BYTES", 1)
    generator.render(w[:2])
    assert sizes == [1, 1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pictures", [4, 8])
def test_the_memory_of_a_picture_is_what_is_said(always_winograd, precision, pictures):
    generator = tiny_generator(lrelu_upsampling=2, channel_base=2048, channel_max=32, resolution=32)
    w = generator.map(generator.sample_z(pictures, 0), 1)
    generator.render(w, precision=precision)  # prepares weights
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        generator.render(w, precision=precision)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    told = pictures * generator.synthesis.activations * (4 if precision == "float32" else 2)
    assert 0.7 * told < held.max() < 1.4 * told


def test_the_whole_network_can_be_compiled():
    generator = tiny_generator()
    w = generator.map(generator.sample_z(2, 0), 1)
    with torch.no_grad():
        wanted = generator.render(w)
        generator.synthesis.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(generator.render(w), wanted, atol=1e-5, rtol=0)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("error:Dynamo does not know")
def test_render_can_be_compiled():
    generator = tiny_generator()
    w = generator.map(generator.sample_z(2, 0), 1)
    with torch.no_grad():
        wanted = generator.render(w)
        compiled = torch.compile(generator.render, backend="eager")
        torch.testing.assert_close(compiled(w), wanted, atol=1e-5, rtol=0)
        layer = generator.synthesis.get_submodule(generator.synthesis.layer_names[1])
        layer.weight.data[0] *= 2
        torch.testing.assert_close(compiled(w), generator.render(w), atol=1e-5, rtol=0)
    assert not torch.equal(compiled(w), wanted)
    torch._dynamo.reset()
