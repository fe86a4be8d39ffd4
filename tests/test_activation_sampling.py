import numpy as np
import pytest
import torch

from lis_toolkit import load_classifier, load_fashion
from lis_toolkit.activations import extract as extract_module
from lis_toolkit.activations import (
    extract_activations,
    foreground_masks,
    list_layers,
    receptive_fields,
    sample_points,
)
from lis_toolkit.classifiers import Classifier, PlainNet
from lis_toolkit.classifiers.preprocessing import ResizeCrop
from lis_toolkit.errors import LisError
from lis_toolkit.own_images import open_images
from test_activations import X, native

HOWS = ("strongest", "random", "all", "foreground", "background")
MASKS = torch.zeros(11, 8, 8, dtype=torch.bool)
for row in range(11):  # a block somewhere else in each image
    MASKS[row, row % 5 : row % 5 + 3, row % 4 : row % 4 + 4] = True


@pytest.fixture(scope="module")
def classifier():
    return native()


def masks_for(how):
    return {"masks": MASKS} if how in ("foreground", "background") else {}


@pytest.mark.parametrize("how", HOWS)
def test_points_are_the_channel_vectors_at_their_positions(classifier, how):
    maps = extract_activations(classifier, X)
    clouds = sample_points(classifier, X, how=how, per_image=2, seed=3, batch_size=4, **masks_for(how))
    assert list(clouds) == [layer.name for layer in list_layers(classifier)]
    for layer in list_layers(classifier):
        cloud, (height, width) = clouds[layer.name], layer.positions
        each = height * width if how == "all" else min(2, height * width)
        assert cloud.points.shape == (11 * each, layer.channels) and cloud.points.dtype == torch.float32
        assert cloud.images.tolist() == [i for i in range(11) for _ in range(each)]
        assert cloud.layer == layer and cloud.how == how
        seen = set()
        for point, image, (row, column) in zip(
            cloud.points, cloud.images.tolist(), cloud.positions.tolist(), strict=True
        ):
            values = maps[layer][image]
            expected = values[:, row, column] if values.ndim == 3 else values
            torch.testing.assert_close(point, expected, atol=1e-5, rtol=1e-5)
            seen.add((image, row, column))
        assert len(seen) == len(cloud)  # no position twice


def test_the_strongest_by_a_loop(classifier):
    maps = extract_activations(classifier, X, "body.3")["body.3"]
    cloud = sample_points(classifier, X, "body.3", per_image=3)["body.3"]
    for i in range(11):
        norms = {
            (r, c): float((maps[i, :, r, c].double() ** 2).sum()) ** 0.5 for r in range(4) for c in range(4)
        }
        best = sorted(norms.values(), reverse=True)[:3]
        found = [norms[tuple(p)] for p in cloud.positions[cloud.images == i].tolist()]
        assert found == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_same_seed_same_points_whatever_the_batches_and_the_other_layers(classifier, how):
    settings = {"how": how, "per_image": 2, "limit": 9, "seed": 5, **masks_for(how)}
    first = sample_points(classifier, X, ["body.1", "body.5"], batch_size=11, **settings)
    for layers, batch_size in ((["body.1", "body.5"], 3), (["body.5", "body.1"], 1), (["body.1"], 4)):
        again = sample_points(classifier, X, layers, batch_size=batch_size, **settings)
        for name in layers:
            assert len(first[name]) == 9
            assert torch.equal(first[name].images, again[name].images)
            assert torch.equal(first[name].positions, again[name].positions)
            torch.testing.assert_close(first[name].points, again[name].points, atol=1e-5, rtol=1e-5)


def test_draws_are_uniform_and_belong_to_the_image(classifier):
    x = X[:1].expand(2000, -1, -1, -1)
    cloud = sample_points(classifier, x, "body.3", "random")["body.3"]
    counts = np.bincount((cloud.positions[:, 0] * 4 + cloud.positions[:, 1]).numpy(), minlength=16)
    assert ((counts - 125) ** 2 / 125).sum() < 44  # chi-square, 15 degrees of freedom, p = 1e-4
    part = sample_points(classifier, x[:700], "body.3", "random")["body.3"]
    assert torch.equal(part.positions, cloud.positions[:700])
    other = sample_points(classifier, x, "body.3", "random", seed=1)["body.3"]
    assert not torch.equal(other.positions, cloud.positions)


def test_a_limit_takes_every_position_equally_often(classifier):
    x = X[:10]
    counts = torch.zeros(10, 4, 4)
    for seed in range(200):
        cloud = sample_points(classifier, x, "body.3", "all", limit=40, seed=seed)["body.3"]
        counts[cloud.images, cloud.positions[:, 0], cloud.positions[:, 1]] += 1
    assert len(cloud) == 40 and bool((cloud.images.diff() >= 0).all())
    expected = 200 * 40 / 160
    assert abs(float(((counts - expected) ** 2 / (expected * 0.75)).sum()) - 160) < 80


@pytest.mark.parametrize("how", ["foreground", "background"])
def test_foreground_and_background_by_a_loop(classifier, how):
    cloud = sample_points(classifier, X, "body.3", how, per_image=3, masks=MASKS)["body.3"]
    boxes = receptive_fields(classifier, "body.3")["body.3"].boxes
    for i in range(11):
        shares = {}
        for r in range(4):
            for c in range(4):
                top, bottom, left, right = boxes[r, c].tolist()
                own = MASKS[i, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].float().mean()
                field = MASKS[i, top:bottom, left:right].sum() / 25  # of 5 x 5, also at the border
                shares[r, c] = (round(float(field), 5), float(own))
        best = sorted(shares.values(), reverse=how == "foreground")[:3]
        assert [shares[tuple(p)] for p in cloud.positions[cloud.images == i].tolist()] == best


def test_deep_layers_of_the_bundled_classifier_look_at_the_garment_and_away_from_it():
    """Their fields are most of the image; at the corners they miss its far side, where there is nothing."""
    classifier, x = load_classifier("fashion"), load_fashion("sample").images[::50]
    garment = x[:, 0] > 0
    for name, side in (("body.9", 4), ("body.15", 8)):
        shares = {}
        for how in ("foreground", "background"):
            cloud = sample_points(classifier, x, name, how, masks=garment)[name]
            places = zip(cloud.images.tolist(), cloud.positions.tolist(), strict=True)
            own = [
                garment[i, r * side : (r + 1) * side, c * side : (c + 1) * side].float().mean()
                for i, (r, c) in places
            ]
            shares[how] = float(torch.stack(own).mean())
        assert shares["foreground"] > 0.8 and shares["background"] < 0.25, (name, shares)


def test_a_layer_that_sees_everything_is_chosen_by_its_own_place(classifier):
    """The last layer sees the whole image from everywhere; the position in the object is taken."""
    masks = torch.zeros(11, 8, 8, dtype=torch.bool)
    masks[:, :4, 4:] = True
    field = receptive_fields(classifier, "body.7")["body.7"]
    assert field.how == "exact" and field.boxes.unique(dim=0).unique(dim=1).tolist() == [[[0, 8, 0, 8]]]
    whole = masks.clone()
    whole[:] = True
    cloud = sample_points(classifier, X, "body.7", "foreground", masks=masks)["body.7"]
    assert cloud.positions.tolist() == [[0, 1]] * 11
    drawn = sample_points(classifier, X, "body.7", "foreground", masks=whole)["body.7"]
    assert len({tuple(p) for p in drawn.positions.tolist()}) > 1  # all equal: by the draw


def test_masks_go_through_the_preprocessing():
    """Images of 20 x 20, resized to 10 x 10 and cut to 8 x 8: a mask of the left half stays one."""
    torch.manual_seed(0)
    network = PlainNet(channels=3, num_classes=4, stem=4, stages=((6, 1),))
    resize = ResizeCrop((8, 8), 10, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    classifier = Classifier(network.eval(), preprocess=resize, channels=3, name="resizing")
    x, masks = torch.rand(5, 3, 20, 20), torch.zeros(5, 20, 20, dtype=torch.bool)
    masks[:, :, :10] = True
    for images in (x, open_images(x)):
        left = sample_points(classifier, images, "body.1", "foreground", per_image=8, masks=masks)["body.1"]
        right = sample_points(classifier, images, "body.1", "background", per_image=8, masks=masks)["body.1"]
        assert int(left.positions[:, 1].max()) <= 2 and int(right.positions[:, 1].min()) >= 5
    with pytest.raises(LisError, match="the mask of image 0 has 8 x 8 pixels, the image 20 x 20"):
        sample_points(classifier, open_images(x), "body.1", "foreground", masks=MASKS[:5])


def test_subsets_of_a_cloud(classifier):
    cloud = sample_points(classifier, X, "body.3", "random", per_image=2)["body.3"]
    for indices in (torch.tensor([5, 0, 5]), np.array([5, 0, 5])):
        part = cloud.subset(indices)
        assert torch.equal(part.points, cloud.points[[5, 0, 5]]) and part.images.tolist() == [2, 0, 2]
        assert torch.equal(part.positions, cloud.positions[[5, 0, 5]]) and part.layer == cloud.layer
    assert torch.equal(cloud.subset(cloud.images == 3).points, cloud.points[6:8])
    assert len(cloud.subset([])) == 0


def test_bad_arguments(classifier, monkeypatch):
    cases = {
        "no sampling 'strong'.*Did you mean 'strongest'": {"how": "strong"},
        "per_image": {"per_image": 0},
        "limit": {"limit": 0},
        "seed": {"seed": -1},
        "masks are for": {"masks": MASKS},
        r"masks have shape \[11, 8, 7\]; \[11, 8, 8\]": {"how": "foreground", "masks": MASKS[..., :7]},
        r"masks can't be read: .*numpy.str_": {"how": "foreground", "masks": "mask.png"},
        r"masks can't be read: .*inhomogeneous": {"how": "foreground", "masks": [[1], [1, 2]]},
        "truth values": {"how": "background", "masks": torch.full((11, 8, 8), 0.5)},
    }
    for message, settings in cases.items():
        with pytest.raises(LisError, match=message):
            sample_points(classifier, X, "body.3", **settings)
    monkeypatch.setattr(extract_module, "free_memory", lambda: 1000)
    with pytest.raises(LisError, match="GiB.*give limit="):
        sample_points(classifier, X, "body.3", "all")


def test_grabcut_on_photographs():
    photographs = load_fashion("sample").images[::25]  # [40, 1, 32, 32]
    masks = foreground_masks(photographs)
    garment = photographs[:, 0] > 0
    overlap = (masks & garment).sum((1, 2)) / (masks | garment).sum((1, 2))
    assert float(overlap.mean()) > 0.75  # the rectangle that it starts from has 0.5
    assert torch.equal(foreground_masks(photographs[7:9]), masks[7:9])  # alone or among others
    colour = foreground_masks(photographs[:2].expand(-1, 3, -1, -1))
    assert torch.equal(colour, masks[:2])


def test_where_grabcut_has_nothing_to_cut():
    rectangle = torch.zeros(32, 32, dtype=torch.bool)
    rectangle[2:30, 2:30] = True
    for x in (torch.zeros(1, 1, 32, 32), torch.full((1, 3, 32, 32), 0.7)):
        assert torch.equal(foreground_masks(x)[0], rectangle)
    for x in (torch.rand(1, 1, 3, 3), torch.rand(1, 3, 5, 64), torch.eye(32)[None, None]):
        mask = foreground_masks(x)
        assert mask.shape == (1, *x.shape[2:]) and 0 < float(mask.float().mean()) < 1
    for bad, message in (
        ({"x": torch.rand(1, 1, 2, 9)}, "at least 3"),
        ({"margin": 0.5}, "margin"),
        ({"iterations": 0}, "iterations"),
    ):
        with pytest.raises(LisError, match=message):
            foreground_masks(**{"x": torch.rand(1, 1, 8, 8), **bad})


@pytest.mark.parametrize("share, kept", [(0.0, None), (0.25, None), (0.5, True), (1.0, None)])
def test_a_cut_that_is_empty_or_full_is_not_believed(monkeypatch, share, kept):
    """GrabCut works on enlarged pictures: a pixel belongs to what is cut out where half of its area does."""
    import cv2

    def grab_cut(colour, kinds, *others):
        kinds[:] = cv2.GC_BGD
        each = len(kinds) // 32  # pixels of the enlarged picture for one
        wide = 32 if share in (0.0, 1.0) else 10  # everywhere, or in the first ten columns
        for row in range(round(share * each)):
            kinds[row::each, : wide * each] = cv2.GC_PR_FGD

    monkeypatch.setattr(cv2, "grabCut", grab_cut)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[2:30, 2:30] = True
    if kept:
        expected = torch.zeros(32, 32, dtype=torch.bool)
        expected[:, :10] = True
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(foreground_masks(x)[0], expected)
