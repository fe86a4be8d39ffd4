"""Directions in the latent space along which the generator is differentiated, for all units at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import LisError
from ..names import spelling_hint, whole_number

Method = Literal["exact", "sketch", "principal"]
METHODS = ("exact", "sketch", "principal")


def choose_directions(steps: Tensor, method: Method, products: int | None, seed: int) -> tuple[Tensor, float]:
    """Choose k directions V [k, W] for the steps [W, R] that units take, and the factor that goes with them.

    With the coordinates c = factor V a of a step a, J a is the sum of c_j (J V_j), exactly or about.

    - "exact": the W axes. J a for every a.
    - "sketch": k random orthonormal directions (of a uniformly distributed subspace, after Halko, Martinsson and Tropp
      2011), weighed by W / k: unbiased for any J and any step, with the variance that `sketch_variance` gives.
    - "principal": the k left singular vectors of the steps, so that what is lost of the units' steps is least: exact
      for k from the rank of the steps on, biased below it, and in general far better than the sketch.

    Raises
    ------
    LisError : an unknown method, a number of products that is not from 1 to W.

    Examples
    --------
    >>> v, factor = choose_directions(link.A * (link.unit_max - link.unit_min), "principal", 32, seed=0)
    """
    if method not in METHODS:
        raise LisError(
            f"method is {method!r}; one of {', '.join(METHODS)} was expected.{spelling_hint(str(method), METHODS)}"
        )
    width = len(steps)
    if method == "exact":
        if products not in (None, width):
            raise LisError(
                f"products is {products!r}; method 'exact' takes {width}, one a latent dimension. Leave it out, or "
                "take method 'principal' or 'sketch'."
            )
        return torch.eye(width, dtype=steps.dtype, device=steps.device), 1.0
    count = max(1, width // 2) if products is None else whole_number(products, "products", 1, width)
    if method == "principal":
        v = (
            torch.linalg.svd(steps.double(), full_matrices=width > steps.shape[1]).U.T[:count].to(steps)
        )  # [k, W]
        return v, 1.0
    normal = np.random.default_rng(seed).normal(size=(width, count))
    orthogonal, upper = np.linalg.qr(normal)
    v = torch.from_numpy((orthogonal * np.sign(np.diagonal(upper))).T.copy()).to(steps)  # [k, W]
    return v, width / count


def sketch_variance(gradient: Tensor, step: Tensor, products: int) -> Tensor:
    """Variance of the sketch's estimate of gradient . step, both [..., W], over seeds.

    (W - k) / (k (W - 1) (W + 2)) (W |g|^2 |a|^2 + (W - 2) (g . a)^2), by the second moments of a projection to a
    uniformly distributed subspace: about |g|^2 |a|^2 / k for k far below W, and 0 for k = W.

    Raises
    ------
    LisError : a number of products that is not from 1 to W.

    Examples
    --------
    >>> sketch_variance(torch.ones(64), torch.ones(64), 64)
    tensor(0.)
    """
    width = gradient.shape[-1]
    k = whole_number(products, "products", 1, width)
    if width == 1:
        return torch.zeros_like((gradient * step).sum(-1))
    sizes = gradient.square().sum(-1) * step.square().sum(-1)
    product = (gradient * step).sum(-1).square()
    return (width - k) / (k * (width - 1) * (width + 2)) * (width * sizes + (width - 2) * product)
