"""Mapper graphs on disk: what is saved comes back, other programs' formats are read by networkx, damage is seen."""

import json

import networkx
import numpy as np
import pytest
import safetensors.torch

from lis_toolkit import CheckpointError, LisError
from lis_toolkit.topology import MapperGraph, mapper_figure, mapper_graph, mapper_sheet
from lis_toolkit.topology.mapper_plots import class_colours, graph_parts


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(4, 0.6, (90, 3)), rng.normal(7, 0.6, (90, 3)), [[12, 12, 12]]])
    labels = np.concatenate([rng.integers(0, 2, 90), np.full(90, 2), [1]])
    return mapper_graph(points, labels, ["a & b", "Ünïcode <c>", "c\x00d"], intervals=12, eps=0.9)


def same(one, other):
    assert len(one) == len(other) and one.classes == other.classes
    for a, b in zip(one.members, other.members, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("intervals", "edges", "shared", "lens", "bounds", "used", "images", "positions", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.settings == other.settings and one.provenance == other.provenance


def test_what_is_saved_comes_back(graph, tmp_path):
    assert len(graph) > 3 and len(graph.edges) > 1
    graph.save(tmp_path / "graph.safetensors")
    same(graph, MapperGraph.load(tmp_path / "graph.safetensors"))
    assert graph.provenance["kmapper"] and graph.settings["eps"] == 0.9
    for other in (
        mapper_graph(graph.lens[:, None], intervals=3),
        mapper_graph(graph.lens[:, None], eps=1e-9),
    ):
        other.save(tmp_path / "other.safetensors")
        again = MapperGraph.load(tmp_path / "other.safetensors")
        assert again.labels is None and len(again) == len(other) and again.noise == other.noise


def test_damage_is_seen(graph, tmp_path):
    path = tmp_path / "graph.safetensors"
    graph.save(path)
    whole = path.read_bytes()
    with safetensors.safe_open(path, "pt") as file:
        facts, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(whole[:-9])
    with pytest.raises(CheckpointError):
        MapperGraph.load(path)
    for name, change in (
        ("edges", -tensors["edges"]),
        ("members", tensors["members"].flip(0)),
        ("lens", None),
    ):
        altered = {k: v for k, v in {**tensors, name: change}.items() if v is not None}
        safetensors.torch.save_file(altered, path, facts)
        with pytest.raises(CheckpointError, match="damaged"):
            MapperGraph.load(path)
    safetensors.torch.save_file(tensors, path, {"lis": '{"format": "another"}'})
    with pytest.raises(CheckpointError, match="not a mapper graph"):
        MapperGraph.load(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        MapperGraph.load(tmp_path / "nowhere.safetensors")


def test_node_link_json_is_read_by_networkx(graph, tmp_path):
    graph.to_json(tmp_path / "graph.json")
    data = json.loads((tmp_path / "graph.json").read_text(encoding="utf-8"))
    made = networkx.node_link_graph(data, edges="edges")
    assert sorted(map(sorted, made.edges())) == sorted(graph.edges.tolist())
    for node, members in enumerate(graph.members):
        found = made.nodes[node]
        assert found["members"] == members.tolist() and found["size"] == len(members)
        assert found["counts"] == {graph.classes[k]: int(n) for k, n in enumerate(graph.counts[node]) if n}
        assert (
            found["lens_low"] <= graph.lens[members].min() and graph.lens[members].max() <= found["lens_high"]
        )
    a, b = graph.edges[0]
    assert made.edges[a, b]["shared"] == graph.shared[0] and made.graph["classes"] == list(graph.classes)


def test_graphml_is_read_by_networkx(graph, tmp_path):
    graph.to_graphml(tmp_path / "graph.graphml")
    made = networkx.read_graphml(tmp_path / "graph.graphml", node_type=int)
    assert sorted(map(sorted, made.edges())) == sorted(graph.edges.tolist())
    for node, members in enumerate(graph.members):
        found = made.nodes[node]
        assert json.loads(found["members"]) == members.tolist()
        assert found["majority"] == graph.classes[graph.counts[node].argmax()].replace("\x00", "")
        assert found["majority_share"] == pytest.approx(graph.counts[node].max() / len(members))
    assert {made.edges[tuple(edge)]["shared"] for edge in graph.edges.tolist()} == set(graph.shared.tolist())


def test_a_failed_write_leaves_nothing(graph, tmp_path):
    (tmp_path / "file").write_text("")
    for write in (graph.save, graph.to_json, graph.to_graphml):
        with pytest.raises(LisError, match="can't write"):
            write(tmp_path / "file" / "graph")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_plotly_figure_has_every_node_and_slices_by_their_share(graph):
    figure = mapper_figure(graph, selected=1)
    named = {trace.name: trace for trace in figure.data if trace.name}
    assert set(named) == {"0 a &amp; b", "1 Ünïcode &lt;c&gt;", "2 c\x00d"}
    colours = class_colours(graph)
    assert len(set(colours.values())) == 3
    areas = np.zeros(3)
    for k, trace in enumerate(named[name] for name in sorted(named)):
        assert trace.fillcolor == colours[k] and trace.fill == "toself"
        xy = np.array([[np.nan if v is None else v for v in axis] for axis in (trace.x, trace.y)]).T
        for part in np.split(xy, np.flatnonzero(np.isnan(xy[:, 0]))):
            x, y = part[~np.isnan(part[:, 0])].T
            areas[k] += abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    from lis_toolkit.topology.mapper_layout import node_radii

    shares = graph.counts / graph.sizes[:, None]
    np.testing.assert_allclose(areas, (np.pi * node_radii(graph)[:, None] ** 2 * shares).sum(0), rtol=0.05)
    middles = figure.data[-2]
    assert list(middles.customdata) == [str(i) for i in range(len(graph))]
    assert "points<br>lens" in middles.text[0].replace(", lens", "<br>lens") and "%" in middles.text[0]
    assert len(figure.data[-1].x) == 30, "a ring about the node that is selected"
    with pytest.raises(LisError, match="no node 99"):
        mapper_figure(graph, selected=99)


def test_many_classes_share_a_colour_and_none_need_one():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(5, 1, (400, 3)), rng.integers(0, 1000, 400)
    many = mapper_graph(points, labels, [f"c{i}" for i in range(1000)], intervals=5)
    assert len(class_colours(many)) == 12
    assert [t["name"] for t in graph_parts(many)["data"] if t.get("name")][-1] == "other classes"
    plain = mapper_graph(points, intervals=5)
    assert mapper_figure(plain).layout.showlegend is False and len(mapper_sheet(plain).axes) == 1
    assert len(mapper_sheet(many).legends[0].get_texts()) == 13
    empty = mapper_graph(points, eps=1e-9)
    for draw in (mapper_figure, mapper_sheet):
        with pytest.raises(LisError, match="no nodes"):
            draw(empty)
