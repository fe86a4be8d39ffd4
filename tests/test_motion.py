"""Flow and motion against motions that are known, of textures, of the bundled generator's pictures, and of vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lis_toolkit import load_generator
from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.parts import flow as flow_module
from lis_toolkit.parts.flow import dense_flow, dis_flow, load_raft, local_contrast, raft_flow, raft_path
from lis_toolkit.parts.legend import Legend
from lis_toolkit.parts.motion import Motion, fit_affine, measure_motion

SIZE = 32
MIDDLE = (SIZE - 1) / 2


def turned(degrees=0.0, scale=1.0, dx=0.0, dy=0.0):
    """An affine map [2, 3] of positions: turned (clockwise as seen) and scaled about the middle, then shifted."""
    angle = math.radians(degrees)
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([MIDDLE, MIDDLE])
    return np.column_stack([linear, middle - linear @ middle + [dx, dy]])


def positions(size=SIZE):
    y, x = np.mgrid[:size, :size]
    return torch.tensor(np.stack([x, y], axis=-1), dtype=torch.float64)  # [H, W, 2]


def true_flow(affine, size=SIZE):
    affine, places = torch.tensor(affine), positions(size)
    return (places @ affine[:, :2].T + affine[:, 2] - places).float()  # [H, W, 2]


def warped(x, affine):
    """Pictures in which what was at p is at affine @ p."""
    size = x.shape[-1]
    back = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
    source = positions(size) + true_flow(back, size)
    grid = ((source + 0.5) / size * 2 - 1)[None].expand(len(x), -1, -1, -1).to(x)
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


def landing(affine, size=SIZE):
    """Whether a pixel is still in the picture afterwards, [H, W]."""
    goal = positions(size) + true_flow(affine, size)
    return ((goal >= 0) & (goal <= size - 1)).all(dim=-1)


@pytest.fixture(scope="module")
def textures():
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(6, 1, 12, 12, generator=generator)
    return F.interpolate(rough, (SIZE, SIZE), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def garments():
    generator = load_generator("fashion")
    labels = torch.arange(10)
    return generator.render(generator.map(generator.sample_z(10, 3), labels, psi=0.7)).clamp(0, 1)


MOTIONS = {  # affine map, and the largest mean error in pixels over textures and over garments
    "nothing": (turned(), 0.001, 0.001),
    "half a pixel": (turned(dx=0.5, dy=-0.3), 0.05, 0.15),
    "two pixels": (turned(dx=2, dy=1), 0.05, 0.05),
    "four pixels": (turned(dx=-4, dy=2), 0.15, 0.15),
    "a turn by 5 degrees": (turned(5), 0.1, 0.2),
    "a turn by 15 degrees": (turned(15), 0.3, 0.5),
    "a tenth larger": (turned(scale=1.1), 0.1, 0.15),
    "15 % smaller": (turned(scale=0.85), 0.2, 0.3),
}


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("kind", ["textures", "garments"])
def test_known_motions_are_found(name, kind, request):
    x = request.getfixturevalue(kind)
    affine, *most = MOTIONS[name]
    everywhere = torch.ones(len(x), SIZE, SIZE, dtype=torch.bool) if kind == "textures" else None
    motion = measure_motion(x, warped(x, affine), everywhere)
    error = (motion.flow - true_flow(affine)).norm(dim=3)
    known = motion.reliable & motion.foreground & landing(affine)
    assert known.sum() > 0.8 * (motion.foreground & landing(affine)).sum()
    assert error[known].mean() < most[kind == "garments"]
    assert motion.fitted.all()
    # the motion of the whole, at the middle of the foreground
    overall = motion.overall()
    scale = math.sqrt(np.linalg.det(affine[:, :2]))
    turn = math.atan2(affine[1, 0], affine[0, 0])
    middles = [positions()[m].mean(dim=0).numpy() for m in motion.foreground]
    moved = np.array([affine @ [*m, 1] - m for m in middles])
    assert np.median(np.abs(overall["dx"] - moved[:, 0])) < 0.15
    assert np.median(np.abs(overall["dy"] - moved[:, 1])) < 0.15
    assert overall["growth"].median() + 1 == pytest.approx(scale, abs=0.02)
    assert overall["rotation"].median() == pytest.approx(turn, abs=0.045)
    # what is left once the whole's motion is taken out is little
    assert motion.residual.norm(dim=3)[known].mean() < max(0.3, 2 * most[kind == "garments"])


def test_darkening_and_shading_are_not_motion(garments):
    shade = torch.linspace(0.4, 1, SIZE)[:, None]
    for after in (0.5 * garments, shade * garments):
        motion = measure_motion(garments, after)
        known = motion.reliable & motion.foreground
        assert known.float().sum() > 0.9 * motion.foreground.sum()
        assert motion.flow.norm(dim=3)[known].mean() < 0.06


def test_a_part_that_moves_alone_is_told_from_the_whole():
    """Two textured squares; the whole picture goes 1 px right, the small square 2 px down besides."""
    texture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    texture = F.interpolate(texture[:, :, :26, :26], (64, 64), mode="bicubic").clamp(0.25, 1)
    before, after = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    for label, top, left, height, width, dx, dy in ((1, 6, 6, 50, 32, 1, 0), (2, 20, 44, 14, 14, 1, 2)):
        patch = texture[:, :, top : top + height, left : left + width]
        before[:, :, top : top + height, left : left + width] = patch
        after[:, :, top + dy : top + dy + height, left + dx : left + dx + width] = patch
        labels[:, top : top + height, left : left + width] = label
    legend = Legend(("background", "large", "small", "absent"))
    motion = measure_motion(before, after, labels)
    overall = motion.overall().iloc[0]
    assert overall["dx"] == pytest.approx(1, abs=0.1) and overall["dy"] == pytest.approx(0, abs=0.1)
    table = motion.summary(labels, legend).set_index("part")
    assert table.loc["small", "dy"] == pytest.approx(2, abs=0.35)
    assert table.loc["small", "dx"] == pytest.approx(0, abs=0.2)
    assert table.loc["large", "magnitude"] < 0.3 < 1.5 < table.loc["small", "magnitude"]
    raw = motion.summary(labels, legend, residual=False).set_index("part")
    assert raw.loc["large", "dx"] == pytest.approx(1, abs=0.15)
    assert raw.loc["absent", "pixels"] == 0 and math.isnan(raw.loc["absent", "dx"])
    assert (table["pixels"].to_numpy() == [50 * 32, 14 * 14, 0]).all()


def test_nothing_is_claimed_where_there_is_nothing_to_see():
    flat = torch.full((1, 1, 32, 32), 0.5)
    motion = measure_motion(flat, flat * 0.8, torch.ones(1, 32, 32))
    assert not motion.reliable.any() and not motion.fitted.any()
    assert torch.equal(motion.affine[0], torch.eye(2, 3, dtype=torch.float64))
    assert motion.overall()[["dx", "dy", "growth", "rotation"]].isna().all(axis=None)
    row = motion.summary(torch.ones(1, 32, 32, dtype=torch.uint8), Legend(("background", "all"))).iloc[0]
    assert row["reliable"] == 0 and math.isnan(row["magnitude"]) and math.isnan(row["divergence"])


def test_along_an_edge_nothing_is_claimed():
    """Upright stripes: what moves them down can't be seen; what moves them aside can."""
    stripes = (0.5 + 0.4 * torch.sin(torch.arange(32.0) * 0.7)).expand(1, 1, 32, 32).contiguous()

    def slide(before, after):  # a flow that claims 1 px down and 0.5 px right everywhere
        sign = 1 if torch.equal(before[..., :5], F.interpolate(stripes, scale_factor=4, mode="bicubic")
                                .clamp(0, 1)[..., :5]) else -1  # fmt: skip
        return torch.tensor([2.0, 4.0]).mul(sign)[None, :, None, None].expand(1, 2, 128, 128)

    motion = measure_motion(stripes, stripes.roll(1, 3), torch.ones(1, 32, 32), method=slide)
    assert motion.reliable[:, 2:-2, 2:-2].all() and not motion.clear.any() and not motion.fitted.any()
    inner = motion.residual[0, 3:-3, 3:-3]
    assert inner[..., 0].sub(0.5).abs().max() < 0.02 and inner[..., 1].abs().max() < 0.02
    assert motion.flow[..., 1].eq(1).all()


def test_what_does_not_come_back_is_not_reliable(textures):
    other = torch.rand(6, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    assert measure_motion(textures, other).reliable.float().mean() < 0.5
    assert measure_motion(textures, textures).reliable.float().mean() > 0.95


def test_what_leaves_the_picture_is_not_reliable(textures):
    ways = iter((5.0, -5.0))  # pixels of the enlarged pictures' flow to the right, forth and back

    def shifted(before, after):
        flow = torch.zeros(len(before), 2, *before.shape[2:])
        flow[:, 0] = next(ways) * before.shape[3] / SIZE
        return flow

    motion = measure_motion(textures, textures, torch.ones(6, SIZE, SIZE), method=shifted)
    assert not motion.reliable[:, :, -5:].any() and motion.reliable[:, :, :-5].float().mean() > 0.9


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45])
def test_the_motion_of_the_whole_is_that_of_the_majority(share):
    random = np.random.default_rng(0)
    places = torch.tensor(random.uniform(0, 32, (300, 2)))
    affine = turned(7, 1.05, 1.5, -0.5)
    goals = torch.tensor(places.numpy() @ affine[:, :2].T + affine[:, 2] + random.normal(0, 0.02, (300, 2)))
    outliers = int(share * 300)
    goals[:outliers] += torch.tensor([4.0, -3.0])  # all the same way: the worst case for least squares
    found = fit_affine(places, goals)
    corners = np.array([[0, 0, 1], [31, 0, 1], [0, 31, 1], [31, 31, 1]]).T
    assert np.abs(found.numpy() @ corners - affine @ corners).max() < 0.05
    assert torch.equal(found, fit_affine(places, goals))
    if share:  # least squares is drawn away, so the test can fail
        design = np.column_stack([places.numpy(), np.ones(300)])
        least = np.linalg.lstsq(design, goals.numpy(), rcond=None)[0].T
        assert np.abs(least @ corners - affine @ corners).max() > 0.5


def test_too_few_places_or_a_line_give_no_motion_of_the_whole():
    line = torch.stack([torch.arange(40.0), 2 * torch.arange(40.0)], dim=1)
    assert fit_affine(line, line + 1) is None
    assert fit_affine(line[:5], line[:5]) is None
    assert fit_affine(torch.zeros(0, 2), torch.zeros(0, 2)) is None


def by_hand(affine, labels, size=20):
    """A Motion whose flow is known exactly."""
    flow = true_flow(affine, size)[None]
    everywhere = torch.ones(1, size, size, dtype=torch.bool)
    identity = torch.eye(2, 3, dtype=torch.float64)[None]
    return Motion(flow, identity, flow, torch.zeros(1, size, size), everywhere, everywhere, everywhere,
                  torch.tensor([True]))  # fmt: skip


def test_the_summary_of_a_known_field():
    labels = torch.zeros(1, 20, 20, dtype=torch.uint8)
    labels[:, 3:9, 4:16] = 1
    labels[:, 12:14, 2:4] = 2
    labels[:, 18, 18] = 3
    affine = np.array([[1.10, -0.03, 0.5], [0.07, 0.95, -1.0]])
    motion = by_hand(affine, labels)
    motion.reliable[0, 3, 4] = False
    table = motion.summary(labels, Legend(("background", "a", "b", "dot")), percentile=50).set_index("part")
    for p, part in enumerate(("a", "b", "dot"), start=1):
        known = (labels[0] == p) & motion.reliable[0]
        vectors = motion.flow[0][known].double().numpy()
        row = table.loc[part]
        assert row["dx"] == pytest.approx(vectors[:, 0].mean(), abs=1e-5)
        assert row["dy"] == pytest.approx(vectors[:, 1].mean(), abs=1e-5)
        lengths = np.hypot(*vectors.T)
        assert row["magnitude"] == pytest.approx(lengths.mean(), abs=1e-5)
        assert row["largest"] == pytest.approx(np.median(lengths), abs=1e-5)
        assert row["reliable"] == pytest.approx(known.sum().item() / (labels == p).sum().item())
    for part in ("a", "b"):
        assert table.loc[part, "divergence"] == pytest.approx(0.10 - 0.05, abs=1e-5)
        assert table.loc[part, "rotation"] == pytest.approx((0.07 + 0.03) / 2, abs=1e-5)
    assert math.isnan(table.loc["dot", "divergence"]) and not math.isnan(table.loc["dot", "dx"])


def test_flow_does_not_depend_on_the_batch_or_on_threads(garments):
    import cv2

    after = garments.roll(1, 0)
    whole = dense_flow(garments, after)
    assert torch.equal(whole[3:5], dense_flow(garments[3:5], after[3:5]))
    threads = cv2.getNumThreads()
    try:
        for count in (1, 4):
            cv2.setNumThreads(count)
            assert torch.equal(whole, dense_flow(garments, after))
    finally:
        cv2.setNumThreads(threads)
    one = dense_flow(garments[:1], after)
    assert torch.equal(one[0], whole[0]) and one.shape == (10, SIZE, SIZE, 2)
    again = measure_motion(garments, after), measure_motion(garments, after)
    assert torch.equal(again[0].affine, again[1].affine) and torch.equal(again[0].residual, again[1].residual)


def test_colour_and_odd_sizes_work(textures):
    x = textures[:2, :, :27, :21].expand(-1, 3, -1, -1)
    flow = dense_flow(x, x.roll((0, 1), (2, 3)))
    assert flow.shape == (2, 27, 21, 2)
    assert flow[:, 4:-4, 4:-4, 0].median() == pytest.approx(1, abs=0.1)
    large = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(large, (200, 150), mode="bicubic").clamp(0, 1)
    far = dense_flow(large, large.roll((3, -5), (2, 3)))[0, 20:-20, 20:-20]
    assert far[..., 0].median() == pytest.approx(-5, abs=0.1) and far[..., 1].median() == pytest.approx(
        3, abs=0.1
    )


def test_local_contrast_evens_brightness_out(textures):
    light = F.interpolate(textures, scale_factor=4, mode="bicubic").clamp(0, 1)[:, 0]
    plain, dark = local_contrast(light), local_contrast(0.5 * light)
    assert (plain - dark).abs().mean() < 0.03 < plain.std()
    assert local_contrast(torch.full((1, 40, 30), 0.7)).sub(0.5).abs().max() < 1e-4


def test_a_method_of_ones_own_is_given_enlarged_pictures_and_scaled_back():
    seen = []

    def constant(before, after):
        seen.append(before.shape)
        return torch.tensor([8.0, -4.0])[None, :, None, None].expand(len(before), 2, *before.shape[2:])

    flow = dense_flow(torch.rand(2, 1, 16, 24), torch.rand(2, 1, 16, 24), constant)
    assert seen == [(2, 1, 128, 192)] and flow.shape == (2, 16, 24, 2)
    assert flow[..., 0].eq(1).all() and flow[..., 1].eq(-0.5).all()
    with pytest.raises(LisError, match="flow method gave shape"):
        dense_flow(torch.rand(2, 1, 16, 24), torch.rand(2, 1, 16, 24), lambda a, b: torch.zeros(1))


def test_raft_runs_on_any_size_and_is_not_downloaded(tmp_path, monkeypatch):
    from torchvision.models.optical_flow import raft_small

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = raft_small(weights=None).eval()
    x = torch.rand(3, 1, 130, 140, generator=torch.Generator().manual_seed(0))
    flow = raft_flow(network, x, x.roll(1, 3), batch_size=2)
    assert flow.shape == (3, 2, 130, 140) and flow.isfinite().all()
    torch.testing.assert_close(flow[2:], raft_flow(network, x[2:], x.roll(1, 3)[2:]), atol=1e-3, rtol=1e-3)

    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(LisError, match=r"not on this machine.*'dis'.*raft_small.*\.pth") as caught:
        dense_flow(x, x, "raft")
    assert str(tmp_path / "cache" / "models") in str(caught.value)
    theirs = tmp_path / "hub" / "checkpoints" / raft_path().name
    theirs.parent.mkdir(parents=True)
    torch.save(network.state_dict(), theirs)
    assert raft_path() == theirs
    with pytest.raises(CheckpointError, match="sha256"):
        load_raft()
    monkeypatch.setattr(flow_module, "check_contents", lambda *args, **kwargs: "")
    loaded = load_raft()
    assert not any(p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(raft_flow(loaded, x[:1], x[:1]), raft_flow(network, x[:1], x[:1]))
    assert dense_flow(x[:1], x[:1], "raft").shape == (1, 130, 140, 2)


def test_bad_input_is_refused(textures):
    x = textures[:2]
    labels = torch.ones(2, SIZE, SIZE, dtype=torch.uint8)
    legend = Legend(("background", "all"))
    motion = measure_motion(x, x)
    for call, message in [
        (lambda: dense_flow(x, x[:1]), "pictures before have shape"),
        (lambda: dense_flow(x, x, "dsi"), "Did you mean 'dis'"),
        (lambda: dense_flow(x[:, :, :, :0], x), "empty"),
        (lambda: dense_flow(x * 2, x), "pictures before have values"),
        (lambda: dense_flow(x.expand(-1, 2, -1, -1), x.expand(-1, 2, -1, -1)), "1 or 3"),
        (lambda: measure_motion(x, x, tolerance=0), "above 0"),
        (lambda: measure_motion(x, x, labels[:1]), "foreground has shape"),
        (lambda: measure_motion(x, x, "all"), "foreground is 'all'"),
        (lambda: motion.summary(labels[:1], legend), "labels are"),
        (lambda: motion.summary(None, legend), "labels are NoneType"),
        (lambda: motion.summary(labels > 0, legend), "whole numbers"),
        (lambda: motion.summary(labels.float(), legend), "whole numbers"),
        (lambda: motion.summary(labels * 2, legend), "labels go to 2"),
        (lambda: motion.summary(labels, legend, percentile=101), "0 to 100"),
    ]:
        with pytest.raises(LisError, match=message):
            call()


def test_dis_sees_plain_shifts_of_single_large_pictures():
    x = F.interpolate(
        torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(2)), (128, 128), mode="bicubic"
    )
    x = x.clamp(0, 1)
    flow = dis_flow(x, x.roll((2, 6), (2, 3)))[0, :, 20:-20, 20:-20]
    assert flow[0].median() == pytest.approx(6, abs=0.1) and flow[1].median() == pytest.approx(2, abs=0.1)


def test_motion_of_large_pictures_is_that_of_small_ones_times_the_scale(garments):
    small, large = garments[2:6], F.interpolate(garments[2:6], (256, 256), mode="bicubic").clamp(0, 1)
    affine = turned(4, 1.05, 0.5, 1.0)
    after = warped(small, affine)
    one = measure_motion(small, after)
    two = measure_motion(large, F.interpolate(after, (256, 256), mode="bicubic").clamp(0, 1))
    assert (two.reliable & two.foreground).sum() > 0.8 * two.foreground.sum()
    a, b = one.overall(), two.overall()
    for name in ("dx", "dy"):
        assert np.abs(8 * a[name] - b[name]).median() < 1.5  # of 256 pixels
    assert np.abs(a["growth"] - b["growth"]).median() < 0.02
    assert np.abs(a["rotation"] - b["rotation"]).median() < 0.02
