"""What the MapperExplorer shows, without a browser: clouds by sampling, graphs that are kept, images of a node."""

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, Photographs
from lis_toolkit.activations import receptive_fields, sample_points
from lis_toolkit.topology import mapper_graph, purity
from lis_toolkit.topology.mapper_session import MapperSession, MapperSetting
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    labels = torch.arange(150) % 3
    with torch.no_grad():
        images = generator.render(generator.map(generator.sample_z(150, 5), labels))
    photographs = Photographs(images, labels, CLASSES)
    return classifier, photographs, sample_points(classifier, photographs)


def first(session, **changes):
    how = session.samplings[0]
    return MapperSetting(session.layers(how)[0][1], how, **{"intervals": 12, "min_samples": 3, **changes})


def test_a_state_is_the_librarys_graph_and_purity(world):
    _, photographs, clouds = world
    session = MapperSession(clouds, photographs)
    assert session.samplings == ("strongest",) and [name for _, name in session.layers("strongest")] == list(
        clouds
    )
    setting = first(session)
    state = session.state(setting)
    graph = mapper_graph(clouds[setting.layer], photographs.labels, CLASSES, intervals=12, min_samples=3)
    assert [m.tolist() for m in state.graph.members] == [m.tolist() for m in graph.members]
    assert state.purity.value == pytest.approx(purity(graph).value) and session.state(setting) is state
    assert state.graph.settings["eps"] == graph.settings["eps"]
    facts = dict(state.facts())
    assert (
        facts["nodes"].startswith(f"{len(graph)} in ")
        and "knee" in facts["eps"]
        and "shuffled" in facts["purity"]
    )
    fixed = session.state(first(session, eps=graph.settings["eps"]))
    assert [m.tolist() for m in fixed.graph.members] == [m.tolist() for m in graph.members]
    assert "knee" not in dict(fixed.facts())["eps"]


def test_nodes_come_by_size_and_the_figure_tells_of_one(world):
    _, photographs, clouds = world
    session = MapperSession(clouds, photographs)
    state = session.state(first(session))
    sizes = [state.graph.sizes[node] for _, node in state.nodes()]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == len(state.graph) > 2
    text, node = state.nodes()[0]
    assert text.startswith(f"node {node}: {sizes[0]} points, ") and "%" in text
    names, shares = state.mix(node)
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert names[0] == CLASSES[state.graph.counts[node].argmax()]
    figure = state.figure(node)
    assert f"node {node}: " in figure["description"] and figure["layout"]["uirevision"]
    assert figure["layout"]["uirevision"] == state.figure(0)["layout"]["uirevision"]


def test_a_sheet_has_the_members_images_the_most_typical_first(world):
    _, photographs, clouds = world
    session = MapperSession(clouds, photographs)
    state = session.state(first(session))
    node = state.nodes()[0][1]
    sheet = session.sheet(state, node, 5)
    rows = state.graph.members[node]
    points = clouds[state.setting.layer].points.numpy()[rows].astype(float)
    away = [np.sqrt(((p - points.mean(0)) ** 2).sum()) for p in points]
    images = state.graph.images[rows[np.argsort(away, kind="stable")]][:5]
    assert sheet.total == len(rows) and len(sheet.panels) == min(5, len(rows))
    for panel, image, caption in zip(sheet.panels, images, sheet.captions, strict=True):
        pixels = (photographs.images[image, 0] * 255).round().clamp(0, 255).numpy()
        np.testing.assert_allclose(
            panel[::6, ::6, 1].astype(float), pixels, atol=1
        )  # 16 pixels, six times as large
        assert caption == f"{CLASSES[photographs.labels[image]]} {image}"
    with pytest.raises(LisError, match="node is 999"):
        session.sheet(state, 999)


def test_several_points_of_an_image_are_one_image(world):
    classifier, photographs, _ = world
    clouds = sample_points(classifier, photographs, how="random", per_image=4)
    session = MapperSession(clouds, photographs)
    state = session.state(first(session))
    for node in range(len(state.graph)):
        sheet = session.sheet(state, node)
        assert sheet.total == len(set(state.graph.images[state.graph.members[node]].tolist()))
        assert len(set(sheet.captions)) == len(sheet.captions)


def test_what_a_position_sees_is_framed(world):
    classifier, photographs, clouds = world
    session = MapperSession(clouds, photographs, classifier=classifier)
    state = session.state(first(session))
    node = state.nodes()[0][1]
    framed = session.sheet(state, node, 1).panels[0]
    plain = MapperSession(clouds, photographs).sheet(state, node, 1).panels[0]
    changed = np.argwhere((framed != plain).any(-1))
    cloud = clouds[state.setting.layer]
    image = int(MapperSession(clouds, photographs).sheet(state, node, 1).captions[0].split()[-1])
    row, column = cloud.positions[int((cloud.images == image).nonzero()[0])].tolist()
    top, bottom, left, right = (
        receptive_fields(classifier, [cloud.layer])[cloud.layer.name].boxes[row, column].tolist()
    )
    assert changed.min(0).tolist() == [6 * top, 6 * left] and changed.max(0).tolist() == [
        6 * bottom - 1,
        6 * right - 1,
    ]
    whole = session.state(MapperSetting("penultimate", intervals=4))
    assert session.sheet(whole, 0).total, "one point an image: nothing to frame"


def test_a_classifier_samples_what_is_asked_for(world):
    classifier, photographs, clouds = world
    session = MapperSession(None, photographs, classifier=classifier, layers=list(clouds)[:2], limit=100)
    assert session.samplings[:3] == ("strongest", "random", "all") and len(session.layers("random")) == 2
    name = session.layers("random")[0][1]
    torch.testing.assert_close(
        session.cloud("random", name).points,
        sample_points(classifier, photographs, [name], "random", limit=100)[name].points,
    )
    assert len(session.state(MapperSetting(name, "all", intervals=8)).graph.used) == 100
    with pytest.raises(LisError, match="no sampling 'randon'.*Did you mean 'random'"):
        session.cloud("randon", name)
    with pytest.raises(LisError, match="there is no layer 'body.99'"):
        session.cloud("random", "body.99")


def test_clouds_may_be_named_in_many_ways(world):
    classifier, photographs, clouds = world
    name = next(iter(clouds))
    for given, how in (
        (clouds[name], "strongest"), ({"mine": clouds[name]}, "strongest"), ({"a": {"mine": clouds[name]}}, "a"),
        (clouds[name].points, "given"), ({"mine": clouds[name].points.numpy()}, "given"),
    ):  # fmt: skip
        session = MapperSession(given, photographs)
        assert session.samplings == (how,)
        setting = first(session)
        assert len(session.state(setting).graph) > 1
        code = session.code(setting)
        assert repr(setting.layer) in code and (f"[{how!r}]" in code) == (how == "a")
        compile(code, "cell", "exec")


def test_the_code_makes_the_same_graph(world):
    classifier, photographs, clouds = world
    for session, known in (
        (MapperSession(clouds, photographs, limit=100), {"clouds": clouds}),
        (MapperSession(None, photographs, classifier=classifier, limit=100), {"classifier": classifier}),
    ):
        setting = first(session, eps=1.5, overlap=0.25)
        space = {"photographs": photographs, **known}
        exec(session.code(setting), space)
        members = [m.tolist() for m in session.state(setting).graph.members]
        assert [m.tolist() for m in space["graph"].members] == members


def test_bad_input_is_said(world):
    classifier, photographs, clouds = world
    for clouds_given, images, told in (
        (None, photographs, "no clouds, and no classifier"),
        ({}, photographs, "empty dict"),
        (clouds, None, "images are NoneType"),
        (clouds, torch.zeros(3, 4, 5), r"images are \[3, 4, 5\]"),
        (clouds, photographs.subset(torch.arange(20)), "has a point of image 149, and there are 20 images"),
        ({"x": torch.full((150, 2), torch.nan)}, photographs, "not finite"),
    ):
        with pytest.raises(LisError, match=told):
            MapperSession(clouds_given, images)
    session = MapperSession({"dead": torch.zeros(150, 4)}, photographs.images)
    with pytest.raises(LisError, match="dead, or constant"):
        session.state(MapperSetting("dead", "given"))
    without = MapperSession(clouds, photographs.images)
    state = without.state(first(without))
    assert (
        state.purity is None and "purity" not in dict(state.facts()) and len(without.sheet(state, 0).panels)
    )
    assert state.nodes()[0][0].endswith("points")
