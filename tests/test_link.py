"""fit_link against slow, plain re-derivations: refits without a row, numpy's lstsq, scikit-learn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.link import Link, fit_link

METHODS = ("ridge", "ols", "elastic_net", "reduced_rank")


def data(n=120, units=9, latents=4, seed=0, noise=1.0):
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(units, units, generator=g)
    r = (torch.randn(n, units, generator=g) @ mix + 1).relu() * torch.logspace(-1, 1, units)
    a = torch.randn(units, latents, generator=g) / r.std(0)[:, None]
    return r, r @ a + noise * torch.randn(n, latents, generator=g) + 5


def scaled(r):
    x = r.double().numpy()
    return (x - x.mean(0)) / x.std(0)


def share(link, r, w):
    e = w.double() - link(r).double()
    return float(1 - e.square().sum() / (w.double() - w.double().mean(0)).square().sum())


# ---- the methods


def test_least_squares_is_scikit_learns():
    r, w = data()
    link, other = fit_link((r, w), "ols"), LinearRegression().fit(r.double().numpy(), w.double().numpy())
    assert np.allclose(link.A.numpy(), other.coef_, rtol=1e-5, atol=1e-6)
    assert np.allclose(link.b.numpy(), other.intercept_, rtol=1e-5, atol=1e-5)
    assert link.in_sample_r2 == pytest.approx(share(link, r, w), abs=1e-5)
    per_dim = 1 - (w - link(r)).square().sum(0) / (w - w.mean(0)).square().sum(0)
    assert torch.allclose(link.r2_dims, per_dim, atol=1e-5)


@pytest.mark.parametrize("n", [120, 6])
def test_dependent_units_or_few_rows_give_the_smallest_solution(n):
    r, w = data(n)
    r[:, 3] = r[:, 1] + r[:, 2] if n > 9 else r[:, 3]
    link = fit_link((r, w), "ols")
    x, y = scaled(r), w.double().numpy() - w.double().numpy().mean(0)
    b = np.linalg.lstsq(x, y, rcond=1e-6)[0]
    assert np.allclose(link.A.numpy() * r.double().numpy().std(0), b.T, atol=1e-4 * np.abs(b).max())
    assert "span only" in link.notes[0]


@pytest.mark.parametrize("standardise", [True, False])
def test_ridge_is_scikit_learns(standardise):
    r, w = data()
    x = scaled(r) if standardise else r.double().numpy()
    link = fit_link((r, w), penalty=0.3, standardise=standardise)
    other = Ridge(alpha=0.3 * len(r)).fit(x, w.double().numpy())
    a = other.coef_ / (r.double().numpy().std(0) if standardise else 1)
    assert np.allclose(link.A.numpy(), a, rtol=1e-4, atol=1e-6)
    assert link.in_sample_r2 == pytest.approx(share(link, r, w), abs=1e-5)
    assert link.penalty == 0.3 and link.penalty_curve is None


@pytest.mark.parametrize("n", [40, 7])
@pytest.mark.parametrize("standardise", [True, False])
def test_leave_one_out_is_that_of_explicit_refits(n, standardise):
    r, w = data(n)
    penalties = [1e-3, 0.1, 2.0, 50.0]
    link = fit_link((r, w), penalties=penalties, standardise=standardise)
    x, y = scaled(r) if standardise else r.double().numpy(), w.double().numpy()
    expected = []
    for p in penalties:
        errors = []
        for i in range(n):
            keep = np.arange(n) != i
            fit = Ridge(alpha=p * n, solver="svd").fit(x[keep], y[keep])  # scaling and total penalty held
            errors.append(((y[i] - fit.predict(x[i : i + 1])[0]) ** 2).mean())
        expected.append((np.mean(errors), np.std(errors, ddof=1) / n**0.5))
    curve = link.penalty_curve
    assert np.allclose(curve["error"], [e for e, _ in expected], rtol=1e-8)
    assert np.allclose(curve["standard_error"], [s for _, s in expected], rtol=1e-8)
    assert curve["rows"] == n and curve["kind"] == "leave-one-out"
    assert link.penalty == penalties[int(np.argmin([e for e, _ in expected]))]
    one = fit_link((r, w), penalty=link.penalty, standardise=standardise)
    assert torch.allclose(link.A, one.A, rtol=1e-5, atol=1e-6)


def test_leave_one_out_over_some_rows_is_exact_for_them():
    r, w = data(60)
    every = fit_link((r, w), penalties=[0.1])
    some = [fit_link((r, w), penalties=[0.1], choose_rows=20, seed=s) for s in range(300)]
    errors = np.array([link.penalty_curve["error"][0] for link in some])
    assert all(link.penalty_curve["rows"] == 20 for link in some)
    assert errors.std() > 0
    assert errors.mean() == pytest.approx(every.penalty_curve["error"][0], abs=4 * errors.std() / 300**0.5)


@pytest.mark.parametrize("penalty, l1_ratio", [(0.05, 0.5), (0.3, 0.9), (0.2, 1.0)])
def test_elastic_net_is_scikit_learns(penalty, l1_ratio):
    r, w = data()
    link = fit_link((r, w), "elastic_net", penalty=penalty, l1_ratio=l1_ratio)
    x = scaled(r)
    for j in range(w.shape[1]):
        other = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, tol=1e-12, max_iter=100_000)
        other.fit(x, w[:, j].double().numpy())
        assert np.allclose(link.A[j].numpy() * r.double().numpy().std(0), other.coef_, atol=1e-5)
        assert ((link.A[j].numpy() == 0) == (np.abs(other.coef_) < 1e-9)).all()
    assert link.in_sample_r2 == pytest.approx(share(link, r, w), abs=1e-5)


def held_rows(n, share=0.2, seed=0):
    """The rows that fit_link sets apart: keys of one generator, one per row."""
    return np.random.default_rng(seed).random(n) < share


def test_elastic_net_chooses_by_held_out_error():
    r, w = data(200)
    link = fit_link((r, w), "elastic_net", penalties=[0.01, 0.1, 1.0])
    apart = held_rows(200)
    x = r.double().numpy()
    for p, error in zip(link.penalty_curve["penalty"], link.penalty_curve["error"], strict=True):
        train = x[~apart]
        net = ElasticNet(alpha=p, l1_ratio=0.5, tol=1e-12, max_iter=100_000)
        net.fit((train - train.mean(0)) / train.std(0), w[~apart].double().numpy())
        predicted = net.predict((x[apart] - train.mean(0)) / train.std(0))
        assert error == pytest.approx(((w[apart].double().numpy() - predicted) ** 2).mean(), rel=1e-3)
    assert link.penalty in (0.01, 0.1, 1.0)


@pytest.mark.parametrize("penalty", [None, 0.2])
def test_reduced_rank_is_the_plain_one(penalty):
    r, w = data()
    link = fit_link((r, w), "reduced_rank", rank=2, penalty=penalty)
    # ridge as least squares on augmented rows; the best rank-2 fit keeps two singular directions of its fitted values
    x, y = scaled(r), w.double().numpy() - w.double().numpy().mean(0)
    x = np.vstack([x, np.sqrt((penalty or 0) * len(x)) * np.eye(x.shape[1])])
    y = np.vstack([y, np.zeros((x.shape[1], y.shape[1]))])
    b = np.linalg.lstsq(x, y, rcond=None)[0]
    v = np.linalg.svd(x @ b)[2][:2]
    assert np.allclose(link.A.numpy() * r.double().numpy().std(0), (b @ v.T @ v).T, atol=1e-4)
    assert np.linalg.matrix_rank(link.A.numpy(), tol=1e-4) == 2 and link.rank == 2
    assert link.in_sample_r2 == pytest.approx(share(link, r, w), abs=1e-5)


def test_reduced_rank_chooses_by_held_out_error():
    g = torch.Generator().manual_seed(1)
    r = torch.randn(300, 8, generator=g) + 2
    a = torch.randn(8, 2, generator=g) @ torch.randn(2, 6, generator=g)
    w = r @ a + torch.randn(300, 6, generator=g)
    link = fit_link((r, w), "reduced_rank")
    apart = torch.from_numpy(held_rows(300))
    for k in range(6):
        fit = fit_link((r[~apart], w[~apart]), "reduced_rank", rank=k + 1)
        plain = float((w[apart] - fit(r[apart])).double().square().mean())
        assert link.penalty_curve["error"][k] == pytest.approx(plain, rel=1e-4)
    assert link.rank == 2


# ---- what it must bear


@pytest.mark.parametrize("method", METHODS)
def test_constant_units_get_zero_and_are_listed(method):
    r, w = data()
    with_constant = torch.cat([r[:, :2], torch.zeros(len(r), 1), r[:, 2:], torch.full((len(r), 1), 0.1)], 1)
    link, plain = fit_link((with_constant, w), method), fit_link((r, w), method)
    assert link.constant_units == (2, 10)
    assert (link.A[:, [2, 10]] == 0).all() and (link.unit_std[[2, 10]] == 0).all()
    assert torch.allclose(link(with_constant), plain(r), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_varies(method):
    r, w = torch.ones(30, 3), data(30)[1]
    if method == "reduced_rank":
        with pytest.raises(LisError):
            fit_link((r, w), method, rank=1)
        return
    link = fit_link((r, w), method)
    assert torch.allclose(link(r), w.mean(0).expand_as(w), atol=1e-5) and link.in_sample_r2 == 0


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_their_sizes_do_not_matter(method):
    r, w = data(100)
    whole = fit_link((r, w), method, choose_rows=30)
    batches = ((r[i : i + 7], w[i : i + 7]) for i in range(0, 100, 7))
    parts = fit_link(batches, method, choose_rows=30)
    assert torch.allclose(whole.A, parts.A, rtol=1e-4, atol=1e-6)
    assert (
        whole.penalty == pytest.approx(parts.penalty) if whole.penalty is not None else parts.penalty is None
    )
    assert torch.equal(whole.fitted_rows, parts.fitted_rows)


def test_few_rows_and_a_useless_r_take_a_large_penalty_and_say_so():
    g = torch.Generator().manual_seed(0)
    link = fit_link((torch.randn(30, 50, generator=g), torch.randn(30, 3, generator=g)))
    assert link.penalty > 1 and torch.isfinite(link.A).all()


def correlated(condition, n=4000, units=40, latents=5):
    """Units whose covariance has this condition number, roughly."""
    g = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(units, units, generator=g, dtype=torch.float64))[0]
    scale = torch.logspace(0, -0.5 * np.log10(condition), units, dtype=torch.float64)
    r = (torch.randn(n, units, generator=g, dtype=torch.float64) * scale) @ q
    w = r @ torch.randn(units, latents, generator=g, dtype=torch.float64)
    return r.float(), (w + torch.randn(n, latents, generator=g)).float()


def test_float32_products_are_good_where_they_are_trusted_and_given_up_where_not(monkeypatch):
    from lis_toolkit import link_fit

    monkeypatch.setattr(link_fit, "LARGE", 0)
    for method in ("ols", "ridge"):
        for condition in (1, 30, 1e6):
            r, w = correlated(condition)
            exact, auto = fit_link((r, w), method, precision="float64"), fit_link((r, w), method)
            relative = float((exact.A - auto.A).norm() / exact.A.norm())
            assert relative < 1e-4, (method, condition)
            used = auto.provenance["fit"]["precision"]
            assert used == ("float32" if condition < 100 else "float64"), (method, condition)
            if auto.penalty_curve:
                assert np.allclose(auto.penalty_curve["error"], exact.penalty_curve["error"], rtol=1e-3)
    r, w = data()
    assert fit_link((r * 1e-25, w), "ols").provenance["fit"]["precision"] == "float64"
    with pytest.raises(LisError, match="float64"):
        fit_link((r * 1e-25, w), "ols", precision="float32")
    assert "few right digits" in fit_link(correlated(1e6), "ols", precision="float32").notes[0]


# ---- bad input


@settings(deadline=None, max_examples=40)
@given(
    row=st.integers(0, 19), value=st.sampled_from([float("nan"), float("inf")]), which=st.sampled_from("rw"),
    method=st.sampled_from(METHODS),
)  # fmt: skip
def test_values_that_are_not_finite(row, value, which, method):
    r, w = data(20)
    (r if which == "r" else w)[row, 1] = value
    with pytest.raises(LisError, match=f"{which} has 1 values that are NaN or infinite"):
        fit_link((r, w), method)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"method": "lasso"}, "one of ridge, ols"),
        ({"penalty": -1.0}, "at least 0"),
        ({"penalty": float("nan")}, "at least 0"),
        ({"penalty": "much"}, "at least 0"),
        ({"penalties": []}, "empty"),
        ({"penalty": 1.0, "penalties": [1.0]}, "both"),
        ({"method": "ols", "penalty": 1.0}, "no penalty"),
        ({"rank": 3}, "reduced_rank"),
        ({"method": "reduced_rank", "rank": 0}, "at least 1"),
        ({"method": "reduced_rank", "rank": 5}, "at most 4"),
        ({"method": "elastic_net", "l1_ratio": 0.0}, "ridge"),
        ({"held_out": 1.0}, "share"),
        ({"precision": "half"}, "precision"),
        ({"choose_rows": 1}, "at least 2"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_options_that_do_not_fit(options, said):
    with pytest.raises(LisError, match=said):
        fit_link(data(), **options)


@pytest.mark.parametrize(
    "pairs, said",
    [
        ("pairs.pt", "str"),
        (3, "int"),
        ([], "0 pairs"),
        ((torch.zeros(1, 3), torch.zeros(1, 2)), "1 pairs"),
        ((torch.zeros(4, 3), torch.zeros(5, 2)), "4 rows and w has 5"),
        ((torch.zeros(4), torch.zeros(4, 2)), "shape"),
        ((torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 2)), "int64"),
        ([torch.zeros(4, 3)], "tuple"),
        ([(torch.zeros(4, 3), torch.zeros(4, 2)), (torch.zeros(4, 2), torch.zeros(4, 2))], "3 were expected"),
    ],
)
def test_pairs_that_are_none(pairs, said):
    with pytest.raises(LisError, match=said):
        fit_link(pairs)


@settings(deadline=None, max_examples=100)
@given(data=st.data(), method=st.sampled_from(METHODS), double=st.booleans(), standardise=st.booleans())
def test_any_finite_numbers_give_a_finite_link_or_a_clear_error(data, method, double, standardise):
    n, units, latents = (data.draw(st.integers(1, top)) for top in (12, 4, 3))
    value = st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 1e-40, 1e30, 1e200]),
        st.floats(allow_nan=False, allow_infinity=False, width=64 if double else 32),
    )

    def rows(width):
        values = data.draw(st.lists(value, min_size=n * width, max_size=n * width))
        x = torch.tensor(values, dtype=torch.float64).reshape(n, width)
        return x if double else x.clamp(-3e38, 3e38).float()

    r, w = rows(units), rows(latents)
    try:
        link = fit_link((r, w), method, standardise=standardise)
    except LisError:
        return
    assert torch.isfinite(link.A).all() and torch.isfinite(link.b).all()
    assert (link.A[:, list(link.constant_units)] == 0).all()
    assert not link.in_sample_r2 > 1 + 1e-6


# ---- the link


@pytest.fixture
def link():
    r, w = data()
    r[:, 4] = 0.0
    origin = SimpleNamespace(
        r=r, w=w, classes=("a", "b"), psi=0.7, seed=3, generator_hash="g" * 64, classifier_hash="c" * 64,
        provenance={"classifier": "fashion", "generator": "fashion"},
    )  # fmt: skip
    return fit_link(origin)


def test_units_by_name(link):
    assert [link.unit_index(u) for u in (7, "7", "unit 7", "Unit 7 ", np.int64(7))] == [7] * 5
    assert torch.equal(link.direction("unit 7"), link.A[:, 7])
    with pytest.raises(LisError, match="unit 4 was constant"):
        link.varying_unit(4)
    assert link.varying_unit(3) == 3


@settings(deadline=None, max_examples=60)
@given(
    unit=st.one_of(
        st.integers().filter(lambda i: not 0 <= i < 9), st.text().filter(lambda t: not t.strip()[-1:].isdigit()),
        st.floats(), st.booleans(), st.none(), st.lists(st.integers()),
    )
)  # fmt: skip
def test_units_that_are_none(unit):
    link = fit_link(data(30), "ols")
    with pytest.raises(LisError, match="0 to 8"):
        link.unit_index(unit)


def test_wrong_activations(link):
    with pytest.raises(LisError, match="r has 512 columns, the link was fitted on 9"):
        link(torch.zeros(2, 512))
    for bad in (
        torch.full((1, 9), torch.nan),
        torch.zeros(1, 9, dtype=torch.int64),
        [0.0] * 9,
        torch.tensor(1.0),
    ):
        with pytest.raises(LisError):
            link(bad)


def test_it_is_linear_and_differentiable(link):
    r = data(5, seed=8)[0].requires_grad_()
    w = link(r)
    assert w.shape == (5, 4) and torch.allclose(w, r @ link.A.T + link.b)
    w[:, 2].sum().backward()
    assert torch.allclose(r.grad, link.A[2].expand(5, -1))
    assert link(r.double()).dtype == torch.float32 and link(r[None].repeat(2, 1, 1)).shape == (2, 5, 4)
    jacobian = torch.func.vmap(torch.func.jacfwd(link.linear))(r.detach())
    assert torch.allclose(jacobian, link.A.expand(5, -1, -1))
    assert not any(p.requires_grad for p in link.parameters())


def test_models_it_was_not_fitted_for(link):
    def model(letter, name="other"):
        return SimpleNamespace(hash=letter * 64, name=name)

    link.check(model("g"), model("c"))
    link.check(model("g"))
    with pytest.raises(
        LisError, match=r"classifier fashion \(cccccccc\), but classifier other \(xxxxxxxx\)"
    ) as error:
        link.check(model("g"), model("x"))
    assert "generator" not in str(error.value).split("Load")[0]
    with pytest.raises(LisError, match="generator fashion .*; it was fitted for classifier"):
        link.check(model("y"), model("x"))
    with pytest.raises(LisError, match="generator"):
        link.check(SimpleNamespace(), model("c"))


def test_save_and_load(link, tmp_path):
    link.save(tmp_path / "link.safetensors")
    again = Link.load(tmp_path / "link.safetensors")
    for name, value in link.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]) or name == "r2_dims", name
    for name in ("method", "penalty", "rank", "rows", "in_sample_r2", "constant_units", "penalty_curve", "notes",
                 "classes", "psi", "classifier_hash", "generator_hash", "provenance", "classifier_name"):  # fmt: skip
        assert getattr(link, name) == getattr(again, name), name
    assert again.provenance["pairs"]["seed"] == 3 and again.provenance["torch"] and again.psi == 0.7
    assert "9 units -> 4 latent dimensions" in repr(again)


def test_files_that_are_no_link(tmp_path, link):
    from safetensors.torch import save_file

    save_file({"A": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("other", "text", "missing"):
        with pytest.raises(CheckpointError):
            Link.load(tmp_path / f"{name}.safetensors")
