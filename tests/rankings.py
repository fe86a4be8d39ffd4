"""A small ranking with known answers, in the columns of `score_selectivity`."""

from __future__ import annotations

import numpy as np
import pandas as pd

PARTS = ("sleeve", "torso", "collar", "leg", "heel")
CLASSES = ("Shirt", "Coat", "Trouser")


def synthetic_ranking(units=30, parts=PARTS, classes=CLASSES, measures=("area", "entropy"), seed=0):
    """A row for each unit, part, measure and class; unit 7 lengthens the first part, unit 3 shortens it.

    The last part has no value in the second class: the garment does not have it.
    """
    generator = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [range(units), parts, measures, ("all", *classes)], names=["unit", "part", "measure", "class"]
    )
    table = index.to_frame(index=False)
    effect = generator.normal(0, 0.25, len(table))
    first = (table.part == parts[0]) & (table.measure == measures[0])
    effect[first & (table.unit == 7 % units)] += 3.0
    effect[first & (table.unit == 3)] -= 2.0
    table["samples"] = np.where(table["class"] == "all", 50 * len(classes), 50)
    spread = np.where(table.measure == "area", 0.02, 0.3)
    table["mean_change"] = effect * spread
    half = 1.96 * spread / np.sqrt(table.samples)
    table["low"], table["high"] = table.mean_change - half, table.mean_change + half
    table["effect"] = effect
    table["same_sign"] = 1 / (1 + np.exp(-2 * np.abs(effect)))
    table["p"] = np.clip(np.exp(-6 * np.abs(effect)), 0, 1)
    table["q"] = np.clip(3 * table.p, 0, 1)
    table["part_selectivity"] = np.abs(effect) / (1 + np.abs(effect))
    table["unit_selectivity"] = table.part_selectivity / 2
    table["vanished"] = table["appeared"] = 0.0
    gone = (table.part == parts[-1]) & (table["class"] == classes[min(1, len(classes) - 1)])
    table.loc[gone, ["mean_change", "low", "high", "effect", "same_sign", "p", "q", "part_selectivity"]] = (
        np.nan
    )
    return table
