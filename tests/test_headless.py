"""From pictures to walks with an encoder, with classifiers for other sizes, classes or colours, without classes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from lis_toolkit import pairs as module
from lis_toolkit.classifiers import Classifier, build_network
from lis_toolkit.classifiers.preprocessing import ResizeCrop
from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.explore import UnitSession
from lis_toolkit.features import extract_features
from lis_toolkit.link import fit_link
from lis_toolkit.link_report import report_link
from lis_toolkit.pairs import Pairs, check_models, collect_pairs
from lis_toolkit.plots import link_report_figure
from lis_toolkit.units import tune_unit
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def encoder(generator):
    """The body of the tiny classifier, for images of any size, without its head."""
    network = tiny_classifier(generator).network
    body = nn.Sequential(network.body, nn.AdaptiveAvgPool2d(1))
    resize = ResizeCrop((16, 16), 16, [0.5], [0.02])
    return Classifier(
        body.eval(), head=False, channels=1, preprocess=resize, name="tiny encoder"
    ).requires_grad_(False)


@pytest.fixture(scope="module")
def pairs(generator, encoder):
    return collect_pairs(generator, encoder, per_class=30, psi=1.0, seed=1)


@pytest.fixture(scope="module")
def link(pairs):
    return fit_link(pairs.split(0.3)[0], penalty=0.01)


def test_every_picture_is_kept_and_belongs_to_its_pair(pairs, generator, encoder, tmp_path):
    assert pairs.keep == "all" and pairs.counts == {0: (30, 30), 1: (30, 30), 2: (30, 30)}
    assert pairs.classes == CLASSES and pairs.labels.bincount().tolist() == [30, 30, 30]
    w = generator.map(pairs.z, pairs.labels, 1.0)
    torch.testing.assert_close(w, pairs.w, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.features(generator.render(w)), pairs.r, atol=1e-4, rtol=0)
    pairs.save(tmp_path / "p.safetensors")
    assert Pairs.load(tmp_path / "p.safetensors").keep == "all"


def test_the_same_pairs_as_a_classifier_that_agrees_with_everything(generator):
    classifier = tiny_classifier(generator)
    everything = collect_pairs(generator, classifier, per_class=40, psi=0.9, seed=5, keep="all")
    agreeing = collect_pairs(generator, classifier, per_class=20, psi=0.9, seed=5)
    seen = classifier.head(everything.r).argmax(1) == everything.labels
    assert 0 < int(seen.sum()) < len(everything)
    for label in range(3):  # what agrees among the first pictures are the first agreeing pairs
        some = everything.z[seen & (everything.labels == label)]
        own = agreeing.z[agreeing.labels == label]
        n = min(len(some), len(own))
        assert n and torch.equal(some[:n], own[:n])


def test_the_report_leaves_classes_out_and_says_so(link, generator, encoder, pairs):
    held_out = pairs.split(0.3)[1]
    report = report_link(link, generator, encoder, held_out, units=3, samples=3, permutations=20)
    assert math.isfinite(report.r2) and report.r2_low <= report.r2 <= report.r2_high
    assert report.cycle.empty and report.classes.cycle.isna().all() and report.classes.r2.notna().all()
    assert report.units.cycle_correlation.notna().any() and report.fidelity.slope.notna().all()
    told = report.summary()
    assert (
        "no head" in told and "cycle accuracy" in told and "cycle correlation" in told and "fidelity" in told
    )
    assert report.to_dict()["cycle"] == [] and report.to_dict()["classes"][0]["cycle"] is None
    # the numbers that are left are those of the same network with its head
    whole = tiny_classifier(generator)
    again = report_link(
        relinked(link, whole), generator, whole, held_out, units=3, samples=3, permutations=20, seed=0
    )
    assert again.r2 == pytest.approx(report.r2) and len(again.cycle) == 1
    for name in ("slope", "correlation", "rank"):
        assert again.fidelity[name].tolist() == pytest.approx(
            report.fidelity[name].tolist(), rel=1e-3, abs=1e-3, nan_ok=True
        )
    assert link_report_figure(report).axes


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_reports_and_walks_of_classifiers_of_another_data_type(generator, dtype):
    classifier = tiny_classifier(generator)
    judge = tiny_classifier(generator, seed=1).to(dtype)
    labels = torch.tensor([0, 1, 2] * 2)
    real = Photographs(
        generator.render(generator.map(generator.sample_z(6, 3), labels)), labels, generator.classes
    )
    r2 = {}
    for kind in (torch.float32, dtype):
        classifier = classifier.to(kind)
        train, held_out = collect_pairs(generator, classifier, per_class=20, psi=0.9, keep="all").split(0.5)
        link = fit_link(train)
        report = link.report(generator, classifier, held_out, real, units=2, judge=judge)
        assert report.cycle.n.tolist()[0] == len(held_out)
        r2[kind] = report.r2
        assert (
            tune_unit(generator, classifier, link, held_out.r[:1], report.fidelity.unit[0]).r.dtype
            == torch.float32
        )
    assert r2[dtype] == pytest.approx(r2[torch.float32], abs=1e-6 if dtype == torch.float64 else 0.1)


def relinked(link, classifier):
    """The same link, for the same activations under another classifier."""
    other = copy.deepcopy(link)
    other.classifier_hash = classifier.hash
    return other


def test_photographs_and_a_judge_are_left_out_too(link, generator, encoder, pairs):
    photographs = Photographs(torch.rand(6, 1, 20, 20), torch.arange(6) % 3, CLASSES)
    options = {"units": 1, "samples": 1, "permutations": 5, "judge": tiny_classifier(generator, seed=3)}
    report = report_link(link, generator, encoder, pairs.split(0.3)[1], photographs, **options)
    assert report.cycle.empty and report.options["judge"] is None and "photographs" in report.notes[0]


def test_walks_and_single_steps(link, generator, encoder, pairs):
    unit = int(link.unit_std.argmax())
    walk = tune_unit(generator, encoder, link, pairs.r[:2], unit, steps=3)
    assert walk.logits.shape == (2, 3, 0) and walk.start_logits.shape == (2, 0)
    assert walk.images.shape == (2, 3, 1, 16, 16) and walk.r.shape == (2, 3, encoder.num_units)
    torch.testing.assert_close(encoder.features(walk.images[:, 1]), walk.r[:, 1], atol=1e-4, rtol=1e-4)
    for given in (pairs, None):
        session = UnitSession(generator, encoder, link, given)
        assert session.classes == CLASSES
        state = session.tune(session.start("ring", seed=1), {unit: float(walk.values[-1])})
        assert state.captions()[0] == "start" and "seen as" not in " ".join(state.descriptions())
        assert state.top_classes() == [] and state.moved_units(3) and state.rgb().shape == (3, 16, 16, 3)
    ring = pairs.r[pairs.labels == 1]
    assert torch.equal(UnitSession(generator, encoder, link, pairs).start("ring", 1).r, ring[1])
    with pytest.raises(LisError, match="Did you mean 'ring'"):
        UnitSession(generator, encoder, link).start("rign")


def test_the_explorer_draws_without_classes(link, generator, encoder):
    explorer = pytest.importorskip("lis_widgets.unit_explorer").UnitExplorer(generator, encoder, link)
    assert explorer.message.text == "" and explorer.state is not None
    assert "no head" in explorer.charts.figures[0]["text"]
    explorer.close_all()


def unconditional():
    return tiny_generator(classes=None, c_dim=0, mapping="unconditional")


def test_generators_without_classes(encoder, tmp_path):
    generator = unconditional()
    plain = collect_pairs(generator, encoder, per_class=25, seed=2)
    assert len(plain) == 25 and plain.classes == ("any",) and plain.counts == {0: (25, 25)}
    classifier = tiny_classifier(tiny_generator())
    seen = collect_pairs(generator, classifier, per_class=25, seed=2, batch_size=7)
    assert torch.equal(seen.labels, classifier.head(seen.r).argmax(1)) and seen.classes == CLASSES
    assert torch.equal(seen.z, plain.z)  # one stream, whatever is seen in its pictures
    assert sum(kept for kept, _ in seen.counts.values()) == 25
    assert all(kept == tried == int((seen.labels == k).sum()) for k, (kept, tried) in seen.counts.items())
    fit, test = seen.split(0.3)
    assert len(fit) + len(test) == 25
    link = fit_link(fit, penalty=0.1)
    report = report_link(link, generator, classifier, test, units=1, samples=2, permutations=5)
    assert 0 <= report.cycle.share[0] <= 1
    with pytest.raises(LisError, match="leave classes out"):
        collect_pairs(generator, classifier, classes=["ring"], per_class=2)
    with pytest.raises(LisError, match="no classes that could agree"):
        collect_pairs(generator, classifier, per_class=2, keep="agreeing")


@pytest.mark.parametrize("with_head", [False, True])
def test_an_interrupted_collection_without_classes_goes_on(encoder, with_head, tmp_path, monkeypatch):
    generator = unconditional()
    classifier = tiny_classifier(tiny_generator()) if with_head else encoder
    whole = collect_pairs(generator, classifier, per_class=23, seed=4, batch_size=5)
    path, count, attempt = tmp_path / "p.safetensors", 0, module._try

    def stop(*args):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return attempt(*args)

    monkeypatch.setattr(module, "SAVE_EVERY", 1)
    monkeypatch.setattr(module, "_try", stop)
    with pytest.raises(KeyboardInterrupt):
        collect_pairs(generator, classifier, per_class=23, seed=4, batch_size=5, checkpoint=path)
    assert len(Pairs.load(path)) == 15
    done = collect_pairs(generator, classifier, per_class=23, seed=4, batch_size=5, checkpoint=path)
    assert (
        torch.equal(done.z, whole.z)
        and torch.equal(done.labels, whole.labels)
        and done.counts == whole.counts
    )
    with pytest.raises(LisError, match="per_class 23 there, 24 here"):
        collect_pairs(generator, classifier, per_class=24, seed=4, checkpoint=path)


def test_a_collection_of_agreeing_pairs_is_not_continued_with_all(generator, tmp_path):
    classifier, path = tiny_classifier(generator), tmp_path / "p.safetensors"
    collect_pairs(generator, classifier, per_class=3, checkpoint=path)
    with pytest.raises(LisError, match="keep agreeing there, all here"):
        collect_pairs(generator, classifier, per_class=3, checkpoint=path, keep="all")


def coloured(classes):
    """An untrained classifier of colour images of any size, with classes of its own."""
    torch.manual_seed(0)
    network = build_network(
        "plain", {"channels": 3, "num_classes": len(classes), "stem": 4, "stages": ((6, 1),)}
    )
    resize = ResizeCrop((24, 24), 24, [0.5] * 3, [0.1] * 3)
    body = nn.Sequential(network.body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.head)
    return Classifier(body.eval(), classes, preprocess=resize, name="coloured").requires_grad_(False)


def test_grey_generator_colour_classifier_other_classes(generator):
    classifier = coloured(["a", "b", "c", "d"])
    with pytest.raises(LisError, match=r'has 3 classes.*has 4, a, b, c, d.*keep="all"'):
        collect_pairs(generator, classifier, per_class=2)
    with pytest.raises(LisError, match=r"load_generator\(\.\.\., classes=classifier\.classes\)"):
        collect_pairs(generator, coloured(["a", "b", "c"]), per_class=2)
    pairs = collect_pairs(generator, classifier, per_class=20, keep="all")
    assert pairs.classes == CLASSES and pairs.r.shape == (60, 6)
    grey = generator.render(pairs.w[:3])
    torch.testing.assert_close(
        extract_features(classifier, grey.repeat(1, 3, 1, 1)).r, pairs.r[:3], atol=1e-4, rtol=1e-4
    )
    fit, test = pairs.split(0.3)
    link = fit_link(fit, penalty=0.1)
    report = report_link(link, generator, classifier, test, photographs(), units=1, samples=2, permutations=5)
    rows = {row["what"]: row for row in report.cycle.to_dict("records")}
    assert set(report.classes["class"]) == {*CLASSES, "a", "b", "c", "d"}
    seen = classifier(photographs().images).argmax(1)
    right = float((seen == photographs().labels).double().mean())
    assert rows["photographs themselves, true label"]["share"] == pytest.approx(right)
    walk = tune_unit(generator, classifier, link, test.r[:1], int(link.unit_std.argmax()), steps=2)
    assert walk.logits.shape == (1, 2, 4)
    session = UnitSession(generator, classifier, link)
    assert session.classes == CLASSES
    state = session.tune(session.start("cross"), {walk.unit: float(walk.values[0])})
    assert {name for name, _, _ in state.top_classes()} == {"a", "b", "c", "d"}


def photographs():
    images = torch.rand(8, 3, 30, 28, generator=torch.Generator().manual_seed(2))
    return Photographs(images, torch.arange(8) % 4, ("a", "b", "c", "d"))


def test_models_that_do_not_fit(generator, encoder):
    colour = tiny_generator(img_channels=3)
    with pytest.raises(LisError, match="renders 3 x 16 x 16 pictures.*takes 1 x any height x any width"):
        check_models(colour, encoder)
    with pytest.raises(LisError, match="is an encoder without classes"):
        check_models(generator, encoder)
    check_models(generator, encoder, same_classes=False)
    with pytest.raises(LisError, match='keep is \'some\'; "agreeing" or "all"'):
        collect_pairs(generator, encoder, keep="some")
    with pytest.raises(LisError, match="'tiny encoder' has no classes that could agree"):
        collect_pairs(generator, encoder, keep="agreeing")
