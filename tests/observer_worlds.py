"""Linear worlds whose truth is planted: which component tells what is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lis_toolkit.observers import Attributes, as_state


def linear_world(n=400, width=12, seed=0, noise=0.3):
    """Layer "noise" tells nothing; in layer "signal" component 3 is the number, 5, 6 and 7 are the three classes."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n)
    which = rng.integers(0, 3, n)
    noisy = rng.normal(size=(n, width)).astype(np.float32)
    signal = rng.normal(size=(n, width)).astype(np.float32)
    signal[:, 3] = 100 + 2 * number + noise * rng.normal(size=n)
    for k in range(3):
        signal[:, 5 + k] = 4.0 * (which == k) + noise * rng.normal(size=n)
    signal[:, 0] = 7.0  # a dead component
    table = pd.DataFrame({
        "kind": np.array(["a", "b", "c"], dtype=object)[which],
        "number": number,
        "coin": np.array(["heads", "tails"], dtype=object)[rng.integers(0, 2, n)],
        "dice": rng.normal(size=n),
    })  # fmt: skip
    return as_state({"noise": noisy, "signal": signal}), Attributes(table), which, number
