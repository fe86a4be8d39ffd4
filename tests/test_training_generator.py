"""Training of the generator: resumable to the last bit, its losses against plain re-derivations, and the model card."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.stylegan import GeneratorConfig, save_generator, update_mean_latents
from lis_toolkit.training import generator as module
from lis_toolkit.training.critic_features import CriticFeatures
from lis_toolkit.training.critics import Critic, augment
from lis_toolkit.training.generator import FASHION_CONFIG, GeneratorSettings, GeneratorTrainer
from lis_toolkit.training.latents import Encoder, LatentBank, LatentCritic
from lis_toolkit.training.model_card import measure_generator, sample_images
from tiny import CLASSES, TINY, tiny_classifier, tiny_generator

SETTINGS = {"steps": 6, "warm_up": 0.5, "batch_size": 4, "latent_batch": 8}
CONFIG = GeneratorConfig(**TINY)


def photographs(n=12, seed=0):
    """Squares, larger and brighter from class to class, with noise."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    x = torch.rand(n, 1, 16, 16, generator=rng) * 0.2
    for i, label in enumerate(labels.tolist()):
        side = 2 + 2 * label
        x[i, :, 8 - side : 8 + side, 8 - side : 8 + side] += 0.3 + 0.2 * label
    return Photographs(x.clamp(0, 1), labels, CLASSES)


@pytest.fixture(scope="module")
def feature_net():
    torch.manual_seed(3)
    return CriticFeatures(1, 3, widths=(4, 6, 8))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(module, "Encoder", lambda *sizes: Encoder(*sizes, widths=(4, 6, 8)))
    monkeypatch.setattr(module, "LatentBank", lambda w_dim: LatentBank(w_dim, size=16))


def trainer(feature_net, config=CONFIG, **changes):
    return GeneratorTrainer(config, GeneratorSettings(**{**SETTINGS, **changes}), photographs(), feature_net)


def state_of(run):
    weights = {
        f"{name}/{key}": v.clone() for name, m in run.modules.items() for key, v in m.state_dict().items()
    }
    for name, optimizer in run.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            weights |= {
                f"optimizer/{name}/{index}/{slot}": torch.as_tensor(v).clone() for slot, v in slots.items()
            }
    return weights


@pytest.fixture(scope="module")
def undisturbed(feature_net):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Encoder", lambda *sizes: Encoder(*sizes, widths=(4, 6, 8)))
        patch.setattr(module, "LatentBank", lambda w_dim: LatentBank(w_dim, size=16))
        run = trainer(feature_net)
        losses = [run.train_step() for _ in range(run.settings.steps)]
    return run, losses


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_run_ends_where_an_undisturbed_one_does(undisturbed, feature_net, tmp_path, stop):
    path = tmp_path / "run.safetensors"
    first = trainer(feature_net)
    for _ in range(stop):
        first.train_step()
    first.save(path)
    torch.manual_seed(999)  # whatever happened in between
    second = trainer(feature_net)
    second.resume(path)
    assert second.step == stop
    while second.step < second.settings.steps:
        second.train_step()
    wanted, got = state_of(undisturbed[0]), state_of(second)
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []


def test_every_network_is_trained_and_every_loss_is_finite(undisturbed, feature_net):
    run, losses = undisturbed
    early, late = {"latent critic", "latent", "reconstruction"}, {"critic", "adversarial", "guidance"}
    assert [set(step) for step in losses] == [early] * 3 + [early | late] * 3, (
        "critics of images join half way"
    )
    assert all(math.isfinite(value) for step in losses for value in step.values())
    before, after = state_of(trainer(feature_net)), state_of(run)
    for name in run.modules:
        moved = [
            key for key in before if key.startswith(f"{name}/") and not torch.equal(before[key], after[key])
        ]
        assert moved, name
    still = [
        key
        for key in before
        if key.startswith("generator/") and key.endswith("weight") and torch.equal(before[key], after[key])
    ]
    assert still == []
    assert not run.average.training and int(run.bank.pushed) == 6 * 4


def test_the_average_follows_the_weights(feature_net):
    run = trainer(feature_net)
    name = "synthesis.input.weight"
    old = run.average.get_parameter(name).clone()
    run.train_step()
    new, average = run.generator.get_parameter(name).detach(), run.average.get_parameter(name)
    keep = 0.5 ** (4 / (4 * 0.05))  # half-life: a twentieth of the images seen, here less than a batch
    torch.testing.assert_close(average, old * keep + new * (1 - keep))
    layer = run.generator.synthesis.layer_names[0]
    magnitude = run.generator.synthesis.get_submodule(layer).magnitude_ema
    assert torch.equal(run.average.synthesis.get_submodule(layer).magnitude_ema, magnitude)
    assert float(magnitude) != 1


def test_training_learns_to_reconstruct(feature_net):
    run = trainer(feature_net, steps=40, warm_up=1.0, anneal=0.0)
    losses = [float(run.train_step()["reconstruction"]) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_run_saves_and_gives_a_generator_with_mean_latents(feature_net, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    monkeypatch.setattr(module, "update_mean_latents", lambda g: update_mean_latents(g, 50))
    run = trainer(feature_net, steps=3)
    g = run.run(path, every=2, progress=False)
    again = trainer(feature_net, steps=3)
    again.resume(path)
    assert again.step == 3
    z = g.sample_z(50, 0)
    for k in range(3):
        torch.testing.assert_close(g.mapping.w_avg[k], g.map(z, k).mean(0), atol=1e-5, rtol=0)
    assert g.render(g.map(z[:2], 0)).shape == (2, 1, 16, 16) and g.classes == CLASSES


@pytest.mark.parametrize("change", [{"steps": 7}, {"seed": 1}, {"noise": 0.3}, {"lr_mapping": 0.5}])
def test_a_run_with_other_settings_is_refused(feature_net, tmp_path, change):
    path = tmp_path / "run.safetensors"
    trainer(feature_net).save(path)
    other = trainer(feature_net, **change)
    with pytest.raises(LisError, match=f"other settings .*{next(iter(change))}"):
        other.resume(path)


def test_files_of_other_runs_are_refused(feature_net, tmp_path):
    path = tmp_path / "run.safetensors"
    trainer(feature_net).save(path)
    for change in ({"channel_max": 6}, {"conv_clamp": 100.0}):  # the second keeps all shapes
        other = trainer(feature_net, config=GeneratorConfig(**{**TINY, **change}))
        with pytest.raises(LisError, match=f"other settings .*{next(iter(change))}"):
            other.resume(path)
    other = trainer(feature_net)
    other.images = other.images.flip(0)
    with pytest.raises(LisError, match="other settings .*photographs"):
        other.resume(path)
    save_generator(tiny_generator(), path)
    with pytest.raises(LisError, match="other settings"):
        trainer(feature_net).resume(path)
    two = Photographs(torch.zeros(2, 1, 16, 16), torch.zeros(2).long(), ("a", "b"))
    with pytest.raises(LisError, match="2 classes of photographs"):
        GeneratorTrainer(CONFIG, GeneratorSettings(**SETTINGS), two, feature_net)


def test_divergence_is_said_so(feature_net, monkeypatch):
    run = trainer(feature_net, steps=200)
    run.step = 99
    monkeypatch.setattr(
        run, "train_step", lambda: (setattr(run, "step", run.step + 1), {"critic": torch.tensor(math.nan)})[1]
    )
    with pytest.raises(LisError, match="diverged at step 100"):
        run.run(progress=False)


def test_step_sizes_rise_calm_down_and_fall(feature_net):
    run = trainer(
        feature_net, steps=1000, warm_up=0.4, anneal=0.5, calm=4.0, lr_synthesis=0.01, lr_critic=0.002
    )
    rates = {}
    for step in (0, 49, 399, 400, 750, 999):
        run.step = step
        run._set_rates()
        rates[step] = [run.optimizers[name].param_groups[0]["lr"] for name in ("synthesis", "critic")]
    assert rates[0] == pytest.approx([0.01 / 100, 0.002 / 100])
    assert rates[49] == pytest.approx([0.005, 0.001])
    assert rates[399] == pytest.approx([0.01, 0.002])
    assert rates[400] == pytest.approx([0.0025, 0.002])
    assert rates[750] == pytest.approx([0.0025 / 2, 0.001])
    assert rates[999] == pytest.approx([0.0025 / 500, 0.002 / 500])


def test_the_shipped_configuration_is_the_papers_classes_at_32_pixels():
    from lis_toolkit.stylegan.geometry import lay_out

    _, layers, resolution = lay_out(FASHION_CONFIG)
    assert resolution == 32 and FASHION_CONFIG.c_dim == 10 and FASHION_CONFIG.mapping == "pretrained"
    assert layers[-1].is_torgb and layers[-1].out_channels == 1


# --- augmentation ----------------------------------------------------------------------------------------------------


def test_without_shift_and_hole_nothing_changes():
    x = torch.rand(5, 2, 16, 16) * 2 - 1
    assert torch.equal(augment(x, shift=0, hole=0), x)


def test_shifts_move_whole_pictures_by_whole_pixels():
    torch.manual_seed(0)
    x = torch.rand(40, 2, 12, 12) * 2 - 1
    padded, seen = F.pad(x, [2] * 4, value=-1.0), set()
    for picture, source in zip(augment(x, shift=2, hole=0), padded, strict=True):
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.equal(picture, source[:, i : i + 12, j : j + 12])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 12


def test_half_of_the_pictures_get_a_hole_of_the_stated_size():
    torch.manual_seed(0)
    out = augment(torch.ones(400, 1, 16, 16), shift=0, hole=6)
    blank = (out == -1).sum(dim=(1, 2, 3))
    assert set(blank.tolist()) == {0, 36} and 160 < int((blank == 36).sum()) < 240
    for picture in out[blank == 36][:20, 0]:
        rows, columns = (picture == -1).nonzero(as_tuple=True)
        assert rows.max() - rows.min() == columns.max() - columns.min() == 5


def test_gradients_flow_to_the_pixels_that_stay():
    torch.manual_seed(0)
    x = (torch.rand(6, 1, 16, 16) * 2 - 1).requires_grad_()
    out = augment(x)
    weight = torch.rand_like(out)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    assert out.shape == x.shape
    kept = weight[out != -1].sum()
    torch.testing.assert_close(gradient.sum(), kept)
    assert ((gradient == 0).float().mean(dim=(1, 2, 3)) < 0.6).all()


# --- critics ---------------------------------------------------------------------------------------------------------


def test_the_latent_critics_loss_is_that_of_its_definition():
    torch.manual_seed(0)
    critic = LatentCritic(5, 3, width=7).double()
    real, fake = torch.randn(6, 5).double(), torch.randn(9, 5).double()
    labels, other = torch.arange(6) % 3, torch.arange(9) % 3
    scores = lambda w, k: float(critic(w[None], k[None]).detach())  # noqa: E731
    step, penalty = 1e-5, 0.0
    for w, k in zip(real, labels, strict=True):  # the slope by differences
        for i in range(5):
            move = torch.zeros(5).double()
            move[i] = step
            penalty += ((scores(w + move, k) - scores(w - move, k)) / (2 * step)) ** 2 / 6
    data = np.mean([math.log1p(math.exp(-scores(w, k))) for w, k in zip(real, labels, strict=True)])
    data += np.mean([math.log1p(math.exp(scores(w, k))) for w, k in zip(fake, other, strict=True)])
    got = critic.loss(real, fake, labels, other, gamma=0.6)
    assert float(got.detach()) == pytest.approx(data + 0.3 * penalty, rel=1e-6)
    assert penalty > 1e-3
    h = critic.body(real)
    by_hand = h @ critic.score.weight[0] + critic.score.bias + (h * critic.embed.weight[labels]).sum(1)
    torch.testing.assert_close(critic(real, labels), by_hand)

    # The penalty itself is differentiated, as R1 needs: its gradient by a plain double backward.
    parameters = list(critic.parameters())
    leaf = real.clone().requires_grad_()
    s = critic(leaf, labels)
    (slope,) = torch.autograd.grad(s.sum(), leaf, create_graph=True)
    plain = (1 + (-s).exp()).log().mean() + (1 + critic(fake, other).exp()).log().mean()
    plain = plain + 0.3 * slope.pow(2).sum() / 6
    mine, wanted = torch.autograd.grad(got, parameters), torch.autograd.grad(plain, parameters)
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_the_bank_keeps_the_latest_latents():
    bank = LatentBank(2, size=6)
    for i in range(5):  # 10 latents in pairs; the last 6 stay
        bank.push(torch.full((2, 2), float(i)), torch.tensor([i, i]))
        w, labels = bank.draw(200)
        assert torch.equal(w[:, 0].long(), labels)
        assert set(labels.tolist()) == set(range(max(0, i - 2), i + 1))


def test_the_encoders_latents_are_standardised():
    torch.manual_seed(0)
    encoder = Encoder(1, 16, 3, 5, widths=(4, 6)).train()
    w = encoder(torch.rand(64, 1, 16, 16), torch.arange(64) % 3)
    assert w.shape == (64, 5)
    torch.testing.assert_close(w.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(w.var(0, unbiased=False), torch.ones(5), atol=2e-2, rtol=0)


def test_critics_score_every_part_by_picture_and_class(feature_net):
    torch.manual_seed(0)
    critic = Critic(feature_net.eval().features, 1, 16, 3, torch.device("cpu")).eval()
    x = torch.rand(4, 1, 16, 16) * 2 - 1
    scores, maps = critic(x, torch.tensor([0, 1, 2, 0]))
    assert len(scores) == len(maps) + 1 == 4 and scores[-1].shape == (4, 1)
    for part, other, alone in zip(
        scores, critic(x, torch.tensor([1] * 4))[0], critic(x[1:2], torch.tensor([1]))[0], strict=True
    ):
        assert part.shape[0] == 4 and part.shape == other.shape
        torch.testing.assert_close(part[1:2], alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(part[1], other[1])
        assert (part[[0, 2, 3]] != other[[0, 2, 3]]).any(dim=1).all()


# --- model card ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def judge(generator):
    return tiny_classifier(generator)


def drawn(generator, n, seed, psi=1.0):
    """`Photographs` that the generator itself rendered."""
    x, labels = sample_images(generator, n, psi, seed)
    return Photographs(x, labels, CLASSES)


def test_samples_are_the_classes_in_turn(generator):
    x, labels = sample_images(generator, 5, 0.5, 9)
    assert labels.tolist() == [0, 1, 2, 0, 1]
    z = generator.sample_z(5, 9)
    for i in range(5):
        one = generator.render(generator.map(z[i : i + 1], i % 3, 0.5))
        torch.testing.assert_close(x[i : i + 1], one, atol=1e-5, rtol=0)


def test_the_figures_are_those_of_a_plain_computation(generator, judge):
    train, test = drawn(generator, 60, 1), drawn(generator, 45, 2)
    figures = measure_generator(generator, judge, train, test, samples=30, k=3, seed=7)
    assert figures["judge"]["hash"] == judge.hash
    right = [int(judge(x[None]).argmax()) == int(k) for x, k in zip(test.images, test.labels, strict=True)]
    assert figures["judge"]["accuracy_on_test_photographs"] == pytest.approx(sum(right) / 45)
    assert 0.4 < sum(right) / 45 < 1
    assert list(figures["judge_accuracy_by_class"]) == list(CLASSES)
    for psi in (1.0, 0.7):
        x, labels = sample_images(generator, 30, psi, 7)
        answers = judge(x).argmax(1)
        row = figures[f"psi_{psi}"]
        assert row["class_agreement"] == pytest.approx(float((answers == labels).float().mean()))
        assert row["class_agreement_by_class"]["ring"] == pytest.approx(
            float((answers[1::3] == 1).float().mean())
        )
        rms = sorted(
            min(float((picture - other).square().mean().sqrt()) for other in train.images) for picture in x
        )
        got = figures["nearest_training_image_rms"][f"generated_psi_{psi}"]
        assert got["0.5"] == pytest.approx(np.quantile(rms, 0.5), abs=2e-5)
        assert got["0.001"] == pytest.approx(np.quantile(rms, 0.001), abs=2e-5)
    assert set(figures["nearest_training_image_rms"]) == {
        "test_photographs",
        "generated_psi_1.0",
        "generated_psi_0.7",
    }


def test_the_figures_see_what_they_are_for(generator, judge):
    """A generator that copies its training images, and one that knows nothing of the test photographs."""
    test = drawn(generator, 45, 2)
    copied = drawn(generator, 30, 7)  # exactly what psi 1 draws with seed 7
    figures = measure_generator(generator, judge, copied, test, samples=30, k=3, seed=7)
    nearest = figures["nearest_training_image_rms"]
    assert nearest["generated_psi_1.0"]["0.5"] == 0 < nearest["generated_psi_0.7"]["0.5"]
    assert nearest["test_photographs"]["0.001"] > 0
    full = figures["psi_1.0"]
    assert full["frechet_distance"] == pytest.approx(
        figures["training_photographs"]["frechet_distance"], rel=1e-3
    )
    assert full["coverage"] == pytest.approx(figures["training_photographs"]["coverage"])
    assert full["coverage"] > 0.5
    far = Photographs(1 - test.images * 0.5, test.labels, CLASSES)
    strange = measure_generator(generator, judge, copied, far, samples=30, k=3, seed=7)
    assert strange["psi_1.0"]["coverage"] < 0.1
    assert strange["psi_1.0"]["frechet_distance"] > 5 * full["frechet_distance"]
