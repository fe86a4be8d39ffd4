"""The search for counterfactuals: methods against plain loops, batches against singles, and what can't be searched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lis_toolkit import (
    Photographs,
    collect_pairs,
    extract_features,
    find_counterfactuals,
    fit_link,
)
from lis_toolkit.counterfactuals import COLUMNS, START_IS_TARGET, shortest_shift, sparse_shift
from lis_toolkit.counterfactuals import find as search_module
from lis_toolkit.counterfactuals.latent import _step
from lis_toolkit.counterfactuals.nearest import head_lengths
from lis_toolkit.counterfactuals.problem import default_margin
from lis_toolkit.counterfactuals.rendered import Looker
from lis_toolkit.counterfactuals.search import Found, Search
from tiny import CLASSES, tiny_classifier, tiny_generator

METHODS = ("paper", "closed_form", "latent")


@pytest.fixture(scope="module")
def models():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    link = fit_link(collect_pairs(generator, classifier, per_class=40, seed=0))
    return generator, classifier, link


@pytest.fixture(scope="module")
def starts(models):
    return collect_pairs(*models[:2], per_class=8, seed=1)


@pytest.fixture(scope="module")
def results(models, starts):
    return {
        method: find_counterfactuals(*models, starts, "all", method, steps=25 if method == "paper" else None)
        for method in METHODS
    }


def logits_of(models, r):
    generator, classifier, link = models
    return classifier.head(classifier.features(generator.render(link(r))))


def margin_of(logits, target):
    others = logits.clone()
    others[target] = -torch.inf
    return float(logits[target] - others.max())


@pytest.mark.parametrize("method", METHODS)
def test_every_row_is_what_a_second_look_says(models, starts, results, method):
    _, classifier, link = models
    result = results[method]
    table = result.table
    assert list(table.columns) == list(COLUMNS) and len(table) == 2 * len(starts) == len(result)
    assert bool((result.r_end >= 0).all()) and result.logits.shape == (len(table), 9, 3)
    assert 0 < table["success"].sum() < len(table)
    for n, row in enumerate(table.to_dict("records")):
        r, end, target = result.r_start[n], result.r_end[n], CLASSES.index(row["target"])
        assert torch.equal(r, starts.r[row["start"]])
        said = logits_of(models, torch.stack([r, end]))
        assert row["origin"] == CLASSES[int(classifier.head(r).argmax())]
        assert row["cycled"] == CLASSES[int(said[0].argmax())]
        assert row["margin_start"] == pytest.approx(margin_of(said[0], target), abs=1e-4)
        assert row["margin_end"] == pytest.approx(margin_of(said[1], target), abs=1e-4)
        assert row["margin_head"] == pytest.approx(margin_of(classifier.head(end), target), abs=1e-4)
        wanted = 0 if method == "paper" else result.settings["margin"]
        if row["success"]:
            assert row["reason"] == "" and row["way"] and margin_of(said[1], target) > wanted - 1e-5
        elif row["cycled"] == row["target"]:
            assert row["reason"] == START_IS_TARGET and torch.equal(r, end) and row["renders"] <= 1
        else:
            assert (
                row["reason"].startswith("no picture")
                and row["way"] == ""
                and row["margin_end"] < wanted + 1e-5
            )
        assert row["distance_r"] == pytest.approx(float((end - r).norm()), rel=1e-4)
        assert row["distance_w"] == pytest.approx(float((link(end) - link(r)).norm()), rel=1e-3, abs=1e-5)
        assert row["monotone"] == _rises(result.logits[n], target)


def _rises(logits, target):
    margins = [margin_of(each, target) for each in logits]
    return all(b - a >= -1e-3 for a, b in zip(margins, margins[1:], strict=False))


def test_lengths_and_units_are_counted_plainly(models, starts, results):
    link = models[2]
    result = results["latent"]
    covariance = torch.cov(_pairs_of(models).r.double().T, correction=0)
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance))
    error = extract_features(models[1], models[0].render(link(starts.r))).r - starts.r
    for n, row in enumerate(result.table.to_dict("records")):
        d = (result.r_end[n] - result.r_start[n]).double()
        squared = float(d @ torch.linalg.solve(covariance, d))
        assert row["distance_r_sd"] == pytest.approx(math.sqrt(squared / len(d)), rel=1e-3, abs=1e-6)
        parts = sorted(((d[i] / link.unit_std[i]).item() ** 2 for i in range(len(d))), reverse=True)
        need = next((k for k in range(len(parts) + 1) if sum(parts[:k]) >= 0.9 * sum(parts) - 1e-12), 0)
        assert row["units_90"] == need
        k = row["start"]
        assert row["cycle_error"] == pytest.approx(float(error[k].norm() / starts.r[k].norm()), rel=1e-3)


def _pairs_of(models):
    return collect_pairs(*models[:2], per_class=40, seed=0)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_their_order_change_nothing(models, starts, results, method):
    # Two steps of the slide: more of them amplify the rounding in which batches of different sizes differ.
    steps = {"paper": 25, "latent": 2}.get(method)
    order = torch.randperm(len(starts), generator=torch.Generator().manual_seed(0))
    whole = results[method] if steps != 2 else find_counterfactuals(*models, starts, "all", method, steps=2)
    for rows, batch in ((order, 5), (order[:3], 1)):
        part = find_counterfactuals(*models, starts.r[rows], "all", method, steps=steps, batch_size=batch)
        places = [
            whole.table.index[(whole.table["start"] == int(rows[s])) & (whole.table["target"] == t)][0]
            for s, t in zip(part.table["start"], part.table["target"], strict=True)
        ]
        assert torch.allclose(part.r_end, whole.r_end[places], atol=2e-3)
        assert part.table["success"].tolist() == whole.table["success"][places].tolist()
        assert part.table["renders"].sum() == pytest.approx(
            whole.table["renders"][places].sum(), abs=len(part)
        )


def test_many_rows_look_for_their_nearest_class_in_parts(models, starts, monkeypatch):
    whole = find_counterfactuals(*models, starts, "nearest", "closed_form", batch_size=1)
    monkeypatch.setattr(search_module, "WINDOW", 1)  # 16 rows at a time
    parts = find_counterfactuals(*models, starts, "nearest", "closed_form", batch_size=1)
    assert parts.table.drop(columns="seconds").equals(whole.table.drop(columns="seconds"))
    assert torch.equal(parts.r_end, whole.r_end) and torch.equal(parts.logits, whole.logits)


@pytest.mark.parametrize("method", METHODS)
def test_renders_are_counted_honestly(models, starts, method):
    generator, classifier, link = models
    pictures = []
    hook = generator.synthesis.register_forward_hook(
        lambda module, given, out: pictures.append(len(out) * (2 if out.requires_grad else 1))
    )
    try:
        result = find_counterfactuals(
            generator, classifier, link, starts, "nearest", method, points=2, steps=3, batch_size=7
        )
    finally:
        hook.remove()
    # The path's one further point is not the search's.
    assert result.table["renders"].sum() == sum(pictures) - len(starts)
    share = result.table["seconds"] / result.table["seconds"].sum()
    assert share.to_numpy() == pytest.approx(
        (result.table["renders"] / result.table["renders"].sum()).to_numpy()
    )
    assert result.table["seconds"].sum() > 0 and (result.table["steps"] <= 3).all()


def test_the_papers_walk_is_a_plain_loop(models, starts):
    generator, classifier, link = models
    result = find_counterfactuals(*models, starts, "all", "paper", steps=6, seed=5)
    row = result.table.index[(result.table["steps"] >= 2) & (result.table["reason"] != START_IS_TARGET)][0]
    r, told = result.r_start[row], result.table.loc[row]
    origin, target = CLASSES.index(told["origin"]), CLASSES.index(told["target"])
    from lis_toolkit.counterfactuals.problem import _keys

    draw = np.random.default_rng([5, _keys(r[None])[0], target]).random(len(r), dtype=np.float32)
    s, best = torch.from_numpy(draw), (-math.inf, None)
    for step in range(7):
        there = (r - s).relu()
        logits = logits_of(models, there[None])[0]
        best = max(best, (margin_of(logits, target), there), key=lambda pair: pair[0])
        if int(logits.argmax()) == target or step == 6:
            break
        s = s.clone().requires_grad_()
        said = classifier.head(r - s)
        near = torch.cosine_similarity(link.A @ r + link.b, link.A @ (r - s) + link.b, dim=0)
        (-said[target] + 0.6 * said[origin] - 10 * near).backward()
        s = s.detach() - 0.5 * s.grad
    assert told["steps"] == step and told["success"] == (int(logits.argmax()) == target)
    assert torch.allclose(result.r_end[row], best[1], rtol=1e-3, atol=1e-3)
    other = find_counterfactuals(*models, starts, "all", "paper", steps=6, seed=6)
    assert not torch.equal(result.r_end, other.r_end)


@pytest.mark.parametrize("metric", ["covariance", "euclidean", "sparse"])
def test_the_closed_form_is_a_plain_loop(models, starts, results, metric):
    _, classifier, link = models
    result = results["closed_form"]
    if metric != "covariance":
        result = find_counterfactuals(*models, starts, "all", "closed_form", metric=metric)
    margin = result.settings["margin"]
    weight, bias = classifier.linear_head()
    tried = 0
    for row in result.table.index[result.table["success"]][:6]:
        r, target = result.r_start[row], CLASSES.index(result.table["target"][row])
        problem = r[None], torch.tensor([target]), weight, bias
        if metric == "sparse":
            d = sparse_shift(*problem, link.unit_std, 0.75 * margin).d[0]
        else:
            sigma = link.statistics.sigma if metric == "covariance" else torch.eye(len(r))
            d = shortest_shift(*problem, sigma, 0.75 * margin).d[0]
        mean = link.statistics.r_means[target] - r
        ways = [(t * d, "shortest") for t in (1, 1.5, 2)] + [(t * mean, "towards the mean") for t in (0.7, 1)]
        for way, name in ways:
            there = (r + way).relu()
            if margin_of(logits_of(models, there[None])[0], target) >= margin * (1 + 3e-4):
                assert result.table["way"][row] == name
                break
        low, high = 0.0, 1.0
        for _ in range(3):
            middle = (low + high) / 2
            fits = margin_of(logits_of(models, torch.lerp(r, there, middle)[None])[0], target)
            low, high = (low, middle) if fits >= margin * (1 + 3e-4) else (middle, high)
        assert torch.allclose(result.r_end[row], torch.lerp(r, there, high), atol=1e-4)
        tried += 1
    assert tried == 6


def test_the_slide_ends_nearer_and_never_loses_what_the_closed_form_had(results):
    closed, slid = results["closed_form"].table, results["latent"].table
    both = closed["success"]
    assert slid["success"][both].all() and slid["success"].sum() >= both.sum()
    assert slid["distance_w"][both].mean() < 0.95 * closed["distance_w"][both].mean()
    assert (slid["steps"] <= 12).all() and (closed["steps"] == 0).all()


def test_a_step_below_the_margin_rises_however_small_steps_have_become():
    up, down = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    missing, rate = torch.tensor([0.5, -0.5]), torch.full((2,), 0.04)
    step = _step(torch.ones(2, 2), up, down, missing, rate, torch.eye(2), True)
    assert torch.allclose(step, torch.tensor([[0.25, -0.04], [-0.04, -0.04]]), atol=1e-6)


def test_realism_brings_ends_nearer_to_their_class(models, starts):
    def distance(realism):
        result = find_counterfactuals(*models, starts, "cross", realism=realism)
        ok = torch.tensor(result.table["success"].to_numpy())
        off = models[2](result.r_end[ok]) - statistics.w_means[2]
        return float(torch.einsum("nw,wv,nv->n", off, statistics.w_precision, off).mean())

    statistics = models[2].statistics
    assert distance(3.0) < distance(0.0)


def test_the_nearest_class_is_the_nearest_of_all(models, starts):
    every = find_counterfactuals(*models, starts, "all", "closed_form").table
    nearest = find_counterfactuals(*models, starts, "nearest", "closed_form").table
    assert nearest["start"].tolist() == list(range(len(starts)))
    told = 0
    for start, found in enumerate(nearest.to_dict("records")):
        rivals = every[(every["start"] == start) & every["success"]]
        assert found["target"] not in (found["origin"], found["cycled"])
        if len(rivals) and found["success"]:
            best = rivals.sort_values("distance_w").iloc[0]
            assert found["target"] == best["target"]
            assert found["distance_w"] == pytest.approx(best["distance_w"], rel=1e-3)
            told += 1
    assert told >= 5


def test_many_rows_are_searched_in_parts(models, starts, results, monkeypatch):
    monkeypatch.setattr("lis_toolkit.counterfactuals.find.WINDOW", 1)  # 16 times the batch at once
    whole = results["closed_form"].subset(results["closed_form"].table["start"] < 9)
    parts = find_counterfactuals(*models, starts.r[:9], "all", "closed_form", batch_size=1, points=2)
    assert 16 < len(whole) == len(parts) and torch.allclose(parts.r_end, whole.r_end, atol=2e-3)
    assert parts.table["target"].tolist() == whole.table["target"].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_ends_are_proven_by_a_second_look(models, starts, results, method, monkeypatch):
    """A search that says "reached" of every row is not believed: neither of the class nor of the margin."""
    ends = results["closed_form"].r_end

    def careless(problem, search, first):
        yes = torch.ones(len(search.r), dtype=torch.bool)
        r = ends[search.rows] if margin else search.r + 1e-3
        return Found(r, yes, ["shortest"] * len(r), torch.zeros(len(r), dtype=torch.int64))

    monkeypatch.setattr("lis_toolkit.counterfactuals.find._run", careless)
    most = float(results["closed_form"].margins[:, -1].max())
    for margin in (None, 2 * most):
        table = find_counterfactuals(*models, starts, "all", method, margin=margin).table
        tried = table[table["reason"] != START_IS_TARGET]
        wanted = margin if margin and method != "paper" else -1e-4
        short = tried[tried["margin_end"] < wanted]
        assert len(short) > 3 and not short["success"].any() and (short["way"] == "").all()
        assert set(short["reason"]) == {"rendered again, the picture did not reach the target"}
        if margin and method != "paper":
            assert (short["margin_end"] > 0).any()  # of the class, without the margin


def test_classes_without_pairs_are_no_rivals(models, starts):
    generator, classifier, _ = models
    pairs = _pairs_of(models)
    link = fit_link(pairs.subset(pairs.labels < 2))
    for target in ("all", "nearest"):
        table = find_counterfactuals(generator, classifier, link, starts, target, "closed_form").table
        assert set(table["target"]) <= {"disc", "ring"}
        named = table[(table["origin"] != "cross")]
        assert len(named) and (target == "nearest" or (named["target"] != named["origin"]).all())


def test_lengths_by_the_head_are_those_of_the_shift_to_one_rival(models, starts):
    """Without a floor, with the origin alone to be left behind: what "nearest" sorts many classes by."""
    _, classifier, link = models
    weight, bias = classifier.linear_head()
    r, sigma = starts.r[:6], link.statistics.sigma
    origin = classifier.head(r).argmax(dim=1)
    search = Search(
        Looker(*models, 6), r, origin, origin, torch.arange(6), 0.3, 1.0, True, "covariance", (weight, bias),
        link.statistics,
    )  # fmt: skip
    lengths = head_lengths(search)
    for n, k in ((n, k) for n in range(6) for k in range(3) if k != int(origin[n])):
        pair = [int(origin[n]), k]
        d = (
            shortest_shift(r[n : n + 1], torch.tensor([1]), weight[pair], bias[pair], sigma, 0.3, False)
            .d[0]
            .double()
        )
        assert float(lengths[n, k]) == pytest.approx(
            float((d @ torch.linalg.solve(sigma, d)).sqrt()), rel=1e-3
        )


def test_the_margin_is_half_of_what_class_means_have(models):
    _, classifier, link = models
    pairs = _pairs_of(models)
    margins = []
    for k in range(3):
        margins.append(margin_of(classifier.head(pairs.r[pairs.labels == k].mean(dim=0)), k))
    assert default_margin(classifier, link.statistics) == pytest.approx(0.5 * np.median(margins), rel=1e-3)


def test_targets_are_named_in_many_ways(models, starts):
    r = starts.r[:3]
    names = ["ring", "cross", "ring"]
    wanted = find_counterfactuals(*models, r, names, "closed_form")
    for given in ([1, 2, 1], torch.tensor([1, 2, 1]), np.array([1, 2, 1])):
        same = find_counterfactuals(*models, r, given, "closed_form")
        assert same.table["target"].tolist() == names and torch.equal(same.r_end, wanted.r_end)
    one = find_counterfactuals(*models, r[0], "ring", "closed_form")
    assert len(one) == 1 and torch.allclose(one.r_end, wanted.r_end[:1], atol=1e-3)
    assert one.settings["target"] == "ring" and wanted.settings["target"] == names


def test_photographs_are_starts_by_their_activations(models, starts):
    generator, classifier, _ = models
    x = generator.render(starts.w[:4])
    r = extract_features(classifier, x).r
    plain = find_counterfactuals(*models, r, "cross", "closed_form")
    assert plain.images is None
    for given in (x, Photographs(x, starts.labels[:4], CLASSES)):
        result = find_counterfactuals(*models, given, "cross", "closed_form")
        assert torch.equal(result.images, x) and torch.allclose(result.r_end, plain.r_end, atol=1e-3)
    features = find_counterfactuals(*models, extract_features(classifier, x), "cross", "closed_form")
    assert torch.equal(features.r_end, plain.r_end)


def test_an_interruption_leaves_the_models_as_they_were(models, starts, monkeypatch):
    generator = models[0]
    before = find_counterfactuals(*models, starts, "ring")
    renders, render = [], type(generator).render

    def interrupted(self, w):
        renders.append(len(w))
        if len(renders) == 6:
            raise KeyboardInterrupt
        return render(self, w)

    with monkeypatch.context() as patch:
        patch.setattr(type(generator), "render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_counterfactuals(*models, starts, "ring", progress=True)
    assert torch.is_grad_enabled() and not generator.training
    assert torch.equal(find_counterfactuals(*models, starts, "ring").r_end, before.r_end)


def test_progress_ends_at_all_rows(models, starts, capsys):
    find_counterfactuals(*models, starts, "all", "latent", batch_size=5, progress=True)
    assert f"{2 * len(starts)}/{2 * len(starts)}" in capsys.readouterr().err


def test_what_comes_back_can_be_used_with_gradients(results):
    end = results["latent"].r_end.clone().requires_grad_()
    (end * results["latent"].r_start).sum().backward()
    assert end.grad is not None
