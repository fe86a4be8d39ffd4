"""Mapper graphs of a classifier's layers, made as they are asked for: what the MapperExplorer shows, as plain data."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..activations import Layer, choose_layers, list_layers, receptive_fields, sample_points
from ..classifiers import Classifier
from ..datasets import Photographs
from ..errors import LisError
from ..images import convert_range
from ..names import cut, spelling_hint, whole_number
from .mapper import LIMIT, mapper_graph, read_cloud
from .mapper_state import MapperSetting, MapperState, NodeSheet
from .purity import Purity, purity

__all__ = ["SAMPLINGS", "MapperSession", "MapperSetting", "MapperState", "NodeSheet"]

SAMPLINGS = ("strongest", "random", "all", "foreground", "background")
GIVEN = "given"  # the sampling of clouds that were given without a name
KEPT = 24  # graphs
PERMUTATIONS, RESAMPLES = 100, 500
TILE = 96  # pixels to which small pictures are enlarged, so that a frame hides little
FRAME = (213, 94, 0)  # of a receptive field: Okabe and Ito's vermilion


class MapperSession:
    """Point clouds by sampling and layer, and the graphs that were made of them; the last 24 are kept.

    Parameters
    ----------
    clouds : PointCloud or [M, C]; dict layer -> those; dict sampling -> dict layer -> those; or None
        None: sampled from `images` by the classifier, when a sampling is first asked for.
    images : Photographs or Tensor [N, C, H, W], unit range
    labels, classes : of the images; those of Photographs if left out.
    classifier : Classifier, optional
        Samples what is not given, and tells receptive fields.
    layers : names; None: all convolutions and the penultimate layer. For clouds that are sampled.
    limit : int
        Points of a graph at most, see `mapper_graph`.
    seed : of all draws.

    Raises
    ------
    LisError
        Neither clouds nor a classifier, what are no images, labels that do not fit.

    Examples
    --------
    >>> session = MapperSession(None, photographs, classifier=classifier)
    >>> session.state(MapperSetting("body.13")).purity.value
    """

    def __init__(
        self,
        clouds: Any,
        images: Any,
        labels: Any = None,
        classes: Sequence[str] | None = None,
        *,
        classifier: Classifier | None = None,
        layers: Any = None,
        limit: int | None = LIMIT,
        seed: int = 0,
    ) -> None:
        if isinstance(images, Photographs):
            labels = images.labels if labels is None else labels
            classes = images.classes if classes is None else classes
            images = images.images
        if (
            not isinstance(images, Tensor)
            or images.ndim != 4
            or images.shape[1] not in (1, 3)
            or not len(images)
        ):
            told = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise LisError(
                f"images are {told}; Photographs or a tensor [N, 1 or 3, H, W] were expected, not empty."
            )
        self.images, self.labels, self.classes = images, labels, classes
        self.classifier, self.limit, self.seed = classifier, limit, whole_number(seed, "seed", 0)
        self._given = _by_sampling(clouds)
        self._nested = isinstance(clouds, Mapping) and all(isinstance(c, Mapping) for c in clouds.values())
        if not self._given and classifier is None:
            raise LisError("there are no clouds, and no classifier to sample them: give one of both.")
        self._layers: tuple[Layer, ...] = ()
        if classifier is not None and (layers is not None or not self._given):
            known = {layer.name: layer for layer in list_layers(classifier)}
            if layers is None:
                self._layers = tuple(known.values())
            else:
                self._layers = choose_layers(classifier, layers)
        self._sampled: dict[str, Mapping[str, Any]] = {}
        self._states: dict[MapperSetting, MapperState] = {}
        self._fields: dict[str, np.ndarray | None] = {}
        self._lock = threading.RLock()  # the widget's worker and the notebook may ask at once
        for how in self._given:
            for name, cloud in self._given[how].items():
                found = read_cloud(cloud)
                if found.images.max(initial=-1) >= len(images):
                    raise LisError(
                        f"{found.name if found.title else f'the cloud {name}'} has a point of image "
                        f"{found.images.max()}, and there are {len(images)} images: give those it was sampled from."
                    )

    @property
    def samplings(self) -> tuple[str, ...]:
        """Names of the samplings that can be asked for, those given first."""
        return (*self._given, *(how for how in SAMPLINGS if self._layers and how not in self._given))

    def layers(self, how: str) -> tuple[tuple[str, str], ...]:
        """Return title and name of the layers of a sampling, from the first to the last.

        Raises
        ------
        LisError
            A sampling that there is not.

        Examples
        --------
        >>> session.layers("strongest")[0]
        ('conv 1 · 32×32×32', 'body.1')
        """
        if how in self._given:
            return tuple((read_title(cloud, name), name) for name, cloud in self._given[how].items())
        self._check_sampling(how)
        return tuple((layer.title, layer.name) for layer in self._layers)

    def cloud(self, how: str, layer: str) -> Any:
        """Return a point cloud; those of all layers are sampled when the first of a sampling is asked for.

        Raises
        ------
        LisError
            A sampling or a layer that there is not.

        Examples
        --------
        >>> session.cloud("strongest", "body.13")
        """
        self._check_sampling(how)
        with self._lock:
            clouds = self._given.get(how) or self._sampled.get(how)
            if clouds is None:
                assert self.classifier is not None
                clouds = self._sampled[how] = sample_points(
                    self.classifier, self.images, list(self._layers), how, limit=self.limit, seed=self.seed
                )
        if layer not in clouds:
            known = ", ".join(map(repr, clouds))
            raise LisError(f"there is no layer {layer!r}; there are {known}.{spelling_hint(layer, clouds)}")
        return clouds[layer]

    def state(self, setting: MapperSetting) -> MapperState:
        """Return the graph of a setting and its purity.

        Raises
        ------
        LisError
            As `cloud` and `mapper_graph`.

        Examples
        --------
        >>> session.state(MapperSetting("body.13", "random", eps=4.0)).graph
        """
        with self._lock:
            known = self._states.get(setting)
        if known is not None:
            return known
        graph = mapper_graph(
            self.cloud(setting.how, setting.layer), self.labels, self.classes, intervals=setting.intervals,
            overlap=setting.overlap, min_samples=setting.min_samples, limit=self.limit, seed=self.seed,
            eps="knee" if setting.eps is None else setting.eps,
        )  # fmt: skip
        found: list[Purity | None] = [None, None]
        if graph.labels is not None:
            told = {"permutations": PERMUTATIONS, "resamples": RESAMPLES, "seed": self.seed}
            found = [purity(graph, kind, **told) for kind in ("classes", "majority")]
        state = MapperState(setting, graph, *found)
        with self._lock:
            if len(self._states) >= KEPT:
                self._states.pop(next(iter(self._states)))
            self._states[setting] = state
        return state

    def sheet(self, state: MapperState, node: int, count: int = 24) -> NodeSheet:
        """Return the images of a node's members, the most typical first: by distance from the node's mean.

        An image with several points in the node comes once. With a classifier, or where the cloud has one position of
        several, what the point's position sees of the image is framed.

        Raises
        ------
        LisError
            A node that the graph does not have.

        Examples
        --------
        >>> session.sheet(state, 3).panels.shape
        (24, 96, 96, 3)
        """
        graph = state.graph
        node = whole_number(node, "node", 0, max(len(graph) - 1, 0))
        count = whole_number(count, "count", 1)
        if not len(graph):
            raise LisError("the graph has no nodes, so there are no images to show.")
        rows = graph.members[node]
        points = (
            read_cloud(self.cloud(state.setting.how, state.setting.layer)).points[rows].astype(np.float64)
        )
        order = np.argsort(np.linalg.norm(points - points.mean(axis=0), axis=1), kind="stable")
        _, first = np.unique(graph.images[rows[order]], return_index=True)
        total, shown = len(first), rows[order[np.sort(first)[:count]]]
        images = convert_range(self.images[graph.images[shown]].float().cpu().clamp(0, 1), "unit", "byte")
        pixels = images.to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
        scale = max(1, TILE // pixels.shape[2])
        pixels = np.ascontiguousarray(pixels.repeat(scale, axis=1).repeat(scale, axis=2))
        boxes = self._boxes(state)
        if boxes is not None:
            for panel, (row, column) in zip(pixels, graph.positions[shown], strict=True):
                _frame(panel, boxes[min(row, len(boxes) - 1), min(column, boxes.shape[1] - 1)])
        captions, told = [], []
        for row in shown:
            image = int(graph.images[row])
            name = "" if graph.labels is None else graph.classes[graph.labels[row]]
            captions.append(f"{cut(name, 14)} {image}".strip())
            told.append(f"image {image}{', ' + name if name else ''}")
        return NodeSheet(pixels, tuple(captions), tuple(told), total)

    def code(self, setting: MapperSetting) -> str:
        """Return a cell of code that makes the present graph without a widget."""
        eps = '"knee"' if setting.eps is None else repr(setting.eps)
        lines = ["from lis_toolkit.topology import mapper_graph, purity",
                 "from lis_toolkit.topology.mapper_plots import mapper_figure", ""]  # fmt: skip
        if setting.how in self._given:
            named = f"[{setting.how!r}]" if self._nested else ""
            lines.append(f"cloud = clouds{named}[{setting.layer!r}]")
        else:
            lines[0] = "import lis_toolkit as lis\n" + lines[0]
            lines.append(f"cloud = lis.activations.sample_points(classifier, photographs, [{setting.layer!r}], "
                         f"{setting.how!r}, limit={self.limit}, seed={self.seed})[{setting.layer!r}]")  # fmt: skip
        lines += [
            "graph = mapper_graph(cloud, photographs.labels, photographs.classes, intervals="
            f"{setting.intervals}, overlap={setting.overlap},",
            f"                     min_samples={setting.min_samples}, eps={eps}, limit={self.limit}, seed={self.seed})",
            "print(graph, purity(graph), sep=\"\\n\")",
            "mapper_figure(graph)",
        ]  # fmt: skip
        return "\n".join(lines)

    def _check_sampling(self, how: str) -> None:
        if how not in self.samplings:
            known = ", ".join(map(repr, self.samplings))
            raise LisError(
                f"there is no sampling {how!r}; there are {known}.{spelling_hint(how, self.samplings)}"
            )

    def _boxes(self, state: MapperState) -> np.ndarray | None:
        """Return top, bottom, left, right of what each position of the layer sees [h, w, 4], as shares of the image."""
        layer = getattr(self.cloud(state.setting.how, state.setting.layer), "layer", None)
        if self.classifier is None or not isinstance(layer, Layer) or len(layer.shape) != 3:
            return None
        with self._lock:
            if layer.name not in self._fields:
                field = receptive_fields(self.classifier, [layer])[layer.name]
                tall, wide = field.size
                shares = field.boxes.numpy() / np.array([tall, tall, wide, wide])
                everything = bool((shares == np.array([0, 1, 0, 1])).all())
                self._fields[layer.name] = None if everything else shares
            return self._fields[layer.name]


def read_title(cloud: Any, name: str) -> str:
    """Return what a layer is called on the screen."""
    return str(getattr(getattr(cloud, "layer", None), "title", name))


def _by_sampling(clouds: Any) -> dict[str, Mapping[str, Any]]:
    """Return clouds as dict sampling -> dict layer -> cloud."""
    if clouds is None:
        return {}
    if not isinstance(clouds, Mapping):
        layer = getattr(clouds, "layer", None)
        clouds = {str(getattr(layer, "name", layer or "cloud")): clouds}
    if not clouds:
        raise LisError("the clouds are an empty dict; layers' names and clouds were expected.")
    if all(isinstance(value, Mapping) for value in clouds.values()):
        return {
            str(how): {str(name): cloud for name, cloud in named.items()} for how, named in clouds.items()
        }
    hows = {str(getattr(cloud, "how", GIVEN)) for cloud in clouds.values()}
    return {hows.pop() if len(hows) == 1 else GIVEN: {str(name): cloud for name, cloud in clouds.items()}}


def _frame(panel: np.ndarray, box: np.ndarray, wide: int = 2) -> None:
    """Draw a frame just inside a box, given in shares of the panel [H, W, 3]."""
    height, width = panel.shape[:2]
    top, bottom = (int(round(v * height)) for v in box[:2])
    left, right = (int(round(v * width)) for v in box[2:])
    for part in (
        np.s_[top : top + wide, left:right], np.s_[bottom - wide : bottom, left:right],
        np.s_[top:bottom, left : left + wide], np.s_[top:bottom, right - wide : right],
    ):  # fmt: skip
        panel[part] = FRAME
