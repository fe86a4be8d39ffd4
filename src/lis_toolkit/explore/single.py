"""One step along one unit, without a session."""

from __future__ import annotations

from torch import Tensor

from ..classifiers import Classifier
from ..link import Link
from ..stylegan import Generator
from .session import UnitSession
from .state import UnitState

__all__ = ["explore_unit"]


def explore_unit(
    generator: Generator, classifier: Classifier, link: Link, r: Tensor, unit: int | str, value: float
) -> UnitState:
    """Set one unit of one sample to one value, link, render and look again: a single step of `tune_unit`.

    Linking in Style (arXiv 2409.16865, section 3). For many steps in a row keep a `UnitSession`.

    Parameters
    ----------
    r : [R], activations to start from.

    Raises
    ------
    LisError : as `UnitSession` and its `tune`.

    Examples
    --------
    >>> state = explore_unit(generator, classifier, link, pairs.r[0], unit=17, value=1.2)
    >>> state.rgb().shape
    (3, 32, 32, 3)
    """
    session = UnitSession(generator, classifier, link)
    return session.tune(session.start_from(r), {unit: value})
