"""Names for the layers of any network: what is taken, how large it is, and how deep it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..classifiers import Classifier
from ..errors import LisError
from ..names import spelling_hint
from .trace import Call, Trace, trace_network

KINDS = ("conv", "all")


@dataclass(frozen=True)
class Layer:
    """A place in a classifier where activations are taken.

    Attributes
    ----------
    name : str
        A path inside `classifier.network` ("body.3"; "relu#2" where the module runs several times in a pass and its
        second run is meant), or "penultimate" or "logits".
    title : str
        A short text for axes: "conv 2 · 16×16×64" (height, width, channels).
    kind : str
        "conv", "penultimate", "logits", or the class of the module.
    shape : tuple of int
        Of one image: (C, h, w), or (R,). Tokens [T, C] of a transformer are positions: (C, T, 1).
    depth : float
        From 0 (first layer with weights) to 1 (penultimate and logits): its share of the layers with weights, in the
        order of execution.
    """

    name: str
    title: str
    kind: str
    shape: tuple[int, ...]
    depth: float

    @property
    def short(self) -> str:
        """The title without the shape: "conv 2"."""
        return self.title.split(" · ")[0]

    @property
    def channels(self) -> int:
        """Number of channels C, or of units R."""
        return self.shape[0]

    @property
    def positions(self) -> tuple[int, int]:
        """(h, w), the number of rows and columns of positions; (1, 1) for a layer without."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else (1, 1)


def list_layers(classifier: Classifier, kind: str = "conv") -> tuple[Layer, ...]:
    """Return the layers of a classifier in the order of execution, found by one run on random images.

    Parameters
    ----------
    kind
        "conv": every convolution with positions, taken after the normalisation and the elementwise non-linearity that
        directly follow it as modules (a non-linearity that the network applies as a function can't be taken; then the
        layer is the convolution itself), and "penultimate". "all": the output of every module that gives a tensor (or
        a tuple that starts with one) with one entry an image, then "penultimate" and "logits".

    Returns
    -------
    tuple of Layer
        A module that runs several times in a pass (a shared ReLU) is several layers: "relu#1", "relu#2".

    Raises
    ------
    LisError
        For another kind.

    Examples
    --------
    >>> [layer.title for layer in list_layers(load_classifier("fashion"))][:2]
    ['conv 1 · 32×32×32', 'conv 2 · 16×16×64']
    """
    if kind not in KINDS:
        raise LisError(
            f"no kind of layers {kind!r}; there are 'conv' and 'all'.{spelling_hint(str(kind), KINDS)}"
        )
    trace = trace_network(classifier)
    known = _by_name(classifier, trace)
    if kind == "all":
        return tuple(known.values())
    return (*(layer for layer in known.values() if layer.kind == "conv"), known["penultimate"])


def choose_layers(
    classifier: Classifier, layers: Iterable[str | Layer] | str | Layer | None
) -> tuple[Layer, ...]:
    """Return layers given by name, by title ("conv 2" is enough) or as `Layer`; None: `list_layers(classifier)`.

    They come in the order given. Figures and tables show titles, so these are understood, too.

    Raises
    ------
    LisError
        For an unknown name (with a spelling hint), a module whose output can't be read, one that runs several times,
        a layer of another classifier, a layer listed twice, or none at all.

    Examples
    --------
    >>> choose_layers(classifier, ["body.3", "penultimate"])
    """
    if layers is None:
        return list_layers(classifier)
    if not isinstance(layers, Layer | Iterable):
        raise LisError(
            f"layers are {layers!r} ({type(layers).__name__}); names or Layers were expected, see "
            "list_layers(classifier)."
        )
    asked = [layers] if isinstance(layers, str | Layer) else list(layers)
    if not asked:
        raise LisError("the list of layers is empty; give names out of list_layers(classifier), or None.")
    trace = trace_network(classifier)
    known = _by_name(classifier, trace)
    chosen = tuple(_one(classifier, trace, known, item) for item in asked)
    names = [layer.name for layer in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LisError(f"layer {twice[0]!r} is listed twice; give every layer once.")
    return chosen


def _one(classifier: Classifier, trace: Trace, known: dict[str, Layer], item: str | Layer) -> Layer:
    if not isinstance(item, str | Layer):
        raise LisError(
            f"a layer is a name or a Layer, got {item!r} ({type(item).__name__}); see list_layers(classifier)."
        )
    name = item if isinstance(item, str) else item.name
    found = known.get(name)
    if found is None and isinstance(item, str):
        found = next((layer for layer in known.values() if item in (layer.title, layer.short)), None)
    if found is None:
        raise LisError(_refusal(classifier, trace, known, name))
    if isinstance(item, Layer) and item.shape != found.shape:
        raise LisError(
            f"layer {name!r} has shape {item.shape}, in {classifier.name} it has {found.shape}: it is a layer of "
            "another classifier."
        )
    return found


def _refusal(classifier: Classifier, trace: Trace, known: dict[str, Layer], name: str) -> str:
    runs = [call.name for call in trace.calls if call.module == name]
    if runs:
        return (
            f"the module {name!r} of {classifier.name} runs {len(runs)} times in a pass; say which run is meant: "
            f"{', '.join(map(repr, runs[:6]))}."
        )
    if name == "logits":
        return f"{classifier.name} is an encoder without a head, it has no logits."
    if name and name == classifier._split.head:
        return f"{name!r} is the head of {classifier.name}: its output is the layer 'logits'."
    if name in trace.silent:
        return (
            f"the module {name!r} of {classifier.name} gives nothing to take: it does not run in a pass, or its output "
            "is no tensor [N, C, h, w], [N, T, C] or [N, R]. See list_layers(classifier, 'all')."
        )
    conv = [f"{layer.short} ({layer.name!r})" for layer in known.values() if layer.kind == "conv"]
    hint = spelling_hint(name, [*known, *(layer.short for layer in known.values())])
    return (
        f"{classifier.name} has no layer {name!r}; its convolutions are {', '.join(conv[:8])}"
        f"{f' and {len(conv) - 8} more' if len(conv) > 8 else ''}, then 'penultimate' and 'logits'; others are in "
        f"list_layers(classifier, 'all').{hint}"
    )


def _by_name(classifier: Classifier, trace: Trace) -> dict[str, Layer]:
    """Every layer there is, by name, in the order of execution."""
    numbers: dict[int, int] = {}  # place of the call that stands for a convolution -> which one, from 1
    for call in trace.calls:
        if call.follows is not None:
            numbers.setdefault(call.follows, len(numbers) + 1)
    layers = {
        call.name: _layer(call, numbers.get(place), trace.weighted) for place, call in enumerate(trace.calls)
    }
    ends = [("penultimate", classifier.num_units)]
    if classifier.has_head:
        ends.append(("logits", classifier.num_classes))
    for name, count in ends:
        layers[name] = Layer(name, f"{name} · {count}", name, (count,), 1.0)
    return layers


def _layer(call: Call, number: int | None, weighted: int) -> Layer:
    size = "×".join(str(n) for n in (*call.shape[1:], call.shape[0]))
    if len(call.shape) == 3 and call.layout == "tokens":
        size = f"{call.shape[1]} tokens×{call.shape[0]}"
    depth = max(0, call.before - 1) / weighted if weighted else 0.0
    if number is not None:
        return Layer(call.name, f"conv {number} · {size}", "conv", call.shape, depth)
    first = ", first output" if call.several else ""
    return Layer(call.name, f"{call.name} ({call.type}{first}) · {size}", call.type, call.shape, depth)
