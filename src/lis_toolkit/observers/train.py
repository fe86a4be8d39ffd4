"""Train linear observers: from the state of a layer, or of all, to attributes; judged on held-out images."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from ..errors import LisError
from ..files import provenance
from ..names import finite_number, whole_number
from .attributes import Attributes
from .design import Design, needs_streaming
from .result import NUMBER, Observer, Observers
from .scores import Scored, score_answers, score_numbers
from .solve import PENALTIES, STEPS, Fit, choose_logistic, choose_ridge, fit_logistic
from .splits import LEAST, check_groups, check_sharing, split_rows
from .state import Standardiser, State, as_state

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["attribute_split", "train_observers"]

COPIES = 0.01  # share of held-out images that are copies of training images, from which a row's status tells of them
INNER = 0.25  # of the training part, on which the penalty is chosen
SCORES = tuple(Scored.__dataclass_fields__)


@dataclass(frozen=True)
class Settings:
    """Settings of `train_observers`, checked."""

    penalties: tuple[float, ...]
    held_out: float
    folds: int | None
    controls: int
    confidence: float
    resamples: int
    steps: int
    streaming: bool | None
    seed: int


def train_observers(
    state: Any,
    attributes: Attributes | pd.DataFrame,
    *,
    names: str | Sequence[str] | None = None,
    layers: str | Sequence[str] = "each",
    penalty: float | Sequence[float] = PENALTIES,
    held_out: float = 0.3,
    folds: int | None = None,
    groups: Any = None,
    controls: int = 5,
    confidence: float = 0.95,
    resamples: int = 1000,
    steps: int = STEPS,
    streaming: bool | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Observers:
    """Train a linear observer of every layer for every attribute, and say on held-out images how well it sees.

    Categories are told by multinomial logistic regression, numbers by ridge, both of scikit-learn, of components
    standardised on the training images alone. The penalty is chosen on a quarter of the training part. A score means
    something only beside what is told without looking (baseline: the training part's most frequent category, or its
    mean) and beside what the same observer makes of labels that tell nothing: `controls` times labels are shuffled,
    within the training and within the held-out part, and selectivity is the score less the controls' mean
    (Hewitt and Liang 2019, arXiv 1909.03368).

    Parameters
    ----------
    state : State, Activations (pooled), or {layer title: [N, C]}.
    attributes : Attributes, or a table with a row an image.
    names : which attributes; None: all.
    layers : "each" one on its own, "all" side by side in one observer, or titles ("all layers" among them).
    penalty : one, or several to choose from: mean log loss + penalty / 2 |W|^2, mean squared error + penalty |w|^2.
    held_out : share of the images that an observer is tested on.
    folds : in place of held_out: every image is held out once; weights are means over the folds.
    groups : [N], a label an image: images of one group (a person, a film, a picture and its copies) are never on both
        sides.
    controls : shuffles; 0 leaves selectivity out.
    confidence, resamples : of the bootstrap intervals over held-out images (over groups, where given).
    steps : most iterations of the logistic solver; who needs more has the status "not converged".
    streaming : read rows chunk by chunk (`stream_ridge`, `stream_logistic`): None where they would take over 1 GiB.
    seed : of split, shuffles and resamples, which depend on the attribute's name, not on what else is asked for.

    Returns
    -------
    Observers

    Raises
    ------
    LisError : states and attributes of different numbers of images, NaN activations, unknown names, settings out of
        range, too few images. What ails a single observer (one category in the training part, a dead layer) is in its
        row's status.

    Notes
    -----
    Allen 2021 (arXiv 2103.08315): a linear observer is trained to tell attributes of the input from the state of the
    observed network. Its data, models and settings are not known; controls, intervals and penalties are ours.

    Examples
    --------
    >>> observers = train_observers(observe_state(classifier, images), class_attributes(labels, classes))
    >>> print(observers)
    """
    import pandas as pd

    state = as_state(state)
    table = attributes if isinstance(attributes, Attributes) else Attributes(attributes)
    if len(table) != len(state):
        raise LisError(
            f"the state is of {len(state)} images, the attributes of {len(table)}; the same was expected."
        )
    settings = _settings(penalty, held_out, folds, controls, confidence, resamples, steps, streaming, seed)
    of_group = check_groups(groups, len(state))
    asked, wanted = table.chosen(names), state.chosen(layers)
    copies = state.copies()
    rows, models = [], {}
    with tqdm(total=len(asked) * len(wanted), desc="observers", unit="observer", disable=not progress) as bar:
        for name in asked:
            for layer in wanted:
                row, models[layer, name] = _train(state, layer, table, name, of_group, copies, settings)
                rows.append(row)
                bar.update()
    told = asdict(settings) | {"grouped": groups is not None, "images": len(state)}
    return Observers(
        pd.DataFrame(rows), models, {name: state.width(name) for name in state.layers}, told,
        provenance(scikit_learn=_version()),
    )  # fmt: skip


def attribute_split(
    attributes: Attributes, name: str, *, held_out: float = 0.3, folds: int | None = None, groups: Any = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Return the images that `train_observers` learns from and tests on, for one attribute: pairs of indices.

    Raises
    ------
    LisError : an unknown attribute, too few images.

    Examples
    --------
    >>> [(training, test)] = attribute_split(attributes, "class")
    """
    [name] = attributes.chosen(name)
    known = attributes.known(name)
    share, folds = check_sharing(held_out, folds)
    of_group = check_groups(groups, len(attributes))
    pairs = split_rows(
        attributes.values(name)[known], attributes.kinds[name] == "category", held_out=share, folds=folds,
        groups=None if of_group is None else of_group[known], seed=seeds(seed, name, 0),
    )  # fmt: skip
    return [(known[a], known[b]) for a, b in pairs]


def seeds(seed: int, name: str, purpose: int) -> list[int]:
    """Return the seed of one attribute's draws for one purpose."""
    return [seed, zlib.crc32(name.encode()), purpose]


def _settings(
    penalty: Any, held_out: Any, folds: Any, controls: Any, confidence: Any, resamples: Any, steps: Any,
    streaming: Any, seed: Any,
) -> Settings:  # fmt: skip
    given = penalty if isinstance(penalty, Sequence) else [penalty]
    penalties = tuple(finite_number(one, "penalty") for one in given)
    if not penalties or min(penalties) <= 0:
        raise LisError(f"penalty is {penalty!r}; numbers above 0 were expected.")
    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    share, folds = check_sharing(held_out, folds)
    if streaming not in (True, False, None):
        raise LisError(f"streaming is {streaming!r}; True, False or None was expected.")
    return Settings(
        penalties, share, folds, whole_number(controls, "controls", 0), float(confidence),
        whole_number(resamples, "resamples", 1), whole_number(steps, "steps", 1), streaming,
        whole_number(seed, "seed", 0),
    )  # fmt: skip


def _version() -> str:
    import sklearn

    return str(sklearn.__version__)


def _train(
    state: State, layer: str, table: Attributes, name: str, of_group: np.ndarray | None, copies: np.ndarray,
    settings: Settings,
) -> tuple[dict[str, Any], Observer]:  # fmt: skip
    """Train and judge one observer: its row of scores, and the model."""
    kind, known = table.kinds[name], table.known(name)
    given = table.values(name)[known]
    values: tuple[str, ...] = (NUMBER,)
    truth = given.astype(float) if kind == "number" else None
    if kind == "category":
        values = tuple(sorted(set(given)))
        index = {value: place for place, value in enumerate(values)}
        truth = np.array([index[value] for value in given], dtype=int)
    assert truth is not None
    groups = None if of_group is None else of_group[known]
    row: dict[str, Any] = {
        "layer": layer, "depth": state.depth(layer), "attribute": name, "kind": kind,
        "values": len(values) if kind == "category" else 0, "components": state.width(layer), "images": len(known),
        "held_out": 0, "measure": "accuracy" if kind == "category" else "r2", **dict.fromkeys(SCORES, np.nan),
        "penalty": np.nan, "status": "ok", "streamed": False,
    }  # fmt: skip
    width = state.width(layer)
    empty = Observer(
        layer,
        name,
        kind,
        values,
        np.zeros((width, len(values))),
        np.zeros(len(values)),
        np.zeros(width),
        np.ones(width),
    )
    if len(known) < LEAST:
        return row | {"status": f"only {len(known)} images have a value"}, empty
    if kind == "category" and len(values) == len(known):
        return row | {"status": "every image has a value of its own, as names of images have"}, empty
    pairs = split_rows(
        given if kind == "category" else truth, kind == "category", held_out=settings.held_out, folds=settings.folds,
        groups=groups, seed=seeds(settings.seed, name, 0),
    )  # fmt: skip
    folds = [
        _Fold(state, layer, known, truth, kind, len(values), pair, groups, settings, name, fold)
        for fold, pair in enumerate(pairs)
    ]
    where = np.concatenate([fold.test for fold in folds])
    leaked = sum(int(np.isin(copies[known[b]], copies[known[a]]).sum()) for a, b in pairs)
    score = (score_answers if kind == "category" else score_numbers)(
        np.concatenate([fold.told for fold in folds]),
        truth[where],
        np.concatenate([fold.baseline for fold in folds]),
        np.concatenate([fold.control_told for fold in folds], axis=1),
        np.concatenate([fold.control_truth for fold in folds], axis=1),
        None if groups is None else groups[where],
        confidence=settings.confidence, resamples=settings.resamples, seed=seeds(settings.seed, name, 3),
    )  # fmt: skip
    notes = dict.fromkeys(note for fold in folds for note in fold.notes)
    if not np.isfinite(score.score):
        notes["the held-out values do not vary"] = None
    if leaked > COPIES * len(where) and any(fold.standardise.alive.any() for fold in folds):
        # Shuffled labels do not know of copies, so selectivity would be above 0 for labels that tell nothing.
        notes[f"{leaked} held-out images are copies of training images: give groups=state.copies()"] = None
    row |= {"held_out": len(where), **asdict(score), "penalty": float(np.median([fold.penalty for fold in folds])),
            "status": "; ".join(notes) or "ok", "streamed": folds[0].streamed}  # fmt: skip
    mean, scale = (np.mean([getattr(f.standardise, of) for f in folds], axis=0) for of in ("mean", "scale"))
    with np.errstate(invalid="ignore"):
        weights = np.mean([f.fit.weights for f in folds], axis=0)
        bias = np.mean([f.fit.bias for f in folds], axis=0)
    return row, Observer(layer, name, kind, values, weights, bias, mean, scale)


class _Fold:
    """One training part and its held-out part: the fit, what it says of held-out images, and what controls say."""

    def __init__(
        self, state: State, layer: str, known: np.ndarray, truth: np.ndarray, kind: str, count: int,
        pair: tuple[np.ndarray, np.ndarray], groups: np.ndarray | None, settings: Settings, name: str, fold: int,
    ) -> None:  # fmt: skip
        train, self.test = pair
        self.notes: list[str] = []
        self.streamed = needs_streaming(state, layer, len(known), settings.streaming)
        self.standardise = Standardiser.of(state, layer, known[train])
        training, tested = (
            Design(state, layer, known[part], self.standardise, self.streamed) for part in (train, self.test)
        )
        y, z = truth[train], truth[self.test]
        if not self.standardise.alive.any():
            self.notes.append("no component varies")
        if len(np.unique(y)) == 1:
            self.notes.append("one value in the training part")
        elif len(np.setdiff1d(z, y)) and kind == "category":
            self.notes.append(f"{len(np.setdiff1d(z, y))} held-out values without training images")
        inner = self._inner(y, kind, None if groups is None else groups[train], seeds(settings.seed, name, 1))
        penalties = settings.penalties if inner is not None else settings.penalties[:1]
        place = inner if inner is not None else (np.arange(len(y)), np.arange(0))
        rng = np.random.default_rng([*seeds(settings.seed, name, 2), fold])
        shuffled = np.array([rng.permutation(y) for _ in range(settings.controls)]).reshape(-1, len(y))
        self.control_truth = np.array([rng.permutation(z) for _ in range(settings.controls)]).reshape(
            -1, len(z)
        )
        if kind == "number":
            # A control chooses its own penalty: at the truth's, noise would be fitted, and R2 fall far below 0.
            chosen, every = choose_ridge(training, np.concatenate([y[None], shuffled]).T, place, penalties)
            self.penalty = float(chosen[0])
            found = tested.apply(every.weights, every.bias)  # [n, 1 + S]
            self.fit = Fit(every.weights[:, :1], every.bias[:1])
            self.told, self.control_told = found[:, 0], found[:, 1:].T
            self.baseline = np.full(len(z), y.mean())
            return
        self.penalty, start = choose_logistic(training, y, count, place, penalties, settings.steps)
        self.fit = fit_logistic(training, y, count, self.penalty, start, settings.steps)
        if not self.fit.converged:
            self.notes.append(f"not converged in {settings.steps} steps")
        self.told = tested.apply(self.fit.weights, self.fit.bias).argmax(1)
        fits = [fit_logistic(training, one, count, self.penalty, None, settings.steps) for one in shuffled]
        told = [tested.apply(fit.weights, fit.bias).argmax(1) for fit in fits]
        self.control_told = np.array(told).reshape(-1, len(z))
        self.baseline = np.full(len(z), np.bincount(y).argmax())

    @staticmethod
    def _inner(
        y: np.ndarray, kind: str, groups: np.ndarray | None, seed: list[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Split the training part once more, or None where it is too small for that."""
        if len(y) < LEAST or (groups is not None and len(np.unique(groups)) < 2):
            return None
        return split_rows(y, kind == "category", held_out=INNER, groups=groups, seed=seed)[0]
