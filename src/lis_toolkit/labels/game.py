"""The game behind labels: which clusters are asked of whom, in which order, and among which classes to guess."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..files import sha256_tensors
from ..images import check_images, convert_range
from ..names import class_index, unique_names, whole_number
from .reveal import resized_map, reveal

__all__ = ["Game", "Question", "explanation_questions"]

CHOICES = 10  # classes to guess among; all of them where there are no more
TOGETHER = 4  # pictures whose clusters take turns


@dataclass(frozen=True, eq=False)
class Question:
    """One cluster of one layer of one picture's explanation, of which a player is to say what it shows.

    Attributes
    ----------
    explanation : 16 hexadecimal digits that tell this explanation from others.
    image : row of the picture among those explained.
    layer : name of the layer.
    cluster : number of the cluster in its layer.
    target : the class that the explanation is of.
    choices : the classes to guess among, in the classifier's order.
    x : [C, H, W], the picture in the unit range.
    map : [h, w], the cluster map.
    weight : the cluster's share of the layer's weight; NaN where it is not known.
    title : of the layer, for people.
    """

    explanation: str
    image: int
    layer: str
    cluster: int
    target: str
    choices: tuple[str, ...]
    x: Tensor
    map: Tensor
    weight: float = float("nan")
    title: str = ""

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What names the question in the file of answers: explanation, image, layer, cluster."""
        return (self.explanation, self.image, self.layer, self.cluster)

    def picture(self, step: int) -> Tensor:
        """Return what is seen at a step, 1 to 6: [C, H, W]."""
        return reveal(self.x, self.map, step)


def make_question(
    x: Tensor,
    saliency: Tensor,
    target: str | int,
    classes: Sequence[str],
    *,
    image: int = 0,
    layer: str = "layer",
    cluster: int = 0,
    explanation: str | None = None,
    weight: float = float("nan"),
    title: str = "",
    choices: int = CHOICES,
) -> Question:
    """Make a question of a picture and a cluster map.

    Where there are more classes than `choices`, the others are drawn by the picture, so that every player guesses among
    the same ones, and every cluster of a picture offers the same.

    Parameters
    ----------
    x : [C, H, W] in the unit range.
    saliency : [h, w], the cluster map.
    target : the class that is explained, by name or index.
    classes : names of all classes.
    image, layer, cluster, explanation, weight, title : as in `Question`; the explanation is told by picture and class.
    choices : how many classes to guess among, from 2.

    Raises
    ------
    LisError : what can't be revealed, an unknown class, fewer than two classes.

    Examples
    --------
    >>> make_question(photograph, cluster_map, "Coat", classifier.classes).choices[:2]
    ('T-shirt/top', 'Trouser')
    """
    check_images(x[None] if isinstance(x, Tensor) else x, name="the image")
    x = x.detach().cpu().float()
    resized_map(saliency, (int(x.shape[1]), int(x.shape[2])))
    names = unique_names(classes)
    if len(names) < 2:
        raise LisError(f"there is {len(names)} class to guess among; at least two were expected.")
    which = class_index(target, names, "the explanation")
    count = whole_number(choices, "choices", 2)
    told = explanation or sha256_tensors({"x": x, "target": torch.tensor(which)})[:16]
    kept = list(range(len(names)))
    if len(names) > count:
        drawn = np.random.default_rng(_number(told)).permutation([k for k in kept if k != which])
        kept = sorted([which, *drawn[: count - 1].tolist()])
    return Question(
        told,
        whole_number(image, "image", 0),
        str(layer),
        whole_number(cluster, "cluster", 0),
        names[which],
        tuple(names[k] for k in kept),
        x,
        saliency.detach().cpu().float(),
        float(weight),
        str(title),
    )


def explanation_questions(
    explanations: Iterable[Any], layers: Iterable[str] | None = None, choices: int = CHOICES
) -> list[Question]:
    """Make a question of every cluster of local explanations, but of maps that are the same everywhere.

    Parameters
    ----------
    explanations : what `explain_images` returned, of classes.
    layers : names of layers; all by default.
    choices : how many classes to guess among.

    Raises
    ------
    LisError : what is no explanation of a class, no question at all.

    Examples
    --------
    >>> questions = explanation_questions(explain_images(classifier, photographs.images[:4]))
    """
    from ..saliency.explanation import Explanation, upsampled

    wanted = None if layers is None else {layers} if isinstance(layers, str) else set(layers)
    found, known = [], []
    for number, explanation in enumerate(explanations):
        if not isinstance(explanation, Explanation):
            raise LisError(
                f"explanation {number} is {type(explanation).__name__}; what explain_images returned was expected."
            )
        if explanation.target is None:
            raise LisError(
                f"explanation {number} is of a unit: it has no class to guess. Explain a class (unit=None)."
            )
        told = _explanation_hash(explanation)
        for layer in explanation.layers:
            known.append(layer.layer.name)
            if wanted is not None and layer.layer.name not in wanted:
                continue
            for place, cluster in enumerate(layer.clusters):
                if float(cluster.map.min()) == float(cluster.map.max()):
                    continue
                found.append(
                    make_question(
                        explanation.image, upsampled(cluster.map, explanation), explanation.target,
                        explanation.classes, image=explanation.index, layer=layer.layer.name, cluster=place,
                        explanation=told, weight=cluster.weight, title=layer.layer.title, choices=choices,
                    )
                )  # fmt: skip
    strange = sorted((wanted or set()) - set(known))
    if strange:
        raise LisError(
            f"the explanations have no layer {strange[0]!r}; they have {', '.join(dict.fromkeys(known))}."
        )
    if not found:
        raise LisError(
            "the explanations have no cluster that could be shown: nothing spoke for their classes."
        )
    return found


class Game:
    """Questions, and for every player an order of their own.

    The clusters of a few pictures take turns, so that none is asked right after another of the same picture. The order
    depends on the seed and the player's name alone.

    Parameters
    ----------
    questions : of `make_question` or `explanation_questions`; or explanations, which are made into questions.
    seed : of the players' orders.

    Raises
    ------
    LisError : no questions, the same question twice.

    Examples
    --------
    >>> game = Game(explain_images(classifier, photographs.images[:4]))
    >>> len(game), game.order("ann")[0].layer
    (61, 'body.9')
    """

    def __init__(self, questions: Iterable[Any], seed: int = 0) -> None:
        given = list(questions)
        if given and not all(isinstance(one, Question) for one in given):
            given = explanation_questions(given)
        if not given:
            raise LisError(
                "the game was given no questions; give explanations, or what make_question returned."
            )
        self.questions: tuple[Question, ...] = tuple(given)
        self.seed = whole_number(seed, "seed", 0)
        self._by_key = {question.key: question for question in given}
        if len(self._by_key) < len(given):
            keys = [question.key for question in given]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise LisError(
                f"the question {'/'.join(map(str, twice))} (explanation/image/layer/cluster) is there twice."
            )

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.questions)

    def find(self, key: tuple[str, int, str, int]) -> Question | None:
        """Return the question of a key; None where the game has no such question."""
        return self._by_key.get(key)

    def order(self, player: str) -> list[Question]:
        """Return all questions in the order of a player."""
        rng = np.random.default_rng([self.seed, _number(player)])
        pictures: dict[tuple[str, int], list[Question]] = {}
        for question in self.questions:
            pictures.setdefault((question.explanation, question.image), []).append(question)
        shuffled = [[own[i] for i in rng.permutation(len(own))] for own in pictures.values()]
        shuffled = [shuffled[i] for i in rng.permutation(len(shuffled))]
        asked: list[Question] = []
        for start in range(0, len(shuffled), TOGETHER):
            group = shuffled[start : start + TOGETHER]
            for turn in range(max(map(len, group))):
                asked += [own[turn] for own in group if turn < len(own)]
        return asked


def _number(text: str) -> int:
    """Return a number of 63 bits from a text, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _explanation_hash(explanation: Any) -> str:
    """Tell an explanation from others: by picture, class, and which maps are in which cluster.

    Of whole numbers alone: the last bits of maps differ between machines, and answers must still be found.
    """
    members = {
        layer.layer.name: [list(map(int, cluster.members)) for cluster in layer.clusters]
        for layer in explanation.layers
    }
    digest = hashlib.sha256(json.dumps([explanation.name, members]).encode())
    digest.update(convert_range(explanation.image.detach().cpu().float(), "unit", "byte").numpy().tobytes())
    return digest.hexdigest()[:16]
