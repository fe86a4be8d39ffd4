"""Sparse observers: the fewest components from which an attribute can be told nearly as well as from all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LisError
from ..files import provenance
from ..names import finite_number, whole_number
from .attributes import Attributes
from .design import Design
from .scores import r_squared, score_answers, score_numbers
from .solve import PENALTIES, choose_logistic, choose_ridge, fit_logistic, fit_ridge
from .splits import LEAST, check_groups, split_rows
from .state import Standardiser, State, as_state
from .train import INNER, attribute_split, seeds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SIZES", "SparseObserver", "train_sparse_observer"]

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
WAYS = ("l1 path", "greedy", "random")
PATH = 60  # penalties of the L1 path
SHRINK = 1e-3  # the last of them, as share of the first
SLACK = 1e-6  # of a standardised column's variance; below it nothing is left to be told
ROWS = 4000  # training rows on which the path is computed, a seeded subset: it only orders components


@dataclass(frozen=True)
class SparseObserver:
    """How well few components tell an attribute, by three ways of choosing them; made by `train_sparse_observer`.

    Attributes
    ----------
    curve : DataFrame, a row per way ("l1 path", "greedy", "random") and number of components: way, components,
        score, low, high (held out; of "random" the mean, least and largest of several draws), inner (score on the
        inner held-out rows, by which the number is chosen).
    order : DataFrame, a row a component in the order in which a way takes them up: way, place, layer, component.
    fewest : DataFrame, a row a way: the smallest number of components whose inner score keeps `keep` of the full
        observer's, their held-out score, and which share of the full observer's it is (kept). A way without a row
        needs more components than were tried.
    full : held-out score with all components; baseline : of none.
    layer, attribute, measure, keep, settings, provenance : what was asked for.
    """

    curve: pd.DataFrame
    order: pd.DataFrame
    fewest: pd.DataFrame
    full: float
    baseline: float
    layer: str
    attribute: str
    measure: str
    keep: float
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say how few suffice."""
        what = "accuracy" if self.measure == "accuracy" else "R2"
        text = f"{self.attribute} from {self.layer}: {self.keep:.0%} of the full observer's {what} "
        text += f"({self.full:.3f} held out, {int(self.settings['components'])} components) "
        ways = [
            f"{int(row['components'])} by {row['way']} ({row['score']:.3f})"
            for row in self.fewest.to_dict("records")
        ]
        return text + (f"is kept by {', '.join(ways)}." if ways else "is kept by none of the numbers tried.")


def train_sparse_observer(
    state: Any,
    attributes: Attributes | pd.DataFrame,
    name: str,
    layer: str,
    *,
    keep: float = 0.95,
    sizes: Sequence[int] = SIZES,
    draws: int = 5,
    penalty: float | Sequence[float] = PENALTIES,
    held_out: float = 0.3,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> SparseObserver:
    """Find the fewest components that keep most of the full observer's score.

    The order in which components are taken up is that of an L1 path (scikit-learn's coordinate descent), of the numbers
    themselves or of one indicator a category, whose weights enter and leave together (group lasso, L2,1): so a
    component counts once, however many categories it tells. For every number of components an observer is fitted anew
    without L1, since L1 also shrinks what it keeps, with the full observer's penalty. Beside it stand as many
    components at random, and those of a greedy search: each next one adds most to those before it (least Wilks'
    lambda, the criterion of stepwise discriminant analysis; for a number the least residual). All is chosen on the
    training part; the score shown is held out. Where units are redundant, random ones do well: no unit is special.

    Parameters
    ----------
    state, attributes, held_out, groups, penalty, confidence, resamples, seed : as for `train_observers`; the split is
        the same.
    name, layer : one attribute; a layer's title or "all layers".
    keep : share of the full observer's score (accuracy, R2).
    sizes : numbers of components to try; those above the layer's are left out.
    draws : of random components for each number.

    Raises
    ------
    LisError : as `train_observers`, and settings out of range.

    Examples
    --------
    >>> print(train_sparse_observer(state, attributes, "class", "penultimate"))
    """
    import pandas as pd

    state = as_state(state)
    table = attributes if isinstance(attributes, Attributes) else Attributes(attributes)
    if len(table) != len(state):
        raise LisError(
            f"the state is of {len(state)} images, the attributes of {len(table)}; the same was expected."
        )
    if not 0 < finite_number(keep, "keep") <= 1:
        raise LisError(f"keep is {keep!r}; a share above 0, to 1 was expected.")
    if not 0 < finite_number(confidence, "confidence") < 1:
        raise LisError(f"confidence is {confidence!r}; a number between 0 and 1 was expected.")
    draws, seed = whole_number(draws, "draws", 1), whole_number(seed, "seed", 0)
    resamples = whole_number(resamples, "resamples", 1)
    penalties = tuple(penalty) if isinstance(penalty, Sequence) else (finite_number(penalty, "penalty"),)
    if not penalties or min(penalties) <= 0:
        raise LisError(f"penalty is {penalty!r}; numbers above 0 were expected.")
    layer = state.title(layer)
    [pair] = attribute_split(table, name, held_out=held_out, groups=groups, seed=seed)
    task = _Task(state, layer, table, name, pair, penalties, groups, seed)
    alive = np.flatnonzero(task.standardise.alive)
    if len(alive) == 0:
        raise LisError(
            f"no component of {layer!r} varies over the training images: there is nothing to choose from."
        )
    asked = sizes if isinstance(sizes, Iterable) else [sizes]
    wanted = sorted({whole_number(size, "sizes", 1) for size in asked} & set(range(1, len(alive) + 1)))
    if not wanted:
        raise LisError(f"none of the sizes {asked} fits the {len(alive)} components of {layer!r} that vary.")
    orders = {"l1 path": task.path(alive), "greedy": task.greedy(alive, wanted[-1])}
    full_inner, full, _ = task.scores(alive)
    rows = []
    rng = np.random.default_rng(seeds(seed, name, 20))
    for size in wanted:
        for way, order in orders.items():
            inner, score, told = task.scores(order[:size])
            low, high = task.interval(told, confidence, resamples)
            rows.append(
                {"way": way, "components": size, "score": score, "low": low, "high": high, "inner": inner}
            )
        guessed = np.array([task.scores(rng.permutation(alive)[:size])[:2] for _ in range(draws)])
        rows.append({"way": "random", "components": size, "score": guessed[:, 1].mean(), "low": guessed[:, 1].min(),
                     "high": guessed[:, 1].max(), "inner": guessed[:, 0].mean()})  # fmt: skip
    curve = pd.DataFrame(rows)
    enough = curve[curve["inner"] >= keep * full_inner].groupby("way", sort=False).head(1)
    fewest = enough[["way", "components", "score"]].assign(
        kept=enough["score"] / full if full > 0 else np.nan
    )
    ordered = pd.concat([
        state.columns(layer).iloc[order].assign(way=way, place=np.arange(1, len(order) + 1))
        for way, order in orders.items()
    ], ignore_index=True)  # fmt: skip
    return SparseObserver(
        curve, ordered[["way", "place", "layer", "component"]], fewest.reset_index(drop=True), full, task.baseline,
        layer, name, task.measure, float(keep),
        {"sizes": wanted, "draws": draws, "held_out": held_out, "seed": seed, "components": state.width(layer),
         "penalty": task.penalty, "confidence": confidence, "resamples": resamples}, provenance(),
    )  # fmt: skip


class _Task:
    """One attribute and layer in memory: training part, its inner split, and held-out part."""

    def __init__(
        self, state: Any, layer: str, table: Attributes, name: str, pair: tuple[np.ndarray, np.ndarray],
        penalties: tuple[float, ...], groups: Any, seed: int,
    ) -> None:  # fmt: skip
        train, test = pair
        if min(len(train), len(test)) < LEAST:
            raise LisError(
                f"{name!r} has {len(train)} training and {len(test)} held-out images; {LEAST} each are needed."
            )
        self.kind, self.seed, self.name = table.kinds[name], seed, name
        self.measure = "accuracy" if self.kind == "category" else "r2"
        values = table.values(name)
        if self.kind == "category":
            known, index = np.unique(values[np.concatenate(pair)].astype(str), return_inverse=True)
            self.count = len(known)
            self.y, self.z = index[: len(train)], index[len(train) :]
            self.baseline = float((self.z == np.bincount(self.y).argmax()).mean())
        else:
            self.count = 1
            self.y, self.z = values[train].astype(float), values[test].astype(float)
            self.baseline = r_squared(np.full(len(test), self.y.mean()), self.z)
        own = check_groups(groups, len(state))
        self.groups = None if own is None else own[test]
        self.inner = split_rows(
            self.y, self.kind == "category", held_out=INNER, seed=seeds(seed, name, 1),
            groups=None if own is None else own[train],
        )[0]  # fmt: skip
        fitted = self.y[self.inner[0]]
        if np.ptp(fitted) == 0:
            raise LisError(
                f"{name!r} is the same for all of the {len(fitted)} images that components are chosen on; give more "
                "images, or take an attribute that varies more."
            )
        self.standardise = Standardiser.of(state, layer, train)
        self.x, self.held = (self.standardise(state.rows_of(layer, rows)) for rows in (train, test))
        self.penalty = self._chosen(penalties)

    def _chosen(self, penalties: tuple[float, ...]) -> float:
        """Choose the full observer's penalty."""
        every = self._design(np.arange(self.x.shape[1]))
        if self.kind == "number":
            return float(choose_ridge(every, self.y[:, None], self.inner, penalties)[0][0])
        return choose_logistic(every, self.y, self.count, self.inner, penalties)[0]

    def _design(self, columns: np.ndarray) -> Design:
        """Return some columns of the training part, as the solvers take them."""
        state = State({"": self.x[:, columns]}, {"": 0.0})
        width = len(columns)
        plain = Standardiser(np.zeros(width), np.ones(width), np.ones(width, bool))
        return Design(state, "", np.arange(len(self.y)), plain, False, state.blocks[""])

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Standardised targets of the path [n, T]: the number, or an indicator of each category."""
        y = self.y[rows, None].astype(float)
        if self.kind == "category":
            y = (self.y[rows, None] == np.arange(self.count)).astype(float)
        spread = y.std(0)
        return ((y - y.mean(0)) / np.where(spread > 0, spread, 1.0))[:, spread > 0]  # type: ignore[no-any-return]

    def path(self, alive: np.ndarray) -> np.ndarray:
        """Order components by the penalty at which the L1 path takes them up; then by their weight there."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import lasso_path

        rng = np.random.default_rng(seeds(self.seed, self.name, 21))
        rows = np.sort(rng.permutation(self.inner[0])[:ROWS])
        x, y = np.asfortranarray(self.x[np.ix_(rows, alive)]), self.targets(rows)
        y = y[:, 0] if y.shape[1] == 1 else y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an order needs no last digits
            _, weights, _ = lasso_path(x, y, eps=SHRINK, alphas=PATH, max_iter=500, tol=1e-3)
        size = np.abs(weights) if weights.ndim == 2 else np.sqrt((weights**2).sum(0))  # [C, penalties]
        there = size > 0
        entry = np.where(there.any(1), there.argmax(1), size.shape[1])
        at_entry = size[np.arange(len(size)), np.minimum(entry, size.shape[1] - 1)]
        return alive[np.lexsort((-at_entry, entry))]

    def greedy(self, alive: np.ndarray, most: int) -> np.ndarray:
        """Order components: each next one tells most beside those before it. After `most` of them, in any order."""
        # Of the inner training rows only: what judges the number of components must not have chosen them.
        rows = self.inner[0]
        x, y = self.x[np.ix_(rows, alive)], self.y[rows]
        x = x - x.mean(0)
        total, within, cross = x.T @ x, None, np.zeros((len(alive), 0))  # [C, C]
        if self.kind == "number":
            cross = x.T @ self.targets(rows)  # [C, T]
        else:
            sums = np.stack([x[y == k].sum(0) / np.sqrt(max((y == k).sum(), 1)) for k in range(self.count)])
            within = total - sums.T @ sums
            within[np.diag_indices(len(within))] += SLACK * len(x)
        total[np.diag_indices(len(total))] += SLACK * len(x)
        left = np.ones(len(alive), bool)
        order = []
        for _ in range(min(most, len(alive))):
            own = np.maximum(total.diagonal(), SLACK * len(x))
            # Residual scatter that is not explained: within categories, or of the number.
            rest = (cross**2).sum(1) / own * -1 if within is None else within.diagonal() / own
            pick = int(np.where(left, rest, np.inf).argmin())
            order.append(pick)
            left[pick] = False
            if within is None:
                cross = cross - np.outer(total[:, pick] / own[pick], cross[pick])
            else:
                pivot = max(within[pick, pick], SLACK)
                within = within - np.outer(within[:, pick], within[pick]) / pivot
            total = total - np.outer(total[:, pick], total[pick]) / own[pick]
        return alive[np.concatenate([np.array(order, int), np.flatnonzero(left)])]

    def scores(self, columns: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Score an observer of some components: on the inner held-out rows, held out, and what it says there."""
        fitted, judged = self.inner
        training = self._design(columns)
        part = training.take(fitted)
        check, held = training.matrix()[judged], self.held[:, columns]
        if self.kind == "number":
            [first], [fit] = (fit_ridge(d, y[:, None], [self.penalty]) for d, y in
                              ((part, self.y[fitted]), (training, self.y)))  # fmt: skip
            told = (held @ fit.weights + fit.bias)[:, 0]
            return (
                r_squared((check @ first.weights + first.bias)[:, 0], self.y[judged]),
                r_squared(told, self.z),
                told,
            )
        first = fit_logistic(part, self.y[fitted], self.count, self.penalty)
        fit = fit_logistic(training, self.y, self.count, self.penalty, first)
        inner = float(((check @ first.weights + first.bias).argmax(1) == self.y[judged]).mean())
        told = (held @ fit.weights + fit.bias).argmax(1)
        return inner, float((told == self.z).mean()), told

    def interval(self, told: np.ndarray, confidence: float, resamples: int) -> tuple[float, float]:
        """Bootstrap a held-out score over images, or groups."""
        score = score_answers if self.kind == "category" else score_numbers
        none = np.empty((0, len(self.z)))
        found = score(told, self.z, told, none, none, self.groups, confidence=confidence, resamples=resamples,
                      seed=seeds(self.seed, self.name, 22))  # fmt: skip
        return found.low, found.high
