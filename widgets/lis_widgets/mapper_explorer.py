"""Mapper graphs to look through: layer, sampling, cover and eps are chosen, a node shows its member images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from lis_toolkit.errors import LisError
from lis_toolkit.topology.mapper import LIMIT
from lis_toolkit.topology.mapper_session import MapperSession
from lis_toolkit.topology.mapper_state import MapperSetting, MapperState, NodeSheet

from .charts import Charts
from .code_box import CodeBox
from .explorer_parts import button, checkbox, close_tree, dropdown, flow, free_path
from .figures import AFTER, bars, sentence
from .live import Live
from .message import Message, tell
from .picture import Picture
from .snapshot import Snapshot, static_html

SHOWN = 21  # member images
HEIGHT = 460  # pixels of the graph
ROWS = 11  # nodes seen at once in the list


@dataclass(frozen=True)
class _Asked:
    setting: MapperSetting
    node: int | None  # None: the largest


class MapperExplorer(Snapshot, ipywidgets.VBox):
    """The mapper graph of a layer, drawn anew when a control is moved; a node that is chosen shows its images.

    Parameters
    ----------
    clouds : PointCloud or [M, C]; dict layer -> those; dict sampling -> dict layer -> those; or None
        None: the classifier samples them from the images when they are asked for.
    images : Photographs or Tensor [N, C, H, W], unit range
    labels, classes : of the images; those of Photographs if left out. Without, nodes have one colour and no purity.
    classifier : Classifier, optional
        Samples what is not given, and tells what a position sees of an image, which is framed.
    layers : names of layers to sample; all convolutions and the penultimate layer if left out.
    layer, how : what is shown first; default: the last layer that is not penultimate, the first sampling.
    intervals, overlap, eps, min_samples : to begin with, see `mapper_graph`; eps None for the knee.
    limit, seed : see `mapper_graph`.

    Attributes
    ----------
    session : MapperSession
    state : MapperState
        What the present setting shows; a LisError if that failed.
    node : int or None
        The node whose images are shown.

    Raises
    ------
    LisError
        What MapperSession refuses, a layer or sampling that there is not. Later errors are shown in the widget.

    Examples
    --------
    >>> from lis_widgets import MapperExplorer
    >>> MapperExplorer(sample_points(classifier, photographs), photographs, classifier=classifier)
    """

    def __init__(
        self,
        clouds: Any,
        images: Any,
        labels: Any = None,
        classes: Sequence[str] | None = None,
        *,
        classifier: Any = None,
        layers: Any = None,
        layer: str | None = None,
        how: str | None = None,
        intervals: int = 40,
        overlap: float = 0.3,
        eps: float | None = None,
        min_samples: int = 5,
        limit: int | None = LIMIT,
        seed: int = 0,
    ) -> None:
        self.session = MapperSession(
            clouds, images, labels, classes, classifier=classifier, layers=layers, limit=limit, seed=seed
        )
        how = self.session.samplings[0] if how is None else how
        names = [name for _, name in self.session.layers(how)]
        if layer is None:
            layer = next(
                (name for name in reversed(names) if name not in ("penultimate", "logits")), names[-1]
            )
        self.session.cloud(how, layer)  # refuses a layer that there is not
        self._state: MapperState | None = None
        self._error: BaseException | None = None
        self._node: int | None = None
        self._quiet = False
        self._build_controls(MapperSetting(layer, how, intervals, overlap, eps, min_samples))
        self.message = Message()
        self.graph, self.mix = Charts(), Charts()
        self.facts, self.legend = ipywidgets.HTML(), ipywidgets.HTML()
        self.picture = Picture(target=96)
        self.code_box = CodeBox()
        self._live = Live(self._compute, self._show, self._fail)
        self._put_together()
        self.graph.on_pick(self._guarded(lambda _, label: self.choose(int(label))))
        self._request()
        self._live.flush()

    def _build_controls(self, first: MapperSetting) -> None:
        self.layer = dropdown("layer", self._titles(first.how), "260px", "whose activations are the points")
        self.how = dropdown(
            "points", self.session.samplings, "190px", "which positions of an image are points"
        )
        self.intervals = _number(ipywidgets.BoundedIntText, "intervals", first.intervals, 2, 500, 1, "130px",
                                 "that the range of the norms is covered with")  # fmt: skip
        self.overlap = _number(ipywidgets.BoundedFloatText, "overlap", first.overlap, 0.05, 0.9, 0.05, "130px",
                               "share of an interval in common with the next")  # fmt: skip
        self.min_samples = _number(ipywidgets.BoundedIntText, "min samples", first.min_samples, 1, 1000, 1, "150px",
                                   "points within eps that make a point the core of a cluster")  # fmt: skip
        self.knee = checkbox("eps at the knee", "where the distances to the nearest neighbours bend")
        self.eps = _number(ipywidgets.BoundedFloatText, "eps", first.eps or 1.0, 1e-6, 1e9, None, "140px",
                           "distance up to which points are neighbours")  # fmt: skip
        self.layer.value, self.how.value = first.layer, first.how
        self.knee.value = first.eps is None
        self.eps.disabled = first.eps is None
        self.how.observe(self._guarded(self._how_changed), "value")
        self.knee.observe(self._guarded(self._knee_changed), "value")
        for control in (self.layer, self.intervals, self.overlap, self.min_samples, self.eps):
            control.observe(self._guarded(lambda _: self._changed()), "value")
        self.nodes = ipywidgets.Select(options=[], rows=ROWS, layout={"width": "100%"},
                                       tooltip="nodes, the largest first: arrow keys go through them")  # fmt: skip
        self.nodes.add_class("lis-nodes")
        self.nodes.observe(self._guarded(self._node_changed), "value")

    def _put_together(self) -> None:
        self.sheet_title = ipywidgets.HTML()
        self.graph.add_class("lis-mapper-graph")
        label = ipywidgets.HTML(
            '<div class="lis-hint">Nodes, the largest first: choose one here or in the graph.</div>'
        )
        left = ipywidgets.VBox([self.facts, label, self.nodes, self.mix])
        left.add_class("lis-ranking")
        right = ipywidgets.VBox([self.graph, self.legend, self.message])
        right.add_class("lis-right")
        body = ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"})
        body.add_class("lis-body")
        saves = {
            "Save GraphML": ("the graph for Gephi, Cytoscape or networkx", self.save_graphml),
            "Save JSON": ("the graph as node-link JSON for D3 or networkx", self.save_json),
            "Save PNG": ("the graph as a picture", self.save_png),
        }
        buttons = [button(text, tip, self._guarded(self._saved(save))) for text, (tip, save) in saves.items()]
        self.heading = ipywidgets.ToggleButton(description="Code", icon="caret-right", layout={"width": "100%"},
                                               tooltip="code that makes this graph without a widget")  # fmt: skip
        self.heading.add_class("lis-heading")
        self.code_box.layout.display = "none"
        self.heading.observe(lambda _: self._fold(), "value")
        controls = flow(
            self.layer, self.how, self.intervals, self.overlap, self.min_samples, self.knee, self.eps
        )
        super().__init__(
            [controls, body, self.sheet_title, self.picture, flow(*buttons), self.heading, self.code_box]
        )
        self.add_class("lis-explorer")
        self.add_class("lis-mapper")

    # What is shown -----------------------------------------------------------------------------------------------

    @property
    def setting(self) -> MapperSetting:
        """What all controls say."""
        eps = None if self.knee.value else float(self.eps.value)
        return MapperSetting(self.layer.value, self.how.value, int(self.intervals.value),
                             round(float(self.overlap.value), 6), eps, int(self.min_samples.value))  # fmt: skip

    @property
    def state(self) -> MapperState:
        """What the present setting shows; a LisError if that failed."""
        self._live.flush()
        if self._error is not None or self._state is None:
            told = "nothing was made yet" if self._error is None else tell(self._error)
            raise LisError(f"there is no graph of the present setting: {told}") from self._error
        return self._state

    @property
    def node(self) -> int | None:
        """The node whose images are shown."""
        self._live.flush()
        return self._node

    def choose(self, node: int) -> None:
        """Show the images of a node.

        Raises
        ------
        LisError
            A node that the graph does not have.

        Examples
        --------
        >>> explorer.choose(3)
        """
        state = self.state
        if not 0 <= node < len(state.graph):
            raise LisError(f"the graph has no node {node}: it has {len(state.graph)}, numbered from 0.")
        self._request(node)

    def code(self) -> str:
        """Return a cell of code that makes the present graph, without a widget."""
        return self.session.code(self.setting)

    def save_graphml(self, path: str | Path | None = None) -> Path:
        """Save the present graph as GraphML; default: a free name in the working folder."""
        return self._save(path, ".graphml", lambda to: self.state.graph.to_graphml(to))

    def save_json(self, path: str | Path | None = None) -> Path:
        """Save the present graph as node-link JSON; default: a free name in the working folder."""
        return self._save(path, ".json", lambda to: self.state.graph.to_json(to))

    def save_png(self, path: str | Path | None = None) -> Path:
        """Save the present graph as a picture; default: a free name in the working folder."""
        return self._save(path, ".png", lambda to: self.state.save_png(to))

    def static_view(self) -> str:
        """Return what is known of the graph and the images of the node as HTML, for pages without a kernel."""
        facts = "; ".join(f"{term}: {text}" for term, text in self.state.facts())
        panels = self.picture.panels
        return (
            "" if panels is None else static_html(panels, self.picture.captions, f"mapper graph: {facts}", 96)
        )

    def close(self) -> None:
        """End the widget and all its parts, and the thread that computes."""
        live = getattr(self, "_live", None)
        if live is not None:  # None: refused while it was made
            live.close()
            for child in self.children:
                close_tree(child)
            self.layout.close()
        super().close()

    def close_all(self) -> None:  # ipywidgets' own would close every widget of the kernel
        """End the widget and all its parts."""
        self.close()

    # From a control to the graph ---------------------------------------------------------------------------------

    def _request(self, node: int | None = None) -> None:
        setting = self.setting
        if self._state is not None and self._state.setting != setting:
            self.message.note("the graph is being made ...")
        self._live.request(_Asked(setting, node))

    def _compute(self, asked: _Asked) -> tuple[MapperState, int | None, NodeSheet | None]:
        state = self.session.state(asked.setting)
        if not len(state.graph):
            return state, None, None
        known = asked.node is not None and asked.node < len(
            state.graph
        )  # chosen in the graph before, it may be gone
        node = asked.node if known and asked.node is not None else int(state.graph.sizes.argmax())
        return state, node, self.session.sheet(state, node, SHOWN)

    def _show(self, asked: _Asked, result: tuple[MapperState, int | None, NodeSheet | None]) -> None:
        state, node, sheet = result
        fresh = state is not self._state
        self._state, self._node, self._error = state, node, None
        self._quiet = True
        try:
            if fresh:
                self.nodes.options = state.nodes()
                self.facts.value = _facts_html(state.facts())
                self.legend.value = _legend_html(state.legend())
                if self.knee.value:
                    self.eps.value = float(f"{state.graph.settings['eps']:.4g}")
            self.nodes.value = node
        finally:
            self._quiet = False
        self.message.clear()
        self._fold()
        if node is None or sheet is None:
            told = "No interval has a cluster: take a larger eps, fewer intervals, or fewer min samples."
            self.graph.show([sentence("", told)])
            self.mix.show([])
            self.sheet_title.value = ""
            self.picture.mark_stale()
            return
        self.graph.show([state.figure(node, HEIGHT)])
        self.mix.show([self._mix_figure(state, node)] if state.graph.labels is not None else [])
        more = f", {len(sheet.panels)} of {sheet.total:,} images, the most typical first" \
            if sheet.total > len(sheet.panels) else f", {sheet.total:,} images, the most typical first"  # fmt: skip
        self.sheet_title.value = (
            f'<div class="lis-hint">{escape(state.graph.title_of(node).split(";")[0])}{more}</div>'
        )
        self.picture.show(sheet.panels, sheet.captions, sheet.descriptions)

    def _fail(self, _: _Asked, error: BaseException) -> None:
        """Tell why there is no graph; the old one is no longer that of the controls."""
        self._error = error
        self.message.error(error)
        self.picture.mark_stale()

    @staticmethod
    def _mix_figure(state: MapperState, node: int) -> dict[str, Any]:
        names, shares = state.mix(node)
        title = f"classes in node {node}"
        return bars(
            {"share": (names, shares, AFTER)}, title, shares=True, height=44 + 24 * max(len(names), 2)
        )

    def _titles(self, how: str) -> list[tuple[str, str]]:
        return list(self.session.layers(how))

    def _how_changed(self, _: Any) -> None:
        """Offer the layers that the sampling has; the present one stays where it can."""
        present, options = self.layer.value, self._titles(self.how.value)
        names = [name for _, name in options]
        self._quiet = True
        try:
            self.layer.options = options
            self.layer.value = present if present in names else names[-1]
        finally:
            self._quiet = False
        self._changed()

    def _knee_changed(self, _: Any) -> None:
        self.eps.disabled = bool(self.knee.value)
        self._changed()

    def _changed(self) -> None:
        if not self._quiet:
            self._request()

    def _node_changed(self, change: dict[str, Any]) -> None:
        if not self._quiet and change["new"] is not None:
            self._request(int(change["new"]))

    def _fold(self) -> None:
        seen = self.heading.value
        self.heading.icon = "caret-down" if seen else "caret-right"
        self.code_box.layout.display = "" if seen else "none"
        if seen:
            self.code_box.text = self.code()

    def _save(self, path: str | Path | None, suffix: str, write: Callable[[Path], None]) -> Path:
        setting = self.state.setting
        name = "".join(c if c.isalnum() else "-" for c in f"{setting.layer}-{setting.how}").strip("-")
        to = free_path(f"mapper-{name}", suffix) if path is None else Path(path)
        write(to)
        return to

    def _saved(self, save: Callable[[], Path]) -> Callable[[], None]:
        return lambda: self.message.note(f"saved as {save()}")

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function for a control: an error is told in the widget."""

        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:  # whatever it is, the user must see it, and the next move must work
                self.message.error(error)
                return None

        return call


def _number(
    kind: Any, text: str, value: float, low: float, high: float, step: float | None, width: str, tip: str
) -> Any:
    """Return a field for a number, beyond its usual limits where it begins there."""
    return kind(min=min(low, value), max=max(high, value), step=step, value=value, description=text, tooltip=tip,
                style={"description_width": "auto"}, layout={"width": width})  # fmt: skip


def _facts_html(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in facts)
    return f'<dl class="lis-facts">{rows}</dl>'


def _legend_html(entries: Sequence[tuple[str, str]]) -> str:
    shown = "".join(
        f'<span><i style="background:{colour}"></i>{escape(text)}</span>' for colour, text in entries
    )
    return f'<div class="lis-swatches">{shown}</div>' if entries else ""
