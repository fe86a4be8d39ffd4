"""Legends: names, colours that can be told apart, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_toolkit.errors import LisError
from lis_toolkit.parts.legend import Legend, distinct_colours, seen_colours

NAMES = ("background", "sleeve", "torso")


def test_a_legend_knows_its_parts_labels_and_colours():
    legend = Legend(NAMES, ("#000000", "#0072b2", "#E69F00"))
    assert (
        legend.parts == ("sleeve", "torso") and legend.label("torso") == 2 and legend.label("background") == 0
    )
    assert legend.colours[1] == "#0072B2"
    assert legend.rgb.tolist() == [[0, 0, 0], [0, 0x72, 0xB2], [0xE6, 0x9F, 0]]
    assert Legend(list(NAMES)) == Legend(NAMES) and hash(Legend(NAMES))
    with pytest.raises(LisError, match="no part 'slieve'.*Did you mean 'sleeve'"):
        legend.label("slieve")


def test_json_and_back():
    legend = Legend(NAMES)
    assert Legend.from_json(legend.to_json()) == legend
    assert legend.to_json()[0] == {"name": "background", "colour": "#000000"}


@pytest.mark.parametrize(
    ("names", "colours", "message"),
    [
        ("background", (), "a sequence of names"),
        ((), (), "'background' first"),
        (("background",), (), "at least one part"),
        (("torso", "background"), (), "'background' first"),
        (("background", "a", "a"), (), "name 'a' twice"),
        (("background", ""), (), "the name ''"),
        (("background", "a\nb"), (), "printable"),
        (("background", 3), (), "the name 3"),
        (("background", *map(str, range(256))), (), "at most 255"),
        (NAMES, ("#000000", "#FFFFFF"), "3 names and 2 colours"),
        (NAMES, ("#000000", "#FFFFFF", "#ffffff"), "colour '#FFFFFF' twice"),
        (NAMES, ("#000000", "#FFF", "#111111"), "the colour '#FFF'"),
        (NAMES, ("#000000", "red", "#111111"), "the colour 'red'"),
        (NAMES, ("#000000", 5, "#111111"), "the colour 5"),
    ],
)
def test_what_a_legend_refuses(names, colours, message):
    with pytest.raises(LisError, match=message):
        Legend(names, colours)


@pytest.mark.parametrize(
    "value",
    [None, {}, [1], [{"name": "background"}], [{"name": "background", "colour": "#000000"}], "x", [[]]],
)
def test_json_that_is_no_legend_is_refused_and_the_file_is_named(value):
    with pytest.raises(LisError, match="my file"):
        Legend.from_json(value, "my file")


@given(st.integers(1, 60))
def test_colours_are_distinct_and_a_shorter_list_is_the_start_of_a_longer(n):
    colours = distinct_colours(n)
    assert len(set(colours)) == n == len(colours) and "#000000" not in colours
    assert colours == distinct_colours(60)[:n]


def test_colours_stay_apart_for_colour_blind_eyes():
    seen = seen_colours(("#000000", *distinct_colours(13)))  # [3, 14, 3]
    for eye, least in zip(seen, (20, 12, 12), strict=True):
        nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(eye, 2))
        assert nearest > least
    # Far apart for most, nearly one for deuteranopes: a red and a green that differ in hue alone.
    red, green = seen_colours(("#B55A30", "#7A7A20"))[[0, 2]].swapaxes(0, 1)
    apart = np.linalg.norm(red - green, axis=1)
    assert apart[0] > 35 and apart[1] < 15


def test_cielab_is_what_scikit_image_says():
    from skimage.color import rgb2lab

    colours = distinct_colours(40)
    rgb = Legend(("background", *map(str, range(40))), ("#000000", *colours)).rgb[1:]
    assert np.allclose(seen_colours(colours)[0], rgb2lab(rgb[None] / 255)[0], atol=0.2)


def test_the_colours_beyond_the_first_are_the_farthest_candidates():
    with pytest.raises(LisError, match="0 to 255"):
        distinct_colours(256)
    assert len(set(distinct_colours(255))) == 255 and distinct_colours(0) == ()
