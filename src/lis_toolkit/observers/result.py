"""What trained observers are and how well they see: a table of scores, and weights of every component."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..names import spelling_hint
from .state import ALL_LAYERS, State

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NUMBER", "Observer", "Observers"]

NUMBER = "value"  # the one column of weights of an attribute that is a number


@dataclass(frozen=True)
class Observer:
    """One linear model: from the state of a layer (or of all) to an attribute.

    Attributes
    ----------
    layer, attribute : what it reads, what it tells.
    kind : "category" or "number".
    values : categories, in the order of the weights' columns; ("value",) for a number.
    weights : [C, V], per standard deviation of a component. Of a number in its own unit; logits of categories.
    bias : [V]; -inf for a category that no training image had.
    mean, scale : [C], of the training images; a component that did not vary there has weight 0.
    """

    layer: str
    attribute: str
    kind: str
    values: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def read(self, x: np.ndarray) -> np.ndarray:
        """Return logits [n, V] of categories, or numbers [n, 1], of rows [n, C] as `State.rows_of` gives them.

        Raises
        ------
        LisError : rows of another width.
        """
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise LisError(f"the rows have shape {list(x.shape)}; the observer reads [n, {len(self.mean)}].")
        return (x - self.mean) / self.scale @ self.weights + self.bias  # type: ignore[no-any-return]

    def tell(self, state: State) -> np.ndarray:
        """Return what the observer says of every image: texts [N] or numbers [N]."""
        told = [self.read(x) for _, x in state.stream(self.layer, np.arange(len(state)))]
        found = np.concatenate(told)
        return found[:, 0] if self.kind == "number" else np.array(self.values, dtype=object)[found.argmax(1)]

    @property
    def importance(self) -> np.ndarray:
        """Size of every component's weights [C], without what is common to all categories."""
        weights = self.weights[:, np.isfinite(self.bias)]
        if self.kind == "category":
            weights = weights - weights.mean(1, keepdims=True)
        return np.sqrt((weights**2).sum(1))


@dataclass(frozen=True)
class Observers:
    """Observers of one or several layers and attributes; made by `train_observers`.

    Attributes
    ----------
    scores : DataFrame, a row an observer: layer, depth, attribute, kind, values (number of categories), components,
        images (with a value), held_out, measure ("accuracy" or "r2"), score, low, high, balanced, baseline, control,
        control_low, control_high, selectivity, selectivity_low, selectivity_high, penalty, status ("ok", or what went
        wrong), streamed. See `train_observers`.
    models : (layer, attribute) -> Observer.
    columns : layer -> its own number of components, in order: what "all layers" is made of.
    settings, provenance : how it was made.

    Examples
    --------
    >>> observers.table("class")[["layer", "score", "control", "selectivity"]]
    >>> observers.weights_table("class", "penultimate")
    """

    scores: pd.DataFrame
    models: Mapping[tuple[str, str], Observer]
    columns: Mapping[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of observers."""
        return len(self.models)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, in order."""
        return tuple(dict.fromkeys(self.scores["attribute"]))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that were observed, in order."""
        return tuple(dict.fromkeys(self.scores["layer"]))

    def table(self, attribute: str) -> pd.DataFrame:
        """Return the scores of one attribute, layer by layer.

        Raises
        ------
        LisError : an attribute without observers.
        """
        self._check(attribute, self.attributes, "attribute")
        return self.scores[self.scores["attribute"] == attribute].reset_index(drop=True)

    def observer(self, layer: str, attribute: str) -> Observer:
        """Return one observer.

        Raises
        ------
        LisError : a layer or an attribute that was not observed.
        """
        self._check(attribute, self.attributes, "attribute")
        self._check(layer, self.layers, "layer")
        return self.models[layer, attribute]

    def components(self, layer: str) -> pd.DataFrame:
        """Return what every row of an observer's weights is: layer, component."""
        import pandas as pd

        members = list(self.columns) if layer == ALL_LAYERS else [layer]
        counts = [self.columns[name] for name in members]
        return pd.DataFrame({
            "layer": np.repeat(np.array(members, dtype=object), counts),
            "component": np.concatenate([np.arange(count) for count in counts]),
        })  # fmt: skip

    def weights_table(self, attribute: str, layer: str | None = None) -> pd.DataFrame:
        """Return weights as rows: observed (the observer's layer), layer, component, value, weight.

        Parameters
        ----------
        layer : whose observer; None: of every layer that was observed.
        """
        import pandas as pd

        frames = []
        for name in self.layers if layer is None else [layer]:
            model = self.observer(name, attribute)
            own = self.components(name)
            count = len(model.values)
            frames.append(pd.DataFrame({
                "observed": name,
                "layer": np.repeat(own["layer"].to_numpy(), count),
                "component": np.repeat(own["component"].to_numpy(), count),
                "value": np.tile(np.array(model.values, dtype=object), len(own)),
                "weight": model.weights.ravel(),
            }))  # fmt: skip
        return pd.concat(frames, ignore_index=True)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the observers into a folder: scores.parquet, weights.safetensors, manifest.json.

        Raises
        ------
        LisError : the folder holds something else, or can't be written.
        """
        from .result_files import write_observers

        write_observers(self, folder)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Observers:
        """Read observers that `save` wrote, checked.

        Raises
        ------
        CheckpointError : files that are missing, damaged or of something else.
        """
        from .result_files import read_observers

        return read_observers(folder)

    def __str__(self) -> str:
        """Say what each attribute's best observer sees."""
        return "\n".join(_sentence(self.table(name)) for name in self.attributes)

    @staticmethod
    def _check(name: str, known: tuple[str, ...], what: str) -> None:
        if name not in known:
            raise LisError(
                f"there is no observer of {what} {name!r}; there are {', '.join(known[:16])}."
                f"{spelling_hint(str(name), known)}"
            )


def _sentence(table: pd.DataFrame) -> str:
    name = table["attribute"].iloc[0]
    done = table.dropna(subset="score")
    if len(done) == 0:
        return f"{name}: no observer ({table['status'].iloc[0]})."
    best = done.iloc[int(done["score"].argmax())]
    text = (
        f"{name}: {best['measure']} {best['score']:.3f} [{best['low']:.3f}, {best['high']:.3f}] from {best['layer']} "
        f"(baseline {_rounded(best['baseline'])}"
    )
    if np.isfinite(best["selectivity"]):
        text += f", shuffled labels {_rounded(best['control'])}, selectivity {best['selectivity']:.3f} "
        text += f"[{best['selectivity_low']:.3f}, {best['selectivity_high']:.3f}]"
    odd = int((table["status"] != "ok").sum())
    return text + (f"); {odd} of {len(table)} observers are not plain: see status." if odd else ").")


def _rounded(value: float) -> str:
    return f"{round(float(value), 3) + 0.0:.3f}"  # no "-0.000"
