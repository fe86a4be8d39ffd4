"""The segmenter: what it computes, what it learns, how it travels with the generator's own pass, its files."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import sha256_tensors
from lis_toolkit.parts import (
    LabelledPicture,
    Legend,
    PartMasks,
    Segmenter,
    identity,
    load_segmenter,
    render_part_logits,
    render_parts,
    save_segmenter,
    segment,
    segment_pictures,
    training,
)
from lis_toolkit.parts.scores import score_parts
from lis_toolkit.parts.training import default_layers, train_picture_segmenter, train_segmenter
from tiny import tiny_generator

LEGEND = Legend(("background", "bright", "rim"))
PICTURES, PHOTOGRAPHS = (
    0.6,
    0.5,
)  # bounds of the mean IoU of "fashion-pictures" on held-out pictures and photographs


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


def threshold_labels(x):
    """A made-up truth: dark, middle and bright pixels (of pictures whose greys differ little)."""
    low, high = x.quantile(0.4), x.quantile(0.75)
    return ((x > low).to(torch.uint8) + (x > high).to(torch.uint8))[:, 0]


def labelled(generator, n, first=0):
    pictures = [LabelledPicture(f"{i}.png", i % 3, i, 1.0) for i in range(first, first + n)]
    masks = PartMasks(LEGEND, torch.zeros(n, 16, 16, dtype=torch.uint8), pictures, generator.hash)
    x = generator.render(masks.latents(generator))
    return PartMasks(LEGEND, threshold_labels(x), pictures, generator.hash)


@pytest.fixture(scope="module")
def trained(generator):
    return train_segmenter(
        generator, labelled(generator, 60), epochs=30, batch_size=4, learning_rate=1e-2, unlabelled=0,
        layers=generator.synthesis.layer_names[2:], widths=(8, 8), dilations=(1, 1), progress=False,
    )  # fmt: skip


def random_segmenter(generator, layers=None, size=16, seed=0, **options):
    torch.manual_seed(seed)
    layers = generator.synthesis.layer_names[:3] if layers is None else layers
    channels = [
        generator.render_features(torch.zeros(1, 12), layers)[1][i].shape[1] for i in range(len(layers))
    ]
    segmenter = Segmenter(
        LEGEND,
        layers,
        channels or [1],
        size,
        widths=(6, 5),
        dilations=(1, 2),
        generator_hash=generator.hash,
        **options,
    )
    for name, value in segmenter.named_buffers():
        value.copy_(torch.rand_like(value) + (0.5 if "std" in name else 0))
    return segmenter.requires_grad_(False)


def plainly(segmenter, features):
    """Resize, concatenate, normalise, and convolve: the paper's order, with the reduction as one 1 x 1 convolution."""
    size = segmenter.size
    resized = [
        m if m.shape[-1] == size else F.interpolate(m, (size, size), mode="bilinear", align_corners=False)
        for m in features
    ]
    mean = torch.cat([segmenter.get_buffer(f"mean{i}") for i in range(len(features))])
    std = torch.cat([segmenter.get_buffer(f"std{i}") for i in range(len(features))])
    joined = (torch.cat(resized, 1) - mean[:, None, None]) / std[:, None, None]
    weight = torch.cat([c.weight for c in segmenter.reductions], 1)
    h = F.conv2d(joined, weight, segmenter.reductions[0].bias)
    centers = torch.cat([m.mean(dim=(2, 3)) for m in features], 1)
    context = torch.cat([c.weight for c in segmenter.contexts], 1)
    h = h + (((centers - mean) / std) @ context.T)[:, :, None, None]
    for conv in segmenter.convolutions:
        h = F.conv2d(
            F.leaky_relu(h, 0.2), conv.weight, conv.bias, padding=conv.dilation, dilation=conv.dilation
        )
    return h


def test_reducing_before_resizing_is_the_same_as_resizing_before_concatenating(generator):
    w = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    segmenter = random_segmenter(generator)
    _, maps = generator.render_features(w, segmenter.layers)
    assert len({m.shape[-1] for m in maps}) > 1
    assert torch.allclose(segmenter(maps), plainly(segmenter, maps), atol=1e-5)


def test_maps_are_shrunk_and_logits_enlarged_where_pictures_are_large():
    torch.manual_seed(0)
    segmenter = Segmenter(LEGEND, ("a", "b"), (3, 2), 256, widths=(4,), dilations=(1,)).requires_grad_(False)
    maps = [torch.randn(1, 3, 256, 256), torch.randn(1, 2, 64, 64)]
    logits = segmenter(maps)
    assert logits.shape == (1, 3, 256, 256)
    half = Segmenter(LEGEND, ("a", "b"), (3, 2), 128, widths=(4,), dilations=(1,)).requires_grad_(False)
    half.load_state_dict(segmenter.state_dict())
    small = half([F.avg_pool2d(maps[0], 2), maps[1]])
    assert torch.allclose(
        logits, F.interpolate(small, (256, 256), mode="bilinear", align_corners=False), atol=1e-4
    )
    four = Segmenter(LEGEND, ("a", "b"), (3, 2), 512, widths=(4,), dilations=(1,)).requires_grad_(False)
    four.load_state_dict(segmenter.state_dict())
    large = [torch.randn(1, 3, 512, 512), maps[1]]  # every pixel counts, not those between which others lie
    small = half([F.avg_pool2d(large[0], 4), maps[1]])
    assert torch.allclose(
        four(large), F.interpolate(small, (512, 512), mode="bilinear", align_corners=False), atol=1e-4
    )
    assert segmenter.flops == half.flops == 2 * 128 * 128 * (5 * 4 + 4 * 3 * 9)


def test_operations_are_counted_and_few():
    from lis_toolkit.parts.network import WIDTHS

    legend = Legend(("background", *map(str, range(13))))
    segmenter = Segmenter(legend, tuple("abcde"), (128, 113, 67, 40, 40), 32)  # the bundled one's
    by_hand = (128 + 113 + 67 + 40 + 40) * WIDTHS[0] + 9 * sum(
        a * b for a, b in zip(WIDTHS, (*WIDTHS[1:], 14), strict=True)
    )
    assert segmenter.flops == 2 * 32 * 32 * by_hand <= 1.05e8


def test_pictures_and_labels_come_from_one_pass_and_do_not_depend_on_the_batch(generator, trained):
    w = torch.randn(7, 12, generator=torch.Generator().manual_seed(2))
    x, labels = render_parts(generator, trained, w)
    assert torch.equal(x, generator.render(w)) and labels.dtype == torch.uint8 and labels.shape == (7, 16, 16)
    for size in (1, 3, 7):
        again, other = render_parts(generator, trained, w, batch_size=size)
        assert torch.allclose(again, x, atol=1e-6) and (other != labels).float().mean() < 1e-3
    assert torch.equal(segment(generator, trained, w), labels)
    _, logits = render_part_logits(generator, trained, w)
    assert torch.equal(logits.argmax(1).to(torch.uint8), labels)
    ws = generator.broadcast(w).clone()
    assert torch.equal(segment(generator, trained, ws), labels)


def test_bfloat16_labels_are_nearly_those_of_float32(generator, trained):
    w = torch.randn(8, 12, generator=torch.Generator().manual_seed(3))
    exact = segment(generator, trained, w)
    coarse = segment(generator, trained, w, precision="bfloat16")
    assert (exact == coarse).any() and (exact != coarse).float().mean() < 0.1
    assert render_part_logits(generator, trained, w, "bfloat16")[1].dtype == torch.float32


def test_precision_is_that_of_the_segmenter_too(generator, trained):
    w = torch.randn(4, 12, generator=torch.Generator().manual_seed(3))
    _, maps = generator.render_features(w, trained.layers, precision="bfloat16")
    logits = render_part_logits(generator, trained, w, "bfloat16")[1]
    assert torch.equal(logits, trained(maps, torch.bfloat16)) and not torch.equal(logits, trained(maps))


def test_models_on_two_devices_are_named(generator, trained):
    away = copy.deepcopy(trained).to("meta")
    with pytest.raises(LisError, match=r"is on meta, generator .* on cpu; move one"):
        segment(generator, away, torch.randn(1, 12))


def test_channels_in_which_nothing_happens_are_not_blown_up(generator):
    segmenter = random_segmenter(generator, ())
    segmenter.normalize([torch.full((3, 1, 16, 16), 0.3)])
    assert segmenter.get_buffer("std0")[0] >= 1e-6
    assert bool(segmenter([torch.rand(1, 1, 16, 16)]).isfinite().all())
    several = Segmenter(LEGEND, ("a",), (3,), 16, widths=(4,), dilations=(1,))
    maps = torch.randn(5, 3, 16, 16) * torch.tensor([1.0, 1.0, 1e-9])[:, None, None]
    several.normalize([maps])
    std = several.get_buffer("std0")
    assert std[2] == pytest.approx(float(std[0] + std[1]) / 60, rel=0.01)


def test_new_pictures_are_labelled_with_parts_of_their_class_only(generator):
    masks = labelled(generator, 4)
    truth = torch.zeros_like(masks.labels)
    truth[0] = 1  # of its class only the part 1, and nowhere background
    pictures = [replace(p, label=i % 2) for i, p in enumerate(masks.pictures)]
    truth[1], truth[2] = 2, 1
    segmenter = random_segmenter(generator)
    with torch.no_grad():
        segmenter.convolutions[-1].weight.zero_()
        segmenter.convolutions[-1].bias.copy_(torch.tensor([-5.0, -10.0, 10.0]))  # 2 above background above 1
    new = training._Unlabelled(generator, segmenter, PartMasks(LEGEND, truth, pictures, generator.hash))
    assert new.allowed.tolist() == [[True, True, False], [True, False, True], [True, True, True]]
    _, target = new.draw(40, torch.Generator().manual_seed(0))
    classes = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(0))
    assert set(classes.tolist()) == {0, 1, 2}
    assert bool((target == torch.tensor([0, 2, 2])[classes][:, None, None]).all())


def test_derivatives_of_the_logits(generator):
    trained = random_segmenter(generator)
    w = torch.randn(1, 12, generator=torch.Generator().manual_seed(4))
    direction = torch.randn(1, 12, generator=torch.Generator().manual_seed(5))

    def share(w):
        x, logits = render_part_logits(generator, trained, w)
        return logits.softmax(dim=1).mean(dim=(2, 3))[0], x.mean()

    (_, _), (forward, light) = torch.func.jvp(share, (w,), (direction,))
    step = 1e-3
    ahead, behind = share(w + step * direction), share(w - step * direction)
    numeric = (ahead[0] - behind[0]) / (2 * step)
    assert torch.allclose(forward, numeric, rtol=0.05, atol=2e-4) and forward.abs().max() > 1e-3
    assert torch.allclose(light, (ahead[1] - behind[1]) / (2 * step), rtol=0.05, atol=1e-4)
    jacobian = torch.func.jacfwd(lambda v: share(v)[0])(w)[:, 0]  # [1 + P, W]
    assert torch.allclose(jacobian @ direction[0], forward, atol=1e-5)
    tangents = torch.eye(12)[:, None]
    columns = torch.func.vmap(lambda t: torch.func.jvp(lambda v: share(v)[0], (w,), (t,))[1])(
        tangents
    )  # [W, 1 + P]
    assert torch.allclose(columns.T, jacobian, atol=1e-5)
    live = w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(share(live)[0][1], live)
    assert torch.allclose(gradient[0], jacobian[1], atol=1e-5)


def test_it_learns_a_partition_in_seconds_and_tells_it_on_other_pictures(generator, trained):
    held_out = labelled(generator, 12, first=100)
    scores = score_parts(segment(generator, trained, held_out.latents(generator)), held_out.labels, LEGEND)
    assert scores.mean_iou > 0.7
    untrained = random_segmenter(generator)
    by_chance = score_parts(
        segment(generator, untrained, held_out.latents(generator)), held_out.labels, LEGEND
    )
    assert by_chance.mean_iou < 0.5


@pytest.mark.parametrize("unlabelled", [0, 1])
def test_the_same_seed_gives_the_same_segmenter(generator, unlabelled):
    masks = labelled(generator, 4)
    options = {"epochs": 2, "batch_size": 3, "widths": (4,), "dilations": (1,), "progress": False}
    state = torch.get_rng_state()
    one, two, other = (
        train_segmenter(generator, masks, seed=seed, unlabelled=unlabelled, **options) for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert one.hash == two.hash != other.hash
    assert not one.training and not any(p.requires_grad for p in one.parameters())
    training = one.metadata["training"]
    assert training["pictures"] == 4 and training["seed"] == 5 and training["seconds"] >= 0


def test_a_student_reads_pictures(generator, trained):
    student = train_picture_segmenter(
        generator, trained, pictures=40, epochs=2, widths=(8, 8), dilations=(1, 1), progress=False
    )
    assert student.reads_pictures and student.metadata["training"]["teacher"] == trained.hash
    held_out = labelled(generator, 12, first=100)
    x = generator.render(held_out.latents(generator))
    labels = segment_pictures(student, x, batch_size=5)
    assert labels.shape == (12, 16, 16) and labels.dtype == torch.uint8
    assert torch.equal(labels, segment_pictures(student, x))
    by_student = segment(generator, student, held_out.latents(generator))  # reads the rendered picture
    assert torch.equal(by_student, labels)


def test_the_default_layers_are_every_second(generator):
    names = generator.synthesis.layer_names
    assert default_layers(generator) == tuple(names[1:-1:2])


def test_transforms_need_no_call_before(generator):
    segmenter = random_segmenter(generator)
    w = torch.randn(3, 12, generator=torch.Generator().manual_seed(6))

    def first_ever():
        identity._hashes.clear()  # nobody asked for this generator's hash yet
        return lambda v: render_part_logits(generator, segmenter, v[None])[1][0]

    one_by_one = torch.stack([first_ever()(row) for row in w])
    assert torch.allclose(torch.func.vmap(first_ever())(w), one_by_one, atol=1e-4)
    (forward, _) = torch.func.jvp(first_ever(), (w[0],), (w[1],))
    assert torch.allclose(forward, one_by_one[0], atol=1e-4)
    jacobian = torch.func.jacfwd(lambda v: first_ever()(v).mean())(w[0])
    gradient = torch.func.grad(lambda v: first_ever()(v).mean())(w[0])
    assert torch.allclose(jacobian, gradient, atol=1e-5) and jacobian.abs().max() > 0
    segmenter.generator_hash = "0" * 64
    with pytest.raises(LisError, match="was trained on the generator 000000000000"):
        torch.func.vmap(first_ever())(w)


def test_saved_and_loaded(tmp_path, generator, trained):
    path = tmp_path / "s.safetensors"
    save_segmenter(trained, path, {"held_out": 0.5})
    again = load_segmenter(path)
    assert again.hash == trained.hash and again.layers == trained.layers and again.legend == LEGEND
    assert again.metadata["held_out"] == 0.5 and again.metadata["training"] == trained.metadata["training"]
    assert "torch" in again.metadata["provenance"]
    w = torch.randn(2, 12)
    assert torch.equal(segment(generator, again, w), segment(generator, trained, w))
    assert not any(p.requires_grad for p in again.parameters())


def test_files_that_are_no_segmenter(tmp_path, generator, trained):
    path = tmp_path / "s.safetensors"
    save_segmenter(trained, path)
    whole = path.read_bytes()
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["lis"])

    def written(tensors, **changes):
        safetensors.torch.save_file(tensors, path, {"lis": json.dumps(described | changes)})
        return path

    altered = {k: v.clone() for k, v in tensors.items()}
    altered["mean0"][0] += 1
    with pytest.raises(CheckpointError, match="altered"):
        load_segmenter(written(altered))
    with pytest.raises(CheckpointError, match="not a segmenter"):
        load_segmenter(written(tensors, format="lis-classifier-1"))
    for changes in (
        {"widths": [10**9, 8]},
        {"channels": [4]},
        {"parts": 3},
        {"size": "x"},
        {"dilations": []},
        {"layers": 3},
        {"layers": "L"},
        {"layers": [7] * len(described["layers"])},
        {"name": None},
        {"generator_hash": 5},
        {"size": 10**6},
        {"dilations": [10**6] * len(described["dilations"])},
    ):
        with pytest.raises(CheckpointError, match="does not fit its own description"):
            load_segmenter(written(tensors, **changes))
    one = next(name for name in tensors if name.startswith("contexts"))
    for wrong, message in (
        (tensors | {one: tensors[one].double()}, "float32, torch.float64; one floating-point"),
        (
            {name: value.to(torch.complex64) for name, value in tensors.items()},
            "complex64; one floating-point",
        ),
        (tensors | {one: tensors[one] * torch.nan}, f"{one} has values that are not finite"),
        (tensors | {"std0": tensors["std0"] * 0}, "std0 has values that are not finite, or no spread"),
    ):
        with pytest.raises(CheckpointError, match=f"does not fit its own description: .*{message}"):
            load_segmenter(written(wrong, sha256=sha256_tensors(wrong)))
    doubled = {name: value.double() for name, value in tensors.items()}
    exact = load_segmenter(written(doubled, sha256=sha256_tensors(doubled)))
    w = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    assert (segment(generator, exact, w) == segment(generator, trained, w)).float().mean() > 0.99
    larger = load_segmenter(written(tensors, size=2 * described["size"]))
    with pytest.raises(LisError, match=f"labels pictures of 1 channels and {2 * described['size']} px"):
        segment(generator, larger, w)  # labels would not lie on the picture
    path.write_bytes(whole[:-50])
    with pytest.raises(CheckpointError, match="not a complete safetensors"):
        load_segmenter(path)
    with pytest.raises(LisError, match="no segmenter 'fashoin'.*Did you mean 'fashion'"):
        load_segmenter("fashoin")
    save_segmenter(trained, path)
    with pytest.raises(LisError, match="no device"):
        load_segmenter(path, device="abacus")


def test_what_is_refused(generator, trained):
    w, x = torch.randn(2, 12), torch.rand(2, 1, 16, 16)
    with pytest.raises(LisError, match="trained on the generator"):
        render_parts(tiny_generator(seed=1), trained, w)
    with pytest.raises(LisError, match="trained on the generator"):
        render_part_logits(tiny_generator(seed=1), trained, w)
    with pytest.raises(LisError, match="no rows"):
        render_parts(generator, trained, w[:0])
    with pytest.raises(LisError, match="batch_size"):
        render_parts(generator, trained, w, batch_size=0)
    with pytest.raises(LisError, match="precision is 'float8'"):
        render_parts(generator, trained, w, precision="float8")
    with pytest.raises(LisError, match="reads feature maps of a generator"):
        segment_pictures(trained, x)
    student = random_segmenter(generator, layers=())
    with pytest.raises(LisError, match="images have 3 channels"):
        segment_pictures(student, x.expand(-1, 3, -1, -1))
    with pytest.raises(LisError, match="8 x 16 pixels"):
        segment_pictures(student, x[:, :, :, :8].transpose(2, 3))
    with pytest.raises(LisError, match="labels pictures of 1 channels and 32 px"):
        segment(generator, random_segmenter(generator, layers=(), size=32), w)
    with pytest.raises(LisError, match=r"was given \[\[2, 1, 16, 16\]\]"):
        trained([x])
    with pytest.raises(LisError, match="one number for each layer"):
        Segmenter(LEGEND, ("a", "b"), (3,), 16)
    with pytest.raises(LisError, match="named once"):
        Segmenter(LEGEND, ("a", "a"), (3, 3), 16)
    with pytest.raises(LisError, match="2 widths and 1 dilations"):
        Segmenter(LEGEND, ("a",), (3,), 16, widths=(3, 3), dilations=(1,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"seed": -1}, "seed is -1"),
        ({"shift": -1}, "shift is -1"),
        ({"unlabelled": -1}, "unlabelled is -1"),
        ({"layers": ()}, "no layers"),
        ({"layers": ("L9",)}, "no layer 'L9'"),
        ({"widths": (0,), "dilations": (1,)}, "a width is 0"),
    ],
)
def test_settings_that_are_refused(generator, options, message):
    with pytest.raises(LisError, match=message):
        train_segmenter(generator, labelled(generator, 3), **{"epochs": 1, "progress": False} | options)


def test_masks_of_another_generator_are_refused(generator):
    with pytest.raises(LisError, match="made for the generator"):
        train_segmenter(tiny_generator(seed=1), labelled(generator, 3), epochs=1, progress=False)


def test_numpy_numbers_are_numbers(generator):
    segmenter = train_segmenter(
        generator, labelled(generator, 3), epochs=np.int64(1), unlabelled=0, seed=np.int32(0), widths=(4,),
        dilations=(1,), progress=False,
    )  # fmt: skip
    save = segmenter.metadata["training"]
    assert save["epochs"] == 1


def test_the_bundled_segmenters_on_pictures_that_nobody_trained_on():
    from lis_toolkit import load_fashion, load_generator
    from lis_toolkit.parts import load_masks

    bundled, by_features = load_generator("fashion"), load_segmenter("fashion")
    masks = load_masks("fashion")
    train, held_out = masks.take("train"), masks.take("held out")
    assert len(train) == 60 and len(held_out) == 30
    for split, count in ((train, 6), (held_out, 3)):
        assert [p.label for p in split.pictures] == [c for c in range(10) for _ in range(count)]
    assert not {(p.label, p.seed) for p in train.pictures} & {(p.label, p.seed) for p in held_out.pictures}
    assert (
        set(masks.labels.unique().tolist()) == set(range(len(masks.legend.names)))
        and masks.legend == by_features.legend
    )
    assert (by_features.generator_hash, masks.generator_hash) == (bundled.hash, bundled.hash)
    assert by_features.flops <= 1e8 and by_features.metadata["training"]["pictures"] == 60

    x, labels = render_parts(bundled, by_features, held_out.latents(bundled))
    scores = score_parts(labels, held_out.labels, masks.legend)
    assert scores.mean_iou >= 0.75 and scores.accuracy > 0.94 and scores.iou.min() > 0.3

    second = load_masks("fashion-second")
    assert [p.seed for p in second.pictures] == [p.seed for p in held_out.pictures]
    assert not torch.equal(second.labels, held_out.labels)
    agreement = score_parts(second.labels, held_out.labels, masks.legend)
    assert agreement.mean_iou > scores.mean_iou

    by_picture = load_segmenter("fashion-pictures")
    assert by_picture.metadata["training"]["teacher"] == by_features.hash
    assert score_parts(segment_pictures(by_picture, x), held_out.labels, masks.legend).mean_iou > PICTURES
    photographed = load_masks("fashion-photographs")
    sample = load_fashion("sample")
    numbers = [p.photograph for p in photographed.pictures]
    assert sample.labels[numbers].tolist() == [p.label for p in photographed.pictures] and len(numbers) == 30
    found = segment_pictures(by_picture, sample.images[numbers])
    assert score_parts(found, photographed.labels, masks.legend).mean_iou > PHOTOGRAPHS
