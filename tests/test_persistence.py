"""Persistence: shapes whose diagrams are known, a minimum spanning tree, a reduction of the boundary matrix by hand."""

import itertools
import json
import math
import sys

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from lis_toolkit.activations import sample_points
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.topology import Diagrams, persistence_diagrams, plan_persistence
from lis_toolkit.topology.clouds import as_points, choose_points, scale_of
from tiny import tiny_classifier, tiny_generator


def circle(n=40, radius=1.0):
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def plain_persistence(points, top=1):
    """Bars of H0 ... H`top` by reducing the boundary matrix, column by column, over Z/2: slow and obvious."""
    distance = squareform(pdist(points))
    simplices = [s for k in range(1, top + 3) for s in itertools.combinations(range(len(points)), k)]
    birth = {
        s: max((distance[i, j] for i, j in itertools.combinations(s, 2)), default=0.0) for s in simplices
    }
    simplices.sort(key=lambda s: (birth[s], len(s), s))
    place = {s: i for i, s in enumerate(simplices)}
    lowest, bars, paired = {}, [[] for _ in range(top + 1)], set()
    for j, s in enumerate(simplices):
        column = {place[face] for face in itertools.combinations(s, len(s) - 1)} if len(s) > 1 else set()
        while column and max(column) in lowest:
            column = column ^ lowest[max(column)]
        if column:
            i = max(column)
            lowest[i] = column
            paired |= {i, j}
            dim = len(simplices[i]) - 1
            if dim <= top and birth[s] > birth[simplices[i]]:
                bars[dim].append((birth[simplices[i]], birth[s]))
    endless = [[] for _ in range(top + 1)]
    for j, s in enumerate(simplices):
        if j not in paired and len(s) - 1 <= top:
            endless[len(s) - 1].append(birth[s])
    return [np.array(sorted(b)).reshape(-1, 2) for b in bars], endless


@pytest.mark.parametrize("seed", range(4))
def test_equals_a_plain_reduction_of_the_boundary_matrix(seed):
    points = np.random.default_rng(seed).normal(size=(11, 3))
    found = persistence_diagrams(points, max_dim=1)
    bars, endless = plain_persistence(points)
    for dim in (0, 1):
        assert found.bars(dim).shape == bars[dim].shape
        assert np.allclose(found.bars(dim), bars[dim], atol=1e-5)
    assert found.essential[0].tolist() == endless[0] == [0.0]
    assert found.essential[1].tolist() == endless[1] == []


def test_voids_of_an_octahedron():
    points = np.concatenate([np.eye(3), -np.eye(3)])
    found = persistence_diagrams(points, max_dim=2)
    assert np.allclose(found.bars(2), [[math.sqrt(2), 2]], atol=1e-6) and len(found.H1) == 0


@pytest.mark.parametrize("columns", [2, 60])
def test_components_die_along_the_minimum_spanning_tree(columns):
    points = np.random.default_rng(1).normal(size=(150, columns))
    tree = minimum_spanning_tree(squareform(pdist(points)))
    found = persistence_diagrams(points, max_dim=0, points=None)
    assert np.allclose(np.sort(found.H0[:, 1]), np.sort(tree.data), rtol=1e-5)
    assert (found.H0[:, 0] == 0).all() and found.max_dim == 0


def test_a_circle_has_one_loop_with_a_known_birth_and_death():
    n = 60
    found = persistence_diagrams(circle(n, 3.0), max_dim=1)
    # Neighbours join at their distance; the loop fills when a triangle through the middle is complete.
    assert np.allclose(found.H1, [[6 * math.sin(math.pi / n), 6 * math.sin(math.pi / 3)]], atol=1e-5)
    assert len(found.H0) == n - 1
    assert found.entropy(1) == 0 and found.entropy(0) == pytest.approx(math.log(n - 1), abs=1e-6)


def test_two_clusters_and_a_torus():
    rng = np.random.default_rng(0)
    clusters = np.concatenate([rng.normal(size=(40, 5)) * 0.1, rng.normal(size=(40, 5)) * 0.1 + 10])
    deaths = np.sort(persistence_diagrams(clusters, max_dim=0).H0[:, 1])
    assert deaths[-1] > 18 and deaths[-2] < 1
    u, v = np.meshgrid(
        np.linspace(0, 2 * np.pi, 24, endpoint=False), np.linspace(0, 2 * np.pi, 10, endpoint=False)
    )
    torus = np.stack([(3 + np.cos(v)) * np.cos(u), (3 + np.cos(v)) * np.sin(u), np.sin(v)], -1).reshape(-1, 3)
    lengths = np.sort(np.diff(persistence_diagrams(torus).H1, axis=1)[:, 0])
    assert lengths[-2] > 2 * lengths[-3]  # two loops, and noise


def test_units_and_normalisation():
    points = np.random.default_rng(2).normal(size=(50, 4))
    plain, scaled = persistence_diagrams(points), persistence_diagrams(1e3 * points + 7)
    assert plain.scale == pytest.approx(np.median(pdist(points)))
    assert scaled.scale == pytest.approx(1e3 * plain.scale)
    assert np.allclose(scaled.H1, 1e3 * plain.H1, rtol=1e-4)
    one, other = (d.rescaled(True) for d in (plain, scaled))
    assert np.allclose(one.H1, other.H1, rtol=1e-4) and np.allclose(one.H1 * plain.scale, plain.H1)
    direct = persistence_diagrams(points, normalise=True)
    assert direct.normalised and np.allclose(direct.H1, one.H1)
    assert np.allclose(direct.rescaled(False).H1, plain.H1)
    tiny = persistence_diagrams(1e-30 * points)  # below float32, where ripser computes
    assert np.allclose(tiny.rescaled(True).H1, one.H1, rtol=1e-4)


def test_bars_that_never_end():
    found = persistence_diagrams(circle(12))
    longest = found.H0[:, 1].max()
    assert len(found.bars(0)) == 11 and found.essential[0].tolist() == [0.0]
    assert found.bars(0, "cap")[-1].tolist() == [0.0, longest] and len(found.bars(0, 5.0)) == 12
    assert found.bars(0, 5.0)[-1].tolist() == [0.0, 5.0]
    assert found.total_persistence(0, 5.0) == pytest.approx(found.total_persistence(0) + 5)
    assert np.array_equal(found.bars(1, "cap"), found.H1)
    for wrong in (-1.0, math.nan, "keep", None):
        with pytest.raises(LisError, match="essential"):
            found.bars(0, wrong)
    with pytest.raises(LisError, match="no H2.*max_dim=2"):
        found.bars(2)


def test_copies_and_constant_clouds():
    points = np.random.default_rng(3).normal(size=(30, 3))
    twice = persistence_diagrams(np.concatenate([points, points]))
    once = persistence_diagrams(points)
    assert twice.copies == 30 and once.copies == 0
    assert np.allclose(twice.rescaled(False).H1, once.H1, atol=1e-5) and len(twice.H0) == len(once.H0)
    for constant in (
        np.ones((20, 4)),
        np.full((20, 4), 1e6) + 1e-3 * np.random.default_rng(0).random((20, 4)),
    ):
        flat = persistence_diagrams(constant, max_dim=2, normalise=True)
        assert flat.scale == 0 and [len(b) for b in flat.finite] == [0, 0, 0]
        assert [len(b) for b in flat.essential] == [1, 0, 0]
        assert flat.summary()["longest"].tolist() == [0, 0, 0] and flat.entropy(0) == 0
        assert len(flat.bars(0, "cap")) == 0
    # More than half of all pairs are copies, and a shape is left.
    mostly = np.concatenate([np.zeros((30, 2)), circle(6)])
    assert scale_of(pdist(mostly), mostly) > 0 and len(persistence_diagrams(mostly).H0) == 6


def test_a_plan_comes_before_the_work():
    plan = plan_persistence(200, 2)
    assert (plan.edges, plan.triangles) == (200 * 199 // 2, 200 * 199 * 198 // 6)
    assert plan_persistence(200, 1).triangles == 0
    cloud = np.random.default_rng(0).normal(size=(400, 3))
    with pytest.raises(
        LisError, match=r"the hidden layer .*H2 of 400 points.*bytes.*points=(\d+) would fit"
    ) as told:
        persistence_diagrams(cloud, 2, points=None, limit=2**20, name="the hidden layer")
    fits = int(str(told.value).split("points=")[1].split()[0])
    assert plan_persistence(fits, 2).bytes <= 2**20 < plan_persistence(fits + 1, 2).bytes
    assert persistence_diagrams(cloud, 2, points=fits, limit=2**20).points == fits
    with pytest.raises(LisError, match="max_dim"):
        plan_persistence(10, 3)


def test_points_are_chosen_by_a_seed():
    cloud = np.random.default_rng(0).normal(size=(300, 4))
    one, again, other = (persistence_diagrams(cloud, points=50, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.H1, again.H1) and not np.array_equal(one.H1, other.H1)
    assert (one.points, one.cloud_points) == (50, 300) and one.settings["seed"] == 1
    rows = choose_points(cloud, 20, "spread", seed=3)
    assert len(set(rows.tolist())) == 20 and rows.tolist() == sorted(rows.tolist())
    # Farthest points cover better than any draw: the largest distance to a chosen one is less.
    cover = lambda r: np.linalg.norm(cloud[:, None] - cloud[r][None], axis=2).min(1).max()  # noqa: E731
    assert cover(rows) < min(cover(choose_points(cloud, 20, "random", seed=s)) for s in range(5))
    assert len(set(choose_points(np.zeros((9, 2)), 5, "spread").tolist())) == 5
    with pytest.raises(LisError, match="random"):
        choose_points(cloud, 5, "grid")


def test_wrong_clouds():
    good = np.random.default_rng(0).normal(size=(10, 2))
    bad = good.copy()
    bad[4, 1] = np.nan
    for cloud, said in ((good[:2], "2 points; at least 3"), (bad, "1 of 10 points, first in row 4"), (good[0], "shape"),
                        (good[:, :0], "shape"), ("cloud", "str"), (None, "NoneType"), (1e200 * good, "too far"),
                        (1j * good, "numbers")):  # fmt: skip
        with pytest.raises(LisError, match=said):
            persistence_diagrams(cloud)
    for wrong in (0, 2, 1.5, True):
        with pytest.raises(LisError, match="points"):
            persistence_diagrams(good, points=wrong)


def test_clouds_of_a_classifier_and_their_dtypes():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    x = generator.render(generator.map(generator.sample_z(40, 5), torch.arange(40) % 3))
    cloud = sample_points(classifier, x)["penultimate"]
    found = persistence_diagrams(cloud)
    assert found.cloud_points == 40 and len(found.H0) <= 39
    assert np.array_equal(found.H1, persistence_diagrams(cloud.points.double()).H1)
    assert as_points(cloud.points.bfloat16()).dtype == np.float64
    assert as_points(np.arange(6).reshape(3, 2)).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ripser", None)
    with pytest.raises(LisError, match=r'ripser.*pip install "lis-toolkit\[topology\]"'):
        persistence_diagrams(circle())


def test_save_and_load(tmp_path):
    found = persistence_diagrams(circle(20), max_dim=2, normalise=True, seed=4)
    found.save(tmp_path / "d.safetensors")
    again = Diagrams.load(tmp_path / "d.safetensors")
    for dim in range(3):
        assert np.array_equal(again.bars(dim), found.bars(dim))
    assert again.essential[0].tolist() == [0.0] and again.normalised and again.scale == found.scale
    assert again.settings == json.loads(json.dumps(found.settings)) and "ripser" in again.provenance
    assert str(again) == str(found) and "19 bars and 1 without end" in str(found)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "d.safetensors").read_bytes()[:200])
    for name in ("broken.safetensors", "none.safetensors"):
        with pytest.raises(CheckpointError):
            Diagrams.load(tmp_path / name)
    from lis_toolkit.files import save_tensors

    save_tensors(tmp_path / "other.safetensors", {}, {"format": "another"})
    with pytest.raises(CheckpointError, match="another"):
        Diagrams.load(tmp_path / "other.safetensors")
    with pytest.raises(LisError, match="before they begin"):
        Diagrams((np.array([[1.0, 0.5]]),), (np.empty(0),), 1.0, False, 3, 3)
