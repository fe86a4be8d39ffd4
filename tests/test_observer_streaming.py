"""Observers streamed from files agree with those in memory, whatever the chunks, and keep little in memory."""

import numpy as np
import pytest

from lis_toolkit.observers import as_state, train_observers
from lis_toolkit.observers import state as state_module
from lis_toolkit.observers.design import Design, needs_streaming
from lis_toolkit.observers.solve import fit_logistic, fit_ridge
from lis_toolkit.observers.state import Standardiser
from observer_worlds import linear_world


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The same world, its layers memory-mapped files."""
    state, attributes, which, number = linear_world(600, width=10)
    folder = tmp_path_factory.mktemp("maps")
    blocks = {}
    for name, block in state.blocks.items():
        np.save(folder / f"{name}.npy", block)
        blocks[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return as_state(blocks), attributes, which, number


def designs(state, rows):
    standard = Standardiser.of(state, "signal", rows)
    return Design(state, "signal", rows, standard, False), Design(state, "signal", rows, standard, True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(state_module, "CHUNK", 64)
    monkeypatch.setattr(state_module.State.stream, "__defaults__", (64,))


def test_memory_maps_stay_maps(mapped):
    assert all(isinstance(block, np.memmap) for block in mapped[0].blocks.values())


def test_standardised_as_numpy_does_even_with_a_large_mean(mapped):
    state = mapped[0]
    rows = np.arange(0, 600, 2)
    found = Standardiser.of(state, "signal", rows)
    x = state.rows_of("signal", rows)
    assert np.allclose(found.mean, x.mean(0), rtol=1e-12)
    assert np.allclose(found.scale[found.alive], x.std(0)[found.alive], rtol=1e-9)
    assert found.alive.tolist() == [False] + [True] * 9
    assert (found(x)[:, 0] == 0).all()


@pytest.mark.parametrize("penalty", [1.0, 0.01, 0.001])
def test_ridge_is_the_same(mapped, penalty):
    state, _, _, number = mapped
    rows = np.arange(450)
    targets = np.stack([number[rows], np.sin(number[rows])], 1)
    [one], [two] = (fit_ridge(design, targets, [penalty]) for design in designs(state, rows))
    assert np.allclose(one.weights, two.weights, atol=1e-8) and np.allclose(one.bias, two.bias, atol=1e-8)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_logistic_ends_at_the_same_optimum(mapped, count, penalty):
    state, _, which, _ = mapped
    rows = np.arange(450)
    y = which[rows] if count == 3 else (which[rows] > 0).astype(int)
    one, two = (fit_logistic(design, y, count, penalty) for design in designs(state, rows))
    assert one.converged and two.converged
    assert np.allclose(one.weights, two.weights, atol=1e-2)
    logits = [
        design.apply(fit.weights, fit.bias)
        for design, fit in zip(designs(state, rows), (one, two), strict=True)
    ]
    assert (
        np.abs(np.diff(logits[0], axis=1) - np.diff(logits[1], axis=1)).max() < 0.1
    )  # in memory it stops earlier
    from sklearn.linear_model import LogisticRegression

    exact = LogisticRegression(C=1 / (penalty * len(rows)), tol=1e-9, max_iter=5000)
    exact.fit(designs(state, rows)[0].matrix(), y)
    weights = exact.coef_.T if count == 3 else np.concatenate([-exact.coef_, exact.coef_]).T / 2
    assert np.allclose(two.weights, weights, atol=3e-4)
    started = fit_logistic(designs(state, rows)[1], y, count, penalty, start=one)
    assert np.allclose(started.weights, two.weights, atol=1e-3)


def test_the_gradient_of_the_streamed_loss_is_its_slope(mapped):
    """At the streamed optimum no small step lowers the objective, written plainly."""
    state, _, which, _ = mapped
    rows = np.arange(300)
    design = designs(state, rows)[1]
    fit = fit_logistic(design, which[rows], 3, 0.05)
    x = designs(state, rows)[0].matrix()

    def objective(w, b):
        logits = x @ w + b
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), which[rows]]
        return losses.mean() + 0.05 / 2 * (w**2).sum()

    least = objective(fit.weights, fit.bias)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = 1e-3 * rng.normal(size=fit.weights.shape), 1e-3 * rng.normal(size=3)
        assert objective(fit.weights + step[0], fit.bias + step[1]) > least - 1e-9


def test_a_value_without_images_is_never_told(mapped):
    state, _, which, _ = mapped
    rows = np.flatnonzero(which != 1)
    for design in designs(state, rows):
        fit = fit_logistic(design, which[rows], 3, 0.1)
        assert fit.bias[1] == -np.inf and not (design.apply(fit.weights, fit.bias).argmax(1) == 1).any()


def test_trained_streamed_as_in_memory(mapped):
    state, attributes, _, _ = mapped
    both = [
        train_observers(
            state,
            attributes,
            names=["kind", "number", "coin"],
            controls=2,
            resamples=100,
            streaming=streaming,
        ).scores
        for streaming in (False, True)
    ]
    assert not both[0]["streamed"].any() and both[1]["streamed"].all()
    for column in ("score", "low", "high", "balanced", "control", "selectivity"):
        assert np.allclose(both[0][column], both[1][column], atol=0.02, equal_nan=True), column
    assert (both[0]["penalty"] == both[1]["penalty"]).all()


def test_streaming_begins_where_rows_would_not_fit(mapped):
    state = mapped[0]
    assert not needs_streaming(state, "signal", 600, None) and needs_streaming(
        state, "signal", 20_000_000, None
    )
    assert needs_streaming(state, "signal", 10, True) and not needs_streaming(state, "signal", 10**9, False)


def test_a_streamed_pass_never_holds_all_rows(mapped, monkeypatch):
    state, _, which, _ = mapped
    largest = []
    read = state_module._read
    monkeypatch.setattr(
        state_module, "_read", lambda block, rows: largest.append(len(rows)) or read(block, rows)
    )
    rows = np.arange(450)
    fit_logistic(designs(state, rows)[1], which[rows], 3, 1.0)
    assert max(largest) <= 64 and sum(largest) >= 2 * 450
