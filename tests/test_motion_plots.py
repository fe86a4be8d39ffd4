"""Figures of motion: what their colours and arrows say is read back from them."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver

from lis_toolkit.errors import LisError
from lis_toolkit.parts.motion import Motion
from lis_toolkit.parts.motion_plots import direction_colours, flow_colours, motion_figure

SIZE = 32


def motion_of(flow, known=None, foreground=None):
    """A Motion with this residual [N, H, W, 2], and twice that as its flow."""
    n = len(flow)
    everywhere = torch.ones(n, SIZE, SIZE, dtype=torch.bool)
    known = everywhere if known is None else known
    affine = torch.eye(2, 3, dtype=torch.float64).expand(n, -1, -1)
    return Motion(2 * flow, affine, flow, torch.zeros(n, SIZE, SIZE), known, known,
                  everywhere if foreground is None else foreground, torch.ones(n, dtype=torch.bool))  # fmt: skip


def constant(dx, dy, n=1):
    return torch.tensor([dx, dy]).expand(n, SIZE, SIZE, 2).contiguous()


def arrows_of(figure):
    return [[a for a in axes.get_children() if isinstance(a, Quiver)] for axes in figure.axes]


def seen_as(rgb, kind):
    """Lightness and one hue axis of colours as eyes without red (or green) cones get them: roughly yellow and blue."""
    from lis_toolkit.parts.legend import seen_colours

    text = "#{:02X}{:02X}{:02X}".format(*(int(round(255 * float(v))) for v in rgb))
    return seen_colours([text])[kind, 0]


def test_opposite_directions_look_different_to_all_eyes():
    angles = torch.linspace(0, 2 * math.pi, 17)[:-1]
    colours = direction_colours(angles)
    assert colours.shape == (16, 3) and colours.min() >= 0 and colours.max() <= 1
    assert torch.allclose(direction_colours(angles + 2 * math.pi), colours, atol=1e-4)
    for kind in range(3):
        seen = np.stack([seen_as(c, kind) for c in colours])
        opposite = np.linalg.norm(seen[:8] - seen[8:], axis=1)
        assert opposite.min() > 20, kind
    # neighbours differ little: no seam
    steps = direction_colours(torch.linspace(-math.pi, math.pi, 400))
    assert (steps[1:] - steps[:-1]).abs().max() < 0.03


def test_colours_say_direction_length_and_doubt():
    flow = torch.zeros(1, 2, 3, 2)
    flow[0, 0, 1] = torch.tensor([2.0, 0.0])
    flow[0, 0, 2] = torch.tensor([50.0, 0.0])
    flow[0, 1, 0] = torch.tensor([0.0, 1.0])
    flow[0, 1, 1] = torch.tensor([-2.0, 0.0])
    known = torch.ones(1, 2, 3, dtype=torch.bool)
    known[0, 1, 2] = False
    x = flow_colours(flow, 2.0, known)[0]
    right, down, left = direction_colours(torch.tensor([0.0, math.pi / 2, math.pi]))
    assert torch.allclose(x[:, 0, 0], torch.ones(3))
    assert torch.allclose(x[:, 0, 1], right) and torch.allclose(x[:, 0, 2], right)
    assert torch.allclose(x[:, 1, 0], (1 + down) / 2)  # half as long: half way to white
    assert torch.allclose(x[:, 1, 1], left)
    assert x[:, 1, 2].unique().numel() == 1 and x[0, 1, 2] < 1
    with pytest.raises(LisError, match="above 0"):
        flow_colours(flow, 0.0)
    with pytest.raises(LisError, match="flow has shape"):
        flow_colours(flow[0], 1.0)


def test_arrows_are_the_largest_motions_of_known_foreground():
    flow = constant(0.2, 0.0)
    flow[0, 8:16, 8:16] = torch.tensor([0.0, 3.0])
    flow[0, 20:28, 20:28] = torch.tensor([9.0, 9.0])  # not known
    flow[0, :6, 20:] = torch.tensor([7.0, 0.0])  # background
    known = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    known[0, 20:28, 20:28] = False
    foreground = torch.ones_like(known)
    foreground[0, :6, 20:] = False
    x = torch.rand(1, 1, SIZE, SIZE)
    figure = motion_figure(motion_of(flow, known, foreground), x, x, percentile=95)
    (drawn,) = [q for axes in arrows_of(figure) for q in axes]
    places = drawn.get_offsets().astype(int)
    assert len(places) == 16  # every second pixel of the 8 x 8
    assert ((places >= 8) & (places < 16)).all()
    assert np.allclose(drawn.U, 0) and np.allclose(drawn.V, 3)
    assert np.allclose(drawn.get_facecolor()[:, :3], direction_colours(torch.tensor(math.pi / 2)), atol=0.01)
    # on the screen they point down, as the rows of a picture do
    assert drawn.axes.yaxis_inverted() and drawn.angles == "xy"


def test_short_motions_are_drawn_longer_and_said_so():
    x = torch.rand(1, 1, SIZE, SIZE)
    figure = motion_figure(motion_of(constant(0.5, 0.0)), x, x, residual=False, percentile=0)
    (drawn,) = [q for axes in arrows_of(figure) for q in axes]
    assert np.allclose(drawn.U, 1.0) and drawn.scale == pytest.approx(1 / 3)  # a tenth of 32 pixels
    assert "motion, 3 x" in [axes.get_title() for axes in figure.axes]
    assert "to the rim:\n1.0 px" in [axes.get_title() for axes in figure.axes]


def test_a_figure_has_a_row_a_picture_and_crisp_pixels():
    flow = constant(1.0, 0.0, 3)
    x = torch.rand(3, 3, SIZE, SIZE)
    figure = motion_figure(motion_of(flow), x[:1], x, captions=["one", "$two", "three"], title="unit $5")
    assert len(figure.axes) == 3 * 4 + 1
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["one", "$two", "three"]
    after = [axes for axes in figure.axes[:-1] if axes.get_title() == "after"][0].images[0]
    assert after.get_interpolation() == "nearest"
    np.testing.assert_allclose(after.get_array(), x[0].permute(1, 2, 0), atol=1e-6)
    stream = io.BytesIO()
    figure.savefig(stream)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_nothing_known_or_nothing_moved_is_drawn_without_arrows():
    x = torch.rand(2, 1, SIZE, SIZE)
    nothing = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    for motion in (motion_of(constant(1.0, 0.0, 2), nothing), motion_of(constant(0.0, 0.0, 2))):
        figure = motion_figure(motion, x, x)
        assert not [q for axes in arrows_of(figure) for q in axes]
        figure.savefig(io.BytesIO())


def test_bad_input_is_refused():
    x = torch.rand(2, 1, SIZE, SIZE)
    motion = motion_of(constant(1.0, 0.0, 2))
    for call, message in [
        (lambda: motion_figure(motion, x, x[:1]), "pictures after have shape"),
        (lambda: motion_figure(motion, x[:, :, :8], x), "pictures before have shape"),
        (lambda: motion_figure(motion, x, x, captions=["one"]), "1 captions for 2"),
        (lambda: motion_figure(motion, x, x, percentile=-1), "0 to 100"),
    ]:
        with pytest.raises(LisError, match=message):
            call()
