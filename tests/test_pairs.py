"""collect_pairs against a plain loop, one picture at a time, and through interruptions."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lis_toolkit import pairs as module
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import load_tensors, save_tensors
from lis_toolkit.link import fit_link
from lis_toolkit.pairs import Pairs, collect_pairs
from tiny import CLASSES, tiny_classifier, tiny_generator

BORROWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures that no example changes

WANTED = 11


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def classifier(generator):
    return tiny_classifier(generator)


@pytest.fixture(scope="module")
def pairs(generator, classifier):
    return collect_pairs(generator, classifier, per_class=WANTED, psi=0.9, seed=5)


def same(a, b, atol=1e-5):
    assert torch.equal(a.labels, b.labels) and torch.equal(a.z, b.z) and a.counts == b.counts
    torch.testing.assert_close(a.w, b.w, atol=atol, rtol=0)
    torch.testing.assert_close(a.r, b.r, atol=atol * 10, rtol=0)
    for name in ("classes", "psi", "seed", "generator_hash", "classifier_hash"):
        assert getattr(a, name) == getattr(b, name), name


def one_by_one(generator, classifier, label, wanted, psi, seed):
    """Draw, render and ask, one picture at a time."""
    stream, kept, tried = np.random.default_rng([seed, label]), [], 0
    while len(kept) < wanted:
        z = torch.from_numpy(stream.standard_normal((1, generator.z_dim), dtype=np.float32))
        tried += 1
        w = generator.map(z, label, psi)
        r = classifier.features(generator.render(w))
        if int(classifier.head(r)[0].argmax()) == label:
            kept.append((z[0], w[0], r[0]))
    return [torch.stack(column) for column in zip(*kept, strict=True)], tried


def test_pairs_are_those_of_a_plain_loop(pairs, generator, classifier):
    assert len(pairs) == 3 * WANTED
    refused = 0
    for label in range(3):
        rows = pairs.labels == label
        (z, w, r), tried = one_by_one(generator, classifier, label, WANTED, 0.9, 5)
        assert pairs.counts[label] == (WANTED, tried)
        refused += tried - WANTED
        assert torch.equal(pairs.z[rows], z)
        torch.testing.assert_close(pairs.w[rows], w, atol=1e-5, rtol=0)
        torch.testing.assert_close(pairs.r[rows], r, atol=1e-4, rtol=0)
    assert refused > 5, "the classifier must refuse some pictures, or this test tests little"


def test_latents_pictures_activations_and_classes_belong_together(pairs, generator, classifier):
    w = generator.map(pairs.z, pairs.labels, psi=pairs.psi)
    torch.testing.assert_close(w, pairs.w, atol=1e-5, rtol=0)
    r = classifier.features(generator.render(pairs.w))
    torch.testing.assert_close(r, pairs.r, atol=1e-4, rtol=0)
    assert torch.equal(classifier.head(r).argmax(dim=1), pairs.labels)
    assert pairs.classes == CLASSES and pairs.psi == 0.9 and pairs.seed == 5
    assert (pairs.generator_hash, pairs.classifier_hash) == (generator.hash, classifier.hash)
    assert pairs.provenance["classifier"] == "tiny classifier" and pairs.provenance["per_class"] == WANTED
    assert {t.dtype for t in (pairs.w, pairs.r, pairs.z)} == {
        torch.float32
    } and pairs.labels.dtype == torch.int64


def test_no_latent_repeats_neither_in_a_class_nor_between_classes(pairs):
    assert len(pairs.z.unique(dim=0)) == len(pairs) == len(pairs.w.unique(dim=0))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_the_batch_size_changes_nothing(pairs, generator, classifier, batch_size):
    same(
        collect_pairs(generator, classifier, per_class=WANTED, psi=0.9, seed=5, batch_size=batch_size), pairs
    )


def test_seed_and_psi_change_everything(pairs, generator, classifier):
    other = collect_pairs(generator, classifier, per_class=WANTED, psi=0.9, seed=6)
    assert not set(map(tuple, other.z.tolist())) & set(map(tuple, pairs.z.tolist()))
    calm = collect_pairs(generator, classifier, "ring", per_class=WANTED, psi=0.5, seed=5)
    assert torch.equal(calm.z[0], one_by_one(generator, classifier, 1, 1, 0.5, 5)[0][0][0])
    assert calm.w.var(dim=0).sum() < 0.5 * pairs.w[pairs.labels == 1].var(dim=0).sum()


@pytest.mark.parametrize("classes", [["cross"], "cross", 2, [2, "disc"], ["cross", "disc", "ring"]])
def test_a_class_does_not_depend_on_the_others_asked_for(pairs, generator, classifier, classes):
    some = collect_pairs(generator, classifier, classes, per_class=WANTED, psi=0.9, seed=5)
    names = [classes] if isinstance(classes, (str, int)) else classes
    indices = [classifier.class_index(name) for name in names]
    assert list(some.counts) == indices and some.labels.unique_consecutive().tolist() == indices
    for index in indices:
        assert some.counts[index] == pairs.counts[index]
        torch.testing.assert_close(
            some.w[some.labels == index], pairs.w[pairs.labels == index], atol=1e-5, rtol=0
        )


def test_asking_for_more_keeps_what_was_there(pairs, generator, classifier):
    more = collect_pairs(generator, classifier, per_class=WANTED + 4, psi=0.9, seed=5)
    for label in range(3):
        assert torch.equal(more.z[more.labels == label][:WANTED], pairs.z[pairs.labels == label])


class Refusing:
    """A classifier that never answers one class; otherwise the one it wraps."""

    def __init__(self, classifier, never):
        self._classifier, self._never, self.seen = classifier, never, 0

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def features(self, x):
        self.seen += len(x)
        return self._classifier.features(x)

    def head(self, r):
        logits = self._classifier.head(r)
        logits[:, self._never] = -math.inf
        return logits


def test_a_refused_class_is_reported_not_waited_for(generator, classifier):
    stubborn = Refusing(classifier, 1)
    with pytest.raises(LisError) as caught:
        collect_pairs(generator, stubborn, per_class=5, psi=0.9, max_tries=70)
    text = str(caught.value)
    assert "'ring': kept 0 of 70 tried" in text and "5 were wanted" in text and "allow_partial" in text
    assert "disc" not in text and "cross" not in text
    assert stubborn.seen <= 3 * 70
    partial = collect_pairs(generator, stubborn, per_class=5, psi=0.9, max_tries=70, allow_partial=True)
    assert partial.counts[1] == (0, 70) and partial.counts[0][0] == partial.counts[2][0] == 5
    assert len(partial) == 10 and not (partial.labels == 1).any()


def test_all_classes_refused_leaves_empty_tables_of_the_right_width(generator, classifier):
    none = collect_pairs(generator, Refusing(classifier, 1), 1, per_class=2, max_tries=3, allow_partial=True)
    assert len(none) == 0 and none.w.shape == (0, 12) and none.r.shape == (0, 10) and none.z.shape == (0, 8)


def test_the_default_number_of_tries_is_the_stated_one(generator, classifier):
    none = collect_pairs(generator, Refusing(classifier, 1), 1, per_class=2, allow_partial=True)
    assert none.counts == {1: (0, 20 * 2 + 100)}


# --- interruptions ---------------------------------------------------------------------------------------------------


class Interrupted(Refusing):
    """A classifier during whose k-th batch somebody presses Ctrl-C."""

    def __init__(self, classifier, batches):
        super().__init__(classifier, 0)
        self.left = batches

    def features(self, x):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self._classifier.features(x)

    def head(self, r):
        return self._classifier.head(r)


@pytest.mark.parametrize("batches", [0, 1, 3, 8, 14])
def test_an_interrupted_collection_goes_on_as_if_nothing_had_been(
    pairs, generator, classifier, tmp_path, monkeypatch, batches
):
    monkeypatch.setattr(module, "SAVE_EVERY", 1)
    path = tmp_path / "pairs.safetensors"
    asked = {"per_class": WANTED, "psi": 0.9, "seed": 5, "batch_size": 4, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        collect_pairs(generator, Interrupted(classifier, batches), **asked)
    assert path.exists() == (batches > 0)
    tried = sum(tried for _, tried in Pairs.load(path).counts.values()) if batches else 0
    watched = Refusing(classifier, 0)
    watched.head = classifier.head
    resumed = collect_pairs(generator, watched, **asked)
    same(resumed, pairs)
    total = sum(tried for _, tried in pairs.counts.values())
    assert watched.seen == total - tried, "nothing that was tried is tried again"
    same(Pairs.load(path), pairs)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no temporary files stay"
    watched.seen = 0
    same(collect_pairs(generator, watched, **asked), pairs)
    assert watched.seen == 0, "a finished collection is only read"


def test_a_checkpoint_of_another_collection_is_refused(generator, classifier, tmp_path):
    path = tmp_path / "pairs.safetensors"
    asked = {"classes": [0], "per_class": 2, "psi": 0.9, "seed": 5, "max_tries": 50, "checkpoint": path}
    collect_pairs(generator, classifier, **asked)
    before = path.read_bytes()
    other = tiny_generator(seed=1)
    for change, word in (
        ({"psi": 0.8}, "psi 0.9 there, 0.8 here"),
        ({"seed": 6}, "seed 5 there, 6 here"),
        ({"per_class": 3}, "per_class 2 there, 3 here"),
        ({"max_tries": 51}, "max_tries"),
        ({"classes": [1]}, "chosen"),
    ):
        with pytest.raises(LisError, match=word):
            collect_pairs(generator, classifier, **{**asked, **change})
    with pytest.raises(LisError, match="generator_hash"):
        collect_pairs(other, classifier, **asked)
    with pytest.raises(LisError, match="classifier_hash"):
        collect_pairs(generator, tiny_classifier(other), **asked)
    coarse = copy.deepcopy(generator)
    coarse.precision = "bfloat16"
    with pytest.raises(LisError, match="precision float32 there, bfloat16 here"):
        collect_pairs(coarse, classifier, **asked)
    assert path.read_bytes() == before


def test_pairs_and_links_remember_the_precision_of_their_pictures(generator, classifier, tmp_path):
    asked = {"per_class": 12, "psi": 0.9, "keep": "all"}
    fine = collect_pairs(generator, classifier, **asked)
    coarse = copy.deepcopy(generator)
    coarse.precision = "bfloat16"
    rough = collect_pairs(coarse, classifier, **asked)
    assert not torch.equal(fine.r, rough.r)
    rough.save(tmp_path / "pairs.safetensors")
    assert Pairs.load(tmp_path / "pairs.safetensors").precision == "bfloat16"
    assert fine.precision == "float32" and rough.provenance["precision"] == "bfloat16"
    links = [fit_link(pairs.split(0.5)[0]) for pairs in (fine, rough)]
    assert [any("bfloat16" in note for note in link.notes) for link in links] == [False, True]
    assert links[1].provenance["pairs"]["precision"] == "bfloat16"
    del fine.provenance["precision"]  # as files were written before
    assert fine.precision == "float32"


# --- files and splits ------------------------------------------------------------------------------------------------


def test_pairs_survive_their_file(pairs, tmp_path):
    pairs.save(tmp_path / "p.safetensors")
    again = Pairs.load(tmp_path / "p.safetensors")
    same(again, pairs, atol=0)
    assert again.provenance == pairs.provenance


DAMAGES = {
    "no format": lambda t, n: n.clear(),
    "another format": lambda t, n: n.update(format="lis_toolkit link 1"),
    "no table of r": lambda t, n: t.pop("r"),
    "a table cut short": lambda t, n: t.update(w=t["w"][:3]),
    "no seed": lambda t, n: n.pop("seed"),
    "no classes": lambda t, n: n.pop("classes"),
    "counts of another kind": lambda t, n: n.update(counts={"a": 3}),
    "counts are a list": lambda t, n: n.update(counts=[1]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(pairs, tmp_path, name):
    path = tmp_path / "p.safetensors"
    pairs.save(path)
    tensors, notes = load_tensors(path)
    DAMAGES[name](tensors, notes)
    save_tensors(path, tensors, notes)
    with pytest.raises(CheckpointError, match=r"p\.safetensors"):
        Pairs.load(path)


@settings(max_examples=25, deadline=None, suppress_health_check=BORROWED)
@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 2**40))
def test_splits_are_stratified_disjoint_and_complete(pairs, share, seed):
    fit, test = pairs.split(share, seed)
    parts = [set(map(tuple, part.z.tolist())) for part in (fit, test)]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == len(pairs)
    for label in range(3):
        assert (test.labels == label).sum() == min(max(round(share * WANTED), 1), WANTED - 1)
    for part in (fit, test):
        places = [pairs.z.tolist().index(row) for row in part.z.tolist()]
        assert torch.equal(part.w, pairs.w[places]) and torch.equal(part.r, pairs.r[places])
        assert torch.equal(part.labels, pairs.labels[places]) and part.psi == pairs.psi
    again = pairs.split(share, seed)
    assert torch.equal(again[1].z, test.z)


def test_another_seed_splits_otherwise(pairs):
    assert not torch.equal(pairs.split(0.4, 0)[1].z, pairs.split(0.4, 1)[1].z)


@pytest.mark.parametrize("share", [0, 1, -0.1, math.nan, "a", None, True])
def test_shares_that_split_nothing(pairs, share):
    with pytest.raises(LisError, match="held_out"):
        pairs.split(share)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "a"])
def test_splits_need_a_seed(pairs, seed):
    with pytest.raises(LisError, match="seed"):
        pairs.split(0.2, seed)


def test_a_class_of_one_can_not_be_split(pairs):
    with pytest.raises(LisError, match="'cross' has 1 pair"):
        pairs.subset(torch.tensor([0, 1, WANTED, WANTED + 1, 2 * WANTED])).split(0.5)
    with pytest.raises(LisError, match="no pairs"):
        pairs.subset(torch.tensor([], dtype=torch.long)).split(0.5)


# --- bad input -------------------------------------------------------------------------------------------------------

JUNK = st.one_of(st.none(), st.text(max_size=3), st.floats(), st.booleans(), st.integers(max_value=-1))


@settings(max_examples=60, deadline=None, suppress_health_check=BORROWED)
@given(
    which=st.sampled_from(["per_class", "batch_size", "seed", "max_tries", "psi"]),
    value=JUNK,
)
def test_numbers_that_make_no_sense(generator, classifier, which, value):
    if (
        which == "psi"
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    ):
        return
    if which == "max_tries" and value is None:
        return
    with pytest.raises(LisError, match=which):
        collect_pairs(generator, classifier, **{"per_class": 1, which: value})


@pytest.mark.parametrize("which", ["per_class", "batch_size", "max_tries"])
def test_zero_is_too_few(generator, classifier, which):
    with pytest.raises(LisError, match=f"{which} is 0"):
        collect_pairs(generator, classifier, **{"per_class": 1, which: 0})


@pytest.mark.parametrize(
    ("classes", "word"),
    [([], "empty"), (["rnig"], "Did you mean 'ring'"), ([3], "no class 3"), ([-1], "-1"), ([0, "disc"], "twice"),
     ([1.0], "name or an index"), ([None], "name or an index")],
)  # fmt: skip
def test_classes_that_do_not_exist(generator, classifier, classes, word):
    with pytest.raises(LisError, match=word):
        collect_pairs(generator, classifier, classes, per_class=1)


def test_psi_may_be_any_real_number(generator, classifier):
    a = collect_pairs(generator, classifier, 0, per_class=2, psi=np.float32(1))
    b = collect_pairs(generator, classifier, 0, per_class=2, psi=1)
    same(a, b)
    assert type(a.psi) is float


def test_models_must_fit_each_other(generator, classifier):
    with pytest.raises(LisError, match="1 x 32 x 32"):
        collect_pairs(tiny_generator(resolution=32), classifier, per_class=1)
    with pytest.raises(LisError, match="a, b, c"):
        collect_pairs(tiny_generator(classes=["a", "b", "c"]), classifier, per_class=1)
    unconditional = tiny_generator(classes=None, c_dim=0, mapping="unconditional")
    with pytest.raises(LisError, match="no classes"):
        collect_pairs(unconditional, classifier, per_class=1, keep="agreeing")


def test_models_in_training_mode_are_refused(generator, classifier):
    with pytest.raises(LisError, match=r"generator 'tiny' is in training mode; call its \.eval\(\)"):
        collect_pairs(copy.deepcopy(generator).train(), classifier, per_class=1)
    with pytest.raises(LisError, match="classifier 'tiny classifier' is in training mode"):
        collect_pairs(generator, copy.deepcopy(classifier).train(), per_class=1)


def test_a_folder_that_can_not_be_written(generator, classifier, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LisError, match="can't write"):
        collect_pairs(
            generator, classifier, 0, per_class=1, checkpoint=tmp_path / "file" / "pairs.safetensors"
        )


def test_a_progress_bar_counts_pairs(generator, classifier, capsys):
    collect_pairs(generator, classifier, [0, 1], per_class=3, psi=0.9, progress=True)
    assert "6/6" in capsys.readouterr().err
