"""The explorer of mapper graphs without a browser: controls and nodes lead to the library's graphs and images."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from lis_toolkit import LisError, Photographs
from lis_toolkit.activations import sample_points
from lis_toolkit.topology import MapperGraph, mapper_graph
from lis_toolkit.topology.mapper_plots import class_colours
from lis_widgets import MapperExplorer
from tiny import CLASSES, tiny_classifier, tiny_generator


@pytest.fixture(scope="module")
def world():
    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    labels = torch.arange(120) % 3
    with torch.no_grad():
        images = generator.render(generator.map(generator.sample_z(120, 5), labels))
    photographs = Photographs(images, labels, CLASSES)
    hows = {how: sample_points(classifier, photographs, how=how) for how in ("strongest", "random")}
    return photographs, hows


@pytest.fixture
def explorer(world):
    photographs, hows = world
    explorer = MapperExplorer(hows, photographs, intervals=12, min_samples=3)
    yield explorer
    explorer.close()


def check(world, explorer):
    """Graph, list, facts, mix and images are those of the controls."""
    photographs, hows = world
    setting, state = explorer.setting, explorer.state
    expected = mapper_graph(hows[setting.how][setting.layer], photographs.labels, CLASSES, intervals=setting.intervals,
                            overlap=setting.overlap, min_samples=setting.min_samples,
                            eps="knee" if setting.eps is None else setting.eps)  # fmt: skip
    assert [m.tolist() for m in state.graph.members] == [m.tolist() for m in expected.members]
    assert state.setting == setting and len(explorer.nodes.options) == len(expected)
    node = explorer.node
    assert explorer.nodes.value == node
    (figure,) = explorer.graph.figures
    assert figure["description"].endswith(expected.title_of(node))
    (mix,) = explorer.mix.figures
    assert max(mix["data"][0]["x"]) == pytest.approx(expected.counts[node].max() / expected.sizes[node])
    sheet = explorer.session.sheet(state, node, 21)
    np.testing.assert_array_equal(explorer.picture.panels, sheet.panels)
    assert f"node {node}: " in explorer.sheet_title.value and explorer.message.text == ""
    return state


def test_it_opens_with_the_largest_node_of_the_last_convolution(world, explorer):
    state = check(world, explorer)
    assert explorer.node == int(state.graph.sizes.argmax())
    names = [name for _, name in explorer.layer.options]
    assert names[-1] == "penultimate" and explorer.layer.value == names[-2]
    assert explorer.eps.disabled and explorer.eps.value == pytest.approx(
        state.graph.settings["eps"], rel=1e-3
    )
    assert "purity" in explorer.facts.value
    colours = class_colours(state.graph)
    for k, name in enumerate(CLASSES):
        assert f'background:{colours[k]}"></i>{k} {name}<' in explorer.legend.value


def test_every_control_makes_its_graph(world, explorer):
    seen = [check(world, explorer)]
    explorer.layer.value = explorer.layer.options[0][1]
    seen.append(check(world, explorer))
    explorer.how.value = "random"
    seen.append(check(world, explorer))
    explorer.intervals.value = 5
    seen.append(check(world, explorer))
    explorer.overlap.value = 0.5
    seen.append(check(world, explorer))
    explorer.min_samples.value = 5
    seen.append(check(world, explorer))
    explorer.knee.value = False
    assert not explorer.eps.disabled
    explorer.eps.value = round(2 * explorer.eps.value, 3)
    seen.append(check(world, explorer))
    assert seen[-1].setting.eps == explorer.eps.value
    assert len({str([m.tolist() for m in state.graph.members]) for state in seen}) == len(seen)
    explorer.knee.value = True
    assert check(world, explorer).graph.settings["eps_from"] == "knee"


def test_a_node_is_chosen_in_the_graph_the_list_or_by_code(world, explorer):
    order = [node for _, node in explorer.nodes.options]
    explorer.graph._receive(explorer.graph, {"kind": "pick", "figure": 0, "label": str(order[1])}, [])
    assert explorer.node == order[1]
    check(world, explorer)
    explorer.nodes.value = order[2]
    assert explorer.node == order[2]
    check(world, explorer)
    explorer.choose(order[0])
    check(world, explorer)
    with pytest.raises(LisError, match="no node 99"):
        explorer.choose(99)
    explorer.graph._receive(explorer.graph, {"kind": "pick", "figure": 0, "label": "Coat"}, [])
    assert "invalid literal" in explorer.message.text and explorer.node == order[0]


def test_no_nodes_and_errors_are_said_and_the_next_move_works(world, explorer, monkeypatch):
    explorer.knee.value = False
    explorer.eps.value = 1e-5
    assert explorer.node is None and "No interval has a cluster" in explorer.graph.figures[0]["text"]
    assert explorer.picture.stale and explorer.mix.figures == [] and explorer.nodes.options == ()
    explorer.knee.value = True
    check(world, explorer)
    with monkeypatch.context() as patch:
        patch.setattr("lis_toolkit.topology.mapper_session.mapper_graph", lambda *_, **__: 1 / 0)
        explorer.intervals.value = 9
        assert explorer.message.kind == "error" and "ZeroDivisionError" in explorer.message.text
        with pytest.raises(LisError, match="no graph of the present setting"):
            explorer.state  # noqa: B018
    explorer.intervals.value = 10
    check(world, explorer)


def test_it_saves_what_can_be_read_again(world, explorer, tmp_path, monkeypatch):
    import networkx

    monkeypatch.chdir(tmp_path)
    paths = [explorer.save_graphml(), explorer.save_json(), explorer.save_png(), explorer.save_png()]
    assert [path.suffix for path in paths] == [".graphml", ".json", ".png", ".png"] and paths[2] != paths[3]
    assert len(networkx.read_graphml(paths[0])) == len(explorer.state.graph) > 0
    assert paths[2].read_bytes()[:4] == b"\x89PNG"
    explorer.state.graph.save("graph.safetensors")
    assert len(MapperGraph.load("graph.safetensors")) == len(explorer.state.graph)
    with pytest.raises(LisError, match="can't write"):
        explorer.save_json(paths[2] / "x.json")


def test_code_is_shown_on_request_and_follows(world, explorer):
    assert explorer.code_box.layout.display == "none"
    explorer.heading.value = True
    assert explorer.code_box.text == explorer.code() and "intervals=12" in explorer.code()
    explorer.intervals.value = 6
    explorer.state  # noqa: B018
    assert "intervals=6" in explorer.code_box.text


def test_what_a_newer_setting_overtakes_is_not_shown(world):
    photographs, hows = world
    gate, begun = threading.Event(), threading.Event()

    async def scenario():
        explorer = MapperExplorer(hows, photographs, intervals=8)
        state_of, shown = explorer.session.state, []

        def held(setting):
            if setting.intervals == 5:
                begun.set()
                gate.wait(60)
            return state_of(setting)

        explorer.session.state = held
        explorer.graph.observe(lambda change: shown.append(explorer._state.setting.intervals), "figures")
        explorer.intervals.value = 5
        await asyncio.to_thread(begun.wait, 60)
        explorer.intervals.value = 6
        explorer.intervals.value = 7
        gate.set()
        while (
            explorer._live.counts["shown"] + explorer._live.counts["dropped"]
            < explorer._live.counts["requested"]
        ):
            await asyncio.sleep(0.01)
        check(world, explorer)
        assert explorer.state.setting.intervals == 7 and 6 not in shown
        explorer.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_it_refuses_at_once_what_can_never_work(world):
    photographs, hows = world
    for settings, told in (
        ({"layer": "body.99"}, "no layer 'body.99'"),
        ({"how": "strong"}, "no sampling 'strong'"),
    ):
        with pytest.raises(LisError, match=told):
            MapperExplorer(hows, photographs, **settings)
    explorer = MapperExplorer({"dead": torch.zeros(120, 3)}, photographs)
    assert "dead, or constant" in explorer.message.text
    explorer.close()


def test_without_labels_and_as_a_page_without_a_kernel(world):
    photographs, hows = world
    explorer = MapperExplorer(hows["random"], photographs.images, intervals=8)
    assert explorer.mix.figures == [] and "purity" not in explorer.facts.value and explorer.legend.value == ""
    text = explorer.static_view()
    assert text.count("<img") == len(explorer.picture.panels) and "mapper graph: nodes" in text
    explorer.close()
