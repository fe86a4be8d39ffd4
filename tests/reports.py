"""Link reports of any size with known numbers, for tests of what shows them."""

import numpy as np
import pandas as pd

from lis_toolkit.link_report import LinkReport


def made_report(classes=3, units=12, dims=5, tested=4, photographs=True, head=True, seed=0):
    """A report of random numbers; NaN where the real one has NaN."""
    rng = np.random.default_rng(seed)
    names = [f"class {k:03d}" for k in range(classes)]

    def shares(prefix):
        middle = rng.uniform(0.3, 0.95, classes)
        return {f"{prefix}cycle" if prefix else "cycle": middle,
                f"{prefix or 'cycle_'}low": middle - 0.05, f"{prefix or 'cycle_'}high": middle + 0.05}  # fmt: skip

    table = {"class": names, "pairs": rng.integers(5, 50, classes), "r2": rng.uniform(0.2, 0.8, classes),
             "r2_within": rng.uniform(0.1, 0.6, classes)} | shares("")  # fmt: skip
    cycle = [("pairs", 400, 0.9, 0.87, 0.93)]
    if photographs:
        table |= {"photographs": rng.integers(5, 50, classes)} | shares("photo_")
        table["photo_label"] = rng.uniform(0.3, 0.9, classes)
        cycle += [("photographs", 300, 0.71, 0.66, 0.76), ("photographs, true label", 300, 0.68, 0.63, 0.73)]
    if not head:
        table |= dict.fromkeys(("cycle", "cycle_low", "cycle_high"), np.nan)
        cycle = []
    correlation = rng.uniform(-0.1, 1, units)
    constant = np.arange(units) == units - 1
    correlation[constant] = np.nan
    slopes = rng.uniform(-0.1, 1.1, tested)
    fidelity = {"unit": np.arange(tested), "low": np.zeros(tested), "high": np.ones(tested), "slope": slopes,
                "slope_low": slopes - 0.1, "slope_high": slopes + 0.1, "correlation": rng.uniform(0.3, 1, tested),
                "raised": rng.uniform(0, 1, tested), "rank": rng.integers(1, 9, tested)}  # fmt: skip
    return LinkReport(
        r2=0.71,
        r2_low=0.69,
        r2_high=0.74,
        r2_in_sample=0.78,
        r2_within=0.64,
        dims=pd.DataFrame(
            {
                "dim": range(dims),
                "r2": rng.uniform(-2, 0.9, dims),
                "r2_in_sample": rng.uniform(0.2, 0.95, dims),
                "share": np.full(dims, 1 / dims),
            }
        ),  # fmt: skip
        classes=pd.DataFrame(table),
        cycle=pd.DataFrame(cycle, columns=["what", "n", "share", "low", "high"]),
        units=pd.DataFrame(
            {
                "unit": range(units),
                "constant": constant,
                "std": rng.uniform(0.1, 2, units),
                "cycle_correlation": correlation,
            }
        ),  # fmt: skip
        fidelity=pd.DataFrame(fidelity),
        order=pd.DataFrame(
            {
                "what": ["pairs", "pairs within classes", "class means"],
                "n": [400, 380, 3],
                "correlation": [0.55, 0.41, np.nan],
                "p_value": [0.005, 0.02, np.nan],
            }
        ),  # fmt: skip
        notes=["too few, or equal, for shared order: class means."],
        options={"pairs": 400, "photographs": 300 if photographs else 0, "seed": 0, "judge": None},
    )
